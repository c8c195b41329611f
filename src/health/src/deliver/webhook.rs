//! Alerts to a webhook: everything as JSON, or in the forms of Slack and ntfy.
//!
//! Slack's incoming webhooks take `{"text": ...}`; ntfy takes the text as the body and title, priority and tags as headers
//! (docs.ntfy.sh, "Publishing"). The address is a secret, and no error message holds it.

use super::{Channel, Words, words};
use crate::{
    alerts::{Notice, Occasion},
    catalog::Severity,
};
use service::{Config, Credentials, Secret};
use std::{sync::Arc, time::Duration};
use ureq::{
    Agent,
    tls::{Certificate, RootCerts, TlsConfig},
};

/// How long a server may take for all of it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Forms of what is posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Slack,
    Ntfy,
}

/// An address and what it takes.
pub(super) struct Webhook {
    url: Secret,
    form: Form,
}

impl Webhook {
    /// The one that is configured.
    pub(super) fn of(config: &Config, credentials: &Credentials) -> Result<Option<Self>, String> {
        let form = match config.alerts.webhook_format.as_str() {
            "slack" => Form::Slack,
            "ntfy" => Form::Ntfy,
            _ => Form::Json,
        };
        let url = config
            .webhook_url(credentials)
            .map_err(|error| error.to_string())?;
        url.map(|url| {
            Ok(Self {
                url: safe(url)?,
                form,
            })
        })
        .transpose()
    }
}

impl Channel for Webhook {
    fn tell(&self, notices: &[Notice], words: &Words) -> Result<(), String> {
        let (subject, text) = (words::subject(notices, words), words::text(notices, words));
        let request = agent().post(self.url.expose());
        match self.form {
            Form::Json => {
                let body = serde_json::json!({
                    "version": 1, "host": words.host, "runbook": words.runbook, "subject": subject, "text": text, "notices": notices,
                });
                sent(
                    request
                        .header("Content-Type", "application/json")
                        .send(body.to_string()),
                )
            }
            Form::Slack => {
                let body = serde_json::json!({ "text": format!("*{subject}*\n```{text}```") });
                sent(
                    request
                        .header("Content-Type", "application/json")
                        .send(body.to_string()),
                )
            }
            Form::Ntfy => {
                let (priority, tag) = urgency(notices);
                // Headers are ASCII.
                let title: String = subject
                    .chars()
                    .map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' })
                    .collect();
                let request = request
                    .header("Title", title)
                    .header("Priority", priority)
                    .header("Tags", tag);
                sent(request.send(text))
            }
        }
    }
}

fn urgency(notices: &[Notice]) -> (&'static str, &'static str) {
    match words::leading(notices).map(|first| (first.occasion, first.severity)) {
        None | Some((Occasion::Resolved | Occasion::Test, _)) => ("default", "white_check_mark"),
        Some((_, Severity::Critical)) => ("urgent", "rotating_light"),
        Some((_, Severity::High)) => ("high", "warning"),
        Some((_, Severity::Medium)) => ("default", "warning"),
        Some((_, Severity::Low)) => ("low", "information_source"),
    }
}

/// An address that secrets may be sent to.
pub(super) fn safe(url: Secret) -> Result<Secret, String> {
    if service::config::is_safe_url(url.expose()) {
        Ok(url)
    } else {
        Err("its address must begin with https:// (http:// only for this machine)".to_owned())
    }
}

/// What asks: it follows no redirection, for that would hand a secret on.
pub(super) fn agent() -> Agent {
    let roots = rustls_native_certs::load_native_certs().certs;
    let roots: Vec<_> = roots
        .iter()
        .map(|one| Certificate::from_der(one).to_owned())
        .collect();
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::new_with_certs(&roots))
        .build();
    Agent::new_with_config(
        Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(PATIENCE))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("azaion/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .build(),
    )
}

/// What became of a request. Errors of the library may hold the address, so of those only the kind is told.
pub(super) fn sent(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<(), String> {
    match answer {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => Err(format!("it answered {}", response.status())),
        Err(ureq::Error::Timeout(_)) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        Err(ureq::Error::Io(error)) => Err(error.to_string()),
        Err(ureq::Error::HostNotFound) => Err("its name leads nowhere".to_owned()),
        Err(ureq::Error::ConnectionFailed) => Err("it takes no connection".to_owned()),
        Err(ureq::Error::Rustls(error)) => Err(error.to_string()),
        Err(_) => Err("the request failed".to_owned()),
    }
}
