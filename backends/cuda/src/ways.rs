//! Every way to a product or convolution with what follows it: what libraries have in their kernels, and what they have not.

use crate::flat::Refusal;
use crate::plan::{Ours, Place, Sums, Ways};
use crate::planner::Planner;
use crate::product::Activation;
use crate::region::{Input, Made, Operand, Region, Register, Value};
use crate::regions;
use crate::units::Joining;
use crate::view::{Class, Scalar, View};

/// A result as a library's kernel leaves it.
pub(crate) struct Native<'a> {
    /// A row that is added, and the axis that it lies along.
    pub row: Option<(&'a View, usize)>,
    /// A tensor that is added.
    pub residual: Option<&'a View>,
    /// What kernels of ours may compute, too, and the row that it adds, if it has one, with the axis that it lies along. A shortcut is the
    /// residual.
    pub before: Option<(Joining, Option<(&'a View, usize)>)>,
    /// What comes at the end.
    pub activation: Activation,
    /// The result.
    pub out: &'a View,
}

/// How a step comes to its result.
pub(crate) struct Complete {
    /// Every way.
    pub ways: Ways,
    /// The result.
    pub out: View,
    /// Buffers that are read besides those of the library's kernel.
    pub reads: Vec<usize>,
    /// Buffers that are written.
    pub writes: Vec<usize>,
    /// Bytes that are moved besides those of the library's kernel.
    pub bytes: f64,
}

/// The ways to what `calls` compute, the first `n_native` of which are what `libraries` leave in `native`. `ours` gives the kernels
/// that compute sums, with or without what is before, and what a region makes of them.
pub(crate) fn complete(
    planner: &mut Planner,
    (calls, n_native): (&[usize], usize),
    native: &Native,
    libraries: Ways,
    ours: &dyn Fn(&Region, bool) -> Vec<Ours>,
) -> Result<Complete, Refusal> {
    let of = planner.flat.calls[calls[n_native - 1]].outputs[0];
    let (rows, behind) = (native.row.as_slice(), &calls[n_native..]);
    let apart = epilogue(native.out, rows, native.residual, native.activation);
    let joined = native.before.and_then(|(joining, row)| match joining {
        Joining::Shortcut => {
            let rows: Vec<(&View, usize)> = rows.iter().copied().chain(row).collect();
            epilogue(native.out, &rows, None, native.activation)
        }
        Joining::Chain => apart.clone(),
    });
    let epilogues = || joined.iter().map(|region| (region, true)).chain(apart.iter().map(|region| (region, false)));
    if behind.is_empty() {
        let kernels = epilogues().flat_map(|(region, includes_before)| ours(region, includes_before)).collect();
        let ways = Ways { ours: kernels, ..libraries };
        planner.views[of] = Some(native.out.clone());
        let (out, writes) = (native.out.clone(), vec![native.out.buffer]);
        return Ok(Complete { ways, out, reads: Vec::new(), writes, bytes: 0.0 });
    }
    let (after, region, out, bytes) = regions::behind(planner, of, ("$0", &[native.out]), None, behind, calls)?;
    let is_read = |&buffer: &usize| buffer != native.out.buffer && buffer != out.buffer;
    let reads: Vec<usize> = after.parameters.iter().copied().filter(is_read).collect();
    let sums = Sums {
        product: libraries.product,
        convolution: libraries.convolution,
        otherwise: libraries.otherwise,
        after,
        reads: reads.clone(),
        place: Place::of(native.out),
        result: (out.count(), out.scalar),
    };
    let kernels = epilogues()
        .flat_map(|(epilogue, includes_before)| ours(&followed(epilogue.clone(), region.clone()), includes_before))
        .collect();
    let ways = Ways { sums: Some(Box::new(sums)), ..Ways::of_ours(kernels) };
    let writes = vec![out.buffer, native.out.buffer];
    Ok(Complete { ways, out, reads, writes, bytes })
}

/// What makes `out` of sums that lie as it does: `rows` that are added, each along an axis, a residual, an activation. The sums are the
/// first operand, and are in no buffer.
pub(crate) fn epilogue(
    out: &View,
    rows: &[(&View, usize)],
    residual: Option<&View>,
    activation: Activation,
) -> Option<Region> {
    let sums = View { buffer: usize::MAX, offset: 0, scalar: Scalar::F32, ..out.clone() };
    let rows = rows.iter().map(|&(view, axis)| {
        let mut strides = vec![0; out.shape.len()];
        strides[axis] = 1;
        (view.count() == out.shape[axis]).then(|| View { shape: out.shape.clone(), strides, ..view.clone() })
    });
    let residual = residual.map(|view| view.reshaped(&out.shape));
    let mut operands = vec![sums];
    for operand in rows.chain(residual) {
        operands.push(operand?);
    }
    let value = |made| Value { made, class: Class::Real, is_row: false };
    let mut values: Vec<Value> = (0..operands.len()).map(|at| value(Made::Load(at))).collect();
    let mut last = 0;
    let mut then = |values: &mut Vec<Value>, template: &str, others: Vec<Register>| {
        let inputs = [last].into_iter().chain(others).map(Input::Register).collect();
        values.push(value(Made::Expression(template.into(), inputs)));
        last = values.len() - 1;
    };
    (1..operands.len()).for_each(|other| then(&mut values, "($0 + $1)", vec![other]));
    match activation {
        Activation::None => {}
        Activation::Relu => then(&mut values, "relu($0)", vec![]),
        Activation::Gelu => then(&mut values, "gelu($0)", vec![]),
        Activation::GeluTanh => then(&mut values, "gelu_tanh($0)", vec![]),
    }
    Some(Region {
        shape: out.shape.clone(),
        n_column_axes: 0,
        operands: operands.into_iter().map(|view| Operand { view, lookup: None }).collect(),
        stores: vec![(last, out.clone())],
        values,
    })
}

/// `first`, whose result is in no memory but the first operand of `then`.
pub(crate) fn followed(first: Region, then: Region) -> Region {
    let (n_operands, n_values) = (first.operands.len(), first.values.len());
    let last = first.stores.first().map_or(0, |(register, _)| *register);
    let register = |at: Register| if at == 0 { last } else { n_values + at - 1 };
    let value = |value: Value| {
        let made = match value.made {
            Made::Load(at) => Made::Load(n_operands + at - 1),
            Made::Expression(template, inputs) => {
                let input = |input| match input {
                    Input::Register(at) => Input::Register(register(at)),
                    literal => literal,
                };
                Made::Expression(template, inputs.into_iter().map(input).collect())
            }
            Made::Reduced(reduction, at) => Made::Reduced(reduction, register(at)),
        };
        Value { made, ..value }
    };
    Region {
        operands: first.operands.into_iter().chain(then.operands.into_iter().skip(1)).collect(),
        values: first.values.into_iter().chain(then.values.into_iter().skip(1).map(value)).collect(),
        stores: then.stores.into_iter().map(|(at, view)| (register(at), view)).collect(),
        ..first
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use crate::expanded::read;
    use crate::plan::{Content, Step, Work};
    use crate::planner::plan;
    use crate::tile::tests::{drawn, emulated, numbers};
    use crate::view::{Precision, Scalar};
    use crate::{Cuda, Whole};
    use eutectic_ir::eval::run_model;
    use eutectic_ir::tensor::Tensor;
    use eutectic_ir::text::parse_model;
    use eutectic_ir::types::Element;
    use eutectic_passes::cost::Device;
    use eutectic_passes::regions::{Fusions, form};

    /// The steps of a model in float16, all fusions admitted, and what lies in its buffers.
    pub(crate) fn steps(text: &str) -> (Vec<Step>, Vec<Content>) {
        let (model, _) = parse_model(text).unwrap_or_else(|problems| panic!("{text}: {problems}"));
        let cuda = Cuda { precision: Precision::F16, cache: None };
        let mut expanded = cuda.expand(&model, Whole::ALL, &[]).expect("known sizes");
        form(&mut expanded.model, &expanded.abilities, &Fusions::all(), &Device::h200());
        let flat = read(&expanded).expect("it is flat");
        let plan = plan(&flat, Precision::F16).unwrap_or_else(|refusals| panic!("{refusals:?}"));
        (plan.steps, plan.buffers.into_iter().map(|buffer| buffer.content).collect())
    }

    const GATED: &str = r#"<ir_version: 11, opset_import: ["": 24, "local": 1]>
        g (float16[1,16,6,5] x, float16[1,32,6,5] z) => (float16[1,32,6,5] y) <
            float16[32,16,3,3] w = ["location": "seed:1", "low": "-1", "high": "1"],
            float16[32] b = ["location": "seed:2", "low": "-1", "high": "1"]
        > { y = local.Gated (x, w, b, z) }
        <domain: "local", opset_import: ["": 24]> Gated (x, w, b, z) => (y) {
            c = Conv <pads: ints = [1, 1, 1, 1]> (x, w, b)
            h = HardSwish (c)
            y = Mul (h, z)
        }"#;

    #[test]
    fn calls_that_no_library_has_follow_in_the_kernel_of_a_tile() {
        let (steps, buffers) = steps(GATED);
        let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
        assert!(names.contains(&"Conv+HardSwish+Mul"), "{names:?}");
        let Some(Work::Contraction(ways, places)) =
            steps.iter().map(|step| &step.work).find(|work| matches!(work, Work::Contraction(..)))
        else {
            panic!("a convolution is expected")
        };
        let sums = ways.sums.as_deref().expect("libraries leave something to a second kernel");
        assert!(sums.convolution.as_ref().is_some_and(|convolution| convolution.has_bias) && sums.place != places.out);
        assert_eq!(sums.result, (32 * 6 * 5, Scalar::F16));

        let kernel = &ways.ours.first().expect("16 channels of two bytes are aligned").kernel;
        // The image that the kernel reads lies channels last, since it was copied so; what is beside it lies as it is given.
        let (image, x) = drawn(Scalar::F16, 16 * 30, 1);
        let (beside, _) = drawn(Scalar::F16, 32 * 30, 2);
        let planar = (0..16 * 30).flat_map(|at| half::f16::from_f64(x[at % 30 * 16 + at / 30]).to_le_bytes());
        let tensor =
            |channels: usize, bytes: Vec<u8>| Tensor::new(Element::Float16, &[1, channels, 6, 5], bytes.into());
        let inputs = [tensor(16, planar.collect()).ok(), tensor(32, beside.clone()).ok()];
        let operands: Vec<Vec<u8>> = kernel.parameters[..kernel.parameters.len() - 1]
            .iter()
            .map(|&buffer| match &buffers[buffer] {
                Content::Constant(constant) => constant.bytes().expect("numbers").into_owned(),
                Content::Input(_) => beside.clone(),
                Content::Arena => image.clone(),
            })
            .collect();
        let Some(found) = emulated(kernel, &operands, 32 * 30 * 2) else {
            println!("skipped: no C++ compiler");
            return;
        };
        let (model, _) = parse_model(GATED).expect("it parses");
        let expected = run_model::<f64>(&model, &inputs).expect("it runs")[0].to_tensor().expect("a tensor");
        let expected = expected.to_f64s().expect("numbers");
        for (at, found) in numbers(Scalar::F16, &found).into_iter().enumerate() {
            let (pixel, channel) = (at / 32, at % 32);
            let expected = expected[channel * 30 + pixel];
            assert!((expected - found).abs() <= 3e-3 * expected.abs().max(1.0), "{at}: {expected} {found}");
        }
    }

    #[test]
    fn what_a_library_has_needs_no_second_kernel() {
        let relu =
            GATED.replace("h = HardSwish (c)\n            y = Mul (h, z)", "h = Add (c, z)\n            y = Relu (h)");
        let (steps, _) = steps(&relu);
        let ways = steps.iter().find_map(|step| match &step.work {
            Work::Contraction(ways, _) => Some(ways),
            Work::Kernel(_) => None,
        });
        let ways = ways.expect("a convolution is expected");
        assert!(ways.sums.is_none() && ways.convolution.as_ref().is_some_and(|convolution| convolution.has_residual));
    }
}
