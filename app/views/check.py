"""Check: can I trust this data?"""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path

import streamlit as st

from app import alike_panel, check_panels, jobcard, look, state
from trugrade_core.tasks import TASKS
from trugrade_core.workflows import checking, creating
from trugrade_core.workspace import Workspace

NOW = "as it is now"
OWN = "the dataset's own"
NO_TASK = "no task yet"


def main() -> None:
    ws = state.workspace()
    names = state.dataset_names(ws)
    check_panels.style()
    if not names:
        with look.head("Check"):
            pass
        look.empty(
            "No dataset to check yet",
            "Labels, balance, pictures, coverage and files of a dataset are judged here, before hours of training.",
            icon="rule",
            action=look.IMPORT,
            view="import",
        )
        return
    with look.errors("opening the check"):
        _one(ws, names)


def _one(ws: Workspace, names: list[str]) -> None:
    asked, _, version = state.param("dataset").partition("@")
    name = asked if asked in names else names[0]
    known = state.version_names(ws, name)
    version = version if version in known else ""
    with look.head("Check", chips=[look.chip(name, icon="photo_library", page="datasets", dataset=name)]) as right:
        pass
    target, task = _choose(ws, names, name, known, version)
    report = checking.report(ws, target, task or None) if task else checking.report(ws, target)
    with right:
        _actions(ws, target, task, report)
    if job := st.query_params.get("job"):
        jobcard.show(job, done=lambda _found, _args: state.keep(job=""))
        report = checking.report(ws, target, task or None)
    if report is None:
        look.empty(
            "Not checked yet",
            "A check reads every picture once and holds labels, balance, coverage and files against what the task needs.",
            icon="rule",
        )
        return
    if report["stale"]:
        since = look.ago(datetime.fromisoformat(report["stale"]).timestamp())
        st.warning(
            f"The dataset has changed since this check ({since}): what stands below is of before.",
            icon=":material/history:",
        )
    chosen = st.query_params.get("check", "")
    chosen = chosen if chosen in report["checks"] else ""
    check_panels.verdict(report)
    check_panels.tiles(report, target, chosen)
    check_panels.findings(ws, report, target, chosen)
    if target == name:
        alike_panel.show(ws, name)
    else:
        way = look.link("check", f"{name} as it is now", dataset=name, task=task)
        look.linked(
            f'<span class="tg-soft">Look-alikes are of a dataset, not of a version: look at</span> {way}',
            key="check-alike-way",
        )


def _choose(ws: Workspace, names: list[str], name: str, known: list[str], version: str) -> tuple[str, str]:
    """(NAME or NAME@V, task or ''), kept in the address."""
    left, middle, right = st.columns([3, 2, 3])
    chosen = left.selectbox("Dataset", names, index=names.index(name), key=f"check-dataset-{name}")
    versions = [NOW, *known]
    at = middle.selectbox(
        "Version", versions, index=versions.index(version or NOW), key=f"check-version-{name}-{version}"
    )
    asked = state.param("task")
    tasks, own = [OWN, *TASKS], creating.describe(ws, name)["task"]
    task = right.selectbox(
        "Fit for", tasks, index=tasks.index(asked) if asked in TASKS else 0, key=f"check-task-{asked}",
        format_func=lambda t: (OWN if own else NO_TASK) if t == OWN else f"{TASKS[t].title} · {t}",
    )  # fmt: skip
    if task == OWN and not own:
        st.caption("This dataset has no task yet, so only what holds for every task is judged. Choose one above to judge it "
                   "for that, or say what the dataset is for on its page, under Guidelines.")  # fmt: skip
    target = chosen if at == NOW or chosen != name else f"{chosen}@{at}"
    task = "" if task == OWN else task
    if target != (f"{name}@{version}" if version else name) or task != (asked if asked in TASKS else ""):
        state.go("check", dataset=target, task=task, check="", job="")
    state.keep(dataset=target, task=task)
    return target, task


def _actions(ws: Workspace, target: str, task: str, report: check_panels.Report | None) -> None:
    if report is not None:
        st.download_button(
            "Report", data=lambda: _html(ws, target, report["task"] or ""), file_name=f"{target.replace('@', '-')}-check.html",
            mime="text/html", icon=":material/description:", on_click="ignore", key="check-report",
            help="One page with the verdict, each finding and its pictures; nothing in it is loaded from elsewhere.",
        )  # fmt: skip
        version = target if "@" in target else next(iter(f"{target}@{v}" for v in state.version_names(ws, target)), "")
        if (
            version
            and report["verdict"] != "not_fit"
            and st.button("Train on it", icon=":material/tune:", key="check-train")
        ):
            state.go("train", dataset=version)
    whole = report is not None and report["deep"] and not report["stale"]
    words = "Check" if report is None else "Check again"
    if st.button(words, type="secondary" if whole else "primary", icon=":material/rule:", key="check-start"):
        with look.errors("starting the check"):
            job = checking.start_check(ws, target, task=task, who=state.who())
            state.go("check", dataset=target, task=task, job=job.id)


def _html(ws: Workspace, target: str, task: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return checking.write_html(ws, target, Path(folder) / "check.html", task).read_bytes()


main()
