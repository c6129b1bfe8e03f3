"""What a model or a classical method would draw, kept by its digest and sample until a person accepts or rejects it.

A suggestion's id follows from what it says and who says it; what became of it stands in the log (`saving.Decision`), and
the shape that an accepted one became carries `suggested_by`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import Field, TypeAdapter

from trugrade_core.annotate.saving import SampleState
from trugrade_core.data import rle
from trugrade_core.errors import UsageError
from trugrade_core.schema import Box, Instance, Mask, Polygon, Record, ShapeKind, Value, digest
from trugrade_core.workspace import Workspace, write_json

FINEST_PX = 0.75
"""A mask's outline is simplified to within this of its pixels' edges when its class is drawn as a polygon."""


class Suggestion(Record):
    """`by` is who suggests, as the log keeps it; `score` None where there is none."""

    id: str
    label: str | None
    value: Value
    by: str
    score: float | None = Field(default=None)


_LIST = TypeAdapter(tuple[Suggestion, ...])


def suggestion(sample: str, label: str | None, value: Value, by: str, score: float | None = None) -> Suggestion:
    said = {"sample": sample, "by": by, "label": label, "value": value.model_dump(mode="json")}
    return Suggestion(id=digest(said)[:16], label=label, value=value, by=by, score=score)


def from_instances(
    sample: str, instances: Iterable[Instance], by: str, shapes: Mapping[str, ShapeKind]
) -> tuple[Suggestion, ...]:
    """What a model found, as the shapes in which each class is drawn; classes that are not in `shapes` are left out."""
    return tuple(
        suggestion(sample, i.label, as_drawn(i, shapes[i.label]), by, round(i.score, 4))
        for i in instances
        if i.label in shapes
    )


def as_drawn(found: Instance, kind: ShapeKind) -> Box | Polygon | Mask:
    """The instance as a box, polygon or mask; without a mask of its own, what its box gives."""
    if kind == "mask" and found.mask is not None:
        return found.mask
    if kind == "polygon":
        outlines = rle.mask_outlines(rle.decode(found.mask)) if found.mask is not None else []
        if outlines:
            return simplified(max(outlines, key=_extent))
        x0, y0, x1, y1 = found.box
        return Polygon(points=((x0, y0), (x1, y0), (x1, y1), (x0, y1)))
    return Box(xyxy=found.box)


def simplified(outline: np.ndarray) -> Polygon:
    """A closed outline (N, 2) with fewer points, none further than FINEST_PX from it."""
    import cv2

    kept = cv2.approxPolyDP(outline.astype(np.float32).reshape(-1, 1, 2), FINEST_PX, True).reshape(-1, 2)
    points = kept if len(kept) >= 3 else outline
    return Polygon(points=tuple((float(x), float(y)) for x, y in points))


def _extent(outline: np.ndarray) -> float:
    low, high = outline.min(axis=0), outline.max(axis=0)
    return float((high - low).prod())


# --- kept until decided --------------------------------------------------------------------------------------------


def _path(ws: Workspace, source: str, sample: str) -> Path:
    if not (re.fullmatch(r"[0-9a-f]{8,64}", source) and re.fullmatch(r"\w{1,64}", sample)):
        raise UsageError(f"'{source[:40]}' and '{sample[:40]}' are no digest and sample")
    return ws.cache / "suggestions" / source[:32] / f"{sample}.json"


def keep(ws: Workspace, source: str, sample: str, found: Sequence[Suggestion]) -> None:
    """`source` is the digest of what suggests: another model, or the same one trained on, suggests anew."""
    write_json(_path(ws, source, sample), [one.model_dump(mode="json") for one in found])


def kept(ws: Workspace, source: str, sample: str) -> tuple[Suggestion, ...] | None:
    """What was suggested, or None where that source was not asked (or its cached answer cannot be read)."""
    try:
        return _LIST.validate_json(_path(ws, source, sample).read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def undecided(found: Iterable[Suggestion], state: SampleState) -> tuple[Suggestion, ...]:
    """Those that nobody has accepted or rejected in that layer."""
    return tuple(one for one in found if one.id not in state.decided)
