"""Pictures good and bad: what the header says, whether pixels can be read, and how they come out."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from trugrade_core.data import images
from trugrade_core.errors import ImageError
from trugrade_core.workspace import Workspace

Picture = Callable[..., bytes]


def encoded(pixels: np.ndarray, ending: str) -> bytes:
    ok, data = cv2.imencode(ending, pixels)
    assert ok
    return data.tobytes()


@pytest.mark.parametrize(
    ("format", "suffix"), [("PNG", ".png"), ("JPEG", ".jpg"), ("TIFF", ".tif"), ("WEBP", ".webp"), ("BMP", ".bmp")]
)
def test_every_format_is_probed_and_decoded(picture: Picture, format: str, suffix: str) -> None:
    data = picture(1, (60, 40), format)
    ref = images.probe(data, name="wrong.gif")
    assert (ref.suffix, ref.width, ref.height, ref.bits, ref.bytes) == (suffix, 60, 40, 8, len(data))
    images.verify(data, name="x")
    pixels = images.decode_bytes(data, name="x")
    assert pixels.shape == (40, 60, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))).max() <= 3


@pytest.mark.parametrize("size", [(1, 1), (3, 200)])
def test_tiny_and_thin_pictures(picture: Picture, size: tuple[int, int]) -> None:
    data = picture(0, size, "JPEG")
    images.verify(data, name="x")
    assert images.decode_bytes(data, name="x").shape == (size[1], size[0], 3)


def test_an_empty_file() -> None:
    with pytest.raises(ImageError, match="0 bytes") as e:
        images.probe(b"", name="scan.jpg")
    assert e.value.where == "scan.jpg"


def test_text_called_png() -> None:
    with pytest.raises(ImageError, match="not a picture"):
        images.probe(b"hello world, this is text", name="scan.png")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "BMP"])
@pytest.mark.parametrize("part", [0.3, 0.8])
def test_a_truncated_file_is_found_out(picture: Picture, format: str, part: float) -> None:
    rng = np.random.default_rng(0)
    out = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)).save(out, format)
    data = out.getvalue()
    with pytest.raises(ImageError):
        images.probe(data[: int(len(data) * part)], name="x")
        images.verify(data[: int(len(data) * part)], name="x")


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_cut_anywhere_is_found_out(progressive: bool) -> None:
    """Also when the cut leaves whole segments, and when only the end marker and a little more is lost."""
    rng = np.random.default_rng(0)
    out = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(out, "JPEG", progressive=progressive)
    data = out.getvalue()
    images.verify(data, name="x")
    for cut in range(700, len(data) - 40, 97):
        with pytest.raises(ImageError):
            images.verify(data[:cut], name="x")


def test_a_jpeg_with_bytes_behind_its_end_is_good(picture: Picture) -> None:
    plain = picture(0, format="JPEG")
    longer = plain + b"\0" * 1000
    images.verify(longer, name="x")
    assert (images.decode_bytes(longer, name="x") == images.decode_bytes(plain, name="x")).all()


def test_a_header_of_30000_by_30000_is_refused_unread() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"not even pixels") + chunk(b"IEND", b"")
    with pytest.raises(ImageError, match="30000 x 30000") as e:
        images.probe(data, name="x")
    assert e.value.code == "image.too_large"


def test_the_limit_is_an_argument_and_pillows_own_stays_untouched(picture: Picture) -> None:
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageError):
        images.probe(picture(0, (64, 48)), name="x", max_pixels=64 * 48 - 1)
    # Pillow would warn at 90 million pixels; ours are allowed up to the argument.
    data = encoded(np.zeros((9500, 10000), np.uint8), ".png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert images.probe(data, name="x").width == 10_000
    assert before == Image.MAX_IMAGE_PIXELS


def test_16_bit_grey_and_colour() -> None:
    ramp = np.linspace(0, 65535, 64 * 48).astype(np.uint16).reshape(48, 64)
    for pixels, ending in (
        (ramp, ".png"),
        (ramp, ".tiff"),
        (np.dstack([ramp] * 3), ".png"),
        (np.dstack([ramp] * 3), ".tiff"),
    ):
        data = encoded(pixels, ending)
        assert images.probe(data, name="x").bits == 16
        got = images.decode_bytes(data, name="x")
        assert got.shape == (48, 64, 3)
        assert np.abs(got[..., 0] - ramp / 257).max() <= 1.0


def test_32_bit_is_refused_with_the_reason() -> None:
    with pytest.raises(ImageError, match="32 bits"):
        images.probe(encoded(np.ones((8, 8), np.float32), ".tiff"), name="x")


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk(picture: Picture, format: str) -> None:
    data = picture(2, format=format, mode="CMYK")
    assert images.probe(data, name="x").mode == "CMYK"
    images.verify(data, name="x")
    original = np.asarray(Image.open(io.BytesIO(picture(2))).convert("RGB")).astype(int)
    assert np.abs(images.decode_bytes(data, name="x").astype(int) - original).mean() < 8


def test_transparent_lies_on_black() -> None:
    pixels = np.full((4, 4, 4), 255, np.uint8)
    pixels[:2, :, 3] = 0
    got = images.decode_bytes(encoded(pixels, ".png"), name="x")
    assert (got[:2] == 0).all() and (got[2:] == 255).all()


def test_palette_and_bilevel(picture: Picture) -> None:
    for mode in ("P", "1", "L", "LA"):
        assert images.decode_bytes(picture(3, mode=mode), name="x").shape == (48, 64, 3)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(picture: Picture, format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    save = {"lossless": True} if format == "WEBP" else {}
    data = picture(5, (64, 40), format, exif=exif, **save)
    ref = images.probe(data, name="x")
    pixels = images.decode_bytes(data, name="x")
    assert ref.orientation == orientation
    assert pixels.shape[:2] == (ref.height, ref.width) == ((64, 40) if orientation >= 5 else (40, 64))
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    assert np.abs(pixels.astype(int) - wanted).max() <= 3


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
def test_a_broken_exif_block_does_not_cost_the_picture(picture: Picture) -> None:
    data = picture(0, format="JPEG", exif=b"Exif\0\0II*\0garbage that is no directory")
    assert images.probe(data, name="x").orientation == 1


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "BMP"])
def test_dpi_from_each_header(picture: Picture, format: str) -> None:
    assert images.probe(picture(0, format=format, dpi=(600, 600)), name="x").dpi == pytest.approx(600, abs=0.05)


def test_dpi_from_exif_alone(picture: Picture) -> None:
    exif = Image.Exif()
    exif[282], exif[283], exif[296] = 300.0, 300.0, 2
    assert images.probe(picture(0, format="WEBP", exif=exif), name="x").dpi == 300


def test_no_dpi_and_dpi_that_differs_by_axis(picture: Picture) -> None:
    assert images.probe(picture(0), name="x").dpi is None
    assert images.probe(picture(0, dpi=(600, 300)), name="x").dpi is None


def test_thumbnails_are_upright_small_and_cached(ws: Workspace, picture: Picture) -> None:
    exif = Image.Exif()
    exif[274] = 6
    data = picture(1, (2000, 1000), "JPEG", exif=exif)
    ref = images.probe(data, name="x")
    path = ws.image(ref.sha256, ref.suffix)
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    small = images.thumbnail(ws, ref.sha256, 128)
    assert images.decode(small).shape == (128, 64, 3)
    written = small.stat().st_mtime_ns
    assert images.thumbnail(ws, ref.sha256, 128).stat().st_mtime_ns == written
    full = cv2.resize(images.decode(path), (64, 128), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(full - images.decode(small)).mean() < 6


def test_a_thumbnail_of_nothing(ws: Workspace) -> None:
    with pytest.raises(ImageError):
        images.thumbnail(ws, "0" * 64)


def test_renditions_only_where_browsers_need_them(tmp_path: Path, picture: Picture) -> None:
    exif = Image.Exif()
    exif[274] = 6
    for name, data, needed in [
        ("a.jpg", picture(0, format="JPEG", exif=exif), False),
        ("b.png", picture(0), False),
        ("c.tif", picture(0, format="TIFF"), True),
        ("d.jpg", picture(0, format="JPEG", mode="CMYK"), True),
        ("e.png", encoded(np.zeros((9, 9), np.uint16), ".png"), True),
        ("f.bmp", picture(0, format="BMP"), True),
        ("g.png", picture(0, exif=exif), True),
    ]:
        (tmp_path / name).write_bytes(data)
        found = images.rendition(tmp_path / name)
        assert (found is not None) == needed, name
        if found is not None:
            pixels = images.decode_bytes(found[0], name=name)
            assert found[1] == "image/jpeg" and pixels.shape == images.decode(tmp_path / name).shape


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as e:
        images.decode(tmp_path / "none.png")
    assert e.value.code == "image.missing"


@pytest.mark.parametrize("ending", [".png", ".tiff"])
def test_16_bit_colour_comes_out_as_grey_does(ending: str) -> None:
    """By all its bits, rounded: 0x00ff is 1, not the 0 of its high byte."""
    ramp = np.arange(0, 65536, 17, dtype=np.uint16)[: 48 * 64].reshape(48, 64)
    grey = images.decode_bytes(encoded(ramp, ending), name="x")
    colour = images.decode_bytes(encoded(np.dstack([ramp, ramp, ramp[::-1]]), ending), name="x")
    assert (colour[..., 2] == grey[..., 0]).all() and (colour[..., 0] == grey[::-1, :, 0]).all()
    assert (grey[..., 0] == np.round(ramp / 257)).all()


def test_16_bit_colour_with_alpha_lies_on_black() -> None:
    pixels = np.full((4, 4, 4), 65535, np.uint16)
    pixels[:2, :, 3], pixels[2:, :, 3], pixels[2:, :, 0] = 0, 32768, 255
    got = images.decode_bytes(encoded(pixels, ".png"), name="x")
    assert (got[:2] == 0).all() and (got[2:] == [128, 128, 0]).all()


def test_a_large_jpeg_that_opencv_cannot_shrink_is_told(
    ws: Workspace, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ws.image("0" * 64, ".jpg")
    path.parent.mkdir(parents=True)
    path.write_bytes(picture(0, (640, 480), "JPEG"))
    monkeypatch.setattr(images.cv2, "imdecode", lambda *a: None)
    with pytest.raises(ImageError, match="cannot be read") as e:
        images.thumbnail(ws, "0" * 64, 64)
    assert e.value.code == "image.damaged"
