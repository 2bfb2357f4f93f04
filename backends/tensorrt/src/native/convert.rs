//! Our enumerations in the library's terms, and back.

use crate::layer::*;
use crate::spec::DataType;
use trtx_sys::{Dims64, nvinfer1};

/// The library's extents; a list that is too long was refused by `NetworkSpec::check`.
pub(crate) fn dims(extents: &[i64]) -> Dims64 {
    Dims64::from_slice(extents)
}

/// Extents of a tensor; `None` when the library could not infer them.
pub(crate) fn extents(dims: &Dims64) -> Option<Vec<i64>> {
    Some(dims.d.get(..usize::try_from(dims.nbDims).ok()?)?.to_vec())
}

/// A bit per axis.
pub(crate) fn axes_mask(axes: &[u32]) -> u32 {
    axes.iter().fold(0, |mask, axis| mask | 1u32.checked_shl(*axis).unwrap_or(0))
}

pub(crate) fn permutation(order: &[u32]) -> nvinfer1::Permutation {
    let mut permutation = nvinfer1::Permutation { order: [0, 1, 2, 3, 4, 5, 6, 7] };
    for (slot, axis) in permutation.order.iter_mut().zip(order) {
        *slot = *axis as i32;
    }
    permutation
}

macro_rules! mapping {
    ($name:ident: $ours:ident => $theirs:ident { $($a:ident => $b:ident),* $(,)? }) => {
        pub(crate) fn $name(ours: $ours) -> nvinfer1::$theirs {
            match ours { $($ours::$a => nvinfer1::$theirs::$b),* }
        }
    };
}

mapping!(data_type: DataType => DataType {
    F32 => kFLOAT, F16 => kHALF, Bf16 => kBF16, I8 => kINT8, I32 => kINT32, I64 => kINT64, Bool => kBOOL, U8 => kUINT8,
    F8E4M3 => kFP8, I4 => kINT4, F4E2M1 => kFP4, F8E8M0 => kE8M0,
});

mapping!(activation: ActivationKind => ActivationType {
    Relu => kRELU, Sigmoid => kSIGMOID, Tanh => kTANH, LeakyRelu => kLEAKY_RELU, Elu => kELU, Selu => kSELU,
    Softsign => kSOFTSIGN, Softplus => kSOFTPLUS, Clip => kCLIP, HardSigmoid => kHARD_SIGMOID, ScaledTanh => kSCALED_TANH,
    ThresholdedRelu => kTHRESHOLDED_RELU, GeluErf => kGELU_ERF, GeluTanh => kGELU_TANH,
});

mapping!(element_wise: ElementWiseKind => ElementWiseOperation {
    Sum => kSUM, Product => kPROD, Max => kMAX, Min => kMIN, Subtract => kSUB, Divide => kDIV, Power => kPOW,
    FloorDivide => kFLOOR_DIV, And => kAND, Or => kOR, Xor => kXOR, Equal => kEQUAL, Greater => kGREATER, Less => kLESS,
});

mapping!(unary: UnaryKind => UnaryOperation {
    Exp => kEXP, Log => kLOG, Sqrt => kSQRT, Reciprocal => kRECIP, Abs => kABS, Negate => kNEG, Sin => kSIN, Cos => kCOS,
    Tan => kTAN, Sinh => kSINH, Cosh => kCOSH, Asin => kASIN, Acos => kACOS, Atan => kATAN, Asinh => kASINH, Acosh => kACOSH,
    Atanh => kATANH, Ceil => kCEIL, Floor => kFLOOR, Erf => kERF, Not => kNOT, Sign => kSIGN, Round => kROUND, IsInf => kISINF,
    IsNan => kISNAN,
});

mapping!(reduce: ReduceKind => ReduceOperation { Sum => kSUM, Product => kPROD, Max => kMAX, Min => kMIN, Mean => kAVG });
mapping!(pooling: PoolingKind => PoolingType { Max => kMAX, AverageWithPadding => kAVERAGE, Average => kAVERAGE });
mapping!(matrix: MatrixKind => MatrixOperation { Plain => kNONE, Transpose => kTRANSPOSE, Vector => kVECTOR });
mapping!(slice: SliceMode => SampleMode {
    Strict => kSTRICT_BOUNDS, Wrap => kWRAP, Clamp => kCLAMP, Fill => kFILL, Reflect => kREFLECT,
});
mapping!(gather: GatherMode => GatherMode { Default => kDEFAULT, Element => kELEMENT, Nd => kND });
mapping!(scatter: ScatterMode => ScatterMode { Element => kELEMENT, Nd => kND });
mapping!(interpolation: InterpolationMode => InterpolationMode { Nearest => kNEAREST, Linear => kLINEAR, Cubic => kCUBIC });
mapping!(coordinates: CoordinateMode => ResizeCoordinateTransformation {
    AlignCorners => kALIGN_CORNERS, Asymmetric => kASYMMETRIC, HalfPixel => kHALF_PIXEL,
});
mapping!(rounding: RoundMode => ResizeRoundMode { HalfUp => kHALF_UP, HalfDown => kHALF_DOWN, Floor => kFLOOR, Ceil => kCEIL });

/// Our name of the library's type.
pub(crate) fn data_type_of(theirs: &nvinfer1::DataType) -> DataType {
    match theirs {
        nvinfer1::DataType::kFLOAT => DataType::F32,
        nvinfer1::DataType::kHALF => DataType::F16,
        nvinfer1::DataType::kBF16 => DataType::Bf16,
        nvinfer1::DataType::kINT8 => DataType::I8,
        nvinfer1::DataType::kINT32 => DataType::I32,
        nvinfer1::DataType::kINT64 => DataType::I64,
        nvinfer1::DataType::kBOOL => DataType::Bool,
        nvinfer1::DataType::kUINT8 => DataType::U8,
        nvinfer1::DataType::kFP8 => DataType::F8E4M3,
        nvinfer1::DataType::kINT4 => DataType::I4,
        nvinfer1::DataType::kFP4 => DataType::F4E2M1,
        nvinfer1::DataType::kE8M0 => DataType::F8E8M0,
    }
}
