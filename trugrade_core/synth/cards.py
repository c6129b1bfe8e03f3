"""Made-up cards on a scanner: a description in millimetres, drawn at random, and its exact truth in pixels.

`describe` draws a `CardSpec` (stock, print, placement, ground, scanner: each a small frozen record), `geometry` says
where its edges lie in the scan, `make_card` renders it. Damage and light come later as further records of a spec
and further layers of `render`; the streams of random numbers are kept apart, so that they will not move these.

Frames. The card's own: mm from the centre of the card, x right, y down, untilted. The scan: pixels of the lab's
frame (pixel centres at integers). All quads are top left, top right, bottom right, bottom left as seen in the scan.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trugrade_core.schema import Image

Array = NDArray[np.float64]
RGB = tuple[float, float, float]
Four = tuple[float, float, float, float]
Border = Literal["flat", "gradient", "split", "stripes", "weave"]
Art = Literal["player", "rays", "emblem", "text", "crowd"]
BORDERS: dict[Border, float] = {"flat": 0.55, "gradient": 0.13, "split": 0.14, "stripes": 0.08, "weave": 0.1}
ARTS: dict[Art, float] = {"player": 0.4, "rays": 0.2, "emblem": 0.12, "text": 0.16, "crowd": 0.12}

SPORTS_MM, TCG_MM, SMALL_MM = (63.5, 88.9), (63.0, 88.0), (59.0, 86.0)


@dataclass(frozen=True, kw_only=True)
class Stock:
    """The card as an object. `edge_mm`: how much bare cut edge shows on the left, top, right, bottom."""

    width_mm: float
    height_mm: float
    radius_mm: float
    colour: RGB
    edge_mm: Four


@dataclass(frozen=True, kw_only=True)
class Print:
    """What is printed on it. `margins_mm` (left, top, right, bottom in the card's frame) include the drift of print
    against cut; `skew_deg` turns the frame about its own centre. `line_mm` is the width of the dark frame line, whose
    outer edge is the graphical border; 0 for none. `sideways` lays the picture on its side."""

    margins_mm: Four
    skew_deg: float
    radius_mm: float
    border: Border
    colours: tuple[RGB, RGB, RGB]
    line_mm: float
    line_colour: RGB
    art: Art
    sideways: bool
    banner: bool
    screen: float


@dataclass(frozen=True, kw_only=True)
class Placement:
    """`ground_mm`: what is seen around the tilted card on the left, top, right, bottom; `turns` quarter turns of the
    whole scan."""

    ground_mm: Four
    tilt_deg: float
    turns: int


@dataclass(frozen=True, kw_only=True)
class Ground:
    kind: Literal["pocket", "plain"]
    level: float
    texture: float
    shadow: float


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """`blur_mm` is the sigma of the point spread, `sharpen` how strongly the driver sharpens, `noise` the sigma of the
    noise in grey levels, `dust` the number of specks."""

    blur_mm: float
    sharpen: float
    noise: float
    dust: int
    tint: RGB


@dataclass(frozen=True, kw_only=True)
class CardSpec:
    seed: int
    index: int
    stock: Stock
    print: Print
    placement: Placement
    ground: Ground
    scanner: Scanner


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Where a spec's edges lie in its scan before the quarter turns; quads in px, (4, 2)."""

    width: int
    height: int
    px_per_mm: float
    centre_mm: tuple[float, float]
    outer: Array
    inner: Array


@dataclass(frozen=True, kw_only=True)
class Card:
    """A rendered card and its truth. Quads are the ideal corners, (4, 2); outlines follow rounded corners, (N, 2);
    both in px of the lab's frame. `margins_mm` (left, top, right, bottom as seen in the scan) are the distances
    from the middle of each inner side to the outer line."""

    image: Image
    spec: CardSpec
    dpi: int
    outer_quad_px: Array
    inner_quad_px: Array
    outer_outline_px: Array
    inner_outline_px: Array
    margins_mm: Four
    tilt_deg: float


def stream(seed: int, index: int, layer: int) -> np.random.Generator:
    """The random numbers of one layer of one card; layers: 0 description, 1 art, 2 ground, 3 scanner."""
    return np.random.default_rng([seed, index, layer])


# --- the description --------------------------------------------------------------------------------------------


def _hsv(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> RGB:
    r, g, b = colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))
    return 255 * r, 255 * g, 255 * b


def _three(values: Array) -> RGB:
    return float(values[0]), float(values[1]), float(values[2])


def _four(values: Array) -> Four:
    return float(values[0]), float(values[1]), float(values[2]), float(values[3])


def _draw_stock(rng: np.random.Generator, size_mm: tuple[float, float] | None) -> Stock:
    size = size_mm or (SPORTS_MM, SPORTS_MM, SPORTS_MM, TCG_MM, SMALL_MM)[rng.integers(5)]
    rounded = rng.random() < (0.15 if size == SPORTS_MM else 0.85)
    edges = np.where(rng.random(4) < 0.5, rng.uniform(0.02, 0.2, 4), 0.0)
    return Stock(
        width_mm=size[0] + float(np.clip(rng.normal(0, 0.12), -0.4, 0.4)),
        height_mm=size[1] + float(np.clip(rng.normal(0, 0.15), -0.4, 0.4)),
        radius_mm=float(rng.uniform(2.5, 3.3)) if rounded else float(rng.uniform(0.0, 0.25)),
        colour=_three(rng.uniform(205, 235) + np.array([4.0, 2.0, -6.0])),
        edge_mm=_four(edges),
    )


def _draw_colours(rng: np.random.Generator) -> tuple[RGB, RGB, RGB]:
    """Border colour, its companion, an accent. White, strong colours, and dark ones that hardly leave the ground."""
    kind = rng.choice(["white", "colour", "dark", "black"], p=[0.32, 0.4, 0.18, 0.1])
    first = {
        "white": lambda: _hsv(rng, (0.0, 0.04), (0.87, 0.94)),
        "colour": lambda: _hsv(rng, (0.35, 0.9), (0.45, 0.9)),
        "dark": lambda: _hsv(rng, (0.3, 0.8), (0.22, 0.4)),
        "black": lambda: _hsv(rng, (0.0, 0.3), (0.1, 0.18)),
    }[str(kind)]()
    return first, _hsv(rng, (0.25, 0.8), (0.3, 0.85)), _hsv(rng, (0.4, 0.85), (0.5, 0.92))


def _draw_print(rng: np.random.Generator) -> Print:
    sides = np.repeat(np.clip(rng.normal(3.4, 0.7, 2), 1.8, 6.0), 2)[[0, 2, 1, 3]]
    if rng.random() < 0.3:
        sides[rng.integers(4)] *= rng.uniform(1.1, 1.5)
    scale = rng.choice([0.3, 0.8], p=[0.8, 0.2])
    drift = np.clip(rng.normal(0, scale, 2), -1.3, 1.3)
    margins = np.clip(sides + np.array([drift[0], drift[1], -drift[0], -drift[1]]), 0.7, None)
    border = list(BORDERS)[rng.choice(len(BORDERS), p=list(BORDERS.values()))]
    art = list(ARTS)[rng.choice(len(ARTS), p=list(ARTS.values()))]
    line = 0.0 if rng.random() < 0.4 else float(rng.uniform(0.15, 0.6))
    dark = rng.random() < 0.7
    return Print(
        margins_mm=_four(margins),
        skew_deg=float(np.clip(rng.normal(0, 0.15), -0.6, 0.6)),
        radius_mm=float(rng.uniform(1, 4)) if rng.random() < 0.2 else 0.0,
        border=border,
        colours=_draw_colours(rng),
        line_mm=line,
        line_colour=_hsv(rng, (0, 0.3), (0.08, 0.15)) if dark else _hsv(rng, (0, 0.9), (0.7, 0.95)),
        art=art,
        sideways=bool(rng.random() < 0.15),
        banner=bool(rng.random() < 0.45),
        screen=float(rng.uniform(0.0, 0.06)),
    )


def _draw_placement(rng: np.random.Generator) -> Placement:
    """As the real scans lie (45 to 140 px of ground at 600 dpi), a quarter of them with much more ground."""
    far = 12.0 if rng.random() < 0.25 else 0.0
    ground = rng.uniform([1.9, 1.9, 1.9, 1.9], [4.5 + far, 6.0 + far, 4.5 + far, 6.0 + far])
    tilt = rng.normal(0, 0.35) if rng.random() < 0.7 else rng.uniform(-1.5, 1.5)
    return Placement(
        ground_mm=_four(ground),
        tilt_deg=float(np.clip(tilt, -1.5, 1.5)),
        turns=int(rng.choice(4, p=[0.8, 0.07, 0.06, 0.07])),
    )


def _draw_ground(rng: np.random.Generator) -> Ground:
    kind = rng.choice(["pocket", "dark", "light"], p=[0.7, 0.2, 0.1])
    level = {"pocket": (48, 80), "dark": (8, 75), "light": (150, 248)}[str(kind)]
    return Ground(
        kind="pocket" if kind == "pocket" else "plain",
        level=float(rng.uniform(*level)),
        texture=float(rng.uniform(0.6, 1.4)),
        shadow=float(rng.uniform(0.2, 0.6)),
    )


def describe(seed: int, index: int, size_mm: tuple[float, float] | None = None) -> CardSpec:
    """Draw card `index` of the series `seed` (both >= 0). `size_mm` fixes the nominal size, else it is drawn."""
    rng = stream(seed, index, 0)
    stock, printed, placement, ground = (
        _draw_stock(rng, size_mm),
        _draw_print(rng),
        _draw_placement(rng),
        _draw_ground(rng),
    )
    scanner = Scanner(
        blur_mm=float(rng.uniform(0.02, 0.04)),
        sharpen=float(rng.uniform(0.0, 0.8)),
        noise=float(rng.uniform(1.5, 4.0)),
        dust=int(rng.poisson(45)),
        tint=_three(rng.normal(1, 0.008, 3)),
    )
    return CardSpec(
        seed=seed, index=index, stock=stock, print=printed, placement=placement, ground=ground, scanner=scanner
    )


# --- where its edges are ----------------------------------------------------------------------------------------


def _turned(points: Array, degrees: float) -> Array:
    """Points (N, 2) turned about the origin, clockwise as seen on the screen."""
    a = np.deg2rad(degrees)
    turn = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    found: Array = points @ turn
    return found


def inner_rectangle(spec: CardSpec) -> tuple[float, float, float, float]:
    """Centre x, y and half width, half height of the graphical border in the card's frame, in mm, before its skew."""
    left, top, right, bottom = spec.print.margins_mm
    return (
        (left - right) / 2,
        (top - bottom) / 2,
        (spec.stock.width_mm - left - right) / 2,
        (spec.stock.height_mm - top - bottom) / 2,
    )


def rounded_outline(half_w: float, half_h: float, radius: float, steps: int = 13) -> Array:
    """(4 * steps, 2) points around a rectangle about the origin, or its 4 corners without a radius; clockwise
    from the top left."""
    if radius <= 0:
        return np.array([[-half_w, -half_h], [half_w, -half_h], [half_w, half_h], [-half_w, half_h]])
    angles = np.deg2rad(np.linspace(180, 270, steps))
    points = []
    for n, (sx, sy) in enumerate([(-1, -1), (1, -1), (1, 1), (-1, 1)]):
        centre = np.array([sx * (half_w - radius), sy * (half_h - radius)])
        a = angles + n * np.pi / 2
        points.append(centre + radius * np.stack([np.cos(a), np.sin(a)], axis=1))
    return np.concatenate(points)


def _card_points(spec: CardSpec, which: Literal["outer", "inner"], radius: float) -> Array:
    """An outline in the card's frame, in mm."""
    if which == "outer":
        return rounded_outline(spec.stock.width_mm / 2, spec.stock.height_mm / 2, radius)
    x, y, half_w, half_h = inner_rectangle(spec)
    found: Array = _turned(rounded_outline(half_w, half_h, radius), spec.print.skew_deg) + np.array([x, y])
    return found


def geometry(spec: CardSpec, dpi: int) -> Geometry:
    """The scan's size and the quads in it, before quarter turns."""
    scale = dpi / 25.4
    tilt = spec.placement.tilt_deg
    corners = _turned(_card_points(spec, "outer", 0), tilt)
    left, top, right, bottom = spec.placement.ground_mm
    centre = (left - corners[:, 0].min(), top - corners[:, 1].min())
    size = (corners.max(axis=0) + centre + (right, bottom)) * scale
    inner = _turned(_card_points(spec, "inner", 0), tilt)
    return Geometry(
        width=round(size[0]),
        height=round(size[1]),
        px_per_mm=scale,
        centre_mm=centre,
        outer=(corners + centre) * scale - 0.5,
        inner=(inner + centre) * scale - 0.5,
    )


def _quarter_turns(points: Array, width: int, height: int, turns: int) -> Array:
    """Where points of a width x height image land after `np.rot90(image, turns)` (anticlockwise)."""
    for _ in range(turns % 4):
        points = np.stack([points[:, 1], width - 1 - points[:, 0]], axis=1)
        width, height = height, width
    found: Array = points
    return found


def margins_mm(outer: Array, inner: Array, px_per_mm: float) -> Four:
    """Left, top, right, bottom: from the middle of each inner side to the outer side's line, in mm."""
    found = []
    for a, b in ((3, 0), (0, 1), (1, 2), (2, 3)):
        along = (outer[b] - outer[a]) / np.linalg.norm(outer[b] - outer[a])
        away = (inner[a] + inner[b]) / 2 - outer[a]
        found.append(float(along[0] * away[1] - along[1] * away[0]) / px_per_mm)
    return found[0], found[1], found[2], found[3]


def make_card(seed: int, index: int, dpi: int = 600, size_mm: tuple[float, float] | None = None) -> Card:
    """Card `index` of the series `seed`, scanned at `dpi`; the same arguments give the same bytes."""
    return render_card(describe(seed, index, size_mm), dpi)


def render_card(spec: CardSpec, dpi: int) -> Card:
    """The scan of a described card and its truth."""
    from trugrade_core.synth.render import render

    where = geometry(spec, dpi)
    turns = spec.placement.turns

    def seen(points: Array, first: int) -> Array:
        """After the quarter turns, starting again at the top left: `first` points lie in each quarter."""
        return np.roll(_quarter_turns(points, where.width, where.height, turns), -turns * first, axis=0)

    def outline(which: Literal["outer", "inner"], radius: float) -> Array:
        points = _turned(_card_points(spec, which, radius), spec.placement.tilt_deg)
        return seen((points + where.centre_mm) * where.px_per_mm - 0.5, len(points) // 4)

    outer, inner = seen(where.outer, 1), seen(where.inner, 1)
    return Card(
        image=np.ascontiguousarray(np.rot90(render(spec, where), turns)),
        spec=spec,
        dpi=dpi,
        outer_quad_px=outer,
        inner_quad_px=inner,
        outer_outline_px=outline("outer", spec.stock.radius_mm),
        inner_outline_px=outline("inner", spec.print.radius_mm),
        margins_mm=margins_mm(outer, inner, where.px_per_mm),
        tilt_deg=spec.placement.tilt_deg,
    )
