//! A DNS server (RFC 1035) that knows one name, which leads to 127.0.0.1.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// All of 127/8 is this machine; others that resolve names here use 127.0.0.1 or 127.0.0.53.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 77, 0, 1));
const HEADER: usize = 12;
/// IPv4 addresses.
const TYPE_A: [u8; 2] = [0, 1];

/// A running one. Dropping it ends it.
pub struct Dns {
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Dns {
    pub async fn start(known: &'static str) -> Self {
        // Nobody can be told of another port.
        let socket = UdpSocket::bind((ADDRESS, 53)).await.expect("root may use port 53");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let log = Arc::clone(&asked);
        tasks.spawn(async move {
            let mut question = [0; 512];
            loop {
                let (count, from) = socket.recv_from(&mut question).await.expect("the socket is open");
                let (name, answer) = answer(&question[..count], known);
                log.lock().push(name);
                socket.send_to(&answer, from).await.expect("an answer can be sent");
            }
        });
        Self { asked, _tasks: tasks }
    }

    pub fn address(&self) -> IpAddr {
        ADDRESS
    }

    /// The names that it was asked for.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }
}

/// The name in a question, and the answer to it.
fn answer(question: &[u8], known: &str) -> (String, Vec<u8>) {
    let mut labels = Vec::new();
    let mut at = HEADER;
    while question[at] != 0 {
        let end = at + 1 + usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..end]).into_owned());
        at = end;
    }
    let name = labels.join(".");
    let (kind, end) = (&question[at + 1..at + 3], at + 5);
    let (is_known, has_address) = (name == known, name == known && kind == TYPE_A);
    let mut answer = question[..2].to_vec();
    // An answer that says all there is (recursion included), or that there is no such name; one question.
    answer.extend([0x81, if is_known { 0x80 } else { 0x83 }, 0, 1, 0, u8::from(has_address), 0, 0, 0, 0]);
    answer.extend(&question[HEADER..end]);
    if has_address {
        // The name of the question, an IPv4 address on the Internet, good for a minute, four bytes.
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    (name, answer)
}
