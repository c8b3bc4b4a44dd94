//! SplitMix64: a stream of well-mixed numbers from any seed.

/// The output of the generator in this state; the next state is `state` plus the golden ratio, wrapping.
pub(crate) fn splitmix64(state: u64) -> u64 {
    let z = state.wrapping_add(GOLDEN);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// A seed for each iteration, zero-based: the output of the generator after `step` steps.
pub(crate) fn stream(seed: u64, step: usize) -> u64 {
    splitmix64(seed.wrapping_add((step as u64).wrapping_mul(GOLDEN)))
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs of the reference implementation (Vigna, 2015) for seed 1234567.
    #[test]
    fn numbers_are_those_of_the_reference() {
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([0, 1, 2].map(|step| stream(1_234_567, step)), expected);
    }
}
