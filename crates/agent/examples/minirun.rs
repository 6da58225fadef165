//! `palisade run` without its command line: for the tests of supervision, natively (`--enforcer none`) and in a VM.
//!
//! ```text
//! minirun [--enforcer auto|bpf|landlock|none] [--policy FILE]... [--audit] [--strict] [--no-fast-path] [--wait | --grace SECONDS] -- COMMAND
//! ```
//! Everything it is told goes to stderr, one line each, beginning with a word that tests look for.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use palisade_agent::enforce::Backend;
use palisade_agent::run::{self, Choice, ENTER, Leftovers, Notice, RunOptions, Started};
use palisade_event::{Host, Record};
use palisade_policy::SourceFile;
use palisade_ruleset::{Mode, Workload};

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1).peekable();
    if arguments.peek().is_some_and(|word| word == ENTER) {
        return run::enter(arguments.skip(1)).into();
    }
    match parse(arguments).and_then(|options| run::run(&options, &mut tell).map_err(|error| error.to_string())) {
        Ok(report) => {
            for problem in &report.problems {
                eprintln!("problem {problem}");
            }
            for trouble in &report.troubles {
                eprintln!("trouble {}", trouble.text());
            }
            eprintln!("done exit={} killed={} released={:?}", report.exit.code(), report.killed, report.released);
            report.exit.code().into()
        }
        Err(text) => {
            eprintln!("error {text}");
            125.into()
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<RunOptions, String> {
    let mut options = RunOptions {
        command: Vec::new(),
        policies: Vec::new(),
        workload: Workload::run(),
        name: "minirun".to_owned(),
        enforcer: Choice::Auto,
        strict: false,
        fast_path: true,
        leftovers: Leftovers::Grace(Duration::from_secs(5)),
        repeat_window: Duration::from_secs(1),
        host: Host::default(),
        observer: None,
    };
    while let Some(word) = arguments.next() {
        let mut value = || arguments.next().and_then(|v| v.into_string().ok()).ok_or("a value is missing");
        match word.to_str() {
            Some("--enforcer") => {
                options.enforcer = match value()?.as_str() {
                    "auto" => Choice::Auto,
                    "bpf" => Choice::Only(Backend::Bpf),
                    "landlock" => Choice::Only(Backend::Landlock),
                    "none" => Choice::Unenforced,
                    other => return Err(format!("no such enforcer: {other}")),
                }
            }
            Some("--policy") => read(&value()?, &mut options)?,
            Some("--audit") => options.workload.mode = Mode::Audit,
            Some("--no-fast-path") => options.fast_path = false,
            Some("--strict") => options.strict = true,
            Some("--wait") => options.leftovers = Leftovers::Wait,
            Some("--grace") => {
                let seconds = value()?.parse().map_err(|e| format!("--grace: {e}"))?;
                options.leftovers = Leftovers::Grace(Duration::from_secs_f64(seconds));
            }
            Some("--") => break,
            _ => return Err(format!("unknown argument {}", word.display())),
        }
    }
    options.command.extend(arguments);
    Ok(options)
}

fn read(path: &str, options: &mut RunOptions) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    let parsed = palisade_policy::parse(&[SourceFile { name: Arc::from(path), text: &text }]);
    if let Some(problem) = parsed.problems.first() {
        return Err(format!("{path}: {problem}"));
    }
    options.policies.extend(parsed.policies);
    Ok(())
}

fn tell(notice: Notice) {
    match notice {
        Notice::Started(Started { backend, watcher: _, refused, coverage, inherent: _, invisible: _, cgroup }) => {
            eprintln!("started backend={backend:?} coverage={coverage} cgroup={cgroup:?} refused={refused:?}");
        }
        Notice::Record(Record::Event(event)) => {
            let palisade_event::Event { verdict, operation, object, decider, repeats, process, arguments, arguments_cut, .. } =
                &*event;
            let program = String::from_utf8_lossy(&process.program).into_owned();
            let by = (decider.policy_name(), decider.rule_name());
            let object = if let palisade_event::Object::Path(path) = object {
                String::from_utf8_lossy(path).into_owned()
            } else {
                format!("{object:?}")
            };
            eprintln!("event {verdict:?} {} {program} -> {object} by {by:?} x{}", operation.word(), repeats.count);
            if *operation == palisade_event::Operation::Exec {
                let lengths: Vec<usize> = arguments.iter().map(Vec::len).collect();
                let words: Vec<_> = arguments.iter().map(|argument| String::from_utf8_lossy(argument)).collect();
                eprintln!("arguments {lengths:?} cut={arguments_cut} {words:.16?}");
            }
        }
        Notice::Record(Record::Loss(loss)) => eprintln!("loss {} {}", loss.count, loss.place.text()),
        Notice::Record(Record::Message(message)) => eprintln!("message {}", message.text),
        Notice::Outlived { members, grace } => eprintln!("outlived {members:?} grace={grace:?}"),
        Notice::Tick => {}
        Notice::Killing(members) => eprintln!("killing {members:?}"),
    }
}
