//! Real stock homes: every release's files are patched, checked and compared.
//! Skipped, and said so, where the homes are absent.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod compare;
mod damage;
mod load;
mod reference;
mod stock;
mod three;
