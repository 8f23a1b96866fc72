//! One request, one answer.

use std::time::Duration;

use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;

use crate::daemon::control::Ask;
use crate::daemon::service::Readiness;
use crate::metrics::{Facts, Page};
use crate::moment::Moment;
use crate::node::clock::now;
use crate::node::etcd::Outlook;
use crate::node::keeper::Pulse;
use crate::status::Status;

/// How long the loop may take to say how things are.
const PATIENCE: Duration = Duration::from_secs(1);
/// What was said so lately is said again, so that a flood of requests asks the loop ten times a second.
const FRESH: Duration = Duration::from_millis(100);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// Where answers come from.
pub(in crate::daemon) struct Source {
    /// The loop.
    pub(in crate::daemon) asks: mpsc::Sender<Ask>,
    /// All that was counted.
    pub(in crate::daemon) page: Page,
    /// etcd's adapter.
    pub(in crate::daemon) outlook: Outlook,
    /// The keeper of addresses.
    pub(in crate::daemon) pulse: Pulse,
    /// Whether the daemon is ready.
    pub(in crate::daemon) readiness: Readiness,
}

/// Answers, one after the other.
pub(super) struct Desk {
    source: Mutex<(Source, Option<Told>)>,
}

/// What the loop said last.
struct Told {
    at: Moment,
    status: Result<Status, &'static str>,
}

/// An answer, but for its head.
type Words = (StatusCode, &'static str, String);

impl Desk {
    pub(super) fn new(source: Source) -> Self {
        Self { source: Mutex::new((source, None)) }
    }

    pub(super) async fn answer<B>(&self, request: &Request<B>) -> Response<String> {
        let (status, kind, text) = match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/metrics") => self.metrics().await,
            (&Method::GET | &Method::HEAD, "/healthz") => verdict(self.illness().await),
            (&Method::GET | &Method::HEAD, "/readyz") => verdict(self.unreadiness().await),
            (&Method::GET | &Method::HEAD, _) => {
                (StatusCode::NOT_FOUND, PLAIN, "there are /metrics, /healthz and /readyz\n".into())
            }
            _ => (StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET and HEAD\n".into()),
        };
        let mut response = Response::new(text);
        *response.status_mut() = status;
        let mut head = |name: HeaderName, value| response.headers_mut().insert(name, HeaderValue::from_static(value));
        head(CONTENT_TYPE, kind);
        if status == StatusCode::METHOD_NOT_ALLOWED {
            head(ALLOW, "GET, HEAD");
        }
        response
    }

    async fn metrics(&self) -> Words {
        let mut source = self.source.lock().await;
        let (Source { asks, page, outlook, .. }, told) = &mut *source;
        let status = match ask(asks, told).await {
            Ok(status) => status,
            Err(why) => return unavailable(why),
        };
        let facts = Facts { status, tally: outlook.tally(), certificates: &outlook.certificates(), now: now() };
        match page.text(&facts) {
            Ok(text) => (StatusCode::OK, OPEN_METRICS, text),
            Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, PLAIN, format!("the page cannot be written: {e}\n")),
        }
    }

    /// Why the daemon does not do its work, if it does not.
    async fn illness(&self) -> Result<(), &'static str> {
        let mut source = self.source.lock().await;
        let (Source { asks, pulse, .. }, told) = &mut *source;
        ask(asks, told).await?;
        if pulse.is_dead(now()) { Err("the kernel does not answer the keeper of addresses") } else { Ok(()) }
    }

    /// Why the daemon is not ready, if it is not.
    async fn unreadiness(&self) -> Result<(), &'static str> {
        self.illness().await?;
        self.source.lock().await.0.readiness.lack().map_or(Ok(()), Err)
    }
}

/// How things are. A loop that does not answer in time is an answer, too.
async fn ask<'t>(asks: &mpsc::Sender<Ask>, told: &'t mut Option<Told>) -> Result<&'t Status, &'static str> {
    let fresh = told.take_if(|told| now().since(told.at) < FRESH);
    let told = match fresh {
        Some(fresh) => told.insert(fresh),
        None => {
            let status = ask_anew(asks).await;
            told.insert(Told { at: now(), status })
        }
    };
    told.status.as_ref().map_err(|why| *why)
}

async fn ask_anew(asks: &mpsc::Sender<Ask>) -> Result<Status, &'static str> {
    let (tell, answer) = oneshot::channel();
    asks.try_send(Ask::Status(tell)).map_err(|_| "the daemon is busy or ending")?;
    match timeout(PATIENCE, answer).await {
        Ok(Ok(status)) => Ok(status),
        Ok(Err(_)) => Err("the daemon is ending"),
        Err(_) => Err("the daemon's loop does not answer within a second"),
    }
}

fn verdict(of: Result<(), &'static str>) -> Words {
    match of {
        Ok(()) => (StatusCode::OK, PLAIN, "ok\n".into()),
        Err(why) => unavailable(why),
    }
}

fn unavailable(why: &str) -> Words {
    (StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{why}\n"))
}
