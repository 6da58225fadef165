//! An invented file tree with the shapes of Debian's: directories that share long beginnings, names made of words. A
//! seeded generator grows it, so that it is the same on every machine.

/// Any number: it says which tree is grown.
const SEED: u64 = 0x9E37_79B9_7F4A_7C15;

const TOPS: [&str; 12] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/python3/dist-packages",
    "/usr/lib/node_modules",
    "/usr/lib/modules/6.1.0-amd64/kernel",
    "/usr/share/doc",
    "/usr/share/perl/5.36.0",
    "/usr/share/javascript",
    "/usr/include/linux",
    "/var/lib/dpkg/info",
    "/var/cache/apt",
    "/etc",
    "/opt",
];
const WORDS: [&str; 40] = [
    "access", "batch", "cipher", "config", "counter", "daemon", "device", "driver", "encode", "engine", "export", "filter",
    "format", "gateway", "handler", "helper", "import", "index", "kernel", "layout", "locale", "manager", "message", "module",
    "network", "object", "package", "parser", "plugin", "policy", "render", "report", "schema", "server", "session", "socket",
    "stream", "template", "utility", "vector",
];
const ENDINGS: [&str; 10] = [".py", ".so", ".conf", ".js", ".json", ".h", ".txt", ".pm", ".ko", ""];

/// Grows paths.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    random: u64,
    directories: Vec<String>,
}

// === impl Tree ===

impl Tree {
    pub(super) fn new() -> Self {
        Self { random: SEED, directories: Vec::new() }
    }

    /// The next number below `limit` (xorshift64*).
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit.max(1)
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        let count = u64::try_from(from.len()).unwrap_or(u64::MAX);
        let index = usize::try_from(self.below(count)).unwrap_or_default();
        from.get(index).copied().unwrap_or_default()
    }

    /// `module`, `module-parser` or `module2_parser`.
    fn name(&mut self) -> String {
        let first = self.pick(&WORDS);
        let second = self.pick(&WORDS);
        match self.below(4) {
            0 => first.to_owned(),
            1 | 2 => format!("{first}-{second}"),
            _ => format!("{first}{}_{second}", self.below(10)),
        }
    }

    /// A new directory: mostly below one that is there.
    pub(super) fn directory(&mut self) -> String {
        let known = u64::try_from(self.directories.len()).unwrap_or(u64::MAX);
        let above = match self.below(4) {
            0 => None,
            _ => usize::try_from(self.below(known)).ok().and_then(|index| self.directories.get(index).cloned()),
        };
        let above = match above {
            Some(above) if above.len() < 120 => above,
            _ => self.pick(&TOPS).to_owned(),
        };
        let directory = format!("{above}/{}", self.name());
        self.directories.push(directory.clone());
        directory
    }

    /// The directory and the name of a file: about eight to a directory.
    pub(super) fn file(&mut self) -> (String, String) {
        let known = u64::try_from(self.directories.len()).unwrap_or(u64::MAX);
        let index = usize::try_from(self.below(known)).unwrap_or_default();
        let is_known = self.below(8) != 0;
        let directory = match self.directories.get(index) {
            Some(directory) if is_known => directory.clone(),
            _ => self.directory(),
        };
        let name = format!("{}_{}{}", self.name(), self.pick(&WORDS), self.pick(&ENDINGS));
        (directory, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_share_their_beginnings_and_files_their_directories() {
        let mut tree = Tree::new();
        let files: Vec<(String, String)> = (0..800).map(|_| tree.file()).collect();
        let known = tree.directories.len();
        assert!((60..=200).contains(&known), "{known}");
        assert!(files.iter().all(|(directory, name)| directory.len() < 160 && !name.contains('/')));
        assert!(tree.directories.iter().all(|directory| TOPS.iter().any(|top| directory.starts_with(top))));
    }
}
