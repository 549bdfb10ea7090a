// The picture of the system as SVG. Drawn anew when the system changes, otherwise only its numbers are.
// Everything that comes from outside is set as text or attribute, never parsed as markup.

import { layout, NODE } from "/layout.js";

const SVG = "http://www.w3.org/2000/svg";

function make(name, attributes = {}, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  if (text !== undefined) element.textContent = text;
  return element;
}

const short = (text, letters) => (text.length > letters ? `${text.slice(0, letters - 1)}…` : text);
const keyOf = (source, destination) => JSON.stringify([source, destination]);

export class Picture {
  #holder;
  #shape = "";
  #drawn = new Map();
  #nodes = new Map();

  constructor(holder) {
    this.#holder = holder;
  }

  /// Shows a status with the edges of the moment. Says whether there was anything to draw.
  show(status, edges) {
    const nodes = status.services.map((service) => ({ name: service.service, context: service.context, url: service.url }));
    if (status.gateway) nodes.push({ name: "gateway", gateway: true });
    const calls = status.calls.map((call) => ({ source: call.source, destination: call.destination }));
    const declared = new Set(calls.map((call) => keyOf(call.source, call.destination)));
    const names = new Set(nodes.map((node) => node.name));
    for (const edge of edges) {
      const seen = names.has(edge.source) && names.has(edge.destination) && edge.calls > 0;
      if (seen && !declared.has(keyOf(edge.source, edge.destination))) {
        calls.push({ source: edge.source, destination: edge.destination, undeclared: true });
      }
    }
    const shape = JSON.stringify([nodes, calls]);
    if (shape !== this.#shape) {
      this.#shape = shape;
      this.#draw(nodes, calls);
    }
    this.#states(status);
    this.#rates(edges);
    return nodes.length > 0;
  }

  #draw(nodes, calls) {
    const plan = layout(nodes, calls);
    const svg = make("svg", { width: plan.width, height: plan.height, viewBox: `0 0 ${plan.width} ${plan.height}`, role: "img" });
    svg.append(make("title", {}, `${nodes.length} services and ${calls.length} declared calls; the tables below hold the same`));
    for (const box of plan.boxes) {
      svg.append(
        make("rect", { class: "context", x: box.x, y: box.y, width: box.width, height: box.height, rx: 10 }),
        make("text", { class: "context-name", x: box.x + 14, y: box.y + 20 }, short(box.name, Math.floor((box.width - 28) / 7))),
      );
    }
    this.#drawn = new Map();
    const labels = make("g", { class: "rates" });
    for (const route of plan.routes) svg.append(this.#edge(route, plan.places, labels));
    this.#nodes = new Map();
    for (const node of nodes) svg.append(this.#node(node, plan.places.get(node.name)));
    // Above everything: what a line carries is never hidden.
    svg.append(labels);
    this.#holder.replaceChildren(svg);
  }

  #node(node, at) {
    const group = make("g", { class: "node", transform: `translate(${at.x} ${at.y})` });
    const sub = make("text", { class: "sub", x: NODE.width / 2, y: 36, "text-anchor": "middle" });
    group.append(
      make("title", {}, node.url ? `${node.name} at ${node.url}` : node.name),
      make("rect", { width: NODE.width, height: NODE.height, rx: 8 }),
      make("text", { x: NODE.width / 2, y: 20, "text-anchor": "middle" }, short(node.name, 16)),
      sub,
    );
    this.#nodes.set(node.name, { group, sub, node });
    return group;
  }

  #edge(route, places, labels) {
    const { call } = route;
    const drawn = call.source === call.destination ? loop(places.get(call.source)) : path(route);
    const group = make("g", { class: "edge" });
    const label = make("text", { x: route.label.x, y: route.label.y + 4, "text-anchor": "middle" });
    const calls = make("tspan", { x: route.label.x });
    const fails = make("tspan", { class: "fails", x: route.label.x, dy: 12 });
    label.append(calls, fails);
    labels.append(label);
    const head = make("path", { class: "head", d: "M0 0L-8 -4.5V4.5Z", transform: `translate(${drawn.end.x} ${drawn.end.y}) rotate(${drawn.angle})` });
    const line = make("path", { class: "line", d: drawn.d, "stroke-width": 1.5 });
    group.append(make("title", {}, `${call.source} calls ${call.destination}`), line, head);
    this.#drawn.set(keyOf(call.source, call.destination), { group, line, calls, fails, undeclared: call.undeclared === true });
    return group;
  }

  #states(status) {
    const instances = new Map(status.services.map((service) => [service.service, service]));
    if (status.gateway) instances.set("gateway", { instances: status.gateway.instances, replicas: 1 });
    for (const [name, { group, sub, node }] of this.#nodes) {
      const service = instances.get(name);
      if (!service) continue;
      const ready = service.instances.filter((one) => one.connected && one.state === "ready").length;
      const wanted = Math.max(service.replicas, service.instances.length);
      const health = ready === 0 ? "down" : ready < wanted ? "partly" : "ready";
      const kind = node.gateway ? " gateway" : node.url ? " elsewhere" : "";
      group.setAttribute("class", node.url ? `node${kind}` : `node ${health}${kind}`);
      sub.textContent = node.url ? "elsewhere" : wanted > 1 ? `${ready} of ${wanted} ready` : ready === 1 ? "ready" : "not ready";
    }
  }

  #rates(edges) {
    const figures = new Map(edges.map((edge) => [keyOf(edge.source, edge.destination), edge]));
    for (const [key, { group, line, calls: label, fails: failed, undeclared }] of this.#drawn) {
      const edge = figures.get(key);
      const calls = edge?.calls ?? 0;
      const fails = (edge?.failures ?? 0) > 0;
      group.setAttribute("class", ["edge", calls > 0 && "flows", fails && "fails", undeclared && "undeclared"].filter(Boolean).join(" "));
      line.setAttribute("stroke-width", String(1.5 + Math.min(3, Math.log10(1 + (edge?.rate_per_s ?? 0)))));
      label.textContent = calls > 0 ? `${rate(edge.rate_per_s)}/s` : "";
      failed.textContent = fails ? `${percent(1 - edge.success)} fail` : "";
    }
  }
}

export function rate(value) {
  return value >= 100 ? value.toFixed(0) : value.toFixed(1);
}

/// Never says 0 % or 100 % where that is not so.
export function percent(share) {
  if (share <= 0) return "0 %";
  if (share >= 1) return "100 %";
  const value = share * 100;
  return value < 0.1 ? "< 0.1 %" : value > 99.9 ? "> 99.9 %" : `${value.toFixed(1)} %`;
}

/// The line through the points of a route, and where and how its arrow ends.
function path({ points }) {
  const first = points[0];
  const end = points[points.length - 1];
  if (points.length < 4 || (first.x === end.x && first.y === end.y)) return { d: "", end, angle: 0 };
  let d = `M${first.x} ${first.y}`;
  for (let index = 1; index < points.length; index += 1) {
    const [a, b] = [points[index - 1], points[index]];
    const half = (a.x + b.x) / 2;
    d += index % 2 === 1 || a.y === b.y ? `L${b.x} ${b.y}` : `C${half} ${a.y} ${half} ${b.y} ${b.x} ${b.y}`;
  }
  return { d, end, angle: points[points.length - 2].x <= end.x && first.x < end.x ? 0 : 180 };
}

/// From a node's side and back to it.
function loop(at) {
  const x = at.x + NODE.width;
  const y = at.y + NODE.height / 2;
  return { d: `M${x} ${y - 10}C${x + 40} ${y - 16} ${x + 40} ${y + 16} ${x} ${y + 10}`, end: { x, y: y + 10 }, angle: 180 };
}
