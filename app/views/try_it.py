"""Try it: what does it say of this scan?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from app import jobcard, look, overlay, state, uploads
from trugrade_core.data.images import probe
from trugrade_core.data.importing import ImportOptions
from trugrade_core.errors import TruGradeError
from trugrade_core.runs import RunFolder
from trugrade_core.schema import Box, ImageRef, Mask
from trugrade_core.workflows import datasets, evaluating
from trugrade_core.workspace import Workspace, write_atomic

ENDINGS = ["png", "jpg", "jpeg", "tif", "tiff", "webp", "bmp"]


def main() -> None:
    ws = state.workspace()
    models = _models(ws)
    with look.head("Try it"):
        pass
    if not models:
        look.empty(
            "No model yet",
            "A trained run or an exported artifact says here what it sees in a scan.",
            icon="center_focus_strong",
            action=look.TRAIN,
        )
        return
    asked = state.param("model") or state.param("run")
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    model = left.selectbox(
        "Model",
        list(models),
        index=list(models).index(asked) if asked in models else 0,
        format_func=models.__getitem__,
        key="try-model",
    )
    threshold = right.number_input(
        "Lowest score",
        min_value=0.0,
        max_value=1.0,
        value=None,
        step=0.05,
        placeholder="the model's own",
        key="try-threshold",
    )
    state.keep(model=model)
    files = st.file_uploader("Drop scans here", type=ENDINGS, accept_multiple_files=True, key="try-files")
    if st.button("Look at them", type="primary", icon=":material/center_focus_strong:", disabled=not files):
        with look.errors("trying the model"):
            job = evaluating.start_prediction(ws, model, _store(ws, files), threshold=threshold, who=state.who())
            state.keep(job=job.id)
    if job_id := st.query_params.get("job"):
        jobcard.show(job_id, done=lambda found, _args: _answers(ws, found))


def _models(ws: Workspace) -> dict[str, str]:
    """{name: words} of everything that can be asked: artifacts first, then runs."""
    artifacts = sorted(path.parent.name for path in ws.exports.glob("*/manifest.json"))
    found = {name: f"artifact {name}" for name in artifacts}
    return found | {folder.id: f"run {state.run_words(folder)}" for folder in state.trained(ws)}


def _store(ws: Workspace, files: list[Any]) -> Path:
    """Keep the scans as the workspace keeps all pictures, by digest, and give the model links to them: SHA/NAME."""
    folder = uploads.new(ws)
    for file in files:
        data = file.getvalue()
        ref = probe(data, name=file.name)
        path = ws.image(ref.sha256, ref.suffix)
        if not path.exists():
            write_atomic(path, data)
        link = folder / ref.sha256 / (Path(file.name).name or path.name)
        if not link.parent.exists():
            link.parent.mkdir()
            link.symlink_to(path)
    return link if len(list(folder.iterdir())) == 1 else folder


def _answers(ws: Workspace, found: dict[str, Any]) -> None:
    rows = found["predictions"]
    at = 0
    if len(rows) > 1:
        at = st.segmented_control(
            "Scan",
            range(len(rows)),
            format_func=lambda n: Path(rows[n]["image"]).name[:40],
            default=0,
            required=True,
            key="try-at",
        )
    row = rows[at]
    if "error" in row:
        look.error(TruGradeError(row["error"], where=row["image"], what_to_do="Try another file."))
        return
    path = Path(row["image"])
    sha = path.parent.name
    stored = ws.find_image(sha)
    if stored is None:
        look.empty("The scan is gone", "Its picture is no longer in the workspace.", icon="image_not_supported")
        return
    ref: ImageRef = state.cached(("ref", sha), None, lambda: probe(stored.read_bytes(), name=stored.name))
    classes = list(dict.fromkeys(row["labels"]))
    shapes = _shapes(row, classes)
    picture, facts = st.columns([5, 2], gap="medium")
    mm = 25.4 / ref.dpi if ref.dpi else None
    with picture:
        overlay.viewer(
            f"/lab/image/{sha}",
            f"/lab/original/{sha}",
            ref.width,
            ref.height,
            shapes,
            key=f"try-{sha}",
            alt=path.name,
            mm_per_px=mm,
        )
    with facts:
        st.html(
            look.facts([("found", look.count(len(row["labels"]), "object"), f"in {look.duration(row['seconds'])}")])
        )
        cells = [
            [
                look.chip(label, color=overlay.color_of(label, classes)),
                f"{score:.2f}",
                look.extent(box[2] - box[0], box[3] - box[1], mm),
            ]
            for label, score, box in zip(row["labels"], row["scores"], row["box"], strict=True)
        ]
        if cells:
            look.table(["class", "score", "size"], cells, key=f"try-found-{sha}", right=(1,))
        if not mm:
            st.caption("The file does not say its resolution: sizes are in px.")
        _add(ws, path if path.exists() else stored)  # the upload's copy is kept for a day only


def _shapes(row: dict[str, Any], classes: list[str]) -> list[overlay.Shape]:
    masks = row.get("mask") or [None] * len(row["labels"])
    return [
        overlay.Shape(
            points=points,
            label=f"{label} {score:.2f}" if n == 0 else "",
            color=overlay.color_of(label, classes),
            dash=False,
        )
        for label, score, box, mask in zip(row["labels"], row["scores"], row["box"], masks, strict=True)
        for n, points in enumerate(overlay.outlines(Mask.model_validate(mask) if mask else Box(xyxy=tuple(box))))
    ]


def _add(ws: Workspace, path: Path) -> None:
    with st.popover("Add to a dataset", icon=":material/add_photo_alternate:"):
        names = state.dataset_names(ws)
        name = st.selectbox(
            "Dataset",
            names,
            index=None,
            accept_new_options=True,
            placeholder="choose one, or type a new name",
            key="try-dataset",
        )
        st.caption("The scan goes in without labels.")
        if st.button("Add", disabled=not name, key="try-add"):
            with look.errors("adding it"):
                job: RunFolder = datasets.start_import(
                    ws, path, str(name), ImportOptions(format="folder", who=state.who()), who=state.who()
                )
                state.go("datasets", view="import", dataset=str(name), job=job.id)


main()
