//! The line of the pins: what Palisade keeps in the kernel on this machine, this version's and others'.

use std::path::Path;

use palisade_bpf::pins::{PinError, Pins};

use super::{ProbeLine, State};

/// The name of the line.
pub const NAME: &str = "pins";

/// What is pinned. `partial` where something is left over: another version's pins, or some that were half made.
#[must_use]
pub fn line() -> ProbeLine {
    let proof = "listed /sys/fs/bpf";
    match found(&Pins::system()) {
        Ok((state, reason)) => ProbeLine::new(NAME, state, proof, reason),
        Err(error) => ProbeLine::new(NAME, State::Partial, proof, error.to_string()),
    }
}

fn found(own: &Pins) -> Result<(State, String), PinError> {
    let mut texts = vec![if own.root().exists() {
        format!("{}: {} programs attached", name(own.root()), own.programs()?.len())
    } else {
        "none of this version: no workload is under BPF-LSM now".to_owned()
    }];
    let mut state = State::Yes;
    for other in own.others()? {
        state = State::Partial;
        // What cannot be read must not hide the rest.
        let threads = other.labelled_threads().map_or_else(|error| error.to_string(), |tids| format!("{} threads", tids.len()));
        texts.push(format!(
            "{}: of another version, judging {threads}; detached by the next `palisade run` once it judges nothing that this \
             version does not judge as well",
            name(other.root()),
        ));
        texts.extend(other.half_made().iter().map(|path| half_made(path)));
    }
    for path in own.half_made() {
        state = State::Partial;
        texts.push(half_made(&path));
    }
    Ok((state, texts.join("; ")))
}

fn half_made(path: &Path) -> String {
    format!("{}: left half made or half removed; the next `palisade run` removes it", name(path))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
