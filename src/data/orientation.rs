//! How stored pixels are turned to be shown.

/// EXIF's orientation (CIPA DC-008, tag 274), of pictures and of clips: 1 to 8, or 0 where nothing says one. Under 0 and 1 the
/// pixels are shown as they are stored.
///
/// Facts of datasets from before orientation was read have 0, so that their rows go on as they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Orientation(u8);

impl Orientation {
    /// As stored.
    pub const STORED: Orientation = Orientation(0);
    /// All there are.
    pub const ALL: [Orientation; 9] = {
        let mut all = [Orientation(0); 9];
        let mut code = 0;
        while code < 9 {
            all[code as usize] = Orientation(code);
            code += 1;
        }
        all
    };

    /// Of EXIF's number; anything but 1 to 8 says nothing.
    pub fn of(code: u32) -> Self {
        Orientation(if code <= 8 { code as u8 } else { 0 })
    }

    /// EXIF's number; 0 for none.
    pub fn code(self) -> u32 {
        u32::from(self.0)
    }

    /// Whether pixels are shown as they are stored.
    pub fn is_stored(self) -> bool {
        self.0 <= 1
    }

    /// Whether rows become columns.
    pub fn swaps(self) -> bool {
        self.0 >= 5
    }

    /// Whether stored columns are taken from the right.
    pub fn from_right(self) -> bool {
        matches!(self.0, 2 | 3 | 7 | 8)
    }

    /// Whether stored rows are taken from below.
    pub fn from_below(self) -> bool {
        matches!(self.0, 3 | 4 | 6 | 7)
    }

    /// Width and height as shown of those stored, and the other way round.
    pub fn size(self, (width, height): (u32, u32)) -> (u32, u32) {
        if self.swaps() { (height, width) } else { (width, height) }
    }

    /// Of a matrix that takes stored coordinates to shown ones, `x' = a x + c y`, `y' = b x + d y`, lengths aside. `None`: it turns by
    /// something else than quarters (a degree is forgiven), or is none.
    pub fn of_matrix([a, b, c, d]: [f64; 4]) -> Option<Self> {
        // The tangent of a degree.
        let small = |n: f64, of: f64| n.abs() <= of.abs() * 0.017_455 && of != 0.0;
        let swaps = match () {
            () if small(b, a) && small(c, d) => false,
            () if small(a, b) && small(d, c) => true,
            () => return None,
        };
        let (right, below) = if swaps { (b < 0.0, c < 0.0) } else { (a < 0.0, d < 0.0) };
        let is = |o: &Orientation| (o.swaps(), o.from_right(), o.from_below()) == (swaps, right, below);
        Self::ALL[1..].iter().copied().find(is)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_of_the_standard() {
        let of = |m: [f64; 4]| Orientation::of_matrix(m).map(Orientation::code);
        let all = [
            [1, 0, 0, 1],
            [-1, 0, 0, 1],
            [-1, 0, 0, -1],
            [1, 0, 0, -1],
            [0, 1, 1, 0],
            [0, 1, -1, 0],
            [0, -1, -1, 0],
            [0, -1, 1, 0],
        ];
        for (code, matrix) in (1..).zip(all) {
            assert_eq!(of(matrix.map(f64::from)), Some(code));
            assert_eq!(of(matrix.map(|n| f64::from(n) * 65_536.0)), Some(code));
        }
        assert_eq!(of([1.0, 0.01, -0.01, 1.0]), Some(1));
        for none in
            [[1.0, 0.1, -0.1, 1.0], [0.0; 4], [1.0, 1.0, 1.0, 1.0], [f64::NAN, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0]]
        {
            assert_eq!(of(none), None, "{none:?}");
        }
        assert_eq!([0, 1, 8, 9, 274, u32::MAX].map(|n| Orientation::of(n).code()), [0, 1, 8, 0, 0, 0]);
    }
}
