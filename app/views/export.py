"""Export: can it leave?"""

from __future__ import annotations

import io
import json
import zipfile
from html import escape
from pathlib import Path
from typing import Any

import streamlit as st

from app import jobcard, look, state
from trugrade_core.export import FORMATS
from trugrade_core.runs import RunFolder
from trugrade_core.workflows import evaluating, exporting
from trugrade_core.workspace import Workspace, read_json


def main() -> None:
    ws = state.workspace()
    folders = state.trained(ws)
    artifacts = sorted((path.parent for path in ws.exports.glob("*/manifest.json")), key=lambda p: -p.stat().st_mtime)
    with look.head("Export", note="an artifact leaves only if it says what the model says"):
        pass
    if not folders and not artifacts:
        look.empty(
            "No model to export yet",
            "A trained run leaves the lab as a file that TruScore loads.",
            icon="deployed_code",
            action=look.TRAIN,
        )
        return
    if folders:
        with look.errors("reading the run"):
            _make(ws, folders)
    st.subheader("Artifacts")
    if not artifacts:
        st.caption("None yet.")
    asked = st.query_params.get("artifact", "")
    for path in artifacts[:50]:
        with look.errors(f"reading {path.name}"):
            _artifact(path, expanded=path.name == asked)


def _make(ws: Workspace, folders: list[RunFolder]) -> None:
    by_id = {folder.id: folder for folder in folders}
    asked = state.param("run")
    left, right = st.columns([3, 2])
    run = left.selectbox(
        "Run",
        list(by_id),
        index=list(by_id).index(asked) if asked in by_id else 0,
        format_func=lambda r: state.run_words(by_id[r]),
    )
    name = right.text_input(
        "Name of the artifact", placeholder=f"{run}-onnx", help="The run's id and the format when left empty."
    )
    state.keep(run=run)
    trained = state.run_row(by_id[run])
    st.caption(
        f"Best epoch {trained['epoch']} · {trained['architecture']} on {trained['dataset']} · {evaluating.judged(ws, by_id[run])}"
    )
    for column, row in zip(st.columns(len(FORMATS)), FORMATS.values(), strict=True):
        with column.container(border=True, height="stretch"):
            st.html(f"<b>{escape(row.title)}</b><div class='tg-soft tg-small'>{row.id}</div>")
            if row.write:
                if st.button(
                    f"Export as {row.id}", type="primary", icon=":material/deployed_code:", key=f"export-{row.id}"
                ):
                    with look.errors("starting the export"):
                        job = exporting.start_export(ws, run, row.id, name=name or None, who=state.who())
                        state.keep(job=job.id)
                        st.rerun()
            else:
                st.html(f'<span class="tg-soft">{look.icon("block", "not in this version")}</span>')
    if job_id := st.query_params.get("job"):
        jobcard.show(job_id, done=_done)


def _done(found: dict[str, Any], _args: dict[str, Any]) -> None:
    name = Path(found["artifact"]).name
    st.query_params["artifact"] = name
    st.success(f"{name} agrees with the trained model: it stands open below.", icon=":material/verified:")


def _artifact(path: Path, *, expanded: bool) -> None:
    manifest = read_json(path / "manifest.json")
    files = [file for file in sorted(path.iterdir()) if file.is_file()]
    total = sum(file.stat().st_size for file in files)
    with st.expander(
        f"**{path.name}** · {manifest.get('kind', '')} · {look.size(total)}",
        expanded=expanded,
        icon=":material/deployed_code:",
    ):
        left, right = st.columns(2, gap="medium")
        with left:
            parity = read_json(path / "parity.json") if (path / "parity.json").exists() else manifest.get("parity", {})
            _parity(path.name, parity)
        with right:
            rows = [
                [f'<span class="tg-soft">{escape(key.replace("_", " "))}</span>', look.clip(_words(value))]
                for key, value in manifest.items()
                if key not in ("parity", "metrics", "preprocess", "format")
            ]
            look.table(["", ""], rows, key=f"manifest-{path.name}")
        with st.container(horizontal=True):
            if st.button("Try it", icon=":material/center_focus_strong:", key=f"try-{path.name}"):
                state.go("try_it", model=path.name, job="")
            st.download_button(
                "Download all as .zip", data=lambda: _zip(files), file_name=f"{path.name}.zip", mime="application/zip",
                icon=":material/download:", key=f"zip-{path.name}", on_click="ignore",
            )  # fmt: skip
            st.download_button(
                "Manifest", data=json.dumps(manifest, indent=1), file_name="manifest.json", icon=":material/description:",
                key=f"manifest-file-{path.name}", on_click="ignore",
            )  # fmt: skip


def _parity(name: str, parity: dict[str, Any]) -> None:
    passed = parity.get("passed")
    word = "Agrees with the trained model" if passed else "Does not agree with the trained model"
    st.html(
        f'<span class="tg-state {"finished" if passed else "failed"}">{look.icon("verified" if passed else "error")} {word}</span> '
        f'<span class="tg-soft">on {parity.get("compared", 0)} images</span>'
    )
    worst = parity.get("worst") or {}
    limits = parity.get("limits") or parity.get("tolerances") or {}
    rows = []
    for key, value in worst.items() if isinstance(worst, dict) else [("worst", worst)]:
        shown = (
            look.number(value) if isinstance(value, int | float) and not isinstance(value, bool) else escape(str(value))
        )
        limit = limits.get(key)
        rows.append(
            [escape(key.replace("_", " ")), shown, look.number(limit) if isinstance(limit, int | float) else ""]
        )
    if rows:
        look.table(["largest difference", "seen", "allowed"], rows, key=f"parity-{name}", right=(1, 2))


def _words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _zip(files: list[Path]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            archive.write(file, file.name)
    return out.getvalue()


main()
