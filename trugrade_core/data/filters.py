"""Which samples: a filter as a plain structure, as the address of a page and as a line of text, all three the same.

In an address every field is one parameter (`class=scratch,dent&size=0.1..0.5`), in text they stand behind each other
(`class=scratch,dent size=0.1..0.5 "two words"`). Within a field any of the values is enough; all fields must hold.
A comma, a per cent sign or a line end within a value is written %2C, %25, %0A, and a value that is the word `none` itself
%6Eone. Words without `=` are searched for in the file names, the card and the sample's id.
"""

# ruff: noqa: S608 -- names in SQL are this module's own, values are parameters
from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field, FiniteFloat, model_validator

from trugrade_core.errors import UsageError, nearest
from trugrade_core.schema import Record

NONE = ""
"""The value of a field that stands for 'has none', written `none`: split, design, session, side, region, tag, class,
annotator, finding."""
SORTS = {
    "arrival": "n",
    "file": "lower(file)",
    "card": "lower(card)",
    "date": "changed",
    "score": "score",
    "size": "largest_mm",
    "smallest": "smallest_mm",
    "status": "status",
}
"""{what samples are ordered by: its column}; `-size` is the largest first, and what has no value comes last."""


class Range(Record):
    """From `low` to `high`; None is no bound, and without any there must be a number at all. `open` leaves `high` itself
    out, as a bar of a histogram does: `0.1..<0.2`."""

    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    open: bool = False

    @model_validator(mode="after")
    def _in_order(self) -> Range:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"{number(self.low)} is more than {number(self.high)}")
        if self.open and self.high is None:
            raise ValueError("a bound that is left out cannot be open")
        return self

    def __str__(self) -> str:
        low, high = ("" if bound is None else number(bound) for bound in (self.low, self.high))
        return f"{low}..{'<' if self.open else ''}{high}"


class Place(Record):
    """A cell of the position map: column and row from 0, of a grid over the card."""

    column: int = Field(ge=0, lt=9)
    row: int = Field(ge=0, lt=12)


PLACES = (9, 12)
"""Columns and rows of the position map."""

# {name in an address: (field, kind of its value)}
WORDS = {
    "q": ("text", "text"),
    "class": ("classes", "list"),
    "status": ("status", "list"),
    "split": ("split", "list"),
    "origin": ("origin", "list"),
    "tag": ("tags", "list"),
    "annotator": ("annotators", "list"),
    "finding": ("findings", "list"),
    "card": ("cards", "list"),
    "design": ("design", "list"),
    "session": ("session", "list"),
    "side": ("side", "list"),
    "region": ("region", "list"),
    "score": ("score", "range"),
    "size": ("size_mm", "range"),
    "shapes": ("shapes", "range"),
    "dpi": ("dpi", "range"),
    "blur": ("blur_px", "range"),
    "place": ("place", "place"),
    "excluded": ("excluded", "bool"),
    "conflict": ("conflict", "bool"),
    "ids": ("ids", "list"),
}
STATUSES = ("unlabelled", "done", "skipped", "rescan", "unsure")
KNOWN = {
    "status": STATUSES,
    "split": ("train", "val", "test", NONE),
    "origin": ("real", "synthetic"),
}


class Filter(Record):
    """An empty filter fits every sample. `size_mm` is the longer side of a shape's bounding box; with `classes` or
    `place` a single shape must fit them all. `shapes` is how many there are on a sample, `blur_px` the sigma of the picture's sharpest edges."""

    text: str = ""
    classes: tuple[str, ...] = ()
    status: tuple[str, ...] = ()
    split: tuple[str, ...] = ()
    origin: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    annotators: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    cards: tuple[str, ...] = ()
    design: tuple[str, ...] = ()
    session: tuple[str, ...] = ()
    side: tuple[str, ...] = ()
    region: tuple[str, ...] = ()
    score: Range | None = None
    size_mm: Range | None = None
    shapes: Range | None = None
    dpi: Range | None = None
    blur_px: Range | None = None
    place: Place | None = None
    excluded: bool | None = None
    conflict: bool | None = None
    ids: tuple[str, ...] = ()

    def params(self) -> dict[str, str]:
        """As parameters of an address, the empty ones left out."""
        return {word: written(kind, value) for word, (name, kind) in WORDS.items()
                if (value := getattr(self, name)) not in ("", (), None)}  # fmt: skip

    def line(self) -> str:
        """As a line of text for `from_line` (and, quoted, for a shell)."""
        parts = [f"{word}={value}" for word, value in self.params().items()]
        return " ".join(shlex.quote(part) for part in parts)

    @property
    def is_empty(self) -> bool:
        return not self.params()


UNLABELLED = Filter(status=("unlabelled",), excluded=False)
"""What is still to be labelled."""


def from_params(params: Mapping[str, str]) -> Filter:
    """The filter of an address; parameters that are none of its words are other people's. Raises UsageError for a
    value that cannot be one."""
    found = {WORDS[word][0]: read(word, text) for word, text in params.items() if word in WORDS and text}
    return Filter.model_validate(found)


def from_line(line: str) -> Filter:
    """The filter of a line of text. Raises UsageError for an unknown word or a value that cannot be one."""
    try:
        parts = shlex.split(line)
    except ValueError as e:
        raise UsageError(f"the filter is not complete ({e})", where=line, code="filter.quotes",
                         what_to_do="Close every quote.") from e  # fmt: skip
    params: dict[str, str] = {}
    for part in parts:
        word, equals, value = part.partition("=")
        if not equals:
            params["q"] = f"{params['q']} {part}" if "q" in params else part
        elif word not in WORDS:
            raise UsageError(f"'{word}' is nothing to filter by", where=line, code="filter.word",
                             what_to_do=nearest(word, list(WORDS)))  # fmt: skip
        elif word == "q" or word not in params:
            params[word] = value
        else:
            raise UsageError(f"'{word}' is given twice", where=line, code="filter.twice",
                             what_to_do=f"Any of several: {word}=one,other")  # fmt: skip
    return from_params(params)


def read(word: str, text: str) -> Any:
    """The value of a field of the filter, as it is written in an address. Raises UsageError."""
    kind = WORDS[word][1]
    if kind == "text":
        return text
    if kind == "bool":
        if text not in ("yes", "no"):
            raise _wrong(word, text, f"{word}=yes or {word}=no")
        return text == "yes"
    if kind == "range":
        return _range(word, text)
    if kind == "place":
        column, _, row = text.partition("x")
        if not (column.isdecimal() and row.isdecimal() and int(column) < PLACES[0] and int(row) < PLACES[1]):
            raise _wrong(word, text, f"{word}=COLUMNxROW, below {PLACES[0]}x{PLACES[1]}")
        return Place(column=int(column), row=int(row))
    values = tuple(dict.fromkeys(_plain(part) for part in text.split(",") if part))
    for value in values:
        if word in KNOWN and value not in KNOWN[word]:
            raise _wrong(word, value or "none", nearest(value, [known or "none" for known in KNOWN[word]]))
    return values


def written(kind: str, value: Any) -> str:
    if kind == "list":
        return ",".join(_quoted(part) for part in value)
    if kind == "bool":
        return "yes" if value else "no"
    return f"{value.column}x{value.row}" if kind == "place" else str(value)


def number(value: float) -> str:
    """The shortest text that reads back as the same number."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def _range(word: str, text: str) -> Range:
    low, dots, high = text.partition("..")
    try:
        below = high.startswith("<")
        bounds = [float(bound) if bound else None for bound in (low, high.removeprefix("<") if dots else low)]
        return Range(low=bounds[0], high=bounds[1], open=below)
    except ValueError as e:
        raise _wrong(word, text, f"{word}=LOW..HIGH with LOW at most HIGH; either may be left out") from e


def _wrong(word: str, value: str, right: str) -> UsageError:
    return UsageError(f"{word} cannot be '{value}'", where=f"{word}={value}", code="filter.value", what_to_do=right)


def _quoted(value: str) -> str:
    if value in (NONE, "none"):
        return "none" if value == NONE else "%6Eone"
    return value.replace("%", "%25").replace(",", "%2C").replace("\n", "%0A")


def _plain(value: str) -> str:
    if value in ("none", "%6Eone"):
        return NONE if value == "none" else "none"
    return value.replace("%0A", "\n").replace("%2C", ",").replace("%25", "%")


# --- as SQL over the tables of `explore` ------------------------------------------------------------------------


def where(f: Filter) -> tuple[str, list[Any]]:
    """A condition on `samples`, and its parameters."""
    parts: list[str] = []
    values: list[Any] = []

    def add(part: str, *given: Any) -> None:
        parts.append(part)
        values.extend(given)

    for word in f.text.lower().split():
        add("contains(words, ?)", word)
    for column in ("status", "split", "origin", "design", "session", "side", "region"):
        if wanted := getattr(f, column):
            add(f"list_contains(?, coalesce({column}, '{NONE}'))", list(wanted))
    if f.cards:
        add("list_contains(?, card)", list(f.cards))
    for column in ("tags", "annotators"):
        if wanted := list(getattr(f, column)):
            add(f"(list_has_any({column}, ?) OR ({column} = [] AND list_contains(?, '{NONE}')))", wanted, wanted)
    if f.findings:
        add(f"(id IN (SELECT sample FROM findings WHERE list_contains(?, code)) OR"
            f" (list_contains(?, '{NONE}') AND id NOT IN (SELECT sample FROM findings)))", list(f.findings), list(f.findings))  # fmt: skip
    if f.blur_px is not None:
        part, given = _between("blur_px", f.blur_px)
        add(f"sha256 IN (SELECT sha256 FROM measures WHERE {part})", *given)
    for column in ("score", "shapes", "dpi"):
        if (bounds := getattr(f, column)) is not None:
            part, given = _between(column, bounds)
            add(part, *given)
    if f.excluded is not None:
        add(f"excluded IS {'NOT ' if f.excluded else ''}NULL")
    if f.conflict is not None:
        add("conflicts > 0" if f.conflict else "conflicts = 0")
    if f.ids:
        add("id IN (SELECT unnest(?))", list(f.ids))
    if f.classes or f.size_mm or f.place:
        part, given = _shape(f)
        bare = NONE in f.classes and not (f.size_mm or f.place)
        add(f"(id IN (SELECT sample FROM shapes WHERE {part}){' OR classes = []' if bare else ''})", *given)
    return " AND ".join(parts) or "true", values


def shape_where(f: Filter) -> tuple[str, list[Any]]:
    """The condition on a single row of `shapes` that the filter sets: class, size, place."""
    return _shape(f) if f.classes or f.size_mm or f.place else ("true", [])


def _shape(f: Filter) -> tuple[str, list[Any]]:
    parts: list[str] = []
    values: list[Any] = []
    if f.classes:
        parts.append("list_contains(?, label)")
        values.append(list(f.classes))
    if f.size_mm:
        part, given = _between("size_mm", f.size_mm)
        parts.append(part)
        values += given
    if f.place:
        parts.append("place = ?")
        values.append(f.place.row * PLACES[0] + f.place.column)
    return " AND ".join(parts), values


def _between(column: str, bounds: Range) -> tuple[str, Iterable[Any]]:
    both = ((">=", bounds.low), ("<" if bounds.open else "<=", bounds.high))
    parts = [f"{column} {sign} ?" for sign, bound in both if bound is not None]
    return " AND ".join(parts) or f"{column} IS NOT NULL", [bound for _, bound in both if bound is not None]


def order(sort: str) -> str:
    """`ORDER BY` of a sort's name. Raises UsageError for an unknown one."""
    name = sort.removeprefix("-")
    if name not in SORTS:
        raise UsageError(f"'{sort}' is nothing to sort by", code="filter.sort", what_to_do=nearest(name, list(SORTS)))
    back = sort.startswith("-")
    return f"{SORTS[name]} {'DESC' if back else 'ASC'} NULLS LAST, n"
