//! The broker: it lets us in, has the stream, and the stream has what was not read yet. A subscription is made as the queue
//! makes it, from the offset at which it would go on, and given up again.

use super::{Context, Finding};
use queue::verbs;
use std::time::Duration;

/// How long a broker may take for all of it.
const LIMIT: Duration = Duration::from_secs(20);

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
    let link = queue::ask(&context.config, &context.credentials, from, limit)?;
    Ok(link.last_offset.map_or(0, |last| (last + 1).saturating_sub(from)))
}
