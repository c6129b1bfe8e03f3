"""The lab's nouns: what every importer, annotator, model, metric and exporter speaks, and nothing else.

Frame of all coordinates: `trugrade_core.coordinates` (pixel centres at integers, `(x, y)`, y down). All models are
frozen; unknown fields are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

Image = NDArray[np.uint8]
"""(H, W, 3) RGB, 8 bit, after EXIF rotation."""

Point = tuple[FiniteFloat, FiniteFloat]
XYXY = tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]
SampleStatus = Literal["unlabelled", "done", "skipped", "rescan", "unsure"]
Origin = Literal["real", "synthetic"]
ShapeKind = Literal["box", "polygon", "mask", "tags", "score"]
SPLITS = ("train", "val", "test")
BY_HAND = ("annotator", "canvas", "explorer", "consensus", "cli")
"""`LogEntry.tool`s by which a person works here; at Label Studio people's time is counted there."""


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# --- what an annotation can be -------------------------------------------------------------------------------


class Box(Record):
    type: Literal["box"] = "box"
    xyxy: XYXY

    @model_validator(mode="after")
    def _has_area(self) -> Self:
        x0, y0, x1, y1 = self.xyxy
        if not (x1 > x0 and y1 > y0):
            raise ValueError(f"box has no area: {self.xyxy}; expected x0 < x1 and y0 < y1")
        return self


class Polygon(Record):
    type: Literal["polygon"] = "polygon"
    points: tuple[Point, ...] = Field(min_length=3)


class Mask(Record):
    """A binary mask as COCO's compressed run lengths (column-major), over the whole image of `size_hw`."""

    type: Literal["mask"] = "mask"
    counts: str
    size_hw: tuple[int, int]


class Tags(Record):
    type: Literal["tags"] = "tags"
    tags: tuple[str, ...]


class Score(Record):
    type: Literal["score"] = "score"
    score: FiniteFloat


class Status(Record):
    """What a person said of the sample as a whole; in the log like any other thing said, so that it has its who and
    when and two people who say different things are a conflict. `done` without shapes is 'nothing there'."""

    type: Literal["status"] = "status"
    status: SampleStatus
    comment: str = ""


Value = Annotated[Box | Polygon | Mask | Tags | Score | Status, Field(discriminator="type")]


class Annotation(Record):
    """One label on one sample. `label` is the class name; None for a score or a tag set."""

    id: str
    sample: str
    layer: str = "main"
    label: str | None = None
    value: Value
    attributes: dict[str, str | float | bool | None] = {}


class LogEntry(Record):
    """A line of a dataset's append-only annotation log; current annotations are the entries nothing replaces.

    What settles a conflict replaces several entries: it is written once for each, under one `entry`. `reason` says why.
    """

    entry: str
    annotation: str
    sample: str
    layer: str = "main"
    op: Literal["put", "delete"]
    replaces: str | None = None
    label: str | None = None
    value: Value | None = None
    attributes: dict[str, str | float | bool | None] = {}
    who: str
    when: datetime
    tool: str
    suggested_by: str | None = None
    reason: str = ""


# --- what is annotated ------------------------------------------------------------------------------------------


class ImageRef(Record):
    """A picture in the store. `width` and `height` are after EXIF rotation; the bytes are kept as given."""

    sha256: str
    suffix: str
    width: int
    height: int
    bits: Literal[8, 16] = 8
    mode: str = "RGB"
    dpi: float | None = None
    orientation: int = 1
    bytes: int


class Lineage(Record):
    """Where a derived sample was cut from. `homography` is row-major, 3 x 3, and maps the derived image's px to the
    parent's, both in the lab's frame. `region` is such as `corner:top_left`, `edge:left:2`, `surface:1:0`."""

    dataset: str
    sample: str
    region: str
    homography: tuple[FiniteFloat, ...] = Field(min_length=9, max_length=9)


class Sample(Record):
    """One thing to judge: images by role (`main`, later `front`, `back`, `light:1` …) and where it comes from.

    `tags` are working marks; a sample `excluded` (the reason) is left out of new versions. `design` is the picture (set
    and number), `print` the issue of it (edition, foil, year), `session` the sitting at the scanner.
    """

    id: str
    images: dict[str, ImageRef]
    sources: tuple[str, ...] = ()
    card: str
    card_assumed: bool = True
    design: str | None = None
    session: str | None = None
    side: str | None = None
    origin: Origin = "real"
    dpi: float | None = None
    status: SampleStatus = "unlabelled"
    split: Literal["train", "val", "test"] | None = None
    tags: tuple[str, ...] = ()
    excluded: str | None = None
    parent: Lineage | None = None
    print: str | None = None

    @property
    def main(self) -> ImageRef:
        return self.images["main"]

    @property
    def mm_per_px(self) -> float | None:
        dpi = self.dpi or self.main.dpi
        return 25.4 / dpi if dpi else None


class ClassDef(Record):
    """A class of a dataset. File and model ids are its place in the ordered list, from 1; 0 is background."""

    name: str
    shape: ShapeKind = "box"


class VersionManifest(Record):
    """`datasets/NAME/versions/V/version.json`: an immutable snapshot; `digest` is over its rows, not its files."""

    dataset: str
    version: str
    digest: str
    classes: tuple[ClassDef, ...]
    created: datetime
    samples: int
    annotations: int
    splits: dict[str, dict[str, int]]
    """By split: samples, cards, and how many samples are labelled (not in manifests of before it was counted)."""
    seed: int = 0
    ratios: tuple[float, float, float] = (0.7, 0.15, 0.15)
    by: tuple[str, ...] = ()
    """What was kept in one split beside the card: design, print, session."""

    def labelled(self, split: str) -> int:
        """Images of the split that can be trained on or scored."""
        counts = self.splits.get(split, {})
        return counts.get("labelled", counts.get("samples", 0))


# --- what a model says ------------------------------------------------------------------------------------------


class Instance(Record):
    """One object found. `box` in the lab's frame of the original image; `mask` over that image, or None."""

    label: str
    score: float
    box: XYXY
    mask: Mask | None = None


class Prediction(Record):
    """What a predictor says of one image. `seconds` is the time from pixels to instances."""

    image: str
    width: int
    height: int
    instances: tuple[Instance, ...] = ()
    seconds: float


class Preprocess(Record):
    """The one way from an image to a network's input, the same in training, PyTorch and ONNX.

    The image is resized by `scale = size / max(H, W)` (area averaging), laid into the top-left corner of a
    `size` x `size` canvas of `pad` and normalised to `(value / 255 - mean) / std`, RGB, NCHW float32.
    """

    size: int = Field(ge=32, le=4096)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    pad: int = 0

    def scale(self, width: int, height: int) -> float:
        return self.size / max(width, height)

    def content(self, image: Image) -> Image:
        """(H, W, 3) uint8 to the resized image (h, w, 3) uint8, which is not padded yet."""
        import cv2

        height, width = image.shape[:2]
        s = self.scale(width, height)
        wh = max(1, round(width * s)), max(1, round(height * s))
        return np.asarray(cv2.resize(image, wh, interpolation=cv2.INTER_AREA if s < 1 else cv2.INTER_LINEAR), np.uint8)

    def canvas(self, image: Image) -> Image:
        """(H, W, 3) uint8 to (size, size, 3) uint8."""
        resized = self.content(image)
        out = np.full((self.size, self.size, 3), self.pad, np.uint8)
        out[: resized.shape[0], : resized.shape[1]] = resized
        return out

    def normalise(self, canvas: Image) -> NDArray[np.float32]:
        """(size, size, 3) uint8 to (3, size, size) float32."""
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        return np.ascontiguousarray(((canvas.astype(np.float32) / 255 - mean) / std).transpose(2, 0, 1))

    def axis_scale(self, width: int, height: int) -> tuple[float, float]:
        """The true scale of x and y: the resized size is whole pixels, so it differs a little from `scale`."""
        s = self.scale(width, height)
        return max(1, round(width * s)) / width, max(1, round(height * s)) / height


class Predictor(Protocol):
    """Images in, schema values out: a torch checkpoint and an exported artifact both are one."""

    @property
    def name(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def classes(self) -> Sequence[str]: ...
    @property
    def preprocess(self) -> Preprocess: ...
    @property
    def threshold(self) -> float: ...

    def predict(
        self, images: Sequence[Image], names: Sequence[str], threshold: float | None = None, *, mask_at: float = 0.5
    ) -> list[Prediction]:
        """`threshold` None uses the model's own; evaluation passes a low one. Masks hold the pixels from the
        probability `mask_at` on; parity asks for those about 0.5, which a rounding may turn."""
        ...


def canonical_json(value: Any) -> str:
    """The one spelling of a JSON value that digests are taken over."""
    import json

    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    import hashlib

    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
