//! What `--help` says, as golden text.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

fn help(verbs: &[&str]) -> String {
    let args: Vec<&str> = verbs.iter().copied().chain(["--help"]).collect();
    let (code, out, err) = common::run(&args);
    assert_eq!((code, err.as_str()), (0, ""));
    out
}

#[test]
fn every_verb_helps() {
    for verbs in [
        ["agent"].as_slice(),
        &["logs"],
        &["workloads"],
        &["policy"],
        &["policy", "add"],
        &["policy", "delete"],
        &["policy", "list"],
        &["policy", "check"],
        &["policy", "explain"],
        &["policy", "test"],
        &["policy", "compile"],
        &["completions"],
    ] {
        insta::assert_snapshot!(format!("help-{}", verbs.join("-")), help(verbs));
    }
}

#[test]
fn a_wrong_command_line_is_2_and_a_version_is_0() {
    assert_eq!(common::run(&["policy", "explain", "examples/nginx.yaml"]).0, 2);
    assert_eq!(common::run(&["polciy"]).0, 2);
    assert_eq!(common::run(&["policy", "check"]).0, 2);
    let (code, out, _) = common::run(&["--version"]);
    assert_eq!((code, out), (0, format!("palisade {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn every_shell_has_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, out, _) = common::run(&["completions", shell]);
        assert!(code == 0 && out.contains("palisade"), "{shell}");
    }
}

#[test]
fn whoever_closes_the_pipe_has_read_enough() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = common::command(&["policy", "explain", "--base"]).stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn by_the_name_karmor_it_says_what_is_not_there_yet() {
    let dir = tempfile::tempdir().unwrap();
    let karmor = dir.path().join("karmor");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_palisade"), &karmor).unwrap();
    let run = |verb: &str| std::process::Command::new(&karmor).arg(verb).output().unwrap();

    let logs = run("logs");
    assert_eq!(logs.status.code(), Some(2));
    let said = String::from_utf8(logs.stderr).unwrap();
    assert!(said.starts_with("error: `karmor logs` is not there yet; there are: "), "{said}");
    assert!(said.contains("policy"), "{said}");
    assert_eq!(run("version").status.code(), Some(0));
    assert_eq!(run("lgos").status.code(), Some(2));
}
