//! The kernel side: BPF-LSM programs in C (`src/c`), and the only Rust that talks to them.
//!
//! ```text
//! src/c/palisade.bpf.c --build.rs--> object --load--> programs and maps --pins--> /sys/fs/bpf/palisade-v<ABI>/
//!                                                        |                          (adopted by the next start)
//!   TableImage --maps::Tables--> inner array, swapped whole
//!   cgroup id  --maps::Cgroups--> label --maps::Labels--> table
//!   ring --ring::Reader--> bytes --abi::Event::decode--> checked record
//! ```
//! A second object, `src/c/watch.bpf.c`, watches by tracepoints where LSM programs do not load ([`watch`]).
//!
//! This crate knows the layout of what crosses the border (`abi.h`, mirrored in [`abi`]), not what it means: tables
//! come as bytes and rule codes stay numbers. It is the one crate that may contain unsafe code.
//!
//! Minimum kernel: 6.1 with BTF and `bpf` among its LSMs; [`probe`] says what is missing.

#![deny(unsafe_op_in_unsafe_fn)]

pub mod abi;
pub mod cache;
pub mod hooks;
pub mod iter;
pub mod load;
mod log;
pub mod maps;
pub mod pins;
pub mod probe;
pub mod ring;
pub mod stats;
pub mod watch;

/// The compiled BPF object.
static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/palisade.bpf.o"));

/// The type of libbpf's errors, source of the errors of this crate.
pub use libbpf_rs::Error as LibbpfError;
