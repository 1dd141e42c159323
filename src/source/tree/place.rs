//! Where a member is in its archive.

/// Where the bytes of a member are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Of its data in the archive; in a ZIP, of the header in front of it.
    pub(super) at: u64,
    /// Bytes in the archive.
    pub(super) stored: u64,
    /// Its size.
    pub(super) bytes: u64,
    pub(super) crc: u32,
    pub(super) stored_as: Stored,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Stored {
    /// As it is.
    #[default]
    Plain,
    /// As it is, behind a header of a ZIP, with a checksum.
    Zip,
    /// The same, deflated.
    Deflated,
}

impl Place {
    pub(super) const BYTES: usize = 29;

    pub(super) fn at(at: u64, bytes: u64) -> Self {
        Place { at, stored: bytes, bytes, ..Place::default() }
    }

    /// Begins with a byte that no text does.
    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut to = [0; Self::BYTES];
        to[0] = 0xf0 | self.stored_as as u8;
        let numbers = [self.at, self.stored, self.bytes].map(u64::to_le_bytes);
        to[1..25].copy_from_slice(numbers.as_flattened());
        to[25..].copy_from_slice(&self.crc.to_le_bytes());
        to
    }

    pub(super) fn of_bytes(from: &[u8]) -> Option<Self> {
        let stored_as = match from.first()? {
            0xf0 => Stored::Plain,
            0xf1 => Stored::Zip,
            0xf2 => Stored::Deflated,
            _ => return None,
        };
        let number = |at: usize| from.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let crc = from.get(25..29)?.try_into().ok().map(u32::from_le_bytes)?;
        Some(Place { at: number(1)?, stored: number(9)?, bytes: number(17)?, crc, stored_as })
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}
