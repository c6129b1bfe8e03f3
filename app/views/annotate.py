"""Annotate: where exactly is it?"""

from __future__ import annotations

import secrets
import time
from typing import Any

import streamlit as st

from app import annotate_panels as panels
from app import look, overlay, quick_canvas, quick_page, state
from app.annotate_talk import Talk
from trugrade_core.annotate import queue
from trugrade_core.annotate.indexes import samples_of
from trugrade_core.annotate.saving import SampleState
from trugrade_core.data.filters import WORDS
from trugrade_core.data.store import Dataset
from trugrade_core.errors import UsageError
from trugrade_core.workflows import annotating
from trugrade_core.workspace import Workspace

POLL_S = 4.0
"""How often the page looks for what others saved."""
HERE_S = 10.0
"""How often it says where this browser is."""


def main() -> None:
    ws = state.workspace()
    name = state.param("dataset").partition("@")[0]
    if not name or name not in state.dataset_names(ws):
        _pick(ws, name)
        return
    with look.errors("opening the dataset"):
        _work(ws, name)


def _pick(ws: Workspace, asked: str) -> None:
    with look.head("Annotate"):
        pass
    names = state.dataset_names(ws)
    if not names:
        look.empty("Nothing to annotate yet", "Bring card scans into a dataset; they are drawn on here.", icon="draw",
                   action=look.IMPORT, view="import")  # fmt: skip
        return
    if asked:
        st.warning(f"There is no dataset '{asked[:80]}' in this workspace.")
    rows = [
        [
            look.link("annotate", look.clip(row["name"], 30), dataset=row["name"]),
            f"{row['samples']:,}",
            look.labelled(row),
        ]
        for row in state.dataset_rows(ws)[:200]
    ]
    look.table(["dataset", "samples", "labelled"], rows, key="annotate-pick", right=(1,))


@st.fragment(run_every=POLL_S)
def _work(ws: Workspace, name: str) -> None:
    with look.errors("annotating"):
        ds = Dataset.open(ws, name)
        try:
            ids = _queue(ws, name)
        except UsageError as e:  # a filter that means nothing
            _nowhere(name, e)
            return
        how = annotating.describe(ws, name)
        how |= {"sources": annotating.sources(ws, name), "layers": annotating.layers_of(ws, name, state.who())}
        current = _current(ds, ids, how["layers"])
        if current and current not in samples_of(ds).rows:
            _nowhere(name, None)
            return
        held = annotating.state(ws, name, current, how["layers"].get(current, "main")) if current else None
        taken = _presence(ds, current)
        panels.told()
        tool, source, beside = _head(ws, ds, ids, held, how, taken.get(current, []))
        if held is None:
            what = "This dataset has no samples" if not samples_of(ds).rows else "No sample fits the filter"
            look.empty(
                what,
                "Import scans, or widen the filter.",
                icon="image",
                action=look.IMPORT,
                dataset=name,
                view="import",
            )
        elif how["mode"] in ("shapes", "mask") and not how["classes"]:
            _first_classes(ws, name)
        else:
            _sample(ws, ds, ids, held, how, tool, source, beside)
            params = {k: v for k, v in st.query_params.to_dict().items() if k != "sample"} | {"dataset": name}
            panels.filmstrip(ds, ids, current, params, taken)


def _nowhere(name: str, why: UsageError | None) -> None:
    """An address that leads to no sample, and the way on."""
    with look.head("Annotate", chips=[look.chip(name, icon="photo_library", page="datasets", dataset=name)]):
        if st.button("Annotate the whole dataset", type="primary", icon=":material/draw:"):
            state.go("annotate", dataset=name, sample="")
    if why:
        look.error(why)
    else:
        look.empty(
            "No such sample", "The address names one that this dataset does not have.", icon="image_not_supported"
        )


# --- which sample -----------------------------------------------------------------------------------------------


def _queue(ws: Workspace, name: str) -> list[str]:
    """The samples inside the address's filter, as they were when it was opened: one that is finished stays in it."""
    params = _narrowing()
    key = name, tuple(sorted(params.items()))
    kept = st.session_state.get("annotate-queue")
    samples = samples_of(Dataset.open(ws, name))
    samples.refresh()
    if kept is None or kept[0] != key or (not params and len(kept[1]) != len(samples.rows)):
        kept = key, annotating.queue_of(ws, name, params)
        st.session_state["annotate-queue"] = kept
    return list(kept[1])


def _narrowing() -> dict[str, str]:
    """What the address says of which samples, and in which order; `assigned=me` is whoever is at work here."""
    found = {k: v for k, v in st.query_params.to_dict().items() if k in WORDS or k in ("sort", "assigned")}
    return found | ({"assigned": state.who()} if found.get("assigned") == "me" else {})


def _current(ds: Dataset, ids: list[str], layers: dict[str, str]) -> str:
    """The address's sample, else where this person left off, else the first that nobody has done."""
    asked = st.query_params.get("sample", "")
    if asked:
        return asked
    last = queue.left_off(ds, state.who())
    found = (
        last
        if last in ids
        else queue.next_unlabelled(ds, ids, after="", browser=_browser(), who=state.who(), layers=layers)
        or (ids[0] if ids else "")
    )
    if found:
        state.keep(dataset=ds.name, sample=found)
    return found or ""


def _browser() -> str:
    """This tab, to the others: `BROWSER/TAB`. A reload makes another tab of the same browser, which is nobody else."""
    if "annotate-browser" not in st.session_state:
        st.session_state["annotate-browser"] = f"{panels.browser()}/{secrets.token_hex(8)}"
    return str(st.session_state["annotate-browser"])


def _head(
    ws: Workspace, ds: Dataset, ids: list[str], held: SampleState | None, how: dict[str, Any], here: list[str]
) -> tuple[str, str, bool]:
    """(tool, source of suggestions, whether the guidelines are open), chosen beside the primary button."""
    current = held.sample.id if held else ""
    chips = [look.chip(ds.name, icon="photo_library", page="datasets", dataset=ds.name)]
    if held:
        chips.append(
            look.chip(overlay.name_of(held.sample), icon="image", page="datasets", dataset=ds.name, sample=current)
        )
    chips += [look.chip(f"{k}: {v}", icon="filter_alt") for k, v in _narrowing().items()]
    if held and held.layer != "main":
        chips.append(look.chip(f"blind vote as {held.layer}", icon="visibility_off"))
    if here:
        chips.append(look.chip(f"also open: {', '.join(here[:5])}", icon="group", css="tg-keep"))
    place = f"{ids.index(current) + 1:,} of {len(ids):,} · " if current in ids else ""
    tool, source, beside = "precision", "", False
    note = place + panels.progress_words(annotating.progress(ws, ds.name, ids, how["layers"]), len(ids))
    with look.head("Annotate", chips=chips, note=note, one_line=True):
        if held and how["mode"] in ("shapes", "mask"):
            fits = max(held.sample.main.width, held.sample.main.height) <= quick_canvas.LONGEST_PX
            tool, source = panels.tools(how["sources"], quick=fits)
        if how["guidelines"]:
            own = how["guidelines"] != how["rubric"]  # the annotator shows the rubric itself
            beside = st.toggle("Guidelines", value=own, key=f"annotate-guidelines-{ds.name}")
        panels.who_picker(ds)
        st.button("Next unlabelled", type="primary" if ids else "secondary", icon=":material/skip_next:", disabled=not ids,
                  on_click=_next_unlabelled, args=(ds, ids, current, how["layers"]))  # fmt: skip
    return tool, source, beside


def _next_unlabelled(ds: Dataset, ids: list[str], current: str, layers: dict[str, str]) -> None:
    with panels.held_back():
        found = queue.next_unlabelled(ds, ids, after=current, browser=_browser(), who=state.who(), layers=layers)
        if found:
            state.keep(dataset=ds.name, sample=found)
        else:
            # A callback of a fragment must not draw: the fragment says it.
            st.session_state["annotate-told"] = "Every other sample here is done, or somebody is at it."


def _first_classes(ws: Workspace, name: str) -> None:
    look.empty("No classes yet", "Name what is to be drawn; more can follow.", icon="category")
    with st.form("annotate-classes"):
        st.text_input("Classes", placeholder="outer_border, graphical_border", key="annotate-new-classes")
        st.selectbox("Drawn as", ["polygon", "box", "mask"], key="annotate-new-shape")
        st.form_submit_button("Add", type="primary", on_click=_add_classes, args=(ws, name))


def _add_classes(ws: Workspace, name: str) -> None:
    with panels.held_back():
        words = str(st.session_state["annotate-new-classes"]).split(",")
        annotating.add_classes(ws, name, words, st.session_state["annotate-new-shape"])


# --- one sample -------------------------------------------------------------------------------------------------


def _sample(
    ws: Workspace,
    ds: Dataset,
    ids: list[str],
    held: SampleState,
    how: dict[str, Any],
    tool: str,
    source: str,
    beside: bool,
) -> None:
    panels.conflicts(ws, ds.name, held, [c.name for c in how["classes"]], who=state.who())
    area, side = st.columns([4, 1], gap="medium") if beside else (st.container(), None)
    with area:
        if tool == "quick":
            quick_page.show(ws, ds.name, held, how, who=state.who())
        else:
            Talk(ws, ds, ids, how, source).show(held)
    if side:
        with side, st.container(height=540, border=False):
            panels.guidelines(how)


def _presence(ds: Dataset, current: str) -> dict[str, list[str]]:
    """Say where this browser is, at most every HERE_S; who is where else."""
    said = st.session_state.get("annotate-said")
    if said is None or said[0] != current or time.time() - said[1] > HERE_S:
        st.session_state["annotate-said"] = current, time.time()
        return queue.is_here(ds, current, state.who(), browser=_browser())
    return queue.open_elsewhere(ds, _browser())


main()
