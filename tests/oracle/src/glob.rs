//! Globs by backtracking, parsed from their text (meaning 3.2, 3.3).
//!
//! Alternatives are written out first (`{a,b}c` becomes `ac` and `bc`), and so is `/**/` (which also stands for a
//! single `/`); what is left are plain sequences, and a path meets the glob if it meets one of them.

/// A parsed glob.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    alternatives: Vec<Alternative>,
    start: Start,
    /// Bytes outside `* ? [] {}`, by which globs are ranked (meaning 4(2)).
    pub(crate) literal_bytes: usize,
    /// Its last component is `*` or `**`: it ranks as a directory.
    pub(crate) ranks_as_directory: bool,
    /// It is `/**` or `**`, the equals of the recursive directory `/`.
    pub(crate) is_whole_tree: bool,
}

/// Where a glob may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// At the first byte: it begins with `/`.
    Root,
    /// At any component boundary.
    AnyComponent,
    /// It begins with `memfd:` and meets memfds only, in whose names `/` is an ordinary byte.
    Memfd,
}

/// What one choice of `{a,b}` makes of the glob.
#[derive(Clone, Debug)]
struct Alternative {
    /// The bytes before its first glob character.
    literal_beginning: Vec<u8>,
    /// One sequence, doubled at each `/**/`.
    sequences: Vec<Vec<Token>>,
}

#[derive(Clone, Debug)]
enum Token {
    Byte(u8),
    /// `?`
    One,
    /// `*`
    Star,
    /// `**`
    DoubleStar,
    /// `[...]`: inclusive ranges, perhaps negated.
    Set {
        negated: bool,
        ranges: Vec<(u8, u8)>,
    },
}

/// Whether the text has an unescaped glob character and so is meant as a glob where a path is expected.
pub(crate) fn is_magic(text: &[u8]) -> bool {
    first_magic(text).is_some()
}

/// The offset of the first unescaped `*`, `?`, `[` or `{`.
fn first_magic(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 2,
            b'*' | b'?' | b'[' | b'{' => return Some(at),
            _ => at += 1,
        }
    }
    None
}

/// Splits a glob that begins with `/` and has no alternatives into its literal part (unescaped, without the last `/`) and
/// the glob that follows (beginning with that `/`; empty if the whole text is literal). `None` where nothing can be
/// resolved.
pub(crate) fn split_literal_part(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    if text.first() != Some(&b'/') {
        return None;
    }
    let (literal, rest) = match first_magic(text) {
        None => (text, &text[text.len()..]),
        Some(magic) => {
            let slash = text[..magic].iter().rposition(|b| *b == b'/')?;
            text.split_at(slash)
        }
    };
    if literal.is_empty() {
        return None;
    }
    Some((unescape(literal), rest))
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        out.extend(if *byte == b'\\' { bytes.next() } else { Some(byte) });
    }
    out
}

/// The text with `\/` written as `/`, which is the same.
fn without_escaped_slashes(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match if byte == b'\\' { bytes.next() } else { None } {
            None => out.push(byte),
            Some(b'/') => out.push(b'/'),
            Some(escaped) => out.extend([b'\\', escaped]),
        }
    }
    out
}

/// The glob that meets exactly these bytes.
pub(crate) fn escape(literal: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for byte in literal {
        if b"\\*?[]{}".contains(byte) {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out
}

// === impl Pattern ===

impl Pattern {
    /// Parses a glob; `None` if the text is none.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        if text.is_empty() || text.contains(&0) {
            return None;
        }
        let start = if text.starts_with(b"memfd:") {
            Start::Memfd
        } else if text[0] == b'/' {
            Start::Root
        } else {
            Start::AnyComponent
        };
        let mut parsed = Vec::new();
        for plain in alternatives(&without_escaped_slashes(text))? {
            let literal_beginning = unescape(&plain[..first_magic(&plain).unwrap_or(plain.len())]);
            parsed.push(Alternative { literal_beginning, sequences: tokens(&plain)? });
        }
        let last = text.rsplit(|b| *b == b'/').next().unwrap_or_default();
        Some(Self {
            alternatives: parsed,
            start,
            literal_bytes: literal_bytes(text),
            // AMBIGUITY (meaning 2 and 4(2)): in a memfd pattern `/` is an ordinary byte, so it has no last component and
            // always ranks as a glob. Other: `memfd:a/*` ranks as a directory.
            ranks_as_directory: start != Start::Memfd && (last == b"*" || last == b"**"),
            is_whole_tree: text == b"/**" || text == b"**",
        })
    }

    /// Whether all that it can meet begins with these bytes (which begin with `/`).
    pub(crate) fn lies_below(&self, beginning: &[u8]) -> bool {
        self.alternatives.iter().all(|one| one.literal_beginning.starts_with(beginning))
    }

    /// The same glob without the alternatives that have no literal beginning: no byte between the first `/` and the first
    /// glob character.
    //
    // AMBIGUITY (meaning 5, built-in rules, "without a literal beginning"): so `/a*/x` has one, and `/*/x` and `/**/x` have
    // none. Others: a whole literal component is needed; the `/` is enough.
    pub(crate) fn with_literal_beginning(&self) -> Self {
        let mut less = self.clone();
        less.alternatives.retain(|one| self.start == Start::Root && one.literal_beginning.len() > 1);
        less
    }

    /// Whether a path meets it.
    pub(crate) fn meets_path(&self, path: &[u8]) -> bool {
        match self.start {
            Start::Memfd => false,
            Start::Root => self.meets(path, false),
            Start::AnyComponent => {
                let after_slashes = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(i, _)| i + 1);
                std::iter::once(0).chain(after_slashes).any(|begin| self.meets(&path[begin..], false))
            }
        }
    }

    /// Whether the memfd named `memfd:NAME` meets it: only patterns that begin with `memfd:` and the equals of the
    /// whole tree do (meaning 2).
    pub(crate) fn meets_memfd(&self, name: &[u8]) -> bool {
        let full = [b"memfd:", name].concat();
        self.is_whole_tree || (self.start == Start::Memfd && self.meets(&full, true))
    }

    fn sequences(&self) -> impl Iterator<Item = &Vec<Token>> {
        self.alternatives.iter().flat_map(|one| &one.sequences)
    }

    fn meets(&self, text: &[u8], slash_is_ordinary: bool) -> bool {
        self.sequences().any(|tokens| matches(tokens, text, slash_is_ordinary))
    }

    /// Whether some path that begins with `prefix` (which ends in `/`) and goes on meets it.
    pub(crate) fn could_meet_below(&self, prefix: &[u8]) -> bool {
        self.sequences().any(|tokens| could_go_on(tokens, prefix))
    }
}

fn literal_bytes(text: &[u8]) -> usize {
    let (mut count, mut depth, mut at) = (0, 0_usize, 0);
    while at < text.len() {
        match text[at] {
            b'\\' => {
                at += 1;
                count += usize::from(depth == 0);
            }
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b'[' => at = end_of_set(text, at).unwrap_or(text.len()),
            b'*' | b'?' => {}
            _ => count += usize::from(depth == 0),
        }
        at += 1;
    }
    count
}

/// The offset of the `]` that closes the `[` at `open`.
fn end_of_set(text: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 2,
            b']' => return Some(at),
            _ => at += 1,
        }
    }
    None
}

/// The texts without alternatives that a glob stands for; `None` if it is none.
pub(crate) fn alternatives(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let Some(open) = first_brace(text)? else { return Some(vec![text.to_vec()]) };
    let (close, commas) = closing_brace(text, open)?;
    let mut out = Vec::new();
    let bounds: Vec<usize> = [open].into_iter().chain(commas).chain([close]).collect();
    for pair in bounds.windows(2) {
        let one = [&text[..open], &text[pair[0] + 1..pair[1]], &text[close + 1..]].concat();
        out.extend(alternatives(&one)?);
    }
    Some(out)
}

/// The first unescaped `{` outside a set; an outer `None` for a `}` without `{` or a set without `]`.
fn first_brace(text: &[u8]) -> Option<Option<usize>> {
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 1,
            b'[' => at = end_of_set(text, at)?,
            b'{' => return Some(Some(at)),
            b'}' => return None,
            _ => {}
        }
        at += 1;
    }
    Some(None)
}

/// The `}` of the `{` at `open`, and the commas between its alternatives.
fn closing_brace(text: &[u8], open: usize) -> Option<(usize, Vec<usize>)> {
    let (mut depth, mut commas, mut at) = (0_usize, Vec::new(), open);
    while at < text.len() {
        match text[at] {
            b'\\' => at += 1,
            b'[' => at = end_of_set(text, at)?,
            b'{' => depth += 1,
            b',' if depth == 1 => commas.push(at),
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some((at, commas));
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The sequences that a text without alternatives stands for: one, doubled at each `/**/`.
fn tokens(text: &[u8]) -> Option<Vec<Vec<Token>>> {
    let Some(first) = text.first() else { return Some(vec![Vec::new()]) };
    let (token, length) = match first {
        b'\\' => (Token::Byte(*text.get(1)?), 2),
        b'?' => (Token::One, 1),
        b'*' => {
            let stars = text.iter().take_while(|b| **b == b'*').count();
            (if stars == 1 { Token::Star } else { Token::DoubleStar }, stars)
        }
        b'[' => {
            let end = end_of_set(text, 0)?;
            (set(&text[1..end])?, end + 1)
        }
        other => (Token::Byte(*other), 1),
    };
    let mut out: Vec<Vec<Token>> = Vec::new();
    for rest in tokens(&text[length..])? {
        out.push([vec![token.clone()], rest].concat());
    }
    // `/**/` also meets a single `/`: leave `/**` out, so that its last `/` is that one.
    if text.starts_with(b"/**/") {
        out.extend(tokens(&text[3..])?);
    }
    Some(out)
}

fn set(inner: &[u8]) -> Option<Token> {
    let (negated, inner) = match inner.first() {
        Some(b'!' | b'^') => (true, &inner[1..]),
        _ => (false, inner),
    };
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < inner.len() {
        let escaped = inner[at] == b'\\';
        at += usize::from(escaped);
        bytes.push((*inner.get(at)?, escaped));
        at += 1;
    }
    let mut ranges = Vec::new();
    let mut rest = bytes.as_slice();
    while let [(low, _), more @ ..] = rest {
        if let [(b'-', false), (high, _), after @ ..] = more {
            if low > high {
                return None;
            }
            ranges.push((*low, *high));
            rest = after;
        } else {
            ranges.push((*low, *low));
            rest = more;
        }
    }
    (!ranges.is_empty()).then_some(Token::Set { negated, ranges })
}

impl Token {
    /// Whether this token, which stands for one byte (or for bytes one at a time), may stand for `byte`.
    fn takes(&self, byte: u8, slash_is_ordinary: bool) -> bool {
        match self {
            Self::Byte(b) => *b == byte,
            Self::DoubleStar => true,
            Self::One | Self::Star => slash_is_ordinary || byte != b'/',
            Self::Set { negated, ranges } => {
                (slash_is_ordinary || byte != b'/') && *negated != ranges.iter().any(|(low, high)| (*low..=*high).contains(&byte))
            }
        }
    }

    fn repeats(&self) -> bool {
        matches!(self, Self::Star | Self::DoubleStar)
    }
}

fn matches(tokens: &[Token], text: &[u8], slash_is_ordinary: bool) -> bool {
    let Some((token, after)) = tokens.split_first() else { return text.is_empty() };
    let takes_first = text.first().is_some_and(|b| token.takes(*b, slash_is_ordinary));
    if token.repeats() {
        matches(after, text, slash_is_ordinary) || (takes_first && matches(tokens, &text[1..], slash_is_ordinary))
    } else {
        takes_first && matches(after, &text[1..], slash_is_ordinary)
    }
}

fn could_go_on(tokens: &[Token], prefix: &[u8]) -> bool {
    let Some(byte) = prefix.first() else { return could_end(tokens, true, false) };
    let Some((token, after)) = tokens.split_first() else { return false };
    let takes_first = token.takes(*byte, false);
    if token.repeats() {
        could_go_on(after, prefix) || (takes_first && could_go_on(tokens, &prefix[1..]))
    } else {
        takes_first && could_go_on(after, &prefix[1..])
    }
}

/// Whether the tokens can stand for bytes that go on from a text (`after_slash`: it ends in `/`; `grown`: something was
/// added) such that the whole is a path: without empty components and without `/` at the end.
fn could_end(tokens: &[Token], after_slash: bool, grown: bool) -> bool {
    let Some((token, after)) = tokens.split_first() else { return grown && !after_slash };
    let with = |slash: bool| could_end(after, slash, true);
    match token {
        Token::Byte(b'/') => !after_slash && with(true),
        Token::Byte(_) | Token::One => with(false),
        Token::Set { .. } => (1..=255).any(|b| token.takes(b, false)) && with(false),
        Token::Star => could_end(after, after_slash, grown) || with(false),
        Token::DoubleStar => could_end(after, after_slash, grown) || with(false) || with(true),
    }
}

#[cfg(test)]
mod tests {
    use super::{Pattern, is_magic, split_literal_part};

    fn meets(glob: &str, path: &str) -> bool {
        Pattern::parse(glob.as_bytes()).unwrap().meets_path(path.as_bytes())
    }

    #[test]
    fn each_syntax_meets_what_the_law_says() {
        for (glob, path, expected) in [
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/.b", true),
            ("/a/*", "/a/b/c", false),
            ("/a/?", "/a/b", true),
            ("/a/?", "/a/é", false),
            ("/a?b", "/a/b", false),
            ("/a/**", "/a/b/c", true),
            ("/a/**", "/a", false),
            ("/a/**/c", "/a/c", true),
            ("/a/**/c", "/a/b/b/c", true),
            ("/a/**/c", "/a/bc", false),
            ("/a**c", "/a/b/c", true),
            ("**/python*", "/usr/bin/python3", true),
            ("**/python*", "/usr/lib/libpython3", false),
            ("python*", "/usr/bin/python3", true),
            ("bin/p*", "/usr/bin/python3", true),
            ("in/p*", "/usr/bin/python3", false),
            ("**", "/", true),
            ("/a/[bc]", "/a/b", true),
            ("/a/[!bc]", "/a/b", false),
            ("/a/[^bc]", "/a/d", true),
            ("/a[!b]c", "/a/c", false),
            ("/a[.-0]c", "/a/c", false),
            ("/a/[a-c]x", "/a/bx", true),
            ("/a/{b,c/d}", "/a/c/d", true),
            ("/a/{b,{c,d}e}", "/a/de", true),
            ("/a/{,b}c", "/a/c", true),
            (r"/a/\*", "/a/*", true),
            (r"/a/\*", "/a/b", false),
            ("memfd:*", "/memfd:x", false),
        ] {
            assert_eq!(meets(glob, path), expected, "{glob} {path}");
        }
    }

    #[test]
    fn mistakes_are_no_globs() {
        for text in ["/a[", "/a[]", "/a[!]", "/a[z-a]", "/a{b", "/a}b", r"/a\"] {
            assert!(Pattern::parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn memfd_names_have_no_components() {
        let meets = |glob: &str, name: &str| Pattern::parse(glob.as_bytes()).unwrap().meets_memfd(name.as_bytes());
        assert!(meets("memfd:*", "a/b") && meets("memfd:a?b", "a/b") && meets("memfd:a[!x]b", "a/b"));
        assert!(meets("/**", "a") && meets("**", "a/b"));
        assert!(!meets("*", "a") && !meets("**/a", "a") && !meets("/*", "a"));
    }

    #[test]
    fn literal_bytes_are_outside_of_glob_characters() {
        for (glob, bytes) in [("/a/*", 3), ("/a/[bc]d", 4), ("/a/{b,c}", 3), (r"/\*", 2), ("**", 0), ("/?x", 2)] {
            assert_eq!(Pattern::parse(glob.as_bytes()).unwrap().literal_bytes, bytes, "{glob}");
        }
    }

    #[test]
    fn literal_part_ends_before_the_first_glob_character() {
        assert_eq!(split_literal_part(b"/a/b*/c"), Some((b"/a".to_vec(), b"/b*/c".as_slice())));
        assert_eq!(split_literal_part(b"/*"), None);
        assert_eq!(split_literal_part(br"/\*/b*"), Some((b"/*".to_vec(), b"/b*".as_slice())));
        assert_eq!(split_literal_part(b"/a/b"), Some((b"/a/b".to_vec(), b"".as_slice())));
        assert!(!is_magic(br"/a\*") && is_magic(b"/a{b,c}"));
    }

    #[test]
    fn could_meet_below_asks_for_one_more_component() {
        let below = |glob: &str, old: &str| Pattern::parse(glob.as_bytes()).unwrap().could_meet_below(old.as_bytes());
        assert!(below("/a/b", "/a/") && below("/a/*", "/a/") && below("/*/x", "/a/") && below("/a/**/x", "/a/b/"));
        assert!(!below("/a/*", "/a/b/") && !below("/a/b", "/b/") && !below("/a?b", "/a/") && !below("/a", "/a/"));
    }
}
