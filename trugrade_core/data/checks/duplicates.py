"""The same thing twice: one file under two samples, one scan changed, one design printed many times; and where that
puts what is tested on into what is trained on.

Candidates come from the perceptual hash (`hashing`), which cannot tell a second copy of a card from the same scan; each
is then laid over the other (`matching`). What was found of two pictures is kept by their sha256, so that a new
threshold, a new split or another dataset with the same pictures costs no pixel.

    cache/checks/pairs-N.jsonl    one `_Verdict` a line, append-only; N is `ALGORITHM`. A cache, as in `measures`.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import ValidationError

from trugrade_core.data.checks import hashing, matching
from trugrade_core.data.checks.base import Finding, Severity, counted, some
from trugrade_core.data.checks.measures import Measured, in_turn, nothing_to_tell
from trugrade_core.data.images import decode
from trugrade_core.errors import ImageError
from trugrade_core.runs import Progress
from trugrade_core.schema import Image, Record, Sample
from trugrade_core.workspace import Workspace, append_lines

ALGORITHM = 2
Kind = Literal["same_file", "same_scan", "same_design"]
KINDS: dict[Kind, str] = {
    "same_file": "the same picture twice",
    "same_scan": "one scan, changed",
    "same_design": "two scans of one design",
}
_Lies = Literal["same_scan", "same_design", "other"]

SAME_DESIGN = 0.9
"""ECC correlation of two pictures that show the same print; of unlike real scans it stays below 0.85, of copies of one
card it is above 0.97."""
SAME_SCAN, SHIFT_OF_NOISE = 0.14, 0.8
"""The tiles of one scan, changed, are moved by less than hypot(`SAME_SCAN` px, `SHIFT_OF_NOISE` x `noise_px`): what JPEG
leaves in small pictures passes for a shift. At 600 dpi that holds of all of 768 pairs of changed scans, and of two of
341 pairs of two copies of a card; of scans of 100 and 150 dpi, changed, it holds of 92 in 100."""
NEIGHBOURS = 12
"""Of a picture's look-alikes, so many of the nearest are laid over it: a thousand backs of one design are not compared
each with each."""
LISTED = 1000
BATCH = 32


@dataclass(frozen=True)
class Picture:
    """One picture of a sample, as this check sees it. `whole` is False for a region that was cut of a scan: it shows too
    little for the hash, and its scan is compared instead; only the same file twice is then found."""

    sha256: str
    path: Path
    sample: str
    card: str
    split: str | None
    whole: bool = True


def pictures(samples: Iterable[Sample], path: Callable[[Sample, str], Path]) -> list[Picture]:
    """The pictures of all samples but those under single lamps, which look alike on purpose."""
    return [
        Picture(ref.sha256, path(sample, role), sample.id, sample.card, sample.split, sample.parent is None)
        for sample in samples
        for role, ref in sample.images.items()
        if not role.startswith("light:")
    ]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures of different samples. `similarity` is 1 less the share of the hash's bits that differ; `how` says by
    which turn the second looks like the first; `checked` is False where the pictures were not laid over each other, and
    the kind is what the hash alone can say."""

    kind: Kind
    similarity: float
    samples: tuple[str, str]
    cards: tuple[str, str]
    splits: tuple[str | None, str | None]
    how: str = ""
    checked: bool = True

    @property
    def across(self) -> bool:
        """Whether they stand in two splits."""
        return _across(*self.splits)


@dataclass(frozen=True)
class Pairs:
    """Nearest first. `within` is how many bits of the hash may differ; `cut` says that there were more pairs than could
    be kept, `unchecked` how many were not laid over each other."""

    pairs: tuple[Pair, ...]
    within: int
    cut: bool = False

    @property
    def unchecked(self) -> int:
        return sum(not pair.checked for pair in self.pairs)

    def alike(self, similarity: float) -> Pairs:
        """Those at least so similar; nothing is searched or compared again."""
        return replace(self, pairs=tuple(pair for pair in self.pairs if pair.similarity >= similarity))


# --- what is kept of two pictures -----------------------------------------------------------------------------------


class _Verdict(Record):
    """How two pictures lie on each other; `first` < `second` are their sha256."""

    first: str
    second: str
    lies: _Lies


def store_path(ws: Workspace) -> Path:
    return ws.cache / "checks" / f"pairs-{ALGORITHM}.jsonl"


def _stored(path: Path | None) -> dict[tuple[str, str], _Lies]:
    found: dict[tuple[str, str], _Lies] = {}
    if path is None or not path.exists():
        return found
    for line in path.read_bytes().splitlines():
        try:
            verdict = _Verdict.model_validate_json(line)
        except ValidationError:
            continue  # torn by a kill: it is compared again
        found[verdict.first, verdict.second] = verdict.lies
    return found


def _between(stored: Mapping[tuple[str, str], _Lies], groups: Iterable[_Group]) -> dict[tuple[str, str], _Lies]:
    """What is stored of any pictures of two groups, by `_Like.key`."""
    lead = {picture.sha256: own[0].sha256 for own in groups for picture in own}
    return {
        (min(lead[a], lead[b]), max(lead[a], lead[b])): lies
        for (a, b), lies in stored.items()
        if a in lead and b in lead
    }


# --- the search -----------------------------------------------------------------------------------------------------


def find_pairs(
    pictures: Sequence[Picture],
    measured: Mapping[str, Measured],
    store: Path | None = None,
    *,
    deep: bool = True,
    progress: Progress = nothing_to_tell,
) -> Pairs:
    """All pairs of pictures of different samples that are the same, or look alike within `hashing.WITHIN` bits.

    Without `deep` no picture is read: what `store` does not know of a pair stays unchecked.
    """
    groups = _by_pixels(pictures, measured)
    same = list(_same_files(groups))
    known = {frozenset(pair.samples) for pair in same}
    told = [whole for own in groups if (whole := [p for p in own if p.whole and _hash(measured, p) is not None])]
    near = hashing.search(hashing.as_numbers([_hash(measured, own[0]) or "" for own in told]))
    order = np.argsort(near.distance, kind="stable")
    likes = [
        _Like(told[a], told[b], int(d), int(t))
        for a, b, d, t in zip(
            near.first[order], near.second[order], near.distance[order], near.turn[order], strict=True
        )
        if len({picture.sample for picture in (*told[a], *told[b])}) > 1
    ]
    lies = _between(_stored(store), told)
    if deep:
        lies |= _laid([like for like in _nearest(likes) if like.key not in lies], store, progress)
    chained = list(_chained(likes, lies, measured))
    if deep:
        lies |= _laid([like for like in chained if like.key not in lies], store, progress)
    found = [
        pair
        for like in [*likes, *chained]
        for pair in _pairs(like, lies.get(like.key))
        if frozenset(pair.samples) not in known
    ]
    return Pairs((*same, *found), near.within, near.cut)


_Group = Sequence[Picture]
"""Pictures of the same pixels; what is stored of them goes by the first one's sha256, and is found by any's."""


@dataclass(frozen=True, slots=True)
class _Like:
    """Two groups that look alike: bits that differ, and the turn of the second."""

    first: _Group
    second: _Group
    distance: int
    turn: int

    @property
    def key(self) -> tuple[str, str]:
        a, b = sorted((self.first[0].sha256, self.second[0].sha256))
        return a, b

    @property
    def across(self) -> bool:
        a, b = ({picture.split for picture in own if picture.split} for own in (self.first, self.second))
        return bool(a and b) and len(a | b) > 1


def _like(first: _Group, second: _Group, measured: Mapping[str, Measured]) -> _Like:
    a, b = _hash(measured, first[0]), _hash(measured, second[0])
    if a is None or b is None:
        return _Like(first, second, hashing.BITS, 0)
    return _Like(first, second, *hashing.nearest(int(a, 16), int(b, 16)))


def _hash(measured: Mapping[str, Measured], picture: Picture) -> str | None:
    known = measured.get(picture.sha256)
    return known.hash if known else None


def _by_pixels(pictures: Iterable[Picture], measured: Mapping[str, Measured]) -> list[_Group]:
    """Those of the same pixels together; of what was not measured, those of the same bytes."""
    groups: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        known = measured.get(picture.sha256)
        groups[known.pixels if known else picture.sha256].append(picture)
    return list(groups.values())


def _same_files(groups: Iterable[_Group]) -> Iterator[Pair]:
    """The same pixels under two samples."""
    for own in groups:
        for a, b in _told(own, own):
            how = "the same bytes" if a.sha256 == b.sha256 else "the same pixels in other bytes"
            yield _of(a, b, "same_file", 1.0, how)


def _told(first: _Group, second: _Group) -> Iterator[tuple[Picture, Picture]]:
    """Of two groups that are alike, pairs of one picture of each: every picture with the other group's first in every
    split, so that none in another split goes unnamed and a thousand copies do not make a million pairs."""
    told = set()
    for a, b in itertools.chain(itertools.product(_firsts(first), second), itertools.product(first, _firsts(second))):
        samples = frozenset((a.sample, b.sample))
        if len(samples) == 2 and samples not in told:
            told.add(samples)
            yield a, b


def _firsts(own: _Group) -> list[Picture]:
    found: dict[str | None, Picture] = {}
    for picture in own:
        found.setdefault(picture.split, picture)
    return list(found.values())


def _nearest(likes: Sequence[_Like]) -> Iterator[_Like]:
    """Those that are among the `NEIGHBOURS` nearest of either group, and among those that could be a leak; `likes` are in
    order of distance."""
    count: dict[tuple[str, bool], int] = defaultdict(int)
    for like in likes:
        first, second = ((sha, like.across) for sha in like.key)
        if count[first] < NEIGHBOURS or count[second] < NEIGHBOURS:
            count[first] += 1
            count[second] += 1
            yield like


def _chained(
    likes: Sequence[_Like], lies: Mapping[tuple[str, str], _Lies], measured: Mapping[str, Measured]
) -> Iterator[_Like]:
    """Pairs across splits whose own hashes are too far apart, but which are one scan with a third: of one original, the
    cropped copy in train and the tilted one in test."""
    clumps: dict[str, list[_Group]] = {}
    for like in likes:
        if lies.get(like.key) == "same_scan":
            one, other = (clumps.setdefault(own[0].sha256, [own]) for own in (like.first, like.second))
            if one is not other:
                one += other
                clumps |= {own[0].sha256: one for own in other}
    asked = {like.key for like in likes if like.first[0].sha256 in clumps and like.second[0].sha256 in clumps}
    for clump in {id(clump): clump for clump in clumps.values()}.values():
        group = {picture.sha256: own for own in clump for picture in own}
        pictures = [picture for own in clump for picture in own]
        for a, b in _told(pictures, pictures):
            first, second = group[a.sha256], group[b.sha256]
            like = _like(first, second, measured)
            if first is not second and _across(a.split, b.split) and like.key not in asked:
                asked.add(like.key)
                yield like


def _laid(likes: Sequence[_Like], store: Path | None, progress: Progress) -> dict[tuple[str, str], _Lies]:
    """What comes of laying each pair's pictures over each other; kept in batches."""

    @functools.lru_cache(maxsize=256)
    def load(picture: Picture) -> Image | None:
        try:
            return matching.small(decode(picture.path))
        except ImageError:
            return None

    def compare(like: _Like) -> _Verdict | None:
        first, second = load(like.first[0]), load(like.second[0])
        if first is None or second is None:
            return None  # the check of files says why it cannot be read
        return _Verdict(first=like.key[0], second=like.key[1], lies=lies_on(first, second, like.turn))

    found: dict[tuple[str, str], _Lies] = {}
    fresh: list[bytes] = []
    for done, verdict in enumerate(in_turn(compare, sorted(likes, key=lambda like: like.key)), 1):
        if verdict is not None:
            found[verdict.first, verdict.second] = verdict.lies
            fresh.append(verdict.model_dump_json().encode())
        if store and (len(fresh) >= BATCH or (fresh and done == len(likes))):
            store.parent.mkdir(parents=True, exist_ok=True)
            append_lines(store, fresh, sync=False)
            fresh = []
        progress(done, len(likes), "Comparing look-alikes")
    return found


def lies_on(first: Image, second: Image, turn: int = 0) -> _Lies:
    """What two pictures (`matching.small`) are to each other; `turn` brings the second upright to the first."""
    found = matching.overlay(first, np.ascontiguousarray(hashing.turned(second, turn)))
    if found is None or found.correlation < SAME_DESIGN:
        return "other"
    return "same_scan" if found.shift_px < math.hypot(SAME_SCAN, SHIFT_OF_NOISE * found.noise_px) else "same_design"


def _pairs(like: _Like, lies: _Lies | None) -> Iterator[Pair]:
    if lies != "other":
        kind, similarity = lies or "same_design", 1 - like.distance / hashing.BITS
        for a, b in _told(like.first, like.second):
            yield _of(a, b, kind, similarity, hashing.TURNS[like.turn], checked=lies is not None)


def _of(a: Picture, b: Picture, kind: Kind, similarity: float, how: str, *, checked: bool = True) -> Pair:
    return Pair(kind=kind, similarity=similarity, samples=(a.sample, b.sample), cards=(a.card, b.card),
                splits=(a.split, b.split), how=how, checked=checked)  # fmt: skip


# --- what is held against the dataset -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Case:
    """A row of `CASES`: which pairs, and what is said of them."""

    code: str
    severity: Severity
    fits: Callable[[Pair], bool]
    why: str
    action: str


def _one_scan(pair: Pair) -> bool:
    return pair.kind != "same_design"


def _across(a: str | None, b: str | None) -> bool:
    return a is not None and b is not None and a != b


def _two_cards(pair: Pair) -> bool:
    return pair.cards[0] != pair.cards[1]


CASES: tuple[_Case, ...] = (
    _Case("leak.same_scan", "error", lambda p: _one_scan(p) and p.across,
          "of one scan stand in different splits ({pairs}): a model is tested on pictures it was trained on",
          "Give both the same card and split again, or exclude one."),
    _Case("duplicate.two_cards", "warning", lambda p: _one_scan(p) and not p.across and _two_cards(p),
          "show one scan under two cards ({pairs}): nothing keeps a split from tearing them apart",
          "Give both the same card (a cards table on import), or exclude one."),
    _Case("duplicate.same_card", "info", lambda p: _one_scan(p) and not p.across and not _two_cards(p),
          "are one scan of one card more than once ({pairs}): they count double",
          "Exclude all but one, unless they are meant to weigh more."),
    _Case("leak.design", "warning", lambda p: not _one_scan(p) and p.checked and p.across and _two_cards(p),
          "are copies of one design in different splits ({pairs}): what is measured holds for known designs only",
          "Split by design: trugrade data split NAME --by design, with the designs named on import."),
    _Case("duplicate.design", "info", lambda p: not _one_scan(p) and p.checked and not p.across and _two_cards(p),
          "are copies of one design ({pairs})",
          "Nothing to mend; a split by design keeps them together."),
)  # fmt: skip


def findings(found: Pairs) -> Iterator[Finding]:
    """Leaks first. `details["pairs"]` lists each two samples once, `LISTED` at most; `details["found"]` says how many
    there are."""
    for case in CASES:
        once: dict[frozenset[str], Pair] = {}
        for pair in found.pairs:
            if case.fits(pair):
                once.setdefault(frozenset(pair.samples), pair)
        own = list(once.values())
        if not own:
            continue
        by_sample: dict[str, str] = {}
        for pair in own:
            for me, (other, split) in zip(
                pair.samples, list(zip(pair.samples, pair.splits, strict=True))[::-1], strict=True
            ):
                words = (
                    f"{pair.how or 'as'} {other}"
                    if pair.kind == "same_file"
                    else f"like {other}" + (f", {pair.how}" if pair.how else "")
                )
                by_sample.setdefault(me, words + (f", in {split}" if split else ""))
        splits = sorted({" and ".join(sorted(filter(None, pair.splits))) for pair in own if pair.across})
        pairs = counted(len(own), "pair") + (f", {some(splits)}" if splits else "")
        more = f" Only the first {LISTED:,} pairs are listed: the finding stands open until no more are left."
        yield Finding(
            check="image_quality", code=case.code, severity=case.severity, samples=tuple(by_sample),
            why=f"{counted(len(by_sample), 'sample')} {case.why.format(pairs=pairs)}",
            action=case.action + (more if len(own) > LISTED else ""),
            details={"by_sample": by_sample, "found": len(own), "pairs": [asdict(pair) for pair in own[:LISTED]]},
        )  # fmt: skip


def stored_leaks(pictures: Sequence[Picture], measured: Mapping[str, Measured], store: Path | None) -> list[Finding]:
    """The leaks among pictures with their splits that follow from what is stored; no picture is read or searched for."""
    groups = _by_pixels(pictures, measured)
    by_lead = {own[0].sha256: own for own in groups}
    found = list(_same_files(groups))
    for (a, b), lies in _between(_stored(store), groups).items():
        if a != b:
            found += _pairs(_like(by_lead[a], by_lead[b], measured), lies)
    return [finding for finding in findings(Pairs(tuple(found), hashing.WITHIN)) if finding.code.startswith("leak.")]
