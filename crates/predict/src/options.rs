//! How a model is made ready to answer.

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
    /// Threads of one prediction, the caller's included; 1 unless set. Fewer where the system refuses more. Answers do not
    /// depend on their number.
    pub threads: usize,
    /// How kernel banks are stored; exact unless set.
    pub bank: Bank,
    /// What convolutions multiply; f32 unless set.
    pub precision: Precision,
    /// Largest image that is decoded, in pixels; 100 million unless set.
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

    /// Threads of one prediction, the caller's included.
    ///
    /// # Panics
    /// When there are none.
    #[must_use]
    pub fn threads(self, threads: usize) -> Self {
        assert!(threads > 0, "a prediction takes at least the caller's thread");
        Self { threads, ..self }
    }

    /// How kernel banks are stored.
    #[must_use]
    pub fn bank(self, bank: Bank) -> Self {
        Self { bank, ..self }
    }

    /// What convolutions multiply.
    #[must_use]
    pub fn precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Largest image that is decoded, in pixels.
    #[must_use]
    pub fn max_pixels(self, max_pixels: usize) -> Self {
        Self { max_pixels, ..self }
    }
}
