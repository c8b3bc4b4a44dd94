//! Everything that is tested from outside, in one binary: each binary would link Burn once more. A file is a subject.
//!
//! Files that need the feature `train` or Unix say so themselves. Tests here share a process, so they may not change its
//! environment, folder or panic hook; where they need another, they start the program.

mod ablate;
mod answers;
mod bad_input;
mod common;
mod compare;
mod end_to_end;
mod every_model;
mod export;
mod facade;
mod figures;
mod from_pytorch;
mod golden_networks;
mod held_out;
mod import;
mod inspect;
mod interrupted_runs;
mod keypoints;
mod known_answers;
mod limits;
mod pose_answers;
mod pose_networks;
mod python_writes_a_model;
mod recipes;
mod streams;
