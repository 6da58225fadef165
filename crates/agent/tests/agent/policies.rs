//! What becomes of policies and workloads that come, change and go.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::thread;
use std::time::Duration;

use palisade_agent::workload::Change;

use crate::scene::{Scene, Setting, mk_policy, wait};

#[test]
fn a_unit_is_under_the_policies_that_select_it_and_under_none_once_they_are_gone() {
    let scene = Scene::new(Setting::default(), &[("a.yaml", &mk_policy("a", "/secret"))]);
    scene.unit("web.service");
    scene.unit("other.service");
    scene.tell(Change::Listed);
    scene.wait_for("web.service", &["a"]);
    scene.wait_for("other.service", &[]);
    scene.policy("b.yaml", &mk_policy("b", "/other"));
    scene.wait_for("web.service", &["a", "b"]);
    fs::remove_file(scene.path("policies/a.yaml")).unwrap();
    fs::remove_file(scene.path("policies/b.yaml")).unwrap();
    let (_, held) = scene.wait_for("web.service", &[]);
    assert_eq!(scene.kernel.of("other.service").unwrap().1.tables.len(), 1, "nothing changed for it");
    let generations: Vec<u64> = held.tables.iter().map(|(_, generation)| *generation).collect();
    assert!(generations.is_sorted_by(|a, b| a < b), "{generations:?}");
    scene.stop();
}

/// Every table that was ever in force is one of the sets of policies that the directory held at some moment.
#[test]
fn a_change_of_many_policies_in_one_file_is_one_step() {
    let set = |n: usize| {
        let names: Vec<String> = (0..20).map(|i| format!("p{n:03}-{i:02}")).collect();
        let text: Vec<String> = names.iter().map(|name| mk_policy(name, &format!("/secret/{name}"))).collect();
        (names, text.join("---\n"))
    };
    let scene = Scene::new(Setting::default(), &[("all.yaml", &set(0).1)]);
    scene.unit("web.service");
    scene.tell(Change::Listed);
    for n in 1..40 {
        scene.policy("all.yaml", &set(n).1);
        thread::sleep(Duration::from_millis(10 * (n as u64 % 4)));
    }
    let last = set(39).0;
    let (_, held) = scene.wait_for("web.service", &last.iter().map(String::as_str).collect::<Vec<_>>());
    let possible: BTreeSet<Vec<String>> = (0..40).map(|n| set(n).0).collect();
    assert!(held.tables.len() > 2, "{} tables: the changes were not followed", held.tables.len());
    for (names, generation) in &held.tables {
        assert!(possible.contains(names), "generation {generation} mixes {names:?}");
    }
    scene.stop();
}

#[test]
fn a_file_is_not_used_before_whoever_writes_it_has_closed_it() {
    let scene = Scene::new(Setting::default(), &[("a.yaml", &mk_policy("a", "/secret"))]);
    scene.unit("web.service");
    scene.tell(Change::Listed);
    scene.wait_for("web.service", &["a"]);
    // In place: truncated, written in two parts, another file changed in between.
    let text = format!("{}---\n{}", mk_policy("a", "/secret"), mk_policy("a2", "/secret2"));
    let (first, second) = text.split_at(text.find("---").unwrap());
    let mut file = File::create(scene.path("policies/a.yaml")).unwrap();
    file.write_all(first.as_bytes()).unwrap();
    scene.policy("b.yaml", &mk_policy("b", "/other"));
    scene.wait_for("web.service", &["a", "b"]);
    file.write_all(second.as_bytes()).unwrap();
    drop(file);
    let (_, held) = scene.wait_for("web.service", &["a", "a2", "b"]);
    let names: Vec<Vec<&str>> = held.tables.iter().map(|(names, _)| names.iter().map(String::as_str).collect()).collect();
    assert_eq!(names, [vec!["a"], vec!["a", "b"], vec!["a", "a2", "b"]]);
    scene.stop();
}

#[test]
fn a_bad_file_keeps_what_it_said_and_says_why_while_its_neighbours_change() {
    let scene = Scene::new(Setting::default(), &[("a.yaml", &mk_policy("a", "/secret")), ("b.yaml", &mk_policy("b", "/other"))]);
    scene.unit("web.service");
    scene.tell(Change::Listed);
    scene.wait_for("web.service", &["a", "b"]);
    scene.policy("a.yaml", &mk_policy("a", "relative"));
    let problems = wait("a problem", || Some(scene.status.get().problems.clone()).filter(|problems| !problems.is_empty()));
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains("policies/a.yaml:8:"), "{problems:?}");
    assert!(problems[0].contains("error: spec.file.matchPaths[0].path: "), "{problems:?}");
    assert!(problems[0].ends_with("(what the file said before holds)"), "{problems:?}");
    scene.policy("b.yaml", &mk_policy("b2", "/other"));
    scene.wait_for("web.service", &["a", "b2"]);
    // The next agent finds it as bad, and knows what it said.
    let scene = scene.restart();
    scene.unit("web.service");
    scene.tell(Change::Listed);
    scene.policy("c.yaml", &mk_policy("c", "/third"));
    let (_, held) = scene.wait_for("web.service", &["a", "b2", "c"]);
    assert!(held.tables.iter().skip(1).all(|(names, _)| names.contains(&"a".to_owned())), "{:?}", held.tables);
    scene.stop();
}

#[test]
fn the_next_agent_takes_over_what_it_finds_protected() {
    let scene = Scene::new(Setting::default(), &[("a.yaml", &mk_policy("a", "/secret"))]);
    scene.unit("web.service");
    scene.tell(Change::Listed);
    let (label, _) = scene.wait_for("web.service", &["a"]);
    let scene = scene.restart();
    scene.unit("web.service");
    // Until all units are known nothing changes of what holds.
    thread::sleep(Duration::from_millis(100));
    assert_eq!(scene.kernel.held(label).tables.len(), 1);
    scene.tell(Change::Listed);
    wait("the next agent's table", || Some(()).filter(|()| scene.kernel.held(label).tables.len() == 2));
    let (same, held) = scene.wait_for("web.service", &["a"]);
    assert_eq!(same, label);
    assert!(held.tables[1].1 > held.tables[0].1, "{:?}", held.tables);
    scene.stop();
}

#[test]
fn a_unit_that_ends_is_let_go_and_one_of_its_name_is_protected_anew() {
    let scene = Scene::new(Setting::default(), &[("a.yaml", &mk_policy("a", "/secret"))]);
    let first = scene.unit("web.service");
    scene.tell(Change::Listed);
    let (label, _) = scene.wait_for("web.service", &["a"]);
    fs::rename(scene.path("cgroups/web.service"), scene.path("cgroups/old")).unwrap();
    scene.tell(Change::Gone(first.id.clone()));
    wait("it to be let go", || Some(()).filter(|()| !scene.kernel.held(label).is_there));
    let second = scene.unit("web.service");
    assert_ne!(first.id, second.id);
    let (other, _) = scene.wait_for("web.service", &["a"]);
    assert_ne!(label, other);
    assert_eq!(scene.status.get().workloads.len(), 1);
    scene.stop();
}

#[test]
fn a_table_that_is_refused_leaves_the_one_in_force_and_hinders_no_other_unit() {
    let scene = Scene::new(Setting { refuses: 2, ..Setting::default() }, &[("a.yaml", &mk_policy("a", "/secret"))]);
    scene.unit("web.service");
    scene.unit("app.service");
    scene.tell(Change::Listed);
    scene.wait_for("web.service", &["a"]);
    let of_app = mk_policy("b", "/other").replace("web.service", "app.service");
    scene.policy("b.yaml", &format!("{}---\n{of_app}", mk_policy("c", "/third")));
    scene.wait_for("app.service", &["b"]);
    let find = |name: &str| scene.status.get().workloads.iter().find(|workload| workload.name == name).cloned();
    let web = wait("a problem", || find("web.service").filter(|workload| workload.problem.is_some()));
    assert_eq!(web.problem.as_deref(), Some("tables of 2 policies are refused; what was in force stays"));
    assert_eq!(web.policies.len(), 1);
    assert_eq!(find("app.service").unwrap().problem, None);
    fs::remove_file(scene.path("policies/b.yaml")).unwrap();
    wait("the problem to end", || find("web.service").filter(|workload| workload.problem.is_none()));
    scene.stop();
}
