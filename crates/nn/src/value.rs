//! Values that flow between the nodes of a network in training.

use burn::tensor::Tensor;

/// The value of a node for a whole batch.
#[derive(Debug, Clone)]
pub enum Value {
    /// `[N, C, H, W]`
    Map(Tensor<4>),
    /// `[N, C]`
    Vector(Tensor<2>),
}

impl Value {
    /// The values in row-major order.
    pub fn into_vec(self) -> Vec<f32> {
        let data = match self {
            Value::Map(x) => x.into_data(),
            Value::Vector(x) => x.into_data(),
        };
        data.try_into_vec::<f32>().expect("activations are f32")
    }

    /// Dimensions, the batch first.
    pub fn dims(&self) -> Vec<usize> {
        match self {
            Value::Map(x) => x.dims().to_vec(),
            Value::Vector(x) => x.dims().to_vec(),
        }
    }

    /// Applies one of two functions.
    pub(crate) fn each(
        self,
        map: impl FnOnce(Tensor<4>) -> Tensor<4>,
        vector: impl FnOnce(Tensor<2>) -> Tensor<2>,
    ) -> Self {
        match self {
            Value::Map(x) => Value::Map(map(x)),
            Value::Vector(x) => Value::Vector(vector(x)),
        }
    }

    pub(crate) fn map(self) -> Tensor<4> {
        match self {
            Value::Map(x) => x,
            Value::Vector(_) => unreachable!("shape inference gave this op a map"),
        }
    }

    pub(crate) fn vector(self) -> Tensor<2> {
        match self {
            Value::Vector(x) => x,
            Value::Map(_) => unreachable!("shape inference gave this op a vector"),
        }
    }
}
