// The console: fetches with the token, follows the events, fills the tables. Text is set as text everywhere.

import { Picture, percent, rate } from "/picture.js";

const TOKEN = "weft-admin-token";
const RETRY_MS = [250, 500, 1000, 2000, 4000];
const byId = (id) => document.getElementById(id);
const picture = new Picture(byId("picture"));
let status = null;
let edges = [];

// --- the token: from the link's fragment, which browsers do not send, or typed; kept for this tab only ---

function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem(TOKEN, given);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(TOKEN);
}

function askForToken(message) {
  byId("login").hidden = false;
  byId("login-error").textContent = message;
  byId("token").focus();
  return new Promise((resolve) => {
    byId("login").onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(TOKEN, byId("token").value.trim());
      byId("token").value = "";
      byId("login").hidden = true;
      resolve();
    };
  });
}

// --- events ---

async function follow() {
  let tries = 0;
  for (;;) {
    const token = takeToken();
    if (!token) {
      await askForToken("");
      continue;
    }
    try {
      // What is, first; then what changes. So the page is there with the first answers.
      const [system, calls] = await Promise.all([get("/v1/status", token), get("/v1/edges", token)]);
      takeStatus(await system.json());
      takeEdges(await calls.json());
      const events = await get("/v1/events", token);
      tries = 0;
      live("live", "on");
      await read(events.body);
    } catch (error) {
      if (error instanceof Refused) {
        sessionStorage.removeItem(TOKEN);
        await askForToken("That token does not open this console.");
        continue;
      }
      console.warn("the events ended", error);
    }
    live("control is away, trying again", "off");
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS[Math.min(tries, RETRY_MS.length - 1)]));
    tries += 1;
  }
}

class Refused extends Error {}

async function get(path, token) {
  const response = await fetch(path, { headers: { authorization: `Bearer ${token}` }, cache: "no-store" });
  if (response.status === 401) throw new Refused();
  if (!response.ok) throw new Error(`${path}: status ${response.status}`);
  return response;
}

async function read(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const events = text.split("\n\n");
    text = events.pop();
    for (const event of events) take(event);
  }
}

function take(event) {
  const fields = new Map(event.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
  const value = JSON.parse(fields.get("data"));
  if (fields.get("event") === "status") takeStatus(value);
  else if (fields.get("event") === "edges") takeEdges(value);
}

function takeStatus(value) {
  status = value;
  showStatus();
  showPicture();
}

function takeEdges(value) {
  edges = value;
  showEdges();
  showPicture();
}

function showPicture() {
  if (!status) return;
  const drawn = picture.show(status, edges);
  byId("picture-card").hidden = false;
  byId("picture-empty").hidden = drawn;
}

function live(text, kind) {
  byId("live").textContent = text;
  byId("live").className = `live ${kind}`;
}

// --- tables ---

function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  Object.assign(element, properties);
  element.append(...children);
  return element;
}

const cell = (text, className = "") => make("td", { className }, text);
const code = (text) => make("td", {}, make("code", {}, text));
const fill = (id, rows) => byId(id).tBodies[0].replaceChildren(...rows);
const ms = (value) => (value === null || value === undefined ? "–" : value < 10 ? `${value.toFixed(2)} ms` : value < 1000 ? `${value.toFixed(0)} ms` : `${(value / 1000).toFixed(2)} s`);

function showStatus() {
  document.title = `${status.system} · Weft`;
  byId("system").textContent = status.system;
  const scheme = status.gateway?.tls ? "https" : "http";
  const pairs = [
    ["edge", status.gateway?.listen.map((address) => `${scheme}://${address}`).join(", ")],
    ["metrics", status.control.metrics && `http://${status.control.metrics}/metrics`],
    ["trust domain", status.trust_domain],
  ].filter(([, value]) => value);
  byId("addresses").replaceChildren(...pairs.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
  showFindings();
  showServices();
  showRoutes();
}

function showFindings() {
  const parts = [];
  if (status.refused) {
    const at = new Date(status.refused.at_unix_ms).toLocaleTimeString();
    // Findings may carry the colours of a terminal.
    // eslint-disable-next-line no-control-regex
    const text = status.refused.rendered.replace(/\u001b\[[0-9;]*m/g, "");
    parts.push(make("p", {}, `The manifest was refused at ${at}. What is in force is from before.`), make("pre", {}, text));
  }
  for (const one of everybody().filter((one) => one.refused)) {
    parts.push(make("p", {}, `${one.instance} refused its newest plan: ${one.refused}`));
  }
  for (const one of everybody().filter((one) => one.edge_refused)) {
    parts.push(make("p", {}, `${one.instance} refused the new certificate of the edge and serves the one before: ${one.edge_refused}`));
  }
  byId("findings").hidden = parts.length === 0;
  byId("findings-body").replaceChildren(...parts);
}

function everybody() {
  return [...(status.gateway?.instances ?? []), ...status.services.flatMap((service) => service.instances), ...status.others];
}

function showServices() {
  const rows = [];
  for (const one of status.gateway?.instances ?? []) rows.push(instance("gateway", one));
  if (status.gateway && status.gateway.instances.length === 0) rows.push(missing("gateway"));
  for (const service of status.services) {
    if (service.url) rows.push(make("tr", {}, cell(service.service, "name"), cell(""), cell("elsewhere", "quiet"), cell(""), cell(""), cell(""), code(service.url)));
    for (const one of service.instances) rows.push(instance(service.service, one));
    for (let n = service.instances.length; n < service.replicas; n += 1) rows.push(missing(service.service));
  }
  for (const one of status.others) rows.push(instance(`${one.service} (not declared)`, one));
  fill("services", rows);
  byId("services-card").hidden = false;
}

function instance(service, one) {
  const version = one.version && one.version !== "v1" ? ` ${one.version}` : "";
  const state = one.connected ? one.state : `${one.state}, lost`;
  const dot = make("span", { className: `dot ${one.connected ? one.state : "unhealthy"}` });
  const plan = one.plan ? one.plan.slice(0, 8) : "none";
  const planCell = make("td", {}, make("code", {}, plan));
  if (!one.current) planCell.append(make("span", { className: "warn" }, " old"));
  return make("tr", {},
    cell(service + version, "name"), cell(one.instance), make("td", {}, dot, state), planCell,
    cell(one.isolation || "–"), expiry(one), code(one.address));
}

function missing(service) {
  return make("tr", {}, cell(service, "name"), cell(""), make("td", {}, make("span", { className: "dot missing" }), "missing"), cell(""), cell(""), cell(""), cell(""));
}

// When its identity ends, and for the gateway also the certificate that the edge shows.
function expiry(one) {
  const children = [end(one.identity_expires_unix_s)];
  if (one.edge_expires_unix_s) children.push(", edge ", end(one.edge_expires_unix_s));
  return make("td", {}, ...children);
}

function end(unixS) {
  const left = unixS - Date.now() / 1000;
  const text = left <= 0 ? "ended" : left < 120 ? `in ${Math.round(left)} s` : left < 7200 ? `in ${Math.round(left / 60)} min` : left < 172800 ? `in ${Math.round(left / 3600)} h` : `in ${Math.round(left / 86400)} days`;
  return make("span", { className: left < 300 ? "bad" : "", title: new Date(unixS * 1000).toLocaleString() }, text);
}

function showRoutes() {
  const routes = status.gateway?.routes ?? [];
  fill("routes", routes.map((route) => make("tr", {}, code(route.key), cell(route.does), code(`${route.origin.file}:${route.origin.line}`))));
  byId("routes-card").hidden = routes.length === 0;
}

function showEdges() {
  const rows = [];
  for (const edge of edges) {
    rows.push(figures([cell(edge.source, "name"), cell(edge.destination, "name"), cell("")], edge, ""));
    for (const route of edge.routes) {
      const operation = `${route.method} ${route.route || "(not in the API)"}`;
      rows.push(figures([cell(""), cell(""), code(operation)], route, "detail"));
    }
  }
  fill("edges", rows);
  byId("edges-empty").hidden = rows.length > 0;
  byId("edges").hidden = rows.length === 0;
  byId("edges-card").hidden = false;
}

function figures(cells, edge, className) {
  const success = edge.calls === 0 ? "–" : percent(edge.success);
  return make("tr", { className }, ...cells,
    cell(rate(edge.rate_per_s), "num"), cell(success, edge.failures > 0 ? "num bad" : "num"), cell(ms(edge.p50_ms), "num"), cell(ms(edge.p99_ms), "num"));
}

window.addEventListener("hashchange", () => location.reload());
setInterval(() => status && showServices(), 15000);
follow();
