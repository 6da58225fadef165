//! What was seen against what the case says.

use super::enforcer::SeenEvent;
use super::pass::Observed;
use super::process::Outcome;
use crate::corpus::{AccessCase, Behaviour, Case, Exclusion, ModeCase, VerdictCase};
use crate::op::Op;

/// How one access was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// As the case says.
    Right,
    /// As an exclusion says.
    Excluded,
    /// Without policy it fails for an ordinary user, as declared, for this reason.
    NeedsRoot(&'static str),
    /// This kernel or file system cannot make the access at all.
    Unavailable(String),
    /// Otherwise.
    Wrong(String),
}

const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const ENXIO: i32 = 6;
const EBADF: i32 = 9;
const EAGAIN: i32 = 11;
const EACCES: i32 = 13;
/// What Landlock answers to moves and links that would cross its grants.
const EXDEV: i32 = 18;
const ENOTCONN: i32 = 107;
const ENOSYS: i32 = 38;
const EPIPE: i32 = 32;
const EDESTADDRREQ: i32 = 89;
const EPROTONOSUPPORT: i32 = 93;
const ESOCKTNOSUPPORT: i32 = 94;
const EOPNOTSUPP: i32 = 95;
const EAFNOSUPPORT: i32 = 97;
const ECONNREFUSED: i32 = 111;

/// What a call without policy may answer although it was made right; the security hooks come before such an answer, so
/// a denial still shows.
#[expect(clippy::wildcard_enum_match_arm, reason = "most calls have no such answer, and a new one has none until it is seen")]
fn harmless(op: Op) -> &'static [i32] {
    match op {
        Op::Socket => &[EPROTONOSUPPORT, ESOCKTNOSUPPORT, EAFNOSUPPORT],
        Op::Connect | Op::Fastopen | Op::UringConnect => &[ECONNREFUSED],
        Op::Sendto | Op::Sendmmsg | Op::SendtoIgnored | Op::UringSendmsg => &[ECONNREFUSED, ENOTCONN, EPIPE, EDESTADDRREQ],
        Op::Accept | Op::UringAccept => &[EAGAIN],
        Op::ReopenStdin => &[ENXIO],
        _ => &[],
    }
}

/// What a call without policy answers where the kernel or the file system lacks it.
#[expect(clippy::wildcard_enum_match_arm, reason = "most calls have no such answer, and a new one has none until it is seen")]
fn lacking(op: Op) -> &'static [i32] {
    match op {
        Op::OTmpfile | Op::Setxattr => &[EOPNOTSUPP],
        Op::FtraceSwitch => &[ENOENT],
        Op::PidfdGetfd | Op::VmWrite | Op::OpenDetached => &[ENOSYS],
        // An early socket of a family that the kernel lacks was never made.
        _ if op.is_on_early_socket() => &[EBADF, EOPNOTSUPP, ENOSYS],
        _ => &[],
    }
}

/// Judges the pass without policy: a message where the case itself is broken.
pub(super) fn baseline(case: &Case, access: &AccessCase, seen: &Observed) -> Finding {
    // A block device without its driver answers ENXIO, after the hooks.
    let device = case.tree.block_devices.iter().any(|d| Some(d) == access.path.as_ref());
    match seen.outcome {
        Outcome::Passed => Finding::Right,
        Outcome::Failed(ENXIO) if device => Finding::Right,
        Outcome::Failed(errno) if harmless(access.op).contains(&errno) => Finding::Right,
        Outcome::Failed(errno) if lacking(access.op).contains(&errno) => {
            Finding::Unavailable(format!("errno {errno} without policy"))
        }
        Outcome::Failed(_) | Outcome::Odd | Outcome::Died => Finding::Wrong(format!("broken: {:?} without policy", seen.outcome)),
    }
}

/// Whether an access is really denied: in audited mode nothing is, but for what protects Palisade itself.
fn denies(case: &Case, access: &AccessCase) -> bool {
    access.verdict == VerdictCase::Block
        && (case.workload.mode == ModeCase::Enforce || access.rule.as_deref() == Some("builtin:self"))
}

/// Compares one access under protection.
pub(super) fn protected(
    case: &Case,
    access: &AccessCase,
    exclusion: Option<&Exclusion>,
    without: &Observed,
    seen: &Observed,
    reports: bool,
) -> Finding {
    let plain = as_the_case_says(case, access, without, seen, reports);
    let Some(exclusion) = exclusion else {
        return match plain {
            Ok(()) => Finding::Right,
            Err(message) => Finding::Wrong(message),
        };
    };
    if plain.is_ok() {
        return Finding::Wrong(format!("is excluded ({}) but does what the case says", exclusion.reason));
    }
    let denied = matches!(seen.outcome, Outcome::Failed(EPERM | EACCES | EXDEV)) && seen.outcome != without.outcome;
    let behaves = match (denied, seen.events.is_empty()) {
        (true, _) => Behaviour::Block,
        (false, false) => Behaviour::Audit,
        (false, true) => Behaviour::Allow,
    };
    let passed_alike = denied || seen.outcome == without.outcome;
    if behaves == exclusion.behaves && passed_alike {
        Finding::Excluded
    } else {
        Finding::Wrong(format!("is excluded as {:?} ({}), but: {:?}", exclusion.behaves, exclusion.reason, seen.outcome))
    }
}

/// Whether the call is one open, so that it makes one event at most, whatever it creates or truncates on its way.
fn is_one_open(op: Op) -> bool {
    matches!(
        op,
        Op::OpenRead
            | Op::OpenWrite
            | Op::OpenRdwr
            | Op::OpenAppend
            | Op::OpenTrunc
            | Op::OpenReadTrunc
            | Op::Create
            | Op::CreateRead
    )
}

fn as_the_case_says(case: &Case, access: &AccessCase, without: &Observed, seen: &Observed, reports: bool) -> Result<(), String> {
    let denies = denies(case, access);
    let wanted = if denies { Outcome::Failed(access.blocked_errno().number()) } else { without.outcome };
    if seen.outcome != wanted {
        return Err(format!("{:?}, wanted {wanted:?}; {}", seen.outcome, said(&seen.events)));
    }
    if !reports {
        return Ok(());
    }
    if is_one_open(access.op) && seen.events.len() > 1 {
        return Err(format!("one open, several events: {}", said(&seen.events)));
    }
    let allowed: Vec<&str> = access.rule.as_deref().unwrap_or_default().split('|').collect();
    let names_it = |e: &SeenEvent| e.verdict == access.verdict && allowed.contains(&e.rule.as_str());
    match access.verdict {
        VerdictCase::Allow => {
            let loud = seen.events.iter().find(|e| e.verdict != VerdictCase::Allow);
            if let Some(event) = loud {
                return Err(format!("passes, but is reported: {event}"));
            }
        }
        VerdictCase::Audit | VerdictCase::Block => {
            if access.op == Op::CapabilityNoaudit {
                // Judged, and not reported.
                let loud = seen.events.first().map(|event| format!("is reported: {event}"));
                return loud.map_or(Ok(()), Err);
            }
            let Some(event) = seen.events.iter().find(|e| names_it(e)) else {
                return Err(format!("no event of {:?} by {}; {}", access.verdict, allowed.join(" or "), said(&seen.events)));
            };
            if denies != (event.errno != 0) {
                return Err(format!("the event says something else than the call: {event}"));
            }
            if let Some(stricter) = seen.events.iter().find(|e| e.verdict > access.verdict) {
                return Err(format!("an event is stricter than the verdict: {stricter}"));
            }
        }
    }
    let Some(shadow) = &access.shadow else { return Ok(()) };
    let shown = seen.events.iter().any(|e| e.shadow.as_ref().is_some_and(|(v, r)| *v == shadow.verdict && *r == shadow.rule));
    if shown { Ok(()) } else { Err(format!("no event says that it would be {:?} by {}", shadow.verdict, shadow.rule)) }
}

fn said(events: &[SeenEvent]) -> String {
    if events.is_empty() {
        return "no event".to_owned();
    }
    events.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
