"""What a table of the catalog is, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    comment: str


@dataclass(frozen=True)
class Table:
    """A base table. With `source`, its rows belong to a file and are replaced when that file changes."""

    name: str
    comment: str
    columns: tuple[Column, ...]

    @property
    def has_source(self) -> bool:
        return any(column.name == "source" for column in self.columns)


@dataclass(frozen=True)
class View:
    name: str
    comment: str
    columns: tuple[Column, ...]  # types are for readers: DuckDB derives them
    sql: str


def columns(text: str) -> tuple[Column, ...]:
    """One column a line: name, type, comment."""
    return tuple(Column(*line.split(None, 2)) for line in text.strip().splitlines())
