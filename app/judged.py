"""Samples behind an evaluation: truth and answer over each other, worst first, and one of them in full."""

from __future__ import annotations

from html import escape
from typing import Any

import streamlit as st

from app import charts, look, overlay, state
from trugrade_core.errors import UsageError
from trugrade_core.runs import RunFolder
from trugrade_core.schema import Annotation, Prediction, Sample
from trugrade_core.workflows import evaluating
from trugrade_core.workspace import Workspace

PAGE = 48


def splits(folder: RunFolder) -> list[str]:
    """The splits that the run has been judged on."""
    return sorted(path.parent.name for path in folder.path.glob("evaluation/*/evaluation.json"))


def evaluation(ws: Workspace, folder: RunFolder, split: str) -> dict[str, Any]:
    path = folder.path / "evaluation" / split / "evaluation.json"
    return state.cached(
        ("evaluation", str(path)), state.stamp(path), lambda: evaluating.evaluation(ws, folder.id, split)
    )


def _answers(folder: RunFolder, split: str, key: str) -> dict[str, Prediction]:
    from trugrade_core.evaluate.predictions import read_predictions

    path = folder.path / "evaluation" / split / "predictions.parquet"
    found = state.cached(("predictions", str(path)), (state.stamp(path), key), lambda: read_predictions(path, key))
    if found is None:
        raise UsageError(
            "the stored answers are not those of this evaluation", where=str(path), what_to_do="Evaluate again."
        )
    return found["plain"]


def _truth(ws: Workspace, name: str) -> tuple[dict[str, Sample], dict[str, list[Annotation]]]:
    """The samples and annotations of a version; versions never change."""
    from trugrade_core.data.versions import Version

    def load() -> tuple[dict[str, Sample], dict[str, list[Annotation]]]:
        version = Version.open(ws, name)
        return {sample.id: sample for sample in version.samples()}, version.annotations()

    return state.cached(("version", str(ws.root), name), None, load)


def _shapes(annotations: list[Annotation], answer: Prediction | None, found: dict[str, Any]) -> list[overlay.Shape]:
    classes = found["predictor"]["classes"]
    threshold = found["predictor"]["threshold"]
    shown = [i for i in answer.instances if i.score >= threshold] if answer else []
    return overlay.annotation_shapes(annotations, classes) + overlay.instance_shapes(shown, classes)


def grid(ws: Workspace, folder: RunFolder, split: str, found: dict[str, Any]) -> None:
    """Thumbnails of the samples, those with the largest errors first; `only` in the URL narrows them to a kind of error."""
    rows = found["samples"]
    only = st.query_params.get("only", "")
    if only:
        behind = _behind(found, only)
        rows = [row for row in rows if row["sample"] in behind]
        words = only.replace(">", " taken for ")
        look.linked(
            f"{look.chip(words, icon='filter_alt')} {look.link('evaluate', 'show all', run=folder.id, split=split)}",
            key="judged-only",
        )
    samples, annotations = _truth(ws, found["dataset"])
    answers = _answers(folder, split, found["key"])
    pages = max(1, -(-len(rows) // PAGE))
    page = st.pagination(pages, key="judged-page") if pages > 1 else 1
    tiles = []
    for row in rows[(page - 1) * PAGE : page * PAGE]:
        sample = samples[row["sample"]]
        picture = overlay.thumb(sample, _shapes(annotations.get(sample.id, []), answers.get(sample.id), found))
        caption = f'<div class="cap"><span>{escape(overlay.name_of(sample))}</span><span>{_marks(row)}</span></div>'
        tiles.append(
            look.link("evaluate", picture + caption, css="tg-tile", run=folder.id, split=split, sample=sample.id)
        )
    st.html(
        f"{overlay.legend(found['predictor']['classes'])} <span class='tg-soft tg-small'>solid: drawn by people · dashed: found by the model</span>"
    )
    look.linked(f'<div class="tg-grid" style="--tile:170px">{"".join(tiles)}</div>', key="judged-grid")


def _behind(found: dict[str, Any], only: str) -> set[str]:
    true, arrow, guess = only.partition(">")
    if arrow:
        cells = [c for c in found["confusion"]["cells"] if (c["true"], c["found"]) == (true, guess)]
    else:
        cells = [found["errors"][only]] if only in found["errors"] else []
    return {sample for cell in cells for sample in cell["samples"]}


def _marks(row: dict[str, Any]) -> str:
    worst = look.number(row["worst_mm"], "mm") if row["worst_mm"] is not None else look.number(row["worst_px"], "px")
    words = [f"{row['missed']} missed"] if row["missed"] else [worst]
    if row["extra"]:
        words.append(f"{row['extra']} extra")
    css = "tg-state failed" if row["missed"] or row["extra"] else ""
    return f'<span class="{css}">{" · ".join(words)}</span>'


def one(ws: Workspace, folder: RunFolder, split: str, sample_id: str) -> None:
    """A judged sample: its picture with truth and answer, and the error of every side."""
    found = evaluation(ws, folder, split)
    ids = [row["sample"] for row in found["samples"]]
    if sample_id not in ids:
        look.empty("No such sample", f"This evaluation has no sample {sample_id[:40]}.", icon="image_not_supported")
        return
    at = ids.index(sample_id)
    row = found["samples"][at]
    samples, annotations = _truth(ws, found["dataset"])
    answers = _answers(folder, split, found["key"])
    sample = samples[sample_id]
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("All samples", icon=":material/grid_view:"):
            state.go("evaluate", run=folder.id, split=split, sample="")
        if st.button("Previous", icon=":material/chevron_left:", disabled=at == 0, shortcut="Left"):
            state.go("evaluate", run=folder.id, split=split, sample=ids[at - 1])
        if st.button("Next", icon=":material/chevron_right:", disabled=at == len(ids) - 1, shortcut="Right"):
            state.go("evaluate", run=folder.id, split=split, sample=ids[at + 1])
        st.caption(f"{at + 1:,} of {len(ids):,}, worst first")
    picture, facts = st.columns([5, 2], gap="medium")
    with picture:
        overlay.sample_viewer(
            sample, _shapes(annotations.get(sample_id, []), answers.get(sample_id), found), key=f"judged-{sample_id}"
        )
    with facts:
        st.html(f"<b>{look.clip(overlay.name_of(sample))}</b> <span class='tg-soft'>card {escape(row['card'])}</span>")
        mm = sample.mm_per_px
        rows = []
        for item in row["objects"]:
            sides = item["sides_px"]
            for n, side in enumerate(("left", "top", "right", "bottom")):
                value = (
                    "missed"
                    if sides is None
                    else look.number(abs(sides[n]) * mm, "mm")
                    if mm
                    else look.number(abs(sides[n]), "px")
                )
                rows.append([look.clip(item["label"]) if n == 0 else "", side, value])
        look.table(["class", "side", "error"], rows, key="judged-sides", right=(2,))
        for wrong in row["errors"]:
            st.caption(f"extra: {wrong['label']}, score {wrong['score']:.2f} ({wrong['type']})")


# --- tables and charts --------------------------------------------------------------------------------------------


def sides(found: dict[str, Any]) -> None:
    """The error of each side of each class."""
    rows = []
    for label, sides in found["sides"].items():
        for side, cell in sides.items():
            mm = cell.get("mm") or {}
            rows.append(
                [
                    look.clip(label),
                    side,
                    f"{look.number(mm.get('value'), 'mm')} <span class='tg-soft'>{look.interval(mm, 'mm')}</span>",
                    look.number(cell.get("mm_p95"), "mm"),
                    look.number(cell["px"]["value"], "px"),
                    look.number(cell["bias_px"], "px"),
                ]
            )
    look.table(
        ["class", "side", "median error", "95th percentile", "median error", "bias (right or down positive)"],
        rows,
        key="evaluate-sides",
        right=(3, 4, 5),
    )


def distribution(found: dict[str, Any]) -> None:
    """How the worst side of each sample is spread."""
    unit = "mm" if all(row["worst_mm"] is not None for row in found["samples"]) else "px"
    values = [row[f"worst_{unit}"] for row in found["samples"] if not row["missed"]]
    fig = charts.figure("Worst side of each sample", x=f"error, {unit}", y="samples")
    fig.add_histogram(
        x=values,
        nbinsx=40,
        marker_color=charts.PALETTE[0],
        hovertemplate=f"%{{x}} {unit}: %{{y}} samples<extra></extra>",
    )
    fig.update_layout(hovermode="closest", bargap=0.05, showlegend=False)
    charts.show(fig, key="evaluate-distribution", alt="distribution of the worst side error of each sample")
    missed = sum(bool(row["missed"]) for row in found["samples"])
    st.caption(f"{look.count(missed, 'sample')} with a missed object: not drawn here.")


def every_figure(found: dict[str, Any]) -> None:
    """Every metric with its interval, beside the constant box."""
    rows = []
    for name, cell in found["metrics"].items():
        against = found["baseline"].get(name, {})
        rows.append(
            [
                f'{escape(look.metric_words(name)[0])} <span class="tg-soft tg-mono">{name}</span>',
                look.metric(name, cell["value"]),
                look.metric_interval(name, cell),
                str(cell.get("n_cards", "")),
                look.metric(name, against.get("value")) if against else "no baseline",
                escape(cell.get("reason") or ""),
            ]
        )
    look.table(
        ["", "value", "95 % interval", "cards", "constant box", "why not"], rows, key="evaluate-all", right=(1, 3, 4)
    )
    st.caption(
        f"Intervals are bootstrapped by card. The constant box needs no model: the mean box of the training scans. "
        f"{look.number(found['seconds_per_image'], 's')} an image."
    )
