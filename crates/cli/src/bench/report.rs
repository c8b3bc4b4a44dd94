//! The results as text.

use dyconv_engine::Isa;

use super::{Json, Precision};
use crate::output::print;
use crate::table::Table;

pub fn report(json: &Json, isa: Isa, twin: bool) -> anyhow::Result<()> {
    nodes(json)?;
    let mut headings =
        vec!["network", "precision", "threads", "batch", "median", "p90", "fastest", "GMAdds/s", "of peak"];
    headings.push("memory");
    headings.extend(twin.then_some("dynamic ÷ static"));
    let mut table = Table::new(&headings);
    for (i, r) in json.rows.iter().enumerate() {
        let ms = |v: f64| format!("{v:.3} ms");
        let precision = match r.precision {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        };
        let mut cells = vec![r.network.clone(), precision.to_owned(), r.threads.to_string(), r.batch.to_string()];
        cells.extend([ms(r.median_ms), ms(r.p90_ms), ms(r.fastest_ms)]);
        cells.push(format!("{:.1}", r.gmadds_per_second));
        cells.push(format!("{:.0} %", 100.0 * r.share_of_peak));
        cells.push(mebibytes(r.memory_bytes as f64));
        if twin {
            let next = json.rows.get(i + 1).filter(|_| i % 2 == 0);
            cells.push(next.map_or(String::new(), |still| format!("{:.3}", r.median_ms / still.median_ms)));
        }
        table.row(cells);
    }
    let widened = json.rows.iter().any(|r| r.precision == Precision::Bf16) && !isa.multiplies_bf16();
    let note = if widened { " has no products of bf16, which are computed in f32" } else { "" };
    let mut text =
        format!("{table}\ninstruction set {}{note}; memory is packed weights and working memory\n", json.isa);
    for m in &json.machine {
        text += &format!(
            "measured f32 peak with {} thread{}: {:.1} GMAdds/s, {:.1} GB/s\n",
            m.threads,
            if m.threads == 1 { "" } else { "s" },
            m.gmadds_per_second,
            m.gbytes_per_second
        );
    }
    if json.rows.iter().any(|r| r.share_of_peak > 1.0) {
        text += "of peak counts the multiply-adds of plain convolutions; Winograd does with fewer, bf16 does more at once\n";
    }
    text += &format!("banks as {}, deviation {:.2e} of the largest answer\n", json.bank, json.deviation);
    if let Some(first) = &json.first_answer {
        let memory = first.peak_resident_bytes.map_or("not told by this system".to_owned(), |b| mebibytes(b as f64));
        text += &format!("fresh process to its first answer: {:.0} ms, peak resident memory {memory}\n", first.ms);
    }
    print(&text)
}

fn nodes(json: &Json) -> anyhow::Result<()> {
    for rows in json.nodes.chunk_by(|a, b| (&a.network, a.precision) == (&b.network, b.precision)) {
        let mut table = Table::new(&["node", "kernel", "µs", "share", "bound µs", "of bound", "bound by"]);
        for n in rows {
            let share = |v: f64| format!("{:.1} %", 100.0 * v);
            let mut cells = vec![n.node.clone(), n.kernel.clone(), format!("{:.1}", n.us), share(n.share)];
            cells.extend(match &n.bound {
                Some(b) => [format!("{:.1}", b.bound_us), share(b.share_of_bound), b.bound.to_owned()],
                None => ["–".to_owned(), "–".to_owned(), String::new()],
            });
            table.row(cells);
        }
        print(&format!("{}\n{table}\n", rows[0].network))?;
    }
    Ok(())
}

fn mebibytes(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / f64::from(1 << 20))
}
