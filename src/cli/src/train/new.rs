//! `azaion train new`: a fine-tuning run from the model in service, when enough is new and the hour is right.
//!
//! Facts are gathered, and pure functions decide over them. A run that is to begin waits as an order ([`Next`]) for the next
//! start, which only the service manager or a person can give. New is what the last run's dataset does not have: a dataset
//! that nobody trained on has taught nothing.

use super::{NO, NewArgs};
use crate::program;
use ::dataset::{
    form::{News, news},
    manifest::Manifest,
};
use ::runs::{IN_SERVICE, Next, RUNS, Run};
use anyhow::{Context, Result};
use jiff::{Zoned, civil::Time};
use service::{
    Config,
    config::{Hours, Training},
};
use std::{fs, io, path::Path, process::ExitCode};

pub(super) fn run(args: &NewArgs) -> Result<ExitCode> {
    let config = Config::load(&args.config)?;
    let root = &config.root_dir;
    let moment = Moment {
        needed: config.training.new_annotations,
        hours: hours(&config.training)?,
        now: Zoned::now().time(),
        open: Run::open(root)?.map(|run| run.name()),
        in_service: in_service(root)?,
    };
    let model = match moment.base() {
        Ok(model) => model,
        Err(why) => return Ok(no(&why)),
    };
    let last = learned(root)?;
    let new = news(&config.data(), last.as_ref())?;
    let since = last.map(|manifest| manifest.name);
    match enough(new, moment.needed, since.as_deref()) {
        Ok(why) => {
            Next::new(model.to_owned(), why.clone()).order(root)?;
            program::answer(&format!("ordered, from {model}: {why}\n"));
            Ok(ExitCode::SUCCESS)
        }
        Err(why) => Ok(no(&why)),
    }
}

fn no(why: &str) -> ExitCode {
    program::answer(&format!("no run is ordered: {why}\n"));
    NO.into()
}

fn hours(training: &Training) -> Result<Option<Hours>> {
    Hours::parse(&training.hours).context("training.hours")
}

/// What does not depend on the annotations.
struct Moment {
    needed: u32,
    hours: Option<Hours>,
    now: Time,
    /// The run that is not finished.
    open: Option<String>,
    /// The model in service, relative to the folder of runs.
    in_service: Option<String>,
}

impl Moment {
    /// The model that a run may begin from now, or why none may.
    fn base(&self) -> Result<&str, String> {
        if self.needed == 0 {
            return Err("training.new_annotations is 0".to_owned());
        }
        if self.hours.is_some_and(|hours| !hours.contain(self.now)) {
            return Err(format!(
                "{} is not among training.hours",
                self.now.strftime("%H:%M")
            ));
        }
        if let Some(open) = &self.open {
            return Err(format!("{open} is not finished"));
        }
        let none = || "no model is in service: azaion train start begins the first run".to_owned();
        self.in_service.as_deref().ok_or_else(none)
    }
}

/// What is new, in words, if it suffices; else why it does not.
fn enough(news: News, needed: u32, since: Option<&str>) -> Result<String, String> {
    let since = since.unwrap_or("the beginning");
    let found = format!(
        "{} new annotations and {} relabelled ones since {since}",
        news.added, news.relabelled
    );
    if news.all() >= needed as usize {
        Ok(found)
    } else {
        Err(format!("{found}; training.new_annotations is {needed}"))
    }
}

/// The model in service, as a run records it: the run's own file, for the link moves on.
fn in_service(root: &Path) -> Result<Option<String>> {
    let link = root.join(RUNS).join(IN_SERVICE);
    if !link.exists() {
        return Ok(None);
    }
    match fs::read_link(&link) {
        Ok(target) => Ok(Some(target.to_string_lossy().into_owned())),
        // A file of its own.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(Some(IN_SERVICE.to_owned())),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", link.display())),
    }
}

/// What the latest run was trained on whose dataset is still there.
fn learned(root: &Path) -> Result<Option<Manifest>> {
    let runs = Run::all(root)?;
    let mut datasets = runs.iter().rev().map(|run| root.join(&run.dataset));
    Ok(datasets.find_map(|dataset| Manifest::read(&dataset).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment() -> Moment {
        Moment {
            needed: 100,
            hours: Hours::parse("22:00-06:00").unwrap(),
            now: Time::constant(23, 0, 0, 0),
            open: None,
            in_service: Some("azaion-2026-03-28/best.pt".into()),
        }
    }

    #[test]
    fn a_run_begins_from_the_model_in_service_when_nothing_speaks_against_it() {
        assert_eq!(moment().base(), Ok("azaion-2026-03-28/best.pt"));
        let any_time = Moment {
            hours: None,
            now: Time::midnight(),
            ..moment()
        };
        assert!(any_time.base().is_ok());
    }

    #[test]
    fn what_speaks_against_a_run_is_said() {
        let noon = Time::constant(12, 5, 0, 0);
        let open = Some("azaion-2026-03-29".to_owned());
        for (moment, why) in [
            (
                Moment {
                    needed: 0,
                    ..moment()
                },
                "training.new_annotations is 0",
            ),
            (
                Moment {
                    now: noon,
                    ..moment()
                },
                "12:05 is not among training.hours",
            ),
            (Moment { open, ..moment() }, "azaion-2026-03-29 is not finished"),
            (
                Moment {
                    in_service: None,
                    ..moment()
                },
                "no model is in service",
            ),
        ] {
            let said = moment.base().unwrap_err();
            assert!(said.starts_with(why), "{said}");
        }
    }

    #[test]
    fn new_and_relabelled_annotations_count_together() {
        let news = |added, relabelled| News { added, relabelled };
        let since = Some("azaion-2026-03-28");
        let why = enough(news(97, 3), 100, since).unwrap();
        assert_eq!(
            why,
            "97 new annotations and 3 relabelled ones since azaion-2026-03-28"
        );
        let why = enough(news(97, 2), 100, None).unwrap_err();
        assert!(
            why.ends_with("since the beginning; training.new_annotations is 100"),
            "{why}"
        );
    }

    #[test]
    fn the_model_in_service_is_named_by_the_run_that_it_is_of() {
        let root = tempfile::tempdir().unwrap();
        let models = root.path().join(RUNS);
        fs::create_dir_all(models.join("azaion-2026-03-28")).unwrap();
        assert_eq!(in_service(root.path()).unwrap(), None);
        let link = models.join(IN_SERVICE);
        std::os::unix::fs::symlink("azaion-2026-03-28/best.pt", &link).unwrap();
        assert_eq!(
            in_service(root.path()).unwrap(),
            None,
            "a link that leads nowhere"
        );
        fs::write(models.join("azaion-2026-03-28/best.pt"), "").unwrap();
        assert_eq!(
            in_service(root.path()).unwrap().as_deref(),
            Some("azaion-2026-03-28/best.pt")
        );
        fs::remove_file(&link).unwrap();
        fs::write(&link, "").unwrap();
        assert_eq!(in_service(root.path()).unwrap().as_deref(), Some(IN_SERVICE));
    }
}
