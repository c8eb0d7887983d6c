(() => {
  "use strict";
  const tip = document.getElementById("tip"), sheet = document.getElementById("sheet");
  const canvas = tip.querySelector("canvas"), words = tip.querySelector("span"), pen = canvas.getContext("2d");
  const side = Number(canvas.dataset.side), columns = Number(canvas.dataset.columns);
  const REACH = [[0, 0], [0, 4], [0, -4], [4, 0], [-4, 0]];
  let near = null, frame;
  const under = (event) => {
    for (const [x, y] of REACH) {
      const found = document.elementFromPoint(event.clientX + x, event.clientY + y)?.closest("figure [data-s]");
      if (found) return found;
    }
    return null;
  };
  const point = (event) => {
    const found = under(event);
    if (found !== near) {
      near?.classList.remove("near");
      near = found;
      near?.classList.add("near");
      tip.hidden = !near;
      if (!near) return;
      const place = Number(near.dataset.s) - 1;
      pen.clearRect(0, 0, canvas.width, canvas.height);
      pen.drawImage(sheet, (place % columns) * side, Math.floor(place / columns) * side, side, side, 0, 0, canvas.width, canvas.height);
      words.textContent = near.dataset.tip;
    }
    if (!near) return;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
    tip.style.top = `${event.clientY + 18 + height > innerHeight ? event.clientY - height - 12 : event.clientY + 18}px`;
  };
  document.addEventListener("pointermove", (event) => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => point(event));
  });
  document.addEventListener("pointerdown", point);
  document.addEventListener("scroll", () => (tip.hidden = true), { passive: true });
})();
