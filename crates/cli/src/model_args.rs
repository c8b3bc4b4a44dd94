//! Architecture options as flags.

use anyhow::anyhow;
use clap::Args;
use dyconv_graph::Graph;
use dyconv_models::{ModelName, Options, build};
use toml::{Table, Value};

use crate::settings;

/// Architecture options that `cost`, `new` and `bench` share. Those that are also in a recipe are shorthands for `--set
/// model.KEY=VALUE`.
#[derive(Args)]
pub struct ModelArgs {
    /// Height and width of the input images in pixels, e.g. 224 or 128x96 [default: 224; keypoint networks: 256x192]
    #[arg(long, value_name = "SIDE|HxW", value_parser = image_size)]
    pub image_size: Option<[usize; 2]>,
    /// Number of classes
    #[arg(long, default_value_t = 1000)]
    pub classes: usize,
    /// Keypoint networks: number of keypoints
    #[arg(long, default_value_t = 17)]
    pub joints: usize,
    /// Channels of the input images: 1 or 3
    #[arg(long, default_value_t = 3)]
    pub channels: usize,
    /// Width multiplier; overrides the one in the name
    #[arg(long)]
    pub width: Option<f64>,
    /// Number K of kernels of each dynamic layer [default: 4]
    #[arg(long)]
    pub kernels: Option<usize>,
    /// Number of kernels of some layers, e.g. `blocks.16.*=8`; repeatable
    #[arg(long, value_name = "LAYER=K", value_parser = layer_kernels)]
    pub layer_kernels: Vec<(String, usize)>,
    /// Input channels per hidden unit of a router [default: 4]
    #[arg(long)]
    pub reduction: Option<usize>,
    /// Sigmoid coefficients (CondConv) instead of softmax
    #[arg(long)]
    pub sigmoid: bool,
    /// MobileNets: make the last 1×1 convolution dynamic too
    #[arg(long)]
    pub dynamic_head: bool,
    /// ResNets: make the 1×1 shortcut convolutions dynamic too
    #[arg(long)]
    pub dynamic_shortcut: bool,
    /// Use a 3×3 stem with stride 1 and no pooling, for images of 28 to 64 pixels
    #[arg(long)]
    pub small_stem: bool,
    /// Keypoint networks: width multiplier of the head [default: 1]
    #[arg(long)]
    pub head_width: Option<f64>,
    /// MobileNetV3: omit squeeze-and-excitation
    #[arg(long)]
    pub no_se: bool,
    /// Set any option of a recipe's table `model`, e.g. `model.min_hidden=8` or `model.dynamic_parts.expand=false`;
    /// repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    pub set: Vec<Table>,
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
            small_stem: self.small_stem,
            ..self.options()?
        };
        Ok(build(name, &options)?)
    }

    /// The options set by flags and `--set`; all others have their defaults.
    fn options(&self) -> anyhow::Result<Options> {
        let layers: Table = self.layer_kernels.iter().map(|(layer, k)| (layer.clone(), whole(*k))).collect();
        let flags = [
            ("width", self.width.map(Value::from)),
            ("kernels", self.kernels.map(whole)),
            ("layer_kernels", (!layers.is_empty()).then_some(Value::Table(layers))),
            ("reduction", self.reduction.map(whole)),
            ("gate", self.sigmoid.then(|| Value::from("sigmoid"))),
            ("dynamic_head", self.dynamic_head.then_some(Value::from(true))),
            ("dynamic_shortcut", self.dynamic_shortcut.then_some(Value::from(true))),
            ("se", self.no_se.then_some(Value::from(false))),
            ("head_width", self.head_width.map(Value::from)),
        ];
        let mut model: Table = flags.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
        settings::apply(&mut model, &self.set, "model", "options of the network")?;
        Value::Table(model).try_into().map_err(|e| anyhow!("--set: {}", settings::one_line(&e)))
    }
}

/// A TOML integer; numbers beyond its range are beyond that of any option too.
fn whole(n: usize) -> Value {
    Value::Integer(i64::try_from(n).unwrap_or(i64::MAX))
}

fn setting(text: &str) -> Result<Table, String> {
    settings::parse(text, "model.min_hidden=8")
}

/// Parses `224` or `128x96`.
pub fn image_size(text: &str) -> Result<[usize; 2], String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use dyconv_graph::Gate;
    use dyconv_models::DynamicParts;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        model: ModelArgs,
    }

    fn options(args: &[&str]) -> anyhow::Result<Options> {
        Line::try_parse_from(["x"].iter().chain(args))?.model.options()
    }

    #[test]
    fn flags_are_short_for_settings() {
        assert_eq!(options(&[]).unwrap(), Options::default());
        let flags = ["--kernels", "8", "--layer-kernels", "blocks.1.*=2", "--sigmoid", "--no-se", "--width", "0.5"];
        let settings = ["kernels=8", "layer_kernels={ \"blocks.1.*\" = 2 }", "gate=sigmoid", "se=false", "width=0.5"];
        let settings: Vec<String> = settings.iter().map(|s| format!("--set=model.{s}")).collect();
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let made = options(&flags).unwrap();
        assert_eq!(made, options(&settings).unwrap());
        assert_eq!((made.kernels, made.gate, made.se, made.width), (8, Gate::Sigmoid, false, Some(0.5)));
        let parts = DynamicParts { expand: false, ..DynamicParts::default() };
        assert_eq!(options(&["--set", "model.dynamic_parts.expand=false"]).unwrap().dynamic_parts, parts);
    }

    #[test]
    fn wrong_settings_are_named() {
        let says = |set: &str, expected: &str| {
            let error = options(&["--set", set]).map(|_| ()).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        };
        says("model.kernel=3", "unknown field `kernel`");
        says("model.kernels=x", "expected usize");
        says("train.lr=1", "only options of the network");
        says("kernels", "expected KEY=VALUE");
    }
}
