//! Claims of a few bytes that a decoder takes memory for before it looks whether anything is behind them.

use crate::codec::Limits;
use crate::error::{Fault, Reason};

fn corrupt(what: String) -> Fault {
    Fault::new(Reason::Corrupt, what)
}

/// An entry of a TIFF's first directory (TIFF 6.0, section 2).
pub(super) struct Entry {
    pub(super) tag: u64,
    pub(super) kind: u64,
    pub(super) count: u64,
    /// Where the value lies, or the offset of values that are too long to lie here.
    pub(super) value_at: usize,
    /// What stands there, as a number.
    pub(super) offset: u64,
}

/// The entries of the first directory of a TIFF (6.0 or BigTIFF), as far as the file has them.
pub(super) fn tiff_entries(bytes: &[u8]) -> impl Iterator<Item = Entry> {
    let little = bytes.starts_with(b"II");
    let big = matches!(bytes.get(2..4), Some([43, 0] | [0, 43]));
    let number = move |at: usize, length: usize| -> Option<u64> {
        let bytes = bytes.get(at..at.checked_add(length)?)?;
        let fold = |n: u64, b: &u8| n << 8 | u64::from(*b);
        Some(if little { bytes.iter().rev().fold(0, fold) } else { bytes.iter().fold(0, fold) })
    };
    let (width, head, size) = if big { (8, 8, 20) } else { (4, 2, 12) };
    let directory = number(if big { 8 } else { 4 }, width).and_then(|at| usize::try_from(at).ok());
    let entries = directory.and_then(|at| number(at, head)).unwrap_or(0).min(u64::from(u16::MAX)) as usize;
    (0..entries).map_while(move |i| {
        let at = directory?.checked_add(head + i * size)?;
        let (tag, kind, count) = (number(at, 2)?, number(at + 2, 2)?, number(at + 4, width)?);
        let value_at = at + 4 + width;
        Some(Entry { tag, kind, count, value_at, offset: number(value_at, width)? })
    })
}

/// Refuses a TIFF whose first directory has an entry of more values than the file has bytes: the decoder makes room for all of
/// them first.
pub(super) fn tiff(bytes: &[u8], _: &Limits) -> Result<(), Fault> {
    match tiff_entries(bytes).find(|entry| entry.count > bytes.len() as u64) {
        Some(Entry { tag, count, .. }) => {
            Err(corrupt(format!("tag {tag} says it has {count} values in {} bytes", bytes.len())))
        }
        None => Ok(()),
    }
}

/// Refuses a WebP (RFC 9649, 2.7) whose first coded picture is larger than the canvas: the decoder makes room for the one
/// and compares it with the other afterwards.
pub(super) fn webp(bytes: &[u8], _: &Limits) -> Result<(), Fault> {
    let three = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], 0]) + 1;
    let mut canvas = None;
    let mut at = 12usize;
    while let Some(&[a, b, c, d, s0, s1, s2, s3]) = bytes.get(at..at.saturating_add(8)) {
        let size = u32::from_le_bytes([s0, s1, s2, s3]) as usize;
        let data = &bytes[at + 8..];
        at = at.saturating_add(8 + size + size % 2);
        let coded = match &[a, b, c, d] {
            b"VP8X" if data.len() >= 10 => {
                canvas = Some((three(&data[4..7]), three(&data[7..10])));
                continue;
            }
            // A frame of an animation: 16 bytes, then chunks as outside.
            b"ANMF" => {
                at = bytes.len() - data.len() + 16;
                continue;
            }
            // RFC 6386, 9.1: behind three bytes of tag and the start code.
            b"VP8 " if data.len() >= 10 => {
                let side = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
                (side(data[6], data[7]), side(data[8], data[9]))
            }
            // RFC 9649, 3.4: fourteen bits each, less one.
            b"VP8L" if data.len() >= 5 => {
                let bits = u32::from_le_bytes([data[1], data[2], data[3], data[4]]);
                ((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1)
            }
            _ => continue,
        };
        return match canvas {
            Some((width, height)) if coded.0 > width || coded.1 > height => {
                Err(corrupt(format!("a picture of {}x{} in a canvas of {width}x{height}", coded.0, coded.1)))
            }
            _ => Ok(()),
        };
    }
    Ok(())
}

/// What the header of a part of an OpenEXR file says that decides how much memory is taken.
#[cfg(feature = "exr")]
#[derive(Default)]
struct Part {
    /// Width and height of the data window, which need not be those of the picture that is shown.
    size: Option<(u64, u64)>,
    /// Scan lines of a block.
    lines: Option<u64>,
    tiles: Option<(u64, u64)>,
    channels: u64,
    attributes: u64,
}

#[cfg(feature = "exr")]
impl Part {
    /// Reads a header from the front of what there is; `None`: it is cut off within, which the decoder says better.
    fn read(&mut self, rest: &mut &[u8]) -> Option<()> {
        fn text<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
            let end = rest.iter().position(|byte| *byte == 0)?;
            let text = rest.split_off(..end)?;
            rest.split_off(..1)?;
            Some(text)
        }
        loop {
            let name = text(rest)?;
            if name.is_empty() {
                return Some(());
            }
            text(rest)?;
            let length = u32::from_le_bytes(*rest.split_off(..4)?.first_chunk()?);
            let value = rest.split_off(..usize::try_from(length).ok()?)?;
            self.attributes += 1;
            let number = |at: usize| value.get(at..at + 4)?.first_chunk().map(|bytes| i32::from_le_bytes(*bytes));
            match name {
                // xMin, yMin, xMax, yMax, the last pixels among them.
                b"dataWindow" => {
                    let side = |a: usize, b: usize| Some(u64::from(number(a)?.abs_diff(number(b)?)) + 1);
                    self.size = side(0, 8).zip(side(4, 12));
                }
                // Uncompressed, RLE, ZIPS, ZIP, PIZ, PXR24, B44, B44A, DWAA, DWAB.
                b"compression" => {
                    let code = value.first().copied().unwrap_or_default();
                    self.lines = [1, 1, 1, 16, 32, 16, 32, 32, 32, 256].get(usize::from(code)).copied();
                }
                b"tiles" => {
                    let side = |at| number(at).and_then(|side| u64::try_from(side).ok()).filter(|side| *side > 0);
                    self.tiles = side(0).zip(side(4));
                }
                // Each has a name with its end and 16 bytes.
                b"channels" => self.channels = u64::from(length) / 18 + 1,
                _ => {}
            }
        }
    }

    /// How many blocks it has, and bytes of one of them, decoded, at the most.
    fn blocks(&self) -> (u64, u64) {
        let Some((width, height)) = self.size else { return (0, 0) };
        // Without a word on compression it may be the one of most lines.
        let (across, down) = self.tiles.unwrap_or((width, self.lines.unwrap_or(256)));
        let blocks = width.div_ceil(across).saturating_mul(height.div_ceil(down));
        let pixels = across.min(width).saturating_mul(down.min(height));
        (blocks, pixels.saturating_mul(self.channels).saturating_mul(4))
    }
}

/// Refuses an OpenEXR file (openexr.com, "OpenEXR File Layout") whose headers speak of more blocks than its offset tables have room for, 8 bytes
/// each, or of blocks and windows beyond the limits: the decoder makes room for a block by what its header says, and is asked only for the window that is shown.
#[cfg(feature = "exr")]
pub(super) fn exr(bytes: &[u8], limits: &Limits) -> Result<(), Fault> {
    let several_parts = bytes.get(5).is_some_and(|flags| flags & 0x10 != 0);
    let mut rest = bytes.get(8..).unwrap_or_default();
    let mut blocks = 0u64;
    // One header behind the other; an empty one ends the list where there may be several.
    loop {
        let mut part = Part::default();
        let whole = part.read(&mut rest);
        let (more, block_bytes) = part.blocks();
        blocks = blocks.saturating_add(more);
        if blocks > bytes.len() as u64 / 8 {
            return Err(corrupt(format!("its headers speak of {blocks} blocks in {} bytes", bytes.len())));
        }
        if let Some((width, height)) = part.size {
            Limits::check("pixels of the data window", width.saturating_mul(height), limits.pixels)?;
            Limits::check("bytes of a block", block_bytes, limits.decoded_bytes)?;
        }
        if whole.is_none() || !several_parts || part.attributes == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiff(bytes: &[u8]) -> Result<(), String> {
        super::tiff(bytes, &Limits::default()).map_err(|fault| fault.message)
    }

    fn webp(bytes: &[u8]) -> Result<(), String> {
        super::webp(bytes, &Limits::default()).map_err(|fault| fault.message)
    }

    #[cfg(feature = "exr")]
    fn exr(bytes: &[u8]) -> Result<(), String> {
        super::exr(bytes, &Limits::default()).map_err(|fault| fault.message)
    }
    use crate::codec::tests::fixture;

    #[test]
    fn a_directory_may_not_claim_more_values_than_there_are_bytes() {
        for name in ["raw.tiff", "tiff_lzw.tiff", "pages.tiff"] {
            let mut bytes = fixture(&format!("images_formats/{name}"));
            assert_eq!(tiff(&bytes), Ok(()), "{name}");
            let little = bytes.starts_with(b"II");
            let at: [u8; 4] = bytes[4..8].try_into().unwrap();
            let at = if little { u32::from_le_bytes(at) } else { u32::from_be_bytes(at) } as usize;
            // The count of the third entry.
            bytes[at + 2 + 2 * 12 + 4..][..4].copy_from_slice(&[0x7f; 4]);
            assert!(tiff(&bytes).unwrap_err().contains("2139062143 values"), "{name}");
        }
        let big = [b"II\x2b\0\x08\0\0\0".as_slice(), &16u64.to_le_bytes(), &1u64.to_le_bytes()].concat();
        let entry = |count: u64| [&[0, 1, 3, 0][..], &count.to_le_bytes(), &[0; 8]].concat();
        assert_eq!(tiff(&[big.clone(), entry(1)].concat()), Ok(()));
        assert!(tiff(&[big, entry(1 << 40)].concat()).is_err());
        assert_eq!(tiff(b"II*\0\xff\xff\xff\xff"), Ok(()), "the decoder says it better");
    }

    #[test]
    fn a_coded_picture_may_not_be_larger_than_its_canvas() {
        let chunk = |name: &[u8], data: &[u8]| [name, &(data.len() as u32).to_le_bytes(), data].concat();
        let canvas = chunk(b"VP8X", &[0, 0, 0, 0, 15, 0, 0, 7, 0, 0]);
        let lossy = |width: u16, height: u16| {
            chunk(b"VP8 ", &[&[0, 0, 0, 0x9d, 1, 0x2a][..], &width.to_le_bytes(), &height.to_le_bytes()].concat())
        };
        let lossless = |width: u32, height: u32| {
            chunk(b"VP8L", &[&[0x2f][..], &((width - 1) | (height - 1) << 14).to_le_bytes(), &[0]].concat())
        };
        let file = |chunks: &[&[u8]]| [&b"RIFF\0\0\0\0WEBP"[..], &chunks.concat()].concat();
        assert_eq!(webp(&file(&[&canvas, &lossy(16, 8)])), Ok(()));
        assert_eq!(webp(&file(&[&lossy(16_000, 16_000)])), Ok(()), "its own size is the picture's");
        assert!(webp(&file(&[&canvas, &lossy(17, 8)])).unwrap_err().contains("17x8 in a canvas of 16x8"));
        assert!(webp(&file(&[&canvas, &lossless(16, 9)])).is_err());
        assert_eq!(webp(&file(&[&canvas, &chunk(b"ICCP", b"odd"), b"\0", &lossless(16, 8)])), Ok(()));
        let frame = chunk(b"ANMF", &[vec![0; 16], lossy(16_000, 8)].concat());
        assert!(webp(&file(&[&canvas, &frame])).is_err());
        for name in ["lossy.webp", "lossless.webp", "alpha.webp", "animated.webp"] {
            assert_eq!(webp(&fixture(&format!("images_formats/{name}"))), Ok(()), "{name}");
        }
    }

    /// Found by fuzzing: 857 bytes took 1.6 GB.
    #[cfg(feature = "exr")]
    #[test]
    fn headers_may_not_speak_of_more_blocks_than_there_is_room_for() {
        assert_eq!(exr(&fixture("images_formats/light.exr")), Ok(()));
        let attribute = |name: &str, kind: &str, value: &[u8]| {
            [name.as_bytes(), b"\0", kind.as_bytes(), b"\0", &(value.len() as u32).to_le_bytes(), value].concat()
        };
        let window = |x: i32, y: i32| {
            let sides = [0, 0, x - 1, y - 1].map(i32::to_le_bytes);
            attribute("dataWindow", "box2i", sides.as_flattened())
        };
        let file = |flags: u8, parts: &[u8]| [b"\x76\x2f\x31\x01\x02".as_slice(), &[flags, 0, 0], parts].concat();
        let zip = attribute("compression", "compression", &[3]);
        let tiles = attribute("tiles", "tiledesc", &[8, 0, 0, 0, 8, 0, 0, 0, 0]);
        let room = |blocks: usize| vec![0; blocks * 8];
        let none = attribute("compression", "compression", &[0]);
        assert_eq!(exr(&file(0, &[window(9, 40), none.clone(), vec![0], room(40)].concat())), Ok(()));
        let many = file(0, &[none.clone(), window(9, 400), vec![0], room(40)].concat());
        assert!(exr(&many).unwrap_err().contains("400 blocks"));
        assert_eq!(exr(&file(0, &[window(9, 400), zip.clone(), vec![0], room(25)].concat())), Ok(()));
        assert!(
            exr(&file(2, &[window(80, 80), tiles, vec![0], room(40)].concat())).unwrap_err().contains("100 blocks")
        );
        assert!(exr(&file(0, &[window(9, i32::MAX), zip, vec![0]].concat())).is_err());
        let two = [none.clone(), window(1, 9), vec![0], none.clone(), window(1, 90), vec![0, 0], room(60)].concat();
        assert!(exr(&file(0x10, &two)).unwrap_err().contains("99 blocks"));
        // Also where the header is cut off behind it.
        assert!(exr(&file(0, &[none.clone(), window(9, 400)].concat())).unwrap_err().contains("400 blocks"));
        // What is not shown takes memory, too.
        let wide = exr(&file(0, &[none.clone(), window(i32::MAX, 1), vec![0], room(9)].concat())).unwrap_err();
        assert!(wide.contains("data window"), "{wide}");
        let channels = attribute("channels", "chlist", &[b'c'; 18 * 9000]);
        let deep = exr(&file(0, &[channels, none, window(1 << 20, 1), vec![0], room(9)].concat())).unwrap_err();
        assert!(deep.contains("bytes of a block"), "{deep}");
        // The decoder says it better.
        assert_eq!(exr(b"v/1\x01"), Ok(()));
    }
}
