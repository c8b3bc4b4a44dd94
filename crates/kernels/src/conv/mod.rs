//! Convolution as products of packed panels, without writing the patches out.
//!
//! ```text
//! pad the input, unless no padding is asked for
//! cut the pixels into chunks, the output channels into panels of 16 to 48; each thread takes a share of all pairs
//! for each panel, for each chunk:                               <- or, where the kernel is small, for each chunk, panel
//!     for each block of the panel:
//!         mix the block from the K blocks of the bank, if it is a mixture     <- "mix into the panel"
//!         for each tile of output pixels:
//!             sums[pixel] = bias, or what the block before has stored
//!             for each segment of the block, for each of its values c:
//!                 sums[pixel] += input[start of pixel + start of segment + c] · panel[segment][c]
//!                 prefetch a few bytes of the bank's next block               <- or of the next layer
//!             store the sums; the last block stores activation(sums + residual), and adds it to the sums over the pixels
//! ```
//!
//! 1. A *segment* is a run of kernel values that lie next to each other in the padded channels-last input: a whole kernel
//!    row of kw·C values, or one tap of C/groups where dilation or groups tear the row apart. A 1×1 convolution is one
//!    segment, hence a plain matrix product. Long segments are cut where the blocks are.
//! 2. All tiles of a layer have nearly the same number of pixels, so no tile is left with too few sums in flight.
//! 3. Each pixel's sum is formed in the same order whatever tile it is in.
//! 4. Where the whole kernel fits into the first-level cache, a chunk of pixels meets all panels before the next chunk is
//!    read; otherwise a panel meets all pixels before the next panel is mixed.
//! 5. A panel of many values is cut into *blocks*: a mixed block stays in the first-level cache, and the K blocks that the
//!    next one is mixed from fit into the second level beside everything else, so the bank is read from memory once.
//! 6. A convolution that multiplies bf16 first rounds its input to words of two neighbouring channels, and its kernels
//!    when they are mixed or packed. To the loops above a word is a value: there are half as many.

#[cfg(test)]
mod bf16_tests;
mod job;
mod pad;
mod panel_conv;
mod rounding;
mod shape;
#[cfg(test)]
pub(crate) mod tests;
mod tile;
mod transpose;

pub use panel_conv::PanelConv;
pub use transpose::{ConvTranspose, TransposedGeometry};
