//! An inspection as one self-contained page.

use std::fmt::Write;

use dyconv_data::{Dataset, Split};
use dyconv_file::Model;
use dyconv_task::Orientation;

use super::{Example, Inspection, Layer};
use crate::report::bars::{Bar, bars};
use crate::report::chart::COLOURS;
use crate::report::heat::heat;
use crate::report::html::{escape, head};
use crate::report::picture::data_uri;

/// Largest number of classes in the map.
const CLASSES: usize = 100;
/// Width in pixels of an example's bars.
const STRIP: f64 = 180.0;
const PERCENT: f64 = 100.0;

impl Inspection {
    /// Renders the page. `data` is the name of the data set; pictures are read again from its part `split`.
    pub fn html(&self, model: &Model, data: &str, dataset: &Dataset, split: Split) -> String {
        let mut page = head(&format!("Attention of {}", model.provenance.model));
        let layers = self.layers.len();
        let _ = writeln!(
            page,
            "<p>{}: {}<br>{} images, {layers} dynamic layers, τ = {}</p>",
            escape(data),
            escape(&dataset.describe()),
            self.images,
            model.tau
        );
        self.replaced(&mut page);
        self.by_layer(&mut page);
        self.by_class(&mut page);
        self.examples(&mut page, dataset, split, model.preprocessing.orientation);
        page + "</html>\n"
    }

    fn replaced(&self, page: &mut String) {
        page.push_str(
            "<h2>Accuracy with other attention</h2>\n<p class=\"note\">The attention of every layer is replaced when the network is \
             used; it was trained with its own. What the average kernel loses shows how much the kernels differ; what another \
             image's attention loses, how much attention depends on the image.</p>\n<div class=\"row\">\n",
        );
        let normal = self.scores[0].top1;
        let scores = self.scores.iter().map(|s| Bar {
            label: s.replacement.name().to_owned(),
            segments: vec![PERCENT * s.top1],
            text: format!("{:.2}", PERCENT * s.top1),
            flagged: false,
        });
        page.push_str(&bars("Top-1 accuracy, %", PERCENT, &scores.collect::<Vec<_>>()));
        page.push_str(
            "<table><tr><th style=\"text-align:left\">attention<th>top-1, %<th>top-5, %<th>difference</tr>\n",
        );
        for (i, s) in self.scores.iter().enumerate() {
            let difference = if i == 0 { "–".to_owned() } else { format!("{:+.2}", PERCENT * (s.top1 - normal)) };
            let _ = writeln!(
                page,
                "<tr><td style=\"text-align:left\">{}<td>{:.2}<td>{:.2}<td>{difference}</tr>",
                s.replacement.name(),
                PERCENT * s.top1,
                PERCENT * s.top5,
            );
        }
        page.push_str("</table></div>\n<h2>By size of the layers' input</h2>\n<p class=\"note\">Attention is replaced in the layers of one input size only. Entropy: mean over layers and images.</p>\n");
        page.push_str("<table><tr><th>input<th>layers<th>entropy, nats<th>share of ln K");
        for s in self.sizes.iter().take(1).flat_map(|s| &s.scores) {
            let _ = write!(page, "<th>top-1, %: {}", s.replacement.name());
        }
        page.push_str("</tr>\n");
        for size in &self.sizes {
            let [h, w] = size.size;
            let _ =
                write!(page, "<tr><td>{h} × {w}<td>{}<td>{:.3}<td>{:.3}", size.layers, size.entropy_nats, size.entropy);
            for s in &size.scores {
                let _ = write!(page, "<td>{:.2} ({:+.2})", PERCENT * s.top1, PERCENT * (s.top1 - normal));
            }
            page.push_str("</tr>\n");
        }
        page.push_str("</table>\n");
    }

    fn by_layer(&self, page: &mut String) {
        page.push_str("<h2>By layer</h2>\n");
        if self.warnings.is_empty() {
            page.push_str("<p>Every router looks at the image, and every kernel is used.</p>\n");
        } else {
            let items = self.warnings.iter().map(|w| format!("<li>{}", escape(w)));
            let _ = writeln!(page, "<ul>{}</ul>", items.collect::<String>());
        }
        page.push_str("<p class=\"note\">Kernels: ");
        self.legend(page);
        page.push_str("</p>\n<div class=\"row\">\n");
        let of =
            |value: fn(&Layer) -> Vec<f64>, text: &dyn Fn(&Layer) -> String, flag: fn(&Layer) -> bool| -> Vec<Bar> {
                let bar = |l: &Layer| Bar { label: l.label(), segments: value(l), text: text(l), flagged: flag(l) };
                self.layers.iter().map(bar).collect()
            };
        let entropy =
            of(|l| vec![l.attention.entropy], &|l| format!("{:.3}", l.attention.entropy), |l| l.attention.is_uniform());
        page.push_str(&bars("Attention entropy, share of ln K (1: uniform)", 1.0, &entropy));
        let usage = of(|l| l.attention.usage.clone(), &|_| String::new(), |_| false);
        page.push_str(&bars("Kernels used: mean attention", 1.0, &usage));
        let largest = self.layers.iter().map(|l| l.attention.deviation).fold(0.0, f64::max);
        let most = [0.02, 0.04, 0.1, 0.2, 0.4].into_iter().find(|most| largest <= *most).unwrap_or(1.0);
        let deviation = of(
            |l| vec![l.attention.deviation],
            &|l| format!("{:.4}", l.attention.deviation),
            |l| l.attention.is_constant(),
        );
        page.push_str(&bars("Deviation of attention over images (red: constant)", most, &deviation));
        let winners = of(|l| l.attention.winners.clone(), &|_| String::new(), |_| false);
        page.push_str(&bars("Kernel with the largest attention, share of images", 1.0, &winners));
        page.push_str("</div>\n");
    }

    fn by_class(&self, page: &mut String) {
        page.push_str("<h2>By layer and class</h2>\n");
        let mut shown: Vec<usize> = (0..self.classes.len()).collect();
        if shown.len() > CLASSES {
            let off =
                |c: usize| self.layers.iter().map(|l| (l.entropy_by_class[c] - l.attention.entropy).abs()).sum::<f64>();
            shown.sort_by(|a, b| off(*b).total_cmp(&off(*a)).then(a.cmp(b)));
            shown.truncate(CLASSES);
            shown.sort_unstable();
            let _ = writeln!(
                page,
                "<p class=\"note\">The {CLASSES} of {} classes whose entropy differs most from the layers' own.</p>",
                self.classes.len()
            );
        }
        let rows = self.layers.iter().map(|l| (l.label(), shown.iter().map(|c| l.entropy_by_class[*c]).collect()));
        let names: Vec<String> = shown.iter().map(|c| self.classes[*c].clone()).collect();
        page.push_str(&heat("Attention entropy, share of ln K (dark: few kernels)", &rows.collect::<Vec<_>>(), &names));
    }

    fn examples(&self, page: &mut String, dataset: &Dataset, split: Split, orientation: Orientation) {
        page.push_str("<h2>Examples</h2>\n<p class=\"note\">A row is a layer, the first on top. Kernels: ");
        self.legend(page);
        page.push_str("</p>\n<div class=\"row\">\n");
        for example in &self.examples {
            let picture = data_uri(dataset, split, example.index, orientation).unwrap_or_default();
            let _ = writeln!(
                page,
                "<figure><div style=\"display:flex;gap:6px;align-items:flex-start\"><img alt=\"{0}\" title=\"{0}\" src=\"{picture}\">{1}</div><figcaption>{2}, taken for {3} ({4:.0} %)</figcaption></figure>",
                escape(&example.image),
                self.strip(example),
                escape(&example.label),
                escape(&example.answer),
                PERCENT * f64::from(example.probability)
            );
        }
        page.push_str("</div>\n");
    }

    /// The kernels with their colours.
    fn legend(&self, page: &mut String) {
        let most = self.layers.iter().map(|l| l.attention.usage.len()).max().unwrap_or(0);
        for k in 0..most {
            let _ = write!(page, "<span style=\"color:{}\">■</span> {} ", COLOURS[k % COLOURS.len()], k + 1);
        }
    }

    /// The attention of an image: one row per layer.
    fn strip(&self, example: &Example) -> String {
        let row = (96.0 / self.layers.len() as f64).clamp(4.0, 14.0);
        let (height, gap) = (row * self.layers.len() as f64, 0.1 * row);
        let mut svg = format!("<svg width=\"{STRIP}\" height=\"{height:.0}\" viewBox=\"0 0 {STRIP} {height:.1}\">");
        for (i, (pi, layer)) in example.attention.iter().zip(&self.layers).enumerate() {
            let total: f32 = pi.iter().sum::<f32>().max(f32::MIN_POSITIVE);
            let mut x = 0.0;
            for (k, p) in pi.iter().enumerate() {
                let width = STRIP * f64::from(p / total);
                let _ = write!(
                    svg,
                    "<rect x=\"{x:.1}\" y=\"{:.2}\" width=\"{width:.1}\" height=\"{:.2}\" fill=\"{}\"><title>{}, kernel {}: {p:.3}</title></rect>",
                    row * i as f64,
                    row - gap,
                    COLOURS[k % COLOURS.len()],
                    escape(&layer.attention.layer),
                    k + 1
                );
                x += width;
            }
        }
        svg + "</svg>"
    }
}

impl Layer {
    /// Name and input size.
    fn label(&self) -> String {
        let [h, w] = self.size;
        format!("{} · {h}×{w}", self.attention.layer)
    }
}
