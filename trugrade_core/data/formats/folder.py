"""A folder of images and nothing else: samples without labels."""

from __future__ import annotations

from trugrade_core.data.formats.base import Finding, Format, Item, Reading, Request


def find(request: Request) -> Finding:
    if not request.images:
        return Finding(missing="an image")
    return Finding(f"{len(request.images)} images", weak=True)


def read(request: Request, finding: Finding) -> Reading:
    return Reading((Item(file) for file in request.images), len(request.images))


FOLDER = Format("folder", "a folder of images", find, read)
