//! A region: pointwise calls, and reductions of rows, that one generated kernel computes.
//!
//! A region iterates over one shape. Without reductions each thread computes a few adjacent elements. With them, the
//! trailing axes are the columns of rows; a warp or a block holds one row in registers, so that each operand is read
//! once whatever the number of passes over the row.

use crate::driver::Launch;
use crate::view::{Class, Scalar, View};
use std::fmt::Write;

/// Elements that a thread may hold of a row.
const MAX_HELD: usize = 64;
/// Columns that a row may have: a block has at most 1024 threads.
pub(crate) const MAX_COLUMNS: usize = 16 << 10;
/// Threads of a block of a pointwise kernel.
const THREADS: usize = 256;

/// A tensor that the kernel reads, broadcast to the iteration shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operand {
    /// Where it lies; its shape is the iteration shape.
    pub view: View,
    /// Rows that are looked up: a position along a further axis of `view`, read from elsewhere.
    pub lookup: Option<Lookup>,
}

/// A position that is read from a tensor of integers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lookup {
    /// The integers, broadcast to the iteration shape.
    pub positions: View,
    /// From one position to the next, in elements.
    pub stride: usize,
    /// Number of positions; negative ones count from the end.
    pub extent: usize,
}

/// A value while the kernel computes: its number.
pub(crate) type Register = usize;

/// What a computation reads.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Input {
    /// A register.
    Register(Register),
    /// A constant, as CUDA C++ spells it.
    Literal(String),
}

/// How a row is reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reduction {
    /// The sum.
    Sum,
    /// The largest element; a NaN wins.
    Max,
    /// The smallest element; a NaN wins.
    Min,
    /// The product.
    Product,
}

/// What makes the value of a register.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Made {
    /// Read from the operand with this number.
    Load(usize),
    /// Computed: `$0`, `$1`, ... stand for the inputs.
    Expression(String, Vec<Input>),
    /// The reduction of a row.
    Reduced(Reduction, Register),
}

/// One register.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    /// What makes it.
    pub made: Made,
    /// What it holds.
    pub class: Class,
    /// There is one for each row, not for each element.
    pub is_row: bool,
}

/// A region.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    /// What it iterates over.
    pub shape: Vec<usize>,
    /// Trailing axes that reductions run over; 0 without reductions.
    pub n_column_axes: usize,
    /// What it reads.
    pub operands: Vec<Operand>,
    /// Every register, in order.
    pub values: Vec<Value>,
    /// What it writes, and where; a row's register is written to a view whose columns have size one.
    pub stores: Vec<(Register, View)>,
}

/// A kernel as text, and how it is launched. The parameters are the addresses of what it reads, then what it writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Generated {
    /// CUDA C++ of a kernel `region`.
    pub source: String,
    /// How it is launched.
    pub launch: Launch,
    /// Buffers of the parameters.
    pub parameters: Vec<usize>,
}

/// What every generated kernel begins with: element types, conversions to and from registers, functions, reductions.
pub(crate) const PRELUDE: &str = include_str!("prelude.cuh");

/// What a kernel that touches `views` begins with.
pub(crate) fn prelude<'a>(views: impl IntoIterator<Item = &'a View>) -> String {
    let needs = views.into_iter().any(|view| matches!(view.scalar, Scalar::Narrow(_)));
    if needs { [PRELUDE, include_str!("narrow.cuh")].concat() } else { PRELUDE.into() }
}

/// Axes after merging neighbours that every tensor walks through alike: sizes, and strides of each tensor.
struct Axes {
    sizes: Vec<usize>,
    strides: Vec<Vec<usize>>,
}

/// `order` lists the axes, the slowest first. `barrier` is the position in it that no merging crosses.
fn merged(shape: &[usize], tensors: &[&[usize]], order: &[usize], barrier: usize) -> (Axes, usize) {
    let mut axes = Axes { sizes: Vec::new(), strides: vec![Vec::new(); tensors.len()] };
    let mut n_before = 0;
    for (position, &axis) in order.iter().enumerate() {
        if position == barrier {
            n_before = axes.sizes.len();
        }
        if shape[axis] == 1 {
            continue;
        }
        let last = axes.sizes.len().checked_sub(1).filter(|&last| position < barrier || last >= n_before);
        let last = last.filter(|_| position != barrier);
        let joins = last.is_some_and(|last| {
            tensors.iter().zip(&axes.strides).all(|(strides, kept)| kept[last] == strides[axis] * shape[axis])
        });
        match last {
            Some(last) if joins => {
                axes.sizes[last] *= shape[axis];
                for (kept, strides) in axes.strides.iter_mut().zip(tensors) {
                    kept[last] = strides[axis];
                }
            }
            _ => {
                axes.sizes.push(shape[axis]);
                for (kept, strides) in axes.strides.iter_mut().zip(tensors) {
                    kept.push(strides[axis]);
                }
            }
        }
    }
    if barrier >= order.len() {
        n_before = axes.sizes.len();
    }
    (axes, n_before)
}

/// A tensor that the kernel touches, in the order of its parameters.
struct Touched<'a> {
    view: &'a View,
    strides: Vec<usize>,
}

/// What a region becomes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Kernel,
    /// A function of at most so many neighbours of the first operand, which are in registers.
    Function(usize),
}

impl Region {
    /// The kernel. `None` when a row has too many elements to hold.
    pub fn generate(&self) -> Option<Generated> {
        self.written(Form::Kernel)
    }

    /// The region without rows as the function `finish` of a position and the elements of the first operand there, `WIDTH` neighbours
    /// and not more than `most`, which writes to `elsewhere` if that is not null; its other operands and what it writes are `ARGUMENTS`,
    /// declared as `PARAMETERS`. What `beside` reads for it may be given. `None` for a region with rows.
    pub fn function(&self, most: usize) -> Option<Generated> {
        self.written(Form::Function(most))
    }

    fn written(&self, form: Form) -> Option<Generated> {
        let rank = self.shape.len();
        let mut touched: Vec<Touched> = Vec::new();
        let mut touch = |view| {
            touched.push(Touched { view, strides: view.strides.clone() });
            touched.len() - 1
        };
        let operands: Vec<(usize, Option<usize>)> = self
            .operands
            .iter()
            .map(|operand| (touch(&operand.view), operand.lookup.as_ref().map(|lookup| touch(&lookup.positions))))
            .collect();
        let first_store = operands.len() + operands.iter().filter(|operand| operand.1.is_some()).count();
        self.stores.iter().for_each(|(_, view)| {
            touch(view);
        });
        let order = match self.n_column_axes {
            0 => self.stores.first().map_or_else(|| (0..rank).collect(), |(_, view)| view.order()),
            _ => (0..rank).collect(),
        };
        let strides: Vec<&[usize]> = touched.iter().map(|touched| touched.strides.as_slice()).collect();
        let (axes, n_row_axes) = merged(&self.shape, &strides, &order, rank - self.n_column_axes);
        let n_row_axes = if self.n_column_axes == 0 { 0 } else { n_row_axes };
        let columns: usize = axes.sizes[n_row_axes..].iter().product();
        let rows: usize = axes.sizes[..n_row_axes].iter().product();
        let innermost = axes.sizes.len().checked_sub(1).filter(|&last| last >= n_row_axes);
        // Neighbours that are looked up at places of their own do not lie side by side.
        let scattered = operands.iter().any(|(_, positions)| {
            positions.is_some_and(|at| axes.strides[at].last().is_some_and(|&stride| stride != 0))
        });
        let innermost = innermost.filter(|_| !scattered);
        // Small tensors fill the device only with narrow accesses.
        let is_small = self.n_column_axes == 0 && axes.sizes.iter().product::<usize>() < 1 << 16;
        let most = match form {
            Form::Function(most) => most,
            Form::Kernel if is_small => 2,
            Form::Kernel => 8,
        };
        let width = innermost.map_or(1, |last| self.width(&touched, &axes, last, most));
        let is_function = form != Form::Kernel;
        if is_function && self.n_column_axes > 0 {
            return None;
        }
        let (threads, rows_per_block, n_vectors) = self.division(columns, width)?;
        // Functions may be less exact than what is stored of them.
        let narrow = if self.stores.iter().all(|(_, view)| view.scalar.is_narrow()) { "#define NARROW\n" } else { "" };
        let is_quantized =
            |value: &Value| matches!(&value.made, Made::Expression(text, _) if text.contains("quantized("));
        let quantize = if self.values.iter().any(is_quantized) { include_str!("quantize.cuh") } else { "" };
        let prelude = prelude(touched.iter().map(|touched| touched.view));
        let mut code = Writer { text: [narrow, &prelude, quantize].concat(), width };
        let index = if touched.iter().any(|touched| touched.view.offset + extent(touched) >= 1 << 31)
            || rows.max(1).saturating_mul(columns) >= 1 << 31
        {
            "size_t"
        } else {
            "unsigned"
        };
        let block = threads * rows_per_block;
        let parameter = |(at, touched): (usize, &Touched)| {
            let constant = if at < first_store { "const " } else { "" };
            format!("{constant}{}* __restrict__ p{at}", touched.view.scalar.spelled())
        };
        let parameters: Vec<String> = touched.iter().enumerate().map(parameter).collect();
        let parts = Parts {
            axes: &axes,
            n_row_axes,
            index,
            n_vectors,
            threads,
            is_rows: self.n_column_axes > 0,
            columns,
            is_function,
        };
        if is_function {
            let names: Vec<String> = (1..touched.len()).map(|at| format!("p{at}")).collect();
            code.line(format!("#define WIDTH {width}"));
            code.line(format!("#define PARAMETERS , {}", parameters[1..].join(", ")));
            code.line(format!("#define ARGUMENTS , {}", names.join(", ")));
            let held = touched[0].view.scalar.spelled();
            let opening = format!("__device__ __forceinline__ void finish(const unsigned first, const {held}* held, ");
            beside(&mut code, &operands, &touched, &parts);
            code.line(format!(
                "{opening}const Beside& all, void* elsewhere PARAMETERS);\n{opening}void* elsewhere PARAMETERS) {{\n  \
                 finish(first, held, beside(first ARGUMENTS), elsewhere ARGUMENTS);\n}}"
            ));
            code.line(format!("{opening}const Beside& all, void* elsewhere PARAMETERS) {{"));
        } else {
            code.line(format!("extern \"C\" __global__ void __launch_bounds__({block}) region("));
            code.line(format!("    {}) {{", parameters.join(",\n    ")));
            code.line("  BEGIN;");
        }
        if self.n_column_axes == 0 {
            if !is_function {
                code.line(format!(
                    "  const {index} first = ({index}(blockIdx.x) * {threads}u + threadIdx.x) * {width}u;"
                ));
                code.line(format!("  if (first >= {columns}u) return;"));
            }
            code.line("  const bool holds[1] = {true};");
        } else {
            code.line("  __shared__ double scratch[32];");
            code.line(format!("  const unsigned lane = threadIdx.x % {threads}u;"));
            code.line(format!(
                "  const {index} row = {index}(blockIdx.x) * {rows_per_block}u + threadIdx.x / {threads}u;"
            ));
            code.line(format!("  if (row >= {rows}u) return;"));
            code.line(format!("  bool holds[{n_vectors}];"));
            code.line(format!(
                "#pragma unroll\n  for (int k = 0; k < {n_vectors}; ++k) holds[k] = (lane + k * {threads}u) * {width}u < {columns}u;"
            ));
            coordinates(&mut code, index, "row", 0, &axes.sizes[..n_row_axes]);
        }
        for (at, touched) in touched.iter().enumerate().skip(usize::from(is_function)) {
            let terms = terms(&axes.strides[at][..n_row_axes], 0);
            code.line(format!("  const {index} row{at} = {}u{terms};", touched.view.offset));
        }
        for register in 0..self.values.len() {
            self.compute(&mut code, register, &operands, &parts);
        }
        for (at, (register, _)) in self.stores.iter().enumerate() {
            self.store(&mut code, *register, first_store + at, &parts);
        }
        code.line("}");
        let blocks = match self.n_column_axes {
            0 => columns.div_ceil(threads * width),
            _ => rows.div_ceil(rows_per_block),
        };
        Some(Generated {
            source: code.text,
            launch: Launch { grid: [u32::try_from(blocks).ok()?.max(1), 1], threads: block as u32, shared_bytes: 0 },
            parameters: touched.iter().skip(usize::from(is_function)).map(|touched| touched.view.buffer).collect(),
        })
    }

    /// Elements that are adjacent for every tensor, so that 16 bytes are moved at a time; not more than `most`.
    fn width(&self, touched: &[Touched], axes: &Axes, last: usize, most: usize) -> usize {
        let widest = touched.iter().map(|touched| touched.view.scalar.bytes()).max().unwrap_or(4);
        let narrowest = touched.iter().map(|touched| touched.view.scalar.bytes()).min().unwrap_or(4).max(2);
        let looked_up = || self.operands.iter().filter_map(|operand| operand.lookup.as_ref());
        let fits = |width: usize| {
            axes.sizes[last] % width == 0
                && looked_up().all(|lookup| lookup.stride % width == 0)
                && touched.iter().zip(&axes.strides).all(|(touched, strides)| {
                    let others =
                        strides[..last].iter().all(|stride| stride % width == 0) && touched.view.offset % width == 0;
                    match strides[last] {
                        0 => true,
                        1 => others && width * touched.view.scalar.bytes() <= 32,
                        _ => false,
                    }
                })
        };
        let most = most.min(16 / widest.min(8).min(narrowest * 2));
        [8, 4, 2].into_iter().find(|&width| width <= most && fits(width)).unwrap_or(1)
    }

    /// Threads of a row (or block), rows of a block, vectors of a thread.
    fn division(&self, columns: usize, width: usize) -> Option<(usize, usize, usize)> {
        if self.n_column_axes == 0 {
            return Some((THREADS, 1, 1));
        }
        let n_vectors = columns.div_ceil(width).max(1);
        let per_thread = n_vectors.div_ceil(32);
        if per_thread * width <= 32 && per_thread <= 4 {
            return Some((32, 4, per_thread));
        }
        let threads = (n_vectors.div_ceil(2).next_multiple_of(32)).clamp(64, 1024);
        let per_thread = n_vectors.div_ceil(threads);
        (per_thread * width <= MAX_HELD).then_some((threads, 1, per_thread))
    }

    fn compute(&self, code: &mut Writer, register: Register, operands: &[(usize, Option<usize>)], parts: &Parts) {
        let value = &self.values[register];
        let held = parts.n_vectors * code.width;
        let ty = spelled(value.class);
        let name = |register: Register| {
            if self.values[register].is_row { format!("r{register}") } else { format!("v{register}[k]") }
        };
        match &value.made {
            Made::Load(operand) if value.is_row => {
                let address = self.address(operands[*operand], *operand, "", "", parts.index);
                code.line(format!("  const {ty} r{register} = get({address});"));
            }
            Made::Load(0) if parts.is_function => {
                let taken: Vec<String> = (0..code.width).map(|at| format!("held[{at}]")).collect();
                code.line(format!("  const {ty} v{register}[{held}] = {{{}}};", taken.join(", ")));
            }
            Made::Load(operand) => {
                let (at, positions) = operands[*operand];
                code.line(format!("  {ty} v{register}[{held}];"));
                code.vectors(parts);
                let column = terms(&parts.axes.strides[at][parts.n_row_axes..], parts.n_row_axes);
                let looked_up =
                    positions.map(|at| terms(&parts.axes.strides[at][parts.n_row_axes..], parts.n_row_axes));
                let looked_up = looked_up.unwrap_or_default();
                let stride = parts.axes.strides[at]
                    .last()
                    .copied()
                    .filter(|_| parts.axes.sizes.len() > parts.n_row_axes)
                    .unwrap_or(0);
                let width = code.width;
                let address = self.address((at, positions), *operand, &column, &looked_up, parts.index);
                if width == 1 {
                    code.line(format!("    v{register}[k * {width}] = get({address});"));
                } else if stride == 1 {
                    let element = self.operands[*operand].view.scalar.spelled();
                    let pack = match parts.is_function && is_beside((at, positions), parts.axes, width) {
                        true => format!("all.p{at}"),
                        false => format!("*reinterpret_cast<const Pack<{width}, {element}>*>(&{address})"),
                    };
                    code.line(format!("    const auto pack = {pack};"));
                    code.line(format!("#pragma unroll\n    for (int j = 0; j < {width}; ++j) v{register}[k * {width} + j] = get(pack.element[j]);"));
                } else {
                    code.line(format!("    const {ty} one = get({address});"));
                    code.line(format!(
                        "#pragma unroll\n    for (int j = 0; j < {width}; ++j) v{register}[k * {width} + j] = one;"
                    ));
                }
                code.line("  }");
            }
            Made::Expression(template, inputs) => {
                let mut text = template.replace("$T", ty);
                for (at, input) in inputs.iter().enumerate() {
                    let given = match input {
                        Input::Register(register) => name(*register),
                        Input::Literal(literal) => literal.clone(),
                    };
                    text = text.replace(&format!("${at}"), &given);
                }
                if value.is_row {
                    code.line(format!("  const {ty} r{register} = {text};"));
                } else {
                    code.line(format!("  {ty} v{register}[{held}];"));
                    code.line(format!("#pragma unroll\n  for (int k = 0; k < {held}; ++k) v{register}[k] = {text};"));
                }
            }
            Made::Reduced(reduction, from) => {
                let width = code.width;
                code.line(format!("  {ty} r{register} = {reduction:?}::none<{ty}>();"));
                code.line(format!("#pragma unroll\n  for (int k = 0; k < {held}; ++k) if (holds[k / {width}]) r{register} = {reduction:?}::of(r{register}, v{from}[k]);"));
                code.line(format!("  r{register} = reduced<{reduction:?}, {}>(r{register}, scratch);", parts.threads));
            }
        }
    }

    fn store(&self, code: &mut Writer, register: Register, at: usize, parts: &Parts) {
        let width = code.width;
        if self.values[register].is_row {
            code.line(format!("  if (lane == 0) put(p{at}[row{at}], r{register});"));
            return;
        }
        code.vectors(parts);
        let column = terms(&parts.axes.strides[at][parts.n_row_axes..], parts.n_row_axes);
        if width == 1 && !parts.is_function {
            code.line(format!("    put(p{at}[row{at}{column}], v{register}[k]);"));
        } else {
            let place = format!("&p{at}[row{at}{column}]");
            let place = if parts.is_function { format!("(elsewhere ? elsewhere : (void*){place})") } else { place };
            let element = self.stores[at - (self.n_touched() - self.stores.len())].1.scalar.spelled();
            code.line(format!("    Pack<{width}, {element}> pack;"));
            code.line(format!("#pragma unroll\n    for (int j = 0; j < {width}; ++j) put(pack.element[j], v{register}[k * {width} + j]);"));
            code.line(format!("    *reinterpret_cast<Pack<{width}, {element}>*>({place}) = pack;"));
        }
        code.line("  }");
    }

    fn n_touched(&self) -> usize {
        self.operands.len()
            + self.operands.iter().filter(|operand| operand.lookup.is_some()).count()
            + self.stores.len()
    }

    /// The element of an operand, as CUDA C++ spells it.
    fn address(
        &self,
        (at, positions): (usize, Option<usize>),
        operand: usize,
        column: &str,
        looked_up: &str,
        index: &str,
    ) -> String {
        match (&self.operands[operand].lookup, positions) {
            (Some(lookup), Some(from)) => {
                let Lookup { stride, extent, .. } = lookup;
                let position = format!("get(p{from}[row{from}{looked_up}])");
                // A position outside of the axis reads its nearest end instead of foreign memory.
                let wrapped = format!("wrapped({position}, {extent})");
                format!("p{at}[row{at}{column} + {index}({wrapped}) * {stride}u]")
            }
            _ => format!("p{at}[row{at}{column}]"),
        }
    }
}

/// Whether an operand of a function, but the first, has a pack of its own at each position.
fn is_beside((at, positions): (usize, Option<usize>), axes: &Axes, width: usize) -> bool {
    let strides = &axes.strides[at];
    at > 0 && positions.is_none() && width > 1 && strides.last() == Some(&1) && !strides.contains(&0)
}

/// Of a function, the struct `Beside` of packs that lie at each position, and the function `beside` that reads them: a kernel that
/// finishes several positions reads all of them first.
fn beside(code: &mut Writer, operands: &[(usize, Option<usize>)], touched: &[Touched], parts: &Parts) {
    let axes = parts.axes;
    let (mut packs, mut reads) = (String::new(), String::new());
    for &(at, _) in operands.iter().filter(|operand| is_beside(**operand, axes, code.width)) {
        let pack = format!("Pack<{}, {}>", code.width, touched[at].view.scalar.spelled());
        let place = format!("p{at}[{}u{}]", touched[at].view.offset, terms(&axes.strides[at], 0));
        let _ = writeln!(packs, "  {pack} p{at};");
        let _ = writeln!(reads, "  all.p{at} = *reinterpret_cast<const {pack}*>(&{place});");
    }
    code.line(format!("struct Beside {{\n{packs}}};"));
    code.line("__device__ __forceinline__ Beside beside(const unsigned first PARAMETERS) {");
    coordinates(code, parts.index, "first", 0, &axes.sizes);
    code.line(format!("  Beside all;\n{reads}  return all;\n}}"));
}

struct Parts<'a> {
    axes: &'a Axes,
    n_row_axes: usize,
    index: &'static str,
    n_vectors: usize,
    threads: usize,
    is_rows: bool,
    columns: usize,
    /// The first operand is in registers.
    is_function: bool,
}

struct Writer {
    text: String,
    width: usize,
}

impl Writer {
    fn line(&mut self, text: impl AsRef<str>) {
        self.text.push_str(text.as_ref());
        self.text.push('\n');
    }

    /// Opens a loop over the vectors that this thread holds, with the coordinates of each.
    fn vectors(&mut self, parts: &Parts) {
        let width = self.width;
        self.line(format!("#pragma unroll\n  for (int k = 0; k < {}; ++k) if (holds[k]) {{", parts.n_vectors));
        let index = parts.index;
        if parts.is_rows {
            self.line(format!("    const {index} column = (lane + k * {}u) * {width}u;", parts.threads));
        } else {
            self.line(format!("    const {index} column = first;"));
        }
        debug_assert!(parts.columns > 0 || parts.axes.sizes.contains(&0));
        coordinates(self, index, "column", parts.n_row_axes, &parts.axes.sizes[parts.n_row_axes..]);
    }
}

/// Declares `c0`, `c1`, ...: the coordinates of the linear position `from` in axes of `sizes`.
fn coordinates(code: &mut Writer, index: &str, from: &str, first: usize, sizes: &[usize]) {
    let mut inner = 1usize;
    let mut lines = Vec::new();
    for (at, &size) in sizes.iter().enumerate().rev() {
        let divided = if inner == 1 { from.to_string() } else { format!("{from} / {inner}u") };
        let wrapped = if at == 0 { divided } else { format!("({divided}) % {size}u") };
        lines.push(format!("    const {index} c{} = {wrapped};", first + at));
        inner *= size.max(1);
    }
    lines.iter().rev().for_each(|line| code.line(line));
}

fn terms(strides: &[usize], first: usize) -> String {
    let mut text = String::new();
    for (at, &stride) in strides.iter().enumerate().filter(|(_, stride)| **stride != 0) {
        let _ = match stride {
            1 => write!(text, " + c{}", first + at),
            _ => write!(text, " + c{} * {stride}u", first + at),
        };
    }
    text
}

fn extent(touched: &Touched) -> usize {
    touched.view.shape.iter().zip(&touched.strides).map(|(&size, &stride)| size.saturating_sub(1) * stride).sum()
}

pub(crate) fn spelled(class: Class) -> &'static str {
    match class {
        Class::Real => "float",
        Class::Double => "double",
        Class::Integer => "i64",
        Class::Unsigned => "u64",
        Class::Truth => "bool",
    }
}

/// A number as a literal of `class`.
pub(crate) fn literal(number: f64, class: Class) -> String {
    match class {
        Class::Integer if number as i64 == i64::MIN => "(-9223372036854775807ll - 1)".into(),
        Class::Integer => format!("{}ll", number as i64),
        Class::Unsigned => format!("{}ull", number as u64),
        Class::Truth => (number != 0.0).to_string(),
        Class::Double => format!("__longlong_as_double(0x{:016x}ll)", number.to_bits()),
        Class::Real => {
            let bits = (number as f32).to_bits();
            format!("__uint_as_float(0x{bits:08x}u)")
        }
    }
}
