//! What a run brings into the guest: files and the command, as a tar on a raw disk.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

use crate::process;

/// The script that the guest's PID 1 starts, in `/payload`.
const RUN_SCRIPT: &str = ".run";
/// Where the guest puts what is to be brought back, in `/payload`.
const OUT_DIRECTORY: &str = "out";

/// A file or directory of the host, and its name in the guest's `/payload`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadFile {
    host: PathBuf,
    guest: PathBuf,
}

// === impl PayloadFile ===

impl PayloadFile {
    /// The file `host` as `/payload/GUEST`.
    ///
    /// # Errors
    /// `guest` is empty, absolute, leads out of `/payload`, or is a name that
    /// the harness uses (`.run`, `out`).
    pub fn new(host: impl Into<PathBuf>, guest: impl Into<PathBuf>) -> Result<Self> {
        let (host, guest) = (host.into(), guest.into());
        let mut components = guest.components();
        let Some(Component::Normal(first)) = components.next() else {
            bail!("'{}' is no name inside /payload", guest.display());
        };
        if !components.all(|component| matches!(component, Component::Normal(_))) {
            bail!("'{}' is no name inside /payload", guest.display());
        }
        if first == RUN_SCRIPT || first == OUT_DIRECTORY {
            bail!("/payload/{} is the harness's own", first.display());
        }
        Ok(Self { host, guest })
    }
}

impl FromStr for PayloadFile {
    type Err = anyhow::Error;

    /// `HOSTPATH` or `HOSTPATH:GUESTNAME`.
    fn from_str(text: &str) -> Result<Self> {
        if let Some((host, guest)) = text.rsplit_once(':') {
            return Self::new(host, guest);
        }
        match Path::new(text).file_name() {
            Some(name) => Self::new(text, name),
            None => bail!("'{text}' has no file name; write {text}:GUESTNAME"),
        }
    }
}

/// Writes the disk `image` with `files` and the script that runs `command`;
/// `work` is an empty directory for the purpose. The same content gives the
/// same bytes.
///
/// # Errors
/// A file is missing or cannot be copied.
pub(super) fn pack(files: &[PayloadFile], command: &[String], work: &Path, image: &Path) -> Result<()> {
    for PayloadFile { host, guest } in files {
        if !host.exists() {
            bail!("there is no {} to bring into the guest", host.display());
        }
        let target = work.join(guest);
        if target.exists() {
            bail!("two files are to be /payload/{}", guest.display());
        }
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        // -H: a link that is named is followed, links in a directory are kept.
        process::output(Command::new("cp").args(["-a", "-H", "--reflink=auto", "--"]).args([host, &target]))?;
    }
    let script = work.join(RUN_SCRIPT);
    fs::write(&script, run_script(command)).with_context(|| format!("write {}", script.display()))?;
    // Padded to 10 KiB by default, so it is a whole number of disk sectors.
    process::output(
        Command::new("tar")
            .args(["--create", "--format=gnu", "--sort=name", "--mtime=@0"])
            .args(["--owner=0", "--group=0", "--numeric-owner", "--file"])
            .arg(image)
            .arg("--directory")
            .arg(work)
            .arg("."),
    )?;
    Ok(())
}

/// Brings the tar on the out disk `image` into the directory `into`.
///
/// # Errors
/// The directory cannot be made, or `tar` fails.
pub(super) fn unpack_out(image: &Path, into: &Path) -> Result<()> {
    fs::create_dir_all(into).with_context(|| format!("create {}", into.display()))?;
    process::output(
        Command::new("tar").args(["--extract", "--no-same-owner", "--file"]).arg(image).arg("--directory").arg(into),
    )?;
    Ok(())
}

/// The guest's `.run`: becomes the command, word by word.
fn run_script(command: &[String]) -> String {
    let words: Vec<String> = command.iter().map(|word| quote(word)).collect();
    format!("exec {}\n", words.join(" "))
}

/// One word for a POSIX shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_name_or_gets_another() {
        let file = |text: &str| text.parse::<PayloadFile>().unwrap();
        assert_eq!(file("/a/b"), PayloadFile::new("/a/b", "b").unwrap());
        assert_eq!(file("a:x/y"), PayloadFile::new("a", "x/y").unwrap());
    }

    #[test]
    fn a_name_outside_the_payload_or_of_the_harness_is_refused() {
        for guest in ["", "/x", "../x", "x/../../y", ".run", "out", "out/x", "."] {
            assert!(PayloadFile::new("/a", guest).is_err(), "{guest:?}");
        }
        assert!("/".parse::<PayloadFile>().is_err());
    }

    #[test]
    fn words_reach_the_guest_as_they_are() {
        let command = ["echo", "a b", "it's", "$HOME"].map(str::to_owned);
        let script = run_script(&command);
        assert_eq!(script, "exec 'echo' 'a b' 'it'\\''s' '$HOME'\n");
        let said = process::output(Command::new("sh").args(["-c", &script])).unwrap();
        assert_eq!(said, "a b it's $HOME\n");
    }

    #[test]
    fn the_same_content_gives_the_same_disk() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("file");
        fs::write(&source, "x").unwrap();
        let mut images = Vec::new();
        for name in ["one", "two"] {
            let work = dir.path().join(name);
            fs::create_dir(&work).unwrap();
            let image = dir.path().join(format!("{name}.tar"));
            let files = [PayloadFile::new(&source, "sub/file").unwrap()];
            pack(&files, &["true".to_owned()], &work, &image).unwrap();
            images.push(fs::read(&image).unwrap());
        }
        assert_eq!(images[0], images[1]);
        assert_eq!(images[0].len() % 512, 0);
    }
}
