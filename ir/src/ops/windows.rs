//! Windows that slide over the spatial axes of a tensor: what convolutions and pools share.

use crate::attr::Attrs;
use crate::dim::Dim;
use crate::eval::strides_of;
use crate::op::Reason;
use crate::ops::shape::{count_of, overflow};

/// The size of a window and how it slides, one entry for each spatial axis.
pub(super) struct Windows {
    pub(super) kernel: Vec<i64>,
    pub(super) strides: Vec<i64>,
    pub(super) dilations: Vec<i64>,
    pub(super) padding: Padding,
    ceil: bool,
}

/// How much is added before and after each axis.
pub(super) enum Padding {
    Explicit(Vec<(i64, i64)>),
    /// As much as gives one output for each stride; when that is odd, one more after (upper) or before (lower).
    Same {
        upper: bool,
    },
}

impl Windows {
    /// Windows of size `kernel` with the stride, dilation and padding of `attrs`. Errors: lengths or values that make no window.
    pub(super) fn read(attrs: &Attrs, kernel: Vec<i64>) -> Result<Self, Reason> {
        let n = kernel.len();
        let list = |name: &str, length: usize, least: i64, otherwise: i64| {
            let values = attrs.ints(name).map_or_else(|| vec![otherwise; length], <[i64]>::to_vec);
            // The bound keeps every sum and product of two within 64 bits.
            let fits = values.len() == length && values.iter().all(|value| (least..1 << 31).contains(value));
            if fits {
                Ok(values)
            } else {
                Err(Reason(format!("attribute `{name}` is {values:?} for {n} spatial axes")))
            }
        };
        if let Some(size) = kernel.iter().find(|size| !(1..1 << 31).contains(*size)) {
            return Err(Reason(format!("a window of size {size}")));
        }
        let pads = list("pads", 2 * n, 0, 0)?;
        let explicit = || Padding::Explicit((0..n).map(|axis| (pads[axis], pads[axis + n])).collect());
        let padding = match attrs.string("auto_pad") {
            Some("NOTSET") | None => explicit(),
            Some("VALID") => Padding::Explicit(vec![(0, 0); n]),
            Some("SAME_UPPER") => Padding::Same { upper: true },
            Some("SAME_LOWER") => Padding::Same { upper: false },
            Some(other) => return Err(Reason(format!("attribute `auto_pad` is `{other}`"))),
        };
        let ceil = attrs.flag("ceil_mode") && attrs.string("auto_pad") != Some("VALID");
        Ok(Self { kernel, strides: list("strides", n, 1, 1)?, dilations: list("dilations", n, 1, 1)?, padding, ceil })
    }

    /// Elements that a window spans along `axis`, holes included.
    pub(super) fn span(&self, axis: usize) -> i64 {
        (self.kernel[axis] - 1) * self.dilations[axis] + 1
    }

    /// The number of windows along `axis` of size `dim`; `None` when it cannot be expressed. Errors: not even one fits.
    pub(super) fn output_dim(&self, axis: usize, dim: &Dim) -> Result<Option<Dim>, Reason> {
        let (span, stride) = (self.span(axis), self.strides[axis]);
        let by = Dim::known(stride);
        let pads = match &self.padding {
            Padding::Same { .. } => return dim.ceil_div(&by).map(Some).ok_or_else(overflow),
            Padding::Explicit(pads) => pads[axis],
        };
        let room = dim.add(&Dim::known(pads.0 + pads.1 - span)).ok_or_else(overflow)?;
        if room.as_known().is_some_and(|room| room < 0) {
            return Err(Reason(format!("a window of {span} does not fit axis {axis} of {dim}, pads {pads:?}")));
        }
        let one_more = |dim: Dim| dim.add(&Dim::known(1));
        if !self.ceil {
            return room.floor_div(&by).and_then(one_more).map(Some).ok_or_else(overflow);
        }
        let count = room.ceil_div(&by).and_then(one_more).ok_or_else(overflow)?;
        // A window that would start in the padding after the axis is left out.
        match (dim.as_known(), count.as_known()) {
            (Some(dim), Some(count)) => {
                let beyond = i128::from(count - 1) * i128::from(stride) >= i128::from(dim) + i128::from(pads.0);
                Ok(Some(Dim::known(count - i64::from(beyond))))
            }
            // The last window starts at most stride - 1 past the last place where it fits.
            _ => Ok((pads.1 + stride <= span).then_some(count)),
        }
    }

    /// The windows over axes of these sizes.
    pub(super) fn place(&self, sizes: &[usize]) -> Result<Vec<PlacedAxis>, Reason> {
        if sizes.len() != self.kernel.len() {
            return Err(Reason(format!("windows of {} axes slide over {}", self.kernel.len(), sizes.len())));
        }
        let place = |(axis, &size): (usize, &usize)| {
            let count = self.output_dim(axis, &size.into())?.and_then(|dim| dim.as_size()).ok_or_else(overflow)?;
            let (before, after) = match &self.padding {
                Padding::Explicit(pads) => pads[axis],
                Padding::Same { upper } => {
                    let needed = (count.max(1) as i64 - 1) * self.strides[axis] + self.span(axis) - size as i64;
                    let (less, more) = (needed.max(0) / 2, (needed.max(0) + 1) / 2);
                    if *upper { (less, more) } else { (more, less) }
                }
            };
            count_of(&[count])?;
            let taps = (0..count).map(|at| self.taps(axis, size, before, after, at)).collect();
            Ok(PlacedAxis { taps })
        };
        sizes.iter().enumerate().map(place).collect()
    }

    fn taps(&self, axis: usize, size: usize, before: i64, after: i64, at: usize) -> Taps {
        let start = at as i64 * self.strides[axis] - before;
        let (kernel, dilation) = (self.kernel[axis], self.dilations[axis]);
        let reach = |limit: i64| if limit <= start { 0 } else { ((limit - start - 1) / dilation + 1).min(kernel) };
        let first = if start < 0 { (-start - 1) / dilation + 1 } else { 0 };
        let last = reach(size as i64);
        let inside = (first..last).map(|tap| (tap as usize, (start + tap * dilation) as usize)).collect();
        Taps { inside, padded: reach(size as i64 + after) as usize }
    }
}

/// The windows along one axis.
pub(super) struct PlacedAxis {
    taps: Vec<Taps>,
}

struct Taps {
    /// Which elements of the window lie inside the axis, and where.
    inside: Vec<(usize, usize)>,
    /// How many elements of the window lie inside the padded axis.
    padded: usize,
}

/// One window: its elements inside the tensor as (place in the window, place in the tensor), and how many lie inside the
/// padded tensor.
pub(super) struct Window {
    pub(super) inside: Vec<(usize, usize)>,
    pub(super) padded: usize,
}

/// The number of windows along each axis.
pub(super) fn counts(axes: &[PlacedAxis]) -> Vec<usize> {
    axes.iter().map(|axis| axis.taps.len()).collect()
}

/// The window at `index` over axes of `sizes`.
pub(super) fn window(axes: &[PlacedAxis], kernel: &[i64], sizes: &[usize], index: &[usize]) -> Window {
    let kernel: Vec<usize> = kernel.iter().map(|&size| size as usize).collect();
    let (in_window, in_tensor) = (strides_of(&kernel), strides_of(sizes));
    let mut inside = vec![(0, 0)];
    let mut padded = 1;
    for (axis, &at) in index.iter().enumerate() {
        let taps = &axes[axis].taps[at];
        padded *= taps.padded;
        let extend = |&(tap, offset): &(usize, usize)| {
            let step = |&(t, o): &(usize, usize)| (tap + t * in_window[axis], offset + o * in_tensor[axis]);
            taps.inside.iter().map(step).collect::<Vec<_>>()
        };
        inside = inside.iter().flat_map(extend).collect();
    }
    Window { inside, padded }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::Attr;

    fn windows(attrs: &[(&str, Attr)], kernel: i64) -> Windows {
        Windows::read(&attrs.iter().cloned().collect(), vec![kernel]).expect("a window")
    }

    fn taps(windows: &Windows, size: usize) -> Vec<Vec<usize>> {
        let axes = windows.place(&[size]).expect("windows");
        let at = |at| window(&axes, &windows.kernel, &[size], &[at]).inside.iter().map(|(_, at)| *at).collect();
        (0..counts(&axes)[0]).map(at).collect()
    }

    fn ints(values: &[i64]) -> Attr {
        Attr::Ints(values.into())
    }

    #[test]
    fn windows_start_in_the_padding_and_leave_it_out() {
        let padded = windows(&[("pads", ints(&[1, 1])), ("strides", ints(&[2]))], 3);
        assert_eq!(taps(&padded, 4), [vec![0, 1], vec![1, 2, 3]]);
        let dilated = windows(&[("dilations", ints(&[2])), ("pads", ints(&[1, 0]))], 2);
        assert_eq!(taps(&dilated, 3), [vec![1], vec![0, 2]]);
    }

    #[test]
    fn same_padding_puts_the_odd_one_where_it_is_told() {
        let same = |mode: &str| windows(&[("auto_pad", Attr::String(mode.into())), ("strides", ints(&[1]))], 2);
        assert_eq!(taps(&same("SAME_UPPER"), 3), [vec![0, 1], vec![1, 2], vec![2]]);
        assert_eq!(taps(&same("SAME_LOWER"), 3), [vec![0], vec![0, 1], vec![1, 2]]);
    }

    #[test]
    fn a_rounded_up_window_never_starts_behind_the_axis() {
        let ceil =
            |pads: &[i64]| windows(&[("ceil_mode", Attr::Int(1)), ("pads", ints(pads)), ("strides", ints(&[2]))], 2);
        assert_eq!(taps(&ceil(&[0, 0]), 3), [vec![0, 1], vec![2]]);
        assert_eq!(taps(&ceil(&[0, 1]), 4), [vec![0, 1], vec![2, 3]]);
        let n = Dim::symbol("n");
        assert_eq!(ceil(&[0, 0]).output_dim(0, &n), Ok(Dim::parse("floor((n - 1)/2) + 1")));
        assert_eq!(ceil(&[0, 1]).output_dim(0, &n), Ok(None));
    }
}
