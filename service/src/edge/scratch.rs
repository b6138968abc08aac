//! Buffers that a worker thread lends to whichever connection it is polling, so that no connection owns them while idle.

use std::cell::Cell;

use crate::delivery::Parcel;
use crate::session::Output;

/// Above this, a buffer is given back to the allocator after use.
const KEPT_BYTES: usize = 256 * 1024;
/// Read from a socket at once.
const READ_BYTES: usize = 16 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Scratch {
    pub(super) read: Box<[u8]>,
    pub(super) frames: Vec<u8>,
    pub(super) parcels: Vec<Parcel>,
    pub(super) outputs: Vec<Output>,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

impl Scratch {
    /// Borrows this thread's buffers; they are empty.
    pub(super) fn borrow() -> Box<Self> {
        SCRATCH.take().unwrap_or_else(|| {
            Box::new(Self {
                read: vec![0; READ_BYTES].into(),
                frames: Vec::with_capacity(64 * 1024),
                parcels: Vec::new(),
                outputs: Vec::new(),
            })
        })
    }

    /// Gives them back.
    pub(super) fn give_back(mut self: Box<Self>) {
        self.frames.clear();
        self.parcels.clear();
        self.outputs.clear();
        if self.frames.capacity() <= KEPT_BYTES {
            SCRATCH.set(Some(self));
        }
    }
}
