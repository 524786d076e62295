// The map: coastlines and points on one canvas, in the Equal Earth projection.
import { geoEqualEarthRaw } from 'd3-geo';
import { mesh } from 'topojson-client';
import land from 'world-atlas/land-110m.json';

const RADIAN = Math.PI / 180;
const FEW = 20000; // points that are drawn as circles; more are set pixel by pixel
const WIDTH = 2 * geoEqualEarthRaw(Math.PI, 0)[0];
const HEIGHT = 2 * geoEqualEarthRaw(0, Math.PI / 2)[1];

/** Return the plane's coordinates of places, as two arrays. */
export function project(lon, lat) {
  const x = new Float32Array(lon.length);
  const y = new Float32Array(lon.length);
  for (let i = 0; i < lon.length; i++) [x[i], y[i]] = geoEqualEarthRaw(lon[i] * RADIAN, lat[i] * RADIAN);
  return { x, y };
}

function outline() {
  const path = new Path2D();
  for (const line of mesh(land).coordinates) {
    line.forEach(([lon, lat], i) => {
      const isJump = !i || Math.abs(lon - line[i - 1][0]) > 180; // across the antimeridian
      path[isJump ? 'moveTo' : 'lineTo'](...geoEqualEarthRaw(lon * RADIAN, lat * RADIAN));
    });
  }
  return path;
}

function lattice() {
  const path = new Path2D();
  const point = (kind, lon, lat) => path[kind](...geoEqualEarthRaw(lon * RADIAN, lat * RADIAN));
  for (let lon = -180; lon <= 180; lon += 30) for (let lat = -90; lat <= 90; lat += 5) point(lat === -90 ? 'moveTo' : 'lineTo', lon, lat);
  for (let lat = -60; lat <= 60; lat += 30) for (let lon = -180; lon <= 180; lon += 5) point(lon === -180 ? 'moveTo' : 'lineTo', lon, lat);
  return path;
}

/** A map that tells of the point under the pointer, of a click on one, and of a box. */
export class WorldMap {
  constructor(canvas, { hover, choose, move, box }) {
    Object.assign(this, { canvas, hover, choose, move, box });
    this.context = canvas.getContext('2d');
    this.paths = { land: outline(), lattice: lattice() };
    this.points = { x: new Float32Array(), y: new Float32Array(), index: new Uint8Array(), rows: new Uint32Array() };
    this.view = { x: 0, y: 0, k: 0 };
    this.marks = [];
    this.frames = [];
    new ResizeObserver(() => this.draw()).observe(canvas);
    this.#listen();
  }

  /** Show the rows of a selection; `place` has x and y, `dressing` colours, of all rows. */
  show(place, dressing, rows) {
    const x = new Float32Array(rows.length);
    const y = new Float32Array(rows.length);
    const index = new Uint8Array(rows.length);
    for (let i = 0; i < rows.length; i++) { const row = rows[i]; x[i] = place.x[row]; y[i] = place.y[row]; index[i] = dressing.index[row]; }
    this.points = { x, y, index, rows };
    this.colours = dressing.colours;
    this.packed = Uint32Array.from(dressing.colours, ([r, g, b]) => (255 << 24 | b << 16 | g << 8 | r) >>> 0);
    this.draw();
  }

  /** Look at a place: degrees, and pixels a unit of the plane; nothing: at the world. */
  look(text) {
    const [lon, lat, zoom] = (text ?? '').split(',').map(Number);
    const fit = Math.min(this.canvas.clientWidth / WIDTH, this.canvas.clientHeight / HEIGHT) * 0.98;
    if (!text || ![lon, lat, zoom].every(Number.isFinite)) this.view = { x: 0, y: 0, k: fit, isFit: true };
    else { const [x, y] = geoEqualEarthRaw(lon * RADIAN, lat * RADIAN); this.view = { x, y, k: fit * zoom }; }
    this.draw();
  }

  /** Return what `look` takes. */
  get where() {
    const fit = Math.min(this.canvas.clientWidth / WIDTH, this.canvas.clientHeight / HEIGHT) * 0.98;
    const [lon, lat] = geoEqualEarthRaw.invert(this.view.x, this.view.y).map((each) => each / RADIAN);
    return [lon.toFixed(3), lat.toFixed(3), (this.view.k / fit).toFixed(2)].join(',');
  }

  draw() {
    if (!this.waiting) this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.#draw(); });
  }

  #draw() {
    const begun = performance.now();
    const { canvas, context: ctx } = this;
    const ratio = Math.min(devicePixelRatio || 1, 2);
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width || !height) return;
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    if (!this.view.k || this.view.isFit) this.view = { x: 0, y: 0, isFit: true, k: Math.min(width / WIDTH, height / HEIGHT) * 0.98 };
    const style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(name);
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.fillStyle = colour('--sea');
    ctx.fillRect(0, 0, canvas.width, canvas.height);
    const k = this.view.k * ratio;
    ctx.setTransform(k, 0, 0, -k, canvas.width / 2 - this.view.x * k, canvas.height / 2 + this.view.y * k);
    ctx.lineWidth = 0.6 / this.view.k;
    ctx.strokeStyle = colour('--lattice');
    ctx.stroke(this.paths.lattice);
    ctx.strokeStyle = colour('--coast');
    ctx.lineWidth = 1 / this.view.k;
    ctx.stroke(this.paths.land);
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    if (this.points.rows.length <= FEW) this.#circles(ctx, k, ratio); else this.#pixels(ctx, k, ratio);
    for (const row of this.marks) this.#mark(ctx, row, k, ratio, colour('--text'));
    if (this.drag?.box) this.#band(ctx, ratio, colour('--text'));
    this.frames.push(performance.now() - begun);
    if (this.frames.length > 200) this.frames.shift();
  }

  #circles(ctx, k, ratio) {
    const { x, y, index } = this.points;
    const radius = (x.length > 2000 ? 2 : 3.5) * ratio;
    const [ox, oy] = [this.canvas.width / 2 - this.view.x * k, this.canvas.height / 2 + this.view.y * k];
    const byColour = new Map();
    for (let i = 0; i < x.length; i++) {
      let path = byColour.get(index[i]);
      if (!path) byColour.set(index[i], path = new Path2D());
      const [px, py] = [ox + x[i] * k, oy - y[i] * k];
      path.moveTo(px + radius, py);
      path.arc(px, py, radius, 0, 7);
    }
    ctx.lineWidth = ratio * 0.5;
    ctx.strokeStyle = 'rgba(0, 0, 0, 0.5)';
    for (const [at, path] of [...byColour].sort(([a], [b]) => b - a)) { // what has no value, 255, lies below
      ctx.fillStyle = `rgb(${this.colours[at].join()})`;
      ctx.fill(path);
      if (radius > 2 * ratio) ctx.stroke(path);
    }
  }

  #pixels(ctx, k, ratio) {
    const { width, height } = this.canvas;
    const { x, y, index } = this.points;
    this.layer ??= new OffscreenCanvas(1, 1);
    if (this.layer.width !== width || this.layer.height !== height) {
      Object.assign(this.layer, { width, height });
      this.image = new ImageData(width, height);
      this.words = new Uint32Array(this.image.data.buffer);
    }
    const words = this.words.fill(0);
    const size = Math.max(1, Math.round((x.length > 300000 ? 1 : 2) * ratio * Math.min(3, Math.max(1, this.view.k / 1000))));
    const [ox, oy] = [width / 2 - this.view.x * k, height / 2 + this.view.y * k];
    const packed = this.packed;
    for (let i = 0; i < x.length; i++) {
      const px = (ox + x[i] * k) | 0;
      const py = (oy - y[i] * k) | 0;
      if (px < 0 || py < 0 || px >= width - size || py >= height - size) continue;
      const colour = packed[index[i]];
      let at = py * width + px;
      if (size === 1) words[at] = colour;
      else for (let r = 0; r < size; r++, at += width) for (let c = 0; c < size; c++) words[at + c] = colour;
    }
    const surface = this.layer.getContext('2d');
    surface.putImageData(this.image, 0, 0);
    ctx.drawImage(this.layer, 0, 0);
  }

  #mark(ctx, { x, y }, k, ratio, colour) {
    const [px, py] = [this.canvas.width / 2 + (x - this.view.x) * k, this.canvas.height / 2 - (y - this.view.y) * k];
    ctx.strokeStyle = colour;
    ctx.lineWidth = 2 * ratio;
    ctx.beginPath();
    ctx.arc(px, py, 8 * ratio, 0, 7);
    ctx.stroke();
  }

  #band(ctx, ratio, colour) {
    const { box, from } = this.drag;
    ctx.strokeStyle = colour;
    ctx.lineWidth = ratio;
    ctx.setLineDash([4 * ratio, 3 * ratio]);
    ctx.strokeRect(from[0] * ratio, from[1] * ratio, (box[0] - from[0]) * ratio, (box[1] - from[1]) * ratio);
    ctx.setLineDash([]);
  }

  /** Return the place, in degrees, of a pixel; null beyond the map's edge. */
  place([px, py]) {
    const x = (px - this.canvas.clientWidth / 2) / this.view.k + this.view.x;
    const y = -(py - this.canvas.clientHeight / 2) / this.view.k + this.view.y;
    const [lon, lat] = geoEqualEarthRaw.invert(x, Math.max(-HEIGHT / 2, Math.min(HEIGHT / 2, y))).map((each) => each / RADIAN);
    return Math.abs(lon) <= 180.5 ? [lon, lat] : null;
  }

  /** Return the row of the point nearest to a pixel, -1 where none is within 10. */
  nearest([px, py], most = 10) {
    const { x, y, rows } = this.points;
    const cx = (px - this.canvas.clientWidth / 2) / this.view.k + this.view.x;
    const cy = -(py - this.canvas.clientHeight / 2) / this.view.k + this.view.y;
    let best = (most / this.view.k) ** 2;
    let found = -1;
    for (let i = 0; i < x.length; i++) {
      const distance = (x[i] - cx) ** 2 + (y[i] - cy) ** 2;
      if (distance <= best) { best = distance; found = rows[i]; }
    }
    return found;
  }

  /** Zoom by a factor about a pixel, by default the middle. */
  zoom(factor, [px, py] = [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2]) {
    const { x, y, k } = this.view;
    const next = Math.max(20, Math.min(2e6, k * factor));
    const [dx, dy] = [px - this.canvas.clientWidth / 2, py - this.canvas.clientHeight / 2];
    this.view = { x: x + dx / k - dx / next, y: y - dy / k + dy / next, k: next };
    this.#moved();
  }

  pan(dx, dy) {
    const { x, y, k } = this.view;
    this.view = { x: Math.max(-WIDTH / 2, Math.min(WIDTH / 2, x - dx / k)), y: Math.max(-HEIGHT / 2, Math.min(HEIGHT / 2, y + dy / k)), k };
    this.#moved();
  }

  #moved() {
    this.draw();
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.move(this.where), 300);
  }

  #listen() {
    const { canvas } = this;
    const at = (event) => { const { left, top } = canvas.getBoundingClientRect(); return [event.clientX - left, event.clientY - top]; };
    const fingers = new Map();
    canvas.addEventListener('wheel', (event) => { event.preventDefault(); this.zoom(Math.exp(-event.deltaY / 400), at(event)); }, { passive: false });
    canvas.addEventListener('pointerdown', (event) => {
      canvas.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, at(event));
      this.drag = { from: at(event), last: at(event), box: event.shiftKey || this.isBoxing ? at(event) : null };
    });
    canvas.addEventListener('pointermove', (event) => {
      if (!this.drag) { this.hover(this.nearest(at(event)), this.place(at(event))); return; }
      if (fingers.size === 2) { this.#pinch(fingers, event.pointerId, at(event)); return; }
      const [x, y] = at(event);
      if (this.drag.box) { this.drag.box = [x, y]; this.draw(); } else this.pan(x - this.drag.last[0], y - this.drag.last[1]);
      this.drag.last = [x, y];
      fingers.set(event.pointerId, [x, y]);
    });
    const end = (event) => { fingers.delete(event.pointerId); if (!fingers.size) this.#release(at(event)); };
    canvas.addEventListener('pointerup', end);
    canvas.addEventListener('pointercancel', end);
    canvas.addEventListener('keydown', (event) => this.#key(event));
  }

  #pinch(fingers, id, to) {
    const span = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a[0] - b[0], a[1] - b[1]); };
    const before = span();
    fingers.set(id, to);
    const [a, b] = [...fingers.values()];
    this.drag.isPinch = true;
    if (before) this.zoom(span() / before, [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2]);
  }

  #release(to) {
    const { drag } = this;
    this.drag = null;
    this.isBoxing = false;
    if (!drag || drag.isPinch) return;
    const isClick = Math.hypot(to[0] - drag.from[0], to[1] - drag.from[1]) < 4;
    if (isClick) { const row = this.nearest(to); if (row >= 0) this.choose(row); } else if (drag.box) this.#boxed(drag.from, to);
    this.draw();
  }

  #boxed(from, to) {
    const places = [from, to, [from[0], to[1]], [to[0], from[1]]].map((pixel) => this.place(pixel)).filter(Boolean);
    if (!places.length) return;
    const round = (value) => Math.round(value * 1000) / 1000;
    const [lon, lat] = [0, 1].map((axis) => places.map((place) => place[axis]));
    this.box([Math.min(...lon), Math.min(...lat), Math.max(...lon), Math.max(...lat)].map(round));
  }

  #key(event) {
    const steps = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
    if (steps[event.key]) this.pan(...steps[event.key]);
    else if (event.key === '+' || event.key === '=') this.zoom(1.5);
    else if (event.key === '-') this.zoom(1 / 1.5);
    else if (event.key === '0') { this.look(); this.#moved(); } else if (event.key === 'Enter') {
      const row = this.nearest([this.canvas.clientWidth / 2, this.canvas.clientHeight / 2], 1e9);
      if (row >= 0) this.choose(row);
    } else return;
    event.preventDefault();
  }
}
