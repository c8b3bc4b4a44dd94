//! How an ONNX value arranges the batch, channels, rows and columns of a node's value.
//!
//! Reshapes and transpositions never move data here: they split, merge and permute *atoms*, each of which is a factor of
//! one axis of the node's own value. A channel shuffle is a channel axis with two atoms in the wrong order; a batch hidden
//! in the groups of a convolution is an axis of a batch atom and a channel atom.

use dyconv_graph::Shape;

/// The axis of a node's value that an atom is a factor of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Batch,
    Channel,
    Height,
    Width,
}

/// A factor of an axis: positions `(index / below) % size` of it. Never of size one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Atom {
    pub origin: Origin,
    pub below: usize,
    pub size: usize,
}

/// One axis of an ONNX value: its factors, the outermost first.
pub(super) type Axis = Vec<Atom>;

/// The axis that is one axis of the node's value.
pub(super) fn whole(origin: Origin, size: usize) -> Axis {
    if size == 1 { Vec::new() } else { vec![Atom { origin, below: 1, size }] }
}

/// Number of positions of an axis.
pub(super) fn size(axis: &[Atom]) -> usize {
    axis.iter().fold(1, |n, atom| n.saturating_mul(atom.size))
}

/// Whether all atoms of an axis are channels.
pub(super) fn is_channels(axis: &[Atom]) -> bool {
    axis.iter().all(|atom| atom.origin == Origin::Channel)
}

/// The offset in its origin of each position of an axis that has atoms of one origin only.
pub(super) fn offsets(axis: &[Atom]) -> Vec<usize> {
    let mut offsets = vec![0];
    for atom in axis {
        offsets = offsets.iter().flat_map(|base| (0..atom.size).map(move |i| base + i * atom.below)).collect();
    }
    offsets
}

/// The axes of an ONNX value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Axes(pub Vec<Axis>);

impl Axes {
    /// `[N, C, H, W]` for a map, `[N, C]` for a vector.
    pub fn of(batch: usize, shape: Shape) -> Self {
        let mut axes = vec![whole(Origin::Batch, batch), whole(Origin::Channel, shape.channels())];
        if let Shape::Map([_, height, width]) = shape {
            axes.extend([whole(Origin::Height, height), whole(Origin::Width, width)]);
        }
        Self(axes)
    }

    /// The dimensions of the ONNX value.
    pub fn dims(&self) -> Vec<usize> {
        self.0.iter().map(|axis| size(axis)).collect()
    }

    /// The same elements in row-major order as a value of these dimensions; `None` if an axis would be cut at a place
    /// that is none of its factors.
    pub fn reshape(&self, dims: &[usize]) -> Option<Self> {
        let mut left: Vec<Atom> = self.0.iter().flatten().rev().copied().collect();
        let mut axes = Vec::with_capacity(dims.len());
        for dim in dims {
            let (mut axis, mut need) = (Axis::new(), *dim);
            while need > 1 {
                let atom = left.pop()?;
                if need.is_multiple_of(atom.size) {
                    need /= atom.size;
                    axis.push(atom);
                } else if atom.size.is_multiple_of(need) {
                    let inner = atom.size / need;
                    axis.push(Atom { below: atom.below * inner, size: need, ..atom });
                    left.push(Atom { size: inner, ..atom });
                    need = 1;
                } else {
                    return None;
                }
            }
            if need == 0 {
                return None;
            }
            axes.push(axis);
        }
        left.is_empty().then(|| Self(axes.into_iter().map(merged).collect()))
    }

    /// Axes in the order `order`; positions must be valid.
    pub fn transpose(&self, order: &[usize]) -> Self {
        Self(order.iter().map(|i| self.0[*i].clone()).collect())
    }

    /// Without the axes of size one.
    pub fn squeezed(&self) -> Vec<&Axis> {
        self.0.iter().filter(|axis| !axis.is_empty()).collect()
    }
}

/// Joins adjacent atoms that lie next to each other in their origin.
pub(super) fn merged(axis: Axis) -> Axis {
    let mut joined = Axis::with_capacity(axis.len());
    for atom in axis {
        match joined.last_mut() {
            Some(last) if last.origin == atom.origin && last.below == atom.below * atom.size => {
                last.size *= atom.size;
                last.below = atom.below;
            }
            _ => joined.push(atom),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshapes_split_and_merge() {
        let axes = Axes::of(13, Shape::Map([6, 4, 5]));
        assert_eq!(axes.dims(), [13, 6, 4, 5]);
        let hidden = axes.reshape(&[1, 78, 4, 5]).unwrap();
        assert_eq!(hidden.0[1].len(), 2);
        assert_eq!(hidden.reshape(&[13, 6, 4, 5]).unwrap(), axes);
        let split = axes.reshape(&[13, 2, 3, 20]).unwrap();
        assert_eq!(split.dims(), [13, 2, 3, 20]);
        assert_eq!(split.reshape(&[13, 6, 4, 5]).unwrap(), axes);
        let shuffled = split.transpose(&[0, 2, 1, 3]).reshape(&[13, 6, 4, 5]).unwrap();
        assert_eq!(offsets(&shuffled.0[1]), [0, 3, 1, 4, 2, 5]);
        assert_eq!(axes.reshape(&[13, 4, 6, 5]), None);
        assert_eq!(axes.reshape(&[13, 6, 4, 0]), None);
    }
}
