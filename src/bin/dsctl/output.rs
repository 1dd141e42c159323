//! What goes to stdout and stderr, and Ctrl-C.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use feedstock::Error;
use feedstock::clock::Mark;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::Global;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// A bar on a terminal, lines elsewhere.
    Auto,
    /// A line every few seconds.
    Plain,
    /// Nothing.
    None,
}

/// Prints a result line. A reader that went away (`dsctl ... | head`) ends the program quietly.
pub(crate) fn line(text: impl std::fmt::Display) {
    raw(format!("{}\n", harmless(&text.to_string(), false)).as_bytes());
}

/// Text with what a terminal would obey written out: names of files are anybody's. Line feeds stay where a text may have several lines.
fn harmless(text: &str, lines: bool) -> std::borrow::Cow<'_, str> {
    let obeyed = |c: char| match c {
        '\t' => false,
        '\n' => !lines,
        // Also what turns the direction of writing around.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        c => c.is_control(),
    };
    if !text.contains(obeyed) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if obeyed(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown.into()
}

/// Prints bytes as they are.
pub(crate) fn raw(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    if let Err(e) = out.write_all(bytes).and_then(|()| out.flush()) {
        std::process::exit(if e.kind() == std::io::ErrorKind::BrokenPipe { 0 } else { 1 });
    }
}

/// Prints JSON as the result.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<(), Error> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| Error::library("writing JSON", e))?;
    text.push(b'\n');
    raw(&text);
    Ok(())
}

/// A note on stderr, unless asked to be quiet.
pub(crate) fn note(global: &Global, text: impl std::fmt::Display) {
    if !global.quiet {
        let _ = writeln!(std::io::stderr(), "{}", harmless(&text.to_string(), true));
    }
}

/// An error on stderr; with `--json` also as a JSON object on stdout, so that a machine sees why.
pub(crate) fn error(global: &Global, error: &Error) {
    let _ = writeln!(std::io::stderr(), "error: {}", harmless(&error.to_string(), true));
    if global.json {
        raw(format!("{}\n", serde_json::json!({"error": error.to_string(), "exit_code": error.exit_code()})).as_bytes());
    }
}

/// A flag that Ctrl-C (or SIGTERM) raises. The second time ends the process at once.
pub(crate) fn interrupt() -> Result<Arc<AtomicBool>, Error> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = flag.clone();
    let handler = move || {
        if raised.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(handler).map_err(|e| Error::library("listening for Ctrl-C", e))?;
    Ok(flag)
}

/// What a meter said.
#[derive(Default)]
struct Shown {
    /// When it was called first, and how much was done: the rate is that of the work, not of what went before.
    first: Option<(Mark, u64)>,
    /// When it printed a line last.
    last: Option<Mark>,
}

/// Shows how far something is.
pub(crate) struct Meter {
    bar: Option<ProgressBar>,
    plain: bool,
    started: Mark,
    shown: std::sync::Mutex<Shown>,
    what: &'static str,
}

impl Meter {
    /// A meter of `what` ("files").
    pub(crate) fn new(global: &Global, what: &'static str) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let (bar, plain) = match (global.quiet, global.progress) {
            (true, _) | (_, Progress::None) => (None, false),
            (_, Progress::Auto) if terminal => {
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
                let template = "{wide_bar} {pos}/{len} {msg} {per_sec}, {eta} left";
                if let Ok(style) = ProgressStyle::with_template(template) {
                    bar.set_style(style);
                }
                (Some(bar), false)
            }
            _ => (None, true),
        };
        Meter { bar, plain, started: Mark::now(), shown: std::sync::Mutex::default(), what }
    }

    /// Shows that `done` of `total` are done.
    pub(crate) fn show(&self, done: u64, total: u64, extra: &str) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(format!("{}{extra}", self.what));
        }
        let Ok(mut shown) = self.shown.lock() else { return };
        let Shown { first, last } = &mut *shown;
        let fresh = first.is_none();
        let (began, before) = first.get_or_insert_with(|| (Mark::now(), done));
        if let (true, Some(bar)) = (fresh, &self.bar) {
            bar.reset_elapsed();
            bar.reset_eta();
        }
        let due = last.is_none_or(|mark| mark.elapsed() > Duration::from_secs(5));
        if self.plain && due && done > 0 {
            *last = Some(Mark::now());
            let seconds = began.elapsed().as_secs_f64();
            let rate = (done - *before) as f64 / seconds.max(1e-3);
            let time = if fresh || rate <= 0.0 {
                String::new()
            } else {
                format!(", {rate:.0}/s, {:.0} s left", total.saturating_sub(done) as f64 / rate)
            };
            let _ = writeln!(std::io::stderr(), "{done}/{total} {}{extra}{time}", self.what);
        }
    }

    /// Shows that so many are done of nobody knows how many.
    pub(crate) fn count(&self, done: u64, what: &str) {
        if let Some(bar) = &self.bar {
            bar.unset_length();
            bar.set_position(done);
            bar.set_message(what.to_owned());
        }
        let Ok(mut shown) = self.shown.lock() else { return };
        // The first line not at once: most listings are over before anyone reads it.
        let waited = shown.last.as_ref().unwrap_or(&self.started).elapsed();
        if self.plain && waited > Duration::from_secs(5) {
            shown.last = Some(Mark::now());
            let _ = writeln!(std::io::stderr(), "{done} {what}");
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Which version has what a verb did, if any.
pub(crate) fn version_told(committed: bool, dry_run: bool, version: u64, wrong: u64) -> String {
    match (committed, dry_run) {
        (true, _) => format!("version {version}"),
        _ if wrong > 0 => format!("version {version} stays ({wrong} problems)"),
        (_, true) => format!("version {version} stays (dry run)"),
        _ => format!("nothing to do, version {version} stays"),
    }
}

/// Bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn what_a_terminal_obeys_is_written_out() {
        assert_eq!(harmless("a\tü \u{1f411}", false), "a\tü \u{1f411}");
        assert_eq!(harmless("\u{1b}[2J\r\n\u{7f}\u{9b}\u{202e}", false), "\\u{1b}[2J\\r\\n\\u{7f}\\u{9b}\\u{202e}");
        assert_eq!(harmless("one\ntwo\u{7}", true), "one\ntwo\\u{7}");
    }
}
