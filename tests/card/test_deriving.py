"""From whole scans to a dataset of crops, and again when something has changed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from tests.card.samples import card as card_corners
from tests.card.samples import polygon
from trugrade_core.card.carry import to_parent
from trugrade_core.data import rle
from trugrade_core.data.images import decode, probe
from trugrade_core.data.store import Dataset, annotation_id, put_entry, sample_id, status_id
from trugrade_core.data.versions import Version, split
from trugrade_core.errors import DatasetError, TrainingError, UsageError
from trugrade_core.schema import (
    Annotation,
    Box,
    ClassDef,
    Instance,
    Mask,
    Polygon,
    Prediction,
    Sample,
    Score,
    Status,
    Tags,
    Value,
)
from trugrade_core.workflows import creating, deriving
from trugrade_core.workflows.deriving import DeriveOptions, DeriveReport, derive
from trugrade_core.workspace import Workspace, write_atomic

DPI = 100
CORNERS = card_corners(63.5, 88.9, DPI, 0, (19.5, 24.5))
TILTED = card_corners(63.5, 88.9, DPI, 2.0, (35.5, 24.5))
DAMAGE = "corner_analysis.damage_detection"
WEAR = "edge_analysis.wear_detection"


def scan(number: int, corners: np.ndarray = CORNERS, size: tuple[int, int] = (310, 410)) -> np.ndarray:
    """(H, W, 3) uint8: a card on a dark ground, no two alike."""
    image = np.full((size[1], size[0], 3), 30, np.uint8)
    cv2.fillPoly(image, [np.rint(corners).astype(np.int32)], (200, 210, 220))
    noise = np.random.default_rng(number).integers(0, 30, image.shape, np.uint8)
    return image + noise


def add(ds: Dataset, data: bytes, *labels: tuple[str | None, Value], **facts: Any) -> Sample:
    ref = probe(data, name="scan")
    write_atomic(ds.ws.image(ref.sha256, ref.suffix), data)
    images = {"main": ref}
    known = {"card": "card-1", "card_assumed": False, "dpi": float(DPI), "status": "done", "sources": ("scans/1.png",)}
    sample = Sample(id=sample_id(images), images=images, **{**known, **facts})
    ds.put_samples([sample])
    for label, value in labels:
        say(ds, sample.id, label, value)
    return sample


def say(ds: Dataset, sample: str, label: str | None, value: Value, *, who: str = "maria", tool: str = "annotator",
        replaces: str | None = None, id: str = "") -> Annotation:  # fmt: skip
    annotation = Annotation(id=id or annotation_id(sample, label, value), sample=sample, label=label, value=value)
    ds.append([put_entry(annotation, who=who, tool=tool, replaces=replaces)])
    return annotation


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


@pytest.fixture
def scans(ws: Workspace) -> Dataset:
    names = ("outer_border", "graphical_border", "whitening", "fray", "ding", "bend")
    return Dataset.create(ws, "scans", [ClassDef(name=name, shape="polygon") for name in names])


def run(ds: Dataset, to: str = "corners", task: str = DAMAGE, **options: Any) -> DeriveReport:
    return derive(ds.ws, ds.name, to, DeriveOptions(task=task, who="ann", **options))


def crops(ds: Dataset, to: str = "corners") -> dict[str, Sample]:
    """Those that are not superseded, by scan and region."""
    found = Dataset.open(ds.ws, to).samples().values()
    return {s.parent.region: s for s in found if s.parent and s.excluded is None}


# --- what comes of a scan -----------------------------------------------------------------------------------------


def test_four_corners_of_a_card_with_all_that_is_known_of_it(scans: Dataset) -> None:
    parent = add(scans, png(scan(1)), ("outer_border", polygon(CORNERS)), card="griffey-89", design="ud-1", session="box 3",
                 side="front", split="val", origin="synthetic")  # fmt: skip
    report = run(scans, refine=False)
    assert (report.scans, report.derived, report.skipped, report.formats) == (1, 4, [], {"us": 1})
    ds = Dataset.open(scans.ws, "corners")
    assert ds.facts()["task"] == DAMAGE
    assert [c.name for c in ds.classes] == ["whitening", "fray", "ding", "bend"]
    found = crops(scans)
    assert sorted(found) == ["corner:bottom_left", "corner:bottom_right", "corner:top_left", "corner:top_right"]
    for region, crop in found.items():
        assert (crop.card, crop.card_assumed, crop.design, crop.session, crop.side, crop.split, crop.origin) == (
            "griffey-89", False, "ud-1", "box 3", "front", "val", "synthetic")  # fmt: skip
        assert crop.parent and (crop.parent.dataset, crop.parent.sample) == ("scans", parent.id)
        assert crop.sources == (f"scans/1.png#{region}",)
        assert crop.dpi == DPI and crop.main.dpi == DPI and crop.main.suffix == ".png"
        assert crop.id == sample_id(crop.images)
        assert (crop.main.width, crop.main.height) == (31, 31)
        assert crop.tags == ("outline: box",)  # a quad that lies upright to the digit is one
    top_left = decode(ds.image_path(found["corner:top_left"]))
    whole = decode(scans.image_path(parent))
    assert np.array_equal(top_left, whole[21:52, 16:47])  # the scan's very pixels


def test_a_tilted_card_is_turned_upright(scans: Dataset) -> None:
    add(scans, png(scan(1, TILTED, (330, 430))), ("outer_border", polygon(TILTED)))
    report = run(scans, task=WEAR, to="edges")
    assert report.outlines == {"quad": 1} and report.derived == 14
    ds = Dataset.open(scans.ws, "edges")
    for crop in crops(scans, "edges").values():
        rows = decode(ds.image_path(crop))[:, 12:-12].mean(axis=(1, 2))
        assert rows[:3].max() < 80 < 180 < rows[5:].min()  # a millimetre of ground above, card below


def test_the_whole_face_and_tiles_go_to_their_own_datasets(scans: Dataset) -> None:
    add(scans, png(scan(1)), ("outer_border", polygon(CORNERS)))
    assert run(scans, "faces", "surface_analysis.quality_rating", refine=False).derived == 1
    assert run(scans, "tiles", "surface_analysis.defect_detection").derived == 15
    assert crops(scans, "faces")["surface:face"].main.width == round(65.5 * DPI / 25.4)


def test_what_is_cut_can_be_split_at_once_and_a_card_never_crosses(scans: Dataset) -> None:
    for n in range(8):
        add(scans, png(scan(n)), ("outer_border", polygon(CORNERS)), card=f"card-{n // 2}", sources=(f"{n}.png",))
    run(scans)
    manifest = split(Dataset.open(scans.ws, "corners"))
    version = Version.open(scans.ws, "corners")
    assert manifest.samples == 32
    by_card: dict[str, set[str | None]] = {}
    for sample in version.iter_samples():
        assert sample.parent
        by_card.setdefault(sample.card, set()).add(sample.split)
    assert len(by_card) == 4 and all(len(splits) == 1 for splits in by_card.values())


def test_a_card_keeps_the_split_it_has_among_the_crops(scans: Dataset) -> None:
    add(scans, png(scan(1)), ("outer_border", polygon(CORNERS)), split="train")
    run(scans)
    add(scans, png(scan(2)), ("outer_border", polygon(CORNERS)), split="test")  # the same card, split anew meanwhile
    run(scans)
    assert {s.split for s in Dataset.open(scans.ws, "corners").samples().values()} == {"train"}


# --- again ------------------------------------------------------------------------------------------------------


def test_again_adds_nothing_and_gives_the_same_files_anywhere(scans: Dataset) -> None:
    parent = add(
        scans,
        png(scan(1, TILTED, (330, 430))),
        ("outer_border", polygon(TILTED)),
        ("whitening", polygon(TILTED[[0, 1, 3]])),
    )
    run(scans)
    ds = Dataset.open(scans.ws, "corners")
    before = ds.samples_path.read_bytes(), ds.log_path.read_bytes()
    scans.image_path(parent).rename(scans.ws.root / "away")  # nothing needs to be read for that
    report = run(scans)
    assert (report.derived, report.unchanged, report.labels) == (0, 4, 0)
    assert (ds.samples_path.read_bytes(), ds.log_path.read_bytes()) == before
    (scans.ws.root / "away").rename(scans.image_path(parent))
    run(scans, "others")
    assert {r: s.id for r, s in crops(scans, "others").items()} == {r: s.id for r, s in crops(scans).items()}


def test_regions_that_look_the_same_are_samples_of_their_own(scans: Dataset) -> None:
    flat = np.full((410, 310, 3), 200, np.uint8)
    add(scans, png(flat), ("outer_border", polygon(TILTED - 8)))
    assert run(scans).derived == 4


def test_a_changed_outline_makes_new_crops_and_what_people_said_of_the_old_ones_is_kept_on_both(scans: Dataset) -> None:
    parent = add(scans, png(scan(1, TILTED, (330, 430))))
    outline = say(scans, parent.id, "outer_border", polygon(TILTED), id="outline")
    run(scans)
    ds = Dataset.open(scans.ws, "corners")
    old = crops(scans)["corner:top_left"]
    other = crops(scans)["corner:top_right"]
    say(ds, old.id, "fray", polygon([(5, 5), (12, 6), (8, 14)]), who="ben")
    say(ds, old.id, None, Status(status="unsure", comment="dust?"), id=status_id(old.id), who="ben")
    ds.put_samples([old.model_copy(update={"status": "unsure"})])
    head = next(e for e in scans.log() if e.annotation == outline.id)
    moved = TILTED + np.array([(1, 0), (0, 0), (0, 0), (0, 0)])  # a pixel: 0.25 mm
    say(scans, parent.id, "outer_border", polygon(moved), id="outline", replaces=head.entry)
    report = run(scans)
    assert (report.derived, report.superseded) == (4, 4)  # the card's tilt is the mean of its sides
    assert (
        "2 labels, scores and statuses that people gave to superseded crops stand on the new ones too" in report.notes
    )
    new = crops(scans)["corner:top_left"]
    now = ds.samples()
    assert now[old.id].excluded == f"superseded by {new.id}"
    assert new.status == "unsure" and now[old.id].status == "unsure"
    assert len(ds.annotations()[old.id]) == 1
    (fray,) = ds.annotations()[new.id]
    assert fray.label == "fray" and fray.attributes["moved_from"] == ds.annotations()[old.id][0].id
    entry = next(e for e in ds.log() if e.annotation == fray.id)
    assert (entry.who, entry.tool) == ("ben", "derive")
    on_scan = to_parent(new, fray.value, parent), to_parent(old, ds.annotations()[old.id][0].value, parent)
    assert np.allclose(on_scan[0].points, on_scan[1].points, atol=1e-6)  # type: ignore[union-attr]
    assert other.id in now and now[other.id].excluded

    assert run(scans).superseded == 0
    head = [e for e in scans.log() if e.annotation == "outline"][-1]
    say(scans, parent.id, "outer_border", polygon(TILTED), id="outline", replaces=head.entry)
    report = run(scans)
    assert (report.derived, report.unchanged, report.superseded) == (0, 4, 4)
    assert "4 crops that were superseded are current again" in report.notes
    assert crops(scans)["corner:top_left"].id == old.id


def test_an_outline_that_moves_far_leaves_what_people_said_where_it_was(scans: Dataset) -> None:
    parent = add(scans, png(scan(1, TILTED, (330, 430))))
    say(scans, parent.id, "outer_border", polygon(TILTED), id="outline")
    run(scans)
    ds = Dataset.open(scans.ws, "corners")
    old = crops(scans)["corner:top_left"]
    say(ds, old.id, "fray", Box(xyxy=(3, 3, 9, 9)))
    head = next(e for e in scans.log() if e.annotation == "outline")
    say(scans, parent.id, "outer_border", polygon(TILTED + 6), id="outline", replaces=head.entry)
    report = run(scans)
    assert (
        "1 superseded crops hold labels of people that stay there alone, for the outline moved too far" in report.notes
    )
    assert list(ds.annotations()) == [old.id]


def test_what_changes_on_the_scan_is_taken_over(scans: Dataset) -> None:
    parent = add(scans, png(scan(1)), ("outer_border", polygon(CORNERS)), card_assumed=True, card="own")
    run(scans)
    scans.put_samples([parent.model_copy(update={"card": "griffey-89", "card_assumed": False, "design": "ud-1"})])
    report = run(scans)
    assert "4 crops took over what changed on their scan" in report.notes
    assert {(s.card, s.card_assumed, s.design) for s in crops(scans).values()} == {("griffey-89", False, "ud-1")}


# --- labels -----------------------------------------------------------------------------------------------------


def test_labels_of_the_tasks_classes_come_along_and_follow_the_scan(scans: Dataset) -> None:
    parent = add(scans, png(scan(1, TILTED, (330, 430))), ("outer_border", polygon(TILTED)))
    wear = polygon([(37, 27), (44, 28), (40, 33)])
    say(scans, parent.id, "whitening", wear, id="wear")
    blob = np.zeros((430, 330), bool)
    blob[26:30, 270:290] = True
    say(scans, parent.id, "fray", rle.encode(blob), id="blob")
    say(scans, parent.id, "graphical_border", polygon(TILTED * 0.9), id="inner")
    say(scans, parent.id, None, Score(score=8), id="score")
    report = run(scans)
    assert report.labels == 2
    ds = Dataset.open(scans.ws, "corners")
    found, own = crops(scans), ds.annotations()
    (first,) = own[found["corner:top_left"].id]
    assert (first.label, first.attributes) == ("whitening", {"from": "wear"})
    assert isinstance(first.value, Polygon)
    back = to_parent(found["corner:top_left"], first.value, parent)
    assert np.allclose(back.points, wear.points, atol=1e-6)  # type: ignore[union-attr]
    (second,) = own[found["corner:top_right"].id]
    assert isinstance(second.value, Mask)
    assert {s.status for s in found.values()} == {"done"}  # the scan is done, and its dataset knows all four classes

    # the scan's label changes: so does the crop's; a person changes the crop's: that stays
    head = next(e for e in scans.log() if e.annotation == "wear")
    say(scans, parent.id, "whitening", polygon([(37, 27), (46, 28), (40, 33)]), id="wear", replaces=head.entry)
    assert run(scans).labels == 1
    own = ds.annotations()
    assert len(own[found["corner:top_left"].id]) == 1 and own[found["corner:top_left"].id][0].value != first.value
    head = [e for e in ds.log() if e.annotation == second.id][-1]
    say(ds, second.sample, "fray", Box(xyxy=(3, 3, 9, 9)), id=second.id, replaces=head.entry)
    head = next(e for e in scans.log() if e.annotation == "blob")
    blob[:, 280:] = False
    say(scans, parent.id, "fray", rle.encode(blob), id="blob", replaces=head.entry)
    report = run(scans)
    assert report.labels == 0
    assert "1 labels were changed on the crop by people and stay as they are, though the scan's differ" in report.notes
    assert isinstance(ds.annotations()[second.sample][0].value, Box)

    # the scan's label is deleted: the crop's goes with it, unless a person has touched it
    for id in ("wear", "blob"):
        head = [e for e in scans.log() if e.annotation == id][-1]
        scans.append(
            [head.model_copy(update={"entry": f"9{id}", "op": "delete", "replaces": head.entry, "value": None})]
        )
    assert run(scans).labels == 1
    assert list(ds.annotations()) == [second.sample]


def test_a_label_that_a_person_deleted_on_the_crop_does_not_come_back_with_a_new_outline(scans: Dataset) -> None:
    parent = add(scans, png(scan(1, TILTED, (330, 430))))
    say(scans, parent.id, "outer_border", polygon(TILTED), id="outline")
    say(scans, parent.id, "whitening", polygon([(37, 27), (44, 28), (40, 33)]), id="wear")
    run(scans)
    ds = Dataset.open(scans.ws, "corners")
    entry = next(iter(ds.log()))
    ds.append(
        [
            entry.model_copy(
                update={"entry": "9", "op": "delete", "replaces": entry.entry, "value": None, "tool": "annotator"}
            )
        ]
    )
    assert run(scans).labels == 0
    head = next(e for e in scans.log() if e.annotation == "outline")
    say(
        scans,
        parent.id,
        "outer_border",
        polygon(TILTED + np.array([(1, 0), (0, 0), (0, 0), (0, 0)])),
        id="outline",
        replaces=head.entry,
    )
    assert run(scans).superseded == 4
    assert ds.annotations() == {}


def test_all_classes_scores_and_tags_come_when_asked(scans: Dataset) -> None:
    add(scans, png(scan(1)), ("outer_border", polygon(CORNERS)), (None, Score(score=8.5)), (None, Tags(tags=("foil",))))
    assert run(scans).labels == 0
    assert run(scans, all_classes=True, whole_labels=True).labels == 4 + 8  # also into a dataset that is there
    ds = Dataset.open(scans.ws, "corners")
    assert [c.name for c in ds.classes][4:] == ["outer_border", "graphical_border"]
    values = [a.value for a in ds.annotations()[crops(scans)["corner:top_left"].id]]
    assert [v.type for v in values] == ["box", "score", "tags"] or [v.type for v in values] == [
        "polygon",
        "score",
        "tags",
    ]


def test_a_scan_labelled_for_borders_says_nothing_of_its_corners(ws: Workspace) -> None:
    ds = Dataset.create(ws, "scans", [ClassDef(name="border", shape="polygon")])
    add(ds, png(scan(1)), ("border", polygon(CORNERS)))
    run(ds)
    assert {s.status for s in crops(ds).values()} == {"unlabelled"}


# --- pictures ---------------------------------------------------------------------------------------------------


def test_sixteen_bits_grey_and_the_colour_profile_are_kept(scans: Dataset) -> None:
    deep = scan(1).astype(np.uint16) * 257 + 3
    add(scans, png(deep), ("outer_border", polygon(CORNERS)))
    add(scans, png(deep[..., 0]), ("outer_border", polygon(CORNERS)), sources=("grey.png",), card="grey")
    out = io.BytesIO()
    Pillow.fromarray(scan(3)).save(out, "PNG", icc_profile=b"a colour profile", dpi=(DPI, DPI))
    add(scans, out.getvalue(), ("outer_border", polygon(CORNERS)), card="profile", dpi=None)
    assert run(scans, refine=False).derived == 12
    ds = Dataset.open(scans.ws, "corners")
    by_card = {s.card: s for s in ds.samples().values() if s.parent and s.parent.region == "corner:top_left"}
    stored = {card: cv2.imread(str(ds.image_path(s)), cv2.IMREAD_UNCHANGED) for card, s in by_card.items()}
    assert np.array_equal(stored["card-1"], deep[21:52, 16:47]) and by_card["card-1"].main.bits == 16
    assert np.array_equal(stored["grey"], deep[21:52, 16:47, 0])
    with Pillow.open(ds.image_path(by_card["profile"])) as opened:
        assert opened.info["icc_profile"] == b"a colour profile"
    assert by_card["profile"].dpi == pytest.approx(DPI, abs=0.01)


def test_a_scan_is_decoded_once_for_all_its_regions(scans: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    add(scans, png(scan(1)), ("outer_border", polygon(CORNERS)))
    read = deriving.pixels.parent_pixels
    calls = []
    monkeypatch.setattr(deriving.pixels, "parent_pixels", lambda *a: calls.append(1) or read(*a))
    run(scans, "tiles", "surface_analysis.defect_detection")
    assert len(calls) == 1


def test_a_photograph_is_cut_by_its_homography_and_says_where_its_scale_comes_from(
    shared: Path, scans: Dataset
) -> None:
    data = (shared / "mtg_phone_photos" / "in_box" / "4ed-154.jpg").read_bytes()
    quad = [(38, 136), (1214, 134), (1276, 1790), (56, 1838)]  # drawn by hand, of a card among others
    add(scans, data, ("outer_border", polygon(quad)), dpi=None, card="4ed-154")
    report = run(scans)
    assert report.derived == 0 and "give the card's format (--format us" in report.skipped[0]["reason"]
    report = run(scans, format="tcg")
    assert report.derived == 4 and report.formats == {"tcg": 1}
    assert report.notes[0].startswith("1 cards are photographs: their scale comes from the format given")
    for crop in crops(scans).values():
        assert "scale: tcg format" in crop.tags
        assert crop.parent and abs(crop.parent.homography[6]) > 1e-7
        assert crop.dpi == pytest.approx(481, abs=15)


# --- outlines from a model ----------------------------------------------------------------------------------------


class _Model:
    name, classes, threshold = "run-1", ("outer_border",), 0.5

    def __init__(self, corners: np.ndarray) -> None:
        self.corners = corners

    def predict(self, images: Sequence[np.ndarray], names: Sequence[str], *_: Any, **__: Any) -> list[Prediction]:
        height, width = images[0].shape[:2]
        assert images[0].dtype == np.uint8 and images[0].shape[2] == 3
        mask = rle.from_polygon(self.corners, width, height)
        found = [
            Instance(label=label, score=score, box=(1, 1, 9, 9), mask=mask)
            for label, score in (("outer_border", 0.9), ("x", 1))
        ]
        return [
            Prediction(
                image=names[0], width=width, height=height, instances=tuple(found if width < 320 else []), seconds=0
            )
        ]


def test_a_model_finds_the_cards_that_nobody_has_drawn(scans: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    export = scans.ws.exports / "border-model"
    export.mkdir(parents=True)
    corners = card_corners(63.5, 88.9, DPI, 1, (24.5, 24.5))
    monkeypatch.setattr(deriving, "open_predictor", lambda ws, name: _Model(corners))
    add(scans, png(scan(1)), card="a", status="unlabelled")
    add(scans, png(scan(2)), ("outer_border", polygon(CORNERS + 2)), card="b")
    add(scans, png(scan(3, size=(330, 410))), card="c", status="unlabelled")
    report = run(scans, outline_from="border-model", refine=False)
    assert report.derived == 8 and report.outlines == {"fitted": 1, "box": 1}
    assert [s["reason"] for s in report.skipped] == [
        "has no outline, and run-1 finds none of outer_border, border in it. Draw the card's four corners."
    ]
    found = {s.card: s for s in Dataset.open(scans.ws, "corners").samples().values()
             if s.parent and s.parent.region == "corner:top_left"}  # fmt: skip
    lies = to_parent(found["a"], polygon([(3.44, 3.44), (9, 4), (4, 9)]), scans.samples()[found["a"].parent.sample])  # type: ignore[union-attr]
    assert lies.points[0] == pytest.approx((24.5, 24.5), abs=0.8)  # type: ignore[union-attr]


# --- what cannot be cut -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("labels", "facts", "reason"), [
    ([], {}, "has no outline: no shape of the card's edge"),
    ([("outer_border", polygon(CORNERS))], {"dpi": None}, "its resolution is not known. Import it with its --dpi"),
    ([("outer_border", polygon(CORNERS))], {"dpi": 1200.0}, "at 1200 dpi the outline measures 5.3 x 7.4 mm, which is no card"),
    ([("outer_border", polygon(CORNERS[[0, 2, 1, 3]]))], {}, "its outline crosses itself. Draw it again: four corners"),
    ([("outer_border", polygon(TILTED + np.array([(0, 0), (0, 0), (40, 0), (0, 0)])))], {}, "a scan has no perspective"),
    ([("outer_border", polygon(CORNERS))], {"status": "rescan"}, "is to be scanned again"),
    ([("outer_border", polygon(CORNERS))], {"status": "skipped"}, "is marked as skipped"),
    ([("outer_border", polygon(CORNERS))], {"excluded": "blurred"}, "is excluded: blurred"),
])  # fmt: skip
def test_a_scan_that_cannot_be_cut_is_left_out_with_its_reason(
    scans: Dataset, labels: list[tuple[str, Value]], facts: dict[str, Any], reason: str
) -> None:
    sample = add(scans, png(scan(1)), *labels, **facts)
    report = run(scans)
    assert report.derived == report.scans == 0
    (skipped,) = report.skipped
    assert reason in skipped["reason"]
    assert (skipped["sample"], skipped["source"], skipped["region"]) == (sample.id, "scans/1.png", "")
    assert not (scans.ws.datasets / "corners").exists()  # nothing came of it, so nothing is made


def test_a_region_that_reaches_too_far_out_of_the_scan_is_left_out_and_a_little_is_black(scans: Dataset) -> None:
    add(scans, png(scan(1)), ("outer_border", polygon(card_corners(63.5, 88.9, DPI, 2.0, (3.5, -8.5)))))
    report = run(scans)
    assert report.derived == 2
    assert {s["region"] for s in report.skipped} == {"corner:top_left", "corner:bottom_left"} or len(
        report.skipped
    ) == 2
    assert all("lie outside the scan (25 % are allowed). Mend the outline" in s["reason"] for s in report.skipped)
    assert report.padded >= 1 and 0 < report.most_padding < 0.25
    assert any("padded" in s.tags for s in crops(scans).values())


def test_two_cards_in_one_scan_give_the_larger_one(scans: Dataset) -> None:
    small = card_corners(40.5, 50, DPI, 0, (100, 100))
    add(scans, png(scan(1)), ("outer_border", polygon(small)), ("outer_border", polygon(CORNERS)))
    report = run(scans)
    assert report.derived == 4 and "2 outlines of 'outer_border': the largest was taken" in report.notes


def test_a_card_on_its_side_is_named_as_it_lies_and_it_is_said(scans: Dataset) -> None:
    corners = card_corners(88.9, 63.5, DPI, 2, (40, 30))
    add(scans, png(scan(1, corners, (430, 330))), ("outer_border", polygon(corners)))
    report = run(scans, task=WEAR, to="edges")
    assert report.derived == 14 and "1 cards lie on their side; their regions are named as they lie" in report.notes
    assert sum(region.startswith("edge:top") for region in crops(scans, "edges")) == 4


def test_boxes_are_said_to_hide_the_tilt(scans: Dataset) -> None:
    add(scans, png(scan(1)), ("outer_border", Box(xyxy=(19.5, 24.5, 269.5, 374.5))))
    report = run(scans, refine=False)
    assert report.outlines == {"box": 1}
    assert any("1 outlines are upright boxes" in note and "0.47 mm" in note for note in report.notes)


def test_a_box_is_refined_by_the_scans_own_edges(scans: Dataset) -> None:
    tilted = card_corners(63.5, 88.9, DPI, 0.8, (24.5, 24.5))
    image = scan(1, tilted)
    centre = tilted.mean(axis=0)
    box = Box(xyxy=(centre[0] - 126, centre[1] - 176, centre[0] + 126, centre[1] + 176))
    add(scans, png(image), ("outer_border", box))
    report = run(scans)
    assert report.outlines == {"refined_box": 1}
    assert "1 outlines are boxes, refined by the edges in the scan" in report.notes
    parent = scans.samples()[crops(scans)["corner:top_left"].parent.sample]  # type: ignore[union-attr]
    at = to_parent(crops(scans)["corner:top_left"], polygon([(3.44, 3.44), (9, 4), (4, 9)]), parent)
    assert at.points[0] == pytest.approx(tilted[0], abs=1.2)  # type: ignore[union-attr]  # whole pixels, drawn in whole pixels


def test_a_picture_that_is_gone_or_damaged_costs_its_own_scan_alone(scans: Dataset) -> None:
    gone = add(scans, png(scan(1)), ("outer_border", polygon(CORNERS)), card="a")
    torn = add(scans, png(scan(2)), ("outer_border", polygon(CORNERS)), card="b")
    add(scans, png(scan(3)), ("outer_border", polygon(CORNERS)), card="c")
    scans.image_path(gone).unlink()
    scans.image_path(torn).write_bytes(scans.image_path(torn).read_bytes()[:5000])
    report = run(scans)
    assert report.derived == 4
    reasons = {s["sample"]: s["reason"] for s in report.skipped}
    assert "its picture cannot be read (No such file or directory)" in reasons[gone.id]
    assert "its pixels cannot be read" in reasons[torn.id] and "cut off or damaged" in reasons[torn.id]


def test_a_preview_shows_where_without_reading_pictures(scans: Dataset) -> None:
    first = add(scans, png(scan(1)), card="a")
    assert deriving.preview(scans.ws, "scans", DeriveOptions(task=WEAR)) == deriving.Preview(
        first,
        reason="has no outline: no shape of the card's edge (outer_border, border, or any shape of a card's proportions)",
    )
    second = add(scans, png(scan(2)), ("outer_border", Box(xyxy=(19.5, 24.5, 269.5, 374.5))), card="b")
    scans.image_path(second).unlink()
    found = deriving.preview(scans.ws, "scans", DeriveOptions(task=WEAR, outline_from="some-run"))
    assert found and found.sample.id == second.id and not found.reason
    assert len(found.regions) == 14 and found.corners[0] == (19.5, 24.5)
    empty = Dataset.create(scans.ws, "empty")
    assert deriving.preview(scans.ws, empty.name, DeriveOptions(task=WEAR)) is None
    assert not (scans.ws.datasets / "corners").exists()


def test_crops_are_not_cut_again(scans: Dataset) -> None:
    add(scans, png(scan(1)), ("outer_border", polygon(CORNERS)))
    run(scans, all_classes=True)
    report = run(Dataset.open(scans.ws, "corners"), "again")
    assert [s["reason"] for s in report.skipped] == ["is itself a region of a scan"] * 4


@pytest.mark.parametrize(("to", "options", "error", "words"), [
    ("corners", {"task": "border_detection.dual_class"}, UsageError, "looks at whole scans, so there is nothing to cut"),
    ("corners", {"task": "photometric_stereo.depth_reconstruction"}, UsageError, "looks at whole scans"),
    ("scans", {}, UsageError, "crops need a dataset of their own"),
    ("edges", {}, UsageError, "is for edge_analysis.wear_detection, not for corner_analysis.damage_detection"),
    ("plain", {}, UsageError, "is for no task yet"),
    ("corners", {"format": "uk"}, UsageError, "no card format 'uk'"),
    ("corners", {"outline": "outer_boder"}, UsageError, "has no class 'outer_boder'"),
    ("corners", {"outline_from": "20260101-000000-abcd"}, TrainingError, "no run"),
    ("a/b", {}, UsageError, "cannot be the name of a dataset"),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused_before_anything_starts(
    scans: Dataset, to: str, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    creating.create_dataset(scans.ws, "edges", WEAR)
    Dataset.create(scans.ws, "plain")
    with pytest.raises(error, match=words):
        deriving.start_derive(scans.ws, "scans", to, DeriveOptions(**{"task": DAMAGE, **options}))
    assert not list(scans.ws.jobs.glob("*"))


def test_no_dataset_of_scans(ws: Workspace) -> None:
    with pytest.raises(DatasetError, match="no dataset 'scan'"):
        derive(ws, "scan", "corners", DeriveOptions(task=DAMAGE))


def test_the_first_scans_only(scans: Dataset) -> None:
    for n in range(3):
        add(scans, png(scan(n)), ("outer_border", polygon(CORNERS)), card=str(n))
    seen = []
    report = derive(
        scans.ws, "scans", "corners", DeriveOptions(task=DAMAGE, limit=2), progress=lambda *a: seen.append(a)
    )
    assert report.scans == 2 and seen == [(1, 2, "scans cut"), (2, 2, "scans cut")]


def lay(scans: Dataset, parent: Sample, corners: np.ndarray) -> DeriveReport:
    """Draw the card's outline there, instead of where it was, and cut."""
    head = next((e for e in reversed(list(scans.log())) if e.annotation == "outline"), None)
    say(scans, parent.id, "outer_border", polygon(corners), id="outline", replaces=head.entry if head else None)
    return run(scans)


NEAR = np.array([(1, 0), (0, 0), (0, 0), (0, 0)])
MOVED = "labels, scores and statuses that people gave to superseded crops stand on the new ones too"


def test_what_people_said_comes_back_with_the_outline_and_nothing_is_doubled(scans: Dataset) -> None:
    parent = add(scans, png(scan(1, TILTED, (330, 430))))
    lay(scans, parent, TILTED)
    ds = Dataset.open(scans.ws, "corners")
    first = crops(scans)["corner:top_left"]
    say(ds, first.id, "ding", Box(xyxy=(3, 3, 9, 9)), id="ding", who="ada")
    say(ds, first.id, "bend", Box(xyxy=(12, 3, 19, 9)), id="bend", who="ada")
    say(ds, first.id, "whitening", Box(xyxy=(3, 12, 9, 19)), id="gone", who="ada")
    lay(scans, parent, TILTED + NEAR)
    second = crops(scans)["corner:top_left"]
    on = {a.label: a for a in ds.annotations()[second.id]}
    assert set(on) == {"ding", "bend", "whitening"}
    heads = {e.annotation: e for e in ds.log()}
    say(ds, second.id, "fray", polygon([(5, 5), (12, 6), (8, 14)]), id="fray", who="ben")
    say(ds, second.id, "whitening", on["bend"].value, id=on["bend"].id, replaces=heads[on["bend"].id].entry, who="ben")
    gone = heads[on["whitening"].id]
    ds.append([gone.model_copy(update={"entry": "9", "op": "delete", "replaces": gone.entry, "value": None, "label": None,
                                       "attributes": {}, "tool": "canvas", "when": heads["ding"].when.replace(year=2100)})])  # fmt: skip
    say(ds, second.id, None, Status(status="unsure", comment="dust?"), id=status_id(second.id), who="ben")
    ds.put_samples([second.model_copy(update={"status": "unsure"})])

    report = lay(scans, parent, TILTED)
    assert f"4 {MOVED}" in report.notes  # added, changed, deleted and said of the whole; the ding stands there already
    back = crops(scans)["corner:top_left"]
    assert (back.id, back.status) == (first.id, "unsure")
    assert sorted((a.id, a.label) for a in ds.annotations()[first.id] if a.id in ("ding", "bend", "gone")) == [
        ("bend", "whitening"), ("ding", "ding")]  # fmt: skip
    assert sorted(a.label or "" for a in ds.annotations()[first.id]) == ["ding", "fray", "whitening"]
    assert ds.conflicts() == [] and len([e for e in ds.log() if e.annotation == "ding"]) == 1

    for corners in (TILTED + NEAR, TILTED + 2 * NEAR, TILTED):  # to and fro, and there by another way
        lay(scans, parent, corners)
        current = crops(scans)["corner:top_left"]
        assert sorted(a.label or "" for a in ds.annotations()[current.id]) == ["ding", "fray", "whitening"]
        assert current.status == "unsure" and ds.conflicts() == []


def test_a_label_of_the_scan_changed_on_the_later_crop_keeps_its_change_on_the_restored_one(scans: Dataset) -> None:
    parent = add(scans, png(scan(1, TILTED, (330, 430))))
    say(scans, parent.id, "whitening", polygon([(37, 27), (44, 28), (40, 33)]), id="wear")
    lay(scans, parent, TILTED)
    lay(scans, parent, TILTED + NEAR)
    ds = Dataset.open(scans.ws, "corners")
    (wear,) = ds.annotations()[crops(scans)["corner:top_left"].id]
    head = next(e for e in ds.log() if e.annotation == wear.id)
    say(ds, wear.sample, "fray", wear.value, id=wear.id, replaces=head.entry, who="ben")
    lay(scans, parent, TILTED)
    (held,) = ds.annotations()[crops(scans)["corner:top_left"].id]
    assert held.label == "fray" and ds.conflicts() == []


def test_what_was_said_later_of_the_restored_crop_stays_and_is_told(scans: Dataset) -> None:
    parent = add(scans, png(scan(1, TILTED, (330, 430))))
    lay(scans, parent, TILTED)
    ds = Dataset.open(scans.ws, "corners")
    first = crops(scans)["corner:top_left"]
    say(ds, first.id, "ding", Box(xyxy=(3, 3, 9, 9)), id="ding")
    lay(scans, parent, TILTED + NEAR)
    head = next(e for e in ds.log() if e.annotation == "ding")
    say(ds, first.id, "bend", Box(xyxy=(3, 3, 9, 9)), id="ding", replaces=head.entry)
    report = lay(scans, parent, TILTED)
    assert [a.label for a in ds.annotations()[first.id]] == ["bend"]
    assert any(note.startswith("1 labels, scores and statuses of superseded crops stay there") for note in report.notes)


def test_labels_left_behind_are_told_when_the_outline_comes_back_from_afar_and_when_a_region_is_cut_no_more(
    scans: Dataset,
) -> None:
    parent = add(scans, png(scan(1, TILTED, (330, 430))))
    lay(scans, parent, TILTED)
    lay(scans, parent, TILTED + 6)
    ds = Dataset.open(scans.ws, "corners")
    say(ds, crops(scans)["corner:top_left"].id, "fray", Box(xyxy=(3, 3, 9, 9)))
    left = "1 superseded crops hold labels of people that stay there alone"
    assert f"{left}, for the outline moved too far" in lay(scans, parent, TILTED).notes
    say(ds, crops(scans)["corner:top_left"].id, "fray", Box(xyxy=(3, 3, 9, 9)))
    report = lay(scans, parent, TILTED - (40, 0))  # the left corners lie outside the scan
    assert "corner:top_left" not in crops(scans) and crops(scans)
    assert f"{left}, for their region is no longer cut" in report.notes
