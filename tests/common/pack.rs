//! Tars and ZIPs by hand, also such as no program writes.

use std::io::Write as _;
use std::path::Path;

/// Relative paths of the files below a folder with their bytes, in order.
pub(crate) fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let walk = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().map(Result::unwrap);
    let named = |path: &Path| path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
    walk.filter(|e| e.file_type().is_file()).map(|e| (named(e.path()), std::fs::read(e.path()).unwrap())).collect()
}

/// A header of a tar.
pub(crate) fn header(name: &[u8], kind: u8, size: u64) -> [u8; 512] {
    let mut header = [0; 512];
    header[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    header[100..108].copy_from_slice(b"0000644\0");
    header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    summed(header)
}

/// The same with its sum.
pub(crate) fn summed(mut header: [u8; 512]) -> [u8; 512] {
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// A member of a tar; a long name stands in front of it.
pub(crate) fn member(name: &[u8], kind: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if name.len() > 100 {
        out.extend(member(b"././@LongLink", b'L', &[name, b"\0"].concat()));
    }
    out.extend(header(name, kind, bytes.len() as u64));
    out.extend(bytes);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// The end of a tar.
pub(crate) const END: [u8; 1024] = [0; 1024];

/// A tar of some files.
pub(crate) fn tar<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let members = files.into_iter().map(|(name, bytes)| member(name.as_bytes(), b'0', bytes));
    [members.collect::<Vec<_>>().concat(), END.to_vec()].concat()
}

/// A member of a ZIP as it is written; what is not said follows from the bytes.
#[derive(Clone, Default)]
pub(crate) struct Zipped {
    pub(crate) name: Vec<u8>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) deflate: bool,
    pub(crate) flags: u16,
    pub(crate) method: Option<u16>,
    pub(crate) crc: Option<u32>,
    /// Bytes that the directory says.
    pub(crate) said: Option<u32>,
    /// What the directory calls it, if another.
    pub(crate) called: Option<Vec<u8>>,
    /// Of Unix.
    pub(crate) mode: u32,
    /// Where the directory says that it is: at another member.
    pub(crate) at: Option<usize>,
    /// The same in fields of 64 bits.
    pub(crate) wide: bool,
}

impl Zipped {
    pub(crate) fn new(name: &str, bytes: &[u8]) -> Self {
        Zipped { name: name.into(), bytes: bytes.to_vec(), deflate: true, ..Zipped::default() }
    }
}

pub(crate) fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zip_of(members: &[Zipped]) -> Vec<u8> {
    let (mut out, mut directory, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for member in members {
        let stored = if member.deflate { deflated(&member.bytes) } else { member.bytes.clone() };
        let method = member.method.unwrap_or(if member.deflate { 8 } else { 0 });
        let mut crc = flate2::Crc::new();
        crc.update(&member.bytes);
        let crc = member.crc.unwrap_or(crc.sum());
        let (size, length) = (member.said.unwrap_or(member.bytes.len() as u32), stored.len() as u32);
        let numbers = |name: &[u8], extra: usize| {
            let mut head = [20, member.flags, method, 0, 0x21].map(u16::to_le_bytes).as_flattened().to_vec();
            let [length, size] = if member.wide { [u32::MAX; 2] } else { [length, size] };
            head.extend([crc, length, size].map(u32::to_le_bytes).as_flattened());
            head.extend([name.len() as u16, extra as u16].map(u16::to_le_bytes).as_flattened());
            head
        };
        places.push(out.len());
        let at = places[member.at.unwrap_or(places.len() - 1)];
        let wide = |more: &[u64]| {
            let values = [&[u64::from(size), u64::from(length)], more].concat();
            let head = [1, (values.len() * 8) as u16].map(u16::to_le_bytes).as_flattened().to_vec();
            [head, values.iter().flat_map(|v| v.to_le_bytes()).collect()].concat()
        };
        if member.at.is_none() {
            let extra = if member.wide { wide(&[]) } else { Vec::new() };
            let name = &member.name;
            out.extend([&b"PK\x03\x04"[..], &numbers(name, extra.len()), name, &extra, &stored].concat());
        }
        let name = member.called.as_ref().unwrap_or(&member.name);
        let extra = if member.wide { wide(&[at as u64]) } else { Vec::new() };
        directory.extend([&b"PK\x01\x02\x1e\x03"[..], &numbers(name, extra.len())].concat());
        directory.extend([0u16; 3].map(u16::to_le_bytes).as_flattened());
        let at = if member.wide { u32::MAX } else { at as u32 };
        directory.extend([member.mode << 16, at].map(u32::to_le_bytes).as_flattened());
        directory.extend([name.as_slice(), &extra].concat());
    }
    let (at, count) = (out.len() as u32, members.len() as u16);
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend([count, count].map(u16::to_le_bytes).as_flattened());
    out.extend([directory.len() as u32, at].map(u32::to_le_bytes).as_flattened());
    out.extend([0, 0]);
    out
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstandard(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}
