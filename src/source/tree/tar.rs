//! The members of a tar: POSIX ustar and pax, GNU's long names and large numbers, and the older form.
//!
//! Only headers are read. Links, devices and pipes are named with the reason why they are not followed, sparse files why they are not read. A
//! header that is damaged ends it, as nobody knows where the next one stands.
//!
//! POSIX.1-2017, `pax`; GNU tar's manual, "Basic Tar Format".

use super::bytes::Bytes;
use super::names::shown;
use super::{Member, Place, What};
use crate::error::{Fault, Reason, Result};

const BLOCK: u64 = 512;
/// Bytes of a long name or a pax header at the most.
const EXTENDED: u64 = 1 << 20;
/// Zeros at the end of a tar at the most: `tar -b 128`, where 20 is usual.
const FILLED: u64 = 64 << 10;
/// Bytes behind the end that are looked at for further members.
const BEHIND: u64 = 1 << 20;

/// How the reading of a tar ended.
#[derive(Debug, Default)]
pub(super) struct End {
    /// What was lost, if it did not end as a tar does.
    pub lost: Option<Fault>,
    /// Nothing is damaged, and there may be more that was not read.
    pub note: Option<String>,
}

/// Whether these first bytes are those of a tar: a header whose sum is right.
pub(super) fn is(head: &[u8]) -> bool {
    let Some(header) = head.first_chunk::<512>() else { return false };
    header[0] != 0 && sum_is_right(header)
}

/// Hands over every member in the order of the file.
pub(super) fn scan(bytes: &Bytes, take: &mut dyn FnMut(Member<'_>) -> Result<()>) -> Result<End> {
    let length = bytes.len();
    let (mut at, mut extended) = (0u64, Extended::default());
    loop {
        let lost = |reason, what: &str| {
            let fault = Fault::new(reason, format!("{what} at byte {at}: what stands behind it was not read"));
            Ok(End { lost: Some(fault), ..End::default() })
        };
        if at == length {
            let note = "it has no end marker, as tar writes it: it may have been cut between two members".to_owned();
            return Ok(End { lost: None, note: Some(note) });
        }
        let mut header = [0; BLOCK as usize];
        if !bytes.read_at(at, &mut header)? {
            return lost(Reason::Truncated, "the archive ends within a header");
        }
        if header == [0; BLOCK as usize] {
            return Ok(End { note: behind(bytes, at)?, ..End::default() });
        }
        if !sum_is_right(&header) {
            return lost(Reason::Corrupt, "the header is damaged");
        }
        let Some(size) = number(&header[124..136]) else {
            return lost(Reason::Corrupt, "a header without a size");
        };
        let kind = header[156];
        let size = match kind {
            b'L' | b'K' | b'x' | b'g' => size,
            _ => extended.size.take().unwrap_or(size),
        };
        let mut data = at + BLOCK;
        // GNU's map of a sparse file goes on in blocks that its size does not count.
        let mut more = kind == b'S' && header[482] != 0;
        while more {
            let mut map = [0; BLOCK as usize];
            if !bytes.read_at(data, &mut map)? {
                return lost(Reason::Truncated, "the archive ends within the map of a sparse file");
            }
            data += BLOCK;
            more = map[504] != 0;
        }
        // Links, folders, devices and pipes have no data, whatever their size says.
        let stands = if matches!(kind, b'1'..=b'6') { 0 } else { size };
        let end = data.checked_add(stands).and_then(|end| end.checked_next_multiple_of(BLOCK));
        let end = end.filter(|_| data + stands <= length);
        if matches!(kind, b'L' | b'K' | b'x' | b'g') {
            if size > EXTENDED {
                return lost(Reason::OverLimit, &format!("a name or header of {size} bytes"));
            }
            let mut text = vec![0; size as usize];
            let (Some(end), true) = (end, bytes.read_at(data, &mut text)?) else {
                return lost(Reason::Truncated, "the archive ends within a long name");
            };
            let read = match kind {
                b'L' => {
                    extended.name = Some(until_nul(&text).to_vec());
                    true
                }
                b'x' => extended.read(&text),
                // Its times and comments are of no interest; a name or a size for all would be a trap.
                b'g' => {
                    let mut global = Extended::default();
                    global.read(&text) && global.name.is_none() && global.size.is_none()
                }
                _ => true,
            };
            if !read {
                return lost(Reason::Corrupt, "a header of pax that cannot be read");
            }
            at = end.min(length);
            continue;
        }
        let Extended { name, sparse, .. } = std::mem::take(&mut extended);
        let name = name.unwrap_or_else(|| own_name(&header));
        let what = match kind {
            _ if end.is_none() => {
                let there = length.saturating_sub(data);
                Err(Fault::new(Reason::Truncated, format!("the archive ends after {there} of {size} bytes")))
            }
            b'S' => Err(unsupported("a sparse file: unpack it")),
            _ if sparse => Err(unsupported("a sparse file: unpack it")),
            b'0' | b'7' | 0 if name.ends_with(b"/") => Ok(What::Folder),
            b'0' | b'7' | 0 => Ok(What::File(Place::at(data, size))),
            b'5' => Ok(What::Folder),
            b'1' | b'2' => Err(Fault::new(Reason::BadPath, "links in an archive are not followed")),
            b'3' | b'4' => Err(Fault::new(Reason::BadPath, "a device")),
            b'6' => Err(Fault::new(Reason::BadPath, "a pipe")),
            // The name of the volume.
            b'V' => Ok(What::Folder),
            b'M' => Err(unsupported("a file that began in another volume")),
            other => Err(unsupported(&format!("an entry of the type {:?}", char::from(other)))),
        };
        take(Member { name: &name, what })?;
        match end {
            // The last blocks may be missing where nothing stands in them.
            Some(end) => at = end.min(length),
            None => {
                let what = format!("the archive ends within {:?}: what stood behind it is not there", shown(&name));
                return Ok(End { lost: Some(Fault::new(Reason::Truncated, what)), note: None });
            }
        }
    }
}

fn unsupported(what: &str) -> Fault {
    Fault::new(Reason::Unsupported, what)
}

/// Whether there is something behind the end: members, which tar does not read either, or more zeros than fill a record. A download that stopped may
/// have its size already.
fn behind(bytes: &Bytes, end: u64) -> Result<Option<String>> {
    let mut at = end;
    let mut header = [0; BLOCK as usize];
    while at < end + BEHIND && bytes.read_at(at, &mut header)? {
        if header != [0; BLOCK as usize] {
            let what = "behind its end, what tar does not read either was left out (tar -i does)";
            return Ok(Some(format!("{what}: {} bytes", bytes.len() - at)));
        }
        at += BLOCK;
    }
    let zeros = bytes.len().saturating_sub(end);
    let what = "bytes of zeros stand behind its end: it may be a download that has its size and not yet its content";
    Ok((zeros > FILLED).then(|| format!("{zeros} {what}")))
}

/// What stands before a header and is of the member behind it.
#[derive(Debug, Default)]
struct Extended {
    name: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

impl Extended {
    /// Reads records of pax: their length, a key, a value. `false` if they are none.
    fn read(&mut self, mut text: &[u8]) -> bool {
        while !text.is_empty() && text[0] != 0 {
            let Some(space) = text.iter().take(20).position(|b| *b == b' ') else { return false };
            let length = std::str::from_utf8(&text[..space]).ok().and_then(|n| n.parse::<usize>().ok());
            let Some(record) = length.and_then(|n| text.get(space + 1..n)).and_then(|r| r.strip_suffix(b"\n")) else {
                return false;
            };
            let Some(equals) = record.iter().position(|b| *b == b'=') else { return false };
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => self.name = Some(value.to_vec()),
                b"size" => match std::str::from_utf8(value).ok().and_then(|n| n.parse().ok()) {
                    Some(size) => self.size = Some(size),
                    None => return false,
                },
                _ if key.starts_with(b"GNU.sparse.") => self.sparse = true,
                _ => {}
            }
            text = &text[length.unwrap_or_default()..];
        }
        true
    }
}

/// The name in a header: of ustar with what stands in front.
fn own_name(header: &[u8; 512]) -> Vec<u8> {
    let name = until_nul(&header[..100]);
    let prefix = until_nul(&header[345..500]);
    // GNU's older form has other things there.
    if header[257..263] == *b"ustar\0" && !prefix.is_empty() { [prefix, b"/", name].concat() } else { name.to_vec() }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len())]
}

/// A number in octal digits, or as GNU writes large ones, in bytes behind a mark.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let (first, rest) = (u64::from(field[0] & 0x7f), &field[1..]);
        return rest
            .iter()
            .try_fold(first, |sum, byte| sum.checked_mul(256).and_then(|sum| sum.checked_add(u64::from(*byte))));
    }
    let text = std::str::from_utf8(until_nul(field)).ok()?.trim_matches(' ');
    if text.is_empty() {
        return Some(0);
    }
    text.bytes().all(|b| b.is_ascii_digit()).then(|| u64::from_str_radix(text, 8).ok()).flatten()
}

/// The sum of a header with its own field as spaces; some programs took bytes for signed.
fn sum_is_right(header: &[u8; 512]) -> bool {
    let Some(said) = number(&header[148..156]) else { return false };
    let byte = |(at, byte): (usize, &u8)| if (148..156).contains(&at) { b' ' } else { *byte };
    let unsigned: u64 = header.iter().enumerate().map(|b| u64::from(byte(b))).sum();
    let signed: i64 = header.iter().enumerate().map(|b| i64::from(byte(b) as i8)).sum();
    said == unsigned || i64::try_from(said).is_ok_and(|said| said == signed)
}
