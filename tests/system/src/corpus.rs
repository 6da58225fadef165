//! The decisions corpus: what a case says, how it is loaded, and what is checked before anything runs it.
//!
//! One file of `testdata/decisions` is a list of cases of one area:
//!
//! ```toml
//! [[case]]
//! name = "an exact path Block denies that program and no other"
//! meaning = ["3.2", "4.2"]
//! spec = "process: {matchPaths: [{path: /t/tool, action: Block}]}"
//!
//! [[case.access]]
//! op = "exec"
//! path = "/t/tool"
//! verdict = "Block"
//! rule = "p:process.matchPaths[0]"
//! ```
//!
//! `spec` is short for one `KubeArmorPolicy` named `p` in the workload's namespace with an empty selector, `specs` for
//! several by name, `cluster_specs` and `host_specs` for the other kinds; `policy` is whole documents, `policies` names
//! files beside the corpus. Every access is judged by itself, in the tree as the
//! case describes it: a runner restores what an earlier access changed.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::op::{Errno, Op};

/// All files of the corpus, by name without `.toml`.
#[derive(Debug)]
pub struct Corpus {
    /// Where it was loaded from.
    pub dir: PathBuf,
    /// The files in order of their names.
    pub files: BTreeMap<String, Vec<Case>>,
}

/// One file as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    case: Vec<Case>,
}

/// Policies, a workload and its tree, and what becomes of some accesses.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// A sentence; unique in its file.
    pub name: String,
    /// The clauses of the meaning of policies that decide it, as `3.2` or `5.network`.
    pub meaning: Vec<String>,
    /// The body of `spec:` of a `KubeArmorPolicy` named `p` that selects everything in the workload's namespace.
    #[serde(default)]
    pub spec: Option<String>,
    /// The same for several policies, by name.
    #[serde(default)]
    pub specs: BTreeMap<String, String>,
    /// The same for cluster policies.
    #[serde(default)]
    pub cluster_specs: BTreeMap<String, String>,
    /// The same for host policies, which select every node.
    #[serde(default)]
    pub host_specs: BTreeMap<String, String>,
    /// Whole policy documents.
    #[serde(default)]
    pub policy: Option<String>,
    /// Policy files, relative to the corpus.
    #[serde(default)]
    pub policies: Vec<String>,
    /// Whose accesses they are.
    #[serde(default)]
    pub workload: WorkloadCase,
    /// The file tree around them.
    #[serde(default)]
    pub tree: TreeCase,
    /// The accesses.
    pub access: Vec<AccessCase>,
    /// For each back end that cannot run or differs: why, and what it does. Holds for all accesses without their own.
    #[serde(default)]
    pub exclude: BTreeMap<String, Exclusion>,
    /// Where the law leaves room: which reading was taken and why.
    #[serde(default)]
    pub note: Option<String>,
}

/// The workload of a case; what is absent is at its default.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkloadCase {
    /// `workload` or `host`.
    pub scope: ScopeCase,
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its container's name.
    pub container: Option<String>,
    /// Its node's name.
    pub hostname: String,
    /// Take every policy of the right kind, as `palisade run` without labels does.
    pub ignore_selectors: bool,
    /// `enforce` or `audit`.
    pub mode: ModeCase,
    /// The postures; a class that is absent has the default of the scope.
    pub postures: PosturesCase,
    /// Whether the base set is asked.
    pub base_set: bool,
    /// Whether `mount-integrity` is lifted.
    pub allow_mounts: bool,
    /// Names of multi-call binaries beside the three known ones.
    pub multi_call: Vec<String>,
    /// A file that the runtime passed as descriptor 2.
    pub stdio: Option<StdioCase>,
}

/// A file behind a descriptor that the runtime passed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StdioCase {
    /// Its path.
    pub path: String,
    /// The descriptor can be read.
    #[serde(default)]
    pub readable: bool,
    /// The descriptor can be written.
    #[serde(default)]
    pub writable: bool,
}

/// What kind of task acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScopeCase {
    /// A workload.
    #[default]
    Workload,
    /// The rest of the node.
    Host,
}

/// Whether verdicts deny.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModeCase {
    /// They do.
    #[default]
    Enforce,
    /// Nothing is denied. The verdicts of the case are those that events report.
    Audit,
}

/// The postures that a case sets.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PosturesCase {
    /// Of files and programs.
    pub file: Option<PostureCase>,
    /// Of sockets.
    pub network: Option<PostureCase>,
    /// Of capabilities.
    pub capability: Option<PostureCase>,
}

/// One posture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PostureCase {
    /// Denied and reported.
    Block,
    /// Passes and is reported.
    Audit,
}

/// What is in the root beside the acting programs and what the accesses imply.
///
/// The runner makes by itself: every acting program; for each access what its call needs (a file to open, a program
/// to execute, a socket to connect to, a parent directory); `/proc`, `/dev/pts` and the usual device nodes. Everything
/// is writable to everybody unless `modes` says otherwise, and belongs to root unless `owners` says otherwise.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TreeCase {
    /// Symbolic links: name to target text.
    pub links: BTreeMap<String, String>,
    /// Symbolic links made after the workload's first instruction; an Allow follows none of them.
    pub late_links: BTreeMap<String, String>,
    /// Hard links: new name to existing name.
    pub hardlinks: BTreeMap<String, String>,
    /// Directories.
    pub dirs: Vec<String>,
    /// Regular files: name to content.
    pub files: BTreeMap<String, String>,
    /// Executable text files, beginning with `#!`.
    pub scripts: BTreeMap<String, String>,
    /// What `deep_exec` executes at the end of its chain of directories, by the directory: text that begins with `#!`;
    /// a program where it is not here.
    pub deep_scripts: BTreeMap<String, String>,
    /// Programs (copies of the probe).
    pub programs: Vec<String>,
    /// Dynamically linked programs; their ELF interpreter is `/lib/ld-probe.so.1`.
    pub dynamic: Vec<String>,
    /// Owners, by path.
    pub owners: BTreeMap<String, u32>,
    /// Permission bits in octal, by path.
    pub modes: BTreeMap<String, String>,
    /// Mounts beside the root's.
    pub mounts: Vec<MountCase>,
    /// Block device nodes (7:0, a loop device).
    pub block_devices: Vec<String>,
}

/// A mount in the root, made by the runner before the workload starts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountCase {
    /// The mount point.
    pub at: String,
    /// A directory of the root to bind; a new tmpfs where absent.
    #[serde(default)]
    pub from: Option<String>,
    /// Whether it is read-only.
    #[serde(default)]
    pub read_only: bool,
}

/// One system call and what must come of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessCase {
    /// The call.
    pub op: Op,
    /// Its object, as the call names it (links are followed as the call does). `{pid}` is the process of `target`.
    #[serde(default)]
    pub path: Option<String>,
    /// The second name of calls with two.
    #[serde(default)]
    pub to: Option<String>,
    /// The acting program; `memfd:NAME` for one executed from a memfd.
    #[serde(default = "default_program")]
    pub from: String,
    /// What was executed to start the acting program, where that is something else (a script of it, a link to it).
    #[serde(default)]
    pub started_as: Option<String>,
    /// Its real uid.
    #[serde(default)]
    pub uid: u32,
    /// The owner of the object, or of the parent directory of what does not exist yet.
    #[serde(default)]
    pub owner: Option<u32>,
    /// Whether the acting program has a controlling terminal.
    #[serde(default)]
    pub tty: bool,
    /// The call is made by a child that has shed the terminal by `setsid`.
    #[serde(default)]
    pub setsid: bool,
    /// `argv[0]` of an exec; the path where absent.
    #[serde(default, rename = "as")]
    pub argv0: Option<String>,
    /// The arguments of an exec after `argv[0]`.
    #[serde(default)]
    pub args: Vec<String>,
    /// The socket of network calls.
    #[serde(default)]
    pub socket: Option<SocketCase>,
    /// The address and port that a network call names; for `listen` and `accept` those that the socket was bound to before
    /// the policy. Where absent: loopback, and of connect and sendto port 9, of bind port 0.
    #[serde(default)]
    pub address: Option<SocketAddr>,
    /// The capability of `capability` and `capability_userns`, as policies write it.
    #[serde(default)]
    pub capability: Option<String>,
    /// The name of a memfd.
    #[serde(default)]
    pub memfd: Option<String>,
    /// The other program of calls upon a task.
    #[serde(default)]
    pub target: Option<String>,
    /// What must come of it.
    pub verdict: VerdictCase,
    /// Who decides: `NAME:LIST[INDEX]`, `DefaultPosture`, `base`, `builtin:NAME` or `none`; several joined by `|` where
    /// the call is several accesses of equal strictness. Absent where the access passes in silence and the law does
    /// not say who is named.
    #[serde(default)]
    pub rule: Option<String>,
    /// What a Block answers, where that is not what the class answers (a capability whose call answers otherwise).
    #[serde(default)]
    pub errno: Option<Errno>,
    /// What policies in audited mode would have made of it, where that differs.
    #[serde(default)]
    pub shadow: Option<ShadowCase>,
    /// Why no real kernel can be brought to make this access.
    #[serde(default)]
    pub decide_only: Option<String>,
    /// As [`Case::exclude`], for this access.
    #[serde(default)]
    pub exclude: BTreeMap<String, Exclusion>,
}

/// A socket: words of the kernel's headers, or numbers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SocketCase {
    /// `inet`, `inet6`, `unix`, `netlink`, `packet`, `alg`, `vsock`, `smc`, `bluetooth`, or a number.
    pub family: NumberOrWord,
    /// `stream`, `dgram`, `raw`, `rdm`, `seqpacket`, `dccp`, `packet`, or a number.
    #[serde(rename = "type")]
    pub kind: NumberOrWord,
    /// The protocol number, or `tcp`, `udp`, `icmp`, `icmpv6`, `sctp`, `mptcp`, `udplite`; 0 where absent.
    #[serde(default)]
    pub protocol: NumberOrWord,
}

/// A number or the word for it.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum NumberOrWord {
    /// The number itself.
    Number(i32),
    /// A word.
    Word(String),
}

/// The three verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, serde::Serialize)]
pub enum VerdictCase {
    /// Passes, silent.
    Allow,
    /// Passes, reported.
    Audit,
    /// Denied, reported.
    Block,
}

/// What audited policies would have changed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowCase {
    /// The verdict with them.
    pub verdict: VerdictCase,
    /// The rule that would have decided.
    pub rule: String,
}

/// A declared difference of one back end. It is tried all the same: what it does must be what is declared, and that
/// must not be what the access demands.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exclusion {
    /// Why.
    pub reason: String,
    /// What happens instead.
    pub behaves: Behaviour,
}

/// What a back end does in place of the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Behaviour {
    /// Passes in silence.
    Allow,
    /// Passes and is reported.
    Audit,
    /// Is denied (with or without an event).
    Block,
    /// The back end refuses the policies or the workload as a whole, and says so.
    #[serde(rename = "unsupported")]
    Unsupported,
}

fn default_program() -> String {
    "/t/probe".to_owned()
}

// === impl Corpus ===

impl Corpus {
    /// Loads and checks every `.toml` file of a directory.
    ///
    /// # Errors
    /// A file that cannot be read or parsed, a name used twice, a case without policy or access.
    pub fn load(dir: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
            let path = entry?.path();
            if path.extension().is_none_or(|e| e != "toml") {
                continue;
            }
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let file: CaseFile = toml::from_str(&text).with_context(|| format!("cannot parse {}", path.display()))?;
            for (index, case) in file.case.iter().enumerate() {
                case.check().with_context(|| format!("{stem}: case {:?}", case.name))?;
                ensure!(!file.case[..index].iter().any(|c| c.name == case.name), "{stem}: {:?} is there twice", case.name);
            }
            files.insert(stem, file.case);
        }
        ensure!(!files.is_empty(), "no corpus in {}", dir.display());
        Ok(Self { dir: dir.to_owned(), files })
    }

    /// Every case with the name of its file.
    pub fn cases(&self) -> impl Iterator<Item = (&str, &Case)> {
        self.files.iter().flat_map(|(file, cases)| cases.iter().map(move |case| (file.as_str(), case)))
    }
}

// === impl Case ===

impl Case {
    /// The policies of the case as one YAML stream.
    ///
    /// # Errors
    /// A policy file that cannot be read.
    pub fn policy_yaml(&self, corpus_dir: &Path) -> Result<String> {
        let mut documents = Vec::new();
        for name in &self.policies {
            let path = corpus_dir.join(name);
            documents.push(fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?);
        }
        documents.extend(self.policy.clone());
        let one = self.spec.iter().map(|spec| ("p", spec));
        let namespaced = one.chain(self.specs.iter().map(|(name, spec)| (name.as_str(), spec)));
        documents.extend(namespaced.map(|(name, spec)| {
            let metadata = format!("{{name: \"{name}\", namespace: \"{}\"}}", self.workload.namespace);
            document("KubeArmorPolicy", &metadata, "selector: {}", spec)
        }));
        documents.extend(
            self.cluster_specs
                .iter()
                .map(|(name, spec)| document("KubeArmorClusterPolicy", &format!("{{name: \"{name}\"}}"), "selector: {}", spec)),
        );
        documents.extend(self.host_specs.iter().map(|(name, spec)| {
            let selector = "nodeSelector: {matchLabels: {kubearmor.io/hostname: \"*\"}}";
            document("KubeArmorHostPolicy", &format!("{{name: \"{name}\"}}"), selector, spec)
        }));
        Ok(documents.join("\n---\n"))
    }

    /// The exclusion of one access for one back end.
    #[must_use]
    pub fn exclusion<'a>(&'a self, access: &'a AccessCase, backend: &str) -> Option<&'a Exclusion> {
        access.exclude.get(backend).or_else(|| self.exclude.get(backend))
    }

    fn check(&self) -> Result<()> {
        ensure!(!self.meaning.is_empty(), "names no clause");
        ensure!(!self.access.is_empty(), "has no access");
        let specs = self.specs.len() + self.cluster_specs.len() + self.host_specs.len();
        ensure!(self.spec.is_some() || self.policy.is_some() || !self.policies.is_empty() || specs > 0, "has no policy");
        for (index, access) in self.access.iter().enumerate() {
            access.check().with_context(|| format!("access {index}"))?;
        }
        Ok(())
    }
}

/// One policy document around the body of its `spec`.
fn document(kind: &str, metadata: &str, selector: &str, spec: &str) -> String {
    let body: String = spec.trim().lines().map(|line| format!("  {line}\n")).collect();
    format!("apiVersion: security.kubearmor.com/v1\nkind: {kind}\nmetadata: {metadata}\nspec:\n  {selector}\n{body}")
}

// === impl AccessCase ===

impl AccessCase {
    /// The object of a call that has one.
    #[must_use]
    pub fn object(&self) -> &str {
        self.path.as_deref().unwrap_or_default()
    }

    /// The second name of a call that has two.
    #[must_use]
    pub fn second(&self) -> &str {
        self.to.as_deref().unwrap_or_default()
    }

    /// What a Block of this access answers.
    #[must_use]
    pub fn blocked_errno(&self) -> Errno {
        self.errno.unwrap_or_else(|| self.op.blocked_errno())
    }

    fn check(&self) -> Result<()> {
        let needs = self.op.needs();
        ensure!(needs.path == self.path.is_some(), "{:?} and its path", self.op);
        ensure!(needs.to == self.to.is_some(), "{:?} and its second name", self.op);
        ensure!(needs.socket == self.socket.is_some(), "{:?} and its socket", self.op);
        ensure!(self.address.is_none() || self.op.names_end(), "{:?} and an address", self.op);
        ensure!(needs.capability == self.capability.is_some(), "{:?} and its capability", self.op);
        ensure!(needs.memfd == self.memfd.is_some(), "{:?} and its memfd", self.op);
        ensure!(!needs.target || self.target.is_some(), "{:?} without its target", self.op);
        for path in self.path.iter().chain(&self.to) {
            ensure!(path.starts_with('/'), "{path:?} is not absolute");
        }
        if self.verdict != VerdictCase::Block && self.errno.is_some() {
            bail!("an errno without a Block");
        }
        ensure!(self.verdict == VerdictCase::Allow || self.rule.is_some(), "{:?} without the rule that decides", self.verdict);
        Ok(())
    }
}

// === defaults ===

impl Default for WorkloadCase {
    fn default() -> Self {
        Self {
            scope: ScopeCase::Workload,
            namespace: "default".to_owned(),
            labels: BTreeMap::new(),
            container: None,
            hostname: "node".to_owned(),
            ignore_selectors: false,
            mode: ModeCase::Enforce,
            postures: PosturesCase::default(),
            base_set: true,
            allow_mounts: false,
            multi_call: Vec::new(),
            stdio: None,
        }
    }
}

impl Default for NumberOrWord {
    fn default() -> Self {
        Self::Number(0)
    }
}
