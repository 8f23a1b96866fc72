//! The YAML shape: text in, one tree for each document out. No meaning, no rule about VIPs.
//!
//! Owned by `config`. A tree of our own, and not `serde_yaml::Value`, for one reason: aliases. The parser bounds their
//! depth (128) and their number, not what they expand to, and a few kilobytes of them can ask for terabytes. This tree
//! counts what it builds and stops. Nothing here may panic, whatever the bytes.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor};

use super::refusal::{Place, Problem, harmless, quoted};

/// The largest file that is read, in bytes. A whole machine config with its inline manifests has some hundred
/// kilobytes; the parser needs some fifty times the file in memory.
pub(super) const LARGEST_FILE: usize = 4 * 1024 * 1024;
/// The most nodes the trees of one file may have with all aliases expanded. A large machine config has 5000.
const MOST_NODES: usize = 250_000;
/// The most bytes of text in them, likewise.
const MOST_BYTES: usize = 4 * LARGEST_FILE;

/// How deep brackets may nest, counted in the text as it stands. The tree stops at 128, but only after the parser's
/// scanner, which for each bracket walks all that are open: megabytes of `{a: ` would take it hours. Far above what
/// unbalanced brackets in a script or a picture add up to.
const DEEPEST_BRACKETS: usize = 10_000;

/// How much of the parser's word is shown, in characters.
const MOST_SHOWN: usize = 400;

/// One value.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Node {
    Null,
    Bool(bool),
    /// A number as its value is written, which need not be how the file writes it (`0x10`).
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Map),
}

impl Node {
    /// How people see it in a message; containers by their kind only.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Null => "null".into(),
            Self::Bool(b) => b.to_string(),
            Self::Number(n) => n.clone(),
            Self::Text(t) => quoted(t),
            Self::List(_) => "a list".into(),
            Self::Map(_) => "a mapping".into(),
        }
    }
}

/// A mapping, in the file's order, each key once.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Map(Vec<(String, Node)>);

/// YAML's merge key: `<<: *defaults` lends the keys of another mapping.
const MERGE: &str = "<<";

impl Map {
    /// The value of `key`, if it is there and not null; a key that is there wins over a merged one.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.find(key).filter(|node| **node != Node::Null)
    }

    /// The value of `key`, null or not.
    pub(super) fn find(&self, key: &str) -> Option<&Node> {
        let own = self.0.iter().find(|(k, _)| k == key).map(|(_, node)| node);
        own.or_else(|| self.merged().find_map(|map| map.find(key)))
    }

    /// Every key, the merged ones too.
    pub(super) fn keys(&self) -> Vec<&str> {
        let own = self.0.iter().map(|(key, _)| key.as_str()).filter(|key| *key != MERGE);
        own.chain(self.merged().flat_map(Map::keys)).collect()
    }

    fn merged(&self) -> impl Iterator<Item = &Map> {
        let lent = self.0.iter().find(|(key, _)| key == MERGE).map(|(_, node)| node);
        let lent = match lent {
            Some(Node::List(nodes)) => nodes.as_slice(),
            Some(node) => std::slice::from_ref(node),
            None => &[],
        };
        lent.iter().filter_map(|node| if let Node::Map(map) = node { Some(map) } else { None })
    }
}

/// The documents of a file, with the place each is known by.
pub(super) fn documents(text: &str) -> Result<Vec<(Place, Node)>, Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if bracket_depth(text) > DEEPEST_BRACKETS {
        let text = format!("more than {DEEPEST_BRACKETS} brackets are opened and not closed");
        return Err(Problem { place: Place::file().to_string(), text });
    }
    let budget = Budget { nodes: Cell::new(MOST_NODES), bytes: Cell::new(MOST_BYTES) };
    let mut roots = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        roots.push(Seed(&budget).deserialize(document).map_err(syntax)?);
    }
    let several = roots.iter().filter(|root| **root != Node::Null).count() > 1;
    let place = |i: usize| if several { Place::document(i + 1) } else { Place::file() };
    Ok(roots.into_iter().enumerate().map(|(i, root)| (place(i), root)).collect())
}

fn bracket_depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// The parser's word, with the place first as everywhere else. It may carry keys of the file, as they are.
fn syntax(error: serde_yaml::Error) -> Problem {
    let text = harmless(&error.to_string(), MOST_SHOWN);
    let Some(at) = error.location() else { return Problem { place: Place::file().to_string(), text } };
    let (line, column) = (at.line(), at.column());
    let text = text.replacen(&format!(" at line {line} column {column}"), "", 1);
    Problem { place: format!("line {line}, column {column}"), text }
}

/// What may still be built.
struct Budget {
    nodes: Cell<usize>,
    bytes: Cell<usize>,
}

impl Budget {
    fn spend<E: Error>(left: &Cell<usize>, cost: usize, what: &str) -> Result<(), E> {
        let rest = left.get().checked_sub(cost).ok_or_else(|| E::custom(format!("too much YAML: more than {what}")))?;
        left.set(rest);
        Ok(())
    }

    fn node<E: Error>(&self) -> Result<(), E> {
        Self::spend(&self.nodes, 1, "250000 values, with its aliases expanded")
    }

    fn text<E: Error>(&self, text: &str) -> Result<String, E> {
        Self::spend(&self.bytes, text.len(), "16 MiB of text, with its aliases expanded")?;
        Ok(text.to_owned())
    }
}

/// Builds one node and pays for it.
#[derive(Clone, Copy)]
struct Seed<'b>(&'b Budget);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;
    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Node, D::Error> {
        self.0.node()?;
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }
    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }
    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }
    fn visit_bool<E>(self, b: bool) -> Result<Node, E> {
        Ok(Node::Bool(b))
    }
    fn visit_i64<E>(self, n: i64) -> Result<Node, E> {
        Ok(Node::Number(n.to_string()))
    }
    fn visit_u64<E>(self, n: u64) -> Result<Node, E> {
        Ok(Node::Number(n.to_string()))
    }
    fn visit_i128<E>(self, n: i128) -> Result<Node, E> {
        Ok(Node::Number(n.to_string()))
    }
    fn visit_u128<E>(self, n: u128) -> Result<Node, E> {
        Ok(Node::Number(n.to_string()))
    }
    fn visit_f64<E>(self, n: f64) -> Result<Node, E> {
        Ok(Node::Number(format!("{n:?}")))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Node, E> {
        self.0.text(text).map(Node::Text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = from.next_element_seed(self)? {
            list.push(node);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Node, A::Error> {
        let (mut pairs, mut seen) = (Vec::new(), HashSet::new());
        while let Some((key, node)) = from.next_entry_seed(self, self)? {
            let Some(key) = key_text(key) else { continue };
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format!("the key {} stands here twice", quoted(&key))));
            }
            pairs.push((key, node));
        }
        Ok(Node::Map(Map(pairs)))
    }

    /// A value with a tag of its own (`!secret x`): the tag says nothing to us.
    fn visit_enum<A: EnumAccess<'de>>(self, from: A) -> Result<Node, A::Error> {
        let (_tag, value) = from.variant::<String>()?;
        value.newtype_variant_seed(self)
    }
}

/// Nothing we look for stands under a key that is a list or a mapping.
fn key_text(key: Node) -> Option<String> {
    match key {
        Node::Text(text) | Node::Number(text) => Some(text),
        Node::Bool(b) => Some(b.to_string()),
        Node::Null => Some("null".into()),
        Node::List(_) | Node::Map(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Map {
        let Node::Map(map) = documents(text).unwrap().remove(0).1 else { panic!("no mapping: {text}") };
        map
    }

    fn refused(text: &str) -> String {
        documents(text).unwrap_err().to_string()
    }

    #[test]
    fn merged_keys_are_lent_and_own_keys_win() {
        let map = only("x: &x {a: 1, b: 1}\ny: &y {<<: *x, c: 3}\nz: {<<: [*y], b: 2}");
        let Some(Node::Map(z)) = map.get("z") else { panic!() };
        let number = |key: &str| z.get(key).map(Node::shown);
        assert_eq!([number("a"), number("b"), number("c")], [Some("1".into()), Some("2".into()), Some("3".into())]);
        assert_eq!(z.keys(), ["b", "c", "a", "b"]);
    }

    #[test]
    fn a_tag_is_passed_over_and_odd_keys_do_no_harm() {
        let map = only("a: !secret x\n1: one\n? [1, 2]\n: list\n? {m: 1}\n: map\n~: nothing\ntrue: yes");
        assert_eq!(map.get("a"), Some(&Node::Text("x".into())));
        assert_eq!(map.keys(), ["a", "1", "null", "true"]);
    }

    #[test]
    fn a_syntax_error_says_where() {
        assert_eq!(
            refused("a: 1\nb: [1,"),
            "line 3, column 1: did not find expected node content, while parsing a flow node"
        );
        assert_eq!(refused("a: &a [*b]"), "line 1, column 8: unknown anchor");
        assert!(refused("a: 1\nb: {c: 1, c: 2}").ends_with("b: the key \"c\" stands here twice"));
    }

    #[test]
    fn laughs_do_not_multiply() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..30 {
            let line = vec![format!("*a{}", i - 1); 10].join(", ");
            bomb += &format!("a{i}: &a{i} [{line}]\n");
        }
        assert!(refused(&bomb).contains("too much YAML: more than 250000 values"), "{}", refused(&bomb));
        let long = format!("a: &a {}\nb: [{}]", "x".repeat(1 << 20), vec!["*a"; 20].join(", "));
        assert!(refused(&long).contains("too much YAML: more than 16 MiB"), "{}", refused(&long));
        assert!(refused("a: &a [*a]").contains("recursion limit"));
    }

    #[test]
    fn deep_nesting_is_refused_and_not_run_into() {
        for open in ["[", "{a: ", "- ", "? "] {
            assert!(documents(&open.repeat(2_000)).is_err(), "{open}");
            assert!(documents(&open.repeat(500_000)).is_err(), "{open}");
        }
    }
}
