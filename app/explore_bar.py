"""The Explorer's filter: in the address, as chips, as widgets that follow the address, as text, and kept under a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import jobcard, look, state
from app.state import who
from trugrade_core.data.filters import NONE, WORDS, Filter, Range, from_line, from_params, number
from trugrade_core.workflows import exploring
from trugrade_core.workspace import Workspace

if TYPE_CHECKING:
    from trugrade_core.data.editing import Applied
    from trugrade_core.data.explore import Explorer

SORT_WORDS = {
    "arrival": "first added first", "-arrival": "last added first", "-date": "last changed first", "date": "longest unchanged first",
    "file": "file name", "-file": "file name, backwards", "card": "card", "-card": "card, backwards", "-score": "highest score first",
    "score": "lowest score first", "-size": "largest shape first", "size": "smallest largest shape first",
    "smallest": "smallest shape first", "-smallest": "largest smallest shape first", "status": "status", "-status": "status, backwards",
}  # fmt: skip
TILES = {"small": 110, "medium": 160, "large": 260}
KEPT = ("sort", "tiles", "panel", "outlines")
"""Words of the address beside the filter's that stay while one looks around."""
LISTS = {
    "class": "Class", "status": "Status", "split": "Split", "origin": "Origin", "tag": "Tag", "annotator": "Annotator",
    "finding": "Finding", "design": "Design", "session": "Scan session", "side": "Side", "region": "Region",
}  # fmt: skip
RANGES = {
    "score": ("Score", ""),
    "size": ("Size", "mm"),
    "shapes": ("Shapes", ""),
    "dpi": ("Resolution", "dpi"),
    "blur": ("Blur", "px"),
}
MOST_OPTIONS = 1000
MOST_IDS = 300
"""Ids that an address may hold."""
CHOICES = {"excluded": "Excluded", "conflict": "In conflict"}
_FIELD = {"tag": "tags", "annotator": "annotators", "finding": "findings", "class": "classes"}


# --- the address --------------------------------------------------------------------------------------------------


def asked() -> Filter:
    """The filter of the address. Raises UsageError for one that means nothing."""
    return from_params(st.query_params.to_dict())


def sort() -> str:
    return st.query_params.get("sort") or "arrival"


def params(f: Filter | None = None, **changes: str) -> dict[str, str]:
    """The address of a filter (the present one), with what stays beside it."""
    shown = {name: value for name in KEPT if (value := st.query_params.get(name, ""))}
    return {**(asked() if f is None else f).params(), **shown, **changes}


def put(**changes: str) -> None:
    """Change the address, from a callback; the first page again (`pg`)."""
    for name, value in {"pg": "", **changes}.items():
        if value:
            st.query_params[name] = value
        elif name in st.query_params:
            del st.query_params[name]


def follows(name: str, in_address: str, read: Callable[[str], Any], write: Callable[[Any], str]) -> dict[str, Any]:
    """Arguments of a widget whose value is a word of the address, whoever changes it: the widget or a link."""
    key, seen = f"explore:{name}", f"explore:{name}:seen"
    if key not in st.session_state or st.session_state.get(seen) != in_address:
        st.session_state[key] = read(in_address)
        st.session_state[seen] = in_address

    def changed() -> None:
        text = write(st.session_state[key])
        st.session_state[seen] = text
        put(**{name: text})

    return {"key": key, "on_change": changed}


# --- the row above the grid ---------------------------------------------------------------------------------------


def bar(found: Explorer, classes: Sequence[str]) -> None:
    """Search, filter, order, view."""
    with st.container(horizontal=True, vertical_alignment="center", key="explore-bar"):
        st.text_input("Search", placeholder="file, card or sample id", width=220, icon=":material/search:",
                      label_visibility="collapsed", **follows("q", st.query_params.get("q", ""), str, str.strip))  # fmt: skip
        n = len([word for word in asked().params() if word != "q"])
        with st.popover(f"Filter · {n}" if n else "Filter", icon=":material/filter_list:", key="explore-filter"):
            _widgets(found, classes)
        with st.popover("Saved", icon=":material/bookmark:", help="Filters with a name; a dataset of what fits"):
            _kept(found)
        st.selectbox("Order", list(SORT_WORDS), format_func=SORT_WORDS.__getitem__, width=190, label_visibility="collapsed",
                     **follows("sort", _sort_asked(), lambda s: s or "arrival", lambda s: "" if s == "arrival" else s))  # fmt: skip
        with st.popover("View", icon=":material/tune:"):
            _view()
        with st.popover("Edits", icon=":material/history:", help="What was done to many samples at once"):
            _edits(found)


def _sort_asked() -> str:
    word = st.query_params.get("sort", "")
    return word if word in SORT_WORDS else ""


def _view() -> None:
    st.segmented_control("Tiles", list(TILES), required=True,
                         **follows("tiles", st.query_params.get("tiles", ""), lambda t: t if t in TILES else "medium",
                                   lambda t: "" if t == "medium" else t))  # fmt: skip
    st.toggle("Outlines", **_switch("outlines"))
    st.toggle("Statistics", **_switch("panel"))
    st.caption(
        "In the grid: arrows move, Enter opens, x selects, Shift+click a range, a the whole page, Esc none, n and p turn the page."
    )


def _switch(name: str) -> dict[str, Any]:
    """On, unless the address says `off`."""
    return follows(name, st.query_params.get(name, ""), lambda t: t != "off", lambda on: "" if on else "off")


def is_on(name: str) -> bool:
    return st.query_params.get(name) != "off"


def _widgets(found: Explorer, classes: Sequence[str]) -> None:
    f, values = asked(), cached_values(found)
    options: Mapping[str, Sequence[str]] = {
        "class": [*dict.fromkeys([*classes, *values["classes"]]), NONE],
        "status": ["unlabelled", "done", "skipped", "rescan", "unsure"],
        "split": ["train", "val", "test", NONE],
        "origin": ["real", "synthetic"],
        **{word: [*values[_FIELD.get(word, word)][:MOST_OPTIONS], NONE] for word in list(LISTS)[4:]},
    }
    columns = st.columns(2)
    shown = [word for word in LISTS if len(options[word]) > 1 or st.query_params.get(word)]
    for n, word in enumerate(shown):
        now = getattr(f, WORDS[word][0])
        columns[n % 2].multiselect(
            LISTS[word], [*options[word], *(v for v in now if v not in options[word])], placeholder="any", format_func=named,
            **follows(word, st.query_params.get(word, ""), _read_list(word), _write_list(word)),
        )  # fmt: skip
    for n, (word, (label, unit)) in enumerate(RANGES.items()):
        if (
            word == "blur"
            and not st.query_params.get(word)
            and not cached_statistics(found, Filter())["blur_px"]["max"]
        ):
            continue
        _range(columns[n % 2], word, f"{label}  :small[:gray[{unit}]]" if unit else label, getattr(f, WORDS[word][0]))
    for n, (word, label) in enumerate(CHOICES.items()):
        columns[n % 2].segmented_control(
            label, ["any", "yes", "no"], required=True,
            **follows(word, st.query_params.get(word, ""), lambda t: t or "any", lambda t: "" if t == "any" else t),
        )  # fmt: skip
    st.text_input(
        "The same as text", help="As after --where in `trugrade data find`", placeholder="class=scratch size=0.1..0.5",
        **_as_text(f),
    )  # fmt: skip


def named(value: str) -> str:
    """How a value to filter by is called; one that is the word `none` itself stands in quotes."""
    return "none" if value == NONE else "'none'" if value == "none" else value


def _read_list(word: str) -> Callable[[str], list[str]]:
    return lambda text: list(getattr(from_params({word: text}), WORDS[word][0]))


def _write_list(word: str) -> Callable[[Sequence[str]], str]:
    return lambda chosen: Filter.model_validate({WORDS[word][0]: tuple(chosen)}).params().get(word, "")


def _range(column: Any, word: str, label: str, now: Range | None) -> None:
    """Two numbers, of which either may be left out."""
    low, high = column.columns(2, vertical_alignment="bottom")
    keys = [f"explore:{word}:{side}" for side in ("low", "high")]
    seen, text = f"explore:{word}:seen", "" if now is None else str(now)
    if keys[0] not in st.session_state or st.session_state.get(seen) != text:
        st.session_state[keys[0]], st.session_state[keys[1]] = (now.low, now.high) if now else (None, None)
        st.session_state[seen] = text

    def changed() -> None:
        bounds = [st.session_state[key] for key in keys]
        if None not in bounds and bounds[0] > bounds[1]:
            bounds.reverse()
        st.session_state[seen] = written = "" if bounds == [None, None] else str(Range(low=bounds[0], high=bounds[1]))
        put(**{word: written})

    low.number_input(label, min_value=0.0, value=None, placeholder="from", key=keys[0], on_change=changed, format="%g")
    high.number_input(f"{word} up to", min_value=0.0, value=None, placeholder="to", key=keys[1], on_change=changed, format="%g",
                      label_visibility="hidden")  # fmt: skip


def _as_text(f: Filter) -> dict[str, Any]:
    key, seen = "explore:text", "explore:text:seen"
    if key not in st.session_state or st.session_state.get(seen) != f.line():
        st.session_state[key] = st.session_state[seen] = f.line()

    def changed() -> None:
        with look.errors("reading the filter"):
            new = from_line(st.session_state[key])
            st.session_state[seen] = new.line()
            put(**{**dict.fromkeys(WORDS, ""), **new.params()})

    return {"key": key, "on_change": changed}


# --- what is filtered by, as chips --------------------------------------------------------------------------------

_SAID = {**LISTS, **{word: label for word, (label, _) in RANGES.items()}, **CHOICES, "q": "Search", "ids": "Chosen", "place": "Place",
         "card": "Card"}  # fmt: skip


def chips(name: str, f: Filter) -> str:
    """The filter as links, each of which takes its word away."""
    words = f.params()
    shown = []
    for word in words:
        rest = Filter.model_validate({k: v for k, v in f.model_dump().items() if k != WORDS[word][0]})
        inner = f"{escape(_SAID[word].lower())}: <b>{escape(_words(word, f))}</b> {look.icon('close')}"
        title = f"Take away: {_SAID[word].lower()} {_words(word, f)}"
        shown.append(
            look.link("datasets", inner, css="tg-chip tg-off", title=title, dataset=name, view="browse", **params(rest))
        )
    if len(words) > 1:
        shown.append(
            look.link("datasets", "Clear all", css="tg-link tg-small", dataset=name, view="browse", **params(Filter()))
        )
    return " ".join(shown)


def _words(word: str, f: Filter) -> str:
    value = getattr(f, WORDS[word][0])
    if word == "ids":
        return look.count(len(value), "sample")
    if isinstance(value, tuple):
        return " or ".join(named(part) for part in value)
    if isinstance(value, Range):
        unit = RANGES[word][1]
        low, high = value.low, value.high
        if low is not None and high is not None:
            said = f"{number(low)} to {number(high)}"
        else:
            said = f"from {number(low)}" if low is not None else f"up to {number(high)}" if high is not None else "any"
        return f"{said} {unit}".rstrip()
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"column {value.column + 1}, row {value.row + 1} of the card" if word == "place" else str(value)


# --- kept filters, and a dataset of what fits ---------------------------------------------------------------------


def _kept(found: Explorer) -> None:
    ds, f = found.ds, asked()
    saved = exploring.saved_filters(ds)
    if saved:
        rows = [
            [look.link("datasets", look.clip(name, 14), dataset=ds.name, view="browse", title=one.filter.line(),
                       **one.filter.params(), **({} if one.sort == "arrival" else {"sort": one.sort})),
             f'<span class="tg-soft">{escape(one.who)}</span>']
            for name, one in saved.items()
        ]  # fmt: skip
        look.table(["", ""], rows, key="explore-saved")
    else:
        st.caption("Filters with a name stand here; everyone who works on this dataset sees them.")
    if f.is_empty:
        st.caption("Filter something, then it can be saved.")
        return
    with st.form("explore-save", border=False, clear_on_submit=True):
        name = st.text_input("Save this filter as", placeholder="deep scratches")
        if st.form_submit_button("Save", icon=":material/bookmark_add:"):
            with look.errors("keeping the filter"):
                exploring.save_filter(ds, name, f, sort=sort(), who=who())
                st.rerun()
    gone = st.selectbox("Forget", list(saved), index=None, placeholder="a saved filter") if saved else None
    if gone and st.button("Forget it", icon=":material/bookmark_remove:"):
        exploring.forget_filter(ds, gone, who=who())
        st.rerun()
    total = found.count(f)
    with st.form("explore-subset", border=False):
        new = st.text_input("Make a new dataset of what fits", placeholder=f"{ds.name}-subset"[:80],
                            help="With everything ever said of these samples; it shares the images. It can then be split and kept as a version.")  # fmt: skip
        if st.form_submit_button(
            f"Make it of {look.count(total, 'sample')}", icon=":material/library_add:", disabled=not total
        ):
            with look.errors("making the dataset"):
                job = exploring.start_subset(ds.ws, ds.name, f, new, who=who())
                state.keep(job=job.id)
                st.rerun()


def subset_card(ws: Workspace) -> None:
    """The job that makes a dataset of what fits, where the address names it."""
    if job_id := st.query_params.get("job"):
        jobcard.show(job_id, done=_made)


def _made(made: dict[str, Any], _args: dict[str, Any]) -> None:
    st.success(
        f"{look.count(made.get('images', 0), 'sample')} in {made.get('dataset', '')}", icon=":material/check_circle:"
    )
    if st.button("Look at it", icon=":material/grid_view:"):
        state.go("datasets", dataset=made["dataset"], view="browse", job="")


# --- what was done ------------------------------------------------------------------------------------------------


def _edits(found: Explorer) -> None:
    from trugrade_core.data import editing

    rows = editing.history(found.ds, most=20)
    if not rows:
        st.caption("Edits of many samples stand here, each with a way back. Select samples to begin.")
        return
    for one in rows:
        left, right = st.columns([4, 1], vertical_alignment="center")
        left.html(
            f'<div><b>{escape(one.what)}</b><div class="tg-soft tg-small">{look.count(one.samples, "sample")} · {escape(one.who)} · '
            f"{escape(one.when[:16].replace('T', ' '))} UTC{' · undone' if one.undone else ''}</div></div>"
        )
        if not (one.undone or one.undoes) and right.button("Undo", key=f"undo-{one.id}", type="tertiary"):
            undo(found, one.id)


def undo(found: Explorer, batch: str) -> None:
    """Undo a batch and say what came of it."""
    with look.errors("undoing"):
        note(found, exploring.undo(found, batch, who=who()), undone=True)
        st.rerun()


def note(found: Explorer, done: Applied, *, undone: bool = False) -> None:
    """Remember what an edit did, for the next run to say."""
    st.session_state[_note(found)] = (exploring.applied(done), undone, asked().line())


def _note(found: Explorer) -> str:
    return f"explore-note:{found.ds.name}"


def said(found: Explorer) -> None:
    """What the last edit did, with its undo, until one looks at something else; it stands under Edits then."""
    kept = st.session_state.get(_note(found))
    if not kept or kept[2] != asked().line():
        st.session_state.pop(_note(found), None)
        return
    done, undone, _ = kept
    words = f"**{look.sentence(done['what'])}**: {look.count(done['changed'], 'sample')} {'put back' if undone else 'changed'}"
    words += f", {done['unchanged']:,} were so already" if done["unchanged"] else ""
    with st.container(horizontal=True, vertical_alignment="center", key="explore-said"):
        st.success(words.replace("$", r"\$"), icon=":material/check_circle:", width="stretch")
        if not undone and done["changed"] and st.button("Undo", icon=":material/undo:", key="explore-undo"):
            undo(found, done["batch"])
        if st.button("Close", type="tertiary", key="explore-close"):
            del st.session_state[_note(found)]
            st.rerun()
    if done["left"]:
        left = done["left"]
        whys = sorted({row["why"] for row in left})
        with st.expander(
            f"{look.count(len(left), 'sample')} left as {'they are' if len(left) > 1 else 'it is'}: {'; '.join(whys[:3])[:200]}"
        ):
            ids = ",".join(row["sample"] for row in left[:MOST_IDS])
            words = "Show them" if len(left) <= MOST_IDS else f"Show the first {MOST_IDS} of them"
            look.linked(look.link("datasets", words, dataset=found.ds.name, view="browse", ids=ids), key="explore-left")


# --- read once a state of the dataset -----------------------------------------------------------------------------


def cached_values(found: Explorer) -> dict[str, list[str]]:
    return state.cached(("explore values", str(found.path)), found.generation, found.values)


def cached_statistics(found: Explorer, f: Filter) -> dict[str, Any]:
    key = "explore statistics", str(found.path), f.line()
    return state.cached(key, (id(found), found.generation), lambda: found.statistics(f))
