"""A small dataset for the explorer's tests, and what its index must say by the slow readers."""

from __future__ import annotations

from typing import Any

from trugrade_core.data.explore import Explorer
from trugrade_core.data.filters import Filter
from trugrade_core.data.store import Dataset, put_entry, sample_id
from trugrade_core.schema import Annotation, Box, ClassDef, ImageRef, LogEntry, Sample, Score, Tags, Value
from trugrade_core.workspace import Workspace


def make(number: int, **changes: Any) -> Sample:
    ref = ImageRef(sha256=f"{number:064x}", suffix=".png", width=600, height=800, bytes=9)
    words = {"sources": (f"scans/Card {number:02d}.png",), "card": f"card-{number // 2}", "dpi": 254.0} | changes
    return Sample(id=sample_id({"main": ref}), images={"main": ref}, **words)


def said(
    sample: Sample, id: str, value: Value, label: str | None = None, *, who: str = "maria", **words: Any
) -> LogEntry:
    layer = words.pop("layer", "main")
    annotation = Annotation(id=id, sample=sample.id, label=label, value=value, layer=layer,
                            attributes=words.pop("attributes", {}))  # fmt: skip
    return put_entry(annotation, who=who, tool="canvas", **words)


def box(x: float, y: float, side: float = 10) -> Box:
    return Box(xyxy=(x, y, x + side, y + side))


def six(ws: Workspace) -> Dataset:
    """Six samples: scratched, dented and scored, tagged, done and bare, excluded, without a resolution."""
    ds = Dataset.create(ws, "d", [ClassDef(name=n) for n in ("border", "scratch", "dent")])
    scratched = make(0, split="train", status="done")
    dented = make(1, split="val", status="done", design="holo", tags=("to check", "a, b"))
    tagged = make(2, origin="synthetic", session="monday", side="back")
    bare = make(3, status="done")
    excluded = make(4, excluded="blurred")
    without = make(5, dpi=None)
    ds.put_samples([scratched, dented, tagged, bare, excluded, without])
    ds.append([
        said(scratched, "a", box(100, 100, 400), "border"), said(scratched, "b", box(110, 110), "scratch"),
        said(scratched, "c", box(480, 480, 5), "dent", who="tomek"),
        said(dented, "d", box(590, 790, 9.5), "dent", attributes={"severity": "minor"}),
        said(dented, "e", Score(score=7.5), who="aiko"),
        said(tagged, "f", Tags(tags=("scratch", "crease"))),
        said(without, "g", box(0, 0), "dent"),
    ])  # fmt: skip
    return ds


def opened(ds: Dataset) -> Explorer:
    found = Explorer(ds)
    found.refresh()
    return found


def truth(ds: Dataset) -> dict[str, tuple[Any, ...]]:
    """What the index says of each sample, from the slow readers."""
    samples, current, conflicts = ds.samples(), ds.annotations(), ds.conflicts()
    found = {}
    for n, (id, sample) in enumerate(samples.items()):
        annotations = current.get(id, [])
        labels = {label for a in annotations for label in (a.value.tags if isinstance(a.value, Tags) else [a.label])
                  if not isinstance(a.value, Score)}  # fmt: skip
        found[id] = (
            n, sample.status, sample.split, list(sample.tags), sample.excluded, labels - {None},
            sum(a.value.type in ("box", "polygon", "mask") for a in annotations),
            {a.value.score for a in annotations if isinstance(a.value, Score)},
            sum(conflict.sample == id for conflict in conflicts), sorted(a.id for a in annotations),
        )  # fmt: skip
    return found


def answered(found: Explorer) -> dict[str, tuple[Any, ...]]:
    rows = found.con.execute(
        "SELECT id, n, status, split, tags, excluded, classes, shapes, score, conflicts FROM samples"
    ).fetchall()
    drawn = {row.sample.id: sorted(a.id for a in row.annotations) for row in found.page(Filter(), size=1000).rows}
    return {
        id: (n, status, split, tags, excluded, set(classes), shapes, score, conflicts, drawn[id])
        for id, n, status, split, tags, excluded, classes, shapes, score, conflicts in rows
    }


def agree(found: Explorer, ds: Dataset) -> None:
    expected, got = truth(ds), answered(found)
    assert got.keys() == expected.keys()
    for id, (*head, scores, conflicts, drawn) in expected.items():
        *ours, score, ours_conflicts, ours_drawn = got[id]
        assert ours == head
        assert (score in scores) if scores else score is None
        assert (ours_conflicts, ours_drawn) == (conflicts, drawn)
