"""Click to segment with a model of the Segment Anything family (MobileSAM, SAM ViT-B), in onnxruntime; torch is not needed.

The model is the pair of ONNX files that Segment Anything's exporters write: an encoder (picture -> `image_embeddings`) and
a decoder (embedding and prompt -> `low_res_masks`, `iou_predictions`). Two things in that contract are easy to miss:

- The decoder's own full-size `masks` are not used: exported by segment-anything 1.0 they are cut to the aspect ratio of
  the exporter's example picture, and of a 12,000 x 16,000 scan they would be four gigabytes.
- A padded picture is zero after normalising, so an encoder that normalises itself gets the mean as padding.

A mask has 256 x 256 cells. Over a whole scan a cell would be wider than most defects, so the model looks at a window of
the scan's own pixels first, and at wider ones while what it finds reaches over the window's edge.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trugrade_core.annotate.sam_weights import (
    COMMAND,
    DECODER,
    ENCODER,
    digest_of,
    find,
    folder_of,
    open_pair,
    title_of,
)
from trugrade_core.annotate.segment import Part, Prompt, extent, nothing
from trugrade_core.errors import WeightsMissing
from trugrade_core.schema import Image
from trugrade_core.workspace import Workspace, write_atomic

SIDE = 1024
"""Of the picture that the encoder looks at, and of the first window."""
KEPT = 128
"""Embeddings, of 4 MB each; the newest."""
MEAN = np.array([123.675, 116.28, 103.53], np.float32)
STD = np.array([58.395, 57.12, 57.375], np.float32)
Window = tuple[int, int, int, int]
Float = NDArray[np.float32]


def windows(prompt: Prompt, width: int, height: int) -> Iterator[Window]:
    """(x0, y0, x1, y1) in whole px, ends left out: each twice as wide as the one before, the last the whole image.

    What was clicked takes at most half of a window's side. Windows lie on a grid, so that clicks beside each other share
    one. Raises DatasetError as `extent`.
    """
    low, high = extent(prompt, width, height)
    side = SIDE
    while side < 2 * (high - low).max():
        side *= 2
    while side * 1.5 < max(width, height):
        (x0, x1), (y0, y1) = (_on_grid(m, side, n) for m, n in zip((low + high) / 2, (width, height), strict=True))
        yield x0, y0, x1, y1
        side *= 2
    yield 0, 0, width, height


def _on_grid(middle: float, side: int, length: int) -> tuple[int, int]:
    step = side // 2
    start = max(0, min(round((middle - step) / step) * step, length - side))
    return start, min(start + side, length)


def _used(box: Window) -> tuple[int, int]:
    """(width, height) that a window takes of the model's picture, from its top left."""
    w, h = box[2] - box[0], box[3] - box[1]
    return max(1, int(w * SIDE / max(w, h) + 0.5)), max(1, int(h * SIDE / max(w, h) + 0.5))


@dataclass(frozen=True)
class Sam:
    """Both sessions. `digest` is the encoder's sha256, under which embeddings are kept."""

    ws: Workspace
    digest: str
    encoder: Any
    decoder: Any

    @classmethod
    def open(cls, ws: Workspace) -> Sam:
        """Opened once a process, and again when a file is another. Raises WeightsMissing."""
        folder = find(ws)
        stamp = digest_of(folder / ENCODER), digest_of(folder / DECODER)
        if folder not in _opened or _opened[folder][0] != stamp:
            encoder, decoder = open_pair(folder)
            _opened[folder] = stamp, cls(ws, digest_of(folder / ENCODER), encoder, decoder)
        return _opened[folder][1]

    def segment(self, read: Callable[[Window], Image], key: str, prompt: Prompt, size_hw: tuple[int, int]) -> Part:
        """What was clicked in an image of `size_hw` whose sha256 is `key`. `read` gives a window's pixels, reduced or not;
        it is asked where no embedding of the window is kept. Raises DatasetError when nothing is found."""
        height, width = size_hw
        found: Part | None = None
        for box in windows(prompt, width, height):
            logits = self._decode(self._embedding(read, key, box), prompt, box)
            wider = _part(logits, box, f"{title_of(self.digest)} {self.digest[:12]}")
            found = wider or found
            if wider and not _reaches_over(wider, box, width, height):
                break
        if found is None:
            raise nothing("the model found nothing here")
        return found

    def _decode(self, embedding: Float, prompt: Prompt, box: Window) -> Float:
        """(256, 256) logits over the model's picture."""
        x0, y0, x1, y1 = box
        rows = [
            (x, y, float(yes)) for x, y, yes in prompt.points if x0 - 0.5 <= x < x1 - 0.5 and y0 - 0.5 <= y < y1 - 0.5
        ]
        # A box is two more points; where there is none the decoder wants a point of padding.
        rows += [(0, 0, -1)] if prompt.box is None else [(*prompt.box[:2], 2), (*prompt.box[2:], 3)]
        kinds = np.array([kind for *_, kind in rows], np.float32)
        xy = np.array([row[:2] for row in rows]) - (x0, y0)
        coords = (xy + 0.5) * np.divide(_used(box), (x1 - x0, y1 - y0)) - 0.5  # pixel centres at integers, as here
        coords[kinds == -1] = 0
        scores, masks = self._run(self.decoder, ["iou_predictions", "low_res_masks"], {
            "image_embeddings": embedding, "point_coords": coords[None].astype(np.float32), "point_labels": kinds[None],
            "mask_input": np.zeros((1, 1, 256, 256), np.float32), "has_mask_input": np.zeros(1, np.float32),
            "orig_im_size": np.array([SIDE, SIDE], np.float32),
        })  # fmt: skip
        scores = scores[0].copy()
        if len(scores) == 4:  # exported with all its masks: the first is meant for several points, the others for one
            scores[0] += (len(rows) - 2.5) * 1000
        best: Float = masks[0, int(scores.argmax())]
        return best

    def _embedding(self, read: Callable[[Window], Image], key: str, box: Window) -> Float:
        path = self.ws.cache / "embeddings" / self.digest / f"{key}-{'-'.join(map(str, box))}.npy"
        if (kept := _kept(path)) is not None:
            return kept
        made = self._embed(read(box), _used(box))
        out = io.BytesIO()
        np.save(out, made, allow_pickle=False)
        write_atomic(path, out.getvalue())
        _forget_old(self.ws.cache / "embeddings")
        return made

    def _embed(self, image: Image, used: tuple[int, int]) -> Float:
        """(1, 256, 64, 64) of a window's pixels, brought to the `used` part of the model's picture."""
        small = cv2.resize(image, used, interpolation=cv2.INTER_AREA if used[0] < image.shape[1] else cv2.INTER_LINEAR)
        picture = np.tile(MEAN, (SIDE, SIDE, 1))
        picture[: used[1], : used[0]] = small
        wanted = self.encoder.get_inputs()[0]
        if len(wanted.shape) == 4:
            picture = np.ascontiguousarray(((picture - MEAN) / STD).transpose(2, 0, 1)[None])
        found: Float = self._run(self.encoder, None, {wanted.name: picture})[0]
        return found

    def _run(self, session: Any, wanted: list[str] | None, given: dict[str, Any]) -> list[Any]:
        """A session's outputs. Raises WeightsMissing for a model of another size, or a pair that does not fit."""
        try:
            return list(session.run(wanted, given))
        except Exception as e:  # onnxruntime raises its own kinds
            raise WeightsMissing(
                f"the model does not take what it is given ({str(e)[:200]})", where=str(folder_of(self.ws)),
                what_to_do=f"Give the encoder and decoder of one model, exported for {SIDE} x {SIDE} px, or get the published "
                f"ones: {COMMAND}",
            ) from e  # fmt: skip


_opened: dict[Path, tuple[tuple[str, str], Sam]] = {}


def _kept(path: Path) -> Float | None:
    """What was embedded, marked as used now; None where nothing was, or the file is damaged."""
    try:
        found: Float = np.load(path, allow_pickle=False)
        path.touch()
    except (FileNotFoundError, ValueError, EOFError):
        return None
    return found


def _forget_old(folder: Path) -> None:
    """Keep the newest KEPT embeddings, of all images and models together."""
    aged = []
    for path in folder.rglob("*.npy"):
        try:
            aged.append((path.stat().st_mtime_ns, path))
        except FileNotFoundError:
            continue  # another process forgot it
    for _, path in sorted(aged)[:-KEPT]:
        path.unlink(missing_ok=True)


def _part(logits: Float, box: Window, by: str) -> Part | None:
    """The pixels of the window where the logits are above 0, and no more of the window than around them; None where there
    are none."""
    (across, down), w, h = _used(box), box[2] - box[0], box[3] - box[1]
    picture = cv2.resize(logits, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)[:down, :across]
    rows, columns = (np.flatnonzero((picture > 0).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    left, right = max(0, (columns[0] - 1) * w // across), min(w, -(-(columns[-1] + 2) * w // across))
    top, bottom = max(0, (rows[0] - 1) * h // down), min(h, -(-(rows[-1] + 2) * h // down))
    found = np.empty((bottom - top, right - left), bool)
    sx, sy = across / w, down / h
    for row in range(top, bottom, SIDE):  # in strips: as numbers the whole would be four times as large
        wh = right - left, min(SIDE, bottom - row)
        place = np.array([[sx, 0, (left + 0.5) * sx - 0.5], [0, sy, (row + 0.5) * sy - 0.5]])
        strip = cv2.warpAffine(picture, place, wh, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                               borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
        found[row - top : row - top + wh[1]] = strip > 0
    return Part(found, (box[0] + int(left), box[1] + int(top)), by) if found.any() else None


def _reaches_over(part: Part, box: Window, width: int, height: int) -> bool:
    """Whether the part comes within a mask's cell of an edge of the window that is not the image's."""
    x0, y0, x1, y1 = box
    rim = max(1, max(x1 - x0, y1 - y0) // 256)
    ys, xs = (np.flatnonzero(part.found.any(axis=axis)) for axis in (1, 0))
    left, right = part.at_xy[0] + xs[0], part.at_xy[0] + xs[-1] + 1
    top, bottom = part.at_xy[1] + ys[0], part.at_xy[1] + ys[-1] + 1
    return bool((x0 > 0 and left < x0 + rim) or (y0 > 0 and top < y0 + rim)
                or (x1 < width and right > x1 - rim) or (y1 < height and bottom > y1 - rim))  # fmt: skip
