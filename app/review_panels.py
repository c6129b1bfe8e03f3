"""The parts of a review on a page: agreement in figures, people, the queue with its votes, one sample and its decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import streamlit as st

from app import look, overlay, state
from app.state import who
from trugrade_core.annotate.agreement import Votes
from trugrade_core.schema import Annotation
from trugrade_core.workflows import annotating, grading
from trugrade_core.workspace import Workspace

PAGE = 36
LISTED = 12
READING = {
    "reliable": ("finished", "check_circle"),
    "tentative": ("stopped", "error"),
    "not reliable": ("failed", "block"),
}
HOLDS, MAJORITY = "what holds", "the majority"
Cell = Mapping[str, Any]


# --- read through the cache ---------------------------------------------------------------------------------------


def _stamp(ws: Workspace, name: str) -> tuple[Any, ...]:
    files = ("annotations.jsonl", "samples.jsonl", "assignments.jsonl", "label_studio.json")
    return tuple(state.stamp(ws.datasets / name / file) for file in files)


def review(ws: Workspace, name: str) -> grading.Review:
    key = "review", str(ws.root), name
    with st.spinner("Comparing the votes", show_time=True):
        return state.cached(key, _stamp(ws, name), lambda: grading.review(ws, name))


def progress(ws: Workspace, name: str) -> list[dict[str, Any]]:
    return state.cached(("people", str(ws.root), name), _stamp(ws, name), lambda: grading.progress(ws, name))


def _agreement(ws: Workspace, name: str) -> dict[str, Any]:
    key = "agreement", str(ws.root), name
    with st.spinner("Working out how far graders agree", show_time=True):
        return state.cached(key, _stamp(ws, name), lambda: grading.agreement(ws, name))


def graders_of(votes: Mapping[str, Votes]) -> list[str]:
    return sorted({grader for one in votes.values() for grader in one.by})


# --- agreement in figures -----------------------------------------------------------------------------------------


def agreement(ws: Workspace, name: str) -> None:
    found = _agreement(ws, name)
    if not found["samples"]:
        return
    _headline(found)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _pairs(found)
    with right:
        rows = [
            [look.clip(label or "no class", 10), _figure(c["f1"]), _figure(c["distance_mm"], "mm"), _n(c["f1"])]
            for label, c in found["shapes"]["classes"].items()
        ]
        if rows:
            look.table(["class", "F1", "boundaries apart", "on"], rows, key="review-classes")
    st.caption(
        "In brackets the 95 % interval when cards are drawn again. Shapes count as the same from an IoU of 0.5 on; boundaries "
        "apart is the mean distance of outlines that do, in mm where the scan's resolution is known."
    )


def _headline(found: Mapping[str, Any]) -> None:
    alpha = found["scores"]["alpha"]
    if alpha and alpha["value"] is not None:
        css, icon = READING[alpha["reading"]]
        word = look.sentence(alpha["reading"])
        said = f"Krippendorff's alpha {look.measured({**alpha, 'n_cards': alpha['cards']})}"
        rule = "0.80 and more is customarily called reliable, 0.667 and more tentative"
        st.html(f'<div><span class="tg-state {css}">{look.icon(icon)} {word}</span> <span class="tg-num">{escape(said)}</span> '
                f'<span class="tg-soft">{look.count(found["samples"], "sample")} seen by several; {rule}.</span></div>')  # fmt: skip
    else:
        why = "their scores never vary: alpha says nothing" if alpha else "no scores were given: alpha says nothing"
        st.html(f'<div><b>{look.count(found["samples"], "sample")}</b> seen by several '
                f'<span class="tg-soft">({why})</span></div>')  # fmt: skip


def _pairs(found: Mapping[str, Any]) -> None:
    """A row for each two graders; columns for what they gave: scores, tags, else shapes."""
    kinds: dict[str, list[Mapping[str, Any]]] = {"scores": found["scores"]["pairs"], "tags": found["tags"], "shapes": found["shapes"]["pairs"]}  # fmt: skip
    rows: dict[tuple[str, ...], dict[str, Mapping[str, Any]]] = {}
    for kind, pairs in kinds.items():
        for pair in pairs:
            rows.setdefault(tuple(pair["graders"]), {})[kind] = pair
    heads, cells = ["graders"], [[" and ".join(escape(_cut(g, 12)) for g in pair)] for pair in rows]
    if kinds["scores"]:
        heads += ["kappa, quadratic", "within ½ grade"]
        for own, row in zip(rows.values(), cells, strict=True):
            said = own.get("scores")
            row += [_figure(said and said["kappa"]), f"{100 * said['within_half']:.0f} %" if said else ""]
    for kind, title in (("tags", "F1 of tags"), ("shapes", "F1 of shapes")):
        if kinds[kind] and (kind == "tags" or not kinds["scores"]):
            heads.append(title)
            for own, row in zip(rows.values(), cells, strict=True):
                row.append(_figure(own.get(kind, {}).get("f1")))
    for own, row in zip(rows.values(), cells, strict=True):
        row.append(_n(next(pair.get("kappa") or pair["f1"] for pair in own.values())))
    if cells:
        look.table([*heads, "on"], cells, key="review-pairs")


def _cut(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _figure(cell: Cell | None, unit: str = "") -> str:
    if cell is None or cell["value"] is None:
        return '<span class="tg-soft">not measured</span>'
    between = look.interval(dict(cell))
    return f'<span class="tg-num">{look.number(cell["value"], unit)}</span>' + (
        f' <span class="tg-soft">({between})</span>' if between else ""
    )


def _n(cell: Cell) -> str:
    return f'<span class="tg-soft tg-num">{look.count(cell["cards"], "card")}</span>'


# --- people -------------------------------------------------------------------------------------------------------


def people(ws: Workspace, name: str) -> None:
    rows = progress(ws, name)
    if not rows:
        return
    bias = {g["grader"]: g["bias"] for g in _agreement(ws, name)["graders"]}
    there = any(row["there"] for row in rows)
    cells = []
    for row in rows:
        share = row["done"] / row["assigned"] if row["assigned"] else 0
        done = look.bar(share, f"{row['done']:,} of {row['assigned']:,}") if row["assigned"] else "nothing assigned"
        at = f"{row['there']:,} in {_minutes(row['there_minutes'])}" if row["there"] else ""
        cells.append([look.clip(row["who"], 16), done, f"{row['blind']:,}" if row["blind"] else "",
                      _minutes(row["minutes"]) if row["minutes"] else "", *([at] if there else []),
                      _signed(bias.get(row["who"]))])  # fmt: skip
    heads = ["person", "done", "blind", "time in the lab", *(["at Label Studio"] if there else []), "above the others"]
    look.table(heads, cells, key="review-people", right=(2, 3))
    st.caption(
        "Done is what a person has said something of. Time runs from each change to the next, pauses over five minutes left out; "
        "above the others: by how many grades the scores lie over the mean of those who saw the same sample."
    )


def _minutes(minutes: float) -> str:
    return look.duration(round(60 * minutes)) if minutes * 60 >= 1 else "under 1 s"


def _signed(cell: Cell | None) -> str:
    if cell is None or cell["value"] is None:
        return ""
    between = (
        "" if cell["low"] is None else f' <span class="tg-soft">({cell["low"]:+.2f} to {cell["high"]:+.2f})</span>'
    )
    return f'<span class="tg-num">{cell["value"]:+.2f}</span>{between} {_n(cell)}'


# --- conflicts ----------------------------------------------------------------------------------------------------


def conflicts(ws: Workspace, name: str) -> None:
    """What two people changed without seeing each other, in what holds: settled on the Annotate page."""
    key = "conflicts", str(ws.root), name
    found = state.cached(
        key, state.stamp(ws.datasets / name / "annotations.jsonl"), lambda: annotating.conflicts(ws, name)
    )
    samples = list(dict.fromkeys(c.sample for c in found if c.heads[0].layer == "main"))
    if not samples:
        return
    files = state.names_of(ws, name, samples[:LISTED])
    links = [look.link("annotate", look.clip(file, 12), dataset=name, sample=sample) for sample, file in files.items()]
    more = (
        look.link("annotate", f"all {len(samples):,}", dataset=name, conflict="yes", sample="")
        if len(samples) > LISTED
        else ""
    )
    look.linked(
        f'<div><span class="tg-state failed">{look.icon("call_split")} {look.count(len(samples), "sample")} in conflict</span> '
        f'<span class="tg-soft">two people changed the same without seeing each other; settle:</span> {" ".join([*links, more])}</div>',
        key="review-conflicts",
    )


# --- the queue ----------------------------------------------------------------------------------------------------


def vote_shapes(votes: Votes, colors: Mapping[str, str], graders: Sequence[str]) -> list[overlay.Shape]:
    """Each grader's outlines in that one's colour."""
    return [shape for grader in graders for shape in _shapes(votes.shapes(grader), colors[grader])]


def _shapes(annotations: Sequence[Annotation], color: str) -> list[overlay.Shape]:
    return [
        overlay.Shape(points=points, label=a.label or "", color=color, dash=False)
        for a in annotations
        for points in overlay.outlines(a.value)
    ]


def colors_of(graders: Sequence[str]) -> dict[str, str]:
    return {grader: overlay.CLASS_COLORS[n % len(overlay.CLASS_COLORS)] for n, grader in enumerate(graders)}


def grid(name: str, found: grading.Review, shown: str) -> None:
    st.html(Path(__file__).with_name("review.css"))
    rows = found.queue if shown == "queue" else found.settled
    if not rows:
        st.caption("Every sample with several votes is settled." if shown == "queue" else "Nothing is settled yet.")
        return
    colors = colors_of(graders_of(found.votes))
    pages = max(1, -(-len(rows) // PAGE))
    page = st.pagination(pages, key=f"review-page-{shown}-{pages}") if pages > 1 else 1
    tiles = []
    for row in rows[(page - 1) * PAGE : page * PAGE]:
        votes = found.votes[row["sample"]]
        picture = overlay.thumb(votes.sample, vote_shapes(votes, colors, row["graders"]))
        said = f"{row['disagreement']:.2g} apart" if row["disagreement"] else "alike"
        caption = f'<div class="cap"><span>{escape(overlay.name_of(votes.sample))}</span><span>{said}</span></div>'
        chips = "".join(
            f'<div class="tg-vote">{look.chip(_short(votes, g), color=colors[g])}</div>' for g in row["graders"]
        )
        tiles.append(
            look.link("review", f"{picture}{caption}{chips}", css="tg-tile", dataset=name, sample=row["sample"])
        )
    look.linked(f'<div class="tg-grid" style="--tile:190px">{"".join(tiles)}</div>', key="review-grid")


def _short(votes: Votes, grader: str) -> str:
    """A vote in a few characters."""
    score, tags, shapes = votes.score(grader), votes.tags(grader), len(votes.shapes(grader))
    words = [f"{score:g}"] if score is not None else []
    words += [", ".join(sorted(tags)) or "no tags"] if tags is not None else []
    words += [look.count(shapes, "shape")] if shapes else []
    return f"{_cut(grader, 10)} {' · '.join(words) or 'nothing there'}"


# --- one sample ---------------------------------------------------------------------------------------------------


def one(ws: Workspace, name: str, found: grading.Review, sample: str) -> None:
    votes = found.votes[sample]
    settled = next((row for row in found.settled if row["sample"] == sample), None)
    rows = found.settled if settled else found.queue
    order = [row["sample"] for row in rows]
    chips = [look.chip(name, icon="photo_library", page="review", dataset=name, sample=""),
             look.chip(overlay.name_of(votes.sample), icon="image", page="datasets", dataset=name, sample=sample)]  # fmt: skip
    with look.head("Review", chips=chips):
        _steps(name, order, sample)
    if note := st.session_state.pop("review-note", ""):
        st.success(note, icon=":material/check:")
    colors = colors_of(graders_of(found.votes))
    picture, side = st.columns([5, 2], gap="medium")
    with picture:
        _pictures(ws, name, votes, colors)
    with side:
        _votes(ws, name, votes, colors, next((row for row in rows if row["sample"] == sample), None))
        if settled:
            st.html(f'<div><span class="tg-state finished">{look.icon("check_circle", "settled")}</span> by {escape(settled["who"])}, '
                    f'{escape(settled["when"][:16].replace("T", " "))} UTC: {escape(settled["reason"])}</div>')  # fmt: skip
        _decide(ws, name, votes, order)


def _steps(name: str, order: Sequence[str], sample: str) -> None:
    at = order.index(sample) if sample in order else -1
    if at >= 0:
        st.caption(f"{at + 1:,} of {len(order):,}")
    if st.button("All samples", icon=":material/grid_view:", key="review-all"):
        state.go("review", dataset=name, sample="")
    if st.button("Previous", icon=":material/chevron_left:", disabled=at < 1, shortcut="Left", key="review-previous"):
        state.go("review", dataset=name, sample=order[at - 1])
    last = at < 0 or at == len(order) - 1
    if st.button("Next", icon=":material/chevron_right:", disabled=last, shortcut="Right", key="review-next"):
        state.go("review", dataset=name, sample=order[at + 1])


def _pictures(ws: Workspace, name: str, votes: Votes, colors: Mapping[str, str]) -> None:
    layers = {g: _shapes(votes.shapes(g), colors[g]) for g in votes.by}
    held = annotating.state(ws, name, votes.sample.id).shown
    layers[HOLDS] = [
        overlay.Shape(points=points, label=e.label or "", color=overlay.MISSING_COLOR, dash=True)
        for e in held
        for points in overlay.outlines(e.value)
    ]
    drawn = [layer for layer, shapes in layers.items() if shapes]
    if not drawn:
        overlay.sample_viewer(votes.sample, [], key=f"review-{votes.sample.id}")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        how = st.segmented_control("Shapes", ["over one another", "side by side"], required=True, label_visibility="collapsed",
                                   **state.in_url("how", "over one another", ["over one another", "side by side"]))  # fmt: skip
        on = st.pills("Show", drawn, selection_mode="multi", default=[g for g in drawn if g != HOLDS] or drawn,
                      label_visibility="collapsed", key=f"review-layers-{votes.sample.id}")  # fmt: skip
    if how == "over one another" or len(on) < 2:
        shapes = [shape for layer in on for shape in layers[layer]]
        overlay.sample_viewer(votes.sample, shapes, key=f"review-{votes.sample.id}")
        return
    for column, layer in zip(st.columns(len(on)), on, strict=True):
        with column:
            st.html(look.chip(layer, color=colors.get(layer, overlay.MISSING_COLOR)))
            overlay.sample_viewer(votes.sample, layers[layer], key=f"review-{votes.sample.id}-{layer}")


def _votes(ws: Workspace, name: str, votes: Votes, colors: Mapping[str, str], row: Mapping[str, Any] | None) -> None:
    rows = [[look.chip(g, color=colors[g]), escape(_said(votes.by[g]))] for g in votes.by]
    rows.append([f'<span class="tg-soft">{MAJORITY}</span>', escape(_said(grading.would_hold(votes)))])
    held = [e.value for e in annotating.state(ws, name, votes.sample.id).shown if e.value]
    drawn = sum(bool(overlay.outlines(value)) for value in held)
    said = [f"{v.score:g}" if v.type == "score" else ", ".join(v.tags) for v in held if v.type in ("score", "tags")]
    said += [look.count(drawn, "shape")] if drawn else []
    rows.append([f'<span class="tg-soft">{HOLDS}</span>', escape(" · ".join(said) or "nothing yet")])
    look.table(["grader", "says"], rows, key="review-votes")
    if row:
        st.caption(
            f"{row['disagreement']:.3g} apart: the spread of scores in grades, plus what of shapes and tags differs."
        )


def _said(annotations: Sequence[Annotation]) -> str:
    words, drawn = [], dict[str, int]()
    for a in annotations:
        if a.value.type == "score":
            words.append(f"{a.value.score:g}")
        elif a.value.type == "tags":
            words.append(", ".join(a.value.tags) or "no tags")
        elif a.value.type != "status":
            drawn[a.label or "no class"] = drawn.get(a.label or "no class", 0) + 1
    words += [label if n == 1 else f"{n} {label}" for label, n in drawn.items()]
    return " · ".join(words) or "nothing there"


def _decide(ws: Workspace, name: str, votes: Votes, order: Sequence[str]) -> None:
    id = votes.sample.id
    if held := annotating.read_only(ws, name, id):
        st.warning(f"Cannot be settled now: {held}.")
        return
    reason = st.text_input("Reason", placeholder="why this holds (kept with the label)", key=f"review-reason-{id}")
    taken = None
    if st.button(
        "Take the majority", type="primary", icon=":material/how_to_vote:", key="review-majority", width="stretch"
    ):
        taken = ""
    for grader in votes.by:
        if st.button(f"Take {grader}'s", key=f"review-take-{grader}", width="stretch"):
            taken = grader
    st.caption("Writes it as what holds, by your name. The votes stay, and it can be decided anew.")
    if taken is None:
        return
    with look.errors("settling"):
        grading.settle(ws, name, who=who(), reason=reason, samples=[id], grader=taken)
        st.session_state["review-note"] = f"Settled {overlay.name_of(votes.sample)}: {taken or MAJORITY}."
        at = order.index(id) if id in order else -1
        following = order[at + 1] if 0 <= at < len(order) - 1 else ""
        state.go("review", dataset=name, sample=following)
