"""Label Studio on a dataset's page: is it up, what is there, what would come back, and taking it in."""

from __future__ import annotations

from html import escape
from typing import Any

import streamlit as st

from app import jobcard, look, state
from trugrade_core.annotate.label_studio import serve as serving
from trugrade_core.data.filters import UNLABELLED
from trugrade_core.data.store import Dataset
from trugrade_core.workflows import exploring, labelling
from trugrade_core.workspace import Workspace

SHOWN = 100
ALL, TO_DO = "(all)", "(not labelled yet)"
"""Brackets, for no filter can be kept under such a name."""
LAMPS = {"off": ("radio_button_unchecked", "off"), "starting": ("progress_activity", "starting"), "up": ("check_circle", "up")}  # fmt: skip


def show(ws: Workspace, dataset: str) -> None:
    """The 'Label Studio' view of a dataset."""
    found = labelling.status(ws, dataset)
    _server(ws, found)
    if job_id := st.query_params.get("job"):
        jobcard.show(job_id, done=_done)
    if found["url"] is None:
        return
    _dataset(ws, dataset, found["dataset"], up=found["server"] == "up")


def _server(ws: Workspace, found: dict[str, Any]) -> None:
    icon, word = LAMPS[found["server"]]
    versions = found.get("versions", {})
    said = [f"Label Studio {versions['server']} · SDK {versions['sdk']} · {versions['user']}"] if versions else []
    own = found["own"]
    with st.container(horizontal=True, vertical_alignment="center"):
        text = " · ".join([escape(found["url"] or "no server yet"), *map(escape, said)])
        st.html(f'{look.icon(icon, word)} <span class="tg-soft">{text}</span>')
        if (
            found["server"] == "off"
            and own["state"] == "off"
            and st.button("Start one here", icon=":material/play_arrow:")
        ):
            with look.errors("starting Label Studio"):
                serving.serve(ws)
                st.rerun()
        if own["state"] != "off" and st.button("Stop it", icon=":material/stop:", type="tertiary"):
            serving.stop(ws)
            st.rerun()
    if own["state"] == "starting":
        _wait(ws)
    elif own["state"] == "up":
        with st.expander("How to log in"):
            st.code(f"user      {own['user']}\npassword  {own['password']}", language=None)
    if found["reason"] and found["url"]:
        st.caption(f":material/info: {found['reason']}. {own['reason']}")
    if found["url"] is None:
        _connect(ws)


@st.fragment(run_every=2.0)
def _wait(ws: Workspace) -> None:
    now = serving.served(ws)
    if now.state != "starting":
        st.rerun()
    st.caption("Starting; the first time takes a minute or two.")


def _connect(ws: Workspace) -> None:
    look.empty(
        "Not connected to a Label Studio",
        "Start one of this workspace's own, or connect to the team's; then annotators work in the browser and their work comes back here.",
        icon="group",
    )
    with st.form("label-connect", border=False, width=620):
        url = st.text_input("Address", placeholder="http://127.0.0.1:8080")
        token = st.text_input("Token", type="password", help="From Account & Settings in Label Studio.")
        if st.form_submit_button("Connect", type="primary"):
            with look.errors("connecting"):
                labelling.connect(ws, url, token)
                st.rerun()


def _dataset(ws: Workspace, dataset: str, own: dict[str, Any], *, up: bool) -> None:
    st.html(
        look.facts(
            [
                ("being annotated there", f"{own['pushed']:,}", "read-only here until pulled or released"),
                ("pulled", f"{own['pulled']:,}", ""),
                ("released", f"{own['released']:,}", ""),
            ]
        )
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(
            "Push", type="secondary" if own["pushed"] else "primary", icon=":material/upload:", disabled=not up
        ):
            _start(ws, "push", dataset)
        _push_some(ws, dataset, up=up)
        look_now = st.button("What changed there", icon=":material/difference:", disabled=not (up and own["project"]))
        if st.button(
            "Pull",
            type="primary" if own["pushed"] else "secondary",
            icon=":material/download:",
            disabled=not (up and own["project"]),
        ):
            _start(ws, "pull", dataset)
        if own["pushed"] and st.button(
            "Release all", icon=":material/lock_open:", help="Draw on them here again; what is there stays there."
        ):
            labelling.release(ws, dataset)
            st.rerun()
        if own["url"]:
            st.link_button("Open in Label Studio", own["url"], icon=":material/open_in_new:")
    if look_now:
        with look.errors("asking Label Studio"):
            _diff(labelling.diff(ws, dataset))
    if own["people"]:
        st.subheader("Who did what")
        rows = [[escape(who), f"{int(r['tasks']):,}", f"{r['minutes']:.0f}"] for who, r in own["people"].items()]
        look.table(["person", "tasks", "minutes"], rows, key="label-people", right=(1, 2))
        _name(ws, list(own["people"]))


def _name(ws: Workspace, people: list[str]) -> None:
    with st.popover("Names in the lab", icon=":material/badge:"):
        theirs = st.selectbox("At Label Studio", people, key="label-theirs")
        ours = st.text_input("Here", value=labelling.people(ws).get(theirs, ""), key=f"label-ours-{theirs}")
        if st.button("Keep", disabled=not ours, key="label-name"):
            labelling.name_person(ws, theirs, ours)
            st.rerun()
        st.caption("From the next pull on; what was pulled keeps its name.")


def _push_some(ws: Workspace, dataset: str, *, up: bool) -> None:
    """Push with choices: which samples, whose suggestions, and what helps when the project there was changed."""
    ds = Dataset.open(ws, dataset)
    with st.popover("Push some", icon=":material/filter_list:", disabled=not up):
        kept = exploring.saved_filters(ds)
        chosen = st.selectbox("Samples", [ALL, TO_DO, *kept], key="label-some",
                              help="Filters are kept in the explorer, under Browse.")  # fmt: skip
        runs = ["", *(run.id for run in state.trained(ws))]
        run = st.selectbox("Predictions", runs, format_func=lambda id: id or "the labels known here", key="label-run")
        new = st.checkbox("Start another project", key="label-new", help="Such as when somebody has deleted it there.")
        template = st.checkbox("Put the lab's template back first", key="label-template",
                               help="When it was changed there so that results would not be understood.")  # fmt: skip
        if st.button("Push these", key="label-push-some"):
            with look.errors("choosing samples"):
                fixed = {ALL: None, TO_DO: UNLABELLED}
                f = fixed[chosen] if chosen in fixed else kept[chosen].filter
                ids = exploring.explorer(ws, dataset).ids(f) if f else None
                if ids == []:
                    st.info(f"No sample is in '{chosen}' at the moment.", icon=":material/filter_list_off:")
                    return
                _start(ws, "push", dataset, ids=ids, run=run, new_project=new, restore_template=template)


def _start(ws: Workspace, what: str, dataset: str, **words: Any) -> None:
    with look.errors(f"starting the {what}"):
        job = labelling.start_job(ws, what, dataset, who=state.who(), **words)
        state.keep(job=job.id)
        st.rerun()


def _done(found: dict[str, Any], _args: dict[str, Any]) -> None:
    if "created" in found:
        st.caption(
            f"{found['created']:,} new tasks, {found['updated']:,} sent anew, {found['unchanged']:,} there already."
        )
        for note in found["notes"]:
            st.caption(note)
        _table("Not sent", found["skipped"], ("sample", "reason"))
    elif "added" in found:
        _diff(found)


def _diff(found: dict[str, Any]) -> None:
    words = [f"{len(found[key]):,} {key}" for key in ("added", "changed", "removed", "skipped", "conflicts")]
    st.caption(f"{', '.join(words)} in {look.count(found['samples'], 'sample')}")
    _table("Added", found["added"], ("sample", "label", "after", "who"))
    _table("Changed", found["changed"], ("sample", "label", "before", "after", "who"))
    _table("Removed", found["removed"], ("sample", "label", "before", "who"))
    _table("Skipped", found["skipped"], ("sample", "reason", "who"))
    _table("In conflict", found["conflicts"], ("sample", "label", "why", "who"))
    _table("Not understood, left at Label Studio", found["problems"], ("sample", "why", "who"))
    for note in found["notes"][:20]:
        st.caption(note)


def _table(title: str, rows: list[dict[str, Any]], keys: tuple[str, ...]) -> None:
    if not rows:
        return
    st.markdown(f"**{title}**")
    cells = [[look.clip(str(row.get(key) or "")) for key in keys] for row in rows[:SHOWN]]
    look.table(list(keys), cells, key=f"label-{title}")
    if len(rows) > SHOWN:
        st.caption(f"The first {SHOWN} of {len(rows):,}.")
