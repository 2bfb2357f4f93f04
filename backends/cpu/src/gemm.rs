//! Matrix multiplication in f32, and through it convolution: `out[m, n] = sum_k left[m, k] * right[k, n]`.
//!
//! The right side is packed once into panels of a few vectors' width. The left side is never copied: a row of it is a
//! list of contiguous [`Run`]s of one slice, at an offset that depends on the row. A matrix is one run per row; a
//! convolution over channels-last data is one run per line of the window.
//!
//! A register tile is `MR` rows by `NV` vectors. Its accumulators, the `NV` vectors of the panel and one broadcast fit
//! the register file, and a panel's block of `k` fits half of a second-level cache.

use crate::epilogue::Epilogue;
use crate::simd::{AlignedBuffer, Arch, MAX_LANES, Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// Vectors in the widest panel.
const MAX_VECTORS: usize = 4;
/// Columns in the widest panel.
const MAX_WIDTH: usize = MAX_LANES * MAX_VECTORS;
/// Rows of the tallest register tile.
const MAX_ROWS: usize = 8;
/// Steps of `k` that are accumulated in registers before the tile is written.
const BLOCK: usize = 768;
/// Rows that one task works on: their block of `k` stays in the second-level cache while all panels pass.
const ROWS_PER_TASK: usize = 96;
/// Products below which a task is not worth waking a thread.
const PRODUCTS_PER_TASK: usize = 1 << 18;

/// The packed right side of a multiplication, for one or several groups of columns.
#[derive(Debug)]
pub struct Packed {
    groups: usize,
    depth: usize,
    columns: usize,
    vectors: usize,
    lanes: usize,
    panels: AlignedBuffer,
}

impl Packed {
    /// Packs `groups` matrices of `depth` by `columns`. `fill(group, columns, width, panel)` writes the panel of some
    /// columns: row `k` starts at `k * width`.
    pub fn new(
        groups: usize,
        depth: usize,
        columns: usize,
        fill: impl Fn(usize, Range<usize>, usize, &mut [f32]) + Sync,
    ) -> Self {
        let (lanes, registers) = machine();
        let vectors = panel_vectors(columns, lanes, registers);
        let width = vectors * lanes;
        let per_group = columns.div_ceil(width);
        let mut panels = AlignedBuffer::zeroed(groups * per_group * depth * width);
        if depth * width > 0 {
            panels.par_chunks_mut(depth * width).enumerate().for_each(|(panel_at, panel)| {
                let (group, first) = (panel_at / per_group, panel_at % per_group * width);
                fill(group, first..columns.min(first + width), width, panel);
            });
        }
        Self { groups, depth, columns, vectors, lanes, panels }
    }

    /// Columns of all groups together: the width of the output.
    pub fn n_columns(&self) -> usize {
        self.groups * self.columns
    }

    /// Steps of `k`.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Elements that the panels take, padding included.
    pub fn len(&self) -> usize {
        self.panels.len()
    }

    /// True when the matrix has no element.
    pub fn is_empty(&self) -> bool {
        self.panels.is_empty()
    }

    fn width(&self) -> usize {
        self.vectors * self.lanes
    }

    fn panels_per_group(&self) -> usize {
        self.columns.div_ceil(self.width())
    }
}

/// A contiguous piece of a row of the left side: `len` elements from `offset` after the start of the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Elements between the start of the row and the run.
    pub offset: usize,
    /// Elements in the run.
    pub len: usize,
}

/// Where each row of the left side starts.
#[derive(Clone, Copy, Debug)]
pub enum Starts<'a> {
    /// Row `m` starts at `m * stride`.
    Strided(usize),
    /// Row `m` starts at the `m`-th entry.
    Listed(&'a [usize]),
}

impl Starts<'_> {
    #[inline(always)]
    fn at(&self, row: usize) -> usize {
        match self {
            Starts::Strided(stride) => row * stride,
            Starts::Listed(starts) => starts[row],
        }
    }
}

/// The left side: rows that are read in place.
#[derive(Clone, Copy, Debug)]
pub struct Left<'a> {
    /// The elements.
    pub data: &'a [f32],
    /// Number of rows.
    pub n_rows: usize,
    /// Start of each row.
    pub starts: Starts<'a>,
    /// The pieces of a row, the same for all rows; their lengths add up to the depth of the right side.
    pub runs: &'a [Run],
    /// What each group of columns adds to the start of the row.
    pub group_stride: usize,
}

/// Multiplies and applies `epilogue`. `out` is row-major, `left.n_rows` by `right.n_columns()`.
///
/// # Panics
/// When the lengths of `out`, of the runs, or of the epilogue's operands do not fit: shapes are the caller's to check.
pub fn multiply(left: &Left<'_>, right: &Packed, epilogue: &Epilogue<'_>, out: &mut [f32]) {
    let n_columns = right.n_columns();
    assert_eq!(out.len(), left.n_rows * n_columns, "the output has one element per row and column");
    assert_eq!(left.runs.iter().map(|run| run.len).sum::<usize>(), right.depth, "the runs cover the depth");
    epilogue.check(n_columns, out.len());
    if out.is_empty() {
        return;
    }
    let blocks = blocks(left.runs);
    let n_panels = right.groups * right.panels_per_group();
    // Several tasks a thread, so that one that is held up does not hold up all; but none of trifling size.
    let products = left.n_rows.saturating_mul(n_columns).saturating_mul(right.depth);
    let wanted = (products / PRODUCTS_PER_TASK).clamp(1, 4 * rayon::current_num_threads());
    let n_chunks = left.n_rows.div_ceil(ROWS_PER_TASK);
    // Few rows: the columns are divided too, and a thread reads only its part of the right side.
    let n_parts = if n_chunks >= wanted { 1 } else { n_panels.min(wanted.div_ceil(n_chunks)) };
    let rows_per_chunk = left.n_rows.div_ceil(n_chunks);

    let mut tasks = Vec::with_capacity(n_chunks * n_parts);
    for (chunk_at, chunk) in out.chunks_mut(rows_per_chunk * n_columns).enumerate() {
        let first_row = chunk_at * rows_per_chunk;
        let mut parts: Vec<Task<'_>> = (0..n_parts)
            .map(|part| {
                let panels = part * n_panels / n_parts..(part + 1) * n_panels / n_parts;
                Task {
                    left,
                    right,
                    epilogue,
                    blocks: &blocks,
                    first_row,
                    panels,
                    rows: Vec::with_capacity(rows_per_chunk),
                }
            })
            .collect();
        for mut row in chunk.chunks_mut(n_columns) {
            let mut column = 0;
            for part in &mut parts {
                let end = right.first_column(part.panels.end);
                let (mine, rest) = row.split_at_mut(end - column);
                part.rows.push(mine);
                row = rest;
                column = end;
            }
        }
        tasks.append(&mut parts);
    }
    if wanted == 1 {
        tasks.into_iter().for_each(|task| Arch::new().dispatch(task));
    } else {
        tasks.into_par_iter().for_each(|task| Arch::new().dispatch(task));
    }
}

impl Packed {
    /// The output column at which panel `panel_at` starts.
    fn first_column(&self, panel_at: usize) -> usize {
        let per_group = self.panels_per_group();
        panel_at / per_group * self.columns + (panel_at % per_group * self.width()).min(self.columns)
    }
}

/// Cuts the runs into blocks of at most [`BLOCK`] steps; long runs are cut too.
fn blocks(runs: &[Run]) -> Vec<Vec<Run>> {
    let mut blocks = vec![Vec::new()];
    let mut filled = 0;
    for run in runs {
        // Equal pieces: a short last piece would write and read the tile for little work.
        let n_pieces = run.len.div_ceil(BLOCK).max(1);
        for piece in 0..n_pieces {
            let (from, to) = (piece * run.len / n_pieces, (piece + 1) * run.len / n_pieces);
            if filled + (to - from) > BLOCK && filled > 0 {
                blocks.push(Vec::new());
                filled = 0;
            }
            filled += to - from;
            if let Some(block) = blocks.last_mut() {
                block.push(Run { offset: run.offset + from, len: to - from });
            }
        }
    }
    blocks
}

/// Some rows of the output and some panels of columns.
struct Task<'a> {
    left: &'a Left<'a>,
    right: &'a Packed,
    epilogue: &'a Epilogue<'a>,
    blocks: &'a [Vec<Run>],
    first_row: usize,
    panels: Range<usize>,
    /// The part of each output row that belongs to `panels`.
    rows: Vec<&'a mut [f32]>,
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match (S::REGISTER_COUNT >= 32, self.right.vectors) {
            (true, 4) => self.run::<S, 6, 4>(simd),
            (true, 3) => self.run::<S, 8, 3>(simd),
            (true, 2) => self.run::<S, 8, 2>(simd),
            (false, 2) => self.run::<S, 6, 2>(simd),
            (_, 1) => self.run::<S, 8, 1>(simd),
            _ => unreachable!("`panel_vectors` chooses among these widths"),
        }
    }
}

impl Task<'_> {
    #[inline(always)]
    fn run<S: Simd, const MR: usize, const NV: usize>(mut self, simd: S) {
        let right = self.right;
        let width = right.width();
        let per_group = right.panels_per_group();
        let panel_len = right.depth * width;
        let n_rows = self.rows.len();
        let n_tiles = n_rows.div_ceil(MR);
        let first_column = right.first_column(self.panels.start);
        let mut tile = [[0.0f32; MAX_WIDTH]; MAX_ROWS];
        for panel_at in self.panels.clone() {
            let column = right.first_column(panel_at);
            let count = right.first_column(panel_at + 1) - column;
            let panel = &right.panels[panel_at * panel_len..][..panel_len];
            let group_offset = panel_at / per_group * self.left.group_stride;
            let mut bias = [0.0f32; MAX_WIDTH];
            if let Some(all) = self.epilogue.bias {
                bias[..count].copy_from_slice(&all[column..column + count]);
            }
            let mut k = 0;
            for (block_at, runs) in self.blocks.iter().enumerate() {
                let depth: usize = runs.iter().map(|run| run.len).sum();
                let (weights, _) = S::as_simd_f32s(&panel[k * width..(k + depth) * width]);
                k += depth;
                let last = block_at + 1 == self.blocks.len();
                for tile_at in 0..n_tiles {
                    // Tiles of nearly equal height: a one-row tile would wait for its few accumulators.
                    let (from, to) = (tile_at * n_rows / n_tiles, (tile_at + 1) * n_rows / n_tiles);
                    let rows = &mut self.rows[from..to];
                    let mut starts = [0; MAX_ROWS];
                    for (at, start) in starts[..to - from].iter_mut().enumerate() {
                        *start = self.left.starts.at(self.first_row + from + at) + group_offset;
                    }
                    let columns = column - first_column..column - first_column + count;
                    if block_at == 0 {
                        tile[..to - from].fill(bias);
                    } else {
                        for (line, row) in tile.iter_mut().zip(rows.iter()) {
                            line[..count].copy_from_slice(&row[columns.clone()]);
                        }
                    }
                    let data = self.left.data;
                    match to - from {
                        1 => accumulate::<S, 1, NV>(simd, data, &starts, runs, weights, &mut tile),
                        2 => accumulate::<S, 2, NV>(simd, data, &starts, runs, weights, &mut tile),
                        3 => accumulate::<S, 3, NV>(simd, data, &starts, runs, weights, &mut tile),
                        4 => accumulate::<S, 4, NV>(simd, data, &starts, runs, weights, &mut tile),
                        5 => accumulate::<S, 5, NV>(simd, data, &starts, runs, weights, &mut tile),
                        6 => accumulate::<S, 6, NV>(simd, data, &starts, runs, weights, &mut tile),
                        7 if MR > 6 => accumulate::<S, 7, NV>(simd, data, &starts, runs, weights, &mut tile),
                        _ if MR > 6 => accumulate::<S, 8, NV>(simd, data, &starts, runs, weights, &mut tile),
                        _ => unreachable!("a tile has at most {MR} rows"),
                    }
                    for (at, row) in rows.iter_mut().enumerate() {
                        let part = &mut row[columns.clone()];
                        part.copy_from_slice(&tile[at][..count]);
                        if last {
                            let out_at = (self.first_row + from + at) * right.n_columns() + column;
                            self.epilogue.finish(simd, out_at, column, part);
                        }
                    }
                }
            }
        }
    }
}

/// Adds the products of one block of `k` to the first `MR` lines of `tile`.
#[inline(always)]
fn accumulate<S: Simd, const MR: usize, const NV: usize>(
    simd: S,
    data: &[f32],
    starts: &[usize; MAX_ROWS],
    runs: &[Run],
    weights: &[S::f32s],
    tile: &mut [[f32; MAX_WIDTH]; MAX_ROWS],
) {
    let (weights, _) = pulp::as_arrays::<NV, _>(weights);
    let mut sums = [[simd.splat_f32s(0.0); NV]; MR];
    for m in 0..MR {
        let (line, _) = S::as_simd_f32s(&tile[m]);
        sums[m].copy_from_slice(&line[..NV]);
    }
    let mut first = 0;
    for run in runs {
        let weights = &weights[first..first + run.len];
        let mut rows: [&[f32]; MR] = [&[]; MR];
        for m in 0..MR {
            rows[m] = &data[starts[m] + run.offset..][..run.len];
        }
        for k in 0..run.len {
            let w = weights[k];
            for m in 0..MR {
                let x = simd.splat_f32s(rows[m][k]);
                for v in 0..NV {
                    sums[m][v] = simd.mul_add_e_f32s(x, w[v], sums[m][v]);
                }
            }
        }
        first += run.len;
    }
    for m in 0..MR {
        let (line, _) = S::as_mut_simd_f32s(&mut tile[m]);
        line[..NV].copy_from_slice(&sums[m]);
    }
}

/// Lanes of an f32 vector and number of vector registers of this machine.
fn machine() -> (usize, usize) {
    struct Query;
    impl WithSimd for Query {
        type Output = (usize, usize);
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> (usize, usize) {
            (S::F32_LANES, S::REGISTER_COUNT)
        }
    }
    Arch::new().dispatch(Query)
}

/// Vectors per panel: little padding first, then a wide tile, which needs fewer loads per product.
fn panel_vectors(columns: usize, lanes: usize, registers: usize) -> usize {
    let candidates: &[(usize, f64)] =
        if registers >= 32 { &[(4, 1.0), (3, 1.0), (2, 1.1), (1, 1.5)] } else { &[(2, 1.0), (1, 1.4)] };
    let cost = |&(vectors, per_product): &(usize, f64)| {
        (columns.div_ceil(vectors * lanes) * vectors * lanes) as f64 * per_product
    };
    candidates.iter().min_by(|a, b| cost(a).total_cmp(&cost(b))).map_or(1, |&(vectors, _)| vectors)
}
