//! Convolutions and products by kernels of ours: matrix units, and whatever follows element by element before it is written.
//!
//! Libraries have the faster kernel where there is much to do. Where a result is small, what counts is that the depth is divided among
//! blocks without another kernel to add up their parts, and that weights are on their way while the kernel before still runs.

use crate::convolution::Convolution;
use crate::driver::{Launch, PROCESSOR_SHARED_BYTES, PROCESSORS};
use crate::plan::{Needs, Ours};
use crate::region::{Generated, Region};
use crate::view::{Narrow, Scalar, View};
use std::fmt::{self, Display, Write};

mod halo_groups;
mod joined;

pub(crate) use joined::{Chain, Joined, Shortcut};

/// A tile that gathers its operands step by step: how it lies, what brings them, what multiplies and ends.
const TILE: &str = concat!(include_str!("tile.cuh"), include_str!("operands.cuh"), include_str!("multiplied.cuh"));
/// The same of two convolutions into the same sums.
const TILE_WITH_SHORTCUT: &str =
    concat!(include_str!("tile.cuh"), include_str!("shortcut.cuh"), include_str!("multiplied.cuh"));
/// A tile whose pixels are brought once for all taps, by groups: up to its sums, and what makes results of them.
const HALO_GROUPS: &str = concat!(include_str!("halo_groups.cuh"), include_str!("ended.cuh"));
/// The same with another convolution in between.
const HALO_GROUPS_CHAINED: &str = concat!(include_str!("halo_groups.cuh"), include_str!("chained.cuh"));

/// How a result is divided among blocks, and by what it is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    /// Pixels of a block, or rows of a product.
    pixels: usize,
    /// Filters of a block, or columns.
    filters: usize,
    /// Blocks that share a tile, each with a part of the depth; a cluster, which devices have from compute capability 9.0 on.
    parts: usize,
    by: By,
}

/// What multiplies, and where operands are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// Each warp, operands in its registers.
    Warps,
    /// As `Warps`; pixels are brought once for all taps, with those around them.
    Halo,
    /// Four warps together, operands in shared memory.
    Groups,
    /// As `Groups`; pixels are brought once for all taps, with those around them.
    HaloGroups,
}

impl By {
    fn is_of_groups(self) -> bool {
        matches!(self, Self::Groups | Self::HaloGroups)
    }
}

/// Its name among the ways of one result.
impl Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.by {
            By::Warps => "",
            By::Halo => "+halo",
            By::Groups => "+group",
            By::HaloGroups => "+halo+group",
        };
        write!(f, "{}x{}/{}{by}", self.pixels, self.filters, self.parts)
    }
}

/// Pixels and filters of a tile; warps down and across it; steps of the depth that are on their way or in use at once.
type Row = (usize, usize, [usize; 2], usize);
const WARPS: [Row; 4] = [(64, 32, [2, 2], 4), (64, 64, [2, 2], 4), (128, 64, [2, 2], 4), (128, 128, [2, 2], 3)];
const GROUPS: [Row; 6] = [
    (64, 64, [4, 1], 4),
    (64, 128, [4, 1], 4),
    (128, 64, [8, 1], 4),
    (128, 128, [8, 1], 3),
    (128, 192, [8, 1], 5),
    (128, 256, [8, 1], 4),
];
/// Tiles with a halo have no steps of the depth.
const HALOS: [Row; 2] = [(128, 64, [4, 2], 1), (256, 64, [8, 1], 1)];
/// Columns of pixels of a tile with a halo.
const HALO_COLUMNS: usize = 16;
/// Bytes of shared memory for a tile with a halo, so that a processor has room for two blocks.
const HALO_BYTES: usize = 110 << 10;
/// Bytes of shared memory for more steps where there are so few blocks that all run at once; every device has them.
const DEEP_BYTES: usize = 96 << 10;
/// Rows and columns of a result from which on a halo pays.
const LARGE: usize = 28;
/// Blocks that may share a tile.
const PARTS: [usize; 4] = [1, 2, 4, 8];
/// Ways that are worth timing, of each kind.
const CANDIDATES: usize = 3;
/// Bytes of the depth that one step multiplies.
const STEP: usize = 128;
/// Filters that one tile may have all of, so that another convolution of single pixels can follow in the same kernel.
pub(crate) const WHOLE: [usize; 2] = [64, 128];
/// Rows and columns of a window, each.
const MOST_TAPS: usize = 16;
/// Filters of which a thread finishes the results together.
const WIDTH: usize = 4;

// What a large device has, for an estimate that only decides what is timed: fitted to times of all tiles on an H100.
/// Bytes in a second from the second-level cache, of all processors and of one.
const BANDWIDTH: [f64; 2] = [1.1e13, 1e11];
/// Bytes of both operands that one processor multiplies with each other in a second, warp by warp and group by group: one of each
/// for a step of one pixel and filter.
const MULTIPLIED: [f64; 2] = [2.6e12, 4.5e12];
/// Seconds until a step has come.
const LATENCY: f64 = 1.9e-6;
/// Seconds that each doubling of the parts takes.
const SHARING: f64 = 1.3e-6;

impl Tile {
    /// What a device must have to run it.
    fn needs(self) -> Needs {
        match self.by {
            By::Groups | By::HaloGroups => Needs::Groups,
            _ if self.parts > 1 => Needs::Clusters,
            _ => Needs::Nothing,
        }
    }

    /// Its row of the table.
    fn row(self) -> Option<Row> {
        let table: &[Row] = match self.by {
            By::Warps => &WARPS,
            By::Halo => &HALOS,
            By::Groups => &GROUPS,
            By::HaloGroups => &halo_groups::TILES,
        };
        table.iter().copied().find(|row| (row.0, row.1) == (self.pixels, self.filters))
    }

    /// Blocks for a result of so many pixels and filters.
    fn blocks(self, pixels: usize, filters: usize) -> usize {
        pixels.div_ceil(self.pixels) * filters.div_ceil(self.filters) * self.parts
    }

    /// Steps that are on their way or in use at once.
    fn stages(self, usual: usize, blocks: usize) -> usize {
        let fit = DEEP_BYTES / self.stage_bytes();
        if blocks <= 2 * PROCESSORS { usual.max(fit) } else { usual }
    }

    fn stage_bytes(self) -> usize {
        (self.pixels + self.filters) * STEP
    }

    /// Seconds, about.
    fn seconds(self, pixels: usize, filters: usize, n_steps: usize) -> f64 {
        let (blocks, n_steps) = (self.blocks(pixels, filters), n_steps.div_ceil(self.parts));
        let stages = self.row().map_or(2, |row| self.stages(row.3, blocks));
        let multiplied = (self.pixels * self.filters * STEP) as f64 / MULTIPLIED[usize::from(self.by == By::Groups)];
        let step = (self.stage_bytes() as f64 / BANDWIDTH[1]).max(multiplied);
        // Blocks beside each other on a processor share it, and wait together.
        let beside = (PROCESSOR_SHARED_BYTES / (self.stage_bytes() * stages)).clamp(1, blocks.div_ceil(PROCESSORS));
        let rounds = blocks.div_ceil(PROCESSORS * beside) as f64;
        let all = rounds * n_steps as f64 * (beside as f64 * step).max(LATENCY / (stages - 1) as f64);
        let brought = (blocks * self.stage_bytes() * n_steps) as f64 / BANDWIDTH[0];
        all.max(brought) + SHARING * (self.parts as f64).log2()
    }
}

/// The tiles that are worth timing for a result of so many pixels and filters, the depth divided into so many steps; one of them needs
/// nothing that not every device has.
fn candidates(pixels: usize, filters: usize, n_steps: usize, has_groups: bool) -> Vec<Tile> {
    let best = |table: &[Row], by: By| {
        let mut all: Vec<Tile> = table
            .iter()
            .flat_map(|&(pixels, filters, ..)| PARTS.map(|parts| Tile { pixels, filters, parts, by }))
            .filter(|tile| tile.parts == 1 || tile.parts * 2 <= n_steps)
            .collect();
        all.sort_by(|a, b| f64::total_cmp(&a.seconds(pixels, filters, n_steps), &b.seconds(pixels, filters, n_steps)));
        all
    };
    let warps = best(&WARPS, By::Warps);
    let alone = warps.iter().copied().find(|tile| tile.needs() == Needs::Nothing);
    let mut found: Vec<Tile> = warps.into_iter().take(CANDIDATES).collect();
    found.extend(alone.filter(|alone| !found.contains(alone)));
    if has_groups {
        found.extend(best(&GROUPS, By::Groups).into_iter().take(CANDIDATES));
    }
    found
}

/// What is computed, before it is divided into tiles.
struct Tiled<'a> {
    convolution: &'a Convolution,
    image: &'a View,
    filters: &'a View,
    filters_are_constant: bool,
    joined: Joined<'a>,
    /// The function that makes results of sums.
    finish: Generated,
}

/// The kernels that compute `convolution` of an image and filters, and what it is `joined` with, and `behind` of the last sums: the first
/// operand of that region, which lie as the image does, channels last. None when operands are not aligned, or matrix units do not have
/// their type.
pub(crate) fn kernels(
    convolution: &Convolution,
    [image, filters]: [&View; 2],
    joined: Joined,
    filters_are_constant: bool,
    behind: &Region,
) -> Vec<Ours> {
    let [n, n_filters, out_rows, out_columns] = convolution.output;
    let [_, channels, tap_rows, tap_columns] = convolution.filter;
    let pixels = n * out_rows * out_columns;
    let bytes = convolution.scalar.bytes();
    let is_aligned = channels * bytes % 16 == 0 && [image, filters].iter().all(|view| view.offset * bytes % 16 == 0);
    let is_small = pixels * joined.filters(convolution) < 1 << 31 && image.count() * bytes < 1 << 34;
    let is_window = tap_rows <= MOST_TAPS && tap_columns <= MOST_TAPS;
    if !is_aligned
        || !is_small
        || !is_window
        || !joined.fits(convolution)
        || pixels * n_filters == 0
        || convolution.input[1] != channels
    {
        return Vec::new();
    }
    // Neighbours that are finished together are filters of one pixel.
    let most = [WIDTH, 2].into_iter().find(|width| joined.filters(convolution) % width == 0).unwrap_or(1);
    let Some(finish) = behind.function(most) else { return Vec::new() };
    let tiled = Tiled { convolution, image, filters, filters_are_constant, joined, finish };
    let own_steps = (tap_rows * tap_columns * channels * bytes).div_ceil(STEP);
    // Matrix units of groups cut float32 off where tf32 ends instead of rounding it.
    let has_groups = !matches!(convolution.scalar, Scalar::F32);
    let named = |tile: Tile| {
        let name = format!("{tile}{}", joined.name());
        Some(Ours {
            name,
            needs: tile.needs(),
            includes_before: !matches!(joined, Joined::Nothing),
            kernel: tiled.kernel(tile)?,
        })
    };
    let gathered = |n_steps: usize| candidates(pixels, n_filters, n_steps, has_groups);
    match joined {
        Joined::Nothing => {}
        Joined::Shortcut(shortcut) => {
            return gathered(own_steps + shortcut.n_steps()).into_iter().filter_map(named).collect();
        }
        // The filters of the first are one tile.
        Joined::Chain(_) => {
            let is_whole = |tile: &Tile| tile.parts == 1 && tile.filters == n_filters;
            return halo_groups::all(convolution)
                .into_iter()
                .filter(is_whole)
                .filter_map(named)
                .take(CANDIDATES)
                .collect();
        }
    }
    let halos = HALOS.map(|(pixels, filters, ..)| Tile { pixels, filters, parts: 1, by: By::Halo });
    let halos = halos
        .into_iter()
        .filter(|tile| out_rows >= LARGE && out_columns >= LARGE && halo(convolution, *tile).is_some());
    let halo_groups = halo_groups::all(convolution).into_iter().take(if has_groups { CANDIDATES } else { 0 });
    gathered(own_steps).into_iter().chain(halos).chain(halo_groups).filter_map(named).collect()
}

/// Bytes of shared memory and blocks for a tile of `convolution` with a halo; `None` when pixels are not neighbours as such tiles want
/// them, or there is no room.
fn halo(convolution: &Convolution, tile: Tile) -> Option<(usize, usize)> {
    let [_, channels, tap_rows, tap_columns] = convolution.filter;
    let [n, _, out_rows, out_columns] = convolution.output;
    let bytes = channels * convolution.scalar.bytes();
    let part = bytes.min(STEP);
    let is_whole = bytes % part == 0 && [32, 64, 128].contains(&part);
    let is_near = convolution.strides == [1, 1] && convolution.dilations == [1, 1] && tap_rows * tap_columns > 1;
    let rows = tile.pixels / HALO_COLUMNS;
    let image = ((rows + tap_rows - 1) * (HALO_COLUMNS + tap_columns - 1) * part).next_multiple_of(128);
    let shared = image + tap_rows * tap_columns * tile.filters * part;
    let blocks = n * out_rows.div_ceil(rows) * out_columns.div_ceil(HALO_COLUMNS);
    (is_whole && is_near && shared <= HALO_BYTES).then_some((shared, blocks))
}

impl Tiled<'_> {
    fn kernel(&self, tile: Tile) -> Option<Generated> {
        let convolution = self.convolution;
        let (.., warps, usual) = tile.row()?;
        let [n, n_filters, out_rows, out_columns] = convolution.output;
        let channels = convolution.filter[1];
        let last_filters = self.joined.filters(convolution);
        let pixels = n * out_rows * out_columns;
        let room = match tile.by {
            By::HaloGroups => Some(halo_groups::Room::of(convolution, tile)?),
            _ => None,
        };
        let stages = room.map_or_else(|| tile.stages(usual, tile.blocks(pixels, n_filters)), |room| room.stages);
        let bytes = convolution.scalar.bytes();
        let elements = match convolution.scalar {
            Scalar::F16 => "F16",
            Scalar::Bf16 => "BF16",
            Scalar::F32 if convolution.tf32 => "TF32",
            Scalar::I8 => "I8",
            Scalar::Narrow(Narrow::E4m3Fn) if tile.by.is_of_groups() => "E4M3",
            _ => return None,
        };
        let mut source = format!("{}#define ELEMENTS {elements}\n{}", self.finish.source, convolution.defines());
        for (name, number) in [
            ("ELEMENT_BYTES", bytes),
            ("TILE_PIXELS", tile.pixels),
            ("TILE_FILTERS", tile.filters),
            ("SPLIT", tile.parts),
            ("WARPS_DOWN", warps[0]),
            ("WARPS_ACROSS", warps[1]),
            ("STAGES", stages),
            ("BY_GROUPS", usize::from(tile.by.is_of_groups())),
            ("FILTERS_ARE_CONSTANT", usize::from(self.filters_are_constant)),
            ("PIXELS", pixels),
            ("FILTERS", last_filters),
            ("CHANNELS", channels),
            ("IMAGE_CHUNK", self.image.offset * bytes / 16),
            ("FILTERS_CHUNK", self.filters.offset * bytes / 16),
        ] {
            let _ = writeln!(source, "#define {name} {number}");
        }
        if let Some(room) = room {
            source.push_str(&room.defines());
        }
        source.push_str(&self.joined.defines());
        if tile.by.is_of_groups() {
            source.push_str(&group_operands(tile.filters, elements));
        }
        source.push_str(include_str!("matrix.cuh"));
        source.push_str(include_str!("results.cuh"));
        source.push_str(match tile.by {
            By::Halo => include_str!("halo.cuh"),
            By::HaloGroups if matches!(self.joined, Joined::Chain(_)) => HALO_GROUPS_CHAINED,
            By::HaloGroups => HALO_GROUPS,
            By::Warps | By::Groups if matches!(self.joined, Joined::Shortcut(_)) => TILE_WITH_SHORTCUT,
            By::Warps | By::Groups => TILE,
        });
        let (operands, blocks) = match (tile.by, room) {
            (By::Halo, _) => halo(convolution, tile)?,
            (_, Some(room)) => (room.shared_bytes, room.blocks),
            _ => (tile.stage_bytes() * stages, pixels.div_ceil(tile.pixels) * tile.parts),
        };
        // The sums take the place of the operands in the end: each row has eight columns more, and behind them is where nobody reads.
        let sums = tile.pixels * (tile.filters + 8) * 4 + 16;
        let shared = operands.max(self.joined.bytes_before_sums(tile) + sums);
        let launch = Launch {
            grid: [
                u32::try_from(blocks).ok()?,
                u32::try_from(n_filters.div_ceil(tile.filters)).ok().filter(|&blocks| blocks < 1 << 16)?,
            ],
            threads: u32::try_from(warps[0] * warps[1] * 32).ok()?,
            shared_bytes: u32::try_from(shared).ok()?,
        };
        let operands = [self.image.buffer, self.filters.buffer];
        let parameters =
            operands.into_iter().chain(self.joined.buffers()).chain(self.finish.parameters.iter().copied()).collect();
        Some(Generated { source, launch, parameters })
    }
}

/// How the instruction that multiplies 64 pixels with `filters` is called, and what its text calls its operands: the sums, which are
/// many registers, the descriptions of both matrices, and whether it adds.
fn group_operands(filters: usize, elements: &str) -> String {
    let (depth, types, options, register) = match elements {
        "F16" => (16, "f32.f16.f16", ", 1, 1, 0, 0", 'f'),
        "BF16" => (16, "f32.bf16.bf16", ", 1, 1, 0, 0", 'f'),
        "E4M3" => (32, "f32.e4m3.e4m3", ", 1, 1", 'f'),
        _ => (32, "s32.s8.s8", "", 'r'),
    };
    let n = filters / 2;
    let names: Vec<String> = (0..n).map(|at| format!("%{at}")).collect();
    let sums: Vec<String> = (0..n).map(|at| format!("\"+{register}\"(sums[0][{}][{}])", at / 4, at % 4)).collect();
    format!(
        "#define GROUP_MULTIPLY \"wgmma.mma_async.sync.aligned.m64n{filters}k{depth}.{types} {{{}}}, %{n}, %{}, p{options};\"\n\
         #define GROUP_ADDS \"setp.ne.b32 p, %{}, 0;\"\n#define GROUP_SUMS {}\n",
        names.join(", "),
        n + 1,
        n + 2,
        sums.join(", "),
    )
}

#[cfg(test)]
pub(crate) mod tests;
