"""Hashes that know their turns, a search that misses nothing, and one scan told apart from another copy of the card."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from trugrade_core.data.checks import duplicates, hashing, matching, measures
from trugrade_core.data.images import decode
from trugrade_core.schema import Image, ImageRef, Lineage, Sample
from trugrade_core.synth.cards import CardSpec, describe, make_card, render_card
from trugrade_core.workspace import Workspace

DPI = 150


def brute_force(hashes: hashing.Hashes, within: int) -> dict[tuple[int, int], int]:
    others = [side ^ flip for side in (hashes, hashing._transposed(hashes)) for flip in hashing.FLIPS]
    bits = np.min([np.bitwise_count(hashes[:, None] ^ other[None, :]) for other in others], axis=0)
    return {(int(a), int(b)): int(bits[a, b]) for a, b in np.argwhere(bits <= within) if a < b}


@pytest.mark.parametrize("within", [0, 7, 10, 12])
def test_the_search_finds_what_comparing_each_with_each_finds(within: int) -> None:
    rng = np.random.default_rng(within)
    hashes = rng.integers(0, 2**64, 60, dtype=np.uint64)
    flips = np.array([sum(1 << int(b) for b in rng.choice(64, n % 14, replace=False)) for n in range(60)], np.uint64)
    hashes = np.concatenate([hashes, hashes ^ flips, hashing._transposed(hashes ^ flips) ^ hashing.UP_DOWN])
    near = hashing.search(hashes, within)
    found = {(int(a), int(b)): int(d) for a, b, d in zip(near.first, near.second, near.distance, strict=True)}
    assert found == brute_force(hashes, within)
    assert near.within == within and not near.cut


def test_the_distance_of_two_hashes_is_that_of_the_search() -> None:
    hashes = np.random.default_rng(3).integers(0, 2**64, 2, dtype=np.uint64)
    assert brute_force(hashes, 64) == {(0, 1): hashing.nearest(int(hashes[0]), int(hashes[1]))[0]}


def test_too_many_look_alikes_keep_the_nearest_and_say_so() -> None:
    rng = np.random.default_rng(1)
    one = rng.integers(0, 2**64, dtype=np.uint64)
    hashes = np.array([one ^ np.uint64(sum(1 << int(b) for b in rng.choice(64, 3, replace=False))) for _ in range(80)])
    near = hashing.search(hashes, 8, most=100)
    assert near.within < 8 and len(near.first) <= 100 and not near.cut
    assert len(near.first) == len(hashing.search(hashes, near.within).first)
    equal = hashing.search(np.full(80, one), 8, most=100)
    assert equal.cut and len(equal.first) == 100 and equal.within == 0


def test_nothing_and_one_hash_have_no_pairs() -> None:
    for count in (0, 1):
        assert len(hashing.search(np.zeros(count, np.uint64)).first) == 0


@pytest.fixture(scope="module")
def card() -> Image:
    return make_card(11, 2, DPI).image


@pytest.mark.parametrize("turn", range(8))
def test_the_hash_knows_every_turn(card: Image, turn: int) -> None:
    grey = cv2.cvtColor(card, cv2.COLOR_RGB2GRAY)
    other = np.ascontiguousarray(hashing.turned(grey, turn))
    hashes = [hashing.picture_hash(grey), hashing.picture_hash(other)]
    near = hashing.search(hashing.as_numbers([h for h in hashes if h]), 4)
    assert len(near.first) == 1
    back = hashing.turned(other, int(near.turn[0]))
    assert back.shape == grey.shape and np.array_equal(back, grey), "the turn brings the second upright to the first"


def test_an_even_picture_has_no_hash() -> None:
    assert hashing.picture_hash(np.full((90, 60), 200, np.uint8)) is None


# --- one scan, changed, or another copy -----------------------------------------------------------------------------


def jpeg(image: Image, quality: int) -> Image:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


CHANGES: dict[str, Callable[[Image], Image]] = {
    "recompressed": lambda z: jpeg(z, 40),
    "half the size": lambda z: np.asarray(cv2.resize(z, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8),
    "cropped": lambda z: z[8:, 6:],
    "darker": lambda z: (z * 0.6).round().astype(np.uint8),
    "blurred": lambda z: np.asarray(cv2.GaussianBlur(z, (0, 0), 1), np.uint8),
}


def another_copy(spec: CardSpec) -> CardSpec:
    """Another card of the design: its print sits elsewhere on the stock, and it lies otherwise in the scanner."""
    left, top, right, bottom = spec.print.margins_mm
    return dataclasses.replace(
        spec,
        print=dataclasses.replace(spec.print, margins_mm=(left + 0.25, top - 0.2, right - 0.25, bottom + 0.2), skew_deg=spec.print.skew_deg + 0.1),
        placement=dataclasses.replace(spec.placement, tilt_deg=spec.placement.tilt_deg + 0.3),
        scanner=describe(5, 5).scanner,
    )  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_scan_lies_on_its_original(name: str) -> None:
    scan = make_card(41, 3, 300).image
    changed = np.ascontiguousarray(CHANGES[name](scan))
    assert duplicates.lies_on(matching.small(scan), matching.small(changed)) == "same_scan"


def test_another_copy_of_the_card_does_not() -> None:
    spec = describe(41, 3)
    copy = render_card(another_copy(spec), 300).image
    assert duplicates.lies_on(matching.small(make_card(41, 3, 300).image), matching.small(copy)) == "same_design"


def test_a_picture_without_middle_tones_is_compared_as_it_is() -> None:
    levels = (np.random.default_rng(0).integers(0, 2, (12, 8, 1)) * np.full(3, 255)).astype(np.uint8)
    hard = np.asarray(cv2.resize(levels, (180, 252), interpolation=cv2.INTER_LINEAR), np.uint8)
    assert duplicates.lies_on(hard, jpeg(hard, 60)) == "same_scan"


def test_another_card_is_neither() -> None:
    a, b = (matching.small(make_card(41, n, DPI).image) for n in (3, 4))
    assert duplicates.lies_on(a, b) == "other"
    assert duplicates.lies_on(np.full_like(a, 90), a) == "other"


# --- a dataset's pairs ----------------------------------------------------------------------------------------------


class Pile:
    """Files as samples, each with its card and split."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[tuple[Path, str, str | None]] = []

    def put(self, name: str, image: Image, card: str, split: str | None = None) -> None:
        path = self.folder / name
        Pillow.fromarray(np.ascontiguousarray(image)).save(path)
        self.rows.append((path, card, split))

    def pairs(self, store: Path | None = None, *, deep: bool = True) -> duplicates.Pairs:
        self.measured = measures.measure([path for path, _, _ in self.rows])
        self.pictures = [
            duplicates.Picture(self.measured.paths[path], path, path.stem, card, split)
            for path, card, split in self.rows
        ]
        return duplicates.find_pairs(self.pictures, self.measured.found, store, deep=deep)


@pytest.fixture
def pile(tmp_path: Path) -> Pile:
    (tmp_path / "pile").mkdir()
    return Pile(tmp_path / "pile")


def test_each_kind_is_named(pile: Pile, card: Image) -> None:
    pile.put("a.png", card, "1")
    pile.put("bytes.png", card, "2")
    pile.put("pixels.bmp", card, "3")
    pile.put("turned.png", np.rot90(card), "4")
    pile.put("other.png", make_card(11, 5, DPI).image, "5")
    found = {tuple(sorted(pair.samples)): pair for pair in pile.pairs().pairs}
    assert found["a", "bytes"].kind == "same_file" and found["a", "bytes"].how == "the same bytes"
    assert found["a", "pixels"].how == "the same pixels in other bytes"
    turned = found["a", "turned"]
    assert turned.kind == "same_scan" and turned.how == "turned by 90 degrees" and turned.similarity > 0.95
    assert not any("other" in key for key in found)


def test_what_was_compared_once_is_kept(
    pile: Pile, card: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pile.put("a.png", card, "1")
    pile.put("b.png", jpeg(card, 60), "2")
    store = tmp_path / "pairs.jsonl"
    shallow = pile.pairs(store, deep=False)
    assert shallow.unchecked == 1 and shallow.pairs[0].kind == "same_design"
    assert list(duplicates.findings(shallow)) == [], "what nobody looked at accuses nobody"
    first = pile.pairs(store)
    assert first.unchecked == 0 and first.pairs[0].kind == "same_scan"
    store.write_bytes(store.read_bytes() + b'{"first":"torn')
    monkeypatch.setattr(duplicates, "decode", lambda path: pytest.fail("looked at again"))
    assert pile.pairs(store) == first
    assert first.alike(0.99).pairs == () or first.pairs[0].similarity >= 0.99


def test_one_scan_in_two_splits_is_an_error_and_two_copies_a_warning(pile: Pile, card: Image, tmp_path: Path) -> None:
    spec = describe(41, 3)
    pile.put("train.png", card, "1", "train")
    pile.put("test.png", jpeg(card[::-1], 60), "2", "test")
    pile.put("copy1.png", make_card(41, 3, 300).image, "3", "train")
    pile.put("copy2.png", render_card(another_copy(spec), 300).image, "4", "val")
    store = tmp_path / "pairs.jsonl"
    found = {finding.code: finding for finding in duplicates.findings(pile.pairs(store))}
    assert set(found) == {"leak.same_scan", "leak.design"}
    leak = found["leak.same_scan"]
    assert leak.severity == "error" and set(leak.samples) == {"train", "test"}
    assert "1 pair, test and train" in leak.why and leak.action
    assert leak.details["by_sample"]["train"] == "like test, mirrored and turned by 180 degrees, in test"
    assert found["leak.design"].severity == "warning" and set(found["leak.design"].samples) == {"copy1", "copy2"}
    stored = duplicates.stored_leaks(pile.pictures, pile.measured.found, store)
    assert {f.code: set(f.samples) for f in stored} == {code: set(f.samples) for code, f in found.items()}


def test_one_scan_under_two_cards_is_a_warning_and_under_one_a_remark(pile: Pile, card: Image) -> None:
    other = make_card(11, 5, DPI).image
    pile.put("a.png", card, "1", "train")
    pile.put("b.png", jpeg(card, 60), "2", "train")
    pile.put("c.png", other, "3", "train")
    pile.put("d.png", jpeg(other, 60), "3", "train")
    found = {finding.code: finding for finding in duplicates.findings(pile.pairs())}
    assert {code: (f.severity, set(f.samples)) for code, f in found.items()} == {
        "duplicate.two_cards": ("warning", {"a", "b"}),
        "duplicate.same_card": ("info", {"c", "d"}),
    }


def copies(*splits: str | None) -> list[duplicates.Picture]:
    """One cut region under samples 0, 1, 2 ..., each with its split."""
    return [duplicates.Picture("a" * 64, Path(str(n)), str(n), str(n), split, whole=False) for n, split in enumerate(splits)]  # fmt: skip


@pytest.mark.parametrize(
    ("splits", "leaks"),
    [
        ((None, "train", "test"), {"12"}),
        (("train", None, "val", "test"), {"02", "03", "23"}),
        (("train", "train", "test"), {"02", "12"}),
        (("train", "train", None, "train"), set()),
    ],
)
def test_copies_leak_between_any_two_splits_whichever_comes_first(
    splits: tuple[str | None, ...], leaks: set[str]
) -> None:
    pictures = copies(*splits)
    for found in (
        list(duplicates.findings(duplicates.find_pairs(pictures, {}))),
        duplicates.stored_leaks(pictures, {}, None),
    ):
        own = [pair for f in found if f.code == "leak.same_scan" for pair in f.details["pairs"]]
        assert sorted("".join(sorted(pair["samples"])) for pair in own) == sorted(leaks)


def test_more_pairs_than_can_be_listed_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "LISTED", 2)
    (leak,) = duplicates.stored_leaks(copies("train", "test", "test", "test"), {}, None)
    assert len(leak.details["pairs"]) == 2 and leak.details["found"] == 3
    assert leak.action.endswith("Only the first 2 pairs are listed: the finding stands open until no more are left.")
    (leak,) = duplicates.stored_leaks(copies("train", "test", "test"), {}, None)
    assert leak.details["found"] == 2 and "Only the first" not in leak.action


def test_a_thousand_of_one_design_are_not_compared_each_with_each() -> None:
    picture = [duplicates.Picture(f"{n:064x}", Path(str(n)), str(n), str(n), None) for n in range(200)]
    likes = [duplicates._Like([a], [b], 2, 0) for n, a in enumerate(picture) for b in picture[n + 1 :]]
    asked = list(duplicates._nearest(likes))
    assert len(asked) <= 200 * duplicates.NEIGHBOURS
    assert {p.sample for like in asked for p in (*like.first, *like.second)} == {p.sample for p in picture}


def test_a_leak_is_compared_however_many_of_its_own_split_look_more_alike() -> None:
    picture = [duplicates.Picture(f"{n:064x}", Path(str(n)), str(n), str(n), "train") for n in range(40)]
    other = dataclasses.replace(picture[0], sha256="f" * 64, sample="x", split="test")
    likes = [duplicates._Like([a], [b], 2, 0) for n, a in enumerate(picture) for b in picture[n + 1 :]]
    leak = duplicates._Like([picture[5]], [other], 9, 0)
    assert leak in list(duplicates._nearest([*likes, leak]))


ORDERS = list(itertools.permutations((None, "train", "test")))


@pytest.mark.parametrize("splits", ORDERS)
@pytest.mark.parametrize("changed", [False, True])
def test_of_three_copies_in_any_order_the_leak_is_seen(
    pile: Pile, card: Image, splits: tuple[str | None, ...], changed: bool, tmp_path: Path
) -> None:
    """One file, one file in another container, or one scan changed twice."""
    looks = [card, jpeg(card, 60), jpeg(card, 40)] if changed else [card] * 3
    for name, look, split in zip(("a.png", "b.png", "c.bmp"), looks, splits, strict=True):
        pile.put(name, look, name, split)
    expected = {name for name, split in zip("abc", splits, strict=True) if split}
    store = tmp_path / "pairs.jsonl"
    for found in (
        list(duplicates.findings(pile.pairs(store))),
        duplicates.stored_leaks(pile.pictures, pile.measured.found, store),
    ):
        (leak,) = (f for f in found if f.code == "leak.same_scan")
        assert set(leak.samples) == expected and leak.details["found"] == 1


@pytest.mark.parametrize("splits", ORDERS)
def test_two_changed_copies_too_far_apart_are_compared_because_of_their_original(
    pile: Pile, card: Image, splits: tuple[str | None, ...], tmp_path: Path
) -> None:
    looks = {"original": card, "low": card[12:, 12:], "high": card[:-12, :-12]}
    for (name, look), split in zip(looks.items(), splits, strict=True):
        pile.put(f"{name}.png", look, name, split)
    store = tmp_path / "pairs.jsonl"
    found = pile.pairs(store)
    hashes = [int(pile.measured.found[p.sha256].hash or "", 16) for p in pile.pictures]
    assert hashing.nearest(hashes[1], hashes[2])[0] > hashing.WITHIN
    expected = {name for name, split in zip(looks, splits, strict=True) if split}
    (leak,) = (f for f in duplicates.findings(found) if f.code == "leak.same_scan")
    assert set(leak.samples) == expected
    assert pile.pairs(store, deep=False) == found, "and it is kept"
    (leak,) = duplicates.stored_leaks(pile.pictures, pile.measured.found, store)
    assert set(leak.samples) == expected


def test_copies_of_one_file_are_no_changed_scans_and_do_not_crowd_out_one(pile: Pile, card: Image) -> None:
    for n in range(duplicates.NEIGHBOURS + 3):
        pile.put(f"{n:02d}.png", card, str(n), "train")
    pile.put("leak.png", jpeg(card, 60), "x", "test")
    found = pile.pairs()
    kinds = {kind: {s for pair in found.pairs if pair.kind == kind for s in pair.samples} for kind in duplicates.KINDS}
    assert "leak" not in kinds["same_file"] and len(kinds["same_file"]) == duplicates.NEIGHBOURS + 3
    assert len(kinds["same_scan"]) == duplicates.NEIGHBOURS + 4, "each copy is in it"
    assert all("leak" in pair.samples for pair in found.pairs if pair.kind == "same_scan") and not found.unchecked


def test_what_is_stored_of_a_file_holds_for_the_same_pixels_in_another(pile: Pile, card: Image, tmp_path: Path) -> None:
    pile.put("a.png", card, "1", "train")
    pile.put("b.png", jpeg(card, 60), "2", "test")
    pile.put("again.bmp", card, "3", "train")
    store = tmp_path / "pairs.jsonl"
    pile.pairs(store)
    (leak,) = duplicates.stored_leaks(pile.pictures, pile.measured.found, store)
    assert set(leak.samples) == {"a", "again", "b"}
    first, *others = pile.pictures
    shallow = duplicates.find_pairs([*others, first], pile.measured.found, store, deep=False)
    assert shallow.unchecked == 0, "in whatever order they come"


def test_regions_and_lamps_are_left_to_their_scans() -> None:
    ref = ImageRef(sha256="0" * 64, suffix=".png", width=9, height=9, bytes=9)
    lit = Sample(id="a", images={"main": ref, "light:1": ref, "light:2": ref}, card="1")
    cut = Sample(id="b", images={"main": ref}, card="1",
                 parent=Lineage(dataset="d", sample="p", region="corner:top_left", homography=(1, 0, 0, 0, 1, 0, 0, 0, 1)))  # fmt: skip
    found = duplicates.pictures([lit, cut], lambda sample, role: Path(role))
    assert [(p.sample, p.path.name, p.whole) for p in found] == [("a", "main", True), ("b", "main", False)]


def test_two_pictures_of_one_sample_are_not_compared(pile: Pile, card: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    pile.put("front.png", card, "1")
    pile.put("back.png", jpeg(card, 60), "1")
    pile.pairs(deep=False)
    one = [dataclasses.replace(picture, sample="one") for picture in pile.pictures]
    monkeypatch.setattr(duplicates, "decode", lambda path: pytest.fail("looked at"))
    assert duplicates.find_pairs(one, pile.measured.found).pairs == ()


def test_a_picture_that_is_gone_is_left_unchecked(pile: Pile, card: Image) -> None:
    pile.put("a.png", card, "1")
    pile.put("b.png", jpeg(card, 60), "2")
    pile.pairs(deep=False)
    pile.rows[1][0].unlink()
    assert duplicates.find_pairs(pile.pictures, pile.measured.found).unchecked == 1


@pytest.mark.slow
def test_real_copies_of_a_card_are_not_taken_for_one_scan(shared: Path, ws: Workspace) -> None:
    """Test004 to 006, and 060 and 061, are known copies; nothing else among the scans is alike."""
    files = sorted((shared / "border_scans_600dpi" / "images").glob("*.jpg"))
    got = measures.measure(files, ws=ws)
    pictures = [duplicates.Picture(sha, path, path.stem, path.stem, None) for path, sha in got.paths.items()]
    found = {tuple(sorted(pair.samples)): pair.kind for pair in duplicates.find_pairs(pictures, got.found).pairs}
    copies = [("Test004", "Test005"), ("Test004", "Test006"), ("Test005", "Test006"), ("Test060", "Test061")]
    assert found == dict.fromkeys(copies, "same_design")
    changed = jpeg(decode(files[0]), 50)[20:, 15:]
    assert duplicates.lies_on(matching.small(decode(files[0])), matching.small(changed)) == "same_scan"
