"""The table of dataset formats. Adding one is adding a file and its row; `auto` tries them in this order."""

from __future__ import annotations

from collections import Counter

from trugrade_core.data.formats.base import Finding, Format, Request
from trugrade_core.data.formats.coco import COCO
from trugrade_core.data.formats.cvat import CVAT
from trugrade_core.data.formats.folder import FOLDER
from trugrade_core.data.formats.label_studio import LABEL_STUDIO
from trugrade_core.data.formats.labelme import LABELME
from trugrade_core.data.formats.masks import MASKS
from trugrade_core.data.formats.table import TABLE
from trugrade_core.data.formats.voc import VOC
from trugrade_core.data.formats.yolo import YOLO
from trugrade_core.data.source import suffix
from trugrade_core.errors import DatasetError, UsageError, nearest

FORMATS: dict[str, Format] = {f.id: f for f in (COCO, LABEL_STUDIO, LABELME, TABLE, VOC, CVAT, YOLO, MASKS, FOLDER)}


def choose(request: Request) -> tuple[Format, Finding]:
    """The format asked for, or the one that fits.

    Raises DatasetError saying what was found, what is missing and which format is nearest; UsageError for a format
    that is not known.
    """
    wanted = request.options.format
    if wanted != "auto":
        if wanted not in FORMATS:
            raise UsageError(f"no dataset format '{wanted}'", what_to_do=nearest(wanted, ["auto", *FORMATS]))
        finding = FORMATS[wanted].find(request)
        if finding.near == 3:
            raise _ambiguous(request, [], {wanted: finding})
        if finding.missing:
            raise _unrecognised(request, {wanted: finding})
        return FORMATS[wanted], finding
    found = {id: row.find(request) for id, row in FORMATS.items()}
    fits = [id for id, f in found.items() if not f.missing and not f.weak]
    # Labels that only need to be chosen between must not lose to a format that happens to fit.
    if len(fits) > 1 or any(f.near == 3 for f in found.values()):
        raise _ambiguous(request, fits, found)
    leftovers = {id: f for id, f in found.items() if f.missing and f.near}
    if not fits and (request.labels is not None or leftovers):
        fits = [id for id, f in found.items() if not f.missing and id != "folder"]
    elif not fits:
        fits = [id for id, f in found.items() if not f.missing]
    if not fits:
        raise _unrecognised(request, leftovers or found)
    return FORMATS[fits[0]], found[fits[0]]


def _ambiguous(request: Request, fits: list[str], found: dict[str, Finding]) -> DatasetError:
    lines = [f"{id}: {found[id].found}" for id in fits]
    lines += [f"{id}: {f.found}; needs {f.missing}" for id, f in found.items() if f.near == 3]
    return DatasetError(
        f"labels of several kinds lie beside {len(request.images)} images: " + "; ".join(lines),
        where=str(request.source.root),
        code="dataset.ambiguous",
        what_to_do="Say which: --labels FILE_OR_FOLDER"
        + (f", or --format {' | '.join(fits)}" if len(fits) > 1 else ""),
    )


def _unrecognised(request: Request, found: dict[str, Finding]) -> DatasetError:
    kinds = Counter(
        suffix(f) or "no ending" for f in request.label_source.files + (request.source.files if request.labels else [])
    )
    there = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common(6)) or "nothing"
    if not request.images and not any(f.near for f in found.values()):
        return DatasetError(f"no picture here. Found: {there}", where=str(request.source.root), code="dataset.no_images",
                            what_to_do="Give the folder of the scans, or the file of labels that lies beside them.")  # fmt: skip
    near = max(found, key=lambda id: (found[id].near, bool(found[id].found)))
    missing = found[near].missing
    also = f" (there: {found[near].found})" if found[near].found else ""
    only = " To take the pictures without labels: --format folder." if request.images else ""
    return DatasetError(
        f"no known dataset format here. Found: {len(request.images)} images; files: {there}. Nearest: {near}{also}, missing: {missing}",
        where=str(request.source.root),
        code="dataset.unrecognised",
        what_to_do="Known formats: "
        + ", ".join(FORMATS)
        + "; choose with --format, and label files with --labels."
        + only,
    )
