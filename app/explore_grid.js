// The grid of the Explorer: tiles are links, a box on each selects it. What is selected lives here until Python says
// otherwise (`rev`), so that quick clicks are never lost; each change sends the page's whole selection.
const known = new WeakMap()

export default function ({ parentElement: root, data, setStateValue, setTriggerValue }) {
  const place = root.querySelector('.tg-linked')
  const mine = known.get(root) ?? { on: new Set(), last: null, rev: null }
  known.set(root, mine)
  if (place.dataset.html !== data.html || mine.rev !== data.rev) {
    if (place.dataset.html !== data.html) {
      place.dataset.html = data.html
      place.innerHTML = data.html
    }
    mine.rev = data.rev
    mine.on = new Set(data.selected)
    mine.last = null
  }
  const tiles = () => [...place.querySelectorAll('.tg-cellbox')]
  const paint = () => {
    for (const tile of tiles()) {
      const on = mine.on.has(tile.dataset.id)
      tile.classList.toggle('on', on)
      tile.querySelector('.tg-pick').setAttribute('aria-checked', on)
    }
    place.classList.toggle('picking', mine.on.size > 0)
  }
  const send = () => {
    paint()
    setStateValue('picked', { ids: tiles().map((t) => t.dataset.id), on: [...mine.on] })
  }
  const toggle = (tile, range) => {
    const all = tiles()
    const at = all.indexOf(tile)
    const on = !mine.on.has(tile.dataset.id)
    const [a, b] = range && mine.last !== null ? [Math.min(at, mine.last), Math.max(at, mine.last)] : [at, at]
    for (const t of all.slice(a, b + 1)) mine.on[on ? 'add' : 'delete'](t.dataset.id)
    mine.last = at
    send()
  }
  const open = (link) => setTriggerValue('go', { page: link.dataset.page, params: JSON.parse(link.dataset.params) })
  paint()

  place.onclick = (e) => {
    const box = e.target.closest('.tg-pick')
    const tile = e.target.closest('.tg-cellbox')
    if (box || (tile && e.shiftKey)) {
      e.preventDefault()
      toggle(tile, e.shiftKey)
      return
    }
    const link = e.target.closest('a[data-page]')
    if (!link || e.ctrlKey || e.metaKey || e.altKey) return
    e.preventDefault()
    open(link)
  }
  place.onkeydown = (e) => {
    const tile = e.target.closest('.tg-cellbox')
    if (!tile || e.ctrlKey || e.metaKey || e.altKey) return
    const all = tiles()
    const at = all.indexOf(tile)
    const across = all.filter((t) => t.offsetTop === all[0].offsetTop).length
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across }[e.key]
    if (step) all[at + step]?.querySelector('a').focus()
    else if (e.key === 'x' || e.key === ' ') toggle(tile, e.shiftKey)
    else if (e.key === 'a') { all.forEach((t) => mine.on.add(t.dataset.id)); send() }
    else if (e.key === 'Escape' && mine.on.size) { mine.on.clear(); send() }
    else if (e.key === 'n' || e.key === 'p') setTriggerValue('turn', e.key === 'n' ? 1 : -1)
    else return
    e.preventDefault()
  }
}
