//! The constants of a written model, and how their values are made of the graph's tensors when they are needed.

use dyconv_graph::TensorSource;

use crate::error::OnnxError;

/// A constant of the model.
#[derive(Debug, Clone)]
pub(super) struct Initializer {
    pub name: String,
    pub dims: Vec<usize>,
    pub values: Values,
}

/// The values of a constant, in row-major order.
#[derive(Debug, Clone)]
pub(super) enum Values {
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    /// Read and converted when it is written.
    Tensor(Recipe),
}

/// A tensor of the graph and what is done to it, in this order.
#[derive(Debug, Clone, Default)]
pub(super) struct Recipe {
    /// Name in the graph.
    pub tensor: String,
    /// Number of values in the graph.
    pub elements: usize,
    /// Coefficients that mix the leading axis away.
    pub mix: Option<Vec<f32>>,
    pub scale: Option<Scale>,
    pub regroup: Option<Regroup>,
}

/// A factor for each output channel. The tensor is `groups` equal parts with the same number of output channels each,
/// which repeat cyclically, `run` values at a time.
#[derive(Debug, Clone)]
pub(super) struct Scale {
    pub factors: Vec<f64>,
    pub groups: usize,
    pub run: usize,
}

/// `[kernels, groups, …]` becomes `[groups, kernels, …]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Regroup {
    pub kernels: usize,
    pub groups: usize,
}

impl Regroup {
    pub fn apply(self, values: &[f32]) -> Vec<f32> {
        let Self { kernels, groups } = self;
        let part = values.len() / (kernels * groups);
        let order = (0..groups).flat_map(|group| (0..kernels).map(move |kernel| kernel * groups + group));
        order.flat_map(|i| values[i * part..][..part].iter().copied()).collect()
    }
}

impl Initializer {
    /// Number of bytes of its values.
    pub fn bytes(&self) -> u64 {
        let elements: u64 = self.dims.iter().map(|d| *d as u64).product();
        elements * if matches!(self.values, Values::Ints(_)) { 8 } else { 4 }
    }

    /// Appends its values, little-endian.
    pub fn write(&self, weights: &dyn TensorSource, room: &mut Vec<f32>, to: &mut Vec<u8>) -> Result<(), OnnxError> {
        let floats = match &self.values {
            Values::Ints(values) => {
                to.extend(values.iter().flat_map(|v| v.to_le_bytes()));
                return Ok(());
            }
            Values::Floats(values) => values,
            Values::Tensor(recipe) => {
                recipe.read(weights, room)?;
                &*room
            }
        };
        if floats.iter().any(|v| !v.is_finite()) {
            return Err(OnnxError::NotFinite(self.name.clone()));
        }
        to.extend(floats.iter().flat_map(|v| v.to_le_bytes()));
        Ok(())
    }
}

impl Recipe {
    fn read(&self, weights: &dyn TensorSource, values: &mut Vec<f32>) -> Result<(), OnnxError> {
        read(weights, &self.tensor, self.elements, values)?;
        if let Some(pi) = &self.mix {
            let len = values.len() / pi.len();
            let mixed =
                |i: usize| pi.iter().enumerate().map(|(k, p)| f64::from(*p) * f64::from(values[k * len + i])).sum();
            let sums: Vec<f64> = (0..len).map(mixed).collect();
            values.clear();
            match &self.scale {
                Some(scale) => values.extend(scale.factors_of(len).zip(sums).map(|(s, v)| (s * v) as f32)),
                None => values.extend(sums.iter().map(|v| *v as f32)),
            }
        } else if let Some(scale) = &self.scale {
            values.iter_mut().zip(scale.factors_of(self.elements)).for_each(|(v, s)| *v = (f64::from(*v) * s) as f32);
        }
        if let Some(regroup) = self.regroup {
            *values = regroup.apply(values);
        }
        Ok(())
    }
}

impl Scale {
    /// The factor of each of `len` values.
    fn factors_of(&self, len: usize) -> impl Iterator<Item = f64> {
        let (outputs, part) = (self.factors.len() / self.groups, len / self.groups);
        (0..len).map(move |i| self.factors[i / part * outputs + i % part / self.run % outputs])
    }
}

/// Reads a tensor that must have so many values.
pub(super) fn read(
    weights: &dyn TensorSource,
    tensor: &str,
    elements: usize,
    values: &mut Vec<f32>,
) -> Result<(), OnnxError> {
    weights.read(tensor, values)?;
    if values.len() == elements {
        Ok(())
    } else {
        let (found, expected) = (vec![values.len()], vec![elements]);
        Err(dyconv_graph::WeightsError::Shape { name: tensor.to_owned(), found, expected }.into())
    }
}
