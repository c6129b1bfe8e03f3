// Every action with its key: what the keyboard does, what the cheat sheet shows, and what the buttons' tooltips name.

const STATUS = [
  // key, what the log says, the button's word, what it means
  ['d', 'done', 'Done', 'all that is there is drawn'],
  ['0', 'done', 'Nothing there', 'looked at, and there is nothing to draw'],
  ['y', 'unsure', 'Unsure', 'somebody else should look'],
  ['t', 'rescan', 'Rescan', 'the picture is not good enough'],
  ['j', 'skipped', 'Skip', 'left out for now'],
]
const TOOLS = [
  ['v', 'select', 'Select', 'select, move, change points'],
  ['b', 'box', 'Box', 'drag, or click two corners'],
  ['g', 'polygon', 'Polygon', 'click points; the first one, a double click or Enter closes'],
  ['q', 'quad', 'Four corners', 'click four corners; sides snap to the real edge'],
  ['m', 'brush', 'Brush', 'paint a mask'],
  ['e', 'eraser', 'Eraser', 'erase from a mask'],
  ['w', 'segment', 'Click to segment', 'click the part that is meant; Alt-click what is not'],
]
const CHANNELS = ['all', 'grey', 'red', 'green', 'blue']

function toolsOf(data) {
  const wanted = { shapes: ['select', 'box', 'polygon', 'quad', 'brush', 'eraser'], mask: ['select', 'brush', 'eraser', 'polygon'], score: ['select'], tags: ['select'] }[data.mode]
  const offered = TOOLS.filter(([, tool]) => wanted.includes(tool) || (tool === 'segment' && data.segment && wanted.length > 1))
  return offered.map(([key, tool, word, what]) => [key, tool, word, tool === 'segment' ? `${what} (${data.segment})` : what])
}

/** {key as pressed: [group, words, action]}; several keys for one action are joined by a space. */
function keyTable(app) {
  const drawing = app.data.mode === 'shapes' || app.data.mode === 'mask'
  return [
    ...toolsOf(app.data).map(([key, tool, word, what]) => [key, 'Tools', `${word}: ${what}`, () => chooseTool(app, tool)]),
    ...(drawing ? drawingKeys(app) : []),
    ...labelKeys(app),
    ...STATUS.filter(([key]) => drawing || key !== '0').map(([key, status, word, what]) => [key, 'This sample', `${word}: ${what}`, () => sayStatus(app, key, status)]),
    ['Shift+D', 'This sample', 'Done, and on to the next', () => sayStatus(app, 'd', 'done') && navigate(app, 'next')],
    ['/', 'This sample', 'Write a comment on the sample', () => app.side.comment.focus()],
    ['n', 'This sample', 'Next sample', () => navigate(app, 'next')],
    ['p', 'This sample', 'Previous sample', () => navigate(app, 'previous')],
    ['Ctrl+Z u', 'Changes', 'Take back', () => undo(app, false)],
    ['Ctrl+Shift+Z Ctrl+Y Shift+U', 'Changes', 'Do again', () => undo(app, true)],
    ['Escape', 'Changes', 'Drop the drawing, else select nothing', () => escape(app)],
    ...viewKeys(app),
    ['?', 'View', 'These keys', () => toggleSheet(app)],
  ]
}

function drawingKeys(app) {
  return [
    ['Enter', 'Drawing', 'Close the polygon; take the snapped corners', () => confirmDraft(app)],
    ['s', 'Drawing', 'Snap four corners to edges: on or off; in a proposal: keep as drawn', () => snapKey(app)],
    ['Shift+S', 'Drawing', 'Snap the selected four corners to the edges', () => snapSelected(app)],
    ['[', 'Drawing', 'Smaller brush', () => setBrush(app, app.brush > 10 ? app.brush - 5 : app.brush - 1)],
    [']', 'Drawing', 'Larger brush', () => setBrush(app, app.brush >= 10 ? app.brush + 5 : app.brush + 1)],
    ['Delete Backspace', 'Selection', 'Delete the shape or its marked point; while drawing: the last point', () => removeKey(app)],
    ['Insert Shift+I', 'Selection', 'Insert a point after the marked one (also double click, Alt-click on a side)', () => insertAfter(app)],
    [';', 'Selection', 'Mark the next point', () => stepVertex(app)],
    ['.', 'Selection', 'Select the next shape', () => stepShape(app, 1)],
    [',', 'Selection', 'Select the shape before', () => stepShape(app, -1)],
    ['Ctrl+A', 'Selection', 'Select all shapes', () => selectAll(app)],
    ['Ctrl+C', 'Selection', 'Copy', () => copyShapes(app)],
    ['Ctrl+X', 'Selection', 'Cut', () => copyShapes(app) && deleteShapes(app)],
    ['Ctrl+V', 'Selection', 'Paste, also into another sample', () => pasteShapes(app)],
    ['Shift+K', 'Selection', 'Severity of the selected shape', () => stepSeverity(app)],
    ['Shift+C', 'Selection', 'Write a comment on the selected shape', () => app.root.querySelector('.picked input')?.focus()],
    ['Shift+X', 'Selection', 'In a conflict: keep what is shown', () => settle(app)],
    ['a', 'Suggestions', 'Accept the selected one, else the next', () => acceptOne(app)],
    ['r', 'Suggestions', 'Reject the selected one, else the next', () => rejectOne(app)],
    ['Shift+A', 'Suggestions', 'Accept all', () => acceptAll(app)],
  ]
}

/** Digits: classes while drawing, scores in half steps, or tags. */
function labelKeys(app) {
  const { mode } = app.data
  if (mode === 'score') {
    const whole = app.data.scores.filter((score) => Number.isInteger(score) && score >= 1 && score <= 10)
    return [
      ...whole.map((score) => [`${score % 10}`, 'Score', `Score ${score}`, () => setScore(app, score)]),
      ['= +', 'Score', 'Half a step up', () => stepScore(app, 1)],
      ['-', 'Score', 'Half a step down', () => stepScore(app, -1)],
    ]
  }
  if (mode === 'tags') return app.data.tags.slice(0, 20).map((tag, i) => [`${i > 9 ? 'Shift+' : ''}${(i + 1) % 10}`, 'Tags', tag, () => toggleTag(app, tag)])
  return app.data.classes.filter((c) => c.key).map((c) => [c.key, 'Class, also of what is selected', c.name, () => chooseClass(app, c.name)])
}

function viewKeys(app) {
  const look = (change) => () => setLook(app, change)
  const nearer = app.data.mode === 'score' ? [] : [
    ['+ =', 'View', 'Nearer (also the wheel)', () => zoomMiddle(app, 1.25)],
    ['-', 'View', 'Farther', () => zoomMiddle(app, 0.8)],
  ]
  return [
    ...nearer,
    ['f', 'View', 'Fit', () => fit(app)],
    ['z', 'View', 'One to one', () => zoomMiddle(app, 1 / app.view.scale)],
    ['Arrows', 'View', 'Move the selection by a pixel (Shift: 10, Alt: 0.1), else the picture', null],
    ['Space', 'View', 'Hold and drag to move the picture (also the middle button, two fingers)', null],
    ['h', 'View', 'Shapes: show or hide', () => setLook(app, { shapes: !app.look.shapes })],
    ['l', 'View', 'Names: show or hide', () => setLook(app, { labels: !app.look.labels })],
    ['i', 'View', 'Magnifier', () => setLook(app, { loupe: !app.look.loupe })],
    ['c', 'View', 'Crosshair', () => setLook(app, { crosshair: !app.look.crosshair })],
    ['o', 'View', 'More opaque', () => setLook(app, { opacity: step(app.look.opacity, 0.1, 0, 1) })],
    ['Shift+O', 'View', 'Less opaque', () => setLook(app, { opacity: step(app.look.opacity, -0.1, 0, 1) })],
    ['>', 'View', 'Brighter', () => setLook(app, { brightness: step(app.look.brightness, 0.1, 0.2, 4) })],
    ['<', 'View', 'Darker', () => setLook(app, { brightness: step(app.look.brightness, -0.1, 0.2, 4) })],
    ['}', 'View', 'More contrast', () => setLook(app, { contrast: step(app.look.contrast, 0.1, 0.2, 5) })],
    ['{', 'View', 'Less contrast', () => setLook(app, { contrast: step(app.look.contrast, -0.1, 0.2, 5) })],
    ['k', 'View', 'Next channel (all, grey, red, green, blue)', () => setLook(app, { channel: CHANNELS[(CHANNELS.indexOf(app.look.channel) + 1) % 5] })],
    ['\\', 'View', 'Brightness, contrast and channel as they were', look({ brightness: 1, contrast: 1, channel: 'all' })],
  ]
}

function step(value, by, least, most) {
  return Math.round(Math.min(Math.max(value + by, least), most) * 100) / 100
}

/** How a key press may be written in the table: by the sign it gives, and by its place for a digit with Shift. */
function keyNames(e) {
  const letter = /^[a-z]$/i.test(e.key), control = e.ctrlKey || e.metaKey, shift = e.shiftKey && (letter || e.key.length > 1)
  const key = letter ? (shift || control ? e.key.toUpperCase() : e.key.toLowerCase()) : e.key
  const digit = e.shiftKey && /^Digit(\d)$/.exec(e.code)?.[1]
  return [`${control ? 'Ctrl+' : ''}${shift ? 'Shift+' : ''}${key}`, ...(digit ? [`Shift+${digit}`] : [])]
}

function makeKeys(app) {
  app.keys = new Map()
  for (const [names, , , action] of keyTable(app)) {
    if (action) for (const name of names.split(' ')) if (!app.keys.has(name)) app.keys.set(name, action)
  }
}

const TYPING = 'input:not([type=range]):not([type=checkbox]), textarea, select, [contenteditable=true]'

function keyDown(app, e) {
  const target = e.composedPath()[0]
  const within = target instanceof Node && app.root.contains(target)
  if (target instanceof Element && target.matches(TYPING)) return // somebody writes, here or elsewhere on the page
  if (!within && !app.over) return
  if (e.defaultPrevented || !app.picture) return
  if (within && target.matches('button') && (e.key === 'Enter' || e.key === ' ')) return // presses that button
  if (e.key === 'Tab') return
  const open = !app.sheet.hidden
  if (open && e.key !== '?' && e.key !== 'Escape') return
  const taken = open ? toggleSheet(app) : actOnKey(app, e)
  if (taken === false) return
  e.preventDefault()
  e.stopImmediatePropagation() // the page has keys of its own
}

function actOnKey(app, e) {
  if (e.key === ' ') {
    app.space = true
    app.stage.classList.add('grab')
    return true
  }
  if (e.key.startsWith('Arrow')) return arrow(app, e)
  const action = keyNames(e).map((name) => app.keys.get(name)).find(Boolean)
  if (!action || (e.altKey && !e.getModifierState('AltGraph'))) return false
  if (e.repeat && /^[dntyjpqa0r]$/i.test(e.key)) return true // held down too long is not said twice
  action()
  return true
}

function arrow(app, e) {
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key]
  const shapes = app.tool === 'select' ? selectedShapes(app) : []
  if (!shapes.length || app.data.readonly) panBy(app, -60 * dx, -60 * dy)
  else nudge(app, shapes, dx, dy, e.shiftKey ? 10 : e.altKey ? 0.1 : 1)
  return true
}

/** A burst of nudges is one step: the shapes are lifted, and set down half a second after the last. */
function nudge(app, shapes, dx, dy, by) {
  const { width, height } = app.picture
  for (const s of shapes) {
    const value = app.lifted.get(s.id) ?? s.value
    if (app.vertex >= 0 && shapes.length === 1 && value.type === 'polygon') {
      const [x, y] = value.points[app.vertex]
      lift(app, s.id, draggedHandle(value, { index: app.vertex }, clampPoint([x + dx * by, y + dy * by], width, height)))
    } else lift(app, s.id, movedValue(value, dx * by, dy * by, width, height))
  }
  clearTimeout(app.nudging)
  app.nudging = setTimeout(() => setDown(app), 500)
  redraw(app)
}

function setDown(app) {
  if (!app.nudging) return
  clearTimeout(app.nudging)
  app.nudging = 0
  setLifted(app, 'moved by keys')
}
