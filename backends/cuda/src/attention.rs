//! Scaled dot-product attention: one kernel for float16, and for everything else the products and the softmax that it means.
//!
//! The kernel walks over blocks of keys and keeps a running maximum and sum for each query, so that scores never reach
//! memory: Dao et al., FlashAttention, 2022; Milakov and Gimelshein, Online normalizer calculation for softmax, 2018.

use crate::driver::Launch;
use crate::flat::{Flat, FlatCall, Known, Refusal, ValueAt};
use crate::plan::{Planner, Step, Work};
use crate::region::{Generated, PRELUDE};
use crate::view::{Scalar, View};
use eutectic_ir::attr::{Attr, Attrs};
use eutectic_ir::graph::Op;
use eutectic_ir::ops;
use eutectic_ir::tensor::Tensor;
use eutectic_ir::types::Element;

/// Keys of a block.
const KEYS: usize = 64;
/// Queries of a warp.
const QUERIES: usize = 16;

/// Whether `call` is attention without a cache, on tensors of four axes with as many key as query heads.
fn is_plain(flat: &Flat, call: &FlatCall) -> bool {
    let shape = |at: usize| call.input(at).map(|value| flat.values[value].shape.as_slice());
    let attribute = |name: &str| call.attrs.int(name);
    let window =
        ["left_window_size", "right_window_size"].iter().all(|name| attribute(name).is_none_or(|size| size < 0));
    let four = |shape: Option<&[usize]>| shape.is_some_and(|shape| shape.len() == 4);
    call.is("Attention")
        && call.outputs.len() == 1
        && (4..7).all(|at| call.input(at).is_none())
        && (0..3).all(|at| four(shape(at)))
        && shape(0).map(|shape| shape[1]) == shape(1).map(|shape| shape[1])
        && call.attrs.float("softcap").unwrap_or(0.0) == 0.0
        && window
}

/// Whether the kernel runs `call` in float16.
pub(crate) fn has_kernel(flat: &Flat, call: &FlatCall) -> bool {
    let depth = |at: usize| call.input(at).and_then(|value| flat.values[value].shape.last().copied()).unwrap_or(0);
    is_plain(flat, call) && depth(0) == depth(2) && depth(0) % 16 == 0 && (16..=128).contains(&depth(0))
}

fn scale(call: &FlatCall, depth: usize) -> f32 {
    call.attrs.float("scale").unwrap_or(1.0 / (depth as f32).sqrt())
}

/// Gives attention on joined heads four axes, and replaces attention that no kernel runs by what it means: products, a scale,
/// a mask, a softmax.
pub(crate) fn decompose(flat: &mut Flat, keep: &dyn Fn(&Flat, &FlatCall) -> bool) {
    for call in std::mem::take(&mut flat.calls) {
        if call.is("Attention") && split_heads(flat, &call).is_some() {
            continue;
        }
        flat.calls.push(call);
    }
    for call in std::mem::take(&mut flat.calls) {
        if is_plain(flat, &call) && !keep(flat, &call) {
            expand(flat, &call);
        } else {
            flat.calls.push(call);
        }
    }
}

/// Reshapes and transposes the operands of `call`, three axes with the heads joined, around attention on four axes. They are
/// views. `None`, with nothing added, when it has other operands.
fn split_heads(flat: &mut Flat, call: &FlatCall) -> Option<()> {
    let n_heads = |name: &str| call.attrs.int(name).and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
    let heads = [n_heads("q_num_heads")?, n_heads("kv_num_heads")?, n_heads("kv_num_heads")?];
    let mut shapes = Vec::new();
    for (at, &heads) in heads.iter().enumerate() {
        match flat.values[call.input(at)?].shape[..] {
            [batch, positions, width] if width % heads == 0 => shapes.push([batch, positions, heads, width / heads]),
            _ => return None,
        }
    }
    let element = flat.values[call.outputs[0]].element;
    let value = |flat: &mut Flat, shape: &[usize]| {
        flat.values.push(Known { element, shape: shape.to_vec(), constant: None });
        flat.values.len() - 1
    };
    let swapped = |[a, b, c, d]: [usize; 4]| [a, c, b, d];
    let axes = || vec![("perm", Attr::Ints([0, 2, 1, 3].into()))];
    let mut inputs = call.inputs.clone();
    for (at, &shape) in shapes.iter().enumerate() {
        let (split, turned) = (value(flat, &shape), value(flat, &swapped(shape)));
        push(flat, call, "Reshape", vec![], &[call.input(at)?], split);
        push(flat, call, "Transpose", axes(), &[split], turned);
        inputs[at] = Some(turned);
    }
    let result = [shapes[0][0], shapes[0][1], heads[0], shapes[2][3]];
    let (turned, split) = (value(flat, &swapped(result)), value(flat, &result));
    flat.calls.push(FlatCall { inputs, outputs: vec![turned], ..call.clone() });
    push(flat, call, "Transpose", axes(), &[turned], split);
    push(flat, call, "Reshape", vec![], &[split], call.outputs[0]);
    Some(())
}

fn expand(flat: &mut Flat, call: &FlatCall) {
    let [query, key, value] = [0, 1, 2].map(|at| call.input(at).unwrap_or_default());
    let element = flat.values[query].element;
    let q = flat.values[query].shape.clone();
    let k = flat.values[key].shape.clone();
    let scores = [q[0], q[1], q[2], k[2]];
    let add = |flat: &mut Flat, name: &str, attrs: Vec<(&'static str, Attr)>, inputs: &[ValueAt], shape: &[usize]| {
        flat.values.push(Known { element, shape: shape.to_vec(), constant: None });
        let result = flat.values.len() - 1;
        push(flat, call, name, attrs, inputs, result);
        result
    };
    let constant = |flat: &mut Flat, tensor: Tensor| {
        flat.values.push(Known { element: tensor.element(), shape: tensor.shape().to_vec(), constant: Some(tensor) });
        flat.values.len() - 1
    };
    let axes = Attr::Ints([0, 1, 3, 2].into());
    let turned = add(flat, "Transpose", vec![("perm", axes)], &[key], &[k[0], k[1], k[3], k[2]]);
    let products = add(flat, "MatMul", vec![], &[query, turned], &scores);
    let factor = Tensor::full(element, &[], f64::from(scale(call, q[3])));
    let mut current = match factor {
        Ok(factor) => {
            let factor = constant(flat, factor);
            add(flat, "Mul", vec![], &[products, factor], &scores)
        }
        Err(_) => products,
    };
    if call.attrs.flag("is_causal") {
        let allowed: Vec<bool> = (0..q[2] * k[2]).map(|at| at % k[2] <= at / k[2]).collect();
        if let Ok(allowed) = Tensor::from_bools(&[q[2], k[2]], &allowed) {
            let allowed = constant(flat, allowed);
            current = masked(flat, current, allowed, element, &constant, &add, &scores);
        }
    }
    if let Some(mask) = call.input(3) {
        current = match flat.values[mask].element {
            Element::Bool => masked(flat, current, mask, element, &constant, &add, &scores),
            _ => add(flat, "Add", vec![], &[current, mask], &scores),
        };
    }
    let weights = add(flat, "Softmax", vec![("axis", Attr::Int(-1))], &[current], &scores);
    push(flat, call, "MatMul", vec![], &[weights, value], call.outputs[0]);
}

/// `scores` where `allowed`, elsewhere minus infinity.
fn masked(
    flat: &mut Flat,
    scores: ValueAt,
    allowed: ValueAt,
    element: Element,
    constant: &dyn Fn(&mut Flat, Tensor) -> ValueAt,
    add: &dyn Fn(&mut Flat, &str, Vec<(&'static str, Attr)>, &[ValueAt], &[usize]) -> ValueAt,
    shape: &[usize],
) -> ValueAt {
    match Tensor::full(element, &[], f64::NEG_INFINITY) {
        Ok(never) => {
            let never = constant(flat, never);
            add(flat, "Where", vec![], &[allowed, scores, never], shape)
        }
        Err(_) => scores,
    }
}

/// Appends a call of `name` in place of `call`, whose name and group it takes.
pub(crate) fn push(
    flat: &mut Flat,
    call: &FlatCall,
    name: &str,
    attrs: Vec<(&'static str, Attr)>,
    inputs: &[ValueAt],
    result: ValueAt,
) {
    let Some(def) = ops::lookup("", name) else { return };
    let attrs: Attrs = attrs.into_iter().collect();
    flat.calls.push(FlatCall {
        op: Op::Builtin(def),
        attrs,
        inputs: inputs.iter().map(|&input| Some(input)).collect(),
        outputs: vec![result],
        name: call.name.clone(),
        group: call.group,
    });
}

/// Plans attention as one kernel.
pub(crate) fn lower(planner: &mut Planner, call: &FlatCall) -> Result<(), Refusal> {
    let flat = planner.flat;
    let missing = || Refusal::new("", "an input is missing");
    let mut views = Vec::new();
    for at in 0..3 {
        let value = call.input(at).ok_or_else(missing)?;
        let view = planner.view(value)?;
        // Rows must be read 16 bytes at a time; heads and positions may lie anywhere.
        let rows =
            view.strides[3] == 1 && view.strides[..3].iter().all(|stride| stride % 8 == 0) && view.offset % 8 == 0;
        views.push(match view.scalar == Scalar::F16 && rows {
            true => view,
            false => planner.copied(view, Scalar::F16, &[0, 1, 2, 3], &call.name)?,
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
    let out = planner.fresh(Scalar::F16, &flat.values[call.outputs[0]].shape, &[0, 2, 1, 3]);
    let n_warps = [4, 2].into_iter().find(|n| batch * heads * n_queries.div_ceil(n * QUERIES) >= 132).unwrap_or(1);
    let source = source(&views, mask.as_ref(), &out, n_warps, scale(call, depth), call.attrs.flag("is_causal"));
    let parameters: Vec<usize> = views.iter().chain(&mask).chain([&out]).map(|view| view.buffer).collect();
    let reads = parameters[..parameters.len() - 1].to_vec();
    let grid = [n_queries.div_ceil(n_warps * QUERIES) as u32, (batch * heads) as u32];
    planner.plan.steps.push(Step {
        work: Work::Kernel(Generated {
            source,
            name: "region",
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

fn source(views: &[View], mask: Option<&View>, out: &View, n_warps: usize, scale: f32, is_causal: bool) -> String {
    let [_, heads, n_queries, depth] = out.shape[..] else { return String::new() };
    let n_keys = views[1].shape[2];
    let base = |view: &View| format!("{}u + batch * {}u + head * {}u", view.offset, view.strides[0], view.strides[1]);
    let step = |view: &View| view.strides[2];
    let mask_parameter =
        mask.map_or(String::new(), |mask| format!("const {}* __restrict__ mask, ", mask.scalar.spelled()));
    let masked = mask.map_or(String::new(), |mask| {
        let element = format!(
            "get(mask[{} + (query < {n_queries} ? query : {}) * {}u + key * {}u])",
            base(mask),
            n_queries - 1,
            mask.strides[2],
            mask.strides[3]
        );
        match mask.scalar {
            Scalar::Bool => format!("if (key < {n_keys} && !{element}) score = never;"),
            _ => format!("if (key < {n_keys}) score += {element} * 1.4426950408889634f;"),
        }
    });
    let causal = if is_causal { "if (key > query) score = never;" } else { "" };
    let threads = n_warps * 32;
    let (pitch, vectors, tiles, parts) = (depth + 8, depth / 8, depth / 8, depth / 16);
    let queries = n_warps * QUERIES;
    let scale = scale * std::f32::consts::LOG2_E;
    format!(
        r#"{PRELUDE}
typedef unsigned u32;
__device__ __forceinline__ void multiply(float* c, const u32* a, u32 b0, u32 b1) {{
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {{%0,%1,%2,%3}}, {{%4,%5,%6,%7}}, {{%8,%9}}, {{%0,%1,%2,%3}};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}}
__device__ __forceinline__ u32 packed(float low, float high) {{
  u32 both; asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low)); return both;
}}
extern "C" __global__ void __launch_bounds__({threads}) region(
    const half_t* __restrict__ q, const half_t* __restrict__ k, const half_t* __restrict__ v, {mask_parameter}half_t* __restrict__ out) {{
  __shared__ alignas(16) half_t keys[{KEYS} * {pitch}], values[{KEYS} * {pitch}];
  const float never = -__int_as_float(0x7f800000);
  const int lane = threadIdx.x % 32, group = lane / 4, pair = lane % 4 * 2;
  const u32 batch = blockIdx.y / {heads}u, head = blockIdx.y % {heads}u;
  const int first = blockIdx.x * {queries} + threadIdx.x / 32 * {QUERIES} + group;
  const half_t* query_rows = q + {q_base};
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
  for (int start = 0; start < {n_keys}; start += {KEYS}) {{
    __syncthreads();
    for (int at = threadIdx.x; at < {KEYS} * {vectors}; at += {threads}) {{
      const int row = at / {vectors}, column = at % {vectors} * 8, key = start + row;
      Pack<4, u32> x = {{0u, 0u, 0u, 0u}}, y = {{0u, 0u, 0u, 0u}};
      if (key < {n_keys}) {{
        x = *reinterpret_cast<const Pack<4, u32>*>(k + {k_base} + key * {k_step}u + column);
        y = *reinterpret_cast<const Pack<4, u32>*>(v + {v_base} + key * {v_step}u + column);
      }}
      *reinterpret_cast<Pack<4, u32>*>(keys + row * {pitch} + column) = x;
      *reinterpret_cast<Pack<4, u32>*>(values + row * {pitch} + column) = y;
    }}
    __syncthreads();
    float s[{key_tiles}][4];
    float highest[2] = {{top[0], top[1]}};
#pragma unroll
    for (int tile = 0; tile < {key_tiles}; ++tile) {{
      s[tile][0] = s[tile][1] = s[tile][2] = s[tile][3] = 0.f;
      const half_t* row = keys + (tile * 8 + group) * {pitch} + pair;
#pragma unroll
      for (int part = 0; part < {parts}; ++part)
        multiply(s[tile], a[part], *reinterpret_cast<const u32*>(row + part * 16), *reinterpret_cast<const u32*>(row + part * 16 + 8));
#pragma unroll
      for (int at = 0; at < 4; ++at) {{
        const int key = start + tile * 8 + pair + at % 2, query = first + at / 2 * 8;
        float score = s[tile][at] * {scale:e}f;
        {masked}
        {causal}
        if (key >= {n_keys}) score = never;
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
      shrink[half] = exp2f(top[half] - offset[half]);
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
        s[tile][at] = exp2f(s[tile][at] - offset[at / 2]);
        total[at / 2] += s[tile][at];
      }}
#pragma unroll
    for (int part = 0; part < {key_parts}; ++part) {{
      const u32 p[4] = {{packed(s[2 * part][0], s[2 * part][1]), packed(s[2 * part][2], s[2 * part][3]),
                        packed(s[2 * part + 1][0], s[2 * part + 1][1]), packed(s[2 * part + 1][2], s[2 * part + 1][3])}};
      const u32 row = (u32)__cvta_generic_to_shared(values + (part * 16 + lane % 16) * {pitch});
#pragma unroll
      for (int tile = 0; tile < {tiles}; ++tile) {{
        u32 b0, b1;
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {{%0,%1}}, [%2];" : "=r"(b0), "=r"(b1) : "r"(row + tile * 16));
        multiply(sum[tile], p, b0, b1);
      }}
    }}
  }}
#pragma unroll
  for (int half = 0; half < 2; ++half) {{
    total[half] += __shfl_xor_sync(~0u, total[half], 1);
    total[half] += __shfl_xor_sync(~0u, total[half], 2);
    const float inverse = 1.f / total[half];
    const int query = first + half * 8;
    if (query >= {n_queries}) continue;
    half_t* row = out + {out_base} + query * {out_step}u + pair;
#pragma unroll
    for (int tile = 0; tile < {tiles}; ++tile)
      *reinterpret_cast<u32*>(row + tile * 8) = packed(sum[tile][2 * half] * inverse, sum[tile][2 * half + 1] * inverse);
  }}
}}
"#,
        q_base = base(&views[0]),
        k_base = base(&views[1]),
        v_base = base(&views[2]),
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
