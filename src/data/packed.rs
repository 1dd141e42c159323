//! Tensors as they are stored: bare elements, whose type and shape the column says.

use serde::{Deserialize, Serialize};

use super::info::{Fact, Format, Info};
use super::tensor::{DType, Extent};
use crate::error::{Error, Fault, Reason, Result};

/// The type of stored elements, little endian. Whole numbers of 16 and 32 bits are delivered as i64, the others as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Packed {
    /// Unsigned 8-bit.
    U8,
    /// Signed 8-bit.
    I8,
    /// Unsigned 16-bit.
    U16,
    /// Signed 32-bit.
    I32,
    /// Unsigned 32-bit.
    U32,
    /// Signed 64-bit.
    I64,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16.
    BF16,
    /// IEEE 754 binary32.
    F32,
}

impl Packed {
    /// Every type.
    pub const ALL: [Packed; 9] = [
        Packed::U8,
        Packed::I8,
        Packed::U16,
        Packed::I32,
        Packed::U32,
        Packed::I64,
        Packed::F16,
        Packed::BF16,
        Packed::F32,
    ];

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Packed::U8 | Packed::I8 => 1,
            Packed::U16 | Packed::F16 | Packed::BF16 => 2,
            Packed::I32 | Packed::U32 | Packed::F32 => 4,
            Packed::I64 => 8,
        }
    }

    /// The name used in configuration and messages.
    pub fn name(self) -> &'static str {
        match self {
            Packed::U8 => "u8",
            Packed::I8 => "i8",
            Packed::U16 => "u16",
            Packed::I32 => "i32",
            Packed::U32 => "u32",
            Packed::I64 => "i64",
            Packed::F16 => "f16",
            Packed::BF16 => "bf16",
            Packed::F32 => "f32",
        }
    }

    /// What a loader delivers.
    pub fn dtype(self) -> DType {
        match self {
            Packed::U8 => DType::U8,
            Packed::I8 => DType::I8,
            Packed::U16 | Packed::I32 | Packed::U32 | Packed::I64 => DType::I64,
            Packed::F16 => DType::F16,
            Packed::BF16 => DType::BF16,
            Packed::F32 => DType::F32,
        }
    }

    /// The type that holds all of a delivered one; none for those that nothing stores.
    pub fn of(dtype: DType) -> Option<Self> {
        match dtype {
            DType::U8 => Some(Packed::U8),
            DType::I8 => Some(Packed::I8),
            DType::I64 => Some(Packed::I64),
            DType::F16 => Some(Packed::F16),
            DType::BF16 => Some(Packed::BF16),
            DType::F32 => Some(Packed::F32),
            DType::F64 | DType::Bool => None,
        }
    }

    /// The values that it holds, for whole numbers.
    pub fn range(self) -> Option<(i64, i64)> {
        match self {
            Packed::U8 => Some((0, 255)),
            Packed::I8 => Some((-128, 127)),
            Packed::U16 => Some((0, 65_535)),
            Packed::I32 => Some((i64::from(i32::MIN), i64::from(i32::MAX))),
            Packed::U32 => Some((0, i64::from(u32::MAX))),
            Packed::I64 => Some((i64::MIN, i64::MAX)),
            Packed::F16 | Packed::BF16 | Packed::F32 => None,
        }
    }
}

/// What a column of tensors holds: row-major elements without a header.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorType {
    /// The type of the stored elements.
    pub dtype: Packed,
    /// The length of each axis; none for an axis that differs from row to row. Of three such axes the lengths are
    /// [`Info::count`], [`Info::height`] and [`Info::width`], of two the latter, of one the first.
    pub shape: Vec<Option<u32>>,
    /// What stands in a padded batch behind a row's own elements.
    #[serde(default)]
    pub pad: f64,
}

/// Axes that a tensor may have.
const AXES: usize = 8;

impl TensorType {
    /// Refuses shapes that rows cannot have.
    pub fn validate(&self, column: &str) -> Result<()> {
        let varying = self.shape.iter().filter(|axis| axis.is_none()).count();
        if self.shape.is_empty() || self.shape.len() > AXES || varying > 3 || self.shape.contains(&Some(0)) {
            return Err(Error::config(
                format!("column {column:?}: tensors of the shape {}", self.told()),
                format!("1 to {AXES} axes of at least 1, of which at most 3 differ from row to row"),
            ));
        }
        if !self.pad.is_finite() {
            return Err(Error::config(format!("column {column:?}: padding of {}", self.pad), "pad with a number"));
        }
        Ok(())
    }

    /// The type and shape for people: `f32 [80, ?]`.
    pub fn told(&self) -> String {
        let axes: Vec<String> = self.shape.iter().map(|a| a.map_or_else(|| "?".into(), |n| n.to_string())).collect();
        format!("{} [{}]", self.dtype.name(), axes.join(", "))
    }

    /// The facts that hold the lengths of the axes that differ, in the order of these axes.
    fn facts(&self) -> &'static [Fact] {
        match self.shape.iter().filter(|axis| axis.is_none()).count() {
            0 | 1 => &[Fact::Count],
            2 => &[Fact::Height, Fact::Width],
            _ => &[Fact::Count, Fact::Height, Fact::Width],
        }
    }

    /// One extent for each axis.
    pub fn extents(&self) -> Vec<Extent> {
        let mut facts = self.facts().iter();
        let bounded =
            |facts: &mut std::slice::Iter<'_, Fact>| facts.next().map_or(Extent::Late, |f| Extent::Bounded(*f));
        self.shape.iter().map(|axis| axis.map_or_else(|| bounded(&mut facts), |n| Extent::Fixed(n as usize))).collect()
    }

    /// The shape of a row with these facts.
    pub fn lengths(&self, info: &Info) -> Vec<usize> {
        let mut facts = self.facts().iter();
        let length =
            |axis: &Option<u32>| axis.map_or_else(|| facts.next().map_or(0, |f| info.fact(*f)), |n| n as usize);
        self.shape.iter().map(length).collect()
    }

    /// The facts of a row of this shape; a fault if the column does not hold such rows.
    pub fn info(&self, shape: &[usize]) -> Result<Info, Fault> {
        let wrong =
            || Fault::new(Reason::Corrupt, format!("a tensor of {shape:?}, where the column holds {}", self.told()));
        if shape.len() != self.shape.len() {
            return Err(wrong());
        }
        let mut info = Info::of(Format::Tensor);
        let mut facts = self.facts().iter();
        for (length, axis) in shape.iter().zip(&self.shape) {
            match axis {
                Some(fixed) if *fixed as usize == *length => {}
                Some(_) => return Err(wrong()),
                None => match facts.next() {
                    Some(Fact::Height) => info.height = u32::try_from(*length).map_err(|_| wrong())?,
                    Some(Fact::Width) => info.width = u32::try_from(*length).map_err(|_| wrong())?,
                    _ => info.count = *length as u64,
                },
            }
        }
        Ok(info)
    }

    /// The facts of a payload of so many bytes, where its length alone tells them: with at most one axis that differs.
    pub fn info_of(&self, bytes: u64) -> Result<Info, Fault> {
        let varying = self.shape.iter().filter(|axis| axis.is_none()).count();
        if varying > 1 {
            let what = format!("the length of a payload does not tell the shape of {}", self.told());
            return Err(Fault::new(Reason::Unsupported, what));
        }
        let fixed = self.shape.iter().flatten();
        let unit = fixed.fold(self.dtype.size() as u64, |n, axis| n.saturating_mul(u64::from(*axis)));
        if !bytes.is_multiple_of(unit) || varying == 0 && bytes != unit {
            return Err(Fault::new(Reason::Corrupt, format!("{bytes} bytes are no tensor of {}", self.told())));
        }
        let count = if varying == 0 { 0 } else { bytes / unit };
        Ok(Info { count, ..Info::of(Format::Tensor) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(dtype: Packed, shape: &[Option<u32>]) -> TensorType {
        TensorType { dtype, shape: shape.to_vec(), pad: 0.0 }
    }

    #[test]
    fn facts_are_the_lengths_that_differ() {
        for (shape, row) in [
            (&[Some(80), None][..], &[80, 7][..]),
            (&[None], &[0]),
            (&[Some(4), Some(5)], &[4, 5]),
            (&[None, None, Some(3)], &[6, 9, 3]),
            (&[None, Some(3), None, None], &[2, 3, 6, 9]),
        ] {
            let tensor = of(Packed::F32, shape);
            tensor.validate("x").unwrap();
            let info = tensor.info(row).unwrap();
            assert_eq!(tensor.lengths(&info), row);
            assert_eq!(tensor.extents().len(), row.len());
            let bytes = 4 * row.iter().product::<usize>() as u64;
            match shape.iter().filter(|a| a.is_none()).count() {
                0 | 1 => assert_eq!(tensor.info_of(bytes), Ok(info)),
                _ => assert!(tensor.info_of(bytes).is_err()),
            }
        }
        let tensor = of(Packed::U16, &[Some(4), None]);
        assert!(tensor.info(&[5, 1]).is_err() && tensor.info(&[4]).is_err() && tensor.info_of(9).is_err());
        assert!(of(Packed::U16, &[Some(4)]).info_of(16).is_err());
        assert_eq!(tensor.told(), "u16 [4, ?]");
        for wrong in [&[][..], &[Some(0)], &[None; 4], &[Some(1); 9]] {
            assert!(of(Packed::U8, wrong).validate("x").is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn stored_types_are_delivered_and_hold_what_they_say() {
        for packed in Packed::ALL {
            assert_eq!(Packed::of(packed.dtype()).map(Packed::dtype), Some(packed.dtype()));
            assert!(packed.size() <= packed.dtype().size());
            let name: Packed = serde_json::from_value(serde_json::json!(packed.name())).unwrap();
            assert_eq!(name, packed);
        }
    }
}
