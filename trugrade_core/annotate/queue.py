"""Which sample comes next among those of a filter, which are open elsewhere, and where a person left off."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any

from trugrade_core.annotate.indexes import LogIndex, SampleList, log_of, samples_of
from trugrade_core.data.store import Dataset
from trugrade_core.errors import WorkspaceError
from trugrade_core.schema import SampleStatus
from trugrade_core.workspace import locked, read_json, write_atomic

OPEN_S = 45.0
"""How long a browser counts as being at a sample without a word from it."""
MOST_OPEN = 1000
NO_LAYERS: Mapping[str, str] = MappingProxyType({})


def counts(ds: Dataset, ids: Sequence[str], layers: Mapping[str, str] = NO_LAYERS) -> Counter[str]:
    """How many of `ids` have each status. `layers` are {sample: layer} of a person's blind votes, which count as done
    while something of theirs stands there."""
    samples, log = samples_of(ds), log_of(ds)
    samples.refresh()
    if layers:
        log.refresh()
    return Counter(_status(samples, log, id, layers.get(id, "main")) for id in ids if id in samples.rows)


def _status(samples: SampleList, log: LogIndex, id: str, layer: str) -> SampleStatus:
    if layer == "main":
        return samples.rows[id].status
    return "done" if log.voted.get(layer, {}).get(id) else "unlabelled"


def step(ids: Sequence[str], current: str, by: int) -> str | None:
    """The sample `by` places on, or None past the ends; from outside the filter its first."""
    if current not in ids:
        return ids[0] if ids else None
    at = ids.index(current) + by
    return ids[at] if 0 <= at < len(ids) else None


def next_unlabelled(
    ds: Dataset, ids: Sequence[str], *, after: str, browser: str, who: str, layers: Mapping[str, str] = NO_LAYERS
) -> str | None:
    """The first sample behind `after`, going round, that is unlabelled (or not yet voted on, in `layers`), not excluded,
    and that no other tab has open; None when there is none. `who` has it open in this one from then on, so that two who
    ask at once get two. Blind voters do not stand in each other's way."""
    samples, log = samples_of(ds), log_of(ds)
    samples.refresh()
    if layers:
        log.refresh()
    at = ids.index(after) + 1 if after in ids else 0
    with _presence(ds):
        present = _present(ds)
        taken = {row["sample"] for tab, row in present.items() if tab != browser}
        for id in [*ids[at:], *ids[:at]]:
            layer = layers.get(id, "main")
            if id == after or id not in samples.rows or samples.rows[id].excluded or (layer == "main" and id in taken):
                continue
            if _status(samples, log, id, layer) == "unlabelled":
                _say(ds, present, browser, id, who)
                return id
    return None


def left_off(ds: Dataset, who: str) -> str | None:
    """The sample on which this person drew last, by the log; a blind voter in a layer of their own."""
    log = log_of(ds)
    log.refresh()
    return log.left_off.get(who.strip())


# --- who has what open --------------------------------------------------------------------------------------------


def is_here(ds: Dataset, sample: str, who: str, *, browser: str) -> dict[str, list[str]]:
    """Say that `browser` has the sample open, and learn {sample: people} of all others. One browser, one sample.

    `browser` may be BROWSER/TAB: each tab has its own sample, and the tabs of one browser are no others to each other."""
    with _presence(ds):
        present = _present(ds)
        _say(ds, present, browser, sample, who)
    return _by_sample(present, browser)


def _presence(ds: Dataset) -> AbstractContextManager[object]:
    return locked(ds.ws.locks / f"presence-{ds.name}")


def _say(ds: Dataset, present: dict[str, dict[str, Any]], browser: str, sample: str, who: str) -> None:
    present[browser] = {"sample": sample, "who": who, "t": time.time()}
    kept = sorted(present.items(), key=lambda item: item[1]["t"])[-MOST_OPEN:]
    write_atomic(ds.ws.cache / "presence" / f"{ds.name}.json", json.dumps(dict(kept), ensure_ascii=False))


def open_elsewhere(ds: Dataset, browser: str) -> dict[str, list[str]]:
    """{sample: people who have it open} of all other browsers; each person once."""
    return _by_sample(_present(ds), browser)


def _by_sample(found: dict[str, dict[str, Any]], browser: str) -> dict[str, list[str]]:
    others: dict[str, list[str]] = {}
    for token, row in found.items():
        if token.partition("/")[0] != browser.partition("/")[0]:
            people = others.setdefault(str(row["sample"]), [])
            if row["who"] not in people:
                people.append(str(row["who"]))
    return others


def _present(ds: Dataset) -> dict[str, dict[str, Any]]:
    """By browser, those heard of lately. Nothing here is anybody's work: a file that cannot be read counts as empty."""
    try:
        found = read_json(ds.ws.cache / "presence" / f"{ds.name}.json")
        return {k: v for k, v in found.items() if time.time() - float(v["t"]) < OPEN_S and "sample" in v and "who" in v}
    except (FileNotFoundError, WorkspaceError, AttributeError, KeyError, TypeError, ValueError):
        return {}
