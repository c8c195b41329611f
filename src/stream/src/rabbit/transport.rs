//! A connection's bytes: TCP, with or without TLS.
//!
//! Certificates are always verified, against the system's authorities or those of a file, and the name must be the
//! host's; there is no way around it.

use std::{io, path::Path, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

use super::{Tls, trouble::Trouble, wire::Broker};

/// Bytes both ways.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Connects to a broker within `patience`.
pub(super) async fn connect(
    broker: &Broker,
    tls: Option<&Tls>,
    patience: Duration,
) -> Result<Box<dyn Duplex>, Trouble> {
    let address = format!("{}:{}", broker.host, broker.port);
    let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
    let connecting = TcpStream::connect((broker.host.as_str(), broker.port));
    let connected = timeout(patience, connecting)
        .await
        .unwrap_or_else(|_| Err(late()));
    let tcp = connected.and_then(|tcp| tcp.set_nodelay(true).map(|()| tcp));
    let tcp = tcp.map_err(|source| Trouble::Connect {
        address: address.clone(),
        source,
    })?;
    let Some(tls) = tls else {
        return Ok(Box::new(tcp));
    };
    let name =
        ServerName::try_from(broker.host.clone()).map_err(|_| Trouble::HostName(broker.host.clone()))?;
    let connector = TlsConnector::from(Arc::new(configuration(tls)?));
    let secured = timeout(patience, connector.connect(name, tcp)).await;
    let secured = secured.unwrap_or_else(|_| Err(late()));
    let secured = secured.map_err(|source| Trouble::Tls { address, source })?;
    Ok(Box::new(secured))
}

fn configuration(tls: &Tls) -> Result<ClientConfig, Trouble> {
    let authorities = match &tls.ca_file {
        Some(path) => from_file(path)?,
        None => from_system()?,
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Trouble::NoAuthorities(error.to_string()))?;
    Ok(builder.with_root_certificates(authorities).with_no_client_auth())
}

fn from_file(path: &Path) -> Result<RootCertStore, Trouble> {
    let unusable = |problem: String| Trouble::Authority {
        path: path.to_owned(),
        problem,
    };
    let mut store = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        store
            .add(certificate)
            .map_err(|error| unusable(error.to_string()))?;
    }
    if store.is_empty() {
        return Err(unusable("there is no certificate in it".into()));
    }
    Ok(store)
}

fn from_system() -> Result<RootCertStore, Trouble> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        let problem = found.errors.first().map(ToString::to_string);
        return Err(Trouble::NoAuthorities(
            problem.unwrap_or_else(|| "none were found".into()),
        ));
    }
    Ok(store)
}
