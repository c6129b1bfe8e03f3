"""The same thing twice: one file under two samples, one scan changed, one design printed many times; and where that
puts what is tested on into what is trained on.

Candidates come from the perceptual hash (`hashing`), which cannot tell a second copy of a card from the same scan; each
is then laid over the other (`matching`). What was found of two pictures is kept by their sha256, so that a new
threshold, a new split or another dataset with the same pictures costs no pixel.

    cache/checks/pairs-N.jsonl    one `_Verdict` a line, append-only; N is `ALGORITHM`. A cache, as in `measures`.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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

ALGORITHM = 1
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
SAME_SCAN = 0.145
"""How far tiles of one scan, changed, lie apart at most: shift^(2/3) x residual^(1/3) in px, where changed scans and
other copies of the card are told apart best."""
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


class Pair(Record):
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
    same = list(_same_files(pictures, measured))
    known = {frozenset(pair.samples) for pair in same}
    told = [p for p in pictures if p.whole and p.sha256 in measured and measured[p.sha256].hash is not None]
    near = hashing.search(hashing.as_numbers([measured[p.sha256].hash or "" for p in told]))
    order = np.argsort(near.distance, kind="stable")
    likes = [
        _Like(told[a], told[b], int(d), int(t))
        for a, b, d, t in zip(
            near.first[order], near.second[order], near.distance[order], near.turn[order], strict=True
        )
        if told[a].sample != told[b].sample and frozenset((told[a].sample, told[b].sample)) not in known
    ]
    lies = _stored(store)
    if deep:
        asked = [like for like in _nearest(likes) if like.key not in lies]
        lies |= _laid(asked, store, progress)
    found = [pair for like in likes if (pair := _pair(like, lies.get(like.key))) is not None]
    return Pairs((*same, *found), near.within, near.cut)


@dataclass(frozen=True)
class _Like:
    """Two pictures that look alike: bits that differ, and the turn of the second."""

    first: Picture
    second: Picture
    distance: int
    turn: int

    @property
    def key(self) -> tuple[str, str]:
        a, b = sorted((self.first.sha256, self.second.sha256))
        return a, b


def _same_files(pictures: Sequence[Picture], measured: Mapping[str, Measured]) -> Iterator[Pair]:
    """The same pixels under two samples: each with the first of them in every split, so that none in another split goes
    unnamed."""
    by_pixels: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        known = measured.get(picture.sha256)
        by_pixels[known.pixels if known else picture.sha256].append(picture)
    for own in by_pixels.values():
        firsts: dict[str | None, Picture] = {}
        for picture in own:
            firsts.setdefault(picture.split, picture)
        told = set()
        for picture in own:
            for first in firsts.values():
                samples = frozenset((first.sample, picture.sample))
                if len(samples) == 2 and samples not in told:
                    told.add(samples)
                    bytes_too = first.sha256 == picture.sha256
                    how = "the same bytes" if bytes_too else "the same pixels in other bytes"
                    yield _of(first, picture, "same_file", 1.0, how)


def _nearest(likes: Sequence[_Like]) -> Iterator[_Like]:
    """Those that are among the `NEIGHBOURS` nearest of either picture; `likes` are in order of distance."""
    count: dict[str, int] = defaultdict(int)
    for like in likes:
        if count[like.first.sha256] < NEIGHBOURS or count[like.second.sha256] < NEIGHBOURS:
            count[like.first.sha256] += 1
            count[like.second.sha256] += 1
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
        first, second = load(like.first), load(like.second)
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
    apart = found.shift_px ** (2 / 3) * found.left ** (1 / 3)
    return "same_scan" if apart < SAME_SCAN else "same_design"


def _pair(like: _Like, lies: _Lies | None) -> Pair | None:
    if lies == "other":
        return None
    similarity = 1 - like.distance / hashing.BITS
    return _of(
        like.first, like.second, lies or "same_design", similarity, hashing.TURNS[like.turn], checked=lies is not None
    )


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


def _across(pair: Pair) -> bool:
    a, b = pair.splits
    return a is not None and b is not None and a != b


def _two_cards(pair: Pair) -> bool:
    return pair.cards[0] != pair.cards[1]


CASES: tuple[_Case, ...] = (
    _Case("leak.same_scan", "error", lambda p: _one_scan(p) and _across(p),
          "of one scan stand in different splits ({pairs}): a model is tested on pictures it was trained on",
          "Give both the same card and split again, or exclude one."),
    _Case("duplicate.two_cards", "warning", lambda p: _one_scan(p) and not _across(p) and _two_cards(p),
          "show one scan under two cards ({pairs}): nothing keeps a split from tearing them apart",
          "Give both the same card (a cards table on import), or exclude one."),
    _Case("duplicate.same_card", "info", lambda p: _one_scan(p) and not _across(p) and not _two_cards(p),
          "are one scan of one card more than once ({pairs}): they count double",
          "Exclude all but one, unless they are meant to weigh more."),
    _Case("leak.design", "warning", lambda p: not _one_scan(p) and p.checked and _across(p) and _two_cards(p),
          "are copies of one design in different splits ({pairs}): what is measured holds for known designs only",
          "Split by design: trugrade data split NAME --by design, with the designs named on import."),
    _Case("duplicate.design", "info", lambda p: not _one_scan(p) and p.checked and not _across(p) and _two_cards(p),
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
        splits = sorted({" and ".join(sorted(filter(None, pair.splits))) for pair in own if _across(pair)})
        pairs = counted(len(own), "pair") + (f", {some(splits)}" if splits else "")
        more = f" Only the first {LISTED:,} pairs are listed: the finding stands open until no more are left."
        yield Finding(
            check="image_quality", code=case.code, severity=case.severity, samples=tuple(by_sample),
            why=f"{counted(len(by_sample), 'sample')} {case.why.format(pairs=pairs)}",
            action=case.action + (more if len(own) > LISTED else ""),
            details={"by_sample": by_sample, "found": len(own), "pairs": [pair.model_dump(mode="json") for pair in own[:LISTED]]},
        )  # fmt: skip


def stored_leaks(pictures: Sequence[Picture], measured: Mapping[str, Measured], store: Path | None) -> list[Finding]:
    """The leaks among pictures with their splits that follow from what is stored; no picture is read or searched for."""
    by_sha: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        by_sha[picture.sha256].append(picture)
    same = list(_same_files(pictures, measured))
    for (a, b), lies in _stored(store).items():
        if lies != "other" and a in by_sha and b in by_sha:
            same += [_of(x, y, lies, _similarity(measured.get(a), measured.get(b)), "")
                     for x in by_sha[a] for y in by_sha[b] if x.sample != y.sample]  # fmt: skip
    return [finding for finding in findings(Pairs(tuple(same), hashing.WITHIN)) if finding.code.startswith("leak.")]


def _similarity(a: Measured | None, b: Measured | None) -> float:
    if a is None or b is None or a.hash is None or b.hash is None:
        return 0.0
    return 1 - hashing.distance(int(a.hash, 16), int(b.hash, 16)) / hashing.BITS
