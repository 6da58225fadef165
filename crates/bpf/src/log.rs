//! What libbpf prints while it works, kept for the error that may come of it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use libbpf_rs::{PrintCallback, PrintLevel, set_print};

/// The end of a log that is kept, in bytes: a verifier log can be megabytes, and the reason stands at its end.
const KEPT_BYTES: usize = 64 * 1024;

/// libbpf has one print function for the whole process: captures take turns.
static TURN: Mutex<()> = Mutex::new(());
static TEXT: Mutex<String> = Mutex::new(String::new());

/// While it lives, libbpf's warnings go into it and not to stderr.
pub(crate) struct Capture {
    previous: Option<(PrintLevel, PrintCallback)>,
    _turn: MutexGuard<'static, ()>,
}

// === impl Capture ===

impl Capture {
    /// Begins, waiting for another capture to end.
    pub(crate) fn start() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        text().clear();
        Self { previous: set_print(Some((PrintLevel::Warn, keep))), _turn: turn }
    }

    /// What was printed so far, without the final newline.
    pub(crate) fn text(&self) -> String {
        text().trim_end().to_owned()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        set_print(self.previous);
    }
}

fn text() -> MutexGuard<'static, String> {
    TEXT.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep(_level: PrintLevel, message: String) {
    let mut text = text();
    text.push_str(&message);
    if text.len() > KEPT_BYTES {
        let mut cut = text.len() - KEPT_BYTES;
        while !text.is_char_boundary(cut) {
            cut += 1;
        }
        text.drain(..cut);
    }
}
