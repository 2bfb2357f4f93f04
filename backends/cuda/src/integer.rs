//! Convolutions and products of 8-bit integers by a kernel of ours: matrix units, and whatever follows element by element in registers.

use crate::convolution::Convolution;
use crate::driver::Launch;
use crate::region::{Generated, Region};
use crate::view::View;
use std::fmt::Write;

/// Filters of a tile.
const FILTERS: usize = 64;
/// Tiles that keep the processors of a large device busy.
const MOST_SMALL_TILES: usize = 264;

/// The kernel that computes `convolution` of `image` and `filters`, and `behind` of its sums: the first operand of that region, which
/// lie as the image does, channels last. `None` when operands are not aligned, or there are too many elements.
pub(crate) fn kernel(convolution: &Convolution, image: &View, filters: &View, behind: &Region) -> Option<Generated> {
    let finish = behind.function()?;
    let [_, channels, rows, columns] = convolution.input;
    let [n, n_filters, out_rows, out_columns] = convolution.output;
    let [_, _, tap_rows, tap_columns] = convolution.filter;
    let pixels = n * out_rows * out_columns;
    let tiles = |per_tile: usize| pixels.div_ceil(32 * per_tile) * n_filters.div_ceil(FILTERS);
    // Half a tile each where whole ones would leave processors without work.
    let per_tile = if tiles(4) < MOST_SMALL_TILES { 2 } else { 4 };
    let is_aligned = image.offset % 16 == 0 && filters.offset == 0 && channels % 16 == 0;
    if !is_aligned || pixels * n_filters >= 1 << 31 || pixels == 0 {
        return None;
    }
    let mut source = finish.source;
    for (name, number) in [
        ("PIXEL_TILES", per_tile),
        ("PIXELS", pixels),
        ("FILTERS", n_filters),
        ("CHANNELS", channels),
        ("IN_ROWS", rows),
        ("IN_COLUMNS", columns),
        ("OUT_ROWS", out_rows),
        ("OUT_COLUMNS", out_columns),
        ("TAP_ROWS", tap_rows),
        ("TAP_COLUMNS", tap_columns),
        ("STEP_DOWN", convolution.strides[0]),
        ("STEP_ACROSS", convolution.strides[1]),
        ("PAD_TOP", convolution.pads[0]),
        ("PAD_LEFT", convolution.pads[1]),
        ("DILATE_ROWS", convolution.dilations[0]),
        ("DILATE_COLUMNS", convolution.dilations[1]),
        ("IMAGE_OFFSET", image.offset),
    ] {
        let _ = writeln!(source, "#define {name} {number}");
    }
    source.push_str(include_str!("integer.cuh"));
    let grid = [pixels.div_ceil(32 * per_tile), n_filters.div_ceil(FILTERS)];
    Some(Generated {
        source,
        name: "region",
        launch: Launch {
            grid: [u32::try_from(grid[0]).ok()?, u32::try_from(grid[1]).ok().filter(|&blocks| blocks < 1 << 16)?],
            threads: 128,
            shared_bytes: 0,
        },
        parameters: [image.buffer, filters.buffer].into_iter().chain(finish.parameters).collect(),
    })
}
