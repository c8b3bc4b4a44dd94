//! Turns a row of logits into the predicted class.

/// The predicted class, given a classifier's logits (or probabilities) for one sample.
///
/// This is the class with the largest value, the lowest index among equal ones: class 0 if all are −∞. `None` if any
/// value is NaN, or if there are no classes. Every score counts such a row as wrong.
pub fn answer(row: &[f32]) -> Option<usize> {
    let mut best = 0;
    for (class, &value) in row.iter().enumerate() {
        if value.is_nan() {
            return None;
        }
        if value > row[best] {
            best = class;
        }
    }
    (!row.is_empty()).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TopK, softmax, top_k};
    use proptest::prelude::*;

    const INF: f32 = f32::INFINITY;

    #[test]
    fn the_largest_value_is_the_answer_and_of_equal_ones_the_lowest_class() {
        assert_eq!(answer(&[0.1, 2.0, -1.0]), Some(1));
        assert_eq!(answer(&[1.0, 3.0, 3.0]), Some(1));
        assert_eq!(answer(&[-0.0, 0.0]), Some(0));
        assert_eq!(answer(&[7.0]), Some(0));
    }

    #[test]
    fn infinite_values_are_values() {
        assert_eq!(answer(&[f32::MAX, INF, INF]), Some(1));
        assert_eq!(answer(&[-INF, -INF]), Some(0));
        assert_eq!(answer(&[-INF, f32::MIN]), Some(1));
    }

    #[test]
    fn a_nan_anywhere_is_no_answer() {
        assert_eq!(answer(&[]), None);
        for row in [[f32::NAN, 1.0, INF], [1.0, f32::NAN, 0.0], [INF, 1.0, -f32::NAN]] {
            assert_eq!(answer(&row), None, "{row:?}");
        }
    }

    proptest! {
        #[test]
        fn every_score_has_the_same_answer(
            row in prop::collection::vec(prop_oneof![-3f32..3.0, Just(INF), Just(-INF), Just(f32::NAN), Just(1.0)], 0..9),
        ) {
            let answer = answer(&row);
            for label in 0..row.len() {
                prop_assert_eq!(TopK::new(1).add(&row, label), answer == Some(label));
            }
            if let Some(class) = answer {
                prop_assert_eq!(top_k(&row, 1)[0].0, class);
                let most = softmax(&row).into_iter().fold(0.0, f32::max);
                prop_assert_eq!(softmax(&row)[class], most);
            }
        }
    }
}
