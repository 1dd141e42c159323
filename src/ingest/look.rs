//! What foreign code does with a payload: in this process, or in one that may die of it ([`super::isolated`]). Both run this.

use crate::codec::Loan;
use crate::codec::{self, Check, Codec, Decoded, Limits, Scratch, Want};
use crate::data::feature::Schema;
use crate::data::info::{Info, Kind};
use crate::error::{Fault, Reason, Result};
use crate::prepare::{Accepted, Counting, Prepare};

/// Lends memory to decode in, of so many bytes.
pub(super) type Lend<'a, 's> = &'a dyn Fn(u64) -> Loan<'s>;

/// What a look needs to know.
#[derive(Clone, Copy)]
pub(super) struct Looker<'a> {
    pub schema: &'a Schema,
    pub prepare: &'a Prepare,
    pub check: Check,
    pub limits: &'a Limits,
}

/// What was seen of a payload.
#[derive(Debug)]
pub(super) struct Looked {
    /// Its facts.
    pub info: Info,
    /// What is stored in its place, if not itself.
    pub made: Option<(Vec<u8>, Info)>,
    /// The seek table of what is stored.
    pub seek: Option<Vec<u8>>,
}

/// A recording that was decoded.
#[derive(Debug)]
pub(super) struct Sound {
    /// Interleaved.
    pub samples: Vec<f32>,
    pub channels: u32,
    pub rate: u32,
}

impl Looker<'_> {
    /// The kind of media that a column's source has.
    pub(super) fn kind(&self, column: usize) -> Kind {
        let feature = self.prepare.source(column).unwrap_or(&self.schema.columns[column].feature);
        feature.kind().unwrap_or(Kind::Text)
    }

    /// Whether looking at a payload of a column runs more than code of our own: text that is stored as it is does not.
    pub(super) fn is_foreign(&self, column: usize) -> bool {
        self.kind(column) != Kind::Text || self.prepare.source(column).is_some()
    }

    /// Looks at a payload through its codec, and makes what is stored of it. A panic in a decoder is a fault like any other.
    pub(super) fn payload(
        &self,
        column: usize,
        codec: &dyn Codec,
        bytes: &[u8],
        lend: Lend<'_, '_>,
    ) -> Result<Looked, Fault> {
        let source = self.prepare.source(column);
        let probe = || codec::guarded(codec.name(), || codec.probe(bytes, self.limits));
        let (needs, level) = match (source, self.check) {
            (None, Check::Header) => (0, Check::Header),
            (None, level) => (codec.memory(bytes, &probe()?), level),
            (Some(_), level) => {
                let info = probe()?;
                let needs = codec.memory(bytes, &info).saturating_add(self.prepare.memory(column, &info));
                // All of a picture is decoded to make something of it: that is the check.
                let once = self.kind(column) == Kind::Image && self.prepare.decodes(column, &info);
                (needs, if once { Check::Header } else { level })
            }
        };
        let mut loan = lend(needs);
        let seekable = self.schema.columns[column].is_seekable();
        let checked = codec::guarded(codec.name(), || match seekable {
            true => codec.check_seekable(bytes, level, self.limits, &mut loan.scratch),
            false => Ok((codec.check(bytes, level, self.limits, &mut loan.scratch)?, None)),
        });
        let answer = checked.and_then(|(info, table)| {
            let payload = Accepted { bytes, codec, info: &info, limits: self.limits };
            Ok((info, self.prepare.make(column, payload, &mut loan.scratch)?, table))
        });
        let (info, made, table) = after(answer, loan)?;
        let (last, format) = made.as_ref().map_or((bytes, info.format), |(bytes, info)| (bytes, info.format));
        let seek = match (seekable, table.filter(|_| made.is_none())) {
            (true, Some(table)) => Some(table),
            // What cannot be opened was accepted by what stands behind the codec: it has no table.
            (true, None) => codec::by_format(format)?.seek_table(last, self.limits).ok().flatten(),
            (false, _) => None,
        };
        Ok(Looked { info, made, seek })
    }

    /// Makes what is stored of a part of a recording, which is a recording of its own by now.
    pub(super) fn part(&self, column: usize, bytes: &[u8], lend: Lend<'_, '_>) -> Result<Looked, Fault> {
        let codec = codec::sniff(bytes, Kind::Audio)?;
        let info = codec.probe(bytes, self.limits)?;
        let needs = codec.memory(bytes, &info).saturating_add(self.prepare.memory(column, &info));
        let mut loan = lend(needs);
        let payload = Accepted { bytes, codec, info: &info, limits: self.limits };
        let made = self.prepare.make(column, payload, &mut loan.scratch);
        Ok(Looked { info, made: after(made, loan)?, seek: None })
    }

    /// How many numbers operations make of a text, by the place of what counts them.
    pub(super) fn count(&self, at: usize, bytes: &[u8], info: &Info, lend: Lend<'_, '_>) -> Result<i64, Fault> {
        let counting: &Counting =
            self.prepare.counts().get(at).ok_or_else(|| Fault::new(Reason::Unsupported, "nothing counts there"))?;
        let codec = codec::by_format(info.format)?;
        let mut loan = lend(codec.memory(bytes, info).saturating_add(counting.memory(info)));
        let counted = counting.count(Accepted { bytes, codec, info, limits: self.limits }, &mut loan.scratch);
        after(counted, loan)
    }

    /// Decodes a whole recording that parts are to be cut from.
    pub(super) fn recording(&self, codec: &dyn Codec, bytes: &[u8], scratch: &mut Scratch) -> Result<Sound, Fault> {
        let limits = self.limits.cut();
        let decoded = codec::guarded(codec.name(), || {
            let decoded = match self.check {
                Check::Decode => codec.decode_checked(bytes, &limits, scratch)?,
                Check::Header | Check::Entropy => codec.decode(bytes, Want::Whole, &limits, scratch)?,
            };
            match decoded {
                Decoded::Wave(wave) => Ok((wave.channels, wave.rate, wave.data.as_ptr(), wave.data.len())),
                _ => Err(Fault::new(Reason::WrongMedia, "the payload holds no samples")),
            }
        });
        if matches!(&decoded, Err(fault) if fault.reason == Reason::DecoderPanic) {
            *scratch = Scratch::default();
        }
        let (channels, rate, data, length) = decoded?;
        // The buffer itself, as a copy would need the memory twice.
        let mut samples = std::mem::take(&mut scratch.floats);
        if (samples.as_ptr(), samples.len()) != (data, length) {
            let what = format!("{} decodes to other memory than the scratch's", codec.name());
            return Err(Fault::new(Reason::Unsupported, what));
        }
        samples.shrink_to_fit();
        Ok(Sound { samples, channels, rate })
    }
}

/// Gives a loan back. After a panic the scratch may be in any state: it is dropped.
fn after<T>(answer: Result<T, Fault>, mut loan: Loan<'_>) -> Result<T, Fault> {
    if matches!(&answer, Err(fault) if fault.reason == Reason::DecoderPanic) {
        loan.scratch = Scratch::default();
    }
    drop(loan);
    answer
}
