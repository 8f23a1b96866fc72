//! What is said on the wire between the lab and a guest's agent, a line of JSON each: orders in, answers and news of
//! addresses out. Times are the guest's own `CLOCK_BOOTTIME`, in seconds.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::netlink::News;

/// Something for the guest's shell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Order {
    /// Comes back with the answer.
    pub(super) number: u64,
    /// What to run.
    pub(super) line: String,
}

/// What the guest says.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Word {
    /// An address event, and when the agent learnt of it.
    News { at: Duration, news: News },
    /// An order was carried out.
    Answer(Answer),
}

/// How an order went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    /// The order's number; 0 says that the agent stands.
    pub(super) number: u64,
    /// The exit code.
    pub(super) code: i64,
    /// What was printed, standard error as well.
    pub(crate) said: String,
    /// When it ended, on the guest's clock.
    pub(crate) ended: Duration,
}

impl Order {
    pub(super) fn to_line(&self) -> String {
        format!("{}\n", json!({ "number": self.number, "line": self.line }))
    }

    pub(super) fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        Some(Self { number: value["number"].as_u64()?, line: value["line"].as_str()?.to_owned() })
    }
}

impl Word {
    pub(super) fn to_line(&self) -> String {
        let value = match self {
            Self::News { at, news: News::AddressPut { ip, link, valid, mark } } => {
                json!({ "put": ip.to_string(), "link": link, "valid": valid, "mark": mark, "at": at.as_secs_f64() })
            }
            Self::News { at, news: News::AddressGone { ip, link, by_kernel } } => {
                json!({ "gone": ip.to_string(), "link": link, "by_kernel": by_kernel, "at": at.as_secs_f64() })
            }
            // The agent asks for nothing else.
            Self::News { .. } => return String::new(),
            Self::Answer(Answer { number, code, said, ended }) => {
                json!({ "number": number, "code": code, "said": said, "at": ended.as_secs_f64() })
            }
        };
        format!("{value}\n")
    }

    pub(super) fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let at = Duration::try_from_secs_f64(value["at"].as_f64()?).ok()?;
        let ip = |key: &str| value[key].as_str().and_then(|ip| ip.parse::<IpAddr>().ok());
        let number = |key: &str| value[key].as_u64().and_then(|number| u32::try_from(number).ok());
        if let Some(ip) = ip("put") {
            let mark = number("mark").and_then(|mark| u8::try_from(mark).ok())?;
            let news = News::AddressPut { ip, link: number("link")?, valid: number("valid")?, mark };
            return Some(Self::News { at, news });
        }
        if let Some(ip) = ip("gone") {
            let by_kernel = value["by_kernel"].as_bool()?;
            return Some(Self::News { at, news: News::AddressGone { ip, link: number("link")?, by_kernel } });
        }
        Some(Self::Answer(Answer {
            number: value["number"].as_u64()?,
            code: value["code"].as_i64()?,
            said: value["said"].as_str()?.to_owned(),
            ended: at,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard() {
        let (at, ip) = (Duration::from_millis(1500), "10.0.0.1".parse().unwrap());
        let words = [
            Word::News { at, news: News::AddressPut { ip, link: 2, valid: u32::MAX, mark: 9 } },
            Word::News { at, news: News::AddressGone { ip, link: 2, by_kernel: true } },
            Word::Answer(Answer { number: 7, code: -1, said: "a\n\"b\"".to_owned(), ended: at }),
        ];
        for word in words {
            assert_eq!(Word::parse(word.to_line().trim_end()), Some(word));
        }
        let order = Order { number: 3, line: "echo 'x y'\n".to_owned() };
        assert_eq!(Order::parse(&order.to_line()), Some(order));
        assert_eq!(Word::parse("junk"), None);
    }
}
