//! `cargo xtask test` and `cargo xtask demo`: everything that guards main, and everything that a newcomer wants to see.
//!
//! ```text
//! test: fmt -> clippy -> builds -> beside each other, each to its end:
//!         cargo test (unit, properties, oracle, corpus by decide(), native)
//!         two rows of guests (test.rs, GUESTS): the corpus under BPF-LSM, `run`, containers, learning, races, ...
//!       -> what failed, once more
//! demo: nginx under its policy with the best back end here; where that is not BPF-LSM, in the VM as well
//! ```

mod demo;
mod failures;
mod guest;
mod test;

pub use demo::demo;
pub(crate) use failures::failed_parts;
pub use guest::GuestBinaries;
pub(crate) use guest::{target_dir, workspace};
pub(crate) use test::payload;
pub use test::test;
