//! Runs a kernel on one sample, reading and writing slots of the arena.

use dyconv_kernels::{
    ConvRun, Epilogue, Exec, PixelSteps, PrefetchRange, activate, add, affine, affine_from, avg_pool, copy_channels,
    global_avg_pool, hwc_to_chw, interleave_channels, leaky_relu, linear, linear_bf16, max_pool, mean_of_sums,
    mix_linear, multiply, scale, shuffle_channels, softmax,
};

use super::packed::Carved;
use super::{Kernel, LinearWeights};
use crate::arena::{Slot, View};

/// The slots that a kernel reads and writes, besides its weights.
pub(crate) struct Places<'a> {
    pub(crate) inputs: &'a [View],
    pub(crate) output: View,
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
                let nothing = View { slot: Slot { offset: 0, len: 0 }, step: 0 };
                let residual = if packed.residual { inputs[inputs.len() - 1] } else { nothing };
                let steps = PixelSteps { x: inputs[0].step, residual: residual.step, y: output.step };
                let ([x, residual], [y, sums]) =
                    two_and_two(arena, [inputs[0].slot, residual.slot], [output.slot, sums]);
                conv.run(
                    exec,
                    ConvRun {
                        bank,
                        coefficients,
                        input_scale: factors,
                        epilogue,
                        residual,
                        steps,
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
                if inputs[0] == output {
                    affine(isa, &mut arena[output.range()], scale, shift, *activation);
                } else {
                    let [x, y] = apart(arena, inputs[0], output);
                    affine_from(isa, x, inputs[0].step, y, scale, shift, *activation);
                }
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
                let [sums, y] = slots_apart(arena, sums, output.slot);
                mean_of_sums(isa, sums, *pixels, y);
            }
            Kernel::MaxPool(geometry) => {
                let [x, y] = apart(arena, inputs[0], output);
                max_pool(isa, geometry, [inputs[0].step, output.step], x, y);
            }
            Kernel::AvgPool(geometry, count_padding) => {
                let [x, y] = apart(arena, inputs[0], output);
                avg_pool(isa, geometry, *count_padding, [inputs[0].step, output.step], x, y);
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
                let all: usize = channels.iter().sum();
                let mut to = output;
                to.slot.len -= all;
                for (from, channels) in inputs.iter().zip(channels) {
                    let to_here = View { slot: Slot { len: to.slot.len + channels, ..to.slot }, ..to };
                    copy(arena, *channels, *from, to_here);
                    to.slot.offset += channels;
                }
            }
            Kernel::Slice { start, channels, of } => {
                let Slot { offset, len } = inputs[0].slot;
                let slot = Slot { offset: offset + start, len: len - of + channels };
                copy(arena, *channels, View { slot, ..inputs[0] }, output);
            }
            Kernel::Flatten { channels } => {
                let [x, y] = apart(arena, inputs[0], output);
                hwc_to_chw(*channels, x, y);
            }
            Kernel::ChannelShuffle { channels, groups } => {
                let [x, y] = apart(arena, inputs[0], output);
                shuffle_channels(*channels, *groups, x, y);
            }
            Kernel::Interleave { channels } => {
                let nothing = Slot { offset: 0, len: 0 };
                let ([a, b], [y, _]) = two_and_two(arena, [inputs[0].slot, inputs[1].slot], [output.slot, nothing]);
                interleave_channels(isa, *channels, [inputs[0].step, inputs[1].step], a, b, y);
            }
        }
    }
}

const APART: &str = "the plan keeps values apart that live together";

/// Two values of the arena that the plan placed without overlap.
fn apart(arena: &mut [f32], a: View, b: View) -> [&mut [f32]; 2] {
    slots_apart(arena, a.slot, b.slot)
}

fn slots_apart(arena: &mut [f32], a: Slot, b: Slot) -> [&mut [f32]; 2] {
    arena.get_disjoint_mut([a.range(), b.range()]).expect(APART)
}

/// Two slots to read, which may overlap, and two to write.
fn two_and_two(arena: &mut [f32], [a, b]: [Slot; 2], [y, z]: [Slot; 2]) -> ([&[f32]; 2], [&mut [f32]; 2]) {
    let (start, end) = (a.offset.min(b.offset), a.range().end.max(b.range().end));
    if a.len > 0 && b.len > 0 && end - start < a.len + b.len {
        // They are parts of one value, which no kernel writes while it reads them.
        let [both, y, z] = arena.get_disjoint_mut([start..end, y.range(), z.range()]).expect(APART);
        let both = &*both;
        return ([a, b].map(|slot| &both[slot.offset - start..][..slot.len]), [y, z]);
    }
    let [a, b, y, z] = arena.get_disjoint_mut([a.range(), b.range(), y.range(), z.range()]).expect(APART);
    ([a, b], [y, z])
}

/// Copies the channels of every pixel, unless they are there already.
fn copy(arena: &mut [f32], channels: usize, from: View, to: View) {
    let pixels = (to.slot.len - channels) / to.step + 1;
    if from.slot.offset == to.slot.offset && (from.step == to.step || pixels == 1) {
        return;
    }
    match arena.get_disjoint_mut([from.range(), to.range()]) {
        Ok([x, y]) => copy_channels(channels, [from.step, to.step], x, y),
        // Parts of one value.
        Err(_) => {
            for p in 0..pixels {
                let start = from.slot.offset + p * from.step;
                arena.copy_within(start..start + channels, to.slot.offset + p * to.step);
            }
        }
    }
}

/// The slot of `to`, whose pixels lie side by side, initialized with the value of `from`: copied, unless both are the
/// same place.
fn start_from(arena: &mut [f32], from: View, to: View) -> &mut [f32] {
    if from.slot.len == to.slot.len {
        if from.slot != to.slot {
            arena.copy_within(from.range(), to.slot.offset);
        }
    } else {
        copy(arena, to.step, from, to);
    }
    &mut arena[to.range()]
}
