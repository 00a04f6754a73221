//! Memory for a plugin's small things. A call is mostly short texts and lists that come and go, which the C library's allocator serves
//! with far more care than they need; here they come off a list of their size and go back to it, as nothing else runs in an instance.
//!
//! What is larger than [`SMALL_MAX`] is the C library's. A block never changes its size: what a call has freed serves the next of that size,
//! and all of it goes with the instance.

#![expect(unsafe_code, reason = "an allocator cannot be written without")]

use core::cell::UnsafeCell;
use core::ptr;
use std::alloc::{GlobalAlloc, Layout, System};

/// Between two sizes, and what every block is aligned to. Units: bytes.
const STEP: usize = 16;
/// Units: bytes.
const SMALL_MAX: usize = 1008;
const SIZES: usize = SMALL_MAX / STEP + 1;
/// Taken from the C library at once, and cut up. Units: bytes.
const CHUNK: usize = 64 << 10;

/// See the module.
pub(crate) struct Heap(UnsafeCell<Free>);

// SAFETY: a component of this contract has one thread; where a target has more, `lib.rs` leaves this module out.
unsafe impl Sync for Heap {}

/// What can be given out.
struct Free {
    /// By size, each block with the address of the next in its first bytes.
    blocks: [*mut u8; SIZES],
    /// The rest of the last chunk.
    rest: *mut u8,
    rest_len: usize,
}

impl Heap {
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(Free { blocks: [ptr::null_mut(); SIZES], rest: ptr::null_mut(), rest_len: 0 }))
    }
}

/// Where blocks for this lie; none where it is the C library's.
#[inline]
const fn place(layout: Layout) -> Option<usize> {
    if layout.size() <= SMALL_MAX && layout.align() <= STEP { Some(layout.size().div_ceil(STEP)) } else { None }
}

impl Free {
    /// Cuts a block off the last chunk; what is left of one that is too short is given up.
    #[cold]
    #[inline(never)]
    fn cut(&mut self, size: usize) -> *mut u8 {
        if self.rest_len < size {
            // SAFETY: the layout is not empty, and its alignment is a power of two.
            let chunk = unsafe { System.alloc(Layout::from_size_align_unchecked(CHUNK, STEP)) };
            if chunk.is_null() {
                return chunk;
            }
            (self.rest, self.rest_len) = (chunk, CHUNK);
        }
        let block = self.rest;
        // SAFETY: at least `size` bytes of the chunk are left.
        self.rest = unsafe { block.add(size) };
        self.rest_len -= size;
        block
    }
}

// SAFETY: blocks of one list are as large as any layout that `place` gives it, do not overlap, and are aligned to `STEP`.
unsafe impl GlobalAlloc for Heap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the layout is the caller's.
        let Some(place) = place(layout) else { return unsafe { System.alloc(layout) } };
        // SAFETY: one thread, and nothing below calls back.
        let free = unsafe { &mut *self.0.get() };
        let Some(first) = free.blocks.get_mut(place) else { return ptr::null_mut() };
        let block = *first;
        if block.is_null() {
            return free.cut(place * STEP);
        }
        // SAFETY: what is on a list begins with the address of the next.
        *first = unsafe { block.cast::<*mut u8>().read() };
        block
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block came from there, with this layout.
        let Some(place) = place(layout) else { return unsafe { System.dealloc(block, layout) } };
        // SAFETY: as in `alloc`.
        let free = unsafe { &mut *self.0.get() };
        if let Some(first) = free.blocks.get_mut(place) {
            // SAFETY: every block has room for an address, and nobody uses it any more.
            unsafe { block.cast::<*mut u8>().write(*first) };
            *first = block;
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that this size is a layout.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (place(layout), place(wanted)) {
            (Some(old), Some(new)) if old == new => block,
            // SAFETY: the block came from there, with this layout.
            (None, None) => unsafe { System.realloc(block, layout, size) },
            _ => {
                // SAFETY: both blocks are as large as their layouts, and are two.
                unsafe {
                    let moved = self.alloc(wanted);
                    if !moved.is_null() {
                        ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    moved
                }
            }
        }
    }
}

#[cfg(target_family = "wasm")]
#[global_allocator]
static HEAP: Heap = Heap::new();

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn what_is_freed_serves_the_next_of_its_size_and_nothing_overlaps() {
        let heap = Heap::new();
        let mut live: Vec<(*mut u8, Layout, u8)> = Vec::new();
        let mut seed = 7_u64;
        for n in 0..20_000_u32 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (choice, size) = (seed >> 60, usize::try_from(seed >> 33).unwrap() % 1400 + 1);
            let mark = u8::try_from(n % 251).unwrap();
            match (choice, live.len()) {
                (0..=6, 0..=500) => {
                    let layout = layout(size, 1 << (choice % 5));
                    // SAFETY: the layout is not empty.
                    let block = unsafe { heap.alloc(layout) };
                    assert!(!block.is_null() && block.addr().is_multiple_of(layout.align()));
                    // SAFETY: as large as asked for.
                    unsafe { block.write_bytes(mark, layout.size()) };
                    live.push((block, layout, mark));
                }
                (_, 1..) => {
                    let (block, old, mark) = live.swap_remove(usize::try_from(seed >> 20).unwrap() % live.len());
                    // SAFETY: alive, as large as its layout, and written over and over.
                    assert!(unsafe { std::slice::from_raw_parts(block, old.size()) }.iter().all(|byte| *byte == mark));
                    if choice > 11 {
                        let new = layout(size, old.align());
                        // SAFETY: alive, and no longer used by this address.
                        let moved = unsafe { heap.realloc(block, old, size) };
                        // SAFETY: as large as asked for.
                        let kept = unsafe { std::slice::from_raw_parts(moved, size.min(old.size())) };
                        assert!(kept.iter().all(|byte| *byte == mark), "what was there moves along");
                        // SAFETY: as large as asked for.
                        unsafe { moved.write_bytes(mark, size) };
                        live.push((moved, new, mark));
                    } else {
                        // SAFETY: alive, and no longer used.
                        unsafe { heap.dealloc(block, old) };
                    }
                }
                _ => {}
            }
        }
        // SAFETY: both layouts are not empty, and the first block is freed once.
        let (first, again) = unsafe {
            let first = heap.alloc(layout(40, 8));
            heap.dealloc(first, layout(40, 8));
            (first, heap.alloc(layout(48, 8)))
        };
        assert_eq!(first, again, "40 and 48 bytes are one size");
        // SAFETY: alive, each with its layout, and not used any more.
        live.into_iter().for_each(|(block, layout, _)| unsafe { heap.dealloc(block, layout) });
    }
}
