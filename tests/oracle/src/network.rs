//! Which sockets a protocol word meets, and which ends of connections an endpoint rule (meaning 5, network).

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv6Addr};

use palisade_policy::model::{Action, Direction, Endpoint, EndpointProtocol, Host, Protocol};
use palisade_ruleset::{End, Side, Socket};

use crate::rank::ObjectRank;

const AF_UNIX: i32 = 1;
const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;
const AF_NETLINK: i32 = 16;
const AF_PACKET: i32 = 17;
const AF_SMC: i32 = 43;
const NETLINK_ROUTE: i32 = 0;

const SOCK_STREAM: i32 = 1;
const SOCK_DGRAM: i32 = 2;
const SOCK_RAW: i32 = 3;
const SOCK_RDM: i32 = 4;
const SOCK_SEQPACKET: i32 = 5;
const SOCK_DCCP: i32 = 6;
const SOCK_PACKET: i32 = 10;

/// Whether no network rule and no posture reaches the socket: local sockets, and the netlink that name resolution needs.
pub(crate) fn is_out_of_reach(socket: Socket) -> bool {
    socket.family == AF_UNIX || (socket.family == AF_NETLINK && socket.protocol == NETLINK_ROUTE)
}

/// Whether a word meets a socket that is in reach, and how such a rule ranks.
pub(crate) fn meets(word: Protocol, socket: Socket) -> Option<ObjectRank> {
    let Socket { family, kind, protocol } = socket;
    let inet = family == AF_INET || family == AF_INET6;
    let not_raw = kind != SOCK_RAW;
    let (meets, rank) = match word {
        Protocol::Tcp => {
            // AMBIGUITY (meaning 5, network): "AF_SMC" is met whatever its type and protocol, but for SOCK_RAW ("no other
            // protocol rule meets a SOCK_RAW socket"). Other: only SOCK_STREAM.
            let tcp = inet && kind == SOCK_STREAM && [0, 6, 262].contains(&protocol);
            (tcp || (family == AF_SMC && not_raw), ObjectRank::Protocol)
        }
        Protocol::Udp => (inet && kind == SOCK_DGRAM && [0, 17, 136].contains(&protocol), ObjectRank::Protocol),
        Protocol::Sctp => {
            let sctp = (not_raw && protocol == 132) || (kind == SOCK_SEQPACKET && protocol == 0);
            (inet && sctp, ObjectRank::Protocol)
        }
        Protocol::Icmp => (inet && [SOCK_DGRAM, SOCK_RAW].contains(&kind) && protocol == 1, ObjectRank::Protocol),
        Protocol::IcmpV6 => (inet && [SOCK_DGRAM, SOCK_RAW].contains(&kind) && protocol == 58, ObjectRank::Protocol),
        Protocol::Stream => (inet && kind == SOCK_STREAM, ObjectRank::SocketType),
        Protocol::Dgram => (inet && kind == SOCK_DGRAM, ObjectRank::SocketType),
        Protocol::Rdm => (inet && kind == SOCK_RDM, ObjectRank::SocketType),
        Protocol::SeqPacket => (inet && kind == SOCK_SEQPACKET, ObjectRank::SocketType),
        Protocol::Dccp => (inet && kind == SOCK_DCCP, ObjectRank::SocketType),
        Protocol::Raw => ((inet && kind == SOCK_RAW) || family == AF_PACKET, ObjectRank::SocketType),
        // AMBIGUITY (meaning 5, network): `packet` is both a family and a type: an AF_INET socket of type SOCK_PACKET, which
        // the kernel turns into AF_PACKET, is met too. Other: AF_PACKET alone.
        Protocol::Packet => ((inet && kind == SOCK_PACKET) || family == AF_PACKET, ObjectRank::SocketType),
        Protocol::All => (true, ObjectRank::AllSockets),
    };
    meets.then_some(rank)
}

/// Whether an endpoint rule meets an operation on a socket, and how it ranks.
pub(crate) fn endpoint_meets(rule: &Endpoint, action: Action, socket: Socket, end: Option<End>) -> Option<ObjectRank> {
    let Endpoint { protocol, direction, host, ports } = rule;
    if !concerns(*protocol, socket, !ports.is_empty()) || matches!(host, Host::Name(_)) {
        return None;
    }
    let Some(End { side, address, port }) = end else {
        // AMBIGUITY (meaning 5, network): a socket has to be made before it can reach an end. Where no end is named, an Allow
        // is met as by the widest end, a Block or Audit is not met. Other: endpoint rules meet operations with ends alone, so
        // that an allow-list of endpoints opens nothing.
        return (action == Action::Allow).then_some(ObjectRank::Endpoint(Reverse(0), 65_536));
    };
    let faces_it = match direction {
        Direction::Egress => side == Side::Remote,
        // AMBIGUITY (meaning 5, network): bind, listen and accept are judged by the local address and port. Other: accept by
        // the peer's address.
        Direction::Ingress => side == Side::Local,
        Direction::Both => true,
    };
    let prefix = match host {
        Host::Any => 0,
        Host::Cidr(range) => {
            // AMBIGUITY (meaning 5, network): the unspecified address as the other end is loopback, where the kernel goes.
            // Other: it is an address like others, so that a Block of loopback is passed by 0.0.0.0.
            let nowhere = side == Side::Remote && bits_of(address).iter().all(|bit| !bit);
            let loopback: &[u8] = if bits_of(address).len() == 32 { &[127, 0, 0, 1] } else { &Ipv6Addr::LOCALHOST.octets() };
            let (own, theirs) = (bits_of(range.address()), if nowhere { bits(loopback) } else { bits_of(address) });
            let prefix = usize::from(range.prefix());
            if own.len() != theirs.len() || own[..prefix] != theirs[..prefix] {
                return None;
            }
            prefix
        }
        Host::Name(_) => return None,
    };
    // AMBIGUITY (meaning 4, network, "then port"): a rule with fewer ports in the range that is met goes first.
    let width = ports.iter().filter(|r| r.first() <= port && port <= r.last()).map(|r| usize::from(r.last() - r.first()) + 1);
    let width = if ports.is_empty() { Some(65_536) } else { width.min() };
    width.filter(|_| faces_it).map(|width| ObjectRank::Endpoint(Reverse(prefix), width))
}

/// Whether the protocol of an endpoint rule takes in the socket.
//
// AMBIGUITY (meaning 5, network): `any` is every socket of IP that cannot write addresses into packets by itself; a rule with
// ports is about sockets that have ports. Other: `any` is tcp, udp and sctp.
fn concerns(protocol: EndpointProtocol, socket: Socket, with_ports: bool) -> bool {
    let of = |word: Protocol| meets(word, socket).is_some();
    let has_ports = of(Protocol::Tcp) || of(Protocol::Udp) || of(Protocol::Sctp);
    let of_ip = socket.family == AF_INET || socket.family == AF_INET6;
    let writes_addresses = socket.kind == SOCK_RAW || socket.kind == SOCK_PACKET;
    match protocol {
        EndpointProtocol::Tcp => of(Protocol::Tcp),
        EndpointProtocol::Udp => of(Protocol::Udp),
        EndpointProtocol::Sctp => of(Protocol::Sctp),
        EndpointProtocol::Any => has_ports || (!with_ports && of_ip && !writes_addresses),
    }
}

/// The bits of an address, the first first; those of an IPv4-mapped address are those of its IPv4 address.
fn bits_of(address: IpAddr) -> Vec<bool> {
    const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
    let octets = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => unmapped(v6, &MAPPED),
    };
    bits(&octets)
}

fn bits(octets: &[u8]) -> Vec<bool> {
    octets.iter().flat_map(|octet| (0..8).rev().map(move |bit| octet >> bit & 1 == 1)).collect()
}

fn unmapped(address: Ipv6Addr, mapped: &[u8]) -> Vec<u8> {
    let octets = address.octets();
    octets.strip_prefix(mapped).unwrap_or(&octets).to_vec()
}
