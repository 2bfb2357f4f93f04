//! From a flat model to kernels with buffers: layouts are chosen, views cost nothing, weights are laid out once.

use crate::constants::Constant;
use crate::flat::{Flat, Refusal, ValueAt};
use crate::plan::{Buffer, Content, Plan, PlannedInput, Step, Work};
use crate::units::{Kind, Unit, units};
use crate::view::{Precision, Scalar, View, row_major, strides_in_order};
use crate::{flash, images, operators, products, quantized, regions, views};
use eutectic_ir::attr::Name;
use eutectic_ir::tensor::{Data, Tensor};
use eutectic_ir::types::Element;
use std::collections::HashMap;

/// Plans `flat` in `precision`: one kernel for each region, and for each call outside of them.
///
/// Errors: every region and call that there is no kernel for.
pub(crate) fn plan(flat: &Flat, precision: Precision) -> Result<Plan, Vec<Refusal>> {
    let mut planner = Planner::new(flat, precision);
    let mut refusals = Vec::new();
    for (at, &value) in flat.inputs.iter().enumerate() {
        // Inputs lie in memory as they are given, whatever the precision of the program.
        let known = &flat.values[value];
        let given = if known.element == Element::Float { Precision::F32 } else { precision };
        let (element, shape, bound) = (known.element, known.shape.clone(), known.constant.clone());
        let mut input = PlannedInput { element, shape, buffer: None, bound };
        if input.bound.is_none() {
            let Some(scalar) = Scalar::of(known.element, given) else {
                refusals.push(Refusal::new(format!("input {at}"), format!("its elements are {}", known.element)));
                continue;
            };
            let buffer = planner.buffer(known.shape.iter().product::<usize>() * scalar.bytes(), Content::Input(at));
            planner.views[value] = Some(View::dense(buffer, scalar, &known.shape, &row_major(known.shape.len())));
            input.buffer = Some(buffer);
        }
        planner.plan.inputs.push(input);
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    for unit in units(flat)? {
        if let Err(refusal) = planner.unit(&unit) {
            refusals.push(refusal);
            // What depends on a refused call would be refused for that reason only.
            for &value in unit.calls.iter().flat_map(|&call| &flat.calls[call].outputs) {
                planner.refused[value] = true;
            }
        }
    }
    refusals.retain(|refusal| !refusal.reason.0.is_empty());
    let outputs: &[ValueAt] = if refusals.is_empty() { &flat.outputs } else { &[] };
    for (at, &value) in outputs.iter().enumerate() {
        if let Err(refusal) = planner.output(value) {
            refusals.push(Refusal { call: format!("output {at}"), ..refusal });
        }
    }
    if !refusals.is_empty() {
        return Err(refusals);
    }
    drop_unread(&mut planner.plan);
    Ok(planner.plan)
}

/// Empties constants that no kernel reads: a weight may have been laid out in two ways before one was chosen.
fn drop_unread(plan: &mut Plan) {
    let mut is_read = vec![false; plan.buffers.len()];
    plan.steps.iter().flat_map(|step| &step.reads).for_each(|&buffer| is_read[buffer] = true);
    plan.outputs.iter().for_each(|(view, _)| is_read[view.buffer] = true);
    for (buffer, _) in plan.buffers.iter_mut().zip(is_read).filter(|(_, is_read)| !is_read) {
        if let Content::Constant(constant) = &mut buffer.content {
            *constant = Constant::Bytes(Vec::new());
            buffer.bytes = 0;
        }
    }
}

/// A plan while it is made.
pub(crate) struct Planner<'a> {
    pub flat: &'a Flat,
    pub precision: Precision,
    pub plan: Plan,
    /// Where each value lies, as far as it is computed.
    pub views: Vec<Option<View>>,
    constants: HashMap<(ValueAt, Scalar, Vec<usize>), View>,
    refused: Vec<bool>,
    /// Values that are stored as float32 whatever the precision.
    is_wide: Vec<bool>,
}

impl<'a> Planner<'a> {
    fn new(flat: &'a Flat, precision: Precision) -> Self {
        let n = flat.values.len();
        Self {
            flat,
            precision,
            plan: Plan::default(),
            views: vec![None; n],
            constants: HashMap::new(),
            refused: vec![false; n],
            is_wide: if precision == Precision::F16 { wide(flat) } else { vec![false; n] },
        }
    }

    /// A new buffer.
    pub fn buffer(&mut self, bytes: usize, content: Content) -> usize {
        self.plan.buffers.push(Buffer { bytes, content });
        self.plan.buffers.len() - 1
    }

    /// A new dense tensor whose axes lie in `order`.
    pub fn fresh(&mut self, scalar: Scalar, shape: &[usize], order: &[usize]) -> View {
        let buffer = self.buffer(shape.iter().product::<usize>() * scalar.bytes(), Content::Arena);
        View::dense(buffer, scalar, shape, order)
    }

    /// How `value` is stored.
    pub fn scalar(&self, value: ValueAt) -> Result<Scalar, Refusal> {
        let element = self.flat.values[value].element;
        let precision = if self.is_wide[value] { Precision::F32 } else { self.precision };
        Scalar::of(element, precision).ok_or_else(|| Refusal::new("", format!("no kernel computes with {element}")))
    }

    /// Where `value` lies. Errors: it was refused (with an empty reason), or a constant of a foreign type.
    pub fn view(&mut self, value: ValueAt) -> Result<View, Refusal> {
        if let Some(view) = &self.views[value] {
            return Ok(view.clone());
        }
        if self.flat.values[value].constant.is_some() {
            let rank = self.flat.values[value].shape.len();
            return self.constant(value, &row_major(rank));
        }
        let reason = if self.refused[value] { "" } else { "a value that it reads is not computed" };
        Err(Refusal::new("", reason))
    }

    /// The constant `value`, its axes in `order`.
    pub fn constant(&mut self, value: ValueAt, order: &[usize]) -> Result<View, Refusal> {
        let scalar = self.scalar(value)?;
        self.constant_as(value, scalar, order)
    }

    /// The constant `value`, its elements stored as `scalar`, its axes in `order`.
    pub fn constant_as(&mut self, value: ValueAt, scalar: Scalar, order: &[usize]) -> Result<View, Refusal> {
        let key = (value, scalar, order.to_vec());
        if let Some(view) = self.constants.get(&key) {
            return Ok(view.clone());
        }
        let known = &self.flat.values[value];
        let tensor = known.constant.as_ref().ok_or_else(|| Refusal::new("", "a constant is expected"))?;
        let constant = Constant::Tensor { tensor: tensor.clone(), scalar, order: order.to_vec() };
        let buffer = self.buffer(tensor.count() * scalar.bytes(), Content::Constant(constant));
        let view = View::dense(buffer, scalar, tensor.shape(), order);
        self.constants.insert(key, view.clone());
        Ok(view)
    }

    /// The constant matrix `value` with columns as rows in memory, filled up to `columns` of them by zeros.
    pub fn filled(&mut self, value: ValueAt, columns: usize) -> Result<View, Refusal> {
        let mut view = self.constant(value, &[1, 0])?;
        let [rows, _] = view.shape[..] else { return Err(Refusal::new("", "a matrix is expected")) };
        let bytes = rows * columns * view.scalar.bytes();
        let buffer = &mut self.plan.buffers[view.buffer];
        buffer.bytes = buffer.bytes.max(bytes);
        view.shape[1] = columns;
        Ok(view)
    }

    /// `value` dense in `order` and stored as the program stores it: as it lies, laid out beforehand, or copied.
    pub fn dense(&mut self, value: ValueAt, order: &[usize], reader: &Name) -> Result<View, Refusal> {
        if self.views[value].is_none() && self.flat.values[value].constant.is_some() {
            return self.constant(value, order);
        }
        let view = self.view(value)?;
        let scalar = self.scalar(value)?;
        self.copied(view, scalar, order, reader)
    }

    /// `view` dense in `order` and stored as `scalar`, copied when it is not.
    pub fn copied(&mut self, view: View, scalar: Scalar, order: &[usize], reader: &Name) -> Result<View, Refusal> {
        if view.scalar == scalar && view.is_dense_in(order) && view.offset * scalar.bytes() % 16 == 0 {
            let strides = strides_in_order(&view.shape, order);
            return Ok(View { strides, ..view });
        }
        let out = self.fresh(scalar, &view.shape, order);
        self.copy(view, out.clone(), reader)?;
        Ok(out)
    }

    /// A kernel that copies `from` to `to`, of the same shape.
    pub fn copy(&mut self, from: View, to: View, reader: &Name) -> Result<(), Refusal> {
        let generated =
            regions::copy(from.clone(), to.clone()).ok_or_else(|| Refusal::new("", "it cannot be copied"))?;
        let bytes = (from.count() * from.scalar.bytes() + to.count() * to.scalar.bytes()) as f64;
        self.plan.steps.push(Step {
            work: Work::Kernel(generated),
            name: "copy".into(),
            nodes: vec![reader.clone()],
            reads: vec![from.buffer],
            writes: vec![to.buffer],
            flops: 0.0,
            bytes,
        });
        Ok(())
    }

    fn unit(&mut self, unit: &Unit) -> Result<(), Refusal> {
        let flat = self.flat;
        let call = &flat.calls[unit.calls[0]];
        let outcome = match &unit.kind {
            Kind::Region => regions::lower(self, &unit.calls),
            Kind::Anchor(_) if call.is("Conv") => images::convolution(self, unit),
            Kind::Anchor(epilogue) => products::product(self, &unit.calls, epilogue),
            Kind::Quantized => quantized::lower(self, &unit.calls),
            Kind::Single if flash::has_kernel(flat, call, self.precision) => flash::lower(self, call),
            Kind::Single if images::is_pool(self, call) => images::pool(self, call),
            Kind::Single => views::lower(self, call)
                .or_else(|| operators::lower(self, call))
                .unwrap_or_else(|| Err(Refusal::new("", "there is no kernel for it"))),
        };
        outcome.map_err(|refusal| {
            let described =
                if call.name.is_empty() { call.op.to_string() } else { format!("{} `{}`", call.op, call.name) };
            Refusal { call: described, ..refusal }
        })
    }

    /// Makes `value` an output: dense, row-major, of its own element type.
    fn output(&mut self, value: ValueAt) -> Result<(), Refusal> {
        let known = &self.flat.values[value];
        let stored = if known.element == Element::Float { Precision::F32 } else { self.precision };
        let scalar = Scalar::of(known.element, stored)
            .ok_or_else(|| Refusal::new("", format!("its elements are {}", known.element)))?;
        let view = self.view(value)?;
        let order = row_major(view.shape.len());
        let view = self.copied(view, scalar, &order, &Name::new_static("output"))?;
        self.plan.outputs.push((view, known.element));
        Ok(())
    }
}

/// The float32 values that a number beyond the range of float16 may be part of, such as masks of -3.4e38: rounded, it is an
/// infinity, and a row of infinities has no softmax. Such a number spreads through operators that move elements or
/// compute with each one alone, up to those whose results are bounded.
fn wide(flat: &Flat) -> Vec<bool> {
    const SPREADS: [&str; 20] = [
        "Add",
        "Sub",
        "Mul",
        "Neg",
        "Where",
        "Max",
        "Min",
        "Identity",
        "Cast",
        "Reshape",
        "Transpose",
        "Expand",
        "Slice",
        "Concat",
        "Unsqueeze",
        "Squeeze",
        "Split",
        "Gather",
        "Tile",
        "Pad",
    ];
    let exceeds = |tensor: &Tensor| {
        let outside = |x: f32| x.is_finite() && x.abs() > half::f16::MAX.to_f32();
        tensor.element() == Element::Float
            && match tensor.as_splat() {
                Some(number) => outside(number as f32),
                None => match tensor.data() {
                    Data::Seeded(seed) => outside(seed.low as f32) || outside(seed.high as f32),
                    // Weights are many, and of ordinary size.
                    _ => {
                        tensor.count() <= 1 << 20
                            && tensor.view::<f32>().is_some_and(|all| all.iter().any(|&x| outside(x)))
                    }
                },
            }
    };
    let mut is_wide: Vec<bool> = flat.values.iter().map(|value| value.constant.as_ref().is_some_and(exceeds)).collect();
    for call in flat.calls.iter().filter(|call| SPREADS.iter().any(|name| call.is(name))) {
        if call.inputs.iter().flatten().any(|&value| is_wide[value]) {
            call.outputs.iter().for_each(|&value| is_wide[value] = flat.values[value].element == Element::Float);
        }
    }
    is_wide
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flat::flatten;
    use eutectic_ir::text::parse_model;

    #[test]
    fn a_mask_beyond_float16_is_float32_up_to_the_softmax() {
        let text = r#"<ir_version: 11, opset_import: ["": 24]>
            g (bool[4,4] m, float[4,4] x) => (float[4,4] y) <float n = {-3.4e38}, float z = {0}> {
                b = Where (m, z, n)
                s = Add (x, b)
                y = Softmax (s)
            }"#;
        let (model, _) = parse_model(text).expect("it parses");
        let flat = flatten(&model, &[]).expect("it is flat");
        let is_wide = wide(&flat);
        let found: Vec<(&str, bool)> =
            flat.calls.iter().map(|call| (call.op.name(), is_wide[call.outputs[0]])).collect();
        assert_eq!(found, [("Where", true), ("Add", true), ("Softmax", false)]);
    }
}
