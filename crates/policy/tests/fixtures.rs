//! The fixtures of `testdata/policies`: the good ones against the model, the bad ones against golden text.
#![expect(clippy::unwrap_used, reason = "a failing test may panic anywhere")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use palisade_policy::glob::Glob;
use palisade_policy::model::{Kind, NetworkObject, PathName, PathObject, Policy, SelectorTerm, SourceMatch};
use palisade_policy::{Parsed, Problem, SourceFile, parse};

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/policies")
}

fn parse_text(name: &str, text: &str) -> Parsed {
    parse(&[SourceFile { name: Arc::from(name), text }])
}

/// Parses a fixture that must have no problems.
fn good(name: &str) -> Parsed {
    let text = fs::read_to_string(testdata().join(name)).unwrap();
    let parsed = parse_text(name, &text);
    assert_eq!(parsed.problems, [], "{name}");
    parsed
}

/// The one policy of a fixture that must have no problems.
fn good_one(name: &str) -> Policy {
    let mut policies = good(name).policies;
    assert_eq!(policies.len(), 1, "{name}");
    policies.remove(0)
}

/// Rules as lines: position, action, object and conditions; what the model adds beyond that is tested apart.
fn lines(policy: &Policy) -> Vec<String> {
    let object = |object: &PathObject| match object {
        PathObject::Path(PathName { literal, glob: None }) => literal.clone(),
        PathObject::Path(PathName { literal, glob: Some(glob) }) => {
            assert_eq!(literal, glob.text());
            format!("{literal} or glob")
        }
        PathObject::Directory { dir, recursive } => {
            let glob = if dir.glob.is_some() { " or glob" } else { "" };
            format!("{}{}{glob}", dir.literal, if *recursive { "**" } else { "" })
        }
        PathObject::Pattern(glob) => format!("glob {glob}"),
        PathObject::ExecName(name) => format!("execname {name}"),
    };
    let source = |sources: &[SourceMatch]| {
        let mut out = String::new();
        for source in sources {
            match source {
                SourceMatch::Path(PathName { literal, glob: _ }) => write!(out, " from {literal}").unwrap(),
                SourceMatch::Directory { dir, recursive } => {
                    write!(out, " from {}{}", dir.literal, if *recursive { "**" } else { "" }).unwrap()
                }
            }
        }
        out
    };
    let flag = |set: bool, name: &'static str| if set { name } else { "" };
    let mut out = Vec::new();
    for r in &policy.process {
        let args = r.allowed_args.as_ref().map(|args| format!(" args {}", args.join(","))).unwrap_or_default();
        let flags = [flag(r.owner_only, " owner"), flag(r.pts_false, " nopts")].concat();
        out.push(format!("{} {:?} {}{flags}{args}{}", r.meta.position, r.meta.action, object(&r.object), source(&r.from_source)));
    }
    for r in &policy.file {
        let flags = [flag(r.read_only, " ro"), flag(r.owner_only, " owner"), flag(r.pts_false, " nopts")].concat();
        out.push(format!("{} {:?} {}{flags}{}", r.meta.position, r.meta.action, object(&r.object), source(&r.from_source)));
    }
    for r in &policy.network {
        let flags = flag(r.pts_false, " nopts");
        out.push(format!(
            "{}.{} {:?} {}{flags}{}",
            r.meta.position,
            r.meta.position.part,
            r.meta.action,
            network_object(&r.object),
            source(&r.from_source)
        ));
    }
    for r in &policy.capabilities {
        out.push(format!(
            "{}.{} {:?} {}{}",
            r.meta.position,
            r.meta.position.part,
            r.meta.action,
            r.capability.name(),
            source(&r.from_source)
        ));
    }
    out
}

fn network_object(object: &NetworkObject) -> String {
    match object {
        NetworkObject::Protocol(protocol) => protocol.name().to_owned(),
        NetworkObject::Endpoint(endpoint) => endpoint.to_string(),
    }
}

fn key(policy: &Policy) -> String {
    policy.key.to_string()
}

fn equals(key: &str, value: &str) -> SelectorTerm {
    SelectorTerm::Equals(key.to_owned(), value.to_owned())
}

/// `FILE:LINE:COLUMN: SEVERITY: FIELD: MESSAGE`, then the text in the span and the help.
fn render(text: &str, problems: &[Problem]) -> String {
    let mut out = String::new();
    for problem in problems {
        writeln!(out, "{problem}").unwrap();
        if let Some(span) = &problem.span {
            let quoted: String =
                text[span.clone()].lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(60).collect();
            if !quoted.is_empty() {
                writeln!(out, "    at: {}", quoted.trim_end()).unwrap();
            }
        }
        if let Some(help) = &problem.help {
            writeln!(out, "    help: {help}").unwrap();
        }
    }
    out
}

/// Each `bad/NAME.yaml` gives exactly the text of `bad/NAME.expected`. `PALISADE_BLESS=1` writes it instead.
#[test]
fn bad_inputs_are_reported_as_expected() {
    let mut names: Vec<PathBuf> = fs::read_dir(testdata().join("bad")).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|e| e == "yaml"));
    names.sort();
    assert!(names.len() >= 10, "the bad fixtures are missing");
    let mut failures = String::new();
    for path in names {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let parsed = parse_text(name, &text);
        let mut found = render(&text, &parsed.problems);
        found.push_str(&render(&text, &parsed.notes));
        for policy in &parsed.policies {
            writeln!(found, "valid: {}", policy.key).unwrap();
        }
        let golden = path.with_extension("expected");
        if std::env::var_os("PALISADE_BLESS").is_some() {
            fs::write(&golden, &found).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != found {
            writeln!(failures, "--- {} should be\n{found}", golden.display()).unwrap();
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn example_policy_inherits_block() {
    let policy = good_one("example-policy.yaml");
    assert_eq!(key(&policy), "KubeArmorPolicy default/example-policy");
    assert_eq!(policy.selector.terms, [equals("app", "myapp")]);
    assert_eq!(
        lines(&policy),
        [
            "process.matchPaths[0] Block /bin/bash",
            "file.matchDirectories[0] Block /etc/ ro",
            "network.matchProtocols[0].0 Block raw",
        ]
    );
    let origin = &policy.process[0].meta.origin;
    assert_eq!(origin.to_string(), "example-policy.yaml:13:7");
    assert_eq!(policy.origin.to_string(), "example-policy.yaml:2:1");
}

#[test]
fn nodejs_minimal() {
    let policy = good_one("nodejs-minimal.yaml");
    assert_eq!(key(&policy), "KubeArmorPolicy production/nodejs-minimal");
    assert_eq!(
        lines(&policy),
        [
            "process.matchPaths[0] Allow /usr/local/bin/node",
            "process.matchPaths[1] Allow /usr/bin/node",
            "process.matchDirectories[0] Block /**",
            "file.matchPaths[0] Allow /etc/passwd ro",
            "file.matchPaths[1] Allow /etc/hosts ro",
            "file.matchDirectories[0] Allow /app/** ro",
            "file.matchDirectories[1] Allow /usr/local/lib/node_modules/** ro",
            "file.matchDirectories[2] Allow /tmp/",
            "network.matchProtocols[0].0 Allow tcp",
            "network.matchProtocols[1].0 Allow udp",
            "network.matchProtocols[2].0 Block raw",
        ]
    );
}

#[test]
fn postgres_paths_are_literal_and_glob() {
    let parsed = good("postgres-hardened.yaml");
    let notes: Vec<String> = parsed.notes.iter().map(ToString::to_string).collect();
    let policy = &parsed.policies[0];
    assert_eq!(notes.len(), 3);
    assert_eq!(
        notes[0],
        "postgres-hardened.yaml:13:13: note: spec.process.matchPaths[0].path: `/usr/lib/postgresql/*/bin/postgres` means both this very \
         path and what it meets as a glob"
    );
    assert_eq!(
        lines(policy),
        [
            "process.matchPaths[0] Allow /usr/lib/postgresql/*/bin/postgres or glob",
            "process.matchPaths[1] Allow /usr/lib/postgresql/*/bin/pg_ctl or glob",
            "process.matchPaths[2] Allow /usr/lib/postgresql/*/bin/initdb or glob",
            "process.matchDirectories[0] Block /**",
            "file.matchDirectories[0] Allow /var/lib/postgresql/**",
            "file.matchDirectories[1] Allow /var/run/postgresql/",
            "file.matchDirectories[2] Allow /etc/postgresql/** ro",
            "capabilities.matchCapabilities[0].0 Block net_bind_service",
        ]
    );
}

#[test]
fn block_shells_selects_by_presence_of_a_label() {
    let policy = good_one("block-shells-cluster-wide.yaml");
    assert_eq!((policy.key.kind, policy.key.namespace.as_str()), (Kind::Cluster, ""));
    assert_eq!(policy.selector.terms, [SelectorTerm::Exists("app".to_owned())]);
    let lines = lines(&policy);
    assert_eq!(lines.len(), 9);
    assert_eq!(lines[1], "process.matchPaths[1] Block /bin/sh");
    assert_eq!(lines[6], "process.matchPatterns[0] Block glob **/python*");
    assert_eq!(policy.process[6].object, PathObject::Pattern(Glob::parse("**/python*").unwrap()));
}

#[test]
fn the_policies_that_need_no_words() {
    let expected: [(&str, &str, &[&str]); 5] = [
        (
            "protect-service-account-tokens.yaml",
            "KubeArmorClusterPolicy protect-service-account-tokens",
            &["file.matchDirectories[0] Block /var/run/secrets/kubernetes.io/serviceaccount/**"],
        ),
        (
            "frontend-network-policy.yaml",
            "KubeArmorPolicy production/frontend-network-policy",
            &[
                "network.matchProtocols[0].0 Allow tcp",
                "network.matchProtocols[1].0 Allow udp",
                "network.matchProtocols[2].0 Block icmp",
                "network.matchProtocols[3].0 Block raw",
            ],
        ),
        (
            "web-app-audit.yaml",
            "KubeArmorPolicy kubearmor-demo/web-app-audit",
            &[
                "process.matchPaths[0] Audit /bin/sh",
                "process.matchPaths[1] Audit /bin/bash",
                "process.matchPaths[2] Audit /usr/bin/wget",
                "file.matchDirectories[0] Audit /etc/**",
            ],
        ),
        (
            "web-app-hardened.yaml",
            "KubeArmorPolicy kubearmor-demo/web-app-hardened",
            &[
                "process.matchPaths[0] Allow /usr/sbin/nginx",
                "process.matchDirectories[0] Block /**",
                "file.matchPaths[0] Allow /etc/passwd ro",
                "file.matchPaths[1] Allow /etc/group ro",
                "file.matchDirectories[0] Allow /etc/nginx/** ro",
                "file.matchDirectories[1] Allow /var/log/nginx/",
                "file.matchDirectories[2] Allow /var/cache/nginx/",
                "file.matchDirectories[3] Allow /usr/share/nginx/html/ ro",
            ],
        ),
        (
            "checkout-service-lockdown.yaml",
            "KubeArmorPolicy production/checkout-service-lockdown",
            &[
                "process.matchPaths[0] Allow /usr/local/bin/node",
                "process.matchDirectories[0] Block /**",
                "file.matchDirectories[0] Allow /app/**",
                "file.matchDirectories[1] Allow /tmp/",
                "network.matchProtocols[0].0 Allow tcp",
                "network.matchProtocols[1].0 Allow udp",
            ],
        ),
    ];
    for (name, expected_key, expected_lines) in expected {
        let policy = good_one(name);
        assert_eq!(key(&policy), expected_key);
        assert_eq!(lines(&policy), expected_lines, "{name}");
    }
}
