// Four corners to the real edges: each side moves to the straight line of strongest contrast near it. Pure.
// A strip is the picture straightened along a side: {luma (rows of n), n, m}, one pixel a step, the side along row (m - 1) / 2.

const SNAP_REACH = 5 // no side moves farther than this, in pixels
const SNAP_HAND = 3.5 // how far off a hand is
const SNAP_MARGIN = 3
const SNAP_ENDS = 0.08 // corners may be rounded: so much of each end is left out
const SNAP_LEAST = 5 // grey levels of contrast over two pixels
const SNAP_ROWS = 2 * (SNAP_REACH + SNAP_MARGIN) + 1

/** {offset, slope, contrast} of the edge in a strip: it lies `offset + slope * s` below the middle row, s from -1 to 1. */
function edgeIn(strip) {
  const { n, m } = strip, middle = (m - 1) / 2
  const gradient = gradientAcross(strip)
  const rough = roughEdge(gradient, n, middle)
  if (!rough || Math.abs(rough.mean) < SNAP_LEAST) return null
  const fine = refinedEdge(gradient, n, m, middle, rough)
  return fine && Math.abs(fine.offset) + Math.abs(fine.slope) <= SNAP_REACH + 0.5 ? { ...fine, contrast: Math.abs(rough.mean) } : null
}

/** Difference over two rows, averaged over five columns against grain. */
function gradientAcross({ luma, n, m }) {
  const found = new Float32Array(n * m)
  for (let v = 1; v < m - 1; v++) {
    for (let u = 0; u < n; u++) {
      let sum = 0, count = 0
      for (let k = Math.max(0, u - 2); k <= Math.min(n - 1, u + 2); k++, count++) sum += luma[(v + 1) * n + k] - luma[(v - 1) * n + k]
      found[v * n + u] = sum / count
    }
  }
  return found
}

/** Every line in reach is tried at half-pixel steps; the one along which the contrast has one sign and is strongest wins. */
function roughEdge(gradient, n, middle) {
  const step = Math.max(1, Math.floor(n / 160))
  let best = null
  for (let a = -SNAP_REACH; a <= SNAP_REACH; a += 0.5) {
    for (let b = -(SNAP_REACH - Math.abs(a)); b <= SNAP_REACH - Math.abs(a); b += 0.5) {
      let sum = 0, count = 0
      for (let u = 0; u < n; u += step, count++) sum += gradient[Math.round(middle + a + b * along(u, n)) * n + u]
      const mean = sum / count
      // A frame line has an edge on either side: the nearer is what was meant, unless the other is far stronger.
      const score = Math.abs(mean) * Math.exp(-0.5 * (a / SNAP_HAND) ** 2)
      if (!best || score > best.score) best = { a, b, mean, score }
    }
  }
  return best
}

function along(u, n) {
  return n > 1 ? (2 * u) / (n - 1) - 1 : 0
}

/** The peak of each column to a fraction of a pixel, and a line through them that outliers do not turn. */
function refinedEdge(gradient, n, m, middle, { a, b, mean }) {
  const points = []
  const sign = Math.sign(mean)
  for (let u = 0; u < n; u++) {
    const at = Math.round(middle + a + b * along(u, n))
    let peak = at
    for (let v = Math.max(2, at - 2); v <= Math.min(m - 3, at + 2); v++) {
      if (sign * gradient[v * n + u] > sign * gradient[peak * n + u]) peak = v
    }
    const g = [-1, 0, 1].map((k) => sign * gradient[(peak + k) * n + u])
    if (g[1] < SNAP_LEAST / 2) continue
    const bend = g[0] - 2 * g[1] + g[2]
    points.push([along(u, n), peak + (bend < 0 ? Math.max(-1, Math.min(1, (0.5 * (g[0] - g[2])) / bend)) : 0) - middle])
  }
  if (points.length < Math.max(8, n / 3)) return null
  let [offset, slope, share] = [a, b, 0]
  for (let round = 0; round < 6; round++) {
    const reach = round < 2 ? 2 : 1
    let [w, ws, wss, wy, wsy] = [0, 0, 0, 0, 0]
    share = 0
    for (const [s, y] of points) {
      const miss = (y - offset - slope * s) / reach
      if (Math.abs(miss) >= 1) continue
      const weight = (1 - miss * miss) ** 2
      share += 1 / n
      w += weight
      ws += weight * s
      wss += weight * s * s
      wy += weight * y
      wsy += weight * s * y
    }
    const det = w * wss - ws * ws
    if (share < 0.3 || det <= 0) return null
    offset = (wss * wy - ws * wsy) / det
    slope = (w * wsy - ws * wy) / det
  }
  return { offset, slope }
}

/** Where the strip of a side begins and ends (corners left out). */
function stripOf(p, q) {
  const at = (t) => [p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])]
  return { from: at(SNAP_ENDS), to: at(1 - SNAP_ENDS) }
}

/**
 * A quad's corners on the edges found. `read(from, to)` gives the strip between two points; "below" in it is to the right of
 * the way from p to q (y down). A side without a clear edge stays. {points, moved: [px or null by side]}
 */
function snappedQuad(points, read) {
  const moved = [], lines = []
  for (let i = 0; i < 4; i++) {
    const p = points[i], q = points[(i + 1) % 4]
    const { from, to } = stripOf(p, q)
    const length = Math.hypot(to[0] - from[0], to[1] - from[1])
    const found = length >= 12 ? edgeIn(read(from, to)) : null
    if (!found) {
      lines.push([p, q])
      moved.push(null)
      continue
    }
    const nx = -(to[1] - from[1]) / length, ny = (to[0] - from[0]) / length
    const off = (end, d) => [end[0] + nx * d, end[1] + ny * d]
    lines.push([off(from, found.offset - found.slope), off(to, found.offset + found.slope)])
    moved.push(Math.abs(found.offset))
  }
  const corners = points.map((corner, i) => {
    if (moved[(i + 3) % 4] === null && moved[i] === null) return corner
    const met = crossing(lines[(i + 3) % 4], lines[i])
    const far = met ? Math.hypot(met[0] - corner[0], met[1] - corner[1]) : Infinity
    return far <= 2 * SNAP_REACH ? met.map(rounded) : corner
  })
  return { points: corners, moved }
}
