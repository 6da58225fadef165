//! Reads the kernel's audit messages from netlink, beside (never instead of) an audit daemon.
//!
//! It joins the multicast group that the kernel offers for readers and changes nothing: whether the kernel's audit is
//! on is the administrator's choice. Where it is off, or we may not read, the reason is said.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::netlink::{AUDIT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

use super::apply::KernelLandlock;
use super::audit::{Record, Seen, Tracker};

/// A subscription to the kernel's audit messages.
#[derive(Debug)]
pub struct AuditReader {
    socket: OwnedFd,
    tracker: Tracker,
    overruns: u64,
    /// What the kernel had lost when we began.
    lost_before: u32,
}

/// The kernel's audit settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditStatus {
    /// 0: off, 1: on, 2: on and locked until reboot.
    pub enabled: u32,
    /// The audit daemon's process; 0 without one.
    pub daemon: u32,
    /// Messages, of anybody, that the kernel had no room for since it was started.
    pub lost: u32,
}

/// Why denials cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuditUnavailable {
    /// The kernel writes no such records.
    #[error("this kernel's Landlock (ABI {0}) writes no audit records; it needs Linux 6.15 (ABI 7)")]
    OldAbi(u32),
    /// There is no audit in this kernel, or in this network namespace.
    #[error("this kernel offers no audit socket")]
    Socket(#[source] Errno),
    /// CAP_AUDIT_READ is missing, or this is not the initial user namespace.
    #[error("only root, outside of containers, may read the kernel's audit messages (CAP_AUDIT_READ): run as root")]
    Subscribe(#[source] Errno),
    /// The settings could not be asked for (CAP_AUDIT_CONTROL).
    #[error("the kernel's audit settings cannot be read (CAP_AUDIT_CONTROL, outside of containers): run as root")]
    Status(#[source] Errno),
    /// Audit is off.
    #[error("the kernel's audit is off: run `auditctl -e 1`, start auditd, or boot with audit=1")]
    Off,
}

/// `AUDIT_GET`
const AUDIT_GET: u16 = 1000;
/// `NLMSG_ERROR`
const NLMSG_ERROR: u16 = 2;
/// `NLM_F_REQUEST`
const NLM_F_REQUEST: u16 = 1;
/// `struct nlmsghdr`: length, type, flags, sequence number, port.
const HEADER_BYTES: usize = 16;
/// `AUDIT_NLGRP_READLOG`, as a mask.
const READLOG: u32 = 1;
/// `MAX_AUDIT_MESSAGE_LENGTH` of the kernel, with room for the header.
const MESSAGE_MAX_BYTES: usize = 8970 + HEADER_BYTES;
/// How long the kernel may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Messages read in one go, so that a flood does not keep the caller.
const BATCH_MAX: usize = 256;
/// Room for messages that wait for us: some 4,000.
const SOCKET_BYTES: usize = 4 << 20;
/// A call's own record comes when it ends, right after the denial; what has not come by then does not come.
const FURTHER_RECORDS: Duration = Duration::from_millis(20);

// === impl AuditStatus ===

impl AuditStatus {
    /// Asks the kernel.
    ///
    /// # Errors
    /// [`AuditUnavailable::Socket`] or [`AuditUnavailable::Status`].
    pub fn ask() -> Result<Self, AuditUnavailable> {
        let socket = socket()?;
        let request = |length: u32| {
            let mut out = Vec::with_capacity(HEADER_BYTES);
            out.extend_from_slice(&length.to_ne_bytes());
            out.extend_from_slice(&AUDIT_GET.to_ne_bytes());
            out.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
            out.extend_from_slice(&[0; 8]);
            out
        };
        let kernel = SocketAddrNetlink::new(0, 0);
        rustix::net::sendto(&socket, &request(16), SendFlags::empty(), &kernel).map_err(AuditUnavailable::Status)?;
        let mut buffer = vec![0; MESSAGE_MAX_BYTES];
        // The answer, or an error; nothing else is sent to this socket.
        loop {
            if !readable(&socket, ANSWER_TIMEOUT).map_err(AuditUnavailable::Status)? {
                return Err(AuditUnavailable::Status(Errno::TIMEDOUT));
            }
            let message = receive(&socket, &mut buffer).map_err(AuditUnavailable::Status)?;
            let Some((kind, payload)) = message else { continue };
            match kind {
                AUDIT_GET => {
                    let field = |i: usize| payload.get(i * 4..i * 4 + 4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes);
                    let (Some(enabled), Some(daemon), Some(lost)) = (field(1), field(3), field(6)) else {
                        return Err(AuditUnavailable::Status(Errno::BADMSG));
                    };
                    return Ok(Self { enabled, daemon, lost });
                }
                NLMSG_ERROR => {
                    let code = payload.get(..4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_ne_bytes);
                    if code != 0 {
                        return Err(AuditUnavailable::Status(Errno::from_raw_os_error(-code)));
                    }
                }
                _ => {}
            }
        }
    }
}

// === impl AuditReader ===

impl AuditReader {
    /// Subscribes.
    ///
    /// # Errors
    /// [`AuditUnavailable`], each with what would make it available.
    pub fn open() -> Result<Self, AuditUnavailable> {
        let abi = KernelLandlock::ask().map_or_else(|_| Default::default(), KernelLandlock::abi);
        if !abi.logs() {
            return Err(AuditUnavailable::OldAbi(abi.version()));
        }
        let socket = socket()?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, READLOG)).map_err(AuditUnavailable::Subscribe)?;
        // Without CAP_NET_ADMIN the usual room has to do; what it cannot hold is counted.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, SOCKET_BYTES);
        let AuditStatus { enabled, daemon: _, lost } = AuditStatus::ask()?;
        if enabled == 0 {
            return Err(AuditUnavailable::Off);
        }
        Ok(Self { socket, tracker: Tracker::default(), overruns: 0, lost_before: lost })
    }

    /// What came within the timeout; what came together is given together.
    ///
    /// # Errors
    /// What the socket says, but for an overrun, which is counted.
    pub fn next(&mut self, timeout: Duration) -> Result<Vec<Seen>, Errno> {
        let mut out = Vec::new();
        let timeout = if self.tracker.waits() { timeout.min(FURTHER_RECORDS) } else { timeout };
        if !readable(&self.socket, timeout)? {
            return Ok(self.tracker.flush());
        }
        let mut buffer = vec![0; MESSAGE_MAX_BYTES];
        for _ in 0..BATCH_MAX {
            match receive(&self.socket, &mut buffer) {
                Ok(Some((kind, text))) => {
                    if let Some(record) = Record::parse(kind, text) {
                        out.extend(self.tracker.push(record));
                    }
                }
                Ok(None) => {}
                Err(Errno::AGAIN) => break,
                Err(Errno::NOBUFS) => self.overruns += 1,
                Err(other) => return Err(other),
            }
        }
        Ok(out)
    }

    /// How often our socket was full. Each time at least one message is missing.
    #[must_use]
    pub fn overruns(&self) -> u64 {
        self.overruns
    }

    /// How many messages, of anybody, the kernel had no room for since this reader was opened; 0 where that says nothing:
    /// without a daemon the kernel counts as lost what it could not keep for one, although readers had it.
    #[must_use]
    pub fn lost_in_kernel(&self) -> u64 {
        match AuditStatus::ask() {
            Ok(AuditStatus { enabled: _, daemon, lost }) if daemon != 0 => u64::from(lost.wrapping_sub(self.lost_before)),
            Ok(_) | Err(_) => 0,
        }
    }

    /// Denials given out without their process.
    #[must_use]
    pub fn nameless(&self) -> u64 {
        self.tracker.nameless
    }
}

fn socket() -> Result<OwnedFd, AuditUnavailable> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(AUDIT)).map_err(AuditUnavailable::Socket)
}

/// One message: type and payload; `None` if it is too short for a header.
fn receive<'b>(socket: &OwnedFd, buffer: &'b mut [u8]) -> Result<Option<(u16, &'b [u8])>, Errno> {
    let (length, _) = rustix::net::recv(socket, &mut *buffer, RecvFlags::DONTWAIT)?;
    let message = &buffer[..length.min(buffer.len())];
    let kind = message.get(4..6).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes);
    // The length field is not trusted: for some messages the kernel leaves the header out of it.
    Ok(kind.and_then(|k| Some((k, message.get(HEADER_BYTES..)?))))
}

fn readable(socket: &OwnedFd, timeout: Duration) -> Result<bool, Errno> {
    let timeout =
        Timespec { tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(timeout.subsec_nanos()) };
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    Ok(rustix::event::poll(&mut fds, Some(&timeout))? > 0)
}
