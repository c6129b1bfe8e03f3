"""Which GPUs a machine is said to have."""

from __future__ import annotations

from types import SimpleNamespace

import pynvml
import pytest

from trugrade_core.machine import Machine

UUIDS = ["GPU-aaaa-1", "GPU-aabb-2", "GPU-cccc-3"]


@pytest.fixture
def three_gpus(monkeypatch):
    """A driver that lists three."""
    fakes = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: len(UUIDS),
        "nvmlDeviceGetHandleByIndex": lambda i: i,
        "nvmlDeviceGetUUID": lambda i: UUIDS[i],
        "nvmlDeviceGetName": lambda i: f"card {i}",
        "nvmlDeviceGetMemoryInfo": lambda i: SimpleNamespace(total=2**33),
        "nvmlDeviceGetCudaComputeCapability": lambda i: (8, 0),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(pynvml, name, fake)


@pytest.mark.parametrize(
    ("shown", "cards"),
    [
        (None, [0, 1, 2]),
        ("2,0", [2, 0]),
        (" 1 , 2", [1, 2]),
        ("GPU-cc,GPU-aaaa", [2, 0]),
        ("GPU-aa", []),  # of two
        ("1,7,0", [1]),
        ("1,-1,0", [1]),
        ("1,1", []),
        ("MIG-1234", [0]),
        ("", []),
        ("-1", []),
    ],
)
def test_gpus_that_cuda_visible_devices_hides_are_not_there(three_gpus, monkeypatch, shown, cards):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if shown is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    machine = Machine.here()
    assert [gpu.name for gpu in machine.gpus] == [f"card {i}" for i in cards]
    assert machine.gpu_reason == ("" if cards else f"CUDA_VISIBLE_DEVICES={shown} hides every GPU")
