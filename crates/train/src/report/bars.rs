//! Horizontal bars as SVG, one below the other, each of one or more segments.

use std::fmt::Write;

use super::chart::{COLOURS, WIDTH};
use super::html::escape;

const ROW: f64 = 18.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 24.0;
/// Space for the text at the end of a bar.
const RIGHT: f64 = 62.0;
/// Mean width of a character at a font size of 11 pixels.
const LETTER: f64 = 6.1;
/// Colour of bars with a problem.
const FLAGGED: &str = "#c00020";

/// One row.
pub(crate) struct Bar {
    pub label: String,
    /// Lengths, one after the other; the index determines the colour.
    pub segments: Vec<f64>,
    /// Text at its end.
    pub text: String,
    /// Drawn in red, if it has one segment.
    pub flagged: bool,
}

/// Draws bars in one frame, whose right end is at `most`.
pub(crate) fn bars(title: &str, most: f64, bars: &[Bar]) -> String {
    let longest = bars.iter().map(|b| b.label.chars().count()).max().unwrap_or(0);
    let left = (LETTER * longest as f64 + 12.0).min(WIDTH / 2.0);
    let (full, height) = (WIDTH - left - RIGHT, TOP + ROW * bars.len() as f64 + BOTTOM);
    let x = |value: f64| left + (value / most).clamp(0.0, 1.0) * full;
    let mut svg = format!(
        "<svg width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" font-size=\"11\" role=\"img\"><text x=\"4\" y=\"18\" font-size=\"13\">{}</text>\n",
        escape(title)
    );
    for tick in 0..=4 {
        let value = most * f64::from(tick) / 4.0;
        let _ = writeln!(
            svg,
            "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{TOP}\" y2=\"{1}\" stroke=\"#ddd\"/><text x=\"{0:.1}\" y=\"{2}\" text-anchor=\"middle\" fill=\"#777\">{3}</text>",
            x(value),
            height - BOTTOM,
            height - 8.0,
            short(value)
        );
    }
    for (i, bar) in bars.iter().enumerate() {
        let y = TOP + ROW * i as f64;
        let label = escape(&bar.label);
        let _ = write!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", left - 6.0, y + 12.5);
        let mut from = 0.0;
        for (k, length) in bar.segments.iter().enumerate() {
            let colour = if bar.flagged && bar.segments.len() == 1 { FLAGGED } else { COLOURS[k % COLOURS.len()] };
            let _ = write!(
                svg,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{}\" fill=\"{colour}\"><title>{label}: {}</title></rect>",
                x(from),
                y + 2.0,
                x(from + length) - x(from),
                ROW - 4.0,
                short(*length)
            );
            from += length;
        }
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>", x(from) + 5.0, y + 12.5, escape(&bar.text));
    }
    svg + "</svg>\n"
}

/// Up to three decimals, as few as needed.
pub(crate) fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_values() {
        let bar = |segments: &[f64]| Bar {
            label: "a<b".into(),
            segments: segments.to_vec(),
            text: "x".into(),
            flagged: true,
        };
        let svg = bars("t", 2.0, &[bar(&[0.5, 1.5]), bar(&[9.0])]);
        // 510 minus 30.3 on the left and 62 on the right.
        let full = WIDTH - (3.0 * LETTER + 12.0) - RIGHT;
        for width in [full / 4.0, full * 0.75, full] {
            assert!(svg.contains(&format!("width=\"{width:.1}\"")), "{width}: {svg}");
        }
        assert!(svg.contains("a&lt;b: 1.5") && svg.matches(FLAGGED).count() == 1, "{svg}");
        assert_eq!([0.0, 0.25, 1.0, 0.1234].map(short), ["0", "0.25", "1", "0.123"]);
    }
}
