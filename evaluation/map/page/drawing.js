// The map as it is drawn: colours, points, names of regions, rings, and the flight from one view to another.

const cloud = new Cloud(
  element("points"),
  Float64Array.from(pairs.x, (value) => value / data.unit),
  Float64Array.from(pairs.y, (value) => value / data.unit),
);
const overlay = element("overlay");
const pen = overlay.getContext("2d");

const SHAPES = ["dot", "ring", "cross", "diamond"];
const HUES = 6;
const COLOURS = ["faded", "none", "other", ...Array.from({ length: HUES }, (_, i) => `hue-${i}`),
  ...Array.from({ length: 5 }, (_, i) => `step-${i}`), "lit"];
let stampSize = 0;
let scheme = {};

/** The colours of the style sheet, read again when light turns to dark. */
function readScheme() {
  const style = getComputedStyle(document.documentElement);
  const names = [...COLOURS, "edge", "ink", "halo", "accent"];
  scheme = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/** The name of each value's colour: the six most common of a group have one of their own. */
function coloursOf(facet, counts) {
  if (facet.kind === "steps") return facet.values.map((_, value) => `step-${value}`);
  if (facet === UNDECIDED) return ["hue-2", "hue-1", "hue-0"];
  const colours = facet.values.map(() => "other");
  const common = counts.map((count, value) => [count, value]).sort((a, b) => b[0] - a[0]);
  common.slice(0, HUES).forEach(([, value], place) => {
    colours[value] = `hue-${place}`;
  });
  return colours;
}

/** Of a pair's values the rarest that has a colour of its own, since it says most. */
function colourOf(values, colours, counts) {
  let best = "none";
  let fewest = Infinity;
  for (const value of values) {
    const weight = colours[value] === "other" ? 1e9 : counts[value];
    if (weight < fewest) {
      fewest = weight;
      best = colours[value];
    }
  }
  return best;
}

/** Gives every pair its colour and shape, after anything that they depend on has changed. */
function paint() {
  const facet = state.facet;
  const { counts, none } = countsOf(facet);
  const colours = coloursOf(facet, counts);
  const buckets = COLOURS.map(() => []);
  for (let i = 0; i < total; i += 1) {
    let colour = "faded";
    if (state.lit[i]) {
      colour = state.only === null ? colourOf(valuesOf(facet, i), colours, counts) : (colours[state.only] ?? "lit");
      // Among faded points the greys would be lost.
      if (state.only !== null && colour === "other") colour = "lit";
      if (state.litCount < total && colour === "none") colour = "other";
    }
    const slot = COLOURS.indexOf(colour);
    buckets[slot].push(i);
    const shape = 1 + DECISIONS.indexOf(state.decisions.get(i));
    cloud.stampOf[i] = (slot * SHAPES.length + shape) * 2 + (state.selection.has(i) ? 1 : 0);
  }
  // The rarer a colour, the later it is drawn. Steps are drawn as they come: with the highest last, a crowd would look
  // surer than it is.
  const steps = buckets.slice(3 + HUES).flat().sort((a, b) => a - b);
  cloud.order = Uint32Array.from([...buckets.slice(0, 3 + HUES).flat(), ...steps]);
  drawLegend(facet, counts, none, colours);
  stampSize = 0;
  redraw();
}

/** Makes the stamps for the present size of a point; again only when it has changed visibly. */
function prepareStamps() {
  const size = Math.round(cloud.radius * cloud.ratio * 4);
  if (size === stampSize) return;
  stampSize = size;
  cloud.stamps = [];
  for (const number of new Set(cloud.stampOf)) {
    const [slot, shape] = [Math.floor(number / 2 / SHAPES.length), Math.floor(number / 2) % SHAPES.length];
    const share = { faded: 0.7, none: 0.8 }[COLOURS[slot]] ?? 1;
    const rim = number % 2 ? scheme.accent : "";
    cloud.stamps[number] = cloud.stamp(scheme[COLOURS[slot]], scheme.edge, SHAPES[shape], share, rim);
  }
}

let waiting = 0;
let pointsAreStale = false;

/** Draws at the next frame: everything, or without `points` only what lies over them. */
function redraw(points = true) {
  pointsAreStale ||= points;
  waiting ||= requestAnimationFrame(() => {
    waiting = 0;
    if (pointsAreStale) {
      prepareStamps();
      cloud.draw();
      pointsAreStale = false;
    }
    drawOverlay();
  });
}

const TYPEFACE = 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
/** The corner that the buttons of the view take. */
const BUTTONS = { wide: 58, high: 190 };
let labelBoxes = [];

function regionName(number) {
  return state.veil ? `Region ${number + 1}` : data.regions[number].name;
}

function drawOverlay() {
  pen.setTransform(cloud.ratio, 0, 0, cloud.ratio, 0, 0);
  pen.clearRect(0, 0, cloud.width, cloud.height);
  drawLabels();
  pen.lineWidth = 2;
  pen.strokeStyle = scheme.ink;
  if (state.hovered >= 0) ringAt(state.hovered, 4, 2);
  if (state.held >= 0) {
    ringAt(state.held, 4, 2.5);
    ringAt(state.held, 9, 1);
  }
  if (state.lasso?.length > 1) {
    pen.beginPath();
    state.lasso.forEach(([x, y]) => pen.lineTo(x, y));
    pen.closePath();
    pen.globalAlpha = 0.12;
    pen.fillStyle = scheme.accent;
    pen.fill();
    pen.globalAlpha = 1;
    pen.setLineDash([5, 4]);
    pen.lineWidth = 1.5;
    pen.strokeStyle = scheme.accent;
    pen.stroke();
    pen.setLineDash([]);
  }
}

function ringAt(i, outside, width) {
  const x = cloud.screenX(i);
  const y = cloud.screenY(i);
  if (x < -20 || y < -20 || x > cloud.width + 20 || y > cloud.height + 20) return;
  pen.beginPath();
  pen.arc(x, y, cloud.radius + outside, 0, 2 * Math.PI);
  pen.lineWidth = width;
  pen.stroke();
}

/** Names of regions, the largest first; one that would lie over another waits until the map is nearer. */
function drawLabels() {
  labelBoxes = [];
  pen.font = `600 ${cloud.width < 500 ? 11 : 12.5}px ${TYPEFACE}`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.lineJoin = "round";
  const bySize = data.regions.map((_, number) => number).sort((a, b) => data.regions[b].count - data.regions[a].count);
  for (const number of bySize) {
    const region = data.regions[number];
    const name = regionName(number);
    let x = (region.x / data.unit) * cloud.camera.scale + cloud.camera.left;
    const y = (region.y / data.unit) * cloud.camera.scale + cloud.camera.top;
    const half = pen.measureText(name).width / 2 + 4;
    const buttons = y < BUTTONS.high ? BUTTONS.wide : 0;
    if (x > 0 && x < cloud.width) x = Math.max(half, Math.min(x, cloud.width - half - buttons));
    const box = { number, left: x - half, right: x + half, top: y - 10, bottom: y + 10 };
    const outside = box.right < 0 || box.left > cloud.width || box.bottom < 0 || box.top > cloud.height;
    if (outside || labelBoxes.some((other) => overlap(box, other))) continue;
    labelBoxes.push(box);
    pen.globalAlpha = state.region >= 0 && state.region !== number ? 0.35 : 1;
    pen.lineWidth = 4;
    pen.strokeStyle = scheme.halo;
    pen.strokeText(name, x, y);
    pen.fillStyle = scheme.ink;
    pen.fillText(name, x, y);
    pen.globalAlpha = 1;
  }
}

function overlap(a, b) {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}

let flight = 0;

/** Moves to another view, in a quarter of a second unless the user's system asks for less motion. */
function fly(camera) {
  const start = cloud.camera;
  flight += 1;
  const mine = flight;
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
    cloud.camera = camera;
    redraw();
    return;
  }
  const begun = performance.now();
  const step = (now) => {
    if (mine !== flight) return;
    const share = Math.min(1, Math.max(0, now - begun) / 260);
    const eased = 1 - (1 - share) ** 3;
    // The scale moves by factors, so that near and far feel alike; the middle of the view moves in a straight line.
    const scale = start.scale * (camera.scale / start.scale) ** eased;
    const middle = (from, to, size) => {
      const a = (size / 2 - from.left) / from.scale;
      const b = (size / 2 - to.left) / to.scale;
      return size / 2 - (a + (b - a) * eased) * scale;
    };
    cloud.camera = {
      scale,
      left: middle(start, camera, cloud.width),
      top: middle({ left: start.top, scale: start.scale }, { left: camera.top, scale: camera.scale }, cloud.height),
    };
    redraw();
    if (share < 1) requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
}
