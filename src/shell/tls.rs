//! TLS of every listener and of the way out to an external broker: rustls on ring, certificates reloaded without dropping sockets.
//!
//! **One contract: a listener never loses a working certificate.** [`ServerTls`] reads its files again when they change (or on
//! SIGHUP, [`Reloader::now`]); if what is there then does not fit together, the old certificate stays and the error is logged.
//! Connections that are open keep what they were opened with; new ones get the new certificate.
//!
//! Limits: TLS 1.2 and 1.3; no revocation lists; a client's certificate is checked against `client_ca` alone.

use crate::config::{ClientIdentity, Plaintext, Tls};
use crate::time::Timestamp;
use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Files are looked at so often for a change, seconds.
const WATCH_EVERY_S: u64 = 5;
/// Longest name taken from a certificate, bytes.
const NAME_BYTES_MAX: usize = 200;

/// What is wrong with a certificate, a key or an authority.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path}: {source}{hint}")]
    Read { path: PathBuf, source: std::io::Error, hint: &'static str },
    #[error("{path}: no certificate in PEM form found (expected `-----BEGIN CERTIFICATE-----`)")]
    NoCertificate { path: PathBuf },
    #[error("{path}: no usable private key in PEM form found (expected `-----BEGIN PRIVATE KEY-----`, not encrypted)")]
    NoKey { path: PathBuf },
    #[error("{path}: the certificate cannot be read: {what}")]
    Certificate { path: PathBuf, what: String },
    #[error("certificate {certificate} and key {key} do not belong together or cannot be used: {what}")]
    Pair { certificate: PathBuf, key: PathBuf, what: String },
    #[error("{path}: not usable as an authority: {what}")]
    Authority { path: PathBuf, what: String },
    #[error("the system's certificate authorities cannot be read: {what}")]
    System { what: String },
}

/// A listener beyond loopback without TLS and without the word that allows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what}: {address} can be reached from other machines, and neither TLS is configured nor `plaintext = \"allowed\"`; \
     set one of them or listen on 127.0.0.1"
)]
pub struct PlaintextRefused {
    pub what: String,
    pub address: SocketAddr,
}

/// Whether a listener may run: on loopback always, beyond it with TLS or with `plaintext = "allowed"`.
pub fn check_plaintext(
    what: &str,
    address: SocketAddr,
    tls: Option<&Tls>,
    plaintext: Option<Plaintext>,
) -> Result<(), PlaintextRefused> {
    let loopback = address.ip().to_canonical().is_loopback();
    if loopback || tls.is_some() || plaintext == Some(Plaintext::Allowed) {
        return Ok(());
    }
    Err(PlaintextRefused { what: what.to_owned(), address })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| {
        let hint = match source.kind() {
            std::io::ErrorKind::PermissionDenied => " (the service's user must be able to read it)",
            _ => "",
        };
        TlsError::Read { path: path.to_owned(), source, hint }
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match list {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(TlsError::NoCertificate { path: path.to_owned() }),
        Err(e) => Err(TlsError::Certificate { path: path.to_owned(), what: e.to_string() }),
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = read(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if std::fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o077 != 0) {
            tracing::warn!(path = %path.display(), "private key can be read by other users of this machine (chmod 600)");
        }
    }
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsError::NoKey { path: path.to_owned() })
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|e| TlsError::Authority { path: path.to_owned(), what: e.to_string() })?;
    }
    Ok(roots)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A listener's configuration, from its files as they are now.
pub fn server_config(files: &Tls) -> Result<ServerConfig, TlsError> {
    let (chain, private) = (certificates(&files.certificate)?, key(&files.key)?);
    let pair = |e: rustls::Error| {
        let what = match e {
            rustls::Error::InconsistentKeys(_) => "the key is not the one of this certificate".to_owned(),
            other => other.to_string(),
        };
        TlsError::Pair { certificate: files.certificate.clone(), key: files.key.clone(), what }
    };
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(pair)?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(authorities(path)?);
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots, provider())
                .build()
                .map_err(|e| TlsError::Authority { path: path.clone(), what: e.to_string() })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    builder.with_single_cert(chain, private).map_err(pair)
}

/// The configuration towards an external broker: its authority (or the system's), and our certificate where it wants one.
pub fn client_config(ca: Option<&Path>, identity: Option<&ClientIdentity>) -> Result<ClientConfig, TlsError> {
    let roots = match ca {
        Some(path) => authorities(path)?,
        None => {
            let mut roots = RootCertStore::empty();
            let found = rustls_native_certs::load_native_certs();
            let (added, _) = roots.add_parsable_certificates(found.certs);
            if added == 0 {
                let what = found.errors.first().map_or("none found; set `ca`".to_owned(), ToString::to_string);
                return Err(TlsError::System { what });
            }
            roots
        }
    };
    let system = |e: rustls::Error| TlsError::System { what: e.to_string() };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(system)?
        .with_root_certificates(roots);
    match identity {
        None => Ok(builder.with_no_client_auth()),
        Some(files) => builder
            .with_client_auth_cert(certificates(&files.certificate)?, key(&files.key)?)
            .map_err(|e| TlsError::Pair { certificate: files.certificate.clone(), key: files.key.clone(), what: e.to_string() }),
    }
}

/// The configuration towards a listener of our own: only the certificate in its files is accepted, whoever signed it and
/// whatever name it carries. Where the listener wants a client's certificate, its own is shown.
pub fn own_client_config(files: &Tls) -> Result<ClientConfig, TlsError> {
    let chain = certificates(&files.certificate)?;
    let pinned = Arc::new(Pinned { certificate: chain[0].clone(), provider: provider() });
    let pair = |e: rustls::Error| {
        let (certificate, key) = (files.certificate.clone(), files.key.clone());
        TlsError::Pair { certificate, key, what: e.to_string() }
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .dangerous()
        .with_custom_certificate_verifier(pinned);
    match files.client_ca {
        None => Ok(builder.with_no_client_auth()),
        Some(_) => builder.with_client_auth_cert(chain, key(&files.key)?).map_err(pair),
    }
}

/// Accepts one certificate and no other.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl rustls::client::danger::ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &rustls::pki_types::ServerName<'_>,
        _ocsp: &[u8],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        if *shown == self.certificate {
            return Ok(rustls::client::danger::ServerCertVerified::assertion());
        }
        Err(rustls::Error::General("another certificate is shown than the configured file holds".into()))
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// When the first certificate of a PEM file ends.
pub fn expires(path: &Path) -> Result<Timestamp, TlsError> {
    let list = certificates(path)?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&list[0])
        .map_err(|e| TlsError::Certificate { path: path.to_owned(), what: e.to_string() })?;
    Ok(Timestamp::from_ms(parsed.validity().not_after.timestamp().saturating_mul(1000)))
}

/// Whom a peer's certificate names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Common name; the first alternative name where there is none; empty where there is neither.
    pub name: String,
    /// SHA-256 of the certificate, hex.
    pub fingerprint: String,
}

impl Identity {
    /// From a certificate that the handshake has accepted.
    pub fn of(certificate: &CertificateDer<'_>) -> Identity {
        let fingerprint = crate::alert::hex(&Sha256::digest(certificate));
        let mut name = x509_parser::parse_x509_certificate(certificate)
            .ok()
            .and_then(|(_, parsed)| {
                let common = parsed.subject().iter_common_name().next().and_then(|c| c.as_str().ok().map(str::to_owned));
                common.or_else(|| {
                    let names = parsed.subject_alternative_name().ok()??;
                    names.value.general_names.iter().find_map(|n| match n {
                        x509_parser::extensions::GeneralName::DNSName(n)
                        | x509_parser::extensions::GeneralName::RFC822Name(n)
                        | x509_parser::extensions::GeneralName::URI(n) => Some((*n).to_owned()),
                        _ => None,
                    })
                })
            })
            .unwrap_or_default();
        let mut end = name.len().min(NAME_BYTES_MAX);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        name.truncate(end);
        name.retain(|c| !c.is_control());
        Identity { name, fingerprint }
    }
}

/// `CN=name sha256:…`
impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CN={} sha256:{}", self.name, self.fingerprint)
    }
}

/// A listener's TLS, as it is now.
pub struct ServerTls {
    files: Tls,
    current: ArcSwap<ServerConfig>,
    loaded: tokio::sync::watch::Sender<u64>,
    seen: parking_lot::Mutex<Vec<Option<SystemTime>>>,
}

impl ServerTls {
    /// Reads the files; what is wrong with them is said now, not at the first connection.
    pub fn load(files: &Tls) -> Result<Arc<ServerTls>, TlsError> {
        let seen = times(files);
        let config = server_config(files)?;
        let current = ArcSwap::from_pointee(config);
        let (loaded, _) = tokio::sync::watch::channel(0);
        Ok(Arc::new(ServerTls { files: files.clone(), current, loaded, seen: parking_lot::Mutex::new(seen) }))
    }
    /// The configuration for the next connection.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }
    /// For the next connection.
    pub fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        tokio_rustls::TlsAcceptor::from(self.config())
    }
    /// Reads the files again; on an error what works stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        *self.seen.lock() = times(&self.files);
        self.current.store(Arc::new(server_config(&self.files)?));
        self.loaded.send_modify(|times| *times += 1);
        Ok(())
    }
    /// Changes with each certificate that was loaded after the first; for a listener that cannot ask at each connection.
    pub fn loaded(&self) -> tokio::sync::watch::Receiver<u64> {
        self.loaded.subscribe()
    }
    fn changed(&self) -> bool {
        *self.seen.lock() != times(&self.files)
    }
    fn reload_and_log(&self) {
        let path = self.files.certificate.display();
        match self.reload() {
            Ok(()) => tracing::info!(%path, "certificate loaded"),
            Err(error) => tracing::error!(%error, "new certificate not taken, the old one stays"),
        }
    }
}

fn times(files: &Tls) -> Vec<Option<SystemTime>> {
    let paths = [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()];
    paths.into_iter().flatten().map(|p| std::fs::metadata(p).and_then(|m| m.modified()).ok()).collect()
}

/// Keeps listeners' certificates fresh. Cheap to clone; its task ends when every clone is dropped.
#[derive(Clone)]
pub struct Reloader {
    ask: tokio::sync::mpsc::Sender<()>,
}

impl Reloader {
    /// Watches the files of these listeners.
    pub fn start(listeners: Vec<Arc<ServerTls>>) -> Reloader {
        let (ask, mut asked) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let all = tokio::select! {
                    ask = asked.recv() => match ask {
                        Some(()) => true,
                        None => return,
                    },
                    () = tokio::time::sleep(Duration::from_secs(WATCH_EVERY_S)) => false,
                };
                let list = listeners.clone();
                // Reading files may block.
                let _ = tokio::task::spawn_blocking(move || {
                    list.iter().filter(|l| all || l.changed()).for_each(|l| l.reload_and_log());
                })
                .await;
            }
        });
        Reloader { ask }
    }
    /// Reads all files again now (SIGHUP).
    pub fn now(&self) {
        let _ = self.ask.try_send(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(folder: &Path, name: &str) -> Tls {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let tls =
            Tls { certificate: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")), client_ca: None };
        std::fs::write(&tls.certificate, made.cert.pem()).unwrap();
        std::fs::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
        tls
    }

    #[test]
    fn a_wrong_pair_and_an_empty_file_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (made(folder.path(), "a"), made(folder.path(), "b"));
        assert!(server_config(&a).is_ok());
        let mixed = Tls { key: b.key.clone(), ..a.clone() };
        let error = server_config(&mixed).unwrap_err().to_string();
        assert!(error.contains("the key is not the one of this certificate") && error.contains("b.key"), "{error}");
        std::fs::write(&b.key, "nothing").unwrap();
        assert!(matches!(server_config(&b), Err(TlsError::NoKey { .. })));
        let swapped = Tls { certificate: a.key.clone(), ..a.clone() };
        assert!(matches!(server_config(&swapped), Err(TlsError::NoCertificate { .. })));
        let missing = Tls { certificate: folder.path().join("none.pem"), ..a.clone() };
        assert!(matches!(server_config(&missing), Err(TlsError::Read { .. })));
        assert!(expires(&a.certificate).unwrap() > Timestamp::from_ms(1_700_000_000_000));
    }

    #[test]
    fn a_bad_new_certificate_does_not_replace_a_working_one() {
        let folder = tempfile::tempdir().unwrap();
        let files = made(folder.path(), "a");
        let tls = ServerTls::load(&files).unwrap();
        let before = tls.config();
        std::fs::write(&files.certificate, "broken").unwrap();
        assert!(tls.reload().is_err());
        assert!(Arc::ptr_eq(&before, &tls.config()));
        made(folder.path(), "a");
        tls.reload().unwrap();
        assert!(!Arc::ptr_eq(&before, &tls.config()));
    }

    #[test]
    fn plaintext_beyond_loopback_needs_the_word() {
        let address = |s: &str| s.parse::<SocketAddr>().unwrap();
        assert!(check_plaintext("mllp", address("127.0.0.1:2575"), None, None).is_ok());
        assert!(check_plaintext("mllp", address("[::1]:2575"), None, None).is_ok());
        assert!(check_plaintext("mllp", address("0.0.0.0:2575"), None, None).is_err());
        assert!(check_plaintext("mllp", address("10.1.2.3:2575"), None, Some(Plaintext::Allowed)).is_ok());
        let tls = Tls { certificate: "c".into(), key: "k".into(), client_ca: None };
        assert!(check_plaintext("mllp", address("10.1.2.3:2575"), Some(&tls), None).is_ok());
    }
}
