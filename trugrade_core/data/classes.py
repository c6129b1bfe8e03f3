"""From a source's class names to the dataset's, in an order that never changes."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import replace

from trugrade_core.data.formats.base import ImportOptions, Label, Reading
from trugrade_core.data.store import Dataset
from trugrade_core.errors import UsageError, nearest
from trugrade_core.schema import ClassDef

LONGEST_CLASS = 100


def check_class_name(name: str, others: Iterable[str]) -> str:
    """A new class's name as it is kept (composed characters, no space at its ends): any one line of characters that
    can be seen. Raises UsageError, also for one that is among `others` or differs from one in case alone."""
    found = unicodedata.normalize("NFC", name).strip()
    if not found or len(found) > LONGEST_CLASS or not found.isprintable():
        why = (
            "it is empty"
            if not found
            else f"it has {len(found)} characters"
            if len(found) > LONGEST_CLASS
            else "it holds characters that cannot be seen"
        )
        raise UsageError(f"'{found[:60]}' cannot be the name of a class: {why}", code="class.name",
                         what_to_do=f"Use one line of 1 to {LONGEST_CLASS} characters.")  # fmt: skip
    for other in others:
        if _plain(other) == _plain(found):
            how = "is a class already" if other == found else f"is too much like the class '{other}'"
            raise UsageError(f"'{found}' {how}", code="class.exists",
                             what_to_do="Choose another name, or merge the two: trugrade data classes merge.")  # fmt: skip
    return found


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold().strip()


class ClassNames:
    """Their class names to ours, and ours in order: those of the dataset first, new ones behind them."""

    def __init__(self, options: ImportOptions, reading: Reading, known: tuple[str, ...]) -> None:
        self.mapping = dict(options.mapping)
        self.notes: list[str] = []
        wanted = [self.mapping.get(name, name) for name in options.classes or ()]
        theirs = reading.classes or []
        if (
            wanted
            and theirs
            and len(wanted) == len(theirs)
            and not {self.mapping.get(t, t) for t in theirs} & set(wanted)
        ):
            self.mapping |= dict(zip(theirs, wanted, strict=True))
            self.notes.append(
                "classes taken by their order: " + ", ".join(f"{t} is {o}" for t, o in zip(theirs, wanted, strict=True))
            )
        self.allowed = set(wanted)
        declared = wanted or [self.mapping.get(name, name) for name in theirs]
        self.known = list(dict.fromkeys([*known, *declared]))
        self.before = set(known)
        self.shapes: dict[str, str] = {}
        if known and declared and self.known[: len(declared)] != declared:
            order = ", ".join(f"{i} {name}" for i, name in enumerate(self.known, 1))
            self.notes.append(f"class ids are the dataset's: {order}")
        for name in options.mapping:
            if theirs and name not in theirs and name not in (options.classes or ()):
                self.notes.append(f"--map {name}=…: there is no class '{name}' here; {nearest(name, theirs)}")

    def ours(self, label: Label) -> tuple[Label | None, str]:
        """The label under our name, or None; and why something of it was refused, or ''."""
        if label.name is None:
            if label.value.type != "tags":
                return label, ""
            tags = [self.mapping.get(tag, tag) for tag in label.value.tags]
            good = tuple(tag for tag in tags if self._take(tag, "tags"))
            refused = [tag for tag in tags if tag not in good]
            value = label.value.model_copy(update={"tags": good})
            return replace(label, value=value) if good else None, self._unknown(refused[0]) if refused else ""
        name = self.mapping.get(label.name, label.name)
        if not self._take(name, label.value.type):
            return None, self._unknown(name)
        return replace(label, name=name), ""

    def _take(self, name: str, shape: str) -> bool:
        if self.allowed and name not in self.allowed:
            return False
        self.shapes.setdefault(name, shape)
        if name not in self.known:
            self.known.append(name)
        return True

    def _unknown(self, name: str) -> str:
        return f"class '{name}' is not among {', '.join(sorted(self.allowed))} (--map {name}=… gives it another name)"

    def declare(self, ds: Dataset) -> None:
        """Write the classes met so far, before any label that names them."""
        ds.add_classes(
            ClassDef.model_validate({"name": name, "shape": self.shapes.get(name, "box")}) for name in self.known
        )

    def settle(self, ds: Dataset) -> None:
        """Write the classes, those new in this import with the shape of their first label."""
        self.declare(ds)
        with ds.lock():
            found = [
                c.model_copy(update={"shape": self.shapes[c.name]})
                if c.name in self.shapes and c.name not in self.before
                else c
                for c in ds.classes
            ]
            if tuple(found) != ds.classes:
                ds.note_facts(classes=[c.model_dump() for c in found])
