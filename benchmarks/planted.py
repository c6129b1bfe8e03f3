"""Planted faults: what the picture checks find, what they accuse wrongly, and what CleanVision and imagededup make of the
same files.

Ground: 600 dpi scans of cards (the team's real ones where they are, and made-up ones). *Faults*: each kind is put into
copies of some of them; recall is the share of the copies that are found, false alarms the share of untouched scans
that are accused of it. *Pairs*: copies that were turned, mirrored, cropped, rescaled, recompressed, lit anew, among
scans of other copies of the same designs; right is a pair of one scan, wrong a pair of two scans of one design or of
nothing in common.
"""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks import peers, scans
from benchmarks.measure import Row
from trugrade_core.data.checks import duplicates, images, measures
from trugrade_core.data.images import decode
from trugrade_core.schema import Image
from trugrade_core.synth.cards import CardSpec, describe, render_card
from trugrade_core.tasks import TASKS
from trugrade_core.workflows.check_targets import needs_of

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "border_scans_600dpi" / "images"
COPIES = (("Test004", "Test005"), ("Test004", "Test006"), ("Test005", "Test006"), ("Test060", "Test061"))
"""Real scans of two cards of one design each."""
SCANS, SEED, DESIGNS = 64, 41, 12
DPI = 600
GOOD_F1 = 0.95

Change = Callable[[Image], Image]


def _jpeg(image: Image, quality: int) -> Image:
    data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def _scaled(image: Image, factor: float, how: int = cv2.INTER_AREA) -> Image:
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=how))


def _enlarged(image: Image) -> Image:
    small = _scaled(image, 0.5)
    return np.asarray(cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_CUBIC))


def _light(image: Image, gain: float, offset: float = 0.0, gamma: float = 1.0) -> Image:
    return np.clip(255 * (image / 255.0) ** gamma * gain + offset, 0, 255).round().astype(np.uint8)


def _noisy(image: Image) -> Image:
    return np.clip(image + np.random.default_rng(0).normal(0, 12, image.shape), 0, 255).round().astype(np.uint8)


def _glare(image: Image) -> Image:
    height, width = image.shape[:2]
    y, x = np.ogrid[:height, :width]
    far = np.hypot((x - 0.45 * width) / (0.14 * width), (y - 0.4 * height) / (0.09 * height))
    return np.clip(image + 400 * np.exp(-(far[..., None] ** 4)), 0, 255).astype(np.uint8)


def _cropped(image: Image, share: float) -> Image:
    height, width = image.shape[:2]
    return np.ascontiguousarray(image[: round(height * (1 - share)), round(width * share) :])


def _tilted(image: Image) -> Image:
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 1, 1)
    return np.asarray(cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REPLICATE))


BLURS: dict[str, Change] = {
    f"blur, sigma {s} px": lambda z, s=s: np.asarray(cv2.GaussianBlur(z, (0, 0), s)) for s in (1, 2, 3)
}
FAULTS: dict[str, tuple[Change, int, tuple[str, ...], str]] = {
    **{name: (change, 95, ("image.blur", "image.detail", "image.coarse"), "blurry") for name, change in BLURS.items()},
    "made larger, from half the size": (_enlarged, 95, ("image.detail", "image.coarse"), ""),
    "saved as JPEG 30": (lambda z: z, 30, ("image.compressed",), ""),
    "saved as JPEG 50": (lambda z: z, 50, ("image.compressed",), ""),
    "JPEG 30, saved again as 95": (lambda z: _jpeg(z, 30), 95, ("image.recompressed", "image.blocks"), ""),
    "JPEG 50, saved again as 95": (lambda z: _jpeg(z, 50), 95, ("image.recompressed", "image.blocks"), ""),
    "dark, half the light": (lambda z: _light(z, 0.5), 95, ("image.dark",), "dark"),
    "bright, 1.5 times and 40 more": (lambda z: _light(z, 1.5, 40), 95, ("image.bright", "image.blown"), "light"),
    "noise, sigma 12": (_noisy, 95, ("image.noise",), ""),
    "glare": (_glare, 95, ("image.glare",), ""),
    "tiny, 200 px": (lambda z: _scaled(z, 200 / max(z.shape)), 95, ("image.tiny", "image.odd_size"), "odd_size"),
}
"""{name: (what is done, JPEG quality of the file, codes that find it, CleanVision's issue or '')}."""

CHANGES: dict[str, tuple[Change, str, int]] = {
    "same pixels, other file": (lambda z: z, ".png", 1),
    "turned by 90 degrees": (lambda z: np.ascontiguousarray(np.rot90(z)), ".jpg", 95),
    "turned by 180 degrees": (lambda z: np.ascontiguousarray(z[::-1, ::-1]), ".jpg", 95),
    "mirrored": (lambda z: np.ascontiguousarray(z[:, ::-1]), ".jpg", 95),
    "half the size": (lambda z: _scaled(z, 0.5), ".jpg", 95),
    "recompressed, 50": (lambda z: z, ".jpg", 50),
    "recompressed, 30": (lambda z: z, ".jpg", 30),
    "cropped by 2 %": (lambda z: _cropped(z, 0.02), ".jpg", 95),
    "darker by a third": (lambda z: _light(z, 0.67), ".jpg", 95),
    "gamma 1.3": (lambda z: _light(z, 1.0, gamma=1.3), ".jpg", 95),
    "tilted by 1 degree": (_tilted, ".jpg", 95),
    "turned, half the size, 50": (lambda z: np.ascontiguousarray(np.rot90(_scaled(z, 0.5), 3)), ".jpg", 50),
}


def _write(path: Path, image: Image, quality: int) -> None:
    from PIL import Image as Pillow

    options = {"compress_level": quality} if path.suffix == ".png" else {"quality": quality}
    Pillow.fromarray(image).save(path, dpi=(DPI, DPI), **options)


def another_copy(spec: CardSpec, number: int) -> CardSpec:
    """Another card of the same design: print drift, cut edges, placement and scanner are its own. Dust and ground are
    drawn as on the first, so that it is harder to tell from the same scan than a real copy."""
    rng = np.random.default_rng([spec.seed, spec.index, number])
    own, drift = describe(spec.seed + number, spec.index), rng.normal(0, 0.2, 2)
    left, top, right, bottom = spec.print.margins_mm
    margins = tuple(float(max(0.5, m)) for m in (left + drift[0], top + drift[1], right - drift[0], bottom - drift[1]))
    ground = tuple(float(max(0.8, g)) for g in np.array(spec.placement.ground_mm) + rng.normal(0, 0.5, 4))
    skew, tilt = rng.normal(0, 0.08), rng.normal(0, 0.3)
    return dataclasses.replace(
        spec, scanner=own.scanner, stock=dataclasses.replace(spec.stock, edge_mm=own.stock.edge_mm),
        print=dataclasses.replace(spec.print, margins_mm=margins, skew_deg=spec.print.skew_deg + float(skew)),
        placement=dataclasses.replace(spec.placement, ground_mm=ground, tilt_deg=spec.placement.tilt_deg + float(tilt)),
    )  # fmt: skip


def _write_copies(folder: Path, design: int, dpi: int) -> None:
    spec = describe(SEED, design)
    for number in range(3):
        card = render_card(another_copy(spec, number) if number else spec, dpi)
        _write(folder / f"design{design:02d}-copy{number}.jpg", card.image, scans.QUALITY)


# --- the ground -----------------------------------------------------------------------------------------------------


def bench(scratch: Path, quick: bool) -> list[Row]:
    made = scans.scans(12, dpi=100) if quick else scans.scans(SCANS)
    real = sorted(REAL.glob("*.jpg")) if REAL.is_dir() else []
    ground = [*(real[:4] if quick else real), *sorted((made / "images").iterdir())[: 8 if quick else None]]
    each = 2 if quick else 16
    return [*_faults(scratch / "faults", ground, each), *_pairs(scratch / "pairs", ground, each, quick)]


def _some(files: Sequence[Path], count: int, seed: int) -> list[Path]:
    chosen = np.random.default_rng(seed).choice(len(files), min(count, len(files)), replace=False)
    return [files[n] for n in sorted(chosen)]


def _measured(folder: Path) -> dict[str, measures.Measured]:
    files = sorted(folder.iterdir())
    got = measures.measure(files)
    return {path.name: got.found[sha] for path, sha in got.paths.items()}


def _faults(folder: Path, ground: Sequence[Path], each: int) -> list[Row]:
    folder.mkdir(parents=True)
    for file in ground:
        shutil.copyfile(file, folder / f"ground-{file.name}")
    planted: dict[str, list[str]] = {}
    for number, (name, (change, quality, _, _)) in enumerate(FAULTS.items()):
        planted[name] = []
        for file in _some(ground, each, number):
            target = folder / f"fault{number}-{file.name}"
            _write(target, change(decode(file)), quality)
            planted[name].append(target.name)
    found = _measured(folder)
    needs = needs_of(TASKS["border_detection.dual_class"], ())
    pictures = [images.Picture(name, m, m.dpi, True, needs) for name, m in found.items()]
    accused = {f.code: set(f.samples) for f in images.picture_findings(pictures)}
    theirs = peers.ask("cleanvision", str(folder))
    clean = [name for name in found if name.startswith("ground-")]
    rows = []
    for name, (_, _, codes, issue) in FAULTS.items():
        ours = _scores(set().union(*(accused.get(code, set()) for code in codes)), planted[name], clean)
        peer = _scores(set(theirs["issues"].get(issue, [])), planted[name], clean) if theirs and issue else None
        rows.append(_fault_row(name, ours, peer, issue, installed=theirs is not None, codes=codes))
    other = {code: len(own & set(clean)) for code, own in accused.items() if own & set(clean)}
    rows.append(Row(name="untouched scans accused of anything", figure=float(len(set().union(*accused.values()) & set(clean))),
                    unit=f"of {len(clean)}", note=", ".join(f"{code} {n}" for code, n in other.items())
                    + "; six of the real scans did go through a JPEG of quality 50"))  # fmt: skip
    return rows


def _scores(accused: set[str], planted: Sequence[str], clean: Sequence[str]) -> tuple[float, float]:
    """(recall, share of untouched scans accused)."""
    return len(accused & set(planted)) / len(planted), len(accused & set(clean)) / len(clean)


def _fault_row(
    name: str, ours: tuple[float, float], peer: tuple[float, float] | None, issue: str, *, installed: bool,
    codes: tuple[str, ...],
) -> Row:  # fmt: skip
    if peer is not None:
        compared = f"CleanVision ({issue}): {100 * peer[0]:.0f} %, false {100 * peer[1]:.1f} %"
    else:
        compared = "CleanVision: has no such check" if installed or not issue else "CleanVision: not installed"
    return Row(name=f"planted: {name}", figure=100 * ours[0], unit="% found", compared_with=compared, goal=">= 90 %",
               met=ours[0] >= 0.9, note=f"false alarms {100 * ours[1]:.1f} %; by {', '.join(codes)}")  # fmt: skip


# --- pairs ----------------------------------------------------------------------------------------------------------


def _pairs(folder: Path, ground: Sequence[Path], each: int, quick: bool) -> list[Row]:
    folder.mkdir(parents=True)
    for file in ground:
        shutil.copyfile(file, folder / file.name)
    dpi, designs = (100, 2) if quick else (DPI, DESIGNS)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(_write_copies, itertools.repeat(folder), range(designs), itertools.repeat(dpi)))
    family = {file.name: file.stem for file in folder.iterdir()}
    kind: dict[str, str] = {}
    for number, (name, (change, suffix, quality)) in enumerate(CHANGES.items()):
        for file in _some(ground, each // 2, 100 + number):
            target = folder / f"change{number}-{file.stem}{suffix}"
            _write(target, change(decode(file)), quality)
            family[target.name], kind[target.name] = file.stem, name
    right = {frozenset(pair) for own in _families(family) for pair in itertools.combinations(own, 2)}
    paths = sorted(folder.iterdir())
    got = measures.measure(paths)
    own = [duplicates.Picture(sha, path, path.name, path.name, None) for path, sha in got.paths.items()]
    found = duplicates.find_pairs(own, got.found)
    ours = {frozenset(pair.samples) for pair in found.pairs if pair.kind != "same_design"}
    copies = {frozenset((f"{a}.jpg", f"{b}.jpg")) for a, b in COPIES if f"{b}.jpg" in family} | {
        frozenset((f"design{d:02d}-copy{a}.jpg", f"design{d:02d}-copy{b}.jpg"))
        for d in range(designs) for a, b in ((0, 1), (0, 2), (1, 2))
    }  # fmt: skip
    return [
        *_pair_rows(ours, right, copies, folder),
        _design_row(found, copies, family),
        *_recall_rows(ours, kind, family),
    ]


def _families(family: dict[str, str]) -> Iterator[list[str]]:
    for stem in sorted(set(family.values())):
        yield sorted(name for name, of in family.items() if of == stem)


def _f1(found: set[frozenset[str]], right: set[frozenset[str]]) -> tuple[float, float, float]:
    """(precision, recall, F1)."""
    hit = len(found & right)
    precision, recall = hit / max(1, len(found)), hit / len(right)
    return precision, recall, 2 * precision * recall / max(1e-9, precision + recall)


def _pair_rows(
    ours: set[frozenset[str]], right: set[frozenset[str]], copies: set[frozenset[str]], folder: Path
) -> Iterator[Row]:
    vision, dedup = peers.ask("cleanvision", str(folder)), peers.ask("imagededup", str(folder))
    sides: dict[str, set[frozenset[str]]] = {"ours": ours}
    if vision:
        sides["CleanVision"] = {frozenset(p) for own in vision["sets"] for p in itertools.combinations(own, 2)}
    if dedup:
        within: dict[int, set[frozenset[str]]] = {
            n: {frozenset((a, b)) for a, b, d in dedup["pairs"] if d <= n} for n in range(13)
        }
        best = max(within, key=lambda n: _f1(within[n], right)[2])
        sides |= {"imagededup, 10 bits": within[10], f"imagededup, best ({best} bits)": within[best]}
    scores = {name: _f1(found, right) for name, found in sides.items()}
    others = "; ".join(f"{name}: {s[2]:.3f}" for name, s in scores.items() if name != "ours")
    precision, recall, f1 = scores["ours"]
    wrong = {name: len(found & copies) for name, found in sides.items()}
    yield Row(name="pairs of one scan, changed: F1", figure=f1, unit="", compared_with=others or "peers: not installed",
              goal=f">= {GOOD_F1}", met=f1 >= GOOD_F1,
              note=f"precision {precision:.3f}, recall {recall:.3f} of {len(right)} pairs; other copies of a card taken for "
                   f"the same scan, of {len(copies)}: " + ", ".join(f"{n} {w}" for n, w in wrong.items()))  # fmt: skip


def _design_row(found: duplicates.Pairs, copies: set[frozenset[str]], family: dict[str, str]) -> Row:
    """Of the pairs of two cards of one design, how many are said to be that."""
    said = {frozenset(pair.samples) for pair in found.pairs if pair.kind == "same_design"}
    hit = len(said & copies) / len(copies)
    designs = {frozenset(family[n] for n in pair) for pair in copies}
    strange = sum(
        frozenset(family[n] for n in pair) not in designs and len({family[n] for n in pair}) > 1 for pair in said
    )
    return Row(name="pairs of two cards of one design: found as such", figure=100 * hit, unit="%", goal=">= 90 %", met=hit >= 0.9,
               note=f"{len(copies)} pairs; {strange} pairs with nothing in common were called one design")  # fmt: skip


def _recall_rows(ours: set[frozenset[str]], kind: dict[str, str], family: dict[str, Any]) -> Iterator[Row]:
    first = {family[name]: name for name in family if name not in kind}
    for name in CHANGES:
        own = [n for n, k in kind.items() if k == name]
        hit = sum(frozenset((n, first[family[n]])) in ours for n in own)
        yield Row(name=f"pair found: {name}", figure=100 * hit / len(own), unit="%", note=f"{hit} of {len(own)}")
