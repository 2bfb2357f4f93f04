//! A reproducible source of choices that records what it gives, so that a draw can be repeated with simpler choices.

/// The number after `state`: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
pub(in crate::rules) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The choices that an instance was drawn by. Contents have a list of their own, so that another shape leaves the choices of
/// what is drawn after it where they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tape {
    /// Of attributes, shapes, and the kind of contents.
    pub structure: Vec<u64>,
    /// Of the contents of inputs and weights.
    pub contents: Vec<u64>,
}

impl Tape {
    /// True when `self` draws the simpler instance.
    pub(super) fn is_simpler(&self, other: &Tape) -> bool {
        let key = |tape: &Tape| tape.structure.len() + tape.contents.len();
        (key(self), &self.structure, &self.contents) < (key(other), &other.structure, &other.contents)
    }
}

/// A source of choices: [`split_mix`], or a tape of earlier choices.
///
/// In every choice 0 is the simplest: what shrinks a tape shrinks what is drawn from it.
pub(super) struct Random {
    state: u64,
    script: Tape,
    /// What follows the script: chance, or the simplest choices.
    is_random: bool,
    sizes: &'static [usize],
    /// True while contents are drawn.
    pub is_content: bool,
    /// What was chosen so far.
    pub tape: Tape,
}

// 1 often, primes that tell axes apart, now and then a composite, seldom nothing at all.
const SIZES: &[usize] = &[1, 2, 3, 1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 7, 1, 2, 3, 2, 3, 0];

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self::after(Tape::default(), seed)
    }

    /// The choices of `tape`; the simplest ones beyond its end.
    pub(super) fn replay(tape: Tape) -> Self {
        Self { is_random: false, ..Self::after(tape, 0) }
    }

    /// The choices of `tape`; random ones beyond its end.
    pub(super) fn after(tape: Tape, seed: u64) -> Self {
        Self { state: seed, script: tape, is_random: true, sizes: SIZES, is_content: false, tape: Tape::default() }
    }

    /// The structure of `tape` with one to three other choices, and other contents.
    pub(super) fn near(tape: &Tape, seed: u64) -> Self {
        let mut random = Self::new(seed);
        let mut structure = tape.structure.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(structure.len());
            if let Some(choice) = structure.get_mut(at) {
                *choice = split_mix(&mut random.state);
            }
        }
        Self::after(Tape { structure, contents: Vec::new() }, random.state)
    }

    /// A number in `0..n`.
    pub(super) fn choose(&mut self, n: u64) -> u64 {
        let (script, tape) = if self.is_content {
            (&self.script.contents, &mut self.tape.contents)
        } else {
            (&self.script.structure, &mut self.tape.structure)
        };
        let chosen = match script.get(tape.len()) {
            Some(&chosen) => chosen,
            None if self.is_random => split_mix(&mut self.state),
            None => 0,
        } % n.max(1);
        tape.push(chosen);
        chosen
    }

    /// A number in `0..n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.choose(n as u64) as usize
    }

    /// True once in `n` times; false is the simplest.
    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// One of `items`, the first being the simplest.
    pub(super) fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }

    /// Decides which sizes are drawn from here on: mixed ones, or nearly equal ones, which fit each other where axes are mixed
    /// up, and broadcast.
    pub(super) fn choose_sizes(&mut self) {
        self.sizes = self.pick(&[SIZES, SIZES, &[2, 2, 2, 2, 2, 1], &[3, 3, 1]]);
    }

    /// A size.
    pub(super) fn size(&mut self) -> usize {
        self.pick(self.sizes)
    }

    pub(super) fn sizes(&mut self, rank: usize) -> Vec<usize> {
        (0..rank).map(|_| self.size()).collect()
    }

    pub(super) fn permutation(&mut self, n: usize) -> Vec<i64> {
        let mut items: Vec<i64> = (0..n as i64).collect();
        for at in (1..n).rev() {
            // The simplest choice leaves the item where it is.
            items.swap(at, at - self.below(at + 1));
        }
        items
    }

    /// `axis` of a tensor of so many axes, counted from the end now and then.
    pub(super) fn signed_axis(&mut self, axis: i64, rank: usize) -> i64 {
        if self.one_in(3) { axis - rank as i64 } else { axis }
    }
}
