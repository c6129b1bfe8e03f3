"""Splitting a dataset: the shares and what stays together, what that would come to, and only then doing it."""

from __future__ import annotations

from html import escape
from typing import Any

import streamlit as st

from app import look, page_words, state
from app.compare_panel import now_stamp
from trugrade_core.workflows import versioning
from trugrade_core.workspace import Workspace

UNITS = {"design": "Card design", "print": "Print", "session": "Scan session"}
SPLITS = ("train", "val", "test")
ROWS = 60


def tell(name: str, text: str) -> None:
    """Say it at the top of the dataset's versions after the page has been drawn anew."""
    st.session_state[f"told-{name}"] = text
    st.rerun()


def mark(name: str) -> None:
    """Note that it was asked for, before the page is drawn."""
    st.session_state[name] = True


def show(ws: Workspace, name: str, *, is_first: bool, has_samples: bool) -> None:
    shown = f"split-{name}"
    if st.query_params.get("part") == "split" and has_samples:  # the address of the preview itself
        st.session_state.setdefault(shown, True)
    with st.expander("Split the cards", icon=":material/call_split:", expanded=is_first or shown in st.session_state):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            ratios = st.text_input("Shares  :small[:gray[train/val/test]]", value="70/15/15", width=150)
            seed = st.number_input("Seed", min_value=0, value=0, width=110)
            folds = st.number_input("Folds  :small[:gray[0: none]]", min_value=0, max_value=100, value=0, width=120,
                                    help="Cross-validation: train and val in K parts, stored with the version; test stays locked away.")  # fmt: skip
            by = st.pills("Also kept together  :small[:gray[a card always is]]", list(UNITS), selection_mode="multi", width="content",
                          format_func=UNITS.__getitem__, help="The design is the strongest: a model that has seen one copy of a design knows the other.")  # fmt: skip
            is_next = is_first and has_samples and shown not in st.session_state
            st.button("Preview the split", icon=":material/preview:", type="primary" if is_next else "secondary",
                      disabled=not has_samples, on_click=mark, args=(shown,))  # fmt: skip
        if st.session_state.get(shown):
            with look.errors("planning the split"):
                _plan(ws, name, ratios, int(seed), int(folds), tuple(by), is_first)


def _plan(ws: Workspace, name: str, ratios: str, seed: int, folds: int, by: tuple[str, ...], is_first: bool) -> None:
    wanted = versioning.parse_ratios(ratios)
    found = state.cached(
        ("split", str(ws.root), name, wanted, seed, by, folds),
        now_stamp(ws, name),
        lambda: versioning.preview_split(ws, name, ratios=wanted, seed=seed, by=by, folds=folds),
    )
    st.html(look.facts(_facts(found)))
    for note in found["notes"]:
        st.caption(f":material/info: {_plain(look.sentence(page_words.said(note)))}")
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _balance(found, wanted)
    with right:
        _sides(found)
    if st.button("Split and keep", type="primary" if is_first else "secondary", icon=":material/call_split:"):
        made = versioning.split_dataset(ws, name, ratios=wanted, seed=seed, by=by, folds=folds)
        st.session_state.pop(f"split-{name}")
        state.keep(part="")
        also = f", with {folds} folds" if folds else ""
        tell(name, f"Kept as {name}@{made['version']}{also}. Next: train on it.")


def _plain(text: str) -> str:
    """Text of files in Markdown: nothing of it is formatting."""
    return "".join(f"\\{c}" if c in r"\`*_{}[]()#+-.!$:~<>|" else c for c in text)


def _facts(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    units = found["details"]["groups"]
    items = [
        (split, f"{n['samples']:,} <small>samples</small>", f"{look.count(n['cards'], 'card')}, {n['labelled']:,} labelled")
        for split, n in found["splits"].items()
    ]  # fmt: skip
    kept = "cards" if not found["by"] else f"groups by {' and '.join(found['by'])}"
    return [
        *items,
        ("leaks", f"{found['leaks']:,}", "on two sides"),
        ("imbalance", f"{100 * found['imbalance']:.2g} %", f"whole cards allow {100 * found['least_imbalance']:.2g} % at best"),
        (kept, f"{units['count']:,}", f"the largest has {look.count(units['largest'][0]['cards'], 'card')}"),
    ]  # fmt: skip


def _balance(found: dict[str, Any], wanted: tuple[float, float, float]) -> None:
    """Each class, tag, score level and origin by split, beside how many the shares ask for."""
    rows = found["details"]["balance"]

    def cell(row: dict[str, Any], split: str, share: float) -> str:
        said = f"{row[split]:,} <span class='tg-soft'>of {round(row['total'] * share, 2):,g}</span>"
        return f"<b>{said}</b>" if share and not row[split] else said

    look.table(
        ["cards with", "all", *SPLITS, "misplaced"],
        [
            [look.clip(_words(row["name"]), 16), f"{row['total']:,}",
             *(cell(row, split, share) for split, share in zip(SPLITS, wanted, strict=True)), f"{100 * row['off']:.2g} %"]
            for row in rows[:ROWS]
        ],
        key="split-balance",
        right=(1, 2, 3, 4, 5),
    )  # fmt: skip
    more = f" {len(rows) - ROWS} more are not shown." if len(rows) > ROWS else ""
    st.caption(f"Each cell: how many, of how many the shares ask for. Misplaced: the part that lies in another split.{more}")  # fmt: skip


def _words(name: str) -> str:
    kind, colon, value = name.partition(":")
    return f"{kind} {value}" if colon else {"cards": "all cards", "done": "labelled"}.get(name, name)


def _sides(found: dict[str, Any]) -> None:
    """What moves, the largest groups, the folds."""
    moves = [m for m in found["moves"] if m["from"] != "none"]
    if moves:
        look.table(["from", "to", "cards"], [[m["from"], m["to"], f"{m['cards']:,}"] for m in moves], key="split-moves", right=(2,))  # fmt: skip
    new = sum(m["cards"] for m in found["moves"] if m["from"] == "none")
    if new or not moves:
        st.caption(f"{look.count(new, 'card')} get a split for the first time." if new else "No card moves.")
    if found["by"]:
        largest = found["details"]["groups"]["largest"]
        look.table(["largest groups", "cards"], [[look.clip(g["name"], 18), f"{g['cards']:,}"] for g in largest], key="split-groups", right=(1,))  # fmt: skip
    if "folds" in found:
        folds = found["folds"]
        look.table(
            ["fold", "cards", "samples", "labelled"],
            [[str(i), f"{n['cards']:,}", f"{n['samples']:,}", f"{n['labelled']:,}"] for i, n in enumerate(folds["folds"])],
            key="split-folds",
            right=(0, 1, 2, 3),
        )  # fmt: skip
        st.caption(escape(f"In each fold its own cards are val and the others train. Imbalance {100 * folds['imbalance']:.2g} %."))  # fmt: skip
