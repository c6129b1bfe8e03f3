"""What a page reads: the workspace, the address bar, and files through caches that follow their modification times.

The URL is the state: `param` and `keep` carry dataset, run, sample and filter there, so that a link opens the same view.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import unquote

import streamlit as st

from trugrade_core.config import RunConfig
from trugrade_core.errors import TruGradeError
from trugrade_core.machine import Machine
from trugrade_core.monitor import experiments
from trugrade_core.monitor.reading import Journal
from trugrade_core.runs import RunFolder, Status, list_ids
from trugrade_core.train.plan import Estimate
from trugrade_core.workspace import Workspace

if TYPE_CHECKING:
    from trugrade_core.data.explore import Explorer

MOST_KEPT = 20_000
LISTED = 200
"""Runs that a page offers; the Catalog has them all."""
T = TypeVar("T")

# --- workspace and address ----------------------------------------------------------------------------------------


def workspace() -> Workspace:
    """The one given as `streamlit run app/Home.py -- -w FOLDER`, else $TRUGRADE_WORKSPACE, else ./workspace."""
    for word, value in zip(sys.argv, sys.argv[1:], strict=False):
        if word in ("-w", "--workspace"):
            return Workspace.open(value)
    return Workspace.open()


def param(name: str, default: str = "") -> str:
    """The URL's value, else the one this session used last, else `default`."""
    return st.query_params.get(name) or st.session_state.get(f"param:{name}") or default


def keep(**params: str) -> None:
    """Write values to the URL and remember them for the next page; an empty one is taken out."""
    for name, value in params.items():
        st.session_state[f"param:{name}"] = value
        if value and st.query_params.get(name) != value:
            st.query_params[name] = value
        elif not value and name in st.query_params:
            del st.query_params[name]


def in_url(name: str, default: str, options: Sequence[str] | None = None) -> dict[str, Any]:
    """Arguments of a widget whose value lives in the URL; `default` (or a value that is no option) is left out of it."""
    key = f"url:{name}"
    if key not in st.session_state:
        asked = st.query_params.get(name, default)
        st.session_state[key] = asked if options is None or asked in options else default

    def put() -> None:
        value = st.session_state[key]
        if value and value != default:
            st.query_params[name] = value
        elif name in st.query_params:
            del st.query_params[name]

    return {"key": key, "on_change": put}


def go(page: str, **params: str) -> NoReturn:
    """Open a page, by its file name in app/views."""
    for name, value in params.items():
        st.session_state[f"param:{name}"] = value
    st.switch_page(f"views/{page}.py", query_params={k: v for k, v in params.items() if v})


WHO_COOKIE = "tg_who"


def who() -> str:
    """The name this browser goes by: chosen on the Annotate page, else remembered in its cookie, else the computer's user."""
    cookie = st.context.cookies.get(WHO_COOKIE)
    remembered = unquote(cookie) if isinstance(cookie, str) else ""
    return str(st.session_state.get("annotate-who") or remembered or experiments.who())


@st.cache_resource(ttl=300, show_spinner=False)
def machine() -> Machine:
    return Machine.here()


# --- jobs and runs ------------------------------------------------------------------------------------------------


@st.cache_resource(show_spinner=False)
def _memory() -> tuple[threading.Lock, dict[Any, Any]]:
    return threading.Lock(), {}


def cached(key: Any, stamp: Any, make: Callable[[], T]) -> T:
    """`make()`, kept for as long as `stamp` is the same; the newest MOST_KEPT are kept."""
    lock, memory = _memory()
    with lock:
        found = memory.get(key)
    if found is None or found[0] != stamp:
        found = stamp, make()
        with lock:
            memory.pop(key, None)
            memory[key] = found
            while len(memory) > MOST_KEPT:
                memory.pop(next(iter(memory)))
    kept: T = found[1]
    return kept


def stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_size


def runs(ws: Workspace) -> list[RunFolder]:
    """Trainings, newest first."""
    return [RunFolder(path) for path in reversed(list_ids(ws.runs))]


def asked_run(ws: Workspace) -> RunFolder | None:
    """The run that the address names, else the one this session used last; None, and it is forgotten, when that is gone.

    Raises TrainingError when the address names a run that is not there and that this session has not used.
    """
    asked = param("run")
    try:
        return RunFolder.find(ws, asked) if asked else None
    except TruGradeError:
        if asked != st.session_state.get("param:run"):
            raise
        keep(run="")
        return None


def trained(ws: Workspace) -> list[RunFolder]:
    """Of the newest runs, those with a checkpoint."""
    return [folder for folder in runs(ws)[:LISTED] if has_checkpoint(folder)]


def has_checkpoint(folder: RunFolder) -> bool:
    return any(folder.checkpoints.glob("*.pt"))


def run_words(folder: RunFolder) -> str:
    """A run in a list to choose from."""
    return f"{folder.id} · {job(folder).get('title', 'damaged folder')}"


def jobs(ws: Workspace, *kinds: str) -> list[RunFolder]:
    """Other jobs, newest first; of these kinds, or all."""
    found = [RunFolder(path) for path in reversed(list_ids(ws.jobs))]
    return [folder for folder in found if job(folder).get("kind") in kinds] if kinds else found


def job(folder: RunFolder) -> dict[str, Any]:
    """job.json, or {} where the folder is half-written or damaged."""
    path = folder.path / "job.json"

    def load() -> dict[str, Any]:
        try:
            return folder.job()
        except TruGradeError:
            return {}

    return cached(("job", str(path)), stamp(path), load)


def status(folder: RunFolder) -> Status:
    """As RunFolder.status; a job that has ended is read again only when its journal changes."""
    path = folder.path / "events.jsonl"
    now = stamp(path)
    found: Status = cached(("status", str(path)), now, folder.status)
    if found.live and not folder.supervised():  # a supervisor may have gone without a word
        _memory()[1].pop(("status", str(path)), None)
        return folder.status()
    return found


def run_row(folder: RunFolder) -> dict[str, Any]:
    """`overview.run_row`, made again when the run's journal or checkpoints change."""
    from trugrade_core.workflows import overview

    now = stamp(folder.path / "events.jsonl"), stamp(folder.checkpoints), status(folder).state
    return cached(("row", str(folder.path)), now, lambda: overview.run_row(folder))


def journal(folder: RunFolder) -> Journal:
    """The run's events up to now; each call parses only what is new. What other sessions read later is not in it."""
    found, own_lock = cached(("journal", str(folder.path)), None, lambda: (Journal(folder), threading.Lock()))
    with own_lock:
        found.refresh()
        return cached(("journal now", str(folder.path)), found.offset, found.copy)


def live(ws: Workspace) -> list[tuple[RunFolder, Status]]:
    """Every queued or running job and training, oldest first."""
    folders = [RunFolder(path) for parent in (ws.runs, ws.jobs) for path in list_ids(parent)]
    found = [(folder, status(folder)) for folder in sorted(folders, key=lambda f: f.id)]
    return [(folder, now) for folder, now in found if now.live]


# --- datasets -----------------------------------------------------------------------------------------------------


READ_AT_ONCE = 4_000_000
"""Bytes of a dataset's files that are read without saying how far it is."""


@dataclass(frozen=True)
class Opened:
    """A dataset as it is now."""

    name: str
    classes: tuple[str, ...]


def dataset_rows(ws: Workspace) -> list[dict[str, Any]]:
    """`overview.datasets`, made again when any dataset's files change."""
    from trugrade_core.workflows import overview

    files = [p for folder in sorted(ws.datasets.glob("*/")) for p in (*sorted(folder.iterdir()), folder / "versions")]
    now = tuple((str(path), stamp(path)) for path in files)
    return cached(("datasets", str(ws.root)), now, lambda: overview.datasets(ws))


def dataset_names(ws: Workspace) -> list[str]:
    from trugrade_core.data.store import list_datasets

    return list_datasets(ws)


def dataset(ws: Workspace, name: str) -> Opened:
    """Raises DatasetError when there is none of that name."""
    from trugrade_core.data.store import Dataset

    return Opened(name, tuple(c.name for c in Dataset.open(ws, name).classes))


def names_of(ws: Workspace, name: str, ids: Sequence[str]) -> dict[str, str]:
    """{sample: the file that people know it by}; its id where it is gone."""
    from trugrade_core.annotate.indexes import samples_of
    from trugrade_core.data.store import Dataset

    if not ids:
        return {}
    found = samples_of(Dataset.open(ws, name))
    found.refresh()
    return {id: found.rows[id].name if id in found.rows else id for id in ids}


@dataclass
class _Reading:
    """An index that is being made by a thread of its own: it goes on when the person who asked for it has left."""

    thread: threading.Thread | None = None
    far: tuple[int, int, str] = (0, 1, "Opening")
    error: Exception | None = None


def explorer(ws: Workspace, name: str) -> Explorer:
    """The dataset's index, up to date; says how far it is where there is much to read. Raises DatasetError."""
    from trugrade_core.workflows import exploring

    if exploring.behind(ws, name) <= READ_AT_ONCE:
        return exploring.explorer(ws, name)
    reading = _reading(ws, name)
    slot = st.empty()
    while reading.thread and reading.thread.is_alive():
        done, total, text = reading.far
        slot.progress(
            min(done / total, 1.0), f"{name}: {text.lower()}. This is done once; after it only what is new is read."
        )
        reading.thread.join(0.2)
    slot.empty()
    if reading.error:
        raise reading.error
    return exploring.explorer(ws, name)


def _reading(ws: Workspace, name: str) -> _Reading:
    """The reading that goes on for this dataset, begun if there is none."""
    from trugrade_core.workflows import exploring

    lock, memory = _memory()
    key = "reading", str(ws.root), name
    with lock:
        found: _Reading | None = memory.get(key)
        if found and found.thread and found.thread.is_alive():
            return found
        made = memory[key] = _Reading()

        def read() -> None:
            try:
                exploring.explorer(ws, name, lambda *far: setattr(made, "far", far))
            except Exception as e:
                made.error = e

        made.thread = threading.Thread(target=read, name=f"reading {name}", daemon=True)
        made.thread.start()
    return made


def all_versions(ws: Workspace) -> list[str]:
    """NAME@VERSION of every version, the newest of each dataset first."""
    return [f"{name}@{version}" for name in dataset_names(ws) for version in version_names(ws, name)]


def plan(ws: Workspace, config: RunConfig, *, random_init: bool) -> dict[str, Any]:
    """`training.plan` as JSON, made again when anything in it was changed."""
    from trugrade_core.workflows import training

    asked = _planned_from(ws, config, random_init)
    return cached(("plan", str(ws.root)), asked, lambda: training.plan(ws, config, random_init=random_init).as_json())


def estimate(ws: Workspace, config: RunConfig, *, random_init: bool, probe: bool) -> Estimate | None:
    """What the planned run will take, kept for as long as nothing in the plan was changed; None when nobody has probed.

    `probe` makes it when it is not there: a few steps in a process of their own, some ten seconds.
    """
    from trugrade_core.workflows import training

    key = "estimate", str(ws.root), *_planned_from(ws, config, random_init)
    if not probe and key not in _memory()[1]:
        return None
    return cached(key, None, lambda: training.estimate(ws, config, random_init=random_init).estimate)


def _planned_from(ws: Workspace, config: RunConfig, random_init: bool) -> tuple[Any, ...]:
    return config.model_dump_json(exclude_unset=True), random_init, stamp(ws.root / "weights")


def version_names(ws: Workspace, name: str) -> list[str]:
    """Newest first."""
    from trugrade_core.data.store import Dataset

    return list(reversed(Dataset.open(ws, name).version_names()))
