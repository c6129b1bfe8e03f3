"""Pictures: what a file is (from its header), whether its pixels can be read, and the pixels themselves.

Formats: JPEG, PNG, TIFF, WebP, BMP; 8 or 16 bit; grey, RGB, CMYK, palette, with or without alpha. The kind is told
from the first bytes, never from the name. Pixels come out in the lab's frame: after EXIF rotation, RGB, 8 bit.

Pillow's plugins are opened directly rather than through `Image.open`: its guard against oversized images is a
process-wide number, while ours is an argument and applies before anything is decoded.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin
from PIL import Image as Pillow

from trugrade_core.errors import ImageError
from trugrade_core.schema import Image, ImageRef
from trugrade_core.workspace import Workspace, write_atomic

MAX_PIXELS = 268_000_000
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp"})
"""File name endings that are taken for pictures when a folder is searched."""

ORIENTATION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, BITS_PER_SAMPLE = 274, 282, 283, 296, 258


@dataclass(frozen=True)
class Kind:
    name: str
    suffix: str
    mime: str
    opener: type[ImageFile.ImageFile]


JPEG = Kind("JPEG", ".jpg", "image/jpeg", JpegImagePlugin.JpegImageFile)
PNG = Kind("PNG", ".png", "image/png", PngImagePlugin.PngImageFile)
TIFF = Kind("TIFF", ".tif", "image/tiff", TiffImagePlugin.TiffImageFile)
WEBP = Kind("WebP", ".webp", "image/webp", WebPImagePlugin.WebPImageFile)
BMP = Kind("BMP", ".bmp", "image/bmp", BmpImagePlugin.BmpImageFile)


def kind_of(data: bytes) -> Kind | None:
    """What the first bytes say the file is, or None."""
    if data[:3] == b"\xff\xd8\xff":
        return JPEG
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return PNG
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return TIFF
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WEBP
    return BMP if data[:2] == b"BM" else None


# --- the header -------------------------------------------------------------------------------------------------


def _looks_like(data: bytes) -> str:
    """What bytes that are no picture begin with, in words."""
    head = data[:16]
    text = head.isascii() and all(byte >= 32 or byte in b"\t\r\n" for byte in head)
    return "holds text" if text else f"begins with the bytes {head.hex(' ')}"


def probe(data: bytes, *, name: str, max_pixels: int = MAX_PIXELS) -> ImageRef:
    """What `data` is, from its header alone; no pixel is decoded. `name` is for the messages.

    Raises ImageError when it is empty, no picture this lab reads, broken in its header, or has more than
    `max_pixels` pixels.
    """
    kind, opened = _open(data, name)
    width, height = opened.size
    if width < 1 or height < 1:
        raise ImageError(f"has no pixels ({width} x {height})", where=name)
    if width * height > max_pixels:
        raise ImageError(
            f"is {width} x {height} px, more than the {max_pixels:,} px allowed; refused from its header",
            where=name,
            code="image.too_large",
            what_to_do="Give a smaller picture, or crop it to the card.",
        )
    orientation = _orientation(kind, opened)
    # Pillow's TIFF reader has already swapped the sides.
    if orientation >= 5 and kind is not TIFF:
        width, height = height, width
    bits = _bits(kind, opened, data)
    if bits > 16:
        raise ImageError(f"has {bits} bits a sample; 8 or 16 are read", where=name, code="image.bits")
    return ImageRef(
        sha256=hashlib.sha256(data).hexdigest(),
        suffix=kind.suffix,
        width=width,
        height=height,
        bits=16 if bits == 16 else 8,
        mode=opened.mode,
        dpi=_dpi(kind, opened),
        orientation=orientation,
        bytes=len(data),
    )


def _open(data: bytes, name: str) -> tuple[Kind, ImageFile.ImageFile]:
    if not data:
        raise ImageError("is empty (0 bytes)", where=name, code="image.empty")
    kind = kind_of(data)
    if kind is None:
        raise ImageError(
            f"is not a picture this lab reads: it {_looks_like(data)}",
            where=name,
            code="image.unknown",
            what_to_do="JPEG, PNG, TIFF, WebP and BMP are read, whatever the name says.",
        )
    try:
        opened = kind.opener(io.BytesIO(data))
    except Exception as e:  # a decoder meets anything in a broken file and raises as it likes
        raise ImageError(f"has a broken {kind.name} header ({_words(e)})", where=name, code="image.broken") from e
    return kind, opened


def _words(error: Exception) -> str:
    return str(error).strip() or type(error).__name__


def _exif(opened: ImageFile.ImageFile) -> Pillow.Exif:
    # getexif() of a PNG decodes the whole picture when there is none, so the block is read here.
    found = Pillow.Exif()
    block = opened.info.get("exif")
    if isinstance(block, bytes):
        try:
            found.load(block)
            found.get(ORIENTATION)
        except (SyntaxError, ValueError, KeyError, TypeError, IndexError, EOFError, OSError, struct.error):
            return Pillow.Exif()  # a broken block says nothing; the pixels are still good
    return found


def _orientation(kind: Kind, opened: ImageFile.ImageFile) -> int:
    if kind is TIFF:
        value = cast(TiffImagePlugin.TiffImageFile, opened).tag_v2.get(ORIENTATION, 1)
    else:
        value = _exif(opened).get(ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _bits(kind: Kind, opened: ImageFile.ImageFile, data: bytes) -> int:
    if kind is PNG:
        return data[24]
    if kind is TIFF:
        bits = cast(TiffImagePlugin.TiffImageFile, opened).tag_v2.get(BITS_PER_SAMPLE, (1,))
        return int(max(bits)) if isinstance(bits, tuple) else int(bits)
    return 8


def _dpi(kind: Kind, opened: ImageFile.ImageFile) -> float | None:
    """Dots per inch when the file states the same for both directions (to 1 %), else None."""
    stated = opened.info.get("dpi")
    if stated is None and kind in (WEBP, PNG):
        exif = _exif(opened)
        per_unit = {2: 1.0, 3: 2.54}.get(exif.get(RESOLUTION_UNIT, 2))
        if per_unit and X_RESOLUTION in exif and Y_RESOLUTION in exif:
            stated = exif[X_RESOLUTION] * per_unit, exif[Y_RESOLUTION] * per_unit
    try:
        x, y = (float(v) for v in stated)  # type: ignore[union-attr]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    usable = np.isfinite(x) and np.isfinite(y) and 1 < x < 1e5 and abs(x - y) <= 0.01 * x
    return round(x, 2) if usable else None


# --- the pixels -------------------------------------------------------------------------------------------------


def verify(data: bytes, *, name: str) -> None:
    """Read every pixel of `data` once. Raises ImageError when it is cut off or damaged."""
    kind, opened = _open(data, name)
    if kind is not JPEG:
        decode_bytes(data, name=name)
        return
    # OpenCV reads the whole stream and lets other threads run, but takes a cut one for good: the end must be there.
    if _has_end(data) and cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8) is not None:
        return
    try:
        opened.load()
    except Exception as e:  # as in _open
        raise _undecodable(kind, e, name) from e


MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
"""A JPEG marker that ends compressed data: no stuffed byte, no restart."""


def _has_end(data: bytes) -> bool:
    """Whether a JPEG's segments lead to its end marker."""
    at = 2
    while match := MARKER.search(data, at):
        marker = match[1][0]
        if marker == 0xD9:
            return True
        # Every segment states its length; compressed data follows a start of scan and is searched.
        at = match.end() + int.from_bytes(data[match.end() : match.end() + 2], "big")
    return False


def _undecodable(kind: Kind, error: Exception, name: str) -> ImageError:
    return ImageError(
        f"its pixels cannot be read: {_words(error)}",
        where=name,
        code="image.damaged",
        what_to_do=f"The {kind.name} is cut off or damaged: copy or scan it again.",
    )


def decode(path: Path) -> Image:
    """The picture at `path`: (H, W, 3) RGB, 8 bit, after EXIF rotation. 16 bit is scaled by 255 / 65535 and rounded;
    what is transparent lies on black. Raises ImageError."""
    return decode_bytes(_bytes_of(path), name=str(path))


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise ImageError(f"cannot be read ({e.strerror})", where=str(path), code="image.missing") from e


def decode_bytes(data: bytes, *, name: str) -> Image:
    """As `decode`, from bytes."""
    kind, opened = _open(data, name)
    try:
        if kind is JPEG and opened.mode in ("L", "RGB"):
            pixels = _decode_jpeg(data, cv2.IMREAD_COLOR_RGB)
        else:
            opened.load()
            deep = _deep_colour(data, opened) if _bits(kind, opened, data) == 16 else None
            pixels = _to_rgb(opened) if deep is None else deep
    except Exception as e:  # as in _open
        raise _undecodable(kind, e, name) from e
    turn = 1 if kind is TIFF else _orientation(kind, opened)
    return np.ascontiguousarray(upright(pixels, turn))


def _decode_jpeg(data: bytes, flag: int) -> Image:
    found = cv2.imdecode(np.frombuffer(data, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    if found is None:
        raise ValueError("OpenCV's JPEG reader gave nothing")
    return cast(Image, found)


def _to_rgb(opened: Pillow.Image) -> Image:
    if opened.mode in ("I", "F"):
        raise ValueError(f"samples of mode {opened.mode} (32 bit) have no agreed white")
    if opened.mode.startswith("I;16"):
        return np.repeat(_to_8_bit(np.asarray(opened))[..., None], 3, axis=2)
    if "A" in opened.getbands() or "a" in opened.getbands() or "transparency" in opened.info:
        rgba = opened.convert("RGBA")
        ground = Pillow.new("RGBA", rgba.size, (0, 0, 0, 255))
        return np.asarray(Pillow.alpha_composite(ground, rgba).convert("RGB"))
    return np.asarray(opened.convert("RGB"))


def _to_8_bit(values: NDArray[np.uint16]) -> NDArray[np.uint8]:
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _deep_colour(data: bytes, opened: Pillow.Image) -> Image | None:
    """RGB of a 16 bit colour picture by all its bits. Pillow keeps the high bytes alone; they are also the check that
    OpenCV reads the same picture: where it does not, or the picture has no 16 bit colour, None."""
    if opened.mode not in ("RGB", "RGBA") or "transparency" in opened.info:
        return None
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    high = np.asarray(opened)
    if found is None or found.dtype != np.uint16 or found.shape != high.shape:
        return None
    rgb = cast(NDArray[np.uint16], found[..., 2::-1])
    if not (rgb >> 8 == high[..., :3]).all():
        return None
    if found.shape[2] == 4:
        rgb = (rgb * (found[..., 3:] / 65535)).round().astype(np.uint16)
    return _to_8_bit(rgb)


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """(H, W, …) as stored to as shown, for EXIF `orientation` 1 to 8. A view where it can be."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    rows, columns = {
        1: (1, 1), 2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)
    }[orientation]  # fmt: skip
    return pixels[::rows, ::columns]


# --- for screens ------------------------------------------------------------------------------------------------


def thumbnail(ws: Workspace, sha256: str, size: int = 256) -> Path:
    """A WebP of at most `size` px a side for a stored image, made when it is not in the cache."""
    path = ws.thumbnails / str(size) / sha256[:2] / f"{sha256}.webp"
    if path.exists():
        return path
    original = ws.find_image(sha256)
    if original is None:
        raise ImageError("no such image in this workspace", where=sha256, code="image.missing")
    image = decode_small(original, size)
    scale = min(1.0, size / max(image.shape[:2]))
    if scale < 1:
        wh = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        image = cast(Image, cv2.resize(image, wh, interpolation=cv2.INTER_AREA))
    ok, encoded = cv2.imencode(".webp", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_WEBP_QUALITY, 82])
    if not ok:
        raise ImageError("could not be written as WebP", where=sha256)
    write_atomic(path, encoded.tobytes())
    return path


def decode_small(path: Path, size: int) -> Image:
    """As `decode`, but a large JPEG comes at a half, a quarter or an eighth, never below `size`."""
    data = _bytes_of(path)
    kind, opened = _open(data, str(path))
    factor = max(opened.size) // max(1, size)
    reduced = {
        8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2
    }.get(next((n for n in (8, 4, 2) if factor >= n), 1))  # fmt: skip
    if kind is not JPEG or opened.mode not in ("L", "RGB") or reduced is None:
        return decode(path)
    try:
        found = cv2.cvtColor(_decode_jpeg(data, reduced), cv2.COLOR_BGR2RGB)
    except Exception as e:  # as in _open
        raise _undecodable(kind, e, str(path)) from e
    return np.ascontiguousarray(upright(cast(Image, found), _orientation(kind, opened)))


def rendition(path: Path) -> tuple[bytes, str] | None:
    """(bytes, media type) that a browser shows upright, or None when it does that with the original itself."""
    data = _bytes_of(path)
    ref = probe(data, name=str(path))
    turned_by_browsers = ref.orientation == 1 or ref.suffix == ".jpg"
    if ref.suffix in (".jpg", ".png", ".webp") and ref.bits == 8 and ref.mode != "CMYK" and turned_by_browsers:
        return None
    image = cv2.cvtColor(decode_bytes(data, name=str(path)), cv2.COLOR_RGB2BGR)
    ok, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    if not ok:
        raise ImageError("could not be written as JPEG", where=str(path))
    return encoded.tobytes(), "image/jpeg"
