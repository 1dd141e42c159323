//! The first reading of a manifest: what its columns hold follows from all of their cells.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::ids::Named;
use super::{Reading, file};
use crate::data::record::row_key;
use crate::error::{Error, Result};
use crate::source::look::SAMPLE;
use crate::source::typing::{Cell, Typing};
use crate::source::{Lister, Refusal, SplitDirs, labels};

/// What the first reading finds out.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Rows, those that are none included.
    pub(super) rows: u64,
    /// Rows whose files are in folders that are called like splits, where nothing else says theirs.
    pub(super) beside_splits: u64,
    /// What the cells of each column are.
    pub(super) types: Vec<Typing>,
    /// The files of the rows, none of which was entered yet.
    pub(super) named: Named,
    /// Files spread over all rows.
    pub(super) sample: Sample,
    /// The same of the columns of further media.
    pub(super) further: Vec<Sample>,
    /// Refused rows by reason, with the first of each.
    pub(super) reasons: BTreeMap<&'static str, (u64, Refusal)>,
}

/// Every file, then every second, every fourth, so that few are spread over all of them.
#[derive(Debug, Default)]
pub(super) struct Sample {
    pub(super) files: Vec<PathBuf>,
    seen: u64,
    sparse: u32,
}

impl Sample {
    fn see(&mut self, path: PathBuf) {
        if self.seen.is_multiple_of(1 << self.sparse) {
            self.files.push(path);
        }
        self.seen += 1;
        if self.files.len() > SAMPLE {
            let mut places = 0..;
            self.files.retain(|_| places.next().is_some_and(|at| at % 2 == 0));
            self.sparse += 1;
        }
    }
}

impl Reading<'_> {
    /// The first reading.
    pub(super) fn survey(&self, lister: &mut Lister<'_>) -> Result<Survey> {
        let types = vec![Typing::default(); self.columns.names.len()];
        let further = self.roles.further.iter().map(|_| Sample::default()).collect();
        let mut survey = Survey { types, further, ..Survey::default() };
        self.rows(&mut |sheet, row| {
            lister.step()?;
            survey.rows += 1;
            let placed = row.and_then(|row| match self.place(sheet, &row) {
                Ok((found, _)) => Ok((row, found)),
                Err(fault) => Err(self.refusal(sheet, &row, fault)),
            });
            match placed {
                Ok((row, found)) => {
                    for (typing, cell) in survey.types.iter_mut().zip(&row.cells) {
                        typing.see(cell);
                    }
                    if let Some(found) = found {
                        let top = self.top(sheet, &found).filter(|_| self.split_dirs == SplitDirs::Auto);
                        survey.beside_splits += u64::from(top.is_some_and(|top| labels::split_of(top).is_some()));
                        survey.named.insert(row_key(&found.relative), 0);
                        survey.sample.see(found.path);
                    }
                    for (sample, (i, _)) in survey.further.iter_mut().zip(&self.roles.further) {
                        if row.cells[*i] != Cell::Null
                            && let Ok(found) = file(self.tree, self.base, sheet, &row, *i)
                        {
                            survey.named.entry(row_key(&found.relative)).or_default();
                            sample.see(found.path);
                        }
                    }
                }
                Err(refusal) => {
                    survey.reasons.entry(refusal.fault.reason.code()).or_insert((0, refusal)).0 += 1;
                }
            }
            Ok(())
        })?;
        Ok(survey)
    }

    /// A column that is called like one of paths, and none of whose files is there, holds text.
    pub(super) fn settle_further(&mut self, survey: &mut Survey, lister: &mut Lister<'_>) {
        let (mut further, mut samples) = (Vec::new(), Vec::new());
        for ((i, name), sample) in self.roles.further.drain(..).zip(survey.further.drain(..)) {
            if sample.files.is_empty() {
                let column = &self.columns.names[i];
                lister.note(format!("column {column:?} names no file that is there: kept as it is"));
            } else {
                further.push((i, name));
                samples.push(sample);
            }
        }
        (self.roles.further, survey.further) = (further, samples);
    }
}

/// The error for a manifest without one good row, with the reasons.
pub(super) fn none(name: &str, survey: &Survey) -> Error {
    let told = survey.reasons.iter().map(|(code, (n, first))| {
        format!("{n} {code} (line {}: {})", first.line.unwrap_or_default(), first.fault.message)
    });
    let told: Vec<String> = told.collect();
    Error::config(
        format!("{name}: not one of {} rows can be taken: {}", survey.rows, told.join(", ")),
        "mend the rows (paths are relative to the manifest), or say --kind image, audio or video to put them all into the \
         quarantine",
    )
}
