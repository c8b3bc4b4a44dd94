//! The sizes of the tiles, and the number of products they need.

use crate::geometry::BatchConv;

pub(super) const TAPS: usize = 9;
/// Minimum number of input and of output channels for which the products are worth the transforms.
const NARROW: usize = 16;

/// How a map is divided into tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Four by four outputs from six by six inputs through 36 points.
    Four,
    /// Two by two outputs from four by four inputs through 16 points.
    Two,
    /// A whole map of two by two pixels, padded by one, through 9 points.
    Whole,
}

impl Form {
    /// The form with the fewest products.
    pub(super) fn of(c: &BatchConv) -> Self {
        if c.input[1..] == [2, 2] && c.padding == [1, 1] && c.end_padding == [1, 1] {
            return Self::Whole;
        }
        if Self::Two.products(c) < Self::Four.products(c) { Self::Two } else { Self::Four }
    }

    /// Outputs of a tile along one axis.
    pub(super) fn outputs(self) -> usize {
        if self == Self::Four { 4 } else { 2 }
    }

    /// Number of inputs of a tile along one axis beyond the number of its outputs.
    pub(super) fn border(self) -> usize {
        if self == Self::Whole { 0 } else { 2 }
    }

    /// Number of points of a tile.
    pub(super) fn points(self) -> usize {
        match self {
            Self::Four => 36,
            Self::Two => 16,
            Self::Whole => 9,
        }
    }

    /// Number of rows and columns of tiles of a map.
    pub(super) fn tiles(self, c: &BatchConv) -> [usize; 2] {
        c.output().map(|s| s.div_ceil(self.outputs()))
    }

    /// Number of points of all tiles of a map.
    pub(super) fn products(self, c: &BatchConv) -> usize {
        self.tiles(c).iter().product::<usize>() * self.points()
    }
}

/// Products per weight of one kernel and per sample (the direct convolution has one per output pixel), or `None` if the
/// convolution is not supported.
pub(crate) fn products(c: &BatchConv) -> Option<usize> {
    let dense = c.groups == 1 && c.input[0] >= NARROW && c.out_channels >= NARROW;
    if !dense || c.kernel != [3, 3] || c.stride != [1, 1] || c.dilation != [1, 1] {
        return None;
    }
    // The transforms cost about a quarter of the products.
    Some((Form::of(c).products(c) * 5 / 4).div_ceil(TAPS))
}
