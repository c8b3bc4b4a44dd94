//! Dialects: what others call the layers of our networks, and how they store them. One file each; every one works in both
//! directions, since it only says what a layer of ours is called there.

pub(crate) mod bank;
pub(crate) mod condconv;
pub(crate) mod dyconv;
pub(crate) mod kaijieshi7;
pub(crate) mod keras;
pub(crate) mod layout;
pub(crate) mod lite_package;
pub(crate) mod tardelean;
pub(crate) mod timm;
pub(crate) mod torchvision;

use dyconv_graph::{Node, Op};

pub(crate) use bank::Bank;
pub(crate) use layout::{Base, Layout};

/// How a network's numbers must be read beside its weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Numerics {
    /// Epsilon of every batch norm.
    pub eps: f32,
    /// Whether convolutions pad as TensorFlow does: what does not divide by two goes to the end.
    pub same: bool,
}

/// One way to name and store the layers of a network.
#[derive(Clone, Copy)]
pub(crate) struct Dialect {
    pub name: &'static str,
    /// The module that a layer is called, or its batch norm if `true`; `None` if the dialect has no such network.
    pub module: fn(&Layout<'_>, Base<'_>, bool) -> Option<String>,
    /// Whether this linear layer is stored as a 1×1 convolution.
    pub as_conv: fn(&Layout<'_>, Base<'_>) -> bool,
    /// Names and layouts of tensors.
    pub tensors: Tensors,
    pub numerics: fn(family: &str) -> Numerics,
}

/// Whose names and layouts of tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tensors {
    Torch,
    Keras,
}

/// How a tensor is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As ours.
    Same,
    /// A linear weight `[o, i]` as `[o, i, 1, 1]`.
    Conv1x1,
    /// A kernel `[o, i, h, w]` as `[h, w, i, o]`.
    Hwio,
    /// A depthwise kernel `[c, 1, h, w]` as `[h, w, c, 1]`.
    Depthwise,
    /// A linear weight `[o, i]` as `[i, o]`.
    Transposed,
    /// A bank `[K, o, i, h, w]` as `[K, o·i·h·w]`.
    Flat,
}

/// A tensor under its foreign name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Foreign {
    pub name: String,
    pub form: Form,
}

/// Those that are looked for in a state dict, in this order where two fit equally well.
pub(crate) const ALL: [&Dialect; 5] =
    [&torchvision::TORCHVISION, &timm::TIMM, &lite_package::LITE_PACKAGE, &tardelean::TARDELEAN, &keras::KERAS];

impl Dialect {
    /// The foreign name of the tensor `parameter` of a node; `bank` says how dynamic layers are stored.
    pub fn foreign(&self, layout: &Layout<'_>, node: &Node, parameter: &str, bank: &Bank) -> Option<Foreign> {
        let (of, bn) = match node.name.strip_suffix(".bn") {
            Some(of) => (of, true),
            None => (node.name.as_str(), false),
        };
        if let Some((of, part)) = of.split_once(".router.") {
            if part == condconv::LAYER {
                return condconv::router(layout, of, parameter);
            }
            let module = (self.module)(layout, Base::of(of), false)?;
            return bank.router(&module, part, parameter);
        }
        let base = Base::of(of);
        let module = (self.module)(layout, base, bn)?;
        if let Op::MixConv(_) | Op::MixLinear(_) = node.op {
            return Some(bank.tensor(&module, parameter));
        }
        let as_conv = parameter == "weight" && matches!(node.op, Op::Linear(_)) && (self.as_conv)(layout, base);
        Some(match self.tensors {
            Tensors::Torch => Foreign {
                name: format!("{module}.{parameter}"),
                form: if as_conv { Form::Conv1x1 } else { Form::Same },
            },
            Tensors::Keras => keras::tensor(&module, node, parameter),
        })
    }
}

impl Form {
    /// The shape in the file of a tensor with this shape in our graph.
    pub fn shape(self, ours: &[usize]) -> Vec<usize> {
        match (self, ours) {
            (Form::Conv1x1, &[o, i]) => vec![o, i, 1, 1],
            (Form::Hwio, &[o, i, h, w]) => vec![h, w, i, o],
            (Form::Depthwise, &[c, m, h, w]) => vec![h, w, c, m],
            (Form::Transposed, &[o, i]) => vec![i, o],
            (Form::Flat, &[k, ref rest @ ..]) => vec![k, rest.iter().product()],
            _ => ours.to_vec(),
        }
    }

    /// The values in our order of a tensor that has this shape in our graph.
    pub fn values_in(self, ours: &[usize], data: &[f32]) -> Vec<f32> {
        self.permute(ours, data, |from, to, source, target| target[to] = source[from])
    }

    /// The values in the foreign order.
    pub fn values_out(self, ours: &[usize], data: &[f32]) -> Vec<f32> {
        self.permute(ours, data, |from, to, source, target| target[from] = source[to])
    }

    /// Calls `put` with every pair of positions: in the foreign order, and in ours.
    fn permute(self, ours: &[usize], data: &[f32], put: impl Fn(usize, usize, &[f32], &mut [f32])) -> Vec<f32> {
        let mut out = vec![0.0; data.len()];
        match (self, ours) {
            (Form::Hwio, &[o, i, h, w]) => each([o, i, h, w], |[a, b, y, x], to| {
                put(((y * w + x) * i + b) * o + a, to, data, &mut out);
            }),
            (Form::Depthwise, &[c, m, h, w]) => each([c, m, h, w], |[a, b, y, x], to| {
                put(((y * w + x) * c + a) * m + b, to, data, &mut out);
            }),
            (Form::Transposed, &[o, i]) => each([1, 1, o, i], |[_, _, a, b], to| put(b * o + a, to, data, &mut out)),
            _ => out.copy_from_slice(data),
        }
        out
    }
}

/// Calls `f` with every index and its position in row-major order.
fn each(dims: [usize; 4], mut f: impl FnMut([usize; 4], usize)) {
    let mut position = 0;
    for a in 0..dims[0] {
        for b in 0..dims[1] {
            for c in 0..dims[2] {
                for d in 0..dims[3] {
                    f([a, b, c, d], position);
                    position += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_goes_back_to_itself() {
        for (form, shape) in [
            (Form::Same, vec![4, 3]),
            (Form::Conv1x1, vec![4, 3]),
            (Form::Hwio, vec![4, 3, 2, 5]),
            (Form::Depthwise, vec![4, 1, 2, 5]),
            (Form::Transposed, vec![4, 3]),
            (Form::Flat, vec![2, 4, 3, 1, 1]),
        ] {
            let n: usize = shape.iter().product();
            let data: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let out = form.values_out(&shape, &data);
            assert_eq!(form.values_in(&shape, &out), data, "{form:?}");
            assert_eq!(form.shape(&shape).iter().product::<usize>(), n, "{form:?}");
        }
        // W[o, i] = 10·o + i, read along [i, o].
        assert_eq!(Form::Transposed.values_out(&[2, 3], &[0., 1., 2., 10., 11., 12.]), [0., 10., 1., 11., 2., 12.]);
        let kernel: Vec<f32> = (0..12).map(|i| i as f32).collect();
        // [o = 1, i = 2, h = 2, w = 3] along [h, w, i, o].
        assert_eq!(Form::Hwio.values_out(&[1, 2, 2, 3], &kernel), [0., 6., 1., 7., 2., 8., 3., 9., 4., 10., 5., 11.]);
    }
}
