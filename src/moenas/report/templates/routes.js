// Comfort only: without it all panels are shown one below the other.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // One attribute at a time.
  const section = document.querySelector(".by");
  const show = (number) => all("[data-panel]").forEach((panel) =>
    panel.classList.toggle("shown", panel.dataset.panel === number));
  if (section) {
    section.classList.add("switched");
    all("[data-by]").forEach((input) => input.addEventListener("change", () => show(input.dataset.by)));
    show((document.querySelector("[data-by]:checked") ?? document.querySelector("[data-by]")).dataset.by);
  }

  // One expert alone in all maps.
  const maps = document.getElementById("maps");
  const buttons = all("[data-only]");
  buttons.forEach((button) => button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    buttons.forEach((other) => other.setAttribute("aria-pressed", String(on && other === button)));
    maps.classList.toggle("only", on);
    all(".piece", maps).forEach((piece) =>
      piece.classList.toggle("alone", on && piece.dataset.expert === button.dataset.only));
  }));
})();
