//! Real system calls under real plans, as root and as nobody. They need a kernel with Landlock and say so if it lacks.

use std::os::unix::net::UnixListener;

use palisade_ruleset::Workload;

use super::testing::{
    EACCES, EPERM, EXDEV, Got, SIGSYS, Scratch, abi, call_program, elf32, exists, expect, options, recursive, rules_of, run_plan,
    system, under, users,
};
use super::{AuditReader, Difference, Plan, RealView, Rights, Seen};

const DENIED: Got = Got::Errno(EACCES);

/// A process allow-list has to let through what the steps start; files stay free.
#[test]
fn an_exec_that_is_not_allowed_is_denied() {
    let (allowed, denied) = (system("/bin/true"), system("/bin/cat"));
    let spec = format!("  process: {{matchPaths: [{{path: {allowed}, action: Allow}}]}}");
    expect(
        &spec,
        &[(&["exec", &allowed], Got::Exit(0)), (&["exec", &denied, "/dev/null"], DENIED), (&["read", &denied], Got::Ok)],
    );
}

#[test]
fn a_blocked_program_is_carved_out() {
    let (blocked, other) = (system("/bin/bash"), system("/bin/dash"));
    let spec = format!("  process: {{matchPaths: [{{path: {blocked}, action: Block}}]}}");
    let scratch = Scratch::new();
    let copy = scratch.path("copy");
    expect(
        &spec,
        &[
            (&["exec", &blocked, "-c", "true"], DENIED),
            (&["exec", &other, "-c", "true"], Got::Exit(0)),
            (&["exec", &other, "-c", &format!("exec {blocked} -c true")], Got::Exit(126)),
            // The file, not the name: a link of another name gains nothing.
            (&["exec", "/bin/true"], Got::Exit(0)),
        ],
    );
    let got = under(&spec, &[&["link", &blocked, &copy]]);
    // Root: Landlock's EXDEV, or the file system's. Nobody: protected_hardlinks comes first.
    assert!(got.iter().all(|g| matches!(g[0], Got::Errno(EXDEV | EPERM))), "{got:?}");
}

#[test]
fn a_script_needs_its_interpreter() {
    let scratch = Scratch::new();
    let (dash, cat) = (system("/bin/dash"), system("/bin/cat"));
    let script = scratch.program("s.sh", format!("#!{dash}\nexit 3\n").as_bytes());
    let other = scratch.program("o.sh", format!("#!{cat}\n").as_bytes());
    let spec = format!(
        "  process: {{matchPaths: [{{path: {script}, action: Allow}}, {{path: {other}, action: Allow}}, {{path: {dash}, action: Allow}}]}}"
    );
    expect(&spec, &[(&["exec", &script], Got::Exit(3)), (&["exec", &other], DENIED)]);
}

/// Difference L1: the loader has to be executable, and runs whatever can be read.
#[test]
fn the_loader_runs_what_can_be_read() {
    let loader = system("/lib64/ld-linux-x86-64.so.2");
    if !exists(&loader) {
        return;
    }
    let (allowed, denied) = (system("/bin/true"), system("/bin/cat"));
    let spec = format!("  process: {{matchPaths: [{{path: {allowed}, action: Allow}}]}}");
    expect(&spec, &[(&["exec", &denied, "/dev/null"], DENIED), (&["exec", &loader, &denied, "/dev/null"], Got::Exit(0))]);
    // What must hold for that to be so: without EXECUTE on the loader no dynamic program starts at all.
    let rules = rules_of(&spec, &RealView, &Workload::run());
    let mut plan = Plan::new(&rules, &RealView, &options()).unwrap();
    assert!(plan.gaps.iter().any(|g| g.difference == Difference::LOADER));
    plan.grants.retain(|g| g.path != loader.as_bytes());
    for user in users() {
        assert_eq!(run_plan(&plan, user, &[&["exec", &allowed]]), [DENIED]);
    }
}

/// Difference L2: an exec opens the program for reading.
#[test]
fn an_exec_needs_the_right_to_read() {
    let allowed = system("/bin/true");
    let spec = format!(
        "  process: {{matchPaths: [{{path: {allowed}, action: Allow}}]}}\n  file: {{matchDirectories: [{{dir: /srv/, action: Allow}}]}}"
    );
    let rules = rules_of(&spec, &RealView, &Workload::run());
    let mut plan = Plan::new(&rules, &RealView, &options()).unwrap();
    for user in users() {
        assert_eq!(run_plan(&plan, user, &[&["exec", &allowed], &["read", &allowed]]), [Got::Exit(0), Got::Ok]);
    }
    for grant in plan.grants.iter_mut().filter(|g| g.path == allowed.as_bytes()) {
        grant.access = grant.access & !Rights::READ_FILE;
    }
    for user in users() {
        assert_eq!(run_plan(&plan, user, &[&["exec", &allowed]]), [DENIED]);
    }
}

#[test]
fn a_file_allow_list_holds() {
    let s = Scratch::new();
    let (ro, rw, out) = (s.file("ro/d/x"), s.file("rw/x"), s.file("out/x"));
    s.file("rw/y");
    s.file("rw2/x");
    let spec = format!(
        "  file:\n    matchDirectories:\n    - {{dir: {}/, recursive: true, readOnly: true, action: Allow}}\n    \
         - {{dir: {}/, recursive: true, action: Allow}}\n    - {{dir: {}/, recursive: true, action: Allow}}",
        s.path("ro"),
        s.path("rw"),
        s.path("rw2"),
    );
    let p = |name: &str| s.path(name);
    for user in users() {
        let steps: &[&[&str]] = &[
            &["read", &ro],
            &["list", &p("ro/d")],
            &["write", &ro],
            &["create", &p("ro/new")],
            &["unlink", &ro],
            &["read", &out],
            &["list", &p("out")],
            &["write", &out],
            &["truncate", &out],
            &["read", &rw],
            &["truncate", &rw],
            &["create", &p("rw/new")],
            &["mkdir", &p("rw/dir")],
            &["rename", &p("rw/y"), &p("rw/z")],
            &["rename", &p("rw/z"), &p("rw2/z")],
            &["rename", &p("rw/x"), &p("ro/x")],
            &["rename", &ro, &p("rw/stolen")],
            &["link", &ro, &p("rw/stolen")],
            &["unlink", &p("rw/new")],
            &["read", "/etc/ld.so.cache"],
            &["write", "/dev/null"],
            &["read", "/etc/shadow"],
            // The first process's own entries are there (L17).
            &["read", "/proc/self/maps"],
            &["read", "/proc/1/status"],
        ];
        // Each user plans anew: what the one before made and removed has other inodes now.
        let plan = Plan::new(&rules_of(&spec, &RealView, &Workload::run()), &RealView, &options()).unwrap();
        let got = run_plan(&plan, user, steps);
        let ok = Got::Ok;
        let head = [ok, ok, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, ok, ok, ok, ok, ok, ok];
        assert_eq!(got[..15], head);
        // Refused by the missing right, or because it would give the file more rights.
        assert!(got[15..18].iter().all(|g| matches!(g, Got::Errno(EACCES | EXDEV | EPERM))), "{got:?}");
        assert_eq!(got[18..], [ok, ok, ok, DENIED, ok, DENIED]);
        // As it was, for the next user.
        std::fs::rename(p("rw2/z"), p("rw/y")).unwrap();
        std::fs::remove_dir(p("rw/dir")).unwrap();
    }
}

#[test]
fn a_block_inside_an_allowed_directory_is_carved_out() {
    let s = Scratch::new();
    let (kept, secret, below) = (s.file("d/kept"), s.file("d/secret"), s.file("d/sub/x"));
    let spec = format!(
        "  file:\n    matchPaths: [{{path: {secret}, action: Block}}]\n    matchDirectories: [{{dir: {}/, recursive: true, action: Allow}}]",
        s.path("d")
    );
    expect(
        &spec,
        &[
            (&["read", &kept], Got::Ok),
            (&["write", &kept], Got::Ok),
            (&["read", &secret], DENIED),
            (&["write", &secret], DENIED),
            (&["unlink", &secret], DENIED),
            (&["write", &below], Got::Ok),
            // L7: nothing new beside it.
            (&["create", &s.path("d/new")], DENIED),
            (&["read", "/etc/hostname"], DENIED),
        ],
    );
}

#[test]
fn a_blocked_file_is_denied_by_its_other_name_too() {
    let s = Scratch::new();
    let secret = s.file("d/secret");
    let other = s.path("d/other");
    std::fs::hard_link(&secret, &other).unwrap();
    let spec = format!("  file: {{matchPaths: [{{path: {secret}, action: Block}}]}}");
    expect(&spec, &[(&["read", &secret], DENIED), (&["read", &other], DENIED), (&["read", &s.file("d/kept")], Got::Ok)]);
}

#[test]
fn a_plain_directory_without_subdirectories_is_exact() {
    let s = Scratch::new();
    let x = s.file("flat/x");
    let spec = format!("  file: {{matchDirectories: [{{dir: {}/, action: Allow}}]}}", s.path("flat"));
    for got in under(
        &spec,
        &[
            &["list", &s.path("flat")],
            &["write", &x],
            &["create", &s.path("flat/new")],
            &["read", &s.path("flat/new")],
            &["rename", &s.path("flat/new"), &s.path("flat/newer")],
            &["unlink", &s.path("flat/newer")],
            &["mkdir", &s.path("flat/sub")],
        ],
    ) {
        let ok = Got::Ok;
        assert_eq!(got, [ok, ok, ok, ok, ok, ok, DENIED]);
    }
}

#[test]
fn what_the_base_set_alone_opens_is_no_reason_to_refuse() {
    let unmet = |recursive: bool| {
        let spec =
            format!("  file: {{matchDirectories: [{{dir: /dev/shm/, recursive: {recursive}, readOnly: true, action: Allow}}]}}");
        let plan = Plan::new(&rules_of(&spec, &RealView, &Workload::run()), &RealView, &options()).unwrap();
        plan.unmet().map(|gap| (gap.difference, gap.text.clone())).collect::<Vec<_>>()
    };
    assert_eq!(unmet(true), [], "/dev/pts, whose entries the base set opens, is no directory of the policy's");
    assert_eq!(unmet(false).iter().map(|gap| gap.0).collect::<Vec<_>>(), [Difference::NON_RECURSIVE]);
}

#[test]
fn a_plain_directory_with_subdirectories_keeps_what_is_there() {
    let s = Scratch::new();
    let (x, deep) = (s.file("plain/x"), s.file("plain/sub/deep"));
    s.file("two/sub/sub/deep");
    let spec = format!(
        "  file: {{matchDirectories: [{{dir: {}/, action: Allow}}, {{dir: {}/, action: Allow}}]}}",
        s.path("plain"),
        s.path("two")
    );
    let steps: [&[&str]; 5] = [
        &["write", &x],
        &["create", &s.path("plain/new")],
        &["read", &deep],
        // Its subdirectory is a direct child and may be listed; one level more may not (L5).
        &["list", &s.path("plain")],
        &["list", &s.path("two")],
    ];
    for got in under(&spec, &steps) {
        assert_eq!(got, [Got::Ok, DENIED, DENIED, Got::Ok, DENIED]);
    }
    let plan = recursive(&spec);
    assert!(plan.unmet().any(|g| g.difference == Difference::NON_RECURSIVE));
    for user in users() {
        assert_eq!(run_plan(&plan, user, &steps), [Got::Ok; 5]);
        std::fs::remove_file(s.path("plain/new")).unwrap();
    }
}

#[test]
fn sockets_are_judged_by_family_type_and_protocol() {
    let spec = "  network: {matchProtocols: [{protocol: tcp, action: Allow}, {protocol: udp, action: Allow}, {protocol: raw, action: Block}]}";
    expect(
        spec,
        &[
            (&["socket", "2", "1", "0"], Got::Ok),
            (&["socket", "10", "1", "6"], Got::Ok),
            (&["socket", "2", "2", "17"], Got::Ok),
            (&["socket", "2", "2", "1"], DENIED),
            (&["socket", "2", "3", "1"], DENIED),
            (&["socket", "10", "3", "58"], DENIED),
            (&["socket", "17", "3", "768"], DENIED),
            (&["socket", "38", "5", "0"], DENIED),
            (&["socket", "40", "1", "0"], DENIED),
            // SOCK_STREAM with SCTP; AF_UNIX; NETLINK_ROUTE; another netlink protocol.
            (&["socket", "2", "1", "132"], DENIED),
            (&["socket", "1", "1", "0"], Got::Ok),
            (&["socket", "16", "3", "0"], Got::Ok),
            (&["socket", "16", "3", "15"], DENIED),
        ],
    );
}

#[test]
fn a_blocked_protocol_leaves_the_rest() {
    let spec = "  network: {matchProtocols: [{protocol: udp, action: Block}]}";
    expect(
        spec,
        &[
            (&["socket", "2", "2", "0"], DENIED),
            (&["socket", "10", "2", "17"], DENIED),
            (&["socket", "2", "1", "0"], Got::Ok),
            (&["socket", "10", "1", "0"], Got::Ok),
        ],
    );
}

#[cfg(target_arch = "x86_64")]
#[test]
fn io_uring_and_other_abis_are_refused() {
    let s = Scratch::new();
    // io_uring_setup(0, NULL), socket(AF_INET, SOCK_STREAM, 0) as x32, and an i386 program.
    let ring = s.program("ring", &call_program(425, [0, 0, 0]));
    let x32 = s.program("x32", &call_program(0x4000_0000 + 41, [2, 1, 0]));
    let native = s.program("native", &call_program(41, [2, 2, 0]));
    let i386 = s.program("i386", &elf32());
    let spec = "  network: {matchProtocols: [{protocol: tcp, action: Allow}]}";
    expect(
        spec,
        &[
            (&["exec", &ring], Got::Exit(EPERM)),
            (&["exec", &x32], Got::Exit(EACCES)),
            (&["exec", &native], Got::Exit(EACCES)),
            (&["exec", &i386], Got::Signal(SIGSYS)),
        ],
    );
    // Without network rules there is no filter, and the same programs do what they do.
    for got in under("  process: {matchPaths: [{path: /no/such, action: Block}]}", &[&["exec", &i386], &["exec", &ring]]) {
        assert_ne!(got[0], Got::Signal(SIGSYS));
        assert_ne!(got[1], Got::Exit(EACCES));
    }
}

#[test]
fn a_memfd_that_could_be_executed_is_not_made_under_an_allow_list() {
    let allowed = system("/bin/true");
    let spec = format!("  process: {{matchPaths: [{{path: {allowed}, action: Allow}}]}}");
    // Before Linux 6.3 the flag is unknown, and no memfd can be made.
    let flag = rustix::fs::memfd_create("t", rustix::fs::MemfdFlags::NOEXEC_SEAL).map(drop);
    let sealed = flag.map_or_else(|e| Got::Errno(e.raw_os_error()), |()| Got::Ok);
    expect(&spec, &[(&["memfd", "exec"], DENIED), (&["memfd", "noexec"], sealed)]);
    let spec = format!("  process: {{matchPaths: [{{path: {allowed}, action: Block}}]}}");
    expect(&spec, &[(&["memfd", "exec"], Got::Ok)]);
}

#[test]
fn a_denied_capability_is_dropped() {
    let spec = "  capabilities: {matchCapabilities: [{capability: net_bind_service, action: Block}]}";
    let low_ports_are_free =
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").is_ok_and(|t| t.trim() == "0");
    if low_ports_are_free {
        return;
    }
    expect(spec, &[(&["bind", "811"], DENIED), (&["bind", "0"], Got::Ok)]);
}

/// What Landlock does not see (L14) on the kernel that runs this.
#[test]
fn metadata_and_pathname_sockets_are_as_documented() {
    let s = Scratch::new();
    let (x, out) = (s.file("in/x"), s.file("out/x"));
    let listener = s.path("out/socket");
    let _open = UnixListener::bind(&listener).unwrap();
    std::fs::set_permissions(&listener, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let spec = format!("  file: {{matchDirectories: [{{dir: {}/, recursive: true, action: Allow}}]}}", s.path("in"));
    let connect = if abi().version() >= 9 { DENIED } else { Got::Ok };
    for (user, got) in users().into_iter().zip(under(&spec, &[&["read", &x], &["connect", &listener], &["chmod", &out]])) {
        let chmod = if user.is_none() { Got::Ok } else { Got::Errno(EPERM) };
        assert_eq!(got, [Got::Ok, connect, chmod], "{user:?}");
    }
}

/// Denials of the workload, after its exec too, with the process that entered the domain. Only with the kernel's audit
/// on, which the tests do not change: where it must be on, `PALISADE_TEST_AUDIT=1` is set.
#[test]
fn denials_are_read_where_the_kernel_tells_them() {
    let required = std::env::var_os("PALISADE_TEST_AUDIT").is_some();
    let mut reader = match AuditReader::open() {
        Ok(reader) => reader,
        Err(why) => {
            assert!(!required, "{why}");
            println!("not run: {why}");
            return;
        }
    };
    let s = Scratch::new();
    let (kept, secret) = (s.file("d/kept"), s.file("d/secret"));
    let dash = system("/bin/dash");
    let spec = format!("  file: {{matchPaths: [{{path: {secret}, action: Block}}]}}");
    let rules = rules_of(&spec, &RealView, &Workload::run());
    let plan = Plan::new(&rules, &RealView, &options()).unwrap();
    let read = format!("read x < {secret}");
    let got = run_plan(&plan, None, &[&["read", &kept], &["write", &secret], &["exec", &dash, "-c", &read]]);
    assert_eq!(got, [Got::Ok, DENIED, Got::Exit(2)]);
    let mut seen = Vec::new();
    for _ in 0..10 {
        let denials = reader.next(std::time::Duration::from_millis(300)).unwrap();
        seen.extend(denials.into_iter().filter_map(|seen| match seen {
            Seen::Denial(denial) if denial.path.as_deref() == Some(secret.as_bytes()) => Some(denial),
            Seen::Denial(_) | Seen::Ended { .. } => None,
        }));
    }
    let inode = super::View::file(&RealView, secret.as_bytes()).unwrap().identity.ino;
    let told: Vec<(Vec<String>, Option<u64>)> = seen.iter().map(|d| (d.blockers.clone(), d.ino)).collect();
    assert_eq!(told, [(vec!["fs.write_file".to_owned()], Some(inode)), (vec!["fs.read_file".to_owned()], Some(inode))]);
    assert!(seen[0].entered.is_some() && seen.iter().all(|d| d.entered == seen[0].entered), "{seen:?}");
    assert_eq!((reader.overruns(), reader.lost_in_kernel(), reader.nameless()), (0, 0, 0));
}

#[test]
fn what_was_replaced_since_the_plan_is_left_out() {
    let s = Scratch::new();
    let x = s.file("d/x");
    let spec = format!("  file: {{matchPaths: [{{path: {x}, action: Allow}}]}}");
    let rules = rules_of(&spec, &RealView, &Workload::run());
    let plan = Plan::new(&rules, &RealView, &options()).unwrap();
    assert_eq!(run_plan(&plan, None, &[&["read", &x]]), [Got::Ok]);
    std::fs::rename(s.file("d/other"), &x).unwrap();
    assert_eq!(run_plan(&plan, None, &[&["read", &x]]), [DENIED]);
    std::fs::remove_file(&x).unwrap();
    std::os::unix::fs::symlink("/etc/shadow", &x).unwrap();
    assert_eq!(run_plan(&plan, None, &[&["read", "/etc/shadow"]]), [DENIED]);
}

/// A name that may begin anywhere, on this machine's tree.
#[test]
fn a_whole_tree_is_planned_within_the_bound() {
    let spec = "  process: {matchPatterns: [{pattern: '**/python*', action: Block}]}";
    let rules = rules_of(spec, &RealView, &Workload::run());
    let plan = Plan::new(&rules, &RealView, &options()).unwrap();
    assert!(plan.counts.looked_at <= options().look_max);
    assert!(plan.gaps.iter().any(|g| g.difference == Difference::GLOBS), "{:?}", plan.gaps);
}
