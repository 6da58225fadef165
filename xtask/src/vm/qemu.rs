//! The command line of QEMU: pure, from a description of the machine.

use std::ffi::OsString;
use std::path::Path;

/// The emulator's program.
pub(super) const PROGRAM: &str = "qemu-system-x86_64";

/// Switches off "fast" `rep movsb` and `rep stosb`, by which a kernel that sees them copies and clears: TCG emulates them
/// byte by byte, and a third of the time of loading the programs was spent in them. Where instructions are counted the
/// processor stays what it is.
const WITHOUT_BYTEWISE_COPIES: &str = ",-erms,-fsrm";

/// One virtual machine, as QEMU is told of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine<'a> {
    pub(super) kernel: &'a Path,
    pub(super) initramfs: &'a Path,
    /// QEMU's name of the processor, with its switches.
    pub(super) processor: &'a str,
    /// The root image; writes go to a snapshot that ends with QEMU.
    pub(super) root: &'a Path,
    /// The disk with files and command.
    pub(super) payload: &'a Path,
    /// The disk for what is brought back, if anything is.
    pub(super) out: Option<&'a Path>,
    /// Where the guest's reports are written.
    pub(super) control: &'a Path,
    /// The kernel's `lsm=`.
    pub(super) lsm: &'a str,
    /// More words for the kernel's command line.
    pub(super) append: &'a str,
    pub(super) memory_mib: u32,
    pub(super) processors: u8,
    /// Time is counted in instructions; there is one processor then.
    pub(super) icount: bool,
}

// === impl Machine ===

impl Machine<'_> {
    /// The arguments of [`PROGRAM`]. The console is QEMU's standard output.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let Self { kernel, initramfs, processor, root, payload, out, control, lsm: _, append: _, memory_mib, processors, icount } =
            self;
        let mut arguments = Arguments::default();
        // No KVM ever: hosts are virtual machines themselves.
        if *icount {
            arguments.option("-accel", "tcg,thread=single");
            arguments.option("-icount", "shift=0,sleep=off");
            arguments.option("-rtc", "base=2026-01-01T00:00:00,clock=vm");
            arguments.option("-seed", "1");
            arguments.option("-smp", "1");
        } else {
            arguments.option("-accel", "tcg,thread=multi");
            arguments.option("-smp", &processors.to_string());
        }
        if *icount {
            arguments.option("-cpu", processor);
        } else {
            arguments.option("-cpu", &format!("{processor}{WITHOUT_BYTEWISE_COPIES}"));
        }
        arguments.option("-m", &memory_mib.to_string());
        arguments.flag("-nodefaults");
        arguments.option("-display", "none");
        arguments.flag("-no-reboot");
        arguments.option("-serial", "stdio");
        arguments.path("-serial", "file:", control, "");
        arguments.path("-kernel", "", kernel, "");
        arguments.path("-initrd", "", initramfs, "");
        arguments.option("-append", &self.kernel_command_line());
        arguments.disk("root", root, "snapshot=on");
        arguments.disk("payload", payload, "readonly=on");
        if let Some(out) = out {
            arguments.disk("out", out, "readonly=off");
        }
        let Arguments { words } = arguments;
        words
    }

    /// `oops=panic`: a kernel that oopsed must not go on to report success.
    fn kernel_command_line(&self) -> String {
        let Self { lsm, append, icount, .. } = self;
        let mut line = format!("console=ttyS0 panic=-1 oops=panic quiet lsm={lsm}");
        if *icount {
            // Where things lie decides which paths allocators take; the kernel's
            // tests of its ciphers would share the processor with the command.
            line.push_str(" nokaslr norandmaps cryptomgr.notests=1");
        }
        if !append.is_empty() {
            line.push(' ');
            line.push_str(append);
        }
        line
    }
}

/// Collects words.
#[derive(Default)]
struct Arguments {
    words: Vec<OsString>,
}

// === impl Arguments ===

impl Arguments {
    fn flag(&mut self, name: &str) {
        self.words.push(name.into());
    }

    fn option(&mut self, name: &str, value: &str) {
        self.words.push(name.into());
        self.words.push(value.into());
    }

    fn path(&mut self, name: &str, before: &str, path: &Path, after: &str) {
        let mut value = OsString::from(before);
        value.push(path);
        value.push(after);
        self.words.push(name.into());
        self.words.push(value);
    }

    /// A raw disk that the guest finds by its serial number.
    fn disk(&mut self, serial: &str, file: &Path, switches: &str) {
        let before = format!("if=none,id={serial},format=raw,cache=unsafe,{switches},file=");
        self.path("-drive", &before, file, "");
        self.option("-device", &format!("virtio-blk-pci,drive={serial},serial={serial}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine<'static> {
        Machine {
            kernel: Path::new("/k"),
            initramfs: Path::new("/i"),
            processor: "max",
            root: Path::new("/r"),
            payload: Path::new("/p"),
            out: None,
            control: Path::new("/c"),
            lsm: "landlock,bpf",
            append: "",
            memory_mib: 1024,
            processors: 2,
            icount: false,
        }
    }

    fn line(machine: &Machine<'_>) -> String {
        let words = machine.arguments();
        let words: Vec<&str> = words.iter().map(|word| word.to_str().unwrap()).collect();
        words.join(" ")
    }

    #[test]
    fn an_ordinary_machine() {
        let line = line(&machine());
        for part in [
            "-accel tcg,thread=multi -smp 2 ",
            "-cpu max,-erms,-fsrm -m 1024 ",
            "-serial stdio -serial file:/c ",
            "-append console=ttyS0 panic=-1 oops=panic quiet lsm=landlock,bpf -drive",
            "id=root,format=raw,cache=unsafe,snapshot=on,file=/r -device virtio-blk-pci,drive=root,serial=root",
            "id=payload,format=raw,cache=unsafe,readonly=on,file=/p",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(!line.contains("kvm") && !line.contains("icount") && !line.contains("id=out"));
    }

    #[test]
    fn counting_instructions_takes_one_processor_and_one_thread() {
        let line = line(&Machine { icount: true, append: "debug", ..machine() });
        assert!(line.contains("-accel tcg,thread=single -icount shift=0,sleep=off"), "{line}");
        assert!(line.contains("-smp 1 ") && !line.contains("-smp 2"), "{line}");
        assert!(line.contains("lsm=landlock,bpf nokaslr norandmaps cryptomgr.notests=1 debug -drive"), "{line}");
    }

    #[test]
    fn an_out_disk_can_be_written() {
        let line = line(&Machine { out: Some(Path::new("/o")), ..machine() });
        assert!(line.contains("readonly=off,file=/o -device virtio-blk-pci,drive=out,serial=out"), "{line}");
    }
}
