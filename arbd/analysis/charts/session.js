"use strict";
// A session as sections: what a trader shows his boss first, then the figures, then what they rest on. The report draws
// it once; the live page calls `show` with every new state.
(() => {
  const { element, shown, brief, percent, note, table, figures, runMarket } = arbd;
  const some = (value) => value !== null && value !== undefined;

  function headline(data) {
    const tiles = data.headline.map(({ name, value, unit, text }) => element(
      "div", { class: "tile" }, element("dt", {}, text || name), element("dd", {}, unit === "%" ? `${typeof value === "number" ? Number(value.toPrecision(3)) : value} %` : unit === "share" && some(value) ? percent(value) : brief(value), unit && !["%", "share", "count", "ratio"].includes(unit) ? element("small", {}, unit) : null),
    ));
    return element("dl", { class: "headline" }, ...tiles);
  }
  const whole = (text) => `${text[0].toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."}`;
  function sentence(data) {
    const found = data.verdict;
    if (!found) return data.verdict_text ? element("p", { class: "sentence" }, data.verdict_text) : null;
    const [first] = found.reasons;
    return element("p", { class: "sentence" }, element("strong", {}, `${found.verdict}`), `: ${found.rule}.${first ? ` ${whole(first)}` : ""}`);
  }
  function best(view) {
    const node = element("div");
    let made = "";
    const update = () => {
      const { data } = view;
      const stamp = JSON.stringify([data.ranking[0], data.headline, data.verdict, data.neighbours, data.traded, data.notices]);
      if (stamp === made) return;
      made = stamp;
      node.replaceChildren(...bestParts(data, view.options));
    };
    return { node, update };
  }
  function bestParts(data, options) {
    const notices = data.notices.map((text) => note(`Note: ${text}`));
    if (!data.ranking.length) return [note("No iteration has completed, so there is nothing to rank yet."), ...notices];
    const first = data.ranking[0];
    const parts = [element("p", {}, "Iteration ", options.iterationLink ? options.iterationLink(first.iteration) : shown(first.iteration), ` by ${first.worker}: ${data.metric} ${shown(first.metrics[data.metric])}.${first.feasible ? "" : " IT BREAKS A CONSTRAINT, as every other one does."}`)];
    if (data.traded) parts.push(element("p", { class: data.traded.never === data.traded.of ? "alert" : "note" }, data.traded.text));
    parts.push(...notices, headline(data), ...[sentence(data)].filter(some));
    if (data.winner) {
      if (data.winner.missing) parts.push(note(`No equity curve: ${data.winner.missing}`));
      else parts.push(...data.winner.markets.map((market) => {
        const shared = arbd.timeWindow(...market.whole);
        return element("div", { class: "market" }, element("h3", {}, `Equity: ${market.source}`), ...(market.equity.t.length ? [arbd.zoomButtons(shared), ...arbd.equityCharts(shared, () => market)] : [note("All quotes have one time: there is no equity over time.")]));
      }));
    }
    const rows = [
      ...Object.entries(first.params).map(([name, value]) => [name, value, "searched"]),
      ...Object.entries(data.fixed).map(([name, value]) => [name, value, "fixed"]),
    ];
    parts.push(table("Parameters of the best", [{ name: "parameter" }, { name: "value", kind: "number" }, { name: "kind" }], rows));
    if (data.neighbours.length) parts.push(neighbours(data));
    return parts;
  }
  function neighbours(data) {
    const names = data.dimensions.map(({ name }) => name);
    const rows = data.neighbours.map((one) => [one.iteration, one.metric, one.reach, ...names.map((name) => one.params[name] ?? null)]);
    return table("Its neighbours: the completed iterations nearest to it. If they are much worse, it is a spike", [{ name: "iteration", kind: "number" }, { name: data.metric, kind: "number" }, { name: "distance", kind: "number", cell: percentCell }, ...names.map((name) => ({ name, kind: "number" }))], rows);
  }
  const percentCell = (value) => (some(value) ? percent(value) : "–");

  function verdict(view) {
    const node = element("div");
    let made = "";
    const update = () => {
      const stamp = JSON.stringify(view.data.verdict);
      if (stamp === made) return;
      made = stamp;
      node.replaceChildren(...verdictParts(view.data.verdict));
    };
    return { node, update };
  }
  const chance = (value) => (typeof value === "number" ? percent(value) : value);
  function verdictParts(found) {
    const rows = [
      ["trials", found.trials, "parameter sets that this search tried"],
      ["trials on the same data", found.trials_on_data, "by all searches of this spool"],
      ["effective trials", some(found.effective_trials) ? brief(found.effective_trials) : null, "independent trials with as much variety"],
      ["Sharpe ratio", some(found.sharpe) ? brief(found.sharpe) : null, `of the winner, ${found.sharpe_unit}`],
      ["luck line", some(found.luck_line) ? brief(found.luck_line) : null, "Sharpe ratio that the best of as many trials without skill is expected to have"],
      ["probabilistic Sharpe ratio", chance(found.psr), "that the winner's true ratio is above 0, were it the only trial"],
      ["deflated Sharpe ratio", chance(found.dsr), "that it is above the luck line, which sets that lose raise too: no verdict rests on it"],
      ["superior ability, p", chance(found.spa.p_winner), "how often the best of such trials without skill does as well as the winner"],
      [`PBO${found.pbo.value !== null && !found.pbo.valid ? " (NOT VALID)" : ""}`, chance(found.pbo.value), found.pbo.reason || "how often the best on one half of time is no better than the median on the other"],
      ["plateau", found.plateau && chance(found.plateau.ratio), "median score of the nearest trials, as a share of the winner's"],
      ["null searches, p", found.null_searches && chance(found.null_searches.p), `how often a search on data without edge does as well, of ${found.null_searches ? shown(found.null_searches.k) : 0}`],
    ].filter(([, value]) => some(value));
    const reasons = new Map();
    for (const [name, reason] of Object.entries(found.missing)) reasons.set(reason, [...(reasons.get(reason) || []), name]);
    return [
      element("p", {}, `The winner: ${found.verdict}. By this rule: ${found.rule}.`),
      ...found.reasons.map((text) => element("p", {}, whole(text))),
      table("What the verdict rests on", [{ name: "number" }, { name: "value", kind: "number" }, { name: "meaning", kind: "text" }], rows),
      ...[["out_of_sample", "Out of sample: on data that no search had seen"], ["stress", "Stress: the winner under worse conditions"]].flatMap(([name, title]) => records(title, found[name])),
      ...[...reasons].map(([reason, names]) => note(`Not computed: ${names.join(", ")}: ${reason}`)),
    ];
  }
  // A list of records, or one, whatever their fields, as a table.
  function records(title, found) {
    const rows = (Array.isArray(found) ? found : found ? [found] : []).map((one) => Object.fromEntries(Object.entries(one).filter(([, value]) => typeof value !== "object" || value === null)));
    const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
    return names.length ? [table(title, names.map((name) => ({ name, kind: "number" })), rows.map((row) => names.map((name) => row[name] ?? null)))] : [];
  }

  function failures(view) {
    const node = element("div");
    const update = () => {
      const rows = view.data.failures.map((kind) => [kind.status, kind.count, kind.first_iteration, kind.error]);
      const columns = [{ name: "status" }, { name: "count", kind: "number" }, { name: "first iteration", kind: "number" }, { name: "error", kind: "text" }];
      if (node.stamp === JSON.stringify(rows)) return;
      node.stamp = JSON.stringify(rows);
      node.replaceChildren(rows.length ? table("The most frequent errors, each once", columns, rows) : element("p", {}, "None."));
    };
    return { node, update };
  }

  // Parameters first; which metrics, is chosen.
  function ranking(view) {
    const holder = element("div");
    const picker = element("fieldset", { class: "columns" }, element("legend", {}, "Metrics shown"));
    const made = { names: "", table: null };
    const all = () => [...new Set([view.data.metric, ...view.data.metrics.map(({ name }) => name), ...Object.keys(view.data.ranking[0]?.metrics || {})])];
    const usual = () => new Set([view.data.metric, ...view.data.metrics.map(({ name }) => name), ...["trades", "sharpe", "max_drawdown"].filter((name) => all().includes(name)), ...(all().length <= 6 ? all() : [])]);
    const rebuild = () => {
      view.shownMetrics ||= usual();
      const metrics = all().filter((name) => view.shownMetrics.has(name));
      const params = view.data.dimensions.map(({ name }) => name);
      const link = view.options.iterationLink;
      made.columns = [
        { name: "rank", kind: "number" }, { name: "iteration", kind: "number", cell: link || undefined },
        ...params.map((name) => ({ name, kind: "number" })), ...metrics.map((name) => ({ name, kind: "number" })),
        ...(view.data.ranking.some((row) => !row.feasible) ? [{ name: "feasible" }] : []),
        { name: "worker" }, { name: "seconds", kind: "number" }, { name: "attempt", kind: "number" },
      ];
      made.row = (row, i) => [i + 1, row.iteration, ...params.map((name) => row.params[name] ?? null), ...metrics.map((name) => row.metrics[name] ?? null), ...(made.columns.some(({ name }) => name === "feasible") ? [row.feasible ? "yes" : "NO"] : []), row.worker, row.duration_s, row.attempt];
      made.table = table(caption(), made.columns, view.data.ranking.map(made.row), { id: "ranking-table", page: view.options.page || 0 });
      holder.replaceChildren(made.table);
    };
    const caption = () => { const { ranking: rows, figures: { of } } = view.data; return of > rows.length ? `The best ${shown(rows.length)} of ${shown(of)} completed iterations` : `All ${shown(rows.length)} completed iterations`; };
    const update = () => {
      const names = JSON.stringify([all(), view.data.ranking.some((row) => !row.feasible)]);
      if (made.names === names) { made.table.fill(view.data.ranking.map(made.row), caption()); return; }
      made.names = names;
      rebuild();
      picker.replaceChildren(element("legend", {}, "Metrics shown"), ...all().map((name) => {
        const box = element("input", { type: "checkbox" });
        box.checked = view.shownMetrics.has(name);
        box.addEventListener("change", () => { if (box.checked) view.shownMetrics.add(name); else view.shownMetrics.delete(name); rebuild(); });
        return element("label", {}, box, ` ${name}`);
      }));
    };
    return { node: [note("A column's button sorts by it; again, the other way."), picker, holder], update };
  }

  function job(view) {
    const digests = Object.entries(view.data.digests);
    const node = [
      element("pre", { tabindex: "0", role: "region", "aria-label": "The job file as it was submitted" }, view.data.job),
      digests.length ? table("SHA-256 of every file that the results depend on", [{ name: "file" }, { name: "SHA-256" }], digests) : note("The results depend on no file."),
    ];
    return { node, update() {} };
  }

  const SECTIONS = [
    ["best", "Best", () => true, best],
    ["verdict", "Skill or luck", ({ verdict: found }) => found, verdict],
    ["history", "Optimisation history", ({ figures: drawn }) => drawn, figures.history],
    ["intermediate", "Intermediate values", ({ figures: drawn }) => drawn && drawn.intermediate, figures.intermediate],
    ["slices", "Slices", ({ figures: drawn }) => drawn, figures.slices],
    ["contours", "Contours", ({ figures: drawn }) => drawn && drawn.contours.length, figures.contours],
    ["importance", "Importance", ({ figures: drawn }) => drawn, figures.importance],
    ["parallel", "Parallel coordinates", ({ figures: drawn }) => drawn, figures.parallel],
    ["pareto", "Pareto front", ({ figures: drawn }) => drawn && drawn.pareto, figures.pareto],
    ["distribution", "Distribution", ({ figures: drawn }) => drawn && drawn.distribution.counts.length, figures.distribution],
    ["failures", "Failures", () => true, failures],
    ["ranking", "Ranking", ({ ranking: rows }) => rows.length, ranking],
    ["workers", "Workers", ({ timeline }) => timeline.workers.length, figures.timeline],
    ["job", "Job and fingerprints", () => true, job],
  ];

  // `root` gets the sections, `contents` a link to each. `options.iterationLink(n)` makes a link where there is a page of it.
  function sessionView(root, contents, options = {}) {
    const view = { data: null, options, chosen: { share: "matters", log: false }, group: {}, shownMetrics: null };
    let [structure, updates] = ["", []];
    view.show = (data) => {
      view.data = data;
      const there = SECTIONS.filter(([, , has]) => has(data));
      const now = JSON.stringify([data.session_id, data.metric, data.dimensions, there.map(([id]) => id), data.figures && data.figures.contours.map(({ x, y }) => [x, y])]);
      if (now !== structure) {
        structure = now;
        for (const known of Object.values(view.group)) known.selects = [];
        const built = there.map(([id, title, , make]) => {
          const { node, update } = make(view);
          updates.push(update);
          const parts = Array.isArray(node) ? node : [node];
          return [element("section", { id, "aria-labelledby": `${id}-title`, tabindex: "-1" }, element("h2", { id: `${id}-title` }, title), ...parts), id, title, update];
        });
        updates = built.map(([, , , update]) => update);
        root.replaceChildren(...built.map(([section]) => section));
        contents?.replaceChildren(...built.map(([section, id, title]) => {
          const link = element("a", { href: `#${id}` }, title);
          if (options.jump) link.addEventListener("click", (event) => { event.preventDefault(); section.scrollIntoView(); section.focus({ preventScroll: true }); });
          return element("li", {}, link);
        }));
      }
      for (const update of updates) update();
      arbd.redrawAll();
    };
    return view;
  }
  function facts(data) {
    const statuses = Object.entries(data.statuses).filter(([, count]) => count).map(([name, count]) => `${shown(count)} ${name}`);
    return `${data.state}. ${data.objective}, method ${data.method}, seed ${data.seed}. ${shown(data.rows)} of ${shown(data.iterations)} iterations` +
      `${statuses.length ? `: ${statuses.join(", ")}` : ""}. Ranked by ${data.metric}, ${data.ascending ? "lowest" : "highest"} first.`;
  }

  Object.assign(arbd, { sessionView, facts, runMarket });
})();
