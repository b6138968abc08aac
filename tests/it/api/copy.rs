//! Reading logs page by page: a copy that misses nothing, and is told when it cannot be complete.

use serde_json::{Value, json};

use super::rig::{self, Instance};

const ROOM: &str = "/api/v1/rooms/general/messages";

async fn publish(instance: &Instance, count: u64) {
    for _ in 0..count {
        instance.call("POST", ROOM, r#"{"from":"a","msg":1}"#).await.json(200);
    }
}

fn offsets(page: &Value) -> Vec<u64> {
    page["messages"].as_array().unwrap().iter().map(|frame| frame["offset"].as_u64().unwrap()).collect()
}

/// A back end that copies a room as the document says.
#[derive(Default)]
struct Copier {
    next: Option<(String, u64)>,
    copied: Vec<u64>,
    lost: Vec<u64>,
}

impl Copier {
    /// Reads one page; answers whether there is more.
    async fn step(&mut self, instance: &Instance, limit: u64) -> bool {
        let position = self.next.as_ref().map(|(epoch, after)| format!("&epoch={epoch}&after={after}"));
        let answer = instance.get(&format!("{ROOM}?limit={limit}{}", position.unwrap_or_default())).await;
        if answer.status == 410 {
            answer.problem(410, "gap");
            let gap = answer.json(410);
            let (oldest, seen) = (gap["oldest"].as_u64().unwrap(), self.next.take().unwrap().1);
            self.lost.extend(seen + 1..oldest);
            self.next = Some((gap["epoch"].as_str().unwrap().to_owned(), oldest - 1));
            return true;
        }
        let page = answer.json(200);
        self.copied.extend(offsets(&page));
        self.next = Some((page["epoch"].as_str().unwrap().to_owned(), page["next_after"].as_u64().unwrap()));
        page["more"].as_bool().unwrap()
    }
}

#[tokio::test]
async fn a_copy_taken_while_others_publish_misses_nothing_and_repeats_nothing() {
    let instances = rig::fleet(2, |_| {}).await;
    let mut copier = Copier::default();
    let publishing = async { tokio::join!(publish(&instances[0], 150), publish(&instances[1], 150)) };
    let copying = async {
        for round in 0.. {
            let more = copier.step(&instances[round % 2], 1 + round as u64 % 7).await;
            if !more && copier.copied.len() == 300 {
                return;
            }
        }
    };
    tokio::join!(publishing, copying);
    assert_eq!(copier.copied, (1..=300).collect::<Vec<u64>>());
    assert!(copier.lost.is_empty());
}

#[tokio::test]
async fn whatever_is_trimmed_between_two_pages_is_told_as_a_gap() {
    let instance = rig::start_with(|config| {
        config.history.messages = 10;
        config.history.replay_messages = 10;
    })
    .await;
    let mut copier = Copier::default();
    // A fixed sequence of moods: sometimes the copier is ahead, sometimes the log has moved on far beyond it.
    let mut mood = 7_u64;
    let mut published = 0;
    copier.step(&instance, 5).await;
    for _ in 0..60 {
        mood = mood * 31 % 101;
        let count = mood % 14;
        publish(&instance, count).await;
        published += count;
        copier.step(&instance, 1 + mood % 9).await;
    }
    while copier.step(&instance, 5).await {}
    let mut all = [copier.copied.clone(), copier.lost.clone()].concat();
    all.sort_unstable();
    assert_eq!(all, (1..=published).collect::<Vec<u64>>(), "each message is copied or told as lost, once");
    assert!(copier.copied.is_sorted() && !copier.copied.is_empty() && !copier.lost.is_empty());
}

#[tokio::test]
async fn a_gap_says_where_the_log_goes_on() {
    let instance = rig::start_with(|config| {
        config.history.messages = 5;
        config.history.replay_messages = 5;
    })
    .await;
    publish(&instance, 3).await;
    let epoch = instance.get(ROOM).await.json(200)["epoch"].as_str().unwrap().to_owned();
    publish(&instance, 9).await;
    let gone = instance.get(&format!("{ROOM}?epoch={epoch}&after=6")).await;
    gone.problem(410, "gap");
    assert_eq!((&gone.json(410)["epoch"], &gone.json(410)["oldest"]), (&json!(epoch), &json!(8)));
    let good = instance.get(&format!("{ROOM}?epoch={epoch}&after=7")).await.json(200);
    assert_eq!(offsets(&good), [8, 9, 10, 11, 12]);
    // Beyond the top, of another epoch, of no epoch at all: never a page that looks whole.
    for query in [format!("epoch={epoch}&after=13"), "epoch=0000000000000000&after=12".into(), "epoch=&after=0".into()]
    {
        let gone = instance.get(&format!("{ROOM}?{query}")).await;
        gone.problem(410, "gap");
        assert_eq!(gone.json(410)["oldest"], 8);
    }
    let end = instance.get(&format!("{ROOM}?epoch={epoch}&after=12")).await.json(200);
    assert_eq!((offsets(&end), &end["next_after"], &end["more"]), (vec![], &json!(12), &json!(false)));
}

#[tokio::test]
async fn without_an_epoch_reading_starts_at_the_oldest_message_that_is_there() {
    let instance = rig::start_with(|config| {
        config.history.messages = 5;
        config.history.replay_messages = 5;
    })
    .await;
    publish(&instance, 12).await;
    let page = instance.get(&format!("{ROOM}?limit=2")).await.json(200);
    assert_eq!((offsets(&page), &page["more"], &page["top"]), (vec![8, 9], &json!(true), &json!(12)));
    assert_eq!((&page["room"], &page["next_after"]), (&json!("general"), &json!(9)));
    assert!(page.get("next_before").is_none());
    let beyond = instance.get(&format!("{ROOM}?after=99")).await.json(200);
    assert_eq!((offsets(&beyond), &beyond["next_after"], &beyond["top"]), (vec![], &json!(99), &json!(12)));
}

#[tokio::test]
async fn paging_down_reaches_the_oldest_message() {
    let instance = rig::start().await;
    publish(&instance, 7).await;
    let (mut before, mut seen) = (9_007_199_254_740_991, Vec::new());
    loop {
        let page = instance.get(&format!("{ROOM}?limit=3&before={before}")).await.json(200);
        assert!(page.get("next_after").is_none());
        seen.push(offsets(&page));
        before = page["next_before"].as_u64().unwrap();
        if page["more"] == json!(false) {
            break;
        }
    }
    assert_eq!(seen, [vec![5, 6, 7], vec![2, 3, 4], vec![1]]);
}

#[tokio::test]
async fn a_room_that_nobody_wrote_to_is_empty_and_its_copy_goes_on_when_somebody_does() {
    let instance = rig::start().await;
    let mut copier = Copier::default();
    assert!(!copier.step(&instance, 10).await);
    publish(&instance, 2).await;
    assert!(!copier.step(&instance, 10).await);
    assert_eq!((copier.copied, copier.lost), (vec![1, 2], vec![]));
}

#[tokio::test]
async fn an_inbox_is_copied_like_a_room() {
    let instance = rig::start().await;
    let inbox = "/api/v1/users/bob/messages";
    for text in ["one", "two", "three"] {
        let body = json!({ "from": "alice", "msg": text }).to_string();
        instance.call("POST", inbox, &body).await.json(200);
    }
    let first = instance.get(&format!("{inbox}?limit=2")).await.json(200);
    let (epoch, after) = (first["epoch"].as_str().unwrap(), first["next_after"].as_u64().unwrap());
    let second = instance.get(&format!("{inbox}?epoch={epoch}&after={after}")).await.json(200);
    assert_eq!((offsets(&first), offsets(&second)), (vec![1, 2], vec![3]));
    instance.get(&format!("{inbox}?epoch={epoch}&after=9")).await.problem(410, "gap");
}
