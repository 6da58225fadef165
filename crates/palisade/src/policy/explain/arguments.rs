//! The arguments that name an access.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use palisade_policy::model::Capability;
use palisade_ruleset::Program;

use crate::policy::access::{BadName, Named, Question, What};
use crate::policy::end::NamedEnd;
use crate::policy::socket::NamedSocket;

/// What is done: exactly one.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What is done (exactly one)")]
#[group(required = true, multiple = false)]
pub(super) struct Subject {
    /// Run this program
    #[arg(long, value_name = "PATH", value_parser = OsStringValueParser::new().try_map(named))]
    exec: Option<Named>,
    /// Read this file or directory
    #[arg(long, value_name = "PATH", value_parser = OsStringValueParser::new().try_map(named))]
    read: Option<Named>,
    /// Write, create, rename, remove or chmod this
    #[arg(long, value_name = "PATH", value_parser = OsStringValueParser::new().try_map(named))]
    write: Option<Named>,
    /// Map this file executable, as the loader does with libraries
    #[arg(long, value_name = "PATH", value_parser = OsStringValueParser::new().try_map(named))]
    map_exec: Option<Named>,
    /// Open a socket: tcp, udp, icmp, raw, packet, unix, netlink-route ..., or FAMILY:TYPE:PROTOCOL
    #[arg(long, value_name = "SOCKET", value_parser = str::parse::<NamedSocket>)]
    socket: Option<NamedSocket>,
    /// Connect, or send, to this address and port: 10.0.0.5:5432, [fd00::5]:5432
    #[arg(long, value_name = "IP:PORT", value_parser = str::parse::<NamedEnd>)]
    connect: Option<NamedEnd>,
    /// Bind to this address and port, listen and accept there
    #[arg(long, value_name = "IP:PORT", value_parser = str::parse::<NamedEnd>)]
    bind: Option<NamedEnd>,
    /// Use a capability: net_raw, CAP_SYS_ADMIN ...
    #[arg(long, value_name = "NAME", value_parser = capability)]
    capability: Option<Capability>,
    /// Print the base set instead: what every program may read where no rule decides
    #[arg(long)]
    pub(super) base: bool,
}

/// Who does it.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Who does it")]
pub(super) struct Task {
    /// The acting program (of --exec: the one that calls exec); `unknown` if it cannot be told [default: one that no policy names]
    #[arg(long, value_name = "PROGRAM", value_parser = OsStringValueParser::new().try_map(program))]
    from: Option<Program>,
    /// Its real user id
    #[arg(long, value_name = "N", default_value_t = 0)]
    uid: u32,
    /// The owner of the file [default: as in --root, else somebody else]
    #[arg(long, value_name = "N")]
    owner: Option<u32>,
    /// It has a controlling terminal
    #[arg(long)]
    tty: bool,
    /// The protocol of --connect and --bind: tcp, udp, sctp ... [default: tcp]
    #[arg(long, value_name = "SOCKET", value_parser = str::parse::<NamedSocket>)]
    protocol: Option<NamedSocket>,
    /// `argv[0]` of --exec, where it is not the program's name
    #[arg(long = "as", value_name = "NAME")]
    invoked_as: Option<OsString>,
    /// An argument of --exec; may be given several times
    #[arg(long = "arg", value_name = "ARGUMENT", allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

// === impl Subject, Task ===

impl Subject {
    /// What is done; `None` for `--base`.
    pub(super) fn what(&self) -> Option<What> {
        let Self { exec, read, write, map_exec, socket, connect, bind, capability, base: _ } = self;
        let files = [
            exec.clone().map(What::Exec),
            read.clone().map(What::Read),
            write.clone().map(What::Write),
            map_exec.clone().map(What::MapExec),
            socket.clone().map(What::Socket),
            connect.clone().map(What::Connect),
            bind.clone().map(What::Bind),
            capability.map(What::Capability),
        ];
        files.into_iter().flatten().next()
    }
}

impl Task {
    /// The whole question.
    pub(super) fn question(&self, what: What) -> Question {
        let Self { from, uid, owner, tty, protocol, invoked_as, arguments } = self;
        let mut what = what;
        if let (What::Connect(end) | What::Bind(end), Some(protocol)) = (&mut what, protocol) {
            end.protocol = protocol.clone();
        }
        Question {
            what,
            from: from.clone(),
            uid: *uid,
            owner: *owner,
            terminal: *tty,
            invoked_as: invoked_as.clone().map(OsString::into_vec),
            arguments: arguments.iter().map(|a| a.as_bytes().to_vec()).collect(),
        }
    }
}

// === value parsers ===

fn named(text: OsString) -> Result<Named, BadName> {
    Named::parse(text.as_bytes())
}

fn program(text: OsString) -> Result<Program, BadName> {
    Named::parse_program(text.as_bytes())
}

fn capability(text: &str) -> Result<Capability, &'static str> {
    Capability::from_name(text).ok_or("no such capability: write it as `net_raw` or `CAP_NET_RAW`")
}

/// `KEY=VALUE`
pub(super) fn label(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err("write KEY=VALUE"),
    }
}
