//! What goes over the pipes between an ingest and the processes that look at payloads.
//!
//! A message is the length of its head (4 bytes), the length of its body (8 bytes), the head in postcard, and the body as it is.
//! Whoever reads takes no length for granted: a head has 1 MiB at the most, a body what the reader allows, and memory is asked for
//! as bytes come in.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::data::info::{Format, Info};
use crate::data::orientation::Orientation;
use crate::data::profile::Profile;
use crate::error::{Fault, Reason};

/// Bytes of a head at the most.
const HEAD: u32 = 1 << 20;

/// What an ingest asks; the body is the payload.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ask {
    /// The first message: how payloads are looked at, as JSON in the body.
    Setup,
    Payload {
        column: usize,
    },
    Part {
        column: usize,
    },
    Count {
        at: usize,
        info: Facts,
    },
    Recording,
    /// Only the facts of a recording that parts are to be cut from.
    Facts,
    /// The memory that was asked for is there.
    Go,
}

/// What the process answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It is set up.
    Ready,
    /// It wants to decode, and to have so many bytes for it.
    Needs(u64),
    /// What is stored and its seek table are in the body, one behind the other, as long as these say.
    Looked {
        info: Facts,
        made: Option<(Facts, u64)>,
        seek: Option<u64>,
    },
    Counted(i64),
    /// The samples are in the body, as little-endian floats.
    Sound {
        channels: u32,
        rate: u32,
    },
    Refused {
        reason: String,
        message: String,
    },
}

/// Facts of media in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    numbers: [u32; 7],
    count: u64,
    duration_us: u64,
}

impl From<&Info> for Facts {
    fn from(info: &Info) -> Self {
        let Info { format, width, height, channels, rate, count, duration_us, orientation, profile } = *info;
        let numbers = [format.code(), width, height, channels, rate, orientation.code(), profile.code()];
        Facts { numbers, count, duration_us }
    }
}

impl Facts {
    pub(super) fn info(self) -> io::Result<Info> {
        let [format, width, height, channels, rate, orientation, profile] = self.numbers;
        let Facts { count, duration_us, .. } = self;
        let format = Format::from_code(format).ok_or_else(|| odd("an unknown format"))?;
        let (orientation, profile) = (Orientation::of(orientation), Profile::from_code(profile));
        Ok(Info { format, width, height, channels, rate, count, duration_us, orientation, profile })
    }
}

impl Answer {
    pub(super) fn refused(fault: &Fault) -> Self {
        // A message is for people; a decoder's may be long.
        let message = fault.message.chars().take(10_000).collect();
        Answer::Refused { reason: fault.reason.code().to_owned(), message }
    }
}

/// The fault of a refusal.
pub(super) fn fault(reason: &str, message: String) -> io::Result<Fault> {
    let reason = Reason::from_code(reason).ok_or_else(|| odd("an unknown reason"))?;
    Ok(Fault { reason, message })
}

/// A message that cannot be.
pub(super) fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Writes a message whose body are these parts.
pub(super) fn send(to: &mut impl Write, head: &impl Serialize, body: &[&[u8]]) -> io::Result<()> {
    let head = postcard::to_stdvec(head).map_err(io::Error::other)?;
    let length = u32::try_from(head.len()).ok().filter(|length| *length <= HEAD).ok_or_else(|| odd("a long head"))?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(&body.iter().map(|part| part.len() as u64).sum::<u64>().to_le_bytes())?;
    to.write_all(&head)?;
    for part in body {
        to.write_all(part)?;
    }
    to.flush()
}

/// Reads a head, and how long the body behind it is; `None` where the other end is closed.
pub(super) fn receive<T: DeserializeOwned>(from: &mut impl Read, most: u64) -> io::Result<Option<(T, u64)>> {
    let mut lengths = [0; 12];
    let got = from.read(&mut lengths)?;
    if got == 0 {
        return Ok(None);
    }
    from.read_exact(&mut lengths[got..])?;
    let [a, b, c, d, body @ ..] = lengths;
    let (head, body) = (u32::from_le_bytes([a, b, c, d]), u64::from_le_bytes(body));
    if head > HEAD || body > most {
        return Err(odd("a message that is too long"));
    }
    let head = self::body(from, u64::from(head))?;
    postcard::from_bytes(&head).map(|head| Some((head, body))).map_err(io::Error::other)
}

/// Reads a body of so many bytes.
pub(super) fn body(from: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Reads a body of floats.
pub(super) fn floats(from: &mut impl Read, length: u64) -> io::Result<Vec<f32>> {
    if !length.is_multiple_of(4) {
        return Err(odd("a part of a sample"));
    }
    let (mut samples, mut left) = (Vec::new(), length);
    while left > 0 {
        let some = body(from, left.min(1 << 20))?;
        left -= some.len() as u64;
        samples.extend(some.as_chunks::<4>().0.iter().map(|sample| f32::from_le_bytes(*sample)));
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in() {
        let mut info = Info::of(Format::Png);
        (info.width, info.height, info.count, info.duration_us) = (3, u32::MAX, u64::MAX, 7);
        info.orientation = Orientation::of(6);
        let looked = Answer::Looked { info: (&info).into(), made: Some(((&info).into(), 2)), seek: Some(1) };
        let mut pipe = Vec::new();
        send(&mut pipe, &looked, &[b"ab", b"", b"c"]).unwrap();
        send(&mut pipe, &Answer::Counted(-1), &[]).unwrap();
        let mut from = pipe.as_slice();
        let (head, length) = receive::<Answer>(&mut from, 3).unwrap().unwrap();
        assert!(matches!(head, Answer::Looked { info: facts, seek: Some(1), .. } if facts.info().unwrap() == info));
        assert_eq!(body(&mut from, length).unwrap(), b"abc");
        assert!(matches!(receive::<Answer>(&mut from, 0).unwrap(), Some((Answer::Counted(-1), 0))));
        assert!(receive::<Answer>(&mut from, 0).unwrap().is_none(), "the end");
        let mut samples: &[u8] = &[0, 0, 128, 63, 0, 0, 0, 191, 9];
        assert_eq!(floats(&mut samples, 8).unwrap(), [1.0, -0.5]);
    }

    /// Whatever comes out of a process that was taken over: no panic, no memory for what is not there.
    #[test]
    fn nothing_is_taken_for_granted() {
        let mut pipe = Vec::new();
        send(&mut pipe, &Answer::Refused { reason: "corrupt".into(), message: "m".repeat(50) }, &[b"body"]).unwrap();
        for cut in 1..pipe.len() - 4 {
            assert!(receive::<Answer>(&mut &pipe[..cut], 100).is_err(), "{cut}");
        }
        assert!(receive::<Answer>(&mut pipe.as_slice(), 3).is_err(), "a longer body than is allowed");
        for at in 0..pipe.len() {
            for bit in 0..8 {
                let mut bytes = pipe.clone();
                bytes[at] ^= 1 << bit;
                let mut from = bytes.as_slice();
                // A longer head may take the body for its own; what there is of a body is as long as it says.
                if let Ok(Some((_, length))) = receive::<Answer>(&mut from, u64::MAX)
                    && let Ok(bytes) = body(&mut from, length)
                {
                    assert_eq!(bytes.len() as u64, length);
                }
            }
        }
        assert!(floats(&mut &[0u8; 8][..], 7).is_err() && floats(&mut &[0u8; 8][..], 12).is_err());
        assert!(fault("no-such", String::new()).is_err());
    }
}
