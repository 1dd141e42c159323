//! A batch: named columns of N samples, with which of them are real and where they came from.

use std::borrow::Cow;

use super::buffer::Buffer;
use super::tensor::{DType, Element};
use crate::error::{Error, Result};

/// N samples, delivered in the global order.
#[derive(Debug)]
pub struct Batch {
    /// Which batch of which epoch this is.
    pub place: BatchPlace,
    /// The columns in the dataset's order, with their names.
    pub columns: Vec<(String, Column)>,
    /// `[N]`: false for the padding of an incomplete last batch.
    pub valid: Vec<bool>,
    /// `[N]`: the ids of the rows; empty for padding. Of rows of packed sequences a line for each.
    pub ids: Vec<String>,
    /// Samples that could not be read, in whose slots others stand (only where the recipe says `errors = "substitute"`).
    pub substituted: Vec<Substituted>,
}

/// A sample that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Substituted {
    /// The slot in which another stands.
    pub slot: usize,
    /// The id of the one that could not be read.
    pub id: String,
    /// Why, and where it is.
    pub reason: String,
}

/// Where a batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchPlace {
    /// The epoch, from 0.
    pub epoch: u64,
    /// The window of the epoch's order in which the batch was formed; 0 where batches are not formed in windows.
    pub window: u64,
    /// The batch's number over all ranks: in the epoch's global order, or in its window.
    pub batch: u64,
}

impl BatchPlace {
    /// `BATCH`, or `WINDOW:BATCH` behind the first window.
    pub fn at(&self) -> String {
        if self.window == 0 { self.batch.to_string() } else { format!("{}:{}", self.window, self.batch) }
    }
}

/// One column of a batch.
#[derive(Debug)]
pub enum Column {
    /// Samples of one shape, padded to the longest where they differ.
    Dense(Dense),
    /// Samples whose shapes were known only after decoding.
    Ragged(Ragged),
    /// Byte strings: encoded media, text.
    Bytes(ByteStrings),
}

/// `[N, ...]`, native endian; row-major without gaps unless the operation `to` asked for room or alignment.
#[derive(Debug)]
pub struct Dense {
    /// The elements; 64-byte aligned; returns to the loader's pool when dropped.
    pub buffer: Buffer,
    /// N first.
    pub shape: Vec<usize>,
    /// In elements, N first, where samples do not lie row-major without gaps; else empty. Between them is the chain's padding.
    pub strides: Vec<usize>,
    /// The elements' type.
    pub dtype: DType,
    /// For every axis that differs between samples (counted from 1; axis 0 is N): its true length in each sample.
    pub lengths: Vec<(usize, Vec<usize>)>,
    /// `[N]`, empty if none is: true for padding, and where the cell is null in the dataset. There stands -1 (class), 0
    /// (int), NaN (float), false (bool), the chain's padding (media).
    pub missing: Vec<bool>,
}

/// Samples of different shapes, one behind the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Ragged {
    /// Native-endian elements.
    pub values: Vec<u8>,
    /// `[N + 1]`: byte offsets into `values`.
    pub offsets: Vec<usize>,
    /// `[N]` shapes.
    pub shapes: Vec<Vec<usize>>,
    /// The elements' type.
    pub dtype: DType,
    /// As [`Dense::missing`]; such a sample has no elements.
    pub missing: Vec<bool>,
}

/// N byte strings, one behind the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ByteStrings {
    /// The bytes.
    pub values: Vec<u8>,
    /// `[N + 1]`: offsets into `values`.
    pub offsets: Vec<usize>,
    /// As [`Dense::missing`]; such a string is empty.
    pub missing: Vec<bool>,
}

impl ByteStrings {
    /// The i-th string.
    pub fn get(&self, i: usize) -> &[u8] {
        &self.values[self.offsets[i]..self.offsets[i + 1]]
    }
}

impl Ragged {
    /// The i-th sample's elements, row-major; `None` if the column holds another type.
    pub fn get<T: Element>(&self, i: usize) -> Option<Vec<T>> {
        let bytes = &self.values[self.offsets[i]..self.offsets[i + 1]];
        T::reads(self.dtype).then(|| bytemuck::pod_collect_to_vec(bytes))
    }

    /// A dense column of these samples, each axis padded with `pad` to its longest, with the true lengths; `None` if the column
    /// holds another type. It is a copy, in memory that no budget counts.
    pub fn padded<T: Element>(&self, pad: T) -> Option<Dense> {
        if !T::reads(self.dtype) {
            return None;
        }
        let (samples, axes) = (self.shapes.len(), self.shapes.iter().map(Vec::len).max().unwrap_or(1));
        let length = |shape: &Vec<usize>, axis: usize| shape.get(axis).copied().unwrap_or(0);
        let longest = |axis| self.shapes.iter().map(|shape| length(shape, axis)).max().unwrap_or(0);
        let shape: Vec<usize> = std::iter::once(samples).chain((0..axes).map(longest)).collect();
        let size = self.dtype.size();
        let mut buffer = Buffer::zeroed(shape.iter().product::<usize>() * size);
        let out: &mut [T] = bytemuck::cast_slice_mut(buffer.bytes_mut());
        out.fill(pad);
        let sample: usize = shape[1..].iter().product();
        for (i, own) in self.shapes.iter().enumerate() {
            let (elements, row) = (self.get::<T>(i)?, own.last().copied().unwrap_or(0));
            for (number, elements) in elements.chunks(row.max(1)).enumerate() {
                // The place of the row, axis by axis from the last but one on.
                let (mut rest, mut at, mut stride) = (number, 0, shape[axes]);
                for axis in (0..axes - 1).rev() {
                    at += rest % own[axis] * stride;
                    rest /= own[axis];
                    stride *= shape[axis + 1];
                }
                out[i * sample + at..][..elements.len()].copy_from_slice(elements);
            }
        }
        let lengths = (0..axes).map(|a| (a + 1, self.shapes.iter().map(|s| length(s, a)).collect())).collect();
        Some(Dense { buffer, shape, strides: Vec::new(), dtype: self.dtype, lengths, missing: self.missing.clone() })
    }
}

/// A dense column, typed and borrowed.
#[derive(Debug, Clone, Copy)]
pub struct View<'a, T> {
    /// The elements: row-major without gaps if `strides` is empty, else with what lies between them.
    pub data: &'a [T],
    /// N first.
    pub shape: &'a [usize],
    /// As [`Dense::strides`].
    pub strides: &'a [usize],
}

impl<T: Copy> View<'_, T> {
    /// The element at a place, N first; `None` outside.
    pub fn get(&self, place: &[usize]) -> Option<T> {
        if place.len() != self.shape.len() || place.iter().zip(self.shape).any(|(i, length)| i >= length) {
            return None;
        }
        let at = match self.strides {
            [] => place.iter().zip(self.shape).fold(0, |at, (i, length)| at * length + i),
            strides => place.iter().zip(strides).map(|(i, stride)| i * stride).sum(),
        };
        self.data.get(at).copied()
    }

    /// The elements row-major without gaps: borrowed if they are that, else one copy.
    pub fn packed(&self) -> Cow<'_, [T]> {
        if self.strides.is_empty() {
            return Cow::Borrowed(self.data);
        }
        let mut out = Vec::with_capacity(self.shape.iter().product());
        if !self.shape.contains(&0) {
            gathered(self.data, self.shape, self.strides, 1, &mut |row: &[T]| out.extend_from_slice(row));
        }
        Cow::Owned(out)
    }
}

/// Elements of `size` units each, handed over row by row, row-major.
fn gathered<T>(held: &[T], shape: &[usize], strides: &[usize], size: usize, put: &mut impl FnMut(&[T])) {
    match (shape, strides) {
        ([], _) | (_, []) => put(&held[..size]),
        ([length], [1]) => put(&held[..length * size]),
        ([length, shape @ ..], [stride, inner @ ..]) => {
            (0..*length).for_each(|i| gathered(&held[i * stride * size..], shape, inner, size, put));
        }
    }
}

impl Dense {
    /// The elements as `T`; `None` if the column holds another type.
    pub fn view<T: Element>(&self) -> Option<View<'_, T>> {
        if !T::reads(self.dtype) {
            return None;
        }
        let data = bytemuck::try_cast_slice(self.held()?).ok()?;
        Some(View { data, shape: &self.shape, strides: &self.strides })
    }

    /// Everything that belongs to the samples, what lies between them too.
    fn held(&self) -> Option<&[u8]> {
        let count = match (self.shape.first(), self.strides.first()) {
            (Some(samples), Some(stride)) => samples.checked_mul(*stride)?,
            _ => self.shape.iter().product(),
        };
        self.buffer.bytes().get(..count.checked_mul(self.dtype.size())?)
    }

    /// The elements row-major without gaps: the column's own memory if it is that, else a copy.
    pub fn packed(&self) -> Cow<'_, [u8]> {
        let held = self.held().unwrap_or_default();
        if self.strides.is_empty() {
            return Cow::Borrowed(held);
        }
        let mut out = Vec::with_capacity(self.shape.iter().product::<usize>() * self.dtype.size());
        if !self.shape.contains(&0) {
            let size = self.dtype.size();
            gathered(held, &self.shape, &self.strides, size, &mut |row: &[u8]| out.extend_from_slice(row));
        }
        Cow::Owned(out)
    }

    /// The same column row-major without gaps: itself if it is that, else one copy into memory of its own.
    pub fn into_packed(self) -> Self {
        if self.strides.is_empty() {
            return self;
        }
        let size = self.dtype.size();
        let mut buffer = Buffer::zeroed(self.shape.iter().product::<usize>() * size);
        let (mut at, to) = (0, buffer.bytes_mut());
        if !self.shape.contains(&0) {
            gathered(self.held().unwrap_or_default(), &self.shape, &self.strides, size, &mut |row: &[u8]| {
                to[at..at + row.len()].copy_from_slice(row);
                at += row.len();
            });
        }
        Dense { buffer, strides: Vec::new(), ..self }
    }
}

impl Batch {
    /// N, padding included.
    pub fn len(&self) -> usize {
        self.valid.len()
    }

    /// Whether there is no sample at all.
    pub fn is_empty(&self) -> bool {
        self.valid.is_empty()
    }

    /// A column by name.
    pub fn column(&self, name: &str) -> Result<&Column> {
        self.columns.iter().find(|(n, _)| n == name).map(|(_, c)| c).ok_or_else(|| self.no_column(name))
    }

    /// Takes a column out, to hand its memory on without a copy.
    pub fn take(&mut self, name: &str) -> Result<Column> {
        let at = self.columns.iter().position(|(n, _)| n == name).ok_or_else(|| self.no_column(name))?;
        Ok(self.columns.remove(at).1)
    }

    /// A dense column, typed: `batch.get::<f32>("image")?` with shape `[N, C, H, W]`. Mind [`View::strides`] if the recipe asks for
    /// room or alignment.
    pub fn get<T: Element>(&self, name: &str) -> Result<View<'_, T>> {
        match self.column(name)? {
            Column::Dense(dense) => dense.view().ok_or_else(|| {
                Error::config(
                    format!("column {name:?} holds {}, not {}", dense.dtype.name(), T::NAME),
                    format!("read it as {}, or end its chain with the operation \"to\"", dense.dtype.name()),
                )
            }),
            Column::Ragged(_) => Err(Error::config(
                format!("column {name:?} is ragged: its samples differ in shape"),
                "match on Batch::column, or give the chain an operation that fixes the shape",
            )),
            Column::Bytes(_) => Err(Error::config(
                format!("column {name:?} holds byte strings"),
                "match on Batch::column, or give the column operations that make a tensor of it",
            )),
        }
    }

    fn no_column(&self, name: &str) -> Error {
        let names: Vec<&str> = self.columns.iter().map(|(n, _)| n.as_str()).collect();
        Error::config(format!("the batch has no column {name:?}"), format!("it has: {}", names.join(", ")))
    }

    /// XXH3-128 over every column, label, id and validity: equal for equal batches, wherever they were made.
    pub fn digest(&self) -> u128 {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        let mut part = |bytes: &[u8]| {
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        let flags = |f: &[bool]| f.iter().map(|v| u8::from(*v)).collect::<Vec<u8>>();
        let numbers = |n: &[usize]| n.iter().flat_map(|v| (*v as u64).to_le_bytes()).collect::<Vec<u8>>();
        part(&self.place.epoch.to_le_bytes());
        part(&self.place.batch.to_le_bytes());
        if self.place.window > 0 {
            part(&self.place.window.to_le_bytes());
        }
        for (name, column) in &self.columns {
            part(name.as_bytes());
            match column {
                Column::Dense(d) => {
                    part(d.dtype.name().as_bytes());
                    part(&numbers(&d.shape));
                    if !d.strides.is_empty() {
                        part(&numbers(&d.strides));
                    }
                    part(d.held().unwrap_or_default());
                    for (axis, lengths) in &d.lengths {
                        part(&numbers(&[*axis]));
                        part(&numbers(lengths));
                    }
                    part(&flags(&d.missing));
                }
                Column::Ragged(r) => {
                    part(r.dtype.name().as_bytes());
                    part(&r.values);
                    for shape in &r.shapes {
                        part(&numbers(shape));
                    }
                    part(&flags(&r.missing));
                }
                Column::Bytes(b) => {
                    part(&b.values);
                    part(&numbers(&b.offsets));
                    part(&flags(&b.missing));
                }
            }
        }
        part(&flags(&self.valid));
        for id in &self.ids {
            part(id.as_bytes());
        }
        hash.digest128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ragged_samples_are_padded_on_every_axis() {
        let samples: [(&[usize], Vec<i64>); 4] =
            [(&[2, 2], vec![1, 2, 3, 4]), (&[1, 3], vec![5, 6, 7]), (&[0], vec![]), (&[3, 1], vec![8, 9, 10])];
        let values: Vec<i64> = samples.iter().flat_map(|s| s.1.clone()).collect();
        let ragged = Ragged {
            values: bytemuck::pod_collect_to_vec(&values),
            offsets: vec![0, 32, 56, 56, 80],
            shapes: samples.iter().map(|s| s.0.to_vec()).collect(),
            dtype: DType::I64,
            missing: vec![false, false, true, false],
        };
        assert_eq!((ragged.get::<i64>(1), ragged.get::<f32>(1)), (Some(vec![5, 6, 7]), None));
        let dense = ragged.padded(-1i64).unwrap();
        assert_eq!((&dense.shape[..], &dense.missing), (&[4, 3, 3][..], &ragged.missing));
        assert_eq!(dense.lengths, [(1, vec![2, 1, 0, 3]), (2, vec![2, 3, 0, 1])]);
        let p = -1;
        let want = [
            1, 2, p, 3, 4, p, p, p, p, 5, 6, 7, p, p, p, p, p, p, p, p, p, p, p, p, p, p, p, 8, p, p, 9, p, p, 10, p, p,
        ];
        assert_eq!(dense.view::<i64>().unwrap().data, want);
        assert!(ragged.padded(0.0f32).is_none());
    }
}
