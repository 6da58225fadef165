//! `palisade run`: a command under policies, its denials live, a summary at the end, its exit code.
//!
//! Standard output is the command's alone; everything that Palisade says goes to standard error or to `--output`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use palisade_agent::cgroup::Member;
use palisade_agent::enforce::{Backend, Coverage};
use palisade_agent::learn::Watchers;
use palisade_agent::run::{Choice, Leftovers, Notice, Refused, RunOptions, RunReport, Started, run as run_command};
use palisade_event::text::{Layout, Styles};
use palisade_event::{EncodeOptions, Record, Summary, Text, json};
use palisade_policy::model::Policy;
use palisade_ruleset::{Mode, Workload};

use crate::host::host;
use crate::learn::{self, Learning, Whose};
use crate::out::{Outcome, print_error};
use crate::policy::input::Input;
use crate::text;

/// Repeats of an event are told together once they have been collected for so long.
const REPEAT_WINDOW: Duration = Duration::from_secs(2);
/// How long processes that outlive the command are left alone.
const GRACE_SECONDS: u64 = 5;

/// Run a command under policies.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A policy file, or a directory of them; may be given several times
    #[arg(short, long = "policy", value_name = "FILE", required_unless_present = "learn")]
    policies: Vec<PathBuf>,
    /// Watch the command instead, deny nothing, and write a policy that allows what it did; needs root
    #[arg(
        long,
        value_name = "OUT.yaml",
        conflicts_with_all = ["policies", "audit", "enforcer", "strict", "gaps", "json", "output", "drop_command_lines"]
    )]
    learn: Option<PathBuf>,
    /// With --learn: what watches; `auto` takes BPF-LSM where LSM programs load, else tracepoints
    #[arg(long, value_enum, default_value_t = LearnWith::Auto, requires = "learn")]
    learn_with: LearnWith,
    /// With --learn: programs may be executed by any other; Landlock, which does not know the caller, allows nothing else
    #[arg(long, requires = "learn")]
    no_sources: bool,
    /// With --learn: write OUT.test.yaml as well, for `palisade policy test`
    #[arg(long, requires = "learn")]
    tests: bool,
    /// With --learn: overwrite the files that are there
    #[arg(long, requires = "learn")]
    force: bool,
    /// Deny nothing; show what would have been denied
    #[arg(long)]
    audit: bool,
    /// The back end; `auto` takes the first that works here and says why
    #[arg(long, value_enum, default_value_t = Enforcer::Auto)]
    enforcer: Enforcer,
    /// Refuse to run where the back end cannot carry out all of the policies
    #[arg(long)]
    strict: bool,
    /// List what the back end cannot carry out of these policies
    #[arg(long)]
    gaps: bool,
    /// A label of the run; with one or more, policies are selected by label, without any all of them hold
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// The namespace of the run, for namespaced policies that are selected by label
    #[arg(long, default_value = "default")]
    namespace: String,
    /// The name of the run in events; the command's by default
    #[arg(long)]
    name: Option<String>,
    /// Turn the base set off: libraries, locale data and the like then need Allow rules of their own
    #[arg(long)]
    no_base: bool,
    /// Judge every open by its whole path, never by what is kept of its directory: to compare, or to find an error
    #[arg(long)]
    no_fast_path: bool,
    /// A multi-call binary beside busybox, toybox and coreutils
    #[arg(long, value_name = "NAME")]
    multi_call: Vec<String>,
    /// Seconds for which processes that outlive the command are left alone before they are killed
    #[arg(long, value_name = "SECONDS", default_value_t = GRACE_SECONDS, conflicts_with = "wait")]
    grace: u64,
    /// Wait for processes that outlive the command, for ever
    #[arg(long)]
    wait: bool,
    /// Events as JSON lines, in the shape of KubeArmor's alerts
    #[arg(long)]
    json: bool,
    /// Append events to this file; the screen then shows the summary alone
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Leave arguments of commands out of events: they may hold secrets
    #[arg(long, alias = "drop-resource-from-process-logs")]
    drop_command_lines: bool,
    /// Say nothing but events and errors
    #[arg(short, long)]
    quiet: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  palisade run --policy nginx.yaml -- nginx -g 'daemon off;'
  # deny nothing, only tell
  palisade run --audit --policy nginx.yaml -- nginx -g 'daemon off;'
  palisade run --policy p.yaml --json --output events.json -- ./server
  # without root, and what that leaves out
  palisade run --policy p.yaml --enforcer landlock --gaps -- ./server
  # watch it, and write its policy
  palisade run --learn nginx.yaml --tests -- nginx -g 'daemon off;'

The exit code is the command's; 128 and the number of a signal that ended it. Of Palisade's own: 2 if the policies or \
the command line cannot be used or no back end serves, 126 or 127 if the command cannot be executed, 125 if it could \
not be confined.";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Enforcer {
    /// BPF-LSM where LSM programs load and the caller is root, else Landlock
    Auto,
    /// Palisade's LSM programs: all of a policy
    Bpf,
    /// Landlock and seccomp: what they can express of a policy; needs no root
    Landlock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LearnWith {
    /// BPF-LSM where LSM programs load, else tracepoints
    Auto,
    /// The programs that enforce: what is learned is what they would judge
    Bpf,
    /// Tracepoints: names are looked up a second time, CAP_SYS_ADMIN is not seen; see docs/learn.md
    Tracepoints,
}

/// Where events go.
struct Teller {
    file: Option<File>,
    json: bool,
    quiet: bool,
    text: Text,
    options: EncodeOptions,
    summary: Summary,
    /// The run's name: events of other runs, whose palisade is gone, are told and not summed up.
    run: String,
    /// Events that could not be written.
    unwritten: u64,
    /// What the run is learned from: then events are not for people.
    learning: Option<Learning>,
}

/// Runs the command.
///
/// # Errors
/// Input that cannot be read, no back end, and what keeps the command from being followed.
pub(crate) fn run(args: Args) -> anyhow::Result<Outcome> {
    let learning = args.learn.as_deref().map(|out| Learning::begin(out, args.tests, args.force)).transpose()?;
    let policies = match &learning {
        Some(_) => palisade_agent::learn::policies(),
        None => match Input::read(&args.policies)?.policies()? {
            Some(policies) => policies,
            None => return Ok(Outcome::Unusable),
        },
    };
    if policies.is_empty() {
        bail!("no policy in {}", args.policies.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", "));
    }
    let Args { policies: _, audit, enforcer, strict, gaps, labels, namespace, name, no_base, no_fast_path, multi_call, .. } =
        &args;
    let mut workload = Workload::run();
    workload.ignore_selectors = labels.is_empty();
    workload.labels = labels.iter().cloned().collect::<BTreeMap<_, _>>();
    workload.namespace.clone_from(namespace);
    workload.mode = if *audit { Mode::Audit } else { Mode::Enforce };
    workload.base_set = !no_base;
    workload.multi_call.clone_from(multi_call);
    if learning.is_some() {
        workload = palisade_agent::learn::watched(workload);
    }
    let unenforced = unenforced(&policies);
    if *strict && !unenforced.is_empty() {
        print_error(&unenforced)?;
        bail!("--strict refuses policies with sections that nothing enforces yet");
    }
    let name = name.clone().unwrap_or_else(|| command_name(&args.command));
    let options = RunOptions {
        command: args.command.clone(),
        policies,
        workload,
        name,
        enforcer: match enforcer {
            _ if learning.is_some() => Choice::Watch(args.learn_with.into()),
            Enforcer::Auto => Choice::Auto,
            Enforcer::Bpf => Choice::Only(Backend::Bpf),
            Enforcer::Landlock => Choice::Only(Backend::Landlock),
        },
        strict: *strict,
        fast_path: !no_fast_path,
        leftovers: if args.wait { Leftovers::Wait } else { Leftovers::Grace(Duration::from_secs(args.grace)) },
        repeat_window: REPEAT_WINDOW,
        host: host(),
        observer: learning.as_ref().map(|learning| learning.observer.clone()),
    };
    let mut teller = Teller::new(&args, &options, learning)?;
    if !args.quiet && !unenforced.is_empty() {
        print_error(&unenforced)?;
    }
    let (quiet, gaps) = (args.quiet, *gaps);
    let report = run_command(&options, &mut |notice| {
        // What cannot be told on stderr cannot be told at all; the run goes on.
        let _ = teller.notice(notice, &options, quiet, gaps);
    })?;
    let learning = teller.finish(&report, &options)?;
    if let (Some(learning), Some(watcher)) = (learning, report.started.watcher) {
        let command: Vec<_> = args.command.iter().map(|word| word.to_string_lossy()).collect();
        let whose = Whose {
            name: options.name.clone(),
            namespace: args.namespace.clone(),
            labels: options.workload.labels.clone(),
            command: command.join(" "),
            watcher,
            sources: !args.no_sources,
        };
        // What the base set lets pass is in no rule, and so must be as it will be when the policy is applied: elsewhere
        // other files stand behind descriptors 0 to 2.
        let workload = Workload { stdio: Vec::new(), ..options.workload.clone() };
        learning.finish(whose, workload, args.quiet)?;
    }
    Ok(Outcome::Exit(report.exit.code()))
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label is KEY=VALUE".to_owned()),
    }
}

/// Whether a record is of the run of this name.
fn is_of(record: &Record, run: &str) -> bool {
    match record {
        Record::Event(event) => event.workload.as_deref().is_none_or(|workload| workload.container == run),
        Record::Loss(_) | Record::Message(_) => true,
    }
}

/// The last component of the command's first word.
fn command_name(command: &[OsString]) -> String {
    let first = command.first().map(PathBuf::from).unwrap_or_default();
    first.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// A line for each section that is accepted and that nothing enforces.
fn unenforced(policies: &[Policy]) -> String {
    let gaps = policies.iter().flat_map(|p| &p.gaps);
    gaps.map(|gap| format!("{} {}: {}: {}\n", text::yellow("not enforced:"), gap.origin, gap.field, text::lines(&gap.text)))
        .collect()
}

// === impl LearnWith, Teller ===

impl From<LearnWith> for Watchers {
    fn from(with: LearnWith) -> Self {
        match with {
            LearnWith::Auto => Self::Any,
            LearnWith::Bpf => Self::Lsm,
            LearnWith::Tracepoints => Self::Tracepoints,
        }
    }
}

impl Teller {
    fn new(args: &Args, run: &RunOptions, learning: Option<Learning>) -> anyhow::Result<Self> {
        let file = match &args.output {
            Some(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path);
                Some(file.with_context(|| format!("cannot open {}", path.display()))?)
            }
            None => None,
        };
        let coloured = file.is_none() && io::stderr().is_terminal();
        let options = EncodeOptions { drop_command_lines: args.drop_command_lines };
        let styles = if coloured { Styles::coloured() } else { Styles::default() };
        let text = Text { options, styles, layout: Layout::default() };
        Ok(Self {
            file,
            json: args.json,
            quiet: args.quiet,
            text,
            options,
            summary: Summary::default(),
            run: run.name.clone(),
            unwritten: 0,
            learning,
        })
    }

    fn notice(&mut self, notice: Notice, options: &RunOptions, quiet: bool, gaps: bool) -> io::Result<()> {
        match notice {
            Notice::Started(started) if self.learning.is_some() => {
                let watching = learn::started_text(&started);
                let cgroup = started.cgroup.err().map(|why| format!("palisade: no cgroup of its own ({})\n", text::lines(&why)));
                let watching = if quiet { String::new() } else { watching };
                print_error(&(watching + &cgroup.unwrap_or_default()))
            }
            Notice::Started(started) if !quiet || gaps => print_error(&started_text(&started, options, gaps)),
            Notice::Started(_) => Ok(()),
            Notice::Record(record) => self.record(&record),
            Notice::Outlived { members, grace } => {
                let until = grace.map_or_else(
                    || "waiting for them (--wait)".to_owned(),
                    |grace| format!("killing them in {} s (--grace, or --wait to let them be)", grace.as_secs()),
                );
                print_error(&format!("palisade: the command has ended and {} live on: {until}\n", members_text(&members)))
            }
            Notice::Tick => match &mut self.learning {
                Some(learning) if !quiet => learning.tick(),
                Some(_) | None => Ok(()),
            },
            Notice::Killing(members) => print_error(&format!("palisade: killing {}\n", members_text(&members))),
        }
    }

    fn record(&mut self, record: &Record) -> io::Result<()> {
        // An event is another run's, whose palisade is gone: this run's own went to the observer.
        if let (Some(learning), Record::Loss(_) | Record::Message(_)) = (&self.learning, record) {
            return learning.record(record);
        }
        if is_of(record, &self.run) {
            self.summary.add(record);
        }
        let line = if self.json { json::encode(record, self.options).map_err(io::Error::other)? } else { self.text.line(record) };
        let Some(file) = &mut self.file else { return print_error(&line) };
        if let Err(error) = file.write_all(line.as_bytes()) {
            self.unwritten += 1;
            if self.unwritten == 1 {
                print_error(&format!(
                    "palisade: events cannot be written to --output ({error}); the summary will say how many\n"
                ))?;
            }
        }
        Ok(())
    }

    fn finish(self, report: &RunReport, options: &RunOptions) -> io::Result<Option<Learning>> {
        let RunReport { exit: _, started, killed, released: _, troubles, problems } = report;
        let mut out = String::new();
        for problem in problems {
            out.push_str(&format!("palisade: {} {}\n", text::yellow("clean-up:"), text::lines(problem)));
        }
        for trouble in troubles {
            out.push_str(&format!("palisade: {} {}\n", text::red("on this machine meanwhile:"), text::lines(&trouble.text())));
        }
        if *killed > 0 {
            out.push_str(&format!(
                "palisade: {} killed after the command\n",
                text::count(*killed, "process was", "processes were")
            ));
        }
        if self.unwritten > 0 {
            out.push_str(&format!(
                "palisade: {} could not be written to --output\n",
                text::count(usize::try_from(self.unwritten).unwrap_or(usize::MAX), "event", "events")
            ));
        }
        if !self.quiet && self.learning.is_none() {
            out.push_str(&summary_text(&self.summary, started, options));
        }
        print_error(&out)?;
        Ok(self.learning)
    }
}

fn started_text(started: &Started, options: &RunOptions, gaps: bool) -> String {
    let Started { backend, watcher: _, refused, coverage, inherent, invisible, cgroup } = started;
    let mut out = String::new();
    for Refused { backend, reason } in refused {
        out.push_str(&format!("palisade: {backend} is not used: {}\n", text::lines(reason)));
    }
    let what = if options.workload.mode == Mode::Audit { "auditing (nothing is denied)" } else { "enforcing" };
    let by = backend.map_or_else(|| "nothing".to_owned(), |b| b.to_string());
    let policies = text::count(options.policies.len(), "policy", "policies");
    out.push_str(&format!("palisade: {what} {policies} with {}, coverage {coverage}", text::bold(&by)));
    if let Coverage::Partial(list) = coverage {
        if gaps {
            out.push_str(":\n");
            for gap in list {
                out.push_str(&format!("  {} {}\n", text::yellow(gap.name), text::lines(&gap.text)));
            }
        } else {
            out.push_str(" (list: --gaps; refuse: --strict)\n");
        }
    } else {
        out.push('\n');
    }
    if !gaps && !inherent.is_empty() {
        out.push_str(&format!(
            "palisade: {by} itself leaves {} open whatever the policies say (list: --gaps)\n",
            text::count(inherent.len(), "thing", "things")
        ));
    }
    if gaps && !inherent.is_empty() {
        let page = if *backend == Some(Backend::Landlock) { " (docs/landlock.md)" } else { "" };
        out.push_str(&format!("palisade: what this back end never does, whatever the policies say{page}:\n"));
        for gap in inherent {
            out.push_str(&format!("  {} {}\n", text::yellow(gap.name), text::lines(&gap.text)));
        }
    }
    if let Some(why) = invisible {
        out.push_str(&format!("palisade: {}: {}\n", text::yellow("denials will not be shown"), text::lines(why)));
    }
    if let Err(reason) = cgroup {
        out.push_str(&format!("palisade: no cgroup of its own ({}): only the command itself is followed\n", text::lines(reason)));
    }
    out
}

fn members_text(members: &[Member]) -> String {
    const SHOWN: usize = 8;
    let name = |m: &Member| format!("{} ({})", text::name(m.comm.as_bytes()), m.pid);
    let mut shown: Vec<String> = members.iter().take(SHOWN).map(name).collect();
    if members.len() > SHOWN {
        shown.push(format!("{} more", members.len() - SHOWN));
    }
    shown.join(", ")
}

fn summary_text(summary: &Summary, started: &Started, options: &RunOptions) -> String {
    let totals = summary.totals();
    let rows = summary.rows();
    if rows.is_empty() && totals.lost == 0 {
        return match (started.backend, options.workload.mode) {
            (Some(Backend::Landlock), Mode::Audit) => "palisade: Landlock does not tell what would have been denied\n".to_owned(),
            (Some(Backend::Landlock), Mode::Enforce) if started.invisible.is_some() => {
                "palisade: whether anything was denied is not known: denials are not shown here\n".to_owned()
            }
            (Some(Backend::Landlock), Mode::Enforce) => "palisade: Landlock denied no file and no program\n".to_owned(),
            (_, Mode::Audit) => "palisade: nothing would have been denied\n".to_owned(),
            (_, Mode::Enforce) => "palisade: nothing was denied\n".to_owned(),
        };
    }
    let mut table = text::table(&["verdict", "operation", "program", "object", "decided by", "count"]);
    for row in &rows {
        let cells = row.cells();
        table.add_row(vec![
            text::cell(cells.verdict),
            text::cell(cells.operation),
            text::cell(&cells.program),
            text::cell(&cells.object),
            text::cell(&cells.decided_by),
            text::cell(&cells.count.to_string()),
        ]);
    }
    let mut out = text::table_text(&table);
    let mut counts = vec![format!("{} denied", totals.block)];
    if totals.would_block > 0 {
        counts.push(format!("{} would have been denied", totals.would_block));
    }
    if totals.audit > 0 {
        counts.push(format!("{} audited", totals.audit));
    }
    if totals.beyond > 0 {
        counts.push(format!("{} of them of further kinds, not in the table", totals.beyond));
    }
    if totals.lost > 0 {
        counts.push(text::red(&format!("{} events lost", totals.lost)));
    }
    out.push_str(&format!("palisade: {}\n", counts.join(", ")));
    out
}
