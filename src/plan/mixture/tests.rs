use super::*;
use crate::rng::Key;

fn named(sources: &[(f64, u64)]) -> Vec<(String, f64, u64)> {
    sources.iter().enumerate().map(|(at, (weight, rows))| (format!("s{at}"), *weight, *rows)).collect()
}

fn of(mixture: &Mixture, sources: &[(f64, u64)]) -> Mixing {
    mixture.bind(&named(sources), 8).unwrap()
}

fn by(exhausted: Exhausted) -> Mixture {
    Mixture { exhausted, ..Mixture::default() }
}

/// What stands at every sample, and the counts of each source before each block and at the end; each source's samples come in order.
fn walked(mixing: &Mixing, epoch: u64) -> (Vec<usize>, Vec<Vec<u64>>) {
    let blended = Blended::new(mixing.blend(epoch), Key::new(5).with(epoch));
    let samples = blended.blend().samples();
    let (mut all, mut had, mut ends) = (Vec::new(), vec![0; mixing.sources()], Vec::new());
    for sample in 0..samples {
        if sample % BLOCK == 0 {
            ends.push(had.clone());
            assert_eq!(blended.blend().counts(sample / BLOCK).0, had);
        }
        let (source, nth) = blended.at(sample);
        assert_eq!(nth, had[source], "sample {sample} of source {source}");
        had[source] += 1;
        all.push(source);
    }
    assert_eq!(had, blended.all());
    ends.push(had);
    // Asked for backwards it is the same.
    let place = |n: &u64| blended.at(*n).0 == all[*n as usize];
    assert!((0..samples).rev().step_by(1 + samples as usize / 50).all(|n| place(&n)));
    (all, ends)
}

#[test]
fn counts_are_within_one_of_their_share_at_every_block() {
    let weights: &[&[f64]] = &[
        &[3.0, 1.0],
        &[0.7, 0.2, 0.1],
        &[1.0, 1.0, 1.0],
        &[0.999, 0.0005, 0.0003, 0.0002],
        &[0.123456789, 0.3, 0.0001],
        &[1.0, 0.0, 2.0],
        &[1.0; 40],
        &[5.0],
    ];
    for (seed, weights) in weights.iter().enumerate() {
        let mut stream = Key::new(seed as u64).stream();
        let sources: Vec<(f64, u64)> = weights.iter().map(|w| (*w, 1 + stream.below(9_000))).collect();
        let sum: f64 = weights.iter().sum();
        for exhausted in [Exhausted::Stop, Exhausted::Repeat] {
            let most = Mixture { samples: Some(30_000), ..by(exhausted) };
            let (samples, ends) = walked(&of(&most, &sources), 0);
            let n = samples.len() as f64;
            for (block, had) in ends.iter().enumerate() {
                let at = (block as f64 * BLOCK as f64).min(n);
                for (had, (weight, _)) in had.iter().zip(&sources) {
                    let due = at * weight / sum;
                    assert!((*had as f64 - due).abs() < 1.0, "{weights:?} block {block}: {had}, due {due}");
                }
            }
            let last = ends.last().unwrap();
            match exhausted {
                // One more sample, and a source would have none left.
                Exhausted::Stop => {
                    assert!(last.iter().zip(&sources).all(|(had, (_, rows))| had <= rows));
                    let beyond = |(weight, rows): &(f64, u64)| (n + 1.0) * weight / sum > *rows as f64 - 1e-6;
                    assert!(samples.len() == 30_000 || sources.iter().any(beyond), "{weights:?}: {n}");
                }
                _ => assert_eq!(samples.len(), 30_000),
            }
        }
    }
}

#[test]
fn repeating_goes_on_until_all_have_had_all_rows_and_no_further() {
    for sources in [vec![(3.0, 5_000), (1.0, 5_000)], vec![(1.0, 10), (1.0, 20_001), (0.5, 700)], vec![(2.0, 1)]] {
        let mixing = of(&by(Exhausted::Repeat), &sources);
        let (samples, ends) = walked(&mixing, 0);
        assert!(ends.last().unwrap().iter().zip(&sources).all(|(had, (_, rows))| had >= rows));
        let sum: f64 = sources.iter().map(|s| s.0).sum();
        let short = |(weight, rows): &(f64, u64)| (samples.len() as f64 - 1.0) * weight / sum < *rows as f64;
        assert!(sources.iter().any(short), "{sources:?}: {}", samples.len());
    }
}

#[test]
fn dropping_gives_every_row_once() {
    let many: Vec<(f64, u64)> = (0..30u32).map(|n| (f64::from(n % 7 + 1), u64::from(n * n * 13 % 2_000))).collect();
    for sources in [vec![(3.0, 5_000), (1.0, 9_000)], vec![(1.0, 0), (1.0, 4_095)], vec![(1.0, 0)], many] {
        let mixing = of(&by(Exhausted::Drop), &sources);
        let (samples, ends) = walked(&mixing, 0);
        let rows: Vec<u64> = sources.iter().map(|s| s.1).collect();
        assert_eq!(*ends.last().unwrap(), rows);
        assert_eq!(samples.len() as u64, rows.iter().sum::<u64>());
    }
    // While both have rows they come 3 to 1; then the other goes on alone.
    let (_, ends) = walked(&of(&by(Exhausted::Drop), &[(3.0, 6_000), (1.0, 9_000)]), 0);
    assert_eq!(ends[1], [3072, 1024]);
    assert_eq!(ends[2], [6000, 2192]);
    assert_eq!(ends[3], [6000, 6288]);
}

#[test]
fn weights_left_out_are_the_sizes() {
    let sources = [(1_281_167.0, 1_281_167), (50_000.0, 50_000), (31.0, 31)];
    let mixing = of(&Mixture::default(), &sources);
    assert_eq!(mixing.blend(0).samples(), 1_331_198);
    assert_eq!(mixing.blend(0).all(), [1_281_167, 50_000, 31]);
}

#[test]
fn phases_change_the_weights_with_a_block() {
    let weights = |a: f64, b: f64| BTreeMap::from([("s0".to_owned(), a), ("s1".to_owned(), b)]);
    let phase = |epoch, batch, a, b| Phase { epoch, batch, weights: weights(a, b) };
    // Batches of 8: batch 600 is sample 4,800, so the second phase begins with sample 8,192.
    let phases = vec![phase(0, 600, 1.0, 1.0), phase(2, 0, 0.0, 1.0), phase(2, 1024, 1.0, 3.0)];
    for exhausted in Exhausted::ALL {
        let mixture = Mixture { phases: phases.clone(), samples: Some(20_000), ..by(*exhausted) };
        let mixing = of(&mixture, &[(3.0, 40_000), (1.0, 40_000)]);
        let (first, second, third) = (walked(&mixing, 0).1, walked(&mixing, 1).1, walked(&mixing, 2).1);
        assert_eq!(first[1..=3], [[3072, 1024], [6144, 2048], [8192, 4096]].map(Vec::from), "{exhausted:?}");
        assert_eq!(second[1], [2048, 2048]);
        assert_eq!(third[1..=3], [[0, 4096], [0, 8192], [1024, 11264]].map(Vec::from));
        assert_eq!(third.last().unwrap().iter().sum::<u64>(), 20_000);
    }
    // The sources of a phase run out within a block, and within the samples: the next begins with a block.
    let mixture = Mixture { phases: vec![phase(0, 2_560, 1.0, 1.0)], samples: Some(10_000), ..by(Exhausted::Drop) };
    let all = walked(&of(&mixture, &[(1.0, 5_000), (0.0, 5_000)]), 0).1;
    assert_eq!(*all.last().unwrap(), [5_000, 5_000]);
    // What is left out at first comes later, and an epoch that repeats waits for it.
    let mixture = Mixture { phases: phases[1..].to_vec(), ..by(Exhausted::Repeat) };
    let all = walked(&of(&mixture, &[(0.0, 5_000), (1.0, 100)]), 2).1;
    assert!(all.last().unwrap()[0] >= 5_000);
    // What never comes (only as partners) is not waited for.
    let mixture = Mixture { phases: vec![phase(0, 1_000, 0.0, 1.0)], ..by(Exhausted::Repeat) };
    let mixing = of(&mixture, &[(0.0, 5_000), (1.0, 100)]);
    assert_eq!([mixing.blend(0).samples(), mixing.blend(1).samples()], [100, 100]);
    // Nor is it asked for rows.
    assert!(mixture.bind(&named(&[(0.0, 0), (1.0, 100)]), 8).is_ok());
    // Dropped, nothing is lost where a phase's sources run out before it ends.
    let mixture = Mixture { phases, ..by(Exhausted::Drop) };
    let all = walked(&of(&mixture, &[(3.0, 7_000), (1.0, 5_000)]), 2).1;
    assert_eq!(*all.last().unwrap(), [7_000, 5_000]);
}

#[test]
fn another_epoch_has_other_places_and_the_same_counts() {
    let mixing = of(&by(Exhausted::Stop), &[(3.0, 9_000), (1.0, 9_000)]);
    let (one, two) = (walked(&mixing, 0), walked(&mixing, 1));
    assert_eq!(one.1, two.1);
    assert_ne!(one.0, two.0);
    // No long runs: of 3,000 samples of the rarer of 3 to 1 in places drawn at random, a gap of 100 has a chance of 1e-9.
    let gap = one.0.split(|source| *source == 1).map(<[usize]>::len).max();
    assert!(gap < Some(100), "{gap:?}");
}

#[test]
fn what_says_nothing_is_refused() {
    let refused = |mixture: &Mixture, sources: &[(f64, u64)], part: &str| {
        let message = mixture.bind(&named(sources), 8).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    };
    let plain = Mixture::default();
    for wrong in [-1.0, f64::NAN, f64::INFINITY, 1e-12, 1e300] {
        refused(&plain, &[(1.0, 5), (wrong, 5)], "s1");
    }
    refused(&plain, &[(0.0, 5), (0.0, 5)], "no source");
    refused(&by(Exhausted::Repeat), &[(1.0, 5), (1.0, 0)], "a weight and no rows");
    refused(&plain, &[(1.0, 5), (1.0, 0)], "a weight and no rows");
    let phase = |batch, names: &[&str]| Phase {
        epoch: 0,
        batch,
        weights: names.iter().map(|name| ((*name).to_owned(), 1.0)).collect(),
    };
    let phases = |phases| Mixture { phases, ..Mixture::default() };
    refused(&phases(vec![phase(5, &["s0"])]), &[(1.0, 5), (1.0, 5)], "no weight for \"s1\"");
    refused(&phases(vec![phase(5, &["s0", "x"])]), &[(1.0, 5)], "no source");
    refused(&phases(vec![phase(5, &["s0"]), phase(5, &["s0"])]), &[(1.0, 5)], "too late");
    refused(&plain, &[(1.0, 1 << 60), (0.123_456_789, 1 << 60)], "too large a table");
    // Also where only a later epoch would need it.
    let late = Phase {
        epoch: 0,
        batch: 4_999_000_000,
        weights: BTreeMap::from([("s0".into(), 0.123_456_789), ("s1".into(), 1.0)]),
    };
    let repeat = Mixture { samples: Some(40_000_000_000), phases: vec![late], ..by(Exhausted::Repeat) };
    refused(&repeat, &[(1.0, 1_000), (1.0, 1_000)], "too large a table");
    // The same weights over fewer rows are fine, and so are many rows in plain proportions.
    assert!(plain.bind(&named(&[(1.0, 1 << 20), (0.123_456_789, 1 << 20)]), 8).is_ok());
    let huge = of(&plain, &[(3.0, 1 << 60), (1.0, 1 << 60)]);
    let blended = Blended::new(huge.blend(0), Key::new(1));
    let (source, nth) = blended.at(1 << 59);
    let share = [3u64, 1][source] << 57;
    assert!(nth.abs_diff(share) <= BLOCK, "{source} {nth} {share}");
    // One source alone is not drawn.
    let (sources, ends) = walked(&of(&plain, &[(1.0, 3 * BLOCK + 7)]), 0);
    assert!(sources.len() as u64 > 3 * BLOCK && sources.iter().all(|source| *source == 0) && ends.len() > 3);
}
