//! Compiles a network and runs it on the CPU.
//!
//! ```text
//! Graph + Weights --lower--> Lowered --passes--> Lowered --Plan::new--> Plan --Session::new--> Session --run--> answers
//! ```
//!
//! A [`Plan`] holds every decision made at compile time: fused steps, packed weights, a kernel per step, and a slot per
//! value in one arena. A [`Session`] owns the arena and runs the plan without allocating. [`oracle`] runs the same
//! graph in naive loops and is the reference against which every optimization is tested.
//!
//! ```
//! use dyconv_engine::{Plan, Session};
//! use dyconv_graph::{Builder, Conv2d, Init, MixConv, Op, Router, init};
//!
//! let mut b = Builder::new([3, 8, 8])?;
//! let x = b.input();
//! let pi = b.router("conv.router", x, &Router::default())?;
//! let y = b.push("conv", Op::MixConv(MixConv { kernels: 4, conv: Conv2d::new(16, [3, 3]) }), &[x, pi])?;
//! let graph = b.finish(y)?;
//! let weights = init(&graph, Init::default());
//!
//! let plan = Plan::new(&graph, &weights, 1.0)?;
//! let answers = Session::new(plan).predict(&[0.5; 2 * 3 * 8 * 8], 2)?;
//! assert_eq!(answers.len(), 2 * 16 * 6 * 6);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod arena;
mod bank_choice;
mod convert;
mod error;
mod kernel;
mod lowered;
mod memory;
mod options;
pub mod oracle;
mod passes;
mod plan;
mod session;
mod views;

/// Instruction sets for [`Plan::for_isa`]; thread pools that sessions can share; storage of kernel banks; peak
/// arithmetic and memory throughput of the machine.
pub use dyconv_kernels::{Exec, Isa, Pool, Storage, peak_madds, peak_read};
pub use error::EngineError;
pub use memory::available_memory;
pub use options::{Options, Precision};
pub use plan::{Plan, StepInfo};
pub use session::Session;
