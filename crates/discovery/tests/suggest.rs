//! Observations in, a policy out, as a user reads it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use palisade_discovery::{Collector, Context, Directories, NothingElse, Observation, Suggestion, What, suggest};
use palisade_policy::model::{Policy, PortRange};
use palisade_policy::{SourceFile, parse};
use palisade_ruleset::{
    Access, Actor, End, FileMode, NoLinks, Object, Operation, Program, RuleSet, Side, Socket, Verdict, Workload, decide,
};

const LAUNCHER: &str = "/usr/bin/palisade";

fn path(text: &str) -> Object {
    Object::Path(text.as_bytes().to_vec())
}

fn program(text: &str) -> Program {
    Program::Path(text.as_bytes().to_vec())
}

#[derive(Default)]
struct Run(Collector);

impl Run {
    /// A run that begins with /bin/app.
    fn begun() -> Self {
        let mut run = Self::default();
        run.exec(LAUNCHER, "/bin/app", false);
        run
    }

    fn take(&mut self, by: &str, what: What) {
        self.0.take(Observation { process: 7, program: program(by), what });
    }

    fn exec(&mut self, by: &str, object: &str, interpreter: bool) {
        self.take(by, What::Exec { object: path(object), interpreter });
    }

    fn read(&mut self, object: &str) {
        self.take("/bin/app", What::File { object: path(object), read: true, write: false, creates: false, removes: false });
    }

    fn write(&mut self, object: &str) {
        self.take("/bin/app", What::File { object: path(object), read: false, write: true, creates: false, removes: false });
    }

    fn create(&mut self, object: &str) {
        self.take("/bin/app", What::File { object: path(object), read: false, write: true, creates: true, removes: false });
    }

    fn socket(&mut self, socket: Socket) {
        self.take("/bin/app", What::Socket { socket, end: None, binds: false });
    }

    /// What is done by /bin/app with a socket: `connect`, `bind` or `listen`, and the end.
    fn end(&mut self, socket: Socket, done: &str, end: &str) {
        self.take("/bin/app", What::Socket { socket, end: Some(mk_end(done, end)), binds: done == "bind" });
    }

    fn suggest(&self) -> Suggestion {
        self.suggest_in(&NothingElse)
    }

    fn suggest_in(&self, directories: &dyn Directories) -> Suggestion {
        suggest(&self.0, &context(&Workload::run(), directories))
    }
}

fn context<'a>(workload: &'a Workload, directories: &'a dyn Directories) -> Context<'a> {
    Context {
        name: "app".to_owned(),
        namespace: "default".to_owned(),
        labels: BTreeMap::new(),
        command: "/bin/app --serve".to_owned(),
        watched_by: "a test".to_owned(),
        unseen: Vec::new(),
        capabilities_seen: true,
        sources: true,
        watched_for: Duration::from_secs(65),
        launcher: Some(LAUNCHER.as_bytes().to_vec()),
        workload,
        tree: &NoLinks,
        directories,
        chosen_ports: PortRange::new(32_768, 60_999).expect("in order"),
    }
}

fn policies(suggestion: &Suggestion) -> Vec<Policy> {
    let parsed = parse(&[SourceFile { name: "learned.yaml".into(), text: &suggestion.policy }]);
    assert!(parsed.problems.is_empty(), "{:?}\n{}", parsed.problems, suggestion.policy);
    assert_eq!(parsed.policies.len(), 1);
    parsed.policies
}

fn verdict(suggestion: &Suggestion, by: Program, operation: Operation) -> Verdict {
    let rules = RuleSet::new(&policies(suggestion), &Workload::run(), &NoLinks);
    decide(&rules, &Access { actor: Actor { program: by, uid: 0, terminal: false }, operation }).verdict
}

fn file(suggestion: &Suggestion, mode: FileMode, object: &str) -> Verdict {
    let operation = Operation::File { mode, object: path(object), owner: None, block_device: false };
    verdict(suggestion, program("/bin/app"), operation)
}

fn read(suggestion: &Suggestion, object: &str) -> Verdict {
    file(suggestion, FileMode::Read, object)
}

fn write(suggestion: &Suggestion, object: &str) -> Verdict {
    file(suggestion, FileMode::Write, object)
}

fn exec(suggestion: &Suggestion, by: &str, object: &str, scripts: &[&str]) -> Verdict {
    let scripts = scripts.iter().map(|script| program(script)).collect();
    let operation = Operation::Exec { object: path(object), owner: None, scripts, invoked_as: Vec::new(), arguments: None };
    verdict(suggestion, program(by), operation)
}

fn mk_end(done: &str, end: &str) -> End {
    let end: SocketAddr = end.parse().expect("an address and port");
    let side = if done == "connect" { Side::Remote } else { Side::Local };
    End { side, address: end.ip(), port: end.port() }
}

fn end(suggestion: &Suggestion, socket: Socket, done: &str, end: &str) -> Verdict {
    verdict(suggestion, program("/bin/app"), Operation::Socket { socket, end: Some(mk_end(done, end)) })
}

const TCP: Socket = Socket { family: 2, kind: 1, protocol: 6 };
const TCP6: Socket = Socket { family: 10, kind: 1, protocol: 6 };
const UDP: Socket = Socket { family: 2, kind: 2, protocol: 17 };
const ALG: Socket = Socket { family: 38, kind: 5, protocol: 0 };

const ALLOW: Verdict = Verdict::Allow;
const BLOCK: Verdict = Verdict::Block;

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

#[test]
fn what_the_base_set_lets_pass_is_in_no_rule() {
    let mut run = Run::begun();
    run.read("/usr/lib/x86_64-linux-gnu/libc.so.6");
    run.read("/etc/ld.so.cache");
    run.write("/dev/null");
    run.read("/srv/data");
    let learned = run.suggest();
    assert_eq!(learned.measures.base_set, 3);
    assert!(!learned.policy.contains("libc.so.6") && !learned.policy.contains("/dev/null"), "{}", learned.policy);
    assert_eq!(read(&learned, "/srv/data"), ALLOW);
    assert_eq!(write(&learned, "/srv/data"), BLOCK);
}

#[test]
fn a_class_without_an_access_is_closed_all_the_same() {
    let learned = Run::begun().suggest();
    assert_eq!(read(&learned, "/srv/data"), BLOCK);
    assert_eq!(verdict(&learned, program("/bin/app"), Operation::Socket { socket: TCP, end: None }), BLOCK);
    assert_eq!(verdict(&learned, program("/bin/app"), Operation::Capability { number: 21 }), BLOCK);
    assert_eq!(read(&learned, "/usr/lib/x86_64-linux-gnu/libc.so.6"), ALLOW);
}

#[test]
fn several_files_of_a_directory_become_the_directory_read_only_and_what_was_written_is_named() {
    let mut run = Run::begun();
    for name in ["a", "b", "c"] {
        run.read(&format!("/srv/site/{name}"));
    }
    run.write("/srv/site/counter");
    let learned = run.suggest();
    assert_eq!(read(&learned, "/srv/site/another"), ALLOW);
    assert_eq!(write(&learned, "/srv/site/a"), BLOCK);
    assert_eq!(write(&learned, "/srv/site/counter"), ALLOW);
    assert_eq!(read(&learned, "/srv/site/below/x"), BLOCK);
}

#[test]
fn a_directory_that_is_written_keeps_what_was_only_read_read_only() {
    let mut run = Run::begun();
    for name in ["a", "b", "c"] {
        run.write(&format!("/srv/state/{name}"));
    }
    run.read("/srv/state/settings");
    let learned = run.suggest();
    assert_eq!(write(&learned, "/srv/state/another"), ALLOW);
    assert_eq!(read(&learned, "/srv/state/settings"), ALLOW);
    assert_eq!(write(&learned, "/srv/state/settings"), BLOCK);
}

#[test]
fn several_directories_below_one_become_that_one_and_only_for_reading() {
    let mut run = Run::begun();
    for name in ["json/a.py", "json/b.py", "email/c.py", "http/d.py", "os.py"] {
        run.read(&format!("/usr/lib/python3/{name}"));
    }
    run.write("/usr/lib/python3/json/cache");
    let learned = run.suggest();
    assert_eq!(read(&learned, "/usr/lib/python3/xml/etree/e.py"), ALLOW);
    assert_eq!(write(&learned, "/usr/lib/python3/json/a.py"), BLOCK);
    assert_eq!(write(&learned, "/usr/lib/python3/json/cache"), ALLOW);
    assert_eq!(learned.measures.uncovered, Vec::<String>::new());
}

#[test]
fn no_rule_opens_a_system_directory_or_a_home_as_a_whole() {
    let mut run = Run::begun();
    let whole =
        ["/etc", "/root", "/home/anna", "/usr/share", "/var/lib", "/tmp", "/run", "/usr/lib/x86_64-linux-gnu", "/proc/sys/vm"];
    for directory in whole {
        for (at, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            run.read(&format!("{directory}/{name}"));
            run.read(&format!("{directory}/one{name}/file"));
            run.write(&format!("{directory}/w{at}x"));
        }
    }
    let learned = run.suggest();
    for directory in whole {
        assert_eq!(read(&learned, &format!("{directory}/a")), ALLOW);
        assert_eq!(read(&learned, &format!("{directory}/never-seen")), BLOCK, "{directory}");
        assert_eq!(read(&learned, &format!("{directory}/new/never-seen")), BLOCK, "{directory}");
    }
    assert_eq!(read(&learned, "/never-seen"), BLOCK);
}

#[test]
fn a_directory_that_holds_a_secret_is_opened_file_by_file_unless_the_secret_was_read() {
    struct Keys;
    impl Directories for Keys {
        fn names(&self, directory: &[u8]) -> Option<Vec<(Vec<u8>, bool)>> {
            Some(match directory {
                b"/srv/tls" => vec![(b"a.crt".to_vec(), false), (b"site.key".to_vec(), false)],
                b"/srv/app" => vec![(b"conf".to_vec(), true), (b".ssh".to_vec(), true)],
                _ => Vec::new(),
            })
        }
    }
    let mut run = Run::begun();
    for name in ["a.crt", "b.crt", "c.crt"] {
        run.read(&format!("/srv/tls/{name}"));
        run.read(&format!("/srv/app/{name}/x"));
    }
    let learned = run.suggest_in(&Keys);
    assert_eq!(read(&learned, "/srv/tls/a.crt"), ALLOW);
    assert_eq!(read(&learned, "/srv/tls/site.key"), BLOCK);
    assert_eq!(read(&learned, "/srv/app/a.crt/x"), ALLOW);
    assert_eq!(read(&learned, "/srv/app/.ssh/id_rsa"), BLOCK);
    run.read("/srv/tls/site.key");
    assert_eq!(read(&run.suggest_in(&Keys), "/srv/tls/d.crt"), ALLOW);
}

#[test]
fn a_directory_that_cannot_be_looked_into_is_not_opened() {
    struct Closed;
    impl Directories for Closed {
        fn names(&self, _: &[u8]) -> Option<Vec<(Vec<u8>, bool)>> {
            None
        }
    }
    let mut run = Run::begun();
    ["a", "b", "c"].into_iter().for_each(|name| run.read(&format!("/srv/x/{name}")));
    assert_eq!(read(&run.suggest_in(&Closed), "/srv/x/d"), BLOCK);
}

#[test]
fn names_that_another_run_makes_otherwise_are_left_open() {
    let mut run = Run::begun();
    run.create("/tmp/tmp.kX3vQa9LmZ");
    run.create("/tmp/tmp.kX3vQa9LmZ/inside");
    run.create("/var/lib/app/body/0000000001");
    run.read("/proc/812/stat");
    run.read("/srv/release-20261124"); // not made by the run: another name is another file
    for passing in ["/tmp/zzvowlqq", "/var/tmp/2bwvg44d"] {
        run.create(passing);
        let remove = What::File { object: path(passing), read: false, write: true, creates: false, removes: true };
        run.take("/bin/app", remove);
    }
    run.create("/tmp/lastingly");
    let learned = run.suggest();
    assert_eq!(write(&learned, "/tmp/abc1_f2h"), ALLOW);
    assert_eq!(write(&learned, "/tmp/abc1_f2"), BLOCK);
    assert_eq!(write(&learned, "/var/tmp/lg9nyl2u"), ALLOW);
    assert_eq!(write(&learned, "/var/tmp/anything-else"), BLOCK);
    assert_eq!(write(&learned, "/tmp/constantly"), BLOCK);
    assert_eq!(write(&learned, "/tmp/tmp.A1b2C3d4E5/inside"), ALLOW);
    assert_eq!(write(&learned, "/tmp/other"), BLOCK);
    assert_eq!(write(&learned, "/var/lib/app/body/0000000002"), ALLOW);
    assert_eq!(read(&learned, "/proc/999/stat"), ALLOW);
    assert_eq!(read(&learned, "/proc/999/environ"), BLOCK);
    assert_eq!(read(&learned, "/srv/release-20270101"), BLOCK);
}

#[test]
fn sockets_become_the_narrowest_word_and_a_family_without_one_names_its_program() {
    let mut run = Run::begun();
    run.socket(Socket { family: 2, kind: 2, protocol: 1 });
    run.socket(Socket { family: 1, kind: 1, protocol: 0 }); // AF_UNIX: no rule reaches it
    let learned = run.suggest();
    assert!(learned.policy.contains("- protocol: icmp\n") && !learned.policy.contains("protocol: all"), "{}", learned.policy);
    run.socket(ALG);
    let learned = run.suggest();
    assert!(learned.policy.contains("- protocol: all\n      fromSource:\n      - path: /bin/app\n"), "{}", learned.policy);
    let alg = Operation::Socket { socket: ALG, end: None };
    assert_eq!(verdict(&learned, program("/bin/app"), alg.clone()), ALLOW);
    assert_eq!(verdict(&learned, program("/bin/other"), alg), BLOCK);
}

#[test]
fn ends_of_connections_are_allowed_by_address_and_port_and_nothing_beside_them() {
    let mut run = Run::begun();
    run.socket(TCP);
    run.end(TCP, "connect", "10.0.0.5:5432");
    run.end(TCP, "connect", "10.0.0.5:5433");
    run.end(TCP6, "connect", "[fd00::5]:443");
    run.end(TCP6, "connect", "[::ffff:10.0.0.6]:80"); // by its IPv4 address
    run.end(TCP, "bind", "0.0.0.0:8080");
    run.end(TCP, "listen", "0.0.0.0:8080");
    run.end(UDP, "connect", "10.0.0.53:53");
    let learned = run.suggest();
    assert_eq!(learned.measures.uncovered, Vec::<String>::new());
    assert_eq!(verdict(&learned, program("/bin/app"), Operation::Socket { socket: TCP, end: None }), ALLOW);
    for (socket, done, place, expected) in [
        (TCP, "connect", "10.0.0.5:5432", ALLOW),
        (TCP, "connect", "10.0.0.5:5433", ALLOW),
        (TCP, "connect", "10.0.0.5:5434", BLOCK),
        (TCP, "connect", "10.0.0.4:5432", BLOCK),
        (UDP, "connect", "10.0.0.5:5432", BLOCK),
        (TCP6, "connect", "[fd00::5]:443", ALLOW),
        (TCP6, "connect", "[fd00::6]:443", BLOCK),
        (TCP, "connect", "10.0.0.6:80", ALLOW),
        (TCP, "bind", "0.0.0.0:8080", ALLOW),
        (TCP, "bind", "0.0.0.0:8081", BLOCK),
        (TCP, "bind", "10.0.0.5:5432", BLOCK),
        (TCP, "connect", "0.0.0.0:8080", BLOCK),
        (UDP, "connect", "10.0.0.53:53", ALLOW),
    ] {
        assert_eq!(end(&learned, socket, done, place), expected, "{done} {place}\n{}", learned.policy);
    }
    let ports = "    - cidr: 10.0.0.5/32\n      ports:\n      - port: 5432\n        endPort: 5433\n      protocol: TCP\n      \
                 direction: egress\n      action: Allow\n";
    assert!(learned.policy.contains(ports), "{}", learned.policy);
    let tests = learned.test_file("app.yaml");
    for line in [
        "- {connect: \"tcp/[fd00::5]:443\", expect: Allow}\n",
        "- {bind: \"tcp/0.0.0.0:8080\", expect: Allow}\n",
        "- {connect: \"tcp/203.0.113.7:4444\", expect: Block}\n",
    ] {
        assert!(tests.contains(line), "{tests}");
    }
}

#[test]
fn a_port_that_the_kernel_chose_is_left_to_it_and_one_that_the_program_chose_is_not() {
    let mut run = Run::begun();
    run.end(TCP, "bind", "127.0.0.1:0");
    run.end(TCP, "listen", "127.0.0.1:41234");
    run.end(TCP, "connect", "127.0.0.1:41234");
    run.end(TCP, "connect", "10.0.0.5:41234"); // not a port of this run
    run.end(TCP, "bind", "127.0.0.1:50000");
    run.end(TCP, "listen", "127.0.0.1:50000");
    let learned = run.suggest();
    for (done, place, expected) in [
        ("listen", "127.0.0.1:55555", ALLOW),
        ("connect", "127.0.0.1:55555", ALLOW),
        ("connect", "127.0.0.1:8080", BLOCK),
        ("connect", "10.0.0.5:41234", ALLOW),
        ("connect", "10.0.0.5:41235", BLOCK),
        ("listen", "0.0.0.0:55555", BLOCK),
    ] {
        assert_eq!(end(&learned, TCP, done, place), expected, "{done} {place}\n{}", learned.policy);
    }
    // Without a port that was left to the kernel, each is one that somebody chose.
    let mut run = Run::begun();
    run.end(TCP, "bind", "127.0.0.1:50000");
    run.end(TCP, "listen", "127.0.0.1:50000");
    run.end(TCP, "connect", "127.0.0.1:50000");
    let learned = run.suggest();
    assert_eq!(end(&learned, TCP, "listen", "127.0.0.1:50001"), BLOCK);
    assert_eq!(end(&learned, TCP, "connect", "127.0.0.1:50001"), BLOCK);
}

#[test]
fn who_answers_datagrams_answers_to_any_port_that_a_kernel_chooses_at_the_addresses_that_were_met() {
    let mut run = Run::begun();
    run.end(UDP, "bind", "0.0.0.0:53");
    run.end(UDP, "connect", "10.0.0.9:40123");
    let learned = run.suggest();
    assert_eq!(end(&learned, UDP, "connect", "10.0.0.9:51234"), ALLOW);
    assert_eq!(end(&learned, UDP, "connect", "10.0.0.9:53"), BLOCK);
    assert_eq!(end(&learned, UDP, "connect", "10.0.0.8:40123"), BLOCK);
}

#[test]
fn a_socket_that_is_made_and_left_alone_opens_no_end() {
    let mut run = Run::begun();
    run.socket(UDP);
    let learned = run.suggest();
    assert_eq!(verdict(&learned, program("/bin/app"), Operation::Socket { socket: UDP, end: None }), ALLOW);
    assert_eq!(verdict(&learned, program("/bin/app"), Operation::Socket { socket: TCP, end: None }), BLOCK);
    assert_eq!(end(&learned, UDP, "connect", "10.0.0.53:53"), BLOCK);
    assert_eq!(end(&learned, UDP, "bind", "0.0.0.0:53"), BLOCK);
}

#[test]
fn a_bind_to_every_address_of_ipv6_alone_makes_no_test_of_ipv4() {
    let mut run = Run::begun();
    run.end(TCP6, "bind", "[::]:80");
    let learned = run.suggest();
    assert_eq!(end(&learned, TCP6, "bind", "[::]:80"), ALLOW);
    assert!(!learned.test_file("app.yaml").contains("bind:"), "{}", learned.test_file("app.yaml"));
    run.end(TCP6, "bind", "0.0.0.0:80");
    assert!(run.suggest().test_file("app.yaml").contains("- {bind: \"tcp/[::]:80\", expect: Allow}\n"));
}

#[test]
fn hostile_names_change_nothing_but_their_own_rule() {
    let mut run = Run::begun();
    let names = ["/srv/a\n  process: {}\n# x", "/srv/\"quoted\\", "/srv/{a,b}*", "/srv/ä ö: #", "/srv/\u{202e}x", "/srv/y "];
    names.into_iter().for_each(|name| run.read(name));
    run.exec("/bin/app", "/srv/p\n- path: /bin/sh", false);
    run.take(
        "/bin/app",
        What::File { object: Object::Path(b"/srv/\xff".to_vec()), read: true, write: false, creates: false, removes: false },
    );
    let learned = run.suggest();
    for name in names {
        assert_eq!(read(&learned, name), ALLOW, "{name:?}");
    }
    assert_eq!(exec(&learned, "/bin/app", "/srv/p\n- path: /bin/sh", &[]), ALLOW);
    assert_eq!(exec(&learned, "/bin/app", "/bin/sh", &[]), BLOCK);
    // Policies are text: what is none is said to be missing.
    assert_eq!(learned.measures.uncovered, ["read /srv/\\xff"]);
    assert!(learned.policy.contains("# "), "{}", learned.policy);
}

#[test]
fn losses_and_newness_are_in_the_header() {
    let mut run = Run::begun();
    (0..100).for_each(|_| run.read("/srv/data"));
    let learned = run.suggest();
    assert_eq!(learned.measures.newness, Some((0, 33)));
    assert!(learned.policy.contains("lost      none"), "{}", learned.policy);
    run.0.lost(3);
    for name in ["/opt/a/x", "/opt/b/x", "/opt/b/x"] {
        run.read(name);
    }
    let learned = run.suggest();
    assert_eq!(learned.measures.newness, Some((3, 34)));
    assert!(learned.policy.contains("lost      3: THIS POLICY IS INCOMPLETE"), "{}", learned.policy);
    assert!(learned.policy.contains("8.8 % (3) were new"), "{}", learned.policy);
}

#[test]
fn the_same_observations_give_the_same_bytes_in_whatever_order_they_are_kept() {
    let mk = |names: &[&str]| {
        let mut run = Run::begun();
        names.iter().for_each(|name| run.read(name));
        run.suggest()
    };
    let learned = mk(&["/srv/a/1", "/srv/b/2", "/opt/x/3"]);
    for _ in 0..8 {
        assert_eq!(mk(&["/srv/a/1", "/srv/b/2", "/opt/x/3"]), learned);
    }
    assert_eq!(mk(&["/opt/x/3", "/srv/b/2", "/srv/a/1"]).policy, learned.policy);
}

#[test]
fn the_policy_reads_as_a_person_would_write_it() {
    let mut run = Run::begun();
    run.exec("/bin/app", "/bin/helper", false);
    for name in ["a", "b", "c"] {
        run.read(&format!("/etc/app/{name}"));
    }
    run.write("/run/app.pid");
    run.socket(Socket { family: 2, kind: 2, protocol: 1 });
    run.end(TCP, "bind", "0.0.0.0:80");
    run.end(UDP, "bind", "127.0.0.1:0");
    run.end(UDP, "connect", "127.0.0.1:40000");
    run.take("/bin/app", What::Capability(10));
    let learned = run.suggest();
    let body = learned.policy.split_once("apiVersion").unwrap().1;
    assert_eq!(
        body,
        "\
: security.kubearmor.com/v1
kind: KubeArmorPolicy
metadata:
  name: app
spec:
  selector:
    matchLabels:
      app: app
  severity: 5
  tags: [learned]
  message: not done by app while it was watched

  process:
    matchPaths:
    # once; the run begins with it
    - path: /bin/app
      action: Allow
    # once, by app
    - path: /bin/helper
      fromSource:
      - path: /bin/app
      action: Allow

  file:
    matchDirectories:
    # 3 files, 3 times, by app
    - dir: /etc/app/
      readOnly: true
      action: Allow
    matchPaths:
    # once, by app
    - path: /run/app.pid
      action: Allow

  network:
    matchProtocols:
    # once, by app
    - protocol: icmp
      action: Allow
    matchEndpoints:
    # once, by app
    - cidr: 0.0.0.0/32
      ports:
      - port: 80
      protocol: TCP
      direction: ingress
      action: Allow
    # once, by app
    # the kernel chose a port, so it has all that it chooses from
    - cidr: 127.0.0.1/32
      ports:
      - port: 32768
        endPort: 60999
      protocol: UDP
      direction: egress
      action: Allow
    # once, by app
    - cidr: 127.0.0.1/32
      ports:
      - port: 0
      protocol: UDP
      direction: ingress
      action: Allow

  capabilities:
    matchCapabilities:
    # once, by app
    - capability: net_bind_service
      action: Allow
"
    );
    let tests = learned.test_file("app.yaml");
    for line in [
        "- {exec: /bin/helper, from: /bin/app, expect: Allow}\n",
        "- {read: /etc/app/a, expect: Allow}\n",
        "- {write: /run/app.pid, expect: Allow}\n",
        "- {read: /etc/shadow, expect: Block}\n",
    ] {
        assert!(tests.contains(line), "{tests}");
    }
}
