//! Named tensors that belong to a graph.

use std::collections::BTreeMap;

use crate::graph::Graph;

/// A dense f32 tensor in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Dimensions.
    pub shape: Vec<usize>,
    /// `shape.iter().product()` values.
    pub data: Vec<f32>,
}

impl Tensor {
    /// A tensor of these values.
    ///
    /// # Panics
    /// When the number of values is not the product of the shape.
    pub fn new(shape: &[usize], data: Vec<f32>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "{} values for shape {shape:?}", data.len());
        Self { shape: shape.to_vec(), data }
    }

    /// A tensor of one repeated value.
    pub fn full(shape: &[usize], value: f32) -> Self {
        Self { shape: shape.to_vec(), data: vec![value; shape.iter().product()] }
    }
}

/// Weights that do not belong to the graph: names the tensor and says what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WeightsError {
    /// A tensor of the graph is absent.
    #[error("tensor `{name}` {expected:?} is missing")]
    Missing {
        /// Its name.
        name: String,
        /// Its shape by the graph.
        expected: Vec<usize>,
    },
    /// A tensor has another shape.
    #[error("tensor `{name}` has shape {found:?}, the graph expects {expected:?}")]
    Shape {
        /// Its name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// Its shape by the graph.
        expected: Vec<usize>,
    },
    /// A tensor that no node owns.
    #[error("tensor `{0}` belongs to no node of the graph")]
    Unknown(String),
    /// A value that is not a number, or infinite.
    #[error("tensor `{name}` holds {value} at position {position}: the weights are damaged or training diverged")]
    NotFinite {
        /// Its name.
        name: String,
        /// Index into the flat data.
        position: usize,
        /// The value, as text.
        value: String,
    },
    /// A variance below zero.
    #[error("tensor `{name}` holds the negative variance {value} at position {position}")]
    NegativeVariance {
        /// Its name.
        name: String,
        /// Index into the flat data.
        position: usize,
        /// The value, as text.
        value: String,
    },
}

/// All tensors of a network by their names `<node>.<parameter>`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Weights(pub BTreeMap<String, Tensor>);

impl Weights {
    /// The tensor of this name.
    ///
    /// # Panics
    /// When it is absent: call [`Weights::check`] first.
    pub fn get(&self, name: &str) -> &Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("tensor `{name}` is missing from checked weights"))
    }

    /// Whether these are exactly the tensors of `graph`, finite, with variances that are not negative.
    ///
    /// # Errors
    /// The first tensor that is missing, superfluous, of another shape, or not finite.
    pub fn check(&self, graph: &Graph) -> Result<(), WeightsError> {
        let parameters = graph.parameters();
        for parameter in &parameters {
            let (name, expected) = (parameter.name.clone(), parameter.shape.clone());
            let Some(tensor) = self.0.get(&name) else { return Err(WeightsError::Missing { name, expected }) };
            if tensor.shape != expected {
                return Err(WeightsError::Shape { name, found: tensor.shape.clone(), expected });
            }
            if let Some(position) = tensor.data.iter().position(|v| !v.is_finite()) {
                return Err(WeightsError::NotFinite { name, position, value: tensor.data[position].to_string() });
            }
            if name.ends_with(".running_var")
                && let Some(position) = tensor.data.iter().position(|v| *v < 0.0)
            {
                return Err(WeightsError::NegativeVariance {
                    name,
                    position,
                    value: tensor.data[position].to_string(),
                });
            }
        }
        if self.0.len() != parameters.len() {
            let known: std::collections::HashSet<&str> = parameters.iter().map(|p| p.name.as_str()).collect();
            let unknown = self.0.keys().find(|name| !known.contains(name.as_str()));
            return Err(WeightsError::Unknown(unknown.cloned().unwrap_or_default()));
        }
        Ok(())
    }
}
