//! Runs a plan, without decisions or allocations.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dyconv_graph::Shape;
use dyconv_kernels::{Buffer, Exec, Pool, PrefetchRange, chw_to_hwc, hwc_to_chw};

use crate::arena::View;
use crate::error::{EngineError, check_len};
use crate::kernel::Places;
use crate::memory::{check_memory, zeros};
use crate::plan::{Plan, PlanStep, StepInfo};

/// Maximum number of samples that run the tail of a plan together.
const GROUP: usize = 8;

/// Maximum number of bytes of memory for the samples of a group.
const GROUP_BYTES: usize = 256 << 20;

/// Minimum number of bytes of weights that are worth prefetching.
const WORTH_PREFETCHING: usize = 8 << 10;

/// A plan and the memory to run it. Sessions can share the plan and the thread pool; a session that finds the pool busy
/// computes on its own thread. Outputs are bit-identical for any number of threads.
#[derive(Debug, Clone)]
pub struct Session {
    plan: Arc<Plan>,
    pool: Arc<Pool>,
    arena: Buffer<f32>,
    /// An arena for each sample of a group, if samples run the tail of the plan together.
    tails: Vec<Buffer<f32>>,
    scratch: Buffer<f32>,
}

impl Session {
    /// Allocates the memory of `plan` (a [`Plan`] or an `Arc<Plan>`). The session runs on the caller's thread.
    ///
    /// # Panics
    /// If there is not enough memory.
    pub fn new(plan: impl Into<Arc<Plan>>) -> Self {
        Self::with_threads(plan, 1)
    }

    /// A session with its own pool of `threads` threads, including the caller's; with fewer if the system refuses more
    /// ([`threads`](Self::threads)).
    ///
    /// # Panics
    /// If `threads` is zero, or there is not enough memory.
    pub fn with_threads(plan: impl Into<Arc<Plan>>, threads: usize) -> Self {
        Self::with_pool(plan, Arc::new(Pool::new(threads)))
    }

    /// A session on a pool that other sessions may use too.
    ///
    /// # Panics
    /// If there is not enough memory.
    pub fn with_pool(plan: impl Into<Arc<Plan>>, pool: Arc<Pool>) -> Self {
        Self::try_with_pool(plan, pool).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Like [`with_threads`](Self::with_threads), but returns an error if memory is exhausted.
    ///
    /// # Errors
    /// If there is not enough memory.
    ///
    /// # Panics
    /// If `threads` is zero.
    pub fn try_with_threads(plan: impl Into<Arc<Plan>>, threads: usize) -> Result<Self, EngineError> {
        Self::try_with_pool(plan, Arc::new(Pool::new(threads)))
    }

    /// Like [`with_pool`](Self::with_pool), but returns an error if memory is exhausted.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn try_with_pool(plan: impl Into<Arc<Plan>>, pool: Arc<Pool>) -> Result<Self, EngineError> {
        let plan = plan.into();
        let scratch = plan.scratch_len(pool.threads());
        check_memory(plan.arena_len.saturating_add(scratch).saturating_mul(size_of::<f32>()))?;
        Ok(Self { arena: buffer(plan.arena_len)?, tails: Vec::new(), scratch: buffer(scratch)?, plan, pool })
    }

    /// Number of threads, including the caller's.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// The thread pool, which other sessions can share.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// The plan of this session.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Runs a batch of any size: `input` NCHW (`batch` × C×H×W), `output` `batch` × output shape, channels first.
    ///
    /// Samples do not influence each other. In late steps, where weights are larger than maps, groups of up to eight
    /// samples share each read of the weights. Allocates only if a batch is larger than all before it.
    ///
    /// # Errors
    /// If a buffer has the wrong length, or there is not enough memory for a batch larger than all before it. Nothing
    /// is written in that case.
    pub fn run(&mut self, input: &[f32], batch: usize, output: &mut [f32]) -> Result<(), EngineError> {
        self.check_input(input, batch)?;
        let shape = self.plan.output_shape();
        check_len("output", output.len(), batch, shape)?;
        let sample = self.sample_len();
        let arena_bytes = self.plan.arena_bytes().max(1);
        let group = batch.min(GROUP).min(GROUP_BYTES / arena_bytes).max(1);
        if group > 1 {
            self.grow(group)?;
        }
        let inputs = input.chunks(sample * group);
        for (x, y) in inputs.zip(output.chunks_mut(shape.elements() * group)) {
            if x.len() == sample {
                self.run_sample(x, &mut |_, _| {});
                channels_first(&self.arena, self.plan.output, shape, y);
            } else {
                self.run_group(x, y);
            }
        }
        Ok(())
    }

    /// Like [`run`](Self::run), into a new vector.
    ///
    /// # Errors
    /// If the input has the wrong length.
    pub fn predict(&mut self, input: &[f32], batch: usize) -> Result<Vec<f32>, EngineError> {
        self.check_input(input, batch)?;
        let mut output = zeros(batch.saturating_mul(self.plan.output_shape().elements()))?;
        self.run(input, batch, &mut output)?;
        Ok(output)
    }

    /// Like [`predict`](Self::predict), but also passes the value of every step that computes a node, in execution
    /// order, to `visit`: the name of the last node fused into the step, the shape of one sample, and `batch` samples,
    /// channels first. The first step is the input.
    ///
    /// Allocates memory for all values: for inspection, not for speed.
    ///
    /// # Errors
    /// If the input has the wrong length.
    pub fn run_all(
        &mut self,
        input: &[f32],
        batch: usize,
        visit: &mut dyn FnMut(&str, Shape, &[f32]),
    ) -> Result<Vec<f32>, EngineError> {
        self.check_input(input, batch)?;
        let plan = Arc::clone(&self.plan);
        let shape = plan.output_shape();
        let elements = plan.steps.iter().map(|s| s.shape.elements()).fold(0, usize::saturating_add);
        check_memory(batch.saturating_mul(elements).saturating_mul(size_of::<f32>()))?;
        let mut answers = zeros(batch * shape.elements())?;
        let each = plan.steps.iter().map(|s| zeros(batch * s.shape.elements()));
        let mut values = each.collect::<Result<Vec<Vec<f32>>, _>>()?;
        for (n, x) in input.chunks_exact(self.sample_len()).enumerate() {
            self.run_sample(x, &mut |i, arena| {
                let step = &plan.steps[i];
                let to = &mut values[i][n * step.shape.elements()..][..step.shape.elements()];
                channels_first(arena, step.output, step.shape, to);
            });
            let to = &mut answers[n * shape.elements()..][..shape.elements()];
            channels_first(&self.arena, plan.output, shape, to);
        }
        for (step, value) in plan.steps.iter().zip(&values).filter(|(step, _)| !step.partial) {
            visit(&step.name, step.shape, value);
        }
        Ok(answers)
    }

    /// Runs one sample and returns how long each step took.
    ///
    /// # Errors
    /// If the input has the wrong length.
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

    /// Runs one sample `[C, H, W]`; `visit(step, arena)` is called after each step.
    fn run_sample(&mut self, x: &[f32], visit: &mut dyn FnMut(usize, &[f32])) {
        let Self { plan, pool, arena, scratch, .. } = self;
        let exec = Exec { isa: plan.isa, pool };
        for i in 0..plan.steps.len() {
            run_step(plan, exec, i, x, next_weights(&plan.steps[i + 1..]), arena, scratch);
            visit(i, arena);
        }
    }

    /// Allocates an arena for each of `group` samples.
    fn grow(&mut self, group: usize) -> Result<(), EngineError> {
        while self.tails.len() < group {
            self.tails.push(buffer(self.plan.arena_len)?);
        }
        Ok(())
    }

    /// Runs a few samples: the head of the plan for one after the other, then each step of the tail for all of them.
    /// Each sample has its own arena.
    fn run_group(&mut self, x: &[f32], y: &mut [f32]) {
        let (sample, outputs) = (self.sample_len(), self.plan.output_shape().elements());
        let Self { plan, pool, arena, tails, scratch } = self;
        let exec = Exec { isa: plan.isa, pool };
        let group = x.len() / sample;
        for (x, tail) in x.chunks_exact(sample).zip(tails.iter_mut()) {
            for i in 0..plan.tail {
                run_step(plan, exec, i, x, next_weights(&plan.steps[i + 1..]), arena, scratch);
            }
            for slot in &plan.carried {
                tail[slot.range()].copy_from_slice(&arena[slot.range()]);
            }
        }
        for i in plan.tail..plan.steps.len() {
            for (n, tail) in tails.iter_mut().take(group).enumerate() {
                let last = n + 1 == group;
                let prefetch = if last { next_weights(&plan.steps[i + 1..]) } else { Default::default() };
                run_step(plan, exec, i, &[], prefetch, tail, scratch);
            }
        }
        for (tail, y) in tails.iter().zip(y.chunks_exact_mut(outputs)) {
            channels_first(tail, plan.output, plan.output_shape(), y);
        }
    }
}

/// Writes a value of the arena channels first.
fn channels_first(arena: &[f32], from: View, shape: Shape, to: &mut [f32]) {
    let (value, channels) = (&arena[from.range()], shape.channels());
    if value.len() == to.len() {
        hwc_to_chw(channels, value, to);
    } else {
        for (p, pixel) in value.chunks(from.step).enumerate() {
            for (c, v) in pixel[..channels].iter().enumerate() {
                to[c * shape.pixels() + p] = *v;
            }
        }
    }
}

/// A buffer of zeros, or an error if there is not enough memory.
fn buffer(len: usize) -> Result<Buffer<f32>, EngineError> {
    Buffer::try_zeroed(len).map_err(|_| EngineError::Memory { bytes: len.saturating_mul(size_of::<f32>()) })
}

/// Runs step `i`; step 0 copies the sample `x`.
fn run_step(
    plan: &Plan,
    exec: Exec<'_>,
    i: usize,
    x: &[f32],
    prefetch: [PrefetchRange; 2],
    arena: &mut [f32],
    scratch: &mut [f32],
) {
    let step = &plan.steps[i];
    if i == 0 {
        chw_to_hwc(plan.input_dims()[0], x, &mut arena[step.output.range()]);
    } else {
        let places = Places { inputs: &step.inputs, output: step.output, sums: step.sums, prefetch };
        step.kernel.run(exec, arena, &places, scratch);
    }
}

/// The weights of the next steps that have many, to be prefetched.
fn next_weights(steps: &[PlanStep]) -> [PrefetchRange; 2] {
    let mut ranges =
        steps.iter().filter(|s| s.kernel.weight_bytes() >= WORTH_PREFETCHING).filter_map(|s| s.kernel.span());
    [(); 2].map(|()| ranges.next().unwrap_or_default())
}
