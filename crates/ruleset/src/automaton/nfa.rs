//! The nondeterministic automaton: a tree of tokens that shares the beginnings of patterns.
//!
//! A node stands for "this much of a pattern has been met". A star node loops on itself and is entered without
//! reading; `/**/` is one node that is arrived at (after its first `/`) and one that waits for its last.

use palisade_policy::glob::{ByteSet, Token};

use super::PatternIndex;
use crate::pattern::{MEMFD, Pattern};

/// A node's index.
pub(super) type NodeId = u32;

/// What a node may read without leaving.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Loop {
    None,
    /// Any byte but `/`.
    Component,
    /// Any byte.
    Everything,
}

#[derive(Debug)]
struct Node {
    bytes: Vec<(u8, NodeId)>,
    any: Option<NodeId>,
    sets: Vec<(ByteSet, NodeId)>,
    /// Entered without reading.
    star: Option<NodeId>,
    double_star: Option<NodeId>,
    /// The node that a `/**/` arrives at by its first `/`.
    double_slash: Option<NodeId>,
    /// Of the node that a `/**/` arrives at: its waiting twin. Of the twin: where its last `/` leads back to.
    twin: Option<NodeId>,
    waits: bool,
    loops: Loop,
    accepts: Vec<PatternIndex>,
}

/// The automaton, and the nodes that a path and a memfd name start from.
pub(super) struct Nfa {
    nodes: Vec<Node>,
    path_root: NodeId,
    memfd_root: NodeId,
}

// === impl Nfa ===

impl Nfa {
    pub(super) fn new(patterns: &[(Pattern, PatternIndex)]) -> Self {
        let mut nfa = Self { nodes: vec![Node::new(Loop::None), Node::new(Loop::None)], path_root: 0, memfd_root: 1 };
        for (pattern, index) in patterns {
            let names_memfd = pattern.literal_beginning().starts_with(MEMFD);
            let mut at = if names_memfd { nfa.memfd_root } else { nfa.path_root };
            for token in pattern.tokens() {
                at = nfa.follow(at, token);
            }
            let accepts = &mut nfa.nodes[at as usize].accepts;
            if accepts.last() != Some(index) {
                accepts.push(*index);
            }
        }
        nfa
    }

    /// The node that `token` leads to from `at`, made if it is not there.
    fn follow(&mut self, at: NodeId, token: &Token) -> NodeId {
        let node = &self.nodes[at as usize];
        let known = match token {
            Token::Byte(b) => node.bytes.iter().find(|(c, _)| c == b).map(|(_, n)| *n),
            Token::AnyByte => node.any,
            Token::Star => node.star,
            Token::DoubleStar => node.double_star,
            Token::SlashDoubleStarSlash => node.double_slash,
            Token::Set(set) => node.sets.iter().find(|(s, _)| s == set).map(|(_, n)| *n),
        };
        if let Some(known) = known {
            return known;
        }
        let loops = match token {
            Token::Star => Loop::Component,
            Token::DoubleStar => Loop::Everything,
            Token::Byte(_) | Token::AnyByte | Token::Set(_) | Token::SlashDoubleStarSlash => Loop::None,
        };
        let new = self.push(Node::new(loops));
        if *token == Token::SlashDoubleStarSlash {
            let twin = self.push(Node { waits: true, twin: Some(new), ..Node::new(Loop::Everything) });
            self.nodes[new as usize].twin = Some(twin);
        }
        let node = &mut self.nodes[at as usize];
        match token {
            Token::Byte(b) => node.bytes.push((*b, new)),
            Token::AnyByte => node.any = Some(new),
            Token::Star => node.star = Some(new),
            Token::DoubleStar => node.double_star = Some(new),
            Token::SlashDoubleStarSlash => node.double_slash = Some(new),
            Token::Set(set) => node.sets.push((*set, new)),
        }
        new
    }

    fn push(&mut self, node: Node) -> NodeId {
        let id = self.nodes.len();
        self.nodes.push(node);
        // A pattern adds at most two nodes a token and is at most 4,095 bytes: 2^32 nodes would take 500,000 such.
        NodeId::try_from(id).unwrap_or(NodeId::MAX)
    }

    /// The states before anything is read: of a path, and of a memfd name.
    pub(super) fn starts(&self) -> [Vec<NodeId>; 2] {
        [self.path_root, self.memfd_root].map(|root| {
            let mut set = Vec::new();
            self.enter(&mut set, root);
            finish(set)
        })
    }

    /// The states after reading `byte`.
    pub(super) fn step(&self, set: &[NodeId], byte: u8) -> Vec<NodeId> {
        let mut next = Vec::new();
        for id in set {
            let node = &self.nodes[*id as usize];
            let stays = match node.loops {
                Loop::None => false,
                Loop::Component => byte != b'/',
                Loop::Everything => true,
            };
            if stays {
                self.enter(&mut next, *id);
            }
            if let Some((_, to)) = node.bytes.iter().find(|(b, _)| *b == byte) {
                self.enter(&mut next, *to);
            }
            for (_, to) in node.sets.iter().filter(|(s, _)| s.contains(byte)) {
                self.enter(&mut next, *to);
            }
            if byte == b'/' {
                let back = node.twin.filter(|_| node.waits);
                for to in [node.double_slash, back].into_iter().flatten() {
                    self.enter(&mut next, to);
                }
            } else if let Some(to) = node.any {
                self.enter(&mut next, to);
            }
        }
        finish(next)
    }

    fn enter(&self, set: &mut Vec<NodeId>, id: NodeId) {
        set.push(id);
        let node = &self.nodes[id as usize];
        let twin = node.twin.filter(|_| !node.waits);
        for to in [node.star, node.double_star, twin].into_iter().flatten() {
            self.enter(set, to);
        }
    }

    /// The bytes on which the set may go elsewhere than on most bytes.
    pub(super) fn special_bytes(&self, set: &[NodeId]) -> ByteSet {
        let mut special = ByteSet::default();
        for id in set {
            let node = &self.nodes[*id as usize];
            node.bytes.iter().for_each(|(b, _)| special.insert(*b));
            for (in_set, _) in &node.sets {
                (1..=255_u8).filter(|b| in_set.contains(*b)).for_each(|b| special.insert(b));
            }
            if node.loops == Loop::Component || node.any.is_some() || node.double_slash.is_some() || node.waits {
                special.insert(b'/');
            }
        }
        special
    }

    /// The patterns met where the set is at the end of the text, ascending.
    pub(super) fn accepts(&self, set: &[NodeId]) -> Vec<PatternIndex> {
        let mut met: Vec<PatternIndex> = set.iter().flat_map(|id| self.nodes[*id as usize].accepts.iter().copied()).collect();
        met.sort_unstable();
        met.dedup();
        met
    }
}

// === impl Node ===

impl Node {
    fn new(loops: Loop) -> Self {
        Self {
            bytes: Vec::new(),
            any: None,
            sets: Vec::new(),
            star: None,
            double_star: None,
            double_slash: None,
            twin: None,
            waits: false,
            loops,
            accepts: Vec::new(),
        }
    }
}

fn finish(mut set: Vec<NodeId>) -> Vec<NodeId> {
    set.sort_unstable();
    set.dedup();
    set
}
