//! The base set (meaning 5(5)): what passes where no policy has a winner, before the posture is asked.

use palisade_ruleset::{FileMode, StdioFile, Workload};

use crate::glob::Pattern;

/// What may be read.
//
// AMBIGUITY (meaning 5(5), "a fixed, documented list"): the law names kinds of data for some entries, not paths. The
// paths below are where Debian, Alpine and Fedora have them. Agreement tests keep to the entries that the law spells out
// and to the common places of the others.
const READ: &[&str] = &[
    "/lib*/**/*.so",
    "/lib*/**/*.so.*",
    "/usr/lib*/**/*.so",
    "/usr/lib*/**/*.so.*",
    "/usr/local/lib/**/*.so",
    "/usr/local/lib/**/*.so.*",
    "/etc/ld.so.*",
    "/etc/ld-musl-*",
    "/usr/lib/locale/**",
    "/usr/share/locale/**",
    "/etc/locale.alias",
    "/usr/lib*/**/gconv/gconv-modules*",
    "/usr/lib*/**/gconv/gconv-modules.d/*",
    "/usr/share/zoneinfo",
    "/usr/share/zoneinfo/**",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/ssl/openssl.cnf",
    "/etc/ssl/certs/**",
    "/proc/self/**",
    "/sys/devices/system/cpu/online",
];

/// What may be read and written.
const READ_AND_WRITE: &[&str] = &["/dev/{null,zero,full,random,urandom,tty,ptmx}", "/dev/pts/*"];

/// Whether the base set, or what the runtime passed as descriptors 0 to 2, lets this access pass.
pub(crate) fn lets_pass(workload: &Workload, path: &[u8], mode: FileMode) -> bool {
    let in_list = |list: &[&str]| list.iter().any(|text| Pattern::parse(text.as_bytes()).is_some_and(|p| p.meets_path(path)));
    let listed = in_list(READ_AND_WRITE) || (mode == FileMode::Read && in_list(READ));
    // AMBIGUITY (meaning 2, descriptors 0-2): "ranks like the base set", and stays when the base set is turned off, which
    // is about that list. Other: `base-set: none` turns off both.
    (workload.base_set && listed) || workload.stdio.iter().any(|file| reopens(file, path, mode))
}

fn reopens(file: &StdioFile, path: &[u8], mode: FileMode) -> bool {
    let StdioFile { path: passed, readable, writable } = file;
    passed == path
        && match mode {
            FileMode::Read => *readable,
            FileMode::Write => *writable,
        }
}

#[cfg(test)]
mod tests {
    use palisade_ruleset::{FileMode, StdioFile, Workload};

    use super::lets_pass;

    #[test]
    fn the_list_lets_pass_reads_and_some_devices_writes() {
        let workload =
            Workload { stdio: vec![StdioFile { path: b"/x/log".to_vec(), readable: false, writable: true }], ..Workload::run() };
        for (path, read, write) in [
            ("/lib/libc.so.6", true, false),
            ("/lib64/ld-linux-x86-64.so.2", true, false),
            ("/usr/lib/x86_64-linux-gnu/libm.so", true, false),
            ("/usr/local/lib/a/b.so.1", true, false),
            ("/usr/local/lib64/b.so.1", false, false),
            ("/usr/lib/libc.soup", false, false),
            ("/etc/ld.so.cache", true, false),
            ("/etc/resolv.conf", true, false),
            ("/etc/passwd", false, false),
            ("/dev/null", true, true),
            ("/dev/pts/3", true, true),
            ("/dev/sda", false, false),
            ("/proc/self/maps", true, false),
            ("/proc/1/maps", false, false),
            ("/x/log", false, true),
        ] {
            assert_eq!(lets_pass(&workload, path.as_bytes(), FileMode::Read), read, "read {path}");
            assert_eq!(lets_pass(&workload, path.as_bytes(), FileMode::Write), write, "write {path}");
        }
    }
}
