"""What is known of trading cards whatever the scan: the sizes they are made in, and what their outline is called."""

from __future__ import annotations

FORMATS: dict[str, tuple[float, float]] = {"us": (63.5, 88.9), "tcg": (63.0, 88.0), "japanese": (59.0, 86.0)}
"""Width and height in mm of an upright card: standard (poker size), Magic and Pokemon, Yu-Gi-Oh."""
OUTLINE_CLASSES = ("outer_border", "border")
"""Classes that are the card's own outline, the first to be looked for first."""
