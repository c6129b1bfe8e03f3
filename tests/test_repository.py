"""The repository itself: locks, templates, packages and the structure that the README promises."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import defusedxml.ElementTree as ElementTree
import pytest

from trugrade_core.tasks import SCORES, TASKS

ROOT = Path(__file__).resolve().parents[1]
LOCKS = [ROOT / "requirements.lock", ROOT / "requirements-torch.lock"]
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", re.MULTILINE | re.IGNORECASE)


def dependencies() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"].values()
    lines = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    lines += [line for extra in extras for line in extra]
    return [re.match(r"[A-Za-z0-9._-]+", line).group(0).lower() for line in lines]


def test_locks_hold_every_dependency_with_hashes_and_no_addresses() -> None:
    pinned = set()
    for lock in LOCKS:
        text = lock.read_text()
        assert "://" not in text
        blocks = re.split(r"\n(?=[a-zA-Z0-9])", text.strip())
        assert all("--hash=sha256:" in block for block in blocks)
        pinned |= {name.lower() for name, _ in PIN.findall(text)}
    assert set(dependencies()) <= pinned, "run `make lock`"


def test_only_the_headless_opencv_is_present() -> None:
    names = {(d.metadata["Name"] or "").lower() for d in importlib.metadata.distributions()}
    assert {name for name in names if name.startswith("opencv")} == {"opencv-python-headless"}
    assert "ultralytics" not in names


def test_torch_family_is_locked_apart() -> None:
    family = {name for name, _ in PIN.findall(LOCKS[1].read_text())}
    rest = {name for name, _ in PIN.findall(LOCKS[0].read_text())}
    assert {"torch", "torchvision"} <= family
    assert not {name for name in rest if name.startswith("nvidia-") and name != "nvidia-ml-py"}


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_each_task_has_a_label_studio_template_with_its_classes(task) -> None:
    tree = ElementTree.parse(ROOT / "label_config" / f"{task.id}.xml")
    drawn = [control for control in tree.iter() if control.tag in ("RectangleLabels", "PolygonLabels", "BrushLabels")]
    listed = [[label.get("value") for label in control.iter("Label")] for control in drawn]
    if task.kind == "tags":
        listed = [[c.get("value") for c in tree.find(".//Choices[@name='tags']").iter("Choice")]]
    elif task.kind == "score":
        assert drawn == []
        listed = [[float(c.get("value")) for c in tree.find(".//Choices[@name='score']").iter("Choice")]]
    # Of a map nothing is drawn but what no lamp shows well.
    expected = {"score": SCORES, "map": ("unusable",)}.get(task.kind, task.classes)
    assert listed and all(tuple(values) == tuple(expected) for values in listed)
    names = [node.get("name") for node in tree.iter() if node.get("name")]
    assert len(names) == len(set(names)) and {"image", "state", "comment"} <= set(names)
    assert {node.get("toName") for node in tree.iter() if node.get("toName")} == {"image"}
    hotkeys = [node.get("hotkey") for node in tree.iter() if node.get("hotkey")]
    assert len(hotkeys) == len(set(hotkeys))
    image = tree.find(".//Image")
    assert (image.get("value"), image.get("smoothing"), image.get("rotateControl")) == ("$image", "false", "false")


@pytest.mark.parametrize("module", ["trugrade_core", "trugrade_core.cli.app", "trugrade_core.workflows.training"])
def test_importing_pulls_in_neither_torch_nor_streamlit(module) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'streamlit', 'ultralytics', 'onnxruntime') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_resolve() -> None:
    import trugrade_core

    for name in trugrade_core.__all__:
        assert getattr(trugrade_core, name).__name__ == name
    with pytest.raises(AttributeError):
        _ = trugrade_core.NoSuchThing


def test_tracked_files_are_small() -> None:
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True).stdout.split("\0")
    sizes = {f: (ROOT / f).stat().st_size for f in files if f and (ROOT / f).exists()}
    assert not {f: n for f, n in sizes.items() if n > 1_000_000}
    assert sum(sizes.values()) < 20_000_000
