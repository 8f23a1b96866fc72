//! Draws one picture: 80 columns, about 26 lines, plain ANSI. Pure.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

/// Clears the screen and hides the cursor.
pub(super) const TAKE: &str = "\x1b[2J\x1b[?25l";
/// Shows the cursor again, under the picture.
pub(super) const GIVE_BACK: &str = "\x1b[0m\x1b[?25h";
/// Columns of the client's strip.
pub(super) const STRIP: u32 = 74;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const CYAN: &str = "\x1b[36m";
const PLAIN: &str = "\x1b[0m";
/// The newest lines of the log that are shown.
const LOG: usize = 10;

/// All that is to be seen.
pub(super) struct Picture {
    pub(super) elapsed: String,
    pub(super) vip: IpAddr,
    pub(super) nodes: Vec<Row>,
    /// The share of the client's requests that were answered, oldest first.
    pub(super) strip: Vec<Option<f32>>,
    pub(super) doing: String,
    pub(super) log: Vec<String>,
}

/// One node.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) etcd: &'static str,
    pub(super) vipd: &'static str,
    pub(super) cable: &'static str,
    /// It has the VIP; inside, when the kernel would take it away, if ever.
    pub(super) holds: Option<Option<Duration>>,
}

/// The picture as text that overwrites the one before.
pub(super) fn draw(picture: &Picture) -> String {
    let mut lines = vec![title(picture), String::new()];
    lines.push(format!("  {DIM}node   address        etcd      vipd       cable     VIP, kernel's timer{PLAIN}"));
    lines.extend(picture.nodes.iter().map(|row| node(row, picture.vip)));
    lines.push(String::new());
    lines.push(format!("  {DIM}a client's pings, 1000 a second; a column is 0.2 s, now is on the right{PLAIN}"));
    lines.push(format!("  {}", strip(&picture.strip)));
    lines.push(String::new());
    lines.push(format!("  {CYAN}{}{PLAIN}", picture.doing));
    lines.push(String::new());
    lines.push(format!("  {DIM}what was done, and what it cost (gap: on no node; missed: by the client){PLAIN}"));
    let skipped = picture.log.len().saturating_sub(LOG);
    lines.extend(picture.log.iter().skip(skipped).map(|line| format!("  {line}")));
    let mut text = String::from("\x1b[H");
    for line in lines {
        let _ = write!(text, "{line}\x1b[K\r\n");
    }
    text.push_str("\x1b[J");
    text
}

fn title(picture: &Picture) -> String {
    let holders: Vec<&str> =
        picture.nodes.iter().filter(|row| row.holds.is_some()).map(|row| row.name.as_str()).collect();
    let (colour, whose) = match holders.as_slice() {
        [] => (YELLOW, "on no node".to_owned()),
        [one] => (GREEN, format!("on {one}")),
        many => (RED, format!("on {}", many.join(" and "))),
    };
    let left = format!("  vipd   {} is {whose}", picture.vip);
    let width = 72_usize.saturating_sub(left.chars().count());
    format!("{BOLD}{colour}{left}{PLAIN}{:>width$}{DIM}{:>6}{PLAIN}", "", picture.elapsed)
}

fn node(row: &Row, vip: IpAddr) -> String {
    let colour = if row.vipd == "runs" { PLAIN } else { RED };
    let cable = if row.cable.is_empty() { "in" } else { row.cable };
    let cut = if row.cable.is_empty() { PLAIN } else { RED };
    let (mark, held) = match row.holds {
        None => (" ", String::new()),
        Some(None) => ("▶", format!("{GREEN}{BOLD}● {vip}{PLAIN}")),
        Some(Some(left)) => {
            let left = left.as_secs_f64();
            ("▶", format!("{GREEN}{BOLD}● {vip}{PLAIN}{DIM}  {left:.1} s{PLAIN}"))
        }
    };
    let (name, address, etcd, vipd) = (&row.name, &row.address, row.etcd, row.vipd);
    format!(
        "{GREEN}{mark}{PLAIN} {name:<6} {address:<14} {etcd:<9} {colour}{vipd:<10}{PLAIN} {cut}{cable:<9}{PLAIN} {held}"
    )
}

/// One character for each stretch of time. A single lost ping in two hundred is seen, too.
fn strip(shares: &[Option<f32>]) -> String {
    let mut text = String::new();
    for share in shares {
        let (colour, letter) = match share {
            None => (PLAIN, ' '),
            Some(share) if *share >= 0.999 => (GREEN, '█'),
            Some(share) if *share > 0.6 => (YELLOW, '▆'),
            Some(share) if *share > 0.0 => (YELLOW, '▃'),
            Some(_) => (RED, '▁'),
        };
        let _ = write!(text, "{colour}{letter}");
    }
    text.push_str(PLAIN);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(holds: [bool; 3]) -> Picture {
        let row = |(index, holds): (usize, bool)| Row {
            name: format!("n{}", index + 1),
            address: "10.77.0.11".to_owned(),
            etcd: "member",
            vipd: "runs",
            cable: "",
            holds: holds.then_some(None),
        };
        let nodes = holds.into_iter().enumerate().map(row).collect();
        let vip = "10.77.0.100".parse().unwrap();
        let log = (0..30).map(|n| format!("line {n}.")).collect();
        Picture { elapsed: "0:01".into(), vip, nodes, strip: vec![Some(0.5); 3], doing: String::new(), log }
    }

    #[test]
    fn it_fits_a_small_terminal() {
        assert!(draw(&picture([true, false, false])).matches("\r\n").count() <= 24);
    }

    #[test]
    fn two_holders_would_be_seen() {
        assert!(draw(&picture([true, false, true])).contains("on n1 and n3"));
        assert!(draw(&picture([false; 3])).contains("on no node"));
    }

    #[test]
    fn the_newest_of_the_log_are_shown() {
        let drawn = draw(&picture([true, false, false]));
        assert!(drawn.contains("line 29.") && !drawn.contains("line 5."));
    }
}
