// Shapes over the image: the cached layer of all of them, and over it what is being worked on.

const HALO = 'rgba(0, 0, 0, 0.6)'
const MASK_TILE = 512
const LABELS_UP_TO = 60
const CLEAR_FROM = 4
const MANY_POINTS = 4000
const TOO_MANY_POINTS = 40000 // while the view moves, a picture of the layer moves along instead
const paths = new WeakMap() // value -> Path2D in image pixels, counted from the image's corner
const boxes = new WeakMap()
const maskPictures = new WeakMap() // window -> {color, tiles, whole}

function pathOf(value) {
  let path = paths.get(value)
  if (!path) paths.set(value, (path = outlinePath(outlineOf(value), true)))
  return path
}

function outlinePath(points, closed) {
  const path = new Path2D()
  points.forEach(([x, y], i) => (i ? path.lineTo(x + 0.5, y + 0.5) : path.moveTo(x + 0.5, y + 0.5)))
  if (closed) path.closePath()
  return path
}

/** The box of a value; null for what lies nowhere, and for a mask that cannot be read. */
function cachedBox(value) {
  if (!boxes.has(value)) boxes.set(value, wrongMask(value) ? null : boundsOf(value))
  return boxes.get(value)
}

function wrongMask(value) {
  if (value.type !== 'mask') return ''
  try {
    windowOf(value)
    return ''
  } catch (e) {
    return e.message
  }
}

function colorOf(app, label) {
  return app.colors.get(label) ?? '#ffffff'
}

/** Shapes that lie somewhere, those being edited left out; suggestions last. */
function drawable(app) {
  const all = [...app.doc.shapes.values(), ...app.doc.suggestions.values()]
  return all.filter((s) => cachedBox(s.value) && !app.lifted.has(s.id))
}

function inSight(app, margin = 0) {
  const [x0, y0] = toImage(app.view, -margin, -margin)
  const [x1, y1] = toImage(app.view, app.size.w + margin, app.size.h + margin)
  return (s) => {
    const [bx0, by0, bx1, by1] = cachedBox(s.value)
    return bx1 >= x0 && by1 >= y0 && bx0 <= x1 && by0 <= y1
  }
}

function drawShapes(app) {
  const g = app.pen.shapes, { ratio, margin } = app.size
  g.setTransform(1, 0, 0, 1, 0, 0)
  g.clearRect(0, 0, g.canvas.width, g.canvas.height)
  if (!app.look.shapes || !ready(app.picture)) return
  const seen = drawable(app).filter(inSight(app, margin))
  const toLayer = () => g.setTransform(app.view.scale * ratio, 0, 0, app.view.scale * ratio, (app.view.tx + margin) * ratio, (app.view.ty + margin) * ratio)
  toLayer()
  const groups = new Map()
  for (const s of seen) {
    if (s.value.type === 'mask') drawMask(g, app, windowOf(s.value), colorOf(app, s.label), s.suggested)
    else {
      const color = colorOf(app, s.label), key = `${color}${s.suggested ? '-' : ''}`
      if (!groups.has(key)) groups.set(key, { color, dashed: s.suggested, values: [] })
      groups.get(key).values.push(s.value)
    }
  }
  const points = seen.reduce((sum, s) => sum + (s.value.points?.length ?? 4), 0)
  for (const group of groups.values()) strokeGroup(g, app, group, points > MANY_POINTS)
  app.layer.heavy = points > TOO_MANY_POINTS
  g.setTransform(ratio, 0, 0, ratio, margin * ratio, margin * ratio)
  const words = app.look.labels && seen.length <= LABELS_UP_TO
  for (const s of seen) if (words || s.conflict?.some((head) => !head.same)) drawLabel(g, app, s)
}

/** Whether a shape is filled with a tint: not near by, nor where it fills the view, for there the picture is what matters. */
function tinted(app, box) {
  const { scale } = app.view, { w, h } = app.size
  return Boolean(box && app.look.opacity) && scale < CLEAR_FROM && (box[2] - box[0]) * scale < w / 2 && (box[3] - box[1]) * scale < h / 2
}

/**
 * All outlines of one colour: fills first, then dark halos, then lines, of the same width at any zoom. Each is a path of its
 * own: one path of many is slower. Above MANY_POINTS lines are a hair wide with a dark one beside, which costs a twentieth.
 */
function strokeGroup(g, app, { color, dashed, values }, many) {
  if (!many || dashed) {
    for (const value of values) strokePath(g, app, pathOf(value), color, { dashed, fill: tinted(app, cachedBox(value)) })
    return
  }
  const hair = 0.99 / (app.view.scale * app.size.ratio)
  const stroked = () => { for (const value of values) g.stroke(pathOf(value)) }
  g.globalAlpha = 0.35 * app.look.opacity
  g.fillStyle = color
  for (const value of values) if (tinted(app, cachedBox(value))) g.fill(pathOf(value))
  g.globalAlpha = 1
  g.lineWidth = hair
  g.strokeStyle = HALO
  g.translate(hair, hair)
  stroked()
  g.translate(-hair, -hair)
  g.strokeStyle = color
  stroked()
}

function strokePath(g, app, path, color, { dashed = false, wide = 1, fill = false } = {}) {
  const px = 1 / app.view.scale
  if (fill) {
    g.globalAlpha = 0.35 * app.look.opacity
    g.fillStyle = color
    g.fill(path)
    g.globalAlpha = 1
  }
  g.setLineDash([])
  g.strokeStyle = HALO
  g.lineWidth = (wide + 1.6) * px
  g.stroke(path)
  g.setLineDash(dashed ? [6 * px, 4 * px] : [])
  g.strokeStyle = color
  g.lineWidth = (wide + 0.4) * px
  g.stroke(path)
  g.setLineDash([])
}

function drawLabel(g, app, s) {
  const [x, y] = toScreen(app.view, ...cachedBox(s.value).slice(0, 2))
  const others = (s.conflict ?? []).filter((head) => !head.same)
  const text = (s.label ?? '') + (s.suggested ? ' (suggested)' : '') + (others.length ? `  conflict: ${[s.who, ...others.map((head) => head.who)].filter(Boolean).join(', ')}` : '')
  g.font = `600 12px ${app.font}`
  g.lineWidth = 3
  g.strokeStyle = 'rgba(0, 0, 0, 0.75)'
  g.fillStyle = others.length ? '#ffb3b8' : colorOf(app, s.label)
  const at = [Math.max(x, 2) + 3, Math.max(y - 5, 13)]
  g.strokeText(text, ...at)
  g.fillText(text, ...at)
}

/** A mask's pixels as pictures of one colour, made once: tiles near by, one small whole from afar. */
function drawMask(g, app, win, color, dashed) {
  if (!win.w) return
  const made = maskPicture(win, color)
  g.globalAlpha = app.look.opacity
  const device = app.view.scale * app.size.ratio
  g.imageSmoothingEnabled = device < 1
  if (device < 0.5 && win.w * win.h > 4 * MASK_TILE * MASK_TILE) {
    made.whole ??= maskPart(win, color, 0, 0, win.w, win.h, Math.ceil(Math.sqrt((win.w * win.h) / 1e6)))
    g.drawImage(made.whole.canvas, win.x, win.y, made.whole.w, made.whole.h)
  } else {
    const [sx0, sy0] = toImage(app.view, -app.size.margin, -app.size.margin)
    const [sx1, sy1] = toImage(app.view, app.size.w + app.size.margin, app.size.h + app.size.margin)
    for (let y = 0; y < win.h; y += MASK_TILE) {
      for (let x = 0; x < win.w; x += MASK_TILE) {
        if (win.x + x > sx1 || win.y + y > sy1 || win.x + x + MASK_TILE < sx0 || win.y + y + MASK_TILE < sy0) continue
        const key = `${x},${y}`
        if (!made.tiles.has(key)) made.tiles.set(key, maskPart(win, color, x, y, Math.min(MASK_TILE, win.w - x), Math.min(MASK_TILE, win.h - y), 1))
        const part = made.tiles.get(key)
        g.drawImage(part.canvas, win.x + x, win.y + y, part.w, part.h)
      }
    }
  }
  g.globalAlpha = 1
  if (dashed) {
    const path = new Path2D()
    path.rect(win.x, win.y, win.w, win.h)
    strokePath(g, app, path, color, { dashed: true })
  }
}

function maskPicture(win, color) {
  let made = maskPictures.get(win)
  if (!made || made.color !== color) maskPictures.set(win, (made = { color, tiles: new Map(), whole: null }))
  return made
}

function maskPart(win, color, x, y, w, h, stride) {
  const pw = Math.ceil(w / stride), ph = Math.ceil(h / stride)
  const canvas = new OffscreenCanvas(pw, ph), g = canvas.getContext('2d')
  const picture = g.createImageData(pw, ph), pixels = new Uint32Array(picture.data.buffer)
  const [r, green, b] = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16))
  const full = ((255 << 24) | (b << 16) | (green << 8) | r) >>> 0
  for (let j = 0; j < ph; j++) {
    const row = (y + j * stride) * win.w + x
    for (let i = 0; i < pw; i++) if (win.bits[row + i * stride]) pixels[j * pw + i] = full
  }
  g.putImageData(picture, 0, 0)
  return { canvas, w: pw * stride, h: ph * stride }
}

/** After painting in a window: only the tiles that were touched are made again. */
function maskTouched(win, [x0, y0, x1, y1]) {
  const made = maskPictures.get(win)
  if (!made) return
  made.whole = null
  for (const key of made.tiles.keys()) {
    const [tx, ty] = key.split(',').map(Number)
    if (win.x + tx < x1 && win.y + ty < y1 && win.x + tx + MASK_TILE > x0 && win.y + ty + MASK_TILE > y0) made.tiles.delete(key)
  }
}

// --- what is being worked on ------------------------------------------------------------------------------------

function drawOver(app) {
  const g = app.pen.over, { ratio, w, h } = app.size
  g.setTransform(1, 0, 0, 1, 0, 0)
  g.clearRect(0, 0, g.canvas.width, g.canvas.height)
  if (!ready(app.picture)) return drawLoupe(app)
  const inImage = () => g.setTransform(app.view.scale * ratio, 0, 0, app.view.scale * ratio, app.view.tx * ratio, app.view.ty * ratio)
  inImage()
  if (app.look.shapes || app.draft || app.drag) {
    for (const s of selectedShapes(app)) drawSelected(g, app, s)
    if (app.draft) drawDraft(g, app)
  }
  g.setTransform(ratio, 0, 0, ratio, 0, 0)
  if (app.look.shapes || app.drag) drawHandles(g, app)
  drawCursor(g, app, w, h)
  drawLoupe(app)
}

function drawSelected(g, app, s) {
  const value = app.lifted.get(s.id) ?? s.value
  if (value.type === 'mask') {
    const win = windowOf(value)
    const path = new Path2D()
    path.rect(win.x, win.y, win.w, win.h)
    if (app.lifted.has(s.id)) drawMask(g, app, win, colorOf(app, s.label), false)
    strokePath(g, app, path, colorOf(app, s.label), { dashed: true })
  } else if (outlineOf(value)) strokePath(g, app, outlinePath(outlineOf(value), true), colorOf(app, s.label), { dashed: s.suggested, wide: 1.8, fill: app.lifted.has(s.id) && tinted(app, boundsOf(value)) })
}

function drawDraft(g, app) {
  const { draft } = app, color = colorOf(app, app.label)
  if (draft.kind === 'stroke') drawMask(g, app, draft.win, color, false)
  else if (draft.kind === 'box') {
    const xyxy = sortedBox(draft.from, draft.to)
    strokePath(g, app, outlinePath(cornersOf(xyxy), true), color, { fill: tinted(app, xyxy) })
  } else if (draft.kind === 'proposal') {
    strokePath(g, app, outlinePath(draft.drawn, true), '#ffffff', { dashed: true, wide: 0.6 })
    strokePath(g, app, outlinePath(draft.snapped, true), color, { wide: 1.2 })
  } else {
    const points = app.at && !draft.restored ? [...draft.points, clampPoint(app.at, app.picture.width, app.picture.height)] : draft.points
    const full = draft.kind === 'quad' && points.length >= 4
    strokePath(g, app, outlinePath(points, full), color, { fill: full && tinted(app, boxOfPoints(points)) })
  }
}

/** Squares to take hold of, the same size at any zoom; on touch screens the hand's reach is larger than the square. */
function drawHandles(g, app) {
  const points = app.draft ? (app.draft.kind === 'stroke' ? [] : app.draft.points ?? []) : handlesOf(app).map((handle) => handle.at)
  g.lineWidth = 1
  for (const [i, point] of points.entries()) {
    const [x, y] = toScreen(app.view, ...point)
    if (x < -9 || y < -9 || x > app.size.w + 9 || y > app.size.h + 9) continue
    const size = i === app.vertex && !app.draft ? 11 : 7
    g.fillStyle = i === app.vertex && !app.draft ? '#ffd23f' : '#ffffff'
    g.strokeStyle = '#000000'
    g.fillRect(x - size / 2, y - size / 2, size, size)
    g.strokeRect(x - size / 2, y - size / 2, size, size)
  }
}

function drawCursor(g, app, w, h) {
  if (!app.at || !app.over || app.panning) return
  const [x, y] = toScreen(app.view, ...app.at)
  if (app.look.crosshair && ['box', 'polygon', 'quad', 'segment'].includes(app.tool)) {
    for (const [color, width] of [['rgba(0, 0, 0, 0.45)', 3], ['rgba(255, 255, 255, 0.85)', 1]]) {
      g.strokeStyle = color
      g.lineWidth = width
      g.beginPath()
      g.moveTo(0, y)
      g.lineTo(w, y)
      g.moveTo(x, 0)
      g.lineTo(x, h)
      g.stroke()
    }
  }
  if (app.tool === 'brush' || app.tool === 'eraser') {
    for (const [color, width] of [[HALO, 3], ['#ffffff', 1]]) {
      g.strokeStyle = color
      g.lineWidth = width
      g.beginPath()
      g.arc(x, y, Math.max(2, (app.brush / 2) * app.view.scale), 0, 7)
      g.stroke()
    }
  }
  const text = draftSize(app)
  if (!text) return
  g.font = `600 12px ${app.font}`
  g.lineWidth = 3
  g.strokeStyle = 'rgba(0, 0, 0, 0.8)'
  g.fillStyle = '#ffffff'
  const left = x + 14 + g.measureText(text).width > w
  g.textAlign = left ? 'right' : 'left'
  const at = [left ? x - 12 : x + 12, Math.min(Math.max(y - 10, 14), h - 6)]
  g.strokeText(text, ...at)
  g.fillText(text, ...at)
  g.textAlign = 'left'
}

/** The magnifier: eight times, or four times what is shown, with the cursor's pixel in the middle. */
function drawLoupe(app) {
  const { loupe } = app.canvas, shown = app.look.loupe && app.over && app.at && ready(app.picture)
  loupe.hidden = !shown
  if (!shown) return
  const size = 168, ratio = app.size.ratio, scale = Math.min(NEAREST, Math.max(8, 4 * app.view.scale))
  if (loupe.width !== Math.round(size * ratio)) loupe.width = loupe.height = Math.round(size * ratio)
  const view = { scale, tx: size / 2 - (app.at[0] + 0.5) * scale, ty: size / 2 - (app.at[1] + 0.5) * scale }
  drawPicture(app.pen.loupe, app.picture, view, ratio, loupe.width, loupe.height)
  const g = app.pen.loupe
  g.setTransform(ratio, 0, 0, ratio, 0, 0)
  for (const [color, width] of [['rgba(0, 0, 0, 0.5)', 3], ['#ffffff', 1]]) {
    g.strokeStyle = color
    g.lineWidth = width
    g.beginPath()
    for (const [a, b] of [[0, size / 2 - 8], [size / 2 + 8, size]]) {
      g.moveTo(a, size / 2)
      g.lineTo(b, size / 2)
      g.moveTo(size / 2, a)
      g.lineTo(size / 2, b)
    }
    g.stroke()
  }
  const [x, y] = toScreen(app.view, ...app.at)
  loupe.classList.toggle('left', x > app.size.w - size - 60 && y < size + 60)
}
