"""The app's own routes: pictures by digest, ranges, caching, foreign hosts, and nothing that writes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.server import ROUTES, lifespan, middleware
from tests.app.conftest import add_sample, card
from trugrade_core.data.images import probe
from trugrade_core.workspace import Workspace, write_atomic


@pytest.fixture
def client(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setenv("TRUGRADE_WORKSPACE", str(ws.root))
    return TestClient(Starlette(routes=ROUTES, middleware=middleware(), lifespan=lifespan), base_url="http://127.0.0.1")


def test_the_original_comes_byte_for_byte_and_for_good(client: TestClient, ws: Workspace) -> None:
    sample, _ = add_sample(ws, 1)
    answer = client.get(f"/lab/original/{sample.main.sha256}")
    assert answer.content == ws.image(sample.main.sha256, ".png").read_bytes()
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_range_is_answered_with_its_part(client: TestClient, ws: Workspace) -> None:
    sample, _ = add_sample(ws, 1)
    answer = client.get(f"/lab/image/{sample.main.sha256}", headers={"Range": "bytes=0-3"})
    assert answer.status_code == 206
    assert answer.content == b"\x89PNG"


def test_a_thumbnail_is_small_and_keeps_its_shape(client: TestClient, ws: Workspace) -> None:
    data = cv2.imencode(".png", cv2.resize(card(1), (700, 980)))[1].tobytes()
    ref = probe(data, name="large.png")
    write_atomic(ws.image(ref.sha256, ref.suffix), data)
    answer = client.get(f"/lab/thumb/{ref.sha256}")
    assert answer.status_code == 200
    picture = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
    assert max(picture.shape[:2]) <= 256
    assert picture.shape[0] / picture.shape[1] == pytest.approx(1.4, abs=0.02)


def test_what_a_browser_cannot_show_comes_as_a_rendition(client: TestClient, ws: Workspace) -> None:
    data = cv2.imencode(".tiff", card(1).astype(np.uint16) * 257)[1].tobytes()
    ref = probe(data, name="deep.tiff")
    write_atomic(ws.image(ref.sha256, ref.suffix), data)
    shown, original = client.get(f"/lab/image/{ref.sha256}"), client.get(f"/lab/original/{ref.sha256}")
    assert shown.headers["content-type"] in ("image/png", "image/jpeg", "image/webp")
    assert cv2.imdecode(np.frombuffer(shown.content, np.uint8), cv2.IMREAD_COLOR).shape == card(1).shape
    assert original.content == data


@pytest.mark.parametrize("sha", ["0" * 64, "nonsense", "..%2f..%2fworkspace.json", "a" * 3000])
@pytest.mark.parametrize("route", ["image", "original", "thumb"])
def test_anything_but_a_known_digest_is_not_found(client: TestClient, route: str, sha: str) -> None:
    assert client.get(f"/lab/{route}/{sha}").status_code == 404


def test_damaged_bytes_are_said_not_thrown(client: TestClient, ws: Workspace) -> None:
    write_atomic(ws.image("f" * 64, ".png"), b"not a picture")
    answer = client.get("/lab/thumb/" + "f" * 64)
    assert answer.status_code == 422
    assert answer.text


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.168.1.20"])
def test_a_foreign_host_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/lab/tb/", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize("host", ["127.0.0.1:8501", "localhost:8501"])
def test_this_machine_is_served(client: TestClient, host: str) -> None:
    assert client.get("/lab/image/none", headers={"Host": host}).status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_pictures_are_only_read(client: TestClient, ws: Workspace, method: str) -> None:
    sample, _ = add_sample(ws, 1)
    assert client.request(method, f"/lab/image/{sample.main.sha256}").status_code == 405


def test_the_chart_library_comes_from_this_machine(client: TestClient) -> None:
    answer = client.get("/lab/plotly.js")
    assert answer.status_code == 200
    assert "plotly.js v" in answer.text[:300]


def test_tensorboard_that_does_not_run_says_so(client: TestClient) -> None:
    answer = client.get("/lab/tb", follow_redirects=True)
    assert answer.status_code == 503
    assert "Monitor" in answer.text


@pytest.mark.slow
def test_tensorboard_is_served_under_the_same_origin(client: TestClient, full: Workspace, ws: Workspace) -> None:
    from app.server import show_in_tensorboard
    from trugrade_core.runs import list_ids

    runs = [path.name for path in list_ids(full.runs)]
    with client:
        show_in_tensorboard(ws, runs[:1])
        assert "TensorBoard" in client.get("/lab/tb/").text
        show_in_tensorboard(ws, runs[1:2])
        assert client.get("/lab/tb/data/environment").status_code == 200
    assert client.get("/lab/tb/").status_code == 503  # it ends with the app


def test_every_task_has_an_example_picture_and_nothing_else_has(client: TestClient) -> None:
    for task in ("border_detection.dual_class", "corner_analysis.damage_detection", "surface_analysis.quality_rating"):
        first, again = client.get(f"/lab/example/{task}"), client.get(f"/lab/example/{task}")
        assert first.status_code == 200 and first.content == again.content
        picture = cv2.imdecode(np.frombuffer(first.content, np.uint8), cv2.IMREAD_COLOR)
        assert max(picture.shape[:2]) == 640 and picture.std() > 20
    answer = client.get("/lab/example/..%2F..%2Fetc")
    assert answer.status_code == 404
