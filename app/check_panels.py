"""The parts of a check on a page: verdict, tiles, findings with their pictures, accepting one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import streamlit as st

from app import look, overlay, page_words, state
from trugrade_core.data.acceptance import for_every_task
from trugrade_core.data.checks.verdict import WORDS
from trugrade_core.workflows import checking
from trugrade_core.workspace import Workspace

VERDICT_ICONS = {"fit": "check_circle", "reservations": "error", "not_fit": "block"}
STATUS = {
    "ok": ("check_circle", "nothing against it"),
    "warning": ("error", "warnings"),
    "fail": ("block", "errors"),
    "not_checked": ("help", "not checked"),
}
SEVERITY = {"error": ("block", "error"), "warning": ("error", "warning"), "info": ("info", "good to know")}
SHOWN = 20
"""Findings of one severity; the report and the command list all."""
MOST_IDS = 60
"""Samples that fit into an address; of more, the explorer is asked by the finding's code."""
SAMPLE_ID = re.compile(r"\b[0-9a-f]{16}\b")
Report = Mapping[str, Any]


def style() -> None:
    st.html(Path(__file__).with_name("check.css"))


def words_of(check: str) -> str:
    return check.replace("_", " ").capitalize()


def verdict(report: Report) -> None:
    rank = report["verdict"]
    task = (
        f"for {report['title']}" if report["task"] else "no task chosen: only what holds for every task was looked at"
    )
    took = "pictures read" if report["deep"] else "pictures not read"
    seen = f"{look.count(report['samples'], 'sample')} · {report['made'][:16].replace('T', ' ')} UTC · {took}"
    st.html(
        f'<div class="tg-verdict {rank}"><span class="tg-icon" aria-hidden="true">{VERDICT_ICONS[rank]}</span><div>'
        f"<b>{escape(WORDS[rank] if report['task'] else WORDS[rank].removesuffix(' for this task'))}</b><p>Because {escape(report['reason'])}.</p>"
        f'<span class="tg-soft tg-small">{escape(look.sentence(task))} · {escape(seen)}</span></div></div>'
    )


def tiles(report: Report, name: str, chosen: str) -> None:
    """The five checks; one chosen narrows the findings below to its own."""
    cells = []
    for check, found in report["checks"].items():
        icon, word = STATUS[found["status"]]
        score = "" if found["score"] is None else f" {100 * found['score']:.3g} %"
        bar = 0 if found["score"] is None else 100 * found["score"]
        inner = (
            f'<span class="k">{words_of(check)}</span>'
            f'<span class="v tg-sev-{found["status"]}">{look.icon(icon, look.sentence(word))}</span>'
            f'<span class="s tg-sev-{found["status"]}" title="free of findings:{score}"><span style="width:{bar:.0f}%"></span></span>'
            f'<span class="n" title="{escape(found["why"])}">{escape(look.sentence(found["why"]))}</span>'
        )
        on = check == chosen
        css = f"tg-check{' chosen' if on else ''}"
        cells.append(
            look.link("check", inner, css=css, dataset=name, check="" if on else check, task=report["task"] or "")
        )
    look.linked(f'<div class="tg-checks">{"".join(cells)}</div>', key="check-tiles")


def findings(ws: Workspace, report: Report, name: str, chosen: str) -> None:
    rows = [f for f in report["findings"] if not chosen or f["check"] == chosen]
    open_rows = [f for f in rows if "accepted" not in f]
    against = [f for f in open_rows if f["severity"] != "info"]
    if not against:
        here = f" in {words_of(chosen).lower()}" if chosen else ""
        st.html(f'<div class="tg-soft" style="padding:.6rem 0">Nothing stands against it{here}.</div>')
    for finding in against[:SHOWN]:
        with st.container(border=True):
            _finding(ws, report, name, finding, f"open-{finding['key']}")
    if len(against) > SHOWN:
        st.caption(f"{len(against) - SHOWN} more; the report and trugrade data check {name} list all.")
    for key, title, own in (
        ("info", "Good to know", [f for f in open_rows if f["severity"] == "info"]),
        ("accepted", "Looked at and let stand", [f for f in rows if "accepted" in f]),
    ):
        if own:
            with st.expander(f"{title} ({len(own)})"):
                for finding in own[:SHOWN]:
                    _finding(ws, report, name, finding, f"{key}-{finding['key']}")


def _finding(ws: Workspace, report: Report, name: str, finding: Mapping[str, Any], key: str) -> None:
    said, act = st.columns([5, 1], vertical_alignment="top")
    with said:
        _told(finding)
    with act:
        _samples_button(name, finding, key)
        _settle(ws, report, name, finding, key)
    if finding["samples"]:
        _shots(report, name, finding, key)


def _told(finding: Mapping[str, Any]) -> None:
    icon, word = SEVERITY[finding["severity"]]
    todo = (
        ""
        if finding["action"].startswith("Nothing to do")
        else f'<div class="todo">{escape(page_words.said(finding["action"]))}</div>'
    )
    stands = "".join(
        f'<div class="todo">{look.icon("person")} {escape(a["who"])}, {escape(a["when"][:10])}: {escape(a["reason"])}</div>'
        for a in finding.get("accepted", ())
    )
    st.html(
        f'<div class="tg-found"><div class="top"><b class="tg-sev-{finding["severity"]}">{look.icon(icon, look.sentence(word))}</b>'
        f'<span class="tg-soft">{words_of(finding["check"])}</span><span class="tg-mono tg-soft">{escape(finding["key"])}</span></div>'
        f'<div class="why">{escape(look.sentence(finding["why"]))}.</div>{todo}{stands}</div>'
    )


def _samples_button(name: str, finding: Mapping[str, Any], key: str) -> None:
    samples = finding["samples"]
    if not samples:
        return
    words = "Show the sample" if len(samples) == 1 else f"Show the {len(samples):,}"
    if st.button(words, icon=":material/grid_view:", key=f"show-{key}", width="stretch"):
        dataset = name.partition("@")[0]
        some = {"ids": ",".join(samples)} if len(samples) <= MOST_IDS else {"finding": finding["code"]}
        state.go("datasets", dataset=dataset, view="browse", sample="", **some)


def _settle(ws: Workspace, report: Report, name: str, finding: Mapping[str, Any], key: str) -> None:
    if "accepted" in finding:
        if st.button("Take back", icon=":material/undo:", key=f"back-{key}", width="stretch"):
            with look.errors("taking it back"):
                checking.withdraw(
                    ws,
                    name,
                    finding["key"],
                    who=state.who(),
                    reason="taken back on the page",
                    task=report["task"] or "",
                )
                st.rerun()
        return
    if finding["severity"] == "info":
        return
    with st.popover("Let it stand", icon=":material/verified:", width="stretch"):
        others = "In other pairs" if "pairs" in finding["details"] else "On other samples"
        if not for_every_task(finding["code"]):
            others += " and for other tasks"
        st.caption("It stays in the report with your name and reason, and weighs no more in the verdict. "
                   f"{others} it stands open.")  # fmt: skip
        who = st.text_input("Name", value=state.who(), key=f"who-{key}")
        reason = st.text_area(
            "Reason", key=f"reason-{key}", placeholder="What you looked at, and why it may stand", height=90
        )
        if st.button(
            "Let it stand", key=f"accept-{key}", type="primary", disabled=not (who.strip() and reason.strip())
        ):
            with look.errors("accepting the finding"):
                checking.accept(ws, name, finding["key"], who=who, reason=reason, task=report["task"] or "")
                st.rerun()


def _shots(report: Report, name: str, finding: Mapping[str, Any], key: str) -> None:
    dataset = name.partition("@")[0]
    by_sample = finding["details"].get("by_sample", {})
    cells = [
        look.link(
            "datasets",
            _shot(report, s, by_sample.get(s, "")),
            css="tg-tile",
            dataset=dataset,
            sample=s,
        )
        for s in finding["samples"][: checking.SHOTS]
        if s in report["shots"]
    ]
    if cells:
        look.linked(f'<div class="tg-shots">{"".join(cells)}</div>', key=f"shots-{key}")


def _shot(report: Report, sample: str, said: object) -> str:
    row, classes = report["shots"][sample], report["classes"]
    # A pair names its other sample by its id: people know it by its file.
    said = SAMPLE_ID.sub(lambda m: report["shots"].get(m[0], {}).get("name", m[0]), str(said))
    shapes = [
        overlay.Shape(
            points=[(x, y) for x, y in points], label=label, color=overlay.color_of(label, classes), dash=False
        )
        for label, points in row["shapes"]
    ]
    told = f"<b>{escape(said)}</b>" if said else ""
    split = f" · {row['split']}" if row["split"] else ""
    picture = overlay.thumb_of(row["sha256"], row["width"], row["height"], row["name"], shapes)
    return (
        f'{picture}<div class="cap">{told}<span title="{escape(row["name"])}">{escape(row["name"])}{split}</span></div>'
    )
