"""The app's visual language: page head, states, numbers as evidence, tables, empty states, errors.

Colours and spacing live in look.css and .streamlit/config.toml. Every text that comes from files is escaped here.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
import traceback
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import page_words, state
from trugrade_core.errors import TruGradeError
from trugrade_core.workspace import Workspace

STATES = {
    "queued": "schedule",
    "running": "play_circle",
    "finished": "check_circle",
    "stopped": "stop_circle",
    "failed": "error",
    "crashed": "dangerous",
    "discarded": "delete",
    "used": "check_circle",
    "adapted": "swap_horiz",
    "refused": "block",
}
TRAIN = ("Train a model", "tune", "train")
IMPORT = ("Import images", "upload", "datasets")
"""Actions of empty states."""
MARKS = {
    "done": "check_circle",
    "unlabelled": "radio_button_unchecked",
    "skipped": "skip_next",
    "rescan": "restart_alt",
    "unsure": "help",
}
"""The icon of a sample's status."""
_CSS = Path(__file__).with_name("look.css")
_LINKS = Path(__file__).with_name("links.js").read_text()


# --- frame --------------------------------------------------------------------------------------------------------


def frame() -> None:
    """The style sheet; call it before a page draws."""
    st.html(_CSS)
    # Dialogs lie outside the element on which Streamlit sets the scheme.
    st.html(f"<style>:root {{ color-scheme: {st.context.theme.type or 'light'} }}</style>")


@contextlib.contextmanager
def head(title: str, *, chips: Sequence[str] = (), note: str = "", one_line: bool = False) -> Iterator[DeltaGenerator]:
    """Title and context chips on the left; what is drawn inside (the primary button) stands at the far right.

    `one_line`: the chips get narrower instead of going on below, so that one which comes or goes moves nothing."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", key="page-head"):
        with st.container(width="stretch"):
            said = f'<span class="tg-soft">{escape(note)}</span>' if note else ""
            css = "tg-title tg-line" if one_line else "tg-title"
            linked(f'<div class="{css}"><h1>{escape(title)}</h1>{"".join(chips)}{said}</div>', key=f"head-{title}")
        right = st.container(horizontal=True, width="content", vertical_alignment="center")
        with right:
            yield right


def linked(html: str, *, key: str) -> None:
    """HTML whose `link`s open pages of the app without a reload."""
    # Registered at each call: a component lives in the running app, and a test starts a new one.
    component = st.components.v2.component(
        "tg_links", html='<div class="tg-linked"></div>', js=_LINKS, isolate_styles=False
    )
    told = component(key=key, data={"html": html}, on_go_change=lambda: None)
    if told.go:
        state.go(told.go["page"], **told.go["params"])


def link(page: str, inner: str, *, css: str = "tg-link", title: str = "", **params: str) -> str:
    """An HTML link (inside `linked`) to a page of app/views. `inner` is HTML."""
    href = f"/{page if page != 'home' else ''}" + (f"?{urlencode(params)}" if params else "")
    told = f' title="{escape(title)}"' if title else ""
    data = escape(json.dumps(params))
    return f'<a class="{css}" href="{escape(href)}" data-page="{page}" data-params="{data}"{told}>{inner}</a>'


def chip(text: str, *, icon: str = "", page: str = "", color: str = "", css: str = "", **params: str) -> str:
    """Context beside the title, as HTML; a link when `page` is given."""
    dot = f'<span class="tg-dot" style="background:{color}"></span>' if color else ""
    inner = dot + (_icon(icon) if icon else "") + escape(text)
    css = f"tg-chip {css}".strip()
    if page:
        return link(page, inner, css=css, title=text, **params)
    return f'<span class="{css}" title="{escape(text)}">{inner}</span>'


def _icon(name: str) -> str:
    return f'<span class="tg-icon" aria-hidden="true">{name}</span>'


def icon(name: str, word: str = "") -> str:
    return _icon(name) + (f" {escape(word)}" if word else "")


def mark(name: str, word: str) -> str:
    """An icon that stands for a word by itself; its tooltip and screen readers say the word."""
    return f'<span class="tg-icon" role="img" aria-label="{escape(word)}" title="{escape(word)}">{name}</span>'


def badge(word: str, why: str = "") -> str:
    """A state as word, icon and colour, and why it came to it, as HTML."""
    reason = f' <span class="tg-soft">{escape(why)}</span>' if why else ""
    return f'<span class="tg-state {word}">{_icon(STATES.get(word, "circle"))}{escape(word)}</span>{reason}'


# --- blocks -------------------------------------------------------------------------------------------------------


def empty(
    title: str, text: str, *, icon: str = "inbox", action: tuple[str, str, str] | None = None, **params: str
) -> None:
    """What will be here, in a sentence, and `action` (label, icon, page): the button that brings it."""
    st.html(f'<div class="tg-empty">{_icon(icon)}<b>{escape(title)}</b><span>{escape(text)}</span></div>')
    if action:
        label, sign, page = action
        with st.container(horizontal=True, horizontal_alignment="center"):
            if st.button(label, type="primary", icon=f":material/{sign}:", key=f"empty-{page}-{title}"):
                state.go(page, **params)


def error(e: BaseException, *, doing: str = "") -> None:
    """What happened, to which input, what to do; details folded and copyable."""
    if isinstance(e, TruGradeError):
        what, where, todo = page_words.said(e.message), e.where, page_words.said(e.what_to_do)
        details = json.dumps(e.as_dict(), indent=1, ensure_ascii=False)
    else:
        what, where = f"{doing or 'this page'} met a fault in the lab itself", ""
        todo = "Copy the details below into a report to the team."
        details = "".join(traceback.format_exception(e))
    lines = [f"<b>{_icon('error')} {escape(sentence(what))}</b>"]
    if where:
        lines.append(f'<div><span class="tg-soft">Input:</span> {escape(where)}</div>')
    if todo:
        lines.append(f'<div><span class="tg-soft">What to do:</span> {escape(todo)}</div>')
    st.html(f'<div class="tg-error" role="alert">{"".join(lines)}</div>')
    with st.expander("Details", icon=":material/code:"):
        st.code(details, language=None, wrap_lines=True)


@contextlib.contextmanager
def errors(doing: str = "") -> Iterator[None]:
    """Show whatever goes wrong inside as an error box, and go on with the page."""
    try:
        yield
    except Exception as e:
        error(e, doing=doing)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, key: str, right: Sequence[int] = ()) -> None:
    """A table of HTML cells, for at most some hundred rows; the columns in `right` hold numbers."""

    def cells(tag: str, row: Sequence[str]) -> str:
        css = ['class="right"' if i in right else "" for i in range(len(row))]
        return "".join(f"<{tag} {c}>{text}</{tag}>" for c, text in zip(css, row, strict=True))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    top = f"<thead><tr>{cells('th', [escape(name) for name in head])}</tr></thead>" if any(head) else ""
    linked(
        f'<div class="tg-scroll"><table class="tg-table">{top}<tbody>{body}</tbody></table></div>',
        key=key,
    )


def facts(items: Sequence[tuple[str, str, str]]) -> str:
    """HTML of (name, value as HTML, note) side by side."""
    cells = "".join(
        f'<div class="tg-fact"><div class="k">{escape(name)}</div><div class="v">{value}</div>'
        f'<div class="n">{escape(note)}</div></div>'
        for name, value, note in items
    )
    return f'<div class="tg-facts">{cells}</div>'


def pairs(rows: Sequence[tuple[str, str]]) -> str:
    """HTML of names and what belongs to them, one below the other, in small type."""
    return f'<dl class="tg-pairs">{"".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows)}</dl>'


def sentence(text: str) -> str:
    """With a capital at its beginning; the rest, names in it too, stays as it is."""
    return f"{text[:1].upper()}{text[1:]}"


def clip(text: str, rem: int = 22) -> str:
    """A name that may be 200 characters long: cut with an ellipsis, whole in its tooltip."""
    return f'<span class="tg-clip" style="max-width:{rem}rem" title="{escape(text)}">{escape(text)}</span>'


def dotted(key: str) -> str:
    """A key of the configuration, which may break behind its dots."""
    broken = escape(key).replace(".", ".<wbr>")
    return f'<span class="tg-mono tg-key" title="{escape(key)}">{broken}</span>'


def wrap(text: str) -> str:
    """A value or reason that may break, at best behind _ or /, so that a path in it widens no table."""
    broken = escape(text).replace("_", "_<wbr>").replace("/", "/<wbr>")
    return f'<span class="tg-any">{broken}</span>'


def bar(share: float, text: str) -> str:
    width = f"{100 * min(max(share, 0), 1):.1f}%"
    return f'<span class="tg-bar"><span><span style="width:{width}"></span></span><span class="tg-num">{escape(text)}</span></span>'


def labelled(row: dict[str, Any]) -> str:
    """The labelled share of a dataset's row as a bar."""
    share = row["labelled"] / row["samples"] if row["samples"] else 0
    return bar(share, f"{row['labelled']:,} of {row['samples']:,}")


def newest_version(row: dict[str, Any]) -> str:
    """A dataset's newest version, or what is damaged in it."""
    if row["reason"]:
        return f'<span class="tg-state failed">{icon("error")} {clip("damaged: " + row["reason"], 14)}</span>'
    return escape(row["version"] or "none yet")


def headline(row: dict[str, Any]) -> str:
    """A run's main metric on validation, with its name and unit, as HTML."""
    if row["main_metric"] is None:
        return "not measured"
    name = row["main_metric_name"]
    said = escape(metric_words(name)[0])
    return f'<span class="tg-num">{metric(name, row["main_metric"])}</span> <span class="tg-soft">{said}, validation</span>'


# --- numbers and times --------------------------------------------------------------------------------------------


def number(value: float | None, unit: str = "") -> str:
    """At most three significant digits; 'not measured' where there is none."""
    if value is None or not math.isfinite(value):
        return "not measured"
    if value and not 1e-3 <= abs(value) < 1e6:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        text = f"{float(mantissa):g}e{int(exponent)}"
    else:
        rounded = float(f"{value:.3g}")
        whole = isinstance(value, int) or abs(rounded) >= 100
        text = f"{rounded:,.0f}" if whole else f"{value:#.3g}" if value else "0"
    return f"{text} {unit}".rstrip()


def measured(found: dict[str, Any] | None, unit: str = "", *, against: str = "") -> str:
    """`{"value", "low", "high", "n_cards"}` as `0.21 mm (0.18 to 0.26) · 31 cards · constant box 0.52 mm`."""
    if not found or found.get("value") is None:
        return "not measured"
    parts = [number(found["value"], unit)]
    if found.get("low") is not None and found.get("high") is not None:
        parts[0] += f" ({number(found['low'])} to {number(found['high'])})"
    if found.get("n_cards") is not None:
        parts.append(count(found["n_cards"], "card"))
    return " · ".join([*parts, against] if against else parts)


def interval(found: dict[str, Any], unit: str = "", factor: float = 1) -> str:
    """`0.18 to 0.26 mm`, or '' where there is none."""
    low, high = found.get("low"), found.get("high")
    return "" if low is None or high is None else f"{number(low * factor)} to {number(high * factor, unit)}"


def metric(name: str, value: float | None) -> str:
    """A metric's value in the unit that people read it in."""
    return number(None if value is None else value * factor(name), metric_words(name)[1])


def metric_interval(name: str, found: dict[str, Any]) -> str:
    return interval(found, metric_words(name)[1], factor(name))


def factor(name: str) -> float:
    """What a metric's stored value is multiplied by before people read it: shares become percent."""
    return 100 if metric_words(name)[1] == "%" else 1


METRICS = {
    "side_error_px": ("side error, median", "px"),
    "side_error_mm": ("side error, median", "mm"),
    "side_error_mm_p95": ("side error, 95th percentile", "mm"),
    "side_error_mm_shifted": ("side error, shifted copy", "mm"),
    "box_map": ("box mAP", ""),
    "box_ap50": ("box AP50", ""),
    "box_ap75": ("box AP75", ""),
    "mask_map": ("mask mAP", ""),
    "mask_ap50": ("mask AP50", ""),
    "mask_ap75": ("mask AP75", ""),
    "f1": ("F1", ""),
    "card_accuracy": ("card accuracy", "%"),
    "loss": ("loss", ""),
    "lr": ("learning rate", ""),
}


def metric_words(name: str) -> tuple[str, str]:
    """(plain words, unit) of a metric, with or without `train/` or `val/` before it."""
    split, _, bare = name.rpartition("/")
    words, unit = METRICS.get(bare, (bare.replace("_", " "), ""))
    return (f"{split} {words}" if split else words), unit


def metric_label(name: str) -> str:
    """A metric's words with its unit, as in a list where the same words stand for two units: `side error, median, px`."""
    words, unit = metric_words(name)
    return f"{words}, {unit}" if unit in ("mm", "px") else words


def chart_title(name: str) -> str:
    """A metric's words as a heading, its unit behind: `Side error, median, mm`."""
    words, unit = metric_words(name)
    words = words.replace("val loss", "validation loss").removeprefix("val ").replace("train ", "training ")
    return sentence(words) + (f", {unit}" if unit else "")


def count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def time_left(seconds: float) -> str:
    """An estimate, which is in whole seconds at best."""
    return duration(max(1, round(seconds)))


def duration(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds):
        return "not known"
    if seconds < 60:
        return f"{number(seconds if seconds < 10 else round(seconds))} s"
    minutes, s = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {s} s" if minutes < 10 and s else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def ago(t: float) -> str:
    """How long since `t` (seconds since 1970)."""
    past = time.time() - t
    for limit, step, word in ((60, 1, "s"), (3600, 60, "min"), (172_800, 3600, "h")):
        if past < limit:
            return f"{int(past // step)} {word} ago" if past >= 5 else "just now"
    return time.strftime("%d %b %Y", time.localtime(t))


def ago_seconds(seconds: float | None) -> str:
    """A span as an age: `4 s`."""
    return "not known" if seconds is None else duration(round(seconds))


def extent(width: float, height: float, mm_per_px: float | None) -> str:
    """A width and height given in px, in mm where the scale is known."""
    if not mm_per_px:
        return f"{width:.0f} × {height:.0f} px"
    return f"{number(width * mm_per_px)} × {number(height * mm_per_px)} mm"


def size(n: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if n < 1000:
            return number(n, unit)
        n /= 1000
    return number(n, "TB")


# --- the sidebar's foot -------------------------------------------------------------------------------------------


def foot() -> None:
    """Workspace, device, person and queue, in a line each."""
    ws, machine = state.workspace(), state.machine()
    gpu = machine.gpus[0].name if machine.gpus else f"CPU, {count(machine.cores, 'core')}"
    memory = machine.gpus[0].memory_bytes if machine.gpus else machine.memory_bytes
    lines = [
        (f"{_icon('folder')}{escape(ws.root.name)}", str(ws.root)),
        (f"{_icon('memory')}{escape(gpu)}, {size(memory)}", machine.gpu_reason),
        (f"{_icon('person')}{escape(state.who() or 'unknown')}", "the name that goes with what you do here"),
    ]
    body = "".join(f'<div title="{escape(title)}">{line}</div>' for line, title in lines)
    linked(f'<div class="tg-foot">{body}</div>', key="foot")
    # A job goes on while the page stands still.
    st.fragment(_queue, run_every=2.0 if state.live(ws) else None)(ws)


def _queue(ws: Workspace) -> None:
    busy = [now.state for _, now in state.live(ws)]
    words = f"{busy.count('running')} running, {busy.count('queued')} waiting"
    queue = link("monitor", words, css="") if busy else "nothing running or waiting"
    linked(f'<div class="tg-foot tg-on"><div>{_icon("stacks")}{queue}</div></div>', key="foot-queue")
