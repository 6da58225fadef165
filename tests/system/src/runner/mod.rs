//! Tries the corpus with real system calls.
//!
//! ```text
//! case -> root (a mount namespace) + acting probes (in a cgroup) -> every access without policy: must pass
//!      -> the same afresh -> Enforcer::protect -> every access: verdict, errno and event as the case says
//! ```
//!
//! The root is a directory in a mount namespace of its own, or an overlay in a container of runc: [`Setting`].
//!
//! Nothing outside the run's own directory, namespaces and cgroup is touched. It needs root.

mod bpf;
mod cgroup;
mod compare;
mod container;
mod enforcer;
mod home;
mod kit;
mod landlock;
mod overlay;
mod pass;
mod process;
mod report;
mod root;
mod user;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

pub use self::bpf::{Bpf, Guarded, Names};
pub use self::enforcer::{Enforcer, InProcess, ProtectError, Protection, SeenEvent, Target, Unprotected};
pub use self::home::Setting;
pub use self::landlock::Landlock;
pub use self::process::Outcome;
pub use self::report::{Counts, Note, Report};

use self::cgroup::RunCgroup;
use self::compare::Finding;
use self::container::ensure_runc;
use self::kit::Kit;
use self::pass::{Pass, Place};
use crate::corpus::{AccessCase, Behaviour, Case, Corpus};

/// What to run, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// A directory on the file system that the roots lie on; it must allow devices and programs.
    pub root_fs: PathBuf,
    /// Cases whose `file: name` holds one of these texts; all where neither this nor `every` is given.
    pub filters: Vec<String>,
    /// Of the other cases every one whose number this divides, counted from 0 over the whole corpus: a sample of all
    /// files, the same each time.
    pub every: Option<NonZeroUsize>,
    /// How workloads are made.
    pub setting: Setting,
    /// The accesses that a case gives to root are made by this user instead, without capabilities, in a tree of its own.
    /// Never 0.
    pub user: Option<u32>,
}

impl Options {
    fn select(&self, number: usize, title: &str) -> bool {
        let Self { root_fs: _, filters, every, setting: _, user: _ } = self;
        let sampled = every.map_or(filters.is_empty(), |every| number.is_multiple_of(every.get()));
        sampled || filters.iter().any(|text| title.contains(text))
    }
}

/// One run at a time in a process: a probe that one thread is writing could not be executed while another thread's
/// child still holds the descriptor (ETXTBSY).
static ONE_RUN: Mutex<()> = Mutex::new(());

/// Runs the corpus under one back end.
///
/// # Errors
/// What concerns the run as a whole: not root, no place for roots. A case that goes wrong is in the report.
pub fn run(corpus: &Corpus, enforcer: &mut dyn Enforcer, options: &Options) -> Result<Report> {
    ensure!(rustix::process::geteuid().is_root(), "the corpus needs root: it makes mount namespaces, devices and owners");
    let _alone = ONE_RUN.lock().unwrap_or_else(PoisonError::into_inner);
    let began = Instant::now();
    let kit = Kit::unpack(&options.root_fs)?;
    let cgroup = RunCgroup::new(&kit.name())?;
    let mut report = Report { backend: enforcer.name().to_owned(), ..Report::default() };
    if cgroup.is_none() {
        report.without_cgroup = Some("no cgroup2 tree is mounted".to_owned());
    }
    let setting = options.setting;
    if setting == Setting::Runc {
        ensure_runc()?;
    }
    report.user = options.user;
    let place = Place { kit: &kit, cgroup: cgroup.as_ref(), setting, owner: options.user.unwrap_or(0) };
    for (number, (file, case)) in corpus.cases().enumerate() {
        let as_user = options.user.map(|uid| user::case_as(case, uid));
        let case = as_user.as_ref().unwrap_or(case);
        let title = format!("{file}: {}", case.name);
        if !options.select(number, &title) {
            continue;
        }
        let policy_yaml = case.policy_yaml(&corpus.dir)?;
        let counts = report.files.entry(file.to_owned()).or_default();
        counts.cases += 1;
        counts.accesses += case.access.len();
        let mut trial = Trial {
            place: &place,
            case,
            title,
            policy_yaml,
            number,
            counts,
            uids: &mut report.uids,
            user: options.user,
            failures: Vec::new(),
            unavailable: Vec::new(),
            rootly: Vec::new(),
        };
        if let Err(error) = trial.run(enforcer) {
            trial.counts.wrong += 1;
            trial.failures.push(Note {
                case: trial.title.clone(),
                access: None,
                call: String::new(),
                message: format!("{error:#}"),
            });
        }
        let Trial { failures, unavailable, rootly, .. } = trial;
        for reason in rootly {
            *report.needs_root.entry(reason).or_default() += 1;
        }
        report.failures.extend(failures);
        report.unavailable.extend(unavailable);
    }
    report.milliseconds = began.elapsed().as_millis();
    Ok(report)
}

/// One case under trial.
struct Trial<'a> {
    place: &'a Place<'a>,
    case: &'a Case,
    title: String,
    policy_yaml: String,
    number: usize,
    counts: &'a mut Counts,
    uids: &'a mut BTreeMap<u32, Counts>,
    user: Option<u32>,
    failures: Vec<Note>,
    unavailable: Vec<Note>,
    /// Why accesses were left to root, one reason each.
    rootly: Vec<&'static str>,
}

impl Trial<'_> {
    fn run(&mut self, enforcer: &mut dyn Enforcer) -> Result<()> {
        let case = self.case;
        let backend = enforcer.name();
        let judges = enforcer.judges();
        let reports = enforcer.reports();
        let without = match self.place.run(case, &self.policy_yaml, &format!("{}a", self.number), None)? {
            Pass::Ran(seen) => seen,
            Pass::Unsupported(why) => anyhow::bail!("unsupported without a back end: {why}"),
        };
        let with = self.place.run(case, &self.policy_yaml, &format!("{}b", self.number), Some(enforcer))?;
        for (index, access) in case.access.iter().enumerate() {
            let Some(before) = without.get(index).context("an access is missing")? else {
                self.add(access, |counts| &mut counts.decide_only);
                continue;
            };
            let mut finding = compare::baseline(case, access, before);
            if let Some(reason) = self.user.and_then(|_| user::needs_root(access)) {
                finding = match finding {
                    Finding::Wrong(_) => Finding::NeedsRoot(reason),
                    Finding::Right | Finding::Excluded | Finding::NeedsRoot(_) | Finding::Unavailable(_) => {
                        Finding::Wrong(format!("is left to root ({reason}) but succeeds without"))
                    }
                };
            }
            if finding == Finding::Right {
                let exclusion = case.exclusion(access, backend);
                finding = match &with {
                    Pass::Ran(seen) => {
                        let after = seen.get(index).and_then(Option::as_ref).context("an access is missing")?;
                        if judges {
                            compare::protected(case, access, exclusion, before, after, reports)
                        } else if after.outcome == before.outcome {
                            Finding::Right
                        } else {
                            Finding::Wrong(format!("{:?}, but {:?} the first time", after.outcome, before.outcome))
                        }
                    }
                    Pass::Unsupported(_) if exclusion.is_some_and(|e| e.behaves == Behaviour::Unsupported) => Finding::Excluded,
                    Pass::Unsupported(why) => Finding::Wrong(format!("the back end does not support this: {why}")),
                };
            }
            self.count(index, access, finding);
        }
        Ok(())
    }

    fn count(&mut self, index: usize, access: &AccessCase, finding: Finding) {
        let note = |message: String| Note {
            case: self.title.clone(),
            access: Some(index),
            call: format!("{} {} by {}", access.op.name(), access.object(), access.from),
            message,
        };
        match finding {
            Finding::Right => self.add(access, |counts| &mut counts.right),
            Finding::Excluded => self.add(access, |counts| &mut counts.excluded),
            Finding::NeedsRoot(reason) => {
                self.rootly.push(reason);
                self.add(access, |counts| &mut counts.needs_root);
            }
            Finding::Unavailable(message) => {
                self.unavailable.push(note(message));
                self.add(access, |counts| &mut counts.unavailable);
            }
            Finding::Wrong(message) => {
                self.failures.push(note(message));
                self.add(access, |counts| &mut counts.wrong);
            }
        }
    }

    /// Counts one access in its file and by the uid that acts.
    fn add(&mut self, access: &AccessCase, count: impl Fn(&mut Counts) -> &mut usize) {
        let by_uid = self.uids.entry(access.uid).or_default();
        by_uid.accesses += 1;
        *count(by_uid) += 1;
        *count(self.counts) += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_what_the_filters_hold_and_every_nth_of_the_rest() {
        let titles = ["exec: a", "exec: b", "files: a", "files: b", "map_exec: a"];
        let selected = |filters: &[&str], every: usize| {
            let options = Options {
                root_fs: PathBuf::new(),
                filters: filters.iter().map(|text| (*text).to_owned()).collect(),
                every: NonZeroUsize::new(every),
                setting: Setting::Namespace,
                user: None,
            };
            (0..titles.len()).filter(|n| options.select(*n, titles[*n])).collect::<Vec<_>>()
        };
        assert_eq!(selected(&[], 0), [0, 1, 2, 3, 4]);
        assert_eq!(selected(&["files: ", "map_exec: "], 0), [2, 3, 4]);
        assert_eq!(selected(&[], 3), [0, 3]);
        assert_eq!(selected(&["exec: b"], 4), [0, 1, 4]);
    }
}
