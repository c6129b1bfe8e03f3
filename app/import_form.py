"""Bringing images and labels in: from this browser or from a folder of the machine, checked first, then as a job."""

from __future__ import annotations

from html import escape
from pathlib import Path, PurePosixPath
from typing import Any

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from app import jobcard, look, page_words, state, uploads
from trugrade_core.data.formats import FORMATS
from trugrade_core.data.importing import ImportOptions
from trugrade_core.errors import UsageError
from trugrade_core.workflows import datasets
from trugrade_core.workspace import Workspace

ENDINGS = ["png", "jpg", "jpeg", "tif", "tiff", "webp", "bmp", "zip", "json", "txt", "xml", "csv", "yaml", "yml"]
SHOWN = 200
WIDTH = 900  # px
UPLOAD, FOLDER = "From this computer", "From a folder of the lab's machine"


def show(ws: Workspace, dataset: str) -> None:
    """The form, and below it what became of the last import; `dataset` is proposed as the one to add to."""
    with st.container(width=WIDTH):
        _form(ws, dataset)
    if job_id := st.query_params.get("job"):
        jobcard.show(job_id, done=report)


def _form(ws: Workspace, dataset: str) -> None:
    where = st.segmented_control(
        "Where the images are", [UPLOAD, FOLDER], default=UPLOAD, required=True, key="import-where"
    )
    files: list[UploadedFile] = []
    folder = ""
    if where == UPLOAD:
        files = st.file_uploader(
            "Images, label files, or a .zip of a whole folder",
            type=ENDINGS,
            accept_multiple_files=True,
            key="import-files",
        )
    else:
        folder = st.text_input(
            "Folder, .zip, label file or CSV",
            key="import-folder",
            placeholder="/data/scans/box-12",
            help="A path on the machine that runs the lab.",
        )
    names = state.dataset_names(ws)
    name = st.selectbox(
        "Dataset",
        names,
        index=names.index(dataset) if dataset in names else None,
        accept_new_options=True,
        placeholder="choose one, or type a new name",
        key="import-dataset",
    )
    options = _options()
    ready = bool(name and (files or folder))
    with st.container(horizontal=True, vertical_alignment="center"):
        check = st.button(
            "Check first", icon=":material/rule:", disabled=not ready, help="Reads everything, writes nothing."
        )
        go = st.button("Import", type="primary", icon=":material/upload:", disabled=not ready)
        if not ready:
            st.caption("Choose images and a dataset.")
    if check or go:
        with look.errors("starting the import"):
            source, cards = _save(ws, files) if files else (Path(folder).expanduser(), None)
            given = options()
            given = given.model_copy(update={"dry_run": not go, "cards": given.cards or cards})
            job = datasets.start_import(ws, source, str(name), given, who=state.who())
            state.keep(job=job.id)


def _options() -> Any:
    """The folded settings; a function that makes ImportOptions of them, so that mistakes show when they are used."""
    with st.expander("Labels, classes, cards, resolution", icon=":material/tune:"):
        left, right = st.columns(2)
        kind = left.selectbox(
            "Format", ["auto", *FORMATS], key="import-format", help="auto looks at the files and says what it found."
        )
        dpi = right.number_input(
            "Resolution  :small[:gray[dpi]]", min_value=1.0, value=None, placeholder="as the files say", key="import-dpi",
            help="Scan resolution where the files do not say it. Without it nothing can be measured in mm.",
        )  # fmt: skip
        classes = left.text_input(
            "Classes, in their order", key="import-classes", placeholder="outer_border, graphical_border"
        )
        pattern = right.text_input(
            "Card id from file names", key="import-pattern", placeholder=r"(?P<card>\w+)_front",
            help="A regular expression with a group 'card'. All images of a card go into the same split.",
        )  # fmt: skip
        mapping = left.text_area(
            "Rename classes", key="import-map", placeholder="theirs=ours, one a line", height=68,
            help="For one-class training from two-class labels: outer_border=border",
        )  # fmt: skip
        origin = right.segmented_control(
            "Origin", ["real", "synthetic"], default="real", required=True, key="import-origin"
        )
        labels = left.text_input(
            "Labels, when they lie elsewhere", key="import-labels", placeholder="a folder or file on the lab's machine"
        )
        cards = right.text_input(
            "List of cards",
            key="import-cards",
            placeholder="a CSV on the lab's machine",
            help="Columns file, card, design, print, session, side, origin, dpi. An uploaded file named cards.csv is taken as it.",
        )

    def made() -> ImportOptions:
        return ImportOptions(
            format=kind,
            labels=Path(labels).expanduser() if labels else None,
            cards=Path(cards).expanduser() if cards else None,
            dpi=dpi,
            classes=tuple(word.strip() for word in classes.split(",") if word.strip()) or None,
            card_pattern=pattern or None,
            mapping=dict(_pair(line) for line in mapping.splitlines() if line.strip()),
            origin=origin,
            who=state.who(),
        )

    return made


def _pair(line: str) -> tuple[str, str]:
    theirs, _, ours = line.partition("=")
    if not theirs.strip() or not ours.strip():
        raise UsageError(f"'{line}' is not theirs=ours", where="Rename classes", what_to_do="Write one pair a line.")
    return theirs.strip(), ours.strip()


def _save(ws: Workspace, files: list[UploadedFile]) -> tuple[Path, Path | None]:
    """Write what the browser sent into a fresh folder: (what to import, the list of cards).

    Of two files of one name the later gets a number.
    """
    folder = uploads.new(ws)
    cards = folder / "cards.csv"
    source = folder / "files"
    source.mkdir()
    for upload in files:
        name = PurePosixPath(upload.name.replace("\\", "/")).name or "unnamed"
        path, n = source / name, 1
        while path.exists():
            n += 1
            path = source / f"{Path(name).stem} ({n}){Path(name).suffix}"
        (cards if name == cards.name else path).write_bytes(upload.getbuffer())
    only = list(source.iterdir())
    alone = len(only) == 1 and only[0].suffix.lower() in (".zip", ".json", ".csv")
    return only[0] if alone else source, cards if cards.exists() else None


def report(found: dict[str, Any], args: dict[str, Any]) -> None:
    """What an import took, or would take, and what it left out and why."""
    dry = args["options"]["dry_run"]
    skipped = found["skipped"]
    facts = [
        ("would be taken" if dry else "taken", f"{found['taken']:,}", "files"),
        ("new images", f"{found['images']:,}", "the rest are here already" if found["taken"] > found["images"] else ""),
        ("new annotations", f"{found['annotations']:,}", ""),
        ("left out", f"{len(skipped):,}", "with the reason below" if skipped else ""),
        ("read as", escape(str(found["format"])), ""),
    ]
    st.html(look.facts(facts))
    for note in found.get("notes", []):
        st.caption(page_words.said(note))
    if skipped:
        with st.expander(f"Left out: {look.count(len(skipped), 'file')}", expanded=len(skipped) <= 20):
            look.table(
                ["file", "why"],
                [[look.clip(row["file"]), escape(page_words.said(row["reason"]))] for row in skipped[:SHOWN]],
                key="import-skipped",
            )
            if len(skipped) > SHOWN:
                st.caption(f"The first {SHOWN} of {len(skipped):,}; the job's folder holds them all.")
    if checked := found.get("check"):
        st.caption(
            f"Checked without reading pictures: {checked['verdict'].replace('_', ' ')}, because {checked['reason']}."
        )
        if found["taken"] and st.button("Check it with its pictures", icon=":material/rule:", key="import-check"):
            state.go("check", dataset=found["dataset"], task="", check="", job="")
    if (
        not dry
        and found["taken"]
        and st.button("Look at the dataset", icon=":material/arrow_forward:", key="import-next")
    ):
        state.go("datasets", dataset=found["dataset"], view="browse", job="")
