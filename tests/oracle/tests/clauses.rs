//! The oracle on hand-written cases, clause by clause: each expectation was read off the law, not off the oracle.

use palisade_oracle::build::{
    actor, by_main, capability, dir, exec, execname, file, map, network, numbered, object, path, path_name, pattern, policy,
    process, read, socket, source, write,
};
use palisade_oracle::{By, Judgement, Links, judge, judge_with_audited};
use palisade_policy::model::{
    Action, Capability, FileRule, Kind, PathObject, Policy, PolicyMode, ProcessRule, Protocol, SourceMatch,
};
use palisade_ruleset::{
    Access, FileMode, MountChange, Object, Operation, Posture, Postures, Program, Scope, StdioFile, Verdict, Workload,
};

const ALLOW: Verdict = Verdict::Allow;
const AUDIT: Verdict = Verdict::Audit;
const BLOCK: Verdict = Verdict::Block;

fn named(kind: Kind, name: &str, process: &[ProcessRule], file: &[FileRule]) -> Policy {
    numbered(Policy { process: process.to_vec(), file: file.to_vec(), ..policy(kind, name) })
}

fn lower(process: &[ProcessRule]) -> Policy {
    named(Kind::Namespaced, "lower", process, &[])
}

fn files(rules: &[FileRule]) -> Policy {
    named(Kind::Namespaced, "files", &[], rules)
}

fn glob(text: &str) -> PathObject {
    pattern(text).expect("the case is written with a glob")
}

fn ask(policies: &[Policy], links: &Links, access: &Access) -> Judgement {
    judge(policies, &Workload::run(), links, access)
}

#[track_caller]
fn check(policies: &[Policy], links: &Links, cases: &[(Operation, Verdict)]) {
    for (operation, expected) in cases {
        assert_eq!(ask(policies, links, &by_main(operation.clone())).verdict, *expected, "{operation:?}");
    }
}

fn from(program: Program, operation: Operation) -> Access {
    let mut access = by_main(operation);
    access.actor.program = program;
    access
}

fn memfd(name: &str) -> Operation {
    let Operation::Exec { owner, scripts, invoked_as, arguments, .. } = exec("/x") else { unreachable!() };
    Operation::Exec { object: Object::Memfd(name.into()), owner, scripts, invoked_as, arguments }
}

fn exec_as(path: &str, name: &str) -> Operation {
    let Operation::Exec { object, owner, scripts, arguments, .. } = exec(path) else { unreachable!() };
    Operation::Exec { object, owner, scripts, invoked_as: vec![name.into()], arguments }
}

fn exec_with(path: &str, arguments: Option<&[&str]>) -> Operation {
    let Operation::Exec { object, owner, scripts, invoked_as, .. } = exec(path) else { unreachable!() };
    let arguments = arguments.map(|list| list.iter().map(|a| a.as_bytes().to_vec()).collect());
    Operation::Exec { object, owner, scripts, invoked_as, arguments }
}

#[test]
fn meaning_1_policies_are_selected_by_kind_namespace_and_mode() {
    let block = process(Action::Block, path("/a"));
    let mut other = lower(std::slice::from_ref(&block));
    other.key.namespace = "other".to_owned();
    let selecting = Workload { ignore_selectors: false, ..Workload::run() };
    let access = by_main(exec("/a"));
    let verdict = |p: &Policy, w: &Workload| judge(std::slice::from_ref(p), w, &Links::default(), &access).verdict;
    assert_eq!(verdict(&other, &selecting), ALLOW);
    assert_eq!(verdict(&other, &Workload::run()), BLOCK);
    let host = named(Kind::Host, "host", std::slice::from_ref(&block), &[]);
    assert_eq!(verdict(&host, &Workload::run()), ALLOW);
    assert_eq!(verdict(&host, &Workload { scope: Scope::Host, ..Workload::run() }), BLOCK);
    assert_eq!(verdict(&lower(std::slice::from_ref(&block)), &Workload { scope: Scope::Host, ..Workload::run() }), ALLOW);

    let audited = Policy { mode: PolicyMode::Audited, ..lower(std::slice::from_ref(&block)) };
    assert_eq!(verdict(&audited, &Workload::run()), ALLOW);
    let with = judge_with_audited(&[audited], &Workload::run(), &Links::default(), &access);
    assert_eq!(with.verdict, BLOCK);
    let disabled = Policy { mode: PolicyMode::Disabled, ..lower(&[block]) };
    assert_eq!(judge_with_audited(&[disabled], &Workload::run(), &Links::default(), &access).verdict, ALLOW);
}

#[test]
fn meaning_2_mappings_are_reached_by_names_only() {
    let links = Links::default();
    check(&[lower(&[process(Action::Block, path("/a/l.so"))])], &links, &[(map("/a/l.so"), BLOCK), (map("/a/m.so"), ALLOW)]);
    check(&[lower(&[process(Action::Block, execname("l.so"))])], &links, &[(map("/a/l.so"), BLOCK)]);
    check(&[lower(&[process(Action::Block, glob("/a/*.so"))])], &links, &[(map("/a/l.so"), BLOCK)]);
    check(&[lower(&[process(Action::Block, glob("/a/*"))])], &links, &[(map("/a/l.so"), ALLOW), (exec("/a/l.so"), BLOCK)]);
    check(&[lower(&[process(Action::Block, dir("/a/", true))])], &links, &[(map("/a/l.so"), ALLOW)]);
    check(&[lower(&[process(Action::Allow, path("/b"))])], &links, &[(map("/a/l.so"), ALLOW), (exec("/a/l.so"), BLOCK)]);
    check(&[lower(&[process(Action::Audit, path("/a/l.so"))])], &links, &[(map("/a/l.so"), AUDIT)]);
    check(&[lower(&[process(Action::Audit, dir("/a/", true))])], &links, &[(map("/a/l.so"), ALLOW)]);
    check(&[lower(&[process(Action::Block, path("/app/main"))])], &links, &[(map("/app/main"), ALLOW)]);
}

#[test]
fn meaning_2_a_loader_maps_as_if_it_were_an_exec() {
    let allow_list = [lower(&[process(Action::Allow, path("/b"))])];
    for loader in ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-musl-x86_64", "/lib/ld.so.1"] {
        let by_loader = |operation| from(Program::Path(loader.into()), operation);
        assert_eq!(ask(&allow_list, &Links::default(), &by_loader(map("/a"))).verdict, BLOCK, "{loader}");
        assert_eq!(ask(&allow_list, &Links::default(), &by_loader(map("/b"))).verdict, ALLOW, "{loader}");
        assert_eq!(ask(&allow_list, &Links::default(), &by_loader(map("/lib/libc.so.6"))).verdict, BLOCK, "no base set");
        let memfd = Operation::MapExec { object: Object::Memfd(b"x".to_vec()), owner: None };
        assert_eq!(ask(&allow_list, &Links::default(), &by_loader(memfd.clone())).verdict, BLOCK);
        assert_eq!(ask(&allow_list, &Links::default(), &by_main(memfd)).verdict, ALLOW);
    }
}

#[test]
fn meaning_2_a_memfd_is_met_by_its_own_patterns_and_the_whole_tree() {
    let links = Links::default();
    for (rule, name, expected) in [
        (glob("memfd:x*"), "x/y", BLOCK),
        (glob("memfd:x"), "y", ALLOW),
        (dir("/", true), "x", BLOCK),
        (dir("/", false), "x", ALLOW),
        (glob("/**"), "x", BLOCK),
        (glob("**"), "x", BLOCK),
        (glob("**/x"), "a/x", ALLOW),
        (glob("*"), "x", ALLOW),
        (execname("x"), "x", ALLOW),
    ] {
        check(&[lower(&[process(Action::Block, rule)])], &links, &[(memfd(name), expected)]);
    }
    check(&[lower(&[process(Action::Allow, path("/b"))])], &links, &[(memfd("x"), BLOCK)]);
    let used = Operation::File { mode: FileMode::Write, object: Object::Memfd(b"x".to_vec()), owner: None, block_device: false };
    check(&[files(&[file(Action::Block, dir("/", true))])], &links, &[(used, ALLOW)]);
}

#[test]
fn meaning_2_passed_descriptors_rank_below_a_written_block() {
    let stdio = vec![StdioFile { path: b"/log".to_vec(), readable: false, writable: true }];
    let workload = Workload { stdio, ..Workload::run() };
    let verdict =
        |rules: &[FileRule], operation| judge(&[files(rules)], &workload, &Links::default(), &by_main(operation)).verdict;
    let allow_list = file(Action::Allow, path("/a"));
    assert_eq!(verdict(std::slice::from_ref(&allow_list), write("/log")), ALLOW);
    assert_eq!(verdict(std::slice::from_ref(&allow_list), read("/log")), BLOCK);
    assert_eq!(verdict(&[allow_list, file(Action::Block, path("/log"))], write("/log")), BLOCK);
}

#[test]
fn meaning_3_1_what_cannot_be_told_meets_blocks_and_no_allow() {
    let unresolvable = Operation::File { mode: FileMode::Read, object: Object::Unresolvable, owner: None, block_device: false };
    let access = by_main(unresolvable);
    let at = |posture, rules: &[FileRule]| {
        let postures = Postures { file: posture, ..Postures::WORKLOAD };
        judge(&[files(rules)], &Workload { postures, ..Workload::run() }, &Links::default(), &access)
    };
    let (block, allow) = (file(Action::Block, path("/a")), file(Action::Allow, dir("/", true)));
    assert_eq!(at(Posture::Audit, std::slice::from_ref(&block)).verdict, BLOCK);
    assert_eq!(at(Posture::Block, std::slice::from_ref(&allow)).verdict, BLOCK);
    assert_eq!(at(Posture::Audit, std::slice::from_ref(&allow)).verdict, AUDIT);
    assert_eq!(at(Posture::Audit, &[allow]).by, By::BuiltIn("unresolvable"));
    assert_eq!(at(Posture::Block, &[]).verdict, ALLOW);
}

#[test]
fn meaning_3_2_directories_are_themselves_and_their_children() {
    let links = Links::default();
    let rules = |recursive| [files(&[file(Action::Block, dir("/a/b/", recursive))])];
    check(
        &rules(false),
        &links,
        &[
            (write("/a/b"), BLOCK),
            (write("/a/b/c"), BLOCK),
            (write("/a/b/c/d"), ALLOW),
            (write("/a/bc"), ALLOW),
            (write("/a"), ALLOW),
        ],
    );
    check(&rules(true), &links, &[(write("/a/b/c/d"), BLOCK), (write("/a/bc/d"), ALLOW)]);
    check(
        &[files(&[file(Action::Block, dir("/", false))])],
        &links,
        &[(write("/"), BLOCK), (write("/a"), BLOCK), (write("/a/b"), ALLOW)],
    );
}

#[test]
fn meaning_3_2_execname_also_meets_invocations_of_multi_call_binaries() {
    let links = Links::default();
    let block = [lower(&[process(Action::Block, execname("wget"))])];
    check(
        &block,
        &links,
        &[
            (exec("/x/wget"), BLOCK),
            (exec_as("/bin/busybox", "wget"), BLOCK),
            (exec_as("/bin/busybox", "ls"), ALLOW),
            (exec_as("/bin/other", "wget"), ALLOW),
        ],
    );
    let allow = [lower(&[process(Action::Allow, execname("wget"))])];
    check(&allow, &links, &[(exec_as("/bin/busybox", "wget"), BLOCK), (exec("/x/wget"), ALLOW)]);
}

#[test]
fn meaning_3_3_a_path_is_literal_and_glob() {
    let links = Links::default();
    let p = [files(&[file(Action::Block, path("/a/*/c")), file(Action::Allow, glob("/a/long-name-here/?"))])];
    check(&p, &links, &[(write("/a/*/c"), BLOCK), (write("/a/b/c"), BLOCK), (write("/a/long-name-here/c"), ALLOW)]);
    check(&[files(&[file(Action::Block, path("/a/[b"))])], &links, &[(write("/a/[b"), BLOCK), (write("/a/b"), ALLOW)]);
    check(&[files(&[file(Action::Block, dir("/a/*/", false))])], &links, &[(write("/a/b/c"), BLOCK), (write("/a/b/c/d"), ALLOW)]);
}

#[test]
fn meaning_3_4_own_procfs_entries() {
    let p = [files(&[file(Action::Block, path("/proc/thread-self/maps")), file(Action::Block, glob("/proc/[0-9]*/mem"))])];
    check(
        &p,
        &Links::default(),
        &[(read("/proc/self/maps"), BLOCK), (read("/proc/1/mem"), BLOCK), (read("/proc/self/mem"), ALLOW)],
    );
}

#[test]
fn meaning_3_5_links_are_followed_and_young_ones_not_by_allow() {
    let old = Links::default().with("/var/run", "/run");
    let young = Links::default().with_young("/var/run", "/run");
    for (action, links, expected) in [
        (Action::Block, &old, BLOCK),
        (Action::Block, &young, BLOCK),
        (Action::Allow, &old, ALLOW),
        (Action::Allow, &young, BLOCK),
    ] {
        for rule in [path("/var/run/x"), dir("/var/run/", false), glob("/var/run/*"), path("/var/run/{x,y}")] {
            check(&[files(&[file(action, rule)])], links, &[(write("/run/x"), expected)]);
        }
    }
    let last = Links::default().with("/bin/sh", "dash");
    check(&[lower(&[process(Action::Block, glob("/bin/sh"))])], &last, &[(exec("/bin/dash"), BLOCK)]);
}

#[test]
fn meaning_3_6_a_block_of_another_name_holds_for_that_invocation() {
    let links = Links::default().with("/bin/sh", "/bin/busybox");
    let block = [lower(&[process(Action::Block, path("/bin/sh"))])];
    check(&block, &links, &[(exec_as("/bin/busybox", "sh"), BLOCK), (exec_as("/bin/busybox", "ls"), ALLOW)]);
    let whole = [lower(&[process(Action::Block, path("/bin/busybox"))])];
    check(&whole, &links, &[(exec_as("/bin/busybox", "ls"), BLOCK)]);
    let allow = [lower(&[process(Action::Allow, path("/bin/sh"))])];
    check(&allow, &links, &[(exec_as("/bin/busybox", "ls"), ALLOW)]);
    let sourced = [lower(&[ProcessRule { from_source: source("/bin/sh"), ..process(Action::Block, path("/a")) }])];
    let by_busybox = from(Program::Path(b"/bin/busybox".to_vec()), exec("/a"));
    assert_eq!(ask(&sourced, &links, &by_busybox).verdict, BLOCK);
}

#[test]
fn meaning_3_7_sources_of_interpreter_stages() {
    let rule = |action| ProcessRule { from_source: source("/s"), ..process(action, path("/i")) };
    let stage = |caller: Program, scripts: &[&str]| {
        let Operation::Exec { object, owner, invoked_as, arguments, .. } = exec("/i") else { unreachable!() };
        let scripts = scripts.iter().map(|s| Program::Path(s.as_bytes().to_vec())).collect();
        from(caller, Operation::Exec { object, owner, scripts, invoked_as, arguments })
    };
    let caller = |text: &str| Program::Path(text.as_bytes().to_vec());
    for (who, scripts, blocked, allowed) in [
        (caller("/s"), vec![], true, true),
        (caller("/t"), vec![], false, false),
        (caller("/s"), vec!["/t"], true, false),
        (caller("/t"), vec!["/s"], true, true),
        (caller("/t"), vec!["/s", "/t"], true, false),
        (Program::Unknown, vec![], true, false),
    ] {
        let access = stage(who, &scripts);
        let verdict = |action| ask(&[lower(&[rule(action)])], &Links::default(), &access).verdict;
        assert_eq!(verdict(Action::Block) == BLOCK, blocked, "{access:?}");
        assert_eq!(verdict(Action::Allow) == ALLOW, allowed, "{access:?}");
        assert_eq!(verdict(Action::Audit) == AUDIT, blocked, "{access:?}");
    }
}

#[test]
fn meaning_3_8_terminals_are_part_of_the_match() {
    for (action, terminal, expected) in [
        (Action::Block, true, BLOCK),
        (Action::Block, false, ALLOW),
        (Action::Audit, true, AUDIT),
        (Action::Audit, false, ALLOW),
        (Action::Allow, true, BLOCK),
        (Action::Allow, false, ALLOW),
    ] {
        let p = lower(&[ProcessRule { pts_false: true, ..process(action, path("/a")) }]);
        let access = Access { actor: palisade_ruleset::Actor { terminal, ..actor("/app/main") }, operation: exec("/a") };
        assert_eq!(ask(&[p], &Links::default(), &access).verdict, expected, "{action:?} {terminal}");
    }
}

#[test]
fn meaning_3_8_conditions_decide_both_ways() {
    let links = Links::default();
    for (action, denied) in [(Action::Allow, BLOCK), (Action::Block, BLOCK), (Action::Audit, AUDIT)] {
        let p = [files(&[FileRule { read_only: true, ..file(action, path("/a")) }])];
        check(&p, &links, &[(read("/a"), ALLOW), (write("/a"), denied)]);
        let owned = [files(&[FileRule { owner_only: true, ..file(action, path("/a")) }])];
        let own = Operation::File { mode: FileMode::Write, object: object("/a"), owner: Some(1000), block_device: false };
        let unknown = Operation::File { mode: FileMode::Write, object: object("/a"), owner: None, block_device: false };
        check(&owned, &links, &[(own, ALLOW), (read("/a"), denied), (unknown, denied)]);
        let args = Some(vec!["-v".to_owned(), "a".to_owned()]);
        let listed = [lower(&[ProcessRule { allowed_args: args, ..process(action, path("/a")) }])];
        check(
            &listed,
            &links,
            &[
                (exec_with("/a", Some(&["x", "-v"])), ALLOW),
                (exec_with("/a", Some(&["x", "-v", "-q"])), denied),
                (exec_with("/a", Some(&["a"])), ALLOW),
                (exec_with("/a", Some(&["x"])), denied),
                (exec_with("/a", None), denied),
            ],
        );
    }
}

#[test]
fn meaning_3_8_a_block_lets_pass_in_its_own_policy_only() {
    let silent = FileRule { read_only: true, ..file(Action::Block, path("/a")) };
    let grants = named(Kind::Namespaced, "one", &[], &[silent, file(Action::Allow, path("/b"))]);
    let closes = named(Kind::Namespaced, "two", &[], &[file(Action::Allow, path("/c"))]);
    check(std::slice::from_ref(&grants), &Links::default(), &[(read("/a"), ALLOW), (read("/d"), BLOCK)]);
    check(&[grants, closes], &Links::default(), &[(read("/a"), BLOCK)]);
}

#[test]
fn meaning_4_better_named_rules_win() {
    let links = Links::default();
    let sourced = |action, object| ProcessRule { from_source: source("/app/main"), ..process(action, object) };
    for (better, worse) in [
        (process(Action::Allow, path("/a/b")), process(Action::Block, execname("b"))),
        (process(Action::Allow, execname("b")), process(Action::Block, glob("/a/?"))),
        (process(Action::Allow, glob("/a/?")), process(Action::Block, glob("/?/?"))),
        (process(Action::Allow, glob("/?/?")), process(Action::Block, dir("/a/", true))),
        (process(Action::Allow, dir("/a/", false)), process(Action::Block, dir("/", true))),
        (process(Action::Allow, glob("/a/*")), process(Action::Block, dir("/", true))),
        (sourced(Action::Allow, dir("/", true)), process(Action::Block, path("/a/b"))),
        (sourced(Action::Allow, path("/a/b")), sourced(Action::Block, glob("/a/?"))),
        (process(Action::Allow, path("/a/b")), process(Action::Block, path("/a/{b,c}"))),
    ] {
        check(&[lower(&[better.clone(), worse.clone()])], &links, &[(exec("/a/b"), ALLOW)]);
        let one = named(Kind::Namespaced, "one", &[worse], &[]);
        let two = named(Kind::Namespaced, "two", &[better], &[]);
        check(&[one, two], &links, &[(exec("/a/b"), ALLOW)]);
    }
    let by_glob =
        ProcessRule { from_source: vec![SourceMatch::Path(path_name("/app/*"))], ..process(Action::Block, path("/a/b")) };
    check(&[lower(&[by_glob, sourced(Action::Allow, path("/a/b"))])], &links, &[(exec("/a/b"), ALLOW)]);
    let equal = [process(Action::Allow, dir("/a/", true)), process(Action::Block, glob("/a/*"))];
    check(&[lower(&equal)], &links, &[(exec("/a/b"), BLOCK)]);
}

#[test]
fn meaning_5_audit_observes_and_opens_nothing() {
    let links = Links::default();
    let audit = named(Kind::Namespaced, "audit", &[process(Action::Audit, path("/a/b"))], &[]);
    let block = named(Kind::Namespaced, "block", &[process(Action::Block, dir("/a/", true))], &[]);
    let allow_list = named(Kind::Namespaced, "allow", &[process(Action::Allow, path("/c"))], &[]);
    check(std::slice::from_ref(&audit), &links, &[(exec("/a/b"), AUDIT)]);
    check(&[audit.clone(), block], &links, &[(exec("/a/b"), BLOCK)]);
    check(&[audit, allow_list], &links, &[(exec("/a/b"), BLOCK)]);
    // In its own policy it lets pass, as far as that policy goes, and an Allow behind it speaks.
    let own =
        [process(Action::Audit, path("/a/b")), process(Action::Block, dir("/a/", true)), process(Action::Allow, path("/c"))];
    check(&[lower(&own)], &links, &[(exec("/a/b"), AUDIT), (exec("/a/c"), BLOCK)]);
    let opens =
        named(Kind::Namespaced, "a", &[process(Action::Audit, path("/a/b")), process(Action::Allow, dir("/a/", true))], &[]);
    let posture = named(Kind::Namespaced, "b", &[process(Action::Allow, path("/c"))], &[]);
    check(&[opens, posture], &links, &[(exec("/a/b"), AUDIT)]);
}

#[test]
fn meaning_5_tiers() {
    let links = Links::default();
    let (allow, block) = (process(Action::Allow, path("/a")), process(Action::Block, dir("/", true)));
    let upper = |rule: &ProcessRule| named(Kind::Cluster, "upper", std::slice::from_ref(rule), &[]);
    check(&[upper(&block), lower(std::slice::from_ref(&allow))], &links, &[(exec("/a"), BLOCK)]);
    check(&[upper(&allow), lower(std::slice::from_ref(&block))], &links, &[(exec("/a"), BLOCK)]);
    // A winner beats a posture, whatever their tiers.
    let other = process(Action::Allow, path("/b"));
    check(&[upper(&other), lower(&[allow])], &links, &[(exec("/a"), ALLOW), (exec("/c"), BLOCK)]);
    let by = ask(&[upper(&other)], &links, &by_main(exec("/c"))).by;
    assert_eq!(by, By::DefaultPosture);
}

#[test]
fn meaning_5_the_base_set_is_asked_before_the_posture_and_after_winners() {
    let links = Links::default();
    let allow_list = files(&[file(Action::Allow, path("/a"))]);
    let audit = named(Kind::Namespaced, "audit", &[], &[file(Action::Audit, dir("/lib/", true))]);
    let block = named(Kind::Namespaced, "block", &[], &[file(Action::Block, dir("/lib/", true))]);
    let libc = read("/lib/libc.so.6");
    check(std::slice::from_ref(&allow_list), &links, &[(libc.clone(), ALLOW), (write("/lib/libc.so.6"), BLOCK)]);
    check(&[allow_list.clone(), audit], &links, &[(libc.clone(), AUDIT)]);
    check(&[allow_list.clone(), block], &links, &[(libc.clone(), BLOCK)]);
    let without = Workload { base_set: false, ..Workload::run() };
    assert_eq!(judge(&[allow_list], &without, &links, &by_main(libc)).verdict, BLOCK);
}

#[test]
fn meaning_5_network_and_capabilities() {
    let links = Links::default();
    let mut p = policy(Kind::Namespaced, "net");
    p.network = vec![
        network(Action::Block, Protocol::All),
        network(Action::Allow, Protocol::Stream),
        network(Action::Block, Protocol::Tcp),
    ];
    let chown = Capability::from_number(0).unwrap();
    p.capabilities = vec![capability(Action::Allow, chown)];
    check(
        &[numbered(p)],
        &links,
        &[
            (socket(2, 1, 6), BLOCK),
            (socket(2, 1, 132), ALLOW),
            (socket(43, 1, 0), BLOCK),
            (socket(2, 3, 132), BLOCK),
            (socket(1, 1, 0), ALLOW),
            (socket(16, 3, 0), ALLOW),
            (socket(16, 3, 9), BLOCK),
            (Operation::Capability { number: 0 }, ALLOW),
            (Operation::Capability { number: 1 }, BLOCK),
        ],
    );
}

#[test]
fn meaning_5_mount_integrity() {
    let p = [files(&[
        file(Action::Block, path("/a/b/c")),
        file(Action::Audit, dir("/d/", true)),
        file(Action::Block, dir("/", true)),
    ])];
    let new = |at: &str| Operation::Mount(MountChange::New { at: at.into() });
    check(
        &p,
        &Links::default(),
        &[
            (new("/a/b/c"), BLOCK),
            (new("/a/b"), BLOCK),
            (new("/a"), BLOCK),
            (new("/a/b/c/d"), ALLOW),
            (new("/d/x/y"), BLOCK),
            (new("/mnt"), ALLOW),
            (Operation::Mount(MountChange::Rearrange), BLOCK),
            (Operation::Mount(MountChange::PivotRoot), BLOCK),
            (Operation::Mount(MountChange::UnmountOwn), ALLOW),
            (Operation::Mount(MountChange::UnmountForeign), BLOCK),
        ],
    );
    check(&[], &Links::default(), &[(Operation::Mount(MountChange::Rearrange), ALLOW)]);
    let lifted = Workload { allow_mounts: true, ..Workload::run() };
    let rearrange = by_main(Operation::Mount(MountChange::Rearrange));
    assert_eq!(judge(&p, &lifted, &Links::default(), &rearrange).verdict, ALLOW);
}

#[test]
fn meaning_5_tree_integrity() {
    let moved = |from: &str| Operation::MoveDirectory { object: object(from) };
    let links = Links::default();
    let p = |rule: FileRule| [files(&[rule])];
    check(
        &p(file(Action::Block, path("/a/b/c"))),
        &links,
        &[(moved("/a"), BLOCK), (moved("/a/b/c"), ALLOW), (moved("/b"), ALLOW)],
    );
    check(&p(file(Action::Block, dir("/a/b/", false))), &links, &[(moved("/a/b"), BLOCK), (moved("/a/b/c"), ALLOW)]);
    check(&p(file(Action::Block, dir("/a/b/", true))), &links, &[(moved("/a/b/c"), BLOCK)]);
    check(&p(file(Action::Block, glob("/a/*/c"))), &links, &[(moved("/a/x"), BLOCK), (moved("/a/x/c"), ALLOW)]);
    check(&p(file(Action::Block, glob("**/c"))), &links, &[(moved("/a"), ALLOW)]);
    check(&p(file(Action::Block, dir("/", true))), &links, &[(moved("/a"), ALLOW)]);
    check(&p(file(Action::Audit, path("/a/b"))), &links, &[(moved("/a"), ALLOW)]);
    check(&p(file(Action::Allow, path("/a/b"))), &links, &[(moved("/a"), ALLOW)]);
    check(&p(FileRule { read_only: true, ..file(Action::Allow, path("/a/b")) }), &links, &[(moved("/a"), BLOCK)]);
}

#[test]
fn meaning_5_devices_sources_and_self() {
    let links = Links::default();
    let open = |path: &str| Operation::File { mode: FileMode::Read, object: object(path), owner: None, block_device: true };
    check(&[files(&[file(Action::Allow, dir("/dev/", true))])], &links, &[(open("/dev/sda"), BLOCK), (read("/dev/sda"), ALLOW)]);
    check(&[files(&[file(Action::Allow, path("/dev/sda"))])], &links, &[(open("/dev/sda"), ALLOW)]);
    check(&[files(&[file(Action::Allow, glob("/dev/sd?"))])], &links, &[(open("/dev/sda"), ALLOW)]);
    check(&[files(&[file(Action::Audit, path("/dev/sda"))])], &links, &[(open("/dev/sda"), BLOCK)]);
    check(&[files(&[file(Action::Allow, path("/tmp/sda"))])], &links, &[(open("/tmp/sda"), BLOCK)]);
    check(&[], &links, &[(open("/dev/sda"), ALLOW)]);

    let attach = |to: &str| Operation::Attach { target: Program::Path(to.into()) };
    let sourced = [lower(&[ProcessRule { from_source: source("/s"), ..process(Action::Allow, path("/a")) }])];
    check(&sourced, &links, &[(attach("/s"), BLOCK), (attach("/app/main"), ALLOW)]);
    check(&[lower(&[process(Action::Allow, path("/a"))])], &links, &[(attach("/s"), ALLOW)]);
    check(&[], &links, &[(Operation::TouchPalisade, BLOCK)]);
}
