"""Is the dataset fit to learn from? One function a check; `base` says what a check is, `verdict` what all come to."""

from __future__ import annotations

from collections.abc import Callable

from trugrade_core.data.checks.balance import class_balance
from trugrade_core.data.checks.base import CHECKS, CheckName, Facts, Finding, Result
from trugrade_core.data.checks.coverage import annotation_coverage
from trugrade_core.data.checks.format import damage, format_validation
from trugrade_core.data.checks.images import image_quality
from trugrade_core.data.checks.labels import label_consistency

Check = Callable[[Facts], Result]

__all__ = ["CHECKS", "FUNCTIONS", "CheckName", "Facts", "Finding", "Result", "run_checks"]


def _image_quality(facts: Facts) -> Result:
    """With nothing against the pictures that were looked at, those that were not could still be anything."""
    found = image_quality(facts)
    if found.status == "ok" and found.why:
        return Result(status="not_checked", why=found.why)
    return found if found.why else found.model_copy(update={"why": "every picture measured and compared"})


def _format_validation(facts: Facts) -> Result:
    """With nothing against files that were not read, any of them could still be damaged, and may be known to be."""
    found = format_validation(facts)
    if found.status == "ok" and not facts.deep:
        return found.model_copy(update={"status": "not_checked", "score": None})
    return found


FUNCTIONS: dict[CheckName, Check] = {
    "label_consistency": label_consistency,
    "class_balance": class_balance,
    "image_quality": _image_quality,
    "annotation_coverage": annotation_coverage,
    "format_validation": _format_validation,
}


def run_checks(facts: Facts) -> dict[CheckName, Result]:
    """All five. A dataset whose own files are damaged is said to be so, and nothing else is checked of it."""
    if facts.dataset is not None and facts.manifest is None:
        broken = [f for f in damage(facts.dataset) if f.severity == "error"]
        if broken:
            why = f"the dataset cannot be read as it is: {broken[0].why}"
            gone = Result(status="not_checked", why=why)
            whole = Result(status="fail", score=0.0, findings=tuple(broken), why=why)
            return {name: whole if name == "format_validation" else gone for name in CHECKS}
    return {name: FUNCTIONS[name](facts) for name in CHECKS}
