"""Home: what needs me now?"""

from __future__ import annotations

import shutil
from html import escape
from pathlib import Path
from typing import Any

import streamlit as st

from app import charts, jobcard, look, state
from trugrade_core.runs import RunFolder, Status
from trugrade_core.workflows import demo, doctor
from trugrade_core.workspace import Workspace

LATELY = 8
LOOKED_AT = 60


def main() -> None:
    ws = state.workspace()
    datasets = state.dataset_rows(ws)
    folders = sorted(state.runs(ws) + state.jobs(ws), key=lambda folder: folder.id, reverse=True)
    if not datasets and not folders:
        _welcome(ws)
        return
    with look.head("Home"):
        if st.button("Run the demo", icon=":material/play_arrow:"):
            _start_demo(ws)
        if datasets and st.button("Train a model", type="primary", icon=":material/tune:"):
            state.go("train")
    if job_id := st.query_params.get("job"):
        jobcard.show(job_id, done=_result)
    _going_on()
    _datasets(datasets, folders)
    _lately(ws, folders)
    _machine(ws)


def _welcome(ws: Workspace) -> None:
    with look.head("Home"):
        pass
    look.empty(
        "An empty lab",
        "Datasets, trainings and models will stand here. The demo makes cards, trains on them, judges, exports and reports, "
        "in some minutes.",
        icon="view_in_ar",
    )
    with st.container(horizontal=True, horizontal_alignment="center"):
        if st.button("Run the demo", type="primary", icon=":material/play_arrow:"):
            _start_demo(ws)
        if st.button("Import images", icon=":material/upload:"):
            state.go("datasets", view="import")
    _machine(ws)


def _start_demo(ws: Workspace) -> None:
    job = demo.start_demo(ws, who=state.who())
    state.go("home", job=job.id)


def _result(found: dict[str, Any], _args: dict[str, Any]) -> None:
    """What a job came to; a demo's in words, any other's as it is."""
    if "report" in found and "baseline" in found:
        name = "side_error_mm"
        side, against = found["metrics"].get(name) or {}, found["baseline"].get(name) or {}
        passed = found["parity"]["passed"]
        st.html(
            look.facts(
                [
                    ("side error, median", look.metric(name, side.get("value")), look.metric_interval(name, side)),
                    ("constant box", look.metric(name, against.get("value")), "needs no model"),
                    ("artifact", "agrees" if passed else "does not agree", "with the trained model"),
                    ("took", look.duration(found["seconds"]), ""),
                ]
            )
        )
        st.caption(f"Report: {found['report']}")
        with st.container(horizontal=True):
            if st.button("Look at the evaluation", type="primary", icon=":material/fact_check:"):
                state.go("evaluate", run=found["run"], split="test", job="")
            report = Path(found["report"])
            if report.exists():
                st.download_button(
                    "Report",
                    report.read_bytes(),
                    report.name,
                    "text/html",
                    icon=":material/download:",
                    on_click="ignore",
                )
        return
    with st.expander("Result", icon=":material/data_object:"):
        st.json(found)


# --- what goes on -------------------------------------------------------------------------------------------------


@st.fragment(run_every=2.0)
def _going_on() -> None:
    ws = state.workspace()
    live = state.live(ws)
    if st.session_state.get("home-live", len(live)) > len(live):
        st.session_state["home-live"] = len(live)
        st.rerun()  # something has ended: it belongs to the lists below now
    st.session_state["home-live"] = len(live)
    if live:
        st.subheader("Going on")
        look.table(
            ["state", "job", "progress", "loss", "next"], [_live_row(ws, *pair) for pair in live], key="home-going-on"
        )


def _live_row(ws: Workspace, folder: RunFolder, now: Status) -> list[str]:
    share, text = jobcard.progress(folder)
    curve = state.journal(folder).curves().get("train/loss")
    color = charts.run_color(ws, folder.id)
    spark = charts.spark([v for v in curve["value"] if v is not None], color) if curve else ""
    job = state.job(folder)
    is_run = job.get("kind") == "train"
    title = look.clip(jobcard.title(folder))
    return [
        look.badge(now.state),
        look.link("monitor", title, run=folder.id) if is_run else look.link("home", title, job=folder.id),
        look.bar(share, text)
        if now.state == "running"
        else f'<span class="tg-soft">{escape(now.reason or "waiting")}</span>',
        spark,
        look.link("monitor", "watch", run=folder.id) if is_run else look.link("home", "watch", job=folder.id),
    ]


# --- what is here -------------------------------------------------------------------------------------------------


def _datasets(rows: list[dict[str, Any]], folders: list[RunFolder]) -> None:
    st.subheader("Datasets")
    if not rows:
        look.empty(
            "No dataset yet",
            "A dataset is a set of card scans with what is drawn on them.",
            icon="photo_library",
            action=look.IMPORT,
            view="import",
        )
        return
    trained = {str(state.job(folder).get("dataset", "")).partition("@")[0] for folder in folders}
    look.table(
        ["dataset", "cards", "samples", "labelled", "newest version", "next"],
        [
            [
                look.link("datasets", look.clip(row["name"]), dataset=row["name"], sample=""),
                f"{row['cards']:,}",
                f"{row['samples']:,}",
                look.labelled(row),
                look.newest_version(row),
                _next_step(row, row["name"] in trained),
            ]
            for row in rows[:50]
        ],
        key="home-datasets",
        right=(1, 2),
    )


def _next_step(row: dict[str, Any], trained: bool) -> str:
    name = row["name"]
    if not row["samples"] or not row["labelled"]:
        word = "bring its labels" if row["samples"] else "import images"
        return look.link("datasets", word, dataset=name, view="import", sample="")
    if not row["version"]:
        return look.link("datasets", "split it", dataset=name, view="versions", sample="")
    return look.link("train", "train again" if trained else "train on it", dataset=f"{name}@{row['version']}")


def _lately(ws: Workspace, folders: list[RunFolder]) -> None:
    ended = [(folder, now) for folder in folders[:LOOKED_AT] if not (now := state.status(folder)).live]
    if not ended:
        return
    ended = sorted(ended, key=lambda pair: -pair[1].t)[:LATELY]
    st.subheader("Lately")
    look.table(
        ["state", "job", "headline", "when", "next"],
        [_ended_row(ws, folder, now) for folder, now in ended],
        key="home-lately",
    )


def _ended_row(ws: Workspace, folder: RunFolder, now: Status) -> list[str]:
    job = state.job(folder)
    title = look.clip(jobcard.title(folder))
    when = f'<span class="tg-num" title="{folder.id}">{look.ago(now.t)}</span>'
    failed = f'<span class="tg-soft">{look.clip(now.reason)}</span>' if now.state != "finished" else ""
    if job.get("kind") != "train":
        word = "see why" if now.state in ("failed", "crashed") else "result"
        opened = look.link("home", title, job=folder.id)
        return [look.badge(now.state), opened, failed, when, look.link("home", word, job=folder.id)]
    row = state.run_row(folder)
    ended_well = now.state in ("finished", "stopped")
    following = ("evaluate", "evaluate") if ended_well else ("monitor", "see why")
    dot = f'<span class="tg-dot" style="background:{charts.run_color(ws, folder.id)}"></span> '
    return [
        look.badge(now.state),
        dot + look.link("monitor", title, run=folder.id),
        look.headline(row) if ended_well else failed,
        when,
        look.link(following[0], following[1], run=folder.id),
    ]


def _machine(ws: Workspace) -> None:
    disk = shutil.disk_usage(ws.root)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{look.size(disk.free)} free of {look.size(disk.total)} on the workspace's disk · {ws.root}")
        if st.button("What this machine can do", type="tertiary", icon=":material/stethoscope:"):
            _doctor(ws)


@st.dialog("What this machine can do", width="large")
def _doctor(ws: Workspace) -> None:
    signs = {"ok": "finished", "limited": "stopped", "missing": "failed"}
    icons = {"ok": "check_circle", "limited": "info", "missing": "block"}
    rows = [
        [
            f'<span class="tg-state {signs[row["state"]]}">{look.icon(icons[row["state"]], row["state"])}</span>',
            escape(row["what"]),
            f'{escape(row["detail"])}<div class="tg-soft tg-small">{escape(row["what_to_do"])}</div>',
        ]
        for row in doctor.examine(ws)
    ]
    look.table(["", "", ""], rows, key="doctor")


main()
