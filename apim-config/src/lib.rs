//! The active-passive setup of WSO2 API Manager, from one description.
//!
//! Text in, text out: nothing here opens a file, and nothing knows how trees
//! are synchronised. [`setup`] is the description; one list of rows says, place
//! by place, what each file of a home has to say; [`plan`] compares a home with
//! it, and patching the home and checking it are the two uses of that plan.

mod amqp;
pub mod bundle;
mod edit;
pub mod finding;
pub mod generate;
pub mod home;
pub mod import;
mod mask;
pub mod pair;
mod patch;
pub mod plan;
mod rows;
pub mod secret;
pub mod setup;
mod skeleton;
pub mod text;
pub mod version;
