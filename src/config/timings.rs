//! The two timings of the lease, their bounds, and the arithmetic that ties one to the other (protocol section 4).
//!
//! Owned by `config`; the numbers are the election's own, which holds them again against the TTL that etcd grants.

use std::time::Duration;

use super::Ttl;
use super::check::Checked;
use super::raw::Node;
use crate::election::timings::{HOLD, LEAST_TTL, MARGIN_FLOOR, least_margin, most_margin};

/// The longest TTL. It is how long a lost node keeps the VIP from the others, and minutes of that help nobody.
pub const LONGEST_TTL: Duration = Duration::from_secs(300);
/// `auto`, or a TTL.
pub(super) fn ttl(node: &Node) -> Checked<Ttl> {
    if matches!(node, Node::Text(text) if text == "auto") {
        return Ok(Ttl::Auto);
    }
    let ttl = duration(node).map_err(|text| format!("{text}, nor auto"))?;
    let shown = node.shown();
    if ttl < LEAST_TTL || ttl > LONGEST_TTL {
        return Err(format!("{shown} is out of bounds; a ttl is {LEAST_TTL:?} to {LONGEST_TTL:?}"));
    }
    if ttl.subsec_nanos() != 0 {
        return Err(format!("{shown} is not whole seconds, which are all that etcd knows"));
    }
    Ok(Ttl::Fixed(ttl))
}

/// A margin that goes with this TTL; with `auto`, one that goes with some TTL.
pub(super) fn margin(node: &Node, ttl: Ttl) -> Checked<Duration> {
    let margin = duration(node)?;
    let shown = node.shown();
    let (low, high, least_with, most_with) = match ttl {
        Ttl::Fixed(ttl) => (ttl, ttl, "with", "with"),
        Ttl::Auto => (LEAST_TTL, LONGEST_TTL, "even with the shortest", "even with the longest"),
    };
    let (least, most) = (least_margin(low), most_margin(high));
    if margin < least {
        return Err(format!(
            "{shown} is too short: it must be at least {MARGIN_FLOOR:?} + ttl/100, which is {least:?} {least_with} ttl {low:?}"
        ));
    }
    if margin > most {
        return Err(format!(
            "{shown} is too long: ttl - ttl/10 - margin must leave {HOLD:?} to hold an address, so it must be at most \
             {most:?} {most_with} ttl {high:?}"
        ));
    }
    Ok(margin)
}

/// `5s`, `1.5s`, `1500ms`, `1m30s`; a plain whole number is seconds.
pub(super) fn duration(node: &Node) -> Checked<Duration> {
    let parsed = span(node).filter(|parsed| !parsed.is_zero());
    parsed.ok_or_else(|| format!("{} is not a duration, such as 5s or 1500ms", node.shown()))
}

/// The same, or none at all: `0s`.
pub(super) fn span(node: &Node) -> Option<Duration> {
    match node {
        Node::Number(text) => text.parse().ok().map(Duration::from_secs),
        Node::Text(text) => parts(text),
        Node::Null | Node::Bool(_) | Node::List(_) | Node::Map(_) => None,
    }
}

fn parts(mut text: &str) -> Option<Duration> {
    if text.is_empty() {
        return None;
    }
    let mut sum = Duration::ZERO;
    while !text.is_empty() {
        let (number, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, rest) = rest.split_at(rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len()));
        sum = sum.checked_add(part(number, unit)?)?;
        text = rest;
    }
    Some(sum)
}

/// Counted in whole nanoseconds, so that `1.18s` is 1.18 s and not nearly.
fn part(number: &str, unit: &str) -> Option<Duration> {
    let unit: u64 = match unit {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole: u64 = whole.parse().ok()?;
    let digits = u32::try_from(fraction.len()).ok().filter(|digits| *digits <= 6)?;
    let fraction: u64 = fraction.parse().ok()?;
    let nanos = whole.checked_mul(unit)?.checked_add(fraction * (unit / 10u64.pow(digits)))?;
    Some(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn durations() {
        for (text, want) in [
            ("5s", 5000),
            ("1500ms", 1500),
            ("1.5s", 1500),
            ("1.18s", 1180),
            ("1m30s", 90_000),
            ("0.1m", 6000),
            ("1h", 3_600_000),
            ("007s", 7000),
            ("0s", 0),
        ] {
            assert_eq!(parts(text), Some(ms(want)), "{text}");
        }
        for text in ["", "5", "s", "-5s", "5 s", "5S", "5sec", "1.s", ".5s", "1..5s", "1.5.5s", "5s ", "5ss", "5d"] {
            assert_eq!(parts(text), None, "{text}");
        }
        assert_eq!(parts("99999999999999999999s"), None);
        assert_eq!(parts("9999999999999h"), None);
        assert_eq!(parts("1.0000000000000001s"), None);
    }

    #[test]
    fn every_bound_that_a_message_names_can_be_written() {
        for ttl in 3..=300 {
            let ttl = Duration::from_secs(ttl);
            for bound in [least_margin(ttl), most_margin(ttl)] {
                assert_eq!(margin(&Node::Text(format!("{bound:?}")), Ttl::Fixed(ttl)), Ok(bound));
            }
        }
    }
}
