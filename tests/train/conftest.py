from __future__ import annotations

import pytest

from tests.train import tiny
from trugrade_core import models, tasks
from trugrade_core.data.versions import Version


@pytest.fixture(scope="session")
def cards(tmp_path_factory: pytest.TempPathFactory) -> Version:
    """Sixteen small synthetic cards, split."""
    return tiny.make_cards(tmp_path_factory.mktemp("cards") / "workspace")


@pytest.fixture
def tiny_net(monkeypatch: pytest.MonkeyPatch) -> None:
    """The architecture `tiny`, for this test alone."""
    monkeypatch.setattr(models, "ARCHITECTURES", dict(models.ARCHITECTURES))
    monkeypatch.setattr(tasks, "TASKS", dict(tasks.TASKS))
    tiny.register()
