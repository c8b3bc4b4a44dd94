//! Keeps memory that a training step frees for the next step.

/// Keeps freed memory in this process, on huge pages if the system has them, instead of returning it to the system.
///
/// A training step allocates every activation and frees it again. Without this, allocations of many megabytes come from
/// the system each time, page by page and zeroed, which takes a good part of a step. A program that trains calls this
/// once, before any large allocation; it never returns memory afterwards. It has an effect only on Linux with the GNU C
/// library.
///
/// ```
/// dyconv_simd::keep_freed_memory();
/// ```
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    keep();
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "sets options of the C library's allocator")]
fn keep() {
    // SAFETY: both options only choose where memory comes from: no mappings of its own, none given back.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
    }
    // Freed memory stays in the heap, so the advice applies to later allocations there. Addresses cost nothing until
    // they are written to.
    let mut bytes = 1usize << (usize::BITS - 3).min(32);
    let mut block = Vec::<u8>::new();
    while block.try_reserve_exact(bytes).is_err() {
        bytes /= 2;
    }
    crate::huge_pages::request(&mut block.spare_capacity_mut()[..bytes]);
}
