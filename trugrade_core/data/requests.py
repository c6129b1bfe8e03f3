"""From the paths a person gave to what is to be read: which files are images, which are labels."""

from __future__ import annotations

from pathlib import Path

from trugrade_core.data.formats.base import ImportOptions, Request
from trugrade_core.data.formats.masks import in_mask_folder
from trugrade_core.data.source import Source, open_source, suffix
from trugrade_core.errors import DatasetError, nearest

LISTS = (".json", ".csv", ".tsv")
"""Label files that list their images."""


def make_request(source: Path, options: ImportOptions, known_classes: tuple[str, ...]) -> Request:
    """Open the source and the labels given apart. Raises DatasetError for a path that is not there."""
    labels = None
    only_listed = source.is_file() and suffix(source.name) in LISTS
    if only_listed:
        # The label file itself was named: its images lie beside or below it, or in a sibling of its folder.
        folder = source.absolute().parent
        labels = Source(folder, [source.name])
        opened = open_source(folder.parent if folder.name.lower() in ("annotations", "labels") else folder)
    elif source.is_file() and suffix(source.name) in (".yaml", ".yml"):
        opened = open_source(source.absolute().parent)
    else:
        opened = open_source(source)
    if options.labels is not None:
        labels = _labels(opened, options.labels)
    if options.cards is not None and opened.archive is None:
        cards = options.cards.resolve()
        opened.files = [
            f for f in opened.files if suffix(f) != suffix(cards.name) or (opened.root / f).resolve() != cards
        ]
    label_files = set() if labels is None or only_listed else _inside(opened, labels)
    wanted = set(opened.images() if options.only is None else options.only)
    candidates = [file for file in opened.images() if file not in label_files and file in wanted]
    proper = [file for file in candidates if not in_mask_folder(file)]
    return Request(opened, proper or candidates, labels, options, known_classes, only_listed)


def _labels(opened: Source, given: Path) -> Source:
    """The label files that --labels names: a path, or one inside the source. Raises DatasetError."""
    for path in ([] if opened.archive else [opened.root / given]) + [given]:
        if path.exists():
            return open_source(path)
    if opened.archive is not None:
        name = given.as_posix()
        files = [file for file in opened.files if file == name or file.startswith(f"{name}/")]
        prefix = name[: -len(given.name)] if files == [name] else f"{name}/"
        if files:
            return Source(
                opened.root, [file.removeprefix(prefix) for file in files], archive=opened.archive, prefix=prefix
            )
    folders = sorted({file.split("/")[0] for file in opened.files})
    raise DatasetError("no such label file or folder", where=str(given), code="dataset.no_labels",
                       what_to_do=nearest(str(given), folders[:20]))  # fmt: skip


def _inside(opened: Source, labels: Source) -> set[str]:
    """The label files that are files of the source too, by their names there: they are no images to import."""
    if labels.archive is not None:
        return {labels.prefix + file for file in labels.files} if labels.archive is opened.archive else set()
    root, labels_at = opened.root.resolve(), labels.root.resolve()
    # Labels beside the images: whether a PNG among them is a mask is for the format to say.
    if opened.archive is not None or labels_at == root or not labels_at.is_relative_to(root):
        return set()
    return {(labels_at.relative_to(root) / file).as_posix() for file in labels.files}
