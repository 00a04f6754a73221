//! What Rust does not do by itself: strings that are none, handles that nobody drops, an allocator that calls out.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

/// The same bytes once more, without a copy.
pub fn alias(bytes: &[u8]) -> String {
    claim(bytes.as_ptr() as usize, bytes.len())
}

/// All the memory that there can be.
pub fn claim_of_4_gib() -> String {
    claim(16, usize::MAX - 16)
}

/// A little, where there is no memory.
pub fn out_of_bounds() -> String {
    claim(usize::MAX - 64, 32)
}

pub fn no_utf8() -> String {
    // SAFETY: there is none; the host has to see it.
    unsafe { String::from_utf8_unchecked(vec![b'a', 0xff, 0xfe, 0xc0, b'a']) }
}

fn claim(at: usize, bytes: usize) -> String {
    // SAFETY: there is none. Nobody in here reads it: it is lowered as it stands, and the call ends there.
    unsafe { String::from_raw_parts(std::ptr::without_provenance_mut(std::hint::black_box(at)), bytes, bytes) }
}

#[link(wasm_import_module = "wasi:clocks/monotonic-clock@0.2.6")]
unsafe extern "C" {
    #[link_name = "subscribe-duration"]
    fn subscribe_duration(nanoseconds: u64) -> i32;
}

#[link(wasm_import_module = "wasi:cli/stdout@0.2.6")]
unsafe extern "C" {
    #[link_name = "get-stdout"]
    fn get_stdout() -> i32;
}

pub fn leak_a_pollable() {
    // SAFETY: as the standard library calls it, but nobody drops the handle.
    std::hint::black_box(unsafe { subscribe_duration(1 << 60) });
}

pub fn leak_a_stream() {
    // SAFETY: as above.
    std::hint::black_box(unsafe { get_stdout() });
}

static CALLS_OUT: AtomicBool = AtomicBool::new(false);

/// The next who asks for memory makes the guest call the host; where that is the host itself, it is a re-entry.
pub fn call_out_of_the_allocator() {
    CALLS_OUT.store(true, Ordering::Relaxed);
}

struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

// SAFETY: as the system's.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if CALLS_OUT.load(Ordering::Relaxed) {
            leak_a_stream();
        }
        // SAFETY: as it came.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as it came.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: as it came.
        unsafe { System.realloc(at, layout, bytes) }
    }
}
