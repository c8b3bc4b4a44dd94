//! A compiled model, as `dyconv.Model` wraps it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use dyconv_convert::{Batch, OnnxOptions};
use dyconv_data::{Image, PersonBox};
use dyconv_engine::Pool;
use dyconv_graph::cost;
use dyconv_predict::{Bank, ModelOptions, Predictor};
use numpy::{IntoPyArray, PyArrayDyn, PyArrayMethods, PyReadonlyArray4, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::convert;
use crate::error::{Error, of_file, of_predict};
use crate::image::Picture;
use crate::running::Running;
use crate::source::Source;

/// A compiled model. Immutable, and shared by any number of threads.
#[pyclass(frozen, module = "dyconv._dyconv")]
pub struct Core {
    source: Source,
    running: Running,
}

/// Inputs after which Ctrl-C is looked for.
const BETWEEN_SIGNALS: usize = 64;

/// x, y, width, height in pixels.
type Corners = (f64, f64, f64, f64);
/// x, y in pixels, and the score.
type Keypoint = (f64, f64, f32);

#[pymethods]
impl Core {
    /// Reads and compiles a model file, or its bytes.
    #[new]
    fn new(py: Python<'_>, source: Source, threads: Option<usize>, bank: &str, flip: bool) -> PyResult<Self> {
        let threads = match threads {
            None => std::thread::available_parallelism().map_or(1, usize::from),
            Some(threads) if (1..=Pool::MAX_THREADS).contains(&threads) => threads,
            Some(threads) => {
                let message = format!("threads={threads}: expected a whole number from 1 to {}", Pool::MAX_THREADS);
                return Err(PyValueError::new_err(message));
            }
        };
        let bank: Bank = bank.parse().map_err(|e| PyValueError::new_err(format!("bank: {e}")))?;
        let options = ModelOptions::new().threads(threads).bank(bank);
        let compiled = py.detach(|| source.compile(options)).map_err(of_predict)?;
        if let (true, Predictor::Classifier(classifier)) = (flip, &compiled) {
            let classes = classifier.classes().len();
            let message =
                format!("flip: is the flip test of keypoint networks, and this one answers with {classes} classes");
            return Err(PyValueError::new_err(message));
        }
        Ok(Self { source, running: Running::new(compiled, options, flip) })
    }

    /// The most probable classes: index and probability.
    fn predict(&self, py: Python<'_>, image: Picture<'_>, top: usize) -> PyResult<Vec<(usize, f32)>> {
        let (predictor, image) = (self.predictor()?, image.raw()?);
        py.detach(|| {
            let found = predictor.as_classifier()?.predict(&image.decode(&predictor.decode_options())?)?;
            Ok(found.top(top).iter().map(|answer| (answer.index, answer.probability)).collect())
        })
        .map_err(of_predict)
    }

    /// The keypoints in each box, or in the whole image.
    fn keypoints(
        &self,
        py: Python<'_>,
        image: Picture<'_>,
        boxes: Option<Vec<Corners>>,
    ) -> PyResult<Vec<Vec<Keypoint>>> {
        let (predictor, image) = (self.predictor()?, image.raw()?);
        py.detach(|| {
            let estimator = predictor.as_pose()?;
            let image = image.decode(&predictor.decode_options())?;
            let boxes =
                boxes.map_or_else(|| vec![PersonBox::whole(&image)], |all| all.into_iter().map(person).collect());
            let found = estimator.predict(&image, &boxes)?;
            Ok(found
                .iter()
                .map(|joints| joints.iter().map(|joint| (joint.x, joint.y, joint.score)).collect())
                .collect())
        })
        .map_err(of_predict)
    }

    /// The attention of every dynamic layer, by its name.
    fn attention<'py>(
        &self,
        py: Python<'py>,
        image: Picture<'_>,
        bbox: Option<Corners>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let (predictor, image) = (self.predictor()?, image.raw()?);
        let layers = py
            .detach(|| {
                let image = image.decode(&predictor.decode_options())?;
                match &*predictor {
                    Predictor::Classifier(classifier) => Ok(classifier.predict_with_attention(&image)?.1),
                    Predictor::Pose(estimator) => estimator.attention(&image, place(bbox, &image)),
                }
            })
            .map_err(of_predict)?;
        let found = PyDict::new(py);
        for layer in layers {
            found.set_item(layer.layer, layer.kernels.into_pyarray(py))?;
        }
        Ok(found)
    }

    /// The input for an image, `[C, H, W]`.
    fn preprocess<'py>(
        &self,
        py: Python<'py>,
        image: Picture<'_>,
        bbox: Option<Corners>,
    ) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
        let (predictor, image) = (self.predictor()?, image.raw()?);
        let input = py
            .detach(|| {
                let image = image.decode(&predictor.decode_options())?;
                Ok(match &*predictor {
                    Predictor::Classifier(classifier) => classifier.preprocess(&image),
                    Predictor::Pose(estimator) => estimator.preprocess(&image, place(bbox, &image)),
                })
            })
            .map_err(of_predict)?;
        input.into_pyarray(py).reshape(predictor.model().graph.input_dims().to_vec())
    }

    /// The outputs for inputs `[N, C, H, W]` in C order.
    fn logits<'py>(&self, py: Python<'py>, input: PyReadonlyArray4<'_, f32>) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
        let predictor = self.predictor()?;
        let batch = input.shape()[0];
        let each = predictor.model().graph.input_dims().iter().product::<usize>();
        let mut found = Vec::new();
        for part in input.as_slice()?.chunks(each * BETWEEN_SIGNALS) {
            let outputs = py.detach(|| match &*predictor {
                Predictor::Classifier(classifier) => classifier.logits(part, part.len() / each),
                Predictor::Pose(estimator) => estimator.heat_maps(part, part.len() / each),
            });
            found.extend(outputs.map_err(of_predict)?);
            py.check_signals()?;
        }
        let mut shape = vec![batch];
        shape.extend(predictor.model().graph.output_shape().dims());
        found.into_pyarray(py).reshape(shape)
    }

    /// Writes the model file.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        py.detach(|| self.source.write(&path)).map_err(|e| of_file(&e))
    }

    /// Writes an ONNX file; gives the report as JSON. `attention`: of the frozen form, by layer.
    #[pyo3(signature = (path, form, batch, with_preprocessing, attention))]
    fn to_onnx(
        &self,
        py: Python<'_>,
        path: PathBuf,
        form: Option<&str>,
        batch: Option<usize>,
        with_preprocessing: bool,
        attention: Option<BTreeMap<String, Vec<f32>>>,
    ) -> PyResult<String> {
        py.detach(|| {
            let model = self.source.model()?;
            let form = convert::form(form, attention)?;
            let options = OnnxOptions { form, batch: batch.map(Batch::Fixed), with_preprocessing };
            convert::to_onnx(&model, &path, &options)
        })
    }

    /// Writes a state dict; gives the report as JSON.
    fn to_torch(&self, py: Python<'_>, path: PathBuf, names: &str) -> PyResult<String> {
        py.detach(|| convert::to_torch(&self.source.model()?, &path, names))
    }

    /// Writes a hub folder; gives the report as JSON.
    fn to_hub(&self, py: Python<'_>, folder: PathBuf) -> PyResult<String> {
        py.detach(|| convert::to_hub(&self.source.model()?, &folder))
    }

    /// Names of the classes of a classifier.
    #[getter]
    fn classes(&self) -> PyResult<Vec<String>> {
        Ok(self.predictor()?.model().classes().to_vec())
    }

    /// Names of the joints of a keypoint network.
    #[getter]
    fn joints(&self) -> PyResult<Vec<String>> {
        Ok(self.predictor()?.model().skeleton().map(|skeleton| skeleton.joints.clone()).unwrap_or_default())
    }

    /// `[C, H, W]`.
    #[getter]
    fn input_shape(&self) -> PyResult<(usize, usize, usize)> {
        Ok(self.predictor()?.model().graph.input_dims().into())
    }

    /// `[classes]`, or `[joints, height, width]`.
    #[getter]
    fn output_shape(&self) -> PyResult<Vec<usize>> {
        Ok(self.predictor()?.model().graph.output_shape().dims())
    }

    /// The preprocessing as JSON.
    #[getter]
    fn preprocessing(&self) -> PyResult<String> {
        let predictor = self.predictor()?;
        serde_json::to_string(&predictor.model().preprocessing).map_err(|e| Error::new_err(e.to_string()))
    }

    #[getter]
    fn tau(&self) -> PyResult<f32> {
        Ok(self.predictor()?.model().tau)
    }

    /// Name of the architecture; empty if it is not known.
    #[getter]
    fn architecture(&self) -> PyResult<String> {
        Ok(self.predictor()?.model().provenance.model.clone())
    }

    #[getter]
    fn threads(&self) -> PyResult<usize> {
        Ok(self.predictor()?.threads())
    }

    /// How the kernel banks are stored.
    #[getter]
    fn bank(&self) -> PyResult<&'static str> {
        Ok(Bank::from(self.predictor()?.plan().bank()).name())
    }

    /// Parameters, those of routers, dynamic layers, multiply-adds: all, convolution, attention, mixing, pooling.
    fn cost(&self) -> PyResult<[u64; 8]> {
        let predictor = self.predictor()?;
        let graph = &predictor.model().graph;
        let counted = cost(graph);
        let total = counted.total;
        Ok([
            counted.params,
            counted.attention_params,
            graph.dynamic_layers() as u64,
            total.total(),
            total.convolution,
            total.attention,
            total.mixing,
            total.pooling,
        ])
    }
}

impl Core {
    /// The predictor of this process.
    fn predictor(&self) -> PyResult<Arc<Predictor>> {
        self.running.predictor().map_err(of_predict)
    }
}

/// The box, or that of the whole image.
fn place(bbox: Option<Corners>, image: &Image) -> PersonBox {
    bbox.map_or_else(|| PersonBox::whole(image), person)
}

fn person((x, y, width, height): Corners) -> PersonBox {
    PersonBox { x, y, width, height }
}
