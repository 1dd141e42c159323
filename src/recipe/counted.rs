//! Texts that are packed by a column that counts their tokens.

use serde_json::{Value, json};

use super::lengths::keeps_length;
use super::sources::Named;
use super::{ColumnRecipe, OpConfig, Recipe, Registry};
use crate::augment::Chain;
use crate::data::feature::Feature;
use crate::data::info::Kind;
use crate::data::packed::{Packed, TensorType};
use crate::data::storage::Storage;
use crate::error::{Error, Result};

/// The parameter that stands for a file, by what was in it.
const SHA256: &str = "sha256";

/// What a recipe makes tokens of a text by: the operations up to the first that gives numbers, as far as they say how many.
struct Counter {
    /// With files where they lie.
    told: Vec<Value>,
    /// With files by their content, as a column of counts names them.
    known: Vec<Value>,
    /// Names and versions, as such a column has them.
    made_by: Vec<String>,
}

impl Recipe {
    /// The column that counts the tokens which the recipe makes of a text, by the name that it is delivered by.
    ///
    /// # Errors
    /// [`Error::Config`] says what makes one, and which others are there.
    pub(super) fn counted(&self, named: &Named<'_>, name: &str, registry: &Registry) -> Result<String> {
        let fallback = ColumnRecipe::default();
        let recipe = self.columns.get(name).unwrap_or(&fallback);
        let counter = self.counter(name, recipe, registry)?;
        let own = named.position(name).map(|at| named.dataset.schema().columns[at].name.clone());
        let schema = named.renamed();
        let mut others = Vec::new();
        for column in &schema.columns {
            let Some(stored) = &column.stored else { continue };
            let Some((_, ops)) = stored.counted().filter(|(of, _)| Some(*of) == own.as_deref()) else { continue };
            let ops: Vec<Value> = ops.iter().map(decisive).collect();
            match &counter {
                Some(counter) if counter.known == ops && stored.made_by.starts_with(&counter.made_by) => {
                    return Ok(column.name.clone());
                }
                _ => others.push((column.name.clone(), told(&ops), stored)),
            }
        }
        Err(refusal(named, name, counter.as_ref(), &others))
    }

    /// The operations that make tokens, if there are such.
    fn counter(&self, name: &str, recipe: &ColumnRecipe, registry: &Registry) -> Result<Option<Counter>> {
        let built = self.ops(name, recipe, registry)?;
        for first in 1..=built.len() {
            let Some(made) = Chain::compile(Kind::Text, built[..first].to_vec(), true)?.output().cloned() else {
                continue;
            };
            // What stands behind them works on tokens, and must leave as many as there are.
            let tokens =
                TensorType { dtype: Packed::of(made.dtype).unwrap_or(Packed::I64), shape: vec![None], pad: 0.0 };
            let behind = Chain::stored(&Feature::Tensor(tokens), built[first..].to_vec(), true)?;
            if first < built.len() && !keeps_length(&behind) {
                return Err(Error::config(
                    format!("pack: operations of {name:?} change how many tokens there are"),
                    "rows are planned by the tokens that were counted: leave out what stands behind the tokenizer",
                ));
            }
            let configs = &recipe.ops[..first];
            let version = |config: &OpConfig| Ok(format!("{} {}", config.op, registry.ops.get(&config.op)?.version));
            let known = configs.iter().zip(&built).map(|(config, (_, op))| {
                let mut config = json!(config);
                op.files().into_iter().for_each(|(file, sha256)| config[file] = json!({ SHA256: sha256 }));
                decisive(&config)
            });
            return Ok(Some(Counter {
                told: configs.iter().map(|config| decisive(&json!(config))).collect(),
                known: known.collect(),
                made_by: configs.iter().map(version).collect::<Result<_>>()?,
            }));
        }
        Ok(None)
    }
}

/// An operation without the parameters that change no count, and without those that are as they are by default.
fn decisive(op: &Value) -> Value {
    let mut op = op.clone();
    if op["op"] == "tokenize"
        && let Some(params) = op.as_object_mut()
    {
        params.retain(|name, value| match name.as_str() {
            "offsets" | "pad" | "pad_id" => false,
            "add_special_tokens" => *value == Value::Bool(false),
            // Whichever end is cut off.
            "truncate" => value == "none",
            _ => !value.is_null(),
        });
    }
    op
}

/// Operations for people: files by the first letters of their digests.
fn told(ops: &[Value]) -> String {
    let one = |op: &Value| {
        let params = op.as_object().into_iter().flatten().filter(|(name, _)| *name != "op");
        let said = params.map(|(name, value)| match value.get(SHA256).and_then(Value::as_str) {
            Some(sha256) => format!("{name} of SHA-256 {}", sha256.get(..12).unwrap_or(sha256)),
            None => format!("{name} {value}"),
        });
        let said: Vec<String> = said.collect();
        let name = op["op"].as_str().unwrap_or("?");
        if said.is_empty() { name.to_owned() } else { format!("{name} ({})", said.join(", ")) }
    };
    ops.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Says why a text cannot be packed, and what makes it so that it can.
fn refusal(named: &Named<'_>, name: &str, counter: Option<&Counter>, others: &[(String, String, &Storage)]) -> Error {
    let others: Vec<String> = others
        .iter()
        .map(|(column, told, stored)| match counter {
            // The same operations of another version.
            Some(counter) if !stored.made_by.starts_with(&counter.made_by) => {
                format!("{column:?} counts those of {told} by {}", stored.made_by.join(", "))
            }
            _ => format!("{column:?} counts those of {told}"),
        })
        .collect();
    let here = match counter {
        Some(counter) if others.is_empty() => format!("whose tokens by {} were not counted", told(&counter.known)),
        Some(counter) => format!("whose tokens by {} were not counted: {}", told(&counter.known), others.join(", ")),
        None if others.is_empty() => "whose tokens were not counted, and the recipe makes none of it".to_owned(),
        None => format!("and the recipe makes no tokens of it: {}", others.join(", ")),
    };
    let what = format!("pack: {} has {name:?} as text, {here}", named.said());
    let (count, store) = match counter.map(|counter| counter.told.as_slice()) {
        None => ("--count-tokens tokenizer.json".to_owned(), "--tokenize tokenizer.json".to_owned()),
        Some([op]) if op["op"] == "tokenize" && op.as_object().is_some_and(|params| params.len() == 2) => {
            let file = op["file"].as_str().unwrap_or("tokenizer.json");
            (format!("--count-tokens {file}"), format!("--tokenize {file}"))
        }
        Some(ops) => {
            let ops = json!(ops);
            (format!("--count-ops '{name}={ops}'"), format!("--store-ops '{name}={ops}'"))
        }
    };
    let made = format!(
        "`dsctl ingest SOURCE DATASET {count}` keeps the text and stores how many tokens it has, \
         `dsctl ingest SOURCE DATASET {store}` stores the tokens (the recipe then has no operations that make them)"
    );
    let tokens = format!("columns.{name}.ops = [{{ op = \"tokenize\", file = \"tokenizer.json\" }}]");
    let help = match counter {
        Some(_) => format!("rows are planned before anything is read: {made}"),
        None if !others.is_empty() => {
            format!("say in the recipe what makes tokens of it, {tokens}; or begin anew: {made}")
        }
        None => format!(
            "rows are planned before anything is read: {made}; with counts the recipe says {tokens} \
             (`dsctl tokenizer train TEXTS tokenizer.json --vocab-size 8192` makes one)"
        ),
    };
    Error::config(what, help)
}
