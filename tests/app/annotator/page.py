"""A page with the annotator alone, for the browser tests and the bench: launcher and script in one, as app/Home.py.

Samples and their shapes come from ANNOTATOR_FOLDER/setup.json, commits go line by line to log.jsonl beside it, and what
the page shows is that log folded up: enough of a lab to hold the component to its protocol, with its entries and heads.
"""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import streamlit as st

FOLDER = Path(os.environ["ANNOTATOR_FOLDER"])
LOG = FOLDER / "log.jsonl"


def folded(sample: str, start: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The sample's shapes with all their heads, and its status."""
    heads: dict[str, dict[str, dict[str, Any]]] = {}
    for shape in start:
        heads.setdefault(shape["id"], {})[shape["entry"]] = {"op": "put", "who": "import", "when": "", **shape}
    status: dict[str, Any] = {"status": "unlabelled", "comment": "", "status_entry": None}
    for line in lines():
        if line["sample"] != sample:
            continue
        if "status" in line:
            status = {**line["status"], "status_entry": entry(line["commit"], len(line["ops"]))}
        for number, op in enumerate(line["ops"]):
            own = heads.setdefault(op["annotation"], {})
            own.pop(op["replaces"], None)
            own[entry(line["commit"], number)] = {**op, "who": line["who"], "when": line["made"]}
    shapes = []
    for annotation, found in heads.items():
        entries = list(found.items())
        puts = [(number, said) for number, said in entries if said["op"] == "put"]
        if not puts:
            continue
        number, said = puts[-1]
        others = [
            {"entry": n, **{k: o[k] for k in ("op", "who", "when", "label", "value")}, "same": o["op"] == "put" and o["value"] == said["value"] and o["label"] == said["label"]}
            for n, o in entries
            if n != number
        ]  # fmt: skip
        keep = {k: said.get(k) for k in ("label", "value", "who", "when", "suggested_by")}
        shapes.append(
            {"id": annotation, "entry": number, **keep, "attributes": said.get("attributes") or {}, "conflict": others}
        )
    return shapes, status


def entry(commit: str, number: int) -> str:
    return f"{commit}.{number}"


def lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in LOG.read_text().splitlines()] if LOG.exists() else []


def main() -> None:
    from app.annotator import annotator

    setup = json.loads((FOLDER / "setup.json").read_text())
    state = st.session_state
    state.setdefault("at", 0)
    state.setdefault("heard", 0)
    state.setdefault("saved", {"commit": None, "seq": 0, "entries": [], "at": "", "by": "", "problem": ""})
    state.setdefault("offers", None)
    who = st.query_params.get("who", "maria")

    def on_commit(commit: dict[str, Any]) -> None:
        state.heard += 1
        time.sleep(setup.get("slow_s", 0))
        problem = (FOLDER / "problem.txt").read_text() if (FOLDER / "problem.txt").exists() else ""
        if not problem and commit["commit"] not in {line["commit"] for line in lines()}:
            with LOG.open("a") as f:
                f.write(json.dumps(commit) + "\n")
        state.saved = {
            "commit": commit["commit"],
            "seq": commit["seq"],
            "entries": []
            if problem
            else [entry(commit["commit"], n) for n in range(len(commit["ops"]) + ("status" in commit))],
            "at": "" if problem else f"{datetime.now(UTC):%H:%M:%S}",
            "by": commit["who"],
            "problem": problem,
        }

    def on_navigate(to: dict[str, Any]) -> None:
        state.heard += 1
        at = [s["id"] for s in setup["samples"]].index(to["sample"])
        state.at = (at + (1 if to["to"] == "next" else -1)) % len(setup["samples"])

    def on_ask(asked: dict[str, Any]) -> None:
        state.heard += 1
        if not setup["answer"]:
            state.notice = "nothing stands out there"
            return
        state.offers = [
            {
                "id": f"s{state.heard}",
                "entry": None,
                "label": asked["label"],
                "suggested_by": "test",
                "value": setup["answer"],
            }
        ]

    @st.fragment
    def page() -> None:
        sample = setup["samples"][state.at]
        shapes, status = folded(sample["id"], sample.get("shapes", []))
        around = [setup["samples"][(state.at + n) % len(setup["samples"])]["image"] for n in (-1, 1, 2)]
        before, *after = (image.get("half_url") or image["url"] for image in around)
        annotator(
            {
                "store": f"test|{setup.get('mode', 'shapes')}", "sample": sample["id"], "layer": "main", "image": sample["image"],
                "shapes": shapes, "suggestions": [*sample.get("suggestions", []), *(state.offers or [])],
                "classes": setup["classes"], **status, "mode": setup.get("mode", "shapes"), "scores": [1 + n / 2 for n in range(19)],
                "tags": setup.get("tags", []), "rubric": setup.get("rubric", ""), "readonly": setup.get("readonly", ""), "saved": state.saved,
                "previous": before, "next": after, "who": who, "severities": ["micro", "minor", "moderate", "heavy"],
                "segment": setup.get("segment", ""),
                "notice": state.pop("notice", ""),
            },
            key="annotator", on_commit=on_commit, on_navigate=on_navigate, on_ask=on_ask,
        )  # fmt: skip
        st.caption(f"heard {state.heard}")

    page()


if __name__ == "__main__":
    st.set_page_config(layout="wide")
    main()
else:
    from starlette.responses import FileResponse, Response
    from starlette.routing import Route

    from app.server import ROUTES

    def picture(request: Any) -> Response:
        return FileResponse(FOLDER / Path(request.path_params["name"]).name)

    app = st.App(__file__, routes=[*ROUTES, Route("/test/{name}", picture)])
