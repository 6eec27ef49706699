// The chart: draws what is visible of a plan, finds bars under the pointer, and walks them by the keyboard.

import { stateOf } from "./plan.js";

const HEAD = 40;
const ROW = 28;
const PAD = 4;
const MAX_HEIGHT = 720;
const HOUR = 3_600_000;
const MIN_SPAN = HOUR / 4;
const MIN_LABEL_WIDTH = 26;
const DRAG_PIXELS = 4;
const STEPS = [0.25, 0.5, 1, 2, 4, 6, 12, 24].map((each) => each * HOUR);
const MIN_TICK_PIXELS = 46;

const LIGHT = {
  ground: "#ffffff", band: "#f5f7f9", ink: "#17212b", soft: "#566370", line: "#dde3e9", day: "#8794a1", hatch: "#c3ccd5",
  good: "#3f7fc4", tight: "#d79a1f", late: "#d2383d", none: "#8d99a6", onBar: "#ffffff", dark: "rgba(0,0,0,.33)", now: "#0a8f4f",
  mark: "#7a1015", ring: "#0b0f13",
};
const DARK = {
  ground: "#1a222b", band: "#1f2933", ink: "#e6ecf2", soft: "#9fadba", line: "#2c3844", day: "#5d6b79", hatch: "#3c4957",
  good: "#4d8fd8", tight: "#d79a1f", late: "#e4575b", none: "#6f7d8b", onBar: "#0c1117", dark: "rgba(0,0,0,.38)", now: "#45d98d",
  mark: "#ffb3b5", ring: "#ffffff",
};
export const PRIORITIES = { 1: "#c2410c", 2: "#2f7d9e", 3: "#7b8794" };
const HUES = 24;

/** The colour of a bar: by lateness, family, priority or setup group. */
export function colourOf(bar, colouring, palette) {
  if (colouring === "priority") return PRIORITIES[bar.priority] ?? PRIORITIES[2];
  if (colouring === "family") return hue(bar.family);
  if (colouring === "group") return bar.group === null ? palette.none : hue(bar.group);
  return palette[stateOf(bar)];
}

export function paletteNow() {
  const theme = document.documentElement.dataset.theme;
  const isDark = theme === "dark" || (theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  return isDark ? DARK : LIGHT;
}

function hue(text) {
  let sum = 7;
  for (let index = 0; index < text.length; index += 1) sum = (sum * 31 + text.charCodeAt(index)) >>> 0;
  return `hsl(${((sum % HUES) * 360) / HUES} 48% ${sum % 2 ? 42 : 50}%)`;
}

/** One plan on one canvas. `onSelect` is told of the bar that a person chose, null for none. */
export class GanttChart {
  constructor(canvas, clock, { onSelect, onHover }) {
    this.canvas = canvas;
    this.clock = clock;
    this.onSelect = onSelect;
    this.onHover = onHover;
    this.options = { colouring: "lateness", search: "", isLateOnly: false, hasDueMarks: true };
    this.selected = null;
    this.shift = 0;
    this._frame = 0;
    this._listeners = new AbortController();
    this._listen();
    this._resizes = new ResizeObserver(() => this._fit());
    this._resizes.observe(canvas.parentElement);
  }

  show(plan) {
    this.plan = plan;
    this.rows = plan.machines.map(() => []);
    for (const bar of plan.bars) {
      this.rows[bar.row].push(bar);
      for (const row of bar.alsoRows) this.rows[row].push(bar);
    }
    for (const row of this.rows) row.sort((one, other) => one.start - other.start);
    this.longest = this.rows.map((row) => row.reduce((most, bar) => Math.max(most, bar.end - bar.start), 0));
    this.whole();
    this._fit();
  }

  set(options) {
    Object.assign(this.options, options);
    this.draw();
  }

  select(bar, { reveals = true } = {}) {
    this.selected = bar;
    if (bar && reveals) this._reveal(bar);
    this.draw();
  }

  whole() {
    const margin = Math.max((this.plan.to - this.plan.from) * 0.01, HOUR / 4);
    this.from = this.plan.from - margin;
    this.to = this.plan.to + margin;
    this.draw();
  }

  /** `factor` below 1 shows less and larger; `x` is the pixel that keeps its place. */
  zoom(factor, x = (this.gutter + this.width) / 2) {
    const at = this._instant(x);
    const limit = 3 * (this.plan.to - this.plan.from) + 48 * HOUR;
    const span = Math.min(limit, Math.max(MIN_SPAN, (this.to - this.from) * factor));
    const share = (x - this.gutter) / (this.width - this.gutter);
    this.from = at - share * span;
    this.to = this.from + span;
    this.draw();
  }

  pan(dx, dy = 0) {
    const instants = (dx * (this.to - this.from)) / (this.width - this.gutter);
    this.from -= instants;
    this.to -= instants;
    this.shift = Math.max(0, Math.min(this._overflow(), this.shift - dy));
    this.draw();
  }

  close() {
    this._listeners.abort();
    this._resizes.disconnect();
    cancelAnimationFrame(this._frame);
  }

  /** Draws in the next frame; several wishes within one frame are drawn once. */
  draw() {
    if (!this.plan || this._frame || !this.width) return;
    this._frame = requestAnimationFrame(() => {
      this._frame = 0;
      this._paint();
    });
  }

  _fit() {
    const { canvas } = this;
    const width = canvas.parentElement.clientWidth;
    if (!this.plan || !width) return;
    this.width = width;
    this.gutter = width < 560 ? 66 : 104;
    this.height = Math.min(MAX_HEIGHT, HEAD + ROW * this.rows.length + 2);
    this.shift = Math.min(this.shift, this._overflow());
    const scale = devicePixelRatio || 1;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(this.height * scale);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${this.height}px`;
    this._paint();
  }

  _overflow() {
    return Math.max(0, HEAD + ROW * this.rows.length + 2 - this.height);
  }

  _x(at) {
    return this.gutter + ((at - this.from) / (this.to - this.from)) * (this.width - this.gutter);
  }

  _instant(x) {
    return this.from + ((x - this.gutter) / (this.width - this.gutter)) * (this.to - this.from);
  }

  _y(row) {
    return HEAD + row * ROW - this.shift;
  }

  _paint() {
    const started = performance.now();
    const paint = this.canvas.getContext("2d");
    const palette = paletteNow();
    const scale = devicePixelRatio || 1;
    paint.setTransform(scale, 0, 0, scale, 0, 0);
    paint.fillStyle = palette.ground;
    paint.fillRect(0, 0, this.width, this.height);
    paint.textBaseline = "middle";
    const first = Math.max(0, Math.floor(this.shift / ROW));
    const last = Math.min(this.rows.length - 1, Math.floor((this.shift + this.height - HEAD) / ROW));
    paint.save();
    paint.beginPath();
    paint.rect(this.gutter, HEAD, this.width - this.gutter, this.height - HEAD);
    paint.clip();
    this._paintGround(paint, palette, first, last);
    this._paintLines(paint, palette);
    let drawn = 0;
    for (let row = first; row <= last; row += 1) drawn += this._paintRow(paint, palette, row);
    if (this.options.hasDueMarks) this._paintDueMarks(paint, palette, first, last);
    this._paintRoute(paint, palette);
    this._paintNow(paint, palette);
    paint.restore();
    this._paintMachines(paint, palette, first, last);
    this._paintHead(paint, palette);
    // For whoever measures: what the last frame showed, and how long it took.
    this.canvas.dataset.bars = String(drawn);
    this.canvas.dataset.milliseconds = (performance.now() - started).toFixed(1);
  }

  _paintGround(paint, palette, first, last) {
    paint.fillStyle = palette.band;
    for (let row = first; row <= last; row += 1) if (row % 2) paint.fillRect(this.gutter, this._y(row), this.width, ROW);
    const hatch = hatching(paint, palette.hatch);
    paint.fillStyle = hatch;
    const bottom = this._y(this.rows.length);
    for (const [from, to] of this.plan.closed) {
      if (to > this.from && from < this.to) paint.fillRect(this._x(from), HEAD, Math.max(1, this._x(to) - this._x(from)), bottom - HEAD);
    }
    for (const [row, closures] of this.plan.closedMachines) {
      for (const [from, to] of closures) paint.fillRect(this._x(from), this._y(row), Math.max(1, this._x(to) - this._x(from)), ROW);
    }
  }

  _paintLines(paint, palette) {
    for (const { at, isDay } of this._ticks()) {
      paint.fillStyle = isDay ? palette.day : palette.line;
      paint.fillRect(Math.round(this._x(at)), HEAD, 1, this.height);
    }
  }

  /** Bars of one row that can be seen: by bisection, because most cannot. */
  *_visible(row) {
    const bars = this.rows[row];
    let [low, high] = [0, bars.length];
    const earliest = this.from - this.longest[row];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (bars[middle].start < earliest) low = middle + 1;
      else high = middle;
    }
    for (let index = low; index < bars.length && bars[index].start < this.to; index += 1) {
      if (bars[index].end > this.from) yield bars[index];
    }
  }

  _paintRow(paint, palette, row) {
    const y = this._y(row) + PAD;
    const height = ROW - 2 * PAD;
    let drawn = 0;
    paint.font = "11px system-ui, sans-serif";
    for (const bar of this._visible(row)) {
      drawn += 1;
      const isFaint = !this.matches(bar);
      const x = this._x(bar.start);
      const width = Math.max(1.5, this._x(bar.end) - x - 1);
      paint.globalAlpha = isFaint ? 0.16 : 1;
      paint.fillStyle = colourOf(bar, this.options.colouring, palette);
      paint.fillRect(x, y, width, height);
      if (bar.setupEnd > bar.start) {
        paint.fillStyle = palette.dark;
        paint.fillRect(x, y, Math.min(width, this._x(bar.setupEnd) - x), height);
      }
      for (const [from, to] of bar.pauses) {
        paint.fillStyle = palette.ground;
        paint.globalAlpha = isFaint ? 0.1 : 0.45;
        paint.fillRect(this._x(from), y + 3, this._x(to) - this._x(from), height - 6);
        paint.globalAlpha = isFaint ? 0.16 : 1;
      }
      if (width > MIN_LABEL_WIDTH) this._paintLabel(paint, palette, bar, Math.max(x, this.gutter), x + width, y + height / 2);
      if (bar.isImportant && width > 8) {
        paint.fillStyle = palette.ring;
        paint.fillRect(x, y, width, 2);
      }
    }
    paint.globalAlpha = 1;
    return drawn;
  }

  _paintLabel(paint, palette, bar, from, to, y) {
    const head = Math.min(this._x(bar.setupEnd), to);
    const start = head - from < (to - from) / 2 ? Math.max(from, head) : from;
    const room = to - start - 6;
    const width = paint.measureText(bar.job).width;
    paint.fillStyle = palette.onBar;
    if (width <= room) paint.fillText(bar.job, start + 4, y);
    else if (width <= to - from - 6) paint.fillText(bar.job, from + 4, y);
  }

  /** Where late bars were due, and those of the chosen family. */
  _paintDueMarks(paint, palette, first, last) {
    paint.fillStyle = palette.mark;
    for (let row = first; row <= last; row += 1) {
      for (const bar of this.rows[row]) {
        const isShown = bar.late > 0 || (this.selected && bar.family === this.selected.family);
        if (bar.due === null || !isShown || !this.matches(bar) || bar.due < this.from || bar.due > this.to) continue;
        const [x, y] = [this._x(bar.due), this._y(row)];
        paint.beginPath();
        paint.moveTo(x - 4, y);
        paint.lineTo(x + 4, y);
        paint.lineTo(x, y + 7);
        paint.fill();
        if (bar === this.selected) paint.fillRect(x - 0.5, y, 1.5, ROW);
      }
    }
  }

  /** The way of the chosen bar's family through the plant. */
  _paintRoute(paint, palette) {
    if (!this.selected) return;
    paint.strokeStyle = palette.ring;
    let before = null;
    for (const bar of this.plan.families.get(this.selected.family)) {
      const [x, y, end] = [this._x(bar.start), this._y(bar.row), this._x(bar.end)];
      paint.lineWidth = bar === this.selected ? 2.5 : 1.2;
      paint.strokeRect(x, y + PAD - 1, Math.max(2, end - x - 1), ROW - 2 * PAD + 2);
      if (before) {
        paint.lineWidth = 1.2;
        paint.setLineDash([4, 3]);
        paint.beginPath();
        paint.moveTo(...before);
        paint.lineTo(x, y + ROW / 2);
        paint.stroke();
        paint.setLineDash([]);
      }
      before = [end, y + ROW / 2];
    }
  }

  _paintNow(paint, palette) {
    const now = Date.now();
    if (now < this.from || now > this.to) return;
    paint.fillStyle = palette.now;
    paint.fillRect(Math.round(this._x(now)) - 1, HEAD, 2, this.height);
  }

  _paintMachines(paint, palette, first, last) {
    paint.save();
    paint.beginPath();
    paint.rect(0, HEAD, this.gutter, this.height);
    paint.clip();
    for (let row = first; row <= last; row += 1) {
      const y = this._y(row);
      paint.fillStyle = row % 2 ? palette.band : palette.ground;
      paint.fillRect(0, y, this.gutter, ROW);
      paint.fillStyle = palette.ink;
      paint.font = "12px system-ui, sans-serif";
      paint.fillText(clipped(paint, this.plan.machines[row].name, this.gutter - 14), 8, y + ROW / 2);
      // Types of machines stand apart.
      const above = this.plan.machines[row - 1];
      paint.fillStyle = above && above.type !== this.plan.machines[row].type ? palette.day : palette.line;
      paint.fillRect(0, y, this.gutter, 1);
    }
    paint.fillStyle = palette.day;
    paint.fillRect(this.gutter - 1, HEAD, 1, this.height);
    paint.restore();
  }

  _paintHead(paint, palette) {
    paint.fillStyle = palette.ground;
    paint.fillRect(0, 0, this.width, HEAD);
    paint.save();
    paint.beginPath();
    paint.rect(this.gutter, 0, this.width - this.gutter, HEAD);
    paint.clip();
    for (let day = this.clock.midnight(this.from); day < this.to; day = this.clock.nextMidnight(day)) {
      const next = this._x(this.clock.nextMidnight(day));
      const x = Math.max(this.gutter, this._x(day));
      const words = this.clock.day(day);
      paint.font = "600 12px system-ui, sans-serif";
      paint.fillStyle = palette.ink;
      if (paint.measureText(words).width + 8 < next - x) paint.fillText(words, x + 5, 11);
      paint.fillStyle = palette.day;
      if (this._x(day) >= this.gutter) paint.fillRect(Math.round(this._x(day)), 0, 1, HEAD);
    }
    paint.font = "11px system-ui, sans-serif";
    paint.fillStyle = palette.soft;
    for (const { at, isDay } of this._ticks()) if (!isDay) paint.fillText(this.clock.time(at), this._x(at) + 3, 29);
    paint.restore();
    paint.fillStyle = palette.day;
    paint.fillRect(0, HEAD - 1, this.width, 1);
  }

  /** Midnights, and between them hours of a step for which there is room, by the plant's clock. */
  *_ticks() {
    const pixels = (this.width - this.gutter) / (this.to - this.from);
    const step = STEPS.find((each) => each * pixels >= MIN_TICK_PIXELS) ?? 24 * HOUR;
    for (let day = this.clock.midnight(this.from); day < this.to; day = this.clock.nextMidnight(day)) {
      yield { at: day, isDay: true };
      const next = this.clock.nextMidnight(day);
      const local = day + this.clock.offset(day);
      for (let passed = step; passed < 24 * HOUR && step < 24 * HOUR; passed += step) {
        const at = this.clock.instant(local + passed);
        if (at > this.to || at >= next) break;
        if (at >= this.from) yield { at, isDay: false };
      }
    }
  }

  /** Whether a bar is what was searched for. */
  matches(bar) {
    const { search, isLateOnly } = this.options;
    if (isLateOnly && !(bar.late > 0)) return false;
    return !search || bar.job.toLowerCase().includes(search) || bar.family.toLowerCase().includes(search);
  }

  at(x, y) {
    if (x < this.gutter || y < HEAD) return null;
    const row = Math.floor((y - HEAD + this.shift) / ROW);
    if (row >= this.rows.length) return null;
    const [instant, slack] = [this._instant(x), this._instant(x + 3) - this._instant(x)];
    let found = null;
    for (const bar of this._visible(row)) if (bar.start - slack <= instant && instant <= bar.end + slack) found = bar;
    return found;
  }

  _reveal(bar) {
    const margin = (this.to - this.from) * 0.1;
    if (bar.end < this.from + margin / 2 || bar.start > this.to - margin / 2) {
      const span = this.to - this.from;
      this.from = (bar.start + bar.end - span) / 2;
      this.to = this.from + span;
    }
    const y = this._y(bar.row);
    if (y < HEAD) this.shift += y - HEAD;
    else if (y + ROW > this.height) this.shift += y + ROW - this.height;
  }

  /** The next bar for an arrow key: within the row, or the nearest in time of the next row that has one. */
  next(key) {
    const candidates = (row) => this.rows[row].filter((bar) => this.matches(bar) && bar.row === row);
    const here = this.selected;
    if (!here) return this.plan.bars.find((bar) => this.matches(bar)) ?? null;
    if (key === "ArrowLeft" || key === "ArrowRight") {
      const bars = candidates(here.row);
      return bars[bars.indexOf(here) + (key === "ArrowLeft" ? -1 : 1)] ?? here;
    }
    const step = key === "ArrowUp" ? -1 : 1;
    for (let row = here.row + step; row >= 0 && row < this.rows.length; row += step) {
      const bars = candidates(row);
      if (bars.length) return bars.reduce((one, other) => (Math.abs(other.start - here.start) < Math.abs(one.start - here.start) ? other : one));
    }
    return here;
  }

  _listen() {
    const { canvas } = this;
    const on = (target, name, act, options = {}) => target.addEventListener(name, act, { signal: this._listeners.signal, ...options });
    let drag = null;
    on(canvas, "wheel", (event) => {
      event.preventDefault();
      if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) this.pan(-(event.deltaX || event.deltaY));
      else this.zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2, Math.max(this.gutter, event.offsetX));
    }, { passive: false });
    on(canvas, "pointerdown", (event) => {
      drag = { x: event.clientX, y: event.clientY, moved: 0 };
      canvas.setPointerCapture(event.pointerId);
    });
    on(canvas, "pointermove", (event) => {
      if (!drag) {
        this.onHover(this.at(event.offsetX, event.offsetY), event);
        return;
      }
      const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
      drag = { x: event.clientX, y: event.clientY, moved: drag.moved + Math.abs(dx) + Math.abs(dy) };
      if (drag.moved > DRAG_PIXELS) this.pan(dx, dy);
    });
    on(canvas, "pointerup", (event) => {
      const isClick = drag && drag.moved <= DRAG_PIXELS;
      drag = null;
      if (isClick) this.onSelect(this.at(event.offsetX, event.offsetY));
    });
    on(canvas, "pointercancel", () => { drag = null; });
    on(canvas, "pointerleave", (event) => this.onHover(null, event));
    on(canvas, "keydown", (event) => {
      if (event.key.startsWith("Arrow")) this.onSelect(this.next(event.key));
      else if (event.key === "Escape") this.onSelect(null);
      else if (event.key === "+" || event.key === "=") this.zoom(1 / 1.5);
      else if (event.key === "-") this.zoom(1.5);
      else if (event.key === "0") this.whole();
      else return;
      event.preventDefault();
    });
    on(window, "themechange", () => this.draw());
    on(matchMedia("(prefers-color-scheme: dark)"), "change", () => this.draw());
  }
}

function clipped(paint, text, room) {
  if (paint.measureText(text).width <= room) return text;
  let end = text.length;
  while (end > 1 && paint.measureText(`${text.slice(0, end)}…`).width > room) end -= 1;
  return `${text.slice(0, end)}…`;
}

const tiles = new Map();
function hatching(paint, colour) {
  if (!tiles.has(colour)) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = 8;
    const brush = tile.getContext("2d");
    brush.strokeStyle = colour;
    brush.lineWidth = 1.4;
    for (const [x, y] of [[0, 8], [-4, 4], [4, 12]]) {
      brush.beginPath();
      brush.moveTo(x, y);
      brush.lineTo(x + 8, y - 8);
      brush.stroke();
    }
    tiles.set(colour, tile);
  }
  return paint.createPattern(tiles.get(colour), "repeat");
}
