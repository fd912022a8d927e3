//! The active-passive setup of WSO2 API Manager, from one description.
//!
//! Text in, text out: nothing here opens a file, and nothing knows how trees
//! are synchronised. [`setup`] is the description; [`rows`] says, place by
//! place, what each file of a home has to say; patching a home and checking it
//! are the two uses of that one list.

pub mod amqp;
pub mod bundle;
pub mod edit;
pub mod finding;
pub mod generate;
pub mod home;
pub mod import;
pub mod mask;
pub mod pair;
pub mod patch;
pub mod plan;
pub mod rows;
pub mod secret;
pub mod setup;
pub mod skeleton;
pub mod text;
pub mod version;
