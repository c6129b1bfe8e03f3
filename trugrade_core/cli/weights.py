"""trugrade weights segmenter: the model behind click to segment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trugrade_core.cli.console import follow_job, line, say, table, who, workspace

app = typer.Typer(no_args_is_help=True, help="Weights of models that are not trained here.")


@app.command()
def segmenter(
    given: Annotated[
        list[Path] | None,
        typer.Option("--from", help="A folder of the two ONNX files, or one of them; may be repeated. No download."),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Say what is here; get nothing.")] = False,
) -> None:
    """Get the model that answers a click in the annotator (MobileSAM, Apache-2.0); without one GrabCut does."""
    from trugrade_core.workflows import segmenter as weights

    ws = workspace()
    if show:
        found = weights.state(ws)
    else:
        found = weights.take(ws, given) if given else follow_job(weights.start_download(ws, who=who()))

    def human() -> None:
        offered = found["offered"]
        if found["files"]:
            table(["file", "MB", "sha256", "published"],
                  [(f["name"], f"{f['bytes'] / 1e6:.1f}", f["sha256"][:16], "yes" if f["published"] else "no, your own")
                   for f in found["files"]], title=found["folder"])  # fmt: skip
        if found["here"]:
            line(f"A click is answered by: {found['title']}.")
        else:
            line(f"Click to segment uses GrabCut. Get {offered['title']} ({offered['bytes'] / 1e6:.0f} MB, "
                 f"{offered['licence']}): trugrade weights segmenter")  # fmt: skip
            for file in offered["files"]:
                line(f"  {file['url']}\n    sha256 {file['sha256']}")

    say(found, human)
