"""What stops a training: cards or pictures on both sides of a version's splits that nobody accepted."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator

from trugrade_core.data import acceptance
from trugrade_core.data.checks import duplicates, measures
from trugrade_core.data.checks.base import Finding
from trugrade_core.data.checks.format import Units, leaks
from trugrade_core.data.store import Dataset
from trugrade_core.data.versions import LATER, Version


def leak_of(version: Version) -> str:
    """What lies on both sides of a version's splits and nobody accepted, and what to do, in a sentence; '' where
    nothing does. Found from the rows and from what is stored of the pictures: no picture is read."""
    accepted = acceptance.acceptances(Dataset(version.ws, version.manifest.dataset))
    for w in acceptance.weigh(_leaks(version), accepted):
        if w.open is not None and w.open.severity == "error":
            name = version.name
            if acceptance.unlisted(w.open):
                return f"{w.open.why}. {w.open.action}"
            return (
                f"{w.open.why}. {w.open.action} Or let it stand by name and reason: "
                f"trugrade data check {name} --accept {w.open.key} --who NAME --reason 'WHY'"
            )
    return ""


def _leaks(version: Version) -> Iterator[Finding]:
    units: Units = defaultdict(lambda: defaultdict(list))
    kept_together = dict.fromkeys(("card", *version.manifest.by))
    columns = [unit for unit in kept_together if unit not in LATER]
    more = ["more"] if len(columns) < len(kept_together) else []  # a line of JSON for each sample
    for row in version.sample_table.select(["id", "split", *columns, *more]).to_pylist():
        if more:
            row |= json.loads(row["more"] or "{}")
        for unit in kept_together:
            if value := row.get(unit):
                units[unit, value][row["split"]].append(row["id"])
    yield from leaks(units)
    yield from _leaked_pictures(version)


def _leaked_pictures(version: Version) -> list[Finding]:
    """Pictures of one scan in two splits, as far as a check has compared them."""
    store = duplicates.store_path(version.ws)
    measured = measures.store_path(version.ws)
    pictures = [
        duplicates.Picture(ref["sha256"], version.ws.image(ref["sha256"], ref["suffix"]), row["id"], row["card"], row["split"])
        for row in version.sample_table.select(["id", "card", "split", "images"]).to_pylist()
        for ref in row["images"]
        if not ref["role"].startswith("light:")
    ]  # fmt: skip
    # The same bytes are the same scan, whether anything was measured or not.
    known = measures.load(measured, {p.sha256 for p in pictures}) if measured.exists() else {}
    return duplicates.stored_leaks(pictures, known, store)
