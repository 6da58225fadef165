//! The corpus on this machine under Landlock: what differs is declared by the numbers of `docs/landlock.md`.

use std::path::Path;

use palisade_system_tests::corpus::Corpus;
use palisade_system_tests::runner::{Landlock, Options, Report, Setting, run};

/// What the exclusions were written for: the rights of ABI 3 and later are in all plans.
const ABI_MIN: u32 = 6;
/// From here on connecting to pathname sockets is judged, which the exclusions of L14 say it is not.
const ABI_SOCKETS: u32 = 9;

#[test]
fn the_corpus_holds_under_landlock_but_for_what_is_declared() {
    let Some(report) = corpus_as(None) else { return };
    assert!(report.total().right >= 1100, "fewer are right than were");
}

/// Whom Landlock is for: without root and without capabilities. What only root can do is declared, counted and printed.
#[test]
fn the_corpus_holds_under_landlock_for_an_ordinary_user() {
    let Some(report) = corpus_as(Some(1000)) else { return };
    assert!(report.total().right >= 1000, "fewer are right than were");
}

fn corpus_as(user: Option<u32>) -> Option<Report> {
    if !rustix::process::geteuid().is_root() {
        // Declared, not silent: the same run is part of the VM matrix, where it is always root.
        eprintln!("SKIPPED: the corpus needs root to make its trees");
        return None;
    }
    let mut enforcer = match Landlock::new() {
        Ok(enforcer) if (ABI_MIN..ABI_SOCKETS).contains(&enforcer.abi().version()) => enforcer,
        Ok(enforcer) => {
            let abi = enforcer.abi().version();
            eprintln!("SKIPPED: Landlock ABI {abi}, the exclusions are for {ABI_MIN} to {}", ABI_SOCKETS - 1);
            return None;
        }
        Err(error) => {
            eprintln!("SKIPPED: {error:#}");
            return None;
        }
    };
    let corpus = Corpus::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/decisions")).expect("the corpus loads");
    let options = Options { root_fs: std::env::temp_dir(), filters: Vec::new(), every: None, setting: Setting::Namespace, user };
    let report = run(&corpus, &mut enforcer, &options).expect("the run itself");
    println!("{report}");
    assert!(report.is_right(), "{report}");
    Some(report)
}
