"""The explorer's index against the slow truth, its filters, and what it says of damage."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data_room.explored import agree, box, make, opened, said, six
from trugrade_core.data import indexing, rle
from trugrade_core.data.explore import Explorer, Found, counts
from trugrade_core.data.filters import KNOWN, NONE, SORTS, WORDS, Filter, Place, Range, from_line, from_params, where
from trugrade_core.data.index_rows import bounds, place_of
from trugrade_core.data.store import Dataset
from trugrade_core.errors import DatasetError, UsageError, WorkspaceError
from trugrade_core.schema import (
    Box,
    Mask,
    Polygon,
    Score,
    Status,
    Tags,
)
from trugrade_core.workspace import Workspace


@pytest.fixture
def ds(ws: Workspace) -> Dataset:
    return six(ws)


def numbers(found: Explorer, f: Filter | str, sort: str = "arrival") -> list[int]:
    """Which samples of `ds` fit, by their number."""
    f = from_line(f) if isinstance(f, str) else f
    return [int(row.sample.main.sha256, 16) for row in found.page(f, sort=sort, size=100).rows]


# --- the index is the truth ---------------------------------------------------------------------------------------


VALUES = st.one_of(
    st.builds(box, st.integers(0, 500), st.integers(0, 700)),
    st.builds(lambda s: Score(score=s), st.integers(1, 10)),
    st.builds(lambda t: Tags(tags=tuple(t)), st.lists(st.sampled_from(["x", "y"]), unique=True, max_size=2)),
    st.just(Status(status="done")),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("sample"), st.integers(0, 3), st.sampled_from(["done", "unlabelled", "rescan"]),
                  st.sampled_from([None, "train", "val"]), st.sampled_from([(), ("t",)])),
        # annotation, what it replaces (an entry of before, one that comes later, or none), layer, whether it deletes
        st.tuples(st.sampled_from(["entry", "entry", "settles"]), st.integers(0, 3), st.integers(0, 5), st.integers(-3, 12) | st.none(),
                  st.sampled_from(["main", "main", "aiko"]), st.booleans(), VALUES),
        st.tuples(st.just("torn"), st.sampled_from(["samples", "log"])),
        st.tuples(st.just("look")),
        st.tuples(st.just("reopen")),
    ),
    max_size=25,
)  # fmt: skip


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=STEPS)
def test_whatever_is_appended_the_index_says_what_the_files_say(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Any, ...]]
) -> None:
    ds = Dataset.create(Workspace.open(tmp_path_factory.mktemp("w") / "w"), "d")
    found = opened(ds)
    samples = [make(n) for n in range(4)]
    ids = [f"{n:026d}" for n in range(40)]  # of entries, also those that are only replaced
    written = 0
    for kind, *step in steps:
        if kind == "sample":
            number, status, split, tags = step
            ds.put_samples([samples[number].model_copy(update={"status": status, "split": split, "tags": tags})])
        elif kind in ("entry", "settles"):
            number, annotation, replaces, layer, deletes, value = step
            entry = said(samples[number], f"{layer}-{number}-{annotation}", value, "c", layer=layer)
            written += 0 if kind == "settles" else 1  # one entry stands once for each that it replaces
            other = None if replaces is None else ids[max(0, written - replaces)]
            ds.append([entry.model_copy(update={"entry": ids[written], "replaces": other,
                                                **({"op": "delete", "value": None} if deletes else {})})])  # fmt: skip
        elif kind == "torn":
            with (ds.samples_path if step[0] == "samples" else ds.log_path).open("ab") as f:
                f.write(b'{"id": "cut o')
        elif kind == "look":
            found.refresh()
            agree(found, ds)
        else:
            found._save()
            found = opened(ds)
    found.refresh()
    agree(found, ds)
    again = opened(ds)
    agree(again, ds)
    assert found.total() == again.total() == len({step[1] for step in steps if step[0] == "sample"})


def test_a_line_without_its_end_is_not_taken_before_it_is_whole(ds: Dataset) -> None:
    found = opened(ds)
    line = make(9).model_dump_json().encode()
    with ds.samples_path.open("ab") as f:
        f.write(line[:40])
    found.refresh()
    assert found.total() == 6
    with ds.samples_path.open("ab") as f:
        f.write(line[40:] + b"\n")
    found.refresh()
    assert found.total() == 7


@pytest.mark.parametrize(
    ("file", "line", "words"),
    [
        ("samples.jsonl", b'{"id": "x"}\n', "line 7 was damaged"),
        ("samples.jsonl", b'{"no": "id"}\n', "line 7 was damaged"),
        ("samples.jsonl", b'{"id": 5}\n', "line 7 was damaged"),
        ("annotations.jsonl", b'{"entry": "x"}\n', "line 8 was damaged"),
        ("annotations.jsonl", b"5\n", "line 8 was damaged"),
    ],
)
def test_a_damaged_line_is_named_and_the_index_stays_as_it_was(ds: Dataset, file: str, line: bytes, words: str) -> None:
    found = opened(ds)
    whole = (ds.path / file).read_bytes()
    (ds.path / file).write_bytes(whole + line)
    for again in (found, Explorer(ds)):
        with pytest.raises(DatasetError, match=words) as e:
            again.refresh()
        assert e.value.where == str(ds.path / file)
    assert found.total() == 6
    (ds.path / file).write_bytes(whole)  # mended
    found.refresh()
    agree(found, ds)


def test_a_put_without_a_value_is_named(ds: Dataset) -> None:
    entry = json.loads(said(make(0), "z", box(1, 1)).model_dump_json()) | {"value": None}
    with ds.log_path.open("a") as f:
        f.write(json.dumps(entry) + "\n")
    with pytest.raises(DatasetError, match="a put without a value"):
        opened(ds)


def test_a_file_that_is_another_one_is_read_from_the_start(ds: Dataset) -> None:
    found = opened(ds)
    entries = ds.log_path.read_bytes().splitlines(keepends=True)
    ds.log_path.write_bytes(b"".join(entries[:3]))  # shorter: somebody put a copy back
    found.refresh()
    agree(found, ds)
    longer = [line.replace(b"scratch", b"crease!") for line in entries]
    ds.log_path.write_bytes(b"".join(longer + longer[:0]))
    ds.append([said(make(3), "new", box(5, 5), "dent")])
    found.refresh()
    agree(found, ds)
    agree(opened(ds), ds)
    assert found.total() == 6 and numbers(found, "class=scratch") == [] and numbers(found, "class=crease!") == [0, 2]


@pytest.mark.parametrize("content", [b"", b"garbage", b"x" * 20_000])
def test_a_cache_that_cannot_be_read_is_made_again(ds: Dataset, content: bytes) -> None:
    found = opened(ds)
    found.path.write_bytes(content)
    again = opened(ds)
    agree(again, ds)
    assert again.total() == 6 and again.path.read_bytes() != content


def test_a_cache_that_lacks_a_table_is_made_again(ds: Dataset) -> None:
    kept = opened(ds).path
    with duckdb.connect(str(kept)) as con:
        con.execute("DROP TABLE shapes")
    agree(opened(ds), ds)


HEAD, BLOCK = 3 * 4096, 1 << 18
"""Bytes of DuckDB's files: the head, then blocks with a checksum each."""


def test_a_cache_with_a_damaged_block_is_said_at_most_once_and_made_again(ds: Dataset) -> None:
    kept = opened(ds).path
    whole = kept.read_bytes()
    told = 0
    for start in range(HEAD, len(whole), BLOCK):
        kept.write_bytes(
            whole[: start + 8] + bytes(b ^ 0xFF for b in whole[start + 8 : start + 4096]) + whole[start + 4096 :]
        )
        found = opened(ds)
        try:
            found.statistics(Filter()), found.page(Filter())
        except WorkspaceError as e:
            told += 1
            assert e.message == "the index of the samples was damaged" and e.where == str(kept)
            found.refresh()
        agree(found, ds)
    assert told


def test_a_damaged_cache_is_made_again_where_something_is_added(ds: Dataset) -> None:
    kept = opened(ds).path
    whole = kept.read_bytes()
    for n, start in enumerate(range(HEAD, len(whole), BLOCK)):
        kept.write_bytes(
            whole[: start + 8] + bytes(b ^ 0xFF for b in whole[start + 8 : start + 4096]) + whole[start + 4096 :]
        )
        found = Explorer(ds)
        ds.put_samples([make(10 + n)])
        found.refresh()
        agree(found, ds)


def test_learning_that_fails_leaves_the_index_usable(ds: Dataset) -> None:
    found = opened(ds)
    with pytest.raises(duckdb.Error):
        found._learn("DELETE FROM no_such_table", "findings", pa.table({"sample": ["x"]}))
    found.know_findings([(make(0).id, "label.empty", "warning")])
    assert numbers(found, "finding=label.empty") == [0]
    assert found.con.execute("SELECT count(*) FROM duckdb_views() WHERE view_name = 'known'").fetchall() == [(0,)]


@pytest.mark.parametrize("kind", [duckdb.BinderException, duckdb.OutOfMemoryException])
def test_an_error_of_ours_is_not_taken_for_a_damaged_file(ds: Dataset, kind: type[duckdb.Error], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    opened(ds)
    found = opened(ds)  # asks the kept file
    with pytest.raises(kind), found.asking():
        raise kind("ours")
    assert found.total() == 6
    tried: list[bool] = []

    def fails(goes_on: bool, told: object) -> None:
        tried.append(goes_on)
        raise kind("ours")

    ds.put_samples([make(9)])
    monkeypatch.setattr(found, "_take_in", fails)
    with pytest.raises(kind):
        found.refresh()
    assert tried == [True]


def test_a_place_that_takes_no_cache_is_done_without(ds: Dataset) -> None:
    ds.ws.cache.mkdir(exist_ok=True)
    (ds.ws.cache / "explore").write_text("in the way")
    agree(opened(ds), ds)
    assert counts(ds)["samples"] == 6


def test_what_is_kept_is_asked_where_it_lies_until_there_is_more(ds: Dataset) -> None:
    opened(ds)
    again, reader = opened(ds), opened(ds)
    tables = "SELECT count(*) FROM duckdb_tables() WHERE database_name = 'memory' AND table_name IN ('samples', 'shapes', 'heads')"
    assert again.con.execute(tables).fetchall() == [(0,)]
    agree(again, ds)
    with again.asking() as ask:
        assert ask.execute("SELECT count(*) FROM samples").fetchall() == [(6,)]
        again.path.unlink()  # a cache may be removed at any time
        ds.put_samples([make(7)])
        again.refresh()
        assert len(ask.execute("SELECT id, words FROM samples").fetchall()) == 6  # as it was when this one asked
    assert again.con.execute(tables).fetchall() == [(3,)]
    agree(again, ds)
    assert reader.total() == 6
    reader.refresh()
    agree(reader, ds)


def test_another_file_that_is_damaged_leaves_what_was_there(ds: Dataset) -> None:
    found = opened(ds)
    whole = ds.log_path.read_bytes()
    ds.log_path.write_bytes(b'{"entry": "x"}\n' + whole)
    for again in (found, Explorer(ds)):
        with pytest.raises(DatasetError, match="line 1 was damaged"):
            again.refresh()
        assert again.total() == 6 and again.ids(from_line("class=scratch")) == [make(0).id, make(2).id]
    ds.log_path.write_bytes(whole)
    found.refresh()
    agree(found, ds)


def test_a_line_mended_in_place_is_taken(ds: Dataset) -> None:
    with ds.log_path.open("ab") as f:
        f.write(b'{"torn\n')
    found = opened(ds)
    mended = said(make(3), "z", box(5, 5), "dent").model_dump_json().encode() + b"\n"
    ds.log_path.write_bytes(ds.log_path.read_bytes().replace(b'{"torn\n', mended))
    found.refresh()
    agree(found, ds)
    assert 3 in numbers(found, "class=dent")


def test_a_removed_dataset_that_is_made_again_is_not_taken_for_the_old_one(ds: Dataset) -> None:
    opened(ds)
    ds.ws.to_trash(ds.path)
    new = Dataset.create(ds.ws, "d")
    new.put_samples([make(7)])
    assert numbers(opened(new), "") == [7]


def test_a_second_process_reads_on_from_what_the_first_kept(ds: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(ds)
    read: list[int] = []
    real = indexing.complete_lines
    monkeypatch.setattr(indexing, "complete_lines", lambda path, start: (read.append(start), real(path, start))[1])
    ds.append([said(make(3), "new", box(5, 5), "dent")])
    size = ds.samples_path.stat().st_size
    agree(opened(ds), ds)
    assert read[0] == size and 0 < read[1] < ds.log_path.stat().st_size


def test_the_first_reading_says_how_far_it_is(ds: Dataset) -> None:
    told: list[tuple[int, int, str]] = []
    Explorer(ds).refresh(lambda *step: told.append(step))
    assert [text for _, _, text in told] == ["Reading samples", "Reading the log", "Counting what is drawn"]
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert told[-1][0] == told[-1][1] > 0


def test_counting_a_dataset_for_the_list_keeps_up(ds: Dataset) -> None:
    assert counts(ds) == {"samples": 6, "cards": 3, "labelled": 3, "synthetic": 1}
    ds.put_samples([make(9, status="done")])
    for _ in range(2):  # the second from the cache
        assert counts(ds) == {"samples": 7, "cards": 4, "labelled": 4, "synthetic": 1}
    with ds.samples_path.open("ab") as f:
        f.write(b'{"id": "x"}\n')
    with pytest.raises(DatasetError, match="line 8 was damaged"):
        counts(ds)


# --- filters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "fits"),
    [
        ("", [0, 1, 2, 3, 4, 5]),
        ("class=scratch", [0, 2]),
        ("class=scratch,crease", [0, 2]),
        ("class=none", [3, 4]),
        ("class=none,dent", [0, 1, 3, 4, 5]),
        ("status=done", [0, 1, 3]),
        ("split=none", [2, 3, 4, 5]),
        ("split=val,train", [0, 1]),
        ("origin=synthetic", [2]),
        ("tag='to check'", [1]),
        ("tag='a%2C b'", [1]),
        ("tag=none", [0, 2, 3, 4, 5]),
        ("annotator=tomek", [0]),
        ("annotator=maria status=done", [0, 1]),
        ("annotator=none", [3, 4]),
        ("card=card-1", [2, 3]),
        ("design=holo", [1]),
        ("session=monday,none", [0, 1, 2, 3, 4, 5]),
        ("side=back", [2]),
        ("score=7..", [1]),
        ("score=7.5", [1]),
        ("score=7.5..7.5", [1]),
        ("score=..", [1]),
        ("score=..<7.5", []),
        ("size=0.9..1.1", [0, 1]),
        ("size=0.9..1.1 class=dent", [1]),
        ("shapes=2..", [0]),
        ("shapes=0..0", [2, 3, 4]),
        ("dpi=300..", []),
        ("dpi=..300", [0, 1, 2, 3, 4]),
        ("place=0x0", [0, 5]),
        ("place=8x11", [0, 1]),
        ("place=8x11 class=scratch", []),
        ("excluded=yes", [4]),
        ("excluded=no status=unlabelled", [2, 5]),
        ("conflict=no", [0, 1, 2, 3, 4, 5]),
        ("conflict=yes", []),
        ("CARD 02", [2]),
        ("scans png", [0, 1, 2, 3, 4, 5]),
        ("nothing of it", []),
    ],
)
def test_a_filter_fits_what_it_says(ds: Dataset, line: str, fits: list[int]) -> None:
    found = opened(ds)
    assert numbers(found, line) == fits
    assert found.count(from_line(line)) == len(fits)
    assert found.statistics(from_line(line))["samples"] == len(fits)


@pytest.mark.parametrize("dpi", [96.0, 254.0, 300.0, 600.0, 1200.0, 2400.0])
@pytest.mark.parametrize("mm", [0.05, 0.1, 0.5, 0.7, 1.0, 10.0])
def test_a_size_in_mm_is_met_at_its_edges(ws: Workspace, dpi: float, mm: float) -> None:
    ds = Dataset.create(ws, "edges")
    sample = make(1, dpi=dpi)
    ds.put_samples([sample])
    side = mm * dpi / 25.4
    ds.append([said(sample, "a", Box(xyxy=(33.3, 41.7, 33.3 + side, 41.7 + side / 3)), "scratch")])
    found = opened(ds)
    for size, fits in ((f"{mm}..", 1), (f"..{mm}", 1), (f"{mm}", 1), (f"..<{mm}", 0), (f"{mm}..<{mm * 2}", 1),
                       (f"{mm * 1.0001}..", 0), (f"..{mm * 0.9999}", 0)):  # fmt: skip
        assert found.count(from_line(f"size={size}")) == fits, size


@pytest.mark.parametrize("name", ["none", "%6Eone", "None", "a\rb", "a\tb", "a\x00b", "a\x85b", "\u2028", " x ", " ", "%2C", "%", "%0a", "'",
                                  '"', "\\", "a\nb", "a=b", "..", "\x1f", "a,b", "<b>", "&amp;", "Łódź", "🂡", "$x$", "'; DROP"])  # fmt: skip
def test_any_name_is_found_by_its_address_and_it_alone(ds: Dataset, name: str) -> None:
    named = make(8, tags=(name,), design=name, session=name, side=name, card=name)
    ds.put_samples([named, make(9, tags=("other",), design="other", session="other", side="other", card="other")])
    ds.append([said(named, "n", box(5, 5), name, who=name)])
    found = opened(ds)
    found.know_findings([(named.id, name, "info")])
    for word in ("tag", "design", "session", "side", "card", "class", "annotator", "finding"):
        f = Filter.model_validate({WORDS[word][0]: (name,)})
        assert from_params(f.params()) == from_line(f.line()) == f
        assert numbers(found, f) == [8], word
        either = Filter.model_validate({WORDS[word][0]: (name, NONE)})
        assert from_params(either.params()) == either
        assert 8 in numbers(found, either) and from_line(f"{word}=none") != f


def test_ids_of_an_address_are_those_samples(ds: Dataset) -> None:
    found = opened(ds)
    wanted = [make(4).id, make(1).id]
    assert numbers(found, from_params({"ids": ",".join(wanted), "dataset": "d", "view": "browse"})) == [1, 4]
    assert numbers(found, from_params({"ids": "no-such-sample"})) == []


def test_conflicts_are_found_by_the_filter_and_gone_when_settled(ds: Dataset) -> None:
    found = opened(ds)
    sample = make(0)
    first = next(e for e in ds.log() if e.annotation == "b")
    theirs, ours = (
        said(sample, "b", box(x, 110), "scratch", replaces=first.entry, who=who)
        for x, who in ((1, "maria"), (2, "tomek"))
    )
    ds.append([theirs, ours])
    found.refresh()
    assert numbers(found, "conflict=yes") == [0]
    settled = said(sample, "b", box(3, 110), "scratch", replaces=theirs.entry)
    ds.append([settled])
    found.refresh()
    assert numbers(found, "conflict=yes") == [0]  # one of the two is still unreplaced
    ds.append([said(sample, "b", box(3, 110), "scratch", replaces=ours.entry).model_copy(update={"op": "put"})])
    found.refresh()
    agree(found, ds)


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("back", ["", "-"])
def test_every_order_has_each_sample_once_and_what_has_no_value_last(ds: Dataset, sort: str, back: str) -> None:
    found = opened(ds)
    pages = [found.page(Filter(), sort=back + sort, number=n, size=2) for n in (1, 2, 3)]
    ids = [row.sample.id for page in pages for row in page.rows]
    assert sorted(ids) == sorted(found.ids(Filter()))
    assert [page.pages for page in pages] == [3, 3, 3]
    column = SORTS[sort]
    values = dict(found.con.execute(f"SELECT id, {column} FROM samples").fetchall())
    inner = [values[id] for id in ids if values[id] is not None]
    assert inner == sorted(inner, reverse=bool(back))
    assert [values[id] for id in ids][: len(inner)] == inner
    assert found.ids(Filter(), back + sort) == ids


def test_a_page_beyond_the_last_is_the_last(ds: Dataset) -> None:
    found = opened(ds)
    page = found.page(Filter(), number=99, size=4)
    assert (page.total, page.number, page.pages, len(page.rows)) == (6, 2, 2, 2)
    nothing = found.page(from_line("card=none-such"), number=2)
    assert (nothing.total, nothing.number, nothing.rows) == (0, 1, ())


def test_a_sample_knows_who_stands_beside_it_inside_the_filter(ds: Dataset) -> None:
    found = opened(ds)
    ids = [make(n).id for n in (0, 1, 3)]
    f = from_line("status=done")
    beside = [found.neighbours(f, "arrival", id) for id in ids]
    assert [(n.at, n.total, n.before, n.after) for n in beside if n] == [
        (1, 3, None, ids[1]), (2, 3, ids[0], ids[2]), (3, 3, ids[1], None),
    ]  # fmt: skip
    assert found.neighbours(f, "arrival", make(2).id) is None


def test_a_row_carries_the_sample_with_what_is_said_of_it(ds: Dataset) -> None:
    found = opened(ds)
    (row,) = found.get([make(1).id, "no-such-sample"])
    assert isinstance(row, Found) and row.sample == ds.samples()[make(1).id]
    assert list(row.annotations) == ds.annotations()[row.sample.id]
    assert (row.score, row.annotators, row.conflicts) == (7.5, ("maria", "aiko"), 0)
    assert row.changed is not None
    assert abs((datetime.now(UTC).replace(tzinfo=None) - row.changed).total_seconds()) < 600


NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
RANGES = st.builds(
    lambda low, high, open: Range(low=low, high=high, open=open and high is not None),
    st.none() | st.floats(-1e6, 1e6), st.none() | st.floats(1e6, 1e9), st.booleans(),
)  # fmt: skip


def _field(word: str) -> st.SearchStrategy[Any]:
    kind = WORDS[word][1]
    if kind == "list":
        return st.lists(st.sampled_from(KNOWN[word]) if word in KNOWN else NAMES, unique=True, max_size=3).map(tuple)
    return {
        "text": st.just("") | NAMES,
        "range": st.none() | RANGES,
        "bool": st.none() | st.booleans(),
        "place": st.none() | st.builds(Place, column=st.integers(0, 8), row=st.integers(0, 11)),
    }[kind]


FILTERS = st.fixed_dictionaries({}, optional={name: _field(word) for word, (name, _) in WORDS.items()})


@settings(max_examples=150)
@given(FILTERS.map(lambda fields: Filter(**fields)))
def test_a_filter_reads_back_from_its_address_and_from_its_line(f: Filter) -> None:
    assert from_params(f.params()) == f
    assert from_line(f.line()) == f
    condition, values = where(f)
    assert condition.count("?") == len(values)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=FILTERS)
def test_every_filter_can_be_asked(ds: Dataset, fields: dict[str, Any]) -> None:
    found = _once(ds)
    f = Filter(**fields)
    assert found.count(f) == len(found.ids(f)) == found.statistics(f)["samples"]


_OPEN: dict[Path, Explorer] = {}


def _once(ds: Dataset) -> Explorer:
    if ds.path not in _OPEN:
        _OPEN[ds.path] = opened(ds)
    return _OPEN[ds.path]


@pytest.mark.parametrize(
    ("line", "words", "todo"),
    [
        ("classs=dent", "'classs' is nothing to filter by", "did you mean 'class'?"),
        ("status=finished", "status cannot be 'finished'", "known: unlabelled"),
        ("split=training", "split cannot be 'training'", "did you mean 'train'?"),
        ("score=high", "score cannot be 'high'", "score=LOW..HIGH"),
        ("score=9..7", "score cannot be '9..7'", "LOW at most HIGH"),
        ("score=nan..", "score cannot be 'nan..'", "score=LOW..HIGH"),
        ("place=9x0", "place cannot be '9x0'", "below 9x12"),
        ("excluded=maybe", "excluded cannot be 'maybe'", "excluded=yes or excluded=no"),
        ("class=a class=b", "'class' is given twice", "class=one,other"),
        ("tag='open", "the filter is not complete", "Close every quote"),
    ],
)
def test_a_filter_that_means_nothing_says_what_would(line: str, words: str, todo: str) -> None:
    with pytest.raises(UsageError) as e:
        from_line(line)
    assert words in e.value.message and todo in e.value.what_to_do


def test_an_unknown_order_is_refused_with_the_nearest(ds: Dataset) -> None:
    with pytest.raises(UsageError, match="'-sice' is nothing to sort by") as e:
        opened(ds).page(Filter(), sort="-sice")
    assert e.value.what_to_do == "did you mean 'size'?"


# --- what the samples are like ------------------------------------------------------------------------------------


def test_statistics_count_samples_and_shapes(ds: Dataset) -> None:
    found = opened(ds).statistics(Filter())
    assert {k: found[k] for k in ("samples", "cards", "labelled", "excluded", "conflicts", "shapes", "without_dpi")} == {
        "samples": 6, "cards": 3, "labelled": 3, "excluded": 1, "conflicts": 0, "shapes": 5, "without_dpi": 1,
    }  # fmt: skip
    assert found["classes"] == [("dent", 3, 3), ("scratch", 2, 2), ("border", 1, 1), ("crease", 1, 1)]
    assert found["status"] == [("done", 3), ("unlabelled", 3)]
    assert found["split"] == [("train", 1), ("val", 1), (None, 4)]
    assert found["design"] == [("holo", 1), (None, 5)]
    assert found["score"] == [(7.5, 1)] and found["dpi"] == [(254.0, 5)]
    assert found["tags"] == [("a, b", 1), ("to check", 1)]
    assert found["annotators"] == [("maria", 4), ("aiko", 1), ("tomek", 1)]
    # 40, 1, 0.5 and 0.95 mm; one has no resolution
    assert dict(zip(found["size_mm"]["edges"], found["size_mm"]["counts"], strict=True)) == {
        0.0: 0, 0.02: 0, 0.05: 0, 0.1: 0, 0.2: 0, 0.5: 2, 1.0: 1, 2.0: 0, 5.0: 0, 10.0: 0, 20.0: 1, 50.0: 0, 100.0: 0,
    }  # fmt: skip
    assert sum(found["place"]) == 4 and found["place"][0] == 2 and found["place"][-1] == 2


def test_statistics_of_a_class_count_its_shapes_alone_in_sizes_and_places(ds: Dataset) -> None:
    found = opened(ds).statistics(from_line("class=scratch"))
    assert sum(found["size_mm"]["counts"]) == 1 and found["size_mm"]["median"] == pytest.approx(1.0)
    assert sum(found["place"]) == 1
    assert ("dent", 1, 1) in found["classes"]  # what else lies on these samples is still told


def test_each_bar_of_sizes_opens_what_it_counted(ds: Dataset) -> None:
    found = opened(ds)
    sizes = found.statistics(Filter())["size_mm"]
    for low, high, n in zip(sizes["edges"], [*sizes["edges"][1:], None], sizes["counts"], strict=True):
        f = Filter(size_mm=Range(low=low, high=high, open=high is not None))
        assert sum(found.statistics(f)["size_mm"]["counts"]) == n


def test_each_cell_of_the_map_opens_what_it_counted(ds: Dataset) -> None:
    found = opened(ds)
    places = found.statistics(Filter())["place"]
    for cell, n in enumerate(places):
        f = Filter(place=Place(column=cell % 9, row=cell // 9))
        assert sum(found.statistics(f)["place"]) == n


def test_what_can_be_filtered_by_is_listed_the_most_frequent_first(ds: Dataset) -> None:
    values = opened(ds).values()
    assert values["classes"] == ["dent", "scratch", "border", "crease"]
    assert values["annotators"] == ["maria", "aiko", "tomek"]
    assert values["tags"] == ["a, b", "to check"]
    assert (values["design"], values["session"], values["side"]) == (["holo"], ["monday"], ["back"])


def test_what_checks_found_can_be_filtered_by(ds: Dataset) -> None:
    found = opened(ds)
    before = found.generation
    blurred, twice = make(1), make(2)
    found.know_findings([("gone", "old", "error")])
    found.know_findings(
        [(blurred.id, "blurred", "warning"), (twice.id, "duplicate", "error"), (twice.id, "blurred", "info")]
    )
    found.know_blur({blurred.main.sha256: 0.1})
    found.know_blur({blurred.main.sha256: 2.4, make(3).main.sha256: 0.9})
    assert found.generation > before
    assert numbers(found, "finding=blurred") == [1, 2]
    assert numbers(found, "finding=none") == [0, 3, 4, 5]
    assert found.get([twice.id])[0].findings == ("blurred", "duplicate")
    assert found.statistics(Filter())["findings"] == [("blurred", 2), ("duplicate", 1)]
    assert numbers(found, "blur=2..") == [1]
    assert sum(found.statistics(Filter())["blur_px"]["counts"]) == 2
    found.know_findings([])
    assert numbers(found, "finding=none") == [0, 1, 2, 3, 4, 5]


@settings(max_examples=40)
@given(st.integers(1, 9), st.integers(1, 9), st.randoms(use_true_random=False))
def test_the_box_of_a_mask_is_that_of_its_pixels(height: int, width: int, rng: Any) -> None:
    pixels = np.array([[rng.random() < 0.25 for _ in range(width)] for _ in range(height)])
    ys, xs = np.nonzero(pixels)
    expected = (xs.min() - 0.5, ys.min() - 0.5, xs.max() + 0.5, ys.max() + 0.5) if len(xs) else None
    assert bounds(rle.encode(pixels)) == expected


def test_shapes_without_a_place_have_none() -> None:
    assert bounds(Score(score=3)) is None
    assert bounds(Mask(counts="not run lengths", size_hw=(5, 5))) is None
    assert bounds(Polygon(points=((1, 5), (4, 2), (3, 9)))) == (1, 2, 4, 9)
    assert place_of((10, 10, 12, 12), (50, 50, 90, 90)) is None
    assert place_of((10, 10, 12, 12), (50, 50, 50, 90)) is None
    assert place_of((9, 9, 11, 11), (10, 10, 20, 20)) == 0


Shapes = Callable[..., Any]


def test_places_are_those_on_the_card_where_its_outline_is_drawn(ds: Dataset) -> None:
    found = opened(ds)
    rows = dict(found.con.execute("SELECT label, place FROM shapes WHERE sample = ?", [make(0).id]).fetchall())
    assert rows["border"] is None  # the outline itself
    assert rows["scratch"] == 0 and rows["dent"] == 9 * 12 - 1  # both near a corner of the outline, not of the scan
