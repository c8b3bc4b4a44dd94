//! Runs a kernel on one sample, reading and writing slots of the arena.

use dyconv_kernels::{
    ConvRun, Epilogue, Exec, PixelSteps, PrefetchRange, activate, add, affine, avg_pool, copy_channels,
    global_avg_pool, hwc_to_chw, leaky_relu, linear, linear_bf16, max_pool, mean_of_sums, mix_linear, multiply, scale,
    shuffle_channels, softmax,
};

use super::packed::Carved;
use super::{Kernel, LinearWeights};
use crate::arena::Slot;

/// The slots that a kernel reads and writes, besides its weights.
pub(crate) struct Places<'a> {
    pub(crate) inputs: &'a [Slot],
    pub(crate) output: Slot,
    /// The partial sums that the step writes or reads.
    pub(crate) sums: Slot,
    /// The memory that will be read after this step.
    pub(crate) prefetch: [PrefetchRange; 2],
}

impl Kernel {
    /// Runs on one sample, reading and writing slots of the arena.
    pub(crate) fn run(&self, exec: Exec<'_>, arena: &mut [f32], places: &Places<'_>, scratch: &mut [f32]) {
        let Places { inputs, output, sums, prefetch } = *places;
        let isa = exec.isa;
        match self {
            Kernel::Input => {}
            Kernel::Conv(conv, packed, bank) => {
                let Carved { coefficients, factors, bias, rest } = packed.carve(isa, arena, inputs, scratch);
                let epilogue = Epilogue { bias, activation: packed.activation };
                let nothing = Slot { offset: 0, len: 0 };
                let residual = if packed.residual { inputs[inputs.len() - 1] } else { nothing };
                // The residual may be the input of the convolution itself.
                let own = if residual == inputs[0] { nothing } else { residual };
                let [x, y, sums, own] = arena
                    .get_disjoint_mut([inputs[0].range(), output.range(), sums.range(), own.range()])
                    .expect("the plan keeps values apart that live together");
                let residual = if packed.residual && residual == inputs[0] { &*x } else { &*own };
                conv.run(
                    exec,
                    ConvRun {
                        bank,
                        coefficients,
                        input_scale: factors,
                        epilogue,
                        residual,
                        steps: PixelSteps::default(),
                        x,
                        y,
                        sums,
                        scratch: rest,
                        prefetch,
                    },
                );
            }
            Kernel::ConvTranspose { conv, bank, bias, activation } => {
                let [x, y] = apart(arena, inputs[0], output);
                let end = Epilogue { bias, activation: *activation };
                conv.run(exec, bank, end, x, y, scratch, prefetch);
            }
            Kernel::Linear(packed, weight) => {
                let Carved { coefficients, bias, rest, .. } = packed.carve(isa, arena, inputs, scratch);
                let end = Epilogue { bias, activation: packed.activation };
                let [x, y] = apart(arena, inputs[0], output);
                match weight {
                    LinearWeights::F32(bank) if packed.mixes => {
                        mix_linear(isa, bank, coefficients, end, x, &mut rest[..packed.inputs], y);
                    }
                    LinearWeights::F32(weight) => linear(exec, weight, end, x, y),
                    LinearWeights::Bf16(weight) => linear_bf16(exec, weight, end, x, y),
                }
            }
            Kernel::Affine { scale, shift, activation } => {
                affine(isa, start_from(arena, inputs[0], output), scale, shift, *activation);
            }
            Kernel::Activate(function) => activate(isa, *function, start_from(arena, inputs[0], output)),
            Kernel::Softmax { tau } => softmax(start_from(arena, inputs[0], output), *tau),
            Kernel::Add { activation } => {
                start_from(arena, inputs[0], output);
                let [x, y] = apart(arena, inputs[1], output);
                add(isa, y, x, *activation);
            }
            Kernel::Scale { activation } => {
                start_from(arena, inputs[0], output);
                let [factors, y] = apart(arena, inputs[1], output);
                scale(isa, y, factors, *activation);
            }
            Kernel::GlobalAvgPool => {
                let [x, y] = apart(arena, inputs[0], output);
                global_avg_pool(isa, x, y);
            }
            Kernel::Mean { pixels } => {
                let [sums, y] = apart(arena, sums, output);
                mean_of_sums(isa, sums, *pixels, y);
            }
            Kernel::MaxPool(geometry) => {
                let [x, y] = apart(arena, inputs[0], output);
                max_pool(isa, geometry, [0, 0], x, y);
            }
            Kernel::AvgPool(geometry, count_padding) => {
                let [x, y] = apart(arena, inputs[0], output);
                avg_pool(isa, geometry, *count_padding, [0, 0], x, y);
            }
            Kernel::Upsample(upsample, activation) => {
                let [x, y, sums] = arena
                    .get_disjoint_mut([inputs[0].range(), output.range(), sums.range()])
                    .expect("the plan keeps values apart that live together");
                upsample.run(exec, *activation, x, y, sums);
            }
            Kernel::LeakyRelu { slope } => leaky_relu(isa, *slope, start_from(arena, inputs[0], output)),
            Kernel::Multiply { activation } => {
                start_from(arena, inputs[0], output);
                let [x, y] = apart(arena, inputs[1], output);
                multiply(isa, y, x, *activation);
            }
            Kernel::Concat { channels } => {
                let (all, mut at) = (channels.iter().sum::<usize>(), 0);
                for (from, channels) in inputs.iter().zip(channels) {
                    let [x, y] = apart(arena, *from, output);
                    let end = y.len() - all + at + channels;
                    copy_channels(*channels, [*channels, all], x, &mut y[at..end]);
                    at += channels;
                }
            }
            Kernel::Slice { start, channels, of } => {
                let [x, y] = apart(arena, inputs[0], output);
                let end = x.len() - of + start + channels;
                copy_channels(*channels, [*of, *channels], &x[*start..end], y);
            }
            Kernel::Flatten { channels } => {
                let [x, y] = apart(arena, inputs[0], output);
                hwc_to_chw(*channels, x, y);
            }
            Kernel::ChannelShuffle { channels, groups } => {
                let [x, y] = apart(arena, inputs[0], output);
                shuffle_channels(*channels, *groups, x, y);
            }
        }
    }
}

/// Two values of the arena that the plan placed without overlap.
fn apart(arena: &mut [f32], a: Slot, b: Slot) -> [&mut [f32]; 2] {
    arena.get_disjoint_mut([a.range(), b.range()]).expect("the plan keeps values apart that live together")
}

/// The slot `to`, initialized with the value of `from`: copied, unless both are the same place.
fn start_from(arena: &mut [f32], from: Slot, to: Slot) -> &mut [f32] {
    if from != to {
        arena.copy_within(from.range(), to.offset);
    }
    &mut arena[to.range()]
}
