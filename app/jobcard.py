"""A detached job on a page: what, how far, how long, its end, its log, and stopping it."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import streamlit as st

from app import look, state
from trugrade_core.errors import TruGradeError
from trugrade_core.runs import RunFolder, Status
from trugrade_core.workflows import training

LOG_BYTES = 40_000


Done = Callable[[dict[str, Any], dict[str, Any]], None]
"""Draws (result, arguments) of a job that has finished."""


def show(run_id: str, *, done: Done | None = None) -> None:
    """Follow the job of this id to its end; when it has finished, `done` draws its result."""
    with look.errors("reading the job"):
        folder = RunFolder.find(state.workspace(), run_id, jobs=True)
        now = state.status(folder)
        if now.live:
            _live(folder)
            return
        _ended(folder, now)
        if now.state == "finished" and done:
            done(folder.results(), state.job(folder).get("args", {}))


@st.fragment(run_every=1.0)
def _live(folder: RunFolder) -> None:
    now = state.status(folder)
    if not now.live:
        st.rerun()
    with st.container(border=True):
        words, stop = st.columns([5, 1], vertical_alignment="center")
        words.html(
            f'<b>{look.clip(title(folder), 40)}</b> &nbsp;{look.badge(now.state)} <span class="tg-soft">{escape(now.reason)}</span>'
        )
        if stop.button("Cancel", key=f"stop-{folder.id}", icon=":material/close:", width="stretch"):
            with look.errors("cancelling"):
                training.control(state.workspace(), folder.id, "stop", who=state.who())
        share, text = progress(folder)
        st.progress(share, text=text)


def title(folder: RunFolder) -> str:
    """What the job does, in words; a dry run says so."""
    job = state.job(folder)
    dry = job.get("args", {}).get("options", {}).get("dry_run")
    return f"Check before: {job['title']}" if dry else str(job.get("title", folder.id))


def progress(folder: RunFolder) -> tuple[float, str]:
    """(share done, what and how far and how long) of a live job."""
    journal = state.journal(folder)
    event, eta = journal.progress, journal.eta()
    total = event.get("total") or 0
    if not total:
        waits = state.status(folder).state == "queued"
        return 0.0, event.get("text") or ("waiting to begin" if waits else "starting")
    text = f"{event.get('text', '')} · {event['done']:,} of {total:,} {event.get('unit', '')}".strip(" ·")
    if eta["seconds"] is not None:
        text += f" · about {look.time_left(eta['seconds'])} left"
    return min(1.0, event["done"] / total), text


def _ended(folder: RunFolder, now: Status) -> None:
    if now.state == "finished":
        st.html(f"{look.badge('finished')} {look.clip(title(folder), 40)} · {look.ago(now.t)}")
    elif now.state in ("failed", "crashed"):
        look.error(failure(folder, now))
        log(folder)
    else:
        st.html(f'{look.badge(now.state)} <span class="tg-soft">{escape(now.reason)}</span>')


def failure(folder: RunFolder, now: Status) -> TruGradeError:
    """Why a job or run failed, with what it had before it, if it said so: its own id is nobody's input."""
    where = str((folder.last("state").get("error") or {}).get("where") or "")
    return TruGradeError(
        now.reason or "it ended early", where="" if where == folder.id else where, what_to_do=now.what_to_do
    )


def log(folder: RunFolder) -> None:
    """The end of what the job printed, folded."""
    with st.expander("Log", icon=":material/notes:"):
        try:
            data = folder.log.read_bytes()
        except FileNotFoundError:
            data = b""
        if len(data) > LOG_BYTES:
            st.caption(f"The last {look.size(LOG_BYTES)} of {look.size(len(data))}; all of it: {folder.log}")
        st.code(data[-LOG_BYTES:].decode(errors="replace").strip() or "Nothing was printed.", language=None, height=320)
