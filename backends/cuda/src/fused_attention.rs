//! Attention by cuDNN's graph interface, as the operations that its fused engines are found by: scores, their softmax, and sums of
//! values.

use crate::cudnn::{
    Argument, Cudnn, Descriptor, Kept, Mode, Name, Object, OperationGraph, Pointwise, Type, element, tensor,
};
use crate::view::{Scalar, View};
use cudarc::cudnn::sys;
use eutectic_ir::diag::Diagnostic;

/// The most columns of a head that the fused engines of every device have.
const MOST_COLUMNS: usize = 128;
/// The first version that hides scores by an infinity; versions before want the lowest number.
const HIDES_BY_INFINITY: usize = 91_000;

/// Sizes and strides in elements of a tensor of batch, heads, positions and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Batch, heads, positions, columns.
    pub shape: [usize; 4],
    /// From one to the next along each axis.
    pub strides: [usize; 4],
}

/// `out = softmax(scale queries keys^T) values` for each head, in float16 or bfloat16, with sums in float32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FusedAttention {
    /// As many columns as the keys.
    pub queries: Heads,
    /// One head of them may serve several of the queries.
    pub keys: Heads,
    /// As many positions as the keys.
    pub values: Heads,
    /// The result.
    pub out: Heads,
    /// How all of them are stored.
    pub scalar: Scalar,
    /// What scores are multiplied by.
    pub scale: f32,
    /// No query sees a key of a later position than its own.
    pub is_causal: bool,
}

impl Heads {
    /// `None` for other ranks, rows whose columns do not follow each other, and tensors that repeat elements.
    fn of(view: &View) -> Option<Self> {
        let shape = <[usize; 4]>::try_from(view.shape.as_slice()).ok()?;
        let mut strides = <[usize; 4]>::try_from(view.strides.as_slice()).ok()?;
        if strides[3] != 1 || (0..4).any(|axis| shape[axis] > 1 && strides[axis] == 0) {
            return None;
        }
        // Any stride is right for an axis of one; the library reads an order of axes from strides.
        for axis in (0..3).rev().filter(|&axis| shape[axis] == 1) {
            strides[axis] = (axis + 1..4).map(|inner| shape[inner] * strides[inner]).max()?;
        }
        Some(Self { shape, strides })
    }

    /// The last two axes exchanged.
    fn turned(self) -> ([usize; 4], [usize; 4]) {
        let ([a, b, c, d], [p, q, r, s]) = (self.shape, self.strides);
        ([a, b, d, c], [p, q, s, r])
    }

    fn sizes(self) -> ([usize; 4], [usize; 4]) {
        (self.shape, self.strides)
    }
}

impl FusedAttention {
    /// Attention of `views`, queries, keys and values, without a mask. `None` for what the library has no fused engine for.
    pub(crate) fn of(views: &[View], out: &View, scale: f32, is_causal: bool) -> Option<Self> {
        let [queries, keys, values] = views else { return None };
        let [_, _, _, columns] = out.shape[..] else { return None };
        let is_one_type = views.iter().all(|view| view.scalar == out.scalar);
        let fits = columns % 8 == 0 && columns <= MOST_COLUMNS;
        if !is_one_type || !out.scalar.is_narrow() || !fits || scale <= 0.0 || !scale.is_finite() {
            return None;
        }
        Some(Self {
            queries: Heads::of(queries)?,
            keys: Heads::of(keys)?,
            values: Heads::of(values)?,
            out: Heads::of(out)?,
            scalar: out.scalar,
            scale,
            is_causal,
        })
    }
}

const QUERIES: i64 = 1;
const KEYS: i64 = 2;
const VALUES: i64 = 3;
const OUT: i64 = 4;
const SCALE: i64 = 5;
const HIDDEN: i64 = 6;
/// Of tensors between operations: the first of their identifiers.
const BETWEEN: i64 = 100;

impl Cudnn {
    pub(crate) fn attention_graph(&self, attention: &FusedAttention) -> Result<OperationGraph, Diagnostic> {
        let Chain { parts, operations, .. } = chain(attention)?;
        self.graph(operations, parts)
    }

    /// What each tensor of the graph is when a plan runs.
    pub(crate) fn attention_arguments(&self, attention: &FusedAttention) -> Vec<(i64, Argument)> {
        let mut arguments = vec![
            (QUERIES, Argument::Operand(|at| at.left, 0)),
            (KEYS, Argument::Operand(|at| at.right, 0)),
            (VALUES, Argument::Operand(|at| at.values, 0)),
            (OUT, Argument::Operand(|at| at.out, 0)),
            (SCALE, Argument::Number(attention.scale)),
        ];
        if attention.is_causal {
            let hidden = if self.version() < HIDES_BY_INFINITY { f32::MIN } else { f32::NEG_INFINITY };
            arguments.push((HIDDEN, Argument::Number(hidden)));
        }
        arguments
    }
}

/// Operations of a graph in order, and what they are described by.
#[derive(Default)]
struct Chain {
    parts: Vec<Descriptor>,
    operations: Vec<Descriptor>,
    n_between: i64,
}

impl Chain {
    /// A tensor between operations, dense.
    fn between(&mut self, shape: [usize; 4], scalar: Scalar) -> Result<Descriptor, Diagnostic> {
        let [_, b, c, d] = shape;
        self.n_between += 1;
        tensor(BETWEEN + self.n_between, (shape, [b * c * d, c * d, d, 1]), scalar, Kept::Between)
    }

    fn push(&mut self, [description, operation]: [Descriptor; 2]) {
        self.parts.push(description);
        self.operations.push(operation);
    }

    fn pointwise(&mut self, of: Pointwise, operands: &[&Descriptor], to: &Descriptor) -> Result<(), Diagnostic> {
        self.push(of.operation(operands, to)?);
        Ok(())
    }

    fn product(&mut self, left: &Descriptor, right: &Descriptor, to: &Descriptor) -> Result<(), Diagnostic> {
        let description = Descriptor::new(Object::CUDNN_BACKEND_MATMUL_DESCRIPTOR)?;
        description.set(Name::CUDNN_ATTR_MATMUL_COMP_TYPE, Type::CUDNN_TYPE_DATA_TYPE, &[element(Scalar::F32)])?;
        description.finalize()?;
        let operation = Descriptor::new(Object::CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR)?;
        operation.set_descriptors(Name::CUDNN_ATTR_OPERATION_MATMUL_DESC, &[&description])?;
        operation.set_descriptors(Name::CUDNN_ATTR_OPERATION_MATMUL_ADESC, &[left])?;
        operation.set_descriptors(Name::CUDNN_ATTR_OPERATION_MATMUL_BDESC, &[right])?;
        operation.set_descriptors(Name::CUDNN_ATTR_OPERATION_MATMUL_CDESC, &[to])?;
        operation.finalize()?;
        self.push([description, operation]);
        Ok(())
    }

    /// `to` reduces each row of `from`.
    fn reduction(
        &mut self,
        operator: sys::cudnnReduceTensorOp_t,
        from: &Descriptor,
        to: &Descriptor,
    ) -> Result<(), Diagnostic> {
        let description = Descriptor::new(Object::CUDNN_BACKEND_REDUCTION_DESCRIPTOR)?;
        let kind = Type::CUDNN_TYPE_REDUCTION_OPERATOR_TYPE;
        description.set(Name::CUDNN_ATTR_REDUCTION_COMP_TYPE, Type::CUDNN_TYPE_DATA_TYPE, &[element(Scalar::F32)])?;
        description.set(Name::CUDNN_ATTR_REDUCTION_OPERATOR, kind, &[operator])?;
        description.finalize()?;
        let operation = Descriptor::new(Object::CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR)?;
        operation.set_descriptors(Name::CUDNN_ATTR_OPERATION_REDUCTION_DESC, &[&description])?;
        operation.set_descriptors(Name::CUDNN_ATTR_OPERATION_REDUCTION_XDESC, &[from])?;
        operation.set_descriptors(Name::CUDNN_ATTR_OPERATION_REDUCTION_YDESC, &[to])?;
        operation.finalize()?;
        self.push([description, operation]);
        Ok(())
    }
}

/// A number that is handed over by value.
fn number(id: i64) -> Result<Descriptor, Diagnostic> {
    tensor(id, ([1; 4], [1; 4]), Scalar::F32, Kept::ByValue)
}

/// Operations in the order and with the types between them that the fused engines are found by: everything in float32, but the
/// weights, which are multiplied with values as they are stored.
fn chain(attention: &FusedAttention) -> Result<Chain, Diagnostic> {
    use sys::cudnnReduceTensorOp_t as Reduce;
    let [batch, heads, n_queries, _] = attention.queries.shape;
    let (scores, rows) = ([batch, heads, n_queries, attention.keys.shape[2]], [batch, heads, n_queries, 1]);
    let stored = |id: i64, sizes| tensor(id, sizes, attention.scalar, Kept::InMemory);
    let mut chain = Chain::default();
    let queries = stored(QUERIES, attention.queries.sizes())?;
    let keys = stored(KEYS, attention.keys.turned())?;
    let values = stored(VALUES, attention.values.sizes())?;
    let out = stored(OUT, attention.out.sizes())?;
    let scale = number(SCALE)?;
    let products = chain.between(scores, Scalar::F32)?;
    chain.product(&queries, &keys, &products)?;
    let mut seen = chain.between(scores, Scalar::F32)?;
    chain.pointwise(Pointwise::of(Mode::CUDNN_POINTWISE_MUL), &[&products, &scale], &seen)?;
    if attention.is_causal {
        let (query, key) = (chain.between(scores, Scalar::I32)?, chain.between(scores, Scalar::I32)?);
        let place = |axis| Pointwise { mode: Mode::CUDNN_POINTWISE_GEN_INDEX, scalar: Scalar::I32, axis: Some(axis) };
        chain.pointwise(place(2), &[&seen], &query)?;
        chain.pointwise(place(3), &[&seen], &key)?;
        let is_seen = chain.between(scores, Scalar::Bool)?;
        let compared = Pointwise { mode: Mode::CUDNN_POINTWISE_CMP_GE, scalar: Scalar::Bool, axis: None };
        chain.pointwise(compared, &[&query, &key], &is_seen)?;
        let (hidden, all) = (number(HIDDEN)?, chain.between(scores, Scalar::F32)?);
        chain.pointwise(Pointwise::of(Mode::CUDNN_POINTWISE_BINARY_SELECT), &[&seen, &hidden, &is_seen], &all)?;
        chain.parts.extend([query, key, is_seen, hidden, std::mem::replace(&mut seen, all)]);
    }
    let largest = chain.between(rows, Scalar::F32)?;
    chain.reduction(Reduce::CUDNN_REDUCE_TENSOR_MAX, &seen, &largest)?;
    let below = chain.between(scores, Scalar::F32)?;
    chain.pointwise(Pointwise::of(Mode::CUDNN_POINTWISE_SUB), &[&seen, &largest], &below)?;
    let powers = chain.between(scores, Scalar::F32)?;
    chain.pointwise(Pointwise::of(Mode::CUDNN_POINTWISE_EXP), &[&below], &powers)?;
    let total = chain.between(rows, Scalar::F32)?;
    chain.reduction(Reduce::CUDNN_REDUCE_TENSOR_ADD, &powers, &total)?;
    // The logarithm of the total beside the largest score: nothing reads it here, but without it no fused engine is found.
    let logarithm = chain.between(rows, Scalar::F32)?;
    chain.pointwise(Pointwise::of(Mode::CUDNN_POINTWISE_LOG), &[&total], &logarithm)?;
    let statistics = chain.between(rows, Scalar::F32)?;
    chain.pointwise(Pointwise::of(Mode::CUDNN_POINTWISE_ADD), &[&largest, &logarithm], &statistics)?;
    let weights = chain.between(scores, attention.scalar)?;
    chain.pointwise(Pointwise::of(Mode::CUDNN_POINTWISE_DIV), &[&powers, &total], &weights)?;
    chain.product(&weights, &values, &out)?;
    chain.parts.extend([queries, keys, values, out, scale, products, seen, largest, below, powers, total]);
    chain.parts.extend([logarithm, statistics, weights]);
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expanded::read;
    use crate::fused::{Fused, is_steady};
    use crate::plan::{Ways, Work};
    use crate::planner::plan;
    use crate::tuning::key;
    use crate::view::{Precision, row_major};
    use crate::{Cuda, Whole};
    use eutectic_ir::text::parse_model;

    /// The ways to attention of two heads of 64 columns, of which queries, keys and values are parts of one product.
    fn planned(attention: &str, precision: Precision) -> Option<Box<Ways>> {
        let text = format!(
            r#"<ir_version: 11, opset_import: ["": 24]>
            g (float[3,80,128] x, float[80,80] mask) => (float[3,80,128] y)
            <float[128,384] w = ["location": "seed:1", "low": "-1", "high": "1"]> {{
                all = MatMul (x, w)
                q, k, v = Split <axis: int = 2, num_outputs: int = 3> (all)
                y = Attention <q_num_heads: int = 2, kv_num_heads: int = 2{attention})
            }}"#
        );
        let (model, _) = parse_model(&text).unwrap_or_else(|problems| panic!("{text}: {problems}"));
        let cuda = Cuda { precision, cache: None };
        let expanded = cuda.expand(&model, Whole::ALL, &[]).expect("known sizes");
        let flat = read(&expanded).expect("it is flat");
        let plan = plan(&flat, precision).unwrap_or_else(|refusals| panic!("{refusals:?}"));
        plan.steps.into_iter().find_map(|step| match step.work {
            Work::Contraction(ways, places) if step.name == "Attention" => {
                assert!(places.values.is_some());
                Some(ways)
            }
            _ => None,
        })
    }

    fn fused(attention: &str, precision: Precision) -> Option<FusedAttention> {
        match planned(attention, precision)?.fused {
            Some(Fused::Attention(attention)) => Some(*attention),
            _ => None,
        }
    }

    #[test]
    fn parts_of_one_product_are_read_where_they_lie() {
        let found = fused("> (q, k, v", Precision::F16).expect("a library may compute it");
        let part = Heads { shape: [3, 2, 80, 64], strides: [80 * 384, 64, 384, 1] };
        assert_eq!([found.queries, found.keys, found.values], [part; 3]);
        assert_eq!(found.out, Heads { shape: [3, 2, 80, 64], strides: [80 * 128, 64, 128, 1] });
        assert_eq!((found.scalar, found.scale, found.is_causal), (Scalar::F16, 0.125, false));
        let causal = fused(", is_causal: int = 1, scale: float = 0.5> (q, k, v", Precision::Bf16);
        let causal = causal.expect("a library may compute it");
        assert_eq!((causal.scalar, causal.scale, causal.is_causal), (Scalar::Bf16, 0.5, true));
    }

    #[test]
    fn the_library_is_not_asked_for_what_it_lacks() {
        assert!(fused("> (q, k, v, mask", Precision::F16).is_none());
        assert!(fused(", softcap: float = 30.0> (q, k, v", Precision::F16).is_none());
        assert!(fused(", scale: float = -0.5> (q, k, v", Precision::F16).is_none());
        assert!(fused("> (q, k, v", Precision::F32).is_none());
        let of = |scalar, columns| {
            let heads = |buffer| View::dense(buffer, scalar, &[1, 2, 32, columns], &row_major(4));
            FusedAttention::of(&[heads(0), heads(1), heads(2)], &heads(3), 1.0, false)
        };
        assert!(of(Scalar::F16, 128).is_some());
        assert!(of(Scalar::F16, 136).is_none());
        assert!(of(Scalar::F16, 60).is_none());
        assert!(of(Scalar::F32, 64).is_none());
    }

    #[test]
    fn an_axis_of_one_has_a_stride_beyond_the_axes_in_it() {
        let view = View::dense(0, Scalar::F16, &[1, 1, 32, 64], &row_major(4));
        let heads = Heads::of(&View { strides: vec![0, 0, 64, 1], ..view.clone() }).expect("one batch, one head");
        assert_eq!(heads.strides, [2048, 2048, 64, 1]);
        // Keys that all members of a batch share.
        let shared = View { shape: vec![2, 1, 32, 64], strides: vec![0, 2048, 64, 1], ..view };
        assert!(Heads::of(&shared).is_none());
    }

    #[test]
    fn choices_are_kept_apart_by_what_the_library_is_asked_for() {
        let ways = planned("> (q, k, v", Precision::F16).expect("attention");
        let asked = key(&ways);
        let Some(Fused::Attention(attention)) = ways.fused.clone() else { panic!("a library may compute it") };
        let with = |attention: Option<FusedAttention>| {
            key(&Ways { fused: attention.map(|attention| Fused::Attention(Box::new(attention))), ..(*ways).clone() })
        };
        assert_ne!(asked, with(None));
        assert_ne!(asked, with(Some(FusedAttention { is_causal: true, ..*attention })));
        assert_eq!(asked, with(Some(*attention)));
    }

    #[test]
    fn the_library_has_fused_engines_for_what_it_is_asked() {
        if crate::cudnn::tests::version().is_none() {
            println!("skipped: cuDNN, or what it needs, is absent or older");
            return;
        }
        let heads = |buffer, scalar, shape: [usize; 4]| View::dense(buffer, scalar, &shape, &[0, 2, 1, 3]);
        // Batch, heads of queries and of keys, queries, keys, columns.
        let cases = [
            ([1, 12, 12, 1024, 1024, 64], Scalar::F16),
            ([8, 12, 12, 197, 197, 64], Scalar::Bf16),
            ([2, 8, 2, 100, 100, 128], Scalar::F16),
            ([2, 4, 4, 64, 77, 48], Scalar::F16),
            ([1, 4, 4, 1, 300, 64], Scalar::F16),
        ];
        let mut asked = vec![fused("> (q, k, v", Precision::F16).expect("a library may compute it")];
        for ([batch, n_heads, shared, queries, keys, columns], scalar) in cases {
            let of_keys = |buffer| heads(buffer, scalar, [batch, shared, keys, columns]);
            let of_queries = |buffer| heads(buffer, scalar, [batch, n_heads, queries, columns]);
            let views = [of_queries(0), of_keys(1), of_keys(2)];
            asked.extend([false, true].map(|is_causal| {
                FusedAttention::of(&views, &of_queries(3), 0.125, is_causal).expect("a library may compute it")
            }));
        }
        for attention in asked {
            let chain = chain(&attention).unwrap_or_else(|problem| panic!("{attention:?}: {problem:?}"));
            let engines = crate::cudnn::tests::offered_on_h100(&chain.operations);
            let engines = engines.unwrap_or_else(|problem| panic!("{attention:?}: {problem:?}"));
            println!("{attention:?}: {engines:?}");
            assert!(engines.iter().any(|notes| is_steady(notes.as_deref())), "{attention:?}: {engines:?}");
        }
    }
}
