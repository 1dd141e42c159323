//! What a scan's headers say of how its data are coded, and Huffman's codes (ITU-T T.81, annexes B, C and F).
//!
//! Stricter than decoders are: only what encoders write is read here. Of anything else a file has no table, and is decoded as a whole.

use libjpeg_turbo_rs::common::tables;
use smallvec::SmallVec;

use super::super::jpeg_header::{self, Header};

/// Bits that are looked up at once.
const FAST: u32 = 9;

/// Categories of differences of DC in 8 bits (table F.1).
pub(super) const CATEGORIES: usize = 12;

/// The counts of codes by length, and their values in order, as a DHT segment has them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spec<'a> {
    counts: &'a [u8; 16],
    values: &'a [u8],
}

/// Codes to be read.
pub(super) struct Huffman<'a> {
    /// By the next [`FAST`] bits: the length of the code in the upper byte, 0 for a longer one, and its value.
    fast: [u16; 1 << FAST],
    /// By length: the 16 bits behind those that begin a code of this length or a shorter one.
    limits: [u32; 17],
    /// By length: what is added to a code for the place of its value.
    places: [i32; 17],
    values: &'a [u8],
}

impl<'a> Spec<'a> {
    /// Reads one table of a DHT segment; returns its class and number, and what stands behind it.
    fn read(segment: &'a [u8]) -> Option<(u8, Self, &'a [u8])> {
        let (&of, rest) = segment.split_first()?;
        let (counts, rest) = rest.split_first_chunk::<16>()?;
        let values = counts.iter().map(|n| usize::from(*n)).sum();
        let (values, rest) = rest.split_at_checked(values)?;
        Some((of, Spec { counts, values }, rest))
    }

    /// Whether this is the one of annex K.3 that decoders have, ready made, for the class and number `of` of a file that brings none.
    pub(super) fn is_standard(&self, of: u8) -> bool {
        let (counts, values): (&[u8; 17], &[u8]) = match of {
            0x00 => (&tables::DC_LUMINANCE_BITS, &tables::DC_LUMINANCE_VALUES),
            0x01 => (&tables::DC_CHROMINANCE_BITS, &tables::DC_CHROMINANCE_VALUES),
            0x10 => (&tables::AC_LUMINANCE_BITS, &tables::AC_LUMINANCE_VALUES),
            0x11 => (&tables::AC_CHROMINANCE_BITS, &tables::AC_CHROMINANCE_VALUES),
            _ => return false,
        };
        self.counts[..] == counts[1..] && self.values == values
    }

    /// Calls with each code, its length and its value, in order; returns the first code behind them, with the length of the last.
    fn codes(&self, mut each: impl FnMut(u32, usize, u8)) -> Option<(u32, usize)> {
        let (mut code, mut place, mut behind) = (0u32, 0, (0, 0));
        for length in 1..=16 {
            for _ in 0..self.counts[length - 1] {
                // None is all ones.
                if code + 1 >= 1 << length {
                    return None;
                }
                each(code, length, *self.values.get(place)?);
                code += 1;
                place += 1;
                behind = (code, length);
            }
            code <<= 1;
        }
        Some(behind)
    }

    /// The codes of a table with all categories of DC: those that it lacks stand behind the others, under the code of ones.
    /// `None` if there is no room for them, or what it has are not just such.
    pub(super) fn whole_dc(&self) -> Option<Dc> {
        let mut is_there = [false; CATEGORIES];
        for value in self.values {
            let there = is_there.get_mut(usize::from(*value))?;
            if std::mem::replace(there, true) {
                return None;
            }
        }
        let (behind, last) = self.codes(|_, _, _| {})?;
        let mut dc =
            Dc { counts: *self.counts, values: self.values.iter().copied().collect(), codes: [(0, 0); CATEGORIES] };
        let lacks = is_there.iter().filter(|there| !**there).count();
        if lacks > 0 {
            let (first, last) = if last == 0 { (0, 1) } else { (behind, last) };
            let fits = |length: &usize| (((1 << last) - first) << (length - last)) > lacks as u32;
            let length = (last..=16).find(fits)?;
            dc.counts[length - 1] += lacks as u8;
            dc.values.extend((0..CATEGORIES as u8).filter(|value| !is_there[usize::from(*value)]));
        }
        let whole = Spec { counts: &dc.counts, values: &dc.values };
        let mut codes = [(0, 0); CATEGORIES];
        whole.codes(|code, length, value| codes[usize::from(value)] = (code, length as u32))?;
        dc.codes = codes;
        Some(dc)
    }

    /// Appends a DHT segment of this table alone.
    pub(super) fn write(&self, of: u8, out: &mut Vec<u8>) {
        let length = 2 + 1 + 16 + self.values.len() as u16;
        out.extend_from_slice(&[0xff, 0xc4]);
        out.extend_from_slice(&length.to_be_bytes());
        out.push(of);
        out.extend_from_slice(self.counts);
        out.extend_from_slice(self.values);
    }
}

/// Whether the tables of a DHT segment, given without its marker and length, are all [standard](Spec::is_standard).
pub(super) fn are_standard(mut segment: &[u8]) -> bool {
    while !segment.is_empty() {
        match Spec::read(segment) {
            Some((of, spec, behind)) if spec.is_standard(of) => segment = behind,
            _ => return false,
        }
    }
    true
}

/// A table of DC that has every category.
pub(super) struct Dc {
    counts: [u8; 16],
    values: SmallVec<[u8; CATEGORIES]>,
    /// By category: its code, and how many bits that has.
    codes: [(u32, u32); CATEGORIES],
}

impl Dc {
    pub(super) fn spec(&self) -> Spec<'_> {
        Spec { counts: &self.counts, values: &self.values }
    }

    /// The bits of a difference, code and all (F.1.2.1), and how many there are; `None` for one that 8 bits a sample cannot have.
    pub(super) fn bits(&self, difference: i32) -> Option<(u32, u32)> {
        let category = 32 - difference.unsigned_abs().leading_zeros();
        let (code, length) = *self.codes.get(category as usize)?;
        let value = if difference < 0 { difference - 1 } else { difference } as u32;
        Some((code << category | value & ((1 << category) - 1), length + category))
    }
}

impl<'a> Huffman<'a> {
    pub(super) fn new(spec: Spec<'a>) -> Option<Self> {
        let mut made = Huffman { fast: [0; 1 << FAST], limits: [0; 17], places: [0; 17], values: spec.values };
        let mut place = 0;
        let mut before = 0;
        let mut ends = [0u32; 17];
        spec.codes(|code, length, value| {
            if length != before {
                made.places[length] = place - code as i32;
                before = length;
            }
            ends[length] = (code + 1) << (16 - length);
            if length as u32 <= FAST {
                let from = (code << (FAST - length as u32)) as usize;
                made.fast[from..from + (1 << (FAST - length as u32))].fill((length as u16) << 8 | u16::from(value));
            }
            place += 1;
        })?;
        let mut limit = 0;
        for (to, end) in made.limits.iter_mut().zip(ends) {
            limit = end.max(limit);
            *to = limit;
        }
        Some(made)
    }

    /// The length and the value of the code that 16 bits begin with; a length of 0 if none does.
    #[inline(always)]
    pub(super) fn find(&self, bits: u32) -> (u32, u8) {
        let found = self.fast[(bits >> (16 - FAST)) as usize];
        if found != 0 {
            return (u32::from(found >> 8), found as u8);
        }
        self.find_long(bits)
    }

    #[cold]
    fn find_long(&self, bits: u32) -> (u32, u8) {
        let length = (FAST as usize + 1..17).find(|length| bits < self.limits[*length]);
        let Some(length) = length else { return (0, 0) };
        let place = self.places[length] + (bits >> (16 - length)) as i32;
        let value = usize::try_from(place).ok().and_then(|place| self.values.get(place));
        value.map_or((0, 0), |value| (length as u32, *value))
    }
}

/// One component of a scan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Component {
    /// Blocks of it in an MCU.
    pub(super) blocks: u32,
    /// The numbers of its tables.
    pub(super) dc: usize,
    pub(super) ac: usize,
}

/// How the data of a picture's only scan are coded.
pub(super) struct Coding<'a> {
    pub(super) components: SmallVec<[Component; 3]>,
    /// Pixels of an MCU.
    pub(super) mcu: (u32, u32),
    /// MCUs across and down.
    pub(super) mcus: (u32, u32),
    /// MCUs between restart markers; 0: there are none.
    pub(super) restart: u32,
    /// Where the data begin.
    pub(super) data_at: usize,
    pub(super) dc: [Option<Spec<'a>>; 4],
    pub(super) ac: [Option<Spec<'a>>; 4],
}

impl<'a> Coding<'a> {
    /// Reads the headers of a file. `None` for one that is not coded in sequence, by Huffman's method, in one scan of gray or three
    /// components, or in a way that no encoder has.
    pub(super) fn read(bytes: &'a [u8], header: &Header) -> Option<Self> {
        if !header.sequential || !matches!(header.components, 1 | 3) {
            return None;
        }
        let mut dc = [None; 4];
        let mut ac = [None; 4];
        let (mut frame, mut restart): (&[u8], _) = (&[], 0);
        let mut behind = 2;
        for range in jpeg_header::segments(&bytes[..header.scan_at]) {
            // What stands between segments is passed over by decoders, or read as the end of one that is too short: here there is nothing.
            if range.start != behind {
                return None;
            }
            behind = range.end;
            let segment = bytes.get(range.start + 4..range.end)?;
            match bytes[range.start + 1] {
                0xc0 | 0xc1 => frame = segment,
                0xdb => {
                    let mut rest = segment;
                    while let Some((of, values)) = rest.split_first() {
                        rest = values.get(if of >> 4 == 0 { 64 } else { 128 }..)?;
                    }
                }
                0xdd => restart = u32::from(u16::from_be_bytes(*segment.first_chunk()?)),
                0xc4 => {
                    let mut rest = segment;
                    while !rest.is_empty() {
                        let (of, spec, behind) = Spec::read(rest)?;
                        let tables = if of >> 4 == 0 { &mut dc } else { &mut ac };
                        *tables.get_mut(usize::from(of & 15)).filter(|_| of >> 4 < 2)? = Some(spec);
                        rest = behind;
                    }
                }
                _ => {}
            }
        }
        if behind != header.scan_at {
            return None;
        }
        let of_frame = frame.get(6..)?.as_chunks::<3>().0;
        let length = usize::from(u16::from_be_bytes(*bytes.get(header.scan_at + 2..)?.first_chunk()?));
        let data_at = header.scan_at + 2 + length;
        let scan = bytes.get(header.scan_at + 4..data_at)?;
        let count = usize::from(header.components);
        if scan.len() != 1 + 2 * count + 3 || usize::from(scan[0]) != count || scan[1 + 2 * count..] != [0, 63, 0] {
            return None;
        }
        let mut components = SmallVec::new();
        let (mut across, mut down) = (1, 1);
        for (own, of_frame) in scan[1..].as_chunks::<2>().0.iter().zip(of_frame).take(count) {
            let [id, tables] = *own;
            let [of, factors, _] = *of_frame;
            let (dc, ac) = (usize::from(tables >> 4), usize::from(tables & 15));
            if id != of || dc > 3 || ac > 3 {
                return None;
            }
            let (h, v) = (u32::from(factors >> 4), u32::from(factors & 15));
            (across, down) = (h.max(across), v.max(down));
            // A scan of one component has its blocks one by one, whatever its factors (A.2.2).
            components.push(Component { blocks: if count == 1 { 1 } else { h * v }, dc, ac });
        }
        if components.len() != count {
            return None;
        }
        let mcu = if count == 1 { (8, 8) } else { (8 * across, 8 * down) };
        let mcus = (header.width.div_ceil(mcu.0), header.height.div_ceil(mcu.1));
        Some(Coding { components, mcu, mcus, restart, data_at, dc, ac })
    }

    /// The codes of each component, of DC and AC.
    pub(super) fn huffman(&self) -> Option<Tables<'a>> {
        let mut tables = Tables { dc: Default::default(), ac: Default::default() };
        for component in &self.components {
            for (tables, specs, number) in
                [(&mut tables.dc, &self.dc, component.dc), (&mut tables.ac, &self.ac, component.ac)]
            {
                if tables[number].is_none() {
                    tables[number] = Some(Box::new(Huffman::new(specs[number]?)?));
                }
            }
        }
        Some(tables)
    }
}

/// The codes of a scan, by number.
pub(super) struct Tables<'a> {
    dc: [Option<Box<Huffman<'a>>>; 4],
    ac: [Option<Box<Huffman<'a>>>; 4],
}

impl<'a> Tables<'a> {
    /// Those of a component.
    pub(super) fn of(&self, component: &Component) -> Option<(&Huffman<'a>, &Huffman<'a>)> {
        self.dc[component.dc].as_deref().zip(self.ac[component.ac].as_deref())
    }
}
