//! QUE-5 to QUE-8 against a real broker: the daemon, the broker and the network fail at random moments, and the tree ends as
//! if nothing had happened. `cargo xtask soak queue --kills N --seed S` is the same at any length.

#![expect(
    clippy::unwrap_used,
    reason = "what only prepares a test may fail as a test does"
)]

use std::path::Path;

use broker::{Broker, Version};
use trial::soak::{Failing, Plan, Report, run};

fn soak(name: &str, version: Version, failing: Failing, times: u32, seed: u64) -> Option<Report> {
    // A broker that is not here is named; a soak starts its own.
    drop(Broker::for_test(name, version)?);
    let plan = Plan {
        program: Path::new(env!("CARGO_BIN_EXE_azaion-queue")),
        version,
        failing,
        times,
        seed,
    };
    let report = run(&plan, |_| {}).unwrap();
    eprintln!("{report}");
    assert!(report.differences.is_empty(), "{report}");
    assert!(report.busy > 0, "nothing was left to do at any failure: {report}");
    Some(report)
}

#[test]
fn a_daemon_killed_25_times_loses_nothing_and_doubles_nothing() {
    let Some(report) = soak("a_daemon_killed_25_times", Version::V4_0, Failing::Daemon, 25, 1) else {
        return;
    };
    assert_eq!((report.failures, report.messages), (25, 17_500));
    assert!(report.quarantined > 500 && report.ledger > 5_000, "{report}");
}

#[test]
fn the_same_with_the_older_broker() {
    soak(
        "the_same_with_the_older_broker",
        Version::V3_10,
        Failing::Daemon,
        5,
        2,
    );
}

#[test]
fn a_broker_that_dies_freezes_and_stops_costs_nothing() {
    for (version, seed) in [(Version::V4_0, 3), (Version::V3_10, 4)] {
        soak("a_broker_that_dies", version, Failing::Broker, 4, seed);
    }
}

#[test]
fn a_network_that_is_cut_or_swallows_everything_costs_nothing() {
    for (version, seed) in [(Version::V4_0, 5), (Version::V3_10, 6)] {
        soak("a_network_that_is_cut", version, Failing::Network, 4, seed);
    }
}
