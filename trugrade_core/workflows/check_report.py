"""A check as one self-contained HTML page: the verdict, the five checks, each finding with its pictures, what was let
stand. Nothing is loaded from elsewhere: pictures are embedded JPEG."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from trugrade_core.data import rle
from trugrade_core.data.checks.base import LIMITS, Facts
from trugrade_core.data.checks.verdict import RULES, WORDS
from trugrade_core.data.images import decode
from trugrade_core.errors import ImageError
from trugrade_core.evaluate.overlay import colour_of, encoded, outlined
from trugrade_core.schema import Annotation
from trugrade_core.workspace import write_atomic

PICTURES = 6
"""For each finding."""
LONGEST_PX = 240
SAMPLE_ID = re.compile(r"\b[0-9a-f]{16}\b")
STATUS_WORDS = {"ok": "nothing against it", "warning": "warnings", "fail": "errors", "not_checked": "not checked"}


def write_report(report: Mapping[str, Any], facts: Facts, path: Path) -> None:
    """Write the page of a report (`checking.check`) to `path`. Reads the pictures of the first samples of each finding."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)
    environment.filters["percent"] = lambda v: "" if v is None else f"{100 * v:.3g} %"
    shown = {s for f in report["findings"] for s in f["samples"][:PICTURES]}
    pictures = dict(_pictures(facts, shown))
    environment.filters["named"] = lambda text: SAMPLE_ID.sub(
        lambda m: pictures.get(m[0], {}).get("name", m[0]), str(text)
    )
    page = environment.get_template("check_report.html.j2").render(
        r=report,
        verdict=WORDS[report["verdict"]],
        status_words=STATUS_WORDS,
        open=[f for f in report["findings"] if "accepted" not in f],
        accepted=[f for f in report["findings"] if "accepted" in f],
        pictures=pictures,
        most=PICTURES,
        labels=_labels(report),
        rules=RULES,
        limits=_limits(),
    )
    write_atomic(path, page)


def _labels(report: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """{class: {split: labels}}."""
    found = (f["details"]["labels"] for f in report["findings"] if f["code"] == "balance.classes")
    return next(found, {})


def _limits() -> list[tuple[str, Any]]:
    return [(f.name.replace("_", " "), getattr(LIMITS, f.name)) for f in fields(LIMITS)]


def _pictures(facts: Facts, wanted: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """{sample: name, size and JPEG}; a picture that cannot be read has no JPEG."""
    classes = [c.name for c in facts.classes]
    for sample, labels in facts.records():
        if sample.id not in wanted:
            continue
        name = Path(sample.sources[0]).name if sample.sources else sample.id
        row: dict[str, Any] = {"name": name, "split": sample.split or ""}
        try:
            image = _drawn(facts.image_path(sample, "main"), labels, classes)
        except ImageError as e:
            yield sample.id, row | {"problem": e.message}
            continue
        height, width = image.shape[:2]
        yield sample.id, row | {"size": (width, height), "jpeg": base64.b64encode(encoded(image)).decode()}


def _drawn(path: Path, labels: Sequence[Annotation], classes: Sequence[str]) -> np.ndarray[Any, Any]:
    image = decode(path)
    scale = min(1.0, LONGEST_PX / max(image.shape[:2]))
    wh = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    small = np.array(cv2.resize(image, wh, interpolation=cv2.INTER_AREA) if scale < 1 else image, np.uint8)
    for a in labels:
        for points in rle.outlines(a.value):
            outlined(small, (points + 0.5) * scale - 0.5, colour_of(a.label, classes), 1)
    return small
