//! One line of JSON per record, in the shape of KubeArmor's gRPC messages.
//!
//! * An event is an `Alert` ([`Alert`] says what is in it).
//! * A loss is an `Alert` of Type `SystemEvent`, the type under which the original tells that it drops alerts, with
//!   Operation `PalisadeLoss`, the words of `Message`, and `PalisadeLossPlace` and `PalisadeLossCount`.
//! * A message is a `Message`.
//!
//! Characters that could mislead a terminal ([`misleads`]) are written in JSON's own `\uNNNN`:
//! the line can be shown as it is, and a parser gets the same value.

use std::fmt;
use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter};

use crate::EncodeOptions;
use crate::escape::misleads;
use crate::event::{Loss, Message, Record};
use crate::kubearmor::Alert;

/// A record that did not become JSON. There is no input known that leads to it.
#[derive(Debug)]
pub struct EncodeError(Cause);

#[derive(Debug)]
enum Cause {
    Json(serde_json::Error),
    NotUtf8(std::string::FromUtf8Error),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct LossAlert<'a> {
    timestamp: u64,
    updated_time: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    cluster_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    host_name: &'a str,
    message: String,
    r#type: &'static str,
    operation: &'static str,
    #[serde(rename = "NodeID", skip_serializing_if = "str::is_empty")]
    node_id: &'a str,
    palisade_loss_place: &'a str,
    palisade_loss_count: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct MessageJson<'a> {
    timestamp: u64,
    updated_time: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    cluster_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    host_name: &'a str,
    #[serde(rename = "HostIP", skip_serializing_if = "str::is_empty")]
    host_ip: &'a str,
    r#type: &'static str,
    level: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
}

/// The record as one line of JSON, with the newline.
///
/// # Errors
///
/// [`EncodeError`]; see there.
pub fn encode(record: &Record, options: EncodeOptions) -> Result<String, EncodeError> {
    match record {
        Record::Event(event) => line(&Alert::new(event, options)),
        Record::Loss(loss) => line(&LossAlert::new(loss, &loss.place.text())),
        Record::Message(message) => line(&MessageJson::new(message)),
    }
}

/// Any value as such a line.
///
/// # Errors
///
/// [`EncodeError`], where the value's own encoding fails.
pub fn line(value: &impl Serialize) -> Result<String, EncodeError> {
    let mut out = Vec::with_capacity(1024);
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Guarded)).map_err(|e| EncodeError(Cause::Json(e)))?;
    out.push(b'\n');
    String::from_utf8(out).map_err(|e| EncodeError(Cause::NotUtf8(e)))
}

/// Compact JSON, misleading characters escaped.
struct Guarded;

// === impl Guarded ===

impl Formatter for Guarded {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut plain = 0;
        for (at, c) in fragment.char_indices().filter(|(_, c)| misleads(*c)) {
            writer.write_all(&fragment.as_bytes()[plain..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            plain = at + c.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[plain..])
    }

    fn write_char_escape<W: ?Sized + io::Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        CompactFormatter.write_char_escape(writer, escape)
    }
}

// === impl LossAlert, MessageJson ===

impl<'a> LossAlert<'a> {
    fn new(loss: &'a Loss, place: &'a str) -> Self {
        let Loss { time, host, place: _, count } = loss;
        Self {
            timestamp: time.seconds(),
            updated_time: time.to_string(),
            cluster_name: &host.cluster,
            host_name: &host.name,
            message: loss.text(),
            r#type: "SystemEvent",
            operation: "PalisadeLoss",
            node_id: &host.node_id,
            palisade_loss_place: place,
            palisade_loss_count: *count,
        }
    }
}

impl<'a> MessageJson<'a> {
    fn new(message: &'a Message) -> Self {
        let Message { time, host, level, text } = message;
        Self {
            timestamp: time.seconds(),
            updated_time: time.to_string(),
            cluster_name: &host.cluster,
            host_name: &host.name,
            host_ip: &host.ip,
            r#type: "Message",
            level: level.name(),
            message: text,
        }
    }
}

// === impl EncodeError ===

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("write a record as JSON")
    }
}

impl std::error::Error for EncodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Cause::Json(error) => Some(error),
            Cause::NotUtf8(error) => Some(error),
        }
    }
}
