// Where things stand in the picture. Pure: names in, numbers out; the same system always looks the same.
//
// Two levels of one method (Sugiyama's: columns, order, rows). Services of a context stand in its box, boxes stand in the
// picture; on both levels who calls stands left of who is called (longest path, calls that close a cycle run back), each
// column is ordered by where its callers and callees stand, and rows are as near to them as the order allows. A call that
// passes a column has a lane of its own there, between what stands in it, so no line runs behind a box or a service.

export const NODE = { width: 132, height: 46 };
const GAP = { column: 84, row: 18, boxColumn: 116, boxRow: 30, inside: 18, title: 26, around: 24 };
/// Between two lanes, and between a lane and its neighbour that is none.
const LANE = { beside: 16, off: 14 };
/// Between the ends of two calls at a service, at most.
const PORT = 9;
/// What a rate takes, which stands in its line: `1234/s`.
const LABEL = { width: 62, height: 15 };
/// Places that are tried for it: a bound, as each is held against everything that is drawn.
const SPOTS_MAX = 32;

/// `nodes`: [{ name, context }], `calls`: [{ source, destination }].
/// Gives { width, height, boxes: [{ name, x, y, width, height }], places: Map(name → { x, y }), routes }. `routes` has, for
/// each call between known nodes, { call, points: [{ x, y }], label: { x, y } }: horizontal from each point with an even
/// index to the next, a curve from there on.
export function layout(nodes, calls) {
  const groups = new Map();
  const groupOf = new Map();
  for (const node of nodes) {
    const key = node.context ? `context ${node.context}` : `alone ${node.name}`;
    if (!groups.has(key)) groups.set(key, { name: node.context, members: [], links: [], leaving: [], entering: [] });
    groups.get(key).members.push(node.name);
    groupOf.set(node.name, key);
  }
  const known = calls.filter((call) => groupOf.has(call.source) && groupOf.has(call.destination));
  const between = [];
  for (const call of known) {
    const [source, destination] = [groupOf.get(call.source), groupOf.get(call.destination)];
    if (source !== destination) between.push({ source, destination });
  }
  const outer = columns([...groups.keys()], between);

  // Every call as a link from left to right; one that runs back is turned round for this.
  const links = known.map((call, id) => link(id, call, groups, groupOf, outer));
  for (const group of groups.values()) arrangeInside(group);
  const acrossLinks = links.filter((one) => one.across);
  const anchor = (one, end) => groups.get(groupOf.get(one[end])).anchor(one, end);
  const placed = arrange({
    column: outer,
    links: acrossLinks.map((one) => ({ id: one.id, from: groupOf.get(one.from), to: groupOf.get(one.to), fromAt: anchor(one, "from"), toAt: anchor(one, "to") })),
    size: (key) => groups.get(key),
    gap: { column: GAP.boxColumn, row: GAP.boxRow },
  });

  const places = new Map();
  const boxes = [];
  for (const [key, at] of placed.places) {
    const group = groups.get(key);
    group.x = at.x + GAP.around;
    group.y = at.y + GAP.around;
    if (group.name) boxes.push({ name: group.name, x: group.x, y: group.y, width: group.width, height: group.height });
    for (const [name, inner] of group.inner) places.set(name, { x: group.x + inner.x, y: group.y + inner.y });
  }
  const routes = links.map((one) => waypoints(one, groups, groupOf, placed, outer));
  ports(routes, places);
  const size = { width: placed.width + 2 * GAP.around, height: placed.height + 2 * GAP.around };
  return { ...size, boxes, places, routes: labelled(routes, places) };
}

function link(id, call, groups, groupOf, outer) {
  const [source, destination] = [groupOf.get(call.source), groupOf.get(call.destination)];
  if (source === destination) {
    const one = { id, call, from: call.source, to: call.destination };
    groups.get(source).links.push(one);
    return one;
  }
  const back = outer.get(source) > outer.get(destination);
  const [from, to] = back ? [call.destination, call.source] : [call.source, call.destination];
  const one = { id, call, from, to, back, across: true };
  groups.get(groupOf.get(from)).leaving.push(one);
  groups.get(groupOf.get(to)).entering.push(one);
  return one;
}

function arrangeInside(group) {
  const column = columns(group.members, group.links.map((one) => one.call));
  for (const one of group.links) {
    one.back = column.get(one.from) > column.get(one.to);
    if (one.back) [one.from, one.to] = [one.to, one.from];
  }
  const placed = arrange({
    column,
    links: group.links.filter((one) => one.from !== one.to),
    leaving: group.leaving,
    entering: group.entering,
    size: () => NODE,
    gap: { column: GAP.column, row: GAP.row },
  });
  const x = group.name ? GAP.inside : 0;
  const y = group.name ? GAP.inside / 2 + GAP.title : 0;
  group.inner = new Map([...placed.places].map(([name, at]) => [name, { x: at.x + x, y: at.y + y }]));
  group.lanes = new Map([...placed.lanes].map(([id, all]) => [id, all.map((lane) => ({ x1: lane.x1 + x, x2: lane.x2 + x, y: lane.y + y }))]));
  group.width = placed.width + 2 * x;
  group.height = placed.height + (group.name ? GAP.inside * 1.5 + GAP.title : 0);
  // Where a link crosses the edge of the box, from its top.
  group.anchor = (one, end) => {
    const lanes = group.lanes.get(one.id) ?? [];
    if (lanes.length > 0) return end === "from" ? lanes[lanes.length - 1].y : lanes[0].y;
    return group.inner.get(one[end]).y + NODE.height / 2;
  };
}

/// The horizontal stretches of a link outside of its two nodes, in the picture.
function waypoints(one, groups, groupOf, placed, outer) {
  const inBox = (name) => {
    const group = groups.get(groupOf.get(name));
    return (group.lanes.get(one.id) ?? []).map((lane) => ({ x1: lane.x1 + group.x, x2: lane.x2 + group.x, y: lane.y + group.y }));
  };
  if (!one.across) return { one, lanes: inBox(one.from) };
  const left = inBox(one.from);
  const right = inBox(one.to);
  const between = (placed.lanes.get(one.id) ?? []).map((lane) => ({
    x1: lane.x1 + GAP.around,
    x2: lane.x2 + GAP.around,
    y: lane.y + GAP.around,
  }));
  // Up to the edge of its column a line stays where it is: what stands above or below may be wider.
  const ends = placed.edges.get(outer.get(groupOf.get(one.from)));
  const begins = placed.edges.get(outer.get(groupOf.get(one.to)));
  return { one, lanes: [...left, ...between, ...right], ends: ends.right + GAP.around, begins: begins.left + GAP.around, left: left.length, right: right.length };
}

/// Spreads the ends of links over the sides of their nodes, in the order of where they go, and makes the points.
function ports(routes, places) {
  const sides = new Map();
  const at = (name, side, route, next) => {
    const key = JSON.stringify([name, side]);
    if (!sides.has(key)) sides.set(key, []);
    sides.get(key).push({ route, side, next });
  };
  const middle = (name) => places.get(name).y + NODE.height / 2;
  for (const route of routes) {
    const { one, lanes } = route;
    if (one.from === one.to) continue;
    at(one.from, "from", route, lanes.length > 0 ? lanes[0].y : middle(one.to));
    at(one.to, "to", route, lanes.length > 0 ? lanes[lanes.length - 1].y : middle(one.from));
  }
  for (const [key, ends] of sides) {
    const [name] = JSON.parse(key);
    ends.sort((a, b) => a.next - b.next || a.route.one.id - b.route.one.id);
    const step = Math.min(PORT, (NODE.height - 12) / ends.length);
    ends.forEach((end, index) => {
      end.route[end.side] = middle(name) + (index - (ends.length - 1) / 2) * step;
    });
  }
  for (const route of routes) {
    const { one } = route;
    const [from, to] = [places.get(one.from), places.get(one.to)];
    const points = [{ x: from.x + NODE.width, y: route.from ?? middle(one.from) }];
    const stretch = (x1, x2, y) => points.push({ x: x1, y }, { x: x2, y });
    const { lanes } = route;
    if (one.across) {
      points.push({ x: route.left > 0 ? points[0].x : route.ends, y: points[0].y });
      lanes.forEach((lane, index) => {
        const last = index === route.left - 1;
        const first = index === lanes.length - route.right;
        stretch(first ? Math.min(lane.x1, route.begins) : lane.x1, last ? Math.max(lane.x2, route.ends) : lane.x2, lane.y);
      });
      points.push({ x: route.right > 0 ? to.x : route.begins, y: route.to });
    } else {
      points.push({ ...points[0] });
      for (const lane of lanes) stretch(lane.x1, lane.x2, lane.y);
      points.push({ x: to.x, y: route.to ?? middle(one.to) });
    }
    points.push({ x: to.x, y: route.to ?? middle(one.to) });
    route.points = one.back ? points.reverse() : points;
  }
}

/// Finds a free place on each line for its rate: near its middle, off nodes and off the rates of others.
function labelled(routes, places) {
  const taken = [...places.values()].map((at) => ({ ...at, ...NODE }));
  const free = (box) => taken.every((other) => apart(box, other));
  return routes.map(({ one, points }) => {
    const spots = along(points, one.from === one.to);
    const around = (spot) => ({ x: spot.x - LABEL.width / 2, y: spot.y - LABEL.height / 2, width: LABEL.width, height: LABEL.height });
    const label = spots.find((spot) => free(around(spot))) ?? spots[0];
    taken.push(around(label));
    return { call: one.call, points, label: { x: label.x, y: label.y } };
  });
}

function apart(a, b) {
  return a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y || b.y + b.height <= a.y;
}

/// Places along a line, those near its middle first.
function along(points, loop) {
  if (loop) return [{ x: points[0].x + 44, y: points[0].y }];
  const spots = [];
  for (let index = 0; index + 1 < points.length; index += 1) {
    const [a, b] = [points[index], points[index + 1]];
    const length = Math.abs(b.x - a.x);
    const count = Math.max(1, Math.round(length / 12));
    for (let step = 0; length > 0 && step <= count; step += 1) {
      const t = step / count;
      const curve = index % 2 === 1;
      // The curve is a cubic with level ends, see `path` of the picture: x is nearly even in t, y is 3t² − 2t³.
      const x = curve ? 1.5 * t * (1 - t) * (1 - t) + 1.5 * t * t * (1 - t) + t * t * t : t;
      spots.push({ x: a.x + (b.x - a.x) * x, y: a.y + (b.y - a.y) * (curve ? t * t * (3 - 2 * t) : 0) });
    }
  }
  const middle = (points[0].x + points[points.length - 1].x) / 2;
  return spots.sort((a, b) => Math.abs(a.x - middle) - Math.abs(b.x - middle) || a.x - b.x).slice(0, SPOTS_MAX);
}

/// One level: rows within columns, lanes for what passes a column. `leaving` and `entering` links go on beyond the right
/// and the left edge. Anchors (`fromAt`, `toAt`) are where a link ends at an item, from its top; its middle where absent.
function arrange({ column, links, leaving = [], entering = [], size, gap }) {
  const count = Math.max(-1, ...column.values()) + 1;
  const stacks = Array.from({ length: count }, () => []);
  const items = new Map();
  for (const name of [...column.keys()].sort()) {
    const item = { name, width: size(name).width, height: size(name).height, top: 0, left: [], right: [] };
    items.set(name, item);
    stacks[column.get(name)].push(item);
  }
  const chains = new Map();
  const join = (a, aAt, b, bAt) => {
    a.right.push({ item: b, own: aAt, other: bAt });
    b.left.push({ item: a, own: bAt, other: aAt });
  };
  const chain = (id, first, last, from, to) => {
    const lanes = [];
    let before = from;
    for (let at = first; at <= last; at += 1) {
      const lane = { lane: id, width: 0, height: 0, top: 0, left: [], right: [] };
      stacks[at].push(lane);
      if (before) join(before.item, before.at, lane, 0);
      before = { item: lane, at: 0 };
      lanes.push(lane);
    }
    if (before && to) join(before.item, before.at, to.item, to.at);
    if (lanes.length > 0) chains.set(id, { first, lanes });
  };
  const end = (name, at) => ({ item: items.get(name), at: at ?? size(name).height / 2 });
  for (const one of links) chain(one.id, column.get(one.from) + 1, column.get(one.to) - 1, end(one.from, one.fromAt), end(one.to, one.toAt));
  for (const one of entering) chain(one.id, 0, column.get(one.to) - 1, null, end(one.to));
  for (const one of leaving) chain(one.id, column.get(one.from) + 1, count - 1, end(one.from), null);

  order(stacks, gap.row);
  rows(stacks, gap.row);

  const all = stacks.flat();
  const top = Math.min(0, ...all.map((item) => item.top));
  const places = new Map();
  const edges = new Map();
  let x = 0;
  stacks.forEach((stack, at) => {
    const width = Math.max(0, ...stack.map((item) => item.width));
    edges.set(at, { left: x, right: x + width });
    for (const item of stack) {
      item.top -= top;
      if (item.name !== undefined) places.set(item.name, { x: x + (width - item.width) / 2, y: item.top });
    }
    x += width + gap.column;
  });
  const lanes = new Map();
  for (const [id, { first, lanes: own }] of chains) {
    lanes.set(id, own.map((lane, index) => ({ x1: edges.get(first + index).left, x2: edges.get(first + index).right, y: lane.top })));
  }
  const height = Math.max(0, ...all.map((item) => item.top + item.height));
  return { places, lanes, edges, width: Math.max(0, x - gap.column), height };
}

/// The least distance of two neighbours in a column.
function distance(above, below, row) {
  const lanes = (above.name === undefined) + (below.name === undefined);
  return lanes === 2 ? LANE.beside : lanes === 1 ? LANE.off : row;
}

/// Where a link's other ends would have this item, on average; `undefined` where it has none there.
function wanted(item, ends) {
  if (ends.length === 0) return undefined;
  return ends.reduce((sum, end) => sum + end.item.top + end.other - end.own, 0) / ends.length;
}

/// Orders each column by where its neighbours stand, to and fro.
function order(stacks, row) {
  const settle = (stack) => {
    let y = 0;
    stack.forEach((item, index) => {
      if (index > 0) y += distance(stack[index - 1], item, row);
      item.top = y;
      y += item.height;
    });
    const half = y / 2;
    for (const item of stack) item.top -= half;
  };
  stacks.forEach(settle);
  for (let round = 0; round < 8; round += 1) {
    const forward = round % 2 === 0;
    for (const stack of forward ? stacks : [...stacks].reverse()) {
      const weight = new Map(stack.map((item) => [item, (wanted(item, forward ? item.left : item.right) ?? item.top) + item.height / 2]));
      // What weighs the same keeps its order: the sort is stable.
      stack.sort((a, b) => weight.get(a) - weight.get(b));
      settle(stack);
    }
  }
}

/// Moves what is ordered to where its neighbours are, as near as the order and the distances allow (least squares, by
/// pooling adjacent violators).
function rows(stacks, row) {
  for (let round = 0; round < 12; round += 1) {
    const forward = round % 2 === 0;
    for (const stack of forward ? stacks : [...stacks].reverse()) {
      let offset = 0;
      const pools = [];
      stack.forEach((item, index) => {
        if (index > 0) offset += stack[index - 1].height + distance(stack[index - 1], item, row);
        const near = round < 8 ? (forward ? item.left : item.right) : [...item.left, ...item.right];
        // Who has nobody to be near to stays; a lane is bent less gladly than a service is moved.
        const at = wanted(item, near) ?? item.top;
        const weight = item.name === undefined ? 2 : Math.max(0.1, near.length);
        pools.push({ sum: (at - offset) * weight, weight, items: [{ item, offset }] });
        while (pools.length > 1 && mean(pools[pools.length - 2]) > mean(pools[pools.length - 1])) {
          const last = pools.pop();
          const before = pools[pools.length - 1];
          before.sum += last.sum;
          before.weight += last.weight;
          before.items.push(...last.items);
        }
      });
      for (const pool of pools) for (const { item, offset: from } of pool.items) item.top = mean(pool) + from;
    }
  }
}

function mean(pool) {
  return pool.sum / pool.weight;
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
