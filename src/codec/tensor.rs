//! Tensors that operations made. Nothing is decoded: the elements are borrowed from the payload, little endian. Their type
//! and shape are the column's matter, and whoever knows the column holds them against each other.

use super::{Codec, Decoded, Limits, Scratch, Want};
use crate::data::info::{Format, Info};
use crate::error::{Fault, Reason};

/// The tensor codec. No content looks like a tensor, and a header says nothing: there is none.
#[derive(Debug, Clone, Copy)]
pub struct Tensor;

impl Codec for Tensor {
    fn format(&self) -> Format {
        Format::Tensor
    }

    fn sniff(&self, _: &[u8]) -> bool {
        false
    }

    /// `count` is the number of bytes, which is all that a payload tells.
    fn probe(&self, bytes: &[u8], limits: &Limits) -> Result<Info, Fault> {
        let count = bytes.len() as u64;
        Limits::check("tensor bytes", count, limits.payload_bytes.min(limits.decoded_bytes))?;
        Ok(Info { count, ..Info::of(Format::Tensor) })
    }

    fn decode<'s>(
        &self,
        bytes: &'s [u8],
        want: Want<'_>,
        limits: &Limits,
        _: &'s mut Scratch,
    ) -> Result<Decoded<'s>, Fault> {
        self.probe(bytes, limits)?;
        match want {
            Want::Whole => Ok(Decoded::Elements(bytes)),
            _ => Err(Fault::new(Reason::WrongMedia, "a tensor has neither regions, ranges nor frames")),
        }
    }
}
