// What the hand does on the stage: selecting, moving, changing points; where a drawing tool is chosen, drawing.js goes on.

const NEAR = 9 // CSS pixels within which a handle, side or first point is meant
const STILL = 4 // a press that moves less is a click

function sortedBox([x0, y0], [x1, y1]) {
  return [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)]
}

function selectedShapes(app) {
  return [...app.selected].map((id) => app.doc.shapes.get(id) ?? app.doc.suggestions.get(id)).filter((s) => s && cachedBox(s.value))
}

/** What can be taken hold of on the one selected shape: {at, index, box: [column, row]} */
function handlesOf(app) {
  const [only, second] = selectedShapes(app)
  if (!only || second || app.tool !== 'select' || app.data.readonly) return []
  const value = app.lifted.get(only.id) ?? only.value
  if (value.type === 'polygon') return value.points.map((at, index) => ({ at, index }))
  if (value.type !== 'box') return []
  const [x0, y0, x1, y1] = value.xyxy
  const columns = [[x0, 0], [(x0 + x1) / 2, 1], [x1, 2]], rows = [[y0, 0], [(y0 + y1) / 2, 1], [y1, 2]]
  return rows.flatMap(([y, row]) => columns.map(([x, column]) => ({ at: [x, y], box: [column, row] }))).filter(({ box: [c, r] }) => c !== 1 || r !== 1)
}

function handleAt(app, sx, sy) {
  let best = null
  for (const handle of handlesOf(app)) {
    const [x, y] = toScreen(app.view, ...handle.at)
    const distance = Math.hypot(x - sx, y - sy)
    if (distance <= NEAR && (!best || distance < best.distance)) best = { ...handle, distance }
  }
  return best
}

/** The shape that a click at an image point means: the one whose side is near, else the smallest that holds the point. */
function shapeAt(app, at) {
  const reach = NEAR / app.view.scale
  let best = null
  for (const s of drawable(app)) {
    const [x0, y0, x1, y1] = cachedBox(s.value)
    if (at[0] < x0 - reach || at[0] > x1 + reach || at[1] < y0 - reach || at[1] > y1 + reach) continue
    const near = nearness(s.value, at, reach)
    if (near === null) continue
    const rank = near === 0 ? (x1 - x0) * (y1 - y0) : near - 1e9
    if (!best || rank <= best.rank) best = { s, rank }
  }
  return best?.s ?? null
}

/** The distance to a near side, 0 inside, null elsewhere. */
function nearness(value, at, reach) {
  if (value.type === 'mask') {
    const win = windowOf(value), x = Math.round(at[0]) - win.x, y = Math.round(at[1]) - win.y
    return x >= 0 && y >= 0 && x < win.w && y < win.h && win.bits[y * win.w + x] ? 0 : null
  }
  const points = outlineOf(value)
  const { distance } = nearestSide(points, at)
  return distance <= reach ? Math.max(distance, 1e-6) : inside(points, ...at) ? 0 : null
}

// --- pressing, moving, letting go ---------------------------------------------------------------------------------

function pressed(app, e) {
  const at = pointer(app, e)
  app.stage.focus({ preventScroll: true })
  setDown(app)
  if (e.button === 1 || (e.button === 0 && app.space)) return startPan(app, e)
  if (e.button !== 0) return
  const free = toImage(app.view, ...at)
  app.at = free
  if (app.tool === 'select') pressSelect(app, e, at, free)
  else if (!writable(app)) startPan(app, e)
  else DRAWING[app.tool].press(app, clampPoint(free, app.picture.width, app.picture.height), e, at)
  redraw(app)
}

function startPan(app, e) {
  app.drag = { kind: 'pan', last: pointer(app, e) }
  app.panning = true
}

function pressSelect(app, e, at, free) {
  const handle = handleAt(app, ...at)
  const [only] = selectedShapes(app)
  if (handle && e.altKey && only.value.type === 'polygon') return removeVertex(app, only, handle.index)
  if (handle) {
    app.vertex = handle.index ?? -1
    app.drag = { kind: 'handle', handle, shape: only, from: free, start: at }
    return
  }
  const hit = shapeAt(app, free)
  if (hit && only && hit.id === only.id && e.altKey) return insertVertex(app, only, free)
  if (hit && app.selected.has(hit.id) && !e.shiftKey) app.drag = { kind: 'move', from: free, start: at, hit }
  else app.drag = { kind: 'press', hit, start: at, last: at, more: e.shiftKey }
}

function pointed(app, e) {
  const at = pointer(app, e)
  app.at = toImage(app.view, ...at)
  const { drag } = app
  if (drag?.kind === 'pan') {
    panBy(app, at[0] - drag.last[0], at[1] - drag.last[1])
    drag.last = at
    app.at = toImage(app.view, ...at)
  } else if (drag?.kind === 'press') {
    // From what is not selected a drag moves the picture: outlines are never moved by accident.
    if (Math.hypot(at[0] - drag.start[0], at[1] - drag.start[1]) > STILL) Object.assign(drag, { kind: 'pan', last: at })
  } else if (drag?.kind === 'move' || drag?.kind === 'handle') dragShapes(app, at)
  else if (app.draft) DRAWING[app.tool]?.move?.(app, clampPoint(app.at, app.picture.width, app.picture.height), e)
  redraw(app)
}

function dragShapes(app, at) {
  const { drag } = app
  if (!drag.going && Math.hypot(at[0] - drag.start[0], at[1] - drag.start[1]) <= STILL) return
  if (!writable(app)) return
  drag.going = true
  const { width, height } = app.picture
  if (drag.kind === 'move') {
    for (const s of selectedShapes(app)) lift(app, s.id, movedValue(s.value, app.at[0] - drag.from[0], app.at[1] - drag.from[1], width, height))
  } else lift(app, drag.shape.id, draggedHandle(drag.shape.value, drag.handle, clampPoint(app.at, width, height)))
}

function draggedHandle(value, { index, box }, [x, y]) {
  if (value.type === 'polygon') return { ...value, points: value.points.map((p, i) => (i === index ? [x, y] : p)) }
  const xyxy = [...value.xyxy]
  if (box[0] !== 1) xyxy[box[0]] = x
  if (box[1] !== 1) xyxy[box[1] === 0 ? 1 : 3] = y
  return { ...value, xyxy: sortedBox(xyxy.slice(0, 2), xyxy.slice(2)) }
}

function released(app, e) {
  const { drag } = app
  app.drag = null
  app.panning = false
  if (drag?.kind === 'press') chooseShape(app, drag.hit, drag.more)
  else if (drag?.going) {
    setLifted(app, drag.kind === 'move' ? 'moved' : 'changed')
  } else if (drag?.kind === 'move' && selectedShapes(app).length > 1) chooseShape(app, drag.hit, false)
  else if (app.draft) DRAWING[app.tool]?.release?.(app, clampPoint(toImage(app.view, ...pointer(app, e)), app.picture.width, app.picture.height), e)
  redraw(app)
}

/** The system took the pointer away, or Escape: what was begun by this press is as it was. */
function letGo(app) {
  app.drag = null
  app.panning = false
  if (app.draft?.kind !== 'stroke') dropLifted(app)
  if (app.draft?.kind === 'stroke') DRAWING.brush.release(app)
  redraw(app)
}

function chooseShape(app, shape, more) {
  if (!more) app.selected.clear()
  if (shape && app.selected.has(shape.id)) app.selected.delete(shape.id)
  else if (shape) app.selected.add(shape.id)
  app.vertex = -1
  refresh(app)
}

function doubled(app, e) {
  if (app.tool === 'polygon' && app.draft) return closePolygon(app)
  const [only, second] = selectedShapes(app)
  if (app.tool === 'select' && only && !second && !handleAt(app, ...pointer(app, e))) insertVertex(app, only, toImage(app.view, ...pointer(app, e)))
}

/** Hold a shape in the hand: it is drawn as `value` until it is set down. What its change replaces is what was seen now,
 * whatever somebody else says of it in the meantime. */
function lift(app, id, value) {
  if (!app.lifted.has(id)) {
    app.seen.set(id, app.doc.heads.get(id))
    redraw(app, 'content')
  }
  app.lifted.set(id, value)
}

function setLifted(app, words) {
  const values = new Map(app.lifted)
  app.lifted.clear()
  changeValues(app, values, words)
  dropLifted(app)
}

function dropLifted(app) {
  app.lifted.clear()
  app.seen.clear()
  redraw(app, 'content')
}

// --- changes of what is there -------------------------------------------------------------------------------------

/** New values by shape id, as one step. A value that cannot be is refused in words, and nothing changes. */
function changeValues(app, values, words) {
  const shapes = [...values.keys()].map((id) => app.doc.shapes.get(id) ?? app.doc.suggestions.get(id)).filter(Boolean)
  if (shapes.length < values.size) say(app, 'Somebody else deleted it in the meantime.', 'warn')
  for (const s of shapes) {
    const value = values.get(s.id)
    const wrong = value.type === 'polygon' && canonical(value) !== canonical(s.value) ? wrongWith(value.points)
      : value.type === 'box' && !(value.xyxy[2] > value.xyxy[0] && value.xyxy[3] > value.xyxy[1]) ? 'A box needs some width and height.' : ''
    if (wrong) return say(app, `Not changed. ${wrong}`, 'warn')
  }
  changeShapes(app, shapes, (s) => ({ value: values.get(s.id) }), words)
}

/** Change shapes as one step; a suggestion that is changed is thereby accepted, and keeps who suggested it. */
function changeShapes(app, shapes, change, words) {
  const changes = [], accepted = [], chosen = new Set(app.selected)
  for (const s of shapes) {
    const before = contentOf(s), after = { ...before, ...change(s) }
    if (canonical(before) === canonical(after)) continue
    if (s.suggested) accepted.push(s.id)
    const id = s.suggested ? newId() : s.id
    changes.push({ id, before: s.suggested ? null : before, after, heads: app.seen.get(s.id) })
    if (chosen.delete(s.id)) chosen.add(id)
  }
  if (!changes.length) return false
  app.selected = chosen
  return act(app, stepOf(words, changes, { accepted }))
}

function addShape(app, value, words) {
  if (!app.label) return say(app, 'This dataset has no class yet: add one, then draw.', 'warn')
  const id = newId()
  app.selected = new Set([id])
  app.vertex = -1
  return act(app, stepOf(words, [{ id, before: null, after: { label: app.label, value, attributes: {}, suggested_by: null } }]))
}

function insertVertex(app, shape, at) {
  if (shape.value.type !== 'polygon' || !writable(app)) return
  const { side, distance } = nearestSide(shape.value.points, at)
  if (distance > NEAR / app.view.scale) return
  addVertex(app, shape, side, clampPoint(at, app.picture.width, app.picture.height))
}

function addVertex(app, shape, side, at) {
  const points = [...shape.value.points]
  points.splice(side + 1, 0, at)
  app.vertex = side + 1
  changeValues(app, new Map([[shape.id, { ...shape.value, points }]]), 'point inserted')
}

function removeVertex(app, shape, index) {
  if (!writable(app)) return
  if (shape.value.points.length <= 3) return say(app, 'An outline needs three points: delete the whole shape instead.', 'warn')
  const points = shape.value.points.filter((_, i) => i !== index)
  app.vertex = -1
  changeValues(app, new Map([[shape.id, { ...shape.value, points }]]), 'point removed')
}

function deleteShapes(app) {
  const all = selectedShapes(app), stored = all.filter((s) => !s.suggested)
  if (app.vertex >= 0 && all.length === 1 && all[0].value.type === 'polygon') return removeVertex(app, all[0], app.vertex)
  if (!all.length) return say(app, 'Nothing is selected.')
  app.selected.clear()
  const changes = stored.map((s) => ({ id: s.id, before: contentOf(s), after: null }))
  const rejected = all.filter((s) => s.suggested).map((s) => s.id)
  act(app, stepOf(all.length > 1 ? `${all.length} shapes deleted` : 'shape deleted', changes, { rejected }))
}
