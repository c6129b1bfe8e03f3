"""class_balance: is there enough of each class, score and origin in each split to learn from, and to say anything of?"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from trugrade_core.data.checks.base import LIMITS, Facts, Finding, Result, counted, judged, some
from trugrade_core.schema import SPLITS, Annotation, Sample, Score, Tags


def wilson(right: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927, as in Brown, Cai and DasGupta 2001)."""
    if not count:
        return 0.0, 1.0
    share = right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def all_right_bound(count: int) -> float:
    """What `count` cards without one error show: the exact one-sided 95 % bound (Clopper and Pearson 1934)."""
    return float(0.05 ** (1 / count)) if count else 0.0


@dataclass
class Counts:
    """Of labelled samples. By split ('' where the dataset is not split): labels and samples of each class, scores."""

    labelled: Counter[str] = field(default_factory=Counter)
    synthetic: Counter[str] = field(default_factory=Counter)
    cards: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    labels: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    samples: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    scores: dict[str, Counter[float]] = field(default_factory=lambda: defaultdict(Counter))
    made_up: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, sample: Sample, annotations: list[Annotation]) -> None:
        split = sample.split or ""
        self.labelled[split] += 1
        self.cards[split].add(sample.card)
        if sample.origin == "synthetic":
            self.synthetic[split] += 1
            self.made_up[split].append(sample.id)
        names: list[str] = []
        for a in annotations:
            names += a.value.tags if isinstance(a.value, Tags) else [a.label] if a.label is not None else []
            if isinstance(a.value, Score):
                self.scores[split][a.value.score] += 1
        self.labels[split].update(names)
        self.samples[split].update(set(names))

    @property
    def splits(self) -> list[str]:
        """Those with labelled samples, in their usual order; [''] when nothing is split."""
        return [s for s in (*SPLITS, "") if self.labelled[s]]


def class_balance(facts: Facts) -> Result:
    found = Counts()
    for sample, labels in facts.records():
        if sample.status == "done":
            found.add(sample, labels)
    total = sum(found.labelled.values())
    if not total:
        return Result(status="not_checked", why="no sample is labelled yet")
    findings = [*_classes(facts, found), *_scores(found), *_origin(found), *_held_out(found)]
    where = f"in {some(found.splits)}" if any(found.splits) else "not split yet"
    return judged(findings, total, why=f"{counted(total, 'labelled sample')}, {where}")


def _finding(code: str, severity: str, why: str, action: str, subject: str = "", **words: object) -> Finding:
    return Finding.model_validate(
        {"check": "class_balance", "code": code, "severity": severity, "why": why, "action": action, "subject": subject, **words}
    )  # fmt: skip


# --- classes ------------------------------------------------------------------------------------------------------


def _classes(facts: Facts, found: Counts) -> Iterator[Finding]:
    names = [c.name for c in facts.classes if facts.needs is None or c.shape in facts.needs.shapes]
    table = {name: {split or "unsplit": found.labels[split][name] for split in found.splits} for name in names}
    used = {name: sum(row.values()) for name, row in table.items()}
    if unused := [name for name in names if not used[name]]:
        yield _finding("balance.unused_class", "warning", f"no sample has a label of {some(unused, 8)}",
                       "Label some, or retire the class: a model would carry an output that nothing teaches.",
                       details={"names": unused})  # fmt: skip
    for split in filter(None, found.splits):
        if gone := [name for name in names if used[name] and not found.labels[split][name]]:
            yield _missing(gone, split)
        few = [name for name in names if 0 < found.labels[split][name] < LIMITS.small_class]
        if few:
            yield _few(found, few, split)
    rare = [name for name in names if used[name]]
    if len(rare) > 1:
        most, least = max(rare, key=lambda n: used[n]), min(rare, key=lambda n: used[n])
        ratio = used[most] / used[least]
        if ratio > LIMITS.imbalance:
            yield _finding(
                "balance.ratio", "warning",
                f"{most} has {used[most]:,} labels and {least} {used[least]:,}: {ratio:.0f} to 1",
                f"Bring more samples with {least}, or train with data.class_weights: auto.", details={"names": [most, least], "labels": table},
            )  # fmt: skip
    if table:
        words = ", ".join(f"{name} {used[name]:,}" for name in names)
        yield _finding("balance.classes", "info", f"labels of each class: {words}", "Nothing to do.",
                       details={"labels": table})  # fmt: skip


def _missing(names: list[str], split: str) -> Finding:
    severity = "error" if split == "train" else "warning"
    what = "so nothing of it can be learnt" if split == "train" else "so nothing can be said of it there"
    return _finding("balance.missing_class", severity, f"no {some(names, 8)} is labelled in {split}, {what}",
                    "Split again (classes are spread over the splits), or label more cards with it.", split,
                    details={"names": names})  # fmt: skip


def _few(found: Counts, names: list[str], split: str) -> Finding:
    least = min(names, key=lambda name: found.samples[split][name])
    count = found.samples[split][least]
    low, high = wilson(round(0.9 * count), count)
    doubt = f"; of {least}, if 9 of 10 were found, the truth could be {100 * low:.0f} to {100 * high:.0f} %"
    return _finding(
        "balance.small_class",
        "warning" if split == "train" or (split == "test" and count < LIMITS.smallest_class) else "info",
        f"few labels in {split}: {some([f'{name} {found.labels[split][name]:,}' for name in names])}" + ("" if split == "train" else doubt),
        f"Label more: from {LIMITS.small_class} of a class in a split on, figures begin to mean something.",
        split,
        details={"names": names, "samples": {name: found.samples[split][name] for name in names}, "low": round(low, 3), "high": round(high, 3)},
    )  # fmt: skip


# --- scores, origin, size -------------------------------------------------------------------------------------------


def _scores(found: Counts) -> Iterator[Finding]:
    levels: Counter[float] = Counter()
    for own in found.scores.values():
        levels.update(own)
    total = sum(levels.values())
    if not total:
        return
    table = {f"{level:g}": levels[level] for level in sorted(levels)}
    most, count = levels.most_common(1)[0]
    if len(levels) == 1:
        yield _finding("balance.one_score", "error", f"all {counted(total, 'score')} are {most:g}: there is nothing to tell apart",
                       "Bring samples of other grades.", details={"names": [f"{most:g}"], "levels": table})  # fmt: skip
    elif count / total >= LIMITS.majority:
        yield _finding(
            "balance.majority_score", "warning",
            f"{100 * count / total:.0f} % of {counted(total, 'score')} are {most:g}: a model that always says so would look that good",
            "Bring more of the other grades, and judge the model beside the median grade.",
            details={"names": [f"{most:g}"], "levels": table},
        )  # fmt: skip
    few = [f"{level:g}" for level in sorted(levels) if levels[level] < LIMITS.small_class]
    if few and len(levels) > 1:
        yield _finding("balance.few_scores", "warning",
                       f"fewer than {LIMITS.small_class} samples have the score {some([f'{level} ({table[level]})' for level in few], 8)}",
                       "Bring more of these grades, or grade in wider steps.", details={"names": few, "levels": table})  # fmt: skip
    yield _finding("balance.scores", "info", "scores: " + ", ".join(f"{k}: {v:,}" for k, v in table.items()),
                   "Nothing to do.", details={"levels": table})  # fmt: skip
    for split in filter(None, found.splits):
        gone = [f"{level:g}" for level in sorted(levels) if not found.scores[split][level]]
        if gone and found.scores[split]:
            yield _finding("balance.missing_score", "warning", f"{split} has no sample with the score {some(gone, 8)}",
                           "Split again (scores are spread over the splits), or bring more of these grades.", split, details={"names": gone})  # fmt: skip


def _origin(found: Counts) -> Iterator[Finding]:
    total, made_up = sum(found.labelled.values()), sum(found.synthetic.values())
    held_out, synthetic = found.labelled["test"], found.synthetic["test"]
    if synthetic:
        only = synthetic == held_out
        yield _finding(
            "balance.synthetic_test", "error" if only and made_up < total else "warning",
            f"{synthetic:,} of {counted(held_out, 'test sample')} {'are' if synthetic > 1 else 'is'} made up: "
            + ("a figure measured on them says nothing of real cards" if only else "figures mix made-up and real cards"),
            "Hold out real cards for the test split; made-up ones may train.", samples=tuple(found.made_up["test"]),
        )  # fmt: skip
    if made_up:
        yield _finding("balance.origin", "info", f"{made_up:,} of {counted(total, 'labelled sample')} are made up (synthetic)",
                       "Nothing to do: made-up cards may train, only real ones support a claim.")  # fmt: skip


def _held_out(found: Counts) -> Iterator[Finding]:
    if not any(found.splits):
        yield _finding("balance.not_split", "info", "the dataset is not split yet, so it was looked at as a whole",
                       "Split it: trugrade data split NAME")  # fmt: skip
        return
    for split in SPLITS:
        if not found.labelled[split]:
            yield _finding(
                "balance.empty_split", "warning" if split == "test" else "error",
                f"{split} has no labelled sample, so " + ("nothing can be claimed" if split == "test" else "nothing can be trained"),
                "Label samples of that split, or split again.", split,
            )  # fmt: skip
    cards = len(found.cards["test"])
    if 0 < cards < LIMITS.small_test_cards:
        yield _finding(
            "balance.small_test", "warning" if cards < 10 else "info",
            f"{counted(cards, 'test card')}: a model without one error on them is shown to be right on "
            f"{100 * all_right_bound(cards):.0f} % of cards, no more (95 % confidence)",
            f"Hold out {LIMITS.small_test_cards} cards to show 95 %, 1,497 to show 99.8 %.",
            details={"cards": cards, "bound": round(all_right_bound(cards), 4)},
        )  # fmt: skip
