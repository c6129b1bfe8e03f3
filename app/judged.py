"""Samples behind an evaluation: truth and answer over each other, worst first, and one of them in full."""

from __future__ import annotations

import math
from html import escape
from itertools import pairwise
from typing import Any

import streamlit as st

from app import charts, curves, look, overlay, state
from trugrade_core.errors import UsageError
from trugrade_core.runs import RunFolder
from trugrade_core.schema import Annotation, Prediction, Sample
from trugrade_core.workflows import evaluating
from trugrade_core.workspace import Workspace

PAGE = 48
SIDES = ("left", "top", "right", "bottom")
BARS = 30


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


def _truth(ws: Workspace, found: dict[str, Any]) -> tuple[dict[str, Sample], dict[str, list[Annotation]]]:
    """The samples and annotations of the version that was judged. A version never changes, but its name may be given anew."""
    from trugrade_core.data.versions import Version

    name = found["dataset"]
    dataset, _, number = name.partition("@")
    path = ws.datasets / dataset / "versions" / number / "version.json"

    def load() -> tuple[dict[str, Sample], dict[str, list[Annotation]]]:
        version = Version.open(ws, name)
        return {sample.id: sample for sample in version.samples()}, version.annotations()

    samples, annotations = state.cached(("version", str(path)), state.stamp(path), load)
    if any(row["sample"] not in samples for row in found["samples"]):
        raise UsageError(
            f"{name} is not the version that was judged: another has its name now",
            where=found["run"],
            what_to_do="Put the dataset's folder back from the workspace's trash.",
        )
    return samples, annotations


def _shapes(annotations: list[Annotation], answer: Prediction | None, found: dict[str, Any]) -> list[overlay.Shape]:
    classes = found["predictor"]["classes"]
    threshold = found["predictor"]["threshold"]
    shown = [i for i in answer.instances if i.score >= threshold] if answer else []
    return overlay.annotation_shapes(annotations, classes) + overlay.instance_shapes(shown, classes)


def grid(ws: Workspace, folder: RunFolder, split: str, found: dict[str, Any]) -> None:
    """Thumbnails of the samples, those with the largest errors first; `only` in the URL narrows them to a kind of error."""
    only = st.query_params.get("only", "")
    rows = _behind(found, only)
    if only:
        look.linked(
            f"{look.chip(_words(found, only), icon='filter_alt')} "
            f"<span class='tg-soft'>{look.count(len(rows), 'sample')} of {len(found['samples']):,}</span> "
            f"{look.link('evaluate', 'show all', run=folder.id, split=split)}",
            key="judged-only",
        )
    samples, annotations = _truth(ws, found)
    answers = _answers(folder, split, found["key"])
    pages = max(1, -(-len(rows) // PAGE))
    page = st.pagination(pages, key="judged-page") if pages > 1 else 1
    tiles = []
    for row in rows[(page - 1) * PAGE : page * PAGE]:
        sample = samples[row["sample"]]
        picture = overlay.thumb(sample, _shapes(annotations.get(sample.id, []), answers.get(sample.id), found))
        caption = f'<div class="cap"><span>{escape(overlay.name_of(sample))}</span><span>{_marks(row)}</span></div>'
        narrowed = {"only": only} if only else {}
        tiles.append(
            look.link(
                "evaluate", picture + caption, css="tg-tile", run=folder.id, split=split, sample=sample.id, **narrowed
            )
        )
    st.html(
        f"{overlay.legend(found['predictor']['classes'])} <span class='tg-soft tg-small'>solid: drawn by people · dashed: found by the model</span>"
    )
    look.linked(f'<div class="tg-grid" style="--tile:170px">{"".join(tiles)}</div>', key="judged-grid")


def _behind(found: dict[str, Any], only: str) -> list[dict[str, Any]]:
    """The rows behind a figure, worst first. `only` is a type of error, TRUE>FOUND, `worst:LOW..HIGH` (the unit of
    `worst_sides`), `score:THRESHOLD[:CLASS]` (wrong if only answers from that score on counted), or '' for all."""
    rows: list[dict[str, Any]] = found["samples"]
    kind, colon, rest = only.partition(":")
    if not only:
        return rows
    if kind == "worst" and colon:
        low, high = _number(rest.partition("..")[0]), _number(rest.partition("..")[2])
        unit = _unit(found)
        return [row for row in rows if not row["missed"] and low <= row[f"worst_{unit}"] < high]
    if kind == "score" and colon:
        score, _, label = rest.partition(":")
        return [row for row in rows if _wrong_from(row, _number(score), label)]
    true, arrow, guess = only.partition(">")
    if arrow:
        cells = [c for c in found["confusion"]["cells"] if (c["true"], c["found"]) == (true, guess)]
    else:
        cells = [found["errors"][only]] if only in found["errors"] else []
    behind = {sample for cell in cells for sample in cell["samples"]}
    return [row for row in rows if row["sample"] in behind]


def _wrong_from(row: dict[str, Any], score: float, label: str) -> bool:
    """Whether a sample has a missed object or an extra one (of class `label`, or any) when answers count from `score` on."""
    missed = any(o["missed"] or o["score"] < score for o in row["objects"] if label in ("", o["label"]))
    return missed or any(e["score"] >= score for e in row["errors"] if label in ("", e["label"]))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(
            f"'{text}' is not a number", where="only= in the address", what_to_do="Open the samples from a chart."
        ) from None


def _words(found: dict[str, Any], only: str) -> str:
    kind, colon, rest = only.partition(":")
    if kind == "worst" and colon:
        low, _, high = rest.partition("..")
        return f"worst side {low} to {high} {_unit(found)}"
    if kind == "score" and colon:
        score, _, label = rest.partition(":")
        return f"wrong from score {look.number(_number(score))} on" + (f", {label}" if label else "")
    return only.replace(">", " taken for ")


def _unit(found: dict[str, Any]) -> str:
    """mm where every sample has a scale, else px."""
    return "mm" if all(row["worst_mm"] is not None for row in found["samples"] if not row["missed"]) else "px"


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
    only = st.query_params.get("only", "")
    rows = _behind(found, only)
    at = next((n for n, row in enumerate(rows) if row["sample"] == sample_id), None)
    if at is None:
        look.empty("No such sample", f"This evaluation has no sample {sample_id[:40]}.", icon="image_not_supported")
        return
    row = rows[at]
    samples, annotations = _truth(ws, found)
    answers = _answers(folder, split, found["key"])
    sample = samples[sample_id]
    with st.container(horizontal=True, vertical_alignment="center"):
        to = {"run": folder.id, "split": split, "only": only}
        if st.button("All samples", icon=":material/grid_view:"):
            state.go("evaluate", sample="", **to)
        if st.button("Previous", icon=":material/chevron_left:", disabled=at == 0, shortcut="Left"):
            state.go("evaluate", sample=rows[at - 1]["sample"], **to)
        if st.button("Next", icon=":material/chevron_right:", disabled=at == len(rows) - 1, shortcut="Right"):
            state.go("evaluate", sample=rows[at + 1]["sample"], **to)
        st.caption(f"{at + 1:,} of {len(rows):,}, worst first" + (f" · {_words(found, only)}" if only else ""))
    picture, facts = st.columns([9, 4], gap="medium")
    with picture:
        overlay.sample_viewer(
            sample, _shapes(annotations.get(sample_id, []), answers.get(sample_id), found), key=f"judged-{sample_id}"
        )
    with facts:
        st.html(f"<b>{look.clip(overlay.name_of(sample))}</b> <span class='tg-soft'>card {escape(row['card'])}</span>")
        look.table(
            ["class", "side", "error"],
            [cells for item in row["objects"] for cells in _side_rows(item, sample.mm_per_px)],
            key="judged-sides",
            right=(2,),
        )
        for wrong in row["errors"]:
            st.caption(f"extra: {wrong['label']}, score {wrong['score']:.2f} ({wrong['type']})")


def _side_rows(item: dict[str, Any], mm: float | None) -> list[list[str]]:
    def error(px: float) -> str:
        return look.number(abs(px) * mm, "mm") if mm else look.number(abs(px), "px")

    label, sides = look.clip(item["label"]), item["sides_px"]
    if sides is None:
        return [[label, "all", "missed"]]
    return [[label if n == 0 else "", side, error(sides[n])] for n, side in enumerate(SIDES)]


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


def distribution(found: dict[str, Any], *, opens: curves.Opens) -> None:
    """How the worst side of each sample is spread; a bar opens its samples."""
    unit = _unit(found)
    values = [row[f"worst_{unit}"] for row in found["samples"] if not row["missed"]]
    step, count = bins(max(values, default=0.0))
    edges = [round(n * step, 9) for n in range(count + 1)]
    counts = [sum(low <= value < high for value in values) for low, high in pairwise(edges)]
    fig = charts.figure("Worst side of each sample", x=f"error, {unit}", y="samples", height=240)
    fig.add_bar(
        x=[low + step / 2 for low in edges[:-1]],
        y=counts,
        width=0.94 * step,
        customdata=[
            f"worst:{low:g}..{high:g}" if n else None for n, (low, high) in zip(counts, pairwise(edges), strict=True)
        ],
        hovertext=[f"{low:g} to {high:g} {unit}" for low, high in pairwise(edges)],
        hovertemplate="%{hovertext}: %{y} samples<extra></extra>",
        marker_color=charts.PALETTE[0],
    )
    fig.update_layout(hovermode="closest", showlegend=False)
    charts.show(
        fig, key="evaluate-distribution", alt="distribution of the worst side error of each sample", opens=opens
    )
    if missed := len(found["samples"]) - len(values):
        st.caption(f"{look.count(missed, 'sample')} with a missed object: not drawn here.")


def bins(largest: float) -> tuple[float, int]:
    """(step, how many) of bars from 0 to beyond `largest`, at most BARS of a round step: 1, 2 or 5 times a power of ten."""
    rough = max(largest, 1e-6) / (BARS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * n for n in (1, 2, 5, 10) if power * n >= rough)
    count = math.floor(largest / step) + 1
    return step, count + (round(count * step, 9) <= largest)  # 0.29 / 0.01 is a hair below 29


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
