//! The clock: was it set, and does anything keep it right?
//!
//! Between two passes of one start of the machine, wall time and time since that start must have gone on alike. Whether a time
//! server is followed is what systemd-timesyncd leaves behind; other programs for it leave nothing, and then nothing is said.

use super::{Context, Facts, Found, found};
use crate::{Reading, catalog};
use std::fs;

const CHECK: &str = "clock";
const SUBJECT: &str = "clock";
/// So much more or less than should have passed is a clock that was set.
const SET_S: f64 = 60.0;

pub(super) fn look(context: &Context) -> Found {
    let boot = match boot(context) {
        Ok(boot) => boot,
        Err(error) => {
            let what = format!("time since the start of the machine is not known: {error}");
            return found(vec![
                Reading::problem(CHECK, SUBJECT, what).about(catalog::CHECK_BROKEN),
            ]);
        }
    };
    let timesync = context.run.join("systemd/timesync");
    let reading = if let Some(by) = set_by(context, &boot) {
        Reading::warning(CHECK, SUBJECT, format!("was set {by} since the last check"))
    } else if timesync.is_dir() && !timesync.join("synchronized").exists() {
        Reading::warning(
            CHECK,
            SUBJECT,
            "systemd-timesyncd has reached no time server since the machine was started",
        )
    } else {
        Reading::ok(CHECK, SUBJECT, "goes on evenly")
    };
    Found {
        readings: vec![reading.about(catalog::CLOCK)],
        facts: Facts {
            boot: Some(boot),
            ..Facts::default()
        },
    }
}

fn boot(context: &Context) -> std::io::Result<(f64, String)> {
    let uptime = fs::read_to_string(context.proc.join("uptime"))?;
    let seconds = uptime.split(' ').next().and_then(|text| text.parse().ok());
    let id = fs::read_to_string(context.proc.join("sys/kernel/random/boot_id"))?;
    let seconds = seconds.ok_or_else(|| std::io::Error::other(format!("{uptime:?} is no time")))?;
    Ok((seconds, id.trim().to_owned()))
}

/// By how much, in words, where it was.
fn set_by(context: &Context, (uptime, id): &(f64, String)) -> Option<String> {
    let past = &context.past;
    let wall = context.now.duration_since(past.at?).as_secs_f64();
    let gone = if past.boot_id == *id {
        uptime - past.uptime_s
    } else {
        // Over a restart only a step back shows.
        wall.max(0.0)
    };
    let set = wall - gone;
    (set.abs() > SET_S).then(|| {
        let way = if set < 0.0 { "back" } else { "forward" };
        format!(
            "{way} by {}",
            super::disk::hours(jiff::SignedDuration::from_secs(set.abs() as i64))
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{super::tests::context, *};
    use crate::Grade;
    use jiff::SignedDuration;

    #[test]
    fn a_clock_that_was_set_is_told_and_one_that_goes_on_is_not() {
        let root = tempfile::tempdir().unwrap();
        let mut context = context(root.path());
        context.proc = root.path().join("proc");
        fs::create_dir_all(context.proc.join("sys/kernel/random")).unwrap();
        fs::write(context.proc.join("sys/kernel/random/boot_id"), "one\n").unwrap();
        fs::write(context.proc.join("uptime"), "1000.50 2000.00\n").unwrap();
        let mut after = |minutes: i64, uptime_s: f64, boot: &str| {
            context.past.at = Some(context.now - SignedDuration::from_mins(minutes));
            context.past.uptime_s = uptime_s;
            context.past.boot_id = boot.into();
            let reading = look(&context).readings.remove(0);
            (reading.grade, reading.what)
        };
        assert_eq!(after(5, 700.5, "one").0, Grade::Ok);
        assert_eq!(
            after(65, 700.5, "one"),
            (
                Grade::Warning,
                "was set forward by 1 h since the last check".into()
            )
        );
        assert_eq!(
            after(-20, 700.5, "one").1,
            "was set back by 25 min since the last check"
        );
        assert_eq!(after(600, 700.5, "another").0, Grade::Ok, "it was off meanwhile");
        assert_eq!(
            after(-120, 700.5, "another").1,
            "was set back by 2 h since the last check"
        );
    }

    #[test]
    fn a_time_server_that_was_never_reached_is_told_where_one_is_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let context = context(root.path());
        let grade = || look(&context).readings[0].grade;
        assert_eq!(grade(), Grade::Ok);
        fs::create_dir_all(context.run.join("systemd/timesync")).unwrap();
        assert_eq!(grade(), Grade::Warning);
        fs::write(context.run.join("systemd/timesync/synchronized"), "").unwrap();
        assert_eq!(grade(), Grade::Ok);
    }
}
