//! Dense convolutions with 3×3 taps at stride one by fewer products: Winograd's F(4×4, 3×3), F(2×2, 3×3) for small
//! maps, and a special form for maps of 2×2 pixels ([`form::Form`]).
//!
//! ```text
//! U[point] = G·W_k·Gᵀ, one under the other                       [K·C, O]
//! V[point] = (Bᵀ·x·B), scaled by the K coefficients side by side  [tiles, K·C]
//! forward      M = V·U            y  = Aᵀ·M·A
//! backward     dM = A·dy·Aᵀ       dV = dM·Uᵀ     dx = B·dV·Bᵀ     dUᵀ = dMᵀ·V     dW = Gᵀ·dU·G
//! ```
//!
//! The backward pass is the transpose of the forward pass, transform by transform. A mixture needs no further products:
//! Σ_k π_k·(V·U_k) is one product over K·C, and ∂L/∂π_nk is ⟨(dM·Uᵀ)_k, V⟩ over the tiles of sample n. A static
//! convolution is K = 1 without coefficients.
//!
//! The transforms write their results in the order in which the products read them: the right matrix of a product is
//! stored in [`Panels`], so nothing is packed. Channels are rounded up to whole vectors, with zeros.
//!
//! The batch is processed in chunks whose points stay in the last-level cache. Threads share the samples in the
//! transforms, and the points in the matrix products.

mod form;
mod panels;
mod transform_1d;
mod transform_2d;

pub(crate) use form::products;

use std::cell::Cell;
use std::ops::Range;

use dyconv_simd::{Buffer, Isa, LANES};

use crate::gemm::{View, panel_width};
use crate::geometry::{BatchConv, split};
use crate::gradients::Gradients;
use crate::job::{Shared, run};
use form::{Form, TAPS};
use panels::{Coefficients, Panels, fold, gemm, scale};
use transform_2d::{Grid, Rows, lanes_to_rows, rows_to_lanes};

/// Approximate number of values of the points of a chunk of samples: eight megabytes.
const CHUNK: usize = 1 << 21;

/// State shared by all steps.
struct Plan<'a> {
    isa: Isa,
    c: &'a BatchConv,
    kernels: usize,
    form: Form,
    /// Number of rows and columns of tiles of a map.
    tiles: [usize; 2],
    /// Numbers of input and output channels, rounded up to lanes.
    channels: [usize; 2],
    /// Number of columns of a panel.
    width: usize,
}

/// Large buffers of the calling thread, kept from one convolution to the next.
#[derive(Default)]
struct Buffers {
    kernels: Buffer<f32>,
    inputs: Buffer<f32>,
    outputs: Buffer<f32>,
    back: Buffer<f32>,
    kernel_gradients: Buffer<f32>,
}

thread_local! {
    static BUFFERS: Cell<Buffers> = const { Cell::new(Buffers {
        kernels: Buffer::new(), inputs: Buffer::new(), outputs: Buffer::new(), back: Buffer::new(), kernel_gradients: Buffer::new(),
    }) };
}

pub(super) fn forward(isa: Isa, c: &BatchConv, x: &[f32], pi: Option<&[f32]>, bank: &[f32], y: Shared<'_>) {
    let plan = Plan::new(isa, c, bank);
    let mut buffers = BUFFERS.take();
    let u = plan.transform_kernels(bank, &mut buffers.kernels);
    for samples in plan.chunks() {
        let rows = plan.rows(&samples, plan.channels[0]);
        let v = plan.transform_inputs(x, &samples, rows, &mut buffers.inputs);
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
    let u = dx.map(|_| plan.transform_transposed(bank, kernels));
    let mut du = dbank.as_ref().map(|_| kernel_gradients.ensure_len(plan.form.points() * step(plan.transposed())));
    let mut dots = vec![0.0; if pi.is_some() { plan.form.points() * c.batch * plan.kernels } else { 0 }];
    for samples in plan.chunks() {
        let panels = plan.panels(&samples, plan.channels[0]);
        let v = (du.is_some() || pi.is_some()).then(|| plan.transform_inputs(x, &samples, panels, inputs));
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

/// Distance in values from the matrix of one point to that of the next: one cache line more than its size, so that
/// points do not share a cache set.
fn step(matrix: Panels) -> usize {
    matrix.rows * matrix.columns + LANES
}

#[allow(unsafe_code, reason = "jobs on several threads write to one buffer")]
impl<'a> Plan<'a> {
    fn new(isa: Isa, c: &'a BatchConv, bank: &[f32]) -> Self {
        let form = Form::of(c);
        Self {
            isa,
            c,
            kernels: bank.len() / c.weights(),
            form,
            tiles: form.tiles(c),
            channels: [c.input[0], c.out_channels].map(|n| n.next_multiple_of(LANES)),
            width: panel_width(isa),
        }
    }

    /// Number of tiles of a map.
    fn tiles_each(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    fn chunks(&self) -> Vec<Range<usize>> {
        let each = self.form.products(self.c) * (self.channels[0] + self.channels[1]);
        split(self.c.batch, (self.c.batch * each).div_ceil(CHUNK).clamp(1, self.c.batch))
    }

    /// Layout of `[tiles, channels]` of a chunk of samples, row by row.
    fn rows(&self, samples: &Range<usize>, channels: usize) -> Panels {
        Panels { width: channels, ..self.panels(samples, channels) }
    }

    /// The same layout in panels.
    fn panels(&self, samples: &Range<usize>, channels: usize) -> Panels {
        Panels { rows: samples.len() * self.tiles_each(), columns: channels, width: self.width }
    }

    /// Layout of `[K·C, O]` of a point.
    fn whole(&self) -> Panels {
        Panels { rows: self.kernels * self.channels[0], columns: self.channels[1], width: self.width }
    }

    /// Layout of `[O, K·C]` of a point.
    fn transposed(&self) -> Panels {
        Panels { rows: self.c.out_channels, columns: self.kernels * self.channels[0], width: self.width }
    }

    /// The grid of sample `i` of a chunk.
    fn grid(&self, i: usize, points: Panels, border: usize) -> Grid {
        let row = (self.tiles[1] * self.form.outputs() + border) * points.columns;
        Grid { form: self.form, tiles: self.tiles, row, first: i * self.tiles_each(), points, step: step(points) }
    }

    /// Number of values of the pixels of a sample.
    fn pixels_len(&self, channels: usize, border: usize) -> usize {
        self.tiles.iter().map(|t| t * self.form.outputs() + border).product::<usize>() * channels
    }

    /// Row and column of the first pixel of a sample within its border.
    fn origin(&self) -> [usize; 2] {
        if self.form == Form::Whole { [0, 0] } else { self.c.padding }
    }

    /// Computes U, `[K·C, O]` for each point.
    fn transform_kernels<'b>(&self, bank: &[f32], to: &'b mut Buffer<f32>) -> &'b [f32] {
        let (inputs, points) = (self.c.input[0], self.whole());
        let to = to.ensure_len(self.form.points() * step(points));
        let shared = Shared::new(to);
        let blocks = self.channels[1] / LANES;
        run(self.kernels * blocks, |job, s| {
            let (k, block) = (job / blocks, job % blocks);
            let taps = s.kernel.ensure_len(self.channels[0] * TAPS * LANES);
            let count = LANES.min(self.c.out_channels - block * LANES);
            let from = &bank[k * self.c.weights() + block * LANES * inputs * TAPS..][..count * inputs * TAPS];
            rows_to_lanes(self.isa, from, inputs * TAPS, [count, inputs * TAPS], taps);
            taps[inputs * TAPS * LANES..].fill(0.0);
            let at = [k * self.channels[0], block * LANES];
            let rows = Rows { form: self.form, rows: self.channels[0], at, points, step: step(points) };
            // SAFETY: these kernels belong to this job.
            unsafe { transform_2d::kernels(self.isa, rows, taps, shared) };
        });
        to
    }

    /// Computes Uᵀ, `[O, K·C]` for each point.
    fn transform_transposed<'b>(&self, bank: &[f32], to: &'b mut Buffer<f32>) -> &'b [f32] {
        let points = self.transposed();
        let to = to.ensure_len(self.form.points() * step(points));
        let shared = Shared::new(to);
        self.input_blocks(|k, block, count, rows, taps| {
            for (o, taps) in taps.chunks_exact_mut(TAPS * LANES).enumerate() {
                let from = &bank[self.weight_at(k, o, block)..][..count * TAPS];
                rows_to_lanes(self.isa, from, TAPS, [count, TAPS], taps);
            }
            // SAFETY: these kernels belong to this job.
            unsafe { transform_2d::kernels(self.isa, rows, taps, shared) };
        });
        to
    }

    /// Computes dW from dUᵀ.
    fn write_kernel_gradients(&self, du: &[f32], dbank: &mut [f32]) {
        let shared = Shared::new(dbank);
        self.input_blocks(|k, block, count, rows, taps| {
            transform_2d::kernel_gradients(self.isa, rows, du, taps);
            for (o, taps) in taps.chunks_exact(TAPS * LANES).enumerate() {
                // SAFETY: these kernels belong to this job.
                let to = unsafe { shared.slice(self.weight_at(k, o, block), count * TAPS) };
                lanes_to_rows(self.isa, taps, TAPS, [count, TAPS], to);
            }
        });
    }

    /// Runs a job for every kernel k and every sixteen input channels of it. Its arguments are k, the block of
    /// channels, the number of channels, their place among points `[O, K·C]`, and a buffer for their taps `[O, 9, 16]`.
    fn input_blocks(&self, job: impl Fn(usize, usize, usize, Rows, &mut [f32]) + Sync) {
        let (blocks, points) = (self.channels[0] / LANES, self.transposed());
        run(self.kernels * blocks, |i, s| {
            let (k, block) = (i / blocks, i % blocks);
            let at = [0, k * self.channels[0] + block * LANES];
            let rows = Rows { form: self.form, rows: points.rows, at, points, step: step(points) };
            let count = LANES.min(self.c.input[0] - block * LANES);
            job(k, block, count, rows, s.kernel.ensure_len(points.rows * TAPS * LANES));
        });
    }

    /// Start of the taps of kernel k from a block of sixteen input channels to output channel o.
    fn weight_at(&self, k: usize, o: usize, block: usize) -> usize {
        k * self.c.weights() + (o * self.c.input[0] + block * LANES) * TAPS
    }

    /// Computes V, `[tiles, C]` for each point.
    fn transform_inputs<'b>(
        &self,
        x: &[f32],
        samples: &Range<usize>,
        points: Panels,
        to: &'b mut Buffer<f32>,
    ) -> &'b [f32] {
        let to = to.ensure_len(self.form.points() * step(points));
        let shared = Shared::new(to);
        let border = self.form.border();
        run(samples.len(), |i, s| {
            let pixels = s.columns.ensure_len(self.pixels_len(points.columns, border));
            pixels.fill(0.0);
            let grid = self.grid(i, points, border);
            let each = self.c.input.iter().product();
            let planes = &x[(samples.start + i) * each..][..each];
            transform_2d::planes_to_pixels(self.isa, planes, self.c.input, self.origin(), grid, pixels);
            // SAFETY: the tiles of this sample belong to this job.
            unsafe { transform_2d::inputs(self.isa, grid, pixels, shared) };
        });
        to
    }

    /// Computes dM, `[tiles, O]` for each point, row by row.
    fn transform_output_gradients<'b>(&self, dy: &[f32], samples: &Range<usize>, to: &'b mut Buffer<f32>) -> &'b [f32] {
        let points = self.rows(samples, self.channels[1]);
        let [h, w] = self.c.output();
        let to = to.ensure_len(self.form.points() * step(points));
        let shared = Shared::new(to);
        run(samples.len(), |i, s| {
            let pixels = s.columns.ensure_len(self.pixels_len(points.columns, 0));
            pixels.fill(0.0);
            let grid = self.grid(i, points, 0);
            let planes = &dy[(samples.start + i) * self.c.out_channels * h * w..][..self.c.out_channels * h * w];
            transform_2d::planes_to_pixels(self.isa, planes, [self.c.out_channels, h, w], [0, 0], grid, pixels);
            // SAFETY: the tiles of this sample belong to this job.
            unsafe { transform_2d::output_gradients(self.isa, grid, pixels, shared) };
        });
        to
    }

    /// Computes M = V·U, `[tiles, O]` for each point.
    fn multiply<'b>(
        &self,
        v: &[f32],
        u: &[f32],
        pi: Option<&[f32]>,
        samples: &Range<usize>,
        to: &'b mut Buffer<f32>,
    ) -> &'b [f32] {
        let (from, points, kernels) =
            (self.rows(samples, self.channels[0]), self.panels(samples, self.channels[1]), self.whole());
        let to = to.ensure_len(self.form.points() * step(points));
        let shared = Shared::new(to);
        run(self.form.points(), |point, s| {
            let v = self.scaled(v, from, point, pi, samples, kernels.rows, &mut s.columns);
            let v = View::new(v, from.rows, kernels.rows, kernels.rows);
            // SAFETY: this point belongs to this job.
            let to = unsafe { shared.slice(point * step(points), points.rows * points.columns) };
            gemm(self.isa, v, &u[point * step(kernels)..], kernels, to, false);
        });
        to
    }

    /// V of one point, multiplied by the coefficients: `[tiles, K·C]` in panels `width` wide.
    #[allow(clippy::too_many_arguments, reason = "a matrix, its place and its coefficients")]
    fn scaled<'b>(
        &self,
        v: &'b [f32],
        from: Panels,
        point: usize,
        pi: Option<&[f32]>,
        samples: &Range<usize>,
        width: usize,
        to: &'b mut Buffer<f32>,
    ) -> &'b [f32] {
        let v = &v[point * step(from)..][..from.rows * from.columns];
        let Some(pi) = pi else { return v };
        let to = to.ensure_len(v.len() * self.kernels);
        scale(self.isa, v, from, self.coefficients(pi, samples), to, width);
        to
    }

    fn coefficients<'b>(&self, pi: &'b [f32], samples: &Range<usize>) -> Coefficients<'b> {
        let kernels = self.kernels;
        Coefficients { pi: &pi[samples.start * kernels..samples.end * kernels], kernels, each: self.tiles_each() }
    }

    fn write_outputs(&self, m: &[f32], samples: &Range<usize>, y: Shared<'_>) {
        let ([h, w], points) = (self.c.output(), self.panels(samples, self.channels[1]));
        let each = self.c.out_channels * h * w;
        run(samples.len(), |i, s| {
            let pixels = s.columns.ensure_len(self.pixels_len(points.columns, 0));
            let grid = self.grid(i, points, 0);
            transform_2d::outputs(self.isa, grid, m, pixels);
            // SAFETY: this sample belongs to this job.
            let to = unsafe { y.zeroed((samples.start + i) * each, each) };
            transform_2d::pixels_to_planes(self.isa, pixels, [self.c.out_channels, h, w], [0, 0], grid, to);
        });
    }

    fn write_input_gradients(&self, dv: &[f32], samples: &Range<usize>, dx: Shared<'_>) {
        let (points, each) = (self.panels(samples, self.channels[0]), self.c.input.iter().product());
        let border = self.form.border();
        run(samples.len(), |i, s| {
            let pixels = s.columns.ensure_len(self.pixels_len(points.columns, border));
            pixels.fill(0.0);
            let grid = self.grid(i, points, border);
            transform_2d::input_gradients(self.isa, grid, dv, pixels);
            // SAFETY: this sample belongs to this job.
            let to = unsafe { dx.zeroed((samples.start + i) * each, each) };
            transform_2d::pixels_to_planes(self.isa, pixels, self.c.input, self.origin(), grid, to);
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
        let points = self.plan.rows(self.samples, self.plan.channels[1]);
        View::new(&self.dm[point * step(points)..], points.rows, self.plan.c.out_channels, points.columns)
    }

    /// Computes dV = dM·Uᵀ, `[tiles, C]` for each point; `dots` `[points, N, K]` receives ⟨dV_k, V⟩.
    fn multiply_back<'b>(&self, to: &'b mut Buffer<f32>, dots: &mut [f32]) -> &'b [f32] {
        let (plan, samples) = (self.plan, self.samples);
        let (points, kernels) = (plan.panels(samples, plan.channels[0]), plan.transposed());
        let u = self.u.expect("gradients of inputs need the kernels");
        let to = to.ensure_len(plan.form.points() * step(points));
        let (shared, dots) = (Shared::new(to), Shared::new(dots));
        run(plan.form.points(), |point, s| {
            let (dm, u) = (self.dm(point), &u[point * step(kernels)..]);
            let len = points.rows * points.columns;
            // SAFETY: this point belongs to this job.
            let to = unsafe { shared.slice(point * step(points), len) };
            let Some(pi) = self.pi else { return gemm(plan.isa, dm, u, kernels, to, false) };
            let all = s.columns.ensure_len(len * plan.kernels);
            gemm(plan.isa, dm, u, kernels, all, false);
            let v = &self.v.expect("a mixture needs its inputs")[point * step(points)..];
            // SAFETY: this point belongs to this job.
            let dots = unsafe {
                let at = (point * plan.c.batch + samples.start) * plan.kernels;
                dots.slice(at, samples.len() * plan.kernels)
            };
            fold(plan.isa, all, v, points, plan.coefficients(pi, samples), to, dots);
        });
        to
    }

    /// dUᵀ (+)= dMᵀ·V, `[O, K·C]` for each point; the first chunk of a batch overwrites it.
    fn add_kernel_gradients(&self, du: &mut [f32]) {
        let (plan, v) = (self.plan, self.v.expect("gradients of kernels need the inputs"));
        let (points, kernels) = (plan.panels(self.samples, plan.channels[0]), plan.transposed());
        let shared = Shared::new(du);
        run(plan.form.points(), |point, s| {
            let v = plan.scaled(v, points, point, self.pi, self.samples, plan.width, &mut s.columns);
            let scaled = Panels { columns: kernels.columns, ..points };
            // SAFETY: this point belongs to this job.
            let to = unsafe { shared.slice(point * step(kernels), kernels.rows * kernels.columns) };
            gemm(plan.isa, self.dm(point).t(), v, scaled, to, self.samples.start > 0);
        });
    }
}
