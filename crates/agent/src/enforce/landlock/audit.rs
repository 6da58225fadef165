//! Landlock's audit records (Linux 6.15, ABI 7): from text to denials. Pure.
//!
//! ```text
//! type 1423  audit(1729738800.268:30): domain=1a6fdc66f blockers=fs.execute path="/usr/bin/curl" dev="vda2" ino=351
//! type 1424  audit(1729738800.268:30): domain=1a6fdc66f status=allocated mode=enforcing pid=286 uid=0 exe="..." comm="..."
//! type 1300  audit(1729738800.268:30): arch=c000003e syscall=59 success=no exit=-13 ... pid=287 ... exe="..." (with audit rules)
//! type 1424  audit(1729738900.100:77): domain=1a6fdc66f status=deallocated denials=3
//! ```
//! An access record names the domain, not the task; the domain record, which follows the domain's first denial, names
//! the process that entered it: for a run, its first process. The task is named by the record of the system call, which
//! comes with the same serial number when the call ends, but only where some audit rule is loaded.

use std::collections::BTreeMap;
use std::str::FromStr;

/// A denial as the kernel told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenDenial {
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
    /// The number that all records of one system call share.
    pub serial: u64,
    /// The domain, a number that the kernel gives once.
    pub domain: u64,
    /// The process that entered the domain; `None` where its record was not seen.
    pub entered: Option<Entered>,
    /// Who was denied; `None` where no audit rule is loaded.
    pub task: Option<DeniedTask>,
    /// The rights that were missing, as `fs.execute`, `fs.read_file`, `fs.change_topology`, `ptrace`.
    pub blockers: Vec<String>,
    /// The object's path, where there is one.
    pub path: Option<Vec<u8>>,
    /// Its file system, as the kernel names it.
    pub dev: Option<String>,
    /// Its inode.
    pub ino: Option<u64>,
}

/// Who entered a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entered {
    /// Its process number, in the initial pid namespace.
    pub pid: u32,
    /// The program that it was then.
    pub program: Vec<u8>,
}

/// Who was denied, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeniedTask {
    /// Its process number, in the initial pid namespace.
    pub pid: u32,
    /// Its parent's.
    pub parent_pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its program.
    pub program: Vec<u8>,
    /// What the system call returned.
    pub exit: i32,
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
        entered: Entered,
    },
    /// A system call ended; perhaps one that was denied.
    Call {
        /// The number that it shares with the denial.
        serial: u64,
        /// Who made it.
        task: DeniedTask,
    },
    /// A domain ended.
    Ended {
        /// Which.
        domain: u64,
        /// How many denials it had.
        denials: u64,
    },
}

/// What is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A denial.
    Denial(SeenDenial),
    /// A domain ended: no denial of it comes any more.
    Ended {
        /// Which.
        domain: u64,
        /// How many denials it had.
        denials: u64,
    },
}

/// Joins access records with the process of their domain and the task.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    domains: BTreeMap<u64, Entered>,
    waiting: Vec<SeenDenial>,
    /// Denials given out without the process of their domain, because the domain's record did not come.
    pub nameless: u64,
}

/// `AUDIT_SYSCALL`
pub const SYSCALL: u16 = 1300;

/// `AUDIT_LANDLOCK_ACCESS`
pub const LANDLOCK_ACCESS: u16 = 1423;
/// `AUDIT_LANDLOCK_DOMAIN`
pub const LANDLOCK_DOMAIN: u16 = 1424;
/// The most denials that wait for further records: the domain's comes right after the first, the task's right after each.
const WAITING_MAX: usize = 64;
/// The most domains remembered; an ended one is forgotten.
const DOMAINS_MAX: usize = 4096;

// === impl Record ===

impl Record {
    /// Reads the text of a record of this type; `None` if it is of another type, or not as the kernel writes it.
    #[must_use]
    pub fn parse(kind: u16, text: &[u8]) -> Option<Self> {
        if ![LANDLOCK_ACCESS, LANDLOCK_DOMAIN, SYSCALL].contains(&kind) {
            return None;
        }
        let Header { time_ms, serial, fields } = Header::parse(text)?;
        let fields = Fields::parse(fields);
        if kind == SYSCALL {
            return Some(Self::Call { serial, task: DeniedTask::of(&fields)? });
        }
        let domain = u64::from_str_radix(fields.word("domain")?, 16).ok()?;
        if kind == LANDLOCK_ACCESS {
            let blockers = fields.word("blockers")?.split(',').map(str::to_owned).collect();
            let (path, dev) = (fields.bytes("path"), fields.bytes("dev"));
            let dev = dev.map(|d| String::from_utf8_lossy(&d).into_owned());
            let ino = fields.number("ino");
            return Some(Self::Access(SeenDenial {
                time_ms,
                serial,
                domain,
                entered: None,
                task: None,
                blockers,
                path,
                dev,
                ino,
            }));
        }
        match fields.word("status")? {
            "allocated" => {
                let program = fields.bytes("exe").unwrap_or_default();
                Some(Self::Domain { domain, entered: Entered { pid: fields.number("pid")?, program } })
            }
            "deallocated" => Some(Self::Ended { domain, denials: fields.number("denials")? }),
            _ => None,
        }
    }
}

impl DeniedTask {
    fn of(fields: &Fields<'_>) -> Option<Self> {
        Some(Self {
            pid: fields.number("pid")?,
            parent_pid: fields.number("ppid")?,
            uid: fields.number("uid")?,
            program: fields.bytes("exe").unwrap_or_default(),
            exit: fields.number("exit").unwrap_or(0),
        })
    }
}

/// `audit(SECONDS.MILLIS:SERIAL): ` and what follows.
struct Header<'a> {
    time_ms: u64,
    serial: u64,
    fields: &'a [u8],
}

impl<'a> Header<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        let rest = text.strip_prefix(b"audit(")?;
        let end = rest.windows(3).position(|w| w == b"): ")?;
        let (stamp, fields) = (std::str::from_utf8(&rest[..end]).ok()?, &rest[end + 3..]);
        let (time, serial) = stamp.split_once(':')?;
        let (seconds, millis) = time.split_once('.')?;
        let time_ms = seconds.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(millis.parse().ok()?)?;
        Some(Self { time_ms, serial: serial.parse().ok()?, fields })
    }
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

    fn number<T: FromStr>(&self, key: &str) -> Option<T> {
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
    /// Takes one record; gives what is complete now, in its order.
    pub fn push(&mut self, record: Record) -> Vec<Seen> {
        match record {
            Record::Access(denial) => {
                let entered = self.domains.get(&denial.domain).cloned();
                self.waiting.push(SeenDenial { entered, ..denial });
                if self.waiting.len() > WAITING_MAX { self.flush() } else { Vec::new() }
            }
            Record::Domain { domain, entered } => {
                if self.domains.len() >= DOMAINS_MAX {
                    self.domains.pop_first();
                }
                for denial in self.waiting.iter_mut().filter(|d| d.domain == domain) {
                    denial.entered = Some(entered.clone());
                }
                self.domains.insert(domain, entered);
                Vec::new()
            }
            Record::Call { serial, task } => {
                // A call may be denied more than once, and others end while its denials wait.
                let (mut now, later): (Vec<_>, Vec<_>) = self.waiting.drain(..).partition(|d| d.serial == serial);
                self.waiting = later;
                now.iter_mut().for_each(|denial| denial.task = Some(task.clone()));
                self.given(now)
            }
            Record::Ended { domain, denials } => {
                let mut out = self.flush();
                self.domains.remove(&domain);
                out.push(Seen::Ended { domain, denials });
                out
            }
        }
    }

    /// Gives out what still waits, without what has not come: for when nothing came for a while.
    pub fn flush(&mut self) -> Vec<Seen> {
        let now = std::mem::take(&mut self.waiting);
        self.given(now)
    }

    /// Whether something waits for further records.
    #[must_use]
    pub fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn given(&mut self, denials: Vec<SeenDenial>) -> Vec<Seen> {
        self.nameless += denials.iter().filter(|d| d.entered.is_none()).count() as u64;
        denials.into_iter().map(Seen::Denial).collect()
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
                serial: 30,
                entered: None,
                task: None,
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
    fn a_denial_gets_the_process_of_its_domain() {
        let mut tracker = Tracker::default();
        assert_eq!(tracker.push(access()), []);
        assert_eq!(tracker.push(Record::parse(LANDLOCK_DOMAIN, DOMAIN).unwrap()), []);
        assert_eq!(tracker.push(access()), []);
        let out = tracker.flush();
        let entered = Entered { pid: 286, program: b"/root/sandboxer".to_vec() };
        let both = out.iter().all(|seen| matches!(seen, Seen::Denial(d) if d.entered.as_ref() == Some(&entered)));
        assert!(both && out.len() == 2 && !tracker.waits(), "{out:?}");
        let end = b"audit(1.000:9): domain=1a6fdc66f status=deallocated denials=2";
        let end = tracker.push(Record::parse(LANDLOCK_DOMAIN, end).unwrap());
        assert_eq!(end, [Seen::Ended { domain: 0x1_a6fd_c66f, denials: 2 }]);
    }

    #[test]
    fn a_denial_gets_the_task_of_its_call_and_of_no_other() {
        let call = |serial: u32| {
            let text = format!(
                "audit(1729738800.268:{serial}): arch=c000003e syscall=59 success=no exit=-13 a0=1 items=0 ppid=7 pid=287 auid=0 \
                 uid=1000 gid=0 tty=(none) comm=\"sh\" exe=\"/usr/bin/dash\" key=(null)"
            );
            Record::parse(SYSCALL, text.as_bytes()).unwrap()
        };
        let mut tracker = Tracker::default();
        tracker.push(access());
        assert_eq!(tracker.push(call(31)), []);
        let out = tracker.push(call(30));
        let [Seen::Denial(denial)] = out.as_slice() else { panic!("{out:?}") };
        let task = DeniedTask { pid: 287, parent_pid: 7, uid: 1000, program: b"/usr/bin/dash".to_vec(), exit: -13 };
        assert_eq!(denial.task, Some(task));
        assert!(!tracker.waits());
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
