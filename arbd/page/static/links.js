"use strict";
// Addresses of the page's views, and questions to its server.
(() => {
  const { element } = arbd;
  const part = encodeURIComponent;
  const to = {
    sessions: () => "#/", workers: () => "#/workers", standingJobs: () => "#/standing",
    standing: (name) => `#/standing/${part(name)}`,
    session: (id) => `#/session/${part(id)}`,
    iteration: (id, number) => `#/session/${part(id)}/iteration/${number}`,
    compare: (ids) => `#/compare/${ids.map(part).join(",")}`,
  };
  const link = (href, text) => element("a", { href }, String(text));

  // The token stands behind the # of the address that `arbctl serve` printed: it is in no request line and no log. It stays
  // in this tab alone.
  const given = new URLSearchParams(location.hash.replace(/^#\/?\??/, "")).get("token");
  if (given) { sessionStorage.setItem("arbd-token", given); history.replaceState(null, "", "#/"); }
  const token = () => sessionStorage.getItem("arbd-token");
  const headers = () => (token() ? { Authorization: `Bearer ${token()}` } : {});

  const stamps = new Map();
  // A question: { data } with what is new, { same: true } when nothing is, { error } in words. `late` is how old it may be.
  async function ask(path, { fresh = false, signal } = {}) {
    const known = fresh ? null : stamps.get(path);
    try {
      const answer = await fetch(path, { headers: { ...headers(), ...(known ? { "If-None-Match": known } : {}) }, cache: "no-store", credentials: "omit", redirect: "error", signal });
      const late = Number(answer.headers.get("X-Late") || 0);
      if (answer.status === 304) return { same: true, late };
      const data = await answer.json();
      if (!answer.ok) return { error: data.error || `the server answered with status ${answer.status}`, status: answer.status };
      if (answer.headers.get("ETag")) { if (stamps.size > 200) stamps.clear(); stamps.set(path, answer.headers.get("ETag")); }
      return { data, late };
    } catch (problem) {
      if (problem.name === "AbortError") return { same: true, late: 0 };
      return { error: "the server of this page does not answer: does `arbctl serve` still run?", gone: true };
    }
  }
  async function change(path) {
    try {
      const answer = await fetch(path, { method: "POST", headers: { ...headers(), "Content-Type": "application/json" }, body: "{}", credentials: "omit" });
      const data = await answer.json();
      return answer.ok ? { data } : { error: data.error };
    } catch {
      return { error: "the server of this page does not answer" };
    }
  }
  const query = (values) => { const made = new URLSearchParams(Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "")); return made.size ? `?${made}` : ""; };

  arbd.page = { to, link, ask, change, query, token, part };
})();
