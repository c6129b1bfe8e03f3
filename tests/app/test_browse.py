"""The Explorer's page: the address is the filter, statistics lead into the samples, many are edited at once and put back."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app import browse, explore_bar
from tests.app.conftest import fill, said
from trugrade_core.data import editing
from trugrade_core.data.filters import SORTS, from_line
from trugrade_core.data.store import Dataset, put_entry
from trugrade_core.schema import Annotation, Box, Score
from trugrade_core.workflows import exploring
from trugrade_core.workspace import Workspace

Open = Callable[..., AppTest]


@pytest.fixture
def cards(ws: Workspace) -> Workspace:
    """Eight samples in `cards`: 0 scored and tagged, 1 excluded, 3 and 7 without labels."""
    ds = fill(ws, "cards", 8)
    first, second, *_ = ds.samples().values()
    ds.put_samples([first.model_copy(update={"tags": ("to check",)}), second.model_copy(update={"excluded": "bent"})])
    ds.append(
        [put_entry(Annotation(id="score", sample=first.id, value=Score(score=8.5)), who="aiko", tool="annotator")]
    )
    return ws


def ids(ws: Workspace) -> list[str]:
    return list(Dataset.open(ws, "cards").samples())


def links(at: AppTest, css: str) -> dict[str, dict[str, str]]:
    """{title: parameters} of the links of that kind."""
    found = {}
    for element in at.get("bidi_component"):
        drawn = json.loads(element.proto.json).get("html", "")
        for attributes in re.findall(rf'<a class="{css}[^"]*"([^>]*)>', drawn):
            title = re.search(r'title="([^"]*)"', attributes)
            params = re.search(r'data-params="([^"]*)"', attributes)
            assert title and params
            found[html.unescape(title[1])] = json.loads(html.unescape(params[1]))
    return found


def shown(at: AppTest) -> int:
    return said(at).count("/lab/thumb/")


def pick(at: AppTest, chosen: list[str]) -> AppTest:
    at.session_state["explore-selected:cards"] = dict.fromkeys(chosen)
    return at.run()


# --- the address --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "count"),
    [
        ({"class": "outer_border,none"}, 8),
        ({"class": "none"}, 2),
        ({"status": "done", "size": "25.."}, 0),
        ({"size": "..17"}, 6),
        ({"score": "8..9"}, 1),
        ({"tag": "to check"}, 1),
        ({"annotator": "aiko"}, 1),
        ({"excluded": "yes"}, 1),
        ({"excluded": "no", "status": "unlabelled"}, 2),
        ({"card": "card-3,card-4"}, 2),
    ],
)
def test_the_address_filters(cards: Workspace, open_page: Open, params: dict[str, str], count: int) -> None:
    at = open_page(cards, "datasets", dataset="cards", **params)
    if count:
        assert shown(at) == count
        assert f"{count} sample" in said(at) and "of 8" in said(at)
    else:
        assert "Nothing fits" in said(at)


def test_ids_in_the_address_are_those_samples(cards: Workspace, open_page: Open) -> None:
    some = ids(cards)[2:5]
    at = open_page(cards, "datasets", dataset="cards", ids=",".join([*some, "not-there"]))
    assert shown(at) == 3 and "chosen: <b>4 samples</b>" in said(at)


def test_the_order_is_in_the_address(cards: Workspace, open_page: Open) -> None:
    at = open_page(cards, "datasets", dataset="cards", sort="-arrival")
    order = re.findall(r'data-id="(\w+)"', said(at))
    assert order == ids(cards)[::-1]
    assert at.selectbox(key="explore:sort").value == "-arrival"
    at.selectbox(key="explore:sort").set_value("-score").run()
    assert at.query_params["sort"] in ("-score", ["-score"])
    assert re.findall(r'data-id="(\w+)"', said(at))[0] == ids(cards)[0]


@pytest.mark.parametrize(("name", "value", "words"), [
    ("score", "high", "Score cannot be 'high'"), ("status", "finished", "Status cannot be 'finished'"),
    ("sort", "weight", "'weight' is nothing to sort by"), ("place", "99x1", "Place cannot be '99x1'"),
])  # fmt: skip
def test_an_address_that_means_nothing_says_so_and_leads_out(
    cards: Workspace, open_page: Open, name: str, value: str, words: str
) -> None:
    at = open_page(cards, "datasets", dataset="cards", **{name: value})
    assert words in said(at) and "What to do" in said(at)
    assert "fault in the lab" not in said(at)
    assert "Clear the filter" in [b.label for b in at.button]


def test_widgets_follow_the_address_and_write_it(cards: Workspace, open_page: Open) -> None:
    at = open_page(cards, "datasets", dataset="cards", status="done", score="8..9")
    assert at.multiselect(key="explore:status").value == ["done"]
    assert (at.number_input(key="explore:score:low").value, at.number_input(key="explore:score:high").value) == (8, 9)
    assert at.text_input(key="explore:text").value == "status=done score=8..9"
    at.multiselect(key="explore:status").set_value(["unlabelled", "done"]).run()
    assert at.text_input(key="explore:text").value == "status=unlabelled,done score=8..9"
    at.number_input(key="explore:score:low").set_value(None)
    at.number_input(key="explore:score:high").set_value(None).run()
    assert shown(at) == 8
    at.text_input(key="explore:text").set_value("status=unlabelled 'card-00003'").run()
    assert shown(at) == 1
    assert at.multiselect(key="explore:status").value == ["unlabelled"]
    at.text_input(key="explore:text").set_value("colour=red").run()
    assert "'colour' is nothing to filter by" in said(at)


def test_bounds_that_stand_the_wrong_way_round_are_turned(cards: Workspace, open_page: Open) -> None:
    at = open_page(cards, "datasets", dataset="cards")
    at.number_input(key="explore:score:low").set_value(9.0).run()
    at.number_input(key="explore:score:high").set_value(2.0).run()
    assert at.text_input(key="explore:text").value == "score=2..9"


def test_a_chip_takes_its_word_away_and_keeps_the_rest(cards: Workspace, open_page: Open) -> None:
    at = open_page(cards, "datasets", dataset="cards", status="done", tag="to check", tiles="small", pg="1")
    chips = links(at, "tg-chip tg-off")
    assert chips["Take away: status done"] == {
        "dataset": "cards", "view": "browse", "tag": "to check", "tiles": "small",
    }  # fmt: skip


def test_a_page_of_many_turns_by_the_address(ws: Workspace, open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(ws, "cards", 8)
    monkeypatch.setattr(browse, "PAGE", 3)
    at = open_page(ws, "datasets", dataset="cards", pg="3")
    assert re.findall(r'data-id="(\w+)"', said(at)) == ids(ws)[6:]
    at = open_page(ws, "datasets", dataset="cards", pg="99")
    assert re.findall(r'data-id="(\w+)"', said(at)) == ids(ws)[6:]


# --- statistics ---------------------------------------------------------------------------------------------------


def test_each_bar_opens_as_many_samples_as_it_says(cards: Workspace, open_page: Open) -> None:
    at = open_page(cards, "datasets", dataset="cards")
    found = exploring.explorer(cards, "cards")
    bars = links(at, "tg-facet")
    assert {"outer_border: 6 shapes", "done: 6 samples", "unlabelled: 2 samples", "to check: 1 sample", "maria: 6 samples",
            "aiko: 1 sample"} <= set(bars)  # fmt: skip
    for title, params in bars.items():
        n = int(re.search(r": ([\d,]+) ", title)[1])  # type: ignore[index]
        assert found.count(explore_bar.from_params(params)) == n, title
    for title, params in (links(at, "tg-column") | links(at, "tg-cell")).items():
        n = int(re.search(r"(\d+) (?:shape|sample)", title)[1])  # type: ignore[index]
        about = found.statistics(explore_bar.from_params(params))
        counted = about["samples"] if "sample" in title else sum(
            about["place"] if "column" in title else about["size_mm"]["counts"]
        )  # fmt: skip
        assert counted == n, title


def test_a_bar_that_is_on_takes_the_filter_away_again(cards: Workspace, open_page: Open) -> None:
    at = open_page(cards, "datasets", dataset="cards", status="done")
    assert "status" not in links(at, "tg-facet")["done: 6 samples"]


def test_statistics_can_be_put_away(cards: Workspace, open_page: Open) -> None:
    at = open_page(cards, "datasets", dataset="cards", panel="off", outlines="off")
    assert not links(at, "tg-facet") and "tg-shape" not in said(at)
    assert shown(at) == 8


def test_small_marks_say_score_tag_conflict_finding_and_exclusion(cards: Workspace, open_page: Open) -> None:
    ds = Dataset.open(cards, "cards")
    entry = next(ds.log())
    for who, x in (("tomek", 5.0), ("lena", 7.0)):
        value = Box(xyxy=(x, 7, 60, 80))
        said_of = Annotation(id=entry.annotation, sample=entry.sample, label="outer_border", value=value)
        ds.append([put_entry(said_of, who=who, tool="canvas", replaces=entry.entry)])
    at = open_page(cards, "datasets", dataset="cards")
    exploring.explorer(cards, "cards").know_findings([(ids(cards)[2], "image.blur", "warning")])
    text = said(at.run())
    for title in ('title="score">8.5', 'title="tags: to check"', 'title="people say different things"',
                  'title="findings: image.blur"', 'title="excluded: bent"'):  # fmt: skip
        assert text.count(title) == 1, title
    assert shown(open_page(cards, "datasets", dataset="cards", conflict="yes")) == 1


# --- one sample ---------------------------------------------------------------------------------------------------


def test_a_sample_is_shown_inside_its_filter_and_leads_to_the_annotator(cards: Workspace, open_page: Open) -> None:
    done = [id for id, s in Dataset.open(cards, "cards").samples().items() if s.status == "done"]
    at = open_page(cards, "datasets", dataset="cards", status="done", sample=done[2])
    assert "3 of 6" in said(at)
    at.button(key="sample-next").click().run()
    assert "4 of 6" in said(at)
    text = said(open_page(cards, "datasets", dataset="cards", sample=ids(cards)[0]))
    assert "8.5" in text and "to check" in text and "aiko" in text
    at.button(key="sample-annotate").click().run()
    assert not at.exception
    assert at.query_params["status"] in ("done", ["done"]) and done[3] in str(at.query_params["sample"])


def test_a_sample_that_does_not_fit_stands_among_all(cards: Workspace, open_page: Open) -> None:
    at = open_page(cards, "datasets", dataset="cards", status="done", sample=ids(cards)[3])
    assert "4 of 8" in said(at)


def test_a_sample_that_is_not_there_is_said(cards: Workspace, open_page: Open) -> None:
    at = open_page(cards, "datasets", dataset="cards", sample="nothing")
    assert "No such sample" in said(at) and "All samples" in [b.label for b in at.button]


# --- many at once -------------------------------------------------------------------------------------------------


def test_what_can_be_done_appears_with_a_selection_only(cards: Workspace, open_page: Open) -> None:
    at = open_page(cards, "datasets", dataset="cards")
    assert "Exclude" not in [b.label for b in at.button]
    pick(at, ids(cards)[:2])
    assert "<b>2 samples</b> selected" in said(at)
    assert {"Tag", "Score", "Class", "Status", "Exclude", "All 8 that fit", "Show only these", "Select none"} <= {
        b.label for b in at.button
    }
    at.button(key="explore-none").click().run()
    assert "</b> selected" not in said(at)


def test_all_that_fit_can_be_taken_until_the_filter_is_another(cards: Workspace, open_page: Open) -> None:
    at = pick(open_page(cards, "datasets", dataset="cards", status="done"), ids(cards)[:1])
    at.button(key="explore-everything").click().run()
    assert "<b>All 6 samples</b> selected" in said(at)
    at.query_params["class"] = "outer_border"
    assert "<b>1 sample</b> selected" in said(at.run())


def test_what_an_edit_did_is_said_with_its_way_back(cards: Workspace, open_page: Open) -> None:
    ds = Dataset.open(cards, "cards")
    at = open_page(cards, "datasets", dataset="cards")
    found = exploring.explorer(cards, "cards")
    done = exploring.edit_all(found, editing.Exclude(reason="bent"), from_line("status=done"), who="lena", expected=6)
    at.session_state["explore-note:cards"] = (exploring.applied(done), False, "")
    at.run()
    assert "5 samples changed, 1 were so already" in said(at)
    at.button(key="explore-undo").click().run()
    assert "5 samples put back" in said(at)
    assert [s.excluded for s in ds.samples().values()][:3] == [None, "bent", None]
    at.query_params["status"] = "done"
    assert "put back" not in said(at.run()).replace("undo: exclude: bent", "")


def test_an_edit_of_other_samples_than_were_seen_is_refused(cards: Workspace) -> None:
    found = exploring.explorer(cards, "cards")
    with pytest.raises(exploring.DatasetError, match="6 samples fit now, 5 did when you looked"):
        exploring.edit_all(found, editing.Tag(tag="x"), from_line("status=done"), who="lena", expected=5)
    assert editing.history(found.ds) == []


@pytest.mark.parametrize("kind", ["Tag", "Score", "Class", "Status", "Exclude"])
def test_each_form_opens(cards: Workspace, open_page: Open, kind: str) -> None:
    at = pick(open_page(cards, "datasets", dataset="cards"), ids(cards)[:3])
    at.button(key=f"explore-do-{kind}").click().run()
    assert "Apply" in [b.label for b in at.button] and "What to do" not in said(at)
    assert not at.exception


# --- kept under a name --------------------------------------------------------------------------------------------


def test_a_filter_is_saved_opened_and_forgotten(cards: Workspace, open_page: Open) -> None:
    at = open_page(cards, "datasets", dataset="cards", status="done", sort="-score")
    next(t for t in at.text_input if t.label == "Save this filter as").set_value("good ones")
    next(b for b in at.button if b.label == "Save").click().run()
    ds = Dataset.open(cards, "cards")
    saved = exploring.saved_filters(ds)["good ones"]
    assert (saved.where, saved.sort) == ({"status": "done"}, "-score") and saved.who
    assert links(at, "tg-link")["status=done"]["sort"] == "-score"
    exploring.forget_filter(ds, "good ones", who="lena")
    assert exploring.saved_filters(ds) == {} and (ds.path / "filters.jsonl").read_text().count("good ones") == 2
    with pytest.raises(exploring.UsageError, match="no filter 'good ones' is kept"):
        exploring.saved_filter(ds, "good ones")


def test_a_name_that_cannot_be_is_refused_and_a_damaged_line_is_named(cards: Workspace) -> None:
    ds = Dataset.open(cards, "cards")
    with pytest.raises(exploring.UsageError, match="cannot be the name of a filter"):
        exploring.save_filter(ds, "a/b", from_line("status=done"), who="lena")
    (ds.path / "filters.jsonl").write_text('{"name": "x", "where": {"score": "high"}, "who": "w", "when": "t"}\n')
    with pytest.raises(exploring.DatasetError, match="line 1 was damaged"):
        exploring.saved_filters(ds)


def test_a_dataset_is_made_of_what_fits_with_all_that_was_said(cards: Workspace) -> None:
    old = Dataset.open(cards, "cards")
    editing.apply(exploring.explorer(cards, "cards"), editing.GiveScore(score=3), ids(cards)[:1], who="lena")
    done = exploring.make_subset(cards, "cards", from_line("status=done"), "done only")
    new = Dataset.open(cards, "done only")
    assert done["images"] == 6 and new.classes == old.classes
    wanted = {id: s for id, s in old.samples().items() if s.status == "done"}
    assert new.samples() == wanted
    assert new.annotations() == {id: old.annotations()[id] for id in wanted}
    assert [e for e in old.log() if e.sample in wanted] == list(new.log())  # who, when, and what was before
    assert new.facts()["made_from"] == {"dataset": "cards", "where": "status=done"}
    for f, name, words in (
        ("status=done", "done only", "is there already"),
        ("status=skipped", "none", "no sample fits"),
    ):
        with pytest.raises(exploring.DatasetError, match=words):
            exploring.start_subset(cards, "cards", from_line(f), name)


# --- reading --------------------------------------------------------------------------------------------------------


def test_a_damaged_log_is_said_on_the_page_and_mended_is_shown_again(cards: Workspace, open_page: Open) -> None:
    path = Dataset.open(cards, "cards").log_path
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"entry": "x"}\n')
    text = said(open_page(cards, "datasets", dataset="cards"))
    assert "was damaged or changed by hand" in text and "mend that line" in text
    path.write_bytes(whole)
    assert shown(open_page(cards, "datasets", dataset="cards")) == 8


def test_a_long_first_reading_is_done_beside_the_page(
    cards: Workspace, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app import state

    exploring.forget()
    monkeypatch.setattr(state, "READ_AT_ONCE", 10)
    assert shown(open_page(cards, "datasets", dataset="cards")) == 8
    path = Dataset.open(cards, "cards").log_path
    path.write_bytes(path.read_bytes() + b'{"entry": "a line that is longer than that"}\n')
    assert "was damaged or changed by hand" in said(open_page(cards, "datasets", dataset="cards"))


def test_what_checks_found_is_known_and_what_they_measured(cards: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from trugrade_core.workflows import checking

    one = Dataset.open(cards, "cards").samples()[ids(cards)[0]]
    store = cards.cache / "checks" / "pictures-2.jsonl"
    store.parent.mkdir(parents=True)
    store.write_text(json.dumps({"sha256": one.main.sha256, "edge_px": 2.5}) + '\n{"torn\n')
    monkeypatch.setattr(checking, "sample_findings", lambda ws, name: [(one.id, "image.blur", "warning")])
    (cards.datasets / "cards" / "checks").mkdir()
    (cards.datasets / "cards" / "checks" / "now.any.json").write_text("{}")
    found: Any = exploring.explorer(cards, "cards")
    assert found.ids(from_line("finding=image.blur")) == found.ids(from_line("blur=2..3")) == [one.id]


def test_every_order_has_words() -> None:
    assert {word.removeprefix("-") for word in explore_bar.SORT_WORDS} == set(SORTS)


def test_the_grid_is_driven_by_its_own_script() -> None:
    script = (Path(browse.__file__).parent / "explore_grid.js").read_text()
    assert all(word in script for word in ("'picked'", "'turn'", "'go'"))


# --- several datasets and several people ----------------------------------------------------------------------------


def test_all_that_fit_of_one_dataset_is_not_all_of_another(cards: Workspace, open_page: Open) -> None:
    other = fill(cards, "other", 3)
    at = open_page(cards, "datasets", dataset="cards")
    pick(at, ids(cards)[:2])
    at.button(key="explore-everything").click().run()
    assert "All 8 samples" in said(at)
    at.query_params["dataset"] = "other"
    at.session_state["explore-selected:other"] = dict.fromkeys(list(other.samples())[:1])
    at.run()
    assert "1 sample</b> selected" in said(at) and "All 3 samples" not in said(at)


def test_what_an_edit_did_is_not_said_of_another_dataset(cards: Workspace, open_page: Open) -> None:
    fill(cards, "other", 3)
    at = open_page(cards, "datasets", dataset="cards")
    found = exploring.explorer(cards, "cards")
    done = exploring.edit_all(found, editing.Exclude(reason="bent"), from_line(""), who="lena")
    at.session_state["explore-note:cards"] = (exploring.applied(done), False, "")
    assert "explore-undo" in [b.key for b in at.run().button]
    at.query_params["dataset"] = "other"
    assert "explore-undo" not in [b.key for b in at.run().button]


def test_turning_the_page_alone_shows_what_others_wrote(cards: Workspace, open_page: Open) -> None:
    at = open_page(cards, "datasets", dataset="cards")
    ds = Dataset.open(cards, "cards")
    stale = exploring.explorer(cards, "cards")
    last = list(ds.samples().values())[-1]
    ds.put_samples([last.model_copy(update={"split": "val", "tags": ("new here",)})])

    def drawn_alone(found) -> None:  # type: ignore[no-untyped-def]  # as a fragment is: without the page around it
        from app import browse
        from trugrade_core.data.filters import Filter

        browse._tiles(found, Filter(), [])

    at = AppTest.from_function(drawn_alone, kwargs={"found": stale}).run()
    assert not at.exception and "tags: new here" in said(at)


def test_a_class_that_is_called_none_is_told_from_having_none(cards: Workspace, open_page: Open) -> None:
    ds = Dataset.open(cards, "cards")
    first = ds.samples()[ids(cards)[0]]
    ds.put_samples([first.model_copy(update={"tags": ("none",)})])
    at = open_page(cards, "datasets", dataset="cards")
    to = links(at, "tg-facet")["'none': 1 sample"]
    assert to["tag"] == "%6Eone"
    assert shown(open_page(cards, "datasets", **to)) == 1
    at = open_page(cards, "datasets", dataset="cards", tag="none")
    assert shown(at) == 7 and "tag: <b>none</b>" in said(at)
    assert at.multiselect(key="explore:tag").value == [""]
    at.multiselect(key="explore:tag").set_value(["none"]).run()
    assert shown(at) == 1 and "Take away: tag 'none'" in links(at, "tg-chip")
