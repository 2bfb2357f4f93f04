//! Pooling over channels-last data: input `[batch, spatial.., channels]`, output alike.

use crate::parallel::for_each_chunk;
use crate::simd::vectorized;
use crate::window::{Window, for_each_index};

/// What a window of elements becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// The largest element; padding never wins.
    Max,
    /// The mean. Padding counts as zeros when `count_include_pad`, and is left out otherwise. What a ceiled window
    /// covers beyond the padding never counts.
    Average {
        /// ONNX's attribute.
        count_include_pad: bool,
    },
}

/// Pools `input` into `out`; `output` are the spatial extents that [`Window::output`] gives.
///
/// # Panics
/// When the lengths do not fit.
pub fn pool(
    kind: Pool,
    window: &Window,
    batch: usize,
    input_extents: &[usize],
    output: &[usize],
    channels: usize,
    input: &[f32],
    out: &mut [f32],
) {
    let area: usize = input_extents.iter().product();
    assert_eq!(input.len(), batch * area * channels, "one input per image, position and channel");
    assert_eq!(
        out.len(),
        batch * output.iter().product::<usize>() * channels,
        "one output per image, position and channel"
    );
    if out.is_empty() {
        return;
    }
    // A line of the output along its last axis is one task.
    let line = output.last().copied().unwrap_or(1);
    let outer = &output[..output.len().saturating_sub(1)];
    let n_lines: usize = outer.iter().product();
    for_each_chunk(out, line * channels, window.n_taps(), |line_at, out| {
        let mut position = vec![0; output.len()];
        let mut rest = line_at % n_lines;
        for axis in (0..outer.len()).rev() {
            position[axis] = rest % outer[axis];
            rest /= outer[axis];
        }
        let image = &input[line_at / n_lines * area * channels..][..area * channels];
        let mut taps = Vec::with_capacity(window.n_taps());
        for (x, out) in out.chunks_exact_mut(channels).enumerate() {
            if let Some(last) = position.last_mut() {
                *last = x;
            }
            let n_counted = taps_of(window, input_extents, &position, &mut taps);
            vectorized(
                #[inline(always)]
                || match kind {
                    Pool::Max => maximum(image, &taps, channels, out),
                    Pool::Average { count_include_pad } => {
                        average(image, &taps, channels, if count_include_pad { n_counted } else { taps.len() }, out);
                    }
                },
            );
        }
    });
}

/// Collects the positions inside the input that the window at `position` covers; returns how many of its taps lie
/// inside the input or its padding.
fn taps_of(window: &Window, input: &[usize], position: &[usize], taps: &mut Vec<usize>) -> usize {
    taps.clear();
    let mut n_counted = 0;
    for_each_index(&window.kernel, |tap| {
        let (mut at, mut inside, mut counted) = (0, true, true);
        for axis in 0..input.len() {
            let padded = position[axis] * window.strides[axis] + tap[axis] * window.dilations[axis];
            counted &= padded < input[axis] + window.pads_begin[axis] + window.pads_end[axis];
            match padded.checked_sub(window.pads_begin[axis]).filter(|&index| index < input[axis]) {
                Some(index) => at = at * input[axis] + index,
                None => inside = false,
            }
        }
        n_counted += usize::from(counted);
        if inside {
            taps.push(at);
        }
    });
    n_counted
}

#[inline(always)]
fn maximum(image: &[f32], taps: &[usize], channels: usize, out: &mut [f32]) {
    out.fill(f32::NEG_INFINITY);
    for tap in taps {
        for (best, &x) in out.iter_mut().zip(&image[tap * channels..][..channels]) {
            *best = if x > *best || x.is_nan() { x } else { *best };
        }
    }
}

#[inline(always)]
fn average(image: &[f32], taps: &[usize], channels: usize, count: usize, out: &mut [f32]) {
    out.fill(0.0);
    for tap in taps {
        for (sum, x) in out.iter_mut().zip(&image[tap * channels..][..channels]) {
            *sum += x;
        }
    }
    for sum in out {
        *sum /= count as f32;
    }
}

/// Reduces all positions of each image to one: the global pools.
///
/// # Panics
/// When the lengths do not fit.
pub fn pool_globally(kind: Pool, batch: usize, area: usize, channels: usize, input: &[f32], out: &mut [f32]) {
    assert_eq!(input.len(), batch * area * channels, "one input per image, position and channel");
    assert_eq!(out.len(), batch * channels, "one output per image and channel");
    if out.is_empty() {
        return;
    }
    let taps: Vec<usize> = (0..area).collect();
    for (at, out) in out.chunks_exact_mut(channels).enumerate() {
        let image = &input[at * area * channels..][..area * channels];
        vectorized(
            #[inline(always)]
            || match kind {
                Pool::Max => maximum(image, &taps, channels, out),
                Pool::Average { .. } => average(image, &taps, channels, area, out),
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, noise};

    fn window(pads_begin: [usize; 2], pads_end: [usize; 2]) -> Window {
        Window {
            strides: vec![2, 1],
            dilations: vec![1, 2],
            pads_begin: pads_begin.to_vec(),
            pads_end: pads_end.to_vec(),
            ..Window::of(&[3, 2])
        }
    }

    /// The definition for two axes, by visiting every tap of every window.
    fn reference(
        kind: Pool,
        w: &Window,
        batch: usize,
        input: [usize; 2],
        output: &[usize],
        channels: usize,
        x: &[f32],
    ) -> Vec<f32> {
        let mut out = Vec::new();
        for_each_index(&[batch, output[0], output[1], channels], |index| {
            let (mut best, mut sum, mut inside, mut counted) = (f32::NEG_INFINITY, 0.0, 0, 0);
            for i in 0..w.kernel[0] {
                for j in 0..w.kernel[1] {
                    let row = (index[1] * w.strides[0] + i * w.dilations[0]) as isize - w.pads_begin[0] as isize;
                    let column = (index[2] * w.strides[1] + j * w.dilations[1]) as isize - w.pads_begin[1] as isize;
                    if row < (input[0] + w.pads_end[0]) as isize && column < (input[1] + w.pads_end[1]) as isize {
                        counted += 1;
                    }
                    if (0..input[0] as isize).contains(&row) && (0..input[1] as isize).contains(&column) {
                        let at =
                            ((index[0] * input[0] + row as usize) * input[1] + column as usize) * channels + index[3];
                        best = best.max(x[at]);
                        sum += x[at];
                        inside += 1;
                    }
                }
            }
            out.push(match kind {
                Pool::Max => best,
                Pool::Average { count_include_pad } => sum / if count_include_pad { counted } else { inside } as f32,
            });
        });
        out
    }

    #[test]
    fn pools_agree_with_the_definition_for_all_paddings() {
        let (batch, input, channels) = (2, [8, 7], 19);
        let x = noise(1, batch * input[0] * input[1] * channels);
        let kinds = [Pool::Max, Pool::Average { count_include_pad: true }, Pool::Average { count_include_pad: false }];
        for kind in kinds {
            for (begin, end) in [([0, 0], [0, 0]), ([1, 0], [0, 1]), ([2, 1], [1, 1])] {
                for ceil in [false, true] {
                    let window = window(begin, end);
                    let output = window.output(&input, ceil);
                    let want = reference(kind, &window, batch, input, &output, channels, &x);
                    let mut out = vec![f32::NAN; want.len()];
                    pool(kind, &window, batch, &input, &output, channels, &x, &mut out);
                    assert_close(&out, &want, 1e-6);
                }
            }
        }
    }

    #[test]
    fn a_global_pool_sees_every_position_once() {
        let mut out = [0.0; 4];
        let x = [1.0, 10.0, 2.0, 20.0, 6.0, 60.0, -1.0, 5.0, -2.0, 5.0, -3.0, 5.0];
        pool_globally(Pool::Average { count_include_pad: false }, 2, 3, 2, &x, &mut out);
        assert_eq!(out, [3.0, 30.0, -2.0, 5.0]);
        pool_globally(Pool::Max, 2, 3, 2, &x, &mut out);
        assert_eq!(out, [6.0, 60.0, -1.0, 5.0]);
    }

    #[test]
    fn a_window_with_nan_has_the_maximum_nan() {
        let mut out = [0.0];
        pool(Pool::Max, &Window::of(&[3]), 1, &[3], &[1], 1, &[1.0, f32::NAN, 2.0], &mut out);
        assert!(out[0].is_nan());
    }
}
