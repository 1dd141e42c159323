//! Masks of COCO: polygons and runs become pixels, the ones that pycocotools 2.0.11 makes of them, by `hotcoco`, a port of its C.
//!
//! What pycocotools takes in silence and makes nothing of (polygons of an odd number of coordinates, of fewer than three points, with NaN) is refused
//! here; runs that end early are background to the end (there, what the memory held before). The edge pixels of polygons are those of an x86-64 machine there and here:
//! on arm64 both round otherwise.

use hotcoco::mask;
use hotcoco::types::Rle;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Limits;
use crate::error::{Fault, Reason};

/// Which pixels of a picture are of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// Pixels down.
    pub height: u32,
    /// Pixels across.
    pub width: u32,
    /// `[height, width]`, row by row: 1 where the object is, else 0.
    pub pixels: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Counts {
    Packed(String),
    Runs(Vec<u32>),
}

#[derive(Deserialize)]
struct Runs {
    /// Height, width.
    size: [u32; 2],
    counts: Counts,
}

impl Mask {
    /// Makes the mask of one segmentation, as COCO's JSON has it, in a picture of this size: polygons in pixels, or runs of pixels, packed or not.
    ///
    /// # Errors
    /// [`Reason::BadLabel`] for what is no segmentation, or is one of a picture of another size; [`Reason::OverLimit`] for more pixels than the
    /// limits allow.
    ///
    /// ```
    /// use feedstock::codec::{Limits, mask::Mask};
    /// let mask = Mask::read(r#"{"size": [2, 3], "counts": [1, 2, 3]}"#, 2, 3, &Limits::default())?;
    /// // Column by column: one pixel of background, two of the object, three of background.
    /// assert_eq!(mask.pixels, [0, 1, 0, 1, 0, 0]);
    /// # Ok::<(), feedstock::error::Fault>(())
    /// ```
    pub fn read(json: &str, height: u32, width: u32, limits: &Limits) -> Result<Mask, Fault> {
        let bad = |what: String| Fault::new(Reason::BadLabel, format!("a segmentation: {what}"));
        Limits::check("pixels of a mask", u64::from(height) * u64::from(width), limits.pixels)?;
        let other = |e: hotcoco::error::Error| bad(e.to_string());
        let rle = if json.trim_start().starts_with('{') {
            let runs: Runs = serde_json::from_str(json).map_err(|e| bad(e.to_string()))?;
            if runs.size != [height, width] {
                return Err(bad(format!("it is of {:?} pixels, the picture has [{height}, {width}]", runs.size)));
            }
            match runs.counts {
                Counts::Packed(text) => mask::rle_from_string(&text, height, width).map_err(other)?,
                Counts::Runs(counts) => {
                    mask::check_counts(&counts, height, width).map_err(other)?;
                    Rle { h: height, w: width, counts }
                }
            }
        } else {
            let polygons: Vec<Vec<f64>> = serde_json::from_str(json).map_err(|e| bad(e.to_string()))?;
            if polygons.is_empty() {
                return Err(bad("it has no polygon".into()));
            }
            if let Some(polygon) = polygons.iter().find(|p| p.len() < 6 || !p.len().is_multiple_of(2)) {
                return Err(bad(format!("a polygon of {} numbers", polygon.len())));
            }
            mask::fr_polys(&polygons, height, width).map_err(other)?
        };
        let columns = mask::decode(&rle);
        let (height_, width_) = (height as usize, width as usize);
        let pixels = (0..height_ * width_).map(|at| columns[at % width_ * height_ + at / width_]).collect();
        Ok(Mask { height, width, pixels })
    }

    /// Makes the masks of a row of the column `segmentation`: a list with an entry an object, `None` where there is none.
    ///
    /// # Errors
    /// As [`Mask::read`], with the number of the object.
    pub fn read_all(json: &str, height: u32, width: u32, limits: &Limits) -> Result<Vec<Option<Mask>>, Fault> {
        let all: Vec<&RawValue> =
            serde_json::from_str(json).map_err(|e| Fault::new(Reason::BadLabel, format!("segmentations: {e}")))?;
        let one = |(number, raw): (usize, &&RawValue)| match raw.get() {
            "null" | "[]" => Ok(None),
            text => Mask::read(text, height, width, limits)
                .map(Some)
                .map_err(|fault| Fault::new(fault.reason, format!("object {}: {}", number + 1, fault.message))),
        };
        all.iter().enumerate().map(one).collect()
    }

    /// How many pixels the object has.
    pub fn area(&self) -> u64 {
        self.pixels.iter().map(|pixel| u64::from(*pixel)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Case {
        size: [u32; 2],
        segmentation: Box<RawValue>,
        area: u64,
        rows: Vec<String>,
    }

    /// Exact: both make the same integers of the same numbers (`fixtures/make/make_objects.py`).
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn masks_are_those_of_pycocotools() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/objects/masks.json");
        let cases: Vec<Case> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(cases.len() >= 36);
        let mut kinds = [0; 3];
        for Case { size: [height, width], segmentation, area, rows } in cases {
            let text = segmentation.get();
            kinds[if text.starts_with('[') { 0 } else { 1 + usize::from(text.contains("\"counts\":[")) }] += 1;
            let mask = Mask::read(text, height, width, &Limits::default()).unwrap();
            let expected: Vec<u8> = rows.concat().bytes().map(|b| b - b'0').collect();
            assert_eq!((mask.area(), mask.pixels), (area, expected), "{text}");
        }
        assert!(kinds.iter().all(|n| *n >= 4), "polygons, packed runs, runs: {kinds:?}");
    }

    #[test]
    fn what_is_no_segmentation_is_refused() {
        let limits = Limits { pixels: 100, ..Limits::default() };
        assert_eq!(
            Mask::read(r#"{"size": [4, 5], "counts": [3, 4]}"#, 4, 5, &limits).unwrap().area(),
            4,
            "the rest is background"
        );
        for (json, said) in [
            ("[]", "no polygon"),
            ("[[0, 0, 4, 4]]", "4 numbers"),
            ("[[0, 0, 4, 4, 2]]", "5 numbers"),
            ("[[0, 0, 4, 4, 2, null]]", "segmentation"),
            (r#"{"size": [4, 6], "counts": [24]}"#, "[4, 6] pixels"),
            (r#"{"size": [4, 5], "counts": [21]}"#, "21"),
            (r#"{"size": [4, 5], "counts": [-1, 21]}"#, "segmentation"),
            (r#"{"size": [4, 5], "counts": "\u0001"}"#, "segmentation"),
            (r#"{"size": [4, 5]}"#, "counts"),
            ("7", "segmentation"),
            ("", "segmentation"),
        ] {
            let fault = Mask::read(json, 4, 5, &limits).unwrap_err();
            assert!(fault.reason == Reason::BadLabel && fault.message.contains(said), "{json}: {fault}");
        }
        assert_eq!(Mask::read("[[0, 0, 4, 4, 2, 2]]", 40, 50, &limits).unwrap_err().reason, Reason::OverLimit);
        let huge = "[[-1e300, 0, 1e300, 1e18, 4e9, -4e9, 0, 0]]";
        assert_eq!(Mask::read(huge, 4, 5, &limits).unwrap().pixels.len(), 20);
        let all = Mask::read_all(r#"[null, [], {"size": [4, 5], "counts": [0, 20]}]"#, 4, 5, &limits).unwrap();
        assert_eq!(all.iter().map(|m| m.as_ref().map(Mask::area)).collect::<Vec<_>>(), [None, None, Some(20)]);
        assert!(Mask::read_all("[[], 3]", 4, 5, &limits).unwrap_err().message.contains("object 2"));
    }
}
