// The page's style and script, as they stand in it.
export const style = `
:root { --page: #f7f7f5; --card: #ffffff; --ink: #1c1c1a; --soft: #6a6a65; --grid: #e8e8e4; --accent: #1f6feb; --second: #c2410c; --shallow: #62aef7; --deep: #0c2a57; }
@media (prefers-color-scheme: dark) {
  :root { --page: #141413; --card: #1d1d1b; --ink: #ececea; --soft: #9a9a94; --grid: #30302d; --accent: #6ea8fe; --second: #ff9a5c; --shallow: #2f6fb8; --deep: #cfe6ff; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1040px; padding: 32px 20px 64px; background: var(--page); color: var(--ink); font: 15px/1.45 system-ui, "Segoe UI", sans-serif; }
h1 { margin: 0; font-size: 28px; letter-spacing: -0.01em; }
h2 { grid-column: 1 / -1; margin: 28px 0 0; font-size: 18px; }
h3 { margin: 0; font-size: 14px; overflow-wrap: anywhere; }
header p { margin: 6px 0 0; color: var(--soft); }
header span { overflow-wrap: anywhere; }
header span + span::before { content: " · "; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px; margin-top: 20px; }
.tiles div, figure { background: var(--card); border: 1px solid var(--grid); border-radius: 10px; }
.tiles div { padding: 14px 16px; }
.tiles span, .tiles small { display: block; color: var(--soft); font-size: 13px; }
.tiles b { font-size: 28px; font-weight: 600; letter-spacing: -0.02em; }
section { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr)); gap: 12px; }
figure { margin: 0; padding: 14px 16px; min-width: 0; }
.wide, .key, .heats { grid-column: 1 / -1; }
figcaption p { margin: 2px 0 6px; color: var(--soft); font-size: 13px; }
.plot { position: relative; }
svg { display: block; width: 100%; height: auto; touch-action: pan-y; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; font-variant-numeric: tabular-nums; }
svg text.marked { fill: var(--ink); }
.grid { stroke: var(--grid); }
.mark { stroke: var(--soft); stroke-dasharray: 4 4; }
.line, .faint { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.thin { stroke-width: 1.5; }
.faint { stroke-width: 1; opacity: 0.3; }
.cross { stroke: var(--soft); }
output { position: absolute; top: 4px; display: none; padding: 6px 9px; border-radius: 6px; background: var(--ink); color: var(--page); font-size: 12px; white-space: pre; pointer-events: none; z-index: 1; font-variant-numeric: tabular-nums; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 14px; margin: 6px 0 0; padding: 0; list-style: none; color: var(--soft); font-size: 12px; }
.legend i { display: inline-block; width: 14px; height: 3px; margin: 0 6px 3px 0; border-radius: 2px; }
.key { margin: 0; color: var(--soft); font-size: 13px; }
.key i { display: inline-block; width: 14px; height: 14px; margin: 0 5px -2px 12px; border-radius: 3px; border: 1px solid var(--soft); }
.under { background: rgb(28 110 214); } .even { background: var(--card); } .over { background: rgb(217 72 15); }
.heats { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr)); gap: 12px; }
.many { grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); }
.heat { display: grid; grid-template-columns: auto 1fr; gap: 4px 8px; }
.heat figcaption { grid-column: 1 / -1; }
.heat img { display: block; width: 100%; image-rendering: pixelated; outline: 1px solid var(--grid); }
.rows { display: flex; flex-direction: column; justify-content: space-between; }
.steps { grid-column: 2; display: flex; justify-content: space-between; }
.rows, .steps { color: var(--soft); font-size: 11px; font-variant-numeric: tabular-nums; }
.bars { width: 100%; border-spacing: 0 6px; font-size: 13px; font-variant-numeric: tabular-nums; }
.bars th { font-weight: 400; text-align: left; color: var(--soft); width: 7em; }
.bars td:last-child { text-align: right; white-space: nowrap; width: 6em; }
.bar i { display: block; height: 12px; border-radius: 3px; background: var(--accent); }
.heat img { height: clamp(72px, calc(10px * var(--experts)), 320px); }
.many img { height: clamp(48px, calc(4px * var(--experts)), 160px); }
@media (max-width: 640px) { .wide svg text { font-size: 20px; } }
@media print { body { max-width: none; } figure { break-inside: avoid; } }
`;

export const script = `
const show = (plot, x, text) => {
  const box = plot.querySelector("output");
  box.style.display = text === "" ? "none" : "block";
  box.textContent = text;
  const left = x + 14 + box.offsetWidth > plot.clientWidth ? x - 14 - box.offsetWidth : x + 14;
  box.style.left = Math.max(0, left) + "px";
};
const dataOf = (figure) => JSON.parse(figure.querySelector("script").textContent);
const near = (points, step) => points.reduce((a, b) => (Math.abs(b[0] - step) < Math.abs(a[0] - step) ? b : a), points[0]);
for (const figure of document.querySelectorAll("figure.chart:has(svg)")) {
  const [plot, svg, cross, data] = [figure.querySelector(".plot"), figure.querySelector("svg"), figure.querySelector(".cross"), dataOf(figure)];
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * data.width;
    const part = Math.min(1, Math.max(0, (at - data.left) / (data.right - data.left)));
    const step = data.from + part * (data.to - data.from);
    const known = data.lines.filter((line) => line.points.length > 0);
    const found = known.map((line) => [line.name, ...near(line.points, step)]);
    const x = data.left + part * (data.right - data.left);
    cross.setAttribute("x1", x);
    cross.setAttribute("x2", x);
    cross.setAttribute("visibility", "visible");
    show(plot, event.clientX - box.left, ["step " + found[0][1], ...found.slice(0, 16).map(([name, , value]) => value + "  " + name)].join("\\n"));
  });
  svg.addEventListener("pointerleave", () => {
    cross.setAttribute("visibility", "hidden");
    show(plot, 0, "");
  });
}
for (const figure of document.querySelectorAll("figure.heat")) {
  const [plot, image, data] = [figure.querySelector(".plot"), figure.querySelector("img"), dataOf(figure)];
  const shares = Uint8Array.from(atob(data.shares), (c) => c.charCodeAt(0));
  image.addEventListener("pointermove", (event) => {
    const box = image.getBoundingClientRect();
    const cell = (part, count) => Math.min(count - 1, Math.max(0, Math.floor(part * count)));
    const column = cell((event.clientX - box.left) / box.width, data.columns);
    const expert = cell((event.clientY - box.top) / box.height, data.experts);
    const step = Math.round(data.from + ((column + 0.5) / data.columns) * (data.to - data.from));
    const share = shares[expert * data.columns + column];
    const told = share === 255 ? "not known" : (share / data.scale).toFixed(2) + (share === 254 ? " or more" : "") + " of an even share";
    show(plot, event.clientX - box.left, "expert " + expert + ", step " + step + "\\n" + told);
  });
  image.addEventListener("pointerleave", () => show(plot, 0, ""));
}
`;
