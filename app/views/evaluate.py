"""Evaluate: how good is it, and where is it wrong?"""

from __future__ import annotations

from functools import partial
from html import escape
from typing import Any, NoReturn

import streamlit as st

from app import curves, jobcard, judged, look, loop_bar, state
from trugrade_core.runs import RunFolder
from trugrade_core.schema import SPLITS
from trugrade_core.workflows import evaluating
from trugrade_core.workspace import Workspace

VIEWS = {
    "samples": "Samples, worst first",
    "sides": "Sides",
    "curves": "Curves",
    "errors": "Confusion and errors",
    "all": "All figures",
}


def main() -> None:
    ws = state.workspace()
    folders = [
        folder for folder in state.runs(ws)[: state.LISTED] if state.has_checkpoint(folder) or judged.splits(folder)
    ]
    with look.head("Evaluate") as right:
        pass
    if not folders:
        look.empty(
            "No model to judge yet",
            "A trained run is judged here on cards that it has never seen.",
            icon="fact_check",
            action=look.TRAIN,
        )
        return
    with look.errors("opening the evaluation"):
        folder, split = _choose(ws, folders)
        done = judged.splits(folder)
        sample = st.query_params.get("sample", "")
        if split in done and sample:
            judged.one(ws, folder, split, sample)
            return
        with right:
            _actions(ws, folder, split, judged.evaluation(ws, folder, split) if split in done else None)
        if job := st.query_params.get("job"):
            jobcard.show(job, done=lambda _found, _args: state.keep(job=""))
        if split in done:
            _report(ws, folder, split)
        else:
            look.empty(
                f"Not judged on {split} yet",
                "Evaluating predicts every card of the split once and keeps the answers.",
                icon="rule",
            )


def _choose(ws: Workspace, folders: list[RunFolder]) -> tuple[RunFolder, str]:
    by_id = {folder.id: folder for folder in folders}
    asked = ""
    if found := state.asked_run(ws):
        by_id[found.id] = found
        asked = found.id
    left, right = st.columns([4, 2], vertical_alignment="bottom")
    run = left.selectbox(
        "Run", list(by_id), index=list(by_id).index(asked) if asked else 0, key=f"evaluate-run-{asked}",
        format_func=lambda r: state.run_words(by_id[r]),
    )  # fmt: skip
    known = state.param("split", "test")
    split = right.segmented_control(
        "Split",
        ["test", "val", "train"],
        default=known if known in SPLITS else "test",
        required=True,
        key="evaluate-split",
    )
    if run != asked and asked:
        state.go("evaluate", run=run, split=split, sample="", job="")
    state.keep(run=run, split=split)
    now = state.status(by_id[run])
    if now.state != "finished":  # its checkpoint is of before the end
        st.html(look.badge(now.state, now.reason))
    return by_id[run], split


def _actions(ws: Workspace, folder: RunFolder, split: str, done: dict[str, Any] | None) -> None:
    again = st.button(
        f"Evaluate again on {split}" if done else f"Evaluate on {split}",
        type="secondary" if done else "primary",
        icon=":material/fact_check:",
    )
    if again:
        job = evaluating.start_evaluation(ws, folder.id, split=split, who=state.who())
        state.go("evaluate", run=folder.id, split=split, job=job.id)
    if done is None:
        return
    # What is not shown to beat the constant box may leave all the same, but nothing invites it to.
    inviting = "primary" if done["verdict"]["better"] else "secondary"
    if st.button("Export", type=inviting, icon=":material/deployed_code:"):
        state.go("export", run=folder.id)


# --- the report ---------------------------------------------------------------------------------------------------


def _report(ws: Workspace, folder: RunFolder, split: str) -> None:
    found = judged.evaluation(ws, folder, split)
    _verdict(found)
    asked = state.param("evaluate-view")
    # A figure opens its samples by `only` in the address: the view follows it, not what was chosen before.
    view = st.segmented_control(
        "View", list(VIEWS), format_func=VIEWS.__getitem__, default=asked if asked in VIEWS else "samples", required=True,
        label_visibility="collapsed", key=f"evaluate-view-{st.query_params.get('only', '')}",
    )  # fmt: skip
    state.keep(**{"evaluate-view": view})
    if view != "samples":
        state.keep(only="")
    if view == "samples":
        loop_bar.bar(ws, folder, split)
        judged.grid(ws, folder, split, found)
    elif view == "sides":
        judged.sides(found)
    elif view == "curves":
        _curves(found, partial(_open, folder, split))
    elif view == "errors":
        _errors(folder, split, found)
    else:
        judged.every_figure(found)


def _verdict(found: dict[str, Any]) -> None:
    verdict, metrics, baseline = found["verdict"], found["metrics"], found["baseline"]
    better = verdict["better"]
    state_word = "finished" if better else "stopped" if better is None else "failed"
    icon = look.icon("check_circle" if better else "warning")
    shifted = found.get("verdict_shifted", {}).get("text", "")
    name = verdict.get("metric", "side_error_mm")
    against = f"constant box {look.metric(name, baseline[name]['value'])}" if baseline else ""
    evidence = look.measured(metrics[name], look.metric_words(name)[1], against=against)
    st.html(
        f'<div><span class="tg-state {state_word}">{icon} {escape(look.sentence(verdict["text"]))}</span> '
        f'<span class="tg-num">{escape(evidence)}</span> '
        f'<span class="tg-soft">({escape(found["dataset"])}, {escape(found["split"])}). '
        f"On the shifted copy: {escape(shifted)}</span></div>"
    )
    names = ["side_error_mm", "side_error_mm_p95", "side_error_mm_shifted", "card_accuracy", "box_map", "f1"]
    if metrics["side_error_mm"]["value"] is None:
        names = ["side_error_px", *names[3:]]
    facts = []
    for name in names:
        cell = metrics.get(name, {})
        against = baseline.get(name, {}).get("value")
        note = look.metric_interval(name, cell)
        note += f" · constant box {look.metric(name, against)}" if against is not None else ""
        facts.append(
            (look.metric_words(name)[0], look.metric(name, cell.get("value")), note or cell.get("reason") or "")
        )
    st.html(look.facts(facts))
    proof = found["proof"]
    if proof["bound"] is not None:
        st.caption(
            f"{proof['right']} of {look.count(proof['cards'], 'card')} right: with 95 % confidence at least {100 * proof['bound']:.1f} % of such cards; "
            f"the goal is {100 * proof['goal']:.1f} %"
            + (", which is shown." if proof["shown"] else f", {100 * proof['distance']:.1f} points away.")
        )


def _open(folder: RunFolder, split: str, only: str) -> NoReturn:
    """The samples that a bar or point stands for."""
    state.go("evaluate", run=folder.id, split=split, only=only, **{"evaluate-view": "samples"})


def _curves(found: dict[str, Any], opens: curves.Opens) -> None:
    threshold = found["predictor"]["threshold"]
    judged.distribution(found, opens=opens)
    left, right = st.columns(2, gap="medium")
    with left:
        curves.precision_recall(found["curves"], key="evaluate", lowest=threshold, opens=opens)
    with right:
        curves.f1(found["curves"], key="evaluate", threshold=threshold, opens=opens)
    st.caption(
        "A bar opens its samples; a point of a curve those that would be wrong at its score, from the model's own "
        f"threshold {threshold:.2f} on."
    )


def _errors(folder: RunFolder, split: str, found: dict[str, Any]) -> None:
    left, right = st.columns(2, gap="medium")

    def samples(of: str, count: int) -> str:
        if not count:
            return "0"
        return look.link("evaluate", f"{count:,}", run=folder.id, split=split, only=of, **{"evaluate-view": "samples"})

    with left:
        curves.confusion(
            found["confusion"]["matrix"],
            found["predictor"]["classes"],
            key="evaluate-confusion",
            opens=partial(_open, folder, split),
        )
        rows = [
            [escape(c["true"]), escape(c["found"]), samples(f"{c['true']}>{c['found']}", c["count"]), _counts(c)]
            for c in found["confusion"]["cells"]
        ]
        look.table(["true", "found", "objects", "95 % interval"], rows, key="evaluate-cells", right=(2,))
    with right:
        st.subheader("Errors by type")
        rows = [[kind, samples(kind, cell["count"]), _counts(cell)] for kind, cell in found["errors"].items()]
        look.table(["type", "objects", "95 % interval"], rows, key="evaluate-errors", right=(1,))
        st.caption("A count opens its samples, and so does a cell of the confusion.")


def _counts(cell: dict[str, Any]) -> str:
    return "" if cell["low"] is None else f"{cell['low']:g} to {cell['high']:g}"


main()
