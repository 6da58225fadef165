//! The text: what names, losses and order do to it.

use crate::*;

#[test]
fn hostile_names_change_nothing_but_their_own_rule() {
    let mut run = Run::begun();
    let names = ["/srv/a\n  process: {}\n# x", "/srv/\"quoted\\", "/srv/{a,b}*", "/srv/ä ö: #", "/srv/\u{202e}x", "/srv/y "];
    names.into_iter().for_each(|name| run.read(name));
    run.exec("/bin/app", "/srv/p\n- path: /bin/sh", false);
    run.take(
        "/bin/app",
        What::File { object: Object::Path(b"/srv/\xff".to_vec()), read: true, write: false, creates: false, removes: false },
    );
    let learned = run.suggest();
    for name in names {
        assert_eq!(read(&learned, name), ALLOW, "{name:?}");
    }
    assert_eq!(exec(&learned, "/bin/app", "/srv/p\n- path: /bin/sh", &[]), ALLOW);
    assert_eq!(exec(&learned, "/bin/app", "/bin/sh", &[]), BLOCK);
    // Policies are text: what is none is said to be missing.
    assert_eq!(learned.measures.uncovered, ["read /srv/\\xff"]);
    assert!(learned.policy.contains("# "), "{}", learned.policy);
}

#[test]
fn losses_and_newness_are_in_the_header() {
    let mut run = Run::begun();
    (0..100).for_each(|_| run.read("/srv/data"));
    let learned = run.suggest();
    assert_eq!(learned.measures.newness, Some((0, 33)));
    assert!(learned.policy.contains("lost      none"), "{}", learned.policy);
    run.0.lost(3);
    for name in ["/opt/a/x", "/opt/b/x", "/opt/b/x"] {
        run.read(name);
    }
    let learned = run.suggest();
    assert_eq!(learned.measures.newness, Some((3, 34)));
    assert!(learned.policy.contains("lost      3: THIS POLICY IS INCOMPLETE"), "{}", learned.policy);
    assert!(learned.policy.contains("8.8 % (3) were new"), "{}", learned.policy);
}

#[test]
fn the_same_observations_give_the_same_bytes_in_whatever_order_they_are_kept() {
    let mk = |names: &[&str]| {
        let mut run = Run::begun();
        names.iter().for_each(|name| run.read(name));
        run.suggest()
    };
    let learned = mk(&["/srv/a/1", "/srv/b/2", "/opt/x/3"]);
    for _ in 0..8 {
        assert_eq!(mk(&["/srv/a/1", "/srv/b/2", "/opt/x/3"]), learned);
    }
    assert_eq!(mk(&["/opt/x/3", "/srv/b/2", "/srv/a/1"]).policy, learned.policy);
}

#[test]
fn the_policy_reads_as_a_person_would_write_it() {
    let mut run = Run::begun();
    run.exec("/bin/app", "/bin/helper", false);
    for name in ["a", "b", "c"] {
        run.read(&format!("/etc/app/{name}"));
    }
    run.write("/run/app.pid");
    run.socket(Socket { family: 2, kind: 2, protocol: 1 });
    run.end(TCP, "bind", "0.0.0.0:80");
    run.end(UDP, "bind", "127.0.0.1:0");
    run.end(UDP, "connect", "127.0.0.1:40000");
    run.take("/bin/app", What::Capability(10));
    let learned = run.suggest();
    let body = learned.policy.split_once("apiVersion").unwrap().1;
    assert_eq!(
        body,
        "\
: security.kubearmor.com/v1
kind: KubeArmorPolicy
metadata:
  name: app
spec:
  selector:
    matchLabels:
      app: app
  severity: 5
  tags: [learned]
  message: not done by app while it was watched

  process:
    matchPaths:
    # once; the run begins with it
    - path: /bin/app
      action: Allow
    # once, by app
    - path: /bin/helper
      fromSource:
      - path: /bin/app
      action: Allow

  file:
    matchDirectories:
    # 3 files, 3 times, by app
    - dir: /etc/app/
      readOnly: true
      action: Allow
    matchPaths:
    # once, by app
    - path: /run/app.pid
      action: Allow

  network:
    matchProtocols:
    # once, by app
    - protocol: icmp
      action: Allow
    matchEndpoints:
    # once, by app
    - cidr: 0.0.0.0/32
      ports:
      - port: 80
      protocol: TCP
      direction: ingress
      action: Allow
    # once, by app
    # the kernel chose a port, so it has all that it chooses from
    - cidr: 127.0.0.1/32
      ports:
      - port: 32768
        endPort: 60999
      protocol: UDP
      direction: egress
      action: Allow
    # once, by app
    - cidr: 127.0.0.1/32
      ports:
      - port: 0
      protocol: UDP
      direction: ingress
      action: Allow

  capabilities:
    matchCapabilities:
    # once, by app
    - capability: net_bind_service
      action: Allow
"
    );
    let tests = learned.test_file("app.yaml");
    for line in [
        "- {exec: /bin/helper, from: /bin/app, expect: Allow}\n",
        "- {read: /etc/app/a, expect: Allow}\n",
        "- {write: /run/app.pid, expect: Allow}\n",
        "- {read: /etc/shadow, expect: Block}\n",
    ] {
        assert!(tests.contains(line), "{tests}");
    }
}
