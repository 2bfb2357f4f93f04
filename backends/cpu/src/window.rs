//! The sliding window of convolutions and pools, over any number of spatial axes.

/// Kernel extent, stride, dilation and padding per spatial axis; all five lists have one entry per axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Taps.
    pub kernel: Vec<usize>,
    /// Steps between neighbouring outputs; at least 1.
    pub strides: Vec<usize>,
    /// Steps between neighbouring taps; at least 1.
    pub dilations: Vec<usize>,
    /// Padding before the first element.
    pub pads_begin: Vec<usize>,
    /// Padding after the last element.
    pub pads_end: Vec<usize>,
}

impl Window {
    /// A window without stride, dilation or padding.
    pub fn of(kernel: &[usize]) -> Self {
        let (ones, zeros) = (vec![1; kernel.len()], vec![0; kernel.len()]);
        Self {
            kernel: kernel.to_vec(),
            strides: ones.clone(),
            dilations: ones,
            pads_begin: zeros.clone(),
            pads_end: zeros,
        }
    }

    /// Number of spatial axes.
    pub fn rank(&self) -> usize {
        self.kernel.len()
    }

    /// Number of taps.
    pub fn n_taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Input elements that the window covers along `axis`, gaps included.
    pub fn span(&self, axis: usize) -> usize {
        (self.kernel[axis].max(1) - 1) * self.dilations[axis] + 1
    }

    /// True when strides and dilations are at least 1 and no span or stride is beyond any real model: then arithmetic
    /// with them cannot overflow.
    pub fn is_sane(&self) -> bool {
        let sane = |extents: &[usize], least: usize| extents.iter().all(|extent| (least..1 << 24).contains(extent));
        sane(&self.kernel, 0)
            && sane(&self.strides, 1)
            && sane(&self.dilations, 1)
            && sane(&self.pads_begin, 0)
            && sane(&self.pads_end, 0)
            && self.kernel.iter().try_fold(1usize, |taps, &extent| taps.checked_mul(extent)).is_some()
    }

    /// Input extents with their padding; `None` on overflow.
    pub fn checked_padded(&self, input: &[usize]) -> Option<Vec<usize>> {
        (0..self.rank())
            .map(|axis| input[axis].checked_add(self.pads_begin[axis])?.checked_add(self.pads_end[axis]))
            .collect()
    }

    /// Input extents with their padding.
    pub fn padded(&self, input: &[usize]) -> Vec<usize> {
        (0..self.rank()).map(|axis| input[axis] + self.pads_begin[axis] + self.pads_end[axis]).collect()
    }

    /// Output extents; `ceil` counts a last window that is only partly covered, unless it would start in the padding
    /// at the end. An axis that is too short for the window gives 0.
    pub fn output(&self, input: &[usize], ceil: bool) -> Vec<usize> {
        let padded = self.padded(input);
        (0..self.rank())
            .map(|axis| {
                let Some(room) = padded[axis].checked_sub(self.span(axis)) else { return 0 };
                let stride = self.strides[axis];
                if !ceil {
                    return room / stride + 1;
                }
                let count = room.div_ceil(stride) + 1;
                let starts_in_padding = (count - 1) * stride >= input[axis] + self.pads_begin[axis];
                count - usize::from(starts_in_padding && count > 1)
            })
            .collect()
    }
}

/// Calls `visit` with every index below `extents`, in row-major order.
pub(crate) fn for_each_index(extents: &[usize], mut visit: impl FnMut(&[usize])) {
    if extents.contains(&0) {
        return;
    }
    let mut index = vec![0; extents.len()];
    loop {
        visit(&index);
        let Some(axis) = (0..extents.len()).rev().find(|&axis| index[axis] + 1 < extents[axis]) else { return };
        index[axis] += 1;
        index[axis + 1..].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_extents_follow_the_onnx_formula() {
        let window = Window {
            strides: vec![2, 2],
            dilations: vec![1, 2],
            pads_begin: vec![1, 0],
            pads_end: vec![0, 3],
            ..Window::of(&[3, 3])
        };
        assert_eq!(window.output(&[7, 8], false), [3, 4]);
        assert_eq!(window.output(&[8, 1], false), [4, 0]);
    }

    #[test]
    fn a_ceiled_window_may_not_start_in_the_padding_at_the_end() {
        let pool = |pad| Window { strides: vec![2], pads_end: vec![pad], ..Window::of(&[2]) };
        assert_eq!(pool(0).output(&[5], true), [3]);
        assert_eq!(pool(0).output(&[5], false), [2]);
        assert_eq!(pool(2).output(&[4], true), [2]);
    }

    #[test]
    fn indices_come_in_row_major_order_and_an_empty_axis_gives_none() {
        let mut seen = Vec::new();
        for_each_index(&[2, 2], |index| seen.push((index[0], index[1])));
        assert_eq!(seen, [(0, 0), (0, 1), (1, 0), (1, 1)]);
        for_each_index(&[2, 0], |_| unreachable!("there is no index"));
    }
}
