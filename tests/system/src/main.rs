//! `corpus-run`: the corpus on a machine without cargo.

use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use palisade_system_tests::corpus::Corpus;
use palisade_system_tests::runner::{Bpf, Enforcer, Landlock, Options, Setting, Unprotected, run};

/// Tries the decisions corpus with real system calls, and reports what differs.
#[derive(Debug, Parser)]
struct Arguments {
    /// Who enforces.
    #[arg(long, value_enum, default_value_t = Backend::None)]
    backend: Backend,
    /// The corpus.
    #[arg(long, value_name = "DIR", default_value = "testdata/decisions")]
    corpus: PathBuf,
    /// A directory on the file system that the roots lie on.
    #[arg(long, value_name = "DIR", default_value = "/tmp")]
    root_fs: PathBuf,
    /// How the workloads are made; overlays lie below --root-fs.
    #[arg(long, value_enum, default_value_t = Setting::Namespace)]
    setting: Setting,
    /// Only cases whose "file: name" holds this text (or that of another --filter).
    #[arg(long = "filter", value_name = "TEXT")]
    filters: Vec<String>,
    /// Of the other cases every Nth.
    #[arg(long, value_name = "N")]
    every: Option<NonZeroUsize>,
    /// Make root's accesses as this user instead, without capabilities.
    #[arg(long, value_name = "UID", value_parser = clap::value_parser!(u32).range(1..))]
    user: Option<u32>,
    /// Write the summary as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The back ends that are built in.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Backend {
    /// No protection: every access must go as without policy.
    None,
    /// Palisade's LSM programs.
    Bpf,
    /// Landlock and seccomp, as for `palisade run` without root.
    Landlock,
}

fn main() -> Result<ExitCode> {
    let Arguments { backend, corpus, root_fs, setting, filters, every, user, json } = Arguments::parse();
    let corpus = Corpus::load(&corpus)?;
    let mut enforcer: Box<dyn Enforcer> = match backend {
        Backend::None => Box::new(Unprotected),
        Backend::Bpf => Box::new(Bpf::new()?),
        Backend::Landlock => Box::new(Landlock::new()?),
    };
    let report = run(&corpus, enforcer.as_mut(), &Options { root_fs, filters, every, setting, user })?;
    println!("{report}");
    if let Some(path) = json {
        fs::write(&path, serde_json::to_vec_pretty(&report)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(if report.is_right() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
