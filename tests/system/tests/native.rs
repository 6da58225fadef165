//! The corpus on this machine without protection: proves the roots, the probe and every operation of every case.

use std::path::Path;

use palisade_system_tests::corpus::Corpus;
use palisade_system_tests::runner::{Options, Setting, Unprotected, run};

#[test]
fn every_access_of_the_corpus_passes_without_policy() {
    if !rustix::process::geteuid().is_root() {
        // Declared, not silent: the same run is part of the VM matrix, where it is always root.
        eprintln!("SKIPPED: the corpus needs root");
        return;
    }
    let corpus = Corpus::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/decisions")).expect("the corpus loads");
    let options =
        Options { root_fs: std::env::temp_dir(), filters: Vec::new(), every: None, setting: Setting::Namespace, user: None };
    let report = run(&corpus, &mut Unprotected, &options).expect("the run itself");
    println!("{report}");
    assert!(report.is_right(), "{report}");
    assert!(report.total().accesses >= 260, "the corpus has shrunk");
}
