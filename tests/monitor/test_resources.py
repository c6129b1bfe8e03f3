from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time

import pytest

from trugrade_core.monitor.resources import FLAT, Gpus, ResourceMonitor, flat

BUSY = "import time\nend = time.time() + 20\nx = bytearray(50_000_000)\nprint('up', flush=True)\nwhile time.time() < end: pass"


def test_groups_are_the_users_and_say_why_there_is_nothing() -> None:
    found = ResourceMonitor().monitor_resources()
    assert set(found) == {"gpu_utilization", "memory_usage", "disk_io", "network_transfer", "cpu_usage"}
    assert found["network_transfer"]["run_bytes_per_s"] is None and found["network_transfer"]["reason"]
    gpu = found["gpu_utilization"]
    assert (gpu["percent"] is None) == bool(gpu.get("reason"))
    assert found["memory_usage"]["run_bytes"] > 1_000_000
    assert tuple(flat(found)) == FLAT


@pytest.mark.parametrize("how", ["tree", "group"])
def test_a_childs_use_counts_as_the_runs(how: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        monitor = ResourceMonitor(os.getpid()) if how == "tree" else ResourceMonitor(group=child.pid)
        time.sleep(0.5)
        found = monitor.monitor_resources()
        assert found["cpu_usage"]["run_percent"] > 5
        assert found["memory_usage"]["run_bytes"] > 50_000_000
        assert found["cpu_usage"]["processes"] >= (2 if how == "tree" else 1)
    finally:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()
    assert ResourceMonitor(group=child.pid).monitor_resources()["cpu_usage"]["processes"] == 0


def test_disk_writes_of_the_run_are_seen(tmp_path) -> None:  # type: ignore[no-untyped-def]
    monitor = ResourceMonitor()
    with (tmp_path / "x").open("wb") as f:
        f.write(b"1" * 8_000_000)
        f.flush()
        os.fsync(f.fileno())
    rate = monitor.monitor_resources()["disk_io"]["run_write_bytes_per_s"]
    assert rate >= 0  # a memory file system counts no bytes; a disk counts them all


def test_a_process_that_is_gone_uses_nothing() -> None:
    done = multiprocessing.get_context("spawn").Process(target=int)
    done.start()
    done.join()
    found = ResourceMonitor(done.pid).sample()
    assert found["processes"] == 0 and found["memory_run_bytes"] == 0


class FakeNvml:
    class NVMLError(Exception):
        pass

    class Reply:
        def __init__(self, **words: int) -> None:
            self.__dict__.update(words)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Reply:
        return self.Reply(used=2_000, total=10_000)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Reply:
        if handle == 2:
            raise self.NVMLError("lost")
        return self.Reply(gpu=50 * handle)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Reply]:
        return [self.Reply(pid=7, usedGpuMemory=500), self.Reply(pid=8, usedGpuMemory=900)]


def test_gpus_as_nvml_tells_them() -> None:
    gpus = Gpus()
    gpus.nvml, gpus.handles, gpus.reason = FakeNvml(), [0, 1], ""
    found = gpus.look({7})
    assert found["percent"] == 25 and found["memory_used_bytes"] == 4_000 and found["memory_run_bytes"] == 1_000
    gpus.handles = [1, 2]
    found = gpus.look({99})
    assert found["percent"] == 50 and found["memory_run_bytes"] is None and "lost" in found["reason"]
