// Painting: a window of pixels that grows under the brush. Pure.

const GROW = 128

/** A window to paint in, with a copy of what is there. */
function paintWindow(win) {
  return win ? { ...win, bits: win.bits.slice() } : { x: 0, y: 0, w: 0, h: 0, bits: new Uint8Array(0), count: 0 }
}

/** Make room for [x0, x1) by [y0, y1), generously, never beyond the image. */
function makeRoom(win, x0, y0, x1, y1, width, height) {
  if (win.w && x0 >= win.x && y0 >= win.y && x1 <= win.x + win.w && y1 <= win.y + win.h) return
  if (win.w) {
    x0 = Math.min(x0 < win.x ? x0 - GROW : x0, win.x)
    y0 = Math.min(y0 < win.y ? y0 - GROW : y0, win.y)
    x1 = Math.max(x1 > win.x + win.w ? x1 + GROW : x1, win.x + win.w)
    y1 = Math.max(y1 > win.y + win.h ? y1 + GROW : y1, win.y + win.h)
  }
  x0 = Math.max(0, x0)
  y0 = Math.max(0, y0)
  const w = Math.min(width, x1) - x0, h = Math.min(height, y1) - y0
  if (w <= 0 || h <= 0) return
  const bits = new Uint8Array(w * h)
  for (let r = 0; r < win.h; r++) bits.set(win.bits.subarray(r * win.w, (r + 1) * win.w), (win.y - y0 + r) * w + win.x - x0)
  Object.assign(win, { x: x0, y: y0, w, h, bits })
}

/**
 * Set (or clear) the pixels whose centre lies within `size` / 2 of the segment a-b; size 1 is one pixel wide.
 * Gives back what was touched, [x0, y0, x1, y1) in pixels, or null when all of it lies outside the image.
 */
function stroke(win, a, b, size, on, width, height) {
  const reach = Math.max(size / 2, 0.5)
  // A brush of one pixel paints the pixel under the cursor, wherever in it the cursor is.
  const [p, q] = size <= 1 ? [a.map(Math.round), b.map(Math.round)] : [a, b]
  const x0 = Math.max(0, Math.ceil(Math.min(p[0], q[0]) - reach)), y0 = Math.max(0, Math.ceil(Math.min(p[1], q[1]) - reach))
  const x1 = Math.min(width, Math.floor(Math.max(p[0], q[0]) + reach) + 1)
  const y1 = Math.min(height, Math.floor(Math.max(p[1], q[1]) + reach) + 1)
  if (x1 <= x0 || y1 <= y0) return null
  if (on) makeRoom(win, x0, y0, x1, y1, width, height)
  const far = reach * reach + 1e-9
  const dx = q[0] - p[0], dy = q[1] - p[1], length2 = dx * dx + dy * dy
  for (let y = Math.max(y0, win.y); y < Math.min(y1, win.y + win.h); y++) {
    for (let x = Math.max(x0, win.x); x < Math.min(x1, win.x + win.w); x++) {
      const t = length2 ? Math.min(Math.max(((x - p[0]) * dx + (y - p[1]) * dy) / length2, 0), 1) : 0
      const ex = x - p[0] - t * dx, ey = y - p[1] - t * dy
      if (ex * ex + ey * ey <= far) win.bits[(y - win.y) * win.w + x - win.x] = on ? 1 : 0
    }
  }
  return [x0, y0, x1, y1]
}

/** The pixels of both windows. */
function united(win, other, width, height) {
  const all = paintWindow(win)
  if (!other.w) return all
  makeRoom(all, other.x, other.y, other.x + other.w, other.y + other.h, width, height)
  for (let r = 0; r < other.h; r++) {
    for (let c = 0; c < other.w; c++) {
      if (other.bits[r * other.w + c]) all.bits[(other.y + r - all.y) * all.w + other.x + c - all.x] = 1
    }
  }
  return all
}
