//! Paths, globs and names over a small alphabet.

use palisade_policy::glob::Glob;

use super::rng::Rng;
use crate::glob::alternatives;

/// Paths that many rules and accesses share.
const PATHS: &[&str] = &[
    "/a",
    "/a/b",
    "/a/b",
    "/a/b/c",
    "/a/b/c/d",
    "/a/bc",
    "/ab",
    "/ab/c",
    "/a/.b",
    "/a/b.c",
    "/a/b/é",
    "/a/*",
    "/b",
    "/b/a",
    "/c/d",
    "/usr/bin/x",
    "/usr/bin/xy",
    "/usr/bin/sh",
    "/bin/sh",
    "/bin/x",
    "/bin/busybox",
    "/usr/bin/toybox",
    "/usr/bin/multi",
    "/usr/lib/l.so.1",
    "/lib/ld-x.so.2",
    "/lib/ld-musl-x",
    "/l1",
    "/l1/b",
    "/l2/c",
    "/a/l3",
    "/l4/c",
];

/// Paths for file rules and accesses that other clauses speak of.
const FILES: &[&str] = &[
    "/dev/null",
    "/dev/sda",
    "/dev/sdb",
    "/dev/pts/1",
    "/etc/localtime",
    "/etc/resolv.conf",
    "/etc/ld.so.cache",
    "/etc/passwd",
    "/proc/self/maps",
    "/proc/thread-self/maps",
    "/proc/self/fd/1",
    "/proc/1/maps",
    "/proc/sys/x",
    "/tmp/out",
    "/usr/lib/locale/C",
    "/usr/share/zoneinfo/UTC",
    "/etc/ssl/openssl.cnf",
    "/sys/devices/system/cpu/online",
];

const COMPONENTS: &[&str] = &["a", "b", "c", "ab", "bc", "x", "sh", ".b", "b.c", "é", "bin", "usr", "busybox", "l1", "[b", "b\\"];

/// Base names, of execs too.
pub(super) const NAMES: &[&str] = &["x", "sh", "b", "c", "busybox", "multi", "xy", "ld-x.so.2", "toybox"];

/// Words of `allowedArgs` and arguments.
pub(super) const WORDS: &[&str] = &["-v", "-x", "sh", "x"];

/// Programs that act and that sources name.
pub(super) const PROGRAMS: &[&str] = &[
    "/usr/bin/x",
    "/bin/sh",
    "/bin/busybox",
    "/a/b",
    "/a/b/c",
    "/lib/ld-x.so.2",
    "/lib/ld-musl-x",
    "/lib/ld.so",
    "/l1/b",
    "/app/main",
];

/// An absolute path without glob characters (mostly).
pub(super) fn path(rng: &mut Rng, files: bool) -> String {
    if files && rng.chance(25) {
        return rng.pick(FILES).to_owned();
    }
    if rng.chance(75) {
        return rng.pick(PATHS).to_owned();
    }
    (0..rng.between(1, 4)).map(|_| format!("/{}", rng.pick(COMPONENTS))).collect()
}

/// The text of a glob that the policy crate accepts.
pub(super) fn glob(rng: &mut Rng, files: bool) -> String {
    loop {
        let text = any_glob(rng, files);
        if Glob::parse(&text).is_ok() && !has_accidental_stars(&text) {
            return text;
        }
    }
}

/// Whether alternatives bring stars together, as in `{,*}*`, or doublestars in a row: they add nothing but readings.
fn has_accidental_stars(text: &str) -> bool {
    let count = |text: &[u8], part: &[u8]| text.windows(part.len()).filter(|window| *window == part).count();
    let written = count(text.as_bytes(), b"**");
    alternatives(text.as_bytes())
        .unwrap_or_default()
        .iter()
        .any(|plain| count(plain, b"***") > 0 || count(plain, b"**/**") > 0 || count(plain, b"**") > written)
}

/// A path or, now and then, a glob that begins with `/`, or something that looks like a glob and is none.
pub(super) fn path_or_glob(rng: &mut Rng, files: bool) -> String {
    match rng.below(10) {
        0..=6 => path(rng, files),
        7 => path(rng, files) + "/[b",
        _ => loop {
            let text = glob(rng, files);
            if text.starts_with('/') {
                return text;
            }
        },
    }
}

/// A directory: a path or glob with `/` at the end.
pub(super) fn directory(rng: &mut Rng, files: bool) -> String {
    match rng.below(10) {
        0 => "/".to_owned(),
        1 => path_or_glob(rng, files) + "/",
        _ => path(rng, files) + "/",
    }
}

fn any_glob(rng: &mut Rng, files: bool) -> String {
    if !files && rng.chance(8) {
        const MEMFDS: &[&str] =
            &["memfd:x", "memfd:*", "memfd:?", "memfd:a?b", "memfd:a*b", "memfd:[!a]*", "memfd:{a,b}", "memfd:a/*", "memfd:**/b"];
        return rng.pick(MEMFDS).to_owned();
    }
    if rng.chance(8) {
        return rng
            .pick(&["/**", "**", "/*", "*", "/*/*", "/**/b", "**/b", "/a/**/b", "/proc/[0-9]*/maps", "/proc/*/maps"])
            .to_owned();
    }
    let path = path(rng, files);
    let mut components: Vec<String> = path.split('/').skip(1).map(str::to_owned).collect();
    for _ in 0..rng.between(1, 2) {
        let index = rng.below(components.len());
        components[index] = component(rng, &components[index]);
    }
    let mut text = components.join("/");
    match rng.below(12) {
        0 => text += "/*",
        1 => text += "/**",
        2 => text = format!("**/{text}"),
        3 => text = format!("/**/{text}"),
        4 => {}
        5 => text = format!("/{{a,{text}}}"),
        _ => text = format!("/{text}"),
    }
    text
}

/// A component as a glob.
fn component(rng: &mut Rng, name: &str) -> String {
    let split = (0..=name.len()).rev().filter(|i| name.is_char_boundary(*i)).nth(rng.below(2)).unwrap_or(0);
    let (head, tail) = name.split_at(split);
    match rng.below(16) {
        0 | 1 => "*".to_owned(),
        2 => "**".to_owned(),
        3 => "?".to_owned(),
        4 => format!("{head}*"),
        5 => format!("*{tail}"),
        6 => format!("{head}?"),
        7 => format!("{head}[a-c]"),
        8 => format!("[!a]{tail}"),
        9 => format!("[^b{}]", rng.pick(&["c", "é", "/", "."])),
        10 => format!("{{{name},{}}}", rng.pick(COMPONENTS)),
        11 => format!("{{,{head}}}*{tail}"),
        12 => format!("{{a,b/{}}}", rng.pick(&["c", "*", "c?"])),
        13 => format!("\\{}", name),
        14 => format!("{head}**{tail}"),
        _ => format!("{head}\\*"),
    }
}
