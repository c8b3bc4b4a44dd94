//! Rejects work that needs more memory than is available before it allocates any; otherwise the system would kill the
//! program.

use anyhow::ensure;
use dyconv_engine::available_memory;

/// Returns an error if `bytes` bytes are not available; `what` describes their purpose.
pub fn check(bytes: u64, what: impl FnOnce() -> String) -> anyhow::Result<()> {
    let Some(available) = available_memory() else { return Ok(()) };
    ensure!(
        bytes <= available,
        "{} needs {} of memory, {} are available",
        what(),
        gibibytes(bytes),
        gibibytes(available)
    );
    Ok(())
}

fn gibibytes(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_much_is_refused_with_both_numbers() {
        assert!(check(1, || unreachable!("one byte is there")).is_ok());
        #[cfg(target_os = "linux")]
        {
            let error = check(1 << 60, || "the network".into()).unwrap_err().to_string();
            assert!(error.starts_with("the network needs 1073741824.0 GiB of memory, "), "{error}");
        }
    }
}
