"""The files of click-to-segment's model: the published ones as a download or from files at hand, and one's own exports.

They lie in `weights/segment_anything/` of the workspace. Whatever comes in is checked before it takes that place: a
published file by its sha256, one's own by the names of its inputs.
"""

from __future__ import annotations

import functools
import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trugrade_core.errors import UsageError, WeightsMissing
from trugrade_core.workspace import Workspace, file_sha256, locked, sync_folder

ENCODER, DECODER = "encoder.onnx", "decoder.onnx"


@dataclass(frozen=True)
class File:
    name: str
    url: str
    sha256: str
    size: int


TITLE, LICENCE = "MobileSAM", "Apache-2.0"
_AT = "https://huggingface.co/Acly/MobileSAM/resolve/0d3b403339b4674a82493d5e97964dd78089ddc8/"
PUBLISHED = (
    File(ENCODER, _AT + "mobile_sam_image_encoder.onnx",
         "580f5fb648ea1062c0aabc26217aed56921985f03f0cbbd852bba81d760cc749", 28_157_093),
    File(DECODER, _AT + "sam_mask_decoder_single.onnx",
         "93915fc7c993ab9d59ab8c9ccd3bce37f7509c81ab4150a74abd4d2abbd8570d", 16_501_323),
)  # fmt: skip
"""MobileSAM's weights (https://github.com/ChaoningZhang/MobileSAM, Apache-2.0), exported to ONNX, at a fixed commit."""
COMMAND = "trugrade weights segmenter"
DECODER_INPUTS = {"image_embeddings", "point_coords", "point_labels", "mask_input", "has_mask_input", "orig_im_size"}
DECODER_OUTPUTS = {"low_res_masks", "iou_predictions"}
CHUNK = 1 << 18


def folder_of(ws: Workspace) -> Path:
    return ws.root / "weights" / "segment_anything"


def find(ws: Workspace) -> Path:
    """The folder of both files. Raises WeightsMissing that says how to get them."""
    folder = folder_of(ws)
    missing = [name for name in (ENCODER, DECODER) if not (folder / name).is_file()]
    if missing:
        raise WeightsMissing(
            f"no model for click-to-segment here: {' and '.join(missing)} missing", where=str(folder),
            what_to_do=f"Get {TITLE} ({total() / 1e6:.0f} MB, {LICENCE}): {COMMAND}. Until then GrabCut answers.",
        )  # fmt: skip
    return folder


def total() -> int:
    """Bytes of the published files."""
    return sum(file.size for file in PUBLISHED)


def digest_of(path: Path) -> str:
    """The sha256 of a file, read once for as long as it stays as it is."""
    facts = path.stat()
    return _digest(path, facts.st_mtime_ns, facts.st_size, facts.st_ino)


@functools.lru_cache(maxsize=16)
def _digest(path: Path, *_facts: int) -> str:
    return file_sha256(path)


def title_of(encoder_digest: str) -> str:
    """What the model of that encoder is called."""
    return TITLE if encoder_digest == PUBLISHED[0].sha256 else "SAM-family model"


# --- opening ------------------------------------------------------------------------------------------------------


def open_pair(folder: Path) -> tuple[Any, Any]:
    """The onnxruntime sessions of encoder and decoder. Raises WeightsMissing for a file that is neither or damaged."""
    sessions = []
    for name in (ENCODER, DECODER):
        found, session = _opened(folder / name)
        if found != name:
            raise _not_the_export(folder / name, f"it is the {Path(found).stem}")
        sessions.append(session)
    return sessions[0], sessions[1]


def _opened(path: Path) -> tuple[str, Any]:
    """(ENCODER or DECODER, its session), told apart by their inputs, never by the file's name."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as e:  # onnxruntime raises its own kinds for whatever is in the file
        raise WeightsMissing(
            f"cannot be opened as an ONNX model ({str(e)[:200]})", where=str(path),
            what_to_do=f"Get the published one ({COMMAND}), or export it again.",
        ) from e  # fmt: skip
    inputs, outputs = session.get_inputs(), session.get_outputs()
    takes, gives = {i.name for i in inputs}, {o.name for o in outputs}
    if takes == DECODER_INPUTS and gives >= DECODER_OUTPUTS:
        return DECODER, session
    one_each = len(inputs) == len(outputs) == 1 and inputs[0].type == "tensor(float)"
    if one_each and len(inputs[0].shape) in (3, 4) and len(outputs[0].shape) == 4:
        return ENCODER, session  # exporters agree on shapes here, not on names
    raise _not_the_export(path, f"it takes {', '.join(sorted(takes))} and gives {', '.join(sorted(gives))}")


def _not_the_export(path: Path, why: str) -> WeightsMissing:
    return WeightsMissing(
        f"is not the file of a Segment Anything export that belongs here: {why}", where=str(path),
        what_to_do="Export MobileSAM or Segment Anything with its own scripts or samexporter (not EfficientSAM or SAM 2, "
        f"whose interface is another), or get the published files: {COMMAND}",
    )  # fmt: skip


# --- getting ------------------------------------------------------------------------------------------------------


def download(ws: Workspace, progress: Callable[[int, int], None]) -> Path:
    """Bring the published files here; `progress(bytes done, of)`. What is here already is not fetched again.

    Nothing takes its place before both files are whole and their sha256 is right. Raises WeightsMissing.
    """
    folder = folder_of(ws)
    with locked(ws.locks / "segment_anything"):
        done, parts = 0, {}
        try:
            for file in PUBLISHED:
                if not _is_here(folder / file.name, file):
                    parts[file.name] = folder / f".{file.name}.part"
                    _fetch(file, parts[file.name], done, progress)
                done += file.size
            _put(ws, parts)
        finally:
            for part in parts.values():
                part.unlink(missing_ok=True)
    progress(total(), total())
    return folder


def _is_here(path: Path, file: File) -> bool:
    return path.is_file() and path.stat().st_size == file.size and digest_of(path) == file.sha256


def _fetch(file: File, part: Path, before: int, progress: Callable[[int, int], None]) -> None:
    import httpx

    by_hand = (
        f"On a machine with a network get {' and '.join(f.url for f in PUBLISHED)}, then here: {COMMAND} --from FOLDER"
    )
    part.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    try:
        with httpx.stream("GET", file.url, follow_redirects=True, timeout=30) as answer, part.open("wb") as out:
            answer.raise_for_status()
            for chunk in answer.iter_bytes(CHUNK):
                out.write(chunk)
                digest.update(chunk)
                size += len(chunk)
                progress(before + size, total())
                if size > file.size:
                    break
    except httpx.HTTPError as e:
        why = (
            f"the server answers {e.response.status_code}"
            if isinstance(e, httpx.HTTPStatusError)
            else str(e) or type(e).__name__
        )
        raise WeightsMissing(f"{TITLE} could not be downloaded: {why}", where=file.url, code="weights_missing.download",
                             what_to_do=f"Check the network and try again. {by_hand}") from e  # fmt: skip
    except OSError as e:
        raise WeightsMissing(f"{TITLE} could not be written ({e.strerror})", where=str(part), code="weights_missing.download",
                             what_to_do="Make room, or a folder that may be written to, and try again.") from e  # fmt: skip
    if digest.hexdigest() != file.sha256:
        raise WeightsMissing(
            f"what came is not the published file: {size:,} bytes with sha256 {digest.hexdigest()[:16]}…, "
            f"not {file.size:,} with {file.sha256[:16]}…",
            where=file.url, code="weights_missing.digest", what_to_do=f"It was thrown away. Try again later. {by_hand}",
        )  # fmt: skip


def take(ws: Workspace, given: Sequence[Path]) -> Path:
    """Copy both files from files at hand, or the one folder of them: the published ones, or one's own export.

    Raises UsageError when they are not one encoder and one decoder, WeightsMissing for a file that is neither.
    """
    paths = sorted(given[0].glob("*.onnx")) if len(given) == 1 and given[0].is_dir() else list(given)
    for path in paths:
        if not path.is_file():
            raise UsageError("there is no such file", where=str(path),
                             what_to_do=f"Give the encoder and the decoder, or a folder of just those two: {COMMAND} --from FOLDER")  # fmt: skip
    found = [(_opened(path)[0], path) for path in paths]
    if sorted(name for name, _ in found) != sorted((ENCODER, DECODER)):
        named = ", ".join(f"{path.name} ({Path(name).stem})" for name, path in found) or "no .onnx file"
        raise UsageError(f"one encoder and one decoder are wanted, but this is {named}",
                         where=", ".join(map(str, given)), what_to_do="Give both files, or a folder of just those two.")  # fmt: skip
    folder = folder_of(ws)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(ws.locks / "segment_anything"):
        parts = {name: folder / f".{name}.part" for name, _ in found}
        try:
            for name, path in found:
                shutil.copyfile(path, parts[name])
            _put(ws, parts)
        except OSError as e:
            raise WeightsMissing(f"could not be copied ({e.strerror})", where=str(folder),
                                 what_to_do="Make room, or a folder that may be written to, and try again.") from e  # fmt: skip
        finally:
            for part in parts.values():
                part.unlink(missing_ok=True)
    return folder


def _put(ws: Workspace, parts: dict[str, Path]) -> None:
    """Each file in its place; another that lies there goes to the workspace's trash."""
    for name, part in parts.items():
        path = folder_of(ws) / name
        if path.exists():
            if digest_of(path) == digest_of(part):
                continue
            ws.to_trash(path)
        part.replace(path)
    if parts:
        sync_folder(folder_of(ws))
