"""Fixtures of the whole suite: a fresh workspace, and the team's real inputs where they are."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from trugrade_core.workspace import Workspace

settings.register_profile("lab", max_examples=50, deadline=None, derandomize=True)
settings.load_profile("lab")


@pytest.fixture(autouse=True)
def main_stays_main() -> Iterator[None]:
    """Streamlit's AppTest makes its script the process's `__main__` and leaves it so; a process spawned by a later test
    would run that script first."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The team's real inputs. They are not part of the project: a person who cloned it has none."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("needs the team's real inputs at ../shared/data, which are not part of the project")
    return path
