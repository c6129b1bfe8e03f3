"""A stroke on a sample with many shapes costs what is new of it, and answers what the file says all the same."""

from __future__ import annotations

import pytest

from tests.annotate.conftest import Saver, box
from trugrade_core.annotate import indexes
from trugrade_core.annotate.indexes import log_of
from trugrade_core.annotate.saving import state_of
from trugrade_core.data.store import Dataset
from trugrade_core.errors import DatasetError
from trugrade_core.schema import Box


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The lines that were parsed since."""
    seen: list[bytes] = []
    real = indexes.parsed
    monkeypatch.setattr(indexes, "parsed", lambda kind, path, line: seen.append(line) or real(kind, path, line))
    return seen


def test_only_what_was_appended_is_parsed_again(ds: Dataset, ids: list[str], do: Saver, parsed: list[bytes]) -> None:
    for n in range(20):
        do(box(10, 10, 60 + n, 50))
    state_of(ds, ids[0])
    parsed.clear()
    do(box(10, 10, 30, 50))
    assert len(state_of(ds, ids[0]).shown) == 21
    assert len([line for line in parsed if b'"annotation"' in line]) == 1


def test_only_the_samples_read_last_are_kept(ds: Dataset, ids: list[str], do: Saver, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(indexes, "KEPT_SAMPLES", 2)
    for id in ids:
        do(box(10, 10, 60, 50), sample=id)
        state_of(ds, id)
    assert list(log_of(ds)._parsed) == ids[1:]
    assert len(state_of(ds, ids[0]).shown) == 1


def test_a_line_mended_or_damaged_in_place_is_read_as_it_is(ds: Dataset, ids: list[str], do: Saver) -> None:
    for right in (60, 70):
        do(box(10, 10, right, 50))
    state_of(ds, ids[0])

    def replace(old: bytes, new: bytes) -> None:
        assert len(old) == len(new) and ds.log_path.read_bytes().count(old) == 1
        at = ds.log_path.read_bytes().index(old)
        with ds.log_path.open("r+b") as f:
            f.seek(at)
            f.write(new)

    replace(b"10.0,60.0", b"10.0,61.0")
    assert state_of(ds, ids[0]).shown[0].value == Box(xyxy=(10, 10, 61, 50))
    replace(b"10.0,61.0", b'10.0,"6.0')
    with pytest.raises(DatasetError, match="line 1 was damaged"):
        state_of(ds, ids[0])
