//! The row keys of a listing or a segment: is an id among many others?

use crate::data::index::Segment;
use crate::data::record::row_key;
use crate::error::{Error, Result};
use crate::source::Entries;
use crate::spool::{Sorted, Sorter, Spill};

/// Row keys, in files where they are too many for memory.
pub(super) struct Keys {
    /// Eight bytes each, the highest first.
    sorted: Sorted,
    /// A bit for the lowest bits of each key, so that most rows of a large dataset are told apart by one look.
    bits: Vec<u64>,
}

/// Words of [`Keys::bits`] at the most: 16 MiB.
const WORDS: usize = 1 << 21;

impl Keys {
    /// The keys of a listing. Two ids with one key are an error.
    pub(super) fn listed(entries: &Entries, spill: &Spill) -> Result<Self> {
        let mut keys = Sorter::new(spill);
        for (at, entry) in entries.iter().enumerate() {
            keys.push(&row_key(&entry?.id).to_be_bytes(), &(at as u64).to_le_bytes())?;
        }
        let keys = keys.finish()?;
        let mut last: Option<(&[u8], &[u8])> = None;
        for (key, at) in keys.iter() {
            if let Some((_, before)) = last.filter(|(known, _)| *known == key) {
                let id = |at: &[u8]| -> Result<String> {
                    let at =
                        at.try_into().map(u64::from_le_bytes).map_err(|e| Error::library("sorting row keys", e))?;
                    Ok(entries.get(at as usize)?.id)
                };
                let (first, second) = (id(before)?, id(at)?);
                if first == second {
                    return Err(Error::library("listing a source", format!("the id {first:?} was listed twice")));
                }
                return Err(super::base::collision(&first, &second));
            }
            last = Some((key, at));
        }
        Ok(Keys::of(keys))
    }

    /// The keys of a segment.
    pub(super) fn stored(segment: &Segment, spill: &Spill) -> Result<Self> {
        let mut keys = Sorter::new(spill);
        for row in 0..segment.header().rows {
            keys.push(&segment.row(row).key().to_be_bytes(), &[])?;
        }
        Ok(Keys::of(keys.finish()?))
    }

    fn of(sorted: Sorted) -> Self {
        // Sixteen bits a key: one in sixteen strangers is looked for in vain.
        let mut bits = vec![0; (sorted.len() / 4).next_power_of_two().min(WORDS)];
        for (key, _) in sorted.iter() {
            let key = key.try_into().map(u64::from_be_bytes).unwrap_or_default();
            let at = word(&bits, key);
            bits[at] |= 1 << (key % 64);
        }
        Keys { sorted, bits }
    }

    /// Whether an id of the listing has this key.
    pub(super) fn contains(&self, key: u64) -> bool {
        self.bits[word(&self.bits, key)] & (1 << (key % 64)) != 0 && self.sorted.find(&key.to_be_bytes()).is_some()
    }
}

fn word(bits: &[u64], key: u64) -> usize {
    (key / 64) as usize & (bits.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_listing_and_no_others() {
        for count in [0u64, 1, 5, 1000] {
            let mut sorter = Sorter::new(&Spill::temporary());
            let key = |i: u64| crate::rng::mix(i + 1);
            (0..count).for_each(|i| sorter.push(&key(i).to_be_bytes(), &[]).unwrap());
            let keys = Keys::of(sorter.finish().unwrap());
            assert!((0..2000).all(|i| keys.contains(key(i)) == (i < count)), "{count}");
        }
    }
}
