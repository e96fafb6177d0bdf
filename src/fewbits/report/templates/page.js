"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const tip = document.getElementById("tip");
  // Only errors are logged: a chart without error bars is none.
  const options = { mode: "vega-lite", renderer: "svg", ast: true, actions: false, hover: false, defaultStyle: false, logLevel: 1, tooltip: onHover };

  // Names come from files: they only ever reach the page as text.
  function show(text, box) {
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text;
    const { width, height } = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, box.x - width / 2), innerWidth - width - 8);
    tip.style.left = left + "px";
    tip.style.top = (box.y - height - 14 > 0 ? box.y - height - 14 : box.y + 18) + "px";
  }
  function onHover(handler, event, item, value) {
    show(value && String(value), { x: event.clientX, y: event.clientY });
  }
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
  document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true, capture: true });

  // Vega names every mark for screen readers; a place in the tab order lets a keyboard read the figures as well.
  function reachable(element) {
    for (const mark of element.querySelectorAll("[role=graphics-symbol][aria-label]")) {
      const text = mark.getAttribute("aria-label");
      if (mark.tabIndex === 0 || !text.includes("\n")) continue;
      mark.setAttribute("tabindex", "0");
      mark.addEventListener("focus", () => {
        const box = mark.getBoundingClientRect();
        show(mark.getAttribute("aria-label"), { x: box.x + box.width / 2, y: box.y });
      });
      mark.addEventListener("blur", () => { tip.hidden = true; });
    }
  }
  async function draw(element, spec, keyboard) {
    const { view } = await vegaEmbed(element, spec, options);
    if (keyboard) reachable(element);
    return view;
  }

  async function tradeOff() {
    const element = document.getElementById("chart");
    if (!element) return;
    if (!data.chart) { element.closest("section").remove(); return; }
    const view = await draw(element, data.chart, true);
    const known = new Set(data.chart.data.values.map((point) => point.axis));
    const name = document.getElementById("axis-name");
    for (const input of document.querySelectorAll("input[name=axis]")) {
      const axis = data.axes.find((one) => one.key === input.value);
      if (!known.has(axis.key)) { input.parentElement.remove(); continue; }
      const choose = () => { name.textContent = axis.name.toLowerCase(); };
      if (view.signal("axis") === axis.key) { input.checked = true; choose(); }
      input.addEventListener("change", async () => {
        choose();
        await view.signal("axis", axis.key).signal("axisTitle", axis.title).runAsync();
        reachable(element);
      });
    }
    document.querySelector(".switch").hidden = known.size < 2;
    document.body.dataset.ready = "yes";
  }

  function sortable(table) {
    for (const head of table.tHead.querySelectorAll("th[data-key]")) {
      const column = head.cellIndex;
      head.querySelector("button").addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        table.tHead.querySelectorAll("[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const value = (body) => body.rows[0].cells[column].dataset.value;
        const bodies = [...table.tBodies].sort((a, b) => compare(value(a), value(b), down ? -1 : 1));
        bodies.forEach((body, index) => {
          table.append(body);
          if (table.dataset.shown) body.classList.toggle("extra", index >= +table.dataset.shown);
        });
      });
    }
  }
  // What is not known stays last, whichever way the column is sorted.
  function compare(a, b, way) {
    if (a === "" || b === "") return (a === "") - (b === "");
    const numbers = [Number(a), Number(b)];
    return way * (numbers.some(Number.isNaN) ? a.localeCompare(b, undefined, { numeric: true }) : numbers[0] - numbers[1]);
  }

  function figure(value) { return Number(value.toPrecision(4)).toString(); }
  function openable(button) {
    button.addEventListener("click", () => {
      const row = button.closest("tr"), open = button.getAttribute("aria-expanded") === "true";
      button.setAttribute("aria-expanded", String(!open));
      if (open) { row.nextElementSibling.remove(); return; }
      const activation = data.activations[+button.dataset.layer];
      const detail = document.createElement("tr"), cell = document.createElement("td"), box = document.createElement("div");
      const words = document.createElement("p"), chart = document.createElement("div");
      detail.className = "detail";
      cell.colSpan = row.cells.length;
      chart.className = "chart";
      words.textContent = describe(activation);
      box.append(words, chart);
      cell.append(box);
      detail.append(cell);
      row.after(detail);
      const spec = structuredClone(data.histogram);
      spec.datasets.bins = activation.counts.map((count, i) => {
        const low = activation.start + i * activation.width, high = low + activation.width;
        return { low, high, count, tip: figure(low) + " … " + figure(high) + "\n" + count + " values" };
      });
      if (activation.clip) spec.datasets.clip = activation.clip.map((at) => ({ at }));
      else spec.layer.length = 1;
      draw(chart, spec, false);
    });
  }
  function describe(activation) {
    const range = activation.low === null || activation.high === null ? "" : " from " + figure(activation.low) + " to " + figure(activation.high);
    const clip = activation.clip ? "; the quantizer keeps " + figure(activation.clip[0]) + " to " + figure(activation.clip[1]) + " (red lines)" : "; it is not quantized here";
    return "Output " + activation.value + range + " over the calibration samples" + clip + ".";
  }

  document.querySelectorAll("table.sortable").forEach(sortable);
  document.querySelectorAll("button.open").forEach(openable);
  document.querySelectorAll("[data-more]").forEach((button) => button.addEventListener("click", () => {
    button.closest("section").querySelector("table").classList.add("whole");
    button.parentElement.remove();
  }));
  const depth = document.getElementById("depth");
  if (depth && data.depth) draw(depth, data.depth, true);
  else if (depth) depth.parentElement.remove();
  tradeOff();
})();
