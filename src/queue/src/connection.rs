//! How the broker of the configuration is reached.

use std::sync::Arc;
use std::time::Duration;

use service::{Config, Credentials};
use stream::rabbit::{Options, Patience, RabbitSource, Tls};
use stream::{Error, Limits, Link, Source as _};
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

/// A second attempt shows whether the first one only came too early.
const TRIES: u32 = 2;
/// How long it is waited after the subscription for what the broker has to say against it.
const OBJECTIONS: Duration = Duration::from_millis(500);

/// The stream that `config` names, from offset `from` on. The password is looked up anew for every connection, among
/// `credentials` first: it may have been changed.
#[must_use]
pub fn connection(config: &Config, credentials: &Credentials, from: u64) -> Options {
    let broker = config.rabbitmq.clone();
    let (secrets, credentials) = (config.clone(), credentials.clone());
    let password = move || match secrets.rabbitmq_password(&credentials) {
        Ok(secret) => Ok(Zeroizing::new(secret.expose().to_owned())),
        Err(error) => Err(error.to_string()),
    };
    Options {
        host: broker.host,
        port: broker.port,
        tls: broker.tls.then_some(Tls {
            ca_file: broker.tls_ca_file,
        }),
        virtual_host: broker.virtual_host,
        from,
        heartbeat: Duration::from_secs(broker.heartbeat_s.into()),
        buffer: megabytes(broker.buffer_mb),
        accept_loss_before: broker.accept_loss_before,
        ..Options::new(broker.queue_name, broker.user, Arc::new(password))
    }
}

/// How the stream is, seen by one that subscribes at `from` as the queue does and gives the subscription up again; or what is
/// wrong, in words that end with what to do.
///
/// # Errors
/// The broker cannot be reached, lets nobody in, or has something against the subscription.
pub fn ask(config: &Config, credentials: &Credentials, from: u64, limit: Duration) -> Result<Link, String> {
    let options = Options {
        patience: Patience::Tries(TRIES),
        ..connection(config, credentials, from)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("{error}; the system is out of threads or files"))?;
    runtime.block_on(subscribe(options, limit))
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

/// Bytes of so many megabytes.
#[must_use]
pub fn megabytes(number: u32) -> usize {
    number as usize * 1_000_000
}
