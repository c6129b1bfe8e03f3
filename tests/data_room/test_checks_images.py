"""What is measured of a picture, what is held against it, and that nothing is measured twice."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from trugrade_core.data.checks import duplicates, images, measures, pixels
from trugrade_core.data.checks.base import Facts, Needs
from trugrade_core.data.store import Dataset
from trugrade_core.errors import ImageError
from trugrade_core.schema import Image
from trugrade_core.synth.cards import make_card
from trugrade_core.workspace import Workspace

NEEDS = Needs(task="border_detection.dual_class", title="", kind="instances", shapes=("box",), classes=(), dpi=600,
              finest_mm=0.1, scores=(), whole_card=True)  # fmt: skip


def jpeg(image: Image, quality: int = 95, dpi: int | None = 600) -> bytes:
    out = io.BytesIO()
    Pillow.fromarray(image).save(out, "JPEG", quality=quality, **({"dpi": (dpi, dpi)} if dpi else {}))
    return out.getvalue()


def png(image: Image, dpi: int | None = 600) -> bytes:
    out = io.BytesIO()
    Pillow.fromarray(image).save(out, "PNG", compress_level=1, **({"dpi": (dpi, dpi)} if dpi else {}))
    return out.getvalue()


def blurred(image: Image, sigma: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma))


def recoded(image: Image, quality: int) -> Image:
    return np.asarray(Pillow.open(io.BytesIO(jpeg(image, quality))))


def codes(data: bytes, needs: Needs | None = NEEDS, dpi: float | None = None, *, whole: bool = True) -> set[str]:
    m = measures.measure_picture(data, name="x")
    picture = images.Picture("s", m, dpi or m.dpi, whole, needs)
    return {finding.code for finding in images.picture_findings([picture])}


@pytest.fixture(scope="module")
def card() -> Image:
    """A made-up card at 600 dpi, cut down to what its measures need."""
    return np.ascontiguousarray(make_card(7, 3, 600).image[60:1160, 60:860])


@pytest.fixture(scope="module")
def another() -> Image:
    return np.ascontiguousarray(make_card(600, 5, 600).image[60:1160, 60:860])


def test_a_good_scan_is_not_accused(card: Image) -> None:
    assert codes(png(card)) == set()
    assert codes(jpeg(card, 95)) == set()


@pytest.mark.parametrize(
    ("code", "change", "quality"),
    [
        ("image.blur", lambda z: blurred(z, 2), 95),
        ("image.coarse", lambda z: blurred(z, 3), 95),
        ("image.detail", lambda z: blurred(z, 1.2), 95),
        ("image.detail", lambda z: cv2.resize(cv2.resize(z, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA), z.shape[1::-1]), 95),
        ("image.dark", lambda z: z // 3, 95),
        ("image.blown", lambda z: np.clip(z * 1.6 + 40.0, 0, 255).astype(np.uint8), 95),
        ("image.bright", lambda z: (z // 6 + 210).astype(np.uint8), 95),
        ("image.low_contrast", lambda z: (z // 12 + 100).astype(np.uint8), 95),
        ("image.noise", lambda z: np.clip(z + np.random.default_rng(0).normal(0, 15, z.shape), 0, 255).astype(np.uint8), 95),
        ("image.compressed", lambda z: z, 40),
        ("image.recompressed", lambda z: recoded(z, 40), 95),
        ("image.tiny", lambda z: cv2.resize(z, (90, 120), interpolation=cv2.INTER_AREA), 95),
        ("image.blank", lambda z: np.full_like(z, 128), 95),
    ],
)  # fmt: skip
def test_a_planted_fault_is_found(card: Image, code: str, change: Callable[[Image], Image], quality: int) -> None:
    assert code in codes(jpeg(np.ascontiguousarray(change(card)), quality))


def test_glare_lies_on_the_card_and_a_white_ground_does_not(card: Image) -> None:
    lamp = card.copy()
    cv2.circle(lamp, (400, 500), 90, (255, 255, 255), -1)
    ground = card.copy()
    ground[:200] = 255
    assert "image.glare" in codes(png(lamp))
    assert "image.glare" not in codes(png(ground))


def test_an_earlier_jpeg_is_known_in_another_container_and_after_a_crop(another: Image) -> None:
    once = recoded(another, 50)
    for picture in (once, np.ascontiguousarray(once[5:, 3:])):
        found = measures.measure_picture(png(picture), name="x")
        assert found.quality is None and found.former_quality == pytest.approx(50, abs=4)
    assert measures.measure_picture(png(another), name="x").former_quality is None


def test_the_files_own_tables_are_no_earlier_jpeg(card: Image) -> None:
    found = measures.measure_picture(jpeg(card, 60), name="x")
    assert found.quality == pytest.approx(60, abs=3)
    assert "image.recompressed" not in codes(jpeg(card, 60))


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.0])
def test_the_blur_of_an_edge_is_measured_in_px(sigma: float) -> None:
    step = np.zeros((256, 256, 3), np.uint8) + 40
    step[:, 128:] = 200
    grey = blurred(step, sigma)[..., 0]
    found = pixels.edge_sigma(pixels.tiles(grey))
    assert found == pytest.approx(np.hypot(sigma, 0.4), abs=0.35)


def test_noise_is_measured_in_grey_levels() -> None:
    for sigma in (2.0, 6.0):
        grey = np.random.default_rng(0).normal(128, sigma, (400, 400)).round().astype(np.uint8)
        assert pixels.noise(pixels.tiles(grey)) == pytest.approx(sigma, rel=0.15)


def test_dpi_that_says_nothing_is_said(card: Image) -> None:
    assert "image.dpi_missing" in codes(png(card, dpi=None))
    assert {"image.dpi_doubtful"} == codes(png(card, dpi=96))
    assert "image.dpi_low" in codes(png(card, dpi=300))
    assert codes(png(card, dpi=96), dpi=600) == set(), "what a person says of the dpi counts"


def test_an_enlarged_scan_fails_the_task_though_its_pixels_are_enough(card: Image) -> None:
    small = cv2.resize(card, None, fx=0.2, fy=0.2, interpolation=cv2.INTER_AREA)
    large = np.asarray(cv2.resize(small, card.shape[1::-1], interpolation=cv2.INTER_CUBIC))
    found = codes(png(large))
    assert "image.coarse" in found and "image.dpi_low" not in found


def test_a_region_may_be_dark_and_small(card: Image) -> None:
    region = np.ascontiguousarray(card[:150, :150] // 3)
    assert not codes(png(region), whole=False) & {"image.dark", "image.tiny", "image.low_contrast", "image.odd_size"}


def test_a_fault_of_most_pictures_is_reported_with_its_share(card: Image) -> None:
    m = [measures.measure_picture(jpeg(card, q), name="x") for q in (40, 45, 50, 95)]
    pictures = [images.Picture(f"s{n}", one, 600, True, NEEDS) for n, one in enumerate(m)]
    found = {f.code: f for f in images.picture_findings(pictures)}["image.compressed"]
    assert found.samples == ("s0", "s1", "s2"), "worst first"
    assert "3 samples (75 %)" in found.why
    assert found.details["by_sample"]["s0"].startswith("JPEG quality ")


def test_another_limit_measures_nothing(card: Image) -> None:
    m = measures.measure_picture(jpeg(card, 95), name="x")
    pictures = [images.Picture("s", m, 600, True, NEEDS)]
    found = [f.code for f in images.picture_findings(pictures, {"image.compressed": 99})]
    assert found == ["image.compressed"]


def test_files_that_were_not_imported_are_measured_and_kept(
    ws: Workspace, tmp_path: Path, card: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(png(card))
    (tmp_path / "twin.png").write_bytes(png(card))
    (tmp_path / "broken.jpg").write_bytes(jpeg(card)[:3000])
    files = [tmp_path / "a.png", tmp_path / "twin.png", tmp_path / "broken.jpg", tmp_path / "gone.png"]
    told: list[tuple[int, int]] = []
    got = measures.measure(files, ws=ws, progress=lambda done, total, text: told.append((done, total)))
    assert len(got.found) == 1 and got.paths[files[0]] == got.paths[files[1]]
    assert told == [(1, 2), (2, 2)]
    assert "cut off or damaged" not in str(got.found) and len(got.unreadable) == 2
    assert any("cannot be read" in why for why in got.unreadable.values())
    monkeypatch.setattr(measures, "measure_picture", lambda *a, **k: pytest.fail("measured again"))
    assert measures.measure(files[:2], ws=ws).found == got.found


def test_a_torn_line_of_the_store_is_measured_again(ws: Workspace, tmp_path: Path, card: Image) -> None:
    (tmp_path / "a.png").write_bytes(png(card))
    first = measures.measure([tmp_path / "a.png"], ws=ws)
    store = measures.store_path(ws)
    store.write_bytes(store.read_bytes()[:200])
    assert measures.measure([tmp_path / "a.png"], ws=ws).found == first.found
    sha = next(iter(first.found))
    assert measures.load(store, [sha]) == first.found


@pytest.mark.parametrize("wh", [(1, 1), (2, 3), (7, 40), (3000, 2), (64, 64), (63, 100)])
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P"])
def test_odd_pictures_are_measured(wh: tuple[int, int], mode: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (wh[1], wh[0], 3), np.uint8)
    out = io.BytesIO()
    Pillow.fromarray(noise).convert(mode).save(out, "PNG")
    found = measures.measure_picture(out.getvalue(), name="x")
    assert (found.width, found.height) == wh
    assert measures.Measured.model_validate_json(found.model_dump_json()) == found


def test_a_broken_picture_says_why() -> None:
    with pytest.raises(ImageError, match="is not a picture this lab reads"):
        measures.measure_picture(b"no picture", name="x.jpg")


def test_the_check_of_a_dataset(
    ws: Workspace, tmp_path: Path, card: Image, another: Image, bring: Callable[..., object]
) -> None:
    source = tmp_path / "scans"
    source.mkdir()
    (source / "good.png").write_bytes(png(card))
    (source / "soft.png").write_bytes(png(blurred(another, 3)))
    bring(source)
    ds = Dataset.open(ws, "d")
    samples = ds.samples()
    names = {Path(s.sources[0]).name: s.id for s in samples.values()}

    def facts(*, deep: bool) -> Facts:
        return Facts(ws=ws, name="d", classes=(), records=lambda: iter([(s, []) for s in samples.values()]),
                     image_path=ds.image_path, needs=NEEDS, deep=deep, dataset=ds)  # fmt: skip

    shallow = images.image_quality(facts(deep=False))
    assert shallow.status == "not_checked" and "2 of 2 pictures were never measured" in shallow.why
    found = images.image_quality(facts(deep=True))
    assert found.status == "warning" and found.score == 0.5
    assert {f.code: f.samples for f in found.findings}["image.blur"] == (names["soft.png"],)
    assert images.image_quality(facts(deep=False)) == found
    assert measures.measure(ds).found.keys() == {s.main.sha256 for s in samples.values()}
    assert duplicates.store_path(ws).parent == measures.store_path(ws).parent


@pytest.mark.slow
def test_real_scans_are_accused_of_nothing_but_what_is_true(shared: Path, ws: Workspace) -> None:
    """The page that Test038 to Test045 come from went through a JPEG of quality 50 before it was cut up."""
    files = sorted((shared / "border_scans_600dpi" / "images").glob("*.jpg"))
    got = measures.measure(files, ws=ws)
    pictures = [
        images.Picture(path.stem, got.found[sha], got.found[sha].dpi, True, NEEDS) for path, sha in got.paths.items()
    ]
    found = {f.code: set(f.samples) for f in images.picture_findings(pictures)}
    assert found == {"image.recompressed": {"Test038", "Test039", "Test041", "Test042", "Test044", "Test045"}}
