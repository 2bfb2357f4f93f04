//! From calls to the region that one generated kernel computes.

use crate::constants::reals;
use crate::flat::{FlatCall, Refusal, ValueAt};
use crate::fused_normalization;
use crate::operators;
use crate::plan::{Step, Work};
use crate::planner::Planner;
use crate::pointwise::{Kind as Reduced, RowOperator, pointwise, quantization};
use crate::region::{
    Generated, Input, Lookup, MAX_COLUMNS, Made, Operand, Reduction, Region, Register, Value, literal,
};
use crate::units::{Role, role, space};
use crate::view::{Class, Scalar, View, row_major};
use eutectic_ir::region::Space;
use eutectic_ir::types::normalize_axis;
use std::collections::HashMap;
use std::ops::RangeInclusive;

/// Scales that numbers are quantized by without a division each: about 2^-60 to 2^60.
const ORDINARY: RangeInclusive<f32> = 8.7e-19..=1.1e18;

/// A kernel that copies `from` to `to`, of the same shape, converting the elements.
pub(crate) fn copy(from: View, to: View) -> Option<Generated> {
    let class = from.scalar.class();
    let value = Value { made: Made::Load(0), class, is_row: false };
    Region {
        shape: to.shape.clone(),
        n_column_axes: 0,
        operands: vec![Operand { view: from, lookup: None }],
        values: vec![value],
        stores: vec![(0, to)],
    }
    .generate()
}

/// A kernel that replaces each element of `view` by `template` of it.
pub(crate) fn in_place(view: &View, template: &str) -> Option<Generated> {
    let class = view.scalar.class();
    let value = |made| Value { made, class, is_row: false };
    Region {
        shape: view.shape.clone(),
        n_column_axes: 0,
        operands: vec![Operand { view: view.clone(), lookup: None }],
        values: vec![value(Made::Load(0)), value(Made::Expression(template.into(), vec![Input::Register(0)]))],
        stores: vec![(1, view.clone())],
    }
    .generate()
}

/// The kernel that makes what `calls` compute of what is in memory: `template` of `given`, with `bias` added to each channel, is the
/// value `of`, and the calls `behind` are computed of it. Also the region, where the one result lies, and the bytes that it moves.
pub(crate) fn behind(
    planner: &mut Planner,
    of: ValueAt,
    (template, given): (&str, &[&View]),
    bias: Option<ValueAt>,
    behind: &[usize],
    calls: &[usize],
) -> Result<(Generated, Region, View, f64), Refusal> {
    let flat = planner.flat;
    let shape = given[0].shape.clone();
    let axes = row_major(shape.len());
    let region = Region { shape, n_column_axes: 0, operands: Vec::new(), values: Vec::new(), stores: Vec::new() };
    let mut building = Building { planner, region, axes, registers: HashMap::new(), bytes: 0.0 };
    let loaded = given.iter().map(|&view| {
        let class = view.scalar.class();
        Input::Register(building.load(Operand { view: view.clone(), lookup: None }, class))
    });
    let loaded = loaded.collect();
    let mut register = building.expression(template, loaded, Class::Real);
    if let Some(bias) = bias {
        let bias = building.grain(bias, 1, Class::Real)?;
        register = building.expression("($0 + $1)", vec![Input::Register(register), bias], Class::Real);
    }
    building.registers.insert(of, register);
    for &at in behind {
        building.pointwise(&flat.calls[at])?;
    }
    let generated = building.generated(calls)?;
    let last = calls.iter().map(|&at| flat.calls[at].outputs[0]).find(|&value| building.planner.views[value].is_some());
    match (generated, last, building.region.stores.len()) {
        (Some(generated), Some(value), 1) => {
            let view = building.planner.view(value)?;
            Ok((generated, building.region, view, building.bytes))
        }
        _ => Err(Refusal::new("", "it has not one result")),
    }
}

/// Plans one kernel for `calls`.
pub(crate) fn lower(planner: &mut Planner, calls: &[usize]) -> Result<(), Refusal> {
    let flat = planner.flat;
    let mut roles = vec![None; flat.calls.len()];
    for &at in calls {
        roles[at] = role(flat, &flat.calls[at]);
    }
    if let ([at], Some(Role::Row(operator, axes))) = (calls, roles[calls[0]].clone()) {
        let call = &flat.calls[*at];
        let view = call.input(0).map(|value| planner.view(value)).transpose()?;
        if let Some(view) = view {
            let n_columns: usize = axes.iter().map(|&axis| view.shape[axis]).product();
            let apart = axes.iter().all(|&axis| view.strides[axis] != 1 || view.shape[axis] == 1);
            let beside = (0..view.shape.len()).any(|axis| view.strides[axis] == 1 && view.shape[axis] >= 32);
            // Neighbouring elements belong to different rows, and there are enough rows to fill the device.
            let walks = matches!(operator, RowOperator::Reduce(kind) if kind != Reduced::LogOfSumOfPowers);
            let n_rows = view.count() / n_columns.max(1);
            let by_thread = walks && apart && beside && n_columns <= 1024 && n_rows >= 1 << 14;
            if n_columns > MAX_COLUMNS || by_thread {
                return operators::walking_reduction(planner, call, operator, &axes, !by_thread);
            }
        }
    }
    let space = space(flat, calls);
    // A single call may reduce axes that are not the last ones: the kernel sees them last.
    let (shape, n_columns, axes) = match (space, &roles[calls[0]]) {
        (Some(space), _) => {
            let axes = row_major(space.shape.len());
            (space.shape, space.n_columns, axes)
        }
        (None, Some(Role::Row(_, columns))) if calls.len() == 1 => {
            let shape = &flat.values[flat.calls[calls[0]].input(0).unwrap_or_default()].shape;
            let rows = (0..shape.len()).filter(|axis| !columns.contains(axis));
            let axes: Vec<usize> = rows.chain(columns.iter().copied()).collect();
            (axes.iter().map(|&axis| shape[axis]).collect(), columns.len(), axes)
        }
        _ => return Err(Refusal::new("", "its calls do not share an iteration")),
    };
    let region =
        Region { shape, n_column_axes: n_columns, operands: Vec::new(), values: Vec::new(), stores: Vec::new() };
    let mut building = Building { planner, region, axes, registers: HashMap::new(), bytes: 0.0 };
    let alone = if let [at] = calls { roles[*at].clone().map(|role| (&flat.calls[*at], role)) } else { None };
    for &at in calls {
        let call = &flat.calls[at];
        match roles[at].take() {
            Some(Role::Pointwise) => building.pointwise(call)?,
            Some(Role::Row(operator, _)) => building.row(call, operator)?,
            Some(Role::Lookup) => building.lookup(call)?,
            None => return Err(Refusal::new("", "there is no kernel for it")),
        }
    }
    building.finish(calls)?;
    if let Some((call, Role::Row(operator, axes))) = &alone {
        fused_normalization::offer(planner, call, (operator, axes));
    }
    Ok(())
}

struct Building<'a, 'b> {
    planner: &'a mut Planner<'b>,
    region: Region,
    /// Axis `i` of the region is axis `axes[i]` of the values.
    axes: Vec<usize>,
    registers: HashMap<ValueAt, Register>,
    bytes: f64,
}

impl Building<'_, '_> {
    fn add(&mut self, made: Made, class: Class, is_row: bool) -> Register {
        self.region.values.push(Value { made, class, is_row });
        self.region.values.len() - 1
    }

    fn class(&self, value: ValueAt) -> Result<Class, Refusal> {
        Ok(self.planner.scalar(value)?.class())
    }

    /// A constant of one element.
    fn single(&self, value: ValueAt) -> Option<f64> {
        self.planner.flat.values[value].constant.as_ref().filter(|tensor| tensor.count() == 1)?.as_single()
    }

    /// `view` over the region's shape.
    fn over_region(&self, view: &View) -> Option<View> {
        let mut shape = vec![0; self.axes.len()];
        self.axes.iter().zip(&self.region.shape).for_each(|(&axis, &size)| shape[axis] = size);
        Some(view.broadcast(&shape)?.transposed(&self.axes))
    }

    fn is_row(&self, view: &View) -> bool {
        let first = self.region.shape.len() - self.region.n_column_axes;
        self.region.n_column_axes > 0 && view.strides[first..].iter().all(|&stride| stride == 0)
    }

    fn input(&mut self, value: ValueAt) -> Result<Input, Refusal> {
        if let Some(&register) = self.registers.get(&value) {
            return Ok(Input::Register(register));
        }
        let class = self.class(value)?;
        if let Some(number) = self.single(value) {
            return Ok(Input::Literal(literal(number, class)));
        }
        let view = self.planner.view(value)?;
        let view = self.over_region(&view).ok_or_else(|| Refusal::new("", "an input does not broadcast"))?;
        let register = self.load(Operand { view, lookup: None }, class);
        self.registers.insert(value, register);
        Ok(Input::Register(register))
    }

    fn load(&mut self, operand: Operand, class: Class) -> Register {
        let is_row =
            self.is_row(&operand.view) && operand.lookup.as_ref().is_none_or(|lookup| self.is_row(&lookup.positions));
        let distinct: usize = operand
            .view
            .shape
            .iter()
            .zip(&operand.view.strides)
            .filter(|(_, stride)| **stride != 0)
            .map(|(size, _)| size)
            .product();
        self.bytes += (distinct * operand.view.scalar.bytes()) as f64;
        self.region.operands.push(operand);
        self.add(Made::Load(self.region.operands.len() - 1), class, is_row)
    }

    /// The same value as a register of `class`.
    fn converted(&mut self, input: Input, class: Class) -> Input {
        match input {
            Input::Register(register) if self.region.values[register].class != class => {
                let is_row = self.region.values[register].is_row;
                let text = if class == Class::Truth { "($0 != 0)" } else { "$T($0)" };
                Input::Register(self.add(Made::Expression(text.into(), vec![input]), class, is_row))
            }
            input => input,
        }
    }

    fn expression(&mut self, template: impl Into<String>, inputs: Vec<Input>, class: Class) -> Register {
        let rows = |input: &Input| match input {
            Input::Register(register) => self.region.values[*register].is_row,
            Input::Literal(_) => true,
        };
        let is_row = self.region.n_column_axes > 0 && inputs.iter().all(rows);
        self.add(Made::Expression(template.into(), inputs), class, is_row)
    }

    /// `value`, one number for all or for each position of `axis`, in float32 where it is constant, whatever the precision. It is read
    /// from memory in any case, so that layers which differ in scales only share a kernel.
    fn grain(&mut self, value: ValueAt, axis: usize, class: Class) -> Result<Input, Refusal> {
        let known = &self.planner.flat.values[value];
        let is_constant = known.constant.is_some() && Class::of(known.element) == Class::Real;
        let view = match is_constant {
            true => self.planner.constant_as(value, Scalar::F32, &row_major(known.shape.len()))?,
            false => self.planner.view(value)?,
        };
        let rank = self.axes.len();
        let (mut shape, mut strides) = (vec![1; rank], vec![0; rank]);
        if view.count() != 1 {
            (shape[axis], strides[axis]) = (view.shape[0], view.strides[0]);
        }
        let stored = view.scalar.class();
        let view = self.over_region(&View { shape, strides, ..view });
        let view = view.ok_or_else(|| Refusal::new("", "an input does not broadcast"))?;
        let register = self.load(Operand { view, lookup: None }, stored);
        Ok(self.converted(Input::Register(register), class))
    }

    fn quantization(&mut self, call: &FlatCall) -> Result<(), Refusal> {
        let missing = || Refusal::new("", "an input is missing");
        let (x, scale) = (call.input(0).ok_or_else(missing)?, call.input(1).ok_or_else(missing)?);
        let values = &self.planner.flat.values;
        let scales = values[scale].constant.as_ref().and_then(reals);
        let is_ordinary = match call.is("QuantizeLinear") {
            true => scales.is_some_and(|scales| scales.iter().all(|scale| ORDINARY.contains(scale))),
            false => values[x].element.bits() <= 16,
        };
        let found = quantization(call, values[call.outputs[0]].element, self.class(x)?, is_ordinary);
        let found = found.ok_or_else(|| Refusal::new("", "there is no kernel for it"))?;
        let axis = normalize_axis(call.attrs.int("axis").unwrap_or(1), values[x].shape.len()).unwrap_or_default();
        let mut number = self.input(x)?;
        if call.is("QuantizeLinear") {
            number = self.converted(number, Class::Real);
        }
        let scale = self.grain(scale, axis, Class::Real)?;
        let zero = match call.input(2) {
            Some(zero) if !self.is_zero(zero) => {
                let class = self.class(zero)?;
                self.grain(zero, axis, class)?
            }
            _ => Input::Literal("0".into()),
        };
        let register = self.expression(found.template, vec![number, scale, zero], found.class);
        self.registers.insert(call.outputs[0], register);
        Ok(())
    }

    fn is_zero(&self, value: ValueAt) -> bool {
        let all = self.planner.flat.values[value].constant.as_ref().and_then(|tensor| tensor.to_f64s());
        all.is_some_and(|all| all.iter().all(|&x| x == 0.0))
    }

    fn pointwise(&mut self, call: &FlatCall) -> Result<(), Refusal> {
        if call.is("QuantizeLinear") || call.is("DequantizeLinear") {
            return self.quantization(call);
        }
        let flat = self.planner.flat;
        let given: Vec<ValueAt> = call.inputs.iter().flatten().copied().collect();
        let output = call.outputs[0];
        let first = given.first().map(|&value| self.class(value)).transpose()?.unwrap_or(Class::Real);
        let single = |at: usize| call.input(at).and_then(|value| self.single(value));
        let found = pointwise(call, flat.values[output].element, given.len(), first, &single);
        let found = found.ok_or_else(|| Refusal::new("", "there is no kernel for it"))?;
        let is_cast = call.is("CastLike");
        let mut inputs = Vec::new();
        for (at, &value) in given.iter().enumerate().filter(|(at, _)| !is_cast || *at == 0) {
            // A number is spelled in the class that the expression computes in.
            let wanted = found.wants.unwrap_or(if at == 0 { Class::Truth } else { found.class });
            let input = match self.single(value) {
                Some(number) if !self.registers.contains_key(&value) => Input::Literal(literal(number, wanted)),
                _ => self.input(value)?,
            };
            inputs.push(self.converted(input, wanted));
        }
        let register = self.expression(found.template, inputs, found.class);
        self.registers.insert(output, register);
        Ok(())
    }

    fn row(&mut self, call: &FlatCall, operator: RowOperator) -> Result<(), Refusal> {
        let first = call.input(0).ok_or_else(|| Refusal::new("", "its input is missing"))?;
        let is_truth = self.class(first)? == Class::Truth;
        let class = if is_truth { Class::Integer } else { self.class(first)? };
        let input = self.input(first)?;
        let input = self.converted(input, class);
        // Even a row of one value has elements here.
        let x = match input {
            Input::Register(register) if !self.region.values[register].is_row => register,
            input => self.add(Made::Expression("$0".into(), vec![input]), class, false),
        };
        let columns: usize = self.region.shape[self.region.shape.len() - self.region.n_column_axes..].iter().product();
        let inverse = literal(1.0 / columns as f64, class);
        let register = Input::Register;
        let reduced = |this: &mut Self, reduction, from| this.add(Made::Reduced(reduction, from), class, true);
        let of = |this: &mut Self, template: &str, inputs: &[Register]| {
            this.expression(template, inputs.iter().map(|&input| register(input)).collect(), class)
        };
        let result = match operator {
            RowOperator::Softmax { blind } => {
                let mut top = reduced(self, Reduction::Max, x);
                if blind {
                    top = of(self, "($0 == lowest<$T>() ? $T(0) : $0)", &[top]);
                }
                let powers = of(self, "exp($0 - $1)", &[x, top]);
                let sum = reduced(self, Reduction::Sum, powers);
                let inverse = match blind {
                    true => of(self, "($0 == $T(0) ? $T(0) : $T(1) / $0)", &[sum]),
                    false => of(self, "($T(1) / $0)", &[sum]),
                };
                of(self, "($0 * $1)", &[powers, inverse])
            }
            RowOperator::LogSoftmax => {
                let top = reduced(self, Reduction::Max, x);
                let shifted = of(self, "($0 - $1)", &[x, top]);
                let powers = of(self, "exp($0)", &[shifted]);
                let sum = reduced(self, Reduction::Sum, powers);
                let log = of(self, "log($0)", &[sum]);
                of(self, "($0 - $1)", &[shifted, log])
            }
            RowOperator::LpNormalization { is_euclidean } => {
                let parts = of(self, if is_euclidean { "($0 * $0)" } else { "fabs($0)" }, &[x]);
                let sum = reduced(self, Reduction::Sum, parts);
                let norm = if is_euclidean { of(self, "sqrt($0)", &[sum]) } else { sum };
                of(self, "($1 == $T(0) ? $T(0) : $0 / $1)", &[x, norm])
            }
            RowOperator::LayerNormalization { epsilon } => {
                let sum = reduced(self, Reduction::Sum, x);
                let mean = self.expression(format!("($0 * {inverse})"), vec![register(sum)], class);
                let centred = of(self, "($0 - $1)", &[x, mean]);
                let scaled = self.scaled_to_unit(centred, &inverse, epsilon, class);
                self.affine(call, scaled, class)?
            }
            RowOperator::RmsNormalization { epsilon } => {
                let scaled = self.scaled_to_unit(x, &inverse, epsilon, class);
                self.affine(call, scaled, class)?
            }
            RowOperator::Reduce(kind) => {
                let (before, reduction, after) = match kind {
                    // Of no truth values none is true.
                    Reduced::Plain(Reduction::Max) if is_truth => {
                        (None, Reduction::Max, Some("larger($0, $T(0))".into()))
                    }
                    Reduced::Plain(reduction) => (None, reduction, None),
                    Reduced::Mean if class.is_real() => (None, Reduction::Sum, Some(format!("($0 * {inverse})"))),
                    Reduced::Mean => (None, Reduction::Sum, Some(format!("($0 / $T({columns}))"))),
                    Reduced::SumOfMagnitudes => (Some("($0 < $T(0) ? -$0 : $0)"), Reduction::Sum, None),
                    Reduced::SumOfSquares => (Some("($0 * $0)"), Reduction::Sum, None),
                    Reduced::Norm => (Some("($0 * $0)"), Reduction::Sum, Some("$T(sqrt((double)$0))".into())),
                    Reduced::LogOfSum => (None, Reduction::Sum, Some("$T(log((double)$0))".into())),
                    Reduced::LogOfSumOfPowers => (Some("exp($0 - $1)"), Reduction::Sum, Some("($1 + log($0))".into())),
                };
                let top = match kind {
                    Reduced::LogOfSumOfPowers if class.is_real() => {
                        let top = reduced(self, Reduction::Max, x);
                        // Infinite exponents would be taken from themselves.
                        Some(of(self, "(isinf($0) ? $T(0) : $0)", &[top]))
                    }
                    Reduced::LogOfSumOfPowers => {
                        return Err(Refusal::new("", "there is no kernel for powers of integers"));
                    }
                    _ => None,
                };
                let with_top = |register: Register| [register].into_iter().chain(top).collect::<Vec<Register>>();
                let x = before.map_or(x, |template| of(self, template, &with_top(x)));
                let total = reduced(self, reduction, x);
                after.map_or(total, |template| of(self, &template, &with_top(total)))
            }
        };
        self.registers.insert(call.outputs[0], result);
        Ok(())
    }

    /// `from` over the root of its mean square.
    fn scaled_to_unit(&mut self, from: Register, inverse: &str, epsilon: f32, class: Class) -> Register {
        let squares = self.expression("($0 * $0)", vec![Input::Register(from)], class);
        let sum = self.add(Made::Reduced(Reduction::Sum, squares), class, true);
        let epsilon = literal(f64::from(epsilon), class);
        let root = self.expression(format!("rsqrt($0 * {inverse} + {epsilon})"), vec![Input::Register(sum)], class);
        self.expression("($0 * $1)", vec![Input::Register(from), Input::Register(root)], class)
    }

    /// Scale and bias of a normalization, its second and third inputs.
    fn affine(&mut self, call: &FlatCall, mut from: Register, class: Class) -> Result<Register, Refusal> {
        for (at, template) in [(1, "($0 * $1)"), (2, "($0 + $1)")] {
            if let Some(value) = call.input(at) {
                let other = self.input(value)?;
                let other = self.converted(other, class);
                from = self.expression(template, vec![Input::Register(from), other], class);
            }
        }
        Ok(from)
    }

    fn lookup(&mut self, call: &FlatCall) -> Result<(), Refusal> {
        let missing = || Refusal::new("", "an input is missing");
        let (data, positions) = (call.input(0).ok_or_else(missing)?, call.input(1).ok_or_else(missing)?);
        let (data, positions) = (self.planner.view(data)?, self.planner.view(positions)?);
        let axis = normalize_axis(call.attrs.int("axis").unwrap_or(0), data.shape.len());
        let axis = axis.ok_or_else(|| Refusal::new("", "its axis is out of range"))?;
        let class = data.scalar.class();
        let n_positions = positions.shape.len();
        let around = |view: &[usize], inside: Vec<usize>| -> Vec<usize> {
            view[..axis].iter().copied().chain(inside).chain(view[axis + 1..].iter().copied()).collect()
        };
        let shape = around(&data.shape, positions.shape.clone());
        let elements =
            View { shape: shape.clone(), strides: around(&data.strides, vec![0; n_positions]), ..data.clone() };
        let zeros = vec![0; data.shape.len()];
        let looked_up = View { shape, strides: around(&zeros, positions.strides.clone()), ..positions };
        let fit =
            |this: &Self, view: &View| this.over_region(view).ok_or_else(|| Refusal::new("", "it does not broadcast"));
        let lookup = Lookup { positions: fit(self, &looked_up)?, stride: data.strides[axis], extent: data.shape[axis] };
        let operand = Operand { view: fit(self, &elements)?, lookup: Some(lookup) };
        let register = self.load(operand, class);
        self.registers.insert(call.outputs[0], register);
        Ok(())
    }

    /// The kernel, with what is read outside of the region written to memory; `None` when nothing is.
    fn generated(&mut self, calls: &[usize]) -> Result<Option<Generated>, Refusal> {
        let flat = self.planner.flat;
        let mut outputs: Vec<ValueAt> = calls.iter().map(|&at| flat.calls[at].outputs[0]).collect();
        let is_read_outside = |value: ValueAt| {
            flat.outputs.contains(&value)
                || flat
                    .calls
                    .iter()
                    .enumerate()
                    .any(|(at, call)| !calls.contains(&at) && call.inputs.contains(&Some(value)))
        };
        outputs.retain(|&value| is_read_outside(value));
        let order = self.order();
        for value in outputs {
            let shape = &flat.values[value].shape;
            let scalar = self.planner.scalar(value)?;
            let mut register = self.registers[&value];
            let same_rank = shape.len() == order.len();
            let plain = row_major(shape.len());
            let view = self.planner.fresh(scalar, shape, if same_rank { &order } else { &plain });
            let target = if same_rank {
                view.transposed(&self.axes)
            } else {
                // The columns of a reduction without `keepdims` are gone; here they have size one.
                let n_rows = self.region.shape.len() - self.region.n_column_axes;
                let mut target = view.clone();
                target.shape.resize(n_rows + self.region.n_column_axes, 1);
                target.strides.resize(n_rows + self.region.n_column_axes, 0);
                target
            };
            let space = Space { shape: self.region.shape.clone(), n_columns: self.region.n_column_axes };
            let is_row = space.row_shape() == target.shape;
            let spread = self.region.n_column_axes > 0 && target.shape == self.region.shape;
            if self.region.values[register].is_row && spread && !is_row {
                register = {
                    let class = self.region.values[register].class;
                    self.add(Made::Expression("$0".into(), vec![Input::Register(register)]), class, false)
                };
            }
            self.bytes += (view.count() * scalar.bytes()) as f64;
            self.region.stores.push((register, target));
            self.planner.views[value] = Some(view);
        }
        if self.region.stores.is_empty() {
            return Ok(None);
        }
        let generated = self.region.generate();
        Ok(Some(generated.ok_or_else(|| Refusal::new("", "its rows are too long for one block"))?))
    }

    /// Adds the step, unless nothing of it is read.
    fn finish(mut self, calls: &[usize]) -> Result<(), Refusal> {
        let flat = self.planner.flat;
        let Some(generated) = self.generated(calls)? else { return Ok(()) };
        let n_reads = generated.parameters.len() - self.region.stores.len();
        let (reads, writes) = generated.parameters.split_at(n_reads);
        let names: Vec<&str> = calls.iter().map(|&at| flat.calls[at].op.name()).collect();
        self.planner.plan.steps.push(Step {
            name: names.join("+"),
            nodes: calls.iter().map(|&at| flat.calls[at].name.clone()).collect(),
            reads: reads.to_vec(),
            writes: writes.to_vec(),
            flops: 0.0,
            bytes: self.bytes,
            work: Work::Kernel(generated),
        });
        Ok(())
    }

    /// The order in which results lie: that of the first whole tensor that is read, so that layouts carry on.
    fn order(&self) -> Vec<usize> {
        let rank = self.region.shape.len();
        let is_whole =
            |view: &View| view.shape.iter().zip(&view.strides).all(|(&size, &stride)| size == 1 || stride != 0);
        let first = self.region.operands.iter().find(|operand| operand.lookup.is_none() && is_whole(&operand.view));
        let mut order = row_major(rank);
        if let Some(operand) = first
            && self.region.n_column_axes == 0
        {
            order = operand.view.order();
        } else if let Some(operand) = first {
            // The region's axes may be a permutation of the values'; results lie as the input does.
            order = operand.view.order().into_iter().map(|axis| self.axes[axis]).collect();
        }
        order
    }
}
