// What scrolls sideways can be reached with the keyboard, and the captions of the menu have a level.
addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("pre, .table-wrapper, p:has(> img)").forEach((region) => {
    if (region.scrollWidth > region.clientWidth) region.tabIndex = 0;
  });
  document.querySelectorAll(".caption[role=heading]").forEach((caption) => caption.setAttribute("aria-level", "2"));
});
