"""Pictures too large for a browser to hold at once: a smaller whole, and native pixels of a window.

Both are cut from the decoded pixels, kept as an uncompressed file in the workspace's cache (3 bytes a pixel, the newest
KEPT alone), since decoding 192 MP takes seconds. The stored picture is only read.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from trugrade_core.data import images
from trugrade_core.errors import ImageError
from trugrade_core.schema import Image
from trugrade_core.workspace import Workspace, locked, write_atomic

LARGE_PIXELS = 40_000_000
"""Above it a browser is shown the smaller whole."""
MOST_CROP_PIXELS = 4_200_000
KEPT = 2


def smaller(ws: Workspace, sha256: str) -> Path:
    """A JPEG of the whole picture, halved until it has at most LARGE_PIXELS; at least once. Raises ImageError."""
    path = ws.thumbnails / "half" / sha256[:2] / f"{sha256}.jpg"
    if path.exists():
        return path
    image = _pixels(ws, sha256)
    height, width = image.shape[:2]
    factor = 2
    while -(-height // factor) * -(-width // factor) > LARGE_PIXELS:
        factor *= 2
    wh = -(-width // factor), -(-height // factor)
    small = cv2.cvtColor(cv2.resize(image, wh, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    ok, encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 92])
    if not ok:
        raise ImageError("could not be written as JPEG", where=sha256)
    write_atomic(path, encoded.tobytes())
    return path


def crop(ws: Workspace, sha256: str, x: int, y: int, width: int, height: int) -> bytes:
    """A PNG of exactly the pixels of a window, its corner at column x and row y, cut where the picture ends.

    Raises ImageError for a window without pixels, or with more than MOST_CROP_PIXELS.
    """
    if width < 1 or height < 1 or width * height > MOST_CROP_PIXELS:
        raise ImageError(
            f"a window of {width} x {height} px was asked for",
            where=sha256,
            code="image.window",
            what_to_do=f"Ask for one of 1 to {MOST_CROP_PIXELS:,} pixels.",
        )
    image = _pixels(ws, sha256)
    if x < 0 or y < 0 or x >= image.shape[1] or y >= image.shape[0]:
        raise ImageError(
            f"the window at ({x}, {y}) begins outside the picture of {image.shape[1]} x {image.shape[0]} px",
            where=sha256,
            code="image.window",
        )
    part = cv2.cvtColor(np.ascontiguousarray(image[y : y + height, x : x + width]), cv2.COLOR_RGB2BGR)
    ok, encoded = cv2.imencode(".png", part, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not ok:
        raise ImageError("could not be written as PNG", where=sha256)
    return encoded.tobytes()


def _pixels(ws: Workspace, sha256: str) -> Image:
    """(H, W, 3) RGB after EXIF rotation, mapped from its file; decoded first when that is not there."""
    original = ws.find_image(sha256)
    if original is None:
        raise ImageError("no such image in this workspace", where=sha256, code="image.missing")
    folder = ws.cache / "pixels"
    path = folder / f"{sha256}.npy"
    with locked(folder / ".lock"):
        if not path.exists():
            # Written under another name first: a file by its own name is always whole.
            half_way = folder / f"{sha256}.tmp.npy"
            np.save(half_way, images.decode(original))
            half_way.replace(path)
        path.touch()
        for old in sorted(folder.glob("*.npy"), key=lambda p: p.stat().st_mtime_ns)[:-KEPT]:
            with contextlib.suppress(FileNotFoundError):
                old.unlink()
        return cast(Image, np.load(path, mmap_mode="r"))
