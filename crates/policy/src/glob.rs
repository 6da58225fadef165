//! Globs over paths, as bytes.
//!
//! | syntax | meets |
//! |---|---|
//! | `*` | any bytes but `/`, also none |
//! | `?` | one byte that is not `/` |
//! | `[a-z]`, `[!a]`, `[^a]` | one byte of (not of) the set, never `/`; ranges are by byte |
//! | `**` | any bytes, `/` included |
//! | `/**/` | one `/`, or `/` any bytes `/` |
//! | `{a,b}` | either alternative; may be nested |
//! | `\c` | the byte `c` itself |
//!
//! A glob that does not begin with `/` may begin at any component boundary: at the start of the path or just after
//! a `/`. One that begins with `memfd:` names memfd programs; there `/` is an ordinary byte.

use std::fmt;

mod parse;

/// The longest glob accepted, in bytes: as long as the longest path the kernel names (`PATH_MAX` less its NUL).
pub const GLOB_MAX_BYTES: usize = 4095;
/// The most plain sequences that a glob's alternatives may expand to.
pub const GLOB_MAX_EXPANSIONS: usize = 256;
/// The deepest nesting of alternatives: each level is one of the parser's own.
pub const GLOB_MAX_DEPTH: usize = 16;

/// A parsed glob. Its text is kept as written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Glob {
    text: String,
    sequences: Vec<Vec<Token>>,
}

/// One element of a plain glob (alternatives are expanded beforehand).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Token {
    /// This byte.
    Byte(u8),
    /// `?`: one byte that is not `/`.
    AnyByte,
    /// `*`: any number of bytes that are not `/`.
    Star,
    /// `**`: any number of bytes.
    DoubleStar,
    /// `/**/`: one `/`, or a `/`, any bytes, and a `/`.
    SlashDoubleStarSlash,
    /// `[...]`: one byte of the set.
    Set(ByteSet),
}

/// A set of bytes. Sets of a glob never hold `/` or NUL.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ByteSet([u64; 4]);

/// Why a text is not a glob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} (at byte {offset} of the pattern)")]
pub struct GlobError {
    /// Offset into the text, in bytes from 0.
    pub offset: usize,
    /// What is wrong there.
    pub kind: GlobErrorKind,
}

/// The kinds of mistakes in a glob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlobErrorKind {
    /// Nothing to match.
    #[error("empty pattern")]
    Empty,
    /// Longer than [`GLOB_MAX_BYTES`].
    #[error("pattern longer than {GLOB_MAX_BYTES} bytes")]
    TooLong,
    /// `[` without `]`.
    #[error("`[` without its `]`")]
    UnclosedSet,
    /// A set that no byte is of, as `[/]`.
    #[error("empty set")]
    EmptySet,
    /// `[z-a]`.
    #[error("range runs backwards")]
    BackwardRange,
    /// `{` without `}`.
    #[error("`{{` without its `}}`")]
    UnclosedAlternatives,
    /// `}` without `{`.
    #[error("`}}` without its `{{`")]
    UnopenedAlternatives,
    /// A backslash at the end.
    #[error("backslash with nothing after it")]
    DanglingEscape,
    /// A NUL byte, which no path holds.
    #[error("NUL byte")]
    Nul,
    /// Alternatives that expand to more than [`GLOB_MAX_EXPANSIONS`] sequences.
    #[error("alternatives expand to more than {GLOB_MAX_EXPANSIONS} patterns")]
    TooManyAlternatives,
    /// Alternatives nested deeper than [`GLOB_MAX_DEPTH`].
    #[error("alternatives nested deeper than {GLOB_MAX_DEPTH}")]
    TooDeep,
}

// === impl Glob ===

impl Glob {
    /// Parses a glob.
    ///
    /// # Errors
    /// [`GlobError`] with the byte at which the text stops being a glob.
    pub fn parse(text: &str) -> Result<Self, GlobError> {
        Ok(Self { text: text.to_owned(), sequences: parse::parse(text)? })
    }

    /// Whether a text holds an unescaped glob character (`* ? [ {`) and is a valid glob.
    #[must_use]
    pub fn is_magic(text: &str) -> bool {
        let mut escaped = false;
        let magic = text.bytes().any(|b| match (escaped, b) {
            (true, _) => {
                escaped = false;
                false
            }
            (false, b'\\') => {
                escaped = true;
                false
            }
            (false, b'*' | b'?' | b'[' | b'{') => true,
            (false, _) => false,
        });
        magic && Self::parse(text).is_ok()
    }

    /// The text as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The plain sequences that its alternatives expand to; at least one. A path meets the glob if it meets one.
    #[must_use]
    pub fn sequences(&self) -> &[Vec<Token>] {
        &self.sequences
    }

    /// Whether it begins with `memfd:` and so names memfd programs only.
    #[must_use]
    pub fn is_memfd(&self) -> bool {
        self.text.starts_with("memfd:")
    }

    /// Whether it begins with `/`; otherwise it may begin at any component boundary.
    #[must_use]
    pub fn is_anchored(&self) -> bool {
        self.text.starts_with('/')
    }

    /// The number of bytes outside `* ? [] {}` (backslashes that escape do not count, what they escape does).
    #[must_use]
    pub fn literal_bytes(&self) -> usize {
        parse::literal_bytes(&self.text)
    }

    /// Whether its last component is `*` or `**`: such a glob ranks as a directory of [`Self::literal_bytes`].
    #[must_use]
    pub fn ranks_as_directory(&self) -> bool {
        // Further stars after `**` add nothing.
        self.text.rsplit('/').next().is_some_and(|last| !last.is_empty() && last.bytes().all(|b| b == b'*'))
    }

    /// The longest literal beginning that all its sequences share, cut after the last `/` before the first token
    /// that is not a byte: the part of the glob that can be resolved as a directory. Empty if there is none.
    #[must_use]
    pub fn literal_prefix(&self) -> Vec<u8> {
        let mut prefix: Option<Vec<u8>> = None;
        for sequence in &self.sequences {
            let mut literal: Vec<u8> = Vec::new();
            for token in sequence {
                match token {
                    Token::Byte(b) => literal.push(*b),
                    Token::SlashDoubleStarSlash => {
                        literal.push(b'/');
                        break;
                    }
                    Token::AnyByte | Token::Star | Token::DoubleStar | Token::Set(_) => break,
                }
            }
            let shared = match prefix {
                None => literal,
                Some(p) => p.iter().zip(&literal).take_while(|(a, b)| a == b).map(|(a, _)| *a).collect(),
            };
            prefix = Some(shared);
        }
        let mut prefix = prefix.unwrap_or_default();
        let cut = prefix.iter().rposition(|b| *b == b'/').map_or(0, |i| i + 1);
        prefix.truncate(cut);
        prefix
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

// === impl ByteSet ===

impl ByteSet {
    /// Adds a byte.
    pub fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    /// Takes a byte out.
    pub fn remove(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] &= !(1 << (byte & 63));
    }

    /// Whether the byte is in the set.
    #[must_use]
    pub fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    fn complement(self) -> Self {
        Self(self.0.map(|w| !w))
    }
}

impl fmt::Debug for ByteSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries((0..=255_u8).filter(|b| self.contains(*b)).map(char::from)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(text: &str) -> Glob {
        Glob::parse(text).unwrap()
    }

    /// Sequences as text: `.` for `?`, `@` for `*`, `#` for `**`, `~` for `/**/`, `[..]` for a set.
    fn sequences(text: &str) -> Vec<String> {
        let show = |token: &Token| match token {
            Token::Byte(b) => char::from(*b).to_string(),
            Token::AnyByte => ".".to_owned(),
            Token::Star => "@".to_owned(),
            Token::DoubleStar => "#".to_owned(),
            Token::SlashDoubleStarSlash => "~".to_owned(),
            Token::Set(set) => {
                let bytes: String = (0..128).filter(|b| set.contains(*b)).map(char::from).collect();
                if bytes.len() > 20 {
                    format!("[{} bytes]", (0..=255).filter(|b| set.contains(*b)).count())
                } else {
                    format!("[{bytes}]")
                }
            }
        };
        glob(text).sequences().iter().map(|sequence| sequence.iter().map(show).collect()).collect()
    }

    #[test]
    fn each_syntax_becomes_its_token() {
        let cases: [(&str, &[&str]); 22] = [
            ("/bin/sh", &["/bin/sh"]),
            ("/a*b?c", &["/a@b.c"]),
            ("**/python*", &["#/python@"]),
            ("/a/**", &["/a/#"]),
            ("/a/***", &["/a/#"]),
            ("/a/**/b", &["/a~b"]),
            ("/**/", &["~"]),
            ("/**/**/b", &["~b"]),
            ("/**/a/**/b", &["~a~b"]),
            ("/a/**b", &["/a/#b"]),
            ("/a**/b", &["/a#/b"]),
            ("/[a-c]", &["/[abc]"]),
            ("/[]a]", &["/[]a]"]),
            ("/[a-]", &["/[-a]"]),
            ("/[\\]x]", &["/[]x]"]),
            ("/[!a-z]", &["/[228 bytes]"]),
            ("/[^a]", &["/[253 bytes]"]),
            ("/{b,a}", &["/a", "/b"]),
            ("/{a,b{c,}}d", &["/ad", "/bcd", "/bd"]),
            ("/{a,**}/b", &["/a/b", "~b"]),
            ("/\\*\\{a,b", &["/*{a,b"]),
            ("/{a,a}", &["/a"]),
        ];
        for (text, expected) in cases {
            assert_eq!(sequences(text), expected, "{text}");
        }
    }

    #[test]
    fn a_set_never_holds_a_slash_or_nul() {
        for text in ["/[!a]", "/[^a]", "/[+-9]", "/[/a]"] {
            let glob = glob(text);
            let Some(Token::Set(set)) = glob.sequences()[0].last() else { panic!("{text}") };
            assert!(!set.contains(b'/') && !set.contains(0), "{text}");
        }
    }

    #[test]
    fn a_mistake_is_named_with_its_byte() {
        use GlobErrorKind as Kind;
        let cases = [
            ("", 0, Kind::Empty),
            ("/a[b", 2, Kind::UnclosedSet),
            ("/a[]", 2, Kind::UnclosedSet),
            ("/a[!]", 2, Kind::UnclosedSet),
            ("/a[b-", 2, Kind::UnclosedSet),
            ("/a[b\\", 2, Kind::UnclosedSet),
            ("/[/]", 1, Kind::EmptySet),
            ("/[z-a]", 3, Kind::BackwardRange),
            ("/{a,b", 1, Kind::UnclosedAlternatives),
            ("/{a,{b}", 1, Kind::UnclosedAlternatives),
            ("/a}", 2, Kind::UnopenedAlternatives),
            ("/a\\", 2, Kind::DanglingEscape),
            ("/a\0", 2, Kind::Nul),
        ];
        for (text, offset, kind) in cases {
            assert_eq!(Glob::parse(text), Err(GlobError { offset, kind }), "{text:?}");
        }
        assert_eq!(Glob::parse(&"a".repeat(GLOB_MAX_BYTES + 1)).unwrap_err().kind, Kind::TooLong);
        assert!(Glob::parse(&"a".repeat(GLOB_MAX_BYTES)).is_ok());
    }

    #[test]
    fn alternatives_are_bounded() {
        assert_eq!(glob(&"{a,b}".repeat(8)).sequences().len(), 256);
        for text in
            ["{a,b}".repeat(9), format!("{{{}}}", "a,".repeat(1000)), format!("{{{}x}}", "{a,b}{a,b}{a,b}{a,b},".repeat(20))]
        {
            assert_eq!(Glob::parse(&text).unwrap_err().kind, GlobErrorKind::TooManyAlternatives);
        }
        assert!(Glob::parse(&["{".repeat(16), "}".repeat(16)].concat()).is_ok());
        assert_eq!(Glob::parse(&"{".repeat(GLOB_MAX_BYTES)).unwrap_err(), GlobError { offset: 16, kind: GlobErrorKind::TooDeep });
    }

    #[test]
    fn literal_bytes_are_all_outside_wildcards() {
        let cases = [
            ("/bin/sh", 7),
            ("/bin/*", 5),
            ("**/python*", 7),
            ("/a?b", 3),
            ("/[abc]d", 2),
            ("/[]a]d", 2),
            ("/[!]a]d", 2),
            ("/[\\]a]d", 2),
            ("/{ab,[}]c}d", 2),
            ("/{a{b}c}d", 2),
            ("/a\\*b", 4),
            ("/{\\}a}b", 2),
        ];
        for (text, expected) in cases {
            assert_eq!(glob(text).literal_bytes(), expected, "{text}");
        }
    }

    #[test]
    fn only_a_whole_last_component_of_stars_ranks_as_a_directory() {
        for (text, expected) in [
            ("/a/*", true),
            ("/a/**", true),
            ("/a/***", true),
            ("*", true),
            ("**", true),
            ("/a/*b", false),
            ("/a/**/b", false),
            ("/a/", false),
            ("/a/\\*", false),
        ] {
            assert_eq!(glob(text).ranks_as_directory(), expected, "{text}");
        }
    }

    #[test]
    fn the_literal_prefix_ends_at_the_last_shared_slash() {
        let cases = [
            ("/usr/lib/*/bin", "/usr/lib/"),
            ("/usr/li*", "/usr/"),
            ("/usr/**/bin", "/usr/"),
            ("/a/{b,c}/d", "/a/"),
            ("/a/{bb/x,bb/y}", "/a/bb/"),
            ("/usr/bin/sh", "/usr/bin/"),
            ("**/x", ""),
            ("lib/*", "lib/"),
            ("{/a,b}/c", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(String::from_utf8(glob(text).literal_prefix()).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn magic_is_a_valid_glob_with_an_unescaped_wildcard() {
        for (text, expected) in [
            ("/a/*", true),
            ("/a[b]", true),
            ("/{a}", true),
            ("/a?", true),
            ("/a", false),
            ("/a\\*", false),
            ("/a[", false),
            ("/a}", false),
            ("/a]", false),
        ] {
            assert_eq!(Glob::is_magic(text), expected, "{text}");
        }
    }

    #[test]
    fn how_a_glob_begins() {
        assert!(glob("/a").is_anchored() && !glob("**/a").is_anchored() && !glob("a").is_anchored());
        assert!(glob("memfd:*").is_memfd() && !glob("/memfd:*").is_memfd());
    }
}
