"""What stops a training: cards or pictures on both sides of a version's splits that nobody accepted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from trugrade_core.data import acceptance
from trugrade_core.data.checks import duplicates, measures
from trugrade_core.data.checks.base import Finding
from trugrade_core.data.checks.format import leaked_cards
from trugrade_core.data.folds import version_cards
from trugrade_core.data.splits import leaks, strictest
from trugrade_core.data.store import Dataset
from trugrade_core.data.versions import Version


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
    table = version.sample_table.select(["card", "split"]).group_by(["card", "split"]).aggregate([])
    torn = {card for card, count in Counter(table["card"].to_pylist()).items() if count > 1}
    if torn:
        splits: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        rows = version.sample_table.select(["id", "card", "split"])
        for row in rows.filter(pc.is_in(rows["card"], value_set=pa.array(sorted(torn)))).to_pylist():
            splits[row["card"]][row["split"]].append(row["id"])
        yield from leaked_cards(splits)
    yield from _torn_units(version)
    yield from _leaked_pictures(version)


def _torn_units(version: Version) -> Iterator[Finding]:
    """A design, print or session that the version was split by and that stands on two sides all the same: corrected, or
    new cards came, since the split."""
    if not version.manifest.by:
        return
    cards = version_cards(version)
    where = {name: strictest(card.splits) for name, card in cards.items() if card.splits}
    torn = [row for row in leaks(cards, where, version.manifest.by) if row["unit"] != "card"]
    if torn:
        said = ", ".join(f"{row['unit']} {row['value']}" for row in torn[:5])
        inside = {(row["unit"], row["value"]) for row in torn}
        names = {name for name, card in cards.items() if card.units & inside}
        samples = tuple(sample.id for sample in version.iter_samples() if sample.card in names)
        yield Finding(
            check="format_validation",
            code="leak.unit",
            severity="error",
            samples=samples,
            why=f"{len(torn)} of what the version was split by stand in more than one split ({said})",
            action="Split again by the same units.",
            details={"units": [f"{row['unit']} {row['value']}" for row in torn[:1000]]},
        )


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
