"""Cross-validation: the cards of a version's train and val splits in K folds; its test split stays locked away.

    versions/vN/folds/K-SEED-UNITS.json    which fold each card is in; made once, then read

In fold i the cards of fold i are val, the others train, and test is test.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from trugrade_core.data.splits import Card, Said, assign, balance, census, check_units, components, leaks
from trugrade_core.data.versions import ROWS, Version
from trugrade_core.errors import DatasetError, UsageError
from trugrade_core.workspace import now, read_json, write_json


def version_cards(version: Version) -> dict[str, Card]:
    """{card: what the version holds of it}."""
    rows: dict[str, list[Said]] = {}
    table: pa.Table = version.annotation_table.select(["sample", "label", "type", "value"])
    for batch in table.to_batches(max_chunksize=ROWS):
        for row in batch.to_pylist():
            plain = row["label"] is None  # classes are told by name: their shapes need not be read
            rows.setdefault(row["sample"], []).append((row["label"], json.loads(row["value"]) if plain else {}))
    return census(version.iter_samples(), lambda sample: rows.get(sample, ()))


def folds(version: Version, k: int, seed: int = 0, by: Iterable[str] | None = None) -> list[dict[str, str]]:
    """For each of `k` folds {card: train | val | test}. `by` is what is kept together, None as the version was split.

    They are shared out when first asked for, stratified as splits are, and kept with the version. Raises UsageError for
    a `k` below 2, DatasetError when there are not that many groups, or for a file that is not this version's.
    """
    return [_split_of(version, fold_of(version, k, seed, by), i) for i in range(k)]


def _split_of(version: Version, fold: dict[str, int], i: int) -> dict[str, str]:
    held = {sample.card: sample.split for sample in version.iter_samples("test")}
    return {card: "val" if n == i else "train" for card, n in fold.items()} | dict.fromkeys(held, "test")


def fold_of(version: Version, k: int, seed: int = 0, by: Iterable[str] | None = None) -> dict[str, int]:
    """{card of train and val: its fold, from 0}; see `folds`."""
    units = check_units(version.manifest.by if by is None else by)
    path = _path(version, k, seed, units)
    try:
        stored = read_json(path)
    except FileNotFoundError:
        return _made(version, k, seed, units)
    if not isinstance(stored, dict) or stored.get("digest") != version.manifest.digest or "fold" not in stored:
        raise DatasetError("are not the folds of this version", where=str(path), code="dataset.tampered",
                           what_to_do="Move the file away: folds are made again, the same ones, when asked for.")  # fmt: skip
    found: dict[str, int] = stored["fold"]
    return found


def _path(version: Version, k: int, seed: int, units: tuple[str, ...]) -> Path:
    folder = version.ws.datasets / version.manifest.dataset / "versions" / version.manifest.version / "folds"
    return folder / f"{k}-{seed}-{'+'.join(units) or 'card'}.json"


def _made(version: Version, k: int, seed: int, units: tuple[str, ...]) -> dict[str, int]:
    fold = share_folds(version_cards(version), k, seed, units, version.name)
    write_json(
        _path(version, k, seed, units),
        {"version": version.name, "digest": version.manifest.digest, "k": k, "seed": seed, "by": units,
         "made": now().isoformat(), "fold": fold},
    )  # fmt: skip
    return fold


def share_folds(cards: dict[str, Card], k: int, seed: int, by: Iterable[str], where: str) -> dict[str, int]:
    """{card of train and val: its fold}, groups together, writing nothing. Raises as `folds`."""
    if k < 2:
        raise UsageError(f"{k} folds are none", what_to_do="Cross-validation takes 2 or more, customary are 5.")
    units = check_units(by)
    pool = {name: card for name, card in cards.items() if card.splits and "test" not in card.splits}
    groups = len(components(pool, units))
    if k > groups:
        raise DatasetError(
            f"{k} folds cannot be made: train and val hold {groups} group(s) by {' and '.join(units) or 'card'}",
            where=where,
            code="dataset.no_folds",
            what_to_do=f"Ask for 2 to {groups} folds." if groups > 1 else "Bring more cards, or keep less together.",
        )
    names = [str(n) for n in range(k)]
    return {card: int(n) for card, n in assign(pool, [1 / k] * k, seed, None, units, names).items()}


def report(cards: dict[str, Card], fold: dict[str, int], k: int, by: Iterable[str]) -> dict[str, Any]:
    """Folds in numbers: cards and samples of each, `leaks` (units in `by` in two folds or in a fold and test), and
    `imbalance`."""
    names = [str(n) for n in range(k)]
    where = {card: str(n) for card, n in fold.items()}
    held = {name: "test" for name, card in cards.items() if "test" in card.splits}
    pool = {name: cards[name] for name in fold}
    found = balance(pool, where, [1 / k] * k, names)
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    for name, n in where.items():
        counts[n].update(cards=1, samples=cards[name].samples, labelled=cards[name].labelled)
    return {
        "k": k,
        "folds": [{key: counts[n][key] for key in ("samples", "cards", "labelled")} for n in names],
        "leaks": len(leaks(cards, where | held, check_units(by))),
        "imbalance": found.imbalance,
        "least_imbalance": found.least,
        "details": {"balance": list(found.rows)},
    }
