//! `palisade policy check`.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

const BAD: &str = "crates/palisade/tests/data/bad.yaml";
const RIVALS: &str = "crates/palisade/tests/data/rivals.yaml";

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let (code, out, err) = common::run(&["policy", "check", BAD]);
    assert_eq!(code, 1);
    insta::assert_snapshot!("check-bad", out);
    insta::assert_snapshot!("check-bad-summary", err);
}

#[test]
fn the_same_for_programs() {
    let (code, out, _) = common::run(&["policy", "check", BAD, "--json"]);
    assert_eq!(code, 1);
    let found: serde_json::Value = serde_json::from_str(&out).unwrap();
    let first = &found[0];
    for key in ["file", "line", "column", "severity", "field", "message", "help"] {
        assert!(first.get(key).is_some(), "{key}: {first}");
    }
    assert_eq!(found[0]["line"], 6);
    assert!(!out.contains('\x1b'));
}

#[test]
fn what_a_policy_says_does_not_steer_the_terminal() {
    for args in [["policy", "check", BAD].as_slice(), &["policy", "explain", BAD, "--exec", "/tmp/\x1b[2J"]] {
        let (_, out, err) = common::run(args);
        assert!(!out.contains('\x1b') && !err.contains('\x1b'), "{out}{err}");
    }
}

#[test]
fn rules_that_defeat_others_are_told() {
    let (code, out, _) = common::run(&["policy", "check", RIVALS]);
    assert_eq!(code, 0);
    insta::assert_snapshot!("check-rivals", out);
}

#[test]
fn stdin_is_a_file_and_a_directory_leaves_its_tests_out() {
    let (code, _, err) = common::run(&["policy", "check", "-"]);
    assert_eq!((code, err.as_str()), (0, "1 file, 0 valid policies: 0 errors, 0 notes\n"));
    let (code, _, err) = common::run(&["policy", "check", "examples"]);
    assert_eq!(code, 0);
    assert!(err.starts_with("7 files, 7 valid policies: 0 errors"), "{err}");
    assert_eq!(common::run(&["policy", "check", "/nowhere.yaml"]).0, 2);
}

// === with a tree ===

fn write(root: &Path, path: &str, content: &[u8], mode: u32) {
    let place = root.join(path);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(&place, content).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(mode)).unwrap();
}

/// The lines that check prints for a spec in a tree, without file and position.
fn notes(spec: &str, root: &Path) -> String {
    let policy = root.join("policy.yaml");
    let head = "apiVersion: security.kubearmor.com/v1\nkind: KubeArmorPolicy\nmetadata: {name: p}\nspec:\n";
    fs::write(&policy, format!("{head}{spec}")).unwrap();
    let (_, out, _) = common::run(&["policy", "check", policy.to_str().unwrap(), "--root", root.to_str().unwrap()]);
    out.replace(policy.to_str().unwrap(), "p.yaml")
}

#[test]
fn links_and_multi_call_binaries_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(root, "usr/bin/dash", b"x", 0o755);
    write(root, "usr/bin/busybox", b"x", 0o755);
    symlink("usr/bin", root.join("bin")).unwrap();
    symlink("dash", root.join("usr/bin/sh")).unwrap();
    symlink("busybox", root.join("usr/bin/wget")).unwrap();
    let spec = "  process:\n    matchPaths:\n    - {path: /bin/sh, action: Block}\n    - {execname: sh, action: Block}\n    \
                - {path: /usr/bin/wget, action: Block}\n    - {execname: wget, action: Block}\n    \
                - {path: /usr/bin/gone, action: Block}\n    - {path: /usr/bin/dash, action: Block}\n";
    insta::assert_snapshot!("check-links", notes(spec, root));
}

#[test]
fn what_an_allowed_program_lacks_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let own = fs::read(std::env::current_exe().unwrap()).unwrap();
    write(root, "usr/bin/tool", &own, 0o755);
    write(root, "usr/lib/libc.so.6", b"x", 0o644);
    write(root, "usr/bin/script", b"#!/usr/bin/tool -x\n", 0o755);
    write(root, "usr/share/tool/data", b"x", 0o644);
    write(root, "usr/bin/runner", b"#!/usr/bin/sh\n", 0o755);
    write(root, "usr/bin/sh", b"x", 0o755);
    let spec = "  process:\n    matchPatterns:\n    - {pattern: '/usr/bin/{tool,script,runner}', action: Allow}\n    \
                matchPaths:\n    - {path: /usr/bin/gone, action: Allow}\n  \
                file:\n    matchPaths:\n    - {path: /etc/x, action: Allow}\n    - {path: /usr/lib/libc.so.6, action: Block}\n";
    insta::assert_snapshot!("check-needs", notes(spec, root));
}
