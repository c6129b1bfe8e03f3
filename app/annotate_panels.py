"""What stands around the canvas: who is at work, guidelines, conflicts, suggestions, the filmstrip."""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import streamlit as st

from app import jobcard, look, overlay, state
from app.state import who
from trugrade_core.annotate.indexes import log_of, samples_of
from trugrade_core.annotate.saving import SampleState
from trugrade_core.data.store import Conflict, Dataset, said
from trugrade_core.errors import TruGradeError
from trugrade_core.runs import RunFolder
from trugrade_core.schema import LogEntry
from trugrade_core.workflows import annotating
from trugrade_core.workflows import segmenter as weights
from trugrade_core.workspace import Workspace

_REMEMBER = """
export default function ({ data }) {
  if (!document.cookie.includes('tg_browser=')) document.cookie = `tg_browser=${data.browser}; path=/; max-age=31536000; SameSite=Strict`
  if (data.who) document.cookie = `tg_who=${encodeURIComponent(data.who)}; path=/; max-age=31536000; SameSite=Strict`
}
"""
BROWSER_COOKIE = "tg_browser"
STRIP = 9


# --- who --------------------------------------------------------------------------------------------------------


def who_picker(ds: Dataset) -> None:
    """Any name; those seen in this dataset are offered."""
    name = who()
    with st.popover(_short(name) or "Who are you?", icon=":material/person:"):
        known = list(dict.fromkeys([name, *log_of(ds).left_off]))

        def choose() -> None:
            chosen = st.session_state["annotate-who-box"]
            if chosen and chosen.strip():
                st.session_state["annotate-who"] = chosen.strip()

        st.selectbox(
            "I am",
            [n for n in known if n],
            index=0 if name else None,
            accept_new_options=True,
            placeholder="type your name",
            key="annotate-who-box",
            help="Goes with everything you draw here. This browser remembers it.",
            on_change=choose,
        )
    remember = st.components.v2.component("tg_remember", html="<span></span>", js=_REMEMBER)
    remember(key="annotate-remember", data={"who": name, "browser": browser()})


def browser() -> str:
    """This browser's id, the same in all its tabs and after a reload: from its cookie, which `who_picker` sets."""
    cookie = st.context.cookies.get(BROWSER_COOKIE)
    if isinstance(cookie, str) and re.fullmatch("[0-9a-f]{16}", cookie):
        return cookie
    return str(st.session_state.setdefault("annotate-browser-id", secrets.token_hex(8)))


def _short(name: str) -> str:
    return name if len(name) <= 24 else name[:23] + "…"


# --- the head ---------------------------------------------------------------------------------------------------


def progress_words(counts: dict[str, int], total: int) -> str:
    """`34 of 41 done, 3 unsure`."""
    others = [f"{counts[word]:,} {word}" for word in ("unsure", "rescan", "skipped") if counts.get(word)]
    return ", ".join([f"{counts.get('done', 0):,} of {total:,} done", *others])


def tools(sources: dict[str, str], *, quick: bool) -> tuple[str, str]:
    """(precision or quick, who suggests), both in the URL."""
    words = {"precision": "Precision annotator", "quick": "Quick canvas"}
    tool = "precision"
    with st.popover("Tools", icon=":material/handyman:"):
        if quick:
            tool = str(st.segmented_control("Draw with", list(words), format_func=words.__getitem__, required=True,
                                            **state.in_url("tool", "precision", list(words))))  # fmt: skip
        else:
            st.caption("This picture is larger than the page: it is drawn on in the precision annotator.")
        options = ["none", *sources]
        source = st.selectbox("Suggestions from", options, format_func=lambda s: sources.get(s, "none"),
                              help="Accept, correct or reject them by key; the log keeps who suggested what.",
                              **state.in_url("suggest", "none", options))  # fmt: skip
        if not sources:
            st.caption("A trained run or an exported artifact suggests shapes here; card edges are found without one.")
        segmenter(state.workspace())
    return tool, "" if source == "none" else str(source)


def segmenter(ws: Workspace) -> None:
    """Which method answers a click, and the better one as a download where it is not here."""
    found = weights.state(ws)
    st.markdown(f"**Click to segment:** {annotating.segmenter(ws)}")
    job = st.session_state.get("annotate-segmenter-job")
    live = bool(job) and state.status(RunFolder.find(ws, job, jobs=True)).live
    if not found["here"] and not live:
        offered = found["offered"]
        st.button(
            f"Get {offered['title']} ({offered['bytes'] / 1e6:.0f} MB, {offered['licence']})", icon=":material/download:",
            key="annotate-get-segmenter", on_click=_get_segmenter, args=(ws,),
            help="A model trained to outline what is clicked. Downloaded once, into this workspace. "
            "Without a network: `trugrade weights segmenter --from FOLDER`.",
        )  # fmt: skip
    if job:
        with st.container(width=560):
            jobcard.show(job)


def _get_segmenter(ws: Workspace) -> None:
    with held_back():
        st.session_state["annotate-segmenter-job"] = weights.start_download(ws, who=who()).id


# --- conflicts --------------------------------------------------------------------------------------------------


def conflicts(ws: Workspace, name: str, now: SampleState, classes: Sequence[str], *, who: str) -> None:
    """Both versions of each, and 'keep this one'."""
    for conflict in now.conflicts:
        with st.container(border=True, key=f"conflict-{conflict.annotation}"):
            st.html(
                f"<b>{look.icon('call_split')} Two people changed the same {_noun(conflict)} without seeing each other.</b> "
                '<span class="tg-soft">Both are kept until one of you settles it; until then the newer counts.</span>'
            )
            st.text_input(
                "Why", placeholder="why this one (kept in the log)", key=f"why-{conflict.annotation}",
                label_visibility="collapsed",
            )  # fmt: skip
            for column, head in zip(st.columns(len(conflict.heads)), conflict.heads, strict=True):
                with column:
                    _version(now, head, classes)
                    st.button("Keep this one", key=f"keep-{head.entry}", icon=":material/check:",
                              on_click=_settle, args=(ws, name, conflict.annotation, head.entry, who))  # fmt: skip


def _settle(ws: Workspace, name: str, annotation: str, entry: str, who: str) -> None:
    with held_back():
        reason = str(st.session_state.get(f"why-{annotation}", ""))  # as it is now, not as it was drawn
        annotating.resolve(ws, name, annotation, entry, who=who, reason=reason)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Inside a callback, which runs before the page is drawn: what goes wrong is shown when it is (`told`)."""
    try:
        yield
    except TruGradeError as e:
        st.session_state["annotate-failed"] = e


def told() -> None:
    """Show what a callback has to say and what went wrong in it, once."""
    if words := st.session_state.pop("annotate-told", ""):
        st.toast(words)
    e = st.session_state.pop("annotate-failed", None)
    if e is not None:
        look.error(e)


def _noun(conflict: Conflict) -> str:
    value = next((h.value for h in conflict.heads if h.value), None)
    return {"status": "status", "score": "score", "tags": "tags"}.get(value.type if value else "", "shape")


def _version(now: SampleState, head: LogEntry, classes: Sequence[str]) -> None:
    said = f"<b>{escape(head.who)}</b> <span class='tg-soft'>{head.when:%d %b %H:%M:%S} UTC, {escape(head.tool)}</span>"
    st.html(f"{said}<br>{escape(said_words(head))}")
    if head.value is not None and overlay.outlines(head.value):
        shapes = [
            overlay.Shape(points=points, label="", color=overlay.color_of(head.label, classes), dash=False)
            for points in overlay.outlines(head.value)
        ]
        look.linked(
            f'<div class="tg-grid" style="--tile:120px">{overlay.thumb(now.sample, shapes)}</div>',
            key=f"pic-{head.entry}",
        )


def said_words(head: LogEntry) -> str:
    """What an entry says, in words."""
    value = head.value
    if head.op == "delete" or value is None:
        return "deleted it"
    if value.type == "status":
        return value.status + (f": {value.comment}" if value.comment else "")
    if value.type == "score":
        return f"{value.score:g}"
    if value.type == "tags":
        return ", ".join(value.tags) or "no tags"
    points = [p for outline in overlay.outlines(value) for p in outline]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    where = f" at {min(xs):.1f}, {min(ys):.1f} to {max(xs):.1f}, {max(ys):.1f} px" if points else ""
    return f"{head.label or 'no class'}, {value.type}{where}"


# --- beside and below -------------------------------------------------------------------------------------------


def guidelines(found: dict[str, Any]) -> None:
    """The dataset's words; pictures in them come by the app's own routes."""
    st.subheader("Guidelines")
    if found["guidelines"]:
        st.markdown(found["guidelines"])
    else:
        st.caption("Nobody has written guidelines for this dataset yet.")
    if found["rubric"] and found["rubric"] != found["guidelines"]:
        st.subheader(found["title"])
        st.markdown(found["rubric"])


def filmstrip(
    ds: Dataset, ids: Sequence[str], current: str, params: dict[str, str], taken: dict[str, list[str]]
) -> None:
    """The neighbours in the queue, by thumbnail and status."""
    if current not in ids:
        return
    rows, at = samples_of(ds).rows, ids.index(current)
    low = max(0, min(at - STRIP // 2, len(ids) - STRIP))
    tiles = []
    for id in ids[low : low + STRIP]:
        row = rows.get(id)
        if row is None:
            continue
        others = f" · open: {', '.join(taken[id])}" if id in taken else ""
        picture = f'<img src="/lab/thumb/{row.sha256}" loading="lazy" alt="{escape(row.name)}">'
        marks = look.mark(look.MARKS[row.status], row.status) + (look.mark("person", others) if others else "")
        caption = f"<span>{marks}</span>"
        here = " tg-here" if id == current else ""
        tiles.append(look.link("annotate", picture + caption, css=f"tg-frame{here}", title=row.name + others,
                               **{**params, "sample": id}))  # fmt: skip
    look.linked(f'<div class="tg-strip">{"".join(tiles)}</div>', key="annotate-strip")


def shape_rows(now: SampleState) -> list[dict[str, Any]]:
    """The annotations as the annotator takes them: each with what stands against it."""
    rows = []
    for entry in now.shown:
        assert entry.value is not None  # noqa: S101 (a put has one)
        others = [h for h in now.heads[entry.annotation] if h.entry != entry.entry]
        rows.append({
            "id": entry.annotation, "entry": entry.entry, "label": entry.label, "value": entry.value,
            "attributes": entry.attributes, "suggested_by": entry.suggested_by, "who": entry.who,
            "when": entry.when.isoformat(timespec="seconds"),
            "conflict": [{
                "entry": h.entry, "op": h.op, "who": h.who, "when": h.when.isoformat(timespec="seconds"), "label": h.label,
                "value": h.value, "same": said(h) == said(entry),
            } for h in others],
        })  # fmt: skip
    return rows
