"""Immutable snapshots of a dataset: what a run trains on, and what can be checked years later.

    versions/vN/samples.parquet       one row a sample, in order of id
    versions/vN/annotations.parquet   one row an annotation of layer main, in order of sample and id
    versions/vN/version.json          the manifest; its digest is over the rows, not over the files

A version is built in a temporary folder and renamed, so it is there whole or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from trugrade_core.data.journal import batched
from trugrade_core.data.splitting import (
    DEFAULT_RATIOS,
    add_new_cards,
    apply_split,
    empty,
    kept_cards,
    last_split,
    plan_split,
)
from trugrade_core.data.store import Dataset
from trugrade_core.errors import DatasetError, UsageError, nearest
from trugrade_core.schema import SPLITS, Annotation, ClassDef, Sample, VersionManifest, canonical_json
from trugrade_core.workspace import Workspace, now, sync_folder, write_json

ROWS = 5000

IMAGE = pa.struct(
    [("role", pa.string()), ("sha256", pa.string()), ("suffix", pa.string()), ("width", pa.int32()),
     ("height", pa.int32()), ("bits", pa.int32()), ("mode", pa.string()), ("dpi", pa.float64()),
     ("orientation", pa.int32()), ("bytes", pa.int64())]
)  # fmt: skip
SAMPLES = pa.schema(
    [("id", pa.string()), ("images", pa.list_(IMAGE)), ("sources", pa.list_(pa.string())), ("card", pa.string()),
     ("card_assumed", pa.bool_()), ("design", pa.string()), ("session", pa.string()), ("side", pa.string()),
     ("origin", pa.string()), ("dpi", pa.float64()), ("status", pa.string()), ("split", pa.string()),
     ("more", pa.string())]
)  # fmt: skip
LATER = ("tags", "excluded", "parent", "print")
"""Fields of a sample that came after the first versions: those that say something lie together in `more`, as JSON, and
an absent `more` is no part of the digest, so that the digests of before stay what they were."""
ANNOTATIONS = pa.schema(
    [("id", pa.string()), ("sample", pa.string()), ("layer", pa.string()), ("label", pa.string()),
     ("type", pa.string()), ("value", pa.string()), ("attributes", pa.string())]
)  # fmt: skip
"""`value` and `attributes` are JSON, coordinates in the lab's frame."""


# --- rows -------------------------------------------------------------------------------------------------------


def sample_row(sample: Sample) -> dict[str, Any]:
    """A sample as a row of `samples.parquet`, which is what its digest is over."""
    row = sample.model_dump(mode="json")
    row["images"] = [{"role": role, **ref} for role, ref in sorted(row["images"].items())]
    later = {name: value for name in LATER if (value := row.pop(name))}
    return {**row, "more": canonical_json(later) if later else None}


def sample_of(row: dict[str, Any]) -> Sample:
    """The sample in a row of `samples.parquet`."""
    images = {image["role"]: {k: v for k, v in image.items() if k != "role"} for image in row["images"]}
    later = json.loads(row["more"] or "{}")
    return Sample.model_validate({**{k: v for k, v in row.items() if k != "more"}, **later, "images": images})


def annotation_row(annotation: Annotation) -> dict[str, Any]:
    """An annotation as a row of `annotations.parquet`."""
    row = annotation.model_dump(mode="json")
    value, attributes = canonical_json(row["value"]), canonical_json(row["attributes"])
    return {**row, "type": annotation.value.type, "value": value, "attributes": attributes}


def annotation_of(row: dict[str, Any]) -> Annotation:
    """The annotation in a row of `annotations.parquet`."""
    content = {k: v for k, v in row.items() if k != "type"}
    content["value"], content["attributes"] = json.loads(row["value"]), json.loads(row["attributes"])
    return Annotation.model_validate(content)


class _Digest:
    """sha256 over the classes, then each sample's row, then each annotation's, one canonical JSON a line."""

    def __init__(self, classes: Iterable[ClassDef]) -> None:
        self._sha = hashlib.sha256()
        self.add("classes", [c.model_dump() for c in classes])

    def add(self, what: str, row: Any) -> None:
        if what == "sample" and row["more"] is None:
            row = {name: value for name, value in row.items() if name != "more"}
        self._sha.update(f"{what} {canonical_json(row)}\n".encode())

    def hex(self) -> str:
        return self._sha.hexdigest()


# --- splitting --------------------------------------------------------------------------------------------------


def split(
    ds: Dataset, ratios: Iterable[float] = DEFAULT_RATIOS, seed: int = 0, by: Iterable[str] = ()
) -> VersionManifest:
    """Share the cards out as `splitting.plan_split` says, and snapshot the result.

    Raises DatasetError when there is nothing to split by, or no split keeps together what must be.
    """
    apply_split(ds, plan_split(ds, tuple(ratios), seed, tuple(by)))
    return snapshot(ds)


# --- snapshots --------------------------------------------------------------------------------------------------


def snapshot(ds: Dataset) -> VersionManifest:
    """The dataset as it is now, as a version; the newest one when nothing has changed since.

    Cards without a split get one first (existing ones are kept). Raises DatasetError when there are no samples.
    """
    kept = kept_cards(ds)
    taken = (sample for sample in ds.iter_samples() if sample.excluded is None)
    # A card that a running import has brought since is not among the kept ones yet: it makes them be read again.
    if any(sample.split is None or sample.split != kept.get(sample.card) for sample in taken):
        add_new_cards(ds)
    elif not kept:
        raise empty(ds)
    with ds.lock():
        for leftover in ds.versions_path.glob(".new-*"):
            shutil.rmtree(leftover)
        folder = ds.versions_path / f".new-{secrets.token_hex(4)}"
        folder.mkdir(parents=True)
        try:
            return _publish(ds, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _publish(ds: Dataset, folder: Path) -> VersionManifest:
    manifest = _write(ds, folder)
    with contextlib.suppress(DatasetError):  # no version yet, or a damaged one, which is no reason to make none
        last = ds.manifest()
        if last.digest == manifest.digest:
            return last
    numbers = [int(p.name[1:]) for p in ds.versions_path.glob("v*") if p.name[1:].isdigit()]
    manifest = manifest.model_copy(update={"version": f"v{max(numbers, default=0) + 1}"})
    write_json(folder / "version.json", manifest.model_dump(mode="json"))
    folder.rename(ds.versions_path / manifest.version)
    sync_folder(ds.versions_path)
    return manifest


def _write(ds: Dataset, folder: Path) -> VersionManifest:
    """Write both tables to `folder`; the manifest comes back without its number."""
    index, lines = ds.index(), ds.current()
    ids: list[str] = []
    check = _Digest(ds.classes)
    counts: dict[str, Counter[str]] = {name: Counter() for name in SPLITS}
    cards: dict[str, set[str]] = defaultdict(set)

    def sample_rows() -> Iterator[dict[str, Any]]:
        for sample in index.read_all(sorted(index.offsets)):
            if sample.split is None or sample.excluded is not None:
                continue  # without a split it came since the cards were shared out: it belongs to the next version
            ids.append(sample.id)
            counts[sample.split]["samples"] += 1
            counts[sample.split]["labelled"] += sample.status == "done"
            cards[sample.split].add(sample.card)
            row = sample_row(sample)
            check.add("sample", row)
            yield row

    def annotation_rows() -> Iterator[dict[str, Any]]:
        for id in ids:
            for annotation in sorted(map(ds.annotation, lines.get(id, ())), key=lambda a: a.id):
                row = annotation_row(annotation)
                check.add("annotation", row)
                yield row

    _write_table(folder / "samples.parquet", SAMPLES, sample_rows())
    count = _write_table(folder / "annotations.parquet", ANNOTATIONS, annotation_rows())
    ratios, seed, by = last_split(ds)
    return VersionManifest(
        dataset=ds.name, version="", digest=check.hex(), classes=ds.classes, created=now(),
        samples=len(ids), annotations=count, seed=seed, ratios=ratios, by=by,
        splits={name: {"samples": counts[name]["samples"], "cards": len(cards[name]),
                       "labelled": counts[name]["labelled"]} for name in SPLITS},
    )  # fmt: skip


def _write_table(path: Path, schema: pa.Schema, rows: Iterator[dict[str, Any]]) -> int:
    count = 0
    with path.open("wb") as f:
        with pq.ParquetWriter(f, schema, compression="zstd") as writer:
            for batch in batched(rows, ROWS):
                writer.write_table(pa.Table.from_pylist(batch, schema=schema))
                count += len(batch)
        f.flush()
        os.fsync(f.fileno())
    return count


def summary(manifest: VersionManifest) -> dict[str, Any]:
    """What `data split` and `data snapshot` answer; `notes` (left out when there are none) says which splits are empty."""
    notes = [
        f"{name} is empty: {sum(s['cards'] for s in manifest.splits.values())} card(s) do not reach for it"
        for name, ratio in zip(SPLITS, manifest.ratios, strict=True)
        if ratio > 0 and not manifest.splits[name]["samples"]
    ]
    found = {
        "version": manifest.version,
        "digest": manifest.digest,
        "samples": manifest.samples,
        "splits": manifest.splits,
    }
    return {**found, "notes": notes} if notes else found


# --- reading ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Version:
    """An opened snapshot whose digest was checked. Rows stay in Arrow tables; models are made when asked for."""

    ws: Workspace
    manifest: VersionManifest
    sample_table: pa.Table
    annotation_table: pa.Table

    @classmethod
    def open(cls, ws: Workspace, name: str) -> Version:
        """`NAME` is the newest version, `NAME@V` that one. Raises DatasetError: none of that name, or its rows are
        not those it was made with."""
        dataset, _, wanted = name.partition("@")
        ds = Dataset.open(ws, dataset)
        manifest = ds.manifest(wanted)
        folder = ds.versions_path / manifest.version
        try:
            samples, annotations = (
                pq.read_table(folder / "samples.parquet"),
                pq.read_table(folder / "annotations.parquet"),
            )
            if "more" not in samples.schema.names:  # of before there was any
                samples = samples.append_column("more", pa.nulls(len(samples), pa.string()))
            tables = samples, annotations
            found = _digest_of(manifest, *tables)
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as e:
            raise _changed(folder, f"cannot be read ({e})") from e
        if found != manifest.digest:
            raise _changed(folder, f"its rows give the digest {found[:12]}…, it was made with {manifest.digest[:12]}…")
        return cls(ws, manifest, *tables)

    @property
    def name(self) -> str:
        return f"{self.manifest.dataset}@{self.manifest.version}"

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in id order: the first has id 1."""
        return tuple(c.name for c in self.manifest.classes)

    def samples(self, split: str | None = None) -> list[Sample]:
        """In order of id; of one split, or all."""
        return list(self.iter_samples(split))

    def iter_samples(self, split: str | None = None) -> Iterator[Sample]:
        """As `samples`, a few thousand at a time in memory."""
        for batch in self._of(split).to_batches(max_chunksize=ROWS):
            yield from (sample_of(row) for row in batch.to_pylist())

    def annotations(self, split: str | None = None) -> dict[str, list[Annotation]]:
        """By sample id; samples without any are not in it. Of one split, or all."""
        table = self.annotation_table
        if split is not None:
            table = table.filter(pa.compute.is_in(table["sample"], value_set=self._of(split)["id"].combine_chunks()))
        found: dict[str, list[Annotation]] = {}
        for batch in table.to_batches(max_chunksize=ROWS):
            for row in batch.to_pylist():
                found.setdefault(row["sample"], []).append(annotation_of(row))
        return found

    def records(self, split: str | None = None) -> list[tuple[Sample, list[Annotation]]]:
        """Samples that are done, with their annotations (none: background): what is trained on and scored."""
        annotations: Mapping[str, list[Annotation]] = self.annotations(split)
        return [(s, annotations.get(s.id, [])) for s in self.iter_samples(split) if s.status == "done"]

    def _of(self, split: str | None) -> pa.Table:
        if split is None:
            return self.sample_table
        if split not in SPLITS:
            raise UsageError(f"no split '{split}'", what_to_do=nearest(split, list(SPLITS)))
        return self.sample_table.filter(pa.compute.equal(self.sample_table["split"], split))

    def image_path(self, sample: Sample, role: str = "main") -> Path:
        return Dataset(self.ws, self.manifest.dataset).image_path(sample, role)


def _digest_of(manifest: VersionManifest, samples: pa.Table, annotations: pa.Table) -> str:
    check = _Digest(manifest.classes)
    for what, table, schema in (("sample", samples, SAMPLES), ("annotation", annotations, ANNOTATIONS)):
        for batch in table.select(schema.names).to_batches(max_chunksize=ROWS):
            for row in batch.to_pylist():
                check.add(what, row)
    return check.hex()


def _changed(folder: Path, how: str) -> DatasetError:
    return DatasetError(
        f"this version is not what it was: {how}",
        where=str(folder),
        code="dataset.tampered",
        what_to_do="Restore the folder from a copy, or make a new version: trugrade data snapshot NAME",
    )
