// Beside the map: legend, regions, how it was made; and what search, legend and region leave lit.

/** Everything that the map can be coloured by. */
const facets = () => [...data.facets, UNDECIDED];

function drawLegend(facet, counts, none, colours) {
  const rows = facet.values.map((name, value) => ({ name, value, count: counts[value], colour: colours[value] }));
  if (facet.kind === "group" && facet !== UNDECIDED) rows.sort((a, b) => b.count - a.count);
  if (none) rows.push({ name: facet.none ?? "none", value: -1, count: none, colour: "none" });
  const list = element("legend");
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.value : null;
  list.replaceChildren(...rows.map((row) => {
    const swatch = make("span", "swatch");
    swatch.style.background = `var(--${row.colour})`;
    const name = make("bdi", "name");
    write(name, row.name);
    const button = make("button", "", swatch, name, make("span", "count", row.count.toLocaleString("en")));
    button.dataset.value = row.value;
    if (facet.notes?.[row.value]) button.title = facet.notes[row.value];
    button.setAttribute("aria-pressed", String(state.only === row.value));
    button.addEventListener("click", () => {
      state.only = state.only === row.value ? null : row.value;
      relight();
    });
    return make("li", "", button);
  }));
  const note = element("legend-note");
  note.replaceChildren();
  write(note, facet.notes?.[state.only] ?? "");
  if (focused !== null) list.querySelector(`[data-value="${focused}"]`)?.focus();
}

function drawRegions() {
  element("regions").replaceChildren(...data.regions.map((region, number) => {
    const count = make("span", "count", region.count.toLocaleString("en"));
    const link = make("a", "", make("bdi", "name", regionName(number)), count);
    link.href = `#region=${number + 1}`;
    if (state.region === number) link.setAttribute("aria-current", "true");
    link.addEventListener("click", (event) => {
      event.preventDefault();
      showRegion(state.region === number ? -1 : number);
    });
    return make("li", "", link);
  }));
}

function drawAbout() {
  for (const [term, said] of data.about) {
    const explained = make("dd", "");
    write(explained, said);
    element("about").append(make("dt", "", term), explained);
  }
  write(element("title"), data.title);
  document.title = `${element("title").textContent}: map of pairs`;
  write(element("counts"), data.counts);
}

// What is lit --------------------------------------------------------------------------------------------------------

let searchable = null;

function searchText(i) {
  searchable ??= new Array(total);
  searchable[i] ??= [
    pairs.id[i], pairs.source[i], ...pairs.prompt[i].turns.map(([, text]) => heldText(text)),
    heldText(pairs.chosen[i]), heldText(pairs.rejected[i]),
  ].join("\n").toLowerCase();
  return searchable[i];
}

/** Finds the pairs that hold every word of a query; a phrase in quotes is one word. */
function search(query) {
  state.query = query.trim();
  const terms = Array.from(state.query.toLowerCase().matchAll(/"([^"]+)"?|(\S+)/g), (match) => match[1] ?? match[2]);
  state.terms = terms;
  state.matches = terms.length ? new Uint8Array(total) : null;
  if (state.matches) {
    for (let i = 0; i < total; i += 1) {
      const text = searchText(i);
      state.matches[i] = terms.every((term) => text.includes(term)) ? 1 : 0;
    }
  }
  relight();
}

/** Finds anew which pairs are lit. */
function relight() {
  let count = 0;
  for (let i = 0; i < total; i += 1) {
    const values = state.only === null ? null : valuesOf(state.facet, i);
    const lit = (!state.matches || state.matches[i]) && (state.region < 0 || pairs.region[i] === state.region) &&
      (values === null || (state.only < 0 ? !values.length : values.includes(state.only)));
    state.lit[i] = lit ? 1 : 0;
    count += state.lit[i];
  }
  state.litCount = count;
  drawFilters();
  markFound();
  paint();
}

function drawFilters() {
  const chips = [];
  if (state.query) chips.push([`search: ${state.query}`, () => { element("search").value = ""; search(""); }]);
  if (state.only !== null) {
    const value = state.only < 0 ? (state.facet.none ?? "none") : state.facet.values[state.only];
    chips.push([`${state.facet.label}: ${value}`, () => { state.only = null; relight(); }]);
  }
  if (state.region >= 0) chips.push([`region: ${regionName(state.region)}`, () => showRegion(-1)]);
  const box = element("filters");
  box.hidden = !chips.length;
  element("previous").hidden = element("next").hidden = !chips.length;
  element("found").hidden = !chips.length;
  element("found").textContent = `${state.litCount.toLocaleString("en")} of ${total.toLocaleString("en")}`;
  const buttons = chips.map(([text, clear]) => {
    const name = make("bdi", "");
    write(name, text.length > 60 ? `${text.slice(0, 60)}…` : text);
    const button = make("button", "", name, " ✕");
    button.setAttribute("aria-label", `Clear ${text}`);
    button.addEventListener("click", clear);
    return button;
  });
  const all = make("button", "");
  all.textContent = state.litCount === 1 ? "Select it" : `Select these ${state.litCount.toLocaleString("en")}`;
  all.disabled = !state.litCount;
  all.addEventListener("click", selectLit);
  box.replaceChildren(...buttons, all);
  if (chips.length) say(`${counted(state.litCount, "pair")} of ${total.toLocaleString("en")}`);
}

/** The next lit pair in the order of the data. */
function step(direction) {
  if (!state.litCount) return;
  let i = state.held >= 0 ? state.held : direction > 0 ? -1 : total;
  do {
    i = (i + direction + total) % total;
  } while (!state.lit[i]);
  hold(i, { follow: true });
}
