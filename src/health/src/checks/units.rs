//! Units of the suite (HLT-1): what the service manager says of them, over D-Bus.
//!
//! org.freedesktop.systemd1(5): `ListUnitsByPatterns` names those that are loaded, `GetAll` tells one's properties. Nothing
//! is started or changed. Where the machine is not run by systemd there are no units, and the queue's lock says whether one
//! is at work.

use super::{Context, Facts, Found, found};
use crate::{Reading, catalog};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, time::Duration};
use zbus::{Connection, OwnedVariant};

const CHECK: &str = "units";
/// Units that are looked at.
const PATTERNS: [&str; 3] = ["azaion*", "rabbitmq.service", "rabbitmq-server.service"];
const QUEUE: &str = "azaion-queue.service";
/// How long systemd may take for an answer.
const LIMIT: Duration = Duration::from_secs(3);
/// A unit that was restarted so often within an hour does not mend by that.
const MANY_RESTARTS: usize = 3;

const MANAGER: (&str, &str) = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1");

/// The units by name.
pub type Units = Vec<Unit>;

/// A unit, as the service manager knows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// `active`, `failed`, `inactive`, `activating`, ...
    pub active: String,
    /// The finer state of its type.
    pub sub: String,
    /// How its last run ended, a service's: `success`, `watchdog`, `exit-code`, ...
    pub result: Option<String>,
    /// What it says of itself.
    pub says: Option<String>,
    /// Restarts by the service manager since it was started by hand.
    pub restarts: u64,
    /// When it came into this state.
    pub since: Option<Timestamp>,
}

pub(super) fn look(context: &Context) -> Found {
    if !context.run.join("systemd/system").is_dir() {
        return found(vec![by_lock(context)]);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        runtime.block_on(async {
            tokio::time::timeout(LIMIT, ask())
                .await
                .unwrap_or_else(|_| Err(format!("systemd did not answer within {} s", LIMIT.as_secs())))
        })
    });
    match asked {
        Ok(units) => Found {
            readings: judge(context, &units),
            facts: Facts {
                units: Some(units),
                ..Facts::default()
            },
        },
        Err(why) => found(vec![
            Reading::problem(CHECK, "systemd", format!("states of units are not known: {why}"))
                .about(catalog::CHECK_BROKEN),
        ]),
    }
}

/// Without a service manager: whether a queue holds the tree.
fn by_lock(context: &Context) -> Reading {
    match store::writer(&context.paths) {
        Ok(Some(pid)) => Reading::ok(
            CHECK,
            QUEUE,
            format!("process {pid} is at work (no systemd here)"),
        ),
        Ok(None) => Reading::skipped(CHECK, QUEUE, "no systemd here, and no queue at work"),
        Err(error) => Reading::warning(CHECK, QUEUE, error),
    }
}

async fn ask() -> Result<Units, String> {
    let told = |error: zbus::Error| error.to_string();
    let bus = Connection::system().await.map_err(told)?;
    let states: Vec<&str> = Vec::new();
    let reply = bus
        .call_method(
            Some(MANAGER.0),
            MANAGER.1,
            Some("org.freedesktop.systemd1.Manager"),
            "ListUnitsByPatterns",
            &(states, PATTERNS.to_vec()),
        )
        .await
        .map_err(told)?;
    type Listed = (
        String,
        String,
        String,
        String,
        String,
        String,
        zbus::OwnedObjectPath,
        u32,
        String,
        zbus::OwnedObjectPath,
    );
    let listed: Vec<Listed> = reply.body().deserialize().map_err(told)?;
    let mut units = Vec::new();
    for (name, _, load, active, sub, _, path, ..) in listed {
        // Others name it, and it is not there.
        if load == "not-found" {
            continue;
        }
        let mut unit = Unit {
            name,
            active,
            sub,
            ..Unit::default()
        };
        let of_unit = properties(&bus, path.as_str(), "org.freedesktop.systemd1.Unit")
            .await
            .map_err(told)?;
        unit.since = number(&of_unit, "StateChangeTimestamp")
            .filter(|micros| *micros > 0)
            .and_then(|micros| Timestamp::from_microsecond(micros.try_into().ok()?).ok());
        if unit.name.ends_with(".service") {
            let of_service = properties(&bus, path.as_str(), "org.freedesktop.systemd1.Service")
                .await
                .map_err(told)?;
            unit.result = text(&of_service, "Result");
            unit.says = text(&of_service, "StatusText");
            unit.restarts = number(&of_service, "NRestarts").unwrap_or_default();
        }
        units.push(unit);
    }
    units.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(units)
}

async fn properties(
    bus: &Connection,
    path: &str,
    interface: &str,
) -> zbus::Result<HashMap<String, OwnedVariant>> {
    let reply = bus
        .call_method(
            Some(MANAGER.0),
            path,
            Some("org.freedesktop.DBus.Properties"),
            "GetAll",
            &(interface,),
        )
        .await?;
    reply.body().deserialize()
}

fn text(properties: &HashMap<String, OwnedVariant>, name: &str) -> Option<String> {
    let text: &str = properties.get(name)?.downcast_ref().ok()?;
    (!text.is_empty()).then(|| text.to_owned())
}

fn number(properties: &HashMap<String, OwnedVariant>, name: &str) -> Option<u64> {
    let value = properties.get(name)?;
    let wide: Option<u64> = value.downcast_ref().ok();
    wide.or_else(|| value.downcast_ref::<u32>().ok().map(u64::from))
}

fn judge(context: &Context, units: &[Unit]) -> Vec<Reading> {
    let mut readings: Vec<Reading> = units.iter().filter_map(state).collect();
    if !units.iter().any(|unit| unit.name == QUEUE) {
        readings.push(Reading::skipped(CHECK, QUEUE, "this machine has no queue"));
    }
    readings.extend(units.iter().filter_map(|unit| restarts(context, unit)));
    readings
}

/// What its state means.
fn state(unit: &Unit) -> Option<Reading> {
    let Unit {
        name,
        active,
        result,
        says,
        ..
    } = unit;
    // Timers and targets have no work that fails; the alerts' own unit is no news.
    if !name.ends_with(".service") || name.starts_with("azaion-alert@") {
        return None;
    }
    let is_queue = name == QUEUE;
    let alert = if is_queue {
        catalog::QUEUE_DOWN
    } else {
        catalog::UNIT_FAILED
    };
    let why = result.as_deref().unwrap_or("unknown");
    let reading = match active.as_str() {
        "failed" => Reading::problem(CHECK, name, format!("failed ({why})")),
        "activating" if is_queue => Reading::warning(
            CHECK,
            name,
            format!("starting: {}", says.as_deref().unwrap_or("not subscribed yet")),
        ),
        "inactive" if is_queue => Reading::warning(CHECK, name, "stopped: annotations wait in the broker"),
        active => Reading::ok(
            CHECK,
            name,
            says.as_deref()
                .map_or(active.to_owned(), |says| format!("{active}: {says}")),
        ),
    };
    // One that is stopped or starts has not crashed; whether it has stood still for too long is the offset's to say.
    Some(match reading.grade {
        crate::Grade::Warning => reading,
        _ => reading.about(alert),
    })
}

/// Whether it is restarted again and again.
fn restarts(context: &Context, unit: &Unit) -> Option<Reading> {
    let mut known = context.past.restarts.get(&unit.name).cloned().unwrap_or_default();
    known.count(unit.restarts, context.now);
    let times = known.grown.len();
    if times == 0 && !context.book.is_firing(catalog::RESTARTS, &unit.name) {
        return None;
    }
    let what = format!("restarted {times} times within the last hour");
    let reading = if times >= MANY_RESTARTS {
        let why = match unit.result.as_deref() {
            Some("watchdog") => ", by its watchdog: it hung",
            _ => "",
        };
        Reading::problem(CHECK, &unit.name, format!("{what}{why}"))
    } else {
        Reading::ok(CHECK, &unit.name, what)
    };
    Some(reading.about(catalog::RESTARTS))
}

#[cfg(test)]
mod tests {
    use super::{super::tests::context, *};
    use crate::Grade;

    fn unit(name: &str, active: &str) -> Unit {
        Unit {
            name: name.into(),
            active: active.into(),
            ..Unit::default()
        }
    }

    #[test]
    fn a_failed_unit_is_a_problem_and_a_stopped_queue_a_warning() {
        let read = |name, active| state(&unit(name, active)).map(|reading| (reading.grade, reading.alert));
        assert_eq!(read(QUEUE, "active"), Some((Grade::Ok, Some("ALR-2".into()))));
        assert_eq!(
            read(QUEUE, "failed"),
            Some((Grade::Problem, Some("ALR-2".into())))
        );
        assert_eq!(read(QUEUE, "inactive"), Some((Grade::Warning, None)));
        assert_eq!(read(QUEUE, "activating"), Some((Grade::Warning, None)));
        assert_eq!(
            read("azaion-train.service", "inactive"),
            Some((Grade::Ok, Some("ALR-12".into())))
        );
        assert_eq!(
            read("azaion-train.service", "failed"),
            Some((Grade::Problem, Some("ALR-12".into())))
        );
        assert_eq!(read("azaion-alert@x.service", "failed"), None);
    }

    #[test]
    fn three_restarts_within_an_hour_are_a_problem() {
        let root = tempfile::tempdir().unwrap();
        let mut context = context(root.path());
        let known = context.past.restarts.entry(QUEUE.into()).or_default();
        known.count(0, context.now);
        let told = |count, result: &str| {
            let unit = Unit {
                restarts: count,
                result: Some(result.into()),
                ..unit(QUEUE, "active")
            };
            restarts(&context, &unit).map(|reading| (reading.grade, reading.what))
        };
        assert_eq!(told(0, "success"), None);
        assert_eq!(told(2, "success").unwrap().0, Grade::Ok);
        let (grade, what) = told(3, "watchdog").unwrap();
        assert_eq!(grade, Grade::Problem);
        assert_eq!(
            what,
            "restarted 3 times within the last hour, by its watchdog: it hung"
        );
    }

    #[test]
    fn without_systemd_the_lock_says_whether_a_queue_is_at_work() {
        let root = tempfile::tempdir().unwrap();
        let context = context(root.path());
        let all = look(&context).readings;
        assert_eq!((all.len(), all[0].grade), (1, Grade::Skipped));
        let _tree = store::Tree::open(root.path()).unwrap();
        let all = look(&context).readings;
        assert_eq!(all[0].grade, Grade::Ok);
        assert!(
            all[0].what.contains(&std::process::id().to_string()),
            "{}",
            all[0].what
        );
    }
}
