// The forms send, the tickets below them follow the jobs. No library, no build step.

const SETTLED = new Set(["succeeded", "skipped"]);
const WORDS = {
  queued: "Queued", running: "Running", retrying: "Waiting to try again", succeeded: "Done", dead: "Dead letter", skipped: "Skipped",
  unknown: "Queued", // the history is written a moment after the job is queued
};
const KEPT = 3; // tickets below each form
const news = document.getElementById("news");

for (const form of document.querySelectorAll("form[data-job]")) {
  form.addEventListener("submit", (event) => { event.preventDefault(); send(form); });
  form.addEventListener("input", (event) => event.target.removeAttribute("aria-invalid"));
}
for (const { id, counter } of remembered()) {
  const list = document.querySelectorAll(".tickets")[counter];
  if (list) follow(addTicket(list, id), id);
}

async function send(form) {
  const button = form.querySelector("button");
  complain(form, null);
  let body;
  try {
    body = read(form);
  } catch (problem) {
    return complain(form, problem);
  }
  button.disabled = true;
  try {
    const answer = await fetch(form.action, { method: "POST", ...body });
    const said = await answer.json().catch(() => ({}));
    if (answer.ok) accepted(form, said.job);
    else complain(form, said.error ?? { message: `The shop answered ${answer.status}.` }, answer.headers.get("Retry-After"));
  } catch {
    complain(form, { message: "The shop cannot be reached. Nothing was sent; try again in a moment." });
  } finally {
    button.disabled = false;
  }
}

function read(form) {
  if (form.enctype === "multipart/form-data") {
    const file = form.querySelector("input[type=file]");
    if (!file.files.length) throw { field: file.name, message: "Choose a picture first." };
    return { body: new FormData(form) };
  }
  const fields = Object.fromEntries(new FormData(form));
  for (const area of form.querySelectorAll("[data-json]")) {
    try {
      fields[area.name] = JSON.parse(area.value);
    } catch (error) {
      throw { field: area.name, message: `This is not JSON: ${error.message}` };
    }
  }
  return { body: JSON.stringify(fields), headers: { "Content-Type": "application/json" } };
}

function complain(form, problem, retryAfter) {
  const line = form.querySelector(".problem");
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  line.hidden = !problem;
  line.textContent = problem ? (problem.remedy ?? problem.message) + (retryAfter ? ` (in ${retryAfter} s)` : "") : "";
  const field = problem?.field && form.elements.namedItem(problem.field);
  if (field) {
    line.id ||= `problem-${field.id}`;
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-errormessage", line.id);
    field.focus();
  }
}

function accepted(form, job) {
  const list = form.closest(".counter").querySelector(".tickets");
  const ticket = addTicket(list, job.id);
  while (list.children.length > KEPT) list.lastElementChild.remove();
  remember(list, job.id);
  form.querySelector("input[type=file]")?.form.reset();
  follow(ticket, job.id);
}

function addTicket(list, id) {
  const ticket = document.getElementById("ticket").content.firstElementChild.cloneNode(true);
  const link = ticket.querySelector(".id");
  link.href = `/jobs/${id}`;
  link.textContent = id.slice(-8);
  link.title = `Job ${id}`;
  show(ticket, { id, state: "queued", attempts: 0 });
  list.prepend(ticket);
  return ticket;
}

async function follow(ticket, id) {
  let asked = 0, failed = 0;
  while (ticket.isConnected) {
    try {
      const answer = await fetch(`/jobs/${id}`, { cache: "no-store" });
      if (!answer.ok) throw new Error(`${answer.status}`);
      const job = await answer.json();
      failed = 0;
      show(ticket, job);
      if (SETTLED.has(job.state)) return;
    } catch {
      failed += 1;
      ticket.querySelector(".detail").textContent = "The shop does not answer just now; the job goes on. Asking again…";
    }
    // quick at first; a dead letter is still watched, since it can be replayed
    const dead = ticket.dataset.state === "dead";
    await wait(failed ? Math.min(5000, 500 * 2 ** failed) : dead ? 2500 : asked++ < 20 ? 250 : 1000);
  }
}

function show(ticket, job) {
  const state = job.state in WORDS ? job.state : "queued";
  const before = ticket.dataset.state;
  ticket.dataset.state = state === "unknown" ? "queued" : state;
  ticket.querySelector(".state").textContent = WORDS[state];
  ticket.querySelector(".attempts").textContent = job.attempts > 1 || state === "retrying" ? `attempt ${job.attempts}` : "";
  bar(ticket.querySelector("progress"), state, job.progress);
  ticket.querySelector(".detail").replaceChildren(...detail(state, job));
  if (state === "succeeded" && job.result?.sizes) prints(ticket.querySelector(".prints"), job.result.sizes);
  if (before && before !== ticket.dataset.state) news.textContent = `${job.task ?? "Job"}: ${WORDS[state]}`;
}

function bar(bar, state, progress) {
  bar.hidden = state === "dead";
  if (state === "succeeded") [bar.max, bar.value] = [1, 1];
  else if (progress?.total && state === "running") [bar.max, bar.value] = [progress.total, progress.done];
  else bar.removeAttribute("value");
}

function detail(state, job) {
  const problem = job.error ? `${job.error.message || job.error.error}` : "";
  if (state === "dead") return [`${problem} Nothing is lost: it is kept, and comes back with`, code(`flask jobs dead replay ${job.id}`)];
  if (state === "retrying") return [problem];
  if (state === "succeeded") return [outcome(job)];
  if (state === "skipped") return ["The same was done before."];
  return [job.progress?.message ?? ""];
}

function outcome({ result }) {
  if (result?.to) return `Sent to ${result.to}.`;
  if (result?.sent === false) return "Nothing to send: the letter went out before.";
  if (result?.status) return `The partner took it (${result.status}).`;
  return "";
}

function prints(box, sizes) {
  if (box.children.length) return;
  for (const size of ["large", "medium", "small"].filter((size) => size in sizes)) {
    const link = document.createElement("a");
    link.href = sizes[size];
    const image = new Image();
    image.src = sizes[size];
    image.alt = "";
    link.append(image, size);
    box.append(link);
  }
}

function code(text) {
  const element = document.createElement("code");
  element.textContent = text;
  return element;
}

const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

// Tickets survive a reload of this tab.
function remembered() {
  try { return JSON.parse(sessionStorage.getItem("tickets") ?? "[]"); } catch { return []; }
}
function remember(list, id) {
  const counter = [...document.querySelectorAll(".tickets")].indexOf(list);
  const all = [...remembered(), { id, counter }];
  const kept = all.filter((one, at) => all.slice(at).filter((other) => other.counter === one.counter).length <= KEPT);
  sessionStorage.setItem("tickets", JSON.stringify(kept));
}
