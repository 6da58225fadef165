//! From sockets and ends of connections to rules.
//!
//! TCP, UDP and SCTP become endpoints: each address that was met, by direction, with its ports. Every other socket becomes
//! the narrowest word that meets it. No address is widened, and ports only where the kernel chose them: another run gets
//! others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use palisade_policy::model::{Direction, EndpointProtocol, PortRange, Protocol};
use palisade_policy::{SourceFile, parse};
use palisade_ruleset::{By, End, NoLinks, RuleSet, Side, Workload, decide};

use crate::accesses::{EndSeen, SocketAndEnd, Use};
use crate::collect::{Access, Name};
use crate::yaml;

/// What an endpoint rule names beside ports. The order is that of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EndpointKey {
    pub(crate) protocol: EndpointProtocol,
    pub(crate) direction: Direction,
    pub(crate) address: IpAddr,
}

/// One endpoint rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct EndpointRule {
    /// In order; no two of them touch.
    pub(crate) ports: Vec<PortRange>,
    pub(crate) of: Use,
    pub(crate) note: Note,
}

/// What a reader of an endpoint rule would not guess.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Note {
    /// Nothing.
    #[default]
    Plain,
    /// Some of its ports were chosen by the kernel, so it has all that it chooses from.
    Chosen,
    /// Sockets were made, and no end was named. This one leads nowhere, and an Allow of it allows to make them.
    Nowhere,
}

/// Rules over sockets.
#[derive(Clone, Debug, Default)]
pub(crate) struct SocketRules {
    pub(crate) protocols: BTreeMap<Protocol, Use>,
    pub(crate) endpoints: BTreeMap<EndpointKey, EndpointRule>,
}

/// An end that nobody listens at: port 0 of loopback. See [`Note::Nowhere`].
const NOWHERE: (IpAddr, u16) = (IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Which word of a policy meets a socket, as the law says it.
pub(crate) struct Words {
    words: Vec<(Protocol, RuleSet)>,
}

/// What a run did with ports of one protocol.
#[derive(Default)]
struct PortsOf {
    /// Own addresses.
    addresses: BTreeSet<IpAddr>,
    /// Ports that it bound to by their number.
    bound: BTreeSet<u16>,
    /// It let the kernel choose an own port.
    chooses: bool,
}

// === impl Words ===

impl Words {
    /// The narrowest first: a protocol, then a type, then everything.
    const ORDER: [Protocol; 13] = [
        Protocol::Tcp,
        Protocol::Udp,
        Protocol::Sctp,
        Protocol::Icmp,
        Protocol::IcmpV6,
        Protocol::Packet,
        Protocol::Dccp,
        Protocol::Rdm,
        Protocol::SeqPacket,
        Protocol::Raw,
        Protocol::Stream,
        Protocol::Dgram,
        Protocol::All,
    ];

    pub(crate) fn new() -> Self {
        let rules = |protocol| {
            let text = yaml::only_protocol(protocol);
            let policies = parse(&[SourceFile { name: "protocol".into(), text: &text }]).policies;
            (protocol, RuleSet::new(&policies, &Workload::run(), &NoLinks))
        };
        Self { words: Self::ORDER.into_iter().map(rules).collect() }
    }

    /// The narrowest word; `None` where no rule reaches the socket.
    pub(crate) fn of(&self, socket: [i32; 3]) -> Option<Protocol> {
        let access = Access::Socket { socket, end: None }.to_law(&Name::Unknown);
        let met = self.words.iter().find(|(_, rules)| matches!(decide(rules, &access).by, By::Rule(_)));
        met.map(|(word, _)| *word)
    }

    /// Rules that allow these sockets and ends. From `chosen` the kernel takes ports that a program leaves to it.
    pub(crate) fn rules(&self, seen: &BTreeMap<SocketAndEnd, EndSeen>, chosen: PortRange) -> SocketRules {
        let mut out = SocketRules::default();
        let mut ends: BTreeMap<EndpointProtocol, Vec<(Option<End>, &EndSeen)>> = BTreeMap::new();
        for ((socket, end), seen) in seen {
            let Some(word) = self.of(*socket) else { continue };
            match endpoint_protocol(word) {
                Some(protocol) => ends.entry(protocol).or_default().push((*end, seen)),
                None => out.protocols.entry(word).or_default().add(&seen.of),
            }
        }
        for (protocol, ends) in ends {
            out.endpoints.extend(endpoints(protocol, &ends, chosen));
        }
        out
    }
}

/// The same word in an endpoint rule, where it is one of a protocol that has ports.
pub(crate) fn endpoint_protocol(word: Protocol) -> Option<EndpointProtocol> {
    match word {
        Protocol::Tcp => Some(EndpointProtocol::Tcp),
        Protocol::Udp => Some(EndpointProtocol::Udp),
        Protocol::Sctp => Some(EndpointProtocol::Sctp),
        Protocol::Icmp
        | Protocol::IcmpV6
        | Protocol::Packet
        | Protocol::Dccp
        | Protocol::Rdm
        | Protocol::SeqPacket
        | Protocol::Raw
        | Protocol::Stream
        | Protocol::Dgram
        | Protocol::All => None,
    }
}

// === endpoints ===

fn endpoints(
    protocol: EndpointProtocol,
    ends: &[(Option<End>, &EndSeen)],
    chosen: PortRange,
) -> BTreeMap<EndpointKey, EndpointRule> {
    let run = PortsOf::of(ends);
    let mut out: BTreeMap<EndpointKey, EndpointRule> = BTreeMap::new();
    let mut unnamed = Use::default();
    for (end, EndSeen { of, binds }) in ends {
        let Some(End { side, address, port }) = *end else {
            unnamed.add(of);
            continue;
        };
        let direction = match side {
            Side::Remote => Direction::Egress,
            Side::Local => Direction::Ingress,
        };
        let open = chosen.contains(port) && run.is_chosen(protocol, side, address, port, *binds);
        let rule = out.entry(EndpointKey { protocol, direction, address }).or_default();
        rule.ports.push(if open { chosen } else { port.into() });
        rule.of.add(of);
        if open {
            rule.note = Note::Chosen;
        }
    }
    if out.is_empty() {
        let (address, port) = NOWHERE;
        let rule = EndpointRule { ports: vec![port.into()], of: unnamed, note: Note::Nowhere };
        out.insert(EndpointKey { protocol, direction: Direction::Egress, address }, rule);
    }
    for rule in out.values_mut() {
        join(&mut rule.ports);
    }
    out
}

/// Puts ranges in order, and those that touch or overlap together: the same ports.
fn join(ports: &mut Vec<PortRange>) {
    ports.sort_unstable();
    let mut joined: Vec<PortRange> = Vec::with_capacity(ports.len());
    for range in ports.drain(..) {
        match joined.last_mut() {
            Some(last) if u32::from(range.first()) <= u32::from(last.last()) + 1 => {
                let end = last.last().max(range.last());
                *last = PortRange::new(last.first(), end).unwrap_or(*last);
            }
            _ => joined.push(range),
        }
    }
    *ports = joined;
}

// === impl PortsOf ===

impl PortsOf {
    fn of(ends: &[(Option<End>, &EndSeen)]) -> Self {
        let mut out = Self::default();
        for (end, seen) in ends {
            let Some(End { side: Side::Local, address, port }) = *end else { continue };
            out.addresses.insert(address);
            // Port 0 is the kernel's to choose, whether bound to or listened at without a bind.
            out.chooses |= port == 0;
            if seen.binds {
                out.bound.insert(port);
            }
        }
        out
    }

    /// Whether a port of the kernel's range is one that it chose: for this run itself, or for a client of it that sent a
    /// datagram and gets its answer.
    fn is_chosen(&self, protocol: EndpointProtocol, side: Side, address: IpAddr, port: u16, binds: bool) -> bool {
        let Self { addresses, bound, chooses } = self;
        match side {
            Side::Local => *chooses && !binds,
            Side::Remote => {
                let own = address.is_loopback() || addresses.contains(&address);
                let answers = protocol == EndpointProtocol::Udp && !addresses.is_empty();
                !bound.contains(&port) && (answers || (own && *chooses))
            }
        }
    }
}
