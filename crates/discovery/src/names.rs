//! What a single name tells: temporary, another process's, secret, too much to be opened as a whole.

/// Digits in a row from which a number in a name that the run made is taken for a running one (a process id, a counter).
const DIGITS: usize = 4;
/// Letters and digits in a row from which a mixture is taken for a random part: `mktemp` makes at least six.
const RANDOM: usize = 6;

/// Directories that no rule opens as a whole, neither their files nor what lies below; `*` stands for one component.
const NEVER_WHOLE: &[&str] = &[
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/dev/shm",
    "/etc",
    "/home",
    "/home/*",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/run/lock",
    "/run/user/*",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/include",
    "/usr/lib",
    "/usr/lib/*-linux-*",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/libx32",
    "/usr/local",
    "/usr/local/*",
    "/usr/sbin",
    "/usr/share",
    "/usr/src",
    "/var",
    "/var/*",
    "/var/lib/dpkg",
];

/// Base names that hold secrets.
const SECRET_NAMES: &[&str] = &[
    "shadow",
    "shadow-",
    "gshadow",
    "gshadow-",
    "sudoers",
    "opasswd",
    "credentials",
    "token",
    "authorized_keys",
    ".netrc",
    ".pgpass",
    ".my.cnf",
    ".env",
    ".htpasswd",
    ".git-credentials",
    ".bash_history",
    "krb5.keytab",
    "machine-id",
];
/// Endings of base names that hold secrets.
const SECRET_ENDINGS: &[&str] = &[
    ".key",
    "_key",
    "-key.pem",
    ".key.pem",
    "privkey.pem",
    ".p12",
    ".pfx",
    ".jks",
    ".keystore",
    ".kdbx",
    ".keytab",
    ".ppk",
    ".gpg",
];
/// Beginnings of base names that hold secrets; with `.pub` they do not.
const SECRET_BEGINNINGS: &[&str] = &["id_rsa", "id_dsa", "id_ecdsa", "id_ed25519"];
/// Directories all of whose files are secrets.
const SECRET_DIRECTORIES: &[&str] =
    &[".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".config", "private", "secrets", "sudoers.d", "serviceaccount"];

/// Whether a file of this path holds a secret, by its name or by a directory that it lies in.
#[must_use]
pub fn is_secret(path: &[u8]) -> bool {
    let mut components = path.split(|b| *b == b'/').rev();
    let base = components.next().unwrap_or_default();
    is_secret_name(base) || components.any(is_secret_directory)
}

/// Whether a directory of this name holds nothing but secrets.
#[must_use]
pub fn is_secret_directory(name: &[u8]) -> bool {
    SECRET_DIRECTORIES.iter().any(|secret| secret.as_bytes() == name)
}

fn is_secret_name(name: &[u8]) -> bool {
    let any = |list: &[&str], test: fn(&[u8], &[u8]) -> bool| list.iter().any(|known| test(name, known.as_bytes()));
    let begins = any(SECRET_BEGINNINGS, |name, known| name.starts_with(known)) && !name.ends_with(b".pub");
    any(SECRET_NAMES, |name, known| name == known) || any(SECRET_ENDINGS, |name, known| name.ends_with(known)) || begins
}

/// Whether no rule may open this directory as a whole (a path without a trailing `/`).
#[must_use]
pub fn is_never_whole(directory: &[u8]) -> bool {
    let below = |root: &[u8]| directory.starts_with(root) && directory.get(root.len()) == Some(&b'/');
    directory.is_empty()
        || below(b"/proc")
        || below(b"/sys")
        || below(b"/dev")
        || NEVER_WHOLE.iter().any(|known| meets(known.as_bytes(), directory))
}

/// Component by component, `*` meeting any bytes of one.
fn meets(known: &[u8], directory: &[u8]) -> bool {
    let (mut known, mut directory) = (known.split(|b| *b == b'/'), directory.split(|b| *b == b'/'));
    loop {
        match (known.next(), directory.next()) {
            (None, None) => return true,
            (Some(k), Some(d)) if component_meets(k, d) => {}
            _ => return false,
        }
    }
}

fn component_meets(known: &[u8], component: &[u8]) -> bool {
    match known.iter().position(|b| *b == b'*') {
        None => known == component,
        Some(star) => {
            let (head, tail) = (&known[..star], &known[star + 1..]);
            component.strip_prefix(head).is_some_and(|rest| (0..=rest.len()).any(|at| component_meets(tail, &rest[at..])))
        }
    }
}

/// The pattern of an entry of procfs that belongs to a process or thread by its number: `/proc/[0-9]*/stat`. `None`
/// where the path has none.
#[must_use]
pub fn process_pattern(path: &[u8]) -> Option<Vec<u8>> {
    let rest = path.strip_prefix(b"/proc/")?;
    let mut out = b"/proc".to_vec();
    let mut any = false;
    for (at, component) in rest.split(|b| *b == b'/').enumerate() {
        out.push(b'/');
        // The number of a process, of one of its threads or descriptors; elsewhere in procfs numbers are names.
        let numbered = !component.is_empty() && component.iter().all(u8::is_ascii_digit) && (at == 0 || at == 2);
        let of_process = rest.starts_with(b"self/") || rest.first().is_some_and(u8::is_ascii_digit);
        if numbered && of_process {
            out.extend_from_slice(b"[0-9]*");
            any = true;
        } else {
            out.extend(escaped(component));
        }
    }
    any.then_some(out)
}

/// A name that the run itself made, as a pattern, with what another run makes otherwise left open: `[0-9]*` for a
/// number, `*` for a random part. `None` where the name has neither.
#[must_use]
pub fn temporary_pattern(name: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut any = false;
    for word in name.chunk_by(|a, b| is_word(*a) == is_word(*b)) {
        if !is_word(word[0]) {
            out.extend(escaped(word));
        } else if word.len() >= DIGITS && word.iter().all(u8::is_ascii_digit) {
            out.extend_from_slice(b"[0-9]*");
            any = true;
        } else if let Some(head) = python_prefix(word) {
            out.extend_from_slice(head);
            out.push(b'*');
            any = true;
        } else if is_random(word) {
            out.push(b'*');
            any = true;
        } else {
            out.extend_from_slice(word);
        }
    }
    any.then_some(out)
}

/// A name that the run made where everybody may make names, and that is one word without an ending: as many of any bytes.
/// Python tries a directory in this way, with eight letters and digits that may look like a word.
#[must_use]
pub fn passing_pattern(directory: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let shared = matches!(directory, b"/tmp" | b"/var/tmp" | b"/usr/tmp" | b"/dev/shm");
    (shared && name.len() >= RANDOM && name.iter().all(|b| is_word(*b))).then(|| vec![b'?'; name.len()])
}

/// With every number, however short, left open: two names of one directory that agree in this are one kind.
#[must_use]
pub fn numbers_open(name: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut any = false;
    for part in name.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()) {
        if part[0].is_ascii_digit() {
            out.extend_from_slice(b"[0-9]*");
            any = true;
        } else {
            out.extend(escaped(part));
        }
    }
    any.then_some(out)
}

/// Bytes that a glob takes literally.
#[must_use]
pub fn escaped(bytes: &[u8]) -> Vec<u8> {
    let special = |b: u8| matches!(b, b'*' | b'?' | b'[' | b']' | b'{' | b'}' | b'\\' | b',' | b'!' | b'^');
    bytes.iter().flat_map(|b| if special(*b) { vec![b'\\', *b] } else { vec![*b] }).collect()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Python's `tempfile`: `tmp` and eight letters, digits or `_`.
fn python_prefix(word: &[u8]) -> Option<&[u8]> {
    let rest = word.strip_prefix(b"tmp")?;
    (rest.len() >= RANDOM && rest.iter().all(|b| !b.is_ascii_uppercase())).then_some(&word[..3])
}

/// A mixture of capital and small letters, or of letters and digits, that no word has: a change of kind after the
/// first byte, other than digits at the end alone.
fn is_random(word: &[u8]) -> bool {
    if word.len() < RANDOM {
        return false;
    }
    let kind = |b: u8| {
        if b.is_ascii_digit() {
            0
        } else if b.is_ascii_uppercase() {
            1
        } else {
            2
        }
    };
    let changes = word.windows(2).filter(|pair| kind(pair[0]) != kind(pair[1])).count();
    changes >= 3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary(name: &str) -> Option<String> {
        temporary_pattern(name.as_bytes()).map(|p| String::from_utf8(p).unwrap())
    }

    #[test]
    fn what_mktemp_and_its_like_make_is_left_open_and_words_are_not() {
        for (name, pattern) in [
            ("tmp.kX3vQa9LmZ", "tmp.*"),
            ("tmp1a_9xk2p", "tmp*"),
            ("tmpabcdefgh", "tmp*"),
            ("0000000001", "[0-9]*"),
            ("app-20261124.log", "app-[0-9]*.log"),
            ("__init__.cpython-311.pyc.139812345678", "__init__.cpython-311.pyc.[0-9]*"),
        ] {
            assert_eq!(temporary(name).as_deref(), Some(pattern), "{name}");
        }
        for name in ["nginx.pid", "error.log", "python3", "libc.so.6", "README", "JSONDecoder", "access.log.1", "tmpfiles"] {
            assert_eq!(temporary(name), None, "{name}");
        }
    }

    #[test]
    fn numbers_of_processes_threads_and_descriptors_are_left_open() {
        let pattern = |path: &str| process_pattern(path.as_bytes()).map(|p| String::from_utf8(p).unwrap());
        assert_eq!(pattern("/proc/812/stat").as_deref(), Some("/proc/[0-9]*/stat"));
        assert_eq!(pattern("/proc/812/task/815/comm").as_deref(), Some("/proc/[0-9]*/task/[0-9]*/comm"));
        assert_eq!(pattern("/proc/self/task/815/comm").as_deref(), Some("/proc/self/task/[0-9]*/comm"));
        for path in ["/proc/meminfo", "/proc/self/comm", "/proc/sys/4/x", "/process/12/x", "/proc/irq/12/x"] {
            assert_eq!(pattern(path), None, "{path}");
        }
    }

    #[test]
    fn system_directories_and_homes_are_never_opened_as_a_whole() {
        let never = ["", "/etc", "/root", "/home", "/home/anna", "/usr/lib/x86_64-linux-gnu", "/var/lib", "/proc/sys/vm", "/tmp"];
        for directory in never {
            assert!(is_never_whole(directory.as_bytes()), "{directory}");
        }
        for directory in ["/etc/nginx", "/home/anna/app", "/usr/lib/python3", "/var/lib/nginx", "/usr/share/perl", "/srv/www"] {
            assert!(!is_never_whole(directory.as_bytes()), "{directory}");
        }
    }

    #[test]
    fn secrets_are_known_by_name_and_by_directory() {
        for path in [
            "/etc/shadow",
            "/etc/nginx/tls/site.key",
            "/etc/ssh/ssh_host_rsa_key",
            "/home/a/.ssh/config",
            "/x/id_rsa",
            "/etc/ssl/private/a.crt",
            "/run/secrets/kubernetes.io/serviceaccount/ca.crt",
            "/app/.env",
        ] {
            assert!(is_secret(path.as_bytes()), "{path}");
        }
        for path in ["/etc/passwd", "/home/a/id_rsa.pub", "/etc/ssl/certs/a.pem", "/usr/lib/python3/token.py", "/etc/keys"] {
            assert!(!is_secret(path.as_bytes()), "{path}");
        }
    }
}
