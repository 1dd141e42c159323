//! Class folders: `SPLIT/CLASS/file`, which every framework reads.

use super::{Asked, ExportFormat, Folder, Outgoing, Writer};
use crate::data::feature::Feature;
use crate::data::label::Value;
use crate::error::{Error, Result};

pub(super) const FORMAT: ExportFormat =
    ExportFormat { name: "folder", summary: "class folders: SPLIT/CLASS/file", make };

struct ClassFolders {
    label: usize,
    names: Vec<String>,
    notes: Vec<String>,
}

fn make(asked: &Asked<'_>) -> Result<Box<dyn Writer>> {
    let column = asked.label.map(|at| (at, &asked.dataset.schema().columns[at]));
    let Some((label, Feature::ClassLabel { names })) = column.map(|(at, column)| (at, &column.feature)) else {
        let what = format!("{} has no column of classes", asked.dataset.root().display());
        return Err(Error::config(what, "class folders need one; --format jsonl takes any columns"));
    };
    if asked.dataset.schema().columns[asked.media].feature == Feature::Text {
        return Err(Error::config("texts are lines of files, not files", "--format jsonl"));
    }
    if let Some(name) =
        names.iter().find(|name| name.contains(['/', '\\', '\0', ':']) || matches!(name.as_str(), "" | "." | ".."))
    {
        return Err(Error::config(format!("the class {name:?} cannot be a folder"), "--format jsonl"));
    }
    let notes = asked.unsaid(&[asked.media, label]).into_iter().collect();
    Ok(Box::new(ClassFolders { label, names: names.clone(), notes }))
}

impl Writer for ClassFolders {
    fn place(&mut self, row: &Outgoing<'_>) -> std::result::Result<String, String> {
        let class = match row.entry.value(self.label) {
            Value::Int(class) => usize::try_from(class).ok().and_then(|class| self.names.get(class)),
            _ => None,
        };
        let class = class.ok_or("it has no class")?;
        // What already lies so keeps its path, so that reading the folder gives the same ids.
        let below = |path: &'_ str, part: &str| {
            path.strip_prefix(part).and_then(|rest| rest.strip_prefix('/')).map(str::to_owned)
        };
        let id = row.name.clone();
        let rest = below(&id, row.split).unwrap_or(id);
        let rest = below(&rest, class).unwrap_or(rest);
        Ok(format!("{}/{class}/{rest}", row.split))
    }

    fn at_the_end(&self, _: &[String]) -> Vec<String> {
        Vec::new()
    }

    fn row(&mut self, _: &mut Outgoing<'_>, _: &str, _: &mut Folder) -> Result<()> {
        Ok(())
    }

    fn finish(self: Box<Self>, _: &mut Folder) -> Result<Vec<String>> {
        Ok(self.notes)
    }
}
