//! Where records come from: the kernel's ring, or what stands for it in tests.

use std::time::Duration;

use palisade_bpf::ring::Reader;

/// A bounded buffer that records are taken from in their order. Whoever writes numbers them for each CPU, those that find
/// no room as well: a gap in the numbers is a loss.
pub trait Source: Send {
    /// Waits until there is something to take, at most so long. Returns whether there is.
    fn wait(&self, timeout: Duration) -> bool;

    /// Takes at most so many records.
    fn take(&mut self, most: usize) -> Vec<Vec<u8>>;

    /// How far it was written, in units of its own.
    fn produced(&self) -> u64;

    /// How far it was read, in the same units.
    fn consumed(&self) -> u64;
}

impl Source for Reader {
    /// A ring that cannot be waited for is looked into all the same; what it lost shows in the numbers.
    fn wait(&self, timeout: Duration) -> bool {
        Self::wait(self, timeout).unwrap_or(true)
    }

    fn take(&mut self, most: usize) -> Vec<Vec<u8>> {
        Self::take(self, most).unwrap_or_default()
    }

    fn produced(&self) -> u64 {
        self.positions().produced
    }

    fn consumed(&self) -> u64 {
        self.positions().consumed
    }
}
