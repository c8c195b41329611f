//! TLS: the broker must prove its name with an authority that is trusted.

use std::{fs, path::PathBuf, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use stream::rabbit::RabbitSource;
use tempfile::TempDir;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

use crate::{
    SMALL,
    broker::{Broker, Faults},
    error_of, read_to, seen, small_stream,
};

/// An authority of its own: a broker's side for `name`, and the file by which it is trusted.
fn authority(name: &str) -> (TlsAcceptor, TempDir, PathBuf) {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = parameters.self_signed(&key).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authority.pem");
    fs::write(&file, certificate.pem()).unwrap();

    let server_key = KeyPair::generate().unwrap();
    let issuer = Issuer::new(parameters, key);
    let server = CertificateParams::new(vec![name.to_owned()])
        .unwrap()
        .signed_by(&server_key, &issuer)
        .unwrap();
    let configuration = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![server.der().clone()],
            PrivateKeyDer::try_from(server_key.serialize_der()).unwrap(),
        )
        .unwrap();
    (TlsAcceptor::from(Arc::new(configuration)), folder, file)
}

async fn broker(acceptor: TlsAcceptor) -> Broker {
    Broker::start_with(small_stream(), Faults::default(), Some(acceptor)).await
}

#[tokio::test]
async fn a_broker_that_proves_its_name_is_read() {
    for name in ["localhost", "127.0.0.1"] {
        let (acceptor, _folder, file) = authority(name);
        let broker = broker(acceptor).await;
        let mut options = broker.options_tls(&file);
        options.host = name.to_owned();
        let messages = read_to(&mut RabbitSource::start(options), 6).await.unwrap();
        assert_eq!(seen(&messages), SMALL);
    }
}

#[tokio::test]
async fn a_broker_of_another_name_is_refused() {
    let (acceptor, _folder, file) = authority("cells.example");
    let broker = broker(acceptor).await;
    let error = error_of(broker.options_tls(&file)).await.to_string();
    assert!(
        error.contains("no secure connection") && error.contains("cells.example"),
        "{error}"
    );
}

#[tokio::test]
async fn an_authority_that_is_not_trusted_is_refused() {
    let (acceptor, ..) = authority("127.0.0.1");
    let (_, _folder, other) = authority("127.0.0.1");
    let broker = broker(acceptor).await;
    let error = error_of(broker.options_tls(&other)).await.to_string();
    assert!(error.contains("no secure connection"), "{error}");
    let mut options = broker.options_tls(&other);
    options.tls = Some(stream::rabbit::Tls::default());
    let error = error_of(options).await.to_string();
    assert!(
        error.contains("certificates") || error.contains("no secure connection"),
        "{error}"
    );
}

#[tokio::test]
async fn a_file_without_a_certificate_is_an_error_that_names_it() {
    let (acceptor, folder, _) = authority("127.0.0.1");
    let broker = broker(acceptor).await;
    let empty = folder.path().join("empty.pem");
    fs::write(&empty, "no certificate").unwrap();
    for file in [empty, folder.path().join("missing.pem")] {
        let error = error_of(broker.options_tls(&file)).await.to_string();
        assert!(
            error.contains(file.to_str().unwrap()) && error.contains("tls_ca_file"),
            "{error}"
        );
    }
}
