// What a user does: following links, pointing, dragging, keys; and how it all starts.

// The address --------------------------------------------------------------------------------------------------------

/** How much of the map a link to a pair shows on each side of it. */
const AROUND = 0.08;

function setAddress(hash) {
  history.replaceState(null, "", hash || location.pathname + location.search);
}

function followAddress() {
  const [[kind, value] = []] = new URLSearchParams(location.hash.slice(1));
  if (kind === "pair" && placeOf.has(value)) {
    const i = placeOf.get(value);
    const [x, y] = [cloud.xs[i], cloud.ys[i]];
    fly(cloud.cameraFor({ left: x - AROUND, right: x + AROUND, top: y - AROUND, bottom: y + AROUND }, 20));
    hold(i);
  } else if (kind === "region" && data.regions[Number(value) - 1]) showRegion(Number(value) - 1);
  else if (kind) say(`This map has no ${kind} ${value}`);
}

function showRegion(number) {
  state.region = number;
  if (number >= 0) {
    const members = pairs.region.flatMap((region, i) => (region === number ? [i] : []));
    fly(cloud.cameraFor(boxOf(members), 70));
  } else fly(cloud.wholeCamera());
  setAddress(number >= 0 ? `#region=${number + 1}` : "");
  drawRegions();
  relight();
}

/** The box of most of the members: the outermost twentieth on each side may lie outside. */
function boxOf(members) {
  const range = (values) => {
    const sorted = Float64Array.from(members, (i) => values[i]).sort();
    const margin = Math.floor(sorted.length / 20);
    return [sorted[margin], sorted[sorted.length - 1 - margin]];
  };
  const [left, right] = range(cloud.xs);
  const [top, bottom] = range(cloud.ys);
  return { left, right, top, bottom };
}

// Pointers -----------------------------------------------------------------------------------------------------------

const CLICK_PIXELS = 5;
const REACH = { mouse: 14, pen: 16, touch: 24 };
const pointers = new Map();
let moved = 0;

function at(event) {
  const box = overlay.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

overlay.addEventListener("pointerdown", (event) => {
  if (event.button > 0) return;
  overlay.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, at(event));
  moved = 0;
  if (pointers.size === 1 && (state.lassoMode || event.shiftKey)) state.lasso = [at(event)];
  else state.lasso = null;
});

overlay.addEventListener("pointermove", (event) => {
  const [x, y] = at(event);
  if (!pointers.has(event.pointerId)) {
    hover(event.pointerType === "touch" ? -1 : cloud.nearest(x, y, REACH.mouse, state.lit));
    return;
  }
  const [fromX, fromY] = pointers.get(event.pointerId);
  moved += Math.hypot(x - fromX, y - fromY);
  if (state.lasso) {
    state.lasso.push([x, y]);
    pointers.set(event.pointerId, [x, y]);
    redraw(false);
    return;
  }
  if (pointers.size === 1) {
    if (moved <= CLICK_PIXELS) return;
    overlay.classList.add("moving");
    flight += 1;
    cloud.pan(x - fromX, y - fromY);
  } else {
    const [otherX, otherY] = [...pointers].find(([id]) => id !== event.pointerId)[1];
    const factor = Math.hypot(x - otherX, y - otherY) / Math.max(1, Math.hypot(fromX - otherX, fromY - otherY));
    cloud.zoomAt(factor, (x + otherX) / 2, (y + otherY) / 2);
    cloud.pan((x - fromX) / 2, (y - fromY) / 2);
  }
  pointers.set(event.pointerId, [x, y]);
  redraw();
});

function pointerEnds(event) {
  if (!pointers.delete(event.pointerId)) return;
  overlay.classList.remove("moving");
  const lasso = state.lasso;
  state.lasso = null;
  if (event.type === "pointercancel") return redraw(false);
  if (lasso && moved > CLICK_PIXELS) {
    select(cloud.inside(lasso, state.lit), event.shiftKey);
    setLassoMode(false);
  } else if (moved <= CLICK_PIXELS && !pointers.size) click(...at(event), REACH[event.pointerType] ?? REACH.mouse);
  return redraw(false);
}
overlay.addEventListener("pointerup", pointerEnds);
overlay.addEventListener("pointercancel", pointerEnds);
overlay.addEventListener("pointerleave", () => hover(-1));

function click(x, y, reach) {
  const near = cloud.nearest(x, y, Math.min(reach, cloud.radius + 3), state.lit);
  const label = labelBoxes.find((box) => x > box.left && x < box.right && y > box.top && y < box.bottom);
  const found = near >= 0 || label ? near : cloud.nearest(x, y, reach, state.lit);
  if (found >= 0) hold(found);
  else if (label) showRegion(label.number);
  else hold(-1);
}

function hover(i) {
  if (i === state.hovered) return;
  state.hovered = i;
  if (state.held < 0 && i >= 0) showPair(i);
  redraw(false);
}

overlay.addEventListener("wheel", (event) => {
  event.preventDefault();
  flight += 1;
  const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
  cloud.zoomAt(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.002)), ...at(event));
  redraw();
}, { passive: false });

function zoomBy(factor) {
  cloud.zoomAt(factor, cloud.width / 2, cloud.height / 2);
  redraw();
}

function setLassoMode(on) {
  state.lassoMode = on;
  element("lasso").setAttribute("aria-pressed", String(on));
  if (on) say("Draw around pairs to select them");
}

// Keys ---------------------------------------------------------------------------------------------------------------

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function arrow([dx, dy], moveMap) {
  if (moveMap) {
    cloud.pan(-dx * 80, -dy * 80);
    redraw();
    return;
  }
  const { scale, left, top } = cloud.camera;
  const from = state.held >= 0
    ? [cloud.xs[state.held], cloud.ys[state.held]]
    : [(cloud.width / 2 - left) / scale, (cloud.height / 2 - top) / scale];
  const found = cloud.towards(...from, dx, dy, state.lit, state.held);
  if (found >= 0) hold(found, { follow: true });
}

function escape() {
  if (state.lassoMode || state.lasso) {
    state.lasso = null;
    setLassoMode(false);
    redraw(false);
  } else if (element("pair").contains(document.activeElement)) overlay.focus();
  else if (state.selection.size) select([]);
  else if (state.query || state.only !== null || state.region >= 0) {
    element("search").value = "";
    state.only = null;
    if (state.region >= 0) showRegion(-1);
    search("");
  } else hold(-1);
}

const KEYS = {
  "n": () => step(1),
  "p": () => step(-1),
  "+": () => zoomBy(1.4),
  "=": () => zoomBy(1.4),
  "-": () => zoomBy(1 / 1.4),
  "0": () => fly(cloud.wholeCamera()),
  "/": () => element("search").focus(),
  "l": () => setLassoMode(!state.lassoMode),
  "a": selectLit,
  "k": () => decideHere("keep"),
  "d": () => decideHere("drop"),
  "r": () => decideHere("relabel"),
  "u": () => decideHere(""),
  "b": () => setVeil(!state.veil),
  "c": () => {
    const choose = element("colour");
    choose.selectedIndex = (choose.selectedIndex + 1) % choose.options.length;
    setFacet(facets()[choose.selectedIndex]);
    say(`Coloured by ${state.facet.label}`);
  },
  "?": () => element("help").showModal(),
  "Escape": escape,
};

document.addEventListener("keydown", (event) => {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey || event.metaKey || document.querySelector("dialog[open]")) return;
  if (event.target.matches("input, select")) {
    if (event.key === "Enter" && event.target.id === "search") step(event.shiftKey ? -1 : 1);
    else if (event.key === "Escape" && event.target.id === "search") {
      event.target.value = "";
      search("");
      overlay.focus();
    }
    return;
  }
  if (event.target === overlay && ARROWS[key]) arrow(ARROWS[key], event.altKey);
  else if (event.target === overlay && key === "Enter") element("pair").focus();
  else if (KEYS[key] && !event.altKey) KEYS[key]();
  else return;
  event.preventDefault();
});

// Setting up ---------------------------------------------------------------------------------------------------------

function setFacet(facet) {
  state.facet = facet;
  state.only = null;
  relight();
}

function setVeil(on) {
  state.veil = on;
  document.body.classList.toggle("veiled", on);
  element("veil").setAttribute("aria-pressed", String(!on));
  element("veil").textContent = on ? "Show texts" : "Blur texts";
  if (shownPair >= -1) showPair(shownPair, true);
  drawRegions();
  drawFilters();
  redraw(false);
}

function start() {
  const choose = element("colour");
  choose.append(...facets().map((facet) => new Option(facet.label, facet.key)));
  choose.addEventListener("change", () => setFacet(facets()[choose.selectedIndex]));
  let pause = 0;
  element("search").addEventListener("input", (event) => {
    clearTimeout(pause);
    pause = setTimeout(() => search(event.target.value), 120);
  });
  const clicks = {
    "previous": () => step(-1),
    "next": () => step(1),
    "veil": () => setVeil(!state.veil),
    "help-button": () => element("help").showModal(),
    "close-help": () => element("help").close(),
    "show-texts": () => { setVeil(false); element("warning").close(); },
    "keep-veil": () => element("warning").close(),
    "lasso": () => setLassoMode(!state.lassoMode),
    "nearer": () => zoomBy(1.4),
    "farther": () => zoomBy(1 / 1.4),
    "whole": () => fly(cloud.wholeCamera()),
    "unselect": () => select([]),
    "download": download,
    "load": () => element("file").click(),
  };
  for (const [id, action] of Object.entries(clicks)) element(id).addEventListener("click", action);
  for (const button of document.querySelectorAll("[data-decide]")) {
    button.addEventListener("click", () => decideHere(button.dataset.decide));
  }
  element("file").addEventListener("change", async (event) => {
    if (event.target.files.length) await load(event.target.files[0]);
    event.target.value = "";
  });
  window.addEventListener("beforeunload", (event) => {
    if (state.unsaved) event.preventDefault();
  });
  window.addEventListener("hashchange", followAddress);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    readScheme();
    paint();
  });
  if (matchMedia("(max-width: 900px)").matches) element("regions-box").open = false;

  overlay.setAttribute("aria-label", `Map of ${counted(total, "pair")}`);
  readScheme();
  drawAbout();
  setVeil(true);
  new ResizeObserver(resize).observe(element("points"));
  resize();
  setFacet(facets()[0]);
  showPair(-1);
  element("warning").showModal();
  followAddress();
}

function resize() {
  const first = cloud.width === undefined;
  const { width = 0, height = 0 } = cloud;
  cloud.resize();
  overlay.width = cloud.canvas.width;
  overlay.height = cloud.canvas.height;
  if (first) cloud.camera = cloud.wholeCamera();
  else cloud.pan((cloud.width - width) / 2, (cloud.height - height) / 2);
  stampSize = 0;
  redraw();
}

start();
