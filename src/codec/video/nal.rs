//! NAL units as containers hold them, behind their lengths (ISO/IEC 14496-15), for H.264 and H.265.

use crate::error::{Fault, Reason};

/// Cuts `n` bytes off the front.
pub(super) fn take<'a>(rest: &mut &'a [u8], n: usize) -> Result<&'a [u8], Fault> {
    let Some((front, back)) = rest.split_at_checked(n) else {
        return Err(Fault::new(Reason::Corrupt, "a NAL unit is longer than what holds it"));
    };
    *rest = back;
    Ok(front)
}

/// Cuts a length of `size` bytes, and what it tells of, off the front.
pub(super) fn take_counted<'a>(rest: &mut &'a [u8], size: usize) -> Result<&'a [u8], Fault> {
    let length = take(rest, size)?.iter().fold(0, |n, &b| n << 8 | usize::from(b));
    take(rest, length)
}

/// The NAL units of a sample, each behind a length of `length_size` bytes.
pub(super) fn nals(sample: &[u8], length_size: usize) -> impl Iterator<Item = Result<&[u8], Fault>> {
    let mut rest = sample;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let nal = take_counted(&mut rest, length_size);
        if nal.is_err() {
            rest = &[];
        }
        Some(nal)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_held_to() {
        let all = |sample, size| nals(sample, size).collect::<Result<Vec<&[u8]>, Fault>>().map_err(|f| f.reason);
        assert_eq!(all(&[0, 2, 7, 8, 0, 0, 0, 1, 9], 2), Ok(vec![&[7, 8][..], &[], &[9]]));
        assert_eq!(all(&[0, 2, 7], 2), Err(Reason::Corrupt));
        assert_eq!(all(&[0], 2), Err(Reason::Corrupt));
        assert_eq!(all(&[0xff, 0xff, 0xff, 0xff, 1], 4), Err(Reason::Corrupt));
        assert_eq!(all(&[], 4), Ok(vec![]));
    }
}
