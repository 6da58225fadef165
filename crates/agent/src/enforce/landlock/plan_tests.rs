//! Plans over table trees: what is granted, and that it is what `decide()` answers.

use palisade_policy::model::Class;
use palisade_ruleset::{Mode, Posture, Postures, RuleSet, Scope, Tree, Workload};

use super::ask::Asker;
use super::testing::{rules_of, rules_of_text};
use super::{
    Abi, Difference, Effect, FileKind, Interpreter, NonRecursive, Plan, PlanError, PlanOptions, Rights, TableView, View,
};

const LOADER: &str = "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";

/// A small merged-usr system.
fn tree() -> TableView {
    let mut view = TableView::new(&[
        "/app/server.js",
        "/app/node_modules/m/index.js",
        "/dev/null",
        "/dev/pts/0",
        "/dev/mapper/",
        "/etc/hosts",
        "/etc/passwd",
        "/etc/shadow",
        "/etc/ssl/certs/a.pem",
        "/etc/ssl/private/key",
        "/home/u/x",
        "/proc/1/status",
        "/proc/meminfo",
        "/proc/sys/kernel/core_pattern",
        "/sys/devices/system/cpu/online",
        "/tmp/d/x",
        "/tmp/x",
        "/usr/bin/bash",
        "/usr/bin/dash",
        "/usr/bin/perl5.36",
        "/usr/bin/psql",
        "/usr/bin/python3.11",
        "/usr/lib/postgresql/15/bin/initdb",
        "/usr/lib/postgresql/15/bin/postgres",
        "/usr/lib/postgresql/15/bin/psql",
        LOADER,
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
        "/usr/lib/x86_64-linux-gnu/perl/x.pm",
        "/usr/local/bin/node",
        "/usr/share/zoneinfo/UTC",
        "/run/postgresql/s",
        "/srv/",
        "/var/lib/postgresql/data/base",
        "/var/log/nginx/access.log",
        "/etc/postgresql/15/conf",
    ]);
    view.add("/dev/vda", FileKind::BlockDevice);
    let links = [
        ("/bin", "/usr/bin"),
        ("/lib", "/usr/lib"),
        ("/lib64", "/usr/lib/x86_64-linux-gnu"),
        ("/var/run", "/run"),
        ("/usr/bin/sh", "/usr/bin/dash"),
    ];
    let mut view = links.iter().fold(view, |view, (from, to)| view.link(from, to));
    for program in ["/usr/local/bin/node", "/usr/lib/postgresql/15/bin/postgres", "/usr/bin/bash"] {
        view = view.with_interpreter(program, Interpreter::Loader(b"/lib64/ld-linux-x86-64.so.2".to_vec()));
    }
    view
}

fn options() -> PlanOptions {
    PlanOptions::new(Abi::new(7))
}

fn planned(spec: &str) -> (RuleSet, Plan) {
    let view = tree();
    let rules = rules_of(spec, &view, &Workload::run());
    let plan = Plan::new(&rules, &view, &options()).unwrap();
    (rules, plan)
}

/// The rights that a path has: its own and those of the directories above; everything that is not handled.
fn effective(plan: &Plan, path: &str) -> Rights {
    let covers =
        |grant: &[u8]| grant == b"/" || path.as_bytes().strip_prefix(grant).is_some_and(|r| r.is_empty() || r.starts_with(b"/"));
    plan.grants.iter().filter(|g| covers(&g.path)).fold(!plan.handled, |all, g| all | g.access)
}

fn may(plan: &Plan, path: &str, right: Rights) -> bool {
    effective(plan, path).contains(right)
}

fn has_gap(plan: &Plan, difference: Difference, effect: Effect) -> bool {
    plan.gaps.iter().any(|g| g.difference == difference && g.effect == effect)
}

/// Every existing file, as (path, is a directory).
fn everything(view: &TableView, directory: &str, out: &mut Vec<(String, FileKind)>) {
    for child in view.children(directory.as_bytes(), usize::MAX).unwrap() {
        let name = String::from_utf8(child.name).unwrap();
        let path = if directory == "/" { format!("/{name}") } else { format!("{directory}/{name}") };
        out.push((path.clone(), child.kind));
        if child.kind == FileKind::Directory {
            everything(view, &path, out);
        }
    }
}

/// Compares a plan with the law for every existing object, both ways. Exempt: what L2 and L1 make readable and
/// executable, and procfs (L17).
fn agrees(rules: &RuleSet, plan: &Plan, narrower: &[&str]) {
    let view = tree();
    let asker = Asker::new(rules);
    let mut all = Vec::new();
    everything(&view, "/", &mut all);
    for (path, kind) in all.into_iter().filter(|(p, k)| !p.starts_with("/proc") && *k != FileKind::Link) {
        let block = kind == FileKind::BlockDevice;
        let name = path.as_bytes();
        let mut questions = Vec::new();
        if kind == FileKind::Directory {
            questions.push((Rights::READ_DIR, asker.read(name, false).passes));
        } else {
            questions.push((Rights::EXECUTE, asker.exec(name).passes));
            questions.push((Rights::READ_FILE, asker.read(name, block).passes));
            questions.push((Rights::WRITE_FILE, asker.write(name, block).passes));
        }
        for (right, law) in questions {
            let here = may(plan, &path, right);
            let started = path == LOADER || (right == Rights::READ_FILE && may(plan, &path, Rights::EXECUTE));
            if here && !law && !started {
                panic!("{path}: {right} passes, the law denies it");
            }
            if !here && law && !narrower.contains(&path.as_str()) {
                panic!("{path}: {right} is denied, the law lets it pass");
            }
        }
    }
}

#[test]
fn the_node_policy_of_the_seed() {
    let (rules, plan) = planned(
        "  process:
    matchPaths: [{path: /usr/local/bin/node, action: Allow}, {path: /usr/bin/node, action: Allow}]
    matchDirectories: [{dir: /, recursive: true, action: Block}]
  file:
    matchDirectories:
    - {dir: /app/, recursive: true, readOnly: true, action: Allow}
    - {dir: /tmp/, action: Allow}
    matchPaths: [{path: /etc/passwd, readOnly: true, action: Allow}]
  network: {matchProtocols: [{protocol: tcp, action: Allow}, {protocol: udp, action: Allow}, {protocol: raw, action: Block}]}",
    );
    // /tmp has a subdirectory: it keeps its children and cannot be listed.
    agrees(&rules, &plan, &["/tmp", "/tmp/d"]);
    assert!(may(&plan, "/usr/local/bin/node", Rights::EXECUTE | Rights::READ_FILE));
    assert!(may(&plan, LOADER, Rights::EXECUTE));
    assert!(may(&plan, "/tmp/x", Rights::WRITE_FILE) && !may(&plan, "/tmp/d/x", Rights::READ_FILE));
    assert!(!may(&plan, "/tmp", Rights::MAKE_REG));
    assert!(has_gap(&plan, Difference::NON_RECURSIVE, Effect::Narrower));
    assert!(may(&plan, "/proc/self", Rights::READ_FILE) && !may(&plan, "/proc/1/status", Rights::READ_FILE));
    assert!(plan.syscalls.refuses(2, 3, 1) && !plan.syscalls.refuses(2, 1, 0) && plan.syscalls.executable_memfd);
    let node = plan.grants.iter().find(|g| g.path == b"/usr/local/bin/node").unwrap();
    assert_eq!(node.by, [0], "the grant names the rule that it comes from");
}

#[test]
fn the_same_with_directories_made_recursive() {
    let view = tree();
    let rules = rules_of("  file: {matchDirectories: [{dir: /tmp/, action: Allow}]}", &view, &Workload::run());
    let plan = Plan::new(&rules, &view, &PlanOptions { non_recursive: NonRecursive::Recursive, ..options() }).unwrap();
    assert!(may(&plan, "/tmp/d/x", Rights::WRITE_FILE) && may(&plan, "/tmp", Rights::MAKE_REG | Rights::MAKE_DIR));
    assert!(plan.unmet().any(|g| g.difference == Difference::NON_RECURSIVE && g.effect == Effect::Wider));
}

#[test]
fn a_directory_without_recursive_is_unmet_even_where_it_has_no_subdirectories() {
    let view = tree();
    let rules = rules_of("  file: {matchDirectories: [{dir: /tmp/d/, action: Allow}]}", &view, &Workload::run());
    let plan = Plan::new(&rules, &view, &options()).unwrap();
    assert!(may(&plan, "/tmp/d", Rights::MAKE_REG) && !may(&plan, "/tmp/d", Rights::MAKE_DIR));
    assert!(plan.unmet().any(|g| g.difference == Difference::NON_RECURSIVE && g.effect == Effect::Wider), "{:?}", plan.gaps);
}

#[test]
fn the_postgres_policy_of_the_seed() {
    let (rules, plan) = planned(
        "  process:
    matchPaths: [{path: '/usr/lib/postgresql/*/bin/postgres', action: Allow}, {path: '/usr/lib/postgresql/*/bin/initdb', action: Allow}]
    matchDirectories: [{dir: /, recursive: true, action: Block}]
  file:
    matchDirectories:
    - {dir: /var/lib/postgresql/, recursive: true, action: Allow}
    - {dir: /var/run/postgresql/, action: Allow}
    - {dir: /etc/postgresql/, recursive: true, readOnly: true, action: Allow}
  capabilities: {matchCapabilities: [{capability: net_bind_service, action: Block}]}",
    );
    agrees(&rules, &plan, &[]);
    assert!(may(&plan, "/usr/lib/postgresql/15/bin/postgres", Rights::EXECUTE));
    assert!(!may(&plan, "/usr/lib/postgresql/15/bin/psql", Rights::EXECUTE));
    // Through the link, without subdirectories: exact but for mkdir.
    assert!(may(&plan, "/run/postgresql", Rights::MAKE_SOCK | Rights::REMOVE_FILE | Rights::WRITE_FILE | Rights::READ_DIR));
    assert!(!may(&plan, "/run/postgresql", Rights::MAKE_DIR));
    assert_eq!(plan.drop_capabilities, [10]);
}

#[test]
fn blocks_alone_carve_out_and_leave_the_rest_unhandled() {
    let (rules, plan) = planned(
        "  process: {matchPaths: [{path: /bin/bash, action: Block}]}\n  file: {matchDirectories: [{dir: /etc/, readOnly: true, action: Block}]}",
    );
    agrees(&rules, &plan, &[]);
    // Reading is handled for the sake of block devices alone.
    assert!(!plan.handled.contains(Rights::READ_DIR) && may(&plan, "/etc", Rights::READ_FILE));
    assert!(!may(&plan, "/dev/vda", Rights::READ_FILE));
    assert!(!may(&plan, "/usr/bin/bash", Rights::EXECUTE) && may(&plan, "/usr/bin/dash", Rights::EXECUTE));
    assert!(!may(&plan, "/etc", Rights::MAKE_REG) && may(&plan, "/etc/ssl", Rights::MAKE_REG));
    assert!(!may(&plan, "/etc/hosts", Rights::WRITE_FILE) && may(&plan, "/etc/ssl/private/key", Rights::WRITE_FILE));
    assert!(has_gap(&plan, Difference::LATER, Effect::Narrower));
}

#[test]
fn names_that_begin_anywhere_are_looked_for_everywhere() {
    let (rules, plan) = planned(
        "  process: {matchPatterns: [{pattern: '**/python*', action: Block}, {pattern: '**/perl*', action: Block}], \
         matchPaths: [{execname: psql, action: Block}]}",
    );
    agrees(&rules, &plan, &[]);
    for blocked in ["/usr/bin/python3.11", "/usr/bin/perl5.36", "/usr/bin/psql", "/usr/lib/postgresql/15/bin/psql"] {
        assert!(!may(&plan, blocked, Rights::EXECUTE), "{blocked}");
    }
    // Where none is, the directory is granted: what appears there later passes, and that is said.
    assert!(plan.grants.iter().any(|g| g.path == b"/home" && g.access == Rights::EXECUTE));
    assert!(has_gap(&plan, Difference::GLOBS, Effect::Wider));
}

#[test]
fn a_file_allow_list_alone_lets_the_usual_programs_start() {
    let (_, plan) = planned("  file: {matchDirectories: [{dir: /app/, recursive: true, action: Allow}]}");
    assert!(!plan.handled.contains(Rights::EXECUTE));
    assert!(may(&plan, "/usr/bin/bash", Rights::READ_FILE) && may(&plan, LOADER, Rights::READ_FILE));
    assert!(!may(&plan, "/usr/lib/postgresql/15/bin/postgres", Rights::READ_FILE));
    assert!(has_gap(&plan, Difference::EXEC_READS, Effect::Wider));
    assert!(has_gap(&plan, Difference::UNREADABLE_EXEC, Effect::Narrower));
}

#[test]
fn the_program_to_start_is_made_readable_with_its_interpreters() {
    let view = tree().with_interpreter("/srv/run", Interpreter::Script(b"/bin/bash".to_vec()));
    let mut view = view;
    view.add("/srv/run", FileKind::File);
    let rules = rules_of("  file: {matchPaths: [{path: /etc/hosts, action: Allow}]}", &view, &Workload::run());
    let start = PlanOptions { start: Some(b"/srv/run".to_vec()), ..options() };
    let plan = Plan::new(&rules, &view, &start).unwrap();
    assert!(may(&plan, "/srv/run", Rights::READ_FILE) && may(&plan, "/usr/bin/bash", Rights::READ_FILE));
    assert!(!may(&plan, "/srv", Rights::READ_FILE));
}

#[test]
fn devices_and_procfs_entries_are_told_apart() {
    let (rules, plan) = planned(
        "  file: {matchDirectories: [{dir: /, recursive: true, action: Allow}], matchPaths: [{path: /proc/sys/kernel/core_pattern, action: Block}]}",
    );
    agrees(&rules, &plan, &["/"]);
    assert!(!may(&plan, "/dev/vda", Rights::READ_FILE) && may(&plan, "/dev/null", Rights::WRITE_FILE));
    assert!(!may(&plan, "/proc/sys/kernel/core_pattern", Rights::WRITE_FILE) && may(&plan, "/proc/meminfo", Rights::READ_FILE));
    assert!(!may(&plan, "/proc/1/status", Rights::READ_FILE) && may(&plan, "/proc/self/maps", Rights::READ_FILE));
    assert!(plan.handled.contains(Rights::MAKE_BLOCK) && !may(&plan, "/home", Rights::MAKE_BLOCK));
}

#[test]
fn conditions_that_landlock_does_not_know_are_taken_strictly() {
    let (_, plan) = planned(
        "  process:
    matchPaths:
    - {path: /usr/bin/bash, action: Allow, fromSource: [{path: /usr/local/bin/node}]}
    - {path: /usr/bin/dash, action: Allow, ownerOnly: true}
    - {path: /usr/bin/psql, action: Allow, allowedArgs: [-l]}
    - {path: /usr/local/bin/node, action: Allow}
  file:
    matchPaths:
    - {path: /etc/hosts, action: Block, fromSource: [{path: /usr/bin/bash}]}
    - {path: /etc/passwd, action: Audit}",
    );
    for program in ["/usr/bin/bash", "/usr/bin/dash", "/usr/bin/psql"] {
        assert!(!may(&plan, program, Rights::EXECUTE), "{program}");
    }
    assert!(may(&plan, "/usr/local/bin/node", Rights::EXECUTE) && !may(&plan, "/etc/hosts", Rights::READ_FILE));
    let unmet: Vec<Difference> = plan.unmet().map(|g| g.difference).collect();
    for difference in [Difference::SOURCE, Difference::CONDITIONS, Difference::AUDIT] {
        assert!(unmet.contains(&difference), "{difference}");
    }
    let sourced = plan.unmet().find(|g| g.difference == Difference::SOURCE && g.class == "process").unwrap();
    assert_eq!(sourced.rules, [0]);
}

#[test]
fn pts_takes_the_stricter_of_both() {
    let (_, plan) = planned("  process: {matchPaths: [{path: /usr/bin/bash, action: Block, pts: false}]}");
    assert!(!may(&plan, "/usr/bin/bash", Rights::EXECUTE));
    assert!(plan.unmet().any(|g| g.difference == Difference::TERMINAL));
}

#[test]
fn what_only_reports_restricts_nothing_and_says_so() {
    let spec = "  process: {matchPaths: [{path: /usr/bin/bash, action: Audit}]}";
    let (_, plan) = planned(spec);
    assert!(plan.is_empty() && plan.unmet().any(|g| g.difference == Difference::AUDIT));
    let spec = "  file: {matchPaths: [{path: /etc/hosts, action: Allow}]}";
    let rules = rules_of(spec, &tree(), &Workload { mode: Mode::Audit, ..Workload::run() });
    let plan = Plan::new(&rules, &tree(), &options()).unwrap();
    assert!(plan.is_empty() && plan.unmet().any(|g| g.difference == Difference::AUDIT), "{plan:?}");
    // The posture leaves the built-in rule `device`, and nothing else.
    let postures = Postures { file: Posture::Audit, ..Postures::WORKLOAD };
    let rules = rules_of(spec, &tree(), &Workload { postures, ..Workload::run() });
    let plan = Plan::new(&rules, &tree(), &options()).unwrap();
    agrees(&rules, &plan, &[]);
    assert!(may(&plan, "/etc/shadow", Rights::WRITE_FILE) && !may(&plan, "/dev/vda", Rights::READ_FILE));
    assert!(plan.unmet().any(|g| g.difference == Difference::AUDIT));
}

#[test]
fn a_bound_that_is_reached_is_said_and_fails_to_the_usual_verdict() {
    let view = tree();
    let few = PlanOptions { look_max: 3, ..options() };
    let rules = rules_of("  process: {matchPaths: [{path: /usr/bin/bash, action: Block}]}", &view, &Workload::run());
    let plan = Plan::new(&rules, &view, &few).unwrap();
    assert!(plan.unmet().any(|g| g.difference == Difference::BOUND && g.effect == Effect::Wider));
    let rules = rules_of("  process: {matchPaths: [{path: /usr/bin/bash, action: Allow}]}", &view, &Workload::run());
    let plan = Plan::new(&rules, &view, &few).unwrap();
    assert!(!may(&plan, "/usr/bin/dash", Rights::EXECUTE));
    assert!(plan.unmet().any(|g| g.difference == Difference::BOUND && g.effect == Effect::Narrower));
}

#[test]
fn what_an_older_abi_lacks_is_a_gap() {
    let view = tree();
    let rules = rules_of(
        "  file: {matchDirectories: [{dir: /etc/, recursive: true, readOnly: true, action: Block}]}",
        &view,
        &Workload::run(),
    );
    let at = |abi| Plan::new(&rules, &view, &PlanOptions::new(Abi::new(abi))).unwrap();
    let metadata = |plan: &Plan| plan.unmet().filter(|g| g.difference == Difference::METADATA).count();
    assert_eq!([1, 2, 3, 7, 9].map(|abi| metadata(&at(abi))), [1, 1, 0, 0, 0]);
    assert!(!at(1).handled.contains(Rights::REFER) && at(2).handled.contains(Rights::REFER));
    assert!(at(9).handled.contains(Rights::RESOLVE_UNIX));
    assert_eq!(Plan::new(&rules, &view, &PlanOptions::new(Abi::default())), Err(PlanError::NoLandlock("files")));
}

#[test]
fn multi_call_binaries_are_told() {
    let view = TableView::new(&["/bin/busybox"]).link("/bin/sh", "/bin/busybox");
    let rules = rules_of("  process: {matchPaths: [{path: /bin/sh, action: Block}]}", &view, &Workload::run());
    let plan = Plan::new(&rules, &view, &options()).unwrap();
    assert!(plan.unmet().any(|g| g.difference == Difference::MULTI_CALL && g.rules == [0]));
}

#[test]
fn a_block_of_one_name_holds_for_all_names_of_the_file() {
    let view = tree().hard_link("/usr/bin/perl5.36", "/usr/bin/perl").hard_link("/home/u/x", "/srv/y");
    let spec = "  process: {matchPaths: [{path: /usr/bin/perl, action: Block}]}\n  file: {matchPaths: [{path: /home/u/x, action: Block}]}";
    let rules = rules_of(spec, &view, &Workload::run());
    let plan = Plan::new(&rules, &view, &options()).unwrap();
    assert!(!may(&plan, "/usr/bin/perl", Rights::EXECUTE) && !may(&plan, "/usr/bin/perl5.36", Rights::EXECUTE));
    assert!(plan.unmet().any(|g| g.difference == Difference::INODE && g.effect == Effect::Narrower));
    // The other one's second name lies in a directory that is granted whole.
    let told = plan.unmet().find(|g| g.difference == Difference::INODE && g.effect == Effect::Wider).unwrap();
    assert!(told.text.contains("/home/u/x") && !told.text.contains("perl"), "{told}");
    // An allow-list with its usual Block of everything else keeps what it allows, by all names.
    let spec = "  process: {matchPaths: [{path: /usr/bin/perl, action: Allow}], matchDirectories: [{dir: /, recursive: true, action: Block}]}";
    let rules = rules_of(spec, &view, &Workload::run());
    let plan = Plan::new(&rules, &view, &options()).unwrap();
    assert!(may(&plan, "/usr/bin/perl", Rights::EXECUTE));
}

#[test]
fn host_policies_are_refused() {
    let text = "apiVersion: security.kubearmor.com/v1\nkind: KubeArmorHostPolicy\nmetadata: {name: p}\nspec:\n  \
                nodeSelector: {matchLabels: {a: b}}\n  process: {matchPaths: [{path: /bin/x, action: Block}]}\n";
    let rules = rules_of_text(text, &tree(), &Workload { scope: Scope::Host, ..Workload::run() });
    assert_eq!(Plan::new(&rules, &tree(), &options()), Err(PlanError::Host));
}

#[test]
fn a_plan_is_handed_over_whole_and_is_always_the_same() {
    let spec = "  process: {matchPaths: [{path: /bin/bash, action: Block}]}\n  network: {matchProtocols: [{protocol: tcp, action: Allow}]}";
    let (_, plan) = planned(spec);
    assert_eq!(plan, planned(spec).1);
    let mut text = Vec::new();
    plan.write_to(&mut text).unwrap();
    assert_eq!(Plan::read_from(text.as_slice()).unwrap(), plan);
    assert!(Plan::read_from(&text[..text.len() - 1]).is_err());
}

#[test]
fn filters_say_what_the_match_list_says() {
    let (rules, plan) =
        planned("  network: {matchProtocols: [{protocol: stream, action: Allow}, {protocol: icmp, action: Block}]}");
    let asker = Asker::new(&rules);
    assert!(rules.rules().iter().all(|r| r.class() == Class::Network));
    for family in [1, 2, 10, 16, 17, 38, 40, 43, 21] {
        for kind in [1, 2, 3, 4, 5, 6, 10] {
            for protocol in [0, 1, 6, 15, 17, 33, 58, 100, 132, 136, 255, 262] {
                let law = asker.socket(palisade_ruleset::Socket { family, kind, protocol }).passes;
                assert_eq!(plan.syscalls.refuses(family, kind, protocol), !law, "{family} {kind} {protocol}");
            }
        }
    }
    assert_eq!(plan.syscalls.filters().unwrap().len(), 2);
    let _ = tree().resolve(b"/");
}
