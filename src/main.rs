//! The program: see the crate `dyconv-cli`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    dyconv_cli::main()
}
