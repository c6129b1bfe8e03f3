"""What a run uses of the machine: CPU, memory, disk, network, GPU, as rates since the last look.

`run` figures are of the run's whole process tree (or process group), `machine` figures of everything. A figure that
this machine cannot give is null, with its reason beside it.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

import psutil

FLAT = (
    "cpu_run_percent",  # of one core: 200 is two cores busy
    "cpu_machine_percent",  # of all cores
    "memory_run_bytes",
    "memory_machine_used_bytes",
    "memory_machine_percent",
    "disk_run_read_bytes_per_s",
    "disk_run_write_bytes_per_s",
    "disk_machine_read_bytes_per_s",
    "disk_machine_write_bytes_per_s",
    "network_machine_received_bytes_per_s",
    "network_machine_sent_bytes_per_s",
    "gpu_percent",  # mean of all GPUs
    "gpu_memory_used_bytes",  # sum of all GPUs
    "gpu_memory_run_bytes",
    "processes",
)
"""Names of `flat()`, of a `resources` event's values, and of the catalog's columns."""

NO_NETWORK_OF_A_PROCESS = "the kernel does not count network bytes by process"

Counters = dict[tuple[int, float], tuple[float, int, int]]  # (pid, start): CPU seconds, bytes read, bytes written


class ResourceMonitor:
    """Looks at `pid` and its descendants (default: this process), or at the whole process group `group`."""

    def __init__(self, pid: int | None = None, *, group: int | None = None) -> None:
        self.pid = os.getpid() if pid is None else pid
        self.group = group
        self._gpus = Gpus()
        self._t = time.monotonic()
        self._counters = self._look()[0]
        self._machine = _machine_counters()
        psutil.cpu_percent()  # the first call only sets its mark

    def monitor_resources(self) -> dict[str, dict[str, Any]]:
        """The user's groups: gpu_utilization, memory_usage, disk_io, network_transfer, cpu_usage.

        Rates are means since the previous call (or since this monitor was made).
        """
        now = time.monotonic()
        seconds = max(now - self._t, 1e-3)
        counters, memory, pids = self._look()
        machine = _machine_counters()
        run = [sum(_growth(counters, self._counters, i)) / seconds for i in range(3)]
        rates = {
            name: (value - self._machine[name]) / seconds for name, value in machine.items() if name in self._machine
        }
        self._t, self._counters, self._machine = now, counters, machine
        whole = psutil.virtual_memory()
        return {
            "gpu_utilization": self._gpus.look(pids),
            "memory_usage": {
                "run_bytes": memory,
                "machine_used_bytes": whole.total - whole.available,
                "machine_total_bytes": whole.total,
                "machine_percent": whole.percent,
            },
            "disk_io": {
                "run_read_bytes_per_s": run[1],
                "run_write_bytes_per_s": run[2],
                "machine_read_bytes_per_s": rates.get("disk_read"),
                "machine_write_bytes_per_s": rates.get("disk_write"),
                **({} if "disk_read" in rates else {"reason": "this machine shows no disk counters"}),
            },
            "network_transfer": {
                "run_bytes_per_s": None,
                "machine_received_bytes_per_s": rates.get("received"),
                "machine_sent_bytes_per_s": rates.get("sent"),
                "reason": NO_NETWORK_OF_A_PROCESS,
            },
            "cpu_usage": {
                "run_percent": 100 * run[0],
                "machine_percent": psutil.cpu_percent(),
                "cores": psutil.cpu_count() or 1,
                "processes": len(pids),
            },
        }

    def sample(self) -> dict[str, float | None]:
        """`monitor_resources` in its flat form: the values of a `resources` event."""
        return flat(self.monitor_resources())

    def _look(self) -> tuple[Counters, int, set[int]]:
        """(counters of each living process, memory of all in bytes, their pids)."""
        counters: Counters = {}
        memory = 0
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied), process.oneshot():
                times = process.cpu_times()
                key = process.pid, process.create_time()
                counters[key] = times.user + times.system, *_disk_bytes(process)
                memory += _memory_bytes(process)
        return counters, memory, {pid for pid, _ in counters}

    def _processes(self) -> list[psutil.Process]:
        if self.group is not None:
            return [process for pid in psutil.pids() if (process := _in_group(pid, self.group))]
        try:
            root = psutil.Process(self.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def flat(found: dict[str, dict[str, Any]]) -> dict[str, float | None]:
    """The figures of `monitor_resources` under the names of FLAT."""
    cpu, memory, disk = found["cpu_usage"], found["memory_usage"], found["disk_io"]
    network, gpu = found["network_transfer"], found["gpu_utilization"]
    values = (
        cpu["run_percent"],
        cpu["machine_percent"],
        memory["run_bytes"],
        memory["machine_used_bytes"],
        memory["machine_percent"],
        disk["run_read_bytes_per_s"],
        disk["run_write_bytes_per_s"],
        disk["machine_read_bytes_per_s"],
        disk["machine_write_bytes_per_s"],
        network["machine_received_bytes_per_s"],
        network["machine_sent_bytes_per_s"],
        gpu["percent"],
        gpu["memory_used_bytes"],
        gpu["memory_run_bytes"],
        cpu["processes"],
    )
    return dict(zip(FLAT, (None if v is None else round(v, 1) for v in values), strict=True))


def _in_group(pid: int, group: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid) if os.getpgid(pid) == group else None
    except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
        return None


def _disk_bytes(process: psutil.Process) -> tuple[int, int]:
    try:
        found = process.io_counters()
    except (psutil.AccessDenied, AttributeError):
        return 0, 0
    return found.read_bytes, found.write_bytes


def _memory_bytes(process: psutil.Process) -> int:
    """The proportional share (pages that forked loaders share count once), else the resident size."""
    try:
        return int(process.memory_full_info().pss)
    except (psutil.AccessDenied, AttributeError):
        return int(process.memory_info().rss)


def _growth(new: Counters, old: Counters, field: int) -> list[float]:
    """What each process added; one that is new since the last look counts from nothing."""
    return [max(0.0, values[field] - old.get(key, (0.0, 0, 0))[field]) for key, values in new.items()]


def _machine_counters() -> dict[str, float]:
    found: dict[str, float] = {}
    disk, network = psutil.disk_io_counters(), psutil.net_io_counters()
    if disk is not None:
        found |= {"disk_read": disk.read_bytes, "disk_write": disk.write_bytes}
    if network is not None:
        found |= {"received": network.bytes_recv, "sent": network.bytes_sent}
    return found


class Gpus:
    """NVIDIA GPUs by NVML, opened once."""

    def __init__(self) -> None:
        import pynvml

        self.nvml = pynvml
        self.handles: list[Any] = []
        try:
            pynvml.nvmlInit()
            self.handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
            self.reason = "" if self.handles else "the NVIDIA driver lists no GPU"
        except pynvml.NVMLError as e:
            self.reason = f"no NVIDIA driver answers ({e})"

    def look(self, pids: set[int]) -> dict[str, Any]:
        rows: list[dict[str, Any]] = []
        reason = self.reason
        for i, handle in enumerate(self.handles):
            try:
                memory = self.nvml.nvmlDeviceGetMemoryInfo(handle)
                rows.append(
                    {
                        "gpu": i,
                        "percent": self.nvml.nvmlDeviceGetUtilizationRates(handle).gpu,
                        "memory_used_bytes": memory.used,
                        "memory_total_bytes": memory.total,
                        "memory_run_bytes": self._memory_of(handle, pids),
                    }
                )
            except self.nvml.NVMLError as e:
                reason = f"GPU {i} does not answer ({e})"
        found: dict[str, Any] = {
            "percent": sum(row["percent"] for row in rows) / len(rows) if rows else None,
            "memory_used_bytes": sum(row["memory_used_bytes"] for row in rows) if rows else None,
            "memory_run_bytes": _sum_known([row["memory_run_bytes"] for row in rows]),
            "gpus": rows,
        }
        return {**found, "reason": reason} if reason else found

    def _memory_of(self, handle: Any, pids: set[int]) -> int | None:
        """Null where NVML names no process of the run: in a container it may see other pids than we do."""
        known = [p.usedGpuMemory for p in self.nvml.nvmlDeviceGetComputeRunningProcesses(handle) if p.pid in pids]
        return _sum_known(known)


def _sum_known(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
