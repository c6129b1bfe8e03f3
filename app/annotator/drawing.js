// New shapes: what each drawing tool does with presses and movements, and what becomes of it.

const DRAFT_MS = 200 // how often a stroke in progress is kept

/** A drawing in progress is kept as well, so that a reload gives it back. */
function keepDraft(app) {
  const { draft } = app
  if (!draft) return forget(app.draftKey)
  if (draft.kind === 'stroke') {
    if (performance.now() - draft.kept < DRAFT_MS) return
    draft.kept = performance.now()
    return keep(app.draftKey, { kind: 'stroke', target: draft.target, label: draft.label, points: draft.points, size: draft.size, on: draft.on })
  }
  if (draft.points) keep(app.draftKey, { kind: draft.kind, points: draft.points, label: app.label })
}

function endDraft(app) {
  app.draft = null
  keepDraft(app)
  redraw(app)
}

function closePolygon(app) {
  const points = app.draft.points.filter((p, i, all) => i === 0 || p[0] !== all[i - 1][0] || p[1] !== all[i - 1][1])
  const wrong = wrongWith(points)
  if (wrong) return say(app, wrong, 'warn') // it stays open, to be mended
  endDraft(app)
  if (app.data.mode !== 'mask') return addShape(app, { type: 'polygon', points }, 'polygon drawn')
  const { width, height } = app.picture
  paintInto(app, maskTarget(app), (win) => united(win, filled(points, width, height), width, height), 'polygon filled')
}

function finishQuad(app, points) {
  const wrong = wrongWith(points)
  if (wrong) {
    app.draft.points.pop()
    return say(app, wrong, 'warn')
  }
  if (app.snap) propose(app, points, null)
  else {
    endDraft(app)
    addShape(app, { type: 'polygon', points }, 'four corners drawn')
  }
}

/** Show where the sides would lie on the real edges; Enter takes it, s keeps what was drawn. */
async function propose(app, drawn, shape) {
  const { picture, draft } = app, { width, height } = picture
  if (picture.tile_url) say(app, 'Reading the pixels along the sides …', 'ask')
  const patches = await patchesAlong(picture, drawn.map((p, i) => [p, drawn[(i + 1) % 4]]), SNAP_ROWS)
  if (app.picture !== picture || app.draft !== draft || (draft && draft.points.length !== 4)) return
  const found = snappedQuad(drawn, (from, to) => readStrip(picture, patches, from, to, SNAP_ROWS))
  for (const patch of patches) patch.bitmap.close()
  const snapped = found.points.map((p) => clampPoint(p, width, height))
  if (found.moved.every((m) => m === null) || wrongWith(snapped)) {
    say(app, 'No clear edge near any side: kept as drawn.')
    return takeProposal(app, { shape }, drawn)
  }
  app.draft = { kind: 'proposal', drawn, snapped, shape }
  const far = found.moved.map((m, i) => `${sideName(drawn, i)} ${m === null ? 'no edge' : `${m.toFixed(1)} px`}`)
  say(app, `Edges found (${far.join(', ')}). Enter takes them, s keeps it as drawn, Escape lets it go.`, 'ask')
  redraw(app)
}

/** Where a side lies, as people say it, in whatever order the corners were clicked. */
function sideName(points, i) {
  const [x0, y0, x1, y1] = boxOfPoints(points), [p, q] = [points[i], points[(i + 1) % 4]]
  const dx = p[0] + q[0] - x0 - x1, dy = p[1] + q[1] - y0 - y1
  return Math.abs(dx) * (y1 - y0) > Math.abs(dy) * (x1 - x0) ? (dx < 0 ? 'left' : 'right') : dy < 0 ? 'top' : 'bottom'
}

function takeProposal(app, { shape }, points) {
  endDraft(app)
  const value = { type: 'polygon', points }
  if (shape) changeValues(app, new Map([[shape.id, value]]), 'snapped to the edges')
  else addShape(app, value, 'four corners drawn')
}

/** Which mask the brush works on: the selected one of this class, in mask mode the class's own; null for a new one. */
function maskTarget(app) {
  const own = [...app.doc.shapes.values()].filter((s) => s.value.type === 'mask' && s.label === app.label && cachedBox(s.value))
  return own.find((s) => app.selected.has(s.id)) ?? (app.data.mode === 'mask' ? own[0] : null) ?? null
}

/** Change a mask (or begin one) by `paint`, a function of its window, as one step. */
function paintInto(app, target, paint, words) {
  const { width, height } = app.picture
  const value = maskValue(paint(target ? windowOf(target.value) : paintWindow(null)), width, height)
  if (!value && !target) return null
  if (!target) return addShape(app, value, words)
  if (value) return changeShapes(app, [target], () => ({ value }), words)
  app.selected.delete(target.id)
  return act(app, stepOf('mask erased', [{ id: target.id, before: contentOf(target), after: null }]))
}

const strokeTool = (on) => ({
  press(app, _at, e) {
    if (on && !app.label) return say(app, 'This dataset has no class yet: add one, then paint.', 'warn')
    const target = maskTarget(app)
    if (!on && !target) return say(app, 'Select the mask to erase from (or its class).', 'warn')
    const win = paintWindow(target ? windowOf(target.value) : null)
    app.draft = { kind: 'stroke', win, target: target?.id ?? null, label: app.label, points: [], size: app.brush, on, kept: 0 }
    if (target) lift(app, target.id, { type: 'none' })
    this.move(app, null, e)
  },
  move(app, _at, e) {
    // The raw points: a stroke may leave the image and come back; only what lies inside is painted.
    const { draft } = app, { width, height } = app.picture
    for (const part of e.getCoalescedEvents?.().length ? e.getCoalescedEvents() : [e]) {
      const at = toImage(app.view, ...pointer(app, part)).map(rounded)
      const before = draft.points[draft.points.length - 1] ?? at
      draft.points.push(at)
      const touched = stroke(draft.win, before, at, draft.size, on, width, height)
      if (touched) maskTouched(draft.win, touched)
    }
    keepDraft(app)
  },
  release(app) {
    const { draft } = app
    app.lifted.clear()
    endDraft(app)
    paintInto(app, app.doc.shapes.get(draft.target) ?? null, () => draft.win, draft.on ? 'painted' : 'erased')
    dropLifted(app)
  },
})

const DRAWING = {
  box: {
    press(app, at) {
      if (app.draft) return this.finish(app, at)
      app.draft = { kind: 'box', from: at, to: at }
    },
    move(app, at) {
      app.draft.to = at
    },
    release(app, at) {
      // A click instead of a drag: the second click ends it.
      const { from } = app.draft
      if (Math.hypot(at[0] - from[0], at[1] - from[1]) * app.view.scale > STILL) this.finish(app, at)
    },
    finish(app, at) {
      const xyxy = sortedBox(app.draft.from, at)
      if (!(xyxy[2] > xyxy[0] && xyxy[3] > xyxy[1])) return
      endDraft(app)
      addShape(app, { type: 'box', xyxy }, 'box drawn')
    },
  },
  polygon: {
    press(app, at, e, [sx, sy]) {
      app.draft ??= { kind: 'polygon', points: [] }
      app.draft.restored = false
      const { points } = app.draft
      const first = points.length > 2 ? toScreen(app.view, ...points[0]) : null
      if (first && Math.hypot(first[0] - sx, first[1] - sy) <= NEAR) return closePolygon(app)
      if (e.detail < 2 || !points.length) points.push(at)
      keepDraft(app)
    },
  },
  quad: {
    press(app, at) {
      if (app.draft?.kind === 'proposal' || app.draft?.points.length === 4) return
      app.draft ??= { kind: 'quad', points: [] }
      app.draft.restored = false
      app.draft.points.push(at)
      keepDraft(app)
      if (app.draft.points.length === 4) finishQuad(app, app.draft.points)
    },
  },
  brush: strokeTool(true),
  eraser: strokeTool(false),
  segment: {
    press(app, at, e) {
      const points = [...(e.shiftKey || e.altKey ? app.clicks : []), [...at, e.altKey ? 0 : 1]]
      app.clicks = points
      ask(app, points)
      say(app, `Asked ${app.data.segment} for the part under the cursor …`, 'ask')
    },
  },
}
