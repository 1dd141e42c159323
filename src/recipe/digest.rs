//! What a recipe's digest covers.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Recipe, Registry, SourceRecipe};
use crate::augment::Op;
use crate::codec::codings::CODINGS;
use crate::data::index::hex;
use crate::data::info::Kind;
use crate::data::storage::sorted;
use crate::error::Result;
use crate::loader::{OnError, OutColumn, Work};
use crate::plan::{Order, PLAN_VERSION};

/// The decoders that this build has of the kinds of media that are decoded.
fn decoders(columns: &[OutColumn]) -> BTreeSet<&'static str> {
    let kind = |column: &OutColumn| match column {
        OutColumn::Media { work: Work::Chain(chain), .. } | OutColumn::Packed { chain, .. } => Some(chain.kind()),
        _ => None,
    };
    let kinds: Vec<Kind> = columns.iter().filter_map(kind).collect();
    let here = CODINGS.iter().filter(|coding| coding.here() && kinds.contains(&coding.format.kind()));
    here.map(|coding| coding.krate).collect()
}

impl Recipe {
    /// SHA-256 over everything that can change a batch, with the versions of plan and operations, and of files that operations
    /// name what is in them. What only changes the execution (threads, prefetch, memory, rank, world, fusing; limits unless other samples stand in for what is
    /// over them) is not in it.
    pub(super) fn digest(&self, columns: &[OutColumn], registry: &Registry) -> Result<String> {
        let mut described = Vec::new();
        for column in columns.iter().filter(|column| !matches!(column, OutColumn::Source { .. })) {
            let recipe = self.columns.get(column.name()).cloned().unwrap_or_default();
            let built: Vec<&dyn Op> = match column {
                OutColumn::Media { work: Work::Chain(chain), .. } | OutColumn::Packed { chain, .. } => {
                    chain.ops().collect()
                }
                _ => Vec::new(),
            };
            let mut ops = Vec::new();
            for (config, op) in recipe.ops.iter().zip(built) {
                let version = registry.ops.get(&config.op)?.version;
                let mut params = config.params.clone();
                for (name, sha256) in op.files() {
                    params.insert(name.to_owned(), json!({ "sha256": sha256 }));
                }
                ops.push(json!([config.op, version, sorted(&Value::Object(params))]));
            }
            described.push(match &recipe.of {
                None => json!([column.name(), recipe.raw, ops]),
                Some(of) => json!([column.name(), recipe.raw, ops, { "of": of }]),
            });
        }
        let mut all = vec![
            json!(PLAN_VERSION),
            json!(self.split),
            json!(self.seed),
            json!(self.order),
            json!(self.batch),
            json!(self.tail),
            json!(described),
        ];
        // What came later is there only where it is used, so that states of recipes from before go on.
        let mut more = serde_json::Map::new();
        if self.order == Order::Windowed {
            more.insert("window".into(), json!(self.window));
        }
        if self.partners > 0 {
            // By the second rule of how they are drawn: source by source, an occurrence for each place.
            more.insert("partners".into(), json!([self.partners, 2]));
        }
        if let Some(from) = &self.partners_from {
            more.insert("partners_from".into(), json!(from));
        }
        if self.views != 1 {
            more.insert("views".into(), json!(self.views));
        }
        let choice = [
            ("where", self.filter.as_ref().map(|f| json!(f))),
            ("fold", self.fold.as_ref().map(|f| json!(f))),
            ("subset", self.subset.as_ref().map(|s| json!(s))),
            ("balance", self.balance.as_ref().map(|b| json!(b))),
            ("bucket", self.bucket.as_ref().map(|b| json!(b))),
            ("pack", self.pack.as_ref().map(|p| json!(p))),
        ];
        if self.errors != OnError::Fail {
            more.insert("errors".into(), json!(self.errors));
            // What is over them is replaced, and so is what its hash does not fit.
            more.insert("limits".into(), json!(self.limits));
            more.insert("check_hash".into(), json!(self.run.check_hash));
            // And so is what a build without some decoder cannot read.
            more.insert("decoders".into(), json!(decoders(columns)));
        }
        if !self.sources.is_empty() {
            // Where they lie is not what they are: the dataset's digest says that.
            let of = |(name, source): (&String, &SourceRecipe)| {
                (name.clone(), json!(SourceRecipe { dataset: PathBuf::new(), version: None, ..source.clone() }))
            };
            more.insert("sources".into(), Value::Object(self.sources.iter().map(of).collect()));
            more.insert("mixture".into(), json!(self.mixture));
        }
        more.extend(choice.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        if !more.is_empty() {
            all.push(sorted(&Value::Object(more)));
        }
        let all = json!(all);
        Ok(hex(&Sha256::digest(all.to_string().as_bytes())))
    }
}
