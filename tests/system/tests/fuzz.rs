//! Random YAML through the whole way down: parse, check, resolve, compile, read the table. Nothing may panic, and whatever
//! compiles must be a table.
//!
//! `make fuzz` runs it for FUZZ_SECONDS (60 by default), `make test` for two seconds. The seed is printed; FUZZ_SEED repeats
//! a run. Inputs are the project's own policies, mutated: bytes, lines, words of the vocabulary, whole documents spliced.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use palisade_policy::{SourceFile, hints, parse};
use palisade_ruleset::{NoLinks, RuleSet, Stamp, Table, Workload, compile};

/// Words that turn one valid policy into another, or into nearly one.
const WORDS: [&str; 39] = [
    "action: Allow",
    "action: Block",
    "action: Audit",
    "recursive: true",
    "readOnly: true",
    "ownerOnly: true",
    "path: /**",
    "path: /",
    "dir: /",
    "dir: /a/*/",
    "pattern: '**'",
    "pattern: '{a,{b,c}*}'",
    "pattern: '[!a-'",
    "execname: sh",
    "fromSource: [{path: /bin/sh}]",
    "fromSource: []",
    "allowedArgs: []",
    "pts: false",
    "protocol: all",
    "protocol: tcp,udp",
    "capability: sys_admin",
    "cidr: 10.0.0.0/8",
    "cidr: '::/0, 0.0.0.0/0, 10.9.0.0/17'",
    "ports: [{port: 1, endPort: 65534}, {port: 0}]",
    "fqdn: '*.example.com'",
    "direction: ingress",
    "protocol: SCTP, any",
    "matchEndpoints:",
    "kind: List",
    "matchPaths:",
    "matchPatterns:",
    "- ",
    "---",
    "&a",
    "*a",
    "<<: *a",
    "\u{feff}",
    "\t",
    "spec: {}",
];
/// Larger inputs only take time: the parser's own limits are tested elsewhere.
const INPUT_MAX_BYTES: usize = 64 * 1024;

#[test]
fn random_yaml_never_panics_and_never_makes_a_broken_table() {
    let seconds = from_environment("FUZZ_SECONDS").unwrap_or(2);
    let seed = from_environment("FUZZ_SEED").unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| u64::try_from(d.as_nanos() & 0xffff_ffff).unwrap_or(1))
    });
    println!("seed {seed}, {seconds} s");
    let seeds = inputs();
    let mut random = Random(seed | 1);
    let (mut tried, mut valid, mut compiled) = (0_u64, 0_u64, 0_u64);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        let text = mutate(&mut random, &seeds);
        tried += 1;
        let parsed = parse(&[SourceFile { name: Arc::from("fuzz.yaml"), text: &text }]);
        let _ = hints(&parsed.policies);
        if parsed.policies.is_empty() {
            continue;
        }
        valid += 1;
        let rules = RuleSet::new(&parsed.policies, &Workload::run(), &NoLinks);
        if let Ok(table) = compile(&rules, Stamp { table_id: 1, generation: 1 }) {
            compiled += 1;
            assert!(Table::from_bytes(&table.bytes()).is_some(), "no table from:\n{text}");
        }
    }
    println!("{tried} inputs, {valid} with a valid policy, {compiled} compiled");
    assert!(compiled > 0, "nothing compiled: the mutations are too wild to test the compiler");
}

fn inputs() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut texts = Vec::new();
    for directory in ["examples", "testdata/policies"] {
        for entry in fs::read_dir(root.join(directory)).expect("the policies are there") {
            let path = entry.expect("a directory entry").path();
            if path.extension().is_some_and(|e| e == "yaml") {
                texts.push(fs::read_to_string(&path).expect("a policy is text"));
            }
        }
    }
    texts.sort();
    texts
}

fn mutate(random: &mut Random, seeds: &[String]) -> String {
    let mut text = seeds[random.below(seeds.len())].clone().into_bytes();
    for _ in 0..=random.below(6) {
        let at = random.below(text.len() + 1);
        match random.below(6) {
            0 if at < text.len() => text[at] ^= 1 << random.below(8),
            1 if at < text.len() => drop(text.remove(at)),
            2 => {
                let word = WORDS[random.below(WORDS.len())].as_bytes();
                text.splice(at..at, word.iter().copied());
            }
            3 => {
                let lines: Vec<&[u8]> = text.split(|b| *b == b'\n').collect();
                let (from, to) = (random.below(lines.len()), random.below(lines.len()));
                let mut lines: Vec<Vec<u8>> = lines.into_iter().map(<[u8]>::to_vec).collect();
                let line = lines[from].clone();
                lines.insert(to, line);
                text = lines.join(&b'\n');
            }
            4 => {
                let mut lines: Vec<&[u8]> = text.split(|b| *b == b'\n').collect();
                lines.remove(random.below(lines.len()));
                text = lines.join(&b'\n');
            }
            _ => {
                let other = seeds[random.below(seeds.len())].as_bytes();
                let cut = random.below(other.len() + 1);
                text.splice(at..at, other[..cut].iter().copied());
            }
        }
        text.truncate(INPUT_MAX_BYTES);
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// xorshift64*, enough for mutations.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let mixed = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(mixed).unwrap_or(0) % limit.max(1)
    }
}
