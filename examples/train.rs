//! Trains a small dynamic network on handwritten digits, without the program: `cargo run --release --example train -- FOLDER`
//!
//! FOLDER must not hold a run; it gets the model file, the report and all that a run leaves.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example says what it found")]

use std::sync::atomic::AtomicBool;

use dyconv::train::{Event, Recipe, RunFolder, World, open, setup, train};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: train FOLDER")?;
    // The built-in recipe, with two keys changed as `dyconv train --set` would.
    let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let settings = [set("model.name", "dy_resnet10_x0_25"), set("train.epochs", "3")];
    let recipe = Recipe::resolve(Some("digits"), None, &settings)?;
    let dataset = open("digits", &recipe)?;
    println!("{}", dataset.describe());

    let setup = setup(&recipe, &dataset)?;
    let folder = RunFolder::create(path.as_ref(), &recipe, "digits", &dataset, false)?;
    let stop = AtomicBool::new(false);
    let mut show = |event: Event<'_>| match event {
        Event::Epoch(epoch) => {
            let accuracy = 100.0 * epoch.validation.accuracy.unwrap_or(f64::NAN);
            println!("epoch {}: loss {:.4}, {accuracy:.2} % of the held-out images", epoch.epoch, epoch.loss);
        }
        Event::Warning(text) => eprintln!("warning: {text}"),
        _ => {}
    };
    let trained = train(&recipe, Some(&folder), &dataset, &setup, &World::alone(), &stop, &mut show)?;
    println!("{}: the network of epoch {}", folder.model().display(), trained.best.epoch);
    Ok(())
}
