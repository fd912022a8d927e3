//! One request to one member: JSON there, JSON back, a connection each.

use std::{io, time::Duration};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::tls::Tls;
use crate::config::Endpoint;

/// Bytes of an answer: one small key.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Why a member did not answer.
#[derive(Debug, Error)]
pub enum HttpError {
    /// It cannot be reached.
    #[error("it cannot be reached: {0}")]
    Io(#[from] io::Error),
    /// The connection broke, or did not speak HTTP.
    #[error("no answer in HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// It took too long.
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
    /// It answered that it will not.
    #[error("it answers {status}: {message}")]
    Refused {
        /// HTTP's number.
        status: u16,
        /// What it said.
        message: String,
    },
    /// The answer is too long or broke off.
    #[error("its answer cannot be read: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer is no JSON.
    #[error("its answer is no JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// There is no request of this form.
    #[error("no request can be made of it: {0}")]
    Request(#[from] hyper::http::Error),
}

pub(super) async fn post(
    endpoint: &Endpoint,
    tls: Option<&Tls>,
    path: &str,
    body: &Value,
) -> Result<Value, HttpError> {
    let (host, port) = (endpoint.address.host(), endpoint.address.port());
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let request = Request::post(path)
        .header(header::HOST, endpoint.address.to_string())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.to_string())))?;
    match tls.filter(|_| endpoint.tls) {
        Some(tls) => exchange(tls.connect(host, stream).await?, request).await,
        None => exchange(stream, request).await,
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Value, HttpError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answering = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX);
        let body = body.collect().await.map_err(HttpError::Body)?.to_bytes();
        if status.is_success() {
            return Ok(serde_json::from_slice(&body)?);
        }
        Err(HttpError::Refused {
            status: status.as_u16(),
            message: message(&body),
        })
    };
    tokio::select! {
        answer = answering => answer,
        // It ends by itself only where it breaks.
        ended = connection => Err(match ended {
            Err(error) => error.into(),
            Ok(()) => io::Error::from(io::ErrorKind::ConnectionAborted).into(),
        }),
    }
}

/// What etcd says went wrong.
fn message(body: &[u8]) -> String {
    let said = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let text = said["error"].as_str().or(said["message"].as_str());
    text.map_or_else(
        || String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned(),
        str::to_owned,
    )
}
