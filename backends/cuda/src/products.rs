//! Matrix products: which operands cuBLASLt can read where they lie.

use crate::convolution::Convolution;
use crate::direct::Direct;
use crate::flat::Refusal;
use crate::plan::{Place, Places, Step, Ways, Work};
use crate::planner::Planner;
use crate::product::{Activation, Matrix, Product};
use crate::region::{Generated, Region, spelled};
use crate::units::Epilogue;
use crate::view::{Precision, Scalar, View, row_major};
use crate::ways::{Native, complete};
use crate::{operators, regions, tile};
use std::fmt::Write;

/// The last two axes of `view` as a matrix, and one stride for all axes before them; `None` when strides cannot say it.
pub(crate) fn matrix(view: &View) -> Option<Matrix> {
    let rank = view.shape.len();
    let (rows, columns) = (view.shape[rank - 2], view.shape[rank - 1]);
    let (down, across) = (view.strides[rank - 2], view.strides[rank - 1]);
    let (is_transposed, leading) = match () {
        () if (across == 1 || columns == 1) && rows == 1 => (false, columns),
        () if (across == 1 || columns == 1) && down >= columns => (false, down),
        () if (down == 1 || rows == 1) && columns == 1 => (true, rows),
        () if (down == 1 || rows == 1) && across >= rows => (true, across),
        () => return None,
    };
    let mut batch_stride = None;
    let mut expected = 0;
    for axis in (0..rank - 2).rev().filter(|&axis| view.shape[axis] != 1) {
        match batch_stride {
            None => batch_stride = Some(view.strides[axis]),
            Some(_) if view.strides[axis] == expected => {}
            Some(_) => return None,
        }
        expected = view.strides[axis] * view.shape[axis];
    }
    let batch_stride = batch_stride.unwrap_or(0);
    let is_aligned = |elements: usize| elements * view.scalar.bytes() % 16 == 0;
    // Unaligned operands are read, but by slow kernels; a copy is cheaper. Odd shapes are what they are.
    let wants = is_aligned(leading) || view.is_dense_in(&row_major(rank));
    (wants && (view.offset == 0 || is_aligned(view.offset))).then_some(Matrix { is_transposed, leading, batch_stride })
}

/// Plans a product with its epilogue.
pub(crate) fn product(planner: &mut Planner, calls: &[usize], epilogue: &Epilogue) -> Result<(), Refusal> {
    let flat = planner.flat;
    let call = &flat.calls[calls[0]];
    let output = flat.calls[calls[epilogue.n_calls]].outputs[0];
    let refuse = |reason: &str| Refusal::new("", reason);
    let (Some(left), Some(right)) = (call.input(0), call.input(1)) else { return Err(refuse("an input is missing")) };
    let scalar = planner.scalar(output)?;
    if !scalar.class().is_real() {
        return operators::integer_product(planner, call);
    }
    let shape = flat.values[call.outputs[0]].shape.clone();
    let view = |planner: &mut Planner, value, is_left: bool| {
        let mut view: View = planner.view(value)?;
        if view.scalar != scalar {
            let order = row_major(view.shape.len());
            view = planner.copied(view, scalar, &order, &call.name)?;
        }
        // A vector is a row on the left and a column on the right.
        if let [size] = view.shape[..] {
            let stride = view.strides[0];
            (view.shape, view.strides) = if is_left {
                (vec![1, size], vec![size * stride, stride])
            } else {
                (vec![size, 1], vec![stride, size * stride])
            };
        }
        Ok::<View, Refusal>(view)
    };
    let (mut left, mut right) = (view(planner, left, true)?, view(planner, right, false)?);
    let [m, k] = left.shape[left.shape.len() - 2..] else { return Err(refuse("an operand has no axes")) };
    let n = right.shape[right.shape.len() - 1];
    let outer = |view: &View| view.shape[..view.shape.len() - 2].to_vec();
    let batch_axes = if outer(&left).len() >= outer(&right).len() { outer(&left) } else { outer(&right) };
    let n_axes = batch_axes.len();
    // Broadcast axis by axis: the larger size of the two.
    let size = |view: &View, at: usize| {
        let sizes = outer(view);
        (at + sizes.len()).checked_sub(n_axes).map_or(1, |at| sizes[at])
    };
    let batch_axes: Vec<usize> = (0..n_axes).map(|at| size(&left, at).max(size(&right, at))).collect();
    let batch: usize = batch_axes.iter().product();
    if m * n * k * batch == 0 {
        return Err(refuse("there is no kernel for a product without elements"));
    }
    let whole = |view: &View, rows: usize, columns: usize| {
        let shape: Vec<usize> = batch_axes.iter().copied().chain([rows, columns]).collect();
        view.broadcast(&shape).ok_or_else(|| refuse("its operands do not broadcast"))
    };
    let shares_right = outer(&right).iter().all(|&size| size == 1);
    let (mut m, mut batch) = (m, batch);
    if shares_right && n_axes > 0 {
        // One tall matrix instead of many that share their right operand.
        let dense = match left.reshaped(&[batch * m, k]).filter(|view| matrix(view).is_some()) {
            Some(tall) => tall,
            None => {
                let order = row_major(left.shape.len());
                let dense = planner.copied(left.clone(), scalar, &order, &call.name)?;
                dense.reshaped(&[batch * m, k]).ok_or_else(|| refuse("its operands do not broadcast"))?
            }
        };
        left = dense;
        right = right.reshaped(&[k, n]).unwrap_or(View {
            shape: vec![k, n],
            strides: right.strides[right.strides.len() - 2..].to_vec(),
            ..right
        });
        (m, batch) = (batch * m, 1);
    } else {
        (left, right) = (whole(&left, m, k)?, whole(&right, k, n)?);
    }
    let laid_out = |planner: &mut Planner, view: View| match matrix(&view) {
        Some(found) => Ok((view, found)),
        None => {
            let order = row_major(view.shape.len());
            let view = planner.copied(view, scalar, &order, &call.name)?;
            let found = matrix(&view).ok_or_else(|| refuse("its operands cannot be laid out"))?;
            Ok((view, found))
        }
    };
    let is_weight =
        call.input(1).filter(|&value| flat.values[value].constant.is_some() && flat.values[value].shape.len() == 2);
    // As a convolution, cuDNN has the exact GELU in its kernel, and kernels of ours compete: both want filters as rows.
    let is_gelu = epilogue.activation == Activation::Gelu;
    let is_aligned = k * scalar.bytes() % 16 == 0;
    let filters = is_weight.filter(|_| batch == 1 && is_aligned);
    if let Some(value) = filters {
        right = planner.constant(value, &[1, 0])?;
    }
    // Matrix units are slow where rows begin anywhere: an odd number of columns is filled up, by columns of zeros.
    let is_bare = calls.len() == 1;
    let filled = n.next_multiple_of(16 / scalar.bytes());
    let is_filled = is_bare && batch == 1 && n >= WIDE && filled != n && flat.values[call.outputs[0]].shape.len() > 1;
    let n_columns = match is_weight.filter(|_| is_filled) {
        Some(value) => {
            right = planner.filled(value, filled)?;
            filled
        }
        None => n,
    };
    let (left, left_matrix) = laid_out(planner, left)?;
    let (right, right_matrix) = laid_out(planner, right)?;
    let bias = epilogue.bias.map(|value| {
        let rank = flat.values[value].shape.len();
        planner.dense(value, &row_major(rank), &call.name)
    });
    let bias = bias.transpose()?;
    let residual =
        epilogue.residual.map(|value| planner.dense(value, &row_major(shape.len()), &call.name)).transpose()?;
    let mut whole = shape.clone();
    whole.last_mut().into_iter().for_each(|columns| *columns += n_columns - n);
    let whole = planner.fresh(scalar, &whole, &row_major(shape.len()));
    let out = View { shape, ..whole.clone() };
    let product = Product {
        m,
        n: n_columns,
        k,
        batch,
        left: left_matrix,
        right: right_matrix,
        out: Matrix { is_transposed: false, leading: n_columns, batch_stride: m * n_columns },
        scalar,
        result: scalar,
        is_scaled: false,
        tf32: planner.precision == Precision::Tf32,
        has_bias: bias.is_some(),
        has_residual: residual.is_some(),
        activation: if epilogue.activation == Activation::Gelu { Activation::None } else { epilogue.activation },
    };
    let is_dense = !left_matrix.is_transposed && left_matrix.leading == k && n_columns == n;
    let convolution = filters.filter(|_| is_dense && scalar != Scalar::F64).map(|_| Convolution {
        tf32: product.tf32,
        has_bias: product.has_bias,
        has_residual: product.has_residual,
        activation: epilogue.activation,
        ..Convolution::of_product([m, n, k], scalar)
    });
    let otherwise = direct(&left, &right, bias.as_ref(), residual.as_ref(), &whole, epilogue.activation);
    let after = match epilogue.activation {
        Activation::Gelu => {
            Some(regions::in_place(&out, "gelu($0)").ok_or_else(|| refuse("it has too many elements"))?)
        }
        _ => None,
    };
    let native = Native {
        row: bias.as_ref().map(|bias| (bias, out.shape.len() - 1)),
        residual: residual.as_ref(),
        before: None,
        activation: epilogue.activation,
        out: &out,
    };
    let ours = |behind: &Region, _: bool| match &convolution {
        Some(convolution) => tile::kernels(convolution, [&left, &right], tile::Joined::Nothing, true, behind),
        None => Vec::new(),
    };
    let library = Ways {
        fused: None,
        product: Some(product),
        convolution: convolution.clone().filter(|_| is_gelu),
        otherwise,
        after,
        sums: None,
        ours: Vec::new(),
        before: None,
    };
    let complete = complete(planner, (calls, epilogue.n_calls + 1), &native, library, &ours)?;
    let read = [Some(&left), Some(&right), bias.as_ref(), residual.as_ref()].into_iter().flatten();
    let names: Vec<&str> = calls.iter().map(|&at| flat.calls[at].op.name()).collect();
    let elements = batch * (m * k + m * n) + if product.right.batch_stride == 0 { k * n } else { batch * k * n };
    planner.plan.steps.push(Step {
        name: names.join("+"),
        nodes: calls.iter().map(|&at| flat.calls[at].name.clone()).collect(),
        reads: read.map(|view| view.buffer).chain(complete.reads).collect(),
        writes: complete.writes,
        flops: 2.0 * (m * n * k * batch) as f64,
        bytes: (elements * scalar.bytes()) as f64 + complete.bytes,
        work: Work::Contraction(
            Box::new(complete.ways),
            Places {
                left: Place::of(&left),
                right: Place::of(&right),
                values: None,
                bias: bias.as_ref().map(Place::of),
                residual: residual.as_ref().map(Place::of),
                factors: None,
                out: Place::of(&complete.out),
            },
        ),
    });
    Ok(())
}

/// Columns from which on filling them up pays.
const WIDE: usize = 256;
/// Multiplications that a kernel without matrix units is worth trying for.
const MOST_MULTIPLICATIONS: usize = 1 << 38;

/// The product without any library, one element a thread: `left` and `right` are matrices with the same outer axes.
pub(crate) fn direct(
    left: &View,
    right: &View,
    bias: Option<&View>,
    residual: Option<&View>,
    out: &View,
    activation: Activation,
) -> Option<Generated> {
    let rank = left.shape.len();
    let (depth, columns) = (left.shape[rank - 1], right.shape[rank - 1]);
    let shape: Vec<usize> = left.shape[..rank - 1].iter().copied().chain([columns]).collect();
    if shape.iter().product::<usize>().checked_mul(depth).is_none_or(|n| n > MOST_MULTIPLICATIONS) {
        return None;
    }
    let mut inputs = vec![left.clone(), right.clone()];
    let mut body = format!(
        "  i64 l[{rank}], r[{rank}];\n  for (int axis = 0; axis < {rank}; ++axis) l[axis] = r[axis] = o[axis];\n  \
         {} sum = 0;\n  for (int i = 0; i < {depth}; ++i) {{\n    l[{}] = r[{}] = i;\n    sum += X0(l) * X1(r);\n  }}\n",
        spelled(out.scalar.class()),
        rank - 1,
        rank - 2,
    );
    let added = [bias.map(|bias| bias.broadcast(&shape)), residual.map(|residual| residual.reshaped(&shape))];
    for view in added.into_iter().flatten() {
        let _ = writeln!(body, "  sum += X{}(o);", inputs.len());
        inputs.push(view?);
    }
    let result = match activation {
        Activation::None => "sum",
        Activation::Relu => "relu(sum)",
        Activation::Gelu => "gelu(sum)",
        Activation::GeluTanh => "gelu_tanh(sum)",
    };
    let _ = write!(body, "  PUT0(o, {result});");
    Direct { shape: &shape, inputs: &inputs, outputs: &[out.reshaped(&shape)?], body: &body, by_block: false }
        .generate()
}
