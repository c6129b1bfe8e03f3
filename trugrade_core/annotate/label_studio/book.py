"""What of a dataset is at Label Studio: `datasets/NAME/label_studio.json`, so that push and pull can be repeated."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from trugrade_core.data.store import Dataset
from trugrade_core.errors import LabelStudioError
from trugrade_core.workspace import locked, read_json, write_json

State = Literal["pushed", "pulled", "released"]


class Known(BaseModel):
    """One annotation as both sides last agreed on it: the lab's log entry, and the digest of what Label Studio had."""

    model_config = ConfigDict(extra="forbid")

    entry: str
    digest: str


class Work(BaseModel):
    """What one person did of a task, for progress: seconds as Label Studio counted them."""

    model_config = ConfigDict(extra="forbid")

    who: str
    seconds: float
    when: datetime


class Task(BaseModel):
    """`pushed` is read-only in the lab. `known` is by layer and annotation; `layers` is by user, and stays once it was
    given: whose work went into main, and who votes in which layer; `work` is by the server's annotation id."""

    model_config = ConfigDict(extra="forbid")

    id: int
    url: str
    state: State
    known: dict[str, dict[str, Known]] = {}
    layers: dict[int, str] = {}
    work: dict[str, Work] = {}

    @model_validator(mode="before")
    @classmethod
    def _of_before(cls, found: Any) -> Any:
        """A book of before `layers` says only which user's work went into main."""
        if not isinstance(found, dict) or "main_by" not in found:
            return found
        rest = {key: value for key, value in found.items() if key != "main_by"}
        return rest if found["main_by"] is None else {**rest, "layers": {found["main_by"]: "main"}}


class Book(BaseModel):
    """`pulled_to` is the server's time up to which changes were taken in."""

    model_config = ConfigDict(extra="forbid")

    url: str = ""
    project: int | None = None
    label_config: str = ""
    pulled_to: datetime | None = None
    samples: dict[str, Task] = {}


def _path(ds: Dataset) -> Path:
    return ds.path / "label_studio.json"


def read_book(ds: Dataset) -> Book:
    """Empty when nothing was ever pushed. Raises LabelStudioError for a damaged file."""
    try:
        return Book.model_validate(read_json(_path(ds)))
    except FileNotFoundError:
        return Book()
    except ValidationError as e:
        raise LabelStudioError(f"is not what the lab writes ({e.errors()[0]['msg']})", where=str(_path(ds)),
                               code="label_studio.book", what_to_do="Restore the file from a copy.") from e  # fmt: skip


def write_book(ds: Dataset, book: Book) -> None:
    write_json(_path(ds), book.model_dump(mode="json"))


@contextlib.contextmanager
def alone(ds: Dataset) -> Iterator[None]:
    """Held while a push or pull of the dataset runs; of two at once the second is refused."""
    with locked(ds.path / ".label_studio", wait=False) as held:
        if held is None:
            raise LabelStudioError("a push or pull of this dataset is running", where=ds.name,
                                   code="label_studio.busy", what_to_do="Wait for it to end.")  # fmt: skip
        yield
