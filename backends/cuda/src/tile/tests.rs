//! The kernels run on the host, a thread for each thread of a block, and NVRTC compiles them for three architectures.

use super::*;
use crate::depthwise::PACKS;
use crate::product::Activation;
use crate::region::{Input, Made, Operand, PRELUDE, Region, Value};
use crate::view::{Class, channels_last};
use crate::ways::epilogue;
use std::collections::BTreeMap;
use std::process::Command;

mod joined;

const HOST: &str = include_str!("../../tests/emulated.hpp");

/// What `tests/emulated.hpp` needs to know of the kernel, and a program that reads its operands from files and writes its result.
const PROGRAM: &str = r#"
typedef Kind<ELEMENTS>::sum_t sum_t;
inline void multiply(sum_t (&sums)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) { multiply_as<Kind<ELEMENTS>::element_t>(sums, a, b0, b1); }
template <int N> void multiply_group(sum_t (&sums)[1][N][4], const unsigned char* memory, unsigned pixels_at, unsigned filters_at) {
  begin_group(sums);
  for (unsigned at = 0; at < 128; at += 32) multiply_described(sums, described(memory, pixels_at + at), described(memory, filters_at + at));
}
template <int N> void multiplied(sum_t (&sums)[1][N][4]) { multiplied_but<Kind<ELEMENTS>::element_t>(sums, 0); }
template <int N> void multiplied_before(sum_t (&sums)[1][N][4]) { multiplied_but<Kind<ELEMENTS>::element_t>(sums, 1); }
#define packed packed_as<Kind<ELEMENTS>::element_t>
inline void leave(sum_t* to, unsigned row, const sum_t (&sums)[4]) {
  const unsigned lane = threadIdx.x % 32;
  for (unsigned c = 0; c < 4; ++c) to[(lane / 4 + 8 * (c / 2)) * row + lane % 4 * 2 + c % 2] = sums[c];
}
template <typename T> T of_block(const void* at, unsigned other) {
  T value;
  memcpy(&value, this_cluster->blocks[(blockIdx.x + other) % SPLIT]->begin() + ((const unsigned char*)at - this_block->begin()), sizeof value);
  return value;
}
"#;

/// The same for a kernel without matrix units or clusters.
const ALONE: &str = "#define SPLIT 1\n";

/// `kernel` on `operands`, those of its parameters but for the last; that one's bytes. `None` without a C++ compiler.
pub(crate) fn emulated(kernel: &Generated, operands: &[Vec<u8>], out_bytes: usize) -> Option<Vec<u8>> {
    let scratch = tempfile::tempdir().expect("a directory");
    let at = |name: &str| scratch.path().join(name);
    let (_, rest) = kernel.source.split_once(PRELUDE).expect("it begins with the prelude");
    let (finish, between, tile) = match rest.split_once(include_str!("../matrix.cuh")) {
        Some((finish, tile)) => (finish, PROGRAM, tile),
        None => rest.split_once(PACKS).map_or((rest, ALONE, ""), |(finish, kernel)| (finish, ALONE, kernel)),
    };
    let n = operands.len();
    let types: Vec<String> =
        (0..=n).map(|at| format!("(decltype(argument<{at}>(region)))buffers[{at}].data()")).collect();
    let main = format!(
        r#"
template <int AT, typename... T> std::tuple_element_t<AT, std::tuple<T...>> argument(void (*)(T...));
int main(int, char** names) {{
  std::vector<std::vector<uint4>> buffers;
  for (int at = 0; at <= {n}; ++at) {{
    FILE* file = fopen(names[at + 1], "rb");
    fseek(file, 0, SEEK_END);
    const size_t size = ftell(file);
    buffers.emplace_back(size / 16 + 1);
    rewind(file);
    if (fread(buffers.back().data(), 1, size, file) != size) return 1;
    fclose(file);
  }}
  run({}, {}, SPLIT, {}, {}, [&] {{ region({}); }});
  FILE* file = fopen(names[{}], "wb");
  if (fwrite(buffers.back().data(), 1, {out_bytes}, file) != {out_bytes}) return 1;
  return fclose(file);
}}"#,
        kernel.launch.grid[0],
        kernel.launch.grid[1],
        kernel.launch.threads,
        kernel.launch.shared_bytes,
        types.join(", "),
        n + 1,
    );
    std::fs::write(at("host.cpp"), [HOST, "#include <tuple>\n", finish, between, tile, &main].concat())
        .expect("written");
    let (flags, program) = (["-std=c++20", "-O1", "-w", "-pthread", "-o"], at("host"));
    let compiled = Command::new("c++").args(flags).arg(&program).arg(at("host.cpp")).output().ok()?;
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let blank = vec![0xff; out_bytes];
    let files = operands.iter().chain([&blank]).enumerate().map(|(number, bytes)| {
        let path = at(&number.to_string());
        std::fs::write(&path, bytes).expect("written");
        path
    });
    let files: Vec<_> = files.collect();
    assert!(Command::new(program).args(&files).status().expect("it starts").success());
    Some(std::fs::read(&files[n]).expect("a result"))
}

/// Numbers between -1 and 1, as they are stored, and what is stored.
pub(crate) fn drawn(scalar: Scalar, n: usize, seed: u64) -> (Vec<u8>, Vec<f64>) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::new();
    for _ in 0..n {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number = ((state >> 40) as f32 / (1 << 23) as f32) - 1.0;
        match scalar {
            Scalar::F16 => bytes.extend(half::f16::from_f32(number).to_le_bytes()),
            Scalar::Bf16 => bytes.extend(half::bf16::from_f32(number).to_le_bytes()),
            Scalar::I8 => bytes.push((number * 127.0) as i8 as u8),
            // Codes up to that of one.
            Scalar::Narrow(_) => bytes.push(u8::from(number < 0.0) << 7 | (number.abs() * 56.0) as u8),
            _ => bytes.extend(number.to_le_bytes()),
        }
    }
    let stored = numbers(scalar, &bytes);
    (bytes, stored)
}

pub(crate) fn numbers(scalar: Scalar, bytes: &[u8]) -> Vec<f64> {
    crate::check::numbers(scalar, bytes).collect()
}

fn gathered(pixels: usize, filters: usize, parts: usize) -> Tile {
    Tile { pixels, filters, parts, by: By::Warps }
}

fn grouped(pixels: usize, filters: usize, parts: usize) -> Tile {
    Tile { pixels, filters, parts, by: By::Groups }
}

fn with_halo(pixels: usize) -> Tile {
    Tile { pixels, filters: 64, parts: 1, by: By::Halo }
}

fn halo_grouped(pixels: usize, filters: usize, parts: usize) -> Tile {
    Tile { pixels, filters, parts, by: By::HaloGroups }
}

/// A convolution without a group, its sizes: of the image, of the filters, of steps, padding and distances.
pub(crate) fn convolution(
    input: [usize; 4],
    [k, rows, columns]: [usize; 3],
    [step, pad, far]: [usize; 3],
    scalar: Scalar,
) -> Convolution {
    let [n, c, h, w] = input;
    let size = |size: usize, taps: usize| (size + 2 * pad - far * (taps - 1) - 1) / step + 1;
    let output = [n, k, size(h, rows), size(w, columns)];
    Convolution {
        pads: [pad; 4],
        strides: [step; 2],
        dilations: [far; 2],
        tf32: true,
        ..Convolution::plain(input, [k, c, rows, columns], output, scalar)
    }
}

/// Sums in double precision, channels last.
pub(crate) fn sums(convolution: &Convolution, image: &[f64], filters: &[f64]) -> Vec<f64> {
    let [n, c, h, w] = convolution.input;
    let [k, _, rows, columns] = convolution.filter;
    let [_, _, p, q] = convolution.output;
    let ([down, across], [far_down, far_across]) = (convolution.strides, convolution.dilations);
    let mut sums = Vec::new();
    for at in 0..n * p * q * k {
        let (filter, x, y, n) = (at % k, at / k % q, at / k / q % p, at / k / q / p);
        let mut sum = 0.0;
        for tap in 0..rows * columns {
            let y = (y * down + tap / columns * far_down).checked_sub(convolution.pads[0]).filter(|&y| y < h);
            let x = (x * across + tap % columns * far_across).checked_sub(convolution.pads[1]).filter(|&x| x < w);
            let (Some(y), Some(x)) = (y, x) else { continue };
            for channel in 0..c {
                sum +=
                    image[((n * h + y) * w + x) * c + channel] * filters[(filter * rows * columns + tap) * c + channel];
            }
        }
        sums.push(sum);
    }
    sums
}

fn views(convolution: &Convolution) -> [View; 3] {
    let dense = |buffer, shape: &[usize]| View::dense(buffer, convolution.scalar, shape, &channels_last(4));
    [dense(0, &convolution.input), dense(1, &convolution.filter), dense(4, &convolution.output)]
}

#[test]
fn a_tile_computes_what_a_convolution_is() {
    let shapes = [
        // A window, filters that are no whole tile, parts of the depth that differ.
        (convolution([1, 64, 7, 7], [40, 3, 3], [1, 1, 1], Scalar::F16), gathered(64, 32, 4)),
        (convolution([2, 24, 9, 8], [72, 3, 3], [2, 1, 1], Scalar::Bf16), gathered(64, 64, 2)),
        // Two pixels to a step of the depth, as in a network's first convolution.
        (convolution([1, 16, 18, 17], [64, 4, 4], [1, 0, 1], Scalar::F16), gathered(128, 64, 1)),
        (convolution([1, 256, 7, 7], [66, 1, 1], [1, 0, 1], Scalar::F16), gathered(64, 64, 8)),
        (convolution([1, 32, 9, 9], [132, 3, 3], [1, 2, 2], Scalar::F32), gathered(128, 128, 2)),
        // Groups of warps: a window, steps of two pixels; parts of the depth; filters that are no whole tile.
        (convolution([2, 24, 9, 8], [72, 3, 3], [2, 1, 1], Scalar::Bf16), grouped(64, 64, 2)),
        (convolution([1, 64, 9, 11], [136, 3, 3], [1, 1, 1], Scalar::F16), grouped(128, 128, 1)),
        (convolution([1, 512, 3, 3], [200, 1, 1], [1, 0, 1], Scalar::F16), grouped(64, 128, 4)),
        (convolution([1, 128, 12, 12], [256, 1, 1], [1, 0, 1], Scalar::F16), grouped(128, 256, 1)),
        // Tiles that are whole.
        (convolution([2, 128, 8, 8], [64, 1, 1], [1, 0, 1], Scalar::F16), gathered(128, 64, 2)),
        // Tiles with a halo: parts of 128, 32 and 64 bytes, the first in two parts.
        (convolution([1, 128, 9, 19], [66, 3, 3], [1, 1, 1], Scalar::F16), with_halo(128)),
        (convolution([2, 16, 20, 21], [64, 4, 4], [1, 0, 1], Scalar::Bf16), with_halo(256)),
        (convolution([1, 32, 6, 40], [24, 3, 3], [1, 1, 1], Scalar::F16), with_halo(128)),
        // The same by groups: few channels, several taps to a step, or one of half a row; several parts; parts among blocks.
        (convolution([1, 16, 56, 56], [64, 4, 4], [1, 0, 1], Scalar::F16), halo_grouped(256, 64, 1)),
        (convolution([1, 16, 28, 28], [72, 3, 3], [1, 1, 1], Scalar::Bf16), halo_grouped(128, 64, 1)),
        (convolution([2, 64, 28, 28], [64, 3, 3], [1, 1, 1], Scalar::F16), halo_grouped(128, 64, 1)),
        (convolution([2, 256, 14, 14], [40, 3, 3], [1, 1, 1], Scalar::F16), halo_grouped(128, 64, 2)),
        (convolution([2, 512, 7, 7], [72, 3, 3], [1, 1, 1], Scalar::F16), halo_grouped(64, 64, 4)),
        (convolution([2, 320, 7, 7], [136, 3, 3], [1, 1, 1], Scalar::F16), halo_grouped(64, 128, 2)),
        (convolution([2, 128, 13, 9], [66, 3, 3], [1, 1, 1], Scalar::Bf16), halo_grouped(64, 64, 1)),
        (convolution([1, 192, 13, 9], [200, 3, 3], [1, 0, 1], Scalar::F16), halo_grouped(128, 128, 1)),
        (convolution([1, 192, 19, 17], [64, 3, 3], [1, 2, 1], Scalar::F16), halo_grouped(256, 64, 1)),
        (convolution([2, 192, 9, 10], [48, 1, 2], [1, 0, 1], Scalar::F16), halo_grouped(64, 64, 1)),
    ];
    for (number, (convolution, tile)) in shapes.into_iter().enumerate() {
        let scalar = convolution.scalar;
        let [image, filters, out] = views(&convolution);
        let [_, k, ..] = convolution.output;
        let bias = View::dense(2, scalar, &[k], &[0]);
        let residual = View { buffer: 3, ..out.clone() };
        let activation = [Activation::Relu, Activation::Gelu, Activation::None][number % 3];
        let behind = epilogue(&out, &[(&bias, 1)], Some(&residual), activation).expect("it broadcasts");
        let finish = behind.function(if k % 4 == 0 { 4 } else { 2 }).expect("it has no rows");
        let tiled = Tiled {
            convolution: &convolution,
            image: &image,
            filters: &filters,
            filters_are_constant: true,
            joined: Joined::Nothing,
            finish,
        };
        let kernel = tiled.kernel(tile).expect("its type has matrix units");
        let operands: Vec<(Vec<u8>, Vec<f64>)> = [&image, &filters, &bias, &residual]
            .iter()
            .enumerate()
            .map(|(seed, view)| drawn(scalar, view.count(), seed as u64 + 1))
            .collect();
        let bytes: Vec<Vec<u8>> = operands.iter().map(|(bytes, _)| bytes.clone()).collect();
        let Some(found) = emulated(&kernel, &bytes, out.count() * scalar.bytes()) else {
            println!("skipped: no C++ compiler");
            return;
        };
        let found = numbers(scalar, &found);
        let sums = sums(&convolution, &operands[0].1, &operands[1].1);
        let digits = if scalar == Scalar::F32 {
            1e-5
        } else if scalar == Scalar::Bf16 {
            8e-3
        } else {
            1e-3
        };
        for (at, (sum, found)) in sums.iter().zip(&found).enumerate() {
            let sum = sum + operands[2].1[at % k] + operands[3].1[at];
            let expected = match activation {
                Activation::Relu => sum.max(0.0),
                Activation::Gelu => 0.5 * sum * (1.0 + erf(sum / std::f64::consts::SQRT_2)),
                _ => sum,
            };
            assert!((expected - found).abs() <= digits * expected.abs().max(1.0), "{tile} at {at}: {expected} {found}");
        }
    }
}

/// The error function by its series, for arguments of ordinary size.
fn erf(x: f64) -> f64 {
    if x.abs() > 5.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

/// Sums of quantized numbers, stored as `sum`, as float32.
fn converted(out: &View, sum: Scalar) -> Region {
    let out = View { scalar: Scalar::F32, ..out.clone() };
    let value = |made, class| Value { made, class, is_row: false };
    Region {
        shape: out.shape.clone(),
        n_column_axes: 0,
        operands: vec![Operand { view: View { scalar: sum, ..out.clone() }, lookup: None }],
        values: vec![
            value(Made::Load(0), sum.class()),
            value(Made::Expression("((float)$0)".into(), vec![Input::Register(0)]), Class::Real),
        ],
        stores: vec![(1, out.clone())],
    }
}

#[test]
fn sums_of_quantized_numbers_are_exact() {
    let float8 = Scalar::Narrow(Narrow::E4m3Fn);
    let cases = [(Scalar::I8, gathered(64, 32, 2)), (Scalar::I8, grouped(64, 64, 1)), (float8, grouped(64, 64, 2))];
    // One tap of 64 bytes to a step.
    let cases = cases.map(|(scalar, tile)| (scalar, tile, 48));
    let with_halos = [
        (Scalar::I8, halo_grouped(64, 64, 1), 64),
        (Scalar::I8, halo_grouped(128, 64, 2), 256),
        // Pixels of a third part take the place of those of the first.
        (float8, halo_grouped(64, 128, 1), 384),
    ];
    for (scalar, tile, channels) in cases.into_iter().chain(with_halos) {
        let convolution = convolution([1, channels, 6, 5], [32, 3, 3], [1, 1, 1], scalar);
        let [image, filters, out] = views(&convolution);
        let behind = converted(&out, if scalar == Scalar::I8 { Scalar::I32 } else { Scalar::F32 });
        let finish = behind.function(4).expect("it has no rows");
        let tiled = Tiled {
            convolution: &convolution,
            image: &image,
            filters: &filters,
            filters_are_constant: false,
            joined: Joined::Nothing,
            finish,
        };
        let kernel = tiled.kernel(tile).expect("bytes have matrix units");
        let [image, filters] = [(&image, 1), (&filters, 2)].map(|(view, seed)| drawn(scalar, view.count(), seed));
        let Some(found) = emulated(&kernel, &[image.0, filters.0], out.count() * 4) else { return };
        // Few digits of float8 add up exactly in float32.
        assert_eq!(numbers(Scalar::F32, &found), sums(&convolution, &image.1, &filters.1), "{tile}");
    }
}

#[test]
fn every_tile_compiles_for_every_type() {
    if !crate::Library::Nvrtc.is_present() {
        println!("skipped: NVRTC is absent");
        return;
    }
    let types = [Scalar::F16, Scalar::Bf16, Scalar::F32];
    let halos = [(Scalar::F16, with_halo(256)), (Scalar::Bf16, with_halo(128))];
    let groups = GROUPS.into_iter().flat_map(|(pixels, filters, ..)| {
        let types = [Scalar::F16, Scalar::Bf16, Scalar::I8, Scalar::Narrow(Narrow::E4m3Fn)];
        types.into_iter().zip([1, 4, 1, 2].map(|parts| grouped(pixels, filters, parts)))
    });
    let halo_groups = halo_groups::TILES.into_iter().flat_map(|(pixels, filters, ..)| {
        let types = [Scalar::F16, Scalar::Bf16, Scalar::I8, Scalar::Narrow(Narrow::E4m3Fn)];
        types.into_iter().zip([1, 2, 1, 1].map(|parts| halo_grouped(pixels, filters, parts)))
    });
    let tiles = WARPS.into_iter().flat_map(|(pixels, filters, ..)| {
        types.into_iter().zip([8, 2, 1].map(|parts| gathered(pixels, filters, parts)))
    });
    for (number, (scalar, tile)) in tiles.chain(halos).chain(groups).chain(halo_groups).enumerate() {
        let convolution = match tile {
            // That of a network's first convolution.
            Tile { by: By::Halo, pixels: 256, .. } => convolution([2, 16, 35, 35], [64, 4, 4], [1, 0, 1], scalar),
            Tile { by: By::HaloGroups, pixels: 256, parts: 1, .. } => {
                convolution([2, 32 / scalar.bytes(), 115, 115], [64, 4, 4], [1, 0, 1], scalar)
            }
            Tile { by: By::HaloGroups, parts, .. } => {
                convolution([2, 64 * parts, 14, 14], [96, 3, 3], [1, 1, 1], scalar)
            }
            _ => convolution([2, 64, 14, 14], [96, 3, 3], [1, 1, 1], scalar),
        };
        let [image, window, out] = views(&convolution);
        let behind = match scalar {
            Scalar::I8 => Some(converted(&out, Scalar::I32)),
            Scalar::Narrow(_) => Some(converted(&out, Scalar::F32)),
            _ => epilogue(&out, &[], Some(&View { buffer: 3, ..out.clone() }), Activation::Relu),
        };
        let finish = behind.and_then(|behind| behind.function(4)).expect("it has no rows");
        let (image, filters) = (&image, &window);
        let tiled = Tiled {
            convolution: &convolution,
            image,
            filters,
            filters_are_constant: true,
            joined: Joined::Nothing,
            finish,
        };
        let kernel = tiled.kernel(tile).expect("its type has matrix units");
        let architecture = if tile.by.is_of_groups() { 90 } else { [80, 90, 120][number % 3] };
        crate::compile(&kernel.source, architecture).unwrap_or_else(|problem| panic!("{tile}: {problem:?}"));
    }
}

#[test]
fn small_results_are_divided_along_the_depth_and_large_ones_are_not() {
    // The convolutions of ResNet-50 with 512 filters at batch 1, and with 64 at batch 32.
    assert!(candidates(49, 512, 72, false)[0].parts > 1);
    assert!(candidates(32 * 56 * 56, 64, 9, false)[0].parts == 1);
    for (pixels, filters, n_steps) in [(49, 512, 72), (1, 1000, 32), (128, 3072, 12), (4, 4, 1)] {
        let found = candidates(pixels, filters, n_steps, true);
        let are_for_all = found.iter().filter(|tile| tile.needs() == Needs::Nothing).count();
        assert!(are_for_all > 0 && found.len() <= 2 * CANDIDATES + 1, "{found:?}");
    }
}

#[test]
fn the_fastest_tile_that_brings_each_pixel_once_is_timed() {
    let f16 = |input, filter, sizes| convolution(input, filter, sizes, Scalar::F16);
    let mut shapes: BTreeMap<[usize; 4], BTreeMap<String, f64>> = BTreeMap::new();
    for line in include_str!("../../../../benches/results/cuda-h100-tiles/halo.jsonl").lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let Some(tile) = line["way"].as_str().and_then(|way| way.strip_prefix("ours ")) else { continue };
        if tile.ends_with("+halo+group") && line["run"] == "fused" {
            let sizes = [0, 1, 2, 3].map(|at| line["input"][at].as_u64().expect("a size") as usize);
            shapes.entry(sizes).or_default().insert(tile.into(), line["us"].as_f64().expect("a time"));
        }
    }
    assert_eq!(shapes.len(), 15);
    for ([n, channels, rows, columns], times) in shapes {
        let convolution = match channels {
            // A network's first convolution, over cells.
            16 => f16([n, channels, rows, columns], [64, 4, 4], [1, 0, 1]),
            _ => f16([n, channels, rows, columns], [channels, 3, 3], [1, 1, 1]),
        };
        let offered: Vec<Tile> = halo_groups::all(&convolution).into_iter().take(CANDIDATES).collect();
        let found = offered.iter().map(|tile| times[&tile.to_string()]).fold(f64::INFINITY, f64::min);
        let fastest = times.values().copied().fold(f64::INFINITY, f64::min);
        assert!(found <= 1.03 * fastest, "{:?}: {found} us, {times:?}", convolution.output);
        for tile in offered {
            let room = halo_groups::Room::of(&convolution, tile).expect("it was offered");
            assert!(room.shared_bytes <= 200 << 10 && room.stages >= 3, "{tile}: {room:?}");
        }
    }
    // Single pixels, steps, gaps, channels that are no whole parts.
    let others = [
        f16([8, 64, 56, 56], [64, 1, 1], [1, 0, 1]),
        f16([8, 64, 56, 56], [64, 3, 3], [2, 1, 1]),
        f16([8, 64, 56, 56], [64, 3, 3], [1, 2, 2]),
        f16([8, 24, 56, 56], [64, 3, 3], [1, 1, 1]),
        f16([8, 96, 56, 56], [64, 3, 3], [1, 1, 1]),
    ];
    assert!(others.iter().all(|convolution| halo_groups::all(convolution).is_empty()));
}

/// What an H100 took for every tile of 57 convolutions and products in float16, in microseconds.
const MEASURED: &str = include_str!("../../../../benches/results/cuda-h100-tiles/ways.jsonl");

#[test]
fn the_fastest_tile_is_among_those_that_are_timed() {
    type Times = BTreeMap<String, f64>;
    let mut shapes: BTreeMap<(String, usize, usize, usize), Times> = BTreeMap::new();
    for line in MEASURED.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let sizes = |name: &str| -> Vec<usize> {
            let all = line[name].as_array().into_iter().flatten();
            all.map(|size| size.as_u64().expect("a size") as usize).collect()
        };
        let (pixels, filters, depth) = match sizes("product")[..] {
            [m, n, k] => (m, n, k),
            _ => {
                let (output, filter) = (sizes("output"), sizes("filter"));
                (output[0] * output[2] * output[3], output[1], filter[1..].iter().product())
            }
        };
        let way = line["way"].as_str().expect("a name");
        if let Some(tile) = way.strip_prefix("ours ").filter(|tile| !tile.ends_with("+halo")) {
            let key = (line["run"].to_string(), pixels, filters, (depth * 2).div_ceil(STEP));
            let least = shapes.entry(key).or_default().entry(tile.to_string()).or_insert(f64::INFINITY);
            *least = least.min(line["us"].as_f64().expect("a time"));
        }
    }
    assert!(shapes.len() > 50, "{}", shapes.len());
    // Over the fastest of all tiles, on the geometric mean, and where it is worst.
    let (mut sum, mut worst) = (0.0f64, 1.0f64);
    for ((_, pixels, filters, n_steps), times) in &shapes {
        let offered = candidates(*pixels, *filters, *n_steps, true);
        let found =
            offered.iter().filter_map(|tile| times.get(&tile.to_string())).copied().fold(f64::INFINITY, f64::min);
        let ratio = found / times.values().copied().fold(f64::INFINITY, f64::min);
        (sum, worst) = (sum + ratio.ln(), worst.max(ratio));
    }
    let mean = (sum / shapes.len() as f64).exp();
    println!("{mean} {worst}");
    assert!(mean < 1.01 && worst < 1.2, "{mean} {worst}");
}
