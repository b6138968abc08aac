//! Carries out what sessions start and what takes time: sign-in, join, publish, reads. One future per action; a session
//! that ends drops its futures, which is safe by the contracts of the ports.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tracing::{Instrument as _, Span};

use super::services::Services;
use crate::auth::{AuthError, Credentials};
use crate::backplane::{Page, PublishError, Range, Unavailable};
use crate::clock::{Clock as _, Moment};
use crate::hub::Membership;
use crate::hub::outbox::Outbox;
use crate::ids::{LogName, UserId};
use crate::message::{Draft, Stored};
use crate::protocol::limits::{PRESENCE_MAX_USERS, ROOMS_MAX_LISTED};
use crate::protocol::server_frame::RoomTop;
use crate::rights::{Grant, Right, Rights};
use crate::session::{Action, JoinStart, Outcome};
use crate::tracing_context;

/// How long a read waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(5);

/// Does one action. A join also brings its membership, which the caller keeps or drops.
pub(super) async fn perform(
    services: Arc<Services>,
    outbox: Arc<Outbox>,
    registered: usize,
    action: Action,
) -> (Outcome, Option<Membership>) {
    let outcome = match action {
        Action::SignIn { token, current } => {
            Outcome::SignIn(sign_in(&services, registered, Credentials::Token(&token), current).await)
        }
        Action::Join { slot, log, user, start } => {
            let membership = match services.hub.join(&log, &outbox, slot, Some(&user)).await {
                Ok(membership) => membership,
                Err(error) => return (Outcome::Page(Err(error)), None),
            };
            let (range, messages) = match start {
                JoinStart::Since(position) => (Range::Since(position), services.hub.replay_messages()),
                JoinStart::Newest(messages) => (Range::Newest, messages),
            };
            return (Outcome::Page(page(&services, &log, range, messages).await), Some(membership));
        }
        Action::Sync { log, since } => {
            let messages = services.hub.replay_messages();
            Outcome::Page(page(&services, &log, Range::Since(since), messages).await)
        }
        Action::Publish { log, drafts } => Outcome::Published(publish_all(&services, &log, &drafts).await),
        Action::Direct { from, to, draft } => Outcome::Published(vec![direct(&services, &from, &to, &draft).await]),
        Action::History { log, range, limit } => Outcome::Page(page(&services, &log, range, limit).await),
        Action::Presence { room } => {
            services.attendance.settled().await;
            Outcome::Roster(in_turn(&services.listing, services.presence.roster(&room, PRESENCE_MAX_USERS)).await)
        }
        Action::Rooms { rights } => Outcome::Rooms(in_turn(&services.listing, rooms(&services, &rights)).await),
    };
    (outcome, None)
}

async fn page(services: &Services, log: &LogName, range: Range, messages: usize) -> Result<Page, Unavailable> {
    let read = services.hub.read(log, range, messages);
    // Only a position: it is short, and most joins want no more.
    if messages == 0 { read.await } else { in_turn(&services.reading, read).await }
}

/// Fetches something long, when it is its turn among those of all sessions.
async fn in_turn<T>(turns: &Semaphore, fetch: impl Future<Output = Result<T, Unavailable>>) -> Result<T, Unavailable> {
    match tokio::time::timeout(TURN_WAIT, turns.acquire()).await {
        Ok(Ok(_permit)) => fetch.await,
        _ => Err(Unavailable("too many reads wait for their turn".to_owned())),
    }
}

/// Checks credentials and bans. The session is entered under its user before the ban is looked up, so that a ban that
/// comes meanwhile finds it.
pub(super) async fn sign_in(
    services: &Services,
    registered: usize,
    credentials: Credentials<'_>,
    current: Option<UserId>,
) -> Result<Grant, AuthError> {
    let grant = services.auth.authenticate(credentials).await?;
    if current.is_some_and(|current| current != grant.user) {
        // The session refuses it; until then it stays found under the user it speaks for.
        return Ok(grant);
    }
    services.hub.registry().signed_in(registered, &grant.user);
    not_banned(services, &grant.user).await?;
    Ok(grant)
}

/// Refuses a banned user; when the directory cannot be asked, sign-in waits for better times.
pub(super) async fn not_banned(services: &Services, user: &UserId) -> Result<(), AuthError> {
    match services.directory.banned(user).await {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(AuthError::Banned),
        Err(_) => Err(AuthError::Unavailable),
    }
}

/// One publish, counted, timed and traced.
pub(super) async fn publish(services: &Services, log: &LogName, draft: &Draft) -> Result<Stored, PublishError> {
    let (span, traced) = traced(log, draft);
    let started = services.clock.now().mono;
    let result = services.backplane.publish(log, traced.as_ref().unwrap_or(draft)).instrument(span).await;
    observe(services, started, std::slice::from_ref(&result));
    result
}

/// Publishes that waited together, in their order: one call for all.
async fn publish_all(services: &Services, log: &LogName, drafts: &[Draft]) -> Vec<Result<Stored, PublishError>> {
    let (spans, traced): (Vec<_>, Vec<_>) = drafts.iter().map(|draft| traced(log, draft)).unzip();
    // All or none: either traces are sent or not.
    let traced: Option<Vec<Draft>> = traced.into_iter().collect();
    let started = services.clock.now().mono;
    let call = services.backplane.publish_all(log, traced.as_deref().unwrap_or(drafts));
    // The call stands in the trace of the first of them.
    let results = match spans.first() {
        Some(span) => call.instrument(span.clone()).await,
        None => call.await,
    };
    observe(services, started, &results);
    results
}

/// The span of a publish and, if traces are sent, the draft that takes its context along: whoever delivers the message
/// continues this trace.
fn traced(log: &LogName, draft: &Draft) -> (Span, Option<Draft>) {
    let span = tracing_context::publish_span(log.wire_name(), draft.traceparent.as_deref());
    let context = tracing_context::traceparent_of(&span);
    let traced = context.map(|context| Draft { traceparent: Some(context.into()), ..draft.clone() });
    (span, traced)
}

fn observe(services: &Services, started: Moment, results: &[Result<Stored, PublishError>]) {
    let metrics = &services.metrics.backplane;
    metrics.publish.0.observe(services.clock.now().mono.since(started).as_secs_f64());
    for result in results {
        let label = match result {
            Ok(_) => "ok",
            Err(PublishError::Unavailable(_)) => "unavailable",
            Err(PublishError::OutcomeUnknown(_)) => "outcome_unknown",
        };
        metrics.published.get_or_create(&[("result", label)]).inc();
        services.outage.note("publish", result.as_ref().err());
    }
}

/// Appends to the receiver's inbox, then to the sender's, under one key; the answer is the sender's.
pub(super) async fn direct(
    services: &Services,
    from: &UserId,
    to: &UserId,
    draft: &Draft,
) -> Result<Stored, PublishError> {
    let stored = publish(services, &LogName::Inbox(to.clone()), draft).await?;
    if from == to {
        return Ok(stored);
    }
    let copy = Draft { key: draft.key.as_ref().map(|key| key.of_copy(to)), ..draft.clone() };
    match publish(services, &LogName::Inbox(from.clone()), &copy).await {
        // The receiver has it: a repeat with the same key completes what is half done, and doubles nothing.
        Err(PublishError::Unavailable(error)) => Err(PublishError::OutcomeUnknown(error.to_string())),
        other => other,
    }
}

/// Lists the rooms that may be joined; `true` if there may be more.
async fn rooms(services: &Services, rights: &Rights) -> Result<(Vec<RoomTop>, bool), Unavailable> {
    let listed = services.directory.rooms(&rights.spans(Right::Join), None, ROOMS_MAX_LISTED).await?;
    let rooms = listed.rooms.into_iter().map(|(room, offset)| RoomTop { room, offset });
    Ok((rooms.collect(), listed.next.is_some()))
}
