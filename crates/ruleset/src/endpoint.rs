//! Ends of connections: which endpoint rules meet one, and the text by which an automaton finds them.
//!
//! A network operation becomes a *key*, a short text over bytes that no path rule tells apart, so that the automata of
//! paths serve: `/`, the row of the socket, which end of which family is named (or none), the port, the address. A cidr is
//! then a beginning of that text, as a recursive directory is of a path; a range of ports is at most five patterns.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use palisade_policy::glob::{ByteSet, Token};
use palisade_policy::model::{Action, Cidr, Direction, Endpoint, Host, NetworkObject, NetworkRule, PortRange};

use crate::access::{End, Side, Socket};
use crate::network;
use crate::pattern::Pattern;
use crate::resolve::ObjectRank;

/// Bits of one byte of a number in a key; the byte has its highest bit set as well (`PAL_KEY_BITS`).
const GROUP_BITS: u32 = 7;
const GROUP_MASK: u8 = (1 << GROUP_BITS) - 1;
const MARK: u8 = 1 << GROUP_BITS;

const PORT_BITS: u32 = u16::BITS;
const V4_BITS: u32 = 32;
const V6_BITS: u32 = 128;
/// Ports that a rule without `ports` names.
const ALL_PORTS: u32 = 1 << PORT_BITS;

/// What of an operation a key tells beside the socket (`PAL_KEY_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// No end: the socket is made, or an association dissolved.
    None = 0,
    Remote4 = 1,
    Remote6 = 2,
    Local4 = 3,
    Local6 = 4,
}

/// A pattern over keys, with the rank of a rule that is met by it.
pub(crate) type KeyPattern = (Pattern, ObjectRank);

/// Whether a network rule meets an operation, and the rank it then has.
pub(crate) fn meets(rule: &NetworkRule, socket: Socket, end: Option<End>) -> Option<ObjectRank> {
    match &rule.object {
        NetworkObject::Protocol(protocol) => network::meets(*protocol, socket),
        NetworkObject::Endpoint(endpoint) => {
            let is_of_protocol = network::endpoint_protocol_meets(endpoint.protocol, socket, !endpoint.ports.is_empty());
            let rank = match end {
                None => opens_unnamed(endpoint, rule.meta.action).then(unnamed_rank),
                Some(end) => meets_end(endpoint, end),
            };
            rank.filter(|_| is_of_protocol)
        }
    }
}

/// Where no end is named, an Allow opens what has to come before the ends that it names.
fn opens_unnamed(endpoint: &Endpoint, action: Action) -> bool {
    action == Action::Allow && !matches!(endpoint.host, Host::Name(_))
}

fn unnamed_rank() -> ObjectRank {
    ObjectRank::endpoint(0, ALL_PORTS)
}

fn meets_end(endpoint: &Endpoint, end: End) -> Option<ObjectRank> {
    let Endpoint { protocol: _, direction, host, ports } = endpoint;
    let (End { side, port, address: _ }, address) = (end, end.reached());
    let faces = match side {
        Side::Remote => direction.is_egress(),
        Side::Local => direction.is_ingress(),
    };
    let prefix = match host {
        Host::Any => Some(0),
        Host::Cidr(cidr) => cidr.contains(address).then(|| cidr.prefix()),
        Host::Name(_) => None,
    };
    let narrowest = ports.iter().filter(|range| range.contains(port)).copied().map(width).min();
    let width = if ports.is_empty() { Some(ALL_PORTS) } else { narrowest };
    faces.then_some(())?;
    Some(ObjectRank::endpoint(prefix?, width?))
}

/// How many ports a range holds.
fn width(range: PortRange) -> u32 {
    u32::from(range.last()) - u32::from(range.first()) + 1
}

/// The key of an operation; `None` where no rule and no posture reaches the socket.
pub(crate) fn key(socket: Socket, end: Option<End>) -> Option<Vec<u8>> {
    let mut text = vec![b'/', row_byte(network::row(socket)?)];
    let Some(end) = end else {
        text.push(MARK | Kind::None as u8);
        return Some(text);
    };
    let (kind, bits, width) = match (end.side, end.reached()) {
        (Side::Remote, IpAddr::V4(a)) => (Kind::Remote4, u128::from(a.to_bits()), V4_BITS),
        (Side::Remote, IpAddr::V6(a)) => (Kind::Remote6, a.to_bits(), V6_BITS),
        (Side::Local, IpAddr::V4(a)) => (Kind::Local4, u128::from(a.to_bits()), V4_BITS),
        (Side::Local, IpAddr::V6(a)) => (Kind::Local6, a.to_bits(), V6_BITS),
    };
    text.push(MARK | kind as u8);
    text.extend(groups(end.port.into(), PORT_BITS));
    text.extend(groups(bits, width));
    Some(text)
}

// === impl End ===

impl End {
    /// The address that the kernel takes it for: an IPv4-mapped one is its IPv4 address, and to connect or send to the
    /// unspecified address is to do so to loopback.
    #[must_use]
    pub fn reached(self) -> IpAddr {
        let Self { side, address, port: _ } = self;
        match (side, address.to_canonical()) {
            (Side::Remote, IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => Ipv4Addr::LOCALHOST.into(),
            (Side::Remote, IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => Ipv6Addr::LOCALHOST.into(),
            (Side::Remote | Side::Local, address) => address,
        }
    }
}

/// The patterns over keys of a network rule.
pub(crate) fn patterns(rule: &NetworkRule) -> Vec<KeyPattern> {
    let rows = |met: &dyn Fn(Socket) -> bool| {
        let met = network::representatives().filter(|(_, socket)| met(*socket));
        set(met.map(|(row, _)| row_byte(row)))
    };
    match &rule.object {
        NetworkObject::Protocol(protocol) => {
            let rank = network::representatives().find_map(|(_, socket)| network::meets(*protocol, socket));
            let tokens = [Token::Byte(b'/'), rows(&|socket| network::meets(*protocol, socket).is_some()), Token::DoubleStar];
            rank.map(|rank| (Pattern::of_tokens(tokens), rank)).into_iter().collect()
        }
        NetworkObject::Endpoint(endpoint) => {
            let with_ports = !endpoint.ports.is_empty();
            let rows = rows(&|socket| network::endpoint_protocol_meets(endpoint.protocol, socket, with_ports));
            let head = [Token::Byte(b'/'), rows];
            let mut patterns = ends(endpoint, &head);
            if opens_unnamed(endpoint, rule.meta.action) {
                let unnamed = Token::Byte(MARK | Kind::None as u8);
                patterns.push((Pattern::of_tokens(head.into_iter().chain([unnamed])), unnamed_rank()));
            }
            patterns
        }
    }
}

/// The patterns of the ends that an endpoint rule names, each behind `head`.
fn ends(endpoint: &Endpoint, head: &[Token]) -> Vec<KeyPattern> {
    let Endpoint { protocol: _, direction, host, ports } = endpoint;
    let (kinds, address, prefix) = match host {
        Host::Name(_) => return Vec::new(),
        Host::Any => (kinds(*direction, true, true), vec![Token::DoubleStar], 0),
        Host::Cidr(cidr) => {
            let is_v4 = cidr.address().is_ipv4();
            (kinds(*direction, is_v4, !is_v4), prefix_tokens(*cidr), cidr.prefix())
        }
    };
    let ports: Vec<(Vec<Token>, u32)> = if ports.is_empty() {
        vec![(vec![Token::AnyByte; group_count(PORT_BITS)], ALL_PORTS)]
    } else {
        ports.iter().flat_map(|range| range_tokens(*range).into_iter().map(|tokens| (tokens, width(*range)))).collect()
    };
    let pattern = |(port, width): (Vec<Token>, u32)| {
        let tokens = head.iter().cloned().chain([kinds.clone()]).chain(port).chain(address.iter().cloned());
        (Pattern::of_tokens(tokens), ObjectRank::endpoint(prefix, width))
    };
    ports.into_iter().map(pattern).collect()
}

fn kinds(direction: Direction, v4: bool, v6: bool) -> Token {
    let all = [
        (Kind::Remote4, direction.is_egress() && v4),
        (Kind::Remote6, direction.is_egress() && v6),
        (Kind::Local4, direction.is_ingress() && v4),
        (Kind::Local6, direction.is_ingress() && v6),
    ];
    set(all.into_iter().filter(|(_, meant)| *meant).map(|(kind, _)| MARK | kind as u8))
}

/// The beginning of an address: whole groups, then the values that a group may have whose bits the prefix ends in.
fn prefix_tokens(cidr: Cidr) -> Vec<Token> {
    let (bits, width) = match cidr.address() {
        IpAddr::V4(a) => (u128::from(a.to_bits()), V4_BITS),
        IpAddr::V6(a) => (a.to_bits(), V6_BITS),
    };
    let free = width - u32::from(cidr.prefix()).min(width);
    let mut tokens = Vec::new();
    for (group, shift) in groups(bits, width).zip(shifts(width)) {
        if shift >= free {
            tokens.push(Token::Byte(group));
            continue;
        }
        let open = (1_u8 << (free - shift).min(GROUP_BITS)) - 1;
        if free - shift < bits_of_group(width, shift) {
            tokens.push(set(group..=group | open));
        }
        break;
    }
    tokens.push(Token::DoubleStar);
    tokens
}

/// The ports of a range, as texts of groups: as few as can be.
fn range_tokens(range: PortRange) -> Vec<Vec<Token>> {
    fn split(first: &[u8], last: &[u8]) -> Vec<Vec<Token>> {
        let (Some((a, first)), Some((b, last))) = (first.split_first(), last.split_first()) else { return vec![Vec::new()] };
        let whole = |from: u8, to: u8| [vec![set(from..=to)], vec![Token::AnyByte; first.len()]].concat();
        let behind = |byte: u8, rest: Vec<Vec<Token>>| rest.into_iter().map(move |r| [vec![Token::Byte(byte)], r].concat());
        if a == b {
            return behind(*a, split(first, last)).collect();
        }
        let (lowest, highest) = (vec![MARK; first.len()], vec![MARK | GROUP_MASK; first.len()]);
        let mut out = Vec::new();
        // The first and the last value of this group, where not all of what follows belongs to the range.
        let from = if first.iter().eq(&lowest) { *a } else { a + 1 };
        let to = if last.iter().eq(&highest) { *b } else { b - 1 };
        if from != *a {
            out.extend(behind(*a, split(first, &highest)));
        }
        if from <= to {
            out.push(whole(from, to));
        }
        if to != *b {
            out.extend(behind(*b, split(&lowest, last)));
        }
        out
    }
    let text = |port: u16| groups(port.into(), PORT_BITS).collect::<Vec<u8>>();
    split(&text(range.first()), &text(range.last()))
}

/// A number of so many bits as bytes of a key, the most significant first.
fn groups(bits: u128, width: u32) -> impl Iterator<Item = u8> {
    let group = move |shift| u8::try_from(bits >> shift & u128::from(GROUP_MASK)).unwrap_or(GROUP_MASK);
    shifts(width).map(move |shift| MARK | group(shift))
}

/// How far each group is from the end of the number.
fn shifts(width: u32) -> impl Iterator<Item = u32> {
    (0..width.div_ceil(GROUP_BITS)).rev().map(|group| group * GROUP_BITS)
}

/// Bits that the group holds: the first may hold fewer than the others.
fn bits_of_group(width: u32, shift: u32) -> u32 {
    (width - shift).min(GROUP_BITS)
}

fn group_count(width: u32) -> usize {
    shifts(width).count()
}

fn row_byte(row: usize) -> u8 {
    MARK | u8::try_from(row).unwrap_or(GROUP_MASK)
}

fn set(bytes: impl IntoIterator<Item = u8>) -> Token {
    let mut set = ByteSet::default();
    bytes.into_iter().for_each(|byte| set.insert(byte));
    Token::Set(set)
}

#[cfg(test)]
mod tests {
    use palisade_policy::model::{CidrError, EndpointProtocol};
    use proptest::prelude::*;

    use super::*;
    use crate::network::SOCKET_ROWS;

    const TCP: Socket = Socket { family: 2, kind: 1, protocol: 6 };

    fn in_patterns(patterns: &[Vec<Token>], port: u16) -> usize {
        let text: Vec<u8> = groups(port.into(), PORT_BITS).collect();
        let meets = |tokens: &Vec<Token>| {
            tokens.iter().zip(&text).all(|(token, byte)| match token {
                Token::Byte(b) => b == byte,
                Token::Set(set) => set.contains(*byte),
                Token::AnyByte | Token::Star | Token::DoubleStar | Token::SlashDoubleStarSlash => true,
            })
        };
        patterns.iter().filter(|p| meets(p)).count()
    }

    #[test]
    fn every_row_has_a_byte_of_its_own() {
        assert!(SOCKET_ROWS <= usize::from(GROUP_MASK) + 1);
    }

    #[test]
    fn a_key_is_the_row_the_kind_the_port_and_the_address() {
        let end = End { side: Side::Remote, address: "10.1.2.3".parse().unwrap(), port: 443 };
        let mapped = End { address: "::ffff:10.1.2.3".parse().unwrap(), ..end };
        let expected = [b'/', 0x80 | 9, 0x81, 0x80, 0x83, 0xbb, 0x80, 0xd0, 0x84, 0x84, 0x83];
        assert_eq!(key(TCP, Some(end)).unwrap(), expected);
        assert_eq!(key(TCP, Some(mapped)).unwrap(), expected);
        let v6 = key(TCP, Some(End { side: Side::Local, address: "::1".parse().unwrap(), port: 0 })).unwrap();
        assert_eq!((v6.len(), v6[2], v6[v6.len() - 1]), (25, 0x84, 0x81));
        assert_eq!(key(TCP, None).unwrap(), [b'/', 0x80 | 9, 0x80]);
    }

    proptest! {
        #[test]
        fn the_patterns_of_a_range_meet_its_ports_once_and_no_other(a: u16, b: u16, port: u16) {
            let range = PortRange::new(a.min(b), a.max(b)).unwrap();
            let patterns = range_tokens(range);
            prop_assert!(patterns.len() <= 5);
            for port in [port, a, b, a.wrapping_sub(1), b.wrapping_add(1), a.wrapping_add(1), b.wrapping_sub(1)] {
                prop_assert_eq!(in_patterns(&patterns, port), usize::from(range.contains(port)), "{} in {}", port, range);
            }
        }

        #[test]
        fn the_pattern_of_a_prefix_meets_what_the_prefix_contains(
            address: u128, prefix in 0_u8..=128, v4: bool, other: u128, near in 0_u32..128,
        ) {
            let of = |bits: u128| -> IpAddr {
                let v4_bits = u32::try_from(bits & u128::from(u32::MAX)).unwrap();
                if v4 { Ipv4Addr::from_bits(v4_bits).into() } else { Ipv6Addr::from_bits(bits).into() }
            };
            let prefix = if v4 { prefix.min(32) } else { prefix };
            let text = format!("{}/{prefix}", of(address));
            let cidr = Cidr::parse(&text).or_else(|error| match error {
                CidrError::HostBits(range) => Ok(range),
                CidrError::Address | CidrError::Prefix { .. } => Err(error),
            }).unwrap();
            let endpoint = Endpoint {
                protocol: EndpointProtocol::Tcp, direction: Direction::Egress, host: Host::Cidr(cidr), ports: Vec::new(),
            };
            let patterns = ends(&endpoint, &[Token::Byte(b'/'), Token::AnyByte]);
            for bits in [address, other, address ^ (1 << near), address ^ 1] {
                let end = End { side: Side::Remote, address: of(bits), port: 7 };
                let met = patterns.iter().any(|(p, _)| p.meets(&key(TCP, Some(end)).unwrap()));
                prop_assert_eq!(met, meets_end(&endpoint, end).is_some(), "{} in {}", end.address, cidr);
            }
        }
    }
}
