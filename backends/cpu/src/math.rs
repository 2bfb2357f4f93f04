//! Elementary functions of f32 without branches or calls, so that loops over them become vector code.
//!
//! Relative errors, measured by the tests below over their whole range: `exp` 2e-7, `tanh` 3e-7, `erf` 4e-7. NaN stays
//! NaN, infinities give the limits. Polynomials are minimax fits (Lawson iteration) on the interval named beside them.

/// `2^n * y` where `n` is an integer in -252..=254.
#[inline(always)]
fn scale(y: f32, n: i32) -> f32 {
    // In two steps: one factor alone would leave the range of normal numbers near the ends.
    let half = n >> 1;
    let power = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
    y * power(half) * power(n - half)
}

/// `e^x`.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Beyond these the result is 0 or infinite; comparisons that are false for NaN keep it.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    // Adding 1.5 * 2^23 leaves the nearest integer in the low bits.
    const SHIFT: f32 = 12_582_912.0;
    let shifted = x * std::f32::consts::LOG2_E + SHIFT;
    let n = shifted - SHIFT;
    // ln 2 in two parts: the product of the first with `n` is exact.
    let r = x - n * 0.693_359_375;
    let r = r + n * 2.121_944_4e-4;
    // (e^r - 1 - r) / r^2 on [-ln 2 / 2, ln 2 / 2].
    let p = 0.000_199_075_8;
    let p = p * r + 0.001_393_365;
    let p = p * r + 0.008_333_286_3;
    let p = p * r + 0.041_666_467;
    let p = p * r + 0.166_666_67;
    let p = p * r + 0.5;
    let y = p * r * r + r + 1.0;
    scale(y, shifted.to_bits().wrapping_sub(SHIFT.to_bits()) as i32)
}

/// Hyperbolic tangent.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let u = x * x;
    // tanh(x) / x in x^2 on [0, 0.49].
    let p = -0.005_105_278;
    let p = p * u + 0.020_045_249;
    let p = p * u - 0.053_534_944;
    let p = p * u + 0.133_285_72;
    let p = p * u - 0.333_331_4;
    let small = (p * u) * x + x;
    let large = 1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0);
    (if x.abs() < 0.7 { small } else { large }).copysign(x)
}

/// The error function.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let a = x.abs();
    let u = x * x;
    // erf(x) / x in x^2 on [0, 1].
    let p = 7.853_858e-5;
    let p = p * u - 0.000_801_019_25;
    let p = p * u + 0.005_188_327_7;
    let p = p * u - 0.026_853_81;
    let p = p * u + 0.112_835_854;
    let p = p * u - 0.376_126_26;
    let p = p * u + 1.128_379_1;
    let small = p * x;
    // ln(1 - erf(a)) on [1, 4]; from 4 on erf is 1.
    let a = if a > 4.0 { 4.0 } else { a };
    let q = -2.168_685e-5;
    let q = q * a + 0.000_441_336_36;
    let q = q * a - 0.004_204_562;
    let q = q * a + 0.025_208_257;
    let q = q * a - 0.108_418_576;
    let q = q * a - 0.633_219_9;
    let q = q * a - 1.129_578_5;
    let q = q * a + 0.000_188_040_23;
    let large = 1.0 - exp(q);
    (if x.abs() < 1.0 { small } else { large }).copysign(x)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `ln(1 + e^x)`, without overflow.
#[inline(always)]
pub fn softplus(x: f32) -> f32 {
    x.max(0.0) + exp(-x.abs()).ln_1p()
}

/// `a` clamped from below; NaN stays NaN, as in ONNX.
#[inline(always)]
pub fn at_least(x: f32, low: f32) -> f32 {
    if x < low { low } else { x }
}

/// `a` clamped from above; NaN stays NaN, as in ONNX.
#[inline(always)]
pub fn at_most(x: f32, high: f32) -> f32 {
    if x > high { high } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worst relative error of `f` against `exact` on a fine grid of [-limit, limit], away from subnormal results.
    fn worst(f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64, limit: f32) -> f64 {
        let steps = 400_000;
        (0..=steps)
            .map(|i| {
                let x = -limit + 2.0 * limit * (i as f32 / steps as f32);
                let want = exact(x as f64);
                if want.abs() < 1e-36 { 0.0 } else { ((f(x) as f64 - want) / want).abs() }
            })
            .fold(0.0, f64::max)
    }

    /// The error function by its Taylor series: converges fast enough for |x| <= 4 in f64 with terms up to 4^2k / k!.
    fn erf_exact(x: f64) -> f64 {
        if x.abs() >= 4.5 {
            return x.signum();
        }
        let (mut term, mut sum) = (x, x);
        for k in 1..120 {
            term *= -x * x / k as f64;
            sum += term / (2 * k + 1) as f64;
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn exponential_is_within_two_units_in_the_last_place() {
        assert!(worst(exp, f64::exp, 87.0) < 2.4e-7, "{}", worst(exp, f64::exp, 87.0));
    }

    #[test]
    fn hyperbolic_tangent_is_accurate_near_zero_and_far_from_it() {
        for limit in [0.01, 1.0, 12.0] {
            assert!(worst(tanh, f64::tanh, limit) < 4e-7, "{}", worst(tanh, f64::tanh, limit));
        }
    }

    #[test]
    fn error_function_is_accurate_near_zero_and_far_from_it() {
        for limit in [0.01, 1.5, 6.0] {
            assert!(worst(erf, erf_exact, limit) < 5e-7, "{}", worst(erf, erf_exact, limit));
        }
    }

    #[test]
    fn limits_and_nan_are_kept() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        assert_eq!((exp(inf), exp(-inf), exp(0.0), exp(88.8)), (inf, 0.0, 1.0, inf));
        assert!(exp(-87.9) > 0.0 && exp(88.7).is_finite());
        assert_eq!((tanh(inf), tanh(-inf), tanh(-0.0).to_bits()), (1.0, -1.0, (-0.0f32).to_bits()));
        assert_eq!((erf(inf), erf(-inf), erf(-0.0).to_bits()), (1.0, -1.0, (-0.0f32).to_bits()));
        assert_eq!((sigmoid(inf), sigmoid(-inf), sigmoid(0.0)), (1.0, 0.0, 0.5));
        for f in [exp, tanh, erf, sigmoid] {
            assert!(f(nan).is_nan());
        }
        assert!(at_least(nan, 0.0).is_nan() && at_most(nan, 0.0).is_nan());
    }
}
