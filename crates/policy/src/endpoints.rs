//! Reading the items of `network.matchEndpoints`.

use std::net::IpAddr;

use crate::decode::{self, Fields, Item};
use crate::gaps;
use crate::model::{Action, Cidr, CidrError, Direction, Endpoint, EndpointProtocol, Gap, Host, PortRange};
use crate::problem::{Path, Sink, shown};
use crate::tree::{Node, Value};
use crate::values;

/// The longest name of a host, in bytes (RFC 1035).
const NAME_MAX_BYTES: usize = 253;
/// A number behind the last port, as `endPort` and `port` have it.
const PORT_MAX: i64 = u16::MAX as i64;

/// The endpoints that one item names: one for each of its protocols and addresses.
pub(crate) fn endpoints(fields: &Fields<'_>, action: Action, found: &mut Vec<Gap>, sink: &mut Sink<'_>) -> Vec<Endpoint> {
    let at = |name| fields.path.field(name);
    let names_nothing = ["cidr", "fqdn", "ports", "protocol", "direction"].iter().all(|name| fields.get(name).is_none());
    if names_nothing {
        let help = "for every socket write `protocol: all` in matchProtocols";
        sink.error(&fields.node.place, fields.path, "an endpoint needs `cidr`, `fqdn`, `ports`, `protocol` or `direction`", help);
        return Vec::new();
    }
    let protocols = match fields.get("protocol") {
        Some(node) => {
            let accepted = EndpointProtocol::ALL.map(EndpointProtocol::name);
            let find = |word: &str| EndpointProtocol::ALL.into_iter().find(|p| p.name().eq_ignore_ascii_case(word));
            values::words(node, "protocol", &accepted, find, &at("protocol"), sink)
        }
        None => vec![EndpointProtocol::Any],
    };
    let direction = match fields.get("direction") {
        Some(node) => direction(node, &at("direction"), sink),
        None => Some(Direction::Both),
    };
    let ports = match fields.get("ports") {
        Some(node) => ports(node, &at("ports"), sink),
        None => Some(Vec::new()),
    };
    let hosts = hosts(fields, action, found, sink);
    let (Some(direction), Some(ports)) = (direction, ports) else { return Vec::new() };
    let named = protocols.iter().flat_map(|protocol| hosts.iter().map(move |host| (*protocol, host)));
    named.map(|(protocol, host)| Endpoint { protocol, direction, host: host.clone(), ports: ports.clone() }).collect()
}

/// `cidr`, a comma list, or `fqdn`; everybody where neither is given.
fn hosts(fields: &Fields<'_>, action: Action, found: &mut Vec<Gap>, sink: &mut Sink<'_>) -> Vec<Host> {
    let (cidr_path, name_path) = (fields.path.field("cidr"), fields.path.field("fqdn"));
    match (fields.get("cidr"), fields.get("fqdn")) {
        (None, None) => vec![Host::Any],
        (Some(node), None) => cidrs(node, &cidr_path, sink).into_iter().map(Host::Cidr).collect(),
        (None, Some(node)) => {
            let Some(name) = host_name(node, &name_path, sink) else { return Vec::new() };
            found.push(gaps::FQDN.at(&node.place, &name_path, sink));
            if action == Action::Block {
                let message = format!("this Block denies nothing: the addresses of `{}` are not looked up", shown(&name));
                sink.note(&node.place, &name_path, message, "block by `cidr`, or allow what is needed: the rest is denied");
            }
            vec![Host::Name(name)]
        }
        (Some(_), Some(node)) => {
            sink.error(&node.place, &name_path, "`cidr` and `fqdn` in one rule", "make it two rules");
            Vec::new()
        }
    }
}

fn cidrs(node: &Node, path: &Path<'_>, sink: &mut Sink<'_>) -> Vec<Cidr> {
    let Some(text) = decode::string(node, path, sink) else { return Vec::new() };
    let mut found = Vec::new();
    let mut offset = 0;
    for part in text.split(',') {
        let word = part.trim();
        let at = offset + (part.len() - part.trim_start().len());
        offset += part.len() + 1;
        let place = values::inside(node, text, at, sink);
        match Cidr::parse(word) {
            Ok(cidr) if found.contains(&cidr) => {
                sink.error(&place, path, format!("`{}` is named twice", shown(word)), "");
            }
            Ok(cidr) => found.push(cidr),
            Err(error) => {
                let help = match (&error, word.split('/').next()) {
                    (CidrError::HostBits(range), Some(address)) => {
                        format!("write `{range}`, or `{address}` for that one address")
                    }
                    (CidrError::Address, _) if word.parse::<IpAddr>().is_err() => "for a host name use `fqdn`".to_owned(),
                    _ => String::new(),
                };
                sink.error(&place, path, format!("`{}` is no address range: {error}", shown(word)), help);
            }
        }
    }
    found
}

/// A host name as DNS has it, perhaps with `*.` in front.
fn host_name(node: &Node, path: &Path<'_>, sink: &mut Sink<'_>) -> Option<String> {
    let text = decode::string(node, path, sink)?;
    let bare = text.strip_prefix("*.").unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let is_name = text.len() <= NAME_MAX_BYTES && bare.strip_suffix('.').unwrap_or(bare).split('.').all(is_label);
    if !is_name || bare.parse::<IpAddr>().is_ok() {
        let help = "write `db.example.com` or `*.example.com`; for addresses use `cidr`";
        sink.error(&node.place, path, format!("`{}` is no host name", shown(text)), help);
        return None;
    }
    Some(text.to_owned())
}

fn direction(node: &Node, path: &Path<'_>, sink: &mut Sink<'_>) -> Option<Direction> {
    let text = decode::string(node, path, sink)?;
    let found = Direction::ALL.into_iter().find(|d| d.name().eq_ignore_ascii_case(text));
    if found.is_none() {
        values::unknown(text, "direction", &Direction::ALL.map(Direction::name), &node.place, path, sink);
    }
    found
}

/// `ports`: at least one range; `None` where some item is none.
fn ports(node: &Node, path: &Path<'_>, sink: &mut Sink<'_>) -> Option<Vec<PortRange>> {
    let items = decode::items(node, path, sink);
    if matches!(&node.value, Value::List(list) if list.is_empty()) {
        sink.error(&node.place, path, "no ports", "leave out `ports` for every port");
    }
    if items.is_empty() {
        return None;
    }
    let ranges: Vec<_> = items.iter().map(|item| port_range(item, sink)).collect();
    ranges.into_iter().collect()
}

fn port_range(item: &Item<'_>, sink: &mut Sink<'_>) -> Option<PortRange> {
    let fields = Fields::open(item.node, &item.path, &["port", "endPort"], sink)?;
    let first = port(fields.require("port", sink)?, &item.path.field("port"), sink)?;
    let Some(node) = fields.get("endPort") else { return PortRange::new(first, first) };
    let path = item.path.field("endPort");
    let last = port(node, &path, sink)?;
    let range = PortRange::new(first, last);
    if range.is_none() {
        sink.error(&node.place, &path, format!("endPort {last} is below port {first}"), "");
    }
    range
}

fn port(node: &Node, path: &Path<'_>, sink: &mut Sink<'_>) -> Option<u16> {
    u16::try_from(decode::integer(node, 0, PORT_MAX, path, sink)?).ok()
}
