//! The processes of a case: the one that holds its namespaces, and the acting probes.

use std::fs;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType};

/// A probe that has not answered for so long has lost its way: no call of a case waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It succeeded.
    Passed,
    /// It failed with this errno.
    Failed(i32),
    /// The probe met something that should not be (an exit status other than 42).
    Odd,
    /// The probe ended.
    Died,
}

/// A process that talks over one socket, message by message; it ends when the socket closes.
#[derive(Debug)]
pub(super) struct Process {
    /// `None` for a process of a container, which ends with the container at the latest.
    child: Option<Child>,
    pid: u32,
    pid_inside: u32,
    socket: Option<OwnedFd>,
}

/// A file that an acting probe gets as descriptor 2: its path in the root, and `r`, `w` or `rw`.
pub(super) type Stdio2<'a> = Option<(&'a str, &'static str)>;

/// How an acting probe is started.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Start {
    /// Its program.
    pub(super) program: String,
    /// What is executed to start it.
    pub(super) started_as: String,
    /// Its uid.
    pub(super) uid: u32,
    /// Whether it gets a controlling terminal.
    pub(super) tty: bool,
}

// === impl Process ===

impl Process {
    /// Starts a program with descriptors 0 and 1 on a socket.
    pub(super) fn spawn(program: &Path, arguments: &[String]) -> Result<Self> {
        let (ours, theirs) = sockets()?;
        let second = theirs.try_clone().context("dup")?;
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(second))
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let pid = child.id();
        Ok(Self { child: Some(child), pid, pid_inside: pid, socket: Some(ours) })
    }

    /// A process that somebody else started with the other end of `socket`; its number on this machine is not known yet.
    pub(super) fn of_container(socket: OwnedFd, pid_inside: u32) -> Self {
        Self { child: None, pid: 0, pid_inside, socket: Some(socket) }
    }

    /// Starts an acting probe in the namespaces of `init` and, where there is one, in a cgroup.
    pub(super) fn act(
        probe: &Path,
        init: &Self,
        cgroup: Option<&Path>,
        start: &Start,
        network: bool,
        stdio: Stdio2<'_>,
    ) -> Result<Self> {
        let process = Self::spawn(probe, &["act".to_owned(), init.pid().to_string()])?;
        if let Some(cgroup) = cgroup {
            // Before it becomes the acting program, so that its exec already happens inside.
            fs::write(cgroup.join("cgroup.procs"), process.pid().to_string()).context("cannot enter the cgroup")?;
        }
        process.send(&start.command(network, stdio)?, &[])?;
        process.expect_ready().with_context(|| format!("cannot start the acting program {}", start.started_as))?;
        Ok(process)
    }

    /// The same process, now that its number is known.
    pub(super) fn with_pid(mut self, pid: u32) -> Self {
        self.pid = pid;
        self
    }

    /// Its process number.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// The same in its own pid namespace.
    pub(super) fn pid_inside(&self) -> u32 {
        self.pid_inside
    }

    /// Waits for the word that it has started.
    pub(super) fn expect_ready(&self) -> Result<()> {
        match self.receive()? {
            Some(text) if text == "ready" => Ok(()),
            Some(text) => bail!("{text}"),
            None => bail!("it ended"),
        }
    }

    /// Sends one command, with up to two descriptors where it needs them.
    pub(super) fn send(&self, text: &str, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        let Some(socket) = &self.socket else { bail!("the socket is closed") };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            ensure!(control.push(SendAncillaryMessage::ScmRights(descriptors)), "no room for the descriptors");
        }
        rustix::net::sendmsg(socket, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::NOSIGNAL)
            .with_context(|| format!("cannot send {text:?}"))?;
        Ok(())
    }

    /// Has one operation performed. An end of the probe is an outcome, not an error.
    pub(super) fn perform(&self, command: &str, descriptor: Option<BorrowedFd<'_>>) -> Result<Outcome> {
        let index = command.split(' ').next().unwrap_or_default();
        if self.send(command, descriptor.as_slice()).is_err() {
            return Ok(Outcome::Died);
        }
        let Some(answer) = self.receive()? else { return Ok(Outcome::Died) };
        let mut words = answer.split(' ');
        ensure!(words.next() == Some(index), "the answer to {command:?} is {answer:?}");
        let kind = words.next().unwrap_or_default();
        let number: i32 = words.next().unwrap_or_default().parse().with_context(|| format!("the answer {answer:?}"))?;
        Ok(match kind {
            "ok" => Outcome::Passed,
            "err" => Outcome::Failed(number),
            _ => Outcome::Odd,
        })
    }

    /// The next message; `None` where the process has ended.
    pub(super) fn receive(&self) -> Result<Option<String>> {
        let Some(socket) = &self.socket else { bail!("the socket is closed") };
        let patience = Timespec { tv_sec: i64::try_from(PATIENCE.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
        let mut ready = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)];
        ensure!(poll(&mut ready, Some(&patience)).context("poll")? > 0, "no answer for {PATIENCE:?}");
        let mut buffer = vec![0_u8; 4096];
        let n = match rustix::io::read(socket, &mut buffer) {
            Ok(n) => n,
            // It ended with something of ours unread.
            Err(rustix::io::Errno::CONNRESET) => 0,
            Err(error) => return Err(error).context("cannot read an answer"),
        };
        Ok((n > 0).then(|| String::from_utf8_lossy(&buffer[..n]).into_owned()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.socket = None;
        // It ends by itself when its socket closes; one that a protection stops from that is killed.
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Two connected sockets, ours and that of a process.
pub(super) fn sockets() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).context("socketpair")
}

// === impl Start ===

impl Start {
    /// The command that makes a launcher become this.
    pub(super) fn command(&self, network: bool, stdio: Stdio2<'_>) -> Result<String> {
        let Self { program: _, started_as, uid, tty } = self;
        let (file, mode) = stdio.unwrap_or(("-", "-"));
        ensure!(!started_as.contains(' ') && !file.contains(' '), "a space in {started_as:?} or {file:?}");
        Ok(format!("start {started_as} {uid} {} {} {file} {mode}", u8::from(*tty), u8::from(network)))
    }
}
