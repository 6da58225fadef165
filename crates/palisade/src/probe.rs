//! `palisade probe`: what this kernel and machine offer, each line with how it was found out.

use palisade_agent::probe::{Probe, ProbeLine, State, bpf_lsm};

use crate::out::{Outcome, print, print_json};
use crate::text;

/// Show what this kernel and machine offer for enforcement, each line proven by trying.
#[derive(Debug, clap::Args)]
#[command(after_help = "Run it as root to have BPF-LSM tried: loading and calling an LSM program is the only proof.")]
pub(crate) struct Args {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Tries and shows.
///
/// # Errors
/// An output that cannot be written.
pub(crate) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let Args { json } = args;
    let probe = Probe::run(vec![bpf_lsm::line()]);
    if *json {
        print_json(&probe)?;
        return Ok(Outcome::Passed);
    }
    let mut table = text::table(&["what", "", "found", "how"]);
    for ProbeLine { name, state, proof, reason } in &probe.lines {
        table.add_row(vec![text::cell(name), state_cell(*state), text::cell(reason), text::cell(proof)]);
    }
    print(&text::table_text(&table))?;
    print(&format!("\n{}\n", verdict(&probe)))?;
    Ok(Outcome::Passed)
}

fn state_cell(state: State) -> comfy_table::Cell {
    let colour = match state {
        State::Yes => comfy_table::Color::Green,
        State::Partial => comfy_table::Color::Yellow,
        State::No => comfy_table::Color::Red,
    };
    comfy_table::Cell::new(state.name()).fg(colour)
}

/// Which back end `palisade run` would take.
fn verdict(probe: &Probe) -> String {
    let is = |name: &str, state: State| probe.line(name).is_some_and(|line| line.state == state);
    if is(bpf_lsm::NAME, State::Yes) {
        return "`palisade run` would enforce with BPF-LSM: all of a policy.".to_owned();
    }
    if is("landlock", State::No) {
        return "`palisade run` has no back end here.".to_owned();
    }
    "`palisade run` would enforce with Landlock and seccomp: what they can express of a policy (docs/landlock.md).".to_owned()
}
