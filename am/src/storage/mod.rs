//! The access method: heap's routine with a few callbacks of our own.
//!
//! Reads are heap's own C functions. The writes go through the six doors of [`doors`] into the
//! one [`pipeline`]; the index scans of [`index_build`] and [`index_validate`] are written anew,
//! because heap's accept no access method but heap.

pub(crate) mod doors;
mod heap;
mod index_build;
mod index_page;
mod index_scan;
mod index_validate;
mod pipeline;
pub(crate) mod readers;
pub mod routine;
pub mod shape;

use crate::model::Model;
use std::sync::OnceLock;

static MODEL: OnceLock<&'static dyn Model> = OnceLock::new();

/// Tells the access method what its entities are; called once, when the library is loaded.
pub fn serve(model: &'static dyn Model) {
    MODEL.get_or_init(|| model);
    crate::pg::invalidation::watch();
    crate::pg::transaction::watch();
}

/// The model, once [`serve`] has named it; the library's initialisation runs before any callback.
fn model() -> Option<&'static dyn Model> {
    MODEL.get().copied()
}
