"""What a person does in the Explorer: look for samples, keep a filter, edit many at once, undo, make a dataset of them."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trugrade_core.annotate.locks import holder
from trugrade_core.data import editing, explore
from trugrade_core.data.editing import Applied, Edit
from trugrade_core.data.explore import Explorer, Found, Page
from trugrade_core.data.filters import Filter, from_params, order
from trugrade_core.data.indexing import quick_json, stamp
from trugrade_core.data.journal import append_to, batched, complete_lines, damaged_line
from trugrade_core.data.store import Dataset
from trugrade_core.errors import DatasetError, TruGradeError, UsageError, nearest
from trugrade_core.runs import Progress, RunFolder
from trugrade_core.schema import Record
from trugrade_core.workflows.jobs import Job, start
from trugrade_core.workspace import Workspace, check_name, locked, now, sync_folder, write_json

MAKING = ".making-"
MOST_OPEN = 4
"""Datasets whose index a process keeps in memory."""
_open: dict[tuple[str, str], _Opened] = {}
_opening = threading.Lock()


@dataclass
class _Opened:
    """An index, with how far is known what checks found: their results' files, and the bytes of the pictures' measures."""

    explorer: Explorer
    findings: object = None
    measured: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def explorer(ws: Workspace, name: str, progress: Progress | None = None) -> Explorer:
    """The index of a dataset, up to date, with what checks found; this process keeps the last few open. Raises
    DatasetError: no such dataset, or a damaged line."""
    ds = Dataset.open(ws, name)
    opened = _opened(ds)
    opened.explorer.refresh(progress)
    with opened.lock:
        _learn(ws, ds, opened)
    return opened.explorer


def _opened(ds: Dataset) -> _Opened:
    key = (str(ds.ws.root), ds.name)
    with _opening:
        opened = _open.pop(key, None) or _Opened(Explorer(ds))
        _open[key] = opened
        while len(_open) > MOST_OPEN:
            del _open[next(iter(_open))]
    return opened


def behind(ws: Workspace, name: str) -> int:
    """Bytes of the dataset's files that `explorer` would have to read. Raises DatasetError: no such dataset."""
    return _opened(Dataset.open(ws, name)).explorer.unread()


def counts(ws: Workspace, name: str) -> dict[str, int]:
    """How many samples and cards, labelled and synthetic ones; from the index where this process has it open."""
    ds = Dataset.open(ws, name)
    opened = _open.get((str(ws.root), name))
    if opened is None:
        return explore.counts(ds)
    opened.explorer.refresh()
    return opened.explorer.counts()


def forget() -> None:
    """Close what this process has open, as if it had just started."""
    with _opening:
        _open.clear()


def _learn(ws: Workspace, ds: Dataset, opened: _Opened) -> None:
    files = [*sorted((ds.path / "checks").glob("now.*.json")), ds.path / "acceptances.jsonl"]
    stamps = [(path.name, stamp(path)) for path in files]
    if stamps != opened.findings and (len(files) > 1 or opened.findings):
        from trugrade_core.workflows.checking import sample_findings

        found: list[tuple[str, str, str]] = []
        with contextlib.suppress(TruGradeError):  # the Check page says what is damaged in what it keeps
            found = sample_findings(ws, ds.name)
        opened.explorer.know_findings(found)
        opened.findings = stamps
    if not (ws.cache / "checks").exists():
        return
    from trugrade_core.data.checks.measures import store_path

    blur: dict[str, float] = {}
    for at, line in complete_lines(store_path(ws), opened.measured):
        opened.measured = at + len(line)
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a damaged line of a cache is measured again
            row = quick_json(line)
            if row["edge_px"] is not None:
                blur[row["sha256"]] = float(row["edge_px"])
    if blur:
        opened.explorer.know_blur(blur)


def row(found: Found) -> dict[str, Any]:
    """A sample as `data find --json` gives it."""
    sample = found.sample
    return {
        "sample": sample.id, "file": sample.sources[0] if sample.sources else None, "card": sample.card,
        "status": sample.status, "split": sample.split, "origin": sample.origin, "tags": list(sample.tags),
        "excluded": sample.excluded, "score": found.score,
        "classes": list(dict.fromkeys(a.label for a in found.annotations if a.label)),
        "shapes": sum(a.value.type in ("box", "polygon", "mask") for a in found.annotations),
        "annotators": list(found.annotators), "changed": found.changed and found.changed.isoformat(),
        "conflicts": found.conflicts, "findings": list(found.findings),
    }  # fmt: skip


def find(found: Explorer, f: Filter, *, sort: str = "arrival", page: int = 1, size: int = 60) -> dict[str, Any]:
    shown: Page = found.page(f, sort=sort, number=page, size=size)
    return {"total": shown.total, "page": shown.number, "pages": shown.pages, "filter": f.line(),
            "samples": [row(r) for r in shown.rows]}  # fmt: skip


# --- edits --------------------------------------------------------------------------------------------------------


def edit_all(
    found: Explorer, edit: Edit, f: Filter, *, who: str, tool: str = "explorer", expected: int | None = None,
    progress: Progress = lambda done, total, text: None,
) -> Applied:  # fmt: skip
    """Edit every sample that fits. With `expected`, how many the person was shown: raises DatasetError, and changes
    nothing, when it is another number by now."""
    ids = found.ids(f)
    if expected is not None and len(ids) != expected:
        raise DatasetError(f"{len(ids):,} samples fit now, {expected:,} did when you looked", where=found.ds.name,
                           code="edit.other_samples", what_to_do="Look at them again; nothing was changed.")  # fmt: skip
    return editing.apply(found, edit, ids, who=who, tool=tool, where=f.line(), held=holder(found.ds), progress=progress)


def undo(found: Explorer, batch: str = "", *, who: str, tool: str = "explorer",
         progress: Progress = lambda done, total, text: None) -> Applied:  # fmt: skip
    return editing.undo(found, batch, who=who, tool=tool, held=holder(found.ds), progress=progress)


def applied(done: Applied) -> dict[str, Any]:
    """What an edit did, as its command answers."""
    return {"batch": done.batch, "what": done.what, "changed": done.changed, "unchanged": done.unchanged,
            "left": [{"sample": sample, "why": why} for sample, why in done.left]}  # fmt: skip


# --- filters with a name ------------------------------------------------------------------------------------------


class SavedFilter(Record):
    """A line of `filters.jsonl`; the last of a name holds, without `where` it is forgotten."""

    name: str
    where: dict[str, str] | None
    sort: str = "arrival"
    who: str
    when: str

    @property
    def filter(self) -> Filter:
        return from_params(self.where or {})


def saved_filters(ds: Dataset) -> dict[str, SavedFilter]:
    """By name, in order of name. Raises DatasetError for a damaged line."""
    path, found = ds.path / "filters.jsonl", dict[str, SavedFilter]()
    for _, line in complete_lines(path, 0):
        try:
            content = json.loads(line)
        except ValueError:
            continue  # torn
        try:
            one = SavedFilter.model_validate(content)
            _ = one.filter, order(one.sort)
        except (ValueError, UsageError) as e:
            raise damaged_line(path, line, e) from e
        found[one.name] = one
    return {name: found[name] for name in sorted(found, key=str.lower) if found[name].where is not None}


def save_filter(ds: Dataset, name: str, f: Filter, *, sort: str = "arrival", who: str) -> SavedFilter:
    """Keep a filter under a name; one of that name is replaced (the file keeps both)."""
    name = check_name(name.strip(), "filter")
    order(sort)
    saved = SavedFilter(name=name, where=f.params(), sort=sort, who=who, when=now().isoformat())
    with ds.lock():
        append_to(ds.path / "filters.jsonl", [saved.model_dump_json().encode()])
    return saved


def forget_filter(ds: Dataset, name: str, *, who: str) -> None:
    """Raises UsageError when there is none of that name."""
    known = saved_filter(ds, name)
    gone = known.model_copy(update={"where": None, "who": who, "when": now().isoformat()})
    with ds.lock():
        append_to(ds.path / "filters.jsonl", [gone.model_dump_json().encode()])


def saved_filter(ds: Dataset, name: str) -> SavedFilter:
    """Raises UsageError when there is none of that name."""
    known = saved_filters(ds)
    if name not in known:
        raise UsageError(f"no filter '{name}' is kept in '{ds.name}'", code="filter.unknown",
                         what_to_do=nearest(name, list(known)) or "Keep one: trugrade data explore NAME --where … --save-as FILTER")  # fmt: skip
    return known[name]


# --- a dataset of what fits ----------------------------------------------------------------------------------------


def start_subset(ws: Workspace, name: str, f: Filter, new: str, *, who: str = "") -> RunFolder:
    """Make the dataset `new` of the samples that fit, as a job. Raises DatasetError: nothing fits, or there is one."""
    _free(ws, new)
    _some(explorer(ws, name).count(f), name, f)
    args = {"dataset": name, "where": f.params(), "new": new}
    return start(ws, "subset", args, title=f"Make {new} of {name}", who=who)


def _free(ws: Workspace, name: str) -> None:
    path = ws.datasets / check_name(name, "dataset")
    if path.exists() and any(path.iterdir()):
        raise DatasetError(f"a dataset '{name}' is there already", where=str(path), code="dataset.exists",
                           what_to_do="Choose another name.")  # fmt: skip


def do_subset(job: Job) -> dict[str, Any]:
    """A job's work; see `make_subset`."""
    args = job.args
    return make_subset(job.ws, args["dataset"], from_params(args["where"]), args["new"], progress=job.progress)


def make_subset(
    ws: Workspace, name: str, f: Filter, new: str, *, progress: Progress = lambda done, total, text: None
) -> dict[str, Any]:
    """A dataset of the samples that fit, with everything ever said of them (who, when and all layers), the same classes,
    splits and marks; it shares the images' bytes. It is there whole or not at all, and the one it comes from stays as it
    is. Raises as `start_subset`."""
    found = explorer(ws, name, progress)
    ids = found.ids(f)
    _free(ws, new)
    _some(len(ids), name, f)
    old = found.ds
    facts = old.facts()
    with _making(ws) as folder:
        made = Dataset(ws, folder.name)
        for n, batch in enumerate(batched(ids, editing.BATCH)):
            made.put_samples(r.sample for r in found.get(batch))
            progress(n * editing.BATCH + len(batch), 2 * len(ids), "Copying samples")
        wanted, count = set(ids), 0
        for entries in batched((e for e in old.log() if e.sample in wanted), editing.BATCH):
            made.append(entries)
            count += len(entries)
        progress(2 * len(ids), 2 * len(ids), "Copying what was said of them")
        own = {"name": new, "classes": [c.model_dump() for c in old.classes], "created": now().isoformat()}
        kept = {key: facts[key] for key in ("task", "guidelines", "split") if key in facts}
        write_json(folder / "dataset.json", {**own, **kept, "made_from": {"dataset": name, "where": f.line()}})
        _free(ws, new)
        folder.rename(ws.datasets / new)
        sync_folder(ws.datasets)
    return {"dataset": new, "images": len(ids), "entries": count, "from": name, "where": f.line()}


@contextlib.contextmanager
def _making(ws: Workspace) -> Iterator[Path]:
    """A folder beside the datasets that is no dataset until it is renamed. One copy at a time: what lies there when the
    next begins was left by a job that was killed."""
    with locked(ws.locks / "subset"):
        for left in ws.datasets.glob(f"{MAKING}*"):
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(prefix=MAKING, dir=ws.datasets, ignore_cleanup_errors=True) as folder:
            yield Path(folder)


def _some(count: int, name: str, f: Filter) -> None:
    if not count:
        raise DatasetError("no sample fits", where=f"{name}: {f.line()}", code="dataset.empty",
                           what_to_do="Take a part of the filter away.")  # fmt: skip
