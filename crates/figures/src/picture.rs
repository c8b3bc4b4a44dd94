//! A picture and the truth about it.

use dyconv_data::Image;

/// A picture of figures.
#[derive(Debug, Clone, PartialEq)]
pub struct FigurePicture {
    /// RGB, 192 to 320 pixels each way.
    pub image: Image,
    /// The figures, farthest first; at least one but for rare pictures whose only figure lies outside.
    pub persons: Vec<LabelledFigure>,
}

/// The truth about one figure.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledFigure {
    /// By joint, in COCO's order: place in pixels (the centre of the first pixel is 0, 0) and COCO's v: 0 outside the
    /// picture, 1 hidden, 2 seen. All are 0 where less than a fifth of the figure is seen.
    pub joints: [([f32; 2], u8); 17],
    /// Left, top, width and height of what lies in the picture, hidden parts included.
    pub bbox: [f32; 4],
    /// Pixels of what lies in the picture, hidden parts included.
    pub area: f32,
}
