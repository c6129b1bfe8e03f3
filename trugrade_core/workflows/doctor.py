"""What this machine can and cannot do, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
from typing import Any

from trugrade_core.annotate import sam_weights
from trugrade_core.errors import WeightsMissing
from trugrade_core.machine import Machine
from trugrade_core.models import ARCHITECTURES
from trugrade_core.models.weights import FETCH, folders
from trugrade_core.workspace import Workspace

NAMED_PACKAGES = (
    "streamlit",
    "streamlit-drawable-canvas",
    "label-studio-sdk",
    "torch",
    "torchvision",
    "ultralytics-opencv-headless",
    "segmentation-models-pytorch",
    "tensorboard",
    "onnx",
    "duckdb",
)
LITTLE_DISK_BYTES = 5_000_000_000


def examine(ws: Workspace) -> list[dict[str, Any]]:
    """Rows `{"what", "state": ok|limited|missing, "detail", "what_to_do"}`."""
    machine = Machine.here()
    return [_python(), *_packages(), *_compute(machine), _disk(ws), *_architectures(), *_weights(ws), _segmenter(ws)]


def _row(what: str, state: str, detail: str, what_to_do: str = "") -> dict[str, Any]:
    return {"what": what, "state": state, "detail": detail, "what_to_do": what_to_do}


def _python() -> dict[str, Any]:
    return _row("python", "ok", sys.version.split()[0])


def _packages() -> list[dict[str, Any]]:
    rows = []
    for name in NAMED_PACKAGES:
        try:
            rows.append(_row(name, "ok", importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            rows.append(_row(name, "missing", "not installed", "Run: make install"))
    return rows


def _compute(machine: Machine) -> list[dict[str, Any]]:
    memory = f"{machine.memory_bytes / 1e9:.0f} GB"
    rows = [_row("cpu", "ok", f"{machine.cores} cores, {memory} of memory")]
    if machine.gpus:
        rows += [_row("gpu", "ok", f"{gpu.name}, {gpu.memory_bytes / 1e9:.0f} GB") for gpu in machine.gpus]
    else:
        rows.append(_row("gpu", "limited", machine.gpu_reason, "Training works on the CPU; choose the light variants."))
        rows.append(
            _row(
                "tensorrt",
                "missing",
                "an engine is built on the GPU it will run on",
                "Export there, once there is one.",
            )
        )
    bf16 = machine.bf16 or any(gpu.bf16 for gpu in machine.gpus)
    rows.append(_row("bf16", "ok" if bf16 else "limited", "computed in hardware" if bf16 else "no bf16 arithmetic here",
                     "" if bf16 else "Mixed precision is adapted to fp32."))  # fmt: skip
    rows.append(_row("compiler", "ok" if machine.compiler else "limited", "C++ compiler found" if machine.compiler else "no C++ compiler",
                     "" if machine.compiler else "torch.compile stays off; install g++ to have it."))  # fmt: skip
    return rows


def _disk(ws: Workspace) -> dict[str, Any]:
    free = shutil.disk_usage(ws.root).free
    little = free < LITTLE_DISK_BYTES
    return _row("disk", "limited" if little else "ok", f"{free / 1e9:.0f} GB free at {ws.root}",
                "Empty the workspace's trash folder, or move the workspace." if little else "")  # fmt: skip


def _architectures() -> list[dict[str, Any]]:
    rows = []
    for row in ARCHITECTURES.values():
        reason = row.unavailable()
        rows.append(_row(row.id, "missing" if reason else "ok", reason or f"licence {row.licence}"))
    return rows


def _segmenter(ws: Workspace) -> dict[str, Any]:
    try:
        return _row("click to segment", "ok", str(sam_weights.find(ws)))
    except WeightsMissing as e:
        return _row("click to segment", "limited", "GrabCut on the crop, no model", e.what_to_do)


def _weights(ws: Workspace) -> list[dict[str, Any]]:
    """Every weight file that a word of `pretrained_weights` stands for."""
    names = {file for row in ARCHITECTURES.values() for variant in row.variants for file in variant.weights.values()}
    places = folders(ws.root / "weights")
    rows = []
    for name in sorted(names):
        found = next((folder / name for folder in places if (folder / name).is_file()), None)
        rows.append(_row(f"weights {name}", "ok" if found else "limited", str(found or "not on this machine"),
                         "" if found else f"Put it into {ws.root / 'weights'}. With a network: {FETCH[name]}"))  # fmt: skip
    return rows
