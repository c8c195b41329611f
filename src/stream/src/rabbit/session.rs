//! From one connection to the next: finding the stream, subscribing, keeping the connection alive, and trying again.

use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout},
};
use tracing::{info, warn};

use super::{
    Options, Patience, Progress, Standing, State,
    chunk::{HEADER_BYTES, Header},
    connection::{Connection, Outbound, accept},
    pump::{ALL_CHUNKS, Pump, Request, Waiting},
    trouble::{Stop, Trouble},
    wire::{self, Broker, Incoming, ResponseCode, Start, key},
};
use crate::{Error, Message};

/// The first and the longest pause before another attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A subscription that lived so long makes the pauses short again.
const STEADY: Duration = Duration::from_secs(30);
/// How long the end of a connection may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// How often brokers that tell where a stream ends are asked.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// How often it is looked up on those that do not.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// A stream that ends too early is looked at so often: just after a start, a broker may not know all of it yet.
const LOOKS_BEYOND_END: u32 = 3;

const SUBSCRIBING: (&str, &str) = (
    "the subscription",
    "check queue_name and the user's read permission; is the stream there?",
);

/// The number of the first subscription of a connection.
const FIRST_SUBSCRIPTION: u8 = 0;

/// Where messages go.
type Pieces = mpsc::UnboundedSender<Result<Vec<Message>, Error>>;

/// Reads until nobody wants more or something cannot be mended.
pub(super) async fn run(
    options: Options,
    state: Arc<State>,
    pieces: Pieces,
    mut ended: oneshot::Receiver<()>,
) {
    let mut session = Session {
        progress: Progress::new(options.from),
        options,
        state,
        pieces,
        holders: Vec::new(),
        failed: 0,
        beyond_end: 0,
        damaged: None,
    };
    loop {
        let (stop, lived) = session.connect(&mut ended).await;
        session.state.ledger.let_go(session.progress.handed);
        let pause = match stop {
            Stop::Abandoned => return,
            Stop::Fatal(error) => Err(error),
            Stop::Trouble(trouble) => session.take_in(trouble, lived),
        };
        let pause = match pause {
            Ok(pause) => pause,
            Err(error) => {
                session.stand(error.to_string());
                let _ = session.pieces.send(Err(error));
                return;
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            _ = &mut ended => return,
        }
    }
}

struct Session {
    options: Options,
    state: Arc<State>,
    progress: Progress,
    pieces: Pieces,
    /// Brokers to try before the configured one.
    holders: Vec<Broker>,
    /// Attempts that failed in a row.
    failed: u32,
    /// How often in a row the stream was found too short.
    beyond_end: u32,
    /// The offset of the chunk that came damaged the last time.
    damaged: Option<u64>,
}

impl Session {
    /// One connection from beginning to end: what ended it, and how long it was subscribed.
    async fn connect(&mut self, ended: &mut oneshot::Receiver<()>) -> (Stop, Duration) {
        self.state.sign();
        self.progress.next = self.progress.resume;
        self.progress.delivered = false;
        let broker = match self.holders.is_empty() {
            true => self.options.broker(),
            false => self.holders.remove(0),
        };
        let subscribing = async {
            let mut connection = Connection::open(&self.options, broker, &self.state).await?;
            match subscribe(&mut connection, &self.options, &self.state, self.progress.next).await {
                Ok(()) => Ok(connection),
                Err(trouble) => Err(elsewhere(&mut connection, &self.options, trouble).await),
            }
        };
        let connection = tokio::select! {
            connection = subscribing => connection,
            _ = &mut *ended => return (Stop::Abandoned, Duration::ZERO),
        };
        let mut connection = match connection {
            Ok(connection) => connection,
            Err(trouble) => return (trouble.into(), Duration::ZERO),
        };
        self.beyond_end = 0;
        let (host, port) = (&connection.broker.host, connection.broker.port);
        let (stream, offset, version) = (&self.options.stream, self.progress.next, &connection.version);
        info!(%host, port, stream, offset, %version, "subscribed");
        *self.state.standing() = Standing {
            subscribed: true,
            trouble: None,
        };
        let since = Instant::now();
        let (stop, subscription) = read(
            &mut connection,
            &self.options,
            &self.state,
            &mut self.progress,
            &self.pieces,
            ended,
        )
        .await;
        say_goodbye(&mut connection, &stop, subscription).await;
        (stop, since.elapsed())
    }

    /// Decides what a trouble means: another attempt after a pause, or an error that ends the reader.
    fn take_in(&mut self, trouble: Trouble, lived: Duration) -> Result<Duration, Error> {
        if self.progress.delivered || lived >= STEADY {
            self.failed = 0;
        }
        self.failed += 1;
        let stream = self.options.stream.clone();
        let words = trouble.to_string();
        match trouble {
            Trouble::BeyondEnd { from, next } => {
                self.beyond_end += 1;
                if self.beyond_end >= LOOKS_BEYOND_END {
                    return Err(Error::BeyondEnd { stream, from, next });
                }
            }
            Trouble::Damaged { offset, problem } => {
                let before = self.damaged.replace(offset);
                if before == Some(offset) {
                    let problem = problem.to_string();
                    return Err(Error::DamagedChunk {
                        stream,
                        offset,
                        problem,
                    });
                }
            }
            Trouble::Elsewhere(holders) => self.holders = holders,
            _ => {}
        }
        if let Patience::Tries(tries) = self.options.patience
            && self.failed >= tries
        {
            return Err(Error::Broker {
                stream,
                tries: self.failed,
                problem: words,
            });
        }
        let pause = pause(self.failed);
        let retry_ms = pause.as_millis() as u64;
        warn!(attempt = self.failed, retry_ms, error = %words, "no connection to the broker");
        self.stand(words);
        Ok(pause)
    }

    /// There is no subscription, for this reason.
    fn stand(&self, trouble: String) {
        *self.state.standing() = Standing {
            subscribed: false,
            trouble: Some(trouble),
        };
    }
}

/// Finds out where the stream ends, and asks for what is wanted of it.
async fn subscribe(
    connection: &mut Connection<'_>,
    options: &Options,
    state: &State,
    from: u64,
) -> Result<(), Trouble> {
    let next = end(connection, options, state, from).await?;
    state.end.store(next, Ordering::Relaxed);
    if from > next {
        return Err(Trouble::BeyondEnd { from, next });
    }
    connection
        .outbound
        .request(|id| {
            wire::subscribe(
                id,
                FIRST_SUBSCRIPTION,
                &options.stream,
                Start::Offset(from),
                1,
                ALL_CHUNKS,
            )
        })
        .await?;
    let (what, remedy) = SUBSCRIBING;
    connection.expect_ok(key::SUBSCRIBE, what, remedy).await?;
    state.ledger.subscribed(FIRST_SUBSCRIPTION);
    Ok(())
}

/// The offset after the last message, as far as it matters: at least `from` if the stream reaches that far.
///
/// Newer brokers tell where the last chunk begins. If `from` lies behind that, and on older ones, the last chunk itself
/// must be looked at.
async fn end(
    connection: &mut Connection<'_>,
    options: &Options,
    state: &State,
    from: u64,
) -> Result<u64, Trouble> {
    if connection.has_stats {
        connection
            .outbound
            .request(|id| wire::stream_stats(id, &options.stream))
            .await?;
        let Incoming::StreamStats { code, stats } = connection.answer().await? else {
            return Err(Trouble::OutOfTurn("to stream stats"));
        };
        let (what, remedy) = SUBSCRIBING;
        accept(code, what, remedy)?;
        let last = stats.iter().find(|(name, _)| name == "committed_chunk_id");
        if let Some(last) = last.and_then(|&(_, last)| u64::try_from(last).ok())
            && last >= from
        {
            return Ok(last.saturating_add(1));
        }
    }
    look_at_end(options, connection.broker.clone(), state).await
}

/// Looks where the last chunk ends, over a connection of its own: there it need not be read, however large it is.
///
/// A broker handles one request after the other, and what a subscription has to deliver goes before the answer to what
/// was asked next: if that comes first, the stream is empty.
async fn look_at_end(options: &Options, broker: Broker, state: &State) -> Result<u64, Trouble> {
    let mut connection = Connection::open(options, broker, state).await?;
    let Connection {
        inbound, outbound, ..
    } = &mut connection;
    outbound
        .request(|id| wire::subscribe(id, FIRST_SUBSCRIPTION, &options.stream, Start::Last, 1, &[]))
        .await?;
    outbound
        .request(|id| wire::unsubscribe(id, FIRST_SUBSCRIPTION))
        .await?;
    loop {
        let head = inbound.head().await?;
        if head.key == key::DELIVER {
            let [_subscription] = inbound.take().await?;
            if head.version >= wire::DELIVER_VERSION {
                inbound.take::<8>().await?;
            }
            let header = Header::parse(&inbound.take::<HEADER_BYTES>().await?);
            let header = header.map_err(|damage| Trouble::Damaged {
                offset: 0,
                problem: damage.into(),
            })?;
            return Ok(header.next_offset());
        }
        match inbound.content(head).await? {
            Incoming::Response {
                key: key::SUBSCRIBE,
                code,
                ..
            } => {
                let (what, remedy) = SUBSCRIBING;
                accept(code, what, remedy)?;
            }
            Incoming::Response {
                key: key::UNSUBSCRIBE,
                ..
            } => return Ok(0),
            Incoming::Close { id, code, reason } => return Err(Trouble::Closed { id, code, reason }),
            Incoming::MetadataUpdate { code, .. } => return Err(Trouble::Moved(code)),
            _ => {}
        }
    }
}

/// If a broker does not hold the stream, others may: those are asked for.
async fn elsewhere(connection: &mut Connection<'_>, options: &Options, trouble: Trouble) -> Trouble {
    let Trouble::Refused {
        code: ResponseCode::NOT_AVAILABLE,
        ..
    } = trouble
    else {
        return trouble;
    };
    let Ok(mut holders) = connection.holders(&options.stream).await else {
        return trouble;
    };
    holders.retain(|holder| *holder != connection.broker);
    match holders.is_empty() {
        true => trouble,
        false => Trouble::Elsewhere(holders),
    }
}

/// Reads a subscription to its end, and keeps the connection alive meanwhile. Also says which subscription was the last.
async fn read(
    connection: &mut Connection<'_>,
    options: &Options,
    state: &State,
    progress: &mut Progress,
    pieces: &Pieces,
    ended: &mut oneshot::Receiver<()>,
) -> (Stop, u8) {
    let (requests, to_send) = mpsc::unbounded_channel();
    let Connection {
        inbound,
        outbound,
        broker,
        has_stats,
        ..
    } = connection;
    let asking = ask_for_end(options, state, broker, has_stats.then(|| requests.clone()));
    let mut pump = Pump {
        options,
        state,
        progress,
        inbound,
        requests,
        pieces,
        subscription: FIRST_SUBSCRIPTION,
        reached: None,
        waiting: Waiting::default(),
    };
    let stop = tokio::select! {
        Err(stop) = pump.run() => stop,
        Err(trouble) = keep(outbound, state, options.heartbeat / 2, to_send) => trouble.into(),
        never = asking => match never {},
        _ = ended => Stop::Abandoned,
    };
    (stop, pump.subscription)
}

/// Sends what there is to send: requests, credits, and heartbeats when there was nothing else for a while.
async fn keep(
    outbound: &mut Outbound,
    state: &State,
    idle: Duration,
    mut requests: mpsc::UnboundedReceiver<Request>,
) -> Result<Infallible, Trouble> {
    loop {
        let silent_until = Instant::now() + idle;
        tokio::select! {
            // A subscription goes out before its credits.
            biased;
            Some(request) = requests.recv() => outbound.request(request).await?,
            (subscription, credit) = state.ledger.due() => {
                outbound.send(&wire::credit(subscription, credit)).await?;
            }
            () = sleep_until(silent_until) => outbound.send(&wire::heartbeat()).await?,
        }
    }
}

/// Asks now and then where the stream ends: with a request where the broker answers that, else by a look at it, but not
/// while nothing new arrives. A failure is left to the subscription to notice.
async fn ask_for_end(
    options: &Options,
    state: &State,
    broker: &Broker,
    requests: Option<mpsc::UnboundedSender<Request>>,
) -> Infallible {
    let mut ticks = interval(if requests.is_some() { ASK_EVERY } else { LOOK_EVERY });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut known = state.end.load(Ordering::Relaxed);
    loop {
        ticks.tick().await;
        match &requests {
            Some(requests) => {
                let stream = options.stream.clone();
                let _ = requests.send(Box::new(move |id| wire::stream_stats(id, &stream)));
            }
            None if known == state.end.load(Ordering::Relaxed) => {}
            None => {
                if let Ok(next) = look_at_end(options, broker.clone(), state).await {
                    state.saw_last(next.checked_sub(1));
                }
                known = state.end.load(Ordering::Relaxed);
            }
        }
    }
}

/// Ends a connection politely where the broker still listens.
async fn say_goodbye(connection: &mut Connection<'_>, stop: &Stop, subscription: u8) {
    match stop {
        Stop::Abandoned | Stop::Fatal(_) => {
            let _ = timeout(GOODBYE, connection.close(Some(subscription))).await;
        }
        Stop::Trouble(Trouble::Closed { id, .. }) => {
            let answer = wire::close_response(*id);
            let _ = timeout(GOODBYE, connection.outbound.send(&answer)).await;
        }
        Stop::Trouble(_) => {}
    }
}

/// The pause after so many failures: twice as long each time, the upper half of it random, so that many readers do not
/// come back at once.
fn pause(failed: u32) -> Duration {
    let doublings = failed.saturating_sub(1).min(10);
    let longest = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
    longest.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_minute_and_differ() {
        for (failed, longest) in [(1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (1000, 30.0)] {
            for _ in 0..100 {
                let pause = pause(failed).as_secs_f64();
                assert!(pause >= longest / 2.0 && pause <= longest, "{failed}: {pause}");
            }
        }
        assert_ne!(pause(7), pause(7));
    }
}
