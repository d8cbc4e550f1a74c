"use strict";
const { about, series } = JSON.parse(document.getElementById("data").textContent);
const report = about.report;
const element = (id) => document.getElementById(id);
const MARGIN = { left: 64, right: 12, top: 8 };
const VALUE_HEIGHT = 230, SCORE_HEIGHT = 76, GAP = 14, AXIS = 22, HIGHEST = 4;
const state = { series: null, shown: [], from: 0, to: 1, hover: null };

/* What the data says ------------------------------------------------------------------------- */

function numbers(text, kind) {
  const raw = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  return new kind(raw.buffer);
}

function decoded(column) {
  if (!column.ready) {
    for (const name of ["value", "expected", "lower", "upper", "score"]) {
      column[name] = numbers(column[name], Float32Array);
    }
    column.at = numbers(column.at, Uint32Array);
    column.past = {
      at: numbers(column.past.at, Uint32Array), value: numbers(column.past.value, Float32Array),
    };
    column.ready = true;
  }
  return column;
}

const clock = new Intl.DateTimeFormat("en-CA", {
  timeZone: about.timeZone, hourCycle: "h23", year: "numeric", month: "2-digit", day: "2-digit",
  hour: "2-digit", minute: "2-digit", second: "2-digit",
});

function parts(seconds) {
  const found = {};
  for (const { type, value } of clock.formatToParts(seconds * 1000)) found[type] = value;
  return found;
}

function moment(seconds, unit = "second") {
  const at = parts(seconds);
  if (unit === "day") return `${at.month}-${at.day}`;
  if (unit === "year") return `${at.year}-${at.month}`;
  const time = `${at.hour}:${at.minute}`;
  if (unit === "minute") return time;
  const rest = at.second === "00" ? time : `${time}:${at.second}`;
  return `${at.year}-${at.month}-${at.day} ${rest}`;
}

function short(number, digits = 4) {
  if (number === null || number === undefined || Number.isNaN(number)) return "–";
  const size = Math.abs(number);
  if (size >= 1e6 || (size > 0 && size < 1e-3)) return number.toExponential(digits - 2);
  return String(Number(number.toPrecision(digits)));
}

function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 60) return `${Math.round(seconds)}s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)}m`;
  if (seconds < 129600) return `${short(seconds / 3600, 3)}h`;
  return `${short(seconds / 86400, 3)}d`;
}

const share = (number) => (number === null || number === undefined ? "–" : number.toFixed(2));
const titleOf = (row) => (row.dataset ? `${row.dataset}/${row.series}` : row.series);

function node(name, text, classes = "") {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (classes) made.className = classes;
  return made;
}

function first(sorted, wanted) {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < wanted) low = middle + 1; else high = middle;
  }
  return low;
}

/* Header, cards, list, tables ---------------------------------------------------------------- */

function fillHeader() {
  document.title = `Metricwatch ${report.command}: ${report.data}`;
  element("command").textContent = report.command;
  const { algorithm, falseAlarmsPerWeek } = report.settings;
  element("source").textContent =
    `${report.data} · ${algorithm} · ${falseAlarmsPerWeek} false alarms a week allowed`;
  const total = report.total, judged = total.labelled;
  const cards = [
    ["series", total.series], ["samples", total.samples.toLocaleString("en")],
    ["anomalies", total.anomalies], ["a week and series", share(total.anomaliesPerWeek)],
  ];
  if (judged) {
    cards.push(
      ["precision", share(judged.precision)], ["recall", share(judged.recall)],
      ["F1", share(judged.f1)], ["false a week", share(judged.falsePerWeek)],
      ["median delay", span(judged.delaySeconds)],
    );
  }
  for (const [name, value] of cards) {
    const card = node("div", undefined, "card");
    card.append(node("b", value), node("span", name));
    element("cards").append(card);
  }
}

function fillList() {
  const wanted = element("search").value.trim().toLowerCase();
  const order = element("order").value;
  const rows = report.series.map((row, number) => ({ row, number }));
  const f1 = ({ row }) => (row.labelled && row.labelled.f1 !== null ? row.labelled.f1 : 2);
  if (order === "anomalies") rows.sort((one, other) => other.row.anomalies - one.row.anomalies);
  if (order === "worst") rows.sort((one, other) => f1(one) - f1(other));
  const list = element("list");
  list.replaceChildren();
  for (const { row, number } of rows) {
    if (!titleOf(row).toLowerCase().includes(wanted)) continue;
    const item = node("li", undefined, number === state.number ? "chosen" : "");
    const name = node("span", undefined, "name");
    name.append(node("b", row.series));
    const families = Object.keys(row.families).join(", ");
    const judged = row.labelled ? ` · F1 ${share(row.labelled.f1)}` : "";
    name.append(node("small", `${row.dataset ? row.dataset + " · " : ""}${families}${judged}`));
    item.title = titleOf(row);
    item.append(name, node("span", row.anomalies, row.anomalies ? "badge" : "badge none"));
    item.onclick = () => choose(number);
    list.append(item);
  }
  if (!list.children.length) list.append(node("li", "nothing of that name", "muted"));
}

function fillTable(table, head, rows, onclick) {
  const top = node("tr");
  for (const [name, text] of head) top.append(node("th", name, text ? "text" : ""));
  const body = node("tbody");
  rows.forEach((row, number) => {
    const line = node("tr", undefined, row.sum ? "sum" : "");
    row.cells.forEach((cell, place) => {
      const classes = `${head[place][1] ? "text" : ""} ${head[place][1] === "wide" ? "wide" : ""}`;
      line.append(node("td", cell, classes.trim()));
    });
    if (!row.sum && onclick) line.onclick = () => onclick(number);
    body.append(line);
  });
  const header = node("thead");
  header.append(top);
  table.replaceChildren(header, body);
}

const JUDGED = ["events", "found", "false", "precision", "recall", "F1", "false/week", "delay"];
const judgedCells = (tally) => [
  tally.events, tally.detected, share(tally.falseEpisodes), share(tally.precision),
  share(tally.recall), share(tally.f1), share(tally.falsePerWeek), span(tally.delaySeconds),
];

function familyOf(part) {
  const names = Object.keys(part.families);
  return names.length > 1 ? `${names.length} families` : names.join("");
}

function fillReport() {
  const labelled = report.total.labelled !== null;
  const head = [["series", "text"], ["samples"], ["family", "text"], ["anomalies"], ["a week"]];
  if (labelled) head.push(...JUDGED.map((name) => [name]));
  const cells = (title, part) => {
    const row = [
      title, part.samples.toLocaleString("en"), familyOf(part),
      part.anomalies, share(part.anomaliesPerWeek),
    ];
    if (labelled) row.push(...(part.labelled ? judgedCells(part.labelled) : JUDGED.map(() => "–")));
    return row;
  };
  const rows = report.series.map((row) => ({ cells: cells(titleOf(row), row) }));
  const names = Object.keys(report.datasets);
  if (names.length > 1) {
    for (const name of names) {
      rows.push({ cells: cells(`all of ${name}`, report.datasets[name]), sum: true });
    }
  }
  if (rows.length > 1) rows.push({ cells: cells("total", report.total), sum: true });
  fillTable(element("report"), head, rows, (number) => {
    choose(number);
    document.querySelector("section").scrollTo({ top: 0, behavior: "smooth" });
  });
  const injected = report.total.injected;
  if (injected) {
    element("injected-part").hidden = false;
    fillTable(
      element("injected"), [["kind", "text"], ...JUDGED.map((name) => [name])],
      Object.entries(injected).map(([kind, tally]) => ({
        cells: [kind, ...judgedCells(tally)], sum: kind === "all",
      })),
    );
  }
}

function fillAnomalies() {
  const found = state.series.anomalies;
  const table = element("anomalies");
  if (!found.length) {
    const row = node("tr");
    row.append(node("td", "none", "empty"));
    table.replaceChildren(row);
    return;
  }
  const several = state.series.columns.length > 1;
  const head = [["began", "text"], ["lasted"], ["peak score"], ["severity", "text"],
    ["kind", "text"], ["why", "wide"]];
  if (several) head.unshift(["column", "text"]);
  const rows = found.map((one) => {
    const began = Date.parse(one.startedAt) / 1000;
    const end = Date.parse(one.endedAt || one.lastAnomalousAt) / 1000;
    const cells = [
      moment(began), one.endedAt ? span(end - began) : `${span(end - began)}, open`,
      short(one.score, 3), one.severity, one.kind, one.summary,
    ];
    if (several) cells.unshift(one.column);
    return { cells };
  });
  fillTable(table, head, rows, (number) => {
    show(found[number]);
    document.querySelector("section").scrollTo({ top: 0, behavior: "smooth" });
  });
}

/* Choosing and moving ------------------------------------------------------------------------ */

const tickOf = (text) => (Date.parse(text) / 1000 - state.series.start) / state.series.step;

function choose(number) {
  state.number = number;
  state.series = series[number];
  const columns = state.series.columns;
  const count = columns.map((column) => column.alarms.length);
  const busiest = columns.map((_, at) => at).sort((one, other) => count[other] - count[one]);
  state.shown = busiest.slice(0, 3).sort((one, other) => one - other);
  element("title").textContent = state.series.title;
  element("notes").textContent = report.series[number].notes.join(" · ");
  element("truth-legend").hidden = !state.series.truth.length;
  const none = !state.series.anomalies.length;
  element("previous").disabled = element("next").disabled = none;
  fillColumns();
  fillAnomalies();
  fillList();
  look(0, state.series.ticks - 1);
}

function fillColumns() {
  const columns = state.series.columns;
  const place = element("columns");
  place.replaceChildren();
  if (columns.length === 1) return;
  columns.forEach((column, at) => {
    const on = state.shown.includes(at);
    const count = state.series.anomalies.filter((one) => one.column === column.name).length;
    const button = node("button", `${column.name} ${count || ""}`.trim(), on ? "on" : "");
    button.onclick = () => {
      state.shown = on ? state.shown.filter((one) => one !== at)
        : [...state.shown, at].sort((one, other) => one - other);
      fillColumns();
      draw();
    };
    place.append(button);
  });
}

function look(from, to) {
  const last = Math.max(state.series.ticks - 1, 1);
  const width = Math.min(Math.max(to - from, 8), last * 1.02);
  let start = from + (to - from - width) / 2;
  start = Math.min(Math.max(start, -0.01 * last), 1.01 * last - width);
  state.from = start;
  state.to = start + width;
  draw();
}

function zoom(factor, at = (state.from + state.to) / 2) {
  look(at - (at - state.from) * factor, at + (state.to - at) * factor);
}

function show(anomaly) {
  const columns = state.series.columns;
  const column = columns.findIndex((one) => one.name === anomaly.column);
  if (!state.shown.includes(column)) {
    state.shown = [...state.shown, column].sort((one, other) => one - other);
    fillColumns();
  }
  const begin = tickOf(anomaly.startedAt);
  const end = tickOf(anomaly.endedAt || anomaly.lastAnomalousAt);
  const room = Math.max(40, 1.5 * (end - begin));
  look(begin - room, end + room);
}

function step(direction) {
  const middle = (state.from + state.to) / 2;
  const centre = (one) =>
    (tickOf(one.startedAt) + tickOf(one.endedAt || one.lastAnomalousAt)) / 2;
  const sorted = [...state.series.anomalies].sort((one, other) => centre(one) - centre(other));
  const found = direction > 0 ? sorted.find((one) => centre(one) > middle + 0.6)
    : sorted.reverse().find((one) => centre(one) < middle - 0.6);
  if (found) show(found);
}

/* Drawing ------------------------------------------------------------------------------------ */

let colors = {};
function readColors() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["text", "muted", "line", "grid", "value", "past", "band", "expected",
    "score", "alarm", "alarm-back", "truth", "accent"]) {
    colors[name] = style.getPropertyValue(`--${name}`).trim();
  }
}

function prepared(canvas, height) {
  const width = canvas.clientWidth || 800;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.font = "11px system-ui, sans-serif";
  return { context, width };
}

function draw() {
  const place = element("charts");
  while (place.querySelectorAll("canvas").length > state.shown.length) place.lastChild.remove();
  while (place.querySelectorAll("canvas").length < state.shown.length) {
    const canvas = node("canvas");
    listen(canvas);
    place.append(canvas);
  }
  place.querySelectorAll("canvas").forEach((canvas, number) => {
    drawColumn(canvas, decoded(state.series.columns[state.shown[number]]));
  });
  drawOverview();
}

function drawColumn(canvas, column) {
  const height = MARGIN.top + VALUE_HEIGHT + GAP + SCORE_HEIGHT + AXIS;
  const { context, width } = prepared(canvas, height);
  const inner = width - MARGIN.left - MARGIN.right;
  const x = (tick) => MARGIN.left + ((tick - state.from) / (state.to - state.from)) * inner;
  const value = { top: MARGIN.top, bottom: MARGIN.top + VALUE_HEIGHT };
  const score = { top: value.bottom + GAP, bottom: value.bottom + GAP + SCORE_HEIGHT };
  const [low, high] = limits(column);
  const y = (number) => value.bottom - ((number - low) / (high - low)) * VALUE_HEIGHT;
  const scoreY = (number) =>
    score.bottom - (Math.min(number, HIGHEST) / HIGHEST) * SCORE_HEIGHT;
  drawTimes(context, x, width, value, score);
  drawNumbers(context, low, high, y, width);
  drawNumbers(context, 0, HIGHEST, scoreY, width, [1, 2, 4]);
  clipped(context, width, value.top, score.bottom, () => {
    shade(context, x, state.series.truth, colors.truth, value.top, score.bottom);
    shade(context, x, column.alarms, colors["alarm-back"], value.top, score.bottom);
  });
  clipped(context, width, value.top, value.bottom, () => {
    band(context, column, x, y);
    line(context, column.past.at, column.past.value, x, y, colors.past);
    line(context, column.at, column.expected, x, y, colors.expected);
    line(context, column.at, column.value, x, y, colors.value, 1.3);
    dots(context, column, x, y);
  });
  clipped(context, width, score.top, score.bottom, () => {
    line(context, column.at, column.score, x, scoreY, colors.score);
    context.strokeStyle = colors.alarm;
    context.setLineDash([4, 4]);
    context.beginPath();
    context.moveTo(MARGIN.left, scoreY(1));
    context.lineTo(width - MARGIN.right, scoreY(1));
    context.stroke();
    context.setLineDash([]);
  });
  label(context, `${column.name} (${column.family})`, value.top + 12);
  label(context, "score", score.top + 10);
  if (state.hover !== null) {
    context.strokeStyle = colors.muted;
    context.beginPath();
    context.moveTo(x(state.hover), value.top);
    context.lineTo(x(state.hover), score.bottom);
    context.stroke();
  }
  if (state.brush && state.brush.canvas === canvas) {
    context.fillStyle = colors.band;
    context.fillRect(state.brush.from, value.top, state.brush.to - state.brush.from,
      score.bottom - value.top);
  }
}

function label(context, text, y) {
  context.fillStyle = colors.muted;
  context.textAlign = "left";
  context.fillText(text, MARGIN.left + 6, y);
}

function clipped(context, width, top, bottom, paint) {
  context.save();
  context.beginPath();
  context.rect(MARGIN.left, top, width - MARGIN.left - MARGIN.right, bottom - top);
  context.clip();
  paint();
  context.restore();
}

function inView(at) {
  return [Math.max(0, first(at, state.from) - 1), Math.min(at.length, first(at, state.to) + 1)];
}

function limits(column) {
  let low = Infinity, high = -Infinity;
  const see = (at, values) => {
    const [begin, end] = inView(at);
    for (let one = begin; one < end; one += 1) {
      if (values[one] < low) low = values[one];
      if (values[one] > high) high = values[one];
    }
  };
  see(column.at, column.value);
  see(column.past.at, column.past.value);
  if (!(low <= high)) return [0, 1];
  const room = 0.09 * (high - low) || 0.09 * Math.abs(high) || 1;
  return [low - room, high + room];
}

function line(context, at, values, x, y, color, weight = 1) {
  const [begin, end] = inView(at);
  context.strokeStyle = color;
  context.lineWidth = weight;
  context.lineJoin = "round";
  context.beginPath();
  let drawing = false;
  for (let one = begin; one < end; one += 1) {
    if (Number.isNaN(values[one])) { drawing = false; continue; }
    const height = Math.max(-1e4, Math.min(1e4, y(values[one])));
    if (drawing) context.lineTo(x(at[one]), height); else context.moveTo(x(at[one]), height);
    drawing = true;
  }
  context.stroke();
  context.lineWidth = 1;
}

function band(context, column, x, y) {
  const [begin, end] = inView(column.at);
  const clampedY = (number) => Math.max(-1e4, Math.min(1e4, y(number)));
  context.fillStyle = colors.band;
  let open = [];
  const close = () => {
    if (open.length > 1) {
      context.beginPath();
      for (const one of open) context.lineTo(x(column.at[one]), clampedY(column.upper[one]));
      for (const one of open.reverse()) {
        context.lineTo(x(column.at[one]), clampedY(column.lower[one]));
      }
      context.fill();
    }
    open = [];
  };
  for (let one = begin; one < end; one += 1) {
    if (Number.isNaN(column.upper[one])) close(); else open.push(one);
  }
  close();
}

function dots(context, column, x, y) {
  const [begin, end] = inView(column.at);
  context.fillStyle = colors.alarm;
  for (let one = begin; one < end; one += 1) {
    if (column.score[one] > 1) {
      context.beginPath();
      context.arc(x(column.at[one]), y(column.value[one]), 2.4, 0, 7);
      context.fill();
    }
  }
}

function shade(context, x, runs, color, top, bottom) {
  context.fillStyle = color;
  for (const [begin, end] of runs) {
    if (end < state.from - 1 || begin > state.to + 1) continue;
    const left = x(begin - 0.5), width = Math.max(x(end + 0.5) - left, 2);
    context.fillRect(left, top, width, bottom - top);
  }
}

const UNITS = [1, 5, 15, 30, 60, 300, 900, 1800, 3600, 10800, 21600, 43200, 86400, 172800,
  604800, 1209600, 2592000, 7776000, 31536000];

function drawTimes(context, x, width, value, score) {
  const { start, step } = state.series;
  const seconds = (state.to - state.from) * step;
  const wanted = seconds / Math.max(2, Math.floor(width / 110));
  const unit = UNITS.find((one) => one >= wanted) || UNITS[UNITS.length - 1];
  const begin = start + state.from * step;
  const form = unit < 86400 ? "minute" : unit < 2592000 ? "day" : "year";
  context.textAlign = "center";
  for (let at = Math.ceil(begin / unit) * unit; at <= begin + seconds; at += unit) {
    const place = x((at - start) / step);
    if (place < MARGIN.left || place > width - MARGIN.right) continue;
    context.strokeStyle = colors.grid;
    context.beginPath();
    context.moveTo(place, value.top);
    context.lineTo(place, value.bottom);
    context.moveTo(place, score.top);
    context.lineTo(place, score.bottom);
    context.stroke();
    const midnight = form === "minute" && moment(at, "minute") === "00:00";
    context.fillStyle = colors.muted;
    if (place - MARGIN.left > 30) {
      context.fillText(moment(at, midnight ? "day" : form), place, score.bottom + 15);
    }
  }
  context.textAlign = "right";
  context.fillText(about.timeZone, MARGIN.left - 8, score.bottom + 15);
}

function drawNumbers(context, low, high, y, width, chosen) {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const unit = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const ticks = chosen || [];
  if (!chosen) for (let at = Math.ceil(low / unit) * unit; at <= high; at += unit) ticks.push(at);
  context.textAlign = "right";
  for (const at of ticks) {
    context.strokeStyle = colors.grid;
    context.beginPath();
    context.moveTo(MARGIN.left, y(at));
    context.lineTo(width - MARGIN.right, y(at));
    context.stroke();
    context.fillStyle = colors.muted;
    context.fillText(short(Math.abs(at) < unit * 1e-6 ? 0 : at, 5), MARGIN.left - 8, y(at) + 4);
  }
}

function drawOverview() {
  const canvas = element("overview");
  const height = 42;
  const { context, width } = prepared(canvas, height);
  const inner = width - MARGIN.left - MARGIN.right;
  const last = Math.max(state.series.ticks - 1, 1);
  const x = (tick) => MARGIN.left + (tick / last) * inner;
  context.fillStyle = colors.truth;
  for (const [begin, end] of state.series.truth) {
    context.fillRect(x(begin), 4, Math.max(x(end) - x(begin), 1), height - 8);
  }
  const column = decoded(state.series.columns[state.shown[0] || 0]);
  let low = Infinity, high = -Infinity;
  for (const values of [column.value, column.past.value]) {
    for (const one of values) { if (one < low) low = one; if (one > high) high = one; }
  }
  const y = (number) => height - 7 - ((number - low) / (high - low || 1)) * (height - 14);
  for (const [at, values, color] of [
    [column.past.at, column.past.value, colors.past], [column.at, column.value, colors.value],
  ]) {
    context.strokeStyle = color;
    context.globalAlpha = 0.65;
    context.beginPath();
    at.forEach((tick, one) => {
      if (!Number.isNaN(values[one])) context.lineTo(x(tick), y(values[one]));
    });
    context.stroke();
    context.globalAlpha = 1;
  }
  context.fillStyle = colors.alarm;
  for (const anomaly of state.series.anomalies) {
    context.fillRect(x(tickOf(anomaly.startedAt)) - 1, height - 5, 2.5, 5);
  }
  context.fillStyle = colors.band;
  context.strokeStyle = colors.accent;
  const left = Math.max(x(state.from), MARGIN.left);
  const right = Math.min(x(state.to), width - MARGIN.right);
  context.fillRect(left, 1, right - left, height - 2);
  context.strokeRect(left, 1, right - left, height - 2);
}

/* Hands -------------------------------------------------------------------------------------- */

function tickAt(canvas, pointer) {
  const box = canvas.getBoundingClientRect();
  const inner = box.width - MARGIN.left - MARGIN.right;
  return state.from
    + ((pointer.clientX - box.left - MARGIN.left) / inner) * (state.to - state.from);
}

function listen(canvas) {
  let grip = null;
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      const shift = (event.deltaX / canvas.clientWidth) * (state.to - state.from);
      look(state.from + shift, state.to + shift);
    } else {
      zoom(1.0016 ** event.deltaY, tickAt(canvas, event));
    }
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    const x = event.clientX - canvas.getBoundingClientRect().left;
    grip = { x: event.clientX, from: state.from, to: state.to, tick: tickAt(canvas, event) };
    if (event.shiftKey) state.brush = { canvas, from: x, to: x };
    canvas.classList.add("moving");
  });
  canvas.addEventListener("pointermove", (event) => {
    if (grip && state.brush) {
      state.brush.to = event.clientX - canvas.getBoundingClientRect().left;
      draw();
    } else if (grip) {
      const inner = canvas.clientWidth - MARGIN.left - MARGIN.right;
      const shift = ((grip.x - event.clientX) / inner) * (grip.to - grip.from);
      look(grip.from + shift, grip.to + shift);
    } else {
      point(canvas, event);
    }
  });
  const release = (event) => {
    canvas.classList.remove("moving");
    const brushed = state.brush;
    state.brush = null;
    if (grip && brushed && Math.abs(brushed.to - brushed.from) > 4) {
      const ends = [grip.tick, tickAt(canvas, event)].sort((one, other) => one - other);
      look(ends[0], ends[1]);
    } else if (brushed) {
      draw();
    }
    grip = null;
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => { state.hover = null; hideTip(); draw(); });
  canvas.addEventListener("dblclick", () => look(0, state.series.ticks - 1));
}

function hideTip() {
  const tip = element("tip");
  if (tip) tip.remove();
}

function point(canvas, event) {
  const number = [...element("charts").querySelectorAll("canvas")].indexOf(canvas);
  const column = decoded(state.series.columns[state.shown[number]]);
  const tick = tickAt(canvas, event);
  const past = tick < state.series.history;
  const at = past ? column.past.at : column.at;
  if (!at.length) return;
  let near = Math.min(first(at, tick), at.length - 1);
  if (near > 0 && tick - at[near - 1] < at[near] - tick) near -= 1;
  state.hover = at[near];
  draw();
  hideTip();
  const tip = node("div");
  tip.id = "tip";
  tip.append(node("b", moment(state.series.start + at[near] * state.series.step)));
  const say = (name, text) => tip.append(node("br"), `${name} `, node("b", text));
  if (past) {
    say("value", short(column.past.value[near], 6));
    tip.append(node("br"), "history");
  } else {
    say("value", short(column.value[near], 6));
    say("expected", short(column.expected[near], 6));
    say("normal", `${short(column.lower[near], 5)} to ${short(column.upper[near], 5)}`);
    say("score", short(column.score[near], 3));
  }
  element("charts").append(tip);
  const box = element("charts").getBoundingClientRect();
  const x = event.clientX - box.left, y = event.clientY - box.top;
  const left = x + 16 + tip.offsetWidth > box.width ? x - tip.offsetWidth - 16 : x + 16;
  tip.style.left = `${left}px`;
  tip.style.top = `${Math.max(0, y - tip.offsetHeight / 2)}px`;
}

function listenOverview() {
  const canvas = element("overview");
  const move = (event) => {
    const box = canvas.getBoundingClientRect();
    const inner = box.width - MARGIN.left - MARGIN.right;
    const tick = ((event.clientX - box.left - MARGIN.left) / inner) * (state.series.ticks - 1);
    const half = (state.to - state.from) / 2;
    look(tick - half, tick + half);
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    move(event);
  });
  canvas.addEventListener("pointermove", (event) => { if (event.buttons) move(event); });
}

function listenKeys() {
  window.addEventListener("keydown", (event) => {
    if (/INPUT|SELECT/.test(event.target.tagName) || event.ctrlKey || event.metaKey) return;
    const shift = 0.2 * (state.to - state.from);
    const keys = {
      ArrowLeft: () => look(state.from - shift, state.to - shift),
      ArrowRight: () => look(state.from + shift, state.to + shift),
      "+": () => zoom(0.6), "=": () => zoom(0.6), "-": () => zoom(1.7),
      0: () => look(0, state.series.ticks - 1), n: () => step(1), p: () => step(-1),
      "/": () => { event.preventDefault(); element("search").focus(); },
    };
    if (keys[event.key]) keys[event.key]();
  });
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  readColors();
  if (state.series) draw();
}

function start() {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  setTheme(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
  element("theme").onclick = () =>
    setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  element("search").oninput = fillList;
  element("order").onchange = fillList;
  element("next").onclick = () => step(1);
  element("previous").onclick = () => step(-1);
  element("closer").onclick = () => zoom(0.6);
  element("wider").onclick = () => zoom(1.7);
  element("whole").onclick = () => look(0, state.series.ticks - 1);
  listenOverview();
  listenKeys();
  fillHeader();
  fillReport();
  const busiest = report.series
    .map((row, number) => [row.anomalies, number])
    .sort((one, other) => other[0] - one[0]);
  choose(busiest[0][1]);
  window.addEventListener("resize", draw);
}

start();
