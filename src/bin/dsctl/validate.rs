//! `dsctl validate`: is a dataset fit to be trained on.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use clap::{Args, ValueEnum};
use feedstock::Error;
use feedstock::validate::{Finding, Linted, Report, Severity, ValidateOptions, junit, lints, sarif, validate};

use crate::{Done, Global, ls, output};

/// Decode everything and say what stands out: payloads that do not decode, classes without rows, dark, blurred, silent, clipped,
/// frozen, empty, misread. `dsctl list lints` has all lints with their thresholds.
///
/// Exit code 3 if there are findings of severity error, with --strict also of warnings; 0 otherwise.
#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// A dataset, a folder of Parquet files, or a raw class folder.
    dataset: PathBuf,
    /// Options from a TOML file (schemas/validate.schema.json); flags win.
    #[arg(long, value_name = "FILE", env = "DSCTL_VALIDATE_CONFIG")]
    config: Option<PathBuf>,
    /// Only this split.
    #[arg(long)]
    split: Option<String>,
    /// Only these lints.
    #[arg(long, value_name = "CODE,..", value_delimiter = ',')]
    only: Vec<String>,
    /// Not these lints.
    #[arg(long, value_name = "CODE,..", value_delimiter = ',')]
    skip: Vec<String>,
    /// Another threshold: dark=0.2.
    #[arg(long, value_name = "CODE=NUMBER", value_parser = threshold)]
    set: Vec<(String, f64)>,
    /// Another severity, error, warning or note: class-missing=error.
    #[arg(long, value_name = "CODE=SEVERITY", value_parser = severity)]
    severity: Vec<(String, Severity)>,
    /// Decode N rows of each split, evenly spaced; lints that decode nothing look at every row.
    #[arg(long, value_name = "N")]
    sample: Option<u64>,
    /// Findings of each lint that are listed (20 unless told); the others are counted.
    #[arg(long, value_name = "N")]
    max_findings: Option<u64>,
    /// Exit code 3 also for warnings.
    #[arg(long)]
    strict: bool,
    /// How findings are written to stdout.
    #[arg(long, value_enum, default_value_t = Format::Text, conflicts_with = "json")]
    format: Format,
    /// Another version than the latest.
    #[arg(long, value_name = "V")]
    version: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// As --json.
    Json,
    /// JUnit XML, for the test reports of GitLab, Jenkins and others.
    Junit,
    /// SARIF 2.1.0, for code scanning and editors.
    Sarif,
}

fn pair(text: &str) -> Result<(&str, &str), String> {
    text.split_once('=').ok_or_else(|| "a lint and what it gets: dark=0.2".to_owned())
}

fn threshold(text: &str) -> Result<(String, f64), String> {
    let (code, value) = pair(text)?;
    Ok((code.to_owned(), value.parse().map_err(|_| format!("{value:?} is no number"))?))
}

fn severity(text: &str) -> Result<(String, Severity), String> {
    let (code, name) = pair(text)?;
    let severity = Severity::ALL.into_iter().find(|severity| severity.name() == name);
    Ok((code.to_owned(), severity.ok_or_else(|| format!("{name:?} is none of error, warning, note"))?))
}

impl Validate {
    pub(crate) fn run(self, global: &Global) -> Done {
        let options = self.options(global)?;
        // What is asked for wrongly is said before a large folder is opened.
        options.chosen(&lints())?;
        let dataset = ls::open_at(&self.dataset, self.version)?;
        for text in dataset.notes() {
            output::note(global, format!("note: {text}"));
        }
        let cancel = output::interrupt()?;
        let meter = output::Meter::new(global, "rows");
        let watch = |done, total| {
            meter.show(done, total, "");
            if cancel.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
        };
        let report = validate(&dataset, &lints(), &options, &watch);
        meter.finish();
        let report = report?;
        match self.format {
            Format::Text if !global.json => tell(&report),
            Format::Text | Format::Json => output::json(&report)?,
            Format::Junit => output::raw(junit(&report, options.strict).as_bytes()),
            Format::Sarif => output::json(&sarif(&report))?,
        }
        Ok(if report.failed(options.strict) { ExitCode::from(3) } else { ExitCode::SUCCESS })
    }

    /// The options of the file, as the flags change them.
    fn options(&self, global: &Global) -> Result<ValidateOptions, Error> {
        let mut options = match &self.config {
            Some(path) => crate::read_toml(path)?,
            None => ValidateOptions::default(),
        };
        options.split = self.split.clone().or(options.split);
        if !self.only.is_empty() {
            options.only = self.only.clone();
        }
        options.skip.extend(self.skip.clone());
        options.set.extend(self.set.clone());
        options.severity.extend(self.severity.clone());
        options.sample = self.sample.or(options.sample);
        options.max_findings = self.max_findings.unwrap_or(options.max_findings);
        options.strict |= self.strict;
        options.threads = global.threads.unwrap_or(options.threads);
        Ok(options)
    }
}

fn tell(report: &Report) {
    for lint in report.lints.iter().filter(|lint| lint.found > 0) {
        let Linted { code, summary, help, severity, threshold, found, findings } = lint;
        let threshold = threshold.map_or_else(String::new, |threshold| format!(", threshold {threshold}"));
        output::line(format_args!("{} {code}: {found} found{threshold}: {summary}", severity.name()));
        for Finding { row, id, split, column, message, .. } in findings {
            let split = split.as_deref().unwrap_or("all");
            let row = row.map_or_else(String::new, |row| format!(" row {row}"));
            let id = id.as_deref().map_or_else(String::new, |id| format!(" {id:?}"));
            output::line(format_args!("  {split}{row}{id} {column}: {message}"));
        }
        if lint.left_out() > 0 {
            output::line(format_args!("  and {} more: --max-findings lists them", lint.left_out()));
        }
        output::line(format_args!("  -> {help}"));
    }
    let count = |severity| report.count(severity);
    output::line(format_args!(
        "{}: {} errors, {} warnings, {} notes by {} of {} lints in {} rows, {} payloads decoded",
        report.dataset.display(),
        count(Severity::Error),
        count(Severity::Warning),
        count(Severity::Note),
        report.lints.iter().filter(|lint| lint.found > 0).count(),
        report.lints.len(),
        report.rows,
        report.decoded
    ));
}
