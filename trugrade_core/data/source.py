"""What is imported from: a folder or a .zip, as a list of files that can be read. Nothing is unpacked."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pydantic import BaseModel

from trugrade_core.data.images import SUFFIXES
from trugrade_core.errors import DatasetError

LARGEST_ENTRY = 1 << 30
"""Bytes an entry of a zip may unpack to; a picture is never larger."""


class Skip(BaseModel):
    """Something that was not taken, and why."""

    file: str
    reason: str


@dataclass
class Source:
    """`files` are relative paths with `/`, sorted; `refused` is what lies there and is not offered.

    `prefix`: the folder of the archive that they are relative to, with its `/`.
    """

    root: Path
    files: list[str] = field(default_factory=list)
    refused: list[Skip] = field(default_factory=list)
    archive: zipfile.ZipFile | None = None
    prefix: str = ""

    def read(self, file: str) -> bytes:
        """The bytes of one of `files`. Raises DatasetError."""
        try:
            if self.archive is not None:
                return self.archive.read(self.prefix + file)
            return (self.root / file).read_bytes()
        except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError) as e:
            raise DatasetError(f"cannot be read ({e})", where=shown(file), code="dataset.unreadable") from e

    def close(self) -> None:
        if self.archive is not None:
            self.archive.close()

    def images(self) -> list[str]:
        return [file for file in self.files if suffix(file) in SUFFIXES]


def open_source(path: Path) -> Source:
    """A folder with all below it, a .zip, or a single file. Raises DatasetError."""
    if path.is_dir():
        return _open_folder(path)
    if not path.is_file():
        raise DatasetError(
            "no such file or folder", where=str(path), code="dataset.no_source", what_to_do="Check the path."
        )
    if zipfile.is_zipfile(path):
        return _open_zip(path)
    if path.suffix.lower() == ".zip":
        raise DatasetError("is not a readable zip archive", where=str(path), code="dataset.no_source",
                           what_to_do="Copy or download it again.")  # fmt: skip
    return Source(path.parent, [path.name])


def _open_folder(root: Path) -> Source:
    source = Source(root)
    seen: set[tuple[int, int]] = set()
    # Linked folders come last, so that files keep the path under which they really lie; a loop ends at `seen`.
    folders, linked = [root], list[Path]()
    while folders or linked:
        folder = folders.pop() if folders else linked.pop(0)
        try:
            facts = folder.stat()
            if (facts.st_dev, facts.st_ino) in seen:
                continue
            seen.add((facts.st_dev, facts.st_ino))
            entries = sorted(os.scandir(folder), key=lambda e: e.name)
        except OSError as e:
            source.refused.append(Skip(file=_relative(folder, root), reason=f"folder cannot be read ({e.strerror})"))
            continue
        for entry in entries:
            if hidden(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
            elif entry.is_symlink() and _leads_to_folder(entry):
                linked.append(Path(entry.path))
            elif _is_file(entry):
                source.files.append(Path(entry.path).relative_to(root).as_posix())
            else:
                source.refused.append(
                    Skip(file=_relative(Path(entry.path), root), reason="is no file: a broken link or a device")
                )
    source.files.sort()
    return source


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _relative(path: Path, root: Path) -> str:
    return shown(path.relative_to(root).as_posix())


def _open_zip(path: Path) -> Source:
    archive = zipfile.ZipFile(path)
    source = Source(path, archive=archive)
    for entry in archive.infolist():
        reason = _refusal(entry)
        if reason:
            source.refused.append(Skip(file=shown(entry.filename), reason=reason))
        elif not entry.is_dir() and not any(hidden(part) for part in PurePosixPath(entry.filename).parts):
            source.files.append(entry.filename)
    source.files = sorted(set(source.files))
    return source


def _refusal(entry: zipfile.ZipInfo) -> str:
    parts = entry.filename.replace("\\", "/").split("/")
    if ".." in parts or parts[0] == "" or re.match(r"[A-Za-z]:", entry.filename):
        return "its path leads out of the archive"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "is a link"
    if entry.file_size > LARGEST_ENTRY:
        return f"unpacks to {entry.file_size:,} bytes, more than the {LARGEST_ENTRY:,} allowed"
    return ""


# --- paths ------------------------------------------------------------------------------------------------------


def hidden(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def suffix(file: str) -> str:
    return PurePosixPath(file).suffix.lower()


def shown(file: str) -> str:
    """The path (or name) as text that can be stored: bytes that are no UTF-8, and halves of letters, are replaced."""
    try:
        return file.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:
        return file.encode("utf-8", "replace").decode()


def key(file: str) -> str:
    """The spelling that paths are compared in: composed letters, `/`, no leading `./`."""
    text = unicodedata.normalize("NFC", file.replace("\\", "/"))
    return "/".join(part for part in text.split("/") if part not in ("", "."))


class FileIndex:
    """Finds files of a source by what a label file calls them: a path, the end of one, or a bare name."""

    def __init__(self, files: list[str]) -> None:
        self._by_key = {key(file): file for file in files}
        self._by_name: dict[str, list[str]] = {}
        for file in files:
            self._by_name.setdefault(key(file).rpartition("/")[2], []).append(file)

    def find(self, called: str, *folders: str) -> tuple[str | None, str]:
        """(file, '') or (None, why). `folders` are where a relative path may start, tried in order."""
        wanted = key(called)
        for folder in (*folders, ""):
            hit = self._by_key.get(key(f"{folder}/{wanted}"))
            if hit is not None:
                return hit, ""
        same_name = self._by_name.get(wanted.rpartition("/")[2], [])
        ends = [file for file in same_name if key(file).endswith("/" + wanted)] or same_name
        if len(ends) == 1:
            return ends[0], ""
        if ends:
            return None, f"{len(ends)} images could be meant: " + ", ".join(map(shown, ends[:3]))
        return None, "there is no such image"

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_key.values())
