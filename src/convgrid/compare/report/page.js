"use strict";
(() => {
  const table = document.getElementById("table");
  const lit = document.getElementById("lit");
  const tip = document.getElementById("tip");
  const atOnce = Number(table.dataset.atOnce);
  const heads = [...table.tHead.rows[0].cells];
  const names = heads.map((head) => head.dataset.key.toLowerCase());
  const [body, ...further] = table.tBodies;
  const rows = [...table.querySelectorAll("tbody tr")];
  further.forEach((each) => each.remove());
  rows.forEach((row) => (row.hidden = false));

  // the ranking: sort, filter, all or the first
  const filter = document.getElementById("filter");
  const showAll = document.getElementById("all");
  let sorted = rows;
  let everything = rows.length <= atOnce;

  const wanted = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean).map((word) => {
      const at = word.indexOf("=");
      const key = word.slice(0, Math.max(at, 0));
      const column = at > 0 ? names.findIndex((name) => name === key || name.split(".").pop() === key) : -1;
      return column < 0 ? (row) => row.textContent.toLowerCase().includes(word)
        : (row) => row.cells[column].textContent.trim().toLowerCase() === word.slice(at + 1);
    });
    return (row) => words.every((fits) => fits(row));
  };

  const show = () => {
    const fits = wanted();
    const found = sorted.filter(fits);
    body.replaceChildren(...(everything ? found : found.slice(0, atOnce)));
    const all = filter.value.trim() === "";
    const places = new Set(found.map((row) => row.dataset.s));
    for (const [place, marks] of marksOf()) marks.forEach((mark) => mark.classList.toggle("off", !all && !places.has(place)));
    document.getElementById("filter-count").textContent = all ? "" : `${found.length} of ${rows.length} settings`;
    if (showAll) {
      const shown = document.getElementById("shown");
      showAll.hidden = everything || found.length <= atOnce;
      shown.textContent = showAll.hidden ? "" : `The first ${atOnce} of ${found.length} settings; table.csv has all.`;
    }
  };

  const valueOf = (row, column) => {
    const { v } = row.cells[column].dataset;
    return v === undefined ? row.cells[column].textContent.trim() : Number(v);
  };

  const compare = (a, b) => {
    if (a === "" || b === "") return 0;
    return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  };

  const sortBy = (head) => {
    const column = heads.indexOf(head);
    const other = { ascending: "descending", descending: "ascending" };
    const order = head.ariaSort === "none" ? head.dataset.sort : other[head.ariaSort];
    heads.forEach((each) => each.ariaSort && (each.ariaSort = "none"));
    head.ariaSort = order;
    const sign = order === "ascending" ? 1 : -1;
    sorted = rows.map((row) => [valueOf(row, column), row])
      .sort(([a, first], [b, second]) => (a === "") - (b === "") || sign * compare(a, b) || first.dataset.s - second.dataset.s)
      .map(([, row]) => row);
    show();
  };

  heads.filter((head) => head.dataset.sort).forEach((head) =>
    head.firstElementChild.addEventListener("click", () => sortBy(head)));
  let later;
  filter.addEventListener("input", () => { clearTimeout(later); later = setTimeout(show, 120); });
  showAll?.addEventListener("click", () => { everything = true; show(); });

  // a setting in all charts
  let marks;
  const marksOf = () => {
    if (!marks) {
      marks = new Map();
      document.querySelectorAll("figure [data-s]").forEach((mark) => {
        if (!marks.has(mark.dataset.s)) marks.set(mark.dataset.s, []);
        marks.get(mark.dataset.s).push(mark);
      });
    }
    return marks;
  };
  const rowOf = new Map(rows.map((row) => [row.dataset.s, row]));
  const chosen = new Set();

  const light = (place, on) => {
    chosen[on ? "add" : "delete"](place);
    rowOf.get(place)?.querySelector(".place").setAttribute("aria-pressed", String(on));
    for (const mark of marksOf().get(place) ?? []) {
      mark.classList.toggle("on", on);
      if (on && mark.parentNode.lastElementChild !== mark) mark.parentNode.append(mark);
    }
    document.body.classList.toggle("lit", chosen.size > 0);
    lit.hidden = chosen.size === 0;
    lit.firstElementChild.textContent = `Shown: ${[...chosen].sort((a, b) => a - b).map((each) => `place ${each}`).join(", ")}.`;
  };
  const clear = () => [...chosen].forEach((place) => light(place, false));

  // what is under the pointer, or a few pixels beside it: lines are thin
  const REACH = [[0, 0], [0, 4], [0, -4], [4, 0], [-4, 0]];
  const under = (event) => {
    if (!event.target.closest("figure")) return event.target.closest("#table .plot, #table .place")?.closest("tr");
    for (const [x, y] of REACH) {
      const found = document.elementFromPoint(event.clientX + x, event.clientY + y)?.closest("figure [data-s], figure [data-tip]");
      if (found) return found;
    }
    return null;
  };
  let near = [];
  const point = (event) => {
    const found = under(event);
    near.forEach((mark) => mark.classList.remove("near"));
    near = found?.dataset.s ? marksOf().get(found.dataset.s) ?? [] : [];
    near.forEach((mark) => mark.classList.add("near"));
    const words = found && (found.dataset.tip || rowOf.get(found.dataset.s)?.dataset.tip);
    tip.hidden = !words;
    if (!words) return;
    tip.textContent = words;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
    tip.style.top = `${event.clientY + 18 + height > innerHeight ? event.clientY - height - 12 : event.clientY + 18}px`;
  };
  let frame;
  document.addEventListener("pointermove", (event) => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => point(event));
  });
  document.addEventListener("scroll", () => (tip.hidden = true), { passive: true });
  document.addEventListener("click", (event) => {
    const place = event.target.closest(".place") ?? (event.target.closest("figure") && under(event));
    const s = place?.dataset.s ?? place?.closest("tr")?.dataset.s;
    if (s) light(s, !chosen.has(s));
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") { clear(); tip.hidden = true; } });
  lit.querySelector("button").addEventListener("click", clear);

  // one pair of keys, or all
  const pair = document.getElementById("pair");
  const choose = () => document.querySelectorAll("#interactions figure").forEach((figure, index) =>
    (figure.hidden = pair.value !== "" && index !== Number(pair.value)));
  if (pair) {
    if (pair.length > 7) pair.value = "0";
    pair.addEventListener("change", choose);
    choose();
  }
  document.querySelectorAll(".controls").forEach((each) => (each.hidden = false));
  if (showAll) showAll.hidden = false;
  document.documentElement.dataset.ready = "true";
})();
