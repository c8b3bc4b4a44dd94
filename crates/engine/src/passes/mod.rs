//! Rewrites of the lowered form; each is a function `Lowered` → `Lowered` with its own test.

mod drop_dropout;
mod flatten_in_linear;
mod fold_batch_norm;
mod fuse_activation;
mod fuse_mean;
mod fuse_residual;
mod fuse_scale;
mod interleave;
mod work_before_upsample;

pub(crate) use drop_dropout::drop_dropout;
pub(crate) use flatten_in_linear::flatten_in_linear;
pub(crate) use fold_batch_norm::fold_batch_norm;
pub(crate) use fuse_activation::fuse_activation;
pub(crate) use fuse_mean::fuse_mean;
pub(crate) use fuse_residual::fuse_residual;
pub(crate) use fuse_scale::fuse_scale;
pub(crate) use interleave::interleave;
pub(crate) use work_before_upsample::work_before_upsample;

use crate::lowered::{Lowered, Step};

/// Applies all passes in order.
pub(crate) fn optimise(lowered: Lowered) -> Lowered {
    let lowered = work_before_upsample(fuse_activation(fold_batch_norm(drop_dropout(lowered))));
    interleave(flatten_in_linear(fuse_mean(fuse_scale(fuse_residual(lowered)))))
}

/// Offers every step to the producer of its first input. If `rule(producer, step, sole)` returns true, the step is
/// removed and its readers read the producer. `sole` is whether the step is the only reader of the producer; if so, the
/// producer takes the step's name.
fn absorb(lowered: Lowered, rule: impl Fn(&mut Step, &Step, bool) -> bool) -> Lowered {
    let old_uses = lowered.uses();
    let mut steps: Vec<Step> = Vec::with_capacity(lowered.steps.len());
    let mut uses: Vec<usize> = Vec::with_capacity(lowered.steps.len());
    let mut moved = Vec::with_capacity(lowered.steps.len());
    for (mut step, step_uses) in lowered.steps.into_iter().zip(old_uses) {
        for input in &mut step.inputs {
            *input = moved[*input];
        }
        match step.inputs.first() {
            Some(&producer) if rule(&mut steps[producer], &step, uses[producer] == 1) => {
                steps[producer].madds += step.madds;
                if uses[producer] == 1 {
                    steps[producer].name = step.name;
                }
                uses[producer] += step_uses - 1;
                moved.push(producer);
            }
            _ => {
                moved.push(steps.len());
                steps.push(step);
                uses.push(step_uses);
            }
        }
    }
    Lowered { steps, output: moved[lowered.output] }
}

/// Removes the steps for which `gone` is set; their readers read the step given there instead.
fn remove(lowered: Lowered, gone: &[Option<usize>]) -> Lowered {
    let mut moved: Vec<usize> = Vec::with_capacity(gone.len());
    let mut kept = 0;
    for by in gone {
        moved.push(by.map_or(kept, |by| moved[by]));
        kept += usize::from(by.is_none());
    }
    let steps = lowered.steps.into_iter().zip(gone).filter(|(_, by)| by.is_none()).map(|(mut step, _)| {
        step.inputs.iter_mut().for_each(|i| *i = moved[*i]);
        step
    });
    Lowered { steps: steps.collect(), output: moved[lowered.output] }
}

#[cfg(test)]
mod tests {
    use crate::lowered::Lowered;

    /// Names of the steps, for the tests of the passes.
    pub(super) fn names(lowered: &Lowered) -> Vec<&str> {
        lowered.steps.iter().map(|s| s.name.as_str()).collect()
    }
}
