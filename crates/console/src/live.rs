//! What a running sensor tells now, and how it goes: asked anew for every page, and told to pages that are open as it changes.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use case::{Case, Triage, TriageEntry};
use futures_util::future::{Either, select};
use futures_util::stream::unfold;
use tokio::sync::watch;
use verdict::HostStory;

/// How often it is asked how it goes.
const ASKED: Duration = Duration::from_secs(2);

/// A sensor that runs: each answer waits until it is given.
pub trait Sensor: Send + Sync {
    /// The hosts that stand somewhere now, and what people said of them, by their ids.
    ///
    /// # Errors
    /// The sensor does not answer.
    fn now(&self) -> anyhow::Result<(Case, Triage)>;

    /// How it goes.
    ///
    /// # Errors
    /// The sensor does not answer.
    fn goes(&self) -> anyhow::Result<Goes>;

    /// Has what somebody says of a host kept.
    ///
    /// # Errors
    /// It is not kept.
    fn say_of(&self, host: &HostStory, said: TriageEntry) -> anyhow::Result<()>;
}

/// How a sensor goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Goes {
    /// In a line, for people.
    pub line: String,
    /// Another one when pages have become old.
    pub mark: String,
}

impl Goes {
    /// As a page is told: `{"line":…,"mark":…}`.
    fn event(&self) -> String {
        serde_json::json!({ "line": self.line, "mark": self.mark }).to_string()
    }
}

/// Asks how it goes until it is told to stop, for all pages together; who listens hears the end by nobody being there to tell.
pub async fn keep_asking(
    sensor: Arc<dyn Sensor>,
    tell: Arc<watch::Sender<Goes>>,
    stop: impl Future<Output = ()>,
) {
    let mut stop = std::pin::pin!(stop);
    loop {
        let asks = sensor.clone();
        let asked = tokio::task::spawn_blocking(move || asks.goes()).await;
        let goes = match asked {
            Ok(Ok(goes)) => goes,
            // The mark stays: the page is not made anew by who cannot make it.
            Ok(Err(e)) => Goes { line: format!("{e:#}"), mark: tell.borrow().mark.clone() },
            Err(e) => Goes { line: e.to_string(), mark: tell.borrow().mark.clone() },
        };
        tell.send_if_modified(|before| {
            let is_new = *before != goes;
            *before = goes;
            is_new
        });
        let sleep = std::pin::pin!(tokio::time::sleep(ASKED));
        if let Either::Left(_) = select(&mut stop, sleep).await {
            return;
        }
    }
}

/// Tells a page how it goes, now and whenever that changes.
pub fn events(mut told: watch::Receiver<Goes>) -> Response {
    told.mark_changed();
    let stream = unfold(told, async |mut told| {
        told.changed().await.ok()?;
        let event = Event::default().data(told.borrow_and_update().event());
        Some((Ok::<_, Infallible>(event), told))
    });
    Sse::new(stream).keep_alive(KeepAlive::default()).into_response()
}
