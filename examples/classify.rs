//! Names what is in images, on one thread each: `cargo run --release --example classify -- model.safetensors IMAGE…`
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example says what it found")]

use dyconv::data::load;
use dyconv::{Classifier, Prediction};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().ok_or("usage: classify MODEL IMAGE…")?;
    let images: Vec<String> = arguments.collect();
    let classifier = Classifier::open(model)?;

    // One classifier serves any number of threads.
    std::thread::scope(|scope| {
        for image in &images {
            let classifier = &classifier;
            scope.spawn(move || match classifier.predict_file(image) {
                Ok(prediction) => print(image, &prediction),
                Err(error) => eprintln!("{image}: {error}"),
            });
        }
    });

    // Or all of them in one run, which reads the network's weights once for several images. The predictions are the same.
    let decoded = images.iter().map(|image| load(image.as_ref(), &classifier.decode_options()));
    let decoded = decoded.collect::<Result<Vec<_>, _>>()?;
    for (image, prediction) in images.iter().zip(classifier.predict_batch(&decoded)?) {
        print(image, &prediction);
    }
    Ok(())
}

fn print(image: &str, prediction: &Prediction<'_>) {
    for answer in prediction.top(3) {
        println!("{image}: {} {:.1} %", answer.class, 100.0 * answer.probability);
    }
}
