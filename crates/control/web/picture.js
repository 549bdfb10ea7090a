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
    for (const call of calls) svg.append(this.#edge(call, plan.places));
    this.#nodes = new Map();
    for (const node of nodes) svg.append(this.#node(node, plan.places.get(node.name)));
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

  #edge(call, places) {
    const route = path(places.get(call.source), places.get(call.destination));
    const group = make("g", { class: "edge" });
    const label = make("text", { x: route.middle.x, y: route.middle.y - 4, "text-anchor": "middle" });
    const title = make("title", {}, `${call.source} calls ${call.destination}`);
    const head = make("path", { class: "head", d: "M0 0L-8 -4.5V4.5Z", transform: `translate(${route.end.x} ${route.end.y}) rotate(${route.angle})` });
    const line = make("path", { class: "line", d: route.d, "stroke-width": 1.5 });
    group.append(title, line, head, label);
    this.#drawn.set(keyOf(call.source, call.destination), { group, line, label, undeclared: call.undeclared === true });
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
    for (const [key, { group, line, label, undeclared }] of this.#drawn) {
      const edge = figures.get(key);
      const calls = edge?.calls ?? 0;
      const fails = (edge?.failures ?? 0) > 0;
      group.setAttribute("class", ["edge", calls > 0 && "flows", fails && "fails", undeclared && "undeclared"].filter(Boolean).join(" "));
      line.setAttribute("stroke-width", String(1.5 + Math.min(3, Math.log10(1 + (edge?.rate_per_s ?? 0)))));
      const failed = fails ? `, ${percent(1 - edge.success)} fail` : "";
      label.textContent = calls > 0 ? `${rate(edge.rate_per_s)}/s${failed}` : "";
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

/// A line from one node to another, the place of its label, and where and how its arrow ends.
function path(from, to) {
  const y1 = from.y + NODE.height / 2;
  const y2 = to.y + NODE.height / 2;
  const curve = (x1, c1, x2, c2, angle) => ({
    d: `M${x1} ${y1}C${c1} ${y1} ${c2} ${y2} ${x2} ${y2}`,
    middle: { x: (x1 + 3 * c1 + 3 * c2 + x2) / 8, y: (y1 + y2) / 2 },
    end: { x: x2, y: y2 },
    angle,
  });
  if (from === to) return curve(from.x + NODE.width, from.x + NODE.width + 40, to.x + NODE.width, to.x + NODE.width + 40, 180);
  if (to.x >= from.x + NODE.width) {
    const reach = Math.max(30, (to.x - from.x - NODE.width) / 2);
    return curve(from.x + NODE.width, from.x + NODE.width + reach, to.x, to.x - reach, 0);
  }
  if (to.x + NODE.width <= from.x) {
    const reach = Math.max(30, (from.x - to.x - NODE.width) / 2);
    return curve(from.x, from.x - reach, to.x + NODE.width, to.x + NODE.width + reach, 180);
  }
  return curve(from.x + NODE.width, from.x + NODE.width + 48, to.x + NODE.width, to.x + NODE.width + 48, 180);
}
