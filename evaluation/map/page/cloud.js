// The points: where they are on the screen, drawing them, and finding them again under a pointer or in a lasso.
// Positions are in the unit square; a camera (scale, left, top) takes them to CSS pixels.

const CELLS = 96;
const MOST_ZOOM = 400;

class Cloud {
  constructor(canvas, xs, ys) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.xs = xs;
    this.ys = ys;
    this.camera = { scale: 1, left: 0, top: 0 };
    this.stamps = [];
    this.stampOf = new Uint16Array(xs.length);
    this.order = Uint32Array.from(xs.keys());
    this.index();
  }

  /** Points by cell of a grid, so that a look-up under the pointer reads a few cells and not all points. */
  index() {
    const cellOf = (i) => Math.min(CELLS - 1, Math.floor(this.ys[i] * CELLS)) * CELLS +
      Math.min(CELLS - 1, Math.floor(this.xs[i] * CELLS));
    this.cellStarts = new Uint32Array(CELLS * CELLS + 1);
    for (let i = 0; i < this.xs.length; i += 1) this.cellStarts[cellOf(i) + 1] += 1;
    for (let cell = 0; cell < CELLS * CELLS; cell += 1) this.cellStarts[cell + 1] += this.cellStarts[cell];
    const next = this.cellStarts.slice();
    this.cellMembers = new Uint32Array(this.xs.length);
    for (let i = 0; i < this.xs.length; i += 1) this.cellMembers[next[cellOf(i)]++] = i;
  }

  // The camera --------------------------------------------------------------------------------------------------

  resize() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth, clientHeight } = this.canvas;
    this.width = clientWidth;
    this.height = clientHeight;
    this.canvas.width = Math.round(clientWidth * ratio);
    this.canvas.height = Math.round(clientHeight * ratio);
    this.ratio = ratio;
  }

  /** The camera that shows a box of the unit square whole, with a margin in pixels. */
  cameraFor(box, margin) {
    const wide = Math.max(box.right - box.left, 1e-3);
    const high = Math.max(box.bottom - box.top, 1e-3);
    const room = Math.max(40, Math.min(this.width, this.height) - 2 * margin);
    const scale = Math.min(
      Math.max(40, this.width - 2 * margin) / wide,
      Math.max(40, this.height - 2 * margin) / high,
      room * MOST_ZOOM,
    );
    return {
      scale,
      left: this.width / 2 - scale * (box.left + box.right) / 2,
      top: this.height / 2 - scale * (box.top + box.bottom) / 2,
    };
  }

  wholeCamera() {
    return this.cameraFor({ left: 0, top: 0, right: 1, bottom: 1 }, 28);
  }

  /** How many times nearer than the whole map. */
  get zoom() {
    return this.camera.scale / this.wholeCamera().scale;
  }

  zoomAt(factor, x, y) {
    const whole = this.wholeCamera().scale;
    const scale = Math.min(Math.max(this.camera.scale * factor, whole * 0.5), whole * MOST_ZOOM);
    const real = scale / this.camera.scale;
    this.camera = {
      scale,
      left: x - (x - this.camera.left) * real,
      top: y - (y - this.camera.top) * real,
    };
  }

  pan(dx, dy) {
    this.camera = { ...this.camera, left: this.camera.left + dx, top: this.camera.top + dy };
  }

  screenX(i) {
    return this.xs[i] * this.camera.scale + this.camera.left;
  }

  screenY(i) {
    return this.ys[i] * this.camera.scale + this.camera.top;
  }

  /** Radius of a point in pixels: small in a crowd and on a small screen, larger on coming nearer. */
  get radius() {
    const crowded = 4.2 - 0.9 * Math.log10(Math.max(1, this.xs.length / 300));
    const room = Math.min(1, Math.sqrt(this.width * this.height) / 620);
    return Math.min(9, Math.max(1.6, crowded * room) * Math.max(1, this.zoom) ** 0.33);
  }

  // Drawing -----------------------------------------------------------------------------------------------------

  /** Draws every point of `order`, the last on top. Pixels are written by hand: without a graphics card that is
   *  ten times as fast as drawing 20,000 images. A margin as wide as a stamp saves looking at every pixel's place. */
  draw() {
    const { stamps, stampOf, order, xs, ys, ratio } = this;
    const margin = Math.ceil(this.radius * ratio * 2) + 4;
    const wide = this.canvas.width + 2 * margin;
    const high = this.canvas.height + 2 * margin;
    if (this.image?.width !== wide || this.image.height !== high) {
      this.image = new ImageData(wide, high);
      this.pixels = new Uint32Array(this.image.data.buffer);
    } else this.pixels.fill(0);
    const pixels = this.pixels;
    const scale = this.camera.scale * ratio;
    const left = this.camera.left * ratio + margin;
    const top = this.camera.top * ratio + margin;
    for (let place = 0; place < order.length; place += 1) {
      const i = order[place];
      const x = Math.round(xs[i] * scale + left);
      const y = Math.round(ys[i] * scale + top);
      if (x < margin || y < margin || x >= wide - margin || y >= high - margin) continue;
      const { rows, columns, colours } = stamps[stampOf[i]];
      const middle = y * wide + x;
      for (let k = 0; k < colours.length; k += 1) {
        const pixel = middle + rows[k] * wide + columns[k];
        pixels[pixel] = over(colours[k], pixels[pixel]);
      }
    }
    this.context.putImageData(this.image, -margin, -margin);
  }

  /** A point as the pixels around its middle that it colours: `shape` is dot, ring, cross or diamond; a `rim` is the
   *  colour of one more ring, or nothing. */
  stamp(colour, edgeColour, shape, size, rim) {
    const radius = this.radius * this.ratio * size;
    const edge = 2 * Math.ceil(radius * 2 + 2) + 1;
    const canvas = document.createElement("canvas");
    canvas.width = edge;
    canvas.height = edge;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const middle = edge / 2;
    context.fillStyle = colour;
    context.strokeStyle = edgeColour;
    context.lineWidth = Math.max(1, radius * 0.22);
    context.beginPath();
    if (shape === "cross") {
      const arm = radius * 1.15;
      context.moveTo(middle - arm, middle - arm);
      context.lineTo(middle + arm, middle + arm);
      context.moveTo(middle + arm, middle - arm);
      context.lineTo(middle - arm, middle + arm);
      context.strokeStyle = colour;
      context.lineWidth = Math.max(1.5, radius * 0.6);
    } else if (shape === "diamond") {
      const arm = radius * 1.4;
      context.moveTo(middle, middle - arm);
      context.lineTo(middle + arm, middle);
      context.lineTo(middle, middle + arm);
      context.lineTo(middle - arm, middle);
      context.closePath();
      context.fill();
    } else {
      context.arc(middle, middle, radius, 0, 2 * Math.PI);
      context.fill();
    }
    context.stroke();
    const ring = (ringColour, times) => {
      context.beginPath();
      context.arc(middle, middle, radius * times, 0, 2 * Math.PI);
      context.strokeStyle = ringColour;
      context.lineWidth = Math.max(1, radius * 0.35);
      context.stroke();
    };
    if (shape === "ring") ring(colour, 1.4);
    if (rim) ring(rim, 1.8);
    return stampOfPixels(new Uint32Array(context.getImageData(0, 0, edge, edge).data.buffer), edge);
  }

  // Finding -----------------------------------------------------------------------------------------------------

  /** The nearest point to a place on the screen within `reach` pixels, among those where `active` is 1; or -1. */
  nearest(x, y, reach, active) {
    const { scale, left, top } = this.camera;
    const cell = (value) => Math.min(CELLS - 1, Math.max(0, Math.floor(value * CELLS)));
    const [fromColumn, toColumn] = [cell((x - reach - left) / scale), cell((x + reach - left) / scale)];
    const [fromRow, toRow] = [cell((y - reach - top) / scale), cell((y + reach - top) / scale)];
    let best = -1;
    let bestDistance = reach * reach;
    for (let row = fromRow; row <= toRow; row += 1) {
      const first = this.cellStarts[row * CELLS + fromColumn];
      const last = this.cellStarts[row * CELLS + toColumn + 1];
      for (let member = first; member < last; member += 1) {
        const i = this.cellMembers[member];
        if (!active[i]) continue;
        const distance = (this.screenX(i) - x) ** 2 + (this.screenY(i) - y) ** 2;
        if (distance < bestDistance) {
          best = i;
          bestDistance = distance;
        }
      }
    }
    return best;
  }

  /** The nearest active point in a quarter of directions around (dx, dy), seen from a place of the unit square. */
  towards(x, y, dx, dy, active, except) {
    let best = -1;
    let bestDistance = Infinity;
    for (let i = 0; i < this.xs.length; i += 1) {
      if (!active[i] || i === except) continue;
      const along = (this.xs[i] - x) * dx + (this.ys[i] - y) * dy;
      const aside = Math.abs((this.xs[i] - x) * dy) + Math.abs((this.ys[i] - y) * dx);
      const distance = along + 2 * aside;
      if (along > 0 && aside <= along && distance < bestDistance) {
        best = i;
        bestDistance = distance;
      }
    }
    return best;
  }

  /** Active points inside a polygon of [x, y] on the screen, by the even-odd rule. */
  inside(polygon, active) {
    const found = [];
    for (let i = 0; i < this.xs.length; i += 1) {
      if (active[i] && isInside(polygon, this.screenX(i), this.screenY(i))) found.push(i);
    }
    return found;
  }
}

/** The pixels of a square that are not clear, by row and column from its middle. */
function stampOfPixels(pixels, size) {
  const painted = Array.from(pixels.keys()).filter((place) => pixels[place] >>> 24);
  const middle = (size - 1) / 2;
  return {
    rows: Int16Array.from(painted, (place) => Math.floor(place / size) - middle),
    columns: Int16Array.from(painted, (place) => (place % size) - middle),
    colours: Uint32Array.from(painted, (place) => pixels[place]),
  };
}

/** One colour (alpha, blue, green, red from the highest byte) over another. */
function over(above, below) {
  const alpha = above >>> 24;
  if (alpha === 255 || below === 0) return above;
  const beneath = 255 - alpha;
  const redBlue = (((above & 0xff00ff) * alpha + (below & 0xff00ff) * beneath) >>> 8) & 0xff00ff;
  const green = (((above & 0xff00) * alpha + (below & 0xff00) * beneath) >>> 8) & 0xff00;
  return ((Math.max(alpha, below >>> 24) << 24) | redBlue | green) >>> 0;
}

function isInside(polygon, x, y) {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i, i += 1) {
    const [xi, yi] = polygon[i];
    const [xj, yj] = polygon[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}
