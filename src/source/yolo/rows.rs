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
    /// The keypoints of each behind each other, if the rows are poses.
    keypoints: Vec<Vec<f64>>,
    /// Rows that came before.
    pub twice: u64,
}

/// How far beyond the picture a coordinate may be: Ultralytics takes as much for rounding.
const BEYOND: f64 = 0.01;

/// What the rows of all files are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Form {
    /// How many classes there are, if that is known.
    pub classes: Option<usize>,
    /// Each row is a class, a box and these keypoints.
    pub pose: Option<Pose>,
}

/// Keypoints as `kpt_shape` says them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pose {
    /// How many an object has.
    pub points: usize,
    /// 2: x and y; 3: how visible it is, too.
    pub dims: usize,
}

/// Reads a file of labels.
pub(super) fn read(bytes: &[u8], form: Form) -> Result<Labels, Fault> {
    let Form { classes, pose } = form;
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
        let polygon = pose.is_none() && numbers.len() > 6;
        if polygons.is_some_and(|before| before != polygon) {
            return Err(bad("boxes and polygons in one file".into()));
        }
        polygons = Some(polygon);
        if let Some(Pose { points, dims }) = pose.filter(|pose| place.len() != 4 + pose.points * pose.dims) {
            let (got, of) = (numbers.len(), 5 + points * dims);
            return Err(bad(format!(
                "{got} numbers, not {of}: a class, a box of 4 and {points} keypoints of {dims} (kpt_shape)"
            )));
        }
        // How visible a keypoint is (COCO's 0, 1, 2) is no coordinate.
        let is_coordinate = |at: usize| at < 4 || pose.is_none_or(|pose| (at - 4) % pose.dims < 2);
        let is_in = |at: usize, v: f64| v >= -BEYOND && (v <= 1.0 + BEYOND || !is_coordinate(at));
        if let Some((_, out)) = place.iter().enumerate().find(|(at, v)| !is_in(*at, **v)) {
            return Err(bad(format!(
                "{out} is outside the picture: coordinates are parts of its width and height, 0 to 1"
            )));
        }
        let bounds = match *place {
            [x, y, w, h, ..] if w >= 0.0 && h >= 0.0 && (place.len() == 4 || pose.is_some()) => [x, y, w, h],
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
        if pose.is_some() {
            labels.keypoints.push(place[4..].to_vec());
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
    pub(super) fn polygons(&self) -> String {
        let polygons: Vec<[&Vec<f64>; 1]> = self.polygons.iter().map(|polygon| [polygon]).collect();
        serde_json::to_string(&polygons).unwrap_or_default()
    }

    /// The keypoints as JSON, a flat list of numbers an object as in COCO, but as parts of width and height.
    pub(super) fn keypoints(&self) -> String {
        serde_json::to_string(&self.keypoints).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: Form = Form { classes: Some(3), pose: None };

    #[test]
    fn rows_are_boxes_or_polygons() {
        let boxes = read(b"\xef\xbb\xbf0 0.5 0.5 1 1\r\n\n  2.0\t0.25 0.25 0.5 0.5  \n0 0.5 0.5 1 1\n", THREE).unwrap();
        assert_eq!((boxes.classes.as_slice(), boxes.twice, boxes.polygons.len()), (&[0, 2][..], 1, 0));
        let names: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        let (own, objects) = boxes.objects(Some(&names));
        assert_eq!((own, objects.classes), (vec!["a".to_owned(), "c".to_owned()], vec![0, 1]));
        let polygons = read(b"1 0 0 0.5 0 0.5 1.005\n", Form::default()).unwrap();
        assert_eq!(polygons.boxes, [[0.25, 0.5025, 0.5, 1.005]]);
        assert_eq!(polygons.polygons(), "[[[0.0,0.0,0.5,0.0,0.5,1.005]]]");
        assert_eq!(polygons.objects(None).0, ["1"]);
        assert_eq!(read(b"", Form::default()).unwrap(), Labels::default());
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
            let fault = read(text, THREE).unwrap_err();
            assert!(fault.reason == Reason::BadLabel && fault.message.contains(said), "{fault}");
        }
        assert_eq!(read(b"\xff", Form::default()).unwrap_err().reason, Reason::InvalidUtf8);
    }

    #[test]
    fn rows_of_poses_have_a_box_and_keypoints() {
        let form = |points, dims| Form { classes: Some(2), pose: Some(Pose { points, dims }) };
        let seen =
            read(b"1 0.5 0.5 0.2 0.4 0.45 0.6 2 0 0 0\n0 0.5 0.5 1 1 1.01 -0.01 1 0.5 0.25 2\n", form(2, 3)).unwrap();
        assert_eq!(seen.boxes, [[0.5, 0.5, 0.2, 0.4], [0.5, 0.5, 1.0, 1.0]]);
        assert_eq!(seen.keypoints(), "[[0.45,0.6,2.0,0.0,0.0,0.0],[1.01,-0.01,1.0,0.5,0.25,2.0]]");
        assert!(seen.polygons.is_empty());
        // Without how visible they are, a row could be a polygon: the settings say that it is none.
        let flat = read(b"1 0.5 0.5 0.2 0.4 0.45 0.6 0.1 0.2", form(2, 2)).unwrap();
        assert_eq!((flat.boxes[0], flat.keypoints().as_str()), ([0.5, 0.5, 0.2, 0.4], "[[0.45,0.6,0.1,0.2]]"));
        assert_eq!(read(b"", form(2, 3)).unwrap(), Labels::default());
        for (text, said) in [
            (&b"0 0.5 0.5 1 1"[..], "5 numbers, not 11"),
            (b"0 0.5 0.5 1 1 0.5 0.5 1 0.5 0.5", "10 numbers, not 11"),
            (b"0 0.5 0.5 1 1 0.5 0.5 1 0.5 1.5 2", "1.5 is outside"),
            (b"0 0.5 0.5 1 1 0.5 0.5 -1 0.5 0.5 2", "-1 is outside"),
            (b"0 0.5 0.5 1 -0.005 0.5 0.5 1 0.5 0.5 2", "11 numbers: a class"),
            (b"2 0.5 0.5 1 1 0.5 0.5 1 0.5 0.5 2", "class 2, and there are 2"),
        ] {
            let fault = read(text, form(2, 3)).unwrap_err();
            assert!(fault.reason == Reason::BadLabel && fault.message.contains(said), "{fault}");
        }
    }
}
