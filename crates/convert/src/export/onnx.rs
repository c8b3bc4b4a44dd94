//! `--onnx`: writes the file, reads it back, and runs it against the engine.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use dyconv_file::{Model, write_atomically};
use dyconv_graph::{Graph, Weights};
use dyconv_onnx::write::{ExternalData, WriteOptions, Written, metadata, write};
use dyconv_task::Preprocessing;

use super::args::{Args, Batch, Form};
use super::frozen::{Images, MeanAttention, with_attention};
use super::report::{Check, File, Frozen, Report};
use crate::answers::{Difference, answers, random_inputs};
use crate::text::name;

/// Largest relative difference between the answers of a written file and the engine's.
const BOUND: f64 = 1e-4;
/// Batches that a file with a free batch is run with.
const BATCHES: [usize; 2] = [1, 3];

pub fn export(args: &Args, model: &Model, path: &Path) -> anyhow::Result<Report> {
    let is_dynamic = model.graph.dynamic_layers() > 0;
    let form = args.form.unwrap_or(Form::Portable);
    ensure!(
        is_dynamic || args.form.is_none(),
        "--form {}: the network is static, and static networks have one form; leave it out",
        form.name()
    );
    let batch = args.batch.unwrap_or(if form == Form::Exact { Batch::Fixed(1) } else { Batch::Free });
    let images = match (form, &args.data) {
        (Form::Frozen, Some(data)) => Some(Images::open(args, data, model)?),
        (Form::Frozen, None) => bail!("--form frozen: name the data whose mean attention it gets with --data"),
        _ => None,
    };
    let attention = images.as_ref().map(|images| images.mean_attention(model)).transpose()?;
    let external_name = format!("{}.data", path.file_name().context("--onnx: names no file")?.to_string_lossy());
    let options = WriteOptions {
        form: form.into(),
        batch: batch.into(),
        preprocessing: args.with_preprocessing.then_some(&model.preprocessing),
        metadata: metadata(model)?,
        attention: attention.as_ref(),
        external_name: &external_name,
    };
    let in_file = |e| anyhow::Error::new(e).context(path.display().to_string());
    let written = write(&model.graph, &model.weights, model.tau, &options).map_err(in_file)?;
    let external =
        written.external.as_ref().map(|external| External::write(external, &model.weights, path)).transpose()?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let back = dyconv_onnx::read(&written.model, Some(folder))
        .map_err(|e| in_file(e).context("the written file cannot be read back; this is a fault of the program"))?;
    let back = Network { graph: &back.graph, weights: &back.weights, tau: back.tau, takes_bytes: back.report.bytes };
    let checks = compare(model, attention.as_ref(), &back, batch)?;
    let frozen = match (&images, &args.data) {
        (Some(images), Some(data)) => Some(Frozen {
            data: data.clone(),
            images: images.count,
            scores: images.scores(model, back.as_model(model))?,
            what: images.to_string(),
        }),
        _ => None,
    };
    let Written { model: bytes, opset, ir, .. } = &written;
    write_atomically(path, bytes).with_context(|| format!("{}: cannot be written", path.display()))?;
    let mut files = vec![File::written(path)?];
    if let Some(external) = external {
        files.push(File::written(&external.keep())?);
    }
    Ok(Report {
        model: args.model.display().to_string(),
        kind: "onnx",
        files,
        form: is_dynamic.then(|| form.name()),
        batch: match batch {
            Batch::Free => None,
            Batch::Fixed(n) => Some(n),
        },
        opset: Some(*opset),
        ir: Some(*ir),
        checks,
        frozen,
        ..Report::default()
    })
}

/// A network that was read back.
struct Network<'a> {
    graph: &'a Graph,
    weights: &'a Weights,
    tau: f32,
    /// Whether it takes pixels from 0 to 255 and normalizes them itself.
    takes_bytes: bool,
}

impl Network<'_> {
    /// The network with everything else of `model`.
    fn as_model(&self, model: &Model) -> Model {
        let mut made =
            Model { graph: self.graph.clone(), weights: self.weights.clone(), tau: self.tau, ..model.clone() };
        if self.takes_bytes {
            made.preprocessing.mean.fill(0.0);
            made.preprocessing.std.fill(1.0 / 255.0);
        }
        made
    }

    /// Random inputs of the model, and the same for this network.
    fn inputs(&self, model: &Model, rows: usize, seed: u64) -> (Vec<f32>, Vec<f32>) {
        let [channels, height, width] = model.graph.input_dims();
        let random = random_inputs([channels, height, width], rows, seed);
        if !self.takes_bytes {
            return (random.clone(), random);
        }
        let bytes: Vec<f32> = random.iter().map(|v| ((v + 2.0) * 64.0).floor()).collect();
        let Preprocessing { mean, std, .. } = &model.preprocessing;
        let normalized = bytes.iter().enumerate().map(|(i, byte)| {
            let channel = i / (height * width) % channels;
            (byte / 255.0 - mean[channel]) / std[channel]
        });
        (normalized.collect(), bytes)
    }
}

/// Runs what was read back and what was written on the same inputs.
fn compare(
    model: &Model,
    attention: Option<&MeanAttention>,
    back: &Network<'_>,
    batch: Batch,
) -> anyhow::Result<Vec<Check>> {
    let fixed = attention.map(|attention| with_attention(model, attention)).transpose()?;
    let (graph, weights) = fixed.as_ref().map_or((&model.graph, &model.weights), |(graph, weights)| (graph, weights));
    let shape = model.graph.output_shape();
    let batches = match batch {
        Batch::Free => BATCHES.to_vec(),
        Batch::Fixed(n) => vec![n],
    };
    let mut checks = Vec::new();
    for batch in batches {
        let (input, same) = back.inputs(model, batch, batch as u64);
        let expected = answers(graph, weights, model.tau, &input, batch)?;
        let found = answers(back.graph, back.weights, back.tau, &same, batch)?;
        let difference = Difference::of(&found, &expected, batch, shape);
        ensure!(
            difference.is_within(BOUND),
            "the written network, read back, does not answer as the model: {difference} (at most {BOUND:.0e} is allowed); \
             nothing was written"
        );
        checks.push(Check { batch, difference });
    }
    Ok(checks)
}

/// The external data of a file, removed again unless they are kept.
struct External {
    path: PathBuf,
    kept: bool,
}

impl External {
    fn write(external: &ExternalData, weights: &Weights, model: &Path) -> anyhow::Result<Self> {
        let path = model.with_file_name(&external.name);
        let shown = name(&path.display().to_string());
        let cannot = || format!("{shown}: cannot be written");
        let file = fs::File::create_new(&path).with_context(cannot)?;
        let written = Self { path, kept: false };
        let mut file = BufWriter::new(file);
        external.write_to(weights, &mut file).with_context(cannot)?;
        file.flush().with_context(cannot)?;
        file.get_ref().sync_all().with_context(cannot)?;
        Ok(written)
    }

    fn keep(mut self) -> PathBuf {
        self.kept = true;
        self.path.clone()
    }
}

impl Drop for External {
    fn drop(&mut self) {
        if !self.kept {
            // The error that led here is told; that its leftover cannot be removed, is not.
            let _ = fs::remove_file(&self.path);
        }
    }
}
