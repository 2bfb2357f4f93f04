//! Attention in float16 and bfloat16 as one kernel.
//!
//! The kernel walks over blocks of keys and keeps a running maximum and sum for each query, so that scores never reach
//! memory: Dao et al., FlashAttention, 2022; Milakov and Gimelshein, Online normalizer calculation for softmax, 2018.

use crate::attention::scale;
use crate::driver::Launch;
use crate::flat::{Flat, FlatCall, Refusal};
use crate::plan::{Step, Work};
use crate::planner::Planner;
use crate::region::{Generated, PRELUDE};
use crate::view::{Precision, Scalar, View};

/// Keys of a block.
const KEYS: usize = 64;
/// Queries of a warp.
const QUERIES: usize = 16;
/// Longest mask of one query that is kept in shared memory.
const MOST_KEPT: usize = 1024;
/// Bytes of shared memory that a kernel has without asking.
const STATIC_SHARED: usize = 48 << 10;

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
        && k[1] > 0
        && q[1] % k[1] == 0
        && q.iter().chain(&k).all(|&size| size > 0)
}

/// Plans attention as one kernel.
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
    let n_warps = [4, 2].into_iter().find(|n| batch * heads * n_queries.div_ceil(n * QUERIES) >= 132).unwrap_or(1);
    let form = Form {
        scale: scale(call, depth),
        softcap: call.attrs.float("softcap").unwrap_or(0.0),
        is_causal: call.attrs.flag("is_causal"),
        n_warps,
    };
    let source = source(&views, mask.as_ref(), &out, &form);
    let parameters: Vec<usize> = views.iter().chain(&mask).chain([&out]).map(|view| view.buffer).collect();
    let reads = parameters[..parameters.len() - 1].to_vec();
    let grid = [n_queries.div_ceil(n_warps * QUERIES) as u32, (batch * heads) as u32];
    planner.plan.steps.push(Step {
        work: Work::Kernel(Generated {
            source,
            launch: Launch { grid, threads: (n_warps * 32) as u32, shared_bytes: 0 },
            parameters,
        }),
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
struct Form {
    scale: f32,
    softcap: f32,
    is_causal: bool,
    n_warps: usize,
}

fn source(views: &[View], mask: Option<&View>, out: &View, form: &Form) -> String {
    let &Form { n_warps, is_causal, .. } = form;
    let [_, heads, n_queries, depth] = out.shape[..] else { return String::new() };
    let n_keys = views[1].shape[2];
    let base = |view: &View| format!("{}u + batch * {}u + head * {}u", view.offset, view.strides[0], view.strides[1]);
    // Several query heads may share one head of keys and values.
    let shared = |view: &View| {
        let group = heads / view.shape[1];
        format!("{}u + batch * {}u + head / {group}u * {}u", view.offset, view.strides[0], view.strides[1])
    };
    let step = |view: &View| view.strides[2];
    let mask_parameter =
        mask.map_or(String::new(), |mask| format!("const {}* __restrict__ mask, ", mask.scalar.spelled()));
    // A mask that is the same for all queries is read once, if it is not too long to be kept.
    let is_shared = mask.is_some_and(|mask| mask.strides[2] == 0 && n_keys <= MOST_KEPT);
    let at_key = |mask: &View, query: String| {
        format!("get(mask[{} + {query} * {}u + key * {}u])", base(mask), mask.strides[2], mask.strides[3])
    };
    let kept = n_keys.next_multiple_of(KEYS);
    let staged = mask.filter(|_| is_shared).map_or(String::new(), |mask| {
        let element = at_key(mask, "0u".into());
        let value = match mask.scalar {
            Scalar::Bool => format!("{element} ? 0.f : never"),
            _ => format!("in_base_2({element})"),
        };
        format!(
            "__shared__ float added[{kept}];\n  for (int key = threadIdx.x; key < {kept}; key += {}) added[key] = key < {n_keys} ? {value} : 0.f;",
            n_warps * 32
        )
    });
    // Other masks are read before the keys are awaited, two neighbours at a time where they lie side by side.
    let pairs = mask.filter(|mask| {
        let are_even = mask.strides[..3].iter().all(|stride| stride % 2 == 0) && mask.offset % 2 == 0;
        !is_shared && n_keys % KEYS == 0 && mask.strides[3] == 1 && are_even && mask.scalar.bytes() <= 4
    });
    let fetched = pairs.map_or(String::new(), |mask| {
        format!(
            r#"
    Pack<2, {element}> seen[{tiles}][2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {{
      const int query = min(first + half * 8, {last});
#pragma unroll
      for (int tile = 0; tile < {tiles}; ++tile)
        seen[tile][half] = *reinterpret_cast<const Pack<2, {element}>*>(mask + {base} + query * {step}u + block * {KEYS} + tile * 8 + pair);
    }}"#,
            element = mask.scalar.spelled(),
            tiles = KEYS / 8,
            last = n_queries - 1,
            base = base(mask),
            step = mask.strides[2],
        )
    });
    let masked = mask.map_or(String::new(), |mask| {
        let inside = if n_keys % KEYS == 0 { String::new() } else { format!("if (key < {n_keys}) ") };
        let element = match pairs {
            Some(_) => "get(seen[tile][at / 2].element[at % 2])".into(),
            None => at_key(mask, format!("(query < {n_queries} ? query : {})", n_queries - 1)),
        };
        match mask.scalar {
            _ if is_shared => "score += added[key];".into(),
            Scalar::Bool => format!("{inside}if (!{element}) score = never;"),
            _ => format!("{inside}score += in_base_2({element});"),
        }
    });
    let beyond = match n_keys % KEYS {
        0 => String::new(),
        _ => format!("if (key >= {n_keys}) score = never;"),
    };
    let causal = if is_causal { "if (key > query) score = never;" } else { "" };
    let threads = n_warps * 32;
    let (pitch, vectors, tiles, parts) = (depth + 8, depth / 8, depth / 8, depth / 16);
    let queries = n_warps * QUERIES;
    // Weights are powers of 2 instead of e.
    let log2_e = std::f32::consts::LOG2_E;
    let scaled = match form.softcap {
        cap if cap > 0.0 => format!("{:e}f * tanh(s[tile][at] * {:e}f)", cap * log2_e, form.scale / cap),
        _ => format!("s[tile][at] * {:e}f", form.scale * log2_e),
    };
    // Two blocks of keys at a time: one is computed with while the other is on its way.
    let stages = if 4 * KEYS * pitch * 2 + 4 * MOST_KEPT <= STATIC_SHARED { 2 } else { 1 };
    let blocks = n_keys.div_ceil(KEYS);
    // Keys after the last query of a block are seen by none of it.
    let n_blocks = match is_causal {
        true => format!("min({blocks}, (int)(blockIdx.x * {queries} + {}) / {KEYS} + 1)", queries - 1),
        false => blocks.to_string(),
    };
    let is_light = depth <= 64 && pairs.is_none_or(|mask| mask.scalar.bytes() <= 2);
    // Threads of a processor, as many as have registers for what they hold.
    let resident = if is_light { 512 } else { 384 } / threads;
    let element = out.scalar.spelled();
    let narrow = if out.scalar == Scalar::Bf16 { "bf16" } else { "f16" };
    format!(
        r#"{PRELUDE}
typedef unsigned u32;
__device__ __forceinline__ void multiply(float* c, const u32* a, u32 b0, u32 b1) {{
  asm("mma.sync.aligned.m16n8k16.row.col.f32.{narrow}.{narrow}.f32 {{%0,%1,%2,%3}}, {{%4,%5,%6,%7}}, {{%8,%9}}, {{%0,%1,%2,%3}};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}}
__device__ __forceinline__ u32 packed(float low, float high) {{
  u32 both; asm("cvt.rn.{narrow}x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low)); return both;
}}
__device__ __forceinline__ float power_of_2(float x) {{ float y; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }}
// A logarithm of a weight to base e, to base 2; what is finite stays finite, since masks of -3.4e38 do not forbid.
__device__ __forceinline__ float in_base_2(float x) {{
  const float most = 3.40282347e38f;
  return fabsf(x) <= most ? fminf(fmaxf(x * {log2_e:e}f, -most), most) : x;
}}
// Brings 16 bytes to shared memory, or zeros.
__device__ __forceinline__ void bring({element}* to, const {element}* from, bool is_there) {{
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"((u32)__cvta_generic_to_shared(to)), "l"(from), "r"(is_there ? 16 : 0) : "memory");
}}
extern "C" __global__ void __launch_bounds__({threads}, {resident}) region(
    const {element}* __restrict__ q, const {element}* __restrict__ k, const {element}* __restrict__ v, {mask_parameter}{element}* __restrict__ out) {{
  __shared__ alignas(16) {element} keys[{stages}][{KEYS} * {pitch}], values[{stages}][{KEYS} * {pitch}];
  BEGIN;
  const float never = -__int_as_float(0x7f800000);
  const int lane = threadIdx.x % 32, group = lane / 4, pair = lane % 4 * 2;
  const u32 batch = blockIdx.y / {heads}u, head = blockIdx.y % {heads}u;
  const {element}* key_rows = k + {k_base};
  const {element}* value_rows = v + {v_base};
  auto load = [&](int block) {{
    for (int at = threadIdx.x; at < {KEYS} * {vectors}; at += {threads}) {{
      const int row = at / {vectors}, column = at % {vectors} * 8, key = block * {KEYS} + row, to = row * {pitch} + column;
      const bool is_there = key < {n_keys};
      bring(keys[block % {stages}] + to, key_rows + (is_there ? key : 0) * {k_step}u + column, is_there);
      bring(values[block % {stages}] + to, value_rows + (is_there ? key : 0) * {v_step}u + column, is_there);
    }}
  }};
  const int n_blocks = {n_blocks};
  load(0);
  asm volatile("cp.async.commit_group;");
  {staged}
  const int first = blockIdx.x * {queries} + threadIdx.x / 32 * {QUERIES} + group;
  const {element}* query_rows = q + {q_base};
  u32 a[{parts}][4];
#pragma unroll
  for (int part = 0; part < {parts}; ++part) {{
#pragma unroll
    for (int at = 0; at < 4; ++at) {{
      int row = first + (at % 2) * 8;
      row = row < {n_queries} ? row : {last_query};
      a[part][at] = *reinterpret_cast<const u32*>(query_rows + row * {q_step}u + part * 16 + at / 2 * 8 + pair);
    }}
  }}
  float top[2] = {{never, never}}, total[2] = {{0.f, 0.f}}, sum[{tiles}][4];
#pragma unroll
  for (int tile = 0; tile < {tiles}; ++tile) sum[tile][0] = sum[tile][1] = sum[tile][2] = sum[tile][3] = 0.f;
  for (int block = 0; block < n_blocks; ++block) {{
    if ({stages} > 1 && block + 1 < n_blocks) load(block + 1);
    {fetched}
    asm volatile("cp.async.commit_group; cp.async.wait_group %0;" :: "n"({stages} - 1) : "memory");
    __syncthreads();
    const int start = block * {KEYS};
    const {element}* key_tile = keys[block % {stages}];
    const {element}* value_tile = values[block % {stages}];
    float s[{key_tiles}][4];
    float highest[2] = {{top[0], top[1]}};
#pragma unroll
    for (int tile = 0; tile < {key_tiles}; ++tile) {{
      s[tile][0] = s[tile][1] = s[tile][2] = s[tile][3] = 0.f;
      const u32 row = (u32)__cvta_generic_to_shared(key_tile + (tile * 8 + lane % 8) * {pitch} + lane / 8 * 8);
#pragma unroll
      for (int part = 0; part < {parts}; part += 2) {{
        u32 b[4];
        if (part + 1 < {parts}) {{
          asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%0,%1,%2,%3}}, [%4];"
              : "=r"(b[0]), "=r"(b[1]), "=r"(b[2]), "=r"(b[3]) : "r"(row + part * 32));
          multiply(s[tile], a[part], b[0], b[1]);
          multiply(s[tile], a[part + 1 < {parts} ? part + 1 : 0], b[2], b[3]);
        }} else {{
          asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {{%0,%1}}, [%2];"
              : "=r"(b[0]), "=r"(b[1]) : "r"(row - (lane / 16) * 32 + part * 32));
          multiply(s[tile], a[part], b[0], b[1]);
        }}
      }}
#pragma unroll
      for (int at = 0; at < 4; ++at) {{
        const int key = start + tile * 8 + pair + at % 2, query = first + at / 2 * 8;
        float score = {scaled};
        {masked}
        {causal}
        {beyond}
        s[tile][at] = score;
        highest[at / 2] = fmaxf(highest[at / 2], score);
      }}
    }}
    float shrink[2], offset[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {{
      highest[half] = fmaxf(highest[half], __shfl_xor_sync(~0u, highest[half], 1));
      highest[half] = fmaxf(highest[half], __shfl_xor_sync(~0u, highest[half], 2));
      offset[half] = highest[half] == never ? 0.f : highest[half];
      shrink[half] = power_of_2(top[half] - offset[half]);
      top[half] = highest[half];
      total[half] *= shrink[half];
    }}
#pragma unroll
    for (int tile = 0; tile < {tiles}; ++tile)
#pragma unroll
      for (int at = 0; at < 4; ++at) sum[tile][at] *= shrink[at / 2];
#pragma unroll
    for (int tile = 0; tile < {key_tiles}; ++tile)
#pragma unroll
      for (int at = 0; at < 4; ++at) {{
        s[tile][at] = power_of_2(s[tile][at] - offset[at / 2]);
        total[at / 2] += s[tile][at];
      }}
#pragma unroll
    for (int part = 0; part < {key_parts}; ++part) {{
      const u32 p[4] = {{packed(s[2 * part][0], s[2 * part][1]), packed(s[2 * part][2], s[2 * part][3]),
                        packed(s[2 * part + 1][0], s[2 * part + 1][1]), packed(s[2 * part + 1][2], s[2 * part + 1][3])}};
      const u32 row = (u32)__cvta_generic_to_shared(value_tile + (part * 16 + lane % 16) * {pitch} + lane / 16 * 8);
#pragma unroll
      for (int tile = 0; tile < {tiles}; tile += 2) {{
        u32 b[4];
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {{%0,%1,%2,%3}}, [%4];"
            : "=r"(b[0]), "=r"(b[1]), "=r"(b[2]), "=r"(b[3]) : "r"(row + tile * 16));
        multiply(sum[tile], p, b[0], b[1]);
        multiply(sum[tile + 1], p, b[2], b[3]);
      }}
    }}
    __syncthreads();
    if ({stages} == 1 && block + 1 < n_blocks) load(block + 1);
  }}
#pragma unroll
  for (int half = 0; half < 2; ++half) {{
    total[half] += __shfl_xor_sync(~0u, total[half], 1);
    total[half] += __shfl_xor_sync(~0u, total[half], 2);
    // A query that sees no key attends to nothing.
    const float inverse = total[half] == 0.f ? 0.f : 1.f / total[half];
    const int query = first + half * 8;
    if (query >= {n_queries}) continue;
    {element}* row = out + {out_base} + query * {out_step}u + pair;
#pragma unroll
    for (int tile = 0; tile < {tiles}; ++tile)
      *reinterpret_cast<u32*>(row + tile * 8) = packed(sum[tile][2 * half] * inverse, sum[tile][2 * half + 1] * inverse);
  }}
}}
"#,
        q_base = base(&views[0]),
        k_base = shared(&views[1]),
        v_base = shared(&views[2]),
        out_base = base(out),
        q_step = step(&views[0]),
        k_step = step(&views[1]),
        v_step = step(&views[2]),
        out_step = step(out),
        last_query = n_queries - 1,
        key_tiles = KEYS / 8,
        key_parts = KEYS / 16,
    )
}
