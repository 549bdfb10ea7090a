// Where things stand in the picture. Pure: names in, numbers out; the same system always looks the same.
//
// Two levels of one method. Services of a context stand in its box, boxes stand in the picture; on both levels who calls
// stands left of who is called (longest path, calls that close a cycle aside), and each column is ordered by where its
// callers stand.

export const NODE = { width: 132, height: 46 };
const GAP = { column: 72, row: 18, boxColumn: 128, boxRow: 30, inside: 18, title: 26, around: 24 };

/// `nodes`: [{ name, context }], `calls`: [{ source, destination }].
/// Gives { width, height, boxes: [{ name, x, y, width, height }], places: Map(name → { x, y }) }.
export function layout(nodes, calls) {
  const groups = new Map();
  for (const node of nodes) {
    const key = node.context ? `context ${node.context}` : `alone ${node.name}`;
    if (!groups.has(key)) groups.set(key, { key, name: node.context, members: [] });
    groups.get(key).members.push(node.name);
  }
  const groupOf = new Map();
  for (const group of groups.values()) for (const name of group.members) groupOf.set(name, group.key);
  const known = calls.filter((call) => groupOf.has(call.source) && groupOf.has(call.destination));

  for (const group of groups.values()) arrangeInside(group, known);
  const between = known
    .map((call) => ({ source: groupOf.get(call.source), destination: groupOf.get(call.destination) }))
    .filter((call) => call.source !== call.destination);
  const size = (key) => groups.get(key);
  const placed = arrange([...groups.keys()], between, size, GAP.boxColumn, GAP.boxRow);

  const places = new Map();
  const boxes = [];
  for (const [key, at] of placed.places) {
    const group = groups.get(key);
    const x = at.x + GAP.around;
    const y = at.y + GAP.around;
    if (group.name) boxes.push({ name: group.name, x, y, width: group.width, height: group.height });
    for (const [name, inner] of group.inner) places.set(name, { x: x + inner.x, y: y + inner.y });
  }
  return { width: placed.width + 2 * GAP.around, height: placed.height + 2 * GAP.around, boxes, places };
}

function arrangeInside(group, calls) {
  const own = calls.filter((call) => group.members.includes(call.source) && group.members.includes(call.destination));
  const placed = arrange(group.members, own, () => NODE, GAP.column, GAP.row);
  const frame = group.name ? GAP.inside : 0;
  const title = group.name ? GAP.title : 0;
  group.inner = new Map([...placed.places].map(([name, at]) => [name, { x: at.x + frame, y: at.y + frame / 2 + title }]));
  group.width = placed.width + 2 * frame;
  group.height = placed.height + frame * 1.5 + title;
}

/// Columns by longest path, rows by the callers' rows.
function arrange(names, calls, size, gapColumn, gapRow) {
  const column = columns(names, calls);
  const count = Math.max(0, ...column.values()) + 1;
  const stacks = Array.from({ length: names.length ? count : 0 }, () => []);
  for (const name of [...names].sort()) stacks[column.get(name)].push(name);

  const middle = new Map();
  const settle = (stack) => {
    let y = 0;
    for (const name of stack) {
      middle.set(name, y + size(name).height / 2);
      y += size(name).height + gapRow;
    }
  };
  stacks.forEach(settle);
  const average = (name, from, to) => {
    const near = calls.filter((call) => call[to] === name && column.get(call[from]) !== column.get(name));
    if (near.length === 0) return middle.get(name);
    return near.reduce((sum, call) => sum + middle.get(call[from]), 0) / near.length;
  };
  for (let round = 0; round < 4; round += 1) {
    const forward = round % 2 === 0;
    for (const stack of forward ? stacks : [...stacks].reverse()) {
      const weight = new Map(stack.map((name) => [name, forward ? average(name, "source", "destination") : average(name, "destination", "source")]));
      stack.sort((a, b) => weight.get(a) - weight.get(b) || a.localeCompare(b));
      settle(stack);
    }
  }

  const heightOf = (stack) => stack.reduce((sum, name) => sum + size(name).height, 0) + gapRow * Math.max(0, stack.length - 1);
  const height = Math.max(0, ...stacks.map(heightOf));
  const places = new Map();
  let x = 0;
  for (const stack of stacks) {
    const width = Math.max(0, ...stack.map((name) => size(name).width));
    let y = (height - heightOf(stack)) / 2;
    for (const name of stack) {
      places.set(name, { x: x + (width - size(name).width) / 2, y });
      y += size(name).height + gapRow;
    }
    x += width + gapColumn;
  }
  return { places, width: Math.max(0, x - gapColumn), height };
}

/// Longest path from whoever nobody calls; a call back to a caller does not count.
function columns(names, calls) {
  const next = new Map(names.map((name) => [name, []]));
  for (const call of calls) if (call.source !== call.destination) next.get(call.source).push(call.destination);
  const called = new Set(calls.map((call) => call.destination));
  const order = [];
  const state = new Map();
  const forward = new Map(names.map((name) => [name, []]));
  const starts = [...names].sort((a, b) => called.has(a) - called.has(b) || a.localeCompare(b));
  for (const start of starts) {
    // By hand, not by recursion: a manifest may chain thousands of services.
    const stack = [{ name: start, index: 0 }];
    if (state.has(start)) continue;
    state.set(start, "open");
    while (stack.length > 0) {
      const top = stack[stack.length - 1];
      const target = next.get(top.name)[top.index];
      top.index += 1;
      if (target === undefined) {
        state.set(top.name, "done");
        order.push(top.name);
        stack.pop();
      } else if (state.get(target) !== "open") {
        forward.get(top.name).push(target);
        if (!state.has(target)) {
          state.set(target, "open");
          stack.push({ name: target, index: 0 });
        }
      }
    }
  }
  const column = new Map(names.map((name) => [name, 0]));
  for (const name of order.reverse()) {
    for (const target of forward.get(name)) column.set(target, Math.max(column.get(target), column.get(name) + 1));
  }
  return column;
}
