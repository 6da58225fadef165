//! Sockets: which protocol words meet which, and the rows that the tables tell apart.

use palisade_policy::model::{EndpointProtocol, Protocol};

use crate::access::Socket;
use crate::resolve::ObjectRank;

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

const IPPROTO_ICMP: i32 = 1;
const IPPROTO_TCP: i32 = 6;
const IPPROTO_UDP: i32 = 17;
const IPPROTO_ICMPV6: i32 = 58;
const IPPROTO_SCTP: i32 = 132;
const IPPROTO_UDPLITE: i32 = 136;
const IPPROTO_MPTCP: i32 = 262;

/// The number of rows (`PAL_SOCK_ROWS`).
#[cfg(test)]
pub(crate) const SOCKET_ROWS: usize = 67;
const ROW_PACKET: usize = 64;
const ROW_OTHER: usize = 65;
const ROW_SMC: usize = 66;

/// What the law tells apart in a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SocketKind {
    /// AF_UNIX and NETLINK_ROUTE: no network rule and no posture reaches them.
    Exempt,
    /// AF_INET and AF_INET6.
    Inet(i32, InetProtocol),
    /// AF_PACKET, whatever its type.
    Packet,
    /// AF_SMC.
    Smc,
    /// Every other family and netlink protocol.
    Other,
}

/// The protocol of an inet socket, as far as rules name it. The order is that of the table rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InetProtocol {
    Other,
    Tcp,
    Udp,
    Sctp,
    Icmp,
    IcmpV6,
}

/// Whether a protocol rule meets the socket, and the rank it then has.
pub(crate) fn meets(protocol: Protocol, socket: Socket) -> Option<ObjectRank> {
    let kind = SocketKind::of(socket);
    let by_type = |wanted: i32| matches!(kind, SocketKind::Inet(t, _) if t == wanted);
    let by_protocol = |wanted: InetProtocol| matches!(kind, SocketKind::Inet(_, p) if p == wanted);
    let (met, rank) = match protocol {
        Protocol::Tcp => (by_protocol(InetProtocol::Tcp) || kind == SocketKind::Smc, ObjectRank::PROTOCOL),
        Protocol::Udp => (by_protocol(InetProtocol::Udp), ObjectRank::PROTOCOL),
        Protocol::Sctp => (by_protocol(InetProtocol::Sctp), ObjectRank::PROTOCOL),
        Protocol::Icmp => (by_protocol(InetProtocol::Icmp), ObjectRank::PROTOCOL),
        Protocol::IcmpV6 => (by_protocol(InetProtocol::IcmpV6), ObjectRank::PROTOCOL),
        Protocol::Stream => (by_type(SOCK_STREAM), ObjectRank::SOCKET_TYPE),
        Protocol::Dgram => (by_type(SOCK_DGRAM), ObjectRank::SOCKET_TYPE),
        Protocol::Raw => (by_type(SOCK_RAW) || kind == SocketKind::Packet, ObjectRank::SOCKET_TYPE),
        Protocol::Rdm => (by_type(SOCK_RDM), ObjectRank::SOCKET_TYPE),
        Protocol::SeqPacket => (by_type(SOCK_SEQPACKET), ObjectRank::SOCKET_TYPE),
        Protocol::Dccp => (by_type(SOCK_DCCP), ObjectRank::SOCKET_TYPE),
        Protocol::Packet => (by_type(SOCK_PACKET) || kind == SocketKind::Packet, ObjectRank::SOCKET_TYPE),
        Protocol::All => (kind != SocketKind::Exempt, ObjectRank::EVERYTHING),
    };
    met.then_some(rank)
}

/// Whether an endpoint rule of this protocol concerns the socket. `any` is every socket of IP but raw ones, which write
/// addresses by themselves; with `ports` it is those of the three protocols that have them.
pub(crate) fn endpoint_protocol_meets(protocol: EndpointProtocol, socket: Socket, with_ports: bool) -> bool {
    let is = |protocol| meets(protocol, socket).is_some();
    match protocol {
        EndpointProtocol::Tcp => is(Protocol::Tcp),
        EndpointProtocol::Udp => is(Protocol::Udp),
        EndpointProtocol::Sctp => is(Protocol::Sctp),
        EndpointProtocol::Any if with_ports => [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().any(is),
        EndpointProtocol::Any => match SocketKind::of(socket) {
            SocketKind::Inet(kind, _) => kind != SOCK_RAW && kind != SOCK_PACKET,
            SocketKind::Smc => true,
            SocketKind::Exempt | SocketKind::Packet | SocketKind::Other => false,
        },
    }
}

/// The table row of a socket; `None` for those that nothing judges.
pub(crate) fn row(socket: Socket) -> Option<usize> {
    match SocketKind::of(socket) {
        SocketKind::Exempt => None,
        SocketKind::Inet(kind, protocol) => {
            let kind = match kind {
                SOCK_STREAM..=SOCK_DCCP => usize::try_from(kind).unwrap_or(0),
                SOCK_PACKET => 7,
                _ => 0,
            };
            Some(kind * 8 + protocol as usize)
        }
        SocketKind::Packet => Some(ROW_PACKET),
        SocketKind::Other => Some(ROW_OTHER),
        SocketKind::Smc => Some(ROW_SMC),
    }
}

/// A socket of each row that a socket can have.
pub(crate) fn representatives() -> impl Iterator<Item = (usize, Socket)> {
    let kinds = [0, SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_RDM, SOCK_SEQPACKET, SOCK_DCCP, SOCK_PACKET];
    let protocols = [0, IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMPV6, IPPROTO_SCTP, 255];
    let inet = kinds
        .into_iter()
        .flat_map(move |kind| protocols.into_iter().map(move |protocol| Socket { family: AF_INET, kind, protocol }));
    let others = [(AF_PACKET, SOCK_RAW), (AF_SMC, SOCK_STREAM), (38, SOCK_SEQPACKET)].map(|(family, kind)| Socket {
        family,
        kind,
        protocol: 0,
    });
    inet.chain(others).filter_map(|socket| Some((row(socket)?, socket)))
}

// === impl SocketKind ===

impl SocketKind {
    fn of(socket: Socket) -> Self {
        let Socket { family, kind, protocol } = socket;
        match family {
            AF_UNIX => Self::Exempt,
            AF_NETLINK if protocol == NETLINK_ROUTE => Self::Exempt,
            AF_INET | AF_INET6 => Self::Inet(kind, InetProtocol::of(kind, protocol)),
            AF_PACKET => Self::Packet,
            // No protocol rule but icmp meets a SOCK_RAW socket.
            AF_SMC if kind != SOCK_RAW => Self::Smc,
            _ => Self::Other,
        }
    }
}

impl InetProtocol {
    fn of(kind: i32, protocol: i32) -> Self {
        match (kind, protocol) {
            (SOCK_STREAM, 0 | IPPROTO_TCP | IPPROTO_MPTCP) => Self::Tcp,
            (SOCK_DGRAM, 0 | IPPROTO_UDP | IPPROTO_UDPLITE) => Self::Udp,
            (SOCK_SEQPACKET, 0) => Self::Sctp,
            (SOCK_RAW, IPPROTO_SCTP) => Self::Other,
            (_, IPPROTO_SCTP) => Self::Sctp,
            (SOCK_DGRAM | SOCK_RAW, IPPROTO_ICMP) => Self::Icmp,
            (SOCK_DGRAM | SOCK_RAW, IPPROTO_ICMPV6) => Self::IcmpV6,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_socket_of_a_row_is_met_by_the_same_words() {
        for family in [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_SMC, 38, 40] {
            for kind in 0..=11 {
                for protocol in [0, 1, 2, 6, 15, 17, 58, 132, 136, 255, 262] {
                    let socket = Socket { family, kind, protocol };
                    let Some(row) = row(socket) else { continue };
                    assert!(row < SOCKET_ROWS);
                    let (_, same) = representatives().find(|(r, _)| *r == row).unwrap();
                    for word in EndpointProtocol::ALL {
                        for ports in [false, true] {
                            let of = |socket| endpoint_protocol_meets(word, socket, ports);
                            assert_eq!(of(socket), of(same), "{word:?} {socket:?} {same:?}");
                        }
                    }
                    for word in Protocol::ALL {
                        assert_eq!(meets(word, socket), meets(word, same), "{word:?} {socket:?} {same:?}");
                    }
                }
            }
        }
    }
}
