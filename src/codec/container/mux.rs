//! Writes Matroska (RFC 9559, on EBML, RFC 8794): a track of JPEGs, each frame a cluster of its own.
//!
//! `V_MJPEG` is read by ffmpeg and everything built on it. Ticks are microseconds, so that times are exact; a block's time
//! within its cluster has 16 bits, 33 ms of them, so every frame begins a cluster. Nothing in the file is of time or chance.

/// Pictures with their times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frames<'a> {
    /// Baseline JPEGs of one size.
    pub(crate) jpegs: &'a [Vec<u8>],
    /// When each is shown, in microseconds, ascending from 0.
    pub(crate) times_us: &'a [i64],
    /// How long each is shown, in microseconds.
    pub(crate) length_us: u64,
    /// Pixels across.
    pub(crate) width: u32,
    /// Pixels down.
    pub(crate) height: u32,
}

/// An element: its id, the length of its content in eight bytes, the content.
fn element(out: &mut Vec<u8>, id: u32, content: &[u8]) {
    head(out, id, content.len() as u64);
    out.extend_from_slice(content);
}

fn head(out: &mut Vec<u8>, id: u32, length: u64) {
    let id = id.to_be_bytes();
    out.extend_from_slice(&id[id.iter().take_while(|b| **b == 0).count()..]);
    // The marker of eight bytes; 2^56 - 1 would be "not known".
    out.extend_from_slice(&(1 << 56 | length).to_be_bytes());
}

fn unsigned(out: &mut Vec<u8>, id: u32, value: u64) {
    let bytes = value.to_be_bytes();
    element(out, id, &bytes[bytes.iter().take_while(|b| **b == 0).count().min(7)..]);
}

/// Elements within an element.
fn group(out: &mut Vec<u8>, id: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut content = Vec::new();
    fill(&mut content);
    element(out, id, &content);
}

/// The file.
pub(crate) fn mjpeg(frames: &Frames<'_>) -> Vec<u8> {
    let Frames { jpegs, times_us, length_us, width, height } = *frames;
    let end = times_us.last().map_or(0, |last| last.unsigned_abs()) + length_us;
    let name = b"feedstock";
    let mut front = Vec::new();
    group(&mut front, 0x1549_A966, |info| {
        unsigned(info, 0x2A_D7B1, 1_000);
        element(info, 0x4489, &(end as f64).to_be_bytes());
        element(info, 0x4D80, name);
        element(info, 0x5741, name);
    });
    group(&mut front, 0x1654_AE6B, |tracks| {
        group(tracks, 0xAE, |track| {
            unsigned(track, 0xD7, 1);
            unsigned(track, 0x73C5, 1);
            unsigned(track, 0x83, 1);
            unsigned(track, 0x9C, 0);
            element(track, 0x86, b"V_MJPEG");
            unsigned(track, 0x23_E383, length_us.saturating_mul(1_000));
            group(track, 0xE0, |video| {
                unsigned(video, 0xB0, u64::from(width));
                unsigned(video, 0xBA, u64::from(height));
            });
        });
    });
    let mut clusters = Vec::with_capacity(jpegs.iter().map(|j| j.len() + 40).sum());
    for (jpeg, time) in jpegs.iter().zip(times_us) {
        let mut begin = Vec::new();
        unsigned(&mut begin, 0xE7, time.unsigned_abs());
        // A simple block: track 1, at the cluster's time, a key frame without lacing.
        head(&mut begin, 0xA3, 4 + jpeg.len() as u64);
        begin.extend_from_slice(&[0x81, 0, 0, 0x80]);
        head(&mut clusters, 0x1F43_B675, (begin.len() + jpeg.len()) as u64);
        clusters.extend_from_slice(&begin);
        clusters.extend_from_slice(jpeg);
    }
    let mut out = Vec::with_capacity(front.len() + clusters.len() + 80);
    group(&mut out, 0x1A45_DFA3, |ebml| {
        unsigned(ebml, 0x4286, 1);
        unsigned(ebml, 0x42F7, 1);
        unsigned(ebml, 0x42F2, 4);
        unsigned(ebml, 0x42F3, 8);
        element(ebml, 0x4282, b"matroska");
        unsigned(ebml, 0x4287, 4);
        unsigned(ebml, 0x4285, 2);
    });
    head(&mut out, 0x1853_8067, (front.len() + clusters.len()) as u64);
    out.extend_from_slice(&front);
    out.extend_from_slice(&clusters);
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Medium, data, mkv};
    use super::*;
    use crate::codec::Limits;

    #[test]
    fn our_own_demuxer_finds_what_was_written() {
        let jpegs: Vec<Vec<u8>> = (0..300usize).map(|i| vec![i as u8; 1 + i * 7]).collect();
        let times: Vec<i64> = (0..300).map(|i| i * 40_000 + i % 3).collect();
        let frames = Frames { jpegs: &jpegs, times_us: &times, length_us: 40_000, width: 640, height: 3 };
        let file = mjpeg(&frames);
        assert!(mkv::sniff(&file, Medium::Video) && !mkv::sniff(&file, Medium::Audio));
        let track = mkv::read(&file, Medium::Video, &Limits::default()).unwrap();
        assert_eq!(track.scale, (1_000, 1_000_000_000));
        assert_eq!(track.listing.samples.len(), 300);
        for ((sample, jpeg), time) in track.listing.samples.iter().zip(&jpegs).zip(&times) {
            assert_eq!(data(&file, (sample.offset, sample.size), "x").unwrap(), jpeg);
            assert_eq!((sample.ticks, sample.length, sample.key), (*time, 40_000, true));
        }
        assert!(format!("{:?}", track.coding).to_uppercase().contains("MJPEG"), "{:?}", track.coding);
    }
}
