"""Browsing a dataset: a filtered, paged grid of thumbnails with outlines, and one sample in its original pixels."""

from __future__ import annotations

from html import escape

import streamlit as st

from app import look, overlay, state
from app.state import Loaded
from trugrade_core.schema import Sample

PAGE = 60
FILTERS = ("q", "status", "split", "origin", "class")
MARKS = {
    "done": "check_circle",
    "unlabelled": "radio_button_unchecked",
    "skipped": "skip_next",
    "rescan": "restart_alt",
}
TILES = {"small": 110, "medium": 160, "large": 260}


def grid(loaded: Loaded) -> None:
    if not loaded.samples:
        look.empty(
            "No samples yet",
            "Imported images will stand here as a grid.",
            icon="image",
            action=look.IMPORT,
            dataset=loaded.name,
            view="import",
        )
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        _filter_widgets(loaded)
        tile = st.segmented_control(
            "Tiles",
            list(TILES),
            required=True,
            label_visibility="collapsed",
            **state.in_url("tiles", "medium", list(TILES)),
        )
        st.toggle("Outlines", value=True, key="browse-outlines")
    found = _filtered(loaded)
    pages = max(1, -(-len(found) // PAGE))
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        chips = " ".join(
            look.chip(f"{name}: {value}", icon="filter_alt") for name, value in _asked().items() if name != "q"
        )
        counted = f"{look.count(len(found), 'sample')} of {len(loaded.samples):,}"
        st.html(f'<span class="tg-soft">{counted}</span> &nbsp;{overlay.legend(loaded.classes)} {chips}')
        page = st.pagination(pages, key="browse-page") if pages > 1 else 1
    if not found:
        look.empty("Nothing fits", "No sample fits all the filters above.", icon="filter_alt_off")
        return
    shown = found[(page - 1) * PAGE : page * PAGE]
    tiles = "".join(_tile(loaded, sample) for sample in shown)
    look.linked(f'<div class="tg-grid" style="--tile:{TILES[tile]}px">{tiles}</div>', key="browse-grid")


def _filter_widgets(loaded: Loaded) -> None:
    """Bound to the URL, so that a link opens the same view."""
    st.text_input(
        "Search",
        placeholder="file, card or sample id",
        width=220,
        icon=":material/search:",
        label_visibility="collapsed",
        **state.in_url("q", ""),
    )
    active = sum(name in _asked() for name in FILTERS[1:])
    options = (
        ("status", ["any", *MARKS]),
        ("split", ["any", "train", "val", "test", "none"]),
        ("origin", ["any", "real", "synthetic"]),
        ("class", ["any", *loaded.classes]),
    )
    with st.popover(f"Filters · {active}" if active else "Filters", icon=":material/filter_list:"):
        for name, words in options:
            st.selectbox(name.capitalize(), words, **state.in_url(name, "any", words))


def _asked() -> dict[str, str]:
    """The filters in the URL that narrow anything."""
    return {name: value for name in FILTERS if (value := st.query_params.get(name, "")) not in ("", "any")}


def _filtered(loaded: Loaded) -> list[Sample]:
    asked = _asked()
    words, label = asked.get("q", "").lower(), asked.get("class")

    def fits(sample: Sample) -> bool:
        return (
            asked.get("status", sample.status) == sample.status
            and asked.get("split", sample.split or "none") == (sample.split or "none")
            and asked.get("origin", sample.origin) == sample.origin
            and (label is None or any(a.label == label for a in loaded.annotations.get(sample.id, [])))
            and (not words or any(words in text.lower() for text in (sample.id, sample.card, *sample.sources)))
        )

    return [sample for sample in loaded.samples.values() if fits(sample)]


def _tile(loaded: Loaded, sample: Sample) -> str:
    drawn = loaded.annotations.get(sample.id, []) if st.session_state.get("browse-outlines", True) else []
    picture = overlay.thumb(sample, overlay.annotation_shapes(drawn, loaded.classes))
    name = overlay.name_of(sample)
    mark = look.mark(MARKS[sample.status], sample.status)
    made = look.mark("auto_awesome", "synthetic") if sample.origin == "synthetic" else ""
    caption = f'<div class="cap"><span title="{escape(name)}">{escape(name)}</span><span>{escape(sample.split or "")} {made}{mark}</span></div>'
    return look.link("datasets", picture + caption, css="tg-tile", dataset=loaded.name, sample=sample.id, **_asked())


def detail(loaded: Loaded, sample_id: str) -> None:
    """One sample: its picture as large as the screen allows, what is drawn on it, and where it comes from."""
    sample = loaded.samples.get(sample_id)
    if sample is None:
        look.empty("No such sample", f"The dataset has no sample {sample_id[:40]}.", icon="image_not_supported")
        return
    annotations = loaded.annotations.get(sample.id, [])
    picture, facts = st.columns([5, 2], gap="medium")
    with picture:
        _steps(loaded, sample)
        overlay.sample_viewer(sample, overlay.annotation_shapes(annotations, loaded.classes), key=f"sample-{sample.id}")
    with facts:
        look.table(
            ["", ""],
            [[f'<span class="tg-soft">{name}</span>', value] for name, value in _facts(sample)],
            key="sample-facts",
        )
        st.subheader("What is drawn")
        if annotations:
            rows = [
                [
                    look.chip(a.label or a.value.type, color=overlay.color_of(a.label, loaded.classes)),
                    a.value.type,
                    _extent(sample, overlay.outlines(a.value)),
                ]
                for a in annotations[:200]
            ]
            look.table(["class", "shape", "size"], rows, key="sample-annotations")
        else:
            st.caption("Nothing is drawn: background." if sample.status == "done" else "Not labelled yet.")


def _steps(loaded: Loaded, sample: Sample) -> None:
    asked = _asked()
    ids = [other.id for other in _filtered(loaded)]
    if sample.id not in ids:
        asked, ids = {}, list(loaded.samples)
    at = ids.index(sample.id)
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("All samples", icon=":material/grid_view:", key="sample-back"):
            state.go("datasets", dataset=loaded.name, view="browse", sample="", **asked)
        if st.button(
            "Previous", icon=":material/chevron_left:", disabled=at == 0, shortcut="Left", key="sample-previous"
        ):
            state.go("datasets", dataset=loaded.name, sample=ids[at - 1], **asked)
        if st.button(
            "Next", icon=":material/chevron_right:", disabled=at == len(ids) - 1, shortcut="Right", key="sample-next"
        ):
            state.go("datasets", dataset=loaded.name, sample=ids[at + 1], **asked)
        st.caption(f"{at + 1:,} of {len(ids):,}")


def _facts(sample: Sample) -> list[tuple[str, str]]:
    image = sample.main
    mm = sample.mm_per_px
    size = f"{image.width:,} × {image.height:,} px"
    if mm:
        size += f" · {look.extent(image.width, image.height, mm)}"
    dpi = sample.dpi or image.dpi
    rows = [
        ("file", escape("\n".join(sample.sources[:5]) or "not known")),
        ("sample", f'<span class="tg-mono">{sample.id}</span>'),
        ("card", escape(sample.card) + (' <span class="tg-soft">(assumed)</span>' if sample.card_assumed else "")),
        ("status", look.icon(MARKS[sample.status], sample.status)),
        ("split", sample.split or "none yet"),
        ("size", size),
        ("resolution", f"{look.number(dpi)} dpi" if dpi else "not known: nothing can be said in mm"),
        ("bytes", f"{look.size(image.bytes)} · {image.suffix.lstrip('.')} · {image.mode}, {image.bits} bit"),
        ("origin", sample.origin),
    ]
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
