//! A glob's text to its sequences of tokens.

use super::{ByteSet, GLOB_MAX_BYTES, GLOB_MAX_DEPTH, GLOB_MAX_EXPANSIONS, GlobError, GlobErrorKind, Token};

/// The sequences that a text stands for, sorted, each once.
pub(super) fn parse(text: &str) -> Result<Vec<Vec<Token>>, GlobError> {
    let bytes = text.as_bytes();
    let fail = |offset, kind| Err(GlobError { offset, kind });
    if bytes.is_empty() {
        return fail(0, GlobErrorKind::Empty);
    }
    if bytes.len() > GLOB_MAX_BYTES {
        return fail(GLOB_MAX_BYTES, GlobErrorKind::TooLong);
    }
    if let Some(offset) = bytes.iter().position(|b| *b == 0) {
        return fail(offset, GlobErrorKind::Nul);
    }
    let mut parser = Parser { bytes, at: 0 };
    let sequences = parser.alternatives(0)?;
    if parser.at < bytes.len() {
        return fail(parser.at, GlobErrorKind::UnopenedAlternatives);
    }
    let mut sequences: Vec<_> = sequences.into_iter().map(join_double_stars).collect();
    sequences.sort();
    sequences.dedup();
    Ok(sequences)
}

/// [`super::Glob::literal_bytes`] of a text that is a glob.
pub(super) fn literal_bytes(text: &str) -> usize {
    let mut count = 0;
    let mut depth = 0_usize;
    let mut parser = Parser { bytes: text.as_bytes(), at: 0 };
    while let Some(&b) = parser.bytes.get(parser.at) {
        let start = parser.at;
        parser.at += 1;
        match b {
            b'\\' => {
                parser.at += 1;
                count += usize::from(depth == 0);
            }
            // A set of a parsed glob ends; else the rest of the text would be one.
            b'[' => _ = parser.set(start),
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b'*' | b'?' => {}
            _ => count += usize::from(depth == 0),
        }
    }
    count
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
}
// === impl Parser ===

impl Parser<'_> {
    /// Everything up to the end, or, at depth > 0, up to the `,` or `}` that ends the alternative.
    fn alternatives(&mut self, depth: usize) -> Result<Vec<Vec<Token>>, GlobError> {
        let mut done: Vec<Vec<Token>> = Vec::new();
        let mut open: Vec<Vec<Token>> = vec![Vec::new()];
        while let Some(&byte) = self.bytes.get(self.at) {
            let start = self.at;
            self.at += 1;
            let token = match byte {
                b'*' if self.bytes.get(self.at) == Some(&b'*') => {
                    while self.bytes.get(self.at) == Some(&b'*') {
                        self.at += 1;
                    }
                    Token::DoubleStar
                }
                b'*' => Token::Star,
                b'?' => Token::AnyByte,
                b'[' => Token::Set(self.set(start)?),
                b'\\' => {
                    let Some(&escaped) = self.bytes.get(self.at) else {
                        return Err(GlobError { offset: start, kind: GlobErrorKind::DanglingEscape });
                    };
                    self.at += 1;
                    Token::Byte(escaped)
                }
                b'{' => {
                    if depth >= GLOB_MAX_DEPTH {
                        return Err(GlobError { offset: start, kind: GlobErrorKind::TooDeep });
                    }
                    let inner = self.alternatives(depth + 1)?;
                    if self.bytes.get(self.at) != Some(&b'}') {
                        return Err(GlobError { offset: start, kind: GlobErrorKind::UnclosedAlternatives });
                    }
                    self.at += 1;
                    if open.len().saturating_mul(inner.len()) > GLOB_MAX_EXPANSIONS {
                        return Err(GlobError { offset: start, kind: GlobErrorKind::TooManyAlternatives });
                    }
                    open = open.iter().flat_map(|head| inner.iter().map(|tail| [head.as_slice(), tail].concat())).collect();
                    continue;
                }
                b',' if depth > 0 => {
                    done.append(&mut open);
                    open.push(Vec::new());
                    if done.len() > GLOB_MAX_EXPANSIONS {
                        return Err(GlobError { offset: start, kind: GlobErrorKind::TooManyAlternatives });
                    }
                    continue;
                }
                b'}' => {
                    self.at = start;
                    break;
                }
                other => Token::Byte(other),
            };
            for sequence in &mut open {
                sequence.push(token.clone());
            }
        }
        done.append(&mut open);
        if done.len() > GLOB_MAX_EXPANSIONS {
            return Err(GlobError { offset: self.at.min(self.bytes.len()), kind: GlobErrorKind::TooManyAlternatives });
        }
        Ok(done)
    }

    /// The rest of a set whose `[` stood at `start`.
    fn set(&mut self, start: usize) -> Result<ByteSet, GlobError> {
        let unclosed = GlobError { offset: start, kind: GlobErrorKind::UnclosedSet };
        let negated = matches!(self.bytes.get(self.at), Some(b'!' | b'^'));
        if negated {
            self.at += 1;
        }
        let mut set = ByteSet::default();
        let first = self.at;
        loop {
            let byte = *self.bytes.get(self.at).ok_or(unclosed)?;
            // A `]` that comes first stands for itself, as in POSIX.
            if byte == b']' && self.at > first {
                self.at += 1;
                break;
            }
            let low = self.set_byte().ok_or(unclosed)?;
            let is_range = self.bytes.get(self.at) == Some(&b'-') && !matches!(self.bytes.get(self.at + 1), Some(b']') | None);
            if is_range {
                let dash = self.at;
                self.at += 1;
                let high = self.set_byte().ok_or(unclosed)?;
                if high < low {
                    return Err(GlobError { offset: dash, kind: GlobErrorKind::BackwardRange });
                }
                (low..=high).for_each(|b| set.insert(b));
            } else {
                set.insert(low);
            }
        }
        if negated {
            set = set.complement();
        }
        set.remove(b'/');
        set.remove(0);
        if set.is_empty() {
            return Err(GlobError { offset: start, kind: GlobErrorKind::EmptySet });
        }
        Ok(set)
    }

    fn set_byte(&mut self) -> Option<u8> {
        let mut byte = *self.bytes.get(self.at)?;
        self.at += 1;
        if byte == b'\\' {
            byte = *self.bytes.get(self.at)?;
            self.at += 1;
        }
        Some(byte)
    }
}

/// Turns each `/`, `**`, `/` into the one token that also meets a single `/`.
fn join_double_stars(tokens: Vec<Token>) -> Vec<Token> {
    const SLASH: Token = Token::Byte(b'/');
    let mut out: Vec<Token> = Vec::with_capacity(tokens.len());
    for token in tokens {
        let n = out.len();
        if token == SLASH
            && n >= 2
            && out[n - 1] == Token::DoubleStar
            && matches!(out[n - 2], SLASH | Token::SlashDoubleStarSlash)
        {
            out.pop();
            if out[n - 2] == SLASH {
                out[n - 2] = Token::SlashDoubleStarSlash;
            }
        } else {
            out.push(token);
        }
    }
    out
}
