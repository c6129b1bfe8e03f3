"""What is measured of each picture, once: kept by sha256 in the workspace's cache, so that a new threshold, another
dataset with the same picture or a second look costs no pixel.

    cache/checks/pictures-N.jsonl     one `Measured` a line, append-only; N is `ALGORITHM`

The file is a cache: a line that cannot be read is measured again, and the file may be removed at any time.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

import cv2
from pydantic import ValidationError

from trugrade_core.data.checks import hashing, pixels
from trugrade_core.data.images import decode_bytes, probe
from trugrade_core.data.store import Dataset
from trugrade_core.errors import ImageError
from trugrade_core.runs import Progress
from trugrade_core.schema import Record
from trugrade_core.workspace import Workspace, append_lines

ALGORITHM = 2
"""Of everything in `Measured`. Raise it when a number would come out differently: the older file is then left alone."""

THREADS = 2
BATCH = 64


class Measured(Record):
    """What one picture is and what its pixels say. Levels and shares are 0 to 1; `noise` is in grey levels of 255;
    `edge_px` the sigma of the sharpest edges and `detail` the finest structure still there, as a share of what the
    pixels could hold; `quality` is that of the JPEG's own tables, `former_quality` the one its pixels went through.
    `pixels` is the digest of the picture as shown, `hash` its perceptual hash (`hashing`). Numbers that the picture
    does not give are None."""

    sha256: str
    width: int
    height: int
    bits: int
    suffix: str
    dpi: float | None
    dark: float
    light: float
    contrast: float
    white: float
    black: float
    colour: float
    glare: float
    noise: float
    edge_px: float | None
    detail: float | None
    grid: float
    quality: float | None
    former_quality: float | None
    pixels: str
    hash: str | None


@dataclass(frozen=True)
class Measures:
    """`found` by the picture's sha256; `unreadable` {sha256: why}; `missing` those that were not measured, because
    only what is stored was asked for; `paths` {path: sha256} where paths were given."""

    found: Mapping[str, Measured]
    unreadable: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    paths: Mapping[Path, str] = field(default_factory=dict)


T = TypeVar("T")
R = TypeVar("R")


def nothing_to_tell(done: int, total: int, text: str) -> None:
    """The progress that nobody watches."""


def measure_picture(data: bytes, *, name: str) -> Measured:
    """Everything that is measured of one picture. Raises ImageError when its pixels cannot be read."""
    ref = probe(data, name=name)
    rgb = decode_bytes(data, name=name)
    grey = cast(pixels.Grey, cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
    tiles = pixels.tiles(grey)
    grid = pixels.block_grid(grey)
    levels = pixels.levels(rgb, grey)
    bandwidth = pixels.bandwidth(tiles)
    return Measured(
        sha256=ref.sha256, width=ref.width, height=ref.height, bits=ref.bits, suffix=ref.suffix, dpi=ref.dpi,
        dark=levels.dark, light=levels.light, contrast=levels.contrast, white=levels.white, black=levels.black,
        colour=levels.colour, glare=pixels.glare(rgb), noise=pixels.noise(tiles), edge_px=pixels.edge_sigma(tiles),
        detail=None if bandwidth is None else 2 * bandwidth, grid=grid.strength, quality=pixels.jpeg_quality(data),
        former_quality=pixels.former_quality(grey, grid), pixels=pixels.pixel_digest(rgb), hash=hashing.picture_hash(grey),
    )  # fmt: skip


# --- kept by sha256 ---------------------------------------------------------------------------------------------


def store_path(ws: Workspace) -> Path:
    return ws.cache / "checks" / f"pictures-{ALGORITHM}.jsonl"


def load(path: Path, wanted: Collection[str]) -> dict[str, Measured]:
    """What is stored of the pictures `wanted`, by sha256."""
    found: dict[str, Measured] = {}
    start = len('{"sha256":"')
    if not path.exists():
        return found
    with path.open("rb") as f:
        for line in f:
            sha = line[start : start + 64].decode("ascii", "replace")
            if sha in wanted:
                try:
                    found[sha] = Measured.model_validate_json(line)
                except ValidationError:
                    continue  # torn by a kill: it is measured again
    return found


def measure_images(
    wanted: Mapping[str, Path], store: Path | None, *, deep: bool = True, progress: Progress = nothing_to_tell
) -> Measures:
    """`wanted` is {sha256: file}. What `store` has is taken from there; the rest is measured when `deep`, and kept."""
    found = load(store, wanted) if store else {}
    rest = [sha for sha in wanted if sha not in found]
    if not deep:
        return Measures(found, missing=tuple(rest))
    unreadable: dict[str, str] = {}
    for sha, got in _measured([(sha, wanted[sha]) for sha in rest], store, progress, len(found)):
        if isinstance(got, Measured):
            found[sha] = got
        else:
            unreadable[sha] = got
    return Measures(found, unreadable)


def measure(
    source: Dataset | Sequence[Path], *, ws: Workspace | None = None, progress: Progress = nothing_to_tell
) -> Measures:
    """Measure every picture of a dataset, or of files that were not imported; what `ws` (a dataset's own workspace)
    has of them is not measured again."""
    if isinstance(source, Dataset):
        wanted = {ref.sha256: source.ws.image(ref.sha256, ref.suffix)
                  for sample in source.iter_samples() for ref in sample.images.values()}  # fmt: skip
        return measure_images(wanted, store_path(source.ws), progress=progress)
    paths: dict[Path, str] = {}
    unread: dict[str, str] = {}
    for path in source:
        try:
            with path.open("rb") as f:
                paths[path] = hashlib.file_digest(f, "sha256").hexdigest()
        except OSError as e:
            unread[str(path)] = f"cannot be read ({e.strerror})"
    wanted = {sha: path for path, sha in reversed(paths.items())}
    got = measure_images(wanted, store_path(ws) if ws else None, progress=progress)
    return Measures(got.found, {**unread, **got.unreadable}, paths=paths)


def _measured(
    work: Sequence[tuple[str, Path]], store: Path | None, progress: Progress, known: int
) -> Iterator[tuple[str, Measured | str]]:
    """Each picture's measures, or why it has none; kept in batches, so that a stopped check begins where it was."""
    fresh: list[bytes] = []
    for done, (sha, got) in enumerate(in_turn(_try_one, work), known + 1):
        if isinstance(got, Measured):
            fresh.append(got.model_dump_json().encode())
        if store and (len(fresh) >= BATCH or (fresh and done == known + len(work))):
            store.parent.mkdir(parents=True, exist_ok=True)
            append_lines(store, fresh, sync=False)
            fresh = []
        progress(done, known + len(work), "Measuring pictures")
        yield sha, got


def _try_one(item: tuple[str, Path]) -> tuple[str, Measured | str]:
    sha, path = item
    try:
        got = measure_picture(path.read_bytes(), name=str(path))
    except ImageError as e:
        return sha, e.message
    except OSError as e:
        return sha, f"cannot be read ({e.strerror})"
    return sha, got


def in_turn(call: Callable[[T], R], work: Iterable[T]) -> Iterator[R]:
    """`call` of each, in order, by `THREADS` threads that run no more than a few ahead: pictures are not piled up."""
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        for item in work:
            waiting.append(pool.submit(call, item))
            if len(waiting) > 2 * THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
