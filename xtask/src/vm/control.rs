//! What the guest reports about itself, on a serial port of its own (`tests/vm/init.sh`).

use std::time::Duration;

/// Each report is a line that begins with this.
const PREFIX: &str = "palisade-vm ";

/// All reports of one boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Transcript {
    /// The guest's clock when the command was started.
    pub(super) ready: Option<Duration>,
    /// The command's exit code, and the guest's clock when it ended.
    pub(super) exit: Option<(u8, Duration)>,
    /// How much of the out disk is a tar of `/payload/out`, in bytes.
    pub(super) out_bytes: Option<u64>,
    /// The guest's own part failed, in its words.
    pub(super) error: Option<String>,
}

// === impl Transcript ===

impl Transcript {
    /// Reads what the port carried. A line that is cut off or makes no sense is
    /// no report: the guest died while it wrote it.
    pub(super) fn parse(text: &str) -> Self {
        let mut transcript = Self::default();
        for line in text.split_inclusive('\n') {
            let Some(report) = line.strip_suffix('\n').and_then(|line| line.trim_end_matches('\r').strip_prefix(PREFIX)) else {
                continue;
            };
            let (kind, rest) = report.split_once(' ').unwrap_or((report, ""));
            match kind {
                "ready" => transcript.ready = uptime(rest).or(transcript.ready),
                "exit" => transcript.exit = exit(rest).or(transcript.exit),
                "out" => transcript.out_bytes = rest.parse().ok().or(transcript.out_bytes),
                "error" => transcript.error = Some(rest.to_owned()),
                _ => {}
            }
        }
        transcript
    }
}

/// `7 12.34`
fn exit(text: &str) -> Option<(u8, Duration)> {
    let (code, clock) = text.split_once(' ')?;
    Some((code.parse().ok()?, uptime(clock)?))
}

/// `12.34`, in seconds.
fn uptime(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_transcript_is_read() {
        let transcript = Transcript::parse("palisade-vm ready 3.81\r\npalisade-vm exit 7 4.02\npalisade-vm out 10240\n");
        assert_eq!(transcript.ready, Some(Duration::from_millis(3810)));
        assert_eq!(transcript.exit, Some((7, Duration::from_millis(4020))));
        assert_eq!(transcript.out_bytes, Some(10240));
        assert_eq!(transcript.error, None);
    }

    #[test]
    fn a_line_that_is_cut_off_or_strange_is_no_report() {
        for text in [
            "palisade-vm exit 0 4.0",
            "palisade-vm exit 0\n",
            "palisade-vm exit 256 4.0\n",
            "palisade-vm exit -1 4.0\n",
            "palisade-vm exit 0 -4.0\n",
            "palisade-vm exit 0 NaN\n",
            "x palisade-vm exit 0 4.0\n",
            "exit 0 4.0\n",
            "",
        ] {
            assert_eq!(Transcript::parse(text), Transcript::default(), "{text:?}");
        }
    }

    #[test]
    fn the_guests_own_failure_is_kept_in_its_words() {
        let transcript = Transcript::parse("palisade-vm error no payload disk\n");
        assert_eq!(transcript.error.as_deref(), Some("no payload disk"));
    }
}
