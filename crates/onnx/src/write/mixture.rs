//! Dynamic layers in their three forms.

use dyconv_graph::{Conv2d, MixConv, MixLinear, NodeId};

use super::Form;
use super::emit::int;
use super::nodes::{Writer, map_shape, sides};
use super::values::{Regroup, Values};
use crate::error::OnnxError;

impl Writer<'_> {
    pub fn mix_conv(&mut self, id: NodeId, mix: &MixConv, x: &str, to: &str) -> Result<(), OnnxError> {
        match self.options.form {
            Form::Exact => self.exact_conv(id, mix, x, to),
            Form::Portable
                if mix.conv.kernel == [1, 1] && [mix.conv.padding, mix.conv.end_padding()] == [[0; 2]; 2] =>
            {
                self.product(id, mix, x, to)
            }
            Form::Portable => self.all_kernels(id, mix, x, to),
            Form::Frozen => {
                let pi = self.constant_attention(id, mix.kernels)?;
                let weight = self.weight(id, 1, Some(pi.clone()));
                let bias = self.frozen_bias(id, &pi)?;
                self.conv(&self.graph.node(id).name, &mix.conv, [x, &weight], bias.as_deref(), to);
                Ok(())
            }
        }
    }

    pub fn mix_linear(&mut self, id: NodeId, mix: &MixLinear, x: &str, to: &str) -> Result<(), OnnxError> {
        let (kernels, outputs) = (mix.kernels, mix.linear.out_features);
        let inputs = self.graph.input_shape(id).channels();
        let name = &self.graph.node(id).name;
        let gemm = vec![int("transB", 1)];
        match self.options.form {
            Form::Exact => {
                let pi = self.attention(id);
                let bank = self.bank(id, &[kernels, outputs * inputs], None);
                let weight = self.mixed(id, &pi, &bank, "kernel", &[outputs as i64, inputs as i64]);
                let bias = self.mixed_bias(id, kernels, &pi)?;
                let all: Vec<&str> = [x, &weight].into_iter().chain(bias.as_deref()).collect();
                self.out.node(name, "Gemm", &all, to, gemm);
            }
            Form::Portable => {
                let bank = self.bank(id, &[kernels * outputs, inputs], None);
                let bias = self.bank_bias(id, &[kernels * outputs], None)?;
                let all: Vec<&str> = [x, &bank].into_iter().chain(bias.as_deref()).collect();
                let all = self.out.part(name, "all", "Gemm", &all, gemm);
                self.mix_outputs(id, kernels, 1, &all, &[0, outputs as i64], None, to);
            }
            Form::Frozen => {
                let pi = self.constant_attention(id, kernels)?;
                let weight = self.weight(id, 1, Some(pi.clone()));
                let bias = self.frozen_bias(id, &pi)?;
                let all: Vec<&str> = [x, &weight].into_iter().chain(bias.as_deref()).collect();
                self.out.node(name, "Gemm", &all, to, gemm);
            }
        }
        Ok(())
    }

    /// One sample: its kernel is mixed and used by an ordinary convolution.
    fn exact_conv(&mut self, id: NodeId, mix: &MixConv, x: &str, to: &str) -> Result<(), OnnxError> {
        let MixConv { kernels, conv } = mix;
        let name = &self.graph.node(id).name;
        let [inputs, kh, kw] = [self.graph.input_shape(id).channels() / conv.groups, conv.kernel[0], conv.kernel[1]];
        let shape = [conv.out_channels, inputs, kh, kw];
        let pi = self.attention(id);
        let bank = self.bank(id, &[*kernels, shape.iter().product()], None);
        let kernel = self.mixed(id, &pi, &bank, "kernel", &shape.map(|d| d as i64));
        let mixed = self.mixed_bias(id, *kernels, &pi)?;
        let shift = self.shift(id, &[conv.out_channels]);
        let bias = match (mixed, shift) {
            (Some(mixed), shift) => {
                let sum = match shift {
                    Some(shift) => self.out.part(name, "shifted", "Add", &[&mixed, &shift], Vec::new()),
                    None => mixed,
                };
                let shape = self.out.ints(&[conv.out_channels as i64]);
                Some(self.out.part(name, "bias", "Reshape", &[&sum, &shape], Vec::new()))
            }
            (None, shift) => shift,
        };
        self.conv(name, conv, [x, &kernel], bias.as_deref(), to);
        Ok(())
    }

    /// A 1×1 convolution as a matrix product for each sample.
    fn product(&mut self, id: NodeId, mix: &MixConv, x: &str, to: &str) -> Result<(), OnnxError> {
        let MixConv { kernels, conv } = mix;
        let Conv2d { out_channels, groups, stride, .. } = conv;
        let node = self.graph.node(id);
        let name = &node.name;
        let channels = self.graph.input_shape(id).channels();
        let [height, width] = sides(self.graph.input_shape(id));
        let pixels = node.shape.pixels() as i64;
        let (inputs, outputs, groups) = ((channels / groups) as i64, (out_channels / groups) as i64, *groups as i64);
        let batch_and_groups = || if groups == 1 { vec![0] } else { vec![0, groups] };

        let pi = self.attention(id);
        let bank = self.bank(id, &[*kernels, out_channels * channels / conv.groups], None);
        let matrix = [batch_and_groups(), vec![outputs, inputs]].concat();
        let kernel = self.mixed(id, &pi, &bank, "kernel", &matrix);
        let mut x = x.to_owned();
        if *stride != [1, 1] {
            let parameters = [[0, 0], [height as i64, width as i64], [2, 3], stride.map(|s| s as i64)];
            let [starts, ends, axes, steps] = parameters.map(|values| self.out.ints(&values));
            x = self.out.part(name, "read", "Slice", &[&x, &starts, &ends, &axes, &steps], Vec::new());
        }
        let shape = self.out.ints(&[batch_and_groups(), vec![inputs, pixels]].concat());
        let x = self.out.part(name, "pixels", "Reshape", &[&x, &shape], Vec::new());
        let product = self.out.part(name, "product", "MatMul", &[&kernel, &x], Vec::new());
        let shape = self.out.ints(&map_shape(node.shape));

        let mixed = self.mixed_bias(id, *kernels, &pi)?;
        let bias = match mixed {
            Some(mixed) => {
                let sum = match self.shift(id, &[*out_channels]) {
                    Some(shift) => self.out.part(name, "shifted", "Add", &[&mixed, &shift], Vec::new()),
                    None => mixed,
                };
                let axes = self.out.ints(&[2, 3]);
                Some(self.out.part(name, "bias", "Unsqueeze", &[&sum, &axes], Vec::new()))
            }
            None => self.shift(id, &[*out_channels, 1, 1]),
        };
        self.reshape_and_add(name, &product, &shape, bias.as_deref(), to);
        Ok(())
    }

    /// One static convolution with all kernels of the bank, whose outputs are mixed.
    fn all_kernels(&mut self, id: NodeId, mix: &MixConv, x: &str, to: &str) -> Result<(), OnnxError> {
        let MixConv { kernels, conv } = mix;
        let node = self.graph.node(id);
        let [inputs, kh, kw] = [self.graph.input_shape(id).channels() / conv.groups, conv.kernel[0], conv.kernel[1]];
        let regroup = (conv.groups > 1).then_some(Regroup { kernels: *kernels, groups: conv.groups });
        let all = kernels * conv.out_channels;
        let bank = self.bank(id, &[all, inputs, kh, kw], regroup);
        let bias = self.bank_bias(id, &[all], regroup)?;
        let y = format!("{}/all", node.name);
        self.conv(&y, conv, [x, &bank], bias.as_deref(), &y);
        let shape = map_shape(node.shape);
        let shift = self.shift(id, &[conv.out_channels, 1, 1]);
        self.mix_outputs(id, *kernels, conv.groups, &y, &shape, shift.as_deref(), to);
        Ok(())
    }

    /// Mixes the outputs `[N, groups, kernels, …]` of all kernels into a value of shape `shape`.
    #[allow(clippy::too_many_arguments, reason = "one shape and four names")]
    fn mix_outputs(
        &mut self,
        id: NodeId,
        kernels: usize,
        groups: usize,
        all: &str,
        shape: &[i64],
        shift: Option<&str>,
        to: &str,
    ) {
        let node = self.graph.node(id);
        let pi = self.attention(id);
        let part = (node.shape.elements() / groups) as i64;
        let (apart, axes) = if groups == 1 {
            (vec![0, kernels as i64, part], vec![1])
        } else {
            (vec![0, groups as i64, kernels as i64, part], vec![1, 2])
        };
        let (apart, axes) = (self.out.ints(&apart), self.out.ints(&axes));
        let all = self.out.part(&node.name, "kernels", "Reshape", &[all, &apart], Vec::new());
        let row = self.out.part(&node.name, "attention", "Unsqueeze", &[&pi, &axes], Vec::new());
        let mixed = self.out.part(&node.name, "mixed", "MatMul", &[&row, &all], Vec::new());
        let shape = self.out.ints(shape);
        self.reshape_and_add(&node.name, &mixed, &shape, shift, to);
    }

    /// The last nodes of a layer.
    fn reshape_and_add(&mut self, name: &str, y: &str, shape: &str, bias: Option<&str>, to: &str) {
        match bias {
            Some(bias) => {
                let y = self.out.part(name, "maps", "Reshape", &[y, shape], Vec::new());
                self.out.node(name, "Add", &[&y, bias], to, Vec::new());
            }
            None => self.out.node(name, "Reshape", &[y, shape], to, Vec::new()),
        }
    }

    /// The name of π.
    fn attention(&self, id: NodeId) -> String {
        self.input_name(self.graph.node(id), 1)
    }

    /// Σ_k π_k·bank_k as a tensor of this shape.
    fn mixed(&mut self, id: NodeId, pi: &str, bank: &str, part: &str, shape: &[i64]) -> String {
        let name = &self.graph.node(id).name;
        let mixed = self.out.part(name, "mixed", "MatMul", &[pi, bank], Vec::new());
        let shape = self.out.ints(shape);
        self.out.part(name, part, "Reshape", &[&mixed, &shape], Vec::new())
    }

    /// Σ_k π_k·b_k, `[N, O]`; `None` if the layer has no bias.
    fn mixed_bias(&mut self, id: NodeId, kernels: usize, pi: &str) -> Result<Option<String>, OnnxError> {
        let outputs = self.graph.node(id).shape.channels();
        let bank = self.bank_bias(id, &[kernels, outputs], None)?;
        let name = &self.graph.node(id).name;
        Ok(bank.map(|bank| self.out.part(name, "mixed_bias", "MatMul", &[pi, &bank], Vec::new())))
    }

    /// The biases of all kernels.
    fn bank_bias(&mut self, id: NodeId, dims: &[usize], regroup: Option<Regroup>) -> Result<Option<String>, OnnxError> {
        let Some(values) = self.bias_values(id)? else { return Ok(None) };
        let mut floats: Vec<f32> = values.iter().map(|v| *v as f32).collect();
        if let Some(regroup) = regroup {
            floats = regroup.apply(&floats);
        }
        let name = format!("{}.bias", self.graph.node(id).name);
        Ok(Some(self.out.constant(name, dims, Values::Floats(floats))))
    }

    /// What a folded batch norm adds to each output channel.
    fn shift(&mut self, id: NodeId, dims: &[usize]) -> Option<String> {
        let floats = self.shift_values(id)?.iter().map(|v| *v as f32).collect();
        let name = format!("{}.shift", self.graph.node(id).name);
        Some(self.out.constant(name, dims, Values::Floats(floats)))
    }

    /// The attention that a layer is given.
    fn constant_attention(&self, id: NodeId, kernels: usize) -> Result<Vec<f32>, OnnxError> {
        let name = &self.graph.node(id).name;
        let fail = |message: String| Err(OnnxError::Options(format!("layer `{name}`: {message}")));
        match self.options.attention.and_then(|layers| layers.get(name)) {
            None => fail("the frozen form needs its mean attention, and there is none".into()),
            Some(pi) if pi.len() != kernels => {
                fail(format!("its mean attention needs {kernels} values, got {}", pi.len()))
            }
            Some(pi) if pi.iter().any(|p| !p.is_finite()) => {
                fail(format!("its mean attention has a value that is not finite: {pi:?}"))
            }
            Some(pi) => Ok(pi.clone()),
        }
    }

    /// The bias of a layer with constant attention: the mixed one and what a batch norm adds.
    fn frozen_bias(&mut self, id: NodeId, pi: &[f32]) -> Result<Option<String>, OnnxError> {
        let mixed = self.bias_values(id)?.map(|values| {
            let outputs = values.len() / pi.len();
            let sum = |o: usize| pi.iter().enumerate().map(|(k, p)| f64::from(*p) * values[k * outputs + o]).sum();
            (0..outputs).map(sum).collect::<Vec<f64>>()
        });
        Ok(self.sum(&format!("{}.bias", self.graph.node(id).name), mixed, id))
    }
}
