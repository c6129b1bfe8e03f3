"""The rows of the explorer's index for one sample: what it is, what is drawn on it, how large and where."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC
from pathlib import Path
from typing import Any

from trugrade_core.data import rle
from trugrade_core.data.card_facts import OUTLINE_CLASSES
from trugrade_core.data.filters import PLACES
from trugrade_core.data.journal import damaged_line, parsed
from trugrade_core.data.store import said
from trugrade_core.errors import DatasetError
from trugrade_core.schema import Box, LogEntry, Mask, Polygon, Sample, Score, Status, Tags, Value

Bounds = tuple[float, float, float, float]


def index_row(sample: Sample, n: int, at: int, heads: list[tuple[str, str, str, int]], log: Path,
         log_line: Callable[[int], bytes]) -> tuple[tuple[Any, ...], list[tuple[Any, ...]]]:  # fmt: skip
    """The row of a sample, and those of what is drawn on it. Places are relative to the card's own outline, `largest_mm`
    is of what lies within."""
    counted: dict[str, LogEntry] = {}
    whole: dict[str, list[LogEntry]] = defaultdict(list)
    several = len({annotation for annotation, *_ in heads}) < len(heads)
    changed = None
    for annotation, layer, op, where in heads:
        if layer != "main" and not several:
            continue
        entry = parsed(LogEntry, log, line := log_line(where))
        if several:
            whole[annotation].append(entry)
        if layer == "main":
            when = entry.when if entry.when.tzinfo else entry.when.replace(tzinfo=UTC)
            changed = when if changed is None or when > changed else changed
            if op == "put":
                if entry.value is None:
                    raise damaged_line(log, line, "a put without a value")
                counted[annotation] = entry
    shapes, scores = _shapes(sample, [e for e in counted.values() if not isinstance(e.value, Status)])
    sizes = [mm for _, label, _, mm, _ in shapes if mm is not None and label not in OUTLINE_CLASSES]
    image = sample.main
    row = (
        sample.id, n, at, "\n".join((sample.id, sample.card, *sample.sources)).lower(),
        sample.sources[0].rstrip("/").rpartition("/")[2] if sample.sources else sample.id,
        image.sha256, sample.card, sample.design, sample.session, sample.side, sample.origin, sample.split,
        sample.status, sample.tags, sample.excluded, sample.parent and sample.parent.region, sample.dpi or image.dpi,
        list(dict.fromkeys(label for _, label, *_ in shapes if label is not None)), sum(kind != "tags" for _, _, kind, *_ in shapes),
        min(sizes, default=None), max(sizes, default=None), scores[-1] if scores else None,
        list(dict.fromkeys(e.who for e in counted.values())),
        changed and changed.astimezone(UTC).replace(tzinfo=None),
        sum(len({said(e) for e in entries}) > 1 for entries in whole.values() if len(entries) > 1),
    )  # fmt: skip
    return row, shapes


def _shapes(sample: Sample, entries: Iterable[LogEntry]) -> tuple[list[tuple[Any, ...]], list[float]]:
    """Rows of `shapes`, and the scores given."""
    drawn: list[tuple[LogEntry, str | None, Bounds | None]] = []
    scores = []
    for entry in entries:
        if isinstance(entry.value, Score):
            scores.append(entry.value.score)
        elif isinstance(entry.value, Tags):
            drawn += [(entry, tag, None) for tag in entry.value.tags]
        elif entry.value is not None:
            drawn.append((entry, entry.label, bounds(entry.value)))
    frame = next((box for _, label, box in drawn if box and label in OUTLINE_CLASSES), None)
    frame = frame or (-0.5, -0.5, sample.main.width - 0.5, sample.main.height - 0.5)
    mm = sample.mm_per_px
    rows = [
        (entry.sample, label, entry.value.type if entry.value else None,
         round(max(box[2] - box[0], box[3] - box[1]) * mm, 6) if box and mm else None,  # 0.5 is 0.5 at any dpi
         place_of(box, frame) if box and label not in OUTLINE_CLASSES else None)
        for entry, label, box in drawn
    ]  # fmt: skip
    return rows, scores


def bounds(value: Value) -> Bounds | None:
    """The box (x0, y0, x1, y1) around a shape, px, lab frame; None for a value without a place and an empty mask."""
    if isinstance(value, Box):
        return value.xyxy
    if isinstance(value, Polygon):
        xs, ys = zip(*value.points, strict=True)
        return min(xs), min(ys), max(xs), max(ys)
    if isinstance(value, Mask):
        with contextlib.suppress(DatasetError):  # runs that fit no image have no place; the checks name them
            return rle.bounds(value)
    return None


def place_of(box: Bounds, frame: Bounds) -> int | None:
    """The cell of the position map that the middle of `box` lies in, row by row; None outside the `frame`."""
    width, height = frame[2] - frame[0], frame[3] - frame[1]
    if width <= 0 or height <= 0:
        return None
    u = ((box[0] + box[2]) / 2 - frame[0]) / width
    v = ((box[1] + box[3]) / 2 - frame[1]) / height
    if not (0 <= u <= 1 and 0 <= v <= 1):
        return None
    columns, rows = PLACES
    return min(int(v * rows), rows - 1) * columns + min(int(u * columns), columns - 1)
