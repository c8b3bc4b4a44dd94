//! A compiled model that can be used after `fork`.

use std::mem;
use std::process;
use std::sync::{Arc, Mutex, PoisonError};

use dyconv_predict::{self as predict, ModelOptions, Predictor};

/// A predictor whose threads belong to this process. A process that was forked has none of its parent's threads, and would
/// wait for them in vain: there, the first use starts new ones over the same plan.
pub struct Running {
    options: ModelOptions,
    flip: bool,
    state: Mutex<State>,
}

struct State {
    /// The process that started the threads.
    process: u32,
    /// Always there until this is dropped.
    predictor: Option<Arc<Predictor>>,
}

impl Running {
    /// `flip`: with the flip test, if it is a keypoint network.
    pub fn new(predictor: Predictor, options: ModelOptions, flip: bool) -> Self {
        Self { options, flip, state: Mutex::new(State::of(flipped(predictor, flip))) }
    }

    /// The predictor of this process. Call it while attached to the interpreter: `fork` then finds the lock open.
    pub fn predictor(&self) -> Result<Arc<Predictor>, predict::Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.process != process::id() {
            let old = state.predictor();
            let new = Predictor::new(old.model().clone(), Arc::clone(old.plan()), self.options, old.bank_deviation())?;
            *state = State::of(flipped(new, self.flip));
        }
        Ok(Arc::clone(state.predictor()))
    }
}

impl State {
    fn of(predictor: Predictor) -> Self {
        Self { process: process::id(), predictor: Some(Arc::new(predictor)) }
    }

    fn predictor(&self) -> &Arc<Predictor> {
        self.predictor.as_ref().expect("a state that is not dropped")
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if self.process != process::id() {
            // Dropping the parent's threads would wait for them.
            mem::forget(self.predictor.take());
        }
    }
}

fn flipped(predictor: Predictor, flip: bool) -> Predictor {
    match predictor {
        Predictor::Pose(pose) if flip => Predictor::Pose(pose.with_flip()),
        predictor => predictor,
    }
}
