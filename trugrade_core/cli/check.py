"""trugrade data check: can I trust this data?"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from trugrade_core.cli.console import follow_job, line, pairs, say, table, who, workspace
from trugrade_core.errors import UsageError

VERDICTS = {"fit": "Fit", "reservations": "Fit with reservations", "not_fit": "Not fit"}
SHOWN = 30


def check(
    name: Annotated[str, typer.Argument(metavar="NAME|PATH", help="A dataset, NAME or NAME@VERSION, or a folder that was not imported.")],
    task: Annotated[str, typer.Option(help="What it is to be fit for; else the dataset's own task.")] = "",
    quick: Annotated[bool, typer.Option("--quick", help="Read no picture: seconds instead of minutes.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the one-page report to this file.")] = None,
    accept: Annotated[str | None, typer.Option(help="Let this finding of the last check stand, for its task: CODE or CODE:SUBJECT.")] = None,
    withdraw: Annotated[str | None, typer.Option(help="Take back what was accepted of this finding, for that task.")] = None,
    samples: Annotated[str | None, typer.Option(help="Of --accept: these samples alone, comma-separated; of pairs, both of each.")] = None,
    name_of: Annotated[str | None, typer.Option("--who", help="Who lets it stand; else your user name.")] = None,
    reason: Annotated[str, typer.Option(help="Why it may stand.")] = "",
    labels: Annotated[Path | None, typer.Option(help="Of a folder: where its labels are, as in data import.")] = None,
    classes: Annotated[str | None, typer.Option(help="Of a folder: class names in their order, comma-separated.")] = None,
    format: Annotated[str, typer.Option(help="Of a folder: auto, or as in data import.")] = "auto",
    dpi: Annotated[float | None, typer.Option(help="Of a folder: its resolution where the files do not say it.", min=1)] = None,
) -> None:  # fmt: skip
    """Is it fit to learn from? Labels, balance, pictures, coverage and files, each finding with what to do."""
    from trugrade_core.data.importing import ImportOptions
    from trugrade_core.workflows import checking
    from trugrade_core.workflows.check_targets import find_target

    ws = workspace()
    if (samples or reason) and not (accept or withdraw):
        raise UsageError("--samples and --reason are for --accept or --withdraw")
    if accept or withdraw:
        found = _settle(accept, withdraw, name, task or None, samples, name_of or who(), reason)
        say(found, lambda: _show(found))
        return
    options = None
    if labels or classes or format != "auto" or dpi:
        if find_target(ws, name).path is None:
            raise UsageError("--labels, --classes, --format and --dpi say how to read a folder",
                             where=name, what_to_do="A dataset was imported already: check it without them.")  # fmt: skip
        options = ImportOptions(
            format=format, labels=labels.absolute() if labels and labels.exists() else labels, dpi=dpi,
            classes=tuple(c.strip() for c in classes.split(",")) if classes else None,
        )  # fmt: skip
    if quick:
        report = checking.check(ws, name, task=task, deep=False, options=options, html=html)
    else:
        job = checking.start_check(ws, name, task=task, options=options, html=html, who=who())
        follow_job(job)
        report = checking.checked(job)
    say(report, lambda: _show(report, html))


def _settle(
    accept: str | None, withdraw: str | None, name: str, task: str | None, samples: str | None, who: str, reason: str
) -> dict[str, Any]:
    from trugrade_core.workflows import checking

    if accept and withdraw:
        raise UsageError("--accept and --withdraw are two things; give one of them")
    if withdraw:
        return checking.withdraw(workspace(), name, withdraw, who=who, reason=reason, task=task) or {}
    chosen = [s.strip() for s in samples.split(",") if s.strip()] if samples else None
    return checking.accept(workspace(), name, str(accept), who=who, reason=reason, samples=chosen, task=task)


def _show(report: dict[str, Any], html: Path | None = None) -> None:
    if not report:
        line("Taken back. There is no kept check of this dataset; check it again.")
        return
    task = (
        report["title"]
        or "no task named, so only what holds for every task was looked at; name one with --task, see: trugrade tasks"
    )
    line(f"{VERDICTS[report['verdict']]} ({task})")
    line(f"Because {report['reason']}.")
    if report["stale"]:
        line(
            f"The dataset has changed since this check ({report['stale'][:16].replace('T', ' ')} UTC): check it again."
        )
    line("")
    table(["check", "status", "score", "looked at"],
          [(name, c["status"].replace("_", " "), "" if c["score"] is None else f"{100 * c['score']:.4g} %", c["why"])
           for name, c in report["checks"].items()])  # fmt: skip
    line("")
    rows = [f for f in report["findings"] if "accepted" not in f]
    pairs((f"{f['severity']}  {f['key']}", f["why"], f"{f['action']}{_some(f['samples'])}") for f in rows[:SHOWN])
    if len(rows) > SHOWN:
        line(f"… and {len(rows) - SHOWN} more; --json lists all.")
    for f in report["findings"]:
        for said in f.get("accepted", ()):
            line(f"accepted by {said['who']} on {said['when'][:10]}: {f['why']} ({said['reason']})")
    if html:
        line(f"Report: {html}")
    if "path" not in report and any(f["severity"] != "info" for f in rows):
        line(f"Let one stand: trugrade data check {report['name']} --accept CODE --reason 'WHY'")


def _some(samples: list[str]) -> str:
    more = f" and {len(samples) - 4} more" if len(samples) > 4 else ""
    return f"  [{', '.join(samples[:4])}{more}]" if samples else ""


def alike(
    name: Annotated[str, typer.Argument(help="Dataset.")],
    over: Annotated[float, typer.Option(help="How alike, 1 is the same to the hash; from 0.84.")] = 0.95,
) -> None:
    """Which pictures look alike, and how many count from a similarity on. Reads nothing: from what checks have stored.

    --json: {"dataset", "similarity", "pairs", "kinds": {same_file, same_scan, same_design}, "across_splits", "unread"
    (pictures that no check has read), "examples": [{"samples", "similarity", "kind", "how", "splits", "checked"}]}
    """
    from trugrade_core.data.checks.duplicates import KINDS
    from trugrade_core.workflows import lookalikes

    pairs_found, unread = lookalikes.look_alikes(workspace(), name)
    found = {"dataset": name, **lookalikes.over(pairs_found, over), "unread": unread}

    def human() -> None:
        kinds = ", ".join(f"{KINDS[kind]}: {n}" for kind, n in found["kinds"].items())
        line(f"Pairs from {over:g} on: {found['pairs']} ({kinds}); across splits: {found['across_splits']}")
        if unread:
            line(f"Pictures that no check has read yet: {unread}. Read them: trugrade data check {shlex.quote(name)}")
        table(["similarity", "one", "other", "kind", "splits"],
              [(f"{r['similarity']:.3f}", *r["samples"], KINDS[r["kind"]] + ("" if r["checked"] else ", by the hash alone"),
                " and ".join(s or "none" for s in r["splits"])) for r in found["examples"]],
              title="The least alike that still count")  # fmt: skip

    say(found, human)


COMMANDS = (check, alike)
