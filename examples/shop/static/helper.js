// Load the page anew when its list has changed.
const watched = document.body.dataset.watch;
const look = async () => (await fetch(watched, { cache: "no-store" })).text();
let known = await look();
setInterval(async () => {
  const now = await look().catch(() => known);
  if (now !== known) location.reload();
}, 1500);
