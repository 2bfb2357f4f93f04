//! Layer normalization and that by the root of the mean square by cuDNN's graph interface.

use crate::cudnn::{Argument, Cudnn, Descriptor, Kept, Name, Object, OperationGraph, Type, tensor};
use crate::flat::FlatCall;
use crate::fused::Fused;
use crate::plan::{Needs, Ours, Place, Places, Step, Ways, Work};
use crate::planner::Planner;
use crate::pointwise::RowOperator;
use crate::view::{Scalar, View, row_major};
use cudarc::cudnn::sys::{cudnnBackendNormFwdPhase_t as Phase, cudnnBackendNormMode_t as NormMode};
use eutectic_ir::diag::Diagnostic;

/// The library reads 16 bytes at a time.
const ALIGNMENT: usize = 16;

/// `out = x scaled to a mean square of one, times a row`; of layer normalization, after the mean is taken off and before a row is added.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FusedNormalization {
    /// Rows that are normalized, one after another.
    pub rows: usize,
    /// Elements of each.
    pub columns: usize,
    /// How the rows, the result and what they are scaled by are stored.
    pub scalar: Scalar,
    /// What is added to the mean square.
    pub epsilon: f32,
    /// Whether the mean is taken off first, and a row is added.
    pub is_centered: bool,
}

const ROWS: i64 = 1;
const SCALE: i64 = 2;
const BIAS: i64 = 3;
const EPSILON: i64 = 4;
const OUT: i64 = 5;

impl FusedNormalization {
    /// What each tensor of the graph is when a plan runs: rows left, their scale right.
    pub(crate) fn arguments(&self) -> Vec<(i64, Argument)> {
        let mut arguments = vec![
            (ROWS, Argument::Operand(|at| at.left, 0)),
            (SCALE, Argument::Operand(|at| at.right, 0)),
            (EPSILON, Argument::Number(self.epsilon)),
            (OUT, Argument::Operand(|at| at.out, 0)),
        ];
        if self.is_centered {
            arguments.push((BIAS, Argument::Operand(|at| at.bias, 0)));
        }
        arguments
    }

    /// The operation, and the tensors that it refers to.
    fn operation(&self) -> Result<(Descriptor, Vec<Descriptor>), Diagnostic> {
        let (rows, columns) = (self.rows, self.columns);
        let stored = |id, rows| tensor(id, ([rows, columns, 1, 1], [columns, 1, 1, 1]), self.scalar, Kept::InMemory);
        let tensors = vec![
            (Name::CUDNN_ATTR_OPERATION_NORM_FWD_XDESC, stored(ROWS, rows)?),
            (Name::CUDNN_ATTR_OPERATION_NORM_FWD_SCALE_DESC, stored(SCALE, 1)?),
            (
                Name::CUDNN_ATTR_OPERATION_NORM_FWD_EPSILON_DESC,
                tensor(EPSILON, ([1; 4], [1; 4]), Scalar::F32, Kept::ByValue)?,
            ),
            (Name::CUDNN_ATTR_OPERATION_NORM_FWD_YDESC, stored(OUT, rows)?),
        ];
        let bias = self.is_centered.then(|| stored(BIAS, 1)).transpose()?;
        let bias = bias.map(|bias| (Name::CUDNN_ATTR_OPERATION_NORM_FWD_BIAS_DESC, bias));
        let mode = if self.is_centered { NormMode::CUDNN_LAYER_NORM } else { NormMode::CUDNN_RMS_NORM };
        let phase = Phase::CUDNN_NORM_FWD_INFERENCE;
        let operation = Descriptor::new(Object::CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR)?;
        operation.set(Name::CUDNN_ATTR_OPERATION_NORM_FWD_MODE, Type::CUDNN_TYPE_NORM_MODE, &[mode])?;
        operation.set(Name::CUDNN_ATTR_OPERATION_NORM_FWD_PHASE, Type::CUDNN_TYPE_NORM_FWD_PHASE, &[phase])?;
        let mut parts = Vec::new();
        for (name, tensor) in tensors.into_iter().chain(bias) {
            operation.set_descriptors(name, &[&tensor])?;
            parts.push(tensor);
        }
        operation.finalize()?;
        Ok((operation, parts))
    }
}

impl Cudnn {
    pub(crate) fn normalization_graph(&self, of: &FusedNormalization) -> Result<OperationGraph, Diagnostic> {
        let (operation, parts) = of.operation()?;
        self.graph(vec![operation], parts)
    }
}

/// Lets the library compete for the last step, a kernel of ours for `call` alone, where that is a normalization it has engines for.
pub(crate) fn offer(planner: &mut Planner, call: &FlatCall, (operator, axes): (&RowOperator, &[usize])) {
    let (epsilon, is_centered) = match *operator {
        RowOperator::LayerNormalization { epsilon } => (epsilon, true),
        RowOperator::RmsNormalization { epsilon } => (epsilon, false),
        _ => return,
    };
    let mut view = |at: usize| call.input(at).and_then(|value| planner.view(value).ok());
    let (Some(x), Some(scale), bias) = (view(0), view(1), view(2)) else { return };
    let Some(out) = planner.views[call.outputs[0]].clone() else { return };
    let columns = scale.count();
    let is_row =
        |row: &View| row.count() == columns && row.scalar == x.scalar && row.is_dense_in(&row_major(row.shape.len()));
    let is_dense = |view: &View| {
        let is_aligned = view.offset * view.scalar.bytes() % ALIGNMENT == 0;
        view.scalar == x.scalar && is_aligned && view.is_dense_in(&row_major(view.shape.len()))
    };
    let is_stored = matches!(x.scalar, Scalar::F32 | Scalar::F16 | Scalar::Bf16);
    let normalized: usize = axes.iter().map(|&axis| x.shape[axis]).product();
    let are_vectors = columns > 0 && columns == normalized && columns * x.scalar.bytes() % ALIGNMENT == 0;
    let are_whole = [&scale].into_iter().chain(&bias).all(|row| is_row(row) && is_dense(row));
    if !is_stored
        || !are_vectors
        || !are_whole
        || ![&x, &out].into_iter().all(is_dense)
        || bias.is_some() != is_centered
    {
        return;
    }
    let fused = FusedNormalization { rows: x.count() / columns, columns, scalar: x.scalar, epsilon, is_centered };
    let Some(step) = planner.plan.steps.pop() else { return };
    let work = match step.work {
        Work::Kernel(kernel) => {
            let ours = Ours { name: "rows".into(), needs: Needs::Nothing, includes_before: false, kernel };
            let ways = Ways { fused: Some(Fused::Normalization(fused)), ..Ways::of_ours(vec![ours]) };
            let places = Places {
                left: Place::of(&x),
                right: Place::of(&scale),
                values: None,
                bias: bias.as_ref().map(Place::of),
                residual: None,
                factors: None,
                out: Place::of(&out),
            };
            Work::Contraction(Box::new(ways), places)
        }
        work => work,
    };
    planner.plan.steps.push(Step { work, ..step });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expanded::read;
    use crate::fused::is_steady;
    use crate::planner::plan;
    use crate::view::Precision;
    use crate::{Cuda, Whole};
    use eutectic_ir::text::parse_model;

    /// What the library is asked for of `call`, normalizations of 6 rows of 64, and the places of rows, scale, bias and result.
    fn asked(call: &str, precision: Precision) -> Option<(FusedNormalization, Places)> {
        let ty = if precision == Precision::F16 { "float16" } else { "float" };
        let text = format!(
            r#"<ir_version: 11, opset_import: ["": 24]>
            g ({ty}[2,3,64] x, {ty}[2,64,3] t) => ({ty}[2,3,64] y) <
                {ty}[64] g = ["location": "seed:1", "low": "-1", "high": "1"],
                {ty}[64] b = ["location": "seed:2", "low": "-1", "high": "1"]
            > {{ {call} }}"#
        );
        let (model, _) = parse_model(&text).unwrap_or_else(|problems| panic!("{text}: {problems}"));
        let expanded = Cuda { precision, cache: None }.expand(&model, Whole::ALL, &[]).expect("known sizes");
        let flat = read(&expanded).expect("it is flat");
        let plan = plan(&flat, precision).unwrap_or_else(|refusals| panic!("{refusals:?}"));
        plan.steps.into_iter().find_map(|step| match step.work {
            Work::Contraction(ways, places) => match ways.fused {
                Some(Fused::Normalization(found)) => {
                    assert_eq!(ways.ours.len(), 1);
                    Some((found, places))
                }
                _ => None,
            },
            Work::Kernel(_) => None,
        })
    }

    #[test]
    fn a_normalization_of_whole_rows_is_asked_for() {
        let (found, places) = asked("y = LayerNormalization <epsilon: float = 0.25> (x, g, b)", Precision::F16)
            .expect("a library may compute it");
        let expected =
            FusedNormalization { rows: 6, columns: 64, scalar: Scalar::F16, epsilon: 0.25, is_centered: true };
        assert_eq!(found, expected);
        let all = [Some(places.left), Some(places.right), places.bias, Some(places.out)];
        let buffers: std::collections::BTreeSet<usize> = all.iter().flatten().map(|place| place.buffer).collect();
        assert_eq!(buffers.len(), 4);
        let (found, places) = asked("y = RMSNormalization (x, g)", Precision::F32).expect("a library may compute it");
        assert_eq!(found, FusedNormalization { scalar: Scalar::F32, epsilon: 1e-5, is_centered: false, ..expected });
        assert_eq!(places.bias, None);
    }

    #[test]
    fn the_library_is_not_asked_for_what_it_lacks() {
        for call in [
            "y = LayerNormalization (x, g)",
            // One scale for several rows of what is normalized.
            "y = RMSNormalization <axis: int = 1> (x, g)",
            "p = Transpose <perm: ints = [0, 2, 1]> (t)  y = LayerNormalization (p, g, b)",
            "y = Softmax (x)",
        ] {
            assert_eq!(asked(call, Precision::F16).map(|found| found.0), None, "{call}");
        }
    }

    #[test]
    fn the_library_has_engines_for_what_it_is_asked() {
        if crate::cudnn::tests::version().is_none() {
            println!("skipped: cuDNN, or what it needs, is absent or older");
            return;
        }
        for (rows, columns) in [(128, 768), (16384, 2048), (6, 64), (5, 40)] {
            for scalar in [Scalar::F16, Scalar::Bf16, Scalar::F32] {
                for is_centered in [true, false] {
                    let asked = FusedNormalization { rows, columns, scalar, epsilon: 1e-5, is_centered };
                    let (operation, _parts) =
                        asked.operation().unwrap_or_else(|problem| panic!("{asked:?}: {problem:?}"));
                    let engines = crate::cudnn::tests::offered_on_h100(&[operation]);
                    let engines = engines.unwrap_or_else(|problem| panic!("{asked:?}: {problem:?}"));
                    println!("{asked:?}: {engines:?}");
                    assert!(engines.iter().any(|notes| is_steady(notes.as_deref())), "{asked:?}: {engines:?}");
                }
            }
        }
    }
}
