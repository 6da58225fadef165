//! The oracle on the policies that Palisade was asked to enforce (meaning 7): their verdicts may not change.

use palisade_oracle::build::{actor, read, socket, write};
use palisade_oracle::build::{
    by_main, capability, dir, exec, file, map, network, numbered, object, path, pattern, policy, process,
};
use palisade_oracle::{By, Links, judge};
use palisade_policy::model::{Action, Capability, FileRule, Kind, PathObject, Policy, Protocol, Selector, SelectorTerm};
use palisade_ruleset::{Access, Operation, Verdict, Workload};

const ALLOW: Verdict = Verdict::Allow;
const AUDIT: Verdict = Verdict::Audit;
const BLOCK: Verdict = Verdict::Block;

const INET: i32 = 2;
const INET6: i32 = 10;
const STREAM: i32 = 1;
const DGRAM: i32 = 2;
const RAW: i32 = 3;

fn verdict_of(policies: &[Policy], workload: &Workload, links: &Links, operation: &Operation) -> Verdict {
    judge(policies, workload, links, &by_main(operation.clone())).verdict
}

#[track_caller]
fn check(policies: &[Policy], links: &Links, cases: &[(Operation, Verdict)]) {
    for (operation, expected) in cases {
        assert_eq!(verdict_of(policies, &Workload::run(), links, operation), *expected, "{operation:?}");
    }
}

fn read_only(object: PathObject) -> FileRule {
    FileRule { read_only: true, ..file(Action::Allow, object) }
}

fn merged_usr() -> Links {
    Links::default().with("/bin", "usr/bin").with("/lib", "usr/lib").with("/var/run", "/run").with("/usr/bin/sh", "dash")
}

#[test]
fn example_policy() {
    let mut p = policy(Kind::Namespaced, "example-policy");
    p.process = vec![process(Action::Block, path("/bin/bash"))];
    p.file = vec![FileRule { read_only: true, ..file(Action::Block, dir("/etc/", false)) }];
    p.network = vec![network(Action::Block, Protocol::Raw)];
    let p = [numbered(p)];
    check(
        &p,
        &merged_usr(),
        &[
            (exec("/usr/bin/bash"), BLOCK),
            (exec("/usr/bin/dash"), ALLOW),
            (write("/etc/passwd"), BLOCK),
            (write("/etc/ssl/x"), ALLOW),
            (read("/etc/passwd"), ALLOW),
            (socket(INET, RAW, 6), BLOCK),
            (socket(INET6, RAW, 255), BLOCK),
            (socket(17, RAW, 768), BLOCK),
            (socket(17, DGRAM, 768), BLOCK),
            (socket(16, RAW, 0), ALLOW),
            (socket(INET, STREAM, 6), ALLOW),
        ],
    );
    check(&p, &Links::default(), &[(exec("/bin/bash"), BLOCK), (exec("/usr/bin/bash"), ALLOW)]);
}

#[test]
fn nodejs_minimal() {
    let mut p = policy(Kind::Namespaced, "nodejs-minimal");
    p.process = vec![
        process(Action::Allow, path("/usr/local/bin/node")),
        process(Action::Allow, path("/usr/bin/node")),
        process(Action::Block, dir("/", true)),
    ];
    p.file = vec![
        read_only(dir("/app/", true)),
        read_only(dir("/usr/local/lib/node_modules/", true)),
        file(Action::Allow, dir("/tmp/", false)),
        read_only(path("/etc/passwd")),
        read_only(path("/etc/hosts")),
    ];
    p.network =
        vec![network(Action::Allow, Protocol::Tcp), network(Action::Allow, Protocol::Udp), network(Action::Block, Protocol::Raw)];
    check(
        &[numbered(p)],
        &merged_usr(),
        &[
            (exec("/usr/local/bin/node"), ALLOW),
            (map("/usr/lib/x86_64-linux-gnu/libc.so.6"), ALLOW),
            (read("/usr/lib/x86_64-linux-gnu/libc.so.6"), ALLOW),
            (read("/app/server.js"), ALLOW),
            (read("/etc/resolv.conf"), ALLOW),
            (read("/etc/hosts"), ALLOW),
            (socket(16, RAW, 0), ALLOW),
            (socket(1, STREAM, 0), ALLOW),
            (socket(INET, STREAM, 0), ALLOW),
            (socket(INET6, DGRAM, 17), ALLOW),
            (exec("/usr/bin/dash"), BLOCK),
            (exec("/tmp/node"), BLOCK),
            (write("/app/x"), BLOCK),
            (write("/etc/passwd"), BLOCK),
            (read("/etc/shadow"), BLOCK),
            (write("/tmp/d/x"), BLOCK),
            (socket(INET, RAW, 1), BLOCK),
            (write("/tmp/x"), ALLOW),
            (write("/dev/null"), ALLOW),
        ],
    );
}

#[test]
fn postgres_hardened() {
    let mut p = policy(Kind::Namespaced, "postgres-hardened");
    p.process = vec![
        process(Action::Allow, path("/usr/lib/postgresql/*/bin/postgres")),
        process(Action::Allow, path("/usr/lib/postgresql/*/bin/pg_ctl")),
        process(Action::Allow, path("/usr/lib/postgresql/*/bin/initdb")),
        process(Action::Block, dir("/", true)),
    ];
    p.file = vec![
        file(Action::Allow, dir("/var/lib/postgresql/", true)),
        file(Action::Allow, dir("/var/run/postgresql/", false)),
        read_only(dir("/etc/postgresql/", true)),
    ];
    let bind = Capability::from_name("net_bind_service").unwrap();
    p.capabilities = vec![capability(Action::Block, bind)];
    let p = [numbered(p)];
    check(
        &p,
        &merged_usr(),
        &[
            (exec("/usr/lib/postgresql/15/bin/postgres"), ALLOW),
            (exec("/usr/bin/psql"), BLOCK),
            (exec("/usr/bin/dash"), BLOCK),
            (write("/run/postgresql/s"), ALLOW),
            (write("/etc/postgresql/15/main/postgresql.conf"), BLOCK),
            (read("/etc/postgresql/15/main/postgresql.conf"), ALLOW),
            (write("/dev/shm/x"), BLOCK),
            (read("/usr/share/postgresql/15/timezonesets/Default"), BLOCK),
            (Operation::Capability { number: bind.number() }, BLOCK),
            (Operation::Capability { number: 0 }, ALLOW),
        ],
    );
    check(&p, &Links::default(), &[(write("/var/run/postgresql/s"), ALLOW), (write("/run/postgresql/s"), BLOCK)]);
}

fn block_shells() -> Policy {
    let mut p = policy(Kind::Cluster, "block-shells-cluster-wide");
    p.selector = Selector { terms: vec![SelectorTerm::Exists("app".to_owned())], ..Selector::default() };
    let paths = ["/bin/bash", "/bin/sh", "/bin/dash", "/bin/zsh", "/usr/bin/bash", "/usr/bin/sh"];
    p.process = paths.map(|text| process(Action::Block, path(text))).to_vec();
    p.process.extend(["**/python*", "**/perl*", "**/ruby*"].map(|text| process(Action::Block, pattern(text).expect("a glob"))));
    numbered(p)
}

#[test]
fn block_shells_cluster_wide() {
    let mut lower = policy(Kind::Namespaced, "allows-bash");
    lower.process = vec![process(Action::Allow, path("/usr/bin/bash"))];
    let policies = [block_shells(), numbered(lower)];
    let mut labelled = Workload { ignore_selectors: false, ..Workload::run() };
    labelled.labels.insert("app".to_owned(), "x".to_owned());
    for name in ["/usr/bin/bash", "/usr/bin/dash", "/usr/bin/python3.11", "/usr/bin/perl5.36"] {
        assert_eq!(verdict_of(&policies, &labelled, &merged_usr(), &exec(name)), BLOCK, "{name}");
    }
    let library = map("/usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0");
    assert_eq!(verdict_of(&policies, &labelled, &merged_usr(), &library), ALLOW);
    let unlabelled = Workload { ignore_selectors: false, ..Workload::run() };
    assert_eq!(verdict_of(&policies, &unlabelled, &merged_usr(), &exec("/usr/bin/bash")), ALLOW);
    assert_eq!(verdict_of(&policies, &unlabelled, &merged_usr(), &exec("/usr/bin/dash")), BLOCK, "by the lower allow-list");
}

#[test]
fn protect_service_account_tokens() {
    let mut p = policy(Kind::Cluster, "protect-service-account-tokens");
    p.file = vec![file(Action::Block, dir("/var/run/secrets/kubernetes.io/serviceaccount/", true))];
    let p = [numbered(p)];
    check(
        &p,
        &merged_usr(),
        &[
            (read("/run/secrets/kubernetes.io/serviceaccount/..2024_01/token"), BLOCK),
            (read("/run/secrets/kubernetes.io/serviceaccount/..2024_01/ca.crt"), BLOCK),
            (read("/run/secrets/other"), ALLOW),
            (Operation::MoveDirectory { object: object("/run/secrets") }, BLOCK),
        ],
    );
    check(&p, &Links::default(), &[(read("/var/run/secrets/kubernetes.io/serviceaccount/token"), BLOCK)]);
}

#[test]
fn frontend_network_policy() {
    let mut p = policy(Kind::Namespaced, "frontend-network-policy");
    p.network = vec![
        network(Action::Allow, Protocol::Tcp),
        network(Action::Allow, Protocol::Udp),
        network(Action::Block, Protocol::Icmp),
        network(Action::Block, Protocol::Raw),
    ];
    check(
        &[numbered(p)],
        &Links::default(),
        &[
            (socket(INET, STREAM, 6), ALLOW),
            (socket(INET6, STREAM, 262), ALLOW),
            (socket(INET, DGRAM, 0), ALLOW),
            (socket(INET, DGRAM, 136), ALLOW),
            (socket(1, DGRAM, 0), ALLOW),
            (socket(16, RAW, 0), ALLOW),
            (socket(INET, DGRAM, 1), BLOCK),
            (socket(INET, RAW, 1), BLOCK),
            (socket(INET, RAW, 6), BLOCK),
            (socket(17, RAW, 0), BLOCK),
            (socket(INET, STREAM, 132), BLOCK),
            (socket(INET6, 5, 0), BLOCK),
            (socket(38, 5, 0), BLOCK),
            (socket(40, STREAM, 0), BLOCK),
            (socket(16, RAW, 15), BLOCK),
        ],
    );
}

#[test]
fn web_app_audit_and_hardened() {
    let mut audit = policy(Kind::Namespaced, "web-app-audit");
    audit.process = ["/bin/sh", "/bin/bash", "/usr/bin/wget"].map(|text| process(Action::Audit, path(text))).to_vec();
    audit.file = vec![file(Action::Audit, dir("/etc/", true))];
    let audit = numbered(audit);
    let mut hardened = policy(Kind::Namespaced, "web-app-hardened");
    hardened.process = vec![process(Action::Allow, path("/usr/sbin/nginx")), process(Action::Block, dir("/", true))];
    hardened.file = vec![
        read_only(dir("/etc/nginx/", true)),
        file(Action::Allow, dir("/var/log/nginx/", false)),
        file(Action::Allow, dir("/var/cache/nginx/", false)),
        read_only(dir("/usr/share/nginx/html/", false)),
        read_only(path("/etc/passwd")),
        read_only(path("/etc/group")),
    ];
    let hardened = numbered(hardened);

    check(
        std::slice::from_ref(&audit),
        &merged_usr(),
        &[
            (exec("/usr/bin/dash"), AUDIT),
            (exec("/usr/bin/bash"), AUDIT),
            (exec("/usr/bin/wget"), AUDIT),
            (exec("/usr/bin/id"), ALLOW),
            (read("/etc/shadow"), AUDIT),
            (write("/tmp/x"), ALLOW),
        ],
    );
    for (policies, etc) in [(vec![hardened.clone()], ALLOW), (vec![audit, hardened], AUDIT)] {
        check(
            &policies,
            &merged_usr(),
            &[
                (read("/usr/share/nginx/html/index.html"), ALLOW),
                (write("/var/log/nginx/access.log"), ALLOW),
                (read("/etc/nginx/nginx.conf"), etc),
                (write("/run/nginx.pid"), BLOCK),
                (exec("/usr/bin/dash"), BLOCK),
                (exec("/usr/bin/wget"), BLOCK),
                (exec("/usr/bin/cat"), BLOCK),
                (exec("/usr/bin/curl"), BLOCK),
                (read("/etc/shadow"), BLOCK),
            ],
        );
        let nginx = Access { actor: actor("/usr/sbin/nginx"), operation: read("/etc/shadow") };
        assert_eq!(judge(&policies, &Workload::run(), &merged_usr(), &nginx).by, By::DefaultPosture);
    }
}

#[test]
fn checkout_service_lockdown() {
    let mut p = policy(Kind::Namespaced, "checkout-service-lockdown");
    p.process = vec![process(Action::Allow, path("/usr/local/bin/node")), process(Action::Block, dir("/", true))];
    p.file = vec![file(Action::Allow, dir("/app/", true)), file(Action::Allow, dir("/tmp/", false))];
    p.network = vec![network(Action::Allow, Protocol::Tcp), network(Action::Allow, Protocol::Udp)];
    check(
        &[numbered(p)],
        &Links::default(),
        &[
            (exec("/usr/local/bin/node"), ALLOW),
            (exec("/tmp/xmrig"), BLOCK),
            (write("/var/tmp/.cache/miner.conf"), BLOCK),
            (socket(INET, STREAM, 6), ALLOW),
        ],
    );
}
