//! Bits of entropy-coded data (ITU-T T.81, F.2.2.5): read, with the place of each in its file, and copied to other places.

/// What has a byte of ones.
fn has_ones(bytes: u64) -> bool {
    // Of the complement: a byte of zeros.
    let zeros = !bytes;
    zeros.wrapping_sub(0x0101_0101_0101_0101) & !zeros & 0x8080_8080_8080_8080 != 0
}

/// Reads bits; behind the data (a marker, or the end) come zeros.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// The next byte to take.
    at: usize,
    /// The last `left` bits of it are still to be read.
    buffer: u64,
    left: u32,
    /// How many of these are no data.
    padded: u32,
}

impl<'a> Bits<'a> {
    /// From a bit of a file on, counted from its beginning, stuffing and all.
    pub(super) fn at(bytes: &'a [u8], bit: u64) -> Self {
        let mut bits = Bits { bytes, at: (bit / 8) as usize, buffer: 0, left: 0, padded: 0 };
        bits.fill();
        bits.skip((bit % 8) as u32);
        bits
    }

    /// The place of the next bit in the file.
    pub(super) fn place(&self) -> u64 {
        let unread = self.left.saturating_sub(self.padded);
        let mut at = self.at;
        for _ in 0..unread.div_ceil(8) {
            at -= 1;
            if self.bytes[at] == 0 && at > 0 && self.bytes[at - 1] == 0xff {
                at -= 1;
            }
        }
        at as u64 * 8 + u64::from(unread.wrapping_neg() % 8)
    }

    /// Whether more bits were read than there are.
    pub(super) fn is_over(&self) -> bool {
        self.left < self.padded
    }

    /// Sees to it that 32 bits can be read.
    #[inline(always)]
    fn fill(&mut self) {
        if self.left >= 32 {
            return;
        }
        if let Some(four) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<4>) {
            let four = u64::from(u32::from_be_bytes(*four));
            if !has_ones(four) {
                self.buffer = self.buffer << 32 | four;
                self.at += 4;
                self.left += 32;
                return;
            }
        }
        self.fill_slowly();
    }

    #[inline(never)]
    fn fill_slowly(&mut self) {
        while self.left <= 56 {
            let byte = match self.bytes.get(self.at..) {
                Some([0xff, 0, ..]) => {
                    self.at += 2;
                    0xff
                }
                Some([0xff, ..]) | Some([]) | None => {
                    self.padded += 8;
                    0
                }
                Some([byte, ..]) => {
                    self.at += 1;
                    *byte
                }
            };
            self.buffer = self.buffer << 8 | u64::from(byte);
            self.left += 8;
        }
    }

    /// The next 16 bits, of at least 32 that can be read.
    #[inline(always)]
    pub(super) fn peek(&mut self) -> u32 {
        self.fill();
        (self.buffer >> (self.left - 16)) as u32 & 0xffff
    }

    /// Passes over bits, of those that [`Bits::peek`] saw to.
    #[inline(always)]
    pub(super) fn skip(&mut self, bits: u32) {
        self.left -= bits;
    }

    /// The value of bits, of those that [`Bits::peek`] saw to.
    #[inline(always)]
    pub(super) fn take(&mut self, bits: u32) -> u32 {
        self.left -= bits;
        (self.buffer >> self.left) as u32 & ((1 << bits) - 1)
    }

    /// Passes over what fills up a byte in front of restart marker `number`, and over that; `false` if it is not there.
    pub(super) fn restart(&mut self, number: u8) -> bool {
        let unread = self.left.saturating_sub(self.padded);
        let marker = [0xff, 0xd0 + number];
        if self.is_over() || unread >= 8 || self.bytes.get(self.at..).and_then(<[u8]>::first_chunk) != Some(&marker) {
            return false;
        }
        *self = Bits { bytes: self.bytes, at: self.at + 2, buffer: 0, left: 0, padded: 0 };
        true
    }
}

/// Writes entropy-coded data.
pub(super) struct Writer<'o> {
    out: &'o mut Vec<u8>,
    /// The last `held` bits of it are not written yet: fewer than 8.
    buffer: u64,
    held: u32,
}

impl<'o> Writer<'o> {
    pub(super) fn new(out: &'o mut Vec<u8>) -> Self {
        Writer { out, buffer: 0, held: 0 }
    }

    fn push(&mut self, byte: u8) {
        self.out.push(byte);
        if byte == 0xff {
            self.out.push(0);
        }
    }

    /// Writes the last bits of a value, 32 at the most.
    pub(super) fn put(&mut self, value: u32, bits: u32) {
        self.buffer = self.buffer << bits | u64::from(value) & ((1 << bits) - 1);
        self.held += bits;
        while self.held >= 8 {
            self.held -= 8;
            self.push((self.buffer >> self.held) as u8);
        }
    }

    /// Copies the data of a file from one bit to another; `false` if there is a marker between them, or the end.
    pub(super) fn copy(&mut self, bytes: &[u8], from: u64, to: u64) -> bool {
        let (mut at, end) = ((from / 8) as usize, (to / 8) as usize);
        let rest = (to % 8) as u32;
        let Some(data) = bytes.get(..end + usize::from(rest > 0)).filter(|_| from <= to) else { return false };
        let next = |at: &mut usize| match data.get(*at..) {
            Some([0xff, ..]) if bytes.get(*at + 1) == Some(&0) => {
                *at += 2;
                Some(0xff)
            }
            Some([0xff, ..] | []) | None => None,
            Some([byte, ..]) => {
                *at += 1;
                Some(*byte)
            }
        };
        let first = (from % 8) as u32;
        if at == end {
            // All within a byte.
            if rest > first {
                let Some(byte) = next(&mut at) else { return false };
                self.put(u32::from(byte) >> (8 - rest), rest - first);
            }
            return rest >= first;
        }
        if first > 0 {
            let Some(byte) = next(&mut at) else { return false };
            self.put(u32::from(byte), 8 - first);
        }
        while at < end {
            if let Some(eight) = data[at..end].first_chunk::<8>() {
                let eight = u64::from_be_bytes(*eight);
                let made = if self.held == 0 { eight } else { self.buffer << (64 - self.held) | eight >> self.held };
                if !has_ones(eight) && !has_ones(made) {
                    self.out.extend_from_slice(&made.to_be_bytes());
                    self.buffer = eight;
                    at += 8;
                    continue;
                }
            }
            let Some(byte) = next(&mut at) else { return false };
            self.put(u32::from(byte), 8);
        }
        if rest > 0 {
            let Some(byte) = next(&mut at) else { return false };
            self.put(u32::from(byte) >> (8 - rest), rest);
        }
        true
    }

    /// Fills up the last byte with ones (F.1.2.3).
    pub(super) fn fill(&mut self) {
        let bits = self.held.wrapping_neg() % 8;
        self.put((1 << bits) - 1, bits);
    }

    /// Writes a marker, behind whole bytes.
    pub(super) fn marker(&mut self, code: u8) {
        self.fill();
        self.out.extend_from_slice(&[0xff, code]);
    }
}
