//! Operators that mean a few others, replaced by them, so that regions and products run them.

use crate::flat::{Flat, FlatCall, Known, ValueAt};
use eutectic_ir::attr::{Attr, Attrs};
use eutectic_ir::graph::Op;
use eutectic_ir::ops;
use eutectic_ir::tensor::Tensor;
use eutectic_ir::types::{Element, normalize_axis};

/// Attributes of a call that is added.
pub(crate) type Given = Vec<(&'static str, Attr)>;

/// Adds calls in place of one.
pub(crate) struct Rewriter<'a> {
    /// Where they are added.
    pub flat: &'a mut Flat,
    /// The call that they replace; they take its name and group.
    pub call: &'a FlatCall,
}

impl Rewriter<'_> {
    /// A value without contents.
    pub fn value(&mut self, element: Element, shape: &[usize]) -> ValueAt {
        self.flat.values.push(Known { element, shape: shape.to_vec(), constant: None });
        self.flat.values.len() - 1
    }

    /// A constant.
    pub fn constant(&mut self, tensor: Tensor) -> ValueAt {
        let (element, shape) = (tensor.element(), tensor.shape().to_vec());
        self.flat.values.push(Known { element, shape, constant: Some(tensor) });
        self.flat.values.len() - 1
    }

    /// A constant of one number. `None` when `element` does not hold numbers.
    pub fn number(&mut self, element: Element, number: f64) -> Option<ValueAt> {
        let tensor = Tensor::full(element, &[], number).ok()?;
        Some(self.constant(tensor))
    }

    /// Adds a call of `name` that computes `output`.
    pub fn push(&mut self, name: &str, attrs: Given, inputs: &[ValueAt], output: ValueAt) {
        let Some(def) = ops::lookup("", name) else { return };
        let given: Attrs = attrs.into_iter().collect();
        let mut attrs = def.complete(given.clone()).unwrap_or(given);
        let mut inputs: Vec<Option<ValueAt>> = inputs.iter().map(|&input| Some(input)).collect();
        if name == "Reshape" {
            // A size of 0 is meant.
            attrs.set("allowzero", Attr::Int(1));
        }
        if matches!(name, "Reshape" | "Expand") {
            let sizes: Vec<i64> = self.flat.values[output].shape.iter().map(|&size| size as i64).collect();
            inputs.push(Some(self.constant(Tensor::vector(&sizes))));
        }
        self.flat.calls.push(FlatCall {
            op: Op::Builtin(def),
            attrs,
            inputs,
            outputs: vec![output],
            name: self.call.name.clone(),
            group: self.call.group,
        });
    }

    /// Adds a call of `name`, and gives its result of `shape`.
    pub fn add(&mut self, name: &str, attrs: Given, inputs: &[ValueAt], element: Element, shape: &[usize]) -> ValueAt {
        let result = self.value(element, shape);
        self.push(name, attrs, inputs, result);
        result
    }

    /// A pointwise call of operands that broadcast; the result has the element of the first.
    pub fn pointwise(&mut self, name: &str, inputs: &[ValueAt]) -> ValueAt {
        let shapes: Vec<&[usize]> = inputs.iter().map(|&input| self.flat.values[input].shape.as_slice()).collect();
        let rank = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
        let size = |at: usize| {
            let sizes = shapes.iter().filter_map(|shape| (at + shape.len()).checked_sub(rank).map(|at| shape[at]));
            // A size of one gives way to any other, zero included.
            sizes.fold(1, |so_far, size| if size == 1 { so_far } else { size })
        };
        let shape: Vec<usize> = (0..rank).map(size).collect();
        let element = self.element(inputs[0]);
        self.add(name, vec![], inputs, element, &shape)
    }

    /// `value` in another shape.
    pub fn reshaped(&mut self, value: ValueAt, shape: &[usize]) -> ValueAt {
        if self.flat.values[value].shape == shape {
            return value;
        }
        let element = self.element(value);
        self.add("Reshape", vec![], &[value], element, shape)
    }

    /// `value` as `element`.
    pub fn cast(&mut self, value: ValueAt, element: Element) -> ValueAt {
        if self.element(value) == element {
            return value;
        }
        let shape = self.shape(value);
        self.add("Cast", vec![("to", Attr::Int(i64::from(element.code())))], &[value], element, &shape)
    }

    /// `value` with its axes in another order.
    pub fn transposed(&mut self, value: ValueAt, axes: &[usize]) -> ValueAt {
        let shape: Vec<usize> = axes.iter().map(|&axis| self.flat.values[value].shape[axis]).collect();
        let perm: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
        let element = self.element(value);
        self.add("Transpose", vec![("perm", Attr::Ints(perm.into()))], &[value], element, &shape)
    }

    /// A reduction of the axes from `first` on, which stay with size one.
    pub fn reduced(&mut self, name: &str, value: ValueAt, first: usize) -> ValueAt {
        let mut shape = self.shape(value);
        let axes: Vec<i64> = (first..shape.len()).map(|axis| axis as i64).collect();
        shape[first..].fill(1);
        let element = self.element(value);
        let axes = self.constant(Tensor::vector(&axes));
        self.add(name, vec![("keepdims", Attr::Int(1))], &[value, axes], element, &shape)
    }

    /// The element type of `value`.
    pub fn element(&self, value: ValueAt) -> Element {
        self.flat.values[value].element
    }

    /// The shape of `value`.
    pub fn shape(&self, value: ValueAt) -> Vec<usize> {
        self.flat.values[value].shape.clone()
    }
}

/// Replaces the operators that this file knows; a call that has other operands than it can replace stays.
pub(crate) fn operators(flat: &mut Flat) {
    for call in std::mem::take(&mut flat.calls) {
        let n_calls = flat.calls.len();
        if !call.op.domain().is_empty() || replaced(&mut Rewriter { flat, call: &call }).is_none() {
            flat.calls.truncate(n_calls);
            flat.calls.push(call);
        }
    }
}

fn replaced(to: &mut Rewriter) -> Option<()> {
    match to.call.op.name() {
        "BatchNormalization" => batch_normalization(to),
        "InstanceNormalization" => {
            let shape = to.shape(to.call.input(0)?);
            normalized_groups(to, *shape.get(1)?)
        }
        "GroupNormalization" => {
            let n_groups = usize::try_from(to.call.attrs.int("num_groups")?).ok()?;
            normalized_groups(to, n_groups)
        }
        "MeanVarianceNormalization" => mean_variance(to),
        "LayerNormalization" if to.call.outputs.len() > 1 => layer_normalization(to),
        "Dropout" if to.call.outputs.len() > 1 => dropout(to),
        "DepthToSpace" | "SpaceToDepth" => blocks(to),
        "SoftmaxCrossEntropyLoss" => cross_entropy(to),
        "NegativeLogLikelihoodLoss" => {
            let (scores, target) = (to.call.input(0)?, to.call.input(1)?);
            likelihood(to, scores, target, to.call.input(2))
        }
        "DynamicQuantizeLinear" => dynamic_quantization(to),
        _ => None,
    }
}

/// `value`, one number for each channel, beside axes of a tensor of `rank` axes.
fn beside(to: &mut Rewriter, value: ValueAt, rank: usize) -> ValueAt {
    let n: usize = to.shape(value).iter().product();
    let shape: Vec<usize> = [n].into_iter().chain(vec![1; rank.saturating_sub(2)]).collect();
    to.reshaped(value, &shape)
}

fn batch_normalization(to: &mut Rewriter) -> Option<()> {
    let call = to.call;
    if call.outputs.len() != 1 || call.attrs.flag("training_mode") {
        return None;
    }
    let x = call.input(0)?;
    let rank = to.shape(x).len();
    let mut parts = Vec::new();
    for at in 1..5 {
        let part = beside(to, call.input(at)?, rank);
        parts.push(to.cast(part, to.element(x)));
    }
    let [scale, bias, mean, variance] = parts[..] else { return None };
    let epsilon = to.number(to.element(x), f64::from(call.attrs.float("epsilon")?))?;
    let variance = to.pointwise("Add", &[variance, epsilon]);
    let deviation = to.pointwise("Sqrt", &[variance]);
    let centred = to.pointwise("Sub", &[x, mean]);
    let scaled = to.pointwise("Mul", &[centred, scale]);
    let scaled = to.pointwise("Div", &[scaled, deviation]);
    to.push("Add", vec![], &[scaled, bias], call.outputs[0]);
    Some(())
}

/// Instance normalization is that of groups of one channel.
fn normalized_groups(to: &mut Rewriter, n_groups: usize) -> Option<()> {
    let call = to.call;
    let x = call.input(0)?;
    let (shape, element) = (to.shape(x), to.element(x));
    let [batch, channels, ..] = shape[..] else { return None };
    if n_groups == 0 || channels % n_groups != 0 {
        return None;
    }
    let grouped = [batch, n_groups, shape[1..].iter().product::<usize>() / n_groups];
    let rows = to.reshaped(x, &grouped);
    let rows = unscaled_normalization(to, rows, 2, call.attrs.float("epsilon")?)?;
    let mut current = to.reshaped(rows, &shape);
    for (at, name) in [(1, "Mul"), (2, "Add")] {
        let mut factor = call.input(at)?;
        let n: usize = to.shape(factor).iter().product();
        if n == n_groups && n != channels {
            // One number for each group: spread over its channels.
            factor = to.reshaped(factor, &[n_groups, 1]);
            factor = to.add("Expand", vec![], &[factor], element, &[n_groups, channels / n_groups]);
        }
        let factor = beside(to, factor, shape.len());
        current = to.pointwise(name, &[current, factor]);
    }
    to.push("Identity", vec![], &[current], call.outputs[0]);
    Some(())
}

/// Layer normalization of the axes from `first` on, with a scale of one.
fn unscaled_normalization(to: &mut Rewriter, value: ValueAt, first: usize, epsilon: f32) -> Option<ValueAt> {
    let (element, shape) = (to.element(value), to.shape(value));
    let one = to.constant(Tensor::full(element, &[1], 1.0).ok()?);
    let attrs = vec![("axis", Attr::Int(first as i64)), ("epsilon", Attr::Float(epsilon))];
    Some(to.add("LayerNormalization", attrs, &[value, one], element, &shape))
}

fn mean_variance(to: &mut Rewriter) -> Option<()> {
    let call = to.call;
    let x = call.input(0)?;
    let shape = to.shape(x);
    let axes: Option<Vec<usize>> =
        call.attrs.ints("axes")?.iter().map(|&axis| normalize_axis(axis, shape.len())).collect();
    let axes = axes?;
    let order: Vec<usize> = (0..shape.len()).filter(|axis| !axes.contains(axis)).chain(axes.iter().copied()).collect();
    let turned = to.transposed(x, &order);
    let first = shape.len() - axes.len();
    // The function adds 1e-9 to the deviation, which is below what matters beside any variance of a test or model.
    let rows = unscaled_normalization(to, turned, first, 1e-9)?;
    let mut back = vec![0i64; order.len()];
    order.iter().enumerate().for_each(|(at, &axis)| back[axis] = at as i64);
    to.push("Transpose", vec![("perm", Attr::Ints(back.into()))], &[rows], call.outputs[0]);
    Some(())
}

fn layer_normalization(to: &mut Rewriter) -> Option<()> {
    let call = to.call;
    let x = call.input(0)?;
    let element = to.element(x);
    let first = normalize_axis(call.attrs.int("axis")?, to.shape(x).len())?;
    let stash = *call.outputs.get(1).or(call.outputs.get(2))?;
    let wide = to.element(stash);
    let x = to.cast(x, wide);
    let mean = to.reduced("ReduceMean", x, first);
    let centred = to.pointwise("Sub", &[x, mean]);
    let squares = to.pointwise("Mul", &[centred, centred]);
    let variance = to.reduced("ReduceMean", squares, first);
    let epsilon = to.number(wide, f64::from(call.attrs.float("epsilon")?))?;
    let variance = to.pointwise("Add", &[variance, epsilon]);
    let deviation = to.pointwise("Sqrt", &[variance]);
    let inverse = to.pointwise("Reciprocal", &[deviation]);
    let scaled = to.pointwise("Mul", &[centred, inverse]);
    let mut current = to.cast(scaled, element);
    for (at, name) in [(1, "Mul"), (2, "Add")] {
        if let Some(other) = call.input(at) {
            current = to.pointwise(name, &[current, other]);
        }
    }
    to.push("Identity", vec![], &[current], call.outputs[0]);
    for (&output, value) in call.outputs[1..].iter().zip([mean, inverse]) {
        to.push("Identity", vec![], &[value], output);
    }
    Some(())
}

/// Outside of training nothing is dropped.
fn dropout(to: &mut Rewriter) -> Option<()> {
    let call = to.call;
    if let Some(training) = call.input(2)
        && to.flat.values[training].constant.as_ref()?.as_single()? != 0.0
    {
        return None;
    }
    let x = call.input(0)?;
    to.push("Identity", vec![], &[x], call.outputs[0]);
    let kept = Tensor::full(Element::Bool, &to.shape(x), 1.0).ok()?;
    to.flat.values[call.outputs[1]].constant = Some(kept);
    Some(())
}

fn blocks(to: &mut Rewriter) -> Option<()> {
    let call = to.call;
    let x = call.input(0)?;
    let [n, c, h, w] = to.shape(x)[..] else { return None };
    let size = usize::try_from(call.attrs.int("blocksize")?).ok().filter(|&size| size > 0)?;
    let (split, axes): ([usize; 6], [usize; 6]) = match (call.op.name(), call.attrs.string("mode")) {
        ("SpaceToDepth", Some("CRD")) => ([n, c, h / size, size, w / size, size], [0, 1, 3, 5, 2, 4]),
        ("SpaceToDepth", _) => ([n, c, h / size, size, w / size, size], [0, 3, 5, 1, 2, 4]),
        (_, Some("CRD")) => ([n, c / (size * size), size, size, h, w], [0, 1, 4, 2, 5, 3]),
        _ => ([n, size, size, c / (size * size), h, w], [0, 3, 4, 1, 5, 2]),
    };
    let split = to.reshaped(x, &split);
    let turned = to.transposed(split, &axes);
    to.push("Reshape", vec![], &[turned], call.outputs[0]);
    Some(())
}

fn cross_entropy(to: &mut Rewriter) -> Option<()> {
    let call = to.call;
    let (x, target) = (call.input(0)?, call.input(1)?);
    let (element, shape) = (to.element(x), to.shape(x));
    let logarithms = to.add("LogSoftmax", vec![("axis", Attr::Int(1))], &[x], element, &shape);
    if let Some(&output) = call.outputs.get(1) {
        to.push("Identity", vec![], &[logarithms], output);
    }
    likelihood(to, logarithms, target, call.input(2))
}

/// Minus the score of each target, weighted, and reduced.
fn likelihood(to: &mut Rewriter, scores: ValueAt, target: ValueAt, weight: Option<ValueAt>) -> Option<()> {
    let call = to.call;
    let (element, integer) = (to.element(scores), to.element(target));
    let shape = to.shape(target);
    let mut places = target;
    let mut ignored = None;
    if let Some(index) = call.attrs.int("ignore_index") {
        let (index, zero) = (to.number(integer, index as f64)?, to.number(integer, 0.0)?);
        let is_ignored = to.add("Equal", vec![], &[target, index], Element::Bool, &shape);
        places = to.add("Where", vec![], &[is_ignored, zero, target], integer, &shape);
        ignored = Some(is_ignored);
    }
    let mut column = shape.clone();
    column.insert(1, 1);
    let columns = to.reshaped(places, &column);
    let picked = to.add("GatherElements", vec![("axis", Attr::Int(1))], &[scores, columns], element, &column);
    let picked = to.reshaped(picked, &shape);
    let mut weights = match weight {
        Some(weight) => to.add("Gather", vec![("axis", Attr::Int(0))], &[weight, places], element, &shape),
        None => {
            let ones = Tensor::full(element, &shape, 1.0).ok()?;
            to.constant(ones)
        }
    };
    if let Some(is_ignored) = ignored {
        let zero = to.number(element, 0.0)?;
        weights = to.add("Where", vec![], &[is_ignored, zero, weights], element, &shape);
    }
    let weighted = to.pointwise("Mul", &[picked, weights]);
    let losses = to.pointwise("Neg", &[weighted]);
    match call.attrs.string("reduction") {
        Some("none") => to.push("Identity", vec![], &[losses], call.outputs[0]),
        reduction => {
            let total = to.reduced("ReduceSum", losses, 0);
            let total = to.reshaped(total, &[]);
            if reduction == Some("sum") {
                to.push("Identity", vec![], &[total], call.outputs[0]);
            } else {
                let weight = to.reduced("ReduceSum", weights, 0);
                let weight = to.reshaped(weight, &[]);
                to.push("Div", vec![], &[total, weight], call.outputs[0]);
            }
        }
    }
    Some(())
}

fn dynamic_quantization(to: &mut Rewriter) -> Option<()> {
    let call = to.call;
    let x = call.input(0)?;
    let element = to.element(x);
    let (zero, most) = (to.number(element, 0.0)?, to.number(element, 255.0)?);
    let mut ends = Vec::new();
    for (reduce, include) in [("ReduceMin", "Min"), ("ReduceMax", "Max")] {
        let end = to.reduced(reduce, x, 0);
        let end = to.reshaped(end, &[]);
        ends.push(to.pointwise(include, &[end, zero]));
    }
    let range = to.pointwise("Sub", &[ends[1], ends[0]]);
    let scale = to.pointwise("Div", &[range, most]);
    let least = to.pointwise("Neg", &[ends[0]]);
    let point = to.pointwise("Div", &[least, scale]);
    let point = to.pointwise("Round", &[point]);
    let point = to.pointwise("Max", &[point, zero]);
    let point = to.pointwise("Min", &[point, most]);
    to.push("Identity", vec![], &[scale], call.outputs[1]);
    to.push("Cast", vec![("to", Attr::Int(i64::from(Element::Uint8.code())))], &[point], call.outputs[2]);
    to.push("QuantizeLinear", vec![], &[x, call.outputs[1], call.outputs[2]], call.outputs[0]);
    Some(())
}
