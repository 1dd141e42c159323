//! Several datasets in one epoch: whose samples come, how their columns become one, and what does not fit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::common::{fixture, made, sample_bytes};
use feedstock::data::batch::{Batch, Column};
use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, IngestOptions, ingest};
use feedstock::loader::Loader;
use feedstock::plan::{State, World};
use feedstock::recipe::Recipe;

/// Pictures of some classes of the fixture as a dataset of their own, which lives as long as the folder.
fn classes(folder: &tempfile::TempDir, name: &str, wanted: &[(&str, &str)]) -> Arc<Dataset> {
    let source = folder.path().join(format!("{name} source/train"));
    for (class, called) in wanted {
        let into = source.join(called);
        std::fs::create_dir_all(&into).unwrap();
        for file in std::fs::read_dir(fixture("images/train").join(class)).unwrap() {
            let file = file.unwrap().path();
            std::fs::copy(&file, into.join(file.file_name().unwrap())).unwrap();
        }
    }
    let target = folder.path().join(name);
    ingest(source.parent().unwrap(), &target, &IngestOptions::default(), &Control::default()).unwrap();
    Arc::new(Dataset::open(&target).unwrap())
}

/// Two datasets with a class in common, whose numbers differ.
fn two(folder: &tempfile::TempDir) -> BTreeMap<String, Arc<Dataset>> {
    let a = classes(folder, "a", &[("pants", "pants"), ("shoes", "shoes")]);
    let b = classes(folder, "b", &[("t-shirt", "hat"), ("shoes", "shoes")]);
    BTreeMap::from([("a".into(), a), ("b".into(), b)])
}

fn recipe(text: &str) -> Recipe {
    let sources = if text.contains("[sources") { "" } else { "[sources.a]\nweight = 3\n[sources.b]\nweight = 1\n" };
    let columns = "[columns.image]\nops = [{ op = \"random_resized_crop\", size = 16 }]\n[columns.label]\n";
    let recipe: Recipe = toml::from_str(&format!("seed = 5\nbatch = 4\n{text}\n{sources}{columns}")).unwrap();
    recipe.validate().unwrap();
    recipe
}

fn all(loader: &Loader, epoch: u64) -> Vec<Batch> {
    loader.epoch(epoch).unwrap().map(Result::unwrap).collect()
}

/// A column of whole numbers, over all batches.
fn numbers(batches: &[Batch], name: &str) -> Vec<i64> {
    batches.iter().flat_map(|batch| batch.get::<i64>(name).unwrap().data.to_vec()).collect()
}

/// What comes of each sample: source, id, class by name, bytes.
fn told(loader: &Loader, batches: &[Batch]) -> Vec<(String, String, String, Vec<u8>)> {
    let (sources, labels) = (loader.classes("source").unwrap(), loader.classes("label").unwrap());
    let (of, label) = (numbers(batches, "source"), numbers(batches, "label"));
    let samples = batches.iter().flat_map(|batch| {
        let image: Vec<u8> = match &batch.columns.iter().find(|(name, _)| name == "image").unwrap().1 {
            Column::Dense(dense) => dense.packed().to_vec(),
            other => panic!("{other:?}"),
        };
        let size = image.len() / batch.len();
        batch.ids.clone().into_iter().zip(image.chunks(size).map(<[u8]>::to_vec).collect::<Vec<_>>())
    });
    samples
        .enumerate()
        .map(|(n, (id, image))| (sources[of[n] as usize].clone(), id, labels[label[n] as usize].clone(), image))
        .collect()
}

#[test]
fn sources_come_by_weight_with_their_classes_joined_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let datasets = two(&folder);
    let rows: BTreeMap<&str, u64> = datasets.iter().map(|(name, d)| (name.as_str(), d.rows())).collect();
    let recipe = recipe("mixture = { exhausted = \"repeat\" }\ntail = \"pad\"");
    let loader = recipe.mixed(&datasets).unwrap();
    assert_eq!(loader.classes("label").unwrap(), ["pants", "shoes", "hat"]);
    let samples = told(&loader, &all(&loader, 0));
    // Until b has had all its rows a fourth of the samples are b's, and a's rows come again.
    let places = loader.plan(0).samples();
    assert_eq!(places, 4 * rows["b"]);
    let samples = &samples[..places as usize];
    let count = |source: &str| samples.iter().filter(|s| s.0 == source).count() as u64;
    assert_eq!((count("a"), count("b")), (3 * rows["b"], rows["b"]));
    for (source, id, class, _) in samples {
        // Ids are paths, so that they say the class.
        assert!(id.contains(&format!("/{class}/")), "{source}: {id} is {class}");
    }
    // What comes again is another crop.
    let distinct: BTreeSet<_> = samples.iter().collect();
    assert_eq!(distinct.len(), samples.len());
    // Another source beside it changes none of a's samples, their order or their draws.
    let fewer: Vec<_> = samples.iter().filter(|s| s.0 == "a").cloned().collect();
    let more = self::recipe(
        "mixture = { exhausted = \"repeat\" }\ntail = \"pad\"\n[sources.a]\nweight = 1\n[sources.b]\nweight = 1\n[sources.\"0\"]\nweight = 1",
    );
    let mut datasets = datasets.clone();
    datasets.insert("0".into(), datasets["b"].clone());
    let loader = more.mixed(&datasets).unwrap();
    let samples = told(&loader, &all(&loader, 0)[..3]);
    let again: Vec<_> = samples.into_iter().filter(|s| s.0 == "a").collect();
    assert!(!again.is_empty() && again[..] == fewer[..again.len()]);
}

#[test]
fn a_class_balance_is_within_each_source_and_goes_by_delivered_names() {
    let folder = tempfile::tempdir().unwrap();
    let mut datasets = two(&folder);
    let csv = folder.path().join("kinds");
    std::fs::create_dir_all(&csv).unwrap();
    let mut lines = "path,kind\n".to_owned();
    let pictures = fixture("images/train/pants");
    for (n, file) in std::fs::read_dir(&pictures).unwrap().map(|f| f.unwrap().path()).enumerate() {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        std::fs::copy(&file, csv.join(&name)).unwrap();
        lines += &format!("{name},{}\n", if n == 0 { "rare" } else { "common" });
    }
    std::fs::write(csv.join("labels.csv"), lines).unwrap();
    let mut options = IngestOptions::default();
    options.source.label_column = Some("kind".into());
    ingest(&csv, &folder.path().join("c"), &options, &Control::default()).unwrap();
    datasets.insert("c".into(), Arc::new(Dataset::open(folder.path().join("c")).unwrap()));
    let own: Vec<String> = datasets["c"].schema().columns.iter().map(|c| c.name.clone()).collect();
    let label = own.iter().find(|name| *name != "image").unwrap();
    let text = format!(
        "balance = {{ by = \"class\", power = 1.0 }}\ntail = \"pad\"\n[sources.a]\nrename = {{ class = \"label\" }}\n[sources.b]\nrename = {{ class = \"label\" }}\nwhere = \"class = 'hat'\"\n[sources.c]\nrename = {{ class = \"{label}\" }}"
    );
    let mut recipe: Recipe = recipe(&text);
    let column = recipe.columns.remove("label").unwrap();
    recipe.columns.insert("class".into(), column);
    let loader = recipe.mixed(&datasets).unwrap();
    assert_eq!(loader.classes("class").unwrap(), ["pants", "shoes", "hat", "common", "rare"]);
    let batches = all(&loader, 0);
    let classes = numbers(&batches, "class");
    let count = |class: i64| classes.iter().filter(|c| **c == class).count();
    assert!(count(3).abs_diff(count(4)) <= 1 && count(3) > 2, "{classes:?}");
    assert!(count(0).abs_diff(count(1)) <= 1 && count(2) > 0, "{classes:?}");
    let shares = loader.sequence().components[2].balance.as_ref().unwrap().shares();
    assert_eq!(shares.len(), 2);
    // Without the new name the column is not there.
    let wrong = Recipe { sources: self::recipe("").sources, ..recipe };
    datasets.remove("c");
    assert!(wrong.mixed(&datasets).unwrap_err().to_string().contains("class"));
}

#[test]
fn killed_on_three_ranks_and_resumed_on_two() {
    let folder = tempfile::tempdir().unwrap();
    let datasets = two(&folder);
    let mut recipe =
        recipe("tail = \"pad\"\nbalance = { by = \"label\", power = 1.0 }\nmixture = { exhausted = \"repeat\" }");
    recipe.batch = 2;
    let on = |rank, size| {
        let mut recipe = recipe.clone();
        recipe.run.world = World { rank, size };
        recipe.mixed(&datasets).unwrap()
    };
    let global: Vec<Batch> = all(&on(0, 1), 1);
    let bytes = |batch: &Batch| (0..batch.len()).flat_map(|n| sample_bytes(batch, n)).collect::<Vec<u8>>();
    for taken in 0..=global.len() / 3 {
        let mut got: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        let mut states = BTreeSet::new();
        for rank in 0..3 {
            let loader = on(rank, 3);
            let mut epoch = loader.epoch(1).unwrap();
            for batch in epoch.by_ref().take(taken) {
                let batch = batch.unwrap();
                got.insert(batch.place.batch, bytes(&batch));
            }
            states.insert(epoch.state().to_json());
        }
        assert_eq!(states.len(), 1);
        let json = states.pop_first().unwrap();
        assert!(json.len() <= 1024, "{json}");
        let state = State::from_json(&json).unwrap();
        for rank in 0..2 {
            for batch in on(rank, 2).resume(&state).unwrap() {
                let batch = batch.unwrap();
                assert!(got.insert(batch.place.batch, bytes(&batch)).is_none());
            }
        }
        for (n, want) in global.iter().enumerate() {
            assert_eq!(got.get(&(n as u64)), Some(&bytes(want)), "batch {n} after {taken} steps");
        }
    }
    // A version of one source more, and the state says which.
    let state = on(0, 1).epoch(0).unwrap().state();
    let mut changed = datasets.clone();
    changed.insert("b".into(), classes(&folder, "other", &[("pants", "hat"), ("shoes", "shoes")]));
    let message = recipe.mixed(&changed).unwrap().resume(&state).unwrap_err().to_string();
    assert!(message.contains("the dataset of b ") && !message.contains("of a"), "{message}");
    let mut other = recipe.clone();
    other.sources.get_mut("a").unwrap().weight = Some(2.0);
    let message = other.mixed(&datasets).unwrap().resume(&state).unwrap_err().to_string();
    assert!(message.contains("recipe") && !message.contains("dataset of"), "{message}");
}

#[test]
fn columns_that_a_source_lacks_are_absent_where_the_recipe_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut datasets = two(&folder);
    let plain = folder.path().join("plain");
    std::fs::create_dir_all(&plain).unwrap();
    std::fs::copy(fixture("images/train/pants/000_444.jpg"), plain.join("x.jpg")).unwrap();
    std::fs::write(plain.join("all.csv"), "path\nx.jpg\n").unwrap();
    ingest(&plain, &folder.path().join("p"), &IngestOptions::default(), &Control::default()).unwrap();
    datasets.insert("b".into(), Arc::new(Dataset::open(folder.path().join("p")).unwrap()));
    let message = recipe("").mixed(&datasets).unwrap_err().to_string();
    assert!(message.contains("\"b\" has no column \"label\"") && message.contains("absent"), "{message}");
    let recipe =
        recipe("mixture = { exhausted = \"drop\" }\ntail = \"pad\"\n[sources.a]\n[sources.b]\nabsent = [\"label\"]");
    let loader = recipe.mixed(&datasets).unwrap();
    let batches = all(&loader, 0);
    let (sources, labels) = (numbers(&batches, "source"), numbers(&batches, "label"));
    let of_b: Vec<i64> = sources.iter().zip(&labels).filter(|(s, _)| **s == 1).map(|(_, l)| *l).collect();
    assert_eq!(of_b, [-1]);
    let missing: Vec<bool> = batches
        .iter()
        .flat_map(|b| match &b.columns.iter().find(|c| c.0 == "label").unwrap().1 {
            Column::Dense(d) => {
                if d.missing.is_empty() {
                    vec![false; b.len()]
                } else {
                    d.missing.clone()
                }
            }
            other => panic!("{other:?}"),
        })
        .collect();
    for (n, source) in sources.iter().enumerate() {
        assert_eq!(missing[n], *source != 0, "sample {n}");
    }
    // A picture can be absent, too: zeros, and said to be missing.
    let mut recipe = recipe;
    recipe.sources.get_mut("b").unwrap().absent = vec!["image".into()];
    recipe.sources.get_mut("b").unwrap().split = None;
    recipe.columns.remove("label");
    datasets.insert("b".into(), digits());
    let loader = recipe.mixed(&datasets).unwrap();
    for batch in all(&loader, 0) {
        let Column::Dense(image) = &batch.columns.iter().find(|c| c.0 == "image").unwrap().1 else { panic!() };
        let size = image.packed().len() / batch.len();
        for (n, source) in batch.get::<i64>("source").unwrap().data.iter().enumerate() {
            assert_eq!(image.packed()[n * size..(n + 1) * size].iter().all(|b| *b == 0), *source != 0);
        }
    }
}

fn digits() -> Arc<Dataset> {
    made("digits", &IngestOptions::default()).dataset
}

#[test]
fn what_does_not_fit_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let datasets = two(&folder);
    let refused = |recipe: &Recipe, datasets: &BTreeMap<String, Arc<Dataset>>, parts: &[&str]| {
        let message = recipe.mixed(datasets).unwrap_err().to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    };
    // Pictures of sizes that differ from source to source, as nothing makes them alike.
    let mut digits = datasets.clone();
    digits.insert("b".into(), self::digits());
    let every = Recipe { columns: BTreeMap::new(), ..recipe("") };
    refused(&every, &digits, &["source \"b\" has no column \"image\""]);
    let renamed = recipe("[sources.a]\n[sources.b]\nrename = { image = \"audio\" }");
    refused(&renamed, &digits, &["\"image\"", "image and audio", "source \"a\"", "source \"b\""]);
    let wrong = |text: &str, parts: &[&str]| refused(&recipe(text), &datasets, parts);
    wrong("[sources.a]\nsplit = \"no\"\n[sources.b]", &["source \"a\" has no split \"no\""]);
    wrong("[sources.a]\nwhere = \"x = 1\"\n[sources.b]", &["source \"a\"", "x"]);
    wrong("[sources.a]\nrename = { label = \"class\" }\n[sources.b]", &["\"a\" has no column \"class\""]);
    wrong("[sources.a]\nrename = { image = \"label\" }\n[sources.b]", &["two columns \"image\""]);
    wrong("[sources.a]\nabsent = [\"label\"]\n[sources.b]", &["absent", "has a column \"label\""]);
    wrong("mixture = { column = \"label\" }", &["\"label\"", "column = \"origin\""]);
    wrong("mixture = { column = \"valid\" }", &["\"valid\"", "origin"]);
    wrong("[sources.a]\nrename = { x = \"label\", y = \"label\" }\n[sources.b]", &["two names for column \"label\""]);
    wrong("[sources.a]\nabsent = [\"typo\"]\n[sources.b]", &["no source has a column \"typo\""]);
    wrong("where = \"id = 'none'\"", &["no source has a row"]);
    wrong("[sources.a]\n[sources.c]", &["datasets [\"a\", \"b\"]", "sources [\"a\", \"c\"]"]);
    let mut none = recipe("");
    none.columns.insert("sound".into(), Default::default());
    refused(&none, &datasets, &["no source has a column \"sound\""]);
    let message = recipe("").loader(datasets["a"].clone()).unwrap_err().to_string();
    assert!(message.contains("sources"), "{message}");
    for (text, part) in [
        ("[sources.a]\nweight = 1\n[sources.b]", "\"b\" has no weight"),
        ("mixture = { exhausted = \"drop\" }", "a mixture without sources"),
        ("[sources.a]\nfold = { of = 2 }", "source \"a\": fold"),
        ("[sources.a]\npath = 3", "path"),
    ] {
        let message = match toml::from_str::<Recipe>(text) {
            Ok(recipe) => recipe.validate().unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_recipe_opens_what_it_names() {
    let folder = tempfile::tempdir().unwrap();
    two(&folder);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let recipe =
        recipe(&format!("[sources.a]\ndataset = {:?}\nversion = 1\n[sources.b]\ndataset = {:?}", path("a"), path("b")));
    let loader = recipe.open().unwrap();
    assert_eq!(loader.plan(0).samples(), loader.feeds().iter().map(|feed| feed.dataset.rows()).sum::<u64>());
    // Where the datasets lie is not in the digest.
    let moved = recipe.mixed(&two(&tempfile::tempdir().unwrap())).unwrap();
    assert_eq!(moved.recipe_digest(), loader.recipe_digest());
    assert_eq!(moved.dataset_digest(), loader.dataset_digest());
    assert!(recipe.mixed(&BTreeMap::new()).is_err());
}

#[test]
fn partners_from_one_source_are_only_its_rows_and_it_needs_no_weight() {
    let folder = tempfile::tempdir().unwrap();
    let datasets = two(&folder);
    let sources = "[sources.a]\nweight = 1\n[sources.b]\nweight = 0\n";
    let noisy = |more: &str| recipe(&format!("tail = \"pad\"\n{more}\n{sources}"));
    let with = noisy("partners = 1\npartners_from = \"b\"");
    let loader = with.mixed(&datasets).unwrap();
    let batches = all(&loader, 0);
    let valid: Vec<bool> = batches.iter().flat_map(|batch| batch.valid.clone()).collect();
    let mut partners = BTreeSet::new();
    let mut own = Vec::new();
    for (n, (source, id, ..)) in told(&loader, &batches).into_iter().enumerate().filter(|(n, _)| valid[*n]) {
        assert_eq!(source, if n % 2 == 0 { "a" } else { "b" }, "{n}");
        if n % 2 == 0 {
            own.push(id);
        } else {
            partners.insert(id);
        }
    }
    // All of a, each once, beside several of b.
    assert_eq!(own.len() as u64, datasets["a"].rows());
    assert_eq!(own.iter().collect::<BTreeSet<_>>().len(), own.len());
    assert!(partners.len() > 2, "{partners:?}");
    // The same samples as without, and the same on three ranks as on one.
    let alone = Recipe { batch: 2, ..noisy("") }.mixed(&datasets).unwrap();
    let plain: Vec<Vec<u8>> = told(&alone, &all(&alone, 0)).into_iter().map(|(.., image)| image).collect();
    let mixed: Vec<Vec<u8>> = told(&loader, &batches).into_iter().map(|(.., image)| image).collect();
    assert!((0..own.len()).all(|n| plain[n] == mixed[2 * n]));
    let mut dealt = BTreeMap::new();
    for rank in 0..3 {
        let mut ranked = with.clone();
        ranked.run.world = World { rank, size: 3 };
        let loader = ranked.mixed(&datasets).unwrap();
        dealt.extend(all(&loader, 0).iter().map(|batch| (batch.place.batch, batch.digest())));
    }
    assert!(batches.iter().all(|batch| dealt[&batch.place.batch] == batch.digest()));

    // Without a source they are of both, in proportion.
    let sources = "[sources.a]\nweight = 3\n[sources.b]\nweight = 1\n";
    let both =
        recipe(&format!("mixture = {{ exhausted = \"repeat\" }}\npartners = 3\n{sources}")).mixed(&datasets).unwrap();
    let mut of = BTreeMap::new();
    for epoch in 0..20 {
        for group in told(&both, &all(&both, epoch)).chunks(4) {
            for (source, ..) in &group[1..] {
                *of.entry(source.clone()).or_insert(0) += 1;
            }
        }
    }
    let share = f64::from(of["a"]) / f64::from(of["a"] + of["b"]);
    assert!((share - 0.75).abs() < 0.06, "{share}");

    for (text, part) in
        [("partners = 1\npartners_from = \"c\"", "no source \"c\""), ("partners_from = \"b\"", "no partners")]
    {
        let error = toml::from_str::<Recipe>(&format!("batch = 4\n{text}\n{sources}")).unwrap().validate().unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
    let empty = recipe(
        "partners = 1\npartners_from = \"b\"\n[sources.a]\nweight = 1\n[sources.b]\nweight = 0\nwhere = 'id = \"none\"'\n",
    );
    let error = empty.mixed(&datasets).unwrap_err().to_string();
    assert!(error.contains("partners_from") && error.contains("no row"), "{error}");
}
