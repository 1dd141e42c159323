//! The rows of one file of labels.

use std::collections::HashSet;

use super::Own;
use crate::data::label::Objects;
use crate::error::{Fault, Reason};

/// What a file of labels says, in its order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Labels {
    classes: Vec<usize>,
    /// Centre and size, as parts of the picture's.
    boxes: Vec<[f64; 4]>,
    /// The polygon of each, if the file has polygons.
    pub polygons: Vec<Vec<f64>>,
    /// Rows that came before.
    pub twice: u64,
}

/// How far beyond the picture a coordinate may be: Ultralytics takes as much for rounding.
const BEYOND: f64 = 0.01;

/// Reads a file of labels, of so many classes if that is known.
pub(super) fn read(bytes: &[u8], classes: Option<usize>) -> Result<Labels, Fault> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| Fault::new(Reason::InvalidUtf8, format!("the labels are not UTF-8: {e}")))?;
    let mut labels = Labels::default();
    let mut seen = HashSet::new();
    let mut polygons = None;
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let bad = |what: String| Fault::new(Reason::BadLabel, format!("line {}: {what}", number + 1));
        let mut numbers = Vec::new();
        for word in line.split_whitespace() {
            let number = word.parse::<f64>().ok().filter(|v| v.is_finite());
            numbers.push(number.ok_or_else(|| bad(format!("{word:?} is no number")))?);
        }
        let Some((class, place)) = numbers.split_first() else { continue };
        let whole = class.fract() == 0.0 && (0.0..1e9).contains(class);
        let class = Some(*class as usize).filter(|_| whole).ok_or_else(|| bad(format!("{class} is no class")))?;
        if let Some(classes) = classes.filter(|classes| class >= *classes) {
            return Err(bad(format!("class {class}, and there are {classes}")));
        }
        let polygon = numbers.len() > 6;
        if polygons.is_some_and(|before| before != polygon) {
            return Err(bad("boxes and polygons in one file".into()));
        }
        polygons = Some(polygon);
        if let Some(out) = place.iter().find(|v| !(-BEYOND..=1.0 + BEYOND).contains(*v)) {
            return Err(bad(format!(
                "{out} is outside the picture: coordinates are parts of its width and height, 0 to 1"
            )));
        }
        let bounds = match *place {
            [x, y, w, h] if w >= 0.0 && h >= 0.0 => [x, y, w, h],
            _ if polygon && place.len().is_multiple_of(2) => around(place),
            _ => return Err(bad(format!("{} numbers: a class and a box of 4, or a polygon", numbers.len()))),
        };
        if !seen.insert(numbers.iter().map(|v| v.to_bits()).collect::<Vec<_>>()) {
            labels.twice += 1;
            continue;
        }
        labels.classes.push(class);
        labels.boxes.push(bounds);
        if polygon {
            labels.polygons.push(place.to_vec());
        }
    }
    Ok(labels)
}

/// The box around a polygon.
fn around(points: &[f64]) -> [f64; 4] {
    let edges = |axis: usize| {
        let values = points.iter().skip(axis).step_by(2);
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)))
    };
    let ((x0, x1), (y0, y1)) = (edges(0), edges(1));
    [(x0 + x1) / 2.0, (y0 + y1) / 2.0, x1 - x0, y1 - y0]
}

impl Labels {
    /// Whether there is a row.
    pub(super) fn any(&self) -> bool {
        !self.classes.is_empty()
    }

    /// The objects with the names of their classes; classes that nobody named are called by their numbers.
    pub(super) fn objects(&self, names: Option<&[String]>) -> (Vec<String>, Objects) {
        let (mut own, mut of) = (Vec::new(), Own::new());
        let mut objects = Objects::default();
        for (class, bounds) in self.classes.iter().zip(&self.boxes) {
            let at = *of.entry(*class).or_insert_with(|| {
                own.push(names.and_then(|names| names.get(*class)).cloned().unwrap_or_else(|| class.to_string()));
                own.len() as i64 - 1
            });
            objects.classes.push(at);
            objects.boxes.push(bounds.map(|v| v as f32));
        }
        (own, objects)
    }

    /// The polygons as JSON, a list of one an object as in COCO, but as parts of width and height.
    pub(super) fn json(&self) -> String {
        let polygons: Vec<[&Vec<f64>; 1]> = self.polygons.iter().map(|polygon| [polygon]).collect();
        serde_json::to_string(&polygons).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_boxes_or_polygons() {
        let boxes =
            read(b"\xef\xbb\xbf0 0.5 0.5 1 1\r\n\n  2.0\t0.25 0.25 0.5 0.5  \n0 0.5 0.5 1 1\n", Some(3)).unwrap();
        assert_eq!((boxes.classes.as_slice(), boxes.twice, boxes.polygons.len()), (&[0, 2][..], 1, 0));
        let names: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        let (own, objects) = boxes.objects(Some(&names));
        assert_eq!((own, objects.classes), (vec!["a".to_owned(), "c".to_owned()], vec![0, 1]));
        let polygons = read(b"1 0 0 0.5 0 0.5 1.005\n", None).unwrap();
        assert_eq!(polygons.boxes, [[0.25, 0.5025, 0.5, 1.005]]);
        assert_eq!(polygons.json(), "[[[0.0,0.0,0.5,0.0,0.5,1.005]]]");
        assert_eq!(polygons.objects(None).0, ["1"]);
        assert_eq!(read(b"", None).unwrap(), Labels::default());
    }

    #[test]
    fn one_bad_row_is_said_with_its_line() {
        for (text, said) in [
            (&b"0 0.5 0.5 1 1\n3 0.5 0.5 1 1"[..], "line 2: class 3, and there are 3"),
            (b"0 0.5 0.5 1 1.02", "outside"),
            (b"0 -0.02 0.5 1 1", "outside"),
            (b"0 0.5 0.5 1", "4 numbers"),
            (b"0 0.5 0.5 1 -0.005", "5 numbers"),
            (b"0 0.5 0.5 1 1 1", "6 numbers"),
            (b"0 0.1 0.1 0.2 0.2 0.3 0.3\n0 0.5 0.5 1 1", "line 2: boxes and polygons"),
            (b"0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "8 numbers"),
            (b"-1 0.5 0.5 1 1", "-1 is no class"),
            (b"0.5 0.5 0.5 1 1", "0.5 is no class"),
            (b"cat 0.5 0.5 1 1", "\"cat\" is no number"),
            (b"0 nan 0.5 1 1", "\"nan\""),
        ] {
            let fault = read(text, Some(3)).unwrap_err();
            assert!(fault.reason == Reason::BadLabel && fault.message.contains(said), "{fault}");
        }
        assert_eq!(read(b"\xff", None).unwrap_err().reason, Reason::InvalidUtf8);
    }
}
