//! The markers in front of a JPEG's first scan (ITU-T T.81, annex B), read without allocating.

use crate::error::{Fault, Reason};

/// What the frame header and the first scan header say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Pixels across.
    pub(super) width: u32,
    /// Pixels down.
    pub(super) height: u32,
    /// 1 (gray), 3, or 4 (CMYK, YCCK).
    pub(super) components: u8,
    /// Rows of pixels in a row of MCUs: 8 times the largest vertical sampling factor.
    pub(super) mcu_rows: u32,
    /// Some component has fewer rows than another, so that upsampling looks at neighbouring rows.
    pub(super) rows_subsampled: bool,
    /// The same for columns.
    pub(super) columns_subsampled: bool,
    /// All of the picture lies, sequentially and Huffman-coded, in one scan: rows come from top to bottom.
    pub(super) sequential: bool,
    /// Entropy-coded by Huffman's method: a block takes a bit at least.
    pub(super) huffman: bool,
    /// Where the two bytes of the height are.
    pub(super) height_at: usize,
    /// Where the first scan's marker is.
    pub(super) scan_at: usize,
}

fn truncated(what: &str) -> Fault {
    Fault::new(Reason::Truncated, format!("the JPEG ends inside {what}"))
}

fn corrupt(what: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Corrupt, format!("JPEG: {what}"))
}

fn unsupported(what: impl std::fmt::Display) -> Fault {
    Fault::new(Reason::Unsupported, format!("JPEG: {what}"))
}

/// The next marker at or after `at` (fill and stray bytes skipped): its code and the place behind it.
fn next_marker(bytes: &[u8], mut at: usize) -> Result<(u8, usize), Fault> {
    loop {
        while *bytes.get(at).ok_or_else(|| truncated("its headers"))? != 0xff {
            at += 1;
        }
        while *bytes.get(at).ok_or_else(|| truncated("its headers"))? == 0xff {
            at += 1;
        }
        let code = bytes[at];
        at += 1;
        if code != 0 {
            return Ok((code, at));
        }
    }
}

/// Reads up to the first scan.
pub(super) fn read(bytes: &[u8]) -> Result<Header, Fault> {
    if !bytes.starts_with(&[0xff, 0xd8]) {
        return Err(corrupt("no SOI marker"));
    }
    let mut at = 2;
    let mut frame: Option<Header> = None;
    loop {
        let (code, behind) = next_marker(bytes, at)?;
        match code {
            0x01 | 0xd0..=0xd8 => {
                at = behind;
                continue;
            }
            0xd9 => return Err(corrupt("it ends before the first scan")),
            _ => {}
        }
        let length = match bytes.get(behind..behind + 2) {
            Some(two) => usize::from(u16::from_be_bytes([two[0], two[1]])),
            None => return Err(truncated("its headers")),
        };
        if length < 2 {
            return Err(corrupt(format!("a segment 0x{code:02X} of length {length}")));
        }
        let segment = bytes.get(behind + 2..behind + length).ok_or_else(|| truncated("its headers"))?;
        match code {
            0xc4 | 0xc8 | 0xcc => {}
            0xc0..=0xcf if frame.is_some() => return Err(corrupt("two frame headers")),
            0xc0..=0xcf => frame = Some(read_frame(code, segment, behind + 2)?),
            0xda => {
                let mut frame = frame.ok_or_else(|| corrupt("a scan before the frame header"))?;
                frame.sequential &= segment.first() == Some(&frame.components);
                frame.scan_at = behind - 2;
                return Ok(frame);
            }
            _ => {}
        }
        at = behind + length;
    }
}

/// Reads a frame header (B.2.2); `at` is the place of `segment` in the file.
fn read_frame(code: u8, segment: &[u8], at: usize) -> Result<Header, Fault> {
    if !matches!(code, 0xc0..=0xc2 | 0xc9 | 0xca) {
        return Err(unsupported(format!("the process of SOF{} (lossless or hierarchical)", code - 0xc0)));
    }
    let &[precision, h1, h0, w1, w0, components, ref rest @ ..] = segment else {
        return Err(corrupt("a frame header that is too short"));
    };
    let (width, height) = (u32::from(u16::from_be_bytes([w1, w0])), u32::from(u16::from_be_bytes([h1, h0])));
    if precision != 8 {
        return Err(unsupported(format!("{precision} bits a sample")));
    }
    match components {
        1 | 3 | 4 => {}
        n => return Err(unsupported(format!("{n} components"))),
    }
    if width == 0 {
        return Err(corrupt("a width of 0"));
    }
    if height == 0 {
        return Err(unsupported("a height that is only known at the end (DNL)"));
    }
    if rest.len() < 3 * usize::from(components) {
        return Err(corrupt("a frame header that is too short"));
    }
    let factors = |shift: u8| {
        let each = rest.chunks_exact(3).take(usize::from(components)).map(move |c| c[1] >> shift & 15);
        each.fold((0, 15), |(most, least), factor| (factor.max(most), factor.min(least)))
    };
    let ((most_h, least_h), (most, least)) = (factors(4), factors(0));
    if least == 0 || least_h == 0 || most > 4 || most_h > 4 {
        return Err(corrupt("a sampling factor outside 1 to 4"));
    }
    // libjpeg-turbo-rs 0.9 reads beyond the end of black that has fewer samples than the picture has pixels.
    if components == 4 && rest[10] != most_h << 4 | most {
        return Err(unsupported("black ink (CMYK, YCCK) sampled more coarsely than another"));
    }
    let single = components == 1;
    Ok(Header {
        width,
        height,
        components,
        mcu_rows: if single { 8 } else { 8 * u32::from(most) },
        rows_subsampled: !single && most != least,
        columns_subsampled: !single && most_h != least_h,
        sequential: matches!(code, 0xc0 | 0xc1),
        huffman: code <= 0xc2,
        height_at: at + 1,
        scan_at: 0,
    })
}

/// The marker segments of a file's beginning (markers included), from behind the SOI on. `headers` must have been [`read`].
pub(super) fn segments(headers: &[u8]) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut at = 2;
    std::iter::from_fn(move || {
        loop {
            let (code, behind) = next_marker(headers, at).ok()?;
            if matches!(code, 0x01 | 0xd0..=0xd8) {
                at = behind;
                continue;
            }
            let two = headers.get(behind..behind + 2)?;
            at = behind + usize::from(u16::from_be_bytes([two[0], two[1]]));
            return Some(behind - 2..at);
        }
    })
}
