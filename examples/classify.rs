//! Names what is in images: `cargo run --release --example classify -- model.safetensors IMAGE…`
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example says what it found")]

use dyconv::Classifier;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let model = arguments.next().ok_or("usage: classify MODEL IMAGE…")?;
    let classifier = Classifier::open(model)?;
    for image in arguments {
        let prediction = classifier.predict_file(&image)?;
        for answer in prediction.top(3) {
            println!("{}: {} {:.1} %", image.display(), answer.class, 100.0 * answer.probability);
        }
    }
    Ok(())
}
