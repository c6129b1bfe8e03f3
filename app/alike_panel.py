"""Look-alikes on the Check page: a similarity slider, what counts from there on, and the pairs nearest to it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import streamlit as st

from app import look, overlay, state
from trugrade_core.data.checks import duplicates, measures
from trugrade_core.data.store import Dataset
from trugrade_core.schema import Sample
from trugrade_core.workflows import lookalikes
from trugrade_core.workspace import Workspace


def show(ws: Workspace, name: str) -> None:
    st.subheader("Look-alikes")
    if not st.toggle("Look at pairs of pictures that look alike", key=f"alike-on-{name}"):
        return
    with look.errors("looking for pictures that are alike"):
        _pairs(ws, name)


def _pairs(ws: Workspace, name: str) -> None:
    ds = Dataset.open(ws, name)
    stamp = tuple(map(state.stamp, (ds.samples_path, measures.store_path(ws), duplicates.store_path(ws))))
    pairs, unread = state.cached(("look-alikes", name), stamp, lambda: lookalikes.look_alikes(ws, name))
    if unread:
        st.caption(
            f"{look.count(unread, 'picture')} that no check has read yet: check the dataset to compare them too."
        )
    if not pairs.pairs:
        look.empty(
            "No two pictures look alike",
            "Neither copies of a file nor two scans of one design were found.",
            icon="done_all",
        )
        return
    similarity = st.slider("Alike from", lookalikes.LEAST, 1.0, lookalikes.SURE, 0.01, key=f"alike-from-{name}",
                           help="1 is the same to the hash. A new value only counts anew: what was measured and compared is kept.")  # fmt: skip
    found = lookalikes.over(pairs, similarity)
    facts = [("pairs", found["pairs"]), *((words, found["kinds"][kind]) for kind, words in duplicates.KINDS.items()), ("across splits", found["across_splits"])]  # fmt: skip
    st.html(look.facts([(words, f"{n:,}", "") for words, n in facts]))
    if found["examples"]:
        st.caption("The least alike that still count:")
    index, columns = ds.index(), st.columns(3, gap="medium")
    for n, row in enumerate(found["examples"]):
        with columns[n % 3]:
            _example(name, row, [index.read(id) for id in row["samples"]], key=f"alike-{n}")


def _example(name: str, row: dict[str, Any], samples: Sequence[Sample], *, key: str) -> None:
    tiles = "".join(
        look.link("datasets", f'{overlay.thumb(sample, [])}<div class="cap"><span>{escape(overlay.name_of(sample))}</span>'
                  f"<span>{escape(split or '')}</span></div>", css="tg-tile", dataset=name, sample=sample.id)
        for sample, split in zip(samples, row["splits"], strict=True)
    )  # fmt: skip
    kind = duplicates.KINDS[row["kind"]] + ("" if row["checked"] else ", by the hash alone")
    turned = f", {row['how']}" if row["how"] else ""
    look.linked(f'<div class="tg-two">{tiles}</div>', key=key)
    st.caption(f"{row['similarity']:.3f}: {kind}{turned}")
