from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.evaluate.stand_ins import StandIn, boxes_only, perfect, silent
from trugrade_core.data.images import decode
from trugrade_core.data.versions import Version
from trugrade_core.errors import TrainingError
from trugrade_core.evaluate.charts import Series, line_chart, nice_ticks, number
from trugrade_core.evaluate.overlay import draw, overlay
from trugrade_core.evaluate.report import write_report
from trugrade_core.evaluate.run import evaluate
from trugrade_core.runs import RunFolder
from trugrade_core.schema import Instance, Prediction

VOID = {"meta", "img", "br", "link", "line", "circle", "rect", "path", "polyline", "polygon"}


class Balanced(HTMLParser):
    """Raises when a tag is closed that is not open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Closed at once."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def report_of(cards: Version, answer, **parity) -> tuple[str, str]:  # type: ignore[no-untyped-def]
    """(page, its text)."""
    folder = RunFolder.create(cards.ws.runs, {"kind": "train", "dataset": cards.name})
    for step in range(5):
        folder.append("metrics", step=step, epoch=0, values={"train/loss": 2.0 - 0.1 * step, "val/side_error_mm": 1.0})
    evaluate(StandIn(cards, answer, digest=answer.__name__), cards, "test", folder.path / "evaluation" / "test")
    page = write_report(cards.ws, folder, "test", parity or None).read_text()
    parser = Balanced()
    parser.feed(page)
    assert not parser.open
    return page, " ".join(" ".join(parser.text).split())


def test_the_report_holds_everything_itself(cards: Version) -> None:
    page, text = report_of(cards, perfect, passed=True, compared=4, worst={"box_px": 0.002})
    assert not re.search(r"(?:src|href)=[\"'](?!data:)", page) and "url(" not in page and "<script" not in page
    assert page.count("data:image/jpeg;base64,") == 6
    assert (
        "Better than the constant box" in text and "Largest difference" in text and "answers as the trained one" in text
    )
    assert "prefers-color-scheme: dark" in page
    for svg in re.findall(r"<svg.*?</svg>", page, re.S):
        assert "nan" not in svg and "inf" not in svg


def test_the_report_says_what_was_not_measured(cards: Version) -> None:
    _, text = report_of(cards, boxes_only)
    assert "not measured" in text and "the model gives boxes only" in text
    _, text = report_of(cards, silent)
    assert "Not better than the constant box" in text and "24 missed objects" in text


def test_no_report_without_an_evaluation(cards: Version) -> None:
    folder = RunFolder.create(cards.ws.runs, {"kind": "train"})
    with pytest.raises(TrainingError, match="not been evaluated"):
        write_report(cards.ws, folder, "test")


def test_names_cannot_break_the_page() -> None:
    chart = line_chart([Series("<b>&'", [(0, 1), (1, 2)], "red"), Series("b", [(0, 1)], "blue")], "x", "<y>")
    assert "<b>" not in chart and "<y>" not in chart


def test_numbers_and_ticks() -> None:
    assert [number(v) for v in (0, 0.21449, 12.345, 1234.5, -0.05, 1e-5)] == [
        "0",
        "0.214",
        "12.3",
        "1,234",
        "-0.0500",
        "1.0e-05",
    ]
    assert nice_ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert nice_ticks(-0.6, 0.6, 5) == [-0.5, 0, 0.5] and nice_ticks(2, 2) == [2]


def test_overlay_draws_the_box_where_it_is(tmp_path: Path) -> None:
    image = np.full((200, 160, 3), 90, np.uint8)
    prediction = Prediction(image="a", width=160, height=200, seconds=0,
                            instances=(Instance(label="b", score=0.5, box=(40, 60, 120, 180)),))  # fmt: skip
    drawn = overlay(image, prediction, ("a", "b"))
    changed = np.argwhere((drawn != image).any(axis=2))
    assert (np.array([180, 120]) - 3 <= changed.max(axis=0)).all() and (changed.max(axis=0) <= [183, 123]).all()
    assert (drawn[100, 60:110] == 90).all(), "the inside stays as it is"
    assert np.abs(drawn[120, 40].astype(int) - (255, 176, 32)).max() < 40, "the second class's colour"
    draw(image, prediction, tmp_path / "o.png")
    assert decode(tmp_path / "o.png").shape == image.shape
