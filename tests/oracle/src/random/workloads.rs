//! Random workloads and their links.

use palisade_ruleset::{Mode, Posture, Postures, Scope, StdioFile, Workload};

use super::rng::Rng;
use crate::links::{Link, Links};

/// A workload, mostly a usual one.
pub(super) fn workload(rng: &mut Rng) -> Workload {
    let mut workload = Workload::run();
    workload.hostname = "node1".to_owned();
    if rng.chance(10) {
        workload.scope = Scope::Host;
        workload.postures = Postures::HOST;
    }
    if rng.chance(40) {
        workload.ignore_selectors = false;
        if rng.chance(80) {
            workload.labels.insert("app".to_owned(), rng.pick(&["a", "b"]).to_owned());
        }
        workload.container = rng.chance(50).then(|| rng.pick(&["main", "side"]).to_owned());
    }
    if rng.chance(5) {
        workload.mode = Mode::Audit;
    }
    if rng.chance(30) {
        let mut posture = || if rng.chance(50) { Posture::Block } else { Posture::Audit };
        workload.postures = Postures { file: posture(), network: posture(), capability: posture() };
    }
    workload.base_set = rng.chance(85);
    workload.allow_mounts = rng.chance(10);
    if rng.chance(20) {
        workload.multi_call.push("multi".to_owned());
    }
    if rng.chance(20) {
        let path = rng.pick(&["/tmp/out", "/a/b", "/dev/pts/1"]).into();
        workload.stdio.push(StdioFile { path, readable: rng.chance(50), writable: rng.chance(50) });
    }
    workload
}

/// Up to four links.
pub(super) fn links(rng: &mut Rng) -> Links {
    const LINKS: &[(&str, &str)] = &[
        ("/bin", "usr/bin"),
        ("/lib", "/usr/lib"),
        ("/bin/sh", "busybox"),
        ("/bin/sh", "/bin/busybox"),
        ("/usr/bin/sh", "../bin/toybox"),
        ("/usr/bin/x", "multi"),
        ("/l1", "/a"),
        ("/l1", "a/b"),
        ("/l2", "/a/b"),
        ("/l2", "/l1"),
        ("/a/l3", "b"),
        ("/a/l3", "../b/./a"),
        ("/l4", "/"),
        ("/l4", "/l4"),
        ("/a/b/c", "/usr/bin/x"),
        ("/l2/c", "../../../ab"),
        ("/b", "/a"),
        ("/usr/bin/busybox", "/bin/toybox"),
    ];
    let mut links = Links::default();
    for _ in 0..rng.below(5) {
        let (path, target) = rng.pick(LINKS);
        let link = Link { target: (*target).into(), allow_may_follow: rng.chance(70) };
        links.by_path.insert((*path).into(), link);
    }
    links
}
