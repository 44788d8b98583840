// The panel: one pair with its flags and facts, its prompt, and its answers side by side.

/** Holds on to a pair, or with -1 lets go: the panel keeps it and the address names it. */
function hold(i, { follow = false } = {}) {
  state.held = i;
  if (i >= 0) {
    showPair(i, true);
    setAddress(`#pair=${encodeURIComponent(pairs.id[i])}`);
    if (follow) bringIntoView(i);
    announce(i);
  } else {
    showPair(state.hovered);
    setAddress(state.region >= 0 ? `#region=${state.region + 1}` : "");
  }
  redraw(false);
}

function bringIntoView(i) {
  const margin = 60;
  const x = cloud.screenX(i);
  const y = cloud.screenY(i);
  if (x > margin && y > margin && x < cloud.width - margin && y < cloud.height - margin) return;
  const { scale, left, top } = cloud.camera;
  fly({ scale, left: left + cloud.width / 2 - x, top: top + cloud.height / 2 - y });
}

function announce(i) {
  const facts = data.facets.map((facet) => {
    const values = valuesOf(facet, i).map((value) => facet.values[value]);
    return values.length ? `${facet.label}: ${values.join(", ")}` : "";
  });
  const texts = state.veil ? [] : [`Chosen: ${heldText(pairs.chosen[i]).slice(0, 300)}`];
  say([`Pair ${i + 1} of ${total}`, regionName(pairs.region[i]), ...facts, ...texts].filter(Boolean).join(". "));
}

function say(text) {
  element("said").replaceChildren();
  write(element("said"), text);
}

let shownPair = -2;

function showPair(i, again = false) {
  if (i === shownPair && !again) return;
  shownPair = i;
  const panel = element("pair");
  panel.scrollTop = 0;
  if (i < 0) {
    const touch = matchMedia("(hover: none)").matches;
    const hint = touch ? "Tap a point to read its pair." : "Point at a pair to read it. Click to hold on to it.";
    panel.replaceChildren(make("p", "empty", hint));
    return;
  }
  panel.replaceChildren(pairHead(i), pairChips(i), pairFacts(i), pairDecision(i), pairPrompt(i), ...pairAnswers(i));
  markFound();
}

/** Marks what was searched for in the panel, where the browser can mark text without changing the page. */
function markFound() {
  if (!globalThis.Highlight) return;
  const ranges = [];
  if (state.terms.length && !state.veil) {
    const walker = document.createTreeWalker(element("pair"), NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const text = node.data.toLowerCase();
      if (text.length !== node.data.length || !node.parentElement.closest(".text")) continue;
      for (const term of state.terms) {
        for (let from = text.indexOf(term); from >= 0; from = text.indexOf(term, from + term.length)) {
          const range = new Range();
          range.setStart(node, from);
          range.setEnd(node, from + term.length);
          ranges.push(range);
        }
      }
    }
  }
  CSS.highlights.set("found", new Highlight(...ranges));
}

function pairHead(i) {
  const link = make("a", "", pairs.id[i]);
  link.href = `#pair=${encodeURIComponent(pairs.id[i])}`;
  link.title = "A link to this pair";
  link.addEventListener("click", (event) => {
    event.preventDefault();
    hold(i, { follow: true });
  });
  const held = i === state.held ? ", held" : "";
  const title = make("h2", "", `Pair ${(i + 1).toLocaleString("en")} of ${total.toLocaleString("en")}${held}`);
  return make("div", "pair-head", title, link);
}

function pairChips(i) {
  const list = make("ul", "chips");
  list.setAttribute("aria-label", "Flags");
  for (const [name, detail] of pairs.flags[i]) {
    const item = make("li", "flag", make("strong", "", name));
    if (detail && !state.veil) write(item, ` ${detail}`);
    list.append(item);
  }
  return list;
}

function pairFacts(i) {
  const list = make("dl", "facts");
  const fact = (term, said, className = "") => {
    const value = make("dd", className);
    write(value, said);
    list.append(make("div", "", make("dt", "", term), value));
  };
  fact("Region", regionName(pairs.region[i]));
  for (const facet of data.facets) {
    if (facet.key === "flag") continue;
    if (facet.numbers) {
      if (facet.numbers[i] !== null) fact(facet.label, String(facet.numbers[i]));
    } else {
      const values = valuesOf(facet, i).map((value) => facet.values[value]);
      if (values.length) fact(facet.label, values.join(", "));
    }
  }
  if (pairs.source[i]) fact("Where", pairs.source[i]);
  return list;
}

function pairDecision(i) {
  const box = make("div", "decide");
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "Decide on this pair");
  for (const decision of DECISIONS) {
    const button = make("button", "", decision[0].toUpperCase() + decision.slice(1));
    button.setAttribute("aria-pressed", String(state.decisions.get(i) === decision));
    button.addEventListener("click", () => decide([i], state.decisions.get(i) === decision ? "" : decision));
    box.append(button);
  }
  return box;
}

/** A stored text as nodes, veiled or not. */
function textBox(stored) {
  const box = make("div", "text");
  box.dir = "auto";
  const { head, omitted, tail } = partsOf(stored);
  if (state.veil) {
    box.setAttribute("aria-hidden", "true");
    box.append(veiled(head + tail));
    return box;
  }
  write(box, head);
  if (omitted) box.append(cutMark(omitted));
  write(box, tail);
  if (!head && !omitted) box.append(make("span", "note", "(empty)"));
  return box;
}

function cutMark(omitted) {
  return make("span", "cut", ` [… ${counted(omitted, "character")} not in this page …] `);
}

let earlierOpen = false;

function pairPrompt(i) {
  const { left_out: leftOut, turns } = pairs.prompt[i];
  const turnOf = ([role, text]) => make("div", "turn", make("span", "role", role), textBox(text));
  const box = make("div", "turns");
  const earlier = turns.slice(0, -1);
  if (leftOut || earlier.length) {
    const details = make("details", "", make("summary", "", counted(leftOut + earlier.length, "earlier turn")));
    details.open = earlierOpen;
    details.addEventListener("toggle", () => { earlierOpen = details.open; });
    if (leftOut) details.append(make("p", "note", `${counted(leftOut, "turn")} at the start not in this page`));
    details.append(...earlier.map(turnOf));
    box.append(details);
  }
  box.append(...turns.slice(-1).map(turnOf));
  if (!turns.length) box.append(make("p", "note", "There is no prompt."));
  return make("section", "", make("h3", "", "Prompt"), box);
}

function pairAnswers(i) {
  const names = pairs.unlabelled[i] ? ["Answer A", "Answer B"] : ["Chosen", "Rejected"];
  const stored = [pairs.chosen[i], pairs.rejected[i]];
  const boxes = stored.map(textBox);
  let note = "";
  if (heldText(stored[0]) === heldText(stored[1])) note = "Both answers are the same text.";
  else if (!state.veil) {
    const words = stored.map((text) => wordsOf(heldText(text)));
    const changed = differences(...words);
    if (typeof changed === "string") note = changed;
    else boxes.forEach((box, side) => { markDifferences(box, stored[side], words[side], changed[side]); });
  }
  const sides = boxes.map((box, side) => {
    const { head, omitted, tail } = partsOf(stored[side]);
    const length = Array.from(head + tail).length + omitted;
    const title = make("h3", "", make("span", "", names[side]), make("span", "", counted(length, "character")));
    return make("section", `answer ${side ? "rejected" : "chosen"}`, title, box);
  });
  return [...(note ? [make("p", "note", note)] : []), make("div", "answers", ...sides)];
}

function markDifferences(box, stored, words, changed) {
  const { head, omitted } = partsOf(stored);
  box.replaceChildren();
  if (!words.length) {
    box.append(make("span", "note", "(empty)"));
    return;
  }
  if (!omitted) {
    writeWords(box, words, changed);
    return;
  }
  let length = 0;
  let place = 0;
  while (place < words.length && length < head.length) length += words[place++].length;
  writeWords(box, words.slice(0, place), changed.slice(0, place));
  box.append(cutMark(omitted));
  writeWords(box, words.slice(place), changed.slice(place));
}
