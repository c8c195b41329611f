//! What a person and CI both call: set-up, demo, checks. `main.rs` holds the command line; the work is here.
//!
//! - [`libtorch`] brings the one build of libtorch that every crate links (DESIGN: one build of it everywhere);
//! - [`checks`] runs the numbered steps of `cargo xtask test` and `cargo xtask lint`;
//! - [`bench`] measures ours and the reference package side by side;
//! - [`learn`] trains both and compares what they reach;
//! - [`soak`] watches the memory of a long run;
//! - [`trial`] soaks and times the queue against a real broker;
//! - [`parity`] compares azaion with the [`reference`] package, run as a black box;
//! - [`brokers`] and [`rstream`] bring what the queue is tested against;
//! - [`tensorboard`] brings the reader that events are tested with;
//! - [`apt`] installs what Debian has, [`host`] what units and module are tested with;
//! - [`programs`] builds what they run, [`resident`] reads what it holds;
//! - [`fuzz`] feeds the decoders of foreign bytes with what libFuzzer makes up;
//! - [`checks::audit`] and [`secrets`] look for what must not be shipped, [`findings`] tells it;
//! - [`packages`] knows what is shipped, [`sbom`] lists it, [`dist`] builds it, [`coverage`] counts the lines that tests reach;
//! - [`workspace`] knows where things are and how cargo is called from within cargo.
//!
//! This crate depends on no other crate of the workspace: it has to build before libtorch is there.

pub mod apt;
pub mod bench;
pub mod brokers;
pub mod checks;
pub mod coverage;
pub mod digest;
pub mod dist;
pub mod findings;
pub mod fuzz;
pub mod host;
pub mod learn;
pub mod libtorch;
pub mod packages;
pub mod parity;
pub mod programs;
pub mod progress;
pub mod python;
pub mod reference;
pub mod resident;
pub mod rstream;
pub mod sbom;
pub mod secrets;
pub mod soak;
pub mod tensorboard;
pub mod trial;
pub mod workspace;
