"""The pixels of regions: out of a scan that is decoded once, at its own sampling and depth, into a lossless PNG."""

from __future__ import annotations

import io
import struct
import zlib
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from trugrade_core.card.geometry import apply
from trugrade_core.card.regions import Cut, is_straight
from trugrade_core.data import images
from trugrade_core.data.store import Dataset
from trugrade_core.errors import ImageError
from trugrade_core.schema import Image, ImageRef, Sample

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
"""(H, W) grey or (H, W, 3) RGB."""

MARGIN_PX = 8
"""What the interpolation needs around a region."""
COMPRESSION = 1


def cut_pixels(image: Pixels, cut: Cut) -> Pixels:
    """The region's pixels out of the image (H, W) or (H, W, C), 8 or 16 bit; black where the image ends. Straight
    regions are the image's very pixels, others interpolated once (Lanczos, 8 x 8)."""
    corners = apply(cut.matrix, cut.window)
    low = np.floor(corners.min(axis=0) + 0.5).astype(int) - MARGIN_PX
    high = np.ceil(corners.max(axis=0) - 0.5).astype(int) + MARGIN_PX + 1
    part = _window(image, low, high)
    shift = np.eye(3)
    shift[:2, 2] = -low
    matrix = shift @ cut.matrix
    if is_straight(cut.matrix):
        w, h = cut.size_wh
        at = np.rint(apply(matrix, [(0, 0), (w - 1, h - 1)])).astype(int)
        (x0, y0), (x1, y1) = at.min(axis=0), at.max(axis=0)
        turns = [(1, 0), (0, 1), (-1, 0), (0, -1)].index((int(matrix[0, 0]), int(matrix[1, 0])))
        return cast(Pixels, np.ascontiguousarray(np.rot90(part[y0 : y1 + 1, x0 : x1 + 1], turns)))
    how = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
    if (matrix[2] == (0, 0, 1)).all():
        return cast(Pixels, cv2.warpAffine(part, matrix[:2], cut.size_wh, flags=how))
    return cast(Pixels, cv2.warpPerspective(part, matrix, cut.size_wh, flags=how))


def _window(image: Pixels, low: NDArray[np.int64], high: NDArray[np.int64]) -> Pixels:
    """`image[low:high]` in x and y, black where it ends."""
    height, width = image.shape[:2]
    (x0, y0), (x1, y1) = np.clip(low, 0, (width, height)), np.clip(high, 0, (width, height))
    inside = image[y0:y1, x0:x1]
    if (x0, y0, x1, y1) == (*low, *high):
        return inside
    found = cast(Pixels, np.zeros((high[1] - low[1], high[0] - low[0], *image.shape[2:]), image.dtype))
    found[y0 - low[1] : y0 - low[1] + inside.shape[0], x0 - low[0] : x0 - low[0] + inside.shape[1]] = inside
    return found


class Scan:
    """A sample's main picture, read when it is first needed, and once."""

    def __init__(self, ds: Dataset, sample: Sample) -> None:
        self.ds, self.sample = ds, sample
        self.icc: bytes | None = None
        self._whole: Pixels | None = None

    @property
    def whole(self) -> Pixels:
        """After EXIF rotation, as deep as the file. Raises ImageError."""
        if self._whole is None:
            path = self.ds.image_path(self.sample)
            try:
                data = path.read_bytes()
            except OSError as e:
                raise ImageError(
                    f"its picture cannot be read ({e.strerror})", where=str(path), code="image.missing"
                ) from e
            self._whole = parent_pixels(data, self.sample.main)
            self.icc = profile(data, self.sample.main)
        return self._whole

    def shown(self) -> Image:
        """(H, W, 3) RGB, 8 bit, as models take it."""
        whole = self.whole
        eight = ((whole.astype(np.uint32) + 128) // 257).astype(np.uint8) if whole.dtype == np.uint16 else whole
        return np.ascontiguousarray(eight if eight.ndim == 3 else np.repeat(eight[..., None], 3, axis=2), np.uint8)


def parent_pixels(data: bytes, ref: ImageRef) -> Pixels:
    """The whole picture after EXIF rotation: (H, W, 3) RGB, or (H, W) of a grey one; 16 bit where the file has them (and
    no transparency), else 8. Raises ImageError."""
    eight = images.decode_bytes(data, name=ref.sha256)
    grey = ref.mode in ("L", "I;16", "I;16B")
    if ref.bits == 16 and (deep := _deep(data, ref, eight)) is not None:
        return deep
    return eight[..., 0] if grey else eight


def _deep(data: bytes, ref: ImageRef, eight: NDArray[np.uint8]) -> NDArray[np.uint16] | None:
    """By all 16 bits; None unless, taken to 8 bits, it is the very picture that the lab shows."""
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != np.uint16 or (found.ndim == 3 and found.shape[2] != 3):
        return None
    deep = cast(NDArray[np.uint16], found[..., ::-1] if found.ndim == 3 else found)
    shown = eight if deep.ndim == 3 else eight[..., 0]
    for turned in (deep, images.upright(cast(NDArray[np.uint8], deep), ref.orientation)):
        if turned.shape == shown.shape and _looks_the_same(cast(NDArray[np.uint16], turned), shown):
            return np.ascontiguousarray(turned, np.uint16)
    return None


def _looks_the_same(deep: NDArray[np.uint16], shown: NDArray[np.uint8]) -> bool:
    rows = range(0, len(deep), 512)  # some at a time: a whole scan in 32 bits is gigabytes
    return all(((deep[n : n + 512].astype(np.uint32) + 128) // 257 == shown[n : n + 512]).all() for n in rows)


def profile(data: bytes, ref: ImageRef) -> bytes | None:
    """The colour profile that a picture carries; None where there is none, or where its pixels were converted."""
    kind = images.kind_of(data)
    if kind is None or ref.mode not in ("RGB", "L", "I;16", "I;16B"):
        return None
    found = kind.opener(io.BytesIO(data)).info.get("icc_profile")
    return found if isinstance(found, bytes) and found else None


def png(pixels: Pixels, *, dpi: float, icc: bytes | None, source: str) -> bytes:
    """Lossless, with its resolution, its colour profile, and where it comes from (so that two regions that look the
    same are two files). The same input gives the same bytes."""
    ordered = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    ok, encoded = cv2.imencode(".png", np.ascontiguousarray(ordered), [cv2.IMWRITE_PNG_COMPRESSION, COMPRESSION])
    if not ok:
        raise ValueError(f"OpenCV wrote no PNG of {pixels.shape} {pixels.dtype}")
    data = encoded.tobytes()
    per_metre = round(dpi / 0.0254)
    more = _chunk(b"pHYs", struct.pack(">IIB", per_metre, per_metre, 1))
    if icc:
        more += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc, 9))
    more += _chunk(b"iTXt", b"Source\0\0\0\0\0" + source.encode())
    after_header = 8 + 25
    return data[:after_header] + more + data[after_header:]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
