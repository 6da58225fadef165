//! The policies: files of a directory and those that came by gRPC, each with its last good text kept.
//!
//! ```text
//! DIRECTORY/*.yaml         read again when they change; a bad file keeps what it said before
//! STATE/added/KEY.json     policies that came by gRPC, one a file
//! STATE/good/FILE          the last good text of each file of the directory, for a start after it went bad
//! ```
//! A file counts as a whole: where a part of it is invalid, or it cannot be read, all of its last good text holds. Files
//! that are being written are not read before they are closed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use palisade_policy::model::{Kind, Policy, PolicyKey};
use palisade_policy::{FILE_MAX_BYTES, Parsed, SourceFile, parse_in};
use thiserror::Error;

/// All of them.
#[derive(Debug)]
pub struct Policies {
    directory: Option<PathBuf>,
    state: PathBuf,
    /// The namespace of policies that name none.
    namespace: String,
    files: BTreeMap<String, PolicyFile>,
    added: BTreeMap<PolicyKey, Added>,
    /// Why the directory cannot be read.
    unreadable: Option<String>,
}

/// A file of the directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct PolicyFile {
    /// Its content as it was last read; `None` where it could not be.
    text: Option<String>,
    /// What holds of it: that of its last good text.
    policies: Vec<Policy>,
    /// What is wrong with it now; empty if nothing.
    problems: Vec<String>,
}

/// A policy that came by gRPC.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Added {
    policy: Policy,
    json: String,
}

/// What became of a policy that came by gRPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is new.
    Applied,
    /// It replaces the one of its key.
    Modified,
    /// It is gone.
    Deleted,
    /// There was none of this key.
    NotExist,
    /// It is not valid, for these reasons.
    Invalid(Vec<String>),
    /// Policies of its kind are not enforced.
    NotEnabled,
}

/// Why nothing became of it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PoliciesError {
    /// The state directory cannot be used.
    #[error("cannot {act} {}: {source}", path.display())]
    State {
        /// What was tried.
        act: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The key is that of a policy in the directory.
    #[error("{key} stands in {file}: change it there")]
    InFile {
        /// The key.
        key: PolicyKey,
        /// The file.
        file: String,
    },
    /// A policy in the state directory is not valid any more.
    #[error("the policy kept in {} cannot be used: {}", path.display(), problems.join("; "))]
    Kept {
        /// Where.
        path: PathBuf,
        /// Why not.
        problems: Vec<String>,
    },
}

/// What requests are called in problems.
const REQUEST: &str = "<gRPC>";

// === impl Policies ===

impl Policies {
    /// Reads what is kept in `state`, and the directory. Policies that name no namespace are of the one given.
    ///
    /// # Errors
    /// [`PoliciesError::State`] and [`PoliciesError::Kept`]. What is wrong with files of the directory is in
    /// [`Self::problems`].
    pub fn open(directory: Option<&Path>, state: &Path, namespace: &str) -> Result<Self, PoliciesError> {
        let mut policies = Self {
            directory: directory.map(Path::to_owned),
            state: state.to_owned(),
            namespace: namespace.to_owned(),
            files: BTreeMap::new(),
            added: BTreeMap::new(),
            unreadable: None,
        };
        for directory in [policies.good(), policies.kept()] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
            made.map_err(|source| PoliciesError::State { act: "make", path: directory, source })?;
        }
        policies.read_added()?;
        policies.read_good();
        policies.read_directory(&HashSet::new())?;
        Ok(policies)
    }

    /// All policies that hold, by key. Where a file's has the key of one that came by gRPC, the file's holds.
    #[must_use]
    pub fn all(&self) -> Vec<Policy> {
        let mut all: BTreeMap<&PolicyKey, &Policy> = self.added.iter().map(|(key, added)| (key, &added.policy)).collect();
        // Of several files with one key the last by name, as where they are given to `run`.
        all.extend(self.files.values().flat_map(|file| &file.policies).map(|policy| (&policy.key, policy)));
        all.into_values().filter(|policy| policy.key.kind != Kind::Host).cloned().collect()
    }

    /// What keeps a file, or a part of it, from being used.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.unreadable.iter().cloned().collect();
        problems.extend(self.files.values().flat_map(|file| file.problems.iter().cloned()));
        for (name, file) in &self.files {
            for policy in &file.policies {
                if policy.key.kind == Kind::Host {
                    problems.push(format!("{}: {}: the agent does not enforce host policies yet", policy.origin, policy.key));
                }
                if self.added.contains_key(&policy.key) {
                    problems.push(format!("{}: {name} holds, the policy of this key that came by gRPC does not", policy.key));
                }
            }
        }
        problems
    }

    /// Reads the directory again, all but the files that are being written. Returns whether anything differs.
    ///
    /// # Guarantees
    /// What cannot be read, or is not valid, keeps its last good text.
    ///
    /// # Errors
    /// [`PoliciesError::State`] if a good text cannot be kept; it holds all the same.
    pub fn read_directory(&mut self, writing: &HashSet<String>) -> Result<bool, PoliciesError> {
        let Some(directory) = self.directory.clone() else { return Ok(false) };
        let before = (self.files.clone(), self.unreadable.take());
        let names = match names_in(&directory) {
            Ok(names) => names,
            Err(error) => {
                self.unreadable = Some(format!("cannot list {}, what it held before holds: {error}", directory.display()));
                return Ok(before.1 != self.unreadable);
            }
        };
        let mut result = Ok(());
        for name in self.files.keys().cloned().collect::<Vec<_>>() {
            if !names.contains(&name) && !writing.contains(&name) {
                self.files.remove(&name);
                result = result.and(remove(&self.good().join(&name)));
            }
        }
        for name in names.into_iter().filter(|name| !writing.contains(name)) {
            result = result.and(self.read_file(&directory, &name));
        }
        result.map(|()| before != (self.files.clone(), self.unreadable.clone()))
    }

    fn read_file(&mut self, directory: &Path, name: &str) -> Result<(), PoliciesError> {
        let path = directory.join(name);
        let file = self.files.entry(name.to_owned()).or_default();
        let text = match read_text(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()), // its going is about to be told
            Err(error) => {
                let kept = kept_text(file);
                file.problems = vec![format!("{}: cannot be read{kept}: {error}", path.display())];
                file.text = None;
                return Ok(());
            }
        };
        if file.text.as_ref() == Some(&text) {
            return Ok(());
        }
        let Parsed { policies, problems, notes: _ } = parse(&path.to_string_lossy(), &text, &self.namespace);
        if problems.is_empty() {
            (file.policies, file.problems) = (policies, Vec::new());
        } else {
            let kept = kept_text(file);
            file.problems = problems.iter().map(|problem| format!("{problem}{kept}")).collect();
        }
        file.text = Some(text.clone());
        if problems.is_empty() { write(&self.good().join(name), &text) } else { Ok(()) }
    }

    /// Adds a policy, or takes one away, as KubeArmor's clients ask for it: `{"type": ..., "object": ...}`.
    ///
    /// # Errors
    /// [`PoliciesError::InFile`], and [`PoliciesError::State`]; then nothing is changed.
    pub fn request(&mut self, kind: Kind, json: &[u8]) -> Result<Outcome, PoliciesError> {
        if kind == Kind::Host {
            return Ok(Outcome::NotEnabled);
        }
        let (change, object) = match split(json) {
            Ok(split) => split,
            Err(problem) => return Ok(Outcome::Invalid(vec![problem])),
        };
        let Parsed { mut policies, problems, notes: _ } = parse(REQUEST, &object, &self.namespace);
        let policy = match (policies.pop(), policies.is_empty(), problems.is_empty()) {
            (Some(policy), true, true) if policy.key.kind != Kind::Host => policy,
            (Some(_), true, true) => return Ok(Outcome::NotEnabled),
            (Some(_), false, true) => return Ok(Outcome::Invalid(vec!["more than one policy in a request".to_owned()])),
            (_, _, _) => return Ok(Outcome::Invalid(problems.iter().map(ToString::to_string).collect())),
        };
        if let Some((file, _)) = self.files.iter().find(|(_, file)| file.policies.iter().any(|p| p.key == policy.key)) {
            return Err(PoliciesError::InFile { key: policy.key, file: file.clone() });
        }
        let path = self.kept().join(file_name(&policy.key));
        match change {
            Change::Delete if self.added.contains_key(&policy.key) => {
                remove(&path)?;
                self.added.remove(&policy.key);
                Ok(Outcome::Deleted)
            }
            Change::Delete => Ok(Outcome::NotExist),
            Change::Add => {
                write(&path, &object)?;
                let before = self.added.insert(policy.key.clone(), Added { policy, json: object });
                Ok(if before.is_some() { Outcome::Modified } else { Outcome::Applied })
            }
        }
    }

    /// The JSON of a policy that came by gRPC.
    #[must_use]
    pub fn json_of(&self, key: &PolicyKey) -> Option<&str> {
        self.added.get(key).map(|added| added.json.as_str())
    }

    fn read_added(&mut self) -> Result<(), PoliciesError> {
        let kept = self.kept();
        let failed = |source| PoliciesError::State { act: "list", path: kept.clone(), source };
        for name in names_in(&kept).map_err(failed)? {
            let path = kept.join(&name);
            let json = read_text(&path).map_err(|source| PoliciesError::State { act: "read", path: path.clone(), source })?;
            let Parsed { policies, problems, notes: _ } = parse(REQUEST, &json, &self.namespace);
            if !problems.is_empty() {
                return Err(PoliciesError::Kept { path, problems: problems.iter().map(ToString::to_string).collect() });
            }
            let added = policies.into_iter().map(|policy| (policy.key.clone(), Added { policy, json: json.clone() }));
            self.added.extend(added);
        }
        Ok(())
    }

    /// What files said when they were last good. A text that is not good any more (of another version) says nothing.
    fn read_good(&mut self) {
        let Some(directory) = &self.directory else { return };
        for name in names_in(&self.good()).unwrap_or_default() {
            let Ok(text) = read_text(&self.good().join(&name)) else { continue };
            let Parsed { policies, problems, notes: _ } = parse(&directory.join(&name).to_string_lossy(), &text, &self.namespace);
            if problems.is_empty() {
                self.files.insert(name, PolicyFile { text: None, policies, problems: Vec::new() });
            }
        }
    }

    fn good(&self) -> PathBuf {
        self.state.join("good")
    }

    fn kept(&self) -> PathBuf {
        self.state.join("added")
    }
}

/// What a request wants.
enum Change {
    Add,
    Delete,
}

/// `{"type": ..., "object": ...}`, the object as text again: it is checked as any policy is.
fn split(json: &[u8]) -> Result<(Change, String), String> {
    #[derive(serde::Deserialize)]
    struct Request {
        r#type: String,
        object: serde_json::Map<String, serde_json::Value>,
    }
    let Request { r#type, mut object } = serde_json::from_slice(json).map_err(|error| format!("{REQUEST}: {error}"))?;
    let change = match r#type.as_str() {
        "ADDED" | "MODIFIED" => Change::Add,
        "DELETED" => Change::Delete,
        other => return Err(format!("{REQUEST}: type: {other:?} is none of ADDED, MODIFIED, DELETED")),
    };
    // Optional there.
    object.entry("apiVersion").or_insert_with(|| palisade_policy::API_VERSION.into());
    object.entry("kind").or_insert_with(|| Kind::Namespaced.resource().into());
    let text = serde_json::to_string_pretty(&object).map_err(|error| format!("{REQUEST}: {error}"))?;
    Ok((change, text))
}

fn parse(name: &str, text: &str, namespace: &str) -> Parsed {
    parse_in(&[SourceFile { name: Arc::from(name), text }], namespace)
}

/// How a problem ends where something held before.
fn kept_text(file: &PolicyFile) -> &'static str {
    if file.policies.is_empty() { "" } else { " (what the file said before holds)" }
}

/// A name for the file of a key: what could lead elsewhere is written in hexadecimal.
fn file_name(key: &PolicyKey) -> String {
    let PolicyKey { kind, namespace, name } = key;
    let plain = |text: &str| {
        let byte = |b: u8| if b.is_ascii_alphanumeric() || b == b'-' { char::from(b).to_string() } else { format!("%{b:02x}") };
        text.bytes().map(byte).collect::<String>()
    };
    format!("{}.{}.{}.yaml", kind.resource(), plain(namespace), plain(name))
}

/// The names of the YAML files of a directory. Test files and hidden ones are none.
fn names_in(directory: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(directory)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        let is_yaml = name.ends_with(".yaml") || name.ends_with(".yml");
        if is_yaml && !name.ends_with(".test.yaml") && !name.starts_with('.') {
            names.insert(name);
        }
    }
    Ok(names)
}

/// At most [`FILE_MAX_BYTES`] of UTF-8.
fn read_text(path: &Path) -> io::Result<String> {
    let most = u64::try_from(FILE_MAX_BYTES).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > FILE_MAX_BYTES {
        return Err(io::Error::other(format!("longer than {FILE_MAX_BYTES} bytes")));
    }
    String::from_utf8(bytes)
        .map_err(|error| io::Error::other(format!("not UTF-8 from byte {} on", error.utf8_error().valid_up_to())))
}

/// Writes beside and renames: whoever starts after a crash finds the old or the new.
fn write(path: &Path, text: &str) -> Result<(), PoliciesError> {
    let beside = path.with_extension("new");
    let failed = |source| PoliciesError::State { act: "write", path: path.to_owned(), source };
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside);
    file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all())).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)
}

fn remove(path: &Path) -> Result<(), PoliciesError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(PoliciesError::State { act: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_policy(name: &str, path: &str) -> String {
        format!(
            "apiVersion: security.kubearmor.com/v1\nkind: KubeArmorPolicy\nmetadata: {{name: {name}}}\n\
             spec: {{selector: {{matchLabels: {{a: b}}}}, action: Block, file: {{matchPaths: [{{path: {path}}}]}}}}\n"
        )
    }

    struct Scene {
        root: tempfile::TempDir,
        policies: Policies,
    }

    impl Scene {
        fn new(files: &[(&str, &str)]) -> Self {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join("policies")).unwrap();
            for (name, text) in files {
                fs::write(root.path().join("policies").join(name), text).unwrap();
            }
            let policies = Self::open(&root);
            Self { root, policies }
        }

        fn open(root: &tempfile::TempDir) -> Policies {
            Policies::open(Some(&root.path().join("policies")), &root.path().join("state"), "ns").unwrap()
        }

        fn restart(&mut self) {
            self.policies = Self::open(&self.root);
        }

        fn write(&mut self, name: &str, text: &str) -> bool {
            fs::write(self.root.path().join("policies").join(name), text).unwrap();
            self.policies.read_directory(&HashSet::new()).unwrap()
        }

        fn names(&self) -> Vec<String> {
            self.policies.all().into_iter().map(|policy| format!("{}/{}", policy.key.namespace, policy.key.name)).collect()
        }
    }

    #[test]
    fn a_bad_file_keeps_what_it_said_and_its_neighbours_change() {
        let mut scene = Scene::new(&[("a.yaml", &mk_policy("a", "/a")), ("b.yaml", &mk_policy("b", "/b")), ("c.txt", "no")]);
        assert_eq!(scene.names(), ["ns/a", "ns/b"]);
        assert!(scene.write("a.yaml", &mk_policy("a", "relative")));
        assert!(scene.write("b.yaml", &mk_policy("b2", "/b")));
        assert_eq!(scene.names(), ["ns/a", "ns/b2"]);
        let problems = scene.policies.problems();
        assert_eq!(problems.len(), 1);
        let (place, rest) = problems[0].split_once(": error: ").unwrap();
        assert!(place.ends_with("a.yaml:4:88") || place.contains("a.yaml:4:"), "{place}");
        assert!(
            rest.starts_with("spec.file.matchPaths[0].path: ") && rest.ends_with("(what the file said before holds)"),
            "{rest}"
        );
        assert!(scene.write("a.yaml", &mk_policy("a3", "/a")));
        assert_eq!(scene.policies.problems(), [""; 0]);
        assert_eq!(scene.names(), ["ns/a3", "ns/b2"]);
        assert!(!scene.write("a.yaml", &mk_policy("a3", "/a")), "nothing differs");
    }

    #[test]
    fn a_file_that_is_bad_at_a_start_says_what_it_said_before_it() {
        let mut scene = Scene::new(&[("a.yaml", &mk_policy("a", "/a")), ("b.yaml", &mk_policy("b", "/b"))]);
        fs::write(scene.root.path().join("policies/a.yaml"), "kind: [").unwrap();
        fs::remove_file(scene.root.path().join("policies/b.yaml")).unwrap();
        scene.restart();
        assert_eq!(scene.names(), ["ns/a"]);
        assert_eq!(scene.policies.problems().len(), 1);
        fs::remove_file(scene.root.path().join("policies/a.yaml")).unwrap();
        scene.restart();
        assert_eq!(scene.names(), [""; 0]);
        assert_eq!(scene.policies.problems(), [""; 0]);
    }

    #[test]
    fn a_file_that_is_being_written_is_left_as_it_was() {
        let mut scene = Scene::new(&[("a.yaml", &mk_policy("a", "/a"))]);
        fs::write(scene.root.path().join("policies/a.yaml"), "").unwrap();
        assert!(!scene.policies.read_directory(&HashSet::from(["a.yaml".to_owned()])).unwrap());
        assert_eq!(scene.names(), ["ns/a"]);
        assert!(scene.policies.read_directory(&HashSet::new()).unwrap());
        assert_eq!(scene.names(), [""; 0]);
    }

    #[test]
    fn a_directory_that_is_gone_keeps_everything() {
        let mut scene = Scene::new(&[("a.yaml", &mk_policy("a", "/a"))]);
        fs::rename(scene.root.path().join("policies"), scene.root.path().join("elsewhere")).unwrap();
        assert!(scene.policies.read_directory(&HashSet::new()).unwrap(), "it is said");
        assert_eq!(scene.names(), ["ns/a"]);
        assert!(scene.policies.problems()[0].starts_with("cannot list "), "{:?}", scene.policies.problems());
    }

    fn request(change: &str, name: &str) -> Vec<u8> {
        let spec = r#"{"selector":{"matchLabels":{"a":"b"}},"action":"Block","file":{"matchPaths":[{"path":"/x"}]}}"#;
        format!(r#"{{"type":"{change}","object":{{"metadata":{{"name":"{name}"}},"spec":{spec}}}}}"#).into_bytes()
    }

    #[test]
    fn policies_come_and_go_by_request_and_outlive_a_restart() {
        let mut scene = Scene::new(&[("a.yaml", &mk_policy("a", "/a"))]);
        let of = |scene: &mut Scene, change, name| scene.policies.request(Kind::Namespaced, &request(change, name)).unwrap();
        assert_eq!(of(&mut scene, "ADDED", "x"), Outcome::Applied);
        assert_eq!(of(&mut scene, "ADDED", "x"), Outcome::Modified);
        assert_eq!(of(&mut scene, "DELETED", "y"), Outcome::NotExist);
        scene.restart();
        assert_eq!(scene.names(), ["ns/a", "ns/x"]);
        let key = PolicyKey { kind: Kind::Namespaced, namespace: "ns".to_owned(), name: "x".to_owned() };
        assert!(scene.policies.json_of(&key).unwrap().contains("matchPaths"));
        assert_eq!(of(&mut scene, "DELETED", "x"), Outcome::Deleted);
        scene.restart();
        assert_eq!(scene.names(), ["ns/a"]);
    }

    #[test]
    fn a_request_that_cannot_be_met_says_why_and_changes_nothing() {
        let mut scene = Scene::new(&[("a.yaml", &mk_policy("a", "/a"))]);
        let error = scene.policies.request(Kind::Namespaced, &request("ADDED", "a")).unwrap_err();
        assert_eq!(error.to_string(), "KubeArmorPolicy ns/a stands in a.yaml: change it there");
        for (json, expected) in [
            (&b"no"[..], "<gRPC>: expected"),
            (br#"{"type":"CHANGED","object":{}}"#, "<gRPC>: type: \"CHANGED\" is none of"),
            (br#"{"type":"ADDED","object":{"metadata":{"name":""},"spec":{}}}"#, "<gRPC>:"),
            (br#"{"type":"ADDED","object":{"metadata":{"name":"b"},"spec":{"file":1}}}"#, "<gRPC>:"),
        ] {
            let Outcome::Invalid(problems) = scene.policies.request(Kind::Namespaced, json).unwrap() else { panic!("{json:?}") };
            assert!(problems[0].starts_with(expected), "{problems:?}");
        }
        assert_eq!(scene.policies.request(Kind::Host, &request("ADDED", "h")).unwrap(), Outcome::NotEnabled);
        assert_eq!(scene.names(), ["ns/a"]);
    }

    #[test]
    fn no_name_of_a_policy_leads_out_of_the_state_directory() {
        let key = PolicyKey { kind: Kind::Namespaced, namespace: "..".to_owned(), name: "../x/.".to_owned() };
        assert_eq!(file_name(&key), "KubeArmorPolicy.%2e%2e.%2e%2e%2fx%2f%2e.yaml");
    }
}
