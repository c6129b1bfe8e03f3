"""What the Annotate page and the annotator in the browser say to each other about one sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from app import annotate_panels as panels
from app import overlay, state
from app.annotator import annotator
from trugrade_core.annotate import queue
from trugrade_core.annotate.indexes import Listed, samples_of
from trugrade_core.annotate.saving import SEVERITIES, SampleState
from trugrade_core.annotate.suggestions import Suggestion
from trugrade_core.data.large import LARGE_PIXELS
from trugrade_core.data.store import Dataset
from trugrade_core.errors import TruGradeError
from trugrade_core.runs import RunFolder
from trugrade_core.workflows import annotating
from trugrade_core.workspace import Workspace, now

AHEAD = 10
"""Samples that a model is asked about at once."""
NOTHING_SAVED = {"commit": None, "seq": 0, "entries": [], "at": "", "by": "", "problem": ""}


@dataclass(frozen=True)
class Talk:
    """Of one run of the page: `how` the dataset is annotated, `source` of suggestions, `ids` of the queue."""

    ws: Workspace
    ds: Dataset
    ids: Sequence[str]
    how: Mapping[str, Any]
    source: str

    def show(self, held: SampleState) -> None:
        """Draw the annotator. Its key is constant, so that the next sample is there at once."""
        notice, offered = self._suggested(held)
        annotator(
            {
                **self._view(held),
                "suggestions": [_offer(one) for one in [*offered, *_clicked(self.ds.name, held)]],
                "notice": st.session_state.pop("annotate-notice", "") or notice,
            },
            key=f"annotator-{self.ds.name}",
            on_commit=self.commit,
            on_navigate=self.navigate,
            on_ask=self.ask,
        )

    def _view(self, held: SampleState) -> dict[str, Any]:
        sample, ids, rows = held.sample, self.ids, samples_of(self.ds).rows
        names = [c.name for c in self.how["classes"]]
        image = sample.main
        half = _half(image.sha256, image.width * image.height)
        before, *after = (
            _shown(row) if (row := rows.get(queue.step(ids, sample.id, by) or "")) else "" for by in (-1, 1, 2)
        )
        nobody = "" if state.who() else "say who you are first, at the top right"
        return {
            "store": f"{self.ws.root}|{self.ds.name}",
            "sample": sample.id,
            "layer": held.layer,
            "image": {
                "url": f"/lab/image/{image.sha256}",
                "width": image.width,
                "height": image.height,
                "mm_per_px": sample.mm_per_px,
                "half_url": half,
                "tile_url": f"/lab/crop/{image.sha256}" if half else None,
            },
            "shapes": panels.shape_rows(held),
            "classes": [
                {
                    "name": c.name,
                    "shape": c.shape,
                    "color": overlay.color_of(c.name, names),
                    "key": str(n) if n < 10 else f"Shift+{n - 9}" if n < 19 else "",
                }
                for n, c in enumerate(self.how["classes"], start=1)
            ],
            "status": held.status.status,
            "status_entry": held.status_entry,
            "comment": held.status.comment,
            "mode": self.how["mode"],
            "scores": list(self.how["scores"]),
            "tags": list(self.how["tags"]),
            "rubric": self.how["rubric"],
            "readonly": annotating.read_only(self.ws, self.ds.name, sample.id) or nobody,
            "saved": st.session_state.get("annotate-saved", NOTHING_SAVED),
            "next": [url for url in after if url],
            "previous": before,
            "who": state.who(),
            "severities": list(SEVERITIES),
            "segment": annotating.segmenter(self.ws),
        }

    # --- from the browser ---------------------------------------------------------------------------------------

    def commit(self, told: Mapping[str, Any]) -> None:
        """Save, and answer: the browser keeps the commit until it is named as saved."""
        answer = {**NOTHING_SAVED, "commit": told["commit"], "seq": told["seq"], "by": told["who"]}
        ws, name, sample = self.ws, self.ds.name, told["sample"]
        try:
            # The layer that was drawn on, for the sample may have been given to somebody or taken away since. A commit that
            # an earlier page has kept names none.
            layer = told.get("layer") or annotating.layers_of(ws, name, told["who"]).get(sample, "main")
            before = annotating.state(ws, name, sample, layer)
            kept = annotating.suggested(ws, name, before, self.source) if self.source else ()
            saved = annotating.save(
                ws, name, sample, told["ops"], who=told["who"], tool="annotator", commit=told["commit"], layer=layer,
                status=told.get("status"), status_replaces=told.get("status_replaces"),
                decisions=annotating.decide([*(kept or ()), *_clicked(name, before)], told),
            )  # fmt: skip
            entries = [*saved.entries[: len(told["ops"])], *([saved.status_entry] if told.get("status") else [])]
            answer |= {"entries": entries, "at": f"{now().astimezone():%H:%M:%S}"}
            if saved.notes:
                st.session_state["annotate-notice"] = ". ".join(note.capitalize() for note in saved.notes)
        except TruGradeError as e:
            answer["problem"] = ". ".join(part for part in (e.message, e.what_to_do) if part)
        except OSError as e:
            answer["problem"] = f"the log cannot be written ({e.strerror})"
        st.session_state["annotate-saved"] = answer

    def navigate(self, told: Mapping[str, Any]) -> None:
        target = queue.step(self.ids, told["sample"], {"next": 1, "previous": -1}[told["to"]])
        if target:
            state.keep(dataset=self.ds.name, sample=target)

    def ask(self, told: Mapping[str, Any]) -> None:
        """A click is segmented."""
        try:
            found = annotating.clicked_shape(self.ws, self.ds.name, told["sample"], told["label"], told["points"])
            st.session_state.setdefault("annotate-clicked", {})[self.ds.name, told["sample"]] = found
        except TruGradeError as e:
            st.session_state["annotate-notice"] = f"{e.message}. {e.what_to_do}"

    # --- suggestions --------------------------------------------------------------------------------------------

    def _suggested(self, held: SampleState) -> tuple[str, tuple[Suggestion, ...]]:
        """(how it stands, what is suggested): asked for when a source is chosen, in a job where it takes a model."""
        ws, name, source = self.ws, self.ds.name, self.source
        if not source:
            return "", ()
        try:
            found = annotating.suggested(ws, name, held, source)
            if found is None and source == annotating.EDGES:
                annotating.suggest_edges(ws, name, held.sample)
                found = annotating.suggested(ws, name, held, source)
            if found is None:
                return self._by_job(held.sample.id), ()
            nothing = not found and not held.decided
            return f"{self.how['sources'].get(source, source)}: nothing found here" if nothing else "", found
        except TruGradeError as e:
            return e.message, ()

    def _by_job(self, current: str) -> str:
        """Start the job once; later reruns of the page find its answers."""
        asked: dict[tuple[str, str], str] = st.session_state.setdefault("annotate-jobs", {})
        job = asked.get((self.source, current))
        if job is None:
            at = self.ids.index(current) if current in self.ids else 0
            ahead = [i for i in [current, *self.ids[at + 1 : at + AHEAD]] if (self.source, i) not in asked]
            folder = annotating.start_suggesting(self.ws, self.ds.name, ahead, self.source, who=state.who())
            asked.update({(self.source, i): folder.id for i in ahead})
            return f"{self.source} is looking at this sample and the next"
        status = state.status(RunFolder.find(self.ws, job, jobs=True))
        if status.live:
            return f"{self.source} is still looking"
        return f"{self.source} gave no answer here: {status.reason or 'see the job ' + job}"


def _half(sha256: str, pixels: int) -> str | None:
    """Where the smaller whole of a picture is that is too large for a browser."""
    return f"/lab/half/{sha256}" if pixels > LARGE_PIXELS else None


def _shown(row: Listed) -> str:
    return _half(row.sha256, row.pixels) or f"/lab/image/{row.sha256}"


def _offer(one: Suggestion) -> dict[str, Any]:
    return {"id": one.id, "entry": None, "label": one.label, "value": one.value, "attributes": {},
            "suggested": True, "suggested_by": one.by}  # fmt: skip


def _clicked(name: str, held: SampleState) -> list[Suggestion]:
    """The shape that the last click found on this sample, until it is decided on."""
    found: Suggestion | None = st.session_state.get("annotate-clicked", {}).get((name, held.sample.id))
    return [found] if found and found.id not in held.decided else []
