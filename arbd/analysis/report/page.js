"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const main = document.getElementById("main");
  const tip = document.getElementById("tip");
  const figures = data.figures;
  const redraws = [];

  // Text only: nothing of the data ever becomes markup.
  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    for (const child of children) made.append(child);
    return made;
  }
  function shown(value) {
    if (value === null || value === undefined) return "undefined";
    if (typeof value !== "number") return String(value);
    if (Number.isInteger(value)) return Math.abs(value) < 1e15 ? value.toLocaleString("en") : String(value);
    return Number(value.toPrecision(6)).toString();
  }
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  function section(id, title, ...children) {
    const heading = element("h2", { id: `${id}-title` }, title);
    const made = element("section", { id, "aria-labelledby": `${id}-title`, tabindex: "-1" }, heading, ...children);
    main.append(made);
    document.getElementById("contents").append(element("li", {}, element("a", { href: `#${id}` }, title)));
    return made;
  }
  const note = (text) => element("p", { class: "note" }, text);

  // A canvas that is drawn anew when its width, the colours or a control changes. `label` is what it shows, in words.
  function canvas(height, label, draw) {
    const made = element("canvas", { role: "img", "aria-label": label });
    const redraw = () => {
      const width = made.clientWidth || 300;
      const scale = window.devicePixelRatio || 1;
      made.width = width * scale;
      made.height = height * scale;
      made.style.height = `${height}px`;
      const pen = made.getContext("2d");
      pen.scale(scale, scale);
      pen.font = "12px system-ui, sans-serif";
      made.points = [];
      draw(pen, width, height, made);
    };
    redraws.push(redraw);
    made.addEventListener("mousemove", (event) => near(made, event));
    made.addEventListener("mouseleave", () => { tip.hidden = true; });
    return made;
  }
  function near(made, event) {
    const box = made.getBoundingClientRect();
    let found = null;
    let least = 144;
    for (const [x, y, text] of made.points) {
      const distance = (x - event.clientX + box.left) ** 2 + (y - event.clientY + box.top) ** 2;
      if (distance < least) { least = distance; found = text; }
    }
    tip.hidden = found === null;
    if (found === null) return;
    tip.textContent = found;
    tip.style.left = `${Math.min(event.clientX + 12, window.innerWidth - 260)}px`;
    tip.style.top = `${event.clientY + 14}px`;
  }

  // Axes. A scale maps a value to pixels; `log` where every value is above 0.
  function scaleOf(low, high, from, to, log = false) {
    const bend = log && low > 0 ? Math.log : (x) => x;
    let [a, b] = [bend(low), bend(high)];
    if (!(b > a)) { a -= 0.5; b += 0.5; }
    const map = (value) => from + ((bend(value) - a) / (b - a)) * (to - from);
    map.ticks = [];
    if (log && low > 0) {
      for (let power = Math.ceil(Math.log10(low)); power <= Math.log10(high); power++) map.ticks.push(10 ** power);
      if (map.ticks.length < 2) map.ticks = [low, Math.sqrt(low * high), high];
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
    for (const value of values) if (value !== null) { low = Math.min(low, value); high = Math.max(high, value); }
    return low <= high ? [low, high] : [0, 1];
  }
  const EDGE = { left: 66, right: 14, top: 12, bottom: 40 };
  function axes(pen, width, height, x, y, xName, yName, xTexts) {
    pen.strokeStyle = colour("line");
    pen.fillStyle = colour("soft");
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const tick of y.ticks) {
      pen.beginPath(); pen.moveTo(EDGE.left, y(tick)); pen.lineTo(width - EDGE.right, y(tick)); pen.stroke();
      pen.fillText(shown(tick), EDGE.left - 6, y(tick));
    }
    pen.textAlign = "center";
    pen.textBaseline = "top";
    const ticks = xTexts ? xTexts.map((text, i) => [i, text]) : x.ticks.map((tick) => [tick, shown(tick)]);
    let end = -Infinity;
    for (const [tick, text] of ticks) {
      const half = Math.min(pen.measureText(text).width, 90) / 2;
      if (x(tick) - half < end) continue;
      end = x(tick) + half + 6;
      pen.fillText(text, x(tick), height - EDGE.bottom + 6, 90);
    }
    pen.fillText(xName, (EDGE.left + width - EDGE.right) / 2, height - 15, width - 80);
    pen.save();
    pen.translate(10, (EDGE.top + height - EDGE.bottom) / 2);
    pen.rotate(-Math.PI / 2);
    pen.textBaseline = "middle";
    pen.fillText(yName, 0, 0, height - 40);
    pen.restore();
  }
  function dot(pen, x, y, radius) { pen.beginPath(); pen.arc(x, y, radius, 0, 2 * Math.PI); pen.fill(); }

  // Controls that several figures follow.
  const chosen = { share: 1, log: false };
  const selects = {};
  function kept() {
    const order = figures.values.map((value, i) => [value, i]).filter(([value]) => value !== null);
    order.sort((a, b) => (data.ascending ? a[0] - b[0] : b[0] - a[0]));
    return order.slice(0, Math.max(1, Math.ceil(order.length * chosen.share))).map(([, i]) => i).reverse();
  }
  // The same choice stands above several figures; each shows what was chosen at any of them.
  function choice(label, options, act) {
    const select = element("select");
    for (const [value, text] of options) select.append(element("option", { value }, text));
    (selects[label] ||= []).push(select);
    select.addEventListener("change", () => {
      for (const other of selects[label]) other.value = select.value;
      act(select.value);
      redraws.forEach((redraw) => redraw());
    });
    return element("label", {}, `${label} `, select);
  }
  function controls() {
    const bar = element("div", { class: "controls" });
    bar.append(choice("Show", [["1", "all that is drawn"], ["0.1", "the best 10 %"], ["0.01", "the best 1 %"]], (v) => { chosen.share = Number(v); }));
    if (figures.values.every((value) => value === null || value > 0)) {
      bar.append(choice("Axis of the metric", [["", "linear"], ["log", "logarithmic"]], (v) => { chosen.log = v === "log"; }));
    }
    return bar;
  }
  const metricScale = (indices, from, to, more = []) => {
    const [low, high] = extent([...indices.map((i) => figures.values[i]), ...more]);
    return scaleOf(low, high, from, to, chosen.log);
  };
  // From ordinary to best, a colour that is read without red and green.
  function shade(share) {
    const stops = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
    const at = Math.max(0, Math.min(0.9999, share)) * (stops.length - 1);
    const [a, b] = [stops[Math.floor(at)], stops[Math.floor(at) + 1]];
    return `rgb(${a.map((c, i) => Math.round(c + (b[i] - c) * (at - Math.floor(at)))).join(",")})`;
  }
  function goodness(values) {
    const [low, high] = extent(values);
    return (value) => { const share = high > low ? (value - low) / (high - low) : 1; return data.ascending ? 1 - share : share; };
  }

  function table(caption, columns, rows, id) {
    const head = element("tr");
    const body = element("tbody");
    const lines = rows.map((row) => {
      const line = element("tr");
      row.forEach((cell, i) => line.append(element("td", { class: columns[i].kind }, shown(cell))));
      return { row, line };
    });
    const put = () => body.replaceChildren(...lines.map(({ line }) => line));
    columns.forEach((column, i) => {
      const button = element("button", { type: "button" }, column.name);
      const cell = element("th", { scope: "col", "aria-sort": "none", class: column.kind }, button);
      button.addEventListener("click", () => {
        const up = cell.getAttribute("aria-sort") !== "ascending";
        for (const other of head.children) other.setAttribute("aria-sort", "none");
        cell.setAttribute("aria-sort", up ? "ascending" : "descending");
        lines.sort((a, b) => compare(a.row[i], b.row[i], up));
        put();
        document.getElementById("status").textContent = `sorted by ${column.name}, ${up ? "ascending" : "descending"}`;
      });
      head.append(cell);
    });
    put();
    const made = element("table", id ? { id } : {}, element("caption", {}, caption), element("thead", {}, head), body);
    return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, made);
  }
  // What is undefined comes last, whichever way.
  function compare(a, b, up) {
    if (a === null || b === null) return (a === null) - (b === null);
    const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
    return up ? order : -order;
  }

  function head() {
    document.title = `${data.session_id}: arbd report`;
    document.getElementById("title").textContent = `Session ${data.session_id}`;
    const statuses = Object.entries(data.statuses).filter(([, count]) => count).map(([name, count]) => `${shown(count)} ${name}`);
    document.getElementById("facts").textContent =
      `${data.state}. ${data.objective}, method ${data.method}, seed ${data.seed}. ${shown(data.rows)} of ${shown(data.iterations)} iterations` +
      `${statuses.length ? `: ${statuses.join(", ")}` : ""}. Ranked by ${data.metric}, ${data.ascending ? "lowest" : "highest"} first.`;
    document.getElementById("made").textContent =
      `Made by arbd ${data.version}. This file holds everything that it shows; it loads nothing and sends nothing.`;
  }

  function best() {
    if (!data.ranking.length) {
      section("best", "Best", note("No iteration has completed, so there is nothing to rank yet."));
      return;
    }
    const first = data.ranking[0];
    const rows = [
      ...Object.entries(first.params).map(([name, value]) => [name, value, "searched"]),
      ...Object.entries(data.fixed).map(([name, value]) => [name, value, "fixed"]),
    ];
    section(
      "best", "Best",
      element("p", {}, `Iteration ${shown(first.iteration)}: ${data.metric} ${shown(first.metrics[data.metric])}.`),
      note("The best of many trials on one stretch of history is partly luck: look at its neighbours below, and at other data, before money does."),
      table("Parameters of the best iteration", [{ name: "parameter" }, { name: "value", kind: "number" }, { name: "kind" }], rows),
      ...data.notices.map((text) => note(`Note: ${text}`)),
    );
  }

  function verdict() {
    const found = data.verdict;
    if (!found) return;
    const rows = [
      ["trials", found.trials, "parameter sets that this search tried"],
      ["trials on the same data", found.trials_on_data, "by all searches of this spool"],
      ["effective trials", found.effective_trials, "independent trials with as much variety"],
      ["Sharpe ratio", found.sharpe, `of the winner, ${found.sharpe_unit}`],
      ["luck line", found.luck_line, "Sharpe ratio that the best of as many trials without skill is expected to have"],
      ["probabilistic Sharpe ratio", found.psr, "that the winner's true ratio is above 0, were it the only trial"],
      ["deflated Sharpe ratio", found.dsr, "that it is above the luck line"],
      ["superior ability, p", found.spa.p_winner, "how often the best of such trials without skill does as well as the winner"],
      [`PBO${found.pbo.value !== null && !found.pbo.valid ? " (NOT VALID)" : ""}`, found.pbo.value, found.pbo.reason || "how often the best on one half of time is no better than the median on the other"],
      ["plateau", found.plateau && found.plateau.ratio, "median score of the nearest trials, as a share of the winner's"],
    ].filter(([, value]) => value !== null && value !== undefined);
    const reasons = new Map();
    for (const [name, reason] of Object.entries(found.missing)) reasons.set(reason, [...(reasons.get(reason) || []), name]);
    section(
      "verdict", "Skill or luck",
      element("p", {}, `The winner: ${found.verdict}. By this rule: ${found.rule}.`),
      ...found.reasons.map((text) => element("p", {}, text)),
      table("What the verdict rests on", [{ name: "number" }, { name: "value", kind: "number" }, { name: "meaning" }], rows),
      ...[...reasons].map(([reason, names]) => note(`Not computed: ${names.join(", ")}: ${reason}`)),
    );
  }

  function history() {
    const label = `Optimisation history: ${data.metric} of ${shown(figures.drawn)} iterations, and the best so far, which changed ${figures.best.values.length} times`;
    const draw = (pen, width, height, made) => {
      const indices = kept();
      const x = scaleOf(1, Math.max(2, data.iterations), EDGE.left, width - EDGE.right);
      const y = metricScale(indices, height - EDGE.bottom, EDGE.top, chosen.share === 1 ? figures.best.values : []);
      axes(pen, width, height, x, y, "iteration", data.metric);
      pen.globalAlpha = 0.45;
      pen.fillStyle = colour("mark");
      for (const i of indices) {
        const [px, py] = [x(figures.iteration[i]), y(figures.values[i])];
        dot(pen, px, py, 2);
        made.points.push([px, py, `iteration ${shown(figures.iteration[i])}: ${shown(figures.values[i])}`]);
      }
      pen.globalAlpha = 1;
      pen.strokeStyle = colour("best");
      pen.lineWidth = 2;
      pen.save();
      pen.beginPath(); pen.rect(EDGE.left, 0, width - EDGE.left, height - EDGE.bottom); pen.clip();
      pen.beginPath();
      figures.best.values.forEach((value, i) => {
        if (i) pen.lineTo(x(figures.best.iteration[i]), y(figures.best.values[i - 1]));
        pen.lineTo(x(figures.best.iteration[i]), y(value));
      });
      if (figures.best.values.length) pen.lineTo(width - EDGE.right, y(figures.best.values.at(-1)));
      pen.stroke();
      pen.restore();
    };
    section("history", "Optimisation history", sampled(), controls(), element("figure", {}, canvas(320, label, draw), element("figcaption", {}, "Dots: iterations. Line: the best so far, every change of it.")));
  }
  const sampled = () =>
    note(figures.drawn < figures.of
      ? `Drawn point by point: ${shown(figures.drawn)} of ${shown(figures.of)} completed iterations (the best, and others evenly). Distribution, importance, contours and timelines are of all.`
      : `All ${shown(figures.of)} completed iterations are drawn.`);

  function distribution() {
    const { edges, counts, quantiles } = figures.distribution;
    if (!counts.length) return;
    const words = Object.entries(quantiles).map(([name, value]) => `${name} ${shown(value)}`).join(", ");
    const draw = (pen, width, height, made) => {
      const x = scaleOf(edges[0], edges.at(-1), EDGE.left, width - EDGE.right);
      const y = scaleOf(0, Math.max(...counts), height - EDGE.bottom, EDGE.top);
      axes(pen, width, height, x, y, data.metric, "iterations");
      pen.fillStyle = colour("mark");
      counts.forEach((count, i) => {
        pen.fillRect(x(edges[i]), y(count), Math.max(1, x(edges[i + 1]) - x(edges[i]) - 1), y(0) - y(count));
        made.points.push([(x(edges[i]) + x(edges[i + 1])) / 2, y(count), `${shown(edges[i])} to ${shown(edges[i + 1])}: ${shown(count)}`]);
      });
    };
    section("distribution", "Distribution", element("p", {}, `${words}.${data.undefined ? ` Undefined: ${shown(data.undefined)}.` : ""}`), element("figure", {}, canvas(240, `Histogram of ${data.metric}: ${words}`, draw)));
  }

  function importance() {
    const shares = figures.importance;
    const words = shares.map(({ name, share }) => `${name} ${(100 * share).toFixed(1)} %`).join(", ");
    const draw = (pen, width, height) => {
      const left = Math.min(220, width / 3);
      shares.forEach(({ name, share }, i) => {
        const y = 6 + i * 26;
        pen.fillStyle = colour("ink");
        pen.textAlign = "right";
        pen.textBaseline = "middle";
        pen.fillText(name, left - 8, y + 9, left - 12);
        pen.fillStyle = colour("mark");
        pen.fillRect(left, y, Math.max(1, share * (width - left - 70)), 18);
        pen.fillStyle = colour("ink");
        pen.textAlign = "left";
        pen.fillText(`${(100 * share).toFixed(1)} %`, left + share * (width - left - 70) + 6, y + 9);
      });
    };
    section("importance", "Importance", note("How much of the metric's variance each parameter explains by itself (means over bins, of all completed iterations, less what chance would give). What only shows together with others is not in it."), element("figure", {}, canvas(12 + 26 * shares.length, `Importance: ${words}`, draw)));
  }

  function parallel() {
    const axesOf = [...data.dimensions, { name: data.metric, metric: true }];
    const label = `Parallel coordinates of ${axesOf.map((axis) => axis.name).join(", ")}`;
    const draw = (pen, width, height) => {
      const indices = kept();
      // By rank: the values of a search are often far apart.
      const at = (i) => 70 + (i * (width - 140)) / Math.max(1, axesOf.length - 1);
      const [top, bottom] = [34, height - 24];
      const scales = axesOf.map((axis) => axis.metric ? metricScale(indices, bottom, top) : axis.values ? scaleOf(0, Math.max(1, axis.values.length - 1), bottom, top) : scaleOf(axis.low, axis.high, bottom, top, axis.log));
      pen.globalAlpha = Math.max(0.06, Math.min(0.8, 60 / indices.length));
      indices.forEach((i, rank) => {
        pen.strokeStyle = shade(rank / Math.max(1, indices.length - 1));
        pen.beginPath();
        axesOf.forEach((axis, k) => pen.lineTo(at(k), scales[k](axis.metric ? figures.values[i] : figures.params[axis.name][i])));
        pen.stroke();
      });
      pen.globalAlpha = 1;
      pen.textAlign = "center";
      axesOf.forEach((axis, k) => {
        pen.strokeStyle = colour("ink");
        pen.beginPath(); pen.moveTo(at(k), top); pen.lineTo(at(k), bottom); pen.stroke();
        pen.fillStyle = colour("ink");
        const room = (width - 140) / Math.max(1, axesOf.length - 1) - 8;
        pen.fillText(axis.name, at(k), 12, Math.min(136, room));
        pen.fillStyle = colour("soft");
        const [low, high] = axis.values ? [axis.values[0], axis.values.at(-1)] : axis.metric ? extent(indices.map((i) => figures.values[i])) : [axis.low, axis.high];
        pen.fillText(shown(low), at(k), bottom + 16, room);
        pen.fillText(shown(high), at(k), top - 3, room);
      });
    };
    section("parallel", "Parallel coordinates", note("One line for each iteration that is drawn; the best are drawn last and lightest."), controls(), element("figure", {}, canvas(340, label, draw)));
  }

  function slices() {
    const tiles = element("div", { class: "tiles" });
    for (const dimension of data.dimensions) {
      const draw = (pen, width, height, made) => {
        const indices = kept();
        const x = dimension.values ? scaleOf(-0.5, dimension.values.length - 0.5, EDGE.left, width - EDGE.right) : scaleOf(dimension.low, dimension.high, EDGE.left, width - EDGE.right, dimension.log);
        const y = metricScale(indices, height - EDGE.bottom, EDGE.top);
        axes(pen, width, height, x, y, dimension.name, data.metric, dimension.values);
        pen.globalAlpha = 0.5;
        pen.fillStyle = colour("mark");
        for (const i of indices) {
          const value = figures.params[dimension.name][i];
          const spread = dimension.values ? ((figures.iteration[i] * 0.618034) % 1) * 0.5 - 0.25 : 0;
          const [px, py] = [x(value + spread), y(figures.values[i])];
          dot(pen, px, py, 2);
          made.points.push([px, py, `iteration ${shown(figures.iteration[i])}: ${dimension.name} ${dimension.values ? dimension.values[value] : shown(value)}, ${data.metric} ${shown(figures.values[i])}`]);
        }
        pen.globalAlpha = 1;
      };
      tiles.append(element("figure", {}, element("h3", {}, dimension.name), canvas(240, `${data.metric} against ${dimension.name}`, draw)));
    }
    section("slices", "Slices", note("The metric against each parameter. A plateau is worth more than a spike."), controls(), tiles);
  }

  function contours() {
    if (!figures.contours.length) return;
    const tiles = element("div", { class: "tiles" });
    const count = new Set(figures.contours.flatMap(({ x, y }) => [x, y])).size;
    for (const pair of figures.contours) {
      const known = pair.means.filter((mean) => mean !== null);
      const good = goodness(known);
      const draw = (pen, width, height, made) => {
        const x = scaleOf(-0.5, pair.x_names.length - 0.5, EDGE.left, width - EDGE.right);
        const y = scaleOf(-0.5, pair.y_names.length - 0.5, height - EDGE.bottom, EDGE.top);
        y.ticks = [];
        axes(pen, width, height, x, y, pair.x, pair.y, pair.x_names);
        pen.textAlign = "right";
        pen.textBaseline = "middle";
        pair.y_names.forEach((name, j) => { if (j % Math.ceil(pair.y_names.length / 7) === 0) pen.fillText(name, EDGE.left - 6, y(j), EDGE.left - 24); });
        pair.means.forEach((mean, cell) => {
          if (mean === null) return;
          const [i, j] = [cell % pair.x_names.length, Math.floor(cell / pair.x_names.length)];
          pen.fillStyle = shade(good(mean));
          pen.fillRect(x(i - 0.5), y(j + 0.5), x(i + 0.5) - x(i - 0.5) + 0.5, y(j - 0.5) - y(j + 0.5) + 0.5);
          made.points.push([x(i), y(j), `${pair.x} near ${pair.x_names[i]}, ${pair.y} near ${pair.y_names[j]}: mean ${shown(mean)}`]);
        });
      };
      const [low, high] = extent(known);
      tiles.append(element("figure", {}, element("h3", {}, `${pair.x} and ${pair.y}`), canvas(250, `Mean of ${data.metric} over ${pair.x} and ${pair.y}, from ${shown(low)} to ${shown(high)}`, draw), element("figcaption", {}, `means from ${shown(low)} to ${shown(high)}`)));
    }
    const left = data.dimensions.length > count ? ` The ${count} most important of ${data.dimensions.length} parameters.` : "";
    section("contours", "Contours", note(`The mean of the metric over pairs of parameters, of all completed iterations; light is good, empty cells hold none.${left}`), tiles);
  }

  function pareto() {
    const front = figures.pareto;
    if (!front) return;
    const names = front.names.map((name, i) => `${name} (${front.directions[i]})`);
    const draw = (pen, width, height, made) => {
      const x = scaleOf(...extent(front.x), EDGE.left, width - EDGE.right);
      const y = scaleOf(...extent(front.y), height - EDGE.bottom, EDGE.top);
      axes(pen, width, height, x, y, names[0], names[1]);
      for (const inFront of [false, true]) {
        pen.fillStyle = colour(inFront ? "best" : "mark");
        pen.globalAlpha = inFront ? 1 : 0.35;
        front.x.forEach((value, i) => {
          if (front.in_front[i] !== inFront || value === null || front.y[i] === null) return;
          dot(pen, x(value), y(front.y[i]), inFront ? 4 : 2);
          made.points.push([x(value), y(front.y[i]), `iteration ${shown(front.iteration[i])}: ${shown(value)}, ${shown(front.y[i])}`]);
        });
      }
      pen.globalAlpha = 1;
    };
    section("pareto", "Pareto front", element("p", {}, `${shown(front.size)} iterations that no other one dominates, by ${names.join(" and ")}.`), element("figure", {}, canvas(340, `Pareto front of ${names.join(" and ")}: ${front.size} iterations`, draw)));
  }

  function timeline() {
    const { workers, start_ns: start, end_ns: end } = data.timeline;
    if (!workers.length) return;
    const seconds = (end - start) / 1e9;
    const most = Math.max(1, ...workers.flatMap(({ counts }) => counts));
    const draw = (pen, width, height, made) => {
      const left = Math.min(160, width / 4);
      workers.forEach(({ name, counts, bad }, k) => {
        const y = 4 + k * 26;
        pen.fillStyle = colour("ink");
        pen.textAlign = "right";
        pen.textBaseline = "middle";
        pen.fillText(name, left - 8, y + 11, left - 12);
        const cell = (width - left - 10) / counts.length;
        counts.forEach((count, i) => {
          if (!count) return;
          pen.globalAlpha = 0.15 + (0.85 * count) / most;
          pen.fillStyle = colour(bad[i] ? "bad" : "mark");
          pen.fillRect(left + i * cell, y, cell + 0.5, 22);
          made.points.push([left + (i + 0.5) * cell, y + 11, `${name}, ${shown((i * seconds) / counts.length)} s: ${shown(count)} ended${bad[i] ? `, ${shown(bad[i])} of them bad` : ""}`]);
        });
        pen.globalAlpha = 1;
      });
      pen.fillStyle = colour("soft");
      pen.textAlign = "left";
      pen.fillText("0 s", left, 14 + workers.length * 26);
      pen.textAlign = "right";
      pen.fillText(`${shown(seconds)} s`, width - 10, 14 + workers.length * 26);
    };
    const words = workers.map(({ name, total }) => `${name} ${shown(total)}`).join(", ");
    section("workers", "Workers", element("p", {}, `Iterations by worker: ${words}.`), element("figure", {}, canvas(28 + 26 * workers.length, `Iterations ended over time by worker: ${words}`, draw), element("figcaption", {}, "When iterations ended, by each worker's own clock: the darker, the more; another colour where some did not complete.")));
  }

  function failures() {
    const rows = data.failures.map((kind) => [kind.status, kind.count, kind.first_iteration, kind.error]);
    const columns = [{ name: "status" }, { name: "count", kind: "number" }, { name: "first iteration", kind: "number" }, { name: "error", kind: "text" }];
    section("failures", "Failures", rows.length ? table("The most frequent errors, each once", columns, rows) : element("p", {}, "None."));
  }

  function ranking() {
    if (!data.ranking.length) return;
    const params = data.dimensions.map(({ name }) => name);
    const metrics = [...new Set([data.metric, ...Object.keys(data.ranking[0].metrics)])];
    const columns = [
      { name: "rank", kind: "number" }, { name: "iteration", kind: "number" },
      ...metrics.map((name) => ({ name, kind: "number" })), ...params.map((name) => ({ name, kind: "number" })),
      { name: "worker" }, { name: "seconds", kind: "number" }, { name: "attempt", kind: "number" },
    ];
    const rows = data.ranking.map((row, i) => [i + 1, row.iteration, ...metrics.map((name) => row.metrics[name] ?? null), ...params.map((name) => row.params[name]), row.worker, row.duration_s, row.attempt]);
    const all = figures.of > rows.length ? `The best ${shown(rows.length)} of ${shown(figures.of)} completed iterations` : `All ${shown(rows.length)} completed iterations`;
    section("ranking", "Ranking", note("A column's button sorts by it; again, the other way."), table(all, columns, rows, "ranking-table"));
  }

  function job() {
    const digests = Object.entries(data.digests);
    section(
      "job", "Job and fingerprints", element("pre", { tabindex: "0", "aria-label": "The job file as it was submitted" }, data.job),
      digests.length ? table("SHA-256 of every file that the results depend on", [{ name: "file" }, { name: "SHA-256" }], digests) : note("The results depend on no file."),
    );
  }

  head();
  best();
  verdict();
  if (figures) {
    for (const draw of [history, distribution, importance, parallel, slices, contours, pareto]) draw();
  }
  for (const show of [timeline, failures, ranking, job]) show();
  const all = () => redraws.forEach((redraw) => redraw());
  all();
  let waiting = 0;
  window.addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(all, 150); });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
})();
