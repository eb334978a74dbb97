"use strict";
// The views of many: sessions and workers.
(() => {
  const { element, shown, duration, note, table, canvas, scaleOf, EDGE, axes, colour, say } = arbd;
  const { to, link, ask, query } = arbd.page;
  const PAGE = 50;
  const GOOD_STATES = new Set(["done", "running", "pending", "finishing", "queued", "active"]);
  const stateText = (state) => element("span", { class: GOOD_STATES.has(state) ? "state" : "state bad" }, state);
  const when = (ms) => (ms ? new Date(ms).toISOString().slice(0, 16).replace("T", " ") : "–");

  const SORTS = {
    "newest first": (a, b) => (b.started || 0) - (a.started || 0) || arbd.compare(a.id, b.id, false),
    "name": (a, b) => arbd.compare(a.id, b.id, true),
    "state": (a, b) => arbd.compare(a.state, b.state, true) || arbd.compare(a.id, b.id, true),
    "progress": (a, b) => (b.done / b.of || 0) - (a.done / a.of || 0),
    "rate": (a, b) => (b.rate || 0) - (a.rate || 0),
    "failures": (a, b) => (b.bad || 0) - (a.bad || 0),
    "owner": (a, b) => arbd.compare(a.owner || "", b.owner || "", true),
  };

  function sessions(main, shared) {
    const chosen = shared.list;
    const marked = shared.marked;
    const search = element("input", { type: "search", id: "search", autocomplete: "off", spellcheck: "false" });
    search.value = chosen.search;
    const select = (label, name, values) => {
      const made = element("select", { id: `by-${name}` });
      made.fill = (now) => {
        if (made.options.length === now.length && now.every(([value], i) => made.options[i].value === value)) return;
        made.replaceChildren(...now.map(([value, text]) => element("option", { value }, text)));
        made.value = now.some(([value]) => value === chosen[name]) ? chosen[name] : now[0][0];
      };
      made.fill(values);
      made.addEventListener("change", () => { chosen[name] = made.value; chosen.page = 0; draw(true); });
      return [made, element("label", {}, label, made)];
    };
    const [state, stateLabel] = select("State", "state", [["", "all"]]);
    const [owner, ownerLabel] = select("Owner", "owner", [["", "all"]]);
    const [label, labelLabel] = select("Label", "label", [["", "all"]]);
    const [, sortLabel] = select("Sort by", "sort", Object.keys(SORTS).map((name) => [name, name]));
    const compareButton = element("button", { type: "button" }, "Compare");
    compareButton.addEventListener("click", () => { location.hash = to.compare([...marked]); });
    const head = ["compare", "session", "state", "reason", "best", "done", "of", "bad", "per second", "left", "method", "owner", "labels", "started (UTC)"];
    // Columns that are there while one of the rows has something to say in them.
    const spoken = { "per second": (row) => row.rate, "left": (row) => row.left_s, "labels": (row) => (row.labels || []).length, "reason": (row) => row.reason };
    const numbers = new Set(["done", "of", "bad", "per second", "best"]);
    const body = element("tbody");
    const caption = element("caption");
    const sheet = element("table", { id: "sessions-table" }, caption, element("thead", {}, element("tr", {}, ...head.map((name) => element("th", { scope: "col", class: numbers.has(name) ? "number" : null }, name)))), body);
    const pager = element("nav", { class: "bar", "aria-label": "Pages of the list" });
    search.addEventListener("input", () => { chosen.search = search.value; chosen.page = 0; draw(true); });
    main.replaceChildren(
      element("h1", { tabindex: "-1" }, "Sessions"),
      element("div", { class: "bar", role: "search" }, element("label", { for: "search" }, "Search", search), stateLabel, ownerLabel, labelLabel, sortLabel, compareButton),
      element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Sessions" }, sheet), pager,
    );
    let [bests, asked, told] = [{}, -Infinity, ""];

    function found() {
      const words = chosen.search.toLowerCase().split(/\s+/).filter(Boolean);
      return shared.rows().filter((row) =>
        (!chosen.state || row.state === chosen.state) && (!chosen.owner || row.owner === chosen.owner) && (!chosen.label || (row.labels || []).includes(chosen.label)) &&
        words.every((word) => [row.id, row.state, row.method, row.owner, row.objective, row.metric, ...(row.labels || [])].some((text) => String(text || "").toLowerCase().includes(word))));
    }
    function line(row) {
      const box = element("input", { type: "checkbox", "aria-label": `compare ${row.id}` });
      box.checked = marked.has(row.id);
      box.addEventListener("change", () => { if (box.checked) marked.add(row.id); else marked.delete(row.id); buttons(); });
      const best = bests[row.id];
      const isJob = row.state === "queued" || row.state === "rejected";
      const cells = [
        isJob ? "" : box, isJob ? element("span", {}, row.id) : link(to.session(row.id), row.id), stateText(row.state), element("span", { class: "reason" }, row.reason || ""),
        best && best.value !== null && best.value !== undefined ? `${best.metric} ${shown(best.value)}` : "–", shown(row.done), shown(row.of), shown(row.bad),
        row.rate ? shown(row.rate) : "–", duration(row.left_s), shown(row.method), shown(row.owner), (row.labels || []).join(", "), when(row.started),
      ];
      return element("tr", {}, ...cells.map((cell, i) => element("td", { class: numbers.has(head[i]) ? "number" : null }, cell)));
    }
    function buttons() {
      compareButton.disabled = marked.size < 2;
      compareButton.textContent = marked.size ? `Compare ${marked.size}` : "Compare";
    }
    function draw(byHand = false) {
      const all = shared.rows();
      const options = (values) => [["", "all"], ...[...new Set(values)].filter(Boolean).sort().map((value) => [value, value])];
      state.fill(options(all.map((row) => row.state)));
      owner.fill(options(all.map((row) => row.owner)));
      label.fill(options(all.flatMap((row) => row.labels || [])));
      ownerLabel.hidden = owner.options.length < 3;
      labelLabel.hidden = label.options.length < 2;
      const rows = found().sort(SORTS[chosen.sort] || SORTS["newest first"]);
      const pages = Math.max(1, Math.ceil(rows.length / PAGE));
      chosen.page = Math.min(chosen.page, pages - 1);
      const here = rows.slice(chosen.page * PAGE, (chosen.page + 1) * PAGE);
      const focused = document.activeElement?.closest?.("#sessions-table tr")?.rowIndex;
      const column = document.activeElement?.closest?.("#sessions-table td")?.cellIndex;
      const stamp = JSON.stringify([here, here.map((row) => bests[row.id]), rows.length, all.length]);
      if (stamp !== told) {
        told = stamp;
        body.replaceChildren(...here.map(line));
        head.forEach((name, i) => { const silent = name in spoken && !here.some(spoken[name]); for (const tr of sheet.rows) tr.cells[i].hidden = silent; });
        // Whoever stands in the table by keyboard stays there.
        if (focused) sheet.rows[focused]?.cells[column]?.querySelector("a, input")?.focus();
        caption.textContent = rows.length === all.length ? `${shown(all.length)} sessions and jobs` : `${shown(rows.length)} of ${shown(all.length)} sessions and jobs`;
        if (!all.length) caption.textContent = shared.complete() ? "No sessions yet: `arbctl submit JOB.yaml` makes one." : "Reading the spool …";
        turn(pages);
      }
      if (byHand) say(caption.textContent);
      buttons();
      best(here);
    }
    function turn(pages) {
      const button = (text, page, enabled) => {
        const made = element("button", { type: "button" }, text);
        made.disabled = !enabled;
        made.addEventListener("click", () => { chosen.page = page; draw(true); });
        return made;
      };
      pager.hidden = pages < 2;
      pager.replaceChildren(button("Earlier", chosen.page - 1, chosen.page > 0), element("span", {}, `page ${chosen.page + 1} of ${pages}`), button("Later", chosen.page + 1, chosen.page < pages - 1));
    }
    async function best(here) {
      const ids = here.filter((row) => row.of).map((row) => row.id).sort();
      const now = performance.now();
      if (!ids.length || now - asked < 2_000) return;
      asked = now;
      const { data } = await ask(`/api/bests${query({ ids: ids.join(",") })}`);
      if (!data) return;
      // What was known stays where it cannot be read now.
      for (const [id, found] of Object.entries(data)) if (!found.reason || !bests[id]) bests[id] = found;
      draw();
    }
    return { title: "Sessions", update: () => draw() };
  }

  function workers(main, shared) {
    const holder = element("div");
    const lines = element("div", { class: "tiles" });
    main.replaceChildren(element("h1", { tabindex: "-1" }, "Workers"), holder, lines);
    const columns = [
      { name: "worker" }, { name: "state", cell: (state) => stateText(state) }, { name: "host" }, { name: "slots", kind: "number" }, { name: "busy", kind: "number" }, { name: "remote slots" },
      { name: "done", kind: "number" }, { name: "per second", kind: "number" }, { name: "version" }, { name: "sessions", plain: true, cell: (ids) => element("span", { class: "reason" }, ...ids.flatMap((id, i) => [i ? ", " : "", link(to.session(id), id)])) },
      { name: "in its way", kind: "text" },
    ];
    const remote = (there) => there ? `${shown(there.busy)} busy, ${shown(there.ready)} of ${shown(there.slots)} ready: ${there.kind} at ${there.address}` : null;
    const row = (one) => [one.id, one.state, one.host, one.slots, one.alive ? one.busy : null, remote(one.executor), one.done, one.alive ? one.rate : null, one.version, one.alive ? one.sessions || [] : [], [one.trouble, ...(one.executor?.notes || []), ...Object.entries(one.blocked || {}).map(([id, why]) => `${id}: ${why}`)].filter(Boolean).join("\n")];
    const sheet = table("Workers", columns, [], { id: "workers-table" });
    const none = note("No worker runs on this spool: start one with `arbd run`.");
    let [stamp, points, drawn] = ["", {}, ""];
    const charts = new Map();
    function chart(id) {
      const draw = (pen, width, height) => {
        const mine = points[id] || [];
        const one = shared.workers().find((worker) => worker.id === id) || {};
        const x = scaleOf(Math.min(-60, -(mine[0]?.[0] || 60)), 0, EDGE.left, width - EDGE.right);
        const most = Math.max(one.slots || 1, ...mine.map(([, , busy]) => busy));
        const fast = Math.max(1e-9, ...mine.map(([, rate]) => rate));
        const y = scaleOf(0, most, height - EDGE.bottom, EDGE.top);
        axes(pen, width, height, x, y, "seconds from now", "slots");
        const line = (value, scale, kind) => {
          pen.strokeStyle = colour(kind);
          pen.lineWidth = 1.6;
          pen.beginPath();
          for (const point of mine) pen.lineTo(x(-point[0]), scale(value(point)));
          pen.stroke();
        };
        line(([, , busy]) => busy, y, "mark");
        line(([, rate]) => rate, scaleOf(0, fast, height - EDGE.bottom, EDGE.top), "best");
      };
      return canvas(150, () => { const last = (points[id] || []).at(-1); return last ? `${id}: ${shown(last[2])} slots busy, ${shown(last[1])} iterations a second` : id; }, draw);
    }
    async function update() {
      const all = shared.workers();
      const now = JSON.stringify(all);
      if (now !== stamp) { stamp = now; sheet.fill(all.map(row), `${shown(all.length)} workers`); holder.replaceChildren(all.length ? sheet : none); }
      const { data } = await ask("/api/workers");
      if (!data || !main.contains(lines)) return;
      points = data;
      const alive = all.filter((one) => one.alive).map((one) => one.id).slice(0, 24);
      if (alive.join() !== drawn) {
        drawn = alive.join();
        charts.clear();
        lines.replaceChildren(...alive.map((id) => { const made = chart(id); charts.set(id, made); return element("figure", {}, element("h2", {}, id), made, element("figcaption", {}, element("span", { class: "key mark" }, "slots busy"), element("span", { class: "key best" }, "rate, to its own scale; since this page runs"))); }));
      }
      for (const made of charts.values()) made.redraw();
    }
    return { title: "Workers", update };
  }

  Object.assign(arbd.page, { sessions, workers, stateText, when });
})();
