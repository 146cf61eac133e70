//! # Arithmetic without branches
//!
//! What `u64`'s own methods compute. BPF has no conditional move, so each of those becomes two
//! branches, and the verifier walks what follows once for each way through them. Here carries are
//! computed from bits, in a form that LLVM leaves alone: it turns `x & !(y >> 63)` into a branch.

/// `a.saturating_add(b)`.
#[inline(always)]
pub const fn sum(a: u64, b: u64) -> u64 {
    let sum = a.wrapping_add(b);
    let carry = (a & b) | ((a | b) & !sum);
    sum | (carry >> 63).wrapping_neg()
}

/// `a.saturating_sub(b)`: `!a` is `MAX - a`.
#[inline(always)]
pub const fn difference(a: u64, b: u64) -> u64 {
    !sum(!a, b)
}

/// `a.min(b)`.
#[inline(always)]
pub const fn at_most(a: u64, b: u64) -> u64 {
    a.wrapping_sub(difference(a, b))
}

/// `a.max(b)`.
#[inline(always)]
pub const fn at_least(a: u64, b: u64) -> u64 {
    a.wrapping_add(difference(b, a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_are_those_of_the_standard_library() {
        // Each power of two and its neighbours: every carry into and out of the highest bit.
        let near = |bit: u32| [1 << bit, (1 << bit) - 1, (1 << bit) + 1, u64::MAX - (1 << bit)];
        let numbers: Vec<u64> = (0..64).flat_map(near).collect();
        for (&a, &b) in numbers.iter().flat_map(|a| numbers.iter().map(move |b| (a, b))) {
            assert_eq!(sum(a, b), a.saturating_add(b), "{a} + {b}");
            assert_eq!(difference(a, b), a.saturating_sub(b), "{a} - {b}");
            assert_eq!(at_most(a, b), a.min(b), "the smaller of {a} and {b}");
            assert_eq!(at_least(a, b), a.max(b), "the larger of {a} and {b}");
        }
    }
}
