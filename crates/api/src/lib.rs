//! The wire: what the services of `proto/` say, and how it comes from and goes to the domain.
//!
//! ```text
//! event::Event -> event::kubearmor::Alert -> feeder::{Alert, Log}   convert: which field goes where is said there once
//! feeder::{Alert, Log, Message} -> JSON by the names of proto/*.proto
//! what a client asks for -> filter::{Wanted, Filter}
//! ```
//! Names and numbers of `feeder`, `policy` and `state_agent` are KubeArmor's, so that its clients can be used; what is
//! Palisade's own has numbers from 1000 on there, and a package of its own, `palisade.v1`.
//!
//! Pure: no I/O, no clock. *Not* here: who serves, and where (`palisade-agent`, `serve`).

mod convert;
pub mod filter;

/// KubeArmor's `feeder`: what happened.
#[allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated from proto/kubearmor.proto, where it is described"
)]
pub mod feeder {
    tonic::include_proto!("feeder");
}

/// KubeArmor's `policy`: policies over gRPC, and what they select.
#[allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated from proto/policy.proto, where it is described"
)]
pub mod policy {
    tonic::include_proto!("policy");
}

/// KubeArmor's `state_agent`: who runs.
#[allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated from proto/state.proto, where it is described"
)]
pub mod state_agent {
    tonic::include_proto!("state_agent");
}

/// Palisade's own: how workloads and policies stand.
#[allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated from proto/palisade.proto, where it is described"
)]
pub mod palisade {
    tonic::include_proto!("palisade.v1");
}

/// The descriptors of all of them, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// What JSON leaves out.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
