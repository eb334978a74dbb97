"use strict";
// What every figure is made of: elements, scales, axes, canvases that are drawn anew, tables that sort.
window.arbd = (() => {
  const redraws = new Set();

  // Text only: nothing of the data ever becomes markup.
  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== undefined) made.setAttribute(key, value);
    for (const child of children) if (child !== null && child !== undefined) made.append(child);
    return made;
  }
  function shown(value) {
    if (value === null || value === undefined) return "–";
    if (typeof value !== "number") return String(value);
    if (Number.isInteger(value)) return Math.abs(value) < 1e15 ? value.toLocaleString("en") : String(value);
    if (Math.abs(value) >= 1e3 && Math.abs(value) < 1e15) return value.toLocaleString("en", { maximumFractionDigits: 2 });
    return Number(value.toPrecision(6)).toString();
  }
  // Money and the like, for headlines: as many digits as are read.
  function brief(value) {
    if (typeof value !== "number") return shown(value);
    if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en");
    return Number(value.toPrecision(4)).toString();
  }
  const percent = (share) => `${(100 * share).toFixed(Math.abs(share) < 0.1 ? 2 : 1)} %`;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const note = (text) => element("p", { class: "note" }, text);
  const say = (text) => { const status = document.getElementById("status"); if (status) status.textContent = text; };
  function duration(seconds) {
    if (seconds === null || seconds === undefined) return "–";
    if (seconds < 120) return `${Math.round(seconds)} s`;
    const minutes = Math.round(seconds / 60);
    return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
  }

  // A canvas that is drawn anew when its width, the colours or a control changes. `label()` is what it shows, in words.
  function canvas(height, label, draw) {
    const made = element("canvas", { role: "img" });
    made.points = [];
    made.redraw = () => {
      if (!made.isConnected) { redraws.delete(made); return; }
      const width = made.clientWidth || 300;
      const tall = typeof height === "function" ? height() : height;
      const scale = window.devicePixelRatio || 1;
      made.width = width * scale;
      made.height = tall * scale;
      made.style.height = `${tall}px`;
      made.setAttribute("aria-label", label());
      const pen = made.getContext("2d");
      pen.scale(scale, scale);
      pen.font = "12px system-ui, sans-serif";
      made.points = [];
      draw(pen, width, tall, made);
    };
    redraws.add(made);
    made.addEventListener("mousemove", (event) => near(made, event));
    made.addEventListener("mouseleave", () => { document.getElementById("tip").hidden = true; });
    return made;
  }
  const redrawAll = () => { for (const made of [...redraws]) made.redraw(); };
  let waiting = 0;
  window.addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(redrawAll, 150); });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
  window.addEventListener("beforeprint", redrawAll);

  function near(made, event) {
    const tip = document.getElementById("tip");
    const box = made.getBoundingClientRect();
    let found = null;
    let nearest = 144;
    for (const [x, y, text] of made.points) {
      const distance = (x - event.clientX + box.left) ** 2 + (y - event.clientY + box.top) ** 2;
      if (distance < nearest) { nearest = distance; found = text; }
    }
    tip.hidden = found === null;
    if (found === null) return;
    tip.textContent = found;
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 12, window.innerWidth - 260))}px`;
    tip.style.top = `${event.clientY + 14}px`;
  }

  // Axes. A scale maps a value to pixels; `log` where every value is above 0.
  function scaleOf(low, high, from, to, log = false) {
    const bend = log && low > 0 ? Math.log : (x) => x;
    let [a, b] = [bend(low), bend(high)];
    if (!(b > a)) { a -= 0.5; b += 0.5; }
    const map = (value) => from + ((bend(value) - a) / (b - a)) * (to - from);
    map.back = (pixel) => { const at = a + ((pixel - from) / (to - from)) * (b - a); return log && low > 0 ? Math.exp(at) : at; };
    map.ticks = [];
    if (log && low > 0) {
      for (let power = Math.ceil(Math.log10(low)); power <= Math.log10(high); power++) map.ticks.push(10 ** power);
      if (map.ticks.length < 2) map.ticks = [low, Number(Math.sqrt(low * high).toPrecision(3)), high];
      return map;
    }
    const raw = (b - a) / 5;
    const unit = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * unit).find((s) => s >= raw) || unit * 10;
    for (let tick = Math.ceil(a / step) * step; tick <= b + step * 1e-9; tick += step) map.ticks.push(Math.abs(tick) < step * 1e-9 ? 0 : tick);
    return map;
  }
  function extent(values) {
    let [low, high] = [Infinity, -Infinity];
    for (const value of values) if (value !== null && value !== undefined) { low = Math.min(low, value); high = Math.max(high, value); }
    return low <= high ? [low, high] : [0, 1];
  }
  const EDGE = { left: 62, right: 14, top: 12, bottom: 40 };
  function valueAxis(pen, width, y) {
    pen.strokeStyle = colour("line");
    pen.fillStyle = colour("soft");
    pen.lineWidth = 1;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const tick of y.ticks) {
      pen.beginPath(); pen.moveTo(EDGE.left, y(tick)); pen.lineTo(width - EDGE.right, y(tick)); pen.stroke();
      pen.fillText(shown(tick), EDGE.left - 6, y(tick), EDGE.left - 22);
    }
  }
  function sideName(pen, height, name) {
    pen.save();
    pen.translate(9, (EDGE.top + height - EDGE.bottom) / 2);
    pen.rotate(-Math.PI / 2);
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillText(name, 0, 0, height - 40);
    pen.restore();
  }
  function axes(pen, width, height, x, y, xName, yName, xTexts) {
    valueAxis(pen, width, y);
    pen.textAlign = "center";
    pen.textBaseline = "top";
    const ticks = xTexts ? xTexts.map((text, i) => [i, text]) : x.ticks.map((tick) => [tick, shown(tick)]);
    let end = -Infinity;
    for (const [tick, text] of ticks) {
      const half = Math.min(pen.measureText(text).width, 90) / 2;
      // The last one is whole too.
      const middle = Math.min(x(tick), width - half);
      if (middle - half < end) continue;
      end = middle + half + 6;
      pen.fillText(text, middle, height - EDGE.bottom + 6, 90);
    }
    pen.fillText(xName, (EDGE.left + width - EDGE.right) / 2, height - 15, width - 80);
    sideName(pen, height, yName);
  }
  function dot(pen, x, y, radius) { pen.beginPath(); pen.arc(x, y, radius, 0, 2 * Math.PI); pen.fill(); }
  function cross(pen, x, y, reach) {
    pen.beginPath();
    pen.moveTo(x - reach, y - reach); pen.lineTo(x + reach, y + reach);
    pen.moveTo(x - reach, y + reach); pen.lineTo(x + reach, y - reach);
    pen.stroke();
  }
  function ring(pen, x, y, radius) { pen.beginPath(); pen.arc(x, y, radius, 0, 2 * Math.PI); pen.stroke(); }
  // From ordinary to best, a colour that is read without red and green.
  function shade(share) {
    const stops = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
    const at = Math.max(0, Math.min(0.9999, share)) * (stops.length - 1);
    const [a, b] = [stops[Math.floor(at)], stops[Math.floor(at) + 1]];
    return `rgb(${a.map((c, i) => Math.round(c + (b[i] - c) * (at - Math.floor(at)))).join(",")})`;
  }

  // What is undefined comes last, whichever way.
  function compare(a, b, up) {
    const none = (value) => value === null || value === undefined;
    if (none(a) || none(b)) return none(a) - none(b);
    const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
    return up ? order : -order;
  }
  // A table whose columns sort by a button each. `columns`: name, kind (number, text), cell(value, row) for other than text.
  // `fill(rows)` puts other rows in; the order that somebody chose stays.
  function table(caption, columns, rows, { id = null, page = 0, className = "" } = {}) {
    const head = element("tr");
    const body = element("tbody");
    const name = element("caption", {}, caption);
    let [lines, by, up, limit] = [[], -1, true, page || Infinity];
    const more = element("button", { type: "button", class: "more" });
    const put = () => {
      const ordered = by < 0 ? lines : [...lines].sort((a, b) => compare(a[by], b[by], up));
      body.replaceChildren(...ordered.slice(0, limit).map((row) => element("tr", {}, ...columns.map((column, i) =>
        element("td", { class: column.kind }, column.cell ? column.cell(row[i], row) : shown(row[i]))))));
      more.hidden = ordered.length <= limit;
      more.textContent = `Show more (${shown(Math.max(0, ordered.length - limit))} left)`;
    };
    more.addEventListener("click", () => { limit += page; put(); });
    columns.forEach((column, i) => {
      if (column.plain) { head.append(element("th", { scope: "col", class: column.kind }, column.name)); return; }
      const button = element("button", { type: "button" }, column.name);
      const cell = element("th", { scope: "col", "aria-sort": "none", class: column.kind }, button);
      button.addEventListener("click", () => {
        up = by === i ? !up : true;
        by = i;
        for (const other of head.children) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
        cell.setAttribute("aria-sort", up ? "ascending" : "descending");
        put();
        say(`sorted by ${column.name}, ${up ? "ascending" : "descending"}`);
      });
      head.append(cell);
    });
    const made = element("table", { id, class: className || null }, name, element("thead", {}, head), body);
    const frame = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, made);
    frame.fill = (rowsNow, captionNow) => {
      lines = rowsNow;
      if (captionNow) { name.textContent = captionNow; frame.setAttribute("aria-label", captionNow); }
      put();
    };
    frame.fill(rows);
    const both = page ? element("div", {}, frame, more) : frame;
    both.fill = frame.fill;
    return both;
  }

  // The same choice may stand above several figures; each shows what was chosen at any of them.
  function choice(group, label, options, act) {
    const select = element("select");
    for (const [value, text] of options) select.append(element("option", { value }, text));
    const known = (group[label] ||= { value: options[0][0], selects: [] });
    select.value = known.value;
    known.selects.push(select);
    select.addEventListener("change", () => {
      known.value = select.value;
      for (const other of known.selects) other.value = select.value;
      act(select.value);
      redrawAll();
    });
    return element("label", {}, `${label} `, select);
  }

  return { element, shown, brief, percent, colour, note, say, duration, canvas, redrawAll, scaleOf, extent, EDGE, axes, valueAxis, sideName, dot, cross, ring, shade, compare, table, choice };
})();
