//! The line of BPF-LSM: proven by loading the programs, attaching them and seeing them called.

use palisade_bpf::probe::{Probe as BpfProbe, Proof, probe};

use super::{ProbeLine, State};

/// The name of the line.
pub const NAME: &str = "bpf-lsm";

/// Tries BPF-LSM. Nothing stays attached.
#[must_use]
pub fn line() -> ProbeLine {
    let found: BpfProbe = probe();
    let proof = "loaded the LSM programs, attached them, opened a file and read their run counts";
    match found.reason() {
        None => ProbeLine::new(NAME, State::Yes, proof, format!("{} on {}", works(&found.proof), found.release)),
        Some(reason) => ProbeLine::new(NAME, State::No, proof, reason),
    }
}

fn works(proof: &Proof) -> String {
    match proof {
        Proof::Works { programs, missing, recursion_misses, adopted } => {
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
