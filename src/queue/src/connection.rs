//! How the broker of the configuration is reached.

use std::sync::Arc;
use std::time::Duration;

use service::{Config, Credentials};
use stream::rabbit::{Options, Tls};
use zeroize::Zeroizing;

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

/// Bytes of so many megabytes.
#[must_use]
pub fn megabytes(number: u32) -> usize {
    number as usize * 1_000_000
}
