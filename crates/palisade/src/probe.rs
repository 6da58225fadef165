//! `palisade probe`: what this kernel and machine offer, each line with how it was found out.

use palisade_agent::health::{Counters, ProgramStats, Trouble};
use palisade_agent::probe::{Probe, ProbeLine, State, bpf_lsm, pins};
use serde::Serialize;

use crate::out::{Outcome, print, print_json};
use crate::text;

/// Show what this kernel and machine offer for enforcement, each line proven by trying.
#[derive(Debug, clap::Args)]
#[command(after_help = "Run it as root to have BPF-LSM tried: loading and calling an LSM program is the only proof.")]
pub(crate) struct Args {
    /// Show what the kernel programs that run now have counted, and what of that is trouble (as root)
    #[arg(long)]
    counters: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What `--counters --json` prints.
#[derive(Serialize)]
struct CountersJson {
    counters: serde_json::Map<String, serde_json::Value>,
    programs: Vec<ProgramJson>,
    troubles: Vec<Trouble>,
}

#[derive(Serialize)]
struct ProgramJson {
    name: String,
    runs: u64,
    recursion_misses: u64,
    verified_instructions: u32,
}

/// Tries and shows.
///
/// # Errors
/// An output that cannot be written.
pub(crate) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let Args { counters, json } = args;
    if *counters {
        return show_counters(*json);
    }
    let probe = Probe::run(bpf_lsm::lines().into_iter().chain([pins::line()]).collect());
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

fn show_counters(json: bool) -> anyhow::Result<Outcome> {
    let read = Counters::of_pinned()?;
    let troubles = read.troubles();
    let Counters { counts, programs } = read;
    if json {
        let counters = counts.iter().map(|(counter, count)| (counter.name().to_owned(), (*count).into())).collect();
        let program = |ProgramStats { name, runs, recursion_misses, verified_instructions }| ProgramJson {
            name,
            runs,
            recursion_misses,
            verified_instructions,
        };
        print_json(&CountersJson { counters, programs: programs.into_iter().map(program).collect(), troubles })?;
        return Ok(Outcome::Passed);
    }
    let mut table = text::table(&["counter", "count"]);
    for (counter, count) in &counts {
        table.add_row(vec![text::cell(counter.name()), text::cell(&count.to_string())]);
    }
    print(&text::table_text(&table))?;
    let mut table = text::table(&["program", "runs", "recursion misses", "verified instructions"]);
    for ProgramStats { name, runs, recursion_misses, verified_instructions } in &programs {
        let numbers = [runs.to_string(), recursion_misses.to_string(), verified_instructions.to_string()];
        table.add_row(
            std::iter::once(text::cell(name)).chain(numbers.iter().map(|number| text::cell(number))).collect::<Vec<_>>(),
        );
    }
    print(&format!("\n{}", text::table_text(&table)))?;
    print("\nRuns are counted only while kernel.bpf_stats_enabled is 1.\n")?;
    if troubles.is_empty() {
        print("No trouble since the programs were loaded.\n")?;
    }
    for trouble in &troubles {
        print(&format!("{} {}\n", text::red("trouble:"), text::lines(&trouble.text())))?;
    }
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
