// How the trials are drawn: on parallel axes and in a matrix of scatter plots. The SVG in the page
// says where the axes are; each kind of plot has the same five functions:
//   back(pen, zoom)            all trials;          front(pen, zoom)  the chosen ones and the one pointed at
//   nearest(point)             a trial or null;     dragged(from, to, start)  [[axis, low, high], ...] or null
//   rectangle(from, to)        shows what a drag covers (scatter plots alone)
// Points are in the SVG's units. `view` is what the page shows: the trials and what is chosen of them.
const trialPlots = (view) => {
  const { axes, values, kinds, drawn, chosen } = view;
  const all = (selector, root) => [...root.querySelectorAll(selector)];
  const share = axes.map((axis, index) => Float32Array.from(values[index],
    (value) => value === null ? NaN : (value - axis.low) / (axis.high - axis.low)));
  const between = (from, to, part) => from + (to - from) * part;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const many = drawn.length;
  const RADIUS = { infeasible: many > 1500 ? 2.2 : 3, plain: many > 1500 ? 1.7 : many > 400 ? 2.3 : 3, front: many > 1500 ? 3 : 4 };
  const ofKind = { infeasible: [], plain: [], front: [] };
  drawn.forEach((trial) => ofKind[kinds[trial]].push(trial));
  const number = (part, name) => Number(part.getAttribute(name));

  const parallel = (svg) => {
    const axles = all(".axle", svg).map((line) => ["x1", "y1", "x2", "y2"].map((name) => number(line, name)));
    const lying = axles[0][1] === axles[0][3];
    const place = (trial, axis) => {
      const [x1, y1, x2, y2] = axles[axis], part = share[axis][trial];
      return [between(x1, x2, part), between(y1, y2, part)];
    };
    const trace = (pen, trial) => {
      let down = false;
      axes.forEach((_, axis) => {
        if (Number.isNaN(share[axis][trial])) { down = false; return; }
        const [x, y] = place(trial, axis);
        if (down) pen.lineTo(x, y); else pen.moveTo(x, y);
        down = true;
      });
    };
    const lines = (pen, trials, look) => {
      Object.assign(pen, { strokeStyle: look.colour, lineWidth: look.width, globalAlpha: look.alpha, lineJoin: "round" });
      for (let start = 0; start < trials.length; start += 8) {  // one path overlaps in one tint: cut it
        pen.beginPath();
        trials.slice(start, start + 8).forEach((trial) => trace(pen, trial));
        pen.stroke();
      }
      pen.globalAlpha = 1;
    };
    const faint = (trials, most) => Math.max(0.05, Math.min(most, 30 / Math.max(1, trials)));
    return {
      back(pen) {
        lines(pen, ofKind.infeasible, { colour: colour("faint"), width: 0.8, alpha: faint(many, 0.3) });
        lines(pen, ofKind.plain, { colour: colour("faint"), width: 1, alpha: faint(many, 0.4) });
        lines(pen, ofKind.front, { colour: colour("accent"), width: 1.2, alpha: faint(ofKind.front.length, 0.8) });
      },
      front(pen) {
        if (view.choosing()) {
          const lit = drawn.filter((trial) => chosen[trial]);
          lines(pen, lit, { colour: colour("chosen"), width: 1.2, alpha: faint(lit.length, 0.85) });
        }
        axes.forEach((axis, index) => {
          const range = view.limitsOf(index);
          if (!range) return;
          const [from, to] = range.map((end) => Math.max(0, Math.min(1, (end - axis.low) / (axis.high - axis.low))));
          const [x1, y1, x2, y2] = axles[index];
          const [ax, ay, bx, by] = [between(x1, x2, from), between(y1, y2, from), between(x1, x2, to), between(y1, y2, to)];
          Object.assign(pen, { fillStyle: colour("chosen-wash"), strokeStyle: colour("chosen"), lineWidth: 1.5 });
          pen.beginPath();
          if (lying) pen.rect(Math.min(ax, bx), ay - 9, Math.abs(bx - ax), 18); else pen.rect(ax - 9, Math.min(ay, by), 18, Math.abs(by - ay));
          pen.fill();
          pen.stroke();
        });
        if (view.shown() !== null && kinds[view.shown()])
          lines(pen, [view.shown()], { colour: colour("ink"), width: 2.2, alpha: 1 });
      },
      nearest([x, y]) {
        let best = null, least = 7;
        for (let axis = 0; axis + 1 < axes.length; axis++) {
          const [a, b] = [axles[axis], axles[axis + 1]], along = lying ? (y - a[1]) / (b[1] - a[1]) : (x - a[0]) / (b[0] - a[0]);
          if (along < 0 || along > 1) continue;
          drawn.forEach((trial) => {
            if (view.choosing() && !chosen[trial]) return;
            const [p, q] = [place(trial, axis), place(trial, axis + 1)];
            const far = Math.abs(lying ? between(p[0], q[0], along) - x : between(p[1], q[1], along) - y);
            if (far < least) { least = far; best = trial; }
          });
        }
        return best;
      },
      // What a drag from one point to another chooses, as [axis, low, high].
      dragged(from, to, start) {
        const axis = Number(start.closest("[data-axis]")?.dataset.axis ?? NaN);
        if (Number.isNaN(axis)) return null;
        const [x1, y1, x2, y2] = axles[axis];
        const value = ([x, y]) => {
          const part = lying ? (x - x1) / (x2 - x1) : (y - y1) / (y2 - y1);
          return between(axes[axis].low, axes[axis].high, Math.max(0, Math.min(1, part)));
        };
        return [[axis, value(from), value(to)]];
      },
      touch: true,
    };
  };

  const matrix = (svg) => {
    const PAD = 8;  // as charts_trials.py
    const cells = all(".cell", svg).map((cell) => {
      const frame = cell.querySelector(".frame"), [x, y, w, h] = ["x", "y", "width", "height"].map((name) => number(frame, name));
      return { x: Number(cell.dataset.x), y: Number(cell.dataset.y), left: x, top: y, right: x + w, bottom: y + h };
    });
    const place = (cell, trial) => [between(cell.left + PAD, cell.right - PAD, share[cell.x][trial]),
      between(cell.bottom - PAD, cell.top + PAD, share[cell.y][trial])];
    const grid = all(".grid", svg).map((line) => ["x1", "y1", "x2", "y2"].map((name) => number(line, name)));
    const sprite = (zoom, radius, paint) => {
      const side = Math.ceil(2 * (radius + 1.5) * zoom), stamp = document.createElement("canvas");
      stamp.width = stamp.height = side;
      const pen = stamp.getContext("2d");
      pen.translate(side / 2, side / 2);
      pen.scale(zoom, zoom);
      pen.beginPath();
      paint(pen, radius);
      return stamp;
    };
    const disc = (fill, rim) => (pen, radius) => {
      pen.arc(0, 0, radius, 0, 7);
      Object.assign(pen, { fillStyle: fill, strokeStyle: rim, lineWidth: 0.8 });
      pen.fill();
      pen.stroke();
    };
    const cross = (ink) => (pen, radius) => {
      pen.moveTo(-radius, -radius); pen.lineTo(radius, radius); pen.moveTo(radius, -radius); pen.lineTo(-radius, radius);
      Object.assign(pen, { strokeStyle: ink, lineWidth: 1.1 });
      pen.stroke();
    };
    const stamps = (pen, zoom, trials, radius, paint, alpha) => {
      if (!trials.length) return;
      const stamp = sprite(zoom, radius, paint), half = stamp.width / 2;
      pen.save();
      pen.setTransform(1, 0, 0, 1, 0, 0);
      pen.globalAlpha = alpha;
      cells.forEach((cell) => trials.forEach((trial) => {
        const [x, y] = place(cell, trial);
        if (!Number.isNaN(x + y)) pen.drawImage(stamp, Math.round(x * zoom - half), Math.round(y * zoom - half));
      }));
      pen.restore();
    };
    let box = null;
    return {
      back(pen, zoom) {
        Object.assign(pen, { strokeStyle: colour("grid"), lineWidth: 1 });
        pen.beginPath();
        grid.forEach(([x1, y1, x2, y2]) => { pen.moveTo(x1, y1); pen.lineTo(x2, y2); });
        pen.stroke();
        stamps(pen, zoom, ofKind.infeasible, RADIUS.infeasible, cross(colour("faint")), 0.6);
        stamps(pen, zoom, ofKind.plain, RADIUS.plain, disc(colour("faint"), many > 400 ? "transparent" : colour("surface")), many > 1500 ? 0.35 : 0.6);
        stamps(pen, zoom, ofKind.front, RADIUS.front, disc(colour("accent"), colour("surface")), 1);
      },
      front(pen, zoom) {
        if (view.choosing()) Object.keys(ofKind).forEach((kind) => stamps(pen, zoom, ofKind[kind].filter((trial) => chosen[trial]),
          RADIUS[kind], kind === "infeasible" ? cross(colour("chosen")) : disc(colour("chosen"), kind === "front" ? colour("ink") : many > 400 ? "transparent" : colour("surface")), 1));
        if (box) {
          Object.assign(pen, { fillStyle: colour("chosen-wash"), strokeStyle: colour("chosen"), lineWidth: 1.2 });
          pen.fillRect(...box);
          pen.strokeRect(...box);
        }
        if (view.shown() !== null && kinds[view.shown()]) cells.forEach((cell) => {
          const [x, y] = place(cell, view.shown());
          pen.beginPath();
          pen.arc(x, y, 6, 0, 7);
          Object.assign(pen, { strokeStyle: colour("ink"), lineWidth: 2.2 });
          pen.stroke();
        });
      },
      nearest([x, y]) {
        const cell = cells.find((one) => x >= one.left && x <= one.right && y >= one.top && y <= one.bottom);
        let best = null, least = 9 * 9;
        if (cell) drawn.forEach((trial) => {
          if (view.choosing() && !chosen[trial]) return;
          const [px, py] = place(cell, trial), far = (px - x) ** 2 + (py - y) ** 2;
          if (far < least) { least = far; best = trial; }
        });
        return best;
      },
      dragged(from, to) {
        const inside = ([x, y]) => (one) => x >= one.left && x <= one.right && y >= one.top && y <= one.bottom;
        const cell = cells.find(inside(from));
        if (!cell) return null;
        const value = (axis, at, first, last) => between(axes[axis].low, axes[axis].high, Math.max(0, Math.min(1, (at - first) / (last - first))));
        const across = [from[0], to[0]].map((x) => value(cell.x, x, cell.left + PAD, cell.right - PAD));
        const up = [from[1], to[1]].map((y) => value(cell.y, y, cell.bottom - PAD, cell.top + PAD));
        return [[cell.x, ...across], [cell.y, ...up]];
      },
      rectangle(from, to) { box = from && [Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1])]; },
      touch: false,
    };
  };

  return { parallel, matrix };
};
