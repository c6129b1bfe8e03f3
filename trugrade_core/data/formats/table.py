"""A table: CSV with the column `file` and any of class, tags, score, mask, card, specimen, split.

`class` alone is one tag on the whole image; with `mask` it names what the mask shows. Other columns can be renamed
into these with --map theirs=ours.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from pathlib import PurePosixPath

from trugrade_core.data.formats import masks
from trugrade_core.data.formats.base import SPLIT_WORDS, Finding, Format, Item, Label, Labels, Reading, Request
from trugrade_core.data.source import FileIndex, Skip, shown, suffix
from trugrade_core.errors import DatasetError
from trugrade_core.schema import ImageRef, Score, Tags

LABELS = ("class", "tags", "score", "mask")
SAYS = (*LABELS, "card", "specimen", "split")
Line = dict[str, str]


def find(request: Request) -> Finding:
    tables = {}
    broken = ""
    for file in request.label_source.files:
        if suffix(file) in (".csv", ".tsv"):
            try:
                columns, lines = parse(request.label_source.read(file), request.options.mapping)
            except (csv.Error, DatasetError) as e:  # it may be none of ours
                broken = (
                    broken or f"{shown(file)}, which is no table: {e.message if isinstance(e, DatasetError) else e}"
                )
                continue
            if "file" in columns:
                tables[file] = columns, lines
    if not tables:
        return Finding(broken, missing="a CSV with the column 'file'")
    useful = {file: table for file, table in tables.items() if set(table[0]) & set(SAYS)}
    if not useful:
        file, (columns, _) = next(iter(tables.items()))
        return Finding(f"{file} with the columns {', '.join(columns)}",
                       f"one of the columns {', '.join(SAYS)} (rename one: --map {next(iter(c for c in columns if c != 'file'), 'THEIRS')}=score)", near=2)  # fmt: skip
    if len(useful) > 1:
        return Finding(f"{len(useful)} tables", "a choice: --labels " + " | ".join(useful), near=3)
    file, table = next(iter(useful.items()))
    return Finding(file, weak=not set(table[0]) & set(LABELS), data=(file, *table))


def parse(data: bytes, mapping: dict[str, str]) -> tuple[list[str], list[Line]]:
    """(columns, lines) of a CSV in UTF-8 with comma, semicolon or tab; column names in lower case and renamed.

    Raises csv.Error for a cell of over 131,072 characters, mostly a quote that is never closed.
    """
    text = data.decode("utf-8-sig", "replace")
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    renamed = {theirs.lower(): ours for theirs, ours in mapping.items()}
    columns = [renamed.get(c.strip().lower(), c.strip().lower()) for c in next(rows, [])]
    lines = [dict(zip(columns, (cell.strip() for cell in row), strict=False)) for row in rows if any(row)]
    return columns, lines


def read(request: Request, finding: Finding) -> Reading:
    file, columns, lines = finding.data
    images, files = FileIndex(request.images), FileIndex(request.label_source.files)
    folder = str(PurePosixPath(file).parent)
    reading = Reading(iter(()), 0)
    by_image: dict[str, list[tuple[int, Line]]] = {}
    for number, line in enumerate(lines, 2):
        image, why = images.find(line.get("file", ""), folder)
        if image is None:
            reading.skipped.append(Skip(file=shown(line.get("file", "")), reason=f"{file} line {number}: {why}"))
        else:
            by_image.setdefault(image, []).append((number, line))
    unused = sorted(set(columns) - {"file", *SAYS})
    if unused:
        reading.notes.append(f"{file}: columns not read: {', '.join(unused)}")
    mask_files = {files.find(line["mask"], folder)[0] for line in lines if line.get("mask")}
    others = [] if request.only_listed else [i for i in request.images if i not in by_image and i not in mask_files]
    items = [_item(image, rows, file, columns, files, request, reading) for image, rows in by_image.items()]
    items += [Item(image) for image in others]
    reading.items, reading.total = iter(items), len(items)
    return reading


def _item(
    image: str,
    rows: list[tuple[int, Line]],
    file: str,
    columns: list[str],
    files: FileIndex,
    request: Request,
    reading: Reading,
) -> Item:
    first = rows[0][1]
    split = SPLIT_WORDS.get(first.get("split", "").lower())
    if first.get("split") and split is None:
        reading.skipped.append(
            Skip(
                file=shown(image),
                reason=f"{file} line {rows[0][0]}: split '{first['split']}' is none of train, val, test",
            )
        )
    says = bool(set(LABELS) & set(columns))
    labels = _labels_of(image, rows, file, columns, files, request) if says else None
    return Item(image, labels, card=first.get("card") or first.get("specimen") or None, split=split)


def _labels_of(
    image: str, rows: list[tuple[int, Line]], file: str, columns: list[str], files: FileIndex, request: Request
) -> Callable[[ImageRef], Labels]:
    def labels(ref: ImageRef) -> Labels:
        found = Labels()
        for number, line in rows:
            where = f"{file} line {number}"
            tags = [t.strip() for t in line.get("tags", "").replace("|", ";").split(";") if t.strip()]
            if "mask" not in columns and line.get("class"):
                tags.insert(0, line["class"])
            if tags:
                found.labels.append(Label(None, Tags(tags=tuple(dict.fromkeys(tags)))))
            _add_score(line, where, shown(image), found)
            if line.get("mask"):
                _add_mask(line, where, shown(image), PurePosixPath(file).parent, files, request, ref, found)
        if not found.labels and not found.skipped:
            found.notes[f"images whose row in {file} names nothing, taken as background"] += 1
        return found

    return labels


def _add_score(line: Line, where: str, image: str, found: Labels) -> None:
    if not line.get("score"):
        return
    try:
        score = float(line["score"])
    except ValueError:
        score = math.nan
    if math.isfinite(score):
        found.labels.append(Label(None, Score(score=score)))
    else:
        found.skipped.append(Skip(file=image, reason=f"{where}: score '{line['score']}' is not a number"))


def _add_mask(
    line: Line,
    where: str,
    image: str,
    folder: PurePosixPath,
    files: FileIndex,
    request: Request,
    ref: ImageRef,
    found: Labels,
) -> None:
    mask, why = files.find(line["mask"], str(folder))
    name = line.get("class") or (request.options.classes or ("",))[0]
    if not name:
        found.skipped.append(Skip(file=image, reason=f"{where}: the mask has no class"))
    elif mask is None:
        found.skipped.append(Skip(file=image, reason=f"{where}: mask '{line['mask']}': {why.replace('image', 'file')}"))
    else:
        try:
            read = masks.parse(request.label_source.read(mask), shown(mask), [name], ref)
        except DatasetError as e:
            read = Labels(skipped=[Skip(file=shown(mask), reason=e.message)])
        found.labels += read.labels
        found.skipped += read.skipped


TABLE = Format("table", "CSV table", find, read)
