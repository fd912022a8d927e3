//! TLS towards etcd: ordinary certificates, signed by who the configuration says,
//! unlike between nodes.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::config::LeaseTls;

/// Why a file for TLS is of no use.
#[derive(Debug, Error)]
#[error("{} cannot be used", path.display())]
pub struct TlsError {
    path: PathBuf,
    source: Box<dyn std::error::Error + Send + Sync>,
}

pub(super) struct Tls(TlsConnector);

impl Tls {
    pub(super) fn load(files: &LeaseTls) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&files.ca_file)? {
            roots.add(certificate).map_err(of(&files.ca_file))?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(of(&files.ca_file))?
            .with_root_certificates(roots);
        let config = match &files.client {
            Some((certificate, key)) => {
                let private = PrivateKeyDer::from_pem_file(key).map_err(of(key))?;
                let chain = certificates(certificate)?;
                builder
                    .with_client_auth_cert(chain, private)
                    .map_err(of(certificate))?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    pub(super) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        self.0.connect(name, stream).await
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(of(path))?;
    if read.is_empty() {
        return Err(of(path)("it holds no certificate"));
    }
    Ok(read)
}

fn of<E>(path: &Path) -> impl Fn(E) -> TlsError + '_
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    move |source| TlsError {
        path: path.to_owned(),
        source: source.into(),
    }
}
