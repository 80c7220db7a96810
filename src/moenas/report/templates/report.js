"use strict";
// Comfort only: the page is complete without it. Text goes in through textContent alone.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Enter and Space press what has the focus; Space does not scroll then.
  const pressed = (event) => {
    if (event.key !== "Enter" && event.key !== " ") return false;
    event.preventDefault();
    return true;
  };

  // Explanations on hover and focus. Marks in drawings are no stops: the tables have their numbers.
  const tip = document.getElementById("tip");
  const showTip = (target, x, y) => {
    tip.textContent = target.dataset.tip;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(6, Math.min(x + 12, innerWidth - box.width - 6))}px`;
    tip.style.top = `${y + 16 + box.height > innerHeight ? y - box.height - 10 : y + 16}px`;
  };
  document.addEventListener("pointermove", (event) => {
    const target = event.target.closest("[data-tip]");
    if (target) showTip(target, event.clientX, event.clientY); else tip.hidden = true;
  });
  all("[data-tip]").filter((part) => part instanceof HTMLElement).forEach((part) => {
    if (part.tabIndex < 0) part.tabIndex = 0;
    part.addEventListener("focus", () => {
      const box = part.getBoundingClientRect();
      part.setAttribute("aria-describedby", "tip");
      showTip(part, box.left, box.bottom - 10);
    });
    part.addEventListener("blur", () => { part.removeAttribute("aria-describedby"); tip.hidden = true; });
  });

  // One model lights up in every drawing and table; a click keeps it, another lets it go.
  const ofModel = new Map();
  all("[data-model]").forEach((part) => {
    if (!ofModel.has(part.dataset.model)) ofModel.set(part.dataset.model, []);
    ofModel.get(part.dataset.model).push(part);
  });
  const ROWS = "tr[data-model], .judged > [data-model]";
  let keptModel = null, litModel = null;
  const lightModel = (name) => {
    if (name === litModel) return;
    (ofModel.get(litModel) || []).forEach((part) => part.classList.remove("lit"));
    (ofModel.get(name) || []).forEach((part) => part.classList.add("lit"));
    document.body.classList.toggle("focusing", name !== null);
    litModel = name;
  };
  const modelOf = (event) => event.target.closest("[data-model]")?.dataset.model ?? null;
  document.addEventListener("pointerover", (event) => lightModel(modelOf(event) ?? keptModel));
  document.addEventListener("focusin", (event) => lightModel(modelOf(event) ?? keptModel));
  const keepModel = (name) => { keptModel = keptModel === name ? null : name; lightModel(keptModel ?? name); };
  document.addEventListener("click", (event) => { if (modelOf(event) !== null) keepModel(modelOf(event)); });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { keptModel = null; lightModel(null); tip.hidden = true; }
    if (event.target.matches?.(ROWS) && pressed(event)) keepModel(event.target.dataset.model);
  });
  all(ROWS).forEach((row) => { row.tabIndex = 0; });

  // A model's name hides and shows its marks in that figure.
  all("[data-toggle-model]").forEach((button) => button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    all(".series[data-model]", button.closest("figure"))
      .filter((series) => series.dataset.model === button.dataset.toggleModel)
      .forEach((series) => series.classList.toggle("off", !on));
  }));

  // Tables sort by a click on a heading: numbers by the exact value behind them.
  all("table[data-sortable]").forEach((table) => {
    const heads = all("thead th", table), body = table.tBodies[0];
    const key = (row, column) => {
      const data = row.cells[column].querySelector("data");
      return data ? Number(data.value) : row.cells[column].textContent.trim();
    };
    heads.forEach((head, column) => {
      head.tabIndex = 0;
      head.setAttribute("aria-sort", "none");
      const sort = () => {
        const down = head.getAttribute("aria-sort") !== "descending";
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const compare = (a, b) => {
          const x = key(a, column), y = key(b, column);
          if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
          const order = typeof x === "number" ? x - y : x.localeCompare(y);
          return down ? -order : order;
        };
        body.append(...[...body.rows].sort(compare));
      };
      head.addEventListener("click", sort);
      head.addEventListener("keydown", (event) => { if (pressed(event)) sort(); });
    });
  });

  // The contents follow the reader.
  const links = new Map(all(".contents a").map((link) => [link.hash.slice(1), link]));
  const observer = new IntersectionObserver((entries) => entries.forEach((entry) => {
    if (!entry.isIntersecting) return;
    links.forEach((link) => link.removeAttribute("aria-current"));
    links.get(entry.target.id)?.setAttribute("aria-current", "true");
  }), { rootMargin: "-15% 0px -75% 0px" });
  links.forEach((_, id) => { const part = document.getElementById(id); if (part) observer.observe(part); });
})();
