//! The queue is watched until the verdict on it is clear, or the time is up.
//!
//! Service manager, journal and offset are asked twice a second. The broker and the disk may take their time: they are
//! asked aside, and count when they have answered.

use super::{
    facts::{State, Unit},
    machine::{self, QUEUE},
    outage::Outage,
    verdict::{Facts, LINES, Seen, Verdict, judge, verdict},
};
use crate::check::{Context, Finding, Report, broker, disk};
use queue::verbs;
use service::shutdown::Shutdown;
use std::{
    sync::{
        Arc,
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often the broker is asked, and how long it may take.
const BROKER_EVERY: Duration = Duration::from_secs(3);
const BROKER_LIMIT: Duration = Duration::from_secs(8);

/// How a watch ended.
#[derive(Debug)]
pub(super) struct Watched {
    pub confirmed: bool,
    /// Every sign, as it was at the end.
    pub report: Report,
}

/// Watches the queue for so long at most.
pub(super) fn watch(
    context: &Arc<Context>,
    mut seen: Seen,
    within: Duration,
    outage: &mut Outage,
    shutdown: &Shutdown,
) -> Watched {
    let begun = Instant::now();
    let offset_file = verbs::layout(&context.config).offset_file();
    let mut aside = Aside::new(context);
    loop {
        let unit = machine::unit(QUEUE);
        let offset = store::offset::read(&offset_file).map_err(|error| error.to_string());
        let now = begun.elapsed();
        if let Ok(unit) = &unit {
            outage.see(unit);
            seen.take(unit, offset.as_ref().ok().copied(), now);
        }
        let facts = Facts {
            lines: machine::lines(&[QUEUE], LINES),
            waiting: aside.waiting(&unit, offset.as_ref().ok().copied()),
            disk: aside.disk(),
            unit,
            offset,
        };
        let signs = judge(QUEUE, &facts, &seen, now);
        let asked_to_stop = shutdown.is_requested();
        let ended = match verdict(&signs) {
            Verdict::Wait if now < within && !asked_to_stop => {
                thread::sleep(LOOK_EVERY);
                continue;
            }
            ended => ended,
        };
        let mut report = Report::default();
        for (name, sign) in signs {
            report.add(name, vec![sign.finding()]);
        }
        if ended == Verdict::Wait && asked_to_stop {
            let next = "run it again, and let it end";
            report.add(
                "deploy",
                vec![Finding::problem("azaion deploy", "was asked to stop", next)],
            );
        }
        return Watched {
            confirmed: ended == Verdict::Confirmed,
            report,
        };
    }
}

/// What is asked aside. A question that is never answered ends with the process.
struct Aside {
    context: Arc<Context>,
    disk: Receiver<Vec<Finding>>,
    known_disk: Option<Vec<Finding>>,
    broker: Option<Receiver<Option<u64>>>,
    asked: Option<Instant>,
    known_waiting: Option<u64>,
}

impl Aside {
    fn new(context: &Arc<Context>) -> Self {
        let (sender, disk) = mpsc::channel();
        let asked = Arc::clone(context);
        thread::spawn(move || sender.send(disk::look(&asked)));
        Self {
            context: Arc::clone(context),
            disk,
            known_disk: None,
            broker: None,
            asked: None,
            known_waiting: None,
        }
    }

    fn disk(&mut self) -> Option<Vec<Finding>> {
        if let Ok(found) = self.disk.try_recv() {
            self.known_disk = Some(found);
        }
        self.known_disk.clone()
    }

    /// How many messages wait for a queue that is active; the last answer, and now and then a new question.
    fn waiting(&mut self, unit: &Result<Unit, String>, offset: Option<u64>) -> Option<u64> {
        if let Some(answer) = self.broker.as_ref().and_then(|broker| broker.try_recv().ok()) {
            self.known_waiting = answer;
            self.broker = None;
        }
        let is_active = unit.as_ref().is_ok_and(|unit| unit.active == State::Active);
        let is_due = self.asked.is_none_or(|asked| asked.elapsed() >= BROKER_EVERY);
        if let (None, true, true, Some(offset)) = (&self.broker, is_active, is_due, offset) {
            let (sender, answer) = mpsc::channel();
            let context = Arc::clone(&self.context);
            thread::spawn(move || {
                let waiting = broker::waiting(&context, offset, BROKER_LIMIT);
                if let Err(why) = &waiting {
                    tracing::info!(why, "the broker does not say how much it has");
                }
                sender.send(waiting.ok())
            });
            self.broker = Some(answer);
            self.asked = Some(Instant::now());
        }
        self.known_waiting
    }
}
