//! Bad input: each fault has its status, its code and a sentence that names it, and stores nothing.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::rig::{self, Answer, KEY};

const ROOM: &str = "/api/v1/rooms/general/messages";

#[tokio::test]
async fn every_fault_of_a_body_is_named() {
    let instance = rig::start().await;
    let deep = format!(r#"{{"from":"a","msg":{}1{}}}"#, "[".repeat(64), "]".repeat(64));
    let long_name = format!(r#"{{"from":"{}","msg":1}}"#, "x".repeat(129));
    let long_key = format!(r#"{{"from":"a","msg":1,"key":"{}"}}"#, "x".repeat(65));
    for (body, code, part) in [
        ("{", "malformed", "line 1 column 1"),
        ("nonsense", "malformed", "one JSON object"),
        ("[\"a\",1]", "malformed", "one JSON object"),
        ("null", "malformed", "one JSON object"),
        (r#"{"from":"a","msg":1} x"#, "malformed", "trailing"),
        (r#"{"from":"a","from":"b","msg":1}"#, "malformed", "duplicate field `from`"),
        (deep.as_str(), "malformed", "64 levels"),
        (r#"{"from":"a","msg":"\ud800"}"#, "malformed", "lone surrogate"),
        (r#"{"msg":1}"#, "bad_field", "`from` is missing"),
        (r#"{"from":null,"msg":1}"#, "bad_field", "`from` is missing"),
        (r#"{"from":7,"msg":1}"#, "bad_field", "`from` must be a string"),
        (r#"{"from":"a"}"#, "bad_field", "`msg` is missing"),
        (r#"{"from":"a","msg":1,"key":1}"#, "bad_field", "`key` must be a string"),
        (r#"{"from":"","msg":1}"#, "bad_name", "`from`: a name must not be empty"),
        (r#"{"from":"@me","msg":1}"#, "bad_name", "`from`: names starting with @"),
        (r#"{"from":"a\u0000","msg":1}"#, "bad_name", "`from`: a name must not hold control"),
        (long_name.as_str(), "bad_name", "`from`: a name has at most 128"),
        (r#"{"from":"a","msg":1,"key":""}"#, "bad_name", "`key`"),
        (long_key.as_str(), "bad_name", "`key`"),
    ] {
        for path in [ROOM, "/api/v1/users/bob/messages"] {
            let detail = instance.call("POST", path, body).await.problem(400, code);
            assert!(detail.contains(part), "{body}: {detail}");
        }
    }
    assert_eq!(instance.get(ROOM).await.json(200)["top"], 0);
}

#[tokio::test]
async fn a_body_that_is_not_utf_8_is_malformed() {
    let instance = rig::start().await;
    let mut stream = TcpStream::connect(instance.address).await.unwrap();
    let head = format!(
        "POST {ROOM} HTTP/1.1\r\nHost: p\r\nConnection: close\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: 22\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(b"{\"from\":\"a\",\"msg\":\"\xff\"}").await.unwrap();
    assert!(Answer::read(&mut stream).await.problem(400, "malformed").contains("UTF-8"));
}

#[tokio::test]
async fn a_message_over_the_limit_is_413_and_one_at_the_limit_is_stored() {
    let instance = rig::start_with(|config| config.limits.message_bytes = 256).await;
    let body = |length: usize| format!(r#"{{"from":"a","msg":"{}"}}"#, "x".repeat(length - 2));
    instance.call("POST", ROOM, &body(256)).await.json(200);
    let detail = instance.call("POST", ROOM, &body(257)).await.problem(413, "message_too_large");
    assert!(detail.contains("257") && detail.contains("256"), "{detail}");
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_whether_its_length_is_declared_or_not() {
    let instance = rig::start_with(|config| config.limits.message_bytes = 256).await;
    let padding = " ".repeat(256 + 4_096);
    let body = format!(r#"{{"from":"a","msg":1}}{padding}"#);
    instance.call("POST", ROOM, &body).await.problem(413, "message_too_large");
    let fits = &body[..256 + 4_096];
    instance.call("POST", ROOM, fits).await.json(200);

    let mut stream = TcpStream::connect(instance.address).await.unwrap();
    let chunked = format!(
        "POST {ROOM} HTTP/1.1\r\nHost: p\r\nConnection: close\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    stream.write_all(chunked.as_bytes()).await.unwrap();
    Answer::read(&mut stream).await.problem(413, "message_too_large");

    let announced = [("Authorization", &*format!("Bearer {KEY}")), ("Content-Length", "99999999999999")];
    instance.send("POST", ROOM, &announced, "").await.problem(413, "message_too_large");
}

#[tokio::test]
async fn a_body_of_another_type_is_415() {
    let instance = rig::start().await;
    let key = format!("Bearer {KEY}");
    let body = r#"{"from":"a","msg":1}"#;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        let headers = [("Authorization", key.as_str()), ("Content-Type", kind)];
        instance.send("POST", ROOM, &headers, body).await.problem(415, "unsupported_media_type");
    }
    let headers = [("Authorization", key.as_str()), ("Content-Type", "Application/JSON; charset=utf-8")];
    instance.send("POST", ROOM, &headers, body).await.json(200);
    // Without a body there is nothing to be of a type.
    instance.send("POST", ROOM, &[("Authorization", &key)], "").await.problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn names_in_paths_are_decoded_and_checked() {
    let instance = rig::start().await;
    let body = r#"{"from":"a","msg":1}"#;
    for (encoded, name) in
        [("a%2Fb", "a/b"), ("%2e%2e", ".."), ("K%C3%B6ln%20%3f", "Köln ?"), ("100%", "100%"), ("a+b", "a+b")]
    {
        let path = format!("/api/v1/rooms/{encoded}/messages");
        assert_eq!(instance.call("POST", &path, body).await.json(200)["room"], name);
    }
    let (long, longest) = ("x".repeat(129), "%78".repeat(128));
    instance.call("POST", &format!("/api/v1/rooms/{longest}/messages"), body).await.json(200);
    for name in ["%00", "a%0Ab", "%C2%85", "@me", "%40control", "%FF", "%C3", long.as_str()] {
        let get = instance.get(&format!("/api/v1/rooms/{name}/messages")).await;
        assert!(get.problem(400, "bad_name").starts_with("the room in the path: "));
        let ban = instance.call("PUT", &format!("/api/v1/users/{name}/ban"), r#"{"seconds":1}"#).await;
        assert!(ban.problem(400, "bad_name").starts_with("the user in the path: "));
        for path in [format!("/api/v1/rooms/{name}/members/bob"), format!("/api/v1/rooms/r/members/{name}")] {
            instance.call("DELETE", &path, "").await.problem(400, "bad_name");
        }
        instance.get(&format!("/api/v1/rooms/{name}/presence")).await.problem(400, "bad_name");
    }
    instance.get("/api/v1/rooms//messages").await.problem(400, "bad_name");
}

#[tokio::test]
async fn every_fault_of_a_query_is_named() {
    let instance = rig::start().await;
    for query in [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=%2B1",
        "limit=1.0",
        "limit=",
        "limit=99999999999999999999",
        "after=-1",
        "after=9007199254740992",
        "before=x",
        "after=1&before=2",
        "epoch=0000000000000001",
        "before=1&epoch=0000000000000001",
        "after=1&after=1",
        "afer=1",
    ] {
        for path in [ROOM, "/api/v1/users/bob/messages"] {
            let detail = instance.get(&format!("{path}?{query}")).await.problem(400, "bad_field");
            assert!(detail.contains('`'), "{query}: {detail}");
        }
    }
    instance.get("/api/v1/rooms?limit=0").await.problem(400, "bad_field");
    instance.get("/api/v1/rooms?after=%00").await.problem(400, "bad_name");
    instance.get("/api/v1/instances?x=1").await.problem(400, "bad_field");
    instance.get("/api/v1/rooms/r/presence?x").await.problem(400, "bad_field");
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_cut_off() {
    let instance = rig::start().await;
    let mut stream = TcpStream::connect(instance.address).await.unwrap();
    let head = format!(
        "POST {ROOM} HTTP/1.1\r\nHost: p\r\nConnection: close\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: 20\r\nExpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"{").await.unwrap();
    // From here on only deadlines can move anything, so time may fly.
    tokio::time::pause();
    Answer::read(&mut stream).await.problem(408, "timeout");
}
