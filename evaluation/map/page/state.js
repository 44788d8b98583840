// What the page knows: its data, and what is lit, held, selected and decided.
//
//   search, legend, region ──► lit (1 where a pair passes all three) ──► colours, lasso, N and P
//   hover or held pair     ──► the panel                             held pair or region ──► the address (#…)
//   lasso or "select all"  ──► selection ──► decisions ──► download

const data = JSON.parse(document.getElementById("data").textContent);
const pairs = data.pairs;
const total = pairs.id.length;
const placeOf = new Map(pairs.id.map((id, i) => [id, i]));
const element = (id) => document.getElementById(id);
const counted = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

/** An element with a class and children; strings become text nodes. */
function make(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

const DECISIONS = ["keep", "drop", "relabel"];
const UNDECIDED = { key: "decision", label: "Decision", kind: "group", values: DECISIONS };

const state = {
  facet: null,
  only: null, // of the facet: a value's number, or -1 for pairs without one
  region: -1,
  query: "",
  terms: [],
  matches: null,
  lit: new Uint8Array(total).fill(1),
  litCount: total,
  hovered: -1,
  held: -1,
  selection: new Set(),
  decisions: new Map(), // pair number: keep, drop or relabel
  unsaved: false,
  veil: true,
  lasso: null, // the polygon being drawn
  lassoMode: false,
};

/** The numbers of a pair's values. */
function valuesOf(facet, i) {
  if (facet === UNDECIDED) {
    const decision = state.decisions.get(i);
    return decision ? [DECISIONS.indexOf(decision)] : [];
  }
  return facet.of[i];
}

function countsOf(facet) {
  const counts = new Array(facet.values.length).fill(0);
  let none = 0;
  for (let i = 0; i < total; i += 1) {
    const values = valuesOf(facet, i);
    if (!values.length) none += 1;
    for (const value of values) counts[value] += 1;
  }
  return { counts, none };
}
