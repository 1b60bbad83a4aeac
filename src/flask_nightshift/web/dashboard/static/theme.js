// The remembered choice of colours, before anything is drawn.
(() => {
  "use strict";
  let chosen = null;
  try { chosen = localStorage.getItem("nightshift-theme"); } catch { /* storage is off */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
