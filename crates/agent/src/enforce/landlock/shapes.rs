//! Where a name can still be met: prunes the walk over the file tree. It decides nothing.
//!
//! A shape is a way in which a rule (or the base set) names objects, as tokens over the whole path. While the walk
//! goes down, each shape's matching states are carried along, so that one component costs only its own bytes. Shapes
//! take in at least what the rule set's own patterns do; where one may match, `decide()` is asked.

use palisade_policy::glob::{Glob, Token};
use palisade_policy::model::{Action, Class, PathName, PathObject};
use palisade_ruleset::{BASE_SET, RuleBody, RuleSet, Tree};

/// The shapes that one question depends on.
#[derive(Clone, Debug, Default)]
pub(super) struct Shapes {
    shapes: Vec<Shape>,
}

/// One way to name objects.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shape {
    tokens: Vec<Token>,
    /// Of the base set, or of what the rule set adds itself.
    built_in: bool,
    /// Tells objects apart by more than their names, so that not even meeting all of them makes them alike.
    apart: bool,
}

/// How far the shapes have been matched: after a directory's path and its `/`. Shapes that cannot be met below are gone.
#[derive(Clone, Debug)]
pub(super) struct Position {
    live: Vec<(usize, Vec<State>)>,
}

/// What can be said of the names below a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// The same shapes meet all of them: one verdict for all.
    Alike,
    /// Only shapes that may begin anywhere tell them apart.
    Floating,
    /// Some shape that names this place tells them apart.
    Mixed,
}

/// What is asked of each object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// May it be executed?
    Exec,
    /// May it be read?
    Read,
    /// May it be written?
    Write,
}

/// A place in a shape: token, and whether inside the any-bytes part of a `/**/`.
type State = (usize, bool);

// === impl Shapes ===

impl Shapes {
    /// The shapes of the rules that this kind of access can depend on, with their literal beginnings resolved.
    pub(super) fn of(rules: &RuleSet, question: Question, tree: &dyn Tree) -> Self {
        let class = if question == Question::Exec { Class::Process } else { Class::File };
        // In a class without an Allow everything passes but what a Block denies.
        let lists = rules.rules().iter().any(|r| r.class() == class && !r.audited && r.action() == Action::Allow);
        let mut out = Self::default();
        for rule in rules.rules().iter().filter(|r| r.class() == class && (lists || (!r.audited && r.action() == Action::Block)))
        {
            match &rule.body {
                RuleBody::Process(body) => out.object(&body.object, tree),
                RuleBody::File(body) => {
                    let only_writes = body.read_only && !body.owner_only;
                    if lists || question == Question::Write || !only_writes {
                        out.object(&body.object, tree);
                    }
                }
                RuleBody::Network(_) | RuleBody::Capability(_) => {}
            }
        }
        if class == Class::File {
            out.built_in(rules, question, tree);
        }
        out.shapes.dedup();
        out
    }

    fn built_in(&mut self, rules: &RuleSet, question: Question, tree: &dyn Tree) {
        let workload = rules.workload();
        let first = self.shapes.len();
        if workload.base_set {
            let entries = BASE_SET.iter().filter(|entry| entry.write || question == Question::Read);
            for glob in entries.filter_map(|entry| Glob::parse(entry.pattern).ok()) {
                self.glob(&glob, tree);
                if !Glob::is_magic(glob.text()) {
                    self.exact(glob.text().as_bytes(), tree);
                }
            }
        }
        for file in &workload.stdio {
            self.exact(&file.path, tree);
        }
        let device = self.shapes.len();
        // The built-in rule `device` tells block devices apart.
        for directory in [b"/dev/".as_slice(), b"/dev/mapper/"] {
            self.push(bytes(directory).chain([Token::Star]).collect());
        }
        self.shapes[device..].iter_mut().for_each(|shape| shape.apart = true);
        self.shapes[first..].iter_mut().for_each(|shape| shape.built_in = true);
    }

    fn object(&mut self, object: &PathObject, tree: &dyn Tree) {
        match object {
            PathObject::Path(PathName { literal, glob }) => {
                self.exact(literal.as_bytes(), tree);
                if let Some(glob) = glob {
                    self.glob(glob, tree);
                }
            }
            PathObject::Directory { dir: PathName { literal, glob }, recursive } => {
                let tail = if *recursive { Token::DoubleStar } else { Token::Star };
                let itself = literal.strip_suffix('/').unwrap_or(literal);
                for path in resolutions(itself.as_bytes(), tree) {
                    let slash = (path != b"/").then_some(Token::Byte(b'/'));
                    self.push(bytes(&path).chain(slash).chain([tail.clone()]).collect());
                    self.push(bytes(&path).collect());
                }
                if let Some(glob) = glob {
                    for sequence in glob.sequences() {
                        let itself = sequence.strip_suffix(&[Token::Byte(b'/')]).unwrap_or(sequence);
                        self.sequence(itself, tree);
                        let below: Vec<Token> = sequence.iter().cloned().chain([tail.clone()]).collect();
                        self.sequence(&below, tree);
                    }
                }
            }
            PathObject::Pattern(glob) => self.glob(glob, tree),
            PathObject::ExecName(name) => {
                self.push(std::iter::once(Token::SlashDoubleStarSlash).chain(bytes(name.as_bytes())).collect());
            }
        }
    }

    fn exact(&mut self, path: &[u8], tree: &dyn Tree) {
        for path in resolutions(path, tree) {
            self.push(bytes(&path).collect());
        }
    }

    fn glob(&mut self, glob: &Glob, tree: &dyn Tree) {
        if !glob.is_memfd() {
            glob.sequences().iter().for_each(|sequence| self.sequence(sequence, tree));
        }
    }

    /// A plain sequence of a glob, and the same with its literal beginning resolved.
    fn sequence(&mut self, sequence: &[Token], tree: &dyn Tree) {
        let anchored = matches!(sequence.first(), Some(Token::Byte(b'/') | Token::SlashDoubleStarSlash | Token::DoubleStar));
        if !anchored {
            self.push(std::iter::once(Token::SlashDoubleStarSlash).chain(sequence.iter().cloned()).collect());
            return;
        }
        let literal = sequence.iter().map_while(|t| if let Token::Byte(b) = t { Some(*b) } else { None }).collect::<Vec<_>>();
        let ends_at_any = sequence.get(literal.len()) == Some(&Token::SlashDoubleStarSlash);
        // The directory part of the literal beginning: up to its last `/`, or all of it before a `/**/`.
        let cut = if ends_at_any { literal.len() } else { literal.iter().rposition(|b| *b == b'/').unwrap_or(0) };
        if cut > 0 {
            for path in resolutions(&literal[..cut], tree) {
                let head = if path == b"/" { b"".as_slice() } else { &path };
                self.push(bytes(head).chain(sequence[cut..].iter().cloned()).collect());
            }
        } else {
            self.push(sequence.to_vec());
        }
    }

    fn push(&mut self, tokens: Vec<Token>) {
        self.shapes.push(Shape { tokens, built_in: false, apart: false });
    }

    /// The position below the root.
    pub(super) fn root(&self) -> Position {
        let start = self.shapes.iter().enumerate().map(|(i, shape)| (i, shape.start()));
        let live = start.filter_map(|(i, states)| self.stepped(i, &states, b"/")).collect();
        Position { live }
    }

    /// The position below a child directory.
    pub(super) fn enter(&self, at: &Position, name: &[u8]) -> Position {
        let text: Vec<u8> = name.iter().copied().chain([b'/']).collect();
        Position { live: at.live.iter().filter_map(|(i, states)| self.stepped(*i, states, &text)).collect() }
    }

    fn stepped(&self, index: usize, states: &[State], text: &[u8]) -> Option<(usize, Vec<State>)> {
        let shape = &self.shapes[index];
        let states = shape.steps(states, text);
        shape.goes_on(&states).then_some((index, states))
    }

    /// Whether some shape that tells the children of a directory apart meets this child.
    pub(super) fn names(&self, at: &Position, name: &[u8]) -> bool {
        at.live.iter().any(|(i, states)| {
            let shape = &self.shapes[*i];
            !shape.meets_all(states, true) && shape.accepts(&shape.steps(states, name))
        })
    }

    /// Whether a name gets the same answer in two directories, one above the other: the same shapes meet it.
    pub(super) fn same(&self, above: &Position, below: &Position, name: &[u8]) -> bool {
        let all = |at: &Position| -> Vec<usize> {
            at.live.iter().filter(|(i, states)| self.shapes[*i].meets_all(states, true)).map(|(i, _)| *i).collect()
        };
        !self.names(above, name) && !self.names(below, name) && all(above) == all(below)
    }

    /// What can be said of everything below. `base`: whether the base set has a say there.
    pub(super) fn below(&self, at: &Position, base: bool) -> Reach {
        self.reach(at, base, false)
    }

    /// What can be said of the direct children.
    pub(super) fn children(&self, at: &Position, base: bool) -> Reach {
        self.reach(at, base, true)
    }

    /// Whether a shape that a rule gives, and that does not begin anywhere, tells apart what is below.
    pub(super) fn written_below(&self, at: &Position) -> bool {
        at.live.iter().any(|(i, states)| {
            let shape = &self.shapes[*i];
            !shape.built_in && !shape.is_floating() && !shape.meets_all(states, false)
        })
    }

    fn reach(&self, at: &Position, base: bool, children: bool) -> Reach {
        // The base set only lets pass: where one entry takes in everything, the others add nothing.
        let whole = |(i, states): &(usize, Vec<State>)| self.shapes[*i].built_in && self.shapes[*i].meets_all(states, children);
        let base = base && !at.live.iter().any(whole);
        let mut reach = Reach::Alike;
        for (i, states) in &at.live {
            let shape = &self.shapes[*i];
            let silent = shape.built_in && !shape.apart && !base;
            if silent || shape.meets_all(states, children) {
                continue;
            }
            if !shape.is_floating() {
                return Reach::Mixed;
            }
            reach = Reach::Floating;
        }
        reach
    }
}

// === impl Shape ===

impl Shape {
    fn is_floating(&self) -> bool {
        matches!(self.tokens.first(), Some(Token::SlashDoubleStarSlash | Token::DoubleStar))
    }

    fn start(&self) -> Vec<State> {
        let mut states = Vec::new();
        self.reached(&mut states, (0, false));
        states
    }

    /// Whether some text that goes on from here is accepted.
    fn goes_on(&self, states: &[State]) -> bool {
        states.iter().any(|(at, _)| *at < self.tokens.len())
    }

    fn accepts(&self, states: &[State]) -> bool {
        states.iter().any(|(at, _)| *at == self.tokens.len())
    }

    /// Whether everything that goes on from here (or every single component) is accepted.
    fn meets_all(&self, states: &[State], children: bool) -> bool {
        !self.apart
            && states.iter().any(|(at, _)| match self.tokens.get(*at..) {
                Some([Token::DoubleStar]) => true,
                Some([Token::Star]) => children,
                _ => false,
            })
    }

    fn steps(&self, states: &[State], text: &[u8]) -> Vec<State> {
        let mut now = states.to_vec();
        for byte in text {
            if now.is_empty() {
                break;
            }
            let mut next = Vec::with_capacity(now.len());
            for state in &now {
                self.step(*state, *byte, &mut next);
            }
            now = next;
        }
        now
    }

    fn step(&self, (at, inside): State, byte: u8, next: &mut Vec<State>) {
        match self.tokens.get(at) {
            Some(Token::Byte(b)) if *b == byte => self.reached(next, (at + 1, false)),
            Some(Token::AnyByte) if byte != b'/' => self.reached(next, (at + 1, false)),
            Some(Token::Set(set)) if set.contains(byte) => self.reached(next, (at + 1, false)),
            Some(Token::Star) if byte != b'/' => self.reached(next, (at, false)),
            Some(Token::DoubleStar) => self.reached(next, (at, false)),
            Some(Token::SlashDoubleStarSlash) if inside || byte == b'/' => {
                self.reached(next, (at, true));
                if byte == b'/' {
                    self.reached(next, (at + 1, false));
                }
            }
            _ => {}
        }
    }

    fn reached(&self, states: &mut Vec<State>, state: State) {
        if states.contains(&state) {
            return;
        }
        states.push(state);
        let (at, inside) = state;
        if !inside && matches!(self.tokens.get(at), Some(Token::Star | Token::DoubleStar)) {
            self.reached(states, (at + 1, false));
        }
    }
}

/// The path, and what it resolves to.
fn resolutions(path: &[u8], tree: &dyn Tree) -> Vec<Vec<u8>> {
    let path = if path.is_empty() { b"/" } else { path };
    let mut out = vec![path.to_vec()];
    out.extend(tree.resolve(path).map(|r| r.path).filter(|resolved| resolved != path));
    out
}

fn bytes(text: &[u8]) -> impl Iterator<Item = Token> + '_ {
    text.iter().map(|b| Token::Byte(*b))
}

#[cfg(test)]
mod tests {
    use palisade_ruleset::NoLinks;

    use super::*;

    fn shapes(objects: &[PathObject]) -> Shapes {
        let mut out = Shapes::default();
        objects.iter().for_each(|o| out.object(o, &NoLinks));
        out
    }

    fn directory(dir: &str, recursive: bool) -> PathObject {
        PathObject::Directory { dir: PathName { literal: dir.to_owned(), glob: None }, recursive }
    }

    fn glob(text: &str) -> PathObject {
        PathObject::Pattern(Glob::parse(text).unwrap())
    }

    fn at(shapes: &Shapes, path: &str) -> Position {
        path.split('/').filter(|c| !c.is_empty()).fold(shapes.root(), |at, name| shapes.enter(&at, name.as_bytes()))
    }

    #[test]
    fn a_recursive_directory_makes_everything_below_alike() {
        let s = shapes(&[directory("/a/b/", true)]);
        assert_eq!(s.below(&at(&s, "/"), true), Reach::Mixed);
        assert_eq!(s.below(&at(&s, "/a"), true), Reach::Mixed);
        assert_eq!(s.below(&at(&s, "/a/b"), true), Reach::Alike);
        assert_eq!(s.below(&at(&s, "/a/b/c"), true), Reach::Alike);
        assert_eq!(s.below(&at(&s, "/x"), true), Reach::Alike);
    }

    #[test]
    fn a_plain_directory_makes_its_children_alike() {
        let s = shapes(&[directory("/a/", false)]);
        assert_eq!(s.below(&at(&s, "/a"), true), Reach::Mixed);
        assert_eq!(s.children(&at(&s, "/a"), true), Reach::Alike);
        assert_eq!(s.below(&at(&s, "/a/b"), true), Reach::Alike);
    }

    #[test]
    fn a_glob_is_followed_component_by_component() {
        let s = shapes(&[glob("/a/*/c/x*")]);
        assert_eq!(s.below(&at(&s, "/a/b"), true), Reach::Mixed);
        assert_eq!(s.below(&at(&s, "/a/b/d"), true), Reach::Alike);
        assert!(s.names(&at(&s, "/a/b/c"), b"x1"));
        assert!(!s.names(&at(&s, "/a/b/c"), b"y"));
    }

    #[test]
    fn a_name_that_may_begin_anywhere_floats() {
        for object in [glob("**/python*"), glob("python*"), PathObject::ExecName("python3".to_owned())] {
            let s = shapes(&[object]);
            assert_eq!(s.below(&at(&s, "/usr/bin"), true), Reach::Floating);
            assert!(s.names(&at(&s, "/usr/bin"), b"python3"));
            assert!(!s.names(&at(&s, "/usr/bin"), b"xpython3"));
        }
    }

    #[test]
    fn the_root_of_everything_is_alike() {
        let s = shapes(&[directory("/", true), glob("**")]);
        assert_eq!(s.below(&at(&s, "/"), true), Reach::Alike);
    }
}
