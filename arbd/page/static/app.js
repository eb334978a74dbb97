"use strict";
// Which view is shown, and the question every second: what changed? A tab that nobody looks at asks nothing.
(() => {
  const { element, say } = arbd;
  const page = arbd.page;
  const EVERY_MS = 1_000;
  const main = document.getElementById("main");
  const health = document.getElementById("health");
  const rows = new Map();
  const state = { version: 0, jobs: [], workers: [], complete: false };
  const shared = {
    list: { search: "", state: "", owner: "", label: "", sort: "newest first", page: 0 },
    marked: new Set(), metric: {}, control: false,
    rows: () => [...state.jobs, ...rows.values()],
    row: (id) => rows.get(id),
    workers: () => state.workers,
    complete: () => state.complete,
  };
  let view = null;

  function route() {
    const path = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
    const [kind, id, more, number] = path;
    if (kind === "session" && id && more === "iteration") return page.iteration(main, shared, id, Number(number));
    if (kind === "session" && id) return page.session(main, shared, id);
    if (kind === "compare" && id) return page.compare(main, shared, id.split(","));
    if (kind === "standing" && id) return page.standingJob(main, shared, id);
    if (kind === "standing") return page.standingJobs(main);
    if (kind === "workers") return page.workers(main, shared);
    return page.sessions(main, shared);
  }
  function show(first = false) {
    view = route();
    document.title = `${view.title}: arbd`;
    for (const [id, here] of [["to-sessions", view.title === "Sessions"], ["to-workers", view.title === "Workers"], ["to-standing", view.title === "Standing jobs"]]) {
      const link = document.getElementById(id);
      if (here) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
    }
    if (!first) { main.querySelector("h1")?.focus(); window.scrollTo(0, 0); say(view.title); }
    view.update();
  }
  function alarm(text) {
    if (health.textContent === text) return;
    health.hidden = !text;
    health.textContent = text;
  }
  async function turn() {
    const { data, error } = await page.ask(`/api/changes${page.query({ since: state.version })}`, { fresh: true });
    if (error) { alarm(error); return; }
    if (data.whole) rows.clear();
    for (const id of data.gone) rows.delete(id);
    for (const row of data.sessions) rows.set(row.id, row);
    Object.assign(state, { version: data.version, jobs: data.jobs, workers: data.workers, complete: data.complete });
    alarm(data.hangs_s ? `The spool has not answered for ${Math.round(data.hangs_s)} s: what is shown is as it was then.` : data.trouble);
    view.update();
  }
  async function loop() {
    if (!document.hidden) await turn();
    setTimeout(loop, EVERY_MS);
  }
  document.querySelector("a.skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
  window.addEventListener("hashchange", () => show());
  (async () => {
    const { data, error } = await page.ask("/api/about");
    if (error) { alarm(error); main.replaceChildren(element("h1", {}, "arbd")); setTimeout(() => location.reload(), 10_000); return; }
    shared.control = data.control;
    document.getElementById("spool").textContent = data.spool;
    document.getElementById("made").textContent = `arbd ${data.version}. This page asks its own server alone.`;
    show(true);
    loop();
  })();
})();
