"""The numbers of an evaluation, each for every draw of cards: value, interval, comparison with the constant box."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from trugrade_core.evaluate.bootstrap import (
    Array,
    Bools,
    clopper_pearson,
    interval,
    lower_bound,
    per_card,
    quantile,
    ratio,
)  # fmt: skip
from trugrade_core.evaluate.matches import Matches
from trugrade_core.tasks.instances.average_precision import resampled_precision

GOAL = 0.998
"""The accuracy the lab is built towards."""
NAMES = (
    "side_error_mm", "side_error_mm_p95", "side_error_px", "side_error_mm_shifted", "card_accuracy",
    "box_map", "box_ap50", "box_ap75", "mask_map", "mask_ap50", "mask_ap75", "f1",
)  # fmt: skip
HIGHER_IS_BETTER = {name: not name.startswith("side_error") for name in NAMES}


def measure(m: Matches, counts: Array, classes: int) -> dict[str, Array]:
    """Every metric of `NAMES` but the shifted one as (R,) over the draws `counts` (R, C), row 0 the cards as they are;
    all nan where it cannot be known."""
    found = {**side_measures(m, counts), "f1": _f1(m, counts), "card_accuracy": _card_accuracy(m, counts)}
    for kind, hits in (("box", m.found_hits_box), ("mask", m.found_hits_mask)):
        ap = np.full((3, len(counts)), np.nan) if hits is None else average_precision(m, hits, counts, classes)
        found |= {f"{kind}_map": ap[0], f"{kind}_ap50": ap[1], f"{kind}_ap75": ap[2]}
    return found


def side_measures(m: Matches, counts: Array) -> dict[str, Array]:
    """The side errors among the metrics, (R,)."""
    px = np.abs(m.object_sides_px)
    mm = px * m.object_mm_per_px[:, None]
    cards = np.repeat(m.object_card, 4)
    unknown = np.full(len(counts), np.nan)
    scaled = not np.isnan(mm).any()
    return {
        "side_error_px": quantile(px.ravel(), cards, counts, 0.5),
        "side_error_mm": quantile(mm.ravel(), cards, counts, 0.5) if scaled else unknown,
        "side_error_mm_p95": quantile(mm.ravel(), cards, counts, 0.95) if scaled else unknown,
    }


def _f1(m: Matches, counts: Array) -> Array:
    shown = m.found_score >= m.threshold
    count = len(m.cards)
    right = counts @ per_card((m.found_hits_box[:, 0] & shown).astype(float), m.found_card, count)
    total = counts @ per_card(shown.astype(float), m.found_card, count)
    objects = counts @ per_card(np.ones(len(m.object_card)), m.object_card, count)
    return ratio(2 * right, total + objects)


def cards_right(m: Matches) -> Array:
    """(C,) 1 where every image of the card is right, 0 where one is not, nan where it cannot be known."""
    wrong = per_card((m.image_right == 0).astype(float), m.image_card, len(m.cards)) > 0
    unknown = per_card(np.isnan(m.image_right).astype(float), m.image_card, len(m.cards)) > 0
    return np.where(wrong, 0.0, np.where(unknown, np.nan, 1.0))


def _card_accuracy(m: Matches, counts: Array) -> Array:
    right = cards_right(m)
    if np.isnan(right).any():
        return np.full(len(counts), np.nan)
    return ratio(counts @ right, counts.sum(axis=1))


def average_precision(m: Matches, hits: Bools, counts: Array, classes: int) -> Array:
    """(3, R): COCO's mAP, AP50, AP75 over the classes that have objects."""
    per_class = []
    for label in range(1, classes + 1):
        own, objects = m.found_label == label, m.object_label == label
        truths = per_card(objects.astype(float), m.object_card, len(m.cards))
        at = resampled_precision(m.found_score[own], hits[own], m.found_card[own], truths, counts)
        per_class.append(at.mean(axis=2))
    ap = np.stack(per_class)  # (classes, T, R)
    known = ~np.isnan(ap)
    mean = ratio(np.where(known, ap, 0).sum(axis=0), known.sum(axis=0).astype(float))
    return np.stack([mean.mean(axis=0), mean[0], mean[5]])


# --- words for them ---------------------------------------------------------------------------------------------


def cell(drawn: Array, cards: int, reason: str = "") -> dict[str, Any]:
    """`{"value", "low", "high", "n_cards"}` and, where there is no value, the `reason`. One card has no interval."""
    value = float(drawn[0])
    if np.isnan(value):
        return {"value": None, "low": None, "high": None, "n_cards": cards, "reason": reason}
    low, high = interval(drawn) if cards > 1 else (np.nan, np.nan)
    return {"value": value, "low": _known(low), "high": _known(high), "n_cards": cards}


def _known(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def table(drawn: Mapping[str, Array], m: Matches, reasons: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """A cell for each metric, in the order of NAMES. The interval of card_accuracy is the exact binomial one: drawing
    cards again would call '20 of 20' certain."""
    cards = len(m.cards)
    found = {name: cell(drawn[name], cards, _reason(name, reasons)) for name in NAMES if name in drawn}
    if found["card_accuracy"]["value"] is not None:
        low, high = clopper_pearson(int(cards_right(m).sum()), cards)
        found["card_accuracy"] |= {"low": low, "high": high}
    return found


def _reason(name: str, reasons: Mapping[str, str]) -> str:
    for part in ("mask", "mm", "card_accuracy"):
        if part in name and part in reasons:
            return reasons[part]
    return reasons["objects"]


def proof(m: Matches) -> dict[str, Any]:
    """How far card accuracy is shown: the one-sided 95 % Clopper-Pearson bound and its distance to the goal."""
    right, count = cards_right(m), len(m.cards)
    if np.isnan(right).any():
        return {"goal": GOAL, "right": None, "cards": count, "bound": None, "distance": None, "shown": False}
    bound = lower_bound(int(right.sum()), count)
    return {
        "goal": GOAL,
        "right": int(right.sum()),
        "cards": count,
        "bound": bound,
        "distance": max(0.0, GOAL - bound),
        "shown": bound >= GOAL,
    }


def difference(a: Array, b: Array, name: str, cards: int) -> dict[str, Any]:
    """`a` minus `b` on the same draws, with `better`: a, b or neither, by whether the interval excludes 0."""
    found = cell(a - b, cards, "one of the two has no value")
    better = "neither"
    if found["low"] is not None and found["high"] is not None and (found["low"] > 0 or found["high"] < 0):
        better = "a" if (found["low"] > 0) == HIGHER_IS_BETTER[name] else "b"
    return {**found, "better": better}


def verdict(model: Mapping[str, Array], constant: Mapping[str, Array] | None, cards: int) -> dict[str, Any]:
    """Whether the model is better than the constant box by its headline, in words."""
    if constant is None:
        return {"better": None, "text": "no constant box: the training split holds no object of these classes"}
    name = "side_error_px" if np.isnan(model["side_error_mm"][0]) else "side_error_mm"
    found = difference(model[name], constant[name], name, cards)
    better = found["better"] == "a"
    text = "better than the constant box" if better else "not better than the constant box"
    if not better and cards < 2:
        text += " as far as can be told: one card gives no interval"
    return {"better": better, "text": text, "metric": name, "difference": found}
