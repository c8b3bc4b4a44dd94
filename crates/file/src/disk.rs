//! Model files on disk: read whole, memory-mapped, and written.

use std::path::Path;

use dyconv_graph::{Tensor, TensorSource, Weights, WeightsError, check_shapes, check_values};

use crate::atomic::write_atomically;
use crate::error::{FileError, ModelFileErrorKind};
use crate::mmap::Map;
use crate::model::Model;
use crate::read::{Places, floats, parse};

/// Bytes of the file that are read before their pages are released.
const PIECE: usize = 1 << 20;

/// Tensors of a model file that stay in the file until they are read. Made by [`Model::open`].
#[derive(Debug)]
pub struct Mapped {
    map: Map,
    places: Places,
}

impl TensorSource for Mapped {
    fn check_shapes(&self, graph: &dyconv_graph::Graph) -> Result<(), WeightsError> {
        check_shapes(graph, self.places.iter().map(|(name, (shape, _))| (name.as_str(), shape.as_slice())))
    }

    /// The pages that were read are released again: the whole file is never in memory.
    fn read(&self, name: &str, into: &mut Vec<f32>) -> Result<(), WeightsError> {
        into.clear();
        let missing = || WeightsError::Missing { name: name.to_owned(), expected: Vec::new() };
        let (_, range) = self.places.get(name).ok_or_else(missing)?;
        into.reserve_exact(range.len() / 4);
        for start in range.clone().step_by(PIECE) {
            let piece = start..range.end.min(start + PIECE);
            into.extend(floats(&self.map.bytes()[piece]));
            self.map.release();
        }
        check_values(name, into)
    }
}

impl Model {
    /// Reads and verifies a model file.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or describes an impossible network; see [`ModelFileErrorKind`].
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let fail = |kind| FileError { path: path.to_owned(), kind };
        let (model, mapped) = Model::open(path)?.split();
        let mut weights = Weights::default();
        for parameter in model.graph.parameters() {
            let mut data = Vec::new();
            // The size is backed by data in the file, not just claimed by the header; memory may still run out.
            let refused =
                |_| fail(ModelFileErrorKind::Io { what: "read", source: std::io::ErrorKind::OutOfMemory.into() });
            data.try_reserve_exact(parameter.elements()).map_err(refused)?;
            mapped.read(&parameter.name, &mut data).map_err(|e| fail(e.into()))?;
            weights.0.insert(parameter.name, Tensor::new(&parameter.shape, data));
        }
        let Model { graph, tau, preprocessing, task, provenance, .. } = model;
        Ok(Model { graph, weights, tau, preprocessing, task, provenance })
    }

    /// Writes the model file atomically: a reader sees the old file or the whole new one, whatever happens.
    ///
    /// # Errors
    /// If the weights do not fit the graph, or the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        let fail = |kind| FileError { path: path.to_owned(), kind };
        let bytes = self.to_bytes().map_err(fail)?;
        write_atomically(path, &bytes).map_err(|source| fail(ModelFileErrorKind::Io { what: "written", source }))
    }
}

impl Model<Mapped> {
    /// Maps a model file and verifies everything but the values of its tensors, which are verified when they are read.
    /// Neither this nor reading tensors ever holds the whole file in memory. The file must not be truncated while it is
    /// open: replace it (as [`Model::write`] does) and never edit it in place.
    ///
    /// # Errors
    /// As [`Model::read`].
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let mapped = Map::open(path).and_then(|map| {
            let (header, places) = parse(map.bytes())?;
            Ok(header.model(Mapped { map, places }))
        });
        mapped.map_err(|kind| FileError { path: path.to_owned(), kind })
    }
}
