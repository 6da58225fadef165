//! The limits that the compiler promises: sizes of tables, refusal of what explodes, and the same bytes each time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_policy::glob::Glob;
use palisade_policy::model::{
    Action, Cidr, Direction, Endpoint, EndpointProtocol, FileRule, Host, Kind, NetworkObject, NetworkRule, Origin, PathName,
    PathObject, Policy, PolicyKey, PolicyMode, PortRange, Position, RuleList, RuleMeta, Selector,
};
use palisade_ruleset::{CompileError, NoLinks, RuleSet, Stamp, Workload, compile};

const STAMP: Stamp = Stamp { table_id: 1, generation: 1 };

/// Real-looking paths: a fixed pseudo-random tree, 20 to 150 bytes long.
fn path(seed: u64) -> String {
    const WORDS: [&str; 24] = [
        "usr",
        "lib",
        "share",
        "python3",
        "dist-packages",
        "site",
        "x86_64-linux-gnu",
        "doc",
        "perl",
        "modules",
        "kernel",
        "drivers",
        "net",
        "locale",
        "zoneinfo",
        "fonts",
        "icons",
        "hicolor",
        "scalable",
        "apps",
        "config",
        "var",
        "cache",
        "state",
    ];
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |n: u64| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x % n
    };
    let depth = 3 + next(7);
    let mut out = String::new();
    for _ in 0..depth {
        out.push('/');
        out.push_str(WORDS[usize::try_from(next(24)).unwrap()]);
    }
    format!("{out}/file_{:x}", next(1 << 30))
}

fn mixed(rules: u64, globs_percent: u64) -> Policy {
    let mut file = Vec::new();
    for i in 0..rules {
        let path = path(i);
        let name = |text: String| PathName { literal: text, glob: None };
        let object = match i % 100 {
            n if n < globs_percent => {
                let (dir, _) = path.rsplit_once('/').unwrap();
                let text = match i % 3 {
                    0 => format!("{dir}/*.so"),
                    1 => format!("{dir}/**/name{i}"),
                    _ => format!("{dir}/*/x{i}?"),
                };
                PathObject::Pattern(Glob::parse(&text).unwrap())
            }
            n if n < globs_percent + 25 => PathObject::Directory { dir: name(format!("{path}/")), recursive: true },
            _ => PathObject::Path(name(path)),
        };
        let position = Position { list: RuleList::FilePaths, index: u32::try_from(i).unwrap(), part: 0 };
        let action = if i % 7 == 0 { Action::Block } else { Action::Allow };
        file.push(FileRule {
            meta: RuleMeta { position, origin: origin(), action, severity: None, tags: Vec::new(), message: String::new() },
            object,
            read_only: i % 5 == 0,
            owner_only: false,
            pts_false: false,
            from_source: Vec::new(),
        });
    }
    policy(file)
}

fn policy(file: Vec<FileRule>) -> Policy {
    Policy {
        key: PolicyKey { kind: Kind::Namespaced, namespace: "default".into(), name: "sizes".into() },
        origin: origin(),
        selector: Selector::default(),
        mode: PolicyMode::Enabled,
        process: Vec::new(),
        file,
        network: Vec::new(),
        capabilities: Vec::new(),
        gaps: Vec::new(),
    }
}

fn origin() -> Origin {
    Origin { file: Arc::from("sizes.yaml"), line: 1, column: 1 }
}

fn set(policy: Policy) -> RuleSet {
    RuleSet::new(&[policy], &Workload::run(), &NoLinks)
}

#[test]
fn a_thousand_mixed_rules_need_one_glob_group_and_three_mebibytes() {
    let compiled = compile(&set(mixed(1_000, 10)), STAMP).unwrap();
    let groups = compiled.stats().file.automata.iter().filter(|a| (1..=8).contains(&a.place)).count();
    assert_eq!(groups, 1, "{:?}", compiled.stats());
    assert!(compiled.stats().bytes <= 3 << 20, "{} bytes", compiled.stats().bytes);
}

#[test]
fn the_same_rules_give_the_same_bytes() {
    let once = compile(&set(mixed(300, 10)), STAMP).unwrap();
    let again = compile(&set(mixed(300, 10)), Stamp { table_id: 2, generation: 9 }).unwrap();
    assert!(once.same_content(&again));
    assert_ne!(once.bytes(), again.bytes(), "the stamp is in the header");
    assert_eq!(once.bytes(), compile(&set(mixed(300, 10)), STAMP).unwrap().bytes());
}

#[test]
fn globs_that_explode_are_refused_by_name() {
    let rules = (0..60_u32).map(|i| FileRule {
        meta: RuleMeta {
            position: Position { list: RuleList::FilePatterns, index: i, part: 0 },
            origin: origin(),
            action: Action::Block,
            severity: None,
            tags: Vec::new(),
            message: String::new(),
        },
        object: PathObject::Pattern(Glob::parse(&format!("**/*a{i}*b{i}*/**/c{i}*")).unwrap()),
        read_only: false,
        owner_only: false,
        pts_false: false,
        from_source: Vec::new(),
    });
    let set = set(policy(rules.collect()));
    let Err(CompileError::GlobsExplode { rules, .. }) = compile(&set, STAMP) else { panic!("compiled") };
    assert!(!rules.is_empty());
    assert!(rules.iter().collect::<BTreeSet<_>>().len() <= 60);
}

/// Figures, printed; the limits are asserted with room for a slow machine: `cargo test --release -- --ignored --nocapture`
/// shows them. `make bench` reports the exact ones.
#[test]
fn ten_thousand_rules_compile() {
    let globs = if cfg!(debug_assertions) { 0 } else { 10 };
    let started = std::time::Instant::now();
    let compiled = compile(&set(mixed(10_000, globs)), STAMP).unwrap();
    println!("10,000 rules: {:?}, {:?}", started.elapsed(), compiled.stats());
}

/// So many /24 networks, each with one of `ports` ranges of ports, and one port open to everybody.
fn endpoints(networks: u32, ports: u16) -> Policy {
    let range = |i: u16| PortRange::new(1_000 + i * 10, 1_005 + i * 10).unwrap();
    let mut policy = mixed(0, 0);
    let everybody = (Host::Any, PortRange::new(443, 443).unwrap());
    let network = |i: u32| {
        let text = format!("{}.{}.{}.0/24", 1 + i % 200, i / 200 % 200, i / 40_000);
        (Host::Cidr(Cidr::parse(&text).unwrap()), range(u16::try_from(i).unwrap_or(u16::MAX) % ports))
    };
    for (i, (host, range)) in (0..networks).map(network).chain([everybody]).enumerate() {
        let position = Position { list: RuleList::NetworkEndpoints, index: u32::try_from(i).unwrap(), part: 0 };
        let origin = Origin { file: "e.yaml".into(), line: 1, column: 1 };
        let action = if i % 7 == 0 { Action::Block } else { Action::Allow };
        let endpoint = Endpoint { protocol: EndpointProtocol::Tcp, direction: Direction::Egress, host, ports: vec![range] };
        policy.network.push(NetworkRule {
            meta: RuleMeta { position, origin, action, severity: None, tags: Vec::new(), message: String::new() },
            object: NetworkObject::Endpoint(endpoint),
            pts_false: false,
            from_source: Vec::new(),
        });
    }
    policy
}

#[test]
fn ten_thousand_networks_with_ports_fit_a_table() {
    for (networks, ports, most_bytes) in [(1_000, 20, 1 << 20), (10_000, 20, 8 << 20)] {
        let rules = RuleSet::new(&[endpoints(networks, ports)], &Workload::run(), &NoLinks);
        let compiled = compile(&rules, STAMP).unwrap();
        let stats = compiled.stats();
        println!("{networks} networks: {} bytes, {} states", stats.bytes, stats.network.automata[0].states);
        assert!(stats.bytes <= most_bytes, "{networks} networks take {} bytes", stats.bytes);
    }
}

#[test]
fn ports_and_addresses_that_multiply_are_refused_with_the_rules_to_blame() {
    let mut policy = endpoints(20_000, 1);
    let all_ports: Vec<PortRange> = Vec::new();
    for (i, rule) in policy.network.iter_mut().enumerate() {
        let NetworkObject::Endpoint(endpoint) = &mut rule.object else { continue };
        if i % 4 == 0 {
            let first = u16::try_from(i % 65_000).unwrap();
            (endpoint.host, endpoint.ports) = (Host::Any, vec![PortRange::new(first, first + 1).unwrap()]);
        } else {
            endpoint.ports.clone_from(&all_ports);
        }
    }
    let error = compile(&RuleSet::new(&[policy], &Workload::run(), &NoLinks), STAMP).unwrap_err();
    assert!(matches!(&error, CompileError::EndpointsExplode { rules } if rules.len() > 10_000), "{error}");
}
