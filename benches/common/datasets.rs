//! Datasets that benches make for themselves.

use std::path::Path;
use std::sync::Arc;

use feedstock::data::feature::{Feature, Schema};
use feedstock::data::packed::{Packed, TensorType};
use feedstock::data::record::{Cell, Record};
use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, DatasetWriter, IngestOptions, ingest};
use feedstock::loader::Loader;
use feedstock::recipe::Recipe;

/// A dataset in a folder of its own, which lives as long as this does.
pub(crate) struct Made {
    dataset: Arc<Dataset>,
    _folder: tempfile::TempDir,
}

impl Made {
    fn of(make: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let target = folder.path().join("dataset");
        make(&target);
        Made { dataset: Arc::new(Dataset::open(&target).expect("a dataset")), _folder: folder }
    }

    /// What an ingest makes of a folder or file.
    pub(crate) fn ingested(source: &Path, options: &IngestOptions) -> Self {
        Made::of(|target| {
            ingest(source, target, options, &Control::default()).expect("an ingest");
        })
    }

    /// The same picture so many times, each under an id of its own, with which its crops differ.
    pub(crate) fn pictures(picture: &[u8], rows: usize, options: &IngestOptions) -> Self {
        let cells = |_| Cell::Media(picture.to_vec());
        Made::of(|target| written(target, Schema::new([("image", Feature::Image)]), rows, options, cells))
    }

    /// Tensors of so many f32, which are stored as they are.
    pub(crate) fn tensors(floats: u32, rows: usize) -> Self {
        let tensor = TensorType { dtype: Packed::F32, shape: vec![Some(floats)], pad: 0.0 };
        let cells = |row| {
            let values = (0..floats).map(|at| (row as f32 + at as f32).to_le_bytes());
            Cell::Media(values.collect::<Vec<_>>().concat())
        };
        let schema = Schema::new([("tensor", Feature::Tensor(tensor))]);
        Made::of(|target| written(target, schema, rows, &IngestOptions::default(), cells))
    }

    /// The dataset.
    pub(crate) fn dataset(&self) -> &Arc<Dataset> {
        &self.dataset
    }

    /// The loader of a recipe over it.
    pub(crate) fn loader(&self, recipe: serde_json::Value) -> Loader {
        let recipe: Recipe = serde_json::from_value(recipe).expect("a recipe");
        recipe.loader(self.dataset.clone()).expect("a loader")
    }
}

/// Writes a dataset of one column by code.
pub(crate) fn written(
    target: &Path,
    schema: Schema,
    rows: usize,
    options: &IngestOptions,
    cell: impl Fn(usize) -> Cell,
) {
    let mut writer = DatasetWriter::create(target, schema, options).expect("a writer");
    for row in 0..rows {
        let record = Record { id: format!("row {row:06}"), split: "train".into(), cells: vec![cell(row)] };
        writer.append(record).expect("a record");
    }
    writer.commit().expect("a version");
}
