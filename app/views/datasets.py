"""Datasets: what do I have, is it good?"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import streamlit as st

from app import browse, import_form, jobcard, look, state
from trugrade_core.data.formats import FORMATS
from trugrade_core.runs import RunFolder
from trugrade_core.workflows import datasets
from trugrade_core.workflows import overview as engine
from trugrade_core.workspace import Workspace

LOOKED_AT = 200  # runs
EXPORTS = [name for name, row in FORMATS.items() if row.write]
VIEWS = {"browse": "Browse", "versions": "Versions and splits", "import": "Import"}


def main() -> None:
    ws = state.workspace()
    name = st.query_params.get("dataset", "").partition("@")[0]
    view = st.query_params.get("view", "")
    if name and (view != "import" or name in state.dataset_names(ws)):
        with look.errors("opening the dataset"):
            _one(ws, name, view if view in VIEWS else "browse")
    elif view == "import":
        with look.head("Import images"):
            if st.button("All datasets", icon=":material/arrow_back:"):
                state.go("datasets", dataset="", view="", sample="")
        import_form.show(ws, name)
    else:
        _all(ws)


def _all(ws: Workspace) -> None:
    rows = state.dataset_rows(ws)
    with look.head("Datasets", note=look.count(len(rows), "dataset") if rows else ""):
        if st.button("Make synthetic cards", icon=":material/auto_awesome:"):
            _synth(ws)
        if rows and st.button("Import images", type="primary", icon=":material/upload:"):
            state.go("datasets", view="import", dataset="", sample="", job="")
    if job_id := st.query_params.get("job"):
        jobcard.show(job_id, done=_made)
    if not rows:
        look.empty(
            "No dataset yet",
            "A dataset is a set of card scans with what is drawn on them. Bring a folder, COCO, YOLO or Pascal VOC, or make synthetic cards.",
            icon="photo_library",
            action=look.IMPORT,
            view="import",
        )
        return
    newest = _newest_runs(ws)
    look.table(
        ["dataset", "cards", "samples", "labelled", "newest version", "last run", "classes"],
        [_row(row, newest.get(row["name"])) for row in rows[:200]],
        key="datasets",
        right=(1, 2),
    )


def _made(found: dict[str, Any], _args: dict[str, Any]) -> None:
    st.caption(f"{look.count(found.get('images', 0), 'new card')} in {found.get('dataset', '')}")


def _newest_runs(ws: Workspace) -> dict[str, RunFolder]:
    """{dataset: the newest of its runs}."""
    found: dict[str, RunFolder] = {}
    for folder in state.runs(ws)[:LOOKED_AT]:
        found.setdefault(str(state.job(folder).get("dataset", "")).partition("@")[0], folder)
    return found


def _row(row: dict[str, Any], run: RunFolder | None) -> list[str]:
    return [
        look.link("datasets", look.clip(row["name"], 20), dataset=row["name"], sample="", view="browse"),
        f"{row['cards']:,}",
        f"{row['samples']:,}",
        look.labelled(row),
        look.newest_version(row),
        _last_run(run) if run else "none yet",
        look.clip(", ".join(row["classes"]) or "none yet", 14),
    ]


def _last_run(run: RunFolder) -> str:
    row = state.run_row(run)
    said = (
        look.badge(row["state"])
        if row["main_metric"] is None
        else look.metric(row["main_metric_name"], row["main_metric"])
    )
    words = look.metric_words(row["main_metric_name"])[0] if row["main_metric"] is not None else ""
    return look.link("monitor", said, run=run.id, title=words)


@st.dialog("Make synthetic cards")
def _synth(ws: Workspace) -> None:
    st.caption("Cards whose borders are known exactly, in pixels and millimetres.")
    name = st.text_input("Dataset", value="synthetic-cards")
    left, middle, right = st.columns(3)
    count = left.number_input("Cards", min_value=1, max_value=100_000, value=50)
    dpi = middle.number_input("Resolution  :small[:gray[dpi]]", min_value=50, max_value=1200, value=600)
    seed = right.number_input("Seed", min_value=0, value=0, help="The same seed makes the same cards.")
    if st.button("Make them", type="primary"):
        with look.errors("starting"):
            job = datasets.start_synth(ws, name, count=count, dpi=dpi, seed=seed, who=state.who())
            state.go("datasets", job=job.id, dataset="", view="", sample="")


# --- one dataset --------------------------------------------------------------------------------------------------


def _one(ws: Workspace, name: str, view: str) -> None:
    loaded = state.dataset(ws, name)
    versions = state.version_names(ws, name)
    cards = len({sample.card for sample in loaded.samples.values()})
    chips = [
        look.chip(look.count(cards, "card"), icon="style"),
        look.chip(f"@{versions[0]}" if versions else "no version yet", icon="sell"),
    ]
    with look.head(name, chips=chips):
        if versions:
            if st.button("Train on it", type="primary", icon=":material/tune:"):
                state.go("train", dataset=f"{name}@{versions[0]}")
        elif view == "browse" and st.button(
            "Split and keep a version", type="primary", icon=":material/call_split:", disabled=not loaded.samples
        ):
            state.go("datasets", dataset=name, view="versions")
    if sample := st.query_params.get("sample"):
        browse.detail(loaded, sample)
        return
    chosen = st.segmented_control(
        "View",
        list(VIEWS),
        format_func=VIEWS.__getitem__,
        default=view,
        required=True,
        label_visibility="collapsed",
        key=f"view-{name}-{view}",
    )
    if chosen != view:
        state.go("datasets", dataset=name, view=chosen)
    if view == "browse":
        browse.grid(loaded)
    elif view == "import":
        import_form.show(ws, name)
    else:
        _versions(ws, name)


def _versions(ws: Workspace, name: str) -> None:
    found = engine.dataset(ws, name)
    st.caption(
        "A version is an immutable copy of the labels and splits; trainings stand on versions. Images of one card always go into one split."
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        ratios = st.text_input("Shares  :small[:gray[train/val/test]]", value="70/15/15", width=160)
        seed = st.number_input("Seed", min_value=0, value=0, width=120)
        split = st.button(
            "Split anew and keep",
            type="secondary" if found["versions"] else "primary",
            icon=":material/call_split:",
            disabled=not found["samples"],
        )
        keep = st.button(
            "Keep as it is now", icon=":material/sell:", disabled=not found["samples"],
            help="New cards are split by the same shares; nothing moves. Unchanged content gives the version that is there.",
        )  # fmt: skip
    with look.errors("keeping a version"):
        if split:
            made = datasets.split_dataset(ws, name, ratios=datasets.parse_ratios(ratios), seed=seed)
            _kept(name, made)
        if keep:
            _kept(name, datasets.snapshot_dataset(ws, name))
    found = engine.dataset(ws, name) if split or keep else found
    if not found["versions"]:
        look.empty("No version yet", "Split the cards into train, val and test; that is kept as v1.", icon="sell")
    else:
        look.table(
            ["version", "samples", "train", "val", "test", "made", "digest"],
            [_version_row(v) for v in found["versions"]],
            key="versions",
            right=(1, 2, 3, 4),
        )
    st.subheader("Classes")
    look.table(
        ["id", "class", "shape", "annotations"],
        [
            [str(i), look.clip(c["name"]), c["shape"], f"{c['annotations']:,}"]
            for i, c in enumerate(found["classes"], 1)
        ],
        key="classes",
        right=(0, 3),
    )
    _leave(ws, name, [v["version"] for v in found["versions"]])
    if found["conflicts"]:
        st.warning(
            f"{look.count(found['conflicts'], 'annotation')} changed by two people at once; the newest counts until one settles it."
        )


def _leave(ws: Workspace, name: str, versions: list[str]) -> None:
    """Exporting a version, and removing the dataset."""
    with st.expander("Export a version as COCO, YOLO or Pascal VOC", icon=":material/output:"):
        left, middle, right = st.columns([1, 1, 3], vertical_alignment="bottom")
        version = left.selectbox("Version", versions, key="export-version")
        kind = middle.selectbox("Format", EXPORTS, key="export-format")
        out = right.text_input(
            "New folder on the lab's machine", placeholder="/data/exports/cards-coco", key="export-folder"
        )
        if st.button("Export", icon=":material/output:", disabled=not (out and version)):
            with look.errors("starting the export"):
                job = datasets.start_export(ws, f"{name}@{version}", kind, Path(out).expanduser(), who=state.who())
                state.keep(job=job.id)
        if job_id := st.query_params.get("job"):
            jobcard.show(job_id, done=_exported)
    with st.popover("Remove this dataset", icon=":material/delete:"):
        st.caption("Moves it to the workspace's trash, versions and all. Images stay where they are.")
        if st.button("Move to the trash"):
            with look.errors("removing the dataset"):
                datasets.remove_dataset(ws, name)
                state.go("datasets", dataset="", view="", sample="")


def _exported(found: dict[str, Any], args: dict[str, Any]) -> None:
    st.success(f"{look.count(found.get('images', 0), 'image')} in {args['out']}", icon=":material/check_circle:")
    for what, n in found["left_out"].items():
        st.caption(f"Left out, the format has no place for it: {what} ({n:,})")


def _kept(name: str, made: dict[str, Any]) -> None:
    st.success(f"Kept as {name}@{made['version']}. Next: train on it.", icon=":material/check_circle:")


def _version_row(version: dict[str, Any]) -> list[str]:
    def of(split: str) -> str:
        n = version["splits"].get(split, {"samples": 0, "cards": 0})
        return f"{n['samples']:,} <span class='tg-soft'>({look.count(n['cards'], 'card')})</span>"

    return [
        f"<b>{escape(version['version'])}</b>",
        f"{version['samples']:,}",
        of("train"),
        of("val"),
        of("test"),
        escape(version["created"][:16].replace("T", " ")) + " UTC",
        f'<span class="tg-mono">{version["digest"][:12]}</span>',
    ]


main()
