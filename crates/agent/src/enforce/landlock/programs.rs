//! What an exec needs beside the right to execute: the kernel opens the program, and its loader, for reading too.
//!
//! Measured on Linux 6.18: without READ_FILE on the program, or EXECUTE and READ_FILE on its ELF interpreter (each only
//! if handled), execve fails with EACCES.

use std::collections::BTreeSet;

use palisade_ruleset::By;

use super::rights::Rights;
use super::view::{FileKind, Interpreter};
use super::walk::{TYPICAL_NAME, Walk, join};

/// What was granted for programs to start.
#[derive(Clone, Debug, Default)]
pub(super) struct Started {
    /// Files made readable because they may be executed.
    pub(super) readable: usize,
    /// Loaders that may be executed because programs need them.
    pub(super) loaders: BTreeSet<Vec<u8>>,
    /// Programs outside the usual directories may be executed by the law but are not made readable.
    pub(super) elsewhere: bool,
}

/// Where programs are kept.
pub(super) const PROGRAM_DIRECTORIES: [&str; 6] = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/bin", "/sbin"];

/// The loaders that a program not looked into may need.
const LOADERS: [&str; 8] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-x86-64.so.2",
    "/lib/ld-linux.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib64/ld64.so.2",
    "/lib/ld-linux-armhf.so.3",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
];

/// The most stages of `#!` that the kernel follows.
const SCRIPT_STAGES_MAX: usize = 5;

/// Grants what execs need. `exec_restricted`: EXECUTE was walked for; else every program may be executed.
pub(super) fn grant(walk: &mut Walk<'_>, handled: Rights, exec_restricted: bool) -> Started {
    let mut started = Started::default();
    if !handled.contains(Rights::EXECUTE) && !handled.contains(Rights::READ_FILE) {
        return started;
    }
    let mut programs: BTreeSet<Vec<u8>> = BTreeSet::new();
    let mut by_directory = !exec_restricted;
    let executable: Vec<(Vec<u8>, BTreeSet<u32>)> = walk
        .grants
        .iter()
        .filter(|(_, granted)| granted.rights.contains(Rights::EXECUTE))
        .map(|(path, granted)| (path.clone(), granted.by.clone()))
        .collect();
    for (path, by) in &executable {
        match walk.view.file(path).map(|f| f.kind) {
            Some(FileKind::Directory) => {
                by_directory = true;
                let written = by.iter().any(|code| matches!(By::from_code(*code), Some(By::Rule(_))));
                let pseudo = path == b"/proc" || path == b"/sys";
                if written && path != b"/" && !pseudo && needs(walk, path, Rights::READ_FILE & handled) {
                    programs_below(walk, path, &mut programs);
                }
            }
            Some(FileKind::File) => {
                programs.insert(path.clone());
            }
            Some(FileKind::BlockDevice | FileKind::Link) | None => {}
        }
    }
    if let Some(start) = walk.options.start.clone().and_then(|p| walk.view.resolve(&p)) {
        let mut program = start.path;
        for _ in 0..=SCRIPT_STAGES_MAX {
            if !walk.asker.exec(&program).passes {
                break;
            }
            let next = match walk.view.interpreter(&program) {
                Some(Interpreter::Script(interpreter)) => walk.view.resolve(&interpreter).map(|r| r.path),
                Some(Interpreter::Loader(_)) | None => None,
            };
            programs.insert(program);
            match next {
                Some(interpreter) => program = interpreter,
                None => break,
            }
        }
    }
    if by_directory && handled.contains(Rights::READ_FILE) {
        let directories: BTreeSet<Vec<u8>> =
            PROGRAM_DIRECTORIES.iter().filter_map(|d| walk.view.resolve(d.as_bytes())).map(|r| r.path).collect();
        for directory in directories {
            let Some(children) = walk.view.children(&directory, walk.options.look_max) else { continue };
            let files = children.into_iter().filter(|c| c.kind == FileKind::File).map(|c| join(&directory, &c.name));
            programs.extend(files.filter(|path| walk.asker.exec(path).passes));
        }
        let read_by_default = walk.asker.read(&join(b"/", TYPICAL_NAME), false).passes;
        let exec_by_default = walk.asker.exec(&join(b"/", TYPICAL_NAME)).passes;
        started.elsewhere = exec_by_default && !read_by_default;
    }
    let mut loaders: BTreeSet<Vec<u8>> = BTreeSet::new();
    for program in &programs {
        if let Some(Interpreter::Loader(loader)) = walk.view.interpreter(program) {
            loaders.insert(loader);
        }
        if needs(walk, program, Rights::READ_FILE & handled) && is_executable(walk, program) {
            walk.grants.entry(program.clone()).or_default().rights |= Rights::READ_FILE;
            started.readable += 1;
        }
    }
    if by_directory {
        loaders.extend(LOADERS.iter().map(|l| l.as_bytes().to_vec()));
    }
    let resolved = loaders.iter().filter_map(|l| walk.view.resolve(l)).map(|r| r.path);
    for loader in resolved.collect::<BTreeSet<_>>() {
        let exists = walk.view.file(&loader).is_some_and(|f| f.kind == FileKind::File);
        if exists && needs(walk, &loader, (Rights::EXECUTE | Rights::READ_FILE) & handled) {
            walk.grants.entry(loader.clone()).or_default().rights |= Rights::EXECUTE | Rights::READ_FILE;
            started.loaders.insert(loader);
        }
    }
    started
}

/// The executable files below a directory all of which may be executed, within the bound.
fn programs_below(walk: &mut Walk<'_>, directory: &[u8], programs: &mut BTreeSet<Vec<u8>>) {
    let left = walk.options.look_max.saturating_sub(walk.notes.looked_at);
    let Some(children) = walk.view.children(directory, left) else {
        walk.notes.unseen.entry(directory.to_vec()).or_insert(false);
        return;
    };
    walk.notes.looked_at += children.len();
    for child in children {
        let path = join(directory, &child.name);
        match child.kind {
            FileKind::Directory => programs_below(walk, &path, programs),
            FileKind::File => {
                if is_executable(walk, &path) {
                    programs.insert(path);
                }
            }
            FileKind::BlockDevice | FileKind::Link => {}
        }
    }
}

fn is_executable(walk: &Walk<'_>, path: &[u8]) -> bool {
    walk.view.file(path).is_some_and(|f| f.executable && f.kind == FileKind::File)
}

/// Whether the path, or a directory above it, lacks one of the rights.
fn needs(walk: &Walk<'_>, path: &[u8], rights: Rights) -> bool {
    let mut held = Rights::NONE;
    let mut at = path;
    loop {
        let key = if at.is_empty() { b"/".as_slice() } else { at };
        held |= walk.grants.get(key).map_or(Rights::NONE, |g| g.rights);
        match at.iter().rposition(|b| *b == b'/') {
            Some(cut) => at = &at[..cut],
            None => return !held.contains(rights),
        }
    }
}
