//! Arguments of `dyconv export`.

use std::path::PathBuf;

use clap::{ArgGroup, ValueEnum};
use dyconv_convert::Batch;

use crate::pixels::max_pixels;

/// Export a model to ONNX, to a PyTorch state dict, or to a Hugging Face hub folder
#[derive(clap::Args)]
#[command(
    group = ArgGroup::new("target").required(true).args(["onnx", "torch", "hub"]),
    after_help = "Forms of dynamic convolutions in ONNX (static networks are the same in each):
  portable  any batch, and no convolution whose weights are computed: 1×1 convolutions are batched matrix products, others
            one static convolution with K times the outputs, which are then mixed. Runs everywhere
  exact     each kernel is mixed at run time and used once: the least arithmetic, for a batch of 1
  frozen    the attention is fixed at its mean over --data: an ordinary static network. Its accuracy is printed beside the
            original's

Every ONNX file is read back and run against this program's engine on random inputs; the report has the largest difference. Beyond 1e-4 of the largest answer it is an error, and no file is left. Opset 17, IR 8. The file's metadata hold the class names, mean, std and τ, so that `dyconv import` restores the model, and the keys that other tools look for (names, task, imgsz).

With --with-preprocessing the input is [N, H, W, C] of unsigned bytes, already resized and cropped: the file scales and normalizes them itself.

Examples:
  dyconv export model.safetensors --onnx model.onnx
  dyconv export model.safetensors --onnx model.onnx --form exact --with-preprocessing
  dyconv export model.safetensors --onnx model.onnx --form frozen --data photos
  dyconv export model.safetensors --torch resnet18.safetensors --names timm
  dyconv export model.safetensors --hub resnet18-photos      model.safetensors, config.json and README.md"
)]
pub struct Args {
    /// Model file
    pub model: PathBuf,
    /// ONNX file to write; must not exist
    #[arg(long, value_name = "FILE.onnx")]
    pub onnx: Option<PathBuf>,
    /// State dict to write, in safetensors; must not exist
    #[arg(long, value_name = "FILE.safetensors")]
    pub torch: Option<PathBuf>,
    /// Folder to write as the Hugging Face hub has them; must be empty or not exist
    #[arg(long, value_name = "DIR")]
    pub hub: Option<PathBuf>,
    /// ONNX: form of the dynamic convolutions [default: portable]
    #[arg(long, value_enum)]
    pub form: Option<Form>,
    /// ONNX: number of samples per run, `free` or a number [default: free; 1 with --form exact]
    #[arg(long, value_name = "free|N", value_parser = batch)]
    pub batch: Option<Batch>,
    /// ONNX: put scaling and normalization into the file; the input then is unsigned bytes [N, H, W, C]
    #[arg(long)]
    pub with_preprocessing: bool,
    /// ONNX, --form frozen: data set over which the attention is averaged and both networks are scored: a folder, or
    /// `digits`
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// PyTorch: whose names the tensors get [default: torchvision]
    #[arg(long, value_enum)]
    pub names: Option<Names>,
    /// --data: number of broken images to skip before the command fails
    #[arg(long, default_value_t = 10)]
    pub max_broken: usize,
    /// --data: largest image to decode, in millions of pixels
    #[arg(long = "max-megapixels", value_name = "N", default_value = "100", value_parser = max_pixels)]
    pub max_pixels: usize,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
}

/// Form of dynamic convolutions in ONNX.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Kernels mixed at run time, for a batch of 1
    Exact,
    /// Any batch, no computed convolution weights
    Portable,
    /// Attention fixed at its mean over --data
    Frozen,
}

fn batch(text: &str) -> Result<Batch, String> {
    match (text, text.parse()) {
        ("free", _) => Ok(Batch::Free),
        (_, Ok(n)) if (1..=65_536).contains(&n) => Ok(Batch::Fixed(n)),
        _ => Err("expected `free`, or a number of samples from 1 to 65536".into()),
    }
}

/// Whose names the tensors of a state dict get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Names {
    Torchvision,
    Timm,
}

impl From<Names> for dyconv_convert::Names {
    fn from(names: Names) -> Self {
        match names {
            Names::Torchvision => Self::Torchvision,
            Names::Timm => Self::Timm,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_free_or_numbers() {
        assert_eq!((batch("free"), batch("8")), (Ok(Batch::Free), Ok(Batch::Fixed(8))));
        for text in ["0", "-1", "any", "", "65537", "1.5"] {
            assert_eq!(batch(text).unwrap_err(), "expected `free`, or a number of samples from 1 to 65536", "{text}");
        }
    }
}
