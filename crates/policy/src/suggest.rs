//! "Did you mean ...": the nearest of a list of words.

/// Longer words get no suggestion: nobody mistypes them into a field name.
const WORD_MAX_BYTES: usize = 64;

/// The candidate nearest to `word`, if it is near: equal but for case, or within a third of its letters.
pub(crate) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    if word.is_empty() || word.len() > WORD_MAX_BYTES {
        return None;
    }
    let word = word.to_ascii_lowercase();
    let near = |candidate: &&'a str| {
        let distance = distance(&word, &candidate.to_ascii_lowercase());
        let allowed = (candidate.len().max(word.len()) / 3).max(1);
        (distance <= allowed).then_some((distance, *candidate))
    };
    candidates.iter().filter_map(near).min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// Help for a word that is none of `accepted`: the nearest, and otherwise all of them.
pub(crate) fn help(word: &str, accepted: &[&str]) -> String {
    match nearest(word, accepted) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => format!("accepted: {}", accepted.join(", ")),
    }
}

/// How many insertions, deletions, replacements and swaps of neighbours turn one word into the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let replaced = above[j] + usize::from(a[i] != b[j]);
            let mut best = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_single_edits() {
        for (a, b, expected) in [("", "", 0), ("abc", "abc", 0), ("abc", "ab", 1), ("abc", "acb", 1), ("kitten", "sitting", 3)] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn only_near_words_are_suggested() {
        let fields = ["path", "fromSource", "recursive", "action"];
        assert_eq!(nearest("fromSorce", &fields), Some("fromSource"));
        assert_eq!(nearest("fromsource", &fields), Some("fromSource"));
        assert_eq!(nearest("actoin", &fields), Some("action"));
        assert_eq!(nearest("selector", &fields), None);
        assert_eq!(nearest("", &fields), None);
        assert_eq!(nearest(&"x".repeat(100), &fields), None);
    }
}
