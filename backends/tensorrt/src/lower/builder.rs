//! Writes layers into a network, keeping type and extents of every tensor.
//!
//! Guarantees:
//! - a layer is named after the node it belongs to; the last layer of a node has the node's own name where it is free;
//! - the bytes of a weight enter the network once, whatever shapes it is read in;
//! - operands of broadcasting layers have equal ranks.

use super::call::Call;
use super::operand::{Operand, Typed, Weight, data_type, element, is_real, widened};
use super::refusal::Refusal;
use crate::layer::{
    ActivationKind, ElementWiseKind, FlowId, Layer, MatrixKind, Operand as Kernel, ReduceKind, Scaling, UnaryKind,
};
use crate::spec::{Contents, DataType, LayerSpec, NetworkSpec, TensorRef, WeightsRef, WeightsSpec};
use eutectic_ir::tensor::Data;
use eutectic_ir::{Dim, Element, Tensor};
use std::collections::{HashMap, HashSet};

/// A network in the making.
#[derive(Clone)]
pub(super) struct Builder {
    /// The network.
    pub spec: NetworkSpec,
    /// Tensors that hold one extent each, in a dim of one.
    pub(super) extents: HashMap<Dim, TensorRef>,
    /// The extents of a tensor as a tensor.
    pub(super) shapes: HashMap<TensorRef, TensorRef>,
    layer_names: HashSet<String>,
    tensor_names: HashSet<String>,
    weights: HashMap<u32, WeightsRef>,
    constants: HashMap<(u32, Vec<i64>), Typed>,
    scalars: HashMap<(u64, DataType), Weight>,
    n_keys: u32,
    n_fresh: usize,
    n_flows: u32,
    /// Conditionals and loops around the current node.
    depth: usize,
    node: String,
    origins: Vec<String>,
    first_layer: usize,
}

/// Which layers hold extents: [`Builder::extents`] and [`Builder::shapes`].
type Known = (HashMap<Dim, TensorRef>, HashMap<TensorRef, TensorRef>);

impl Builder {
    /// An empty network. `reserved` are the names of inputs and outputs.
    pub fn new(name: &str, reserved: HashSet<String>) -> Self {
        Self {
            spec: NetworkSpec::new(name),
            extents: HashMap::new(),
            shapes: HashMap::new(),
            layer_names: HashSet::new(),
            tensor_names: reserved,
            weights: HashMap::new(),
            constants: HashMap::new(),
            scalars: HashMap::new(),
            n_keys: 0,
            n_fresh: 0,
            n_flows: 0,
            depth: 0,
            node: String::new(),
            origins: Vec::new(),
            first_layer: 0,
        }
    }

    /// Says to which node the layers from now on belong, and which source nodes they stand for.
    pub fn begin(&mut self, node: &str, origins: Vec<String>) {
        self.node = node.to_owned();
        self.origins = origins;
        self.first_layer = self.spec.layers.len();
    }

    /// Ends a node: the layer that defines `result`, if it is of this node, takes the node's name.
    pub fn end(&mut self, result: Option<&Typed>) {
        let Some(result) = result else { return };
        let own = self.spec.layers[self.first_layer..].iter_mut();
        let Some(layer) = own.rev().find(|layer| layer.first_result == result.at) else { return };
        if !self.node.is_empty() && !self.node.contains('\0') && self.layer_names.insert(self.node.clone()) {
            self.layer_names.remove(&layer.name);
            layer.name.clone_from(&self.node);
        }
    }

    /// A conditional or a loop.
    pub fn new_flow(&mut self) -> FlowId {
        self.n_flows += 1;
        FlowId(self.n_flows)
    }

    /// From now on layers lie within a conditional or a loop. Returns what is known of extents outside of it, for
    /// [`Builder::leave`].
    pub fn enter(&mut self) -> Known {
        self.depth += 1;
        (self.extents.clone(), self.shapes.clone())
    }

    /// Ends what [`Builder::enter`] has begun.
    pub fn leave(&mut self, outside: Known) {
        self.depth -= 1;
        (self.extents, self.shapes) = outside;
    }

    /// Names `tensor` if it is a result of the node that has just ended, nobody has its name yet, and it has none. Within a
    /// conditional or a loop nothing has a name, since nothing there can become an output.
    pub fn name(&mut self, tensor: &Typed, name: &str) {
        if self.depth > 0 || name.is_empty() || name.contains('\0') || self.tensor_names.contains(name) {
            return;
        }
        let own = self.spec.layers[self.first_layer..].iter_mut();
        for layer in own {
            let at = tensor.at.0.wrapping_sub(layer.first_result.0) as usize;
            if let Some(slot @ None) = layer.result_names.get_mut(at) {
                self.tensor_names.insert(name.to_owned());
                *slot = Some(name.to_owned());
            }
        }
    }

    /// A dim that nothing is known of.
    pub fn fresh(&mut self) -> Dim {
        self.n_fresh += 1;
        Dim::fresh("lowered", self.n_fresh)
    }

    /// Adds a layer that does `role` for the current node.
    pub fn layer(&mut self, role: &str, layer: Layer) -> TensorRef {
        let name = self.unique(format!("{}/{role}", self.node));
        let result = self.spec.add(name, layer);
        self.spec.set_origins(self.origins.clone());
        result
    }

    /// Adds a layer of one result of a known type.
    pub fn typed(&mut self, role: &str, layer: Layer, data_type: DataType, shape: Vec<Dim>) -> Typed {
        Typed { at: self.layer(role, layer), data_type, shape }
    }

    fn unique(&mut self, wanted: String) -> String {
        let wanted = wanted.replace('\0', "?");
        let mut name = wanted.clone();
        let mut count = 1;
        while !self.layer_names.insert(name.clone()) {
            count += 1;
            name = format!("{wanted}.{count}");
        }
        name
    }

    /// A weight that only this lowering knows.
    pub fn weight(&mut self, name: &str, tensor: Tensor) -> Weight {
        self.n_keys += 1;
        let name = if name.is_empty() { format!("{}/constant", self.node) } else { name.to_owned() };
        Weight { tensor, key: self.n_keys, name }
    }

    /// The bytes of a weight, for a layer that takes them as a parameter.
    pub fn bytes(&mut self, weight: &Weight) -> Result<WeightsRef, Refusal> {
        if let Some(&known) = self.weights.get(&weight.key) {
            return Ok(known);
        }
        let data_type = data_type(weight.tensor.element())?;
        let contents = match weight.tensor.data() {
            Data::Bytes(bytes) => Contents::Bytes(bytes.clone()),
            Data::Stored(stored) => Contents::Stored(stored.clone()),
            _ => Contents::Bytes(weight.tensor.bytes().into_owned().into()),
        };
        // The count is that of the shape: four-bit elements may leave half a byte over.
        let known = self.spec.add_weights(WeightsSpec { data_type, count: weight.tensor.count() as u64, contents });
        self.weights.insert(weight.key, known);
        Ok(known)
    }

    /// A weight as a tensor of these extents.
    pub fn constant(&mut self, weight: &Weight, sizes: &[i64]) -> Result<Typed, Refusal> {
        if let Some(known) = self.constants.get(&(weight.key, sizes.to_vec())) {
            return Ok(known.clone());
        }
        if weight.tensor.count() == 0 {
            return Err(Refusal::new("a constant of it has no elements").instead("a constant with elements"));
        }
        // Bytes without a sign exist at the edge of a network only.
        if weight.tensor.element() == Element::Uint8 {
            let wide = widened(weight)?;
            let wide = self.constant(&wide, sizes)?;
            self.constants.insert((weight.key, sizes.to_vec()), wide.clone());
            return Ok(wide);
        }
        let data_type = data_type(weight.tensor.element())?;
        let weights = self.bytes(weight)?;
        let name = self.unique(weight.name.clone());
        let at = self.spec.add(name, Layer::Constant { weights, dims: sizes.to_vec() });
        let typed = Typed { at, data_type, shape: sizes.iter().copied().map(Dim::known).collect() };
        self.constants.insert((weight.key, sizes.to_vec()), typed.clone());
        Ok(typed)
    }

    /// Whether a tensor is a constant.
    pub fn is_constant(&self, tensor: &Typed) -> bool {
        self.constants.values().any(|constant| constant.at == tensor.at)
    }

    /// The layer whose first result is `tensor`.
    fn producer(&self, tensor: TensorRef) -> Option<&Layer> {
        let defines = |layer: &&LayerSpec| layer.first_result == tensor;
        self.spec.layers.iter().rev().find(defines).map(|layer| &layer.layer)
    }

    /// Whether a convolution of numbers that are not quantized leaves `tensor` behind, within so many steps of its epilogue: sums,
    /// products, activations.
    pub fn is_of_convolution(&self, tensor: TensorRef, most_steps: usize) -> bool {
        let reads: &[TensorRef] = match self.producer(tensor) {
            Some(Layer::Convolution { input, .. }) => {
                return !matches!(self.producer(*input), Some(Layer::Dequantize { .. }));
            }
            Some(Layer::Activation { input, .. } | Layer::Unary { input, .. }) => &[*input],
            Some(Layer::ElementWise { a, b, .. }) => &[*a, *b],
            _ => &[],
        };
        most_steps > 0 && reads.iter().any(|&read| self.is_of_convolution(read, most_steps - 1))
    }

    /// An operand as a tensor.
    pub fn tensor(&mut self, operand: &Operand) -> Result<Typed, Refusal> {
        match operand {
            Operand::Tensor(tensor) => Ok(tensor.clone()),
            Operand::Weight(weight) => self.constant(weight, &weight.sizes()),
        }
    }

    /// Input `index` of a call as a tensor.
    pub fn input(&mut self, call: &Call, index: usize) -> Result<Typed, Refusal> {
        self.tensor(call.value(index)?)
    }

    /// An operand as a tensor of at least `rank` axes: extents of one come in front.
    pub fn aligned(&mut self, operand: &Operand, rank: usize) -> Result<Typed, Refusal> {
        let missing = rank.saturating_sub(operand.rank());
        match operand {
            Operand::Weight(weight) => {
                let sizes: Vec<i64> = std::iter::repeat_n(1, missing).chain(weight.sizes()).collect();
                self.constant(weight, &sizes)
            }
            Operand::Tensor(tensor) => self.unsqueeze(tensor, &(0..missing).collect::<Vec<_>>()),
        }
    }

    /// A constant of one element with `rank` axes.
    pub fn scalar(&mut self, value: f64, data_type: DataType, rank: usize) -> Result<Typed, Refusal> {
        let weight = self.scalar_weight(value, data_type)?;
        self.constant(&weight, &vec![1; rank])
    }

    /// A weight of one element without axes.
    pub fn scalar_weight(&mut self, value: f64, data_type: DataType) -> Result<Weight, Refusal> {
        if let Some(known) = self.scalars.get(&(value.to_bits(), data_type)) {
            return Ok(known.clone());
        }
        let tensor = Tensor::full(element(data_type), &[], value)
            .map_err(|error| Refusal::new(format!("the constant {value}: {error}")))?;
        self.n_keys += 1;
        let weight = Weight { tensor, key: self.n_keys, name: format!("constant {value}") };
        self.scalars.insert((value.to_bits(), data_type), weight.clone());
        Ok(weight)
    }

    /// A constant vector of I64.
    pub fn vector(&mut self, values: &[i64]) -> Result<Typed, Refusal> {
        let weight = self.weight("", Tensor::vector(values));
        self.constant(&weight, &[values.len() as i64])
    }

    /// What two extents broadcast to.
    fn broadcast_dim(&mut self, a: &Dim, b: &Dim) -> Result<Dim, Refusal> {
        match (a.as_known(), b.as_known()) {
            _ if a == b => Ok(a.clone()),
            (Some(1), _) => Ok(b.clone()),
            (_, Some(1)) => Ok(a.clone()),
            (Some(_), Some(_)) => Err(Refusal::new(format!("the extents {a} and {b} do not broadcast"))),
            (Some(_), None) => Ok(a.clone()),
            (None, Some(_)) => Ok(b.clone()),
            (None, None) => Ok(self.fresh()),
        }
    }

    /// What two shapes of one rank broadcast to.
    pub fn broadcast(&mut self, a: &[Dim], b: &[Dim]) -> Result<Vec<Dim>, Refusal> {
        a.iter().zip(b).map(|(a, b)| self.broadcast_dim(a, b)).collect()
    }

    /// A function of two operands of one type, element by element.
    pub fn binary(&mut self, kind: ElementWiseKind, a: &Operand, b: &Operand) -> Result<Typed, Refusal> {
        let rank = a.rank().max(b.rank());
        let (a, b) = (self.aligned(a, rank)?, self.aligned(b, rank)?);
        if a.data_type != b.data_type {
            return Err(Refusal::new(format!("its operands are {:?} and {:?}", a.data_type, b.data_type))
                .instead("cast one of them"));
        }
        let shape = self.broadcast(&a.shape, &b.shape)?;
        use ElementWiseKind::*;
        let data_type = if matches!(kind, Equal | Greater | Less) { DataType::Bool } else { a.data_type };
        let role = format!("{kind:?}").to_lowercase();
        Ok(self.typed(&role, Layer::ElementWise { kind, a: a.at, b: b.at }, data_type, shape))
    }

    /// A function of two tensors of one type, element by element.
    pub fn pair(&mut self, kind: ElementWiseKind, a: &Typed, b: &Typed) -> Result<Typed, Refusal> {
        self.binary(kind, &Operand::Tensor(a.clone()), &Operand::Tensor(b.clone()))
    }

    /// A function of a tensor and one number.
    pub fn with(&mut self, kind: ElementWiseKind, a: &Typed, number: f64) -> Result<Typed, Refusal> {
        let b = self.scalar(number, a.data_type, a.rank())?;
        self.pair(kind, a, &b)
    }

    /// A function of each element.
    pub fn unary(&mut self, kind: UnaryKind, input: &Typed) -> Typed {
        let data_type = match kind {
            UnaryKind::IsInf | UnaryKind::IsNan => DataType::Bool,
            _ => input.data_type,
        };
        let role = format!("{kind:?}").to_lowercase();
        self.typed(&role, Layer::Unary { input: input.at, kind }, data_type, input.shape.clone())
    }

    /// A function of each element with parameters.
    pub fn activation(&mut self, kind: ActivationKind, input: &Typed, alpha: Option<f32>, beta: Option<f32>) -> Typed {
        let role = format!("{kind:?}").to_lowercase();
        let layer = Layer::Activation { input: input.at, kind, alpha, beta };
        self.typed(&role, layer, input.data_type, input.shape.clone())
    }

    /// The elements in another type; the tensor itself when it has that type.
    pub fn cast(&mut self, input: &Typed, to: DataType) -> Typed {
        use DataType::{F4E2M1, F8E4M3, F32, I4, U8};
        let is_narrow = |data_type| matches!(data_type, F8E4M3 | F4E2M1 | I4);
        match (input.data_type, to) {
            (from, to) if from == to => input.clone(),
            // Narrow types convert by quantization alone, bytes without a sign to and from floats alone.
            (from, to) if from != F32 && (is_narrow(to) || (to == U8 && !is_real(from))) => {
                let wide = self.cast(input, F32);
                self.cast(&wide, to)
            }
            (from, to) if to != F32 && (is_narrow(from) || (from == U8 && !is_real(to))) => {
                let wide = self.cast(input, F32);
                self.cast(&wide, to)
            }
            (from, to) if is_narrow(from) || is_narrow(to) => {
                let Ok(scale) = self.scalar(1.0, F32, 0) else { unreachable!("single precision holds one") };
                let (input, shape, scale, scaling) = (input.at, input.shape.clone(), scale.at, Scaling::PerTensor);
                let layer = match is_narrow(to) {
                    true => Layer::Quantize { input, scale, scaling, to },
                    false => Layer::Dequantize { input, scale, scaling, to },
                };
                self.typed("cast", layer, to, shape)
            }
            _ => self.typed("cast", Layer::Cast { input: input.at, to }, to, input.shape.clone()),
        }
    }

    /// A copy that is a tensor of its own.
    pub fn identity(&mut self, input: &Typed) -> Typed {
        self.typed("identity", Layer::Identity { input: input.at }, input.data_type, input.shape.clone())
    }

    /// Combines the elements along `axes`; the tensor itself when there are none.
    pub fn reduce(&mut self, kind: ReduceKind, input: &Typed, axes: &[usize], keep: bool) -> Typed {
        if axes.is_empty() {
            return input.clone();
        }
        let shape = input.shape.iter().enumerate().filter_map(|(at, dim)| match (axes.contains(&at), keep) {
            (false, _) => Some(dim.clone()),
            (true, true) => Some(Dim::known(1)),
            (true, false) => None,
        });
        let shape = shape.collect();
        let mut axes: Vec<u32> = axes.iter().map(|&axis| axis as u32).collect();
        axes.sort_unstable();
        axes.dedup();
        let role = format!("{kind:?}").to_lowercase();
        self.typed(&role, Layer::Reduce { input: input.at, kind, axes, keep_dims: keep }, input.data_type, shape)
    }

    /// Softmax along one axis.
    pub fn softmax(&mut self, input: &Typed, axis: usize) -> Typed {
        let layer = Layer::SoftMax { input: input.at, axis: axis as u32 };
        self.typed("softmax", layer, input.data_type, input.shape.clone())
    }

    /// `then` where `condition` holds, else `otherwise`; all broadcast.
    pub fn select(&mut self, condition: &Operand, then: &Operand, otherwise: &Operand) -> Result<Typed, Refusal> {
        let rank = condition.rank().max(then.rank()).max(otherwise.rank());
        let condition = self.aligned(condition, rank)?;
        let (then, otherwise) = (self.aligned(then, rank)?, self.aligned(otherwise, rank)?);
        if then.data_type != otherwise.data_type {
            let problem = format!("its branches are {:?} and {:?}", then.data_type, otherwise.data_type);
            return Err(Refusal::new(problem).instead("cast one of them"));
        }
        let shape = self.broadcast(&then.shape, &otherwise.shape)?;
        let shape = self.broadcast(&condition.shape, &shape)?;
        let layer = Layer::Select { condition: condition.at, then: then.at, otherwise: otherwise.at };
        Ok(self.typed("select", layer, then.data_type, shape))
    }

    /// Matrix product of the last two axes; the others broadcast. Both have one rank, at least two.
    pub fn matmul(&mut self, a: &Typed, a_as: MatrixKind, b: &Typed, b_as: MatrixKind) -> Result<Typed, Refusal> {
        let rank = a.rank();
        if rank < 2 || b.rank() != rank {
            return Err(Refusal::new(format!("a product of ranks {rank} and {}", b.rank())));
        }
        let flipped = |kind| usize::from(kind == MatrixKind::Transpose);
        let rows = a.shape[rank - 2 + flipped(a_as)].clone();
        let columns = b.shape[rank - 1 - flipped(b_as)].clone();
        let mut shape = self.broadcast(&a.shape[..rank - 2], &b.shape[..rank - 2])?;
        shape.extend([rows, columns]);
        let layer = Layer::MatrixMultiply { a: a.at, a_as, b: b.at, b_as };
        Ok(self.typed("product", layer, a.data_type, shape))
    }

    /// A kernel or a bias: bytes when they are known.
    pub fn kernel(&mut self, operand: &Operand) -> Result<Kernel, Refusal> {
        Ok(match operand {
            Operand::Weight(weight) => Kernel::Weights(self.bytes(weight)?),
            Operand::Tensor(tensor) => Kernel::Tensor(tensor.at),
        })
    }
}
