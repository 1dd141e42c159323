//! Lints of objects. Boxes are held against the size that the header of their picture says, as it is shown.

use super::lint::{Lint, Rule, Seen, Severity, Threshold, Told};
use crate::data::feature::Feature;
use crate::data::objects::{Objects, ObjectsType};

fn is_objects(feature: &Feature) -> bool {
    matches!(feature, Feature::Objects(_))
}

/// The objects of a row, with their corners in pixels and the size of their picture.
struct Placed<'s> {
    of: &'s ObjectsType,
    objects: Objects,
    corners: Vec<[f32; 4]>,
    size: [f32; 2],
}

fn placed<'s>(seen: &'s Seen<'_>, column: usize) -> Option<Placed<'s>> {
    let Feature::Objects(of) = &seen.dataset.schema().columns[column].feature else { return None };
    let objects = seen.entry.objects(column, of).ok()??;
    let picture = seen.beside(|feature| *feature == Feature::Image)?;
    let info = seen.payload(picture)?.info;
    let corners = objects.xyxy(of.boxes, info.width, info.height).collect();
    Some(Placed { of, objects, corners, size: [info.width as f32, info.height as f32] })
}

impl Placed<'_> {
    /// Tells of the boxes for which `is` gives a number: the first of them, and how many there are. Measured is the greatest.
    fn told(&self, what: &str, is: impl Fn(usize, [f32; 4]) -> Option<f32>) -> Option<Told> {
        let found: Vec<(usize, f32)> =
            self.corners.iter().enumerate().filter_map(|(at, corners)| Some((at, is(at, *corners)?))).collect();
        let (first, _) = *found.first()?;
        let most = found.iter().map(|(_, number)| *number).fold(f32::NEG_INFINITY, f32::max);
        let class = usize::try_from(self.objects.classes[first]).ok().and_then(|class| self.of.names.get(class));
        let class = class.map_or("an object", String::as_str);
        let [x0, y0, x1, y1] = self.corners[first];
        let [width, height] = self.size;
        let more = if found.len() > 1 { format!(", and {} more", found.len() - 1) } else { String::new() };
        let told = format!(
            "object {} ({class}) {what}: [{x0}, {y0}, {x1}, {y1}] in {width} x {height} pixels{more}",
            first + 1
        );
        Some(Told::new(f64::from(most), told))
    }
}

pub(super) const OUTSIDE: Lint = Lint {
    code: "box-outside",
    summary: "a box that goes beyond its picture",
    help: "are the boxes of another size of the picture, xywh taken for xyxy, or counted from 0 (--box-origin 0)?",
    severity: Severity::Warning,
    threshold: Some(Threshold { default: 1.0, meaning: "pixels beyond an edge, above" }),
    of: is_objects,
    decodes: false,
    rule: Rule::Row(|seen, column, threshold| {
        let placed = placed(seen, column)?;
        let [width, height] = placed.size;
        placed.told("goes beyond the picture", |_, [x0, y0, x1, y1]| {
            let beyond = (-x0).max(-y0).max(x1 - width).max(y1 - height);
            (f64::from(beyond) > threshold).then_some(beyond)
        })
    }),
};

pub(super) const NO_AREA: Lint = Lint {
    code: "box-no-area",
    summary: "a box of which nothing is in the picture: no width or height, or all of it outside",
    help: "most losses and matchers fail on it: mend the annotation, or leave the row out",
    severity: Severity::Error,
    threshold: None,
    of: is_objects,
    decodes: false,
    rule: Rule::Row(|seen, column, _| {
        let placed = placed(seen, column)?;
        let [width, height] = placed.size;
        placed.told("has no area", |_, [x0, y0, x1, y1]| {
            let (w, h) = (x1.min(width) - x0.max(0.0), y1.min(height) - y0.max(0.0));
            (w.min(h) <= 0.0).then_some(w.min(h))
        })
    }),
};

pub(super) const TINY: Lint = Lint {
    code: "box-tiny",
    summary: "a box of hardly a pixel",
    help: "a slip of the mouse, or a picture that was made smaller than its boxes are worth",
    severity: Severity::Note,
    threshold: Some(Threshold { default: 2.0, meaning: "pixels of the shorter side, below" }),
    of: is_objects,
    decodes: false,
    rule: Rule::Row(|seen, column, threshold| {
        placed(seen, column)?.told("is tiny", |_, [x0, y0, x1, y1]| {
            let side = (x1 - x0).min(y1 - y0);
            (side > 0.0 && f64::from(side) < threshold).then_some(side)
        })
    }),
};

pub(super) const TWICE: Lint = Lint {
    code: "box-twice",
    summary: "two objects of one class with the same box",
    help: "one of them is too many: detectors learn to find each thing twice",
    severity: Severity::Warning,
    threshold: None,
    of: is_objects,
    decodes: false,
    rule: Rule::Row(|seen, column, _| {
        let placed = placed(seen, column)?;
        let key = |at: usize| (placed.objects.classes[at], placed.objects.boxes[at].map(f32::to_bits));
        let mut known = std::collections::HashSet::new();
        let twice: Vec<bool> = (0..placed.objects.len()).map(|at| !known.insert(key(at))).collect();
        placed.told("is there twice", |at, _| twice[at].then_some(2.0))
    }),
};

pub(super) const UNKNOWN: Lint = Lint {
    code: "object-unknown",
    summary: "an object whose class is not known",
    help: "name its class in the source, or leave the row out",
    severity: Severity::Warning,
    threshold: None,
    of: is_objects,
    decodes: false,
    rule: Rule::Row(|seen, column, _| {
        let placed = placed(seen, column)?;
        let classes = &placed.objects.classes;
        placed.told("has no class", |at, _| (classes[at] < 0).then_some(-1.0))
    }),
};
