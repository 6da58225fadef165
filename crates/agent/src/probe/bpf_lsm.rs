//! The line of BPF-LSM: proven by loading the programs, attaching them and seeing them called.

use palisade_bpf::probe::{Probe as BpfProbe, Proof, probe};

use super::{ProbeLine, State};

/// The name of the line.
pub const NAME: &str = "bpf-lsm";

/// Tries BPF-LSM. Nothing stays attached. A line for it and one for its fast path.
#[must_use]
pub fn lines() -> Vec<ProbeLine> {
    let found: BpfProbe = probe();
    vec![line(&found), fast_path(&found)]
}

fn line(found: &BpfProbe) -> ProbeLine {
    let proof = "loaded the LSM programs, attached them, opened a file and read their run counts";
    match found.reason() {
        None => ProbeLine::new(NAME, State::Yes, proof, format!("{} on {}", works(&found.proof), found.release)),
        Some(reason) => ProbeLine::new(NAME, State::No, proof, reason),
    }
}

/// Whether opens are judged by what is kept of their directories.
fn fast_path(found: &BpfProbe) -> ProbeLine {
    const NAME: &str = "fast-path";
    const WHERE: &str = "on for directories of ext4, tmpfs and overlayfs; elsewhere every open walks its whole path";
    let proof = "asked whether the programs are attached that see directories move and end";
    match &found.proof {
        Proof::Works { why_no_cache: None, .. } if found.works() => ProbeLine::new(NAME, State::Yes, proof, WHERE),
        Proof::Works { why_no_cache: Some(why), .. } => ProbeLine::new(NAME, State::No, proof, format!("off: {why}")),
        Proof::Works { .. } | Proof::NeverCalled | Proof::CannotLoad(_) | Proof::CannotTell(_) => {
            ProbeLine::new(NAME, State::No, proof, "off: BPF-LSM does not enforce here")
        }
    }
}

fn works(proof: &Proof) -> String {
    match proof {
        Proof::Works { programs, missing, recursion_misses, adopted, why_no_cache: _ } => {
            let mut text = format!("{programs} programs load, attach and are called");
            if *adopted {
                text.push_str(" (they were running already)");
            }
            if !missing.is_empty() {
                text.push_str(&format!("; {} optional hooks are not in this kernel", missing.len()));
            }
            if *recursion_misses > 0 {
                text.push_str(&format!("; {recursion_misses} calls were left out by the kernel (recursion)"));
            }
            text
        }
        Proof::NeverCalled | Proof::CannotLoad(_) | Proof::CannotTell(_) => "the programs load".to_owned(),
    }
}
