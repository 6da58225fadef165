//! The types of `network.matchEndpoints`: addresses, ports, protocol and direction.
//!
//! An IPv4 address and its IPv4-mapped IPv6 form are one address: here there is only the IPv4 one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an endpoint rule names. Each part that is absent stands for every value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// `protocol`
    pub protocol: EndpointProtocol,
    /// `direction`
    pub direction: Direction,
    /// `cidr` (one of its comma list) or `fqdn`.
    pub host: Host,
    /// `ports`; empty: every port, and sockets that have none.
    pub ports: Vec<PortRange>,
}

/// Which addresses an endpoint rule names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// Neither `cidr` nor `fqdn`: every address.
    Any,
    /// `cidr`
    Cidr(Cidr),
    /// `fqdn`: met by nothing, for nobody looks names up.
    Name(String),
}

/// The words of `protocol` in an endpoint rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum EndpointProtocol {
    /// `any`: every socket of IP but raw ones.
    #[default]
    Any,
    /// `TCP`
    Tcp,
    /// `UDP`
    Udp,
    /// `SCTP`
    Sctp,
}

/// The words of `direction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Direction {
    /// `egress`: connect, and sending to an address.
    Egress,
    /// `ingress`: bind, listen and accept.
    Ingress,
    /// `both`
    #[default]
    Both,
}

/// A range of ports, ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// An address range: the bits behind the prefix are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no address range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// No address in front of the `/`.
    #[error("no IPv4 or IPv6 address")]
    Address,
    /// No number of bits behind it.
    #[error("no prefix length from 0 to {limit}")]
    Prefix {
        /// Bits of an address of the family.
        limit: u8,
    },
    /// Bits behind the prefix are set, so that it may be that one address is meant.
    #[error("bits behind the prefix are set: the range is {0}")]
    HostBits(Cidr),
}

// === impl Cidr ===

impl Cidr {
    /// Reads `ADDRESS/PREFIX`, or an address alone.
    ///
    /// # Errors
    /// [`CidrError`].
    pub fn parse(text: &str) -> Result<Self, CidrError> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| CidrError::Address)?;
        let limit = width(address);
        let prefix = match bits {
            None => limit,
            // `parse` alone would take `+8`.
            Some(bits) => Some(bits)
                .filter(|b| b.bytes().all(|c| c.is_ascii_digit()))
                .and_then(|b| b.parse().ok())
                .filter(|b| *b <= limit)
                .ok_or(CidrError::Prefix { limit })?,
        };
        let range = Self { address: masked(address, prefix), prefix };
        if range.address == address { Ok(range.unmapped()) } else { Err(CidrError::HostBits(range.unmapped())) }
    }

    /// The first address.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// The number of bits that are given.
    #[must_use]
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether the address lies in it. An IPv4-mapped address is its IPv4 address.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.prefix) == self.address
    }

    /// A range of IPv4-mapped addresses as the IPv4 range.
    fn unmapped(self) -> Self {
        const MAPPED_BITS: u8 = 96;
        match (self.address.to_canonical(), self.prefix.checked_sub(MAPPED_BITS)) {
            (address @ IpAddr::V4(_), Some(prefix)) if self.address.is_ipv6() => Self { address, prefix },
            _ => self,
        }
    }
}

/// Bits of an address of the family.
fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address with the bits behind the prefix cleared. An IPv4 address has at most 32 to give.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix.into())).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

// === impl PortRange ===

impl PortRange {
    /// From `first` to `last`; `None` if the last comes before the first.
    #[must_use]
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first <= last { Some(Self { first, last }) } else { None }
    }

    /// The first port.
    #[must_use]
    pub fn first(self) -> u16 {
        self.first
    }

    /// The last port.
    #[must_use]
    pub fn last(self) -> u16 {
        self.last
    }

    /// Whether the port lies in it.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

/// One port.
impl From<u16> for PortRange {
    fn from(port: u16) -> Self {
        Self { first: port, last: port }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

// === impl EndpointProtocol, Direction ===

impl EndpointProtocol {
    /// All words.
    pub const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Sctp, Self::Any];

    /// The word as policies write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

impl Direction {
    /// All words.
    pub const ALL: [Self; 3] = [Self::Egress, Self::Ingress, Self::Both];

    /// The word as policies write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
            Self::Both => "both",
        }
    }

    /// Whether connecting and sending are meant.
    #[must_use]
    pub fn is_egress(self) -> bool {
        matches!(self, Self::Egress | Self::Both)
    }

    /// Whether binding, listening and accepting are meant.
    #[must_use]
    pub fn is_ingress(self) -> bool {
        matches!(self, Self::Ingress | Self::Both)
    }
}

/// What the rule names, in its own words.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, direction, host, ports } = self;
        write!(f, "{} {}", direction.name(), protocol.name())?;
        match host {
            Host::Any => {}
            Host::Cidr(cidr) => write!(f, " {cidr}")?,
            Host::Name(name) => write!(f, " {name}")?,
        }
        for (at, range) in ports.iter().enumerate() {
            write!(f, "{}{range}", if at == 0 { " port " } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> String {
        match Cidr::parse(text) {
            Ok(cidr) => cidr.to_string(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn a_range_is_read_and_a_mapped_one_is_the_ipv4_range() {
        for (text, expected) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("fd00::/8", "fd00::/8"),
            ("::1", "::1/128"),
            ("::/0", "::/0"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("10.0.0.1/8", "error: bits behind the prefix are set: the range is 10.0.0.0/8"),
            ("::ffff:10.1.2.3/104", "error: bits behind the prefix are set: the range is 10.0.0.0/8"),
            ("10.0.0.0/33", "error: no prefix length from 0 to 32"),
            ("10.0.0.0/+8", "error: no prefix length from 0 to 32"),
            ("fd00::/129", "error: no prefix length from 0 to 128"),
            ("10.0.0.0/", "error: no prefix length from 0 to 32"),
            ("10.0.0/8", "error: no IPv4 or IPv6 address"),
            ("db.example", "error: no IPv4 or IPv6 address"),
            ("", "error: no IPv4 or IPv6 address"),
        ] {
            assert_eq!(cidr(text), expected, "{text}");
        }
    }

    #[test]
    fn a_range_contains_mapped_addresses_of_its_own_and_no_other_family() {
        let contains = |range: &str, address: &str| Cidr::parse(range).unwrap().contains(address.parse().unwrap());
        assert!(contains("10.0.0.0/8", "10.255.0.1"));
        assert!(contains("10.0.0.0/8", "::ffff:10.255.0.1"));
        assert!(!contains("10.0.0.0/8", "11.0.0.0"));
        assert!(!contains("0.0.0.0/0", "::1"));
        assert!(!contains("::/0", "10.0.0.1"));
        assert!(!contains("::/0", "::ffff:10.0.0.1"));
        assert!(contains("fd00::/8", "fdff::1"));
        assert!(!contains("10.1.2.0/31", "10.1.2.2"));
    }
}
