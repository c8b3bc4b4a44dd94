//! Compiles a network and runs it on the CPU.
#![forbid(unsafe_code)]
