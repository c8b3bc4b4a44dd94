//! Convolution as products of packed panels, without materializing the patches (im2col).
//!
//! ```text
//! pad the input, unless the padding is zero
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
//! 1. A *segment* is a run of kernel values that are contiguous in the padded channels-last input: a whole kernel row
//!    of kw·C values, or one tap of C/groups values if dilation or groups break up the row. A 1×1 convolution is one
//!    segment, hence a plain matrix product. Long segments are split at block boundaries.
//! 2. All tiles of a layer have nearly the same number of pixels, so every tile has enough independent sums in flight.
//! 3. The sum of a pixel is computed in the same order in every tile.
//! 4. If the whole kernel fits into the L1 cache, a chunk of pixels is multiplied by all panels before the next chunk
//!    is read; otherwise a panel is multiplied by all pixels before the next panel is mixed.
//! 5. A panel with many rows is split into *blocks*. A mixed block stays in the L1 cache, and the K blocks from which
//!    the next one is mixed fit into the L2 cache beside everything else, so the bank is read from memory only once.
//! 6. A convolution that multiplies bf16 first rounds its input to words of two adjacent channels; it rounds its
//!    kernels when they are mixed or packed. The loops above treat a word as one value, so there are half as many
//!    values.

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
