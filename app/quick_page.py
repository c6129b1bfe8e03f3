"""The quick canvas on the Annotate page: what is drawn is saved as it arrives, before anything else is looked at.

A canvas is only replaced for another sample or when a person asks for it: one that vanished by itself, because somebody
else has saved, would take with it the stroke that is being drawn.
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import streamlit as st

from app import look
from app.annotate_panels import held_back
from app.quick_canvas import (
    FREE_STROKE,
    STROKE,
    TOOLS,
    Fit,
    class_of,
    color_for,
    matched,
    object_of,
    same,
    size_for,
    value_of,
)
from trugrade_core.annotate.saving import SampleState
from trugrade_core.errors import TruGradeError
from trugrade_core.schema import LogEntry, Value
from trugrade_core.workflows import annotating
from trugrade_core.workspace import Workspace

ROOM_WH = (900, 440)
STATUSES = {"unlabelled": "To do", "done": "Done", "unsure": "Unsure", "rescan": "Rescan", "skipped": "Skip"}
ROUNDING = 0.3
"""Px of the canvas within which an object is where it was: it rounds to hundredths, and moves in whole px."""


def show(ws: Workspace, name: str, held: SampleState, how: dict[str, Any], *, who: str) -> None:
    image = held.sample.main
    readonly = annotating.read_only(ws, name, held.sample.id) or (
        "" if who else "say who you are first, at the top right"
    )
    if readonly:
        st.warning(f"Read only: {readonly}.")
    names = [c.name for c in how["classes"]]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        tool = st.segmented_control("Draw", list(TOOLS), default="box", required=True, key="quick-tool")
        label = st.selectbox("Class", names, key="quick-class", width=240)
        _status(ws, name, held, who, disabled=bool(readonly))
    across, down, fit = size_for(image.width, image.height, ROOM_WH)
    mine = _canvas(name, held, fit, names, who)
    _others(mine, held)
    url = _absolute(f"/lab/image/{image.sha256}")
    if not url:
        st.caption("The address of this page is not known yet; reload it.")
        return
    from streamlit_drawable_canvas import st_canvas

    st.space("small")  # for the canvas's own toolbar, which would lie over the buttons

    st_canvas(
        fill_color="rgba(0,0,0,0)",
        stroke_width=FREE_STROKE if tool == "mask" else STROKE,
        stroke_color=color_for(label, names),
        background_image=url,
        background_image_fit="contain",
        width=across,
        height=down,
        drawing_mode=TOOLS[tool],
        initial_drawing=mine["drawing"],
        disabled=bool(readonly),
        key=mine["key"],
        on_change=None if readonly else partial(_keep, ws, mine, names),
    )
    coarse = "" if fit.scale >= 1 else (
        f" One pixel of the canvas is {look.number(1 / fit.scale)} px of the image: the precision annotator is finer."
    )  # fmt: skip
    st.caption(
        "A polygon is sent when its first point is clicked again; what you move with the toolbar's Edit is sent by its upload "
        f"button.{coarse}"
    )
    masks = sum(e.value is not None and e.value.type == "mask" for e in held.shown)
    if masks:
        st.caption(f"{look.count(masks, 'mask')} on this sample; this canvas does not show earlier ones.")
    if not readonly:
        with look.errors("saving what was drawn"):
            _keep(ws, mine, names)  # what could not be saved when it arrived
        if mine["failed"]:
            look.error(mine["failed"])
    if mine["said"]:
        st.caption(f":material/check: {mine['said']}")


def _status(ws: Workspace, name: str, held: SampleState, who: str, *, disabled: bool) -> None:
    """What is said of the sample as a whole; the key changes with it, so that another's word shows too."""
    key = f"quick-status-{name}-{held.sample.id}-{held.status_entry}"

    def say() -> None:
        with held_back():
            annotating.save(
                ws, name, held.sample.id, [], who=who, tool="canvas", commit=secrets.token_hex(16), layer=held.layer,
                status={"status": st.session_state[key], "comment": held.status.comment}, status_replaces=held.status_entry,
            )  # fmt: skip

    st.segmented_control("This sample", list(STATUSES), format_func=STATUSES.__getitem__, default=held.status.status,
                         required=True, disabled=disabled, key=key, on_change=say)  # fmt: skip


def _absolute(path: str) -> str:
    """The canvas takes a root-relative address for a file."""
    at = urlsplit(st.context.url or "")
    return f"{at.scheme}://{at.netloc}{path}" if at.netloc else ""


def _canvas(name: str, held: SampleState, fit: Fit, names: list[str], who: str) -> dict[str, Any]:
    """What is known of the canvas that stands on the page; a new one for another sample, or where one was left.

    Its own answer is never fed back: that loops and loses strokes. A key of its own for each, since under a constant one
    the old drawing would stay on the new image.
    """
    mine: dict[str, Any] | None = st.session_state.get("quick-known")
    on_page = mine is not None and mine["key"] in st.session_state
    shown = name, held.sample.id, held.layer  # one scan has the same id in every dataset
    if mine is None or not on_page or (mine["dataset"], mine["sample"].id, mine["layer"]) != shown:
        entries = [e for e in held.shown if e.value is not None]
        drawn = [(e, o) for e in entries
                 if e.value and (o := object_of(e.annotation, e.value, fit, color_for(e.label, names)))]  # fmt: skip
        mine = {"dataset": name, "sample": held.sample, "layer": held.layer, "entries": entries, "said": "", "failed": None,
                "drawn": [(e.annotation, e.value) for e, _ in drawn], "drawing": {"objects": [o for _, o in drawn]},
                "key": f"canvas-{held.sample.id}-{secrets.token_hex(4)}"}  # fmt: skip
        st.session_state["quick-known"] = mine
    mine["who"] = who
    return mine


def _others(mine: dict[str, Any], held: SampleState) -> None:
    """Say that others have saved since the canvas was drawn, with a button that brings it."""
    known, now = {e.entry for e in mine["entries"]}, {e.entry: e.who for e in held.shown}
    if known == set(now):
        return
    people = ", ".join(dict.fromkeys(who for entry, who in now.items() if entry not in known)) or "somebody who deleted"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.info(f"Changed since this canvas was drawn, saved by {people}.", icon=":material/group:", width="stretch")
        st.button("Show it", icon=":material/refresh:", key="quick-show", on_click=st.session_state.pop, args=("quick-known",))  # fmt: skip


def _keep(ws: Workspace, mine: dict[str, Any], names: list[str]) -> None:
    """Save a stroke when it arrives, whatever the run that follows will draw; that one tries again what could not be."""
    mine["failed"] = None
    try:
        _take(ws, mine, names)
    except TruGradeError as e:
        mine["failed"] = e
    except OSError as e:
        mine["failed"] = TruGradeError(
            f"what was drawn cannot be written ({e.strerror or e})", where=str(e.filename or ""),
            what_to_do="Leave the page open: it is on the canvas still, and saved as soon as it can be written.",
        )  # fmt: skip
    if mine["failed"]:
        mine["said"] = ""


def _take(ws: Workspace, mine: dict[str, Any], names: list[str]) -> None:
    """Save what the canvas has answered last, if there is anything new in it."""
    answer = st.session_state.get(mine["key"]) or {}
    told, at = answer.get("drawing"), answer.get("backgroundFit")
    if not told or not told.get("raw") or not at:
        return
    lies = Fit.of({"scale_x": at["scaleX"], "offset_x": at["offsetX"], "offset_y": at["offsetY"]})
    if lies is not None:
        _save(ws, mine, told["raw"].get("objects") or [], lies, names)


def _save(ws: Workspace, mine: dict[str, Any], objects: list[dict[str, Any]], fit: Fit, names: list[str]) -> None:
    """Save the difference between what was known to be on the canvas and what is, if there is any. What it replaces is
    what was on the canvas, whatever others have said since."""
    name, sample, layer = mine["dataset"], mine["sample"], mine["layer"]
    drawn: list[tuple[Value, str | None]] = [
        (value, class_of(object, names))
        for object in objects
        if (value := value_of(object, fit, sample.main.width, sample.main.height)) is not None
    ]
    known: list[tuple[str, Value]] = mine["drawn"]
    places = matched([value for _, value in known], [value for value, _ in drawn], ROUNDING / fit.scale)
    heads = {e.annotation: e for e in mine["entries"]}
    ops, now_drawn = [], []
    for (value, label), place in zip(drawn, places, strict=True):
        annotation, old = known[place] if place is not None else (secrets.token_hex(8), None)
        if old is not None and same(old, value, ROUNDING / fit.scale):
            now_drawn.append((annotation, old))
            continue
        head = heads.get(annotation)
        ops.append(_put(annotation, head, label, value))
        now_drawn.append((annotation, value))
    gone = {annotation for annotation, _ in known} - {annotation for annotation, _ in now_drawn}
    ops += [{"op": "delete", "annotation": a, "replaces": heads[a].entry} for a in gone if a in heads]
    if not ops:
        return
    saved = annotating.save(
        ws, name, sample.id, ops, who=mine["who"], tool="canvas", commit=secrets.token_hex(16), layer=layer
    )
    mine["drawn"] = now_drawn
    changed = {op["annotation"] for op in ops}
    new = [e for found in annotating.state(ws, name, sample.id, layer).heads.values() for e in found]
    mine["entries"] = [
        *(e for e in mine["entries"] if e.annotation not in changed),
        *(e for e in new if e.entry in saved.entries and e.value is not None),
    ]
    mine["said"] = " ".join([f"Saved {look.count(len(ops), 'change')}.", *saved.notes])


def _put(annotation: str, head: LogEntry | None, label: str | None, value: Value) -> dict[str, Any]:
    return {
        "op": "put", "annotation": annotation, "label": head.label if head else label, "value": value.model_dump(mode="json"),
        "attributes": head.attributes if head else {}, "replaces": head.entry if head else None,
        "suggested_by": head.suggested_by if head else None,
    }  # fmt: skip
