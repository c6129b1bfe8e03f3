"""Are the pictures good enough to learn this task from? Every fault is a row: a number that was measured of the picture,
a limit, and what to do. Numbers are stored (`measures`), limits are not: another limit reads no pixel.

A fault that most pictures have is reported like any other, with its share: what is wrong everywhere is what a model
learns. The limits were set on 600 dpi scans of cards (none of 41 good ones is wrongly accused, see
`python -m benchmarks --only planted`), phone photographs and pictures from auctions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from trugrade_core.data.checks import duplicates, hashing
from trugrade_core.data.checks.base import Facts, Finding, Needs, Result, Severity, counted, judged
from trugrade_core.data.checks.measures import Measured, Measures, measure_images, store_path
from trugrade_core.schema import ImageRef, Sample

EDITORS_DPI = (72.0, 96.0)
"""What image editors and cameras write where they know nothing."""


@dataclass(frozen=True)
class Picture:
    """One picture with what its sample and its task say. `whole` says that it shows a whole card; a
    region may be dark, flat or of any size."""

    sample: str
    measured: Measured
    dpi: float | None
    whole: bool
    needs: Needs | None


@dataclass(frozen=True)
class Usual:
    """The medians of the dataset's pictures, which odd ones are held against."""

    long_px: float
    aspect: float
    colour: float


@dataclass(frozen=True)
class Fault:
    """`value` gives a number, None where the fault cannot be told; it is one above `limit` (below it when `below`).
    `shown` says the value to a person. `why` follows the number of samples; {limit} is filled in."""

    code: str
    severity: Severity
    value: Callable[[Picture, Usual], float | None]
    limit: float
    shown: Callable[[float], str]
    why: str
    action: str
    below: bool = False

    def found(self, value: float | None, limit: float) -> bool:
        return value is not None and (value < limit if self.below else value > limit)


# --- the numbers ----------------------------------------------------------------------------------------------------


def finest_mm(measured: Measured, dpi: float) -> float | None:
    """The finest line in mm that the picture still shows: what its pixels could, its spectrum holds (`detail`) and its
    edges pass (a Gaussian point spread of sigma s leaves 10 % contrast at 0.34 / s cycles per px). None where it has
    neither edges nor structure."""
    lines = [1 / m for m in [measured.detail] if m] + [1.464 * e for e in [measured.edge_px] if e is not None]
    return max(1.0, *lines) * 25.4 / dpi if lines else None


def _too_coarse(p: Picture, usual: Usual) -> float | None:
    """The finest line shown, as a multiple of what the task needs."""
    if p.needs is None or p.dpi is None or _doubtful(p):
        return None
    shown = finest_mm(p.measured, p.dpi)
    return None if shown is None else shown / p.needs.finest_mm


def _doubtful(p: Picture) -> bool:
    return p.dpi is not None and p.dpi == p.measured.dpi and round(p.dpi) in EDITORS_DPI


def _lacking(p: Picture, usual: Usual) -> float | None:
    """The structure that is there as a share of what pictures with such edges have: crisp edges without any fine
    structure are those of a picture that was made larger."""
    m = p.measured
    if m.detail is None or m.edge_px is None or not p.whole:
        return None
    soft = min(max((m.edge_px - 0.6) / 0.2, 0.0), 1.0)
    return m.detail / (0.77 - 0.12 * soft)


def _odd_size(p: Picture, usual: Usual) -> float | None:
    long, short = max(p.measured.width, p.measured.height), min(p.measured.width, p.measured.height)
    size, aspect = long / usual.long_px, (long / short) / usual.aspect
    return max(size / 2, 1 / (2 * size), aspect / 1.3, 1 / (1.3 * aspect)) if p.whole else None


def _former(p: Picture, usual: Usual) -> float | None:
    m = p.measured
    if m.former_quality is None or (m.quality is not None and m.former_quality > m.quality - 5):
        return None  # the comb is that of the file's own tables
    return m.former_quality


def _percent(value: float) -> str:
    return f"{100 * value:.1f} % of the picture"


FAULTS: tuple[Fault, ...] = (
    Fault("image.blank", "warning", lambda p, u: float(p.measured.hash is None) if p.whole else None, 0.5,
          lambda v: "nothing to see", "with nothing to see but one even tone",
          "Look at them; exclude what is no scan of a card."),
    Fault("image.coarse", "warning", _too_coarse, 1.0,
          lambda v: f"finest line {v:.1f} times what the task needs",
          "too coarse for what the task must see, whatever the dpi: out of focus, made larger, or scanned at too few dpi",
          "Scan again in focus at the optical dpi; a picture made larger holds no more than before."),
    Fault("image.blur", "warning", lambda p, u: p.measured.edge_px, 1.25, lambda v: f"edges of sigma {v:.1f} px",
          "blurred: edges of more than sigma {limit} px",
          "Scan again: card flat on the glass, lens in focus, no descreening."),
    Fault("image.detail", "warning", _lacking, 1.0, lambda v: f"{100 * v:.0f} % of the fine structure expected",
          "with less detail than the pixels promise: made larger, slightly out of focus, or heavily filtered",
          "Use the file as the scanner wrote it; switch noise filters and descreening off.", below=True),
    Fault("image.dpi_low", "warning", lambda p, u: None if p.needs is None or p.dpi is None or _doubtful(p) else p.dpi / p.needs.dpi, 0.98,
          lambda v: f"{100 * v:.0f} % of the dpi", "scanned at fewer dpi than the task asks for",
          "Scan at the task's dpi or more.", below=True),
    Fault("image.dpi_missing", "warning", lambda p, u: float(p.dpi is None), 0.5, lambda v: "no dpi",
          "without dpi: nothing can be told in mm",
          "Give the dpi on import (a cards table with the column dpi, or --dpi)."),
    Fault("image.dpi_doubtful", "warning", lambda p, u: float(_doubtful(p)), 0.5, lambda v: "72 or 96 dpi",
          "with 72 or 96 dpi, which image editors write where they know nothing: mm would be wrong",
          "Give the true dpi on import (a cards table with the column dpi, or --dpi)."),
    Fault("image.dark", "warning", lambda p, u: p.measured.dark if p.whole else None, 0.505, lambda v: f"brightest 1 % at {100 * v:.0f} % of white",
          "underexposed: hardly a pixel brighter than {limit} of white",
          "Scan with fixed exposure, and white paper near white.", below=True),
    Fault("image.bright", "warning", lambda p, u: p.measured.light if p.whole else None, 0.7, lambda v: f"darkest 5 % at {100 * v:.0f} % of white",
          "washed out: hardly a pixel darker than {limit} of white",
          "Scan with fixed exposure, auto-exposure off."),
    Fault("image.blown", "warning", lambda p, u: p.measured.white, 0.03, _percent,
          "with lost lights: pixels at white in all channels",
          "Lower the exposure; what is white in all channels shows no wear."),
    Fault("image.crushed", "info", lambda p, u: p.measured.black, 0.1, _percent,
          "with lost darks: pixels at black in all channels",
          "Raise the exposure, unless it is the ground around the card."),
    Fault("image.low_contrast", "warning", lambda p, u: p.measured.contrast if p.whole else None, 0.15, lambda v: f"{100 * v:.0f} % of full contrast",
          "with hardly any contrast", "Look at them; scan again without fog or sleeve.", below=True),
    Fault("image.noise", "warning", lambda p, u: p.measured.noise, 5.5, lambda v: f"sigma {v:.1f} grey levels",
          "noisy: more than {limit} grey levels where the picture is calm",
          "More light and lower gain; noise hides hairlines and looks like fray."),
    Fault("image.glare", "warning", lambda p, u: p.measured.glare, 0.006, _percent,
          "with glare: a blown area on the card", "Turn the lamp or use crossed polarisers; take the card out of its sleeve."),
    Fault("image.compressed", "warning", lambda p, u: p.measured.quality, 80.0, lambda v: f"JPEG quality {v:.0f}",
          "saved as JPEG of low quality (below {limit}): fine texture is gone and blocks look like texture",
          "Save as PNG or TIFF, or JPEG of quality 95 and above.", below=True),
    Fault("image.recompressed", "warning", _former, 80.0, lambda v: f"once JPEG quality {v:.0f}",
          "once a JPEG of low quality (below {limit}), then saved again",
          "Find the scanner's own files; saving again brings nothing back.", below=True),
    Fault("image.blocks", "warning", lambda p, u: p.measured.grid, 0.4, lambda v: f"grid strength {v:.2f}",
          "with the 8 x 8 blocks of strong JPEG compression", "Find the scanner's own files.",),
    Fault("image.tiny", "warning", lambda p, u: max(p.measured.width, p.measured.height) / (224 if p.whole else 48), 1.0,
          lambda v: f"{100 * v:.0f} % of the least size", "tiny: less than 224 px a side (a cut region: 48)",
          "Use the scans themselves, not previews.", below=True),
    Fault("image.odd_size", "info", _odd_size, 1.0, lambda v: "",
          "of another size or shape than most: half or twice as large, or 1.3 times as long for the width",
          "Look whether they belong here; crops and whole cards do not mix."),
    Fault("image.grey", "info", lambda p, u: p.measured.colour / u.colour if u.colour > 0.08 else None, 0.15, lambda v: "no colour",
          "without colour, while most have it", "Scan in colour.", below=True),
    Fault("image.bits", "warning", lambda p, u: float(p.measured.bits) if p.needs is not None and p.needs.kind == "map" else None, 12,
          lambda v: f"{v:.0f} bit", "with 8 bits a channel; relief and reflectance need linear 12 bits or more",
          "Take them raw or as 16 bit TIFF, linear.", below=True),
)  # fmt: skip


# --- the check ------------------------------------------------------------------------------------------------------


def picture_findings(pictures: Sequence[Picture], limits: Mapping[str, float] | None = None) -> Iterator[Finding]:
    """One finding for each fault that any picture has; `limits` {code: another limit}. Samples come worst first."""
    if not pictures:
        return
    shapes = [(max(p.measured.width, p.measured.height), min(p.measured.width, p.measured.height)) for p in pictures]
    usual = Usual(
        median(a for a, _ in shapes), median(a / b for a, b in shapes), median(p.measured.colour for p in pictures)
    )
    samples = len({p.sample for p in pictures})
    for fault in FAULTS:
        limit = (limits or {}).get(fault.code, fault.limit)
        values = ((fault.value(p, usual), p) for p in pictures)
        found = sorted(
            ((v, p) for v, p in values if v is not None and fault.found(v, limit)),
            key=lambda vp: vp[0],
            reverse=not fault.below,
        )
        if not found:
            continue
        by_sample: dict[str, str] = {}
        for value, picture in found:
            by_sample.setdefault(picture.sample, fault.shown(value))
        share = 100 * len(by_sample) / samples
        yield Finding(
            check="image_quality", code=fault.code, severity=fault.severity, samples=tuple(by_sample),
            why=f"{counted(len(by_sample), 'sample')} ({share:.0f} %) {fault.why.format(limit=f'{limit:g}')}",
            action=fault.action, details={"by_sample": by_sample, "limit": limit, "worst": round(found[0][0], 4)},
        )  # fmt: skip


def image_quality(facts: Facts) -> Result:
    """Faults of pictures, duplicates, and leaks through them. Without `facts.deep` from what is stored alone."""
    samples = list(facts.samples())
    refs = [(sample, role, ref) for sample in samples for role, ref in sample.images.items()]
    wanted = {ref.sha256: facts.image_path(sample, role) for sample, role, ref in refs}
    measures = measure_images(wanted, store_path(facts.ws), deep=facts.deep, progress=facts.progress)
    pairs = duplicates.find_pairs(
        duplicates.pictures(samples, facts.image_path), measures.found, duplicates.store_path(facts.ws),
        deep=facts.deep, progress=facts.progress,
    )  # fmt: skip
    known = [
        _picture(s, ref, measures.found[ref.sha256], facts.needs) for s, _, ref in refs if ref.sha256 in measures.found
    ]
    found = [*picture_findings(known), *duplicates.findings(pairs)]
    return judged(found, len({p.sample for p in known}), why=_why(measures, pairs, len(wanted)))


def _picture(sample: Sample, ref: ImageRef, measured: Measured, needs: Needs | None) -> Picture:
    whole = sample.parent is None and (needs is None or needs.whole_card)
    return Picture(sample.id, measured, sample.dpi or ref.dpi, whole, needs)


def _why(measures: Measures, pairs: duplicates.Pairs, total: int) -> str:
    """What was not looked at, in words; '' where all was."""
    words = []
    if measures.missing:
        words.append(f"{len(measures.missing):,} of {counted(total, 'picture')} were never measured")
    if measures.unreadable:
        words.append(f"{counted(len(measures.unreadable), 'picture')} cannot be read")
    if pairs.unchecked:
        words.append(f"{counted(pairs.unchecked, 'look-alike pair')} were not laid over each other")
    if pairs.cut or pairs.within < hashing.WITHIN:
        words.append("there are more look-alikes than can be listed")
    return "; ".join(words)
