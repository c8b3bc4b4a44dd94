//! Shapes of one sample; the batch axis is added by whoever runs the graph.

/// Shape of one sample's activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// A feature map `[channels, height, width]`.
    Map([usize; 3]),
    /// A vector of features.
    Vector(usize),
}

impl Shape {
    /// The dimensions as a list: `[C, H, W]` or `[C]`.
    pub fn dims(&self) -> Vec<usize> {
        match self {
            Shape::Map(dims) => dims.to_vec(),
            Shape::Vector(n) => vec![*n],
        }
    }

    /// Number of channels of a map, or of features of a vector.
    pub fn channels(&self) -> usize {
        match self {
            Shape::Map([c, _, _]) => *c,
            Shape::Vector(n) => *n,
        }
    }

    /// Number of pixels of a map; 1 for a vector.
    pub fn pixels(&self) -> usize {
        match self {
            Shape::Map([_, h, w]) => h * w,
            Shape::Vector(_) => 1,
        }
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.channels() * self.pixels()
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Shape::Map([c, h, w]) => write!(f, "[{c}, {h}, {w}]"),
            Shape::Vector(n) => write!(f, "[{n}]"),
        }
    }
}
