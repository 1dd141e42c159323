//! Items of HEIF files (ISO/IEC 23008-12 and 14496-12, 8.11), for AVIF (version 1.1.0 of its specification).
//!
//! Boxes are read in place each time that something is asked, and nothing is held but ranges: `avif-parse` 2.1.0 makes room for as
//! many entries as a file claims, and leaves out turns, colours, profiles and grids.

use std::borrow::Cow;
use std::ops::Range;

use super::Colour;
use super::mp4::{Atom, atoms, colour, find, full};
use crate::error::{Fault, Reason};

/// Brands of AVIF: pictures, and sequences of them.
const BRANDS: [&[u8; 4]; 2] = [b"avif", b"avis"];

fn corrupt(message: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Corrupt, format!("AVIF: {message}"))
}

fn unsupported(message: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Unsupported, format!("AVIF: {message}"))
}

fn truncated() -> Fault {
    Fault::new(Reason::Truncated, "the AVIF ends before what it names")
}

/// Whether the content begins as an AVIF file: its brand, or one that it is compatible with.
pub(in crate::codec) fn sniff(bytes: &[u8]) -> bool {
    let Some(first) = atoms(bytes, 0..bytes.len()).next().filter(|atom| &atom.kind == b"ftyp") else { return false };
    let brands = bytes.get(first.body).unwrap_or_default();
    let compatible = brands.get(8..).unwrap_or_default().as_chunks::<4>().0;
    let known = |brand: &[u8]| BRANDS.iter().any(|b| **b == brand);
    brands.get(..4).is_some_and(known) || compatible.iter().any(|brand| known(brand))
}

/// Items of a file, and properties of an item: each is looked for in all of them.
const MOST_ITEMS: u64 = 4096;
const MOST_PROPERTIES: usize = 64;

/// Version, flags and data of a full box.
type Full<'b> = (u8, u32, &'b [u8]);

/// A number of `size` bytes at a place, which moves on; 0 for no bytes.
fn take(data: &mut &[u8], size: usize) -> Result<u64, Fault> {
    let (number, rest) = data.split_at_checked(size).ok_or_else(|| corrupt("a table of items ends early"))?;
    *data = rest;
    Ok(number.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)))
}

/// The items of a file.
pub(in crate::codec) struct Items<'b> {
    bytes: &'b [u8],
    meta: Range<usize>,
}

/// What the properties of an item say.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::codec) struct Properties<'b> {
    /// Pixels across and down (`ispe`).
    pub(in crate::codec) size: Option<(u32, u32)>,
    /// The configuration of AV1 (`av1C`).
    pub(in crate::codec) record: &'b [u8],
    /// `colr` of the kind `nclx`.
    pub(in crate::codec) colour: Option<Colour>,
    /// `colr` with a profile (ICC).
    pub(in crate::codec) icc: Option<&'b [u8]>,
    /// Quarters of a turn counterclockwise (`irot`), which come first.
    pub(in crate::codec) turns: u8,
    /// Mirrored afterwards (`imir`): 0 exchanges top and bottom, 1 left and right.
    pub(in crate::codec) mirror: Option<u8>,
}

impl<'b> Items<'b> {
    pub(in crate::codec) fn open(bytes: &'b [u8]) -> Result<Self, Fault> {
        let mut top = atoms(bytes, 0..bytes.len());
        let Some(meta) = top.find(|atom| &atom.kind == b"meta") else {
            return Err(if top.cut { truncated() } else { corrupt("there are no items (box meta)") });
        };
        if top.cut {
            return Err(truncated());
        }
        // A full box: version and flags are in front.
        let body = meta.body.start.saturating_add(4).min(meta.body.end)..meta.body.end;
        Ok(Items { bytes, meta: body })
    }

    /// The content of a full box of the meta box: version, flags and data.
    fn table(&self, path: &[&[u8; 4]]) -> Result<Option<Full<'b>>, Fault> {
        let Some(body) = find(self.bytes, &self.meta, path) else { return Ok(None) };
        full(self.bytes, &body).map(Some)
    }

    fn need(&self, kind: &[u8; 4]) -> Result<Full<'b>, Fault> {
        let name = || corrupt(format!("there is no box {}", String::from_utf8_lossy(kind)));
        self.table(&[kind])?.ok_or_else(name)
    }

    /// The item that is to be shown.
    pub(in crate::codec) fn primary(&self) -> Result<u32, Fault> {
        let (version, _, mut data) = self.need(b"pitm")?;
        Ok(take(&mut data, if version == 0 { 2 } else { 4 })? as u32)
    }

    /// The type of an item (`av01`, `grid`).
    pub(in crate::codec) fn kind(&self, item: u32) -> Result<[u8; 4], Fault> {
        let body = find(self.bytes, &self.meta, &[b"iinf"]).ok_or_else(|| corrupt("there is no box iinf"))?;
        let (version, _, _) = full(self.bytes, &body)?;
        let first = body.start + 4 + if version == 0 { 2 } else { 4 };
        let entries = atoms(self.bytes, first.min(body.end)..body.end).take(MOST_ITEMS as usize);
        for entry in entries.filter(|atom| &atom.kind == b"infe") {
            let (version, _, mut data) = full(self.bytes, &entry.body)?;
            let id = match version {
                2 => take(&mut data, 2)?,
                3 => take(&mut data, 4)?,
                _ => continue,
            };
            if id == u64::from(item) {
                if take(&mut data, 2)? != 0 {
                    return Err(unsupported("an item that is protected"));
                }
                return Ok((take(&mut data, 4)? as u32).to_be_bytes());
            }
        }
        Err(corrupt(format!("there is no item {item}")))
    }

    /// The bytes of an item: where they lie in one piece borrowed.
    pub(in crate::codec) fn data(&self, item: u32) -> Result<Cow<'b, [u8]>, Fault> {
        let (version, _, mut data) = self.need(b"iloc")?;
        let sizes = take(&mut data, 2)? as usize;
        let [offset, length, base, index] = [12, 8, 4, 0].map(|shift| sizes >> shift & 15);
        let index = if version == 0 { 0 } else { index };
        if [offset, length, base, index].iter().any(|size| ![0, 4, 8].contains(size)) {
            return Err(corrupt("a table of places with impossible sizes"));
        }
        let wide = if version < 2 { 2 } else { 4 };
        let count = take(&mut data, wide)?;
        if count > MOST_ITEMS {
            return Err(unsupported(format!("{count} items")));
        }
        for _ in 0..count {
            let id = take(&mut data, wide)?;
            let method = if version == 0 { 0 } else { take(&mut data, 2)? & 15 };
            take(&mut data, 2)?;
            let start = take(&mut data, base)?;
            let extents = take(&mut data, 2)?;
            if id != u64::from(item) {
                // At most 65,535 extents of 24 bytes.
                let (_, rest) = data
                    .split_at_checked(extents as usize * (index + offset + length))
                    .ok_or_else(|| corrupt("a table of items ends early"))?;
                data = rest;
                continue;
            }
            let within = match method {
                0 => 0..self.bytes.len(),
                1 => find(self.bytes, &self.meta, &[b"idat"]).ok_or_else(|| corrupt("there is no box idat"))?,
                _ => return Err(unsupported("an item within an item")),
            };
            let mut made: Cow<'b, [u8]> = Cow::Borrowed(&[]);
            for _ in 0..extents {
                take(&mut data, index)?;
                let (from, length) = (take(&mut data, offset)?, take(&mut data, length)?);
                let piece = self.piece(&within, start.checked_add(from), length)?;
                if made.is_empty() {
                    made = Cow::Borrowed(piece);
                } else if made.len() + piece.len() <= self.bytes.len() {
                    made.to_mut().extend_from_slice(piece);
                } else {
                    return Err(corrupt("an item is longer than its file"));
                }
            }
            return Ok(made);
        }
        Err(corrupt(format!("item {item} is nowhere")))
    }

    /// A part of a range; a length of 0 is all that is left of it.
    fn piece(&self, within: &Range<usize>, from: Option<u64>, length: u64) -> Result<&'b [u8], Fault> {
        let all = self.bytes.get(within.clone()).unwrap_or_default();
        let from = from.and_then(|from| usize::try_from(from).ok()).and_then(|from| all.get(from..));
        let piece = match (from, length) {
            (Some(rest), 0) => Some(rest),
            (Some(rest), length) => usize::try_from(length).ok().and_then(|length| rest.get(..length)),
            (None, _) => None,
        };
        piece.ok_or_else(truncated)
    }

    /// The properties of an item (`ipco`, `ipma`). One that is essential and unknown is refused.
    pub(in crate::codec) fn properties(&self, item: u32) -> Result<Properties<'b>, Fault> {
        let mut made = Properties::default();
        let Some(all) = find(self.bytes, &self.meta, &[b"iprp", b"ipco"]) else { return Ok(made) };
        let Some((version, flags, mut data)) = self.table(&[b"iprp", b"ipma"])? else { return Ok(made) };
        let mut own = 0;
        let count = take(&mut data, 4)?;
        if count > MOST_ITEMS {
            return Err(unsupported(format!("{count} items")));
        }
        for _ in 0..count {
            let id = take(&mut data, if version == 0 { 2 } else { 4 })?;
            for _ in 0..take(&mut data, 1)? {
                let bits = if flags & 1 == 0 { 8 } else { 16 };
                let entry = take(&mut data, bits / 8)?;
                let (essential, index) = (entry >> (bits - 1) == 1, entry & ((1 << (bits - 1)) - 1));
                if id != u64::from(item) || index == 0 {
                    continue;
                }
                own += 1;
                if own > MOST_PROPERTIES || index > MOST_ITEMS {
                    return Err(unsupported(format!("more than {MOST_PROPERTIES} properties")));
                }
                let atom = atoms(self.bytes, all.clone()).nth(index as usize - 1);
                let atom = atom.ok_or_else(|| corrupt(format!("there is no property {index}")))?;
                made.add(self.bytes, &atom, essential)?;
            }
        }
        Ok(made)
    }

    /// The items that one refers to (`iref`), in order.
    pub(in crate::codec) fn references(&self, kind: &[u8; 4], from: u32) -> Result<Vec<u32>, Fault> {
        let Some(body) = find(self.bytes, &self.meta, &[b"iref"]) else { return Ok(Vec::new()) };
        let (version, _, _) = full(self.bytes, &body)?;
        let wide = if version == 0 { 2 } else { 4 };
        for atom in atoms(self.bytes, (body.start + 4).min(body.end)..body.end).take(MOST_ITEMS as usize) {
            if &atom.kind != kind {
                continue;
            }
            let mut data = self.bytes.get(atom.body).unwrap_or_default();
            if take(&mut data, wide)? == u64::from(from) {
                let count = take(&mut data, 2)?;
                return (0..count).map(|_| take(&mut data, wide).map(|id| id as u32)).collect();
            }
        }
        Ok(Vec::new())
    }
}

impl<'b> Properties<'b> {
    fn add(&mut self, bytes: &'b [u8], atom: &Atom, essential: bool) -> Result<(), Fault> {
        let data = bytes.get(atom.body.clone()).unwrap_or_default();
        let mut rest = data;
        match &atom.kind {
            b"ispe" => {
                take(&mut rest, 4)?;
                self.size = Some((take(&mut rest, 4)? as u32, take(&mut rest, 4)? as u32));
            }
            b"av1C" => self.record = data,
            b"colr" => match data.get(..4) {
                Some(b"nclx") => self.colour = Some(colour(data)),
                Some(b"prof" | b"rICC") => self.icc = data.get(4..),
                _ => {}
            },
            b"irot" => self.turns = take(&mut rest, 1)? as u8 & 3,
            b"imir" => self.mirror = Some(take(&mut rest, 1)? as u8 & 1),
            // Pixel depths and aspect ratio, auxiliary types, light levels; `clap` as Pillow: not applied.
            b"pixi" | b"pasp" | b"auxC" | b"clli" | b"mdcv" | b"cclv" | b"clap" => {}
            kind if essential => {
                let name = String::from_utf8_lossy(kind).escape_default().to_string();
                return Err(unsupported(format!("an item with the property {name}")));
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        [&(data.len() as u32 + 8).to_be_bytes(), &kind[..], data].concat()
    }

    #[test]
    fn items_are_found_and_damage_is_refused() {
        let full = |kind: &[u8; 4], data: &[u8]| boxed(kind, &[&[0; 4], data].concat());
        let infe = boxed(b"infe", &[&[2, 0, 0, 0, 0, 7, 0, 0][..], b"av01", b"\0"].concat());
        let iloc = full(b"iloc", &[0x44, 0, 0, 1, 0, 7, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 8, 0, 0, 0, 4]);
        let ipco = boxed(b"ipco", &[full(b"ispe", &[0, 0, 0, 9, 0, 0, 0, 5]), boxed(b"irot", &[1])].concat());
        let ipma = full(b"ipma", &[0, 0, 0, 1, 0, 7, 2, 1, 0x82]);
        let iref = full(b"iref", &boxed(b"dimg", &[0, 9, 0, 2, 0, 7, 0, 8]));
        let meta = full(
            b"meta",
            &[
                full(b"pitm", &[0, 7]),
                full(b"iinf", &[&[0, 1][..], &infe].concat()),
                iloc,
                boxed(b"iprp", &[ipco, ipma].concat()),
                iref,
            ]
            .concat(),
        );
        let file = [boxed(b"ftyp", b"avif\0\0\0\0"), meta].concat();
        let items = Items::open(&file).unwrap();
        assert_eq!((items.primary().unwrap(), items.kind(7).unwrap()), (7, *b"av01"));
        assert_eq!(items.data(7).unwrap().as_ref(), [&file[..4], &file[8..12]].concat());
        let properties = items.properties(7).unwrap();
        assert_eq!((properties.size, properties.turns, properties.mirror), (Some((9, 5)), 1, None));
        assert_eq!(items.references(b"dimg", 9).unwrap(), [7, 8]);
        assert!(items.kind(8).is_err() && items.data(8).is_err() && items.references(b"dimg", 7).unwrap().is_empty());
        assert!(sniff(&file) && !sniff(&file[4..]) && sniff(&boxed(b"ftyp", b"mif1\0\0\0\0miafavif")));
        for made in crate::codec::mutants(&file, 3000) {
            let Ok(items) = Items::open(&made) else { continue };
            let _ = (items.primary(), items.kind(7), items.data(7), items.properties(7), items.references(b"dimg", 9));
        }
    }
}
