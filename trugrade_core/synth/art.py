"""What is printed on a made-up card: borders, pictures, words. No truth lies here, so it is drawn on a coarse raster.

Every raster spans the card and a small bleed, in the card's frame, (H, W, 3) uint8 RGB (the overlay has alpha).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trugrade_core.schema import Image
from trugrade_core.synth.cards import RGB, Print

NAMES = ("JO HARTLEY", "Marcus Vane", "LEO BRANDT", "Ines Okafor", "KENJI MORI", "Theo Lund", "R. CASTELLAN", "Ada Quist",
         "SAM WINTERS", "Nico Adler", "OTTO BRISK", "Mira Solano")  # fmt: skip
TEAMS = ("COMETS", "Harbour", "IRONS", "Foxes", "LEADERS", "All-Star", "RIVERMEN", "Pilots", "KINGS", "Outfield")
SKIN = ((236, 198, 166), (214, 164, 128), (170, 118, 84), (112, 76, 54), (88, 58, 42))


def _blank(width: int, height: int, colour: RGB) -> Image:
    return np.full((height, width, 3), np.round(colour), np.uint8)


def _noise(rng: np.random.Generator, width: int, height: int, cell: float) -> NDArray[np.float32]:
    rows, columns = int(height / cell) + 3, int(width / cell) + 3
    found = cv2.resize(
        rng.standard_normal((rows, columns), dtype=np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    return np.asarray(found, np.float32)


def _shade(image: Image, rng: np.random.Generator, amount: float, cell: float) -> Image:
    """Light and dark patches, as ink on paper and light on cloth have them."""
    height, width = image.shape[:2]
    gain = 1 + amount * _noise(rng, width, height, cell)
    return np.clip(image * gain[..., None], 0, 255).astype(np.uint8)


def _mix(a: RGB, b: RGB, share: NDArray[np.float32]) -> Image:
    """(H, W, 3): `a` where share is 0, `b` where it is 1."""
    low, high = np.array(a, np.float32), np.array(b, np.float32)
    return (low + np.clip(share, 0, 1)[..., None] * (high - low)).astype(np.uint8)


# --- borders ----------------------------------------------------------------------------------------------------


def border_raster(rng: np.random.Generator, p: Print, width: int, height: int) -> Image:
    first, second, third = p.colours
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    if p.border == "gradient":
        image = _mix(first, second, (y / height) ** 1.5 * 0.7)
    elif p.border == "split":
        image = _blank(width, height, first)
        low, high = sorted(rng.uniform(0.15, 0.85, 2))
        image[int(low * height) : int(high * height)] = np.round(second)
        image[int(high * height) :] = np.round(third if rng.random() < 0.5 else first)
    elif p.border == "stripes":
        period = rng.uniform(0.03, 0.09) * width
        image = _mix(first, second, ((x + y * rng.choice([0, 1])) % period < 0.3 * period).astype(np.float32) * 0.8)
    elif p.border == "weave":
        streaks = cv2.resize(_noise(rng, width, height, 2.0), (width, height))
        image = _mix(first, tuple(0.8 * c for c in first), 0.5 + 0.5 * cv2.blur(streaks, (1, 25)))  # type: ignore[arg-type]
    else:
        image = _blank(width, height, first)
    return _shade(image, rng, 0.015, width / 12)


# --- pictures ---------------------------------------------------------------------------------------------------


def picture_raster(rng: np.random.Generator, p: Print, width: int, height: int) -> Image:
    draw = {"player": _player, "rays": _rays, "emblem": _emblem, "text": _text_box, "crowd": _crowd}[p.art]
    size = (height, width) if p.sideways else (width, height)
    picture = np.rot90(draw(rng, p, *size), rng.choice([1, 3]) if p.sideways else 0)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.6), np.uint8)  # no steps where it is drawn larger


def _crowd(rng: np.random.Generator, p: Print, width: int, height: int) -> Image:
    """An out-of-focus stand: patches of colour over a darker base."""
    base = _mix(
        tuple(rng.uniform(30, 110, 3)),
        tuple(rng.uniform(60, 190, 3)),
        0.5 + 0.4 * _noise(rng, width, height, width / 6),
    )  # type: ignore[arg-type]
    spots = rng.uniform(0, [width, height], (220, 2)).astype(int)
    for (x, y), colour in zip(spots, _dulled(rng, 220), strict=True):
        radius = int(rng.uniform(0.008, 0.028) * width)
        cv2.ellipse(base, (int(x), int(y)), (radius, int(radius * 1.4)), 0, 0, 360, colour.tolist(), -1, cv2.LINE_AA)
    blurred: Any = cv2.GaussianBlur(base, (0, 0), rng.uniform(0.004, 0.014) * width)
    return _shade(blurred, rng, 0.06, width / 8)


def _dulled(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """(count, 3) colours of clothes in a crowd: mostly greyish."""
    return rng.uniform(35, 225, (count, 1)) + rng.normal(0, 28, (count, 3))


def _field(rng: np.random.Generator, p: Print, width: int, height: int) -> Image:
    """Sky, stand, grass, sand: what stands behind a player."""
    image = _crowd(rng, p, width, height)
    horizon = int(rng.uniform(0.45, 0.7) * height)
    if rng.random() < 0.4:
        sky = _mix(
            (150, 190, 228), (214, 228, 240), np.linspace(0, 1, horizon, dtype=np.float32)[:, None].repeat(width, 1)
        )
        image[:horizon] = _shade(sky, rng, 0.04, width / 4)
    grass = _blank(width, height - horizon, (rng.uniform(60, 120), rng.uniform(110, 160), rng.uniform(45, 80)))
    image[horizon:] = _shade(grass, rng, 0.1, width / 40)
    if rng.random() < 0.6:
        cut = int(horizon + rng.uniform(0.3, 0.7) * (height - horizon))
        image[cut:] = _shade(_blank(width, height - cut, (186, 140, 98)), rng, 0.08, width / 30)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 0.004 * width), np.uint8)


def _limb(image: Image, points: list[tuple[float, float]], thick: float, colour: RGB) -> None:
    line = np.array(points).round().astype(np.int32)
    cv2.polylines(image, [line], False, colour, max(1, round(thick)), cv2.LINE_AA)
    for x, y in line:
        cv2.circle(image, (int(x), int(y)), max(1, round(thick / 2)), colour, -1, cv2.LINE_AA)


def _head(image: Image, rng: np.random.Generator, x: float, top: float, head: float, skin: RGB, cap: RGB) -> None:
    """Face under a cap whose peak points left or right; `head` is half its height in px, `top` its crown."""
    cv2.ellipse(
        image,
        (round(x), round(top + 1.1 * head)),
        (round(0.85 * head), round(1.1 * head)),
        0,
        0,
        360,
        skin,
        -1,
        cv2.LINE_AA,
    )
    cv2.ellipse(
        image,
        (round(x), round(top + 0.7 * head)),
        (round(0.92 * head), round(0.85 * head)),
        0,
        180,
        360,
        cap,
        -1,
        cv2.LINE_AA,
    )
    turn = rng.choice([-1, 1])
    shade: RGB = tuple(0.72 * c for c in skin)  # type: ignore[assignment]
    cv2.ellipse(
        image,
        (round(x), round(top + 0.95 * head)),
        (round(0.8 * head), round(0.3 * head)),
        0,
        0,
        180,
        shade,
        -1,
        cv2.LINE_AA,
    )
    for eye in (-1, 1):
        cv2.circle(
            image,
            (round(x + eye * 0.33 * head), round(top + 1.15 * head)),
            max(1, round(0.09 * head)),
            (40, 30, 28),
            -1,
            cv2.LINE_AA,
        )
    _limb(
        image, [(x - 0.25 * head, top + 1.72 * head), (x + 0.25 * head, top + 1.72 * head)], 0.12 * head, (140, 70, 66)
    )
    _limb(image, [(x, top + 0.72 * head), (x + turn * 1.4 * head, top + 0.78 * head)], 0.3 * head, cap)


def _figure(image: Image, rng: np.random.Generator, p: Print, x: float, top: float, tall: float) -> None:
    """A player: cap, head, jersey, arms, trousers, perhaps a bat; `tall` is crown to heel in px."""
    head = tall * 0.075
    skin = SKIN[rng.integers(len(SKIN))]
    cloth: RGB = (228, 226, 220) if rng.random() < 0.5 else p.colours[1]
    legs: RGB = tuple(0.93 * c for c in cloth) if rng.random() < 0.6 else (222, 220, 214)  # type: ignore[assignment]
    shoulder, hip = top + 2.7 * head, top + tall * 0.55
    span = rng.uniform(1.9, 2.4) * head
    for side in (-1, 1):
        knee = (x + side * span * rng.uniform(0.5, 1.1), top + tall * 0.77)
        foot = (knee[0] + side * head * rng.uniform(-0.5, 1.2), top + tall)
        _limb(image, [(x + side * span * 0.4, hip), knee, foot], 1.5 * head, legs)
        _limb(image, [foot, (foot[0] + side * 0.9 * head, foot[1])], 0.7 * head, (28, 26, 30))
    body = [(x - span, shoulder), (x + span, shoulder), (x + span * 0.75, hip), (x - span * 0.75, hip)]
    cv2.fillPoly(image, [np.array(body).round().astype(np.int32)], cloth, cv2.LINE_AA)
    hands = []
    for side in (-1, 1):
        elbow = (x + side * span * rng.uniform(1.1, 1.7), shoulder + head * rng.uniform(0.3, 2.6))
        hand = (elbow[0] + side * head * rng.uniform(-1.6, 1.4), elbow[1] - head * rng.uniform(-1.5, 2.2))
        _limb(image, [(x + side * span * 0.85, shoulder + 0.35 * head), elbow], 1.1 * head, cloth)
        _limb(image, [elbow, hand], 0.75 * head, skin)
        hands.append(hand)
    _limb(image, [(x, shoulder - head), (x, shoulder)], 0.9 * head, skin)
    _head(image, rng, x, top, head, skin, p.colours[2])
    _limb(
        image, [(x - 0.5 * span, shoulder), (x, shoulder + head), (x + 0.5 * span, shoulder)], 0.22 * head, p.colours[2]
    )
    if rng.random() < 0.6:
        at, angle = hands[rng.integers(2)], rng.uniform(-2.4, -0.7)
        _limb(
            image,
            [at, (at[0] + 5 * head * np.cos(angle), at[1] + 5 * head * np.sin(angle))],
            0.4 * head,
            (176, 128, 76),
        )
    _write(
        image, str(rng.integers(1, 60)), (x, (shoulder + hip) / 2 - 0.4 * head), 2.0 * head, p.colours[0], anchor="mm"
    )


def _player(rng: np.random.Generator, p: Print, width: int, height: int) -> Image:
    image = _field(rng, p, width, height)
    tall = rng.uniform(0.68, 1.25) * height
    _figure(image, rng, p, rng.uniform(0.38, 0.62) * width, rng.uniform(0.1, 0.2) * height, tall)
    if rng.random() < 0.25:
        _figure(image, rng, p, rng.uniform(0.15, 0.85) * width, rng.uniform(0.2, 0.35) * height, 0.7 * tall)
    return _shade(image, rng, 0.07, width / 9)


def _rays(rng: np.random.Generator, p: Print, width: int, height: int) -> Image:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = np.arctan2(y - rng.uniform(0.3, 0.8) * height, x - width / 2) + rng.uniform(0, 1)
    count = int(rng.integers(6, 16))
    light: RGB = (240, 238, 232) if rng.random() < 0.6 else p.colours[0]
    image = _mix(light, p.colours[1], (np.sin(angle * count) > rng.uniform(-0.4, 0.5)).astype(np.float32))
    _figure(image, rng, p, width / 2, 0.14 * height, rng.uniform(1.2, 1.9) * height)
    return _shade(image, rng, 0.04, width / 9)


def _emblem(rng: np.random.Generator, p: Print, width: int, height: int) -> Image:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    period = rng.uniform(0.06, 0.14) * width
    image = _mix(p.colours[1], p.colours[2], 0.25 + 0.25 * np.sign(np.sin((x + y) / period) * np.sin((x - y) / period)))
    centre, radius = (width // 2, int(0.45 * height)), int(rng.uniform(0.25, 0.36) * width)
    cv2.circle(image, centre, radius, (238, 234, 220), -1, cv2.LINE_AA)
    cv2.circle(image, centre, radius, p.colours[0], max(2, width // 60), cv2.LINE_AA)
    _figure(image, rng, p, centre[0], centre[1] - 0.7 * radius, 1.5 * radius)
    _write(image, str(rng.choice(TEAMS)), (width / 2, 0.8 * height), 0.09 * height, (240, 236, 224), anchor="mm")
    return _shade(image, rng, 0.03, width / 9)


def _text_box(rng: np.random.Generator, p: Print, width: int, height: int) -> Image:
    """A game card: name bar, picture, text."""
    tone = tuple(0.5 * c + 110 for c in p.colours[2])
    image = _shade(_blank(width, height, tone), rng, 0.05, width / 14)  # type: ignore[arg-type]
    left, right = int(0.1 * width), int(0.9 * width)
    top, middle, bottom = int(0.15 * height), int(rng.uniform(0.5, 0.6) * height), int(0.92 * height)
    scene = _player if rng.random() < 0.5 else _rays
    image[top:middle, left:right] = scene(rng, p, right - left, middle - top)
    cv2.rectangle(image, (left, top), (right, middle), (40, 34, 30), max(1, width // 200), cv2.LINE_AA)
    image[middle + int(0.05 * height) : bottom, left:right] = (236, 230, 214)
    _write(image, str(rng.choice(NAMES)), (left, 0.115 * height), 0.036 * height, (24, 22, 22), anchor="lm")
    _write(image, str(rng.integers(10, 200)), (right, 0.115 * height), 0.036 * height, (150, 24, 24), anchor="rm")
    for n in range(int(rng.integers(4, 8))):
        y = middle + int((0.075 + 0.032 * n) * height)
        if y < bottom - 0.03 * height:
            words = " ".join(
                rng.choice(("when", "this", "card", "enters", "draw", "two", "until", "end", "of", "turn"), 6)
            )
            _write(image, words, (left + 0.02 * width, y), 0.021 * height, (44, 40, 40), anchor="lm")
    return image


# --- words and badges over the frame ----------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _font(px: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(px)


def _write(
    image: NDArray[np.uint8], text: str, at: tuple[float, float], px: float, colour: RGB, anchor: str = "la"
) -> None:
    """Text in the picture, in place; channels beyond the third are set to 255."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    font = _font(max(4, round(px)))
    bold = px * 0.03
    left, top, right, bottom = (round(v) for v in font.getbbox(text, anchor=anchor, stroke_width=bold))
    x0, y0 = round(at[0]) + left - 1, round(at[1]) + top - 1
    stencil = Pillow.new("L", (max(1, right - left + 3), max(1, bottom - top + 3)))
    ImageDraw.Draw(stencil).text((1 - left, 1 - top), text, 255, font, anchor, stroke_width=bold)
    share = np.asarray(stencil, np.float32) / 255
    height, width = image.shape[:2]
    a, b = max(0, -y0), max(0, -x0)
    share = share[a : max(a, height - y0), b : max(b, width - x0), None]
    if share.size == 0:
        return
    part = image[y0 + a : y0 + a + share.shape[0], x0 + b : x0 + b + share.shape[1]]
    ink = np.array([*colour, 255][: image.shape[2]], np.float32)
    part[:] = np.round(part + share * (ink - part)).astype(np.uint8)


def overlay_raster(rng: np.random.Generator, p: Print, width: int, height: int, px_per_mm: float) -> NDArray[np.uint8]:
    """(H, W, 4) RGBA: name in the border or on a banner across the frame, a badge in a corner, a team above."""
    image = np.zeros((height, width, 4), np.uint8)
    left, top, right, bottom = (m * px_per_mm for m in p.margins_mm)
    dark = sum(p.colours[0]) < 330
    ink: RGB = (238, 236, 230) if dark else (26, 24, 26)
    name = str(rng.choice(NAMES))
    bleed = 0.5 * px_per_mm
    if p.banner:
        high = rng.uniform(4.5, 8) * px_per_mm
        low = height - bleed - bottom * rng.uniform(0.35, 1.3)
        x0, x1 = left + rng.uniform(0, 0.25) * width, width - right - rng.uniform(0, 0.25) * width
        box = np.array([[x0, low - high], [x1, low - high], [x1, low], [x0, low]]).round().astype(np.int32)
        cv2.fillPoly(image, [box], (*p.colours[2], 255), cv2.LINE_AA)
        cv2.polylines(image, [box], True, (20, 20, 22, 255), max(1, round(0.25 * px_per_mm)), cv2.LINE_AA)
        _write(image, name, ((x0 + x1) / 2, low - high / 2), 0.62 * high, (20, 20, 24), anchor="mm")
    elif bottom > 2.2 * px_per_mm:
        place = rng.choice([0.12, 0.5, 0.88])
        anchor = {0.12: "lm", 0.5: "mm", 0.88: "rm"}[float(place)]
        _write(image, name, (place * width, height - bleed - bottom / 2), 0.6 * bottom, ink, anchor=anchor)
    if rng.random() < 0.35:
        radius = rng.uniform(3.5, 6) * px_per_mm
        x = (
            left + radius * rng.uniform(0.6, 1.4)
            if rng.random() < 0.5
            else width - right - radius * rng.uniform(0.6, 1.4)
        )
        centre = round(x), round(height - bottom - radius * rng.uniform(0.4, 1.6))
        cv2.circle(image, centre, round(radius), (*p.colours[1], 255), -1, cv2.LINE_AA)
        cv2.circle(image, centre, round(radius), (*ink, 255), max(1, round(0.4 * px_per_mm)), cv2.LINE_AA)
        _write(image, name[0], centre, 1.3 * radius, p.colours[0], anchor="mm")
    if rng.random() < 0.3:
        size = rng.uniform(5, 9) * px_per_mm
        _write(
            image,
            str(rng.choice(TEAMS)),
            (width / 2, top + bleed + rng.uniform(-0.2, 0.8) * size),
            size,
            p.colours[2],
            anchor="mm",
        )
    return image
