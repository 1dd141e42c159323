//! A row on its way out.

use serde_json::value::RawValue;

use crate::data::index::Row;
use crate::data::label::Objects;
use crate::data::objects::{ObjectsType, short};
use crate::dataset::Dataset;
use crate::error::{Error, Result};

/// A row on its way out.
pub(super) struct Outgoing<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) number: u64,
    pub(super) entry: Row<'a>,
    pub(super) split: &'a str,
    /// The id as a file may be called.
    pub(super) name: String,
    /// Of the media as they are shown, in pixels; 0 where they are none.
    pub(super) size: [u32; 2],
    /// `None`: not annotated.
    pub(super) objects: Option<Objects>,
    pub(super) scratch: &'a mut Vec<u8>,
}

impl Outgoing<'_> {
    /// A text of the row.
    pub(super) fn text(&mut self, column: usize) -> Result<Option<String>> {
        if self.dataset.fetch_checked(self.number, column, self.scratch)?.is_none() {
            return Ok(None);
        }
        Ok(Some(String::from_utf8_lossy(self.scratch).into_owned()))
    }

    /// The entries of a text of the row that is a list of JSON, one an object.
    ///
    /// # Errors
    /// [`Error::Config`]: it is none.
    pub(super) fn of_objects(&mut self, column: Option<usize>) -> Result<Option<Vec<Box<RawValue>>>> {
        let Some(column) = column else { return Ok(None) };
        let Some(text) = self.text(column)? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|e| {
            let column = &self.dataset.schema().columns[column].name;
            let what = format!("row {} {:?}: its {column} is no JSON list: {e}", self.number, self.entry.id());
            Error::config(what, "mend it in the source, or take the row out: `dsctl rm DATASET --id ID`")
        })
    }

    /// Why the row has no place in a format that asks for the class of every object.
    ///
    /// # Errors
    /// An object has none.
    pub(super) fn has_classes(&self, of: &ObjectsType) -> Result<(), String> {
        let classes = self.objects.iter().flat_map(|objects| &objects.classes);
        match classes.into_iter().any(|class| of.class(*class).is_none()) {
            true => Err("an object has no class, which the format asks for".into()),
            false => Ok(()),
        }
    }
}

/// A coordinate in as few digits as give the same one back to who reads it as a float of 64 bits and keeps 32.
pub(super) fn number(value: f32) -> String {
    short(value).to_string()
}
