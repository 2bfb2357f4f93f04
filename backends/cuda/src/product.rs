//! Matrix products by cuBLASLt, with bias, residual and activation in the same kernel.

#![allow(unsafe_code)]

use crate::driver::{Address, Stream};
use crate::libraries::{Library, require};
use crate::view::Scalar;
use cudarc::cublaslt::sys;
use eutectic_ir::diag::{Diagnostic, Kind};
use std::ffi::c_void;
use std::ptr;

/// Bytes that a product may use besides its operands.
pub const WORKSPACE: usize = 32 << 20;

/// How one operand lies in memory. A row-major matrix has `leading` elements from one row to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// The elements of a column are adjacent, not those of a row.
    pub is_transposed: bool,
    /// Elements from one row, or when transposed one column, to the next.
    pub leading: usize,
    /// Elements from one matrix of the batch to the next; 0 when all share one.
    pub batch_stride: usize,
}

/// What follows the product and its additions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// max(x, 0).
    Relu,
    /// GELU in its tanh form.
    GeluTanh,
    /// GELU with the error function, which cuBLASLt does not have.
    Gelu,
}

/// `out[m, n] = activation(left[m, k] right[k, n] + bias[n] + residual[m, n])`, `batch` times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Terms of each sum.
    pub k: usize,
    /// Number of products.
    pub batch: usize,
    /// The left operand.
    pub left: Matrix,
    /// The right operand.
    pub right: Matrix,
    /// The result, never transposed; the residual lies the same way.
    pub out: Matrix,
    /// How elements of the operands are stored: float32, float16, bfloat16 or float64; or quantized, as int8 or float8 (E4M3).
    pub scalar: Scalar,
    /// How those of the result, of the row and of the matrix that is added are stored.
    pub result: Scalar,
    /// Each column and each row of the result is scaled by the [`Factors`] that the operands come with.
    pub is_scaled: bool,
    /// float32 may be rounded to tf32 before it is multiplied.
    pub tf32: bool,
    /// A row is added.
    pub has_bias: bool,
    /// A matrix is added.
    pub has_residual: bool,
    /// What follows.
    pub activation: Activation,
}

/// Where the operands of one product, convolution, attention or normalization are.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// The left operand, the image, or the rows.
    pub left: Address,
    /// The right operand, the filter, or what rows are scaled by.
    pub right: Address,
    /// The values of attention, whose queries and keys are left and right; or 0.
    pub values: Address,
    /// The bias, or 0.
    pub bias: Address,
    /// The residual, or 0.
    pub residual: Address,
    /// The [`Factors`] of quantized operands, or 0.
    pub factors: Address,
    /// The result.
    pub out: Address,
}

/// The table of float32 numbers that goes with quantized operands, of a product or convolution with `n` channels: for each channel the
/// factor of its sums, then for each what is added, the factors of residual and result, and a one for each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factors {
    /// Channels: columns of the result.
    pub n: usize,
}

impl Factors {
    /// Bytes before the first number that is added.
    pub fn bias(self) -> usize {
        4 * self.n
    }

    /// Bytes before the factor of the residual; 16 bytes of its own, as alignment wants.
    pub fn residual(self) -> usize {
        8 * self.n.next_multiple_of(4)
    }

    /// Bytes before the factor of the result; 16 bytes of its own.
    pub fn result(self) -> usize {
        self.residual() + 16
    }

    /// Bytes before the first one.
    pub fn rows(self) -> usize {
        self.residual() + 32
    }
}

fn check(status: sys::cublasStatus_t, call: &str) -> Result<(), Diagnostic> {
    if status == sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS {
        return Ok(());
    }
    Err(Diagnostic::error(Kind::Io, "B0305", format!("cuBLASLt refused {call}: {status:?}")))
}

/// The library's state.
#[derive(Debug)]
pub struct CublasLt {
    handle: sys::cublasLtHandle_t,
}

// SAFETY: the handle may be used from any thread.
unsafe impl Send for CublasLt {}

impl CublasLt {
    /// Starts the library. Errors: absent, or it refuses.
    pub fn new() -> Result<Self, Diagnostic> {
        require(Library::CublasLt)?;
        let mut handle = ptr::null_mut();
        // SAFETY: the library is present and writes a handle.
        check(unsafe { sys::cublasLtCreate(&mut handle) }, "to start")?;
        Ok(Self { handle })
    }

    /// Its version, such as 130100.
    pub fn version(&self) -> usize {
        // SAFETY: no preconditions.
        unsafe { sys::cublasLtGetVersion() }
    }

    /// Up to `n` ways to compute `product`, the library's favourite first. Errors: it has none.
    pub fn plans(&self, product: &Product, n: usize) -> Result<Vec<ProductPlan>, Diagnostic> {
        use sys::cublasComputeType_t as Compute;
        use sys::cublasLtMatmulDescAttributes_t as Attribute;
        let compute = match (product.scalar, product.tf32) {
            (Scalar::F32, true) => Compute::CUBLAS_COMPUTE_32F_FAST_TF32,
            (Scalar::F64, _) => Compute::CUBLAS_COMPUTE_64F,
            (Scalar::I8, _) => Compute::CUBLAS_COMPUTE_32I,
            _ => Compute::CUBLAS_COMPUTE_32F,
        };
        let scalar = match product.scalar {
            Scalar::F64 => sys::cudaDataType_t::CUDA_R_64F,
            Scalar::I8 => sys::cudaDataType_t::CUDA_R_32I,
            _ => sys::cudaDataType_t::CUDA_R_32F,
        };
        let mut description = ptr::null_mut();
        // SAFETY: the handle lives; the descriptor is owned by the plan below.
        check(unsafe { sys::cublasLtMatmulDescCreate(&mut description, compute, scalar) }, "a description")?;
        let set = |which, value: &i32| {
            let value = ptr::from_ref(value).cast::<c_void>();
            // SAFETY: these attributes are 32-bit integers.
            check(unsafe { sys::cublasLtMatmulDescSetAttribute(description, which, value, 4) }, "an attribute")
        };
        // The library is column-major: it sees every row-major matrix transposed, and computes right^T left^T.
        set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &i32::from(product.right.is_transposed))?;
        set(Attribute::CUBLASLT_MATMUL_DESC_TRANSB, &i32::from(product.left.is_transposed))?;
        let epilogue = match (product.has_bias, product.activation) {
            (_, Activation::Gelu) => {
                let message = "cuBLASLt has no GELU with the error function";
                return Err(Diagnostic::error(Kind::Unsupported, "B0305", message));
            }
            (false, Activation::None) => sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_DEFAULT,
            (false, Activation::Relu) => sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_RELU,
            (false, Activation::GeluTanh) => sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_GELU,
            (true, Activation::None) => sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS,
            (true, Activation::Relu) => sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_RELU_BIAS,
            (true, Activation::GeluTanh) => sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_GELU_BIAS,
        };
        set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &(epilogue as i32))?;
        if product.is_scaled {
            // What the library sees as its first operand is the right one.
            let by_vector = sys::cublasLtMatmulMatrixScale_t::CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F as i32;
            set(Attribute::CUBLASLT_MATMUL_DESC_A_SCALE_MODE, &by_vector)?;
            set(Attribute::CUBLASLT_MATMUL_DESC_B_SCALE_MODE, &by_vector)?;
            point_to_factors(description, product, ALIGNED)?;
        }
        let Product { m, n: columns, k, scalar, .. } = *product;
        let right = layout(product, product.right, scalar, k, columns)?;
        let left = layout(product, product.left, scalar, m, k)?;
        let out = layout(product, product.out, product.result, m, columns)?;
        let mut preference = ptr::null_mut();
        let mut found = vec![blank(); n];
        let mut n_found = 0;
        // SAFETY: every descriptor lives; `found` has `n` places.
        unsafe {
            check(sys::cublasLtMatmulPreferenceCreate(&mut preference), "a preference")?;
            let limit = ptr::from_ref(&WORKSPACE).cast::<c_void>();
            let which = sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
            check(sys::cublasLtMatmulPreferenceSetAttribute(preference, which, limit, 8), "a preference")?;
            // Parts of a sum are added as they are accumulated; adding them in place would round each to the result's type.
            let schemes = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
            let which = sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK;
            let schemes = ptr::from_ref(&schemes).cast::<c_void>();
            check(sys::cublasLtMatmulPreferenceSetAttribute(preference, which, schemes, 4), "a preference")?;
            let status = sys::cublasLtMatmulAlgoGetHeuristic(
                self.handle,
                description,
                right,
                left,
                out,
                out,
                preference,
                n as i32,
                found.as_mut_ptr(),
                &mut n_found,
            );
            sys::cublasLtMatmulPreferenceDestroy(preference);
            check(status, &format!("{product:?}"))?;
        }
        found.truncate(n_found.max(0) as usize);
        let plan = |result: sys::cublasLtMatmulHeuristicResult_t| ProductPlan {
            product: *product,
            handle: self.handle,
            description,
            right,
            left,
            out,
            algorithm: result.algo,
        };
        Ok(found.into_iter().map(plan).collect())
    }
}

fn blank() -> sys::cublasLtMatmulHeuristicResult_t {
    // SAFETY: the type is plain numbers, for which zeros are valid (its status is CUBLAS_STATUS_SUCCESS).
    unsafe { std::mem::zeroed() }
}

/// An address as aligned as all are, for heuristics that look at alignment only.
const ALIGNED: Address = 256;

/// Lets `description` find the factors of rows and columns at `factors`.
fn point_to_factors(
    description: sys::cublasLtMatmulDesc_t,
    product: &Product,
    factors: Address,
) -> Result<(), Diagnostic> {
    use sys::cublasLtMatmulDescAttributes_t as Attribute;
    let rows = factors + Factors { n: product.n }.rows() as Address;
    for (which, address) in [
        (Attribute::CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, factors),
        (Attribute::CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, rows),
    ] {
        let address = ptr::from_ref(&address).cast::<c_void>();
        // SAFETY: the description lives; these attributes are addresses of 8 bytes.
        check(unsafe { sys::cublasLtMatmulDescSetAttribute(description, which, address, 8) }, "factors")?;
    }
    Ok(())
}

fn layout(
    product: &Product,
    matrix: Matrix,
    scalar: Scalar,
    rows: usize,
    columns: usize,
) -> Result<sys::cublasLtMatrixLayout_t, Diagnostic> {
    use sys::cublasLtMatrixLayoutAttribute_t as Attribute;
    let element = match scalar {
        Scalar::F64 => sys::cudaDataType_t::CUDA_R_64F,
        Scalar::F16 => sys::cudaDataType_t::CUDA_R_16F,
        Scalar::Bf16 => sys::cudaDataType_t::CUDA_R_16BF,
        Scalar::I8 => sys::cudaDataType_t::CUDA_R_8I,
        Scalar::I32 => sys::cudaDataType_t::CUDA_R_32I,
        Scalar::Narrow(_) => sys::cudaDataType_t::CUDA_R_8F_E4M3,
        _ => sys::cudaDataType_t::CUDA_R_32F,
    };
    let (rows, columns) = if matrix.is_transposed { (rows, columns) } else { (columns, rows) };
    let mut layout = ptr::null_mut();
    let (batch, stride) = (product.batch as i32, matrix.batch_stride as i64);
    // SAFETY: the attributes have the sizes that the library documents.
    unsafe {
        let made =
            sys::cublasLtMatrixLayoutCreate(&mut layout, element, rows as u64, columns as u64, matrix.leading as i64);
        check(made, "a layout")?;
        let count = ptr::from_ref(&batch).cast::<c_void>();
        let which = Attribute::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT;
        check(sys::cublasLtMatrixLayoutSetAttribute(layout, which, count, 4), "a batch")?;
        let stride = ptr::from_ref(&stride).cast::<c_void>();
        let which = Attribute::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET;
        check(sys::cublasLtMatrixLayoutSetAttribute(layout, which, stride, 8), "a batch")?;
    }
    Ok(layout)
}

/// One way to compute a product. Descriptors are shared between the plans of a product and live as long as the program.
#[derive(Clone, Copy, Debug)]
pub struct ProductPlan {
    product: Product,
    handle: sys::cublasLtHandle_t,
    description: sys::cublasLtMatmulDesc_t,
    right: sys::cublasLtMatrixLayout_t,
    left: sys::cublasLtMatrixLayout_t,
    out: sys::cublasLtMatrixLayout_t,
    algorithm: sys::cublasLtMatmulAlgo_t,
}

// SAFETY: descriptors are plain data of the host.
unsafe impl Send for ProductPlan {}

impl ProductPlan {
    /// Enqueues the product. `workspace` has [`WORKSPACE`] bytes.
    pub fn enqueue(&self, stream: &Stream, at: Operands, workspace: Address) -> Result<(), Diagnostic> {
        // Factors have the type of the accumulator.
        let factor = |number: f64| match self.product.scalar {
            Scalar::F64 => number.to_bits(),
            Scalar::I8 => number as u64,
            _ => u64::from((number as f32).to_bits()),
        };
        let (one, beta) = (factor(1.0), factor(f64::from(u8::from(self.product.has_residual))));
        let added = if self.product.has_residual { at.residual } else { at.out };
        let pointer = |address: Address| address as usize as *const c_void;
        if self.product.is_scaled {
            point_to_factors(self.description, &self.product, at.factors)?;
        }
        // SAFETY: descriptors live; the planner gives addresses of operands with the planned sizes.
        unsafe {
            if self.product.has_bias {
                let which = sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER;
                let bias = ptr::from_ref(&at.bias).cast::<c_void>();
                check(sys::cublasLtMatmulDescSetAttribute(self.description, which, bias, 8), "a bias")?;
            }
            let status = sys::cublasLtMatmul(
                self.handle,
                self.description,
                ptr::from_ref(&one).cast(),
                pointer(at.right),
                self.right,
                pointer(at.left),
                self.left,
                ptr::from_ref(&beta).cast(),
                pointer(added),
                self.out,
                pointer(at.out).cast_mut(),
                self.out,
                &self.algorithm,
                pointer(workspace).cast_mut(),
                WORKSPACE,
                stream.handle().cast(),
            );
            check(status, &format!("{:?}", self.product))
        }
    }
}
