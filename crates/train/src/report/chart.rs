//! A line chart over epochs as SVG.

use std::fmt::Write;

use super::html::escape;

/// Colours of curves, and of the kernels of a layer.
pub(crate) const COLOURS: [&str; 8] =
    ["#2868b0", "#d1493b", "#3f9142", "#8a5bb0", "#d98b1f", "#4a9fb5", "#c45a9c", "#7a6a53"];
pub(crate) const WIDTH: f64 = 510.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 60.0;
const BOTTOM: f64 = 30.0;
const TOP: f64 = 30.0;
const RIGHT: f64 = 15.0;

/// One value per epoch, from the first.
pub(super) struct Curve {
    pub name: String,
    pub values: Vec<Option<f64>>,
}

/// Draws curves in one frame.
pub(super) fn chart(title: &str, curves: &[Curve]) -> String {
    let values = || curves.iter().flat_map(|c| c.values.iter().flatten().copied().filter(|v| v.is_finite()));
    let (mut low, mut high) = values().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        (low, high) = (0.0, 1.0);
    }
    if high - low < 1e-12 {
        (low, high) = (low - 0.5 * low.abs().max(1e-6), high + 0.5 * high.abs().max(1e-6));
    }
    let last = curves.iter().map(|c| c.values.len()).max().unwrap_or(1).max(2);
    let x = |epoch: usize| LEFT + (epoch - 1) as f64 / (last - 1) as f64 * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - BOTTOM - TOP);
    let mut svg = format!(
        "<svg width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-size=\"11\" role=\"img\"><text x=\"{LEFT}\" y=\"18\" font-size=\"13\">{}</text>\n",
        escape(title)
    );
    for tick in 0..=4 {
        let value = low + (high - low) * f64::from(tick) / 4.0;
        let (at, right) = (y(value), WIDTH - RIGHT);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            short(value)
        );
    }
    for epoch in [1, last.div_ceil(2), last] {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{epoch}</text>",
            x(epoch),
            HEIGHT - BOTTOM + 16.0
        );
    }
    for (i, curve) in curves.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        let points =
            curve.values.iter().enumerate().filter_map(|(e, v)| Some((x(e + 1), y((*v).filter(|v| v.is_finite())?))));
        let points: Vec<(f64, f64)> = points.collect();
        let line: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let name = escape(&curve.name);
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\" points=\"{}\"><title>{name}</title></polyline>",
            line.join(" ")
        );
        if let Some((x, y)) = points.last() {
            let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{colour}\"/>");
        }
    }
    svg + "</svg>\n"
}

/// A number with four digits.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        v if !(0.001..1e5).contains(&v) => format!("{value:.2e}"),
        v => format!("{value:.*}", (3 - v.log10().floor() as i32).clamp(0, 5) as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_draws_every_finite_value() {
        let values = vec![Some(1.0), None, Some(f64::NAN), Some(0.5)];
        let svg = chart("a < b", &[Curve { name: "loss".into(), values }]);
        assert!(svg.contains("a &lt; b") && svg.contains("points=\"60.0,30.0 495.0,230.0\""), "{svg}");
        for values in [vec![], vec![Some(3.0)], vec![Some(0.0), Some(0.0)]] {
            let svg = chart("", &[Curve { name: String::new(), values }]);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn numbers_have_four_digits() {
        assert_eq!(
            [0.0, 0.05, 12.34567, 98.5, 1234.5, 3e-7].map(short),
            ["0", "0.05000", "12.35", "98.50", "1234", "3.00e-7"]
        );
    }
}
