use super::super::tests::{self as video, Chance, container, read};
use super::*;
use crate::codec::parts::tests::Noted;
use crate::codec::{Codec, Decoded, Scratch, Want};

/// The clips of all codings, and one whose parameter sets change twice on the way.
fn clips() -> Vec<(String, Vec<u8>, serde_json::Value)> {
    let name = "clips_seek/changing_sets.mp4";
    let mut clips = video::clips();
    clips.push((name.to_owned(), read(name), serde_json::json!({"codec": "h264"})));
    clips
}

/// What was decoded: frames, size, pixels, times.
type Frames = (usize, (u32, u32), Vec<u8>, Vec<i64>);

fn owned(decoded: Result<Decoded<'_>, Fault>) -> Result<Frames, Fault> {
    match decoded? {
        Decoded::Pixels(p) => Ok((p.frames, (p.width, p.height), p.data.to_vec(), p.pts_us.to_vec())),
        other => panic!("{other:?}"),
    }
}

/// A want of times or of a range, to be kept.
#[derive(Debug)]
enum Wanted {
    Whole,
    At(Vec<i64>),
    Keys(i64, i64, u64),
}

impl Wanted {
    fn want(&self) -> Want<'_> {
        match self {
            Wanted::Whole => Want::Whole,
            Wanted::At(times_us) => Want::Video { times_us },
            &Wanted::Keys(from_us, to_us, most) => Want::Keys { from_us, to_us, most },
        }
    }
}

/// All, each frame by itself, frames by chance, keys of the whole and of parts.
fn wants(times: &[i64]) -> Vec<Wanted> {
    let mut chance = Chance(times.len() as u64);
    let last = times[times.len() - 1];
    let mut wants = vec![Wanted::Whole, Wanted::At(Vec::new()), Wanted::At(vec![last, last])];
    wants.extend(times.iter().step_by(1 + times.len() / 40).map(|time| Wanted::At(vec![*time])));
    for round in 0..12 {
        let mut some: Vec<i64> =
            (0..1 + round % 5).map(|_| chance.below(last as u64 + 200_000) as i64 - 50_000).collect();
        some.sort_unstable();
        wants.push(Wanted::At(some));
        let from = chance.below(last as u64 + 1) as i64;
        wants.push(Wanted::Keys(from, from + chance.below(1_000_000) as i64, 1 + round));
    }
    wants.push(Wanted::Keys(i64::MIN, i64::MAX, u64::MAX));
    wants
}

/// Whatever is wanted of whatever clip comes from its table and parts as it does from all of its bytes.
#[test]
fn parts_decode_as_the_whole_does() {
    let limits = Limits::default();
    let (mut whole, mut apart) = (Scratch::default(), Scratch::default());
    let mut codings = std::collections::BTreeSet::new();
    let mut saved = 0;
    for (name, bytes, facts) in clips() {
        let codec = container(&bytes);
        let table = codec.seek_table(&bytes, &limits).unwrap().unwrap_or_else(|| panic!("{name} has no table"));
        assert_eq!(codec.seek_table(&bytes, &limits).unwrap().unwrap(), table, "{name}");
        codings.insert(facts["codec"].as_str().unwrap().to_owned());
        let times = owned(codec.decode(&bytes, Want::Whole, &limits, &mut whole)).unwrap().3;
        for wanted in wants(&times) {
            let source = Noted::new(&bytes);
            let parts = owned(codec.decode_parts(&table, &source, wanted.want(), &limits, &mut apart));
            let all = owned(codec.decode(&bytes, wanted.want(), &limits, &mut whole));
            assert!(parts == all && all.is_ok(), "{name}: {wanted:?}");
            saved += usize::from(source.read() < bytes.len() as u64 / 2);
        }
    }
    assert!(saved > 500, "{saved} wants read less than half");
    let here = 3 + usize::from(cfg!(feature = "av1")) + usize::from(cfg!(feature = "image"));
    assert_eq!(codings.len(), here, "{codings:?}");
}

/// A frame costs the bytes of its group of pictures, of the one before if it is a leading picture of an open group, and of the samples
/// that bring parameter sets.
#[test]
fn a_frame_costs_its_own_group() {
    let limits = Limits::default();
    let mut scratch = Scratch::default();
    let (mut inside, mut fallen) = (0, 0);
    for (name, bytes, _) in clips() {
        let codec = container(&bytes);
        let table = codec.seek_table(&bytes, &limits).unwrap().unwrap();
        let clip = open(&table, bytes.len() as u64, &limits).unwrap();
        let samples = &clip.track.samples;
        let groups: Vec<usize> =
            (0..samples.len()).filter(|&at| samples[at].entry.is_some_and(|e| e != Entry::None)).collect();
        let primers: u64 = clip.changes.iter().flatten().map(|&at| samples[at].size).sum();
        for &at in &clip.track.shown {
            let time = samples[at].pts_us;
            let source = Noted::new(&bytes);
            codec.decode_parts(&table, &source, Want::Video { times_us: &[time] }, &limits, &mut scratch).unwrap();
            let mut group = groups.partition_point(|&entry| entry <= at) - 1;
            if samples[groups[group]].entry == Some(Entry::Open) && time < samples[groups[group]].pts_us {
                group = group.saturating_sub(1);
            }
            // What lies between the samples of a group is read with them, all of these clips being small.
            let span = samples[groups[group]..=at].iter().map(Sample::range);
            let (start, end) = span.fold((u64::MAX, 0), |(start, end), r| (start.min(r.start), end.max(r.end)));
            if source.reads.borrow().len() > 1 {
                fallen += 1; // a leading picture of an open group in front of it could not be decoded
                continue;
            }
            let between = if primers > 0 { start } else { 0 };
            assert!(source.read() <= end - start + between, "{name}: {} bytes for frame {at}", source.read());
            inside += usize::from(groups[group] > 0 && source.read() < bytes.len() as u64 / 2);
        }
    }
    println!("{inside} frames within, {fallen} with all of the payload");
    assert!(inside > 300 && fallen == 0, "{inside} frames within, {fallen} with all of the payload");
}

/// Where the parameter sets in force are neither the configuration's nor those of its group, what brought them is read, too.
#[test]
fn parameter_sets_that_changed_are_read() {
    let (bytes, limits) = (read("clips_seek/changing_sets.mp4"), Limits::default());
    let codec = container(&bytes);
    let table = codec.seek_table(&bytes, &limits).unwrap().unwrap();
    // The second of the second second's two groups, and its sets stand in the first.
    let want = Want::Video { times_us: &[1_700_000] };
    let decoded =
        |table: &[u8]| owned(codec.decode_parts(table, &Noted::new(&bytes), want, &limits, &mut Scratch::default()));
    let right = owned(codec.decode(&bytes, want, &limits, &mut Scratch::default())).unwrap();
    assert_eq!(decoded(&table).unwrap(), right);
    let body = &table[1..table.len() - SUM];
    let mut columns = postcard::from_bytes::<Columns>(body).unwrap();
    assert_eq!(columns.changes, steps([0, 12, 24]));
    columns.changes.clear();
    assert!(decoded(&sealed(&columns).unwrap()) != Ok(right), "they are needed");
}

/// Whatever a table says, the answer is a fault or frames, and no more is read than there is. With the sum set right, so that what
/// it says is looked at.
#[test]
fn tables_that_lie_are_faults() {
    let limits = Limits { pixels: 1 << 16, frames: 1000, decoded_bytes: 1 << 24, ..Limits::default() };
    let mut scratch = Scratch::default();
    let (mut faults, mut same, mut other) = (std::collections::BTreeMap::new(), 0, 0);
    for (name, bytes, _) in clips() {
        let codec = container(&bytes);
        let table = codec.seek_table(&bytes, &limits).unwrap().unwrap();
        let want = Want::Video { times_us: &[0, 700_000] };
        let right = owned(codec.decode(&bytes, want, &limits, &mut scratch)).unwrap();
        let mut chance = Chance(table.len() as u64);
        for (round, mut bad) in crate::codec::mutants(&table, 120).enumerate() {
            let sealed = round % 4 != 0;
            if sealed && bad.len() > 1 + SUM {
                // Numbers in the middle, too, where the columns are.
                let at = chance.below(bad.len() as u64) as usize;
                bad[at] = chance.below(256) as u8;
                let body = bad.len() - SUM;
                let sum = xxh3_64(&bad[..body]).to_le_bytes();
                bad[body..].copy_from_slice(&sum);
            }
            let source = Noted::new(&bytes);
            match owned(codec.decode_parts(&bad, &source, want, &limits, &mut scratch)) {
                Err(fault) => *faults.entry(fault.reason.code()).or_insert(0) += 1,
                Ok(got) if got == right => same += 1,
                Ok(_) if sealed => other += 1,
                Ok(_) => panic!("{name}: a damaged table gave other frames"),
            }
            assert!(source.read() <= 2 * bytes.len() as u64, "{name}: {} bytes read", source.read());
            assert!(source.reads.borrow().iter().all(|range| range.end <= bytes.len() as u64), "{name}");
        }
    }
    println!("{faults:?}, {same} the same, {other} other frames");
    assert_eq!(faults.get("decoder-panic"), None, "{faults:?}");
    assert!(faults["corrupt"] > 2000 && same > 0, "{faults:?}, {same} the same");
}

/// Entries that make a decoder begin anew for each frame cost memory in proportion to the frames all the same, and frames that are
/// presented before an open beginning are refused.
#[test]
fn groups_that_are_gone_through_again_are_read_once() {
    let limits = Limits::default();
    let mut tried = 0;
    for (name, bytes, _) in clips() {
        let table = container(&bytes).seek_table(&bytes, &limits).unwrap().unwrap();
        let read = || postcard::from_bytes::<Columns>(&table[1..table.len() - SUM]).unwrap();
        let count = read().sizes.len();
        if count < 10 || !read().hidden.is_empty() {
            continue;
        }
        let open = |columns: &Columns| open(&sealed(columns).unwrap(), bytes.len() as u64, &limits);

        let mut columns = Columns { places: vec![0; count], ..read() };
        let again = (1..count - 1).step_by(3);
        again.clone().for_each(|at| (columns.places[at], columns.places[at + 1]) = (1, -1));
        columns.entries = steps(std::iter::once(0).chain(again)).iter().map(|step| step << 3 | 4 | 1).collect();
        columns.entries[0] = 4 | 2;
        let clip = open(&columns).unwrap();
        let wanted: Vec<usize> = (0..count).collect();
        let ranges = clip.ranges(&wanted).unwrap();
        assert!(ranges.len() <= count + Sets::MOST, "{name}: {} ranges of {count} frames", ranges.len());

        columns.places = vec![-1; count];
        columns.places[0] = count as i64 - 1;
        columns.entries[0] = 4 | 1;
        let fault = open(&columns).map(|_| ()).unwrap_err();
        assert_eq!(fault.reason, Reason::Corrupt, "{name}");
        assert!(fault.message.contains("presents frames before"), "{name}: {fault}");
        tried += 1;
    }
    assert!(tried >= 5, "{tried}");
}

/// The limits hold as they do for a container.
#[test]
fn limits_hold_for_tables() {
    for (name, bytes, _) in clips() {
        let codec = container(&bytes);
        let all = Limits::default();
        let table = codec.seek_table(&bytes, &all).unwrap().unwrap();
        let clip = open(&table, bytes.len() as u64, &all).unwrap();
        let tight = [
            Limits { pixels: clip.picture.coded - 1, ..all },
            Limits { frames: clip.track.samples.len() as u64 - 1, ..all },
            Limits { payload_bytes: bytes.len() as u64 - 1, ..all },
            Limits { decoded_bytes: clip.memory() - 1, ..all },
        ];
        for limits in tight {
            let source = Noted::new(&bytes);
            let fault = codec
                .decode_parts(&table, &source, Want::Video { times_us: &[0] }, &limits, &mut Scratch::default())
                .unwrap_err();
            assert_eq!(fault.reason, Reason::OverLimit, "{name}: {limits:?}: {fault}");
            assert_eq!(source.read(), 0, "{name}");
        }
    }
}

/// A table of a later form has the payload read whole, and one of another payload is refused.
#[test]
fn tables_of_others_are_not_taken() {
    let bytes = read("clips/dial/no_b_frames.mp4");
    let (codec, limits) = (container(&bytes), Limits::default());
    let mut scratch = Scratch::default();
    let mut table = codec.seek_table(&bytes, &limits).unwrap().unwrap();
    let longer = [&bytes[..], &[0]].concat();
    let fault = codec.decode_parts(&table, &Noted::new(&longer), Want::Whole, &limits, &mut scratch).unwrap_err();
    assert_eq!(fault.reason, Reason::Corrupt);
    table[0] = VERSION + 1;
    let source = Noted::new(&bytes);
    let got = owned(codec.decode_parts(&table, &source, Want::Whole, &limits, &mut scratch)).unwrap();
    assert_eq!(got, owned(codec.decode(&bytes, Want::Whole, &limits, &mut scratch)).unwrap());
    assert_eq!(source.read(), bytes.len() as u64);
    let tight = Limits { payload_bytes: bytes.len() as u64 - 1, ..limits };
    let fault = codec.decode_parts(&table, &Noted::new(&bytes), Want::Whole, &tight, &mut scratch).unwrap_err();
    assert_eq!(fault.reason, Reason::OverLimit);
    assert_eq!(
        codec.decode_parts(&[], &source, Want::Whole, &limits, &mut scratch).unwrap_err().reason,
        Reason::Corrupt
    );
}

/// What is cut off, and what decodes otherwise, has none.
#[test]
fn what_cannot_be_foreseen_has_no_table() {
    let limits = Limits::default();
    let mut cut = 0;
    for (name, bytes, _) in clips() {
        let codec = container(&bytes);
        let last = open(&codec.seek_table(&bytes, &limits).unwrap().unwrap(), bytes.len() as u64, &limits).unwrap();
        let end = last.track.samples.iter().map(|sample| sample.range().end).max().unwrap();
        assert_eq!(codec.seek_table(&bytes[..end as usize - 1], &limits).ok().flatten(), None, "{name}");
        cut += 1;
    }
    assert!(cut > 50 || cfg!(not(all(feature = "av1", feature = "image"))));
    let animation = read("animations/dispose.gif");
    let gif = crate::codec::sniff(&animation, crate::data::info::Kind::Video);
    if let Ok(gif) = gif {
        assert_eq!(gif.seek_table(&animation, &limits), Ok(None));
        assert!(!gif.seeks());
    }
}
