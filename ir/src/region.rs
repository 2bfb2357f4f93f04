//! Regions: the calls that one kernel runs together, and what a backend says of them beforehand.
//!
//! A region is a call of a function of [`DOMAIN`]; the function's body lists the calls, its inputs and outputs are what the
//! kernel reads and writes, and everything else in the body never reaches memory. So a region prints, is written to a file,
//! is verified and is run by any interpreter as every function is.
//!
//! The passes form regions and the backends compile those that they are given; neither knows the other, and they meet in
//! the plain data of this file. A backend says for each call of a model which [`Role`] it can have in a kernel of several
//! calls, and within which [`Limits`]; whether calls do share a kernel is the choice of the pass.

use crate::attr::Name;

/// The domain of the functions that are regions.
pub const DOMAIN: &str = "eutectic.region";

/// How a call may be part of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Each element of the result comes from the corresponding elements of the broadcast inputs.
    Pointwise,
    /// The result comes from whole rows of the first input.
    Row {
        /// The axes that are the columns of a row, ascending.
        columns: Vec<usize>,
        /// There is one result for each row, not for each element.
        reduces: bool,
    },
    /// Each element of the result is read from a place that another input names; both must be in memory.
    Lookup,
    /// A product or convolution, the first call of its region.
    Anchor(Epilogues),
}

/// What the kernel of a product or convolution may do to a result before it writes it: the first three in this order, each once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epilogues {
    /// Add a constant row.
    pub bias: bool,
    /// Add a tensor of the result's shape.
    pub residual: bool,
    /// Apply one of these operators.
    pub activations: &'static [&'static str],
    /// Do anything elementwise behind these, if need be in a second kernel of its own.
    pub elementwise: bool,
    /// Both operands are dequantized, and the kernel can read them as they are stored; then anything elementwise may follow.
    pub dequantizes: bool,
    /// Add the products of a shortcut, another such call, to its own sums in place of a residual.
    pub takes_shortcut: bool,
    /// Be that shortcut.
    pub is_shortcut: bool,
    /// Have the products of another such call of its own result, which is not kept, in the same kernel.
    pub begins_chain: bool,
    /// Be that other call.
    pub ends_chain: bool,
}

/// What one kernel can hold, and the device that it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most calls of a region.
    pub calls: usize,
    /// Most values that a region reads and writes.
    pub operands: usize,
    /// Most elements of a row.
    pub columns: usize,
    /// Processors of the device; one of them computes a whole row.
    pub processors: usize,
    /// Bytes in which a float32 value is stored.
    pub float_bytes: usize,
}

/// What a backend says of a model whose calls may share kernels.
#[derive(Clone, Debug)]
pub struct Abilities {
    /// The role of each call of the main graph, by `NodeId::index`; `None` for one that runs alone.
    pub roles: Vec<Option<Role>>,
    /// The call of a fused function that each call stems from, by `NodeId::index`: a number for `origins`.
    pub origin_of: Vec<Option<usize>>,
    /// The names of the functions that were called.
    pub origins: Vec<Name>,
    /// What one kernel can hold.
    pub limits: Limits,
}

/// What a region without an anchor iterates over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// Sizes of the axes.
    pub shape: Vec<usize>,
    /// How many trailing axes are the columns of rows; 0 without rows.
    pub n_columns: usize,
}

impl Space {
    /// The shape of a value that there is one of for each row: the columns have size one.
    pub fn row_shape(&self) -> Vec<usize> {
        let n_rows = self.shape.len() - self.n_columns;
        self.shape.iter().enumerate().map(|(axis, &size)| if axis < n_rows { size } else { 1 }).collect()
    }
}

/// A call of a region as its iteration sees it.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// Its role.
    pub role: &'a Role,
    /// What it reads, by slot.
    pub inputs: Vec<Option<Operand<'a>>>,
    /// The shape of its result.
    pub output: &'a [usize],
}

/// A value that a call of a region reads.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// Its shape.
    pub shape: &'a [usize],
    /// A call of the same region computes it.
    pub is_inside: bool,
}

/// The iteration that all of `members` fit in, rows of at most `most_columns` elements. `None` when there is none: an anchor,
/// rows of several shapes, columns that are not the last axes, results of several shapes, a value inside that would have to
/// be broadcast or looked up.
pub fn space(members: &[Member], most_columns: usize) -> Option<Space> {
    let mut space: Option<Space> = None;
    for member in members {
        let Role::Row { columns, .. } = member.role else { continue };
        let shape = member.inputs.first()?.as_ref()?.shape;
        let first = shape.len().checked_sub(columns.len())?;
        let are_last = columns.iter().copied().eq(first..shape.len());
        if !are_last || shape[first..].iter().product::<usize>() > most_columns {
            return None;
        }
        let found = Space { shape: shape.to_vec(), n_columns: columns.len() };
        if *space.get_or_insert_with(|| found.clone()) != found {
            return None;
        }
    }
    let space = match space {
        Some(space) => space,
        None => Space { shape: members.first()?.output.to_vec(), n_columns: 0 },
    };
    let row_shape = space.row_shape();
    let is_held = |shape: &[usize]| shape == space.shape || (space.n_columns > 0 && shape == row_shape);
    let fits = |member: &Member| {
        let mut inside = member.inputs.iter().enumerate().filter_map(|(slot, input)| Some((slot, (*input)?)));
        let reads = |(slot, input): (usize, Operand)| {
            !input.is_inside
                || match member.role {
                    Role::Lookup | Role::Anchor(_) => false,
                    Role::Row { .. } => slot == 0 && input.shape == space.shape,
                    Role::Pointwise => is_held(input.shape),
                }
        };
        let gives = match member.role {
            Role::Anchor(_) => false,
            Role::Row { reduces: true, .. } => true,
            _ => is_held(member.output),
        };
        gives && inside.all(reads)
    };
    members.iter().all(fits).then_some(space)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A role, the shapes that it reads, and whether each is computed inside; the shape that it gives.
    type Row<'a> = (&'a Role, &'a [(&'a [usize], bool)], &'a [usize]);

    fn of(members: &[Row]) -> Option<Space> {
        let members: Vec<Member> = members
            .iter()
            .map(|&(role, inputs, output)| Member {
                role,
                inputs: inputs.iter().map(|&(shape, is_inside)| Some(Operand { shape, is_inside })).collect(),
                output,
            })
            .collect();
        space(&members, 1024)
    }

    fn row(columns: &[usize], reduces: bool) -> Role {
        Role::Row { columns: columns.to_vec(), reduces }
    }

    #[test]
    fn a_row_operator_decides_which_axes_are_columns() {
        let (mean, add) = (row(&[1], true), Role::Pointwise);
        let found = of(&[
            (&add, &[(&[4, 8], false)], &[4, 8]),
            (&mean, &[(&[4, 8], true)], &[4, 1]),
            (&add, &[(&[4, 8], true), (&[4, 1], true)], &[4, 8]),
        ]);
        assert_eq!(found, Some(Space { shape: vec![4, 8], n_columns: 1 }));
    }

    #[test]
    fn what_does_not_fit_one_iteration_has_none() {
        let (last, first) = (row(&[1], false), row(&[0], false));
        assert_eq!(of(&[(&first, &[(&[4, 8], false)], &[4, 8])]), None, "columns come last");
        assert_eq!(of(&[(&last, &[(&[4, 2048], false)], &[4, 2048])]), None, "the row is too long");
        let rows = [(&last, [(&[4, 8][..], false)], &[4, 8][..]), (&last, [(&[2, 8], false)], &[2, 8])];
        assert_eq!(
            of(&rows.each_ref().map(|(role, inputs, output)| (*role, &inputs[..], *output))),
            None,
            "two shapes"
        );
    }

    #[test]
    fn a_value_inside_is_neither_broadcast_nor_looked_up() {
        let (lookup, add) = (Role::Lookup, Role::Pointwise);
        assert_eq!(of(&[(&add, &[(&[4, 8], false), (&[8], true)], &[4, 8])]), None);
        assert_eq!(of(&[(&lookup, &[(&[4, 8], true), (&[4], false)], &[4, 8])]), None);
        assert!(of(&[(&add, &[(&[4, 8], false), (&[8], false)], &[4, 8])]).is_some());
    }
}
