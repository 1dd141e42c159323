//! Logarithms of many numbers at once: `libm`'s, bit for bit, without the branches that keep a compiler from taking several
//! numbers at a time.

/// Numbers that are looked at together.
const BLOCK: usize = 64;

/// ln 2, as the sum of a part of few bits, whose products with exponents are exact, and the rest; the polynomial for
/// (log(1 + s) - log(1 - s)) / s. FreeBSD's `e_logf.c` and `e_log10f.c`, whence `libm` has them.
const LN2: [f32; 2] = [f32::from_bits(0x3f31_7180), f32::from_bits(0x3717_f7d1)];
const LG: [f32; 4] = [
    f32::from_bits(0x3f2a_aaaa),
    f32::from_bits(0x3ecc_ce13),
    f32::from_bits(0x3e91_e9ee),
    f32::from_bits(0x3e78_9e26),
];
const INVERSE_LN10: [f32; 2] = [f32::from_bits(0x3ede_6000), f32::from_bits(0xb804_ead9)];
const LOG10_2: [f32; 2] = [f32::from_bits(0x3e9a_2080), f32::from_bits(0x3554_27db)];

/// [`libm::logf`] of each.
pub(super) fn ln(values: &mut [f32]) {
    each(values, normal_ln, libm::logf);
}

/// [`libm::log10f`] of each.
pub(super) fn log10(values: &mut [f32]) {
    each(values, normal_log10, libm::log10f);
}

#[inline(always)]
fn each(values: &mut [f32], normal: impl Fn(f32) -> f32, any: fn(f32) -> f32) {
    for block in values.chunks_mut(BLOCK) {
        // Positive, normal and finite: one comparison, as bits of such numbers follow each other.
        const LEAST: u32 = f32::MIN_POSITIVE.to_bits();
        let usual = |x: f32| x.to_bits().wrapping_sub(LEAST) < f32::INFINITY.to_bits() - LEAST;
        if block.iter().fold(true, |all, &x| all & usual(x)) {
            block.iter_mut().for_each(|x| *x = normal(*x));
        } else {
            block.iter_mut().for_each(|x| *x = any(*x));
        }
    }
}

/// `x = (1 + f) 2^k` with `1 + f` between the roots of 1/2 and 2: `f`, and `k`. Of positive numbers that are normal.
#[inline(always)]
fn reduced(x: f32) -> (f32, f32) {
    const ROOT: u32 = 0x3f35_04f3;
    let bits = x.to_bits().wrapping_add(0x3f80_0000 - ROOT);
    let k = (bits >> 23) as i32 - 0x7f;
    (f32::from_bits((bits & 0x007f_ffff).wrapping_add(ROOT)) - 1.0, k as f32)
}

/// `s`, and `f^2 / 2 + R`, in the terms of the sources above.
#[inline(always)]
fn series(f: f32) -> (f32, f32, f32) {
    let s = f / (2.0 + f);
    let z = s * s;
    let w = z * z;
    let r = z * (LG[0] + w * LG[2]) + w * (LG[1] + w * LG[3]);
    let half = 0.5 * f * f;
    (s, half, half + r)
}

#[inline(always)]
fn normal_ln(x: f32) -> f32 {
    let (f, k) = reduced(x);
    let (s, half, sum) = series(f);
    s * sum + k * LN2[1] - half + f + k * LN2[0]
}

#[inline(always)]
fn normal_log10(x: f32) -> f32 {
    let (f, k) = reduced(x);
    let (s, half, sum) = series(f);
    let high = f32::from_bits((f - half).to_bits() & 0xffff_f000);
    let low = f - high - half + s * sum;
    k * LOG10_2[1] + (low + high) * INVERSE_LN10[1] + low * INVERSE_LN10[0] + high * INVERSE_LN10[0] + k * LOG10_2[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of every exponent and sign, a prime apart, and those where something begins or ends.
    #[test]
    fn bits_are_libms() {
        let edges = [0.0, f32::MIN_POSITIVE, 1.0, f32::INFINITY, f32::NAN, -0.0, -1.0].map(f32::to_bits);
        let near = edges.iter().flat_map(|&b| [b.wrapping_sub(1), b, b.wrapping_add(1)]);
        let all: Vec<f32> = near.chain((0..=u32::MAX).step_by(8_191)).map(f32::from_bits).collect();
        let mut normal: Vec<f32> = all.iter().copied().filter(|x| x.is_normal() && *x > 0.0).collect();
        assert!(normal.len() > 200_000 && normal.contains(&1.0) && normal.contains(&f32::MAX));
        for all in [&all, &normal] {
            let same = |all_at_once: fn(&mut [f32]), one: fn(f32) -> f32| {
                let mut made = all.clone();
                all_at_once(&mut made);
                for (x, y) in all.iter().zip(made) {
                    assert!(y.to_bits() == one(*x).to_bits() || (y.is_nan() && one(*x).is_nan()), "{x:e}: {y:e}");
                }
            };
            same(ln, libm::logf);
            same(log10, libm::log10f);
        }
        normal.truncate(1);
        ln(&mut normal);
        assert_eq!(normal, [libm::logf(f32::MIN_POSITIVE)]);
    }
}
