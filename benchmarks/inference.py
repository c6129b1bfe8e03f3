"""ONNX Runtime against PyTorch eager: milliseconds an image of the light networks, from normalised pixels to raw
outputs, with the same number of threads on both sides.

The exported file is the one that `export` writes. The two take turns in blocks of runs, the first of each block not
counted, with a rest between them, since either keeps its idle threads spinning for a moment. Both paths are static, so
the values of the weights do not matter, but their kinds do: a body that starts from a weight file keeps that file's
frozen norms, one that starts at random has group norms. The headline rows stand for the first, with a file of that
layout made here, and the others for `pretrained_weights: none`. Other options of ONNX Runtime are tried beside the
lab's.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Row, alternate, times_faster
from trugrade_core.machine import Machine

GOAL = 1.5
ROUNDS, CALLS, REST_S = 9, 6, 0.1
SIZE = 320


def bench(scratch: Path, quick: bool) -> list[Row]:
    import timm
    import torch

    torch.manual_seed(0)
    weights = scratch / "efficientnet_lite0_timm.pt"
    torch.save(timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict(), weights)
    size, rounds, calls = (64, 2, 2) if quick else (SIZE, ROUNDS, CALLS)
    return [
        _network(scratch, name, started_from, size, rounds, calls)
        for started_from in (weights, None)
        for name in ("mask_rcnn_efficientnet_lite0", "retinanet_efficientnet_lite0")
    ]


def _network(scratch: Path, name: str, weights: Path | None, size: int, rounds: int, calls: int) -> Row:
    import torch

    from trugrade_core.config import RunConfig
    from trugrade_core.export.onnx import export_onnx
    from trugrade_core.models import ModelSpec, get_architecture
    from trugrade_core.schema import Preprocess

    row, variant = get_architecture(name)
    spec = ModelSpec(classes=("outer_border", "graphical_border"), image_size=size, variant=variant.id)
    torch.manual_seed(0)
    model = row.builder()(spec, RunConfig(task="border_detection.dual_class", dataset="none"), weights).eval()
    file = scratch / f"{name}.onnx"
    export_onnx(model, Preprocess(size=size), out=file)
    image = np.random.default_rng(0).normal(size=(1, 3, size, size)).astype(np.float32)
    threads, before = Machine.here().cores, torch.get_num_threads()
    sessions = {title: _session(file, threads, **options) for title, options in OPTIONS.items()}

    def eager() -> None:
        with torch.inference_mode():
            model(torch.from_numpy(image))

    sides: dict[str, Any] = {"eager": eager}
    for title, session in sessions.items():
        sides[title] = lambda session=session: session.run(None, {"images": image})
    try:
        torch.set_num_threads(threads)
        seconds = alternate(sides, rounds, calls=calls, rest_s=REST_S)
    finally:
        torch.set_num_threads(before)
    ms = {title: 1000 * statistics.median(found) for title, found in seconds.items()}
    ratio = {title: times_faster(seconds[title], seconds["eager"]) for title in sessions}
    tried = ", ".join(f"{title} {ratio[title]:.2f} x" for title in OPTIONS if title != LAB)
    return Row(
        name=f"ONNX Runtime, {name}" + ("" if weights else ", random start"),
        figure=ms[LAB],
        unit="ms an image",
        compared_with=f"PyTorch eager: {ms['eager']:.1f}",
        ratio=ratio[LAB],
        goal=f">= {GOAL} x",
        met=ratio[LAB] >= GOAL,
        note=f"{size} px, {threads} threads; tried: {tried}",
    )


LAB = "as the lab opens it"
OPTIONS: dict[str, dict[str, Any]] = {
    LAB: {},
    "threads that do not spin": {"session.intra_op.allow_spinning": "0"},
    "denormals as zero": {"session.set_denormal_as_zero": "1"},
}
"""Session entries by what they do."""


def _session(file: Path, threads: int, **entries: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
