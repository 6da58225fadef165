//! The ring of events. It has one consumer at a time: whoever reads it must hold the right to (the agent's reader
//! lock); others may only look at how far it was read.

#![expect(unsafe_code, reason = "libbpf-rs gives the epoll descriptor and the positions as raw values only")]

use std::collections::HashMap;
use std::io;
use std::mem;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use libbpf_rs::libbpf_sys::{ring__consumer_pos, ring__producer_pos, ring_buffer__ring};
use libbpf_rs::{AsRawLibbpf, MapHandle, RingBuffer, RingBufferBuilder};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use thiserror::Error;

/// A mapping of the ring.
pub struct Reader {
    ring: RingBuffer<'static>,
    batch: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// How far the ring was written and read, in bytes since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Positions {
    /// Bytes reserved by programs.
    pub produced: u64,
    /// Bytes taken by the consumer.
    pub consumed: u64,
}

/// Finds what the ring lost, from the numbers that programs give their events on each CPU.
#[derive(Debug, Default)]
pub struct Gaps {
    next: HashMap<u32, u64>,
    lost: u64,
}

/// Why the ring cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RingError {
    /// It could not be mapped.
    #[error("cannot map the ring of events: {0}")]
    Map(#[source] libbpf_rs::Error),
    /// Waiting failed.
    #[error("cannot wait for events: {0}")]
    Wait(#[source] io::Error),
    /// Reading failed.
    #[error("cannot read events: {0}")]
    Read(#[source] io::Error),
}

// === impl Reader ===

impl Reader {
    /// Maps the ring.
    ///
    /// # Errors
    /// If the kernel refuses.
    ///
    /// Minimum kernel: 5.8.
    pub fn new(events: &MapHandle) -> Result<Self, RingError> {
        let batch = Arc::new(Mutex::new(Vec::new()));
        let mut builder = RingBufferBuilder::new();
        let sink = Arc::clone(&batch);
        let keep = move |record: &[u8]| {
            sink.lock().unwrap_or_else(PoisonError::into_inner).push(record.to_vec());
            0
        };
        builder.add(events, keep).map_err(RingError::Map)?;
        let ring = builder.build().map_err(RingError::Map)?;
        Ok(Self { ring, batch })
    }

    /// Waits until there is something to read, at most so long. Returns whether there is.
    ///
    /// # Errors
    /// If waiting fails; being interrupted by a signal is no error.
    pub fn wait(&self, timeout: Duration) -> Result<bool, RingError> {
        // SAFETY: the epoll descriptor belongs to `self.ring`, which is borrowed for as long as `epoll` is used.
        let epoll = unsafe { BorrowedFd::borrow_raw(self.ring.epoll_fd()) };
        let timeout = Timespec::try_from(timeout).map_err(|e| RingError::Wait(io::Error::other(e)))?;
        match poll(&mut [PollFd::from_borrowed_fd(epoll, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(RingError::Wait(error.into())),
        }
    }

    /// Takes at most `most` records out of the ring, without waiting. Only its one consumer may.
    ///
    /// # Errors
    /// If libbpf refuses.
    pub fn take(&mut self, most: usize) -> Result<Vec<Vec<u8>>, RingError> {
        let count = self.ring.consume_raw_n(most);
        let records = mem::take(&mut *self.batch.lock().unwrap_or_else(PoisonError::into_inner));
        if count < 0 && records.is_empty() {
            return Err(RingError::Read(io::Error::from_raw_os_error(-count)));
        }
        Ok(records)
    }

    /// How far the ring was written and read.
    #[must_use]
    pub fn positions(&self) -> Positions {
        let rings = self.ring.as_libbpf_object().as_ptr();
        // SAFETY: `rings` is a live ring_buffer that holds exactly one ring, added in `new`.
        let ring = unsafe { ring_buffer__ring(rings, 0) };
        // SAFETY: `ring` lives as long as `rings`; the function only reads the shared position.
        let produced = unsafe { ring__producer_pos(ring) };
        // SAFETY: as above.
        let consumed = unsafe { ring__consumer_pos(ring) };
        Positions { produced, consumed }
    }
}

// === impl Gaps ===

impl Gaps {
    /// Notes an event. The first of each CPU sets where counting begins.
    pub fn note(&mut self, cpu: u32, number: u64) {
        let next = self.next.entry(cpu).or_insert(number);
        if number >= *next {
            self.lost += number - *next;
            *next = number + 1;
        } else {
            // A task was preempted between taking its number and its place in the ring: it was counted as lost.
            self.lost = self.lost.saturating_sub(1);
        }
    }

    /// What was lost since the last call.
    pub fn take(&mut self) -> u64 {
        mem::take(&mut self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_counted_for_each_cpu() {
        let mut gaps = Gaps::default();
        for (cpu, number) in [(0, 5), (1, 100), (0, 6), (0, 9), (1, 101)] {
            gaps.note(cpu, number);
        }
        assert_eq!(gaps.take(), 2);
        assert_eq!(gaps.take(), 0);
    }

    #[test]
    fn a_record_that_was_overtaken_is_not_lost() {
        let mut gaps = Gaps::default();
        for number in [1, 3, 2, 4] {
            gaps.note(0, number);
        }
        assert_eq!(gaps.take(), 0);
    }

    /// A ring needs no LSM program: made and mapped natively, as root.
    #[test]
    fn an_empty_ring_yields_nothing() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("needs root");
            return;
        }
        let options = libbpf_rs::libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_rs::libbpf_sys::bpf_map_create_opts>() as libbpf_rs::libbpf_sys::size_t,
            ..Default::default()
        };
        let ring = MapHandle::create(libbpf_rs::MapType::RingBuf, Some("pal_events"), 0, 0, 4096, &options).unwrap();
        let mut reader = Reader::new(&ring).unwrap();
        assert!(!reader.wait(Duration::from_millis(1)).unwrap());
        assert!(reader.take(16).unwrap().is_empty());
        assert_eq!(reader.positions(), Positions { produced: 0, consumed: 0 });
    }
}
