//! Records of the domain as messages of the wire.
//!
//! Where a field of an alert comes from is said in [`palisade_event::kubearmor`]; here each is put in its place, and both
//! sides are taken apart whole, so that a field that is new on either cannot be forgotten.

use std::sync::Arc;

use palisade_event::kubearmor::{Alert as Told, ExecEvent, PodOwner};
use palisade_event::{EncodeOptions, Event, Level, Loss, Message};

use crate::feeder;

/// `Type` of what the producer tells about the stream itself.
pub(crate) const SYSTEM_EVENT: &str = "SystemEvent";
/// `Operation` of a loss.
pub(crate) const LOSS: &str = "PalisadeLoss";

impl feeder::Alert {
    /// An access that a policy denied or reported.
    #[must_use]
    pub fn of_event(event: &Event, options: EncodeOptions) -> Self {
        Self::from(Told::new(event, options))
    }

    /// Records that are missing from here on.
    #[must_use]
    pub fn of_loss(loss: &Loss) -> Self {
        let Loss { time, host, place, count } = loss;
        Self {
            timestamp: signed(time.seconds()),
            updated_time: time.to_string(),
            cluster_name: host.cluster.clone(),
            host_name: host.name.clone(),
            node_id: host.node_id.clone(),
            r#type: SYSTEM_EVENT.to_owned(),
            operation: LOSS.to_owned(),
            message: loss.text(),
            palisade_loss_place: place.text().into_owned(),
            palisade_loss_count: *count,
            ..Self::default()
        }
    }

    /// How many records are missing, where it tells of a loss.
    #[must_use]
    pub fn lost(&self) -> Option<u64> {
        (self.r#type == SYSTEM_EVENT && self.operation == LOSS).then_some(self.palisade_loss_count)
    }
}

impl From<Told<'_>> for feeder::Alert {
    fn from(told: Told<'_>) -> Self {
        let Told {
            timestamp,
            updated_time,
            cluster_name,
            host_name,
            namespace_name,
            owner,
            pod_name,
            labels,
            container_id,
            container_name,
            container_image,
            host_ppid,
            host_pid,
            ppid,
            pid,
            uid,
            parent_process_name,
            process_name,
            policy_name,
            severity,
            tags,
            a_tags,
            message,
            r#type,
            source,
            operation,
            resource,
            data,
            event_data,
            enforcer,
            action,
            result,
            cwd,
            tty,
            exec_event,
            kubearmor_version,
            node_id,
            user_name,
            palisade_number,
            palisade_operation,
            palisade_arguments_cut,
            palisade_family,
            palisade_policy,
            palisade_rule,
            palisade_origin,
            palisade_shadow,
            palisade_shadow_policy,
            palisade_shadow_rule,
            palisade_generation,
            palisade_count,
            palisade_first,
            palisade_last,
        } = told;
        Self {
            timestamp: signed(timestamp),
            updated_time,
            cluster_name: cluster_name.to_owned(),
            host_name: host_name.to_owned(),
            namespace_name: namespace_name.to_owned(),
            pod_name: pod_name.to_owned(),
            container_id: container_id.to_owned(),
            container_name: container_name.to_owned(),
            host_pid,
            ppid,
            pid,
            uid,
            policy_name: policy_name.to_owned(),
            severity,
            tags,
            message: message.to_owned(),
            r#type: r#type.to_owned(),
            source: source.into_owned(),
            operation: operation.to_owned(),
            resource: resource.into_owned(),
            data,
            action: action.to_owned(),
            result: result.into_owned(),
            container_image: container_image.to_owned(),
            parent_process_name: parent_process_name.into_owned(),
            process_name: process_name.into_owned(),
            host_ppid,
            enforcer: enforcer.to_owned(),
            labels,
            a_tags: a_tags.to_vec(),
            owner: owner.map(feeder::Podowner::from),
            cwd: cwd.into_owned(),
            tty: tty.into_owned(),
            // The agent does not throttle alerts.
            max_alerts_per_sec: 0,
            dropping_alerts_interval: 0,
            exec_event: exec_event.map(feeder::ExecEvent::from),
            kube_armor_version: kubearmor_version.to_owned(),
            node_id: node_id.to_owned(),
            // No program is hashed.
            process_hash: String::new(),
            parent_hash: String::new(),
            resource_hash: String::new(),
            hash_algo: String::new(),
            event_data,
            user_name: user_name.to_owned(),
            palisade_number,
            palisade_operation: palisade_operation.to_owned(),
            palisade_arguments_cut,
            palisade_family,
            palisade_policy,
            palisade_rule,
            palisade_origin,
            palisade_shadow: palisade_shadow.to_owned(),
            palisade_shadow_policy: palisade_shadow_policy.to_owned(),
            palisade_shadow_rule,
            palisade_generation,
            palisade_count,
            palisade_first,
            palisade_last,
            palisade_loss_place: String::new(),
            palisade_loss_count: 0,
        }
    }
}

impl feeder::Log {
    /// An access that no policy speaks of, as it is seen: an alert without policy, verdict and enforcer.
    #[must_use]
    pub fn of_event(event: &Event, options: EncodeOptions) -> Self {
        let alert = feeder::Alert::of_event(event, options);
        let r#type = if event.workload.is_some() { "ContainerLog" } else { "HostLog" };
        Self {
            timestamp: alert.timestamp,
            updated_time: alert.updated_time,
            cluster_name: alert.cluster_name,
            host_name: alert.host_name,
            namespace_name: alert.namespace_name,
            pod_name: alert.pod_name,
            container_id: alert.container_id,
            container_name: alert.container_name,
            host_pid: alert.host_pid,
            ppid: alert.ppid,
            pid: alert.pid,
            uid: alert.uid,
            r#type: r#type.to_owned(),
            source: alert.source,
            operation: alert.operation,
            resource: alert.resource,
            data: alert.data,
            result: alert.result,
            container_image: alert.container_image,
            parent_process_name: alert.parent_process_name,
            process_name: alert.process_name,
            host_ppid: alert.host_ppid,
            labels: alert.labels,
            owner: alert.owner,
            cwd: alert.cwd,
            tty: alert.tty,
            exec_event: alert.exec_event,
            node_id: alert.node_id,
            process_hash: alert.process_hash,
            parent_hash: alert.parent_hash,
            resource_hash: alert.resource_hash,
            hash_algo: alert.hash_algo,
            event_data: alert.event_data,
            user_name: alert.user_name,
            palisade_number: alert.palisade_number,
            palisade_operation: alert.palisade_operation,
            palisade_arguments_cut: alert.palisade_arguments_cut,
            palisade_family: alert.palisade_family,
            palisade_count: alert.palisade_count,
            palisade_first: alert.palisade_first,
            palisade_last: alert.palisade_last,
        }
    }
}

impl feeder::Message {
    /// A loss, told to whoever reads messages alone: a warning whose text says where and how many.
    #[must_use]
    pub fn of_loss(loss: &Loss) -> Self {
        let Loss { time, host, .. } = loss;
        Self::from(&Message { time: *time, host: Arc::clone(host), level: Level::Warning, text: loss.text() })
    }
}

impl From<&Message> for feeder::Message {
    fn from(message: &Message) -> Self {
        let Message { time, host, level, text } = message;
        Self {
            timestamp: signed(time.seconds()),
            updated_time: time.to_string(),
            cluster_name: host.cluster.clone(),
            host_name: host.name.clone(),
            host_ip: host.ip.clone(),
            r#type: "Message".to_owned(),
            level: level.name().to_owned(),
            message: text.clone(),
        }
    }
}

impl From<PodOwner<'_>> for feeder::Podowner {
    fn from(owner: PodOwner<'_>) -> Self {
        let PodOwner { kind, name, namespace } = owner;
        Self { r#ref: kind.to_owned(), name: name.to_owned(), namespace: namespace.to_owned() }
    }
}

impl From<ExecEvent> for feeder::ExecEvent {
    fn from(exec: ExecEvent) -> Self {
        let ExecEvent { id, executable } = exec;
        Self { exec_id: id, executable_name: executable }
    }
}

/// Seconds since 1970, which fit for 292 billion years.
fn signed(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}
