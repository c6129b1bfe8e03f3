"""What is next, who is where, and where a person left off."""

from __future__ import annotations

from tests.annotate.conftest import Saver, box
from trugrade_core.annotate import queue
from trugrade_core.annotate.saving import Decision, Op
from trugrade_core.data.store import Dataset
from trugrade_core.schema import Status


def test_next_and_previous_stay_within_the_filter(ids: list[str]) -> None:
    assert queue.step(ids, ids[0], 1) == ids[1] and queue.step(ids, ids[0], -1) is None
    assert queue.step(ids, ids[2], 1) is None and queue.step([], "x", 1) is None
    assert queue.step(ids, "gone", 1) == ids[0]


def test_next_unlabelled_goes_round_and_leaves_out_what_is_done_or_open_elsewhere(
    ds: Dataset, ids: list[str], do: Saver
) -> None:
    assert queue.next_unlabelled(ds, ids, after=ids[2], browser="mine", who="ana") == ids[0]
    do(status=Status(status="done"))
    queue.is_here(ds, ids[1], "ben 🙂/..", browser="other")
    assert queue.counts(ds, ids) == {"done": 1, "unlabelled": 2}
    assert queue.next_unlabelled(ds, ids, after="", browser="mine", who="ana") == ids[2]
    assert queue.next_unlabelled(ds, ids, after=ids[2], browser="mine", who="ana") is None
    assert (
        queue.next_unlabelled(ds, ids, after=ids[2], browser="other", who="ana") == ids[1]
    )  # it is the one who has it


def test_others_are_named_until_they_have_been_silent_for_long(ds: Dataset, ids: list[str], monkeypatch) -> None:  # type: ignore[no-untyped-def]
    assert queue.is_here(ds, ids[0], "ana", browser="a") == {}
    assert queue.is_here(ds, ids[0], "ben", browser="b") == {ids[0]: ["ana"]}
    assert queue.is_here(ds, ids[1], "ana", browser="a") == {ids[0]: ["ben"]}  # one browser, one sample
    later = queue.time.time() + queue.OPEN_S + 1
    monkeypatch.setattr(queue.time, "time", lambda: later)
    assert queue.open_elsewhere(ds, "c") == {}


def test_a_presence_file_that_cannot_be_read_counts_as_empty(ds: Dataset, ids: list[str]) -> None:
    queue.is_here(ds, ids[0], "ana", browser="a")
    path = ds.ws.cache / "presence" / "cards.json"
    for text in ("", "[]", '{"a": 3}', '{"a": {"t": "x"}}'):
        path.write_text(text)
        assert queue.open_elsewhere(ds, "b") == {}
    assert queue.is_here(ds, ids[0], "ben", browser="b") == {}


def test_a_person_goes_on_where_they_left_off(ds: Dataset, ids: list[str], do: Saver) -> None:
    assert queue.left_off(ds, "ana") is None
    do(box(1, 1, 20, 20), sample=ids[1], who="ana")
    do(box(1, 1, 20, 20), sample=ids[2], who="ben")
    do(box(1, 1, 20, 20), sample=ids[0], who="ana", tool="import")  # no work by hand
    assert queue.left_off(ds, "ana") == ids[1] and queue.left_off(ds, " ben ") == ids[2]
    do(box(1, 1, 20, 20), sample=ids[0], who="ana", layer="ana")
    assert queue.left_off(ds, "ana") == ids[0]  # a blind voter too


def test_a_blind_voter_is_led_through_their_own_votes_and_stands_in_nobodys_way(
    ds: Dataset, ids: list[str], do: Saver
) -> None:
    layers = dict.fromkeys(ids, "ana")
    queue.is_here(ds, ids[0], "ben", browser="other")
    assert queue.next_unlabelled(ds, ids, after="", browser="mine", who="ana", layers=layers) == ids[0]
    do(box(1, 1, 20, 20), who="ana", layer="ana")
    assert queue.counts(ds, ids, layers) == {"done": 1, "unlabelled": 2} and queue.counts(ds, ids) == {"unlabelled": 3}
    assert queue.next_unlabelled(ds, ids, after="", browser="mine", who="ana", layers=layers) == ids[1]


def test_an_excluded_sample_is_nobodys_next(ds: Dataset, ids: list[str]) -> None:
    ds.put_samples([ds.samples()[ids[0]].model_copy(update={"excluded": "blurred"})])
    assert queue.next_unlabelled(ds, ids, after="", browser="mine", who="ana") == ids[1]


def test_what_a_blind_voter_undid_or_turned_down_is_no_vote_yet(ds: Dataset, ids: list[str], do: Saver) -> None:
    layers = dict.fromkeys(ids, "ana")
    made = do(box(1, 1, 20, 20), who="ana", layer="ana")
    do(Op(op="delete", annotation=made.annotations[0], replaces=made.entries[0]), who="ana", layer="ana")
    do(decisions=[Decision(suggestion="a" * 16, word="rejected", by="run x")], sample=ids[1], who="ana", layer="ana")
    assert queue.counts(ds, ids, layers) == {"unlabelled": 3}
    assert queue.next_unlabelled(ds, ids, after=ids[2], browser="mine", who="ana", layers=layers) == ids[0]


def test_two_who_ask_for_the_next_at_once_get_two(ds: Dataset, ids: list[str]) -> None:
    queue.is_here(ds, ids[2], "ana", browser="a")
    found = [queue.next_unlabelled(ds, ids, after=ids[2], browser=browser, who="ana") for browser in ("a", "b", "c")]
    assert found == [ids[0], ids[1], None]
    assert queue.open_elsewhere(ds, "b") == {ids[0]: ["ana"]}
    queue.is_here(ds, ids[2], "ana", browser="a")  # she has gone back, and it is free again
    assert queue.next_unlabelled(ds, ids, after="", browser="c", who="ana") == ids[0]


def test_a_tab_is_known_by_its_browser(ds: Dataset, ids: list[str]) -> None:
    queue.is_here(ds, ids[0], "ana", browser="b1/one")
    queue.is_here(ds, ids[0], "ana", browser="b1/two")  # the same page after a reload
    assert queue.open_elsewhere(ds, "b1/two") == {} and queue.open_elsewhere(ds, "b2/x") == {ids[0]: ["ana"]}
    # Another tab of hers is no other person, and has its own sample.
    queue.is_here(ds, ids[1], "ana", browser="b1/three")
    assert queue.next_unlabelled(ds, ids[:2], after=ids[0], browser="b1/two", who="ana") is None
    assert queue.next_unlabelled(ds, ids[:2], after=ids[0], browser="b1/three", who="ana") == ids[1]


def test_who_asks_for_the_next_from_a_fresh_browser_has_it_open_by_name(ds: Dataset, ids: list[str]) -> None:
    assert queue.next_unlabelled(ds, ids, after="", browser="fresh", who="ben") == ids[0]
    assert queue.open_elsewhere(ds, "other") == {ids[0]: ["ben"]}
