//! An index as it is stored: entries at every few MCUs of each row, as differences to what their neighbours say, in Golomb-Rice codes
//! (Rice, 1979).
//!
//! | bytes | what |
//! |---|---|
//! | 1 | 1, the version of the form |
//! | 8 | XXH3 of the payload |
//! | 2 | MCUs from one entry of a row to the next |
//! | 1 + 1 a component | the parameters of the codes: of the bits between entries, of each component's DC |
//! | the rest | the entries, row by row, as bits, the highest of a byte first |
//!
//! Numbers are little-endian. The first entry of all is not there: it is where the data begin. Behind the last one is the end.

use super::walk::Entry;
use crate::error::{Fault, Reason};

/// The version of the form.
pub(super) const VERSION: u8 = 1;

/// Bytes in front of the parameters.
const HEAD: usize = 11;

/// Quotients from this one on stand for a number in 40 bits.
const ESCAPE: u32 = 24;
const ESCAPED: u32 = 40;

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// What the entries around one say of it.
struct Neighbours {
    /// How far the entry before was from its own one before, and its DC.
    before: (u64, [i16; 3]),
    /// The same of the row above, by columns.
    above: Vec<(u64, [i16; 3])>,
    components: usize,
}

impl Neighbours {
    fn new(a_row: usize, components: usize) -> Self {
        Neighbours { before: (0, [0; 3]), above: vec![(0, [0; 3]); a_row], components }
    }

    /// What is expected of the entry at a column: bits since the entry before, DC.
    fn expected(&self, column: usize) -> (i64, [i64; 3]) {
        let (bits, dc) = self.before;
        let (bits_above, dc_above) = self.above[column];
        let mean = |a: i64, b: i64| (a + b) >> 1;
        let mut expected = [0; 3];
        for (at, expected) in expected.iter_mut().enumerate().take(self.components) {
            *expected = mean(i64::from(dc[at]), i64::from(dc_above[at]));
        }
        (mean(bits as i64, bits_above as i64), expected)
    }

    fn see(&mut self, column: usize, bits: u64, dc: [i16; 3]) {
        self.before = (bits, dc);
        self.above[column] = self.before;
    }
}

/// The numbers that stand for entries: of bits, then of each component.
fn numbers(entries: &[Entry], a_row: usize, components: usize) -> Vec<[u64; 4]> {
    let mut around = Neighbours::new(a_row, components);
    let pairs = entries.windows(2).enumerate();
    let numbers = pairs.map(|(at, two)| {
        let column = (at + 1) % a_row;
        let bits = two[1].bit - two[0].bit;
        let (expected, dc) = around.expected(column);
        let mut numbers = [zigzag(bits as i64 - expected), 0, 0, 0];
        for (at, expected) in dc.iter().enumerate().take(components) {
            numbers[1 + at] = zigzag(i64::from(two[1].dc[at]) - expected);
        }
        around.see(column, bits, two[1].dc);
        numbers
    });
    numbers.collect()
}

/// Bits of a number in a code.
fn cost(number: u64, parameter: u32) -> u64 {
    match number >> parameter {
        quotient if quotient < u64::from(ESCAPE) => quotient + 1 + u64::from(parameter),
        _ => u64::from(ESCAPE + ESCAPED),
    }
}

/// Packs entries, `a_row` of each row and the end, into a table of `most` bytes at the most.
pub(super) fn pack(
    hash: u64,
    step: u16,
    a_row: usize,
    components: usize,
    entries: &[Entry],
    most: usize,
) -> Option<Vec<u8>> {
    let numbers = numbers(entries, a_row, components);
    let mut parameters = [0u32; 4];
    let mut bits = 0;
    for (at, parameter) in parameters.iter_mut().enumerate().take(1 + components) {
        let cost = |parameter: &u32| numbers.iter().map(|all| cost(all[at], *parameter)).sum::<u64>();
        let sum: u64 = numbers.iter().map(|all| all[at]).sum();
        // The best one is near the logarithm of the mean.
        let mean = (sum / numbers.len().max(1) as u64).checked_ilog2().unwrap_or(0).min(30);
        let (least, best) = (mean.saturating_sub(1)..=mean + 1).map(|p| (cost(&p), p)).min()?;
        *parameter = best;
        bits += least;
    }
    let length = HEAD + 1 + components + usize::try_from(bits.div_ceil(8)).ok()?;
    if length > most {
        return None;
    }
    let mut table = Vec::with_capacity(length);
    table.push(VERSION);
    table.extend_from_slice(&hash.to_le_bytes());
    table.extend_from_slice(&step.to_le_bytes());
    table.extend(parameters[..=components].iter().map(|p| *p as u8));
    let (mut buffer, mut held) = (0u64, 0);
    let mut put = |value: u64, bits: u32| {
        buffer = buffer << bits | value & ((1 << bits) - 1);
        held += bits;
        while held >= 8 {
            held -= 8;
            table.push((buffer >> held) as u8);
        }
    };
    for all in &numbers {
        for (number, parameter) in all.iter().zip(&parameters[..=components]) {
            match number >> parameter {
                quotient if quotient < u64::from(ESCAPE) => {
                    // Ones, and a zero behind them.
                    put((1 << (quotient + 1)) - 2, quotient as u32 + 1);
                    put(*number, *parameter);
                }
                _ => {
                    put((1 << ESCAPE) - 1, ESCAPE);
                    put(*number, ESCAPED);
                }
            }
        }
    }
    put(0, 7);
    Some(table)
}

/// A table being read.
pub(super) struct Table<'t> {
    pub(super) hash: u64,
    pub(super) step: u32,
    parameters: [u32; 4],
    components: usize,
    entries: &'t [u8],
}

pub(super) fn disagrees(what: &str) -> Fault {
    Fault::new(Reason::Corrupt, format!("the crop index is not one of this payload: {what}"))
}

impl<'t> Table<'t> {
    /// Reads the head of a table of this form, of a picture of so many components.
    pub(super) fn read(table: &'t [u8], components: usize) -> Result<Self, Fault> {
        let short = || disagrees("it is too short");
        let (head, rest) = table.split_first_chunk::<HEAD>().ok_or_else(short)?;
        let (told, entries) = rest.split_at_checked(1 + components).ok_or_else(short)?;
        let mut parameters = [0; 4];
        parameters.iter_mut().zip(told).for_each(|(to, from)| *to = u32::from(*from));
        let [_, a, b, c, d, e, f, g, h, low, high] = *head;
        let step = u32::from(u16::from_le_bytes([low, high]));
        if step == 0 || parameters.iter().any(|p| *p > 31) {
            return Err(disagrees("its numbers are none"));
        }
        Ok(Table { hash: u64::from_le_bytes([a, b, c, d, e, f, g, h]), step, parameters, components, entries })
    }

    /// Calls with the entries of the rows `rows`, `a_row` each and the one behind them, row by row; `first` is the first of all.
    /// Each call gets a row of them, and the one behind.
    pub(super) fn rows(
        &self,
        first: Entry,
        a_row: usize,
        rows: std::ops::Range<u32>,
        mut each: impl FnMut(u32, &[Entry]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut around = Neighbours::new(a_row, self.components);
        let mut codes = Codes { bytes: self.entries, buffer: 0, held: 0, over: 0 };
        let mut row: Vec<Entry> = Vec::with_capacity(a_row + 1);
        row.push(first);
        for number in 0..rows.end {
            for column in 1..=a_row {
                let column = column % a_row;
                let (expected, expected_dc) = around.expected(column);
                let bits = expected.saturating_add(unzigzag(codes.next(self.parameters[0])));
                let mut dc = [0; 3];
                for (at, dc) in dc.iter_mut().enumerate().take(self.components) {
                    let value = expected_dc[at].saturating_add(unzigzag(codes.next(self.parameters[1 + at])));
                    *dc = i16::try_from(value).map_err(|_| disagrees("a DC that is none"))?;
                }
                let bits = u64::try_from(bits).map_err(|_| disagrees("it goes backwards"))?;
                let before = row.last().map_or(0, |entry| entry.bit);
                let bit = before
                    .checked_add(bits)
                    .filter(|bit| *bit >> 60 == 0)
                    .ok_or_else(|| disagrees("it goes too far"))?;
                around.see(column, bits, dc);
                row.push(Entry { bit, dc });
            }
            if codes.over > codes.held {
                return Err(disagrees("it ends before its last row"));
            }
            if rows.contains(&number) {
                each(number, &row)?;
            }
            row.drain(..a_row);
        }
        Ok(())
    }
}

/// Reads numbers.
struct Codes<'t> {
    bytes: &'t [u8],
    buffer: u64,
    held: u32,
    /// Bits behind the end.
    over: u32,
}

impl Codes<'_> {
    fn fill(&mut self) {
        while self.held <= 56 {
            let byte = match self.bytes.split_first() {
                Some((byte, rest)) => {
                    self.bytes = rest;
                    *byte
                }
                None => {
                    self.over = self.over.saturating_add(8);
                    0
                }
            };
            self.buffer = self.buffer << 8 | u64::from(byte);
            self.held += 8;
        }
    }

    fn take(&mut self, bits: u32) -> u64 {
        self.held -= bits;
        self.buffer >> self.held & ((1 << bits) - 1)
    }

    fn next(&mut self, parameter: u32) -> u64 {
        self.fill();
        let ones = (self.buffer << (64 - self.held)).leading_ones();
        if ones < ESCAPE {
            self.held -= ones + 1;
            // At most 24 are gone, and a parameter is 31 at the most.
            return u64::from(ones) << parameter | self.take(parameter);
        }
        self.held -= ESCAPE;
        self.fill();
        self.take(ESCAPED)
    }
}
