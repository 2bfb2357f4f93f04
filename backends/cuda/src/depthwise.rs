//! Convolutions of each channel alone by a kernel of ours: there is nothing for matrix units to do, and memory is what counts.

use crate::convolution::Convolution;
use crate::driver::Launch;
use crate::plan::{Needs, Ours};
use crate::region::{Generated, Region};
use crate::view::{Scalar, View};
use std::fmt::Write;

const THREADS: usize = 128;
/// Neighbours of one thread at most.
const MOST_EACH: usize = 4;
/// Threads that keep a large device busy: with fewer, each has fewer neighbours.
const ENOUGH: usize = 132 * 1024;
/// Taps whose code is still short.
const MOST_TAPS: usize = 49;

/// The kernel that computes `convolution`, one channel to a group, and `behind` of its sums; `filters` lie as R, S, K. `None` when operands
/// are not aligned, or there are too many elements.
pub(crate) fn kernel(convolution: &Convolution, image: &View, filters: &View, behind: &Region) -> Option<Ours> {
    let [n, channels, ..] = convolution.input;
    let [n_filters, _, rows, columns] = convolution.filter;
    let [_, _, out_rows, out_columns] = convolution.output;
    let is_real = matches!(convolution.scalar, Scalar::F16 | Scalar::Bf16 | Scalar::F32);
    let most = 16 / convolution.scalar.bytes();
    let pack = [8, 4, 2].into_iter().find(|pack| *pack <= most && channels % pack == 0 && image.offset % pack == 0)?;
    let threads = |each: usize| n * out_rows * out_columns.div_ceil(each) * (channels / pack);
    let count = convolution.output.iter().product::<usize>();
    if !is_real || n_filters != channels || rows * columns > MOST_TAPS || filters.offset != 0 || count == 0 {
        return None;
    }
    if image.count() >= 1 << 31 || count >= 1 << 31 {
        return None;
    }
    let each = [MOST_EACH, 2].into_iter().find(|&each| threads(each) >= ENOUGH).unwrap_or(1);
    let finish = behind.function(pack.min(4))?;
    let element = convolution.scalar.spelled();
    let mut source = format!("{}typedef {element} element_t;\n{}", finish.source, convolution.defines());
    for (name, number) in [
        ("THREADS", THREADS),
        ("PACK", pack),
        ("EACH", each),
        ("IMAGES", n),
        ("CHANNELS", channels),
        ("IMAGE_OFFSET", image.offset),
    ] {
        let _ = writeln!(source, "#define {name} {number}");
    }
    source.push_str(include_str!("depthwise.cuh"));
    let grid = [u32::try_from(threads(each).div_ceil(THREADS)).ok()?, 1];
    let launch = Launch { grid, threads: THREADS as u32, shared_bytes: 0 };
    let parameters = [image.buffer, filters.buffer].into_iter().chain(finish.parameters).collect();
    Some(Ours { name: "depthwise".into(), needs: Needs::Nothing, kernel: Generated { source, launch, parameters } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::product::Activation;
    use crate::tile::tests::{convolution, drawn, emulated, numbers};
    use crate::view::channels_last;
    use crate::ways::epilogue;

    #[test]
    fn each_channel_is_convolved_alone() {
        // One and several neighbours of a thread, steps and padding, packs of eight, four and two channels.
        let shapes = [
            ([1, 16, 9, 7], [3, 3], [1, 1, 1], Scalar::F16),
            ([2, 24, 12, 11], [5, 5], [2, 2, 1], Scalar::Bf16),
            ([1, 6, 10, 9], [3, 3], [1, 2, 2], Scalar::F32),
            ([1, 1024, 60, 61], [3, 3], [1, 1, 1], Scalar::F16),
        ];
        for (input, taps, steps, scalar) in shapes {
            let [_, channels, h, w] = input;
            let grouped = Convolution {
                filter: [channels, 1, taps[0], taps[1]],
                ..convolution(input, [channels, taps[0], taps[1]], steps, scalar)
            };
            let dense = |buffer, shape: &[usize], order: &[usize]| View::dense(buffer, scalar, shape, order);
            let (image, out) =
                (dense(0, &grouped.input, &channels_last(4)), dense(3, &grouped.output, &channels_last(4)));
            let (filters, bias) = (dense(1, &grouped.filter, &[2, 3, 1, 0]), dense(2, &[channels], &[0]));
            let behind = epilogue(&out, Some((&bias, 1)), None, Activation::Relu).expect("it broadcasts");
            let ours = kernel(&grouped, &image, &filters, &behind).expect("packs are aligned");
            let operands = [(&image, 1), (&filters, 2), (&bias, 3)];
            let [x, f, b] = operands.map(|(view, seed)| drawn(scalar, view.count(), seed));
            let bytes = [x.0, f.0, b.0];
            let Some(found) = emulated(&ours.kernel, &bytes, out.count() * scalar.bytes()) else {
                println!("skipped: no C++ compiler");
                return;
            };
            let [_, _, p, q] = grouped.output;
            let [step, pad, far] = steps;
            for (at, found) in numbers(scalar, &found).into_iter().enumerate() {
                let (c, column, row, n) =
                    (at % channels, at / channels % q, at / channels / q % p, at / channels / q / p);
                let mut sum = b.1[c];
                for tap in 0..taps[0] * taps[1] {
                    let y = (row * step + tap / taps[1] * far).checked_sub(pad).filter(|&y| y < h);
                    let x_at = (column * step + tap % taps[1] * far).checked_sub(pad).filter(|&x| x < w);
                    if let (Some(y), Some(x_at)) = (y, x_at) {
                        sum += x.1[((n * h + y) * w + x_at) * channels + c] * f.1[tap * channels + c];
                    }
                }
                let (expected, digits) = (sum.max(0.0), if scalar == Scalar::Bf16 { 8e-3 } else { 1e-3 });
                assert!(
                    (expected - found).abs() <= digits * expected.abs().max(1.0),
                    "{input:?} {at}: {expected} {found}"
                );
            }
            if crate::Library::Nvrtc.is_present() {
                crate::compile(&ours.kernel.source, 90).unwrap_or_else(|problem| panic!("{problem:?}"));
            }
        }
    }
}
