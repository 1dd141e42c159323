//! How blurred a picture is, by what blurring it again takes away: F. Crete, T. Dolmiere, P. Ladret, M. Nicolas, "The blur effect:
//! perception and estimation with a new no-reference perceptual blur metric", SPIE 6492 (2007), as scikit-image 0.26 has it
//! (`skimage.measure.blur_effect`, 11 pixels), which `fixtures/golden/cleanvision.json` holds it against.
//!
//! In integers, so that it is the same everywhere. Where it differs: a direction without any edge does not count, there a
//! picture of one colour is wholly blurred.

/// Pixels that are averaged to blur.
const WINDOW: usize = 11;

/// A thread's memory.
#[derive(Debug, Default)]
pub(super) struct Focus {
    gray: Vec<i32>,
    blurred: Vec<i32>,
}

impl Focus {
    /// The blur of an RGB8 picture: 0 is sharp, towards 1 blurring takes nothing more away. `None`: there is no edge.
    pub(super) fn blur(&mut self, data: &[u8], width: usize, height: usize) -> Option<f64> {
        // The weights of scikit-image's rgb2gray (BT.709, rounded), in 10,000ths: an edge of sums is below 2^27.
        let gray = |p: &[u8; 3]| i32::from(p[0]) * 2_125 + i32::from(p[1]) * 7_154 + i32::from(p[2]) * 721;
        self.gray.clear();
        self.gray.extend(data.as_chunks::<3>().0.iter().map(gray));
        if width < 4 || height < 4 {
            return None;
        }
        let mut most: Option<f64> = None;
        for (along, across, length, lines) in [(1, width, width, height), (width, 1, height, width)] {
            self.smooth(along, across, length, lines);
            let (mut sharp, mut lost) = (0i64, 0i64);
            for y in 2..height - 1 {
                for x in 2..width - 1 {
                    let at = y * width + x;
                    let own = edge(&self.gray, at, along, across) * WINDOW as i32;
                    let again = edge(&self.blurred, at, along, across);
                    sharp += i64::from(own);
                    lost += i64::from((own - again).max(0));
                }
            }
            if sharp > 0 {
                let blur = (sharp - lost) as f64 / sharp as f64;
                most = Some(most.map_or(blur, |most| most.max(blur)));
            }
        }
        most
    }

    /// Sums of a window around each pixel along lines; beyond the ends the line is mirrored, its last pixel twice.
    fn smooth(&mut self, along: usize, across: usize, length: usize, lines: usize) {
        self.blurred.resize(self.gray.len(), 0);
        let half = WINDOW as isize / 2;
        let inside = |at: isize| {
            let at = at.rem_euclid(2 * length as isize) as usize;
            if at < length { at } else { 2 * length - 1 - at }
        };
        for line in 0..lines {
            let start = line * across;
            let value = |at: isize| self.gray[start + inside(at) * along];
            let mut sum: i32 = (-half..=half).map(value).sum();
            for at in 0..length {
                self.blurred[start + at * along] = sum;
                let at = at as isize;
                sum += self.gray[start + inside(at + half + 1) * along] - self.gray[start + inside(at - half) * along];
            }
        }
    }
}

/// Sobel's edge at a pixel, along one direction and smoothed across it; not divided.
fn edge(of: &[i32], at: usize, along: usize, across: usize) -> i32 {
    let slope = |at: usize| of[at + along] - of[at - along];
    (slope(at - across) + 2 * slope(at) + slope(at + across)).abs()
}

#[cfg(test)]
mod tests {
    use super::Focus;

    #[test]
    fn what_has_no_edge_has_no_focus_and_what_is_tiny_neither() {
        let mut focus = Focus::default();
        assert_eq!(focus.blur(&[90; 30 * 20 * 3], 30, 20), None);
        assert_eq!(focus.blur(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3], 2, 2), None);
        // Stripes of one pixel in one direction alone: blurring leaves nothing of them.
        let stripes: Vec<u8> = (0..30 * 20).flat_map(|i| [(i % 30 / 2 % 2 * 200) as u8; 3]).collect();
        let blur = focus.blur(&stripes, 30, 20).unwrap();
        assert!(blur < 0.2, "{blur}");
        // A ramp stays a ramp, but at its ends.
        let ramp: Vec<u8> = (0..120 * 20).flat_map(|i| [(i % 120 * 2) as u8; 3]).collect();
        let blur = focus.blur(&ramp, 120, 20).unwrap();
        assert!(blur > 0.9, "{blur}");
    }
}
