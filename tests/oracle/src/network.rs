//! Which sockets a protocol word meets (meaning 5, network).

use palisade_policy::model::Protocol;
use palisade_ruleset::Socket;

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
