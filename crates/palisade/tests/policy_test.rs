//! `palisade policy test` and `compile`.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

#[test]
fn all_examples_are_as_their_tests_say() {
    let (code, out, err) = common::run(&["policy", "test", "examples"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert_eq!(out.lines().filter(|line| line.starts_with("ok ")).count(), 7, "{out}");
}

#[test]
fn what_is_not_as_expected_is_shown_as_a_difference() {
    let (code, out, _) = common::run(&["policy", "test", "crates/palisade/tests/data/failing.test.yaml", "--all"]);
    assert_eq!(code, 1);
    insta::assert_snapshot!("test-failing", out);
    let (code, out, _) = common::run(&["policy", "test", "crates/palisade/tests/data/failing.test.yaml", "--json"]);
    assert_eq!(code, 1);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&json[0]["passed"], &json[0]["failed"]), (&1.into(), &2.into()), "{out}");
}

#[test]
fn an_unknown_field_has_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.test.yaml");
    std::fs::write(&path, "policies: p.yaml\nworkload:\n  lables: {}\ntests: []\n").unwrap();
    let (code, _, err) = common::run(&["policy", "test", path.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(err.contains("x.test.yaml:3:3: ") && err.contains("lables"), "{err}");
}

#[test]
fn tables_have_figures() {
    let (code, out, _) = common::run(&["policy", "compile", "examples/nginx.yaml", "--stats"]);
    assert_eq!(code, 0);
    assert!(out.starts_with("compiled: workload, 12 rules: "), "{out}");
    assert!(out.contains(" ms\n") && out.contains(" file     literals"), "{out}");
    let (code, out, _) = common::run(&["policy", "compile", "examples", "--stats", "--json"]);
    assert_eq!(code, 0);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    let automata = json[0]["automata"].as_array().unwrap();
    assert!(automata.len() >= 4, "{out}");
    for automaton in automata {
        assert!(automaton["states"].as_u64().unwrap() > 0 && automaton["bytes"].as_u64().unwrap() > 0, "{automaton}");
    }
}

#[test]
fn a_limit_that_is_exceeded_names_its_rules() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.yaml");
    // "an `a`, 17 bytes before the end": an automaton has to remember all of the last 17.
    let far = "?".repeat(17);
    let policy = format!(
        "apiVersion: security.kubearmor.com/v1\nkind: KubeArmorPolicy\nmetadata: {{name: p}}\nspec:\n  file:\n    \
         matchPatterns:\n    - {{pattern: /etc/x, action: Block}}\n    - {{pattern: \"**/*a{far}\", action: Block}}\n"
    );
    std::fs::write(&path, policy).unwrap();
    let (code, out, _) = common::run(&["policy", "compile", path.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(out.starts_with("too large: workload, 2 rules: "), "{out}");
    let blamed = out.lines().nth(1).unwrap();
    assert!(blamed.ends_with("p.yaml:8: file.matchPatterns[1] of KubeArmorPolicy default/p"), "{out}");
    let (_, out, _) = common::run(&["policy", "compile", path.to_str().unwrap(), "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json[0]["error"]["rules"][0]["line"], 8, "{out}");
}
