//! A state dict becomes a graph with its weights.

use std::collections::BTreeSet;

use dyconv_graph::words::suggest;
use dyconv_graph::{Graph, GraphJson, Tensor, Weights, WeightsError, check_values};
use dyconv_models::ModelName;

use crate::adapt::{BANKS, adapt};
use crate::arch::{find, our_name, timm_name};
use crate::detect::{Found, detect, graph_of};
use crate::dialects::{Bank, Dialect, Foreign, Form, Layout, timm, torchvision};
use crate::error::TorchError;
use crate::named::Named;
use crate::report::{Mismatch, Missing, Report, Unused};
use crate::state_dict::{Origin, StateDict};

/// Number of names for which the nearest one is looked up, and of names among which it is.
const NEAREST: [usize; 2] = [20, 500];

/// The dialects of files that we write.
const EXPORTED: [&Dialect; 2] = [&torchvision::TORCHVISION, &timm::TIMM];

/// A network that was recognized, with its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The network.
    pub graph: Graph,
    /// Its tensors.
    pub weights: Weights,
    /// Our name of the architecture.
    pub arch: String,
    /// Temperature τ of the routers' softmax, if the state dict has it.
    pub tau: Option<f32>,
    /// Whose names the state dict has: `torchvision`, `timm`, `keras` …
    pub dialect: &'static str,
    /// What matched and what was left over; complete.
    pub report: Report,
}

/// Finds the network that a state dict belongs to, and converts its tensors.
///
/// Architecture, width, number of classes, channels of the images and K of dynamic layers are read from the names and
/// shapes. `arch` names the architecture instead, ours (`resnet18`), torchvision's (`mobilenet_v3_large`) or timm's
/// (`tf_efficientnet_lite0.in1k`). Images have the usual size of the architecture; [`import_at`] takes another one.
///
/// # Errors
/// If the network is not recognized, tensors are missing or have other shapes (the error has the whole report), or a
/// value is not finite or a variance negative.
///
/// ```
/// use dyconv_graph::{Init, init};
/// use dyconv_models::{Options, build};
/// use dyconv_torch::{Names, export, import, read_state_dict};
///
/// let graph = build("mb4", &Options { classes: 10, image_size: [32, 32], ..Options::default() })?;
/// let weights = init(&graph, Init::default());
/// let path = std::env::temp_dir().join("dyconv-torch-doc.safetensors");
/// std::fs::write(&path, export(&graph, &weights, 1.0, "mb4", Names::Timm)?)?;
/// let back = import(&read_state_dict(&path)?, None)?;
/// assert_eq!((back.arch.as_str(), back.weights == weights, back.graph == graph), ("mb4", true, true));
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn import(dict: &StateDict, arch: Option<&str>) -> Result<Imported, TorchError> {
    import_at(dict, arch, None)
}

/// Like [`import`], for images of this height and width in pixels.
///
/// # Errors
/// As [`import`].
pub fn import_at(dict: &StateDict, arch: Option<&str>, image_size: Option<[usize; 2]>) -> Result<Imported, TorchError> {
    if let Some(origin) = &dict.origin
        && arch.is_none_or(|arch| names_origin(arch, origin))
        && let Some(graph) = at_size(&origin.graph, image_size)
    {
        return ours(dict, &origin.arch, &graph);
    }
    let known = arch.map(find).transpose()?;
    for (name, tensor) in &dict.tensors {
        check_values(name, &tensor.data)?;
    }
    let found = detect(dict, known.as_ref(), image_size)?;
    let base = graph_of(&found).ok_or_else(|| TorchError::Unrecognized("the network cannot be built".into()))?;
    let layout = Layout::new(found.family.name, &base);
    let named = Named::of(dict, found.dialect);
    let numerics = known.and_then(|k| k.numerics).unwrap_or((found.dialect.numerics)(found.family.name));
    let (graph, bank) = adapt(&base, &layout, found.dialect, numerics, &|name| named.shape(name))?;
    let mut imported = fill(dict, graph, found.family.name, found.dialect, bank.unwrap_or(BANKS[0]))?;
    imported.report.notes.extend(notes(&found, bank, imported.tau, numerics.eps));
    if known.is_none() && found.dialect.name == timm::TIMM.name && !layout.is_resnet() {
        imported.report.notes.push(format!(
            "timm's ports from TensorFlow have the same tensor names, but pad otherwise and use the epsilon 0.001: if this is \
             one, name the architecture with `tf_` in front, as in `tf_{}`",
            timm_name(&our_name(found.family.name, found.width, false), &base).unwrap_or("efficientnet_lite0".into())
        ));
    }
    imported.finish(our_name(found.family.name, found.width, bank.is_some()))
}

/// A file that [`export`](crate::export) wrote says itself which network it is.
fn ours(dict: &StateDict, arch: &str, graph: &Graph) -> Result<Imported, TorchError> {
    let name: ModelName = arch.parse()?;
    let fills = EXPORTED.map(|dialect| fill(dict, graph.clone(), name.family.name, dialect, BANKS[0]));
    let fills = fills.into_iter().collect::<Result<Vec<_>, _>>()?;
    let best = fills.into_iter().max_by_key(|imported| imported.report.matched);
    let best = best.ok_or_else(|| TorchError::Unrecognized("no names".into()))?;
    best.finish(arch.to_owned())
}

/// Whether this is a name of the network that a file of ours holds: its own, or that of timm for the same numbers.
fn names_origin(arch: &str, origin: &Origin) -> bool {
    arch == origin.arch || timm_name(&origin.arch, &origin.graph).is_some_and(|timm| timm == arch)
}

/// The network for images of another size.
fn at_size(graph: &Graph, image_size: Option<[usize; 2]>) -> Option<Graph> {
    let [channels, ..] = graph.input_dims();
    match image_size {
        None => Some(graph.clone()),
        Some([height, width]) => {
            Graph::try_from(GraphJson { input: [channels, height, width], ..GraphJson::from(graph) }).ok()
        }
    }
}

impl Imported {
    /// The result, unless something is missing or impossible.
    fn finish(mut self, arch: String) -> Result<Self, TorchError> {
        nearest(&mut self.report);
        if !self.report.is_complete() {
            return Err(TorchError::Mismatch(Box::new(self.report)));
        }
        self.weights.check(&self.graph)?;
        self.arch = arch;
        Ok(self)
    }
}

/// Reads every tensor of the graph, as far as it is there.
fn fill(
    dict: &StateDict,
    graph: Graph,
    family: &str,
    dialect: &'static Dialect,
    bank: &Bank,
) -> Result<Imported, TorchError> {
    let named = Named::of(dict, dialect);
    let layout = Layout::new(family, &graph);
    let mut report = Report { notes: dict.notes.clone(), ..Report::default() };
    let mut matched = convert(&graph, &layout, dialect, bank, &named, &mut report)?;
    let tau = temperature(&mut matched.used, bank, &named)?;
    let used: BTreeSet<&str> = matched.used.iter().filter_map(|name| named.original(name)).collect();
    for (name, tensor) in &dict.tensors {
        if !used.contains(name.as_str()) {
            report.unused.push(Unused { name: name.clone(), shape: tensor.shape.clone() });
        }
    }
    Ok(Imported { graph, weights: matched.weights, tau, arch: String::new(), dialect: dialect.name, report })
}

/// The temperature that the routers have in common, if the file has those; adds their names to the used ones.
fn temperature(used: &mut BTreeSet<String>, bank: &Bank, named: &Named<'_>) -> Result<Option<f32>, TorchError> {
    let mut first: Option<(String, f32)> = None;
    let names: Vec<String> = used.iter().filter_map(|name| bank.temperature(name)).collect();
    for name in names {
        let Some(&[tau]) = named.tensor(&name).map(|tensor| tensor.data.as_slice()) else { continue };
        if !(tau.is_finite() && tau > 0.0) {
            return Err(TorchError::Temperature { name, tau });
        }
        match &first {
            Some((other, common)) if *common != tau => {
                return Err(TorchError::Temperatures { names: [other.clone(), name], taus: [*common, tau] });
            }
            Some(_) => {}
            None => first = Some((name.clone(), tau)),
        }
        used.insert(name);
    }
    Ok(first.map(|(_, tau)| tau))
}

struct Matched {
    weights: Weights,
    /// Names, as the dialect has them, that were read.
    used: BTreeSet<String>,
}

fn convert(
    graph: &Graph,
    layout: &Layout<'_>,
    dialect: &Dialect,
    bank: &Bank,
    named: &Named<'_>,
    report: &mut Report,
) -> Result<Matched, WeightsError> {
    let mut matched = Matched { weights: Weights::default(), used: BTreeSet::new() };
    for parameter in graph.parameters() {
        let node = graph.node(parameter.node);
        let suffix = &parameter.name[node.name.len() + 1..];
        let Some(Foreign { name, form }) = dialect.foreign(layout, node, suffix, bank) else {
            let expected = parameter.shape.clone();
            report.missing.push(Missing {
                name: parameter.name.clone(),
                tensor: parameter.name.clone(),
                expected,
                nearest: None,
            });
            continue;
        };
        let expected = form.shape(&parameter.shape);
        let Some(found) = named.tensor(&name) else {
            report.missing.push(Missing { name, tensor: parameter.name, expected, nearest: None });
            continue;
        };
        matched.used.insert(name.clone());
        if found.shape != expected && !(squeezable(form) && squeezed(&found.shape) == squeezed(&expected)) {
            let found = found.shape.clone();
            report.mismatched.push(Mismatch { name, tensor: parameter.name, found, expected, nearest: None });
            continue;
        }
        let data = form.values_in(&parameter.shape, &found.data);
        check_values(&parameter.name, &data).map_err(|error| renamed(error, &name))?;
        matched.weights.0.insert(parameter.name, Tensor { shape: parameter.shape, data });
        report.matched += 1;
    }
    Ok(matched)
}

/// The error with the name that the tensor has in the file.
fn renamed(mut error: WeightsError, foreign: &str) -> WeightsError {
    if let WeightsError::NotFinite { name, .. } | WeightsError::NegativeVariance { name, .. } = &mut error {
        foreign.clone_into(name);
    }
    error
}

/// Whether a 1×1 convolution may stand for the linear layer, or the other way round.
fn squeezable(form: Form) -> bool {
    matches!(form, Form::Same | Form::Conv1x1)
}

fn squeezed(shape: &[usize]) -> &[usize] {
    match shape {
        [_, _, 1, 1] => &shape[..2],
        _ => shape,
    }
}

/// Looks up the nearest unused name of what is missing, and of what has another shape.
fn nearest(report: &mut Report) {
    let Report { missing, mismatched, unused, .. } = report;
    let [looked_up, among] = NEAREST;
    for entry in missing.iter_mut().take(looked_up) {
        entry.nearest = suggest(&entry.name, unused.iter().take(among).map(|u| u.name.as_str())).map(str::to_owned);
    }
    for entry in mismatched.iter_mut().take(looked_up) {
        let fitting = unused.iter().filter(|u| u.shape == entry.expected).take(among);
        entry.nearest = suggest(&entry.name, fitting.map(|u| u.name.as_str())).map(str::to_owned);
    }
}

fn notes(found: &Found, bank: Option<&Bank>, tau: Option<f32>, eps: f32) -> Vec<String> {
    let mut notes = vec![format!("the names are those of {}; batch norm uses the epsilon {eps}", found.dialect.name)];
    if let Some(bank) = bank {
        let temperature = match tau {
            Some(tau) => format!("; the temperature is {tau}"),
            None if bank.flat => String::new(),
            None => "; the temperature is not in the file".to_owned(),
        };
        notes.push(format!("dynamic layers are stored as `{}` stores them{temperature}", bank.name));
    }
    notes
}
