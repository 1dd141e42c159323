//! `dsctl plan`: what stands where in an epoch, before anything is read.

use std::process::ExitCode;

use clap::Args;
use feedstock::Error;
use feedstock::augment::Draw;
use feedstock::data::feature::Feature;
use feedstock::data::label::Value as Cell;
use feedstock::loader::{Feed, Loader, OutColumn, Work};
use feedstock::plan::score::{buffered, score};
use feedstock::plan::{At, Component, Course, Order, Plan, Segment, Sequence, Slot, waste};
use feedstock::recipe::Recipe;
use feedstock::rng::Key;
use serde_json::{Map, Value, json};

use crate::chosen::Chosen;
use crate::{Done, Global, output};

/// Places that a score looks at: all of a small epoch, and batches evenly over a larger one.
const LOOKED_AT: u64 = 1 << 20;

/// Windows whose batches are counted: 16 million samples.
const COUNTED: u64 = 256;

/// Samples of the buffer that a score is compared with.
const BUFFER: u64 = 1000;

/// Explain an epoch: how long it is, what stands at a step and what is drawn for it, how random its order is. Reads no media
#[derive(Debug, Args)]
pub(crate) struct PlanVerb {
    #[command(flatten)]
    what: Chosen,
    /// The epoch (from 0).
    #[arg(long, value_name = "E", default_value_t = 0)]
    epoch: u64,
    /// Show this step of the rank (from 0): its rows, and what operations draw for them.
    #[arg(long, value_name = "S")]
    step: Option<u64>,
    /// Compare with another recipe (flags count for both): which fields differ, and from which place on the rows do.
    #[arg(long, value_name = "FILE")]
    diff: Option<std::path::PathBuf>,
    /// Cut the rank's steps into so many tasks of about one length, for `dsctl load --steps`: each gives the same batches wherever and however
    /// often it is run.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    tasks: Option<u64>,
    /// Measure what of the batches is padding, beside the same samples in other batches (with a bucket or pack).
    #[arg(long)]
    waste: bool,
    /// Measure how random the order is, beside other orders and a buffer of 1,000 samples.
    #[arg(long)]
    score: bool,
}

impl PlanVerb {
    pub(crate) fn run(self, global: &Global) -> Done {
        let recipe = self.what.recipe()?;
        let loader = self.what.loader(&recipe, global)?;
        let (steps, sequence) = (loader.steps(self.epoch), loader.sequence());
        let (plan, world) = (steps.plan().clone(), steps.world());
        // To count batches that are formed by length is to form all of them: of millions of samples only if they are to be parted.
        let count = (plan.windows() <= COUNTED || self.tasks.is_some()).then(|| steps.count());
        let rows: u64 = sequence.components.iter().map(|component| component.rows.len()).sum();
        let (samples, batch) = (plan.samples(), plan.batch_size() as u64);
        let mut result = json!({
            "dataset": loader.dataset_digest(), "recipe": loader.recipe_digest(), "epoch": self.epoch,
            "rows": rows, "samples": samples, "views": sequence.views, "partners": sequence.partners, "batch": batch, "order": recipe.order, "rank": world.rank, "world": world.size,
            "steps": count, "dropped": count.map(|_| steps.dropped()),
        });
        let of = |source: usize, component: &Component| {
            let mut said = json!({});
            if component.order == Order::Windowed {
                said["window"] = json!({"group_rows": component.window.0, "groups": component.window.1});
            }
            if let Some(balance) = &component.balance {
                said["classes"] = json!(balance.shares());
            }
            if self.score {
                let by = recipe.sources.values().nth(source).and_then(|source| source.balance.as_ref());
                let by = by.or(recipe.balance.as_ref()).map(|balance| balance.by.as_str());
                said["scores"] = scores(&loader, source, by, self.epoch);
            }
            said
        };
        match plan.blended() {
            None => merge(&mut result, of(0, &sequence.components[0])),
            Some(blended) => {
                let source = |(source, (component, feed)): (usize, (&Component, &Feed))| {
                    let (own, rows, samples) = (blended.all()[source], component.rows.len(), component.samples());
                    let mut said = json!({
                        "source": feed.name, "dataset": feed.dataset.digest(), "rows": rows, "samples": own,
                        "passes": own as f64 / samples.max(1) as f64,
                    });
                    merge(&mut said, of(source, component));
                    said
                };
                let all = sequence.components.iter().zip(loader.feeds()).enumerate();
                result["sources"] = all.map(source).collect();
                result["exhausted"] = json!(recipe.mixture.exhausted);
            }
        }
        if let Some(step) = self.step {
            if !steps.has(step) {
                let what = format!("there is no step {step}: rank {} has {} steps", world.rank, steps.count());
                return Err(Error::config(what, "steps count from 0; see --rank, --world, --batch and --tail"));
            }
            let at = steps.batch(step);
            result["step"] = json!(step);
            if plan.batching().is_some() {
                result["at"] = json!(at);
            }
            result["global_batch"] = json!(at.batch);
            result["slots"] = explained(&loader, &recipe, &plan, at);
        }
        if self.waste {
            if plan.batching().is_none() {
                let help = "give the recipe a bucket or pack; --bucket audio.count, --pack tokens:2048";
                return Err(Error::config("--waste, and no lengths to go by", help));
            }
            let told = waste(&plan).into_iter();
            let told = told.map(|(name, waste)| json!({"batches_of": name, "waste": waste.share(), "told": waste}));
            result["padding"] = told.collect();
        }
        if let (Some(tasks), Some(count)) = (self.tasks, count) {
            let tasks = tasks.min(count);
            let from = |task: u64| (u128::from(count) * u128::from(task) / u128::from(tasks)) as u64;
            result["tasks"] = (0..tasks).map(|task| json!({"steps": [from(task), from(task + 1)]})).collect();
        }
        if let Some(other) = &self.diff {
            let other = self.what.read(other)?;
            result["diff"] = differences(&loader, &recipe, &other, self.epoch)?;
        }
        if global.json {
            output::json(&result)?;
        } else {
            tell(&result, sequence);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Puts the fields of one object into another.
fn merge(into: &mut Value, more: Value) {
    if let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
}

/// Every slot of a batch.
fn explained(loader: &Loader, recipe: &Recipe, plan: &Plan, at: At) -> Value {
    let slot = |slot: Slot| match slot.segments.as_slice() {
        [] => json!({"place": slot.place, "valid": false}),
        [one] if one.range.is_none() => {
            let mut said = json!({"place": slot.place, "valid": true});
            merge(&mut said, told(loader, recipe, plan, one));
            said
        }
        several => {
            let pieces: Vec<Value> = several.iter().map(|segment| told(loader, recipe, plan, segment)).collect();
            json!({"place": slot.place, "valid": true, "pieces": pieces})
        }
    };
    json!(plan.slots(at).into_iter().map(slot).collect::<Vec<_>>())
}

/// One row of a slot, and what is drawn for it.
fn told(loader: &Loader, recipe: &Recipe, plan: &Plan, segment: &Segment) -> Value {
    let feed = &loader.feeds()[segment.source as usize];
    let row = feed.dataset.index().row(segment.row);
    let mut drawn = Map::new();
    for column in &feed.columns {
        let OutColumn::Media { name, index: Some(at), work: Work::Chain(chain) } = column else { continue };
        let Some(payload) = row.payload(*at) else { continue };
        let draws = chain.draw(&payload.info, plan.key(row.key(), segment)).draws;
        let names = recipe.columns.get(name).map_or(&[][..], |column| &column.ops);
        let of_column: Vec<Value> = names
            .iter()
            .zip(&draws)
            .filter(|(_, draw)| **draw != Draw::None)
            .map(|(op, draw)| json!([op.op, self::draw(draw)]))
            .collect();
        if !of_column.is_empty() {
            drawn.insert(name.clone(), json!(of_column));
        }
    }
    let mut said = json!({
        "row": segment.row, "id": row.id(), "occurrence": segment.occurrence, "view": segment.view, "draws": drawn,
    });
    if let Some(batching) = plan.batching() {
        said["length"] = json!(batching.length(segment.source as usize, segment.row));
    }
    if let Some((from, to)) = segment.range {
        said["range"] = json!([from, to]);
    }
    if !feed.name.is_empty() {
        said["source"] = json!(feed.name);
    }
    let views = loader.sequence().views as u64;
    if u64::from(segment.view) >= views {
        said["partner"] = json!(u64::from(segment.view) - views);
        said["view"] = json!(0);
    }
    said
}

fn draw(draw: &Draw) -> Value {
    match draw {
        Draw::None => Value::Null,
        Draw::Rect(r) => json!({"x": r.x, "y": r.y, "width": r.width, "height": r.height}),
        Draw::Flag(flag) => json!(flag),
        Draw::Numbers(numbers) => json!(numbers.as_slice()),
        Draw::Times(times) => json!({"times_us": times}),
    }
}

/// What another recipe over the same dataset has that this one has not.
fn differences(loader: &Loader, own: &Recipe, other: &Recipe, epoch: u64) -> Result<Value, Error> {
    other.validate()?;
    if own.sources.is_empty() != other.sources.is_empty() {
        let help = "compare two mixtures, or two recipes of one dataset";
        return Err(Error::config("--diff of a mixture and a recipe without sources", help));
    }
    let theirs = if other.sources.is_empty() { other.loader(loader.dataset().clone())? } else { other.open()? };
    let (mut fields, same) = (Map::new(), theirs.recipe_digest() == loader.recipe_digest());
    apart("", &json!(own), &json!(other), &mut fields);
    let (a, b) = (loader.plan(epoch), theirs.plan(epoch));
    let (most, least) = (a.places().max(b.places()), a.places().min(b.places()));
    let looked_at = least.min(LOOKED_AT);
    // Sources are numbers, by their names: those of another recipe may be others.
    let stands = |loader: &Loader, plan: &Plan, place: u64| {
        let group = (loader.sequence().views + loader.sequence().partners) as u64;
        let (source, picked) = plan.sample(place / group);
        (loader.feeds()[source].name.clone(), picked.row, picked.occurrence, place % group)
    };
    let first = (0..looked_at).find(|place| stands(loader, &a, *place) != stands(&theirs, &b, *place));
    // Where one ends, the other goes on with other rows.
    let first = first.or((looked_at == least && least < most).then_some(least));
    Ok(json!({
        "same_digest": same, "recipe": theirs.recipe_digest(), "fields": fields, "first_other_place": first, "looked_at": looked_at,
        "places": [a.places(), b.places()],
    }))
}

/// The fields that differ, by their paths.
fn apart(path: &str, own: &Value, other: &Value, fields: &mut Map<String, Value>) {
    match (own, other) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                apart(&below, a.get(name).unwrap_or(&Value::Null), b.get(name).unwrap_or(&Value::Null), fields);
            }
        }
        _ if own == other => {}
        _ => {
            fields.insert(path.to_owned(), json!([own, other]));
        }
    }
}

/// The score of each order of a source's rows, its own first; labels are of the column `by`, or of the first of classes.
fn scores(loader: &Loader, source: usize, by: Option<&str>, epoch: u64) -> Value {
    let (sequence, feed) = (loader.sequence(), &loader.feeds()[source]);
    let component = &sequence.components[source];
    let columns = &feed.dataset.schema().columns;
    let class = match by {
        Some(by) => feed.columns.iter().find(|column| column.name() == by).and_then(OutColumn::index),
        None => columns.iter().position(|column| matches!(column.feature, Feature::ClassLabel { .. })),
    };
    let own = Course::new(component, sequence.seed, epoch);
    let label = |position: u64| {
        let row = feed.dataset.index().row(own.picked(position).row);
        class.and_then(|column| match row.value(column) {
            Cell::Int(label) if label >= 0 => Some(label),
            _ => None,
        })
    };
    let (n, b) = (component.samples(), (sequence.batch / (sequence.views + sequence.partners)) as u64);
    let batches = n.div_ceil(b);
    let every = batches.div_ceil((LOOKED_AT / b).max(1)).max(1);
    let of = |order: Order| {
        let course = Course::new(&Component { order, ..component.clone() }, sequence.seed, epoch);
        let batch = |batch: u64| {
            let course = &course;
            (batch * b..((batch + 1) * b).min(n)).map(move |place| {
                let position = course.position(place);
                (place, position, label(position))
            })
        };
        score(n, (0..batches).step_by(every as usize).map(batch))
    };
    let mut orders = vec![component.order];
    orders.extend(Order::ALL.iter().copied().filter(|order| *order != component.order));
    let mut all: Vec<Value> = orders.into_iter().map(|order| json!([order, of(order)])).collect();
    // A buffer cannot be asked for a place: as much of its front is looked at.
    let front: Vec<(u64, u64, Option<i64>)> = buffered(n, BUFFER, Key::new(sequence.seed))
        .take(usize::try_from(LOOKED_AT).unwrap_or(usize::MAX))
        .enumerate()
        .map(|(place, position)| (place as u64, position, label(position)))
        .collect();
    let buffer = score(n, front.chunks(b as usize).map(|batch| batch.iter().copied()));
    all.push(json!([format!("buffer of {BUFFER}"), buffer]));
    json!(all)
}

fn tell(result: &Value, sequence: &Sequence) {
    let number = |name: &str| result[name].as_u64().unwrap_or(0);
    let order = text(&result["order"]);
    output::line(format_args!(
        "epoch {}: {} samples of {} rows{} in batches of {}, order {order}, seed {}",
        number("epoch"),
        number("samples"),
        number("rows"),
        if number("views") > 1 { format!(", {} views of each,", number("views")) } else { String::new() },
        number("batch"),
        sequence.seed
    ));
    match result["steps"].as_u64() {
        Some(steps) => output::line(format_args!(
            "rank {} of {}: {steps} steps, {} places left out",
            number("rank"),
            number("world"),
            number("dropped")
        )),
        None => output::line(format_args!(
            "rank {} of {}: steps are not counted (of so many samples only for --tasks)",
            number("rank"),
            number("world")
        )),
    }
    output::line(format_args!("dataset {}", text(&result["dataset"])));
    output::line(format_args!("recipe  {}", text(&result["recipe"])));
    tell_source(result);
    for source in result["sources"].as_array().into_iter().flatten() {
        output::line(format_args!(
            "source {}: {} samples of {} rows ({:.3} passes), dataset {}",
            text(&source["source"]),
            source["samples"],
            source["rows"],
            source["passes"].as_f64().unwrap_or(0.0),
            text(&source["dataset"])
        ));
        tell_source(source);
    }
    if let Some(padding) = result["padding"].as_array() {
        output::line("   batches    filled        length        padded    waste  batches of");
        for line in padding {
            let of = |name: &str| line["told"][name].as_u64().unwrap_or(0);
            let share = line["waste"].as_f64().unwrap_or(0.0) * 100.0;
            output::line(format_args!(
                "{:>10}{:>10}{:>14}{:>14}{share:>8.2}%  {}",
                of("batches"),
                of("filled"),
                of("length"),
                of("padded"),
                text(&line["batches_of"])
            ));
        }
    }
    for (task, steps) in result["tasks"].as_array().into_iter().flatten().enumerate() {
        output::line(format_args!("task {task}: --steps {}..{}", steps["steps"][0], steps["steps"][1]));
    }
    if let Some(diff) = result.get("diff") {
        let same =
            if diff["same_digest"] == true { "the same digest: the batches are the same" } else { "another digest" };
        output::line(format_args!("the other recipe has {same} ({})", text(&diff["recipe"])));
        for (field, values) in diff["fields"].as_object().into_iter().flatten() {
            output::line(format_args!("  {field}: {} -> {}", values[0], values[1]));
        }
        match diff["first_other_place"].as_u64() {
            Some(place) => output::line(format_args!("  the rows differ from place {place} on")),
            None if diff["fields"].as_object().is_some_and(|fields| {
                fields.keys().any(|field| field.starts_with("bucket") || field.starts_with("pack"))
            }) =>
            {
                output::line("  the rows come in the same order, and batches are formed otherwise");
            }
            None => output::line(format_args!(
                "  the rows are the same at the first {} places of {}",
                diff["looked_at"], diff["places"][0]
            )),
        }
    }
    if let Some(slots) = result["slots"].as_array() {
        let window = result["at"]["window"].as_u64().map_or_else(String::new, |window| format!("window {window}, "));
        output::line(format_args!("step {} ({window}global batch {}):", number("step"), number("global_batch")));
        for (n, slot) in slots.iter().enumerate() {
            if slot["valid"] == false {
                output::line(format_args!("  {n:>3}  padding"));
                continue;
            }
            let line = format!("  {n:>3}  place {}", slot["place"]);
            match slot["pieces"].as_array() {
                None => output::line(line + &tell_row(slot)),
                Some(pieces) => {
                    output::line(line);
                    pieces.iter().for_each(|piece| output::line(format!("      {}", tell_row(piece))));
                }
            }
        }
    }
}

/// A row of a slot, with what is drawn for it.
fn tell_row(row: &Value) -> String {
    let source = row["source"].as_str().map_or_else(String::new, |source| format!("  {source}"));
    let mut line = format!("{source}  row {}  {}", row["row"], text(&row["id"]));
    if let Some(length) = row["length"].as_u64() {
        line += &format!("  length {length}");
    }
    if let Some(range) = row["range"].as_array() {
        line += &format!("  {}..{}", range[0], range[1]);
    }
    if let Some(partner) = row["partner"].as_u64() {
        line += &format!("  partner {partner}");
    }
    for name in ["occurrence", "view"] {
        if row[name] != 0 && row["partner"].is_null() {
            line += &format!("  {name} {}", row[name]);
        }
    }
    for (column, draws) in row["draws"].as_object().into_iter().flatten() {
        for draw in draws.as_array().into_iter().flatten() {
            line += &format!("  {column}/{} {}", text(&draw[0]), draw[1]);
        }
    }
    line
}

/// What concerns one source, or the only one.
fn tell_source(result: &Value) {
    if let Some(window) = result.get("window") {
        output::line(format_args!("groups of {} rows, {} groups a window", window["group_rows"], window["groups"]));
    }
    if let Some(classes) = result["classes"].as_array() {
        output::line("      rows   samples     times  loss weight  class");
        for share in classes {
            output::line(format_args!(
                "{:>10}{:>10}{:>10.3}{:>13.3}  {}",
                share["rows"].as_u64().unwrap_or(0),
                share["samples"].as_u64().unwrap_or(0),
                share["samples"].as_f64().unwrap_or(0.0) / share["rows"].as_f64().unwrap_or(1.0),
                share["loss_weight"].as_f64().unwrap_or(0.0),
                share["class"].as_str().unwrap_or("(not known)")
            ));
        }
    }
    if let Some(scores) = result["scores"].as_array() {
        output::line("order             score  neighbours  distance  labels");
        for score in scores {
            let of = ["score", "neighbours", "distance", "labels"]
                .map(|name| score[1][name].as_f64().map_or_else(|| "-".to_owned(), |v| format!("{v:.3}")));
            output::line(format_args!("{:<16} {:>6} {:>11} {:>9} {:>7}", text(&score[0]), of[0], of[1], of[2], of[3]));
        }
        output::line(
            "1 less the worst of the three, each 0 for a random order and 1 for that of storage (docs/plan.md)",
        );
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
