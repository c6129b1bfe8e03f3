"""Pictures of a dataset that look alike, by how much: from what checks have stored, nothing is read or compared again."""

from __future__ import annotations

from collections import Counter
from typing import Any

from trugrade_core.data.checks import duplicates, hashing, measures
from trugrade_core.data.checks.duplicates import Pair, Pairs
from trugrade_core.data.store import Dataset
from trugrade_core.errors import UsageError
from trugrade_core.workspace import Workspace

LEAST = round(1 - hashing.WITHIN / hashing.BITS, 2)
"""Below it no pair is looked for."""
SURE = 0.95
EXAMPLES = 6


def look_alikes(ws: Workspace, name: str) -> tuple[Pairs, int]:
    """(every pair of pictures that look alike; how many pictures no check has read yet)."""
    ds = Dataset.open(ws, name)
    pictures = duplicates.pictures(ds.iter_samples(), ds.image_path)
    stored, wanted = measures.store_path(ws), {p.sha256 for p in pictures}
    known = measures.load(stored, wanted) if stored.exists() else {}
    return duplicates.find_pairs(pictures, known, duplicates.store_path(ws), deep=False), len(wanted - known.keys())


def over(found: Pairs, similarity: float) -> dict[str, Any]:
    """What counts as alike from `similarity` (0.84 to 1) on: {"similarity", "pairs", "kinds": {same_file, same_scan,
    same_design: pairs}, "across_splits", "examples"}. Examples are the least alike that still count, the nearest to the
    threshold first, each as `row`. Raises UsageError for a similarity at which nothing was looked for."""
    if not LEAST <= similarity <= 1:
        raise UsageError(f"similarity {similarity:g} is not from {LEAST:g} to 1", code="alike.range",
                         what_to_do=f"Pairs less alike than {LEAST:g} are not looked for: they are mostly strangers.")  # fmt: skip
    kept = found.alike(similarity).pairs
    kinds = Counter(pair.kind for pair in kept)
    return {
        "similarity": similarity, "pairs": len(kept), "kinds": {kind: kinds[kind] for kind in duplicates.KINDS},
        "across_splits": sum(pair.across for pair in kept),
        "examples": [row(pair) for pair in sorted(kept, key=lambda pair: pair.similarity)[:EXAMPLES]],
    }  # fmt: skip


def row(pair: Pair) -> dict[str, Any]:
    return {"samples": list(pair.samples), "similarity": round(pair.similarity, 4), "kind": pair.kind, "how": pair.how,
            "splits": list(pair.splits), "checked": pair.checked}  # fmt: skip
