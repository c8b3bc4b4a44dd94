//! The form of the tiles, and how many products it needs.

use crate::geometry::BatchConv;

pub(super) const TAPS: usize = 9;
/// Fewest channels on either side for which the products are worth the transforms.
const NARROW: usize = 16;

/// How a map is cut into tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Four by four outputs from six by six inputs through 36 points.
    Four,
    /// Two by two outputs from four by four inputs through 16 points.
    Two,
    /// The whole of a map of two by two pixels, padded by one, through 9 points.
    Whole,
}

impl Form {
    /// The form that needs the fewest products.
    pub(super) fn of(c: &BatchConv) -> Self {
        if c.input[1..] == [2, 2] && c.padding == [1, 1] {
            return Self::Whole;
        }
        if Self::Two.products(c) < Self::Four.products(c) { Self::Two } else { Self::Four }
    }

    /// Outputs of a tile along an axis.
    pub(super) fn outputs(self) -> usize {
        if self == Self::Four { 4 } else { 2 }
    }

    /// Inputs along an axis that a tile sees beyond as many as it has outputs.
    pub(super) fn border(self) -> usize {
        if self == Self::Whole { 0 } else { 2 }
    }

    /// Points of a tile.
    pub(super) fn points(self) -> usize {
        match self {
            Self::Four => 36,
            Self::Two => 16,
            Self::Whole => 9,
        }
    }

    /// Rows and columns of tiles of a map.
    pub(super) fn tiles(self, c: &BatchConv) -> [usize; 2] {
        c.output().map(|s| s.div_ceil(self.outputs()))
    }

    /// Points of all tiles of a map.
    pub(super) fn products(self, c: &BatchConv) -> usize {
        self.tiles(c).iter().product::<usize>() * self.points()
    }
}

/// Products per weight of one kernel and sample, where the definition has one for each output pixel, or `None` where
/// the convolution has another form.
pub(crate) fn products(c: &BatchConv) -> Option<usize> {
    let dense = c.groups == 1 && c.input[0] >= NARROW && c.out_channels >= NARROW;
    if !dense || c.kernel != [3, 3] || c.stride != [1, 1] || c.dilation != [1, 1] {
        return None;
    }
    // The transforms cost about a quarter of the products.
    Some((Form::of(c).products(c) * 5 / 4).div_ceil(TAPS))
}
