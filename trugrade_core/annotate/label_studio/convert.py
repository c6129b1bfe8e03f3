"""The lab's annotations as Label Studio's results and back, without loss.

A result's `id` is the annotation's, and its `meta` holds what was sent. Percent cannot spell every pixel exactly, so
what comes back where it was sent, to UNMOVED_PX, is the very value that was sent. Shapes are in the lab's frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from trugrade_core.annotate.label_studio.config import Config, Control
from trugrade_core.annotate.label_studio.results import Problem, number_problems, validate_results
from trugrade_core.data import label_studio as ls
from trugrade_core.data import rle
from trugrade_core.data.label_studio import META, STATES, as_number
from trugrade_core.data.store import status_id
from trugrade_core.schema import Annotation, Box, Mask, Polygon, SampleStatus, Score, Status, Tags, Value, digest

UNMOVED_PX = 1e-4
"""Label Studio keeps a shape in screen pixels while it is open: untouched, it comes back up to 1e-9 px elsewhere. This is
less than a person can move it."""

SHAPE_TYPES: dict[type, tuple[str, ...]] = {
    Box: ("rectanglelabels", "rectangle", "polygonlabels", "polygon"),
    Polygon: ("polygonlabels", "polygon"),
    Mask: ("brushlabels", "brush"),
}
"""Controls that can hold a shape, the best first."""


@dataclass
class Sent:
    """`results` for a prediction or an annotation; `left_out` says what the config has no control for."""

    results: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Arrived:
    """One annotation as Label Studio has it. `entry` is the log entry that was sent (None: it was drawn there), `changed`
    whether anything of it differs from what was sent."""

    annotation: Annotation
    entry: str | None
    changed: bool


@dataclass
class Came:
    """What one annotator says of a task. `status` None: nothing at all was said. `problems` were not taken; `notes` say
    what was put right. What was sent and is not among `arrived`, nor in a problem, was removed there."""

    arrived: list[Arrived] = field(default_factory=list)
    status: Status | None = None
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ids(self) -> set[str]:
        """Annotations that are still there, also where something of them could not be taken."""
        return {a.annotation.id for a in self.arrived} | {p.id for p in self.problems}


# --- to Label Studio --------------------------------------------------------------------------------------------


def to_results(
    annotations: Iterable[Annotation],
    config: Config,
    *,
    width: int,
    height: int,
    sample: str,
    layer: str = "main",
    status: Status | None = None,
    entries: Mapping[str, str] | None = None,
) -> Sent:
    """Results that say `annotations` (and the sample's `status`) in the terms of `config`, for an image of `width` x
    `height`. `entries` are {annotation id: its head entry in the log}, which come back with it."""
    sent = Sent()
    annotations = list(annotations)
    for a in annotations:
        results = _said(a, config, width, height)
        if isinstance(results, str):
            sent.left_out.append(results)
            continue
        meta = {"annotation": a.id, "entry": (entries or {}).get(a.id), "layer": a.layer, "label": a.label,
                "value": a.value.model_dump(mode="json"), "attributes": dict(a.attributes)}  # fmt: skip
        for result in results:
            sent.results.append({"id": a.id, **result, "meta": {META: meta}})
    if status is not None:
        _say_status(status, config, status_id(sample, layer), bool(annotations), sent)
    return sent


def _said(a: Annotation, config: Config, width: int, height: int) -> list[dict[str, Any]] | str:
    """The results of one annotation, or why there are none."""
    if isinstance(a.value, Score):
        return _score(a.value.score, config)
    if isinstance(a.value, Tags):
        return _tags(a.value.tags, config)
    if isinstance(a.value, Status):
        return "a status is no annotation: give it apart"
    if isinstance(a.value, Mask) and a.value.size_hw != (height, width):
        return f"a mask of {a.value.size_hw[1]} x {a.value.size_hw[0]} px, for an image of {width} x {height}"
    if isinstance(a.value, Mask) and not rle.decode(a.value).any():
        return f"mask '{a.label}': it has no pixel"
    found = _shape_control(a, config)
    if found is None:
        return f"{a.value.type} '{a.label}': the label config has no control for it"
    control, labels = found
    value: Box | Polygon | Mask = a.value
    if isinstance(value, Box) and control.type.startswith("polygon"):
        x0, y0, x1, y1 = value.xyxy
        value = Polygon(points=((x0, y0), (x1, y0), (x1, y1), (x0, y1)))
    _, shape = ls.shape_value(value, width, height)
    common = {"to_name": control.to_name, "original_width": width, "original_height": height, "image_rotation": 0}
    named = {} if labels else {control.type: [a.label]}
    results = [{**common, "from_name": control.name, "type": control.type, "value": {**shape, **named}}]
    if labels:
        results.append({**common, "from_name": labels.name, "type": "labels", "value": {**shape, "labels": [a.label]}})
    for other in config.of_role("attribute"):
        content = _content(other, a.attributes.get(other.attribute))
        if content is not None and other.to_name == control.to_name:
            key = "text" if other.type == "textarea" else other.type
            results.append({**common, "from_name": other.name, "type": other.type, "value": {**shape, key: content}})
    return results


def _shape_control(a: Annotation, config: Config) -> tuple[Control, Control | None] | None:
    """The control for the annotation's shape with its label, and the `Labels` beside it where labels stand apart."""
    shapes = {control.type: control for control in reversed(config.of_role("shape"))}
    apart = next((c for c in config.of_role("labels") if a.label in c.values), None)
    for type in SHAPE_TYPES[a.value.__class__]:
        control = shapes.get(type)
        if control is not None and type.endswith("labels"):
            several = (c for c in config.of_role("shape") if c.type == type and (a.label in c.values or c.dynamic))
            if (fits := next(several, None)) is not None:
                return fits, None
        elif control is not None and apart is not None:
            return control, apart
    return None


def _score(score: float, config: Config) -> list[dict[str, Any]] | str:
    for control in config.of_role("score"):
        content = _content(control, score)
        if content is not None:
            return [{"from_name": control.name, "to_name": control.to_name, "type": control.type, "value": {control.type: content}}]  # fmt: skip
    return f"score {score:g}: the label config has no control for it"


def _tags(tags: Sequence[str], config: Config) -> list[dict[str, Any]] | str:
    for control in config.of_role("tags"):
        if set(tags) <= set(control.values) and (control.multiple or len(tags) == 1):
            return [{"from_name": control.name, "to_name": control.to_name, "type": "choices", "value": {"choices": list(tags)}}]  # fmt: skip
    return f"tags {', '.join(tags) or '(none)'}: the label config has no control for them"


def _content(control: Control, value: Any) -> Any:
    """What the control says for the value, or None where it cannot."""
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    if control.type == "choices":
        same = [c for c in control.values if c == value or (numeric and as_number(c) == value)]
        return same[:1] or None
    if control.type == "textarea":
        return [value] if isinstance(value, str) and value else None
    if control.type not in ("number", "rating") or not numeric or list(number_problems(control, value)):
        return None
    return int(value) if control.type == "rating" else value


def _say_status(status: Status, config: Config, id: str, has_labels: bool, sent: Sent) -> None:
    word = next((word for word, means in STATES.items() if means == status.status), None)
    if status.status == "done" and has_labels:
        word = None
    elif word is None and status.status != "unlabelled":
        sent.left_out.append(f"status {status.status}: the label config has no choice for it")
    state = next((c for c in config.of_role("state") if word in c.values), None)
    if state is not None:
        sent.results.append({"id": id, "from_name": state.name, "to_name": state.to_name, "type": "choices", "value": {"choices": [word]}})  # fmt: skip
    elif word is not None:
        sent.left_out.append(f"status {status.status}: the label config has no choice '{word}'")
    if status.comment:
        comment = next(iter(config.of_role("comment")), None)
        if comment is None:
            sent.left_out.append("a comment: the label config has no text area 'comment'")
        else:
            sent.results.append({"id": f"{id}-comment", "from_name": comment.name, "to_name": comment.to_name, "type": "textarea", "value": {"text": [status.comment]}})  # fmt: skip


# --- from Label Studio ------------------------------------------------------------------------------------------


def from_results(
    results: Sequence[Any],
    config: Config,
    *,
    width: int,
    height: int,
    sample: str,
    layer: str = "main",
    known: Iterable[Annotation] = (),
) -> Came:
    """What `results` say of the sample, in the lab's terms. `known` are the sample's annotations in the layer that were
    sent: a score or a tag set that was chosen anew keeps its id by them."""
    came = Came(problems=validate_results(results, config, width, height))
    bad = {problem.place for problem in came.problems}
    reader = _Reader(config, width, height, sample, layer, list(known), came)
    regions, _ = ls.regions_of(results)
    for region in regions:
        control = config.controls.get(str(region.result.get("from_name")))
        if region.kind is None:
            reader.take_said(region, bad)
        elif control is not None and not {place for place in region.places if _is_shape(results[place])} & bad:
            region.said = {name: said for name, said in region.said.items()
                           if not any(p in bad and results[p].get("from_name") == name for p in region.places)}  # fmt: skip
            reader.take_shape(region, control)
    reader.settle_status()
    return came


def _is_shape(result: Any) -> bool:
    kind = result.get("type") if isinstance(result, dict) else ""
    return isinstance(kind, str) and (kind == "labels" or ls.kind_of(kind) is not None)


def from_annotation(
    annotation: Mapping[str, Any],
    config: Config,
    *,
    width: int,
    height: int,
    sample: str,
    layer: str = "main",
    known: Iterable[Annotation] = (),
) -> Came:
    """As `from_results`, for one annotation of a task. A skipped one gives the status `skipped` with the comment that
    was written, and its shapes are not taken."""
    raw = annotation.get("result")
    results = raw if isinstance(raw, list) else []
    came = from_results(results, config, width=width, height=height, sample=sample, layer=layer, known=known)
    if annotation.get("was_cancelled"):
        if came.arrived:
            came.notes.append(f"{len(came.arrived)} annotations in a skipped task are not taken")
        came.arrived = []
        came.status = Status(status="skipped", comment=came.status.comment if came.status else "")
    return came


@dataclass
class _Reader:
    config: Config
    width: int
    height: int
    sample: str
    layer: str
    known: list[Annotation]
    came: Came
    state: SampleStatus | None = None
    comment: str = ""

    def take_shape(self, region: ls.Region, control: Control) -> None:
        try:
            if not region.labels:
                raise ValueError("it has no label")
            value: Value = self._value(region)
        except ValueError as e:
            self.came.problems.append(Problem(region.places[0], region.id, control.name, str(e)))
            return
        shown = self._shown(region)
        if shown is not None and self._unmoved(shown.value, region):
            value = shown.value
        attributes = self._attributes(region, shown)
        first, *more = region.labels
        self._arrive(region, first, value, attributes, self._same(shown), region.id)
        for label in more:  # one annotation has one label
            self._arrive(region, label, value, attributes, None, f"{region.id}:{label}")

    def take_said(self, region: ls.Region, bad: set[int]) -> None:
        """What was said of the picture as a whole."""
        if bad & set(region.places):
            return
        for name, (_, content) in region.said.items():
            control = self.config.controls[name]
            words = [str(c) for c in content] if isinstance(content, list) else []
            if control.role == "state" and words[0] in STATES:
                self.state = STATES[words[0]]
            elif control.role == "comment":
                self.comment = "\n".join(words) if words else str(content)
            elif control.role == "score":
                score = float(words[0]) if control.type == "choices" else float(content)
                self._arrive(region, None, Score(score=score), {}, self._same(self._shown(region), Score), name)
            elif control.role == "tags":
                self._take_tags(region, words, name)
            else:
                self.came.problems.append(Problem(region.places[0], region.id, name, "says nothing that the lab keeps"))

    def _take_tags(self, region: ls.Region, words: list[str], name: str) -> None:
        same = self._same(self._shown(region), Tags)
        tags = Tags(tags=tuple(words))
        if same is not None and isinstance(same.value, Tags) and set(same.value.tags) == set(words):
            tags = same.value  # chosen in another order they are the same
        self._arrive(region, None, tags, {}, same, name)

    def settle_status(self) -> None:
        """Done is what was submitted with anything in it; what is empty says nothing, not that nothing is there."""
        if self.state is None and self.came.arrived:
            self.state = "done"
        if self.state is not None:
            self.came.status = Status(status=self.state, comment=self.comment)
        elif self.comment:
            self.came.status = Status(status="unlabelled", comment=self.comment)

    def _value(self, region: ls.Region) -> Box | Polygon | Mask:
        if region.kind == "brush":
            mask = ls.brush_mask(region.value["rle"], self.width, self.height)
            if not mask.any():
                raise ValueError("the mask has no pixel")
            return rle.encode(mask)
        if region.kind == "rectangle":
            points = self._inside(region, ls.corners(region.value, self.width, self.height))
            if ls.is_upright(points):
                return Box(xyxy=(*points.min(axis=0).tolist(), *points.max(axis=0).tolist()))
            self.came.notes.append(f"{region.id}: a turned rectangle is kept as its four corners")
        elif region.kind == "ellipse":
            points = self._inside(region, ls.ellipse(region.value, self.width, self.height))
            self.came.notes.append(f"{region.id}: an ellipse is kept as a polygon of {len(points)} points")
        else:
            points = self._inside(region, ls.points_of(region.value, self.width, self.height))
        return Polygon(points=tuple(map(tuple, points.tolist())))

    def _inside(self, region: ls.Region, points: NDArray[np.float64]) -> NDArray[np.float64]:
        inside = np.clip(points, -0.5, [self.width - 0.5, self.height - 0.5])
        if np.abs(inside - points).max() > UNMOVED_PX:
            self.came.notes.append(f"{region.id}: it reached less than a pixel outside the image, put back to its edge")
        return inside

    def _shown(self, region: ls.Region) -> Annotation | None:
        """The annotation that was sent as this region, of whatever layer; a copy of a region has the meta of another."""
        meta = region.meta.get(META)
        if not isinstance(meta, dict) or meta.get("annotation") != region.id:
            return next((a for a in self.known if a.id == region.id), None)
        try:
            return Annotation(id=region.id, sample=self.sample, layer=meta["layer"], label=meta["label"],
                              value=meta["value"], attributes=meta["attributes"])  # fmt: skip
        except (ValidationError, KeyError):
            self.came.notes.append(f"{region.id}: its meta was changed by hand and is not used")
            return next((a for a in self.known if a.id == region.id), None)

    def _same(self, shown: Annotation | None, kind: type | None = None) -> Annotation | None:
        """The annotation of this layer that the region is."""
        if shown is not None and shown.layer == self.layer:
            return shown
        of_kind = [a for a in self.known if kind is not None and isinstance(a.value, kind)]
        return of_kind[0] if len(of_kind) == 1 else None

    def _unmoved(self, sent: Value, region: ls.Region) -> bool:
        """Whether the region lies where `sent` was put, in the same kind of shape."""
        if isinstance(sent, Mask) and region.kind == "brush":
            if sent.size_hw != (self.height, self.width):
                return False
            return bool((rle.decode(sent) == ls.brush_mask(region.value["rle"], self.width, self.height)).all())
        if isinstance(sent, Box) and region.kind in ("rectangle", "polygon"):
            x0, y0, x1, y1 = sent.xyxy
            was = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
        elif isinstance(sent, Polygon) and region.kind == "polygon":
            was = np.array(sent.points)
        else:
            return False
        read = ls.corners if region.kind == "rectangle" else ls.points_of
        now = read(region.value, self.width, self.height)
        return now.shape == was.shape and bool(np.abs(now - was).max() <= UNMOVED_PX)

    def _attributes(self, region: ls.Region, shown: Annotation | None) -> dict[str, str | float | bool | None]:
        """Those that a control says, and those that were sent and no control can say."""
        controls = {control.attribute: control for control in self.config.of_role("attribute")}
        kept = {name: value for name, value in (shown.attributes if shown else {}).items()
                if name not in controls or _content(controls[name], value) is None}  # fmt: skip
        for name, (_, content) in region.said.items():
            control = self.config.controls[name]
            if isinstance(content, list):
                kept[control.attribute] = ("\n" if control.type == "textarea" else ", ").join(map(str, content))
            elif isinstance(content, str | int | float):
                kept[control.attribute] = content
        return kept

    def _arrive(self, region: ls.Region, label: str | None, value: Value, attributes: dict[str, Any],
                same: Annotation | None, name: str) -> None:  # fmt: skip
        """`name` is what tells it from others of the sample where it has no id of the lab's."""
        id = same.id if same else digest({"sample": self.sample, "layer": self.layer, "label_studio": name})[:16]
        annotation = Annotation(id=id, sample=self.sample, layer=self.layer, label=label, value=value, attributes=attributes)  # fmt: skip
        meta = region.meta.get(META)
        entry = meta.get("entry") if isinstance(meta, dict) and meta.get("annotation") == id else None
        self.came.arrived.append(Arrived(annotation, entry, annotation != same))
