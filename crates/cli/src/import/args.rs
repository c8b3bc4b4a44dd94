//! Arguments of `dyconv import`.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use toml::Table;

use crate::model_args::image_size;
use crate::settings;

/// Import a network from PyTorch, timm, torchvision, the Hugging Face hub or ONNX
#[derive(clap::Args)]
#[command(after_help = "SOURCE is one of (its content decides, not its name)
  a state dict    .safetensors, or .pth, .pt, .bin of any PyTorch, whole modules too; no code in it is run
  a hub folder    model.safetensors or pytorch_model.bin with config.json, as timm and transformers write it
  hub:OWNER/NAME  the same in the local Hugging Face cache; nothing is downloaded
  an ONNX file    convolutions whose kernels are computed from attention become dynamic convolutions

The architecture of a state dict is recognized by its tensors, or named with --arch. Class names and preprocessing come from config.json beside the weights or from the ONNX file's metadata; --classes and --set preprocessing.KEY=VALUE (resize, mean, std, interpolation, crop, orientation) say what neither does. Otherwise classes are numbered, and ImageNet's preprocessing is assumed and said so.

The imported network is run on the arrays of --check, or on the test data beside an ONNX file (test_data_set_0/input_0.pb, output_0.pb). The first line of the report says how far the answers differ; if by more than 1e-3 of the largest, no model is written and the exit status is 1.

Examples:
  dyconv import resnet18-f37072fd.pth --out resnet18.safetensors --classes imagenet.txt
  dyconv import hub:timm/mobilenetv3_small_100.lamb_in1k --out v3.safetensors
  dyconv import net.onnx --out net.safetensors --check x.npy y.npy
  dyconv import net.onnx --out net.safetensors --image-size 224      an ONNX file whose height and width are free
  dyconv import weights.pth --arch efficientnet_lite0 --out lite0.safetensors --set preprocessing.interpolation=bicubic
  dyconv import resnet18.pth --out dynamic.safetensors --to-dynamic 4   with the same answers, to fine-tune")]
pub struct Args {
    /// State dict, hub folder, hub:OWNER/NAME, or ONNX file
    pub source: String,
    /// Model file to write; must not exist
    #[arg(long, value_name = "MODEL")]
    pub out: PathBuf,
    /// State dicts: name of the architecture (see `dyconv models`) [default: recognized by its tensors]
    #[arg(long, value_name = "NAME")]
    pub arch: Option<String>,
    /// Height and width of the input in pixels, e.g. 224 or 128x96 [default: what the source says, else that of the arrays of --check, else 224]
    #[arg(long, value_name = "SIDE|HxW", value_parser = image_size)]
    pub image_size: Option<[usize; 2]>,
    /// Names of the classes, one per line, in the order of the outputs
    #[arg(long, value_name = "FILE", conflicts_with = "skeleton")]
    pub classes: Option<PathBuf>,
    /// Keypoint networks: keypoints as TOML, as for `dyconv new` [default: COCO person, if there are 17 heat maps]
    #[arg(long, value_name = "FILE")]
    pub skeleton: Option<PathBuf>,
    /// Temperature of the routers' softmax [default: what the source says, else 1]
    #[arg(long)]
    pub tau: Option<f32>,
    /// Make convolutions dynamic with K kernels each, about the old one; the answers stay the same until it is fine-tuned
    #[arg(long, value_name = "K", value_parser = RangedU64ValueParser::<usize>::new().range(2..=65_536))]
    pub to_dynamic: Option<usize>,
    /// Set a key of the preprocessing, e.g. `preprocessing.interpolation=bicubic` or
    /// `preprocessing.mean=[0.5,0.5,0.5]`; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    pub set: Vec<Table>,
    /// Inputs [N, C, H, W] and the answers of the original network, .npy, to compare with
    #[arg(long, num_args = 2, value_names = ["IN.npy", "OUT.npy"])]
    pub check: Option<Vec<PathBuf>>,
    /// Write JSON
    #[arg(long)]
    pub json: bool,
}

fn setting(text: &str) -> Result<Table, String> {
    settings::parse(text, "preprocessing.interpolation=bicubic")
}
