//! UTF-8 text. Nothing is decoded: bytes that are valid UTF-8 are the text, borrowed from the payload.
//!
//! A byte order mark is kept (a source strips it from files before it makes records). Reference: RFC 3629.

use super::{Check, Codec, Decoded, Limits, Scratch, Want};
use crate::data::info::{Format, Info};
use crate::error::{Fault, Reason};

/// The text codec. `Info.count` is the number of bytes. Empty text is text; a NUL is refused, since it is what
/// binary data and UTF-16 look like, and what C libraries further on would cut at.
#[derive(Debug, Clone, Copy)]
pub struct Utf8;

/// The text of a payload, or the fault that names the offset of its first bad byte.
fn text<'s>(bytes: &'s [u8], limits: &Limits) -> Result<&'s str, Fault> {
    Limits::check("text bytes", bytes.len() as u64, limits.payload_bytes.min(limits.decoded_bytes))?;
    let text = std::str::from_utf8(bytes)
        .map_err(|e| Fault::new(Reason::InvalidUtf8, format!("not UTF-8 from byte {} on", e.valid_up_to())))?;
    match bytes.iter().position(|&b| b == 0) {
        Some(at) => Err(Fault::new(Reason::Corrupt, format!("a NUL at byte {at} of the text"))),
        None => Ok(text),
    }
}

impl Codec for Utf8 {
    fn format(&self) -> Format {
        Format::Utf8
    }

    fn sniff(&self, bytes: &[u8]) -> bool {
        // A character may be cut at the end of a beginning.
        let valid = std::str::from_utf8(bytes).map_or_else(|e| e.error_len().is_none(), |_| true);
        valid && !bytes.contains(&0)
    }

    fn probe(&self, bytes: &[u8], limits: &Limits) -> Result<Info, Fault> {
        let count = text(bytes, limits)?.len() as u64;
        Ok(Info { count, ..Info::of(Format::Utf8) })
    }

    fn check(&self, bytes: &[u8], _: Check, limits: &Limits, _: &mut Scratch) -> Result<Info, Fault> {
        self.probe(bytes, limits)
    }

    fn decode<'s>(
        &self,
        bytes: &'s [u8],
        want: Want<'_>,
        limits: &Limits,
        _: &'s mut Scratch,
    ) -> Result<Decoded<'s>, Fault> {
        match want {
            Want::Whole => Ok(Decoded::Text(text(bytes, limits)?)),
            _ => Err(Fault::new(Reason::WrongMedia, "text has neither regions, ranges nor frames")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<String, Fault> {
        match Utf8.decode(bytes, Want::Whole, &Limits::default(), &mut Scratch::default())? {
            Decoded::Text(text) => Ok(text.to_owned()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn text_is_its_bytes() {
        assert_eq!(read(b"").as_deref(), Ok(""));
        assert_eq!(read("\u{feff}\u{e4}\r\n".as_bytes()).as_deref(), Ok("\u{feff}\u{e4}\r\n"));
        assert_eq!(Utf8.probe("\u{e4}".as_bytes(), &Limits::default()).map(|i| i.count), Ok(2));
    }

    #[test]
    fn faults_name_the_byte() {
        let fault = read(b"abc\xffdef").unwrap_err();
        assert_eq!((fault.reason, fault.message.contains("byte 3")), (Reason::InvalidUtf8, true));
        let fault = read(b"ab\0c").unwrap_err();
        assert_eq!((fault.reason, fault.message.contains("byte 2")), (Reason::Corrupt, true));
        let limits = Limits { payload_bytes: 3, ..Limits::default() };
        assert_eq!(Utf8.probe(b"four", &limits).unwrap_err().reason, Reason::OverLimit);
    }

    #[test]
    fn sniffing_takes_a_cut_character_but_no_binary() {
        assert!(Utf8.sniff(&"\u{e4}\u{f6}".as_bytes()[..3]));
        assert!(!Utf8.sniff(b"\xff\xd8\xff\xe0"));
        assert!(!Utf8.sniff(b"a\0b"));
    }
}
