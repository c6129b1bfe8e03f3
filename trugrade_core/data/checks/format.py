"""format_validation: is everything there and what it was, does it fit the task, and are the splits apart?"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trugrade_core.data.checks.base import Facts, Finding, Result, Severity, counted, judged, some
from trugrade_core.data.images import probe
from trugrade_core.data.journal import complete_lines
from trugrade_core.data.splitting import last_split
from trugrade_core.data.store import Dataset
from trugrade_core.data.versions import Version
from trugrade_core.errors import DatasetError, ImageError, TruGradeError
from trugrade_core.schema import Annotation, ImageRef, LogEntry, Sample

RESTORE = "Restore the file from a copy, or mend that line by hand; nothing was changed."
STAGE = "files read"
Units = dict[tuple[str, str], dict[str, list[str]]]
"""{(card | design | print | session, its name): {split: samples}}"""


def _finding(code: str, severity: Severity, why: str, action: str, samples: Iterator[str] | tuple[str, ...] = (),
             subject: str = "", **details: Any) -> Finding:  # fmt: skip
    return Finding(check="format_validation", code=code, severity=severity, why=why, action=action,
                   samples=tuple(samples), subject=subject, details=details)  # fmt: skip


# --- what the dataset's own files hold ------------------------------------------------------------------------------


def damage(ds: Dataset) -> list[Finding]:
    """What is damaged in dataset.json, the journals and the manifests. With an error in it the dataset cannot be read
    as it is now, and no other check is made: a reader that leaves lines out would give figures of other data."""
    found: list[Finding] = []
    try:
        _ = ds.classes
    except TruGradeError as e:
        found.append(
            _finding("format.dataset_json", "error", f"dataset.json: {e.message}", "Restore the file from a copy.")
        )
    found += _journal(ds.samples_path, Sample)
    found += _journal(ds.log_path, LogEntry)
    return found


def _journal(path: Path, kind: type[Sample] | type[LogEntry]) -> Iterator[Finding]:
    torn, seen = [], dict[str, bytes]()
    for number, (_, line) in enumerate(complete_lines(path, 0), 1):
        where = f"line {number} of {path.name}"
        try:
            said = json.loads(line)
        except ValueError:
            torn.append(number)
            continue
        try:
            kind.model_validate(said, strict=False) if isinstance(said, dict) else kind.model_validate_json(line)
        except ValidationError as e:
            wrong = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in e.errors()[:2])
            yield _finding("format.damaged_line", "error", f"{where} was damaged or changed by hand ({wrong})", RESTORE,
                           subject=f"{path.name}:{number}")  # fmt: skip
            continue
        if kind is LogEntry:
            content = hashlib.sha256(line.strip()).digest()
            if seen.setdefault(said["entry"], content) != content:
                yield _finding("format.duplicate_entry", "error",
                               f"{where} has the id of another entry, {said['entry']}, and says something else",
                               RESTORE, subject=said["entry"])  # fmt: skip
    if torn:
        yield _finding("format.torn_line", "info",
                       f"{path.name}: {counted(len(torn), 'line')} ({some([str(n) for n in torn])}) cut off while being written; "
                       "what stands before and after is whole", "Nothing to do: what was cut off was never said to be saved.",
                       subject=path.name)  # fmt: skip


# --- the check ------------------------------------------------------------------------------------------------------


def format_validation(facts: Facts) -> Result:
    """Files by their size, and where `facts.deep` by their digest and header; journals, versions, shapes and splits."""
    files = _Files(facts)
    shapes: dict[str, dict[str, None]] = defaultdict(dict)
    units: Units = defaultdict(lambda: defaultdict(list))
    by = _split_by(facts)
    ids: set[str] = set()
    total = sum(1 for _ in facts.samples()) if facts.deep else 0
    for done, (sample, labels) in enumerate(facts.records(), 1):
        ids.add(sample.id)
        files.look(sample)
        for name in _foreign(facts, labels):
            shapes[name][sample.id] = None
        if sample.split is not None:
            for unit in ("card", *by):
                if value := getattr(sample, unit):
                    units[unit, value][sample.split].append(sample.id)
        if facts.deep:
            facts.progress(done, total, STAGE)
    findings = [*files.findings(), *_shapes(facts, shapes), *leaks(units)]
    if facts.dataset is not None:
        findings += [*_orphans(facts), *_versions(facts)]
        if facts.manifest is None:
            findings += damage(facts.dataset)
    if facts.imported is not None:
        findings += _imported(facts.imported)
    how = "each file read whole" if facts.deep else "files by their size; not read, so a changed byte would not show"
    return judged(findings, len(ids), why=f"{counted(len(ids), 'sample')}, {how}")


class _Files:
    """Pictures against what is recorded of them: {code: {sample: what}}."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.found: dict[str, dict[str, str]] = defaultdict(dict)

    def look(self, sample: Sample) -> None:
        for role, ref in sample.images.items():
            path = self.facts.image_path(sample, role)
            try:
                size = path.stat().st_size
            except OSError:
                self.found["format.missing_file"][sample.id] = f"images/{ref.sha256[:2]}/{path.name}"
                continue
            if size != ref.bytes:
                self.found["format.changed_file"][sample.id] = f"{size:,} bytes, {ref.bytes:,} were imported"
            elif self.facts.deep:
                self._read(sample, path, ref)

    def _read(self, sample: Sample, path: Path, ref: ImageRef) -> None:
        try:
            data = path.read_bytes()
        except OSError as e:
            self.found["format.unreadable"][sample.id] = str(e.strerror)
            return
        if hashlib.sha256(data).hexdigest() != ref.sha256:
            self.found["format.changed_file"][sample.id] = "other bytes than were imported"
            return
        try:
            now = probe(data, name=path.name, max_pixels=1 << 62)
        except ImageError as e:
            self.found["format.unreadable"][sample.id] = e.message
            return
        for what in ("width", "height", "orientation"):
            if getattr(now, what) != getattr(ref, what):
                self.found["format.other_header"][sample.id] = (
                    f"{what} {getattr(now, what)}, recorded {getattr(ref, what)}"
                )

    def findings(self) -> Iterator[Finding]:
        again = "Put the workspace's images folder back from a copy, or import the picture again."
        words: dict[str, tuple[str, str]] = {
            "format.missing_file": ("the picture is not in the store", again),
            "format.changed_file": ("the picture's bytes are not those that were imported", again),
            "format.unreadable": ("the picture cannot be read", again),
            "format.other_header": ("the picture's header says another size or rotation than is recorded",
                                    "Import the picture again; labels drawn on it may lie elsewhere."),
        }  # fmt: skip
        for code, by_sample in sorted(self.found.items()):
            why, action = words[code]
            yield _finding(
                code,
                "error",
                f"{counted(len(by_sample), 'sample')}: {why}",
                action,
                tuple(by_sample),
                by_sample=by_sample,
            )


def _foreign(facts: Facts, annotations: list[Annotation]) -> set[str]:
    """The kinds of labels that the task does not learn from."""
    if facts.needs is None:
        return set()
    return {a.value.type for a in annotations if a.value.type not in facts.needs.shapes}


def _shapes(facts: Facts, shapes: Mapping[str, Mapping[str, None]]) -> Iterator[Finding]:
    assert facts.needs is not None or not shapes  # noqa: S101
    if facts.needs is not None:
        for name, samples in sorted(shapes.items()):
            yield _finding("format.foreign_shape", "info",
                           f"{counted(len(samples), 'sample')} carry labels of the kind '{name}', which {facts.needs.task} does not "
                           f"learn from (it takes {' or '.join(facts.needs.shapes) or 'none'})",
                           "Nothing to do if another task learns from them.", tuple(samples), name)  # fmt: skip
        if not any(c.shape in facts.needs.shapes for c in facts.classes) and facts.needs.kind in (
            "instances",
            "mask",
            "tags",
        ):
            drawn = sorted({c.shape for c in facts.classes})
            yield _finding("format.no_class", "error",
                           f"no class of the dataset is of a kind that {facts.needs.task} learns from "
                           f"({' or '.join(facts.needs.shapes)}); its classes are {' and '.join(drawn) or 'none'}",
                           "Choose the task that fits, or label with this task's template.")  # fmt: skip


def _split_by(facts: Facts) -> tuple[str, ...]:
    """What was kept in one split beside the card."""
    if facts.manifest is not None:
        return facts.manifest.by
    return last_split(facts.dataset)[2] if facts.dataset is not None else ()


def leaks(units: Units) -> Iterator[Finding]:
    """Cards, and what else the splits were made by, that lie in more than one split all the same: corrected, or brought
    by new cards, since."""
    torn = {unit: own for unit, own in units.items() if len(own) > 1}
    cards = {unit: own for unit, own in torn.items() if unit[0] == "card"}
    if cards:
        yield _leak("leak.card", cards,
                    f"{counted(len(cards), 'card')} stand{'s' if len(cards) == 1 else ''} in more than one split "
                    f"({some(sorted(name for _, name in cards))}): a model is tested on cards it was trained on",
                    "Split again (a card is never divided), or correct the card names.")  # fmt: skip
    others = {unit: own for unit, own in torn.items() if unit[0] != "card"}
    if others:
        yield _leak("leak.unit", others,
                    f"{len(others)} of what the splits were made by {'stands' if len(others) == 1 else 'stand'} in more than one "
                    f"split ({some([' '.join(unit) for unit in sorted(others)])})", "Split again by the same units.")  # fmt: skip


def _leak(code: str, torn: Units, why: str, action: str) -> Finding:
    said: dict[str, list[str]] = defaultdict(list)
    for (unit, value), own in torn.items():
        for split, samples in own.items():
            for sample in samples:
                said[sample].append(f"{unit} {value} in {split}")
    by_sample = {sample: "; ".join(words) for sample, words in said.items()}
    return _finding(code, "error", why, action, tuple(by_sample), by_sample=by_sample)


def _orphans(facts: Facts) -> Iterator[Finding]:
    if facts.manifest is not None or facts.dataset is None:
        return
    known = facts.dataset.index().offsets
    gone = {sample: len(lines) for sample, lines in facts.dataset.current().items() if sample not in known}
    if gone:
        yield _finding("format.orphan_labels", "warning",
                       f"{counted(sum(gone.values()), 'label')} of {counted(len(gone), 'sample')} that the dataset does not have",
                       "Import the pictures again; the labels find them by their bytes.", names=sorted(gone)[:1000])  # fmt: skip


def _versions(facts: Facts) -> Iterator[Finding]:
    """Every version's digest where `deep`; else the manifests alone, and the version in question was opened already."""
    assert facts.dataset is not None  # noqa: S101
    for name in facts.dataset.version_names():
        try:
            if facts.deep and (facts.manifest is None or facts.manifest.version != name):
                Version.open(facts.ws, f"{facts.dataset.name}@{name}")
            else:
                facts.dataset.manifest(name)
        except DatasetError as e:
            here = facts.manifest is not None and facts.manifest.version == name
            yield _finding("format.version", "error" if here else "warning", f"version {name}: {e.message}",
                           e.what_to_do or "Restore its folder from a copy.", subject=name)  # fmt: skip


def _imported(report: Mapping[str, Any]) -> Iterator[Finding]:
    """What an import would leave out of a folder that was not imported."""
    if "refused" in report:
        todo = report["what_to_do"] or "Give a folder with pictures, or a label file that this lab reads."
        yield _finding(
            "format.not_recognised", "error", f"it is not recognised as a dataset: {report['refused']}", todo
        )
        return
    skipped = report["skipped"]
    if skipped:
        reasons = Counter(s["reason"].split(";")[0] for s in skipped)
        most = "; ".join(f"{reason} ({n:,})" for reason, n in reasons.most_common(3))
        yield _finding("format.skipped", "warning",
                       f"an import would leave out {counted(len(skipped), 'file or label')}: {most}"
                       .replace("file or labels", "files or labels"),
                       "Mend them, or go on without; trugrade data import PATH --dry-run lists all.", files=skipped[:1000])  # fmt: skip
    if not report["taken"]:
        yield _finding("format.nothing_taken", "error", "nothing here can be imported", "Give a folder with pictures.")
    for number, note in enumerate(report.get("notes", [])):
        yield _finding("format.note", "info", note, "Nothing to do if that is meant.", subject=str(number))
