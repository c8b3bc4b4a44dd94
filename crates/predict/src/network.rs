//! State shared by all kinds of predictors: a shared plan, reusable sessions, preprocessing.

use std::sync::{Arc, Mutex, PoisonError};

use dyconv_data::{DataError, Transform};
use dyconv_engine::{EngineError, Plan, Pool, Session};
use dyconv_file::Model;

use crate::attention::{Attention, LayerAttention};
use crate::error::Error;
use crate::options::ModelOptions;

/// A compiled model. Any number of threads can run it at the same time: each takes an idle session or creates one.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) model: Model<()>,
    pub(crate) transform: Transform,
    pub(crate) deviation: Option<f64>,
    attention: Attention,
    plan: Arc<Plan>,
    /// Shared by the sessions; a session that finds it busy computes on its own thread.
    pool: Arc<Pool>,
    idle: Mutex<Vec<Session>>,
}

impl Network {
    /// # Panics
    /// If the plan does not belong to this model.
    pub(crate) fn new(
        model: Model<()>,
        plan: Arc<Plan>,
        options: ModelOptions,
        deviation: Option<f64>,
    ) -> Result<Self, Error> {
        assert_eq!(plan.input_dims(), model.graph.input_dims(), "a plan of this model");
        assert_eq!(plan.output_shape(), model.graph.output_shape(), "a plan of this model");
        model
            .task
            .check_preprocessing(&model.preprocessing)
            .map_err(|message| DataError { name: "preprocessing".into(), message })?;
        let transform = Transform::new(model.preprocessing.clone())?.with_max_pixels(options.max_pixels);
        let pool = Arc::new(Pool::new(options.threads));
        let session = match Session::try_with_pool(Arc::clone(&plan), Arc::clone(&pool)) {
            // There is not enough memory for several threads.
            Err(EngineError::Memory { .. } | EngineError::TooLarge { .. }) if options.threads > 1 => {
                Session::try_with_threads(Arc::clone(&plan), 1)?
            }
            session => session?,
        };
        let attention = Attention::of(&model.graph);
        let pool = Arc::clone(session.pool());
        Ok(Self { model, transform, deviation, attention, plan, pool, idle: Mutex::new(vec![session]) })
    }

    pub(crate) fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    pub(crate) fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// The outputs for `batch` inputs, NCHW: `batch` × output shape, channels first.
    pub(crate) fn run(&self, input: &[f32], batch: usize) -> Result<Vec<f32>, Error> {
        self.with_session(|session| session.predict(input, batch))
    }

    /// The output for one input `[C, H, W]`, and the attention of every dynamic layer.
    pub(crate) fn run_with_attention(&self, input: &[f32]) -> Result<(Vec<f32>, Vec<LayerAttention>), Error> {
        let mut found = self.attention.collect();
        let answer =
            self.with_session(|session| session.run_all(input, 1, &mut |name, _, values| found.see(name, values)))?;
        Ok((answer, found.finish()))
    }

    fn with_session<R>(&self, work: impl FnOnce(&mut Session) -> Result<R, EngineError>) -> Result<R, Error> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle().pop();
        let mut session = match kept {
            Some(session) => session,
            None => Session::try_with_pool(Arc::clone(&self.plan), Arc::clone(&self.pool))?,
        };
        let result = work(&mut session);
        idle().push(session);
        Ok(result?)
    }
}
