//! Memory limits: the memory that a network needs follows from its sizes, and is checked before anything is allocated.
//!
//! Linux overcommits memory and kills a program that writes to more than there is. A successful allocation therefore
//! proves nothing, so the available memory is queried.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use crate::error::EngineError;

/// Bytes of memory that this process can still allocate, as far as the system reports them: the smallest of available
/// memory plus free swap, the remainder of its control groups, and the remainder of its address-space limit. `None` if
/// the system reports nothing.
pub fn available_memory() -> Option<u64> {
    let file = |path: &str| read_to_string(path).ok();
    let machine = file("/proc/meminfo").and_then(|text| of_machine(&text));
    let addresses = file("/proc/self/limits").zip(file("/proc/self/status"));
    let addresses = addresses.and_then(|(limits, status)| of_addresses(&limits, &status));
    let groups = file("/proc/self/cgroup").map(|text| groups(&text)).unwrap_or_default();
    let groups = groups.iter().flat_map(|folder| folder.ancestors()).take_while(|folder| folder.starts_with(GROUPS));
    groups.filter_map(of_group).chain(machine).chain(addresses).min()
}

/// Mount point of the control groups.
const GROUPS: &str = "/sys/fs/cgroup";

/// Returns an error if `bytes` exceeds the available memory.
pub(crate) fn check_memory(bytes: usize) -> Result<(), EngineError> {
    check_against(bytes, available_memory())
}

fn check_against(bytes: usize, available: Option<u64>) -> Result<(), EngineError> {
    let limit = available.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    if bytes > limit { Err(EngineError::TooLarge { bytes, limit }) } else { Ok(()) }
}

/// A vector of `len` zeros, or an error if there is not enough memory.
pub(crate) fn zeros(len: usize) -> Result<Vec<f32>, EngineError> {
    let bytes = len.saturating_mul(size_of::<f32>());
    // Small allocations always fit wherever the program can run.
    if bytes > 64 << 20 {
        check_memory(bytes)?;
    }
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| EngineError::Memory { bytes })?;
    values.resize(len, 0.0);
    Ok(values)
}

/// Available memory from the contents of `/proc/meminfo`.
fn of_machine(text: &str) -> Option<u64> {
    let kibibytes = |name: &str| field(text, name)?.parse::<u64>().ok()?.checked_mul(1024);
    Some(kibibytes("MemAvailable:")?.saturating_add(kibibytes("SwapFree:").unwrap_or(0)))
}

/// Remaining address space from the contents of `/proc/self/limits` and `/proc/self/status`.
fn of_addresses(limits: &str, status: &str) -> Option<u64> {
    // `unlimited` does not parse as a number.
    let most = field(limits, "Max address space")?.parse::<u64>().ok()?;
    let taken = field(status, "VmSize:")?.parse::<u64>().ok()?.checked_mul(1024)?;
    Some(most.saturating_sub(taken))
}

/// The first word after a name at the start of a line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()
}

/// Directories of the groups that `/proc/self/cgroup` names: that of version 2, and that of the memory controller of
/// version 1.
fn groups(text: &str) -> Vec<PathBuf> {
    let folder = |line: &str| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let root = match (number, controllers) {
            ("0", "") => PathBuf::from(GROUPS),
            (_, list) if list.split(',').any(|c| c == "memory") => Path::new(GROUPS).join("memory"),
            _ => return None,
        };
        Some(root.join(path.trim_start_matches('/')))
    };
    text.lines().filter_map(folder).collect()
}

/// Remaining memory of one group, of either version. Cached files can be dropped, so they do not count as used.
fn of_group(folder: &Path) -> Option<u64> {
    let number = |name: &str| read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    let limit = number("memory.max").or_else(|| number("memory.limit_in_bytes"))?;
    let taken = number("memory.current").or_else(|| number("memory.usage_in_bytes"))?;
    let stat = read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let files: u64 =
        ["inactive_file ", "active_file "].iter().filter_map(|n| field(&stat, n)?.parse::<u64>().ok()).sum();
    Some(limit.saturating_sub(taken.saturating_sub(files)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_says_is_understood() {
        let text = "MemTotal:       24576000 kB\nMemFree:  1 kB\nMemAvailable:   2048 kB\nSwapFree:             1 kB\n";
        assert_eq!(of_machine(text), Some(2049 * 1024));
        assert_eq!(of_machine("MemTotal: 1 kB\n"), None);
        let limits = |most: &str| {
            format!("Limit  Soft Limit  Hard Limit  Units\nMax address space         {most}   unlimited  bytes\n")
        };
        let status = "Name:\tdyconv\nVmSize:\t     100 kB\n";
        assert_eq!(of_addresses(&limits("202400"), status), Some(100_000));
        assert_eq!(of_addresses(&limits("1024"), status), Some(0));
        assert_eq!(of_addresses(&limits("unlimited"), status), None);
        let expected = ["/sys/fs/cgroup/memory/docker/abc", "/sys/fs/cgroup/user.slice"].map(PathBuf::from);
        assert_eq!(groups("5:cpu,memory:/docker/abc\n3:pids:/x\n0::/user.slice\nnonsense\n"), expected);
        #[cfg(target_os = "linux")]
        assert!(available_memory().is_some_and(|n| n > 1 << 20));
    }

    #[test]
    fn a_group_leaves_what_it_has_not_taken() {
        let folder = std::env::temp_dir().join(format!("dyconv-group-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        assert_eq!(of_group(&folder), None);
        write("memory.max", "max\n");
        write("memory.current", "700\n");
        assert_eq!(of_group(&folder), None);
        write("memory.max", "1000\n");
        assert_eq!(of_group(&folder), Some(300));
        write("memory.stat", "anon 500\nfile 200\ninactive_file 90\nactive_file 10\n");
        assert_eq!(of_group(&folder), Some(400));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn too_much_is_an_error_that_tells_both_numbers() {
        assert!(check_against(1000, Some(1000)).is_ok() && check_against(usize::MAX, None).is_ok());
        let error = check_against(1001, Some(1000)).unwrap_err();
        assert_eq!(error, EngineError::TooLarge { bytes: 1001, limit: 1000 });
        assert_eq!(zeros(3).unwrap(), [0.0; 3]);
        assert!(zeros(usize::MAX / 2).is_err());
    }
}
