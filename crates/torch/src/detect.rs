//! Recognizes a network by the names and shapes of its tensors.

use std::collections::BTreeSet;

use dyconv_graph::{Graph, Op, short_name};
use dyconv_models::{FAMILIES, Family, Options, build};

use crate::adapt::BANKS;
use crate::arch::{Known, our_name};
use crate::dialects::{ALL, Dialect, Layout, Tensors};
use crate::error::TorchError;
use crate::named::Named;
use crate::state_dict::StateDict;

/// A network that a state dict may belong to.
#[derive(Clone)]
pub(crate) struct Found {
    pub family: &'static Family,
    pub width: f64,
    pub options: Options,
    pub dialect: &'static Dialect,
}

/// Widths that are tried, besides the one that the stem of a ResNet says.
const WIDTHS: [f64; 22] = [
    1.0, 0.75, 0.5, 0.35, 0.25, 1.4, 0.1, 0.125, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9, 1.1, 1.2, 1.25, 1.3, 1.5, 2.0, 3.0,
];

/// Share of a network's layers that must be present for the network to be recognized.
const ENOUGH: f64 = 0.6;

/// The network that fits best: all that are known, or those of one family.
pub(crate) fn detect(
    dict: &StateDict,
    known: Option<&Known>,
    image_size: Option<[usize; 2]>,
) -> Result<Found, TorchError> {
    refuse(dict)?;
    let views = ALL.map(|dialect| Named::of(dict, dialect));
    let mut best: Vec<(f64, f64, Found, &Named<'_>)> = Vec::new();
    for (dialect, named) in ALL.into_iter().zip(&views) {
        let modules: BTreeSet<String> = named.names().filter_map(module).collect();
        for family in FAMILIES {
            if known.is_some_and(|k| k.family.name != family.name) {
                continue;
            }
            let found = Found { family, width: 1.0, options: Options::default(), dialect };
            let Some(layers) = layers(&found) else { continue };
            let hits = layers.iter().filter(|l| modules.contains(*l)).count() as f64;
            let score = hits / (layers.len() + modules.len()) as f64 * 2.0;
            best.push((score, hits / layers.len().max(1) as f64, found, named));
        }
    }
    let top = best.iter().fold(0.0f64, |top, (score, ..)| top.max(*score));
    let (_, share, nearest, _) = best
        .iter()
        .find(|(score, ..)| *score >= top)
        .ok_or_else(|| TorchError::Unrecognized("no architecture".into()))?;
    if known.is_none() && *share < ENOUGH {
        let first: Vec<String> = dict.tensors.keys().take(3).map(|n| format!("`{}`", short_name(n))).collect();
        return Err(TorchError::Unrecognized(format!(
            "no known architecture has these {} tensors ({}, …); the nearest is `{}` with the names of {}, of which {:.0} % are \
             here; name the architecture, or import an ONNX file of the network",
            dict.tensors.len(),
            first.join(", "),
            nearest.family.name,
            nearest.dialect.name,
            share * 100.0
        )));
    }
    let candidates = best.into_iter().filter(|(score, ..)| *score >= top);
    let fitted = candidates.flat_map(|(.., found, named)| {
        let sizes = sizes(named, &found, known, image_size).into_iter();
        sizes.filter_map(|found| Some((misfits(named, &found)?, found)))
    });
    let (_, found) = fitted
        .min_by_key(|(misfits, _)| *misfits)
        .ok_or_else(|| TorchError::Unrecognized("no network can be built for these tensors and image size".into()))?;
    Ok(found)
}

/// Names of layers that are known and not read.
fn refuse(dict: &StateDict) -> Result<(), TorchError> {
    let odconv =
        dict.tensors.keys().find(|n| n.contains(".attention.channel_fc") || n.contains(".attention.filter_fc"));
    odconv.map_or(Ok(()), |name| {
        let name = short_name(name);
        Err(TorchError::Unrecognized(format!("tensor `{name}` belongs to an ODConv layer, which cannot be read yet")))
    })
}

/// The module of a tensor; that of the layer for a tensor of its router.
fn module(name: &str) -> Option<String> {
    let module = name.rsplit_once('.')?.0;
    if module.ends_with(".routing_fn") {
        return None;
    }
    let layer = module.split_once(".attention").or_else(|| module.split_once(".router"));
    Some(layer.map_or(module, |(layer, _)| layer).to_owned())
}

/// The modules of a network's layers in a dialect; `None` if the dialect does not have it.
fn layers(found: &Found) -> Option<BTreeSet<String>> {
    let graph = graph_of(found)?;
    let layout = Layout::new(found.family.name, &graph);
    graph
        .parameters()
        .iter()
        .map(|p| {
            let node = graph.node(p.node);
            let foreign = found.dialect.foreign(&layout, node, p.name.rsplit_once('.')?.1, BANKS[0])?;
            Some(foreign.name.rsplit_once('.')?.0.to_owned())
        })
        .collect()
}

/// The static network.
pub(crate) fn graph_of(found: &Found) -> Option<Graph> {
    build(&our_name(found.family.name, found.width, false), &found.options).ok()
}

/// The network at every width and with every stem that the shapes may mean.
fn sizes(named: &Named<'_>, found: &Found, known: Option<&Known>, image_size: Option<[usize; 2]>) -> Vec<Found> {
    let stem = graph_of(found).and_then(|graph| {
        let layout = Layout::new(found.family.name, &graph);
        let name = found.dialect.foreign(&layout, graph.node(graph.find("stem")?), "weight", BANKS[0])?.name;
        match (found.dialect.tensors, named.shape(&name)?) {
            (Tensors::Torch, &[out, channels, kernel, _]) | (Tensors::Keras, &[kernel, _, channels, out]) => {
                Some((out, channels, kernel))
            }
            _ => None,
        }
    });
    let (out, in_channels, kernel) = stem.unwrap_or((0, 3, 0));
    let image_size = image_size.unwrap_or([found.family.image_size; 2]);
    let resnet = found.family.name.starts_with("resnet");
    let mut widths: Vec<f64> = match known.and_then(|k| k.width) {
        Some(width) => vec![width],
        None => WIDTHS.to_vec(),
    };
    if resnet && out > 0 {
        widths.insert(0, out as f64 / 64.0);
    }
    // A stem of 3×3 pixels in a ResNet is the one for small images.
    let options = Options { in_channels, image_size, small_stem: resnet && kernel == 3, ..found.options.clone() };
    widths.into_iter().map(|width| Found { width, options: options.clone(), ..found.clone() }).collect()
}

/// Number of convolutions of another shape; `None` if there is no such network.
fn misfits(named: &Named<'_>, found: &Found) -> Option<usize> {
    let graph = graph_of(found)?;
    let layout = Layout::new(found.family.name, &graph);
    let fits = |p: &dyconv_graph::Parameter| {
        let node = graph.node(p.node);
        BANKS.iter().any(|bank| {
            let parameter = p.name.rsplit_once('.').map_or("", |(_, parameter)| parameter);
            let Some(plain) = found.dialect.foreign(&layout, node, parameter, bank) else { return false };
            let module = plain.name.rsplit_once('.').map_or("", |(module, _)| module);
            let expected = plain.form.shape(&p.shape);
            named.shape(&plain.name) == Some(&expected)
                || named.shape(&bank.tensor(module, parameter).name).is_some_and(|s| match s {
                    [_, kernel @ ..] if kernel.len() == 4 => *kernel == *expected,
                    [_, flat] if bank.flat => *flat == expected.iter().product::<usize>(),
                    _ => false,
                })
        })
    };
    let convs = graph.parameters().into_iter().filter(|p| matches!(graph.node(p.node).op, Op::Conv(_)));
    Some(convs.filter(|p| !fits(p)).count())
}
