"""New dataset: what do I want to learn?"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path

import streamlit as st

from app import look, state
from trugrade_core.data.importing import ImportOptions
from trugrade_core.models import why_not, why_untrainable
from trugrade_core.tasks import CATEGORIES, TASKS, Task
from trugrade_core.workflows import creating, datasets, watching
from trugrade_core.workspace import Workspace

TITLES = {
    "border_detection": ("Borders", "crop_free"),
    "corner_analysis": ("Corners", "rounded_corner"),
    "edge_analysis": ("Edges", "border_left"),
    "surface_analysis": ("Surface", "texture"),
    "photometric_stereo": ("Photometric stereo", "light_mode"),
    "experimental": ("Experimental", "science"),
}
PARTS = {"corner": "corners", "edge": "edge strips", "surface": "the face"}


def main() -> None:
    ws = state.workspace()
    with look.head("New dataset", note="what do you want to learn?"):
        pass
    category = st.query_params.get("category", "")
    if category not in CATEGORIES:
        _categories()
        return
    _category(category)
    tasks = _of(category)
    if not tasks:
        look.empty("No such task yet", CATEGORIES[category], icon=TITLES[category][1])
        return
    st.caption(CATEGORIES[category])
    _tasks(tasks)
    task = TASKS.get(st.query_params.get("task", ""))
    if task and task.category == category:
        _start(ws, task)


def _of(category: str) -> list[Task]:
    return [task for task in TASKS.values() if task.category == category]


def _categories() -> None:
    """What can be learnt, as cards with a picture."""
    for start in range(0, len(CATEGORIES), 3):
        row = list(CATEGORIES.items())[start : start + 3]
        for column, (name, said) in zip(st.columns(3), row, strict=True):
            title, icon = TITLES[name]
            with column.container(border=True, height="stretch", key=f"about-{name}"):
                tasks = _of(name)
                if tasks:
                    _example(tasks[-1])
                else:
                    st.html(f'<div class="tg-example tg-blank">{look.icon(icon)}</div>')
                words = ", ".join(task.title for task in tasks)
                st.markdown(f"**{title}**  \n:small[{said}]" + (f"  \n:small[:gray[{words}]]" if words else ""))
                if st.button("Choose", icon=f":material/{icon}:", key=f"category-{name}", width="stretch"):
                    state.go("new_dataset", category=name, task="", architecture="")


def _category(chosen: str) -> None:
    """The categories in a row, the chosen one marked."""
    for column, (name, said) in zip(st.columns(len(CATEGORIES)), CATEGORIES.items(), strict=True):
        title, icon = TITLES[name]
        with column.container(key="chosen-category" if name == chosen else f"other-{name}"):
            if st.button(title, icon=f":material/{icon}:", key=f"category-{name}", width="stretch", help=said):
                state.go("new_dataset", category=name, task="", architecture="")


def _example(task: Task) -> None:
    st.html(
        f'<img class="tg-example" src="/lab/example/{task.id}" alt="an example of {escape(task.title)}" loading="lazy">'
    )


# --- what to learn ------------------------------------------------------------------------------------------------


def _tasks(tasks: list[Task]) -> None:
    for column, task in zip(st.columns(max(3, len(tasks)))[: len(tasks)], tasks, strict=True):
        is_chosen = st.query_params.get("task") == task.id
        key = "chosen-task" if is_chosen else f"other-{task.id}"
        with column.container(border=True, height="stretch", key=key):
            _card(task, is_chosen=is_chosen)


def _card(task: Task, *, is_chosen: bool) -> None:
    _example(task)
    st.markdown(f"**{task.title}**  \n:small[{task.description}]")
    word, icon = ("Chosen", ":material/check:") if is_chosen else ("Choose", None)
    if st.button(word, icon=icon, key=f"task-{task.id}", width="stretch"):
        state.go("new_dataset", category=task.category, task=task.id, architecture="")
    capture = task.capture
    cut = ""
    if task.region:
        size = "whole" if task.region.size_mm is None else " × ".join(f"{mm:g}" for mm in task.region.size_mm) + " mm"
        cut = f"{PARTS[task.region.part]}, {size}, cut from whole scans"
    rows = [
        ("precision", task.precision),
        ("speed", task.speed),
        ("complexity", task.complexity),
        ("output", ", ".join(task.output).replace("_", " ")),
        ("classes", ", ".join(task.classes) or "none: the whole picture is judged"),
        ("template", f"label_config/{task.id}.xml"),
        ("region", cut or "the whole scan"),
        ("resolution", f"{capture.dpi} dpi or more: {capture.finest_mm:g} mm must show"),
        ("light", capture.light),
        ("how many", capture.images),
    ]
    st.html(look.pairs(rows))
    reason = why_untrainable(task)
    if reason:
        st.caption(f":material/info: {look.sentence(reason)}.")


# --- naming it, and where the images come from --------------------------------------------------------------------


def _start(ws: Workspace, task: Task) -> None:
    st.subheader(task.title)
    reasons = {name: why_not(name) for name in task.architectures}
    left, right = st.columns(2, gap="large")
    with left:
        architecture = st.segmented_control(
            "Architecture  :small[:gray[what a training proposes first]]",
            list(task.architectures),
            required=True,
            **state.in_url("architecture", task.architectures[0], task.architectures),
        )
        st.caption(f":material/block: {reasons[architecture]}" if reasons[architecture] else "Can be trained here.")
        name = st.text_input("Name", placeholder=task.id.partition(".")[2].replace("_", "-"), key="new-name")
        source = st.radio(
            "Where the images come from", list(SOURCES), captions=[s[0] for s in SOURCES.values()], key="new-source"
        )
        extra = SOURCES[source][1](ws, task)
    with right:
        words = st.text_area(
            "What annotators are told  :small[:gray[Markdown; shown beside the canvas and in Label Studio]]",
            value=task.guidelines, height=260, key=f"new-words-{task.id}",
        )  # fmt: skip
        pictures = st.file_uploader("Example pictures", accept_multiple_files=True, key="new-pictures")
        st.caption("They are put below the words; move their lines where you like, later too.")
    ready = bool(name) and extra is not None
    if st.button("Start the dataset", type="primary", icon=":material/add:", disabled=not ready, key="new-start"):
        assert extra is not None  # noqa: S101 (ready says so)
        with look.errors("starting the dataset"):
            lines = [creating.add_picture(ws, picture.getvalue(), name=picture.name) for picture in pictures]
            text = "\n\n".join([words.strip(), *lines])
            creating.create_dataset(ws, name, task.id, architecture=architecture, guidelines=text, who=state.who())
            extra(name)
    if not name:
        st.caption("Give it a name.")


Then = Callable[[str], None]
"""What follows once the dataset of that name is there; None while something of it is missing."""


def _bring(_ws: Workspace, _task: Task) -> Then:
    return lambda name: state.go("datasets", dataset=name, view="import")


def _watch(ws: Workspace, _task: Task) -> Then | None:
    folder = st.text_input("Folder on the lab's machine", placeholder="/data/scanner/out", key="new-folder")
    dpi = st.number_input(
        "Resolution  :small[:gray[dpi]]", min_value=1.0, value=None, placeholder="as the files say", key="new-dpi"
    )
    source = Path(folder.strip()).expanduser()
    if not folder.strip() or not source.is_dir():
        st.caption(f"There is no such folder: {source}" if folder.strip() else "Name the folder that is to be watched.")
        return None

    def start(name: str) -> None:
        options = ImportOptions(dpi=dpi, who=state.who())
        job = watching.start_watch(ws, source, name, options, who=state.who())
        state.go("datasets", dataset=name, view="browse", job=job.id)

    return start


def _derive(_ws: Workspace, task: Task) -> Then:
    if task.region is None:
        st.caption("This task learns from whole scans; nothing is cut for it.")
    return lambda name: state.go("datasets", dataset=name, view="derive")


def _synthetic(ws: Workspace, _task: Task) -> Then:
    count = st.number_input("Cards", min_value=1, max_value=100_000, value=50, key="new-count")

    def start(name: str) -> None:
        job = datasets.start_synth(ws, name, count=count, who=state.who())
        state.go("datasets", dataset="", job=job.id)

    return start


SOURCES: dict[str, tuple[str, Callable[[Workspace, Task], Then | None]]] = {
    "Files": (
        "A folder or upload: pictures alone, COCO, YOLO, VOC, Label Studio, CVAT, LabelMe, masks, tables",
        _bring,
    ),
    "A watched folder": ("A scanner's output folder: each scan is taken as soon as it is whole", _watch),
    "Another dataset": ("Cut from cards whose outline is known", _derive),
    "Made-up cards": ("From the generator, with exact truth for borders", _synthetic),
}


main()
