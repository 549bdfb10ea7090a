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
  return plan;
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
