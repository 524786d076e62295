// The points that have come, while the rest of a large manifest is on its way.
import { project } from './map.js';

const GREY = Array.from({ length: 256 }, () => [128, 128, 128]);
const OFTEN = 200; // milliseconds from one picture to the next

/** Collects pieces of two columns, and shows the rows of which both are there. */
export class Preview {
  constructor(n, show) {
    Object.assign(this, { n, show, came: 0, last: 0, waiting: new Map(), rows: new Uint32Array(n) });
    this.place = { x: new Float32Array(n), y: new Float32Array(n) };
  }

  get isWhole() { return this.came === this.n; }

  /** Take a piece of `lon` or `lat`. */
  take(name, { begin, values }) {
    const piece = { ...this.waiting.get(begin), [name]: values };
    this.waiting.set(begin, piece);
    if (!piece.lon || !piece.lat) return;
    this.waiting.delete(begin);
    const { x, y } = project(piece.lon, piece.lat);
    this.place.x.set(x, begin);
    this.place.y.set(y, begin);
    for (let i = 0; i < x.length; i++) this.rows[this.came++] = begin + i;
    if (this.isWhole || performance.now() - this.last < OFTEN) return;
    this.show(this.place, { index: new Uint8Array(this.n), colours: GREY }, this.rows.subarray(0, this.came));
    this.last = performance.now();
  }
}
