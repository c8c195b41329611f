//! The switch itself: activate, watch, and go back where that does not confirm.

use super::{
    SUITE_PROFILE, SYSTEM_PROFILE, Span,
    facts::{Line, Unit},
    hold::{self, Hold, Unfinished},
    links,
    machine::{self, CONFIG, QUEUE, TRAIN},
    outage::Outage,
    preflight,
    profile::{Generation, Kind, Profile, SYSTEM_SWITCH},
    record::{Attempt, Outcome, Record, Training},
    verdict::Seen,
    watch::watch,
};
use crate::{
    args::{DeployWay, RollbackArgs, SwitchArgs},
    check::{self, Report},
    console, program,
};
use anyhow::{Context, Result, bail};
use service::shutdown::Shutdown;
use std::{
    ffi::OsString,
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// How much of the journal is kept of a generation that was not confirmed.
const EXTRACT: usize = 200;
/// How often the queue is looked at while a command works.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a whole NixOS may take to go back.
const SYSTEM_LIMIT: Duration = Duration::from_secs(600);

/// Runs `azaion deploy switch`.
pub(super) fn switch(args: &SwitchArgs, shutdown: &Shutdown) -> Result<ExitCode> {
    let target = Target::of(args)?;
    let profile = Profile::new(&args.profile.clone().unwrap_or_else(|| target.usual_profile()))?;
    let what = format!("switch to {target}");
    let hold = match Hold::take(&args.way.places.state, &what)? {
        Ok(hold) => hold,
        Err(held) => return Ok(super::told_held(&held)),
    };
    let looked = preflight::look(&preflight::Plan {
        generation: target.generation(),
        profile: &profile,
        units: &args.way.units,
        config: &args.way.places.config,
        state: &args.way.places.state,
    });
    if looked.has_problems() {
        super::show(&looked, args.way.places.json)?;
        console::print("nothing was changed");
        return Ok(Outcome::Refused.code().into());
    }
    let deploy = Deploy::new(hold, profile, &args.way, shutdown, what)?;
    let back = fallback(
        deploy.record.from.clone(),
        deploy.record.cut_off_before.as_ref(),
        &deploy.profile,
        &target,
    );
    deploy.carry_out(&target, back.map(Back::To).unwrap_or(Back::Nowhere))
}

/// Runs `azaion deploy rollback`.
pub(super) fn rollback(args: &RollbackArgs, shutdown: &Shutdown) -> Result<ExitCode> {
    let profile = Profile::new(&args.profile)?;
    let hold = match Hold::take(&args.way.places.state, "rollback")? {
        Ok(hold) => hold,
        Err(held) => return Ok(super::told_held(&held)),
    };
    let left = hold::unfinished(&args.way.places.state)?;
    let to = earlier(&profile, args.to, left.as_ref())?;
    let deploy = Deploy::new(hold, profile, &args.way, shutdown, format!("rollback to {to}"))?;
    deploy.carry_out(&Target::Known(to), Back::NotAsked)
}

/// What is switched to.
#[derive(Debug)]
enum Target {
    /// To become a generation.
    New(PathBuf, Kind),
    /// One that is there.
    Known(Generation),
    /// What this command installs and activates.
    Command(Vec<OsString>),
}

impl Target {
    fn of(args: &SwitchArgs) -> Result<Self> {
        let Some(path) = &args.generation else {
            return Ok(Self::Command(args.command.clone()));
        };
        let path = path
            .canonicalize()
            .with_context(|| format!("there is no {}", path.display()))?;
        // What is no generation is told by the preflight.
        let kind = Kind::of(&path).unwrap_or(Kind::Suite);
        Ok(Self::New(path, kind))
    }

    fn usual_profile(&self) -> PathBuf {
        PathBuf::from(match self {
            Self::New(_, Kind::Suite) | Self::Known(_) => SUITE_PROFILE,
            Self::New(_, Kind::System) | Self::Command(_) => SYSTEM_PROFILE,
        })
    }

    fn generation(&self) -> Option<&Path> {
        match self {
            Self::New(path, _) => Some(path),
            Self::Known(generation) => Some(&generation.path),
            Self::Command(_) => None,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::New(path, _) => write!(f, "{}", path.display()),
            Self::Known(generation) => write!(f, "{generation}"),
            Self::Command(words) => {
                let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
                f.write_str(&words.join(" "))
            }
        }
    }
}

/// Where to go if the target does not confirm.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Back {
    To(Generation),
    /// There is nothing: this is the first generation.
    Nowhere,
    /// This is the way back already.
    NotAsked,
}

/// The generation that was confirmed last: a deploy that was cut off has left one that nobody has confirmed.
fn fallback(
    current: Option<Generation>,
    left: Option<&Unfinished>,
    profile: &Profile,
    target: &Target,
) -> Option<Generation> {
    let confirmed = left
        .filter(|left| left.profile == profile.link())
        .and_then(|left| left.from.clone())
        .filter(|from| Some(from.path.as_path()) != target.generation());
    confirmed.or(current)
}

/// Where a rollback goes.
fn earlier(profile: &Profile, number: Option<u64>, left: Option<&Unfinished>) -> Result<Generation> {
    let generations = profile.generations()?;
    let current = profile.current()?;
    let of = |number: u64| {
        generations
            .iter()
            .find(|generation| generation.number == number)
            .cloned()
    };
    let found = match (number, &current) {
        (Some(number), _) => {
            return of(number)
                .with_context(|| format!("{} has no generation {number}", profile.link().display()));
        }
        (None, None) => None,
        (None, Some(current)) => {
            let confirmed = left
                .filter(|left| left.profile == profile.link())
                .and_then(|left| left.from.as_ref());
            let confirmed = confirmed
                .and_then(|from| of(from.number))
                .filter(|from| from != current);
            confirmed.or_else(|| {
                let before = |generation: &&Generation| generation.number < current.number;
                generations.iter().rfind(before).cloned()
            })
        }
    };
    match found {
        Some(generation) => Ok(generation),
        None => bail!(
            "{} has no generation before the one that is there",
            profile.link().display()
        ),
    }
}

/// A deploy under way.
struct Deploy<'a> {
    hold: Hold,
    profile: Profile,
    way: &'a DeployWay,
    shutdown: &'a Shutdown,
    context: Arc<check::Context>,
    begun: Instant,
    outage: Outage,
    training: Result<Unit, String>,
    record: Record,
}

impl<'a> Deploy<'a> {
    fn new(
        hold: Hold,
        profile: Profile,
        way: &'a DeployWay,
        shutdown: &'a Shutdown,
        what: String,
    ) -> Result<Self> {
        let context = super::context(&way.places.config)?;
        let unit = machine::unit(QUEUE).map_err(anyhow::Error::msg)?;
        let mut record = Record::new(what, profile.link());
        record.from = profile.current()?;
        record.cut_off_before = hold::unfinished(&way.places.state)?;
        if let Some(left) = &record.cut_off_before {
            console::print(&format!("azaion: {left}"));
        }
        Ok(Self {
            hold,
            way,
            shutdown,
            context,
            begun: Instant::now(),
            outage: Outage::new(&unit, machine::uptime_us()),
            training: machine::unit(TRAIN),
            profile,
            record,
        })
    }

    /// From the first change to the report.
    fn carry_out(mut self, target: &Target, back: Back) -> Result<ExitCode> {
        let is_there = self.record.from.as_ref().map(|from| from.path.as_path());
        if is_there.is_some() && is_there == target.generation() {
            // Nothing is changed, so nothing is taken back either.
            self.record.attempt.generation = self.record.from.clone();
            let confirmed = self.confirmed(Seen::default());
            self.record.outcome = if confirmed {
                Outcome::Confirmed
            } else {
                Outcome::Failed
            };
            return self.end();
        }
        self.hold.begin(&Unfinished {
            time: self.record.time.clone(),
            pid: std::process::id(),
            profile: self.profile.link().to_owned(),
            from: match &back {
                Back::To(generation) => Some(generation.clone()),
                Back::Nowhere | Back::NotAsked => self.record.from.clone(),
            },
            to: target.to_string(),
        })?;
        console::print(&self.record.what);
        let since = machine::clock_us();
        let attempt = self.attempt(target);
        self.record.attempt.generation = attempt.generation;
        let confirmed = match attempt.activated {
            Ok(seen) => self.confirmed(seen),
            Err(why) => {
                self.record.attempt.failure = Some(why);
                false
            }
        };
        self.record.outcome = match (confirmed, back) {
            (true, _) => Outcome::Confirmed,
            (false, Back::NotAsked) => Outcome::Failed,
            (false, _) if !attempt.changed => Outcome::Failed,
            (false, back) => {
                self.record.attempt.journal = extract(since);
                self.roll_back(back)
            }
        };
        if self.record.outcome == Outcome::Failed {
            self.record.attempt.journal = extract(since);
        }
        self.end()
    }

    /// Activates the target.
    fn attempt(&mut self, target: &Target) -> Tried {
        match target {
            Target::Command(words) => self.run(words),
            Target::Known(generation) => Tried {
                generation: Some(generation.clone()),
                activated: self.activate(generation),
                changed: true,
            },
            Target::New(path, _) => match self.profile.add(path) {
                Ok(generation) => Tried {
                    activated: self.activate(&generation),
                    generation: Some(generation),
                    changed: true,
                },
                Err(error) => Tried {
                    generation: None,
                    activated: Err(format!("{error:#}")),
                    changed: false,
                },
            },
        }
    }

    /// Points the profile at a generation and lets it run.
    fn activate(&mut self, generation: &Generation) -> Result<Seen, String> {
        let said = |error: anyhow::Error| format!("{error:#}");
        let kind = Kind::of(&generation.path)?;
        if kind == Kind::Suite {
            links::put(&self.way.units, &self.profile, &generation.path).map_err(said)?;
        }
        self.profile.point(generation).map_err(said)?;
        // A unit that failed too often is not started any more; one that has not failed is refused this, which is no matter.
        let _ = machine::tell(&["reset-failed", QUEUE, CONFIG]);
        match kind {
            Kind::System => {
                machine::activate_system(&self.profile.link().join(SYSTEM_SWITCH), SYSTEM_LIMIT)?;
                Ok(Seen::default())
            }
            Kind::Suite => {
                machine::tell(&["daemon-reload"])?;
                let replaced = machine::unit(QUEUE)?.invocation;
                // Its readiness is waited for by the watch, which does not wait for ever.
                machine::tell(&["restart", "--no-block", QUEUE])?;
                Ok(Seen::replacing(replaced, self.way.ready_within.0))
            }
        }
    }

    /// Runs the command that brings a new generation, and looks at the queue meanwhile.
    fn run(&mut self, words: &[OsString]) -> Tried {
        let before = machine::unit(QUEUE).ok();
        let activated = self.command(words);
        let after = machine::unit(QUEUE).ok();
        let generation = self.profile.current();
        let same_queue =
            matches!((&before, &after), (Some(before), Some(after)) if before.invocation == after.invocation);
        let changed = !same_queue || generation.as_ref().ok() != Some(&self.record.from);
        Tried {
            generation: generation.ok().flatten(),
            activated: activated.map(|()| Seen::default()),
            changed,
        }
    }

    fn command(&mut self, words: &[OsString]) -> Result<(), String> {
        let [program, arguments @ ..] = words else {
            return Err("there is no command".to_owned());
        };
        let place = program.to_string_lossy();
        let said = |error: io::Error| format!("{place}: {error}");
        let mut command = Command::new(program);
        // Stdout is for this program's own answer.
        command.args(arguments).stdin(Stdio::null()).stdout(io::stderr());
        let mut child = command.process_group(0).spawn().map_err(said)?;
        loop {
            if let Ok(unit) = machine::unit(QUEUE) {
                self.outage.see(&unit);
            }
            match child.try_wait().map_err(said)? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("{place} ended with {status}")),
                None => thread::sleep(LOOK_EVERY),
            }
        }
    }

    /// Watches what was activated, and keeps what was seen.
    fn confirmed(&mut self, seen: Seen) -> bool {
        let Span(within) = self.way.within;
        let watched = watch(&self.context, seen, within, &mut self.outage, self.shutdown);
        self.record.attempt.confirmation = watched.report;
        watched.confirmed
    }

    fn roll_back(&mut self, back: Back) -> Outcome {
        let Back::To(generation) = back else {
            self.record
                .attempt
                .failure
                .get_or_insert_with(|| "there is no generation to go back to".to_owned());
            return Outcome::RollbackFailed;
        };
        console::print(&format!("not confirmed: back to {generation}"));
        let since = machine::clock_us();
        // One that is hung would use up all of its time to stop; the queue bears being killed at any moment. It may have
        // ended by itself.
        let _ = machine::tell(&["kill", "--signal=KILL", QUEUE]);
        let mut attempt = Attempt {
            generation: Some(generation.clone()),
            failure: None,
            confirmation: Report::default(),
            journal: Vec::new(),
        };
        let confirmed = match self.activate(&generation) {
            Ok(seen) => {
                let Span(within) = self.way.within;
                // Who asked to stop has asked for this.
                let watched = watch(
                    &self.context,
                    seen,
                    within,
                    &mut self.outage,
                    &Shutdown::default(),
                );
                attempt.confirmation = watched.report;
                watched.confirmed
            }
            Err(why) => {
                attempt.failure = Some(why);
                false
            }
        };
        if !confirmed {
            attempt.journal = extract(since);
        }
        self.record.rollback = Some(attempt);
        if confirmed {
            Outcome::RolledBack
        } else {
            Outcome::RollbackFailed
        }
    }

    /// The outcome is known: what stays is written, and told.
    fn end(mut self) -> Result<ExitCode> {
        self.record.training = Training::compare(&self.training, &machine::unit(TRAIN));
        // Going back would reach the run once more.
        if self.record.training.is_touched() && self.record.outcome == Outcome::Confirmed {
            self.record.outcome = Outcome::Failed;
        }
        self.record.exit_code = self.record.outcome.code();
        self.record.seconds = self.begun.elapsed().as_secs_f64();
        self.record.queue_down_seconds = self.outage.total(machine::uptime_us()).as_secs_f64();
        if let Err(error) = self.hold.finish() {
            console::print(&format!("azaion: {error:#}"));
        }
        match self.record.keep(&self.context.config.root_dir) {
            Ok(path) => console::print(&format!("report: {}", path.display())),
            Err(error) => console::print(&format!("azaion: the report could not be kept: {error:#}")),
        }
        program::answer(&match self.way.places.json {
            true => format!("{}\n", serde_json::to_string(&self.record)?),
            false => self.record.to_string(),
        });
        Ok(self.record.exit_code.into())
    }
}

/// A target that was activated, or not.
struct Tried {
    generation: Option<Generation>,
    activated: Result<Seen, String>,
    /// Whether there is anything to take back.
    changed: bool,
}

/// The journal of the queue and of what can block its start, since then.
fn extract(since: u64) -> Vec<Line> {
    let lines = machine::lines(&[QUEUE, CONFIG], EXTRACT).unwrap_or_else(|why| {
        console::print(&format!("azaion: no journal for the report: {why}"));
        Vec::new()
    });
    lines.into_iter().filter(|line| line.time_us >= since).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(number: u64) -> Generation {
        Generation {
            number,
            path: format!("/store/{number}").into(),
        }
    }

    fn left(profile: &Profile, from: u64) -> Unfinished {
        Unfinished {
            time: String::new(),
            pid: 1,
            profile: profile.link().to_owned(),
            from: Some(generation(from)),
            to: String::new(),
        }
    }

    #[test]
    fn what_nobody_has_confirmed_is_nothing_to_go_back_to() {
        let profile = Profile::new(Path::new("/profiles/azaion")).unwrap();
        let target = Target::New("/store/9".into(), Kind::Suite);
        let to = |left: Option<&Unfinished>, target| fallback(Some(generation(4)), left, &profile, target);
        assert_eq!(to(None, &target), Some(generation(4)));
        let cut_off = left(&profile, 3);
        assert_eq!(to(Some(&cut_off), &target), Some(generation(3)));
        let again = Target::New("/store/3".into(), Kind::Suite);
        assert_eq!(
            to(Some(&cut_off), &again),
            Some(generation(4)),
            "not to the target itself"
        );
        let other = Unfinished {
            profile: "/profiles/other".into(),
            ..cut_off
        };
        assert_eq!(to(Some(&other), &target), Some(generation(4)));
        assert_eq!(fallback(None, None, &profile, &target), None);
    }

    #[test]
    fn a_rollback_goes_to_the_one_before_or_to_the_one_that_was_confirmed() {
        let folder = tempfile::tempdir().unwrap();
        let profile = Profile::new(&folder.path().join("azaion")).unwrap();
        assert!(earlier(&profile, None, None).is_err());
        for number in 1..=3 {
            let added = profile.add(&generation(number).path).unwrap();
            profile.point(&added).unwrap();
        }
        assert_eq!(earlier(&profile, None, None).unwrap(), generation(2));
        assert_eq!(earlier(&profile, Some(1), None).unwrap(), generation(1));
        assert!(
            earlier(&profile, Some(7), None)
                .unwrap_err()
                .to_string()
                .contains("no generation 7")
        );
        assert_eq!(
            earlier(&profile, None, Some(&left(&profile, 1))).unwrap(),
            generation(1)
        );
        assert_eq!(
            earlier(&profile, None, Some(&left(&profile, 3))).unwrap(),
            generation(2),
            "it is there"
        );
        profile.point(&generation(1)).unwrap();
        assert!(earlier(&profile, None, None).is_err());
    }
}
