//! Named tensors that belong to a graph.

use std::collections::BTreeMap;

use crate::graph::{Graph, Parameter};
use crate::words::{short_name, short_shape};

/// A dense f32 tensor in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Dimensions.
    pub shape: Vec<usize>,
    /// `shape.iter().product()` values.
    pub data: Vec<f32>,
}

impl Tensor {
    /// Creates a tensor from its values.
    ///
    /// # Panics
    /// If the number of values is not the product of the shape.
    pub fn new(shape: &[usize], data: Vec<f32>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "{} values for shape {shape:?}", data.len());
        Self { shape: shape.to_vec(), data }
    }

    /// A tensor with the same value everywhere.
    pub fn full(shape: &[usize], value: f32) -> Self {
        Self { shape: shape.to_vec(), data: vec![value; shape.iter().product()] }
    }
}

/// Weights that do not belong to the graph: the tensor, and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// A tensor of the graph is missing.
    #[error("tensor `{}` {expected:?} is missing", short_name(name))]
    Missing {
        /// Its name.
        name: String,
        /// Its shape in the graph.
        expected: Vec<usize>,
    },
    /// A tensor has a different shape.
    #[error("tensor `{}` has shape {}, the graph expects {expected:?}", short_name(name), short_shape(found))]
    Shape {
        /// Its name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// Its shape in the graph.
        expected: Vec<usize>,
    },
    /// A tensor that no node owns.
    #[error("tensor `{}` belongs to no node of the graph", short_name(.0))]
    Unknown(String),
    /// A value that is NaN or infinite.
    #[error(
        "tensor `{}` holds {value} at position {position}: the weights are damaged or training diverged",
        short_name(name)
    )]
    NotFinite {
        /// Its name.
        name: String,
        /// Index into the flat data.
        position: usize,
        /// The value, as text.
        value: String,
    },
    /// A variance below zero.
    #[error("tensor `{}` holds the negative variance {value} at position {position}", short_name(name))]
    NegativeVariance {
        /// Its name.
        name: String,
        /// Index into the flat data.
        position: usize,
        /// The value, as text.
        value: String,
    },
}

/// A source of the tensors of a network that provides one at a time, so they need not all be in memory.
pub trait TensorSource {
    /// Checks that the source has exactly the tensors of `graph`, by name and shape.
    ///
    /// # Errors
    /// The first tensor that is missing, superfluous, or of a different shape.
    fn check_shapes(&self, graph: &Graph) -> Result<(), WeightsError>;

    /// Replaces `into` with the values of a tensor, checked by [`check_values`].
    ///
    /// # Errors
    /// If there is no such tensor, or it has an invalid value.
    fn read(&self, name: &str, into: &mut Vec<f32>) -> Result<(), WeightsError>;
}

/// Checks that these names and shapes are exactly those of the tensors of `graph`.
///
/// # Errors
/// The first tensor that is missing, superfluous, or of a different shape.
pub fn check_shapes<'a>(
    graph: &Graph,
    tensors: impl IntoIterator<Item = (&'a str, &'a [usize])>,
) -> Result<(), WeightsError> {
    let mut found: BTreeMap<&str, &[usize]> = tensors.into_iter().collect();
    for Parameter { name, shape: expected, .. } in graph.parameters() {
        match found.remove(name.as_str()) {
            None => return Err(WeightsError::Missing { name, expected }),
            Some(shape) if shape != expected => {
                return Err(WeightsError::Shape { name, found: shape.to_vec(), expected });
            }
            Some(_) => {}
        }
    }
    found.keys().next().map_or(Ok(()), |name| Err(WeightsError::Unknown((*name).to_owned())))
}

/// Checks that the values of the tensor `name` are finite and, if they are variances, not negative.
///
/// # Errors
/// The first invalid value.
pub fn check_values(name: &str, values: &[f32]) -> Result<(), WeightsError> {
    let name_of = || name.to_owned();
    if let Some(position) = values.iter().position(|v| !v.is_finite()) {
        return Err(WeightsError::NotFinite { name: name_of(), position, value: values[position].to_string() });
    }
    if name.ends_with(".running_var")
        && let Some(position) = values.iter().position(|v| *v < 0.0)
    {
        return Err(WeightsError::NegativeVariance { name: name_of(), position, value: values[position].to_string() });
    }
    Ok(())
}

/// All tensors of a network by their names `<node>.<parameter>`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Weights(pub BTreeMap<String, Tensor>);

impl Weights {
    /// The tensor with this name.
    ///
    /// # Panics
    /// If it is missing: call [`Weights::check`] first.
    pub fn get(&self, name: &str) -> &Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("tensor `{name}` is missing from checked weights"))
    }

    /// Checks that these are exactly the tensors of `graph`, finite, with non-negative variances.
    ///
    /// # Errors
    /// The first tensor that is missing, superfluous, of a different shape, or has an invalid value.
    pub fn check(&self, graph: &Graph) -> Result<(), WeightsError> {
        self.check_shapes(graph)?;
        self.0.iter().try_for_each(|(name, tensor)| check_values(name, &tensor.data))
    }
}

impl TensorSource for Weights {
    fn check_shapes(&self, graph: &Graph) -> Result<(), WeightsError> {
        check_shapes(graph, self.0.iter().map(|(name, tensor)| (name.as_str(), tensor.shape.as_slice())))
    }

    fn read(&self, name: &str, into: &mut Vec<f32>) -> Result<(), WeightsError> {
        let missing = || WeightsError::Missing { name: name.to_owned(), expected: Vec::new() };
        let tensor = self.0.get(name).ok_or_else(missing)?;
        into.clear();
        into.extend_from_slice(&tensor.data);
        check_values(name, into)
    }
}
