"use strict";
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const nearest = (list, value) => {
  let best = 0;
  for (let i = 1; i < list.length; i++) if (Math.abs(list[i] - value) < Math.abs(list[best] - value)) best = i;
  return best;
};

// Charts: a hairline and the values under it, by pointer, touch or arrow keys.
for (const chart of document.querySelectorAll(".chart")) {
  const { x: xName, series } = JSON.parse(chart.querySelector("script").textContent);
  const area = chart.querySelector(".area"), hair = area.querySelector(".hair"), readout = area.querySelector(".readout");
  const places = [...new Set(series.flatMap((line) => line.x))].sort((a, b) => a - b);
  let current = places.length - 1;
  const show = (index) => {
    current = clamp(index, 0, places.length - 1);
    const place = places[current];
    readout.replaceChildren();
    const head = document.createElement("em");
    const own = series.find((line) => line.x.includes(place));
    head.textContent = `${xName} ${own.at[own.x.indexOf(place)]}`;
    readout.append(head);
    for (const line of series) {
      const at = nearest(line.x, place);
      const row = document.createElement("span");
      row.className = `s${line.tone}`;
      row.textContent = series.length > 1 ? `${line.name} ${line.value[at]}` : line.value[at];
      readout.append(row);
    }
    hair.hidden = readout.hidden = false;
    hair.style.left = `${100 * place}%`;
    const room = area.clientWidth, left = place * room + 10;
    readout.style.left = `${left + readout.offsetWidth > room ? Math.max(place * room - readout.offsetWidth - 10, -40) : left}px`;
  };
  const hide = () => { hair.hidden = readout.hidden = true; };
  const point = (event) => {
    const box = area.getBoundingClientRect();
    show(nearest(places, (event.clientX - box.left) / box.width));
  };
  area.addEventListener("pointermove", point);
  area.addEventListener("pointerdown", point);
  area.addEventListener("pointerleave", hide);
  area.addEventListener("blur", hide);
  area.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) { event.preventDefault(); show(hair.hidden ? current : current + step); }
    if (event.key === "Escape") hide();
  });
}

// The map: a card for the item in hand, classes one at a time, pictures in place of dots.
for (const atlas of document.querySelectorAll(".atlas")) {
  const { side, columns, labels, classes, names } = JSON.parse(atlas.querySelector("script").textContent);
  const stage = atlas.querySelector(".stage"), sprite = atlas.querySelector(".sprite");
  const ring = stage.querySelector(".ring"), card = stage.querySelector(".card"), pictures = stage.querySelector(".pictures");
  const dots = [...stage.querySelectorAll("circle")];
  const xs = dots.map((dot) => dot.cx.baseVal.value / 1000), ys = dots.map((dot) => dot.cy.baseVal.value / 1000);
  let only = null, current = -1;
  const seen = (i) => only === null || labels[i] === only;
  const draw = (context, i, x, y, size) =>
    context.drawImage(sprite, (i % columns) * side, Math.floor(i / columns) * side, side, side, x, y, size, size);
  const closest = (x, y, allowed) => {
    let best = -1, least = Infinity;
    for (let i = 0; i < xs.length; i++) {
      const distance = (xs[i] - x) ** 2 + (ys[i] - y) ** 2;
      if (distance < least && seen(i) && allowed(i)) { least = distance; best = i; }
    }
    return best;
  };
  const hide = () => { ring.hidden = card.hidden = true; };
  const show = (i) => {
    if (i < 0) return hide();
    current = i;
    const width = stage.clientWidth, x = xs[i] * width, y = ys[i] * width;
    ring.hidden = card.hidden = false;
    ring.style.left = `${x}px`;
    ring.style.top = `${y}px`;
    const canvas = card.querySelector("canvas"), context = canvas.getContext("2d"), words = card.querySelector("p");
    context.imageSmoothingEnabled = false;
    draw(context, i, 0, 0, canvas.width);
    words.replaceChildren();
    if (labels) {
      const name = document.createElement("b");
      name.textContent = classes[labels[i]] ?? `class ${labels[i]}`;
      words.append(name);
    }
    if (names.length) words.append(names[i]);
    card.style.left = `${clamp(x + (x > width / 2 ? -card.offsetWidth - 16 : 16), 0, width - card.offsetWidth)}px`;
    card.style.top = `${clamp(y - card.offsetHeight / 2, 0, width - card.offsetHeight)}px`;
  };
  const point = (event) => {
    const box = stage.getBoundingClientRect();
    show(closest((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height, () => true));
  };
  stage.addEventListener("pointermove", point);
  stage.addEventListener("pointerdown", point);
  stage.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") hide(); });
  stage.addEventListener("blur", hide);
  stage.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Escape") hide();
    if (!way) return;
    event.preventDefault();
    if (current < 0 || !seen(current) || card.hidden) return show(current >= 0 && seen(current) ? current : closest(0.5, 0.5, () => true));
    const ahead = (i) => {
      const dx = xs[i] - xs[current], dy = ys[i] - ys[current], along = dx * way[0] + dy * way[1];
      return i !== current && along > 0 && along >= Math.abs(dx * way[1] + dy * way[0]);
    };
    const next = closest(xs[current], ys[current], ahead);
    if (next >= 0) show(next);
  });

  const switcher = atlas.querySelector(".switch");
  const paint = () => {
    const on = switcher.getAttribute("aria-pressed") === "true";
    pictures.hidden = !on;
    stage.classList.toggle("pictured", on);
    switcher.textContent = on ? "Show dots" : "Show pictures";
    if (!on) return;
    const width = stage.clientWidth, ratio = window.devicePixelRatio || 1, size = width < 500 ? 22 : 30;
    pictures.width = pictures.height = width * ratio;
    const context = pictures.getContext("2d"), placed = [];
    context.scale(ratio, ratio);
    for (let i = 0; i < xs.length; i++) {
      const x = clamp(xs[i] * width - size / 2, 0, width - size), y = clamp(ys[i] * width - size / 2, 0, width - size);
      if (!seen(i) || placed.some(([px, py]) => Math.abs(px - x) < size + 1 && Math.abs(py - y) < size + 1)) continue;
      placed.push([x, y]);
      draw(context, i, x, y, size);
    }
  };
  switcher.hidden = false;
  switcher.addEventListener("click", () => {
    switcher.setAttribute("aria-pressed", String(switcher.getAttribute("aria-pressed") !== "true"));
    paint();
  });
  new ResizeObserver(() => { hide(); paint(); }).observe(stage);

  const keys = [...atlas.querySelectorAll(".key button")];
  const choose = (label) => {
    only = label;
    dots.forEach((dot, i) => dot.classList.toggle("dim", !seen(i)));
    keys.forEach((key) => key.setAttribute("aria-pressed", String(Number(key.dataset.label) === only)));
    hide();
    paint();
  };
  for (const key of keys) {
    const label = Number(key.dataset.label);
    key.addEventListener("click", () => choose(only === label ? null : label));
  }
}

for (const button of document.querySelectorAll(".copy")) {
  const code = button.parentElement.querySelector("code");
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      // Pages opened from a file may not have the clipboard: select the command instead.
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  });
}
