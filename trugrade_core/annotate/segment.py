"""Click to segment: the thing under a point or inside a box, by a SAM-family model where its files are, else GrabCut.

The model is two ONNX files of the export that Segment Anything and its small descendants (MobileSAM, EfficientSAM's
re-export) share: an encoder (image -> `image_embeddings`) and a decoder (`image_embeddings`, `point_coords`,
`point_labels`, `mask_input`, `has_mask_input`, `orig_im_size` -> masks, scores). They run in onnxruntime; torch is not
needed, and the weights' own licence (Apache-2.0 for those two) is the only one that applies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from trugrade_core.annotate.suggestions import simplified
from trugrade_core.data import rle
from trugrade_core.errors import DatasetError, WeightsMissing
from trugrade_core.schema import XYXY, Box, Image, Mask, Polygon, ShapeKind
from trugrade_core.workspace import Workspace, file_sha256, write_atomic

FILES = ("encoder.onnx", "decoder.onnx")
REACH_PX = 256
"""Half the side of the crop around a click that GrabCut looks at."""
ROUNDS = 4
MOST_PIXELS = 1_000_000
"""Of a crop: GrabCut takes seconds for more."""
SIDE = 1024
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class Prompt:
    """Where the thing is: points (x, y, inside) and perhaps a box, in px of the whole image, lab frame."""

    points: tuple[tuple[float, float, bool], ...] = ()
    box: XYXY | None = None

    @property
    def inside(self) -> list[tuple[float, float]]:
        return [(x, y) for x, y, yes in self.points if yes]


def window(prompt: Prompt, width: int, height: int, reach: int = REACH_PX) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1): the crop to look at, in whole px, ends left out. Raises DatasetError when nothing is in the image."""
    xy = np.array([*prompt.inside, *([prompt.box[:2], prompt.box[2:]] if prompt.box else [])], np.float64).reshape(
        -1, 2
    )
    if not len(xy):
        raise _nothing("nothing was clicked")
    around = (
        np.array([reach, reach]) if prompt.box is None else np.maximum(16, (xy.max(axis=0) - xy.min(axis=0)) * 0.25)
    )
    low = np.maximum(np.floor(xy.min(axis=0) - around), 0).astype(int)
    high = np.minimum(np.ceil(xy.max(axis=0) + around) + 1, [width, height]).astype(int)
    if (high - low < 3).any():
        raise _nothing("the click lies outside the image")
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


@dataclass(frozen=True)
class Part:
    """What was found: a (H, W) window of the image whose corner lies `at_xy`. The whole image is never unrolled: a mask
    of 192 megapixels would be."""

    found: Bool
    at_xy: tuple[int, int]
    by: str

    def value(self, kind: ShapeKind, size_hw: tuple[int, int]) -> Box | Polygon | Mask:
        """In the shape that its class is drawn as, over an image of `size_hw`."""
        if kind == "box":
            y, x = np.nonzero(self.found)
            (left, top), half = self.at_xy, 0.5
            return Box(xyxy=(x.min() + left - half, y.min() + top - half, x.max() + left + half, y.max() + top + half))
        if kind == "polygon":
            outlines = rle.mask_outlines(self.found)
            largest = max(outlines, key=lambda o: float(np.ptp(o, axis=0).prod()))
            return simplified(largest + np.array(self.at_xy))
        return rle.encode(self.found, at_xy=self.at_xy, size_hw=size_hw)


def grabcut(crop: Image, prompt: Prompt, at_xy: tuple[int, int]) -> Part:
    """The thing in `crop`, whose corner lies `at_xy` in the image. Raises DatasetError when nothing stands out."""
    height, width = crop.shape[:2]
    if height * width > MOST_PIXELS:
        raise _nothing(f"a part of {width} x {height} px is more than GrabCut looks at ({MOST_PIXELS:,} px)")
    points = [(round(x) - at_xy[0], round(y) - at_xy[1], yes) for x, y, yes in prompt.points]
    points = [(x, y, yes) for x, y, yes in points if 0 <= x < width and 0 <= y < height]
    marks = _first_guess(crop, points, prompt.box, at_xy)
    for x, y, yes in points:
        cv2.circle(marks, (x, y), 2, cv2.GC_FGD if yes else cv2.GC_BGD, -1)
    back, front = np.zeros((1, 65), np.float64), np.zeros((1, 65), np.float64)
    cv2.setRNGSeed(0)  # GrabCut's clusters start at random: the same click gives the same mask
    try:
        cv2.grabCut(
            cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), marks, (0, 0, 0, 0), back, front, ROUNDS, cv2.GC_INIT_WITH_MASK
        )
    except cv2.error as e:
        raise _nothing("the crop is all of one kind") from e
    found = (marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD)
    found = _touched(found, [(x, y) for x, y, yes in points if yes])
    if not found.any() or found.mean() > 0.95:
        raise _nothing("nothing stands out from its surroundings here")
    return Part(found, at_xy, "GrabCut")


def _first_guess(
    crop: Image, points: Sequence[tuple[int, int, bool]], box: XYXY | None, at_xy: tuple[int, int]
) -> NDArray[np.uint8]:
    """GrabCut's start: surely outside at the rim (or outside the box), perhaps inside where the colour is the click's."""
    height, width = crop.shape[:2]
    marks = np.full((height, width), cv2.GC_PR_BGD, np.uint8)
    if box is not None:
        x0, y0, x1, y1 = (
            round(v) for v in (box[0] - at_xy[0], box[1] - at_xy[1], box[2] - at_xy[0], box[3] - at_xy[1])
        )
        marks[:] = cv2.GC_BGD
        marks[max(0, y0) : y1 + 1, max(0, x0) : x1 + 1] = cv2.GC_PR_FGD
        return marks
    lab = cv2.cvtColor(cv2.GaussianBlur(crop, (0, 0), 1.5), cv2.COLOR_RGB2LAB).astype(np.float32)
    seeds = np.array([lab[y, x] for x, y, yes in points if yes])
    away = np.linalg.norm(lab[:, :, None] - seeds[None, None], axis=-1).min(axis=-1)
    level, _ = cv2.threshold(np.clip(away, 0, 255).astype(np.uint8), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    like = _touched(away <= max(4.0, level), [(x, y) for x, y, yes in points if yes])
    marks[like] = cv2.GC_PR_FGD
    rim = max(1, min(height, width) // 50)
    border = np.ones((height, width), bool)
    border[rim:-rim, rim:-rim] = False
    marks[border & ~like] = cv2.GC_BGD
    if like.all() or not (marks[~like] == cv2.GC_BGD).any():
        raise _nothing("everything around the click has its colour")
    return marks


def _touched(found: Bool, seeds: Sequence[tuple[int, int]]) -> Bool:
    """The connected parts of `found` that hold a seed, their holes filled; without seeds the largest part."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(found.astype(np.uint8), connectivity=8)
    if count < 2:
        return found
    wanted = {int(parts[y, x]) for x, y in seeds} - {0}
    if not seeds:
        wanted = {1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())}
    return np.isin(parts, list(wanted)) if wanted else np.zeros_like(found)


def _nothing(why: str) -> DatasetError:
    return DatasetError(f"no shape found: {why}", code="annotate.segment",
                        what_to_do="Click on the middle of it, add a click outside it, or draw it by hand.")  # fmt: skip


# --- a SAM-family model -------------------------------------------------------------------------------------------


def folder(ws: Workspace) -> Path:
    return ws.root / "weights" / "segment_anything"


def find_sam(ws: Workspace) -> Path:
    """The folder of both files. Raises WeightsMissing that says which file goes where."""
    missing = [name for name in FILES if not (folder(ws) / name).is_file()]
    if missing:
        raise WeightsMissing(
            f"no SAM-family model here: {' and '.join(missing)} missing", where=str(folder(ws)),
            what_to_do="Put the ONNX encoder and decoder of MobileSAM or Segment Anything there (export both with samexporter), "
            "named encoder.onnx and decoder.onnx. Until then GrabCut answers.",
        )  # fmt: skip
    return folder(ws)


@dataclass(frozen=True)
class Sam:
    """Both sessions. `digest` names the encoder, under which embeddings are kept."""

    ws: Workspace
    digest: str
    encoder: Any
    decoder: Any

    @classmethod
    def open(cls, ws: Workspace) -> Sam:
        """Opened once a process, and again when a file is another. Raises WeightsMissing."""
        where = find_sam(ws)
        stamp = tuple((where / name).stat().st_mtime_ns for name in FILES)
        if where not in _opened or _opened[where][0] != stamp:
            _opened[where] = stamp, cls._open(ws, where)
        return _opened[where][1]

    @classmethod
    def _open(cls, ws: Workspace, where: Path) -> Sam:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        sessions = []
        for name in FILES:
            try:
                sessions.append(onnxruntime.InferenceSession(where / name, options, providers=["CPUExecutionProvider"]))
            except Exception as e:  # onnxruntime raises its own kinds for whatever is in the file
                raise WeightsMissing(f"cannot be opened as an ONNX model ({str(e)[:200]})", where=str(where / name),
                                     what_to_do="Export it again.") from e  # fmt: skip
        return cls(ws, file_sha256(where / FILES[0])[:32], *sessions)

    def segment(self, image: Image | None, key: str, prompt: Prompt, size_hw: tuple[int, int]) -> Part:
        """`image` is asked for the first time only (None: its embedding of that `key` is kept). Raises DatasetError."""
        embedding = self.embedding(key) if image is None else self._embed(image, key)
        assert embedding is not None  # noqa: S101
        scale = SIDE / max(size_hw)
        corners = [] if prompt.box is None else [(*prompt.box[:2], 2.0), (*prompt.box[2:], 3.0)]
        rows = [(x, y, float(yes)) for x, y, yes in prompt.points] + corners
        if prompt.box is None:
            rows.append((-0.5, -0.5, -1.0))  # the decoder wants a padding point where there is no box
        coords = np.array([[((x + 0.5) * scale, (y + 0.5) * scale) for x, y, _ in rows]], np.float32)
        if prompt.box is None:
            coords[0, -1] = 0
        masks, scores, *_ = self.decoder.run(None, {
            "image_embeddings": embedding, "point_coords": coords,
            "point_labels": np.array([[kind for _, _, kind in rows]], np.float32),
            "mask_input": np.zeros((1, 1, 256, 256), np.float32), "has_mask_input": np.zeros(1, np.float32),
            "orig_im_size": np.array(size_hw, np.float32),
        })  # fmt: skip
        if masks.ndim != 4:
            masks, scores = scores, masks  # some exports give the scores first
        found = masks[0, int(np.asarray(scores).reshape(-1).argmax()) % masks.shape[1]] > 0
        if found.shape != size_hw or not found.any():
            raise _nothing("the model found nothing here")
        return Part(found, (0, 0), f"SAM {self.digest[:12]}")

    def _path(self, key: str) -> Path:
        return self.ws.cache / "embeddings" / self.digest / f"{key}.npy"

    def embedding(self, key: str) -> NDArray[np.float32] | None:
        """The kept embedding of an image (`key`: its sha256), or None."""
        try:
            found: NDArray[np.float32] = np.load(self._path(key), allow_pickle=False)
        except (FileNotFoundError, ValueError, EOFError):
            return None
        return found

    def _embed(self, image: Image, key: str) -> NDArray[np.float32]:
        import io

        kept = self.embedding(key)
        if kept is not None:
            return kept
        found: NDArray[np.float32] = self.encoder.run(None, {self.encoder.get_inputs()[0].name: self._input(image)})[0]
        out = io.BytesIO()
        np.save(out, found, allow_pickle=False)
        write_atomic(self._path(key), out.getvalue())
        return found

    def _input(self, image: Image) -> NDArray[np.float32]:
        """As the encoder's own input says: (H, W, 3) pixels as they are, or a (1, 3, 1024, 1024) normalised canvas."""
        scale = SIDE / max(image.shape[:2])
        wh = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        small = cv2.resize(image, wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        if len(self.encoder.get_inputs()[0].shape) == 3:
            return small.astype(np.float32)
        canvas = np.zeros((SIDE, SIDE, 3), np.float32)
        canvas[: wh[1], : wh[0]] = (small - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
        return np.ascontiguousarray(canvas.transpose(2, 0, 1)[None])


_opened: dict[Path, tuple[tuple[int, ...], Sam]] = {}
