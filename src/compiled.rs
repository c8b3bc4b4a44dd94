//! What every model that answers has in common: its file is read, its network compiled.

use std::path::Path;
use std::sync::Arc;

use dyconv_engine::{EngineError, Plan, Session};
use dyconv_file::{FileError, Model};
use dyconv_graph::TensorSource;

use crate::Error;

/// Reads, verifies and compiles a model file.
pub(crate) fn open(path: &Path) -> Result<(Model<()>, Plan), Error> {
    compile(Model::open(path)?).map_err(|error| match error {
        // A tensor that turned out to be damaged when it was packed: the message names the file too.
        Error::Engine(EngineError::Weights(e)) => FileError { path: path.to_owned(), kind: e.into() }.into(),
        error => error,
    })
}

/// Compiles a model; what is left of it has no weights.
pub(crate) fn compile<W: TensorSource>(model: Model<W>) -> Result<(Model<()>, Plan), Error> {
    let (model, weights) = model.split();
    let plan = Plan::new(&model.graph, &weights, model.tau)?;
    Ok((model, plan))
}

/// The same session on so many threads; on one where there is no memory for the work of more.
pub(crate) fn with_threads(session: Session, threads: usize) -> Session {
    let plan = Arc::clone(session.plan());
    drop(session);
    Session::try_with_threads(Arc::clone(&plan), threads).unwrap_or_else(|_| Session::new(plan))
}
