//! Parquet that a stranger may have written, or a disk have damaged: `parquet` panics on some of it, and those are errors like any other here.

use std::fmt::Display;
use std::fs::File;

use arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

/// Runs what reads a Parquet file. The error is what is wrong with it, in a sentence.
pub(crate) fn guarded<T, E: Display>(read: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match crate::codec::guarded("Parquet", || Ok(read())) {
        Ok(read) => read.map_err(|e| e.to_string()),
        Err(fault) => Err(fault.message),
    }
}

/// The batches of a file. Behind an error there are no more.
pub(crate) struct Batches(Option<ParquetRecordBatchReader>);

impl std::fmt::Debug for Batches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batches").finish_non_exhaustive()
    }
}

impl Batches {
    /// Those that a builder describes.
    ///
    /// # Errors
    /// What is wrong with the file, in a sentence; so are the errors of the batches.
    pub(crate) fn of(builder: ParquetRecordBatchReaderBuilder<File>) -> Result<Self, String> {
        Ok(Batches(Some(guarded(|| builder.build())?)))
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let reader = self.0.as_mut()?;
        let next = guarded(|| reader.next().transpose()).transpose();
        if !matches!(next, Some(Ok(_))) {
            // A reader that panicked is in no state to go on.
            self.0 = None;
        }
        next
    }
}
