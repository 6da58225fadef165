//! One binary for all tests of the public interface: one link instead of three.

#![expect(clippy::unwrap_used, reason = "clippy.toml excepts test functions, not their helpers")]

mod common;
mod golden;
mod properties;
mod repeats;
