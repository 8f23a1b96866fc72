//! From a user and its password to a token that goes with every request of one connection.
//!
//! One login for each connection, by a message of our own: the library would log in twice, and keep the password. The
//! token is marked as sensitive, so that no library shows it.

use std::fmt;

use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::HeaderValue;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use tower::util::{BoxCloneSyncService, MapRequestLayer};
use tower::{Layer, ServiceExt};
use zeroize::Zeroize;

use super::credentials::Login;
use super::trouble::Trouble;

/// etcd's `AuthenticateRequest`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct AuthenticateRequest {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    password: String,
}

/// etcd's `AuthenticateResponse`, without its head.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct AuthenticateResponse {
    #[prost(string, tag = "2")]
    token: String,
}

impl fmt::Debug for AuthenticateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthenticateRequest(...)")
    }
}

impl fmt::Debug for AuthenticateResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthenticateResponse(...)")
    }
}

impl Drop for AuthenticateRequest {
    fn drop(&mut self) {
        self.password.zeroize();
    }
}

impl Drop for AuthenticateResponse {
    fn drop(&mut self) {
        self.token.zeroize();
    }
}

/// A token, or none where etcd has authentication off.
pub(super) async fn log_in(channel: &Channel, login: &Login) -> Result<Option<HeaderValue>, Trouble> {
    match authenticate(channel, login).await {
        Ok(answer) => {
            let token = HeaderValue::from_str(&answer.token);
            let mut token = token.map_err(|_| Trouble::lasting("its token for our user is no text"))?;
            token.set_sensitive(true);
            Ok(Some(token))
        }
        Err(status) if status.message().contains("authentication is not enabled") => Ok(None),
        Err(status) => Err(refused(&status, &login.user)),
    }
}

async fn authenticate(channel: &Channel, login: &Login) -> Result<AuthenticateResponse, Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.map_err(|e| Status::from_error(e.into()))?;
    let request = AuthenticateRequest { name: login.user.clone(), password: login.password.as_str().to_owned() };
    let path = PathAndQuery::from_static("/etcdserverpb.Auth/Authenticate");
    let answer = grpc.unary(Request::new(request), path, ProstCodec::default()).await?;
    Ok(answer.into_inner())
}

fn refused(status: &Status, user: &str) -> Trouble {
    match status.message() {
        message if message.contains("authentication failed") => Trouble::lasting(format!(
            "it refuses user {user:?}: no such user, or another password than in passwordFile"
        )),
        message if message.contains("no password user") => {
            Trouble::lasting(format!("it refuses user {user:?}: the user has no password, only certificates"))
        }
        message if message.starts_with("etcdserver:") => Trouble::passing(format!("no login as {user:?}: {message}")),
        message if status.code() == Code::Unimplemented => {
            Trouble::lasting(format!("it knows no users, so it is no etcd: {message}"))
        }
        message => Trouble::passing(format!("no login as {user:?}: {message}")),
    }
}

/// The channel, with the token on every request.
pub(super) fn with_token(channel: Channel, token: Option<HeaderValue>) -> etcd_client::Channel {
    let Some(token) = token else { return etcd_client::Channel::Tonic(channel) };
    let sign = move |mut request: tonic::codegen::http::Request<tonic::body::Body>| {
        request.headers_mut().insert("token", token.clone());
        request
    };
    let signed = MapRequestLayer::new(sign).layer(channel).map_err(Into::into);
    etcd_client::Channel::Custom(BoxCloneSyncService::new(signed))
}
