//! ONNX: the file is written, read back, and run against the engine.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use dyconv_file::{Model, folder_of, write_atomically};
use dyconv_graph::{Graph, Weights};
use dyconv_onnx::write::{self as format, Batch, ExternalData, WriteOptions, metadata, write};
use dyconv_task::Preprocessing;

use super::frozen::{MeanAttention, with_attention};
use super::report::{ExportCheck, ExportReport, WrittenFile};
use crate::answers::{Difference, answers, random_inputs};
use crate::error::ConvertError;
use crate::files::{Staging, cannot_write};
use crate::note::Note;

/// Largest relative difference between the answers of a written file and the engine's.
const BOUND: f64 = 1e-4;
/// Batches that a file with a free batch is run with.
const BATCHES: [usize; 2] = [1, 3];
/// Most samples that a file with a fixed batch is run with: the network that is read back takes any number.
const MOST_ROWS: usize = 16;
/// Most samples per run that a file is written for.
const MOST_SAMPLES: usize = 65_536;

/// How dynamic convolutions are written. Static networks are the same in every form.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Form {
    /// Each kernel is mixed at run time and used once: the least arithmetic, for a batch of 1.
    Exact,
    /// Any batch, and no convolution whose weights are computed: runs everywhere.
    #[default]
    Portable,
    /// An ordinary static network: the attention is fixed at this mean.
    Frozen(MeanAttention),
}

/// How a model is written as ONNX.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OnnxOptions {
    /// Form of the dynamic convolutions. By default it is [`Form::Portable`]; a static network has one form, and takes none.
    pub form: Option<Form>,
    /// Number of samples per run, up to 65536. By default it is free, and 1 for [`Form::Exact`].
    pub batch: Option<Batch>,
    /// Puts scaling and normalization into the file: the input then is `[N, H, W, C]` of unsigned bytes, already resized and
    /// cropped.
    pub with_preprocessing: bool,
}

impl Form {
    /// The word for it: `exact`, `portable` or `frozen`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Portable => "portable",
            Self::Frozen(_) => "frozen",
        }
    }

    fn attention(&self) -> Option<&MeanAttention> {
        match self {
            Self::Frozen(attention) => Some(attention),
            Self::Exact | Self::Portable => None,
        }
    }
}

impl From<&Form> for format::Form {
    fn from(form: &Form) -> Self {
        match form {
            Form::Exact => Self::Exact,
            Form::Portable => Self::Portable,
            Form::Frozen(_) => Self::Frozen,
        }
    }
}

/// Writes a model as ONNX: opset 17, IR 8, and a file `PATH.data` beside it for the tensors of a model above 2 GB. The file's
/// metadata hold class names, preprocessing and τ, so that [`import`](crate::import) restores the model.
///
/// What is written is read back and run on random inputs before it replaces what `path` was.
///
/// # Errors
/// If the options do not fit the model ([`ConvertError::StaticForm`], [`ConvertError::Attention`], [`ConvertError::Batch`]), the
/// file cannot be written, or its answers differ from the model's by more than 1e-4 of the largest.
pub fn export_onnx(model: &Model, path: &Path, options: &OnnxOptions) -> Result<ExportReport, ConvertError> {
    let is_dynamic = model.graph.dynamic_layers() > 0;
    if let (false, Some(form)) = (is_dynamic, &options.form) {
        return Err(ConvertError::StaticForm(form.name()));
    }
    let form = options.form.as_ref().unwrap_or(&Form::Portable);
    let batch = options.batch.unwrap_or(if *form == Form::Exact { Batch::Fixed(1) } else { Batch::Free });
    if let Batch::Fixed(n) = batch
        && !(1..=MOST_SAMPLES).contains(&n)
    {
        return Err(ConvertError::Batch(n));
    }
    let attention = form.attention();
    let fixed = attention.map(|attention| with_attention(model, attention)).transpose()?;
    let file_name = path.file_name().ok_or_else(|| ConvertError::NoFileName(path.to_owned()))?;
    let external_name = format!("{}.data", file_name.to_string_lossy());
    let name = path.display().to_string();
    let in_file = |error| ConvertError::Onnx { name: name.clone(), error };
    let write_options = WriteOptions {
        form: form.into(),
        batch,
        preprocessing: options.with_preprocessing.then_some(&model.preprocessing),
        metadata: metadata(model).map_err(in_file)?,
        attention,
        external_name: &external_name,
    };
    let written = write(&model.graph, &model.weights, model.tau, &write_options).map_err(in_file)?;
    let staging = Staging::new(folder_of(path), path)?;
    write_atomically(&staging.folder().join(file_name), &written.model).map_err(cannot_write(path))?;
    if let Some(external) = &written.external {
        let staged = staging.folder().join(&external.name);
        let beside = path.with_file_name(&external.name);
        write_external(external, &model.weights, &staged).map_err(cannot_write(&beside))?;
    }
    let back = dyconv_onnx::read(&written.model, Some(staging.folder()));
    let back = back.map_err(|e| ConvertError::ReadBack { name: name.clone(), message: e.to_string() })?;
    let back = Network { graph: &back.graph, weights: &back.weights, tau: back.tau, takes_bytes: back.report.bytes };
    let (graph, weights) = fixed.as_ref().map_or((&model.graph, &model.weights), |(graph, weights)| (graph, weights));
    let checks = compare(model, graph, weights, &back, batch)?;
    let notes = match batch {
        Batch::Fixed(n) if n > MOST_ROWS => {
            vec![Note::from(format!("it takes {n} samples per run, and was compared with {MOST_ROWS} of them"))]
        }
        _ => Vec::new(),
    };
    Ok(ExportReport {
        kind: "onnx",
        files: WrittenFile::all(staging.place(path.parent().unwrap_or(Path::new("")))?)?,
        form: is_dynamic.then(|| form.name()),
        batch: match batch {
            Batch::Free => None,
            Batch::Fixed(n) => Some(n),
        },
        opset: Some(written.opset),
        ir: Some(written.ir),
        checks,
        notes,
        ..ExportReport::default()
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

/// Runs what was read back, and the network that was written, on the same inputs.
fn compare(
    model: &Model,
    graph: &Graph,
    weights: &Weights,
    back: &Network<'_>,
    batch: Batch,
) -> Result<Vec<ExportCheck>, ConvertError> {
    let batches = match batch {
        Batch::Free => BATCHES.to_vec(),
        Batch::Fixed(n) => vec![n.min(MOST_ROWS)],
    };
    let mut checks = Vec::new();
    for batch in batches {
        let (input, same) = back.inputs(model, batch, batch as u64);
        let expected = answers(graph, weights, model.tau, &input, batch)?;
        let found = answers(back.graph, back.weights, back.tau, &same, batch)?;
        let difference = Difference::of(&found, &expected, batch, model.graph.output_shape());
        if !difference.is_within(BOUND) {
            return Err(ConvertError::NotTheSame { difference, bound: BOUND });
        }
        checks.push(ExportCheck { batch, difference });
    }
    Ok(checks)
}

/// Writes the file beside the model that holds its tensors.
fn write_external(external: &ExternalData, weights: &Weights, path: &Path) -> io::Result<()> {
    let mut file = BufWriter::new(File::create_new(path)?);
    external.write_to(weights, &mut file).map_err(io::Error::other)?;
    file.flush()?;
    file.get_ref().sync_all()
}
