"""The precision annotator: a component of ours that draws on an image in the browser and says each change to Python.

Protocol
--------
Python -> browser: one `SampleView` at each draw, which the browser takes over when anything in it is new. Keep `key` the
same from sample to sample: only then is the next image there at once.

Browser -> Python, by two callbacks and a third for help; each gets the dict alone, and runs before the page is drawn:

    on_commit(Commit)      somebody did one thing (drew, moved, deleted, undid, said a status): save it, then draw the
                           page again with `saved` naming that commit and the sample's shapes as they are now
    on_navigate(Navigate)  show another sample
    on_ask(Ask)            segment what was clicked; draw the page again with it in `suggestions`

Commits are sent one at a time, in order: the next leaves when `saved` names the one before. Each is kept in the browser
(per `store`) until then, sent again after a reload, a lost connection or a killed browser: so a commit may come twice
(answer the second as the first: same `entries`), and may be of *another sample than the one shown* (always save to
`commit["sample"]` in `commit["layer"]`, as `commit["who"]`). An `op` names what it replaces, as its author saw it:

- `replaces` is the head entry that the shape on screen came from, None for a new annotation. What the same browser
  changed twice in a row is named by the `entries` of the acknowledgement before, so no commit ever replaces what its
  author did not see; two that replace the same entry are a conflict, which the next view shows in `conflict`.
- `status_replaces` is the same for the status: the `status_entry` of the view, or what the browser's own last one became.
- An annotation with several heads (`entry` and those in `conflict`) gets one op for each head in one commit, all
  saying the same: that settles it.
- `annotation` is never None: the browser gives a new one its id (16 hex digits), so that it can be changed again before
  the first save is acknowledged.

An undo is a commit like any other. `accepted` and `rejected` name suggestions that are dealt with; do not offer them
again (an accepted one is also an op, with `suggested_by`, corrected or not).
All coordinates are image pixels, pixel centres at integers; masks are COCO's compressed run lengths over the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import streamlit as st
from pydantic_core import to_json

from trugrade_core.schema import Value

HERE = Path(__file__).parent
PARTS = (
    "geometry.js",
    "rle.js",
    "shapes.js",
    "queue.js",
    "snap.js",
    "paint.js",
    "picture.js",
    "view.js",
    "draw.js",
    "tools.js",
    "drawing.js",
    "actions.js",
    "keys.js",
    "panel.js",
    "main.js",
)
"""The parts of the one module that components v2 take, in order: a later part uses the names of earlier ones."""


class Picture(TypedDict):
    """`url` is the whole image. Above 40 MP give `half_url` (it is shown instead) and `tile_url`, to which the browser
    adds `?x=&y=&w=&h=` in image pixels for native crops (`/lab/half/{sha}`, `/lab/crop/{sha}`); else both None."""

    url: str
    width: int
    height: int
    mm_per_px: float | None
    half_url: NotRequired[str | None]
    tile_url: NotRequired[str | None]


class Head(TypedDict):
    """Another unreplaced entry of the same annotation: what somebody else said at the same time."""

    entry: str
    op: Literal["put", "delete"]
    who: str
    when: str
    label: str | None
    value: Value | dict[str, Any] | None
    same: NotRequired[bool]
    """It says the same as the one shown: no conflict to tell of, but replaced together with it all the same."""


class Shape(TypedDict):
    """An annotation as it is now (`value` a schema value, or as the schema writes it), or a suggestion (`suggested`)."""

    id: str
    entry: str | None
    label: str | None
    value: Value | dict[str, Any]
    attributes: NotRequired[dict[str, str | float | bool | None]]
    suggested: NotRequired[bool]
    suggested_by: NotRequired[str | None]
    who: NotRequired[str | None]
    when: NotRequired[str | None]
    conflict: NotRequired[list[Head]]


class Class(TypedDict):
    """`shape` is the schema's: box, polygon, mask, tags, score. `color` is #rrggbb. `key` is "1" to "9", "Shift+1" to "Shift+9", or ""
    for none."""

    name: str
    shape: str
    color: str
    key: str


class Saved(TypedDict):
    """The newest answer to a commit. `commit` and `seq` repeat those of the commit (None and 0 before the first of this
    page), `entries` are the log entries made by its ops, in their order, then that of its status, if it has one (null where
    nothing had to be said). `problem` is "" or why it was *not* saved: the
    browser keeps the commit, says so, and asks the person whether to try again or to throw it away. `at` is the time as
    people read it (12:03:04), `by` who saved."""

    commit: str | None
    seq: int
    entries: list[str | None]
    at: str
    by: str
    problem: str


class SampleView(TypedDict):
    store: str
    """What unacknowledged commits are kept under: workspace and dataset in one string."""
    sample: str
    layer: str
    """Where the shapes are from, and where what is drawn on them goes, whenever it is saved: a commit repeats it."""
    image: Picture
    shapes: Sequence[Shape]
    suggestions: Sequence[Shape]
    classes: Sequence[Class]
    status: str
    status_entry: str | None
    """The log entry that says the status; None when nobody has."""
    comment: str
    mode: Literal["shapes", "mask", "score", "tags"]
    scores: Sequence[float]
    tags: Sequence[str]
    rubric: str
    readonly: str
    """Why nothing may be changed, in words; "" when it may."""
    saved: Saved
    next: Sequence[str]
    """Image URLs to load ahead: of the next two samples, each as it would be shown (`half_url` where there is one). The
    first is shown at the key already, before Python answers. Empty: there is no next sample."""
    previous: str
    """As `next`, of the sample before; "" where there is none."""
    who: str
    severities: NotRequired[Sequence[str]]
    """Words for a shape's attribute `severity`; none: the field is not shown."""
    segment: NotRequired[str]
    """What click-to-segment uses ('GrabCut', 'MobileSAM'); "" or absent: not offered."""
    notice: NotRequired[str]
    """A message to show when this view is taken over, such as why a segmentation found nothing."""


class Op(TypedDict):
    op: Literal["put", "delete"]
    annotation: str
    label: str | None
    value: dict[str, Any] | None
    attributes: dict[str, str | float | bool | None]
    replaces: str | None
    suggested_by: str | None


class Said(TypedDict):
    """What a person says of the sample as a whole, in the schema's words ('nothing there' is done, without shapes)."""

    status: Literal["unlabelled", "done", "skipped", "rescan", "unsure"]
    comment: str


class Commit(TypedDict):
    commit: str
    seq: int
    sample: str
    layer: str
    who: str
    made: str
    """When the person did it, by the browser's clock (ISO 8601, UTC)."""
    ops: list[Op]
    status: NotRequired[Said]
    status_replaces: NotRequired[str | None]
    """With `status`: its entry as the author saw it."""
    accepted: NotRequired[list[str]]
    rejected: NotRequired[list[str]]
    restored: NotRequired[list[str]]
    """Suggestions whose acceptance or rejection was taken back: they may be offered again."""


class Navigate(TypedDict):
    to: Literal["next", "previous"]
    sample: str
    """Where the person is: `to` counts from here. A step that got no answer is said again, so take it as what it is."""


class Ask(TypedDict):
    """What lies under the clicked points (x, y, 1 inside or 0 outside), in image pixels?"""

    sample: str
    label: str | None
    points: list[tuple[float, float, int]]


def source() -> str:
    """The component's JavaScript as one module."""
    return "\n".join((HERE / part).read_text() for part in PARTS)


_component = st.components.v2.component(
    "tg_annotator",
    html=(HERE / "annotator.html").read_text(),
    css=(HERE / "annotator.css").read_text(),
    js=source(),
)


def annotator(
    view: SampleView,
    *,
    key: str,
    on_commit: Callable[[Commit], None],
    on_navigate: Callable[[Navigate], None],
    on_ask: Callable[[Ask], None] | None = None,
) -> None:
    """Draw the annotator. Call it inside a fragment, so that a commit redraws that alone, with a constant `key`.

    The callbacks run at the start of the next rerun, each with what was sent; what they raise is Streamlit's to show, so
    turn what can go wrong into `saved["problem"]`.
    """

    # The same answer twice (a commit refused again, nothing found again) is news to the browser as well.
    heard = st.session_state.setdefault(f"{key}-heard", {"commit": 0, "ask": 0})

    def told(event: str, handle: Callable[[Any], None] | None) -> Callable[[], None]:
        def call() -> None:
            value = st.session_state[key][event]
            if value is not None and handle is not None:
                if event in heard:
                    heard[event] += 1
                handle(value)

        return call

    # As one string: Streamlit walks through what it is given several times, which a thousand outlines make slow.
    _component(
        key=key,
        data={"view": to_json(view).decode(), **heard},
        on_commit_change=told("commit", on_commit),
        on_navigate_change=told("navigate", on_navigate),
        on_ask_change=told("ask", on_ask),
    )
