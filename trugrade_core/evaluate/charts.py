"""Charts as inline SVG, coloured by the page's CSS variables so that they follow its light or dark theme."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Points = Sequence[tuple[float, float]]
WIDTH, HEIGHT = 470, 270
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 14, 42


@dataclass(frozen=True)
class Series:
    """A line; `colour` is a CSS colour, `band` an area (x, low, high) behind it, `dashed` for what it is held against."""

    name: str
    points: Points
    colour: str
    band: Sequence[tuple[float, float, float]] = ()
    dashed: bool = False
    dots: bool = False


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from low to high."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    raw = span / (most - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """At most three significant digits; an exponent below 0.001."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) < 1e-3:
        return f"{value:.1e}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def line_chart(
    series: Sequence[Series],
    x_title: str,
    y_title: str,
    *,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    marker: tuple[float, str] | None = None,
    log_y: bool = False,
) -> Markup:
    """Lines over shared axes; `marker` is a dotted vertical line with its words."""
    points = [p for s in series for p in s.points]
    if not points:
        return Markup("<p class='quiet'>nothing was measured</p>")
    x0, x1 = x_range or (min(p[0] for p in points), max(p[0] for p in points))
    y0, y1 = y_range or (min(p[1] for p in points), max(p[1] for p in points))
    if x1 <= x0:
        x0, x1 = x0 - 0.5, x1 + 0.5
    if log_y:
        points = [p for p in points if p[1] > 0]
        y0, y1 = (
            math.log10(min((p[1] for p in points), default=0.1)),
            math.log10(max((p[1] for p in points), default=1)),
        )
    if y1 <= y0:
        y0, y1 = y0 - 0.5, y1 + 0.5
    if y_range is None:
        y0, y1 = y0 - 0.04 * (y1 - y0), y1 + 0.04 * (y1 - y0)

    def px(x: float) -> float:
        return LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)

    def py(y: float) -> float:
        value = math.log10(y) if log_y and y > 0 else y
        return HEIGHT - BOTTOM - (value - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)

    parts = [_axes(px, py, nice_ticks(x0, x1), _y_ticks(y0, y1, log_y), x_title, y_title)]
    for s in series:
        parts += _line(s, px, py, log_y)
    if marker:
        parts += _marker(px(marker[0]), marker[1])
    legend = "".join(
        f"<span><i style='background:{s.colour}'></i>{escape(s.name)}</span>"
        for s in series
        if s.name and len(series) > 1
    )
    words = ", ".join(s.name for s in series if s.name)
    svg = f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{escape(y_title)} by {escape(x_title)}: {escape(words)}'>"
    return Markup(f"{svg}{''.join(parts)}</svg>" + (f"<div class='legend'>{legend}</div>" if legend else ""))  # noqa: S704


def _line(s: Series, px: Callable[[float], float], py: Callable[[float], float], log_y: bool) -> list[str]:
    parts = []
    if s.band:
        there = " ".join(f"{px(x):.1f},{py(high):.1f}" for x, _, high in s.band)
        back = " ".join(f"{px(x):.1f},{py(low):.1f}" for x, low, _ in reversed(s.band))
        parts.append(f"<polygon points='{there} {back}' fill='{s.colour}' opacity='.16'/>")
    drawn = [p for p in s.points if not log_y or p[1] > 0]
    path = " ".join(f"{px(x):.1f},{py(y):.1f}" for x, y in drawn)
    dash = " stroke-dasharray='5 4'" if s.dashed else ""
    parts.append(f"<polyline points='{path}' fill='none' stroke='{s.colour}' stroke-width='1.8'{dash}/>")
    if s.dots or len(drawn) == 1:
        parts += [f"<circle cx='{px(x):.1f}' cy='{py(y):.1f}' r='2.6' fill='{s.colour}'/>" for x, y in drawn]
    return parts


def _marker(at: float, words: str) -> list[str]:
    """A dotted vertical line at `at` px, its words on the side that has room."""
    end = "end" if at > WIDTH / 2 else "start"
    shift = -5 if end == "end" else 5
    return [
        f"<line x1='{at:.1f}' x2='{at:.1f}' y1='{TOP}' y2='{HEIGHT - BOTTOM}' class='mark'/>",
        f"<text x='{at + shift:.1f}' y='{HEIGHT - BOTTOM - 8}' text-anchor='{end}'>{escape(words)}</text>",
    ]


def _y_ticks(y0: float, y1: float, log_y: bool) -> list[float]:
    if not log_y:
        return nice_ticks(y0, y1, 6)
    decades = range(math.floor(y0), math.ceil(y1) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5)):
        found = [m * 10.0**n for n in decades for m in steps if y0 <= math.log10(m * 10.0**n) <= y1]
        if len(found) >= 3:
            return found
    return found


def _axes(
    px: Callable[[float], float],
    py: Callable[[float], float],
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    x_title: str,
    y_title: str,
) -> str:
    bottom = HEIGHT - BOTTOM
    parts = [f"<line x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{bottom}' y2='{bottom}' class='axis'/>"]
    for t in y_ticks:
        parts.append(f"<line x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{py(t):.1f}' y2='{py(t):.1f}' class='grid'/>")
        parts.append(f"<text x='{LEFT - 7}' y='{py(t) + 4:.1f}' text-anchor='end'>{float(f'{t:.3g}'):g}</text>")
    parts += [f"<text x='{px(t):.1f}' y='{bottom + 17}' text-anchor='middle'>{t:g}</text>" for t in x_ticks]
    middle = (TOP + bottom) / 2
    parts.append(
        f"<text x='{(LEFT + WIDTH - RIGHT) / 2}' y='{HEIGHT - 6}' text-anchor='middle'>{escape(x_title)}</text>"
    )
    parts.append(f"<text transform='translate(13 {middle}) rotate(-90)' text-anchor='middle'>{escape(y_title)}</text>")
    return "".join(parts)


def strip_chart(
    rows: Sequence[tuple[str, Sequence[float]]], title: str, *, limit: float, tolerance: float | None
) -> Markup:
    """Each value a dot in its row, from -limit to limit; what lies beyond stands at the rim as a triangle. The band
    of `tolerance` is shaded, the median is a tick."""
    left, row_height, width = 190, 24, 2 * WIDTH
    height = len(rows) * row_height + 44

    def px(x: float) -> float:
        return left + (x + limit) / (2 * limit) * (width - left - 20)

    parts = []
    if tolerance is not None:
        a, b = px(-min(tolerance, limit)), px(min(tolerance, limit))
        parts.append(f"<rect x='{a:.1f}' y='4' width='{b - a:.1f}' height='{height - 40}' class='zone'/>")
    for t in nice_ticks(-limit, limit, 9):
        kind = "axis" if t == 0 else "grid"
        parts.append(f"<line x1='{px(t):.1f}' x2='{px(t):.1f}' y1='4' y2='{height - 36}' class='{kind}'/>")
        parts.append(f"<text x='{px(t):.1f}' y='{height - 20}' text-anchor='middle'>{t:g}</text>")
    for n, (name, values) in enumerate(rows):
        y = 4 + (n + 0.5) * row_height
        parts.append(f"<text x='{left - 10}' y='{y + 4:.1f}' text-anchor='end'>{escape(name)}</text>")
        for value in values:
            if abs(value) <= limit:
                parts.append(f"<circle cx='{px(value):.1f}' cy='{y:.1f}' r='3.2' class='dot'/>")
            else:
                x, way = px(math.copysign(limit, value)), math.copysign(7, value)
                parts.append(
                    f"<path d='M{x:.1f} {y - 4:.1f} L{x + way:.1f} {y:.1f} L{x:.1f} {y + 4:.1f}z' class='beyond'/>"
                )
        if values:
            median = px(max(-limit, min(limit, sorted(values)[len(values) // 2])))
            parts.append(
                f"<line x1='{median:.1f}' x2='{median:.1f}' y1='{y - 8:.1f}' y2='{y + 8:.1f}' class='median'/>"
            )
    parts.append(
        f"<text x='{(left + width - 20) / 2:.1f}' y='{height - 3}' text-anchor='middle'>{escape(title)}</text>"
    )
    return Markup(  # noqa: S704
        f"<svg viewBox='0 0 {width} {height}' role='img' aria-label='{escape(title)}'>{''.join(parts)}</svg>"
    )
