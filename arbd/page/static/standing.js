"use strict";
// Standing jobs: all of them, and of one its answer: is the current setting still good?
(() => {
  const { element, shown, note, table, say } = arbd;
  const { to, link, ask, part, stateText } = arbd.page;
  const EVERY_MS = 5_000;
  const utc = (text) => (text ? text.replace("T", " ").replace(/(\.\d+)?\+00:00$/, " UTC") : null);
  const way = (one) => [one.waits, one.trouble].filter(Boolean).join("\n") || null;

  // Asks at once and then every few seconds, and draws what is new.
  function watching(holder, path, draw) {
    let [at, busy] = [-Infinity, false];
    return async () => {
      if (busy || performance.now() - at < EVERY_MS) return;
      [at, busy] = [performance.now(), true];
      const { data, same, error } = await ask(path, { fresh: holder.dataset.drawn !== "yes" });
      busy = false;
      if (!holder.isConnected || same) return;
      if (error) { holder.dataset.drawn = ""; holder.replaceChildren(element("p", { class: "alert" }, error)); return; }
      const first = !holder.dataset.drawn;
      holder.dataset.drawn = "yes";
      draw(data);
      if (first) say("shown");
    };
  }

  function all(main) {
    const holder = element("div", {}, note("Reading …"));
    main.replaceChildren(element("h1", { tabindex: "-1" }, "Standing jobs"), note("Jobs that make a session at each due time, or when their data changed, and say whether the current setting is still good."), holder);
    const columns = [
      { name: "standing job", cell: (name) => link(to.standing(name), name) }, { name: "state", cell: (state) => stateText(state) }, { name: "schedule" }, { name: "owner" },
      { name: "last fired" }, { name: "last session", cell: (id) => (id ? link(to.session(id), id) : "–") }, { name: "is", cell: (state) => (state ? stateText(state) : "–") },
      { name: "next due" }, { name: "sessions", kind: "number" }, { name: "in its way", kind: "text" },
    ];
    const row = (one) => [one.name, one.state, one.schedule, one.owner, utc(one.last_fired), one.last_session, one.last_session_state, utc(one.next_due), one.sessions, way(one)];
    const sheet = table("Standing jobs", columns, [], { id: "standing-table" });
    const none = note("No standing jobs: a job file with a `schedule:` is one, and `arbctl submit` takes it.");
    const draw = ({ standing }) => {
      sheet.fill(standing.map(row), `${shown(standing.length)} standing ${standing.length === 1 ? "job" : "jobs"}`);
      const wanted = standing.length ? sheet : none;
      if (holder.firstChild !== wanted) holder.replaceChildren(wanted);
    };
    return { title: "Standing jobs", update: watching(holder, "/api/standing", draw) };
  }

  function one(main, shared, name) {
    const holder = element("div", {}, note("Reading …"));
    main.replaceChildren(element("h1", { tabindex: "-1" }, `Standing job ${name}`), holder);
    const draw = (data) => holder.replaceChildren(
      element("p", {}, stateText(data.state), ` · ${data.schedule} · ${data.owner ? `of ${data.owner}` : "of nobody known"}${data.last_fired ? ` · last fired ${utc(data.last_fired)}` : " · never fired"}${data.next_due ? ` · next due ${utc(data.next_due)}` : ""}`),
      ...(way(data) ? [element("p", { class: "alert" }, way(data))] : []),
      answer(data), fired(data), ...(data.history.length ? [history(data)] : []),
    );
    return { title: `Standing job ${name}`, update: watching(holder, `/api/standing/${part(name)}`, draw) };
  }
  const section = (id, title, ...children) => element("section", { "aria-labelledby": id }, element("h2", { id }, title), ...children);

  function answer({ answer: found, no_answer: missing, standing_setting: setting, promoted_since: since }) {
    const title = "Is the current setting still good?";
    if (!found) return section("answer", title, element("p", {}, `No answer: ${missing}.`));
    const { standing: now, winner, metric } = found;
    const rows = [];
    if (setting) rows.push(["standing", `${setting.kind === "promoted" ? "promoted" : "not promoted; the winner of the session before"}, iteration ${shown(setting.iteration)} of ${setting.session}`, now?.value ?? null, evidence(now)]);
    rows.push([found.standing_is_winner ? "winner, which is the standing one" : "winner", `iteration ${shown(winner.iteration)} of ${found.session_id}`, winner.value, `${winner.verdict}: ${winner.rule}`]);
    const held = found.out_of_sample;
    const params = Object.entries(winner.parameters).map(([key, value]) => [key, value]);
    return section("answer", title,
      element("p", { class: "sentence" }, element("strong", {}, found.advice), `: ${found.reason}. From session `, link(to.session(found.session_id), found.session_id), "."),
      table("The standing setting beside the winner of this session", [{ name: "setting" }, { name: "from", kind: "text" }, { name: `${metric} now`, kind: "number" }, { name: "how surely", kind: "text" }], rows),
      ...(since ? [note(`Promoted since this session began: iteration ${shown(since.iteration)} of ${since.session}. The next session says how it does.`)] : []),
      ...(held ? [note(`On what was held out: standing ${shown(held.standing)}, winner ${shown(held.winner)}.`)] : []),
      ...(params.length && !found.standing_is_winner ? [table("Parameters of the winner", [{ name: "parameter" }, { name: "value", kind: "number" }], params)] : []),
    );
  }
  function evidence(now) {
    if (!now) return null;
    const days = now.days ? `${now.on_fresh ? "on the" : "on all days;"} ${shown(now.fresh_days)} of ${shown(now.days)} days that it was not chosen on` : "";
    const surely = now.p === null || now.p === undefined ? now.missing : `p ${shown(Number(now.p.toPrecision(3)))} that it earns nothing`;
    return [surely, days].filter(Boolean).join(", ") || null;
  }
  function fired({ fires }) {
    const rows = fires.map((fire) => [fire.session_id, fire.state, utc(fire.when), fire.cause, fire.worker, fire.starts_from, fire.notes.join("\n") || null]);
    const columns = [{ name: "session", cell: (id) => link(to.session(id), id) }, { name: "state", cell: (state) => stateText(state) }, { name: "fired" }, { name: "cause", kind: "text" }, { name: "by" }, { name: "starts from" }, { name: "notes", kind: "text" }];
    return section("fires", "Its sessions", fires.length ? table("The newest first", columns, rows) : element("p", {}, "None yet."));
  }
  function history({ history: acts }) {
    const rows = acts.map((act) => [act.what, utc(act.when), act.user, act.host, act.reason || null]);
    return section("acts", "What was done to it", table("Who did what, and why", [{ name: "what" }, { name: "when" }, { name: "user" }, { name: "host" }, { name: "reason", kind: "text" }], rows));
  }

  Object.assign(arbd.page, { standingJobs: all, standingJob: one });
})();
