//! A second convolution in the kernel of a tile.

use super::{STEP, Tile};
use crate::convolution::Convolution;
use crate::view::{Scalar, View};
use std::fmt::Write;

/// What a kernel computes besides its own convolution.
#[derive(Clone, Copy)]
pub(crate) enum Joined<'a> {
    Nothing,
    /// Products that are added in the same sums.
    Shortcut(Shortcut<'a>),
    /// Products of what becomes of its sums.
    Chain(Chain<'a>),
}

impl Joined<'_> {
    /// What it adds to the name of a tile.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Shortcut(_) => "+shortcut",
            Self::Chain(_) => "+chain",
        }
    }

    /// Whether it goes with `convolution`, and its operands are aligned.
    pub fn fits(self, convolution: &Convolution) -> bool {
        match self {
            Self::Nothing => true,
            Self::Shortcut(shortcut) => shortcut.fits(convolution),
            Self::Chain(chain) => chain.fits(convolution),
        }
    }

    /// Filters of the result.
    pub fn filters(self, convolution: &Convolution) -> usize {
        match self {
            Self::Chain(chain) => chain.convolution.output[1],
            _ => convolution.output[1],
        }
    }

    /// Its sizes as macros for a generated kernel.
    pub fn defines(self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Shortcut(shortcut) => shortcut.defines(),
            Self::Chain(chain) => chain.defines(),
        }
    }

    /// Its parameters, behind the image and filters.
    pub fn buffers(self) -> Vec<usize> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Shortcut(shortcut) => vec![shortcut.image.buffer, shortcut.filters.buffer],
            Self::Chain(chain) => [chain.filters].into_iter().chain(chain.bias).map(|view| view.buffer).collect(),
        }
    }

    /// Bytes of shared memory that are in use while results are made of sums, besides those.
    pub fn bytes_before_sums(self, tile: Tile) -> usize {
        match self {
            // The operands of the second one.
            Self::Chain(chain) => (tile.pixels + tile.filters) * tile.filters * chain.convolution.scalar.bytes(),
            _ => 0,
        }
    }
}

/// A convolution whose products are added in the sums of another one, of which it has the pixels and filters: of single pixels, without
/// padding.
#[derive(Clone, Copy)]
pub(crate) struct Shortcut<'a> {
    pub convolution: &'a Convolution,
    pub image: &'a View,
    pub filters: &'a View,
}

impl Shortcut<'_> {
    /// Whether it is one for `convolution`, and its operands are aligned.
    pub(super) fn fits(&self, convolution: &Convolution) -> bool {
        let (own, bytes) = (self.convolution, self.convolution.scalar.bytes());
        let is_single = own.filter[2..] == [1, 1] && own.pads == [0; 4] && own.filter[1] == own.input[1];
        let is_aligned = own.filter[1] * bytes % 16 == 0
            && [self.image, self.filters].iter().all(|view| view.offset * bytes % 16 == 0);
        let is_alike =
            own.output == convolution.output && own.scalar == convolution.scalar && own.tf32 == convolution.tf32;
        is_single && is_aligned && is_alike && self.image.count() * bytes < 1 << 34
    }

    pub(super) fn n_steps(&self) -> usize {
        (self.convolution.filter[1] * self.convolution.scalar.bytes()).div_ceil(STEP)
    }

    /// Its sizes as macros for a generated kernel.
    fn defines(&self) -> String {
        let ([_, channels, rows, columns], [down, across]) = (self.convolution.input, self.convolution.strides);
        let chunk = |view: &View| view.offset * view.scalar.bytes() / 16;
        let sizes = [
            ("CHANNELS", channels),
            ("ROWS", rows),
            ("COLUMNS", columns),
            ("DOWN", down),
            ("ACROSS", across),
            ("CHUNK", chunk(self.image)),
            ("FILTERS_CHUNK", chunk(self.filters)),
        ];
        sizes.map(|(name, size)| format!("#define SHORTCUT_{name} {size}\n")).concat()
    }
}

/// A convolution of single pixels of which a tile has the whole image: what becomes of the sums of another one.
#[derive(Clone, Copy)]
pub(crate) struct Chain<'a> {
    pub convolution: &'a Convolution,
    pub filters: &'a View,
    /// A row that is added to the sums of the first.
    pub bias: Option<&'a View>,
    /// Zeros take the place of what is negative then.
    pub is_relu: bool,
}

impl Chain<'_> {
    /// Whether it may follow `convolution`, and its filters are aligned.
    fn fits(&self, convolution: &Convolution) -> bool {
        let (own, bytes) = (self.convolution, self.convolution.scalar.bytes());
        let is_single = own.filter[2..] == [1, 1] && own.pads == [0; 4] && own.strides == [1, 1];
        let is_next =
            own.input == convolution.output && own.filter[1] == own.input[1] && own.scalar == convolution.scalar;
        let is_stored = matches!(own.scalar, Scalar::F16 | Scalar::Bf16);
        let is_row = self.bias.is_none_or(|bias| bias.scalar == own.scalar && bias.count() == convolution.output[1]);
        is_single && is_next && is_stored && is_row && self.filters.offset * bytes % 16 == 0
    }

    fn defines(&self) -> String {
        let spelled = self.convolution.scalar.spelled();
        let mut text =
            String::from("#define OWN_FILTERS TILE_FILTERS\n#define JOINED , const uint4* __restrict__ next_filters");
        if let Some(bias) = self.bias {
            let _ = write!(
                text,
                ", const {spelled}* __restrict__ first_bias\n#define FIRST_BIAS(at) get(first_bias[{}u + (at)])\n",
                bias.offset
            );
        } else {
            text.push_str("\n#define FIRST_BIAS(at) 0.f\n");
        }
        let ends = if self.is_relu { "relu(x)" } else { "(x)" };
        let chunk = self.filters.offset * self.filters.scalar.bytes() / 16;
        let _ = write!(text, "#define FIRST_ENDS(x) {ends}\n#define NEXT_CHUNK {chunk}\n");
        text
    }
}
