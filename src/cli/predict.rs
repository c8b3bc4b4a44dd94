//! `dyconv predict`: what is in these images?

use std::path::PathBuf;

use anyhow::bail;
use serde::Serialize;

use super::bank::Bank;
use super::output::{print, print_json, threads};
use super::table::Table;

/// Name what is in images
#[derive(clap::Args)]
#[command(after_help = "Examples:
  dyconv predict model.safetensors cat.jpg
  dyconv predict model.safetensors photos/*.png --top 1
  dyconv predict model.safetensors cat.jpg --json")]
pub struct Args {
    /// Model file
    model: PathBuf,
    /// Image files: JPEG, PNG or WebP
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// Answers for each image
    #[arg(long, default_value_t = 5)]
    top: usize,
    /// Threads to compute with; unset: one per processor
    #[arg(long)]
    threads: Option<usize>,
    /// How kernel banks are stored
    #[arg(long, value_enum, default_value = "f32")]
    bank: Bank,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct ImageJson {
    image: String,
    answers: Vec<AnswerJson>,
}

#[derive(Serialize)]
struct AnswerJson {
    index: usize,
    class: String,
    probability: f32,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut classifier = args.bank.classifier(&args.model, threads(args.threads))?;
    let mut results = Vec::new();
    let mut failed = 0;
    for image in &args.images {
        match classifier.predict_file(image) {
            Ok(prediction) => {
                let answers = prediction.top(args.top).into_iter().map(|a| AnswerJson {
                    index: a.index,
                    class: a.class.to_owned(),
                    probability: a.probability,
                });
                results.push(ImageJson { image: image.display().to_string(), answers: answers.collect() });
            }
            Err(error) if args.images.len() == 1 => return Err(error.into()),
            Err(error) => {
                failed += 1;
                eprintln!("skipped: {error}");
            }
        }
    }
    if args.json {
        print_json(&results)?;
    } else {
        let mut table = Table::new(&["image", "class", "probability"]);
        for result in &results {
            for (rank, answer) in result.answers.iter().enumerate() {
                let image = if rank == 0 { result.image.clone() } else { String::new() };
                table.row(vec![image, answer.class.clone(), format!("{:.2} %", 100.0 * answer.probability)]);
            }
        }
        print(&table.to_string())?;
    }
    if failed > 0 {
        bail!("{failed} of {} images could not be read", args.images.len());
    }
    Ok(())
}
