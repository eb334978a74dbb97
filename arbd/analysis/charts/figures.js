"use strict";
// The figures of a session. Each is a function of a view: `view.data` is what the session looks like now, as the report's
// content has it; what is returned is { node, update }, and `update` follows new data without a new node.
(() => {
  const { element, shown, brief, percent, colour, note, canvas, scaleOf, extent, EDGE, axes, dot, cross, ring, shade, choice } = arbd;
  const figure = (made, text) => element("figure", {}, made, text ? element("figcaption", {}, text) : null);
  const redrawing = (node, ...canvases) => ({ node, update: () => canvases.forEach((one) => one.redraw()) });

  // What is drawn: indices of points, the best last. Those that break a constraint are told apart, and never the best.
  function kept(view) {
    const { figures, ascending } = view.data;
    const order = figures.values.map((value, i) => [value, i]).filter(([value]) => value !== null);
    order.sort((a, b) => (figures.state[a[1]] > 0) - (figures.state[b[1]] > 0) || (ascending ? a[0] - b[0] : b[0] - a[0]));
    const share = Number(view.chosen.share) || 1;
    return order.slice(0, Math.max(1, Math.ceil(order.length * share))).map(([, i]) => i).reverse();
  }
  // From the best to what is not far worse than the others: a few wrecks would press all the rest into a line.
  function mattering(view, values) {
    const [low, high] = extent(values);
    const sorted = values.filter((value) => value !== null).sort((a, b) => a - b);
    if (view.chosen.share !== "matters" || sorted.length < 8) return [low, high];
    const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
    const reach = 1.5 * (at(0.75) - at(0.25));
    return view.data.ascending ? [low, Math.min(high, at(0.75) + reach)] : [Math.max(low, at(0.25) - reach), high];
  }
  const metricScale = (view, indices, from, to, more = []) => {
    const { figures } = view.data;
    const good = indices.filter((i) => figures.state[i] === 0);
    const [low, high] = mattering(view, [...(good.length ? good : indices).map((i) => figures.values[i]), ...more]);
    const map = scaleOf(low, high, from, to, view.chosen.log);
    map.outside = (value) => value < Math.min(low, high) || value > Math.max(low, high);
    return map;
  };
  function controls(view) {
    const bar = element("div", { class: "controls" });
    bar.append(choice(view.group, "Show", [["matters", "scaled to what matters"], ["1", "all that is drawn"], ["0.1", "the best 10 %"], ["0.01", "the best 1 %"]], (v) => { view.chosen.share = v; }));
    if (view.data.figures.values.every((value) => value === null || value > 0)) {
      bar.append(choice(view.group, "Axis of the metric", [["", "linear"], ["log", "logarithmic"]], (v) => { view.chosen.log = v === "log"; }));
    }
    return bar;
  }
  const STATES = ["", ", breaks a constraint", ", of a part of the data"];
  function point(pen, made, view, i, px, py, words, y) {
    const { figures } = view.data;
    const [value, state] = [figures.values[i], figures.state[i]];
    if (y && y.outside(value)) return;
    if (state === 0) { pen.fillStyle = colour("mark"); dot(pen, px, py, 2); } else if (state === 1) { pen.strokeStyle = colour("bad"); cross(pen, px, py, 2.5); } else { pen.strokeStyle = colour("soft"); ring(pen, px, py, 2.5); }
    made.points.push([px, py, `iteration ${shown(figures.iteration[i])}: ${words}${STATES[state]}`]);
  }
  const legend = (view) => {
    const seen = new Set(view.data.figures.state);
    return `Dots: iterations.${seen.has(1) ? " Crosses: they break a constraint." : ""}${seen.has(2) ? " Rings: on a part of the data." : ""}`;
  };
  const outside = (view) => {
    const { figures } = view.data;
    const y = metricScale(view, kept(view), 0, 1);
    const count = figures.values.filter((value) => value !== null && y.outside(value)).length;
    return count ? ` Beyond the scale: ${shown(count)}; «all that is drawn» shows them.` : "";
  };
  const sampled = ({ data: { figures } }) => figures.drawn < figures.of
    ? `Drawn point by point: ${shown(figures.drawn)} of ${shown(figures.of)} completed iterations (the best, and others evenly). Distribution, importance, contours and timelines are of all.`
    : `All ${shown(figures.of)} completed iterations are drawn.`;

  function history(view) {
    const label = () => { const { figures, metric } = view.data; return `Optimisation history: ${metric} of ${shown(figures.drawn)} iterations, and the best so far, which changed ${figures.best.values.length} times`; };
    const draw = (pen, width, height, made) => {
      const { figures, searched, metric } = view.data;
      const indices = kept(view);
      const share = view.chosen.share;
      const x = scaleOf(1, Math.max(2, searched), EDGE.left, width - EDGE.right);
      const y = metricScale(view, indices, height - EDGE.bottom, EDGE.top, share === "1" ? figures.best.values : figures.best.values.slice(-1));
      axes(pen, width, height, x, y, "iteration", metric);
      pen.globalAlpha = 0.55;
      for (const i of indices) point(pen, made, view, i, x(figures.iteration[i]), y(figures.values[i]), shown(figures.values[i]), y);
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
    const [told, below] = [note(""), element("figcaption")];
    const made = canvas(320, label, (...drawn) => { below.textContent = `${legend(view)} Line: the best so far, every change of it.${outside(view)}`; draw(...drawn); });
    const update = () => { told.textContent = sampled(view); made.redraw(); };
    return { node: [told, controls(view), element("figure", {}, made, below)], update };
  }

  function distribution(view) {
    const words = () => Object.entries(view.data.figures.distribution.quantiles).map(([name, value]) => `${name} ${shown(value)}`).join(", ");
    const draw = (pen, width, height, made) => {
      const { edges, counts } = view.data.figures.distribution;
      if (!counts.length) return;
      const x = scaleOf(edges[0], edges.at(-1), EDGE.left, width - EDGE.right);
      const y = scaleOf(0, Math.max(...counts), height - EDGE.bottom, EDGE.top);
      axes(pen, width, height, x, y, view.data.metric, "iterations");
      pen.fillStyle = colour("mark");
      counts.forEach((count, i) => {
        pen.fillRect(x(edges[i]), y(count), Math.max(1, x(edges[i + 1]) - x(edges[i]) - 1), y(0) - y(count));
        made.points.push([(x(edges[i]) + x(edges[i + 1])) / 2, y(count), `${shown(edges[i])} to ${shown(edges[i + 1])}: ${shown(count)}`]);
      });
    };
    const far = () => { const { below, above } = view.data.figures.distribution; return `${below ? ` Far below and not drawn: ${shown(below)}.` : ""}${above ? ` Far above and not drawn: ${shown(above)}.` : ""}`; };
    const made = canvas(240, () => `Histogram of ${view.data.metric}: ${words()}`, draw);
    const told = element("p");
    const update = () => { told.textContent = `${words() || "No number is finite"}.${view.data.undefined ? ` Undefined: ${shown(view.data.undefined)}.` : ""}${far()}`; made.redraw(); };
    return { node: [told, figure(made)], update };
  }

  // Two bars each: of all, and of the better half alone, where it is decided which of the good is the best.
  function importance(view) {
    const rows = () => view.data.figures.importance;
    const words = () => rows().map(({ name, share, better }) => `${name} ${percent(share)} of all, ${better === null ? "unknown" : percent(better)} in the better half`).join("; ");
    const draw = (pen, width, height, made) => {
      const left = Math.min(220, width / 3);
      const long = (share) => Math.max(1, share * (width - left - 74));
      rows().forEach(({ name, share, better }, i) => {
        const y = 6 + i * 38;
        pen.fillStyle = colour("ink");
        pen.textAlign = "right";
        pen.textBaseline = "middle";
        pen.fillText(name, left - 8, y + 15, left - 12);
        [[share, "mark"], [better, "best"]].forEach(([value, kind], k) => {
          if (value === null) return;
          pen.fillStyle = colour(kind);
          pen.fillRect(left, y + 16 * k, long(value), 13);
          pen.fillStyle = colour("ink");
          pen.textAlign = "left";
          pen.fillText(percent(value), left + long(value) + 6, y + 16 * k + 7);
        });
        made.points.push([left + 4, y + 15, `${name}: ${percent(share)} of all${better === null ? "" : `, ${percent(better)} in the better half`}`]);
      });
    };
    const made = canvas(() => 12 + 38 * rows().length, () => `Importance: ${words()}`, draw);
    const key = element("p", {}, element("span", { class: "key mark" }, "of all: share of the metric's variance that a parameter explains by itself"), element("span", { class: "key best" }, "in the better half: how much it sets the best tenth apart from the better half (PED-ANOVA)"));
    return redrawing([note("Means over bins, of all completed iterations, less what chance would give. What only shows together with others is in neither."), key, figure(made)], made);
  }

  function parallel(view) {
    const axesOf = () => [...view.data.dimensions, { name: view.data.metric, metric: true }];
    const draw = (pen, width, height) => {
      const { figures } = view.data;
      const indices = kept(view);
      const all = axesOf();
      // By rank: the values of a search are often far apart.
      const at = (i) => 60 + (i * (width - 120)) / Math.max(1, all.length - 1);
      const [top, bottom] = [34, height - 24];
      const scales = all.map((axis) => axis.metric ? metricScale(view, indices, bottom, top) : axis.values ? scaleOf(0, Math.max(1, axis.values.length - 1), bottom, top) : scaleOf(axis.low, axis.high, bottom, top, axis.log));
      pen.globalAlpha = Math.max(0.06, Math.min(0.8, 60 / indices.length));
      indices.forEach((i, rank) => {
        if (scales.at(-1).outside(figures.values[i])) return;
        pen.strokeStyle = shade(rank / Math.max(1, indices.length - 1));
        pen.setLineDash(figures.state[i] === 1 ? [3, 3] : []);
        pen.beginPath();
        all.forEach((axis, k) => { const value = axis.metric ? figures.values[i] : figures.params[axis.name][i]; if (value !== null) pen.lineTo(at(k), scales[k](value)); });
        pen.stroke();
      });
      pen.globalAlpha = 1;
      pen.setLineDash([]);
      pen.textAlign = "center";
      const room = Math.min(112, (width - 120) / Math.max(1, all.length - 1) - 6);
      all.forEach((axis, k) => {
        pen.strokeStyle = colour("ink");
        pen.beginPath(); pen.moveTo(at(k), top); pen.lineTo(at(k), bottom); pen.stroke();
        pen.fillStyle = colour("ink");
        pen.fillText(axis.name, at(k), 12, room);
        pen.fillStyle = colour("soft");
        const [low, high] = axis.values ? [axis.values[0], axis.values.at(-1)] : axis.metric ? mattering(view, indices.map((i) => figures.values[i])) : [axis.low, axis.high];
        pen.fillText(shown(low), at(k), bottom + 16, room);
        pen.fillText(shown(high), at(k), top - 3, room);
      });
    };
    const made = canvas(340, () => `Parallel coordinates of ${axesOf().map((axis) => axis.name).join(", ")}`, draw);
    return redrawing([note("One line for each iteration that is drawn; the best are drawn last and lightest, those that break a constraint dashed."), controls(view), figure(made)], made);
  }

  function slices(view) {
    const made = view.data.dimensions.map((dimension) => {
      const draw = (pen, width, height, into) => {
        const { figures, metric } = view.data;
        const indices = kept(view);
        const x = dimension.values ? scaleOf(-0.5, dimension.values.length - 0.5, EDGE.left, width - EDGE.right) : scaleOf(dimension.low, dimension.high, EDGE.left, width - EDGE.right, dimension.log);
        const y = metricScale(view, indices, height - EDGE.bottom, EDGE.top);
        axes(pen, width, height, x, y, dimension.name, metric, dimension.values);
        const place = (value, iteration) => x(value + (dimension.values ? ((iteration * 0.618034) % 1) * 0.5 - 0.25 : 0));
        pen.globalAlpha = 0.6;
        for (const i of indices) {
          const value = figures.params[dimension.name][i];
          if (value === null) continue;
          point(pen, into, view, i, place(value, figures.iteration[i]), y(figures.values[i]), `${dimension.name} ${dimension.values ? dimension.values[value] : shown(value)}, ${metric} ${shown(figures.values[i])}`, y);
        }
        pen.globalAlpha = 1;
        const best = figures.winner;
        if (best && best.params[dimension.name] !== null && !y.outside(best.value)) star(pen, into, place(best.params[dimension.name], best.iteration), y(best.value), `the best: iteration ${shown(best.iteration)}, ${metric} ${shown(best.value)}`);
      };
      return [dimension, canvas(240, () => `${view.data.metric} against ${dimension.name}`, draw)];
    });
    const tiles = element("div", { class: "tiles" }, ...made.map(([{ name }, one]) => element("figure", {}, element("h3", {}, name), one)));
    return redrawing([note("The metric against each parameter; the ring is the best. A plateau is worth more than a spike."), controls(view), tiles], ...made.map(([, one]) => one));
  }
  function star(pen, made, x, y, words) {
    pen.strokeStyle = colour("best");
    pen.lineWidth = 2.5;
    ring(pen, x, y, 6);
    pen.lineWidth = 1;
    made.points.push([x, y, words]);
  }

  function contours(view) {
    const names = view.data.figures.contours.map(({ x, y }) => [x, y]);
    const of = (at) => view.data.figures.contours[at];
    const known = (pair) => pair.means.filter((mean) => mean !== null);
    const made = names.map((_, at) => {
      const draw = (pen, width, height, into) => {
        const pair = of(at);
        if (!pair) return;
        // Nor here do a few wrecks press all the rest into one colour.
        const [low, high] = mattering(view, known(pair));
        const good = (value) => { const share = high > low ? Math.min(1, Math.max(0, (value - low) / (high - low))) : 1; return view.data.ascending ? 1 - share : share; };
        const x = scaleOf(-0.5, pair.x_names.length - 0.5, EDGE.left, width - EDGE.right - 46);
        const y = scaleOf(-0.5, pair.y_names.length - 0.5, height - EDGE.bottom, EDGE.top);
        y.ticks = [];
        axes(pen, width, height, x, y, pair.x, pair.y, pair.x_names);
        pen.textAlign = "right";
        pen.textBaseline = "middle";
        pair.y_names.forEach((name, j) => { if (j % Math.ceil(pair.y_names.length / 7) === 0) pen.fillText(name, EDGE.left - 6, y(j), EDGE.left - 22); });
        pair.means.forEach((mean, cell) => {
          if (mean === null) return;
          const [i, j] = [cell % pair.x_names.length, Math.floor(cell / pair.x_names.length)];
          pen.fillStyle = shade(good(mean));
          pen.fillRect(x(i - 0.5), y(j + 0.5), x(i + 0.5) - x(i - 0.5) + 0.5, y(j - 0.5) - y(j + 0.5) + 0.5);
          into.points.push([x(i), y(j), `${pair.x} near ${pair.x_names[i]}, ${pair.y} near ${pair.y_names[j]}: mean ${shown(mean)}`]);
        });
        const [least, most] = extent(known(pair));
        scaleBar(pen, width, height, [low, high], [least < low ? "≤ " : "", most > high ? "≥ " : ""], good);
        if (pair.best) star(pen, into, x(pair.best[0]), y(pair.best[1]), "the best");
      };
      return canvas(250, () => { const [low, high] = extent(known(of(at) || { means: [] })); return `Mean of ${view.data.metric} over ${names[at][0]} and ${names[at][1]}, from ${shown(low)} to ${shown(high)}`; }, draw);
    });
    const tiles = element("div", { class: "tiles" }, ...made.map((one, at) => element("figure", {}, element("h3", {}, `${names[at][0]} and ${names[at][1]}`), one)));
    const count = new Set(names.flat()).size;
    const left = view.data.dimensions.length > count ? ` The ${count} most important of ${view.data.dimensions.length} parameters.` : "";
    return redrawing([note(`The mean of the metric over pairs of parameters, of all completed iterations; light is good, empty cells hold none, the ring is the best; what lies beyond the colours has the last of them.${left}`), tiles], ...made);
  }
  function scaleBar(pen, width, height, [low, high], [below, above], good) {
    const [x, top, bottom] = [width - EDGE.right - 22, EDGE.top + 14, height - EDGE.bottom - 14];
    for (let y = top; y < bottom; y++) { pen.fillStyle = shade(good(high - ((y - top) / (bottom - top)) * (high - low))); pen.fillRect(x, y, 10, 1.5); }
    pen.fillStyle = colour("soft");
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillText(`${above}${brief(high)}`, x + 5, top - 8, 52);
    pen.fillText(`${below}${brief(low)}`, x + 5, bottom + 9, 52);
  }

  function pareto(view) {
    const front = () => view.data.figures.pareto;
    const names = () => front().names.map((name, i) => `${name} (${front().directions[i]})`);
    const draw = (pen, width, height, made) => {
      const now = front();
      const x = scaleOf(...extent(now.x), EDGE.left, width - EDGE.right);
      const y = scaleOf(...extent(now.y), height - EDGE.bottom, EDGE.top);
      axes(pen, width, height, x, y, ...names());
      for (const inFront of [false, true]) {
        pen.fillStyle = colour(inFront ? "best" : "mark");
        pen.strokeStyle = colour("bad");
        pen.globalAlpha = inFront ? 1 : 0.4;
        now.x.forEach((value, i) => {
          if (now.in_front[i] !== inFront || value === null || now.y[i] === null) return;
          if (now.state[i] === 1) cross(pen, x(value), y(now.y[i]), 2.5); else dot(pen, x(value), y(now.y[i]), inFront ? 4 : 2);
          made.points.push([x(value), y(now.y[i]), `iteration ${shown(now.iteration[i])}: ${shown(value)}, ${shown(now.y[i])}${STATES[now.state[i]]}`]);
        });
      }
      pen.globalAlpha = 1;
    };
    const told = element("p");
    const made = canvas(340, () => `Pareto front of ${names().join(" and ")}: ${front().size} iterations`, draw);
    return { node: [told, figure(made)], update: () => { told.textContent = `${shown(front().size)} iterations that no other one dominates, by ${names().join(" and ")}.`; made.redraw(); } };
  }

  function timeline(view) {
    const now = () => view.data.timeline;
    const words = () => now().workers.map(({ name, total }) => `${name} ${shown(total)}`).join(", ");
    const draw = (pen, width, height, made) => {
      const { workers, start_ns: start, end_ns: end } = now();
      const seconds = (end - start) / 1e9;
      const most = Math.max(1, ...workers.flatMap(({ counts }) => counts));
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
      pen.fillText(`${brief(seconds)} s`, width - 10, 14 + workers.length * 26);
    };
    const told = element("p");
    const made = canvas(() => 28 + 26 * now().workers.length, () => `Iterations ended over time by worker: ${words()}`, draw);
    const text = "When iterations ended, by each worker's own clock: the darker, the more; another colour where some did not complete.";
    return { node: [told, figure(made, text)], update: () => { told.textContent = `Iterations by worker: ${words()}.`; made.redraw(); } };
  }

  arbd.figures = { history, distribution, importance, parallel, slices, contours, pareto, timeline };
})();
