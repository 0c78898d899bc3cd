"use strict";
// What a reviewer decides. It stays in this browser until it is saved as a file, which
// jobs.report --decisions puts into the run. The script of the page follows this one.
const KINDS = ["forged", "pristine", "unclear"]; // keys 1, 2, 3; 0 takes back
// made here, by image id; kept: the browser has them all; saved: all are in a file
const review = { made: new Map(), by: "", kept: true, saved: true };

// Every decision has a key of its own, so that two tabs never write over each other's.
const reviewKey = (kind, id = "") => ["forensics", kind, data.run, id].join(" ");
const decisionOf = (row) => review.made.get(row.id) || row.decision;
const timeOf = (decision) => (decision && Date.parse(decision.decided)) || 0; // ms; 0: none

// What was read at a key, where it is a decision.
function parsed(text, id) {
  try {
    const { sha256, decision, reason, reviewer, decided } = JSON.parse(text);
    const texts = [reason, reviewer, decided].every((one) => typeof one === "string");
    if (!KINDS.includes(decision) || !texts || !Date.parse(decided)) return null;
    return { image_id: id, sha256, decision, reason, reviewer, decided };
  } catch {
    return null;
  }
}

// Take over what this tab or another one has stored; of two on an image the later holds.
function recall(key, text) {
  if (key === reviewKey("reviewer")) { review.by = text || ""; return; }
  const start = reviewKey("decision");
  if (!key.startsWith(start)) return;
  const id = key.slice(start.length), row = rowOf.get(id), found = parsed(text, id);
  if (!found) review.made.delete(id); // taken back
  else if (row && timeOf(row.decision) >= timeOf(found)) { // the run has this one, or a later one
    if (timeOf(row.decision) === timeOf(found)) stored(() => localStorage.removeItem(key));
  } else if (timeOf(found) < timeOf(review.made.get(id))) keepDecision(id);
  else review.made.set(id, found);
}

function stored(action) {
  try {
    action();
  } catch {
    review.kept = false; // no storage for files, or it is full
  }
}

function loadDecisions() {
  stored(() => {
    for (const key of Object.keys(localStorage)) recall(key, localStorage.getItem(key));
  });
}

function keepDecision(id) {
  const key = reviewKey("decision", id), own = review.made.get(id);
  stored(() => (own ? localStorage.setItem(key, JSON.stringify(own)) : localStorage.removeItem(key)));
}

// A decision of now. It comes after what it changes, even where a clock is wrong.
function put(row, changes) {
  const own = review.made.get(row.id), before = decisionOf(row);
  const mine = own && (own.reviewer === "" || own.reviewer === review.by);
  review.made.set(row.id, {
    image_id: row.id, sha256: row.sha256, decision: own && own.decision,
    reason: mine ? own.reason : "", // nobody's reason is put into another one's mouth
    reviewer: review.by, ...changes,
    decided: new Date(Math.max(Date.now(), timeOf(before) + 1)).toISOString(),
  });
  changed(row);
}

function changed(row) {
  review.saved = false;
  keepDecision(row.id);
  drawSave();
}

function decide(row, kind) {
  if (!row) return;
  if (kind !== null) put(row, { decision: kind });
  else if (review.made.delete(row.id)) changed(row);
  drawList();
  drawDetail();
}

function field(name, value, take) {
  const input = make("input");
  input.value = value;
  input.maxLength = 2000;
  input.addEventListener("input", () => take(input.value));
  return make("label", "", name, input);
}

function decisionCard(row) {
  const found = decisionOf(row), own = review.made.get(row.id);
  const choices = make("div", "choices");
  KINDS.forEach((kind, k) => {
    const node = make("button", "plain", kind, make("kbd", "", String(k + 1)));
    node.type = "button";
    node.dataset.decision = kind;
    node.setAttribute("aria-pressed", String(Boolean(found) && found.decision === kind));
    node.addEventListener("click", () => {
      decide(row, kind);
      document.querySelector(".choices [data-decision=" + kind + "]").focus();
    });
    choices.append(node);
  });
  const card = make("section", "card decision", make("h3", "", "your decision"), choices);
  if (own) {
    const name = field("reviewer", own.reviewer, (reviewer) => {
      review.by = reviewer;
      stored(() => localStorage.setItem(reviewKey("reviewer"), reviewer));
      put(row, { reason: review.made.get(row.id).reason });
    });
    const reason = field("reason", own.reason, (text) => {
      put(row, { reason: text });
      name.querySelector("input").value = review.by; // who changes it says it
    });
    card.append(reason, name);
  }
  if (row.decision) {
    const { decision, reason, reviewer, decided } = row.decision;
    const time = timeOf(row.decision) ? new Date(decided).toISOString().slice(0, 16).replace("T", " ") + " UTC" : decided;
    card.append(make("p", "say", (own ? "in the run: " : "") + visible([decision, reason, reviewer, time].filter(Boolean).join(" · "))));
  }
  return card;
}

function drawSave() {
  const count = review.made.size;
  $$("save").hidden = !count;
  $$("save").textContent = "Save " + count.toLocaleString("en") + (count === 1 ? " decision" : " decisions");
  $$("unkept").hidden = review.kept || review.saved;
}

function saveDecisions() {
  const content = { format: 1, run: data.run, decisions: [...review.made.values()].sort((a, b) => timeOf(a) - timeOf(b)) };
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1)], { type: "application/json" }));
  link.download = "decisions-" + data.run.slice(0, 8).replace(/[^0-9a-f]/gi, "") + ".json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  review.saved = true;
  drawSave();
}

window.addEventListener("storage", (event) => { // of another tab
  if (event.key === null) return; // all was cleared: this tab still has its decisions
  stored(() => recall(event.key, localStorage.getItem(event.key))); // this tab may have written since
  drawSave();
  drawList();
  if (state.chosen && event.key === reviewKey("decision", state.chosen.id)) drawDetail();
});

window.addEventListener("beforeunload", (event) => {
  if (!review.kept && !review.saved) event.preventDefault(); // the browser asks
});
