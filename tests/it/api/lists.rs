//! What there is and who is where.

use serde_json::json;

use super::rig;

#[tokio::test]
async fn presence_counts_a_user_once_over_all_instances() {
    let instances = rig::fleet(2, |_| {}).await;
    let path = "/api/v1/rooms/general/presence";
    assert_eq!(instances[0].get(path).await.json(200), json!({ "room": "general", "users": [], "count": 0 }));
    let mut clients = Vec::new();
    for (instance, user) in [(0, "bob"), (1, "bob"), (1, "alice")] {
        let mut client = instances[instance].connect(user, &["general"]).await;
        // The inbox is joined before or after the room: its answer alone says nothing about it.
        while client.frame("joined").await["room"] != "general" {}
        clients.push(client);
    }
    instances[0].services.attendance.settled().await;
    let answer = instances[1].get(path).await.json(200);
    assert_eq!(answer, json!({ "room": "general", "users": ["alice", "bob"], "count": 2 }));
}

#[tokio::test]
async fn rooms_are_listed_by_name_page_by_page() {
    let instance = rig::start().await;
    assert_eq!(instance.get("/api/v1/rooms").await.json(200), json!({ "rooms": [], "more": false }));
    for room in ["b", "a", "c%2Fd", "b"] {
        instance.call("POST", &format!("/api/v1/rooms/{room}/messages"), r#"{"from":"x","msg":1}"#).await.json(200);
    }
    // Inboxes are no rooms.
    instance.call("POST", "/api/v1/users/bob/messages", r#"{"from":"x","msg":1}"#).await.json(200);
    let first = instance.get("/api/v1/rooms?limit=2").await.json(200);
    let expected = json!({ "rooms": [{ "room": "a", "offset": 1 }, { "room": "b", "offset": 2 }], "more": true });
    assert_eq!(first, expected);
    let second = instance.get("/api/v1/rooms?limit=2&after=b").await.json(200);
    assert_eq!(second, json!({ "rooms": [{ "room": "c/d", "offset": 1 }], "more": false }));
    let last = instance.get("/api/v1/rooms?after=c%2Fd&limit=1").await.json(200);
    assert_eq!(last, json!({ "rooms": [], "more": false }));
    assert_eq!(instance.get("/api/v1/rooms?limit=3").await.json(200)["more"], false);
}

#[tokio::test]
async fn instances_are_listed_with_what_they_said_of_themselves() {
    let instances = rig::fleet(2, |_| {}).await;
    loop {
        let answer = instances[0].get("/api/v1/instances").await.json(200);
        let listed = answer["instances"].as_array().unwrap().clone();
        if listed.len() == 2 {
            let described = |name: &str| json!({ "server_id": name, "sessions": 0, "draining": false });
            assert_eq!(listed, [described("test-1"), described("test-2")]);
            return;
        }
        // Each announces itself as it starts.
        tokio::task::yield_now().await;
    }
}
