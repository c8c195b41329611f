//! Memory of the machine, and processes that the kernel ended for want of it (proc(5): meminfo, vmstat).

use super::{Context, Facts, Found, found};
use crate::{Reading, catalog, checks::disk::bytes};
use std::fs;

const CHECK: &str = "memory";
const SUBJECT: &str = "memory";
/// Less than this share available is short, in percent; over at the second.
const SHORT_PCT: f64 = 5.0;
const ENOUGH_PCT: f64 = 10.0;

pub(super) fn look(context: &Context) -> Found {
    let read = |name: &str| {
        fs::read_to_string(context.proc.join(name)).map_err(|error| format!("/proc/{name}: {error}"))
    };
    let mut all = Found::default();
    let broken = |why: String| Reading::problem(CHECK, SUBJECT, why).about(catalog::CHECK_BROKEN);
    match read("meminfo").and_then(|text| available(&text)) {
        Ok((available, total)) => all.readings.push(judge(context, available, total)),
        Err(why) => return found(vec![broken(why)]),
    }
    match read("vmstat").map(|text| value(&text, "oom_kill")) {
        // Kernels before 4.13 do not count.
        Ok(None) => {}
        Ok(Some(kills)) => {
            all.readings.push(killed(context, kills));
            all.facts = Facts {
                oom_kills: Some(kills),
                ..Facts::default()
            };
        }
        Err(why) => all.readings.push(broken(why)),
    }
    all
}

/// Bytes that are available, and all.
fn available(meminfo: &str) -> Result<(u64, u64), String> {
    let kilobytes = |name| value(meminfo, name).ok_or_else(|| format!("/proc/meminfo has no {name}"));
    Ok((kilobytes("MemAvailable:")? * 1024, kilobytes("MemTotal:")? * 1024))
}

/// The number behind a name at the beginning of a line.
fn value(text: &str, name: &str) -> Option<u64> {
    let mut words = text.lines().map(str::split_whitespace);
    words.find_map(|mut words| (words.next() == Some(name)).then(|| words.next()?.parse().ok())?)
}

fn judge(context: &Context, available: u64, total: u64) -> Reading {
    let share = 100.0 * available as f64 / total.max(1) as f64;
    let what = format!("{} of {} available", bytes(available), bytes(total));
    let is_firing = context.book.is_firing(catalog::MEMORY, SUBJECT);
    let reading = if share < if is_firing { ENOUGH_PCT } else { SHORT_PCT } {
        Reading::problem(CHECK, SUBJECT, what)
    } else {
        Reading::ok(CHECK, SUBJECT, what)
    };
    reading.about(catalog::MEMORY)
}

fn killed(context: &Context, kills: u64) -> Reading {
    let before = context.past.oom_kills.unwrap_or(kills);
    // A machine that was started anew counts from nought.
    let more = if kills < before { kills } else { kills - before };
    let reading = match more {
        0 => Reading::ok(CHECK, SUBJECT, "no process was ended for want of memory"),
        1 => Reading::problem(CHECK, SUBJECT, "the kernel ended a process for want of memory"),
        more => Reading::problem(
            CHECK,
            SUBJECT,
            format!("the kernel ended {more} processes for want of memory"),
        ),
    };
    reading.about(catalog::OOM_KILL)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::context, *};
    use crate::Grade;

    #[test]
    fn little_memory_and_killed_processes_are_told() {
        let root = tempfile::tempdir().unwrap();
        let mut context = context(root.path());
        context.proc = root.path().join("proc");
        fs::create_dir(&context.proc).unwrap();
        let mut with = |available: u64, kills: u64, before: Option<u64>| {
            fs::write(
                context.proc.join("meminfo"),
                format!("MemTotal:   16000000 kB\nMemFree: 1 kB\nMemAvailable: {available} kB\n"),
            )
            .unwrap();
            fs::write(
                context.proc.join("vmstat"),
                format!("nr_free_pages 1\noom_kill {kills}\n"),
            )
            .unwrap();
            context.past.oom_kills = before;
            let found = look(&context);
            assert_eq!(found.facts.oom_kills, Some(kills));
            [found.readings[0].grade, found.readings[1].grade]
        };
        assert_eq!(with(8_000_000, 3, None), [Grade::Ok, Grade::Ok]);
        assert_eq!(with(8_000_000, 3, Some(3)), [Grade::Ok, Grade::Ok]);
        assert_eq!(with(500_000, 4, Some(3)), [Grade::Problem, Grade::Problem]);
        assert_eq!(with(8_000_000, 1, Some(3)), [Grade::Ok, Grade::Problem]);
        fs::remove_file(context.proc.join("meminfo")).unwrap();
        assert_eq!(look(&context).readings[0].alert.as_deref(), Some("ALR-24"));
    }
}
