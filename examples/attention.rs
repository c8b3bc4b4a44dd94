//! Prints which kernels a network mixes for an image: `cargo run --release --example attention -- model.safetensors IMAGE`
#![allow(clippy::print_stdout, reason = "an example says what it found")]

use dyconv::Classifier;
use dyconv::data::load;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), Some(image)) = (arguments.next(), arguments.next()) else {
        return Err("usage: attention MODEL IMAGE".into());
    };
    let classifier = Classifier::open(model)?;
    let image = load(image.as_ref(), &classifier.decode_options())?;
    let (prediction, attention) = classifier.predict_with_attention(&image)?;
    let best = prediction.top(1)[0];
    println!("{} {:.1} %", best.class, 100.0 * best.probability);
    for layer in attention {
        let shares: Vec<String> = layer.kernels.iter().map(|share| format!("{:5.1} %", 100.0 * share)).collect();
        println!("{:30} {}", layer.layer, shares.join("  "));
    }
    Ok(())
}
