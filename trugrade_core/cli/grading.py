"""trugrade data assign, agreement, review, settle: several graders on one dataset."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from trugrade_core.cli.console import line, say, table, who, workspace
from trugrade_core.cli.data import WholeName

Samples = Annotated[list[str] | None, typer.Option("--sample", help="These alone. May be repeated.")]


def assign(
    name: WholeName,
    to: Annotated[list[str] | None, typer.Option("--to", help="A person. May be repeated.")] = None,
    sample: Samples = None,
    count: Annotated[int, typer.Option(help="At most so many; 0 is all that are unlabelled.", min=0)] = 0,
    each: Annotated[int, typer.Option(help="People for each sample; several vote blind.", min=1)] = 1,
    take_from: Annotated[str, typer.Option(help="Take samples from this person again, instead.")] = "",
) -> None:
    """Give samples to people, or show who has what."""
    from trugrade_core.workflows import grading

    ws = workspace()
    if take_from:
        taken = grading.withdraw(ws, name, take_from, samples=sample, by=who())
        say(taken, lambda: line(f"{taken['withdrawn']} samples were taken from {take_from}; what is labelled stays."))
        return
    if to:
        found = grading.assign(ws, name, to, samples=sample, count=count, each=each, by=who())
        say(found, lambda: table(["person", "new"], found["assigned"].items()))
        return
    rows = grading.progress(ws, name)
    columns = ["person", "assigned", "done", "blind", "minutes", "at Label Studio", "minutes there"]
    say(rows, lambda: table(columns, [[r["who"], r["assigned"], r["done"], r["blind"], f"{r['minutes']:.0f}", r["there"],
                                       f"{r['there_minutes']:.0f}"] for r in rows]))  # fmt: skip


def agreement(name: WholeName) -> None:
    """Whether graders who saw the same samples say the same: alpha, kappa, F1 and distances, with intervals over cards."""
    from trugrade_core.workflows import grading

    found = grading.agreement(workspace(), name)
    say(found, lambda: _show(found))


def _show(found: dict[str, Any]) -> None:
    line(f"{found['samples']} samples were seen by several graders.")
    if not found["samples"]:
        line("Give samples to several people: trugrade data assign NAME --to ada --to ben --each 2")
        return
    table(
        ["grader", "samples", "grades above the others"],
        [(g["grader"], g["samples"], _figure(g["bias"], sign="+")) for g in found["graders"]],
    )
    if found["scores"]["alpha"]:
        alpha = found["scores"]["alpha"]
        read = f", customarily read as {alpha['reading']}" if alpha["value"] is not None else ""
        line(f"Krippendorff's alpha (ordinal): {_figure(alpha)}{read}")
        table(["graders", "kappa (quadratic)", "within half a grade"],
              [(" and ".join(p["graders"]), _figure(p["kappa"]), f"{p['within_half']:.0%}") for p in found["scores"]["pairs"]])  # fmt: skip
    table(
        ["class", "F1", "boundary, mm"],
        [(c, _figure(r["f1"]), _figure(r["distance_mm"])) for c, r in found["shapes"]["classes"].items()],
    )
    for pair in found["tags"]:
        line(f"Tags, {' and '.join(pair['graders'])}: F1 {_figure(pair['f1'])}")


def _figure(found: dict[str, Any] | None, sign: str = "") -> str:
    if not found or found["value"] is None:
        return "not measured"
    interval = "" if found["low"] is None else f" ({found['low']:{sign}.3g} to {found['high']:{sign}.3g})"
    return f"{found['value']:{sign}.3g}{interval} · {found['cards']} cards"


def review(name: WholeName) -> None:
    """Samples with several votes that nobody has settled, those furthest apart first."""
    from trugrade_core.workflows import grading

    rows = grading.review_queue(workspace(), name)
    say(rows, lambda: table(["sample", "card", "apart", "votes"],
                            [(r["sample"], r["card"], f"{r['disagreement']:.2f}", ", ".join(f"{g} {s:g}" if s is not None else g for g, s in r["scores"].items()))
                             for r in rows[:grading.QUEUE]]))  # fmt: skip


def settle(
    name: WholeName,
    reason: Annotated[str, typer.Option(help="Why; kept with the label.")],
    sample: Samples = None,
    grader: Annotated[str, typer.Option(help="Take this one's vote, instead of the majority's.")] = "",
    most: Annotated[float | None, typer.Option(help="Only where votes are no further apart.", min=0)] = None,
) -> None:
    """Make the majority's vote (or one grader's) hold. The votes stay."""
    from trugrade_core.workflows import grading

    found = grading.settle(workspace(), name, who=who(), reason=reason, samples=sample, grader=grader, most=most)
    held = f" {len(found['held'])} are being worked on in Label Studio." if found["held"] else ""
    say(found, lambda: line(f"{len(found['settled'])} samples settled, {len(found['left'])} left for review.{held}"))


COMMANDS = (assign, agreement, review, settle)
