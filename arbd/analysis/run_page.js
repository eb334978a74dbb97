"use strict";
// One iteration as a file: what the block of data says, drawn once.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { element, table, runMarket } = arbd;
  const name = `Session ${data.session_id}, iteration ${data.iteration}`;
  document.title = name;
  document.getElementById("title").textContent = name;
  document.getElementById("facts").textContent = `${data.equal ? "Equal to what was recorded, to the bit" : `NOT EQUAL to what was recorded: ${data.differences.join(", ")}`}; first run by ${data.worker} at ${data.ended}.`;
  document.getElementById("made").textContent = `Made by arbd ${data.version}. This file holds everything that it shows; it loads nothing and sends nothing. Zooming finds what ${data.stretches.toLocaleString("en")} parts of the time hold.`;
  const main = document.getElementById("main");
  const params = [...Object.entries(data.params).map(([key, value]) => [key, value, "searched"]), ...Object.entries(data.fixed).map(([key, value]) => [key, value, "fixed"])];
  main.append(
    ...data.markets.map((market, i) => element("section", { "aria-label": market.source }, runMarket(market, `market-${i + 1}`, null, "h2"))),
    element("section", { "aria-label": "Numbers" }, element("div", { class: "tiles" }, table("Parameters", [{ name: "parameter" }, { name: "value", kind: "number" }, { name: "kind" }], params), table("Metrics", [{ name: "metric" }, { name: "value", kind: "number" }], Object.entries(data.metrics)))),
  );
  document.querySelector("header nav").hidden = true;
  arbd.redrawAll();
})();
