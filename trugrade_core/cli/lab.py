"""trugrade tasks, doctor, demo: the lab itself."""

from __future__ import annotations

from typing import Annotated

import typer

from trugrade_core.cli.console import follow_job, line, number, say, table, who, workspace


def tasks() -> None:
    """What can be learned here, and with which architectures."""
    from trugrade_core.workflows import overview

    rows = overview.tasks()

    def human() -> None:
        for row in rows:
            line(f"{row['id']}: {row['description']}")
            table(["architecture", "variants", "here"],
                  [(a["id"], ", ".join(a["variants"]), a["reason"] or "yes") for a in row["architectures"]])  # fmt: skip

    say(rows, human)


def doctor() -> None:
    """What this machine can and cannot do, and what to do about it."""
    from trugrade_core.workflows.doctor import examine

    rows = examine(workspace())
    say(rows, lambda: table(["what", "state", "detail", "what to do"],
                            [(r["what"], r["state"], r["detail"], r["what_to_do"]) for r in rows]))  # fmt: skip


def demo(
    seed: Annotated[int, typer.Option(min=0)] = 0,
    minutes: Annotated[
        float | None, typer.Option(help="Length of the training; the rest takes one or two more.", min=0.1, max=60)
    ] = None,
) -> None:
    """Everything once, on made-up cards: dataset, training, evaluation, export, parity, catalog, report."""
    from trugrade_core.workflows import demo as workflow

    report = follow_job(workflow.start_demo(workspace(), seed=seed, minutes=minutes or workflow.MINUTES, who=who()))

    def human() -> None:
        side = report["metrics"].get("side_error_mm", {})
        base = report["baseline"].get("side_error_mm", {})
        line(f"Trained {report['run']} on '{report['dataset']}' in {report['seconds']:.0f} s. "
             f"Side error {number(side.get('value'))} mm; constant box {number(base.get('value'))} mm: {report['verdict']['text']}.")  # fmt: skip
        line(
            "A few minutes on made-up cards show every step; they make no model to rely on. trugrade suggest proposes a real training."
        )
        line(f"Artifact: {report['artifact']} (parity {'passed' if report['parity']['passed'] else 'failed'})")
        line(f"Report:   {report['report']}")
        line(f"Next: streamlit run app/Home.py -- -w {workspace().root}")

    say(report, human)


COMMANDS = (tasks, doctor, demo)
