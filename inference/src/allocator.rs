//! How the C allocator, which ONNX Runtime uses, gives memory back.

/// Blocks from this size on are mapped one by one and unmapped when they are freed.
const MMAP_THRESHOLD: i32 = 1 << 20;
/// Heaps for threads to share. Each keeps what its busiest moment needed.
const HEAPS: i32 = 2;

/// Gives memory that was freed back to the system, where the allocator keeps it for the next time.
#[allow(unsafe_code)]
pub fn give_back_free_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim has no preconditions; what it does is done under the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Makes large blocks go back to the system when they are freed. Call it before any thread is started.
///
/// glibc raises its threshold for mapped blocks, up to 32 MiB, each time such a block is freed; from then on blocks of
/// that size come from a heap that seldom shrinks. Loading the default bundle leaves 213 MB resident that way and
/// 122 MB with the threshold fixed; reading receipts peaks at 381 MB and 279 MB, at the same speed. Setting a threshold
/// also ends its growth.
#[allow(unsafe_code)]
pub fn give_back_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt has no preconditions; called before other threads exist, it races with nobody. A setting that is
    // not taken leaves the allocator as it was.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD);
        libc::mallopt(libc::M_ARENA_MAX, HEAPS);
    }
}
