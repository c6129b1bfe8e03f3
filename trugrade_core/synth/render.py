"""From a described card to the scan of it: ground, shadow, stock, print, scanner, each a layer over the one before.

The edges that are truth (cut, frame) are drawn from their signed distance, so that every pixel holds the share of it
that is covered: measuring an edge back from the pixels finds it to a few hundredths of a pixel. Only what is no
truth (art, texture) is drawn at a coarser raster and warped into place. Working images are (H, W, 3) float32, 0 to
255, RGB.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from trugrade_core.schema import Image
from trugrade_core.synth.art import border_raster, overlay_raster, picture_raster
from trugrade_core.synth.cards import CardSpec, Geometry, inner_rectangle, stream

Field = NDArray[np.float32]
ART_DPI = 240
BLEED_MM = 0.5


def render(spec: CardSpec, where: Geometry) -> Image:
    """The scan as (H, W, 3) uint8 RGB, before the quarter turns."""
    canvas = ground(spec, where)
    card = printed(spec, where)
    outer = distance(spec, where, "cut")
    add_shadow(canvas, spec, outer, where.px_per_mm)
    cover(canvas, card, outer, where.px_per_mm)
    return scan(canvas, spec, where)


# --- geometry of pixels -----------------------------------------------------------------------------------------


def _axes(where: Geometry, degrees: float, x_mm: float, y_mm: float) -> tuple[Field, Field]:
    """mm coordinates (u, v) of every pixel in a frame turned by `degrees` with its origin at scan (x_mm, y_mm)."""
    a = np.deg2rad(degrees)
    x = (np.arange(where.width) + 0.5) / where.px_per_mm - x_mm
    y = (np.arange(where.height) + 0.5) / where.px_per_mm - y_mm
    u = (x * np.cos(a)).astype(np.float32)[None, :] + (y * np.sin(a)).astype(np.float32)[:, None]
    v = (-x * np.sin(a)).astype(np.float32)[None, :] + (y * np.cos(a)).astype(np.float32)[:, None]
    return u, v


def rectangle_distance(u: Field, v: Field, half_w: float, half_h: float, radius: float) -> Field:
    """Signed distance in mm to a rounded rectangle about the origin, negative inside. (H, W)."""
    qx, qy = np.abs(u), np.abs(v)
    qx -= half_w - radius
    qy -= half_h - radius
    if radius <= 0:
        return np.maximum(qx, qy)
    inside = np.minimum(np.maximum(qx, qy), 0)
    corner = (qx > 0) & (qy > 0)
    far = np.maximum(np.maximum(qx, qy), 0)
    far[corner] = np.hypot(qx[corner], qy[corner])
    found: Field = inside + far - np.float32(radius)
    return found


def distance(spec: CardSpec, where: Geometry, which: str) -> Field:
    """(H, W) signed distance in mm to the `cut` of the card, the `ink` (cut less its bare edge) or the `frame`."""
    tilt = spec.placement.tilt_deg
    x, y = where.centre_mm
    if which == "frame":
        fx, fy, half_w, half_h = inner_rectangle(spec)
        a = np.deg2rad(tilt)
        x, y = x + fx * np.cos(a) - fy * np.sin(a), y + fx * np.sin(a) + fy * np.cos(a)
        u, v = _axes(where, tilt + spec.print.skew_deg, x, y)
        return rectangle_distance(u, v, half_w, half_h, spec.print.radius_mm)
    u, v = _axes(where, tilt, x, y)
    half_w, half_h = spec.stock.width_mm / 2, spec.stock.height_mm / 2
    if which == "ink":
        left, top, right, bottom = spec.stock.edge_mm
        u -= np.float32((left - right) / 2)
        v -= np.float32((top - bottom) / 2)
        half_w, half_h = half_w - (left + right) / 2, half_h - (top + bottom) / 2
    return rectangle_distance(u, v, half_w, half_h, spec.stock.radius_mm)


def coverage(distance_mm: Field, px_per_mm: float) -> Field:
    """Share of each pixel that lies inside, from the signed distance of its centre."""
    found = distance_mm * np.float32(-px_per_mm)
    found += np.float32(0.5)
    return np.clip(found, 0, 1, out=found)


def cover(canvas: Field, layer: Field | NDArray[np.float32], distance_mm: Field, px_per_mm: float) -> None:
    """Lay `layer` (an image, or one colour of shape (3,)) over `canvas` where the distance is negative, in place."""
    share = coverage(distance_mm, px_per_mm)[..., None]
    canvas += share * (layer - canvas)


def _place(
    raster: Image, spec: CardSpec, where: Geometry, half_w: float, half_h: float, *, opaque: bool = True
) -> Field:
    """Warp a raster that spans +-half_w, +-half_h mm of the card's frame into the scan; float32, its own channels."""
    rows, columns = raster.shape[:2]
    step_x, step_y = 2 * half_w / columns, 2 * half_h / rows
    a, k = np.deg2rad(spec.placement.tilt_deg), where.px_per_mm
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    linear = turn @ np.diag([step_x, step_y]) * k
    first = turn @ np.array([-half_w + step_x / 2, -half_h + step_y / 2]) + where.centre_mm
    matrix = np.column_stack([linear, first * k - 0.5])
    how = cv2.INTER_LINEAR
    edge = cv2.BORDER_REPLICATE if opaque else cv2.BORDER_CONSTANT
    found = cv2.warpAffine(raster, matrix, (where.width, where.height), flags=how, borderMode=edge)
    return found.astype(np.float32)


# --- layers -----------------------------------------------------------------------------------------------------


def smooth_noise(rng: np.random.Generator, height: int, width: int, cell_px: float) -> Field:
    """(height, width) unit noise that changes over `cell_px` pixels."""
    rows, columns = int(height / cell_px) + 3, int(width / cell_px) + 3
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def ground(spec: CardSpec, where: Geometry) -> Field:
    """The scanner's lid, plain or seen through the pocket of a clear page with its seams and welded stitches."""
    rng = stream(spec.seed, spec.index, 2)
    height, width, k = where.height, where.width, where.px_per_mm
    level = np.full((height, width), spec.ground.level, np.float32)
    level += spec.ground.texture * 1.5 * smooth_noise(rng, height, width, 12 * k)
    if spec.ground.kind == "pocket":
        level += spec.ground.texture * 2.0 * smooth_noise(rng, height, width, 1.2 * k)
        _pocket(level, rng, k)
    return np.repeat(level[..., None], 3, axis=2)


def _line(level: Field, rng: np.random.Generator, at: float, vertical: bool, thick: float, gain: float) -> None:
    """A faint line along a seam, straight to a fraction of a pixel, whose brightness comes and goes."""
    view = level.T if vertical else level
    rows, columns = view.shape
    lean = rng.normal(0, 0.002)
    position = at + lean * (np.arange(columns, dtype=np.float32) - columns / 2)
    strength = gain * np.clip(0.7 + 0.5 * smooth_noise(rng, 1, columns, max(40, columns / 20))[0], 0, None)
    reach = int(3 * thick + abs(lean) * columns / 2) + 2
    first, last = max(0, int(at) - reach), min(rows, int(at) + reach)
    if last > first:
        y = np.arange(first, last, dtype=np.float32)[:, None]
        view[first:last] += strength[None, :] * np.exp(-(((y - position[None, :]) / thick) ** 2))


def _pocket(level: Field, rng: np.random.Generator, k: float) -> None:
    """Seams along two to four sides, a row of welds beside some of them, dust and hairlines."""
    height, width = level.shape
    for side in range(4):
        vertical, size = side % 2 == 0, (width if side % 2 == 0 else height)
        off = rng.uniform(0.4, 1.7) * k
        at = off if side < 2 else size - off
        if rng.random() < 0.75:
            _line(level, rng, at, vertical, max(0.6, 0.05 * k), float(rng.uniform(15, 70)))
        if rng.random() < 0.45:
            _welds(level, rng, at, vertical, k)
    for _ in range(rng.poisson(5)):
        _line(level, rng, rng.uniform(0, height), False, max(0.5, 0.03 * k), float(rng.uniform(2, 10)))
    dust = rng.uniform(0, [width, height], (rng.poisson(40), 2))
    for x, y in dust:
        centre = int(x * 16), int(y * 16)
        cv2.circle(
            level, centre, int(rng.uniform(0.02, 0.09) * k * 16), float(rng.uniform(80, 190)), -1, cv2.LINE_AA, 4
        )


def _welds(level: Field, rng: np.random.Generator, at: float, vertical: bool, k: float) -> None:
    """A row of small rounded rectangles pressed into the plastic."""
    view = level.T if vertical else level
    rows, columns = view.shape
    pitch, size = rng.uniform(1.4, 2.3) * k, np.array([rng.uniform(0.8, 1.2), rng.uniform(0.9, 1.3)]) * k
    offset, gain = rng.uniform(0, pitch), rng.uniform(12, 40)
    y = np.arange(rows, dtype=np.float32)
    near = np.flatnonzero(np.abs(y - at) < size[1])
    if len(near) == 0:
        return
    x = (np.arange(columns, dtype=np.float32) - offset) % pitch - pitch / 2
    edge = rectangle_distance(
        np.repeat(x[None, :], len(near), 0), np.repeat(y[near, None] - np.float32(at), columns, 1),
        float(size[0] / 2), float(size[1] / 2), float(size.min() / 3),
    )  # fmt: skip
    rim = np.exp(-((edge / max(0.6, 0.07 * k)) ** 2)) * gain
    view[near[0] : near[-1] + 1] += rim * np.clip(0.8 + 0.5 * smooth_noise(rng, 1, columns, pitch * 3)[0], 0.1, None)


def add_shadow(canvas: Field, spec: CardSpec, outer: Field, k: float) -> None:
    """The card lies a little above the lid: a narrow dark rim, darkest at the cut. Outside the card only matters."""
    fall = np.maximum(outer, 0) * np.float32(-1 / 0.25)
    canvas *= (1 - np.float32(spec.ground.shadow) * np.exp(fall))[..., None]


def printed(spec: CardSpec, where: Geometry) -> Field:
    """The face of the card as if it went on for ever: stock, ink, frame line, picture, words."""
    rng = stream(spec.seed, spec.index, 1)
    k, stock = where.px_per_mm, spec.stock
    art_dpi = min(ART_DPI, k * 25.4)
    half_w, half_h = stock.width_mm / 2 + BLEED_MM, stock.height_mm / 2 + BLEED_MM
    size_wh = round(2 * half_w / 25.4 * art_dpi), round(2 * half_h / 25.4 * art_dpi)
    ink = _place(border_raster(rng, spec.print, *size_wh), spec, where, half_w, half_h)
    frame = distance(spec, where, "frame")
    if spec.print.line_mm > 0:
        cover(ink, np.array(spec.print.line_colour, np.float32), frame, k)
    picture = _place(picture_raster(rng, spec.print, *size_wh), spec, where, half_w, half_h)
    cover(ink, picture, frame + np.float32(spec.print.line_mm), k)
    words = overlay_raster(rng, spec.print, *size_wh, art_dpi / 25.4)
    over = _place(words, spec, where, half_w, half_h, opaque=False)
    ink += over[..., 3:] / 255 * (over[..., :3] - ink)
    _halftone(ink, spec, where, rng)
    face = np.empty_like(ink)
    face[:] = np.array(stock.colour, np.float32)
    cover(face, ink, distance(spec, where, "ink"), k)
    return face


def _halftone(ink: Field, spec: CardSpec, where: Geometry, rng: np.random.Generator) -> None:
    """Two crossed screens of about 150 lines an inch and the grain of the paper, where the scan can hold them."""
    height, width = ink.shape[:2]
    grain = rng.standard_normal((height // 2 + 1, width // 2 + 1), dtype=np.float32)
    texture = 1 + np.float32(0.012) * cv2.resize(grain, (width, height), interpolation=cv2.INTER_LINEAR)
    lines_px = 150 / 25.4 / where.px_per_mm
    if lines_px < 0.4:
        for degrees in (15, 75):
            a = np.deg2rad(degrees + spec.placement.tilt_deg)
            x = 2 * np.pi * lines_px * np.cos(a) * np.arange(width)
            y = 2 * np.pi * lines_px * np.sin(a) * np.arange(height)
            wave = np.outer(np.cos(y), np.cos(x)) - np.outer(np.sin(y), np.sin(x))
            texture += (spec.print.screen * wave).astype(np.float32)
    ink *= texture[..., None]


def scan(canvas: Field, spec: CardSpec, where: Geometry) -> Image:
    """Optics, sensor and driver: dust, point spread, sharpening, a breath of colour, noise, 8 bits."""
    rng = stream(spec.seed, spec.index, 3)
    k = where.px_per_mm
    for x, y in rng.uniform(0, [where.width, where.height], (spec.scanner.dust, 2)):
        grey, radius = float(rng.uniform(110, 215)), float(rng.uniform(0.015, 0.06)) * k
        cv2.circle(canvas, (int(x * 16), int(y * 16)), max(8, int(radius * 16)), (grey, grey, grey), -1, cv2.LINE_AA, 4)
    sigma = spec.scanner.blur_mm * k
    if sigma > 0.15:
        cv2.GaussianBlur(canvas, (0, 0), sigma, dst=canvas)
    if spec.scanner.sharpen > 0:
        canvas += np.float32(spec.scanner.sharpen) * (canvas - cv2.GaussianBlur(canvas, (0, 0), max(0.5, 0.05 * k)))
    canvas *= np.array(spec.scanner.tint, np.float32)
    if spec.scanner.noise > 0:
        noise = rng.standard_normal(canvas.shape[:2], dtype=np.float32)
        noise *= np.float32(spec.scanner.noise)
        canvas += noise[..., None]
    np.clip(canvas + np.float32(0.5), 0, 255, out=canvas)
    return canvas.astype(np.uint8)
