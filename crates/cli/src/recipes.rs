//! `dyconv recipes`: lists the recipes for `dyconv train --recipe`.

use anyhow::bail;
use dyconv_graph::words::suggest;
use dyconv_train::BUILT_IN;

use crate::output::print;
use crate::table::Table;

/// List the built-in recipes, or print one
#[derive(clap::Args)]
#[command(after_help = "A recipe holds only what it changes of the defaults, which `dyconv recipes default` explains.

Examples:
  dyconv recipes
  dyconv recipes imagenet-resnet > mine.toml
  dyconv train --recipe mine.toml --data photos")]
pub struct Args {
    /// Name of a recipe
    name: Option<String>,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let Some(name) = &args.name else {
        let mut table = Table::new(&["recipe", "what it is for"]);
        for recipe in BUILT_IN {
            table.row(vec![recipe.name.into(), recipe.description().into()]);
        }
        return print(&format!("{table}\nNext: dyconv recipes NAME, dyconv train --recipe NAME --data DIR\n"));
    };
    match BUILT_IN.iter().find(|r| r.name == name) {
        Some(recipe) => print(recipe.text),
        None => {
            let near = suggest(name, BUILT_IN.iter().map(|r| r.name)).unwrap_or_default();
            bail!("no built-in recipe is called `{name}`; did you mean `{near}`?")
        }
    }
}
