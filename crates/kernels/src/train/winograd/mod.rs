//! Dense convolutions of 3×3 taps at stride one by Winograd's F(4×4, 3×3) or, for tiny maps, F(2×2, 3×3).
//!
//! ```text
//! U[point] = G·W_k·Gᵀ, one under the other                       [K·C, O]
//! V[point] = (Bᵀ·x·B), scaled by the K coefficients side by side  [tiles, K·C]
//! forward      M = V·U            y  = Aᵀ·M·A
//! backward     dM = A·dy·Aᵀ       dV = dM·Uᵀ     dx = B·dV·Bᵀ     dU = Vᵀ·dM     dW = Gᵀ·dU·G
//! ```
//!
//! The backward pass is the transpose of the forward pass, map by map. A mixture needs no further products: Σ_k π_k·(V·U_k) is one
//! product over K·C, ∂L/∂π_nk is ⟨(dM·Uᵀ)_k, V⟩ over the tiles of sample n. A static convolution is K = 1 without coefficients.
//!
//! The batch passes in chunks whose points stay in the last-level cache; threads share the samples where pixels become points
//! and back, and the points where matrices are multiplied.

mod lines;
mod tiles;

use std::cell::Cell;
use std::ops::Range;

use super::Gradients;
use super::geometry::{BatchConv, split};
use super::job::{Shared, room, run};
use super::product::View;
use crate::Isa;
use crate::lanes::LANES;
use tiles::Grid;

const TAPS: usize = 9;
/// Values of the points of a chunk of samples, about: eight megabytes.
const CHUNK: usize = 1 << 21;
/// Fewest channels on either side for which the products are worth the maps.
const NARROW: usize = 16;

/// Products per weight of one kernel and sample, where the definition has one for each output pixel, or `None` where
/// the convolution has another form.
pub(super) fn products(c: &BatchConv) -> Option<usize> {
    let dense = c.groups == 1 && c.input[0] >= NARROW && c.out_channels >= NARROW;
    if !dense || c.kernel != [3, 3] || c.stride != [1, 1] || c.dilation != [1, 1] {
        return None;
    }
    // A map costs about a quarter of the products.
    Some((points(c, side(c)) * 5 / 4).div_ceil(TAPS))
}

/// The tile that needs fewer products.
fn side(c: &BatchConv) -> usize {
    if points(c, 2) < points(c, 4) { 2 } else { 4 }
}

/// Points of all tiles of a map.
fn points(c: &BatchConv, side: usize) -> usize {
    c.output().iter().map(|s| s.div_ceil(side)).product::<usize>() * (side + 2) * (side + 2)
}

/// What all phases share.
struct Plan<'a> {
    isa: Isa,
    c: &'a BatchConv,
    kernels: usize,
    side: usize,
    points: usize,
    /// Rows and columns of tiles of a map.
    tiles: [usize; 2],
    /// Input and output channels, rounded up to lanes.
    channels: [usize; 2],
}

/// Large buffers of the thread that calls, kept from one convolution to the next.
#[derive(Default)]
struct Buffers {
    kernels: Vec<f32>,
    inputs: Vec<f32>,
    outputs: Vec<f32>,
    back: Vec<f32>,
    kernel_gradients: Vec<f32>,
}

thread_local! {
    static BUFFERS: Cell<Buffers> = const { Cell::new(Buffers {
        kernels: Vec::new(), inputs: Vec::new(), outputs: Vec::new(), back: Vec::new(), kernel_gradients: Vec::new(),
    }) };
}

pub(super) fn forward(isa: Isa, c: &BatchConv, x: &[f32], pi: Option<&[f32]>, bank: &[f32], y: Shared<'_>) {
    let plan = Plan::new(isa, c, bank);
    let mut buffers = BUFFERS.take();
    let u = plan.transform_kernels(bank, &mut buffers.kernels);
    for samples in plan.chunks() {
        let v = plan.transform_inputs(x, &samples, &mut buffers.inputs);
        let m = plan.multiply(v, u, pi, &samples, &mut buffers.outputs);
        plan.write_outputs(m, &samples, y);
    }
    BUFFERS.set(buffers);
}

pub(super) fn backward(
    isa: Isa,
    c: &BatchConv,
    x: &[f32],
    pi: Option<&[f32]>,
    bank: &[f32],
    dy: &[f32],
    gradients: Gradients<'_>,
) {
    let plan = Plan::new(isa, c, bank);
    let Gradients { dx, dbank, dpi } = gradients;
    let mut buffers = BUFFERS.take();
    let Buffers { kernels, inputs, outputs, back, kernel_gradients } = &mut buffers;
    let u = dx.map(|_| plan.transform_kernels(bank, kernels));
    let mut du = dbank.as_ref().map(|_| room(kernel_gradients, plan.points * plan.kernel_step()));
    let mut dots = vec![0.0; if pi.is_some() { plan.points * c.batch * plan.kernels } else { 0 }];
    for samples in plan.chunks() {
        let v = (du.is_some() || pi.is_some()).then(|| plan.transform_inputs(x, &samples, inputs));
        let dm = plan.transform_output_gradients(dy, &samples, outputs);
        let chunk = Chunk { plan: &plan, samples: &samples, dm, v, u, pi };
        if let Some(dx) = dx {
            let dv = chunk.multiply_back(back, &mut dots);
            plan.write_input_gradients(dv, &samples, dx);
        }
        if let Some(du) = &mut du {
            chunk.add_kernel_gradients(du);
        }
    }
    if let (Some(du), Some(dbank)) = (du, dbank) {
        plan.write_kernel_gradients(du, dbank);
    }
    if let Some(dpi) = dpi {
        for (i, sum) in dpi.iter_mut().enumerate() {
            *sum = dots.iter().skip(i).step_by(c.batch * plan.kernels).sum();
        }
    }
    BUFFERS.set(buffers);
}

#[allow(unsafe_code, reason = "jobs on several threads write to one buffer")]
impl<'a> Plan<'a> {
    fn new(isa: Isa, c: &'a BatchConv, bank: &[f32]) -> Self {
        let side = side(c);
        Self {
            isa,
            c,
            kernels: bank.len() / c.weights(),
            side,
            points: (side + 2) * (side + 2),
            tiles: c.output().map(|s| s.div_ceil(side)),
            channels: [c.input[0], c.out_channels].map(|n| n.next_multiple_of(LANES)),
        }
    }

    /// Tiles of a map.
    fn tiles_each(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    fn chunks(&self) -> Vec<Range<usize>> {
        let each = self.points * self.tiles_each() * (self.channels[0] + self.channels[1]);
        split(self.c.batch, (self.c.batch * each).div_ceil(CHUNK).clamp(1, self.c.batch))
    }

    /// Values from one point to the next: `[tiles, channels]`, and a line more, so that points do not share a set of the cache.
    fn step(&self, samples: usize, channels: usize) -> usize {
        samples * self.tiles_each() * channels + LANES
    }

    /// As [`Plan::step`] for kernels `[K·C, O]`.
    fn kernel_step(&self) -> usize {
        self.kernels * self.c.input[0] * self.channels[1] + LANES
    }

    /// The grid of sample `i` of a chunk of `samples`; pixels with a border reach over two more on each axis.
    fn grid(&self, i: usize, samples: usize, channels: usize, border: bool) -> Grid {
        let at = i * self.tiles_each() * channels;
        let row = (self.tiles[1] * self.side + if border { 2 } else { 0 }) * channels;
        Grid { side: self.side, tiles: self.tiles, channels, row, at, step: self.step(samples, channels) }
    }

    /// Values of the pixels of a sample.
    fn pixels_len(&self, channels: usize, border: bool) -> usize {
        self.tiles.iter().map(|t| t * self.side + if border { 2 } else { 0 }).product::<usize>() * channels
    }

    /// U, `[K·C, O]` for each point.
    fn transform_kernels<'b>(&self, bank: &[f32], to: &'b mut Vec<f32>) -> &'b [f32] {
        let (inputs, outputs, step) = (self.c.input[0], self.channels[1], self.kernel_step());
        let to = room(to, self.points * step);
        let shared = Shared::new(to);
        let blocks = outputs / LANES;
        run(self.kernels * blocks, |job, s| {
            let (k, block) = (job / blocks, job % blocks);
            let taps = room(&mut s.kernel, inputs * TAPS * LANES);
            let count = LANES.min(self.c.out_channels - block * LANES);
            let rows = &bank[k * self.c.weights() + block * LANES * inputs * TAPS..][..count * inputs * TAPS];
            rows_to_lanes(rows, count, inputs * TAPS, taps);
            let at = k * inputs * outputs + block * LANES;
            let grid = Grid { side: self.side, tiles: [1, inputs], channels: outputs, row: 0, at, step };
            // SAFETY: these kernels belong to this job.
            unsafe { tiles::kernels(self.isa, grid, taps, shared) };
        });
        to
    }

    /// dW from dU.
    fn write_kernel_gradients(&self, du: &[f32], dbank: &mut [f32]) {
        let (inputs, outputs, step) = (self.c.input[0], self.channels[1], self.kernel_step());
        let shared = Shared::new(dbank);
        let blocks = outputs / LANES;
        run(self.kernels * blocks, |job, s| {
            let (k, block) = (job / blocks, job % blocks);
            let taps = room(&mut s.kernel, inputs * TAPS * LANES);
            let at = k * inputs * outputs + block * LANES;
            let grid = Grid { side: self.side, tiles: [1, inputs], channels: outputs, row: 0, at, step };
            tiles::kernel_gradients(self.isa, grid, du, taps);
            let count = LANES.min(self.c.out_channels - block * LANES);
            let at = k * self.c.weights() + block * LANES * inputs * TAPS;
            // SAFETY: these kernels belong to this job.
            lanes_to_rows(taps, count, inputs * TAPS, unsafe { shared.slice(at, count * inputs * TAPS) });
        });
    }

    /// V, `[tiles, C]` for each point.
    fn transform_inputs<'b>(&self, x: &[f32], samples: &Range<usize>, to: &'b mut Vec<f32>) -> &'b [f32] {
        let channels = self.channels[0];
        let to = room(to, self.points * self.step(samples.len(), channels));
        let shared = Shared::new(to);
        run(samples.len(), |i, s| {
            let pixels = room(&mut s.columns, self.pixels_len(channels, true));
            pixels.fill(0.0);
            let grid = self.grid(i, samples.len(), channels, true);
            self.to_pixels(x, samples.start + i, self.c.input, self.c.padding, &grid, pixels);
            // SAFETY: the tiles of this sample belong to this job.
            unsafe { tiles::inputs(self.isa, grid, pixels, shared) };
        });
        to
    }

    /// dM, `[tiles, O]` for each point.
    fn transform_output_gradients<'b>(&self, dy: &[f32], samples: &Range<usize>, to: &'b mut Vec<f32>) -> &'b [f32] {
        let channels = self.channels[1];
        let [h, w] = self.c.output();
        let to = room(to, self.points * self.step(samples.len(), channels));
        let shared = Shared::new(to);
        run(samples.len(), |i, s| {
            let pixels = room(&mut s.columns, self.pixels_len(channels, false));
            pixels.fill(0.0);
            let grid = self.grid(i, samples.len(), channels, false);
            self.to_pixels(dy, samples.start + i, [self.c.out_channels, h, w], [0, 0], &grid, pixels);
            // SAFETY: the tiles of this sample belong to this job.
            unsafe { tiles::output_gradients(self.isa, grid, pixels, shared) };
        });
        to
    }

    /// Copies planes `[C, H, W]` of sample `n` to pixels, `from` rows and columns away from the first; what does not fit is left
    /// out.
    fn to_pixels(&self, x: &[f32], n: usize, [c, h, w]: [usize; 3], from: [usize; 2], g: &Grid, pixels: &mut [f32]) {
        let size = [pixels.len() / g.row, g.row / g.channels];
        let planes = &x[n * c * h * w..][..c * h * w];
        for block in (0..c).step_by(LANES) {
            let planes = &planes[block * h * w..(block + LANES).min(c) * h * w];
            for y in 0..h.min(size[0].saturating_sub(from[0])) {
                let to = &mut pixels[(y + from[0]) * g.row + from[1] * g.channels + block..];
                for x in 0..w.min(size[1].saturating_sub(from[1])) {
                    let to = &mut to[x * g.channels..][..planes.len() / (h * w)];
                    let from = planes[y * w + x..].iter().step_by(h * w);
                    to.iter_mut().zip(from).for_each(|(t, f)| *t = *f);
                }
            }
        }
    }

    /// The reverse: every value of the planes `[C, H, W]` `to` is written, those that no tile reaches with zeros.
    fn to_planes(&self, pixels: &[f32], [c, h, w]: [usize; 3], from: [usize; 2], g: &Grid, to: &mut [f32]) {
        let size = [pixels.len() / g.row, g.row / g.channels];
        let (rows, columns) = (h.min(size[0].saturating_sub(from[0])), w.min(size[1].saturating_sub(from[1])));
        if [rows, columns] != [h, w] {
            to.fill(0.0);
        }
        for block in (0..c).step_by(LANES) {
            let planes = &mut to[block * h * w..(block + LANES).min(c) * h * w];
            let count = planes.len() / (h * w);
            for y in 0..rows {
                let from = &pixels[(y + from[0]) * g.row + from[1] * g.channels + block..];
                for x in 0..columns {
                    let from = &from[x * g.channels..][..count];
                    planes[y * w + x..].iter_mut().step_by(h * w).zip(from).for_each(|(t, f)| *t = *f);
                }
            }
        }
    }

    /// M = V·U, `[tiles, O]` for each point.
    fn multiply<'b>(
        &self,
        v: &[f32],
        u: &[f32],
        pi: Option<&[f32]>,
        samples: &Range<usize>,
        to: &'b mut Vec<f32>,
    ) -> &'b [f32] {
        let (tiles, step) = (samples.len() * self.tiles_each(), self.step(samples.len(), self.channels[1]));
        let to = room(to, self.points * step);
        let shared = Shared::new(to);
        run(self.points, |point, s| {
            let v = self.scaled(v, pi, point, samples, &mut s.columns);
            let rows = self.kernels * self.c.input[0];
            let u = View::new(&u[point * self.kernel_step()..], rows, self.c.out_channels, self.channels[1]);
            // SAFETY: this point belongs to this job.
            unsafe {
                let size = [tiles, self.c.out_channels];
                shared.product(point * step, self.channels[1], size, false, v, u);
            }
        });
        to
    }

    /// V of one point, with coefficients `[tiles, K·C]`.
    fn scaled<'b>(
        &self,
        v: &'b [f32],
        pi: Option<&[f32]>,
        point: usize,
        samples: &Range<usize>,
        to: &'b mut Vec<f32>,
    ) -> View<'b> {
        let (inputs, channels, tiles) = (self.c.input[0], self.channels[0], samples.len() * self.tiles_each());
        let v = &v[point * self.step(samples.len(), channels)..];
        let Some(pi) = pi else { return View::new(v, tiles, inputs, channels) };
        let width = self.kernels * inputs;
        let to = room(to, tiles * width);
        let pi = &pi[samples.start * self.kernels..];
        tiles::scale(self.isa, v, [inputs, channels, self.tiles_each()], pi, self.kernels, to);
        View::new(to, tiles, width, width)
    }

    fn write_outputs(&self, m: &[f32], samples: &Range<usize>, y: Shared<'_>) {
        let ([h, w], channels) = (self.c.output(), self.channels[1]);
        let each = self.c.out_channels * h * w;
        run(samples.len(), |i, s| {
            let pixels = room(&mut s.columns, self.pixels_len(channels, false));
            let grid = self.grid(i, samples.len(), channels, false);
            tiles::outputs(self.isa, grid, m, pixels);
            // SAFETY: this sample belongs to this job.
            let to = unsafe { y.zeroed((samples.start + i) * each, each) };
            self.to_planes(pixels, [self.c.out_channels, h, w], [0, 0], &grid, to);
        });
    }

    fn write_input_gradients(&self, dv: &[f32], samples: &Range<usize>, dx: Shared<'_>) {
        let (channels, each) = (self.channels[0], self.c.input.iter().product());
        run(samples.len(), |i, s| {
            let pixels = room(&mut s.columns, self.pixels_len(channels, true));
            pixels.fill(0.0);
            let grid = self.grid(i, samples.len(), channels, true);
            tiles::input_gradients(self.isa, grid, dv, pixels);
            // SAFETY: this sample belongs to this job.
            let to = unsafe { dx.zeroed((samples.start + i) * each, each) };
            self.to_planes(pixels, self.c.input, self.c.padding, &grid, to);
        });
    }
}

/// The backward pass of a chunk of samples.
struct Chunk<'a> {
    plan: &'a Plan<'a>,
    samples: &'a Range<usize>,
    dm: &'a [f32],
    v: Option<&'a [f32]>,
    u: Option<&'a [f32]>,
    pi: Option<&'a [f32]>,
}

#[allow(unsafe_code, reason = "jobs on several threads write to one buffer")]
impl Chunk<'_> {
    /// dM of one point, `[tiles, O]`.
    fn dm(&self, point: usize) -> View<'_> {
        let (plan, n) = (self.plan, self.samples.len());
        let dm = &self.dm[point * plan.step(n, plan.channels[1])..];
        View::new(dm, n * plan.tiles_each(), plan.c.out_channels, plan.channels[1])
    }

    /// dV = dM·Uᵀ, `[tiles, C]` for each point; `dots` `[points, N, K]` receives ⟨dV_k, V⟩.
    fn multiply_back<'b>(&self, to: &'b mut Vec<f32>, dots: &mut [f32]) -> &'b [f32] {
        let (plan, samples) = (self.plan, self.samples);
        let (inputs, channels, kernels) = (plan.c.input[0], plan.channels[0], plan.kernels);
        let (tiles, step) = (samples.len() * plan.tiles_each(), plan.step(samples.len(), channels));
        let u = self.u.expect("gradients of inputs need the kernels");
        let to = room(to, plan.points * step);
        let (shared, dots) = (Shared::new(to), Shared::new(dots));
        run(plan.points, |point, s| {
            let u =
                View::new(&u[point * plan.kernel_step()..], kernels * inputs, plan.c.out_channels, plan.channels[1]);
            let Some(pi) = self.pi else {
                // SAFETY: this point belongs to this job.
                unsafe { shared.product(point * step, channels, [tiles, inputs], false, self.dm(point), u.t()) };
                return;
            };
            let width = kernels * inputs;
            let all = room(&mut s.columns, tiles * width);
            super::product::product(all, width, false, self.dm(point), u.t());
            let v = &self.v.expect("a mixture needs its inputs")[point * step..];
            let size = [inputs, channels, plan.tiles_each()];
            let pi = &pi[samples.start * kernels..];
            // SAFETY: this point belongs to this job.
            let (to, dots) = unsafe {
                let at = (point * plan.c.batch + samples.start) * kernels;
                (shared.slice(point * step, tiles * channels), dots.slice(at, samples.len() * kernels))
            };
            tiles::fold(plan.isa, all, v, size, pi, kernels, to, dots);
        });
        to
    }

    /// dU (+)= Vᵀ·dM, `[K·C, O]` for each point; the first chunk of a batch begins it.
    fn add_kernel_gradients(&self, du: &mut [f32]) {
        let (plan, v) = (self.plan, self.v.expect("gradients of kernels need the inputs"));
        let (step, shared) = (plan.kernel_step(), Shared::new(du));
        run(plan.points, |point, s| {
            let v = plan.scaled(v, self.pi, point, self.samples, &mut s.columns);
            let size = [plan.kernels * plan.c.input[0], plan.c.out_channels];
            // SAFETY: this point belongs to this job.
            unsafe {
                shared.product(point * step, plan.channels[1], size, self.samples.start > 0, v.t(), self.dm(point));
            }
        });
    }
}

/// `rows` rows of `len` values → `[len, 16]`; lanes without a row are zero.
fn rows_to_lanes(from: &[f32], rows: usize, len: usize, to: &mut [f32]) {
    for (i, to) in to.as_chunks_mut::<LANES>().0.iter_mut().enumerate().take(len) {
        for (row, to) in to.iter_mut().enumerate() {
            *to = if row < rows { from[row * len + i] } else { 0.0 };
        }
    }
}

/// The reverse of [`rows_to_lanes`].
fn lanes_to_rows(from: &[f32], rows: usize, len: usize, to: &mut [f32]) {
    for (i, from) in from.as_chunks::<LANES>().0.iter().enumerate().take(len) {
        for (row, v) in from.iter().enumerate().take(rows) {
            to[row * len + i] = *v;
        }
    }
}
