//! Regions of a JPEG by libjpeg-turbo (C), whose pixels are those of the decoder in Rust.
//!
//! Only what it decodes without a warning is taken from it. All else (damage, samplings that its interface has no name for) the other decoder
//! decodes or refuses, so that the feature changes no pixel and lets no damaged file through. Its quick path through the data has no
//! warning for a code that does not exist; it takes the other one where there are restarts. So the file gets a segment that speaks of them, and
//! of so many MCUs that none comes.

use std::os::raw::c_int;

use turbojpeg_sys as raw;

use super::{Header, MARGIN, columns, jpeg_header, shortened, sized};
use crate::codec::{Limits, Rect};

/// An instance of the library. It never leaves the function that makes it.
struct Instance(raw::tjhandle);

impl Instance {
    fn new() -> Option<Self> {
        // SAFETY: it takes any number, and what is not null is ours until `drop`.
        let handle = unsafe { raw::tj3Init(raw::TJINIT_TJINIT_DECOMPRESS as c_int) };
        (!handle.is_null()).then_some(Instance(handle))
    }

    /// A parameter; -1 if it is not known.
    fn get(&self, parameter: raw::TJPARAM) -> c_int {
        // SAFETY: the instance lives.
        unsafe { raw::tj3Get(self.0, parameter as c_int) }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: it is ours, and nobody has it behind this.
        unsafe { raw::tj3Destroy(self.0) }
    }
}

/// Pixels of an MCU across, which a crop's left edge is at a multiple of.
fn mcu_width(sampling: c_int) -> Option<u32> {
    match sampling {
        raw::TJSAMP_TJSAMP_444 | raw::TJSAMP_TJSAMP_440 | raw::TJSAMP_TJSAMP_441 | raw::TJSAMP_TJSAMP_GRAY => Some(8),
        raw::TJSAMP_TJSAMP_422 | raw::TJSAMP_TJSAMP_420 => Some(16),
        raw::TJSAMP_TJSAMP_411 => Some(32),
        _ => None,
    }
}

/// MCUs between restarts, the most that can be stated, and the segment that states them.
const INTERVAL: u32 = u16::MAX as u32;
const RESTARTS: [u8; 6] = [0xff, 0xdd, 0, 4, 0xff, 0xff];

/// Copies a file with fewer rows, and with a segment that speaks of restarts, for the library's strict path. `None`: there would be some.
fn strict(bytes: &[u8], header: &Header, rows: u32, copy: &mut Vec<u8>) -> Option<()> {
    shortened(bytes, header, rows, copy)?;
    let scan_at = copy.len() - (bytes.len() - header.scan_at);
    let stated = jpeg_header::segments(&copy[..scan_at]).filter(|segment| copy[segment.start + 1] == 0xdd).last();
    let stated = stated.and_then(|segment| copy.get(segment.start + 4..segment.start + 6));
    if stated.is_none_or(|interval| interval == [0, 0]) {
        // At the most, as MCUs may be wider.
        let mcus = header.width.div_ceil(8) * rows.div_ceil(header.mcu_rows);
        if mcus > INTERVAL {
            return None;
        }
        copy.splice(scan_at..scan_at, RESTARTS);
    }
    Some(())
}

/// Decodes a region of a file (of which `header` was read), and perhaps columns around it, into the beginning of `out` as RGB; `copy` is
/// room. Returns what of the picture is there; `None` if the other decoder is to be asked, and then `out` holds anything.
pub(super) fn decode(
    bytes: &[u8],
    header: &Header,
    region: Rect,
    limits: &Limits,
    copy: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Option<Rect> {
    if !header.sequential || header.components > 3 {
        return None;
    }
    // A row is left below the region in any case, unless the picture ends with it: behind the last row the library looks for the end of the
    // data, and warns if it is somewhere else.
    let margin = if header.rows_subsampled { MARGIN } else { 1 };
    let rows = (region.y + region.height + margin).min(header.height);
    strict(bytes, header, rows, copy)?;
    let bytes = copy.as_slice();
    let instance = Instance::new()?;
    let length = raw::size_t::try_from(bytes.len()).ok()?;
    // SAFETY: the length is the slice's.
    if unsafe { raw::tj3DecompressHeader(instance.0, bytes.as_ptr(), length) } != 0 {
        return None;
    }
    let size = [raw::TJPARAM_TJPARAM_JPEGWIDTH, raw::TJPARAM_TJPARAM_JPEGHEIGHT].map(|side| instance.get(side));
    if size.map(u32::try_from) != [Ok(header.width), Ok(rows)] {
        return None;
    }
    let (x, end) = columns(header, region);
    let left = x - x % mcu_width(instance.get(raw::TJPARAM_TJPARAM_SUBSAMP))?;
    let made = Rect { x: left, width: end.checked_sub(left)?, ..region };
    let [x, y, w, h] = [made.x, made.y, made.width, made.height].map(c_int::try_from);
    let crop = raw::tjregion { x: x.ok()?, y: y.ok()?, w: w.ok()?, h: h.ok()? };
    // SAFETY: the instance lives; it refuses what is not within the picture.
    if unsafe { raw::tj3SetCroppingRegion(instance.0, crop) } != 0 {
        return None;
    }
    let room = u64::from(made.width).checked_mul(u64::from(made.height))?.checked_mul(3)?;
    Limits::check("decoded bytes", room, limits.decoded_bytes).ok()?;
    let to = sized(out, usize::try_from(room).ok()?);
    // SAFETY: the length is the slice's. Rows of the region's width are written (a pitch of 0), as many as it is high; it was checked
    // against the same headers, and the library stops where they give another. `to` has room for just these.
    let done =
        unsafe { raw::tj3Decompress8(instance.0, bytes.as_ptr(), length, to.as_mut_ptr(), 0, raw::TJPF_TJPF_RGB) };
    (done == 0).then_some(made)
}

#[cfg(test)]
mod tests;
