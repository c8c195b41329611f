//! From messages to the tree: the rules of the annotation queue (QUE-3), and the loop that applies them.
//!
//! [`Processor`] takes a batch of raw messages, decodes each, applies the rules to the tree and commits the batch; a message
//! that cannot be used goes to quarantine and never holds up the ones behind it (QUE-7). [`run`] feeds it from a source until
//! the source ends or a shutdown is asked for, and tells the source what is durable (QUE-6, QUE-8). While one batch waits
//! for the disk the next is decoded, and its files are written without names.
//!
//! What a message does depends on the message and the tree alone, and doing it twice is doing it once: a replay from any
//! earlier offset ends in the same tree, byte for byte (QUE-5).
//!
//! [`verbs`] is what an operator asks of the queue, beside the daemon or while it is stopped.

mod connection;
mod counters;
mod prepare;
mod processor;
mod rules;
mod run;
pub mod standing;
mod status;
pub mod verbs;

pub use connection::{ask, connection, megabytes};
pub use counters::Counters;
pub use processor::Processor;
pub use run::{Error, Options, Progress, Summary, run};
pub use status::Status;
