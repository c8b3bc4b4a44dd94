//! The options of an architecture as flags.

use clap::Args;
use dyconv_graph::{Gate, Graph};
use dyconv_models::{ModelName, Options, build};

/// Architecture options that `cost` and `new` share.
#[derive(Args)]
pub struct ModelArgs {
    /// Side of the input images in pixels, or their height and width, e.g. 128x96 [default: 224; keypoint networks: 256x192]
    #[arg(long, value_name = "SIDE|HxW", value_parser = image_size)]
    pub image_size: Option<[usize; 2]>,
    /// Number of classes
    #[arg(long, default_value_t = 1000)]
    pub classes: usize,
    /// Keypoint networks: number of joints
    #[arg(long, default_value_t = 17)]
    pub joints: usize,
    /// Channels of the input images: 1 or 3
    #[arg(long, default_value_t = 3)]
    pub channels: usize,
    /// Width multiplier; overrides the one in the name
    #[arg(long)]
    pub width: Option<f64>,
    /// Kernels K of each dynamic layer
    #[arg(long, default_value_t = 4)]
    pub kernels: usize,
    /// Kernels of some layers, e.g. `blocks.16.*=8`; repeatable
    #[arg(long, value_name = "LAYER=K", value_parser = layer_kernels)]
    pub layer_kernels: Vec<(String, usize)>,
    /// Input channels per hidden unit of a router
    #[arg(long, default_value_t = 4)]
    pub reduction: usize,
    /// Sigmoid coefficients (CondConv) instead of softmax
    #[arg(long)]
    pub sigmoid: bool,
    /// MobileNets: make the last 1×1 convolution dynamic too
    #[arg(long)]
    pub dynamic_head: bool,
    /// ResNets: make the 1×1 shortcut convolutions dynamic too
    #[arg(long)]
    pub dynamic_shortcut: bool,
    /// 3×3 stem with stride 1 and no pooling, for 28 to 64 pixel images
    #[arg(long)]
    pub small_stem: bool,
    /// Keypoint networks: width multiplier of the head
    #[arg(long, default_value_t = 1.0)]
    pub head_width: f64,
    /// MobileNetV3: leave squeeze-and-excitation out
    #[arg(long)]
    pub no_se: bool,
}

impl ModelArgs {
    /// Builds the named network with these options.
    pub fn build(&self, name: &str) -> anyhow::Result<Graph> {
        let usual = name.parse::<ModelName>()?.image_size();
        let options = Options {
            classes: self.classes,
            joints: self.joints,
            in_channels: self.channels,
            image_size: self.image_size.unwrap_or(usual),
            width: self.width,
            kernels: self.kernels,
            layer_kernels: self.layer_kernels.iter().cloned().collect(),
            reduction: self.reduction,
            gate: if self.sigmoid { Gate::Sigmoid } else { Gate::Softmax },
            dynamic_head: self.dynamic_head,
            dynamic_shortcut: self.dynamic_shortcut,
            small_stem: self.small_stem,
            se: !self.no_se,
            head_width: self.head_width,
            ..Options::default()
        };
        Ok(build(name, &options)?)
    }
}

fn image_size(text: &str) -> Result<[usize; 2], String> {
    let side = |text: &str| text.parse::<usize>().map_err(|_| format!("`{text}` is no number of pixels"));
    match text.split_once('x') {
        Some((height, width)) => Ok([side(height)?, side(width)?]),
        None => Ok([side(text)?; 2]),
    }
}

fn layer_kernels(text: &str) -> Result<(String, usize), String> {
    let (layer, kernels) = text.split_once('=').ok_or("expected LAYER=K, e.g. blocks.16.*=8")?;
    Ok((layer.to_owned(), kernels.parse().map_err(|_| format!("`{kernels}` is no number of kernels"))?))
}
