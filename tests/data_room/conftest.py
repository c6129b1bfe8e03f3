"""Builders of small inputs for the data room: pictures, sources in each format, datasets."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trugrade_core.data.importing import ImportOptions, ImportReport, import_dataset
from trugrade_core.workspace import Workspace

Picture = Callable[..., bytes]
Import = Callable[..., ImportReport]


def make_picture(
    seed: int = 0, wh: tuple[int, int] = (64, 48), format: str = "PNG", mode: str = "RGB", **save: Any
) -> bytes:
    """A small picture of noise in big blocks, so that it differs by seed and survives JPEG."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(blocks).resize(wh, Image.Resampling.NEAREST).convert(mode)
    out = io.BytesIO()
    image.save(out, format, **save)
    return out.getvalue()


@pytest.fixture
def picture() -> Picture:
    return make_picture


@pytest.fixture
def put() -> Callable[[Path, bytes | str], Path]:
    """Write a file, making its folders."""

    def write(path: Path, content: bytes | str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def bring(ws: Workspace) -> Import:
    """bring(source, dataset='d', **options) -> ImportReport"""

    def run(source: Path, dataset: str = "d", **options: Any) -> ImportReport:
        return import_dataset(ws, source, dataset, ImportOptions(**options))

    return run


@pytest.fixture
def yolo(tmp_path: Path) -> Callable[..., Path]:
    """yolo({name: label lines or None}) -> a folder images/ + labels/ + data.yaml with classes outer, inner."""

    def build(labels: dict[str, str | None], root: Path | None = None) -> Path:
        root = root or tmp_path / "yolo"
        (root / "images").mkdir(parents=True)
        (root / "labels").mkdir()
        (root / "data.yaml").write_text("names: [outer, inner]\n")
        for seed, (name, lines) in enumerate(labels.items()):
            (root / "images" / f"{name}.png").write_bytes(make_picture(seed))
            if lines is not None:
                (root / "labels" / f"{name}.txt").write_text(lines)
        return root

    return build


@pytest.fixture
def coco(tmp_path: Path) -> Callable[..., Path]:
    """coco(annotations, images=2, **changes) -> a folder with images i0.png … (64 x 48) and annotations.json."""

    def build(annotations: list[dict[str, Any]], images: int = 2, wrap: str | None = None, **changes: Any) -> Path:
        root = tmp_path / "coco"
        (root / "images").mkdir(parents=True)
        listed = []
        for i in range(images):
            (root / "images" / f"i{i}.png").write_bytes(make_picture(i))
            listed.append({"id": i, "file_name": f"i{i}.png", "width": 64, "height": 48})
        document = {
            "images": listed,
            "annotations": [{"id": n, "iscrowd": 0, **a} for n, a in enumerate(annotations)],
            "categories": [{"id": 0, "name": "outer"}, {"id": 1, "name": "inner"}],
            **changes,
        }
        (root / "annotations.json").write_text(json.dumps({wrap: document} if wrap else document))
        return root

    return build
