//! A line of those that wait: first come, first served, and whoever goes away leaves nothing behind.
//!
//! A doubly linked list over a slab, so that leaving from the middle costs nothing and nothing dead stays in it. Pure: the
//! shell keeps a task for each [`Key`] and wakes the one that was given what it waits for. Cancelling is O(1) and may happen
//! at any time, also between being given it and noticing.

use weft_stdx::clock::Tick;

/// End of a list.
const NIL: u32 = u32::MAX;

/// Names one that waits, to the shell: under which key its waiting task is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// A small number that nobody else has who waits.
    pub(crate) fn place(self) -> usize {
        self.index as usize
    }
}

/// Those that wait, and those that were given what they waited for and have not noticed yet.
#[derive(Debug)]
pub(crate) struct Line {
    len: u32,
    head: u32,
    tail: u32,
    free: u32,
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    generation: u32,
    state: Waiting,
    since: Tick,
    deadline: Tick,
    before: u32,
    after: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Free,
    InLine,
    Given,
    /// Its deadline had passed when its turn came.
    TooLate,
}

impl Default for Line {
    fn default() -> Self {
        Line { len: 0, head: NIL, tail: NIL, free: NIL, nodes: Vec::new() }
    }
}

impl Line {
    /// How many wait.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// How many it had at once, at most.
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.nodes.len()
    }

    /// Lines up who came at `since`, behind all that came before it or with it. Who comes last is not compared with all.
    pub(crate) fn push(&mut self, since: Tick, deadline: Tick) -> Key {
        let (mut before, mut after) = (self.tail, NIL);
        while before != NIL && self.nodes[before as usize].since > since {
            (after, before) = (before, self.nodes[before as usize].before);
        }
        let state = Waiting::InLine;
        let node = |generation| Node { generation, state, since, deadline, before, after };
        let index = if self.free == NIL {
            self.nodes.push(node(0));
            (self.nodes.len() - 1) as u32
        } else {
            let index = self.free;
            let old = &self.nodes[index as usize];
            self.free = old.after;
            self.nodes[index as usize] = node(old.generation);
            index
        };
        match before {
            NIL => self.head = index,
            before => self.nodes[before as usize].after = index,
        }
        match after {
            NIL => self.tail = index,
            after => self.nodes[after as usize].before = index,
        }
        self.len += 1;
        Key { index, generation: self.nodes[index as usize].generation }
    }

    /// Gives the first that still has time what it waits for. Those before it are out of the line, but keep their keys, which
    /// their own timers cancel.
    pub(crate) fn give(&mut self, now: Tick) -> Option<Key> {
        while self.head != NIL {
            let index = self.head;
            self.unlink(index);
            let node = &mut self.nodes[index as usize];
            if now < node.deadline {
                node.state = Waiting::Given;
                return Some(Key { index, generation: node.generation });
            }
            node.state = Waiting::TooLate;
        }
        None
    }

    /// Takes the first out of the line if its deadline has passed; it keeps its key.
    pub(crate) fn expire(&mut self, now: Tick) -> Option<Key> {
        let index = self.head;
        let node = self.nodes.get_mut(index as usize).filter(|node| node.deadline <= now)?;
        node.state = Waiting::TooLate;
        let key = Key { index, generation: node.generation };
        self.unlink(index);
        Some(key)
    }

    /// Whether one still stands in line.
    pub(crate) fn holds(&self, key: Key) -> bool {
        self.nodes[key.index as usize].state == Waiting::InLine
    }

    /// Ends the wait of one that was given what it waits for: since when it waited, and its deadline. `None` if it still waits.
    pub(crate) fn claim(&mut self, key: Key) -> Option<(Tick, Tick)> {
        let Node { state, since, deadline, .. } = self.nodes[key.index as usize];
        if state != Waiting::Given {
            return None;
        }
        self.recycle(key.index);
        Some((since, deadline))
    }

    /// Ends the wait of one that goes away. True if it had been given what it waited for, which then is another's.
    pub(crate) fn cancel(&mut self, key: Key) -> bool {
        let state = self.nodes[key.index as usize].state;
        if state == Waiting::InLine {
            self.unlink(key.index);
        }
        self.recycle(key.index);
        state == Waiting::Given
    }

    fn unlink(&mut self, index: u32) {
        let Node { before, after, .. } = self.nodes[index as usize];
        match before {
            NIL => self.head = after,
            before => self.nodes[before as usize].after = after,
        }
        match after {
            NIL => self.tail = before,
            after => self.nodes[after as usize].before = before,
        }
        self.len -= 1;
    }

    fn recycle(&mut self, index: u32) {
        let node = &mut self.nodes[index as usize];
        node.state = Waiting::Free;
        node.generation = node.generation.wrapping_add(1);
        node.after = self.free;
        self.free = index;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_back_stands_where_it_came() {
        let mut line = Line::default();
        let [third, first, late, second, second_too] =
            [30, 10, 40, 20, 20].map(|ms| line.push(Tick::from_ms(ms), Tick::from_ms(ms + 100)));
        assert!(!line.cancel(late));
        assert_eq!(line.claim(first), None);
        let order = [(); 5].map(|()| line.give(Tick::ZERO));
        assert_eq!(order, [Some(first), Some(second), Some(second_too), Some(third), None]);
        assert_eq!(line.claim(second), Some((Tick::from_ms(20), Tick::from_ms(120))));
        assert!(line.cancel(third));
        assert_eq!(line.len(), 0);
    }

    #[test]
    fn whose_time_is_over_leaves_the_line_from_its_front() {
        let mut line = Line::default();
        assert_eq!(line.expire(Tick::NEVER), None);
        let [first, second, third] =
            [10, 20, 30].map(|ms| line.push(Tick::from_ms(ms), Tick::from_ms(ms + 100)));
        assert_eq!(line.expire(Tick::from_ms(109)), None);
        let over = [(); 3].map(|()| line.expire(Tick::from_ms(120)));
        assert_eq!(over, [Some(first), Some(second), None]);
        assert_eq!([first, second, third].map(|key| line.holds(key)), [false, false, true]);
        assert!(!line.cancel(first) && !line.cancel(second));
        assert_eq!((line.len(), line.give(Tick::ZERO)), (1, Some(third)));
    }
}
