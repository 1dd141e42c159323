//! A JPEG of what a region needs of another: the same blocks, under headers of another size.
//!
//! Of each row of MCUs the bits are copied from the entry in front of the region on, shifted to where they are now, each row behind a
//! restart marker. Only the first difference of DC of each component is another one, as restarts begin at 0. What stands behind the last MCU of
//! the region in its row stays, up to the next entry: decoders look for the marker and pass over it, as libjpeg does.

use super::bits::{Bits, Writer};
use super::coding::{Coding, Dc, Spec, Tables};
use super::table::{Table, disagrees};
use super::walk::{Entry, difference, rest};
use super::{Header, Rect, columns, jpeg_header};
use crate::error::Fault;

/// What is made of a file for a region.
pub(super) struct Crop {
    /// What the headers say that were made.
    pub(super) header: Header,
    /// Where it begins in the picture.
    pub(super) x: u32,
    pub(super) y: u32,
}

/// A region in MCUs, and the pixels of it that are kept.
#[derive(Clone, Copy)]
struct Span {
    /// The first entry of a row, and MCU, and how many MCUs.
    entry: u32,
    column: u32,
    columns: u32,
    row: u32,
    rows: u32,
    width: u32,
    height: u32,
}

/// MCUs across and down of a picture that is large enough for parts of it to be worth finding.
const LEAST: u32 = 4;

/// MCUs from one entry of a row to the next, from fine to coarse: some 32 pixels and twice as many each time, up to all of a row.
pub(super) fn steps(coding: &Coding<'_>) -> impl Iterator<Item = u32> {
    let across = coding.mcus.0;
    let finest = 32u32.div_ceil(coding.mcu.0);
    let doubled = std::iter::successors(Some(finest), |step| step.checked_mul(2));
    doubled.take_while(move |step| *step < across).chain([across]).filter(|step| *step <= u32::from(u16::MAX))
}

/// Whether a picture is large enough for parts of it to be worth finding.
pub(super) fn is_worth_it(coding: &Coding<'_>) -> bool {
    coding.mcus.0 >= LEAST && coding.mcus.1 >= LEAST
}

/// The tables of DC with all categories, by number.
pub(super) fn whole_dc(coding: &Coding<'_>) -> Option<[Option<Dc>; 4]> {
    let mut whole = [const { None }; 4];
    for component in &coding.components {
        let number = component.dc;
        if whole[number].is_none() {
            whole[number] = Some(coding.dc[number]?.whole_dc()?);
        }
    }
    Some(whole)
}

/// Makes the JPEG of a region into `out`, if that is less work than decoding what lies above its lower edge.
///
/// # Errors
/// A table that is not one of this payload.
pub(super) fn cut(
    bytes: &[u8],
    header: &Header,
    coding: &Coding<'_>,
    table: &Table<'_>,
    region: Rect,
    out: &mut Vec<u8>,
) -> Result<Option<Crop>, Fault> {
    let Some(span) = span(header, coding, table.step, region) else { return Ok(None) };
    let headers = || disagrees("its headers are none that have an index");
    let dc = whole_dc(coding).ok_or_else(headers)?;
    let tables = coding.huffman().ok_or_else(headers)?;
    let crop = Crop {
        header: Header { width: span.width, height: span.height, ..*header },
        x: span.column * coding.mcu.0,
        y: span.row * coding.mcu.1,
    };
    out.clear();
    write_headers(bytes, header, coding, &dc, span, out);
    let first = Entry { bit: coding.data_at as u64 * 8, dc: [0; 3] };
    let a_row = coding.mcus.0.div_ceil(table.step) as usize;
    let from = span.entry as usize;
    let to = (span.column + span.columns).div_ceil(table.step) as usize;
    let mut writer = Writer::new(out);
    let walk = Walk { bytes, coding, dc: &dc, tables: &tables };
    table.rows(first, a_row, span.row..span.row + span.rows, |row, entries| {
        if row > span.row {
            writer.marker(0xd0 + ((row - span.row - 1) & 7) as u8);
        }
        let is_in_front_of_marker = from == 0 && coding.restarts_at(row);
        walk.row(&entries[from], is_in_front_of_marker, entries[to].bit, &mut writer)
    })?;
    writer.marker(0xd9);
    Ok(Some(crop))
}

/// What of a picture is taken for a region; `None` if it is hardly less than what lies above the region's lower edge.
fn span(header: &Header, coding: &Coding<'_>, step: u32, region: Rect) -> Option<Span> {
    let (left, right) = columns(header, region);
    let (above, below) = if header.rows_subsampled { (1, super::MARGIN) } else { (0, 0) };
    let top = region.y.saturating_sub(above);
    let bottom = (region.y + region.height + below).min(header.height);
    let (across, _) = coding.mcus;
    let (mcu_width, mcu_height) = coding.mcu;
    let entry = left / mcu_width / step;
    let column = entry * step;
    let row = top / mcu_height;
    let (columns, rows) = (right.div_ceil(mcu_width) - column, bottom.div_ceil(mcu_height) - row);
    let (work, plain) = (u64::from(columns) * u64::from(rows), u64::from(across) * u64::from(row + rows));
    (work * 10 <= plain * 9).then_some(Span {
        entry,
        column,
        columns,
        row,
        rows,
        width: right - column * mcu_width,
        height: bottom - row * mcu_height,
    })
}

/// Headers of another size, without metadata, with restarts at each row, and with tables of DC that have all categories.
fn write_headers(
    bytes: &[u8],
    header: &Header,
    coding: &Coding<'_>,
    dc: &[Option<Dc>; 4],
    span: Span,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(&bytes[..2]);
    for segment in jpeg_header::segments(&bytes[..header.scan_at]) {
        // Tables of codes and restarts are written below.
        if super::is_metadata(bytes[segment.start + 1]) || matches!(bytes[segment.start + 1], 0xc4 | 0xdd) {
            continue;
        }
        let from = out.len();
        out.extend_from_slice(&bytes[segment.clone()]);
        if segment.contains(&header.height_at) {
            let at = from + header.height_at - segment.start;
            out[at..at + 2].copy_from_slice(&(span.height as u16).to_be_bytes());
            out[at + 2..at + 4].copy_from_slice(&(span.width as u16).to_be_bytes());
        }
    }
    // Those that the decoder has by itself are left out: it has them ready.
    let codes = |of: u8, spec: Spec<'_>, out: &mut Vec<u8>| {
        if !spec.is_standard(of) {
            spec.write(of, out)
        }
    };
    for (number, dc) in dc.iter().enumerate() {
        if let Some(dc) = dc {
            codes(number as u8, dc.spec(), out);
        }
    }
    let used = |number: &usize| coding.components.iter().any(|component| component.ac == *number);
    let ac = |number: usize| coding.ac[number].map(|spec: Spec<'_>| (number, spec));
    for (number, spec) in (0..4).filter(used).filter_map(ac) {
        codes(0x10 | number as u8, spec, out);
    }
    if span.rows > 1 {
        out.extend_from_slice(&[0xff, 0xdd, 0, 4]);
        out.extend_from_slice(&(span.columns as u16).to_be_bytes());
    }
    out.extend_from_slice(&bytes[header.scan_at..coding.data_at]);
}

/// What is needed to go over the data of a file.
struct Walk<'w, 'b> {
    bytes: &'b [u8],
    coding: &'w Coding<'b>,
    dc: &'w [Option<Dc>; 4],
    tables: &'w Tables<'b>,
}

impl Walk<'_, '_> {
    /// Copies a row from one entry on, in front of which is a restart marker or none, up to a bit.
    fn row(&self, entry: &Entry, is_in_front_of_marker: bool, end: u64, writer: &mut Writer<'_>) -> Result<(), Fault> {
        let wrong = || disagrees("there is no MCU where it says");
        let start = match is_in_front_of_marker {
            false => entry.bit,
            true => {
                let (byte, rest) = (entry.bit / 8, entry.bit % 8);
                // What is left of a byte fills it up; one of ones has a byte of stuffing.
                let is_stuffed = self.bytes.get(byte as usize) == Some(&0xff);
                let at = byte + if rest == 0 { 0 } else { 1 + u64::from(is_stuffed) };
                let marker = self.bytes.get(at as usize..).and_then(<[u8]>::first_chunk);
                if !matches!(marker, Some([0xff, 0xd0..=0xd7])) {
                    return Err(wrong());
                }
                (at + 2) * 8
            }
        };
        let mut bits = Bits::at(self.bytes, start);
        let mut copied = start;
        for (at, component) in self.coding.components.iter().enumerate() {
            let (dc_codes, ac_codes) = self.tables.of(component).ok_or_else(wrong)?;
            if at > 0 {
                // The blocks of the one before.
                let place = bits.place();
                if !writer.copy(self.bytes, copied, place) {
                    return Err(wrong());
                }
            }
            let now = difference(&mut bits, dc_codes).ok_or_else(wrong)? + i32::from(entry.dc[at]);
            let (value, length) = self.dc[component.dc].as_ref().and_then(|dc| dc.bits(now)).ok_or_else(wrong)?;
            writer.put(value, length);
            copied = bits.place();
            if at + 1 < self.coding.components.len() {
                rest(&mut bits, ac_codes).ok_or_else(wrong)?;
                for _ in 1..component.blocks {
                    difference(&mut bits, dc_codes).ok_or_else(wrong)?;
                    rest(&mut bits, ac_codes).ok_or_else(wrong)?;
                }
            }
        }
        if bits.is_over() || !writer.copy(self.bytes, copied, end) {
            return Err(wrong());
        }
        Ok(())
    }
}
