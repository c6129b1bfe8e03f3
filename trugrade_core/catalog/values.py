"""From what lies in files to what a column holds: each value checked, and what does not fit told."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trugrade_core.catalog.schema import TABLE

Row = dict[str, Any]


class Damaged(Exception):
    """A file that is not what its place says. The message is for the `problems` table."""


UNFIT = (Damaged, OSError, AttributeError, TypeError, ValueError, RecursionError)
"""What reading a damaged file raises: unreadable, or JSON of another shape. It costs itself, not the catalog."""


def why(error: BaseException) -> str:
    """An UNFIT error for the `problems` table."""
    found = str(error)
    if not isinstance(error, Damaged | OSError):
        found = f"is not what its place says ({type(error).__name__}: {found})"
    return legible(found)


def legible(text: str) -> str:
    """`text` as UTF-8 can hold it: half of a surrogate pair, which JSON can name, is written as its escape."""
    return text.encode(errors="backslashreplace").decode()


def read_mapping(path: Path) -> dict[str, Any]:
    """Raises Damaged for anything but a JSON object."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise Damaged(f"{path.name} is missing") from None
    except (OSError, ValueError, RecursionError) as e:
        raise Damaged(f"{path.name} is not readable JSON ({e})") from e
    if not isinstance(found, dict):
        raise Damaged(f"{path.name} holds {type(found).__name__}, not an object")
    return found


def _text(value: Any) -> str:
    return _utf8(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _utf8(text: str) -> str:
    """Raises UnicodeEncodeError, a ValueError, where the catalog could not hold it."""
    text.encode()
    return text


def _integer(value: Any) -> int:
    found = int(value)
    if not -(2**63) <= found < 2**63:
        raise OverflowError(f"{value} is beyond 64 bits")
    return found


def _time(value: Any) -> datetime:
    """ISO text or seconds since 1970, as naive UTC."""
    if isinstance(value, datetime):
        found = value
    elif isinstance(value, int | float):
        found = datetime.fromtimestamp(value, UTC)
    else:
        found = datetime.fromisoformat(value)
    return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found


def _json(value: Any) -> str:
    return _utf8(json.dumps(_finite(value), ensure_ascii=False, default=str))


def _finite(value: Any) -> Any:
    """JSON has no NaN: it becomes null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, list | tuple) else value


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is not true or false")
    return value


CONVERT: dict[str, Callable[[Any], Any]] = {
    "VARCHAR": _text,
    "BIGINT": _integer,
    "DOUBLE": float,
    "BOOLEAN": _bool,
    "TIMESTAMP": _time,
    "JSON": _json,
}


def as_row(table: str, values: Row) -> Row:
    """`values` in the types of the table's columns. Raises Damaged naming the column that does not fit."""
    row: Row = {}
    for column in TABLE[table].columns:
        value = values.get(column.name)
        try:
            row[column.name] = None if value is None else CONVERT[column.type](value)
        except (ValueError, TypeError, OverflowError, OSError) as e:
            raise Damaged(f"'{column.name}' does not fit ({e})") from e
    return row
