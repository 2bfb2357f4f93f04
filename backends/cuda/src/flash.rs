//! Attention in float16 and bfloat16 as one kernel.
//!
//! The kernel walks over blocks of keys and keeps a running maximum and sum for each query, so that scores never reach
//! memory: Dao et al., FlashAttention, 2022; Milakov and Gimelshein, Online normalizer calculation for softmax, 2018.

use crate::attention::scale;
use crate::driver::{Launch, PROCESSOR_SHARED_BYTES, PROCESSORS};
use crate::flat::{Flat, FlatCall, Refusal};
use crate::fused::Fused;
use crate::fused_attention::FusedAttention;
use crate::plan::{Needs, Ours, Place, Places, Step, Ways, Work};
use crate::planner::Planner;
use crate::region::{Generated, PRELUDE};
use crate::view::{Precision, Scalar, View};
use std::fmt::{self, Display, Write};

/// Longest mask of one query that is kept in shared memory.
const MOST_KEPT: usize = 1024;
/// Bytes of shared memory of a block that every device with matrix units has.
const MOST_SHARED: usize = 99 << 10;
/// Registers of a thread.
const MOST_REGISTERS: usize = 255;
/// Registers of a processor.
const REGISTERS: usize = 64 << 10;
/// Keys whose scores a warp holds at a time.
const STEP: usize = 32;
/// Blocks of keys in shared memory at most: one is computed with while the others are on their way.
const MOST_STAGES: usize = 3;

/// How attention is divided among blocks and warps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Division {
    /// Warps of a block that have queries of their own.
    warps: usize,
    /// Times 16 queries of a warp: each fragment of keys and values that is read from shared memory serves all of them.
    tiles: usize,
    /// Warps that share queries, each with a part of the keys.
    groups: usize,
}

/// Divisions that are chosen from. More groups make the chain of steps of one warp shorter; with more queries in a block, keys are
/// brought fewer times; with two tiles shared memory is read half as often, and registers are twice as many.
const DIVISIONS: [Division; 11] = {
    const fn division(warps: usize, tiles: usize, groups: usize) -> Division {
        Division { warps, tiles, groups }
    }
    [
        division(4, 1, 1),
        division(8, 1, 1),
        division(4, 2, 1),
        division(1, 1, 1),
        division(1, 1, 2),
        division(2, 1, 2),
        division(2, 2, 2),
        division(4, 2, 2),
        division(1, 1, 4),
        division(2, 1, 4),
        division(3, 2, 4),
    ]
};

/// Divisions that are worth timing.
const CANDIDATES: usize = 5;

// What a large device has, for an estimate that only decides what is timed. Times are cycles.
/// Bytes in a cycle from the second-level cache, of all processors and of one.
const BROUGHT: [f64; 2] = [3100.0, 51.0];
/// Bytes in a cycle from shared memory.
const READ: f64 = 128.0;
/// A quarter of a processor multiplies 16 queries with 8 keys in a sixteenth of the depth, or weighs as many values.
const MULTIPLY: f64 = 6.4;
/// A quarter of a processor computes a warp's powers of 2.
const POWER: f64 = 8.0;
/// A warp waits so long for its first products, its largest scores and its last sums at each step.
const STEP_DELAY: f64 = 180.0;
/// Of matrix units, powers and shared memory, the part of their time that does not overlap with the others'.
const SERIAL: f64 = 0.6;

/// Sizes that decide about a division.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Heads of all members of the batch.
    heads: usize,
    queries: usize,
    keys: usize,
    depth: usize,
    is_causal: bool,
    /// Bytes of shared memory for a mask.
    kept: usize,
    /// Registers for a mask, for each of the tiles of a warp.
    seen: usize,
}

impl Division {
    fn queries(self) -> usize {
        self.warps * self.tiles * 16
    }

    fn threads(self) -> usize {
        self.warps * self.groups * 32
    }

    /// Keys that are brought at a time: one or two steps of each group.
    fn keys(self) -> usize {
        STEP * self.groups.max(2)
    }

    /// Bytes from one row of queries, keys or values to the next.
    fn row(depth: usize) -> usize {
        depth * 2 + 16
    }

    /// Blocks of keys that shared memory has room for; `None` when it is not enough to bring one while another is used.
    fn stages(self, sizes: Sizes) -> Option<usize> {
        let n_blocks = sizes.keys.div_ceil(self.keys());
        let room = MOST_SHARED.checked_sub(self.queries() * Self::row(sizes.depth) + sizes.kept)?;
        let stages = (room / (2 * self.keys() * Self::row(sizes.depth))).min(MOST_STAGES).min(n_blocks);
        (stages >= n_blocks.min(2)).then_some(stages)
    }

    /// In how many parts the columns of sums are combined, and bytes of shared memory for one of them; `None` when there is no room.
    fn sums(self, depth: usize) -> Option<(usize, usize)> {
        let bytes = |parts: usize| self.groups * self.queries() * ((depth / parts + 8) * 4 + 8);
        [1, 2].map(|parts| (parts, bytes(parts))).into_iter().find(|&(_, bytes)| bytes <= MOST_SHARED)
    }

    /// Registers of a thread, about.
    fn registers(self, sizes: Sizes) -> usize {
        let Sizes { depth, seen, is_causal, .. } = sizes;
        // Sums, queries and scores; fragments that are on their way, and where everything is.
        self.tiles * (depth / 2 + depth / 4 + STEP / 2 + seen)
            + 40
            + depth.saturating_sub(64) / 2
            + 4 * usize::from(is_causal)
    }

    /// Cycles, about.
    fn cycles(self, sizes: Sizes) -> f64 {
        let Sizes { heads, queries, keys, depth, is_causal, .. } = sizes;
        let count = |n: usize| n as f64;
        let blocks = count(heads * queries.div_ceil(self.queries()));
        let of_one = (blocks / count(PROCESSORS)).ceil();
        // Each block of queries sees more of the keys than the one before, the last all of them.
        let part = if is_causal { 0.5 + 0.5 / count(queries.div_ceil(self.queries())) } else { 1.0 };
        let busiest = (of_one * part).max(1.0);
        // Warps behind the last query have nothing to do.
        let tiles = count(heads * queries.div_ceil(16 * self.tiles) * self.tiles);
        let n_steps = count(keys.div_ceil(STEP));
        let multiplied = count(depth / 16) * count(STEP / 8) * 2.0 * MULTIPLY;
        let powers = count(STEP / 2) * POWER;
        let read = 4.0 * count(STEP * depth * 4) / READ / count(self.tiles);
        let step = (multiplied + powers + read) * SERIAL;
        let work = busiest * tiles / blocks * n_steps * step / 4.0;
        let one_warp = (n_steps / count(self.groups)).ceil() * (STEP_DELAY + count(self.tiles) * (multiplied + powers));
        let bytes = count(4 * depth * keys);
        let brought = (busiest * bytes / BROUGHT[1]).max(blocks * part * bytes / BROUGHT[0]);
        let first = of_one.min(3.0) * count(4 * depth * keys.min(self.keys())) / BROUGHT[1];
        let summed = match self.groups {
            1 => 0.0,
            groups => of_one * (150.0 + count(self.queries() * groups * depth * 8) / READ),
        };
        first + (brought - first).max(work).max(one_warp) + summed
    }

    /// Whether registers and shared memory are enough.
    fn fits(self, sizes: Sizes) -> bool {
        self.stages(sizes).is_some()
            && self.sums(sizes.depth).is_some()
            && self.registers(sizes) <= MOST_REGISTERS.min(REGISTERS / self.threads())
    }

    /// The divisions that are worth timing, of those that fit registers and shared memory: first the one that takes the least time, by
    /// the estimate.
    fn candidates(sizes: Sizes) -> Vec<Self> {
        let mut fitting: Vec<Self> = DIVISIONS.into_iter().filter(|division| division.fits(sizes)).collect();
        fitting.sort_by(|a, b| a.cycles(sizes).total_cmp(&b.cycles(sizes)));
        fitting.truncate(CANDIDATES);
        fitting
    }
}

/// Its name among the ways of one result.
impl Display for Division {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attention {}x{}x{}", self.warps, self.tiles, self.groups)
    }
}

/// Whether the kernel runs `call` in a program of `precision`: no cache, no window, one output, heads of ordinary depth.
pub(crate) fn has_kernel(flat: &Flat, call: &FlatCall, precision: Precision) -> bool {
    let shape = |at: usize| match call.input(at).map(|value| flat.values[value].shape.as_slice()) {
        Some(&[batch, heads, positions, depth]) => Some([batch, heads, positions, depth]),
        _ => None,
    };
    let (Some(q), Some(k), Some(v)) = (shape(0), shape(1), shape(2)) else { return false };
    let is_narrow = |at: usize| {
        call.input(at)
            .and_then(|value| Scalar::of(flat.values[value].element, precision))
            .is_some_and(Scalar::is_narrow)
    };
    let reaches = |at: usize| call.input(at).is_none_or(|mask| flat.values[mask].shape.last() == Some(&k[2]));
    let unlimited = |name: &str| call.attrs.int(name).is_none_or(|size| size < 0);
    call.is("Attention")
        && call.outputs.len() == 1
        && (4..7).all(|at| call.input(at).is_none())
        && (0..3).all(is_narrow)
        && reaches(3)
        && unlimited("left_window_size")
        && unlimited("right_window_size")
        && q[3] == v[3]
        && q[3] % 16 == 0
        && (16..=128).contains(&q[3])
        && k[..3] == v[..3]
        && k[1] > 0
        && q[1] % k[1] == 0
        && q.iter().chain(&k).all(|&size| size > 0)
}

/// Plans attention as one kernel, in a few divisions beside those of cuDNN; the fastest is found on the device.
pub(crate) fn lower(planner: &mut Planner, call: &FlatCall) -> Result<(), Refusal> {
    let flat = planner.flat;
    let missing = || Refusal::new("", "an input is missing");
    let scalar = planner.scalar(call.outputs[0])?;
    let mut views = Vec::new();
    for at in 0..3 {
        let value = call.input(at).ok_or_else(missing)?;
        let view = planner.view(value)?;
        // Rows must be read 16 bytes at a time; heads and positions may lie anywhere.
        let rows =
            view.strides[3] == 1 && view.strides[..3].iter().all(|stride| stride % 8 == 0) && view.offset % 8 == 0;
        views.push(match view.scalar == scalar && rows {
            true => view,
            false => planner.copied(view, scalar, &[0, 1, 2, 3], &call.name)?,
        });
    }
    let [batch, heads, n_queries, depth] = views[0].shape[..] else { return Err(missing()) };
    let n_keys = views[1].shape[2];
    let mask = match call.input(3) {
        Some(value) => {
            let view = planner.view(value)?;
            let shape = [batch, heads, n_queries, n_keys];
            Some(view.broadcast(&shape).ok_or_else(|| Refusal::new("", "its mask does not broadcast"))?)
        }
        None => None,
    };
    // Heads are joined next, so positions are the slower axis.
    let out = planner.fresh(scalar, &flat.values[call.outputs[0]].shape, &[0, 2, 1, 3]);
    let form = Form {
        scale: scale(call, depth),
        softcap: call.attrs.float("softcap").unwrap_or(0.0),
        is_causal: call.attrs.flag("is_causal"),
    };
    let attention = Attention { views: &views, mask: mask.as_ref(), out: &out, form };
    let too_large = || Refusal::new("", "it has too many heads or queries");
    let kernel = |division: Division| {
        Some(Ours {
            name: division.to_string(),
            needs: Needs::Nothing,
            includes_before: false,
            kernel: attention.kernel(division)?,
        })
    };
    let ours: Vec<Ours> = Division::candidates(attention.sizes()).into_iter().filter_map(kernel).collect();
    let first = ours.first().ok_or_else(too_large)?;
    let reads = first.kernel.parameters[..first.kernel.parameters.len() - 1].to_vec();
    // The library's engines add no mask and have no cap.
    let is_plain = mask.is_none() && form.softcap <= 0.0;
    let fused = FusedAttention::of(&views, &out, form.scale, form.is_causal).filter(|_| is_plain);
    let fused = fused.map(|fused| Fused::Attention(Box::new(fused)));
    let places = Places {
        left: Place::of(&views[0]),
        right: Place::of(&views[1]),
        values: Some(Place::of(&views[2])),
        bias: None,
        residual: None,
        factors: None,
        out: Place::of(&out),
    };
    planner.plan.steps.push(Step {
        work: Work::Contraction(Box::new(Ways { fused, ..Ways::of_ours(ours) }), places),
        name: "Attention".into(),
        nodes: vec![call.name.clone()],
        reads,
        writes: vec![out.buffer],
        flops: 4.0 * (batch * heads * n_queries * n_keys * depth) as f64,
        bytes: (2 * (views.iter().map(View::count).sum::<usize>() + out.count())) as f64,
    });
    planner.views[call.outputs[0]] = Some(out);
    Ok(())
}

/// What besides its operands decides about a kernel.
#[derive(Clone, Copy)]
struct Form {
    scale: f32,
    softcap: f32,
    is_causal: bool,
}

/// What is computed, before it is divided.
struct Attention<'a> {
    /// Queries, keys and values.
    views: &'a [View],
    /// What is added to scores, broadcast to their shape.
    mask: Option<&'a View>,
    out: &'a View,
    form: Form,
}

impl Attention<'_> {
    fn sizes(&self) -> Sizes {
        let [q, k] = [&self.views[0].shape, &self.views[1].shape];
        // A mask that is the same for all queries is read once, if it is not too long to be kept.
        let is_kept = self.mask.is_some_and(|mask| mask.strides[2] == 0 && k[2] <= MOST_KEPT);
        let registers = |mask: &View| if self.is_in_pairs(mask) { mask.scalar.bytes().div_ceil(2) } else { 2 };
        Sizes {
            heads: q[0] * q[1],
            queries: q[2],
            keys: k[2],
            depth: q[3],
            is_causal: self.form.is_causal,
            kept: if is_kept { k[2].next_multiple_of(STEP) * 4 } else { 0 },
            seen: self.mask.filter(|_| !is_kept).map_or(0, |mask| STEP / 4 * registers(mask)),
        }
    }

    /// Whether two elements of a mask are read at a time: they lie side by side.
    fn is_in_pairs(&self, mask: &View) -> bool {
        let are_even = mask.strides[..3].iter().all(|stride| stride % 2 == 0) && mask.offset % 2 == 0;
        mask.strides[3] == 1 && are_even && mask.shape[3] % 2 == 0
    }

    fn mask_defines(&self) -> String {
        let Some(mask) = self.mask else { return "#define MASK NO_MASK\n#define MASK_PARAMETER\n".into() };
        format!(
            "#define MASK {}\n#define MASK_PARAMETER const mask_t* __restrict__ mask,\n#define MASK_IN_PAIRS {}\n\
             #define MASK_KEY {}u\ntypedef {} mask_t;\n",
            if self.sizes().kept > 0 { "ONE_FOR_ALL_QUERIES" } else { "EACH_ITS_OWN" },
            usize::from(self.is_in_pairs(mask)),
            mask.strides[3],
            mask.scalar.spelled()
        )
    }

    /// The kernel. `None` when it has too many blocks, or its division does not fit.
    fn kernel(&self, division: Division) -> Option<Generated> {
        let (sizes, Form { scale, softcap, is_causal }) = (self.sizes(), self.form);
        let [_, heads, n_queries, depth] = self.out.shape[..] else { return None };
        let stages = division.stages(sizes)?;
        let row = Division::row(depth);
        let staged = division.queries() * row + stages * 2 * division.keys() * row + sizes.kept;
        let (parts, summed) = division.sums(depth)?;
        let shared = staged.max(summed);
        let blocks = n_queries.div_ceil(division.queries());
        // As many blocks on a processor as there are for it, and as have registers and shared memory.
        let resident = (sizes.heads * blocks)
            .div_ceil(PROCESSORS)
            .min(REGISTERS / (division.registers(sizes) * division.threads()))
            .min(PROCESSOR_SHARED_BYTES / (shared + 1024))
            .max(1);
        let element = self.out.scalar.spelled();
        let elements = if self.out.scalar == Scalar::Bf16 { "BF16" } else { "F16" };
        // Scores are scaled when their power is computed, if the largest of them stays so and nothing is added to them.
        let log2_e = std::f32::consts::LOG2_E;
        let scales_later = self.mask.is_none() && softcap <= 0.0 && scale > 0.0 && (scale * log2_e).is_normal();
        let (before, factor) = match softcap > 0.0 {
            true => (scale / softcap, 1.0),
            false if scales_later => (1.0, scale * log2_e),
            false => (scale * log2_e, 1.0),
        };
        let mut source = format!(
            "{PRELUDE}#define NO_MASK 0\n#define ONE_FOR_ALL_QUERIES 1\n#define EACH_ITS_OWN 2\n#define ELEMENTS {elements}\n\
             typedef {element} element_t;\n#define SCALE {before:e}f\n#define FACTOR {factor:e}f\n#define CAP {:e}f\n{}",
            softcap * log2_e,
            self.mask_defines(),
        );
        for (name, number) in [
            ("SPLIT", 1),
            ("STEP", STEP),
            ("WARPS", division.warps),
            ("TILES", division.tiles),
            ("GROUPS", division.groups),
            ("KEYS", division.keys()),
            ("STAGES", stages),
            ("SUM_PARTS", parts),
            ("RESIDENT", resident),
            ("N_QUERIES", n_queries),
            ("N_KEYS", sizes.keys),
            ("DEPTH", depth),
            ("IS_CAUSAL", usize::from(is_causal)),
            ("SOFTCAPS", usize::from(softcap > 0.0)),
            ("SCALES_LATER", usize::from(scales_later)),
        ] {
            let _ = writeln!(source, "#define {name} {number}");
        }
        let [q, k, v] = self.views else { return None };
        for (name, view) in
            [("Q", q), ("K", k), ("V", v), ("OUT", self.out)].into_iter().chain(self.mask.map(|mask| ("MASK", mask)))
        {
            // So many query heads share one head of keys and values.
            let shared_by = heads / view.shape[1];
            let strides = [("BATCH", view.strides[0]), ("HEAD", view.strides[1]), ("ROW", view.strides[2])];
            for (of, number) in strides.into_iter().chain([("OFFSET", view.offset), ("SHARED", shared_by)]) {
                let _ = writeln!(source, "#define {name}_{of} {number}u");
            }
        }
        let _ = writeln!(source, "#define HEADS {heads}u");
        source.push_str(include_str!("matrix.cuh"));
        source.push_str(include_str!("flash.cuh"));
        let launch = Launch {
            grid: [u32::try_from(sizes.heads).ok()?, u32::try_from(blocks).ok().filter(|&blocks| blocks < 1 << 16)?],
            threads: division.threads() as u32,
            shared_bytes: shared as u32,
        };
        let parameters = self.views.iter().chain(self.mask).chain([self.out]).map(|view| view.buffer).collect();
        Some(Generated { source, launch, parameters })
    }
}

#[cfg(test)]
mod tests;
