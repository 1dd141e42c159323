//! Parts of recordings as rows: what is stored of a part are the samples of its recording, whatever way it was cut in.

mod rows;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::common::{files, fixture};
use feedstock::Error;
use feedstock::codec::{Decoded, Limits, Scratch, Want, sniff};
use feedstock::data::info::Kind;
use feedstock::data::label::Value;
use feedstock::dataset::Dataset;
use feedstock::ingest::{Control, IngestOptions, MaxErrors, Refused, Summary, ingest};
use feedstock::source::{AudioChunks, ChunkTail};
use feedstock::store::fault::{FaultDisk, Kill, Op};
use feedstock::verify::verify;

/// Samples as bits, with channels and rate.
type Sound = (Vec<u32>, u32, u32);

fn decoded(bytes: &[u8]) -> Sound {
    let codec = sniff(bytes, Kind::Audio).unwrap();
    let mut scratch = Scratch::default();
    let decoded = codec.decode(bytes, Want::Whole, &Limits::default(), &mut scratch).unwrap();
    let Decoded::Wave(wave) = decoded else { panic!("no samples") };
    (wave.data.iter().map(|s| s.to_bits()).collect(), wave.channels, wave.rate)
}

/// Class folders of recordings: `split/class/name` from below `fixtures`.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (place, from) in files {
        let to = dir.path().join(place);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(fixture(from), to).unwrap();
    }
    dir
}

fn digits() -> tempfile::TempDir {
    folder(&[
        ("train/ada/0.wav", "digits/0_ada_0.wav"),
        ("train/ada/1.wav", "digits/1_ada_0.wav"),
        ("train/ben/0.wav", "digits/0_ben_0.wav"),
        ("test/ben/1.wav", "digits/1_ben_1.wav"),
        ("test/ada/2.mp3", "audio_formats/mp3_variable.mp3"),
    ])
}

fn options(chunks: Option<AudioChunks>) -> IngestOptions {
    let mut options = IngestOptions { max_errors: MaxErrors::ALL, shard_bytes: 20_000, ..IngestOptions::default() };
    options.source.audio_chunks = chunks;
    options
}

fn every(seconds: f64) -> AudioChunks {
    AudioChunks { seconds, ..AudioChunks::default() }
}

fn take(source: &Path, dataset: &Path, options: &IngestOptions) -> Result<(Summary, u64), Error> {
    let control = Control::default();
    let summary = ingest(source, dataset, options, &control)?;
    Ok((summary, control.decodes.load(Ordering::Relaxed)))
}

fn refused(error: Result<(Summary, u64), Error>) -> String {
    let error = error.unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    error.to_string()
}

/// Every row of a dataset in order: id, samples, and the small values behind the recording.
fn rows(dataset: &Path) -> Vec<(String, Sound, Vec<Value>)> {
    let report = verify(dataset, true).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    let dataset = Dataset::open(dataset).unwrap();
    let columns = dataset.schema().columns.len();
    let row = |at: u64| {
        let mut bytes = Vec::new();
        dataset.fetch_checked(at, 0, &mut bytes).unwrap();
        let (_, row) = dataset.index().locate(at);
        (row.id().to_owned(), decoded(&bytes), (1..columns).map(|i| row.value(i)).collect())
    };
    (0..dataset.rows()).map(row).collect()
}

fn quarantine(dataset: &Path, summary: &Summary) -> Vec<Refused> {
    let text = fs::read_to_string(dataset.join(summary.quarantine.as_ref().unwrap())).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// The samples of a part of a recording.
fn slice((samples, channels, rate): &Sound, from: usize, to: usize) -> Sound {
    let channel = *channels as usize;
    (samples[from * channel..to * channel].to_vec(), *channels, *rate)
}

#[test]
fn chunks_joined_are_the_whole_for_every_format() {
    let source = tempfile::tempdir().unwrap();
    let mut all = BTreeMap::new();
    for from in ["audio", "audio_formats"] {
        for entry in fs::read_dir(fixture(from)).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            let name = format!("{from}/{}", path.file_name().unwrap().to_str().unwrap());
            fs::create_dir_all(source.path().join(from)).unwrap();
            fs::copy(&path, source.path().join(&name)).unwrap();
            let codec = sniff(&bytes, Kind::Audio).unwrap();
            if codec.probe(&bytes, &Limits::default()).is_ok() {
                all.insert(name, decoded(&bytes));
            }
        }
    }
    assert!(all.len() >= 40, "{}", all.len());
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("d");
    let (summary, decodes) = take(source.path(), &target, &options(Some(every(0.03)))).unwrap();
    assert_eq!(decodes, all.len() as u64, "each recording is decoded once");
    let mut joined: BTreeMap<String, Sound> = BTreeMap::new();
    for (id, (samples, channels, rate), _) in rows(&target) {
        let (name, k) = id.rsplit_once('#').unwrap();
        let there = joined.entry(name.to_owned()).or_insert((Vec::new(), channels, rate));
        let length = (0.03 * f64::from(rate)).round() as usize;
        assert_eq!(there.0.len(), k.parse::<usize>().unwrap() * length * channels as usize, "{id}");
        there.0.extend(samples);
    }
    for (name, whole) in &all {
        assert!(joined[name] == *whole, "{name}");
    }
    assert_eq!(joined.len(), all.len());
    // A recording whose header cannot be read is one refusal, not one for each of its rows.
    let refused = quarantine(&target, &summary);
    assert!(refused.iter().all(|r| !r.id.contains('#') && r.reason == "unsupported"), "{refused:?}");
    assert!(summary.rows > 300, "{summary:?}");
}

#[test]
fn labels_and_splits_are_the_recordings() {
    let (source, dir) = (digits(), tempfile::tempdir().unwrap());
    let target = dir.path().join("d");
    take(source.path(), &target, &options(Some(every(0.1)))).unwrap();
    let dataset = Dataset::open(&target).unwrap();
    let stored = dataset.schema().columns[0].stored.clone().unwrap();
    let expected = serde_json::json!({
        "of": "audio", "codec": "lossless",
        "excerpts": {"chunks": {"seconds": 0.1, "stride": 0.1, "tail": "keep", "min_seconds": 0.0}},
    });
    assert_eq!(serde_json::Value::Object(stored.parameters), expected);
    assert_eq!(stored.made_by, ["excerpt 1", "lossless 1 (flac 1, wav 1)"]);
    let mut formats = BTreeMap::new();
    for at in 0..dataset.rows() {
        let (segment, row) = dataset.index().locate(at);
        let split = dataset.index().segments()[segment].shard(row.shard()).unwrap().1.split;
        let (folder, rest) = row.id().split_once('/').unwrap();
        assert_eq!(split, folder, "{}", row.id());
        assert_eq!(row.value(1), Value::Int(i64::from(rest.starts_with("ben"))), "{}", row.id());
        let format = row.payload(0).unwrap().info.format;
        *formats.entry((rest.ends_with('3') || rest.contains("mp3"), format.name())).or_insert(0) += 1;
    }
    // Integers as FLAC, what MP3 decodes to as floats; but for its silence.
    let kinds: Vec<_> = formats.keys().collect();
    assert_eq!(kinds, [&(false, "flac"), &(true, "flac"), &(true, "wav")]);
}

#[test]
fn threads_and_memory_change_nothing() {
    let (source, dir) = (digits(), tempfile::tempdir().unwrap());
    let mut first = None;
    for (threads, decode_memory) in [(1, 2 << 30), (2, 2 << 30), (4, 2 << 30), (4, 100_000), (3, 1)] {
        let target = dir.path().join(format!("{threads}-{decode_memory}"));
        let options = IngestOptions { threads, decode_memory, shard_bytes: 8000, ..options(Some(every(0.05))) };
        let (summary, decodes) = take(source.path(), &target, &options).unwrap();
        assert_eq!(decodes, 5);
        assert!(summary.shards > 2, "{summary:?}");
        let written = files(&target);
        assert!(*first.get_or_insert_with(|| written.clone()) == written, "{threads} threads, {decode_memory} bytes");
    }
}

/// 8 s at 8 kHz: a digit again and again.
fn long() -> Vec<u8> {
    let wav = fs::read(fixture("digits/0_ada_0.wav")).unwrap();
    let sound: Vec<u8> = wav[44..].iter().copied().cycle().take(128_000).collect();
    let mut long = wav[..44].to_vec();
    long[4..8].copy_from_slice(&(36 + 128_000u32).to_le_bytes());
    long[40..44].copy_from_slice(&128_000u32.to_le_bytes());
    long.extend(sound);
    long
}

/// 600 rows are three stretches of work, and one decode.
#[test]
fn a_recording_of_many_rows_is_decoded_once() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("s/x")).unwrap();
    let long = long();
    fs::write(dir.path().join("s/x/long.wav"), &long).unwrap();
    let dense = AudioChunks { seconds: 0.5, stride: Some(0.0125), tail: ChunkTail::Drop, min_seconds: 0.0 };
    let target = dir.path().join("d");
    let (summary, decodes) = take(&dir.path().join("s"), &target, &options(Some(dense))).unwrap();
    assert_eq!((summary.rows, decodes), (601, 1));
    let whole = decoded(&long);
    for (at, (id, sound, _)) in rows(&target).into_iter().enumerate() {
        assert_eq!(id, format!("x/long.wav#{at}"));
        assert!(sound == slice(&whole, at * 100, at * 100 + 4000), "{id}");
    }
}

#[test]
fn a_second_ingest_adds_nothing_and_decodes_nothing() {
    let (source, dir) = (digits(), tempfile::tempdir().unwrap());
    let target = dir.path().join("d");
    let (first, _) = take(source.path(), &target, &options(Some(every(0.1)))).unwrap();
    // What the dataset is made of need not be said again.
    let said = AudioChunks { stride: Some(0.1), ..every(0.1) };
    for again in [options(Some(every(0.1))), options(Some(said)), options(None)] {
        let (summary, decodes) = take(source.path(), &target, &again).unwrap();
        assert_eq!((summary.rows, summary.skipped, summary.version, decodes), (0, first.rows, 1, 0));
    }
    // Another recording under the same name: its rows are other ones.
    fs::copy(fixture("digits/3_ada_0.wav"), source.path().join("train/ada/0.wav")).unwrap();
    let (summary, _) = take(source.path(), &target, &options(None)).unwrap();
    let taken = quarantine(&target, &summary);
    assert!(!taken.is_empty() && taken.iter().all(|r| r.reason == "id-taken" && r.id.starts_with("train/ada/0.wav#")));
    // More recordings go on as the dataset was begun.
    let more = folder(&[("train/ada/new.wav", "digits/2_ada_0.wav")]);
    let (summary, decodes) = take(more.path(), &target, &options(None)).unwrap();
    assert_eq!((summary.rows, decodes), (2, 1), "1,600 samples");
    let other = refused(take(more.path(), &target, &options(Some(every(0.2)))));
    assert!(other.contains("chunks of 0.1 s") && other.contains("chunks of 0.2 s"), "{other}");
    let whole = dir.path().join("whole");
    take(more.path(), &whole, &options(None)).unwrap();
    let other = refused(take(source.path(), &whole, &options(Some(every(0.1)))));
    assert!(other.contains("the source's own bytes"), "{other}");
}

#[test]
fn what_is_stored_of_a_part_is_what_is_asked() {
    let (source, dir) = (digits(), tempfile::tempdir().unwrap());
    let whole = decoded(&fs::read(fixture("digits/0_ada_0.wav")).unwrap());
    for (name, prepare, mode) in [
        ("raw", serde_json::json!({"store": "raw"}), "raw"),
        ("wav", serde_json::json!({"audio": {"codec": "wav"}}), "raw"),
        ("flac", serde_json::json!({"audio": {"codec": "flac"}}), "encoded"),
        ("rate", serde_json::json!({"audio": {"rate": 4000, "codec": "lossless"}}), "encoded"),
    ] {
        let target = dir.path().join(name);
        let mut options = options(Some(every(0.1)));
        options.prepare = serde_json::from_value(prepare).unwrap();
        take(source.path(), &target, &options).unwrap();
        let stored = Dataset::open(&target).unwrap().schema().columns[0].stored.clone().unwrap();
        assert_eq!(stored.mode.name(), mode);
        let row = rows(&target).into_iter().find(|(id, ..)| id == "train/ada/0.wav#2").unwrap();
        if name == "rate" {
            assert_eq!((row.1.0.len(), row.1.2), (400, 4000));
        } else {
            assert!(row.1 == slice(&whole, 1600, 2400), "{name}");
        }
    }
    let mut options = options(Some(every(0.1)));
    options.prepare = serde_json::from_value(serde_json::json!({
        "columns": {"audio": {"ops": [{"op": "resample", "rate": 4000}, {"op": "to", "dtype": "f32"}]}}
    }))
    .unwrap();
    let target = dir.path().join("ops");
    let (summary, _) = take(source.path(), &target, &options).unwrap();
    assert!(summary.rows > 10 && summary.quarantined == 0, "{summary:?}");
}

#[test]
fn damage_refuses_the_recording_with_every_part() {
    let source = digits();
    let flac = fs::read(fixture("audio/mono_16bit_44100.flac")).unwrap();
    let mut damaged = flac.clone();
    let at = flac.len() - flac.len() / 4;
    damaged[at] ^= 0x55;
    fs::write(source.path().join("train/ada/damaged.flac"), &damaged).unwrap();
    // Nothing but the checksum of the samples, in STREAMINFO, tells that these are other ones.
    let mut other = flac.clone();
    other[26] ^= 1;
    fs::write(source.path().join("train/ada/other.flac"), &other).unwrap();
    fs::write(source.path().join("train/ada/none.wav"), b"RIFF....WAVE").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("d");
    let (summary, _) = take(source.path(), &target, &options(Some(every(0.01)))).unwrap();
    let refused = quarantine(&target, &summary);
    let told: Vec<_> = refused.iter().map(|r| (r.id.as_str(), r.reason.as_str())).collect();
    let count = (decoded(&flac).0.len() as u64).div_ceil(441);
    assert!(count > 3);
    let expected = [
        ("train/ada/none.wav", "truncated"),
        ("train/ada/damaged.flac#0", "corrupt"),
        ("train/ada/other.flac#0", "corrupt"),
    ];
    assert_eq!(told, expected);
    assert_eq!(summary.quarantined, 3);
    let parts = format!("({count} rows are parts of this recording)");
    assert!(refused[1..].iter().all(|r| r.message.ends_with(&parts)), "{refused:?}");
    assert!(rows(&target).iter().all(|(id, ..)| !id.contains(".flac")));
}

/// One damaged recording of many is no reason to stop, however many rows it would have had; a share is one of rows.
#[test]
fn a_damaged_recording_is_one_error_and_a_share_of_the_rows() {
    let source = tempfile::tempdir().unwrap();
    fs::create_dir_all(source.path().join("x")).unwrap();
    let flac = fs::read(fixture("audio/mono_16bit_44100.flac")).unwrap();
    let (rows, whole) = ((decoded(&flac).0.len() as u64).div_ceil(441), 20);
    assert!(rows > 10);
    for at in 0..whole {
        let mut bytes = flac.clone();
        if at == 7 {
            bytes[flac.len() - flac.len() / 4] ^= 0x55;
        }
        fs::write(source.path().join(format!("x/{at}.flac")), bytes).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let target = |name: &str| dir.path().join(name.replace(['|', '%'], "_"));
    let take = |limit: &str, stop: Option<u64>| {
        let mut options = IngestOptions { max_errors: limit.parse().unwrap(), ..options(Some(every(0.01))) };
        options.shard_bytes = 8_000;
        let mut control = Control::default();
        let cancel = Arc::clone(&control.cancel);
        control.progress = Some(Box::new(move |p| cancel.store(stop.is_some_and(|s| p.done >= s), Ordering::Relaxed)));
        ingest(source.path(), &target(limit), &options, &control)
    };
    let summary = take("10|1%", None).unwrap();
    assert_eq!((summary.rows, summary.quarantined), (rows * (whole - 1), 1), "{summary:?}");
    let refused = quarantine(&target("10|1%"), &summary);
    // Stopped behind it and gone on with: the same line once, and the same shards.
    let all = rows * whole;
    assert!(all > 400, "{all} rows: more than one stretch of work");
    assert!(matches!(take("1", Some(256)), Err(Error::Interrupted)));
    let again = take("1", None).unwrap();
    assert_eq!(quarantine(&target("1"), &again), refused);
    assert!(files(&target("1").join("data")) == files(&target("10|1%").join("data")));
    assert_eq!(take("5%", None).unwrap().quarantined, 1, "one of twenty");
    for limit in ["0", "4%"] {
        assert!(matches!(take(limit, None), Err(Error::QuarantineLimit { refused: 1, .. })), "{limit}");
    }
}

#[test]
fn a_part_has_the_limit_of_samples_and_all_of_it_that_of_decoded_bytes() {
    let source = folder(&[("x/a.wav", "digits/0_ada_0.wav")]);
    let count = decoded(&fs::read(fixture("digits/0_ada_0.wav")).unwrap()).0.len() as u64;
    let dir = tempfile::tempdir().unwrap();
    let take = |name: &str, samples: u64, decoded_bytes: u64| {
        let mut options = options(Some(every(0.1)));
        (options.limits.samples, options.limits.decoded_bytes) = (samples, decoded_bytes);
        let done = take(source.path(), &dir.path().join(name), &options);
        done.map(|(summary, _)| summary.rows).map_err(|e| e.to_string())
    };
    let all = count.div_ceil(800);
    assert!(count > 2000 && !count.is_multiple_of(800));
    assert_eq!(take("enough", 800, count * 4), Ok(all));
    // The tail has fewer.
    assert_eq!(take("parts", 799, count * 4), Ok(1));
    assert!(take("whole", 800, count * 4 - 4).is_err());
}

#[test]
fn a_run_that_was_stopped_goes_on_to_the_same_shards() {
    let (source, dir) = (digits(), tempfile::tempdir().unwrap());
    fs::write(source.path().join("train/ada/long.wav"), long()).unwrap();
    let dense = AudioChunks { seconds: 0.05, stride: Some(0.01), ..AudioChunks::default() };
    let whole = dir.path().join("whole");
    let options = IngestOptions { threads: 2, shard_bytes: 30_000, ..options(Some(dense)) };
    let (undisturbed, _) = take(source.path(), &whole, &options).unwrap();
    assert!(undisturbed.rows > 900 && undisturbed.shards > 4, "{undisturbed:?}");
    let expected = files(&whole);
    let mut stopped = 0;
    for stop in [0, 1, 300, 600] {
        let target = dir.path().join(format!("stopped{stop}"));
        let mut control = Control::default();
        let cancel = Arc::clone(&control.cancel);
        control.progress = Some(Box::new(move |p| {
            if p.total > 0 {
                cancel.store(p.done >= stop, Ordering::Relaxed);
            }
        }));
        match ingest(source.path(), &target, &options, &control) {
            Err(Error::Interrupted) => stopped += 1,
            other => assert!(other.is_ok(), "{other:?}"),
        }
        let (_, decodes) = take(source.path(), &target, &options).unwrap();
        assert!(decodes <= 6, "{decodes}");
        assert!(files(&target) == expected, "stopped at {stop}");
    }
    assert_eq!(stopped, 4);
}

/// Killed anywhere and run again on other threads: the same files, and no recording decoded whose rows are all in shards.
#[test]
fn a_run_that_was_killed_goes_on_to_the_same_shards() {
    let (source, dir) = (digits(), tempfile::tempdir().unwrap());
    let run = |dataset: &Path, threads: usize, disk: Option<Arc<FaultDisk>>| {
        let mut control = Control::default();
        if let Some(disk) = disk {
            control.disk = Some(disk);
        }
        let options = IngestOptions { threads, shard_bytes: 6_000, ..options(Some(every(0.05))) };
        (ingest(source.path(), dataset, &options, &control), control.decodes.load(Ordering::Relaxed))
    };
    let whole = dir.path().join("whole");
    let disk = Arc::new(FaultDisk::new(Kill::Never));
    let summary = run(&whole, 1, Some(Arc::clone(&disk))).0.unwrap();
    assert!(summary.shards >= 5, "{summary:?}");
    let undisturbed = files(&whole);
    let written: u64 = disk.seen().iter().filter(|s| s.op == Op::Write).map(|s| s.bytes as u64).sum();
    let mut seen = std::collections::BTreeSet::new();
    for draw in 0..16 {
        let byte = written * draw / 16 + 11;
        let target = dir.path().join(format!("{draw}"));
        let faulty = Arc::new(FaultDisk::new(Kill::AtByte(byte)));
        let killed = run(&target, 4, Some(Arc::clone(&faulty))).0;
        assert!(faulty.died().is_some() && (killed.is_err() || Dataset::open(&target).is_ok()), "byte {byte}");
        let (again, decodes) = run(&target, 2, None);
        assert_eq!(again.unwrap().version, 1, "byte {byte}");
        assert!(files(&target) == undisturbed, "byte {byte} of {written}");
        seen.insert(decodes);
    }
    assert!(seen.first() < Some(&2) && seen.last() == Some(&5), "recordings decoded again: {seen:?}");
}

#[test]
fn recordings_that_are_all_tail_are_told() {
    let (source, dir) = (digits(), tempfile::tempdir().unwrap());
    let drop = AudioChunks { tail: ChunkTail::Drop, ..every(0.45) };
    let target = dir.path().join("d");
    let (summary, _) = take(source.path(), &target, &options(Some(drop))).unwrap();
    let told =
        summary.notes.iter().find(|n| n.contains("shorter than a chunk")).unwrap_or_else(|| panic!("{summary:?}"));
    let told: u64 = told.split(' ').next().unwrap().parse().unwrap();
    let with_rows = rows(&target).into_iter().filter(|(id, ..)| id.ends_with("#0")).count() as u64;
    assert_eq!(told + with_rows, 5);
    assert!(told > 0 && with_rows > 0);
}
