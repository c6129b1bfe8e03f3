"""trugrade data explore, find, tag, exclude, set, undo, edits, subset: looking through a dataset and editing many samples."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from trugrade_core.cli.console import follow_job, line, not_understood, say, table, who, workspace
from trugrade_core.cli.data import WholeName, _whole
from trugrade_core.errors import UsageError
from trugrade_core.schema import SampleStatus

if TYPE_CHECKING:
    from trugrade_core.data.editing import Applied, Edit
    from trugrade_core.data.explore import Explorer
    from trugrade_core.data.filters import Filter

Where = Annotated[
    str,
    typer.Option(help='Which samples, such as: class=scratch,dent size=0.1..0.5 status=done "words". All, by default.'),
]
Saved = Annotated[str, typer.Option("--filter", help="A saved filter instead of --where.")]
All = Annotated[bool, typer.Option("--all", help="Every sample of the dataset.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say how many would change; write nothing.")]


def opened(name: str, where: str, saved: str) -> tuple[Explorer, Filter, str]:
    """The index, the filter and the order that goes with a saved one."""
    from trugrade_core.data.filters import from_line
    from trugrade_core.workflows import exploring

    if where and saved:
        raise UsageError("--where and --filter are both given", what_to_do="Give one of them.")
    f = from_line(where)
    found = exploring.explorer(workspace(), _whole(name))
    if not saved:
        return found, f, "arrival"
    kept = exploring.saved_filter(found.ds, saved)
    return found, kept.filter, kept.sort


def explore(
    name: WholeName,
    where: Where = "",
    filter: Saved = "",
    save_as: Annotated[str, typer.Option(help="Save the filter under this name.")] = "",
    forget: Annotated[str, typer.Option(help="Forget the saved filter of this name.")] = "",
) -> None:
    """What the samples that fit are like: counts, classes, sizes in mm, scores, where on the card; and saved filters."""
    from trugrade_core.workflows import exploring

    found, f, _ = opened(name, where, filter)
    if save_as:
        exploring.save_filter(found.ds, save_as, f, who=who())
    if forget:
        exploring.forget_filter(found.ds, forget, who=who())
    about = found.statistics(f)
    saved = exploring.saved_filters(found.ds)
    answer = {**about, "filter": f.line(), "saved": {k: v.filter.line() for k, v in saved.items()}}
    say(answer, lambda: _show(name, answer, found.total()))


def _show(name: str, about: dict[str, Any], total: int) -> None:
    line(f"{name}: {about['samples']:,} of {total:,} samples fit, of {about['cards']:,} cards; {about['labelled']:,} labelled, "
         f"{about['excluded']:,} excluded, {about['conflicts']:,} in conflict")  # fmt: skip
    if about["classes"]:
        table(["class", "shapes", "samples"], about["classes"])
    for title, field in (("size, mm", "size_mm"), ("blur, px", "blur_px")):
        bars = about[field]
        if any(bars["counts"]):
            highs = [*bars["edges"][1:], None]
            rows = [(f"{low:g} to {high:g}" if high is not None else f"{low:g} or more", n)
                    for low, high, n in zip(bars["edges"], highs, bars["counts"], strict=True) if n]  # fmt: skip
            table([title, "count"], rows)
    for field in ("status", "split", "origin", "score", "tags", "annotators", "findings"):
        if about[field]:
            table([field, "samples"], [("none" if value is None else value, n) for value, n in about[field][:20]])
    if about["saved"]:
        table(["saved filter", "samples with"], list(about["saved"].items()))


def find(
    name: WholeName,
    where: Where = "",
    filter: Saved = "",
    sort: Annotated[
        str,
        typer.Option(help="arrival, file, card, date, score, size, smallest or status; -size is the largest first."),
    ] = "",
    page: Annotated[int, typer.Option(min=1)] = 1,
    limit: Annotated[int, typer.Option(help="Samples a page.", min=1, max=100_000)] = 60,
) -> None:
    """The samples that fit a filter, a page at a time."""
    from trugrade_core.workflows import exploring

    found, f, order = opened(name, where, filter)
    answer = exploring.find(found, f, sort=sort or order, page=page, size=limit)

    def human() -> None:
        line(f"{answer['total']:,} samples fit; page {answer['page']} of {answer['pages']}")
        table(["sample", "file", "card", "status", "split", "classes", "score", "tags"],
              [(r["sample"], r["file"], r["card"], r["status"], r["split"], ", ".join(r["classes"]), r["score"],
                ", ".join(r["tags"])) for r in answer["samples"]])  # fmt: skip

    say(answer, human)


# --- edits --------------------------------------------------------------------------------------------------------


def tag(
    name: WholeName,
    tag: Annotated[str, typer.Argument(help="A working mark.")],
    where: Where = "",
    filter: Saved = "",
    remove: Annotated[bool, typer.Option("--remove", help="Take the tag off.")] = False,
    all: All = False,
    dry_run: DryRun = False,
) -> None:
    """Put a tag on every sample that fits, or take it off; undone as one step."""
    from trugrade_core.data.editing import Tag

    _edit(name, lambda: Tag(tag=tag, on=not remove), where, filter, all, dry_run)


def exclude(
    name: WholeName,
    where: Where = "",
    filter: Saved = "",
    reason: Annotated[str, typer.Option(help="Why they are left out of new versions.")] = "",
    include: Annotated[bool, typer.Option("--include", help="Take them in again.")] = False,
    all: All = False,
    dry_run: DryRun = False,
) -> None:
    """Leave every sample that fits out of new versions, for a reason, or take it in again; undone as one step."""
    from trugrade_core.data.editing import Exclude

    if bool(reason) == include:
        raise UsageError("--reason says why they are left out, --include takes them in", what_to_do="Give one of them.")
    _edit(name, lambda: Exclude(reason=reason or None), where, filter, all, dry_run)


def set_(
    name: WholeName,
    where: Where = "",
    filter: Saved = "",
    score: Annotated[float | None, typer.Option(help="Give every sample this score.", min=1, max=10)] = None,
    status: Annotated[str, typer.Option(help=f"One of {', '.join(get_args(SampleStatus))}.")] = "",
    comment: Annotated[str, typer.Option(help="With --status.")] = "",
    reclass: Annotated[str, typer.Option("--class", help="OLD=NEW, or =NEW for shapes of every class.")] = "",
    all: All = False,
    dry_run: DryRun = False,
) -> None:
    """Set the score, the status or the class of shapes of every sample that fits; undone as one step."""
    from trugrade_core.data import editing

    if sum((score is not None, bool(status), bool(reclass))) != 1:
        raise UsageError("one of --score, --status and --class is needed", what_to_do="Give exactly one of them.")
    if comment and not status:
        raise UsageError("--comment goes with --status", what_to_do='Such as: --status unsure --comment "glare"')
    old, equals, new = reclass.partition("=")
    if reclass and not (equals and new):
        raise UsageError(f"--class {reclass} is not OLD=NEW",
                         what_to_do="Such as: --class scratch=dent, or --class =dent for shapes of every class")  # fmt: skip

    def made() -> Edit:
        if score is not None:
            return editing.GiveScore(score=score)
        if status:
            return editing.SetStatus.model_validate({"status": status, "comment": comment})
        return editing.Reclass(old=old or None, new=new)

    if status and status not in get_args(SampleStatus):
        raise UsageError(f"--status cannot be '{status}'", what_to_do=f"known: {', '.join(get_args(SampleStatus))}")
    _edit(name, made, where, filter, all, dry_run)


def undo(
    name: WholeName,
    edit: Annotated[str, typer.Argument(help="Its id, or the beginning of it; the last one by default.")] = "",
) -> None:
    """Put back what an edit of many samples changed; what somebody changed since stays as it is."""
    from trugrade_core.workflows import exploring

    _done(
        exploring.undo(exploring.explorer(workspace(), _whole(name)), edit, who=who(), tool="cli"),
        verb="put back",
        name=name,
    )


def edits(name: WholeName) -> None:
    """Edits of many samples, newest first."""
    from trugrade_core.data.editing import history
    from trugrade_core.data.store import Dataset

    rows = [vars(one) for one in history(Dataset.open(workspace(), _whole(name)))]
    say(rows, lambda: table(["edit", "what", "samples", "where", "who", "when", ""],
                            [(r["id"], r["what"], r["samples"], r["where"], r["who"], r["when"][:16],
                              "undone" if r["undone"] else "") for r in rows]))  # fmt: skip


def subset(
    name: WholeName,
    new: Annotated[str, typer.Argument(help="Name of the new dataset.")],
    where: Where = "",
    filter: Saved = "",
) -> None:
    """Make a dataset of the samples that fit, with all that was said of them; it shares the images."""
    from trugrade_core.workflows import exploring

    _, f, _ = opened(name, where, filter)
    made = follow_job(exploring.start_subset(workspace(), name, f, new, who=who()))
    say(made, lambda: line(f"{made['images']:,} samples in '{new}'. Next: trugrade data split {shlex.quote(new)}"))


def _edit(name: str, make: Callable[[], Edit], where: str, saved: str, all: bool, dry_run: bool) -> None:
    from pydantic import ValidationError

    from trugrade_core.data.editing import preview
    from trugrade_core.workflows import exploring

    if all == bool(where or saved):
        raise UsageError("which samples is not said" if not all else "--all and a filter are both given",
                         what_to_do="Give --where, --filter or --all.")  # fmt: skip
    try:
        edit = make()
    except ValidationError as e:
        raise not_understood(e) from e
    found, f, _ = opened(name, where, saved)
    if dry_run:
        total, changes = preview(found, edit, f)
        say({"what": edit.words(), "fit": total, "would_change": changes},
            lambda: line(f"Would {edit.words()}: {changes:,} of {total:,} samples that fit would change."))  # fmt: skip
        return
    _done(exploring.edit_all(found, edit, f, who=who(), tool="cli"), verb="changed", name=name)


def _done(done: Applied, *, verb: str, name: str) -> None:
    from trugrade_core.workflows import exploring

    def human() -> None:
        line(f"{done.what}: {done.changed:,} samples {verb}, {done.unchanged:,} were so already")
        if done.left:
            table(["left as it is", "why"], done.left[:50])
            if len(done.left) > 50:
                line(f"… and {len(done.left) - 50:,} more; --json lists all.")
        if verb == "changed" and done.changed:
            line(f"Undo: trugrade data undo {shlex.quote(name)} {done.batch}")

    say(exploring.applied(done), human)


set_.__name__ = "set"
COMMANDS = (explore, find, tag, exclude, set_, undo, edits, subset)
