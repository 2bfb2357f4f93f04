//! Convolutions of each channel alone by a kernel of ours: there is nothing for matrix units to do, and memory is what counts.

use crate::convolution::Convolution;
use crate::driver::{Launch, PROCESSORS};
use crate::plan::{Needs, Ours};
use crate::region::{Generated, Region};
use crate::view::{Scalar, View};
use std::fmt::{self, Display, Write};

/// Copies to shared memory.
pub(crate) const PACKS: &str = include_str!("packs.cuh");

/// Threads of a block, and those where few threads are spread over all processors.
const THREADS: usize = 128;
const FEW_THREADS: [usize; 2] = [64, 32];
/// Neighbours of one thread at most.
const MOST_EACH: usize = 4;
/// Threads that a processor runs at once.
const AT_ONCE: usize = 2048;
/// Threads that keep a large device busy: with fewer, each has fewer neighbours.
const ENOUGH: usize = PROCESSORS * AT_ONCE / 2;
/// Taps whose code is still short.
const MOST_TAPS: usize = 49;

/// What a thread has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    /// Channels.
    pack: usize,
    /// Neighbours.
    each: usize,
    /// All that it reads is fetched at once, to shared memory.
    is_fetched: bool,
}

/// Its name among the ways of one result.
impl Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fetched = if self.is_fetched { "+fetched" } else { "" };
        write!(f, "depthwise {}x{}{fetched}", self.pack, self.each)
    }
}

/// What is worth timing with so many channels of a thread, the most first; `n_threads` gives how many threads that makes.
fn shares(packs: &[usize], n_threads: &dyn Fn(usize, usize) -> usize) -> Vec<Share> {
    let Some(&pack) = packs.first() else { return Vec::new() };
    let each = [MOST_EACH, 2].into_iter().find(|&each| n_threads(pack, each) >= ENOUGH).unwrap_or(1);
    let mut shares = vec![Share { pack, each, is_fetched: false }];
    // What few threads wait for is memory: more of them share that, and none waits twice.
    if n_threads(pack, each) < PROCESSORS * AT_ONCE {
        let narrow = packs[packs.len().saturating_sub(2)..].iter();
        shares.extend(narrow.map(|&pack| Share { pack, each: 1, is_fetched: true }));
    }
    shares
}

/// The kernels that compute `convolution`, one channel to a group, and `behind` of its sums; `filters` are constant, and lie as R, S, K.
/// None when operands are not aligned, or there are too many elements.
pub(crate) fn kernels(convolution: &Convolution, image: &View, filters: &View, behind: &Region) -> Vec<Ours> {
    let [n, channels, ..] = convolution.input;
    let [n_filters, _, rows, columns] = convolution.filter;
    let [_, _, out_rows, out_columns] = convolution.output;
    let is_real = matches!(convolution.scalar, Scalar::F16 | Scalar::Bf16 | Scalar::F32);
    let count = convolution.output.iter().product::<usize>();
    if !is_real || n_filters != channels || rows * columns > MOST_TAPS || filters.offset != 0 || count == 0 {
        return Vec::new();
    }
    if image.count() >= 1 << 31 || count >= 1 << 31 {
        return Vec::new();
    }
    let most = 16 / convolution.scalar.bytes();
    let is_aligned = |pack: &usize| *pack <= most && channels % pack == 0 && image.offset % pack == 0;
    let packs: Vec<usize> = [8, 4, 2].into_iter().filter(is_aligned).collect();
    let n_threads = |pack: usize, each: usize| n * out_rows * out_columns.div_ceil(each) * (channels / pack);
    let ours = |share: Share| {
        let kernel = kernel(convolution, image, filters, behind, share, n_threads(share.pack, share.each))?;
        Some(Ours { name: share.to_string(), needs: Needs::Nothing, includes_before: false, kernel })
    };
    shares(&packs, &n_threads).into_iter().filter_map(ours).collect()
}

/// The kernel of `n_threads` threads, each with its share.
fn kernel(
    convolution: &Convolution,
    image: &View,
    filters: &View,
    behind: &Region,
    share: Share,
    n_threads: usize,
) -> Option<Generated> {
    let Share { pack, each, is_fetched } = share;
    let finish = behind.function(pack.min(4))?;
    let threads = match is_fetched {
        true => FEW_THREADS[usize::from(n_threads < 2 * PROCESSORS * FEW_THREADS[0])],
        false => THREADS,
    };
    let element = convolution.scalar.spelled();
    let mut source = format!("{}typedef {element} element_t;\n{}", finish.source, convolution.defines());
    for (name, number) in [
        ("THREADS", threads),
        ("PACK", pack),
        ("EACH", each),
        ("IMAGES", convolution.input[0]),
        ("CHANNELS", convolution.input[1]),
        ("IMAGE_OFFSET", image.offset),
    ] {
        let _ = writeln!(source, "#define {name} {number}");
    }
    let text =
        if is_fetched { [PACKS, include_str!("fetched.cuh")].concat() } else { include_str!("depthwise.cuh").into() };
    source.push_str(&text);
    let taps: usize = convolution.filter[2..].iter().product();
    let shared = if is_fetched { 2 * taps * pack * convolution.scalar.bytes() * threads } else { 0 };
    let grid = [u32::try_from(n_threads.div_ceil(threads)).ok()?, 1];
    let launch = Launch { grid, threads: threads as u32, shared_bytes: shared as u32 };
    let parameters = [image.buffer, filters.buffer].into_iter().chain(finish.parameters).collect();
    Some(Generated { source, launch, parameters })
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
        let plain = |pack, each| Share { pack, each, is_fetched: false };
        let fetched = |pack| Share { pack, each: 1, is_fetched: true };
        // Steps, distances and padding, a last block that is not full.
        let cases = [
            ([1, 16, 9, 7], [3, 3], [1, 1, 1], Scalar::F16, vec![plain(8, 1), plain(8, 4), fetched(4), fetched(2)]),
            ([2, 24, 12, 11], [5, 5], [2, 2, 1], Scalar::Bf16, vec![plain(8, 2), fetched(8), fetched(4)]),
            ([1, 6, 10, 9], [3, 3], [1, 2, 2], Scalar::F32, vec![plain(2, 4), fetched(2)]),
            ([1, 12, 7, 7], [5, 5], [1, 2, 1], Scalar::F32, vec![plain(4, 1), fetched(4)]),
        ];
        for (input, taps, steps, scalar, shares) in cases {
            let [_, channels, h, w] = input;
            let grouped = Convolution {
                filter: [channels, 1, taps[0], taps[1]],
                ..convolution(input, [channels, taps[0], taps[1]], steps, scalar)
            };
            let dense = |buffer, shape: &[usize], order: &[usize]| View::dense(buffer, scalar, shape, order);
            let (image, out) =
                (dense(0, &grouped.input, &channels_last(4)), dense(3, &grouped.output, &channels_last(4)));
            let (filters, bias) = (dense(1, &grouped.filter, &[2, 3, 1, 0]), dense(2, &[channels], &[0]));
            let behind = epilogue(&out, &[(&bias, 1)], None, Activation::Relu).expect("it broadcasts");
            let operands = [(&image, 1), (&filters, 2), (&bias, 3)];
            let [x, f, b] = operands.map(|(view, seed)| drawn(scalar, view.count(), seed));
            let bytes = [x.0, f.0, b.0];
            let [n, _, p, q] = grouped.output;
            let [step, pad, far] = steps;
            let expected = |at: usize| {
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
                sum.max(0.0)
            };
            for share in shares {
                let n_threads = n * p * q.div_ceil(share.each) * (channels / share.pack);
                let kernel = kernel(&grouped, &image, &filters, &behind, share, n_threads);
                let kernel = kernel.expect("there are few elements");
                let Some(found) = emulated(&kernel, &bytes, out.count() * scalar.bytes()) else {
                    println!("skipped: no C++ compiler");
                    return;
                };
                for (at, found) in numbers(scalar, &found).into_iter().enumerate() {
                    let (expected, digits) = (expected(at), if scalar == Scalar::Bf16 { 8e-3 } else { 1e-3 });
                    assert!(
                        (expected - found).abs() <= digits * expected.abs().max(1.0),
                        "{input:?} {share} {at}: {expected} {found}"
                    );
                }
                if crate::Library::Nvrtc.is_present() {
                    crate::compile(&kernel.source, 90).unwrap_or_else(|problem| panic!("{problem:?}"));
                }
            }
        }
    }

    #[test]
    fn few_threads_fetch_all_at_once() {
        let found = |[n, channels, rows, columns]: [usize; 4], packs: &[usize]| -> Vec<String> {
            let n_threads = |pack: usize, each: usize| n * rows * columns.div_ceil(each) * (channels / pack);
            shares(packs, &n_threads).iter().map(Share::to_string).collect()
        };
        let few = found([1, 960, 7, 7], &[8, 4, 2]);
        assert_eq!(few, ["depthwise 8x1", "depthwise 4x1+fetched", "depthwise 2x1+fetched"]);
        assert_eq!(found([1, 6, 7, 7], &[2]), ["depthwise 2x1", "depthwise 2x1+fetched"]);
        assert_eq!(found([32, 960, 28, 28], &[8, 4, 2]), ["depthwise 8x4"]);
        assert!(found([1, 15, 7, 7], &[]).is_empty());
    }
}
