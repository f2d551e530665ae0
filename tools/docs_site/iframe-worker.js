// Browsers start no worker from a file. The search of a site that is opened as a file runs in a hidden frame instead.
if (location.protocol === 'file:') {
  const load = (document, url) => new Promise((done, failed) => {
    const script = document.createElement('script')
    Object.assign(script, { src: url, async: false, onload: done, onerror: failed })
    document.body.append(script)
  })
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement('iframe')
      frame.hidden = true
      document.body.append(frame)
      this.scope = frame.contentWindow
      this.scope.postMessage = data => this.dispatchEvent(new MessageEvent('message', { data }))
      this.scope.importScripts = (...urls) => Promise.all(urls.map(one => load(this.scope.document, one)))
      this.ready = load(this.scope.document, new URL(url, document.baseURI))
    }

    postMessage(data) {
      this.ready.then(() => this.scope.dispatchEvent(new MessageEvent('message', { data })))
    }
  }
}
