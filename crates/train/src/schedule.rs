//! The schedules of the learning rate and the temperature.

use crate::recipe::{Schedule, TemperatureRecipe, TemperatureSchedule, TrainRecipe};

/// Learning rate after `progress` epochs: linear warm-up from 0, then the recipe's schedule.
pub(crate) fn learning_rate(recipe: &TrainRecipe, progress: f64) -> f64 {
    let warmup = recipe.warmup_epochs.min(recipe.epochs as f64);
    if progress < warmup {
        return recipe.lr * progress / warmup;
    }
    let rest = recipe.epochs as f64 - warmup;
    let share = if rest > 0.0 { ((progress - warmup) / rest).min(1.0) } else { 1.0 };
    recipe.lr
        * match recipe.schedule {
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * share).cos()),
            Schedule::Linear => 1.0 - share,
            Schedule::Step => recipe.milestones.iter().filter(|m| progress >= **m).fold(1.0, |f, _| f * recipe.gamma),
        }
}

/// Temperature τ after `progress` epochs; exactly `end` once the schedule is over.
pub(crate) fn temperature(recipe: &TemperatureRecipe, progress: f64) -> f32 {
    match recipe.schedule {
        TemperatureSchedule::Linear if progress < recipe.epochs => {
            let share = (progress / recipe.epochs) as f32;
            recipe.start + (recipe.end - recipe.start) * share
        }
        _ => recipe.end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;

    #[test]
    fn the_paper_s_temperature_ends_at_exactly_one() {
        let recipe = Recipe::resolve(None, None, &[]).unwrap().temperature;
        assert_eq!(temperature(&recipe, 0.0), 30.0);
        assert_eq!(temperature(&recipe, 5.0), 15.5);
        assert!(temperature(&recipe, 9.999) > 1.0);
        assert_eq!(temperature(&recipe, 10.0), 1.0);
        assert_eq!(temperature(&recipe, 1e9), 1.0);
        let constant = TemperatureRecipe { schedule: TemperatureSchedule::Constant, end: 7.0, ..recipe };
        assert_eq!(temperature(&constant, 0.0), 7.0);
    }

    #[test]
    fn the_learning_rate_warms_up_and_falls_to_zero() {
        let recipe = Recipe::resolve(None, None, &[]).unwrap().train;
        let lr = |progress| learning_rate(&recipe, progress);
        assert_eq!(lr(0.0), 0.0);
        assert_eq!(lr(0.5), recipe.lr / 2.0);
        assert_eq!(lr(1.0), recipe.lr);
        assert!((lr(15.5) - recipe.lr / 2.0).abs() < 1e-12);
        assert!(lr(30.0).abs() < 1e-12);
    }

    #[test]
    fn steps_and_lines_warm_up_too() {
        let settings = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs.iter().map(|(k, v)| (format!("train.{k}"), (*v).to_owned())).collect();
            Recipe::resolve(Some("imagenet-resnet"), None, &pairs).unwrap().train
        };
        let paper = settings(&[]);
        let rates = [0.0, 29.99, 30.0, 60.0, 95.0].map(|p| learning_rate(&paper, p));
        for (found, expected) in rates.iter().zip([0.1, 0.1, 0.01, 0.001, 0.0001]) {
            assert!((found / expected - 1.0).abs() < 1e-12, "{rates:?}");
        }
        assert_eq!(learning_rate(&settings(&[("warmup_epochs", "4")]), 1.0), 0.025);
        let line = settings(&[("schedule", "linear"), ("warmup_epochs", "20")]);
        let rates = [10.0, 20.0, 60.0, 100.0].map(|p| learning_rate(&line, p));
        assert_eq!(rates, [0.05, 0.1, 0.05, 0.0]);
    }
}
