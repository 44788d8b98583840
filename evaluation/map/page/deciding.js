// Selections, and the decisions that leave the page as JSONL.

function select(found, add = false) {
  state.selection = new Set(add ? [...state.selection, ...found] : found);
  const bar = element("selection");
  bar.hidden = !state.selection.size;
  element("selected").textContent = `${counted(state.selection.size, "pair")} selected`;
  if (state.selection.size) say(element("selected").textContent);
  paint();
}

function selectLit() {
  select(Array.from(state.lit.keys()).filter((i) => state.lit[i]));
}

function decide(chosen, decision) {
  for (const i of chosen) {
    if (decision) state.decisions.set(i, decision);
    else state.decisions.delete(i);
  }
  state.unsaved = state.decisions.size > 0;
  showDecisions();
  say(`${counted(chosen.length, "pair")}: ${decision || "undecided"}`);
}

function showDecisions() {
  const counts = DECISIONS.map((word) => [word, [...state.decisions.values()].filter((each) => each === word).length]);
  const told = counts.filter(([, count]) => count).map(([word, count]) => `${word} ${count.toLocaleString("en")}`);
  element("decided").textContent = told.join(", ");
  element("download").disabled = !state.decisions.size;
  if (state.facet === UNDECIDED && state.only !== null) relight();
  else paint();
  if (shownPair >= 0) showPair(shownPair, true);
}

function decideHere(decision) {
  if (state.selection.size) decide([...state.selection], decision);
  else if (state.held >= 0) decide([state.held], decision);
  else say("Nothing is selected or held");
}

/** One JSON object a line, in the order of the data. */
function decisionLines() {
  const decided = [...state.decisions].sort(([a], [b]) => a - b);
  return decided.map(([i, decision]) => `${JSON.stringify({ pair_id: pairs.id[i], decision })}\n`).join("");
}

function download() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([decisionLines()], { type: "application/jsonl" }));
  link.download = "decisions.jsonl";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  state.unsaved = false;
}

/** Takes the decisions of a file that this page or another wrote. */
async function load(file) {
  let unknown = 0;
  let taken = 0;
  for (const line of (await file.text()).split("\n")) {
    if (!line.trim()) continue;
    let row = null;
    try {
      row = JSON.parse(line);
    } catch { /* no line of ours: counted below */ }
    const i = placeOf.get(row?.pair_id);
    if (i === undefined || !DECISIONS.includes(row.decision)) unknown += 1;
    else {
      state.decisions.set(i, row.decision);
      taken += 1;
    }
  }
  showDecisions();
  const passed = unknown ? `, ${counted(unknown, "line")} of no pair here left alone` : "";
  element("decided").textContent += ` (${taken.toLocaleString("en")} loaded${passed})`;
  say(element("decided").textContent);
}
