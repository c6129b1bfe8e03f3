"""Label Studio's JSON: a list of tasks, each with its picture's address and the annotations people submitted.

Of several annotations of a task the ground truth, else the newest, is what counts (layer main); the others are kept as
votes, each in the layer of its annotator. Shapes are percent of the picture, see `trugrade_core.data.label_studio`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import defusedxml.ElementTree as safe_xml
import numpy as np
from defusedxml.common import DefusedXmlException

from trugrade_core.data import label_studio as ls
from trugrade_core.data import rle
from trugrade_core.data.formats.base import (
    Finding,
    Fitted,
    Format,
    Item,
    Label,
    Labels,
    Reading,
    Request,
    Row,
    Written,
    fit_box,
    fit_polygon,
    frame_of,
    load_json,
    split_of_path,
    take,
    turn_points,
)
from trugrade_core.data.images import SUFFIXES, upright
from trugrade_core.data.label_studio import META, STATES, as_number
from trugrade_core.data.source import FileIndex, Skip, shown, suffix
from trugrade_core.errors import DatasetError
from trugrade_core.schema import SPLITS, Annotation, Box, ImageRef, Mask, Polygon, SampleStatus, Score, Status, Tags

LOOKED_AT = 20
UPLOADED = re.compile(r"^[0-9a-f]{8}-")
"""What Label Studio puts before the name of an uploaded file."""
SCORE_CONTROLS = ("score", "grade", "rating", "quality")
"""Choices of these names that are numbers are scores; all other choices are tags."""
Task = dict[str, Any]


# --- finding ----------------------------------------------------------------------------------------------------


def find(request: Request) -> Finding:
    files = [f for f in request.label_source.files if suffix(f) == ".json"]
    found = {f: tasks for f in files[:LOOKED_AT] if (tasks := _load(request, f)) is not None}
    if not found:
        return Finding(missing="a .json with a list of tasks, each with data and annotations")
    if all(_is_min(tasks) for tasks in found.values()):
        return Finding(" and ".join(found), "the export type JSON: JSON_MIN leaves out what belongs together", near=2)
    if len(found) > 1:
        return Finding(f"{len(found)} Label Studio files", "a choice: --labels " + " | ".join(found), near=3)
    file, tasks = next(iter(found.items()))
    places = _Places(request.images)
    if not any(places.find(task)[0] for task in tasks):
        return Finding(f"{file} with {len(tasks)} tasks", "the pictures of its tasks, by name", near=2)
    return Finding(file, data=(file, tasks))


def _load(request: Request, file: str) -> list[Task] | None:
    try:
        data = request.label_source.read(file)
        if not any(key in data for key in (b'"data"', b'"annotation_id"')):
            return None  # a large file of another format is not parsed
        content = load_json(data)
    except (ValueError, RecursionError, DatasetError):
        return None
    tasks = content if isinstance(content, list) else [content]
    own = tasks and all(isinstance(t, dict) for t in tasks) and (all(_is_task(t) for t in tasks) or _is_min(tasks))
    return tasks if own else None


def _is_task(task: Task) -> bool:
    return isinstance(task.get("data"), dict) and (
        "annotations" in task or "predictions" in task or "completions" in task
    )


def _is_min(tasks: list[Task]) -> bool:
    return all({"annotation_id", "annotator"} <= task.keys() and "data" not in task for task in tasks)


class _Places:
    """Which picture of the source a task is about."""

    def __init__(self, images: list[str]) -> None:
        self.index = FileIndex(images)
        self.plain: dict[str, list[str]] = {}
        for image in images:
            name = PurePosixPath(image)
            for called in {_as_stored(name.name), _as_stored(name.stem)}:  # addresses may go without an ending
                self.plain.setdefault(called, []).append(image)

    def find(self, task: Task) -> tuple[str | None, str, str]:
        """(file, its address in the task, '') or (None, the address, why not)."""
        data = task["data"] if isinstance(task.get("data"), dict) else {}
        texts = {key: value for key, value in data.items() if isinstance(value, str)}
        addresses = {key: value for key, value in texts.items() if suffix(_path_of(value)) in SUFFIXES} or texts
        if not addresses:
            several = any(isinstance(value, list) for value in data.values())
            return None, "", "a task of several pictures is not taken" if several else "its data name no picture"
        address = addresses.get("image", next(iter(addresses.values())))
        path = _path_of(address)
        name = PurePosixPath(path).name
        plain = UPLOADED.sub("", name)
        why = "its data name no picture"
        beside = str(PurePosixPath(path).with_name(plain)) if plain.strip(".") else path
        for called in dict.fromkeys([path, beside, name, plain] if name else []):
            file, why = self.index.find(called)
            if file is not None or "could be meant" in why:
                return file, address, why
        same = self.plain.get(_as_stored(plain), [])
        if len(same) == 1:
            return same[0], address, ""
        return None, address, f"{len(same)} images could be meant: {', '.join(map(shown, same[:3]))}" if same else why


def _path_of(address: str) -> str:
    """The path of a picture's address: local files and storages name it in the query, a URL in its path."""
    try:
        parts = urlsplit(address)
        query = parse_qs(parts.query)
    except ValueError:
        return address
    if "d" in query and "local-files" in parts.path:
        return query["d"][0]
    if "fileuri" in query:
        try:
            return _path_of(base64.b64decode(query["fileuri"][0], validate=True).decode())
        except (binascii.Error, UnicodeDecodeError):
            return address
    if parts.scheme in ("http", "https", "s3", "gs", "azure-blob") or address.startswith("/data/"):
        return unquote(parts.path).lstrip("/")
    return address


def _as_stored(name: str) -> str:
    """The name under which an upload is kept: blanks as underscores, without most signs."""
    return re.sub(r"[^-\w.]", "", name.strip().replace(" ", "_")).casefold()


# --- reading ----------------------------------------------------------------------------------------------------


def read(request: Request, finding: Finding) -> Reading:
    file, tasks = finding.data
    places = _Places(request.images)
    reading = Reading(iter(()), 0, _names(request))
    items: dict[str, Item] = {}
    suggested = votes = replaced = 0
    for number, task in enumerate(tasks, 1):
        path, address, why = places.find(task)
        called = f"task {task.get('id', number)}"
        if path is not None and path in items:
            why = f"{shown(path)} has a task already"
        if path is None or path in items:
            reading.skipped.append(Skip(file=shown(address or file), reason=f"{called} of {shown(file)}: {why}"))
            continue
        chosen, others, older = _chosen(task)
        votes += len(others)
        replaced += older
        suggested += len(task["predictions"]) if isinstance(task.get("predictions"), list) else 0
        given = task["data"].get("split")
        labels = _labels_of(path, chosen, others) if chosen is not None else None
        items[path] = Item(path, labels, split=given if given in SPLITS else split_of_path(path))
    if votes:
        reading.notes.append(
            f"{votes} further annotations of the same tasks, kept as votes in layers of their annotators"
        )
    if replaced:
        reading.notes.append(f"{replaced} annotations have a newer one by the same annotator, which is taken")
    if suggested:
        reading.notes.append(f"{suggested} predictions are suggestions, no labels: not taken")
    rest = [] if request.only_listed else [image for image in request.images if image not in items]
    if rest:
        reading.notes.append(f"{len(rest)} images have no task in {shown(file)}: they are unlabelled")
    every = [*items.values(), *(Item(image) for image in rest)]
    reading.items, reading.total = iter(every), len(every)
    return reading


def _names(request: Request) -> list[str] | None:
    """From the label config beside the tasks, when there is one."""
    found = []
    for file in [f for f in request.label_source.files if suffix(f) == ".xml"][:LOOKED_AT]:
        try:
            root: ElementTree.Element = safe_xml.fromstring(request.label_source.read(file), forbid_dtd=True)
        except (ElementTree.ParseError, DefusedXmlException, DatasetError, ValueError, LookupError):
            continue
        if root.tag == "View":
            names = [label.get("alias") or label.get("value") or "" for label in root.iter("Label")]
            found.append(list(dict.fromkeys(name for name in names if name)))
    return found[0] if len(found) == 1 and found[0] else None


def _chosen(task: Task) -> tuple[Task | None, dict[str, Task], int]:
    """The annotation that counts, the others by annotator (the newest of each), and how many older ones there are."""
    raw = task.get("annotations", task.get("completions"))
    found = [a for a in raw if isinstance(a, dict)] if isinstance(raw, list) else []
    if not found:
        return None, {}, 0
    best = max(found, key=lambda a: (not a.get("was_cancelled"), bool(a.get("ground_truth")), _updated(a)))
    others = [(_annotator(a, n), a) for n, a in enumerate((a for a in found if a is not best), 1)]
    newest = dict(sorted(others, key=lambda other: _updated(other[1])))
    votes = {who: newest[who] for who, _ in others}
    return best, votes, len(others) - len(votes)


def _updated(annotation: Task) -> str:
    return str(annotation.get("updated_at") or "")


def _labels_of(path: str, chosen: Task, others: dict[str, Task]) -> Callable[[ImageRef], Labels]:
    def labels(ref: ImageRef) -> Labels:
        found = parse(chosen, shown(path), ref)
        for layer, vote in others.items():
            said = parse(vote, shown(path), ref)
            found.labels += [replace(label, layer=layer) for label in said.labels]
            found.skipped += [Skip(file=s.file, reason=f"{layer}: {s.reason}") for s in said.skipped]
            if said.status is not None:
                found.notes["what votes say of a picture as a whole, which is not taken"] += 1
        return found

    return labels


def _annotator(annotation: Task, number: int) -> str:
    by = annotation.get("completed_by")
    named = (by.get("email") or by.get("id")) if isinstance(by, dict) else by
    return shown(str(named)) if isinstance(named, str) and named else f"annotator {named or number}"


def parse(annotation: dict[str, Any], file: str, ref: ImageRef) -> Labels:
    """The labels of one annotation for a picture of the size of `ref`."""
    found = Labels()
    results = annotation.get("result")
    regions, left = ls.regions_of(results if isinstance(results, list) else [])
    found.skipped += [Skip(file=file, reason=f"result {place + 1}: {why}") for place, why in left]
    state: SampleStatus | None = "skipped" if annotation.get("was_cancelled") else None
    comment = ""
    kinds: Counter[str] = Counter()
    for region in regions:
        if region.kind is not None:
            if state != "skipped":
                _read_region(region, file, ref, found, kinds)
            else:
                kinds["shapes of a skipped task"] += 1
            continue
        for control, (kind, content) in region.said.items():
            word = str(content[0]) if isinstance(content, list) and content else ""
            if control == "state" and word in STATES:
                state = state or STATES[word]
            elif control == "comment" and kind == "textarea":
                comment = "\n".join(map(str, content)) if isinstance(content, list) else str(content)
            else:
                _read_answer(control, kind, content, found, kinds)
    found.skipped += [Skip(file=file, reason=f"{kind}: {count} not taken") for kind, count in kinds.items()]
    if state is None and comment:
        state = "done" if found.labels or not found.skipped else "unlabelled"
    if state is not None:
        found.status = Status(status=state, comment=comment)
    return found


def _read_region(region: ls.Region, file: str, ref: ImageRef, found: Labels, kinds: Counter[str]) -> None:
    where = f"region {region.id}"
    if region.kind not in ("rectangle", "polygon", "brush", "ellipse"):
        kinds[f"{region.kind}s"] += 1
        return
    turn, why = frame_of(ls.stated_size(region.result), ref)
    if why or not region.labels:
        found.skipped.append(Skip(file=file, reason=f"{where}: {why or 'it has no label'}"))
        return
    # The size of the picture that the numbers are a percentage of.
    wh = (ref.height, ref.width) if turn >= 5 else (ref.width, ref.height)
    attributes = _attributes(region)
    for name in region.labels:
        try:
            if region.kind == "brush":
                mask = ls.brush_mask(region.value.get("rle") or [], *wh)
                if not mask.any():
                    raise ValueError("the mask has no pixel")
                mask = upright(mask.view(np.uint8), turn).astype(bool)
                found.labels.append(Label(name, rle.encode(mask), attributes))
            else:
                fitted = _fitted(region, wh, turn, ref, found)
                take(found, fitted, name, file, where, attributes)
        except (ValueError, TypeError, OverflowError) as e:
            found.skipped.append(Skip(file=file, reason=f"{where}: {e}"))


def _fitted(region: ls.Region, wh: tuple[int, int], turn: int, ref: ImageRef, found: Labels) -> Fitted:
    if region.kind == "rectangle":
        quad = turn_points(ls.corners(region.value, *wh), ref, turn)
        if ls.is_upright(quad):
            return fit_box([*quad.min(axis=0), *quad.max(axis=0)], ref.width, ref.height)
        found.notes["turned rectangles, taken as their four corners"] += 1
        return fit_polygon(quad, ref.width, ref.height)
    if region.kind == "ellipse":
        found.notes["ellipses, taken as polygons"] += 1
        return fit_polygon(turn_points(ls.ellipse(region.value, *wh), ref, turn), ref.width, ref.height)
    return fit_polygon(turn_points(ls.points_of(region.value, *wh), ref, turn), ref.width, ref.height)


def _attributes(region: ls.Region) -> dict[str, str | float | bool | None]:
    """What was said of the region, and what our own writer put beside it."""
    own = region.meta.get(META)
    kept = own.get("attributes") if isinstance(own, dict) else None
    found = {k: v for k, v in kept.items() if _can_be_kept(v)} if isinstance(kept, dict) else {}
    for control, (_, content) in region.said.items():
        name = "comment" if control == "region_comment" else control
        if isinstance(content, list):
            found[name] = ", ".join(map(str, content))
        elif content is not None and _can_be_kept(content):
            found[name] = content
    return found


def _can_be_kept(value: Any) -> bool:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return abs(value) < 1e300  # not so for what is no number
    return isinstance(value, str | bool | None)


def _read_answer(control: str, kind: str, content: Any, found: Labels, kinds: Counter[str]) -> None:
    words = [word for word in content if isinstance(word, str)] if isinstance(content, list) else []
    number = content if kind in ("number", "rating") else as_number(words[0]) if len(words) == 1 else None
    is_score = kind in ("number", "rating") or control in SCORE_CONTROLS
    if is_score and isinstance(number, int | float) and not isinstance(number, bool) and abs(number) < 1e6:
        found.labels.append(Label(None, Score(score=float(number))))
    elif kind == "choices" and words:
        found.labels.append(Label(None, Tags(tags=tuple(dict.fromkeys(words)))))
    else:
        kinds[f"answers of the kind {kind} (control '{control}')"] += 1


# --- writing ----------------------------------------------------------------------------------------------------


def write(out: Path, rows: Callable[[], Iterator[Row]], classes: list[str]) -> Written:
    """tasks.json, and label_config.xml for the project that it is imported into. Pictures are addressed as local files
    below this folder. Images that nobody looked at are tasks without an annotation."""
    done = Written()
    with (out / "tasks.json").open("w", encoding="utf-8") as f:
        f.write("[")
        for number, row in enumerate(rows(), 1):
            task = _task(row, number, done)
            f.write((",\n" if number > 1 else "\n") + json.dumps(task, ensure_ascii=False, allow_nan=False))
        f.write("\n]\n")
    (out / "label_config.xml").write_text(_config(classes), encoding="utf-8")
    return done


def _task(row: Row, number: int, done: Written) -> Task:
    sample = row.sample
    results: list[Task] = []
    for a in row.annotations:
        said = _said(a, sample.main, done)
        results += said
        done.annotations += bool(said)
    state = next((word for word, status in STATES.items() if status == sample.status), None)
    if state is not None and not (sample.status == "done" and results):
        results.append(_answer("state", "choices", [state], f"{sample.id}-state"))
    annotation = {"result": results, "was_cancelled": sample.status == "skipped", "ground_truth": False}
    data = {"image": f"/data/local-files/?d={row.file}", "sample": sample.id, "split": sample.split}
    return {"id": number, "data": data, "annotations": [] if sample.status == "unlabelled" else [annotation]}


def _said(a: Annotation, ref: ImageRef, done: Written) -> list[Task]:
    if isinstance(a.value, Score):
        return [_answer("score", "number", a.value.score, a.id)]
    if isinstance(a.value, Tags):
        return [_answer("tags", "choices", list(a.value.tags), a.id)]
    if not isinstance(a.value, Box | Polygon | Mask) or a.label is None:
        done.left_out[f"{a.value.type} annotations"] += 1
        return []
    if isinstance(a.value, Mask) and not rle.decode(a.value).any():
        done.left_out["masks without a pixel"] += 1
        return []
    kind, shape = ls.shape_value(a.value, ref.width, ref.height)
    attributes = dict(a.attributes)
    spoken = {"severity": ("severity", "choices"), "comment": ("region_comment", "textarea")}
    common = {"id": a.id, "to_name": "image", "original_width": ref.width, "original_height": ref.height, "image_rotation": 0}  # fmt: skip
    results = [{**common, "from_name": kind, "type": f"{kind}labels", "value": {**shape, f"{kind}labels": [a.label]}}]
    for name, (control, type) in spoken.items():
        if isinstance(attributes.get(name), str):
            key = "text" if type == "textarea" else type
            results.append(
                {**common, "from_name": control, "type": type, "value": {**shape, key: [attributes.pop(name)]}}
            )
    if attributes:
        results[0]["meta"] = {META: {"attributes": attributes}}
    return results


def _answer(control: str, kind: str, content: Any, id: str) -> Task:
    return {"id": id, "from_name": control, "to_name": "image", "type": kind, "value": {kind: content}}


def _config(classes: Iterable[str]) -> str:
    names = list(classes)
    labels = "".join(
        f'    <Label value={quoteattr(name)} background="{ls.CLASS_COLORS[n % len(ls.CLASS_COLORS)]}"/>\n'
        for n, name in enumerate(names)
    )
    choices = "".join(f"    <Choice value={quoteattr(name)}/>\n" for name in names)
    drawn = "".join(
        f'  <{tag} name="{name}" toName="image">\n{labels}  </{tag}>\n'
        for name, tag in (("rectangle", "RectangleLabels"), ("polygon", "PolygonLabels"), ("brush", "BrushLabels"))
    ) if names else ""  # fmt: skip
    tags = f'  <Choices name="tags" toName="image" choice="multiple">\n{choices}  </Choices>\n' if names else ""
    severities = "".join(f'<Choice value="{word}"/>' for word in ("micro", "minor", "moderate", "heavy"))
    states = "".join(f'<Choice value="{word}"/>' for word in STATES)
    return (
        '<View>\n  <Image name="image" value="$image" zoom="true" smoothing="false" crosshair="true"/>\n'
        f'{drawn}{tags}  <Number name="score" toName="image" step="0.5"/>\n'
        f'  <Choices name="severity" toName="image" perRegion="true">{severities}</Choices>\n'
        '  <TextArea name="region_comment" toName="image" perRegion="true"/>\n'
        f'  <Choices name="state" toName="image" choice="single">{states}</Choices>\n'
        '  <TextArea name="comment" toName="image"/>\n</View>\n'
    )


LABEL_STUDIO = Format("label_studio", "Label Studio JSON", find, read, write)
