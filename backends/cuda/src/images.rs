//! Convolutions and pools, channels last.

use crate::before::Before;
use crate::constants::Constant;
use crate::convolution::Convolution;
use crate::driver::Launch;
use crate::flat::{Flat, FlatCall, Refusal, ValueAt};
use crate::operators;
use crate::plan::{Content, Place, Places, Step, Ways, Work};
use crate::planner::Planner;
use crate::product::{Activation, Matrix, Product};
use crate::region::{Generated, PRELUDE, Region, literal, spelled};
use crate::tile::Joined;
use crate::units::{Joining, Kind, Unit};
use crate::view::{Class, Precision, Scalar, View, channels_last};
use crate::ways::{Native, complete};
use crate::{depthwise, tile};
use eutectic_ir::attr::Name;
use std::fmt::Write;

const THREADS: usize = 128;

/// Attribute `name` for both spatial axes; an image of one axis has a first one of size 1.
fn pair(call: &FlatCall, name: &str, otherwise: usize, is_flat: bool) -> Option<[usize; 2]> {
    let given = call.attrs.ints(name).unwrap_or(&[]);
    let sizes: Vec<usize> = given.iter().map(|&size| usize::try_from(size).ok()).collect::<Option<_>>()?;
    match (sizes.as_slice(), is_flat) {
        ([], _) => Some([otherwise; 2]),
        ([size], true) => Some([if name == "kernel_shape" { 1 } else { otherwise }, *size]),
        ([rows, columns], false) => Some([*rows, *columns]),
        _ => None,
    }
}

/// Padding before (rows, columns) and after. `None` when it is to be found from the sizes, which the canonical form has done.
fn pads(call: &FlatCall, is_flat: bool) -> Option<[usize; 4]> {
    if call.attrs.string("auto_pad").is_some_and(|auto_pad| auto_pad.starts_with("SAME")) {
        return None;
    }
    let given = call.attrs.ints("pads").unwrap_or(&[]);
    let sizes: Vec<usize> = given.iter().map(|&size| usize::try_from(size).ok()).collect::<Option<_>>()?;
    match (sizes.as_slice(), is_flat) {
        ([], _) => Some([0; 4]),
        ([before, after], true) => Some([0, *before, 0, *after]),
        ([top, left, bottom, right], false) => Some([*top, *left, *bottom, *right]),
        _ => None,
    }
}

fn four(shape: &[usize]) -> Option<[usize; 4]> {
    match *shape {
        [n, c, w] => Some([n, c, 1, w]),
        [n, c, h, w] => Some([n, c, h, w]),
        _ => None,
    }
}

/// The convolution of `call` alone; `None` when its attributes do not fit.
pub(crate) fn plain(
    call: &FlatCall,
    input: [usize; 4],
    filter: [usize; 4],
    output: [usize; 4],
    is_flat: bool,
    scalar: Scalar,
) -> Option<Convolution> {
    Some(Convolution {
        pads: pads(call, is_flat)?,
        strides: pair(call, "strides", 1, is_flat)?,
        dilations: pair(call, "dilations", 1, is_flat)?,
        ..Convolution::plain(input, filter, output, scalar)
    })
}

/// Whether `call` steps from each pixel to the next, and so do its taps.
pub(crate) fn is_near(flat: &Flat, call: &FlatCall) -> bool {
    let is_image = call.input(0).is_some_and(|value| flat.values[value].shape.len() == 4);
    is_image && ["strides", "dilations"].iter().all(|name| pair(call, name, 1, false) == Some([1, 1]))
}

/// Whether all filters of `call` fit in one tile of ours.
pub(crate) fn is_slim(flat: &Flat, call: &FlatCall) -> bool {
    let shape = call.input(1).map_or(&[][..], |value| flat.values[value].shape.as_slice());
    shape.first().is_some_and(|filters| tile::WHOLE.contains(filters))
}

/// Whether `call` convolves single pixels without padding.
pub(crate) fn is_single(flat: &Flat, call: &FlatCall) -> bool {
    let shape = call.input(1).map_or(&[][..], |value| flat.values[value].shape.as_slice());
    matches!(shape, [_, _, 1, 1]) && pads(call, false) == Some([0; 4])
}

/// Plans a convolution with its epilogue, and with what its unit has before it.
pub(crate) fn convolution(planner: &mut Planner, unit: &Unit) -> Result<(), Refusal> {
    let flat = planner.flat;
    let (calls, Kind::Anchor(epilogue)) = (&unit.calls, &unit.kind) else {
        return Err(Refusal::new("", "it is no convolution"));
    };
    let call = &flat.calls[calls[0]];
    let output = flat.calls[calls[epilogue.n_calls]].outputs[0];
    let refuse = |reason: &str| Refusal::new("", reason);
    let (Some(input), Some(filter)) = (call.input(0), call.input(1)) else { return Err(refuse("an input is missing")) };
    let rank = flat.values[input].shape.len();
    if (calls.len() == 1 && (!(3..5).contains(&rank) || pads(call, rank == 3).is_none()))
        || planner.scalar(output)? == Scalar::F64
    {
        return operators::lower(planner, call).unwrap_or_else(|| Err(refuse("it is neither flat nor an image")));
    }
    let shape =
        |value: ValueAt| four(&flat.values[value].shape).ok_or_else(|| refuse("it is neither flat nor an image"));
    let is_flat = flat.values[input].shape.len() == 3;
    let order = channels_last(flat.values[input].shape.len());
    let fits = || refuse("its attributes do not fit");
    // A bias of zeros stands for none.
    let is_zero = |value: &ValueAt| {
        flat.values[*value]
            .constant
            .as_ref()
            .is_some_and(|tensor| tensor.to_f64s().is_some_and(|all| all.iter().all(|&x| x == 0.0)))
    };
    let bias = call.input(2).filter(|value| !is_zero(value));
    let group =
        usize::try_from(call.attrs.int("group").unwrap_or(1)).ok().filter(|&group| group > 0).ok_or_else(fits)?;
    let scalar = planner.scalar(output)?;
    let before = match unit.before.as_deref() {
        Some(before) => Before::planned(planner, before, scalar)?,
        None => None,
    };
    let (image, window) = (shape(input)?, shape(filter)?);
    if window[1] * group != image[1] || window[0] % group != 0 {
        return Err(fits());
    }
    let flops = 2.0 * (shape(output)?.iter().product::<usize>() * window[1..].iter().product::<usize>()) as f64;
    let convolution = Convolution {
        tf32: planner.precision == Precision::Tf32,
        has_bias: bias.is_some(),
        has_residual: epilogue.residual.is_some(),
        activation: epilogue.activation,
        ..plain(call, image, window, shape(output)?, is_flat, scalar).ok_or_else(fits)?
    };
    let cells = cell(&convolution).filter(|_| group == 1 && rank == 4 && flat.values[filter].constant.is_some());
    let (convolution, images, filters) = match cells {
        Some(channels) => over_cells(planner, call, [input, filter], &convolution, channels)?,
        None => {
            let images = planner.dense(input, &order, &call.name)?;
            (convolution, images, planner.dense(filter, &order, &call.name)?)
        }
    };
    let bias = bias.map(|value| planner.dense(value, &[0], &call.name)).transpose()?;
    let residual = epilogue.residual.map(|value| planner.dense(value, &order, &call.name)).transpose()?;
    let out = planner.fresh(scalar, &flat.values[output].shape, &order);
    let otherwise = direct(
        &convolution,
        group,
        scalar,
        [Some(&images), Some(&filters), bias.as_ref(), residual.as_ref(), Some(&out)],
    );
    let library = Ways {
        fused: None,
        product: as_product(&convolution, group),
        convolution: Some(convolution.clone()),
        otherwise: Some(otherwise.ok_or_else(|| refuse("it has too many elements"))?),
        after: None,
        sums: None,
        ours: Vec::new(),
        before: None,
    };
    let native = Native {
        row: bias.as_ref().map(|bias| (bias, 1)),
        residual: residual.as_ref(),
        before: before.as_ref().map(|before| (before.joining, before.bias.as_ref().map(|bias| (bias, 1)))),
        activation: convolution.activation,
        out: &out,
    };
    // Of each channel alone, filters are read for many channels at a time.
    let is_depthwise = group > 1 && group == image[1] && flat.values[filter].constant.is_some() && rank == 4;
    let spread = if is_depthwise { Some(planner.constant(filter, &[2, 3, 1, 0])?) } else { None };
    let is_constant = |view: &View| matches!(planner.plan.buffers[view.buffer].content, Content::Constant(_));
    let is_fixed = is_constant(&filters);
    let are_fixed = is_fixed && before.as_ref().is_none_or(|before| is_constant(&before.filters));
    let operands = [&images, &filters];
    let ours = |behind: &Region, includes_before: bool| match (&spread, &before) {
        (None, Some(before)) if includes_before && group == 1 && rank == 4 => {
            let (first, operands, joined) = before.tiled(&convolution, operands);
            tile::kernels(first, operands, joined, are_fixed, behind)
        }
        _ if includes_before => Vec::new(),
        (Some(spread), _) => depthwise::kernels(&convolution, &images, spread, behind),
        (None, _) if group == 1 && rank == 4 => {
            tile::kernels(&convolution, operands, Joined::Nothing, is_fixed, behind)
        }
        _ => Vec::new(),
    };
    let mut complete = complete(planner, (calls, epilogue.n_calls + 1), &native, library, &ours)?;
    let read = [Some(&images), Some(&filters), bias.as_ref(), residual.as_ref()].into_iter().flatten();
    let counts: usize = images.count() + filters.count() + out.count() + residual.as_ref().map_or(0, View::count);
    let mut names: Vec<String> = calls.iter().map(|&at| flat.calls[at].op.name().to_owned()).collect();
    let mut nodes: Vec<Name> = calls.iter().map(|&at| flat.calls[at].name.clone()).collect();
    let mut flops = flops;
    match before {
        Some(before) if complete.ways.ours.iter().any(|ours| ours.includes_before) => {
            let Before { step, convolution, joining, .. } = before;
            let at = usize::from(joining == Joining::Shortcut);
            names.insert(at, step.name.clone());
            nodes.splice(at..at, step.nodes.iter().cloned());
            flops += step.flops;
            // Its result is neither written nor read.
            complete.bytes += step.bytes - (2 * convolution.output.iter().product::<usize>() * scalar.bytes()) as f64;
            complete.reads.extend(&step.reads);
            complete.writes.extend(&step.writes);
            complete.ways.before = Some(Box::new(step));
        }
        // No tile has both after all: two steps.
        Some(before) => planner.plan.steps.push(before.step),
        None => {}
    }
    planner.plan.steps.push(Step {
        name: names.join("+"),
        nodes,
        reads: read.chain(&spread).map(|view| view.buffer).chain(complete.reads).collect(),
        writes: complete.writes,
        flops,
        bytes: (counts * scalar.bytes()) as f64 + complete.bytes,
        work: Work::Contraction(
            Box::new(complete.ways),
            Places {
                left: Place::of(&images),
                right: Place::of(&filters),
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

/// Channels of a cell of two by two pixels, zeros at the end included, when matrix units read cells better than pixels: a
/// network's first convolution steps over every second pixel of three channels, too few for a vector. In tf32 the library is
/// slower with cells.
fn cell(convolution: &Convolution) -> Option<usize> {
    let [_, channels, rows, columns] = convolution.filter;
    let is_sparse = channels < 5 && rows > 2 && columns > 2 && convolution.strides == [2, 2];
    let is_narrow = convolution.scalar.is_narrow();
    (is_sparse && is_narrow && convolution.dilations == [1, 1]).then_some((4 * channels).next_multiple_of(8))
}

/// The same convolution over cells instead of pixels, its image and its filters; `value` and `filter` are what it reads.
fn over_cells(
    planner: &mut Planner,
    call: &FlatCall,
    [value, filter]: [ValueAt; 2],
    pixels: &Convolution,
    channels: usize,
) -> Result<(Convolution, View, View), Refusal> {
    let [n, present, height, width] = pixels.input;
    let [k, _, rows, columns] = pixels.filter;
    let [_, _, p, q] = pixels.output;
    let [top, left, ..] = pixels.pads;
    let window = [k, channels, rows.div_ceil(2), columns.div_ceil(2)];
    let image = [n, channels, p + window[2] - 1, q + window[3] - 1];
    let view = planner.view(value)?;
    let cells = planner.fresh(pixels.scalar, &image, &channels_last(4));
    let views = [&view, &cells];
    let too_many = || Refusal::new("", "it has too many elements");
    let mut text = opening(&views, [n, 1, image[2], image[3]]).ok_or_else(too_many)?;
    let [by_image, by_channel, by_row, by_column] = view.strides[..] else { return Err(too_many()) };
    let _ = write!(
        text,
        "  Pack<{channels}, {written}> cell;\n#pragma unroll\n  for (int i = 0; i < {channels}; ++i) put(cell.element[i], 0.f);\n\
#pragma unroll\n  for (int part = 0; part < 4; ++part) {{\n    \
         const int y = 2 * p + part / 2 - {top}, x = 2 * q + part % 2 - {left};\n    \
         if (y < 0 || y >= {height} || x < 0 || x >= {width}) continue;\n    \
         const {read}* from = p0 + {offset}u + n * {by_image}u + y * {by_row}u + x * {by_column}u;\n\
#pragma unroll\n    for (int c = 0; c < {present}; ++c) put(cell.element[part * {present} + c], get(from[c * {by_channel}u]));\n  }}\n  \
         reinterpret_cast<Pack<{channels}, {written}>*>(p1)[at] = cell;\n}}\n",
        read = view.scalar.spelled(),
        written = cells.scalar.spelled(),
        offset = view.offset,
    );
    let generated = generated(text, &views, n * image[2] * image[3]).ok_or_else(too_many)?;
    planner.plan.steps.push(Step {
        work: Work::Kernel(generated),
        name: "cells".into(),
        nodes: vec![call.name.clone()],
        reads: vec![view.buffer],
        writes: vec![cells.buffer],
        flops: 0.0,
        bytes: (view.count() * view.scalar.bytes() + cells.count() * cells.scalar.bytes()) as f64,
    });
    let filters = planner.constant(filter, &channels_last(4))?;
    let Content::Constant(constant) = &planner.plan.buffers[filters.buffer].content else {
        return Err(Refusal::new("", "a constant is expected"));
    };
    let bytes = constant.bytes().ok_or_else(|| Refusal::new("", "a constant cannot be converted"))?;
    let size = filters.scalar.bytes();
    let mut spread = vec![0; window.iter().product::<usize>() * size];
    for (at, element) in spread.chunks_exact_mut(size).enumerate() {
        let (channel, column, row) = (at % channels, at / channels % window[3], at / channels / window[3] % window[2]);
        let (part, channel) = (channel / present, channel % present);
        let (row, column) = (2 * row + part / 2, 2 * column + part % 2);
        if part < 4 && row < rows && column < columns {
            let filter = at / (channels * window[3] * window[2]);
            let from = ((filter * rows + row) * columns + column) * present + channel;
            element.copy_from_slice(&bytes[from * size..][..size]);
        }
    }
    let buffer = planner.buffer(spread.len(), Content::Constant(Constant::Bytes(spread)));
    let filters = View::dense(buffer, filters.scalar, &window, &channels_last(4));
    let over_cells = Convolution { input: image, filter: window, pads: [0; 4], strides: [1, 1], ..*pixels };
    Ok((over_cells, cells, filters))
}

/// The product that a convolution of single elements is: pixels times channels, channels times filters.
pub(crate) fn as_product(conv: &Convolution, group: usize) -> Option<Product> {
    let [n, height, width] = [conv.output[0], conv.output[2], conv.output[3]];
    let (rows, depth, columns) = (n * height * width, conv.filter[1], conv.filter[0]);
    let is_pointwise = conv.filter[2..] == [1, 1] && conv.strides == [1, 1] && conv.pads == [0; 4] && group == 1;
    let matrix = |is_transposed, leading| Matrix { is_transposed, leading, batch_stride: 0 };
    (is_pointwise && rows * depth * columns > 0).then_some(Product {
        m: rows,
        n: columns,
        k: depth,
        batch: 1,
        left: matrix(false, depth),
        right: matrix(true, depth),
        out: matrix(false, columns),
        scalar: conv.scalar,
        result: conv.result,
        is_scaled: false,
        tf32: conv.tf32,
        has_bias: conv.has_bias,
        has_residual: conv.has_residual,
        activation: conv.activation,
    })
}

/// Parameters and the coordinates of one output element a thread.
fn opening(views: &[&View], out: [usize; 4]) -> Option<String> {
    let [n, k, p, q] = out;
    let count = n * k * p * q;
    if count >= 1 << 31 || views.iter().any(|view| view.offset + view.count() >= 1 << 31) {
        return None;
    }
    let mut text = format!("{PRELUDE}extern \"C\" __global__ void __launch_bounds__({THREADS}) region(");
    for (at, view) in views.iter().enumerate() {
        let is_last = at + 1 == views.len();
        let (constant, end) = if is_last { ("", ") {\n") } else { ("const ", ", ") };
        let _ = write!(text, "{constant}{}* __restrict__ p{at}{end}", view.scalar.spelled());
    }
    let _ = write!(
        text,
        "  BEGIN;\n  const unsigned at = blockIdx.x * {THREADS}u + threadIdx.x;\n  if (at >= {count}u) return;\n  \
         const int k = at % {k}u, q = at / {k}u % {q}u, p = at / {}u % {p}u, n = at / {}u;\n",
        k * q,
        k * q * p
    );
    Some(text)
}

fn generated(source: String, views: &[&View], count: usize) -> Option<Generated> {
    Some(Generated {
        source,
        launch: Launch {
            grid: [u32::try_from(count.div_ceil(THREADS)).ok()?.max(1), 1],
            threads: THREADS as u32,
            shared_bytes: 0,
        },
        parameters: views.iter().map(|view| view.buffer).collect(),
    })
}

/// A convolution without any library: one output element a thread. It serves shapes that cuDNN declines, and depthwise
/// convolutions, which have nothing for matrix units to do.
pub(crate) fn direct(conv: &Convolution, group: usize, scalar: Scalar, views: [Option<&View>; 5]) -> Option<Generated> {
    let present: Vec<&View> = views.into_iter().flatten().collect();
    let [_, channels, height, width] = conv.input;
    let [k, depth, rows, columns] = conv.filter;
    let mut text = opening(&present, conv.output)?;
    let ([top, left, ..], [down, across], [dilate_rows, dilate_columns]) = (conv.pads, conv.strides, conv.dilations);
    let offset = |view: usize| present[view].offset;
    let _ = write!(
        text,
        "  const int first = k / {}u * {depth}u;\n  {sums} sum = 0;\n  \
         for (int r = 0; r < {rows}; ++r) {{\n    const int y = p * {down} - {top} + r * {dilate_rows};\n    if (y < 0 || y >= {height}) continue;\n    \
         for (int s = 0; s < {columns}; ++s) {{\n      const int x = q * {across} - {left} + s * {dilate_columns};\n      if (x < 0 || x >= {width}) continue;\n      \
         const {element}* image = p0 + {}u + ((n * {height}u + y) * {width}u + x) * {channels}u + first;\n      \
         const {element}* filter = p1 + {}u + ((k * {rows}u + r) * {columns}u + s) * {depth}u;\n      \
         for (int c = 0; c < {depth}; ++c) sum += get(image[c]) * get(filter[c]);\n    }}\n  }}\n",
        k / group,
        offset(0),
        offset(1),
        element = scalar.spelled(),
        sums = spelled(conv.result.class()),
    );
    let mut next = 2;
    if conv.has_bias {
        let _ = writeln!(text, "  sum += get(p{next}[k + {}u]);", offset(next));
        next += 1;
    }
    if conv.has_residual {
        let _ = writeln!(text, "  sum += get(p{next}[at + {}u]);", offset(next));
        next += 1;
    }
    if conv.activation == Activation::Relu {
        text.push_str("  sum = relu(sum);\n");
    }
    let _ = writeln!(text, "  put(p{next}[at + {}u], sum);\n}}", offset(next));
    generated(text, &present, conv.output.iter().product())
}

/// Whether `call` is a pool over images or lines, whose kernel walks over channels last.
pub(crate) fn is_pool(planner: &Planner, call: &FlatCall) -> bool {
    let known = call.input(0).map(|value| &planner.flat.values[value]);
    (call.is("MaxPool") || call.is("AveragePool"))
        && call.outputs.len() == 1
        && known.is_some_and(|known| {
            let (rank, class) = (known.shape.len(), Class::of(known.element));
            (rank == 3 || rank == 4) && class == Class::Real && pads(call, rank == 3).is_some()
        })
}

/// Plans a pool over windows.
pub(crate) fn pool(planner: &mut Planner, call: &FlatCall) -> Result<(), Refusal> {
    let flat = planner.flat;
    let output = call.outputs[0];
    let refuse = |reason: &str| Refusal::new("", reason);
    let input = call.input(0).ok_or_else(|| refuse("its input is missing"))?;
    let rank = flat.values[input].shape.len();
    let fits = || refuse("its attributes do not fit");
    let image = four(&flat.values[input].shape).ok_or_else(|| refuse("it is neither flat nor an image"))?;
    let result = four(&flat.values[output].shape).ok_or_else(fits)?;
    let is_flat = rank == 3;
    let [rows, columns] = pair(call, "kernel_shape", 1, is_flat).ok_or_else(fits)?;
    let [down, across] = pair(call, "strides", 1, is_flat).ok_or_else(fits)?;
    let [dilate_rows, dilate_columns] = pair(call, "dilations", 1, is_flat).ok_or_else(fits)?;
    let [top, left, bottom, right] = pads(call, is_flat).ok_or_else(fits)?;
    let order = channels_last(rank);
    let images = planner.dense(input, &order, &call.name)?;
    let scalar = planner.scalar(output)?;
    let out = planner.fresh(scalar, &flat.values[output].shape, &order);
    let [_, channels, height, width] = image;
    let views = [&images, &out];
    // A thread takes as many channels as it can read at once.
    let most = 16 / scalar.bytes().max(images.scalar.bytes());
    let pack = [8, 4, 2]
        .into_iter()
        .find(|pack| *pack <= most && channels % pack == 0 && images.offset % pack == 0)
        .unwrap_or(1);
    let packs = channels / pack;
    let [n, _, p, q] = result;
    let mut text = opening(&views, [n, packs, p, q]).ok_or_else(|| refuse("it has too many elements"))?;
    let is_max = call.is("MaxPool");
    let start = if is_max { literal(f64::NEG_INFINITY, Class::Real) } else { "0.f".into() };
    let combine = if is_max { "so_far[j] = larger(so_far[j], x)" } else { "so_far[j] += x" };
    // An average counts the padding when it is told to, but never what lies beyond it.
    let (counted_below, counted_rows, counted_left, counted_columns) = match call.attrs.flag("count_include_pad") {
        true => (-(top as i64), height + bottom, -(left as i64), width + right),
        false => (0, height, 0, width),
    };
    let _ = write!(
        text,
        "  float so_far[{pack}];\n#pragma unroll\n  for (int j = 0; j < {pack}; ++j) so_far[j] = {start};\n  int n_counted = 0;\n  \
         for (int r = 0; r < {rows}; ++r) for (int s = 0; s < {columns}; ++s) {{\n    \
         const int y = p * {down} - {top} + r * {dilate_rows}, x_at = q * {across} - {left} + s * {dilate_columns};\n    \
         if (y >= {counted_below} && y < {counted_rows} && x_at >= {counted_left} && x_at < {counted_columns}) ++n_counted;\n    \
         if (y < 0 || y >= {height} || x_at < 0 || x_at >= {width}) continue;\n    \
         const Pack<{pack}, {read}> taken = reinterpret_cast<const Pack<{pack}, {read}>*>(p0 + {offset}u)[((n * {height}u + y) * {width}u + x_at) * {packs}u + k];\n\
#pragma unroll\n    for (int j = 0; j < {pack}; ++j) {{ const float x = get(taken.element[j]); {combine}; }}\n  }}\n",
        read = images.scalar.spelled(),
        offset = images.offset,
    );
    let result_text = if is_max { "so_far[j]" } else { "so_far[j] / (n_counted > 0 ? n_counted : 1)" };
    let written = scalar.spelled();
    let _ = write!(
        text,
        "  Pack<{pack}, {written}> given;\n#pragma unroll\n  for (int j = 0; j < {pack}; ++j) put(given.element[j], {result_text});\n  \
         reinterpret_cast<Pack<{pack}, {written}>*>(p1)[at] = given;\n}}\n"
    );
    let generated = generated(text, &views, out.count() / pack).ok_or_else(|| refuse("it has too many elements"))?;
    planner.plan.steps.push(Step {
        work: Work::Kernel(generated),
        name: call.op.name().into(),
        nodes: vec![call.name.clone()],
        reads: vec![images.buffer],
        writes: vec![out.buffer],
        flops: 0.0,
        bytes: ((images.count() + out.count()) * scalar.bytes()) as f64,
    });
    planner.views[output] = Some(out);
    Ok(())
}
