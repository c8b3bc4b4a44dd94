//! How many pictures of figures one core draws, encodes as JPEG and writes per second.
//!
//!     cargo bench -p dyconv-figures --bench figures
//!
//! The fastest of five rounds of 300 pictures, written to a temporary folder, with one thread and with two.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench says what it measured")]

use std::time::{Duration, Instant};

use dyconv_figures::{FigureOptions, make_figures};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("threads  images/s  images/s per core  kB an image");
    for threads in [1, 2] {
        let (mut fastest, mut bytes) = (Duration::MAX, 0);
        let options = FigureOptions { train: 300, val: 0, seed: 0, threads, overwrite: true };
        for _ in 0..5 {
            let dir = tempfile::tempdir()?;
            let started = Instant::now();
            let made = make_figures(dir.path(), &options, &mut |_| {})?;
            fastest = fastest.min(started.elapsed());
            bytes = made.train.map_or(0, |part| part.bytes);
        }
        let rate = options.train as f64 / fastest.as_secs_f64();
        let size = bytes as f64 / 1e3 / options.train as f64;
        println!("{threads:7}  {rate:8.0}  {:17.0}  {size:11.1}", rate / threads as f64);
    }
    Ok(())
}
