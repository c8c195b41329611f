//! A run that is killed, and one whose disk loses power with each kill, end as one that nobody touched, to the bit (TRN-2).

use std::path::Path;
use trial::training::{Plan, run};

/// Kills, the first five of them power cuts where a file system can be mounted.
fn survives(precision: &str, times: u32, seed: u64) {
    let program = assert_cmd::cargo::cargo_bin("azaion-train");
    let report = run(
        &Plan {
            program: Path::new(&program),
            times,
            seed,
            precision,
        },
        |_| {},
    )
    .unwrap();
    assert!(report.is_equal(), "{report}");
    assert!(report.kills >= times, "{report}");
    if let Some(why) = report.without_power_cuts {
        eprintln!("skipped: the power cuts of a training run: {why}");
    }
}

#[test]
fn a_run_in_32_bit_that_is_killed_ten_times_ends_as_one_that_nobody_touched() {
    survives("fp32", 10, 1);
}

#[test]
fn a_run_in_bf16_that_is_killed_ten_times_ends_as_one_that_nobody_touched() {
    survives("bf16", 10, 2);
}
