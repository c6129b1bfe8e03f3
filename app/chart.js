// A Plotly chart that is updated in place: new points neither redraw it from nothing nor undo a zoom.
let library
const plotly = (src) => (library ??= new Promise((done, failed) => {
  const script = document.createElement('script')
  script.src = src
  script.onload = () => done(window.Plotly)
  script.onerror = failed
  document.head.append(script)
}))

export default function ({ parentElement: root, data }) {
  const place = root.querySelector('.tg-chart')
  const { data: traces, layout } = JSON.parse(data.spec)
  place.style.height = `${layout.height}px`
  place.setAttribute('aria-label', data.alt)
  plotly(data.library).then((Plotly) => Plotly.react(place, traces, { ...layout, autosize: true }, { ...data.config, responsive: false }))
  const watch = new ResizeObserver(() => { if (place.data && place.clientWidth) window.Plotly.Plots.resize(place) })
  watch.observe(place)
  return () => watch.disconnect()
}
