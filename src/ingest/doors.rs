//! Doors to readers that nobody outside needs, for `crates/fuzz` alone: no promise is made of them.

use super::claims;
use super::isolated;
use super::journal::Stretch;
use super::seen::is_whole;
use crate::quarantine;

/// Reads what may be the lines of a journal.
pub fn journal(bytes: &[u8]) {
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let _ = serde_json::from_slice::<Stretch>(line);
    }
    quarantine::read_lines(bytes).for_each(drop);
}

/// Reads what may be the records of a source.
pub fn seen(bytes: &[u8]) {
    let _ = is_whole(bytes);
}

/// Reads what may be the claims of a source.
pub fn claims(bytes: &[u8]) {
    claims::read(bytes);
}

/// Reads what may come out of a process that looks at payloads.
pub fn answers(bytes: &[u8]) {
    isolated::read_answers(bytes);
}

/// Answers of such a process, each as it comes over the pipe.
pub fn some_answers() -> Vec<Vec<u8>> {
    isolated::some_answers()
}
