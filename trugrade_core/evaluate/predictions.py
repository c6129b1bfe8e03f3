"""What a Predictor says of a split, computed once and kept in predictions.parquet.

Each sample is shown twice: `plain`, and `shifted`, laid into a larger picture, so that a model which only learned
where cards usually lie is found out. Both are fixed: the shift is drawn from the sample's id.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trugrade_core.data.images import decode
from trugrade_core.data.journal import batched
from trugrade_core.data.versions import Version
from trugrade_core.runs import Progress
from trugrade_core.schema import Image, Instance, Mask, Prediction, Predictor, Sample, digest
from trugrade_core.workspace import write_atomic

Variant = Literal["plain", "shifted"]
VARIANTS: tuple[Variant, ...] = ("plain", "shifted")
SHIFT_SHARE = 0.15
"""On each side, up to this share of the image's width or height is added."""
LOWEST_SCORE = 0.01
"""Curves and average precision need the doubtful answers too."""
METHOD = 1
"""Raised when the same checkpoint and version would be predicted differently by this code."""
BATCH = 8

ROWS = pa.schema(
    [
        pa.field("sample", pa.string(), metadata={"is": "sample id"}),
        pa.field("variant", pa.string(), metadata={"is": "plain, or shifted into a larger picture"}),
        pa.field("width", pa.int32(), metadata={"is": "px of the picture that was shown"}),
        pa.field("height", pa.int32()),
        pa.field("seconds", pa.float64(), metadata={"is": "from pixels to instances"}),
        pa.field("instance", pa.int32(), metadata={"is": "0 is the best; null: nothing was found"}),
        pa.field("label", pa.string()),
        pa.field("score", pa.float64()),
        pa.field("x0", pa.float64(), metadata={"is": "px, pixel centres at integers, of the picture that was shown"}),
        pa.field("y0", pa.float64()),
        pa.field("x1", pa.float64()),
        pa.field("y1", pa.float64()),
        pa.field("mask", pa.string(), metadata={"is": "COCO run lengths over the picture; of the plain one only"}),
    ]
)


def shift_of(sample: str, width: int, height: int) -> tuple[int, int, int, int]:
    """Pixels added on the left, top, right and bottom of a sample's shifted copy; always the same for an id."""
    rng = np.random.default_rng(int(sample, 16))
    shares = rng.uniform(0, SHIFT_SHARE, 4)
    left, top, right, bottom = (round(s * n) for s, n in zip(shares, (width, height) * 2, strict=True))
    return left, top, right, bottom


def shifted(image: Image, pads: tuple[int, int, int, int]) -> Image:
    """The image with its rim carried outwards: no seam, and nothing that looks like another card."""
    left, top, right, bottom = pads
    return np.asarray(cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_REPLICATE), np.uint8)


def cache_key(predictor: Predictor, version: Version, split: str) -> str:
    return digest(
        {
            "checkpoint": predictor.digest,
            "classes": list(predictor.classes),
            "version": version.manifest.digest,
            "split": split,
            "preprocess": predictor.preprocess.model_dump(),
            "lowest_score": LOWEST_SCORE,
            "shift_share": SHIFT_SHARE,
            "method": METHOD,
        }
    )


def predictions(
    predictor: Predictor,
    version: Version,
    split: str,
    samples: Sequence[Sample],
    path: Path,
    progress: Progress | None = None,
) -> dict[Variant, dict[str, Prediction]]:
    """By variant and sample id; read from `path` when it was written by the same checkpoint on the same version."""
    key = cache_key(predictor, version, split)
    found = read_predictions(path, key)
    if found is None:
        _write(path, key, _predict(predictor, version, samples, progress))
        found = read_predictions(path, key)
    assert found is not None  # noqa: S101
    return found


def _predict(
    predictor: Predictor, version: Version, samples: Sequence[Sample], progress: Progress | None
) -> Iterator[dict[str, Any]]:
    done = 0
    for batch in batched(samples, BATCH):
        images = [decode(version.image_path(sample)) for sample in batch]
        for variant in VARIANTS:
            shown = images if variant == "plain" else [
                shifted(image, shift_of(s.id, image.shape[1], image.shape[0])) for s, image in zip(batch, images, strict=True)
            ]  # fmt: skip
            answers = predictor.predict(shown, [s.id for s in batch], LOWEST_SCORE)
            for sample, answer in zip(batch, answers, strict=True):
                yield from _rows(sample.id, variant, answer)
        done += len(batch)
        if progress:
            progress(done, len(samples), "images predicted")


def _rows(sample: str, variant: Variant, answer: Prediction) -> Iterator[dict[str, Any]]:
    shared = {
        "sample": sample,
        "variant": variant,
        "width": answer.width,
        "height": answer.height,
        "seconds": answer.seconds,
    }
    if not answer.instances:
        yield shared
    for number, instance in enumerate(answer.instances):
        x0, y0, x1, y1 = instance.box
        mask = instance.mask.counts if instance.mask and variant == "plain" else None
        yield {**shared, "instance": number, "label": instance.label, "score": instance.score,
               "x0": x0, "y0": y0, "x1": x1, "y1": y1, "mask": mask}  # fmt: skip


def _write(path: Path, key: str, rows: Iterator[dict[str, Any]]) -> None:
    schema = ROWS.with_metadata({"trugrade": json.dumps({"key": key})})
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for batch in batched(rows, 5000):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
    write_atomic(path, sink.getvalue().to_pybytes())


def read_predictions(path: Path, key: str | None = None) -> dict[Variant, dict[str, Prediction]] | None:
    """None when there are none, when they are of another key, or when the file is damaged (they are made again)."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException):
        return None
    stored = json.loads((table.schema.metadata or {}).get(b"trugrade", b"{}"))
    if key is not None and stored.get("key") != key:
        return None
    found: dict[Variant, dict[str, Prediction]] = {variant: {} for variant in VARIANTS}
    rows: dict[tuple[Variant, str], list[dict[str, Any]]] = {}
    for batch in table.to_batches(max_chunksize=5000):
        for row in batch.to_pylist():
            rows.setdefault((row["variant"], row["sample"]), []).append(row)
    for (variant, sample), own in rows.items():
        found[variant][sample] = Prediction(
            image=sample, width=own[0]["width"], height=own[0]["height"], seconds=own[0]["seconds"],
            instances=tuple(_instance(row) for row in own if row["instance"] is not None),
        )  # fmt: skip
    return found


def _instance(row: dict[str, Any]) -> Instance:
    mask = Mask(counts=row["mask"], size_hw=(row["height"], row["width"])) if row["mask"] is not None else None
    return Instance(label=row["label"], score=row["score"], box=(row["x0"], row["y0"], row["x1"], row["y1"]), mask=mask)
