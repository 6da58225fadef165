//! Sockets and the ends of connections.

use crate::*;

#[test]
fn sockets_become_the_narrowest_word_and_a_family_without_one_names_its_program() {
    let mut run = Run::begun();
    run.socket(Socket { family: 2, kind: 2, protocol: 1 });
    run.socket(Socket { family: 1, kind: 1, protocol: 0 }); // AF_UNIX: no rule reaches it
    let learned = run.suggest();
    assert!(learned.policy.contains("- protocol: icmp\n") && !learned.policy.contains("protocol: all"), "{}", learned.policy);
    run.socket(ALG);
    let learned = run.suggest();
    assert!(learned.policy.contains("- protocol: all\n      fromSource:\n      - path: /bin/app\n"), "{}", learned.policy);
    let alg = Operation::Socket { socket: ALG, end: None };
    assert_eq!(verdict(&learned, program("/bin/app"), alg.clone()), ALLOW);
    assert_eq!(verdict(&learned, program("/bin/other"), alg), BLOCK);
}

#[test]
fn ends_of_connections_are_allowed_by_address_and_port_and_nothing_beside_them() {
    let mut run = Run::begun();
    run.socket(TCP);
    run.end(TCP, "connect", "10.0.0.5:5432");
    run.end(TCP, "connect", "10.0.0.5:5433");
    run.end(TCP6, "connect", "[fd00::5]:443");
    run.end(TCP6, "connect", "[::ffff:10.0.0.6]:80"); // by its IPv4 address
    run.end(TCP, "bind", "0.0.0.0:8080");
    run.end(TCP, "listen", "0.0.0.0:8080");
    run.end(UDP, "connect", "10.0.0.53:53");
    let learned = run.suggest();
    assert_eq!(learned.measures.uncovered, Vec::<String>::new());
    assert_eq!(verdict(&learned, program("/bin/app"), Operation::Socket { socket: TCP, end: None }), ALLOW);
    for (socket, done, place, expected) in [
        (TCP, "connect", "10.0.0.5:5432", ALLOW),
        (TCP, "connect", "10.0.0.5:5433", ALLOW),
        (TCP, "connect", "10.0.0.5:5434", BLOCK),
        (TCP, "connect", "10.0.0.4:5432", BLOCK),
        (UDP, "connect", "10.0.0.5:5432", BLOCK),
        (TCP6, "connect", "[fd00::5]:443", ALLOW),
        (TCP6, "connect", "[fd00::6]:443", BLOCK),
        (TCP, "connect", "10.0.0.6:80", ALLOW),
        (TCP, "bind", "0.0.0.0:8080", ALLOW),
        (TCP, "bind", "0.0.0.0:8081", BLOCK),
        (TCP, "bind", "10.0.0.5:5432", BLOCK),
        (TCP, "connect", "0.0.0.0:8080", BLOCK),
        (UDP, "connect", "10.0.0.53:53", ALLOW),
    ] {
        assert_eq!(end(&learned, socket, done, place), expected, "{done} {place}\n{}", learned.policy);
    }
    let ports = "    - cidr: 10.0.0.5/32\n      ports:\n      - port: 5432\n        endPort: 5433\n      protocol: TCP\n      \
                 direction: egress\n      action: Allow\n";
    assert!(learned.policy.contains(ports), "{}", learned.policy);
    let tests = learned.test_file("app.yaml");
    for line in [
        "- {connect: \"tcp/[fd00::5]:443\", expect: Allow}\n",
        "- {bind: \"tcp/0.0.0.0:8080\", expect: Allow}\n",
        "- {connect: \"tcp/203.0.113.7:4444\", expect: Block}\n",
    ] {
        assert!(tests.contains(line), "{tests}");
    }
}

#[test]
fn a_port_that_the_kernel_chose_is_left_to_it_and_one_that_the_program_chose_is_not() {
    let mut run = Run::begun();
    run.end(TCP, "bind", "127.0.0.1:0");
    run.end(TCP, "listen", "127.0.0.1:41234");
    run.end(TCP, "connect", "127.0.0.1:41234");
    run.end(TCP, "connect", "10.0.0.5:41234"); // not a port of this run
    run.end(TCP, "bind", "127.0.0.1:50000");
    run.end(TCP, "listen", "127.0.0.1:50000");
    let learned = run.suggest();
    for (done, place, expected) in [
        ("listen", "127.0.0.1:55555", ALLOW),
        ("connect", "127.0.0.1:55555", ALLOW),
        ("connect", "127.0.0.1:8080", BLOCK),
        ("connect", "10.0.0.5:41234", ALLOW),
        ("connect", "10.0.0.5:41235", BLOCK),
        ("listen", "0.0.0.0:55555", BLOCK),
    ] {
        assert_eq!(end(&learned, TCP, done, place), expected, "{done} {place}\n{}", learned.policy);
    }
    // Without a port that was left to the kernel, each is one that somebody chose.
    let mut run = Run::begun();
    run.end(TCP, "bind", "127.0.0.1:50000");
    run.end(TCP, "listen", "127.0.0.1:50000");
    run.end(TCP, "connect", "127.0.0.1:50000");
    let learned = run.suggest();
    assert_eq!(end(&learned, TCP, "listen", "127.0.0.1:50001"), BLOCK);
    assert_eq!(end(&learned, TCP, "connect", "127.0.0.1:50001"), BLOCK);
}

#[test]
fn who_answers_datagrams_answers_to_any_port_that_a_kernel_chooses_at_the_addresses_that_were_met() {
    let mut run = Run::begun();
    run.end(UDP, "bind", "0.0.0.0:53");
    run.end(UDP, "connect", "10.0.0.9:40123");
    let learned = run.suggest();
    assert_eq!(end(&learned, UDP, "connect", "10.0.0.9:51234"), ALLOW);
    assert_eq!(end(&learned, UDP, "connect", "10.0.0.9:53"), BLOCK);
    assert_eq!(end(&learned, UDP, "connect", "10.0.0.8:40123"), BLOCK);
}

#[test]
fn a_socket_that_is_made_and_left_alone_opens_no_end() {
    let mut run = Run::begun();
    run.socket(UDP);
    let learned = run.suggest();
    assert_eq!(verdict(&learned, program("/bin/app"), Operation::Socket { socket: UDP, end: None }), ALLOW);
    assert_eq!(verdict(&learned, program("/bin/app"), Operation::Socket { socket: TCP, end: None }), BLOCK);
    assert_eq!(end(&learned, UDP, "connect", "10.0.0.53:53"), BLOCK);
    assert_eq!(end(&learned, UDP, "bind", "0.0.0.0:53"), BLOCK);
}

#[test]
fn a_bind_to_every_address_of_ipv6_alone_makes_no_test_of_ipv4() {
    let mut run = Run::begun();
    run.end(TCP6, "bind", "[::]:80");
    let learned = run.suggest();
    assert_eq!(end(&learned, TCP6, "bind", "[::]:80"), ALLOW);
    assert!(!learned.test_file("app.yaml").contains("bind:"), "{}", learned.test_file("app.yaml"));
    run.end(TCP6, "bind", "0.0.0.0:80");
    assert!(run.suggest().test_file("app.yaml").contains("- {bind: \"tcp/[::]:80\", expect: Allow}\n"));
}
