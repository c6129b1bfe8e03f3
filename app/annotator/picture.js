// The image: loaded by URL, kept decoded with smaller copies, drawn where it is seen. It is never changed.

const KEPT_IMAGES = 4 // the one shown, two ahead, one behind
const TILE = 1024
const KEPT_TILES = 40
const images = new Map() // url -> {promise, levels, width, height, used, problem}
let used = 0

/** The image of a URL, decoded; loading begins at the first call. */
function loaded(url) {
  let found = images.get(url)
  if (!found) {
    found = { levels: null, problem: '', used: 0 }
    found.promise = decodeImage(url, found)
    images.set(url, found)
    for (const [key, old] of [...images].sort((a, b) => a[1].used - b[1].used)) {
      if (images.size <= KEPT_IMAGES) break
      if (old === found || old.shown) continue
      images.delete(key)
      old.promise.then(() => old.levels?.forEach((level) => level.close()))
    }
  }
  found.used = ++used
  return found
}

async function decodeImage(url, into) {
  try {
    const element = new Image()
    element.src = url
    await element.decode()
    const bitmap = await createImageBitmap(element) // turned by its EXIF, as the lab's frame is
    Object.assign(into, { width: bitmap.width, height: bitmap.height })
    const levels = [bitmap]
    for (let k = 2; Math.max(bitmap.width, bitmap.height) / k > 700; k *= 2) {
      const wh = { resizeWidth: Math.ceil(bitmap.width / k), resizeHeight: Math.ceil(bitmap.height / k), resizeQuality: 'medium' }
      levels.push(await createImageBitmap(levels[levels.length - 1], wh))
    }
    into.levels = levels
  } catch {
    into.problem = await reasonOf(url)
    images.delete(url)
  }
  return into
}

async function reasonOf(url) {
  try {
    const answer = await fetch(url)
    return answer.ok ? 'the browser cannot decode it' : (await answer.text()).slice(0, 300) || `answer ${answer.status}`
  } catch {
    return 'the lab does not answer'
  }
}

/** What shows one sample's image: the whole, or above 40 MP a smaller whole with native crops over it. */
function newPicture(image, changed) {
  const base = loaded(image.half_url || image.url)
  base.shown = true
  const picture = { ...image, base, tiles: new Map(), changed, closed: false }
  base.promise.then(() => { if (!picture.closed) changed() })
  return picture
}

function closePicture(picture) {
  picture.closed = true
  picture.base.shown = false
  for (const tile of picture.tiles.values()) tile.bitmap?.close()
}

function ready(picture) {
  return picture.base.levels !== null
}

/** Draw the part of the image that a view shows into a canvas of `cw` x `ch` device pixels. */
function drawPicture(g, picture, view, ratio, cw, ch) {
  g.setTransform(1, 0, 0, 1, 0, 0)
  g.clearRect(0, 0, cw, ch)
  if (!ready(picture)) return
  const scale = view.scale * ratio, tx = view.tx * ratio, ty = view.ty * ratio
  g.imageSmoothingEnabled = scale < 1
  g.imageSmoothingQuality = 'low' // the levels are never more than twice too large
  // What is seen, in image pixels counted from the image's corner.
  const seen = [-tx / scale, -ty / scale, (cw - tx) / scale, (ch - ty) / scale]
  const { levels } = picture.base
  let level = 0
  while (level + 1 < levels.length && (levels[level + 1].width / picture.width) * 1.001 >= scale) level++
  drawPart(g, levels[level], picture.width, picture.height, 0, 0, seen, scale, tx, ty)
  const native = levels[0].width / picture.width
  if (picture.tile_url && scale > native * 1.05) drawTiles(g, picture, seen, scale, tx, ty)
}

/** The visible part of a bitmap that stands for (x, y, w, h) of the image; whole source pixels, so nothing is blurred. */
function drawPart(g, bitmap, w, h, x, y, [sx0, sy0, sx1, sy1], scale, tx, ty) {
  const kx = bitmap.width / w, ky = bitmap.height / h
  const x0 = Math.max(0, Math.floor((sx0 - x) * kx) - 1), x1 = Math.min(bitmap.width, Math.ceil((sx1 - x) * kx) + 1)
  const y0 = Math.max(0, Math.floor((sy0 - y) * ky) - 1), y1 = Math.min(bitmap.height, Math.ceil((sy1 - y) * ky) + 1)
  if (x1 <= x0 || y1 <= y0) return
  g.drawImage(bitmap, x0, y0, x1 - x0, y1 - y0,
    (x + x0 / kx) * scale + tx, (y + y0 / ky) * scale + ty, ((x1 - x0) / kx) * scale, ((y1 - y0) / ky) * scale)
}

function drawTiles(g, picture, seen, scale, tx, ty) {
  const [c0, r0] = [seen[0], seen[1]].map((v) => Math.max(0, Math.floor(v / TILE)))
  const c1 = Math.min(Math.ceil(picture.width / TILE) - 1, Math.floor(seen[2] / TILE))
  const r1 = Math.min(Math.ceil(picture.height / TILE) - 1, Math.floor(seen[3] / TILE))
  for (let r = r0; r <= r1; r++) {
    for (let c = c0; c <= c1; c++) {
      const tile = tileAt(picture, c, r)
      if (tile.bitmap) drawPart(g, tile.bitmap, tile.w, tile.h, tile.x, tile.y, seen, scale, tx, ty)
    }
  }
}

function tileAt(picture, c, r) {
  const key = `${c},${r}`
  let tile = picture.tiles.get(key)
  if (tile) {
    picture.tiles.delete(key) // the newest stand last
    picture.tiles.set(key, tile)
    return tile
  }
  const x = c * TILE, y = r * TILE
  tile = { x, y, w: Math.min(TILE, picture.width - x), h: Math.min(TILE, picture.height - y), bitmap: null }
  picture.tiles.set(key, tile)
  fetchCrop(picture, tile)
    .then((bitmap) => {
      if (picture.closed || !picture.tiles.has(key)) return bitmap.close()
      tile.bitmap = bitmap
      picture.changed()
    })
    .catch(() => setTimeout(() => picture.tiles.delete(key), 2000)) // asked again when it is next seen
  for (const [old, gone] of picture.tiles) {
    if (picture.tiles.size <= KEPT_TILES) break
    gone.bitmap?.close()
    picture.tiles.delete(old)
  }
  return tile
}

function fetchCrop(picture, { x, y, w, h }) {
  return fetch(`${picture.tile_url}?x=${x}&y=${y}&w=${w}&h=${h}`)
    .then((answer) => (answer.ok ? answer.blob() : Promise.reject(new Error(`answer ${answer.status}`))))
    .then(createImageBitmap)
}

/** Of a picture shown smaller than it is: its native pixels along some lines, [{x, y, w, h, bitmap}], for `readStrip`. */
async function patchesAlong(picture, lines, pad) {
  if (!picture.tile_url) return []
  const wanted = lines.flatMap(([p, q]) => {
    const count = Math.min(8, Math.max(1, Math.ceil(Math.hypot(q[0] - p[0], q[1] - p[1]) / 500)))
    const at = (i) => [p[0] + (i / count) * (q[0] - p[0]), p[1] + (i / count) * (q[1] - p[1])]
    return Array.from({ length: count }, (_, i) => {
      const [x0, y0, x1, y1] = boxOfPoints([at(i), at(i + 1)])
      const x = Math.max(0, Math.floor(x0) - pad), y = Math.max(0, Math.floor(y0) - pad)
      return { x, y, w: Math.min(picture.width, Math.ceil(x1) + pad) - x, h: Math.min(picture.height, Math.ceil(y1) + pad) - y }
    })
  })
  const found = wanted.map((part) => fetchCrop(picture, part).then((bitmap) => ({ ...part, bitmap }), () => null))
  return (await Promise.all(found)).filter(Boolean)
}

const strips = typeof OffscreenCanvas === 'undefined' ? null : new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true })

/** The picture straightened along a line, as snap.js wants it: one image pixel a step, `m` rows, the line in the middle. */
function readStrip(picture, patches, from, to, m) {
  const length = Math.hypot(to[0] - from[0], to[1] - from[1]), n = Math.max(1, Math.round(length))
  strips.canvas.width = n
  strips.canvas.height = m
  const cos = (to[0] - from[0]) / length, sin = (to[1] - from[1]) / length
  // The image's point p goes to R(p - from), `from` to the middle of the first column's and the middle row's pixel.
  const fx = from[0] + 0.5, fy = from[1] + 0.5
  strips.setTransform(cos, -sin, sin, cos, 0.5 - fx * cos - fy * sin, m / 2 + fx * sin - fy * cos)
  strips.imageSmoothingEnabled = true
  const box = boxOfPoints([from, to]), pad = m + 2
  const seen = [box[0] - pad, box[1] - pad, box[2] + pad, box[3] + pad]
  drawPart(strips, picture.base.levels[0], picture.width, picture.height, 0, 0, seen, 1, 0, 0)
  for (const { x, y, w, h, bitmap } of patches) drawPart(strips, bitmap, w, h, x, y, seen, 1, 0, 0)
  const { data } = strips.getImageData(0, 0, n, m)
  const luma = new Float32Array(n * m)
  for (let i = 0; i < luma.length; i++) luma[i] = 0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2]
  return { luma, n, m }
}
