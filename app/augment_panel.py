"""What augmentation does to a sample: sliders, the first draws of the training, and the worst of many."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from app import forms, look, state
from trugrade_core.config import RunConfig
from trugrade_core.data.augment import PRESETS, Settings
from trugrade_core.workflows import augmenting
from trugrade_core.workspace import Workspace

GROUP = "data.augmentation"
SLIDERS = ("shift", "scale_min", "scale_max", "turn_deg", "brightness", "gamma", "noise", "jpeg_quality", "blur_px")


@st.fragment
def show(ws: Workspace, editing: forms.Editing, config: RunConfig, key: str) -> None:
    """Only this part runs again while a slider is moved; `Use these values` puts them into the configuration."""
    if st.session_state.pop(f"{key}:taken", False):
        st.rerun()  # the form and the plan follow
    with look.errors("augmenting a sample"):
        looked = _looked(ws, config, st.session_state.get(f"{key}:sample") or "")
        files = state.cached(("train-samples", config.dataset), None, lambda: _samples(ws, config.dataset))
        controls, pictures = st.columns([2, 5], gap="large")
        with controls:
            within = _controls(files, looked.within, key)
        with pictures:
            _pictures(replace(looked, within=within), key)
    if within != looked.within:
        controls.button("Use these values", icon=":material/check:", key=f"{key}:use",
                        on_click=_use, args=(editing, within, key))  # fmt: skip


def _samples(ws: Workspace, dataset: str) -> dict[str, str]:
    """{id: file} of what a training on this version sees."""
    return state.names_of(ws, dataset.partition("@")[0], augmenting.training_samples(ws, dataset))


def _looked(ws: Workspace, config: RunConfig, sample: str) -> augmenting.Looked:
    asked = config.dataset, sample, config.seed, str(config.data), config.architecture_config.base_architecture
    return state.cached(("augmented", *asked), None, lambda: augmenting.look_at(ws, config, sample))


def _controls(names_of: dict[str, str], own: Settings | None, key: str) -> Settings | None:
    st.selectbox("Sample", list(names_of), format_func=lambda id: names_of[id], key=f"{key}:sample")
    names = ["none", *PRESETS]
    now = next((name for name, preset in PRESETS.items() if preset == own), "border") if own else "none"
    name = st.selectbox("Preset", names, index=names.index(now), key=f"{key}:preset")
    if name == "none":
        st.caption("Nothing varies: a training sees each picture as inference does.")
        return None
    base = own if own and name == now else PRESETS[name]
    moved: dict[str, Any] = {}
    for field in SLIDERS:
        info, value = forms.FIELDS[f"{GROUP}.{field}"], getattr(base, field)
        low, high, _ = forms.bounds(info)
        kind = type(value)
        unit = (info.json_schema_extra or {}).get("unit", "")  # type: ignore[union-attr]
        label = f"{info.title} ({unit})" if unit else str(info.title)
        moved[field] = st.slider(label, kind(low or 0), kind(high or 1), value, key=f"{key}:{name}:{field}")
    return replace(base, **moved)


def _pictures(looked: augmenting.Looked, key: str) -> None:
    views = ["First draws", f"Worst of {augmenting.SEARCHED}"]
    view = st.segmented_control(
        "Draws", views, default=views[0], required=True, label_visibility="collapsed", key=f"{key}:view"
    )
    drawn = augmenting.first(looked) if view == views[0] else augmenting.worst(looked)
    if not drawn:
        st.caption("Nothing is drawn at random.")
        return
    for start in range(0, len(drawn), 4):
        for column, one in zip(st.columns(4), drawn[start : start + 4], strict=False):
            lost = "" if one.kept > 0.995 else f" · {one.kept:.0%} of the label in view"
            column.image(one.image, caption=f"epoch {one.epoch + 1}{lost}", width="stretch")
    st.caption(
        "These are the very pixels that a training with this seed sees of the sample, with its labels moved along."
    )


def _use(editing: forms.Editing, within: Settings | None, key: str) -> None:
    """Put what differs from a preset into the configuration."""
    for field in forms.FIELDS:
        if field.startswith(f"{GROUP}."):
            editing.values.pop(field, None)
    name = st.session_state[f"{key}:preset"]
    editing.set(f"{GROUP}.preset", name)
    if within is not None:
        for field, value in vars(within).items():
            if value != getattr(PRESETS[name], field):
                editing.set(f"{GROUP}.{field}", value)
    editing.revision += 1
    st.session_state[f"{key}:yaml"] = editing.yaml()
    st.session_state[f"{key}:taken"] = True
