//! Whatever the input: `parse` returns, its places lie in the text, and an invalid document yields no policy.
#![expect(clippy::unwrap_used, reason = "a failing test may panic anywhere")]

use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use palisade_policy::glob::Glob;
use palisade_policy::{SourceFile, hints, parse};
use proptest::prelude::*;

/// The texts of all fixtures, good and bad.
static FIXTURES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/policies");
    let entries = [root.clone(), root.join("bad")].map(|dir| fs::read_dir(dir).unwrap());
    let mut paths: Vec<_> = entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "yaml"));
    paths.sort();
    paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
});

/// Pieces that change what YAML around them means.
const PIECES: [&str; 32] = [
    "",
    "\t",
    "\r\n",
    "\n",
    "\u{feff}",
    "\0",
    ": ",
    "- ",
    "? ",
    "---\n",
    "...\n",
    "&a ",
    "*a",
    "<<: ",
    "!x ",
    "!!str ",
    "|\n",
    ">\n",
    "'",
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    "#",
    "%YAML 1.2\n",
    "\u{85}",
    "\u{2028}",
    "é",
    "null",
];

fn check(text: &str) {
    let parsed = parse(&[SourceFile { name: Arc::from("x"), text }]);
    for problem in parsed.problems.iter().chain(&parsed.notes) {
        if let Some(span) = &problem.span {
            assert!(text.get(span.clone()).is_some(), "{problem} {span:?}");
        }
        assert!(problem.origin.line > 0 && problem.origin.column > 0);
        assert!(!problem.to_string().contains('\n'), "{problem:?}");
    }
    // One document that is no List: a problem anywhere in it is a problem of its policy.
    if !["---", "...", "List"].iter().any(|several| text.contains(several)) && !parsed.problems.is_empty() {
        assert_eq!(parsed.policies, [], "{:?}", parsed.problems);
    }
    for note in hints(&parsed.policies) {
        assert!(note.origin.line > 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        check(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn random_pieces(pieces in proptest::collection::vec(0..PIECES.len(), 0..60)) {
        check(&pieces.iter().map(|i| PIECES[*i]).collect::<String>());
    }

    #[test]
    fn mutated_policies(which in any::<prop::sample::Index>(), edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..8_usize, 0..PIECES.len()), 1..6)) {
        let mut text = FIXTURES[which.index(FIXTURES.len())].clone();
        for (at, delete, piece) in edits {
            let start = text.floor_char_boundary(at.index(text.len() + 1));
            let end = text.ceil_char_boundary((start + delete).min(text.len()));
            text.replace_range(start..end, PIECES[piece]);
        }
        check(&text);
    }

    #[test]
    fn globs(text in "[a-c/*?\\[\\]{},!^\\\\-]{0,40}") {
        if let Ok(glob) = Glob::parse(&text) {
            prop_assert!(glob.literal_bytes() <= text.len());
            prop_assert!(!glob.sequences().is_empty());
            prop_assert!(glob.literal_prefix().len() <= text.len());
            prop_assert!(!glob.ranks_as_directory() || text.ends_with('*'));
        }
    }
}

#[test]
fn every_cut_of_every_fixture() {
    for text in FIXTURES.iter() {
        for (at, _) in text.char_indices() {
            check(&text[..at]);
        }
    }
}
