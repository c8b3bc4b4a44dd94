//! Lets values share memory, so that concatenating and slicing copy as little as possible.
//!
//! Channels of a concatenation are computed where they belong: a convolution writes its channels between those of others.
//! A concatenation that is the beginning of a longer one (DenseNet) is a part of that one's memory, and a slice a part of
//! what it is taken from. The pixels of such a value do not lie side by side, so this needs kernels that write and read
//! pixels that lie apart ([`Kernel::writes_apart`], [`Kernel::reads_apart`]); other values are copied.

use crate::kernel::Kernel;
use crate::lowered::{Lowered, Step};

/// How many concatenations are tried as home of a value: a limit for graphs that only cost time.
const TRIES: usize = 16;

/// Where a value lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Home {
    /// The step whose value has the memory: itself, or one that has this value's channels among its own.
    pub(crate) root: usize,
    /// Its first channel there.
    pub(crate) channel: usize,
}

/// Where the value of each step lives.
pub(crate) fn homes(lowered: &Lowered, kernels: &[Kernel]) -> Vec<Home> {
    let steps = &lowered.steps;
    let mut readers: Vec<Vec<(usize, usize)>> = vec![Vec::new(); steps.len()];
    for (i, step) in steps.iter().enumerate() {
        for (position, input) in step.inputs.iter().enumerate() {
            // How often a concatenation reads a value does not matter.
            if position < 4 || readers[*input].last().is_none_or(|(reader, _)| *reader != i) {
                readers[*input].push((i, position));
            }
        }
    }
    let mut choice = Choice {
        lowered,
        kernels,
        readers,
        sliced: vec![None; steps.len()],
        home: vec![None; steps.len()],
        tries: vec![TRIES; steps.len()],
    };
    choice.slice();
    choice.concatenate();
    (0..steps.len()).map(|i| choice.of(i)).collect()
}

struct Choice<'a> {
    lowered: &'a Lowered,
    kernels: &'a [Kernel],
    /// For each value the steps that read it, and as which input.
    readers: Vec<Vec<(usize, usize)>>,
    /// For slices that are not copied: their first channel. Their input is not one of them.
    sliced: Vec<Option<usize>>,
    home: Vec<Option<Home>>,
    /// How many more concatenations may be tried as home.
    tries: Vec<usize>,
}

impl Choice<'_> {
    fn step(&self, i: usize) -> &Step {
        &self.lowered.steps[i]
    }

    /// Where a value lives, as far as it is chosen.
    fn of(&self, i: usize) -> Home {
        let own = |i: usize| self.home[i].unwrap_or(Home { root: i, channel: 0 });
        match self.sliced[i] {
            Some(start) => {
                let from = own(self.step(i).inputs[0]);
                Home { channel: from.channel + start, ..from }
            }
            None => own(i),
        }
    }

    /// Whether all readers of a value can read pixels that lie apart. One pixel always lies together.
    fn read_apart(&self, i: usize) -> bool {
        let readers = &self.readers[i];
        i != self.lowered.output
            && (self.step(i).shape.pixels() == 1
                || readers.iter().all(|(reader, position)| self.kernels[*reader].reads_apart(*position)))
    }

    /// Chooses the slices that are not copied.
    fn slice(&mut self) {
        for i in 0..self.kernels.len() {
            if let Kernel::Slice { start, .. } = self.kernels[i]
                && self.sliced[self.step(i).inputs[0]].is_none()
                && self.read_apart(i)
            {
                self.sliced[i] = Some(start);
            }
        }
    }

    /// Chooses the values that are computed where a concatenation needs them; the last concatenation first, since it may
    /// contain others.
    fn concatenate(&mut self) {
        for i in (0..self.kernels.len()).rev() {
            let Kernel::Concat { channels } = &self.kernels[i] else { continue };
            if self.home[i].is_none()
                && let Some(home) = self.together(i, channels)
                && self.read_apart(i)
                && !self.meets_itself(i, home.root)
            {
                self.home[i] = Some(home);
                continue;
            }
            let Home { root, mut channel } = self.of(i);
            for (position, channels) in channels.iter().enumerate() {
                let input = self.step(i).inputs[position];
                if self.tries[input] > 0 && self.may_live_in(input, root) {
                    self.home[input] = Some(Home { root, channel });
                }
                self.tries[input] = self.tries[input].saturating_sub(1);
                channel += channels;
            }
        }
    }

    /// Where the inputs of a concatenation live already, if side by side.
    fn together(&self, i: usize, channels: &[usize]) -> Option<Home> {
        let first = self.home[self.step(i).inputs[0]]?;
        let mut next = first;
        for (input, channels) in self.step(i).inputs.iter().zip(channels) {
            if self.home[*input] != Some(next) {
                return None;
            }
            next.channel += channels;
        }
        Some(first)
    }

    fn may_live_in(&self, i: usize, root: usize) -> bool {
        let free = i > 0 && self.home[i].is_none() && self.sliced[i].is_none();
        let written = self.step(i).shape.pixels() == 1 || self.kernels[i].writes_apart();
        free && written && self.read_apart(i) && !self.meets_itself(i, root)
    }

    /// Whether a kernel would read and write the same memory if the value lived in that of `root`. Concatenations may.
    fn meets_itself(&self, i: usize, root: usize) -> bool {
        let concatenates = |i: usize| matches!(self.kernels[i], Kernel::Concat { .. });
        let writes = |(reader, _): &(usize, usize)| !concatenates(*reader) && self.of(*reader).root == root;
        let reads = !concatenates(i) && self.step(i).inputs.iter().any(|input| self.of(*input).root == root);
        reads
            || self.readers[i].iter().any(|reader| match self.sliced[reader.0] {
                Some(_) => self.readers[reader.0].iter().any(writes),
                None => writes(reader),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyconv_graph::{Activation, Builder, Conv2d, Init, NodeId, Op, init};
    use dyconv_kernels::Isa;

    fn conv(b: &mut Builder, name: &str, channels: usize, x: NodeId) -> NodeId {
        b.push(name, Op::Conv(Conv2d::new(channels, [1, 1])), &[x]).unwrap()
    }

    /// The homes of all values, by their names, and the names of their roots.
    fn chosen(b: Builder, y: NodeId) -> Vec<(String, String, usize)> {
        let graph = b.finish(y).unwrap();
        let weights = init(&graph, Init::default());
        let mut lowered = crate::passes::optimise(Lowered::new(&graph, &weights).unwrap());
        let shapes: Vec<_> = lowered.steps.iter().map(|s| s.shape).collect();
        let kernel = |step: &mut Step| {
            let inputs: Vec<_> = step.inputs.iter().map(|i| shapes[*i]).collect();
            step.load(&weights, &mut Vec::new()).unwrap();
            Kernel::new(step, &inputs, 1.0, Isa::detect(), Default::default())
        };
        let kernels: Vec<Kernel> = lowered.steps.iter_mut().map(kernel).collect();
        let name = |i: usize| lowered.steps[i].name.clone();
        let homes = homes(&lowered, &kernels).into_iter().enumerate();
        homes.map(|(i, home)| (name(i), name(home.root), home.channel)).collect()
    }

    fn strings(rows: &[(&str, &str, usize)]) -> Vec<(String, String, usize)> {
        rows.iter().map(|(name, root, channel)| ((*name).into(), (*root).into(), *channel)).collect()
    }

    /// Two layers of a dense block: the first concatenation is the beginning of the second one.
    #[test]
    fn a_growing_concatenation_is_one_memory() {
        let mut b = Builder::new([3, 4, 4]).unwrap();
        let x = b.input();
        let x = conv(&mut b, "a", 5, x);
        let y = conv(&mut b, "b", 6, x);
        let first = b.push("first", Op::Concat, &[x, y]).unwrap();
        let z = b.push("bn", Op::BatchNorm { eps: 1e-3 }, &[first]).unwrap();
        let z = conv(&mut b, "c", 7, z);
        let second = b.push("second", Op::Concat, &[x, y, z]).unwrap();
        let end = conv(&mut b, "end", 2, second);
        // `b` reads `a`, so they cannot live together, and the first concatenation is a value of its own.
        let rows = chosen(b, end);
        let of = |name: &str| rows.iter().find(|row| row.0 == name).map(|row| (row.1.as_str(), row.2));
        assert_eq!([of("a"), of("b"), of("c")], [Some(("second", 0)), Some(("first", 5)), Some(("second", 11))]);

        let mut b = Builder::new([3, 4, 4]).unwrap();
        let x = b.input();
        let x = conv(&mut b, "a", 5, x);
        let y = b.push("bn1", Op::BatchNorm { eps: 1e-3 }, &[x]).unwrap();
        let y = b.push("relu", Op::Activation(Activation::Relu), &[y]).unwrap();
        let y = conv(&mut b, "b", 6, y);
        let first = b.push("first", Op::Concat, &[x, y]).unwrap();
        let z = b.push("bn2", Op::BatchNorm { eps: 1e-3 }, &[first]).unwrap();
        let z = conv(&mut b, "c", 7, z);
        let second = b.push("second", Op::Concat, &[x, y, z]).unwrap();
        let end = conv(&mut b, "end", 2, second);
        let expected = [
            ("input", "input", 0),
            ("a", "second", 0),
            ("relu", "relu", 0),
            ("b", "second", 5),
            ("first", "second", 0),
            ("bn2", "bn2", 0),
            ("c", "second", 11),
            ("second", "second", 0),
            ("end", "end", 0),
        ];
        assert_eq!(chosen(b, end), strings(&expected));
    }

    /// Halves of a map, of which one is computed anew: the concatenation cannot live in the map that it is made from.
    #[test]
    fn slices_are_parts_of_their_map() {
        let mut b = Builder::new([3, 4, 4]).unwrap();
        let x = b.input();
        let x = conv(&mut b, "x", 8, x);
        let left = b.push("left", Op::Slice { start: 0, channels: 3 }, &[x]).unwrap();
        let right = b.push("right", Op::Slice { start: 3, channels: 5 }, &[x]).unwrap();
        let y = conv(&mut b, "y", 4, right);
        let joined = b.push("joined", Op::Concat, &[left, y]).unwrap();
        let last = b.push("last", Op::Slice { start: 2, channels: 2 }, &[joined]).unwrap();
        let expected = [
            ("input", "input", 0),
            ("x", "x", 0),
            ("left", "x", 0),
            ("right", "x", 3),
            ("y", "joined", 3),
            ("joined", "joined", 0),
            ("last", "last", 0),
        ];
        assert_eq!(chosen(b, last), strings(&expected), "the output is copied");
    }
}
