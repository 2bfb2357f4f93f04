//! Symbolic dimensions: integer polynomials over named symbols, plus floor-division atoms, in normal form.
//!
//! Two dims are equal exactly when their normal forms are. What the form cannot express becomes a fresh symbol; there
//! is no maximum and no solver, and a minimum is a symbol whose name tells of what. Symbols stand for sizes, so they are
//! never negative. All arithmetic is checked: an operation that leaves `i64` gives `None`.

use smol_str::SmolStr;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A dimension of a shape, or an integer computed from dimensions.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dim(Repr);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    Known(i64),
    Poly(Arc<Poly>),
}

/// Terms by monomial; no coefficient is zero, and the polynomial is not a constant.
type Poly = BTreeMap<Monomial, i64>;
/// Powers of atoms, ascending; empty for the constant term.
type Monomial = Vec<(Atom, u32)>;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Atom {
    Symbol(SmolStr),
    FloorDiv(Dim, Dim),
}

/// Terms that a product may have before like ones are joined.
const MAX_TERMS: usize = 4096;

impl Dim {
    /// The known dim `size`.
    pub const fn known(size: i64) -> Self {
        Dim(Repr::Known(size))
    }

    /// The symbol `name`.
    pub fn symbol(name: impl Into<SmolStr>) -> Self {
        Dim(Repr::Poly(Arc::new(Poly::from([(vec![(Atom::Symbol(name.into()), 1)], 1)]))))
    }

    /// A dim that nothing is known of: a symbol of its own, told apart by `scope` and `index`.
    pub fn fresh(scope: &str, index: usize) -> Self {
        Dim::symbol(format!("?{scope}.{index}"))
    }

    /// The smaller of this dim and `bound`, as a symbol of which [`Dim::is_minimum_of`] tells all that is known.
    pub fn minimum(&self, bound: i64) -> Self {
        Dim::symbol(format!("?min({self}, {bound})"))
    }

    /// True when it is the smaller of `other` and a known bound of at least 1. What broadcasts it together with `other` has the
    /// size `other`: it is equal to that, or it is the bound, which a larger size meets only when the bound is 1.
    pub fn is_minimum_of(&self, other: &Dim) -> bool {
        let Some(name) = self.as_symbol().filter(|name| name.starts_with("?min(")) else { return false };
        let bound = name.strip_prefix(&format!("?min({other}, ")).and_then(|rest| rest.strip_suffix(')'));
        bound.and_then(|bound| bound.parse::<i64>().ok()).is_some_and(|bound| bound >= 1)
    }

    /// True when it holds a fresh symbol, so that comparing it with another dim proves nothing.
    pub fn is_unknown(&self) -> bool {
        let mut unknown = false;
        self.each_symbol(&mut |name| unknown |= name.starts_with('?'));
        unknown
    }

    /// Its value, when it has no symbols.
    pub fn as_known(&self) -> Option<i64> {
        match self.0 {
            Repr::Known(size) => Some(size),
            Repr::Poly(_) => None,
        }
    }

    /// Its value as a size, when it is known and not negative.
    pub fn as_size(&self) -> Option<usize> {
        self.as_known().and_then(|size| usize::try_from(size).ok())
    }

    /// True when it is the known dim `size`.
    pub fn is(&self, size: i64) -> bool {
        self.as_known() == Some(size)
    }

    /// Its name, when it is one bare symbol.
    pub fn as_symbol(&self) -> Option<&SmolStr> {
        match &self.0 {
            Repr::Poly(poly) => match poly.first_key_value() {
                Some((monomial, 1)) if poly.len() == 1 => match monomial.as_slice() {
                    [(Atom::Symbol(name), 1)] => Some(name),
                    _ => None,
                },
                _ => None,
            },
            Repr::Known(_) => None,
        }
    }

    /// `self + other`; `None` on overflow.
    pub fn add(&self, other: &Dim) -> Option<Dim> {
        if let (Some(a), Some(b)) = (self.as_known(), other.as_known()) {
            return a.checked_add(b).map(Dim::known);
        }
        let mut sum = self.to_poly();
        for (monomial, coefficient) in other.to_poly() {
            insert(&mut sum, monomial, coefficient)?;
        }
        Some(from_poly(sum))
    }

    /// `self - other`; `None` on overflow.
    pub fn sub(&self, other: &Dim) -> Option<Dim> {
        self.add(&other.mul(&Dim::known(-1))?)
    }

    /// `self * other`; `None` on overflow, of the number of terms too.
    pub fn mul(&self, other: &Dim) -> Option<Dim> {
        if let (Some(a), Some(b)) = (self.as_known(), other.as_known()) {
            return a.checked_mul(b).map(Dim::known);
        }
        let mut product = Poly::new();
        let (left, right) = (self.to_poly(), other.to_poly());
        // A product of a hundred sums has more terms than memory holds; no shape of a model has a thousand.
        if left.len().saturating_mul(right.len()) > MAX_TERMS {
            return None;
        }
        for (left_monomial, left_coefficient) in left {
            for (right_monomial, right_coefficient) in &right {
                let mut powers: BTreeMap<Atom, u32> = left_monomial.iter().cloned().collect();
                for (atom, power) in right_monomial {
                    let total = powers.entry(atom.clone()).or_insert(0);
                    *total = total.checked_add(*power)?;
                }
                insert(&mut product, powers.into_iter().collect(), left_coefficient.checked_mul(*right_coefficient)?)?;
            }
        }
        Some(from_poly(product))
    }

    /// The floor of `self / other`; `None` when `other` is the known dim 0, or on overflow.
    ///
    /// A symbolic divisor is taken to be positive, as sizes are that divide others.
    pub fn floor_div(&self, other: &Dim) -> Option<Dim> {
        match (self.as_known(), other.as_known()) {
            (_, Some(0)) => return None,
            (_, Some(1)) => return Some(self.clone()),
            (Some(0), _) => return Some(Dim::known(0)),
            (Some(a), Some(b)) => return floor_div(a, b).map(Dim::known),
            _ => {}
        }
        if self == other {
            return Some(Dim::known(1));
        }
        // Terms that the divisor divides exactly leave the floor: floor((q*d + r) / d) == q + floor(r / d).
        let divisor = other.to_poly();
        let (mut quotient, mut rest) = (Poly::new(), Poly::new());
        match divisor.first_key_value() {
            Some((divisor_monomial, divisor_coefficient)) if divisor.len() == 1 => {
                for (monomial, coefficient) in self.to_poly() {
                    let exact = coefficient.checked_rem(*divisor_coefficient)? == 0;
                    match divide_monomial(&monomial, divisor_monomial).filter(|_| exact) {
                        Some(result) => insert(&mut quotient, result, coefficient.checked_div(*divisor_coefficient)?)?,
                        None => insert(&mut rest, monomial, coefficient)?,
                    }
                }
            }
            _ => rest = self.to_poly(),
        }
        let rest = from_poly(rest);
        let floor_of_rest = match (rest.as_known(), other.as_known()) {
            (Some(0), _) => Dim::known(0),
            (Some(a), Some(b)) => Dim::known(floor_div(a, b)?),
            _ => from_poly(Poly::from([(vec![(Atom::FloorDiv(rest, other.clone()), 1)], 1)])),
        };
        from_poly(quotient).add(&floor_of_rest)
    }

    /// `self / other` as a polynomial, when `other` divides it without a rest; `None` when it does not, or on overflow.
    pub fn exact_div(&self, other: &Dim) -> Option<Dim> {
        if let (Some(a), Some(b)) = (self.as_known(), other.as_known()) {
            return if a.checked_rem(b)? == 0 { a.checked_div(b).map(Dim::known) } else { None };
        }
        let (divisor, mut rest, mut quotient) = (other.to_poly(), self.to_poly(), Poly::new());
        let (lead, lead_coefficient) = leading(&divisor)?;
        // Long division by leading terms. Each step lowers the leading term; the bound is for powers made to be large.
        for _ in 0..256 {
            let Some((monomial, coefficient)) = leading(&rest) else { return Some(from_poly(quotient)) };
            if coefficient.checked_rem(lead_coefficient)? != 0 {
                return None;
            }
            let (factor, scale) = (divide_monomial(monomial, lead)?, coefficient.checked_div(lead_coefficient)?);
            insert(&mut quotient, factor.clone(), scale)?;
            let step = from_poly(Poly::from([(factor, scale)])).mul(other)?;
            rest = from_poly(rest).sub(&step)?.to_poly();
        }
        None
    }

    /// A number that it never falls below, given that symbols are not negative; `None` when none is found.
    pub fn lower_bound(&self) -> Option<i64> {
        let Repr::Poly(poly) = &self.0 else { return self.as_known() };
        let mut sum = 0i64;
        for (monomial, coefficient) in poly.iter() {
            let mut least = 1i64;
            for (atom, power) in monomial {
                let bound = match atom {
                    Atom::Symbol(_) => 0,
                    Atom::FloorDiv(a, b) => match b.as_known() {
                        Some(by) if by > 0 => floor_div(a.lower_bound()?, by)?,
                        _ => a.lower_bound().filter(|&least| least >= 0).map(|_| 0)?,
                    },
                };
                // A bound below zero bounds a product only when it stands alone.
                if bound < 0 && (monomial.len() > 1 || *power > 1) {
                    return None;
                }
                least = least.checked_mul(bound.checked_pow(*power)?)?;
            }
            if *coefficient < 0 && !monomial.is_empty() {
                return None;
            }
            sum = sum.checked_add(least.checked_mul(*coefficient)?)?;
        }
        Some(sum)
    }

    /// The ceiling of `self / other`; `None` as for [`Dim::floor_div`].
    pub fn ceil_div(&self, other: &Dim) -> Option<Dim> {
        self.add(other)?.sub(&Dim::known(1))?.floor_div(other)
    }

    /// The same dim with each symbol replaced by what `value_of` gives for it; `None` on overflow or division by zero.
    pub fn substitute(&self, value_of: &dyn Fn(&str) -> Option<Dim>) -> Option<Dim> {
        let Repr::Poly(poly) = &self.0 else { return Some(self.clone()) };
        let mut sum = Dim::known(0);
        for (monomial, coefficient) in poly.iter() {
            let mut term = Dim::known(*coefficient);
            for (atom, power) in monomial {
                let factor = match atom {
                    Atom::Symbol(name) => value_of(name).unwrap_or_else(|| Dim::symbol(name.clone())),
                    Atom::FloorDiv(a, b) => a.substitute(value_of)?.floor_div(&b.substitute(value_of)?)?,
                };
                for _ in 0..*power {
                    term = term.mul(&factor)?;
                }
            }
            sum = sum.add(&term)?;
        }
        Some(sum)
    }

    /// Calls `visit` with every symbol in it, repeats included.
    pub fn each_symbol(&self, visit: &mut dyn FnMut(&SmolStr)) {
        let Repr::Poly(poly) = &self.0 else { return };
        for (atom, _) in poly.keys().flatten() {
            match atom {
                Atom::Symbol(name) => visit(name),
                Atom::FloorDiv(a, b) => {
                    a.each_symbol(visit);
                    b.each_symbol(visit);
                }
            }
        }
    }

    /// Reads what [`Display`](fmt::Display) prints: `+ - *`, `floor(a/b)` (also `a//b` as PyTorch writes it), parentheses, integers, symbols.
    ///
    /// `None` when the text is anything else; the caller then takes the whole text as one symbol.
    pub fn parse(text: &str) -> Option<Dim> {
        let mut parser = DimParser { rest: text.trim(), depth: 0 };
        let dim = parser.sum()?;
        parser.rest.trim().is_empty().then_some(dim)
    }

    fn to_poly(&self) -> Poly {
        match &self.0 {
            Repr::Known(0) => Poly::new(),
            Repr::Known(size) => Poly::from([(Vec::new(), *size)]),
            Repr::Poly(poly) => Poly::clone(poly),
        }
    }
}

fn from_poly(poly: Poly) -> Dim {
    match poly.first_key_value() {
        None => Dim::known(0),
        Some((monomial, coefficient)) if poly.len() == 1 && monomial.is_empty() => Dim::known(*coefficient),
        Some(_) => Dim(Repr::Poly(Arc::new(poly))),
    }
}

fn insert(poly: &mut Poly, monomial: Monomial, coefficient: i64) -> Option<()> {
    let sum = poly.get(&monomial).copied().unwrap_or(0).checked_add(coefficient)?;
    if sum == 0 {
        poly.remove(&monomial);
    } else {
        poly.insert(monomial, sum);
    }
    Some(())
}

fn floor_div(a: i64, b: i64) -> Option<i64> {
    let quotient = a.checked_div(b)?;
    if a.checked_rem(b)? != 0 && (a < 0) != (b < 0) { quotient.checked_sub(1) } else { Some(quotient) }
}

fn divide_monomial(dividend: &Monomial, divisor: &Monomial) -> Option<Monomial> {
    let mut powers: BTreeMap<Atom, u32> = dividend.iter().cloned().collect();
    for (atom, power) in divisor {
        let left = powers.get(atom)?.checked_sub(*power)?;
        if left == 0 {
            powers.remove(atom);
        } else {
            powers.insert(atom.clone(), left);
        }
    }
    Some(powers.into_iter().collect())
}

/// The term with the largest monomial: more of the first atom first, so that leading terms multiply.
fn leading(poly: &Poly) -> Option<(&Monomial, i64)> {
    fn larger(a: &Monomial, b: &Monomial) -> Ordering {
        for ((left, left_power), (right, right_power)) in a.iter().zip(b) {
            // The one that has the smaller atom at all has more of it.
            let order = right.cmp(left).then(left_power.cmp(right_power));
            if order != Ordering::Equal {
                return order;
            }
        }
        a.len().cmp(&b.len())
    }
    poly.iter().max_by(|(a, _), (b, _)| larger(a, b)).map(|(monomial, coefficient)| (monomial, *coefficient))
}

impl From<i64> for Dim {
    fn from(size: i64) -> Self {
        Dim::known(size)
    }
}

impl From<usize> for Dim {
    fn from(size: usize) -> Self {
        // A size in memory never exceeds isize::MAX bytes.
        Dim::known(i64::try_from(size).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let poly = match &self.0 {
            Repr::Known(size) => return write!(f, "{size}"),
            Repr::Poly(poly) => poly,
        };
        // The constant term sorts first but reads best last.
        for (index, (monomial, coefficient)) in poly.iter().rev().enumerate() {
            let sign = match (*coefficient < 0, index) {
                (true, 0) => "-",
                (true, _) => " - ",
                (false, 0) => "",
                (false, _) => " + ",
            };
            f.write_str(sign)?;
            let magnitude = coefficient.unsigned_abs();
            let mut separator = "";
            if magnitude != 1 || monomial.is_empty() {
                write!(f, "{magnitude}")?;
                separator = "*";
            }
            for (atom, power) in monomial {
                for _ in 0..*power {
                    match atom {
                        Atom::Symbol(name) => write!(f, "{separator}{name}")?,
                        Atom::FloorDiv(a, b) => write!(f, "{separator}floor(({a})/({b}))")?,
                    }
                    separator = "*";
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

struct DimParser<'a> {
    rest: &'a str,
    depth: u32,
}

impl DimParser<'_> {
    fn eat(&mut self, token: &str) -> bool {
        match self.rest.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn sum(&mut self) -> Option<Dim> {
        let mut sum = self.product()?;
        loop {
            if self.eat("+") {
                sum = sum.add(&self.product()?)?;
            } else if self.eat("-") {
                sum = sum.sub(&self.product()?)?;
            } else {
                return Some(sum);
            }
        }
    }

    fn product(&mut self) -> Option<Dim> {
        let mut product = self.atom()?;
        loop {
            if self.eat("*") {
                product = product.mul(&self.atom()?)?;
            } else if self.eat("//") {
                product = product.floor_div(&self.atom()?)?;
            } else {
                return Some(product);
            }
        }
    }

    fn atom(&mut self) -> Option<Dim> {
        // Names come from files: nesting is bounded so that a row of parentheses cannot exhaust the stack.
        self.depth += 1;
        if self.depth > 32 {
            return None;
        }
        let atom = self.atom_within();
        self.depth -= 1;
        atom
    }

    fn atom_within(&mut self) -> Option<Dim> {
        if self.eat("floor(") {
            let numerator = self.product()?;
            let quotient = if self.eat("/") { numerator.floor_div(&self.atom()?)? } else { numerator };
            return self.eat(")").then_some(quotient);
        }
        if self.eat("(") {
            let inner = self.sum()?;
            return self.eat(")").then_some(inner);
        }
        if self.eat("-") {
            return self.atom()?.mul(&Dim::known(-1));
        }
        let text = self.rest.trim_start();
        let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.rest = rest;
        match word.chars().next()? {
            '0'..='9' => word.parse().ok().map(Dim::known),
            _ => Some(Dim::symbol(word)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dim(text: &str) -> Dim {
        Dim::parse(text).expect(text)
    }

    #[test]
    fn a_minimum_tells_of_which_dim_it_is() {
        let minimum = dim("m + 1").minimum(512);
        assert!(minimum.is_minimum_of(&dim("1 + m")) && minimum.is_unknown());
        assert!(!minimum.is_minimum_of(&dim("m")) && !dim("m").is_minimum_of(&dim("m")));
        assert!(!dim("m").minimum(0).is_minimum_of(&dim("m")), "nothing meets an empty axis");
    }

    #[test]
    fn equal_expressions_have_one_normal_form() {
        assert_eq!(dim("n + 2*m - n"), dim("m*2"));
        assert_eq!(dim("(n + 1)*(n - 1)"), dim("n*n - 1"));
        assert_eq!(dim("n - n"), Dim::known(0));
    }

    #[test]
    fn division_cancels_what_it_divides_exactly() {
        assert_eq!(dim("n*128*12*64").floor_div(&dim("n*128")), Some(dim("768")));
        assert_eq!(dim("4*n + 3").floor_div(&dim("2")), Some(dim("2*n + 1")));
        assert_eq!(dim("-7").floor_div(&dim("2")), Some(dim("-4")));
        assert_eq!(dim("n").floor_div(&dim("0")), None);
    }

    #[test]
    fn what_does_not_cancel_stays_under_the_floor() {
        let half = dim("n - 1").floor_div(&dim("2")).expect("divisible");
        let at = |n: i64| half.substitute(&|_| Some(Dim::known(n))).and_then(|d| d.as_known());
        assert_eq!((at(0), at(1), at(7), at(8)), (Some(-1), Some(0), Some(3), Some(3)));
    }

    #[test]
    fn exact_division_finds_polynomial_quotients_and_nothing_else() {
        let exact = |a: &str, b: &str| dim(a).exact_div(&dim(b));
        assert_eq!(exact("b*(p + s)*768", "12*(s + p)*b"), Some(dim("64")));
        assert_eq!(exact("n*n - m*m", "n - m"), Some(dim("n + m")));
        assert_eq!(exact("n*n*m + n*m*m", "n*m"), Some(dim("n + m")));
        assert_eq!(exact("n + 1", "n"), None);
        assert_eq!(exact("3*n", "2"), None);
        assert_eq!(exact("0*n", "n"), Some(dim("0")));
        assert_eq!(exact("n", "0"), None);
    }

    #[test]
    fn a_lower_bound_is_never_above_the_least_value() {
        let bound = |text: &str| dim(text).lower_bound();
        assert_eq!(bound("2*n + m*n + 3"), Some(3));
        assert_eq!(bound("n - 1"), Some(-1));
        assert_eq!(bound("floor((n - 1)/(2)) + 1"), Some(0));
        assert_eq!(bound("n - m"), None);
        assert_eq!(bound("floor((n - 1)/(2))*m"), None);
    }

    #[test]
    fn overflow_is_not_wrapped() {
        assert_eq!(Dim::known(i64::MAX).add(&Dim::known(1)), None);
        assert_eq!(Dim::known(1 << 40).mul(&Dim::known(1 << 40)), None);
        assert_eq!(Dim::known(i64::MIN).floor_div(&Dim::known(-1)), None);
    }

    #[test]
    fn what_is_printed_reads_back() {
        for text in ["n", "2*n + m - 3", "floor((n - 1)/(2)) + 1", "batch*12*floor((s)/(m))", "-n"] {
            let first = dim(text);
            assert_eq!(dim(&first.to_string()), first, "{text}");
        }
    }

    #[test]
    fn a_hostile_expression_is_refused_in_bounded_stack() {
        assert_eq!(Dim::parse(&"(".repeat(1_000_000)), None);
        assert_eq!(Dim::parse("n ?"), None);
        assert_eq!(Dim::parse(&["(a + b + c + d + e)"; 1000].join("*")), None);
    }
}
