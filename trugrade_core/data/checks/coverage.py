"""annotation_coverage: what nobody has said yet, what was left open, and what is said to be there and is not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from trugrade_core.data.checks.base import LIMITS, Facts, Finding, Result, Severity, counted, judged
from trugrade_core.schema import Annotation, Sample, Tags

WORDS = {
    "unlabelled": ("has nobody's word yet", "have nobody's word yet", "Label them: trugrade counts only labelled samples."),
    "unsure": ("is marked 'unsure'", "are marked 'unsure'", "Have a second person decide, or exclude them with a reason."),
    "rescan": ("is marked 'rescan'", "are marked 'rescan'", "Scan these cards again, or exclude them with a reason."),
    "skipped": ("was skipped", "were skipped", "Read the comments; label them or exclude them with a reason."),
}  # fmt: skip


@dataclass
class Said:
    """What one pass gathers."""

    total: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    status: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    by_split: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """By status: samples in each split."""
    empty: list[str] = field(default_factory=list)
    labelled: int = 0
    lacking: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """By border: labelled samples without it."""
    labels_not_done: list[str] = field(default_factory=list)
    cards: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """By card: its samples that are not done."""
    cards_done: set[str] = field(default_factory=set)
    sides: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    first_of: dict[str, str] = field(default_factory=dict)


def annotation_coverage(facts: Facts) -> Result:
    said = Said()
    for sample, labels in facts.records():
        _take(facts, sample, labels, said)
    if not said.total:
        return Result(status="not_checked", why="the dataset has no samples")
    findings = [*_status(said), *_empty(facts, said), *_cards(said), *_conflicts(facts), *_amount(facts, said)]
    done = len(said.status["done"])
    return judged(findings, said.total, why=f"{done:,} of {counted(said.total, 'sample')} labelled")


def _take(facts: Facts, sample: Sample, annotations: list[Annotation], said: Said) -> None:
    said.total += 1
    split = sample.split or "not split"
    said.splits[split] += 1
    said.status[sample.status].append(sample.id)
    said.by_split[sample.status][split] += 1
    said.first_of.setdefault(sample.card, sample.id)
    if sample.side:
        said.sides[sample.card].add(sample.side)
    needs = facts.needs
    fitting = [a for a in annotations if needs is None or a.value.type in needs.shapes]
    if sample.status != "done":
        said.cards[sample.card].append(sample.id)
        if fitting:
            said.labels_not_done.append(sample.id)
        return
    said.cards_done.add(sample.card)
    if not fitting or all(isinstance(a.value, Tags) and not a.value.tags for a in fitting):
        said.empty.append(sample.id)
        return
    said.labelled += 1
    if needs and needs.whole_card:
        present = {a.label for a in fitting}
        for border in needs.borders:
            if border not in present:
                said.lacking[border].append(sample.id)


def _finding(
    code: str, severity: Severity, samples: list[str], why: str, action: str, subject: str = "", **details: object
) -> Finding:
    return Finding(check="annotation_coverage", code=code, severity=severity, samples=tuple(samples), why=why,
                   action=action, subject=subject, details=dict(details))  # fmt: skip


def _status(said: Said) -> Iterator[Finding]:
    for status, (one, many, action) in WORDS.items():
        samples = said.status[status]
        if not samples:
            continue
        share = len(samples) / said.total
        limit = LIMITS.undecided if status in ("unsure", "rescan") else LIMITS.unlabelled
        severity: Severity = "warning" if share > limit else "info"
        if len(samples) == said.total:
            severity = "error"
        shares = {split: round(count / said.splits[split], 3) for split, count in sorted(said.by_split[status].items())}
        per_split = ", ".join(f"{100 * s:.0f} % of {split}" for split, s in shares.items())
        verb = one if len(samples) == 1 else many
        yield _finding(f"coverage.{status}", severity, samples,
                       f"{len(samples):,} of {counted(said.total, 'sample')} {verb} ({per_split})", action,
                       shares=shares)  # fmt: skip
    if said.labels_not_done:
        n = len(said.labels_not_done)
        yield _finding("coverage.not_done", "info", said.labels_not_done,
                       f"{counted(n, 'sample')} {'has' if n == 1 else 'have'} labels and {'is' if n == 1 else 'are'} not marked "
                       "done, so they are not trained on", "Mark them done when nothing is missing.")  # fmt: skip


def _empty(facts: Facts, said: Said) -> Iterator[Finding]:
    needs = facts.needs
    if said.empty and needs is not None:
        n = len(said.empty)
        everything = not said.labelled
        if needs.kind == "score" or needs.whole_card:
            what = "no score is given" if needs.kind == "score" else "no border is drawn"
            yield _finding("coverage.empty", "error" if everything else "warning", said.empty,
                           f"{counted(n, 'sample')} {'is' if n == 1 else 'are'} marked done and {what}",
                           "Label them, or mark them skipped or rescan.")  # fmt: skip
        elif everything:
            yield _finding("coverage.nothing_drawn", "error", said.empty,
                           f"all {counted(n, 'sample')} that are done have no label of this task's kind "
                           f"({' or '.join(needs.shapes) or 'none is drawn'})", "Label some, or choose the task that fits.")  # fmt: skip
        else:
            yield _finding("coverage.background", "info", said.empty,
                           f"{counted(n, 'sample')} of {n + said.labelled:,} done show nothing of what is looked for",
                           "Nothing to do if that is true: they teach what is no fault.")  # fmt: skip
    for border, samples in sorted(said.lacking.items()):
        yield _finding("coverage.missing_border", "warning", samples,
                       f"{len(samples):,} of {counted(said.labelled, 'labelled sample')} have no {border}",
                       "Draw it. Where the card truly has none (borderless), accept this with that reason.", border)  # fmt: skip


def _cards(said: Said) -> Iterator[Finding]:
    bare = {card: samples for card, samples in said.cards.items() if card not in said.cards_done}
    if bare and said.cards_done:
        samples = [s for own in bare.values() for s in own]
        yield _finding("coverage.bare_cards", "info", samples,
                       f"{counted(len(bare), 'card')} of {len(bare) + len(said.cards_done):,} have no labelled sample",
                       "Label at least one sample of each card: cards are what a figure counts.")  # fmt: skip
    kinds = {side for own in said.sides.values() for side in own}
    if len(kinds) > 1:
        partial = [card for card, own in said.sides.items() if own != kinds]
        if partial:
            yield _finding("coverage.missing_side", "info", [said.first_of[card] for card in partial],
                           f"{counted(len(partial), 'card')} of {len(said.sides):,} {'lacks' if len(partial) == 1 else 'lack'} a side that others have "
                           f"({', '.join(sorted(kinds))})", "Scan the missing sides, where the task needs both.")  # fmt: skip


def _conflicts(facts: Facts) -> Iterator[Finding]:
    if facts.dataset is None or facts.manifest is not None:
        return
    conflicts = facts.dataset.conflicts()
    if conflicts:
        samples = list(dict.fromkeys(c.sample for c in conflicts))
        people = sorted({entry.who for c in conflicts for entry in c.heads})
        yield _finding("coverage.conflict", "warning", samples,
                       f"{counted(len(conflicts), 'label')} on {counted(len(samples), 'sample')} changed by two people at once "
                       f"({', '.join(people)}); the newest counts until one settles it",
                       "Open each sample and keep one of the two.")  # fmt: skip


def _amount(facts: Facts, said: Said) -> Iterator[Finding]:
    if facts.needs is not None and said.labelled:
        yield _finding("coverage.amount", "info", [],
                       f"{counted(said.labelled, 'labelled sample')} of {counted(len(said.cards_done), 'card')}; "
                       f"the task asks for {facts.needs.amount}",
                       "A learning curve decides, not this number: train, and see whether more cards still help.")  # fmt: skip
