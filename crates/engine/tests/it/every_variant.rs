//! Every op, activation and gate of the graph, through oracle, passes and plan.

use crate::common::{check, values, weights};
use dyconv_graph::samples::networks;

#[test]
fn plans_agree_with_the_oracle() {
    for (seed, (name, graph)) in (1..).zip(networks()) {
        println!("{name}");
        let batch = 2;
        let input = values(batch * graph.input_dims().iter().product::<usize>(), seed);
        check(&graph, &weights(&graph, seed), 1.5, &input, batch);
    }
}
