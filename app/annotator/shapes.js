// What is said of one sample, and every change to it as a step that can be taken back. Pure: no page, no clock but `made`.
//
// A step is {words, changes: [{id, before, after, heads: what was seen when the hand took it, where that matters}], status: {before, after, saw: as said, when the hand took it} | null, accepted: [], rejected: [], restored: []}
// where before and after are {label, value, attributes, suggested_by} or null. Doing a step gives the commit that says it.
// `heads` holds, for each annotation, what its next op replaces: entry ids, or {commit, op} of a commit not yet answered;
// `said` the same of the status, whose entry comes after those of its commit's ops.

function newDocument(sample, layer) {
  return {
    sample, layer, shapes: new Map(), heads: new Map(), suggestions: new Map(), dealt: new Map(),
    undo: [], redo: [], status: { status: 'unlabelled', comment: '' }, said: null,
  }
}

function newId() {
  return [...crypto.getRandomValues(new Uint8Array(8))].map((b) => b.toString(16).padStart(2, '0')).join('')
}

function contentOf(shape) {
  return shape && { label: shape.label, value: shape.value, attributes: shape.attributes ?? {}, suggested_by: shape.suggested_by ?? null }
}

function canonical(value) {
  return JSON.stringify(value, (_, v) => (v && typeof v === 'object' && !Array.isArray(v)
    ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1))) : v))
}

/** A shape as told, with the old value's object where it says the same: what was drawn or decoded of it stays valid. */
function keptShape(old, told) {
  const shape = { attributes: {}, suggested_by: null, conflict: [], who: null, when: null, suggested: false, ...told }
  const same = old && (old.value === told.value || (told.entry && old.entry === told.entry) || canonical(old.value) === canonical(told.value))
  if (same) shape.value = old.value
  return shape
}

/** Take over what Python says; on top of it come the commits of this sample that it has not answered. */
function takeView(doc, view, pending) {
  const before = doc.shapes, offered = doc.suggestions
  const stored = view.shapes.filter((s) => !s.suggested)
  doc.shapes = new Map(stored.map((s) => [s.id, keptShape(before.get(s.id), s)]))
  for (const s of stored) doc.heads.set(s.id, [s.entry, ...(s.conflict ?? []).map((head) => head.entry)].filter(Boolean))
  doc.suggestions = new Map()
  for (const s of [...view.shapes.filter((s) => s.suggested), ...(view.suggestions ?? [])]) {
    if (!doc.dealt.has(s.id)) doc.suggestions.set(s.id, { ...keptShape(offered.get(s.id), s), suggested: true })
  }
  doc.status = { status: view.status, comment: view.comment ?? '' }
  doc.said = view.status_entry ?? null
  for (const commit of pending) if (commit.sample === doc.sample && (commit.layer ?? doc.layer) === doc.layer) replay(doc, commit)
}

function replay(doc, commit) {
  const fresh = new Map()
  commit.ops.forEach((op, index) => {
    if (op.op === 'delete') doc.shapes.delete(op.annotation)
    else {
      const old = doc.shapes.get(op.annotation)
      const told = { id: op.annotation, label: op.label, value: op.value, attributes: op.attributes, suggested_by: op.suggested_by, who: commit.who }
      doc.shapes.set(op.annotation, keptShape(old, told))
    }
    fresh.set(op.annotation, [...(fresh.get(op.annotation) ?? []), { commit: commit.commit, op: index }])
  })
  for (const [id, heads] of fresh) doc.heads.set(id, heads)
  for (const id of [...(commit.accepted ?? []), ...(commit.rejected ?? [])]) dealWith(doc, id)
  if (commit.status) {
    doc.status = commit.status
    doc.said = { commit: commit.commit, op: commit.ops.length }
  }
}

function dealWith(doc, id) {
  if (!doc.suggestions.has(id)) return
  doc.dealt.set(id, doc.suggestions.get(id))
  doc.suggestions.delete(id)
}

function stepOf(words, changes, more = {}) {
  return { words, changes, status: null, accepted: [], rejected: [], restored: [], ...more }
}

/** Do a step: the document changes, and the commit that says so comes back. */
function perform(doc, step, { who, made, seq }) {
  const ops = step.changes.flatMap(({ id, after, heads: seen }) => {
    const heads = seen ?? doc.heads.get(id) ?? []
    const said = after ?? { label: null, value: null, attributes: {}, suggested_by: null }
    const op = { op: after ? 'put' : 'delete', annotation: id, ...said }
    return (heads.length ? heads : [null]).map((replaces) => ({ ...op, replaces }))
  })
  const commit = { commit: newId() + newId(), seq, sample: doc.sample, layer: doc.layer, who, made, ops }
  if (step.status) {
    commit.status = step.status.after
    commit.status_replaces = step.status.saw === undefined ? doc.said : step.status.saw
  }
  for (const key of ['accepted', 'rejected', 'restored']) if (step[key].length) commit[key] = step[key]
  for (const id of step.restored) {
    if (doc.dealt.has(id)) doc.suggestions.set(id, doc.dealt.get(id))
    doc.dealt.delete(id)
  }
  replay(doc, commit)
  return commit
}

function remember(doc, step) {
  doc.undo.push(step)
  doc.redo = []
}

function inverse(step) {
  return stepOf(step.words, step.changes.map(({ id, before, after }) => ({ id, before: after, after: before })).reverse(), {
    status: step.status && { before: step.status.after, after: step.status.before },
    restored: [...step.accepted, ...step.rejected],
    accepted: step.restored.filter((id) => step.wasAccepted?.includes(id)),
    rejected: step.restored.filter((id) => !step.wasAccepted?.includes(id)),
    wasAccepted: step.accepted,
  })
}

/** Who changed, since, what a step would change back; null when nobody did. */
function changedSince(doc, step) {
  for (const { id, before } of step.changes) {
    const now = doc.shapes.get(id)
    if (canonical(contentOf(now) ?? null) !== canonical(before)) return now?.who || 'somebody else'
  }
  return null
}

/** Take the last step back, or do it again: {step} to perform, or {message} when that cannot be. */
function takeBack(doc, again) {
  const [from, to] = again ? [doc.redo, doc.undo] : [doc.undo, doc.redo]
  const last = from.pop()
  if (!last) return { message: again ? 'Nothing to do again.' : 'Nothing to take back.' }
  const step = inverse(last)
  const who = changedSince(doc, step)
  if (who) return { message: `Not taken back: ${who} has changed this since (${last.words}).` }
  to.push(step)
  return { step }
}

/** The entries that a commit became, wherever they were waited for. */
function resolved(ref, commit, entries) {
  return ref && typeof ref === 'object' && ref.commit === commit ? entries[ref.op] ?? null : ref
}

function resolveHeads(doc, commit, entries) {
  doc.said = resolved(doc.said, commit, entries)
  for (const [id, heads] of doc.heads) doc.heads.set(id, heads.map((ref) => resolved(ref, commit, entries)).filter(Boolean))
}

function acceptSteps(doc, ids, changed = null) {
  const changes = ids.map((id) => {
    const after = contentOf(doc.suggestions.get(id))
    return { id: newId(), before: null, after: changed ? { ...after, ...changed } : after }
  })
  return stepOf(ids.length > 1 ? `${ids.length} suggestions accepted` : 'suggestion accepted', changes, { accepted: ids })
}

/** The annotation that holds a sample's one score or tag set. */
function onlyOf(doc, type) {
  return [...doc.shapes.values()].find((s) => s.value.type === type) ?? null
}
