//! `feeder.LogService`.

use std::pin::Pin;

use palisade_api::feeder::log_service_server::LogService;
use palisade_api::feeder::{self, NonceMessage, ReplyMessage, RequestMessage};
use palisade_api::filter::Wanted;
use palisade_event::{EncodeOptions, Record};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use crate::pipeline::Hub;
use crate::pipeline::hub::{Subscribe, Subscription, Wants, WhenFull};

/// The service.
pub(super) struct Log {
    pub(super) hub: Hub,
    /// Records that wait for a client at most.
    pub(super) queue: usize,
    pub(super) when_full: WhenFull,
}

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

// === impl Log ===

impl Log {
    fn subscribe(&self, name: &'static str, wants: Wants, request: &RequestMessage) -> Subscription {
        let RequestMessage { filter: _, palisade_backlog, palisade_backlog_only } = request;
        // Messages are told by the loop that changes policies: no client may hold that up.
        let when_full = if wants == Wants::Events { self.when_full } else { WhenFull::DropOldest };
        self.hub.subscribe(Subscribe {
            name,
            wants,
            capacity: self.queue,
            when_full,
            // More than is kept is not there.
            backlog: usize::try_from(*palisade_backlog).unwrap_or(usize::MAX),
            backlog_only: *palisade_backlog_only,
        })
    }
}

#[tonic::async_trait]
impl LogService for Log {
    type WatchMessagesStream = Messages<feeder::Message>;
    type WatchAlertsStream = Messages<feeder::Alert>;
    type WatchLogsStream = Messages<feeder::Log>;

    async fn health_check(&self, request: Request<NonceMessage>) -> Result<Response<ReplyMessage>, Status> {
        Ok(Response::new(ReplyMessage { retval: request.into_inner().nonce }))
    }

    /// With any filter. A loss is a message here, whose text has its number.
    async fn watch_messages(&self, request: Request<RequestMessage>) -> Result<Response<Self::WatchMessagesStream>, Status> {
        let records = self.subscribe("messages of a client", Wants::Messages, request.get_ref());
        let messages = records.filter_map(|record| match record {
            Record::Message(message) => Some(Ok(feeder::Message::from(&*message))),
            Record::Loss(loss) => Some(Ok(feeder::Message::of_loss(&loss))),
            Record::Event(_) => None,
        });
        Ok(Response::new(Box::pin(messages)))
    }

    async fn watch_alerts(&self, request: Request<RequestMessage>) -> Result<Response<Self::WatchAlertsStream>, Status> {
        if !Wanted::asks_for_alerts(&request.get_ref().filter) {
            return Ok(Response::new(Box::pin(tokio_stream::empty()))); // as the original
        }
        let records = self.subscribe("alerts of a client", Wants::Events, request.get_ref());
        let alerts = records.filter_map(|record| match record {
            Record::Event(event) => Some(Ok(feeder::Alert::of_event(&event, EncodeOptions::default()))),
            Record::Loss(loss) => Some(Ok(feeder::Alert::of_loss(&loss))),
            Record::Message(_) => None,
        });
        Ok(Response::new(Box::pin(alerts)))
    }

    /// What is seen without a policy: nothing yet is. The stream stays open, as KubeArmor's clients expect of an idle one.
    async fn watch_logs(&self, request: Request<RequestMessage>) -> Result<Response<Self::WatchLogsStream>, Status> {
        let RequestMessage { filter, palisade_backlog: _, palisade_backlog_only } = request.into_inner();
        if !Wanted::asks_for_logs(&filter) || palisade_backlog_only {
            return Ok(Response::new(Box::pin(tokio_stream::empty())));
        }
        Ok(Response::new(Box::pin(tokio_stream::pending())))
    }
}
