//! The agent without a kernel: policies, workloads, events and gRPC, with the enforcer replaced at its trait.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod losses;
mod policies;
mod scene;
mod services;
mod stub;
