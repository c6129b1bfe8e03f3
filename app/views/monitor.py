"""Monitor: is it going well?"""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import charts, curves, jobcard, look, run_panels, state
from trugrade_core.runs import RunFolder, Status
from trugrade_core.workflows import training
from trugrade_core.workspace import Workspace, read_json

VIEWS = {
    "curves": "Curves",
    "validation": "Validation",
    "resources": "Resources",
    "plan": "Plan and configuration",
    "log": "Log",
    "tensorboard": "TensorBoard",
}
LOSSES: tuple[str, ...] = ("train/loss", "val/loss")
WAITING = 0.1  # share of a step spent waiting for data above which the loader is what limits a run


def main() -> None:
    ws = state.workspace()
    folders = state.runs(ws)
    if not folders:
        with look.head("Monitor"):
            pass
        look.empty(
            "No training yet",
            "Losses, metrics, learning rate and resources of a training will stand here, live.",
            icon="monitoring",
            action=look.TRAIN,
        )
        return
    with look.errors("opening the run"):
        going = next((folder for folder in folders if state.status(folder).live), folders[0])
        _run(ws, state.asked_run(ws) or going, folders)


def _run(ws: Workspace, folder: RunFolder, folders: list[RunFolder]) -> None:
    now, row = state.status(folder), state.run_row(folder)
    chips = [look.badge(now.state, now.reason if now.state == "stopped" else "")]
    if dataset := row["dataset"]:
        name = dataset.partition("@")[0]
        chips.append(look.chip(dataset, icon="photo_library", page="datasets", dataset=name, view="versions"))
    if row["architecture"]:
        chips.append(look.chip(row["architecture"], icon="hub"))
    if row["random_init"]:
        chips.append(look.chip("random start", icon="casino"))
    with look.head("Monitor", chips=chips):
        _actions(ws, folder, now)
    _choose(folder, folders)
    if now.state in ("failed", "crashed"):
        look.error(jobcard.failure(folder, now))
    live = now.live
    st.fragment(_top, run_every=2.0 if live else None)(folder)
    asked = state.param("view")
    view = st.segmented_control(
        "View", list(VIEWS), format_func=VIEWS.__getitem__, default=asked if asked in VIEWS else "curves", required=True,
        label_visibility="collapsed", key="monitor-view",
    )  # fmt: skip
    state.keep(view=view)
    if view in ("curves", "resources", "log", "validation"):
        st.fragment(_live_view, run_every=(2.0 if view != "validation" else 10.0) if live else None)(ws, folder, view)
    elif view == "plan":
        run_panels.plan(folder)
    else:
        run_panels.tensorboard(ws, folder, folders[: state.LISTED])


def _choose(folder: RunFolder, folders: list[RunFolder]) -> None:
    shown = folders[: state.LISTED] if folder in folders[: state.LISTED] else [folder, *folders[: state.LISTED]]

    def words(f: RunFolder) -> str:
        return f"{state.run_words(f)} · {state.status(f).state}"

    chosen = st.selectbox(
        "Run",
        shown,
        index=shown.index(folder),
        format_func=words,
        key=f"monitor-run-{folder.id}",
        label_visibility="collapsed",
    )
    if chosen != folder:
        state.go("monitor", run=chosen.id)
    state.keep(run=folder.id)


def _actions(ws: Workspace, folder: RunFolder, now: Status) -> None:
    who = state.who()
    if now.live:
        if st.button("Save now", icon=":material/save:", disabled=now.state == "queued"):
            training.control(ws, folder.id, "save", who=who)
            st.toast("It saves after its step.")
        with st.popover("Discard", icon=":material/delete:"):
            st.caption("Stops the run and moves all of it to the trash.")
            if st.button("Stop and discard"):
                training.control(ws, folder.id, "discard", who=who)
                st.toast("It stops after its step.")
        if st.button("Stop and keep", type="primary", icon=":material/stop_circle:"):
            training.control(ws, folder.id, "stop", who=who)
            st.toast("It stops after its step and keeps its checkpoints.")
        return
    with st.popover("Remove", icon=":material/delete:"):
        st.caption("Moves the run to the workspace's trash.")
        if st.button("Move to the trash"):
            training.remove(ws, folder.id)
            state.go("monitor", run="")
    if now.state in ("stopped", "failed", "crashed") and st.button("Resume", icon=":material/resume:"):
        with look.errors("resuming"):
            training.resume(ws, folder.id)
            st.rerun()
    if st.button("Evaluate", type="primary", icon=":material/fact_check:", disabled=not state.has_checkpoint(folder)):
        state.go("evaluate", run=folder.id)


# --- what is said at the top --------------------------------------------------------------------------------------


def _top(folder: RunFolder) -> None:
    now = state.status(folder)
    if st.session_state.get(f"monitor-state-{folder.id}", now.state) != now.state:
        st.session_state[f"monitor-state-{folder.id}"] = now.state
        st.rerun()
    st.session_state[f"monitor-state-{folder.id}"] = now.state
    journal = state.journal(folder)
    if now.state == "queued":
        st.info(now.reason or "Waits for its device.", icon=":material/schedule:")
    if now.state == "running":
        share, text = jobcard.progress(folder)
        st.progress(share, text=text)
    eta, wait = journal.eta(), journal.wait_share()
    facts = [_headline(folder)]
    if now.live:
        left = look.time_left(eta["seconds"]) if eta["seconds"] is not None else "not known yet"
        low, high = eta["low_seconds"], eta["high_seconds"]
        spread = (
            f"{look.time_left(low)} to {look.time_left(high)}"
            if low is not None and high is not None
            else eta["reason"]
        )
        facts.append(("time left", left, spread))
    facts.append(
        ("speed", look.number(journal.throughput(), "images/s") if journal.throughput() else "not measured", "")
    )
    if wait is not None:
        verdict = "loading images" if wait > WAITING else "computing"
        facts.append(("what limits it", verdict, f"{100 * wait:.0f} % of a step waits for data"))
    saved = journal.checkpoints[-1] if journal.checkpoints else None
    facts.append(("saved", f"step {saved['step']}" if saved else "nothing yet", look.ago(saved["t"]) if saved else ""))
    st.html(look.facts(facts))


def _headline(folder: RunFolder) -> tuple[str, str, str]:
    row = state.run_row(folder)
    name = row["main_metric_name"] or "side_error_mm"
    latest = state.journal(folder).latest(f"val/{name}")
    best = row["main_metric"]
    notes = [f"best {look.metric(name, best)} at epoch {row['epoch']}"] if best is not None else []
    baseline = _baseline(folder, name)
    notes.append(
        f"constant box on {baseline[0]} {look.metric(name, baseline[1])}"
        if baseline
        else "constant box: evaluate to see it"
    )
    return f"{look.metric_words(name)[0]}, validation", look.metric(name, latest), " · ".join(notes)


def _baseline(folder: RunFolder, name: str) -> tuple[str, float] | None:
    """(split, the constant box's value of the metric) of an evaluation, that of the validation split before any other."""
    for split in ("val", "test"):
        path = folder.path / "evaluation" / split / "evaluation.json"
        found = read_json(path)["baseline"].get(name, {}) if path.exists() else {}
        if found.get("value") is not None:
            return split, found["value"]
    return None


# --- views --------------------------------------------------------------------------------------------------------


def _live_view(ws: Workspace, folder: RunFolder, view: str) -> None:
    journal = state.journal(folder)
    if view == "log":
        run_panels.log(folder)
        return
    last = max((points[max(points)][1]["t"] for points in journal.points.values()), default=None)
    corner = charts.freshness(state.status(folder), last)
    if view == "resources":
        curves.resources(folder, corner=corner, no_gpu=state.machine().gpu_reason)
    elif view == "validation":
        _validation(folder)
    else:
        _curves(ws, folder, corner)


def _curves(ws: Workspace, folder: RunFolder, corner: str) -> None:
    found = curves.of_runs([folder])
    names = curves.names(found)
    if not names:
        look.empty("No point yet", "The first step's losses will stand here.", icon="show_chart")
        return
    name = state.run_row(folder)["main_metric_name"] or ""
    main, baseline = f"val/{name}", _baseline(folder, name)
    losses = [name for name in LOSSES if name in names]
    parts = [name for name in names if name.startswith("train/") and name not in losses]
    rest = [name for name in names if name not in (*losses, *parts, main, "lr") and not name.startswith("val/loss")]
    sheets: list[tuple[str, list[str]]] = [
        ("Loss", losses),
        (look.chart_title(main), [main]),
    ]
    sheets += [("Learning rate", ["lr"]), ("Loss components, training", parts)]
    sheets += [(look.chart_title(name), [name]) for name in rest]
    with st.container(horizontal=True, vertical_alignment="center"):
        log = st.toggle("Log axis", key="monitor-log")
        charts.download(curves.rows(found), name=f"{folder.id}-curves", label="All points as CSV")
    cells = st.columns(2, gap="medium")
    for n, (title, wanted) in enumerate((t, w) for t, w in sheets if set(w) & set(names)):
        with cells[n % 2]:
            curves.draw(
                ws,
                found,
                wanted,
                title,
                key=f"curve-{wanted[0]}",
                corner=corner,
                log=log,
                reference=baseline[1] if baseline and wanted == [main] else None,
            )


def _validation(folder: RunFolder) -> None:
    events = state.journal(folder).validations
    if not events:
        look.empty("No validation yet", "After each validation its curves and confusion stand here.", icon="fact_check")
        return
    epochs = [event["epoch"] for event in events]
    epoch = (
        st.select_slider("Epoch", epochs, value=epochs[-1], key=f"monitor-epoch-{folder.id}")
        if len(epochs) > 1
        else epochs[0]
    )
    report: dict[str, Any] = read_json(folder.path / events[epochs.index(epoch)]["file"])
    left, middle, right = st.columns(3)
    with left:
        curves.precision_recall(report, key="monitor")
    with middle:
        curves.f1(report, key="monitor", threshold=report.get("threshold"))
    with right:
        curves.confusion(report["confusion"], list(report["classes"]), key="monitor-confusion")


main()
