from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from trugrade_core.config import (
    RunConfig,
    allows_auto,
    dump_yaml,
    get_key,
    given_keys,
    leaves,
    load_mapping,
    mapping_yaml,
    parse_config,
    parse_value,
    set_key,
)
from trugrade_core.errors import ConfigError, UsageError

USER = Path(__file__).parent / "data" / "user_config.yaml"
MINIMAL = {"task": "border_detection.dual_class", "dataset": "cards"}


def test_the_users_configuration_reads_with_the_users_values() -> None:
    config = parse_config(load_mapping(USER))
    assert config.hyperparameters.optimization.learning_rate == 8e-4
    assert config.hyperparameters.optimization.batch_size == 12
    assert config.architecture_config.custom_modifications.feature_pyramid == "enhanced"
    assert config.loss_config.regularization.l2_weight == 1e-4
    assert config.hyperparameters.training_process.early_stopping.patience == 5


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".yaml", "a: 8e-4\nb: 12\nc: none\nd: true\ne: -1.5"),
        (".toml", 'a = 8e-4\nb = 12\nc = "none"\nd = true\ne = -1.5'),
        (".json", '{"a": 8e-4, "b": 12, "c": "none", "d": true, "e": -1.5}'),
    ],
)
def test_numbers_are_numbers_in_every_format(tmp_path, suffix, text) -> None:
    path = tmp_path / f"c{suffix}"
    path.write_text(text)
    found = load_mapping(path)
    assert found == {"a": 0.0008, "b": 12, "c": "none", "d": True, "e": -1.5}
    assert isinstance(found["b"], int) and isinstance(found["a"], float)


def test_values_of_set() -> None:
    assert [parse_value(t) for t in ("8e-4", "12", "none", "true", "[a, b]")] == [8e-4, 12, "none", True, ["a", "b"]]


def test_all_mistakes_are_told_at_once_with_the_nearest_key() -> None:
    mapping = load_mapping(USER)
    set_key(mapping, "hyperparameters.optimization.learning_rat", 1)
    set_key(mapping, "hyperparameters.optimization.learning_rate", -1)
    set_key(mapping, "hyperparameters.optimization.batch_size", "many")
    set_key(mapping, "loss_config.primary_loss", "focal")
    set_key(mapping, "seed", True)
    with pytest.raises(ConfigError) as caught:
        parse_config(mapping, where="my.yaml")
    problems = {p["key"]: p for p in caught.value.problems}
    assert problems["hyperparameters.optimization.learning_rat"]["what_to_do"] == "did you mean 'learning_rate'?"
    assert "greater than 0; found -1" in problems["hyperparameters.optimization.learning_rate"]["problem"]
    assert "'auto', or:" in problems["hyperparameters.optimization.batch_size"]["problem"]
    assert set(problems) >= {"loss_config.primary_loss", "seed"}
    assert str(caught.value).startswith("my.yaml: the configuration has 5 problems:")


def test_missing_keys_are_named() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({})
    assert {p["key"] for p in caught.value.problems} == {"task", "dataset"}


@pytest.mark.parametrize(("name", "text"), [("a.yaml", "a: [1"), ("a.json", "{"), ("a.toml", "a ="), ("a.yaml", "- 1")])
def test_files_that_are_no_configuration(tmp_path, name, text) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"is not valid|holds no keys"):
        load_mapping(path)


def test_every_leaf_explains_itself() -> None:
    for key, field in leaves():
        assert field.title and field.description and field.description.endswith("."), key


def test_auto_only_where_a_field_says_so() -> None:
    for key, field in leaves():
        if allows_auto(field) or field.annotation is str or key == "data.classes":
            continue
        mapping = json.loads(json.dumps(MINIMAL))
        set_key(mapping, key, "auto")
        with pytest.raises(ConfigError):
            parse_config(mapping)


def test_what_a_person_gave_is_told_from_defaults() -> None:
    config = parse_config(MINIMAL | {"seed": 0, "hyperparameters": {"optimization": {"momentum": 0.9}}})
    assert given_keys(config) == {"task", "dataset", "seed", "hyperparameters.optimization.momentum"}
    assert yaml.safe_load(dump_yaml(config, only_given=True)) == MINIMAL | {
        "seed": 0,
        "hyperparameters": {"optimization": {"momentum": 0.9}},
    }


def test_the_full_dump_reads_back_equal() -> None:
    config = parse_config(load_mapping(USER))
    again = parse_config(yaml.safe_load(dump_yaml(config)))
    assert again == config
    assert get_key(again, "hyperparameters.training_process.epochs") == 25
    assert isinstance(again, RunConfig)


def test_a_word_that_looks_like_a_number_stays_a_word(tmp_path) -> None:
    path = tmp_path / "config.yaml"
    config = parse_config(MINIMAL | {"experiment": "1e3", "hyperparameters": {"optimization": {"learning_rate": 1e-5}}})
    path.write_text(dump_yaml(config, only_given=True))
    assert parse_config(load_mapping(path)) == config


def test_a_misspelt_key_that_begins_like_a_type_is_named() -> None:
    with pytest.raises(ConfigError) as e:
        parse_config(MINIMAL | {"hyperparameters": {"advanced_settings": {"strategy": "ddp"}}})
    assert [p["key"] for p in e.value.problems] == ["hyperparameters.advanced_settings.strategy"]


def test_set_through_a_value_is_refused() -> None:
    with pytest.raises(UsageError, match="holds a value"):
        set_key({"seed": 1}, "seed.x", 2)


@pytest.mark.parametrize("text", [".inf", "-.inf", ".nan", "1e999"])
@pytest.mark.parametrize("key", [key for key, field in leaves() if "float" in str(field.annotation)])
def test_numbers_are_finite(key, text) -> None:
    mapping = json.loads(json.dumps(MINIMAL))
    set_key(mapping, key, parse_value(text))
    with pytest.raises(ConfigError) as caught:
        parse_config(mapping)
    (problem,) = caught.value.problems
    assert problem["key"] == key and "must be a finite number; found" in problem["problem"]
    assert key != "hyperparameters.optimization.gradient_clipping" or "0 switches it off" in problem["what_to_do"]


def test_integers_are_those_of_yaml_1_2_and_come_back() -> None:
    texts = {
        "010": 10,
        "08": 8,
        "0o10": 8,
        "0x1F": 31,
        "-7": -7,
        "+7": 7,
        "1:30": "1:30",
        "1_000": "1_000",
        "0b1": "0b1",
    }
    assert {text: parse_value(text) for text in texts} == texts
    for word in texts:
        config = parse_config(MINIMAL | {"experiment": word})
        assert parse_config(parse_value(dump_yaml(config))) == config


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "task: t\nseed: 1\ndata: {}\nseed: 2"),
        ("a.yaml", "data:\n  seed: 1\n  seed: 1"),
        ("a.json", '{"data": {"seed": 1, "seed": 2}}'),
    ],
)
def test_a_key_that_is_given_twice_is_named(tmp_path, name, text) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError, match="the key 'seed' is given twice"):
        load_mapping(path)


def test_a_key_over_a_merged_one_is_given_once() -> None:
    text = "base: &base {seed: 1, task: t}\nmore: &more {<<: *base, seed: 2}\nlast: {<<: *more, seed: 3}"
    assert parse_value(text)["last"] == {"seed": 3, "task": "t"}


@pytest.mark.parametrize("text", ["2026-13-45", "{seed: 1, seed: 2}", "[a"])
def test_what_is_no_value_is_said_so(text) -> None:
    with pytest.raises(UsageError, match="is not a value"):
        parse_value(text)


@pytest.mark.parametrize("name", ["08", "1e3", "0o10", "1:30", "yes", "null"])
def test_a_mapping_written_is_read_back_as_it_was(name: str, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(mapping_yaml({"task": "t", "dataset": name}))
    assert parse_config(load_mapping(file)).dataset == name
