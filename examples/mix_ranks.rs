//! Mixes two datasets on three ranks, kills all of them in the middle of the epoch, goes on with two, and shows that every batch of the
//! epoch came once, with the same bytes as on one rank.
//!
//! ```text
//! cargo run --release --example mix_ranks -- --recipe mix.toml
//! ```
//!
//! The recipe names its sources (`docs/plan.md` has one of photos of clothing and of blood cells, 3 to 1, classes balanced within each). Without one, the
//! bundled photos are ingested into a temporary folder and their two splits mixed. Each rank is a process of its own, as on machines of a
//! cluster; none knows anything of the others but its number and how many there are.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use feedstock::ingest::{Control, IngestOptions, ingest};
use feedstock::loader::Loader;
use feedstock::plan::{State, World};
use feedstock::recipe::Recipe;

type Failure = Box<dyn std::error::Error>;

const HELP: &str = "\
mix_ranks [--recipe FILE] [--steps N]

  --recipe FILE  a recipe with sources (the bundled photos, their splits mixed 3 to 1)
  --steps N      steps of each of the three ranks before they are killed (a third of the epoch)";

/// Ranks before the kill, and after.
const BEFORE: u64 = 3;
const AFTER: u64 = 2;

/// What stands for a training step: long enough that the ranks are killed in the middle of the epoch.
const STEP: Duration = Duration::from_millis(30);

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |flag: &str| args.iter().position(|arg| arg == flag).and_then(|at| args.get(at + 1));
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        println!("{HELP}");
        return Ok(());
    }
    if let (Some(rank), Some(size), Some(recipe), Some(folder)) =
        (value("--rank"), value("--world"), value("--recipe"), value("--states"))
    {
        let world = World { rank: rank.parse()?, size: size.parse()? };
        return run_rank(Path::new(recipe), world, value("--from").map(Path::new), Path::new(folder));
    }
    let folder = std::env::temp_dir().join(format!("mix_ranks-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let done = shown(value("--recipe").map(PathBuf::from), value("--steps").map(|n| n.parse()).transpose()?, &folder);
    std::fs::remove_dir_all(&folder)?;
    done
}

/// The recipe, its sources' paths from its folder as `dsctl` takes them.
fn read(path: &Path) -> Result<Recipe, Failure> {
    let mut recipe: Recipe = toml::from_str(&std::fs::read_to_string(path)?)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    recipe.sources.values_mut().for_each(|source| source.dataset = folder.join(&source.dataset));
    Ok(recipe)
}

/// One rank: a line for each batch, and the state after it.
fn run_rank(recipe: &Path, world: World, from: Option<&Path>, states: &Path) -> Result<(), Failure> {
    let mut recipe = read(recipe)?;
    recipe.run.world = world;
    recipe.run.threads = 1;
    let loader = recipe.open()?;
    let mut epoch = match from {
        Some(path) => loader.resume(&State::from_json(&std::fs::read_to_string(path)?)?)?,
        None => loader.epoch(0)?,
    };
    let mut step = 0;
    while let Some(batch) = epoch.next() {
        let batch = batch?;
        std::thread::sleep(STEP);
        println!("{} {:032x}", batch.place.batch, batch.digest());
        std::io::stdout().flush()?;
        step += 1;
        // A rank that is killed while it writes leaves no state that looks whole.
        let path = states.join(format!("{step}.{}", world.rank));
        let part = states.join(format!("{step}.{}.part", world.rank));
        std::fs::write(&part, epoch.state().to_json())?;
        std::fs::rename(part, path)?;
    }
    Ok(())
}

fn started(recipe: &Path, rank: u64, size: u64, from: Option<&Path>, states: &Path) -> Result<Child, Failure> {
    let (rank, size) = (rank.to_string(), size.to_string());
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--rank", &rank, "--world", &size]).arg("--recipe").arg(recipe).arg("--states").arg(states);
    from.map(|from| command.arg("--from").arg(from));
    Ok(command.stdout(Stdio::piped()).spawn()?)
}

/// The batches that a rank has told of, by number; of one that was killed, or else ended well.
fn told(child: Child, killed: bool, into: &mut BTreeMap<u64, Vec<String>>) -> Result<(), Failure> {
    let out = child.wait_with_output()?;
    if !killed && !out.status.success() {
        return Err(format!("a rank ended with {}", out.status).into());
    }
    for line in String::from_utf8_lossy(&out.stdout).lines() {
        // A killed rank's last line may be cut.
        if let Some((batch, digest)) = line.split_once(' ').filter(|(_, digest)| digest.len() == 32) {
            into.entry(batch.parse()?).or_default().push(digest.to_owned());
        }
    }
    Ok(())
}

fn shown(recipe: Option<PathBuf>, steps: Option<u64>, folder: &Path) -> Result<(), Failure> {
    let recipe = match recipe {
        Some(path) => path.canonicalize()?,
        None => bundled(folder)?,
    };
    let loader = read(&recipe)?.open()?;
    describe(&loader);
    let whole: BTreeMap<u64, String> = loader
        .epoch(0)?
        .map(|batch| batch.map(|batch| (batch.place.batch, format!("{:032x}", batch.digest()))))
        .collect::<Result<_, _>>()?;
    let steps = steps.unwrap_or(whole.len() as u64 / BEFORE / 3).max(1);

    let states = folder.join("states");
    std::fs::create_dir_all(&states)?;
    let ranks = (0..BEFORE).map(|rank| started(&recipe, rank, BEFORE, None, &states));
    let mut ranks = ranks.collect::<Result<Vec<_>, _>>()?;
    let has = |step: u64| (0..BEFORE).all(|rank| states.join(format!("{step}.{rank}")).is_file());
    while !has(steps) && ranks.iter_mut().all(|rank| matches!(rank.try_wait(), Ok(None))) {
        std::thread::sleep(Duration::from_millis(5));
    }
    for rank in &mut ranks {
        rank.kill()?;
    }
    let mut got = BTreeMap::new();
    ranks.into_iter().try_for_each(|rank| told(rank, true, &mut got))?;
    let ran: Vec<u64> = got.keys().copied().collect();
    // The last step that all of them have finished is where they go on; a model would be saved with it.
    let step = (1..).take_while(|step| has(*step)).last().ok_or("the ranks ended before their first step")?;
    let saved: Vec<String> = (0..BEFORE)
        .map(|rank| std::fs::read_to_string(states.join(format!("{step}.{rank}"))))
        .collect::<Result<_, _>>()?;
    if saved.iter().any(|state| *state != saved[0]) {
        return Err(format!("ranks saved different states: {saved:?}").into());
    }
    println!(
        "{BEFORE} ranks were killed after batches {ran:?}\nthe state of step {step}, {} bytes: {}",
        saved[0].len(),
        saved[0]
    );
    let state = State::from_json(&saved[0])?;
    got.retain(|batch, _| *batch < state.batch);

    let from = states.join(format!("{step}.0"));
    let again = folder.join("again");
    std::fs::create_dir_all(&again)?;
    let ranks = (0..AFTER).map(|rank| started(&recipe, rank, AFTER, Some(&from), &again));
    let ranks = ranks.collect::<Result<Vec<_>, _>>()?;
    let before = got.len();
    ranks.into_iter().try_for_each(|rank| told(rank, false, &mut got))?;
    println!("{AFTER} ranks went on with {} batches", got.len() - before);

    let (mut same, mut wrong) = (0, Vec::new());
    for (batch, digest) in &whole {
        match got.remove(batch).as_deref() {
            Some([one]) if one == digest => same += 1,
            other => wrong.push(format!("batch {batch}: {other:?}, on one rank {digest}")),
        }
    }
    if let Some((batch, digest)) = whole.last_key_value() {
        println!("the last of one rank, {batch}: {digest}");
    }
    // Behind the epoch's end, ranks may have batches of padding or repeats, so that all take as many steps.
    println!("{same} of {} batches came once and are the same, {} beyond the epoch", whole.len(), got.len());
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

fn describe(loader: &Loader) {
    let (plan, sequence) = (loader.plan(0), loader.sequence());
    println!("{} samples in batches of {}, datasets {}", plan.samples(), sequence.batch, loader.dataset_digest());
    for (at, (feed, component)) in loader.feeds().iter().zip(&sequence.components).enumerate() {
        let samples = plan.blended().map_or(plan.samples(), |blended| blended.all()[at]);
        println!("  {}: {samples} samples of {} rows", feed.name, component.rows.len());
        for share in component.balance.iter().flat_map(|balance| balance.shares()) {
            let class = share.class.as_deref().unwrap_or("(not known)");
            println!("    {class}: {} rows, {} samples a pass", share.rows, share.samples);
        }
    }
}

/// The recipe of the bundled photos.
fn bundled(folder: &Path) -> Result<PathBuf, Failure> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/images");
    ingest(&source, &folder.join("photos"), &IngestOptions::default(), &Control::default())?;
    let recipe = folder.join("mix.toml");
    std::fs::write(
        &recipe,
        r#"
        batch = 4
        tail = "pad"
        balance = { by = "label", power = 1.0 }
        mixture = { exhausted = "repeat" }
        [sources.train]
        dataset = "photos"
        split = "train"
        weight = 3
        [sources.test]
        dataset = "photos"
        split = "test"
        weight = 1
        [columns.image]
        ops = [{ op = "random_resized_crop", size = 32 }, { op = "horizontal_flip" }]
        [columns.label]
        "#,
    )?;
    Ok(recipe)
}
