"""What all findings come to: fit, fit with reservations, or not fit for the task. The rules are one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from trugrade_core.data.checks.base import LIMITS, CheckName, Finding, Result, counted

Verdict = Literal["fit", "reservations", "not_fit"]
WORDS: dict[Verdict, str] = {
    "fit": "Fit for this task",
    "reservations": "Fit with reservations",
    "not_fit": "Not fit for this task",
}


class Standing(NamedTuple):
    """What a rule is asked about: what nobody accepted, each check's result, how many samples there are, and whether the
    checks knew a task."""

    open: Sequence[Finding]
    results: Mapping[CheckName, Result]
    samples: int
    has_task: bool = True


class VerdictRule(NamedTuple):
    verdict: Verdict
    rule: str
    reason: Callable[[Standing], str]
    """Why it applies, or ''."""


def _leak(now: Standing) -> str:
    return next((f.why for f in now.open if f.code.startswith("leak.") and f.severity == "error"), "")


def _whole(now: Standing) -> str:
    return next((f.why for f in now.open if f.severity == "error" and not f.samples), "")


def _spoilt(now: Standing) -> str:
    touched = {s for f in now.open if f.severity == "error" for s in f.samples}
    if not now.samples or len(touched) / now.samples < LIMITS.spoilt:
        return ""
    worst = max((f for f in now.open if f.severity == "error"), key=lambda f: len(f.samples))
    share = 100 * len(touched) / now.samples
    return (
        f"{len(touched):,} of {counted(now.samples, 'sample')} ({share:.0f} %) have an error; most of all, {worst.why}"
    )


def _nothing(now: Standing) -> str:
    return "it has no samples" if not now.samples else ""


def _an_error(now: Standing) -> str:
    return next((f.why for f in now.open if f.severity == "error"), "")


def _a_warning(now: Standing) -> str:
    warnings = [f for f in now.open if f.severity == "warning"]
    if not warnings:
        return ""
    most = max(warnings, key=lambda f: len(f.samples) or now.samples)
    more = f" (and {counted(len(warnings) - 1, 'more warning')})" if len(warnings) > 1 else ""
    return most.why + more


def _not_made(now: Standing) -> str:
    gone = [f"{name.replace('_', ' ')}: {r.why}" for name, r in now.results.items() if r.status == "not_checked"]
    return f"not everything was checked ({'; '.join(gone)})" if gone else ""


def _no_task(now: Standing) -> str:
    return "" if now.has_task else "no task is named, so nothing was held against what one needs"


RULES: tuple[VerdictRule, ...] = (
    VerdictRule("not_fit", "what is tested on was trained on (a leak that nobody accepted)", _leak),
    VerdictRule("not_fit", "an error of the dataset as a whole", _whole),
    VerdictRule("not_fit", "there is nothing in it", _nothing),
    VerdictRule("not_fit", f"an error on {100 * LIMITS.spoilt:g} % of the samples or more", _spoilt),
    VerdictRule("reservations", "an error on some samples", _an_error),
    VerdictRule("reservations", "a warning", _a_warning),
    VerdictRule("reservations", "a check that could not be made", _not_made),
    VerdictRule("reservations", "fit for no task in particular", _no_task),
    VerdictRule(
        "fit", "nothing stands against it", lambda now: "all five checks were made and nothing stands against it"
    ),
)
"""The first that applies is the verdict."""


def verdict(now: Standing) -> tuple[Verdict, str, str]:
    """(verdict, the rule that gave it, the reason in numbers)."""
    for row in RULES:
        if reason := row.reason(now):
            return row.verdict, row.rule, reason
    raise AssertionError("the last rule always applies")
