//! A picture with its labels.

use dyconv_data::Image;

/// A picture of figures.
#[derive(Debug, Clone, PartialEq)]
pub struct FigurePicture {
    /// RGB, 192 to 320 pixels each way.
    pub image: Image,
    /// The figures, farthest first; empty only in rare pictures whose only figure lies outside.
    pub persons: Vec<LabelledFigure>,
}

/// The labels of one figure.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledFigure {
    /// By joint, in COCO's order: position in pixels (the centre of the first pixel is 0, 0) and COCO's v: 0 outside
    /// the picture, 1 hidden, 2 visible. All are 0 if less than a fifth of the figure is visible.
    pub joints: [([f32; 2], u8); 17],
    /// Left, top, width and height of the part inside the picture, hidden regions included.
    pub bbox: [f32; 4],
    /// Area in pixels of the part inside the picture, hidden regions included.
    pub area: f32,
}
