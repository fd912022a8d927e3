//! The active-passive setup of WSO2 API Manager, from one description.
//!
//! Text in, text out: nothing here opens a file, and nothing knows how trees
//! are synchronised. [`setup`] is the description; [`rows`] says, place by
//! place, what each file of a home has to say; patching a home and checking it
//! are the two uses of that one list.

pub mod edit;
pub mod generate;
pub mod secret;
pub mod setup;
pub mod text;
pub mod version;
