"""A tiny dataset of made-up cards to judge stand-in predictors on."""

from __future__ import annotations

from pathlib import Path

import pytest

from trugrade_core.data.store import Dataset
from trugrade_core.data.versions import Version, split
from trugrade_core.synth import synthesize
from trugrade_core.workspace import Workspace


@pytest.fixture(scope="session")
def cards(tmp_path_factory: pytest.TempPathFactory) -> Version:
    """24 cards at 40 dpi, split half and half into train and test."""
    ws = Workspace.open(Path(tmp_path_factory.mktemp("evaluate")) / "workspace")
    synthesize(ws, "cards", count=24, seed=2, dpi=40)
    split(Dataset.open(ws, "cards"), (0.5, 0.0, 0.5), 0)
    return Version.open(ws, "cards")
