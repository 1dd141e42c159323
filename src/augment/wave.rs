//! What operations on recordings share: the samples of each channel, one channel behind the other.

#[cfg(feature = "audio")]
use super::{Media, Spec, refused};
#[cfg(feature = "audio")]
use crate::{data::tensor::Extent, error::Fault};

/// A recording's samples `[C, S]`, or `[S]` where it has no axis of channels.
#[derive(Debug, Clone, PartialEq)]
pub struct Wave {
    /// The samples in `[-1, 1)` nominal, channel by channel.
    pub data: Vec<f32>,
    /// The length of the axis of channels; `None`: one channel, and no axis.
    pub channels: Option<usize>,
    /// Hz.
    pub rate: u32,
}

impl Wave {
    /// One channel without an axis, `[S]`.
    pub fn mono(data: Vec<f32>, rate: u32) -> Self {
        Wave { data, channels: None, rate }
    }

    /// Channels, at least one.
    pub fn channels(&self) -> usize {
        self.channels.unwrap_or(1).max(1)
    }

    /// Samples a channel.
    pub fn samples(&self) -> usize {
        self.data.len() / self.channels()
    }

    /// The channels, one after the other.
    pub fn planes(&self) -> impl Iterator<Item = &[f32]> {
        let samples = self.samples();
        (0..self.channels()).map(move |c| &self.data[c * samples..(c + 1) * samples])
    }

    /// The same with each channel made anew.
    #[cfg(feature = "audio")]
    pub(super) fn each<E>(self, mut make: impl FnMut(&[f32]) -> Result<Vec<f32>, E>) -> Result<Self, E> {
        if self.channels() == 1 {
            return Ok(Wave { data: make(&self.data)?, ..self });
        }
        let mut data = Vec::new();
        for plane in self.planes() {
            data.extend(make(plane)?);
        }
        Ok(Wave { data, ..self })
    }

    /// The lengths of the axes.
    pub fn shape(&self) -> Vec<usize> {
        self.channels.into_iter().chain([self.samples()]).collect()
    }
}

#[cfg(feature = "audio")]
/// The recording in some media, or a refusal in the operation's name.
pub(super) fn wave(op: &str, media: Media) -> Result<Wave, Fault> {
    match media {
        Media::Wave(wave) => Ok(wave),
        other => Err(refused(op, "recordings", other.name())),
    }
}

#[cfg(feature = "audio")]
/// Rate, channels and samples of a recording's spec, or a refusal in the operation's name.
pub(super) fn spec(op: &str, input: &Spec) -> Result<(Option<u32>, Option<Extent>, Extent), Fault> {
    match *input {
        Spec::Wave { rate, channels, samples } => Ok((rate, channels, samples)),
        ref other => Err(refused(op, "recordings", other.name())),
    }
}
