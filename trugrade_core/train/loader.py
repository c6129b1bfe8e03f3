"""From a dataset version to batches: cached resized images, an order that is a function of (seed, epoch), workers."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from trugrade_core.data import augment
from trugrade_core.data.images import decode
from trugrade_core.errors import ImageError
from trugrade_core.schema import Annotation, Image, Preprocess, Sample
from trugrade_core.tasks.instances.encode import canvas_matrix, place

METHOD = "area-1"
"""Name of the way images are resized; part of the cache's key, so that a change of it never meets old pixels."""
KEEP_FREE_BYTES = 2_000_000_000
"""The cache stops growing when the disk has less than this left."""


class Item(NamedTuple):
    """A picture to train or validate on."""

    sample: Sample
    annotations: Sequence[Annotation]
    path: Path


class Batch(NamedTuple):
    """images (B, 3, S, S) float32, normalised; a target for each image; the samples' places in the item list."""

    images: Tensor
    targets: list[dict[str, Tensor]]
    indices: list[int]


@dataclass(frozen=True)
class ImageCache:
    """Resized images (h, w, 3) uint8 as .npy files, by the original's sha256, the size and the method."""

    folder: Path
    preprocess: Preprocess

    def get(self, item: Item) -> Image:
        """The image as `Preprocess` lays it onto its canvas, without the padding. Raises ImageError."""
        path = self.folder / f"{METHOD}-{self.preprocess.size}" / item.sample.main.sha256[:2]
        path = path / f"{item.sample.main.sha256}.npy"
        try:
            found: Image = np.load(path, allow_pickle=False)
            return found
        except (OSError, ValueError, EOFError):  # not there yet, or torn or emptied by a full disk: made again
            image = self._resize(item)
            self._keep(path, image)
            return image

    def _resize(self, item: Item) -> Image:
        image = decode(item.path)
        main = item.sample.main
        if image.shape[:2] != (main.height, main.width):
            raise ImageError(
                f"is {image.shape[1]} x {image.shape[0]} px, its dataset says {main.width} x {main.height}",
                where=str(item.path),
            )
        return self.preprocess.content(image)

    def _keep(self, path: Path, image: Image) -> None:
        """Write it down for the next time. The image is at hand: a disk that takes no more must not end the training."""
        temp = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(3)}.tmp.npy")
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(path.parent).free < KEEP_FREE_BYTES:
                return
            try:
                np.save(temp, image)  # no fsync: a cache file that is lost is made again
                temp.replace(path)
            finally:
                temp.unlink(missing_ok=True)


class CardImages(Dataset[Batch]):
    """Items by (epoch, index); augmented `within` settings, if any, as (seed, epoch, index) alone say."""

    def __init__(
        self,
        items: Sequence[Item],
        classes: Sequence[str],
        cache: ImageCache,
        within: augment.Settings | None,
        seed: int = 0,
    ) -> None:
        self.items, self.classes, self.cache, self.within, self.seed = items, classes, cache, within, seed

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        epoch, index = key
        item, preprocess = self.items[index], self.cache.preprocess
        image = self.cache.get(item)
        height, width = item.sample.main.height, item.sample.main.width
        canvas, moved = augment.augmented(
            image, preprocess.size, preprocess.pad, self.within, (self.seed, epoch, index)
        )
        matrix = augment.compose(moved, canvas_matrix(preprocess, width, height))
        target = place(item.annotations, self.classes, matrix, preprocess.size, width, height)
        tensors = {
            "boxes": torch.from_numpy(target.boxes),
            "labels": torch.from_numpy(target.labels),
            "masks": torch.from_numpy(target.masks),
        }
        return Batch(torch.from_numpy(preprocess.normalise(canvas)), [tensors], [index])


def collate(samples: list[Batch]) -> Batch:
    return Batch(
        torch.stack([s.images for s in samples]), [s.targets[0] for s in samples], [s.indices[0] for s in samples]
    )


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index). The order is a function of (seed, epoch); each rank takes every `world`-th.

    `start` is how many places of the epoch, over all ranks, are done already. With `seed` None the order is 0, 1, 2 …
    """

    def __init__(self, count: int, seed: int | None, *, rank: int = 0, world: int = 1) -> None:
        self.count, self.seed, self.rank, self.world = count, seed, rank, world
        self.epoch, self.start = 0, 0

    @property
    def total(self) -> int:
        """Places of an epoch over all ranks: the count, filled up so that every rank has as many."""
        return -(-self.count // self.world) * self.world

    def __len__(self) -> int:
        return (self.total - self.start) // self.world

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = list(range(self.count))
        if self.seed is not None:
            g = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
            order = torch.randperm(self.count, generator=g).tolist()
        order = (order * self.world)[: self.total]  # the first places again, where the ranks do not divide the count
        return iter((self.epoch, index) for index in order[self.start + self.rank :: self.world])


def make_loader(dataset: CardImages, sampler: EpochSampler, batch_size: int, workers: int) -> DataLoader[Batch]:
    """Batches in the sampler's order. The last one of an epoch may be short."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        persistent_workers=workers > 0,
        worker_init_fn=_one_thread,
        # Its own generator: an iterator draws a seed when it starts, and must not draw it from the training's.
        generator=torch.Generator(),
    )


def _one_thread(worker: int) -> None:
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
