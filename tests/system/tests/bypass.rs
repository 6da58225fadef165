//! The table of attacks (`tests/bypass`) against the ways around that are known, the sources, and the threat model.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A line of the table.
struct Attack {
    name: String,
    ways: Vec<String>,
    place: String,
    closers: String,
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn attacks() -> Vec<Attack> {
    lines(&read("tests/bypass/attacks.tsv"))
        .map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let [name, ways, place, _object, _by, closers, _lacks] = columns[..] else { panic!("not seven columns: {line}") };
            let ways = ways.split(',').map(str::to_owned).collect();
            Attack { name: name.to_owned(), ways, place: place.to_owned(), closers: closers.to_owned() }
        })
        .collect()
}

/// The names that the threat model cites behind "`bypass`:", up to the end of the list.
fn cited() -> BTreeSet<String> {
    let text = read("docs/threat-model.md").split_whitespace().collect::<Vec<_>>().join(" ");
    let mut names = BTreeSet::new();
    for list in text.split("`bypass`:").skip(1) {
        let mut rest = list.trim_start();
        while let Some((name, behind)) = rest.strip_prefix('*').and_then(|rest| rest.split_once('*')) {
            names.insert(name.to_owned());
            let Some(next) = behind.strip_prefix(", ").or_else(|| behind.strip_prefix(" and ")) else { break };
            rest = next;
        }
    }
    // The page's own explanation of how it cites.
    names.remove("...");
    names
}

#[test]
fn every_way_that_is_known_is_tried() {
    let tried: BTreeSet<String> = attacks().into_iter().flat_map(|attack| attack.ways).collect();
    let known: BTreeSet<String> =
        lines(&read("tests/bypass/ways.tsv")).filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    assert_eq!(tried, known);
}

#[test]
fn every_attack_of_the_sources_is_in_the_table_once() {
    let mut written = Vec::new();
    for entry in fs::read_dir(workspace().join("tests/bypass")).expect("the sources") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "c") {
            let text = fs::read_to_string(path).expect("a source");
            let entries = text.lines().filter_map(|line| line.strip_prefix("\t{\"")?.split_once('"'));
            written.extend(
                entries.filter(|(_, rest)| rest.starts_with(", ") && rest.ends_with("},")).map(|(name, _)| name.to_owned()),
            );
        }
    }
    written.sort();
    let mut listed: Vec<String> = attacks().into_iter().map(|attack| attack.name).collect();
    listed.sort();
    assert_eq!(listed, written);
}

#[test]
fn what_is_denied_has_a_control() {
    for Attack { name, place, closers, .. } in attacks() {
        let is_denied = matches!(place.as_str(), "strict" | "list" | "lax" | "run-strict" | "run-list");
        assert!(is_denied || place == "works" || place.starts_with("open-"), "{name}: {place}");
        assert_eq!(is_denied, closers != "-", "{name}: {closers}");
    }
}

#[test]
fn the_threat_model_names_every_attack_and_no_other() {
    let listed: BTreeSet<String> = attacks().into_iter().map(|attack| attack.name).collect();
    assert_eq!(cited(), listed);
}

#[test]
fn the_threat_model_lists_what_the_table_says_to_be_open() {
    let text = read("docs/threat-model.md");
    let (_, chapter) = text.split_once("\n## What stays open\n").expect("the chapter");
    let chapter = chapter.split("\n## ").next().unwrap_or_default();
    let said: BTreeSet<String> = chapter
        .lines()
        .filter_map(|line| line.strip_prefix("| `bypass`: *")?.split_once('*'))
        .map(|(name, _)| name.to_owned())
        .collect();
    let open: BTreeSet<String> =
        attacks().into_iter().filter(|attack| attack.place.starts_with("open-")).map(|attack| attack.name).collect();
    assert_eq!(said, open);
}
