//! User-facing choice of the storage of kernel banks.

use std::str::FromStr;

use dyconv_engine::{EngineError, Options, Plan, Storage};
use dyconv_graph::{Graph, TensorSource};

/// [`Bank::Auto`] chooses the smallest bank for which the outputs for probe inputs deviate by at most this fraction of
/// the largest output.
pub const AUTO_BOUND: f64 = 0.01;

/// Storage of the kernel banks of dynamic convolutions. Anything but `F32` also stores the routers' matrices as bf16,
/// and changes the outputs a little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Bank {
    /// Exact, four bytes per weight.
    #[default]
    F32,
    /// Two bytes per weight.
    Bf16,
    /// One byte per weight, with a scale per kernel and output channel.
    Int8,
    /// The smallest bank that stays within [`AUTO_BOUND`].
    Auto,
}

impl Bank {
    /// All choices, in the order of the documentation.
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

    /// The storage; `None` for `Auto`, which depends on the network.
    pub fn storage(self) -> Option<Storage> {
        match self {
            Self::F32 => Some(Storage::F32),
            Self::Bf16 => Some(Storage::Bf16),
            Self::Int8 => Some(Storage::Int8),
            Self::Auto => None,
        }
    }

    /// Compiles a network; `options.bank` is ignored. For `Auto` also returns the deviation of the chosen bank, as a
    /// fraction of the largest output.
    ///
    /// # Errors
    /// As for [`Plan::with_options`].
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

impl From<Storage> for Bank {
    fn from(storage: Storage) -> Self {
        match storage {
            Storage::F32 => Self::F32,
            Storage::Bf16 => Self::Bf16,
            Storage::Int8 => Self::Int8,
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
            assert!(bank.storage().is_none_or(|storage| Bank::from(storage) == bank));
        }
        let error = "fp16".parse::<Bank>().unwrap_err();
        assert_eq!(error, "unknown bank storage `fp16`; expected one of f32, bf16, int8, auto");
    }
}
