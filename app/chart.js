// A Plotly chart that is updated in place: new points neither redraw it from nothing nor undo a zoom.
let library
const plotly = (src) => (library ??= new Promise((done, failed) => {
  const script = document.createElement('script')
  script.src = src
  script.onload = () => done(window.Plotly)
  script.onerror = failed
  document.head.append(script)
}))
// What a bar or point opens, when it opens anything.
const opened = (event) => event.points.map((p) => p.customdata).find(Boolean)

export default function ({ parentElement: root, data, setTriggerValue }) {
  const place = root.querySelector('.tg-chart')
  const { data: traces, layout } = JSON.parse(data.spec)
  place.style.height = `${layout.height}px`
  place.setAttribute('aria-label', data.alt)
  plotly(data.library).then(async (Plotly) => {
    await Plotly.react(place, traces, { ...layout, autosize: true }, { ...data.config, responsive: false })
    for (const name of ['plotly_click', 'plotly_hover', 'plotly_unhover']) place.removeAllListeners(name)
    place.on('plotly_click', (e) => { if (opened(e)) setTriggerValue('point', opened(e)) })
    place.on('plotly_hover', (e) => place.classList.toggle('tg-opens', Boolean(opened(e))))
    place.on('plotly_unhover', () => place.classList.remove('tg-opens'))
  })
  const watch = new ResizeObserver(() => { if (place.data && place.clientWidth) window.Plotly.Plots.resize(place) })
  watch.observe(place)
  return () => watch.disconnect()
}
