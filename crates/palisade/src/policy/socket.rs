//! Sockets by name.

use std::fmt;
use std::str::FromStr;

use palisade_ruleset::Socket;

/// A socket as users name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedSocket {
    /// The name as given.
    pub(crate) name: String,
    /// The kernel's numbers.
    pub(crate) socket: Socket,
}

/// A name that stands for no socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnknownSocket;

/// The names: family, type, protocol as the kernel counts them.
const NAMES: [(&str, [i32; 3]); 17] = [
    ("tcp", [2, 1, 6]),
    ("tcp6", [10, 1, 6]),
    ("udp", [2, 2, 17]),
    ("udp6", [10, 2, 17]),
    ("sctp", [2, 1, 132]),
    ("mptcp", [2, 1, 262]),
    ("icmp", [2, 3, 1]),
    ("icmpv6", [10, 3, 58]),
    ("ping", [2, 2, 1]),
    ("raw", [2, 3, 255]),
    ("packet", [17, 3, 768]),
    ("unix", [1, 1, 0]),
    ("netlink-route", [16, 3, 0]),
    ("netlink-audit", [16, 3, 9]),
    ("vsock", [40, 1, 0]),
    ("alg", [38, 5, 0]),
    ("smc", [43, 1, 0]),
];

// === impl NamedSocket ===

impl NamedSocket {
    /// One of each kind that rules tell apart.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        NAMES.into_iter().map(|(name, numbers)| Self::new(name, numbers))
    }

    fn new(name: &str, [family, kind, protocol]: [i32; 3]) -> Self {
        Self { name: name.to_owned(), socket: Socket { family, kind, protocol } }
    }
}

/// A name of the list in any case, or `FAMILY:TYPE:PROTOCOL` in numbers.
impl FromStr for NamedSocket {
    type Err = UnknownSocket;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((name, numbers)) = NAMES.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            return Ok(Self::new(name, numbers));
        }
        let numbers: Vec<i32> = text.split(':').map(str::parse).collect::<Result<_, _>>().map_err(|_| UnknownSocket)?;
        let numbers: [i32; 3] = numbers.try_into().map_err(|_| UnknownSocket)?;
        Ok(Self::new(text, numbers))
    }
}

impl fmt::Display for UnknownSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
        write!(f, "one of {}, or FAMILY:TYPE:PROTOCOL in numbers", names.join(", "))
    }
}

impl std::error::Error for UnknownSocket {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_sockets() {
        assert_eq!("TCP".parse::<NamedSocket>().unwrap().socket, Socket { family: 2, kind: 1, protocol: 6 });
        assert_eq!("16:3:0".parse::<NamedSocket>().unwrap().socket, Socket { family: 16, kind: 3, protocol: 0 });
        for bad in ["", "tcpp", "1:2", "1:2:3:4", "a:b:c"] {
            assert!(bad.parse::<NamedSocket>().is_err(), "{bad}");
        }
    }
}
