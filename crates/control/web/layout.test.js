// Run by `cargo test -p weft-control --test console`, where Node is installed.

import assert from "node:assert/strict";
import { test } from "node:test";
import { layout, NODE } from "./layout.js";

const system = (services, calls) => ({
  nodes: services.map(([name, context]) => ({ name, context })),
  calls: calls.map(([source, destination]) => ({ source, destination })),
});

const apart = (a, b) => a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y || b.y + b.height <= a.y;
const rectangle = (at) => ({ ...at, ...NODE });

function check({ nodes, calls }) {
  const plan = layout(nodes, calls);
  const places = [...plan.places.values()].map(rectangle);
  assert.equal(places.length, nodes.length);
  places.forEach((a, index) => places.slice(index + 1).forEach((b) => assert.ok(apart(a, b), "nodes overlap")));
  plan.boxes.forEach((a, index) => plan.boxes.slice(index + 1).forEach((b) => assert.ok(apart(a, b), "boxes overlap")));
  for (const at of places) {
    assert.ok(at.x >= 0 && at.y >= 0 && at.x + at.width <= plan.width && at.y + at.height <= plan.height, "outside");
  }
  for (const node of nodes) {
    const at = rectangle(plan.places.get(node.name));
    for (const box of plan.boxes) {
      const inside = at.x >= box.x && at.y >= box.y && at.x + at.width <= box.x + box.width && at.y + at.height <= box.y + box.height;
      assert.equal(inside, box.name === node.context, `${node.name} and the box of ${box.name}`);
    }
  }
  check_routes(plan, calls);
  return plan;
}

/// No line touches a service that it does not join, no label lies on one, and lines go where their calls go.
function check_routes(plan, calls) {
  assert.equal(plan.routes.length, calls.filter((call) => plan.places.has(call.source) && plan.places.has(call.destination)).length);
  for (const { call, points } of plan.routes.filter((route) => route.call.source !== route.call.destination)) {
    const [from, to] = [plan.places.get(call.source), plan.places.get(call.destination)];
    const [first, last] = [points[0], points[points.length - 1]];
    const ends = (at, point) => (point.x === at.x || point.x === at.x + NODE.width) && point.y > at.y && point.y < at.y + NODE.height;
    assert.ok(ends(from, first) && ends(to, last), `${call.source} > ${call.destination} ends elsewhere`);
    for (let index = 1; index < points.length; index += 1) {
      const [a, b] = [points[index - 1], points[index]];
      if (index % 2 === 1) assert.ok(Math.abs(a.y - b.y) < 1e-6, "a stretch is level");
      const box = { x: Math.min(a.x, b.x), y: Math.min(a.y, b.y), width: Math.abs(a.x - b.x), height: Math.abs(a.y - b.y) };
      for (const [name, at] of plan.places) {
        if (name === call.source || name === call.destination) continue;
        assert.ok(apart(box, rectangle(at)), `${call.source} > ${call.destination} runs behind ${name}`);
      }
    }
  }
}

test("callers stand left of whom they call, contexts in boxes", () => {
  const shop = system(
    [["gateway", null], ["users", "identity"], ["catalog", "catalog"], ["pricing", "catalog"], ["orders", "sales"], ["payments", "sales"]],
    [["gateway", "orders"], ["gateway", "catalog"], ["orders", "catalog"], ["orders", "pricing"], ["orders", "users"], ["orders", "payments"]],
  );
  const plan = check(shop);
  const x = (name) => plan.places.get(name).x;
  for (const call of shop.calls) assert.ok(x(call.source) < x(call.destination), `${call.source} > ${call.destination}`);
  assert.deepEqual(layout(shop.nodes, shop.calls), plan, "the same system always looks the same");
});

test("nothing, cycles, calls of oneself, unknown names and long chains", () => {
  assert.equal(layout([], []).places.size, 0);
  check(system([["a", null], ["b", null], ["c", "box"]], [["a", "b"], ["b", "a"], ["b", "c"], ["c", "a"], ["a", "a"]]));
  check(system([["a", "one"]], [["a", "nobody"], ["nobody", "a"]]));
  const names = Array.from({ length: 300 }, (_, index) => `s${index}`);
  check(system(names.map((name) => [name, null]), names.slice(1).map((name, index) => [names[index], name])));
});

test("lines pass between boxes, and rates stay readable", () => {
  const shop = system(
    [["users", "identity"], ["catalog", "catalog"], ["pricing", "catalog"], ["inventory", "fulfilment"], ["orders", "sales"], ["payments", "sales"], ["shipping", "fulfilment"], ["gateway", null]],
    [["orders", "users"], ["orders", "catalog"], ["orders", "pricing"], ["orders", "inventory"], ["payments", "orders"],
      ...["catalog", "users", "orders", "payments", "shipping", "inventory", "pricing"].map((name) => ["gateway", name])],
  );
  const plan = check(shop);
  const around = ({ label }) => ({ x: label.x - 20, y: label.y - 6, width: 40, height: 12 });
  plan.routes.forEach((a, index) => {
    for (const at of plan.places.values()) assert.ok(apart(around(a), rectangle(at)), `the rate of ${a.call.source} > ${a.call.destination} lies on a service`);
    for (const b of plan.routes.slice(index + 1)) assert.ok(apart(around(a), around(b)), `the rates of ${a.call.destination} and ${b.call.destination} overlap`);
  });
});

test("any system: no line runs behind a service", () => {
  let state = 7;
  const random = (below) => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >> 8) % below;
  };
  for (let round = 0; round < 60; round += 1) {
    const names = Array.from({ length: 1 + random(24) }, (_, index) => `s${index}`);
    const services = names.map((name) => [name, random(3) === 0 ? null : `c${random(5)}`]);
    const calls = new Map();
    for (let call = random(50); call > 0; call -= 1) {
      const pair = [names[random(names.length)], names[random(names.length)]];
      calls.set(pair.join(), pair);
    }
    check(system(services, [...calls.values()]));
  }
});
