//! Quantiles of counted levels.

/// A quantile of counted steps, interpolated between neighbours as NumPy's `percentile` does.
pub(super) fn percentile(counts: &[u32], total: u64, part: f64) -> f64 {
    let place = part * total.saturating_sub(1) as f64;
    let step = |place: u64| {
        let mut seen = 0;
        let found = counts.iter().position(|count| {
            seen += u64::from(*count);
            seen > place
        });
        found.unwrap_or(0) as f64
    };
    let (below, above) = (step(place.floor() as u64), step(place.ceil() as u64));
    below + (above - below) * (place - place.floor())
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn it_is_interpolated_as_numpy_does() {
        // numpy.percentile([0, 0, 3, 4], [0, 25, 50, 99, 100]) = [0, 0, 1.5, 3.97, 4]
        let counts = [2, 0, 0, 1, 1];
        let got = [0.0, 0.25, 0.5, 0.99, 1.0].map(|part| percentile(&counts, 4, part));
        for (got, want) in got.iter().zip([0.0, 0.0, 1.5, 3.97, 4.0]) {
            assert!((got - want).abs() < 1e-12, "{got} {want}");
        }
        assert_eq!(percentile(&[0, 0], 0, 0.5), 0.0);
    }
}
