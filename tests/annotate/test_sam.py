"""Click to segment with a model of the Segment Anything family: its contract, its windows, and how its files come here."""

from __future__ import annotations

import http.server
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from tests.annotate.conftest import add_image
from trugrade_core.annotate import sam, sam_weights
from trugrade_core.annotate.segment import Prompt
from trugrade_core.data import large, rle
from trugrade_core.data.store import Dataset
from trugrade_core.errors import DatasetError, UsageError, WeightsMissing
from trugrade_core.runs import RunFolder
from trugrade_core.schema import Mask
from trugrade_core.workflows import annotating, segmenter
from trugrade_core.workflows.jobs import Job
from trugrade_core.workspace import Workspace, file_sha256

TINY = Path(__file__).resolve().parents[1] / "data" / "sam"
Bool = np.ndarray


def whole(part: sam.Part, size_hw: tuple[int, int]) -> Bool:
    value = part.value("mask", size_hw)
    assert isinstance(value, Mask)
    return rle.decode(value)


def iou(a: Bool, b: Bool) -> float:
    return float((a & b).sum() / (a | b).sum())


# --- the contract -------------------------------------------------------------------------------------------------


def picture(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    image = np.stack([40 + 30 * np.sin(x / 90), 60 + 20 * np.cos(y / 70), np.full(x.shape, 70.0)], axis=-1)
    image[((x - width * 0.4) / (width * 0.2)) ** 2 + ((y - height * 0.35) / (height * 0.15)) ** 2 <= 1] = (200, 120, 60)
    return np.clip(image, 0, 255).astype(np.uint8)


PROMPTS = [
    Prompt(((300, 360, True),)),
    Prompt(((300, 360, True), (600, 900, False))),
    Prompt(box=(150, 200, 440, 520)),
    Prompt(((300, 360, True),), (150, 200, 440, 520)),
]


@pytest.mark.parametrize("n", range(len(PROMPTS)))
def test_masks_are_those_of_segment_anythings_own_predictor(ws: Workspace, n: int) -> None:
    sam_weights.take(ws, [TINY])
    theirs = np.unpackbits(np.load(TINY / "predictor.npz")["masks"], axis=-1)[n, :, :704].astype(bool)
    model, image = sam.Sam.open(ws), picture(1024, 704)
    found = whole(model.segment(lambda _: image, "k", PROMPTS[n], (1024, 704)), (1024, 704))
    assert iou(found, theirs) > 0.999


# --- windows ------------------------------------------------------------------------------------------------------


class Encoder:
    """A session that keeps the picture's brightness, a value for each of a mask's cells."""

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="image", shape=["h", "w", 3])]

    def run(self, _: None, given: dict[str, np.ndarray]) -> list[np.ndarray]:
        (image,) = given.values()
        assert image.shape == (sam.SIDE, sam.SIDE, 3)
        return [cv2.resize(image.mean(axis=-1), (256, 256), interpolation=cv2.INTER_AREA)[None, None]]


class Decoder:
    """A session that finds the bright part under the first point."""

    def run(self, _: list[str], given: dict[str, np.ndarray]) -> list[np.ndarray]:
        values, (x, y) = given["image_embeddings"][0, 0], given["point_coords"][0, 0]
        parts = cv2.connectedComponents((values > 120).astype(np.uint8))[1]
        here = parts[int((y + 0.5) / 4), int((x + 0.5) / 4)]
        logits = np.where((parts == here) & (here > 0), values - 120, -60)
        return [np.ones((1, 1), np.float32), logits[None, None].astype(np.float32)]


@pytest.fixture
def model(ws: Workspace) -> sam.Sam:
    return sam.Sam(ws, "0" * 64, Encoder(), Decoder())


def disc(height: int, width: int, x: float, y: float, radius: float) -> tuple[np.ndarray, Bool]:
    ys, xs = np.mgrid[:height, :width]
    inside = (xs - x) ** 2 + (ys - y) ** 2 <= radius**2
    return np.where(inside[..., None], np.uint8(220), np.uint8(30)) * np.ones(3, np.uint8), inside


class Reader:
    """Windows of an image, and which were asked for."""

    def __init__(self, image: np.ndarray) -> None:
        self.image, self.asked = image, list[sam.Window]()

    def __call__(self, box: sam.Window) -> np.ndarray:
        self.asked.append(box)
        return self.image[box[1] : box[3], box[0] : box[2]]


@pytest.mark.parametrize(
    ("prompt", "size"),
    [(Prompt(((7.0, 15990.0, True),)), (12000, 16000)), (Prompt(((600.0, 600.0, True), (1500.0, 900.0, True))), (4000, 2900)),
     (Prompt(box=(-0.5, -0.5, 2999.5, 4199.5)), (3000, 4200)), (Prompt(((5.0, 6.0, True),)), (200, 120))],
)  # fmt: skip
def test_windows_hold_the_prompt_and_widen_to_the_whole_image(prompt: Prompt, size: tuple[int, int]) -> None:
    boxes = list(sam.windows(prompt, *size))
    assert boxes[-1] == (0, 0, *size)
    points = [*prompt.inside, *([prompt.box[:2], prompt.box[2:]] if prompt.box else [])]
    for x0, y0, x1, y1 in boxes:
        assert 0 <= x0 < x1 <= size[0] and 0 <= y0 < y1 <= size[1]
        assert all(x0 - 0.5 <= x <= x1 - 0.5 and y0 - 0.5 <= y <= y1 - 0.5 for x, y in points)
    sides = [max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes]
    assert sides == sorted(sides) and len(boxes) <= 5


def test_a_small_thing_is_found_in_the_scans_own_pixels(model: sam.Sam) -> None:
    image, truth = disc(3000, 2000, 1700.3, 2600.8, 12)
    read = Reader(image)
    part = model.segment(read, "k", Prompt(((1702.0, 2598.0, True),)), (3000, 2000))
    assert [(x1 - x0, y1 - y0) for x0, y0, x1, y1 in read.asked] == [(1024, 1024)]
    assert iou(whole(part, (3000, 2000)), truth) > 0.9 and part.found.size < 50 * 50
    model.segment(read, "k", Prompt(((1696.0, 2605.0, True),)), (3000, 2000))  # a click beside it
    assert len(read.asked) == 1


def test_a_thing_that_reaches_over_the_window_is_found_in_a_wider_one(model: sam.Sam) -> None:
    image, truth = disc(3000, 2000, 980, 1500, 900)
    read = Reader(image)
    part = model.segment(read, "k", Prompt(((1000.0, 1500.0, True),)), (3000, 2000))
    assert [max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in read.asked] == [1024, 3000]
    assert iou(whole(part, (3000, 2000)), truth) > 0.99


def test_nothing_under_the_click_says_so(model: sam.Sam) -> None:
    image, _ = disc(300, 200, 50, 50, 20)
    with pytest.raises(DatasetError, match="the model found nothing here"):
        model.segment(Reader(image), "k", Prompt(((150.0, 250.0, True),)), (300, 200))


def test_a_pair_that_does_not_fit_says_so(ws: Workspace, model: sam.Sam) -> None:
    image, _ = disc(300, 200, 50, 50, 20)
    tiny_decoder = sam_weights.open_pair(sam_weights.take(ws, [TINY]))[1]
    with pytest.raises(WeightsMissing, match="does not take what it is given") as e:
        replace(model, decoder=tiny_decoder).segment(Reader(image), "k", Prompt(((50.0, 50.0, True),)), (300, 200))
    assert "encoder and decoder of one model" in e.value.what_to_do


def test_a_mask_of_a_192_megapixel_scan_is_no_larger_than_its_part() -> None:
    logits = np.full((256, 256), -4, np.float32)
    logits[100:110, 100:104] = 4
    part = sam._part(logits, (0, 0, 12000, 16000), "x")
    assert part is not None and part.found.shape[0] < 900 and part.found.shape[1] < 600
    y, x = (np.flatnonzero(part.found.any(axis=axis)) for axis in (1, 0))
    cell = 16000 / 256
    edges = np.array([part.at_xy[0] + x[0], part.at_xy[0] + x[-1] + 1, part.at_xy[1] + y[0], part.at_xy[1] + y[-1] + 1])
    assert np.abs(edges / cell - [100, 104, 100, 110]).max() < 0.1


# --- what is kept -------------------------------------------------------------------------------------------------


def test_an_embedding_is_kept_by_image_window_and_encoder_and_made_again_when_damaged(
    ws: Workspace, model: sam.Sam, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, _ = disc(300, 200, 50, 50, 20)
    read, click = Reader(image), Prompt(((50.0, 50.0, True),))
    for key, digest, made in (("a", "0" * 64, 1), ("a", "0" * 64, 1), ("b", "0" * 64, 2), ("a", "1" * 64, 3)):
        replace(model, digest=digest).segment(read, key, click, (300, 200))
        assert len(read.asked) == made
    (kept,) = (ws.cache / "embeddings" / ("1" * 64)).glob("*.npy")
    kept.write_bytes(kept.read_bytes()[:200])
    replace(model, digest="1" * 64).segment(read, "a", click, (300, 200))
    assert len(read.asked) == 4
    monkeypatch.setattr(sam, "KEPT", 2)
    model.segment(read, "c", click, (300, 200))
    left = sorted(path.name[0] for path in (ws.cache / "embeddings").rglob("*.npy"))
    assert left == ["a", "c"]  # the newest two, whichever encoder they are of


def test_a_large_scans_wide_window_comes_from_the_smaller_whole(ds: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    y, x = np.mgrid[:300, :400]
    image = np.stack([x * 0.6, y * 0.8, x * 0 + 90], axis=-1).astype(np.uint8)
    sample = add_image(ds.ws, image, "scan.png")
    monkeypatch.setattr(annotating, "LARGE_PIXELS", 50_000)
    monkeypatch.setattr(large, "LARGE_PIXELS", 50_000)
    monkeypatch.setattr(annotating, "MOST_CROP_PIXELS", 10_000)
    near = annotating.read_window(ds, sample, (10, 20, 90, 100))
    assert (near == image[20:100, 10:90]).all()
    wide = annotating.read_window(ds, sample, (40, 60, 400, 300))
    exact = cv2.resize(image[60:300, 40:400], wide.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert wide.shape[:2] == (120, 180) and np.abs(wide.astype(int) - exact).mean() < 2


# --- the files ----------------------------------------------------------------------------------------------------


def test_without_weights_it_says_how_to_get_them(ws: Workspace) -> None:
    with pytest.raises(WeightsMissing, match=r"encoder\.onnx and decoder\.onnx missing") as e:
        sam.Sam.open(ws)
    assert str(ws.root / "weights" / "segment_anything") in e.value.where
    assert "MobileSAM (45 MB, Apache-2.0): trugrade weights segmenter" in e.value.what_to_do
    assert not segmenter.state(ws)["here"]


def test_with_them_a_click_is_the_models_and_another_encoder_is_opened_anew(ds: Dataset, tmp_path: Path) -> None:
    sample = add_image(ds.ws, picture(1024, 704), "a.png")
    ds.put_samples([sample])
    assert annotating.segmenter(ds.ws) == "GrabCut on the crop, no model"
    found = segmenter.take(ds.ws, [TINY / "decoder.onnx", TINY / "encoder.onnx"])  # in any order
    assert found["here"] and [f["published"] for f in found["files"]] == [False, False]
    assert annotating.segmenter(ds.ws) == "SAM-family model"
    first = annotating.segment_at(ds.ws, "cards", sample.id, [(300, 360, 1)])
    assert first.by == f"SAM-family model {file_sha256(TINY / 'encoder.onnx')[:12]}"
    other = tmp_path / "other.onnx"
    shutil.copy(TINY / "encoder.onnx", other)
    with other.open("ab") as f:
        f.write(b"\x12\x00")  # an empty producer name: the same model, other bytes
    sam_weights.take(ds.ws, [other, TINY / "decoder.onnx"])
    assert annotating.segment_at(ds.ws, "cards", sample.id, [(300, 360, 1)]).by.endswith(file_sha256(other)[:12])
    (trashed,) = (ds.ws.root / "trash").rglob("*.onnx")  # nothing that lay there is lost
    assert file_sha256(trashed) == file_sha256(TINY / "encoder.onnx")


def test_files_that_are_no_such_model_are_refused_and_leave_nothing(ws: Workspace, tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"not a model")
    with pytest.raises(WeightsMissing, match="cannot be opened as an ONNX model"):
        sam_weights.take(ws, [bad, TINY / "decoder.onnx"])
    with pytest.raises(UsageError, match="one encoder and one decoder are wanted"):
        sam_weights.take(ws, [TINY / "decoder.onnx"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"this is no \.onnx file"):
        sam_weights.take(ws, [tmp_path / "empty"])
    with pytest.raises(UsageError, match="there is no such file") as e:
        sam_weights.take(ws, [tmp_path / "gone.onnx", TINY / "decoder.onnx"])
    assert f"{sam_weights.COMMAND} --from" in e.value.what_to_do
    assert not sam_weights.folder_of(ws).exists()
    folder = sam_weights.folder_of(ws)
    folder.mkdir(parents=True)
    for name in (sam_weights.ENCODER, sam_weights.DECODER):
        shutil.copy(TINY / "decoder.onnx", folder / name)  # put there by hand
    with pytest.raises(WeightsMissing, match="it is the decoder"):
        sam.Sam.open(ws)


def test_a_model_of_another_interface_is_refused(ws: Workspace, tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto as T
    from onnx import helper as h

    points = h.make_tensor_value_info("batched_points", T.FLOAT, [1, 1, "n", 2])
    graph = h.make_graph([h.make_node("Add", ["batched_points", "labels"], ["masks"])], "efficient",
                         [points, h.make_tensor_value_info("labels", T.FLOAT, [1])],
                         [h.make_tensor_value_info("masks", T.FLOAT, None)])  # fmt: skip
    made = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)])
    made.ir_version = 9
    onnx.save(made, tmp_path / "e.onnx")
    with pytest.raises(WeightsMissing, match="it takes batched_points, labels and gives masks") as e:
        sam_weights.take(ws, [tmp_path / "e.onnx", TINY / "encoder.onnx"])
    assert "samexporter" in e.value.what_to_do


# --- the download -------------------------------------------------------------------------------------------------


class Server:
    """Publishes the tiny model; `wrong` says what goes wrong with a file: {name: word}."""

    def __init__(self) -> None:
        self.wrong: dict[str, str] = {}
        self.asked: list[str] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                server.asked.append(self.path)
                word, data = server.wrong.get(name, ""), (TINY / name).read_bytes()
                if word == "gone":
                    self.send_error(404)
                elif self.path.startswith("/moved/"):
                    self.send_response(302)
                    self.send_header("Location", f"/{name}")
                    self.end_headers()
                else:
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data[:50_000] if word == "cut" else bytes(len(data)) if word == "other" else data)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    found = Server()
    published = tuple(
        replace(file, url=f"{found.url}/moved/{file.name}", sha256=file_sha256(TINY / file.name),
                size=(TINY / file.name).stat().st_size)
        for file in sam_weights.PUBLISHED
    )  # fmt: skip
    monkeypatch.setattr(sam_weights, "PUBLISHED", published)
    yield found
    found.close()


def job(ws: Workspace) -> Job:
    folder = RunFolder.create(ws.jobs, {"kind": "segmenter", "args": {}})
    folder.queue()
    return Job(ws, folder, {})


def files(ws: Workspace) -> list[str]:
    folder = sam_weights.folder_of(ws)
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_the_published_files_are_fetched_once_checked_and_named(ws: Workspace, server: Server) -> None:
    done = list[tuple[int, int]]()
    sam_weights.download(ws, lambda n, of: done.append((n, of)))
    assert files(ws) == ["decoder.onnx", "encoder.onnx"] and done == sorted(done)
    assert done[-1] == (sam_weights.total(), sam_weights.total())
    assert annotating.segmenter(ws) == "MobileSAM"
    asked = len(server.asked)
    found = segmenter.do_download(job(ws))
    assert len(server.asked) == asked and all(f["published"] for f in found["files"])


@pytest.mark.parametrize(
    ("name", "word", "says"),
    [("encoder.onnx", "cut", "could not be downloaded: peer closed connection"),
     ("decoder.onnx", "cut", "could not be downloaded: peer closed connection"),
     ("decoder.onnx", "other", "what came is not the published file"),
     ("decoder.onnx", "gone", "the server answers 404")],
)  # fmt: skip
def test_a_download_that_goes_wrong_leaves_nothing_and_says_what_to_do(
    ws: Workspace, server: Server, name: str, word: str, says: str
) -> None:
    server.wrong[name] = word
    with pytest.raises(WeightsMissing, match=says) as e:
        segmenter.do_download(job(ws))
    assert "--from FOLDER" in e.value.what_to_do and e.value.where.endswith(name)
    assert files(ws) == []
    server.wrong.clear()
    segmenter.do_download(job(ws))  # and the next time it works
    assert files(ws) == ["decoder.onnx", "encoder.onnx"]


def test_a_file_that_grows_without_end_is_not_written_to_the_end(
    ws: Workspace, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = tuple(replace(file, size=1000) for file in sam_weights.PUBLISHED)
    monkeypatch.setattr(sam_weights, "PUBLISHED", tuple(replace(file, sha256="0" * 64) for file in short))
    monkeypatch.setattr(sam_weights, "CHUNK", 4000)
    with pytest.raises(WeightsMissing, match=r"4,000 bytes with sha256 .*, not 1,000"):
        segmenter.do_download(job(ws))
    assert files(ws) == []


def test_without_a_network_it_says_how_to_bring_the_files(ws: Workspace, server: Server) -> None:
    server.http.server_close()  # nobody listens there any more
    with pytest.raises(WeightsMissing, match=r"could not be downloaded: .*refused") as e:
        segmenter.do_download(job(ws))
    assert e.value.code == "weights_missing.download" and "moved/decoder.onnx" in e.value.what_to_do
    assert files(ws) == []


def test_what_a_person_put_there_goes_to_the_trash_and_a_cancelled_download_leaves_it(
    ws: Workspace, server: Server
) -> None:
    folder = sam_weights.folder_of(ws)
    folder.mkdir(parents=True)
    (folder / "encoder.onnx").write_bytes(b"mine")

    def cancel(n: int, _of: int) -> None:
        if n:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sam_weights.download(ws, cancel)
    assert files(ws) == ["encoder.onnx"] and (folder / "encoder.onnx").read_bytes() == b"mine"
    segmenter.do_download(job(ws))
    (mine,) = (ws.root / "trash").rglob("encoder.onnx")
    assert mine.read_bytes() == b"mine" and files(ws) == ["decoder.onnx", "encoder.onnx"]


def test_the_command_shows_takes_and_refuses(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    from trugrade_core.cli import run_line

    def call(*words: str) -> str:
        assert run_line(["-w", str(ws.root), "weights", "segmenter", *words]) == (2 if "/nowhere" in words else 0)
        captured = capsys.readouterr()
        return captured.out + captured.err

    assert "uses GrabCut. Get MobileSAM (45 MB, Apache-2.0): trugrade weights segmenter" in call("--show")
    assert "there is no such file" in call("--from", "/nowhere")
    assert "A click is answered by: SAM-family model" in call("--from", str(TINY))
    assert '"here": true' in call("--show", "--json")
