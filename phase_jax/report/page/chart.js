// A line chart in SVG: every seed thin, means thick, one cursor for mouse, finger and keyboard.

const PAD = { left: 60, right: 14, top: 14, bottom: 46 };
const MARKERS = {
  circle: "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z",
  square: "M-3.6,-3.6h7.2v7.2h-7.2z",
  triangle: "M0,-4.8L4.6,3.6H-4.6z",
  diamond: "M0,-5L5,0L0,5L-5,0z",
  cross: "M-4,-4L4,4M-4,4L4,-4",
};

function element(parent, name, attributes = {}, text = null) {
  const isShape = parent.namespaceURI.endsWith("svg") || name === "svg";
  const space = isShape ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
  const made = document.createElementNS(space, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  parent.append(made);
  return made;
}

function niceStep(span, count, isWhole = false) {
  const rough = Math.max(span / count, isWhole ? 1 : 0);
  const power = 10 ** Math.floor(Math.log10(rough));
  return (isWhole ? [1, 2, 5, 10] : [1, 2, 2.5, 5, 10]).map((m) => m * power).find((step) => step >= rough * 0.999);
}

function niceTicks(low, high, count, isWhole = false) {
  const step = niceStep(high - low || 1, count, isWhole);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) ticks.push(k * step);
  return ticks.map((tick) => Number(tick.toPrecision(10)));
}

function shorten(value, digits = 3) {
  return value === null ? "–" : String(Number(value.toPrecision(digits)));
}

// Positions in [0, 1] and ticks. On a logarithmic axis zero stands apart, at the left edge.
function makeAxis(values, isLog, unit, count) {
  const positive = values.filter((value) => value > 0);
  const high = values.length ? Math.max(...values) : 1;
  const low = Math.min(...positive);
  const toText = (value) => shorten(value * unit, 4);
  if (!isLog || !positive.length) {
    const end = high > 0 ? high : 1 / unit;
    const ticks = niceTicks(0, end * unit, count).map((tick) => tick / unit);
    return { place: (value) => value / end, ticks, toText, isBroken: false };
  }
  const gap = values.includes(0) ? 0.14 : 0.02;
  const span = Math.log(high / low);
  const place = (value) => {
    if (value <= 0) return 0;
    if (value < low) return (gap * value) / low;
    return span > 0 ? gap + ((1 - gap) * Math.log(value / low)) / span : 0.6;
  };
  const ticks = [0];
  for (let d = Math.floor(Math.log10(low * unit)); d <= Math.log10(high * unit); d++) {
    for (const m of [1, 2, 5]) {
      const value = (m * 10 ** d) / unit;
      if (value >= low * 0.999 && value <= high * 1.001) ticks.push(value);
    }
  }
  if (ticks.length < 3) ticks.push(...(span > 0 ? [low, high] : [low]));
  return { place, ticks, toText, isBroken: values.includes(0) };
}

function makeEpochAxis(epochs) {
  const [low, high] = [epochs[0], epochs.at(-1)];
  const place = (value) => (high > low ? (value - low) / (high - low) : 0.5);
  const ticks = niceTicks(low, high, 8, true);
  return { place, ticks: ticks.includes(low) ? ticks : [low, ...ticks], toText: String, isBroken: false };
}

class Chart {
  constructor(host, label, { onMove, onPick }) {
    this.label = label;
    this.hidden = new Set();
    this.onMove = onMove;
    this.at = element(host, "p", { class: "at" });
    this.legend = element(host, "ul", { class: "legend" });
    this.svg = element(host, "svg", { tabindex: 0, role: "slider", "aria-label": label });
    const nearest = (event) => {
      const box = this.svg.getBoundingClientRect();
      const x = event.clientX - box.left;
      const distances = this.spec.x.map((value) => Math.abs(this.toX(value) - x));
      return distances.indexOf(Math.min(...distances));
    };
    this.svg.addEventListener("pointermove", (event) => onMove(nearest(event)));
    this.svg.addEventListener("pointerdown", (event) => {
      onMove(nearest(event));
      if (onPick) onPick(nearest(event));
    });
    this.svg.addEventListener("keydown", (event) => this.handleKey(event, onPick));
    new ResizeObserver(() => this.spec && this.svg.clientWidth !== this.width && this.draw())
      .observe(host);
  }

  handleKey(event, onPick) {
    const last = this.spec.x.length - 1;
    const moves = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 };
    const ends = { Home: 0, End: last };
    let place = this.cursor;
    if (event.key in moves) place = Math.min(Math.max(place + moves[event.key], 0), last);
    else if (event.key in ends) place = ends[event.key];
    else if (event.key === "Enter" && onPick) onPick(place);
    else return;
    event.preventDefault();
    this.onMove(place);
  }

  // spec: x, axis, xTitle, nameX(i), series [{name, colour, marker, mean, lines}], levels, band,
  // uprights, failed [i], dots, isShare, connect
  show(spec, cursor) {
    this.spec = spec;
    this.cursor = Math.min(cursor, spec.x.length - 1);
    this.draw();
  }

  visible() {
    return this.spec.series.filter((series) => !this.hidden.has(series.name));
  }

  findHeights() {
    const levels = this.spec.levels.map((level) => level.value);
    const values = this.visible().flatMap((series) => [...series.lines.flat(), ...series.mean]);
    const all = [...values, ...levels].filter((value) => value !== null);
    if (!all.length) return [0, 1];
    const [low, high] = [Math.min(...all), Math.max(...all)];
    if (this.spec.isShare) return [Math.max(Math.floor(10 * low - 0.5) / 10, 0), 1];
    if (low < 0 || (low > high / 2 && high > low)) {
      return [low - (high - low) / 5, high + (high - low) / 5];
    }
    return [0, 1.08 * high || 1];
  }

  draw() {
    this.width = this.svg.clientWidth || 320;
    this.height = Math.round(Math.min(Math.max(0.62 * this.width, 240), 380));
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    this.svg.style.height = `${this.height}px`;
    const [low, high] = this.findHeights();
    const [right, bottom] = [this.width - PAD.right, this.height - PAD.bottom];
    this.toX = (value) => PAD.left + this.spec.axis.place(value) * (right - PAD.left);
    this.toY = (value) => bottom - ((value - low) / (high - low)) * (bottom - PAD.top);
    this.svg.replaceChildren();
    this.drawAxes(low, high, right, bottom);
    this.drawStar(right, bottom);
    this.drawLines();
    this.marks = element(this.svg, "g");
    this.drawLegend();
    this.moveTo(this.cursor);
  }

  drawAxes(low, high, right, bottom) {
    const group = element(this.svg, "g", { class: "axis", "aria-hidden": true });
    const { axis, xTitle, yTitle, isShare } = this.spec;
    for (const tick of niceTicks(low, high, 5)) {
      const y = this.toY(tick);
      element(group, "line", { x1: PAD.left, x2: right, y1: y, y2: y });
      const text = isShare ? `${Math.round(100 * tick)} %` : shorten(tick, 4);
      element(group, "text", { x: PAD.left - 7, y: y + 4, "text-anchor": "end" }, text);
    }
    let free = -Infinity;
    for (const tick of axis.ticks) {
      const [x, text] = [this.toX(tick), axis.toText(tick)];
      const half = 3.6 * text.length;
      if (x - half < free || x > right + 1) continue;
      free = x + half + 6;
      element(group, "text", { x, y: bottom + 17, "text-anchor": "middle" }, text);
      element(group, "line", { x1: x, x2: x, y1: bottom, y2: bottom + 5, class: "base" });
    }
    element(group, "line", { x1: PAD.left, x2: right, y1: bottom, y2: bottom, class: "base" });
    if (axis.isBroken) {
      const x = PAD.left + 0.07 * (right - PAD.left);
      element(group, "text", { x, y: bottom + 4, "text-anchor": "middle" }, "//");
    }
    const middle = (PAD.left + right) / 2;
    const at = { x: middle, y: this.height - 8, "text-anchor": "middle", class: "title" };
    element(group, "text", at, xTitle);
    const turn = { transform: `translate(13 ${(PAD.top + bottom) / 2}) rotate(-90)` };
    element(group, "text", { ...turn, "text-anchor": "middle", class: "title" }, yTitle);
  }

  drawStar(right, bottom) {
    const { band, uprights, levels } = this.spec;
    if (band) {
      const start = this.toX(band.low);
      const end = band.high === null ? right : Math.min(this.toX(band.high), right);
      const box = { x: start, y: PAD.top, height: bottom - PAD.top, class: "band" };
      if (end > start) element(this.svg, "rect", { ...box, width: end - start });
    }
    for (const { x, colour } of uprights) {
      if (this.toX(x) > right + 1) continue;
      const line = { x1: this.toX(x), x2: this.toX(x), y1: PAD.top, y2: bottom, class: "upright" };
      element(this.svg, "line", { ...line, stroke: `var(--${colour})` });
    }
    for (const { value, colour } of levels) {
      const y = this.toY(value);
      const line = { x1: PAD.left, x2: right, y1: y, y2: y, class: "level" };
      element(this.svg, "line", { ...line, stroke: `var(--${colour})` });
    }
  }

  drawLines() {
    const { x, connect, failed, dots } = this.spec;
    const trace = (values) => {
      let path = "", pen = "M";
      values.forEach((value, i) => {
        if (value !== null) {
          path += `${pen}${this.toX(x[i]).toFixed(1)},${this.toY(value).toFixed(1)}`;
          pen = "L";
        } else if (!connect) pen = "M";
      });
      return path;
    };
    for (const series of this.visible()) {
      const stroke = `var(--${series.colour})`;
      if (series.lines.length > 1) {
        for (const line of series.lines) {
          element(this.svg, "path", { d: trace(line), class: "seed", stroke });
        }
      }
      element(this.svg, "path", { d: trace(series.mean), class: "mean", stroke });
      if (x.length <= 60) series.mean.forEach((value, i) => this.mark(this.svg, series, i, value, 1));
    }
    for (const i of failed) {
      const at = `translate(${this.toX(x[i])} ${PAD.top + 4})`;
      element(this.svg, "path", { d: MARKERS.cross, transform: at, class: "failed" });
    }
    for (const dot of dots) {
      if (this.hidden.has(dot.series.name)) continue;
      const at = { cx: this.toX(dot.x), cy: this.toY(dot.y), r: 5, "stroke-width": 2 };
      const paint = { fill: "var(--card)", stroke: `var(--${dot.series.colour})` };
      element(this.svg, "circle", { ...at, ...paint });
    }
  }

  mark(parent, series, i, value, size) {
    if (value === null) return;
    const transform = `translate(${this.toX(this.spec.x[i])} ${this.toY(value)}) scale(${size})`;
    const fill = `var(--${series.colour})`;
    element(parent, "path", { d: MARKERS[series.marker], transform, fill });
  }

  drawLegend() {
    this.legend.replaceChildren();
    this.outputs = new Map();
    const { series, levels, uprights, failed, dots } = this.spec;
    for (const entry of series) {
      const row = element(this.legend, "li");
      const button = element(row, "button", { type: "button" });
      button.setAttribute("aria-pressed", !this.hidden.has(entry.name));
      this.drawSwatch(button, entry.colour, MARKERS[entry.marker], "");
      element(button, "span", {}, entry.name);
      button.addEventListener("click", () => {
        this.hidden.delete(entry.name) || this.hidden.add(entry.name);
        this.draw();
        [...this.legend.querySelectorAll("button")][series.indexOf(entry)].focus();
      });
      this.outputs.set(entry, element(row, "span", { class: "number" }));
    }
    const still = [
      ...levels.map((level) => [level.name, level.colour, "", "6 4", level.text]),
      ...uprights.map((line) => [line.name, line.colour, "", "", line.text]),
      ...(dots.length ? [["selected epoch", dots[0].series.colour, "ring", "0 99", ""]] : []),
      ...(failed.length ? [["lanes failed here", "bad", MARKERS.cross, "0 99", ""]] : []),
    ];
    for (const [name, colour, marker, dash, text] of still) {
      const row = element(this.legend, "li");
      this.drawSwatch(row, colour, marker, dash);
      element(row, "span", {}, name);
      element(row, "span", { class: "number" }, text);
    }
  }

  drawSwatch(parent, colour, marker, dash) {
    const swatch = element(parent, "svg", { viewBox: "0 0 26 12", "aria-hidden": true });
    const paint = { stroke: `var(--${colour})`, "stroke-width": 2.4 };
    element(swatch, "path", { d: "M1,6H25", "stroke-dasharray": dash, ...paint });
    const filled = { ...paint, "stroke-width": marker === MARKERS.cross ? 2 : 0 };
    const fill = `var(--${colour})`;
    const ring = { cx: 13, cy: 6, r: 4.5, fill: "var(--card)", ...paint, "stroke-width": 2 };
    if (marker === "ring") element(swatch, "circle", ring);
    else if (marker) element(swatch, "path", { d: marker, transform: "translate(13 6)", fill, ...filled });
  }

  moveTo(place) {
    this.cursor = Math.min(place, this.spec.x.length - 1);
    const { x, nameX, isShare } = this.spec;
    this.marks.replaceChildren();
    const at = this.toX(x[this.cursor]);
    const bottom = this.height - PAD.bottom;
    element(this.marks, "line", { x1: at, x2: at, y1: PAD.top, y2: bottom, class: "cursor" });
    const spoken = [];
    for (const [series, output] of this.outputs) {
      const isHidden = this.hidden.has(series.name);
      const value = isHidden ? null : (series.mean[this.cursor] ?? null);
      const share = value === null ? "–" : `${(100 * value).toFixed(1)} %`;
      output.textContent = isShare ? share : shorten(value);
      if (!isHidden) this.mark(this.marks, series, this.cursor, value, 1.5);
      if (value !== null) spoken.push(`${series.name} ${output.textContent}`);
    }
    this.at.textContent = `at ${nameX(this.cursor)}`;
    const state = { min: 0, max: x.length - 1, now: this.cursor };
    for (const [key, value] of Object.entries(state)) this.svg.setAttribute(`aria-value${key}`, value);
    const text = `${nameX(this.cursor)}: ${spoken.join(", ") || "no value"}`;
    this.svg.setAttribute("aria-valuetext", text);
  }
}
