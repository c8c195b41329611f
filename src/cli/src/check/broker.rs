//! The broker: it lets us in, has the stream, and the stream has what was not read yet. A subscription is made as the queue
//! makes it, from the offset at which it would go on, and given up again.

use super::{Context, Finding};
use queue::{connection, verbs};
use std::time::Duration;
use stream::{
    Error, Limits, Link, Source as _,
    rabbit::{Options, Patience, RabbitSource},
};
use tokio::time::{sleep, timeout};

/// A second attempt shows whether the first one only came too early.
const TRIES: u32 = 2;
/// How long a broker may take for all of it.
const LIMIT: Duration = Duration::from_secs(20);
/// How long it is waited after the subscription for what the broker has to say against it.
const OBJECTIONS: Duration = Duration::from_millis(500);

pub(super) fn look(context: &Context) -> Vec<Finding> {
    let broker = &context.config.rabbitmq;
    let place = format!("{}:{}, stream {}", broker.host, broker.port, broker.queue_name);
    let paths = verbs::layout(&context.config);
    let from = match store::offset::read(&paths.offset_file()) {
        Ok(offset) => offset,
        Err(error) => {
            let next = "restore it from a backup: without it the queue does not know where to go on";
            return vec![Finding::problem(paths.offset_file().display(), error, next)];
        }
    };
    vec![match waiting(context, from, LIMIT) {
        Ok(waiting) => Finding::right(
            place,
            format!("subscribed at offset {from}; {waiting} messages are waiting"),
        ),
        Err(problem) => {
            // The reader's words end with what to do.
            let (what, next) = problem
                .split_once("; ")
                .unwrap_or((&problem, "see the broker's log"));
            Finding::problem(place, what, next)
        }
    }]
}

/// How many messages of the stream come at `from` and after, or what is wrong, in words that end with what to do.
pub(crate) fn waiting(context: &Context, from: u64, limit: Duration) -> Result<u64, String> {
    let options = Options {
        patience: Patience::Tries(TRIES),
        ..connection(&context.config, &context.credentials, from)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("{error}; the system is out of threads or files"))?;
    let link = runtime.block_on(subscribe(options, limit))?;
    Ok(link.last_offset.map_or(0, |last| (last + 1).saturating_sub(from)))
}

async fn subscribe(options: Options, limit: Duration) -> Result<Link, String> {
    let mut source = RabbitSource::start(options);
    let mut watch = source.watch();
    let asked = async {
        tokio::select! {
            // Messages that come before anything else are as good as a subscription.
            next = source.next(Limits::default()) => next.map(drop),
            _ = async { let _ = watch.wait_for(|link| link.subscribed).await; sleep(OBJECTIONS).await } => Ok(()),
        }
    };
    let asked = timeout(limit, asked).await;
    let link = source.watch().borrow().clone();
    source.close().await;
    match asked {
        Ok(Ok(())) => Ok(link),
        Ok(Err(Error::Broker { problem, .. })) => Err(problem),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(link
            .trouble
            .unwrap_or_else(|| format!("it did not answer within {} s", limit.as_secs()))),
    }
}
