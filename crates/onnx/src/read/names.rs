//! Names of graph nodes, made from those of the ONNX file.

use std::collections::HashMap;

use dyconv_graph::Op;

use super::net::{Kind, NetNode};

/// Longest name that is made of a foreign one.
const LONGEST: usize = 120;

/// Longest end of a foreign name that is looked at.
const LOOKED_AT: usize = 1000;

/// Gives out names, each once.
pub(super) struct Names {
    /// Names, each with the number that may make the next of its kind.
    used: HashMap<String, usize>,
}

impl Names {
    pub fn new() -> Self {
        Self { used: HashMap::from([("input".to_owned(), 2)]) }
    }

    /// A name for the node that no other has.
    pub fn name(&mut self, node: &NetNode) -> String {
        let wanted = wanted(node);
        let Some(mut number) = self.used.get(&wanted).copied() else {
            self.used.insert(wanted.clone(), 2);
            return wanted;
        };
        let name = loop {
            let name = format!("{wanted}_{number}");
            number += 1;
            if !self.used.contains_key(&name) {
                break name;
            }
        };
        self.used.insert(wanted, number);
        self.used.insert(name.clone(), 2);
        name
    }
}

fn wanted(node: &NetNode) -> String {
    let op = match &node.kind {
        Kind::Op(op) => op.name(),
        Kind::Affine { .. } | Kind::Erf | Kind::Pad { .. } | Kind::Subsample(_) => "node",
    };
    let tensor = node.origins.tensor.as_deref().and_then(|name| of_tensor(end(name)));
    let named =
        tensor.unwrap_or_else(|| of_node(end(&node.origins.node), op, matches!(&node.kind, Kind::Op(Op::Input))));
    if named.is_empty() { op.to_owned() } else { named }
}

/// The end of a long name.
fn end(name: &str) -> &str {
    let start = (name.len().saturating_sub(LOOKED_AT)..).find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    &name[start..]
}

/// The prefix of an initializer that names a module: `features.0.0` of `features.0.0.weight`.
fn of_tensor(name: &str) -> Option<String> {
    if name.contains("::") {
        return None;
    }
    let (prefix, end) = name.rsplit_once(['.', '/'])?;
    let known = ["weight", "bias", "kernel", "gamma", "scale", "W", "weight_quantized"];
    let prefix = known.contains(&end).then(|| plain(prefix))?;
    (!prefix.is_empty()).then_some(prefix)
}

/// A name from that of an ONNX node: `/layer1/layer1.0/relu/Relu_1` gives `layer1.0.relu`.
fn of_node(name: &str, op: &str, input: bool) -> String {
    if input {
        return "input".into();
    }
    let parts: Vec<&str> = name.split('/').filter(|p| !p.is_empty()).collect();
    if let [only] = parts.as_slice()
        && !name.starts_with('/')
    {
        return plain(only.strip_prefix("node_").unwrap_or(only));
    }
    let mut path = String::new();
    for part in parts.iter().take(parts.len().saturating_sub(1)) {
        if path.is_empty() || part.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('.')) {
            path = (*part).to_owned();
        } else {
            path = format!("{path}.{part}");
        }
    }
    let path = plain(&path);
    let last = path.rsplit('.').next().unwrap_or("");
    // A file of ours: the parts of a node are called `<node>/<part>`.
    if !name.starts_with('/') || last.contains(op) || (!last.is_empty() && op.contains(last) && last.len() > 2) {
        return path;
    }
    if path.is_empty() { op.to_owned() } else { format!("{path}.{op}") }
}

/// Letters, digits, dots, dashes and underscores; a long name keeps its end.
fn plain(name: &str) -> String {
    let mapped: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }).collect();
    let mapped = mapped.trim_matches(['.', '_']);
    mapped[mapped.len().saturating_sub(LONGEST)..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_exporters_are_readable() {
        assert_eq!(of_tensor("features.0.0.weight").as_deref(), Some("features.0.0"));
        assert_eq!(of_tensor("onnx::Conv_538"), None);
        let node = |name| of_node(name, "relu", false);
        assert_eq!(node("/layer1/layer1.0/relu/Relu_1"), "layer1.0.relu");
        assert_eq!(node("/features/features.3/Add"), "features.3.relu");
        assert_eq!(node("/Relu"), "relu");
        assert_eq!(node("node_relu_3"), "relu_3");
        assert_eq!(node("stem.pool/mean"), "stem.pool");
        assert_eq!(node("block.relu"), "block.relu");
        assert_eq!(node("größe\n"), "gr__e");
    }
}
