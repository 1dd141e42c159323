//! AVIF (version 1.1.0 of its specification) by `re_rav1d`, the decoder of AV1 in clips: 8 to 12 bits, gray and any subsampling,
//! grids; alpha is dropped.
//!
//! The colours' matrix and range are those of the item (`colr`), else of the stream; primaries and transfer are not applied. The item's turn
//! and mirror are the orientation, and an EXIF block says none beside them (as in Pillow). Of a sequence the still item is taken.

use super::{check_size, region_of, sized};
use crate::codec::container::Colour;
use crate::codec::container::heif::{Items, Properties, sniff};
use crate::codec::video::still::{Still, Surface};
use crate::codec::{Codec, Decoded, Limits, Pixels, Rect, Scratch, Want, guarded};
use crate::data::info::{Format, Info};
use crate::data::orientation::Orientation;
use crate::error::{Fault, Reason};

/// The AVIF codec. A region is handed over as the whole picture.
#[derive(Debug, Clone, Copy)]
pub struct Avif;

/// Tiles of a grid.
const MOST_TILES: u32 = 1024;

fn corrupt(message: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Corrupt, format!("AVIF: {message}"))
}

fn unsupported(message: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Unsupported, format!("AVIF: {message}"))
}

/// A file whose headers have been read.
struct Picture<'b> {
    items: Items<'b>,
    properties: Properties<'b>,
    size: (u32, u32),
    /// The items that it is made of, row by row, and how many are in a row.
    tiles: Vec<u32>,
    columns: u32,
    /// The first of them.
    still: Still,
}

impl<'b> Picture<'b> {
    fn open(bytes: &'b [u8], limits: &Limits) -> Result<Self, Fault> {
        Limits::check("payload bytes", bytes.len() as u64, limits.payload_bytes)?;
        if !sniff(bytes) {
            return Err(corrupt("no header"));
        }
        let items = Items::open(bytes)?;
        let primary = items.primary()?;
        let properties = items.properties(primary)?;
        if !items.references(b"prem", primary)?.is_empty() {
            return Err(unsupported("colours that are multiplied by alpha"));
        }
        let (size, tiles, columns) = match &items.kind(primary)? {
            b"av01" => (properties.size, vec![primary], 1),
            b"grid" => {
                let (size, rows, columns) = grid(&items.data(primary)?)?;
                let tiles = items.references(b"dimg", primary)?;
                if tiles.len() as u32 != rows * columns {
                    return Err(corrupt(format!("a grid of {rows} x {columns} has {} tiles", tiles.len())));
                }
                (Some(size), tiles, columns)
            }
            other => {
                let name = String::from_utf8_lossy(other).escape_default().to_string();
                return Err(unsupported(format!("a picture of the kind {name}")));
            }
        };
        let first = *tiles.first().ok_or_else(|| corrupt("a grid without tiles"))?;
        let still = open_item(&items, first, limits)?;
        let size = size.unwrap_or(still.size());
        check_size(size.0, size.1, limits)?;
        check_size(still.size().0, still.size().1, limits)?;
        let (width, height) = still.size();
        if tiles.len() == 1 && columns == 1 && size != (width, height) && items.kind(primary)? == *b"av01" {
            return Err(corrupt(format!("the item is {}x{}, its picture {width}x{height}", size.0, size.1)));
        }
        // The last tiles may reach beyond the edges, but not lie outside (ISO/IEC 23008-12, 6.6.2.3).
        let rows = tiles.len() as u32 / columns;
        let covers = |whole: u32, tile: u32, count: u32| {
            let (whole, tile, count) = (u64::from(whole), u64::from(tile), u64::from(count));
            whole > 0 && tile * count >= whole && tile * (count - 1) < whole
        };
        if !covers(size.0, width, columns) || !covers(size.1, height, rows) {
            return Err(corrupt(format!("tiles of {width}x{height} do not make {}x{}", size.0, size.1)));
        }
        if tiles.len() > 1 && (width % 2 != 0 && columns > 1 || height % 2 != 0 && rows > 1) {
            return Err(unsupported("a grid of tiles of an odd size"));
        }
        Ok(Picture { items, properties, size, tiles, columns, still })
    }

    fn info(&self) -> Info {
        let Properties { turns, mirror, icc, .. } = self.properties;
        // Turned first, then mirrored: of EXIF's eight.
        let code = match (turns, mirror) {
            (0, None) => 0,
            (turns, None) => [1, 8, 3, 6][usize::from(turns)],
            (turns, Some(0)) => [4, 5, 2, 7][usize::from(turns)],
            (turns, Some(_)) => [2, 7, 4, 5][usize::from(turns)],
        };
        let (width, height) = self.size;
        let stored = Info { width, height, channels: self.still.channels(), ..Info::of(Format::Avif) };
        super::metadata::shown(stored, Orientation::of(code), icc)
    }

    fn surface(&self, limits: &Limits) -> Result<Surface, Fault> {
        let mut surface = self.still.surface(self.size);
        let (width, height) = self.still.size();
        for (n, &tile) in (0u32..).zip(&self.tiles) {
            let data = self.items.data(tile)?;
            let at = (n % self.columns * width, n / self.columns * height);
            if n == 0 {
                self.still.draw(&data, &mut surface, at)?;
                continue;
            }
            let still = open_item(&self.items, tile, limits)?;
            if still.size() != (width, height) {
                return Err(corrupt("the tiles of a grid have different sizes"));
            }
            still.draw(&data, &mut surface, at)?;
        }
        Ok(surface)
    }
}

fn open_item(items: &Items<'_>, item: u32, limits: &Limits) -> Result<Still, Fault> {
    if items.kind(item)? != *b"av01" {
        return Err(unsupported("a tile that is not AV1"));
    }
    Still::open(items.properties(item)?.record, &items.data(item)?, limits)
}

/// Size, rows and columns of a grid (ISO/IEC 23008-12, 6.6.2.3.2).
fn grid(data: &[u8]) -> Result<((u32, u32), u32, u32), Fault> {
    let (&[0, flags, rows, columns], sizes) =
        data.split_first_chunk().ok_or_else(|| corrupt("a grid that ends early"))?
    else {
        return Err(unsupported("a grid of another version"));
    };
    let (rows, columns) = (u32::from(rows) + 1, u32::from(columns) + 1);
    if rows * columns > MOST_TILES {
        return Err(unsupported(format!("a grid of {rows} x {columns} tiles")));
    }
    let wide = if flags & 1 == 0 { 2 } else { 4 };
    let side = |n: usize| {
        let bytes = sizes.get(n * wide..(n + 1) * wide).ok_or_else(|| corrupt("a grid that ends early"))?;
        Ok(bytes.iter().fold(0u32, |n, byte| n << 8 | u32::from(*byte)))
    };
    Ok(((side(0)?, side(1)?), rows, columns))
}

/// Bytes a pixel that the decoder holds at the most: pictures of 4:4:4 in 16 bits.
const MOST: u64 = 32;

impl Codec for Avif {
    fn format(&self) -> Format {
        Format::Avif
    }

    fn sniff(&self, bytes: &[u8]) -> bool {
        sniff(bytes)
    }

    fn probe(&self, bytes: &[u8], limits: &Limits) -> Result<Info, Fault> {
        guarded(self.name(), || Ok(Picture::open(bytes, limits)?.info()))
    }

    fn memory(&self, bytes: &[u8], info: &Info) -> u64 {
        let pixels = u64::from(info.width) * u64::from(info.height);
        let open = || Ok(Picture::open(bytes, &Limits::default())?.still.memory(pixels));
        // What cannot be opened is refused before it is decoded.
        let still =
            if bytes.is_empty() { pixels.saturating_mul(MOST) } else { guarded(self.name(), open).unwrap_or(0) };
        still.saturating_add(pixels.saturating_mul(3))
    }

    fn decode<'s>(
        &self,
        bytes: &'s [u8],
        want: Want<'_>,
        limits: &Limits,
        scratch: &'s mut Scratch,
    ) -> Result<Decoded<'s>, Fault> {
        let region = want.region("an AVIF")?;
        let (width, height) = guarded(self.name(), || {
            let picture = Picture::open(bytes, limits)?;
            let (width, height) = picture.size;
            region_of(region, width, height)?;
            let surface = picture.surface(limits)?;
            let rgb = sized(&mut scratch.bytes, width as usize * height as usize * 3);
            surface.rgb(picture.properties.colour.unwrap_or(Colour::default()), rgb)?;
            Ok((width, height))
        })?;
        Ok(Decoded::Pixels(Pixels::picture(&scratch.bytes, Rect { x: 0, y: 0, width, height })))
    }
}

#[cfg(test)]
mod tests;
