//! Compilation of a network: which kernels run, in which order, on which slots of one arena.

use std::collections::BTreeSet;

use dyconv_graph::{Graph, Op, Parameter, Shape, TensorSource};
use dyconv_kernels::{Isa, PrefetchRange, Storage, advise_huge_pages};

use crate::arena::{Life, Slot, View, place};
use crate::error::{EngineError, check_tau};
use crate::kernel::Kernel;
use crate::lowered::Lowered;
use crate::memory::check_memory;
use crate::options::{self, Options};
use crate::passes::optimise;
use crate::views::{Home, homes};

/// Maximum number of bytes of working memory (arena and scratch) of a plan.
const MEMORY_LIMIT: usize = 16 << 30;

/// A compiled network: fused steps with packed weights, and a slot for every value. Immutable; share it between
/// [sessions](crate::Session) in an [`Arc`](std::sync::Arc).
#[derive(Debug, Clone)]
pub struct Plan {
    pub(crate) steps: Vec<PlanStep>,
    pub(crate) output: View,
    /// First step of the tail, which runs step by step for all samples of a group.
    pub(crate) tail: usize,
    /// The values that steps before the tail compute for the tail.
    pub(crate) carried: Vec<Slot>,
    pub(crate) arena_len: usize,
    pub(crate) isa: Isa,
    bank: Storage,
    input_dims: [usize; 3],
    output_shape: Shape,
}

/// One step of a plan; step 0 is the input.
#[derive(Debug, Clone)]
pub(crate) struct PlanStep {
    pub(crate) name: String,
    pub(crate) kernel: Kernel,
    pub(crate) inputs: Vec<View>,
    pub(crate) output: View,
    /// The partial sums that it writes or reads.
    pub(crate) sums: Slot,
    pub(crate) shape: Shape,
    /// Whether its value is an intermediate one that belongs to no node.
    pub(crate) partial: bool,
    madds: u64,
}

/// One line of [`Plan::describe`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepInfo {
    /// Name of the last node that was fused into the step; for a step with an intermediate value,
    /// `<node> before <another>`.
    pub name: String,
    /// Kernel, instruction set and fused activation, e.g. `mix_panel_conv+relu6/avx512`.
    pub kernel: String,
    /// Shape of one sample's output.
    pub shape: Shape,
    /// Bytes of the packed weights.
    pub weight_bytes: usize,
    /// Multiply-adds of the nodes that were fused into the step, for one sample, without those that fusion avoids.
    pub madds: u64,
}

impl std::fmt::Display for StepInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<40} {:<40} {}", self.name, self.kernel, self.shape)
    }
}

impl Plan {
    /// Compiles `graph` with these weights; `tau` is the temperature τ of its softmax nodes. Besides the packed
    /// weights, only one tensor at a time is in memory.
    ///
    /// # Errors
    /// If the weights are not those of the graph, τ is not positive and finite, the working memory would exceed 16 GiB
    /// or the available memory ([`available_memory`](crate::available_memory)), or the environment variable
    /// `DYCONV_ISA` names an instruction set that this CPU does not support.
    pub fn new(graph: &Graph, weights: &dyn TensorSource, tau: f32) -> Result<Self, EngineError> {
        Self::with_options(graph, weights, tau, Options::default())
    }

    /// Like [`Plan::new`], for a given instruction set.
    ///
    /// # Errors
    /// As for [`Plan::new`].
    pub fn for_isa(graph: &Graph, weights: &dyn TensorSource, tau: f32, isa: Isa) -> Result<Self, EngineError> {
        Self::with_options(graph, weights, tau, Options { isa: Some(isa), ..Options::default() })
    }

    /// Like [`Plan::new`], with options.
    ///
    /// # Errors
    /// As for [`Plan::new`].
    pub fn with_options(
        graph: &Graph,
        weights: &dyn TensorSource,
        tau: f32,
        options: Options,
    ) -> Result<Self, EngineError> {
        weights.check_shapes(graph)?;
        check_tau(tau)?;
        let isa = match options.isa {
            Some(isa) => isa,
            None => Isa::chosen().map_err(EngineError::Isa)?,
        };
        let parameters = graph.parameters();
        check_memory(weight_bytes(graph, &parameters, options.bank))?;
        let mut lowered = optimise(Lowered::new(graph, weights)?);
        let shapes: Vec<Shape> = lowered.steps.iter().map(|s| s.shape).collect();
        let largest = parameters.iter().map(Parameter::elements).max().unwrap_or(0);
        // Allocated once at its final size, so that it is returned to the system as a whole.
        let mut room = Vec::new();
        room.try_reserve_exact(largest).map_err(|_| EngineError::Memory { bytes: largest * size_of::<f32>() })?;
        let mut kernels = Vec::with_capacity(lowered.steps.len());
        for step in &mut lowered.steps {
            let inputs: Vec<Shape> = step.inputs.iter().map(|i| shapes[*i]).collect();
            step.load(weights, &mut room)?;
            kernels.push(Kernel::new(step, &inputs, tau, isa, options));
            step.release(&mut room);
        }
        drop(room);
        advise_huge_pages(kernels.iter().filter_map(Kernel::span).map(PrefetchRange::addresses));
        let homes = homes(&lowered, &kernels);
        let (buffer_of, mut lives) = buffers(&mut lowered, &kernels, &homes);
        let outputs = lives.len();
        lives.extend(sum_lives(&lowered, &kernels));
        let (places, arena_len) = place(&lives);
        let view = |(i, buffer): (usize, &usize)| {
            let Home { root, channel } = homes[i];
            let (shape, step) = (shapes[i], shapes[root].channels());
            let len = (shape.pixels() - 1) * step + shape.channels();
            View { slot: Slot { offset: places[*buffer].offset + channel, len }, step }
        };
        let views: Vec<View> = buffer_of.iter().enumerate().map(view).collect();
        let nothing = Slot { offset: 0, len: 0 };
        // The partial sums are placed after the outputs of all steps, in the order of the steps that write them.
        let mut sums: Vec<Slot> = vec![nothing; lowered.steps.len()];
        for (i, buffer) in
            (lowered.steps.iter().enumerate()).filter(|(_, s)| s.sums).map(|(i, _)| i).zip(&places[outputs..])
        {
            sums[i] = *buffer;
        }
        let scratch_len = kernels.iter().map(|k| k.scratch_len(1)).max().unwrap_or(0);
        let bytes = arena_len.saturating_add(scratch_len).saturating_mul(size_of::<f32>());
        if bytes > MEMORY_LIMIT {
            return Err(EngineError::TooLarge { bytes, limit: MEMORY_LIMIT });
        }
        check_memory(bytes)?;
        let output = views[lowered.output];
        let tail = tail(&kernels, &shapes);
        let steps: Vec<PlanStep> = (lowered.steps.into_iter().zip(kernels).enumerate())
            .map(|(i, (step, kernel))| PlanStep {
                sums: if matches!(kernel, Kernel::Mean { .. }) { sums[step.inputs[0]] } else { sums[i] },
                name: step.name,
                kernel,
                inputs: step.inputs.iter().map(|i| views[*i]).collect(),
                output: views[i],
                shape: step.shape,
                partial: step.partial,
                madds: step.madds,
            })
            .collect();
        let (input_dims, output_shape) = (graph.input_dims(), graph.output_shape());
        let carried = carried(&steps, tail, output.slot);
        let bank = options.bank;
        Ok(Self { steps, output, tail, carried, arena_len, isa, bank, input_dims, output_shape })
    }

    /// Elements of scratch for `threads` threads.
    pub(crate) fn scratch_len(&self, threads: usize) -> usize {
        self.steps.iter().map(|s| s.kernel.scratch_len(threads)).max().unwrap_or(0)
    }

    /// The instruction set that the kernels are compiled for.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Storage of the kernel banks.
    pub fn bank(&self) -> Storage {
        self.bank
    }

    /// Shape `[C, H, W]` of one input sample.
    pub fn input_dims(&self) -> [usize; 3] {
        self.input_dims
    }

    /// Shape of the output for one sample.
    pub fn output_shape(&self) -> Shape {
        self.output_shape
    }

    /// Bytes of the arena that holds all activations of one sample.
    pub fn arena_bytes(&self) -> usize {
        self.arena_len * size_of::<f32>()
    }

    /// Bytes of the scratch memory that steps share on one thread: padded inputs, mixed kernels.
    pub fn scratch_bytes(&self) -> usize {
        self.scratch_len(1) * size_of::<f32>()
    }

    /// Bytes of all packed weights.
    pub fn weight_bytes(&self) -> usize {
        self.steps.iter().map(|s| s.kernel.weight_bytes()).sum()
    }

    /// The steps in execution order, with their names, kernels and output shapes.
    pub fn describe(&self) -> Vec<StepInfo> {
        self.steps.iter().map(|step| step.info(self.isa)).collect()
    }
}

/// Minimum number of bytes for the weights of a graph: all of them packed, and the largest tensor once more while it is
/// packed.
fn weight_bytes(graph: &Graph, parameters: &[Parameter], bank: Storage) -> usize {
    // Unless banks are exact, the linear layers of routers are narrowed too.
    let exact = if bank == Storage::F32 { 4 } else { 2 };
    let each = |p: &Parameter| match graph.node(p.node).op {
        Op::MixConv(_) | Op::MixLinear(_) => p.elements().saturating_mul(options::weight_bytes(bank)),
        Op::Input
        | Op::Conv(_)
        | Op::ConvTranspose(_)
        | Op::Linear(_)
        | Op::BatchNorm { .. }
        | Op::Activation(_)
        | Op::Softmax
        | Op::Add
        | Op::Scale
        | Op::GlobalAvgPool
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::Upsample { .. }
        | Op::LeakyRelu { .. }
        | Op::Mul
        | Op::Concat
        | Op::Slice { .. }
        | Op::Flatten
        | Op::ChannelShuffle { .. }
        | Op::Dropout { .. } => p.elements().saturating_mul(exact),
    };
    let largest = parameters.iter().map(Parameter::elements).max().unwrap_or(0);
    parameters.iter().map(each).fold(largest.saturating_mul(4), usize::saturating_add)
}

impl PlanStep {
    pub(crate) fn info(&self, isa: Isa) -> StepInfo {
        StepInfo {
            name: self.name.clone(),
            kernel: format!("{}/{}", self.kernel.name(), isa.name()),
            shape: self.shape,
            weight_bytes: self.kernel.weight_bytes(),
            madds: self.madds,
        }
    }
}

/// The first step of the tail, which runs step by step for all samples of a group. In the tail, each weight is read
/// once for all samples, but each map leaves the caches before it is read again. The choice minimizes the bytes read.
fn tail(kernels: &[Kernel], shapes: &[Shape]) -> usize {
    let maps = |i: usize| 2 * shapes[i].elements() * size_of::<f32>();
    let mut bytes: usize = (0..kernels.len()).map(maps).sum();
    let mut best = (bytes, 1);
    for (i, kernel) in kernels.iter().enumerate().skip(1) {
        bytes = bytes - maps(i) + kernel.weight_bytes();
        best = best.min((bytes, i + 1));
    }
    best.1
}

/// Slots that steps from `tail` on, or the output, read before one of these steps has written them.
fn carried(steps: &[PlanStep], tail: usize, output: Slot) -> Vec<Slot> {
    let mut carried: BTreeSet<Slot> = BTreeSet::new();
    let mut written: BTreeSet<Slot> = BTreeSet::new();
    let mut reads = |slot: Slot, written: &BTreeSet<Slot>| {
        if slot.len > 0 && !written.contains(&slot) {
            carried.insert(slot);
        }
    };
    for step in &steps[tail..] {
        step.inputs.iter().for_each(|view| reads(view.slot, &written));
        written.insert(step.output.slot);
        match step.kernel {
            Kernel::Mean { .. } => reads(step.sums, &written),
            _ => {
                written.insert(step.sums);
            }
        }
    }
    reads(output, &written);
    carried.into_iter().collect()
}

/// Lifetimes of the partial sums: until the last mean of them is computed.
fn sum_lives(lowered: &Lowered, kernels: &[Kernel]) -> Vec<Life> {
    let last = |i: usize| {
        (i..kernels.len()).rfind(|r| matches!(kernels[*r], Kernel::Mean { .. }) && lowered.steps[*r].inputs[0] == i)
    };
    let with_sums = (0..kernels.len()).filter(|i| lowered.steps[*i].sums);
    with_sums.map(|i| Life { len: kernels[i].sums_len(), first: i, last: last(i).unwrap_or(i) }).collect()
}

/// The buffer of each step, and the lifetime of each buffer. A value lives in the buffer of its home's root. A step that can work in place takes over the buffer of an
/// input that has no later reader; the inputs of a sum or product are swapped if that makes it possible.
fn buffers(lowered: &mut Lowered, kernels: &[Kernel], homes: &[Home]) -> (Vec<usize>, Vec<Life>) {
    let mut last_read: Vec<usize> = (0..lowered.steps.len()).collect();
    for (i, step) in lowered.steps.iter().enumerate() {
        for input in &step.inputs {
            last_read[*input] = i;
        }
    }
    last_read[lowered.output] = lowered.steps.len();
    // Whether other values live in a step's buffer, or it lives in another one's.
    let mut shares = vec![false; lowered.steps.len()];
    for (i, home) in homes.iter().enumerate().filter(|(i, home)| *i != home.root) {
        (shares[i], shares[home.root]) = (true, true);
    }
    let lens: Vec<usize> = lowered.steps.iter().map(|step| step.shape.elements()).collect();
    let mut buffer_of = Vec::with_capacity(lowered.steps.len());
    let mut buffer_of_root = vec![None; lowered.steps.len()];
    let mut lives: Vec<Life> = Vec::new();
    for (i, step) in lowered.steps.iter_mut().enumerate() {
        let dies = |input: usize| last_read[input] == i;
        if let (Kernel::Add { .. } | Kernel::Multiply { .. }, [a, b]) = (&kernels[i], &mut step.inputs[..])
            && !dies(*a)
            && dies(*b)
            && !shares[*a]
        {
            std::mem::swap(a, b);
        }
        let root = homes[i].root;
        let buffer = match (buffer_of_root[root], &step.inputs[..]) {
            (Some(buffer), _) => buffer,
            (None, &[a, ..])
                if root == i && kernels[i].in_place() && dies(a) && step.inputs.get(1) != Some(&a) && !shares[a] =>
            {
                buffer_of[a]
            }
            _ => {
                lives.push(Life { len: lens[root], first: i, last: i });
                lives.len() - 1
            }
        };
        buffer_of_root[root] = Some(buffer);
        lives[buffer].last = lives[buffer].last.max(last_read[i]);
        buffer_of.push(buffer);
    }
    (buffer_of, lives)
}
