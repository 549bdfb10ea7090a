//! A trie over path segments: finds the patterns that match a path, the most specific first, without allocating.
//!
//! Literal before parameter before rest, decided segment by segment from the left; where the most specific pattern turns
//! out not to apply (its method or fields differ), the search goes on to the next.

use std::cmp::Ordering;

use weft_model::pattern::{PathPattern, Segment};

#[derive(Default)]
struct Node {
    /// In the order of [`Literal::order`].
    literals: Vec<Literal>,
    one: Option<u32>,
    rest: Vec<u32>,
    ends: Vec<u32>,
}

/// A segment that is written out.
struct Literal {
    shape: Shape,
    text: Box<str>,
    child: u32,
}

/// Length and first bytes of a segment: they tell most segments apart, and are compared without a call.
type Shape = (usize, u64);

fn shape_of(text: &str) -> Shape {
    let text = text.as_bytes();
    let first = text.iter().take(8).fold(0, |word, byte| word << 8 | u64::from(*byte));
    (text.len(), first)
}

impl Literal {
    fn order(&self, shape: Shape, text: &str) -> Ordering {
        self.shape
            .cmp(&shape)
            .then_with(|| if shape.0 > 8 { (*self.text).cmp(text) } else { Ordering::Equal })
    }
}

impl Node {
    /// Where a literal is, or belongs.
    fn find(&self, text: &str) -> Result<usize, usize> {
        let shape = shape_of(text);
        self.literals.binary_search_by(|have| have.order(shape, text))
    }
}

/// Patterns with a number each.
pub(crate) struct Trie {
    nodes: Vec<Node>,
}

impl Default for Trie {
    fn default() -> Self {
        Trie { nodes: vec![Node::default()] }
    }
}

impl Trie {
    /// Adds a pattern. Values of equal patterns are visited in the order in which they were added.
    pub(crate) fn insert(&mut self, pattern: &PathPattern, value: u32) {
        let mut at = 0;
        for segment in &pattern.segments {
            at = match segment {
                Segment::Literal(text) => self.literal_child(at, text),
                Segment::Param(_) | Segment::Any => match self.nodes[at].one {
                    Some(child) => child as usize,
                    None => {
                        let child = self.add();
                        self.nodes[at].one = Some(child);
                        child as usize
                    }
                },
                Segment::Rest => {
                    self.nodes[at].rest.push(value);
                    return;
                }
            };
        }
        self.nodes[at].ends.push(value);
    }

    fn literal_child(&mut self, at: usize, text: &str) -> usize {
        match self.nodes[at].find(text) {
            Ok(index) => self.nodes[at].literals[index].child as usize,
            Err(index) => {
                let child = self.add();
                let literal = Literal { shape: shape_of(text), text: text.into(), child };
                self.nodes[at].literals.insert(index, literal);
                child as usize
            }
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a plan holds far fewer than 2^32 segments")]
    fn add(&mut self) -> u32 {
        self.nodes.push(Node::default());
        (self.nodes.len() - 1) as u32
    }

    /// Calls `accept` with the value of each pattern that matches `path`, most specific first, until it returns true.
    /// Returns whether it did.
    pub(crate) fn visit(&self, path: &str, accept: &mut dyn FnMut(u32) -> bool) -> bool {
        let Some(rest) = path.strip_prefix('/') else { return false };
        self.descend(0, (!rest.is_empty()).then_some(rest), accept)
    }

    /// Depth is bounded by the longest pattern, not by the path.
    fn descend(&self, at: usize, remaining: Option<&str>, accept: &mut dyn FnMut(u32) -> bool) -> bool {
        let node = &self.nodes[at];
        if let Some(text) = remaining {
            let (part, next) = match memchr::memchr(b'/', text.as_bytes()) {
                Some(index) => (&text[..index], Some(&text[index + 1..])),
                None => (text, None),
            };
            if let Ok(index) = node.find(part)
                && self.descend(node.literals[index].child as usize, next, accept)
            {
                return true;
            }
            if let Some(child) = node.one
                && !part.is_empty()
                && self.descend(child as usize, next, accept)
            {
                return true;
            }
        } else if node.ends.iter().any(|value| accept(*value)) {
            return true;
        }
        node.rest.iter().any(|value| accept(*value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(patterns: &[&str], path: &str) -> Vec<String> {
        let mut trie = Trie::default();
        for (index, pattern) in patterns.iter().enumerate() {
            trie.insert(&pattern.parse().unwrap(), u32::try_from(index).unwrap());
        }
        let mut seen = Vec::new();
        trie.visit(path, &mut |value| {
            seen.push(patterns[value as usize].to_owned());
            false
        });
        seen
    }

    #[test]
    fn the_most_specific_pattern_comes_first() {
        let patterns = ["/**", "/orders/**", "/orders/{id}", "/orders/42", "/orders/{id}/items", "/{a}/{b}"];
        assert_eq!(
            found(&patterns, "/orders/42"),
            ["/orders/42", "/orders/{id}", "/orders/**", "/{a}/{b}", "/**"]
        );
        assert_eq!(found(&patterns, "/orders/7/items"), ["/orders/{id}/items", "/orders/**", "/**"]);
        assert_eq!(found(&patterns, "/"), ["/**"]);
        assert_eq!(found(&patterns, "/orders"), ["/orders/**", "/**"]);
        assert_eq!(found(&["/orders/", "/orders"], "/orders/"), ["/orders/"]);
        assert!(found(&["/a/{b}"], "/a/").is_empty());
    }

    #[test]
    fn it_agrees_with_the_patterns_themselves() {
        // Two that differ behind what is compared first, and two by the zero byte at their end.
        let words = ["a", "", "cc", "customers", "customerz", "a\0", "{x}", "*", "**"];
        let mut rng = fastrand::Rng::with_seed(11);
        for _ in 0..3000 {
            let text = |rng: &mut fastrand::Rng, wild: bool| {
                let count = rng.usize(1..5);
                let bound = if wild { words.len() } else { 6 };
                (0..count).fold(String::new(), |text, _| text + "/" + words[rng.usize(..bound)])
            };
            let Ok(pattern) = text(&mut rng, true).parse::<PathPattern>() else { continue };
            let path = text(&mut rng, false);
            let mut trie = Trie::default();
            trie.insert(&pattern, 0);
            assert_eq!(trie.visit(&path, &mut |_| true), pattern.matches(&path), "{pattern} against {path}");
        }
    }
}
