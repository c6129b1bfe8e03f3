"""Two versions side by side, or a version and the dataset as it is now: what came, went, was relabelled or moved.

Both sides are read in order of sample id, a few thousand rows at a time; only rows that differ are looked into.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trugrade_core.data.checks.shapes import iou
from trugrade_core.data.rle import decode
from trugrade_core.data.store import Dataset
from trugrade_core.data.versions import ROWS, Version, annotation_of, annotation_row, sample_of, sample_row
from trugrade_core.schema import Annotation, ClassDef, Mask, Sample
from trugrade_core.workspace import Workspace

Row = dict[str, Any]
Rows = Iterator[tuple[Row, list[Row]]]
NOW = "now"
"""NAME@now: the dataset as it is, kept as a version or not."""
AT_ONCE = 200_000
SAME_PLACE = 0.5
"""IoU of the bounding boxes from which a label that went and one that came count as one that was changed."""


@dataclass(frozen=True)
class Side:
    """`rows` gives (sample, its annotations) as in a version's tables, in order of sample id."""

    name: str
    classes: tuple[ClassDef, ...]
    rows: Callable[[], Rows]


def side(ws: Workspace, name: str) -> Side:
    """NAME@V, NAME (its newest version) or NAME@now. Raises DatasetError when there is none, or it was tampered with."""
    dataset, _, version = name.partition("@")
    if version == NOW:
        return now_side(Dataset.open(ws, dataset))
    return version_side(Version.open(ws, name))


def version_side(version: Version) -> Side:
    return Side(version.name, version.manifest.classes, lambda: _version_rows(version))


def now_side(ds: Dataset) -> Side:
    """Without excluded samples, as the next version would be."""
    return Side(f"{ds.name}@{NOW}", ds.classes, lambda: _now_rows(ds))


def pick(side: Side, samples: Collection[str]) -> dict[str, tuple[Sample, list[Annotation]]]:
    """Those samples of a side with their annotations, for showing."""
    return {
        row["id"]: (sample_of(row), [annotation_of(a) for a in said])
        for row, said in side.rows()
        if row["id"] in samples
    }


def _version_rows(version: Version) -> Rows:
    annotations = _grouped(version)
    waiting = next(annotations, None)
    for batch in version.sample_table.to_batches(max_chunksize=ROWS):
        for row in batch.to_pylist():
            own: list[Row] = []
            while waiting is not None and waiting[0] <= row["id"]:
                own = waiting[1] if waiting[0] == row["id"] else own
                waiting = next(annotations, None)
            yield row, own


def _grouped(version: Version) -> Iterator[tuple[str, list[Row]]]:
    """(sample, its annotations), in the order of the table, which is that of sample ids."""
    sample, own = "", list[Row]()
    for batch in version.annotation_table.to_batches(max_chunksize=ROWS):
        for row in batch.to_pylist():
            if row["sample"] != sample:
                if own:
                    yield sample, own
                sample, own = row["sample"], []
            own.append(row)
    if own:
        yield sample, own


def _now_rows(ds: Dataset) -> Rows:
    index, lines = ds.index(), ds.current()
    for sample in index.read_all(sorted(index.offsets)):
        if sample.excluded is None:
            said = sorted(map(ds.annotation, lines.get(sample.id, ())), key=lambda a: a.id)
            yield sample_row(sample), [annotation_row(a) for a in said]


# --- comparing --------------------------------------------------------------------------------------------------


def diff(a: Side, b: Side) -> dict[str, Any]:
    """What leads from `a` to `b`.

    `added` and `removed` samples; `relabelled` ones with each annotation that was added, removed or changed (class,
    largest displacement of the outline in px and mm, pixels of a mask, score, tags, attributes) and the status;
    `split_changed`; `facts_changed` (card, design, …); `classes` added, removed, reshaped, reordered; `counts` of all.
    """
    found: dict[str, Any] = {"from": a.name, "to": b.name, "classes": _classes(a.classes, b.classes)}
    added, removed, relabelled, moved, facts = (list[Row]() for _ in range(5))
    for old, new in _joined(a.rows(), b.rows()):
        if old is None and new is not None:
            added.append({**_named(new[0]), "annotations": len(new[1])})
        elif new is None and old is not None:
            removed.append({**_named(old[0]), "annotations": len(old[1])})
        elif old is not None and new is not None and old != new:
            _compare(old, new, relabelled, moved, facts)
    counts = {
        "added": len(added), "removed": len(removed), "relabelled": len(relabelled), "split_changed": len(moved),
        "facts_changed": len(facts),
        "annotations": dict(Counter(change["change"] for row in relabelled for change in row["annotations"])),
    }  # fmt: skip
    found |= {"counts": counts, "added": added, "removed": removed, "relabelled": relabelled, "split_changed": moved,
              "facts_changed": facts}  # fmt: skip
    is_same = not any(counts[key] for key in counts if key != "annotations") and not any(found["classes"].values())
    return {**found, "same": is_same}


def _joined(a: Rows, b: Rows) -> Iterator[tuple[tuple[Row, list[Row]] | None, tuple[Row, list[Row]] | None]]:
    """Both sides by sample id, None where one has not that sample."""
    old, new = next(a, None), next(b, None)
    while old is not None or new is not None:
        if new is None or (old is not None and old[0]["id"] < new[0]["id"]):
            yield old, None
            old = next(a, None)
        elif old is None or new[0]["id"] < old[0]["id"]:
            yield None, new
            new = next(b, None)
        else:
            yield old, new
            old, new = next(a, None), next(b, None)


def _named(sample: Row) -> Row:
    """What names a sample in a list."""
    main = next(image for image in sample["images"] if image["role"] == "main")
    file = sample["sources"][0] if sample["sources"] else ""
    return {"sample": sample["id"], "card": sample["card"], "file": file, "sha256": main["sha256"], "split": sample["split"]}  # fmt: skip


def _compare(
    old: tuple[Row, list[Row]], new: tuple[Row, list[Row]], relabelled: list[Row], moved: list[Row], facts: list[Row]
) -> None:
    was, now = old[0], new[0]
    changes = _annotation_changes(old[1], new[1], _mm_per_px(now)) if old[1] != new[1] else []
    if changes or was["status"] != now["status"]:
        status = [was["status"], now["status"]] if was["status"] != now["status"] else None
        relabelled.append({**_named(now), "status": status, "annotations": changes})
    if was["split"] != now["split"]:
        moved.append({**_named(now), "was": was["split"], "now": now["split"]})
    fields = sorted(name for name in was if name not in ("id", "status", "split", "more") and was[name] != now[name])
    before, after = (json.loads(row["more"] or "{}") for row in (was, now))
    fields += sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    if fields:
        facts.append({**_named(now), "fields": fields})


def _mm_per_px(sample: Row) -> float | None:
    main = next(image for image in sample["images"] if image["role"] == "main")
    dpi = sample["dpi"] or main["dpi"]
    return 25.4 / dpi if dpi else None


def _classes(a: tuple[ClassDef, ...], b: tuple[ClassDef, ...]) -> dict[str, Any]:
    old, new = {c.name: c.shape for c in a}, {c.name: c.shape for c in b}
    both = [name for name in old if name in new]
    return {
        "added": [name for name in new if name not in old],
        "removed": [name for name in old if name not in new],
        "reshaped": [{"class": name, "was": old[name], "now": new[name]} for name in both if old[name] != new[name]],
        "reordered": both != [name for name in new if name in old],
    }


# --- annotations ------------------------------------------------------------------------------------------------


def _annotation_changes(old: list[Row], new: list[Row], mm_per_px: float | None) -> list[Row]:
    """A row for each annotation that differs: {annotation, change: added | removed | changed, label, kind, …}."""
    before, after = {a["id"]: a for a in old}, {a["id"]: a for a in new}
    pairs = [(before[id], after[id]) for id in before if id in after and before[id] != after[id]]
    gone = [a for a in old if a["id"] not in after]
    came = [a for a in new if a["id"] not in before]
    pairs += _paired(gone, came)
    changes = [_changed(was, now, mm_per_px) for was, now in pairs]
    matched = {id for was, now in pairs for id in (was["id"], now["id"])}
    for change, rows in (("removed", gone), ("added", came)):
        changes += [
            {"annotation": a["id"], "change": change, "label": a["label"], "kind": a["type"]}
            for a in rows
            if a["id"] not in matched
        ]
    return changes


def _paired(gone: list[Row], came: list[Row]) -> list[tuple[Row, Row]]:
    """Labels under two ids that are one: drawn anew in the same place, or the only score or tag set of the sample."""
    pairs = []
    for kind in ("score", "tags"):
        a, b = ([row for row in rows if row["type"] == kind] for rows in (gone, came))
        pairs += [(a[0], b[0])] if len(a) == len(b) == 1 else []
    shapes: tuple[list[Row], list[Row]] = tuple([r for r in rows if r["type"] in _OUTLINE] for rows in (gone, came))  # type: ignore[assignment]
    boxes = [[_bounds(row) for row in rows] for rows in shapes]
    near = sorted(
        ((iou(p, q), i, j) for i, p in enumerate(boxes[0]) for j, q in enumerate(boxes[1])),
        key=lambda found: (-found[0], found[1:]),
    )
    used: tuple[set[int], set[int]] = set(), set()
    for overlap, i, j in near:
        if overlap >= SAME_PLACE and i not in used[0] and j not in used[1]:
            used[0].add(i)
            used[1].add(j)
            pairs.append((shapes[0][i], shapes[1][j]))
    return pairs


def _changed(was: Row, now: Row, mm_per_px: float | None) -> Row:
    found: Row = {"annotation": now["id"], "change": "changed", "label": now["label"], "kind": now["type"]}
    if was["label"] != now["label"]:
        found["was"] = was["label"]
    if was["attributes"] != now["attributes"]:
        before, after = json.loads(was["attributes"]), json.loads(now["attributes"])
        found["attributes"] = {
            key: [before.get(key), after.get(key)] for key in sorted({*before, *after}) if before.get(key) != after.get(key)
        }  # fmt: skip
    if was["value"] == now["value"]:
        return found
    a, b = json.loads(was["value"]), json.loads(now["value"])
    if was["type"] in ("box", "polygon") and now["type"] in ("box", "polygon"):
        moved = displacement(_OUTLINE[was["type"]](a), _OUTLINE[now["type"]](b))
        found |= {"moved_px": round(moved, 3), "moved_mm": round(moved * mm_per_px, 4) if mm_per_px else None}
    elif was["type"] == now["type"] == "mask" and a["size_hw"] == b["size_hw"]:
        pixels = int((decode(Mask.model_validate(a)) ^ decode(Mask.model_validate(b))).sum())
        found |= {"pixels": pixels, "pixels_mm2": round(pixels * mm_per_px**2, 4) if mm_per_px else None}
    elif was["type"] == now["type"] == "score":
        found["score"] = [a["score"], b["score"]]
    elif was["type"] == now["type"] == "tags":
        found["tags"] = {"added": sorted(set(b["tags"]) - set(a["tags"])), "removed": sorted(set(a["tags"]) - set(b["tags"]))}  # fmt: skip
    if was["type"] != now["type"]:
        found["kind_was"] = was["type"]
    return found


def _box_points(value: Mapping[str, Any]) -> NDArray[np.float64]:
    x0, y0, x1, y1 = value["xyxy"]
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)


def _mask_points(value: Mapping[str, Any]) -> NDArray[np.float64]:
    ys, xs = np.nonzero(decode(Mask.model_validate(value)))
    if not len(xs):
        return np.zeros((1, 2))
    return np.array([(xs.min(), ys.min()), (xs.max(), ys.max())], float)


_OUTLINE: dict[str, Callable[[Mapping[str, Any]], NDArray[np.float64]]] = {
    "box": _box_points,
    "polygon": lambda value: np.array(value["points"], float),
    "mask": _mask_points,
}


def _bounds(row: Row) -> tuple[float, float, float, float]:
    points = _OUTLINE[row["type"]](json.loads(row["value"]))
    (x0, y0), (x1, y1) = points.min(0).tolist(), points.max(0).tolist()
    return x0, y0, x1, y1


def displacement(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The largest distance in px of a corner of one closed outline from the other outline; (N, 2) points each."""
    return max(float(distances(a, [b]).max()), float(distances(b, [a]).max()))


def distances(points: NDArray[np.float64], outlines: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """(N,) in px from each of (N, 2) points to the nearest side of closed outlines, AT_ONCE pairs at a time in memory."""
    starts = np.concatenate(outlines)
    sides = np.concatenate([np.roll(own, -1, axis=0) for own in outlines]) - starts
    squares = np.maximum((sides**2).sum(axis=1), 1e-18)
    rows = max(1, AT_ONCE // len(starts))
    found = []
    for at in range(0, len(points), rows):
        away = points[at : at + rows, None] - starts
        share = np.clip((away * sides).sum(axis=2) / squares, 0, 1)
        found.append(np.sqrt((((away - share[..., None] * sides) ** 2).sum(axis=2)).min(axis=1)))
    return np.concatenate(found)


# --- in words ---------------------------------------------------------------------------------------------------


def words(change: Row) -> str:
    """An annotation's change as a person says it: `outer_border moved by 3.2 px (0.14 mm)`."""
    name = str(change["label"] or change["kind"])
    if change["change"] != "changed":
        return f"{name} {change['change']}"
    said = []
    if "was" in change:
        said.append(f"was {change['was']}")
    if "moved_px" in change:
        mm = f" ({change['moved_mm']:.3g} mm)" if change["moved_mm"] is not None else ""
        said.append(f"moved by {change['moved_px']:.3g} px{mm}")
    if "pixels" in change:
        said.append(f"{change['pixels']:,} pixels differ")
    if "score" in change:
        said.append("{:g} is now {:g}".format(*change["score"]))
    if "tags" in change:
        said += [f"{tag} {how}" for how, tags in change["tags"].items() for tag in tags]
    if "kind_was" in change:
        said.append(f"was a {change['kind_was']}, is a {change['kind']}")
    said += [f"{key}: {was} is now {now}" for key, (was, now) in change.get("attributes", {}).items()]
    return f"{name} {', '.join(said)}" if said else f"{name} changed"
