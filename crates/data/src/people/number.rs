//! Numbers in annotations, as various tools write them: COCO's `17`, but also `17.0`, `"17"`, and for a flag `true` or
//! `null`.
//!
//! Everything unambiguous is read exactly; the notation is kept, so that it can be reported.

use std::fmt;

use serde::de::{Error, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// Up to here f64 represents every integer.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The notation of a number in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Written {
    /// As COCO writes it.
    #[default]
    Usual,
    /// An integer with a fraction or an exponent: `17.0`, `1e3`.
    Decimal,
    /// A number in quotation marks.
    Text,
    /// `true`, `false` or `null` instead of 1 or 0.
    Word,
}

/// An integer with all 64 bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole {
    pub value: u64,
    pub written: Written,
}

/// 0 or 1; 0 if it is missing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flag {
    pub value: bool,
    pub written: Written,
}

/// A list of numbers; NaN for `null`.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers {
    pub values: Vec<f64>,
    /// Whether some are in quotation marks.
    pub text: bool,
}

/// One number, or `null`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Real {
    /// NaN for `null`.
    pub value: f64,
    pub written: Written,
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number of 0 or more that 64 bits hold exactly")
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Whole, E> {
                Ok(Whole { value, written: Written::Usual })
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Whole, E> {
                match value.fract() == 0.0 && (0.0..=EXACT).contains(&value) {
                    true => Ok(Whole { value: value as u64, written: Written::Decimal }),
                    false => Err(E::invalid_value(Unexpected::Float(value), &self)),
                }
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Whole, E> {
                let value = text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))?;
                Ok(Whole { value, written: Written::Text })
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Flag;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("0 or 1")
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Flag, E> {
                match value {
                    0 | 1 => Ok(Flag { value: value == 1, written: Written::Usual }),
                    _ => Err(E::invalid_value(Unexpected::Unsigned(value), &self)),
                }
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Flag, E> {
                match value == 0.0 || value == 1.0 {
                    true => Ok(Flag { value: value == 1.0, written: Written::Decimal }),
                    false => Err(E::invalid_value(Unexpected::Float(value), &self)),
                }
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Flag, E> {
                Ok(Flag { value, written: Written::Word })
            }

            fn visit_unit<E: Error>(self) -> Result<Flag, E> {
                Ok(Flag { value: false, written: Written::Word })
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Flag, E> {
                match text {
                    "0" | "1" => Ok(Flag { value: text == "1", written: Written::Text }),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Real {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Real;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Real, E> {
                Ok(Real { value: value as f64, written: Written::Usual })
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Real, E> {
                Ok(Real { value: value as f64, written: Written::Usual })
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Real, E> {
                Ok(Real { value, written: Written::Usual })
            }

            fn visit_unit<E: Error>(self) -> Result<Real, E> {
                Ok(Real { value: f64::NAN, written: Written::Word })
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Real, E> {
                match text.parse::<f64>() {
                    Ok(value) if value.is_finite() => Ok(Real { value, written: Written::Text }),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Numbers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of numbers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Numbers, A::Error> {
                let mut numbers = Numbers::default();
                while let Some(Real { value, written }) = list.next_element()? {
                    numbers.values.push(value);
                    numbers.text |= written == Written::Text;
                }
                numbers.values.shrink_to_fit();
                Ok(numbers)
            }
        }
        deserializer.deserialize_seq(Reader)
    }
}

impl Numbers {
    /// The most unusual notation among them, apart from `null`.
    pub fn written(&self) -> Written {
        if self.text { Written::Text } else { Written::Usual }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, String> {
        serde_json::from_str(text).map_err(|e| e.to_string())
    }

    #[test]
    fn whole_numbers_are_exact_or_refused() {
        let whole = |text| read::<Whole>(text).map(|w| (w.value, w.written));
        assert_eq!(whole("17"), Ok((17, Written::Usual)));
        assert_eq!(whole("18446744073709551615"), Ok((u64::MAX, Written::Usual)));
        assert_eq!(whole("9007199254740993"), Ok((9_007_199_254_740_993, Written::Usual)));
        for text in ["17.0", "1.7e1", "170e-1", "17.000000"] {
            assert_eq!(whole(text), Ok((17, Written::Decimal)), "{text}");
        }
        assert_eq!(whole("\"000000000017\""), Ok((17, Written::Text)));
        for text in ["17.5", "-17", "-17.0", "1e300", "18446744073709551616", "1e-300", "9007199254740994.0"] {
            assert!(whole(text).unwrap_err().contains("expected a whole number of 0 or more"), "{text}");
        }
        for text in ["\"\"", "\"a1\"", "\"17.5\"", "\"-1\"", "\" 17\"", "true", "null", "[17]", "{}"] {
            assert!(whole(text).unwrap_err().contains("expected a whole number of 0 or more"), "{text}");
        }
    }

    #[test]
    fn a_flag_is_0_or_1_in_any_words() {
        let flag = |text| read::<Flag>(text).map(|f| (f.value, f.written));
        assert_eq!([flag("0"), flag("1")], [Ok((false, Written::Usual)), Ok((true, Written::Usual))]);
        assert_eq!([flag("0.0"), flag("1.0")], [Ok((false, Written::Decimal)), Ok((true, Written::Decimal))]);
        assert_eq!([flag("\"0\""), flag("\"1\"")], [Ok((false, Written::Text)), Ok((true, Written::Text))]);
        assert_eq!([flag("false"), flag("true")], [Ok((false, Written::Word)), Ok((true, Written::Word))]);
        assert_eq!(flag("null"), Ok((false, Written::Word)));
        for text in ["2", "-1", "0.5", "\"yes\"", "[]"] {
            assert!(flag(text).unwrap_err().contains("expected 0 or 1"), "{text}");
        }
    }

    #[test]
    fn lists_hold_numbers_texts_and_null() {
        let numbers = |text| read::<Numbers>(text).map(|n| (n.values, n.text));
        assert_eq!(numbers("[1, -2.5, 3e2]"), Ok((vec![1.0, -2.5, 300.0], false)));
        assert_eq!(numbers("[1, \"-2.5\"]"), Ok((vec![1.0, -2.5], true)));
        assert!(numbers("[null, 1]").unwrap().0[0].is_nan());
        for text in ["[\"NaN\"]", "[\"inf\"]", "[\"1,5\"]", "[true]", "[[1]]"] {
            assert!(numbers(text).unwrap_err().contains("expected a number"), "{text}");
        }
        assert!(numbers("7").unwrap_err().contains("expected a list of numbers"));
        assert!(numbers("[1e999]").unwrap_err().contains("number out of range"));
    }
}
