//! The corpus judged by the compiled tables: the kernel's walk, in user space, over the bytes that the kernel gets.
//!
//! What no table decides (mounts, attaching, what belongs to Palisade, moves of directories, block devices) is counted and
//! left to `decide`; so are arguments, which the kernel does not see yet: there no `allowedArgs` list passes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use palisade_policy::SourceFile;
use palisade_ruleset::{Access, Operation, RuleSet, Stamp, Table, Verdict, compile, decide};
use palisade_system_tests::corpus::Corpus;
use palisade_system_tests::lower::{lower, workload};
use palisade_system_tests::tree::TreeTable;

#[test]
fn tables_decide_every_case_like_decide() {
    let dir: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/decisions");
    let corpus = Corpus::load(&dir).expect("the corpus loads");
    let (mut compared, mut without) = (0_usize, 0_usize);
    for (file, case) in corpus.cases() {
        let yaml = case.policy_yaml(&corpus.dir).expect("the policies are there");
        let parsed = palisade_policy::parse(&[SourceFile { name: Arc::from("case.yaml"), text: &yaml }]);
        let rules = RuleSet::new(&parsed.policies, &workload(case), &TreeTable::new(case));
        let compiled = compile(&rules, Stamp { table_id: 1, generation: 1 }).expect("every case compiles");
        let table = Table::from_bytes(&compiled.bytes()).expect("the bytes are a table");
        for access in &case.access {
            for access in lower(case, access).expect("every access is lowered") {
                let unseen = without_arguments(access);
                let Some(walked) = table.decide(&unseen) else {
                    without += 1;
                    continue;
                };
                let decided = decide(&rules, &unseen);
                compared += 1;
                let shadowed = decided.verdict != Verdict::Block && decided.shadow.is_some_and(|(v, _)| v == Verdict::Block);
                assert_eq!(walked.would_block, shadowed, "{file}: {}: {unseen:?}", case.name);
                if !shadowed {
                    assert_eq!(walked.verdict, decided.verdict, "{file}: {}: {unseen:?}", case.name);
                    if decided.verdict != Verdict::Allow {
                        assert_eq!(walked.by, Some(decided.by), "{file}: {}: {unseen:?}", case.name);
                    }
                }
            }
        }
    }
    println!("{compared} accesses walked, {without} that no table decides");
    assert!(compared > 1_000, "{compared} compared");
}

fn without_arguments(mut access: Access) -> Access {
    if let Operation::Exec { arguments, .. } = &mut access.operation {
        *arguments = None;
    }
    access
}
