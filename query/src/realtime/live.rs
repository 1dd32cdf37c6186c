//! Those who listen to a site for the same figures share one query in five seconds, however many they
//! are.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::answer::unavailable;
use crate::api::Figures;
use crate::question::NowQuestion;

const ASK_EVERY: Duration = Duration::from_secs(5);

/// What listeners are sent; written out once for all of them.
#[derive(Debug, Clone)]
enum News {
    NotYet,
    Figures(Arc<str>),
    Unavailable,
}

/// All who listen. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Live(Arc<Hub>);

struct Hub {
    figures: Figures,
    asked: Mutex<HashMap<NowQuestion, watch::Sender<News>>>,
    places: Arc<Semaphore>,
    asking: TaskTracker,
    shutdown: CancellationToken,
}

impl Live {
    pub(crate) fn new(figures: Figures, listeners_max: usize, shutdown: CancellationToken) -> Self {
        Self(Arc::new(Hub {
            figures,
            asked: Mutex::default(),
            places: Arc::new(Semaphore::new(listeners_max.min(Semaphore::MAX_PERMITS))),
            asking: TaskTracker::new(),
            shutdown,
        }))
    }

    /// A stream of events, until the client leaves or the service ends.
    pub(crate) fn listen(&self, question: NowQuestion) -> Response {
        let Ok(place) = self.0.places.clone().try_acquire_owned() else {
            return unavailable("too many listen already");
        };
        let news = self.subscribe(question);
        Sse::new(events(news, place, self.0.shutdown.clone())).into_response()
    }

    /// Waits until nobody asks any more; after the shutdown.
    pub(crate) async fn stopped(&self) {
        self.0.asking.close();
        self.0.asking.wait().await;
    }

    fn subscribe(&self, question: NowQuestion) -> watch::Receiver<News> {
        let mut asked = self.0.asked();
        if let Some(sender) = asked.get(&question) {
            return sender.subscribe();
        }
        let (sender, receiver) = watch::channel(News::NotYet);
        asked.insert(question.clone(), sender.clone());
        let hub = self.0.clone();
        self.0.asking.spawn(async move {
            let shutdown = hub.shutdown.clone();
            shutdown
                .run_until_cancelled(hub.ask_for(question, sender))
                .await;
        });
        receiver
    }
}

impl Hub {
    /// Asks as long as anybody listens.
    async fn ask_for(&self, question: NowQuestion, sender: watch::Sender<News>) {
        loop {
            let answer = super::answer(&self.figures, &question).await;
            let news = match answer {
                Ok(answer) => match serde_json::to_string(&answer) {
                    Ok(text) => News::Figures(text.into()),
                    Err(_) => News::Unavailable,
                },
                Err(failure) => {
                    // The watch over ClickHouse has logged it.
                    debug!("listeners hear that there is no answer: {failure:?}");
                    News::Unavailable
                }
            };
            sender.send_replace(news);
            tokio::select! {
                () = sleep(ASK_EVERY) => {}
                () = sender.closed() => {}
            }
            // Under the lock nobody joins meanwhile.
            let mut asked = self.asked();
            if sender.receiver_count() == 0 {
                asked.remove(&question);
                return;
            }
        }
    }

    fn asked(&self) -> MutexGuard<'_, HashMap<NowQuestion, watch::Sender<News>>> {
        // A map is whole at every step that can panic, so a poisoned one is still right.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listener that is slow misses news and holds none of them.
fn events(
    mut news: watch::Receiver<News>,
    place: OwnedSemaphorePermit,
    shutdown: CancellationToken,
) -> impl Stream<Item = Result<Event, Infallible>> {
    // What is known already is sent at once.
    news.mark_changed();
    unfold(
        (news, place, shutdown),
        |(mut news, place, shutdown)| async {
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return None,
                    changed = news.changed() => changed.ok()?,
                }
                let event = match &*news.borrow_and_update() {
                News::NotYet => continue,
                News::Figures(text) => Event::default().event("realtime").data(&**text),
                News::Unavailable => Event::default().event("unavailable").data(
                    r#"{"success":false,"status":"error","errors":["ClickHouse cannot answer now"]}"#,
                ),
            };
                return Some((Ok(event), (news, place, shutdown)));
            }
        },
    )
}
