//! What is executed, and by what.

use crate::*;

#[test]
fn programs_are_allowed_from_where_they_were_started_and_from_nowhere_else() {
    let mut run = Run::begun();
    run.exec("/bin/app", "/bin/helper", false);
    let learned = run.suggest();
    assert_eq!(exec(&learned, "/bin/runtime", "/bin/app", &[]), ALLOW);
    assert_eq!(exec(&learned, "/bin/app", "/bin/helper", &[]), ALLOW);
    assert_eq!(exec(&learned, "/bin/other", "/bin/helper", &[]), BLOCK);
    assert_eq!(exec(&learned, "/bin/app", "/bin/sh", &[]), BLOCK);
}

#[test]
fn an_interpreter_is_allowed_for_its_script_alone() {
    let mut run = Run::default();
    run.exec(LAUNCHER, "/app/start", false);
    run.exec(LAUNCHER, "/bin/sh", true);
    run.exec("/bin/sh", "/bin/ls", false);
    let learned = run.suggest();
    assert_eq!(exec(&learned, "/bin/runtime", "/bin/sh", &["/app/start"]), ALLOW);
    assert_eq!(exec(&learned, "/bin/runtime", "/bin/sh", &[]), BLOCK);
    assert_eq!(exec(&learned, "/bin/sh", "/bin/ls", &[]), ALLOW);
    assert!(learned.policy.contains("    - path: /bin/sh\n      fromSource:\n      - path: /app/start\n"), "{}", learned.policy);
}

#[test]
fn a_memfd_that_was_executed_is_a_pattern_which_has_no_source() {
    let mut run = Run::begun();
    run.take("/bin/app", What::Exec { object: Object::Memfd(b"tool".to_vec()), interpreter: false });
    let suggestion = run.suggest();
    let rules = RuleSet::new(&policies(&suggestion), &Workload::run(), &NoLinks);
    let allowed = |name: &[u8]| {
        let object = Object::Memfd(name.to_vec());
        let operation = Operation::Exec { object, owner: None, scripts: Vec::new(), invoked_as: Vec::new(), arguments: None };
        let actor = Actor { program: program("/bin/app"), uid: 0, terminal: false };
        decide(&rules, &Access { actor, operation }).verdict
    };
    assert_eq!((allowed(b"tool"), allowed(b"other")), (Verdict::Allow, Verdict::Block));
}

#[test]
fn what_could_not_be_watched_is_left_open_and_said() {
    let mut run = Run::begun();
    run.exec("/bin/app", "/bin/tool", false);
    let workload = Workload::run();
    let watched = context(&workload, &NothingElse);
    let unseen = vec!["capabilities, which nothing told".to_owned()];
    let suggestion = suggest(&run.0, &Context { unseen, capabilities_seen: false, ..watched });
    assert_eq!(policies(&suggestion).len(), 1);
    assert!(suggestion.policy.contains("#   unseen    capabilities, which nothing told\n"), "{}", suggestion.policy);
    assert_eq!(verdict(&suggestion, program("/bin/app"), Operation::Capability { number: 0 }), Verdict::Allow);
    assert_eq!(verdict(&run.suggest(), program("/bin/app"), Operation::Capability { number: 0 }), Verdict::Block);
}

#[test]
fn without_sources_a_program_is_allowed_from_anywhere_and_no_other_is() {
    let mut run = Run::begun();
    run.exec("/bin/app", "/bin/tool", false);
    let workload = Workload::run();
    let suggestion = suggest(&run.0, &Context { sources: false, ..context(&workload, &NothingElse) });
    assert!(!suggestion.policy.contains("fromSource"), "{}", suggestion.policy);
    assert_eq!(exec(&suggestion, "/bin/elsewhere", "/bin/tool", &[]), Verdict::Allow);
    assert_eq!(exec(&run.suggest(), "/bin/elsewhere", "/bin/tool", &[]), Verdict::Block);
    assert_eq!(exec(&suggestion, "/bin/app", "/bin/other", &[]), Verdict::Block);
}
