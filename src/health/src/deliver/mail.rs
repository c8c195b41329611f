//! Alerts as e-mail, over SMTP with STARTTLS or TLS, whose certificate is verified.

use super::{Channel, Words, words};
use crate::alerts::{Notice, Occasion};
use lettre::{
    Message, SmtpTransport, Transport,
    message::{Mailbox, header},
    transport::smtp::{
        authentication::Credentials as Login,
        client::{Certificate, Tls, TlsParameters},
        extension::ClientId,
    },
};
use service::{Config, Credentials};
use std::{fs, time::Duration};

/// How long the server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(4);

/// A mail server and whom it tells.
pub(super) struct Mail {
    transport: SmtpTransport,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Mail {
    pub(super) fn of(config: &Config, credentials: &Credentials) -> Result<Self, String> {
        let alerts = &config.alerts;
        let host = alerts.smtp_host.clone().unwrap_or_default();
        let mailbox = |text: &str| {
            text.trim()
                .parse::<Mailbox>()
                .map_err(|error| format!("{text}: {error}"))
        };
        let from = mailbox(alerts.mail_from.as_deref().unwrap_or_default())?;
        let to = alerts.mail_to.iter().flat_map(|all| all.split(',')).map(mailbox);
        let to = to.collect::<Result<_, _>>()?;
        let tls = || {
            let mut parameters = TlsParameters::builder(host.clone());
            if let Some(file) = &alerts.smtp_ca_file {
                let pem = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
                let certificate =
                    Certificate::from_pem(&pem).map_err(|error| format!("{}: {error}", file.display()))?;
                parameters = parameters.add_root_certificate(certificate);
            }
            parameters.build().map_err(|error| error.to_string())
        };
        let tls = match alerts.smtp_security.as_str() {
            "none" => Tls::None,
            "tls" => Tls::Wrapper(tls()?),
            _ => Tls::Required(tls()?),
        };
        let mut transport = SmtpTransport::builder_dangerous(&host)
            .port(alerts.smtp_port)
            .timeout(Some(PATIENCE))
            .hello_name(ClientId::Domain(super::host()))
            .tls(tls);
        if let Some(user) = &alerts.smtp_user {
            let password = config
                .smtp_password(credentials)
                .map_err(|error| error.to_string())?;
            let password = password.map_or_else(String::new, |password| password.expose().to_owned());
            transport = transport.credentials(Login::new(user.clone(), password));
        }
        Ok(Self {
            transport: transport.build(),
            from,
            to,
        })
    }
}

impl Channel for Mail {
    fn tell(&self, notices: &[Notice], words: &Words) -> Result<(), String> {
        let urgent = words::leading(notices).is_some_and(|first| {
            first.occasion != Occasion::Resolved && first.severity >= crate::catalog::Severity::High
        });
        let mut message = Message::builder()
            .from(self.from.clone())
            .subject(words::subject(notices, words))
            .header(header::ContentType::TEXT_PLAIN);
        for to in &self.to {
            message = message.to(to.clone());
        }
        if urgent {
            message = message.raw_header(header::HeaderValue::new(
                header::HeaderName::new_from_ascii_str("Importance"),
                "high".to_owned(),
            ));
        }
        let message = message
            .body(words::text(notices, words))
            .map_err(|error| error.to_string())?;
        self.transport
            .send(&message)
            .map(drop)
            .map_err(|error| told(&error))
    }
}

/// What went wrong, with what lies beneath it.
fn told(error: &lettre::transport::smtp::Error) -> String {
    let mut text = error.to_string();
    let mut beneath = std::error::Error::source(error);
    while let Some(error) = beneath {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        beneath = error.source();
    }
    text
}
