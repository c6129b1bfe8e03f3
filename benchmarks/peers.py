"""Peers run in an environment of their own (requirements.txt): this file is also what runs in there, and imports nothing
of the lab.

`ask(what, …)` starts it in `results/peers` (or the environment that TRUGRADE_PEERS names) and gives its answer, or None
where that peer is not installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ENVIRONMENT = "TRUGRADE_PEERS"
LONGEST_S = 900


def ask(what: str, *words: str) -> dict[str, Any] | None:
    """`what` is a name of `ANSWERS`. None: not installed, or out of time (said on stderr)."""
    home = Path(os.environ.get(ENVIRONMENT) or Path(__file__).with_name("results") / "peers")
    python = home / "bin" / "python"
    if not python.exists():
        return None
    try:
        done = subprocess.run([python, __file__, what, *words], capture_output=True, text=True, timeout=LONGEST_S)
    except subprocess.TimeoutExpired:
        print(f"{what}: no answer after {LONGEST_S} s", file=sys.stderr)
        return None
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        return None
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def cleanvision(folder: str) -> dict[str, Any]:
    """{issue: files that it holds it against}, the duplicate sets, seconds."""
    from cleanvision import Imagelab

    lab = Imagelab(data_path=folder)
    begun = time.perf_counter()
    lab.find_issues(n_jobs=2)
    seconds = time.perf_counter() - begun
    table = lab.issues
    issues = {
        column[3:-6]: [Path(file).name for file in table.index[table[column].astype(bool)]]
        for column in table.columns
        if column.startswith("is_") and column.endswith("_issue")
    }
    sets = [[Path(file).name for file in own] for kind in ("exact_duplicates", "near_duplicates") for own in lab.info[kind]["sets"]]  # fmt: skip
    return {"issues": issues, "sets": sets, "seconds": seconds}


def imagededup(folder: str) -> dict[str, Any]:
    """Pairs within 12 bits with their distance, seconds of hashing and of searching within 10 bits."""
    from imagededup.methods import PHash

    hasher = PHash(verbose=False)
    begun = time.perf_counter()
    hashes = hasher.encode_images(folder, num_enc_workers=2)
    encoded = time.perf_counter()
    hasher.find_duplicates(encoding_map=hashes, max_distance_threshold=10, num_dist_workers=2)
    searched = time.perf_counter()
    found = hasher.find_duplicates(encoding_map=hashes, max_distance_threshold=12, scores=True, num_dist_workers=2)
    pairs = [[a, b, int(d)] for a, own in found.items() for b, d in own if a < b]
    return {"pairs": pairs, "hash_s": encoded - begun, "search_s": searched - encoded}


def imagededup_search(count: str) -> dict[str, Any]:
    """Seconds of a search within 10 bits over so many hashes, with one process of its compiled brute force."""
    import numpy
    from imagededup.methods import PHash

    words = numpy.random.default_rng(0).integers(0, 2**64, int(count), dtype=numpy.uint64)
    hashes = {f"{n}.jpg": f"{int(h):016x}" for n, h in enumerate(words)}
    begun = time.perf_counter()
    PHash(verbose=False).find_duplicates(encoding_map=hashes, max_distance_threshold=10, num_dist_workers=2)
    return {"seconds": time.perf_counter() - begun}


ANSWERS = {"cleanvision": cleanvision, "imagededup": imagededup, "imagededup_search": imagededup_search}

if __name__ == "__main__":
    print(json.dumps(ANSWERS[sys.argv[1]](*sys.argv[2:])))
