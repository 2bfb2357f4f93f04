//! What undoes windows: columns added back into an image, maxima put back where they stood.

use super::pointwise::affordable;
use super::shape::{contents, no_negative, overflow, product, sizes};
use super::windows::{Windows, counts, window};
use crate::attr::{AttrKind, Attrs};
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Contents, Datum, EvalCall, Scalar, each_index, strides_of};
use crate::op::{AttrDef, Call, Fact, OpDef, Operand, Param, Reason, Work, sets};
use crate::tensor::count_of;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&COL2IM, &MAX_UNPOOL];

static COL2IM: OpDef = OpDef {
    name: "Col2Im",
    doc: "The image that blocks add up to: each column is one block of each channel, put back where the block slid",
    versions: &[18],
    inputs: &[
        Param::required("input", "T"),
        Param::required("image_shape", "tensor(int64)"),
        Param::required("block_shape", "tensor(int64)"),
    ],
    outputs: &[Param::required("output", "T")],
    attrs: &[
        AttrDef::optional("dilations", AttrKind::Ints),
        AttrDef::optional("pads", AttrKind::Ints),
        AttrDef::optional("strides", AttrKind::Ints),
    ],
    types: &[("T", sets::STANDARD), ("tensor(int64)", sets::INT64)],
    infer: infer_col2im,
    eval: eval!(col2im),
    work: |call, outputs| Work::reduction(call, outputs, 1),
    ..OpDef::BASE
};

fn infer_col2im(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let columns = call.ty(0)?;
    let (image, block) = (call.input(1)?, call.input(2)?);
    let (n_items, rows, n_columns) = match columns.shape.as_slice() {
        [n_items, rows, n_columns] => (n_items, rows, n_columns),
        _ => return Err(Reason(format!("columns have 3 axes, found {columns}"))),
    };
    let length = |operand: &Operand| match operand.ty.shape.as_slice() {
        [length] => Ok(length.as_known()),
        _ => Err(Reason(format!("a shape is a vector, found {}", operand.ty))),
    };
    let of_attr = |name: &str, each: i64| Some(call.attrs.ints(name)?.len() as i64 / each);
    let lengths = [length(image)?, length(block)?, of_attr("strides", 1), of_attr("dilations", 1), of_attr("pads", 2)];
    let Some(n_axes) = lengths.into_iter().flatten().next() else { return Ok(vec![None]) };
    if lengths.into_iter().flatten().any(|length| length != n_axes) {
        return Err(Reason(format!("shapes and attributes are for {:?} axes", lengths)));
    }
    let n_axes = usize::try_from(n_axes).map_err(|_| overflow())?;
    let (image, block) = (contents(image), contents(block));
    let spatial = match &image {
        Some(dims) => dims.clone(),
        None if n_axes <= 64 => (0..n_axes).map(|axis| call.fresh(axis + 1)).collect(),
        None => return Ok(vec![None]),
    };
    no_negative(&spatial)?;
    let mut channels = call.fresh(0);
    if let Some(block) = &block {
        let area = product(block)?;
        no_negative(block)?;
        if let (Some(rows), Some(area)) = (rows.as_known(), area.as_known())
            && rows.checked_rem(area) != Some(0)
        {
            return Err(Reason(format!("{rows} rows are no multiple of blocks of {area} elements")));
        }
        channels = rows.exact_div(&area).unwrap_or(channels);
    }
    let kernel: Option<Vec<i64>> = block.iter().flatten().map(Dim::as_known).collect();
    if let (Some(_), Some(_), Some(kernel)) = (&image, &block, kernel) {
        let windows = Windows::read(call.attrs, kernel)?;
        let mut count = Some(Dim::known(1));
        for (axis, dim) in spatial.iter().enumerate() {
            let dim = windows.output_dim(axis, dim)?;
            count = count.zip(dim).and_then(|(count, dim)| count.mul(&dim));
        }
        if let (Some(found), Some(count)) = (n_columns.as_known(), count.and_then(|count| count.as_known()))
            && found != count
        {
            return Err(Reason(format!("{found} columns are given for {count} blocks")));
        }
    }
    let shape = [n_items.clone(), channels].into_iter().chain(spatial);
    Ok(vec![Some(Fact::new(columns.element, shape))])
}

fn col2im<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (columns, image, block) = (call.input(0)?, sizes(&call.ints(1)?)?, call.ints(2)?);
    let &[n_items, rows, n_columns] = columns.shape.as_slice() else {
        return Err(Reason(format!("columns have 3 axes, found the shape {:?}", columns.shape)));
    };
    if image.len() != block.len() {
        return Err(Reason(format!("blocks {block:?} do not go with an image {image:?}")));
    }
    let windows = Windows::read(call.attrs, block)?;
    let mut n_blocks = Some(1usize);
    for (axis, &size) in image.iter().enumerate() {
        let along = windows.output_dim(axis, &size.into())?.and_then(|dim| dim.as_size());
        n_blocks = n_blocks.zip(along).and_then(|(count, along)| count.checked_mul(along));
    }
    let area = count_of(&sizes(&windows.kernel)?).ok_or_else(overflow)?;
    if n_blocks != Some(n_columns) || rows % area != 0 {
        let found = format!("{rows} rows and {n_columns} columns");
        return Err(Reason(format!("{found} are given for blocks of {area} elements, {n_blocks:?} of them")));
    }
    let n_channels = rows / area;
    let shape = [&[n_items, n_channels], image.as_slice()].concat();
    let n_elements = affordable(&shape, columns.count())?;
    if n_elements == 0 {
        return Ok(vec![columns.gathered(&shape, std::iter::empty())?]);
    }
    // Which element of the columns is added to which of the image.
    let (axes, n_places) = (windows.place(&image)?, count_of(&image).ok_or_else(overflow)?);
    let mut pairs = Vec::new();
    let mut at = 0;
    each_index(&counts(&axes), |index| {
        let inside = window(&axes, &windows.kernel, &image, index).inside;
        pairs.extend(inside.into_iter().map(|(tap, offset)| (tap * n_columns + at, offset)));
        at += 1;
        Ok::<(), Reason>(())
    })?;
    fn add<T: Copy>(
        elements: &[T],
        zero: T,
        n: usize,
        to: usize,
        from: usize,
        pairs: &[(usize, usize)],
        sum: impl Fn(T, T) -> T,
    ) -> Vec<T> {
        let mut result = vec![zero; n];
        if to > 0 && from > 0 {
            for (plane, columns) in result.chunks_mut(to).zip(elements.chunks(from)) {
                for &(source, place) in pairs {
                    plane[place] = sum(plane[place], columns[source]);
                }
            }
        }
        result
    }
    let from = area * n_columns;
    Ok(vec![match &columns.contents {
        Contents::Real(elements) => {
            let image = add(elements, S::from_int(0), n_elements, n_places, from, &pairs, S::add);
            Datum::of_real(columns.element, &shape, image)
        }
        Contents::Int(elements) => {
            let image = add(elements, 0, n_elements, n_places, from, &pairs, i128::wrapping_add);
            Datum::of_int(columns.element, &shape, image)
        }
        _ => return Err(Reason(format!("{} cannot be added", columns.element))),
    }])
}

static MAX_UNPOOL: OpDef = OpDef {
    name: "MaxUnpool",
    doc: "Zero but where the index of an element says: what MaxPool with indices loses of its input is not restored",
    versions: &[9, 11, 22],
    inputs: &[Param::required("X", "T1"), Param::required("I", "T2"), Param::optional("output_shape", "T2")],
    outputs: &[Param::required("output", "T1")],
    attrs: &[
        AttrDef::required("kernel_shape", AttrKind::Ints),
        AttrDef::optional("pads", AttrKind::Ints),
        AttrDef::optional("strides", AttrKind::Ints),
    ],
    types: &[("T1", sets::FLOAT), ("T2", sets::INT64)],
    infer: |call| {
        let (x, indices) = (call.ty(0)?, call.ty(1)?);
        let apart = |(a, b): (&Dim, &Dim)| a.as_known().zip(b.as_known()).is_some_and(|(a, b)| a != b);
        if indices.rank() != x.rank() || indices.shape.iter().zip(&x.shape).any(apart) {
            return Err(Reason(format!("indices {indices} do not go with an input {x}")));
        }
        let pooled_from = pooled_from(call.attrs, &x.shape)?;
        let Some(output_shape) = call.given(2) else { return Ok(vec![Some(Fact::new(x.element, pooled_from))]) };
        let length = output_shape.ty.shape.first().map(Dim::as_known);
        if output_shape.ty.rank() != 1 || length.flatten().is_some_and(|length| length != x.rank() as i64) {
            return Err(Reason(format!("an output shape {} does not go with an input {x}", output_shape.ty)));
        }
        let shape = match contents(output_shape) {
            Some(dims) => dims,
            None => (0..x.rank()).map(|axis| call.fresh(axis)).collect(),
        };
        no_negative(&shape)?;
        Ok(vec![Some(Fact::new(x.element, shape))])
    },
    eval: eval!(max_unpool),
    work: |call, outputs| Work::streaming(call, outputs, Dim::known(0)),
    ..OpDef::BASE
};

/// The shape that a pool makes `shape` of, without what is left over at the ends. Errors: no such shape.
fn pooled_from(attrs: &Attrs, shape: &[Dim]) -> Result<Vec<Dim>, Reason> {
    let kernel = attrs.ints("kernel_shape").unwrap_or(&[]).to_vec();
    if shape.len() < 3 || kernel.len() != shape.len() - 2 {
        return Err(Reason(format!("attribute `kernel_shape` is {kernel:?} for an input of {} axes", shape.len())));
    }
    let n_axes = kernel.len();
    let pads = attrs.ints("pads").map_or_else(|| vec![0; 2 * n_axes], <[i64]>::to_vec);
    let windows = Windows::read(attrs, kernel)?;
    let mut result = shape[..2].to_vec();
    for (axis, dim) in shape[2..].iter().enumerate() {
        let rest = Dim::known(windows.kernel[axis] - windows.strides[axis] - pads[axis] - pads[axis + n_axes]);
        let size = dim.mul(&Dim::known(windows.strides[axis])).and_then(|size| size.add(&rest));
        result.push(size.ok_or_else(overflow)?);
    }
    no_negative(&result)?;
    Ok(result)
}

fn max_unpool<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (x, indices) = (call.input(0)?, call.input(1)?);
    if indices.shape != x.shape {
        return Err(Reason(format!("indices {:?} do not go with an input {:?}", indices.shape, x.shape)));
    }
    let dims: Vec<Dim> = x.shape.iter().map(|&size| size.into()).collect();
    let inner: Option<Vec<usize>> = pooled_from(call.attrs, &dims)?.iter().map(Dim::as_size).collect();
    let inner = inner.ok_or_else(overflow)?;
    let shape = match call.given(2) {
        Some(shape) => sizes(&shape.to_i64s()?)?,
        None => inner.clone(),
    };
    if shape.len() != inner.len() || shape.iter().zip(&inner).any(|(outer, inner)| outer < inner) {
        return Err(Reason(format!("an output of shape {shape:?} does not hold {inner:?}")));
    }
    // Indices count elements of what was pooled, which stands in the first corner of a larger output.
    let n_inner = affordable(&inner, x.count())?;
    let (within, without) = (strides_of(&inner), strides_of(&shape));
    let mut y = vec![S::from_int(0); affordable(&shape, x.count())?];
    for (value, &index) in x.real()?.iter().zip(indices.int()?) {
        let at = usize::try_from(index).ok().filter(|&at| at < n_inner);
        let at = at.ok_or_else(|| Reason(format!("index {index} of {n_inner} elements")))?;
        let axes = within.iter().zip(&inner).zip(&without);
        let place: usize = axes.map(|((stride, size), without)| at / stride % size * without).sum();
        y[place] = *value;
    }
    Ok(vec![Datum::of_real(x.element, &shape, y)])
}

#[cfg(test)]
mod tests {
    use crate::attr::Attr;
    use crate::ops::cases::infer;

    fn ints(values: &[i64]) -> Attr {
        Attr::Ints(values.into())
    }

    #[test]
    fn blocks_give_channels_and_image() {
        let inputs = ["float[n,36,k]", "int64[2] = h,5", "int64[2] = 3,3"];
        assert_eq!(infer("Col2Im", &[], &inputs), "float[n,4,h,5]");
        assert_eq!(infer("Col2Im", &[], &["float[n,36,k]", "int64[2]", "int64[2]"]), "float[n,?t.0,?t.1,?t.2]");
        assert_eq!(infer("Col2Im", &[], &["float[n,36,k]", "int64[i]", "int64[i]"]), "?");
        let refused = |inputs: &[&str], reason: &str| assert_eq!(infer("Col2Im", &[], inputs), reason);
        refused(&["float[1,8,k]", inputs[1], inputs[2]], "8 rows are no multiple of blocks of 9 elements");
        refused(&["float[1,0,k]", inputs[1], "int64[2] = 0,1"], "0 rows are no multiple of blocks of 0 elements");
        refused(&["float[1,9,7]", "int64[2] = 4,4", inputs[2]], "7 columns are given for 4 blocks");
    }

    #[test]
    fn unpooling_inverts_the_size_of_a_pool() {
        let pool = [("kernel_shape", ints(&[2, 3])), ("strides", ints(&[2, 2]))];
        assert_eq!(infer("MaxUnpool", &pool, &["float[n,c,h,4]", "int64[n,c,h,4]"]), "float[n,c,2*h,9]");
        let shaped = ["float[n,c,h,4]", "int64[n,c,h,4]", "int64[4] = n,c,9,9"];
        assert_eq!(infer("MaxUnpool", &pool, &shaped), "float[n,c,9,9]");
        let refused = "indices int64[1,1,2,3] do not go with an input float[1,1,2,4]";
        assert_eq!(infer("MaxUnpool", &pool, &["float[1,1,2,4]", "int64[1,1,2,3]"]), refused);
    }
}
