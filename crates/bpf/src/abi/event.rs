//! `struct pal_event`: one record of the ring buffer.

use std::net::SocketAddr;

use thiserror::Error;

use super::{ABI_VERSION, ARGUMENTS_MAX, COMM, ObjectKind, Operation, PATH_MAX, Verdict};

/// `PAL_EXEC_INTERPRETER`.
const EXEC_INTERPRETER: u8 = 2;

/// One event, checked. The numbers of rules, tables and labels are the caller's to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The rule code: who decided.
    pub code: u32,
    /// The generation of the table that decided.
    pub generation: u64,
    /// CLOCK_BOOTTIME, nanoseconds.
    pub time_ns: u64,
    /// Per CPU, from 1, counted also where the ring was full: a gap is a loss.
    pub number: u64,
    /// The id of the task's cgroup (v2).
    pub cgroup: u64,
    /// The CPU that wrote it.
    pub cpu: u32,
    /// The label of the task.
    pub label: u32,
    /// Process id in the initial pid namespace.
    pub tgid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// Process id of the real parent.
    pub ppid: u32,
    /// Real uid in the initial user namespace.
    pub uid: u32,
    /// The table that decided.
    pub table_id: u32,
    /// The errno given to the task, positive; 0 if the access passed.
    pub error: i32,
    /// What was done.
    pub operation: Operation,
    /// The result.
    pub verdict: Verdict,
    /// Of an open: whether it reads.
    pub reads: bool,
    /// Of an open: whether it writes.
    pub writes: bool,
    /// Of an exec: whether it is the interpreter that the stage before it names.
    pub interpreter: bool,
    /// What `object` is.
    pub object_kind: ObjectKind,
    /// Whether the task has, or an ancestor in the workload had, a controlling terminal.
    pub terminal: bool,
    /// Sockets: AF_*; capabilities: the number.
    pub family: u32,
    /// Sockets: SOCK_*.
    pub socket_type: u32,
    /// Sockets: the protocol.
    pub protocol: u32,
    /// Endpoints: the address and port that the operation names.
    pub endpoint: Option<SocketAddr>,
    /// The thread's name, without its zero bytes.
    pub comm: Vec<u8>,
    /// The path or memfd name; empty for sockets and capabilities.
    pub object: Vec<u8>,
    /// The path of the acting program; empty where it could not be told.
    pub program: Vec<u8>,
    /// Of an exec: what it gives the program, `argv[0]` first. Empty where they cannot be read.
    pub arguments: Vec<Vec<u8>>,
    /// There are more arguments than these, or more of the last: a record has [`ARGUMENTS_MAX`] bytes of them.
    pub arguments_cut: bool,
    /// What policies in audited mode would have made of it, where that is not simply that they would have blocked what
    /// passes in silence: the verdict and its rule code.
    pub shadow: Option<(Verdict, u32)>,
}

/// Why bytes of the ring are no event.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Shorter than its fixed part, or than its lengths say.
    #[error("record of {have} bytes where {need} are needed")]
    Short {
        /// Bytes there are.
        have: usize,
        /// Bytes there should be.
        need: usize,
    },
    /// Written by programs of another ABI.
    #[error("record of ABI version {0}")]
    Abi(u32),
    /// A field holds a number that stands for nothing.
    #[error("record with {field} {number}")]
    Number {
        /// The field of `struct pal_event`.
        field: &'static str,
        /// Its number.
        number: u64,
    },
}

/// Reads fields one after the other. Every read is bounded by the slice.
struct Fields<'a> {
    bytes: &'a [u8],
    need: usize,
}

// === impl Event ===

impl Event {
    /// The size of the fixed part, in bytes.
    pub const HEAD_BYTES: usize = 144;

    /// The size of the largest record, in bytes.
    pub const MAX_BYTES: usize = Self::HEAD_BYTES + 2 * PATH_MAX + ARGUMENTS_MAX;

    /// `PAL_EVENT_ARGUMENTS_CUT`.
    pub(super) const ARGUMENTS_CUT: u32 = 1;

    /// `PAL_EVENT_SHADOW`.
    pub(super) const SHADOW: u32 = 2;

    /// The label of a record, without decoding the rest: for passing records on.
    #[must_use]
    pub fn label_of(record: &[u8]) -> Option<u32> {
        let bytes: [u8; 4] = record.get(44..48)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    }

    /// The table that decided a record.
    #[must_use]
    pub fn table_of(record: &[u8]) -> Option<u32> {
        let bytes: [u8; 4] = record.get(64..68)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    }

    /// The CPU of a record and its number there.
    #[must_use]
    pub fn number_of(record: &[u8]) -> Option<(u32, u64)> {
        let number: [u8; 8] = record.get(24..32)?.try_into().ok()?;
        let cpu: [u8; 4] = record.get(40..44)?.try_into().ok()?;
        Some((u32::from_le_bytes(cpu), u64::from_le_bytes(number)))
    }

    /// Verdict and code of a shadow.
    fn decode_shadow(shadow: u32) -> Result<(Verdict, u32), DecodeError> {
        let [low, middle, high, verdict] = shadow.to_le_bytes();
        let code = u32::from_le_bytes([low, middle, high, 0]);
        match Verdict::from_number(verdict)? {
            verdict @ (Verdict::Allow | Verdict::Audit | Verdict::Block) => Ok((verdict, code)),
            Verdict::WouldBlock => Err(DecodeError::Number { field: "shadow", number: shadow.into() }),
        }
    }

    /// Checks a record and takes it apart. Never panics, whatever the bytes.
    ///
    /// # Errors
    /// [`DecodeError`] says which field is wrong; the caller counts it.
    pub fn decode(record: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields { bytes: record, need: Self::HEAD_BYTES };
        let abi = fields.u32()?;
        if abi != ABI_VERSION {
            return Err(DecodeError::Abi(abi));
        }
        let code = fields.u32()?;
        let generation = fields.u64()?;
        let time_ns = fields.u64()?;
        let number = fields.u64()?;
        let cgroup = fields.u64()?;
        let cpu = fields.u32()?;
        let label = fields.u32()?;
        let tgid = fields.u32()?;
        let tid = fields.u32()?;
        let ppid = fields.u32()?;
        let uid = fields.u32()?;
        let table_id = fields.u32()?;
        let error = i32::from_le_bytes(fields.take()?);
        let class = fields.u8()?;
        let operation = Operation::from_number(fields.u8()?)?;
        if class != operation.class() {
            return Err(DecodeError::Number { field: "class", number: class.into() });
        }
        let verdict = Verdict::from_number(fields.u8()?)?;
        let access = fields.u8()?;
        if access > 3 {
            return Err(DecodeError::Number { field: "access", number: access.into() });
        }
        let object_kind = ObjectKind::from_number(fields.u8()?)?;
        let terminal = fields.u8()? != 0;
        let object_len = fields.length("object_len")?;
        let program_len = fields.length("program_len")?;
        let arguments_len = fields.length("arguments_len")?;
        let family = fields.u32()?;
        let socket_type = fields.u32()?;
        let protocol = fields.u32()?;
        let comm = until_zero(&fields.take::<COMM>()?);
        let flags = fields.u32()?;
        if flags & !(Self::ARGUMENTS_CUT | Self::SHADOW) != 0 {
            return Err(DecodeError::Number { field: "flags", number: flags.into() });
        }
        let port = fields.u16()?;
        let _pad = fields.u16()?;
        let address: [u8; 16] = fields.take()?;
        let endpoint = object_kind.address(address).map(|address| SocketAddr::new(address, port));
        let shadow = fields.u32()?;
        let _pad = fields.u32()?;
        let shadow = if flags & Self::SHADOW == 0 { None } else { Some(Self::decode_shadow(shadow)?) };
        if verdict == Verdict::Allow && shadow.is_none() {
            return Err(DecodeError::Number { field: "verdict", number: 0 });
        }
        fields.need = Self::HEAD_BYTES + object_len + program_len + arguments_len;
        let object = fields.slice(object_len)?.to_vec();
        let program = fields.slice(program_len)?.to_vec();
        let arguments = strings(fields.slice(arguments_len)?);
        // What follows is the ring's rounding up to 8 bytes: no part of the record.
        Ok(Self {
            code,
            generation,
            time_ns,
            number,
            cgroup,
            cpu,
            label,
            tgid,
            tid,
            ppid,
            uid,
            table_id,
            error,
            operation,
            verdict,
            reads: access & 1 != 0,
            writes: operation != Operation::Exec && access & 2 != 0,
            interpreter: operation == Operation::Exec && access & EXEC_INTERPRETER != 0,
            object_kind,
            terminal,
            family,
            socket_type,
            protocol,
            endpoint,
            comm,
            object,
            program,
            arguments,
            arguments_cut: flags & Self::ARGUMENTS_CUT != 0,
            shadow,
        })
    }
}

// === impl Fields ===

impl Fields<'_> {
    fn slice(&mut self, length: usize) -> Result<&[u8], DecodeError> {
        let (head, tail) =
            self.bytes.split_at_checked(length).ok_or(DecodeError::Short { have: self.bytes.len(), need: self.need })?;
        self.bytes = tail;
        Ok(head)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut out = [0; N];
        out.copy_from_slice(self.slice(N)?);
        Ok(out)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        self.take().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        self.take().map(u64::from_le_bytes)
    }

    fn length(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        let length = self.u16()?;
        let fits = usize::from(length) <= PATH_MAX;
        fits.then_some(length.into()).ok_or(DecodeError::Number { field, number: length.into() })
    }
}

/// Strings with a zero behind each; the last one may lack it.
fn strings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let whole = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if bytes.is_empty() { Vec::new() } else { whole.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect() }
}

/// The bytes before the first zero.
fn until_zero(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().take_while(|b| *b != 0).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Operation {
        pub(in crate::abi) fn c_name(self) -> &'static str {
            let upper = self.name().to_ascii_uppercase();
            Box::leak(format!("PAL_OP_{upper}").into_boxed_str())
        }
    }

    impl Verdict {
        pub(in crate::abi) fn c_name(self) -> &'static str {
            match self {
                Self::Allow => "PAL_ALLOW",
                Self::Audit => "PAL_AUDIT",
                Self::Block => "PAL_BLOCK",
                Self::WouldBlock => "PAL_WOULD_BLOCK",
            }
        }
    }

    impl ObjectKind {
        pub(in crate::abi) fn c_name(self) -> &'static str {
            match self {
                Self::Path => "PAL_OBJECT_PATH",
                Self::Memfd => "PAL_OBJECT_MEMFD",
                Self::Unresolvable => "PAL_OBJECT_UNRESOLVABLE",
                Self::Socket => "PAL_OBJECT_SOCKET",
                Self::Capability => "PAL_OBJECT_CAPABILITY",
                Self::Endpoint4 => "PAL_OBJECT_ENDPOINT4",
                Self::Endpoint6 => "PAL_OBJECT_ENDPOINT6",
            }
        }
    }

    /// A denied open of /etc/shadow by /bin/cat, as the kernel writes it.
    fn mk_record() -> Vec<u8> {
        let mut r = Vec::new();
        r.extend(ABI_VERSION.to_le_bytes());
        r.extend(7_u32.to_le_bytes()); // code
        r.extend(3_u64.to_le_bytes()); // generation
        r.extend(123_456_u64.to_le_bytes()); // time_ns
        r.extend(9_u64.to_le_bytes()); // number
        r.extend(4242_u64.to_le_bytes()); // cgroup
        for value in [1_u32, 5, 100, 101, 99, 1000, 77] {
            r.extend(value.to_le_bytes()); // cpu label tgid tid ppid uid table_id
        }
        r.extend(13_i32.to_le_bytes()); // error
        r.extend([1, 3, 2, 1, 0, 1]); // class operation verdict access object_kind terminal
        r.extend(11_u16.to_le_bytes());
        r.extend(8_u16.to_le_bytes());
        r.extend([0, 0]); // arguments_len
        r.extend([0; 12]); // family type protocol
        r.extend(*b"cat\0\0\0\0\0\0\0\0\0\0\0\0\0");
        r.extend([0; 8]); // flags port padding
        r.extend([0; 16]); // address
        r.extend([0; 8]); // shadow padding
        assert_eq!(r.len(), Event::HEAD_BYTES);
        r.extend(b"/etc/shadow");
        r.extend(b"/bin/cat");
        r
    }

    #[test]
    fn a_denied_open_is_taken_apart() {
        let record = mk_record();
        let event = Event::decode(&record).unwrap();
        assert_eq!(event.object, b"/etc/shadow");
        assert_eq!(event.program, b"/bin/cat");
        assert_eq!(event.comm, b"cat");
        assert_eq!((event.tgid, event.tid, event.ppid, event.uid), (100, 101, 99, 1000));
        assert_eq!((event.table_id, event.error, event.label), (77, 13, 5));
        assert_eq!(event.operation, Operation::Open);
        assert_eq!(event.verdict, Verdict::Block);
        assert!(event.reads && !event.writes && event.terminal);
        assert_eq!(Event::label_of(&record), Some(5));
        assert_eq!(Event::number_of(&record), Some((1, 9)));
        assert_eq!(Event::table_of(&record), Some(77));
    }

    /// The same record as an exec with arguments.
    fn mk_exec(arguments: &[u8], cut: bool) -> Vec<u8> {
        let mut r = mk_record();
        (r[72], r[73]) = (0, 1);
        r[82..84].copy_from_slice(&u16::try_from(arguments.len()).unwrap().to_le_bytes());
        r[112] = u8::from(cut);
        r.extend(arguments);
        r
    }

    #[test]
    fn arguments_are_taken_apart_at_their_zeros() {
        for (bytes, cut, expected) in [
            (&b"sh\0-c\0id\0"[..], false, &["sh", "-c", "id"][..]),
            (b"sh\0\0", false, &["sh", ""]),
            (b"\0", false, &[""]),
            (b"sh\0-c\0i", true, &["sh", "-c", "i"]),
            (b"", true, &[]),
        ] {
            let event = Event::decode(&mk_exec(bytes, cut)).unwrap();
            let expected: Vec<_> = expected.iter().map(|text| text.as_bytes().to_vec()).collect();
            assert_eq!((event.arguments, event.arguments_cut), (expected, cut), "{bytes:?}");
            assert_eq!(event.program, b"/bin/cat");
        }
    }

    #[test]
    fn a_denied_connect_names_its_end() {
        let mut record = mk_record();
        record[72..77].copy_from_slice(&[2, 22, 2, 1, 5]); // class operation verdict access object_kind
        record[116..118].copy_from_slice(&443_u16.to_le_bytes());
        record[120..124].copy_from_slice(&[10, 1, 2, 3]);
        let event = Event::decode(&record).unwrap();
        assert_eq!(event.operation, Operation::Connect);
        assert_eq!(event.endpoint, Some("10.1.2.3:443".parse().unwrap()));
        record[76] = 6;
        let expected = "[a01:203::]:443".parse().unwrap();
        assert_eq!(Event::decode(&record).unwrap().endpoint, Some(expected));
        record[76] = 3;
        assert_eq!(Event::decode(&record).unwrap().endpoint, None);
    }

    #[test]
    fn what_audited_policies_would_have_made_of_it_is_told() {
        let mut record = mk_record();
        (record[112], record[136], record[139]) = (2, 9, 0);
        assert_eq!(Event::decode(&record).unwrap().shadow, Some((Verdict::Allow, 9)));
        record[139] = 1;
        assert_eq!(Event::decode(&record).unwrap().shadow, Some((Verdict::Audit, 9)));
        record[74] = 0;
        assert_eq!(Event::decode(&record).unwrap().verdict, Verdict::Allow);
        record[112] = 0;
        assert!(Event::decode(&record).is_err(), "what passes in silence has no record");
        (record[74], record[112], record[139]) = (1, 2, 2);
        assert_eq!(Event::decode(&record).unwrap().shadow, Some((Verdict::Block, 9)));
        record[139] = 3;
        assert!(Event::decode(&record).is_err(), "what is only said of what passes");
    }

    #[test]
    fn an_exec_says_whether_it_is_the_interpreter_of_the_stage_before() {
        for (access, interpreter) in [(1, false), (3, true)] {
            let mut record = mk_record();
            (record[72], record[73], record[75]) = (0, 1, access); // class, operation, access
            let event = Event::decode(&record).unwrap();
            assert_eq!((event.operation, event.interpreter, event.writes), (Operation::Exec, interpreter, false));
        }
    }

    #[test]
    fn a_truncated_record_is_refused_at_every_length() {
        let record = mk_record();
        for length in 0..record.len() {
            assert!(matches!(Event::decode(&record[..length]), Err(DecodeError::Short { .. })), "{length}");
        }
    }

    #[test]
    fn numbers_that_stand_for_nothing_are_refused() {
        for (offset, value) in
            [(0, 99), (72, 3), (73, 0), (73, 36), (74, 0), (74, 4), (75, 4), (76, 7), (79, 0x20), (83, 0x20), (112, 4)]
        {
            let mut record = mk_record();
            record[offset] = value;
            assert!(Event::decode(&record).is_err(), "byte {offset} = {value}");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Event::decode(&bytes);
        }

        #[test]
        fn a_damaged_record_never_panics(at in 0_usize..144, value: u8, cut in 0_usize..163) {
            let mut record = mk_record();
            record[at] = value;
            record.truncate(cut);
            let _ = Event::decode(&record);
        }
    }
}
