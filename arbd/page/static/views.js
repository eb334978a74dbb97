"use strict";
// The views of one: a session, an iteration, and sessions beside each other.
(() => {
  const { element, shown, duration, note, table, canvas, scaleOf, extent, EDGE, axes, colour, sessionView, facts, runMarket, say } = arbd;
  const { to, link, ask, change, query, stateText, part } = arbd.page;

  function session(main, shared, id) {
    const heading = element("h1", { tabindex: "-1" }, `Session ${id}`);
    const [told, progress, pace, problem, late] = [element("p", { id: "facts" }), element("progress", { max: "1", value: "0", "aria-label": "Iterations done", hidden: "" }), element("p", { id: "pace" }), element("p", { class: "alert", hidden: "" }), element("p", { class: "late", hidden: "" })];
    const contents = element("ul", { id: "contents" });
    const root = element("div");
    const metric = element("select", { id: "metric" });
    const standing = element("p", { hidden: "" });
    const controls = element("div", { class: "bar control", role: "group", "aria-label": "Control" });
    const equity = element("div", { id: "equity" });
    main.replaceChildren(heading, told, progress, pace, standing, controls, problem, late, element("div", { class: "bar", hidden: "" }, element("label", { for: "metric" }, "Metric", metric)), element("nav", { "aria-label": "Sections" }, contents), equity, root);
    const view = sessionView(root, contents, { iterationLink: (number) => link(to.iteration(id, number), shown(number)), jump: true, page: 50 });
    let [busy, first, shownEquity] = [false, true, null];
    metric.addEventListener("change", () => { shared.metric[id] = metric.value; update(true); });

    function live() {
      const row = shared.row(id);
      if (!row || !row.of) return;
      progress.hidden = false;
      progress.value = row.done / row.of;
      progress.textContent = `${Math.round((100 * row.done) / row.of)} %`;
      pace.replaceChildren(stateText(row.state), ` · ${shown(row.done)} of ${shown(row.of)} iterations${row.bad ? `, ${shown(row.bad)} of them bad` : ""}${row.rate ? ` · ${shown(row.rate)} per second · ${duration(row.left_s)} left` : ""}${row.workers ? ` · ${shown(row.workers)} ${row.workers === 1 ? "worker" : "workers"} so far` : ""}${row.reason ? ` · ${row.reason}` : ""}`);
      const job = (row.labels || []).find((label) => label.startsWith("standing="))?.slice(9);
      if (job && standing.hidden) { standing.hidden = false; standing.replaceChildren("Made by the standing job ", link(to.standing(job), job), "."); }
      if (shared.control && arbd.page.token()) control(row);
    }
    function control(row) {
      const possible = { running: ["pause", "cancel"], pending: ["pause", "cancel"], paused: ["resume", "cancel"], done: row.bad ? ["retry"] : [], finishing: [] }[row.state] || [];
      if (controls.dataset.possible === possible.join()) return;
      controls.dataset.possible = possible.join();
      controls.replaceChildren(...possible.map((verb) => {
        const button = element("button", { type: "button" }, verb === "retry" ? "run failed ones again" : verb);
        button.addEventListener("click", async () => {
          if (verb === "cancel" && !window.confirm(`Cancel ${id} for good?`)) return;
          const { error } = await change(`/api/session/${part(id)}/${verb}`);
          problem.hidden = !error;
          problem.textContent = error || "";
          say(error || `${id}: ${verb}`);
        });
        return button;
      }));
    }
    async function update(again = false) {
      live();
      if (busy && !again) return;
      busy = true;
      const { data, same, error, late: age } = await ask(`/api/session/${part(id)}${query({ metric: shared.metric[id] })}`, { fresh: first || again });
      busy = false;
      if (!main.contains(root)) return;
      late.hidden = !age;
      late.textContent = age ? `This is as it was ${shown(age)} s ago: the spool does not answer, or the results are many.` : "";
      problem.hidden = !error;
      problem.textContent = error || "";
      if (same || error) return;
      first = false;
      told.textContent = facts(data);
      if (metric.options.length !== data.all_metrics.length) metric.replaceChildren(...data.all_metrics.map((name) => element("option", { value: name }, name)));
      metric.value = data.metric;
      metric.parentElement.parentElement.hidden = data.all_metrics.length < 2;
      view.show(data);
      if (data.is_paper && data.ranking.length) showEquity(data);
    }
    // Running an iteration again costs some seconds: while the best still changes, it is asked for by hand.
    function showEquity(data) {
      const best = data.ranking[0].iteration;
      if (shownEquity === best) return;
      shownEquity = best;
      const over = data.state === "done" || data.state === "cancelled";
      const section = (...children) => element("section", { "aria-label": `Equity of iteration ${best}` }, element("h2", {}, "Equity of the best"), ...children);
      if (!over) {
        equity.replaceChildren(section(element("p", {}, "While the session runs the best may change: ", link(to.iteration(id, best), `equity and fills of iteration ${shown(best)}`), ".")));
        return;
      }
      equity.replaceChildren(section(note("Running it again …")));
      ask(`/api/session/${part(id)}/run/${best}`, { fresh: true }).then(({ data: run, error }) => {
        if (error) { equity.replaceChildren(section(note(`No equity curve: ${error}`))); return; }
        equity.replaceChildren(section(...run.markets.map((market) => { const shared2 = arbd.timeWindow(...market.whole); return element("div", { class: "market" }, element("h3", {}, market.source), ...(market.equity.t.length ? arbd.equityCharts(shared2, () => market) : [note("All quotes have one time: there is no equity over time.")])); }), element("p", {}, link(to.iteration(id, best), `All of iteration ${shown(best)}: edges and fills`))));
        arbd.redrawAll();
      });
    }
    return { title: `Session ${id}`, update: () => update() };
  }

  function iteration(main, shared, id, number) {
    const body = element("div");
    main.replaceChildren(element("h1", { tabindex: "-1" }, `Iteration ${shown(number)} of `, link(to.session(id), id)), body);
    body.append(note("Reading …"));
    (async () => {
      const { data: row, error } = await ask(`/api/session/${part(id)}/iteration/${number}`, { fresh: true });
      if (error) { body.replaceChildren(element("p", { class: "alert" }, error)); return; }
      const steps = element("p", {}, number > 1 ? link(to.iteration(id, number - 1), "previous") : "", " ", number < row.iterations ? link(to.iteration(id, number + 1), "next") : "");
      const about = `${row.status} by ${row.worker} at ${row.ended.slice(0, 19).replace("T", " ")} UTC, in ${row.duration_s < 1 ? `${arbd.brief(1000 * row.duration_s)} ms` : `${arbd.brief(row.duration_s)} s`}${row.attempt > 1 ? `, attempt ${row.attempt}` : ""}.${row.feasible ? "" : " It breaks a constraint."}${row.budget < 1 ? ` On ${arbd.percent(row.budget)} of the data.` : ""}${row.duplicate_of ? ` Its parameters stood before: the result is that of iteration ${row.duplicate_of}.` : ""}`;
      const told = row.reports ? element("section", { "aria-label": "Intermediate values" }, element("h2", {}, "Intermediate values"), arbd.reportedCurve(row.reports, row.metric), row.reports.of > row.reports.steps.length ? note(`${shown(row.reports.steps.length)} of ${shown(row.reports.of)} that it reported, evenly.`) : "") : "";
      const run = element("div");
      const params = [...Object.entries(row.params).map(([name, value]) => [name, value, "searched"]), ...Object.entries(row.fixed).map(([name, value]) => [name, value, "fixed"])];
      body.replaceChildren(
        steps, element("p", {}, about), row.error ? element("pre", { tabindex: "0", role: "region", "aria-label": "Error" }, row.error) : "",
        run, told,
        element("div", { class: "tiles" }, table("Parameters", [{ name: "parameter" }, { name: "value", kind: "number" }, { name: "kind" }], params), Object.keys(row.metrics).length ? table("Metrics", [{ name: "metric" }, { name: "value", kind: "number" }], Object.entries(row.metrics)) : null),
      );
      arbd.redrawAll();
      if (!row.is_paper || row.status !== "completed") { run.append(note(row.is_paper ? "It did not complete, so that there is nothing to show over time." : "Only iterations of the paper engine have fills and equity over time.")); return; }
      run.append(element("p", { role: "status" }, "Running it again on this host …"));
      const { data, error: why } = await ask(`/api/session/${part(id)}/run/${number}`, { fresh: true });
      if (why) { run.replaceChildren(note(`No equity and fills: ${why}`)); return; }
      run.replaceChildren(
        element("p", { class: data.equal ? "note" : "alert" }, data.equal ? "Run again on this host: equal to what was recorded, to the bit." : `Run again on this host it is NOT EQUAL to what was recorded: ${data.differences.join(", ")} (\`arbctl replay ${id} ${number}\` says more).`),
        ...data.markets.map((market, i) => element("section", { "aria-label": market.source }, runMarket(market, `market-${i + 1}`, async (from, end) => (await ask(`/api/session/${part(id)}/run/${number}${query({ market: i + 1, from, to: end })}`, { fresh: true })).data?.markets[0], "h2"))),
      );
      arbd.redrawAll();
    })();
    return { title: `Iteration ${number} of ${id}`, update() {} };
  }

  const KINDS = ["mark", "best", "equity", "ba", "exit", "ab", "entry", "soft"];
  function compare(main, shared, ids) {
    const body = element("div");
    main.replaceChildren(element("h1", { tabindex: "-1" }, "Sessions side by side"), body);
    let busy = false;
    let now = null;
    const draw = (pen, width, height) => {
      const curves = now.sessions.map(({ curve, iterations }) => ({ ...curve, iterations }));
      const x = scaleOf(1, Math.max(2, ...curves.map((curve) => curve.iterations)), EDGE.left, width - EDGE.right);
      // From the median of what was ever the best: the first ones are far off.
      const y = scaleOf(...extent(curves.flatMap(({ values }) => values.slice(Math.floor(values.length / 4)))), height - EDGE.bottom, EDGE.top);
      axes(pen, width, height, x, y, "iteration", now.metric);
      pen.save();
      pen.beginPath(); pen.rect(EDGE.left, 0, width - EDGE.left, height - EDGE.bottom); pen.clip();
      curves.forEach(({ iteration: at, values, iterations }, k) => {
        pen.strokeStyle = colour(KINDS[k]);
        pen.lineWidth = 2;
        pen.setLineDash(k % 2 ? [6, 3] : []);
        pen.beginPath();
        values.forEach((value, i) => { if (i) pen.lineTo(x(at[i]), y(values[i - 1])); pen.lineTo(x(at[i]), y(value)); });
        if (values.length) pen.lineTo(x(iterations), y(values.at(-1)));
        pen.stroke();
      });
      pen.restore();
    };
    const made = canvas(320, () => `The best so far by iteration: ${now.sessions.map(({ session_id: name, best }) => `${name} ${shown(best)}`).join(", ")}`, draw);
    async function update() {
      if (busy) return;
      busy = true;
      const { data, error } = await ask(`/api/compare${query({ ids: ids.join(",") })}`, { fresh: now === null });
      busy = false;
      if (error) { body.replaceChildren(element("p", { class: "alert" }, error)); return; }
      if (!data || !main.contains(body)) return;
      now = data;
      const names = [...new Set(data.sessions.flatMap(({ params }) => Object.keys(params)))];
      const columns = [{ name: "session", cell: (name) => link(to.session(name), name) }, { name: "state" }, { name: "method" }, { name: "iterations", kind: "number" }, { name: `best ${data.metric}`, kind: "number" }, { name: "median", kind: "number" }, { name: "top decile from", kind: "number" }, { name: "seconds each", kind: "number" }, ...names.map((name) => ({ name, kind: "number" }))];
      const rows = data.sessions.map((one) => [one.session_id, one.state, one.method, one.iterations, one.best, one.median, one.top_tenth, one.seconds_each, ...names.map((name) => one.params[name] ?? null)]);
      body.replaceChildren(
        ...data.notices.map((text) => element("p", { class: "alert" }, text)),
        element("section", { "aria-label": "The best so far" }, element("p", {}, ...data.sessions.map(({ session_id: name }, k) => element("span", { class: `key ${KINDS[k]}` }, name))), element("figure", {}, made)),
        element("section", { "aria-label": "Numbers" }, table(`Ranked by ${data.metric}, ${data.ascending ? "lowest" : "highest"} first`, columns, rows)),
      );
      made.redraw();
    }
    return { title: "Comparison", update };
  }

  Object.assign(arbd.page, { session, iteration, compare });
})();
