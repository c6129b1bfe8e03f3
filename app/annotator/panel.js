// The tool strip, the side panel, the footer and the cheat sheet. Built once for a sample's kind, then only filled.

const ICONS = {
  select: 'arrow_selector_tool', box: 'crop_square', polygon: 'polyline', quad: 'select_all', brush: 'brush', eraser: 'ink_eraser', segment: 'wand_stars',
  undo: 'undo', redo: 'redo', fit: 'fit_screen', native: '1:1', help: 'keyboard', previous: 'chevron_left', next: 'chevron_right',
}

function el(name, attributes = {}, ...inner) {
  const made = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) made[key] = value
    else if (value !== undefined && value !== false) made.setAttribute(key, value === true ? '' : value)
  }
  made.append(...inner.filter((part) => part !== null && part !== undefined))
  return made
}

function iconButton(name, title, onclick, more = {}) {
  const icon = ICONS[name]
  const sign = icon === '1:1' ? el('span', { class: 'word' }, icon) : el('span', { class: 'icon', 'aria-hidden': 'true' }, icon)
  return el('button', { type: 'button', title, 'aria-label': title, onclick, ...more }, sign)
}

function buildStrip(app) {
  const tools = toolsOf(app.data).map(([key, tool, word, what]) => iconButton(tool, `${word} (${key}): ${what}`, () => chooseTool(app, tool), { 'data-tool': tool }))
  const gap = () => el('span', { class: 'gap' })
  app.strip.replaceChildren(
    ...tools, ...(tools.length > 1 ? [gap()] : []),
    iconButton('undo', 'Take back (Ctrl+Z)', () => undo(app, false), { 'data-do': 'undo' }),
    iconButton('redo', 'Do again (Ctrl+Shift+Z)', () => undo(app, true), { 'data-do': 'redo' }), gap(),
    iconButton('fit', 'Fit (f)', () => fit(app)), iconButton('native', 'One to one (z)', () => zoomMiddle(app, 1 / app.view.scale)), gap(),
    iconButton('previous', 'Previous sample (p)', () => navigate(app, 'previous')), iconButton('next', 'Next sample (n)', () => navigate(app, 'next')), gap(),
    iconButton('help', 'Keys (?)', () => toggleSheet(app)),
  )
}

function buildSide(app) {
  const side = (app.side = { box: app.root.querySelector('.side') })
  side.saved = el('div', { class: 'saved', role: 'status', 'aria-live': 'polite' })
  side.labels = el('div', { class: 'labels', role: 'group', 'aria-label': app.data.mode === 'score' ? 'Score' : app.data.mode === 'tags' ? 'Tags' : 'Classes' }, ...labelButtons(app))
  side.rubric = app.data.rubric ? el('details', { class: 'rubric', open: app.data.mode === 'score' || app.data.mode === 'tags' }, el('summary', {}, 'What to look for'), el('p', {}, app.data.rubric)) : null
  side.picked = el('div', { class: 'picked' })
  side.offers = el('div', { class: 'offers' })
  side.status = el('div', { class: 'states', role: 'group', 'aria-label': 'This sample' }, ...statusButtons(app))
  side.comment = el('input', { type: 'text', placeholder: 'Comment on this sample (/)', 'aria-label': 'Comment on this sample', maxlength: '2000', onkeydown: (e) => commentKey(app, e) })
  side.comment.onchange = () => writable(app) && setStatus(app, app.doc.status.status, side.comment.value.trim())
  side.look = lookControls(app)
  side.box.replaceChildren(...[side.saved, side.labels, side.rubric, side.picked, side.offers, el('div', { class: 'whole' }, side.status, side.comment), side.look].filter(Boolean))
}

function labelButtons(app) {
  const { mode } = app.data
  const button = (key, words, color, onclick, name) => el('button', { type: 'button', onclick, 'data-label': name, title: key ? `${words} (${key})` : words },
    color && el('span', { class: 'dot', style: `background:${color}` }), el('span', { class: 'name' }, words), el('span', { class: 'count' }), key ? el('kbd', {}, key) : null)
  if (mode === 'score') return app.data.scores.map((score) => button(Number.isInteger(score) ? `${score % 10}` : '', `${score}`, '', () => setScore(app, score), `${score}`))
  if (mode === 'tags') return app.data.tags.map((tag, i) => button(i < 20 ? `${i > 9 ? 'Shift+' : ''}${(i + 1) % 10}` : '', tag, '', () => toggleTag(app, tag), tag))
  return app.data.classes.map((c) => button(c.key, c.name, c.color, () => chooseClass(app, c.name), c.name))
}

function statusButtons(app) {
  const drawing = app.data.mode === 'shapes' || app.data.mode === 'mask'
  return STATUS.filter(([key]) => drawing || key !== '0').map(([key, status, word, what]) => el('button', {
    type: 'button', title: `${word}: ${what} (${key})`, 'data-status': key, onclick: () => sayStatus(app, key, status),
  }, el('span', { class: 'name' }, word), el('kbd', {}, key)))
}

function commentKey(app, e) {
  if (e.key === 'Enter' || e.key === 'Escape') {
    if (e.key === 'Escape') app.side.comment.value = app.doc.status.comment
    app.stage.focus({ preventScroll: true }) // leaving the field saves it
  }
  e.stopPropagation()
}

function lookControls(app) {
  const slider = (name, least, most) => el('label', {}, el('span', {}, name[0].toUpperCase() + name.slice(1)), el('input', {
    type: 'range', min: least, max: most, step: 0.05, value: app.look[name], 'data-look': name, oninput: (e) => setLook(app, { [name]: Number(e.target.value) }),
  }))
  const tick = (name, words) => el('label', { class: 'tick' }, el('input', { type: 'checkbox', 'data-look': name, onchange: (e) => setLook(app, { [name]: e.target.checked }) }), words)
  const channel = el('select', { 'data-look': 'channel', 'aria-label': 'Channel', onchange: (e) => setLook(app, { channel: e.target.value }) }, ...CHANNELS.map((name) => el('option', { value: name }, name)))
  return el('details', { class: 'look' }, el('summary', {}, 'View'), slider('brightness', 0.2, 4), slider('contrast', 0.2, 5), slider('opacity', 0, 1),
    el('label', {}, el('span', {}, 'Channel'), channel), tick('shapes', 'Shapes (h)'), tick('labels', 'Names (l)'), tick('crosshair', 'Crosshair (c)'), tick('loupe', 'Magnifier (i)'))
}

// --- filling it ---------------------------------------------------------------------------------------------------------

function fillPanel(app) {
  const { doc, side } = app
  for (const button of app.strip.querySelectorAll('[data-tool]')) button.setAttribute('aria-pressed', button.dataset.tool === app.tool)
  app.strip.querySelector('[data-do=undo]').disabled = !doc.undo.length
  app.strip.querySelector('[data-do=redo]').disabled = !doc.redo.length
  fillSaved(app)
  fillLabels(app)
  fillPicked(app)
  fillOffers(app)
  const drawn = doc.shapes.size
  for (const button of side.status.children) {
    const [, status] = STATUS.find(([key]) => key === button.dataset.status)
    const nothing = button.dataset.status === '0'
    const on = doc.status.status === status && (status !== 'done' || side.status.children.length < 5 || nothing === !drawn)
    button.setAttribute('aria-pressed', on)
    button.disabled = Boolean(app.data.readonly)
  }
  side.comment.disabled = Boolean(app.data.readonly)
  // Who writes a comment does not see what others say meanwhile.
  if (app.root.activeElement !== side.comment) {
    side.comment.value = doc.status.comment
    side.saw = doc.said
  }
  for (const input of side.look.querySelectorAll('[data-look]')) {
    const value = app.look[input.dataset.look]
    if (input.type === 'checkbox') input.checked = value
    else input.value = value
  }
}

/** Always said, in a word, an icon and a colour: saved, saving, not saved and why. */
function fillSaved(app) {
  const { queue, side, data } = app, waiting = queue.list.length
  const late = queue.sent?.tries > 1
  const [state, icon, words] = data.readonly ? ['readonly', 'lock', `Read only: ${data.readonly}`]
    : queue.problem ? ['bad', 'error', `Not saved: ${queue.problem}`]
      : late ? ['bad', 'sync_problem', `Not saved yet: the lab does not answer (${waiting} waiting, trying again)`]
        : waiting ? ['saving', 'sync', waiting > 1 ? `Saving (${waiting})` : 'Saving']
          : data.saved?.at ? ['good', 'check_circle', `Saved ${data.saved.at}${data.saved.by && data.saved.by !== data.who ? ` by ${data.saved.by}` : ''}`]
            : ['none', 'check_circle', 'Nothing to save']
  side.saved.dataset.state = state
  const buttons = queue.problem ? el('span', { class: 'row' },
    el('button', { type: 'button', onclick: () => { tryAgain(queue); refresh(app) } }, 'Try again'),
    el('button', { type: 'button', onclick: () => giveUp(app) }, `Throw away ${waiting > 1 ? `${waiting} changes` : 'this change'}`)) : null
  const unkept = queue.unkept && waiting ? el('span', { class: 'soft' }, 'This browser keeps no copy: leave the page only when it is saved.') : null
  side.saved.replaceChildren(...[el('span', { class: 'icon', 'aria-hidden': 'true' }, icon), el('span', {}, words), buttons, unkept].filter(Boolean))
}

function fillLabels(app) {
  const { mode } = app.data, counts = new Map()
  for (const s of app.doc.shapes.values()) counts.set(s.label, (counts.get(s.label) ?? 0) + 1)
  const score = onlyOf(app.doc, 'score')?.value.score, tags = onlyOf(app.doc, 'tags')?.value.tags ?? []
  for (const button of app.side.labels.children) {
    const name = button.dataset.label
    const on = mode === 'score' ? Number(name) === score : mode === 'tags' ? tags.includes(name) : name === app.label
    button.setAttribute('aria-pressed', on)
    button.disabled = Boolean(app.data.readonly) && mode !== 'shapes' && mode !== 'mask'
    button.querySelector('.count').textContent = mode === 'shapes' || mode === 'mask' ? counts.get(name) ?? '' : ''
  }
}

/** What is selected: its size, who drew it and when, severity and comment, and who says otherwise. */
function fillPicked(app) {
  const box = app.side.picked, shapes = selectedShapes(app)
  if (box.contains(app.root.activeElement) && app.root.activeElement.matches('input') && box.dataset.id === [...app.selected].join()) return
  box.dataset.id = [...app.selected].join()
  box.hidden = !shapes.length
  if (!shapes.length) return box.replaceChildren()
  if (shapes.length > 1) return box.replaceChildren(el('b', {}, `${shapes.length} selected`))
  const [s] = shapes, words = app.data.severities ?? [], off = Boolean(app.data.readonly)
  const by = s.suggested ? `suggested by ${s.suggested_by ?? 'unknown'}` : [s.who, s.when && `${s.when}`.slice(0, 16).replace('T', ' '), s.suggested_by && `from ${s.suggested_by}`].filter(Boolean).join(' · ')
  const severity = words.length ? el('label', {}, el('span', {}, 'Severity'), el('select', { disabled: off, onchange: (e) => setSeverity(app, e.target.value || null) },
    ...['', ...words].map((word) => el('option', { value: word, selected: word === (s.attributes?.severity ?? '') }, word || 'not said')))) : null
  const comment = el('input', { type: 'text', disabled: off, placeholder: 'Comment on this shape', 'aria-label': 'Comment on this shape', value: s.attributes?.comment ?? '', onkeydown: (e) => {
    if (e.key === 'Enter' || e.key === 'Escape') app.stage.focus({ preventScroll: true })
    e.stopPropagation()
  } })
  comment.onchange = () => writable(app) && setAttribute(app, 'comment', comment.value.trim())
  box.replaceChildren(...[el('b', {}, `${s.label ?? ''} ${s.value.type}`), el('span', { class: 'soft num' }, measured(app.lifted.get(s.id) ?? s.value, app.picture.mm_per_px)),
    by ? el('span', { class: 'soft' }, by) : null, conflictBox(app, s), severity, comment].filter(Boolean))
}

function conflictBox(app, s) {
  const others = (s.conflict ?? []).filter((head) => !head.same)
  if (!others.length) return null
  const said = others.map((head) => el('li', {}, `${head.who} ${head.op === 'delete' ? 'deleted it' : `says ${head.label ?? ''} ${head.value ? measured(head.value, app.picture.mm_per_px) : ''}`} (${`${head.when}`.slice(0, 16).replace('T', ' ')})`,
    head.value && head.op === 'put' ? el('button', { type: 'button', onclick: () => changeShapes(app, [s], () => ({ value: head.value, label: head.label }), `${head.who}'s version taken`) }, 'Take this') : null))
  return el('div', { class: 'conflict', role: 'alert' }, el('b', {}, `Conflict: ${s.who ?? 'this'} and ${others.map((head) => head.who).join(', ')} changed it at the same time`),
    el('ul', {}, ...said), el('button', { type: 'button', onclick: () => settle(app), title: 'Keep what is shown (Shift+X)' }, 'Keep what is shown'))
}

function fillOffers(app) {
  const count = app.doc.suggestions.size, box = app.side.offers
  box.hidden = !count
  box.replaceChildren(el('b', {}, `${count} ${count > 1 ? 'suggestions' : 'suggestion'}`), el('span', { class: 'row' },
    el('button', { type: 'button', onclick: () => acceptOne(app), title: 'Accept the selected or next one (a)' }, 'Accept'),
    el('button', { type: 'button', onclick: () => rejectOne(app), title: 'Reject the selected or next one (r)' }, 'Reject'),
    el('button', { type: 'button', onclick: () => acceptAll(app), title: 'Accept all (Shift+A)' }, 'Accept all')))
}

function showPlace(app) {
  const { foot, at } = app, k = app.picture.mm_per_px
  foot.scale.textContent = `${app.view.scale >= 0.1 ? Math.round(app.view.scale * 100) : (app.view.scale * 100).toFixed(1)} %`
  foot.place.textContent = at ? `${at[0].toFixed(1)}, ${at[1].toFixed(1)} px${k ? ` · ${((at[0] + 0.5) * k).toFixed(2)}, ${((at[1] + 0.5) * k).toFixed(2)} mm` : ' · no dpi'}` : ''
  const shapes = selectedShapes(app)
  const brush = app.tool === 'brush' || app.tool === 'eraser' ? `Brush ${app.brush} px${k ? ` · ${(app.brush * k).toFixed(2)} mm` : ''}` : ''
  foot.size.textContent = draftSize(app) || (shapes.length === 1 ? measured(app.lifted.get(shapes[0].id)?.type === 'none' ? shapes[0].value : app.lifted.get(shapes[0].id) ?? shapes[0].value, k) : brush)
  const wanted = (110 / app.view.scale) * (k ?? 1), power = 10 ** Math.floor(Math.log10(wanted))
  const length = [1, 2, 5].map((n) => n * power).filter((n) => n <= wanted).pop() ?? power
  app.bar.style.width = `${(length / (k ?? 1)) * app.view.scale}px`
  app.bar.textContent = `${Number(length.toPrecision(2))} ${k ? 'mm' : 'px'}`
}

/** The size of what is being drawn, in words. */
function draftSize(app) {
  const { draft, at } = app
  if (!draft || !at) return ''
  const k = app.picture.mm_per_px
  if (draft.kind === 'box') {
    const xyxy = sortedBox(draft.from, draft.to)
    return xyxy[2] > xyxy[0] && xyxy[3] > xyxy[1] ? measured({ type: 'box', xyxy }, k).split(' · ')[0] : ''
  }
  if (!draft.points?.length || draft.kind === 'stroke') return ''
  const last = draft.points[draft.points.length - 1], length = Math.hypot(at[0] - last[0], at[1] - last[1])
  return k ? `${(length * k).toFixed(2)} mm` : `${length.toFixed(1)} px`
}

function showSheet(app) {
  const groups = new Map()
  for (const [keys, group, words] of keyTable(app)) groups.set(group, [...(groups.get(group) ?? []), [keys, words]])
  const blocks = [...groups].map(([group, rows]) => el('section', {}, el('h4', {}, group), el('dl', {}, ...rows.flatMap(([keys, words]) => [
    el('dt', {}, ...keys.split(' ').map((key) => el('kbd', {}, key))), el('dd', {}, words)]))))
  app.sheet.replaceChildren(el('div', { class: 'sheet-head' }, el('b', {}, 'Keys'), el('button', { type: 'button', onclick: () => toggleSheet(app) }, 'Close (Esc)')), el('div', { class: 'columns' }, ...blocks))
  app.sheet.querySelector('button').focus()
}
