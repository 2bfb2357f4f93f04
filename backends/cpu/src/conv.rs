//! Convolution over channels-last data: input `[batch, spatial.., channels]`, output alike.
//!
//! Dense and grouped convolutions are one matrix multiplication whose left rows are read in place from the (padded)
//! input: with channels last, a line of the window is contiguous. Depthwise convolutions have a kernel of their own.

use crate::epilogue::Epilogue;
use crate::gemm::{Left, Packed, Run, Starts, multiply};
use crate::parallel::for_each_chunk;
use crate::simd::{AlignedBuffer, Arch, Simd, WithSimd};
use crate::window::{Window, for_each_index};

/// Weights in the order in which the kernels read them.
#[derive(Debug)]
pub struct ConvWeights {
    groups: usize,
    in_per_group: usize,
    out_per_group: usize,
    kernel: Vec<usize>,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// Depth runs over taps, then input channels.
    Dense(Packed),
    /// `[taps, channels]`.
    Depthwise(AlignedBuffer),
}

impl ConvWeights {
    /// Packs `weights`, which are `[out_channels, in_channels / groups, kernel..]` as in ONNX.
    ///
    /// # Panics
    /// When the lengths do not fit or `groups` does not divide `out_channels`.
    pub fn new(weights: &[f32], out_channels: usize, in_per_group: usize, kernel: &[usize], groups: usize) -> Self {
        let n_taps: usize = kernel.iter().product();
        assert!(groups > 0 && out_channels % groups == 0, "groups divide the output channels");
        assert_eq!(weights.len(), out_channels * in_per_group * n_taps, "one weight per output, input and tap");
        let out_per_group = out_channels / groups;
        let body = if in_per_group == 1 && out_per_group == 1 && groups > 1 {
            let mut taps = AlignedBuffer::zeroed(weights.len());
            for (at, slot) in taps.iter_mut().enumerate() {
                *slot = weights[at % out_channels * n_taps + at / out_channels];
            }
            Body::Depthwise(taps)
        } else {
            let depth = n_taps * in_per_group;
            Body::Dense(Packed::new(groups, depth, out_per_group, |group, range, width, panel| {
                // A cache line of each output's weights at a time: outputs are far apart, often by a power of two.
                for first in (0..depth).step_by(16) {
                    let count = 16.min(depth - first);
                    for (n, output) in range.clone().enumerate() {
                        let source = &weights[(group * out_per_group + output) * depth + first..][..count];
                        let (mut channel, mut tap) = (first / n_taps, first % n_taps);
                        for value in source {
                            panel[(tap * in_per_group + channel) * width + n] = *value;
                            tap += 1;
                            if tap == n_taps {
                                (channel, tap) = (channel + 1, 0);
                            }
                        }
                    }
                }
            }))
        };
        Self { groups, in_per_group, out_per_group, kernel: kernel.to_vec(), body }
    }

    /// Elements that the packed weights take, padding included.
    pub fn len(&self) -> usize {
        match &self.body {
            Body::Dense(packed) => packed.len(),
            Body::Depthwise(taps) => taps.len(),
        }
    }

    /// True when there are no weights.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Output channels.
    pub fn out_channels(&self) -> usize {
        self.groups * self.out_per_group
    }

    /// Input channels.
    pub fn in_channels(&self) -> usize {
        self.groups * self.in_per_group
    }
}

/// Everything about one convolution that depends on its shapes but not on its data.
#[derive(Debug)]
pub struct ConvPlan {
    batch: usize,
    input: Vec<usize>,
    output: Vec<usize>,
    padded: Vec<usize>,
    window: Window,
    /// Where the window of each output position starts in the padded input.
    starts: Vec<usize>,
    runs: Vec<Run>,
}

impl ConvPlan {
    /// Plans `weights` for an input of `batch` images of extents `input`. `window.kernel` is that of the weights.
    ///
    /// # Panics
    /// When the ranks differ.
    pub fn new(weights: &ConvWeights, batch: usize, input: &[usize], window: Window) -> Self {
        assert_eq!(weights.kernel, window.kernel, "the window is that of the weights");
        assert_eq!(input.len(), window.rank(), "one extent per axis of the window");
        let channels = weights.in_channels();
        let padded = window.padded(input);
        let output = window.output(input, false);
        // Elements between neighbours along each axis of the padded input.
        let mut strides = vec![channels; padded.len()];
        for axis in (0..padded.len().saturating_sub(1)).rev() {
            strides[axis] = strides[axis + 1] * padded[axis + 1];
        }
        let image = channels * padded.iter().product::<usize>();
        let mut starts = Vec::with_capacity(batch * output.iter().product::<usize>());
        for image_at in 0..batch {
            for_each_index(&output, |index| {
                let within: usize =
                    index.iter().zip(&window.strides).zip(&strides).map(|((i, s), step)| i * s * step).sum();
                starts.push(image_at * image + within);
            });
        }
        let mut runs: Vec<Run> = Vec::new();
        for_each_index(&window.kernel, |tap| {
            let offset = tap.iter().zip(&window.dilations).zip(&strides).map(|((t, d), step)| t * d * step).sum();
            match runs.last_mut() {
                // Taps that are neighbours in memory are one run.
                Some(run) if run.offset + run.len == offset => run.len += weights.in_per_group,
                _ => runs.push(Run { offset, len: weights.in_per_group }),
            }
        });
        Self { batch, input: input.to_vec(), output, padded, window, starts, runs }
    }

    /// Elements of scratch memory that [`convolve`] needs.
    pub fn scratch_len(&self, weights: &ConvWeights) -> usize {
        if self.padded == self.input {
            0
        } else {
            self.batch * weights.in_channels() * self.padded.iter().product::<usize>()
        }
    }

    /// Spatial extents of the output.
    pub fn output(&self) -> &[usize] {
        &self.output
    }
}

/// Convolves `input` into `out`. `scratch` holds the padded input: [`ConvPlan::scratch_len`] elements.
///
/// # Panics
/// When the lengths do not fit the plan: shapes are the caller's to check.
pub fn convolve(
    plan: &ConvPlan,
    weights: &ConvWeights,
    input: &[f32],
    epilogue: &Epilogue<'_>,
    scratch: &mut [f32],
    out: &mut [f32],
) {
    let channels = weights.in_channels();
    assert_eq!(
        input.len(),
        plan.batch * channels * plan.input.iter().product::<usize>(),
        "the input has the planned shape"
    );
    let data = if plan.padded == plan.input {
        input
    } else {
        assert_eq!(scratch.len(), plan.scratch_len(weights), "the scratch has room for the padded input");
        pad(plan, channels, input, scratch);
        &*scratch
    };
    match &weights.body {
        Body::Dense(packed) => {
            let left = Left {
                data,
                n_rows: plan.starts.len(),
                starts: Starts::Listed(&plan.starts),
                runs: &plan.runs,
                group_stride: weights.in_per_group,
            };
            multiply(&left, packed, epilogue, out);
        }
        Body::Depthwise(taps) => {
            assert_eq!(out.len(), plan.starts.len() * channels, "one output per position and channel");
            epilogue.check(channels, out.len());
            if out.is_empty() {
                return;
            }
            let offsets = tap_offsets(&plan.runs);
            let positions = plan.starts.len().div_ceil(4 * rayon::current_num_threads());
            for_each_chunk(out, positions * channels, offsets.len(), |at, out| {
                let starts = &plan.starts[at * positions..][..out.len() / channels];
                let first = at * positions * channels;
                Arch::new().dispatch(Depthwise {
                    data,
                    taps,
                    offsets: &offsets,
                    starts,
                    epilogue,
                    channels,
                    first,
                    out,
                });
            });
        }
    }
}

/// One offset per tap; only for one input channel per group, where a run is a sequence of taps of that many channels.
fn tap_offsets(runs: &[Run]) -> Vec<usize> {
    runs.iter().flat_map(|run| run.offset..run.offset + run.len).collect()
}

/// Copies `input` into the middle of `padded` and zeroes the rest.
fn pad(plan: &ConvPlan, channels: usize, input: &[f32], padded: &mut [f32]) {
    let rank = plan.input.len();
    let Some(last) = rank.checked_sub(1) else {
        padded.copy_from_slice(input);
        return;
    };
    let (line, padded_line) = (plan.input[last] * channels, plan.padded[last] * channels);
    if padded_line == 0 {
        return;
    }
    let lead = plan.window.pads_begin[last] * channels;
    for_each_chunk(padded, padded_line, 1, |line_at, target| {
        // The index of the padded line, from the innermost of the outer axes outwards, gives that of the input line.
        let (mut rest, mut source, mut step, mut inside) = (line_at, 0, 1, true);
        for axis in (0..last).rev() {
            let index = rest % plan.padded[axis];
            rest /= plan.padded[axis];
            let Some(unpadded) = index.checked_sub(plan.window.pads_begin[axis]).filter(|&i| i < plan.input[axis])
            else {
                inside = false;
                break;
            };
            source += unpadded * step;
            step *= plan.input[axis];
        }
        if !inside {
            target.fill(0.0);
            return;
        }
        source += rest * step;
        target[..lead].fill(0.0);
        target[lead..lead + line].copy_from_slice(&input[source * line..][..line]);
        target[lead + line..].fill(0.0);
    });
}

/// Some output positions of a depthwise convolution.
struct Depthwise<'a> {
    data: &'a [f32],
    taps: &'a [f32],
    offsets: &'a [usize],
    starts: &'a [usize],
    epilogue: &'a Epilogue<'a>,
    channels: usize,
    /// Index of the first output element.
    first: usize,
    out: &'a mut [f32],
}

impl WithSimd for Depthwise<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let channels = self.channels;
        for (at, (out, &start)) in self.out.chunks_exact_mut(channels).zip(self.starts).enumerate() {
            match self.epilogue.bias {
                Some(bias) => out.copy_from_slice(bias),
                None => out.fill(0.0),
            }
            let mut channel = 0;
            while channels - channel >= 4 * S::F32_LANES {
                channel_block::<S, 4>(
                    simd,
                    self.data,
                    start + channel,
                    self.offsets,
                    self.taps,
                    channels,
                    channel,
                    out,
                );
                channel += 4 * S::F32_LANES;
            }
            while channels - channel >= S::F32_LANES {
                channel_block::<S, 1>(
                    simd,
                    self.data,
                    start + channel,
                    self.offsets,
                    self.taps,
                    channels,
                    channel,
                    out,
                );
                channel += S::F32_LANES;
            }
            if channel < channels {
                let out = &mut out[channel..];
                for (tap, offset) in self.offsets.iter().enumerate() {
                    let input = &self.data[start + channel + offset..][..out.len()];
                    let weights = &self.taps[tap * channels + channel..][..out.len()];
                    for ((sum, x), w) in out.iter_mut().zip(input).zip(weights) {
                        *sum += x * w;
                    }
                }
            }
            self.epilogue.finish(simd, self.first + at * channels, 0, out);
        }
    }
}

/// `NV` vectors of channels of one output position.
#[inline(always)]
fn channel_block<S: Simd, const NV: usize>(
    simd: S,
    data: &[f32],
    start: usize,
    offsets: &[usize],
    taps: &[f32],
    channels: usize,
    channel: usize,
    out: &mut [f32],
) {
    let width = NV * S::F32_LANES;
    let (out, _) = S::as_mut_simd_f32s(&mut out[channel..channel + width]);
    let mut sums = [simd.splat_f32s(0.0); NV];
    sums.copy_from_slice(out);
    for (tap, offset) in offsets.iter().enumerate() {
        let (input, _) = S::as_simd_f32s(&data[start + offset..][..width]);
        let (weights, _) = S::as_simd_f32s(&taps[tap * channels + channel..][..width]);
        for v in 0..NV {
            sums[v] = simd.mul_add_e_f32s(input[v], weights[v], sums[v]);
        }
    }
    out.copy_from_slice(&sums);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, noise, to_channels_first, to_channels_last};
    use crate::unary::Unary;

    struct Case {
        batch: usize,
        channels: usize,
        out_channels: usize,
        groups: usize,
        input: Vec<usize>,
        window: Window,
    }

    /// The definition, over channels-first data.
    fn reference(case: &Case, input: &[f32], weights: &[f32], bias: &[f32]) -> Vec<f32> {
        let output = case.window.output(&case.input, false);
        let (area, n_taps) = (case.input.iter().product::<usize>(), case.window.n_taps());
        let in_per_group = case.channels / case.groups;
        let out_per_group = case.out_channels / case.groups;
        let mut out = Vec::new();
        for image in 0..case.batch {
            for n in 0..case.out_channels {
                for_each_index(&output, |position| {
                    let mut sum = bias[n] as f64;
                    for c in 0..in_per_group {
                        let mut tap_at = 0;
                        for_each_index(&case.window.kernel, |tap| {
                            let mut at = Some(0usize);
                            for axis in 0..case.input.len() {
                                let index = (position[axis] * case.window.strides[axis]
                                    + tap[axis] * case.window.dilations[axis])
                                    .checked_sub(case.window.pads_begin[axis])
                                    .filter(|&i| i < case.input[axis]);
                                at = at.zip(index).map(|(at, i)| at * case.input[axis] + i);
                            }
                            if let Some(at) = at {
                                let channel = n / out_per_group * in_per_group + c;
                                let x = input[(image * case.channels + channel) * area + at] as f64;
                                sum += x * weights[(n * in_per_group + c) * n_taps + tap_at] as f64;
                            }
                            tap_at += 1;
                        });
                    }
                    out.push(sum as f32);
                });
            }
        }
        out
    }

    fn check(case: Case) {
        let in_per_group = case.channels / case.groups;
        let input = noise(1, case.batch * case.channels * case.input.iter().product::<usize>());
        let weights = noise(2, case.out_channels * in_per_group * case.window.n_taps());
        let bias = noise(3, case.out_channels);
        let packed = ConvWeights::new(&weights, case.out_channels, in_per_group, &case.window.kernel, case.groups);
        let plan = ConvPlan::new(&packed, case.batch, &case.input, case.window.clone());
        let mut want = reference(&case, &input, &weights, &bias);
        let residual = noise(4, want.len());
        for (value, add) in want.iter_mut().zip(&residual) {
            *value = (*value + add).max(0.0);
        }
        let area: usize = plan.output().iter().product();
        let mut out = vec![f32::NAN; want.len()];
        let residual = to_channels_last(&residual, case.batch, case.out_channels, area);
        let epilogue =
            Epilogue { bias: Some(&bias), residual: Some(&residual), activation: Some(Unary::Relu), chain: None };
        let x = to_channels_last(&input, case.batch, case.channels, case.input.iter().product());
        let mut scratch = vec![f32::NAN; plan.scratch_len(&packed)];
        convolve(&plan, &packed, &x, &epilogue, &mut scratch, &mut out);
        assert_close(&to_channels_first(&out, case.batch, case.out_channels, area), &want, 1e-5);
    }

    fn window(kernel: &[usize], strides: &[usize], dilations: &[usize], begin: &[usize], end: &[usize]) -> Window {
        Window {
            kernel: kernel.to_vec(),
            strides: strides.to_vec(),
            dilations: dilations.to_vec(),
            pads_begin: begin.to_vec(),
            pads_end: end.to_vec(),
        }
    }

    #[test]
    fn pointwise_convolution_agrees_with_the_definition_for_awkward_channel_counts() {
        for (channels, out_channels) in [(1, 1), (3, 17), (40, 33), (64, 64), (7, 130), (800, 50)] {
            check(Case { batch: 2, channels, out_channels, groups: 1, input: vec![5, 3], window: Window::of(&[1, 1]) });
        }
    }

    #[test]
    fn strided_dilated_and_asymmetrically_padded_windows_agree_with_the_definition() {
        for (strides, dilations) in [([1, 1], [1, 1]), ([2, 1], [1, 2]), ([2, 3], [2, 1])] {
            let window = window(&[3, 2], &strides, &dilations, &[1, 0], &[2, 1]);
            check(Case { batch: 2, channels: 5, out_channels: 9, groups: 1, input: vec![9, 8], window });
        }
    }

    #[test]
    fn deep_windows_are_cut_into_blocks_without_loss() {
        let window = window(&[3, 3], &[1, 1], &[1, 1], &[1, 1], &[1, 1]);
        check(Case { batch: 1, channels: 300, out_channels: 20, groups: 1, input: vec![7, 7], window });
    }

    #[test]
    fn grouped_convolution_agrees_with_the_definition() {
        for (channels, out_channels, groups) in [(6, 9, 3), (4, 8, 4), (64, 128, 2), (2, 2, 1)] {
            let window = window(&[3, 3], &[1, 2], &[1, 1], &[1, 1], &[1, 1]);
            check(Case { batch: 2, channels, out_channels, groups, input: vec![6, 7], window });
        }
    }

    #[test]
    fn depthwise_convolution_agrees_with_the_definition_for_awkward_channel_counts() {
        for channels in [2, 16, 24, 72, 131] {
            let window = window(&[5, 3], &[2, 1], &[1, 1], &[2, 1], &[2, 1]);
            check(Case { batch: 2, channels, out_channels: channels, groups: channels, input: vec![9, 6], window });
        }
    }

    #[test]
    fn one_and_three_spatial_axes_agree_with_the_definition() {
        let line = window(&[4], &[2], &[2], &[3], &[1]);
        check(Case { batch: 3, channels: 4, out_channels: 6, groups: 2, input: vec![11], window: line });
        let volume = window(&[2, 3, 2], &[1, 2, 1], &[2, 1, 1], &[1, 1, 0], &[0, 1, 1]);
        check(Case { batch: 2, channels: 3, out_channels: 4, groups: 1, input: vec![4, 5, 3], window: volume });
    }

    #[test]
    fn an_empty_output_is_left_alone() {
        check(Case {
            batch: 0,
            channels: 3,
            out_channels: 4,
            groups: 1,
            input: vec![4, 4],
            window: Window::of(&[3, 3]),
        });
        check(Case {
            batch: 1,
            channels: 3,
            out_channels: 4,
            groups: 1,
            input: vec![2, 4],
            window: Window::of(&[3, 3]),
        });
    }
}
