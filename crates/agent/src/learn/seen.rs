//! What tracepoints saw, as the LSM programs would have reported it.
//!
//! ```text
//! Seen: a path told by the kernel        -> the same event
//!       a directory and a name           -> links followed in this machine's own tree, now
//!       an exec: called, then executed   -> one event per stage: the script, what interprets it, with the caller
//! ```
//! A file that was opened, mapped or executed is told by the kernel itself. A name is looked up again here, a moment
//! after the program did, in the mount namespace of palisade; a name without a `/` needs no look-up but of its last
//! component.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use palisade_bpf::abi::{Event, ObjectKind, Operation};
use palisade_bpf::watch::{How, Seen};
use palisade_ruleset::Program;

/// Execs under way that are remembered; one per thread. A caller that was forgotten is an unknown program.
const CALLS: usize = 1 << 16;
/// How many interpreters of interpreters the kernel follows.
const INTERPRETERS: usize = 5;
/// How much of a script the kernel looks at.
const SCRIPT_HEAD: u64 = 256;

/// Knows who called the execs that are under way.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    calls: HashMap<u32, Call>,
}

/// An exec that was called.
#[derive(Debug)]
struct Call {
    caller: Vec<u8>,
    directory: Vec<u8>,
}

// === impl Resolver ===

impl Resolver {
    /// The events of one thing seen, in the order in which the LSM programs report them.
    pub(crate) fn events(&mut self, seen: Seen) -> Vec<Event> {
        let Seen { mut event, how, created } = seen;
        let name = event.arguments.drain(..).next().unwrap_or_default();
        match how {
            How::Call => {
                if self.calls.len() >= CALLS {
                    self.calls.clear();
                }
                self.calls.insert(event.tid, Call { caller: event.program, directory: event.object });
                Vec::new()
            }
            How::Interpreter => {
                let directory = self.execed(&mut event);
                stages(event, &directory, &name)
            }
            How::Exact if event.operation == Operation::Exec => {
                self.execed(&mut event);
                vec![event]
            }
            How::Exact if event.operation == Operation::MapExec => {
                let loads = Program::Path(event.program.clone()).is_loader() && event.object != event.program;
                if loads { vec![event] } else { Vec::new() }
            }
            How::Exact => opened(event, created),
            How::Named { follow } => {
                if event.object_kind == ObjectKind::Path {
                    event.object = resolve(&event.object, &name, follow, event.tgid);
                }
                opened(event, created)
            }
        }
    }

    /// Puts the caller of an exec that succeeded in place of the program that it became; the directory of its name.
    fn execed(&mut self, event: &mut Event) -> Vec<u8> {
        let call = self.calls.remove(&event.tid);
        let Call { caller, directory } = call.unwrap_or(Call { caller: Vec::new(), directory: b"/".to_vec() });
        event.program = caller;
        directory
    }
}

/// A new file is made before it is opened.
fn opened(event: Event, created: bool) -> Vec<Event> {
    let make = created.then(|| Event { operation: Operation::Create, reads: false, writes: true, ..event.clone() });
    make.into_iter().chain([event]).collect()
}

/// The stages of an exec whose last one is `last`: the script of this name, what interprets it, and so on.
fn stages(last: Event, directory: &[u8], name: &[u8]) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    // The kernel told where a relative name begins; that an absolute one begins at `/` is no more than likely.
    let lookup = |name: &[u8]| resolve(if name.starts_with(b"/") { b"/" } else { directory }, name, true, last.tgid);
    let mut file = lookup(name);
    while file != last.object && events.len() < INTERPRETERS {
        let next = interpreter(&file);
        let stage = Event { object: file, object_kind: ObjectKind::Path, interpreter: !events.is_empty(), ..last.clone() };
        events.push(stage);
        match next {
            Some(next) => file = lookup(&next),
            None => break, // no `#!`: another format, whose interpreter the kernel told
        }
    }
    let interpreter = !events.is_empty();
    events.push(Event { interpreter, ..last });
    events
}

/// What the `#!` of a script names.
fn interpreter(script: &[u8]) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let file = File::open(Path::new(std::ffi::OsStr::from_bytes(script))).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    file.take(SCRIPT_HEAD).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let word = line.split(|byte| matches!(byte, b' ' | b'\t' | 0)).find(|word| !word.is_empty())?;
    Some(word.to_vec())
}

// === names ===

/// The path of what a name leads to, from a directory whose path is known; of an absolute name that is the root.
fn resolve(directory: &[u8], name: &[u8], follow: bool, process: u32) -> Vec<u8> {
    let to_path = |bytes: &[u8]| PathBuf::from(std::ffi::OsString::from_vec(bytes.to_vec()));
    let bare = to_path(name.strip_suffix(b"/").unwrap_or(name));
    let start = to_path(directory);
    let relative = bare.strip_prefix("/").unwrap_or(&bare).to_owned();
    let whole = start.join(&relative);
    let path = match relative.components().next_back() {
        Some(Component::Normal(last)) => {
            let above = relative.parent().unwrap_or(Path::new(""));
            // Where the kernel told the directory itself nothing is left to be followed but the last component.
            let above = if above.as_os_str().is_empty() { start.clone() } else { real(&start.join(above)) };
            let entry = above.join(last);
            if follow && entry.is_symlink() { real(&entry) } else { entry }
        }
        Some(_) => real(&whole),
        None => start,
    };
    own_process(path.into_os_string().into_vec(), process)
}

/// The path without links; of what is not there any more as far as it is.
fn real(path: &Path) -> PathBuf {
    // Links of procfs lead elsewhere for palisade than for the program.
    if path.starts_with("/proc") {
        return normal(path);
    }
    let mut there = path.to_owned();
    let mut gone: Vec<std::ffi::OsString> = Vec::new();
    loop {
        if let Ok(mut found) = fs::canonicalize(&there) {
            found.extend(gone.iter().rev());
            return normal(&found);
        }
        match (there.file_name().map(ToOwned::to_owned), there.parent().map(Path::to_owned)) {
            (Some(name), Some(parent)) => {
                gone.push(name);
                there = parent;
            }
            _ => return normal(path),
        }
    }
}

/// Without `.` and `..`, by the text alone.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => drop(out.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    out
}

/// A process's own entry of procfs is `/proc/self`.
fn own_process(path: Vec<u8>, process: u32) -> Vec<u8> {
    for own in [format!("/proc/{process}"), "/proc/thread-self".to_owned()] {
        if let Some(rest) = path.strip_prefix(own.as_bytes())
            && (rest.is_empty() || rest.starts_with(b"/"))
        {
            return [b"/proc/self", rest].concat();
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn text(path: &[u8]) -> &str {
        std::str::from_utf8(path).unwrap()
    }

    /// The path of a new directory as the kernel tells it.
    fn directory() -> (tempfile::TempDir, String) {
        let made = tempfile::tempdir().unwrap();
        let path = made.path().canonicalize().unwrap().to_str().unwrap().to_owned();
        (made, path)
    }

    fn resolved(directory: &str, name: &str, follow: bool) -> String {
        text(&resolve(directory.as_bytes(), name.as_bytes(), follow, 77)).to_owned()
    }

    #[test]
    fn a_name_leads_where_the_kernel_went() {
        let (_made, d) = directory();
        fs::create_dir_all(format!("{d}/a/b")).unwrap();
        fs::write(format!("{d}/a/file"), "").unwrap();
        symlink("a/b", format!("{d}/link")).unwrap();
        symlink("file", format!("{d}/a/to-file")).unwrap();
        for (name, follow, expected) in [
            ("a/file", true, "a/file"),
            ("link/new", false, "a/b/new"),
            ("link/../file", true, "a/file"),
            ("link", false, "link"),
            ("link", true, "a/b"),
            ("a/to-file", false, "a/to-file"),
            ("a/to-file", true, "a/file"),
            ("./a//file", true, "a/file"),
            ("a/b/", false, "a/b"),
            ("gone/below/x", false, "gone/below/x"),
        ] {
            assert_eq!(resolved(&d, name, follow), format!("{d}/{expected}"), "{name}");
        }
        assert_eq!(resolved(&format!("{d}/a"), "..", true), d);
        assert_eq!(resolved(&d, ".", true), d);
        assert_eq!(resolved("/", &format!("{d}/link/x"), false), format!("{d}/a/b/x"));
        assert_eq!(resolved("/", "/", true), "/");
    }

    #[test]
    fn entries_of_procfs_are_not_followed_by_palisade_and_ones_own_is_self() {
        assert_eq!(resolved("/", "/proc/self/attr/current", true), "/proc/self/attr/current");
        assert_eq!(resolved("/", "/proc/77/comm", true), "/proc/self/comm");
        assert_eq!(resolved("/proc/77", "comm", true), "/proc/self/comm");
        assert_eq!(resolved("/", "/proc/778/comm", true), "/proc/778/comm");
        assert_eq!(resolved("/", "/proc/thread-self/comm", true), "/proc/self/comm");
    }

    #[test]
    fn the_word_behind_the_marks_of_a_script_is_its_interpreter() {
        let (_made, d) = directory();
        let file = format!("{d}/script");
        for (content, expected) in [
            ("#!/bin/sh\necho", Some("/bin/sh")),
            ("#! /usr/bin/env python3\n", Some("/usr/bin/env")),
            ("#!/bin/x", Some("/bin/x")),
            ("#!\n/bin/sh", None),
            ("echo #!/bin/sh", None),
            ("", None),
        ] {
            fs::write(&file, content).unwrap();
            assert_eq!(interpreter(file.as_bytes()).as_deref().map(text), expected, "{content:?}");
        }
        assert_eq!(interpreter(d.as_bytes()), None);
    }
}
