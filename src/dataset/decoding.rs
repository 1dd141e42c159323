//! Payloads fetched and decoded one by one under one budget of memory, for those who look at all of a dataset.

use super::Dataset;
use crate::codec::{self, Codec, Limits, Scratch, Scratches};
use crate::data::index::Payload;
use crate::error::{Error, Fault, Reason, Result};

/// A thread's buffer for payloads gives back what is more than this.
const KEPT: usize = 32 << 20;

/// Fetches payloads and has them looked at; shared by all threads.
pub(crate) struct Decoding<'a> {
    pub dataset: &'a Dataset,
    pub limits: &'a Limits,
    /// What the decoders of all threads hold together.
    pub scratches: &'a Scratches,
}

impl Decoding<'_> {
    /// Fetches the payload of a cell into `bytes`, compares it with its hash, and has it looked at with its codec, under guard. `beside` are the
    /// bytes that looking takes beside the codec and the payload. What is wrong with the payload is the inner error.
    ///
    /// # Errors
    /// What is no fault of the payload.
    pub(crate) fn look<T>(
        &self,
        (row, column): (u64, usize),
        payload: &Payload,
        beside: u64,
        bytes: &mut Vec<u8>,
        look: impl FnOnce(&dyn Codec, &[u8], &mut Scratch) -> Result<T, Fault>,
    ) -> Result<Result<T, Fault>> {
        let codec = match codec::by_format(payload.info.format) {
            Ok(codec) => codec,
            Err(fault) => return Ok(Err(fault)),
        };
        // Without its bytes: it is not read before there is memory to decode it.
        let needs = codec.memory(&[], &payload.info).saturating_add(payload.length).saturating_add(beside);
        let mut loan = self.scratches.lend(needs);
        match self.dataset.fetch_checked(row, column, bytes) {
            Ok(_) => {}
            Err(Error::Sample { fault, .. }) => return Ok(Err(fault)),
            Err(error) => return Err(error),
        }
        let looked = codec::guarded(codec.name(), || look(codec, bytes, &mut loan.scratch));
        if matches!(&looked, Err(fault) if fault.reason == Reason::DecoderPanic) {
            loan.scratch = Scratch::default();
        }
        bytes.clear();
        bytes.shrink_to(KEPT);
        Ok(looked)
    }
}
