"""`python -m benchmarks [--only NAME …] [--quick]`: run the benches, print one table, keep it as JSON.

The table goes to stdout in Markdown, what is going on to stderr, the JSON beside the earlier ones into
benchmarks/results/ (which git ignores). Exit 1 when a bench failed; a missed goal is said in the table.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.measure import Row
from trugrade_core.machine import Machine
from trugrade_core.workspace import now, write_json

RESULTS = Path(__file__).with_name("results")
# In the order of the table; each is a module with `bench(scratch: Path, quick: bool) -> list[Row]`.
BENCHES = (
    "annotate",
    "training",
    "memory",
    "inference",
    "importing",
    "coco",
    "pages",
    "explore",
    "annotator",
    "writing",
    "chaos",
    "label_studio",
    "planted",
    "duplicates",
    "planted_labels",
    "gpu",
)
HEAD = ("what", "figure", "compared with", "ratio", "goal", "note")


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=BENCHES, metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--quick", action="store_true", help="tiny inputs: shows that all runs, measures nothing")
    asked = parser.parse_args(words)
    begun, rows, failed = time.monotonic(), [], False
    for name in asked.only or BENCHES:
        found, ok = run(name, quick=asked.quick)
        rows += found
        failed |= not ok
    machine = Machine.here()
    load = os.getloadavg()[0]
    write_json(
        RESULTS / f"{now():%Y%m%d-%H%M%S}.json",
        {"made": now().isoformat(), "quick": asked.quick, "seconds": round(time.monotonic() - begun, 1), "load": load,
         "machine": machine.model_dump(mode="json"), "rows": [asdict(row) for row in rows]},
    )  # fmt: skip
    print(table(rows))
    print(f"\n{machine.cores} cores, {machine.memory_bytes / 1e9:.0f} GB, load {load:.1f} at the end, "
          f"{(time.monotonic() - begun) / 60:.1f} minutes" + ("; --quick: figures mean nothing" if asked.quick else ""))  # fmt: skip
    return int(failed)


def run(name: str, *, quick: bool) -> tuple[list[Row], bool]:
    """The rows of one bench, and whether it ran; a failure is a row too."""
    begun = time.monotonic()
    print(f"{name} …", file=sys.stderr, flush=True)
    ok = True
    with tempfile.TemporaryDirectory(prefix=f"bench-{name}-") as scratch:
        try:
            rows: list[Row] = importlib.import_module(f"benchmarks.{name}").bench(Path(scratch), quick)
        except Exception as e:
            traceback.print_exc()
            rows, ok = [Row(name=name, figure=None, unit="", note=f"FAILED: {type(e).__name__}: {e}")], False
    print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    return rows, ok


def table(rows: Sequence[Row]) -> str:
    """As Markdown."""
    lines = ["| " + " | ".join(HEAD) + " |", "|---|---:|---|---:|---|---|"]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    return "\n".join(lines)


def cells(row: Row) -> list[str]:
    verdict = {True: ": met", False: ": **missed**", None: ""}[row.met]
    figure = "not run" if row.figure is None else f"{number(row.figure)} {row.unit}".strip()
    ratio = "" if row.ratio is None else f"{number(row.ratio)} x"
    found: list[Any] = [row.name, figure, row.compared_with, ratio, row.goal + verdict, row.note]
    return [str(cell).replace("|", "/").replace("\n", " ") for cell in found]


def number(value: float) -> str:
    """Three significant digits, no exponent for what people read as plain numbers."""
    if value == 0 or 0.001 <= abs(value) < 1e6:
        digits = (
            0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 4
        )
        return f"{value:,.{digits}f}"
    return json.dumps(float(f"{value:.2e}"))


if __name__ == "__main__":
    sys.exit(main())
