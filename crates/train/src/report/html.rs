//! Common parts of all pages: the head, and escaping of text.

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}svg{background:#fff}
.row{display:flex;flex-wrap:wrap;gap:1em}figure{margin:0}figcaption{font-size:.85em;color:#555}
table{border-collapse:collapse;font-size:.85em}td,th{padding:.2em .5em;text-align:right}th{font-weight:600}
.matrix td{min-width:1.6em;text-align:center}img{width:96px;image-rendering:pixelated;border:1px solid #ccc}
li{margin:.2em 0}.note{color:#555;max-width:60em}
pre{background:#f6f6f6;padding:1em;overflow:auto;font-size:.85em}";

/// The head of a page.
pub(crate) fn head(title: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\n<style>{STYLE}</style>\n<h1>{title}</h1>\n"
    )
}

/// Escapes text for HTML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
