// Choosing among the trials: one choice, shown by the plots, the table and the models' marks.
(() => {
  const source = document.getElementById("trial-data");
  if (!source) return;
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(source.textContent);
  const { columns, axes, kinds, models } = data;
  const total = kinds.length;
  document.documentElement.classList.add("live");

  const write = (value, digits) => {
    if (value === null) return "–";
    const text = value.toFixed(digits);
    return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
  };
  const pressed = (event) => {  // Enter and Space; that one does not scroll then
    if (event.key !== "Enter" && event.key !== " ") return false;
    event.preventDefault();
    return true;
  };
  const grouped = (count) => String(count).replace(/\B(?=(\d{3})+$)/g, ",");
  const make = (tag, text, name) => {
    const part = document.createElement(tag);
    if (text !== undefined) part.textContent = text;
    if (name) part.className = name;
    return part;
  };
  const describe = (trial) => columns.map((column) => [column.label, column.digits === undefined
    ? column.values[trial] : write(column.values[trial], column.digits)]);

  // ---- The choice: a pair of limits an axis, and whether only the front counts.
  const values = axes.map((axis) => columns[axis.column].values);
  const digits = axes.map((axis) => columns[axis.column].digits);
  const drawn = [...kinds.keys()].filter((trial) => kinds[trial]);
  const limits = axes.map((_, axis) => all(`input[data-axis="${axis}"]`));
  const onlyFront = byId("only-front");
  const chosen = new Uint8Array(total).fill(1);
  let choosing = false, count = total;

  const limitsOf = (axis) => {
    const [low, high] = limits[axis].map((input) => input.value.trim() === "" ? null : Number(input.value));
    return low === null && high === null ? null : [low ?? -Infinity, high ?? Infinity];
  };
  const setLimits = (axis, low, high) => {
    const ends = low !== null && high !== null && low > high ? [high, low] : [low, high];
    limits[axis].forEach((input, end) => {
      const open = ends[end] === null || (end ? ends[1] >= axes[axis].high : ends[0] <= axes[axis].low);
      input.value = open ? "" : ends[end].toFixed(digits[axis]);
    });
  };

  // Away from the explorer a bar says what is chosen, and how to get back.
  const bar = document.querySelector(".choice"), explorer = byId("explorer");
  let away = false;
  const showBar = () => { if (bar) bar.hidden = !(choosing && away); };
  if (explorer) new IntersectionObserver((entries) => { away = !entries.at(-1).isIntersecting; showBar(); }, { rootMargin: "-80px" }).observe(explorer);

  let speaking = 0;
  const choose = () => {
    const ranges = axes.map((_, axis) => limitsOf(axis));
    const front = onlyFront?.checked ?? false;
    choosing = front || ranges.some(Boolean);
    count = 0;
    for (let trial = 0; trial < total; trial++) {
      let within = !choosing || kinds[trial] !== "";
      if (within && front) within = kinds[trial] === "front";
      for (let axis = 0; within && axis < axes.length; axis++) {
        const value = values[axis][trial], range = ranges[axis];
        if (range) within = value !== null && value >= range[0] && value <= range[1];
      }
      chosen[trial] = within;
      count += within;
    }
    const best = drawn.filter((trial) => chosen[trial] && kinds[trial] === "front").length;
    const kept = Object.keys(models).filter((name) => chosen[models[name]]);
    let text = `All ${grouped(total)} trials`;
    if (choosing) {
      text = `${grouped(count)} of ${grouped(total)} trials chosen`;
      if (count === 0) text += ": no trial is within all limits";
      else text += `, ${best === count ? (count === 1 ? "it is" : "all") : grouped(best)} on the front`;
    }
    let descended = "";
    if (choosing && count && Object.keys(models).length)
      descended = kept.length ? `Models from them: ${kept.join(", ")}.` : "No compared model descends from them.";
    if (byId("chosen-text")) {
      byId("chosen-text").replaceChildren(make("b", `${text}.`), ` ${descended}`);
      clearTimeout(speaking);
      if (choosing || byId("chosen-spoken").textContent)
        speaking = setTimeout(() => { byId("chosen-spoken").textContent = `${text}. ${descended}`; }, 500);
    }
    bar?.querySelector("p").replaceChildren(make("b", text));
    showBar();
    all("[data-reset]").forEach((button) => { button.disabled = !choosing; });
    document.body.classList.toggle("choosing", choosing);
    all("[data-model]").forEach((part) => {
      const descends = part.dataset.model in models;
      part.classList.toggle("unchosen", choosing && descends && !kept.includes(part.dataset.model));
    });
    page = 0;
    table();
    draw();
  };
  const reset = () => {
    limits.flat().forEach((input) => { input.value = ""; });
    if (onlyFront) onlyFront.checked = false;
    choose();
  };
  limits.forEach((pair, axis) => {
    const known = drawn.map((trial) => values[axis][trial]).filter((value) => value !== null);
    const ends = [known.reduce((a, b) => Math.min(a, b)), known.reduce((a, b) => Math.max(a, b))];
    pair.forEach((input, end) => {
      input.placeholder = write(ends[end], digits[axis]);
      input.addEventListener("input", choose);
    });
  });
  onlyFront?.addEventListener("change", choose);
  all("[data-reset]").forEach((button) => button.addEventListener("click", reset));
  all("[data-try-axis]").forEach((button) => button.addEventListener("click", () => {
    const axis = Number(button.dataset.tryAxis), low = Boolean(button.dataset.tryLow);
    const sorted = drawn.map((trial) => values[axis][trial]).filter((value) => value !== null).sort((a, b) => a - b);
    const place = Math.max(1, Math.round(sorted.length * Number(button.dataset.tryShare))) - 1;
    limits.flat().forEach((input) => { input.value = ""; });
    if (low) setLimits(axis, null, sorted[place]); else setLimits(axis, sorted[sorted.length - 1 - place], null);
    choose();
  }));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    keep(null);
    if (choosing) reset();
  });

  // ---- One trial: pointed at, or kept by a click.
  let pointed = null, kept = null;
  const details = byId("trial-details");
  const hint = details && [...details.childNodes];
  const shown = () => pointed ?? kept;
  const show = () => {
    draw();
    all("tr[data-trial]").forEach((row) => row.classList.toggle("lit", Number(row.dataset.trial) === shown()));
    if (!details) return;
    if (shown() === null) { details.replaceChildren(...hint); return; }
    const [[, number], [, experts], ...rest] = describe(shown());
    const list = make("dl");
    rest.forEach(([name, value]) => {
      const line = make("div");
      line.append(make("dt", name), make("dd", value));
      list.append(line);
    });
    const counts = make("p", experts, "experts");
    counts.prepend(glyph(experts));
    details.replaceChildren(make("h4", `Trial ${number}`), counts, list);
    const heirs = Object.keys(models).filter((name) => models[name] === shown());
    if (heirs.length) details.append(make("p", `Became ${heirs.join(", ")}.`));
  };
  const point = (trial) => { if (trial !== pointed) { pointed = trial; show(); } };
  const keep = (trial) => { kept = kept === trial ? null : trial; pointed = null; show(); };

  const shape = make("template");
  shape.innerHTML = "<svg></svg>";
  const SVG = shape.content.firstChild.namespaceURI;
  const glyph = (experts) => {
    const bars = (experts.split(" ").pop().match(/\d+/g) || []).map(Number);
    const picture = document.createElementNS(SVG, "svg");
    picture.setAttribute("width", String(5 * bars.length));
    picture.setAttribute("height", "18");
    picture.setAttribute("aria-hidden", "true");
    bars.forEach((bar, layer) => {
      const tall = Math.max(2, 18 * Math.min(bar, 8) / 8), part = document.createElementNS(SVG, "rect");
      Object.entries({ x: 5 * layer, y: 18 - tall, width: 4, height: tall, class: bar === 1 ? "bar one" : "bar" })
        .forEach(([name, value]) => part.setAttribute(name, String(value)));
      picture.append(part);
    });
    return picture;
  };

  // ---- The table, fifty rows at a time.
  const ROWS = 50, grid = document.querySelector("#trials table"), onlyChosen = byId("only-chosen");
  let page = 0, order = [...kinds.keys()];
  const table = () => {
    const listed = choosing && onlyChosen.checked ? order.filter((trial) => chosen[trial]) : order;
    const pages = Math.max(1, Math.ceil(listed.length / ROWS));
    page = Math.max(0, Math.min(page, pages - 1));
    const rows = listed.slice(page * ROWS, (page + 1) * ROWS);
    const first = rows.length ? page * ROWS + 1 : 0;
    byId("page-text").textContent = `${grouped(first)} to ${grouped(page * ROWS + rows.length)} of ${grouped(listed.length)}`;
    all("[data-page]").forEach((button) => { button.disabled = button.dataset.page === "1" ? page >= pages - 1 : page === 0; });
    onlyChosen.disabled = !choosing;
    if (!byId("trials").open) return;
    grid.tBodies[0].replaceChildren(...rows.map((trial) => {
      const row = make("tr");
      row.dataset.trial = String(trial);
      row.tabIndex = 0;
      row.classList.toggle("chosen", choosing && Boolean(chosen[trial]));
      row.classList.toggle("lit", trial === shown());
      describe(trial).forEach(([name, text], column) => {
        const cell = make(column ? "td" : "th", text, columns[column].digits === undefined ? "" : "num");
        if (!column) cell.scope = "row";
        if (column === 1) cell.prepend(glyph(text));
        cell.dataset.label = name;
        row.append(cell);
      });
      return row;
    }));
  };
  byId("trials").addEventListener("toggle", table);
  all('a[href="#trials"]').forEach((link) => link.addEventListener("click", () => { byId("trials").open = true; }));
  onlyChosen.addEventListener("change", () => { page = 0; table(); });
  all("[data-page]").forEach((button) => button.addEventListener("click", () => { page += Number(button.dataset.page); table(); }));
  all("thead th", grid).forEach((head, column, heads) => {
    head.tabIndex = 0;
    head.setAttribute("aria-sort", "none");
    head.classList.add("sorts");
    const sort = () => {
      const sign = head.getAttribute("aria-sort") === "descending" ? 1 : -1, cells = columns[column].values;
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", sign < 0 ? "descending" : "ascending");
      order.sort((a, b) => {
        const x = cells[a], y = cells[b];
        if (x === y) return a - b;
        if (x === null || y === null) return x === null ? 1 : -1;
        return sign * (typeof x === "number" ? x - y : x < y ? -1 : 1);
      });
      page = 0;
      table();
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => { if (pressed(event)) sort(); });
  });
  const rowOf = (event) => { const row = event.target.closest("tr[data-trial]"); return row ? Number(row.dataset.trial) : null; };
  grid.addEventListener("pointerover", (event) => point(rowOf(event)));
  grid.addEventListener("pointerleave", () => point(null));
  grid.addEventListener("focusin", (event) => point(rowOf(event)));
  grid.addEventListener("focusout", () => point(null));
  grid.addEventListener("click", (event) => { if (rowOf(event) !== null) keep(rowOf(event)); });
  grid.addEventListener("keydown", (event) => { if (rowOf(event) !== null && pressed(event)) keep(rowOf(event)); });

  // ---- Plots: a canvas with all trials and one with the chosen ones behind the drawing of the axes.
  const kindsOfPlot = trialPlots({ axes, values, kinds, drawn, chosen, limitsOf, shown, choosing: () => choosing });
  const plots = all(".plot-box").map((box) => {
    const svg = box.querySelector("svg"), kind = kindsOfPlot[box.dataset.plot](svg);
    const width = svg.viewBox.baseVal.width, height = svg.viewBox.baseVal.height;
    const layers = ["back", "front"].map((name) => {
      const canvas = make("canvas", undefined, name);
      canvas.setAttribute("aria-hidden", "true");
      box.insertBefore(canvas, svg);
      return canvas;
    });
    const plot = { box, near: false, stale: true };
    plot.draw = () => {
      if (!plot.near || !box.clientWidth) return;
      const zoom = box.clientWidth / width * Math.min(2, devicePixelRatio || 1);
      layers.forEach((canvas, layer) => {
        const size = [Math.round(width * zoom), Math.round(height * zoom)];
        if (layer === 0 && !plot.stale && canvas.width === size[0]) return;
        [canvas.width, canvas.height] = size;
        const pen = canvas.getContext("2d");
        pen.scale(zoom, zoom);
        kind[layer ? "front" : "back"](pen, zoom);
      });
      plot.stale = false;
    };
    const spot = (event) => {
      const place = svg.getBoundingClientRect();
      return [(event.clientX - place.left) * width / place.width, (event.clientY - place.top) * height / place.height];
    };
    let start = null;
    box.addEventListener("pointerdown", (event) => {
      if (event.button || (event.pointerType === "touch" && !kind.touch)) return;
      start = { at: spot(event), target: event.target, moved: false };
      if (kind.dragged(start.at, start.at, start.target)) {
        box.setPointerCapture(event.pointerId);
        if (event.pointerType !== "touch") event.preventDefault();
      } else start.idle = true;
    });
    box.addEventListener("pointermove", (event) => {
      const at = spot(event);
      if (start && !start.idle) {
        start.moved ||= Math.hypot(at[0] - start.at[0], at[1] - start.at[1]) > 4;
        if (start.moved) {
          kind.dragged(start.at, at, start.target).forEach((limit) => setLimits(...limit));
          kind.rectangle?.(start.at, at);
          delete box.dataset.tip;
          choose();
        }
        return;
      }
      const trial = kind.nearest(at);
      point(trial);
      if (trial === null) delete box.dataset.tip;
      else box.dataset.tip = `Trial ${columns[0].values[trial]}: ${axes.map((axis, index) => `${axis.label.split(",")[0]} ${write(values[index][trial], digits[index])}`).join(", ")}`;
    });
    box.addEventListener("pointerup", (event) => {
      if (start && !start.moved) {
        const trial = kind.nearest(spot(event));
        const axis = start.target.closest(".axis-group");
        if (axis && limitsOf(Number(axis.dataset.axis))) { setLimits(Number(axis.dataset.axis), null, null); choose(); }
        else if (trial !== null) keep(trial);
      }
      start = null;
      kind.rectangle?.(null);
      draw();
    });
    box.addEventListener("pointercancel", () => { start = null; kind.rectangle?.(null); draw(); });
    box.addEventListener("pointerleave", () => { delete box.dataset.tip; if (!start) point(null); });
    new IntersectionObserver((entries) => { plot.near = entries.at(-1).isIntersecting; plot.draw(); }, { rootMargin: "600px" }).observe(box);
    new ResizeObserver(() => draw(true)).observe(box);
    return plot;
  });
  let frame = 0, anew = false;
  function draw(whole = false) {
    anew ||= whole;
    if (frame) return;
    frame = requestAnimationFrame(() => {
      if (anew) plots.forEach((plot) => { plot.stale = true; });
      frame = 0;
      anew = false;
      plots.forEach((plot) => plot.draw());
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(true));
  choose();
})();
