// Values at the pointer: each chart carries its axes and lines in data-values.
for (const svg of document.querySelectorAll('svg[data-values]')) {
  const chart = JSON.parse(svg.dataset.values), figure = svg.parentElement, [left, top, right, bottom] = chart.box;
  const width = svg.viewBox.baseVal.width, rule = document.createElementNS(svg.namespaceURI, 'line');
  const tip = Object.assign(document.createElement('div'), { className: 'tip', hidden: true });
  rule.setAttribute('style', 'stroke: var(--quiet); stroke-width: .7; visibility: hidden');
  svg.append(rule);
  figure.append(tip);
  const hide = () => { tip.hidden = true; rule.style.visibility = 'hidden'; };
  const text = value => Math.abs(value) >= 100 ? value.toFixed(0) : String(+value.toPrecision(3));
  const show = event => {
    const box = svg.getBoundingClientRect(), at = (event.clientX - box.left) * width / box.width;
    if (at < left - 4 || at > right + 4) return hide();
    const x = chart.x[0] + (at - left) / (right - left) * (chart.x[1] - chart.x[0]);
    const near = chart.lines.map(([name, group, xs, ys]) => {
      const i = xs.reduce((best, value, j) => Math.abs(value - x) < Math.abs(xs[best] - x) ? j : best, 0);
      return { name, group, x: xs[i], y: ys[i] };
    });
    const nearest = near.reduce((a, b) => Math.abs(b.x - x) < Math.abs(a.x - x) ? b : a).x;
    const place = left + (nearest - chart.x[0]) / (chart.x[1] - chart.x[0]) * (right - left);
    for (const [key, value] of Object.entries({ x1: place, x2: place, y1: top, y2: bottom })) rule.setAttribute(key, value);
    rule.style.visibility = 'visible';
    const table = document.createElement('table');
    table.insertRow().insertCell().textContent = `${chart.over}: ${text(nearest)}`;
    for (const { name, group, x: own, y } of near) {
      const row = table.insertRow(), title = row.insertCell();
      title.textContent = Math.abs(own - nearest) > 1e-9 && chart.over === 'epoch' && Number.isInteger(own) ? `${name} (${text(own)})` : name;
      title.style.color = `var(--c${group % 8})`;
      row.insertCell().textContent = text(y);
    }
    tip.replaceChildren(table);
    tip.hidden = false;
    const room = figure.clientWidth - tip.offsetWidth - 4, wanted = place / width * box.width + 18;
    tip.style.left = `${Math.max(4, wanted > room ? wanted - tip.offsetWidth - 28 : wanted)}px`;
    // Beside the pointer, or on a phone below the chart.
    tip.style.top = figure.clientWidth < 390 ? '97%' : `${bottom / width * box.width * .35}px`;
  };
  svg.addEventListener('pointermove', show);
  svg.addEventListener('pointerdown', show);
  svg.addEventListener('pointerleave', hide);
}
