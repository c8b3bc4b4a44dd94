//! A colour map as SVG: rows by columns.

use std::fmt::Write;

use super::bars::short;
use super::html::escape;

const WIDTH: f64 = 1060.0;
const ROW: f64 = 18.0;
const LETTER: f64 = 6.1;
/// Bounds of a column's width.
const COLUMN: [f64; 2] = [7.0, 40.0];
/// Number of characters of a column's name that are shown.
const NAMED: usize = 14;
const LEGEND: f64 = 34.0;

/// Draws a map with a value for each row and column; dark is low.
pub(crate) fn heat(title: &str, rows: &[(String, Vec<f64>)], columns: &[String]) -> String {
    let values = || rows.iter().flat_map(|(_, values)| values.iter().copied());
    let (low, high) = values().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
    let left = LETTER * rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0) as f64 + 12.0;
    let column = ((WIDTH - left) / columns.len().max(1) as f64).clamp(COLUMN[0], COLUMN[1]);
    let names: Vec<String> = columns.iter().map(|c| c.chars().take(NAMED).collect()).collect();
    let longest = names.iter().map(|n| n.chars().count()).max().unwrap_or(0) as f64;
    // Names that do not fit side by side are written vertically.
    let upright = longest * LETTER + 2.0 > column;
    let top = 26.0 + if upright { longest * LETTER + 8.0 } else { 18.0 };
    let width = (left + column * columns.len() as f64).max(400.0) + 8.0;
    let height = top + ROW * rows.len() as f64 + LEGEND;
    let mut svg = format!(
        "<svg width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" font-size=\"11\" role=\"img\"><text x=\"4\" y=\"18\" font-size=\"13\">{}</text>\n",
        escape(title)
    );
    for (i, name) in names.iter().enumerate() {
        let (x, y) = (left + column * (i as f64 + 0.5), top - 6.0);
        let turned = if upright {
            format!(" transform=\"rotate(-90 {x:.1} {y:.1})\" dy=\"4\"")
        } else {
            " text-anchor=\"middle\"".into()
        };
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\"{turned}>{}</text>", escape(name));
    }
    for (r, (name, values)) in rows.iter().enumerate() {
        let y = top + ROW * r as f64;
        let row = escape(name);
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{row}</text>", left - 6.0, y + 12.5);
        for (i, (value, class)) in values.iter().zip(columns).enumerate() {
            let _ = write!(
                svg,
                "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{column:.1}\" height=\"{ROW}\" fill=\"{}\"><title>{row}, {}: {}</title></rect>",
                left + column * i as f64,
                colour(*value, low, high),
                escape(class),
                short(*value)
            );
        }
    }
    legend(&mut svg, left, height - LEGEND + 12.0, low, high);
    svg + "</svg>\n"
}

fn legend(svg: &mut String, left: f64, y: f64, low: f64, high: f64) {
    const STEPS: u32 = 20;
    let _ =
        write!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", left - 6.0, y + 10.0, short(low));
    for step in 0..STEPS {
        let value = low + (high - low) * f64::from(step) / f64::from(STEPS - 1);
        let x = left + 6.0 * f64::from(step);
        let fill = colour(value, low, high);
        let _ = write!(svg, "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"6\" height=\"12\" fill=\"{fill}\"/>");
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
        left + 6.0 * f64::from(STEPS) + 6.0,
        y + 10.0,
        short(high)
    );
}

/// From dark blue at `low` through green to pale yellow at `high`.
fn colour(value: f64, low: f64, high: f64) -> String {
    const STOPS: [[f64; 3]; 4] =
        [[38.0, 52.0, 110.0], [44.0, 122.0, 150.0], [120.0, 190.0, 150.0], [250.0, 245.0, 200.0]];
    let at = if high > low { ((value - low) / (high - low)).clamp(0.0, 1.0) } else { 1.0 } * (STOPS.len() - 1) as f64;
    let i = (at as usize).min(STOPS.len() - 2);
    let mixed = |c: usize| STOPS[i][c] + (STOPS[i + 1][c] - STOPS[i][c]) * (at - i as f64);
    format!("rgb({:.0},{:.0},{:.0})", mixed(0), mixed(1), mixed(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_is_drawn_and_named() {
        let rows = [("a".to_owned(), vec![0.0, 1.0]), ("b".to_owned(), vec![0.5, 0.5])];
        let svg = heat("t", &rows, &["x<".to_owned(), "y".to_owned()]);
        assert_eq!(svg.matches("<title>").count(), 4);
        assert!(svg.contains("fill=\"rgb(38,52,110)\"><title>a, x&lt;: 0</title>"), "{svg}");
        assert!(svg.contains("fill=\"rgb(250,245,200)\"><title>a, y: 1</title>"), "{svg}");
        let same = heat("", &[("a".to_owned(), vec![1.0])], &["x".to_owned()]);
        assert!(!same.contains("NaN"), "{same}");
    }
}
