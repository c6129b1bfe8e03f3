"""trugrade suggest, train, evaluate, predict, export: a model's way from configuration to artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from trugrade_core.cli.console import follow_job, line, number, pairs, say, table, who, workspace
from trugrade_core.errors import TruGradeError, UsageError
from trugrade_core.runs import RunFolder

Task = Annotated[str, typer.Option("--task", help="What to learn; see: trugrade tasks")]
RandomInit = Annotated[bool, typer.Option("--random-init", help="Go on without missing weights; marks the run.")]


def suggest(
    dataset: Annotated[str, typer.Argument(help="NAME or NAME@VERSION.")],
    task: Task,
    architecture: Annotated[str | None, typer.Option(help="Id, or id and variant.")] = None,
    ignore_history: Annotated[bool, typer.Option("--ignore-history", help="Do not learn from finished runs.")] = False,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write the configuration to this file.")] = None,
) -> None:
    """A configuration for a dataset and a task, with a reason for each value."""
    from trugrade_core.workflows import training

    found = training.suggest(workspace(), dataset, task, architecture=architecture, ignore_history=ignore_history)
    if out:
        training.write_config(found["config"], out)

    def human() -> None:
        pairs((key, training.dotted(found["config"], key), why) for key, why in found["reasons"].items())
        line(f"Written to {out}. Next: trugrade train {out} --plan-only" if out else "Keep it with -o FILE.")

    say(found, human)


def train(
    config: Annotated[Path | None, typer.Argument(help="A .yaml, .toml or .json configuration.")] = None,
    dataset: Annotated[str | None, typer.Option(help="NAME or NAME@VERSION, instead of or over the file's.")] = None,
    task: Annotated[str | None, typer.Option(help="Instead of or over the file's.")] = None,
    architecture: Annotated[str | None, typer.Option(help="Instead of or over the file's.")] = None,
    set: Annotated[list[str] | None, typer.Option("--set", help="dotted.key=value. May be repeated.")] = None,
    random_init: RandomInit = False,
    plan_only: Annotated[bool, typer.Option("--plan-only", help="Say what would be done; start nothing.")] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="With --plan-only: probe time, memory and disk.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Return at once; the run goes on.")] = False,
) -> None:
    """Train a model. Waits for the end; Ctrl-C leaves the run going."""
    from trugrade_core.workflows import training

    ws = workspace()
    given = training.read_config(config, dataset=dataset, task=task, architecture=architecture, sets=set or [])
    if plan_only:
        plan = (training.estimate if estimate else training.plan)(ws, given, random_init=random_init)
        say(plan.as_json(), lambda: _show_plan(plan.as_json()))
        return
    show_training(training.start(ws, given, random_init=random_init, who=who()), detach=detach)


def _show_plan(found: dict[str, Any]) -> None:
    """What was adapted or refused first, in full; what is used as written in one line each."""
    for status in ("refused", "adapted"):
        rows = [(k, e) for k, e in found["plan"].items() if e["status"] == status]
        if rows:
            line(f"{status}:")
            pairs((key, f"{e['value']} (asked {e['asked']})", e["reason"]) for key, e in rows)
    line("used:")
    pairs((key, e["value"], "" if e["reason"] in ("default", "as written") else e["reason"])
          for key, e in found["plan"].items() if e["status"] == "used")  # fmt: skip
    reckoned = found["estimate"]
    if reckoned["seconds"] is None:
        line("time, memory and disk: probed at start, or now with --estimate")
    else:
        line(f"about {reckoned['seconds'] / 60:.3g} min, {reckoned['peak_memory_bytes'] / 1e9:.2g} GB of memory, "
             f"{reckoned['disk_bytes'] / 1e6:.3g} MB of disk ({reckoned['source']})")  # fmt: skip


def show_training(folder: RunFolder, *, detach: bool) -> None:
    """Follow a training to its end (or say how to), and give the best epoch's figures."""
    from trugrade_core.workflows import training

    if detach:
        say({"run": folder.id, "state": folder.status().state},
            lambda: line(f"{folder.id} runs by itself. Watch it: trugrade run watch {folder.id}"))  # fmt: skip
        return
    try:
        follow_job(folder)
    except TruGradeError as e:
        if e.code != "job.stopped":
            line(f"{folder.id}: {e.message}")
            if e.what_to_do:
                line(e.what_to_do)
    found = training.outcome(folder)

    def human() -> None:
        line(f"{found['run']}: {found['state']} after {found['epochs']} epochs. {found['reason']}")
        table(["metric", "best epoch"], [(name, number(value)) for name, value in found["metrics"].items()])
        if found["state"] in ("finished", "stopped"):
            line(f"Next: trugrade evaluate {found['run']}")

    say(found, human)
    if found["state"] not in ("finished", "stopped"):
        raise typer.Exit(1)


def evaluate(
    run: Annotated[str, typer.Argument(help="Run id, a unique beginning, or 'latest'.")],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
) -> None:
    """Judge a run on a split, beside the constant box that needs no model."""
    from trugrade_core.workflows import evaluating

    if split not in ("train", "val", "test"):
        raise UsageError(f"--split is train, val or test, not '{split}'")
    report = follow_job(evaluating.start_evaluation(workspace(), run, split=split, who=who()))

    def human() -> None:
        table(["metric", "value", "95 % interval", "cards", "constant box"],
              [(name, number(m["value"]), f"{number(m['low'])} to {number(m['high'])}", m["n_cards"],
                number(report["baseline"].get(name, {}).get("value"))) for name, m in report["metrics"].items()],
              title=f"{report['run']} on {report['split']}")  # fmt: skip
        line("A missed border counts on each side as the image's whole width or height.")
        line(f"Verdict: {report['verdict']['text']}.")

    say(report, human)


def gauge(
    model: Annotated[str, typer.Argument(help="Run, checkpoint file or artifact folder.")],
    images: Annotated[Path, typer.Argument(help="The folder of the scans that were measured.")],
    truth: Annotated[Path, typer.Argument(help="A gauge file: edges measured independently, as JSON.")],
) -> None:
    """Hold a model to edges that were measured independently, side by side."""
    from trugrade_core.workflows import evaluating

    found = evaluating.gauge(workspace(), model, images, truth)

    def human() -> None:
        table(["class", "sides", "missed", "median mm", "p95 mm", "median px", "p95 px"],
              [(label, c["sides"], c["missed"], number(c["median_mm"]), number(c["p95_mm"]), number(c["median_px"]),
                number(c["p95_px"])) for label, c in found["classes"].items()])  # fmt: skip
        if found["left_out"]:
            line(f"Left out, since the model does not find it: {', '.join(found['left_out'])}")

    say(found, human)


def predict(
    model: Annotated[str, typer.Argument(help="Run, checkpoint file or artifact folder.")],
    path: Annotated[Path, typer.Argument(help="An image or a folder of images.")],
    threshold: Annotated[float | None, typer.Option(help="Lowest score shown.", min=0, max=1)] = None,
    overlays: Annotated[Path | None, typer.Option(help="Draw what was found into this folder.")] = None,
) -> None:
    """What a model says of an image or a folder."""
    from trugrade_core.workflows import evaluating

    found = evaluating.predict(workspace(), model, path, threshold=threshold, overlays=overlays)

    def human() -> None:
        for p in found["predictions"]:
            line(f"{p['image']}  ({p['seconds']:.2f} s)" if "error" not in p else f"{p['image']}  {p['error']}")
            for label, score, box in zip(p.get("labels", []), p.get("scores", []), p.get("box", []), strict=True):
                line(f"  {label}  score {score:.2f}  box {', '.join(f'{v:.1f}' for v in box)} px")

    say(found, human)


def export(
    run: Annotated[str, typer.Argument(help="Run id, a unique beginning, or 'latest'.")],
    format: Annotated[str, typer.Option(help="onnx; tensorrt, mobile and quantized are not in this version.")] = "onnx",
    name: Annotated[str | None, typer.Option(help="Name of the artifact; the run's id when left out.")] = None,
) -> None:
    """Export a trained model and prove that the artifact agrees with it."""
    from trugrade_core.workflows import exporting

    report = follow_job(exporting.start_export(workspace(), run, format, name=name, who=who()))

    def human() -> None:
        parity = report["parity"]
        line(f"{report['artifact']}\nparity {'passed' if parity['passed'] else 'FAILED'} on {parity['compared']} images; "
             f"worst: {', '.join(f'{k} {number(v)}' for k, v in parity['worst'].items())}\nThe model: {report['judged']}.")  # fmt: skip

    say(report, human)


def augment(
    out: Annotated[Path, typer.Option("-o", "--out", help="Picture to write, .png or .jpg.")],
    config: Annotated[Path | None, typer.Argument(help="A .yaml, .toml or .json configuration.")] = None,
    dataset: Annotated[str | None, typer.Option(help="NAME or NAME@VERSION, instead of or over the file's.")] = None,
    task: Annotated[str | None, typer.Option(help="Instead of or over the file's.")] = None,
    set: Annotated[list[str] | None, typer.Option("--set", help="dotted.key=value. May be repeated.")] = None,
    sample: Annotated[str, typer.Option(help="Sample id; the first training sample when left out.")] = "",
    worst_of: Annotated[int, typer.Option(help="The worst among so many draws, instead of the first.", min=0)] = 0,
) -> None:
    """The very pictures that a training will see of a sample, labels and all, on one sheet."""
    from trugrade_core.workflows import augmenting, training

    given = training.read_config(config, dataset=dataset, task=task, sets=set or [])
    found = augmenting.write_sheet(workspace(), given, out, sample=sample, worst_of=worst_of)

    def human() -> None:
        table(["epoch", "of the label in view"], [(d["epoch"] + 1, f"{d['kept']:.0%}") for d in found["draws"]])
        line(f"Sample {found['sample']}, drawn on {out}")

    say(found, human)


COMMANDS = (suggest, augment, train, evaluate, gauge, predict, export)
