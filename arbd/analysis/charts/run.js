"use strict";
// One iteration over time, market by market: edges with fills, equity, drawdown, and every fill with a way to zoom to it.
(() => {
  const { element, shown, note, table, timeWindow, timeChart, zoomButtons } = arbd;
  const key = (kind, text) => element("span", { class: `key ${kind}` }, text);

  // `fetchWindow(from, to)` gives the market of a finer window as a promise, where somebody can make one.
  function runMarket(first, id, fetchWindow, heading = "h3") {
    let market = first;
    let timer = 0;
    const refill = async (from, to) => {
      const got = await fetchWindow(from, to);
      if (got && shared.now[0] === from && shared.now[1] === to) { market = got; for (const chart of shared.charts) chart.redraw(); fills.fill(rows(), caption()); }
    };
    const shared = timeWindow(...first.whole, (from, to) => {
      clearTimeout(timer);
      if (fetchWindow) timer = setTimeout(() => refill(from, to), 200);
    });
    const edges = () => ({
      series: [{ kind: "ab", ...market.ab }, { kind: "ba", ...market.ba }],
      marks: market.fills.map((fill) => ({ ...fill, text: told(fill) })), levels: market.levels, moments: market.gaps,
    });
    const caption = () => market.fills.length < market.fills_in_window
      ? `${shown(market.fills.length)} of the ${shown(market.fills_in_window)} fills in this window, evenly; zoom in for all`
      : `The ${shown(market.fills_in_window)} fills in this window (${shown(market.fills_in_all)} in all)`;
    const rows = () => market.fills.map((fill) => [fill.time, fill.reason, fill.side, fill.venue, fill.size, fill.price, fill.fee, fill.slippage, fill]);
    const zoomTo = (fill) => {
      const reach = Math.min((first.whole[1] - first.whole[0]) / 40, 3_600e3);
      shared.set(fill.t - reach, fill.t + reach);
      charts.scrollIntoView({ block: "nearest" });
    };
    const columns = [
      { name: "time (UTC)" }, { name: "reason" }, { name: "side" }, { name: "venue" }, { name: "size", kind: "number" },
      { name: "price", kind: "number" }, { name: "fee", kind: "number" }, { name: "slippage", kind: "number" },
      { name: "zoom", plain: true, cell: (fill) => {
        const button = element("button", { type: "button", "aria-label": `Zoom to the fill at ${fill.time}` }, "zoom");
        button.addEventListener("click", () => zoomTo(fill));
        return button;
      } },
    ];
    const fills = table(caption(), columns, rows(), { page: 50 });
    const holds = first.levels.some((level) => level.kind === "exit");
    const label = `Edges of ${first.source} in percent over time, with ${shown(first.fills_in_all)} fills`;
    const charts = element(
      "div", { class: "charts" }, zoomButtons(shared),
      element("p", {}, key("ab", "edge ab: buy on B, sell on A (%)"), key("ba", "edge ba: buy on A, sell on B (%)"), key("entry", "entry fills, and min_spread_pct"),
        key("exit", `exit fills${holds ? ", and -exit_spread_pct: a position closes when the other edge is there or above" : ""}`)),
      element("figure", {}, timeChart(shared, 320, "edge, %", () => label, edges)),
    );
    if (first.equity.t.length) charts.append(...equityCharts(shared, () => market));
    else charts.append(note("All quotes have one time: there is no equity over time."));
    return element(
      "div", { class: "market", id },
      element(heading, {}, first.source),
      note(`${shown(first.quotes)} quotes, ${shown(first.entries)} fills of entries, ${shown(first.fills_in_all - first.entries)} others. Bands reach from the lowest to the highest value of each stretch. Zoom: drag over a chart, Ctrl and the wheel, or the buttons.`),
      charts, fills,
    );
  }
  // Equity, and below it how far it is under its peak.
  function equityCharts(shared, market) {
    const low = () => { const values = market().drawdown.low.filter((value) => value !== null); return values.length ? Math.min(...values) : 0; };
    return [
      element("p", {}, key("equity", `equity (A's currency, every ${shown(market().grid_s)} s)`), key("drawdown", "drawdown from the peak, at these moments")),
      element("figure", {}, timeChart(shared, 200, "equity", () => "Equity over time", () => ({ series: [{ kind: "equity", ...market().equity }] }))),
      element("figure", {}, timeChart(shared, 120, "drawdown", () => `Drawdown over time, at most ${shown(low())}`, () => ({ series: [{ kind: "drawdown", ...market().drawdown }] }))),
    ];
  }
  const told = (fill) => `${fill.time} ${fill.reason}: ${fill.side} ${shown(fill.size)} on ${fill.venue} at ${shown(fill.price)}, fee ${shown(fill.fee)}, slippage ${shown(fill.slippage)}`;

  Object.assign(arbd, { runMarket, equityCharts });
})();
