//! A walk over a scan: where MCUs begin, and the predictors of DC there, without making a pixel of it (ITU-T T.81, annex F.2).

use super::bits::Bits;
use super::coding::{Coding, Component, Huffman};

/// The largest DC of 8 bits a sample, quantised by 1.
const MOST: i32 = 2047;

/// A place in the data at which decoding may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Entry {
    /// The bit in the file, stuffing and markers counted: behind the MCU before, in front of a restart marker if there is one.
    pub(super) bit: u64,
    /// The DC that each component's next one is a difference to.
    pub(super) dc: [i16; 3],
}

/// Reads the difference of DC that a block begins with.
pub(super) fn difference(bits: &mut Bits<'_>, codes: &Huffman<'_>) -> Option<i32> {
    let (length, category) = codes.find(bits.peek());
    if length == 0 || category > 11 {
        return None;
    }
    bits.skip(length);
    let category = u32::from(category);
    let value = bits.take(category) as i32;
    let is_negative = category > 0 && value < 1 << (category - 1);
    Some(if is_negative { value + 1 - (1 << category) } else { value })
}

/// Passes over the rest of a block.
pub(super) fn rest(bits: &mut Bits<'_>, codes: &Huffman<'_>) -> Option<()> {
    let mut at = 1;
    while at < 64 {
        let (length, value) = codes.find(bits.peek());
        if length == 0 {
            return None;
        }
        let (run, size) = (u32::from(value >> 4), u32::from(value & 15));
        bits.skip(length + size);
        at += run + 1;
        if size == 0 {
            match run {
                0 => return Some(()),
                15 => continue,
                // Decoders take it for the end of a block, and no encoder writes it.
                _ => return None,
            }
        }
        if at > 64 {
            return None;
        }
    }
    // A run of zeros leads beyond the last one where nothing follows it.
    (at == 64).then_some(())
}

impl Coding<'_> {
    /// The entries at every `step`-th MCU of each row, in order, and the end of the data. `None` for what is damaged, or what an index cannot
    /// say: restart markers within a row of MCUs.
    pub(super) fn entries(&self, bytes: &[u8], step: u32) -> Option<(Vec<Entry>, Entry)> {
        let (across, down) = self.mcus;
        if self.restart > 0 && !self.restart.is_multiple_of(across) && self.restart < across * down {
            return None;
        }
        let tables = self.huffman()?;
        let components: Vec<(&Component, &Huffman<'_>, &Huffman<'_>)> = self
            .components
            .iter()
            .map(|component| tables.of(component).map(|(dc, ac)| (component, dc, ac)))
            .collect::<Option<_>>()?;
        let mut entries = Vec::with_capacity((across.div_ceil(step) * down) as usize);
        let mut bits = Bits::at(bytes, self.data_at as u64 * 8);
        let mut dc = [0i16; 3];
        let mut restarts = 0u8;
        for row in 0..down {
            let restarts_here = self.restarts_at(row);
            for column in 0..across {
                if restarts_here && column == 0 {
                    dc = [0; 3];
                }
                if column.is_multiple_of(step) {
                    entries.push(Entry { bit: bits.place(), dc });
                }
                if restarts_here && column == 0 {
                    if !bits.restart(restarts & 7) {
                        return None;
                    }
                    restarts = restarts.wrapping_add(1);
                }
                for (dc, (component, dc_codes, ac_codes)) in dc.iter_mut().zip(&components) {
                    for _ in 0..component.blocks {
                        let now = i32::from(*dc) + difference(&mut bits, dc_codes)?;
                        *dc = i16::try_from(now).ok().filter(|_| now.abs() <= MOST)?;
                        rest(&mut bits, ac_codes)?;
                    }
                }
                if bits.is_over() {
                    return None;
                }
            }
        }
        Some((entries, Entry { bit: bits.place(), dc: [0; 3] }))
    }

    /// Whether there is a restart marker in front of a row of MCUs.
    pub(super) fn restarts_at(&self, row: u32) -> bool {
        self.restart > 0 && row > 0 && (row * self.mcus.0).is_multiple_of(self.restart)
    }
}
