"""TensorBoard over runs: their journals converted to its event files as they grow, and its server.

`convert` writes `runs/ID/tensorboard/` without torch or TensorFlow. What is there is a cache: removing the folder
only means converting again.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from trugrade_core.config import load_mapping
from trugrade_core.errors import WorkspaceError
from trugrade_core.runs import RunFolder
from trugrade_core.workspace import locked, read_json, write_json

STATE = "converted.json"
EVENT_FILE = "events.out.tfevents.0000000001.trugrade"
OVERLAYS_SHOWN = 3


def convert(folder: RunFolder) -> int:
    """Append the run's new events to its TensorBoard file; returns how many were new.

    A conversion that was killed leaves its bytes behind the size in `converted.json`; they are cut off first. While
    another process converts the same run, this returns 0.
    """
    out = folder.path / "tensorboard"
    with locked(out / ".lock", wait=False) as held:
        return 0 if held is None else _convert(folder, out)


def _convert(folder: RunFolder, out: Path) -> int:
    from tensorboard.summary.writer.record_writer import RecordWriter

    state = _state(out)
    buffer = io.BytesIO()
    records = RecordWriter(buffer)
    if state["size"] == 0:
        for message in _head(folder):
            records.write(message.SerializeToString())
    offset, count = state["offset"], 0
    losses = set(state["losses"])
    first = next(folder.events(), {"t": 0.0})
    for end, event in folder.follow(state["offset"]):
        offset, count = end, count + 1
        for message in _messages(folder, event, losses, first["t"]):
            records.write(message.SerializeToString())
    data = buffer.getvalue()
    if data:
        with (out / EVENT_FILE).open("ab") as f:
            f.truncate(state["size"])
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        write_json(out / STATE, {"offset": offset, "size": state["size"] + len(data), "losses": sorted(losses)})
    return count


def _state(out: Path) -> dict[str, Any]:
    """Where the last conversion ended; from nothing when its file does not hold what it says."""
    start: dict[str, Any] = {"offset": 0, "size": 0, "losses": []}
    if not (out / STATE).exists() or not (out / EVENT_FILE).exists():
        return start
    try:
        found: dict[str, Any] = read_json(out / STATE)
        known = all(isinstance(found[key], type(value)) for key, value in start.items())
    except (WorkspaceError, KeyError, TypeError):  # damaged
        return start
    return found if known and (out / EVENT_FILE).stat().st_size >= found["size"] else start


def _head(folder: RunFolder) -> Iterator[Any]:
    """The file's version record and, where the run has a configuration, its hyperparameters."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    first = next(folder.events(), None)
    t = first["t"] if first else 0.0
    yield Event(wall_time=t, file_version="brain.Event:2")
    path = folder.path / "config.yaml"
    if path.exists():
        yield Event(wall_time=t, summary=hparams_pb(hparams(load_mapping(path)), trial_id=folder.id, start_time_secs=t))


def hparams(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{dotted key: bool, number or text} of every leaf of a configuration."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            found |= hparams(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value if isinstance(value, bool | int | float | str) else json.dumps(value)
    return found


def _messages(folder: RunFolder, event: dict[str, Any], losses: set[str], started: float) -> Iterator[Any]:
    """TensorBoard's records of one event; resources go by seconds since `started`, all else by step."""
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.compat.proto.summary_pb2 import Summary

    step, t = event.get("step") or 0, event["t"]
    if event["kind"] == "metrics":
        losses |= {name.removeprefix("train/") for name in event["values"] if name.startswith("train/")}
        values = [
            Summary.Value(tag=tag(name, losses), simple_value=value)
            for name, value in event["values"].items()
            if value is not None
        ]
        yield Event(wall_time=t, step=step, summary=Summary(value=values))
    elif event["kind"] == "resources":
        values = [
            Summary.Value(tag=f"resources/{n}", simple_value=v) for n, v in event["values"].items() if v is not None
        ]
        yield Event(wall_time=t, step=int(t - started), summary=Summary(value=values))
    elif event["kind"] == "resumed":
        # TensorBoard drops what it has from this step on: the earlier attempt went no further than its checkpoint.
        start = SessionLog(status=SessionLog.START)
        yield Event(wall_time=t, step=int(event.get("from_step") or 0) + 1, session_log=start)
    elif event["kind"] == "validation":
        yield from _validation(folder, event)


def tag(name: str, losses: set[str]) -> str:
    """A metric's usual TensorBoard tag: `loss/train`, `loss/val`, `loss/train_<component>`, `metrics/<name>`, `lr`.

    `losses` are the components seen under `train/`; any other `val/` name is a metric.
    """
    group, _, rest = name.partition("/")
    if group in ("train", "val") and rest == "loss":
        return f"loss/{group}"
    if group == "train" or (group == "val" and rest in losses):
        return f"loss/{group}_{rest.removeprefix('loss_')}"
    return f"metrics/{rest}" if group == "val" else name


def _validation(folder: RunFolder, event: dict[str, Any]) -> Iterator[Any]:
    """Precision-recall curves and overlays of a validation, as far as its file has them."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    path = folder.path / event["file"]
    if not path.exists():
        return
    found = read_json(path)
    values = [_pr_curve(label, curve) for label, curve in found.get("precision_recall", {}).items()]
    for i, name in enumerate(found.get("overlays", [])[:OVERLAYS_SHOWN]):
        if (path.parent / name).exists():
            values.append(_image(f"validation/{i + 1}", path.parent / name))
    if values:
        yield Event(wall_time=event["t"], step=event.get("step") or 0, summary=Summary(value=values))


def _pr_curve(label: str, curve: dict[str, list[float]]) -> Any:
    """`curve` has a point at each score found; TensorBoard wants thresholds evenly spaced from 0 to 1, and counts,
    which a validation does not keep: they are shown as 0."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.pr_curve.metadata import create_summary_metadata
    from tensorboard.util.tensor_util import make_tensor_proto

    thresholds = np.linspace(0, 1, 101)
    order = np.argsort(curve["threshold"])
    # Above the best score nothing is found: precision 1, recall 0.
    place = np.searchsorted(np.asarray(curve["threshold"], float)[order], thresholds, side="left")
    precision = np.append(np.asarray(curve["precision"], float)[order], 1.0)[place]
    recall = np.append(np.asarray(curve["recall"], float)[order], 0.0)[place]
    rows = np.stack([*np.zeros((4, len(thresholds))), precision, recall]).astype(np.float32)
    metadata = create_summary_metadata(display_name=label, description="", num_thresholds=len(thresholds))
    return Summary.Value(tag=f"precision_recall/{label}", metadata=metadata, tensor=make_tensor_proto(rows))


def _image(name: str, path: Path) -> Any:
    from PIL import Image
    from tensorboard.compat.proto.summary_pb2 import Summary

    with Image.open(path) as image:
        width, height = image.size
    picture = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=path.read_bytes())
    return Summary.Value(tag=name, image=picture)
