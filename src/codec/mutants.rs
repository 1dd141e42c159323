//! Damaged files.

/// Deterministic damage for tests: `count` variants of `bytes`, each cut short, with bits flipped, or with bytes replaced.
pub(crate) fn mutants(bytes: &[u8], count: u64) -> impl Iterator<Item = Vec<u8>> {
    (0..count).map(|number| {
        let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ bytes.len() as u64;
        let mut next = |below: usize| {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below.max(1)
        };
        let mut made = bytes.to_vec();
        if number % 3 == 0 {
            made.truncate(next(bytes.len()));
        }
        // Half of the damage goes into the first bytes: headers are where the sizes are.
        for _ in 0..number % 5 {
            let span = if next(2) == 0 { made.len().min(128) } else { made.len() };
            if span > 0 {
                let at = next(span);
                made[at] = if next(2) == 0 { made[at] ^ (1 << next(8)) } else { next(256) as u8 };
            }
        }
        made
    })
}
