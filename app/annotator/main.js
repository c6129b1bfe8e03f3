// The component: mounted once, called again whenever Python's data change. All state lives with the root element.

const apps = new WeakMap()
const STEP_MS = 3000
const STEP_TRIES = 3
const histories = new Map() // store, layer and sample -> document: undo reaches back over next and previous

/** What is said in one layer is no part of another: a sample's layer changes when it is given or taken. */
function placeOf(data) {
  return `${data.store}|${data.layer}|${data.sample}`
}

export default function annotatorComponent(c) {
  let app = apps.get(c.parentElement)
  if (!app) apps.set(c.parentElement, (app = mount(c.parentElement)))
  app.c = c
  listen(app)
  const { view, commit, ask } = c.data, { heard } = app
  if (heard.view !== view || heard.commit !== commit || heard.ask !== ask) {
    app.heard = { view, commit, ask }
    update(app, JSON.parse(view), heard.commit !== commit)
  }
  if (app.queue.loaded) pump(app.queue)
  return () => {
    app.stop.abort()
    clearTimeout(app.queue.timer)
  }
}

function mount(root) {
  const find = (name) => root.querySelector(name)
  const canvas = { image: find('canvas.image'), shapes: find('canvas.shapes'), over: find('canvas.over'), loupe: find('canvas.loupe') }
  const app = {
    root, canvas, stage: find('.stage'), strip: find('.strip'), says: find('.says'), wait: find('.wait'), bar: find('.bar'), sheet: find('.sheet'),
    foot: { scale: find('.scale'), size: find('.size'), place: find('.place') },
    pen: Object.fromEntries(Object.entries(canvas).map(([name, element]) => [name, element.getContext('2d')])),
    look: { brightness: 1, contrast: 1, channel: 'all', opacity: 0.4, shapes: true, labels: true, crosshair: true, loupe: false },
    view: { scale: 1, tx: 0, ty: 0 }, size: { w: 0, h: 0, ratio: 1, margin: 0 }, layer: { view: { scale: 1, tx: 0, ty: 0 }, heavy: false, timer: 0 },
    tool: 'select', label: null, brush: 15, snap: true, selected: new Set(), lifted: new Map(), seen: new Map(), vertex: -1, clicks: [],
    draft: null, drag: null, at: null, over: false, panning: false, space: false, touches: new Map(),
    going: '', ahead: 0, arrived: false, timing: { left: 0, shown: 0, workable: 0 }, dirty: new Set(), frame: 0, doc: null, queue: null, data: null, heard: {}, nudging: 0,
  }
  app.font = getComputedStyle(app.stage).fontFamily || 'sans-serif'
  app.told = (data) => update(app, data, false)
  app.stage.annotator = app // for benches and tests
  return app
}

/** Listeners are new at each call and end with it, so an unmounted component holds nothing. */
function listen(app) {
  app.stop?.abort()
  app.stop = new AbortController()
  const on = (target, event, handle, more = {}) => target.addEventListener(event, handle, { signal: app.stop.signal, ...more })
  const { stage } = app
  on(window, 'keydown', (e) => keyDown(app, e), { capture: true })
  on(window, 'keyup', (e) => { if (e.key === ' ') { app.space = false; stage.classList.remove('grab') } }, { capture: true })
  on(window, 'blur', () => { app.space = false; stage.classList.remove('grab') })
  on(stage, 'pointerdown', (e) => pointerDown(app, e))
  on(stage, 'pointermove', (e) => pointerMove(app, e))
  on(stage, 'pointerup', (e) => pointerUp(app, e))
  on(stage, 'pointercancel', (e) => { app.touches.delete(e.pointerId); letGo(app) })
  on(stage, 'pointerenter', () => { app.over = true })
  on(stage, 'pointerleave', () => { app.over = app.drag !== null; redraw(app) })
  on(stage, 'dblclick', (e) => { if (app.picture) doubled(app, e) })
  on(stage, 'contextmenu', (e) => e.preventDefault())
  on(stage, 'auxclick', (e) => e.preventDefault())
  on(stage, 'wheel', (e) => wheel(app, e), { passive: false })
  const watch = new ResizeObserver(() => resized(app))
  watch.observe(stage)
  app.stop.signal.addEventListener('abort', () => watch.disconnect())
  resized(app)
}

// --- pointers -----------------------------------------------------------------------------------------------------

/** Where a pointer is on the stage, in CSS pixels from its inner corner: its rectangle includes the border. */
function pointer(app, e) {
  const r = app.stage.getBoundingClientRect()
  return [e.clientX - r.left - app.stage.clientLeft, e.clientY - r.top - app.stage.clientTop]
}

function pointerDown(app, e) {
  if (!app.picture || e.target.closest?.('button')) return
  app.stage.setPointerCapture(e.pointerId)
  if (e.pointerType === 'touch') {
    app.touches.set(e.pointerId, pointer(app, e))
    if (app.touches.size === 2) return letGo(app) // two fingers move the picture
  }
  app.over = true
  pressed(app, e)
}

function pointerMove(app, e) {
  if (!app.picture) return
  if (app.touches.size < 2 || !app.touches.has(e.pointerId)) return pointed(app, e)
  const before = spread(app.touches)
  app.touches.set(e.pointerId, pointer(app, e))
  const after = spread(app.touches)
  panBy(app, after.x - before.x, after.y - before.y)
  if (before.far > 0) zoomAt(app, after.far / before.far, after.x, after.y)
}

function spread(touches) {
  const [[ax, ay], [bx, by]] = touches.values()
  return { x: (ax + bx) / 2, y: (ay + by) / 2, far: Math.hypot(ax - bx, ay - by) }
}

function pointerUp(app, e) {
  const two = app.touches.size > 1
  app.touches.delete(e.pointerId)
  if (app.picture && !two) released(app, e)
}

/** A mouse wheel (whole notches) and a pinch zoom at the cursor; two fingers on a pad move the picture. */
function wheel(app, e) {
  if (!app.picture) return
  e.preventDefault()
  // A notch is 120, which a browser may give in CSS pixels or in the display's own.
  const whole = (delta) => Math.abs(delta / 120 - Math.round(delta / 120)) < 0.01
  const ratio = e.deltaMode === 0 && !whole(e.wheelDeltaY) ? app.size.ratio : 1
  const notch = e.deltaMode !== 0 || (e.deltaX === 0 && whole(e.wheelDeltaY * ratio))
  if (!e.ctrlKey && !notch) panBy(app, -e.deltaX, -e.deltaY)
  else {
    const lines = e.deltaMode === 1 ? 33 : ratio
    zoomAt(app, Math.exp((-e.deltaY * lines) / (e.ctrlKey && !notch ? 100 : 450)), ...pointer(app, e))
  }
  app.at = toImage(app.view, ...pointer(app, e))
}

// --- data from Python ---------------------------------------------------------------------------------------------

/** Take over a view; `answered` when Python answered a commit since the last. */
function update(app, data, answered) {
  const before = app.data
  app.data = data
  app.colors = new Map(data.classes.map((c) => [c.name, c.color]))
  if (app.queue?.store !== data.store) openQueue(app)
  const done = before && !answered ? null : acknowledge(app.queue, data.saved)
  if (done) {
    for (const doc of histories.values()) resolveHeads(doc, done.commit, data.saved.entries)
    for (const [id, heads] of app.seen) app.seen.set(id, heads?.map((ref) => resolved(ref, done.commit, data.saved.entries)))
    if (app.side) app.side.saw = resolved(app.side.saw, done.commit, data.saved.entries)
  }
  const key = placeOf(data)
  const fresh = !before || placeOf(before) !== key || before.image.url !== data.image.url
  if (app.ahead && !fresh) return refresh(app) // an answer from before the step; the next sample is on its way
  if (!histories.has(key)) histories.set(key, newDocument(data.sample, data.layer))
  app.doc = histories.get(key)
  takeView(app.doc, data, app.queue.list)
  if (app.label === null || !app.colors.has(app.label)) app.label = data.classes[0]?.name ?? null
  const kind = canonical([data.mode, data.classes, data.tags, data.scores, data.rubric, data.segment ?? ''])
  if (kind !== app.kind) {
    app.kind = kind
    if (!toolsOf(data).some(([, tool]) => tool === app.tool)) app.tool = 'select'
    buildStrip(app)
    buildSide(app)
  }
  makeKeys(app)
  if (!before) takeFocus(app)
  if (fresh) {
    app.going = ''
    showSample(app)
  }
  for (const url of data.next) loaded(url) // the sample before was mostly just looked at, and is still here
  const wrong = [...app.doc.shapes.values()].map((s) => wrongMask(s.value)).filter(Boolean)
  if (wrong.length) say(app, `${wrong.length > 1 ? `${wrong.length} masks are` : 'A mask is'} not drawn: ${wrong[0]}.`, 'warn')
  if (data.notice) say(app, data.notice, 'warn')
  else if (app.says.dataset.kind === 'ask' && !app.draft) say(app, '') // answered
  refresh(app)
}

/** On a page just opened the keys are the annotator's at once, unless somebody writes or has gone elsewhere with Tab. */
function takeFocus(app) {
  const has = document.activeElement
  if (!has || has === document.body || has.closest('[data-testid="stSidebarNav"]')) app.stage.focus({ preventScroll: true })
}

function openQueue(app) {
  clearTimeout(app.queue?.timer)
  app.queue = newQueue(app.data.store, (commit) => app.c.setTriggerValue('commit', commit), () => refresh(app))
  // Not while mounting: what is sent then can be lost.
  setTimeout(() => loadQueue(app.queue).then((left) => {
    if (!left.length || !app.doc || app.ahead) return
    takeView(app.doc, app.data, app.queue.list)
    say(app, `${left.length} ${left.length > 1 ? 'changes' : 'change'} of before, not yet saved, ${left.length > 1 ? 'are' : 'is'} being saved now.`, 'warn')
    refresh(app)
  }), 300)
}

function showSample(app) {
  const { data } = app
  // What was looked at already keeps its place.
  const looked = app.picture?.url === data.image.url
  clearTimeout(app.ahead)
  app.ahead = 0
  app.draftKey = `${KEPT}|draft|${placeOf(data)}`
  showPicture(app, data.image, looked)
  app.timing.workable = performance.now() - app.timing.left
  restoreDraft(app, app.draftKey)
}

function showPicture(app, image, keepView) {
  Object.assign(app, { draft: null, drag: null, vertex: -1, clicks: [], panning: false })
  app.selected.clear()
  app.lifted.clear()
  app.seen.clear()
  if (app.picture) closePicture(app.picture)
  app.picture = newPicture(image, () => shown(app))
  say(app, '')
  if (!keepView) fit(app)
  shown(app)
}

/** Show the sample's picture at once where it was loaded ahead; it can be worked on when its shapes have come. */
function showAhead(app, url) {
  awaitSample(app, 0)
  const found = images.get(url)
  if (!found?.levels) return
  app.doc = newDocument('', '')
  showPicture(app, { url, width: found.width, height: found.height, mm_per_px: app.data.image.mm_per_px }, false)
  refresh(app)
}

/** A page that is busy can lose a step: it is said again, and after a while the sample of before is shown again. */
function awaitSample(app, tries) {
  app.ahead = setTimeout(() => {
    if (tries < STEP_TRIES) {
      app.c.setTriggerValue('navigate', { to: app.going, sample: app.data.sample })
      return awaitSample(app, tries + 1)
    }
    app.doc = histories.get(placeOf(app.data))
    showSample(app)
    say(app, 'The lab does not answer: this is the sample of before.', 'warn')
    refresh(app)
  }, STEP_MS)
}

/** The image has come, or why it does not. */
function shown(app) {
  const { problem } = app.picture.base
  app.wait.textContent = problem ? `The image cannot be shown: ${problem}` : ready(app.picture) ? '' : 'Loading the image …'
  app.arrived = ready(app.picture)
  redraw(app, 'image', 'content')
}

/** A polygon begun before a reload is open again; a stroke is painted, as one step that can be taken back. */
async function restoreDraft(app, key) {
  const kept = (await keptUnder(key)).get(key)
  if (!kept || app.draftKey !== key || app.draft || app.data.readonly) return
  if (kept.kind !== 'stroke') {
    if (!toolsOf(app.data).some(([, tool]) => tool === kept.kind)) return
    if (app.colors.has(kept.label)) app.label = kept.label
    app.tool = kept.kind
    app.draft = { kind: kept.kind, points: kept.points, restored: true }
    say(app, 'A drawing of before is still open: go on, or drop it with Escape.', 'warn')
    return refresh(app)
  }
  forget(key)
  const { width, height } = app.picture, target = app.doc.shapes.get(kept.target) ?? null
  if (kept.target && !target) return
  if (app.colors.has(kept.label)) app.label = kept.label
  paintInto(app, target, (win) => {
    const all = paintWindow(win)
    kept.points.forEach((at, i) => stroke(all, kept.points[Math.max(0, i - 1)], at, kept.size, kept.on, width, height))
    return all
  }, 'stroke of before painted')
  say(app, 'A stroke that was interrupted is painted as far as it went; u takes it back.', 'warn')
}

function giveUp(app) {
  throwAway(app.queue)
  app.doc = newDocument(app.data.sample, app.data.layer)
  histories.clear()
  histories.set(placeOf(app.data), app.doc)
  takeView(app.doc, app.data, [])
  app.selected.clear()
  refresh(app)
}

/** After any change: the panel says it, and the next frame draws it. */
function refresh(app, drawn = true) {
  if (!app.doc || !app.picture) return
  for (const id of app.selected) if (!app.doc.shapes.has(id) && !app.doc.suggestions.has(id)) app.selected.delete(id)
  app.stage.dataset.tool = app.data.readonly ? 'select' : app.tool
  fillPanel(app)
  redraw(app, ...(drawn ? ['content'] : []))
}
