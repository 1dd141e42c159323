//! How well near duplicates are found: precision and recall of each method on labelled copies, and how thresholds were chosen.
//!
//! `benches/duplicates/copies.py DATA COPIES` makes the copies, `cargo bench --bench near -- COPIES [KIND..]` prints the tables of docs/duplicates.md. Thresholds are looked for
//! among every second original with its copies (`choose`), and what is reported is measured on the others (`report`).
//! Pairs of different originals are taken for different things: those that come out as alike are printed, to be looked at.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{head, machine, measures, row};
use feedstock::clock::Mark;
use feedstock::codec::{Limits, Scratch, Want, decode_shown, sniff};
use feedstock::data::info::Kind;
use feedstock::fingerprint::{Method, clip_times, of_kind};
use rayon::prelude::*;

/// The folders of `copies.py`.
const KINDS: &[(&str, Kind)] =
    &[("pictures", Kind::Image), ("sounds", Kind::Audio), ("texts", Kind::Text), ("clips", Kind::Video)];
/// Pairs below this similarity are not kept.
const FLOOR: f64 = 0.5;

/// A payload's fingerprint.
struct Seen {
    transformation: String,
    stem: String,
    sketch: Option<Vec<u8>>,
    keys: Vec<u64>,
    seconds: f64,
}

/// What is measured of one transformation.
#[derive(Default)]
struct Tally {
    copies: usize,
    /// Similarity of each copy to its original, and whether they share a key.
    own: Vec<(f64, bool)>,
    /// Similarities of copies to other originals that share a key.
    others: Vec<f64>,
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    found.sort();
    found
}

fn name(path: &Path, stem: bool) -> String {
    let name = if stem { path.file_stem() } else { path.file_name() };
    name.unwrap_or_default().to_string_lossy().into_owned()
}

fn look(path: &Path, transformation: &str, method: &Method) -> Option<Seen> {
    let (bytes, limits, mut scratch) = (std::fs::read(path).ok()?, Limits::default(), Scratch::default());
    let codec = sniff(&bytes, method.kind).ok()?;
    let info = codec.probe(&bytes, &limits).ok()?;
    let times = clip_times(&info);
    let want = if method.kind == Kind::Video { Want::Video { times_us: &times } } else { Want::Whole };
    let decoded = decode_shown(codec, bytes.as_slice(), want, &info, &limits, &mut scratch).ok()?;
    let mark = Mark::now();
    let sketch = (method.sketch)(&decoded).ok()?;
    let keys = sketch.as_deref().map(method.keys).unwrap_or_default();
    let seconds = mark.elapsed().as_secs_f64();
    Some(Seen { transformation: transformation.into(), stem: name(path, true), sketch, keys, seconds })
}

/// Originals by key.
fn by_key<'s>(originals: &[&'s Seen]) -> BTreeMap<u64, Vec<&'s Seen>> {
    let mut found: BTreeMap<u64, Vec<&Seen>> = BTreeMap::new();
    originals.iter().for_each(|seen| seen.keys.iter().for_each(|key| found.entry(*key).or_default().push(seen)));
    found
}

/// The others that share a key with it, without repetition.
fn candidates<'s>(of: &Seen, keys: &BTreeMap<u64, Vec<&'s Seen>>) -> Vec<&'s Seen> {
    let mut found: Vec<&Seen> = of.keys.iter().filter_map(|key| keys.get(key)).flatten().copied().collect();
    found.sort_by(|a, b| a.stem.cmp(&b.stem));
    found.dedup_by(|a, b| a.stem == b.stem);
    found.retain(|seen| seen.stem != of.stem);
    found
}

fn similarity(method: &Method, a: &Seen, b: &Seen) -> f64 {
    a.sketch.as_deref().zip(b.sketch.as_deref()).map_or(0.0, |(x, y)| (method.similarity)(x, y))
}

fn part(of: usize, among: usize) -> String {
    if among == 0 { "-".into() } else { format!("{:.3}", of as f64 / among as f64) }
}

fn half(method: &Method, seen: &[&Seen], which: &str) {
    let originals: Vec<&Seen> = seen.iter().copied().filter(|s| s.transformation == "original").collect();
    let keys = by_key(&originals);
    let stems: BTreeMap<&str, &Seen> = originals.iter().map(|s| (s.stem.as_str(), *s)).collect();
    // Pairs of originals, each once.
    let mut close: Vec<(f64, &str, &str)> = Vec::new();
    let mut compared = 0usize;
    for a in &originals {
        for b in candidates(a, &keys).into_iter().filter(|b| b.stem > a.stem) {
            compared += 1;
            close.push((similarity(method, a, b), &a.stem, &b.stem));
        }
    }
    close.retain(|(s, ..)| *s >= FLOOR);
    close.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for copy in seen.iter().filter(|s| s.transformation != "original") {
        let Some(own) = stems.get(copy.stem.as_str()) else { continue };
        let tally = tallies.entry(&copy.transformation).or_default();
        tally.copies += 1;
        tally
            .own
            .push((similarity(method, own, copy), own.keys.iter().any(|key| copy.keys.binary_search(key).is_ok())));
        tally.others.extend(
            candidates(copy, &keys).iter().map(|other| similarity(method, other, copy)).filter(|s| *s >= FLOOR),
        );
    }
    let pairs = originals.len() * originals.len().saturating_sub(1) / 2;
    println!();
    println!(
        "{which}: {} originals, {pairs} pairs of them, of which {compared} share a key ({:.2} a row)",
        originals.len(),
        2.0 * compared as f64 / originals.len().max(1) as f64
    );
    if which == "choose" {
        head(&[
            "threshold",
            "pairs of originals found",
            "copies found",
            "other originals found for copies",
            "precision",
        ]);
        for n in (50..100).rev() {
            let threshold = f64::from(n) / 100.0;
            let among = close.iter().filter(|(s, ..)| *s >= threshold).count();
            let own = tallies.values().flat_map(|t| &t.own).filter(|(s, key)| *key && *s >= threshold).count();
            let others = tallies.values().flat_map(|t| &t.others).filter(|s| **s >= threshold).count();
            let all: usize = tallies.values().map(|t| t.copies).sum();
            let copies = format!("{own} ({})", part(own, all));
            row(&[format!("{threshold:.2}"), among.to_string(), copies, others.to_string(), part(own, own + others)]);
        }
    } else {
        head(&["copy", "copies", "recall", "without keys", "wrong", "precision", "least similar in 100"]);
        let mut rows: Vec<(&&str, &Tally)> = tallies.iter().collect();
        let found = |t: &Tally| t.own.iter().filter(|(s, key)| *key && *s >= method.threshold).count();
        rows.sort_by_key(|(_, t)| std::cmp::Reverse(found(t)));
        for (name, tally) in rows {
            let alike = tally.own.iter().filter(|(s, _)| *s >= method.threshold).count();
            let wrong = tally.others.iter().filter(|s| **s >= method.threshold).count();
            let mut own: Vec<f64> = tally.own.iter().map(|(s, _)| *s).collect();
            own.sort_by(f64::total_cmp);
            let found = found(tally);
            row(&[
                (*name).to_owned(),
                tally.copies.to_string(),
                part(found, tally.copies),
                part(alike, tally.copies),
                wrong.to_string(),
                part(found, found + wrong),
                format!("{:.3}", own.get(own.len() / 100).copied().unwrap_or(f64::NAN)),
            ]);
        }
        let wrong = close.iter().filter(|(s, ..)| *s >= method.threshold).count();
        println!();
        println!("pairs of originals above the threshold: {wrong}");
    }
    close.iter().take(20).for_each(|(s, a, b)| eprintln!("{which}: {s:.3} {a} {b}"));
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let copies = arguments.first().map(PathBuf::from).filter(|_| measures());
    let Some(copies) = copies else {
        println!("cargo bench --bench near -- COPIES: the folder that benches/duplicates/copies.py makes");
        return;
    };
    println!("{}", machine());
    let pool = feedstock::parallel::pool(0).expect("threads");
    for (folder, kind) in KINDS {
        let wanted = arguments.len() == 1 || arguments[1..].iter().any(|a| a == folder);
        let Some(method) = of_kind(*kind).filter(|_| wanted) else { continue };
        let all: Vec<(String, PathBuf)> = files(&copies.join(folder))
            .iter()
            .flat_map(|t| files(t).into_iter().map(|path| (name(t, false), path)))
            .collect();
        let seen: Vec<Option<Seen>> = pool.install(|| all.par_iter().map(|(t, path)| look(path, t, method)).collect());
        let bad = seen.iter().filter(|s| s.is_none()).count();
        let seen: Vec<Seen> = seen.into_iter().flatten().collect();
        let none = seen.iter().filter(|s| s.sketch.is_none()).count();
        let mean = |of: &dyn Fn(&Seen) -> f64| seen.iter().map(of).sum::<f64>() / seen.len().max(1) as f64;
        println!();
        println!("## {folder}: {} {}, threshold {}", method.name, method.version, method.threshold);
        println!();
        println!(
            "{} payloads, {bad} not decoded, {none} without a sketch; means: {:.0} bytes, {:.1} keys, {:.3} ms for both",
            all.len(),
            mean(&|s| s.sketch.as_ref().map_or(0.0, |sketch| sketch.len() as f64)),
            mean(&|s| s.keys.len() as f64),
            1e3 * mean(&|s| s.seconds)
        );
        let mut originals: Vec<&str> =
            seen.iter().filter(|s| s.transformation == "original").map(|s| s.stem.as_str()).collect();
        originals.sort_unstable();
        for (n, which) in ["choose", "report"].into_iter().enumerate() {
            let here = |s: &&Seen| originals.binary_search(&s.stem.as_str()).is_ok_and(|at| at % 2 == n);
            half(method, &seen.iter().filter(here).collect::<Vec<_>>(), which);
        }
    }
}
