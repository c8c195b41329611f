//! Real transcripts of a package with four tests: `ok` skips itself, `plain` prints, `bad` fails, `ign` is ignored.

use proptest::prelude::*;

use super::*;

const NEXTEST: &str = "
   Compiling nx v0.1.0 (/tmp/nx)
    Finished `test` profile [unoptimized + debuginfo] target(s) in 0.24s
────────────
 Nextest run ID e82ea261-c243-446e-805c-0ffbceb62343 with nextest profile: default
    Starting 3 tests across 1 binary (1 test skipped)
        PASS [   0.004s] (1/3) nx ok
  stdout ───

    running 1 test
    skipped: broker: not installed
    skipped: broker: not installed
    test ok ... ok

    test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.00s


        PASS [   0.004s] (2/3) nx plain
  stderr ───
    hello

        FAIL [   0.125s] (3/3) nx bad
  stdout ───

    running 1 test
    xx
    test bad ... FAILED

  stderr ───

    thread 'bad' (15633) panicked at src/lib.rs:3:35:
    boo

────────────
     Summary [   0.131s] 3 tests run: 2 passed (1 slow), 1 failed, 1 skipped
        FAIL [   0.125s] (3/3) nx bad
error: test run failed
";

const LIBTEST: &str = "
running 4 tests
test ign ... ignored
test ok ... ok
test plain ... ok
test bad ... FAILED

successes:

---- ok stdout ----
skipped: broker: not installed

---- plain stdout ----
hello
test result: ok. 9 passed; 9 failed; 9 ignored; 0 measured; 0 filtered out; finished in 0.00s


successes:
    ok
    plain

failures:

---- bad stdout ----
xx

thread 'bad' (15681) panicked at src/lib.rs:3:35:
boo

failures:
    bad

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.07s

   Doc-tests nx

running 3 tests

test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

fn read(mut transcript: Transcript, text: &str) -> (Vec<&str>, Counts, Vec<String>) {
    let shown = text.lines().filter(|line| transcript.line(line)).collect();
    let (counts, skips) = transcript.finish();
    (shown, counts, skips)
}

#[test]
fn nextest_is_counted_and_a_test_that_skips_itself_is_named_not_passed() {
    let (_, counts, skips) = read(Transcript::nextest(), NEXTEST);
    assert_eq!(
        counts,
        Counts {
            passed: 1,
            failed: 1,
            skipped: 2
        }
    );
    assert_eq!(skips, ["nx ok: broker: not installed"]);
}

#[test]
fn of_nextest_everything_is_shown_but_what_passing_tests_print() {
    let (shown, ..) = read(Transcript::nextest(), NEXTEST);
    let hides = |text: &str| !shown.iter().any(|line| line.contains(text));
    assert!(
        hides("hello") && hides("skipped: broker") && hides("test ok ... ok"),
        "{shown:#?}"
    );
    for text in [
        "Compiling nx",
        "PASS [   0.004s] (2/3) nx plain",
        "    xx",
        "    boo",
        "Summary [",
        "test run failed",
    ] {
        assert!(
            shown.iter().any(|line| line.contains(text)),
            "{text} is missing in {shown:#?}"
        );
    }
}

#[test]
fn libtest_is_counted_over_all_binaries_and_not_fooled_by_what_a_test_prints() {
    let (_, counts, skips) = read(Transcript::libtest(), LIBTEST);
    assert_eq!(
        counts,
        Counts {
            passed: 4,
            failed: 1,
            skipped: 2
        }
    );
    assert_eq!(skips, ["ok: broker: not installed"]);
}

#[test]
fn of_libtest_everything_is_shown_but_what_passing_tests_print() {
    let (shown, ..) = read(Transcript::libtest(), LIBTEST);
    assert!(
        !shown.contains(&"hello") && !shown.contains(&"    plain"),
        "{shown:#?}"
    );
    for text in ["test bad ... FAILED", "xx", "boo", "    bad", "   Doc-tests nx"] {
        assert!(shown.contains(&text), "{text} is missing in {shown:#?}");
    }
}

#[test]
fn without_show_output_libtest_is_counted_all_the_same() {
    let text = "running 1 test\ntest a ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out; finished in 0.00s";
    let (shown, counts, _) = read(Transcript::libtest(), text);
    assert_eq!(
        counts,
        Counts {
            passed: 1,
            failed: 0,
            skipped: 2
        }
    );
    assert_eq!(shown.len(), 4);
}

#[test]
fn every_way_to_fail_is_a_failure_for_nextest() {
    let line = "     Summary [  60.1s] 7/9 tests run: 2 passed (1 slow, 1 flaky), 2 failed (1 due to being leaky), 1 timed out, 2 exec failed, 0 skipped";
    assert_eq!(
        nextest_summary(line),
        Counts {
            passed: 2,
            failed: 5,
            skipped: 0
        }
    );
}

#[test]
fn slow_and_killed_tests_are_status_lines_too() {
    let name = |line| nextest_status(line).map(|(_, test)| test);
    assert_eq!(
        name("        SLOW [> 60.000s] (───) train::run resumes"),
        Some("train::run resumes")
    );
    assert_eq!(
        name("     SIGKILL [   1.000s] (3/9) store crash"),
        Some("store crash")
    );
    assert_eq!(name("    FAIL [see above] not a status"), None);
}

#[test]
fn a_test_can_say_in_several_ways_that_it_skips_itself() {
    assert_eq!(said_skip("    skipped: no broker"), Some("no broker"));
    assert_eq!(said_skip("SKIPPED"), Some(""));
    assert_eq!(
        said_skip("skipped reads_them: not here"),
        Some("reads_them: not here")
    );
    assert_eq!(
        said_skip("every_label: skipped, the data set is not here"),
        Some("the data set is not here")
    );
    assert_eq!(said_skip("skippedy: x"), None);
    assert_eq!(
        said_skip("3 rows are written: skipped 1"),
        None,
        "that is no name"
    );
    assert_eq!(said_skip("a row was skipped"), None);
}

#[test]
fn the_closing_line_is_plain() {
    assert_eq!(
        Counts {
            passed: 12,
            failed: 0,
            skipped: 3
        }
        .to_string(),
        "12 passed, 0 failed, 3 skipped"
    );
}

proptest! {
    #[test]
    fn any_line_is_taken_by_both(lines in proptest::collection::vec(".*", 0..20)) {
        for mut transcript in [Transcript::nextest(), Transcript::libtest()] {
            for line in &lines {
                transcript.line(line);
            }
            let _ = transcript.finish();
        }
    }

    #[test]
    fn libtest_counts_are_what_the_summary_says(passed: u32, failed: u32, ignored: u32, filtered: u32) {
        let line = format!(
            "test result: ok. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; {filtered} filtered out; finished in 1.0s"
        );
        let counts = libtest_summary(&line).unwrap();
        prop_assert_eq!(counts.passed, u64::from(passed));
        prop_assert_eq!(counts.failed, u64::from(failed));
        prop_assert_eq!(counts.skipped, u64::from(ignored) + u64::from(filtered));
    }
}
