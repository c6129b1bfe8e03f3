"""Pictures with what was drawn or found on them. Pictures come by URL; outlines are SVG over them, in image pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any, TypedDict

import streamlit as st

from app import look
from trugrade_core.schema import Annotation, Box, Instance, Mask, Polygon, Sample, Value

CLASS_COLORS = ("#19d3ff", "#ffd23f", "#ff6fb0", "#8cf26b", "#ff9a4d", "#b99bff")
MISSING_COLOR = "#ffffff"
_HERE = Path(__file__).parent
_VIEWER_HTML = """
<div class="stage" tabindex="0" role="img" aria-label="picture; wheel or plus and minus zoom, arrows move">
  <svg xmlns="http://www.w3.org/2000/svg"></svg><div class="bar"></div>
</div>
<div class="tools">
  <button data-key="0" title="Fit (0)">Fit</button><button data-key="1" title="Original pixels (1)">1:1</button>
  <button data-key="-" title="Smaller (-)" aria-label="smaller">−</button><button data-key="+" title="Larger (+)" aria-label="larger">+</button>
  <span class="scale"></span><button class="outlines" data-key="o" title="Outlines (o)">Outlines</button>
  <a class="original" target="_blank" title="The bytes exactly as given">Original file</a><span class="where"></span>
</div>
"""


class Shape(TypedDict):
    """An outline in image pixels (centres at integers), with its words and colour."""

    points: list[tuple[float, float]]
    label: str
    color: str
    dash: bool


def outlines(value: Value | None) -> list[list[tuple[float, float]]]:
    """The closed outlines of an annotation's value; none for tags and scores."""
    if isinstance(value, Box):
        x0, y0, x1, y1 = value.xyxy
        return [[(x0, y0), (x1, y0), (x1, y1), (x0, y1)]]
    if isinstance(value, Polygon):
        return [list(value.points)]
    if isinstance(value, Mask):
        return _mask_outlines(value)
    return []


@st.cache_data(max_entries=2000, show_spinner=False, hash_funcs={Mask: lambda m: (m.counts, m.size_hw)})
def _mask_outlines(mask: Mask) -> list[list[tuple[float, float]]]:
    """Along the edges of its pixels."""
    from trugrade_core.data.rle import decode, mask_outlines

    return [[(float(x), float(y)) for x, y in outline] for outline in mask_outlines(decode(mask))]


def color_of(label: str | None, classes: Sequence[str]) -> str:
    return CLASS_COLORS[classes.index(label) % len(CLASS_COLORS)] if label in classes else MISSING_COLOR


def annotation_shapes(annotations: Iterable[Annotation], classes: Sequence[str]) -> list[Shape]:
    return [
        Shape(points=points, label=a.label or "", color=color_of(a.label, classes), dash=False)
        for a in annotations
        for points in outlines(a.value)
    ]


def instance_shapes(instances: Iterable[Instance], classes: Sequence[str]) -> list[Shape]:
    """What a model found, dashed, with its score; the mask's outline where there is one, else the box."""
    return [
        Shape(
            points=points,
            label=f"{i.label} {i.score:.2f}" if n == 0 else "",
            color=color_of(i.label, classes),
            dash=True,
        )
        for i in instances
        for n, points in enumerate(outlines(i.mask or Box(xyxy=i.box)))
    ]


def thumb(sample: Sample, shapes: Sequence[Shape]) -> str:
    """A small picture with its outlines, as HTML; loaded when it comes into view."""
    image = sample.main
    return thumb_of(image.sha256, image.width, image.height, name_of(sample), shapes)


def thumb_of(sha256: str, width: int, height: int, name: str, shapes: Sequence[Shape]) -> str:
    """As `thumb`, of a picture of `width` x `height` px whose sample is not at hand."""
    side = "width:100%" if width * 4 >= height * 3 else "height:100%"
    drawn = "".join(_svg_shape(shape) for shape in shapes)
    return (
        f'<div class="tg-shot"><div class="tg-pic" style="aspect-ratio:{width}/{height};{side}">'
        f'<img src="/lab/thumb/{sha256}" loading="lazy" decoding="async" alt="{escape(name)}">'
        f'<svg viewBox="-0.5 -0.5 {width} {height}" preserveAspectRatio="none">{drawn}</svg></div></div>'
    )


def _svg_shape(shape: Shape) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape["points"])
    dash = ' stroke-dasharray="5 3"' if shape["dash"] else ""
    return (
        f'<polygon class="tg-halo" points="{points}"/>'
        f'<polygon class="tg-shape" points="{points}" stroke="{shape["color"]}"{dash}/>'
    )


def name_of(sample: Sample) -> str:
    """The file that a sample came from, without its folders; else its id."""
    return Path(sample.sources[0]).name if sample.sources else sample.id


def legend(classes: Sequence[str]) -> str:
    """Class names with their colours, as HTML."""
    return " ".join(look.chip(name, color=color_of(name, classes)) for name in classes)


def viewer(
    src: str,
    original: str,
    width: int,
    height: int,
    shapes: Sequence[Shape],
    *,
    key: str,
    alt: str,
    mm_per_px: float | None,
    view_height: int = 420,
) -> None:
    """The zoomable picture with a scale bar, as high as the window allows, at least `view_height` px.

    `src` and `original` are URLs of this app; `width` and `height` are the picture's, in px.
    """
    component = st.components.v2.component(
        "tg_viewer",
        html=_VIEWER_HTML,
        css=(_HERE / "viewer.css").read_text(),
        js=(_HERE / "viewer.js").read_text(),
    )
    data: dict[str, Any] = {
        "src": src,
        "original": original,
        "width": width,
        "height": height,
        "shapes": list(shapes),
        "alt": alt,
        "mm_per_px": mm_per_px,
        "view_height": view_height,
    }
    component(key=key, data=data)


def sample_viewer(sample: Sample, shapes: Sequence[Shape], *, key: str) -> None:
    image = sample.main
    viewer(
        f"/lab/image/{image.sha256}",
        f"/lab/original/{image.sha256}",
        image.width,
        image.height,
        shapes,
        key=key,
        alt=name_of(sample),
        mm_per_px=sample.mm_per_px,
    )
