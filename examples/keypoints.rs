//! Finds the keypoints of people: `cargo run --release --example keypoints -- pose.safetensors IMAGE [X,Y,WIDTH,HEIGHT]…`
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example says what it found")]

use dyconv::PoseEstimator;
use dyconv::data::{PersonBox, load};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), Some(image)) = (arguments.next(), arguments.next()) else {
        return Err("usage: keypoints MODEL IMAGE [X,Y,WIDTH,HEIGHT]…".into());
    };
    let estimator = PoseEstimator::open(model)?;
    let image = load(image.as_ref(), &estimator.decode_options())?;
    let mut boxes = arguments.map(|text| parse(&text)).collect::<Result<Vec<_>, _>>()?;
    if boxes.is_empty() {
        boxes.push(PersonBox::whole(&image));
    }
    for (person, keypoints) in estimator.predict(&image, &boxes)?.iter().enumerate() {
        for (name, found) in estimator.skeleton().joints.iter().zip(keypoints) {
            println!("person {}: {name} at ({:.1}, {:.1}), score {:.2}", person + 1, found.x, found.y, found.score);
        }
    }
    Ok(())
}

fn parse(text: &str) -> Result<PersonBox, Box<dyn std::error::Error>> {
    let numbers = text.split(',').map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    let [x, y, width, height] = numbers[..] else {
        return Err(format!("{text}: expected X,Y,WIDTH,HEIGHT in pixels").into());
    };
    Ok(PersonBox { x, y, width, height })
}
