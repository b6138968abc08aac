//! The results for people: the report as an aligned table on standard output. It computes nothing but units.

use std::fmt::{Display, Write};

use super::floor::Floor;
use super::report::{FloorRatio, MemoryAt, Report, figure};
use super::tally::{ByName, Percentiles};

/// Draws the report of a `run` or `idle`.
pub(super) fn of_report(report: &Report) -> String {
    let mut table = Table::default();
    let settings = &report.settings;
    table.row("sessions", format!("{} in {} rooms of {}", settings.sessions, settings.rooms, settings.members));
    connect(&mut table, report);
    if let Some(traffic) = &report.traffic {
        let saturating = if settings.rate > 0.0 { "" } else { ", saturating" };
        table.head(&format!("measured window, {:.1} s", traffic.seconds));
        table.row(
            "published",
            format!(
                "{}/s by {} in bursts of {}{saturating}",
                thousands(traffic.published_per_second),
                settings.publishers,
                settings.burst
            ),
        );
        table
            .row("delivered", format!("{}/s of {:.0} B", thousands(traffic.delivered_per_second), traffic.frame_bytes));
        table.row("messages per read", format!("{:.1}", traffic.messages_per_read));
        table.row("latency", percentiles(&report.latency_ms));
        let share = format!("{:.0} % of its processor", traffic.load_cpu_share * 100.0);
        table.row("load generator", if settings.busy_poll { "never sleeping".to_owned() } else { share });
        if let Some(cpu) = traffic.server_cpu_us_per_delivery {
            table.row("server CPU", format!("{cpu:.3} µs per delivery"));
        }
    }
    if let Some(floor) = &report.floor {
        floor_rows(&mut table, floor);
    }
    if let Some(idle) = &report.idle {
        table.head(&format!("idle for {:.1} s", idle.seconds));
        table.row("exchanged before", format!("{} × {}", idle.exchanged, idle.exchange));
        if let Some(share) = idle.server_cpu_share {
            table.row("server CPU", format!("{:.2} % of one processor", share * 100.0));
        }
    }
    if let Some(broadcast) = &report.broadcast {
        table.head("broadcast");
        table
            .row("received", format!("{} of {} in {:.3} s", broadcast.received, broadcast.expected, broadcast.seconds));
        if broadcast.burst > 0 {
            table.row(
                "burst",
                format!("{} messages to every room, {} received", broadcast.burst, broadcast.burst_received),
            );
        }
        table.row("latency", percentiles(&report.latency_ms));
    }
    if let Some(servers) = &report.servers {
        table.head("server memory");
        for at in &servers.memory {
            table.row(at.when, memory(at));
        }
    }
    integrity(&mut table, report);
    for remark in &report.remarks {
        table.text.push_str("\nnote: ");
        table.text.push_str(remark);
        table.text.push('\n');
    }
    table.text
}

/// Draws a floor.
pub(super) fn of_floor(floor: &Floor) -> String {
    let mut table = Table::default();
    table.row("sockets", floor.sockets);
    table.row("send", format!("{} × {} B", floor.batch, floor.size));
    table.row("sends", format!("{} at {}/s", floor.sends, thousands(floor.sends_per_second)));
    table.row("CPU per send", format!("{:.3} µs", floor.us_per_send));
    table.row("CPU per message", format!("{:.3} µs", floor.us_per_message));
    table.text
}

fn connect(table: &mut Table, report: &Report) {
    let connect = &report.connect;
    table.head("connect");
    table.row(
        "connected",
        format!("{} in {:.1} s, {}/s", connect.sessions, connect.seconds, thousands(connect.per_second)),
    );
    table.row("latency", percentiles(&connect.latency_ms));
    if connect.by_server.len() > 1 {
        table.row("by server", names(&connect.by_server));
    }
    if !connect.failures.is_empty() {
        table.row("failed attempts", names(&connect.failures));
    }
    if let Some(cpu) = connect.server_cpu_us_per_connect {
        table.row("server CPU", format!("{cpu:.0} µs per connect"));
    }
}

fn floor_rows(table: &mut Table, floor: &FloorRatio) {
    table.row(
        "bare send",
        format!(
            "{:.3} µs ({:.3} before, {:.3} after)",
            floor.us_per_send, floor.before.us_per_send, floor.after.us_per_send
        ),
    );
    if let Some(ratio) = floor.ratio {
        table.row("ratio", format!("{ratio:.3} × the bare send of one message"));
    }
}

fn integrity(table: &mut Table, report: &Report) {
    let (seen, was) = (&report.integrity, &report.connections);
    table.head("whole run");
    table.row("delivered", format!("{} (of them {} replayed)", seen.delivered, seen.replayed));
    table.row(
        "by offset",
        format!("{} missing, {} duplicated, {} out of order", seen.missing, seen.duplicated, seen.out_of_order),
    );
    if seen.before_joined > 0 {
        table.row("before joined", seen.before_joined);
    }
    table.row("gaps told", format!("{}, {} messages told to be lost", seen.gaps_told, seen.told_lost));
    table.row(
        "publishes",
        format!(
            "{} sent, {} acked, {} refused, {} repeated, {} unanswered, {} skipped",
            was.published, was.acked, was.refused, was.repeated, was.unanswered, was.skipped
        ),
    );
    table.row(
        "connections",
        format!(
            "{} lost, {} told to reconnect, {} reconnected, {} gone for good",
            was.lost, was.told_to_reconnect, was.reconnected, was.gone
        ),
    );
    if was.rooms_recovered + was.rooms_not_recovered > 0 {
        table.row("rooms resumed", format!("{} recovered, {} not", was.rooms_recovered, was.rooms_not_recovered));
    }
    if !was.closes_by_code.is_empty() {
        table.row("closed with", names(&was.closes_by_code));
    }
    if !was.errors_by_code.is_empty() {
        table.row("errors", names(&was.errors_by_code));
    }
}

#[derive(Default)]
struct Table {
    text: String,
}

impl Table {
    fn head(&mut self, title: &str) {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(self.text, "{title}");
    }

    fn row(&mut self, name: &str, value: impl Display) {
        let _ = writeln!(self.text, "  {name:<18}{value}");
    }
}

fn percentiles(p: &Percentiles) -> String {
    format!("p50 {:.2}  p90 {:.2}  p99 {:.2}  max {:.2} ms", p.p50, p.p90, p.p99, p.max)
}

fn memory(at: &MemoryAt) -> String {
    let mebibytes = |bytes: u64| figure(bytes) / 1_048_576.0;
    format!(
        "{:.1} MiB private, {:.1} MiB in all; {:.2} KiB private per session",
        mebibytes(at.memory.anonymous),
        mebibytes(at.memory.resident),
        at.bytes_per_session / 1024.0
    )
}

fn names(counts: &ByName) -> String {
    counts.iter().map(|(name, count)| format!("{name}: {count}")).collect::<Vec<_>>().join(", ")
}

/// `1234567.8` as `1,234,568`.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(thousands(0.2), "0");
        assert_eq!(thousands(999.0), "999");
        assert_eq!(thousands(1_234_567.8), "1,234,568");
    }
}
