"use strict";
// Series over time: bands from lowest to highest value, marks, levels; zoom by pointer, wheel, buttons and keys.
(() => {
  const { element, shown, colour, canvas, scaleOf, extent, EDGE, valueAxis, sideName, say } = arbd;
  const BOTTOM = 24;
  const LEAST_MS = 1;

  function clock(ms, spanMs) {
    const text = new Date(ms).toISOString();
    if (spanMs > 3 * 86_400e3) return text.slice(0, 10);
    if (spanMs > 7_200e3) return text.slice(5, 16).replace("T", " ");
    return spanMs < 60e3 ? text.slice(11, 23) : text.slice(11, 19);
  }
  function timeAxis(pen, width, height, x, [start, end]) {
    pen.fillStyle = colour("soft");
    pen.textBaseline = "top";
    const parts = width < 420 ? 2 : width < 700 ? 3 : 6;
    for (let i = 0; i <= parts; i++) {
      const at = start + ((end - start) * i) / parts;
      pen.textAlign = i === 0 ? "left" : i === parts ? "right" : "center";
      pen.fillText(clock(at, end - start), x(at), height - BOTTOM + 6);
    }
  }

  // Several charts over one window of time. `changed(start, end)` is called when the window is another.
  function timeWindow(start, end, changed = () => {}) {
    const shared = { whole: [start, end], now: [start, end], charts: [] };
    shared.set = (from, to, quiet = false) => {
      const width = Math.max(LEAST_MS, Math.min(end - start, to - from));
      const first = Math.max(start, Math.min(from, end - width));
      shared.now = [first, first + width];
      for (const chart of shared.charts) chart.redraw();
      if (!quiet) changed(...shared.now);
    };
    shared.zoom = (factor, at = (shared.now[0] + shared.now[1]) / 2) => {
      const [a, b] = shared.now;
      shared.set(at - (at - a) * factor, at + (b - at) * factor);
    };
    shared.pan = (share) => { const step = share * (shared.now[1] - shared.now[0]); shared.set(shared.now[0] + step, shared.now[1] + step); };
    shared.reset = () => shared.set(start, end);
    return shared;
  }
  function buttons(shared) {
    const button = (text, label, act) => {
      const made = element("button", { type: "button", "aria-label": label, title: label }, text);
      made.addEventListener("click", () => { act(); say(`from ${clock(shared.now[0], 0)} to ${clock(shared.now[1], 0)}`); });
      return made;
    };
    return element(
      "div", { class: "controls zoom", role: "group", "aria-label": "Window of time" },
      button("+", "Zoom in", () => shared.zoom(0.5)), button("−", "Zoom out", () => shared.zoom(2)),
      button("←", "Earlier", () => shared.pan(-0.5)), button("→", "Later", () => shared.pan(0.5)),
      button("Whole", "All of the time", shared.reset),
    );
  }

  // `content()`: { series: [{ kind, t, low, high, text }], marks: [{ t, v, kind, text }], levels: [{ value, kind, text }], moments: [t] }.
  function timeChart(shared, height, name, label, content) {
    const draw = (pen, width, tall, made) => {
      const { series = [], marks = [], levels = [], moments = [] } = content();
      const [start, end] = shared.now;
      const inside = (t) => t >= start && t <= end;
      const parts = series.map((one) => cut(one, start, end));
      const seenMarks = marks.filter((mark) => inside(mark.t));
      let [low, high] = extent([...parts.flatMap((one) => [...one.low, ...one.high]), ...seenMarks.map((mark) => mark.v)]);
      const reach = high - low;
      for (const { value } of levels) if (value >= low - reach && value <= high + reach) { low = Math.min(low, value); high = Math.max(high, value); }
      const room = 0.04 * (high - low) || Math.abs(high) * 1e-6 || 1;
      const x = scaleOf(start, end, EDGE.left, width - EDGE.right);
      const y = scaleOf(low - room, high + room, tall - BOTTOM, EDGE.top);
      valueAxis(pen, width, y);
      sideName(pen, tall + 16, name);
      timeAxis(pen, width, tall, x, shared.now);
      pen.save();
      pen.beginPath(); pen.rect(EDGE.left, 0, width - EDGE.left - EDGE.right, tall - BOTTOM); pen.clip();
      pen.setLineDash([2, 4]);
      pen.strokeStyle = colour("soft");
      for (const t of moments.filter(inside)) line(pen, x(t), EDGE.top, x(t), tall - BOTTOM);
      pen.setLineDash([7, 4]);
      for (const { value, kind } of levels) { pen.strokeStyle = colour(kind); line(pen, EDGE.left, y(value), width - EDGE.right, y(value)); }
      pen.setLineDash([]);
      parts.forEach((one) => band(pen, x, y, one));
      for (const mark of seenMarks) shape(pen, x(mark.t), y(mark.v), mark.kind);
      pen.restore();
      for (const mark of seenMarks) made.points.push([x(mark.t), y(mark.v), mark.text]);
      for (const { value, text } of levels) made.points.push([EDGE.left + 20, y(value), `${text} ${shown(value)}`]);
      made.scale = x;
    };
    const made = canvas(height, label, draw);
    shared.charts.push(made);
    drag(made, shared);
    return made;
  }
  // What of a series is within the window, one point before and one behind it too.
  function cut(one, start, end) {
    let [first, last] = [0, one.t.length];
    while (first < one.t.length - 1 && one.t[first + 1] < start) first++;
    while (last > first + 1 && one.t[last - 2] > end) last--;
    return { ...one, t: one.t.slice(first, last), low: one.low.slice(first, last), high: (one.high || one.low).slice(first, last) };
  }
  function line(pen, x1, y1, x2, y2) { pen.beginPath(); pen.moveTo(x1, y1); pen.lineTo(x2, y2); pen.stroke(); }
  // Runs without a hole: along the highs and back along the lows. A null is a hole.
  function band(pen, x, y, { t, low, high, kind, filled = true }) {
    pen.fillStyle = pen.strokeStyle = colour(kind);
    pen.lineJoin = "round";
    let from = 0;
    for (let i = 0; i <= t.length; i++) {
      if (i < t.length && low[i] !== null) continue;
      if (i > from) {
        pen.beginPath();
        for (let k = from; k < i; k++) pen.lineTo(x(t[k]), y(high[k]));
        for (let k = i - 1; filled && k >= from; k--) pen.lineTo(x(t[k]), y(low[k]));
        if (filled) { pen.closePath(); pen.globalAlpha = 0.35; pen.fill(); }
        pen.globalAlpha = 1;
        pen.lineWidth = filled ? 1 : 1.6;
        pen.stroke();
      }
      from = i + 1;
    }
  }
  function shape(pen, x, y, kind) {
    pen.fillStyle = colour(kind);
    pen.beginPath();
    if (kind === "entry") { pen.moveTo(x, y - 6); pen.lineTo(x + 5, y + 4); pen.lineTo(x - 5, y + 4); pen.closePath(); } else pen.arc(x, y, 4, 0, 2 * Math.PI);
    pen.fill();
  }
  function drag(made, shared) {
    let from = null;
    made.style.touchAction = "pan-y";
    made.addEventListener("pointerdown", (event) => { from = event.offsetX; });
    made.addEventListener("pointerup", (event) => {
      if (from !== null && made.scale && Math.abs(event.offsetX - from) > 6) {
        const [a, b] = [from, event.offsetX].sort((p, q) => p - q).map((pixel) => made.scale.back(pixel));
        shared.set(a, b);
      }
      from = null;
    });
    made.addEventListener("dblclick", shared.reset);
    made.addEventListener("wheel", (event) => {
      if (!event.ctrlKey || !made.scale) return;
      event.preventDefault();
      shared.zoom(event.deltaY < 0 ? 0.8 : 1.25, made.scale.back(event.offsetX));
    }, { passive: false });
  }

  Object.assign(arbd, { timeWindow, timeChart, zoomButtons: buttons, clock });
})();
