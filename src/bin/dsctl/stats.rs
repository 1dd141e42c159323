//! `dsctl stats`: what a dataset holds in numbers.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use clap::Args;
use feedstock::Error;
use feedstock::stats::{ColumnStats, Levels, Measures, MediaStats, Spread, StatsOptions, stats};

use crate::{Done, Global, ls, output};

/// Classes that are shown to people of each column.
const CLASSES: usize = 20;

/// Count what a dataset holds, of each split and column: classes, sizes, lengths, durations, formats, and with --decode the mean and
/// standard deviation of each channel.
///
/// Exit code 3 if --decode met a payload that cannot be decoded.
#[derive(Debug, Args)]
pub(crate) struct StatsVerb {
    /// A dataset, a folder of Parquet files, or a raw class folder.
    dataset: PathBuf,
    /// Only this split.
    #[arg(long)]
    split: Option<String>,
    /// Decode N rows of each split, evenly spaced (all without N): levels of pictures, of clips (8 frames each) and of recordings.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "18446744073709551615")]
    decode: Option<u64>,
    /// Another version than the latest.
    #[arg(long, value_name = "V")]
    version: Option<u64>,
}

impl StatsVerb {
    pub(crate) fn run(self, global: &Global) -> Done {
        let dataset = ls::open_at(&self.dataset, self.version)?;
        for text in dataset.notes() {
            output::note(global, format!("note: {text}"));
        }
        let cancel = output::interrupt()?;
        let meter = output::Meter::new(global, "payloads");
        let watch = |done, total| {
            meter.show(done, total, "");
            if cancel.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
        };
        let options =
            StatsOptions { split: self.split, decode: self.decode.unwrap_or(0), threads: global.threads.unwrap_or(0) };
        let counted = stats(&dataset, &options, &watch);
        meter.finish();
        let counted = counted?;
        for fault in &counted.faults {
            output::note(global, format!("not decoded: {fault}"));
        }
        if global.json {
            output::json(&counted)?;
        } else {
            for (name, split) in &counted.splits {
                output::line(format_args!("{name}: {} rows", split.rows));
                for column in &split.columns {
                    tell(column, split.rows);
                }
            }
        }
        Ok(if counted.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(3) })
    }
}

fn tell(column: &ColumnStats, rows: u64) {
    let nulls = if column.nulls > 0 { format!(", {} null", column.nulls) } else { String::new() };
    output::line(format_args!("  {} ({}{nulls})", column.name, column.feature));
    if let Some(stored) = &column.stored {
        output::line(format_args!("    stored    {}", stored.told()));
    }
    match &column.of {
        Measures::Classes(classes) => class_lines(classes, rows),
        Measures::Objects { count, classes, unknown } => {
            spread_line("objects", count, " a row");
            class_lines(classes, classes.iter().map(|(_, objects)| objects).sum::<u64>() + unknown);
        }
        Measures::Values(spread) => spread_line("values", spread, ""),
        Measures::True(count) => output::line(format_args!("    true {count}")),
        Measures::Media(media) => media_lines(media),
        _ => {}
    }
}

/// Classes with their share of all.
fn class_lines(classes: &[(String, u64)], all: u64) {
    for (name, count) in classes.iter().take(CLASSES) {
        let share = 100.0 * *count as f64 / all.max(1) as f64;
        output::line(format_args!("    {name:<20} {count:>9} {share:>6.2} %"));
    }
    if classes.len() > CLASSES {
        output::line(format_args!("    and {} more: --json has all", classes.len() - CLASSES));
    }
}

fn media_lines(media: &MediaStats) {
    let formats: Vec<String> = media.formats.iter().map(|(name, count)| format!("{name} {count}")).collect();
    output::line(format_args!("    formats   {}", formats.join(", ")));
    let counted = |counts: &std::collections::BTreeMap<u32, u64>, unit: &str| {
        let parts: Vec<String> = counts.iter().map(|(value, count)| format!("{value}{unit} in {count}")).collect();
        parts.join(", ")
    };
    if !media.channels.is_empty() {
        output::line(format_args!("    channels  {}", counted(&media.channels, "")));
    }
    if !media.rates.is_empty() {
        output::line(format_args!("    rates     {}", counted(&media.rates, " Hz")));
    }
    if !media.turned.is_empty() {
        output::line(format_args!("    turned    by orientation {}", counted(&media.turned, "")));
    }
    if !media.profiles.is_empty() {
        let named: Vec<String> = media.profiles.iter().map(|(name, count)| format!("{name} in {count}")).collect();
        output::line(format_args!("    profiles  {} (not sRGB, pixels are not converted)", named.join(", ")));
    }
    spread_line("bytes", &media.bytes, "");
    spread_line("width", &media.width, "");
    spread_line("height", &media.height, "");
    spread_line(
        "seconds",
        &media.seconds,
        &format!(", {:.1} s in all", media.seconds.mean * media.seconds.count as f64),
    );
    spread_line("length", &media.length, "");
    match &media.levels {
        Some(Levels::Pixels { payloads, pixels, mean, std, .. }) => {
            output::line(format_args!("    levels    of {pixels} pixels in {payloads} payloads, white is 1"));
            let shown = |v: &[f64; 3]| format!("[{:.4}, {:.4}, {:.4}]", v[0], v[1], v[2]);
            output::line(format_args!("      mean = {}, std = {}", shown(mean), shown(std)));
        }
        Some(Levels::Samples { payloads, samples, mean, std, peak, .. }) => {
            output::line(format_args!("    levels    of {samples} samples in {payloads} payloads"));
            output::line(format_args!("      mean = {mean:.5}, std = {std:.5}, peak = {peak:.5}"));
        }
        _ => {}
    }
}

fn spread_line(name: &str, spread: &Spread, more: &str) {
    if !spread.is_empty() {
        let Spread { min, max, mean, std, .. } = spread;
        let short = |v: &f64| if v.fract() == 0.0 { format!("{v}") } else { format!("{v:.3}") };
        output::line(format_args!(
            "    {name:<9} {} to {}, mean {mean:.3}, std {std:.3}{more}",
            short(min),
            short(max)
        ));
    }
}
