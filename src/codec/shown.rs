//! Pictures and frames as they are shown: codecs decode what is stored, and here it is turned, in one place for all of them.
//!
//! The caller says by the facts how: an [`Info`] without an orientation gets the pixels as they are stored, also where the
//! payload says one.

use super::{Codec, Decoded, Encoded, Limits, Pixels, Rect, Scratch, Want};
use crate::data::info::Info;
use crate::data::orientation::Orientation;
use crate::error::{Fault, Reason};

/// Decodes as [`Codec::decode`] does, but everything in coordinates of the picture as it is shown: the wanted region, the
/// pixels, their origin. `info` are the payload's facts, of which size and orientation count.
///
/// # Errors
/// Those of the codec; a region outside the picture.
pub fn decode_shown<'s>(
    codec: &dyn Codec,
    payload: impl Into<Encoded<'s>>,
    want: Want<'_>,
    info: &Info,
    limits: &Limits,
    scratch: &'s mut Scratch,
) -> Result<Decoded<'s>, Fault> {
    let payload: Encoded<'s> = payload.into();
    let turn = info.orientation;
    if turn.is_stored() {
        return payload.decode(codec, want, limits, scratch);
    }
    let stored = turn.size((info.width, info.height));
    let want = match want {
        Want::Image { region: Some(region) } => Want::Image { region: Some(as_stored(turn, stored, region)?) },
        other => other,
    };
    // The decoded pixels lie in the scratch, so they are turned into a buffer that is taken out of it for that long.
    let Turned(mut turned) = std::mem::take(scratch.state::<Turned>());
    let Decoded::Pixels(pixels) = payload.decode(codec, want, limits, scratch)? else {
        return Err(Fault::new(Reason::WrongMedia, format!("{} has no pixels that could be turned", codec.name())));
    };
    let Pixels { frames, width, height, origin: (x, y), pts_us, .. } = pixels;
    let of = as_shown(turn, stored, Rect { x, y, width, height })?;
    let times = pts_us.to_vec();
    turned.resize(pixels.data.len(), 0);
    let frame = (width as usize * height as usize * 3).max(1);
    for (from, to) in pixels.data.chunks_exact(frame).zip(turned.chunks_exact_mut(frame)) {
        turn_frame(turn, from, (width as usize, height as usize), to);
    }
    std::mem::swap(&mut scratch.bytes, &mut turned);
    *scratch.state::<Turned>() = Turned(turned);
    scratch.times = times;
    let Rect { x, y, width, height } = of;
    let pts_us = &scratch.times;
    Ok(Decoded::Pixels(Pixels { data: &scratch.bytes, frames, width, height, origin: (x, y), pts_us }))
}

/// A buffer for turned pixels, kept between calls for its memory.
#[derive(Default)]
struct Turned(Vec<u8>);

fn outside(what: Rect, (width, height): (u32, u32)) -> Fault {
    let Rect { x, y, width: w, height: h } = what;
    Fault::new(Reason::Corrupt, format!("a region of {w}x{h} at ({x}, {y}) of a picture of {width}x{height}"))
}

/// From the other end.
fn mirrored(at: u32, length: u32, whole: u32) -> Option<u32> {
    whole.checked_sub(at.checked_add(length)?)
}

/// Where a region of the shown picture is stored.
fn as_stored(turn: Orientation, (width, height): (u32, u32), region: Rect) -> Result<Rect, Fault> {
    let (x, y) = turn.size((region.x, region.y));
    let (w, h) = turn.size((region.width, region.height));
    let x = if turn.from_right() { mirrored(x, w, width) } else { Some(x) };
    let y = if turn.from_below() { mirrored(y, h, height) } else { Some(y) };
    let (Some(x), Some(y)) = (x, y) else { return Err(outside(region, turn.size((width, height)))) };
    Ok(Rect { x, y, width: w, height: h })
}

/// Where a stored region is shown.
fn as_shown(turn: Orientation, (width, height): (u32, u32), region: Rect) -> Result<Rect, Fault> {
    let Rect { x, y, width: w, height: h } = region;
    let x = if turn.from_right() { mirrored(x, w, width) } else { Some(x) };
    let y = if turn.from_below() { mirrored(y, h, height) } else { Some(y) };
    let (Some(x), Some(y)) = (x, y) else { return Err(outside(region, (width, height))) };
    let ((x, y), (width, height)) = (turn.size((x, y)), turn.size((w, h)));
    Ok(Rect { x, y, width, height })
}

/// Rows and columns that are turned together, so that both sides of it stay in the nearest cache.
const TILE: usize = 32;

/// Turns one picture of `width` x `height` stored pixels.
fn turn_frame(turn: Orientation, from: &[u8], (width, height): (usize, usize), to: &mut [u8]) {
    let (from, to) = (from.as_chunks::<3>().0, to.as_chunks_mut::<3>().0);
    let row = |y: usize| if turn.from_below() { height - 1 - y } else { y };
    if !turn.swaps() {
        for (y, to) in to.chunks_exact_mut(width.max(1)).enumerate() {
            to.copy_from_slice(&from[row(y) * width..][..width]);
            if turn.from_right() {
                to.reverse();
            }
        }
        return;
    }
    // A shown row is a stored column; shown rows are `height` pixels long.
    for x0 in (0..width).step_by(TILE) {
        for y0 in (0..height).step_by(TILE) {
            for x in x0..(x0 + TILE).min(width) {
                let column = if turn.from_right() { width - 1 - x } else { x };
                let end = (y0 + TILE).min(height);
                for (y, to) in (y0..end).zip(&mut to[x * height + y0..x * height + end]) {
                    *to = from[row(y) * width + column];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The eight ways as EXIF's text has them: where the stored row 0 and column 0 are shown.
    #[test]
    fn the_first_row_and_column_go_where_the_standard_says() {
        // 3 x 2 pixels: a b c / d e f, as shown row by row.
        let ways = ["abc/def", "cba/fed", "fed/cba", "def/abc", "ad/be/cf", "da/eb/fc", "fc/eb/da", "cf/be/ad"];
        let stored: Vec<u8> = b"abcdef".iter().flat_map(|p| [*p; 3]).collect();
        for (code, way) in (1..).zip(ways) {
            let mut made = vec![0; 18];
            turn_frame(Orientation::of(code), &stored, (3, 2), &mut made);
            let want: Vec<u8> = way.bytes().filter(|b| *b != b'/').flat_map(|p| [p; 3]).collect();
            assert_eq!(made, want, "{code}");
            assert_eq!(Orientation::of(code).size((3, 2)).0 as usize, way.find('/').unwrap());
        }
    }

    #[test]
    fn regions_go_there_and_back_and_hold_the_same_pixels() {
        let (width, height) = (71usize, 45usize);
        let stored: Vec<u8> = (0..width * height).flat_map(|i| [i as u8, (i >> 8) as u8, 7]).collect();
        for turn in Orientation::ALL {
            let size = (width as u32, height as u32);
            let (shown_width, shown_height) = turn.size(size);
            let mut all = vec![0; stored.len()];
            turn_frame(turn, &stored, (width, height), &mut all);
            for region in
                [(0, 0, 1, 1), (3, 5, 30, 33), (0, 7, shown_width, 2), (shown_width - 4, shown_height - 1, 4, 1)]
            {
                let (x, y, w, h) = region;
                let region = Rect { x, y, width: w, height: h };
                let at = as_stored(turn, size, region).unwrap();
                assert_eq!(as_shown(turn, size, at).unwrap(), region);
                let cut = |data: &[u8], stride: u32, r: Rect| -> Vec<u8> {
                    let rows = r.y..r.y + r.height;
                    rows.flat_map(|y| data[((y * stride + r.x) * 3) as usize..][..r.width as usize * 3].to_vec())
                        .collect()
                };
                let part = cut(&stored, size.0, at);
                let mut made = vec![0; part.len()];
                turn_frame(turn, &part, (at.width as usize, at.height as usize), &mut made);
                assert_eq!(made, cut(&all, shown_width, region), "{turn:?} {region:?}");
            }
        }
        let wide = Rect { x: 40, y: 0, width: 6, height: 1 };
        assert!(as_stored(Orientation::of(3), (71, 45), wide).is_ok());
        assert!(as_stored(Orientation::of(6), (71, 45), wide).is_err(), "it is 45 wide as shown");
    }
}
