//! The order of rules that match one access (meaning 4).

use std::cmp::Reverse;

/// The rank of a matching rule. The smaller is the better ranked; the fields are in the order of comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// (1) Whether it has no `fromSource`.
    pub(crate) unsourced: bool,
    /// (2) How it names the object.
    pub(crate) object: ObjectRank,
    /// (3) How its source names the acting program.
    pub(crate) source: SourceRank,
    /// (4) What it says to this access.
    pub(crate) says: Says,
}

/// How a rule names what it met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ObjectRank {
    /// By its exact path.
    ExactPath,
    /// By base name.
    ExecName,
    /// By a glob; more literal bytes first.
    Glob(Reverse<usize>),
    /// By a directory, or a glob whose last component is `*` or `**`; longer first.
    Directory(Reverse<usize>),
    /// An end of a connection; the longer prefix first, then the fewer ports.
    Endpoint(Reverse<usize>, usize),
    /// A socket by tcp, udp, sctp, icmp or icmpv6.
    Protocol,
    /// A socket by its type.
    SocketType,
    /// `all`.
    AllSockets,
    /// A capability: there is one way to name it.
    Capability,
}

/// How a rule names the acting program.
//
// AMBIGUITY (meaning 4(3), "exact source before glob source"): a directory as source is neither. Here it ranks with the
// globs. Others: with the exact sources; between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SourceRank {
    /// By its exact path, or it asks for no source.
    Exact,
    /// By glob or directory.
    Other,
}

/// What a rule says after readOnly, ownerOnly and allowedArgs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Says {
    /// Denied.
    Block,
    /// Passes, reported.
    Audit,
    /// Passes.
    Allow,
    /// A Block or Audit whose conditions pass: nothing.
    Silent,
}

impl ObjectRank {
    /// Whether this is a directory, or a glob that ranks as one.
    pub(crate) fn is_directory(self) -> bool {
        matches!(self, Self::Directory(_))
    }
}
