"""What this machine can do, found without importing torch."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Self

from trugrade_core.schema import Record


class Gpu(Record):
    name: str
    memory_bytes: int
    bf16: bool


class Machine(Record):
    """`bf16` says whether the CPU computes in bfloat16 (AVX512-BF16 or AMX), not merely stores it."""

    cores: int
    memory_bytes: int
    gpus: tuple[Gpu, ...] = ()
    gpu_reason: str = ""
    compiler: bool
    bf16: bool

    @classmethod
    def here(cls) -> Self:
        import psutil

        gpus, reason = _gpus()
        return cls(
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            memory_bytes=_memory_limit(psutil.virtual_memory().total),
            gpus=gpus,
            gpu_reason=reason,
            compiler=any(shutil.which(name) for name in ("c++", "g++", "clang++")),
            bf16=_cpu_has_bf16(),
        )


def _memory_limit(physical: int) -> int:
    """A container's memory limit where it is below the physical memory."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            return min(physical, int(Path(path).read_text()))
        except (OSError, ValueError):
            continue
    return physical


def _cpu_has_bf16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _gpus() -> tuple[tuple[Gpu, ...], str]:
    """(GPUs as NVML lists them, less those that CUDA_VISIBLE_DEVICES hides; why there are none)."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as e:
        return (), f"no NVIDIA driver answers ({e})"
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        if not handles:
            return (), "the NVIDIA driver lists no GPU"
        shown = os.environ.get("CUDA_VISIBLE_DEVICES")
        if shown is not None:
            handles = [handles[i] for i in _visible(shown, [pynvml.nvmlDeviceGetUUID(handle) for handle in handles])]
        found = tuple(
            Gpu(
                name=pynvml.nvmlDeviceGetName(handle),
                memory_bytes=pynvml.nvmlDeviceGetMemoryInfo(handle).total,
                bf16=pynvml.nvmlDeviceGetCudaComputeCapability(handle)[0] >= 8,
            )
            for handle in handles
        )
        return found, "" if found else f"CUDA_VISIBLE_DEVICES={shown} hides every GPU"
    finally:
        pynvml.nvmlShutdown()


def _visible(shown: str, uuids: list[str]) -> list[int]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves, read as CUDA does: indices or beginnings of UUIDs, up to the first
    that is none of them."""
    found: list[int] = []
    for word in shown.split(","):
        word = word.strip()
        if word.startswith("MIG-"):  # a slice of a GPU; CUDA gives a process no more than one
            return found or [0]
        matching = [
            i for i, uuid in enumerate(uuids) if word == str(i) or (word[:4] == "GPU-" and uuid.startswith(word))
        ]
        if len(matching) != 1:
            break
        if matching[0] in found:  # CUDA then shows none
            return []
        found += matching
    return found
