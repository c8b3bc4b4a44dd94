//! Runs a plan. Decides nothing, allocates nothing.

use std::sync::Arc;

use dyconv_graph::Shape;
use dyconv_kernels::{chw_to_hwc, hwc_to_chw};

use crate::error::check_len;
use crate::{EngineError, Plan};

/// A plan and the memory to run it. One per thread; the plan is shared.
#[derive(Debug, Clone)]
pub struct Session {
    plan: Arc<Plan>,
    arena: Vec<f32>,
    scratch: Vec<f32>,
}

impl Session {
    /// Allocates the memory of `plan` (a [`Plan`] or an `Arc<Plan>`).
    pub fn new(plan: impl Into<Arc<Plan>>) -> Self {
        let plan = plan.into();
        Self { arena: vec![0.0; plan.arena_len], scratch: vec![0.0; plan.scratch_len], plan }
    }

    /// The plan that is run.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Runs a batch of any size: `input` NCHW (`batch` × C×H×W), `output` `batch` × output shape, channels first.
    ///
    /// Samples are computed one after the other and do not influence each other. Does not allocate.
    ///
    /// # Errors
    /// When a buffer has the wrong length; nothing is written then.
    pub fn run(&mut self, input: &[f32], batch: usize, output: &mut [f32]) -> Result<(), EngineError> {
        self.check_input(input, batch)?;
        let shape = self.plan.output_shape();
        check_len("output", output.len(), batch, shape)?;
        let sample = self.sample_len();
        for (x, y) in input.chunks_exact(sample).zip(output.chunks_exact_mut(shape.elements())) {
            self.run_sample(x, &mut |_, _| {});
            hwc_to_chw(shape.channels(), &self.arena[self.plan.output.range()], y);
        }
        Ok(())
    }

    /// [`run`](Self::run) into a new vector.
    ///
    /// # Errors
    /// When the input has the wrong length.
    pub fn predict(&mut self, input: &[f32], batch: usize) -> Result<Vec<f32>, EngineError> {
        self.check_input(input, batch)?;
        let mut output = vec![0.0; batch * self.plan.output_shape().elements()];
        self.run(input, batch, &mut output)?;
        Ok(output)
    }

    /// Runs a batch and hands the value of every step, in execution order, to `visit`: the name of the last node fused
    /// into the step, the shape of one sample, and `batch` samples, channels first. The first step is the input.
    ///
    /// Allocates room for all values: for inspection, not for speed.
    ///
    /// # Errors
    /// When the input has the wrong length.
    pub fn run_all(
        &mut self,
        input: &[f32],
        batch: usize,
        visit: &mut dyn FnMut(&str, Shape, &[f32]),
    ) -> Result<(), EngineError> {
        self.check_input(input, batch)?;
        let plan = Arc::clone(&self.plan);
        let mut values: Vec<Vec<f32>> = plan.steps.iter().map(|s| vec![0.0; batch * s.shape.elements()]).collect();
        for (n, x) in input.chunks_exact(self.sample_len()).enumerate() {
            self.run_sample(x, &mut |i, value| {
                let to = &mut values[i][n * value.len()..][..value.len()];
                hwc_to_chw(plan.steps[i].shape.channels(), value, to);
            });
        }
        for (step, value) in plan.steps.iter().zip(&values) {
            visit(&step.name, step.shape, value);
        }
        Ok(())
    }

    fn sample_len(&self) -> usize {
        self.plan.input_dims().iter().product()
    }

    fn check_input(&self, input: &[f32], batch: usize) -> Result<(), EngineError> {
        check_len("input", input.len(), batch, Shape::Map(self.plan.input_dims()))
    }

    /// Runs one sample `[C, H, W]`; `visit(step, value)` sees each step's channels-last value.
    fn run_sample(&mut self, x: &[f32], visit: &mut dyn FnMut(usize, &[f32])) {
        let Self { plan, arena, scratch } = self;
        for (i, step) in plan.steps.iter().enumerate() {
            if i == 0 {
                chw_to_hwc(plan.input_dims()[0], x, &mut arena[step.output.range()]);
            } else {
                step.kernel.run(plan.isa, arena, &step.inputs, step.output, scratch);
            }
            visit(i, &arena[step.output.range()]);
        }
    }
}
