//! An event in KubeArmor's words: the fields of its `Alert` message, by their names there.
//!
//! The struct is what JSON is written from, and what a gRPC service fills its message from: one place says what goes into
//! which field. Fields are in the order in which KubeArmor's JSON has them. Empty strings and zeros stand for nothing.
//!
//! # Where the original leaves the choice
//!
//! * An event of an exec is told as seen after it: `ProcessName` is the program executed, `ParentProcessName` and `Source`
//!   the one that called exec. In all other events `ProcessName` is the acting program and `Source` its command line; so
//!   also for `map-exec` and `attach`, although their `Operation` is `Process`.
//! * Command lines are the program's path and the arguments after the name, joined by spaces.
//! * Where an operation on a socket names an address, `Resource` begins with `remoteip=` or, of bind, listen and accept,
//!   `localip=` and `port=`.
//! * A memfd is named `memfd:NAME`, an object that could not be told `unresolvable`.
//! * `UID` is an `int32` there: uids from 2^31 on are shown negative, as by the original.
//! * `PolicyName` of a built-in rule is `BuiltIn`; of a rule whose legend is gone, `Unknown`.
//!
//! # Fields of Palisade's own
//!
//! | field | what |
//! |---|---|
//! | `PalisadeNumber` | the producer's sequence number |
//! | `PalisadeOperation` | the precise operation: `exec`, `map-exec`, `read`, ... ([`Operation::word`]) |
//! | `PalisadeFamily` | of a socket: `AF_INET`, ... |
//! | `PalisadePolicy` | the policy's kind, namespace and name: `KubeArmorPolicy default/ksp-x` |
//! | `PalisadeRule` | the rule in the policy, `process.matchPaths[0]`; the built-in rule's name |
//! | `PalisadeOrigin` | `FILE:LINE` of the rule |
//! | `PalisadeGeneration` | the generation of the rule set |
//! | `PalisadeCount` | how many accesses the alert stands for; absent: 1 |
//! | `PalisadeFirst`, `PalisadeLast` | of more than one: the time of the first and of the last, in the form of `UpdatedTime` |

use std::borrow::Cow;
use std::collections::BTreeMap;

use palisade_policy::model::{Capability, Class};
use serde::Serialize;

use crate::EncodeOptions;
use crate::escape::to_json_text;
use crate::event::{Event, Host, Owner, Process, Workload};
use crate::operation::{Object, Operation, Socket};

/// KubeArmor's `Alert`. Text from bytes is in the form of [`to_json_text`].
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the names are KubeArmor's; the module's page says what goes into them")]
pub struct Alert<'a> {
    #[serde(skip_serializing_if = "zero")]
    pub timestamp: u64,
    pub updated_time: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub cluster_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub host_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub namespace_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<PodOwner<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub pod_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub labels: String,
    #[serde(rename = "ContainerID", skip_serializing_if = "str::is_empty")]
    pub container_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub container_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub container_image: &'a str,
    #[serde(rename = "HostPPID", skip_serializing_if = "zero32")]
    pub host_ppid: i32,
    #[serde(rename = "HostPID", skip_serializing_if = "zero32")]
    pub host_pid: i32,
    #[serde(rename = "PPID", skip_serializing_if = "zero32")]
    pub ppid: i32,
    #[serde(rename = "PID", skip_serializing_if = "zero32")]
    pub pid: i32,
    #[serde(rename = "UID", skip_serializing_if = "zero32")]
    pub uid: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub parent_process_name: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub process_name: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub policy_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub severity: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub tags: String,
    #[serde(rename = "ATags", skip_serializing_if = "<[String]>::is_empty")]
    pub a_tags: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    pub message: &'a str,
    pub r#type: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub source: Cow<'a, str>,
    pub operation: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub resource: Cow<'a, str>,
    pub data: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub event_data: BTreeMap<String, String>,
    pub enforcer: &'static str,
    pub action: &'static str,
    pub result: Cow<'static, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub cwd: Cow<'a, str>,
    #[serde(rename = "TTY", skip_serializing_if = "str::is_empty")]
    pub tty: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec_event: Option<ExecEvent>,
    #[serde(rename = "KubeArmorVersion", skip_serializing_if = "str::is_empty")]
    pub kubearmor_version: &'a str,
    #[serde(rename = "NodeID", skip_serializing_if = "str::is_empty")]
    pub node_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub user_name: &'a str,
    #[serde(skip_serializing_if = "zero")]
    pub palisade_number: u64,
    pub palisade_operation: &'static str,
    #[serde(skip_serializing_if = "is_false")]
    pub palisade_arguments_cut: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub palisade_family: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub palisade_policy: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub palisade_rule: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub palisade_origin: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub palisade_shadow: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub palisade_shadow_policy: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub palisade_shadow_rule: String,
    #[serde(skip_serializing_if = "zero")]
    pub palisade_generation: u64,
    #[serde(skip_serializing_if = "zero")]
    pub palisade_count: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub palisade_first: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub palisade_last: String,
}

/// KubeArmor's `Podowner`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PodOwner<'a> {
    /// `Deployment`, ...
    #[serde(rename = "Ref", skip_serializing_if = "str::is_empty")]
    pub kind: &'a str,
    /// Its name.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: &'a str,
    /// Its namespace.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub namespace: &'a str,
}

/// KubeArmor's `ExecEvent`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExecEvent {
    /// In decimal.
    #[serde(rename = "ExecID")]
    pub id: String,
    /// The base name of `ProcessName`.
    #[serde(rename = "ExecutableName", skip_serializing_if = "str::is_empty")]
    pub executable: String,
}

// === impl Alert ===

impl<'a> Alert<'a> {
    /// The event in KubeArmor's words.
    #[must_use]
    pub fn new(event: &'a Event, options: EncodeOptions) -> Self {
        // Taken apart whole, so that a new field has to be given a place here.
        let Event {
            number,
            time,
            repeats,
            host,
            workload,
            process,
            operation,
            object,
            arguments,
            arguments_cut,
            verdict,
            decider,
            shadow,
            enforcer,
            generation,
        } = event;
        let Host { cluster, name: host_name, ip: _, node_id, version } = &**host;
        let Process {
            pid,
            parent_pid,
            host_pid,
            host_parent_pid,
            uid,
            user,
            program,
            parent_program,
            command_line,
            cwd,
            tty,
            exec_id,
        } = process;

        let EncodeOptions { drop_command_lines } = options;
        let shown = |arguments: &'a [Vec<u8>]| if drop_command_lines { &[] } else { arguments };
        let object_name = resource_name(*operation, object);
        let (parent, acting, source, resource) = if *operation == Operation::Exec {
            let resource = command(&object_name, shown(arguments)).into_owned();
            (program, object_name.into_owned(), Cow::Borrowed(&**program), resource)
        } else {
            (parent_program, program.clone(), command(program, shown(command_line)), object_name.into_owned())
        };

        let rule = decider.rule();
        let data = data(*operation, object);
        let resource = owned_text(&resource);
        let event_data = event_data(*operation, &data, &resource);
        let many = repeats.count.get() > 1;
        let mut alert = Self {
            timestamp: time.seconds(),
            updated_time: time.to_string(),
            cluster_name: cluster,
            host_name,
            host_ppid: host_parent_pid.cast_signed(),
            host_pid: host_pid.cast_signed(),
            ppid: parent_pid.cast_signed(),
            pid: pid.cast_signed(),
            uid: uid.cast_signed(),
            parent_process_name: to_json_text(parent),
            process_name: owned_text(&acting),
            policy_name: decider.policy_name(),
            severity: rule.and_then(|r| r.severity).map(|s| s.to_string()).unwrap_or_default(),
            tags: rule.map(|r| r.tags.join(",")).unwrap_or_default(),
            a_tags: rule.map_or(&[], |r| &r.tags),
            message: rule.map_or("", |r| &r.message),
            r#type: "MatchedHostPolicy",
            source: owned_text(&source),
            operation: operation.kubearmor(),
            resource,
            data,
            event_data,
            enforcer: enforcer.name(),
            action: verdict.action(),
            result: verdict.result(),
            cwd: to_json_text(cwd),
            tty: to_json_text(tty),
            exec_event: exec_id.map(|id| ExecEvent { id: id.to_string(), executable: base_name(&acting) }),
            kubearmor_version: version,
            node_id,
            user_name: user,
            palisade_number: *number,
            palisade_operation: operation.word(),
            palisade_arguments_cut: *arguments_cut && !drop_command_lines,
            palisade_family: if let Object::Socket(socket) | Object::Endpoint(socket, _) = object {
                socket.family_name()
            } else {
                String::new()
            },
            palisade_policy: rule.map(|r| r.policy.to_string()).unwrap_or_default(),
            palisade_rule: decider.rule_name(),
            palisade_origin: rule.map(|r| format!("{}:{}", r.origin.file, r.origin.line)).unwrap_or_default(),
            palisade_shadow: shadow.as_ref().map_or("", |s| s.word()),
            palisade_shadow_policy: shadow.as_ref().map_or("", |s| s.decider.policy_name()),
            palisade_shadow_rule: shadow.as_ref().map(|s| s.decider.rule_name()).unwrap_or_default(),
            palisade_generation: *generation,
            palisade_count: if many { repeats.count.get() } else { 0 },
            palisade_first: if many { repeats.first.to_string() } else { String::new() },
            palisade_last: if many { repeats.last.to_string() } else { String::new() },
            ..Self::default()
        };
        if let Some(workload) = workload {
            alert.set_workload(workload);
        }
        alert
    }

    fn set_workload(&mut self, workload: &'a Workload) {
        let Workload { namespace, pod, container, container_id, image, labels, owner } = workload;
        self.r#type = "MatchedPolicy";
        self.user_name = "";
        self.namespace_name = namespace;
        self.pod_name = pod;
        self.container_name = container;
        self.container_id = container_id;
        self.container_image = image;
        self.labels = labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
        self.owner = owner.as_ref().map(|Owner { kind, name, namespace }| PodOwner { kind, name, namespace });
    }
}

/// The object as a word of bytes.
pub(crate) fn object_name(object: &Object) -> Cow<'_, [u8]> {
    match object {
        Object::Path(path) => Cow::Borrowed(path),
        Object::Memfd(name) => Cow::Owned([b"memfd:", &**name].concat()),
        Object::Unresolvable => Cow::Borrowed(b"unresolvable"),
        Object::Socket(socket) | Object::Endpoint(socket, _) => Cow::Owned(socket_name(*socket).into_bytes()),
        Object::Capability(number) => Cow::Owned(capability_name(*number).into_bytes()),
    }
}

/// The object; of an endpoint with address and port in front, in the words of KubeArmor's monitor.
fn resource_name(operation: Operation, object: &Object) -> Cow<'_, [u8]> {
    let Object::Endpoint(socket, address) = object else { return object_name(object) };
    let side = if operation.names_remote() { "remoteip" } else { "localip" };
    Cow::Owned(format!("{side}={} port={} {}", address.ip(), address.port(), socket_name(*socket)).into_bytes())
}

/// `protocol=TCP type=SOCK_STREAM`; without `protocol=` where the protocol has no name.
fn socket_name(socket: Socket) -> String {
    let kind = socket.kind_name();
    match socket.protocol_name() {
        Some(protocol) => format!("protocol={protocol} type={kind}"),
        None => format!("type={kind}"),
    }
}

/// `CAP_NET_RAW`.
fn capability_name(number: u8) -> String {
    Capability::from_number(number)
        .map_or_else(|| format!("CAP_{number}"), |capability| format!("CAP_{}", capability.name().to_ascii_uppercase()))
}

fn data(operation: Operation, object: &Object) -> String {
    let hook = operation.hook();
    match object {
        Object::Socket(socket) | Object::Endpoint(socket, _) => format!("lsm={hook} {}", socket_name(*socket)),
        Object::Capability(number) => format!("lsm={hook} {}", capability_name(*number)),
        Object::Path(_) | Object::Memfd(_) | Object::Unresolvable => format!("lsm={hook}"),
    }
}

/// `Data`, and for the network class `Resource`, split on blanks into key=value, keys with an upper-case first letter.
fn event_data(operation: Operation, data: &str, resource: &str) -> BTreeMap<String, String> {
    let resource = if operation.class() == Class::Network { resource } else { "" };
    let pairs = data.split(' ').chain(resource.split(' ')).filter_map(|word| word.split_once('='));
    pairs.map(|(key, value)| (upper_first(key), value.to_owned())).collect()
}

fn upper_first(key: &str) -> String {
    let mut chars = key.chars();
    chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect()
}

/// A program and its arguments after the name, joined by spaces.
fn command<'a>(program: &'a [u8], arguments: &[Vec<u8>]) -> Cow<'a, [u8]> {
    match arguments {
        [] | [_] => Cow::Borrowed(program),
        [_, arguments @ ..] => Cow::Owned([program, &arguments.join(&b' ')].join(&b' ')),
    }
}

fn base_name(path: &[u8]) -> String {
    to_json_text(path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()).into_owned()
}

fn owned_text(bytes: &[u8]) -> Cow<'static, str> {
    Cow::Owned(to_json_text(bytes).into_owned())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn zero32(number: &i32) -> bool {
    *number == 0
}
