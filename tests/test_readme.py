"""The README's promises, row by row."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import typer

from trugrade_core.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def table(heading: str) -> list[list[str]]:
    section = README.split(f"## {heading}")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def resolve(dotted: str) -> object:
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            found = getattr(found, name)
        return found
    raise AssertionError(dotted)


def command(line: str) -> Any:
    found = typer.main.get_command(app)
    for word in line.split()[1:]:
        found = found.commands[word]
    return found


def pages() -> set[str]:
    from app.Home import SECTIONS

    return {title for rows in SECTIONS.values() for _, title, _ in rows}


@pytest.mark.parametrize("row", table("Your words, and where they are"), ids=lambda row: row[0])
def test_each_of_the_users_words_has_its_class_command_and_page(row) -> None:
    word, cls, line, page = row
    found = resolve(cls.strip("`"))
    assert callable(found)
    assert command(line.strip("`")).help
    assert page in pages()
    if word in ("architecture_config", "hyperparameters", "loss_config"):
        from trugrade_core.config import RunConfig

        assert RunConfig.model_fields[word].annotation is found
    if "." in word:
        from trugrade_core.tasks import TASKS

        assert word in TASKS


def test_the_ten_packages_are_installed_and_named() -> None:
    rows = table("The ten packages, and where you meet each")
    assert len(rows) == 10
    for name, _, licence in rows:
        package = "ultralytics-opencv-headless" if name.startswith("ultralytics") else name
        assert importlib.metadata.version(package)
        assert licence


def test_the_file_tree_is_there() -> None:
    tree = README.split("## What lies where")[1].split("```")[1]
    folder = ROOT
    for line in tree.strip().splitlines():
        name = line.split()[0]
        path = (folder if line.startswith("  ") else ROOT) / name
        assert path.exists(), line
        if name == "trugrade_core/":
            folder = path


def test_commands_of_the_walkthrough_exist_with_their_options() -> None:
    lines = [line.split("#")[0].split() for line in README.splitlines() if line.startswith("trugrade ")]
    assert len(lines) >= 10
    for words in lines:
        found = typer.main.get_command(app)
        rest = words[1:]
        while rest and hasattr(found, "commands"):
            found = found.commands[rest.pop(0)]
        known = {"--json", "-w", *(option for param in found.params for option in param.opts)}
        assert {word for word in rest if re.fullmatch(r"--?[a-z-]+", word)} <= known, words


@pytest.mark.parametrize("path", ["trugrade_core/schema.py", "trugrade_core/runs.py", "app/Home.py"])
def test_files_to_read_first_are_there(path) -> None:
    assert path in README and (ROOT / path).exists()


def every_command(group: Any, path: str = "trugrade") -> list[tuple[str, Any]]:
    found = []
    for name, inner in group.commands.items():
        found += every_command(inner, f"{path} {name}") if hasattr(inner, "commands") else [(f"{path} {name}", inner)]
    return found


@pytest.mark.parametrize("pair", every_command(typer.main.get_command(app)), ids=lambda pair: pair[0])
def test_every_command_and_option_says_what_it_does(pair) -> None:
    path, found = pair
    assert found.help and found.help[0].isupper(), path
    for param in found.params:
        if param.name not in ("help",) and param.param_type_name == "option" and len(param.opts[0]) > 2:
            assert param.help or param.default is not None or not param.required, (path, param.name)
