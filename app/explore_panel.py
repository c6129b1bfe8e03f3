"""What the samples that fit are like together: counts, sizes, scores and where on the card, each a way into the samples."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from app import charts, look, overlay
from app.explore_bar import RANGES, cached_statistics, named, params
from trugrade_core.data.filters import NONE, PLACES, WORDS, Filter, Place, Range, number

if TYPE_CHECKING:
    from trugrade_core.data.explore import Explorer

SHOWN = 8
"""Bars of a field; the Filter has all of them."""
FIELDS = {"status": "Status", "split": "Split", "origin": "Origin", "side": "Side", "region": "Region", "design": "Design",
          "session": "Scan session"}  # fmt: skip


def panel(found: Explorer, f: Filter, classes: Sequence[str]) -> None:
    about = cached_statistics(found, f)
    name = found.ds.name
    parts = [
        _head(name, f, about),
        _classes(name, f, about, classes),
        _place(name, f, about),
        _sizes(name, f, about),
        _scores(name, f, about),
    ]
    findings = [(code, code, n, "") for code, n in about["findings"]]
    parts.append(_bars(name, f, "Findings", "finding", findings, about["samples"]))
    for field, title in FIELDS.items():
        rows = [(value or NONE, named(value or NONE), n, "") for value, n in about[field]]
        if len(rows) > 1 or getattr(f, field):
            parts.append(_bars(name, f, title, field, rows, about["samples"]))
    for word, title, field in (("tag", "Tags", "tags"), ("annotator", "Annotators", "annotators")):
        parts.append(_bars(name, f, title, word, [(v, named(v), n, "") for v, n in about[field]], about["samples"]))
    parts += [_dpi(name, f, about), _histogram(name, f, "Blur", "blur", about["blur_px"], "px", "samples")]
    look.linked(f'<div class="tg-panel">{"".join(parts)}</div>', key="explore-panel")
    charts.download(_rows(about), name=f"{name}-statistics")


def _open(name: str, f: Filter, word: str, value: Any, inner: str, *, css: str, title: str) -> str:
    """A link that sets a word of the filter, or takes it away when it is set so already."""
    field = WORDS[word][0]
    on = getattr(f, field) == value
    empty: Any = () if isinstance(value, tuple) else None
    to = Filter.model_validate({**f.model_dump(), field: empty if on else value})
    css += " on" if on else ""
    return look.link("datasets", inner, css=css, title=title, dataset=name, view="browse", **params(to))


def _head(name: str, f: Filter, about: dict[str, Any]) -> str:
    facts = [
        (look.count(about["samples"], "sample"), f"of {look.count(about['cards'], 'card')}"),
        (look.count(about["shapes"], "shape"), f"on {look.count(about['labelled'], 'labelled sample')}"),
    ]
    lines = "".join(
        f'<div><b class="tg-num">{big}</b> <span class="tg-soft">{small}</span></div>' for big, small in facts
    )
    for word, count, said in (
        ("excluded", about["excluded"], "excluded"),
        ("conflict", about["conflicts"], "in conflict"),
    ):
        if count:
            lines += f"<div>{_open(name, f, word, True, f'{count:,} {said}', css='tg-link', title=f'Only those {said}')}</div>"
    return f'<section class="tg-total">{lines}</section>'


def _section(title: str, note: str, body: str) -> str:
    said = f' <span class="tg-soft">{escape(note)}</span>' if note else ""
    return f"<section><h4>{escape(title)}{said}</h4>{body}</section>"


def _bars(
    name: str,
    f: Filter,
    title: str,
    word: str,
    rows: Sequence[tuple[str, str, int, str]],
    whole: int,
    *,
    note: str = "",
    noun: str = "sample",
) -> str:
    """Rows of (value, words, count, colour) as bars that filter."""
    if not rows:
        return ""
    most = max(whole if noun == "sample" else 0, max(n for _, _, n, _ in rows), 1)
    bars = []
    for value, said, n, color in rows[:SHOWN]:
        dot = f'<span class="tg-dot" style="background:{color}"></span>' if color else ""
        inner = (
            f'<span class="w">{dot}{escape(said)}</span><span class="n">{n:,}</span>'
            f'<span class="b"><span style="width:{max(100 * n / most, 0.5):.1f}%"></span></span>'
        )
        bars.append(_open(name, f, word, (value,), inner, css="tg-facet", title=f"{said}: {look.count(n, noun)}"))
    more = (
        f'<div class="tg-soft tg-small">and {len(rows) - SHOWN:,} more under Filter</div>' if len(rows) > SHOWN else ""
    )
    return _section(title, note, "".join(bars) + more)


def _classes(name: str, f: Filter, about: dict[str, Any], classes: Sequence[str]) -> str:
    rows = [(label, label, n, overlay.color_of(label, classes)) for label, n, _ in about["classes"]]
    return _bars(name, f, "Classes", "class", rows, 0, note="shapes and tags", noun="shape")


def _scores(name: str, f: Filter, about: dict[str, Any]) -> str:
    counts = dict(about["score"])
    if not counts:
        return ""
    steps = [n / 2 for n in range(2, 21)]
    # A score that is no half step stands with the nearest.
    binned = [sum(n for value, n in counts.items() if step - 0.25 <= value < step + 0.25) for step in steps]
    if sum(binned) < sum(counts.values()):  # another scale
        steps, binned = list(counts), list(counts.values())
        spans = [Range(low=v, high=v) for v in steps]
    else:
        spans = [Range(low=s - 0.25, high=s + 0.25, open=True) for s in steps]
    columns = [(f"score {number(s)}", n, span) for s, n, span in zip(steps, binned, spans, strict=True)]
    return _columns(name, f, "Score", "score", columns, f"{number(steps[0])}", f"{number(steps[-1])}", "sample",
                    note=look.count(sum(counts.values()), "sample"))  # fmt: skip


def _sizes(name: str, f: Filter, about: dict[str, Any]) -> str:
    note = f"{about['without_dpi']:,} samples have no resolution" if about["without_dpi"] else ""
    if about["size_mm"]["max"] is None:
        known = "No shape has a size in mm" + (f": {note}." if note else " yet.")
        return _section("Size", "", f'<div class="tg-soft tg-small">{escape(known)}</div>') if about["shapes"] else ""
    return _histogram(name, f, "Size", "size", about["size_mm"], "mm", "shapes", note)


def _histogram(
    name: str, f: Filter, title: str, word: str, bars: dict[str, Any], unit: str, noun: str, more: str = ""
) -> str:
    counts, edges = bars["counts"], bars["edges"]
    if not any(counts):
        return ""
    first = next(i for i, n in enumerate(counts) if n)
    last = len(counts) - next(i for i, n in enumerate(reversed(counts)) if n)
    columns = []
    for i in range(first, last):
        high = edges[i + 1] if i + 1 < len(edges) else None
        said = (
            f"{number(edges[i])} to {number(high)} {unit}" if high is not None else f"{number(edges[i])} {unit} or more"
        )
        columns.append((said, counts[i], Range(low=edges[i], high=high, open=high is not None)))
    end = f"{number(edges[last])} {unit}" if last < len(edges) else f"over {number(edges[-1])} {unit}"
    note = f"median {look.number(bars['median'], unit)}" + (f" · {more}" if more else "")
    return _columns(name, f, title, word, columns, number(edges[first]), end, noun.removesuffix("s"), note=note)


def _columns(
    name: str,
    f: Filter,
    title: str,
    word: str,
    columns: Sequence[tuple[str, int, Range]],
    low: str,
    high: str,
    noun: str,
    *,
    note: str,
) -> str:
    """An upright bar for each (words, count, range), which filters."""
    most = max(n for _, n, _ in columns) or 1
    bars = "".join(
        _open(name, f, word, span, f'<span style="height:{max(100 * n / most, 2 if n else 0):.0f}%"></span>', css="tg-column",
              title=f"{said}: {look.count(n, noun)}")
        for said, n, span in columns
    )  # fmt: skip
    return _section(
        title,
        note,
        f'<div class="tg-columns">{bars}</div><div class="tg-ends"><span>{low}</span><span>{high}</span></div>',
    )


def _place(name: str, f: Filter, about: dict[str, Any]) -> str:
    places = about["place"]
    if not any(places):
        return ""
    most = max(places)
    cells = []
    for i, n in enumerate(places):
        row, column = divmod(i, PLACES[0])
        said = f"{look.count(n, 'shape')} with their middle here (column {column + 1}, row {row + 1})"
        inner = f'<span style="opacity:{(n / most) ** 0.6 if n else 0:.2f}"></span>'
        cells.append(_open(name, f, "place", Place(column=column, row=row), inner, css="tg-cell", title=said))
    return _section(
        "Where on the card",
        f"up to {most:,} in a cell",
        f'<div class="tg-places" style="--columns:{PLACES[0]}">{"".join(cells)}</div>',
    )


def _dpi(name: str, f: Filter, about: dict[str, Any]) -> str:
    rows = []
    for value, n in about["dpi"][: SHOWN * 2]:
        rows.append((value, n))
    if len(rows) < 2 and not about["without_dpi"] and not f.dpi:
        return ""
    most = max([n for _, n in rows], default=1)
    bars = "".join(
        _open(name, f, "dpi", Range(low=v, high=v),
              f'<span class="w">{number(v)} {RANGES["dpi"][1]}</span><span class="n">{n:,}</span>'
              f'<span class="b"><span style="width:{100 * n / most:.1f}%"></span></span>',
              css="tg-facet", title=f"{number(v)} dpi: {look.count(n, 'sample')}")
        for v, n in rows
    )  # fmt: skip
    if about["without_dpi"]:
        bars += f'<div class="tg-soft tg-small">{look.count(about["without_dpi"], "sample")} without: nothing can be said of them in mm</div>'
    return _section("Resolution", "", bars)


def _rows(about: dict[str, Any]) -> dict[str, list[Any]]:
    """All of it as a table: what, value, count."""
    rows: list[tuple[str, Any, int]] = [
        (key, "", about[key]) for key in ("samples", "cards", "labelled", "shapes", "excluded", "conflicts")
    ]
    rows += [("class", label, n) for label, n, _ in about["classes"]]
    for field in (*FIELDS, "tags", "annotators", "findings", "score", "dpi"):
        rows += [(field, "none" if value is None else value, n) for value, n in about[field]]
    for field in ("size_mm", "blur_px"):
        rows += [
            (f"{field} from", edge, n) for edge, n in zip(about[field]["edges"], about[field]["counts"], strict=True)
        ]
    rows += [("place (column x row)", f"{i % PLACES[0]}x{i // PLACES[0]}", n) for i, n in enumerate(about["place"])]
    return {"what": [r[0] for r in rows], "value": [r[1] for r in rows], "count": [r[2] for r in rows]}
