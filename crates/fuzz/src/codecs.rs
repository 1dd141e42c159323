//! Codecs under limits: what one accepts it decodes, twice the same, in parts as whole, and regions as they are in the whole.

use std::sync::Mutex;

use feedstock::codec::{CODECS, Check, Codec, Decoded, Limits, Scratch, Want, guarded};
use feedstock::codec::{Encoded, Ranged, Rect};
use feedstock::data::info::{Info, Kind};
use feedstock::data::record::payload_hash;
use feedstock::error::{Fault, Reason};

use crate::{Target, files, fixtures};

/// What `tests/mutations.rs` allows, for the same limits.
const MOST: usize = 100 << 20;

fn limits() -> Limits {
    Limits { payload_bytes: 8 << 20, pixels: 1 << 18, samples: 1 << 20, frames: 40, decoded_bytes: 64 << 20 }
}

/// A target for each codec, and for each that has them one for its seek tables.
pub(crate) fn targets() -> Vec<Target> {
    let mut all = Vec::new();
    for codec in CODECS {
        all.push(Target::new(codec.name(), MOST, run(*codec), seeds));
        if codec.seeks() && codec.kind() == Kind::Image {
            all.push(Target::new(format!("{}-parts", codec.name()), MOST, in_regions(*codec), seeds_of_parts));
        } else if codec.seeks() {
            all.push(Target::new(format!("{}-parts", codec.name()), MOST, in_parts(*codec), seeds_of_parts));
        }
    }
    all
}

/// A payload in memory that is read like one elsewhere.
struct Bytes<'a>(&'a [u8]);

impl Ranged for Bytes<'_> {
    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Fault> {
        let from = usize::try_from(offset).ok().and_then(|at| self.0.get(at..)?.get(..out.len()));
        out.copy_from_slice(from.ok_or_else(|| Fault::new(Reason::Truncated, "it ends before"))?);
        Ok(())
    }
}

/// What was decoded, without the decoder.
#[derive(Debug, PartialEq)]
enum Owned {
    Bytes(Vec<u8>),
    Samples(Vec<u32>),
}

fn owned(decoded: &Decoded<'_>) -> Owned {
    match decoded {
        Decoded::Pixels(pixels) => Owned::Bytes(pixels.data.to_vec()),
        // By their bits: a sample may be no number.
        Decoded::Wave(wave) => Owned::Samples(wave.data.iter().map(|s| s.to_bits()).collect()),
        Decoded::Text(text) => Owned::Bytes(text.as_bytes().to_vec()),
        Decoded::Elements(bytes) => Owned::Bytes(bytes.to_vec()),
    }
}

/// Runs what may panic in foreign code, as an ingest does. A scratch that went through that is not used again.
fn tried<T>(
    codec: &dyn Codec,
    scratch: &Mutex<Scratch>,
    run: impl FnOnce(&mut Scratch) -> Result<T, Fault>,
) -> Option<T> {
    let mut scratch = scratch.lock().expect("one thread");
    let found = guarded(codec.name(), || run(&mut scratch));
    if found.as_ref().is_err_and(|fault| fault.reason == Reason::DecoderPanic) {
        *scratch = Scratch::default();
    }
    found.ok()
}

fn times(info: &Info) -> [i64; 2] {
    [0, i64::try_from(info.duration_us / 2).unwrap_or(0)]
}

fn want<'a>(kind: Kind, times: &'a [i64; 2]) -> Want<'a> {
    match kind {
        Kind::Video => Want::Video { times_us: times },
        _ => Want::Whole,
    }
}

fn run(codec: &'static dyn Codec) -> impl Fn(&[u8]) {
    let scratch = Mutex::new(Scratch::default());
    move |data| {
        let limits = limits();
        if !codec.sniff(data) {
            return;
        }
        let Some(info) = tried(codec, &scratch, |_| codec.probe(data, &limits)) else { return };
        tried(codec, &scratch, |scratch| codec.check(data, Check::Entropy, &limits, scratch));
        let Some(checked) = tried(codec, &scratch, |scratch| codec.check(data, Check::Decode, &limits, scratch)) else {
            return;
        };
        assert_eq!(info.format, checked.format);
        let times = times(&checked);
        let decode =
            || tried(codec, &scratch, |s| Ok(owned(&codec.decode(data, want(codec.kind(), &times), &limits, s)?)));
        let once = decode();
        // Of a clip or a recording any frames and samples may be asked for; what the check went through whole decodes whole.
        assert!(once.is_some() || matches!(codec.kind(), Kind::Video), "the check passes what is not decoded");
        assert_eq!(once, decode(), "twice is not the same");
        if codec.kind() != Kind::Image {
            return;
        }
        let size = |decoded: &Decoded<'_>| match decoded {
            Decoded::Pixels(pixels) => Ok((pixels.width, pixels.height)),
            _ => Err(Fault::new(Reason::WrongMedia, "no pixels")),
        };
        let whole = |scratch: &mut Scratch| size(&codec.decode(data, Want::Whole, &limits, scratch)?);
        let Some((width, height)) = tried(codec, &scratch, whole) else { return };
        for region in regions(width, height) {
            let [whole, alone] = [Want::Whole, Want::Image { region: Some(region) }].map(|want| {
                tried(codec, &scratch, |scratch| Ok(within(&codec.decode(data, want, &limits, scratch)?, region)))
            });
            assert_eq!(whole, alone, "a region is not what it is in the whole: {region:?}");
        }
    }
}

/// Regions of a picture: in its middle, at its upper edge, its last pixel.
fn regions(width: u32, height: u32) -> [Rect; 3] {
    [
        Rect { x: width / 2, y: height / 2, width: (width / 4).max(1), height: (height / 4).max(1) },
        Rect { x: width / 3, y: 0, width: (width / 3).max(1), height: (height / 8).max(1) },
        Rect { x: width - 1, y: height - 1, width: 1, height: 1 },
    ]
}

/// The length of a table, the table, the payload: a table of nothing is made of the payload.
fn parts(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_first_chunk::<2>()?;
    Some(rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len())))
}

fn in_parts(codec: &'static dyn Codec) -> impl Fn(&[u8]) {
    let scratch = Mutex::new(Scratch::default());
    move |data| {
        let limits = limits();
        let Some((told, payload)) = parts(data) else { return };
        let Some(info) = tried(codec, &scratch, |_| codec.probe(payload, &limits)) else { return };
        let times = times(&info);
        let source = Bytes(payload);
        let apart = |table: &[u8]| {
            tried(codec, &scratch, |scratch| {
                let encoded = Encoded::Apart { table, source: &source };
                Ok(owned(&encoded.decode(codec, want(codec.kind(), &times), &limits, scratch)?))
            })
        };
        if !told.is_empty() {
            apart(told);
            return;
        }
        let Some(Some(table)) = tried(codec, &scratch, |_| codec.seek_table(payload, &limits)) else { return };
        let whole =
            tried(codec, &scratch, |s| Ok(owned(&codec.decode(payload, want(codec.kind(), &times), &limits, s)?)));
        // A payload that is damaged where nothing was asked for has parts, but no whole.
        if let Some(whole) = whole {
            assert_eq!(Some(whole), apart(&table), "parts are not what the whole is");
        }
    }
}

/// The pixels of a region, of what was decoded for it.
fn within(decoded: &Decoded<'_>, region: Rect) -> Option<Vec<u8>> {
    let Decoded::Pixels(pixels) = decoded else { return None };
    let (left, top) = (region.x - pixels.origin.0, region.y - pixels.origin.1);
    let row = |y: u32| {
        let from = (y as usize * pixels.width as usize + left as usize) * 3;
        &pixels.data[from..from + region.width as usize * 3]
    };
    Some((top..top + region.height).flat_map(row).copied().collect())
}

fn in_regions(codec: &'static dyn Codec) -> impl Fn(&[u8]) {
    let scratch = Mutex::new(Scratch::default());
    move |data| {
        let limits = limits();
        let Some((told, payload)) = parts(data) else { return };
        let Some(info) = tried(codec, &scratch, |_| codec.probe(payload, &limits)) else { return };
        let source = Bytes(payload);
        let regions = regions(info.width, info.height);
        let decoded = |table: Option<&[u8]>, region: Rect| {
            let encoded = match table {
                Some(table) => Encoded::Apart { table, source: &source },
                None => Encoded::Whole(payload),
            };
            tried(codec, &scratch, |scratch| {
                let want = Want::Image { region: Some(region) };
                Ok(within(&encoded.decode(codec, want, &limits, scratch)?, region))
            })
        };
        if !told.is_empty() {
            // As somebody would make it: of this payload, whatever else it says.
            let mut table = told.to_vec();
            if let Some(hash) = table.get_mut(1..9) {
                hash.copy_from_slice(&payload_hash(payload).to_le_bytes());
            }
            for region in regions {
                decoded(Some(&table), region);
            }
            return;
        }
        let Some(Some(table)) = tried(codec, &scratch, |_| codec.seek_table(payload, &limits)) else { return };
        // What lacks more than codes (a table of quantisation) may have an index, and is not decoded.
        for region in regions {
            if let Some(whole) = decoded(None, region) {
                assert_eq!(
                    Some(whole),
                    decoded(Some(&table), region),
                    "a region by the index is not what it is without"
                );
            }
        }
    }
}

/// Fixtures that a codec takes.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let Some(codec) = CODECS.iter().find(|codec| codec.name() == name) else { return Vec::new() };
    let most = if codec.kind() == Kind::Text { 4 << 10 } else { 48 << 10 };
    let all = files(&fixtures(), most).into_iter().map(|(_, bytes)| bytes);
    let taken = all.filter(|bytes| codec.sniff(bytes) && codec.probe(bytes, &limits()).is_ok());
    let mut taken: Vec<Vec<u8>> = taken.collect();
    taken.sort_by_key(Vec::len);
    taken.dedup();
    // Small ones go further; of each format there are few.
    taken.truncate(60);
    taken
}

fn seeds_of_parts(name: &str) -> Vec<Vec<u8>> {
    let name = name.trim_end_matches("-parts");
    let Some(codec) = CODECS.iter().find(|codec| codec.name() == name) else { return Vec::new() };
    let mut all = Vec::new();
    for payload in seeds(name) {
        all.push([&[0, 0], payload.as_slice()].concat());
        if let Ok(Some(table)) = codec.seek_table(&payload, &limits())
            && let Ok(length) = u16::try_from(table.len())
        {
            all.push([&length.to_le_bytes(), table.as_slice(), &payload].concat());
        }
    }
    all
}

/// That a format of the crate is fuzzed.
#[cfg(test)]
mod tests {
    use feedstock::data::info::Format;

    use super::*;

    #[test]
    fn every_codec_has_seeds() {
        for codec in CODECS {
            let none = matches!(codec.format(), Format::Tensor);
            assert!(none || !seeds(codec.name()).is_empty(), "{} begins with nothing", codec.name());
        }
    }
}
