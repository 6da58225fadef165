//! Ends of connections by name: `10.0.0.5:5432`, `udp/[fd00::53]:53`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use palisade_ruleset::{End, Operation, Side, Socket};

use super::socket::NamedSocket;

/// An address and port, and the socket that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedEnd {
    /// The protocol as given; that of the address's family is meant.
    pub(crate) protocol: NamedSocket,
    /// The address and port.
    pub(crate) address: SocketAddr,
}

/// A text that names no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnknownEnd;

// === impl NamedEnd ===

impl NamedEnd {
    /// To connect or send to it.
    pub(crate) fn connected(&self) -> Operation {
        self.operation(Side::Remote, self.address)
    }

    /// To bind to it, and to listen and accept there, each with its address: bound to `::`, a socket is bound to 0.0.0.0 as
    /// well.
    pub(crate) fn bound(&self) -> Vec<(SocketAddr, Operation)> {
        let everywhere = self.address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let other = everywhere.then(|| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), self.address.port()));
        let addresses = std::iter::once(self.address).chain(other);
        addresses.map(|address| (address, self.operation(Side::Local, address))).collect()
    }

    fn operation(&self, side: Side, address: SocketAddr) -> Operation {
        let end = End { side, address: address.ip(), port: address.port() };
        Operation::Socket { socket: self.socket(), end: Some(end) }
    }

    fn socket(&self) -> Socket {
        const AF_INET: i32 = 2;
        const AF_INET6: i32 = 10;
        let given = self.protocol.socket;
        let family = if self.address.is_ipv4() { AF_INET } else { AF_INET6 };
        let of_ip = [AF_INET, AF_INET6].contains(&given.family);
        Socket { family: if of_ip { family } else { given.family }, ..given }
    }
}

/// `[PROTOCOL/]ADDRESS:PORT`; TCP where no protocol is given.
impl FromStr for NamedEnd {
    type Err = UnknownEnd;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (protocol, address) = text.split_once('/').unwrap_or(("tcp", text));
        let protocol = protocol.parse().map_err(|_| UnknownEnd)?;
        let address = address.parse().map_err(|_| UnknownEnd)?;
        Ok(Self { protocol, address })
    }
}

impl fmt::Display for NamedEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.protocol.name, self.address)
    }
}

impl fmt::Display for UnknownEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("write ADDRESS:PORT, as 10.0.0.5:5432 or [fd00::5]:5432, or with a protocol in front, as udp/10.0.0.5:53")
    }
}

impl std::error::Error for UnknownEnd {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_an_address_a_port_and_perhaps_a_protocol() {
        let end: NamedEnd = "10.0.0.5:5432".parse().unwrap();
        assert_eq!(end.to_string(), "tcp 10.0.0.5:5432");
        assert_eq!(end.socket(), Socket { family: 2, kind: 1, protocol: 6 });
        let end: NamedEnd = "UDP/[fd00::53]:53".parse().unwrap();
        assert_eq!(end.socket(), Socket { family: 10, kind: 2, protocol: 17 });
        assert_eq!(end.bound().len(), 1);
        assert_eq!("[::]:80".parse::<NamedEnd>().unwrap().bound().len(), 2);
        for bad in ["", "10.0.0.5", "db:5432", "tpc/10.0.0.5:1", "fd00::5:1", "10.0.0.5:65536"] {
            assert_eq!(bad.parse::<NamedEnd>(), Err(UnknownEnd), "{bad}");
        }
    }
}
