//! Passing records on between the runs of a machine: a SEQPACKET socket for each label, one message for each letter.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use palisade_bpf::abi::Event;
use palisade_bpf::maps::Maps;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{set_socket_send_buffer_size_force, socket_peercred};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, recv, send,
    socket_with,
};

use crate::home::Home;

/// What a socket holds: some 10,000 records of 400 bytes with the kernel's overhead.
const SEND_BUFFER_BYTES: usize = 4 << 20;
/// Tables remembered as nobody's at most.
const SILENT_MAX: usize = 1024;
/// The largest message: the kind, a record, and the ring's rounding up to 8.
const MESSAGE_MAX: usize = 1 + Event::MAX_BYTES + 8;
/// Letters taken at once.
const BATCH: usize = 256;

const RECORD: u8 = 0;
const RING_LOSS: u8 = 1;
const SOCKET_LOSS: u8 = 2;

/// What one run tells another.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Letter {
    /// A record of the ring that is the receiver's.
    Record(Vec<u8>),
    /// Records that the ring lost; nobody knows whose.
    RingLoss(u64),
    /// Records of the receiver that its socket had no room for.
    SocketLoss(u64),
}

/// Where a run receives.
pub(super) struct Inbox {
    path: PathBuf,
    listener: OwnedFd,
    peers: Vec<OwnedFd>,
    maps: Arc<Maps>,
    buffer: Vec<u8>,
}

/// What the reader of the ring sends with.
pub(super) struct Outbox {
    home: Home,
    peers: HashMap<u32, Peer>,
    /// Tables (their ids are never used again, labels are) that nobody listens for: their palisade was killed.
    silent: HashSet<u32>,
}

/// The peer has ended.
struct Gone;

struct Peer {
    socket: OwnedFd,
    ring_lost: u64,
    socket_lost: u64,
}

// === impl Letter ===

impl Letter {
    fn parse(message: &[u8]) -> Option<Self> {
        let (kind, body) = message.split_first()?;
        let count = || Some(u64::from_le_bytes(body.try_into().ok()?));
        match *kind {
            RECORD => Some(Self::Record(body.to_vec())),
            RING_LOSS => count().map(Self::RingLoss),
            SOCKET_LOSS => count().map(Self::SocketLoss),
            _ => None,
        }
    }
}

// === impl Inbox ===

impl Inbox {
    /// Listens. What a killed run left at the path is replaced.
    pub(super) fn listen(path: &Path, maps: Arc<Maps>) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let listener = mk_socket()?;
        bind(&listener, &SocketAddrUnix::new(path)?)?;
        listen(&listener, 16)?;
        Ok(Self { path: path.to_owned(), listener, peers: Vec::new(), maps, buffer: vec![0; MESSAGE_MAX] })
    }

    /// What has come, waiting at most so long for the first.
    pub(super) fn receive(&mut self, wait: Duration) -> Vec<Letter> {
        let mut letters = Vec::new();
        let Ok(wait) = Timespec::try_from(wait) else { return letters };
        let mut fds = vec![PollFd::new(&self.listener, PollFlags::IN)];
        fds.extend(self.peers.iter().map(|peer| PollFd::new(peer, PollFlags::IN)));
        if poll(&mut fds, Some(&wait)).unwrap_or(0) == 0 {
            return letters;
        }
        drop(fds);
        self.accept();
        let Self { peers, buffer, .. } = self;
        peers.retain(|peer| take(peer, buffer, &mut letters));
        letters
    }

    fn accept(&mut self) {
        while let Ok(peer) = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            if self.is_palisade(&peer) {
                self.peers.push(peer);
            }
        }
    }

    /// A workload that runs as root could connect and invent events: a peer that carries a label is not believed.
    fn is_palisade(&self, peer: &OwnedFd) -> bool {
        let Ok(credentials) = socket_peercred(peer) else { return false };
        let pid = credentials.pid.as_raw_nonzero().get().unsigned_abs();
        credentials.uid.is_root() && matches!(self.maps.tasks.label(pid), Ok(None))
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        // Left behind, it would be replaced by the next run of that label.
        drop(std::fs::remove_file(&self.path));
    }
}

/// Takes the letters of one peer; false when it has ended.
fn take(peer: &OwnedFd, buffer: &mut Vec<u8>, letters: &mut Vec<Letter>) -> bool {
    for _ in 0..BATCH {
        match recv(peer, buffer.as_mut_slice(), RecvFlags::DONTWAIT) {
            Ok((0, _)) => return false,
            Ok((length, _)) => letters.extend(Letter::parse(&buffer[..length])),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return true,
            Err(_) => return false,
        }
    }
    true
}

// === impl Outbox ===

impl Outbox {
    pub(super) fn new(home: Home) -> Self {
        Self { home, peers: HashMap::new(), silent: HashSet::new() }
    }

    /// Sends a record to the run of a label, without waiting. False: nobody is there to get it. No room: counted, and
    /// told when there is room again.
    #[must_use]
    pub(super) fn send(&mut self, label: u32, record: &[u8]) -> bool {
        let table = Event::table_of(record).unwrap_or(0);
        if self.silent.contains(&table) {
            return false;
        }
        if self.peers.get_mut(&label).is_some_and(|peer| peer.send(record).is_ok()) {
            return true;
        }
        // None yet; or that of an earlier run which had the label and has ended.
        self.peers.remove(&label);
        let Ok(socket) = open(&self.home.socket_of(label)) else {
            if self.silent.len() >= SILENT_MAX {
                self.silent.clear();
            }
            self.silent.insert(table);
            return false;
        };
        let mut peer = Peer { socket, ring_lost: 0, socket_lost: 0 };
        let sent = peer.send(record).is_ok();
        if sent {
            self.peers.insert(label, peer);
        }
        sent
    }

    /// Tells every run of records that the ring lost.
    pub(super) fn tell_ring_loss(&mut self, count: u64) {
        self.peers.values_mut().for_each(|peer| peer.ring_lost += count);
    }

    /// Tells what is still to be told; forgets peers that have ended.
    pub(super) fn flush(&mut self) {
        self.peers.retain(|_, peer| peer.tell_losses().is_ok());
    }
}

// === impl Peer ===

impl Peer {
    /// Sends a record, or counts it where there is no room.
    fn send(&mut self, record: &[u8]) -> Result<(), Gone> {
        if !(self.tell_losses()? && post(&self.socket, RECORD, record)?) {
            self.socket_lost += 1;
        }
        Ok(())
    }

    /// Whether there was room to tell all losses.
    fn tell_losses(&mut self) -> Result<bool, Gone> {
        for (kind, count) in [(RING_LOSS, &mut self.ring_lost), (SOCKET_LOSS, &mut self.socket_lost)] {
            if *count == 0 {
                continue;
            }
            if !post(&self.socket, kind, &count.to_le_bytes())? {
                return Ok(false);
            }
            *count = 0;
        }
        Ok(true)
    }
}

/// Whether there was room.
fn post(socket: &OwnedFd, kind: u8, body: &[u8]) -> Result<bool, Gone> {
    let mut message = Vec::with_capacity(1 + body.len());
    message.push(kind);
    message.extend(body);
    match send(socket, &message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(_) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => Ok(false),
        Err(_) => Err(Gone),
    }
}

fn mk_socket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    let socket = mk_socket()?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    // Without CAP_NET_ADMIN the default size has to do.
    let _ = set_socket_send_buffer_size_force(&socket, SEND_BUFFER_BYTES);
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_told_apart_and_others_ignored() {
        assert_eq!(Letter::parse(&[RECORD, 1, 2]), Some(Letter::Record(vec![1, 2])));
        assert_eq!(Letter::parse(&[RING_LOSS, 5, 0, 0, 0, 0, 0, 0, 0]), Some(Letter::RingLoss(5)));
        assert_eq!(Letter::parse(&[SOCKET_LOSS, 5]), None);
        assert_eq!(Letter::parse(&[9, 5]), None);
        assert_eq!(Letter::parse(&[]), None);
    }
}
