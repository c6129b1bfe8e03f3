// A picture with its outlines: wheel or +/- zooms, dragging or arrows move, 0 fits, 1 shows original pixels, o hides outlines.
// Everything is in the picture's own pixels (centres at integers); the SVG's viewBox is the window onto it.
const SVG = 'http://www.w3.org/2000/svg'
const kept = new WeakMap()
const NICE = [1, 2, 5]

export default function ({ parentElement: root, data }) {
  const stage = root.querySelector('.stage'), svg = root.querySelector('svg')
  const bar = root.querySelector('.bar'), where = root.querySelector('.where')
  const state = kept.get(root) ?? { outlines: true }
  kept.set(root, state)

  const node = (name, attributes, inner) => {
    const made = document.createElementNS(SVG, name)
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
    if (inner) made.textContent = inner
    return made
  }
  const fit = () => {
    const { clientWidth: w, clientHeight: h } = stage
    const scale = Math.min(w / data.width, h / data.height) || 1
    state.view = { scale, x: (data.width - w / scale) / 2 - 0.5, y: (data.height - h / scale) / 2 - 0.5 }
    show()
  }
  const zoom = (factor, px, py) => {
    const { scale, x, y } = state.view
    const next = Math.min(Math.max(scale * factor, 0.02), 40)
    state.view = { scale: next, x: x + px / scale - px / next, y: y + py / scale - py / next }
    show()
  }
  const middle = () => [stage.clientWidth / 2, stage.clientHeight / 2]
  const show = () => {
    const { scale, x, y } = state.view
    svg.setAttribute('viewBox', `${x} ${y} ${stage.clientWidth / scale} ${stage.clientHeight / scale}`)
    svg.querySelector('image').style.imageRendering = scale > 2 ? 'pixelated' : 'auto'
    svg.querySelector('g').style.display = state.outlines ? '' : 'none'
    for (const text of svg.querySelectorAll('text')) text.setAttribute('font-size', 12 / scale)
    root.querySelector('.outlines').setAttribute('aria-pressed', state.outlines)
    root.querySelector('.scale').textContent = `${Math.round(scale * 100)} %`
    const unit = data.mm_per_px ?? 1, wanted = 120 / scale * unit
    const power = 10 ** Math.floor(Math.log10(wanted))
    const length = NICE.map((n) => n * power).filter((n) => n <= wanted).pop() ?? power
    bar.style.width = `${length / unit * scale}px`
    bar.textContent = `${Number(length.toPrecision(2))} ${data.mm_per_px ? 'mm' : 'px'}`
  }

  if (state.key !== JSON.stringify(data)) {
    state.key = JSON.stringify(data)
    const image = node('image', { href: data.src, x: -0.5, y: -0.5, width: data.width, height: data.height, preserveAspectRatio: 'none' })
    image.append(node('title', {}, data.alt))
    const shapes = node('g', {})
    for (const [n, shape] of data.shapes.entries()) {
      const points = shape.points.map((p) => p.join(',')).join(' ')
      // Every other label stands at the bottom: the two borders of a card lie close to each other.
      const sign = n % 2 ? -1 : 1
      const at = shape.points.reduce((a, b) => (sign * b[1] < sign * a[1] || (b[1] === a[1] && b[0] < a[0]) ? b : a))
      shapes.append(node('polygon', { points, class: 'halo' }))
      shapes.append(node('polygon', { points, class: 'line', stroke: shape.color, 'stroke-dasharray': shape.dash ? '6 4' : 'none' }))
      if (shape.label) shapes.append(node('text', { x: at[0], y: at[1], dx: '0.4em', dy: sign > 0 ? '1.3em' : '-0.6em', fill: shape.color }, shape.label))
    }
    svg.replaceChildren(image, shapes)
    root.querySelector('.original').href = data.original
    stage.style.height = `${Math.max(data.view_height, window.innerHeight - 270)}px`
    fit()
  }

  stage.onwheel = (e) => { e.preventDefault(); const r = stage.getBoundingClientRect(); zoom(Math.exp(-e.deltaY / 400), e.clientX - r.left, e.clientY - r.top) }
  stage.onpointerdown = (e) => { stage.setPointerCapture(e.pointerId); state.drag = [e.clientX, e.clientY] }
  stage.onpointerup = () => { state.drag = null }
  stage.onpointermove = (e) => {
    const r = stage.getBoundingClientRect(), v = state.view
    if (state.drag) {
      v.x -= (e.clientX - state.drag[0]) / v.scale
      v.y -= (e.clientY - state.drag[1]) / v.scale
      state.drag = [e.clientX, e.clientY]
      show()
    }
    const x = v.x + (e.clientX - r.left) / v.scale, y = v.y + (e.clientY - r.top) / v.scale, k = data.mm_per_px
    where.textContent = `${x.toFixed(1)}, ${y.toFixed(1)} px` + (k ? ` · ${((x + 0.5) * k).toFixed(2)}, ${((y + 0.5) * k).toFixed(2)} mm` : '')
  }
  const move = (dx, dy) => { state.view.x += dx * 60 / state.view.scale; state.view.y += dy * 60 / state.view.scale; show() }
  const keys = {
    '+': () => zoom(1.25, ...middle()), '=': () => zoom(1.25, ...middle()), '-': () => zoom(0.8, ...middle()),
    0: fit, 1: () => zoom(1 / state.view.scale, ...middle()), o: () => { state.outlines = !state.outlines; show() },
    ArrowLeft: () => move(-1, 0), ArrowRight: () => move(1, 0), ArrowUp: () => move(0, -1), ArrowDown: () => move(0, 1),
  }
  stage.onkeydown = (e) => { if (keys[e.key] && !e.ctrlKey && !e.metaKey) { e.preventDefault(); e.stopPropagation(); keys[e.key]() } }
  for (const button of root.querySelectorAll('button')) button.onclick = () => keys[button.dataset.key]()
  const watch = new ResizeObserver(() => { if (stage.clientWidth !== state.width) { state.width = stage.clientWidth; fit() } })
  watch.observe(stage)
  return () => watch.disconnect()
}
