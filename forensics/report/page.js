"use strict";
// Every string of the data comes from outside. It reaches the page as textContent only.
const data = JSON.parse(document.getElementById("data").textContent);
const rows = data.rows;
const rowOf = new Map(rows.map((row) => [row.id, row]));
const HEIGHT = 58; // pixels, as in the style of .row
const WORDS = { not_applicable: "not applicable" };
const state = { status: null, flagged: false, query: "", by: "", least: 0, decided: "", order: "worst", chosen: null };
let view = []; // the rows that pass the filters, in order

const $$ = (id) => document.getElementById(id);

function make(tag, name, ...content) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  node.append(...content); // a string becomes a text node
  return node;
}

// Control characters and marks that reorder text would let a name look like another one.
function visible(text) {
  return String(text).replace(
    /[\u0000-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g,
    (c) => "⟨U+" + c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0") + "⟩",
  );
}

function fileName(row) {
  const parts = row.uri.split(/[/\\]/).filter(Boolean);
  return visible(parts.length ? parts[parts.length - 1] : row.id);
}

// A name too long for the list loses its middle: archives tell images apart by the end.
function shortName(name) {
  const rightToLeft = /[\u0590-\u08ff\ufb1d-\ufefc]/.test(name);
  if (name.length < 24 || rightToLeft || !/[\x20-\x7e]{14}$/.test(name)) return make("span", "name", make("span", "", name));
  return make("span", "name", make("span", "", name.slice(0, -14)), make("span", "tail", name.slice(-14)));
}

function words(status) {
  return WORDS[status] || visible(status).replaceAll("_", " ");
}

// With a calibration an image is judged by how rare its score is among pristine ones: the scores of
// different detectors are not on one scale.
const byShare = () => data.flagged !== null && state.by === "";

function scoreOf(row) {
  if (byShare()) return typeof row.share === "number" ? 1 - row.share : null;
  const score = state.by === "" ? row.score : (row.detectors[state.by] || {}).score;
  return typeof score === "number" ? score : null;
}

function percent(share) {
  return (100 * share).toLocaleString("en", { maximumSignificantDigits: 2 }) + " %";
}

function shown(row) {
  const score = scoreOf(row);
  if (score === null) return "–";
  return byShare() ? percent(row.share) : score.toFixed(2);
}

function phrase(value) {
  if (value === null || value === undefined) return "–";
  if (value === true) return "yes";
  if (value === false) return "no";
  if (typeof value === "number") {
    if (Number.isInteger(value)) return value.toLocaleString("en");
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 1e9)) return value.toExponential(2);
    return value.toLocaleString("en", { maximumFractionDigits: size >= 100 ? 1 : size >= 1 ? 2 : 4 });
  }
  if (Array.isArray(value)) return value.map(phrase).join(", ");
  if (typeof value === "object") {
    return Object.entries(value).map(([k, v]) => label(k) + " " + phrase(v)).join(", ");
  }
  return visible(value);
}

const label = (key) => visible(key).replaceAll("_", " ");

function bytes(size) {
  if (size === null) return "–";
  if (size < 1000) return size + " bytes";
  const units = ["kB", "MB", "GB"];
  let value = size / 1000, k = 0;
  while (value >= 1000 && k < 2) { value /= 1000; k += 1; }
  return value.toFixed(value < 10 ? 1 : 0) + " " + units[k] + " (" + size.toLocaleString("en") + " bytes)";
}

function bar(score, what) {
  const fill = make("i");
  fill.style.width = 100 * Math.min(1, Math.max(0, score || 0)) + "%";
  const node = make("div", "bar", fill);
  if (what) {
    node.setAttribute("role", "meter");
    node.setAttribute("aria-label", what);
    node.setAttribute("aria-valuemin", "0");
    node.setAttribute("aria-valuemax", "1");
    node.setAttribute("aria-valuenow", String(score));
  }
  return node;
}

function mark(status) {
  const dot = make("i", "dot");
  if (/^[a-z_]+$/.test(status)) dot.classList.add(status);
  dot.setAttribute("aria-hidden", "true");
  return dot;
}

// ---- filters

for (const row of rows) {
  const said = Object.values(row.detectors).map((d) => d.reason || "");
  row.text = [row.id, row.uri, row.camera, row.label, row.status, row.reason, row.sha256, ...said]
    .filter(Boolean).join("\n").toLowerCase();
}

function passes(row) {
  if (state.flagged && !row.flagged) return false;
  if (state.decided && (state.decided === "yes") !== Boolean(decisionOf(row))) return false;
  if (state.status !== null && row.status !== state.status) return false;
  if (state.least > 0) {
    const score = scoreOf(row);
    if (score === null || score < state.least) return false;
  }
  return state.query.toLowerCase().split(/\s+/).every((word) => row.text.includes(word));
}

const compare = new Intl.Collator("en", { numeric: true }).compare;
const byScore = (sign) => (a, b) => {
  const s = scoreOf(a), t = scoreOf(b);
  if (s === null || t === null) return (s === null) - (t === null); // no score: last
  return sign * (s - t || (byShare() ? a.score - b.score : 0));
};
const ORDERS = {
  worst: byScore(-1),
  best: byScore(1),
  name: (a, b) => compare(a.uri, b.uri),
  camera: (a, b) => (a.camera === null) - (b.camera === null) || compare(a.camera || "", b.camera || ""),
};

function refresh() {
  view = rows.filter(passes).sort(ORDERS[state.order]);
  if (!view.includes(state.chosen)) state.chosen = view[0] || null;
  $$("found").textContent = view.length === rows.length
    ? rows.length.toLocaleString("en") + (rows.length === 1 ? " image" : " images")
    : view.length.toLocaleString("en") + " of " + rows.length.toLocaleString("en") + " images";
  $$("rows").style.height = view.length * HEIGHT + "px";
  reveal();
  drawList();
  drawDetail();
}

function drawStatuses() {
  const total = Object.values(data.counts).reduce((a, b) => a + b, 0);
  const button = (status, name, count, flagged = false) => {
    const node = make("button", "", name, make("b", "", count.toLocaleString("en")));
    if (status !== null || flagged) node.prepend(mark(flagged ? "flagged" : status));
    node.type = "button";
    node.dataset.status = flagged ? "flagged" : status === null ? "" : status;
    node.setAttribute("aria-pressed", String(state.status === status && state.flagged === flagged));
    node.addEventListener("click", () => {
      state.status = status;
      state.flagged = flagged;
      drawStatuses();
      refresh();
      $$("statuses").querySelector("[aria-pressed=true]").focus();
    });
    return node;
  };
  $$("statuses").replaceChildren(
    button(null, "all", total),
    ...(data.flagged === null ? [] : [button(null, "flagged", data.flagged, true)]),
    ...Object.entries(data.counts).map(([status, count]) => button(status, words(status), count)),
  );
}

// ---- pictures: the first are in the page, the others are files beside it, read when they are due

const pictured = rows.some((row) => row.picture !== null || row.file !== null);
const tiles = new Map(); // list pictures by image id, so that scrolling does not load them again
const TILES = 400;

function source(row, kind) {
  const store = row.picture === null ? null : $$(kind + "-" + row.picture);
  if (store) return "data:" + store.dataset.mime + ";base64," + store.textContent;
  return row.file === null ? null : "pictures/" + row.file + (kind === "thumbnail" ? "-small.webp" : ".webp");
}

function tile(row) {
  const known = tiles.get(row.id);
  if (known) return known;
  const node = make("span", "tile"), from = source(row, "thumbnail");
  if (row.missing !== null) node.classList.add("gone");
  if (from !== null) {
    const image = make("img");
    image.alt = "";
    image.decoding = "async";
    image.addEventListener("error", () => { image.remove(); node.classList.add("gone"); });
    image.src = from;
    node.append(image);
  }
  if (tiles.size >= TILES) tiles.delete(tiles.keys().next().value);
  tiles.set(row.id, node);
  return node;
}

function absence(row) {
  if (row.missing !== null) return ["No picture: " + row.missing + "."];
  if (row.width === null) return ["No picture: " + (row.reason ? visible(row.reason) : words(row.status)) + "."];
  if (!data.more) return ["No picture of this image was made."];
  return ["No picture of this image was made. This makes those of all images listed here: ", make("code", "code", visible(data.more))];
}

function picture(row) {
  const from = source(row, "picture");
  if (from === null) return make("p", "nothing", ...absence(row));
  const image = make("img"), figure = make("figure", "", make("div", "frame", image));
  image.alt = "The image " + fileName(row) + " and its maps, side by side";
  image.addEventListener("click", zoom);
  image.addEventListener("error", () => figure.replaceWith(make(
    "p", "nothing", row.file === null ? "This picture cannot be shown." : "The picture is a file that is not here: " + from + ", in the folder of the run. The page finds it where that folder lies beside it.",
  )));
  image.src = from;
  return figure;
}

// So that the next image is there when the key is pressed.
function fetchNext() {
  const next = view[view.indexOf(state.chosen) + 1];
  if (next && next.file !== null) new Image().src = source(next, "picture");
}

function zoom() {
  const frame = document.querySelector(".frame");
  if (frame) frame.classList.toggle("actual");
}

// ---- list: only the rows in sight exist

function drawList() {
  const box = $$("list");
  const first = Math.max(0, Math.floor(box.scrollTop / HEIGHT) - 6);
  const last = Math.min(view.length, Math.ceil((box.scrollTop + box.clientHeight) / HEIGHT) + 6);
  const nodes = [];
  for (let k = first; k < last; k += 1) {
    const row = view[k], score = scoreOf(row);
    const what = row.status === "ok" ? row.camera || "camera not stated" : row.reason || words(row.status);
    const decided = decisionOf(row), about = decided ? decided.decision + " · " + what : what;
    const node = make(
      "div", "row",
      pictured ? tile(row) : "",
      shortName(fileName(row)),
      make("span", "number", shown(row)),
      make("span", "about", mark(row.flagged ? "flagged" : row.status), make("span", "", visible(about))),
      score === null ? "" : bar(score),
    );
    node.id = "row-" + k;
    node.title = fileName(row);
    node.setAttribute("aria-label", fileName(row) + ", " + words(row.status) + (score === null ? "" : (byShare() ? ", as high as " + shown(row) + " of pristine images" : ", score " + shown(row)))
      + (row.flagged ? ", flagged" : "") + (decided ? ", decided: " + visible(decided.decision) : ""));
    node.style.top = k * HEIGHT + "px";
    node.setAttribute("role", "option");
    node.setAttribute("aria-selected", String(row === state.chosen));
    node.setAttribute("aria-posinset", String(k + 1));
    node.setAttribute("aria-setsize", String(view.length));
    node.addEventListener("click", () => choose(k));
    nodes.push(node);
  }
  $$("rows").replaceChildren(...nodes);
  const k = view.indexOf(state.chosen);
  if (k >= first && k < last) box.setAttribute("aria-activedescendant", "row-" + k);
  else box.removeAttribute("aria-activedescendant");
}

function reveal() {
  const box = $$("list"), top = Math.max(0, view.indexOf(state.chosen)) * HEIGHT;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + HEIGHT > box.scrollTop + box.clientHeight) box.scrollTop = top + HEIGHT - box.clientHeight;
}

function choose(k) {
  if (!view.length) return;
  state.chosen = view[Math.min(view.length - 1, Math.max(0, k))];
  reveal();
  drawList();
  drawDetail();
}

const move = (by) => choose(view.indexOf(state.chosen) + by);

// ---- detail

function facts(entries) {
  const list = make("dl");
  for (const [key, value, style] of entries) {
    const cell = make("dd", style || "");
    if (Array.isArray(value)) {
      cell.append(make("ol", "", ...value.map((item) => make("li", "", phrase(item)))));
    } else {
      cell.append(phrase(value));
    }
    list.append(make("dt", "", label(key)), cell);
  }
  return list;
}

function card(name, finding) {
  const { status, reason, score, ...columns } = finding;
  const node = make("section", "card", make("h3", "", label(name)));
  if (typeof score === "number") {
    node.append(make("div", "meter", bar(score, label(name) + " score"), make("b", "", score.toFixed(3))));
  } else {
    node.append(make("p", "say", status && status !== "ok" ? words(status) : "gives no score"));
  }
  if (reason) node.append(make("p", "say", visible(reason)));
  const entries = Object.entries(columns);
  if (entries.length) node.append(facts(entries));
  return node;
}

function step(text, name, by, possible) {
  const node = make("button", "", text);
  node.type = "button";
  node.setAttribute("aria-label", name);
  node.disabled = !possible;
  node.addEventListener("click", () => {
    move(by);
    const again = document.querySelector('.steps [aria-label="' + name + '"]');
    if (again) again.focus();
  });
  return node;
}

function drawDetail() {
  const pane = $$("detail"), row = state.chosen;
  pane.scrollTop = 0;
  if (!row) {
    const clear = make("button", "plain", "Clear the filters");
    clear.type = "button";
    clear.addEventListener("click", reset);
    pane.replaceChildren(
      make("p", "nothing", rows.length ? "No image passes these filters. " : "This scan lists no images.", rows.length ? clear : ""),
    );
    return;
  }
  const k = view.indexOf(row);
  const steps = make(
    "div", "steps",
    step("‹", "Previous image", -1, k > 0),
    (k + 1).toLocaleString("en") + " of " + view.length.toLocaleString("en"),
    step("›", "Next image", 1, k < view.length - 1),
  );
  const lead = make("p", "lead", mark(row.status), make("span", "word", words(row.status)));
  if (row.score !== null) lead.append(make("span", "", "score " + row.score.toFixed(3)));
  if (typeof row.share === "number") {
    lead.append(make("span", "", percent(row.share) + " of pristine images score as high" + (row.flagged ? ": flagged" : "")));
  }
  if (row.reason) lead.append(make("span", "reason", visible(row.reason)));
  const file = facts([
    ["camera", row.camera], ...(row.label === null ? [] : [["label", row.label]]),
    ["pixels", row.width === null || row.height === null ? null : row.width.toLocaleString("en") + " × " + row.height.toLocaleString("en")],
    ["size", bytes(row.size)], ["image id", row.id, "code"], ["SHA-256", row.sha256, "code"],
  ]);
  pane.replaceChildren(
    make("div", "top", make("div", "", make("h2", "", fileName(row)), make("p", "path", visible(row.uri))), steps),
    lead,
    picture(row),
    make(
      "div", "cards",
      decisionCard(row),
      ...Object.entries(row.detectors).map(([name, finding]) => card(name, finding)),
      make("section", "card", make("h3", "", "file"), file),
    ),
  );
  fetchNext();
}

// ---- events

function reset() {
  Object.assign(state, { status: null, flagged: false, query: "", by: "", least: 0, decided: "" });
  $$("toolbar").reset();
  $$("order").value = state.order;
  drawLeast();
  drawStatuses();
  refresh();
}

function drawLeast() {
  $$("least").textContent = byShare() ? percent(1 - state.least) + " or rarer" : state.least.toFixed(2);
}

$$("toolbar").addEventListener("submit", (event) => event.preventDefault());
$$("search").addEventListener("input", (event) => { state.query = event.target.value.trim(); refresh(); });
$$("by").addEventListener("change", (event) => { state.by = event.target.value; drawLeast(); refresh(); });
$$("decided").addEventListener("change", (event) => { state.decided = event.target.value; refresh(); });
$$("save").addEventListener("click", saveDecisions);
$$("order").addEventListener("change", (event) => { state.order = event.target.value; refresh(); });
$$("threshold").addEventListener("input", (event) => {
  state.least = Number(event.target.value);
  drawLeast();
  refresh();
});
$$("list").addEventListener("scroll", drawList, { passive: true });
new ResizeObserver(drawList).observe($$("list"));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const inSearch = event.target === $$("search");
  if (inSearch && event.key === "Escape") { $$("list").focus(); return; }
  const inField = event.target.matches("input, select");
  if (inField && !(inSearch && event.key.startsWith("Arrow"))) return;
  const page = Math.max(1, Math.floor($$("list").clientHeight / HEIGHT) - 1);
  const keys = {
    ArrowDown: () => move(1), j: () => move(1), ArrowUp: () => move(-1), k: () => move(-1),
    "/": () => $$("search").focus(), z: zoom, 0: () => decide(state.chosen, null),
    ...Object.fromEntries(KINDS.map((kind, n) => [String(n + 1), () => decide(state.chosen, kind)])),
  };
  if (event.target === $$("list")) {
    Object.assign(keys, {
      Home: () => choose(0), End: () => choose(view.length - 1),
      PageDown: () => move(page), PageUp: () => move(-page),
    });
  }
  if (Object.hasOwn(keys, event.key)) {
    event.preventDefault();
    keys[event.key]();
  }
});

const names = [...new Set(rows.flatMap((row) => Object.keys(row.detectors)))].sort();
$$("by").append(
  new Option("any detector", ""), ...names.map((name) => new Option(label(name), name)),
);
const scanned = Object.values(data.counts).reduce((a, b) => a + b, 0);
$$("scope").textContent = scanned === rows.length
  ? scanned.toLocaleString("en") + (scanned === 1 ? " image scanned" : " images scanned")
  : scanned.toLocaleString("en") + " images scanned, " + rows.length.toLocaleString("en") + " listed here";
$$("rows").classList.toggle("pictured", pictured);
loadDecisions();
drawSave();
drawLeast();
drawStatuses();
refresh();
