//! Certificates made for one test: an authority, and what it vouches for.

use std::path::{Path, PathBuf};
use std::{fs, io};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use thiserror::Error;

/// Why there are no certificates.
#[derive(Debug, Error)]
pub enum TlsError {
    /// They could not be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// They could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The authority's file in the folder that [`write_certificates`] is given.
pub(crate) const AUTHORITY: &str = "ca.pem";
pub(crate) const CERTIFICATE: &str = "certificate.pem";
pub(crate) const KEY: &str = "key.pem";

/// Writes the certificate of a new authority, which has vouched for nothing, to `path`.
///
/// # Errors
/// [`TlsError`].
pub fn write_authority(path: &Path) -> Result<(), TlsError> {
    write(path, &authority()?.pem())
}

/// Writes a new authority and a certificate of 127.0.0.1 and localhost that it signed.
pub(crate) fn write_certificates(folder: &Path) -> Result<(), TlsError> {
    fs::create_dir_all(folder).map_err(|source| TlsError::Write {
        path: folder.to_owned(),
        source,
    })?;
    let authority = authority()?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()])?;
    params
        .distinguished_name
        .push(DnType::CommonName, "broker of a test");
    let certificate = params.signed_by(&key, &authority)?;
    write(&folder.join(AUTHORITY), &authority.pem())?;
    write(&folder.join(CERTIFICATE), &certificate.pem())?;
    write(&folder.join(KEY), &key.serialize_pem())
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params
        .distinguished_name
        .push(DnType::CommonName, "authority of a test");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

fn write(path: &Path, text: &str) -> Result<(), TlsError> {
    fs::write(path, text).map_err(|source| TlsError::Write {
        path: path.to_owned(),
        source,
    })
}
