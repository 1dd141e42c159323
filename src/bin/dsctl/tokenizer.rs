//! `dsctl tokenizer`: makes tokenizers.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use feedstock::Error;
use feedstock::data::info::Kind;
use feedstock::dataset::Dataset;
use feedstock::tokenizer::train::{Model, TrainOptions, Trainer};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{Done, Global, ls, output};

/// Text that is read before its words are counted.
const CHUNK: usize = 8 << 20;

/// Make a tokenizer.json from texts.
#[derive(Debug, Args)]
pub(crate) struct TokenizerVerb {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Train(Box<Train>),
}

/// Train a tokenizer on a dataset's text, or on text files, and write a tokenizer.json that Hugging Face's libraries read,
/// too. The same texts give the same file.
#[derive(Debug, Args)]
struct Train {
    /// A dataset, a folder of Parquet files, or a text file or folder of them.
    data: PathBuf,
    /// The file to write; one that is there stays.
    file: PathBuf,
    /// The kind of tokenizer.
    #[arg(long, value_enum, default_value_t = Kinds::Bpe)]
    model: Kinds,
    /// Tokens of the vocabulary, special ones included.
    #[arg(long, value_name = "N", default_value_t = 8000)]
    vocab_size: usize,
    /// Pairs that occur less often are not merged (bpe and wordpiece).
    #[arg(long, value_name = "N", default_value_t = 2)]
    min_frequency: u64,
    /// A special token beside the model's own; may be given again.
    #[arg(long, value_name = "TOKEN")]
    special: Vec<String>,
    /// The tokenizer makes lower case of its texts.
    #[arg(long)]
    lowercase: bool,
    /// The column that holds the text, where there are several.
    #[arg(long)]
    column: Option<String>,
    /// Only rows of this split.
    #[arg(long)]
    split: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kinds {
    /// Merges of bytes, as GPT-2.
    Bpe,
    /// Word pieces, as BERT.
    Wordpiece,
    /// A unigram language model, as T5.
    Unigram,
}

impl TokenizerVerb {
    pub(crate) fn run(self, global: &Global) -> Done {
        match self.what {
            What::Train(train) => train.run(global),
        }
    }
}

impl Train {
    fn run(self, global: &Global) -> Done {
        if self.file.exists() {
            return Err(Error::config(
                format!("{} is there already", self.file.display()),
                "name another file, or remove this one",
            ));
        }
        let options = TrainOptions {
            model: match self.model {
                Kinds::Bpe => Model::Bpe,
                Kinds::Wordpiece => Model::Wordpiece,
                Kinds::Unigram => Model::Unigram,
            },
            vocabulary: self.vocab_size,
            least: self.min_frequency,
            special: self.special.clone(),
            lowercase: self.lowercase,
            threads: global.threads.unwrap_or(0),
        };
        let mut trainer = Trainer::new(&options)?;
        let dataset = ls::open_at(&self.data, None)?;
        for text in dataset.notes() {
            output::note(global, format!("note: {text}"));
        }
        ls::check_split(&dataset, self.split.as_deref())?;
        let column = self.column(&dataset)?;
        let texts = self.feed(&dataset, column, &mut trainer, global)?;
        output::note(global, format!("training on the words of {texts} texts"));
        let trained = trainer.train()?;
        self.write(trained.json.as_bytes())?;
        let sha256: String = Sha256::digest(trained.json.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        if global.json {
            output::json(&json!({
                "file": self.file, "model": options.model, "vocabulary": trained.vocabulary, "texts": texts,
                "words": trained.words, "sha256": sha256,
            }))?;
        } else {
            output::line(format_args!(
                "{}: {} of {} tokens, from {} different words of {texts} texts",
                self.file.display(),
                options.model.name(),
                trained.vocabulary,
                trained.words
            ));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The text column.
    fn column(&self, dataset: &Dataset) -> Result<usize, Error> {
        let texts: Vec<(usize, &str)> = dataset
            .schema()
            .payloads()
            .filter(|(_, c)| c.feature.kind() == Some(Kind::Text))
            .map(|(i, c)| (i, c.name.as_str()))
            .collect();
        let names = || texts.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", ");
        match (&self.column, texts.as_slice()) {
            (None, [(only, _)]) => Ok(*only),
            (_, []) => Err(Error::config(
                format!("{} has no text", self.data.display()),
                "give a dataset with a text column, or text files",
            )),
            (None, _) => Err(Error::config(
                format!("{} has several text columns: {}", self.data.display(), names()),
                "say which with --column",
            )),
            (Some(name), _) => texts.iter().find(|(_, n)| n == name).map(|(i, _)| *i).ok_or_else(|| {
                Error::config(format!("there is no text column {name:?}"), format!("there is: {}", names()))
            }),
        }
    }

    /// Shows the trainer every text; says how many there were.
    fn feed(&self, dataset: &Dataset, column: usize, trainer: &mut Trainer, global: &Global) -> Result<u64, Error> {
        let meter = output::Meter::new(global, "texts");
        let ranges = dataset.index().ranges(self.split.as_deref());
        let total: u64 = ranges.iter().map(|r| r.end - r.start).sum();
        let (mut texts, mut held, mut count, mut done) = (Vec::new(), 0, 0, 0);
        let mut bytes = Vec::new();
        for row in ranges.into_iter().flatten() {
            done += 1;
            if dataset.fetch_checked(row, column, &mut bytes)?.is_none() {
                continue;
            }
            let text = String::from_utf8(std::mem::take(&mut bytes)).map_err(|e| {
                let what = format!("not UTF-8 from byte {} on", e.utf8_error().valid_up_to());
                let fault = feedstock::Fault::new(feedstock::Reason::InvalidUtf8, what);
                fault.at(dataset.origin(row, column))
            })?;
            held += text.len();
            count += 1;
            texts.push(text);
            if held >= CHUNK {
                trainer.feed(&texts)?;
                texts.clear();
                held = 0;
                meter.show(done, total, "");
            }
        }
        trainer.feed(&texts)?;
        meter.finish();
        Ok(count)
    }

    /// Writes the file under its name when all of it is there.
    fn write(&self, json: &[u8]) -> Result<(), Error> {
        let failed = |e| Error::io(&self.file, "write", e);
        let folder = self.file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(".".as_ref());
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        std::io::Write::write_all(&mut file, json).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
        // As any new file would be; temporary ones are for their owner alone.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(failed)?;
        }
        file.persist_noclobber(&self.file).map_err(|e| failed(e.error))?;
        Ok(())
    }
}
