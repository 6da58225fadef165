//! Landlock's audit records (Linux 6.15, ABI 7): from text to denials. Pure.
//!
//! ```text
//! type 1423  audit(1729738800.268:30): domain=1a6fdc66f blockers=fs.execute path="/usr/bin/curl" dev="vda2" ino=351
//! type 1424  audit(1729738800.268:30): domain=1a6fdc66f status=allocated mode=enforcing pid=286 uid=0 exe="..." comm="..."
//! type 1300  audit(1729738800.268:30): arch=c000003e syscall=59 success=no exit=-13 ... pid=287 ...    (with audit rules)
//! type 1424  audit(1729738900.100:77): domain=1a6fdc66f status=deallocated denials=3
//! ```
//! An access record names the domain, not the task; the domain record, which follows the domain's first denial, names
//! the process that entered it: for a run, its first process.

use std::collections::BTreeMap;

/// A denial as the kernel told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenDenial {
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// The domain, a number that the kernel gives once.
    pub domain: u64,
    /// The process that entered the domain; `None` where its record was not seen.
    pub pid: Option<u32>,
    /// The rights that were missing, as `fs.execute`, `fs.read_file`, `fs.change_topology`, `ptrace`.
    pub blockers: Vec<String>,
    /// The object's path, where there is one.
    pub path: Option<Vec<u8>>,
    /// Its file system, as the kernel names it.
    pub dev: Option<String>,
    /// Its inode.
    pub ino: Option<u64>,
}

/// One record, as far as it concerns Landlock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An access was denied.
    Access(SeenDenial),
    /// A domain was described.
    Domain {
        /// Which.
        domain: u64,
        /// The process that entered it.
        pid: u32,
    },
    /// A domain ended.
    Ended {
        /// Which.
        domain: u64,
        /// How many denials it had.
        denials: u64,
    },
}

/// Joins access records with the process of their domain.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    pids: BTreeMap<u64, u32>,
    waiting: Vec<SeenDenial>,
    /// Denials given out without a process, because the domain's record did not come.
    pub nameless: u64,
}

/// `AUDIT_LANDLOCK_ACCESS`
pub const LANDLOCK_ACCESS: u16 = 1423;
/// `AUDIT_LANDLOCK_DOMAIN`
pub const LANDLOCK_DOMAIN: u16 = 1424;
/// The most denials that wait for their domain's record: it comes right after the first.
const WAITING_MAX: usize = 64;
/// The most domains remembered; an ended one is forgotten.
const DOMAINS_MAX: usize = 4096;

// === impl Record ===

impl Record {
    /// Reads the text of a record of this type; `None` if it is of another type, or not as the kernel writes it.
    #[must_use]
    pub fn parse(kind: u16, text: &[u8]) -> Option<Self> {
        if kind != LANDLOCK_ACCESS && kind != LANDLOCK_DOMAIN {
            return None;
        }
        let (time_ms, fields) = header(text)?;
        let fields = Fields::parse(fields);
        let domain = u64::from_str_radix(fields.word("domain")?, 16).ok()?;
        if kind == LANDLOCK_ACCESS {
            let blockers = fields.word("blockers")?.split(',').map(str::to_owned).collect();
            let (path, dev) = (fields.bytes("path"), fields.bytes("dev"));
            let dev = dev.map(|d| String::from_utf8_lossy(&d).into_owned());
            return Some(Self::Access(SeenDenial { time_ms, domain, pid: None, blockers, path, dev, ino: fields.number("ino") }));
        }
        match fields.word("status")? {
            "allocated" => Some(Self::Domain { domain, pid: u32::try_from(fields.number("pid")?).ok()? }),
            "deallocated" => Some(Self::Ended { domain, denials: fields.number("denials")? }),
            _ => None,
        }
    }
}

/// `audit(SECONDS.MILLIS:SERIAL): ` and what follows.
fn header(text: &[u8]) -> Option<(u64, &[u8])> {
    let rest = text.strip_prefix(b"audit(")?;
    let end = rest.windows(3).position(|w| w == b"): ")?;
    let (stamp, fields) = (std::str::from_utf8(&rest[..end]).ok()?, &rest[end + 3..]);
    let (time, _serial) = stamp.split_once(':')?;
    let (seconds, millis) = time.split_once('.')?;
    let time_ms = seconds.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(millis.parse().ok()?)?;
    Some((time_ms, fields))
}

/// `key=value` pairs; a value is a word, or text in double quotes.
struct Fields<'a>(Vec<(&'a [u8], Value<'a>)>);

#[derive(Clone, Copy)]
enum Value<'a> {
    Word(&'a [u8]),
    Quoted(&'a [u8]),
}

impl<'a> Fields<'a> {
    fn parse(text: &'a [u8]) -> Self {
        let mut out = Vec::new();
        let mut rest = text;
        while let Some(equals) = rest.iter().position(|b| *b == b'=') {
            let key = rest[..equals].rsplit(|b| *b == b' ').next().unwrap_or_default();
            let value = &rest[equals + 1..];
            let (value, after) = match value.strip_prefix(b"\"") {
                Some(quoted) => {
                    let end = quoted.iter().position(|b| *b == b'"').unwrap_or(quoted.len());
                    (Value::Quoted(&quoted[..end]), quoted.get(end + 1..).unwrap_or_default())
                }
                None => {
                    let end = value.iter().position(|b| matches!(b, b' ' | b'\n' | 0)).unwrap_or(value.len());
                    (Value::Word(&value[..end]), &value[end..])
                }
            };
            out.push((key, value));
            rest = after;
        }
        Self(out)
    }

    fn get(&self, key: &str) -> Option<Value<'a>> {
        self.0.iter().find(|(k, _)| *k == key.as_bytes()).map(|(_, v)| *v)
    }

    fn word(&self, key: &str) -> Option<&'a str> {
        match self.get(key)? {
            Value::Word(word) => std::str::from_utf8(word).ok(),
            Value::Quoted(_) => None,
        }
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.word(key)?.parse().ok()
    }

    /// A text that the kernel quotes, or writes as hexadecimal digits where it holds blanks, quotes or control bytes.
    fn bytes(&self, key: &str) -> Option<Vec<u8>> {
        match self.get(key)? {
            Value::Quoted(text) => Some(text.to_vec()),
            Value::Word(digits) => {
                let (pairs, rest) = digits.as_chunks::<2>();
                let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
                if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
            }
        }
    }
}

// === impl Tracker ===

impl Tracker {
    /// Takes one record; gives the denials that are complete now, in their order.
    pub fn push(&mut self, record: Record) -> Vec<SeenDenial> {
        match record {
            Record::Access(denial) => match self.pids.get(&denial.domain) {
                Some(pid) => vec![SeenDenial { pid: Some(*pid), ..denial }],
                None => {
                    self.waiting.push(denial);
                    if self.waiting.len() > WAITING_MAX { self.flush() } else { Vec::new() }
                }
            },
            Record::Domain { domain, pid } => {
                if self.pids.len() >= DOMAINS_MAX {
                    self.pids.pop_first();
                }
                self.pids.insert(domain, pid);
                let (now, later) = self.waiting.drain(..).partition(|d| d.domain == domain);
                self.waiting = later;
                let now: Vec<SeenDenial> = now;
                now.into_iter().map(|d| SeenDenial { pid: Some(pid), ..d }).collect()
            }
            Record::Ended { domain, .. } => {
                self.pids.remove(&domain);
                Vec::new()
            }
        }
    }

    /// Gives out what still waits, without a process: for when nothing came for a while.
    pub fn flush(&mut self) -> Vec<SeenDenial> {
        self.nameless += self.waiting.len() as u64;
        std::mem::take(&mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCESS: &[u8] =
        b"audit(1729738800.268:30): domain=1a6fdc66f blockers=fs.write_file,fs.truncate path=\"/usr/bin\" dev=\"vda2\" ino=351";
    const DOMAIN: &[u8] = b"audit(1729738800.268:30): domain=1a6fdc66f status=allocated mode=enforcing pid=286 uid=0 exe=\"/root/sandboxer\" comm=\"sandboxer\"";

    fn access() -> Record {
        Record::parse(LANDLOCK_ACCESS, ACCESS).unwrap()
    }

    #[test]
    fn a_denial_is_read() {
        let Record::Access(denial) = access() else { panic!() };
        assert_eq!(
            denial,
            SeenDenial {
                time_ms: 1_729_738_800_268,
                domain: 0x1_a6fd_c66f,
                pid: None,
                blockers: vec!["fs.write_file".to_owned(), "fs.truncate".to_owned()],
                path: Some(b"/usr/bin".to_vec()),
                dev: Some("vda2".to_owned()),
                ino: Some(351),
            }
        );
    }

    #[test]
    fn an_odd_path_comes_in_hexadecimal() {
        let text = b"audit(1.000:1): domain=1 blockers=fs.read_file path=2F746D702F612062 dev=\"vda\" ino=1";
        let Some(Record::Access(denial)) = Record::parse(LANDLOCK_ACCESS, text) else { panic!() };
        assert_eq!(denial.path.as_deref(), Some(b"/tmp/a b".as_slice()));
    }

    #[test]
    fn a_denial_waits_for_its_domain() {
        let mut tracker = Tracker::default();
        assert_eq!(tracker.push(access()), []);
        let out = tracker.push(Record::parse(LANDLOCK_DOMAIN, DOMAIN).unwrap());
        assert_eq!(out.iter().map(|d| d.pid).collect::<Vec<_>>(), [Some(286)]);
        assert_eq!(tracker.push(access()).len(), 1);
        let end = b"audit(1.000:9): domain=1a6fdc66f status=deallocated denials=2";
        assert_eq!(Record::parse(LANDLOCK_DOMAIN, end), Some(Record::Ended { domain: 0x1_a6fd_c66f, denials: 2 }));
    }

    #[test]
    fn what_waits_in_vain_is_counted() {
        let mut tracker = Tracker::default();
        let given: usize = (0..=WAITING_MAX).map(|_| tracker.push(access()).len()).sum();
        assert_eq!((given, tracker.nameless), (WAITING_MAX + 1, WAITING_MAX as u64 + 1));
    }

    #[test]
    fn garbage_is_no_record() {
        for text in [
            b"".as_slice(),
            b"audit(",
            b"audit(1.1:1): ",
            b"audit(x.1:1): domain=1 blockers=a",
            b"audit(1.1:1): domain=zz blockers=a",
        ] {
            assert_eq!(Record::parse(LANDLOCK_ACCESS, text), None);
        }
        assert_eq!(Record::parse(1300, ACCESS), None);
        for cut in 0..ACCESS.len() {
            let _ = Record::parse(LANDLOCK_ACCESS, &ACCESS[..cut]);
            let _ = Record::parse(LANDLOCK_DOMAIN, &DOMAIN[..cut.min(DOMAIN.len())]);
        }
    }
}
