//! Tiles whose pixels are brought once for all taps and multiplied by groups of warps: how they lie in shared memory, and which of them
//! are worth timing.

use super::{BANDWIDTH, By, PARTS, Row, STEP, Tile};
use crate::convolution::Convolution;
use crate::driver::{PROCESSOR_SHARED_BYTES, PROCESSORS};

pub(super) const TILES: [Row; 5] =
    [(64, 64, [4, 1], 5), (64, 128, [4, 1], 4), (128, 64, [8, 1], 6), (128, 128, [8, 1], 4), (256, 64, [16, 1], 4)];
/// Bytes of shared memory so that a processor has room for two blocks.
const BYTES: usize = 112 << 10;
/// The same where there are so few blocks that each has a processor for itself.
const ALONE_BYTES: usize = 200 << 10;
/// Steps of the depth that are on their way or in use at once: one on its way, and two that are multiplied.
const FEWEST_STAGES: usize = 3;
const MOST_STAGES: usize = 8;
/// Bytes of a chunk, what a thread copies at a time.
const CHUNK: usize = 16;

// As in `tile.rs`, fitted to times of all tiles of this kind on an H100.
/// Bytes in a second that one processor brings.
const BROUGHT: f64 = 5e10;
/// Bytes of both operands that one processor multiplies with each other in a second.
const MULTIPLIED: f64 = 3e12;
/// Seconds until a step has come.
const LATENCY: f64 = 6e-7;
/// Seconds that each doubling of the parts takes.
const SHARING: f64 = 3e-7;

/// How a tile lies in shared memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Columns of its pixels.
    columns: usize,
    /// From one chunk of the channels to the next, in chunks.
    plane: usize,
    pub(super) stages: usize,
    pub(super) shared_bytes: usize,
    /// Blocks for all pixels, and those among which the depth is divided.
    pub(super) blocks: usize,
    /// Bytes of the pixels of one part of the channels.
    image_bytes: usize,
    /// Parts of the channels, and steps of each.
    n_parts: usize,
    part_steps: usize,
    /// Bytes of the depth that a step multiplies.
    step_bytes: usize,
}

impl Room {
    /// `None` when pixels are not neighbours as such tiles want them, the channels are no whole parts, or there is no room.
    pub(super) fn of(convolution: &Convolution, tile: Tile) -> Option<Self> {
        let [_, channels, tap_rows, tap_columns] = convolution.filter;
        let [n, n_filters, out_rows, out_columns] = convolution.output;
        let (bytes, taps) = (channels * convolution.scalar.bytes(), tap_rows * tap_columns);
        let part = bytes.min(STEP);
        let is_whole = bytes % part == 0 && [32, 64, 128].contains(&part) && tile.parts <= bytes / part;
        let is_near = convolution.strides == [1, 1] && convolution.dilations == [1, 1] && taps > 1;
        if !is_whole || !is_near {
            return None;
        }
        let columns = if tile.pixels < 256 { 8 } else { 16 };
        let rows = tile.pixels / columns;
        let chunks = part / CHUNK;
        // Threads beside each other write the chunks of a pixel, and then of the next: each to banks of its own.
        let halo = (rows + tap_rows - 1) * (columns + tap_columns - 1);
        let plane = (halo - 8 / chunks).next_multiple_of(8) + 8 / chunks;
        let image_bytes = plane * part;
        let n_parts = bytes / part;
        let n_images = n_parts.div_ceil(tile.parts).min(2);
        let step_taps = if taps % (STEP / part) == 0 { STEP / part } else { 1 };
        let part_steps = taps / step_taps;
        let blocks = n * out_rows.div_ceil(rows) * out_columns.div_ceil(columns) * tile.parts;
        let all_blocks = blocks * n_filters.div_ceil(tile.filters);
        let (usual, stage_bytes) = (tile.row()?.3, tile.filters * STEP);
        let fit = |bytes: usize| bytes.saturating_sub(n_images * image_bytes) / stage_bytes;
        let stages = if all_blocks <= PROCESSORS { fit(ALONE_BYTES).min(MOST_STAGES) } else { fit(BYTES).min(usual) };
        // The pixels of the next part have come when its first step is due.
        let stages = if n_images > 1 { stages.min(part_steps + 1) } else { stages };
        let shared_bytes = n_images * image_bytes + stages * stage_bytes;
        let (step_bytes, room) = (step_taps * part, stages >= FEWEST_STAGES);
        let found = Self { columns, plane, stages, shared_bytes, blocks, image_bytes, n_parts, part_steps, step_bytes };
        room.then_some(found)
    }

    pub(super) fn defines(self) -> String {
        format!("#define TILE_COLUMNS {}\n#define PLANE {}\n", self.columns, self.plane)
    }

    /// Seconds, about.
    fn seconds(self, convolution: &Convolution, tile: Tile) -> f64 {
        let blocks = self.blocks * convolution.output[1].div_ceil(tile.filters);
        let n_parts = self.n_parts.div_ceil(tile.parts);
        let n_steps = n_parts * self.part_steps;
        let brought = (n_parts * self.image_bytes + n_steps * tile.filters * self.step_bytes) as f64;
        let multiplied = (n_steps * tile.pixels * tile.filters * self.step_bytes) as f64 / MULTIPLIED;
        // Blocks beside each other on a processor share it, and wait together.
        let beside = (PROCESSOR_SHARED_BYTES / self.shared_bytes).clamp(1, blocks.div_ceil(PROCESSORS));
        let rounds = blocks.div_ceil(PROCESSORS * beside) as f64;
        let waited = n_steps as f64 * LATENCY / (self.stages - 2) as f64;
        let all = rounds * (beside as f64 * (brought / BROUGHT).max(multiplied)).max(waited);
        all.max(blocks as f64 * brought / BANDWIDTH[0]) + SHARING * (tile.parts as f64).log2()
    }
}

/// The tiles of this kind, those first that are estimated to take the least time.
pub(super) fn all(convolution: &Convolution) -> Vec<Tile> {
    let mut all: Vec<(f64, Tile)> = TILES
        .iter()
        .flat_map(|&(pixels, filters, ..)| PARTS.map(|parts| Tile { pixels, filters, parts, by: By::HaloGroups }))
        .filter_map(|tile| Some((Room::of(convolution, tile)?.seconds(convolution, tile), tile)))
        .collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    all.into_iter().map(|(_, tile)| tile).collect()
}
