//! Runs a plan. Decides nothing, allocates nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dyconv_graph::Shape;
use dyconv_kernels::{Buffer, Exec, Pool, Span, chw_to_hwc, hwc_to_chw};

use crate::error::check_len;
use crate::kernel::Places;
use crate::plan::PlanStep;
use crate::{EngineError, Plan, StepInfo};

/// Bytes of weights from which on a step before asks for them.
const WORTH_ASKING: usize = 8 << 10;

/// A plan and the memory to run it. The plan is shared between sessions, and so may be the pool of threads: a session that
/// finds the pool busy computes alone. Answers do not depend on the number of threads, bit for bit.
#[derive(Debug, Clone)]
pub struct Session {
    plan: Arc<Plan>,
    pool: Arc<Pool>,
    arena: Buffer<f32>,
    scratch: Buffer<f32>,
}

impl Session {
    /// Allocates the memory of `plan` (a [`Plan`] or an `Arc<Plan>`); runs on the caller's thread.
    pub fn new(plan: impl Into<Arc<Plan>>) -> Self {
        Self::with_threads(plan, 1)
    }

    /// A session with its own pool of so many threads, the caller's included.
    ///
    /// # Panics
    /// When there are no threads.
    pub fn with_threads(plan: impl Into<Arc<Plan>>, threads: usize) -> Self {
        Self::with_pool(plan, Arc::new(Pool::new(threads)))
    }

    /// A session on a pool that others may use too.
    pub fn with_pool(plan: impl Into<Arc<Plan>>, pool: Arc<Pool>) -> Self {
        let plan = plan.into();
        let (arena, scratch) = (Buffer::zeroed(plan.arena_len), Buffer::zeroed(plan.scratch_len(pool.threads())));
        Self { arena, scratch, plan, pool }
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

    /// Runs one sample and tells how long each step took.
    ///
    /// # Errors
    /// When the input has the wrong length.
    pub fn profile(&mut self, input: &[f32]) -> Result<Vec<(StepInfo, Duration)>, EngineError> {
        self.check_input(input, 1)?;
        let mut times = vec![Duration::ZERO; self.plan.steps.len()];
        let mut start = Instant::now();
        self.run_sample(input, &mut |i, _| {
            times[i] = start.elapsed();
            start = Instant::now();
        });
        Ok(self.plan.describe().into_iter().zip(times).collect())
    }

    fn sample_len(&self) -> usize {
        self.plan.input_dims().iter().product()
    }

    fn check_input(&self, input: &[f32], batch: usize) -> Result<(), EngineError> {
        check_len("input", input.len(), batch, Shape::Map(self.plan.input_dims()))
    }

    /// Runs one sample `[C, H, W]`; `visit(step, value)` sees each step's channels-last value.
    fn run_sample(&mut self, x: &[f32], visit: &mut dyn FnMut(usize, &[f32])) {
        let Self { plan, pool, arena, scratch } = self;
        let exec = Exec { isa: plan.isa, pool };
        for (i, step) in plan.steps.iter().enumerate() {
            if i == 0 {
                chw_to_hwc(plan.input_dims()[0], x, &mut arena[step.output.range()]);
            } else {
                let places = Places {
                    inputs: &step.inputs,
                    output: step.output,
                    sums: step.sums,
                    upcoming: upcoming(&plan.steps[i + 1..]),
                };
                step.kernel.run(exec, arena, &places, scratch);
            }
            visit(i, &arena[step.output.range()]);
        }
    }
}

/// The weights of the next steps that have many.
fn upcoming(steps: &[PlanStep]) -> [Span; 2] {
    let mut spans = steps.iter().filter(|s| s.kernel.weight_bytes() >= WORTH_ASKING).filter_map(|s| s.kernel.span());
    [(); 2].map(|()| spans.next().unwrap_or_default())
}
