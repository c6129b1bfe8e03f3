"""trugrade data …"""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from trugrade_core.cli.console import follow_job, line, say, table, who, workspace
from trugrade_core.data.images import MAX_PIXELS
from trugrade_core.errors import UsageError

app = typer.Typer(help="Datasets: import, look, split, keep as versions, export.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Dataset, NAME or NAME@VERSION.")]
WholeName = Annotated[str, typer.Argument(help="Dataset, NAME.")]


def _whole(name: str) -> str:
    """A name without a version, for what is done to the dataset itself."""
    if "@" in name:
        dataset = name.partition("@")[0]
        raise UsageError(f"'{name}' is a version, which never changes", what_to_do=f"Give the dataset alone: {dataset}")
    return name


@app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="A folder, a .zip, a label file or a CSV.")],
    dataset: Annotated[str, typer.Option(help="Name of the dataset to add to; made when it is not there.")],
    format: Annotated[
        str, typer.Option(help="auto, coco, yolo, voc, cvat, labelme, label_studio, table, masks or folder.")
    ] = "auto",
    labels: Annotated[
        Path | None, typer.Option(help="Folder or file of the labels, as a path or relative to PATH.")
    ] = None,
    classes: Annotated[str | None, typer.Option(help="Class names in their order, comma-separated.")] = None,
    map: Annotated[list[str] | None, typer.Option(help="theirs=ours; rename a class. May be repeated.")] = None,
    cards: Annotated[
        Path | None, typer.Option(help="CSV: file, card, design, print, session, side, origin, dpi.")
    ] = None,
    card_pattern: Annotated[
        str | None, typer.Option(help="Regular expression on file names with a group 'card'.")
    ] = None,
    dpi: Annotated[float | None, typer.Option(help="Scan resolution where the files do not say it.", min=1)] = None,
    origin: Annotated[str, typer.Option(help="real or synthetic.")] = "real",
    max_pixels: Annotated[int, typer.Option(help="Larger images are refused from their header.", min=1)] = MAX_PIXELS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be taken; write nothing.")] = False,
) -> None:
    """Bring images and labels in. Bytes are kept as given; doing it again adds nothing twice."""
    from trugrade_core.data.importing import ImportOptions
    from trugrade_core.workflows import datasets

    if origin not in ("real", "synthetic"):
        raise UsageError(f"--origin is real or synthetic, not '{origin}'")
    options = ImportOptions(
        format=format, labels=labels.absolute() if labels and labels.exists() else labels, mapping=_mapping(map or []), dpi=dpi,
        classes=tuple(name.strip() for name in classes.split(",")) if classes else None,
        cards=cards.absolute() if cards else None, card_pattern=card_pattern, origin=origin,
        max_pixels=max_pixels, who=who(),
    )  # fmt: skip
    if dry_run:
        report = datasets.preview_import(workspace(), path, dataset, options)
    else:
        report = follow_job(datasets.start_import(workspace(), path, dataset, options, who=who()))
    say(report, lambda: _show_import(report, dry_run))


def _mapping(pairs: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        theirs, equals, ours = pair.partition("=")
        if not equals or not theirs or not ours:
            raise UsageError(f"--map {pair} is not theirs=ours")
        found[theirs] = ours
    return found


def show_check(name: str, found: dict[str, Any] | None) -> None:
    """What the cheap part of a check came to, in a line."""
    if found:
        line(f"Checked without reading pictures: {found['verdict'].replace('_', ' ')}, because {found['reason']}. "
             f"All of it: trugrade data check {name}")  # fmt: skip


def _show_import(report: dict[str, Any], dry_run: bool) -> None:
    verb = "Would take" if dry_run else "Took"
    line(f"{verb} {report['taken']} files into '{report['dataset']}' ({report['format']}): "
         f"{report['images']} new images, {report['annotations']} new annotations.")  # fmt: skip
    for note in report.get("notes", []):
        line(f"Note: {note}")
    if report["skipped"]:
        table(["skipped", "why"], [(s["file"], s["reason"]) for s in report["skipped"][:50]])
        if len(report["skipped"]) > 50:
            line(f"… and {len(report['skipped']) - 50} more; --json lists all.")
    if report["images"] and not report["annotations"]:
        line(
            "None of these is labelled, and only labelled images are trained on: annotate them in the app, or bring labels with --labels."
        )
    if report["annotations"]:
        line(f"Classes, by number: {', '.join(f'{n} {name}' for n, name in report['classes'].items())}")
    if not dry_run:
        show_check(report["dataset"], report.get("check"))
        first = "" if report["annotations"] else "annotate them: streamlit run app/Home.py, then "
        line(f"Next: {first}trugrade data split {quote(report['dataset'])}")


@app.command()
def synth(
    dataset: Annotated[str, typer.Argument(help="Name of the dataset to add to; made when it is not there.")],
    count: Annotated[int, typer.Option(help="How many cards.", min=1, max=100_000)] = 50,
    seed: Annotated[int, typer.Option(help="The same seed makes the same cards.", min=0)] = 0,
    dpi: Annotated[int, typer.Option(help="Resolution; 600 is a full scan.", min=50, max=1200)] = 600,
) -> None:
    """Make synthetic cards whose borders are known exactly."""
    from trugrade_core.workflows import datasets

    report = follow_job(datasets.start_synth(workspace(), dataset, count=count, seed=seed, dpi=dpi, who=who()))
    say(report, lambda: line(f"{report['images']} new cards in '{dataset}'. Next: trugrade data split {dataset}"))


@app.command("list")
def list_() -> None:
    """The datasets of this workspace."""
    from trugrade_core.workflows import overview

    rows = overview.datasets(workspace())
    columns = ["dataset", "samples", "cards", "labelled", "newest version", "classes"]
    keys = ["name", "samples", "cards", "labelled", "version"]

    def human() -> None:
        table(columns, [[r[k] for k in keys] + [", ".join(r["classes"])] for r in rows])
        for row in rows:
            if row["reason"]:
                line(f"{row['name']} is damaged: {row['reason']}")

    say(rows, human)


@app.command()
def show(name: Name) -> None:
    """One dataset as it is now, or one version of it: its classes, versions and splits."""
    from trugrade_core.workflows import overview

    found = overview.dataset(workspace(), name)

    def human() -> None:
        line(f"{name}: {found['samples']} samples of {found['cards']} cards, {found['labelled']} labelled")
        table(["id", "class", "shape", "annotations"],
              [(i, c["name"], c["shape"], c["annotations"]) for i, c in enumerate(found["classes"], 1)])  # fmt: skip
        table(["version", "samples", "train", "val", "test", "digest"],
              [(v["version"], v["samples"], *(v["splits"].get(s, {}).get("samples", 0) for s in ("train", "val", "test")),
                v["digest"][:12]) for v in found["versions"]])  # fmt: skip
        for version in found["versions"]:
            if "reason" in version:
                line(f"{version['version']} is damaged: {version['reason']}")

    say(found, human)


@app.command()
def export(
    name: Name,
    format: Annotated[str, typer.Option(help="coco, yolo, voc or label_studio.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A new or empty folder.")],
) -> None:
    """Write a version with its images as COCO, YOLO, VOC or Label Studio; says what the format cannot hold."""
    from trugrade_core.workflows import datasets

    report = follow_job(datasets.start_export(workspace(), name, format, out, who=who()))

    def human() -> None:
        line(f"Wrote {report['images']} images to {out}")
        for what, count in report["left_out"].items():
            line(f"Left out: {what} ({count})")
        for change in report["renamed"][:20]:
            line(f"Renamed: {change}")
        if len(report["renamed"]) > 20:
            line(f"… and {len(report['renamed']) - 20} more; --json lists all.")

    say(report, human)


@app.command()
def rm(name: WholeName, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Move a dataset to the workspace's trash."""
    from trugrade_core.workflows import datasets

    _whole(name)
    if not yes:
        typer.confirm(f"Move dataset '{name}' to the trash?", abort=True, err=True)
    where = datasets.remove_dataset(workspace(), name)
    say({"removed": name, "trash": str(where)}, lambda: line(f"'{name}' lies in {where}"))
