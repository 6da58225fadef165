//! Random endpoint rules and ends, over few addresses and ports, so that they meet.

use std::net::IpAddr;

use palisade_policy::model::{Cidr, CidrError, Direction, Endpoint, EndpointProtocol, Host, PortRange};
use palisade_ruleset::{End, Side, Socket};

use super::rng::Rng;

const ADDRESSES: &[&str] = &[
    "10.1.2.3",
    "10.1.2.4",
    "10.1.130.3",
    "10.200.0.1",
    "127.0.0.1",
    "0.0.0.0",
    "255.255.255.255",
    "::",
    "::1",
    "fd00::1",
    "fd00:1::1",
    "fd00:1:8000::1",
    "::ffff:10.1.2.3",
    "::ffff:127.0.0.1",
    "::fffe:10.1.2.3",
];
const PORTS: &[u16] = &[0, 1, 53, 80, 127, 128, 443, 8080, 16_383, 16_384, 32_768, 65_535];
const PREFIXES: &[u8] = &[0, 1, 4, 7, 8, 9, 16, 17, 24, 31, 32];

pub(super) fn endpoint(rng: &mut Rng) -> Endpoint {
    Endpoint {
        protocol: rng.pick(&EndpointProtocol::ALL),
        direction: rng.pick(&Direction::ALL),
        host: host(rng),
        ports: if rng.chance(40) { Vec::new() } else { (0..rng.between(1, 2)).filter_map(|_| range(rng)).collect() },
    }
}

fn host(rng: &mut Rng) -> Host {
    match rng.below(20) {
        0 => Host::Name("db.example.com".to_owned()),
        1..=4 => Host::Any,
        _ => {
            let address = rng.pick(ADDRESSES);
            let wide = address.contains(':');
            let prefix = match rng.pick(PREFIXES) {
                32 if wide => 128,
                bits if wide => rng.pick(&[bits, bits * 3, 96 + bits]),
                bits => bits,
            };
            match Cidr::parse(&format!("{address}/{prefix}")) {
                Ok(range) | Err(CidrError::HostBits(range)) => Host::Cidr(range),
                Err(_) => Host::Any,
            }
        }
    }
}

fn range(rng: &mut Rng) -> Option<PortRange> {
    let (a, b) = (rng.pick(PORTS), rng.pick(PORTS));
    if rng.chance(60) { PortRange::new(a, a) } else { PortRange::new(a.min(b), a.max(b)) }
}

/// An end of an operation on a socket; only those of IP, and AF_SMC, have any.
pub(super) fn end(rng: &mut Rng, socket: Socket) -> Option<End> {
    let has_ends = [2, 10, 43].contains(&socket.family);
    let address: IpAddr = rng.pick(ADDRESSES).parse().ok()?;
    let port = if rng.chance(70) { rng.pick(PORTS) } else { rng.pick(PORTS).wrapping_add(rng.pick(&[1, u16::MAX])) };
    let side = rng.pick(&[Side::Remote, Side::Local]);
    (has_ends && rng.chance(75)).then_some(End { side, address, port })
}
