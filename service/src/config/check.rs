//! From single values to a whole: reads every setting and checks those that depend on one another.
//!
//! One function per group. Each reads all its settings before it gives up on one, so that every fault is found.

use std::net::SocketAddr;

use super::{
    AdmissionConfig, AuthConfig, AuthMode, BackplaneChoice, Config, HistoryConfig, LimitsConfig, LogConfig, LogFormat,
    RedisConfig, Source, TokenConfig, TokenSource, parse::bytes_words, reader::Reader, table, traces,
};

/// Reads everything; `None` when there are faults, which the reader then has.
pub(super) fn config(r: &mut Reader<'_>) -> Option<Config> {
    let addresses = addresses(r);
    let server_id = server_id(r);
    let backplane = backplane(r);
    let auth = auth(r, addresses.map(|(listen, _)| listen));
    let api_key = r.get(&table::API_KEY);
    let allowed_origins = r.get(&table::ALLOWED_ORIGINS);
    let affinity_cookie = r.get(&table::AFFINITY_COOKIE);
    let shutdown_delay = r.get(&table::SHUTDOWN_DELAY_SECONDS);
    let drain = r.get(&table::DRAIN_SECONDS);
    let max_connections = r.get(&table::MAX_CONNECTIONS);
    let max_handshakes_per_second = r.get(&table::MAX_HANDSHAKES_PER_SECOND);
    let limits = limits(r);
    let history = history(r);
    let log = log(r);
    let traces = traces::traces(r);

    let (listen, admin_listen) = addresses?;
    Some(Config {
        listen,
        admin_listen,
        server_id: server_id?,
        backplane: backplane?,
        auth: auth?,
        api_key: api_key?,
        allowed_origins: allowed_origins?,
        affinity_cookie: affinity_cookie?,
        shutdown_delay: shutdown_delay?,
        drain: drain?,
        admission: AdmissionConfig {
            max_connections: max_connections?,
            max_handshakes_per_second: max_handshakes_per_second?,
        },
        limits: limits?,
        history: history?,
        log: log?,
        traces,
    })
}

fn addresses(r: &mut Reader<'_>) -> Option<(SocketAddr, SocketAddr)> {
    let listen = r.get(&table::LISTEN);
    let admin = r.get(&table::ADMIN_LISTEN);
    let (listen, admin) = (listen?, admin?);
    let same_host = listen.ip() == admin.ip() || listen.ip().is_unspecified() || admin.ip().is_unspecified();
    if same_host && listen.port() == admin.port() && listen.port() != 0 {
        r.refuse(&table::ADMIN_LISTEN.spec, format!("give another port than that of PARLEY_LISTEN ({listen})"));
    }
    Some((listen, admin))
}

fn server_id(r: &mut Reader<'_>) -> Option<String> {
    let spec = &table::SERVER_ID.spec;
    if let Some(name) = r.get(&table::SERVER_ID)? {
        return Some(name);
    }
    let fallback = r.env("SERVER_ID").map_err(|fault| r.add(fault)).ok()?;
    let (name, from) = match fallback {
        Some(name) => (Some(name), Source::Derived("SERVER_ID")),
        None => (r.vars().host_name(), Source::Derived("host name")),
    };
    let Some(name) = name else {
        r.refuse(spec, "give a name: this machine has no host name to use instead");
        return None;
    };
    r.derived(spec, &name, from);
    match (table::SERVER_ID.parse)(spec, &name) {
        Ok(name) => name,
        Err(remedy) => {
            r.refuse(spec, remedy);
            None
        }
    }
}

fn backplane(r: &mut Reader<'_>) -> Option<BackplaneChoice> {
    let kind = r.get(&table::BACKPLANE);
    let url = r.get(&table::REDIS_URL);
    let ca_file = r.get(&table::REDIS_CA_FILE);
    let prefix = r.get(&table::REDIS_PREFIX);
    r.must_be_readable(&table::REDIS_CA_FILE.spec, ca_file.as_ref().and_then(Option::as_deref));

    let (kind, url, ca_file, prefix) = (kind?, url?, ca_file?, prefix?);
    let spec = &table::BACKPLANE.spec;
    match (kind.as_str(), url) {
        ("memory", Some(_)) => {
            r.refuse(spec, "give redis, or leave PARLEY_REDIS_URL out");
            None
        }
        ("redis", None) => {
            r.refuse(spec, "give PARLEY_REDIS_URL too, or memory");
            None
        }
        (_, Some(url)) => {
            r.derived(spec, "redis", Source::Derived("PARLEY_REDIS_URL"));
            Some(BackplaneChoice::Redis(RedisConfig { url, ca_file, prefix }))
        }
        (_, None) => {
            if !r.is_given(spec) {
                r.derived(spec, "memory", Source::Default);
            }
            Some(BackplaneChoice::Memory)
        }
    }
}

fn auth(r: &mut Reader<'_>, listen: Option<SocketAddr>) -> Option<AuthConfig> {
    let mode = r.get(&table::AUTH);
    let anywhere = r.get(&table::AUTH_OPEN_ANYWHERE);
    let secret = r.get(&table::TOKEN_SECRET);
    let jwks = r.get(&table::TOKEN_JWKS);
    let audience = r.get(&table::TOKEN_AUDIENCE);
    let issuer = r.get(&table::TOKEN_ISSUER);
    r.must_be_readable(&table::TOKEN_JWKS.spec, jwks.as_ref().and_then(Option::as_deref));

    if mode?.as_str() == "open" {
        // Somebody who sets a secret and forgets the mode believes that the chat is closed.
        let of_tokens = [
            &table::TOKEN_SECRET.spec,
            &table::TOKEN_JWKS.spec,
            &table::TOKEN_AUDIENCE.spec,
            &table::TOKEN_ISSUER.spec,
        ];
        for spec in of_tokens.into_iter().filter(|spec| r.is_given(spec)).collect::<Vec<_>>() {
            r.refuse(spec, "set PARLEY_AUTH=token with it, or leave it out: `open` checks no token");
        }
        if let Some(listen) = listen.filter(|listen| !listen.ip().is_loopback()) {
            if anywhere? {
                r.warn(format!("sign-in is open on {listen}: anybody who reaches it can speak as anybody"));
            } else {
                r.refuse(
                    &table::AUTH.spec,
                    format!(
                        "give token, or listen on a loopback address: others reach {listen} \
                         (PARLEY_AUTH_OPEN_ANYWHERE=true lets anybody speak as anybody)"
                    ),
                );
            }
        }
        return Some(AuthConfig { mode: AuthMode::Open });
    }

    let source = match (secret?, jwks?) {
        (Some(secret), None) => TokenSource::Secret(secret),
        (None, Some(path)) => TokenSource::Jwks(path),
        (Some(_), Some(_)) => {
            r.refuse(&table::TOKEN_JWKS.spec, "give this or PARLEY_TOKEN_SECRET, not both");
            return None;
        }
        (None, None) => {
            r.refuse(
                &table::AUTH.spec,
                "give PARLEY_TOKEN_SECRET (or PARLEY_TOKEN_SECRET_FILE) or PARLEY_TOKEN_JWKS too",
            );
            return None;
        }
    };
    Some(AuthConfig { mode: AuthMode::Token(TokenConfig { source, audience: audience?, issuer: issuer? }) })
}

fn limits(r: &mut Reader<'_>) -> Option<LimitsConfig> {
    let message_bytes = r.get(&table::MAX_MESSAGE_BYTES);
    let outbox_bytes = r.get(&table::MAX_OUTBOX_BYTES);
    let outbox_total_bytes = r.get(&table::MAX_OUTBOX_TOTAL_BYTES);
    let rooms_per_session = r.get(&table::MAX_ROOMS_PER_SESSION);
    let messages_per_second = r.get(&table::MESSAGES_PER_SECOND);
    let messages_burst = r.get(&table::MESSAGES_BURST);
    let ping = r.get(&table::PING_SECONDS);
    let sign_in = r.get(&table::SIGN_IN_SECONDS);

    if let (Some(message), Some(outbox)) = (message_bytes, outbox_bytes)
        && outbox < 2 * message
    {
        let least = bytes_words(2 * message as u64);
        r.refuse(&table::MAX_OUTBOX_BYTES.spec, format!("give at least {least}, twice PARLEY_MAX_MESSAGE_BYTES"));
    }
    if let (Some(outbox), Some(total)) = (outbox_bytes, outbox_total_bytes)
        && total < outbox
    {
        let least = bytes_words(outbox as u64);
        r.refuse(&table::MAX_OUTBOX_TOTAL_BYTES.spec, format!("give at least {least}, one PARLEY_MAX_OUTBOX_BYTES"));
    }
    Some(LimitsConfig {
        message_bytes: message_bytes?,
        outbox_bytes: outbox_bytes?,
        outbox_total_bytes: outbox_total_bytes?,
        rooms_per_session: rooms_per_session?,
        messages_per_second: messages_per_second?,
        messages_burst: messages_burst?,
        ping: ping?,
        sign_in: sign_in?,
    })
}

fn history(r: &mut Reader<'_>) -> Option<HistoryConfig> {
    let messages = r.get(&table::HISTORY_MESSAGES);
    let age = r.get(&table::HISTORY_SECONDS);
    let replay = r.get(&table::REPLAY_MESSAGES);
    let total_bytes = r.get(&table::HISTORY_TOTAL_BYTES);

    let (messages, mut replay) = (messages?, replay?);
    let spec = &table::REPLAY_MESSAGES.spec;
    if replay > messages {
        if r.is_given(spec) {
            r.refuse(spec, format!("give at most {messages}, as PARLEY_HISTORY_MESSAGES keeps no more"));
        } else {
            replay = messages;
            r.derived(spec, messages.to_string(), Source::Derived("PARLEY_HISTORY_MESSAGES"));
        }
    }
    Some(HistoryConfig { messages, age: age?, replay_messages: replay, total_bytes: total_bytes? })
}

pub(super) fn log(r: &mut Reader<'_>) -> Option<LogConfig> {
    let filter = r.get(&table::LOG);
    let format = r.get(&table::LOG_FORMAT);
    let terminal = r.vars().stderr_is_terminal();
    let format = format?.unwrap_or_else(|| {
        let (format, words) = if terminal { (LogFormat::Text, "text") } else { (LogFormat::Json, "json") };
        let why = if terminal { "a terminal reads it" } else { "no terminal reads it" };
        r.derived(&table::LOG_FORMAT.spec, words, Source::Derived(why));
        format
    });
    // NO_COLOR is the convention of https://no-color.org: any value but an empty one.
    let plain = r.vars().var("NO_COLOR").is_some_and(|value| !value.is_empty());
    Some(LogConfig { filter: filter?, format, colour: terminal && !plain })
}
