//! The corpus judged by the compiled tables, over the bytes that the kernel gets: by the kernel's walk in Rust
//! (`Table::decide`) and by the judging half of the kernel programs themselves, compiled for this machine.
//!
//! Arguments are left to `decide`: the kernel does not see them yet, and there no `allowedArgs` list passes.

#[path = "../../../crates/bpf/tests/c/questions.rs"]
mod questions;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use palisade_policy::SourceFile;
use palisade_ruleset::{Access, Operation, RuleSet, Stamp, Table, Verdict, compile, decide};
use palisade_system_tests::corpus::Corpus;
use palisade_system_tests::lower::{lower, workload};
use palisade_system_tests::tree::TreeTable;

use self::questions::Questions;

/// A case with its table.
struct Compiled {
    /// File and name.
    title: String,
    rules: RuleSet,
    bytes: Vec<u8>,
    table: Table,
    /// Every access of the case, lowered.
    accesses: Vec<Access>,
}

#[test]
fn tables_decide_every_case_like_decide() {
    let mut compared = 0_usize;
    for Compiled { title, rules, bytes: _, table, accesses } in compiled() {
        for access in &accesses {
            let walked = table.decide(access);
            let decided = decide(&rules, access);
            compared += 1;
            let shadowed = decided.verdict == Verdict::Allow && decided.shadow.is_some_and(|(v, _)| v == Verdict::Block);
            assert_eq!(walked.would_block, shadowed, "{title}: {access:?}");
            if !shadowed {
                assert_eq!(walked.verdict, decided.verdict, "{title}: {access:?}");
                if decided.verdict != Verdict::Allow {
                    assert_eq!(walked.by, Some(decided.by), "{title}: {access:?}");
                }
                let (with, law) = (walked.shadow.map(|(v, _)| v), decided.shadow.map(|(v, _)| v));
                assert_eq!(with, law, "{title}: with audited policies: {access:?}");
            }
        }
    }
    println!("{compared} accesses walked");
    assert!(compared > 1_000, "{compared} compared");
}

#[test]
fn the_kernel_programs_judge_every_access_like_the_walk() {
    let mut questions = Questions::default();
    for Compiled { title: _, rules: _, bytes, table, accesses } in compiled() {
        questions.table(&bytes);
        for access in &accesses {
            let access = Questions::as_the_kernel_sees(access);
            questions.ask(&access, table.decide(&access));
        }
    }
    let answers = questions.answers();
    println!("{answers}");
    assert_eq!(answers.wrong, 0, "{answers}");
    assert!(answers.asked > 1_000 && answers.composed > 0 && answers.cached > 100, "{answers}");
}

#[test]
fn an_answer_that_is_expected_otherwise_is_found() {
    let mut questions = Questions::default();
    let Compiled { title: _, rules: _, bytes, table, accesses } = compiled().next().expect("a case");
    let access = accesses.first().expect("an access");
    let mut walked = table.decide(access);
    walked.verdict = if walked.verdict == Verdict::Block { Verdict::Allow } else { Verdict::Block };
    questions.table(&bytes);
    questions.ask(access, walked);
    assert_eq!(questions.answers().wrong, 1);
}

fn compiled() -> impl Iterator<Item = Compiled> {
    let dir: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/decisions");
    let corpus = Corpus::load(&dir).expect("the corpus loads");
    corpus.files.into_iter().flat_map(|(file, cases)| cases.into_iter().map(move |case| (file.clone(), case))).map(
        move |(file, case)| {
            let title = format!("{file}: {}", case.name);
            let yaml = case.policy_yaml(&dir).expect("the policies are there");
            let parsed = palisade_policy::parse(&[SourceFile { name: Arc::from("case.yaml"), text: &yaml }]);
            let rules = RuleSet::new(&parsed.policies, &workload(&case), &TreeTable::new(&case));
            let bytes = compile(&rules, Stamp { table_id: 1, generation: 1 }).expect("every case compiles").bytes();
            let table = Table::from_bytes(&bytes).expect("the bytes are a table");
            let lowered = case.access.iter().flat_map(|a| lower(&case, a).expect("every access is lowered"));
            let accesses = lowered.map(without_arguments).collect();
            Compiled { title, rules, bytes, table, accesses }
        },
    )
}

fn without_arguments(mut access: Access) -> Access {
    if let Operation::Exec { arguments, .. } = &mut access.operation {
        *arguments = None;
    }
    access
}
