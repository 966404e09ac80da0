"use strict";
// Buttons that save figures as SVG and data as CSV, in a file of their own.
const save = (name, type, text) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name.toLowerCase().replace(/[^a-z0-9.]+/g, "-");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
};
const PAINT = ["fill", "fill-opacity", "stroke", "stroke-opacity", "stroke-width",
  "stroke-dasharray", "stroke-linejoin", "font-size", "text-anchor", "display"];
const drawing = (svg) => { // with the colours that the page's style gives it, and its paper
  const copy = svg.cloneNode(true);
  const parts = [...svg.querySelectorAll("*")], copies = [...copy.querySelectorAll("*")];
  parts.forEach((part, i) => {
    const style = getComputedStyle(part);
    for (const key of PAINT) copies[i].setAttribute(key, style.getPropertyValue(key));
  });
  const { width, height } = svg.viewBox.baseVal;
  const about = { width, height, "font-family": "sans-serif" };
  for (const [key, value] of Object.entries(about)) copy.setAttribute(key, value);
  for (const key of Object.keys(copy.dataset)) delete copy.dataset[key];
  const paper = document.createElementNS(svg.namespaceURI, "rect");
  const box = { width, height, fill: getComputedStyle(document.body).backgroundColor };
  for (const [key, value] of Object.entries(box)) paper.setAttribute(key, value);
  copy.querySelector("title").after(paper);
  return new XMLSerializer().serializeToString(copy);
};
const quoted = (text) => `"${text.replaceAll('"', '""')}"`;
const curves = (svg) => [`curve,${svg.dataset.unit},value`,
  ...[...svg.querySelectorAll("path.line")].flatMap((path) =>
    path.dataset.points.split(" ").map((pair) => `${quoted(path.dataset.name)},${pair}`)),
].join("\n");
const cells = (table) => [...table.rows].map((row) => [...row.cells].map((cell) =>
  quoted(cell.innerText.trim().replace(/\s+/g, " "))).join(",")).join("\n");
const offer = (place, name, ways) => {
  const line = document.createElement("div");
  line.className = "save";
  for (const [label, type, text] of ways) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.setAttribute("aria-label", `${label} of ${name}`);
    button.addEventListener("click", () => save(`${name}.${label.toLowerCase()}`, type, text()));
    line.append(button);
  }
  place.after(line);
};
for (const figure of document.querySelectorAll("figure")) {
  const svg = figure.querySelector(":scope > svg");
  if (!svg) continue;
  const ways = [["SVG", "image/svg+xml", () => drawing(svg)]];
  if (svg.dataset.area) ways.push(["CSV", "text/csv", () => curves(svg)]);
  if (svg.dataset.csv) ways.push(["CSV", "text/csv", () => svg.dataset.csv]);
  offer(svg, svg.querySelector("title").textContent, ways);
}
for (const table of document.querySelectorAll(".scroll > table")) {
  offer(table.parentNode, table.caption.textContent.slice(0, 60),
    [["CSV", "text/csv", () => cells(table)]]);
}

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
  const [x0, x1] = numbers(svg.dataset.x);
  const width = svg.viewBox.baseVal.width;
  const lines = [...svg.querySelectorAll("path.line")].map((path) => ({
    name: path.dataset.name,
    group: path.parentNode,
    points: path.getAttribute("d").slice(1).split(" ").map((pair) => Number(pair.split(",")[0])),
    values: path.dataset.points.split(" ").map((pair) => Number(pair.split(",")[1])),
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
    for (const { name, group, points, values } of lines) {
      if (getComputedStyle(group).display === "none") continue;
      if (at < points[0] - 4 || at > points[points.length - 1] + 4) continue;
      const far = points.map((x) => Math.abs(x - at));
      rows.push([values[far.indexOf(Math.min(...far))], name]);
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
