"""A 64-bit perceptual hash that knows its own turned and mirrored versions, and the search for look-alikes.

The hash holds the signs of the 8 x 8 lowest coefficients (without the constant ones) of the DCT of the picture at
32 x 32. Mirroring a picture only changes signs of odd coefficients and transposing it swaps them, so the hashes of all
eight versions follow from one, and the search for a turned copy costs little more than for an upright one.

A hash is four words of 16 bits, by whether the vertical (u) and horizontal (v) frequency is even or odd: a mirror
image flips whole words. Two hashes within `within` bits agree in one of the words to a quarter of that, so candidates
are looked up by word (multi-index hashing, Norouzi et al. 2012) and only those are compared as a whole.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

BITS = 64
WITHIN = 10
"""Bits that may differ. The nearest of unrelated real scans are 12 apart; a scan cropped by 4 % or turned by a degree
stays within 10."""
MOST_PAIRS = 500_000
BLOCK = 4_000_000
FLAT = 3.0
"""Below this spread of the small picture's levels the signs are noise, and there is no hash."""

MOST_HASHES = 1 << 27

Hashes = NDArray[np.uint64]
Positions = NDArray[np.int32]

CLASSES = [[(u, v) for u in range(1, 9) for v in range(1, 9) if (u % 2, v % 2) == parity]
           for parity in ((0, 0), (0, 1), (1, 0), (1, 1))]  # fmt: skip
BIT = {uv: 16 * word + n for word, uvs in enumerate(CLASSES) for n, uv in enumerate(uvs)}
TRANSPOSED = np.array([BIT[v, u] for (u, v), _ in sorted(BIT.items(), key=lambda item: item[1])])
WORD = 0xFFFF
LEFT_RIGHT = np.uint64(WORD << 16 | WORD << 48)
UP_DOWN = np.uint64(WORD << 32 | WORD << 48)
FLIPS = (np.uint64(0), LEFT_RIGHT, UP_DOWN, LEFT_RIGHT ^ UP_DOWN)


def picture_hash(grey: NDArray[np.uint8]) -> str | None:
    """16 hex digits, or None for a picture without structure."""
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    if float(small.std()) < FLAT:
        return None
    signs = cv2.dct(small) > 0
    return f"{sum(1 << bit for uv, bit in BIT.items() if signs[uv]):016x}"


def as_numbers(hashes: list[str]) -> Hashes:
    return np.array([int(h, 16) for h in hashes], np.uint64)


def nearest(a: int, b: int) -> tuple[int, int]:
    """Bits that two hashes differ by in the turn of the second in which they are nearest, and that turn."""
    both = b, int(_transposed(np.array([b], np.uint64))[0])
    return min(
        ((a ^ other ^ int(flip)).bit_count(), 4 * transposed + turn)
        for transposed, other in enumerate(both)
        for turn, flip in enumerate(FLIPS)
    )


def turned(image: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    """`image` by one of the eight turns: transposed (4), then upside down (2), then left to right (1). A view."""
    if turn & 4:
        image = image.swapaxes(0, 1)
    return image[:: -1 if turn & 2 else 1, :: -1 if turn & 1 else 1]


TURNS = {
    0: "",
    1: "mirrored",
    2: "mirrored and turned by 180 degrees",
    3: "turned by 180 degrees",
    4: "mirrored and turned by 90 degrees",
    5: "turned by 90 degrees",
    6: "turned by 90 degrees",
    7: "mirrored and turned by 90 degrees",
}


@dataclass(frozen=True)
class Near:
    """Pairs of positions `first` < `second` with their `distance` in bits and the `turn` of the second picture that
    makes it look like the first. All pairs within `within` bits, which is less than was asked for where there were
    more than could be kept; `cut` when even the equal ones were too many and only some of them are here."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: NDArray[np.uint8]
    turn: NDArray[np.uint8]
    within: int
    cut: bool = False


def search(hashes: Hashes, within: int = WITHIN, most: int = MOST_PAIRS) -> Near:
    """Every pair of hashes within so many bits, in any of the eight turns, by memory bounded through `most`."""
    found: list[Hashes] = []  # position of the first, of the second, distance and turn, packed so as to sort
    cut = False
    for bits, transposed, word in itertools.product(range(within // 4 + 1), (False, True), range(4)):
        if bits > (within - word) // 4:
            continue
        table = _Table.of(hashes, _transposed(hashes) if transposed else hashes, word)
        for mask in _masks(bits, mirrored=word > 0):
            for first, second in table.agreeing(mask):
                found.append(_near(hashes, table.other, first, second, within, transposed))
            if sum(map(len, found)) > 2 * most:
                keys, within, cut = _fewer(np.concatenate(found), within, most, cut)
                found = [keys]
    keys, within, cut = _fewer(np.concatenate([np.zeros(0, np.uint64), *found]), within, most, cut)
    pair = keys >> np.uint64(10)
    return Near(
        first=(pair >> np.uint64(27)).astype(np.int64),
        second=(pair & np.uint64(MOST_HASHES - 1)).astype(np.int64),
        distance=(keys >> np.uint64(3) & np.uint64(127)).astype(np.uint8),
        turn=(keys & np.uint64(7)).astype(np.uint8),
        within=within,
        cut=cut,
    )


def _near(hashes: Hashes, other: Hashes, first: Positions, second: Positions, within: int, transposed: bool) -> Hashes:
    """The packed keys of those candidates that are within so many bits in their best mirror image."""
    apart = hashes[first] ^ other[second]
    least, flip = np.bitwise_count(apart), np.zeros(len(apart), np.uint8)
    for n in (1, 2, 3):
        bits = np.bitwise_count(apart ^ FLIPS[n])
        flip[bits < least] = n
        np.minimum(least, bits, out=least)
    near = np.flatnonzero(least <= within)
    turn = flip[near].astype(np.uint64) + np.uint64(4 * transposed)
    pair = first[near].astype(np.uint64) << np.uint64(27) | second[near].astype(np.uint64)
    found: Hashes = pair << np.uint64(10) | least[near].astype(np.uint64) << np.uint64(3) | turn
    return found


def _fewer(keys: Hashes, within: int, most: int, cut: bool) -> tuple[Hashes, int, bool]:
    """Each pair once, at its nearest; the farthest left out while there are more than `most`."""
    keys = np.sort(keys)
    pair = keys >> np.uint64(10)
    keys = keys[np.diff(pair, prepend=~np.uint64(0)) != 0] if len(keys) else keys
    while len(keys) > most and within > 0:
        within -= 1
        keys = keys[(keys >> np.uint64(3) & np.uint64(127)) <= within]
    return keys[:most], within, cut or len(keys) > most


def _masks(bits: int, *, mirrored: bool) -> list[int]:
    """What a word of two hashes may differ by: so many bits, or in a mirror image all but so many."""
    masks = [sum(1 << b for b in chosen) for chosen in itertools.combinations(range(16), bits)]
    return masks + [mask ^ WORD for mask in masks] if mirrored else masks


def _transposed(hashes: Hashes) -> Hashes:
    found: Hashes = np.zeros_like(hashes)
    for bit, source in enumerate(TRANSPOSED):
        found |= (hashes >> np.uint64(source) & np.uint64(1)) << np.uint64(bit)
    return found


@dataclass(frozen=True)
class _Table:
    """One word of both sides: `rows` and `columns` are positions in order of their word, `words` the rows' words, and
    `starts` says where each word begins among the columns."""

    other: Hashes
    rows: Positions
    words: NDArray[np.int32]
    columns: Positions
    starts: NDArray[np.int32]

    @classmethod
    def of(cls, hashes: Hashes, other: Hashes, word: int) -> _Table:
        mine, theirs = ((h >> np.uint64(16 * word) & np.uint64(WORD)).astype(np.int32) for h in (hashes, other))
        rows, columns = (np.argsort(words, kind="stable").astype(np.int32) for words in (mine, theirs))
        starts = np.concatenate([[0], np.bincount(theirs, minlength=WORD + 1).cumsum()]).astype(np.int32)
        return cls(other, rows, mine[rows], columns, starts)

    def agreeing(self, mask: int) -> Iterator[tuple[Positions, Positions]]:
        """Blocks of positions (first, second), first < second, whose words differ by exactly `mask`."""
        wanted = self.words ^ np.int32(mask)
        low = self.starts[wanted]
        number = self.starts[wanted + 1] - low
        held = np.flatnonzero(number)
        low, number, rows = low[held], number[held], self.rows[held]
        ends = number.cumsum(dtype=np.int64)
        begin = 0
        while begin < len(rows):
            base = int(ends[begin - 1]) if begin else 0
            end = max(begin + 1, int(np.searchsorted(ends, base + BLOCK, side="right")))
            part = number[begin:end]
            shift = (low[begin:end] - (ends[begin:end] - part - base)).astype(np.int32)
            second = self.columns[np.arange(int(ends[end - 1]) - base, dtype=np.int32) + np.repeat(shift, part)]
            first = np.repeat(rows[begin:end], part)
            keep = np.flatnonzero(first < second)
            yield first[keep], second[keep]
            begin = end
