//! The settings of `parley demo`.
//!
//! It reads nothing, as the table above it.

use super::{REDIS_URL, Setting, Spec, Times, parse};

const STORY: &str = "The story";

settings! {
    REDIS_URL;
    ISOLATED: bool = Setting::new(STORY, "isolated", "BOOL", "false", parse::boolean,
        "Tells the first half: two instances that share nothing.").times(Times::Switch);
    STAY: bool = Setting::new(STORY, "stay", "BOOL", "false", parse::boolean,
        "Keeps everything running afterwards, for your own browser, until Ctrl-C.").times(Times::Switch);
    PORTS: [u16; 3] = Setting::new(STORY, "ports", "LIST", "8080,8081,8082", parse::demo_ports,
        "Ports on loopback of the balancer, of server-1 and of server-2; 0 takes any free one.");
}
