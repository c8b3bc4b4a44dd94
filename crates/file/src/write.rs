//! Writing: an invalid model is reported before a file exists.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, TensorView};

use crate::error::ModelFileErrorKind;
use crate::format::{KEY, VERSION};
use crate::header::Header;
use crate::model::Model;
use crate::read::check_header_length;

impl Model {
    /// The bytes of the model file; the same model gives the same bytes.
    ///
    /// # Errors
    /// If the weights do not fit the graph, or the header would exceed 16 MiB: such a file could not be read.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ModelFileErrorKind> {
        self.weights.check(&self.graph)?;
        let json = self.header_json()?;
        let tensors: Vec<(&String, &Vec<usize>, Vec<u8>)> = self
            .weights
            .0
            .iter()
            .map(|(name, t)| (name, &t.shape, t.data.iter().flat_map(|v| v.to_le_bytes()).collect()))
            .collect();
        let views = tensors
            .iter()
            .map(|(name, shape, data)| Ok((name, TensorView::new(Dtype::F32, (*shape).clone(), data)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
        let bytes = views
            .and_then(|views| safetensors::serialize(views, Some(HashMap::from([(KEY.to_owned(), json)]))))
            .map_err(|e| ModelFileErrorKind::Container(e.to_string()))?;
        check_header_length(&bytes)?;
        Ok(bytes)
    }
}

impl<W> Model<W> {
    /// The JSON that describes the model in its file: everything but the weights, which are not looked at.
    ///
    /// # Errors
    /// If it describes an impossible model.
    pub fn header_json(&self) -> Result<String, ModelFileErrorKind> {
        let header = Header {
            version: VERSION,
            tau: self.tau,
            preprocessing: self.preprocessing.clone(),
            task: self.task.clone(),
            provenance: self.provenance.clone(),
            graph: self.graph.clone(),
        };
        header.check()?;
        serde_json::to_string(&header).map_err(|e| ModelFileErrorKind::Header(e.to_string()))
    }
}
