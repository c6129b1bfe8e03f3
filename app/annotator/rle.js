// Masks: COCO's compressed run lengths (column-major) to and from a window of pixels. Pure.
// A window is {x, y, w, h, bits (row-major, 0 or 1), count}: where a mask lies, and nothing of the empty rest.

function countsOf(text) {
  const counts = []
  let at = 0
  while (at < text.length) {
    let value = 0, shift = 0, more = true
    while (more) {
      const c = text.charCodeAt(at++) - 48
      if (!(c >= 0 && c < 64) || shift > 30) throw new Error("a mask's text is not COCO's compressed run lengths")
      value |= (c & 31) << shift
      shift += 5
      more = (c & 32) !== 0
      if (!more && c & 16 && shift < 32) value |= -1 << shift
    }
    counts.push(counts.length > 2 ? value + counts[counts.length - 2] : value)
  }
  return counts
}

function textOf(counts) {
  let text = ''
  for (let i = 0; i < counts.length; i++) {
    let value = i > 2 ? counts[i] - counts[i - 2] : counts[i]
    let more = true
    while (more) {
      const low = value & 31
      value >>= 5
      more = low & 16 ? value !== -1 : value !== 0
      text += String.fromCharCode((more ? low | 32 : low) + 48)
    }
  }
  return text
}

const decoded = new WeakMap()

/** The window of a mask value, kept for as long as the value is. An empty mask's has no pixels. */
function windowOf(value) {
  let found = decoded.get(value)
  if (!found) decoded.set(value, (found = decode(value)))
  return found
}

function decode({ counts: text, size_hw: [height, width] }) {
  const counts = countsOf(text)
  const total = counts.reduce((a, b) => a + b, 0)
  if (total !== height * width || counts.some((c) => c < 0)) {
    throw new Error(`a mask's runs cover ${total} pixels of an image of ${width} x ${height}`)
  }
  let [x0, y0, x1, y1, count, at] = [width, height, -1, -1, 0, 0]
  for (let i = 0; i < counts.length; at += counts[i++]) {
    if (i % 2 === 0 || counts[i] === 0) continue
    const end = at + counts[i] - 1
    const first = Math.floor(at / height), last = Math.floor(end / height)
    count += counts[i]
    x0 = Math.min(x0, first)
    x1 = Math.max(x1, last)
    y0 = Math.min(y0, first === last ? at % height : 0)
    y1 = Math.max(y1, first === last ? end % height : height - 1)
  }
  if (count === 0) return { x: 0, y: 0, w: 0, h: 0, bits: new Uint8Array(0), count }
  const w = x1 - x0 + 1, h = y1 - y0 + 1, bits = new Uint8Array(w * h)
  at = 0
  for (let i = 0; i < counts.length; at += counts[i++]) {
    if (i % 2 === 0) continue
    let column = Math.floor(at / height), row = at % height
    for (let left = counts[i]; left > 0; column++, row = 0) {
      const here = Math.min(left, height - row)
      for (let r = 0, to = (row - y0) * w + column - x0; r < here; r++, to += w) bits[to] = 1
      left -= here
    }
  }
  return { x: x0, y: y0, w, h, bits, count }
}

/** A mask value over the whole image, as pycocotools writes it. */
function encode(win, width, height) {
  const counts = []
  let end = 0, start = -1, stop = -1
  const close = () => {
    counts.push(start - end, stop - start)
    end = stop
  }
  for (let c = 0; c < win.w; c++) {
    const base = (win.x + c) * height + win.y
    for (let r = 0; r < win.h; r++) {
      if (!win.bits[r * win.w + c]) continue
      if (base + r === stop) stop++
      else {
        if (start >= 0) close()
        start = base + r
        stop = start + 1
      }
    }
  }
  if (start >= 0) close()
  if (height * width > end || counts.length === 0) counts.push(height * width - end)
  return { type: 'mask', counts: textOf(counts), size_hw: [height, width] }
}

/** A window of exactly the pixels that are set, clipped to the image. */
function trimmed(win, width, height) {
  let [x0, y0, x1, y1, count] = [Infinity, Infinity, -1, -1, 0]
  for (let r = Math.max(0, -win.y); r < win.h && win.y + r < height; r++) {
    for (let c = Math.max(0, -win.x); c < win.w && win.x + c < width; c++) {
      if (!win.bits[r * win.w + c]) continue
      count++
      if (c < x0) x0 = c
      if (c > x1) x1 = c
      if (r < y0) y0 = r
      if (r > y1) y1 = r
    }
  }
  if (count === 0) return { x: 0, y: 0, w: 0, h: 0, bits: new Uint8Array(0), count }
  const w = x1 - x0 + 1, h = y1 - y0 + 1, bits = new Uint8Array(w * h)
  for (let r = 0; r < h; r++) {
    const from = (y0 + r) * win.w + x0
    bits.set(win.bits.subarray(from, from + w), r * w)
  }
  return { x: win.x + x0, y: win.y + y0, w, h, bits, count }
}

/** A mask value of a window; null when nothing of it is set inside the image. */
function maskValue(win, width, height) {
  const exact = trimmed(win, width, height)
  if (exact.count === 0) return null
  const value = encode(exact, width, height)
  decoded.set(value, exact)
  return value
}

function movedMask(value, dx, dy) {
  const [height, width] = value.size_hw, win = windowOf(value)
  return maskValue({ ...win, x: win.x + dx, y: win.y + dy }, width, height) ?? value
}

/** The same pixels in an image of another size, clipped to it; null when none is left. */
function fittedMask(value, width, height) {
  return maskValue(windowOf(value), width, height)
}

/** The window of the pixels whose centre lies inside an outline, by the even-odd rule; as `trugrade_core.data.rle.fill`. */
function filled(points, width, height) {
  const [bx0, by0, bx1, by1] = boxOfPoints(points)
  const x0 = Math.max(0, Math.ceil(bx0)), y0 = Math.max(0, Math.ceil(by0))
  const w = Math.min(width - 1, Math.floor(bx1)) - x0 + 1, h = Math.min(height - 1, Math.floor(by1)) - y0 + 1
  if (w <= 0 || h <= 0) return { x: 0, y: 0, w: 0, h: 0, bits: new Uint8Array(0), count: 0 }
  const bits = new Uint8Array(w * h)
  let count = 0
  for (let r = 0; r < h; r++) {
    const y = y0 + r, at = []
    for (let i = 0; i < points.length; i++) {
      let [ax, ay] = points[i], [bx, by] = points[(i + 1) % points.length]
      if (ay > by) [ax, ay, bx, by] = [bx, by, ax, ay]
      if (ay <= y && y < by) at.push(Math.ceil(ax + (y - ay) * ((bx - ax) / (by - ay))))
    }
    at.sort((a, b) => a - b)
    for (let i = 0; i + 1 < at.length; i += 2) {
      for (let x = Math.max(at[i], x0); x < Math.min(at[i + 1], x0 + w); x++, count++) bits[r * w + x - x0] = 1
    }
  }
  return { x: x0, y: y0, w, h, bits, count }
}
