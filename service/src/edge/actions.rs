//! Carries out what sessions start and what takes time: sign-in, join, publish, reads. One future per action; a session
//! that ends drops its futures, which is safe by the contracts of the ports.

use std::sync::Arc;

use tracing::{Instrument as _, Span};

use super::services::Services;
use crate::auth::{AuthError, Credentials};
use crate::backplane::{PublishError, Range};
use crate::clock::{Clock as _, Moment};
use crate::hub::Membership;
use crate::hub::outbox::Outbox;
use crate::ids::{LogName, RoomName, UserId};
use crate::message::{Draft, Stored};
use crate::protocol::limits::{PRESENCE_MAX_USERS, ROOMS_MAX_LISTED};
use crate::protocol::server_frame::RoomTop;
use crate::rights::{Grant, Right, Rights};
use crate::session::{Action, JoinStart, Outcome};
use crate::tracing_context;

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
            let hub = &services.hub;
            let page = match start {
                JoinStart::Since(position) => hub.read(&log, Range::Since(position), hub.replay_messages()).await,
                JoinStart::Newest(messages) => hub.read(&log, Range::Newest, messages).await,
            };
            return (Outcome::Page(page), Some(membership));
        }
        Action::Sync { log, since } => {
            let messages = services.hub.replay_messages();
            Outcome::Page(services.hub.read(&log, Range::Since(since), messages).await)
        }
        Action::Publish { log, drafts } => Outcome::Published(publish_all(&services, &log, &drafts).await),
        Action::Direct { from, to, draft } => Outcome::Published(vec![direct(&services, &from, &to, &draft).await]),
        Action::History { log, range, limit } => Outcome::Page(services.hub.read(&log, range, limit).await),
        Action::Presence { room } => {
            services.attendance.settled().await;
            Outcome::Roster(services.presence.roster(&room, PRESENCE_MAX_USERS).await)
        }
        Action::Rooms { rights } => Outcome::Rooms(rooms(&services, &rights).await),
    };
    (outcome, None)
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
    match publish(services, &LogName::Inbox(from.clone()), draft).await {
        // The receiver has it: a repeat with the same key completes what is half done, and doubles nothing.
        Err(PublishError::Unavailable(error)) => Err(PublishError::OutcomeUnknown(error.to_string())),
        other => other,
    }
}

/// Lists rooms by pages until enough of them may be joined.
async fn rooms(services: &Services, rights: &Rights) -> Result<(Vec<RoomTop>, bool), crate::backplane::Unavailable> {
    let (mut listed, mut after) = (Vec::new(), None::<RoomName>);
    loop {
        let page = services.directory.rooms(after.as_ref().map(RoomName::as_str), ROOMS_MAX_LISTED).await?;
        let last_page = page.len() < ROOMS_MAX_LISTED;
        after = page.last().map(|(room, _)| room.clone());
        for (room, offset) in page {
            if !rights.allows(&LogName::Room(room.clone()), Right::Join) {
                continue;
            }
            if listed.len() == ROOMS_MAX_LISTED {
                return Ok((listed, true));
            }
            listed.push(RoomTop { room, offset });
        }
        if last_page {
            return Ok((listed, false));
        }
    }
}
