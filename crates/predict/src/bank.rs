//! How kernel banks are stored, as people choose it.

use std::str::FromStr;

use dyconv_engine::{EngineError, Options, Plan, Storage};
use dyconv_graph::{Graph, TensorSource};

/// [`Bank::Auto`] keeps the smallest bank whose answers to probe inputs deviate by at most this share of the largest answer.
pub const AUTO_BOUND: f64 = 0.01;

/// How the kernel banks of dynamic convolutions are stored. Anything but `F32` also stores the routers' matrices as bf16, and
/// changes the answers a little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Bank {
    /// Exact, four bytes a weight.
    #[default]
    F32,
    /// Two bytes a weight.
    Bf16,
    /// One byte a weight, with a scale per kernel and output channel.
    Int8,
    /// The smallest that stays within [`AUTO_BOUND`].
    Auto,
}

impl Bank {
    /// Every choice, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::F32, Self::Bf16, Self::Int8, Self::Auto];

    /// `f32`, `bf16`, `int8` or `auto`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Auto => "auto",
        }
    }

    /// The storage that is asked for by name; `None` for `Auto`, which looks at the network first.
    pub fn storage(self) -> Option<Storage> {
        match self {
            Self::F32 => Some(Storage::F32),
            Self::Bf16 => Some(Storage::Bf16),
            Self::Int8 => Some(Storage::Int8),
            Self::Auto => None,
        }
    }

    /// Compiles a network; `options.bank` is not read. For `Auto` also returns the deviation of what was chosen, as a share of
    /// the largest answer.
    ///
    /// # Errors
    /// As [`Plan::with_options`].
    pub fn compile(
        self,
        graph: &Graph,
        weights: &dyn TensorSource,
        tau: f32,
        options: Options,
    ) -> Result<(Plan, Option<f64>), EngineError> {
        match self.storage() {
            Some(bank) => Ok((Plan::with_options(graph, weights, tau, Options { bank, ..options })?, None)),
            None => {
                let (plan, deviation) = Plan::smallest_within(graph, weights, tau, AUTO_BOUND, options)?;
                Ok((plan, Some(deviation)))
            }
        }
    }
}

impl FromStr for Bank {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|bank| bank.name() == text);
        found.ok_or_else(|| format!("unknown bank storage `{text}`; expected one of {names}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_to_what_they_name() {
        for bank in Bank::ALL {
            assert_eq!(bank.name().parse(), Ok(bank));
        }
        let error = "fp16".parse::<Bank>().unwrap_err();
        assert_eq!(error, "unknown bank storage `fp16`; expected one of f32, bf16, int8, auto");
    }
}
