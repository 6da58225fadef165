//! One way of naming objects: a sequence of tokens over the whole path, and how it is matched plainly.
//!
//! Everything that rules and sources name becomes a [`Pattern`]: literal paths, directories, globs, base names. The
//! automata are built from patterns; [`Pattern::meets`] is the plain matcher that they are compared with.

use palisade_policy::glob::{ByteSet, Token};

/// A sequence of tokens that a whole path (or `memfd:NAME`) meets or not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Pattern {
    tokens: Vec<Token>,
}

/// What a memfd program's path begins with.
pub(crate) const MEMFD: &[u8] = b"memfd:";

// === impl Pattern ===

impl Pattern {
    /// Exactly this path.
    pub(crate) fn exact(path: &[u8]) -> Self {
        Self { tokens: bytes(path).collect() }
    }

    /// These tokens.
    pub(crate) fn of_tokens(tokens: impl IntoIterator<Item = Token>) -> Self {
        Self { tokens: tokens.into_iter().collect() }
    }

    /// Everything below `directory`, which ends in `/`.
    pub(crate) fn below(directory: &[u8]) -> Self {
        Self { tokens: bytes(directory).chain([Token::DoubleStar]).collect() }
    }

    /// The direct children of `directory`, which ends in `/`.
    pub(crate) fn children(directory: &[u8]) -> Self {
        Self { tokens: bytes(directory).chain([Token::Star]).collect() }
    }

    /// Any object of this base name.
    pub(crate) fn base_name(name: &[u8]) -> Self {
        Self { tokens: std::iter::once(Token::SlashDoubleStarSlash).chain(bytes(name)).collect() }
    }

    /// Any object whose base name is `file`, invoked by `name`: the text is `path//name`.
    pub(crate) fn base_name_invoked(file: &[u8], name: &[u8]) -> Self {
        let tail = bytes(file).chain(bytes(b"//")).chain(bytes(name));
        Self { tokens: std::iter::once(Token::SlashDoubleStarSlash).chain(tail).collect() }
    }

    /// One plain sequence of a glob. One that does not begin with `/` may begin at any component boundary of a path, so
    /// that it may take two patterns.
    pub(crate) fn glob(sequence: &[Token]) -> Vec<Self> {
        let starts_with =
            |prefix: &[u8]| sequence.len() >= prefix.len() && prefix.iter().zip(sequence).all(|(b, t)| *t == Token::Byte(*b));
        if starts_with(MEMFD) {
            return vec![Self { tokens: sequence.iter().map(with_slash).collect() }];
        }
        let as_written = || Self { tokens: sequence.to_vec() };
        let after_a_slash =
            || Self { tokens: std::iter::once(Token::SlashDoubleStarSlash).chain(sequence.iter().cloned()).collect() };
        match sequence.first() {
            // `**` at the front already swallows any beginning.
            Some(Token::Byte(b'/') | Token::SlashDoubleStarSlash | Token::DoubleStar) => vec![as_written()],
            // `*` may meet nothing, and the path's first `/` come next.
            Some(Token::Star) => vec![as_written(), after_a_slash()],
            Some(Token::Byte(_) | Token::AnyByte | Token::Set(_)) | None => vec![after_a_slash()],
        }
    }

    /// The same with `/proc/thread-self` spelled as the acting process's entry and as that of each of its threads; itself
    /// where it does not begin so.
    pub(crate) fn own_entries(self) -> Vec<Self> {
        const THREAD_SELF: &[u8] = b"/proc/thread-self";
        let named = THREAD_SELF.iter().zip(&self.tokens).filter(|(b, t)| **t == Token::Byte(**b)).count() == THREAD_SELF.len();
        let rest = self.tokens.get(THREAD_SELF.len()..).unwrap_or(&[]);
        if !named || !matches!(rest.first(), None | Some(Token::Byte(b'/') | Token::SlashDoubleStarSlash)) {
            return vec![self];
        }
        let spelled = |beginning: Vec<Token>| Self { tokens: beginning.into_iter().chain(rest.iter().cloned()).collect() };
        let process = bytes(b"/proc/self").collect();
        let threads = bytes(b"/proc/self/task/").chain([Token::Star]).collect();
        vec![spelled(process), spelled(threads)]
    }

    /// Every memfd program.
    pub(crate) fn any_memfd() -> Self {
        Self { tokens: bytes(MEMFD).chain([Token::DoubleStar]).collect() }
    }

    /// The same with the literal beginning `from` replaced by `to`; `None` if it does not begin so.
    pub(crate) fn with_prefix(&self, from: &[u8], to: &[u8]) -> Option<Self> {
        let literal = self.literal_beginning();
        literal.starts_with(from).then(|| {
            // The token `/**/` holds the `/` that ends `from` when the literal beginning ends there.
            let taken = from.len().min(self.leading_bytes());
            let mut head: Vec<Token> = bytes(to).collect();
            if taken < from.len() {
                head.pop();
            }
            head.extend(self.tokens[taken..].iter().cloned());
            Self { tokens: head }
        })
    }

    /// The bytes that everything it meets begins with.
    pub(crate) fn literal_beginning(&self) -> Vec<u8> {
        let mut literal: Vec<u8> = Vec::new();
        for token in &self.tokens {
            match token {
                Token::Byte(b) => literal.push(*b),
                Token::SlashDoubleStarSlash => {
                    literal.push(b'/');
                    break;
                }
                Token::AnyByte | Token::Star | Token::DoubleStar | Token::Set(_) => break,
            }
        }
        literal
    }

    /// The path that it is, where it is literal to its end. A text that ends in `/` is no object's path.
    pub(crate) fn as_path(&self) -> Option<Vec<u8>> {
        if matches!(self.tokens.as_slice(), [_, .., Token::Byte(b'/')]) {
            return None;
        }
        let byte = |token: &Token| if let Token::Byte(b) = token { Some(*b) } else { None };
        self.tokens.iter().map(byte).collect()
    }

    /// The number of its literal bytes.
    pub(crate) fn literal_bytes(&self) -> usize {
        let of = |token: &Token| match token {
            Token::Byte(_) => 1,
            Token::SlashDoubleStarSlash => 2,
            Token::AnyByte | Token::Star | Token::DoubleStar | Token::Set(_) => 0,
        };
        self.tokens.iter().map(of).sum()
    }

    /// Whether its beginning names a place: more than the root.
    pub(crate) fn has_literal_beginning(&self) -> bool {
        self.literal_beginning().len() > 1
    }

    /// Whether an automaton of its kind stays as small as its text: literal, or literal with one star at the end.
    pub(crate) fn is_simple(&self) -> bool {
        match self.tokens.split_last() {
            None => true,
            Some((Token::Star | Token::DoubleStar | Token::Byte(_), rest)) => rest.iter().all(|t| matches!(t, Token::Byte(_))),
            Some(_) => false,
        }
    }

    /// Whether it may begin anywhere, so that an automaton has to remember every beginning.
    pub(crate) fn is_floating(&self) -> bool {
        matches!(self.tokens.first(), Some(Token::SlashDoubleStarSlash | Token::DoubleStar))
    }

    /// Its tokens.
    pub(crate) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Whether the whole text meets it. `text` is an absolute path or `memfd:NAME`.
    pub(crate) fn meets(&self, text: &[u8]) -> bool {
        let mut set = self.start(text);
        for byte in text {
            if set.is_empty() {
                return false;
            }
            set = self.step(&set, *byte);
        }
        set.contains(&(self.tokens.len(), false))
    }

    /// Whether some text that begins with `beginning` (and goes on) meets it.
    pub(crate) fn may_meet_below(&self, beginning: &[u8]) -> bool {
        let mut set = self.start(beginning);
        for byte in beginning {
            set = self.step(&set, *byte);
        }
        // The last position alone means that the text ends here; any other one can still be completed.
        set.iter().any(|(at, _)| *at < self.tokens.len())
    }

    fn leading_bytes(&self) -> usize {
        self.tokens.iter().take_while(|t| matches!(t, Token::Byte(_))).count()
    }

    /// Positions are (token, inside the any-bytes part of a `/**/`).
    fn start(&self, text: &[u8]) -> Vec<(usize, bool)> {
        // Globs mean paths; memfd names are met only by patterns that begin with `memfd:`.
        let names_no_root = matches!(self.tokens.first(), Some(Token::Star | Token::DoubleStar));
        if names_no_root && !text.starts_with(b"/") {
            return Vec::new();
        }
        let mut set = Vec::new();
        self.enter(&mut set, 0, false);
        set
    }

    fn enter(&self, set: &mut Vec<(usize, bool)>, at: usize, inside: bool) {
        if set.contains(&(at, inside)) {
            return;
        }
        set.push((at, inside));
        if inside {
            return;
        }
        match self.tokens.get(at) {
            Some(Token::Star | Token::DoubleStar) => self.enter(set, at + 1, false),
            Some(Token::Byte(_) | Token::AnyByte | Token::Set(_) | Token::SlashDoubleStarSlash) | None => {}
        }
    }

    fn step(&self, set: &[(usize, bool)], byte: u8) -> Vec<(usize, bool)> {
        let mut next = Vec::new();
        for (at, inside) in set {
            match (self.tokens.get(*at), inside) {
                (Some(Token::Byte(b)), _) if *b == byte => self.enter(&mut next, at + 1, false),
                (Some(Token::AnyByte), _) if byte != b'/' => self.enter(&mut next, at + 1, false),
                (Some(Token::Set(s)), _) if s.contains(byte) => self.enter(&mut next, at + 1, false),
                (Some(Token::Star), _) if byte != b'/' => self.enter(&mut next, *at, false),
                (Some(Token::DoubleStar), _) => self.enter(&mut next, *at, false),
                (Some(Token::SlashDoubleStarSlash), true) => {
                    self.enter(&mut next, *at, true);
                    if byte == b'/' {
                        self.enter(&mut next, at + 1, false);
                    }
                }
                (Some(Token::SlashDoubleStarSlash), false) if byte == b'/' => {
                    self.enter(&mut next, *at, true);
                    self.enter(&mut next, at + 1, false);
                }
                _ => {}
            }
        }
        next
    }
}

fn bytes(text: &[u8]) -> impl Iterator<Item = Token> + '_ {
    text.iter().map(|b| Token::Byte(*b))
}

/// In a memfd's name `/` is an ordinary byte.
fn with_slash(token: &Token) -> Token {
    match token {
        Token::Star => Token::DoubleStar,
        Token::AnyByte => Token::Set(every_byte()),
        Token::Set(set) => {
            let mut set = *set;
            // A set never holds `/`; one that holds most bytes was written as a negation, which would.
            if (1..=255_u8).filter(|b| set.contains(*b)).count() > 128 {
                set.insert(b'/');
            }
            Token::Set(set)
        }
        Token::Byte(_) | Token::DoubleStar | Token::SlashDoubleStarSlash => token.clone(),
    }
}

fn every_byte() -> ByteSet {
    let mut set = ByteSet::default();
    (1..=255_u8).for_each(|b| set.insert(b));
    set
}

#[cfg(test)]
mod tests {
    use palisade_policy::glob::Glob;

    use super::*;

    fn meets(glob: &str, path: &str) -> bool {
        Glob::parse(glob).unwrap().sequences().iter().flat_map(|s| Pattern::glob(s)).any(|p| p.meets(path.as_bytes()))
    }

    #[test]
    fn globs_meet_what_the_law_says() {
        for (glob, path, expected) in [
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/b/c", false),
            ("/a/*", "/a/.b", true),
            ("/a/**", "/a/b/c", true),
            ("/a/**", "/a", false),
            ("/a/**/c", "/a/c", true),
            ("/a/**/c", "/a/b/b/c", true),
            ("/a/**/c", "/a/bc", false),
            ("**/python*", "/usr/bin/python3", true),
            ("**/python*", "/python3", true),
            ("**/python*", "/usr/bin/xpython3", false),
            ("python?", "/usr/bin/python3", true),
            ("bin/python?", "/usr/bin/python3", true),
            ("in/python?", "/usr/bin/python3", false),
            ("/[a-c]x", "/bx", true),
            ("/[!a-c]x", "/bx", false),
            ("/[!a-c]x", "//x", false),
            ("/{bin,sbin}/x", "/sbin/x", true),
            ("/{bin,sbin}/x", "/xbin/x", false),
            ("/a\\*b", "/a*b", true),
            ("/a\\*b", "/axb", false),
            ("*/**", "/ab", true),
            ("*x", "memfd:x", false),
            ("**", "/a", true),
            ("**", "memfd:a", false),
            ("memfd:*", "memfd:a/b", true),
            ("memfd:?", "memfd:/", true),
            ("memfd:*", "/memfd:a", false),
        ] {
            assert_eq!(meets(glob, path), expected, "{glob} on {path}");
        }
    }

    #[test]
    fn a_prefix_is_replaced_by_what_it_resolves_to() {
        let glob = Glob::parse("/bin/**/x*").unwrap();
        let moved = Pattern::glob(&glob.sequences()[0])[0].with_prefix(b"/bin/", b"/usr/bin/").unwrap();
        assert!(moved.meets(b"/usr/bin/x1"));
        assert!(moved.meets(b"/usr/bin/a/b/x"));
        assert!(!moved.meets(b"/bin/x1"));
    }

    #[test]
    fn below_tells_what_can_still_be_met() {
        let glob = Glob::parse("/a/*/c").unwrap();
        let pattern = Pattern::glob(&glob.sequences()[0]).remove(0);
        assert!(pattern.may_meet_below(b"/a/"));
        assert!(pattern.may_meet_below(b"/a/b/"));
        assert!(!pattern.may_meet_below(b"/a/b/c/"));
        assert!(!pattern.may_meet_below(b"/b/"));
    }
}
