//! Sequence parameter sets of H.264 (ITU-T H.264, 7.3.2.1.1 and E.1.1): what of them is decoded, and the picture they tell of.
//!
//! The decoder reads them too, but neither cropping on the left and above, nor colours, nor bounds on what sizes its memory.

use super::{corrupt, unsupported};
use crate::codec::container::Colour;
use crate::codec::video::bits::Bits;
use crate::codec::video::picture::{Chroma, Picture};
use crate::error::Fault;

/// The fields of a sequence parameter set that slice headers depend on (7.3.2.1.1).
#[derive(Debug, Clone, Copy)]
pub(super) struct Sequence {
    pub(super) picture: Picture,
    /// Pictures that the decoder must keep for reference.
    pub(super) references: u32,
    pub(super) frame_num_bits: u32,
    pub(super) order_type: u32,
    pub(super) order_bits: u32,
    pub(super) order_always_zero: bool,
    pub(super) gaps: bool,
    pub(super) frames_only: bool,
}

/// A sequence parameter set and its id (7.3.2.1.1, E.1.1).
pub(super) fn sequence(raw: &[u8]) -> Result<(u32, Sequence), Fault> {
    let mut bits = Bits::new(raw);
    let profile = bits.take(8)?;
    bits.take(16)?;
    let id = bits.ue_to("seq_parameter_set_id", 31)?;
    if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
        let chroma = bits.ue_to("chroma_format_idc", 3)?;
        let depth = match chroma {
            3 if bits.flag()? => return Err(unsupported("H.264 with separate colour planes (4:4:4)")),
            _ => (bits.ue_to("bit_depth_luma", 6)? + 8).max(bits.ue_to("bit_depth_chroma", 6)? + 8),
        };
        if depth > 8 || chroma != 1 {
            let chroma = Chroma::of_format(chroma).name();
            return Err(unsupported(format!("{depth}-bit {chroma} H.264; only 8-bit 4:2:0 is decoded")));
        }
        bits.flag()?;
        if bits.flag()? {
            for list in 0..8 {
                if bits.flag()? {
                    scaling_list(&mut bits, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    let frame_num_bits = bits.ue_to("log2_max_frame_num_minus4", 12)? + 4;
    let order_type = bits.ue_to("pic_order_cnt_type", 2)?;
    let (mut order_bits, mut order_always_zero) = (0, false);
    if order_type == 0 {
        order_bits = bits.ue_to("log2_max_pic_order_cnt_lsb_minus4", 12)? + 4;
    } else if order_type == 1 {
        if profile != 66 {
            // The decoder takes the order of decoding for it, which is wrong as soon as there are B slices.
            return Err(unsupported("H.264 with picture order count type 1"));
        }
        order_always_zero = bits.flag()?;
        bits.se()?;
        bits.se()?;
        for _ in 0..bits.ue_to("num_ref_frames_in_pic_order_cnt_cycle", 255)? {
            bits.se()?;
        }
    }
    let references = bits.ue_to("max_num_ref_frames", 16)?;
    let gaps = bits.flag()?;
    let across = u64::from(bits.ue()?) + 1;
    let down = u64::from(bits.ue()?) + 1;
    let frames_only = bits.flag()?;
    if !frames_only && bits.flag()? {
        return Err(unsupported("interlaced H.264 (MBAFF)"));
    }
    let down = if frames_only { down } else { down * 2 };
    bits.flag()?;
    let mut crop = [0; 4]; // left, right, top, bottom
    if bits.flag()? {
        for (side, edge) in crop.iter_mut().enumerate() {
            let unit = if side < 2 || frames_only { 2 } else { 4 }; // 7.4.2.1.1 for 4:2:0
            *edge = u64::from(bits.ue()?) * unit;
        }
    }
    let [left, right, top, bottom] = crop;
    let size = |coded: u64, cut: u64| {
        let left = coded.saturating_mul(16).checked_sub(cut).filter(|&n| n > 0 && coded < 1 << 16);
        left.and_then(|n| u32::try_from(n).ok()).ok_or_else(|| corrupt("the H.264 picture has no pixels or too many"))
    };
    let (width, height) = (size(across, left + right)?, size(down, top + bottom)?);
    let colour = if bits.flag()? { colours(&mut bits)? } else { Colour::default() };
    let picture = Picture {
        width,
        height,
        left: left as u32,
        top: top as u32,
        coded: (across * down).saturating_mul(256),
        depth: 8,
        chroma: Chroma::Quarter,
        colour,
    };
    let sequence =
        Sequence { picture, references, frame_num_bits, order_type, order_bits, order_always_zero, gaps, frames_only };
    Ok((id, sequence))
}

/// Passes over a scaling list (7.3.2.1.1.1).
fn scaling_list(bits: &mut Bits<'_>, size: usize) -> Result<(), Fault> {
    let (mut last, mut next) = (8i64, 8i64);
    for _ in 0..size {
        if next != 0 {
            next = (last + i64::from(bits.se()?)).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Ok(())
}

/// Matrix and range from the beginning of the usability information (E.1.1).
fn colours(bits: &mut Bits<'_>) -> Result<Colour, Fault> {
    if bits.flag()? && bits.take(8)? == 255 {
        bits.take(32)?;
    }
    if bits.flag()? {
        bits.flag()?;
    }
    if !bits.flag()? {
        return Ok(Colour::default());
    }
    bits.take(3)?;
    let full = bits.flag()?;
    let matrix = if bits.flag()? { bits.take(24)? & 255 } else { 2 };
    Ok(Colour { matrix: Some(matrix as u8).filter(|&m| m != 2), full_range: Some(full) })
}
