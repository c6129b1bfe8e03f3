// HTML made by Python whose links open pages of the app without reloading it. A click with a modifier key, or the
// middle button, is left to the browser, so that links can be opened in a new tab and copied.
export default function ({ parentElement: root, data, setTriggerValue }) {
  const place = root.querySelector('.tg-linked')
  if (place.dataset.html !== data.html) {
    place.dataset.html = data.html
    place.innerHTML = data.html
  }
  place.onclick = (e) => {
    const link = e.target.closest('a[data-page]')
    if (!link || e.ctrlKey || e.metaKey || e.shiftKey || e.altKey) return
    e.preventDefault()
    setTriggerValue('go', { page: link.dataset.page, params: JSON.parse(link.dataset.params) })
  }
}
