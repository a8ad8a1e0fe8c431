// The status page: a table that events renew once a second, and a device's details. Nothing is fetched from elsewhere, and
// what devices say only ever becomes text.
"use strict";

const PARTS = ["answered", "local", "late", "skipped", "lost"];
const SPARK = { width: 120, height: 28 };
const find = (id) => document.getElementById(id);
let fleet = { server: {}, findings: [], devices: [] };
let sorting = { key: "name", down: false };
let histories = new Map();
let opened = null; // the id of the device that is shown
let details = null;

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

const known = (value, show) => (value === null || value === undefined ? "–" : show(value));
const rate = (value) => value.toFixed(value < 100 ? 1 : 0);
const bits = (kbps) => (kbps >= 1000 ? `${(kbps / 1000).toFixed(1)} Mbit/s` : `${kbps.toFixed(0)} kbit/s`);

function ago(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  return `${Math.round(seconds / 3600)} h ago`;
}

function sparkline(values, size = SPARK) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "spark");
  svg.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const top = Math.max(1, ...values);
  svg.setAttribute("aria-label", values.length ? `between ${Math.min(...values)} and ${top} frames a second` : "no history yet");
  if (!values.length) return svg;
  const step = size.width / 59;
  const start = size.width - (values.length - 1) * step;
  const spots = values.map((value, i) => `${(start + i * step).toFixed(1)},${(size.height - 2 - (value / top) * (size.height - 4)).toFixed(1)}`);
  if (values.length === 1) spots.unshift(`${(size.width - step).toFixed(1)},${spots[0].split(",")[1]}`);
  const line = (name, text) => {
    const shape = document.createElementNS(svg.namespaceURI, name);
    shape.setAttribute("points", text);
    svg.append(shape);
  };
  const first = values.length === 1 ? size.width - step : start;
  line("polygon", `${first.toFixed(1)},${size.height} ${spots.join(" ")} ${size.width},${size.height}`);
  line("polyline", spots.join(" "));
  return svg;
}

function stack(row) {
  const bar = make("div", undefined, "stack");
  for (const part of PARTS) {
    const share = row.camera_fps ? (100 * row[`${part}_fps`]) / row.camera_fps : 0;
    if (share <= 0) continue;
    const piece = make("i", undefined, part);
    piece.style.width = `${share}%`;
    bar.append(piece);
  }
  bar.title = PARTS.map((part) => `${part} ${row[`${part}_fps`].toFixed(1)}`).join(" + ");
  return bar;
}

function cell(label, text, note, className) {
  const td = make("td", text, className);
  td.dataset.label = label;
  if (note) td.append(make("small", note));
  return td;
}

function quality(share) {
  if (share === null) return "";
  return share >= 0.95 ? "good" : share >= 0.9 ? "warn" : "bad";
}

function sum(row) {
  const parts = PARTS.filter((part) => row[`${part}_fps`] > 0.04).map((part) => `${rate(row[`${part}_fps`])} ${part}`);
  return parts.join(" + ");
}

function deviceRow(row) {
  const tr = make("tr", undefined, row.state);
  tr.dataset.id = row.id;
  const name = make("td");
  const button = make("button", row.name, "name");
  button.type = "button";
  name.append(button, make("small", row.host.replace(/^ipv[46]:/, "")));
  const state = make("td");
  state.append(make("span", row.state, `chip ${row.state}`));
  if (row.state === "gone") state.append(make("small", ago(row.seen_s_ago)));
  else if (row.point) state.append(make("small", row.point));
  const camera = cell("camera, frames/s", rate(row.camera_fps), sum(row), "number camera");
  camera.append(stack(row));
  const late = row.deadline_ms ? `of ${row.deadline_ms} ms` : row.reports ? "no deadline" : "on the server";
  const link = known(row.capacity_kbps, (value) => (row.capacity_is_bound ? "≥ " : "") + bits(value));
  const error = make("td", row.last_error || "", "error");
  if (row.last_error) error.append(make("small", ago(row.error_s_ago)));
  const spark = cell("ten minutes", "");
  spark.append(sparkline(histories.get(row.id) || []));
  tr.append(
    name, state, camera,
    cell("sends", `${row.kb_per_frame.toFixed(2)} KB`, bits(row.kbps), "number"),
    cell("latency p50 / p95", `${known(row.p50_ms, String)} / ${known(row.p95_ms, (value) => `${value} ms`)}`, late, "number"),
    cell("in time", known(row.in_time, (value) => `${(100 * value).toFixed(0)} %`), undefined, `number ${quality(row.in_time)}`),
    cell("link", link, known(row.rtt_ms, (value) => `${value.toFixed(0)} ms`), "number"),
    cell("bundle", row.bundle, row.software),
    error, spark,
  );
  return tr;
}

function isShown(row) {
  const words = find("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const text = `${row.name} ${row.state} ${row.bundle} ${row.host}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

function compare(a, b) {
  const [x, y] = [a[sorting.key], b[sorting.key]];
  if (x === y) return a.name.localeCompare(b.name, undefined, { numeric: true });
  if (x === null || x === undefined) return 1;
  if (y === null || y === undefined) return -1;
  const order = typeof x === "string" ? x.localeCompare(y, undefined, { numeric: true }) : x - y;
  return sorting.down ? -order : order;
}

function showTotals(server) {
  const totals = [
    ["sessions", server.sessions], ["frames/s", rate(server.camera_fps)], ["in", bits(server.kbps)], ["queue", server.queue],
  ];
  if (server.replicas) totals.push(["replicas", server.replicas.length]);
  find("totals").replaceChildren(...totals.map(([name, value]) => {
    const pair = make("div");
    pair.append(make("dt", name), make("dd", String(value)));
    return pair;
  }));
  find("software").textContent = server.software;
}

function showFindings(found) {
  const text = JSON.stringify(found);
  if (find("findings").dataset.shown === text) return; // a screen reader need not say it again
  find("findings").dataset.shown = text;
  find("findings").replaceChildren(...found.map((one) => {
    const box = make("div", undefined, `finding ${one.severity}`);
    box.append(make("b", one.what), one.do);
    return box;
  }));
}

function show() {
  if (document.hidden) return;
  showTotals(fleet.server);
  showFindings(fleet.findings);
  const rows = fleet.devices.filter(isShown).sort(compare);
  const focused = document.activeElement?.closest?.("#devices tr")?.dataset.id;
  find("devices").replaceChildren(...rows.map(deviceRow));
  if (focused) find("devices").querySelector(`tr[data-id="${focused}"] .name`)?.focus();
  const all = fleet.devices.length;
  find("shown").textContent = rows.length === all ? `${all} device${all === 1 ? "" : "s"}` : `${rows.length} of ${all}`;
  find("empty").hidden = rows.length > 0;
  find("empty").textContent = all ? "No device fits the filter." : "Devices appear here as they connect.";
}

function facts(device) {
  const f = device.frames;
  return [
    ["Address", device.host], ["Board", device.board || "not known"], ["Software", device.software || "not known"],
    ["Bundle", `${device.bundle} ${device.digest}`], ["Operating point", known(device.point, String)],
    ["Deadline", known(device.deadline_ms, (value) => `${value} ms`)],
    ["Uplink", known(device.capacity_kbps, (value) => (device.capacity_is_bound ? "at least " : "") + bits(value))],
    ["Round trip", known(device.rtt_ms, (value) => `${value} ms`)],
    ["Processor", known(device.cpu, (value) => `${(100 * value).toFixed(0)} %`)],
    ["Temperature", known(device.temperature_c, (value) => `${value} °C`)],
    ["Frames of this run", `${f.captured} = ${f.answered} answered + ${f.local} local + ${f.late} late + ${f.skipped} skipped + ${f.lost} lost + ${f.captured - f.answered - f.local - f.late - f.skipped - f.lost} on the way`],
    ["Received", `${(device.bytes / 1e6).toFixed(2)} MB`],
  ];
}

function showDevice(device) {
  find("device-name").textContent = device.name;
  find("device-state").replaceChildren(make("span", device.state, `chip ${device.state}`));
  find("facts").replaceChildren(...facts(device).map(([name, value]) => {
    const pair = make("div");
    pair.append(make("dt", name), make("dd", value));
    return pair;
  }));
  find("history").replaceChildren(sparkline(device.history_fps, { width: 840, height: 80 }));
  find("decisions").replaceChildren(...device.decisions.slice().reverse().map((one) => {
    const tr = make("tr");
    tr.append(make("td", String(one.frame_id)), make("td", one.point), make("td", one.predicted_ms ? `${one.predicted_ms.toFixed(0)} ms` : "", "number"), make("td", one.reason));
    return tr;
  }));
  const lines = device.log.map((line) => `${new Date(line.unix_ms).toISOString()} ${line.level}: ${line.text}`);
  if (device.left_out) lines.push(`(${device.left_out} lines and decisions found no room on the link)`);
  find("log").textContent = lines.join("\n") || "The device has said nothing.";
  find("preview").hidden = !device.preview;
  if (device.preview) find("preview").src = `/api/v1/devices/${device.id}/preview.jpg?${Math.floor(Date.now() / 5000)}`;
}

async function refreshDevice() {
  if (!opened) return;
  const answer = await fetch(`/api/v1/devices/${opened}`).catch(() => null);
  if (!answer?.ok || !opened) return;
  details = await answer.json();
  showDevice(details);
}

async function openDevice(id) {
  opened = id;
  await refreshDevice();
  if (details?.id === id) find("device").showModal();
}

function listen() {
  const stream = new EventSource("/api/v1/events");
  const say = (text, name) => { find("live").textContent = text; find("live").className = `live ${name}`; };
  stream.addEventListener("open", () => say("live", "on"));
  stream.addEventListener("error", () => say("no connection, trying again", "off"));
  stream.addEventListener("fleet", (event) => {
    fleet = JSON.parse(event.data);
    for (const row of fleet.devices) if (row.history_fps) histories.set(row.id, row.history_fps);
    histories = new Map([...histories].filter(([id]) => fleet.devices.some((row) => row.id === id)));
    show();
    refreshDevice();
  });
}

function theme() {
  const isDark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = isDark ? "light" : "dark";
  try { localStorage.setItem("theme", document.documentElement.dataset.theme); } catch { /* not allowed here */ }
}

try { const kept = localStorage.getItem("theme"); if (kept) document.documentElement.dataset.theme = kept; } catch { /* not allowed here */ }
find("theme").addEventListener("click", theme);
find("filter").addEventListener("input", show);
document.addEventListener("visibilitychange", show);
find("devices").addEventListener("click", (event) => {
  const row = event.target.closest("tr");
  if (row) openDevice(row.dataset.id);
});
find("close").addEventListener("click", () => find("device").close());
find("device").addEventListener("close", () => { opened = null; details = null; });
find("copy").addEventListener("click", async () => {
  const text = JSON.stringify(details, null, 1);
  try { await navigator.clipboard.writeText(text); } catch { // only pages of this machine or by HTTPS may
    const area = make("textarea", text);
    find("device").append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  find("copy").textContent = "Copied";
  setTimeout(() => { find("copy").textContent = "Copy as JSON"; }, 1500);
});
document.querySelector("thead").addEventListener("click", (event) => {
  const key = event.target.dataset?.sort;
  if (!key) return;
  sorting = { key, down: sorting.key === key ? !sorting.down : key !== "name" && key !== "state" };
  for (const head of document.querySelectorAll("thead th")) head.removeAttribute("aria-sort");
  event.target.closest("th").setAttribute("aria-sort", sorting.down ? "descending" : "ascending");
  show();
});
listen();
