//! Strongly connected components of the classes: only within one can a choice be cyclic.

/// The component of each class, and the number of classes in each component, for `children(class)` as edges.
///
/// Tarjan, SIAM Journal on Computing 1, 1972, with a stack of its own, so that depth costs no call frames.
pub(super) fn components(children: &[Vec<usize>]) -> (Vec<usize>, Vec<usize>) {
    const NONE: usize = usize::MAX;
    let n = children.len();
    let (mut index, mut low) = (vec![NONE; n], vec![0; n]);
    let (mut component, mut sizes) = (vec![NONE; n], Vec::new());
    let (mut open, mut next) = (Vec::new(), 0);
    for start in 0..n {
        if index[start] != NONE {
            continue;
        }
        let mut stack = vec![(start, 0)];
        while let Some((class, edge)) = stack.pop() {
            if edge == 0 {
                index[class] = next;
                low[class] = next;
                next += 1;
                open.push(class);
            }
            if let Some(&child) = children[class].get(edge) {
                stack.push((class, edge + 1));
                if index[child] == NONE {
                    stack.push((child, 0));
                } else if component[child] == NONE {
                    low[class] = low[class].min(index[child]);
                }
                continue;
            }
            if low[class] == index[class] {
                let at = open.iter().rposition(|&other| other == class).unwrap_or(0);
                sizes.push(open.len() - at);
                for member in open.drain(at..) {
                    component[member] = sizes.len() - 1;
                }
            }
            if let Some(&(parent, _)) = stack.last() {
                low[parent] = low[parent].min(low[class]);
            }
        }
    }
    (component, sizes)
}

#[cfg(test)]
mod tests {
    use super::components;

    #[test]
    fn what_reaches_each_other_is_one_component() {
        let (component, sizes) = components(&[vec![1], vec![2], vec![0, 3], vec![4], vec![], vec![4, 0]]);
        assert!(component[0] == component[1] && component[1] == component[2]);
        assert_eq!([0, 3, 4, 5].map(|class| sizes[component[class]]), [3, 1, 1, 1]);
    }

    #[test]
    fn a_long_chain_takes_no_call_frames() {
        let chain: Vec<Vec<usize>> =
            (0..200_000).map(|class: usize| class.checked_sub(1).into_iter().collect()).collect();
        assert_eq!(components(&chain).1.len(), 200_000);
    }
}
