//! The random numbers of a picture.

use dyconv_data::Split;
use rand::SeedableRng;

/// The random number generator; every picture has its own.
pub(crate) type Random = rand_chacha::ChaCha8Rng;

/// The generator of picture `index` of a split.
pub(crate) fn generator(seed: u64, split: Split, index: u64) -> Random {
    let mut key = [0; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip([seed, u64::from(split == Split::Val), index, 0]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    Random::from_seed(key)
}
