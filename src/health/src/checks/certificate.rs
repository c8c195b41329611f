//! Certificates: when do the broker's, and those that vouch for it, expire? Asked in full passes.
//!
//! The broker's is taken from a handshake that verifies it as the queue does; one that is not valid any more is told by that.

use super::{Context, Found, found};
use crate::{Reading, catalog};
use jiff::{SignedDuration, Timestamp};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use std::{
    fs,
    net::{TcpStream, ToSocketAddrs},
    path::Path,
    sync::Arc,
    time::Duration,
};
use x509_parser::prelude::{FromDer, X509Certificate};

const CHECK: &str = "certificate";
/// It is told so long before.
const SOON: SignedDuration = SignedDuration::from_hours(21 * 24);
const LIMIT: Duration = Duration::from_secs(4);

pub(super) fn look(context: &Context) -> Found {
    let broker = &context.config.rabbitmq;
    if !broker.tls {
        return Found::default();
    }
    let mut readings = Vec::new();
    if let Some(file) = &broker.tls_ca_file {
        readings.push(match from_file(file) {
            Ok(certificates) => judge(context, &file.display().to_string(), &certificates),
            Err(why) => Reading::problem(CHECK, file.display(), why).about(catalog::CERTIFICATE),
        });
    }
    let place = format!("{}:{}", broker.host, broker.port);
    readings.push(match of_broker(context) {
        Ok(certificates) => judge(context, &place, &certificates),
        Err(Trouble::Certificate(why)) => Reading::problem(CHECK, &place, why).about(catalog::CERTIFICATE),
        // That it cannot be reached is another check's.
        Err(Trouble::Else(why)) => Reading::skipped(CHECK, &place, why),
    });
    found(readings)
}

/// By the one that expires first.
fn judge(context: &Context, place: &str, certificates: &[CertificateDer<'_>]) -> Reading {
    let Some(end) = certificates.iter().filter_map(|one| expires(one)).min() else {
        return Reading::problem(CHECK, place, "no certificate that can be read").about(catalog::CERTIFICATE);
    };
    let left = end.duration_since(context.now);
    let day = end.strftime("%F");
    let reading = if left <= SignedDuration::ZERO {
        Reading::problem(CHECK, place, format!("expired on {day}"))
    } else if left < SOON {
        Reading::warning(
            CHECK,
            place,
            format!("expires on {day}, in {}", super::disk::hours(left)),
        )
    } else {
        Reading::ok(CHECK, place, format!("expires on {day}"))
    };
    reading.about(catalog::CERTIFICATE)
}

fn expires(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()
}

fn from_file(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = fs::read(file).map_err(|error| error.to_string())?;
    CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("no certificates: {error}"))
}

enum Trouble {
    Certificate(String),
    Else(String),
}

fn of_broker(context: &Context) -> Result<Vec<CertificateDer<'static>>, Trouble> {
    let other = |why: String| Trouble::Else(why);
    let broker = &context.config.rabbitmq;
    let mut roots = RootCertStore::empty();
    match &broker.tls_ca_file {
        Some(file) => {
            for certificate in from_file(file).map_err(Trouble::Certificate)? {
                roots
                    .add(certificate)
                    .map_err(|error| Trouble::Certificate(error.to_string()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| other(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(broker.host.clone()).map_err(|error| other(error.to_string()))?;
    let mut link = ClientConnection::new(Arc::new(config), name).map_err(|error| other(error.to_string()))?;
    let address = (broker.host.as_str(), broker.port)
        .to_socket_addrs()
        .ok()
        .and_then(|mut all| all.next())
        .ok_or_else(|| other("the name leads nowhere".into()))?;
    let mut socket = TcpStream::connect_timeout(&address, LIMIT).map_err(|error| other(error.to_string()))?;
    let limited = socket
        .set_read_timeout(Some(LIMIT))
        .and_then(|()| socket.set_write_timeout(Some(LIMIT)));
    limited.map_err(|error| other(error.to_string()))?;
    while link.is_handshaking() {
        link.complete_io(&mut socket).map_err(|error| {
            let inner = error
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match inner {
                Some(rustls::Error::InvalidCertificate(why)) => {
                    Trouble::Certificate(format!("the broker's certificate is refused: {why}"))
                }
                _ => other(error.to_string()),
            }
        })?;
    }
    let shown = link.peer_certificates().unwrap_or_default();
    Ok(shown.iter().map(|one| one.clone().into_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::{super::tests::context, *};
    use crate::Grade;

    #[test]
    fn a_certificate_is_told_of_three_weeks_before_it_expires() {
        let root = tempfile::tempdir().unwrap();
        let mut context = context(root.path());
        let mut params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2026, 6, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let file = root.path().join("ca.pem");
        fs::write(&file, certificate.pem()).unwrap();
        context.config.rabbitmq.tls = true;
        context.config.rabbitmq.tls_ca_file = Some(file.clone());
        context.config.rabbitmq.port = 1;
        let mut on = |day: &str| {
            context.now = format!("{day}T00:00:00Z").parse().unwrap();
            let readings = look(&context).readings;
            (readings[0].grade, readings[0].what.clone())
        };
        assert_eq!(on("2026-05-01"), (Grade::Ok, "expires on 2026-06-01".into()));
        assert_eq!(
            on("2026-05-20"),
            (Grade::Warning, "expires on 2026-06-01, in 12 days".into())
        );
        assert_eq!(on("2026-06-02"), (Grade::Problem, "expired on 2026-06-01".into()));
        fs::write(&file, "no certificate").unwrap();
        assert_eq!(on("2026-05-01").0, Grade::Problem);
    }
}
