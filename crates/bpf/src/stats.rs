//! What the kernel knows of each attached program: how often it was called and not called, what verifying it took.

use libbpf_rs::query::ProgInfoIter;

/// One program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramStats {
    /// Its name in the object.
    pub name: String,
    /// Calls; counted only while somebody has run counts switched on (`kernel.bpf_stats_enabled`).
    pub runs: u64,
    /// Calls that the kernel left out, because the program was running on that CPU already. Always counted.
    pub recursion_misses: u64,
    /// Instructions that the verifier went through to accept it.
    pub verified_instructions: u32,
}

/// The statistics of programs, given by name and id, in that order; programs that are gone are left out.
///
/// Minimum kernel: 5.16 (instructions verified; 0 before).
#[must_use]
pub fn of(programs: &[(String, u32)]) -> Vec<ProgramStats> {
    let mut found: Vec<Option<ProgramStats>> = vec![None; programs.len()];
    for info in ProgInfoIter::default() {
        let Some(at) = programs.iter().position(|(_, id)| *id == info.id) else { continue };
        found[at] = Some(ProgramStats {
            name: programs[at].0.clone(), // the kernel knows 15 bytes of it
            runs: info.run_cnt,
            recursion_misses: info.recursion_misses,
            verified_instructions: info.verified_insns,
        });
    }
    found.into_iter().flatten().collect()
}
