"use strict";
// Intermediate values: what iterations told on their way, of a session as lines beside each other, of one iteration alone.
(() => {
  const { element, shown, colour, note, canvas, scaleOf, extent, EDGE, axes, dot, cross } = arbd;
  const KINDS = { pruned: [[4, 3], 0.55, 1], completed: [[], 0.45, 1], best: [[], 0.8, 1.2], winner: [[], 1, 2.5] };
  const COLOURS = { pruned: "bad", completed: "mark", best: "mark", winner: "best" };
  const WORDS = { pruned: "pruned here", completed: "", best: "one of the best", winner: "the best" };

  function draw(pen, width, height, made, lines, metric, y) {
    const steps = extent(lines.flatMap((line) => line.steps));
    const x = scaleOf(steps[0], steps[1], EDGE.left, width - EDGE.right);
    axes(pen, width, height, x, y, "step", metric);
    pen.save();
    pen.beginPath(); pen.rect(EDGE.left - 4, 0, width - EDGE.left, height - EDGE.bottom + 4); pen.clip();
    for (const { iteration, kind, steps: at, values } of lines) {
      const [dash, alpha, thick] = KINDS[kind];
      pen.strokeStyle = pen.fillStyle = colour(COLOURS[kind]);
      [pen.globalAlpha, pen.lineWidth] = [alpha, thick];
      pen.setLineDash(dash);
      let last = null;
      pen.beginPath();
      values.forEach((value, i) => {
        if (value === null) { last = null; return; }
        const here = [x(at[i]), y(value)];
        if (last) pen.lineTo(...here); else pen.moveTo(...here);
        last = here;
        made.points.push([...here, `iteration ${shown(iteration)}, step ${shown(at[i])}: ${shown(value)}${WORDS[kind] && (kind !== "pruned" || i === values.length - 1) ? `, ${WORDS[kind]}` : ""}`]);
      });
      pen.stroke();
      pen.setLineDash([]);
      pen.globalAlpha = 1;
      // Where a line ends: a cross where it was pruned; a line of one value is a dot.
      if (last && kind === "pruned") cross(pen, ...last, 3); else if (last && at.length === 1) dot(pen, ...last, 2.5);
    }
    pen.restore();
    pen.globalAlpha = pen.lineWidth = 1;
  }

  // The winner is drawn last, the pruned ones first.
  const ORDER = ["pruned", "completed", "best", "winner"];
  function drawn(view) {
    const { lines, winner } = view.data.figures.intermediate;
    return lines.map((line) => (line.iteration === winner ? { ...line, kind: "winner" } : line))
      .sort((a, b) => ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind));
  }
  const reached = (view) => drawn(view).flatMap(({ values }) => values);
  // From the best to what is not far worse than the others, of all values together; or all of them.
  function scale(view, from, to) {
    const { ascending } = view.data.figures.intermediate;
    const known = reached(view).filter((value) => value !== null).sort((a, b) => a - b);
    let [low, high] = extent(known);
    if (view.chosen.share === "matters" && known.length >= 8) {
      const at = (share) => known[Math.round(share * (known.length - 1))];
      const reach = 1.5 * (at(0.75) - at(0.25));
      if (reach > 0) [low, high] = ascending ? [low, Math.min(high, at(0.75) + reach)] : [Math.max(low, at(0.25) - reach), high];
    }
    return { map: scaleOf(low, high, from, to), beyond: known.filter((value) => value < low || value > high).length };
  }

  function intermediate(view) {
    const now = () => view.data.figures.intermediate;
    const count = (...kinds) => drawn(view).filter(({ kind }) => kinds.includes(kind)).length;
    const label = () => `Intermediate values of ${now().metric}: ${shown(count("completed", "best", "winner"))} completed iterations and ${shown(count("pruned"))} of ${shown(now().pruned)} pruned ones, by step`;
    const [told, below] = [note(""), element("figcaption")];
    const made = canvas(320, label, (pen, width, height, into) => {
      const { map, beyond } = scale(view, height - EDGE.bottom, EDGE.top);
      below.textContent = beyond ? `Values beyond the scale: ${shown(beyond)}; «all that is drawn» above shows them.` : "";
      draw(pen, width, height, into, drawn(view), now().metric, map);
    });
    const keys = element("p", {});
    const update = () => {
      told.textContent = `What iterations reported on their way: ${shown(count("completed", "best", "winner"))} that completed, the best among them, and ${shown(count("pruned"))} of ${shown(now().pruned)} that were pruned.`;
      keys.replaceChildren(
        ...(count("winner") ? [element("span", { class: "key best" }, "the best")] : []),
        element("span", { class: "key mark" }, "completed"),
        ...(now().pruned ? [element("span", { class: "key bad" }, "pruned: dashed, a cross where it ended")] : []),
      );
      made.redraw();
    };
    return { node: [told, keys, element("figure", {}, made, below)], update };
  }

  // Of one iteration alone, for a page of it.
  function reportedCurve(line, metric) {
    const values = () => line.values.filter((value) => value !== null);
    const label = () => `Intermediate values of ${metric}: ${line.steps.map((step, i) => `${shown(step)}: ${shown(line.values[i])}`).join(", ")}`;
    return element("figure", {}, canvas(240, label, (pen, width, height, into) => draw(pen, width, height, into, [line], metric, scaleOf(...extent(values()), height - EDGE.bottom, EDGE.top))));
  }

  arbd.figures.intermediate = intermediate;
  Object.assign(arbd, { reportedCurve });
})();
