"use strict";
// The report: what the block of data says, drawn once.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  document.title = `${data.session_id}: arbd report`;
  document.getElementById("title").textContent = `Session ${data.session_id}`;
  document.getElementById("facts").textContent = arbd.facts(data);
  document.getElementById("made").textContent = `Made by arbd ${data.version}. This file holds everything that it shows; it loads nothing and sends nothing.`;
  arbd.sessionView(document.getElementById("main"), document.getElementById("contents")).show(data);
})();
