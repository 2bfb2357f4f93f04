//! Kernels of two convolutions.

use super::*;

/// The shortcut of a block that `convolution` ends: single pixels of `channels`, each `step` further than the one before.
fn shortcut_of(convolution: &Convolution, channels: usize, step: usize) -> Convolution {
    let [n, k, rows, columns] = convolution.output;
    super::convolution([n, channels, rows * step, columns * step], [k, 1, 1], [step, 0, 1], convolution.scalar)
}

/// The kernel of `tile` for both, with a row for each and an activation behind.
fn with_shortcut(convolution: &Convolution, other: &Convolution, tile: Tile) -> Generated {
    let [image, filters, out] = views(convolution);
    let [other_image, other_filters, _] = views(other);
    let (other_image, other_filters) = (View { buffer: 2, ..other_image }, View { buffer: 3, ..other_filters });
    let row = |buffer| View::dense(buffer, convolution.scalar, &[convolution.output[1]], &[0]);
    let (rows, out) = ([row(4), row(5)], View { buffer: 6, ..out });
    let behind = epilogue(&out, &[(&rows[0], 1), (&rows[1], 1)], None, Activation::Relu).expect("it broadcasts");
    let finish = behind.function(4).expect("it has no rows");
    let joined = Joined::Shortcut(Shortcut { convolution: other, image: &other_image, filters: &other_filters });
    assert!(joined.fits(convolution));
    let (image, filters) = (&image, &filters);
    let kernel = Tiled { convolution, image, filters, filters_are_constant: true, joined, finish }.kernel(tile);
    kernel.expect("its type has matrix units")
}

#[test]
fn a_shortcut_is_added_in_the_same_sums() {
    let cases = [
        // Depths of no whole steps; more steps of the shortcut than of the convolution, divided within either.
        (convolution([2, 24, 5, 7], [72, 1, 1], [1, 0, 1], Scalar::F16), [40, 2], gathered(64, 32, 1)),
        (convolution([1, 64, 7, 7], [40, 1, 1], [1, 0, 1], Scalar::F16), [512, 2], gathered(64, 64, 4)),
        (convolution([1, 512, 7, 6], [72, 1, 1], [1, 0, 1], Scalar::Bf16), [64, 1], gathered(128, 64, 2)),
        (convolution([1, 32, 9, 9], [132, 3, 3], [1, 1, 1], Scalar::F32), [24, 2], gathered(128, 128, 2)),
        // A window that steps over pixels, too.
        (convolution([2, 24, 9, 8], [72, 3, 3], [2, 1, 1], Scalar::F16), [72, 3], grouped(64, 64, 1)),
        (convolution([1, 128, 14, 14], [256, 1, 1], [1, 0, 1], Scalar::F16), [256, 2], grouped(128, 256, 1)),
        (convolution([1, 64, 7, 7], [136, 3, 3], [1, 1, 1], Scalar::Bf16), [192, 2], grouped(64, 128, 4)),
        (convolution([3, 128, 5, 5], [64, 1, 1], [1, 0, 1], Scalar::F16), [1024, 2], grouped(128, 64, 8)),
    ];
    for (convolution, [channels, step], tile) in cases {
        let (scalar, other) = (convolution.scalar, shortcut_of(&convolution, channels, step));
        let kernel = with_shortcut(&convolution, &other, tile);
        let (k, count) = (convolution.output[1], convolution.output.iter().product::<usize>());
        let counts =
            [convolution.input, convolution.filter, other.input, other.filter].map(|shape| shape.iter().product());
        let drawn: Vec<(Vec<u8>, Vec<f64>)> =
            counts.into_iter().chain([k, k]).zip(1..).map(|(n, seed)| drawn(scalar, n, seed)).collect();
        let bytes: Vec<Vec<u8>> = drawn.iter().map(|(bytes, _)| bytes.clone()).collect();
        let Some(found) = emulated(&kernel, &bytes, count * scalar.bytes()) else {
            println!("skipped: no C++ compiler");
            return;
        };
        let numbers_of = |at: usize| drawn[at].1.as_slice();
        let [own, others] =
            [sums(&convolution, numbers_of(0), numbers_of(1)), sums(&other, numbers_of(2), numbers_of(3))];
        let digits = match scalar {
            Scalar::F32 => 1e-5,
            Scalar::Bf16 => 8e-3,
            _ => 1e-3,
        };
        for (at, found) in numbers(scalar, &found).into_iter().enumerate() {
            let expected = (own[at] + others[at] + numbers_of(4)[at % k] + numbers_of(5)[at % k]).max(0.0);
            assert!((expected - found).abs() <= digits * expected.abs().max(1.0), "{tile} at {at}: {expected} {found}");
        }
    }
}

/// The kernel of `tile` for `convolution` with a row and no negative numbers behind it, and then another one of single pixels, with a row,
/// a residual and an activation.
fn with_chain(convolution: &Convolution, filters: usize, tile: Tile) -> (Generated, Convolution) {
    let [n, k, rows, columns] = convolution.output;
    let next = super::convolution([n, k, rows, columns], [filters, 1, 1], [1, 0, 1], convolution.scalar);
    let ([image, filters, _], [_, next_filters, out]) = (views(convolution), views(&next));
    let next_filters = View { buffer: 2, ..next_filters };
    let row = |buffer, count: usize| View::dense(buffer, convolution.scalar, &[count], &[0]);
    let (first_row, last_row) = (row(3, k), row(4, next.output[1]));
    let (residual, out) = (View { buffer: 5, ..out.clone() }, View { buffer: 6, ..out });
    let behind = epilogue(&out, &[(&last_row, 1)], Some(&residual), Activation::Relu).expect("it broadcasts");
    let finish = behind.function(4).expect("it has no rows");
    let chain = Chain { convolution: &next, filters: &next_filters, bias: Some(&first_row), is_relu: true };
    let (image, filters, joined) = (&image, &filters, Joined::Chain(chain));
    assert!(joined.fits(convolution));
    let kernel = Tiled { convolution, image, filters, filters_are_constant: true, joined, finish }.kernel(tile);
    (kernel.expect("its type has matrix units"), next)
}

#[test]
fn a_chain_of_two_convolutions_is_one_kernel() {
    let cases = [
        // Whole tiles of both; a result of no whole tiles of filters, and pixels that are none either; two parts of the channels.
        (convolution([1, 64, 16, 8], [64, 3, 3], [1, 1, 1], Scalar::F16), 128, halo_grouped(128, 64, 1)),
        (convolution([2, 64, 9, 7], [64, 3, 3], [1, 1, 1], Scalar::Bf16), 104, halo_grouped(64, 64, 1)),
        (convolution([1, 128, 13, 9], [128, 3, 3], [1, 1, 1], Scalar::F16), 256, halo_grouped(64, 128, 1)),
        (convolution([1, 128, 11, 17], [128, 3, 3], [1, 1, 1], Scalar::F16), 144, halo_grouped(128, 128, 1)),
        // Fewer filters than the first one has.
        (convolution([1, 128, 8, 8], [128, 3, 3], [1, 1, 1], Scalar::F16), 40, halo_grouped(64, 128, 1)),
    ];
    for (convolution, filters, tile) in cases {
        let scalar = convolution.scalar;
        let (kernel, next) = with_chain(&convolution, filters, tile);
        let count = |shape: [usize; 4]| shape.iter().product::<usize>();
        let k = convolution.output[1];
        let counts = [convolution.input, convolution.filter, next.filter].map(count);
        let drawn: Vec<(Vec<u8>, Vec<f64>)> = counts
            .into_iter()
            .chain([k, filters, count(next.output)])
            .zip(1..)
            .map(|(n, seed)| drawn(scalar, n, seed))
            .collect();
        let bytes: Vec<Vec<u8>> = drawn.iter().map(|(bytes, _)| bytes.clone()).collect();
        let Some(found) = emulated(&kernel, &bytes, count(next.output) * scalar.bytes()) else {
            println!("skipped: no C++ compiler");
            return;
        };
        let numbers_of = |at: usize| drawn[at].1.as_slice();
        let stored = |x: f64| {
            if scalar == Scalar::F16 { half::f16::from_f64(x).to_f64() } else { half::bf16::from_f64(x).to_f64() }
        };
        let own = sums(&convolution, numbers_of(0), numbers_of(1));
        let own: Vec<f64> =
            own.iter().enumerate().map(|(at, sum)| stored((sum + numbers_of(3)[at % k]).max(0.0))).collect();
        let digits = if scalar == Scalar::Bf16 { 8e-3 } else { 1e-3 };
        let largest = own.iter().fold(0.0, |a, &b| f64::max(a, b));
        for (at, (sum, found)) in sums(&next, &own, numbers_of(2)).into_iter().zip(numbers(scalar, &found)).enumerate()
        {
            let expected = (sum + numbers_of(4)[at % filters] + numbers_of(5)[at]).max(0.0);
            // What is stored in between may be rounded to either side.
            assert!(
                (expected - found).abs() <= digits * expected.abs().max(largest),
                "{tile} at {at}: {expected} {found}"
            );
        }
    }
}

#[test]
fn every_tile_with_a_chain_compiles() {
    if !crate::Library::Nvrtc.is_present() {
        println!("skipped: NVRTC is absent");
        return;
    }
    for (pixels, filters, ..) in halo_groups::TILES {
        let tile = halo_grouped(pixels, filters, 1);
        let convolution = convolution([2, filters, 28, 28], [filters, 3, 3], [1, 1, 1], Scalar::F16);
        let (kernel, _) = with_chain(&convolution, 4 * filters, tile);
        crate::compile(&kernel.source, 90).unwrap_or_else(|problem| panic!("{tile}: {problem:?}"));
    }
}

#[test]
fn every_tile_with_a_shortcut_compiles() {
    if !crate::Library::Nvrtc.is_present() {
        println!("skipped: NVRTC is absent");
        return;
    }
    let types = [Scalar::F16, Scalar::Bf16, Scalar::F32];
    let tiles = WARPS.into_iter().zip([8, 2, 1, 4]).flat_map(|((pixels, filters, ..), parts)| {
        [80, 90, 120]
            .into_iter()
            .zip(types)
            .map(move |(device, scalar)| (gathered(pixels, filters, parts), device, scalar))
    });
    let groups = GROUPS.into_iter().zip([1, 2, 4, 1, 1, 1]);
    let groups = groups.map(|((pixels, filters, ..), parts)| (grouped(pixels, filters, parts), 90, Scalar::F16));
    for (tile, architecture, scalar) in tiles.chain(groups) {
        let convolution = convolution([2, 64, 14, 14], [96, 1, 1], [1, 0, 1], scalar);
        let kernel = with_shortcut(&convolution, &shortcut_of(&convolution, 128, 2), tile);
        crate::compile(&kernel.source, architecture).unwrap_or_else(|problem| panic!("{tile}: {problem:?}"));
    }
}
