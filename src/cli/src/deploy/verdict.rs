//! Whether what was switched to works: a decision over facts, and nothing else (DEP-3).
//!
//! Each sign is good, bad, or not there yet. All good confirms; one that is bad refuses at once, for waiting would only
//! lengthen an outage; what is not there when the time is up refuses too. The queue has to be active, in one and the same
//! start, for [`SETTLED`]; none of its last [`LINES`] lines may be an error; it has to have read something, or nothing may be
//! waiting for it; and the disk has to be adequate.

use super::facts::{Line, State, Unit};
use crate::check::finding::{Finding, Grade};
use std::time::Duration;

/// How long the queue has to be active: one that crashes at its first messages has done so by then.
pub(super) const SETTLED: Duration = Duration::from_secs(10);
/// How many lines of a start are looked at.
pub(super) const LINES: usize = 20;
/// So many errors are quoted.
const QUOTED: usize = 3;

/// The facts of one moment.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub unit: Result<Unit, String>,
    /// Entries of the queue's unit, oldest first.
    pub lines: Result<Vec<Line>, String>,
    /// The offset of the next message to read, as it is on disk.
    pub offset: Result<u64, String>,
    /// How many messages the broker holds beyond that; none where it was not asked or did not answer.
    pub waiting: Option<u64>,
    /// None until it was looked at.
    pub disk: Option<Vec<Finding>>,
}

/// What this watch has seen so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// The start that is to be replaced: it is not looked at.
    replaced: Option<String>,
    /// How soon the queue has to be active, if that was asked for.
    ready_within: Option<Duration>,
    invocation: Option<String>,
    /// Since when it is active, and where it was then.
    active: Option<(Duration, Option<u64>)>,
}

impl Seen {
    /// Nothing yet, of a start that takes the place of another.
    pub fn replacing(invocation: String, ready_within: Duration) -> Self {
        Self {
            replaced: Some(invocation).filter(|invocation| !invocation.is_empty()),
            ready_within: Some(ready_within),
            ..Self::default()
        }
    }

    /// Takes in the facts at `now`, counted from the beginning of the watch.
    pub fn take(&mut self, unit: &Unit, offset: Option<u64>, now: Duration) {
        let is_old = self.replaced.as_ref() == Some(&unit.invocation);
        if unit.invocation.is_empty() || is_old {
            return;
        }
        self.invocation.get_or_insert_with(|| unit.invocation.clone());
        if unit.active == State::Active {
            self.active.get_or_insert((now, offset));
        }
    }

    /// Where the queue was when it was first seen active.
    pub fn first_offset(&self) -> Option<u64> {
        self.active.and_then(|(_, offset)| offset)
    }
}

/// What one fact says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sign {
    Good(Finding),
    /// Not yet; the problem that it is if it stays so.
    Wait(Finding),
    Bad(Finding),
}

impl Sign {
    pub fn finding(self) -> Finding {
        match self {
            Self::Good(finding) | Self::Wait(finding) | Self::Bad(finding) => finding,
        }
    }
}

/// What all of them say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Confirmed,
    Wait,
    Refused,
}

pub(super) fn verdict(signs: &[(&'static str, Sign)]) -> Verdict {
    let any = |is: fn(&Sign) -> bool| signs.iter().any(|(_, sign)| is(sign));
    if any(|sign| matches!(sign, Sign::Bad(_))) {
        Verdict::Refused
    } else if any(|sign| matches!(sign, Sign::Wait(_))) {
        Verdict::Wait
    } else {
        Verdict::Confirmed
    }
}

/// The signs of this moment, by name.
pub(super) fn judge(name: &str, facts: &Facts, seen: &Seen, now: Duration) -> [(&'static str, Sign); 4] {
    [
        ("queue", queue(name, &facts.unit, seen, now)),
        ("journal", journal(name, facts, seen)),
        ("offset", progress(facts, seen)),
        ("disk", disk(facts.disk.as_deref())),
    ]
}

fn queue(name: &str, unit: &Result<Unit, String>, seen: &Seen, now: Duration) -> Sign {
    let look = format!("journalctl -u {name} -n 50");
    let bad = |what: String| Sign::Bad(Finding::problem(name, what, &look));
    let unit = match unit {
        Ok(unit) => unit,
        // Asked again until the time is up.
        Err(why) => return Sign::Wait(Finding::problem(name, why, "is this machine run by systemd?")),
    };
    let waits = |what: &str| {
        let late = seen.ready_within.filter(|limit| now >= *limit);
        match late {
            Some(limit) => bad(format!("{what} after {} s", limit.as_secs())),
            None => Sign::Wait(Finding::problem(name, what, &look)),
        }
    };
    let is_another = |known: &String| !unit.invocation.is_empty() && *known != unit.invocation;
    match unit.active {
        _ if !unit.loaded => Sign::Bad(Finding::problem(
            name,
            "is no unit that systemd knows",
            "install the units: docs/DEPLOY.md",
        )),
        _ if seen.replaced.as_ref() == Some(&unit.invocation) && unit.job => {
            waits("its restart has not begun")
        }
        State::Failed => bad(format!("failed: {}", unit.result)),
        State::Activating if unit.sub == "auto-restart" => bad(format!("ended: {}", unit.result)),
        _ if seen.invocation.as_ref().is_some_and(is_another) => {
            bad("was started anew while it was watched".to_owned())
        }
        State::Activating => waits("is starting, and not ready"),
        State::Deactivating => waits("is stopping"),
        _ if unit.job => waits("waits to be started"),
        State::Inactive | State::Unknown => Sign::Bad(Finding::problem(
            name,
            "is not running, and nothing is about to start it",
            "was its start blocked? journalctl -u azaion-config.service -n 20",
        )),
        State::Active if seen.replaced.as_ref() == Some(&unit.invocation) => {
            bad("was not restarted: it runs what it ran before".to_owned())
        }
        State::Active => match seen.active {
            Some((since, _)) if now.saturating_sub(since) >= SETTLED => Sign::Good(Finding::right(
                name,
                format!("active, process {}", unit.pid.unwrap_or(0)),
            )),
            _ => Sign::Wait(Finding::problem(
                name,
                format!("was not seen active for {} s", SETTLED.as_secs()),
                "give --within more time",
            )),
        },
    }
}

/// The lines of the start that is watched.
fn lines_of<'a>(lines: &'a [Line], seen: &Seen) -> Vec<&'a Line> {
    let of_it = |line: &&Line| Some(&line.invocation) == seen.invocation.as_ref();
    let lines: Vec<_> = lines.iter().filter(of_it).collect();
    lines[lines.len().saturating_sub(LINES)..].to_vec()
}

fn journal(name: &str, facts: &Facts, seen: &Seen) -> Sign {
    let lines = match &facts.lines {
        Ok(lines) => lines_of(lines, seen),
        Err(why) => return Sign::Wait(Finding::problem("journal", why, "is journald running?")),
    };
    let errors: Vec<_> = lines.iter().filter(|line| line.is_error()).collect();
    if errors.is_empty() {
        return Sign::Good(Finding::right(
            "journal",
            format!("no error in the last {} lines of this start", lines.len()),
        ));
    }
    let quoted: Vec<_> = errors
        .iter()
        .take(QUOTED)
        .map(|line| line.message.as_str())
        .collect();
    Sign::Bad(Finding::problem(
        "journal",
        format!(
            "{} of the last {} lines are errors: {}",
            errors.len(),
            lines.len(),
            quoted.join(" | ")
        ),
        format!("journalctl -u {name} -p err"),
    ))
}

fn progress(facts: &Facts, seen: &Seen) -> Sign {
    let next = "is it hung? systemctl status azaion-queue; is the broker? azaion check";
    let offset = match &facts.offset {
        Ok(offset) => *offset,
        Err(why) => return Sign::Wait(Finding::problem("offset", why, "restore it from a backup")),
    };
    let lag = facts.unit.as_ref().ok().and_then(Unit::lag);
    match (seen.first_offset(), facts.waiting, lag) {
        (None, ..) => Sign::Wait(Finding::problem("offset", "the queue was never active", next)),
        (Some(first), ..) if offset > first => {
            Sign::Good(Finding::right("offset", format!("went from {first} to {offset}")))
        }
        (_, Some(0), _) => Sign::Good(Finding::right(
            "offset",
            format!("stands at {offset}, and the broker has no more"),
        )),
        (_, Some(waiting), _) => Sign::Wait(Finding::problem(
            "offset",
            format!("stands at {offset}, and {waiting} messages wait"),
            next,
        )),
        (_, None, Some(0)) => Sign::Good(Finding::right(
            "offset",
            format!("stands at {offset}; by the queue's own word the broker has no more"),
        )),
        (_, None, _) => Sign::Wait(Finding::problem(
            "offset",
            format!("stands at {offset}, and the broker does not say whether it has more"),
            next,
        )),
    }
}

fn disk(findings: Option<&[Finding]>) -> Sign {
    let findings = findings.unwrap_or_default();
    let problem = findings.iter().find(|finding| finding.grade == Grade::Problem);
    match problem.or(findings.first()) {
        Some(finding) if finding.grade == Grade::Problem => Sign::Bad(finding.clone()),
        Some(finding) => Sign::Good(finding.clone()),
        None => Sign::Wait(Finding::problem(
            "disk",
            "was not looked at in time",
            "azaion check",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "azaion-queue.service";

    fn unit(text: &str) -> Unit {
        Unit::read(&format!("LoadState=loaded\n{}", text.replace(' ', "\n")))
    }

    fn line(invocation: &str, priority: u8) -> Line {
        Line {
            time_us: 1,
            unit: NAME.into(),
            invocation: invocation.into(),
            priority: Some(priority),
            message: format!("of {invocation}"),
        }
    }

    /// An active queue that was seen from the first second on, at offset 7.
    fn healthy() -> (Facts, Seen) {
        let unit = unit("ActiveState=active MainPID=9 InvocationID=new");
        let mut seen = Seen {
            replaced: Some("old".into()),
            ready_within: Some(Duration::from_secs(20)),
            ..Seen::default()
        };
        seen.take(&unit, Some(7), Duration::from_secs(1));
        let facts = Facts {
            unit: Ok(unit),
            lines: Ok(vec![line("old", 3), line("new", 6)]),
            offset: Ok(7),
            waiting: Some(0),
            disk: Some(vec![Finding::right("/azaion", "90 GB free")]),
        };
        (facts, seen)
    }

    fn at(facts: &Facts, seen: &Seen, second: u64) -> (Verdict, String) {
        let signs = judge(NAME, facts, seen, Duration::from_secs(second));
        let said = signs
            .iter()
            .map(|(_, sign)| sign.clone().finding().what)
            .collect::<Vec<_>>();
        (verdict(&signs), said.join("; "))
    }

    #[test]
    fn a_queue_that_is_active_for_a_while_with_an_empty_broker_is_confirmed() {
        let (facts, seen) = healthy();
        assert_eq!(at(&facts, &seen, 10).0, Verdict::Wait, "nine seconds are too few");
        let (verdict, said) = at(&facts, &seen, 11);
        assert_eq!(verdict, Verdict::Confirmed, "{said}");
    }

    #[test]
    fn errors_of_this_start_refuse_it_and_those_of_the_old_one_do_not() {
        let (mut facts, seen) = healthy();
        facts.lines = Ok(vec![line("new", 4), line("new", 3)]);
        let (verdict, said) = at(&facts, &seen, 11);
        assert_eq!(verdict, Verdict::Refused);
        assert!(
            said.contains("1 of the last 2 lines are errors: of new"),
            "{said}"
        );
        let mut many = vec![line("new", 2)];
        many.extend((0..LINES).map(|_| line("new", 6)));
        facts.lines = Ok(many);
        assert_eq!(
            at(&facts, &seen, 11).0,
            Verdict::Confirmed,
            "only the last lines count"
        );
    }

    #[test]
    fn one_that_reads_nothing_while_messages_wait_is_waited_for() {
        let (mut facts, seen) = healthy();
        facts.waiting = Some(5);
        let (verdict, said) = at(&facts, &seen, 30);
        assert_eq!(verdict, Verdict::Wait);
        assert!(said.contains("stands at 7, and 5 messages wait"), "{said}");
        facts.offset = Ok(8);
        assert_eq!(at(&facts, &seen, 30).0, Verdict::Confirmed);
        facts.offset = Ok(7);
        facts.waiting = None;
        assert_eq!(
            at(&facts, &seen, 30).0,
            Verdict::Wait,
            "who knows nothing confirms nothing"
        );
        facts.unit = Ok(Unit {
            status: "offset 7, 0.0 messages/s, lag 0, 0 in quarantine".into(),
            ..facts.unit.unwrap()
        });
        assert_eq!(at(&facts, &seen, 30).0, Verdict::Confirmed);
    }

    #[test]
    fn one_that_ends_in_any_way_is_refused_at_once() {
        for (state, why) in [
            (
                "ActiveState=failed Result=watchdog InvocationID=new",
                "failed: watchdog",
            ),
            (
                "ActiveState=activating SubState=auto-restart Result=signal InvocationID=new",
                "ended: signal",
            ),
            ("ActiveState=active InvocationID=newer", "started anew"),
            (
                "ActiveState=inactive Result=success InvocationID=new",
                "is not running",
            ),
        ] {
            let (mut facts, seen) = healthy();
            facts.unit = Ok(unit(state));
            let (verdict, said) = at(&facts, &seen, 11);
            assert_eq!(verdict, Verdict::Refused, "{state}: {said}");
            assert!(said.contains(why), "{state}: {said}");
        }
        for (state, why) in [
            ("ActiveState=inactive InvocationID=old", "is not running"),
            ("ActiveState=active InvocationID=old", "was not restarted"),
        ] {
            let (mut facts, _) = healthy();
            facts.unit = Ok(unit(state));
            let seen = Seen::replacing("old".into(), Duration::from_secs(20));
            let (verdict, said) = at(&facts, &seen, 1);
            assert_eq!(verdict, Verdict::Refused, "{state}: {said}");
            assert!(said.contains(why), "{state}: {said}");
        }
        let (mut facts, seen) = healthy();
        facts.unit = Ok(Unit::read("LoadState=not-found\nActiveState=inactive"));
        assert!(at(&facts, &seen, 1).1.contains("no unit"));
    }

    #[test]
    fn one_that_starts_is_waited_for_but_not_longer_than_it_may_be_down() {
        let (mut facts, _) = healthy();
        for state in [
            "ActiveState=active InvocationID=old Job=5",
            "ActiveState=deactivating InvocationID=old Job=5",
            "ActiveState=inactive InvocationID=old Job=5",
            "ActiveState=activating SubState=start InvocationID=new Job=5",
        ] {
            facts.unit = Ok(unit(state));
            let seen = Seen {
                replaced: Some("old".into()),
                ready_within: Some(Duration::from_secs(20)),
                ..Seen::default()
            };
            assert_eq!(at(&facts, &seen, 19).0, Verdict::Wait, "{state}");
            assert_eq!(at(&facts, &seen, 20).0, Verdict::Refused, "{state}");
            let patient = Seen {
                ready_within: None,
                ..seen
            };
            assert_eq!(at(&facts, &patient, 40).0, Verdict::Wait, "{state}");
        }
    }

    #[test]
    fn a_disk_that_is_full_refuses() {
        let (mut facts, seen) = healthy();
        facts.disk = Some(vec![Finding::problem("/azaion", "1 GB free", "make room")]);
        assert_eq!(at(&facts, &seen, 11).0, Verdict::Refused);
    }

    #[test]
    fn who_cannot_be_asked_is_asked_again() {
        let (facts, seen) = healthy();
        for broken in [
            Facts {
                unit: Err("no answer".into()),
                ..facts.clone()
            },
            Facts {
                lines: Err("no answer".into()),
                ..facts.clone()
            },
            Facts {
                offset: Err("no answer".into()),
                ..facts.clone()
            },
            Facts {
                disk: None,
                ..facts.clone()
            },
        ] {
            assert_eq!(at(&broken, &seen, 11).0, Verdict::Wait);
        }
    }
}
