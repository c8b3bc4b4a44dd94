//! Options for compiling and running a model.

use dyconv_data::DecodeOptions;
use dyconv_engine::Precision;

use crate::bank::Bank;

/// Threads, kernel banks, precision and image limits of a [`Predictor`](crate::Predictor).
///
/// ```
/// use dyconv_predict::{Bank, ModelOptions};
///
/// let options = ModelOptions::new().threads(4).bank(Bank::Auto);
/// assert_eq!(options.threads, 4);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct ModelOptions {
    /// Number of threads of one prediction, including the caller's; 1 by default. There are fewer if the system refuses
    /// more. Predictions do not depend on the number.
    pub threads: usize,
    /// Storage of kernel banks; exact by default.
    pub bank: Bank,
    /// Precision of the products in convolutions; f32 by default.
    pub precision: Precision,
    /// Size of the largest image that is decoded, in pixels; 100 million by default.
    pub max_pixels: usize,
}

impl Default for ModelOptions {
    fn default() -> Self {
        let max_pixels = DecodeOptions::default().max_pixels;
        Self { threads: 1, bank: Bank::default(), precision: Precision::default(), max_pixels }
    }
}

impl ModelOptions {
    /// One thread, exact banks, f32.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the number of threads of one prediction, including the caller's.
    ///
    /// # Panics
    /// If it is zero.
    #[must_use]
    pub fn threads(self, threads: usize) -> Self {
        assert!(threads > 0, "a prediction takes at least the caller's thread");
        Self { threads, ..self }
    }

    /// Sets the storage of kernel banks.
    #[must_use]
    pub fn bank(self, bank: Bank) -> Self {
        Self { bank, ..self }
    }

    /// Sets the precision of the products in convolutions.
    #[must_use]
    pub fn precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Sets the size of the largest image that is decoded, in pixels.
    #[must_use]
    pub fn max_pixels(self, max_pixels: usize) -> Self {
        Self { max_pixels, ..self }
    }
}
