//! From text to the model: inheritance, selectors, gaps, lists, limits, hints.
#![expect(clippy::unwrap_used, reason = "a failing test may panic anywhere")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use palisade_policy::gaps;
use palisade_policy::model::{
    Action, Capability, Cidr, Direction, Endpoint, EndpointProtocol, Host, Kind, NamespaceTerm, NetworkObject, PathName,
    PathObject, Policy, PolicyMode, PortRange, Protocol, Selector, SelectorTerm, SourceMatch,
};
use palisade_policy::{Parsed, Severity, SourceFile, hints, parse};

fn parse_text(text: &str) -> Parsed {
    parse(&[SourceFile { name: Arc::from("p.yaml"), text }])
}

fn fixture(name: &str) -> Parsed {
    parse_text(&fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/policies").join(name)).unwrap())
}

/// A namespaced policy with this `spec`, whose lines are indented by two.
fn mk_policy(spec: &str) -> String {
    format!("apiVersion: security.kubearmor.com/v1\nkind: KubeArmorPolicy\nmetadata:\n  name: p\nspec:\n{spec}")
}

fn mk_host(node_selector: &str) -> String {
    format!(
        "apiVersion: security.kubearmor.com/v1\nkind: KubeArmorHostPolicy\nmetadata: {{name: p}}\n\
         spec: {{nodeSelector: {node_selector}, process: {{matchPaths: [{{path: /bin/a}}]}}}}\n"
    )
}

fn good(text: &str) -> Policy {
    let mut parsed = parse_text(text);
    assert_eq!(parsed.problems, []);
    assert_eq!(parsed.policies.len(), 1);
    parsed.policies.remove(0)
}

fn problems(text: &str) -> Vec<String> {
    let parsed = parse_text(text);
    assert_eq!(parsed.policies, []);
    parsed.problems.iter().map(ToString::to_string).collect()
}

fn literal(text: &str) -> PathName {
    PathName { literal: text.to_owned(), glob: None }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| (*t).to_owned()).collect()
}

#[test]
fn every_field_reaches_the_model() {
    let parsed = fixture("every-field.yaml");
    assert_eq!((parsed.problems.as_slice(), parsed.notes.as_slice()), ([].as_slice(), [].as_slice()));
    let policy = &parsed.policies[0];
    assert_eq!(
        (policy.key.kind, policy.key.namespace.as_str(), policy.key.name.as_str()),
        (Kind::Namespaced, "shop", "every-field")
    );
    assert_eq!(policy.mode, PolicyMode::Audited);
    assert_eq!(policy.gaps, []);

    let curl = &policy.process[0];
    assert_eq!(curl.object, PathObject::Path(literal("/usr/bin/curl")));
    assert_eq!(curl.allowed_args, Some(strings(&["-s", "--fail"])));
    assert!(curl.owner_only && curl.pts_false);
    let expected_sources = [
        SourceMatch::Path(literal("/bin/sh")),
        SourceMatch::Directory { dir: literal("/opt/tools/"), recursive: true },
        SourceMatch::Directory { dir: literal("/sbin/"), recursive: false },
    ];
    assert_eq!(curl.from_source, expected_sources);
    assert_eq!(policy.process[1].object, PathObject::ExecName("nc".to_owned()));
    assert!(!policy.process[2].pts_false, "`pts: true` is no condition");

    let shadow = &policy.file[0];
    assert!(shadow.read_only && shadow.owner_only && shadow.pts_false);
    assert_eq!(policy.file[1].object, PathObject::Directory { dir: literal("/"), recursive: false });

    let endpoint = Endpoint {
        protocol: EndpointProtocol::Tcp,
        direction: Direction::Egress,
        host: Host::Cidr(Cidr::parse("10.0.0.0/8").unwrap()),
        ports: [(443, 443), (8000, 8080)].into_iter().filter_map(|(first, last)| PortRange::new(first, last)).collect(),
    };
    let protocols: Vec<_> =
        policy.network.iter().map(|r| (r.object.clone(), r.meta.position.index, r.meta.position.part, r.pts_false)).collect();
    assert_eq!(
        protocols,
        [
            (NetworkObject::Protocol(Protocol::Tcp), 0, 0, true),
            (NetworkObject::Protocol(Protocol::Udp), 0, 1, true),
            (NetworkObject::Protocol(Protocol::All), 1, 0, false),
            (NetworkObject::Endpoint(endpoint), 0, 0, true),
        ]
    );
    let capabilities: Vec<_> = policy.capabilities.iter().map(|r| (r.capability.name(), r.meta.position.part)).collect();
    assert_eq!(capabilities, [("net_raw", 0), ("sys_admin", 1), ("checkpoint_restore", 0)]);
}

#[test]
fn rules_inherit_from_section_and_spec() {
    let parsed = fixture("every-field.yaml");
    let policy = &parsed.policies[0];
    let metas = policy
        .process
        .iter()
        .map(|r| &r.meta)
        .chain(policy.file.iter().map(|r| &r.meta))
        .chain(policy.network.iter().map(|r| &r.meta));
    let found: Vec<_> = metas.map(|m| (m.action, m.severity, m.tags.join(","), m.message.as_str())).collect();
    let of = |action, severity, tags: &str, message| (action, Some(severity), tags.to_owned(), message);
    let expected = [
        of(Action::Block, 10, "rule,more", "of the rule"),
        of(Action::Audit, 3, "spec", "of the section"),
        of(Action::Audit, 3, "spec", "of the section"),
        of(Action::Allow, 3, "spec", "of the section"),
        of(Action::Allow, 2, "section", "of the spec"),
        of(Action::Allow, 2, "section", "of the spec"),
        of(Action::Allow, 2, "section", "of the spec"),
        of(Action::Audit, 2, "spec", "of the spec"),
        of(Action::Audit, 2, "spec", "of the spec"),
        of(Action::Block, 2, "spec", "of the spec"),
        of(Action::Block, 2, "spec", "of the spec"),
    ];
    assert_eq!(found, expected);
    let bare = good(&mk_policy("  process: {matchPaths: [{path: /bin/a}]}\n"));
    let meta = &bare.process[0].meta;
    assert_eq!((meta.action, meta.severity, meta.tags.len(), meta.message.as_str()), (Action::Block, None, 0, ""));
    assert_eq!(bare.key.namespace, "default");
}

#[test]
fn selectors_take_every_form() {
    let policy = &fixture("every-field.yaml").policies[0];
    let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
    let expected = Selector {
        terms: vec![
            SelectorTerm::Equals("app".to_owned(), "web".to_owned()),
            SelectorTerm::AnyPair(vec![pair("tier", "front"), pair("tier", "middle")]),
            SelectorTerm::NoPair(vec![pair("canary", "yes")]),
            SelectorTerm::In("track".to_owned(), strings(&["stable", "beta"])),
            SelectorTerm::NotIn("track".to_owned(), strings(&["old"])),
            SelectorTerm::Exists("owner".to_owned()),
            SelectorTerm::DoesNotExist("debug".to_owned()),
        ],
        containers: strings(&["web", "proxy"]),
        namespaces: Vec::new(),
        hostnames: Vec::new(),
    };
    assert_eq!(policy.selector, expected);

    let parsed = fixture("unenforced.yaml");
    let namespaces = [NamespaceTerm::NotIn(strings(&["kube-system"])), NamespaceTerm::In(strings(&["shop", "bank"]))];
    assert_eq!(parsed.policies[0].selector.namespaces, namespaces);
    assert_eq!(parsed.policies[1].selector.hostnames, strings(&["a", "b"]));

    for (value, containers) in [("\"[]\"", [].as_slice()), ("\"\"", &[]), ("\"[a,,b]\"", &["a", "b"]), ("web", &["web"])] {
        let text = mk_policy(&format!("  selector: {{matchLabels: {{kubearmor.io/container.name: {value}}}}}\n"));
        assert_eq!(good(&text).selector.containers, strings(containers), "{value}");
    }
}

#[test]
fn host_policies_select_nodes() {
    let selector = |labels: &str| good(&mk_host(&format!("{{matchLabels: {{{labels}}}}}"))).selector;
    assert_eq!(selector("kubearmor.io/hostname: \"*\"").hostnames, strings(&["*"]));
    assert_eq!(selector("kubearmor.io/hostnamereg: \"node-*\"").hostnames, strings(&["node-*"]));
    assert_eq!(selector("kubernetes.io/hostname: \"*\"").hostnames, strings(&["*"]));
    let equals = SelectorTerm::Equals("kubernetes.io/hostname".to_owned(), "n1".to_owned());
    assert_eq!(selector("kubernetes.io/hostname: n1").terms, [equals]);
    let any = SelectorTerm::In("kubernetes.io/hostname".to_owned(), strings(&["n1", "n2"]));
    assert_eq!(selector("kubernetes.io/hostname: \"n1,n2\"").terms, [any]);
    assert_eq!(problems(&mk_host("{}")).len(), 1);
}

#[test]
fn what_is_not_enforced_is_a_gap_at_its_place() {
    let parsed = fixture("unenforced.yaml");
    assert_eq!(parsed.problems, []);
    let gaps: Vec<String> = parsed.policies.iter().flat_map(|p| &p.gaps).map(|g| format!("{} {}", g.origin, g.field)).collect();
    let expected = [
        "p.yaml:36:13 spec.network.matchEndpoints[0].fqdn",
        "p.yaml:29:7 spec.network.matchDNSQueries[0]",
        "p.yaml:17:5 spec.syscalls",
        "p.yaml:15:5 spec.apparmor",
        "p.yaml:12:5 spec.presets[0]",
        "p.yaml:13:5 spec.presets[1]",
        "p.yaml:46:5 spec.device",
    ];
    assert_eq!(gaps, expected);
    for declared in gaps::DECLARED {
        assert!(parsed.policies.iter().flat_map(|p| &p.gaps).any(|g| g.text == declared.to_string()), "{}", declared.field);
    }
    assert_eq!(parsed.policies[0].network.len(), 2, "its other rules are kept");
}

#[test]
fn an_endpoint_item_is_a_rule_for_each_of_its_protocols_and_addresses() {
    let item = "{cidr: '10.0.0.0/8, fd00::/8', protocol: 'tcp, UDP', ports: [{port: 443}, {port: 8000, endPort: 8080}], \
                direction: egress, pts: false, action: Allow}";
    let spec = format!("selector: {{}}, network: {{matchEndpoints: [{item}, {{ports: [{{port: 53}}]}}]}}");
    let text =
        format!("{{apiVersion: security.kubearmor.com/v1, kind: KubeArmorPolicy, metadata: {{name: p}}, spec: {{{spec}}}}}");
    let parsed = parse_text(&text);
    assert_eq!(parsed.problems, []);
    let shown = |r: &palisade_policy::model::NetworkRule| match &r.object {
        NetworkObject::Endpoint(endpoint) => format!("{}.{} {endpoint}", r.meta.position, r.meta.position.part),
        NetworkObject::Protocol(_) => String::new(),
    };
    let rules: Vec<String> = parsed.policies[0].network.iter().map(shown).collect();
    let expected = [
        "network.matchEndpoints[0].0 egress TCP 10.0.0.0/8 port 443, 8000-8080",
        "network.matchEndpoints[0].1 egress TCP fd00::/8 port 443, 8000-8080",
        "network.matchEndpoints[0].2 egress UDP 10.0.0.0/8 port 443, 8000-8080",
        "network.matchEndpoints[0].3 egress UDP fd00::/8 port 443, 8000-8080",
        "network.matchEndpoints[1].0 both any port 53",
    ];
    assert_eq!(rules, expected);
    assert!(parsed.policies[0].network[0].pts_false);
}

#[test]
fn a_block_by_host_name_is_said_loudly() {
    let spec = "selector: {}, network: {matchEndpoints: [{fqdn: '*.example.com', action: Block}, {fqdn: a.b, action: Allow}]}";
    let parsed = parse_text(&format!(
        "{{apiVersion: security.kubearmor.com/v1, kind: KubeArmorPolicy, metadata: {{name: p}}, spec: {{{spec}}}}}"
    ));
    assert_eq!(parsed.problems, []);
    assert_eq!(parsed.policies[0].gaps.len(), 2);
    let notes: Vec<&str> = parsed.notes.iter().map(|note| note.message.as_str()).collect();
    assert_eq!(notes, ["this Block denies nothing: the addresses of `*.example.com` are not looked up"]);
}

#[test]
fn a_list_of_policies_is_opened_and_an_invalid_item_does_not_hinder_the_others() {
    let text = "apiVersion: v1\nkind: List\nmetadata: {resourceVersion: \"\"}\nitems:\n\
        - {apiVersion: security.kubearmor.com/v1, kind: KubeArmorPolicy, metadata: {name: a}, spec: {process: {matchPaths: [{path: /a}]}}}\n\
        - {apiVersion: security.kubearmor.com/v1, kind: KubeArmorPolicy, metadata: {name: b}, spec: {process: {matchPaths: [*x]}}}\n\
        - {apiVersion: security.kubearmor.com/v1, kind: KubeArmorPolicy, metadata: {name: c}, spec: {process: {matchPaths: [{path: /c}]}}}\n";
    let parsed = parse_text(text);
    let names: Vec<&str> = parsed.policies.iter().map(|p| p.key.name.as_str()).collect();
    assert_eq!((names, parsed.problems.len()), (vec!["a", "c"], 1));
}

#[test]
fn json_is_accepted() {
    let text = "{\"apiVersion\":\"security.kubearmor.com/v1\",\n\t\"kind\":\"KubeArmorPolicy\",\"metadata\":{\"name\":\"j\"},\
        \"spec\":{\"process\":{\"matchPaths\":[{\"path\":\"\\/bin\\/a\",\"severity\":5}]}}}";
    let policy = good(text);
    assert_eq!(policy.process[0].object, PathObject::Path(literal("/bin/a")));
    assert_eq!(policy.process[0].meta.severity, Some(5));
}

#[test]
fn merge_keys_give_way_to_own_keys() {
    let policy = good(&mk_policy(
        "  process:\n    matchPaths:\n    - &a {path: /a, action: Allow, severity: 3}\n    - {<<: *a, path: /b}\n    - {<<: [{severity: 4}, *a], path: /c}\n",
    ));
    let found: Vec<_> = policy.process.iter().map(|r| (r.object.clone(), r.meta.action, r.meta.severity)).collect();
    let of = |path, severity| (PathObject::Path(literal(path)), Action::Allow, Some(severity));
    assert_eq!(found, [of("/a", 3), of("/b", 3), of("/c", 4)]);
}

#[test]
fn empty_input_is_no_problem() {
    for text in ["", "\n", "# only a comment\n", "---\n", "---\n---\n...\n", "\u{feff}", "null\n---\n~\n"] {
        assert_eq!(parse_text(text), Parsed::default(), "{text:?}");
    }
}

#[test]
fn what_follows_a_policy_in_its_document_spoils_it() {
    let json = "{apiVersion: security.kubearmor.com/v1, kind: KubeArmorPolicy, metadata: {name: p}, spec: {process: {matchPaths: [{path: /a}]}}}";
    assert_eq!(parse_text(json).policies.len(), 1);
    for rest in [" }", "\n}", " text", "\n text: x", ", a: b"] {
        assert_eq!(problems(&format!("{json}{rest}")).len(), 1, "{rest}");
    }
    for rest in ["\n---\n}", "\n--- }", "\n...\n}", "\n---\n%X\n}"] {
        let parsed = parse_text(&format!("{json}{rest}"));
        assert_eq!((parsed.policies.len(), parsed.problems.len()), (1, 1), "{rest} {:?}", parsed.problems);
    }
}

#[test]
fn the_original_length_limit_of_paths_is_lifted() {
    let policy = |length: usize| mk_policy(&format!("  process: {{matchPaths: [{{path: /{}}}]}}\n", "a".repeat(length - 1)));
    assert!(matches!(&good(&policy(4095)).process[0].object, PathObject::Path(name) if name.literal.len() == 4095));
    assert!(problems(&policy(4096))[0].contains("the path is 4096 bytes long"));
}

#[test]
fn all_capabilities_are_known() {
    let names: Vec<&str> = Capability::all().map(Capability::name).collect();
    let policy = good(&mk_policy(&format!("  capabilities: {{matchCapabilities: [{{capability: \"{}\"}}]}}\n", names.join(","))));
    assert_eq!(policy.capabilities.len(), 41);
}

#[test]
fn small_texts_that_ask_for_much_are_refused() {
    let nested = format!("a: {}{}\n", "[".repeat(5000), "]".repeat(5000));
    assert!(problems(&nested)[0].contains("nested deeper than 64 levels"), "{:?}", problems(&nested));
    let mut chain = "a0: &a0 [x]\n".to_owned();
    for n in 1..5000 {
        chain.push_str(&format!("a{n}: &a{n} [*a{}]\n", n - 1));
    }
    assert!(problems(&chain)[0].contains("nested deeper than 64 levels"));
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..20 {
        laughs.push_str(&format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", ")));
    }
    assert!(problems(&laughs)[0].contains("more than 64 MiB once aliases are replaced"));
    let globs = vec![format!("{{pattern: \"/{}{}\"}}", "{a,b}".repeat(8), "x".repeat(1000)); 200].join(", ");
    let found = problems(&mk_policy(&format!("  process: {{matchPatterns: [{globs}]}}\n")));
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("more than 64 MiB once expanded"));
    let inherited = mk_policy(&format!(
        "  message: {}\n  process: {{matchPaths: [{}]}}\n",
        "m".repeat(1 << 20),
        vec!["{path: /a}"; 100].join(", ")
    ));
    assert!(problems(&inherited)[0].contains("more than 64 MiB once expanded"));
    let many = problems(&mk_policy(&format!("  process: {{matchPaths: [{}]}}\n", vec!["{x: 1}"; 3000].join(", "))));
    assert_eq!(many.len(), 1001);
    assert!(many[1000].ends_with("5000 further problems are not listed"), "{}", many[1000]);
    let big = " ".repeat(palisade_policy::FILE_MAX_BYTES + 1);
    assert!(problems(&big)[0].contains("at most"));
}

#[test]
fn messages_quote_user_text_on_one_line() {
    let found = problems(&mk_policy("  process: {matchPaths: [{path: \"a\\e[31m\\n\\u202e\"}]}\n"));
    assert_eq!(found, ["p.yaml:6:33: error: spec.process.matchPaths[0].path: `a\\u{1b}[31m\\u{a}\\u{202e}` is not absolute"]);
}

#[test]
fn hints_say_what_the_rules_do_unasked() {
    let parsed = parse_text(&mk_policy(
        "  process:\n    matchPaths:\n    - {execname: nc, action: Allow, fromSource: [{path: /bin/sh}]}\n    - {path: /bin/a, ownerOnly: true}\n\
         \x20 file:\n    matchDirectories:\n    - {dir: /etc/, recursive: true, readOnly: true}\n    - {dir: /etc/app/, recursive: true, action: Allow}\n\
         \x20   matchPaths:\n    - {path: /etc/app.conf, action: Allow}\n    - {path: /etc/app/x, action: Allow}\n    - {path: /etc/passwd, readOnly: true, action: Allow}\n",
    ));
    assert_eq!(parsed.problems, []);
    let notes = hints(&parsed.policies);
    assert!(notes.iter().all(|n| n.severity == Severity::Note));
    let found: Vec<String> = notes.iter().map(ToString::to_string).collect();
    let expected = [
        "p.yaml:8:7: note: spec.process.matchPaths[0]: any file named `nc` may run, also one in a directory that the workload can write",
        "p.yaml:9:7: note: spec.process.matchPaths[1]: this Block lets the file's owner pass, silently",
        "p.yaml:15:7: note: spec.file.matchPaths[0]: the file may be written but not replaced by a rename: nothing may be created beside it, \
         because of file.matchDirectories[0] (p.yaml:12:7)",
        "p.yaml:12:7: note: spec.file.matchDirectories[0]: this Block lets reads pass, silently",
        "p.yaml:8:7: note: spec.process.matchPaths[0]: class process is default-deny because of p.yaml:8:7: what no rule lets pass is \
         denied by default",
        "p.yaml:8:7: note: spec.process.matchPaths[0]: every Allow of class process holds for some programs only; all others are left with \
         the posture",
        "p.yaml:15:7: note: spec.file.matchPaths[0]: class file is default-deny because of p.yaml:15:7: what no rule lets pass is denied \
         by default",
    ];
    assert_eq!(found, expected);
}
