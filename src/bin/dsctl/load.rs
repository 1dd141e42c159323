//! `dsctl load`: runs a recipe and says, or shows, what comes out.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use clap::Args;
use feedstock::clock::Mark;
use feedstock::data::batch::{Batch, Column};
use feedstock::data::tensor::DType;
use feedstock::plan::State;
use feedstock::recipe::Recipe;
use feedstock::{Error, augment};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

use crate::chosen::Chosen;
use crate::{Done, Global, output};

/// Stream the batches of a recipe: measure it, take their digests, or dump them to a file.
#[derive(Debug, Args)]
pub(crate) struct Load {
    #[command(flatten)]
    what: Chosen,
    /// The epoch to run (from 0).
    #[arg(long, value_name = "E", conflicts_with = "state_in")]
    epoch: Option<u64>,
    /// So many epochs, one behind the other without a gap.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..),
        conflicts_with_all = ["steps", "dump"])]
    epochs: u64,
    /// Only these steps of the rank, counted from the epoch's front (see `dsctl plan --tasks`).
    #[arg(long, value_name = "FROM..TO", value_parser = steps, conflicts_with_all = ["state_in", "state_out"])]
    steps: Option<std::ops::Range<u64>>,
    /// Stop after so many batches.
    #[arg(long, value_name = "BATCHES")]
    limit: Option<u64>,
    /// Batches prefetched (0: as many as it takes, within the memory budget).
    #[arg(long, value_name = "BATCHES")]
    prefetch: Option<usize>,
    /// Memory budget in MiB.
    #[arg(long, value_name = "MIB", env = "DSCTL_MEMORY")]
    memory: Option<u64>,
    /// Hold each payload that is read against the hash that its ingest took.
    #[arg(long)]
    check_hash: bool,
    /// Run each operation on its own. The bytes must be the same.
    #[arg(long)]
    no_fuse: bool,
    /// Go on where this state was saved.
    #[arg(long, value_name = "FILE")]
    state_in: Option<PathBuf>,
    /// Save the state after the last batch handed out.
    #[arg(long, value_name = "FILE")]
    state_out: Option<PathBuf>,
    /// Print one line a batch and one for the epoch: a digest over all columns, labels and ids.
    #[arg(long)]
    digest: bool,
    /// Write every batch into one safetensors file: columns, labels, ids, as BATCH/COLUMN (WINDOW:BATCH/COLUMN where the recipe packs or
    /// buckets).
    #[arg(long, value_name = "FILE")]
    dump: Option<PathBuf>,
}

fn steps(text: &str) -> Result<std::ops::Range<u64>, String> {
    let ends = text.split_once("..").and_then(|(from, to)| Some((from.trim().parse().ok()?, to.trim().parse().ok()?)));
    let range = ends.map(|(from, to)| from..to).filter(|range: &std::ops::Range<u64>| range.start < range.end);
    range.ok_or_else(|| "a run of steps, without the last: 10..20".to_owned())
}

impl Load {
    fn recipe(&self, global: &Global) -> Result<Recipe, Error> {
        let mut recipe = self.what.recipe()?;
        let run = &mut recipe.run;
        run.threads = global.threads.unwrap_or(run.threads);
        run.prefetch = self.prefetch.unwrap_or(run.prefetch);
        run.memory = self.memory.map_or(run.memory, |mib| mib.saturating_mul(1 << 20));
        run.check_hash |= self.check_hash;
        recipe.fuse &= !self.no_fuse;
        Ok(recipe)
    }

    pub(crate) fn run(self, global: &Global) -> Done {
        let recipe = self.recipe(global)?;
        let loader = self.what.loader(&recipe, global)?;
        let mut epoch = match &self.state_in {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, "read", e))?;
                let state = State::from_json(&text)?;
                loader.resume_epochs(&state, state.epoch.saturating_add(self.epochs))?
            }
            None => match &self.steps {
                Some(part) if !loader.steps(self.epoch.unwrap_or(0)).has(part.end - 1) => {
                    let all = loader.steps(self.epoch.unwrap_or(0)).count();
                    return Err(Error::config(
                        format!("--steps {}..{} of an epoch of {all} steps", part.start, part.end),
                        "give --batch, --world, --tail and the choice of rows as `dsctl plan --tasks` had them",
                    ));
                }
                Some(steps) => loader.part(self.epoch.unwrap_or(0), steps.clone())?,
                None => {
                    let first = self.epoch.unwrap_or(0);
                    loader.epochs(first..first.saturating_add(self.epochs))?
                }
            },
        };
        let interrupted = output::interrupt()?;
        // To count batches that are formed by length is to form all of them, before the first is loaded.
        let counted = loader.sequence().batching.is_none();
        let steps = if counted { epoch.remaining() } else { u64::MAX }.min(self.limit.unwrap_or(u64::MAX));
        let number = epoch.state().epoch;
        let numerics = augment::numerics();
        if self.digest && !global.json {
            output::line(format_args!(
                "# numerics {numerics}, dataset {}, recipe {}",
                loader.dataset_digest(),
                loader.recipe_digest()
            ));
        }
        let meter = output::Meter::new(global, "batches");
        let started = Mark::now();
        let (mut digests, mut all) = (Vec::new(), xxhash_rust::xxh3::Xxh3::new());
        let (mut batches, mut samples) = (0u64, 0u64);
        let (mut dumped, mut substituted) = (Vec::new(), Vec::new());
        let mut ended = false;
        while batches < steps && !interrupted.load(Ordering::Relaxed) {
            let Some(batch) = epoch.next() else {
                ended = true;
                break;
            };
            let batch = batch?;
            batches += 1;
            samples += batch.valid.iter().filter(|v| **v).count() as u64;
            for bad in &batch.substituted {
                let (at, slot) = (batch.place.at(), bad.slot);
                output::note(global, format!("note: batch {at}, slot {slot}: another in place of {}", bad.reason));
                substituted.push(json!({"batch": at, "slot": slot, "id": bad.id, "reason": bad.reason}));
            }
            if self.digest {
                let digest = batch.digest();
                all.update(&digest.to_le_bytes());
                if global.json {
                    let mut told = json!({"batch": batch.place.batch, "digest": format!("{digest:032x}")});
                    if self.epochs > 1 {
                        told["epoch"] = json!(batch.place.epoch);
                    }
                    if batch.place.window > 0 {
                        told["window"] = json!(batch.place.window);
                    }
                    digests.push(told);
                } else {
                    output::line(format_args!("epoch {} batch {} {digest:032x}", batch.place.epoch, batch.place.at()));
                }
            }
            if self.dump.is_some() {
                dumped.push(batch);
            }
            meter.show(batches, if steps == u64::MAX { batches } else { steps }, "");
        }
        meter.finish();
        if batches == 0 && self.limit != Some(0) && !interrupted.load(Ordering::Relaxed) {
            output::note(global, "note: there is no batch on this rank (see --tail, --batch and --world)");
        }
        let seconds = started.elapsed().as_secs_f64();
        let state = epoch.state();
        // Of batches by length it is known when all were formed.
        let left_out = (counted || ended).then(|| epoch.dropped());
        drop(epoch);
        if let Some(path) = &self.dump {
            dump(path, &dumped)?;
        }
        if let Some(path) = &self.state_out {
            save(path, &state.to_json())?;
        }
        let stats = loader.stats();
        let whole = format!("{:032x}", all.digest128());
        let which = match self.epochs {
            1 => format!("epoch {number}"),
            more => format!("epochs {number} to {}", number.saturating_add(more - 1)),
        };
        if global.json {
            let mut result = json!({
                "epoch": number, "epochs": self.epochs, "batches": batches, "samples": samples, "dropped": left_out, "seconds": seconds,
                "samples_per_second": samples as f64 / seconds.max(1e-9), "threads": loader.threads(), "stats": stats, "state": state,
            });
            if !substituted.is_empty() {
                result["substituted"] = json!(substituted);
            }
            if self.digest {
                result["numerics"] = json!(numerics);
                result["digests"] = json!(digests);
                result["epoch_digest"] = json!(whole);
            }
            output::json(&result)?;
        } else if self.digest {
            output::line(format_args!("{which} {batches} batches {samples} samples {whole}"));
        } else {
            output::line(format_args!(
                "{which}: {batches} batches, {samples} samples in {seconds:.2} s, {:.0} samples/s on {} threads",
                samples as f64 / seconds.max(1e-9),
                loader.threads()
            ));
            output::line(format_args!(
                "  read {}, fetch {:.2} s, decode {:.2} s, augment {:.2} s (threads together); consumer waited {:.2} s",
                output::bytes(stats.bytes),
                stats.fetch_seconds,
                stats.decode_seconds,
                stats.augment_seconds,
                stats.wait_seconds
            ));
            if let Some(left_out) = left_out.filter(|n| *n > 0 && self.limit.is_none()) {
                output::line(format_args!("  {left_out} places at the end of the order are left out (--tail drop)"));
            }
        }
        if interrupted.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        // As a verify that finds some: the run is whole, the data is not.
        Ok(if substituted.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(3) })
    }
}

/// Writes a small file so that a reader sees the old or the new one, never a part.
fn save(path: &std::path::Path, text: &str) -> Result<(), Error> {
    let beside = path.with_extension("tmp");
    let written = std::fs::write(&beside, text).map_err(|e| Error::io(&beside, "write", e));
    let saved = written.and_then(|()| std::fs::rename(&beside, path).map_err(|e| Error::io(path, "replace", e)));
    if saved.is_err() {
        // What is left of it is of no use.
        let _ = std::fs::remove_file(&beside);
    }
    saved
}

/// A tensor on its way into the file: name, type, shape, bytes.
type Named<'a> = (String, Dtype, Vec<usize>, std::borrow::Cow<'a, [u8]>);

/// Every batch in one safetensors file: `BATCH/COLUMN`, with `/values` and `/offsets` for byte strings and ragged columns,
/// `/lengths/AXIS` and `/missing` beside dense ones; `BATCH/valid`, `BATCH/ids/values` and `BATCH/ids/offsets`.
fn dump(path: &std::path::Path, batches: &[Batch]) -> Result<(), Error> {
    let mut tensors: Vec<Named<'_>> = Vec::new();
    let numbers = |n: &[usize]| n.iter().flat_map(|v| (*v as i64).to_le_bytes()).collect::<Vec<u8>>();
    let flags = |n: &[bool]| n.iter().map(|v| u8::from(*v)).collect::<Vec<u8>>();
    for batch in batches {
        let at = batch.place.at();
        for (name, column) in &batch.columns {
            let name = format!("{at}/{name}");
            match column {
                Column::Dense(d) => {
                    for (axis, lengths) in &d.lengths {
                        tensors.push((
                            format!("{name}/lengths/{axis}"),
                            Dtype::I64,
                            vec![lengths.len()],
                            numbers(lengths).into(),
                        ));
                    }
                    if !d.missing.is_empty() {
                        tensors.push((
                            format!("{name}/missing"),
                            Dtype::BOOL,
                            vec![d.missing.len()],
                            flags(&d.missing).into(),
                        ));
                    }
                    tensors.push((name, dtype(d.dtype), d.shape.clone(), d.packed()));
                }
                Column::Ragged(r) => {
                    tensors.push((
                        format!("{name}/offsets"),
                        Dtype::I64,
                        vec![r.offsets.len()],
                        numbers(&r.offsets).into(),
                    ));
                    let shape = vec![r.values.len() / r.dtype.size()];
                    tensors.push((format!("{name}/values"), dtype(r.dtype), shape, r.values.as_slice().into()));
                }
                Column::Bytes(b) => {
                    if !b.missing.is_empty() {
                        let missing =
                            (format!("{name}/missing"), Dtype::BOOL, vec![b.missing.len()], flags(&b.missing).into());
                        tensors.push(missing);
                    }
                    tensors.push((
                        format!("{name}/offsets"),
                        Dtype::I64,
                        vec![b.offsets.len()],
                        numbers(&b.offsets).into(),
                    ));
                    tensors.push((
                        format!("{name}/values"),
                        Dtype::U8,
                        vec![b.values.len()],
                        b.values.as_slice().into(),
                    ));
                }
            }
        }
        tensors.push((format!("{at}/valid"), Dtype::BOOL, vec![batch.len()], flags(&batch.valid).into()));
        let mut offsets = vec![0];
        for id in &batch.ids {
            offsets.push(offsets[offsets.len() - 1] + id.len());
        }
        let ids = batch.ids.concat().into_bytes();
        tensors.push((format!("{at}/ids/offsets"), Dtype::I64, vec![offsets.len()], numbers(&offsets).into()));
        tensors.push((format!("{at}/ids/values"), Dtype::U8, vec![ids.len()], ids.into()));
    }
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        let view =
            TensorView::new(*dtype, shape.clone(), bytes).map_err(|e| Error::library("writing safetensors", e))?;
        Ok((name.as_str(), view))
    });
    let views = views.collect::<Result<Vec<_>, Error>>()?;
    safetensors::serialize_to_file(views, None, path)
        .map_err(|e| Error::io(path, "write", std::io::Error::other(e.to_string())))
}

fn dtype(dtype: DType) -> Dtype {
    match dtype {
        DType::I8 => Dtype::I8,
        DType::I64 => Dtype::I64,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
        DType::Bool => Dtype::BOOL,
        _ => Dtype::U8,
    }
}
