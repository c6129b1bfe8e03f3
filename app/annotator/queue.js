// Commits that Python has not acknowledged: sent one at a time, kept in the browser until then.
//
// Each is kept twice. localStorage is there at once, so a reload in the next millisecond finds it; but a browser writes it
// to disk seconds later, so a killed browser loses it. IndexedDB with strict durability is on disk within milliseconds.

const KEPT = 'trugrade-annotator'
const ANSWER_MS = 8000
let database = null

function idb(mode, use) {
  database ??= new Promise((done, failed) => {
    const asked = indexedDB.open(KEPT, 1)
    asked.onupgradeneeded = () => asked.result.createObjectStore('kept')
    asked.onsuccess = () => done(asked.result)
    asked.onerror = () => failed(asked.error)
  })
  return database.then((db) => new Promise((done, failed) => {
    const work = db.transaction('kept', mode, { durability: 'strict' })
    const asked = use(work.objectStore('kept'))
    work.oncomplete = () => done(asked?.result)
    work.onerror = work.onabort = () => failed(work.error)
    work.commit?.()
  }))
}

/** Keep a value under a key, in both places. Resolves to whether at least one took it. */
function keep(key, value) {
  let at_once = true
  try {
    localStorage.setItem(key, JSON.stringify(value))
  } catch {
    at_once = false // full (large masks) or not allowed
  }
  return idb('readwrite', (s) => s.put(value, key)).then(() => true, () => at_once)
}

function forget(key) {
  try {
    localStorage.removeItem(key)
  } catch {
    // Storage is not allowed: nothing was kept there either.
  }
  return idb('readwrite', (s) => s.delete(key)).catch(() => null)
}

/** Everything kept under a prefix, from both places, by key. */
async function keptUnder(prefix) {
  const found = new Map()
  const range = IDBKeyRange.bound(prefix, `${prefix}\uffff`)
  try {
    const [keys, values] = await Promise.all([idb('readonly', (s) => s.getAllKeys(range)), idb('readonly', (s) => s.getAll(range))])
    keys.forEach((key, i) => found.set(key, values[i]))
  } catch {
    // No IndexedDB here (a private window): localStorage is all there is.
  }
  try {
    for (const key of Object.keys(localStorage)) if (key.startsWith(prefix)) found.set(key, JSON.parse(localStorage.getItem(key)))
  } catch {
    // As above, the other way round.
  }
  return found
}

function newQueue(store, send, changed) {
  return { store, send, changed, list: [], sent: null, problem: '', unkept: false, seq: 0, timer: 0, loaded: false }
}

function commitKey(q, commit) {
  return `${KEPT}|commit|${q.store}|${commit.commit}`
}

function nextSeq(q) {
  q.seq = Math.max(q.seq + 1, Date.now())
  return q.seq
}

/** What an earlier page left unacknowledged goes first, and is sent again. */
async function loadQueue(q) {
  const found = [...(await keptUnder(`${KEPT}|commit|${q.store}|`)).values()]
  const known = new Set(q.list.map((c) => c.commit))
  const left = found.filter((c) => c?.commit && !known.has(c.commit)).sort((a, b) => a.seq - b.seq)
  q.list = [...left, ...q.list].sort((a, b) => a.seq - b.seq)
  q.loaded = true
  q.changed()
  pump(q)
  return left
}

function enqueue(q, commit) {
  q.list.push(commit)
  keep(commitKey(q, commit), commit).then((kept) => {
    q.unkept = !kept
    // Acknowledged before it was kept: nothing is left to keep it for.
    if (!q.list.includes(commit)) forget(commitKey(q, commit))
  })
  pump(q)
}

function pump(q) {
  clearTimeout(q.timer)
  if (!q.loaded || q.problem || !q.list.length) return
  const now = performance.now()
  if (!q.sent || q.sent.commit !== q.list[0].commit || now - q.sent.at > ANSWER_MS) {
    q.sent = { commit: q.list[0].commit, at: now, tries: q.sent?.commit === q.list[0].commit ? q.sent.tries + 1 : 1 }
    q.send(q.list[0])
  }
  q.timer = setTimeout(() => { pump(q); q.changed() }, ANSWER_MS + 100)
}

/** An answer of Python's. Gives back the commit that is saved now, or null. */
function acknowledge(q, saved) {
  const first = q.list[0]
  if (!first || saved.commit !== first.commit) return null
  if (saved.problem) {
    q.problem = saved.problem
    q.sent = null
    clearTimeout(q.timer)
    return null
  }
  q.list.shift()
  q.sent = null
  for (const commit of q.list) {
    const waited = [commit.status_replaces, ...commit.ops.map((op) => op.replaces)].some((ref) => ref?.commit === first.commit)
    if (!waited) continue
    for (const op of commit.ops) op.replaces = resolved(op.replaces, first.commit, saved.entries)
    if (commit.status) commit.status_replaces = resolved(commit.status_replaces, first.commit, saved.entries)
    keep(commitKey(q, commit), commit)
  }
  forget(commitKey(q, first))
  pump(q)
  return first
}

function tryAgain(q) {
  q.problem = ''
  pump(q)
}

/** Give up everything unsaved, because a person said so. */
function throwAway(q) {
  for (const commit of q.list) forget(commitKey(q, commit))
  Object.assign(q, { list: [], sent: null, problem: '' })
  clearTimeout(q.timer)
}
