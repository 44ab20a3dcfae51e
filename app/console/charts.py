"""Small charts as SVG: drawn here, so that they need no script, no style of their own and no other server.

Each has a title and a description for who does not see it (https://www.w3.org/TR/svg-aam-1.0/); the figures themselves
stand beside it as text or in a table, since a picture is never the only place of a number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from markupsafe import Markup

from app.console.words import number


def bars(title: str, values: Sequence[tuple[str, float]], *, width: int = 320, height: int = 64) -> Markup:
    """A row of bars, left to right: (what, how much).  Nothing below zero."""
    most = max((value for _, value in values), default=0)
    if not values:
        return Markup("")
    step = width / len(values)
    shapes = Markup("").join(
        Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="1"><title>{}</title></rect>').format(
            i * step + step * 0.1,
            height - _tall(value, most, height),
            step * 0.8,
            _tall(value, most, height),
            f"{what}: {number(value)}",
        )
        for i, (what, value) in enumerate(values)
    )
    return _framed("bars", title, _described(values), width, height, shapes)


def line(title: str, values: Sequence[tuple[str, float | None]], *, width: int = 320, height: int = 64) -> Markup:
    """A line through points, left to right; None: nothing is known there, the line has a gap."""
    known = [value for _, value in values if value is not None]
    if not known:
        return Markup("")
    low, high = min(*known, 0), max(known)
    step = width / max(1, len(values) - 1)
    runs: list[list[str]] = [[]]
    for i, (_, value) in enumerate(values):
        if value is None:
            runs.append([])
            continue
        y = height - 3 - (value - low) / ((high - low) if high > low else 1) * (height - 6)
        runs[-1].append(f"{i * step:.1f},{y:.1f}")
    shapes = Markup("").join(
        Markup('<polyline points="{}"/>').format(" ".join(run))
        if len(run) > 1
        else Markup('<circle cx="{}" cy="{}" r="2.5"/>').format(*run[0].split(","))
        for run in runs
        if run
    )
    described = [(what, value) for what, value in values if value is not None]
    return _framed("line", title, _described(described), width, height, shapes)


def _tall(value: float, most: float, height: int) -> float:
    """How tall a bar is: what is more than nothing can be seen."""
    return 0.0 if value <= 0 else max(1.5, value / most * (height - 2))


def _described(values: Sequence[tuple[str, float]]) -> str:
    first, last = values[0], values[-1]
    most = max(values, key=lambda one: one[1])
    return f"{first[0]}: {number(first[1])}; most, {most[0]}: {number(most[1])}; {last[0]}: {number(last[1])}"


def _framed(kind: str, title: str, described: str, width: int, height: int, shapes: Markup) -> Markup:
    own = "chart-" + hashlib.sha256(title.encode()).hexdigest()[:8]
    return Markup(
        '<svg class="chart {}" role="img" viewBox="0 0 {} {}" preserveAspectRatio="none" '
        'aria-labelledby="{}-t {}-d"><title id="{}-t">{}</title><desc id="{}-d">{}</desc>{}</svg>'
    ).format(kind, width, height, own, own, own, title, own, described, shapes)
