//! One line per record, for people.
//!
//! ```text
//! 14:13:20.123  Block        exec            /bin/bash                 /bin/sleep 1        ns/ksp-x process.matchPaths[0]  x3
//! time (UTC)    verdict      operation       program                   object              policy and rule                 count
//! ```
//!
//! Columns have fixed widths, so that a running stream lines up; what is longer than its column pushes the rest of its
//! line, because nothing that matters is cut. Words are escaped and quoted ([`word`]): no
//! path can steer a terminal or look like another column.

use std::borrow::Cow;
use std::fmt::Write as _;

use anstyle::{AnsiColor, Color, Style};
use palisade_policy::model::Kind;
use unicode_width::UnicodeWidthStr as _;

use crate::EncodeOptions;
use crate::escape::{shown, word};
use crate::event::{Event, Level, Loss, Message, Record};
use crate::kubearmor::object_name;
use crate::operation::{Object, Operation};
use crate::verdict::{Decider, Verdict};

/// How many bytes of an exec's arguments a line shows, escapes not counted; then `...` and how many there are. JSON has all.
pub const ARGUMENTS_SHOWN_BYTES: usize = 256;

/// Writes records as lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text {
    /// What is left out.
    pub options: EncodeOptions,
    /// What is shown how.
    pub styles: Styles,
    /// What is shown where.
    pub layout: Layout,
}

/// Colours and emphasis. The default has none, and then lines are free of escape sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Styles {
    /// The time.
    pub time: Style,
    /// `Block`.
    pub block: Style,
    /// `would block`.
    pub would_block: Style,
    /// `Audit`.
    pub audit: Style,
    /// The object.
    pub object: Style,
    /// Policy and rule.
    pub decided_by: Style,
    /// The count of repeats.
    pub count: Style,
    /// A loss.
    pub loss: Style,
}

/// Widths of columns, in terminal cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Of the workload (`namespace/pod/container`); `None`: no such column.
    pub workload: Option<usize>,
    /// Of the acting program.
    pub program: usize,
    /// Of the object.
    pub object: usize,
    /// Whether `FILE:LINE` of the rule is shown behind it.
    pub origin: bool,
}

// === impl Text ===

impl Text {
    /// The record as one line, with the newline.
    ///
    /// # Guarantees
    ///
    /// The newline is the only control character, but for the escape sequences of [`Styles`].
    #[must_use]
    pub fn line(&self, record: &Record) -> String {
        let mut out = String::with_capacity(160);
        match record {
            Record::Event(event) => self.event(&mut out, event),
            Record::Loss(loss) => self.loss(&mut out, loss),
            Record::Message(message) => self.message(&mut out, message),
        }
        out.push('\n');
        out
    }

    fn event(&self, out: &mut String, event: &Event) {
        let Self { options, styles, layout } = self;
        let verdict = match event.verdict {
            Verdict::Block(_) => styles.block,
            Verdict::WouldBlock => styles.would_block,
            Verdict::Audit | Verdict::WouldAudit => styles.audit,
        };
        self.time(out, event.time.clock());
        column(out, verdict, event.verdict.word(), Verdict::WORD_WIDTH);
        column(out, Style::new(), event.operation.word(), Operation::WORD_WIDTH);
        if let Some(width) = layout.workload {
            column(out, Style::new(), &workload(event), width);
        }
        column(out, Style::new(), &program(event), layout.program);
        column(out, styles.object, &object(event, *options), layout.object);
        styled(out, styles.decided_by, &decided_by(&event.decider));
        if layout.origin && event.decider.rule().is_some() {
            let _ = write!(out, "  {}", origin(&event.decider));
        }
        if let Some(shadow) = &event.shadow {
            let _ = write!(out, "  (would {} by {})", shadow.word().to_ascii_lowercase(), decided_by(&shadow.decider));
        }
        let count = event.repeats.count.get();
        if count > 1 {
            out.push_str("  ");
            styled(out, styles.count, &format!("x{count}"));
        }
    }

    fn loss(&self, out: &mut String, loss: &Loss) {
        let width = Verdict::WORD_WIDTH + 2;
        self.time(out, loss.time.clock());
        styled(out, self.styles.loss, &format!("{:width$}{}", "LOST", shown(loss.text().as_bytes())));
    }

    fn message(&self, out: &mut String, message: &Message) {
        let Message { time, host: _, level, text } = message;
        self.time(out, time.clock());
        let word = match level {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        let style = match level {
            Level::Debug | Level::Info => Style::new(),
            Level::Warning => self.styles.audit,
            Level::Error => self.styles.loss,
        };
        column(out, style, word, Verdict::WORD_WIDTH);
        out.push_str(&shown(text.as_bytes()));
    }

    fn time(&self, out: &mut String, clock: impl std::fmt::Display) {
        let style = self.styles.time;
        let _ = write!(out, "{style}{clock}{style:#}  ");
    }
}

/// The text padded to the width, the padding outside of the style, and two spaces.
fn column(out: &mut String, style: Style, text: &str, width: usize) {
    styled(out, style, text);
    let padding = width.saturating_sub(text.width()) + 2;
    out.extend(std::iter::repeat_n(' ', padding));
}

fn styled(out: &mut String, style: Style, text: &str) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{style}{text}{style:#}");
}

fn workload(event: &Event) -> String {
    let Some(workload) = &event.workload else { return "host".to_owned() };
    let names = [&workload.namespace, &workload.pod, &workload.container];
    let names: Vec<_> = names.into_iter().filter(|n| !n.is_empty()).map(String::as_str).collect();
    word(names.join("/").as_bytes()).into_owned()
}

/// The acting program; `?` where it is unknown.
pub(crate) fn program(event: &Event) -> Cow<'_, str> {
    if event.process.program.is_empty() { Cow::Borrowed("?") } else { word(&event.process.program) }
}

/// The object, and of an exec its arguments after the name, each a word.
pub(crate) fn object(event: &Event, options: EncodeOptions) -> String {
    let mut out = match &event.object {
        Object::Socket(socket) => socket.to_string(),
        Object::Endpoint(socket, address) => format!("{socket} {address}"),
        object @ (Object::Path(_) | Object::Memfd(_) | Object::Unresolvable | Object::Capability(_)) => {
            word(&object_name(object)).into_owned()
        }
    };
    if options.drop_command_lines || event.operation != Operation::Exec {
        return out;
    }
    let mut left = ARGUMENTS_SHOWN_BYTES;
    let arguments = event.arguments.get(1..).unwrap_or_default();
    for (at, argument) in arguments.iter().enumerate() {
        if argument.len() > left {
            let more = arguments.len() - at;
            let _ = write!(out, " ...({more} more)");
            break;
        }
        left -= argument.len();
        out.push(' ');
        out.push_str(&word(argument));
    }
    if event.arguments_cut {
        out.push_str(" ...");
    }
    out
}

/// Policy and rule: `ns/ksp-x process.matchPaths[0]`, `DefaultPosture`, `built-in mount-integrity`. Policies without a
/// namespace are named with their kind.
pub(crate) fn decided_by(decider: &Decider) -> String {
    match decider {
        Decider::Rule(rule) => {
            let name = word(rule.policy.name.as_bytes());
            let position = rule.position;
            match rule.policy.kind {
                Kind::Namespaced => {
                    let name = format!("{}/{}", rule.policy.namespace, rule.policy.name);
                    format!("{} {position}", word(name.as_bytes()))
                }
                Kind::Cluster => format!("cluster policy {name} {position}"),
                Kind::Host => format!("host policy {name} {position}"),
            }
        }
        Decider::DefaultPosture => decider.policy_name().to_owned(),
        Decider::BuiltIn(name) => format!("built-in {}", word(name.as_bytes())),
        Decider::Unknown(_) => format!("unknown rule ({})", decider.rule_name()),
        Decider::Untold(reason) => format!("rule not known ({})", shown(reason.as_bytes())),
    }
}

/// `FILE:LINE`, where a rule decided.
pub(crate) fn origin(decider: &Decider) -> String {
    let Some(rule) = decider.rule() else { return String::new() };
    word(format!("{}:{}", rule.origin.file, rule.origin.line).as_bytes()).into_owned()
}

// === impl Styles, Layout ===

impl Styles {
    /// The usual colours, of the eight that every terminal has.
    #[must_use]
    pub const fn coloured() -> Self {
        Self {
            time: Style::new().dimmed(),
            block: AnsiColor::Red.on_default().bold(),
            would_block: AnsiColor::Magenta.on_default(),
            audit: AnsiColor::Yellow.on_default(),
            object: Style::new().bold(),
            decided_by: AnsiColor::Cyan.on_default(),
            count: Style::new().bold(),
            loss: Style::new().fg_color(Some(Color::Ansi(AnsiColor::White))).bg_color(Some(Color::Ansi(AnsiColor::Red))).bold(),
        }
    }
}

impl Default for Layout {
    /// Without the workload: for `palisade run`, which has one.
    fn default() -> Self {
        Self { workload: None, program: 24, object: 32, origin: true }
    }
}
