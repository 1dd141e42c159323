//! The members of a ZIP, as its central directory says; each member's own header has to say the same when it is read.
//!
//! Members that share bytes are refused, all of them: no program writes such, but bombs. So are encrypted ones, those compressed by other methods than
//! deflate, and sizes that deflate cannot have made.
//!
//! PKWARE, APPNOTE.TXT 6.3.10.

use std::io::{BufReader, Read as _};

use super::bytes::{Bytes, Stretch};
use super::names::{Name, name};
use super::{Member, Place, Stored, What, unreadable};
use crate::error::{Error, Fault, Reason, Result};
use crate::spool::{Sorter, Spill};

/// The longest end of a ZIP: its record, and a comment.
const LONGEST_END: u64 = 22 + 65_535;
/// What deflate makes of one byte at the most, and of the end of a stream.
const DEFLATE: u64 = 1032;

/// Whether these first bytes are those of a ZIP, which may be empty.
pub(super) fn is(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06")
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// Where the central directory is.
struct Directory {
    at: u64,
    length: u64,
    entries: u64,
}

fn broken(bytes: &Bytes, what: &str) -> Error {
    Error::config(
        format!("{}: the ZIP cannot be read: {what}", bytes.shown()),
        "it may have been cut in a download: fetch it again (`unzip -t` tests it)",
    )
}

fn directory(bytes: &Bytes) -> Result<Directory> {
    let length = bytes.len();
    let from = length.saturating_sub(LONGEST_END);
    let mut end = vec![0; (length - from) as usize];
    bytes.read_at(from, &mut end)?;
    let is_end = |at: usize| {
        let rest = &end[at..];
        rest.starts_with(b"PK\x05\x06") && rest.len() >= 22 && rest.len() >= 22 + usize::from(u16_at(rest, 20))
    };
    let found = (0..end.len().saturating_sub(21)).rev().find(|at| is_end(*at));
    let at = found.ok_or_else(|| broken(bytes, "it has no central directory at its end"))?;
    let record = &end[at..];
    let mut is_part = u16_at(record, 4) != 0 && u16_at(record, 4) != 0xffff;
    let mut numbers = [u64::from(u16_at(record, 10)), u64::from(u32_at(record, 12)), u64::from(u32_at(record, 16))];
    let mut behind = from + at as u64;
    let mut locator = [0; 20];
    if behind >= 20 && bytes.read_at(behind - 20, &mut locator)? && locator.starts_with(b"PK\x06\x07") {
        let mut record = [0; 56];
        behind = u64_at(&locator, 8);
        if !bytes.read_at(behind, &mut record)? || !record.starts_with(b"PK\x06\x06") {
            return Err(broken(bytes, "its record of 64 bits is not where it says"));
        }
        numbers = [u64_at(&record, 32), u64_at(&record, 40), u64_at(&record, 48)];
        is_part |= u32_at(&record, 16) != 0;
    }
    if is_part {
        return Err(Error::config(
            format!("{}: the ZIP is one of several parts", bytes.shown()),
            "put them together: zip -s 0 PARTS --out WHOLE.zip",
        ));
    }
    let [entries, length, offset] = numbers;
    let at = behind
        .checked_sub(length)
        .ok_or_else(|| broken(bytes, "its directory is longer than what is in front of it"))?;
    // One with something in front of it, which its offsets do not count, does not begin as a ZIP does.
    if at != offset {
        return Err(broken(bytes, "its directory is not where it says"));
    }
    Ok(Directory { at, length, entries })
}

/// Hands over every member in the order of the directory; what ends it early is in the answer.
pub(super) fn scan(
    bytes: &Bytes,
    spill: &Spill,
    take: &mut dyn FnMut(u64, Member<'_>) -> Result<()>,
) -> Result<Option<Fault>> {
    let directory = directory(bytes)?;
    // By place, to see what overlaps: the ordinal, the name, the place.
    let mut files = Sorter::new(spill);
    let mut from = BufReader::with_capacity(1 << 18, Stretch::new(bytes, directory.at, directory.length));
    let (mut ordinal, mut left) = (0u64, directory.length);
    let mut lost = None;
    while left > 0 {
        let mut head = [0; 46];
        let mut tail = Vec::new();
        let mut read = || -> std::io::Result<bool> {
            if left < 46 {
                return Ok(false);
            }
            from.read_exact(&mut head)?;
            let rest = [28, 30, 32].map(|at| u64::from(u16_at(&head, at))).iter().sum::<u64>();
            if !head.starts_with(b"PK\x01\x02") || left - 46 < rest {
                return Ok(false);
            }
            tail.resize(rest as usize, 0);
            from.read_exact(&mut tail)?;
            left -= 46 + rest;
            Ok(true)
        };
        if !read().map_err(|e| Error::library("reading the directory of a ZIP", e))? {
            let what = format!("its directory is damaged behind {ordinal} members: the others were not read");
            lost = Some(Fault::new(Reason::Corrupt, what));
            break;
        }
        let (called, extra) = tail.split_at(usize::from(u16_at(&head, 28)));
        let extra = &extra[..usize::from(u16_at(&head, 30))];
        match member(&head, called, extra, &directory) {
            Ok(What::File(place)) => {
                let end = place.at.saturating_add(30 + called.len() as u64).saturating_add(place.stored);
                let value = [&ordinal.to_le_bytes()[..], &end.to_le_bytes(), &place.to_bytes(), called].concat();
                files.push(&place.at.to_be_bytes(), &value)?;
            }
            what => take(ordinal, Member { name: called, what })?,
        }
        ordinal += 1;
    }
    if lost.is_none() && ordinal != directory.entries && ordinal & 0xffff != directory.entries {
        let what = format!("its directory has {ordinal} members, and says {}", directory.entries);
        lost = Some(Fault::new(Reason::Corrupt, what));
    }
    let files = files.finish()?;
    let at = |i: usize| files.get(i).0.try_into().map(u64::from_be_bytes).unwrap_or_default();
    let end = |i: usize| files.get(i).1[8..16].try_into().map(u64::from_le_bytes).unwrap_or_default();
    let mut covered = 0;
    for i in 0..files.len() {
        let value = files.get(i).1;
        let ordinal = value[..8].try_into().map(u64::from_le_bytes).unwrap_or_default();
        let place = Place::of_bytes(&value[16..16 + Place::BYTES]).unwrap_or_default();
        let next = if i + 1 < files.len() { at(i + 1) } else { u64::MAX };
        let what = match at(i) < covered || next < end(i) {
            true => Err(Fault::new(Reason::Corrupt, "it shares bytes with another member")),
            false => Ok(What::File(place)),
        };
        covered = covered.max(end(i));
        take(ordinal, Member { name: &value[16 + Place::BYTES..], what })?;
    }
    Ok(lost)
}

/// What an entry of the directory is.
fn member(head: &[u8; 46], called: &[u8], extra: &[u8], directory: &Directory) -> Result<What, Fault> {
    let (made_by, flags, method) = (head[5], u16_at(head, 8), u16_at(head, 10));
    let mut numbers = [24, 20, 42].map(|at| u64::from(u32_at(head, at)));
    wide(&mut numbers, extra);
    let [bytes, stored, offset] = numbers;
    let unsupported = |what: String| Err(Fault::new(Reason::Unsupported, what));
    if called.ends_with(b"/") || called.ends_with(b"\\") {
        return Ok(What::Folder);
    }
    // Where Unix, or macOS, made it, its kind stands in the upper half.
    let kind = if matches!(made_by, 3 | 19) { (u32_at(head, 38) >> 16) & 0o170_000 } else { 0 };
    match kind {
        0 | 0o100_000 => {}
        0o040_000 => return Ok(What::Folder),
        0o120_000 => return Err(Fault::new(Reason::BadPath, "links in an archive are not followed")),
        _ => return Err(Fault::new(Reason::BadPath, "neither a file nor a folder (a pipe, socket or device)")),
    }
    if flags & (1 | 1 << 6 | 1 << 13) != 0 {
        return unsupported("it is encrypted: unpack the archive with its password".into());
    }
    let corrupt = |what: String| Err(Fault::new(Reason::Corrupt, what));
    let stored_as = match method {
        0 if bytes != stored => return corrupt(format!("it is stored, and {stored} bytes are said to be {bytes}")),
        0 => Stored::Zip,
        8 if bytes / DEFLATE > stored => return corrupt(format!("{stored} bytes cannot have been {bytes}")),
        8 => Stored::Deflated,
        9 | 12 | 14 | 93 | 95 | 98 => {
            let called = match method {
                9 => "Deflate64",
                12 => "bzip2",
                14 => "LZMA",
                93 => "Zstandard",
                95 => "XZ",
                _ => "PPMd",
            };
            return unsupported(format!("it is compressed by {called}: only deflate is read (zip -Z deflate)"));
        }
        other => return unsupported(format!("it is compressed by method {other}: only deflate is read")),
    };
    let at = offset;
    if at.saturating_add(30).saturating_add(stored) > directory.at {
        let what = "it ends behind the beginning of the archive's directory";
        return Err(Fault::new(Reason::Truncated, what));
    }
    Ok(What::File(Place { at, stored, bytes, crc: u32_at(head, 16), stored_as }))
}

/// Puts numbers of 64 bits in the place of those that do not fit.
fn wide(numbers: &mut [u64], mut extra: &[u8]) {
    while extra.len() >= 4 {
        let (id, length) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
        let field = &extra[4..extra.len().min(4 + length)];
        if id == 1 {
            let mut values = field.as_chunks::<8>().0.iter();
            for number in numbers.iter_mut().filter(|number| **number == u64::from(u32::MAX)) {
                match values.next() {
                    Some(value) => *number = u64::from_le_bytes(*value),
                    None => return,
                }
            }
            return;
        }
        extra = extra.get(4 + length..).unwrap_or_default();
    }
}

/// Where a member's data begins: its own header has to be there and to say what the directory says.
pub(super) fn data(bytes: &Bytes, place: &Place, path: &str) -> Result<u64, Fault> {
    let corrupt = |what: &str| Fault::new(Reason::Corrupt, format!("the header in front of the member {what}"));
    let mut head = [0; 30];
    bytes.fill(place.at, &mut head).map_err(unreadable)?;
    if !head.starts_with(b"PK\x03\x04") {
        return Err(corrupt("is not where the directory says"));
    }
    let (flags, method) = (u16_at(&head, 6), u16_at(&head, 8));
    let mut called = vec![0; usize::from(u16_at(&head, 26))];
    bytes.fill(place.at + 30, &mut called).map_err(unreadable)?;
    if name(&called, true) != Name::Path(path.to_owned()) {
        return Err(corrupt("has another name than the directory"));
    }
    let is_deflated = place.stored_as == Stored::Deflated;
    if (method == 8) != is_deflated || (method != 8 && method != 0) || flags & 1 != 0 {
        return Err(corrupt("says another method than the directory"));
    }
    let extra = usize::from(u16_at(&head, 28));
    // Where they stand behind the data, nothing is said here.
    if flags & 8 == 0 {
        let mut fields = vec![0; extra];
        bytes.fill(place.at + 30 + called.len() as u64, &mut fields).map_err(unreadable)?;
        let mut sizes = [22, 18].map(|at| u64::from(u32_at(&head, at)));
        wide(&mut sizes, &fields);
        if (sizes, u32_at(&head, 14)) != ([place.bytes, place.stored], place.crc) {
            return Err(corrupt("says other sizes, or another checksum, than the directory"));
        }
    }
    Ok(place.at + 30 + (called.len() + extra) as u64)
}
