"""Pictures too large for a browser: a smaller whole and native crops, by the app's own routes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.server import ROUTES, middleware
from trugrade_core.data import large
from trugrade_core.data.images import probe
from trugrade_core.workspace import Workspace, write_atomic


@pytest.fixture
def client(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setenv("TRUGRADE_WORKSPACE", str(ws.root))
    return TestClient(Starlette(routes=ROUTES, middleware=middleware()), base_url="http://127.0.0.1")


def picture(ws: Workspace, width: int = 301, height: int = 204, seed: int = 0) -> tuple[str, np.ndarray]:
    """(digest, (H, W, 3) BGR) of a stored picture in which no two pixels are alike."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    data = cv2.imencode(".png", pixels)[1].tobytes()
    ref = probe(data, name="large.png")
    write_atomic(ws.image(ref.sha256, ref.suffix), data)
    return ref.sha256, pixels


def read(content: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


def test_a_crop_is_the_very_pixels(client: TestClient, ws: Workspace) -> None:
    sha, pixels = picture(ws)
    answer = client.get(f"/lab/crop/{sha}?x=10&y=20&w=64&h=32")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert "immutable" in answer.headers["cache-control"]
    assert (read(answer.content) == pixels[20:52, 10:74]).all()


def test_a_crop_is_cut_where_the_picture_ends(client: TestClient, ws: Workspace) -> None:
    sha, pixels = picture(ws)
    answer = client.get(f"/lab/crop/{sha}?x=290&y=200&w=64&h=64")
    assert (read(answer.content) == pixels[200:, 290:]).all()


def test_a_crop_is_upright_like_the_lab_s_frame(client: TestClient, ws: Workspace) -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:10, :10] = 255
    data = bytearray(cv2.imencode(".jpg", pixels)[1].tobytes())
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    data[2:2] = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    ref = probe(bytes(data), name="turned.jpg")
    assert (ref.width, ref.height) == (40, 60)
    write_atomic(ws.image(ref.sha256, ref.suffix), bytes(data))
    corner = read(client.get(f"/lab/crop/{ref.sha256}?x=30&y=0&w=10&h=10").content)
    assert corner.mean() > 200  # the top-left of what is stored is the top-right of what is shown


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "x, y, w and h are needed"),
        ("x=a&y=0&w=1&h=1", "x, y, w and h are needed"),
        ("x=0&y=0&w=0&h=5", "window of 0 x 5 px"),
        ("x=0&y=0&w=5000&h=5000", "1 to 4,200,000 pixels"),
        ("x=301&y=0&w=5&h=5", "outside the picture of 301 x 204 px"),
        ("x=-1&y=0&w=5&h=5", "outside the picture"),
    ],
)
def test_a_window_that_cannot_be_is_refused_in_words(client: TestClient, ws: Workspace, query: str, said: str) -> None:
    sha, _ = picture(ws)
    answer = client.get(f"/lab/crop/{sha}?{query}")
    assert answer.status_code == 400
    assert said in answer.text


def test_the_smaller_whole_is_half_and_its_mean_is_kept(client: TestClient, ws: Workspace) -> None:
    sha, pixels = picture(ws)
    small = read(client.get(f"/lab/half/{sha}").content)
    assert small.shape == (102, 151, 3)
    assert small.mean() == pytest.approx(pixels.mean(), abs=1)


def test_it_is_halved_until_a_browser_can_hold_it(
    client: TestClient, ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large, "LARGE_PIXELS", 5000)
    sha, _ = picture(ws)
    assert read(client.get(f"/lab/half/{sha}").content).shape == (51, 76, 3)


def test_only_the_newest_pixels_are_kept_and_others_come_again(client: TestClient, ws: Workspace) -> None:
    shas = [picture(ws, seed=n)[0] for n in range(large.KEPT + 1)]
    for sha in [*shas, shas[0]]:
        assert client.get(f"/lab/crop/{sha}?x=0&y=0&w=2&h=2").status_code == 200
        assert len(list((ws.root / "cache" / "pixels").glob("*.npy"))) <= large.KEPT


@pytest.mark.parametrize("route", ["half", "crop"])
def test_anything_but_a_known_digest_is_not_found(client: TestClient, route: str) -> None:
    assert client.get(f"/lab/{route}/{'0' * 64}?x=0&y=0&w=1&h=1").status_code == 404
    assert client.get(f"/lab/{route}/..%2f..%2fworkspace.json?x=0&y=0&w=1&h=1").status_code == 404


@pytest.mark.parametrize("route", ["half", "crop"])
def test_damaged_bytes_are_said_and_nothing_is_written_over_them(client: TestClient, ws: Workspace, route: str) -> None:
    path = ws.image("f" * 64, ".png")
    write_atomic(path, b"not a picture")
    answer = client.get(f"/lab/{route}/{'f' * 64}?x=0&y=0&w=1&h=1")
    assert answer.status_code == 422
    assert "not a picture" in answer.text
    assert path.read_bytes() == b"not a picture"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_they_only_read(client: TestClient, ws: Workspace, method: str) -> None:
    sha, _ = picture(ws)
    assert client.request(method, f"/lab/crop/{sha}?x=0&y=0&w=1&h=1").status_code == 405
