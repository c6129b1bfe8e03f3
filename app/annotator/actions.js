// What keys and buttons do. Everything that changes the sample goes through `act`, so nothing is ever changed unsaid.

let clipboard = [] // copied contents; they outlive the sample, and in localStorage the page
const CLIPBOARD = `${KEPT}|clipboard`

/** Say something over the stage; a warning stays longer, a question until it is answered. */
function say(app, text, kind = 'info') {
  app.says.textContent = text
  app.says.dataset.kind = text ? kind : ''
  clearTimeout(app.silence)
  if (text && kind !== 'ask') app.silence = setTimeout(() => say(app, ''), kind === 'warn' ? 8000 : 3500)
  return false
}

function writable(app) {
  if (app.ahead) return false // the next sample's picture is here, its shapes are not yet
  if (app.data.readonly) say(app, app.data.readonly, 'warn')
  return !app.data.readonly
}

/** Do a step and send it on its way. One that undo or redo made is in a history already. */
function act(app, step, fromHistory = false) {
  setDown(app)
  if (!writable(app)) return false
  if (!step.changes.length && !step.status && !step.accepted.length && !step.rejected.length && !step.restored.length) return false
  const commit = perform(app.doc, step, { who: app.data.who, made: new Date().toISOString(), seq: nextSeq(app.queue) })
  if (!fromHistory) remember(app.doc, step)
  enqueue(app.queue, commit)
  refresh(app)
  return true
}

function undo(app, again) {
  setDown(app)
  if (!again && app.draft?.points?.length && app.draft.kind !== 'stroke') return removeKey(app)
  if (!writable(app)) return
  const { step, message } = takeBack(app.doc, again)
  if (message) return say(app, message)
  app.selected = new Set([...app.selected].filter((id) => step.changes.every((c) => c.id !== id || c.after)))
  act(app, step, true)
  say(app, `${again ? 'Done again' : 'Taken back'}: ${step.words}.`)
}

function chooseTool(app, tool) {
  if (app.draft) return say(app, 'Finish the drawing (Enter) or drop it (Escape) first.', 'warn')
  setDown(app)
  app.tool = tool
  app.vertex = -1
  app.clicks = []
  refresh(app)
}

function chooseClass(app, name) {
  app.label = name
  if (app.tool === 'select') {
    const shapes = selectedShapes(app)
    if (shapes.length && shapes.some((s) => s.label !== name) && writable(app)) changeShapes(app, shapes, () => ({ label: name }), `class ${name}`)
  }
  refresh(app)
}

function escape(app) {
  app.clicks = []
  if ((app.lifted.size || app.drag) && app.draft?.kind !== 'stroke') letGo(app)
  else if (app.draft) {
    endDraft(app)
    dropLifted(app)
  } else if (app.vertex >= 0) app.vertex = -1
  else app.selected.clear()
  say(app, '')
  refresh(app)
}

function confirmDraft(app) {
  const { draft } = app
  if (draft?.kind === 'polygon') closePolygon(app)
  else if (draft?.kind === 'proposal') {
    say(app, '')
    takeProposal(app, draft, draft.snapped)
  } else if (draft?.kind === 'quad' && draft.points.length === 4) finishQuad(app, draft.points)
  else if (draft?.kind === 'quad') say(app, `Four corners need four clicks (${draft.points.length} so far).`)
}

function snapKey(app) {
  const { draft } = app
  if (draft?.kind === 'proposal') {
    say(app, '')
    return takeProposal(app, draft, draft.drawn)
  }
  app.snap = !app.snap
  say(app, app.snap ? 'Four corners snap to edges.' : 'Four corners stay where they are drawn.')
  refresh(app)
}

function snapSelected(app) {
  const [only, second] = selectedShapes(app)
  if (!only || second || only.value.type !== 'polygon' || only.value.points.length !== 4) return say(app, 'Select one outline of four corners first.')
  if (writable(app) && !app.draft) propose(app, only.value.points, only)
}

function setBrush(app, size) {
  app.brush = Math.min(Math.max(size, 1), 400)
  refresh(app)
}

/** Take back the last point of a drawing, else delete what is selected. */
function removeKey(app) {
  const { draft } = app
  if (!draft) return writable(app) && deleteShapes(app)
  if (draft.kind === 'proposal') app.draft = { kind: 'quad', points: draft.drawn.slice(0, 3) }
  else draft.points?.pop()
  if (draft.kind !== 'proposal' && !draft.points?.length) endDraft(app)
  else keepDraft(app)
  redraw(app)
}

function insertAfter(app) {
  const [only] = selectedShapes(app)
  if (!only || only.value.type !== 'polygon' || app.vertex < 0 || !writable(app)) return say(app, 'Mark a point of an outline first (click it, or ;).')
  const { points } = only.value, [x0, y0] = points[app.vertex], [x1, y1] = points[(app.vertex + 1) % points.length]
  addVertex(app, only, app.vertex, [rounded((x0 + x1) / 2), rounded((y0 + y1) / 2)])
}

function stepVertex(app) {
  const [only, second] = selectedShapes(app)
  if (!only || second || only.value.type !== 'polygon') return
  setDown(app)
  app.vertex = (app.vertex + 1) % only.value.points.length
  redraw(app)
}

function stepShape(app, by) {
  if (app.draft) return
  const all = drawable(app)
  if (!all.length) return say(app, 'Nothing is drawn here.')
  const at = all.findIndex((s) => app.selected.has(s.id))
  const next = all[(at + by + (at < 0 && by < 0 ? 1 : 0) + all.length) % all.length]
  app.tool = 'select'
  app.selected = new Set([next.id])
  app.vertex = -1
  bringIntoView(app, next.value)
  refresh(app)
}

function selectAll(app) {
  if (app.draft) return
  app.tool = 'select'
  app.selected = new Set([...app.doc.shapes.values()].filter((s) => cachedBox(s.value)).map((s) => s.id))
  refresh(app)
}

function copyShapes(app) {
  const shapes = selectedShapes(app)
  if (!shapes.length) return say(app, 'Nothing is selected.')
  clipboard = shapes.map(contentOf)
  try {
    localStorage.setItem(CLIPBOARD, JSON.stringify({ sample: app.data.sample, shapes: clipboard }))
  } catch {
    // Too large for the browser's store: it can be pasted in this page all the same.
  }
  app.copiedFrom = app.data.sample
  say(app, `${shapes.length} copied.`)
  return true
}

function pasteShapes(app) {
  if (!writable(app) || app.draft) return
  if (!clipboard.length) {
    try {
      const kept = JSON.parse(localStorage.getItem(CLIPBOARD) ?? 'null')
      clipboard = kept?.shapes ?? []
      app.copiedFrom = kept?.sample
    } catch {
      // The browser keeps nothing: only what was copied in this page can be pasted.
    }
  }
  const { width, height } = app.picture, names = new Set(app.data.classes.map((c) => c.name))
  const off = app.copiedFrom === app.data.sample ? Math.round(Math.max(2, 14 / app.view.scale)) : 0
  const changes = clipboard.filter((content) => names.has(content.label)).map((content) => {
    const value = fittedValue(content.value, off, width, height)
    return value && { id: newId(), before: null, after: { ...content, value, suggested_by: null } }
  }).filter(Boolean)
  if (!changes.length) return say(app, clipboard.length ? 'None of it fits here: another image size, or classes this dataset has not.' : 'Nothing was copied.')
  app.tool = 'select'
  app.selected = new Set(changes.map((c) => c.id))
  act(app, stepOf(`${changes.length} pasted`, changes))
}

/** A value as it lies in an image of this size, moved a little; null when it has no place there. */
function fittedValue(value, off, width, height) {
  if (value.type === 'mask') {
    const win = windowOf(value)
    return maskValue({ ...win, x: win.x + off, y: win.y + off }, width, height)
  }
  const [x0, y0, x1, y1] = boundsOf(value)
  return x1 - x0 > width || y1 - y0 > height || x1 > width || y1 > height || x0 < -1 || y0 < -1 ? null : movedValue(value, off, off, width, height)
}

function stepSeverity(app) {
  const shapes = selectedShapes(app), words = app.data.severities ?? []
  if (!shapes.length || !words.length || !writable(app)) return
  setSeverity(app, [null, ...words][(words.indexOf(shapes[0].attributes?.severity) + 2) % (words.length + 1)])
}

function setSeverity(app, severity) {
  setAttribute(app, 'severity', severity)
}

function setAttribute(app, name, value) {
  changeShapes(app, selectedShapes(app), (s) => {
    const attributes = { ...s.attributes, [name]: value }
    if (value === null || value === '') delete attributes[name]
    return { attributes }
  }, `${name} ${value || 'none'}`)
}

/** One entry for each of the heads, all saying what is shown: that ends the conflict. */
function settle(app) {
  const [only] = selectedShapes(app)
  if (!only?.conflict?.some((head) => !head.same)) return say(app, 'The selected shape is in no conflict.')
  act(app, stepOf('conflict settled', [{ id: only.id, before: contentOf(only), after: contentOf(only) }]))
}

// --- suggestions ------------------------------------------------------------------------------------------------------

function currentSuggestion(app) {
  const id = [...app.selected].find((chosen) => app.doc.suggestions.has(chosen)) ?? app.doc.suggestions.keys().next().value
  if (!id) say(app, 'There is no suggestion here.')
  return id
}

function acceptOne(app) {
  const id = currentSuggestion(app)
  if (id) act(app, acceptSteps(app.doc, [id])) && nextSuggestion(app)
}

function rejectOne(app) {
  const id = currentSuggestion(app)
  if (id) act(app, stepOf('suggestion rejected', [], { rejected: [id] })) && nextSuggestion(app)
}

function nextSuggestion(app) {
  const next = app.doc.suggestions.values().next().value
  app.selected = new Set(next ? [next.id] : [])
  if (next) bringIntoView(app, next.value)
  refresh(app)
}

function acceptAll(app) {
  const ids = [...app.doc.suggestions.keys()]
  if (!ids.length) return say(app, 'There is no suggestion here.')
  app.selected.clear()
  act(app, acceptSteps(app.doc, ids))
}

/** Ask what lies under the clicked points. */
function ask(app, points) {
  app.c.setTriggerValue('ask', { sample: app.data.sample, label: app.label, points })
}

// --- the sample as a whole ----------------------------------------------------------------------------------------------

function sayStatus(app, key, status) {
  if (app.ahead) return false
  if (app.draft) return say(app, 'Finish the drawing (Enter) or drop it (Escape) first.', 'warn')
  const drawn = app.doc.shapes.size, drawing = app.data.mode === 'shapes' || app.data.mode === 'mask'
  if (key === 'd' && drawing && !drawn) return say(app, "Nothing is drawn. To say that nothing is there, press 0.", 'warn')
  if (key === '0' && drawn) return say(app, `${drawn} ${drawn > 1 ? 'shapes are' : 'shape is'} drawn here: delete ${drawn > 1 ? 'them' : 'it'} first, or press d for done.`, 'warn')
  if (key === 'd' && app.data.mode === 'score' && !onlyOf(app.doc, 'score')) return say(app, 'No score is given yet.', 'warn')
  return setStatus(app, status, app.side.comment.value.trim())
}

function setStatus(app, status, comment) {
  const after = { status, comment }
  if (canonical(after) === canonical(app.doc.status)) return true
  const done = act(app, stepOf(`status ${status}`, [], { status: { before: app.doc.status, after, saw: app.side.saw } }))
  if (done) app.side.saw = app.doc.said // also where the field has the focus
  return done
}

function navigate(app, to) {
  if (app.draft) return say(app, 'Finish the drawing (Enter) or drop it (Escape) first.', 'warn')
  setDown(app)
  if (app.ahead) return false
  const url = to === 'next' ? app.data.next[0] : app.data.previous
  if (!url) return say(app, `This is the ${to === 'next' ? 'last' : 'first'} sample of the list.`)
  app.arrived = false
  app.timing = { left: performance.now(), shown: 0, workable: 0 }
  app.going = to
  app.c.setTriggerValue('navigate', { to, sample: app.data.sample })
  showAhead(app, url)
  return true
}

function setOnly(app, type, value, words) {
  const old = onlyOf(app.doc, type)
  if (old && canonical(old.value) === canonical(value)) return
  const before = contentOf(old)
  const after = value && { label: null, value, attributes: old?.attributes ?? {}, suggested_by: null }
  act(app, stepOf(words, [{ id: old?.id ?? newId(), before, after }]))
}

function setScore(app, score) {
  setOnly(app, 'score', { type: 'score', score }, `score ${score}`)
}

function stepScore(app, by) {
  const { scores } = app.data, now = onlyOf(app.doc, 'score')?.value.score
  const at = now === undefined ? (by > 0 ? -1 : scores.length) : scores.indexOf(now)
  setScore(app, scores[Math.min(Math.max(at + by, 0), scores.length - 1)])
}

function toggleTag(app, tag) {
  const now = onlyOf(app.doc, 'tags')?.value.tags ?? []
  const chosen = app.data.tags.filter((t) => (t === tag ? !now.includes(t) : now.includes(t)))
  const foreign = now.filter((t) => !app.data.tags.includes(t) && t !== tag)
  setOnly(app, 'tags', { type: 'tags', tags: [...chosen, ...foreign] }, `tag ${tag}`)
}

function setLook(app, change) {
  const was = { ...app.look }
  Object.assign(app.look, change)
  applyLook(app)
  if (was.shapes !== app.look.shapes || was.labels !== app.look.labels || was.opacity !== app.look.opacity) redraw(app, 'content')
  refresh(app, false)
}

function toggleSheet(app) {
  app.sheet.hidden = !app.sheet.hidden
  if (app.sheet.hidden) app.stage.focus({ preventScroll: true })
  else showSheet(app)
  return true
}
