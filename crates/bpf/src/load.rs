//! Loading: open the object, fit it to this kernel, load, attach.

use std::os::fd::AsFd;

use libbpf_rs::{Link, MapCore, MapHandle, Object, ObjectBuilder, OpenObject, Program};
use rustix::process::geteuid;
use thiserror::Error;

use crate::abi::{HEADER_BYTES, TASKS};
use crate::hooks::{KernelHooks, Missing, lost_without};
use crate::log::Capture;
use crate::maps::{MapError, Maps, Tasks};
use crate::ring::RingError;

/// What may be chosen before loading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// The size of the ring of events, in bytes: a power of two and a multiple of the page size. A record takes 144
    /// bytes and its two paths, rounded up to 8: about 200 bytes in practice.
    pub ring_bytes: u32,
    /// Labelled threads that there is room for. Below [`TASKS`] for tests alone: the programs refuse forks in time only
    /// where there is room for that many.
    pub tasks: u32,
    /// An object built otherwise than this crate's own, for tests: by another compiler, or with what a test must see fail.
    pub object: Option<&'static [u8]>,
    /// The only programs that are loaded, by name: for tests of one mechanism, where verifying all of them takes longer
    /// than the test. Whatever the others judge is not judged.
    pub only: Option<&'static [&'static str]>,
}

/// Programs loaded and attached. Dropping it detaches whatever was not pinned.
pub struct Loaded {
    /// The maps.
    pub maps: Maps,
    /// The attached programs.
    pub programs: Vec<Attached>,
    /// Optional hooks that this kernel lacks.
    pub missing: Vec<Missing>,
    pub(crate) object: Object,
}

/// One attached program.
pub struct Attached {
    /// Its name in the object.
    pub name: String,
    /// Its section, which names its hook.
    pub section: String,
    /// Its id in the kernel.
    pub id: u32,
    pub(crate) link: Link,
}

/// Why the programs do not run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Not root.
    #[error("loading BPF programs needs root (CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN)")]
    NotPrivileged,
    /// The kernel was built without CONFIG_DEBUG_INFO_BTF.
    #[error("this kernel has no BTF (/sys/kernel/btf/vmlinux): it was built without CONFIG_DEBUG_INFO_BTF")]
    NoBtf,
    /// A hook that nothing replaces.
    #[error("this kernel lacks the hook {section} that program {program} needs")]
    HookMissing {
        /// The program.
        program: String,
        /// Its section.
        section: String,
    },
    /// The kernel refuses LSM programs although asked by root (seccomp, lockdown, a container without CAP_BPF).
    #[error("the kernel refuses to load LSM programs (EPERM){}", hint(log))]
    Refused {
        /// The end of libbpf's log.
        log: String,
    },
    /// The verifier does not accept a program: an error of Palisade's, to be reported with kernel version and log.
    #[error("the verifier refuses program {program}: {reason}")]
    Verifier {
        /// The program.
        program: String,
        /// The verifier's last words.
        reason: String,
        /// The end of the log.
        log: String,
    },
    /// The object could not be opened.
    #[error("cannot open the BPF object: {log}")]
    Open {
        /// libbpf's log.
        log: String,
        /// libbpf's error.
        #[source]
        source: libbpf_rs::Error,
    },
    /// Loading failed for another reason.
    #[error("cannot load the BPF programs: {source}{}", hint(log))]
    Load {
        /// The end of libbpf's log.
        log: String,
        /// libbpf's error.
        #[source]
        source: libbpf_rs::Error,
    },
    /// A program could not be attached.
    #[error("cannot attach program {program} to {section}: {source}{}", hint(log))]
    Attach {
        /// The program.
        program: String,
        /// Its section.
        section: String,
        /// The end of libbpf's log.
        log: String,
        /// libbpf's error.
        #[source]
        source: libbpf_rs::Error,
    },
    /// A map of the object is not as `abi.h` says.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The ring of events of the watching programs cannot be mapped.
    #[error(transparent)]
    Ring(RingError),
}

// === impl Loaded ===

impl Loaded {
    /// The attached programs, by name and id.
    #[must_use]
    pub fn ids(&self) -> Vec<(String, u32)> {
        self.programs.iter().map(|program| (program.name.clone(), program.id)).collect()
    }
}

// === impl LoadOptions ===

impl Default for LoadOptions {
    fn default() -> Self {
        // 2 MiB / 200 bytes: some 10,000 events between two turns of the reader.
        Self { ring_bytes: 2 << 20, tasks: TASKS, object: None, only: None }
    }
}

// === impl LoadError ===

impl LoadError {
    /// Whether the reason lies in this kernel or its set-up, not in Palisade: then another back end may serve.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        match self {
            Self::NotPrivileged | Self::NoBtf | Self::HookMissing { .. } | Self::Refused { .. } => true,
            Self::Verifier { .. }
            | Self::Open { .. }
            | Self::Load { .. }
            | Self::Attach { .. }
            | Self::Map(_)
            | Self::Ring(_) => false,
        }
    }

    /// libbpf's log, where there is one.
    #[must_use]
    pub fn log(&self) -> Option<&str> {
        match self {
            Self::NotPrivileged | Self::NoBtf | Self::HookMissing { .. } | Self::Map(_) | Self::Ring(_) => None,
            Self::Refused { log }
            | Self::Verifier { log, .. }
            | Self::Open { log, .. }
            | Self::Load { log, .. }
            | Self::Attach { log, .. } => Some(log),
        }
    }

    pub(crate) fn of_load(source: libbpf_rs::Error, log: String) -> Self {
        let begin = log.find("-- BEGIN PROG LOAD LOG --");
        let program = between(&log, "prog '", "'").map(str::to_owned);
        if let (Some(begin), Some(program)) = (begin, program) {
            let body = log[begin..].lines().skip(1);
            let words: Vec<&str> = body
                .take_while(|line| !line.contains("-- END PROG LOAD LOG --"))
                .filter(|line| !line.starts_with("processed ") && !line.trim().is_empty())
                .collect();
            let reason = words.last().copied().unwrap_or("no reason given").to_owned();
            return Self::Verifier { program, reason, log };
        }
        if log.contains("-EPERM") || log.contains("Operation not permitted") {
            return Self::Refused { log };
        }
        Self::Load { log, source }
    }
}

/// Opens, loads and attaches all programs that this kernel can take. Nothing is pinned yet.
///
/// # Guarantees
/// On error nothing stays attached.
///
/// # Errors
/// See [`LoadError`]; a missing optional hook is none and is told in [`Loaded::missing`].
///
/// Minimum kernel: 6.1.
pub fn load(options: LoadOptions) -> Result<Loaded, LoadError> {
    if !geteuid().is_root() {
        return Err(LoadError::NotPrivileged);
    }
    let hooks = KernelHooks::read().ok_or(LoadError::NoBtf)?;
    let capture = Capture::start();
    let mut object = open("palisade", options.object.unwrap_or(crate::OBJECT), &capture)?;
    let missing = fit_programs(&mut object, &hooks, options.only)?;
    fit_maps(&mut object, options, &capture)?;
    let object = object.load().map_err(|source| LoadError::of_load(source, capture.text()))?;
    let maps = Maps::from_fn(|name| {
        let map = object.maps().find(|map| map.name() == name);
        map.map(|map| MapHandle::try_from(&map)).transpose()
    })?;
    #[cfg(feature = "test-controls")]
    crate::cache::leave_out(&object)?;
    let programs = attach(&object, &capture)?;
    Ok(Loaded { maps, programs, missing, object })
}

pub(crate) fn open(name: &str, object: &[u8], capture: &Capture) -> Result<OpenObject, LoadError> {
    let mut builder = ObjectBuilder::default();
    let opened = builder.name(name).and_then(|builder| builder.open_memory(object));
    opened.map_err(|source| LoadError::Open { log: capture.text(), source })
}

/// Takes the optional programs (not loaded by default) whose hook this kernel has; the others must have theirs.
pub(crate) fn fit_programs(
    object: &mut OpenObject,
    hooks: &KernelHooks,
    only: Option<&[&str]>,
) -> Result<Vec<Missing>, LoadError> {
    let mut missing = Vec::new();
    for mut program in object.progs_mut() {
        if only.is_some_and(|only| !only.iter().any(|name| program.name() == *name)) {
            program.set_autoload(false);
            continue;
        }
        let section = program.section().to_string_lossy().into_owned();
        let optional = !program.autoload();
        if hooks.has(&section) {
            program.set_autoload(true);
            continue;
        }
        let name = program.name().to_string_lossy().into_owned();
        match lost_without(&section) {
            Some(lost) => {
                program.set_autoload(false);
                missing.push(Missing { program: name, section, lost });
            }
            None if optional => missing.push(Missing { program: name, section, lost: "not said" }),
            None => return Err(LoadError::HookMissing { program: name, section }),
        }
    }
    Ok(missing)
}

fn fit_maps(object: &mut OpenObject, options: LoadOptions, capture: &Capture) -> Result<(), LoadError> {
    for mut map in object.maps_mut() {
        let entries = if map.name() == Maps::EVENTS {
            options.ring_bytes
        } else if map.name() == Tasks::NAME {
            options.tasks
        } else {
            continue;
        };
        map.set_max_entries(entries).map_err(|source| LoadError::Load { log: capture.text(), source })?;
    }
    Ok(())
}

pub(crate) fn attach(object: &Object, capture: &Capture) -> Result<Vec<Attached>, LoadError> {
    let mut attached = Vec::new();
    for program in object.progs_mut() {
        if !program.autoload() {
            continue;
        }
        let name = program.name().to_string_lossy().into_owned();
        let section = program.section().to_string_lossy().into_owned();
        let failed = |source| LoadError::Attach { program: name.clone(), section: section.clone(), log: capture.text(), source };
        let link = program.attach().map_err(failed)?;
        let id = Program::id_from_fd(program.as_fd()).map_err(failed)?;
        attached.push(Attached { name, section, id, link });
    }
    Ok(attached)
}

/// The first line of a log, for the end of an error.
fn hint(log: &str) -> String {
    match log.lines().find(|line| !line.trim().is_empty()) {
        Some(line) => format!("; libbpf: {}", line.trim_start_matches("libbpf: ")),
        None => String::new(),
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let start = text.find(before)? + before.len();
    let rest = &text[start..];
    rest.find(after).map(|end| &rest[..end])
}

const _: () = assert!(HEADER_BYTES == 984, "PAL_HEADER_BYTES of abi.h");

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_error(number: i32) -> libbpf_rs::Error {
        libbpf_rs::Error::from_raw_os_error(number)
    }

    #[test]
    fn a_verifier_log_names_the_program_and_the_reason() {
        let log = "libbpf: prog 'pal_file_open': BPF program load failed: -EACCES\n\
                   libbpf: prog 'pal_file_open': -- BEGIN PROG LOAD LOG --\n0: R1=ctx()\n\
                   R0 has unknown scalar value should have been in [-4095, 0]\n\
                   processed 5 insns (limit 1000000) max_states_per_insn 0\n-- END PROG LOAD LOG --\n";
        let error = LoadError::of_load(mk_error(13), log.to_owned());
        assert!(
            matches!(&error, LoadError::Verifier { program, reason, .. }
            if program == "pal_file_open" && reason.starts_with("R0 has unknown scalar")),
            "{error}"
        );
        assert!(!error.is_unsupported());
    }

    #[test]
    fn a_refusal_of_the_kernel_is_told_from_one_of_the_verifier() {
        let log = "libbpf: prog 'pal_file_open': BPF program load failed: -EPERM\n";
        let error = LoadError::of_load(mk_error(1), log.to_owned());
        assert!(matches!(error, LoadError::Refused { .. }), "{error}");
        assert!(error.is_unsupported());
    }
}
