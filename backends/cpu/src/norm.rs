//! Normalisations: each computes statistics of a group of elements and applies an affine map.

use crate::parallel::for_each_pair;
use crate::reduce::{fold_row, sum_of_row};
use crate::simd::vectorized;

/// Which statistics are taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Center {
    /// Mean and variance, as in layer normalisation.
    Mean,
    /// The root mean square alone, as in RMSNorm.
    Zero,
}

/// Mean (or 0) and reciprocal deviation of `row`.
#[inline(always)]
fn statistics(center: Center, epsilon: f32, row: &[f32]) -> (f32, f32) {
    let count = row.len() as f32;
    let mean = match center {
        Center::Mean => sum_of_row(row) / count,
        Center::Zero => 0.0,
    };
    // Two passes: the difference of mean square and squared mean would cancel.
    let variance = fold_row(
        row,
        0.0,
        #[inline(always)]
        |x| (x - mean) * (x - mean),
        #[inline(always)]
        |a, b| a + b,
    ) / count;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

/// Normalises each row of `width` elements: `(x - mean) / sqrt(variance + epsilon) * scale + shift`.
///
/// # Panics
/// When `scale` or `shift` are not of `width`, or the input is not whole rows.
pub fn normalize_rows(
    center: Center,
    epsilon: f32,
    width: usize,
    input: &[f32],
    scale: &[f32],
    shift: Option<&[f32]>,
    out: &mut [f32],
) {
    assert_eq!(input.len(), out.len(), "one output per input");
    assert!(scale.len() == width && shift.is_none_or(|shift| shift.len() == width), "scale and shift are one row");
    if out.is_empty() {
        return;
    }
    assert_eq!(out.len() % width, 0, "whole rows");
    let per_task = (8192 / width).max(1) * width;
    for_each_pair(out, input, per_task, 2, |_, out, input| {
        vectorized(
            #[inline(always)]
            || {
                for (out, row) in out.chunks_exact_mut(width).zip(input.chunks_exact(width)) {
                    let (mean, factor) = statistics(center, epsilon, row);
                    match shift {
                        Some(shift) => {
                            for (((slot, x), scale), shift) in out.iter_mut().zip(row).zip(scale).zip(shift) {
                                *slot = (x - mean) * factor * scale + shift;
                            }
                        }
                        None => {
                            for ((slot, x), scale) in out.iter_mut().zip(row).zip(scale) {
                                *slot = (x - mean) * factor * scale;
                            }
                        }
                    }
                }
            },
        );
    });
}

/// Group normalisation of channels-first `[batch, channels, area]`: statistics over each of `n_groups` groups of
/// channels, `scale` and `shift` per channel. With as many groups as channels this is instance normalisation.
///
/// # Panics
/// When the lengths do not fit or the groups do not divide the channels.
pub fn normalize_groups(
    n_groups: usize,
    channels: usize,
    area: usize,
    epsilon: f32,
    input: &[f32],
    scale: &[f32],
    shift: &[f32],
    out: &mut [f32],
) {
    assert_eq!(input.len(), out.len(), "one output per input");
    assert!(scale.len() == channels && shift.len() == channels, "one scale and shift per channel");
    if out.is_empty() {
        return;
    }
    assert!(n_groups > 0 && channels % n_groups == 0, "groups divide the channels");
    let per_group = channels / n_groups;
    let len = per_group * area;
    for_each_pair(out, input, len, 2, |at, out, group| {
        let first = at % n_groups * per_group;
        vectorized(
            #[inline(always)]
            || {
                let (mean, factor) = statistics(Center::Mean, epsilon, group);
                for (c, (out, plane)) in out.chunks_exact_mut(area).zip(group.chunks_exact(area)).enumerate() {
                    let (scale, shift) = (factor * scale[first + c], shift[first + c]);
                    for (slot, x) in out.iter_mut().zip(plane) {
                        *slot = (x - mean) * scale + shift;
                    }
                }
            },
        );
    });
}

/// The scale and shift per channel that batch normalisation amounts to at inference:
/// `scale * (x - mean) / sqrt(variance + epsilon) + shift`.
///
/// # Panics
/// When the lengths differ.
pub fn batch_normalization(
    epsilon: f32,
    scale: &[f32],
    shift: &[f32],
    mean: &[f32],
    variance: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    let n_channels = scale.len();
    assert!([shift, mean, variance].iter().all(|part| part.len() == n_channels), "one of each per channel");
    let factor: Vec<f32> =
        scale.iter().zip(variance).map(|(scale, variance)| scale / (variance + epsilon).sqrt()).collect();
    let offset = factor.iter().zip(shift).zip(mean).map(|((factor, shift), mean)| shift - mean * factor).collect();
    (factor, offset)
}

/// `scale[c] * x + shift[c]` over `[outer, channels, inner]`: channels-last data has `inner` 1.
///
/// # Panics
/// When the lengths do not fit.
pub fn scale_channels(inner: usize, input: &[f32], scale: &[f32], shift: &[f32], out: &mut [f32]) {
    let channels = scale.len();
    assert!(
        shift.len() == channels && input.len() == out.len(),
        "one scale and shift per channel, one output per input"
    );
    if out.is_empty() {
        return;
    }
    let len = channels * inner;
    assert_eq!(out.len() % len, 0, "whole images");
    if inner == 1 {
        let per_task = (8192 / channels).max(1) * channels;
        for_each_pair(out, input, per_task, 2, |_, out, input| {
            vectorized(
                #[inline(always)]
                || {
                    for (out, row) in out.chunks_exact_mut(channels).zip(input.chunks_exact(channels)) {
                        for (((slot, x), scale), shift) in out.iter_mut().zip(row).zip(scale).zip(shift) {
                            *slot = x * scale + shift;
                        }
                    }
                },
            );
        });
        return;
    }
    for_each_pair(out, input, inner, 1, |at, out, plane| {
        let (scale, shift) = (scale[at % channels], shift[at % channels]);
        vectorized(
            #[inline(always)]
            || {
                for (slot, x) in out.iter_mut().zip(plane) {
                    *slot = x * scale + shift;
                }
            },
        );
    });
}

/// Local response normalisation over rows of `channels`: each element is divided by
/// `(bias + factor * sum of squares)^beta`, the sum taken over `size` channels around its own.
///
/// Krizhevsky, Sutskever, Hinton, NIPS 2012. An even `size` reaches one channel further up than down.
///
/// # Panics
/// When the lengths do not fit.
pub fn normalize_neighbours(
    size: usize,
    factor: f32,
    beta: f32,
    bias: f32,
    channels: usize,
    input: &[f32],
    out: &mut [f32],
) {
    assert_eq!(input.len(), out.len(), "one output per input");
    if out.is_empty() {
        return;
    }
    assert_eq!(out.len() % channels, 0, "whole rows");
    let (below, above) = ((size - 1) / 2, size / 2);
    let per_task = (4096 / channels).max(1) * channels;
    for_each_pair(out, input, per_task, 2, |_, out, input| {
        for (out, row) in out.chunks_exact_mut(channels).zip(input.chunks_exact(channels)) {
            for (c, slot) in out.iter_mut().enumerate() {
                let around = &row[c.saturating_sub(below)..(c.saturating_add(above).saturating_add(1)).min(channels)];
                let sum: f32 = around.iter().map(|x| x * x).sum();
                let base = bias + factor * sum;
                // Three quarters is every network's exponent, and two roots are much cheaper than a power.
                let divisor = if beta == 0.75 { base.sqrt() * base.sqrt().sqrt() } else { base.powf(beta) };
                *slot = row[c] / divisor;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, noise};

    /// Mean and reciprocal deviation in f64.
    fn exact(values: &[f32], epsilon: f64) -> (f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().map(|&x| x as f64).sum::<f64>() / n;
        let variance = values.iter().map(|&x| (x as f64 - mean).powi(2)).sum::<f64>() / n;
        (mean, 1.0 / (variance + epsilon).sqrt())
    }

    #[test]
    fn layer_normalisation_agrees_with_its_definition_far_from_zero() {
        for width in [1, 5, 77, 768] {
            let input: Vec<f32> = noise(1, 3 * width).iter().map(|x| x + 1000.0).collect();
            let (scale, shift) = (noise(2, width), noise(3, width));
            let mut want = Vec::new();
            for row in input.chunks(width) {
                let (mean, factor) = exact(row, 1e-5);
                want.extend(
                    row.iter()
                        .zip(&scale)
                        .zip(&shift)
                        .map(|((&x, &g), &b)| ((x as f64 - mean) * factor * g as f64 + b as f64) as f32),
                );
            }
            let mut out = vec![f32::NAN; want.len()];
            normalize_rows(Center::Mean, 1e-5, width, &input, &scale, Some(&shift), &mut out);
            assert_close(&out, &want, 5e-4);
        }
    }

    #[test]
    fn root_mean_square_normalisation_keeps_the_mean() {
        let mut out = [0.0; 4];
        normalize_rows(Center::Zero, 0.0, 2, &[3.0, 3.0, 1.0, 7.0], &[1.0, 2.0], None, &mut out);
        assert_close(&out, &[1.0, 2.0, 0.2, 2.8], 1e-6);
    }

    #[test]
    fn group_normalisation_agrees_with_its_definition() {
        let (channels, area) = (6, 35);
        for n_groups in [1, 2, 6] {
            let (input, scale, shift) = (noise(1, 2 * channels * area), noise(2, channels), noise(3, channels));
            let mut want = Vec::new();
            for (at, group) in input.chunks(channels / n_groups * area).enumerate() {
                let (mean, factor) = exact(group, 1e-3);
                want.extend(group.iter().enumerate().map(|(i, &x)| {
                    let c = at % n_groups * (channels / n_groups) + i / area;
                    ((x as f64 - mean) * factor * scale[c] as f64 + shift[c] as f64) as f32
                }));
            }
            let mut out = vec![f32::NAN; want.len()];
            normalize_groups(n_groups, channels, area, 1e-3, &input, &scale, &shift, &mut out);
            assert_close(&out, &want, 1e-5);
        }
    }

    #[test]
    fn batch_normalisation_is_an_affine_map_per_channel_in_both_layouts() {
        let (factor, offset) = batch_normalization(1.0, &[2.0, 3.0], &[0.5, 1.0], &[1.0, 2.0], &[3.0, 8.0]);
        assert_eq!((factor.as_slice(), offset.as_slice()), ([1.0, 1.0].as_slice(), [-0.5, -1.0].as_slice()));
        let mut out = [0.0; 4];
        scale_channels(2, &[1.0, 2.0, 3.0, 4.0], &[10.0, 100.0], &[1.0, 2.0], &mut out);
        assert_eq!(out, [11.0, 21.0, 302.0, 402.0]);
        scale_channels(1, &[1.0, 2.0, 3.0, 4.0], &[10.0, 100.0], &[1.0, 2.0], &mut out);
        assert_eq!(out, [11.0, 202.0, 31.0, 402.0]);
    }

    #[test]
    fn local_response_divides_by_the_energy_of_neighbouring_channels() {
        let input = [1.0, 2.0, 3.0, 4.0];
        for (size, sums) in [(3, [5.0, 14.0, 29.0, 25.0f32]), (2, [5.0, 13.0, 25.0, 16.0]), (1, [1.0, 4.0, 9.0, 16.0])]
        {
            for beta in [0.75, 0.5] {
                let mut out = [0.0; 4];
                normalize_neighbours(size, 0.5, beta, 2.0, 4, &input, &mut out);
                let want: Vec<f32> = input.iter().zip(sums).map(|(x, sum)| x / (2.0 + 0.5 * sum).powf(beta)).collect();
                assert_close(&out, &want, 1e-6);
            }
        }
    }
}
