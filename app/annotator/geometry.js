// Points, boxes and outlines in image pixels (centres at integers, y down). Pure: nothing here knows the page.

/** The window onto the image: a point of it is shown at ((x + 0.5) * scale + tx, (y + 0.5) * scale + ty), in CSS pixels. */
function toScreen(view, x, y) {
  return [(x + 0.5) * view.scale + view.tx, (y + 0.5) * view.scale + view.ty]
}

function toImage(view, sx, sy) {
  return [(sx - view.tx) / view.scale - 0.5, (sy - view.ty) / view.scale - 0.5]
}

/** The view that is `factor` times as near, with what lies under (sx, sy) staying there. */
function zoomed(view, factor, sx, sy, least, most) {
  const scale = Math.min(Math.max(view.scale * factor, least), most)
  const k = scale / view.scale
  return { scale, tx: sx - (sx - view.tx) * k, ty: sy - (sy - view.ty) * k }
}

/** A thousandth of a pixel is finer than any hand, and keeps numbers short. */
function rounded(v) {
  return Math.round(v * 1000) / 1000
}

function clampPoint([x, y], width, height) {
  return [rounded(Math.min(Math.max(x, -0.5), width - 0.5)), rounded(Math.min(Math.max(y, -0.5), height - 0.5))]
}

function boxOfPoints(points) {
  let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity]
  for (const [x, y] of points) {
    if (x < x0) x0 = x
    if (x > x1) x1 = x
    if (y < y0) y0 = y
    if (y > y1) y1 = y
  }
  return [x0, y0, x1, y1]
}

function cornersOf([x0, y0, x1, y1]) {
  return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
}

/** The outline of a box or polygon; null for what has none here (masks, scores, tags). */
function outlineOf(value) {
  return value.type === 'box' ? cornersOf(value.xyxy) : value.type === 'polygon' ? value.points : null
}

/** Signed area, positive when the points turn clockwise on the screen. */
function areaOf(points) {
  let sum = 0
  for (let i = 0; i < points.length; i++) {
    const [x0, y0] = points[i], [x1, y1] = points[(i + 1) % points.length]
    sum += x0 * y1 - x1 * y0
  }
  return sum / 2
}

function inside(points, x, y) {
  let odd = false
  for (let i = 0, j = points.length - 1; i < points.length; j = i++) {
    const [xi, yi] = points[i], [xj, yj] = points[j]
    if (yi > y !== yj > y && x < xi + ((y - yi) * (xj - xi)) / (yj - yi)) odd = !odd
  }
  return odd
}

/** [distance, share along] of a point and a segment. */
function toSegment([x, y], [x0, y0], [x1, y1]) {
  const dx = x1 - x0, dy = y1 - y0
  const length2 = dx * dx + dy * dy
  const t = length2 ? Math.min(Math.max(((x - x0) * dx + (y - y0) * dy) / length2, 0), 1) : 0
  return [Math.hypot(x - x0 - t * dx, y - y0 - t * dy), t]
}

/** The nearest side of a closed outline: {side, distance}. Side i runs from point i to the next. */
function nearestSide(points, at) {
  let best = { side: -1, distance: Infinity }
  for (let i = 0; i < points.length; i++) {
    const [distance] = toSegment(at, points[i], points[(i + 1) % points.length])
    if (distance < best.distance) best = { side: i, distance }
  }
  return best
}

function turn([ax, ay], [bx, by], [cx, cy]) {
  return (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
}

function onSegment(p, a, b) {
  return turn(a, b, p) === 0 && p[0] >= Math.min(a[0], b[0]) && p[0] <= Math.max(a[0], b[0])
    && p[1] >= Math.min(a[1], b[1]) && p[1] <= Math.max(a[1], b[1])
}

function segmentsMeet(a, b, c, d) {
  const t1 = turn(a, b, c), t2 = turn(a, b, d), t3 = turn(c, d, a), t4 = turn(c, d, b)
  if (((t1 > 0 && t2 < 0) || (t1 < 0 && t2 > 0)) && ((t3 > 0 && t4 < 0) || (t3 < 0 && t4 > 0))) return true
  return onSegment(c, a, b) || onSegment(d, a, b) || onSegment(a, c, d) || onSegment(b, c, d)
}

/** What keeps a closed outline from being one, in words; "" when nothing does. */
function wrongWith(points) {
  const distinct = points.filter(([x, y], i) => {
    const [px, py] = points[(i + points.length - 1) % points.length]
    return x !== px || y !== py
  })
  if (distinct.length < 3) return 'An outline needs three different points.'
  const n = distinct.length
  for (let i = 0; i < n; i++) {
    const a = distinct[i], b = distinct[(i + 1) % n]
    for (let j = i + 1; j < n; j++) {
      const c = distinct[j], d = distinct[(j + 1) % n]
      const next = j === i + 1, last = i === 0 && j === n - 1
      if (next ? onSegment(d, a, b) && n > 3 : last ? onSegment(c, a, b) && n > 3 : segmentsMeet(a, b, c, d)) {
        return `The outline crosses itself (side ${i + 1} meets side ${j + 1}). Move or take back a point.`
      }
    }
  }
  return Math.abs(areaOf(distinct)) < 1e-6 ? 'The outline has no area.' : ''
}

/** Where two lines (each through two points) meet, or null when they run along each other. */
function crossing([p, q], [r, s]) {
  const ax = q[0] - p[0], ay = q[1] - p[1], bx = s[0] - r[0], by = s[1] - r[1]
  const det = ax * by - ay * bx
  if (Math.abs(det) < 1e-9 * Math.hypot(ax, ay) * Math.hypot(bx, by)) return null
  const t = ((r[0] - p[0]) * by - (r[1] - p[1]) * bx) / det
  return [p[0] + t * ax, p[1] + t * ay]
}

/** A value moved by (dx, dy); a mask by whole pixels. Nothing leaves the image that was inside it. */
function movedValue(value, dx, dy, width, height) {
  const [x0, y0, x1, y1] = boundsOf(value)
  dx = Math.min(Math.max(dx, Math.min(0, -0.5 - x0)), Math.max(0, width - 0.5 - x1))
  dy = Math.min(Math.max(dy, Math.min(0, -0.5 - y0)), Math.max(0, height - 0.5 - y1))
  if (value.type === 'mask') return movedMask(value, Math.round(dx), Math.round(dy))
  if (value.type === 'box') return { ...value, xyxy: [x0 + dx, y0 + dy, x1 + dx, y1 + dy].map(rounded) }
  return { ...value, points: value.points.map(([x, y]) => [rounded(x + dx), rounded(y + dy)]) }
}

/** The box round any value that lies somewhere, in the lab's frame (a mask's runs along its pixels' edges). */
function boundsOf(value) {
  if (value.type === 'box') return value.xyxy
  if (value.type === 'polygon') return boxOfPoints(value.points)
  if (value.type !== 'mask') return null
  const w = windowOf(value)
  return [w.x - 0.5, w.y - 0.5, w.x + w.w - 0.5, w.y + w.h - 0.5]
}

/** How large a value is: {text, area} in mm where the scale is known, else px. */
function measured(value, mmPerPx) {
  const k = mmPerPx ?? 1, unit = mmPerPx ? 'mm' : 'px'
  const f = (v) => (mmPerPx ? (v * k).toFixed(2) : v.toFixed(1))
  const box = boundsOf(value)
  if (!box) return ''
  let wide = box[2] - box[0], high = box[3] - box[1], area = wide * high
  if (value.type === 'polygon') area = Math.abs(areaOf(value.points))
  if (value.type === 'mask') area = windowOf(value).count
  if (value.type === 'polygon' && value.points.length === 4) {
    const side = (i) => Math.hypot(value.points[i][0] - value.points[(i + 1) % 4][0], value.points[i][1] - value.points[(i + 1) % 4][1])
    wide = (side(0) + side(2)) / 2
    high = (side(1) + side(3)) / 2
  }
  const square = area * k * k
  return `${f(wide)} × ${f(high)} ${unit} · ${square >= 100 ? square.toFixed(0) : Number(square.toPrecision(3))} ${unit}²`
}
