//! Bits of an H.264 parameter set or slice header (ITU-T H.264, 7.2 and 9.1).

use crate::error::{Fault, Reason};

/// The raw bytes of a NAL unit without its header byte and without emulation prevention bytes (7.4.1), at most `most` of them.
pub(super) fn unescape(nal: &[u8], most: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(nal.len().min(most));
    let mut zeros = 0;
    for &byte in nal.iter().skip(1) {
        if out.len() == most {
            break;
        }
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    out
}

/// A reader from the most significant bit on.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Bits { bytes, at: 0 }
    }

    /// One bit.
    pub(super) fn flag(&mut self) -> Result<bool, Fault> {
        let Some(byte) = self.bytes.get(self.at / 8) else {
            return Err(Fault::new(Reason::Corrupt, "a parameter set or slice header ends early"));
        };
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Ok(bit == 1)
    }

    /// `u(n)`, at most 32 bits.
    pub(super) fn take(&mut self, n: u32) -> Result<u32, Fault> {
        let mut value = 0;
        for _ in 0..n {
            value = value << 1 | u32::from(self.flag()?);
        }
        Ok(value)
    }

    /// `ue(v)`: an unsigned Exp-Golomb code, below 2^32 - 1.
    pub(super) fn ue(&mut self) -> Result<u32, Fault> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return Err(Fault::new(Reason::Corrupt, "a number in a parameter set or slice header is too long"));
            }
        }
        Ok(((1u64 << zeros) - 1 + u64::from(self.take(zeros)?)) as u32)
    }

    /// `ue(v)` that may be `most` at the most.
    pub(super) fn ue_to(&mut self, what: &str, most: u32) -> Result<u32, Fault> {
        let value = self.ue()?;
        if value > most {
            return Err(Fault::new(Reason::Corrupt, format!("{what} is {value}, {most} at the most")));
        }
        Ok(value)
    }

    /// `se(v)`: a signed Exp-Golomb code.
    pub(super) fn se(&mut self) -> Result<i32, Fault> {
        let code = i64::from(self.ue()?);
        Ok((if code % 2 == 1 { (code + 1) / 2 } else { -(code / 2) }) as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_the_standard() {
        // Table 9-2: 1, 010, 011, 00100, 00101 are 0 to 4; signed: 0, 1, -1, 2, -2.
        let bytes = [0b1010_0110, 0b0100_0010, 0b1000_0000];
        let mut bits = Bits::new(&bytes);
        let values: Vec<u32> = (0..5).map(|_| bits.ue().unwrap()).collect();
        assert_eq!(values, [0, 1, 2, 3, 4]);
        let mut bits = Bits::new(&bytes);
        let values: Vec<i32> = (0..5).map(|_| bits.se().unwrap()).collect();
        assert_eq!(values, [0, 1, -1, 2, -2]);
        assert!(Bits::new(&[0; 3]).ue().is_err());
        assert!(Bits::new(&[0; 9]).ue().is_err());
        assert_eq!(Bits::new(&[0, 0, 0, 1, 255, 255, 255, 254]).ue().unwrap(), u32::MAX - 1);
    }

    #[test]
    fn emulation_prevention_goes() {
        assert_eq!(unescape(&[0x67, 0, 0, 3, 1, 0, 0, 3, 0, 0, 3], 99), [0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(unescape(&[0x67, 1, 2, 3], 2), [1, 2]);
    }
}
