"use strict";
// The values under the pointer, beside each plot of curves. The page says all without it.
const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
tip.setAttribute("aria-hidden", "true");
document.body.append(tip);
const numbers = (text) => text.split(" ").map(Number);
const shown = (value) => String(Number(value.toPrecision(3)));

for (const svg of document.querySelectorAll("svg.lines")) {
  const [left, right, top, bottom] = numbers(svg.dataset.area);
  const [x0, x1] = numbers(svg.dataset.x), [y0, y1] = numbers(svg.dataset.y);
  const width = svg.viewBox.baseVal.width;
  const lines = [...svg.querySelectorAll("path.line")].map((path) => ({
    name: path.dataset.name,
    group: path.parentNode,
    points: path.getAttribute("d").slice(1).split(" ").map((pair) => pair.split(",").map(Number)),
  }));
  const rule = document.createElementNS(svg.namespaceURI, "path");
  rule.setAttribute("class", "rule");
  svg.append(rule);
  const hide = () => { tip.hidden = true; rule.setAttribute("d", ""); };
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const at = (event.clientX - box.left) / box.width * width;
    if (at < left || at > right) { hide(); return; }
    const rows = [];
    for (const { name, group, points } of lines) {
      if (getComputedStyle(group).display === "none") continue;
      if (at < points[0][0] - 4 || at > points[points.length - 1][0] + 4) continue;
      const near = points.reduce((a, b) => Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a);
      rows.push([y0 + (bottom - near[1]) / (bottom - top) * (y1 - y0), name]);
    }
    rows.sort((a, b) => b[0] - a[0]);
    const x = x0 + (at - left) / (right - left) * (x1 - x0);
    tip.textContent = [`${shown(x)} ${svg.dataset.unit}`,
      ...rows.map(([y, name]) => `${y.toFixed(3)}  ${name}`)].join("\n");
    tip.hidden = false;
    const most = document.documentElement.clientWidth + scrollX - tip.offsetWidth - 8;
    tip.style.left = `${Math.max(4, Math.min(event.pageX + 14, most))}px`;
    tip.style.top = `${event.pageY + 14}px`;
    rule.setAttribute("d", `M${at},${top}V${bottom}`);
  });
}
