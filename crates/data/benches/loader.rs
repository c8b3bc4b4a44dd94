//! How many images one core prepares per second: decode, random resized crop to 224, flip, normalise.
//!
//!     cargo bench -p dyconv-data --bench loader
//!
//! 640 × 480 JPEGs (quality 90, 4:2:0, about as large as photographs) are made in a temporary folder, as files and as
//! one tar shard, and loaded with one and two threads. Files are in the page cache. Medians of interleaved rounds.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench says what it measured")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use dyconv_data::{Augment, Crop, Dataset, Loader, LoaderOptions, OpenOptions, Preprocessing, Split, Transform};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const WIDTH: usize = 640;
const HEIGHT: usize = 480;
/// Number of different pictures, and number of copies of each.
const PICTURES: u64 = 48;
const COPIES: u64 = 8;
const ROUNDS: usize = 7;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let bytes = write(dir.path())?;
    let images = PICTURES * COPIES;
    println!("{images} images of {WIDTH} x {HEIGHT}, {:.0} kB each", bytes as f64 / 1e3 / images as f64);

    let open = |name: &str| {
        let path = dir.path().join(name);
        Dataset::open(&path.to_string_lossy(), &OpenOptions { val_fraction: 0.0, seed: 0 }).map(Arc::new)
    };
    let sources = [("folder", open("folder")?), ("shard", open("shard")?)];
    let pre = Transform::new(Preprocessing::usual(3, [224, 224], 256))?;
    let augment = Augment { random_resized_crop: Some(Crop::default()), flip: 0.5, ..Augment::default() };
    let cases: Vec<_> = sources.iter().flat_map(|source| [1, 2].map(|threads| (source, threads))).collect();
    let mut seconds = vec![Vec::new(); cases.len()];
    for round in 0..=ROUNDS {
        for (case, ((_, data), threads)) in cases.iter().enumerate() {
            let options = LoaderOptions { batch: 32, threads: *threads, shuffle: true, ..LoaderOptions::default() };
            let started = Instant::now();
            for batch in Loader::epoch(data, Split::Train, &pre, Some(augment), &options, round) {
                std::hint::black_box(batch?);
            }
            // The first round warms up.
            if round > 0 {
                seconds[case].push(started.elapsed().as_secs_f64());
            }
        }
    }
    println!("source  threads  images/s  images/s per core");
    for (((name, _), threads), mut seconds) in cases.into_iter().zip(seconds) {
        seconds.sort_by(f64::total_cmp);
        let rate = images as f64 / seconds[ROUNDS / 2];
        println!("{name:6}  {threads:7}  {rate:8.0}  {:17.0}", rate / threads as f64);
    }
    Ok(())
}

/// Writes the pictures as files and as a shard; returns their total size.
fn write(root: &Path) -> Result<usize, Box<dyn std::error::Error>> {
    let pictures = (0..PICTURES).map(picture).collect::<Result<Vec<_>, _>>()?;
    std::fs::create_dir_all(root.join("shard"))?;
    let mut shard = tar::Builder::new(std::fs::File::create(root.join("shard/train-000.tar"))?);
    for class in ["a", "b"] {
        std::fs::create_dir_all(root.join("folder").join(class))?;
    }
    let mut append = |name: String, data: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        shard.append_data(&mut header, name, data)
    };
    for copy in 0..COPIES {
        for (i, picture) in pictures.iter().enumerate() {
            let class = ["a", "b"][i % 2];
            std::fs::write(root.join(format!("folder/{class}/{copy}-{i}.jpg")), picture)?;
            append(format!("{copy}-{i}.jpg"), picture)?;
            append(format!("{copy}-{i}.cls"), class.as_bytes())?;
        }
    }
    shard.finish()?;
    Ok(pictures.iter().map(Vec::len).sum::<usize>() * COPIES as usize)
}

/// A JPEG of smooth noise: octaves from a third of the picture down to a few pixels, each weaker than the previous one.
fn picture(seed: u64) -> Result<Vec<u8>, jpeg_encoder::EncodingError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut samples = vec![128.0f32; WIDTH * HEIGHT * 3];
    for (cell, strength) in [(200, 50.0), (100, 38.0), (50, 28.0), (25, 22.0), (12, 18.0), (6, 17.0), (3, 20.0)] {
        let columns = WIDTH / cell + 2;
        let knots: Vec<[f32; 3]> = (0..columns * (HEIGHT / cell + 2))
            .map(|_| {
                let grey: f32 = rng.random_range(-1.0..1.0);
                std::array::from_fn(|_| strength * (grey + 0.3 * rng.random_range(-1.0..1.0f32)))
            })
            .collect();
        for (i, pixel) in samples.chunks_exact_mut(3).enumerate() {
            let (x, y) = (i % WIDTH, i / WIDTH);
            let (fx, fy) = ((x % cell) as f32 / cell as f32, (y % cell) as f32 / cell as f32);
            let knot = y / cell * columns + x / cell;
            for (c, sample) in pixel.iter_mut().enumerate() {
                let at = |knot: usize| knots[knot][c];
                let upper = at(knot) * (1.0 - fx) + at(knot + 1) * fx;
                let lower = at(knot + columns) * (1.0 - fx) + at(knot + columns + 1) * fx;
                *sample += upper * (1.0 - fy) + lower * fy;
            }
        }
    }
    let pixels: Vec<u8> = samples.iter().map(|v| *v as u8).collect();
    let mut jpeg = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut jpeg, 90);
    encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_2);
    encoder.encode(&pixels, WIDTH as u16, HEIGHT as u16, jpeg_encoder::ColorType::Rgb)?;
    Ok(jpeg)
}
