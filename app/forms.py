"""A form made from the run configuration's definition, with its YAML beside it; both can be edited, and say the same.

The truth is one dict of dotted keys that were given; a field that is not in it shows its default. Fields follow from the
definition alone: label, help, unit, bounds, `auto`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args, get_origin

import annotated_types
import streamlit as st
from pydantic.fields import FieldInfo

from app import look
from trugrade_core.config import RunConfig, allows_auto, leaves, mapping_yaml, parse_config, parse_value, set_key
from trugrade_core.errors import ConfigError, TruGradeError
from trugrade_core.models import ARCHITECTURES

FIELDS = dict(leaves())
TABS = {
    "Model": ("architecture_config",),
    "Optimization": ("hyperparameters.optimization", "hyperparameters.advanced_settings"),
    "Process": ("hyperparameters.training_process",),
    "Loss": ("loss_config",),
    "Data and machine": ("data", "machine", "seed", "experiment"),
}
WEIGHT_WORDS = ["none", "imagenet", "coco"]


@dataclass
class Editing:
    """One configuration being edited. `values` and `suggested` map dotted keys; `revision` renews widgets after YAML edits."""

    suggested: dict[str, Any]
    reasons: dict[str, str]
    values: dict[str, Any] = field(default_factory=dict)
    problem: TruGradeError | None = None
    revision: int = 0

    def __post_init__(self) -> None:
        self.values = dict(self.suggested)

    def mapping(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key in FIELDS:
            if key in self.values:
                set_key(found, key, self.values[key])
        return found

    def yaml(self) -> str:
        return mapping_yaml(self.mapping())

    def config(self) -> RunConfig | None:
        """The configuration, or None with `problem` set."""
        if self.problem is None:
            try:
                return parse_config(self.mapping())
            except ConfigError as e:
                self.problem = e
        return None

    def changed(self, key: str) -> bool:
        return bool(self.values.get(key, default_of(key)) != self.suggested.get(key, default_of(key)))

    def set(self, key: str, value: Any) -> None:
        self.values[key] = value
        if value == default_of(key) and key not in self.suggested:
            del self.values[key]
        self.problem = None

    def reset(self, key: str) -> None:
        self.values.pop(key, None)
        if key in self.suggested:
            self.values[key] = self.suggested[key]
        self.problem = None
        self.revision += 1

    def read(self, text: str) -> None:
        """Take the values of a YAML text; on a mistake keep the old ones and say it."""
        try:
            found = parse_value(text) if text.strip() else {}
            if not isinstance(found, dict):
                raise ConfigError("the YAML holds no keys", what_to_do="Write keys such as `seed: 0`, one a line.")
            parse_config(found)
        except TruGradeError as e:
            self.problem = e
            return
        self.values = {key: value for key in FIELDS if (value := _dig(found, key)) is not _ABSENT}
        self.problem = None
        self.revision += 1


_ABSENT = object()


def _dig(found: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            return _ABSENT
        found = found[part]
    return found


def default_of(key: str) -> Any:
    return None if FIELDS[key].is_required() else FIELDS[key].default


def edit(editing: Editing, *, key: str, architectures: Sequence[str], classes: Sequence[str]) -> RunConfig | None:
    """Draw form and YAML; returns the configuration, or None while it has mistakes (which are shown)."""
    form, text = st.columns([5, 3], gap="medium")
    with form:
        for tab, prefixes in zip(st.tabs(list(TABS)), TABS.values(), strict=True):
            with tab:
                _tab(editing, key, prefixes, architectures, classes)
    with text:
        _yaml(editing, key)
    found = editing.config()
    if editing.problem is not None:
        look.error(editing.problem)
    return found


def _tab(
    editing: Editing, key: str, prefixes: Sequence[str], architectures: Sequence[str], classes: Sequence[str]
) -> None:
    own = [k for k in FIELDS if any(k == p or k.startswith(p + ".") for p in prefixes)]
    plain = [k for k in own if not _extra(FIELDS[k], "advanced")]
    advanced = [k for k in own if k not in plain]
    _grid(editing, key, plain, architectures, classes)
    if advanced:
        with st.expander("Advanced"):
            _grid(editing, key, advanced, architectures, classes)


def _grid(
    editing: Editing, key: str, keys: Sequence[str], architectures: Sequence[str], classes: Sequence[str]
) -> None:
    for start in range(0, len(keys), 2):
        for column, dotted in zip(st.columns(2), keys[start : start + 2], strict=False):
            with column:
                _field(editing, key, dotted, architectures, classes)


# --- one field ----------------------------------------------------------------------------------------------------


def _field(editing: Editing, key: str, dotted: str, architectures: Sequence[str], classes: Sequence[str]) -> None:
    info = FIELDS[dotted]
    widget = f"{key}:{dotted}:{editing.revision}"
    value = editing.values.get(dotted, default_of(dotted))
    common: dict[str, Any] = {"label": _label(editing, dotted), "key": widget, "help": _help(editing, dotted)}
    common |= {"on_change": _take, "args": (editing, key, dotted, widget)}
    if widget not in st.session_state:
        st.session_state[widget] = _shown(info, value)
    options = _options(dotted, info, architectures, value)
    if dotted == "data.classes":
        st.multiselect(
            options=list(dict.fromkeys([*classes, *(value or ())])), placeholder="all of the task's kind", **common
        )
    elif options is not None:
        st.selectbox(options=options, accept_new_options=dotted.endswith("pretrained_weights"), **common)
    elif info.annotation is bool:
        st.toggle(**common)
    elif (number := number_type(info)) is not None:
        _number(info, number, common)
    else:
        st.text_input(**common)
    if editing.changed(dotted):
        st.button(
            f"reset to {_words(editing.suggested.get(dotted, default_of(dotted)))}",
            key=f"reset:{widget}",
            type="tertiary",
            icon=":material/restart_alt:",
            on_click=_reset,
            args=(editing, key, dotted),
        )


def _number(info: FieldInfo, number: type, common: dict[str, Any]) -> None:
    low, high, step = bounds(info)
    whole = number is int
    kind: Any = int if whole else float
    st.number_input(
        min_value=None if low is None else kind(low),
        max_value=None if high is None else kind(high),
        value=None,
        step=kind(step or (1 if whole else _step(info.default))),
        format="%d" if whole else "%.6g",
        placeholder="auto" if allows_auto(info) else "no limit" if _may_be_none(info) else None,
        **common,
    )


def _take(editing: Editing, key: str, dotted: str, widget: str) -> None:
    """A widget was changed: take its value over, and renew the YAML."""
    info, value = FIELDS[dotted], st.session_state[widget]
    if value is None and allows_auto(info):
        value = "auto"
    if dotted == "data.classes":
        value = list(value) or None
    if value is None and not _may_be_none(info):  # emptied: the old value stands, and is shown
        st.session_state[widget] = _shown(info, editing.values.get(dotted, default_of(dotted)))
        return
    editing.set(dotted, value)
    st.session_state[f"{key}:yaml"] = editing.yaml()


def _reset(editing: Editing, key: str, dotted: str) -> None:
    editing.reset(dotted)
    st.session_state[f"{key}:yaml"] = editing.yaml()


def _shown(info: FieldInfo, value: Any) -> Any:
    """The value as its widget holds it: an empty number field stands for auto or no limit."""
    if number_type(info) is not None:
        return None if value in ("auto", None) else number_type(info)(value)  # type: ignore[misc]
    if isinstance(value, tuple | list) or (value is None and info.annotation is not bool and _is_words(info)):
        return list(value or ())
    return value


def _may_be_none(info: FieldInfo) -> bool:
    return type(None) in get_args(info.annotation)


def _is_words(info: FieldInfo) -> bool:
    return any(get_origin(option) is tuple for option in get_args(info.annotation))


def _label(editing: Editing, dotted: str) -> str:
    info, name = FIELDS[dotted], dotted.rpartition(".")[2]
    unit = _extra(info, "unit")
    words = f"{info.title} ({unit})" if unit and unit.lower() != str(info.title).lower() else info.title
    mark = "  :orange-badge[changed]" if editing.changed(dotted) else ""
    return f"{words}  :small[:gray[{name}]]{mark}"


def _help(editing: Editing, dotted: str) -> str:
    lines = [f"{FIELDS[dotted].description}", f"`{dotted}`"]
    if dotted in editing.suggested:
        lines.append(f"**Suggested: {_words(editing.suggested[dotted])}.** {editing.reasons.get(dotted, '')}")
    return "\n\n".join(lines)


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else ", ".join(value) if isinstance(value, tuple | list) else str(value)


def _extra(info: FieldInfo, name: str) -> Any:
    return (info.json_schema_extra or {}).get(name) if isinstance(info.json_schema_extra, dict) else None


# --- what the definition says -------------------------------------------------------------------------------------


def _options(dotted: str, info: FieldInfo, architectures: Sequence[str], value: Any) -> list[str] | None:
    """The words to choose from, or None for a field of another kind."""
    if dotted.endswith("base_architecture"):
        found = [f"{a}_{v.id}" for a in architectures for v in ARCHITECTURES[a].variants]
    elif dotted.endswith("pretrained_weights"):
        found = list(WEIGHT_WORDS)
    elif get_origin(info.annotation) is Literal:
        return list(get_args(info.annotation))
    else:
        return None
    return found if value in found else [value, *found]


def number_type(info: FieldInfo) -> type[int] | type[float] | None:
    """int or float for a number, also one that may be auto or missing; None for anything else."""
    options = [info.annotation, *get_args(info.annotation)]
    inner = [get_args(option)[0] if get_origin(option) is Annotated else option for option in options]
    return int if int in inner else float if float in inner else None


def bounds(info: FieldInfo) -> tuple[float | None, float | None, float | None]:
    """(lowest, highest, step) that the definition allows; an open bound is moved inwards by a hair."""
    marks = list(info.metadata)
    for option in get_args(info.annotation):
        for inner in get_args(option)[1:]:
            marks += getattr(inner, "metadata", [])
    hair: float = 1 if number_type(info) is int else 1e-9
    low: Any = None
    high: Any = None
    step: Any = None
    for mark in marks:
        if isinstance(mark, annotated_types.Ge):
            low = mark.ge
        elif isinstance(mark, annotated_types.Gt):
            low = float(str(mark.gt)) + hair
        elif isinstance(mark, annotated_types.Le):
            high = mark.le
        elif isinstance(mark, annotated_types.Lt):
            high = float(str(mark.lt)) - hair
        elif isinstance(mark, annotated_types.MultipleOf):
            step = mark.multiple_of
    return low, high, step


def _step(default: Any) -> float:
    """A tenth of the default's order of magnitude."""
    return 10.0 ** (int(f"{default:e}".partition("e")[2]) - 1) if isinstance(default, float) and default else 0.1


# --- YAML ---------------------------------------------------------------------------------------------------------


def _yaml(editing: Editing, key: str) -> None:
    widget = f"{key}:yaml"
    if widget not in st.session_state:
        st.session_state[widget] = editing.yaml()

    def take() -> None:
        editing.read(st.session_state[widget])

    with st.container(key=f"{key}-yaml-box"):
        st.text_area(
            "The same as YAML",
            key=widget,
            on_change=take,
            height=420,
            help="Edit it; the form follows when you leave the field.",
        )
    st.download_button(
        "Download",
        data=editing.yaml(),
        file_name="run.yaml",
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
    )
