//! The runner itself, with a back end that denies exactly one thing: making directories, by Landlock and seccomp.

use std::fs;

use landlock::{AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreated};
use palisade_system_tests::corpus::{Corpus, VerdictCase};
use palisade_system_tests::runner::{
    Enforcer, InProcess, Options, ProtectError, Protection, Report, SeenEvent, Setting, Target, run,
};

/// Denies mkdir; says so where `speaks`.
struct NoMkdir {
    speaks: bool,
}

impl Enforcer for NoMkdir {
    fn name(&self) -> &'static str {
        "no-mkdir"
    }

    fn protect(&mut self, target: &Target<'_>) -> Result<Protection, ProtectError> {
        if target.policy_yaml.contains("network") {
            return Err(ProtectError::Unsupported("no sockets".to_owned()));
        }
        assert!(target.root.join("t/probe").exists(), "the root is visible through procfs");
        let created = || -> Result<RulesetCreated, ProtectError> {
            let created = Ruleset::default().handle_access(AccessFs::MakeDir).and_then(Ruleset::create);
            created.map_err(|e| ProtectError::Failed(e.into()))
        };
        // One instruction: BPF_RET|BPF_K with SECCOMP_RET_ALLOW.
        let seccomp = vec![vec![0x06, 0, 0, 0, 0, 0, 0xff, 0x7f]];
        let each = target.tasks.iter().map(|_| Ok(InProcess { ruleset: created()?.into(), seccomp: seccomp.clone() }));
        Ok(Protection { in_process: each.collect::<Result<_, _>>()?, guard: Box::new(()) })
    }

    fn events(&mut self) -> anyhow::Result<Vec<SeenEvent>> {
        // It cannot see anything: it says after each access what a mkdir would have said, so that only a case with
        // nothing but denied mkdirs is right.
        let event = SeenEvent {
            rule: "p:file.matchPaths[0]".to_owned(),
            verdict: VerdictCase::Block,
            errno: 13,
            operation: "mkdir".to_owned(),
            object: "/t/d".to_owned(),
            shadow: None,
        };
        Ok(if self.speaks { vec![event] } else { Vec::new() })
    }
}

/// Runs one case of these accesses.
fn run_case(accesses: &str, speaks: bool) -> Report {
    run_case_of("file: {matchPaths: [{path: /t/d, action: Block}]}", accesses, speaks)
}

fn run_case_of(spec: &str, accesses: &str, speaks: bool) -> Report {
    let dir = tempfile::tempdir().expect("a directory");
    let text = format!("[[case]]\nname = \"it\"\nmeaning = [\"2.file\"]\nspec = \"{spec}\"\naccess = [\n{accesses}\n]\n");
    fs::write(dir.path().join("one.toml"), text).expect("it is written");
    let corpus = Corpus::load(dir.path()).expect("it loads");
    let options =
        Options { root_fs: std::env::temp_dir(), filters: Vec::new(), every: None, setting: Setting::Namespace, user: None };
    run(&corpus, &mut NoMkdir { speaks }, &options).expect("the run itself")
}

/// Whether Landlock and root are here; what cannot be shown is said.
fn can_run() -> bool {
    let root = rustix::process::geteuid().is_root();
    let landlock = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::MakeDir)
        .and_then(Ruleset::create)
        .is_ok();
    if !(root && landlock) {
        eprintln!("SKIPPED: root {root}, Landlock {landlock}");
    }
    root && landlock
}

const DENIED: &str = r#"{op = "mkdir", path = "/t/d", verdict = "Block", rule = "p:file.matchPaths[0]"},"#;
const ALLOWED: &str = r#"{op = "create", path = "/t/f", verdict = "Allow", rule = "none"},"#;

#[test]
fn a_denial_with_its_event_is_right() {
    if can_run() {
        let report = run_case(DENIED, true);
        assert!(report.is_right(), "{report}");
        assert_eq!(report.total().right, 1);
    }
}

#[test]
fn a_denial_without_an_event_is_wrong() {
    if can_run() {
        let report = run_case(DENIED, false);
        assert_eq!(report.total().wrong, 1, "{report}");
    }
}

#[test]
fn an_event_without_a_denial_is_wrong() {
    if can_run() {
        let report = run_case(ALLOWED, true);
        assert_eq!(report.total().wrong, 1, "{report}");
        let report = run_case(ALLOWED, false);
        assert!(report.is_right(), "{report}");
    }
}

#[test]
fn a_denial_of_what_should_pass_is_wrong() {
    if can_run() {
        let report = run_case(r#"{op = "mkdir", path = "/t/e", verdict = "Allow", rule = "none"},"#, false);
        assert_eq!(report.total().wrong, 1, "{report}");
    }
}

#[test]
fn a_pass_of_what_should_be_denied_is_wrong() {
    if can_run() {
        let report = run_case(r#"{op = "create", path = "/t/d", verdict = "Block", rule = "p:file.matchPaths[0]"},"#, true);
        assert_eq!(report.total().wrong, 1, "{report}");
    }
}

#[test]
fn an_exclusion_must_behave_as_declared_and_must_be_needed() {
    if !can_run() {
        return;
    }
    let with = |op: &str, path: &str, verdict: &str, behaves: &str| {
        format!(
            "{{op = \"{op}\", path = \"{path}\", verdict = \"{verdict}\", rule = \"p:file.matchPaths[0]\", \
             exclude = {{no-mkdir = {{reason = \"r\", behaves = \"{behaves}\"}}}}}},"
        )
    };
    let report = run_case(&with("create", "/t/d", "Block", "Allow"), false);
    assert_eq!((report.total().excluded, report.total().wrong), (1, 0), "{report}");
    let report = run_case(&with("mkdir", "/t/d", "Block", "Audit"), false);
    assert_eq!(report.total().wrong, 1, "declared as Audit, but denied: {report}");
    let report = run_case(&with("mkdir", "/t/d", "Block", "Block"), true);
    assert_eq!(report.total().wrong, 1, "it does what the case says: {report}");
}

#[test]
fn what_a_back_end_refuses_must_be_declared() {
    if !can_run() {
        return;
    }
    let spec = "network: {matchProtocols: [{protocol: tcp, action: Block}]}";
    let access = r#"{op = "open_read", path = "/t/f", verdict = "Allow", rule = "none"},"#;
    let report = run_case_of(spec, access, false);
    assert_eq!(report.total().wrong, 1, "{report}");
    let access = access.replace("},", r#", exclude = {no-mkdir = {reason = "r", behaves = "unsupported"}}},"#);
    let report = run_case_of(spec, &access, false);
    assert_eq!((report.total().excluded, report.total().wrong), (1, 0), "{report}");
}

#[test]
fn a_case_that_fails_without_policy_is_broken() {
    if can_run() {
        let report = run_case(r#"{op = "open_read", path = "/proc/nothing", verdict = "Block", rule = "DefaultPosture"},"#, true);
        assert_eq!(report.total().wrong, 1, "{report}");
        assert!(report.failures[0].message.contains("broken"), "{report}");
    }
}
