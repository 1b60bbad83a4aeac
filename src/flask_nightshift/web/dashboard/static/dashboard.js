// What the pages gain with JavaScript: live parts, times that stay true, the keyboard, selections. They work without.
(() => {
  "use strict";
  const POLL = 2000;

  // Live parts: poll in a visible tab only; the server answers 304 if nothing has changed.
  const live = document.getElementById("live");
  const still = document.getElementById("still");
  let underway = false;
  const busy = () => {
    const picked = window.getSelection();
    return picked && !picked.isCollapsed && live.contains(picked.anchorNode);  // do not move what somebody selects
  };
  const poll = () => {
    if (document.visibilityState === "visible" && !underway && !busy()) {
      live.dispatchEvent(new CustomEvent("nightshift:poll"));
    }
  };
  if (live && window.htmx) {
    live.addEventListener("htmx:config:request", (event) => {
      event.detail.ctx.request.headers["If-None-Match"] = live.dataset.etag;
    });
    live.addEventListener("htmx:before:request", () => { underway = true; });
    live.addEventListener("htmx:finally:request", () => { underway = false; });
    live.addEventListener("htmx:before:response", (event) => {
      const response = event.detail.ctx.response;
      still.hidden = response.status < 400;
      const tag = response.headers.get("ETag");
      if (response.status === 200 && tag) live.dataset.etag = tag;
    });
    live.addEventListener("htmx:error", () => { still.hidden = false; });
    live.addEventListener("htmx:after:swap", () => { keepTimes(); marked(); });
    setInterval(poll, POLL);
    document.addEventListener("visibilitychange", poll);
  }

  // Times: the same words as words.ago().
  const coarse = (seconds) => {
    if (seconds < 60) return `${Math.round(seconds)} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
    if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h`;
    return `${Math.floor(seconds / 86400)} d`;
  };
  const ago = (seconds) => {
    if (Math.abs(seconds) < 5) return seconds >= 0 ? "just now" : "now";
    return seconds > 0 ? `${coarse(seconds)} ago` : `in ${coarse(-seconds)}`;
  };
  const ahead = Date.now() - Date.parse(document.documentElement.dataset.now || new Date().toISOString());
  const keepTimes = () => {
    const now = Date.now() - ahead;
    for (const each of document.querySelectorAll("time[data-ago]")) {
      const said = ago((now - Date.parse(each.dateTime)) / 1000);
      if (each.textContent !== said) each.textContent = said;
    }
  };
  setInterval(keepTimes, 1000);

  // On a phone the navigation scrolls: show where we are.
  document.querySelector(".nav a[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

  // Colours.
  const themes = document.querySelector("[data-themes]");
  if (themes) {
    const show = () => {
      const now = document.documentElement.dataset.theme || "auto";
      for (const each of themes.querySelectorAll("button")) each.setAttribute("aria-pressed", String(each.value === now));
    };
    themes.hidden = false;
    themes.addEventListener("click", (event) => {
      const chosen = event.target.value;
      if (!chosen) return;
      if (chosen === "auto") delete document.documentElement.dataset.theme;
      else document.documentElement.dataset.theme = chosen;
      try { localStorage.setItem("nightshift-theme", chosen); } catch { /* storage is off */ }
      show();
    });
    show();
  }

  // Forms are sent once.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "1";
  });
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });

  // Selections of rows.
  const picks = () => [...document.querySelectorAll("input[data-pick]")];
  const counted = () => {
    const count = picks().filter((each) => each.checked).length;
    for (const each of document.querySelectorAll("[data-picked]")) each.textContent = String(count);
    for (const all of document.querySelectorAll("input[data-pick-all]")) {
      all.checked = count > 0 && count === picks().length;
      all.indeterminate = count > 0 && count < picks().length;
    }
  };
  document.addEventListener("change", (event) => {
    if (event.target.matches("input[data-pick-all]")) {
      for (const each of picks()) each.checked = event.target.checked;
    }
    if (event.target.matches("input[data-pick], input[data-pick-all]")) counted();
  });
  const showAll = () => {  // what the server hides, because it means nothing without this script
    for (const each of document.querySelectorAll("[data-pick-all], [data-scripted]")) each.hidden = false;
  };
  showAll();

  // The keyboard.
  const rows = () => [...document.querySelectorAll("main tbody tr")];
  let current = null;
  const marked = () => {
    for (const row of rows()) row.classList.toggle("current", current !== null && row.id === current);
    showAll();
    counted();
  };
  const move = (by) => {
    const all = rows();
    if (!all.length) return;
    const at = all.findIndex((row) => row.id && row.id === current);
    const next = all[Math.max(0, Math.min(all.length - 1, at < 0 ? 0 : at + by))];
    current = next.id || null;
    marked();
    next.scrollIntoView({ block: "nearest" });
  };
  const row = () => rows().find((each) => each.id && each.id === current);
  const go = (letter) => {
    const links = [...document.querySelectorAll(".nav a")];
    const found = links.filter((each) => each.textContent.trim().toLowerCase().startsWith(letter));
    const here = found.findIndex((each) => each.hasAttribute("aria-current"));
    if (found.length) found[(here + 1) % found.length].click();
  };
  const help = document.getElementById("help");
  let prefix = false;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const within = event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");
    if (within) {
      if (event.key === "Escape") within.blur();
      return;
    }
    if (help && help.open) return;
    if (prefix) {
      prefix = false;
      if (/^[a-z]$/.test(event.key)) { go(event.key); return; }
    }
    const search = document.querySelector("[data-search]");
    if (event.key === "/" && search) { event.preventDefault(); search.focus(); search.select(); }
    else if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
    else if (event.key === "x") { const box = row()?.querySelector("input[data-pick]"); if (box) box.click(); }
    else if (event.key === "Enter" && event.target === document.body) row()?.querySelector("a")?.click();
    else if (event.key === "g") prefix = true;
    else if (event.key === "?" && help) help.showModal();
  });
  counted();
})();
