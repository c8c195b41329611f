//! The suite on a real systemd: the shipped units, the built programs, a RabbitMQ on the machine's loopback. Each test is named
//! after the promise that it holds the suite to, and boots a machine of its own.
#![expect(clippy::unwrap_used, reason = "what only prepares a test may panic too")]

mod backup;
mod deploy;
mod health;
mod journal;
mod queue;
mod sandbox;
mod site;
mod timers;
mod trained;
mod training;
mod tree;
