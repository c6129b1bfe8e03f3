"""Train: what shall run?"""

from __future__ import annotations

import json
from collections.abc import Callable
from html import escape
from typing import Any

import streamlit as st

from app import augment_panel, forms, jobcard, like_panel, look, page_words, state
from trugrade_core.config import RunConfig
from trugrade_core.data.store import Dataset
from trugrade_core.models import ARCHITECTURES, why_not, why_untrainable
from trugrade_core.tasks import TASKS
from trugrade_core.train.plan import Estimate
from trugrade_core.workflows import creating, datasets, training
from trugrade_core.workspace import Workspace


def main() -> None:
    ws = state.workspace()
    with look.head("Train") as right:
        beside, launch = right.empty(), right.empty()
    names = state.dataset_names(ws)
    if not names:
        look.empty(
            "No dataset version yet",
            "A training stands on a version: labelled cards, split into train, val and test.",
            icon="sell",
            action=("Go to the datasets", "photo_library", "datasets"),
        )
        _queue(ws)
        return
    dataset, linked = _data(ws, names)
    task, architecture = _architecture(ws, dataset, linked) if "@" in dataset else ("", "")
    if not architecture:
        return
    config, random_init = _configuration(ws, dataset, task, architecture)
    against = _plan(ws, config, random_init) if config else "the configuration has mistakes"
    if against:
        beside.html(f'<div class="tg-soft tg-why" title="{escape(against)}">Not yet: {escape(against)}</div>')
    if launch.button("Launch", type="primary", icon=":material/rocket_launch:", disabled=bool(against), key="launch"):
        assert config is not None  # noqa: S101 (else something is against it)
        with look.errors("starting the training"):
            folder = training.start(ws, config, random_init=random_init, who=state.who())
            state.go("monitor", run=folder.id)
    _queue(ws)


def _step(number: int, title: str, said: str = "") -> None:
    st.html(
        f'<h3><span class="tg-soft">{number}</span>&ensp;{escape(title)} <span class="tg-soft tg-small">{said}</span></h3>'
    )


# --- 1 and 2: data and architecture -------------------------------------------------------------------------------


def _data(ws: Workspace, names: list[str]) -> tuple[str, bool]:
    """The chosen version, or the name of a dataset that has none yet; and whether the address asked for that one."""
    _step(1, "Data")
    versions = state.all_versions(ws)
    listed = [*versions, *(name for name in names if not any(v.startswith(f"{name}@") for v in versions))]
    wanted = state.param("dataset")
    if wanted and "@" not in wanted:
        wanted = next((name for name in listed if name.startswith(f"{wanted}@")), wanted)
    left, right = st.columns([2, 3], vertical_alignment="center")
    found = left.selectbox(
        "Dataset version",
        listed,
        index=listed.index(wanted) if wanted in listed else 0,
        format_func=lambda name: name if "@" in name else f"{name} (no version yet)",
        key="train-data",
        label_visibility="collapsed",
    )
    linked = st.query_params.get("dataset") in (found, found.partition("@")[0])
    state.keep(dataset=found)
    name, _, number = found.partition("@")
    if not number:
        _no_version(ws, name, right)
        return found, linked
    with look.errors("reading the version"):
        splits = Dataset.open(ws, name).manifest(number).splits
        right.caption(
            " · ".join(
                f"{split} {look.count(n['samples'], 'sample')} of {look.count(n['cards'], 'card')}"
                for split, n in splits.items()
            )
        )
    with st.container(horizontal=True):
        for label, icon, page, params in (
            ("Explore it", "grid_view", "datasets", {"dataset": name, "view": "browse"}),
            ("Quality verdict", "rule", "check", {"dataset": found}),
            ("Splits", "call_split", "datasets", {"dataset": name, "view": "versions", "part": "split"}),
        ):
            if st.button(label, icon=f":material/{icon}:", type="tertiary", key=f"train-{page}-{icon}"):
                state.go(page, **params)
    return found, linked


def _no_version(ws: Workspace, name: str, right: Any) -> None:
    counts = next((row for row in state.dataset_rows(ws) if row["name"] == name), None)
    if not counts or not counts["samples"]:
        right.caption("It has no images yet.")
        if right.button("Bring images", icon=":material/upload:", type="primary"):
            state.go("datasets", dataset=name, view="import")
        return
    right.caption(
        f"{look.count(counts['samples'], 'sample')}, {counts['labelled']:,} labelled; a training stands on a version of them."
    )
    if right.button("Split and keep a version", icon=":material/call_split:", type="primary"):
        with look.errors("splitting"):
            made = datasets.split_dataset(ws, name)
            state.go("train", dataset=f"{name}@{made['version']}")


def _architecture(ws: Workspace, dataset: str, linked: bool) -> tuple[str, str]:
    _step(2, "What to learn, and with which architecture")
    name = dataset.partition("@")[0]
    own = creating.describe(ws, name)
    tasks = training.ready_tasks([c["name"] for c in own["classes"]])
    if own["task"] in TASKS and own["task"] not in tasks:
        reason = why_untrainable(TASKS[own["task"]])
        look.empty(
            "This dataset cannot be trained on yet",
            f"It was made for {TASKS[own['task']].title}: {reason}.",
            icon="block",
        )
        return own["task"], ""
    # A link's words come first, then what the dataset was made for, then what this session used last.
    asked = (linked and st.query_params.get("task")) or own["task"] or state.param("task")
    left, right = st.columns(2, gap="medium")
    task = left.segmented_control(
        "Task",
        tasks,
        format_func=lambda t: TASKS[t].title,
        default=asked if asked in tasks else tasks[0],
        required=True,
        key=f"train-task-{name}",
    )
    row = TASKS[task]
    facts = (("precision", row.precision), ("speed", row.speed), ("needs", row.input), ("gives", ", ".join(row.output)))
    left.caption(f"{row.description} " + " · ".join(f"{name}: {text}" for name, text in facts))
    reasons = {architecture: why_not(architecture) for architecture in row.architectures}
    here = [architecture for architecture, reason in reasons.items() if not reason]
    if not here:
        look.empty("No architecture can run here", "; ".join(filter(None, reasons.values())), icon="block")
        return task, ""
    asked = (linked and st.query_params.get("architecture")) or own["architecture"] or state.param("architecture")
    chosen = right.segmented_control(
        "Architecture",
        here,
        default=asked if asked in here else here[0],
        required=True,
        key=f"train-architecture-{name}-{task}",
    )
    state.keep(task=task, architecture=chosen)
    arch = ARCHITECTURES[chosen]
    right.caption(f"Gives {' and '.join(arch.outputs)} · licence {arch.licence}")
    for architecture, reason in reasons.items():
        if reason:
            right.caption(f":material/block: **{architecture}** cannot run here: {reason}")
    return task, chosen


# --- 3: configuration ---------------------------------------------------------------------------------------------


def _configuration(ws: Workspace, dataset: str, task: str, architecture: str) -> tuple[RunConfig | None, bool]:
    like = like_panel.asked(ws, dataset, task, architecture)
    _step(3, "Configuration", like_panel.words(like))
    history = not st.session_state.get("train-ignore-history", False)
    key = f"train:{dataset}:{task}:{architecture}:{history}" + (f":{like}" if like else "")
    with look.errors("suggesting a configuration"):
        if key not in st.session_state:
            with st.spinner("Looking at the data"):
                found = training.suggest(ws, dataset, task, architecture=architecture, ignore_history=not history)
            flat = {k: v for k in forms.FIELDS if (v := training.dotted(found["config"], k)) is not None}
            st.session_state[key] = forms.Editing(flat, found["reasons"])
            if like:
                like_panel.take(ws, st.session_state[key], like, dataset)
        editing: forms.Editing = st.session_state[key]
        classes = state.dataset(ws, dataset.partition("@")[0]).classes
        config = forms.edit(editing, key=key, architectures=[architecture], classes=classes)
        _reasons(editing)
        if config is not None and st.toggle(
            "Look at the augmentation", key="train-augmentation", help="What a training will see of a sample, live."
        ):
            augment_panel.show(ws, editing, config, key)
        with st.container(horizontal=True):
            random_init = st.toggle(
                "Go on without missing weights",
                key="train-random-init",
                help="Starts from random weights; the run is marked so.",
            )
            st.toggle(
                "Ignore earlier runs", key="train-ignore-history", help="Suggest from the data and the machine alone."
            )
        return config, random_init
    return None, False


def _reasons(editing: forms.Editing) -> None:
    with st.expander(f"Why these values: {look.count(len(editing.reasons), 'reason')}", icon=":material/lightbulb:"):
        look.table(
            ["key", "suggested", "now", "why"],
            [
                [
                    look.dotted(key),
                    escape(str(editing.suggested.get(key))),
                    escape(str(editing.values.get(key))) if editing.changed(key) else "",
                    escape(why),
                ]
                for key, why in editing.reasons.items()
                if key in forms.FIELDS
            ],
            key="train-reasons",
        )


# --- 4: plan ------------------------------------------------------------------------------------------------------


def _plan(ws: Workspace, config: RunConfig, random_init: bool) -> str:
    """Draw what will become of each key, and give what stands against a launch, or ''."""
    _step(4, "Plan", "what will become of each key on this machine")
    with look.errors("planning"):
        found = state.plan(ws, config, random_init=random_init)
        rows = found["plan"]
        by_status = {s: [k for k, e in rows.items() if e["status"] == s] for s in ("refused", "adapted", "used")}
        _estimated(ws, config, random_init, found, by_status)
        loud = by_status["refused"] + by_status["adapted"]
        if loud:
            _plan_table(rows, loud, "plan-loud")
        with st.expander(f"All {len(rows)} keys"):
            _plan_table(rows, list(rows), "plan-all")
        return "; ".join(f"{key}: {page_words.said(rows[key]['reason'])}" for key in by_status["refused"])
    return "the plan could not be made"


def _estimated(
    ws: Workspace, config: RunConfig, random_init: bool, found: dict[str, Any], by_status: dict[str, list[str]]
) -> None:
    """The plan in figures; time, memory and disk once they have been estimated for just this configuration."""
    estimate = state.estimate(ws, config, random_init=random_init, probe=False)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.html(look.facts(_facts(found, by_status, estimate)), width="stretch")
        pressed = not estimate and st.button(
            "Estimate",
            icon=":material/timer:",
            key="train-estimate",
            disabled=bool(by_status["refused"]),
            help="Time, memory and disk, from a few steps in a process of their own. Takes ten seconds to a minute on a CPU.",
        )
    if pressed:
        with look.errors("estimating"), st.spinner("A few steps are being tried: ten seconds to a minute on a CPU"):
            state.estimate(ws, config, random_init=random_init, probe=True)
            st.rerun()


def _facts(
    found: dict[str, Any], by_status: dict[str, list[str]], estimate: Estimate | None
) -> list[tuple[str, str, str]]:
    def of(value: float | None, words: Callable[[float], str]) -> str:
        return "not estimated" if estimate is None else "not known" if value is None else words(value)

    known: Any = estimate or {}
    return [
        ("time", of(known.get("seconds"), look.duration), known.get("source", "")),
        ("peak memory", of(known.get("peak_memory_bytes"), look.size), ""),
        ("disk", of(known.get("disk_bytes"), look.size), ""),
        ("device", escape(found["accelerator"]), look.count(found["devices"], "device")),
        (
            "keys",
            f"{len(by_status['used'])} used",
            f"{len(by_status['adapted'])} adapted, {len(by_status['refused'])} refused",
        ),
    ]


def _plan_table(rows: dict[str, Any], keys: list[str], key: str) -> None:
    def words(value: Any) -> str:
        return look.wrap("none" if value is None else value if isinstance(value, str) else json.dumps(value))

    look.table(
        ["", "key", "asked", "becomes", "why"],
        [
            [
                look.badge(rows[k]["status"]),
                look.dotted(k),
                words(rows[k]["asked"]),
                words(rows[k]["value"]),
                look.wrap(page_words.said(rows[k]["reason"])),
            ]
            for k in keys
        ],
        key=key,
    )


@st.fragment(run_every=3.0)
def _queue(ws: Workspace) -> None:
    live = [(folder, now) for folder, now in state.live(ws) if state.job(folder).get("kind") == "train"]
    st.subheader("Queue")
    if not live:
        st.caption("No training is running or waiting; a launch begins at once.")
        return
    rows = []
    for folder, now in live:
        share, text = jobcard.progress(folder)
        title = look.clip(state.job(folder).get("title", folder.id))
        waits = f'<span class="tg-soft">{escape(now.reason or "waits for its device")}</span>'
        rows.append(
            [
                look.badge(now.state),
                look.link("monitor", title, run=folder.id),
                look.bar(share, text) if now.state == "running" else waits,
            ]
        )
    look.table(["", "", "progress"], rows, key="train-queue")


main()
