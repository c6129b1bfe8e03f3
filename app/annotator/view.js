// The window onto the image, and when what is drawn again. One frame draws everything that changed, once.

const NEAREST = 40
const SETTLE_MS = 80 // after the last movement the shapes are drawn sharp again

function leastScale(app) {
  const { width, height } = app.picture
  return Math.min(1, app.stage.clientWidth / width, app.stage.clientHeight / height) / 4
}

function fit(app) {
  const { width, height } = app.picture
  const w = app.stage.clientWidth, h = app.stage.clientHeight
  const scale = Math.min((w - 24) / width, (h - 24) / height, NEAREST)
  app.view = { scale, tx: (w - width * scale) / 2, ty: (h - height * scale) / 2 }
  app.fitted = true
  redraw(app, 'image', 'shapes')
}

function zoomAt(app, factor, sx, sy) {
  app.view = zoomed(app.view, factor, sx, sy, leastScale(app), NEAREST)
  moved(app)
}

function zoomMiddle(app, factor) {
  zoomAt(app, factor, app.stage.clientWidth / 2, app.stage.clientHeight / 2)
}

function panBy(app, dx, dy) {
  app.view = { ...app.view, tx: app.view.tx + dx, ty: app.view.ty + dy }
  moved(app)
}

/** Some of the image stays in sight, whatever the hand does. */
function moved(app) {
  const { scale } = app.view, keep = 40
  const within = (t, size, length) => Math.min(Math.max(t, keep - size * scale), length - keep)
  app.view.tx = within(app.view.tx, app.picture.width, app.stage.clientWidth)
  app.view.ty = within(app.view.ty, app.picture.height, app.stage.clientHeight)
  app.fitted = false
  redraw(app, 'image', 'shapes')
}

/** Show a shape, large enough to be worked on, unless it is in sight already. */
function bringIntoView(app, value) {
  const box = boundsOf(value)
  if (!box) return
  const w = app.stage.clientWidth, h = app.stage.clientHeight
  const [x0, y0] = toScreen(app.view, box[0], box[1]), [x1, y1] = toScreen(app.view, box[2], box[3])
  if (x0 >= 0 && y0 >= 0 && x1 <= w && y1 <= h && Math.max(x1 - x0, y1 - y0) >= 12) return
  const scale = Math.min(Math.max(Math.min((w * 0.5) / (box[2] - box[0]), (h * 0.5) / (box[3] - box[1])), leastScale(app)), 12)
  app.view = { scale, tx: w / 2 - ((box[0] + box[2]) / 2 + 0.5) * scale, ty: h / 2 - ((box[1] + box[3]) / 2 + 0.5) * scale }
  moved(app)
}

function redraw(app, ...parts) {
  for (const part of parts) app.dirty.add(part)
  app.frame ||= requestAnimationFrame(() => paintFrame(app))
}

/** The size of the stage changed: canvases follow, the middle of the picture stays in the middle. */
function resized(app) {
  const w = app.stage.clientWidth, h = app.stage.clientHeight, ratio = window.devicePixelRatio || 1
  if (!w || !h || (app.size.w === w && app.size.h === h && app.size.ratio === ratio)) return
  const before = app.size
  app.size = { w, h, ratio, margin: Math.round(Math.min(w, h) / 4) }
  for (const canvas of [app.canvas.image, app.canvas.over]) Object.assign(canvas, { width: Math.round(w * ratio), height: Math.round(h * ratio) })
  const m = app.size.margin
  Object.assign(app.canvas.shapes, { width: Math.round((w + 2 * m) * ratio), height: Math.round((h + 2 * m) * ratio) })
  Object.assign(app.canvas.shapes.style, { left: `${-m}px`, top: `${-m}px`, width: `${w + 2 * m}px`, height: `${h + 2 * m}px`, transformOrigin: `${m}px ${m}px` })
  if (!app.picture) return
  if (app.fitted || !before.w) fit(app)
  else panBy(app, (w - before.w) / 2, (h - before.h) / 2)
}

function paintFrame(app) {
  app.frame = 0
  if (!app.picture || !app.size.w) return
  const { dirty } = app
  app.dirty = new Set()
  const { w, h, ratio } = app.size
  if (dirty.has('image')) drawPicture(app.pen.image, app.picture, app.view, ratio, Math.round(w * ratio), Math.round(h * ratio))
  if (dirty.has('content') || dirty.has('shapes')) shapeLayer(app, dirty.has('content'))
  drawOver(app)
  showPlace(app)
  // Drawn now, seen with the next frame.
  if (app.arrived && !app.timing.shown) requestAnimationFrame(() => { app.timing.shown ||= performance.now() - app.timing.left })
}

/** Draw the shapes, or, while the view moves and they are very many, let the picture of them move along. */
function shapeLayer(app, changed) {
  const { layer, view } = app, k = view.scale / layer.view.scale
  const dx = view.tx - layer.view.tx * k, dy = view.ty - layer.view.ty * k
  clearTimeout(layer.timer)
  const near = k > 0.6 && k < 1.7 && Math.hypot(dx, dy) < 4 * app.size.margin
  if (changed || !layer.heavy || !near) {
    drawShapes(app)
    layer.view = { ...view }
    app.canvas.shapes.style.transform = 'none'
    return
  }
  app.canvas.shapes.style.transform = `matrix(${k}, 0, 0, ${k}, ${dx}, ${dy})`
  layer.timer = setTimeout(() => redraw(app, 'content'), SETTLE_MS)
}

/** Brightness, contrast and channel change what is shown, never the image. */
function applyLook(app) {
  const { brightness, contrast, channel } = app.look
  const part = channel === 'all' ? '' : ` url(#tg-${channel})`
  const filter = brightness === 1 && contrast === 1 && !part ? 'none' : `brightness(${brightness}) contrast(${contrast})${part}`
  app.canvas.image.style.filter = filter
  app.canvas.loupe.style.filter = filter
}
