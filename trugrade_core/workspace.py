"""The workspace: one movable folder that holds everything, and the only code that knows where things lie in it.

datasets/NAME/        samples and annotation log; versions/V/ immutable snapshots
images/ab/abcd….jpg   image bytes exactly as given, by sha256
thumbnails/           a cache
cache/                resized images for training; may be removed at any time
runs/RUN_ID/          everything of a training run
jobs/JOB_ID/          everything of another job (import, evaluation, export, …)
experiments/ID.jsonl  what ExperimentTracker recorded, append-only
exports/NAME/         artifact, manifest, parity report
catalog.duckdb        an index made from the above
trash/                what was removed, first
workspace.json        format number and when it was made
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any

from trugrade_core.errors import UsageError, WorkspaceError

FORMAT = 1
ENVIRONMENT = "TRUGRADE_WORKSPACE"
LONGEST_NAME = 200
"""Bytes of a name: file systems take 255, and a name gets endings."""


def now() -> datetime:
    return datetime.now(UTC)


# --- writing files so that a reader never sees half of one ------------------------------------------------------


def write_atomic(path: Path, data: bytes | str) -> None:
    """Temporary file beside it, fsync, rename, fsync of the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(3)}.tmp")
    try:
        with temp.open("wb") as f:
            f.write(data.encode() if isinstance(data, str) else data)
            f.flush()
            os.fsync(f.fileno())
        temp.replace(path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n")


def read_json(path: Path) -> Any:
    """Raises FileNotFoundError, or WorkspaceError naming the file when it is not JSON."""
    try:
        return json.loads(path.read_bytes())
    except ValueError as e:
        raise WorkspaceError(
            f"not valid JSON ({e})", where=str(path), what_to_do="Restore the file from a copy, or remove it."
        ) from e


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def append_lines(path: Path, lines: list[bytes], *, sync: bool) -> None:
    """Append complete lines in one write. A line torn by a kill is closed first, so it stays alone."""
    if not lines:
        return
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        end = os.lseek(fd, 0, os.SEEK_END)
        torn = end > 0 and os.pread(fd, 1, end - 1) != b"\n"
        data = (b"\n" if torn else b"") + b"".join(line + b"\n" for line in lines)
        while data:
            data = data[os.write(fd, data) :]
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def locked(
    path: Path, *, wait: bool = True, shared: bool = False, make_folder: bool = True
) -> Iterator[IO[bytes] | None]:
    """Hold `path` under flock; yields None when `wait` is False and somebody else has it.

    A `shared` lock only asks who has it: the file must be there, and may belong to another user.
    """
    if make_folder:
        path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("rb" if shared else "ab") as f:
        how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        try:
            fcntl.flock(f, how)
        except BlockingIOError:
            yield None
            return
        yield f


def file_sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def check_name(name: str, what: str) -> str:
    """A name that is also a folder: letters (with their marks) and digits of any script, space, dot, dash,
    underscore; at most 80, and LONGEST_NAME bytes of UTF-8."""
    allowed = all(c.isalnum() or c in " .-_" or unicodedata.category(c)[0] == "M" for c in name)
    edges = name[:1].isalnum() and name[-1:] not in (" ", ".")
    if not (allowed and edges and len(name) <= 80 and len(name.encode()) <= LONGEST_NAME):
        raise UsageError(
            f"'{name[:100]}' cannot be the name of a {what}",
            what_to_do="Use up to 80 letters, digits, spaces, dots, dashes or underscores, starting with a letter or digit "
            f"({LONGEST_NAME} bytes at most: about 60 letters of an Asian script).",
        )
    return name


# --- the folder -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Workspace:
    root: Path

    @classmethod
    def open(cls, root: str | Path | None = None, *, create: bool = True) -> Workspace:
        """The workspace at `root`, else at $TRUGRADE_WORKSPACE, else ./workspace; made when it is not there.

        Raises WorkspaceError when the folder belongs to a newer version, is something else, or cannot be written.
        """
        path = Path(root or os.environ.get(ENVIRONMENT) or "workspace").expanduser().absolute()
        mark = path / "workspace.json"
        if not mark.exists() and (not _is_free(path) or not create):
            if not mark.exists():  # another process may have made it between the two looks
                raise _no_workspace(path)
        elif not mark.exists():
            try:
                write_json(mark, {"format": FORMAT, "created": now().isoformat()})
            except OSError as e:
                raise WorkspaceError(
                    f"cannot be written ({e.strerror})",
                    where=str(path),
                    what_to_do="Choose a folder you may write to with -w FOLDER or TRUGRADE_WORKSPACE.",
                ) from e
        cls(path)._check_format(read_json(mark))
        return cls(path)

    def _check_format(self, mark: Any) -> None:
        found = mark.get("format") if isinstance(mark, dict) else None
        if not isinstance(found, int) or found < min(MIGRATIONS):
            raise WorkspaceError(
                f"has no usable format number ({found!r})",
                where=str(self.root / "workspace.json"),
                what_to_do="Restore workspace.json from a copy.",
            )
        if found > FORMAT:
            raise WorkspaceError(
                f"was made by a newer TruGrade (format {found}; this one reads up to {FORMAT})",
                where=str(self.root),
                what_to_do="Update TruGrade, or choose another workspace with -w FOLDER.",
            )
        if found < FORMAT:
            migrate(self.root)

    @property
    def datasets(self) -> Path:
        return self.root / "datasets"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

    @property
    def exports(self) -> Path:
        return self.root / "exports"

    @property
    def thumbnails(self) -> Path:
        return self.root / "thumbnails"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def catalog(self) -> Path:
        return self.root / "catalog.duckdb"

    @property
    def locks(self) -> Path:
        return self.root / ".locks"

    def image(self, sha256: str, suffix: str) -> Path:
        """Where the bytes of an image lie. `suffix` includes the dot."""
        return self.root / "images" / sha256[:2] / f"{sha256}{suffix}"

    def find_image(self, sha256: str) -> Path | None:
        """The stored image of that digest, whatever its suffix; None for anything but a known sha256."""
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            return None
        folder = self.root / "images" / sha256[:2]
        return next(iter(sorted(folder.glob(f"{sha256}.*"))), None) if folder.is_dir() else None

    def to_trash(self, path: Path) -> Path:
        """Move a file or folder of this workspace to trash/, where it stays until a person empties it."""
        target = self.root / "trash" / f"{now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}" / path.relative_to(self.root)
        target.parent.mkdir(parents=True)
        path.rename(target)
        return target


def _is_free(path: Path) -> bool:
    """Whether a workspace can be made here: nothing is there but the mark that another process is just writing."""
    if not path.exists():
        return True
    return path.is_dir() and all(p.name.startswith(".workspace.json.") for p in path.iterdir())


def _no_workspace(path: Path) -> WorkspaceError:
    if _is_free(path):
        return WorkspaceError("no workspace here yet", where=str(path), what_to_do="Run: trugrade demo")
    return WorkspaceError("is not a TruGrade workspace", where=str(path),
                          what_to_do="Choose an empty or new folder with -w FOLDER or TRUGRADE_WORKSPACE.")  # fmt: skip


# --- older formats ------------------------------------------------------------------------------------------------

MIGRATIONS: dict[int, Callable[[Path], object]] = {
    0: lambda root: None,  # made before the first release; everything lies where it lies in format 1
}
"""{format: function(root) that lifts a workspace from it to the next}, for every format before this one."""


def migrate(root: Path) -> None:
    """Lift an older workspace step by step, after copying beside it all but images, checkpoints and caches.

    Raises WorkspaceError, and changes nothing, when there is no copy.
    """
    with locked(root / ".locks" / "migrate"):
        found = read_json(root / "workspace.json")["format"]  # another process may have lifted it meanwhile
        if found >= FORMAT:
            return
        backup = root.with_name(f"{root.name}.format{found}-{now():%Y%m%d-%H%M%S}")
        try:
            shutil.copytree(root, backup, ignore=partial(_not_copied, root), symlinks=True)
        except OSError as e:
            raise WorkspaceError(
                f"is of the older format {found} and could not be copied before it is lifted ({e})",
                where=str(root),
                what_to_do=f"Make room for {backup} and a folder that may be written to, remove it if it is there, and try again.",
            ) from e
        for number in range(found, FORMAT):
            MIGRATIONS[number](root)
            write_json(root / "workspace.json", {"format": number + 1, "migrated": now().isoformat()})


def _not_copied(root: Path, folder: str, names: list[str]) -> set[str]:
    """What `migrate` leaves out: top folders of images and caches, and checkpoints and temporary files anywhere."""
    top = {"images", "thumbnails", "cache"} if Path(folder) == root else set()
    return top | {n for n in names if n.endswith((".pt", ".tmp")) and not Path(folder, n).is_dir()}
