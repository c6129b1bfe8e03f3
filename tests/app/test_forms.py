"""The form made from the configuration: every key has a widget, and form and YAML say the same."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from app import forms
from trugrade_core.config import parse_config, set_key

SUGGESTED = {
    "task": "border_detection.dual_class",
    "dataset": "cards@v1",
    "hyperparameters.optimization.learning_rate": 8e-4,
    "hyperparameters.training_process.epochs": 40,
}
RATE = "hyperparameters.optimization.learning_rate"
EPOCHS = "hyperparameters.training_process.epochs"
BATCH = "hyperparameters.optimization.batch_size"


def page() -> AppTest:
    def script() -> None:
        import streamlit as st

        from app import forms

        if "editing" not in st.session_state:
            st.session_state["editing"] = forms.Editing(
                dict(st.session_state["suggested"]), {"hyperparameters.optimization.learning_rate": "it is usual"}
            )
        config = forms.edit(
            st.session_state["editing"],
            key="t",
            architectures=["mask_rcnn", "yolo"],
            classes=["outer_border", "graphical_border"],
        )
        st.session_state["config"] = config

    at = AppTest.from_function(script, default_timeout=60)
    at.session_state["suggested"] = SUGGESTED
    return at.run()


def widget(at: AppTest, key: str, kind: str = "number_input") -> object:
    return next(w for w in at.get(kind) if w.key.startswith(f"t:{key}:"))


def test_every_key_has_a_widget_with_its_title_key_and_help() -> None:
    at = page()
    shown = [w for kind in ("number_input", "selectbox", "toggle", "text_input", "multiselect") for w in at.get(kind)]
    keys = {w.key.split(":")[1] for w in shown}
    assert keys == set(forms.FIELDS) - {"task", "dataset"}  # chosen by the page's own steps
    for w in shown:
        key = w.key.split(":")[1]
        assert str(forms.FIELDS[key].title) in w.label
        assert key.rpartition(".")[2] in w.label
        assert forms.FIELDS[key].description in w.help and key in w.help


def test_a_change_reaches_the_configuration_and_the_yaml() -> None:
    at = page()
    widget(at, RATE).set_value(0.002).run()
    assert at.session_state["config"].hyperparameters.optimization.learning_rate == 0.002
    assert "learning_rate: 0.002" in at.text_area[0].value
    assert "changed" in widget(at, RATE).label
    assert "it is usual" in widget(at, RATE).help


def test_reset_brings_the_suggestion_back() -> None:
    at = page()
    widget(at, RATE).set_value(0.002).run()
    next(b for b in at.button if b.label == "reset to 0.0008").click().run()
    assert at.session_state["config"].hyperparameters.optimization.learning_rate == 8e-4
    assert widget(at, RATE).value == 8e-4
    assert "changed" not in widget(at, RATE).label


def test_the_yaml_reaches_the_form() -> None:
    at = page()
    at.text_area[0].set_value(at.text_area[0].value.replace("epochs: 40", "epochs: 7")).run()
    assert widget(at, EPOCHS).value == 7
    assert at.session_state["config"].hyperparameters.training_process.epochs == 7


def test_an_empty_number_is_auto_where_auto_is_legal() -> None:
    at = page()
    assert widget(at, BATCH).value is None
    widget(at, BATCH).set_value(8).run()
    assert at.session_state["config"].hyperparameters.optimization.batch_size == 8
    widget(at, BATCH).set_value(None).run()
    assert at.session_state["config"].hyperparameters.optimization.batch_size == "auto"


def test_an_emptied_number_that_must_be_one_shows_what_is_used() -> None:
    at = page()
    assert widget(at, EPOCHS).placeholder == ""
    assert widget(at, "hyperparameters.training_process.time_limit").placeholder == "no limit"
    widget(at, EPOCHS).set_value(None).run()
    assert widget(at, EPOCHS).value == 40
    assert at.session_state["config"].hyperparameters.training_process.epochs == 40


def test_mistakes_are_all_named_and_leave_the_form_as_it_was() -> None:
    at = page()
    at.text_area[0].set_value("task: border_detection.dual_class\ndataset: cards\nsede: 1\nexperiment: ''\n").run()
    assert at.session_state["config"] is None
    said = "\n".join(e.proto.body for e in at.get("html"))
    assert "sede" in said and "experiment" in said
    assert widget(at, EPOCHS).value == 40


@pytest.mark.parametrize("key", [k for k, f in forms.FIELDS.items() if forms.number_type(f) is not None])
def test_bounds_of_the_form_are_those_of_the_configuration(key: str) -> None:
    number = forms.number_type(forms.FIELDS[key])
    assert number is not None
    low, high, step = forms.bounds(forms.FIELDS[key])
    for edge in (low, high):
        if edge is not None:
            value = number(edge if not step else max(edge, step))
            mapping = {"task": "border_detection.dual_class", "dataset": "cards"}
            set_key(mapping, key, value)
            parse_config(mapping)  # type: ignore[arg-type]


def test_only_what_was_given_is_in_the_yaml() -> None:
    editing = forms.Editing(dict(SUGGESTED), {})
    editing.set("seed", 3)
    assert editing.mapping()["seed"] == 3
    editing.set("seed", 0)  # the default again, and nobody suggested it
    assert "seed" not in editing.mapping()
    assert editing.mapping()["hyperparameters"]["training_process"] == {"epochs": 40}
