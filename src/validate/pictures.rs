//! Lints of pictures. Measures and thresholds are those of cleanvision 0.3.7 (`image_property_issue_manager.py`), but for sizes
//! within a factor of two of the middle one, which are usual here, and for focus, which it does not have.

use super::eye::Picture;
use super::lint::{Judged, Lint, Rule, Seen, Severity, Threshold, Told};
use super::measure::Measured;
use super::values::key;
use crate::data::feature::Feature;

/// The part of a bit of entropy that a score is.
const ENTROPY_FACTOR: f64 = 0.1;

fn is_image(feature: &Feature) -> bool {
    matches!(feature, Feature::Image)
}

fn picture<'a>(seen: &'a Seen<'_>, column: usize) -> Option<&'a Picture> {
    match &seen.measured[column] {
        Measured::Picture(picture) => Some(picture),
        _ => None,
    }
}

pub(super) const DARK: Lint = Lint {
    code: "dark",
    summary: "a picture that is dark nearly everywhere",
    help: "look at it (`dsctl inspect DATASET ROW --extract DIR`): underexposed, a closed shutter, or a night that is meant",
    severity: Severity::Warning,
    threshold: Some(Threshold { default: 0.32, meaning: "brightness of the 99th percentile of its pixels, below" }),
    of: is_image,
    decodes: true,
    rule: Rule::Row(|seen, column, threshold| {
        let bright = picture(seen, column)?.bright;
        let says = || format!("99 % of its pixels are no brighter than {bright:.3}, white is 1");
        (bright < threshold).then(|| Told::new(bright, says()))
    }),
};

pub(super) const LIGHT: Lint = Lint {
    code: "light",
    summary: "a picture that is white nearly everywhere",
    help: "look at it: overexposed, an empty page, or a thing on white that is meant",
    severity: Severity::Warning,
    threshold: Some(Threshold { default: 0.95, meaning: "brightness of the 5th percentile of its pixels, above" }),
    of: is_image,
    decodes: true,
    rule: Rule::Row(|seen, column, threshold| {
        let dim = picture(seen, column)?.dim;
        let says = || format!("95 % of its pixels are brighter than {dim:.3}, white is 1");
        (dim > threshold).then(|| Told::new(dim, says()))
    }),
};

pub(super) const BLURRED: Lint = Lint {
    code: "blurred",
    summary: "a picture without sharp edges, nor much contrast",
    help: "look at it: out of focus, moved, or enlarged from a few pixels",
    severity: Severity::Warning,
    threshold: Some(Threshold { default: 0.29, meaning: "sharpness at 64 pixels with contrast, 0 to 1, below" }),
    of: is_image,
    decodes: true,
    rule: Rule::Row(|seen, column, threshold| {
        let sharpness = picture(seen, column)?.sharpness;
        (sharpness < threshold).then(|| Told::new(sharpness, format!("its sharpness is {sharpness:.3}")))
    }),
};

pub(super) const OUT_OF_FOCUS: Lint = Lint {
    code: "out-of-focus",
    summary: "a picture that blurring takes hardly anything from",
    help: "look at it: out of focus, moved, or enlarged from a few pixels",
    severity: Severity::Warning,
    threshold: Some(Threshold {
        default: 0.75,
        meaning: "blur effect (Crete 2007) at 512 or 128 pixels, 0 to 1, above",
    }),
    of: is_image,
    decodes: true,
    rule: Rule::Row(|seen, column, threshold| {
        let blur = picture(seen, column)?.blur?;
        let says = || format!("{:.0} % of its edges are left when it is blurred", blur * 100.0);
        (blur > threshold).then(|| Told::new(blur, says()))
    }),
};

pub(super) const LOW_INFORMATION: Lint = Lint {
    code: "low-information",
    summary: "a picture of few levels: one colour, a placeholder",
    help: "look at it: an icon in place of a photo, a mask, a frame before the first",
    severity: Severity::Warning,
    threshold: Some(Threshold { default: 0.3, meaning: "a tenth of the bits of entropy of its levels, below" }),
    of: is_image,
    decodes: true,
    rule: Rule::Row(|seen, column, threshold| {
        let entropy = picture(seen, column)?.entropy;
        let score = (entropy * ENTROPY_FACTOR).min(1.0);
        (score < threshold).then(|| Told::new(score, format!("the entropy of its levels is {entropy:.2} bits")))
    }),
};

pub(super) const ASPECT: Lint = Lint {
    code: "odd-aspect",
    summary: "a picture much longer than wide, or wider than long",
    help: "crop it; or is it a strip, a banner, a scan of two pages?",
    severity: Severity::Warning,
    threshold: Some(Threshold { default: 0.35, meaning: "the shorter side over the longer, below" }),
    of: is_image,
    decodes: false,
    rule: Rule::Row(|seen, column, threshold| {
        let info = seen.payload(column)?.info;
        let (shorter, longer) = (info.width.min(info.height), info.width.max(info.height));
        let ratio = f64::from(shorter) / f64::from(longer.max(1));
        (ratio < threshold).then(|| Told::new(ratio, format!("it has {} x {} pixels", info.width, info.height)))
    }),
};

pub(super) const SIZE: Lint = Lint {
    code: "odd-size",
    summary: "a picture far smaller or larger than the rest, and at least half or twice the middle size",
    help: "a thumbnail among photos? take the original, or leave it out: --where 'image.width >= 64'",
    severity: Severity::Warning,
    threshold: Some(Threshold {
        default: 3.0,
        meaning: "distances of the quartiles beyond them, of the square root of the area, above",
    }),
    of: is_image,
    decodes: false,
    rule: Rule::Values {
        of: |seen, column| {
            let info = seen.payload(column)?.info;
            Some(key((f64::from(info.width) * f64::from(info.height)).sqrt()))
        },
        judge: |values, factor, tell| {
            values.outliers(factor, 0.0, &mut |row, side, fences| {
                // With all of one size the quartiles are one, and a pixel more would be far away.
                let ratio = side / fences.median;
                if (0.5..=2.0).contains(&ratio) {
                    return;
                }
                let message = format!(
                    "it is as large as {side:.0} x {side:.0} pixels, usual are {:.0} to {:.0}",
                    fences.low.max(0.0),
                    fences.high
                );
                tell(Judged { row: Some(row), split: None, told: Told::new(side, message) });
            });
        },
    },
};

pub(super) const GRAY: Lint = Lint {
    code: "gray-among-colour",
    summary: "a gray picture where nearly all have colour",
    help: "if gray ones come from another source, or are of one class only, a model may learn that instead",
    severity: Severity::Note,
    threshold: Some(Threshold { default: 0.1, meaning: "share of gray pictures in the column, not above" }),
    of: is_image,
    decodes: true,
    rule: Rule::Values {
        of: |seen, column| picture(seen, column).map(|picture| u64::from(picture.gray)),
        judge: |values, most, tell| {
            let gray = values.runs().find(|(gray, _, _)| *gray == 1).map_or(0, |(_, _, rows)| rows);
            let share = gray as f64 / values.len().max(1) as f64;
            if share > most {
                return;
            }
            for (_, row) in (values.len() - gray..values.len()).map(|at| values.get(at)) {
                let message = format!("every pixel is gray, as in {gray} of {} pictures", values.len());
                tell(Judged { row: Some(row), split: None, told: Told::new(share, message) });
            }
        },
    },
};
