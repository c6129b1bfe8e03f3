"""What a person knows of each image beside its labels: card, design, print, session, side, origin, dpi; from a CSV
or from the file names."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trugrade_core.data.formats.base import HIGHEST_DPI, LOWEST_DPI
from trugrade_core.data.formats.table import parse
from trugrade_core.data.source import FileIndex, Skip, shown
from trugrade_core.errors import DatasetError, UsageError, nearest

COLUMNS = ("card", "design", "print", "session", "side", "origin", "dpi")
NAMED = ("card", "design", "print", "session", "side")
Facts = dict[str, Any]
"""Fields of a Sample."""


def from_names(pattern: str) -> Callable[[str], Facts]:
    """{group: text} of a regular expression searched in an image's path. Raises UsageError for an unusable one."""
    try:
        compiled = re.compile(pattern)
    except re.error as e:
        raise UsageError(f"the card pattern is not a regular expression ({e})", where=pattern,
                         what_to_do=r"For example: --card-pattern '(?P<card>[^_/]+)_(?P<side>front|back)'") from e  # fmt: skip
    wrong = sorted(set(compiled.groupindex) - set(NAMED))
    if wrong or not compiled.groupindex:
        raise UsageError(
            f"the card pattern has no group named {wrong[0]}" if wrong else "the card pattern has no named group",
            where=pattern,
            what_to_do=f"Name groups (?P<card>…) among {', '.join(NAMED)}. {nearest(wrong[0], list(NAMED)) if wrong else ''}".strip(),
        )

    def facts(file: str) -> Facts:
        match = compiled.search(shown(file))
        return {k: v for k, v in match.groupdict().items() if v} if match else {}

    return facts


def from_table(path: Path, images: list[str]) -> tuple[dict[str, Facts], list[Skip], list[str]]:
    """({image: facts}, what was not taken, notes) of a cards CSV. Raises DatasetError when it is not one."""
    try:
        columns, lines = parse(path.read_bytes(), {})
    except OSError as e:
        raise DatasetError(
            f"cannot be read ({e.strerror})", where=str(path), what_to_do="Check the path after --cards."
        ) from e
    except csv.Error as e:
        raise DatasetError(f"is no table ({e})", where=str(path), code="dataset.cards",
                           what_to_do="Check that every quote in it is closed.") from e  # fmt: skip
    if "file" not in columns or not set(columns) & set(COLUMNS):
        raise DatasetError(
            f"has the columns {', '.join(columns) or 'none'}; needs file and any of {', '.join(COLUMNS)}",
            where=str(path),
            code="dataset.cards",
            what_to_do="Add the column 'file' with each image's path, and 'card'.",
        )
    index = FileIndex(images)
    found: dict[str, Facts] = {}
    skipped = []
    for number, line in enumerate(lines, 2):
        image, why = index.find(line.get("file", ""))
        if image is None:
            skipped.append(Skip(file=line.get("file", ""), reason=f"{path.name} line {number}: {why}"))
            continue
        facts, wrong = _facts(line)
        found[image] = {**found.get(image, {}), **facts}
        skipped += [Skip(file=shown(image), reason=f"{path.name} line {number}: {reason}") for reason in wrong]
    unread = sorted(set(columns) - {"file", *COLUMNS})
    return found, skipped, [f"{path.name}: columns not read: {', '.join(unread)}"] if unread else []


def _facts(line: dict[str, str]) -> tuple[Facts, list[str]]:
    facts: Facts = {name: line[name] for name in NAMED if line.get(name)}
    wrong = []
    origin = line.get("origin", "").lower()
    if origin in ("real", "synthetic"):
        facts["origin"] = origin
    elif origin:
        wrong.append(f"origin '{line['origin']}' is neither real nor synthetic")
    if line.get("dpi"):
        try:
            dpi = float(line["dpi"])
        except ValueError:
            dpi = math.nan
        if LOWEST_DPI <= dpi < HIGHEST_DPI:
            facts["dpi"] = dpi
        else:
            wrong.append(f"dpi '{line['dpi']}' is no number of dots per inch")
    return facts, wrong
