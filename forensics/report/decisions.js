"use strict";
// What a reviewer decides. It stays in this browser until it is saved as a file, which
// jobs.report --decisions puts into the run. The script of the page follows this one.
const KINDS = ["forged", "pristine", "unclear"]; // keys 1, 2, 3; 0 takes back
const review = { made: new Map(), by: "" }; // made here, by image id

const reviewKey = () => "forensics decisions " + data.run;
const decisionOf = (row) => review.made.get(row.id) || row.decision;

function loadDecisions() {
  try {
    const kept = JSON.parse(localStorage.getItem(reviewKey()));
    review.by = String(kept.by);
    for (const one of kept.decisions) review.made.set(one.image_id, one);
  } catch {
    return; // nothing kept, or no storage for files: what is decided lasts until the page is closed
  }
}

function keepDecisions() {
  try {
    localStorage.setItem(reviewKey(), JSON.stringify({ by: review.by, decisions: [...review.made.values()] }));
  } catch {
    return;
  }
}

function decide(row, kind) {
  if (!row) return;
  const before = decisionOf(row);
  if (kind === null) review.made.delete(row.id);
  else {
    review.made.set(row.id, {
      image_id: row.id, sha256: row.sha256, decision: kind, reason: before ? before.reason : "",
      reviewer: review.by, decided: new Date().toISOString(),
    });
  }
  keepDecisions();
  drawSave();
  drawList();
  drawDetail();
}

function field(name, value, changed) {
  const input = make("input");
  input.value = value;
  input.maxLength = 2000;
  input.addEventListener("input", () => { changed(input.value); keepDecisions(); });
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
    card.append(
      field("reason", own.reason, (text) => { own.reason = text; }),
      field("reviewer", own.reviewer, (text) => { own.reviewer = text; review.by = text; }),
    );
  } else if (found) {
    card.append(make("p", "say", visible([found.decision, found.reason, found.reviewer, found.decided].filter(Boolean).join(" · "))));
  }
  return card;
}

function drawSave() {
  const count = review.made.size;
  $$("save").hidden = !count;
  $$("save").textContent = "Save " + count.toLocaleString("en") + (count === 1 ? " decision" : " decisions");
}

function saveDecisions() {
  const content = { format: 1, run: data.run, decisions: [...review.made.values()] };
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1)], { type: "application/json" }));
  link.download = "decisions-" + data.run.slice(0, 8).replace(/[^0-9a-f]/gi, "") + ".json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
