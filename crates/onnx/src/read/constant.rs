//! Constants, and the arithmetic on them that exporters leave in a file: mostly shapes.

use std::rc::Rc;

/// The elements of a constant in row-major order. Truth values are integers 0 and 1.
#[derive(Debug, Clone)]
pub(super) enum Data {
    Floats(Rc<Vec<f32>>),
    Ints(Rc<Vec<i64>>),
}

/// A constant tensor.
#[derive(Debug, Clone)]
pub(super) struct Constant {
    pub dims: Vec<usize>,
    pub data: Data,
    /// The initializer that it was, or from which it was reshaped.
    pub name: Option<Rc<str>>,
}

/// Most axes of a value.
const MAX_RANK: usize = 64;

/// The rank, if it is not absurd.
pub(super) fn rank(rank: usize) -> Result<usize, String> {
    if rank <= MAX_RANK { Ok(rank) } else { Err(format!("makes a value of {rank} axes; at most {MAX_RANK} are read")) }
}

/// The number of elements of these dimensions, if they are not absurd. Of what has no elements, the other dimensions are
/// walked, too.
pub(super) fn elements(dims: &[usize]) -> Option<usize> {
    let sizes = dims.iter().try_fold(1usize, |n, d| n.checked_mul((*d).max(1))).filter(|_| dims.len() <= MAX_RANK)?;
    let (count, most) = if dims.contains(&0) { (0, 1 << 16) } else { (sizes, 1 << 40) };
    (sizes <= most).then_some(count)
}

impl Constant {
    pub fn ints(values: Vec<i64>) -> Self {
        Self { dims: vec![values.len()], data: Data::Ints(Rc::new(values)), name: None }
    }

    pub fn int(value: i64) -> Self {
        Self { dims: Vec::new(), data: Data::Ints(Rc::new(vec![value])), name: None }
    }

    pub fn floats(dims: &[usize], values: Vec<f32>) -> Self {
        Self { dims: dims.to_vec(), data: Data::Floats(Rc::new(values)), name: None }
    }

    pub fn len(&self) -> usize {
        match &self.data {
            Data::Floats(values) => values.len(),
            Data::Ints(values) => values.len(),
        }
    }

    /// The elements as floats.
    pub fn to_floats(&self) -> Rc<Vec<f32>> {
        match &self.data {
            Data::Floats(values) => Rc::clone(values),
            Data::Ints(values) => Rc::new(values.iter().map(|v| *v as f32).collect()),
        }
    }

    /// The elements, if they are integers.
    pub fn as_ints(&self) -> Option<&[i64]> {
        match &self.data {
            Data::Ints(values) => Some(values),
            Data::Floats(_) => None,
        }
    }

    /// The only element.
    pub fn scalar(&self) -> Option<f64> {
        match &self.data {
            Data::Floats(values) if values.len() == 1 => Some(f64::from(values[0])),
            Data::Ints(values) if values.len() == 1 => Some(values[0] as f64),
            Data::Floats(_) | Data::Ints(_) => None,
        }
    }

    /// The same elements with other dimensions, of which the product must fit.
    pub fn reshaped(&self, dims: Vec<usize>) -> Self {
        Self { dims, ..self.clone() }
    }

    /// The elements at these positions, with these dimensions.
    pub fn picked(&self, dims: Vec<usize>, positions: impl Iterator<Item = usize>) -> Self {
        let data = match &self.data {
            Data::Floats(values) => Data::Floats(Rc::new(positions.map(|i| values[i]).collect())),
            Data::Ints(values) => Data::Ints(Rc::new(positions.map(|i| values[i]).collect())),
        };
        Self { dims, data, name: self.name.clone() }
    }
}

/// Distance in elements between neighbours on each axis of a row-major tensor.
pub(super) fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; dims.len()];
    for i in (1..dims.len()).rev() {
        strides[i - 1] = strides[i].saturating_mul(dims[i]);
    }
    strides
}

/// The positions, for every element of `dims` in row-major order, of Σ index · stride. Neither is empty of elements.
pub(super) fn walk(dims: &[usize], strides: &[usize]) -> impl Iterator<Item = usize> + use<> {
    let total = elements(dims).unwrap_or(0);
    let (dims, strides) = (dims.to_vec(), strides.to_vec());
    let mut index = vec![0usize; dims.len()];
    let mut position = 0;
    (0..total).map(move |_| {
        let now = position;
        for axis in (0..dims.len()).rev() {
            index[axis] += 1;
            position += strides[axis];
            if index[axis] < dims[axis] {
                break;
            }
            position -= strides[axis] * dims[axis];
            index[axis] = 0;
        }
        now
    })
}

/// The dimensions of a broadcast of both.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// Strides with which a tensor of `dims` is read as one of the larger shape `to`.
pub(super) fn broadcast_strides(dims: &[usize], to: &[usize]) -> Vec<usize> {
    let own = strides(dims);
    let skipped = to.len() - dims.len();
    (0..to.len()).map(|i| if i < skipped || dims[i - skipped] == 1 { 0 } else { own[i - skipped] }).collect()
}
