"""What an architecture must fulfil to be built; every message names the field, its value and what it may be."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from math import gcd
from typing import Any

from fishnet_mmdet.base.errors import ConfigError


def check_arch(arch: Any, choices: Mapping[str, Sequence[str]]) -> None:
    """Checks every field by itself, then the widths against each other.

    Args:
        arch: A `FishNetArch`.
        choices: Allowed values of the fields that are named choices.

    Raises:
        ConfigError: A field that cannot be built.
    """
    for field in fields(arch):
        value = getattr(arch, field.name)
        if field.name in choices:
            _check_choice(field.name, value, choices[field.name])
        elif (field.name, value) != ('group_width', 0):
            _check_numbers(field.name, value, count=1 if field.type is int else 3)
    if arch.stem_stride not in (1, 2, 4):
        raise ConfigError(f'arch.stem_stride = {arch.stem_stride} must be 4 (released), 2 or 1 (small images)')
    _check_multiple('tail_widths', arch.tail_widths, of=4, why='a bottleneck is a quarter as wide inside')
    _check_multiple('body_widths', arch.body_widths, of=4, why='a bottleneck is a quarter as wide inside')
    _check_multiple('stem_width', (arch.stem_width,), of=4, why='head stages carry it to a bottleneck')
    _check_multiple('tail_widths', arch.tail_widths[-1:], of=16, why='the bridge squeezes it 16 times')
    _check_reductions(arch)
    _check_groups(arch)


def largest_group_count(arch: Any) -> int:
    """The largest `num_groups` of GroupNorm that divides every width that has a norm: 16 as released."""
    blocks = [block for row in arch.rows for block in (row, row.transfer) if block]
    # The narrowest norms are in the first half of the stem and inside the bottlenecks.
    inside = [block.width // (2 if block.group_width else 4) for block in blocks]
    return gcd(arch.stem_width // 2, *inside, *(row.in_width for row in arch.rows), *arch.out_channels)


def check_norm(arch: Any, norm_cfg: Mapping) -> None:
    """Checks that the groups of a GroupNorm divide every width.

    Raises:
        ConfigError: They do not; the message says which number of groups does.
    """
    groups, most = norm_cfg.get('num_groups'), largest_group_count(arch)
    if norm_cfg['type'] == 'GN' and (type(groups) is not int or groups < 1 or most % groups):
        fitting = [n for n in range(1, most + 1) if most % n == 0]
        raise ConfigError(
            f'norm_cfg.num_groups = {groups} does not divide every width of this FishNet (a bottleneck is a quarter as '
            f"wide inside); {', '.join(map(str, fitting))} do: norm_cfg=dict(type='GN', num_groups={most})"
        )


def _check_choice(name: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ConfigError(f'arch.{name} = {value!r} must be one of {", ".join(allowed)}')


def _check_numbers(name: str, value: object, count: int) -> None:
    numbers = (value,) if count == 1 else value
    fits = isinstance(numbers, tuple) and len(numbers) == count
    if not fits or not all(type(n) is int and n > 0 for n in numbers):
        wanted = 'one integer' if count == 1 else 'three integers'
        raise ConfigError(f'arch.{name} = {value!r} must be {wanted} of at least 1')


def _check_multiple(name: str, values: tuple[int, ...], of: int, why: str) -> None:
    if any(v % of for v in values):
        raise ConfigError(f'arch.{name} = {values} must be multiples of {of}: {why}')


def _check_reductions(arch: Any) -> None:
    for stage, row in enumerate(arch.body_rows):
        if row.in_width % row.width:
            raise ConfigError(
                f'arch.body_widths[{stage}] = {row.width} does not divide the {row.in_width} channels that enter that '
                f'stage: channel reduction sums k = {row.in_width} / {row.width} neighbours (eq. 8)'
            )


def _check_groups(arch: Any) -> None:
    for row in arch.rows if arch.group_width else ():
        for block in filter(None, (row, row.transfer)):
            if block.width // 2 % block.group_width:
                raise ConfigError(
                    f'arch.group_width = {arch.group_width} makes groups of {block.group_width} channels at level '
                    f'{block.level}, twice as wide as at the level above; they do not divide {block.width // 2}, half '
                    f'the width of {row.name if block is row else "the transfer block into " + row.name}'
                )
