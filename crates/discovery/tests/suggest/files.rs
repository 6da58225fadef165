//! Files, and the directories that they become.

use crate::*;

#[test]
fn what_the_base_set_lets_pass_is_in_no_rule() {
    let mut run = Run::begun();
    run.read("/usr/lib/x86_64-linux-gnu/libc.so.6");
    run.read("/etc/ld.so.cache");
    run.write("/dev/null");
    run.read("/srv/data");
    let learned = run.suggest();
    assert_eq!(learned.measures.base_set, 3);
    assert!(!learned.policy.contains("libc.so.6") && !learned.policy.contains("/dev/null"), "{}", learned.policy);
    assert_eq!(read(&learned, "/srv/data"), ALLOW);
    assert_eq!(write(&learned, "/srv/data"), BLOCK);
}

#[test]
fn a_class_without_an_access_is_closed_all_the_same() {
    let learned = Run::begun().suggest();
    assert_eq!(read(&learned, "/srv/data"), BLOCK);
    assert_eq!(verdict(&learned, program("/bin/app"), Operation::Socket { socket: TCP, end: None }), BLOCK);
    assert_eq!(verdict(&learned, program("/bin/app"), Operation::Capability { number: 21 }), BLOCK);
    assert_eq!(read(&learned, "/usr/lib/x86_64-linux-gnu/libc.so.6"), ALLOW);
}

#[test]
fn several_files_of_a_directory_become_the_directory_read_only_and_what_was_written_is_named() {
    let mut run = Run::begun();
    for name in ["a", "b", "c"] {
        run.read(&format!("/srv/site/{name}"));
    }
    run.write("/srv/site/counter");
    let learned = run.suggest();
    assert_eq!(read(&learned, "/srv/site/another"), ALLOW);
    assert_eq!(write(&learned, "/srv/site/a"), BLOCK);
    assert_eq!(write(&learned, "/srv/site/counter"), ALLOW);
    assert_eq!(read(&learned, "/srv/site/below/x"), BLOCK);
}

#[test]
fn a_directory_that_is_written_keeps_what_was_only_read_read_only() {
    let mut run = Run::begun();
    for name in ["a", "b", "c"] {
        run.write(&format!("/srv/state/{name}"));
    }
    run.read("/srv/state/settings");
    let learned = run.suggest();
    assert_eq!(write(&learned, "/srv/state/another"), ALLOW);
    assert_eq!(read(&learned, "/srv/state/settings"), ALLOW);
    assert_eq!(write(&learned, "/srv/state/settings"), BLOCK);
}

#[test]
fn several_directories_below_one_become_that_one_and_only_for_reading() {
    let mut run = Run::begun();
    for name in ["json/a.py", "json/b.py", "email/c.py", "http/d.py", "os.py"] {
        run.read(&format!("/usr/lib/python3/{name}"));
    }
    run.write("/usr/lib/python3/json/cache");
    let learned = run.suggest();
    assert_eq!(read(&learned, "/usr/lib/python3/xml/etree/e.py"), ALLOW);
    assert_eq!(write(&learned, "/usr/lib/python3/json/a.py"), BLOCK);
    assert_eq!(write(&learned, "/usr/lib/python3/json/cache"), ALLOW);
    assert_eq!(learned.measures.uncovered, Vec::<String>::new());
}

#[test]
fn no_rule_opens_a_system_directory_or_a_home_as_a_whole() {
    let mut run = Run::begun();
    let whole =
        ["/etc", "/root", "/home/anna", "/usr/share", "/var/lib", "/tmp", "/run", "/usr/lib/x86_64-linux-gnu", "/proc/sys/vm"];
    for directory in whole {
        for (at, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            run.read(&format!("{directory}/{name}"));
            run.read(&format!("{directory}/one{name}/file"));
            run.write(&format!("{directory}/w{at}x"));
        }
    }
    let learned = run.suggest();
    for directory in whole {
        assert_eq!(read(&learned, &format!("{directory}/a")), ALLOW);
        assert_eq!(read(&learned, &format!("{directory}/never-seen")), BLOCK, "{directory}");
        assert_eq!(read(&learned, &format!("{directory}/new/never-seen")), BLOCK, "{directory}");
    }
    assert_eq!(read(&learned, "/never-seen"), BLOCK);
}

#[test]
fn a_directory_that_holds_a_secret_is_opened_file_by_file_unless_the_secret_was_read() {
    struct Keys;
    impl Directories for Keys {
        fn names(&self, directory: &[u8]) -> Option<Vec<(Vec<u8>, bool)>> {
            Some(match directory {
                b"/srv/tls" => vec![(b"a.crt".to_vec(), false), (b"site.key".to_vec(), false)],
                b"/srv/app" => vec![(b"conf".to_vec(), true), (b".ssh".to_vec(), true)],
                _ => Vec::new(),
            })
        }
    }
    let mut run = Run::begun();
    for name in ["a.crt", "b.crt", "c.crt"] {
        run.read(&format!("/srv/tls/{name}"));
        run.read(&format!("/srv/app/{name}/x"));
    }
    let learned = run.suggest_in(&Keys);
    assert_eq!(read(&learned, "/srv/tls/a.crt"), ALLOW);
    assert_eq!(read(&learned, "/srv/tls/site.key"), BLOCK);
    assert_eq!(read(&learned, "/srv/app/a.crt/x"), ALLOW);
    assert_eq!(read(&learned, "/srv/app/.ssh/id_rsa"), BLOCK);
    run.read("/srv/tls/site.key");
    assert_eq!(read(&run.suggest_in(&Keys), "/srv/tls/d.crt"), ALLOW);
}

#[test]
fn a_directory_that_cannot_be_looked_into_is_not_opened() {
    struct Closed;
    impl Directories for Closed {
        fn names(&self, _: &[u8]) -> Option<Vec<(Vec<u8>, bool)>> {
            None
        }
    }
    let mut run = Run::begun();
    ["a", "b", "c"].into_iter().for_each(|name| run.read(&format!("/srv/x/{name}")));
    assert_eq!(read(&run.suggest_in(&Closed), "/srv/x/d"), BLOCK);
}

#[test]
fn names_that_another_run_makes_otherwise_are_left_open() {
    let mut run = Run::begun();
    run.create("/tmp/tmp.kX3vQa9LmZ");
    run.create("/tmp/tmp.kX3vQa9LmZ/inside");
    run.create("/var/lib/app/body/0000000001");
    run.read("/proc/812/stat");
    run.read("/srv/release-20261124"); // not made by the run: another name is another file
    for passing in ["/tmp/zzvowlqq", "/var/tmp/2bwvg44d"] {
        run.create(passing);
        let remove = What::File { object: path(passing), read: false, write: true, creates: false, removes: true };
        run.take("/bin/app", remove);
    }
    run.create("/tmp/lastingly");
    let learned = run.suggest();
    assert_eq!(write(&learned, "/tmp/abc1_f2h"), ALLOW);
    assert_eq!(write(&learned, "/tmp/abc1_f2"), BLOCK);
    assert_eq!(write(&learned, "/var/tmp/lg9nyl2u"), ALLOW);
    assert_eq!(write(&learned, "/var/tmp/anything-else"), BLOCK);
    assert_eq!(write(&learned, "/tmp/constantly"), BLOCK);
    assert_eq!(write(&learned, "/tmp/tmp.A1b2C3d4E5/inside"), ALLOW);
    assert_eq!(write(&learned, "/tmp/other"), BLOCK);
    assert_eq!(write(&learned, "/var/lib/app/body/0000000002"), ALLOW);
    assert_eq!(read(&learned, "/proc/999/stat"), ALLOW);
    assert_eq!(read(&learned, "/proc/999/environ"), BLOCK);
    assert_eq!(read(&learned, "/srv/release-20270101"), BLOCK);
}
