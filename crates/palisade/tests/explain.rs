//! `palisade policy explain`.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

fn explain(args: &[&str]) -> String {
    let args: Vec<&str> = ["policy", "explain"].into_iter().chain(args.iter().copied()).collect();
    let (code, out, err) = common::run(&args);
    assert_eq!((code, err.as_str()), (0, ""), "{args:?}");
    out
}

#[test]
fn the_verdict_the_reason_and_the_rules_that_lost() {
    let files = ["examples/block-shells.yaml", "examples/postgres.yaml"];
    let postgres = "/usr/lib/postgresql/15/bin/postgres";
    let shell = [files[0], files[1], "--exec", "/bin/sh", "--from", postgres, "--arg=-c", "--arg", "locale -a"];
    insta::assert_snapshot!("explain-shell", explain(&shell));
    let json: Vec<&str> = shell.into_iter().chain(["--json"]).collect();
    insta::assert_snapshot!("explain-shell-json", explain(&json));
}

#[test]
fn postures_the_base_set_and_nothing_at_all_decide_too() {
    let said = |args: &[&str]| {
        let json: serde_json::Value = serde_json::from_str(&explain(args)).unwrap();
        (json["verdict"].as_str().unwrap().to_owned(), json["policy"].as_str().map(str::to_owned), json["rule"].is_null())
    };
    let nginx = "examples/nginx.yaml";
    let some = |policy: &str| Some(policy.to_owned());
    assert_eq!(said(&[nginx, "--read", "/etc/shadow", "--json"]), ("Block".into(), some("DefaultPosture"), true));
    assert_eq!(said(&[nginx, "--read", "/lib/libc.so.6", "--json"]), ("Allow".into(), some("BaseSet"), true));
    assert_eq!(said(&[nginx, "--capability", "CAP_SYS_ADMIN", "--json"]), ("Allow".into(), None, true));
    assert_eq!(said(&[nginx, "--socket", "TCP", "--json"]), ("Allow".into(), some("nginx"), false));
    assert_eq!(said(&[nginx, "--write", "/etc/nginx//x/", "--json"]), ("Block".into(), some("nginx"), false));
    // Another workload, and the host.
    assert_eq!(said(&[nginx, "--exec", "/bin/sh", "--label", "app=other", "--json"]), ("Allow".into(), None, true));
    assert_eq!(said(&[nginx, "--exec", "/bin/sh", "--host", "--json"]), ("Allow".into(), None, true));
}

#[test]
fn policies_that_do_not_concern_the_workload_are_named() {
    let out = explain(&["examples/nginx.yaml", "--exec", "/bin/sh", "--label", "app=other"]);
    assert!(out.contains("not for this workload: KubeArmorPolicy default/nginx"), "{out}");
}

#[test]
fn a_script_is_judged_stage_by_stage() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("bin")).unwrap();
    std::fs::write(dir.path().join("bin/tool"), "#!/bin/sh\n").unwrap();
    std::os::unix::fs::symlink("dash", dir.path().join("bin/sh")).unwrap();
    std::fs::write(dir.path().join("bin/dash"), "x").unwrap();
    let root = dir.path().to_str().unwrap();
    let out = explain(&["examples/block-shells.yaml", "--exec", "/bin/tool", "--root", root]);
    insta::assert_snapshot!("explain-script", out);
}

#[test]
fn the_base_set_is_printed() {
    let out = explain(&["--base"]);
    assert!(out.contains("/etc/resolv.conf"), "{out}");
    let json: serde_json::Value = serde_json::from_str(&explain(&["--base", "--json"])).unwrap();
    assert!(json.as_array().unwrap().len() > 20);
}

#[test]
fn a_bad_name_or_policy_is_unusable_input() {
    for args in [
        ["examples/nginx.yaml", "--exec", "bin/sh"],
        ["examples/nginx.yaml", "--read", "/a/../b"],
        ["examples/nginx.yaml", "--socket", "tpc"],
        ["examples/nginx.yaml", "--capability", "net_rwa"],
        ["crates/palisade/tests/data/bad.yaml", "--exec", "/bin/sh"],
    ] {
        let args: Vec<&str> = ["policy", "explain"].into_iter().chain(args).collect();
        let (code, _, err) = common::run(&args);
        assert!(code == 2 && !err.is_empty(), "{args:?}: {err}");
    }
}
