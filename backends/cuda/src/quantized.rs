//! Products and convolutions of quantized numbers: integers are multiplied as integers, and the scales follow the sums.
//!
//! Matrix units leave sums in memory, exact for integers, and a generated kernel makes the result of them: it scales them and does
//! whatever follows element by element, each call as its operator defines it. Where a library can do that in its own kernel, it is
//! one way more, and is checked against the other.

use crate::constants::{Constant, reals};
use crate::convolution::Convolution;
use crate::flat::{Flat, FlatCall, Refusal, ValueAt};
use crate::images::{as_product, direct, plain};
use crate::plan::{Content, Place, Places, Step, Sums, Ways, Work};
use crate::planner::Planner;
use crate::product::{Activation, Factors, Product};
use crate::region::Generated;
use crate::units::{is_anchor, is_row};
use crate::view::{Class, Narrow, Scalar, View, channels_last, row_major};
use crate::{products, regions, tile};
use eutectic_ir::types::{Element, normalize_axis};

/// Sizes that libraries multiply quantized numbers in are multiples of this: 16 bytes of one-byte numbers.
const GRAIN: usize = 16;

/// The operands of a product or convolution as they are stored.
pub(crate) struct Stored {
    left: ValueAt,
    right: ValueAt,
    /// How the elements of both are stored.
    scalar: Scalar,
    /// What the sums of each channel are to be multiplied by.
    factors: Vec<f32>,
}

/// The operands of `call` before they are dequantized, when a kernel can read them so; `producer` gives the call that computes a value.
///
/// Zero points are zero, the scales constant: one for the left operand, one or one for each channel for the weights on the right.
pub(crate) fn operands(flat: &Flat, call: &FlatCall, producer: &dyn Fn(ValueAt) -> Option<usize>) -> Option<Stored> {
    let dequantized = |slot: usize, axis: Option<usize>| {
        let at = producer(call.input(slot)?)?;
        symmetric(flat, &flat.calls[at], axis)
    };
    let is_product = call.is("MatMul");
    let (left, scale) = dequantized(0, None)?;
    let (right, scales) = dequantized(1, Some(usize::from(is_product)))?;
    let [x, w] = [left, right].map(|value| &flat.values[value]);
    let scalar = match x.element {
        Element::Int8 => Scalar::I8,
        Element::Float8E4M3FN => Scalar::Narrow(Narrow::E4m3Fn),
        _ => return None,
    };
    let is_real = Class::of(flat.values[call.outputs[0]].element) == Class::Real;
    if w.element != x.element || w.constant.is_none() || !is_real {
        return None;
    }
    let (n, depth) = match (is_product, w.shape.as_slice()) {
        (true, &[k, n]) if x.shape.len() > 1 => (n, k),
        (false, &[n, c, rows, columns]) if c % GRAIN == 0 && is_plain(call) => (n, c * rows * columns),
        _ => return None,
    };
    // Convolutions in eight-bit floating point are left to half precision; sums of integers must fit 32 bits.
    let is_served = is_product || scalar == Scalar::I8;
    let fits = n % GRAIN == 0 && depth % GRAIN == 0 && depth < 1 << 16 && x.shape.iter().all(|&size| size > 0);
    let factor = |channel: usize| scale[0] * scales[if scales.len() == 1 { 0 } else { channel }];
    (is_served && fits && n > 0).then(|| Stored { left, right, scalar, factors: (0..n).map(factor).collect() })
}

/// Whether a convolution has one group and padding that is given.
fn is_plain(call: &FlatCall) -> bool {
    let is_given = call.attrs.string("auto_pad").is_none_or(|auto_pad| !auto_pad.starts_with("SAME"));
    is_given && call.attrs.int("group") == Some(1)
}

/// What `call` dequantizes around a zero point of zero by constant scales, and the scales: one for all or, where `axis` is given, one
/// for each position of it.
fn symmetric(flat: &Flat, call: &FlatCall, axis: Option<usize>) -> Option<(ValueAt, Vec<f32>)> {
    if !call.is("DequantizeLinear") || call.attrs.int("block_size").unwrap_or(0) != 0 {
        return None;
    }
    let (stored, scale) = (call.input(0)?, call.input(1)?);
    let is_centred = call.input(2).is_none_or(|zero| is_zero(flat, zero));
    let scales = reals(flat.values[scale].constant.as_ref()?)?.into_owned();
    let shape = &flat.values[stored].shape;
    let along = normalize_axis(call.attrs.int("axis").unwrap_or(1), shape.len());
    let is_along =
        || axis.is_some() && along == axis && axis.is_some_and(|axis| shape.get(axis) == Some(&scales.len()));
    (is_centred && (scales.len() == 1 || is_along())).then_some((stored, scales))
}

fn is_zero(flat: &Flat, value: ValueAt) -> bool {
    let all = flat.values[value].constant.as_ref().and_then(|tensor| tensor.to_f64s());
    all.is_some_and(|all| all.iter().all(|&x| x == 0.0))
}

/// Plans a product or convolution, what dequantizes its operands and what follows it.
pub(crate) fn lower(planner: &mut Planner, calls: &[usize]) -> Result<(), Refusal> {
    let flat = planner.flat;
    let refuse = |reason: &str| Refusal::new("", reason);
    let producer = |value: ValueAt| calls.iter().copied().find(|&at| flat.calls[at].outputs.contains(&value));
    let found = calls.iter().copied().find(|&at| is_anchor(&flat.calls[at]));
    let anchor = found.ok_or_else(|| refuse("there is no kernel for it"))?;
    let call = &flat.calls[anchor];
    let stored = operands(flat, call, &producer);
    let stored = stored.ok_or_else(|| refuse("no kernel reads its operands as they are stored"))?;
    let is_elementwise = |&at: &usize| at != anchor && !flat.calls[at].is("DequantizeLinear");
    let elementwise: Vec<usize> = calls.iter().copied().filter(is_elementwise).collect();
    // What dequantizes the operands alone is not computed.
    let is_read =
        |at: usize| elementwise.iter().any(|&by| flat.calls[by].inputs.contains(&Some(flat.calls[at].outputs[0])));
    let is_behind = |&at: &usize| elementwise.contains(&at) || (at != anchor && is_read(at));
    let behind: Vec<usize> = calls.iter().copied().filter(is_behind).collect();
    let of = call.outputs[0];
    let shape = &flat.values[of].shape;
    let is_product = call.is("MatMul");
    let (order, axis) = if is_product { (row_major(shape.len()), shape.len() - 1) } else { (channels_last(4), 1) };
    let sum = if stored.scalar == Scalar::I8 { Scalar::I32 } else { Scalar::F32 };
    let sums = planner.fresh(sum, shape, &order);
    let contraction = if is_product {
        of_product(planner, call, &stored, &sums)?
    } else {
        of_convolution(planner, call, &stored, &sums)?
    };
    let fused = Fused::of(flat, call, axis, &behind, &producer);
    // A library wants the residual dense, channels last where images are, and so every way reads it.
    let residual = fused.as_ref().and_then(|fused| fused.residual);
    let residual = residual.map(|(value, _)| Ok((value, planner.dense(value, &order, &call.name)?))).transpose()?;
    let given = residual.as_ref().map(|(value, view)| (*value, planner.views[*value].replace(view.clone())));
    let factors = table(planner, &stored, fused.as_ref(), contraction.convolution.output[0]);
    let mut row_strides = vec![0; shape.len()];
    row_strides[axis] = 1;
    let row = View { shape: shape.clone(), strides: row_strides, ..View::dense(factors, Scalar::F32, &[], &[]) };
    let bias = if is_product { None } else { call.input(2).filter(|&bias| !is_zero(flat, bias)) };
    let (after, region, out, bytes) =
        regions::behind(planner, of, ("((float)$0 * $1)", &[&sums, &row]), bias, &behind, calls)?;
    if let Some((value, view)) = given {
        planner.views[value] = view;
    }
    let mut places = Places {
        left: Place::of(&contraction.left),
        right: Place::of(&contraction.right),
        values: None,
        bias: None,
        residual: None,
        factors: Some(Place { buffer: factors, offset: 0 }),
        out: Place::of(&out),
    };
    let ours = tile::kernels(
        &contraction.convolution,
        [&contraction.left, &contraction.right],
        tile::Joined::Nothing,
        true,
        &region,
    );
    let mut ways = Ways::of_ours(ours);
    let mut read = vec![contraction.left.buffer, contraction.right.buffer, factors];
    let is_beside = |&buffer: &usize| buffer != sums.buffer && buffer != out.buffer;
    let beside: Vec<usize> = after.parameters.iter().copied().filter(is_beside).collect();
    read.extend(&beside);
    if let Some(fused) = fused {
        let residual = residual.map(|(_, view)| view);
        let rescaled = Convolution {
            result: out.scalar,
            rescaled: Some(residual.as_ref().map_or(Scalar::F32, |view| view.scalar)),
            has_bias: fused.added.is_some(),
            has_residual: residual.is_some(),
            activation: fused.activation,
            ..contraction.convolution.clone()
        };
        // The library scales sums of eight-bit floating-point numbers itself, unless they are quantized again.
        let is_alike = residual.as_ref().is_none_or(|view| view.scalar == out.scalar);
        let is_scaled =
            sum == Scalar::F32 && out.scalar.is_narrow() && is_alike && fused.activation != Activation::Gelu;
        if let Some(product) = contraction.product.filter(|_| is_scaled) {
            let bias = fused.row.map(|value| {
                let rank = flat.values[value].shape.len();
                planner.dense(value, &row_major(rank), &call.name)
            });
            let bias = bias.transpose()?;
            read.extend(bias.as_ref().map(|view| view.buffer));
            places.bias = bias.as_ref().map(Place::of);
            ways.product = Some(Product {
                result: out.scalar,
                is_scaled: true,
                has_bias: bias.is_some(),
                has_residual: residual.is_some(),
                activation: fused.activation,
                ..product
            });
        }
        read.extend(residual.as_ref().map(|view| view.buffer));
        places.residual = residual.as_ref().map(Place::of);
        ways.convolution = Some(rescaled);
    }
    ways.sums = Some(Box::new(Sums {
        product: contraction.product,
        // Where cuDNN makes the whole result, its sums alone followed by another kernel are slower, and each of its engines takes long
        // to compile.
        convolution: (sum == Scalar::I32 && ways.convolution.is_none()).then_some(contraction.convolution),
        otherwise: Some(contraction.otherwise),
        after,
        reads: beside,
        place: Place::of(&sums),
        result: (out.count(), out.scalar),
    }));
    let names: Vec<&str> = calls.iter().map(|&at| flat.calls[at].op.name()).collect();
    let operands = contraction.left.count() + contraction.right.count();
    planner.plan.steps.push(Step {
        name: names.join("+"),
        nodes: calls.iter().map(|&at| flat.calls[at].name.clone()).collect(),
        reads: read,
        writes: vec![out.buffer, sums.buffer],
        flops: contraction.flops,
        bytes: operands as f64 + bytes - (sums.count() * sums.scalar.bytes()) as f64,
        work: Work::Contraction(Box::new(ways), places),
    });
    Ok(())
}

/// The sums of a product or convolution, and every way to them.
struct Contraction {
    left: View,
    right: View,
    product: Option<Product>,
    /// A product is a convolution of single pixels.
    convolution: Convolution,
    otherwise: Generated,
    flops: f64,
}

fn of_product(planner: &mut Planner, call: &FlatCall, stored: &Stored, sums: &View) -> Result<Contraction, Refusal> {
    let refuse = |reason: &str| Refusal::new("", reason);
    let rank = planner.flat.values[stored.left].shape.len();
    let left = planner.dense(stored.left, &row_major(rank), &call.name)?;
    let right = planner.constant(stored.right, &[1, 0])?;
    let &[k, n] = right.shape.as_slice() else { return Err(refuse("its weights are no matrix")) };
    let m = left.count() / k;
    let [left, sums] = [left.reshaped(&[m, k]), sums.reshaped(&[m, n])]
        .map(|view| view.ok_or_else(|| refuse("its operands cannot be laid out")));
    let (left, sums) = (left?, sums?);
    let otherwise = products::direct(&left, &right, None, None, &sums, Activation::None);
    let convolution = Convolution { result: sums.scalar, ..Convolution::of_product([m, n, k], stored.scalar) };
    Ok(Contraction {
        left,
        right,
        product: as_product(&convolution, 1),
        convolution,
        otherwise: otherwise.ok_or_else(|| refuse("it has too many elements"))?,
        flops: 2.0 * (m * n * k) as f64,
    })
}

fn of_convolution(
    planner: &mut Planner,
    call: &FlatCall,
    stored: &Stored,
    sums: &View,
) -> Result<Contraction, Refusal> {
    let refuse = |reason: &str| Refusal::new("", reason);
    let left = planner.dense(stored.left, &channels_last(4), &call.name)?;
    let right = planner.constant(stored.right, &channels_last(4))?;
    let four = |view: &View| <[usize; 4]>::try_from(view.shape.as_slice()).map_err(|_| refuse("it is no image"));
    let (input, filter, output) = (four(&left)?, four(&right)?, four(sums)?);
    let plain = plain(call, input, filter, output, false, stored.scalar);
    let plain = plain.ok_or_else(|| refuse("its attributes do not fit"))?;
    let convolution = Convolution { result: sums.scalar, ..plain };
    let otherwise = direct(&convolution, 1, stored.scalar, [Some(&left), Some(&right), None, None, Some(sums)]);
    let flops = 2.0 * (sums.count() * filter[1..].iter().product::<usize>()) as f64;
    Ok(Contraction {
        product: as_product(&convolution, 1),
        otherwise: otherwise.ok_or_else(|| refuse("it has too many elements"))?,
        left,
        right,
        convolution,
        flops,
    })
}

/// What follows sums, as far as libraries have it in their kernels.
struct Fused {
    /// What is added to each channel.
    added: Option<Vec<f32>>,
    /// The constant that this comes of, when it is one and follows a product.
    row: Option<ValueAt>,
    /// A tensor that is added as it is stored, and its factor.
    residual: Option<(ValueAt, Option<f32>)>,
    activation: Activation,
    /// What the result is multiplied by before it is rounded.
    result_factor: Option<f32>,
}

impl Fused {
    /// `behind` are the calls behind `anchor`, whose channels are counted along `axis`.
    fn of(
        flat: &Flat,
        anchor: &FlatCall,
        axis: usize,
        behind: &[usize],
        producer: &dyn Fn(ValueAt) -> Option<usize>,
    ) -> Option<Self> {
        let mut fused =
            Self { added: None, row: None, residual: None, activation: Activation::None, result_factor: None };
        let contents = |value: ValueAt| Some(reals(flat.values[value].constant.as_ref()?)?.into_owned());
        if let Some(bias) = anchor.input(2).filter(|&bias| !is_zero(flat, bias)) {
            fused.added = Some(contents(bias)?);
        }
        let mut current = anchor.outputs[0];
        let shape = &flat.values[current].shape;
        for call in behind.iter().map(|&at| &flat.calls[at]).filter(|call| !call.is("DequantizeLinear")) {
            if fused.result_factor.is_some() {
                return None;
            }
            let other = call.inputs.iter().flatten().copied().find(|&value| value != current);
            let is_first = fused.residual.is_none() && fused.activation == Activation::None;
            match (call.op.name(), other) {
                ("Add", Some(value)) if is_first && is_row(flat, value, shape) && axis + 1 == shape.len() => {
                    if fused.added.is_some() {
                        return None;
                    }
                    (fused.added, fused.row) = (Some(contents(value)?), Some(value));
                }
                ("Add", Some(value)) if is_first && flat.values[value].shape == *shape => {
                    fused.residual = Some(match producer(value) {
                        Some(at) => {
                            let (stored, scales) = symmetric(flat, &flat.calls[at], None)?;
                            (stored, Some(scales[0]))
                        }
                        None => (value, None),
                    });
                }
                ("Relu", None) if fused.activation == Activation::None => fused.activation = Activation::Relu,
                ("Gelu", None) if fused.activation == Activation::None => {
                    let is_tanh = call.attrs.string("approximate") == Some("tanh");
                    fused.activation = if is_tanh { Activation::GeluTanh } else { Activation::Gelu };
                }
                ("QuantizeLinear", Some(_)) => {
                    let element = flat.values[call.outputs[0]].element;
                    let is_served = matches!(element, Element::Int8 | Element::Float8E4M3FN);
                    let is_centred = call.input(2).is_none_or(|zero| is_zero(flat, zero));
                    let &[scale] = contents(call.input(1)?)?.as_slice() else { return None };
                    if !is_served || !is_centred {
                        return None;
                    }
                    fused.result_factor = Some(1.0 / scale);
                }
                _ => return None,
            }
            current = call.outputs[0];
        }
        Some(fused)
    }
}

/// The table of [`Factors`] for `n_rows` rows.
fn table(planner: &mut Planner, stored: &Stored, fused: Option<&Fused>, n_rows: usize) -> usize {
    let layout = Factors { n: stored.factors.len() };
    let is_scaled = stored.scalar != Scalar::I8;
    let mut numbers = vec![0f32; layout.rows() / 4 + if is_scaled { n_rows } else { 0 }];
    let mut put = |at: usize, values: &[f32]| numbers[at / 4..][..values.len()].copy_from_slice(values);
    put(0, &stored.factors);
    if let Some(fused) = fused {
        put(layout.bias(), fused.added.as_deref().unwrap_or_default());
        put(layout.residual(), &[fused.residual.and_then(|(_, factor)| factor).unwrap_or(1.0)]);
        put(layout.result(), &[fused.result_factor.unwrap_or(1.0)]);
    }
    numbers[layout.rows() / 4..].fill(1.0);
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    planner.buffer(bytes.len(), Content::Constant(Constant::Bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expanded::read;
    use crate::planner::plan;
    use crate::view::Precision;
    use crate::{Cuda, Expanded};
    use eutectic_ir::text::parse_model;
    use eutectic_passes::cost::Device;
    use eutectic_passes::regions::{Fusions, form};

    /// The one contraction of a convolution of ones, its operands scaled by 0.5 and 0.25, behind which `calls` compute `y`.
    fn contraction(calls: &str) -> (Ways, Vec<f32>) {
        let text = format!(
            r#"<ir_version: 11, opset_import: ["": 24]>
            g (int8[1,16,4,4] q, int8[1,16,4,4] r, float[1,16,4,4] z) => (float[1,16,4,4] y) <
                float[16,16,1,1] w = ["location": "seed:1", "low": "-1", "high": "1"],
                float[16] b = ["location": "seed:2", "low": "-1", "high": "1"],
                float s = {{0.5}}, float[16] t = {{0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.75}},
                float u = {{2}}
            > {{
                x = DequantizeLinear (q, s)
                wq = QuantizeLinear <axis: int = 0, output_dtype: int = 3> (w, t)
                wd = DequantizeLinear <axis: int = 0> (wq, t)
                c = Conv (x, wd, b)
                {calls}
            }}"#
        );
        let (model, _) = parse_model(&text).unwrap_or_else(|problems| panic!("{text}: {problems}"));
        let cuda = Cuda { precision: Precision::F16, cache: None };
        let mut expanded: Expanded = cuda.expand(&model, crate::Whole::ALL, &[]).expect("known sizes");
        form(&mut expanded.model, &expanded.abilities, &Fusions::all(), &Device::h200());
        let flat = read(&expanded).expect("it is flat");
        let plan = plan(&flat, Precision::F16).unwrap_or_else(|refusals| panic!("{refusals:?}"));
        let contractions = plan.steps.iter().filter_map(|step| match &step.work {
            Work::Contraction(ways, places) => Some((ways, places)),
            Work::Kernel(_) => None,
        });
        let [(ways, places)] = contractions.collect::<Vec<_>>()[..] else { panic!("{} steps", plan.steps.len()) };
        let Content::Constant(table) = &plan.buffers[places.factors.expect("scaled").buffer].content else {
            panic!("the factors are computed")
        };
        let bytes = table.bytes().expect("numbers");
        let numbers = bytes.chunks_exact(4).map(|four| f32::from_le_bytes(std::array::from_fn(|at| four[at])));
        ((**ways).clone(), numbers.collect())
    }

    #[test]
    fn sums_are_scaled_and_a_shortcut_is_added_as_it_is_stored() {
        let (ways, table) = contraction(
            "rd = DequantizeLinear (r, u)\n a = Add (c, rd)\n e = Relu (a)\n \
             yq = QuantizeLinear <output_dtype: int = 3> (e, s)\n y = DequantizeLinear (yq, s)",
        );
        let layout = Factors { n: 16 };
        assert_eq!((table[0], table[15]), (0.125, 0.375));
        assert_eq!((table[layout.residual() / 4], table[layout.result() / 4]), (2.0, 2.0));
        let whole = ways.convolution.expect("cuDNN has all that follows");
        assert_eq!((whole.scalar, whole.result, whole.rescaled), (Scalar::I8, Scalar::I8, Some(Scalar::I8)));
        assert_eq!((whole.has_bias, whole.has_residual, whole.activation), (true, true, Activation::Relu));
        let sums = ways.sums.expect("ways in two steps");
        let product = sums.product.expect("single pixels are a product");
        assert_eq!((product.scalar, product.result, product.right.is_transposed), (Scalar::I8, Scalar::I32, true));
        assert_eq!(sums.convolution, None);
        assert!(
            ways.ours.iter().all(|ours| ours.kernel.source.contains("#define ELEMENTS I8")) && !ways.ours.is_empty()
        );
    }

    #[test]
    fn a_shortcut_that_lies_otherwise_is_read_channels_last() {
        let (ways, _) = contraction("rd = DequantizeLinear (r, u)\n a = Add (c, rd)\n y = Relu (a)");
        // Packs of neighbouring channels: it was copied so, as all that is given lies row by row.
        let source = &ways.ours.first().expect("16 channels are aligned").kernel.source;
        assert!(source.contains("reinterpret_cast<const Pack<4, signed char>*>"), "{source}");
    }

    #[test]
    fn what_no_library_has_is_left_to_kernels_of_ours() {
        let (ways, _) = contraction("e = HardSwish (c)\n y = Mul (e, z)");
        assert_eq!((ways.convolution, ways.product), (None, None));
        assert!(!ways.ours.is_empty());
        let sums = ways.sums.expect("a library leaves sums to a second kernel");
        assert_eq!(sums.convolution.map(|convolution| convolution.result), Some(Scalar::I32));
    }
}
