"""The annotator's pure JavaScript (geometry, masks, painting, snapping, the document and its history), run by node and held
to the engine's own numpy where the two say the same thing."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import annotator
from trugrade_core.data import rle
from trugrade_core.schema import Mask

SERVER = """
const lines = require('readline').createInterface({ input: process.stdin })
lines.on('line', (line) => {
  const { code, args } = JSON.parse(line)
  let answer
  try { answer = { value: new Function('args', code)(args) ?? null } } catch (e) { answer = { error: String(e.message) } }
  process.stdout.write(JSON.stringify(answer) + '\\n')
})
"""
PURE = ("geometry.js", "rle.js", "shapes.js", "snap.js", "paint.js")
Js = Callable[..., Any]


@pytest.fixture(scope="module")
def js() -> Iterator[Js]:
    """Runs the body of a function over `args` where all of the annotator's pure names are known."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node, and there is none on PATH; the browser tests run the same code in Chromium")
    source = "\n".join((annotator.HERE / part).read_text() for part in PURE)
    process = subprocess.Popen([node, "-e", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout

    def call(code: str, *args: Any) -> Any:
        process.stdin.write(json.dumps({"code": f"{source}\n{code}", "args": args}) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer["value"]

    yield call
    process.stdin.close()
    process.wait(10)
    process.stdout.close()


# --- the frame ----------------------------------------------------------------------------------------------------

views = st.fixed_dictionaries(
    {"scale": st.floats(0.02, 40), "tx": st.floats(-50_000, 50_000), "ty": st.floats(-50_000, 50_000)}
)
places = st.floats(-0.5, 20_000)


@given(view=views, x=places, y=places)
def test_screen_and_image_undo_each_other(js: Js, view: dict[str, float], x: float, y: float) -> None:
    back = js("return toImage(args[0], ...toScreen(args[0], args[1], args[2]))", view, x, y)
    assert back == pytest.approx([x, y], abs=1e-6)
    forth = js("return toScreen(args[0], ...toImage(args[0], args[1], args[2]))", view, x, y)
    assert forth == pytest.approx([x, y], abs=1e-6)


@given(view=views, sx=st.floats(0, 2000), sy=st.floats(0, 2000), factor=st.floats(0.05, 20))
def test_zooming_leaves_what_lies_under_the_cursor(
    js: Js, view: dict[str, float], sx: float, sy: float, factor: float
) -> None:
    before, after, scale = js(
        "const v = zoomed(args[0], args[3], args[1], args[2], 0.01, 40); return [toImage(args[0], args[1], args[2]), toImage(v, args[1], args[2]), v.scale]",
        view, sx, sy, factor,
    )  # fmt: skip
    assert after == pytest.approx(before, abs=1e-5)
    assert 0.01 <= scale <= 40


def test_pixel_zero_covers_minus_a_half_to_a_half(js: Js) -> None:
    view = {"scale": 40, "tx": 100, "ty": 200}
    assert js("return toScreen(args[0], -0.5, -0.5)", view) == [100, 200]
    assert js("return toScreen(args[0], 0.5, 0.5)", view) == [140, 240]
    assert js("return toImage(args[0], 120, 220)", view) == [0, 0]


# --- outlines -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "wrong"),
    [
        ([[0, 0], [10, 0], [10, 10], [0, 10]], ""),
        ([[0, 0], [10, 10], [10, 0], [0, 10]], "crosses itself (side 1 meets side 3)"),
        ([[0, 0], [10, 0], [10, 0], [0, 10]], ""),  # the same point twice is one point
        ([[0, 0], [10, 0], [10, 0]], "three different points"),
        ([[0, 0], [10, 0], [5, 0]], "no area"),
        ([[0, 0], [10, 0], [10, 10], [5, 0], [0, 10]], "crosses itself"),  # a corner that touches another side
        ([[0, 0], [10, 0], [4, 0], [4, 8]], "crosses itself"),  # a side that runs back over the one before
        ([[0, 0], [9, 1], [18, 0], [20, 9], [11, 3], [1, 8]], ""),
    ],
)
def test_an_outline_that_crosses_itself_is_told(js: Js, points: list[list[float]], wrong: str) -> None:
    said = js("return wrongWith(args[0])", points)
    assert wrong in said if wrong else said == ""


@given(seed=st.integers(0, 10_000))
def test_a_star_shaped_outline_is_never_refused(js: Js, seed: int) -> None:
    rng = np.random.default_rng(seed)
    turn = np.sort(rng.uniform(0, 2 * np.pi, 12))
    # A gap of half a turn would leave the middle outside.
    if np.diff(np.concatenate([turn, [turn[0] + 2 * np.pi]])).max() > 3:
        return
    radius = rng.uniform(5, 50, 12)
    points = np.stack([100 + radius * np.cos(turn), 100 + radius * np.sin(turn)], axis=1)
    assert js("return wrongWith(args[0])", points.tolist()) == ""


def test_moving_never_leaves_the_image(js: Js) -> None:
    box = {"type": "box", "xyxy": [10, 10, 30, 40]}
    assert js("return movedValue(args[0], -100, 100, 60, 50)", box)["xyxy"] == [-0.5, 19.5, 19.5, 49.5]


def test_sizes_are_said_in_mm_where_the_scale_is_known(js: Js) -> None:
    box = {"type": "box", "xyxy": [0, 0, 100, 200]}
    assert js("return measured(args[0], 0.05)", box) == "5.00 × 10.00 mm · 50 mm²"
    assert js("return measured(args[0], null)", box).startswith("100.0 × 200.0 px")


# --- masks --------------------------------------------------------------------------------------------------------


def blobs(seed: int, height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), bool)
    for _ in range(rng.integers(0, 5)):
        y, x = rng.integers(0, height), rng.integers(0, width)
        mask[y : y + rng.integers(1, height + 1), x : x + rng.integers(1, width + 1)] ^= True
    return mask ^ (rng.random((height, width)) < 0.05 * rng.integers(0, 3))


@given(seed=st.integers(0, 100_000), height=st.integers(1, 40), width=st.integers(1, 40))
def test_runs_are_the_engines_own_both_ways(js: Js, seed: int, height: int, width: int) -> None:
    mask = blobs(seed, height, width)
    value = rle.encode(mask)
    win = js(
        "const w = windowOf(args[0]); return { ...w, bits: [...w.bits], again: encode(w, args[0].size_hw[1], args[0].size_hw[0]).counts }",
        value.model_dump(mode="json"),
    )
    assert win["again"] == value.counts
    assert win["count"] == mask.sum()
    here = np.zeros_like(mask)
    if win["w"]:
        here[win["y"] : win["y"] + win["h"], win["x"] : win["x"] + win["w"]] = np.reshape(
            win["bits"], (win["h"], win["w"])
        )
    assert (here == mask).all()


@given(seed=st.integers(0, 1000))
def test_runs_of_a_whole_scan_are_the_engines_own(js: Js, seed: int) -> None:
    """Runs of millions of pixels need five and more characters and negative differences."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 2900), rng.integers(0, 4100)
    bits = rng.random((60, 50)) < 0.4
    counts = rle.encode(bits, at_xy=(x, y), size_hw=(4200, 3000)).counts
    said = js(
        "return maskValue({ x: args[0], y: args[1], w: 50, h: 60, bits: Uint8Array.from(args[2]) }, 3000, 4200)",
        int(x), int(y), bits.reshape(-1).astype(int).tolist(),
    )  # fmt: skip
    assert said == {"type": "mask", "counts": counts, "size_hw": [4200, 3000]}
    Mask.model_validate(said)


def test_runs_that_do_not_fill_the_image_are_refused(js: Js) -> None:
    with pytest.raises(ValueError, match="cover 12 pixels of an image of 5 x 4"):
        js("return windowOf({ counts: textOf([2, 10]), size_hw: [4, 5] })")
    with pytest.raises(ValueError, match="compressed run lengths"):
        js("return windowOf({ counts: '~~', size_hw: [4, 5] })")


@given(seed=st.integers(0, 100_000))
def test_filling_an_outline_is_the_engines_own(js: Js, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(-8, 40, (rng.integers(3, 9), 2)).round(rng.integers(0, 3))
    value = js("return maskValue(filled(args[0], 32, 30), 32, 30)", points.tolist())
    expected = rle.fill(points, 32, 30)
    assert (value is None) == (not expected.any())
    if value:
        assert value["counts"] == rle.encode(expected).counts


# --- painting -----------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 100_000), size=st.integers(2, 12))
def test_a_stroke_covers_the_pixels_within_half_the_brush(js: Js, seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(-10, 50, (2, 2))
    value = js(
        "const w = paintWindow(null); stroke(w, args[0], args[1], args[2], true, 40, 36); return maskValue(w, 40, 36)",
        a.tolist(), b.tolist(), size,
    )  # fmt: skip
    y, x = np.mgrid[:36, :40]
    along = np.clip(((x - a[0]) * (b - a)[0] + (y - a[1]) * (b - a)[1]) / ((b - a) @ (b - a)), 0, 1)
    far = np.hypot(x - a[0] - along * (b - a)[0], y - a[1] - along * (b - a)[1])
    expected = far <= size / 2
    if value is None:
        assert not expected.any()
    else:
        assert (rle.decode(Mask.model_validate(value)) == expected).all()


def test_a_brush_of_one_paints_the_pixel_under_the_cursor(js: Js) -> None:
    win = js(
        "const w = paintWindow(null); stroke(w, [5.4, 7.4], [5.4, 7.4], 1, true, 20, 20); return trimmed(w, 20, 20)"
    )
    assert (win["x"], win["y"], win["w"], win["h"]) == (5, 7, 1, 1)


def test_erasing_takes_away_what_painting_put(js: Js) -> None:
    value = js(
        "const w = paintWindow(null); for (const on of [true, false]) stroke(w, [3, 3], [30, 12], 7, on, 40, 40); return maskValue(w, 40, 40)"
    )
    assert value is None


# --- snapping -----------------------------------------------------------------------------------------------------


def edge_strip(
    at: float, slope: float, n: int = 200, m: int = 19, noise: float = 6.0, step: float = 90.0
) -> list[float]:
    """Grey levels over rows of n: dark above, light below a line at `at + slope * s` from the middle row, anti-aliased."""
    rng = np.random.default_rng(3)
    s = np.linspace(-1, 1, n)
    rows = np.arange(m)[:, None] - (m - 1) / 2
    cover = np.clip(rows + 0.5 - (at + slope * s), 0, 1)
    return (60 + step * cover + rng.normal(0, noise, (m, n))).reshape(-1).tolist()


@given(at=st.floats(-4, 4), slope=st.floats(-1.8, 1.8))
def test_an_edge_is_found_to_a_tenth_of_a_pixel(js: Js, at: float, slope: float) -> None:
    found = js("return edgeIn({ luma: args[0], n: 200, m: 19 })", edge_strip(at, slope))
    assert found["offset"] == pytest.approx(at, abs=0.1)
    assert found["slope"] == pytest.approx(slope, abs=0.15)


def test_no_edge_is_found_where_there_is_none(js: Js) -> None:
    assert js("return edgeIn({ luma: args[0], n: 200, m: 19 })", edge_strip(0, 0, step=0)) is None


def test_a_quad_snaps_to_its_rectangle_and_never_far(js: Js) -> None:
    """Read from a made-up card, its corners drawn up to 3 px off; an edge 20 px away is not reached for."""
    code = """
    const light = ([x, y]) => {
      const [u, v] = [(x - 100) * Math.cos(0.02) + (y - 80) * Math.sin(0.02), -(x - 100) * Math.sin(0.02) + (y - 80) * Math.cos(0.02)]
      const soft = (t) => Math.min(Math.max(t + 0.5, 0), 1)
      return 40 + 150 * soft(u + 60) * soft(60 - u) * soft(v + 84) * soft(84 - v)
    }
    const read = (from, to) => {
      const n = Math.round(Math.hypot(to[0] - from[0], to[1] - from[1])), m = SNAP_ROWS, luma = []
      const dx = (to[0] - from[0]) / n, dy = (to[1] - from[1]) / n
      for (let v = 0; v < m; v++) for (let u = 0; u < n; u++) {
        const d = v - (m - 1) / 2
        luma.push(light([from[0] + u * dx - dy * d, from[1] + u * dy + dx * d]))
      }
      return { luma, n, m }
    }
    const turned = ([u, v]) => [100 + u * Math.cos(0.02) - v * Math.sin(0.02), 80 + u * Math.sin(0.02) + v * Math.cos(0.02)]
    const truth = [[-60, -84], [60, -84], [60, 84], [-60, 84]].map(turned)
    const drawn = truth.map(([x, y], i) => [x + args[0][i][0], y + args[0][i][1]])
    return [truth, snappedQuad(drawn, read)]
    """
    truth, snapped = js(code, [[2, -3], [-2, 2], [3, 1], [-1, -2]])
    assert np.abs(np.subtract(truth, snapped["points"])).max() < 0.15
    truth, far = js(code, [[20, 20], [-20, 20], [-20, -20], [20, -20]])
    assert far["moved"] == [None] * 4
    assert far["points"] == [[x + a, y + b] for (x, y), (a, b) in zip(truth, [[20, 20], [-20, 20], [-20, -20], [20, -20]], strict=True)]  # fmt: skip


# --- the document -------------------------------------------------------------------------------------------------

DOCUMENT = """
const doc = newDocument('s')
const box = (x) => ({ type: 'box', xyxy: [x, 0, x + 10, 10] })
const content = (x, label = 'a') => ({ label, value: box(x), attributes: {}, suggested_by: null })
const shape = (id, entry, x, more = {}) => ({ id, entry, label: 'a', value: box(x), attributes: {}, suggested_by: null, ...more })
const view = (shapes, suggestions = []) => ({ shapes, suggestions, status: 'unlabelled', comment: '' })
let seq = 0
const does = (step) => { const commit = perform(doc, step, { who: 'maria', made: 't', seq: ++seq }); return commit }
const makes = (step) => { const commit = does(step); remember(doc, step); return commit }
"""


def test_a_change_names_the_entry_it_was_made_from(js: Js) -> None:
    commit = js(
        DOCUMENT
        + "takeView(doc, view([shape('x', 'e1', 0)]), []); return makes(stepOf('moved', [{ id: 'x', before: content(0), after: content(5) }]))"
    )
    (op,) = commit["ops"]
    assert op["replaces"] == "e1"
    assert op["op"] == "put"
    assert op["value"]["xyxy"] == [5, 0, 15, 10]


def test_a_second_change_waits_for_the_entry_of_the_first(js: Js) -> None:
    code = """
    const first = makes(stepOf('drawn', [{ id: 'x', before: null, after: content(0) }]))
    const second = makes(stepOf('moved', [{ id: 'x', before: content(0), after: content(5) }]))
    const waits = second.ops[0].replaces
    return [waits, first.commit, resolved(waits, first.commit, ['e7']), resolved(waits, 'another', ['e7'])]
    """
    waits, first, known, unknown = js(DOCUMENT + code)
    assert waits == {"commit": first, "op": 0}
    assert known == "e7"
    assert unknown == waits


def test_undo_and_redo_are_commits_and_have_no_end(js: Js) -> None:
    code = """
    const commits = []
    let at = null
    for (let i = 0; i < 300; i++) { const after = content(i); commits.push(makes(stepOf('m', [{ id: 'x', before: at, after }]))); at = after }
    const shown = []
    for (let i = 0; i < 300; i++) { const { step } = takeBack(doc, false); commits.push(does(step)); shown.push(doc.shapes.get('x')?.value.xyxy[0] ?? null) }
    const end = takeBack(doc, false).message
    for (let i = 0; i < 300; i++) { const { step } = takeBack(doc, true); commits.push(does(step)) }
    const chain = commits.slice(1).every((c, i) => c.ops[0].replaces.commit === commits[i].commit)
    return [commits.length, shown.slice(0, 2), shown[299], end, doc.shapes.get('x').value.xyxy[0], chain]
    """
    count, shown, last, end, redone, chain = js(DOCUMENT + code)
    assert count == 900
    assert shown == [298, 297]
    assert last is None
    assert end == "Nothing to take back."
    assert redone == 299
    assert chain, "each commit replaces the one before, whatever direction it went"


def test_an_undo_never_undoes_what_somebody_else_said_since(js: Js) -> None:
    code = """
    takeView(doc, view([shape('x', 'e1', 0)]), [])
    makes(stepOf('moved', [{ id: 'x', before: content(0), after: content(5) }]))
    takeView(doc, view([shape('x', 'e3', 99, { who: 'jo' })]), [])
    return takeBack(doc, false)
    """
    assert js(DOCUMENT + code) == {"message": "Not taken back: jo has changed this since (moved)."}


def test_unanswered_commits_lie_over_what_python_says(js: Js) -> None:
    code = """
    takeView(doc, view([shape('x', 'e1', 0)]), [])
    const pending = [makes(stepOf('moved', [{ id: 'x', before: content(0), after: content(5) }])), makes(stepOf('drawn', [{ id: 'y', before: null, after: content(50) }]))]
    takeView(doc, view([shape('x', 'e1', 0), shape('z', 'e9', 70)]), pending)
    return [...doc.shapes].map(([id, s]) => [id, s.value.xyxy[0]])
    """
    assert js(DOCUMENT + code) == [["x", 5], ["z", 70], ["y", 50]]


def test_a_commit_that_an_earlier_page_kept_without_its_layer_lies_over_it_too(js: Js) -> None:
    code = """
    doc.layer = 'main'
    takeView(doc, view([shape('x', 'e1', 0)]), [])
    const kept = { ...makes(stepOf('moved', [{ id: 'x', before: content(0), after: content(5) }])), layer: undefined }
    const others = { ...makes(stepOf('moved', [{ id: 'x', before: content(5), after: content(9) }])), layer: 'jo' }
    takeView(doc, view([shape('x', 'e1', 0)]), [kept, others])
    return [...doc.shapes].map(([id, s]) => [id, s.value.xyxy[0]])
    """
    assert js(DOCUMENT + code) == [["x", 5]]


def test_a_change_of_a_shape_in_conflict_replaces_every_head(js: Js) -> None:
    code = """
    const other = { entry: 'e2', op: 'put', who: 'jo', when: '', label: 'a', value: box(9) }
    takeView(doc, view([shape('x', 'e1', 0, { conflict: [other] })]), [])
    return makes(stepOf('settled', [{ id: 'x', before: content(0), after: content(0) }])).ops
    """
    ops = js(DOCUMENT + code)
    assert [op["replaces"] for op in ops] == ["e1", "e2"]
    assert ops[0]["value"] == ops[1]["value"]


def test_a_corrected_suggestion_keeps_who_suggested_it_and_undo_offers_it_again(js: Js) -> None:
    code = """
    takeView(doc, view([], [shape('s1', null, 0, { suggested_by: 'run 01J' })]), [])
    const accepted = makes(acceptSteps(doc, ['s1'], { value: box(3) }))
    const left = doc.suggestions.size
    const back = does(takeBack(doc, false).step)
    return [accepted, left, back, doc.suggestions.size, doc.shapes.size]
    """
    accepted, left, back, again, shapes = js(DOCUMENT + code)
    assert accepted["ops"][0]["suggested_by"] == "run 01J"
    assert accepted["ops"][0]["value"]["xyxy"] == [3, 0, 13, 10]
    assert accepted["accepted"] == ["s1"]
    assert left == 0
    assert back["ops"][0]["op"] == "delete"
    assert back["restored"] == ["s1"]
    assert (again, shapes) == (1, 0)


def test_a_deletion_taken_back_replaces_the_deletion(js: Js) -> None:
    code = """
    takeView(doc, view([shape('x', 'e1', 0)]), [])
    const gone = makes(stepOf('deleted', [{ id: 'x', before: content(0), after: null }]))
    resolveHeads(doc, gone.commit, ['e2'])
    takeView(doc, view([]), [])
    return [gone.ops[0], does(takeBack(doc, false).step).ops[0]]
    """
    gone, back = js(DOCUMENT + code)
    assert (gone["op"], gone["replaces"], gone["value"]) == ("delete", "e1", None)
    assert (back["op"], back["replaces"]) == ("put", "e2")


def test_the_document_round_trips_what_it_does_not_know(js: Js) -> None:
    """Attributes that no button sets are carried along untouched."""
    code = """
    takeView(doc, view([shape('x', 'e1', 0, { attributes: { from_brush: true, severity: 'micro' } })]), [])
    const before = contentOf(doc.shapes.get('x'))
    return makes(stepOf('moved', [{ id: 'x', before, after: { ...before, value: box(5) } }])).ops[0].attributes
    """
    assert js(DOCUMENT + code) == {"from_brush": True, "severity": "micro"}


def test_a_status_names_the_entry_its_author_saw_and_follows_its_own_answers(js: Js) -> None:
    queue = (annotator.HERE / "queue.js").read_text()
    code = """
    const says = (status) => stepOf(status, [], { status: { before: doc.status, after: { status, comment: '' } } })
    const told = (status, status_entry) => ({ ...view([]), status, status_entry })
    takeView(doc, told('unsure', 'e0'), [])
    const q = newQueue('store', () => null, () => null)
    q.list = [makes(says('done')), makes(stepOf('drawn', [{ id: 'x', before: null, after: content(0) }])), makes(says('rescan'))]
    const [done, drawn, rescan] = JSON.parse(JSON.stringify(q.list))
    takeView(doc, told('skipped', 'e-jo'), q.list)
    const shown = doc.status.status
    acknowledge(q, { commit: done.commit, entries: ['e1'], problem: '' })
    clearTimeout(q.timer)
    resolveHeads(doc, done.commit, ['e1'])
    takeView(doc, told('skipped', 'e-jo'), [])
    const after = makes(says('unsure'))
    return [done, drawn, rescan, shown, q.list[1].status_replaces, after.status_replaces]
    """
    done, drawn, rescan, shown, resolved, after = js(queue + DOCUMENT + code)
    assert done["status_replaces"] == "e0" and "status_replaces" not in drawn
    assert rescan["status_replaces"] == {"commit": done["commit"], "op": 0}
    assert (shown, resolved, after) == ("rescan", "e1", "e-jo")


def test_a_commit_goes_to_the_layer_that_was_drawn_on_and_lies_over_no_other(js: Js) -> None:
    code = """
    const own = newDocument('s', 'maria'), main = newDocument('s', 'main')
    const step = stepOf('drawn', [{ id: 'x', before: null, after: content(0) }])
    const commit = perform(own, step, { who: 'maria', made: 't', seq: 1 })
    for (const doc of [own, main]) takeView(doc, view([]), [commit])
    return [commit.layer, own.shapes.size, main.shapes.size]
    """
    assert js(DOCUMENT + code) == ["maria", 1, 0]
