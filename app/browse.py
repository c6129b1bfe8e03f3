"""Browsing a dataset of any size: a filtered, paged grid of thumbnails with outlines, and one sample in its original pixels."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import explore_bar, explore_edit, explore_panel, look, overlay, state
from trugrade_core.data.filters import Filter
from trugrade_core.errors import UsageError
from trugrade_core.schema import Sample
from trugrade_core.workspace import Workspace

if TYPE_CHECKING:
    from trugrade_core.data.explore import Explorer, Found

PAGE = 60
_HERE = Path(__file__).parent


def grid(ws: Workspace, found: Explorer, classes: Sequence[str]) -> None:
    name = found.ds.name
    st.html(_HERE / "explore.css")
    explore_bar.subset_card(ws)
    if not found.total():
        look.empty(
            "No samples yet",
            "Imported images will stand here as a grid.",
            icon="image",
            action=look.IMPORT,
            dataset=name,
            view="import",
        )
        return
    f = _filter(name)
    if f is None:
        return
    explore_bar.bar(found, classes)
    explore_bar.said(found)
    if not explore_bar.is_on("panel"):
        _tiles(found, f, classes)
        return
    left, right = st.columns([3.4, 1], gap="medium")
    with left:
        _tiles(found, f, classes)
    with right:
        explore_panel.panel(found, f, classes)


def _filter(name: str) -> Filter | None:
    """The filter and order of the address; None, and it is said, when they mean nothing."""
    from trugrade_core.data.filters import order

    try:
        order(explore_bar.sort())
        return explore_bar.asked()
    except UsageError as e:
        look.error(e)
        if st.button("Clear the filter", type="primary", icon=":material/filter_alt_off:"):
            state.go("datasets", dataset=name, view="browse")
        return None


@st.fragment
def _tiles(found: Explorer, f: Filter, classes: Sequence[str]) -> None:
    """The count, the selection and a page of tiles; turning the page and selecting draw no more than this."""
    with look.errors("opening the dataset"):
        _page(state.explorer(found.ds.ws, found.ds.name), f, classes)  # with what others wrote meanwhile


def _page(found: Explorer, f: Filter, classes: Sequence[str]) -> None:
    name = found.ds.name
    page = found.page(f, sort=explore_bar.sort(), number=_number(), size=PAGE)
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        counted = f"{look.count(page.total, 'sample')} of {found.total():,}"
        legend = "" if explore_bar.is_on("panel") else overlay.legend(classes)
        asked = f'<span class="tg-soft">{counted}</span> {explore_bar.chips(name, f)} {legend}'
        look.linked(f'<div class="tg-asked">{asked}</div>', key="explore-asked")
        if page.pages > 1:
            _turn(page.number, page.pages)
    explore_edit.bar(found, f, page.total, classes)
    if not page.rows:
        look.empty("Nothing fits", "No sample fits the whole filter.", icon="filter_alt_off")
        if st.button("Clear the filter", icon=":material/filter_alt_off:"):
            state.go("datasets", dataset=name, view="browse", **explore_bar.params(Filter()))
        return
    tile = explore_bar.TILES.get(st.query_params.get("tiles", ""), explore_bar.TILES["medium"])
    drawn = explore_bar.is_on("outlines")
    address = explore_bar.params(f)
    tiles = "".join(_tile(name, row, classes, address, drawn=drawn) for row in page.rows)
    _grid(
        name,
        page.number,
        page.pages,
        f'<div class="tg-grid" style="--tile:{tile}px">{tiles}</div>',
        [r.sample.id for r in page.rows],
    )


def _turn(number: int, pages: int) -> None:
    # A new one for each page: the address says which, whoever turned it.
    key = f"explore-page-{number}-{pages}"
    st.pagination(
        pages,
        default=number,
        max_visible_pages=5,
        key=key,
        on_change=lambda: explore_bar.put(pg="" if st.session_state[key] == 1 else str(st.session_state[key])),
    )


def _number() -> int:
    text = st.query_params.get("pg", "")
    return int(text) if text.isdecimal() else 1


def _grid(name: str, number: int, pages: int, html: str, ids: Sequence[str]) -> None:
    component = st.components.v2.component(
        "tg_grid",
        html='<div class="tg-linked"></div>',
        js=(_HERE / "explore_grid.js").read_text(),
        isolate_styles=False,
    )

    def picked() -> None:
        told = st.session_state["explore-grid"].get("picked")
        if told:
            marked = explore_edit.selected(name)
            for id in told["ids"]:
                marked.pop(id, None)
            marked.update(dict.fromkeys(told["on"]))
            st.session_state["explore-all"] = ""

    def turned() -> None:
        step = st.session_state["explore-grid"].get("turn") or 0
        if 1 <= number + step <= pages:
            explore_bar.put(pg=str(number + step))

    marked = explore_edit.selected(name)
    told = component(
        key="explore-grid",
        data={"html": html, "selected": [id for id in ids if id in marked], "rev": f"{explore_edit.rev()}"},
        on_picked_change=picked,
        on_turn_change=turned,
        on_go_change=lambda: None,
    )
    if told.go:
        state.go(told.go["page"], **told.go["params"])


def _tile(name: str, row: Found, classes: Sequence[str], address: dict[str, str], *, drawn: bool) -> str:
    sample = row.sample
    picture = overlay.thumb(sample, overlay.annotation_shapes(row.annotations, classes) if drawn else [])
    file = overlay.name_of(sample)
    mark = look.mark(look.MARKS[sample.status], sample.status)
    made = look.mark("auto_awesome", "synthetic") if sample.origin == "synthetic" else ""
    caption = (
        f'<div class="cap"><span title="{escape(file)}">{escape(file)}</span>'
        f"<span>{escape(sample.split or '')} {made}{mark}</span></div>"
    )
    link = look.link(
        "datasets", f'<div class="tg-marked">{picture}{_marks(row)}</div>{caption}', css="tg-tile" + (" tg-out" if sample.excluded else ""), dataset=name,
        sample=sample.id, **address,
    )  # fmt: skip
    box = f'<button class="tg-pick" role="checkbox" aria-checked="false" tabindex="-1" aria-label="select {escape(file)}">check</button>'
    return f'<div class="tg-cellbox" data-id="{sample.id}">{link}{box}</div>'


def _marks(row: Found) -> str:
    """Score, tags, findings, conflicts and exclusion, as small marks on the picture."""
    marks = []
    if row.score is not None:
        marks.append(f'<span title="score">{row.score:g}</span>')
    if row.sample.tags:
        marks.append(f'<span title="{escape("tags: " + ", ".join(row.sample.tags))}">{look.icon("sell")}</span>')
    if row.findings:
        said = escape("findings: " + ", ".join(row.findings))
        marks.append(f'<span class="warn" title="{said}">{look.icon("warning")}</span>')
    if row.conflicts:
        marks.append(f'<span class="bad" title="people say different things">{look.icon("call_split")}</span>')
    if row.sample.excluded:
        marks.append(
            f'<span class="bad" title="{escape("excluded: " + row.sample.excluded)}">{look.icon("block")}</span>'
        )
    return f'<div class="tg-marks">{"".join(marks)}</div>' if marks else ""


# --- one sample ---------------------------------------------------------------------------------------------------


def detail(found: Explorer, classes: Sequence[str], sample_id: str) -> None:
    """One sample in its original pixels, with what is known of it, inside the filter that led here."""
    rows = found.get([sample_id])
    f = _filter(found.ds.name)
    if f is None:
        return
    if not rows:
        look.empty("No such sample", f"This dataset has no sample '{sample_id[:40]}'.", icon="image_not_supported")
        if st.button("All samples", icon=":material/grid_view:"):
            state.go("datasets", dataset=found.ds.name, view="browse", sample="")
        return
    (row,) = rows
    sample = row.sample
    picture, facts = st.columns([5, 2], gap="medium")
    with picture:
        _steps(found, sample, f)
        overlay.sample_viewer(sample, overlay.annotation_shapes(row.annotations, classes), key=f"sample-{sample.id}")
    with facts:
        look.table(
            ["", ""],
            [[f'<span class="tg-soft">{name}</span>', value] for name, value in _facts(row)],
            key="sample-facts",
        )
        st.subheader("What is drawn")
        _annotations(row, classes)


def _annotations(row: Found, classes: Sequence[str]) -> None:
    sample = row.sample
    if not row.annotations:
        st.caption("Nothing is drawn: background." if sample.status == "done" else "Not labelled yet.")
        return
    rows = []
    for a in row.annotations[:200]:
        words: Any = a.label or a.value.type
        size = _extent(sample, overlay.outlines(a.value))
        if a.value.type == "score":
            size = f"{a.value.score:g}"
        elif a.value.type == "tags":
            size = escape(", ".join(a.value.tags) or "none")
        severity = a.attributes.get("severity")
        kind = a.value.type + (f" · {escape(str(severity))}" if severity else "")
        rows.append([look.chip(words, color=overlay.color_of(a.label, classes)), kind, size])
    look.table(["class", "shape", "size"], rows, key="sample-annotations")


def _steps(found: Explorer, sample: Sample, f: Filter) -> None:
    name, order = found.ds.name, explore_bar.sort()
    beside = found.neighbours(f, order, sample.id)
    if beside is None:  # it does not fit: among all of them, then
        f = Filter()
        beside = found.neighbours(f, order, sample.id)
    asked = explore_bar.params(f)
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("All samples", icon=":material/grid_view:", key="sample-back"):
            number = -(-beside.at // PAGE) if beside else 1
            state.go("datasets", dataset=name, view="browse", sample="", pg=str(number) if number > 1 else "", **asked)
        before, after = (beside.before, beside.after) if beside else (None, None)
        if st.button(
            "Previous", icon=":material/chevron_left:", disabled=not before, shortcut="Left", key="sample-previous"
        ):
            state.go("datasets", dataset=name, sample=before or "", **asked)
        if st.button("Next", icon=":material/chevron_right:", disabled=not after, shortcut="Right", key="sample-next"):
            state.go("datasets", dataset=name, sample=after or "", **asked)
        if beside:
            st.caption(f"{beside.at:,} of {beside.total:,}")
        if st.button(
            "Annotate",
            icon=":material/draw:",
            shortcut="e",
            key="sample-annotate",
            help="Draw on it, inside this filter",
        ):
            words = f.params() | ({"sort": order} if order != "arrival" else {})
            state.go("annotate", dataset=name, sample=sample.id, **words)


def _facts(row: Found) -> list[tuple[str, str]]:
    sample = row.sample
    image = sample.main
    mm = sample.mm_per_px
    size = f"{image.width:,} × {image.height:,} px"
    if mm:
        size += f" · {look.extent(image.width, image.height, mm)}"
    dpi = sample.dpi or image.dpi
    status = look.icon(look.MARKS[sample.status], sample.status)
    if row.conflicts:
        status += f' <span class="tg-state failed">{look.icon("call_split", "people say different things")}</span>'
    rows = [
        ("file", escape("\n".join(sample.sources[:5]) or "not known")),
        ("sample", f'<span class="tg-mono">{sample.id}</span>'),
        ("card", escape(sample.card) + (' <span class="tg-soft">(assumed)</span>' if sample.card_assumed else "")),
        ("status", status),
        ("split", sample.split or "none yet"),
    ]
    optional = (
        ("excluded", escape(sample.excluded or "")),
        ("tags", " ".join(look.chip(tag, icon="sell") for tag in sample.tags)),
        ("findings", ", ".join(look.wrap(code) for code in row.findings)),
        ("said by", escape(", ".join(row.annotators))),
        ("changed", f"{row.changed:%Y-%m-%d %H:%M} UTC" if row.changed else ""),
    )
    rows += [pair for pair in optional if pair[1]]
    rows += [
        ("size", size),
        ("resolution", f"{look.number(dpi)} dpi" if dpi else "not known: nothing can be said in mm"),
        ("bytes", f"{look.size(image.bytes)} · {image.suffix.lstrip('.')} · {image.mode}, {image.bits} bit"),
        ("origin", sample.origin),
    ]
    if parent := sample.parent:
        whole = look.link("datasets", escape(parent.dataset), dataset=parent.dataset, sample=parent.sample)
        rows.append(("cut from", f"{whole} <span class='tg-soft'>{escape(parent.region)}</span>"))
    for name, value in (("design", sample.design), ("session", sample.session), ("side", sample.side)):
        if value:
            rows.append((name, escape(value)))
    rows.append(("sha256", f'<span class="tg-mono" title="{image.sha256}">{image.sha256[:16]}…</span>'))
    return rows


def _extent(sample: Sample, outlines: list[list[tuple[float, float]]]) -> str:
    points = [point for outline in outlines for point in outline]
    if not points:
        return ""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return look.extent(max(xs) - min(xs), max(ys) - min(ys), sample.mm_per_px)
