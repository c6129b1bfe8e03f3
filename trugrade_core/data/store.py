"""A dataset on disk: its samples and its append-only annotation log.

    dataset.json        name, classes in order, when it was made, how it was last split
    samples.jsonl       append-only; the last line for an id is the sample
    annotations.jsonl   append-only `LogEntry` lines, under flock with fsync
    versions/V/         immutable snapshots (see versions.py)

Nothing here loads a dataset to add to it: an index of byte offsets is enough.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from pydantic import ValidationError
from ulid import ULID

from trugrade_core.data.journal import (
    SampleIndex,
    append_to,
    batched,
    complete_lines,
    damaged_line,
    parsed,
    records,
)  # fmt: skip
from trugrade_core.errors import DatasetError, WorkspaceError, nearest
from trugrade_core.schema import (
    Annotation,
    ClassDef,
    ImageRef,
    LogEntry,
    Record,
    Sample,
    Value,
    VersionManifest,
    digest,
)
from trugrade_core.workspace import (
    Workspace,
    check_name,
    locked,
    now,
    read_json,
    write_json,
)  # fmt: skip

BATCH = 1000


def sample_id(images: dict[str, ImageRef]) -> str:
    """First 16 hex digits of the sha256 of canonical `{role: image sha256}`."""
    return digest({role: ref.sha256 for role, ref in images.items()})[:16]


def annotation_id(sample: str, label: str | None, value: Value, layer: str = "main") -> str:
    """The id of a label that came from outside: the same label on the same sample always has the same."""
    return digest({"sample": sample, "layer": layer, "label": label, "value": value.model_dump(mode="json")})[:16]


def status_id(sample: str, layer: str = "main") -> str:
    """The id of what is said of the sample as a whole: one a sample and layer."""
    return digest({"sample": sample, "layer": layer, "status": True})[:16]


def put_entry(
    annotation: Annotation, *, who: str, tool: str, replaces: str | None = None, suggested_by: str | None = None
) -> LogEntry:
    """The log entry that says `annotation`. `replaces` is the entry a person saw when changing it, `suggested_by` the
    model whose suggestion was shown."""
    return LogEntry(
        entry=str(ULID()), annotation=annotation.id, sample=annotation.sample, layer=annotation.layer, op="put",
        replaces=replaces, label=annotation.label, value=annotation.value, attributes=annotation.attributes,
        who=who, when=now(), tool=tool, suggested_by=suggested_by,
    )  # fmt: skip


def annotation_in(entry: LogEntry) -> Annotation:
    """What a put says."""
    assert entry.value is not None  # noqa: S101 (a put has a value)
    return Annotation(id=entry.annotation, sample=entry.sample, layer=entry.layer, label=entry.label,
                      value=entry.value, attributes=entry.attributes)  # fmt: skip


DELETED: dict[str, Any] = {"op": "delete", "label": None, "value": None, "attributes": {}}
"""What a deletion says instead of what it deletes."""


@dataclass(frozen=True)
class Conflict:
    """One annotation that two people changed without seeing each other's change: its unreplaced entries."""

    annotation: str
    sample: str
    heads: tuple[LogEntry, ...]


def list_datasets(ws: Workspace) -> list[str]:
    """Names of all datasets, sorted; a folder whose name begins with a dot is being made."""
    return sorted(path.parent.name for path in ws.datasets.glob("[!.]*/dataset.json"))


@dataclass(frozen=True)
class Dataset:
    ws: Workspace
    name: str

    @classmethod
    def create(cls, ws: Workspace, name: str, classes: Iterable[ClassDef] = ()) -> Dataset:
        """A new, empty dataset. Raises DatasetError when there is one of that name."""
        ds = cls(ws, check_name(name, "dataset"))
        ds.path.mkdir(parents=True, exist_ok=True)
        with ds.lock():
            if ds._facts_path.exists():
                raise DatasetError(f"a dataset '{name}' is there already", where=str(ds.path), code="dataset.exists",
                                   what_to_do=f"Choose another name, or add to it: trugrade data import FOLDER --dataset {quote(name)}")  # fmt: skip
            facts = {"name": name, "classes": [c.model_dump() for c in classes], "created": now().isoformat()}
            write_json(ds._facts_path, facts)
        return ds

    @classmethod
    def open(cls, ws: Workspace, name: str) -> Dataset:
        """Raises DatasetError naming the nearest when there is none of that name."""
        ds = cls(ws, name)
        known = list_datasets(ws)
        if name not in known:
            raise DatasetError(
                f"no dataset '{name}' in this workspace",
                where=str(ws.root),
                code="dataset.not_found",
                what_to_do=nearest(name, known) or "Import one: trugrade data import FOLDER --dataset NAME",
            )
        return ds

    # --- the dataset itself ------------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        return self.ws.datasets / self.name

    @property
    def _facts_path(self) -> Path:
        return self.path / "dataset.json"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Held while something that was read is changed. Not re-entrant. Raises DatasetError when the dataset is gone."""
        path = self.path / ".lock"
        with contextlib.ExitStack() as stack:
            try:
                held = stack.enter_context(locked(path, make_folder=False))
                # Who had it before may have moved the folder away, and the lock with it.
                here = held is not None and os.path.samestat(os.fstat(held.fileno()), path.stat())
            except FileNotFoundError as e:
                raise self._gone() from e
            if not here:
                raise self._gone()
            yield

    def _gone(self) -> DatasetError:
        return DatasetError(f"dataset '{self.name}' was removed", where=str(self.path), code="dataset.removed",
                            what_to_do="Move it back from the workspace's trash, or import it again.")  # fmt: skip

    def facts(self) -> dict[str, Any]:
        """dataset.json: name, classes, created, and `split` {ratios, seed} once it was split."""
        try:
            found = read_json(self._facts_path)
        except FileNotFoundError as e:
            raise self._gone() from e
        if not isinstance(found, dict) or not isinstance(found.get("classes"), list):
            raise self._damaged("it has no list of classes")
        return found

    def _damaged(self, wrong: object) -> DatasetError:
        return DatasetError(f"is not what the lab writes ({wrong})", where=str(self._facts_path),
                            code="dataset.damaged", what_to_do="Restore the file from a copy.")  # fmt: skip

    def note_facts(self, **changes: Any) -> None:
        """Write fields of dataset.json. The caller holds the lock."""
        write_json(self._facts_path, {**self.facts(), **changes})

    @property
    def classes(self) -> tuple[ClassDef, ...]:
        """In id order: the first has id 1."""
        try:
            return tuple(ClassDef.model_validate(c) for c in self.facts()["classes"])
        except ValidationError as e:
            raise self._damaged(f"a class: {e.errors()[0]['msg']}") from e

    def add_classes(self, classes: Iterable[ClassDef]) -> tuple[ClassDef, ...]:
        """Append those whose names are new; what is there keeps its place. All classes are returned."""
        with self.lock():
            found = {c.name: c for c in self.classes}
            count = len(found)
            for c in classes:
                found.setdefault(c.name, c)
            if len(found) > count:
                self.note_facts(classes=[c.model_dump() for c in found.values()])
        return tuple(found.values())

    # --- samples -----------------------------------------------------------------------------------------------

    @property
    def samples_path(self) -> Path:
        return self.path / "samples.jsonl"

    def samples(self) -> dict[str, Sample]:
        """Every sample by id, in the order of arrival. All in memory: see `iter_samples`."""
        return {sample.id: sample for sample in self.iter_samples()}

    def iter_samples(self) -> Iterator[Sample]:
        """Every sample once, in the order of arrival, one at a time in memory."""
        index = self.index()
        yield from index.read_all(index.offsets)

    def index(self) -> SampleIndex:
        found = SampleIndex(self.samples_path)
        found.refresh()
        return found

    def put_samples(self, samples: Iterable[Sample]) -> None:
        """Add samples, or replace those of the same id, one fsync a batch."""
        for batch in batched(samples, BATCH):
            with self.lock():
                self.append_samples(batch)

    def append_samples(self, samples: Sequence[Sample]) -> None:
        """As `put_samples` in one batch, by a caller who holds the lock."""
        append_to(self.samples_path, [sample.model_dump_json().encode() for sample in samples])

    def image_path(self, sample: Sample, role: str = "main") -> Path:
        """Where the bytes of the sample's image lie. Raises DatasetError for a role it has not."""
        if role not in sample.images:
            raise DatasetError(
                f"sample has no image '{role}'", where=sample.id, what_to_do=nearest(role, list(sample.images))
            )
        ref = sample.images[role]
        return self.ws.image(ref.sha256, ref.suffix)

    # --- annotations -------------------------------------------------------------------------------------------

    @property
    def log_path(self) -> Path:
        return self.path / "annotations.jsonl"

    def log(self) -> Iterator[LogEntry]:
        """Every entry ever written, oldest first. Raises DatasetError for a damaged line, as all that reads it does."""
        return records(LogEntry, self.log_path)

    def append(self, entries: Iterable[LogEntry]) -> None:
        """Add to the log, one fsync a batch."""
        for batch in batched(entries, BATCH):
            with self.lock():
                self.append_entries(batch)

    def append_entries(self, entries: Sequence[LogEntry]) -> None:
        """As `append` in one batch, by a caller who holds the lock."""
        append_to(self.log_path, [entry.model_dump_json().encode() for entry in entries])

    def annotations(self) -> dict[str, list[Annotation]]:
        """What is currently said of each sample in layer main, by sample id. All in memory: see `current`.

        Of an annotation in conflict the newest put counts until a person settles it (`conflicts`).
        """
        return {sample: [self.annotation(line) for line in lines] for sample, lines in self.current().items()}

    def current(self) -> dict[str, list[bytes]]:
        """As `annotations`, as log lines for `annotation`: a fifth of the memory. What is said of a sample as a whole
        is the sample's `status`, no label."""
        found: dict[str, list[bytes]] = {}
        for heads in self.heads_by_annotation("main").values():
            puts = [(line, entry) for line in heads if (entry := json.loads(line))["op"] == "put"]
            if puts:
                line, entry = puts[-1]
                if (entry.get("value") or {}).get("type") != "status":
                    found.setdefault(entry["sample"], []).append(line)
        return found

    def annotation(self, line: bytes) -> Annotation:
        """What a `put` line of the log says. Raises DatasetError when it is damaged."""
        entry = parsed(LogEntry, self.log_path, line)
        if entry.value is None:
            raise damaged_line(self.log_path, line, "a put without a value")
        return annotation_in(entry)

    def conflicts(self) -> list[Conflict]:
        """Annotations of any layer with unreplaced entries that say different things."""
        found = []
        for annotation, lines in self.heads_by_annotation(None).items():
            if len(lines) > 1:
                heads = tuple(parsed(LogEntry, self.log_path, line) for line in lines)
                if len({said(entry) for entry in heads}) > 1:
                    found.append(Conflict(annotation, heads[0].sample, heads))
        return found

    def heads_by_annotation(self, layer: str | None) -> dict[str, list[bytes]]:
        """{annotation: its unreplaced log lines, oldest first}; lines, because entries are five times the memory."""
        heads: dict[str, dict[str, bytes]] = {}
        replaced: set[str] = set()
        for _, line in complete_lines(self.log_path, 0):
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # torn
            try:
                annotation, number, of, replaces = (entry[k] for k in ("annotation", "entry", "layer", "replaces"))
                if entry["op"] not in ("put", "delete") or not isinstance(entry["sample"], str):
                    raise ValueError(f"op {entry['op']!r} for sample {entry['sample']!r}")
                if layer is not None and of != layer:
                    continue
                own = heads.setdefault(annotation, {})
                if replaces and own.pop(replaces, None) is None:
                    replaced.add(replaces)
                if number not in replaced:
                    own[number] = line
            except (KeyError, TypeError, ValueError) as e:
                raise damaged_line(self.log_path, line, e) from e
        return {annotation: list(lines.values()) for annotation, lines in heads.items()}

    # --- versions ----------------------------------------------------------------------------------------------

    @property
    def versions_path(self) -> Path:
        return self.path / "versions"

    def version_names(self) -> list[str]:
        """v1, v2, …: every snapshot's, oldest first."""
        names = (path.parent.name for path in self.versions_path.glob("v*/version.json"))
        return sorted((name for name in names if name[1:].isdigit()), key=lambda name: int(name[1:]))

    def manifest(self, version: str = "") -> VersionManifest:
        """That version's manifest, or the newest's. Raises DatasetError: there is none, or it cannot be read."""
        known = self.version_names()
        if not known:
            raise DatasetError(f"dataset '{self.name}' has no version yet", where=str(self.path),
                               code="dataset.no_version",
                               what_to_do=f"Make one: trugrade data split {quote(self.name)}")  # fmt: skip
        version = version or known[-1]
        if version not in known:
            raise DatasetError(f"dataset '{self.name}' has no version '{version}'", where=str(self.path),
                               code="dataset.no_version", what_to_do=nearest(version, known))  # fmt: skip
        path = self.versions_path / version / "version.json"
        try:
            found = VersionManifest.model_validate(read_json(path))
            if found.version != version:
                raise ValueError(f"it is of {found.version}")
        except (WorkspaceError, ValueError) as e:
            raise DatasetError("is not this version's manifest", where=str(path), code="dataset.tampered",
                               what_to_do="Restore the file from a copy, or move the version's folder away.") from e  # fmt: skip
        return found

    def versions(self) -> list[VersionManifest]:
        """Every snapshot's manifest, oldest first. Raises DatasetError for one that cannot be read."""
        return [self.manifest(name) for name in self.version_names()]


def said(entry: Record) -> str:
    """What a log entry (or the op that becomes one) says, whoever said it: heads that say the same are no conflict."""
    return entry.model_dump_json(include={"op", "label", "value", "attributes"})
