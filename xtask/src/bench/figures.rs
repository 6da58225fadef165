//! What the guest reported: `bench: CONFIGURATION KEY VALUE`, one figure on a line of its console.

use std::collections::BTreeMap;

use super::plan::Configuration;

const PREFIX: &str = "bench: ";
/// Opens that the program makes for the run counts to be seen by; as `PROOF` in `tests/bench/bench.c`.
const PROOF_OPENS: i64 = 1_000;
/// Instructions of one calibration loop; twice `CALIBRATION` in `tests/bench/bench.c`.
const CALIBRATION: i64 = 20_000;
/// Of 1,000: how far the calibration may be off. The timer's interrupts are in it.
const CALIBRATION_PER_MILLE: i64 = 5;

/// All that was reported, by configuration and key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    values: BTreeMap<(String, String), String>,
    /// The guest reached the end of its plan.
    pub(super) complete: bool,
}

/// Whether the programs were seen to be called for the task that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// There is no program of Palisade.
    NotLoaded,
    /// The program on `file_open` ran so many times during [`PROOF_OPENS`] opens.
    Ran(i64),
    /// It was not told.
    Unknown,
}

// === impl Figures ===

impl Figures {
    /// Reads a console; what is not a report is passed over.
    pub(super) fn read(console: &str) -> Self {
        let mut figures = Self::default();
        for line in console.lines() {
            let Some(report) = line.strip_prefix(PREFIX) else { continue };
            let mut words = report.splitn(3, ' ');
            let (Some(configuration), Some(key)) = (words.next(), words.next()) else { continue };
            let value = words.next().unwrap_or_default().trim().to_owned();
            figures.complete |= configuration == "end";
            figures.values.insert((configuration.to_owned(), key.to_owned()), value);
        }
        figures
    }

    /// A figure as it was reported.
    pub(super) fn text(&self, configuration: &str, key: &str) -> Option<&str> {
        self.values.get(&(configuration.to_owned(), key.to_owned())).map(String::as_str)
    }

    /// A figure, if it is a number.
    pub(super) fn number(&self, configuration: &str, key: &str) -> Option<i64> {
        self.text(configuration, key)?.parse().ok()
    }

    /// By how many instructions an operation takes more than in what the configuration is compared with.
    pub(super) fn added(&self, configuration: Configuration, operation: &str) -> Option<i64> {
        Some(self.number(&configuration.key(), operation)? - self.number(&configuration.baseline().key(), operation)?)
    }

    pub(super) fn proof(&self, configuration: &str) -> Proof {
        match (self.text(configuration, "runs"), self.number(configuration, "runs")) {
            (Some("absent"), _) => Proof::NotLoaded,
            (_, Some(runs)) => Proof::Ran(runs),
            _ => Proof::Unknown,
        }
    }

    /// Whether a nanosecond of the guest was an instruction; `Err` says what it was.
    pub(super) fn calibration(&self) -> Result<i64, String> {
        match self.number("none", "calibrate") {
            Some(found) if (found - CALIBRATION).abs() * 1_000 <= CALIBRATION * CALIBRATION_PER_MILLE => Ok(found),
            Some(found) => Err(format!("{CALIBRATION} instructions took {found} ns")),
            None => Err("the guest did not report its calibration".to_owned()),
        }
    }
}

// === impl Proof ===

impl Proof {
    /// Whether the program ran at least once for each open.
    pub(super) fn holds(self) -> bool {
        matches!(self, Self::Ran(runs) if runs >= PROOF_OPENS)
    }

    pub(super) fn words(self) -> String {
        match self {
            Self::NotLoaded => "no program loaded".to_owned(),
            Self::Ran(runs) => format!("{runs} runs in {PROOF_OPENS} opens"),
            Self::Unknown => "not told".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::rules::Mix;

    const CONSOLE: &str = "\
[    1.0] noise
bench: none calibrate 20022
bench: none open-60 11867
bench: watched open-60 11867
bench: none-in-cgroup open-60 12000
bench: none runs absent
bench: literal-10 open-60 14900
bench: literal-10 open-20 EACCES
bench: literal-10 runs 1044
bench: apparmor-literal-10 label bench (enforce)
";

    #[test]
    fn figures_are_compared_with_those_of_the_same_place_without_palisade() {
        let figures = Figures::read(CONSOLE);
        let literal = Configuration::Palisade(Mix::Literal, 10);
        assert_eq!(figures.added(literal, "open-60"), Some(2_900));
        assert_eq!(figures.added(Configuration::NoneInCgroup, "open-60"), Some(133));
        assert_eq!(figures.added(literal, "open-20"), None);
        assert_eq!(figures.text("apparmor-literal-10", "label"), Some("bench (enforce)"));
        assert_eq!(figures.calibration(), Ok(20_022));
        assert!(!figures.complete && Figures::read("bench: end reached\n").complete);
    }

    #[test]
    fn a_program_that_did_not_run_for_every_open_proves_nothing() {
        let figures = Figures::read(CONSOLE);
        assert!(figures.proof("literal-10").holds());
        assert_eq!(figures.proof("none"), Proof::NotLoaded);
        assert_eq!(figures.proof("unlabelled"), Proof::Unknown);
        assert!(!Proof::Ran(999).holds() && !Proof::NotLoaded.holds());
    }

    #[test]
    fn a_clock_that_counts_no_instructions_is_noticed() {
        assert!(Figures::read("bench: none calibrate 5300\n").calibration().is_err());
        assert!(Figures::read("").calibration().is_err());
    }
}
