"""Builders for the tests of checks: samples and labels in memory, and the facts that a check is given."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trugrade_core.data.checks.base import Facts, Needs
from trugrade_core.schema import Annotation, Box, ClassDef, ImageRef, Sample, Value
from trugrade_core.workspace import Workspace

BORDERS = ("outer_border", "graphical_border")
OUTER, INNER = Box(xyxy=(100, 100, 1600, 2200)), Box(xyxy=(180, 190, 1520, 2110))
Row = tuple[Sample, list[Annotation]]


def sample(number: int, **changes: Any) -> Sample:
    """600 dpi, 1700 x 2300 px, done, a card of its own, in train."""
    sha = hashlib.sha256(str(number).encode()).hexdigest()
    ref = ImageRef(sha256=sha, suffix=".png", width=1700, height=2300, dpi=600, bytes=10)
    words = {"card": f"card-{number}", "card_assumed": False, "status": "done", "split": "train"}
    return Sample.model_validate({"id": f"{number:016x}", "images": {"main": ref}, **words, **changes})


def label(of: Sample, name: str | None, value: Value) -> Annotation:
    return Annotation(id=f"{of.id}-{name}-{hash(value.model_dump_json())}", sample=of.id, label=name, value=value)


def bordered(number: int, outer: Value = OUTER, inner: Value | None = INNER, **changes: Any) -> Row:
    own = sample(number, **changes)
    drawn = [(BORDERS[0], outer), (BORDERS[1], inner)]
    return own, [label(own, name, value) for name, value in drawn if value is not None]


def needs(**changes: Any) -> Needs:
    words: dict[str, Any] = {
        "task": "border_detection.dual_class", "title": "Borders", "kind": "instances", "shapes": ("box", "polygon", "mask"),
        "classes": BORDERS, "dpi": 600, "finest_mm": 0.1, "scores": (), "whole_card": True, "borders": BORDERS, "amount": "many",
    }  # fmt: skip
    return Needs(**words | changes)


def facts(rows: Sequence[Row], tmp_path: Path, **changes: Any) -> Facts:
    words: dict[str, Any] = {
        "ws": Workspace(tmp_path / "ws"),
        "name": "d",
        "classes": tuple(ClassDef(name=name) for name in BORDERS),
        "records": lambda: iter(rows),
        "image_path": lambda own, role: tmp_path / f"{own.id}.png",
        "needs": needs(),
    }
    return Facts(**words | changes)


def codes(findings: Sequence[Any]) -> dict[str, tuple[str, ...]]:
    """{key: samples} of what is worse than info."""
    return {f.key: f.samples for f in findings if f.severity != "info"}
